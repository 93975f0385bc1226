/* The proleptic Gregorian calendar as PostgreSQL counts it: days and
 * microseconds from 2000-01-01. */
#ifndef WIRE_CALENDAR_H
#define WIRE_CALENDAR_H

#include <stdbool.h>
#include <stdint.h>

#define WIRE_USECS_PER_DAY INT64_C(86400000000)
#define WIRE_DATE_INFINITY INT32_MAX
#define WIRE_DATE_MINUS_INFINITY INT32_MIN
#define WIRE_TIMESTAMP_INFINITY INT64_MAX
#define WIRE_TIMESTAMP_MINUS_INFINITY INT64_MIN

/* A day; the year is astronomical (0 is 1 BC). */
struct wire_date {
    int32_t year;
    uint8_t month; /* 1-12 */
    uint8_t day;   /* 1-31 */
};

struct wire_time {
    uint8_t hour; /* 0-24: PostgreSQL has 24:00:00 */
    uint8_t minute;
    uint8_t second;
    uint32_t microsecond;
};

/* Days from 2000-01-01; any year within ±6,000,000 and a valid month and day. What
 * is beyond int32 (years before -5,877,611 or after 5,881,610) gives INT32_MIN or
 * INT32_MAX, which are the infinities. */
int32_t wire_days_from_date(struct wire_date date);
/* The day `days` from 2000-01-01; total over all int32 values. */
struct wire_date wire_date_from_days(int32_t days);
/* Splits microseconds from 2000-01-01 into a day number and a time of day, for all int64 values. */
void wire_split_timestamp(int64_t usecs, int32_t *days, struct wire_time *time);
/* Splits 0 … 86,400,000,000 (24:00:00 included); false outside. */
bool wire_split_time(int64_t usecs, struct wire_time *time);
/* Microseconds since midnight. */
int64_t wire_join_time(struct wire_time time);

#endif
