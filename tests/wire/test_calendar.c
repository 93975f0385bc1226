/* calendar.c against a calendar that counts every day, one after the other. */
#include "calendar.h"
#include "check.h"

#define FIRST_YEAR (-5000)
#define LAST_YEAR 12000

static bool
is_leap(int32_t year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static int
month_days(int32_t year, int month)
{
    static const int days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return days[month - 1] + (month == 2 && is_leap(year) ? 1 : 0);
}

/* The number of FIRST_YEAR-01-01, year by year from 2000. */
static int32_t
first_day(void)
{
    int32_t day = 0;
    for (int32_t year = 1999; year >= FIRST_YEAR; year--) {
        day -= is_leap(year) ? 366 : 365;
    }
    return day;
}

static bool
same_date(struct wire_date a, int32_t year, int month, int day)
{
    return a.year == year && a.month == month && a.day == day;
}

static void
test_every_day(void)
{
    int32_t number = first_day();
    for (int32_t year = FIRST_YEAR; year <= LAST_YEAR; year++) {
        for (int month = 1; month <= 12; month++) {
            for (int day = 1; day <= month_days(year, month); day++, number++) {
                struct wire_date date = {year, (uint8_t)month, (uint8_t)day};
                if (!same_date(wire_date_from_days(number), year, month, day)
                    || wire_days_from_date(date) != number) {
                    CHECK_INT(wire_date_from_days(number).year, year);
                    CHECK_INT(wire_date_from_days(number).month, month);
                    CHECK_INT(wire_date_from_days(number).day, day);
                    CHECK_INT(wire_days_from_date(date), number);
                }
            }
        }
    }
    CHECK_INT(number, 3652791); /* 12001-01-01 */
}

static void
check_date(int32_t days, int32_t year, int month, int day)
{
    struct wire_date date = wire_date_from_days(days);
    CHECK_INT(date.year, year);
    CHECK_INT(date.month, month);
    CHECK_INT(date.day, day);
    struct wire_date back = {year, (uint8_t)month, (uint8_t)day};
    CHECK_INT(wire_days_from_date(back), days);
}

static void
test_known_days(void)
{
    check_date(0, 2000, 1, 1);
    check_date(-10957, 1970, 1, 1);
    check_date(59, 2000, 2, 29);
    check_date(-730119, 1, 1, 1);           /* the first day of Python's datetime */
    check_date(2921939, 9999, 12, 31);      /* and the last */
    check_date(-2451545, -4713, 11, 24);    /* Julian day 0: the first of PostgreSQL */
    check_date(2145031948, 5874897, 12, 31); /* the last of PostgreSQL */
    check_date(INT32_MAX, 5881610, 7, 11);
    check_date(INT32_MIN, -5877611, 6, 22);
}

/* All of int32, in steps: every day is one later than the day before. */
static void
test_whole_range(void)
{
    for (int64_t n = INT32_MIN; n < INT32_MAX; n += 6121) {
        struct wire_date date = wire_date_from_days((int32_t)n);
        struct wire_date next = wire_date_from_days((int32_t)(n + 1));
        bool month_over = date.day == month_days(date.year, date.month);
        bool year_over = month_over && date.month == 12;
        int32_t year = date.year + (year_over ? 1 : 0);
        int month = year_over ? 1 : date.month + (month_over ? 1 : 0);
        if (!same_date(next, year, month, month_over ? 1 : date.day + 1)
            || wire_days_from_date(date) != (int32_t)n) {
            CHECK_INT(n, 0);
        }
    }
}

static void
test_beyond_int32(void)
{
    struct wire_date last = {6000000, 12, 31};
    struct wire_date first = {-6000000, 1, 1};
    struct wire_date march = {-6000000, 3, 1};
    CHECK_INT(wire_days_from_date(last), WIRE_DATE_INFINITY);
    CHECK_INT(wire_days_from_date(first), WIRE_DATE_MINUS_INFINITY);
    CHECK_INT(wire_days_from_date(march), WIRE_DATE_MINUS_INFINITY);
}

static void
check_split(int64_t usecs, int32_t days, int hour, int minute, int second, int64_t micro)
{
    int32_t got_days;
    struct wire_time time;
    wire_split_timestamp(usecs, &got_days, &time);
    CHECK_INT(got_days, days);
    CHECK_INT(time.hour, hour);
    CHECK_INT(time.minute, minute);
    CHECK_INT(time.second, second);
    CHECK_INT(time.microsecond, micro);
}

static void
test_split_timestamp(void)
{
    check_split(0, 0, 0, 0, 0, 0);
    check_split(1, 0, 0, 0, 0, 1);
    check_split(-1, -1, 23, 59, 59, 999999);
    check_split(WIRE_USECS_PER_DAY - 1, 0, 23, 59, 59, 999999);
    check_split(WIRE_USECS_PER_DAY, 1, 0, 0, 0, 0);
    check_split(-WIRE_USECS_PER_DAY, -1, 0, 0, 0, 0);
    check_split(-WIRE_USECS_PER_DAY - 1, -2, 23, 59, 59, 999999);
    check_split(INT64_C(845296496123456), 9783, 12, 34, 56, 123456);
    check_split(INT64_MAX, 106751991, 4, 0, 54, 775807);
    check_split(INT64_MIN, -106751992, 19, 59, 5, 224192);
}

/* Put together again, every split gives what was split. */
static void
test_split_is_reversible(void)
{
    uint64_t state = 1;
    for (int i = 0; i < 300000; i++) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        int64_t usecs = (int64_t)((state ^ state << 31) >> (2 + i % 32));
        usecs = (i & 1) != 0 ? usecs : -usecs;
        int32_t days;
        struct wire_time time;
        wire_split_timestamp(usecs, &days, &time);
        int64_t again = days * WIRE_USECS_PER_DAY + wire_join_time(time);
        if (again != usecs) {
            CHECK_INT(again, usecs);
        }
    }
}

static void
test_split_time(void)
{
    struct wire_time time = {1, 2, 3, 4};
    CHECK(!wire_split_time(-1, &time));
    CHECK(!wire_split_time(WIRE_USECS_PER_DAY + 1, &time));
    CHECK(!wire_split_time(INT64_MAX, &time));
    CHECK(!wire_split_time(INT64_MIN, &time));
    CHECK_INT(time.hour, 1); /* untouched */
    CHECK(wire_split_time(WIRE_USECS_PER_DAY, &time));
    CHECK_INT(time.hour, 24);
    CHECK_INT(time.minute, 0);
    CHECK_INT(time.second, 0);
    CHECK_INT(time.microsecond, 0);
    CHECK_INT(wire_join_time(time), WIRE_USECS_PER_DAY);
    for (int64_t second = 0; second < 86400; second++) {
        int64_t usecs = second * 1000000 + (second * 7919) % 1000000;
        bool ok = wire_split_time(usecs, &time);
        bool same = time.hour == second / 3600 && time.minute == second % 3600 / 60
                    && time.second == second % 60 && time.microsecond == (second * 7919) % 1000000;
        if (!ok || !same || wire_join_time(time) != usecs) {
            CHECK_INT(wire_join_time(time), usecs);
            CHECK(same);
        }
    }
}

int
main(void)
{
    test_every_day();
    test_known_days();
    test_whole_range();
    test_beyond_int32();
    test_split_timestamp();
    test_split_is_reversible();
    test_split_time();
    return check_done();
}
