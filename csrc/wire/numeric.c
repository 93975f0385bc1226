#include "numeric.h"

#define SIGN_POSITIVE 0x0000u
#define SIGN_NEGATIVE 0x4000u
#define SIGN_NAN 0xC000u
#define SIGN_INFINITY 0xD000u
#define SIGN_MINUS_INFINITY 0xF000u

#define SCALE_MAX 16383
#define WEIGHT_MIN (-4096) /* the group of the last digit that SCALE_MAX can show */
#define INTEGER_DIGITS_MAX 131072
#define HEADER_LEN 8
#define EXPONENT_HUGE INT64_C(100000000000000000) /* beyond every limit, far from overflow */

/* A binary numeric: group i counts 10000 to the power of weight - i. */
struct numeric {
    const uint8_t *groups;
    int32_t count;
    int32_t weight;
    unsigned sign;
    uint32_t scale;
};

static const char pairs[] = "00010203040506070809101112131415161718192021222324"
                            "25262728293031323334353637383940414243444546474849"
                            "50515253545556575859606162636465666768697071727374"
                            "75767778798081828384858687888990919293949596979899";

/* Binary to text */

static void
put_text(struct wire_buffer *out, const char *text)
{
    wire_buffer_put(out, text, strlen(text));
}

static bool
is_special(unsigned sign)
{
    return sign == SIGN_NAN || sign == SIGN_INFINITY || sign == SIGN_MINUS_INFINITY;
}

/* Reads and checks everything. */
static bool
numeric_parse(wire_slice value, struct numeric *n)
{
    if (value.len < HEADER_LEN) {
        return false;
    }
    n->count = wire_load_u16(value.ptr);
    n->weight = wire_load_i16(value.ptr + 2);
    n->sign = wire_load_u16(value.ptr + 4);
    n->scale = wire_load_u16(value.ptr + 6);
    n->groups = value.ptr + HEADER_LEN;
    if ((size_t)n->count * 2 != value.len - HEADER_LEN || n->count > WIRE_NUMERIC_DIGITS_MAX) {
        return false;
    }
    if (n->scale > SCALE_MAX || (n->count > 0 && n->weight < WEIGHT_MIN)) {
        return false;
    }
    for (int32_t i = 0; i < n->count; i++) {
        if (wire_load_u16(n->groups + 2 * i) > 9999) {
            return false;
        }
    }
    return n->sign == SIGN_POSITIVE || n->sign == SIGN_NEGATIVE || is_special(n->sign);
}

static uint8_t *
write_group(uint8_t *p, const uint8_t *group)
{
    unsigned value = wire_load_u16(group);
    memcpy(p, pairs + 2 * (value / 100), 2);
    memcpy(p + 2, pairs + 2 * (value % 100), 2);
    return p + 4;
}

/* The first group, without leading zeros. */
static uint8_t *
write_first_group(uint8_t *p, const uint8_t *group)
{
    uint8_t digits[4];
    unsigned value = wire_load_u16(group);
    unsigned skip = value < 10 ? 3 : value < 100 ? 2 : value < 1000 ? 1 : 0;
    write_group(digits, group);
    memcpy(p, digits + skip, 4 - skip);
    return p + 4 - skip;
}

static uint8_t *
write_zeros(uint8_t *p, int32_t groups)
{
    memset(p, '0', 4 * (size_t)groups);
    return p + 4 * groups;
}

static uint8_t *
write_integer(uint8_t *p, const struct numeric *n)
{
    if (n->weight < 0) {
        *p = '0';
        return p + 1;
    }
    int32_t whole = n->weight + 1;
    int32_t given = n->count < whole ? n->count : whole;
    p = write_first_group(p, n->groups);
    for (int32_t i = 1; i < given; i++) {
        p = write_group(p, n->groups + 2 * i);
    }
    return write_zeros(p, whole - given);
}

/* Writes whole groups, up to three digits more than the scale shows, and gives
 * the end of what it shows. */
static uint8_t *
write_fraction(uint8_t *p, const struct numeric *n)
{
    uint8_t *end = p + n->scale;
    int32_t wanted = (int32_t)(n->scale + 3) / 4;
    int32_t first = n->weight + 1; /* the group right behind the point */
    int32_t zeros = first < 0 ? (-first < wanted ? -first : wanted) : 0;
    p = write_zeros(p, zeros);
    int32_t i = first + zeros;
    int32_t stop = first + wanted;
    for (; i < stop && i < n->count; i++) {
        p = write_group(p, n->groups + 2 * i);
    }
    write_zeros(p, stop - i);
    return end;
}

static void
put_finite(struct numeric *n, struct wire_buffer *out)
{
    while (n->count > 0 && wire_load_u16(n->groups) == 0) {
        n->groups += 2;
        n->count--;
        n->weight--;
    }
    if (n->count == 0) {
        n->weight = -1;
    }
    size_t integer_len = n->weight < 0 ? 1 : 4 * ((size_t)n->weight + 1);
    uint8_t *start = wire_buffer_reserve(out, integer_len + n->scale + 5);
    if (start == NULL) {
        return;
    }
    uint8_t *p = start;
    if (n->sign == SIGN_NEGATIVE && n->count > 0) {
        *p++ = '-';
    }
    p = write_integer(p, n);
    if (n->scale > 0) {
        *p++ = '.';
        p = write_fraction(p, n);
    }
    wire_buffer_commit(out, (size_t)(p - start));
}

bool
wire_numeric_to_text(wire_slice value, struct wire_buffer *out)
{
    struct numeric n;
    if (!numeric_parse(value, &n)) {
        return false;
    }
    if (n.sign == SIGN_NAN) {
        put_text(out, "NaN");
    }
    else if (n.sign == SIGN_INFINITY) {
        put_text(out, "Infinity");
    }
    else if (n.sign == SIGN_MINUS_INFINITY) {
        put_text(out, "-Infinity");
    }
    else {
        put_finite(&n, out);
    }
    return true;
}

/* Text to binary */

/* Decimal text, cut into parts. Digit i of the mantissa (the point not counted)
 * counts 10 to the power of before - 1 - i. */
struct decimal {
    const char *mantissa;
    int64_t digits; /* in the mantissa */
    int64_t point;  /* digits before the point as spelled */
    int64_t before; /* digits before the point after the exponent moved it */
    bool negative;
};

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Whether the text is `word` (lower case), in any case. */
static bool
is_word(const char *p, const char *end, const char *word)
{
    size_t len = strlen(word);
    if ((size_t)(end - p) != len) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        if ((p[i] | 0x20) != word[i]) {
            return false;
        }
    }
    return true;
}

/* Reads "[+-]digits" up to the end of the text; what is huge stays huge. */
static bool
parse_exponent(const char *p, const char *end, int64_t *exponent)
{
    bool negative = p != end && *p == '-';
    if (p != end && (*p == '-' || *p == '+')) {
        p++;
    }
    if (p == end) {
        return false;
    }
    int64_t value = 0;
    for (; p != end; p++) {
        if (!is_digit(*p)) {
            return false;
        }
        if (value < EXPONENT_HUGE) {
            value = value * 10 + (*p - '0');
        }
    }
    *exponent = negative ? -value : value;
    return true;
}

/* Cuts a text behind its sign into parts. */
static bool
parse_decimal(const char *p, const char *end, struct decimal *d)
{
    d->mantissa = p;
    d->digits = 0;
    d->point = -1;
    for (; p != end && (is_digit(*p) || (*p == '.' && d->point < 0)); p++) {
        if (*p == '.') {
            d->point = d->digits;
        }
        else {
            d->digits++;
        }
    }
    if (d->point < 0) {
        d->point = d->digits;
    }
    int64_t exponent = 0;
    if (d->digits == 0 || (p != end && (*p | 0x20) != 'e')) {
        return false;
    }
    if (p != end && !parse_exponent(p + 1, end, &exponent)) {
        return false;
    }
    d->before = d->point + exponent;
    return true;
}

static unsigned
decimal_digit(const struct decimal *d, int64_t i)
{
    return (unsigned)(d->mantissa[i < d->point ? i : i + 1] - '0');
}

static void
put_header(struct wire_buffer *out, int64_t count, int64_t weight, unsigned sign, int64_t scale)
{
    wire_buffer_put_u16(out, (uint16_t)count);
    wire_buffer_put_u16(out, (uint16_t)weight);
    wire_buffer_put_u16(out, (uint16_t)sign);
    wire_buffer_put_u16(out, (uint16_t)scale);
}

static int64_t
floor_div4(int64_t x)
{
    return x >= 0 ? x / 4 : -((3 - x) / 4);
}

/* Writes digits first … last in groups of four; `gap` of them, counted from the
 * left, are missing in the first group. */
static void
put_groups(const struct decimal *d, int64_t first, int64_t last, int64_t gap,
           struct wire_buffer *out)
{
    unsigned group = 0;
    int64_t left = 4 - gap;
    for (int64_t i = first; i <= last; i++) {
        group = group * 10 + decimal_digit(d, i);
        if (--left == 0) {
            wire_buffer_put_u16(out, (uint16_t)group);
            group = 0;
            left = 4;
        }
    }
    if (left < 4) {
        for (; left > 0; left--) {
            group *= 10;
        }
        wire_buffer_put_u16(out, (uint16_t)group);
    }
}

static bool
put_decimal(const struct decimal *d, struct wire_buffer *out)
{
    int64_t scale = d->digits > d->before ? d->digits - d->before : 0;
    if (scale > SCALE_MAX) {
        return false;
    }
    int64_t first = 0;
    int64_t last = d->digits - 1;
    while (first <= last && decimal_digit(d, first) == 0) {
        first++;
    }
    if (first > last) {
        put_header(out, 0, 0, SIGN_POSITIVE, scale);
        return true;
    }
    while (decimal_digit(d, last) == 0) {
        last--;
    }
    int64_t top = d->before - 1 - first; /* the power of ten of the first digit */
    int64_t bottom = d->before - 1 - last;
    if (top >= INTEGER_DIGITS_MAX) {
        return false;
    }
    int64_t weight = floor_div4(top);
    int64_t count = weight - floor_div4(bottom) + 1;
    put_header(out, count, weight, d->negative ? SIGN_NEGATIVE : SIGN_POSITIVE, scale);
    put_groups(d, first, last, 3 - (top - 4 * weight), out);
    return true;
}

bool
wire_numeric_from_text(const char *text, size_t len, struct wire_buffer *out)
{
    const char *p = text;
    const char *end = len == 0 ? text : text + len; /* NULL where there is no text */
    if (is_word(p, end, "nan")) {
        put_header(out, 0, 0, SIGN_NAN, 0);
        return true;
    }
    struct decimal d = {.negative = p != end && *p == '-'};
    if (p != end && (*p == '-' || *p == '+')) {
        p++;
    }
    if (is_word(p, end, "infinity") || is_word(p, end, "inf")) {
        put_header(out, 0, 0, d.negative ? SIGN_MINUS_INFINITY : SIGN_INFINITY, 0);
        return true;
    }
    return parse_decimal(p, end, &d) && put_decimal(&d, out);
}
