/* Flow control, both ways: who makes bytes waits until the socket has taken some, what
 * nobody takes is not read, and nobody holds the loop up for long.
 *
 * What an operation with a flow gives is taken: what is there lies in op->rows, and an
 * OP_TAKE waits for more. Of a portal's that is all of it, at its end. The rows of a stream
 * (`pulled`) are taken while they come; over FLOW_IN_HIGH the
 * connection is paused: its reader leaves the loop, until all has been taken, or the
 * stream is given up and drained. Nothing is sent behind a stream, so that it can be
 * cancelled without hitting anything else. */
#ifndef DRIVER_FLOW_H
#define DRIVER_FLOW_H

#include "connection.h"

/* Bytes of `out` over which a producer should stop, and those at which it may go on. */
#define FLOW_OUT_HIGH (256 * 1024)
#define FLOW_OUT_LOW (64 * 1024)

/* Bytes of messages that are kept for a stream before reading stops. */
#define FLOW_IN_HIGH (256 * 1024)

/* How long the pump works before others get their turn. */
#define FLOW_TURN_NS 3000000u
#define FLOW_LOOK_FIRST 8 /* events before the first look at the clock */
#define FLOW_LOOK_MAX 256

/* core.drain(), take(), claim() and release(); see _core.pyi. */
PyObject *Connection_drain(struct connection *conn, PyObject *unused);
PyObject *Connection_take(struct connection *conn, PyObject *stream);
PyObject *Connection_claim(struct connection *conn, PyObject *text);
PyObject *Connection_release(struct connection *conn, PyObject *task);

/* `out` has become shorter: lets those go on that wait for that. */
void flow_written(struct connection *conn);

/* Gives the operation a flow: its rows are counted in bytes, and are for take(), `pulled`:
 * while they come. -1 with an exception. */
int flow_open(struct operation *op, bool pulled);

/* Forgets it, for the end of an operation's life. */
void flow_drop(struct operation *op);

static inline bool
flow_is_pulled(const struct operation *op)
{
    return op->flow != NULL && op->flow->pulled;
}

/* Something of so many bytes was added to op->rows. */
static inline void
flow_count(struct operation *op, size_t bytes)
{
    if (op->flow != NULL) {
        op->flow->bytes += bytes;
    }
}

/* An operation with a flow is about to be encoded: outside of a transaction (`begins`: a
 * BEGIN goes in front of it) one that is `either` needs no portal, and is pulled. */
void flow_choose(struct connection *conn, struct operation *op, bool begins);

/* Only where conn->claims is set. -1 with an InterfaceError: what this task asks for would
 * wait for the end of a stream of its own. 1: it is done, there was nothing to be sent.
 * `op` may be NULL. */
int flow_check_claims(struct connection *conn, struct operation *op);

/* Adds a piece (CopyData) as bytes to op->rows of a stream, and counts it. -1 with an
 * exception. */
int flow_keep(struct operation *op, wire_slice piece);

/* After `in` was handled, with the head of `sent`. True: enough has come for this turn, and
 * the next one comes by itself, or when something has been taken. */
bool flow_is_enough(struct connection *conn, struct operation *op);

/* At the end of the pump: hands what there is to whoever waits for it. */
void flow_deliver(struct connection *conn, struct operation *op);

/* `op` is done, and has a flow: whoever waits for more of it gets the rest, or its end. */
void flow_settle(struct connection *conn, struct operation *op);

/* `op` was given up, and has a flow: a stream is read to its end now, and whoever gives up
 * waiting for a stream gives that up. `error` as for conn_abandon. */
void flow_abandoned(struct operation *op, PyObject *error);

/* Looks at the clock: whether the pump has worked long enough in this turn. Tells by
 * conn->look_every when to look again. */
bool flow_turn_is_over(struct connection *conn);

#endif
