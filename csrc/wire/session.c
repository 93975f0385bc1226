#include "session.h"

#include <stdlib.h>

#include "session_auth.h"
#include "session_steps.h"

void
wire_session_init(struct wire_session *s)
{
    memset(s, 0, sizeof(*s));
    s->transaction_status = 'I';
    wire_scram_init(&s->scram);
    wire_buffer_init(&s->user);
    wire_buffer_init(&s->password);
}

void
wire_session_clear(struct wire_session *s)
{
    wire_session_forget_secrets(s);
    wire_buffer_clear(&s->user, false);
    free(s->steps);
    s->steps = NULL;
    s->steps_cap = 0;
    s->steps_count = 0;
}

enum wire_status
wire_session_start(struct wire_session *s, struct wire_buffer *out,
                   const struct wire_startup *startup)
{
    if (s->phase != WIRE_PHASE_NEW) {
        return wire_session_break(s, WIRE_ERR_PROTOCOL, "the session was started already");
    }
    wire_put_startup(out, startup->max_protocol, startup->pairs, startup->pairs_count);
    if (wire_session_prepare(s, startup) != WIRE_OK || out->failed != WIRE_OK) {
        return wire_session_break(s, WIRE_ERR_MEMORY,
                                  "no memory for the startup, or a part of it is too long");
    }
    s->phase = WIRE_PHASE_AUTH;
    return WIRE_OK;
}

static enum wire_status
unexpected(struct wire_session *s, char tag)
{
    return wire_error_set(&s->error, WIRE_ERR_PROTOCOL, "message '%c' came when it was not due",
                          tag);
}

static enum wire_status
malformed(struct wire_session *s, char tag)
{
    return wire_error_set(&s->error, WIRE_ERR_PROTOCOL, "the body of message '%c' is malformed",
                          tag);
}

/* Handlers give WIRE_OK with an event, WIRE_MORE when there is none to give, or a
 * negative status. */

/* Messages that come whenever the server likes. */
static enum wire_status
take_notice(struct wire_session *s, const struct wire_frame *frame, struct wire_event *event)
{
    struct wire_reader fields;
    if (!wire_error_fields(frame->body, &fields)) {
        return malformed(s, frame->tag);
    }
    event->kind = WIRE_EV_NOTICE;
    event->body = frame->body;
    return WIRE_OK;
}

static enum wire_status
take_parameter(struct wire_session *s, const struct wire_frame *frame, struct wire_event *event)
{
    if (!wire_parse_parameter_status(frame->body, &event->u.parameter)) {
        return malformed(s, frame->tag);
    }
    /* Later on one name may be reported again and again: by a function with a SET
     * clause, called for every row, on servers before 14. */
    s->parameters += 1;
    if (s->phase == WIRE_PHASE_BOOT && s->parameters > WIRE_PARAMETERS_MAX) {
        return wire_error_set(&s->error, WIRE_ERR_LIMIT,
                              "more than %d ParameterStatus messages in a row",
                              WIRE_PARAMETERS_MAX);
    }
    event->kind = WIRE_EV_PARAMETER;
    return WIRE_OK;
}

static enum wire_status
take_notification(struct wire_session *s, const struct wire_frame *frame, struct wire_event *event)
{
    if (!wire_parse_notification(frame->body, &event->u.notification)) {
        return malformed(s, frame->tag);
    }
    event->kind = WIRE_EV_NOTIFICATION;
    return WIRE_OK;
}

/* The server skips to the next Sync; so do we. A Query that has begun stands for its
 * own Sync; one behind a failed message is skipped like everything else. */
static void
skip_to_sync(struct wire_session *s)
{
    bool query = (head_step(s) & ~WIRE_STEP_RIDER) == WIRE_STEP_QUERY;
    while (!query && s->steps_count > 0 && (head_step(s) & ~WIRE_STEP_RIDER) != WIRE_STEP_SYNC) {
        pop_step(s);
    }
    s->substate = s->steps_count > 0 ? SUB_FAILED : SUB_NONE;
}

static enum wire_status
take_error(struct wire_session *s, const struct wire_frame *frame, struct wire_event *event)
{
    struct wire_reader fields;
    if (!wire_error_fields(frame->body, &fields)) {
        return malformed(s, frame->tag);
    }
    event->kind = WIRE_EV_ERROR;
    event->body = frame->body;
    event->rider = (head_step(s) & WIRE_STEP_RIDER) != 0;
    event->unsolicited = s->phase == WIRE_PHASE_READY && s->steps_count == 0;
    if (s->phase != WIRE_PHASE_READY) {
        wire_session_forget_secrets(s); /* the server has refused us and will close */
        s->substate = SUB_FAILED;
    }
    else if (s->steps_count > 0) {
        skip_to_sync(s);
    }
    return WIRE_OK;
}

static enum wire_status
take_ready(struct wire_session *s, const struct wire_frame *frame, struct wire_event *event)
{
    char status;
    if (!wire_parse_ready(frame->body, &status)) {
        return malformed(s, frame->tag);
    }
    s->transaction_status = status;
    s->parameters = 0;
    event->kind = WIRE_EV_READY;
    event->transaction_status = status;
    return WIRE_OK;
}

/* Startup */

static enum wire_status
next_in_auth(struct wire_session *s, const struct wire_frame *frame, struct wire_buffer *out,
             struct wire_event *event)
{
    switch (frame->tag) {
    case WIRE_TAG_AUTHENTICATION:
        return s->substate == SUB_FAILED ? unexpected(s, frame->tag)
                                         : wire_session_authenticate(s, frame->body, out, event);
    case WIRE_TAG_ERROR:
        return take_error(s, frame, event);
    case WIRE_TAG_NOTICE:
        return take_notice(s, frame, event);
    case WIRE_TAG_NEGOTIATE_VERSION:
        return s->substate == SUB_FAILED ? unexpected(s, frame->tag)
                                         : wire_session_negotiate(s, frame->body);
    default:
        return unexpected(s, frame->tag);
    }
}

static enum wire_status
take_backend_key(struct wire_session *s, const struct wire_frame *frame, struct wire_event *event)
{
    if (s->substate != SUB_NONE) {
        return unexpected(s, frame->tag); /* a second one */
    }
    if (!wire_parse_backend_key(frame->body, &event->u.backend_key)) {
        return malformed(s, frame->tag);
    }
    size_t len = event->u.backend_key.key.len;
    if (len > WIRE_CANCEL_KEY_MIN && s->protocol < WIRE_PROTOCOL_3_2) {
        return wire_error_set(&s->error, WIRE_ERR_PROTOCOL,
                              "a cancel key of %zu bytes came, which in protocol 3.0 has 4", len);
    }
    s->substate = SUB_DESCRIBED;
    event->kind = WIRE_EV_BACKEND_KEY;
    return WIRE_OK;
}

static enum wire_status
next_in_boot(struct wire_session *s, const struct wire_frame *frame, struct wire_event *event)
{
    enum wire_status status;
    if (s->substate == SUB_FAILED && frame->tag != WIRE_TAG_NOTICE
        && frame->tag != WIRE_TAG_ERROR) {
        return unexpected(s, frame->tag);
    }
    switch (frame->tag) {
    case WIRE_TAG_PARAMETER_STATUS:
        return take_parameter(s, frame, event);
    case WIRE_TAG_BACKEND_KEY:
        return take_backend_key(s, frame, event);
    case WIRE_TAG_NOTICE:
        return take_notice(s, frame, event);
    case WIRE_TAG_ERROR:
        return take_error(s, frame, event);
    case WIRE_TAG_READY:
        status = take_ready(s, frame, event);
        if (status == WIRE_OK) {
            s->phase = WIRE_PHASE_READY;
            s->substate = SUB_NONE;
        }
        return status;
    default:
        return unexpected(s, frame->tag);
    }
}

/* Requests */

/* The answer ends the head step; a QUERY goes on to its ReadyForQuery. */
static enum wire_status
step_done(struct wire_session *s, struct wire_event *event, enum wire_event_kind kind)
{
    if ((head_step(s) & ~WIRE_STEP_RIDER) == WIRE_STEP_QUERY) {
        s->substate = SUB_NONE;
    }
    else {
        pop_step(s);
    }
    event->kind = kind;
    return WIRE_OK;
}

/* An answer without a body. */
static enum wire_status
bare_done(struct wire_session *s, const struct wire_frame *frame, struct wire_event *event,
          enum wire_event_kind kind)
{
    return frame->body.len == 0 ? step_done(s, event, kind) : malformed(s, frame->tag);
}

static enum wire_status
on_describe(struct wire_session *s, const struct wire_frame *frame, struct wire_event *event,
            bool statement)
{
    bool due = !statement || s->substate == SUB_DESCRIBED;
    if (due && frame->tag == WIRE_TAG_ROW_DESCRIPTION) {
        return wire_row_description(frame->body, &event->count, &event->reader)
                   ? step_done(s, event, WIRE_EV_ROW_DESCRIPTION)
                   : malformed(s, frame->tag);
    }
    if (due && frame->tag == WIRE_TAG_NO_DATA) {
        return bare_done(s, frame, event, WIRE_EV_NO_DATA);
    }
    if (due || frame->tag != WIRE_TAG_PARAM_DESCRIPTION) {
        return unexpected(s, frame->tag);
    }
    if (!wire_parameter_description(frame->body, &event->count, &event->reader)) {
        return malformed(s, frame->tag);
    }
    s->substate = SUB_DESCRIBED;
    event->kind = WIRE_EV_PARAM_DESCRIPTION;
    return WIRE_OK;
}

static enum wire_status
take_row(struct wire_session *s, const struct wire_frame *frame, struct wire_event *event)
{
    if (frame->body.len < 2) {
        return malformed(s, frame->tag);
    }
    s->substate = SUB_ROWS;
    event->kind = WIRE_EV_ROW;
    event->count = wire_load_u16(frame->body.ptr);
    event->reader.p = frame->body.ptr + 2;
    event->reader.end = frame->body.ptr + frame->body.len;
    event->reader.bad = false;
    return WIRE_OK;
}

static enum wire_status
take_copy_start(struct wire_session *s, const struct wire_frame *frame, struct wire_event *event)
{
    if ((head_step(s) & WIRE_STEP_RIDER) != 0) {
        return unexpected(s, frame->tag); /* nobody waits for it who could end it */
    }
    if (!wire_parse_copy_response(frame->body, &event->u.copy)) {
        return malformed(s, frame->tag);
    }
    bool out = frame->tag == WIRE_TAG_COPY_OUT;
    s->substate = out ? SUB_COPY_OUT : SUB_COPY_IN;
    event->kind = out ? WIRE_EV_COPY_OUT : WIRE_EV_COPY_IN;
    return WIRE_OK;
}

static enum wire_status
on_copy_out(struct wire_session *s, const struct wire_frame *frame, struct wire_event *event)
{
    if (frame->tag == WIRE_TAG_COPY_DATA) {
        event->kind = WIRE_EV_COPY_DATA;
        event->body = frame->body;
        return WIRE_OK;
    }
    if (frame->tag != WIRE_TAG_COPY_DONE) {
        return unexpected(s, frame->tag);
    }
    if (frame->body.len != 0) {
        return malformed(s, frame->tag);
    }
    s->substate = SUB_COPY_DONE;
    event->kind = WIRE_EV_COPY_DONE;
    return WIRE_OK;
}

static enum wire_status
take_complete(struct wire_session *s, const struct wire_frame *frame, struct wire_event *event)
{
    if (!wire_parse_command_complete(frame->body, &event->body)) {
        return malformed(s, frame->tag);
    }
    return step_done(s, event, WIRE_EV_COMPLETE);
}

/* What may come when nothing of the result has come yet, rows apart. */
static enum wire_status
on_first_answer(struct wire_session *s, const struct wire_frame *frame, struct wire_event *event)
{
    switch (frame->tag) {
    case WIRE_TAG_EMPTY_QUERY:
        return bare_done(s, frame, event, WIRE_EV_EMPTY);
    case WIRE_TAG_COPY_IN:
    case WIRE_TAG_COPY_OUT:
        return take_copy_start(s, frame, event);
    default:
        return unexpected(s, frame->tag);
    }
}

static enum wire_status
on_execute(struct wire_session *s, const struct wire_frame *frame, struct wire_event *event)
{
    bool rows = s->substate == SUB_NONE || s->substate == SUB_ROWS;
    if (rows && frame->tag == WIRE_TAG_DATA_ROW) {
        return take_row(s, frame, event);
    }
    if (s->substate == SUB_COPY_OUT) {
        return on_copy_out(s, frame, event);
    }
    if (frame->tag == WIRE_TAG_COMMAND_COMPLETE) {
        return take_complete(s, frame, event);
    }
    if (rows && frame->tag == WIRE_TAG_PORTAL_SUSPENDED) {
        return bare_done(s, frame, event, WIRE_EV_SUSPENDED);
    }
    return s->substate == SUB_NONE ? on_first_answer(s, frame, event) : unexpected(s, frame->tag);
}

/* Bind and Execute of one of many sets: BindComplete makes no event. */
static enum wire_status
on_set(struct wire_session *s, const struct wire_frame *frame, struct wire_event *event)
{
    bool empty = frame->body.len == 0;
    switch (s->substate) {
    case SUB_NONE:
        if (frame->tag != WIRE_TAG_BIND_COMPLETE) {
            return unexpected(s, frame->tag);
        }
        s->substate = SUB_BOUND;
        return empty ? WIRE_MORE : malformed(s, frame->tag);
    case SUB_BOUND:
    case SUB_ROWS:
        if (frame->tag == WIRE_TAG_DATA_ROW) {
            return take_row(s, frame, event);
        }
        if (frame->tag == WIRE_TAG_COMMAND_COMPLETE) {
            event->count = 1;
            return wire_parse_command_complete(frame->body, &event->body)
                       ? step_done(s, event, WIRE_EV_SETS)
                       : malformed(s, frame->tag);
        }
        if (frame->tag == WIRE_TAG_EMPTY_QUERY && s->substate == SUB_BOUND) {
            return bare_done(s, frame, event, WIRE_EV_EMPTY);
        }
        return unexpected(s, frame->tag);
    default:
        return unexpected(s, frame->tag);
    }
}

static enum wire_status
end_of_request(struct wire_session *s, const struct wire_frame *frame, struct wire_event *event)
{
    if (frame->tag != WIRE_TAG_READY || (s->open && s->steps_count == 1)) {
        return unexpected(s, frame->tag);
    }
    pop_step(s);
    return take_ready(s, frame, event);
}

static enum wire_status
on_query(struct wire_session *s, const struct wire_frame *frame, struct wire_event *event)
{
    switch (s->substate) {
    case SUB_FAILED:
        return end_of_request(s, frame, event);
    case SUB_COPY_OUT:
        return on_copy_out(s, frame, event);
    case SUB_DESCRIBED:
    case SUB_ROWS:
        if (frame->tag == WIRE_TAG_DATA_ROW) {
            return take_row(s, frame, event);
        }
        break;
    case SUB_NONE:
        if (frame->tag == WIRE_TAG_READY) {
            return end_of_request(s, frame, event);
        }
        if (frame->tag == WIRE_TAG_ROW_DESCRIPTION) {
            s->substate = SUB_DESCRIBED;
            event->kind = WIRE_EV_ROW_DESCRIPTION;
            return wire_row_description(frame->body, &event->count, &event->reader)
                       ? WIRE_OK
                       : malformed(s, frame->tag);
        }
        if (frame->tag != WIRE_TAG_COMMAND_COMPLETE) {
            return on_first_answer(s, frame, event);
        }
        break;
    default:
        break;
    }
    return frame->tag == WIRE_TAG_COMMAND_COMPLETE ? take_complete(s, frame, event)
                                                   : unexpected(s, frame->tag);
}

static enum wire_status
on_bare(struct wire_session *s, const struct wire_frame *frame, struct wire_event *event, char tag,
        enum wire_event_kind kind)
{
    return frame->tag == tag ? bare_done(s, frame, event, kind) : unexpected(s, frame->tag);
}

static enum wire_status
answer_step(struct wire_session *s, unsigned step, const struct wire_frame *frame,
            struct wire_event *event)
{
    switch (step) {
    case WIRE_STEP_EXECUTE:
    case WIRE_STEP_QUESTION:
        return on_execute(s, frame, event);
    case WIRE_STEP_BIND:
        return on_bare(s, frame, event, WIRE_TAG_BIND_COMPLETE, WIRE_EV_BOUND);
    case WIRE_STEP_SYNC:
        return end_of_request(s, frame, event);
    case WIRE_STEP_PARSE:
        return on_bare(s, frame, event, WIRE_TAG_PARSE_COMPLETE, WIRE_EV_PARSED);
    case WIRE_STEP_DESCRIBE_STATEMENT:
        return on_describe(s, frame, event, true);
    case WIRE_STEP_DESCRIBE_PORTAL:
        return on_describe(s, frame, event, false);
    case WIRE_STEP_CLOSE:
        return on_bare(s, frame, event, WIRE_TAG_CLOSE_COMPLETE, WIRE_EV_CLOSED);
    case WIRE_STEP_QUERY:
        return on_query(s, frame, event);
    case WIRE_STEP_SET:
        return on_set(s, frame, event);
    default:
        return unexpected(s, frame->tag);
    }
}

static enum wire_status
next_step(struct wire_session *s, const struct wire_frame *frame, struct wire_event *event)
{
    unsigned step = head_step(s);
    enum wire_status status = answer_step(s, step & ~WIRE_STEP_RIDER, frame, event);
    if (status != WIRE_OK || (step & WIRE_STEP_RIDER) == 0) {
        return status;
    }
    if (step != (WIRE_STEP_QUESTION | WIRE_STEP_RIDER) || event->kind != WIRE_EV_ROW) {
        return WIRE_MORE;
    }
    event->kind = WIRE_EV_ANSWER;
    return WIRE_OK;
}

static enum wire_status
next_in_ready(struct wire_session *s, const struct wire_frame *frame, struct wire_event *event)
{
    switch (frame->tag) {
    case WIRE_TAG_ERROR:
        return take_error(s, frame, event);
    case WIRE_TAG_NOTICE:
        return take_notice(s, frame, event);
    case WIRE_TAG_NOTIFICATION:
        return take_notification(s, frame, event);
    case WIRE_TAG_PARAMETER_STATUS:
        return take_parameter(s, frame, event);
    default:
        return next_step(s, frame, event);
    }
}

static enum wire_status
dispatch(struct wire_session *s, const struct wire_frame *frame, struct wire_buffer *out,
         struct wire_event *event)
{
    switch (s->phase) {
    case WIRE_PHASE_READY:
        return next_in_ready(s, frame, event);
    case WIRE_PHASE_AUTH:
        return next_in_auth(s, frame, out, event);
    case WIRE_PHASE_BOOT:
        return next_in_boot(s, frame, event);
    case WIRE_PHASE_NEW:
    case WIRE_PHASE_BROKEN:
        break;
    }
    return unexpected(s, frame->tag);
}

/* The next of many rows, without the walk through the state machine: where a row has
 * come and another one follows, nothing else changes. False: it is something else, or
 * not all there. */
static bool
take_next_row(struct wire_session *s, const struct wire_buffer *in, struct wire_event *event)
{
    size_t have = in->end - in->start;
    const uint8_t *p = in->data + in->start;
    if (have < 7 || p[0] != 'D' || (head_step(s) & WIRE_STEP_RIDER) != 0) {
        return false;
    }
    uint32_t len = wire_load_u32(p + 1);
    if (len < 6 || len > WIRE_MESSAGE_MAX || have - 1 < len) {
        return false;
    }
    s->consumed = 1 + (size_t)len;
    event->kind = WIRE_EV_ROW;
    event->rider = false;
    event->unsolicited = false;
    event->count = wire_load_u16(p + 5);
    event->reader.p = p + 7;
    event->reader.end = p + 1 + len;
    event->reader.bad = false;
    return true;
}

enum wire_status
wire_session_next(struct wire_session *s, struct wire_buffer *in, struct wire_buffer *out,
                  struct wire_event *event)
{
    if (s->phase == WIRE_PHASE_BROKEN) {
        return s->error.status;
    }
    for (;;) {
        if (s->consumed != 0) {
            wire_buffer_consume(in, s->consumed);
            s->consumed = 0;
        }
        if (s->substate == SUB_ROWS && s->phase == WIRE_PHASE_READY
            && take_next_row(s, in, event)) {
            return WIRE_OK;
        }
        struct wire_frame frame;
        bool authenticated = s->phase == WIRE_PHASE_READY || s->phase == WIRE_PHASE_BOOT;
        enum wire_status status = wire_next_frame(in, authenticated, &frame, &s->error);
        if (status == WIRE_MORE) {
            return WIRE_MORE;
        }
        if (status < 0) {
            return wire_session_break(s, status, "the session is broken");
        }
        s->consumed = 5 + frame.body.len;
        event->rider = false;
        event->unsolicited = false;
        status = dispatch(s, &frame, out, event);
        if (status == WIRE_OK) {
            if (event->kind == WIRE_EV_SETS) {
                wire_steps_take_same(s, in, event);
            }
            return WIRE_OK;
        }
        if (status < 0) {
            return wire_session_break(s, status, "the session is broken");
        }
    }
}
