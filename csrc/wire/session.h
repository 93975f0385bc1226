/* The protocol's state machine: bytes in, events out. It knows nothing of
 * sockets, clocks or Python.
 *
 * What the client has asked for stands in a FIFO of steps, one byte each, in the
 * order of the messages sent; the answers must come in that order, so pipelining
 * is not a mode. An ErrorResponse drops the steps up to the next SYNC, as the
 * server does. Anything out of order is a protocol error, fatal and sticky. */
#ifndef WIRE_SESSION_H
#define WIRE_SESSION_H

#include "auth.h"
#include "backend.h"
#include "frontend.h"

enum wire_step {
    WIRE_STEP_PARSE = 1,          /* '1' */
    WIRE_STEP_BIND,               /* '2' */
    WIRE_STEP_DESCRIBE_STATEMENT, /* 't', then 'T' or 'n' */
    WIRE_STEP_DESCRIBE_PORTAL,    /* 'T' or 'n' */
    WIRE_STEP_EXECUTE,            /* 'D'*, then 'C', 'I', 's'; or a COPY */
    WIRE_STEP_CLOSE,              /* '3' */
    WIRE_STEP_SYNC,               /* 'Z' */
    WIRE_STEP_QUERY,              /* ('T' 'D'* 'C' | 'C' | 'I' | COPY)*, 'Z' */
    WIRE_STEP_SET,                /* BIND and EXECUTE in one, for one of many sets: no COPY */
    WIRE_STEP_QUESTION,           /* EXECUTE, always as a rider: its rows are ANSWER events */
};
/* Or-ed to a step that rides in front of somebody's request (BEGIN, Close of an
 * evicted statement): its success makes no event, not even for rows but those of a
 * QUESTION, its error is marked `rider`. It must not start a COPY: nobody would end it. */
#define WIRE_STEP_RIDER 0x80u

enum wire_event_kind {
    WIRE_EV_SCRAM_KEY = 1,     /* salt, iterations: answer with wire_session_scram_key */
    WIRE_EV_PARAMETER,         /* parameter */
    WIRE_EV_BACKEND_KEY,       /* backend_key */
    WIRE_EV_NOTICE,            /* body: wire_error_fields has accepted it */
    WIRE_EV_NOTIFICATION,      /* notification */
    WIRE_EV_ERROR,             /* body, as for a notice; rider; unsolicited */
    WIRE_EV_PARSED,
    WIRE_EV_BOUND,
    WIRE_EV_CLOSED,
    WIRE_EV_PARAM_DESCRIPTION, /* count, reader over the OIDs */
    WIRE_EV_ROW_DESCRIPTION,   /* count, reader over the fields */
    WIRE_EV_NO_DATA,
    WIRE_EV_ROW,               /* count, reader over the cells */
    WIRE_EV_ANSWER,            /* the same of a QUESTION */
    WIRE_EV_COMPLETE,          /* body: the command tag */
    WIRE_EV_SETS,              /* body: the command tag of each of the next `count` SETs */
    WIRE_EV_EMPTY,             /* the statement was empty */
    WIRE_EV_SUSPENDED,         /* rows_max reached, the portal has more */
    WIRE_EV_COPY_IN,           /* copy; the session now takes CopyData from the client */
    WIRE_EV_COPY_OUT,          /* copy; CopyData follows */
    WIRE_EV_COPY_DATA,         /* body */
    WIRE_EV_COPY_DONE,
    WIRE_EV_READY,             /* transaction_status; ends a SYNC or a QUERY (and the startup) */
};

struct wire_event {
    enum wire_event_kind kind;
    bool rider;       /* ERROR: raised by a rider step */
    bool unsolicited; /* ERROR: no request was waiting (the server says good-bye) */
    char transaction_status; /* READY: 'I', 'T', 'E' */
    size_t count;
    struct wire_reader reader;
    wire_slice body;
    union {
        struct wire_parameter parameter;
        struct wire_backend_key backend_key;
        struct wire_notification notification;
        struct wire_copy_response copy;
        struct {
            wire_slice salt;
            uint32_t iterations;
        } scram;
    } u;
};

/* How much a user wants SCRAM-SHA-256-PLUS: libpq's channel_binding. */
enum wire_binding_mode {
    WIRE_BINDING_DISABLE,
    WIRE_BINDING_PREFER,
    WIRE_BINDING_REQUIRE, /* nothing else will do, no authentication either */
};

enum wire_phase {
    WIRE_PHASE_NEW,
    WIRE_PHASE_AUTH,   /* startup sent */
    WIRE_PHASE_BOOT,   /* authenticated, before the first ReadyForQuery */
    WIRE_PHASE_READY,
    WIRE_PHASE_BROKEN, /* error.status says why */
};

struct wire_session {
    enum wire_phase phase;
    char transaction_status; /* of the last ReadyForQuery; 'I' before */
    uint8_t substate;        /* inside the head step; private to session.c */
    unsigned parameters;     /* ParameterStatus messages since the last READY; bounded in BOOT */
    uint32_t protocol;       /* the version asked for; what the server made of it */
    uint32_t protocol_min;
    bool negotiated;         /* the server has named another version */
    unsigned allow;          /* WIRE_ALLOW_ mask */
    uint32_t iterations_max; /* of SCRAM */
    enum wire_binding_mode channel_binding;
    bool encrypted;          /* TLS is underneath */
    bool bound;              /* SCRAM-SHA-256-PLUS has come to its end */
    uint8_t binding[WIRE_BINDING_MAX];
    size_t binding_len;      /* 0: there is nothing to be bound to */
    uint32_t auth_started;   /* the method under way, an AUTH code, or 0 */
    bool auth_finished;      /* that method has come to its end */
    struct wire_scram scram;
    struct wire_buffer user;     /* for md5 */
    struct wire_buffer password; /* wiped when the startup ends */
    bool has_password;
    uint8_t nonce[18];
    /* FIFO of steps: a ring, `steps_cap` a power of two. */
    uint8_t *steps;
    size_t steps_head;
    size_t steps_count;
    size_t steps_cap;
    bool open;       /* the Sync of the last step has not been sent: see wire_session_open */
    size_t consumed; /* bytes of the frame behind the last event, consumed at the next call */
    struct wire_error error;
};

/* Cannot fail. */
void wire_session_init(struct wire_session *s);
void wire_session_clear(struct wire_session *s);

/* What a start needs; everything is copied. */
struct wire_startup {
    const struct wire_pair *pairs; /* startup parameters, "user" among them */
    size_t pairs_count;
    wire_slice user;
    wire_slice password; /* as prepared by the caller (SASLprep); ptr NULL = none */
    unsigned allow;      /* WIRE_ALLOW_ mask of methods the user accepts */
    uint8_t nonce[18];   /* fresh random bytes */
    /* tls-server-end-point data (RFC 5929), at most WIRE_BINDING_MAX bytes. ptr NULL: no
     * TLS; empty: TLS with a certificate that has none. */
    wire_slice binding;
    enum wire_binding_mode channel_binding;
    uint32_t iterations_max; /* what the server may ask for in SCRAM */
    uint32_t min_protocol;   /* WIRE_PROTOCOL_3_0 or _3_2 */
    uint32_t max_protocol;   /* what is asked for; not under min_protocol */
};

/* Writes the StartupMessage. A request of its own: it ends with READY. */
WIRE_MUSTCHECK enum wire_status wire_session_start(struct wire_session *s, struct wire_buffer *out,
                                                   const struct wire_startup *startup);

/* Goes on after WIRE_EV_SCRAM_KEY with the salted password. */
WIRE_MUSTCHECK enum wire_status
wire_session_scram_key(struct wire_session *s, struct wire_buffer *out,
                       const uint8_t key[WIRE_SCRAM_KEY_LEN]);

/* The same with the keys that are made of it. */
WIRE_MUSTCHECK enum wire_status
wire_session_scram_keys(struct wire_session *s, struct wire_buffer *out,
                        const struct wire_scram_keys *keys);

/* Makes room for `n` more steps, so that the pushes that follow cannot fail. */
WIRE_MUSTCHECK enum wire_status wire_session_reserve(struct wire_session *s, size_t n);

/* Queues a step (| WIRE_STEP_RIDER); the caller has reserved the room. Steps may be
 * answered before a SYNC stands behind them, as a Flush, which is no step, has the server
 * do. After an ERROR with no SYNC in the queue, which is empty then, the server skips to
 * the next Sync: nothing but WIRE_STEP_SYNC may be queued. */
static inline void
wire_session_push(struct wire_session *s, unsigned step)
{
    s->steps[(s->steps_head + s->steps_count) & (s->steps_cap - 1)] = (uint8_t)step;
    s->steps_count += 1;
}

/* A request whose messages are sent by and by. Queues the SYNC that will end it, with room
 * reserved, in front of which wire_session_insert puts the steps of each part; until
 * wire_session_close a 'Z' is not due. Nothing may be pushed meanwhile. */
static inline void
wire_session_open(struct wire_session *s)
{
    wire_session_push(s, WIRE_STEP_SYNC);
    s->open = true;
}

/* Queues `n` times this step in front of the open SYNC; the caller has reserved the room.
 * Behind an error it is a no-op: the server skips those messages, too. */
void wire_session_insert(struct wire_session *s, unsigned step, size_t n);

/* The Sync goes out. */
static inline void
wire_session_close(struct wire_session *s)
{
    s->open = false;
}

/* The next event in `in`. Slices and the reader of the event live until the next
 * call or the next read into `in`: the frame is consumed by the next call.
 * Authentication answers are written to `out` by the session itself.
 * WIRE_OK: `event` is filled. WIRE_MORE: read more. Negative: broken for good,
 * s->error has the text, and every further call gives the same. */
WIRE_MUSTCHECK enum wire_status
wire_session_next(struct wire_session *s, struct wire_buffer *in, struct wire_buffer *out,
                  struct wire_event *event);

/* After WIRE_EV_COPY_DATA and before the next call of wire_session_next: copies the bodies of
 * the CopyData that follow at once to `to`, those that are there whole and fit into `room`
 * bytes. Returns how many bytes that were; their frames are consumed by the next call.
 * What is no CopyData is left for wire_session_next to judge. session_copy.c */
size_t wire_session_more_data(struct wire_session *s, const struct wire_buffer *in, uint8_t *to,
                              size_t room);

#endif
