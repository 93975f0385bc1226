/* Pipelines: several statements under one Sync, which the server runs as one implicit
 * transaction unless one is open. From an OP_SEGMENT, whose turn comes like a request's,
 * to its OP_SYNC a segment has the connection for itself: what else is asked for waits in
 * `deferred`, what belongs to the segment and cannot be sent yet in `segment.waiting`.
 *
 * An operation of a segment (`piped`) has no ReadyForQuery of its own. It is over with
 * CommandComplete; after an error the server skips everything up to the Sync, and what
 * had been sent behind ends with a PipelineAborted. */
#ifndef DRIVER_PIPELINE_H
#define DRIVER_PIPELINE_H

#include "connection.h"

/* A request is about to be made while pipelines are open. -1 with an InterfaceError: it
 * would wait for the end of a pipeline that waits for it. */
int segment_check_request(struct connection *conn, const struct operation *op);

/* Whether `op` may be sent as far as segments are concerned. */
static inline bool
segment_lets_through(const struct connection *conn, const struct operation *op)
{
    return conn->segment.open == op->piped;
}

/* The turn of an OP_SEGMENT. */
void segment_open(struct connection *conn);

/* Before a statement of the open segment is encoded: -1 with a PipelineAborted when
 * nothing more of it is to run. */
int segment_check(struct connection *conn, const struct operation *op);

/* The statement that was to be encoded cannot be, for the exception that is set: nothing
 * more of the segment runs, and its Sync undoes it. */
void segment_refused(struct connection *conn);

/* Nothing more of the segment is to run, for this reason (borrowed). */
void segment_stop(struct connection *conn, PyObject *error);

/* Before an OP_SYNC is encoded: the segment ends. True: something is to be sent;
 * op->rollback tells then whether a ROLLBACK goes in front. */
bool segment_ends(struct connection *conn, struct operation *op);

/* Whether what is sent now must leave the implicit transaction of a segment open. */
static inline bool
segment_is_under_way(const struct connection *conn)
{
    return conn->segment.open && conn->segment.begun && !conn->segment.cut;
}

/* The head of `sent`, which is piped, has failed, and the server skips to the Sync. */
void segment_failed(struct connection *conn);

/* Whether something in flight was given up, and nobody waits for any of the rest, all of
 * which is of the open segment: answers to it may come with those of what was given up. */
bool segment_is_forlorn(const struct connection *conn);

/* All that is in flight has been given up: the segment that is open ends at once, since
 * without a Sync the server would never say that it is done. */
void segment_cut(struct connection *conn);

/* Forgets it: the connection is closed. */
void segment_forget(struct connection *conn);

/* core.segment(), foresee(), pipe(), pipe_flush() and sync(); see _core.pyi. */
PyObject *Connection_segment(struct connection *conn, PyObject *unused);
PyObject *Connection_foresee(struct connection *conn, PyObject *items);
PyObject *Connection_pipe(struct connection *conn, PyObject *const *args, Py_ssize_t nargs);
PyObject *Connection_pipe_flush(struct connection *conn, PyObject *unused);
PyObject *Connection_sync(struct connection *conn, PyObject *undo);

#endif
