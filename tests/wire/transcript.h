/* Events of a session as text, one line each: to compare them with what a test
 * expects, and with those of the same bytes cut differently. Every value that an
 * event carries is read to its end, so a sanitizer sees a slice that is wrong. */
#ifndef TRANSCRIPT_H
#define TRANSCRIPT_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "session.h"

WIRE_PRINTF(2, 3)
static inline void
transcript_put(struct wire_buffer *t, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (len < 0 || (size_t)len >= sizeof(text)) {
        abort();
    }
    wire_buffer_put(t, text, (size_t)len);
}

/* Printable ASCII as it is, other bytes as \xx. */
static inline void
transcript_slice(struct wire_buffer *t, wire_slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] > ' ' - 1 && s.ptr[i] < 0x7F && s.ptr[i] != '\\') {
            wire_buffer_put_u8(t, s.ptr[i]);
        }
        else {
            transcript_put(t, "\\%02x", s.ptr[i]);
        }
    }
}

static inline void
transcript_fields(struct wire_buffer *t, wire_slice body)
{
    struct wire_reader fields;
    struct wire_error_field field;
    if (!wire_error_fields(body, &fields)) {
        abort(); /* the session has accepted it */
    }
    while (wire_next_error_field(&fields, &field)) {
        wire_slice code = {(const uint8_t *)&field.code, 1};
        transcript_put(t, " ");
        transcript_slice(t, code);
        transcript_put(t, "=");
        transcript_slice(t, field.value);
    }
}

static inline void
transcript_columns(struct wire_buffer *t, size_t count, struct wire_reader fields)
{
    transcript_put(t, "columns");
    for (size_t i = 0; i < count; i++) {
        struct wire_field field;
        wire_next_field(&fields, &field);
        transcript_put(t, " ");
        transcript_slice(t, field.name);
        transcript_put(t, ":%u", (unsigned)field.type_oid);
    }
    if (!wire_reader_end(&fields)) {
        abort();
    }
}

static inline void
transcript_params(struct wire_buffer *t, size_t count, struct wire_reader oids)
{
    transcript_put(t, "params");
    for (size_t i = 0; i < count; i++) {
        transcript_put(t, " %u", (unsigned)wire_read_u32(&oids));
    }
    if (!wire_reader_end(&oids)) {
        abort();
    }
}

/* The cells are not the session's business: they may turn out bad here. */
static inline void
transcript_row(struct wire_buffer *t, size_t count, struct wire_reader cells)
{
    transcript_put(t, "row");
    for (size_t i = 0; i < count; i++) {
        wire_slice value;
        bool null;
        if (!wire_read_cell(&cells, &value, &null)) {
            transcript_put(t, " bad");
            return;
        }
        transcript_put(t, null ? " null" : " [");
        transcript_slice(t, value);
        transcript_put(t, null ? "" : "]");
    }
    if (!wire_reader_end(&cells)) {
        transcript_put(t, " junk");
    }
}

static inline void
transcript_aside(struct wire_buffer *t, const struct wire_event *event)
{
    switch (event->kind) {
    case WIRE_EV_SCRAM_KEY:
        transcript_put(t, "scram i=%u salt=", (unsigned)event->u.scram.iterations);
        transcript_slice(t, event->u.scram.salt);
        break;
    case WIRE_EV_PARAMETER:
        transcript_put(t, "parameter ");
        transcript_slice(t, event->u.parameter.name);
        transcript_put(t, "=");
        transcript_slice(t, event->u.parameter.value);
        break;
    case WIRE_EV_BACKEND_KEY:
        transcript_put(t, "key %u ", (unsigned)event->u.backend_key.pid);
        transcript_slice(t, event->u.backend_key.key);
        break;
    case WIRE_EV_NOTIFICATION:
        transcript_put(t, "notification %u ", (unsigned)event->u.notification.pid);
        transcript_slice(t, event->u.notification.channel);
        transcript_put(t, " ");
        transcript_slice(t, event->u.notification.payload);
        break;
    case WIRE_EV_NOTICE:
        transcript_put(t, "notice");
        transcript_fields(t, event->body);
        break;
    case WIRE_EV_ERROR:
        transcript_put(t, "error%s%s", event->rider ? " (rider)" : "",
                       event->unsolicited ? " (unsolicited)" : "");
        transcript_fields(t, event->body);
        break;
    default:
        transcript_put(t, "unknown event %d", (int)event->kind);
        break;
    }
}

static inline const char *
transcript_name(enum wire_event_kind kind)
{
    switch (kind) {
    case WIRE_EV_PARSED:
        return "parsed";
    case WIRE_EV_BOUND:
        return "bound";
    case WIRE_EV_CLOSED:
        return "closed";
    case WIRE_EV_NO_DATA:
        return "no data";
    case WIRE_EV_EMPTY:
        return "empty";
    case WIRE_EV_SUSPENDED:
        return "suspended";
    case WIRE_EV_COPY_DONE:
        return "copy done";
    default:
        return NULL;
    }
}

static inline void
transcript_answer(struct wire_buffer *t, const struct wire_event *event)
{
    switch (event->kind) {
    case WIRE_EV_PARAM_DESCRIPTION:
        transcript_params(t, event->count, event->reader);
        break;
    case WIRE_EV_ROW_DESCRIPTION:
        transcript_columns(t, event->count, event->reader);
        break;
    case WIRE_EV_ANSWER:
        transcript_put(t, "answer ");
        transcript_row(t, event->count, event->reader);
        break;
    case WIRE_EV_ROW:
        transcript_row(t, event->count, event->reader);
        break;
    case WIRE_EV_COMPLETE:
        transcript_put(t, "complete ");
        transcript_slice(t, event->body);
        break;
    case WIRE_EV_SETS: /* one line each: how they are cut does not matter */
        for (size_t i = 0; i < event->count; i++) {
            transcript_put(t, i == 0 ? "set " : "\nset ");
            transcript_slice(t, event->body);
        }
        break;
    case WIRE_EV_COPY_IN:
    case WIRE_EV_COPY_OUT:
        transcript_put(t, "copy %s %u/%zu", event->kind == WIRE_EV_COPY_IN ? "in" : "out",
                       event->u.copy.format, event->u.copy.columns);
        break;
    case WIRE_EV_COPY_DATA:
        transcript_put(t, "data ");
        transcript_slice(t, event->body);
        break;
    case WIRE_EV_READY:
        transcript_put(t, "ready %c", event->transaction_status);
        break;
    default:
        transcript_aside(t, event);
        break;
    }
}

/* Appends the line of `event`. */
static inline void
transcript_event(struct wire_buffer *t, const struct wire_event *event)
{
    const char *name = transcript_name(event->kind);
    if (name != NULL) {
        transcript_put(t, "%s", name);
    }
    else {
        transcript_answer(t, event);
    }
    transcript_put(t, "\n");
}

/* Feeding: the unread bytes of `in` and `n` more move to a block of exact size, so
 * that a read past the end and a slice kept too long are both seen. */
static inline void
transcript_feed(struct wire_buffer *in, const uint8_t *bytes, size_t n)
{
    size_t unread = wire_buffer_size(in);
    uint8_t *data = malloc(unread + n == 0 ? 1 : unread + n);
    if (data == NULL) {
        abort();
    }
    if (unread > 0) {
        memcpy(data, in->data + in->start, unread);
    }
    if (n > 0) {
        memcpy(data + unread, bytes, n);
    }
    free(in->data);
    in->data = data;
    in->start = 0;
    in->end = unread + n;
    in->cap = in->end;
}

#endif
