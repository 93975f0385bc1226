#include "pipeline.h"

#include "cold.h"

#include "errors.h"
#include "factory.h"

/* So many requests in flight are looked at when one of them is given up. */
#define FORLORN_MAX 1000

/* Who may ask */

int
segment_check_request(struct connection *conn, const struct operation *op)
{
    bool ahead = op->kind == OP_PREPARE && op->params != NULL;
    if (op->piped || ahead || op->kind == OP_SEGMENT) {
        return 0;
    }
    PyObject *done = PyObject_CallMethodNoArgs(conn->link, conn->st->name_check_pipeline);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* Beginning and end */

void
segment_open(struct connection *conn)
{
    Py_CLEAR(conn->segment.error);
    conn->segment.open = true;
    conn->segment.begun = false;
    conn->segment.failed = false;
    conn->segment.cut = false;
}

void
segment_forget(struct connection *conn)
{
    Py_CLEAR(conn->segment.error);
    conn->segment.open = false;
}

bool
segment_ends(struct connection *conn, struct operation *op)
{
    bool under_way = segment_is_under_way(conn);
    bool stopped = conn->segment.error != NULL;
    conn->segment.open = false;
    /* Only a transaction of its own is its to undo. */
    op->rollback = (op->rollback || stopped) && !conn->segment.failed && !conn->begun;
    op->undone = op->rollback || conn->segment.failed;
    return under_way;
}

int
segment_check(struct connection *conn, const struct operation *op)
{
    if (conn->segment.error == NULL && !conn->segment.failed && !conn->segment.cut) {
        return 0;
    }
    PyObject *error = errors_aborted(conn->st, op->sql, conn->segment.error);
    if (error != NULL) {
        compat_raise(error);
    }
    return -1;
}

void
segment_stop(struct connection *conn, PyObject *error)
{
    if (conn->segment.open && conn->segment.error == NULL) {
        conn->segment.error = Py_NewRef(error);
    }
}

void
segment_refused(struct connection *conn)
{
    PyObject *error = compat_take_exception();
    if (error != NULL) {
        segment_stop(conn, error);
        compat_raise(error);
    }
}

/* Errors */

/* The head of `sent` was skipped by the server. */
static void
segment_abort_head(struct connection *conn, struct operation *op, PyObject *cause)
{
    if (!op->abandoned) {
        op_set_error(op, errors_aborted(conn->st, op->sql, cause));
    }
    if (op->parse == OP_PARSE_SENT) {
        cold_unparsed(conn, op);
    }
    op->failed = true;
    conn_complete(conn, op);
}

void
segment_failed(struct connection *conn)
{
    struct operation *op = conn->sent.head;
    if (conn->healing != NULL) {
        conn_heal_none(conn); /* what is held back cannot wait for this one's ReadyForQuery */
    }
    PyObject *cause = Py_XNewRef(op->error); /* NULL: it had been given up */
    if (op->phase == OP_DESCRIBING) {
        (void)conn_described(conn, op);
    }
    conn_complete(conn, op);
    while (!conn->closed && (op = conn->sent.head) != NULL && op->piped && op->kind != OP_SYNC) {
        segment_abort_head(conn, op, cause);
    }
    if (conn->sent.head != NULL) {
        conn->sent.head->undone = true; /* its OP_SYNC */
        Py_XDECREF(cause);
    }
    else {
        conn->segment.failed = true;
        Py_XSETREF(conn->segment.error, cause);
    }
    conn_note_abandoned(conn);
}

bool
segment_is_forlorn(const struct connection *conn)
{
    if (!segment_is_under_way(conn) || conn->in_flight > FORLORN_MAX) {
        return false;
    }
    for (const struct operation *op = conn->sent.head; op != NULL; op = op->next) {
        if (!op->abandoned && (!op->piped || op->callback != NULL)) {
            return false;
        }
    }
    return true;
}

void
segment_cut(struct connection *conn)
{
    if (!segment_is_under_way(conn) || conn->encoding != NULL) {
        return;
    }
    struct operation *op = op_new(conn->st, conn->loop, OP_SYNC, OP_NONE, NULL);
    if (op == NULL) {
        PyErr_Clear();
        return; /* then the connection ends with the deadline of the cancellation */
    }
    op->piped = true;
    op->rollback = true;
    if (conn_send_alone(conn, op) < 0) {
        PyErr_Clear(); /* the connection is closed */
    }
    else {
        op->done = true;
        op->abandoned = true;
        conn->abandoned += 1;
    }
    Py_DECREF(op);
    conn->segment.open = true; /* for its owner, who has not asked for the end yet */
    conn->segment.cut = true;
}

/* What Python calls */

static PyObject *
pipe_submit(struct connection *conn, struct operation *op)
{
    if (conn_submit(conn, op) < 0) {
        Py_DECREF(op);
        return NULL;
    }
    return (PyObject *)op;
}

PyObject *
Connection_segment(struct connection *conn, PyObject *unused)
{
    (void)unused;
    if (conn_enter(conn) < 0) {
        return NULL;
    }
    struct operation *op = op_new(conn->st, conn->loop, OP_SEGMENT, OP_NONE, NULL);
    return op == NULL ? NULL : pipe_submit(conn, op);
}

/* One of those that are described together; the first waits as every request does. */
static PyObject *
pipe_foresee(struct connection *conn, PyObject *item, struct operation *previous)
{
    if (!PyTuple_Check(item) || PyTuple_GET_SIZE(item) != 2
        || !PyTuple_Check(PyTuple_GET_ITEM(item, 1))) {
        return errors_set(PyExc_TypeError, "foresee([(sql, tuple), ...])");
    }
    struct operation *op = conn_new_execution(conn, OP_PREPARE, OP_NONE, PyTuple_GET_ITEM(item, 0),
                                              PyTuple_GET_ITEM(item, 1));
    if (op == NULL) {
        return NULL;
    }
    conn->foreseeing = previous != NULL && previous == conn->sent.tail;
    conn->waking = true; /* all in one write */
    PyObject *submitted = pipe_submit(conn, op);
    conn->waking = false;
    conn->foreseeing = false;
    return submitted;
}

PyObject *
Connection_foresee(struct connection *conn, PyObject *items)
{
    if (!PyList_Check(items)) {
        return errors_set(PyExc_TypeError, "foresee([(sql, tuple), ...])");
    }
    if (conn_enter(conn) < 0) {
        return NULL;
    }
    PyObject *operations = PyList_New(0);
    bool none = conn->cache.size_max == 0; /* nothing would remember them */
    struct operation *previous = NULL;
    for (Py_ssize_t i = 0; !none && operations != NULL && i < PyList_GET_SIZE(items); i++) {
        PyObject *op = pipe_foresee(conn, PyList_GET_ITEM(items, i), previous);
        if (op == NULL || PyList_Append(operations, op) < 0) {
            Py_CLEAR(operations);
        }
        if ((struct operation *)op == conn->sent.tail) {
            previous = conn->sent.tail;
        }
        Py_XDECREF(op);
    }
    conn_write_now(conn);
    return operations;
}

/* Statements and Syncs belong to the segment that segment() has opened. */
static int
pipe_enter(struct connection *conn)
{
    if (conn_enter(conn) < 0) {
        return -1;
    }
    if (!conn->segment.open) {
        PyErr_SetString(conn->st->interface_error, "no segment of a pipeline is open");
        return -1;
    }
    return 0;
}

PyObject *
Connection_pipe(struct connection *conn, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 4) {
        return errors_set(PyExc_TypeError, "pipe(sql, params, mode, row_factory)");
    }
    if (pipe_enter(conn) < 0) {
        return NULL;
    }
    long mode = PyLong_AsLong(args[2]);
    if (mode < OP_RESULT || mode > OP_NONE) {
        return PyErr_Occurred() ? NULL : errors_set(PyExc_ValueError, "unknown mode %ld", mode);
    }
    struct operation *op =
        conn_new_execution(conn, OP_EXECUTE, (enum op_mode)mode, args[0], args[1]);
    if (op == NULL) {
        segment_refused(conn);
        return NULL;
    }
    op->piped = true;
    if (op_set_row_factory(op, args[3]) < 0) {
        Py_DECREF(op);
        segment_refused(conn);
        return NULL;
    }
    return pipe_submit(conn, op);
}

PyObject *
Connection_pipe_flush(struct connection *conn, PyObject *unused)
{
    (void)unused;
    if (pipe_enter(conn) < 0) {
        return NULL;
    }
    if (conn->segment.waiting.tail != NULL) {
        conn->segment.waiting.tail->flush = true;
    }
    else if (conn->encoding == NULL && segment_is_under_way(conn)) {
        struct operation *tail = conn->sent.tail;
        if (tail != NULL && tail->phase == OP_DESCRIBING) {
            tail->flush = true; /* behind what follows its description */
        }
        wire_put_flush(&conn->out);
        conn_flush(conn);
    }
    Py_RETURN_NONE;
}

PyObject *
Connection_sync(struct connection *conn, PyObject *undo)
{
    if (pipe_enter(conn) < 0) {
        return NULL;
    }
    struct operation *op = op_new(conn->st, conn->loop, OP_SYNC, OP_NONE, NULL);
    if (op == NULL) {
        return NULL;
    }
    op->piped = true;
    op->rollback = undo == Py_True;
    return pipe_submit(conn, op);
}
