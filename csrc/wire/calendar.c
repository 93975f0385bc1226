#include "calendar.h"

#include <assert.h>

/* Years are counted from 1 March, so that the leap day is the last of its year,
 * and from so early a year that every day number is positive: ERAS_BEFORE cycles
 * of 400 years before the year 0. */
#define ERA_DAYS 146097
#define ERAS_BEFORE 15000
#define DAYS_TO_2000 730425 /* 0000-03-01 to 2000-01-01 */
#define DAY_OFFSET (INT64_C(146097) * ERAS_BEFORE + DAYS_TO_2000)
#define YEAR_OFFSET (400 * ERAS_BEFORE)

/* Days from 1 March to the first of the month that is `m` months later. */
static uint32_t
days_before_month(uint32_t m)
{
    return (153 * m + 2) / 5;
}

int32_t
wire_days_from_date(struct wire_date date)
{
    assert(date.year >= -6000000 && date.year <= 6000000);
    assert(date.month >= 1 && date.month <= 12 && date.day >= 1 && date.day <= 31);
    bool before_march = date.month < 3;
    int64_t year = (int64_t)date.year + YEAR_OFFSET - (before_march ? 1 : 0);
    uint32_t month = (uint32_t)date.month + (before_march ? 12 : 0) - 3;
    if (year < 0) {
        return INT32_MIN; /* January or February of the very first year */
    }
    int64_t days = year * 365 + year / 4 - year / 100 + year / 400;
    days += (int64_t)days_before_month(month) + date.day - 1 - DAY_OFFSET;
    if (days > INT32_MAX || days < INT32_MIN) {
        return days > 0 ? INT32_MAX : INT32_MIN;
    }
    return (int32_t)days;
}

struct wire_date
wire_date_from_days(int32_t days)
{
    uint64_t quarters = 4 * (uint64_t)(days + DAY_OFFSET) + 3;
    uint32_t century = (uint32_t)(quarters / ERA_DAYS);
    uint32_t century_quarters = (uint32_t)(quarters % ERA_DAYS) | 3;
    uint32_t year = century_quarters / 1461;
    uint32_t day = century_quarters % 1461 / 4;
    uint32_t month = (5 * day + 2) / 153;
    bool next_year = month >= 10;
    struct wire_date date = {
        .year = (int32_t)(100 * century + year) - YEAR_OFFSET + (next_year ? 1 : 0),
        .month = (uint8_t)(next_year ? month - 9 : month + 3),
        .day = (uint8_t)(day - days_before_month(month) + 1),
    };
    return date;
}

/* The caller has checked the range. */
static struct wire_time
time_of_usecs(uint64_t usecs)
{
    uint32_t seconds = (uint32_t)(usecs / 1000000);
    struct wire_time time = {
        .hour = (uint8_t)(seconds / 3600),
        .minute = (uint8_t)(seconds / 60 % 60),
        .second = (uint8_t)(seconds % 60),
        .microsecond = (uint32_t)(usecs % 1000000),
    };
    return time;
}

void
wire_split_timestamp(int64_t usecs, int32_t *days, struct wire_time *time)
{
    int64_t day = usecs / WIRE_USECS_PER_DAY;
    int64_t rest = usecs % WIRE_USECS_PER_DAY;
    if (rest < 0) {
        rest += WIRE_USECS_PER_DAY;
        day -= 1;
    }
    *days = (int32_t)day; /* at most 106,751,992 away */
    *time = time_of_usecs((uint64_t)rest);
}

bool
wire_split_time(int64_t usecs, struct wire_time *time)
{
    if (usecs < 0 || usecs > WIRE_USECS_PER_DAY) {
        return false;
    }
    *time = time_of_usecs((uint64_t)usecs);
    return true;
}

int64_t
wire_join_time(struct wire_time time)
{
    int64_t seconds = (int64_t)time.hour * 3600 + (int64_t)time.minute * 60 + time.second;
    return seconds * 1000000 + time.microsecond;
}
