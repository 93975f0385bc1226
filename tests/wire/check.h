/* Checks for the C tests: a failed one prints both sides and the test goes on;
 * main() ends with `return check_done();`. */
#ifndef CHECK_H
#define CHECK_H

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "protocol.h"

static int check_failures;

static inline void
check_fail(const char *file, int line)
{
    check_failures++;
    fprintf(stderr, "%s:%d: ", file, line);
}

static inline void
check_true(bool ok, const char *text, const char *file, int line)
{
    if (!ok) {
        check_fail(file, line);
        fprintf(stderr, "not so: %s\n", text);
    }
}

static inline void
check_int(long long got, long long expected, const char *text, const char *file, int line)
{
    if (got != expected) {
        check_fail(file, line);
        fprintf(stderr, "%s: %lld, expected %lld\n", text, got, expected);
    }
}

static inline void
check_str(const char *got, const char *expected, const char *text, const char *file, int line)
{
    if (strcmp(got, expected) != 0) {
        check_fail(file, line);
        fprintf(stderr, "%s: \"%.200s\", expected \"%.200s\"\n", text, got, expected);
    }
}

/* Any bytes, printed in hex. */
static inline void
check_hex(const char *side, const void *bytes, size_t len)
{
    fprintf(stderr, " %s %zu:", side, len);
    for (size_t i = 0; i < len && i < 100; i++) {
        fprintf(stderr, " %02x", ((const unsigned char *)bytes)[i]);
    }
}

static inline void
check_slice(wire_slice got, const void *expected, size_t len, const char *text, const char *file,
            int line)
{
    if (got.len != len || (len != 0 && memcmp(got.ptr, expected, len) != 0)) {
        check_fail(file, line);
        fprintf(stderr, "%s:", text);
        check_hex("got", got.ptr, got.len);
        check_hex("expected", expected, len);
        fprintf(stderr, "\n");
    }
}

#define CHECK(condition) check_true((condition), #condition, __FILE__, __LINE__)
#define CHECK_INT(got, expected)                                                                   \
    check_int((long long)(got), (long long)(expected), #got, __FILE__, __LINE__)
#define CHECK_STR(got, expected) check_str((got), (expected), #got, __FILE__, __LINE__)
/* A wire_slice against a string literal, which may have NULs inside. */
#define CHECK_SLICE(slice, literal)                                                                \
    check_slice((slice), literal, sizeof(literal) - 1, #slice, __FILE__, __LINE__)

/* The exit code of the test. */
static inline int
check_done(void)
{
    return check_failures == 0 ? 0 : 1;
}

#endif
