/* The FIFO of steps, for the files of the session alone. */
#ifndef WIRE_SESSION_STEPS_H
#define WIRE_SESSION_STEPS_H

#include "session.h"

/* Substates of the head step; in the startup, where there is none, of the phase. */
enum {
    SUB_NONE,
    SUB_DESCRIBED, /* 't' of a statement; 'T' of a QUERY; in BOOT: the backend key */
    SUB_ROWS,      /* a row has come */
    SUB_BOUND,     /* of a SET: '2' has come */
    SUB_COPY_IN,
    SUB_COPY_OUT,
    SUB_COPY_DONE, /* of a COPY OUT: only the command tag is due */
    SUB_FAILED,    /* an error has come: only ReadyForQuery is due, in the startup nothing */
};

static inline unsigned
head_step(const struct wire_session *s)
{
    return s->steps_count == 0 ? 0 : s->steps[s->steps_head];
}

static inline void
pop_step(struct wire_session *s)
{
    s->steps_head = (s->steps_head + 1) & (s->steps_cap - 1);
    s->steps_count -= 1;
    s->substate = SUB_NONE;
}

/* The answer of a SET was its CommandComplete, with which `in` still starts. Answers of the
 * SETs behind it that are the same, byte by byte, go into the same event. */
void wire_steps_take_same(struct wire_session *s, const struct wire_buffer *in,
                          struct wire_event *event);

#endif
