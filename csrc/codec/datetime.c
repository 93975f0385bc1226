/* date, time, timestamp, timestamptz, interval. What PostgreSQL can hold and
 * Python cannot (infinity, years outside 1 to 9999, 24:00:00) is a DataError
 * that says so: never a value that means something else. */
#include "families.h"

#include <datetime.h>

#include "../wire/calendar.h"

#define DATETIME_USECS_PER_SECOND INT64_C(1000000)
#define DATETIME_SECONDS_PER_DAY 86400
#define DATETIME_DELTA_DAYS_MAX 999999999 /* of a timedelta */
#define DATETIME_TEXT_MAX 64

int
codec_datetime_import(void)
{
    PyDateTime_IMPORT;
    return PyDateTimeAPI == NULL ? -1 : 0;
}

static int
datetime_year_fits(int32_t year)
{
    return year >= 1 && year <= 9999;
}

/* Sets the DataError for a value that the server holds and Python does not. */
static PyObject *
datetime_fail_range(const struct codec *self, struct codec_ctx *ctx, const char *text,
                    const char *python_type)
{
    return codec_fail(self, ctx, "%s is outside the range of %s; cast it to text", text,
                      python_type);
}

/* Writes a day as the server does: 0044-03-15 BC. Returns its length. */
static int
datetime_day_text(struct wire_date date, const char *rest, char text[DATETIME_TEXT_MAX])
{
    int common_era = date.year >= 1;
    return snprintf(text, DATETIME_TEXT_MAX, "%04d-%02u-%02u%.20s%s",
                    common_era ? (int)date.year : 1 - (int)date.year, (unsigned)date.month,
                    (unsigned)date.day, rest, common_era ? "" : " BC");
}

PyObject *
codec_date_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    int32_t days = wire_load_i32(value.ptr);
    if (days == WIRE_DATE_INFINITY || days == WIRE_DATE_MINUS_INFINITY) {
        return datetime_fail_range(self, ctx, days < 0 ? "-infinity" : "infinity", "datetime.date");
    }
    struct wire_date date = wire_date_from_days(days);
    if (!datetime_year_fits(date.year)) {
        char text[DATETIME_TEXT_MAX];
        datetime_day_text(date, "", text);
        return datetime_fail_range(self, ctx, text, "datetime.date");
    }
    return PyDate_FromDate(date.year, date.month, date.day);
}

PyObject *
codec_time_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    struct wire_time time;
    int64_t usecs = wire_load_i64(value.ptr);
    if (!wire_split_time(usecs, &time)) {
        return codec_fail(self, ctx, "%lld microseconds are not a time of day", (long long)usecs);
    }
    if (time.hour == 24) {
        return datetime_fail_range(self, ctx, "24:00:00", "datetime.time");
    }
    return PyTime_FromTime(time.hour, time.minute, time.second, (int)time.microsecond);
}

static PyObject *
datetime_fail_timestamp(const struct codec *self, struct codec_ctx *ctx, int64_t usecs,
                        struct wire_date date, struct wire_time time)
{
    if (usecs == WIRE_TIMESTAMP_INFINITY || usecs == WIRE_TIMESTAMP_MINUS_INFINITY) {
        return datetime_fail_range(self, ctx, usecs < 0 ? "-infinity" : "infinity",
                                   "datetime.datetime");
    }
    char clock[DATETIME_TEXT_MAX];
    char text[DATETIME_TEXT_MAX];
    snprintf(clock, sizeof clock, " %02u:%02u:%02u.%06u", (unsigned)time.hour,
             (unsigned)time.minute, (unsigned)time.second, (unsigned)time.microsecond);
    datetime_day_text(date, clock, text);
    return datetime_fail_range(self, ctx, text, "datetime.datetime");
}

static PyObject *
datetime_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value, PyObject *zone)
{
    int32_t days;
    struct wire_time time;
    int64_t usecs = wire_load_i64(value.ptr);
    wire_split_timestamp(usecs, &days, &time);
    struct wire_date date = wire_date_from_days(days);
    if (!datetime_year_fits(date.year)) {
        return datetime_fail_timestamp(self, ctx, usecs, date, time);
    }
    return PyDateTimeAPI->DateTime_FromDateAndTime(date.year, date.month, date.day, time.hour,
                                                   time.minute, time.second, (int)time.microsecond,
                                                   zone, PyDateTimeAPI->DateTimeType);
}

PyObject *
codec_timestamp_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    return datetime_decode(self, ctx, value, Py_None);
}

PyObject *
codec_timestamptz_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    return datetime_decode(self, ctx, value, PyDateTime_TimeZone_UTC);
}

/* The day of a date or datetime, counted from 2000-01-01. */
static int32_t
datetime_days(PyObject *value)
{
    struct wire_date date = {PyDateTime_GET_YEAR(value), (uint8_t)PyDateTime_GET_MONTH(value),
                             (uint8_t)PyDateTime_GET_DAY(value)};
    return wire_days_from_date(date);
}

/* Microseconds since midnight of a datetime's clock. */
static int64_t
datetime_clock(PyObject *value)
{
    struct wire_time time = {(uint8_t)PyDateTime_DATE_GET_HOUR(value),
                             (uint8_t)PyDateTime_DATE_GET_MINUTE(value),
                             (uint8_t)PyDateTime_DATE_GET_SECOND(value),
                             (uint32_t)PyDateTime_DATE_GET_MICROSECOND(value)};
    return wire_join_time(time);
}

/* Microseconds from 2000-01-01 of a datetime, as its own clock shows them. */
static int64_t
datetime_usecs(PyObject *value)
{
    return datetime_days(value) * WIRE_USECS_PER_DAY + datetime_clock(value);
}

static enum codec_outcome
datetime_put_i64(const struct codec *self, struct codec_ctx *ctx, PyObject *value, int64_t number,
                 struct wire_buffer *out)
{
    uint8_t *p = wire_buffer_reserve(out, 8);
    if (p == NULL) {
        return codec_fail_room(self, ctx, value, out);
    }
    wire_store_u64(p, (uint64_t)number);
    wire_buffer_commit(out, 8);
    return CODEC_BINARY;
}

/* A str goes to the server's parser; anything else is refused with `remedy`. */
static enum codec_outcome
datetime_put_other(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                   const char *remedy, struct wire_buffer *out)
{
    if (PyUnicode_Check(value)) {
        return codec_put_str(self, ctx, value, out);
    }
    return codec_fail_value(self, ctx, value, "%s", remedy);
}

/* A datetime stands for its day only when that is all it says. */
static int
datetime_is_only_a_day(PyObject *value)
{
    return datetime_clock(value) == 0 && PyDateTime_DATE_GET_TZINFO(value) == Py_None;
}

enum codec_outcome
codec_date_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                  struct wire_buffer *out)
{
    if (!PyDate_Check(value)) {
        return datetime_put_other(self, ctx, value, "give a datetime.date", out);
    }
    if (PyDateTime_Check(value) && !datetime_is_only_a_day(value)) {
        return codec_fail_value(self, ctx, value, "its time or zone would be lost; use .date()");
    }
    uint8_t bytes[4];
    wire_store_u32(bytes, (uint32_t)datetime_days(value));
    return codec_put_bytes(self, ctx, value, bytes, sizeof bytes, out);
}

enum codec_outcome
codec_time_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                  struct wire_buffer *out)
{
    if (!PyTime_Check(value)) {
        return datetime_put_other(self, ctx, value, "give a datetime.time", out);
    }
    if (PyDateTime_TIME_GET_TZINFO(value) != Py_None) {
        return codec_fail_value(self, ctx, value,
                                "its zone would be lost; use .replace(tzinfo=None) or timetz");
    }
    struct wire_time time = {(uint8_t)PyDateTime_TIME_GET_HOUR(value),
                             (uint8_t)PyDateTime_TIME_GET_MINUTE(value),
                             (uint8_t)PyDateTime_TIME_GET_SECOND(value),
                             (uint32_t)PyDateTime_TIME_GET_MICROSECOND(value)};
    return datetime_put_i64(self, ctx, value, wire_join_time(time), out);
}

enum codec_outcome
codec_timestamp_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                       struct wire_buffer *out)
{
    if (!PyDateTime_Check(value)) {
        if (PyDate_Check(value)) {
            int64_t midnight = datetime_days(value) * WIRE_USECS_PER_DAY;
            return datetime_put_i64(self, ctx, value, midnight, out);
        }
        return datetime_put_other(self, ctx, value, "give a datetime.datetime", out);
    }
    if (PyDateTime_DATE_GET_TZINFO(value) != Py_None) {
        return codec_fail_value(self, ctx, value,
                                "its zone would be lost; use .replace(tzinfo=None) or a "
                                "timestamptz column");
    }
    return datetime_put_i64(self, ctx, value, datetime_usecs(value), out);
}

static int64_t
datetime_delta_usecs(PyObject *delta)
{
    int64_t seconds = PyDateTime_DELTA_GET_DAYS(delta) * (int64_t)DATETIME_SECONDS_PER_DAY
                      + PyDateTime_DELTA_GET_SECONDS(delta);
    return seconds * DATETIME_USECS_PER_SECOND + PyDateTime_DELTA_GET_MICROSECONDS(delta);
}

/* The UTC offset of a datetime in microseconds; false with an exception. */
static int
datetime_offset(const struct codec *self, struct codec_ctx *ctx, PyObject *value, int64_t *usecs)
{
    PyObject *zone = PyDateTime_DATE_GET_TZINFO(value);
    *usecs = 0;
    if (zone == PyDateTime_TimeZone_UTC) {
        return 1;
    }
    PyObject *offset = zone == Py_None
                           ? Py_NewRef(Py_None)
                           : PyObject_CallMethodNoArgs(value, ctx->types->str_utcoffset);
    if (offset == NULL) {
        codec_fail_raised(self, ctx, value, "its utcoffset() failed");
        return 0;
    }
    int aware = PyDelta_Check(offset);
    if (aware) {
        *usecs = datetime_delta_usecs(offset);
    }
    else {
        codec_fail_value(self, ctx, value,
                         "it has no time zone; use .replace(tzinfo=datetime.timezone.utc), "
                         ".astimezone() or a timestamp column");
    }
    Py_DECREF(offset);
    return aware;
}

enum codec_outcome
codec_timestamptz_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                         struct wire_buffer *out)
{
    if (!PyDateTime_Check(value)) {
        return datetime_put_other(self, ctx, value, "give an aware datetime.datetime", out);
    }
    int64_t offset;
    if (!datetime_offset(self, ctx, value, &offset)) {
        return CODEC_ERROR;
    }
    return datetime_put_i64(self, ctx, value, datetime_usecs(value) - offset, out);
}

/* The Python interval of months (30 days; a year 365), days and microseconds. */
PyObject *
codec_interval_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    int64_t usecs = wire_load_i64(value.ptr);
    int32_t days = wire_load_i32(value.ptr + 8);
    int32_t months = wire_load_i32(value.ptr + 12);
    if (usecs == INT64_MAX && days == INT32_MAX && months == INT32_MAX) {
        return datetime_fail_range(self, ctx, "infinity", "datetime.timedelta");
    }
    if (usecs == INT64_MIN && days == INT32_MIN && months == INT32_MIN) {
        return datetime_fail_range(self, ctx, "-infinity", "datetime.timedelta");
    }
    /* C division rounds to zero, so years and months have the sign of the whole. */
    int64_t all_days = (int64_t)(months / 12) * 365 + (int64_t)(months % 12) * 30 + days;
    int64_t rest = usecs % WIRE_USECS_PER_DAY;
    all_days += usecs / WIRE_USECS_PER_DAY;
    if (rest < 0) {
        rest += WIRE_USECS_PER_DAY;
        all_days -= 1;
    }
    if (all_days < -DATETIME_DELTA_DAYS_MAX || all_days > DATETIME_DELTA_DAYS_MAX) {
        char text[DATETIME_TEXT_MAX];
        snprintf(text, sizeof text, "an interval of %d months %d days", (int)months, (int)days);
        return datetime_fail_range(self, ctx, text, "datetime.timedelta");
    }
    return PyDelta_FromDSU((int)all_days, (int)(rest / DATETIME_USECS_PER_SECOND),
                           (int)(rest % DATETIME_USECS_PER_SECOND));
}

enum codec_outcome
codec_interval_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                      struct wire_buffer *out)
{
    if (!PyDelta_Check(value)) {
        return datetime_put_other(self, ctx, value, "give a datetime.timedelta", out);
    }
    int32_t days = PyDateTime_DELTA_GET_DAYS(value);
    int64_t usecs = PyDateTime_DELTA_GET_SECONDS(value) * DATETIME_USECS_PER_SECOND
                    + PyDateTime_DELTA_GET_MICROSECONDS(value);
    if (days < 0 && usecs > 0) {
        /* timedelta(hours=-1) counts -1 day and 23 hours; the server's day is not
         * always 24 hours, so it is sent as what was meant. */
        days += 1;
        usecs -= WIRE_USECS_PER_DAY;
    }
    uint8_t *p = wire_buffer_reserve(out, 16);
    if (p == NULL) {
        return codec_fail_room(self, ctx, value, out);
    }
    wire_store_u64(p, (uint64_t)usecs);
    wire_store_u32(p + 8, (uint32_t)days);
    wire_store_u32(p + 12, 0);
    wire_buffer_commit(out, 16);
    return CODEC_BINARY;
}
