/* numeric.c: both directions, limits and hostile bodies. */
#include "numeric.h"

#include <stdio.h>
#include <stdlib.h>

#include "check.h"

#define NEGATIVE 0x4000
#define NUMERIC_NAN 0xC000

/* A binary numeric of `n` groups. */
static size_t
body(uint8_t *out, int weight, int sign, int scale, const int *groups, size_t n)
{
    wire_store_u16(out, (uint16_t)n);
    wire_store_u16(out + 2, (uint16_t)weight);
    wire_store_u16(out + 4, (uint16_t)sign);
    wire_store_u16(out + 6, (uint16_t)scale);
    for (size_t i = 0; i < n; i++) {
        wire_store_u16(out + 8 + 2 * i, (uint16_t)groups[i]);
    }
    return 8 + 2 * n;
}

/* Text of a body in a buffer of its exact size, so that a read past it is seen. */
static bool
to_text(const uint8_t *bytes, size_t len, struct wire_buffer *out)
{
    uint8_t *copy = malloc(len + 1);
    if (copy == NULL) {
        abort();
    }
    memcpy(copy + 1, bytes, len);
    wire_slice value = {copy + 1, len};
    bool ok = wire_numeric_to_text(value, out);
    free(copy);
    return ok;
}

#define GROUPS(...) (const int[]){__VA_ARGS__}, sizeof((const int[]){__VA_ARGS__}) / sizeof(int)
#define NONE NULL, 0

static void
check_text(const char *expected, int weight, int sign, int scale, const int *groups, size_t n)
{
    uint8_t bytes[64];
    size_t len = body(bytes, weight, sign, scale, groups, n);
    struct wire_buffer out;
    wire_buffer_init(&out);
    CHECK(to_text(bytes, len, &out));
    wire_buffer_put_u8(&out, 0);
    CHECK_STR((const char *)out.data, expected);
    wire_buffer_clear(&out, false);
}

static void
check_refused(int weight, int sign, int scale, const int *groups, size_t n)
{
    uint8_t bytes[64];
    size_t len = body(bytes, weight, sign, scale, groups, n);
    struct wire_buffer out;
    wire_buffer_init(&out);
    CHECK(!to_text(bytes, len, &out));
    CHECK_INT(wire_buffer_size(&out), 0);
    wire_buffer_clear(&out, false);
}

static void
test_to_text(void)
{
    check_text("0", 0, 0, 0, NONE);
    check_text("0.00", 0, 0, 2, NONE);
    check_text("0", -32768, NEGATIVE, 0, NONE);
    check_text("0", 32767, 0, 0, NONE);
    check_text("1", 0, 0, 0, GROUPS(1));
    check_text("12", 0, 0, 0, GROUPS(12));
    check_text("123", 0, 0, 0, GROUPS(123));
    check_text("1234", 0, 0, 0, GROUPS(1234));
    check_text("-1", 0, NEGATIVE, 0, GROUPS(1));
    check_text("12345", 1, 0, 0, GROUPS(1, 2345));
    check_text("10000", 1, 0, 0, GROUPS(1));
    check_text("100000000", 2, 0, 0, GROUPS(1));
    check_text("10000.0", 1, 0, 1, GROUPS(1));
    check_text("-12.3400", 0, NEGATIVE, 4, GROUPS(12, 3400));
    check_text("12.3", 0, 0, 1, GROUPS(12, 3000));
    check_text("0.1", -1, 0, 1, GROUPS(1000));
    check_text("0.0001", -1, 0, 4, GROUPS(1));
    check_text("0.00001", -2, 0, 5, GROUPS(1000));
    check_text("0.000000001", -3, 0, 9, GROUPS(1000));
    check_text("1.00000000000000000", 0, 0, 17, GROUPS(1));
    check_text("99999999.99999999", 1, 0, 8, GROUPS(9999, 9999, 9999, 9999));
    check_text("NaN", 0, NUMERIC_NAN, 0, NONE);
    check_text("Infinity", 0, 0xD000, 0, NONE);
    check_text("-Infinity", 0, 0xF000, 0, NONE);
    check_text("Infinity", 0, 0xD000, 32, NONE); /* as PostgreSQL sends it */
}

/* What no server sends, but can be read. */
static void
test_unusual_bodies(void)
{
    check_text("12.3", 0, 0, 1, GROUPS(12, 3456));       /* digits behind the scale */
    check_text("12", 0, 0, 0, GROUPS(12, 3456, 7890));   /* whole groups of them */
    check_text("0.00", -3, 0, 2, GROUPS(1234));          /* nothing but them */
    check_text("5", 2, 0, 0, GROUPS(0, 0, 5));           /* leading zeros */
    check_text("0.0005", 0, 0, 4, GROUPS(0, 5));
    check_text("0.0", 5, NEGATIVE, 1, GROUPS(0, 0));     /* zero spelled out */
    check_text("0.00", -4096, 0, 2, GROUPS(1));
}

static void
test_hostile_bodies(void)
{
    check_refused(0, 0, 0, GROUPS(10000));
    check_refused(0, 0, 0, GROUPS(1, 65535));
    check_refused(0, 0, 0, GROUPS(1, 1, 1, 1, 1, 1, 1, 10000)); /* behind the scale too */
    check_refused(0, 1, 0, GROUPS(1));
    check_refused(0, 0x8000, 0, GROUPS(1));
    check_refused(0, 0xE000, 0, NONE);
    check_refused(0, 0xFFFF, 0, NONE);
    check_refused(0, 0, 16384, GROUPS(1));
    check_refused(0, 0, 65535, NONE);
    check_refused(0, NUMERIC_NAN, 16384, NONE);
    check_refused(-4097, 0, 16383, GROUPS(1));
    check_refused(-32768, 0, 0, GROUPS(1));
    check_refused(-32768, 0, 16383, GROUPS(1));
}

/* The count says more or less than there is. */
static void
test_counts(void)
{
    static const int counts[] = {0, 1, 3, 255, 32767, 32768, 36864, 36865, 65535};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        uint8_t bytes[64];
        struct wire_buffer out;
        wire_buffer_init(&out);
        size_t len = body(bytes, 0, 0, 0, GROUPS(1, 2));
        wire_store_u16(bytes, (uint16_t)counts[i]);
        CHECK(!to_text(bytes, len, &out));
        CHECK(!to_text(bytes, len - 1, &out));
        CHECK(!to_text(bytes, len + 1, &out));
        CHECK_INT(wire_buffer_size(&out), 0);
        wire_buffer_clear(&out, false);
    }
}

static void
test_short_bodies(void)
{
    uint8_t bytes[64] = {0};
    struct wire_buffer out;
    wire_buffer_init(&out);
    for (size_t len = 0; len < 8; len++) {
        CHECK(!to_text(bytes, len, &out));
    }
    CHECK(to_text(bytes, 8, &out));
    CHECK(!to_text(bytes, 9, &out));
    wire_buffer_clear(&out, false);
}

/* `count` groups of 9999 and more than the most that there can be. */
static void
test_many_groups(void)
{
    static const size_t counts[] = {32767, 32768, WIRE_NUMERIC_DIGITS_MAX,
                                    WIRE_NUMERIC_DIGITS_MAX + 1};
    for (size_t i = 0; i < 4; i++) {
        size_t len = 8 + 2 * counts[i];
        uint8_t *bytes = malloc(len);
        if (bytes == NULL) {
            abort();
        }
        body(bytes, 32767, 0, 16383, NULL, 0);
        wire_store_u16(bytes, (uint16_t)counts[i]);
        for (size_t k = 0; k < counts[i]; k++) {
            wire_store_u16(bytes + 8 + 2 * k, 9999);
        }
        struct wire_buffer out;
        wire_buffer_init(&out);
        bool ok = to_text(bytes, len, &out);
        CHECK_INT(ok, counts[i] <= WIRE_NUMERIC_DIGITS_MAX);
        CHECK_INT(wire_buffer_size(&out), ok ? 131072 + 1 + 16383 : 0);
        if (ok) {
            CHECK_INT(out.data[131072], '.');
            CHECK_INT(out.data[0], '9');
            CHECK_INT(out.data[131071], counts[i] >= 32768 ? '9' : '0');
            CHECK_INT(out.data[out.end - 1], counts[i] > 36863 ? '9' : '0');
        }
        wire_buffer_clear(&out, false);
        free(bytes);
    }
}

/* The text appends: what is in the buffer stays. */
static void
test_appends(void)
{
    uint8_t bytes[64];
    struct wire_buffer out;
    wire_buffer_init(&out);
    wire_buffer_put(&out, "x=", 2);
    CHECK(to_text(bytes, body(bytes, 0, 0, 1, GROUPS(7, 5000)), &out));
    wire_buffer_put_u8(&out, 0);
    CHECK_STR((const char *)out.data, "x=7.5");
    wire_buffer_clear(&out, false);
}

/* Text → binary → text. */
static void
check_round_trip(const char *text, const char *expected)
{
    struct wire_buffer binary, out;
    wire_buffer_init(&binary);
    wire_buffer_init(&out);
    CHECK(wire_numeric_from_text(text, strlen(text), &binary));
    wire_slice value = wire_buffer_unread(&binary);
    CHECK(value.len >= 8 && to_text(value.ptr, value.len, &out));
    wire_buffer_put_u8(&out, 0);
    CHECK_STR((const char *)out.data, expected);
    wire_buffer_clear(&binary, false);
    wire_buffer_clear(&out, false);
}

static void
test_round_trips(void)
{
    static const char *const same[] = {
        "0",
        "1",
        "-1",
        "9",
        "10",
        "9999",
        "10000",
        "10001",
        "123456789",
        "0.1",
        "0.01",
        "0.001",
        "0.0001",
        "0.00001",
        "-0.00010",
        "1.10",
        "1.0000",
        "12345.6789",
        "0.00",
        "-12.3400",
        "100000000000000000000",
        "99999999999999999999.99999999999999999999",
        "NaN",
        "Infinity",
        "-Infinity",
        "1000000000000.0000000000001",
    };
    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
        check_round_trip(same[i], same[i]);
    }
}

static void
test_other_spellings(void)
{
    check_round_trip("+5", "5");
    check_round_trip("-0", "0");
    check_round_trip("-0.00", "0.00");
    check_round_trip("007", "7");
    check_round_trip("000.500", "0.500");
    check_round_trip("5.", "5");
    check_round_trip(".5", "0.5");
    check_round_trip("1E+3", "1000");
    check_round_trip("1.5e1", "15");
    check_round_trip("1.5e0", "1.5");
    check_round_trip("15E-1", "1.5");
    check_round_trip("1e-7", "0.0000001");
    check_round_trip("0E+5", "0");
    check_round_trip("0E-5", "0.00000");
    check_round_trip("0e99999999999999999999999", "0");
    check_round_trip("1.23E+1", "12.3");
    check_round_trip("1.20E-3", "0.00120");
    check_round_trip("nan", "NaN");
    check_round_trip("NAN", "NaN");
    check_round_trip("infinity", "Infinity");
    check_round_trip("+INFINITY", "Infinity");
    check_round_trip("inf", "Infinity");
    check_round_trip("-inf", "-Infinity");
}

static void
check_binary(const char *text, int weight, int sign, int scale, const int *groups, size_t n)
{
    uint8_t expected[64];
    size_t len = body(expected, weight, sign, scale, groups, n);
    struct wire_buffer out;
    wire_buffer_init(&out);
    CHECK(wire_numeric_from_text(text, strlen(text), &out));
    CHECK_INT(wire_buffer_size(&out), len);
    CHECK(wire_buffer_size(&out) == len && memcmp(out.data, expected, len) == 0);
    wire_buffer_clear(&out, false);
}

/* The digits are sent without zero groups at either end. */
static void
test_binary_form(void)
{
    check_binary("0", 0, 0, 0, NONE);
    check_binary("0.000", 0, 0, 3, NONE);
    check_binary("-0.000", 0, 0, 3, NONE);
    check_binary("1", 0, 0, 0, GROUPS(1));
    check_binary("10000", 1, 0, 0, GROUPS(1));
    check_binary("10000.00", 1, 0, 2, GROUPS(1));
    check_binary("-12.3400", 0, NEGATIVE, 4, GROUPS(12, 3400));
    check_binary("0.00001", -2, 0, 5, GROUPS(1000));
    check_binary("120000.00005", 1, 0, 5, GROUPS(12, 0, 0, 5000));
    check_binary("1E+8", 2, 0, 0, GROUPS(1));
    check_binary("12E-9", -2, 0, 9, GROUPS(1, 2000));
    check_binary("NaN", 0, NUMERIC_NAN, 0, NONE);
    check_binary("Infinity", 0, 0xD000, 0, NONE);
    check_binary("-Infinity", 0, 0xF000, 0, NONE);
}

static void
check_no_number(const char *text, size_t len)
{
    struct wire_buffer out;
    wire_buffer_init(&out);
    if (wire_numeric_from_text(text, len, &out)) {
        CHECK_STR(text, "refused");
    }
    CHECK_INT(wire_buffer_size(&out), 0);
    wire_buffer_clear(&out, false);
}

static void
test_no_numbers(void)
{
    static const char *const texts[] = {
        "",
        "-",
        "+",
        ".",
        "-.",
        "e5",
        ".e5",
        "1e",
        "1e+",
        "1e-",
        "1.2.3",
        "--1",
        "+-1",
        " 1",
        "1 ",
        "1_000",
        "1,5",
        "0x10",
        "1e5x",
        "1e5.0",
        "1e--5",
        "-nan",
        "snan",
        "nan1",
        "in",
        "infi",
        "infinityx",
        "- 1",
        "\xd9\xa1",
        "1/2",
        "1e131072",
        "1e-16384",
        "0e-16384",
        "1e99999999999999999999",
        "1e-99999999999999999999",
        "0.1e-16383",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        check_no_number(texts[i], strlen(texts[i]));
    }
    check_no_number("1\0", 2);
    check_no_number("\0", 1);
    check_no_number(NULL, 0);
}

/* A text of `before` nines, a point and `behind` eights. */
static char *
long_text(size_t before, size_t behind)
{
    char *text = malloc(before + behind + 2);
    if (text == NULL) {
        abort();
    }
    memset(text, '9', before);
    text[before] = '.';
    memset(text + before + 1, '8', behind);
    text[before + 1 + behind] = '\0';
    return text;
}

static void
test_limits(void)
{
    char *text = long_text(131072, 16383);
    check_round_trip(text, text);
    free(text);
    text = long_text(131073, 0);
    check_no_number(text, strlen(text));
    free(text);
    text = long_text(0, 16384);
    check_no_number(text, strlen(text));
    free(text);
    text = long_text(1, 16383);
    check_round_trip(text, text);
    free(text);
}

/* An exponent takes the digits to where they are allowed, or beyond. */
static void
test_exponent_limits(void)
{
    struct wire_buffer out;
    wire_buffer_init(&out);
    CHECK(wire_numeric_from_text("1e131071", 8, &out));
    CHECK(wire_numeric_from_text("0.0001e131075", 13, &out));
    CHECK(wire_numeric_from_text("1e-16383", 8, &out));
    CHECK(wire_numeric_from_text("10e-16383", 9, &out));
    CHECK(wire_numeric_from_text("0e-16383", 8, &out));
    wire_buffer_clear(&out, false);
}

/* No memory is said by the buffer: the body is a good one. */
static void
test_memory(void)
{
    uint8_t bytes[64];
    struct wire_buffer out;
    wire_buffer_init(&out);
    out.failed = WIRE_ERR_MEMORY;
    CHECK(to_text(bytes, body(bytes, 0, 0, 0, GROUPS(1)), &out));
    CHECK(wire_numeric_from_text("1.5", 3, &out));
    CHECK_INT(out.failed, WIRE_ERR_MEMORY);
    CHECK_INT(wire_buffer_size(&out), 0);
    wire_buffer_clear(&out, false);
}

int
main(void)
{
    test_to_text();
    test_unusual_bodies();
    test_hostile_bodies();
    test_counts();
    test_short_bodies();
    test_many_groups();
    test_appends();
    test_round_trips();
    test_other_spellings();
    test_binary_form();
    test_no_numbers();
    test_limits();
    test_exponent_limits();
    test_memory();
    return check_done();
}
