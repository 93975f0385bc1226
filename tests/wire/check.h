/* Checks for the C tests: a failed one prints both sides and the test goes on;
 * main() ends with `return check_done();`. */
#ifndef CHECK_H
#define CHECK_H

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

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

#define CHECK(condition) check_true((condition), #condition, __FILE__, __LINE__)
#define CHECK_INT(got, expected)                                                                   \
    check_int((long long)(got), (long long)(expected), #got, __FILE__, __LINE__)
#define CHECK_STR(got, expected) check_str((got), (expected), #got, __FILE__, __LINE__)

/* The exit code of the test. */
static inline int
check_done(void)
{
    return check_failures == 0 ? 0 : 1;
}

#endif
