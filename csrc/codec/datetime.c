/* date, time, timetz, timestamp, timestamptz, interval. What PostgreSQL can hold and
 * Python cannot (infinity, years outside 1 to 9999, 24:00:00) is for beyond.c. */
#include "families.h"

#include <datetime.h>

#include "../wire/calendar.h"
#include "beyond.h"

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

/* The kinds: what may be sent, and the two infinities. */
static const char datetime_infinities_64[] = "\x7f\xff\xff\xff\xff\xff\xff\xff\x80\0\0\0\0\0\0";

static const struct beyond_kind datetime_date = {"date", "give a datetime.date", 4,
                                                 "\x7f\xff\xff\xff\x80\0\0"};
static const struct beyond_kind datetime_time = {"time", "give a datetime.time", 8, NULL};
static const struct beyond_kind datetime_timetz = {"timetz", "give an aware datetime.time", 12,
                                                   NULL};
static const struct beyond_kind datetime_timestamp = {"timestamp", "give a datetime.datetime", 8,
                                                      datetime_infinities_64};
static const struct beyond_kind datetime_timestamptz = {
    "timestamptz", "give an aware datetime.datetime", 8, datetime_infinities_64};
static const struct beyond_kind datetime_interval = {
    "interval", "give a datetime.timedelta", 16,
    "\x7f\xff\xff\xff\xff\xff\xff\xff\x7f\xff\xff\xff\x7f\xff\xff\xff"
    "\x80\0\0\0\0\0\0\0\x80\0\0\0\x80\0\0"};

static int
datetime_year_fits(int32_t year)
{
    return year >= 1 && year <= 9999;
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
        return beyond_make(self, ctx, "date", value, days < 0 ? "-infinity" : "infinity",
                           "datetime.date");
    }
    struct wire_date date = wire_date_from_days(days);
    if (!datetime_year_fits(date.year)) {
        char text[DATETIME_TEXT_MAX];
        datetime_day_text(date, "", text);
        return beyond_make(self, ctx, "date", value, text, "datetime.date");
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
        return beyond_make(self, ctx, "time", value, "24:00:00", "datetime.time");
    }
    return PyTime_FromTime(time.hour, time.minute, time.second, (int)time.microsecond);
}

/* `kind`: "timestamp" or "timestamptz". */
static PyObject *
datetime_beyond_timestamp(const struct codec *self, struct codec_ctx *ctx, const char *kind,
                          wire_slice value)
{
    int32_t days;
    struct wire_time time;
    int64_t usecs = wire_load_i64(value.ptr);
    if (usecs == WIRE_TIMESTAMP_INFINITY || usecs == WIRE_TIMESTAMP_MINUS_INFINITY) {
        return beyond_make(self, ctx, kind, value, usecs < 0 ? "-infinity" : "infinity",
                           "datetime.datetime");
    }
    wire_split_timestamp(usecs, &days, &time);
    char clock[DATETIME_TEXT_MAX];
    char text[DATETIME_TEXT_MAX];
    snprintf(clock, sizeof clock, " %02u:%02u:%02u.%06u", (unsigned)time.hour,
             (unsigned)time.minute, (unsigned)time.second, (unsigned)time.microsecond);
    datetime_day_text(wire_date_from_days(days), clock, text);
    return beyond_make(self, ctx, kind, value, text, "datetime.datetime");
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
        return datetime_beyond_timestamp(self, ctx, zone == Py_None ? "timestamp" : "timestamptz",
                                         value);
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
    PyObject *zone = ctx->options->zone;
    PyObject *moment = datetime_decode(self, ctx, value, PyDateTime_TimeZone_UTC);
    if (zone == NULL || zone == Py_None || moment == NULL || !PyDateTime_Check(moment)) {
        return moment;
    }
    PyObject *local = PyObject_CallMethod(moment, "astimezone", "O", zone);
    Py_DECREF(moment);
    if (local == NULL && PyErr_ExceptionMatches(PyExc_OverflowError)) {
        PyErr_Clear();
        return datetime_beyond_timestamp(self, ctx, "timestamptz", value);
    }
    if (local == NULL && codec_may_convert()) {
        return codec_fail(self, ctx, "the time zone's utcoffset() failed");
    }
    return local;
}

/* The day of a date or datetime, counted from 2000-01-01. */
static int32_t
datetime_days(PyObject *value)
{
    struct wire_date date = {PyDateTime_GET_YEAR(value), (uint8_t)PyDateTime_GET_MONTH(value),
                             (uint8_t)PyDateTime_GET_DAY(value)};
    return wire_days_from_date(date);
}

/* Microseconds since midnight of a time. */
static int64_t
datetime_time_usecs(PyObject *value)
{
    struct wire_time time = {(uint8_t)PyDateTime_TIME_GET_HOUR(value),
                             (uint8_t)PyDateTime_TIME_GET_MINUTE(value),
                             (uint8_t)PyDateTime_TIME_GET_SECOND(value),
                             (uint32_t)PyDateTime_TIME_GET_MICROSECOND(value)};
    return wire_join_time(time);
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

/* False, with an exception, for what looks like a datetime and is none: NaT of pandas,
 * which like NaN is not even equal to itself, and whose fields are those of year 1. */
static int
datetime_is_one(const struct codec *self, struct codec_ctx *ctx, PyObject *value)
{
    if (PyDateTime_CheckExact(value) || PyDate_CheckExact(value)) {
        return 1;
    }
    PyObject *differs = PyObject_RichCompare(value, value, Py_NE);
    int nothing = differs == NULL ? -1 : PyObject_IsTrue(differs);
    Py_XDECREF(differs);
    if (nothing != 0) {
        codec_fail_raised(self, ctx, value, "it is not a time; give None for NULL");
    }
    return nothing == 0;
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
        return beyond_put_other(self, ctx, value, &datetime_date, out);
    }
    if (!datetime_is_one(self, ctx, value)) {
        return CODEC_ERROR;
    }
    if (PyDateTime_Check(value) && !datetime_is_only_a_day(value)) {
        return codec_fail_value(self, ctx, value, "its time or zone would be lost; use .date()");
    }
    uint8_t bytes[4];
    wire_store_u32(bytes, (uint32_t)datetime_days(value));
    return codec_put_bytes(self, ctx, value, bytes, sizeof bytes, out);
}

static int64_t
datetime_delta_usecs(PyObject *delta)
{
    int64_t seconds = PyDateTime_DELTA_GET_DAYS(delta) * (int64_t)DATETIME_SECONDS_PER_DAY
                      + PyDateTime_DELTA_GET_SECONDS(delta);
    return seconds * DATETIME_USECS_PER_SECOND + PyDateTime_DELTA_GET_MICROSECONDS(delta);
}

/* What utcoffset() says of a datetime or time; of a naive datetime that stands for local
 * time, what it says of the moment. A new reference; NULL with an exception. */
static PyObject *
datetime_utcoffset(struct codec_ctx *ctx, PyObject *value, PyObject *zone)
{
    if (zone != Py_None) {
        return PyObject_CallMethodNoArgs(value, ctx->types->str_utcoffset);
    }
    if (!ctx->options->naive_local || !PyDateTime_Check(value)) {
        return Py_NewRef(Py_None);
    }
    PyObject *aware = PyObject_CallMethod(value, "astimezone", NULL);
    if (aware == NULL) {
        return NULL;
    }
    PyObject *offset = PyObject_CallMethodNoArgs(aware, ctx->types->str_utcoffset);
    Py_DECREF(aware);
    return offset;
}

/* The UTC offset of a datetime or time in microseconds; false with an exception, which
 * for what has none gives the remedy. `zone`: its tzinfo. */
static int
datetime_offset(const struct codec *self, struct codec_ctx *ctx, PyObject *value, PyObject *zone,
                const char *remedy, int64_t *usecs)
{
    *usecs = 0;
    if (zone == PyDateTime_TimeZone_UTC || (zone == Py_None && ctx->options->naive_utc)) {
        return 1;
    }
    PyObject *offset = datetime_utcoffset(ctx, value, zone);
    if (offset == NULL) {
        codec_fail_raised(self, ctx, value,
                          zone == Py_None ? "its astimezone() failed" : "its utcoffset() failed");
        return 0;
    }
    /* A subclass may answer anything, but only what is less than a day is an offset. */
    int known = PyDelta_Check(offset) && PyDateTime_DELTA_GET_DAYS(offset) >= -1
                && PyDateTime_DELTA_GET_DAYS(offset) <= 0;
    if (known) {
        *usecs = datetime_delta_usecs(offset);
    }
    else {
        codec_fail_value(self, ctx, value, "%s", remedy);
    }
    Py_DECREF(offset);
    return known;
}

static int
datetime_moment_offset(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                       int64_t *usecs)
{
    return datetime_offset(self, ctx, value, PyDateTime_DATE_GET_TZINFO(value),
                           "it has no time zone; use .replace(tzinfo=datetime.timezone.utc), "
                           ".astimezone(), a timestamp column, or connect with "
                           "naive_datetimes='utc' or 'local'",
                           usecs);
}

static int
datetime_time_offset(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                     int64_t *usecs)
{
    PyObject *zone = PyDateTime_TIME_GET_TZINFO(value);
    const char *remedy = zone == Py_None
                             ? "it has no time zone; use .replace(tzinfo=datetime.timezone.utc), "
                               "a time column, or connect with naive_datetimes='utc'"
                             : "without a date its zone has no offset; use .replace(tzinfo="
                               "datetime.timezone(offset)) or .replace(tzinfo=None)";
    return datetime_offset(self, ctx, value, zone, remedy, usecs);
}

enum codec_outcome
codec_time_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                  struct wire_buffer *out)
{
    if (!PyTime_Check(value)) {
        return beyond_put_other(self, ctx, value, &datetime_time, out);
    }
    int64_t offset = 0;
    if (PyDateTime_TIME_GET_TZINFO(value) != Py_None) {
        if (!ctx->options->naive_utc) {
            return codec_fail_value(self, ctx, value,
                                    "its zone would be lost; use .replace(tzinfo=None), a timetz "
                                    "column, or connect with naive_datetimes='utc'");
        }
        if (!datetime_time_offset(self, ctx, value, &offset)) {
            return CODEC_ERROR;
        }
    }
    /* An offset is less than a day, so one day more makes the difference positive. */
    int64_t usecs = datetime_time_usecs(value) - offset + WIRE_USECS_PER_DAY;
    return datetime_put_i64(self, ctx, value, usecs % WIRE_USECS_PER_DAY, out);
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
        return beyond_put_other(self, ctx, value, &datetime_timestamp, out);
    }
    if (!datetime_is_one(self, ctx, value)) {
        return CODEC_ERROR;
    }
    int64_t offset = 0;
    if (PyDateTime_DATE_GET_TZINFO(value) != Py_None) {
        if (!ctx->options->naive_utc) {
            return codec_fail_value(self, ctx, value,
                                    "its zone would be lost; use .replace(tzinfo=None), a "
                                    "timestamptz column, or connect with naive_datetimes='utc'");
        }
        if (!datetime_moment_offset(self, ctx, value, &offset)) {
            return CODEC_ERROR;
        }
    }
    return datetime_put_i64(self, ctx, value, datetime_usecs(value) - offset, out);
}

/* The moment at which a date begins in local time. */
static enum codec_outcome
datetime_put_midnight(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                      struct wire_buffer *out)
{
    PyObject *midnight =
        PyDateTime_FromDateAndTime(PyDateTime_GET_YEAR(value), PyDateTime_GET_MONTH(value),
                                   PyDateTime_GET_DAY(value), 0, 0, 0, 0);
    if (midnight == NULL) {
        return CODEC_ERROR;
    }
    enum codec_outcome outcome = codec_timestamptz_encode(self, ctx, midnight, out);
    Py_DECREF(midnight);
    return outcome;
}

enum codec_outcome
codec_timestamptz_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                         struct wire_buffer *out)
{
    if (!PyDateTime_Check(value)) {
        if (PyDate_Check(value) && ctx->options->naive_local) {
            return datetime_put_midnight(self, ctx, value, out);
        }
        return beyond_put_other(self, ctx, value, &datetime_timestamptz, out);
    }
    int64_t offset;
    if (!datetime_is_one(self, ctx, value)) {
        return CODEC_ERROR;
    }
    if (!datetime_moment_offset(self, ctx, value, &offset)) {
        return CODEC_ERROR;
    }
    return datetime_put_i64(self, ctx, value, datetime_usecs(value) - offset, out);
}

/* timetz: a time of day and an offset, which PostgreSQL counts in seconds to the west. */

PyObject *
codec_timetz_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    struct wire_time time;
    int64_t usecs = wire_load_i64(value.ptr);
    int32_t west = wire_load_i32(value.ptr + 8);
    if (!wire_split_time(usecs, &time)) {
        return codec_fail(self, ctx, "%lld microseconds are not a time of day", (long long)usecs);
    }
    if (west <= -DATETIME_SECONDS_PER_DAY || west >= DATETIME_SECONDS_PER_DAY) {
        return codec_fail(self, ctx, "%ld seconds are not an offset from UTC", (long)west);
    }
    if (time.hour == 24) {
        return beyond_make(self, ctx, "timetz", value, "24:00:00", "datetime.time");
    }
    PyObject *offset = PyDelta_FromDSU(0, -west, 0);
    PyObject *zone = offset == NULL ? NULL : PyTimeZone_FromOffset(offset);
    Py_XDECREF(offset);
    if (zone == NULL) {
        return NULL;
    }
    PyObject *made = PyDateTimeAPI->Time_FromTime(
        time.hour, time.minute, time.second, (int)time.microsecond, zone, PyDateTimeAPI->TimeType);
    Py_DECREF(zone);
    return made;
}

enum codec_outcome
codec_timetz_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                    struct wire_buffer *out)
{
    if (!PyTime_Check(value)) {
        return beyond_put_other(self, ctx, value, &datetime_timetz, out);
    }
    int64_t offset;
    if (!datetime_time_offset(self, ctx, value, &offset)) {
        return CODEC_ERROR;
    }
    if (offset % DATETIME_USECS_PER_SECOND != 0) {
        return codec_fail_value(self, ctx, value,
                                "timetz needs an offset in whole seconds; use .replace(tzinfo="
                                "datetime.timezone(offset)) or a time column");
    }
    uint8_t bytes[12];
    wire_store_u64(bytes, (uint64_t)datetime_time_usecs(value));
    wire_store_u32(bytes + 8, (uint32_t)(int32_t)(-offset / DATETIME_USECS_PER_SECOND));
    return codec_put_bytes(self, ctx, value, bytes, sizeof bytes, out);
}

/* interval: months, days and microseconds. A timedelta is what all of it can be read
 * back from; an Interval keeps the three apart. */

struct datetime_parts {
    int32_t months;
    int32_t days;
    int64_t usecs;
};

/* What a timedelta is sent as. timedelta(hours=-1) counts -1 day and 23 hours; the
 * server's day is not always 24 hours, so it is sent as what was meant. */
static struct datetime_parts
datetime_interval_of(PyObject *delta)
{
    struct datetime_parts interval = {
        .days = PyDateTime_DELTA_GET_DAYS(delta),
        .usecs = PyDateTime_DELTA_GET_SECONDS(delta) * DATETIME_USECS_PER_SECOND
                 + PyDateTime_DELTA_GET_MICROSECONDS(delta),
    };
    if (interval.days < 0 && interval.usecs > 0) {
        interval.days += 1;
        interval.usecs -= WIRE_USECS_PER_DAY;
    }
    return interval;
}

/* The timedelta of days and microseconds, NULL with an exception; the caller has seen
 * that it fits. */
static PyObject *
datetime_delta(int64_t days, int64_t usecs)
{
    int64_t rest = usecs % WIRE_USECS_PER_DAY;
    days += usecs / WIRE_USECS_PER_DAY;
    if (rest < 0) {
        rest += WIRE_USECS_PER_DAY;
        days -= 1;
    }
    return PyDelta_FromDSU((int)days, (int)(rest / DATETIME_USECS_PER_SECOND),
                           (int)(rest % DATETIME_USECS_PER_SECOND));
}

PyObject *
codec_interval_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    int64_t usecs = wire_load_i64(value.ptr);
    int32_t days = wire_load_i32(value.ptr + 8);
    int32_t months = wire_load_i32(value.ptr + 12);
    bool plus = usecs == INT64_MAX && days == INT32_MAX && months == INT32_MAX;
    bool minus = usecs == INT64_MIN && days == INT32_MIN && months == INT32_MIN;
    if (plus || minus) {
        return beyond_make(self, ctx, "interval", value, plus ? "infinity" : "-infinity",
                           "datetime.timedelta");
    }
    /* C division rounds to zero, so years and months have the sign of the whole. */
    int64_t all_days = (int64_t)(months / 12) * 365 + (int64_t)(months % 12) * 30 + days;
    int64_t whole = all_days + usecs / WIRE_USECS_PER_DAY;
    if (whole <= -DATETIME_DELTA_DAYS_MAX || whole > DATETIME_DELTA_DAYS_MAX) {
        bool lowest = whole == -DATETIME_DELTA_DAYS_MAX && usecs % WIRE_USECS_PER_DAY >= 0;
        if (!lowest) {
            char text[DATETIME_TEXT_MAX];
            snprintf(text, sizeof text, "an interval of %d months %d days", (int)months, (int)days);
            return beyond_make(self, ctx, "interval", value, text, "datetime.timedelta");
        }
    }
    if (months == 0) {
        PyObject *delta = datetime_delta(days, usecs);
        if (delta == NULL) {
            return NULL;
        }
        struct datetime_parts same = datetime_interval_of(delta);
        if (same.days == days && same.usecs == usecs) {
            return delta;
        }
        Py_DECREF(delta);
    }
    return PyObject_CallFunction(ctx->types->interval, "iiL", (int)months, (int)days,
                                 (long long)usecs);
}

/* The parts of an Interval; false with an exception. */
static int
datetime_interval_parts(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                        struct datetime_parts *interval)
{
    PyObject *parts = PyObject_GetAttrString(value, "parts");
    int months = 0, days = 0;
    long long usecs = 0;
    int found = parts != NULL && PyTuple_Check(parts)
                && PyArg_ParseTuple(parts, "iiL", &months, &days, &usecs);
    Py_XDECREF(parts);
    if (!found) {
        codec_fail_raised(self, ctx, value,
                          "its months and days are 32-bit, its microseconds "
                          "64-bit integers");
        return 0;
    }
    *interval = (struct datetime_parts){months, days, usecs};
    return 1;
}

enum codec_outcome
codec_interval_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                      struct wire_buffer *out)
{
    if (!PyDelta_Check(value)) {
        return beyond_put_other(self, ctx, value, &datetime_interval, out);
    }
    struct datetime_parts interval;
    if (!PyObject_TypeCheck(value, (PyTypeObject *)ctx->types->interval)) {
        interval = datetime_interval_of(value);
    }
    else if (!datetime_interval_parts(self, ctx, value, &interval)) {
        return CODEC_ERROR;
    }
    uint8_t bytes[16];
    wire_store_u64(bytes, (uint64_t)interval.usecs);
    wire_store_u32(bytes + 8, (uint32_t)interval.days);
    wire_store_u32(bytes + 12, (uint32_t)interval.months);
    return codec_put_bytes(self, ctx, value, bytes, sizeof bytes, out);
}
