/* scram.c: server-first-message, and every refusal of it that auth.h lists. */
#include "scram_bench.h"

/* The cap is that of the terms, up to the largest there is. */
static void
test_iterations_max(void)
{
    static const struct {
        uint32_t max;
        const char *count;
        enum wire_status status;
    } cases[] = {
        {1, "1", WIRE_OK},
        {1, "2", WIRE_ERR_AUTH},
        {10000000, "10000000", WIRE_OK},
        {10000000, "10000001", WIRE_ERR_AUTH},
        {UINT32_MAX, "4294967295", WIRE_OK},
        {UINT32_MAX, "4294967296", WIRE_ERR_AUTH},
        {UINT32_MAX, "99999999999999999999999", WIRE_ERR_AUTH},
        {0, "1", WIRE_ERR_AUTH},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char message[200];
        struct wire_scram_terms terms = terms_of('n', "");
        struct bench b;
        terms.iterations_max = cases[i].max;
        bench_init(&b);
        CHECK_INT(wire_scram_first(&b.scram, &terms, &b.out, &b.error), WIRE_OK);
        snprintf(message, sizeof(message), "r=" NONCE "x,s=c2FsdA==,i=%s", cases[i].count);
        CHECK_INT(feed(&b, message, strlen(message), false), cases[i].status);
        bench_clear(&b);
    }
}

/* server-first-message */

static void
check_first_bytes(const char *message, size_t len, enum wire_status expected, const char *word)
{
    struct bench b;
    bench_first(&b);
    enum wire_status status = feed(&b, message, len, false);
    if (status != expected) {
        CHECK_STR(message, "(the message above)");
    }
    CHECK_INT(status, expected);
    CHECK_INT(b.error.status, expected);
    if (expected == WIRE_OK) {
        CHECK_INT(b.scram.state, WIRE_SCRAM_KEY_NEEDED);
    }
    else {
        CHECK_INT(b.scram.state, WIRE_SCRAM_IDLE);
        if (strstr(b.error.text, word) == NULL) {
            CHECK_STR(b.error.text, word);
        }
        CHECK_INT(feed(&b, GOOD_FIRST, strlen(GOOD_FIRST), false), b.error.status);
    }
    bench_clear(&b);
}

static void
check_first(const char *message, enum wire_status expected, const char *word)
{
    check_first_bytes(message, strlen(message), expected, word);
}

static void
test_first_good(void)
{
    check_first(GOOD_FIRST, WIRE_OK, "");
    check_first("r=" NONCE "x,s=c2FsdHk=,i=1", WIRE_OK, "");
    check_first("r=" NONCE "x,s=c2FsdHl5,i=100000", WIRE_OK, "");
    check_first(GOOD_FIRST ",x=\xc3\xa4 =,Y=2", WIRE_OK, "");
}

static void
test_first_nonce(void)
{
    check_first("r=" NONCE SALT_AND_COUNT, WIRE_ERR_AUTH, "added nothing");
    check_first("r=BAECAwQFBgcICQoLDA0ODxARserver" SALT_AND_COUNT, WIRE_ERR_AUTH, "start");
    check_first("r=AAECAwQFBgcICQoLDA0ODxASserver" SALT_AND_COUNT, WIRE_ERR_AUTH, "start");
    check_first("r=AAECAwQFBgcICQoLDA0ODxA" SALT_AND_COUNT, WIRE_ERR_AUTH, "start");
    check_first("r=server" SALT_AND_COUNT, WIRE_ERR_AUTH, "start");
    check_first("r=" SALT_AND_COUNT, WIRE_ERR_PROTOCOL, "nonce");
    check_first("r=" NONCE "a b" SALT_AND_COUNT, WIRE_ERR_PROTOCOL, "printable");
    check_first("r=" NONCE "\x7f" SALT_AND_COUNT, WIRE_ERR_PROTOCOL, "printable");
    check_first("r=" NONCE "\xc3\xa4" SALT_AND_COUNT, WIRE_ERR_PROTOCOL, "printable");
    check_first("r=" NONCE "\n" SALT_AND_COUNT, WIRE_ERR_PROTOCOL, "printable");
}

static void
test_first_extensions(void)
{
    check_first("m=ext," GOOD_FIRST, WIRE_ERR_AUTH, "mandatory");
    check_first(GOOD_FIRST ",m=ext", WIRE_ERR_AUTH, "mandatory");
    check_first(GOOD_FIRST ",x=1,m=2,y=3", WIRE_ERR_AUTH, "mandatory");
    check_first(GOOD_FIRST ",", WIRE_ERR_PROTOCOL, "iteration count");
    check_first(GOOD_FIRST ",x", WIRE_ERR_PROTOCOL, "extension");
    check_first(GOOD_FIRST ",x=", WIRE_ERR_PROTOCOL, "extension");
    check_first(GOOD_FIRST ",x=1,", WIRE_ERR_PROTOCOL, "extension");
    check_first(GOOD_FIRST ",,x=1", WIRE_ERR_PROTOCOL, "extension");
    check_first(GOOD_FIRST ",1=1", WIRE_ERR_PROTOCOL, "extension");
    check_first(GOOD_FIRST ",junk", WIRE_ERR_PROTOCOL, "extension");
    check_first(GOOD_FIRST ",xy=1", WIRE_ERR_PROTOCOL, "extension");
}

static void
test_first_salt(void)
{
    static const char *const bad[] = {
        "c2FsdA",    "c2FsdA=",      "c2FsdA===",        "c2FsdB==", "c2FsdHl=", "c2Fs dA==",
        "c2Fs\ndA=", "c2F*dA==",     "c2-_dA==",         "====",     "c===",     "=2Fs",
        "c2==c2Fs",  "c2FsdA==c2Fs", "\xc3\xa4\xc3\xa4", "c2F",      "c2",       "c",
        "=",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char message[200];
        snprintf(message, sizeof(message), "r=" NONCE "x,s=%s,i=2", bad[i]);
        check_first(message, WIRE_ERR_PROTOCOL, "base64");
    }
    check_first("r=" NONCE "x,s=,i=2", WIRE_ERR_PROTOCOL, "salt");
    check_first("r=" NONCE "x,i=2", WIRE_ERR_PROTOCOL, "salt");
    check_first("r=" NONCE "x,i=2,s=c2FsdA==", WIRE_ERR_PROTOCOL, "salt");
}

/* A salt of `n` zero bytes. */
static void
check_salt_length(size_t n, enum wire_status expected)
{
    char message[2100] = "r=" NONCE "x,s=";
    size_t groups = (n + 2) / 3;
    size_t start = strlen(message);
    memset(message + start, 'A', groups * 4);
    size_t end = start + groups * 4;
    for (size_t pad = groups * 3 - n; pad > 0; pad--) {
        message[end - pad] = '=';
    }
    memcpy(message + end, ",i=2", 5);
    check_first(message, expected, "salt");
}

static void
test_first_salt_length(void)
{
    check_salt_length(1, WIRE_OK);
    check_salt_length(2, WIRE_OK);
    check_salt_length(WIRE_SCRAM_SALT_MAX - 1, WIRE_OK);
    check_salt_length(WIRE_SCRAM_SALT_MAX, WIRE_OK);
    check_salt_length(WIRE_SCRAM_SALT_MAX + 1, WIRE_ERR_LIMIT);
    check_salt_length(WIRE_SCRAM_SALT_MAX + 2, WIRE_ERR_LIMIT);
    check_salt_length(WIRE_SCRAM_SALT_MAX + 3, WIRE_ERR_LIMIT);
    check_salt_length(1400, WIRE_ERR_LIMIT);
}

static void
test_first_iterations(void)
{
    static const struct {
        const char *count;
        enum wire_status status;
    } cases[] = {
        {"0", WIRE_ERR_PROTOCOL},
        {"00", WIRE_ERR_PROTOCOL},
        {"02", WIRE_ERR_PROTOCOL},
        {"-1", WIRE_ERR_PROTOCOL},
        {"+2", WIRE_ERR_PROTOCOL},
        {" 2", WIRE_ERR_PROTOCOL},
        {"2 ", WIRE_ERR_PROTOCOL},
        {"2x", WIRE_ERR_PROTOCOL},
        {"0x10", WIRE_ERR_PROTOCOL},
        {"1e3", WIRE_ERR_PROTOCOL},
        {"", WIRE_ERR_PROTOCOL},
        {"100001", WIRE_ERR_AUTH},
        {"2147483647", WIRE_ERR_AUTH},
        {"2147483648", WIRE_ERR_AUTH},
        {"4294967296", WIRE_ERR_AUTH},
        {"4294967298", WIRE_ERR_AUTH},
        {"18446744073709551618", WIRE_ERR_AUTH},
        {"99999999999999999999999999999999999999999", WIRE_ERR_AUTH},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char message[200];
        snprintf(message, sizeof(message), "r=" NONCE "x,s=c2FsdA==,i=%s", cases[i].count);
        check_first(message, cases[i].status, "iteration");
    }
    check_first("r=" NONCE "x,s=c2FsdA==", WIRE_ERR_PROTOCOL, "iteration");
}

static void
test_first_shape(void)
{
    static const char with_nul[] = "r=" NONCE "x\0y" SALT_AND_COUNT;
    static const char nul_behind[] = GOOD_FIRST;
    check_first_bytes(with_nul, sizeof(with_nul) - 1, WIRE_ERR_PROTOCOL, "zero byte");
    check_first_bytes(nul_behind, sizeof(nul_behind), WIRE_ERR_PROTOCOL, "zero byte");
    check_first("", WIRE_ERR_PROTOCOL, "empty");
    check_first("e=other-error", WIRE_ERR_PROTOCOL, "nonce");
    check_first("x", WIRE_ERR_PROTOCOL, "nonce");
    check_first("r", WIRE_ERR_PROTOCOL, "nonce");
    check_first("r=", WIRE_ERR_PROTOCOL, "nonce");
    check_first(",,,", WIRE_ERR_PROTOCOL, "nonce");
    check_first("R=" NONCE "x" SALT_AND_COUNT, WIRE_ERR_PROTOCOL, "nonce");
    check_first("a=1," GOOD_FIRST, WIRE_ERR_PROTOCOL, "nonce");
    check_first("v=" GOOD_SIGNATURE, WIRE_ERR_PROTOCOL, "nonce");
}

/* Cut anywhere, a message is refused, or means the same but for the count. */
static void
test_first_truncated(void)
{
    static const char message[] = "r=" NONCE "server!,s=c2FsdA==,i=2345";
    size_t shortest = sizeof(message) - 1 - 3;
    for (size_t len = 0; len < sizeof(message); len++) {
        struct bench b;
        bench_first(&b);
        enum wire_status status = feed(&b, message, len, false);
        bool good = len >= shortest && len < sizeof(message);
        CHECK_INT(status == WIRE_OK, good);
        bench_clear(&b);
    }
}

static void
test_first_too_long(void)
{
    char message[WIRE_AUTH_MESSAGE_MAX + 2];
    memset(message, 'x', sizeof(message));
    memcpy(message, GOOD_FIRST ",x=", strlen(GOOD_FIRST ",x="));
    check_first_bytes(message, WIRE_AUTH_MESSAGE_MAX, WIRE_OK, "");
    message[WIRE_AUTH_MESSAGE_MAX + 1] = '\0';
    check_first_bytes(message, WIRE_AUTH_MESSAGE_MAX + 1, WIRE_ERR_LIMIT, "over");
}

int
main(void)
{
    test_iterations_max();
    test_first_good();
    test_first_nonce();
    test_first_extensions();
    test_first_salt();
    test_first_salt_length();
    test_first_iterations();
    test_first_shape();
    test_first_truncated();
    test_first_too_long();
    return check_done();
}
