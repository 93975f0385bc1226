#include "flow.h"

#include "clock.h"
#include "copy.h"
#include "errors.h"

/* Sending */

static bool
flow_may_write(const struct connection *conn)
{
    return wire_buffer_size(&conn->out) <= FLOW_OUT_LOW;
}

PyObject *
Connection_drain(struct connection *conn, PyObject *unused)
{
    (void)unused;
    if (conn_enter(conn) < 0) {
        return NULL;
    }
    struct operation *op = op_new(conn->st, conn->loop, OP_DRAIN, OP_NONE, NULL);
    if (op == NULL) {
        return NULL;
    }
    if (flow_may_write(conn)) {
        op->done = true;
        return (PyObject *)op;
    }
    op->conn = (struct connection *)Py_NewRef((PyObject *)conn);
    op_queue_push(&conn->drains, (struct operation *)Py_NewRef((PyObject *)op));
    return (PyObject *)op;
}

void
flow_written(struct connection *conn)
{
    struct operation *op;
    while (flow_may_write(conn) && (op = op_queue_pop(&conn->drains)) != NULL) {
        conn_finish(conn, op);
    }
}

/* The clock */

bool
flow_turn_is_over(struct connection *conn)
{
    uint64_t now = clock_ns();
    uint64_t since = now - conn->looked;
    conn->looked = now;
    if (conn->turn_began == 0) {
        conn->turn_began = now; /* with the first look */
        return false;
    }
    /* About ten looks a turn, however long a row takes. */
    if (since > FLOW_TURN_NS / 5 && conn->look_every > 1) {
        conn->look_every /= 2;
    }
    else if (since < FLOW_TURN_NS / 20 && conn->look_every < FLOW_LOOK_MAX) {
        conn->look_every *= 2;
    }
    return now - conn->turn_began > FLOW_TURN_NS;
}

/* Reading: pausing and going on */

static void
flow_pause(struct connection *conn)
{
    if (conn_watch(conn, conn->st->name_remove_reader, NULL) < 0) {
        PyErr_WriteUnraisable((PyObject *)conn);
        return;
    }
    conn->paused = true;
}

static void
flow_resume(struct connection *conn)
{
    if (!conn->paused || conn->closed) {
        return;
    }
    conn->paused = false;
    PyObject *saved = compat_take_exception();
    if (conn_watch(conn, conn->st->name_add_reader, conn->st->name__on_readable) < 0) {
        PyErr_Clear();
        conn_fail(conn, WIRE_OK, "the event loop does not watch the connection any more", 0);
    }
    else if (conn->backlog || conn->write_error != 0 || net_pending(&conn->stream)) {
        conn_pump_soon(conn);
    }
    if (saved != NULL) {
        compat_raise(saved);
    }
}

/* Streams */

int
flow_open(struct operation *op, bool pulled)
{
    op->flow = PyMem_Malloc(sizeof(*op->flow));
    if (op->flow == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    *op->flow = (struct op_flow){.pulled = pulled};
    return 0;
}

void
flow_choose(struct connection *conn, struct operation *op, bool begins)
{
    if (op->flow->either && !begins && !conn->begun) {
        op->flow->pulled = true;
        op->rows_max = 0;
        Py_CLEAR(op->portal);
    }
}

void
flow_drop(struct operation *op)
{
    struct op_flow *flow = op->flow;
    op->flow = NULL;
    if (flow != NULL) {
        Py_XDECREF(flow->peer);
        PyMem_Free(flow);
    }
}

int
flow_keep(struct operation *op, wire_slice piece)
{
    if (op->rows == NULL) {
        op->rows = PyList_New(0);
        if (op->rows == NULL) {
            return -1;
        }
    }
    PyObject *bytes = PyBytes_FromStringAndSize((const char *)piece.ptr, (Py_ssize_t)piece.len);
    int failed = bytes == NULL || PyList_Append(op->rows, bytes) < 0;
    Py_XDECREF(bytes);
    flow_count(op, piece.len);
    return failed ? -1 : 0;
}

/* Rows that lack a type come after its lookup, and the others in their order. */
static bool
flow_has_rows(struct operation *op)
{
    if (op->copy != NULL && copy_close_piece(op) < 0) {
        op_set_error(op, errors_take());
    }
    return op->rows != NULL && op->postponed == NULL && PyList_GET_SIZE(op->rows) > 0
           && (op->done || op->flow->pulled);
}

/* Whether there is something to tell: rows, an end, an error. */
static bool
flow_has_news(struct operation *op)
{
    return op->done || flow_has_rows(op);
}

/* Fills an OP_TAKE that the stream does not know any more with the news. */
static void
flow_fill(struct operation *take, struct operation *op)
{
    if (flow_has_rows(op)) {
        take->rows = op->rows;
        op->rows = NULL;
        op->flow->bytes = op->flow->pulled ? 0 : op->flow->bytes;
    }
    else if (op->error != NULL) {
        take->error = Py_NewRef(op->error);
        take->own_traceback = op->own_traceback;
    }
    else {
        take->cancelled = op->cancelled;
    }
}

static void
flow_wake(struct connection *conn, struct operation *op)
{
    struct operation *take = op->flow->peer;
    op->flow->peer = NULL;
    flow_drop(take); /* the caller holds the stream */
    flow_fill(take, op);
    conn_finish(conn, take);
}

bool
flow_is_enough(struct connection *conn, struct operation *op)
{
    if (!op->flow->pulled || op->abandoned || op->postponed != NULL) {
        return false;
    }
    if (op->error != NULL && !op->failed && op->kind != OP_COPY) {
        conn_abandon(op, op->error); /* a row that cannot be decoded: the rest is not wanted */
        return false;
    }
    if (op->flow->bytes < FLOW_IN_HIGH) {
        return false;
    }
    if (op->flow->peer != NULL) {
        conn_pump_soon(conn);
    }
    else {
        flow_pause(conn);
    }
    return true;
}

void
flow_deliver(struct connection *conn, struct operation *op)
{
    if (op->flow->peer != NULL && flow_has_rows(op)) {
        flow_wake(conn, op);
    }
}

void
flow_settle(struct connection *conn, struct operation *op)
{
    if (op->kind != OP_TAKE && op->flow->peer != NULL) {
        flow_wake(conn, op);
    }
}

void
flow_abandoned(struct operation *op, PyObject *error)
{
    struct operation *peer = op->flow->peer;
    if (op->kind == OP_TAKE) {
        op->flow->peer = NULL;
        if (peer != NULL && peer->flow != NULL && peer->flow->peer == op) {
            peer->flow->peer = NULL;
            Py_DECREF(op); /* the caller has another one */
            conn_abandon(peer, error);
        }
        Py_XDECREF(peer);
        return;
    }
    struct connection *conn = (struct connection *)Py_XNewRef((PyObject *)op->conn);
    if (conn == NULL) {
        return;
    }
    if (peer != NULL) {
        flow_wake(conn, op);
    }
    if (op == conn->sent.head) {
        flow_resume(conn);
    }
    Py_DECREF(conn);
}

/* An OP_TAKE with what there is, or which waits for it. */
static struct operation *
flow_take(struct connection *conn, struct operation *op)
{
    struct operation *take = op_new(conn->st, op->loop, OP_TAKE, OP_ROWS, NULL);
    if (take == NULL) {
        return NULL;
    }
    if (flow_has_news(op)) {
        flow_fill(take, op);
        take->done = true;
        return take;
    }
    if (flow_open(take, false) < 0) {
        Py_DECREF(take);
        return NULL;
    }
    take->flow->peer = (struct operation *)Py_NewRef((PyObject *)op);
    op->flow->peer = (struct operation *)Py_NewRef((PyObject *)take);
    return take;
}

PyObject *
Connection_take(struct connection *conn, PyObject *stream)
{
    struct operation *op = (struct operation *)stream;
    if (!Py_IS_TYPE(stream, conn->st->operation_type) || op->flow == NULL || op->kind == OP_TAKE) {
        return errors_set(PyExc_TypeError, "take() takes from a stream or a portal");
    }
    if (op->flow->peer != NULL) {
        return errors_set(conn->st->interface_error,
                          "another task waits for this stream: it has one reader at a time");
    }
    if (!op->done && (op->conn != conn || conn_enter(conn) < 0)) {
        return PyErr_Occurred() ? NULL
                                : errors_set(PyExc_ValueError, "a stream of another connection");
    }
    struct operation *take = flow_take(conn, op);
    if (take != NULL && op == conn->sent.head) {
        flow_resume(conn);
    }
    return (PyObject *)take;
}

/* Tasks with a stream open */

PyObject *
Connection_claim(struct connection *conn, PyObject *text)
{
    if (!PyUnicode_Check(text)) {
        return errors_set(PyExc_TypeError, "claim(text)");
    }
    PyObject *task = PyObject_CallNoArgs(conn->st->current_task);
    if (task == NULL || task == Py_None) {
        return task;
    }
    if (conn->claims == NULL) {
        conn->claims = PyDict_New();
    }
    if (conn->claims == NULL || PyDict_SetItem(conn->claims, task, text) < 0) {
        Py_CLEAR(task);
    }
    return task;
}

PyObject *
Connection_release(struct connection *conn, PyObject *task)
{
    if (conn->claims != NULL && PyDict_DelItem(conn->claims, task) < 0) {
        PyErr_Clear();
    }
    if (conn->claims != NULL && PyDict_GET_SIZE(conn->claims) == 0) {
        Py_CLEAR(conn->claims);
    }
    Py_RETURN_NONE;
}

int
flow_check_claims(struct connection *conn, struct operation *op)
{
    bool ends = op != NULL && (op->kind == OP_COMMIT || op->kind == OP_ROLLBACK);
    if (ends && !conn->begun) {
        Py_CLEAR(conn->begin_due);
        op->done = true;
        return 1;
    }
    PyObject *task = PyObject_CallNoArgs(conn->st->current_task);
    PyObject *text =
        task == NULL || conn->claims == NULL ? NULL : PyDict_GetItemWithError(conn->claims, task);
    if (text != NULL) {
        PyErr_SetObject(conn->st->interface_error, text);
    }
    Py_XDECREF(task);
    return PyErr_Occurred() ? -1 : 0;
}
