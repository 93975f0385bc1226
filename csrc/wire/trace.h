/* The conversation in words: each message as the line that libpq's PQtrace prints for
 * it (PostgreSQL 18; PostgreSQL documentation, "PQtrace"), but for secrets. Those are
 * written as libpq writes what differs from run to run: NNNN, "SSSS", 'BBBB'. */
#ifndef WIRE_TRACE_H
#define WIRE_TRACE_H

#include "buffer.h"

enum wire_trace_side {
    WIRE_TRACE_BACKEND,
    WIRE_TRACE_FRONTEND,
};

struct wire_trace {
    struct wire_buffer part[2]; /* by side: the start of a message not all there yet */
    bool lost[2];               /* a length cannot be right: where messages begin is not known */
    bool regress;               /* what differs from run to run is left out */
    bool untagged;              /* the frontend's next message has no tag */
    char answer; /* to an SSLRequest ('S') or GSSENCRequest ('G'), one byte, is due; or NUL */
    uint32_t asked; /* the authentication code that the frontend's next 'p' answers; or 0 */
};

/* Cannot fail. `untagged`: the conversation is traced from its first byte, else from the
 * start of a message behind the StartupMessage. */
void wire_trace_init(struct wire_trace *t, bool untagged, bool regress);

/* Frees and wipes what is held of messages not all there. */
void wire_trace_clear(struct wire_trace *t);

/* Appends to `lines` a line for every message that the bytes, the next ones of that
 * side, end; `stamp` stands in front of each ("" or a time and a tab). The bytes may be
 * cut anywhere. Sticky lines->failed when memory is out or a line is too long: the trace
 * is of no more use. */
void wire_trace_feed(struct wire_trace *t, enum wire_trace_side side, wire_slice bytes,
                     const char *stamp, struct wire_buffer *lines);

#endif
