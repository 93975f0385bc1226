#include "cold.h"

#include "clock.h"
#include "errors.h"

/* A server whose statement_timeout ends between two flights is done with the transaction by
 * itself, and would run the second one on its own. When the answer to the first one has lain
 * about for so long, the second one waits until the server has said that it is ready. */
#define COLD_GAP_NS 500000000u

void
cold_begin(struct connection *conn, struct operation *op)
{
    op->unsynced = !op->piped && op->kind != OP_PREPARE;
    conn->cold_since = clock_ns();
}

/* Adds the Sync that is owed to `out`. False: the connection is closed. */
static bool
cold_put_sync(struct connection *conn, struct operation *op)
{
    op->unsynced = false;
    wire_put_sync(&conn->out);
    if (conn->out.failed != WIRE_OK || wire_session_reserve(&conn->session, 1) != WIRE_OK) {
        conn_fail(conn, WIRE_ERR_MEMORY, "no memory to end a request", 0);
        return false;
    }
    wire_session_push(&conn->session, WIRE_STEP_SYNC);
    return true;
}

static void
cold_sync(struct connection *conn, struct operation *op)
{
    if (cold_put_sync(conn, op)) {
        conn_flush(conn);
    }
}

/* The Sync that is owed becomes an operation of its own in the place of `op`, the only one
 * in flight, which is in no queue then: something may follow in the same write. False:
 * nothing has changed, or the connection is closed. */
static bool
cold_step_aside(struct connection *conn, struct operation *op)
{
    if (conn->in_flight != 1 || conn->healing != NULL || conn->cancelling || op->abandoned) {
        return false;
    }
    struct operation *end = op_new(conn->st, conn->loop, OP_SYNC, OP_NONE, NULL);
    if (end == NULL || !cold_put_sync(conn, op)) {
        PyErr_Clear();
        Py_XDECREF(end);
        return false;
    }
    end->done = true; /* nobody waits */
    end->phase = OP_EXECUTING;
    end->conn = (struct connection *)Py_NewRef((PyObject *)conn);
    op_queue_pop(&conn->sent);
    op_queue_push(&conn->sent, end);
    return true;
}

/* Whether the second flight may follow without a Sync in between. */
static bool
cold_may_go_on(const struct connection *conn, const struct operation *op)
{
    return !op->abandoned && !op->failed && op->error == NULL && conn->lookup == NULL
           && (op->tries > 0 || clock_ns() - conn->cold_since < COLD_GAP_NS);
}

/* Types have to be asked for before the second flight: behind a Sync, since the answer may
 * take its time. */
static void
cold_park(struct connection *conn, struct operation *op)
{
    if (cold_step_aside(conn, op)) {
        op->phase = OP_DEFERRED;
        op_queue_push_front(&conn->deferred, op);
        conn_await_lookup(conn, op);
        conn_flush(conn);
    }
    else if (!conn->closed) {
        op->looked_up = false; /* when the server is ready */
        Py_CLEAR(conn->lookup_sql);
        cold_sync(conn, op);
    }
}

void
cold_described(struct connection *conn, struct operation *op)
{
    if (!cold_may_go_on(conn, op) || !conn_remember(conn, op)) {
        cold_sync(conn, op);
        return;
    }
    Py_INCREF(op);
    int status = conn_encode_execution(conn, op);
    if (conn->closed) {
        PyErr_Clear(); /* by code that the encoding ran; conn_fail has ended all operations */
    }
    else if (status == 0) {
        conn_flush(conn);
    }
    else if (status == REQUEST_WAITS) {
        cold_park(conn, op);
    }
    else {
        op_set_error(op, errors_take());
        cold_sync(conn, op);
    }
    Py_DECREF(op);
}

/* The server could not tell a parameter's type: it is told, and asked again, in the same
 * write as the Sync. */
static bool
cold_retry(struct connection *conn, struct operation *op)
{
    if (op->indeterminate == 0 || conn->lookup != NULL || !conn_may_retry_early(conn, op)
        || !conn_infer_parameter(conn, op) || conn->closed || !cold_step_aside(conn, op)) {
        return false;
    }
    stmtcache_drop(&conn->cache, op->stmt, false);
    int status = conn_retry_early(conn, op);
    if (status == 0) {
        op_queue_push(&conn->sent, op);
        conn->in_flight += 1;
    }
    else if (status == REQUEST_WAITS) {
        op_queue_push_front(&conn->deferred, op);
        conn_await_lookup(conn, op);
    }
    else {
        op_set_error(op, errors_take());
        conn_finish(conn, op);
    }
    if (!conn->closed) {
        conn_flush(conn);
    }
    return true;
}

void
cold_refused(struct connection *conn, struct operation *op)
{
    if (!cold_retry(conn, op) && !conn->closed) {
        cold_sync(conn, op);
    }
}
