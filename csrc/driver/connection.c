/* The life of a connection: giving up, closing in all its ways, waking. */
#include "connection.h"
#include "copy.h"
#include "block.h"
#include "errors.h"
#include "pipeline.h"
#include "flow.h"
#include "many.h"
#include "outcome.h"

#include <unistd.h>

/* Calls out */

int
conn_tell(struct connection *conn, PyObject *name, PyObject *args)
{
    PyObject *saved = compat_take_exception();
    PyObject *method = args == NULL ? NULL : PyObject_GetAttr(conn->link, name);
    PyObject *result = method == NULL ? NULL : PyObject_Call(method, args, NULL);
    if (result == NULL) {
        PyErr_WriteUnraisable(conn->link);
    }
    int status = result == NULL ? -1 : 0;
    Py_XDECREF(result);
    Py_XDECREF(method);
    Py_XDECREF(args);
    if (saved != NULL) {
        compat_raise(saved);
    }
    return status;
}

/* Ends of operations */

void
conn_finish(struct connection *conn, struct operation *op)
{
    if (op->copy != NULL) {
        copy_on_finish(conn, op);
    }
    Py_CLEAR(op->conn); /* the caller holds the connection */
    if (op->many != NULL) {
        many_finished(conn, op);
    }
    if (op->done) {
        Py_DECREF(op);
        return;
    }
    op->done = true;
    if (op->flow != NULL) {
        flow_settle(conn, op);
    }
    if (conn->pumping) {
        op_queue_push(&conn->ready, op);
        return;
    }
    op_wake_soon(op);
    Py_DECREF(op);
}

int
conn_wake_ready(struct connection *conn)
{
    int status = 0;
    PyObject *raised = NULL;
    struct operation *op;
    /* A task that is woken may let another thread in, which has the connection moved to its
     * loop and readies operations of its own. */
    struct op_queue ready = conn->ready;
    conn->ready = (struct op_queue){NULL, NULL};
    conn->waking = ready.head != ready.tail;
    while ((op = op_queue_pop(&ready)) != NULL) {
        if (status < 0) {
            op_wake_soon(op); /* the program is being interrupted: later, if at all */
        }
        else if (op_wake(op) < 0) {
            status = -1;
            raised = compat_take_exception();
        }
        Py_DECREF(op);
    }
    if (conn->waking && !conn_is_elsewhere(conn)) {
        /* If it is, it has moved, and had nothing to be written then. */
        conn->waking = false;
        conn_write_now(conn);
    }
    if (raised != NULL) {
        compat_raise(raised);
    }
    return status;
}

void
op_queue_remove(struct op_queue *queue, struct operation *op)
{
    struct operation *previous = NULL;
    for (struct operation *at = queue->head; at != NULL; previous = at, at = at->next) {
        if (at != op) {
            continue;
        }
        if (previous == NULL) {
            queue->head = op->next;
        }
        else {
            previous->next = op->next;
        }
        if (queue->tail == op) {
            queue->tail = previous;
        }
        op->next = NULL;
        return;
    }
}

void
conn_check_cancel(struct connection *conn)
{
    if (!conn->closed && !conn->cancelling && conn->abandoned > 0
        && (conn->abandoned == conn->in_flight || segment_is_forlorn(conn))) {
        segment_cut(conn);
        conn->cancelling = true;
        conn_write_now(conn); /* what is not there cannot be stopped */
        if (conn_tell(conn, conn->st->name_abandoned, PyTuple_Pack(1, conn)) < 0) {
            conn_fail(conn, WIRE_ERR_MEMORY, "no memory to cancel a statement", 0);
        }
    }
}

/* Takes an operation of which nothing has been sent out of where it waits; its reference
 * is the caller's then. */
static void
conn_dequeue(struct connection *conn, struct operation *op)
{
    if (op->kind == OP_FEED) {
        many_forget_feeder(op);
        return;
    }
    if (op->piped) {
        op_queue_remove(&conn->segment.waiting, op);
        return;
    }
    if (op->kind == OP_DRAIN) {
        op_queue_remove(&conn->drains, op);
        return;
    }
    op_queue_remove(&conn->outsiders, op); /* in one of the two */
    op_queue_remove(&conn->deferred, op);
}

void
conn_abandon(struct operation *op, PyObject *error)
{
    if (op->done) {
        return;
    }
    op->done = true;
    if (op->flow == NULL || error == NULL) {
        Py_CLEAR(op->rows);
    }
    if (error != NULL) {
        Py_XSETREF(op->error, Py_NewRef(error));
    }
    else {
        op->cancelled = true;
    }
    op_wake_soon(op);
    if (op->flow != NULL) {
        flow_abandoned(op, error);
    }
    struct connection *conn = (struct connection *)Py_XNewRef((PyObject *)op->conn);
    if (conn == NULL) {
        return;
    }
    if (op->copy != NULL) {
        copy_on_abandon(conn, op);
    }
    if (conn_abandon_waiter(conn, op)) {
        Py_DECREF(conn);
        return;
    }
    if (op->phase == OP_DEFERRED && op == conn->encoding) {
        /* By code that its own encoding runs: conn_encode finds it done. */
    }
    else if (op->phase == OP_DEFERRED && op->kind != OP_STARTUP) {
        conn_dequeue(conn, op);
        Py_CLEAR(op->conn);
        if (op->many != NULL) {
            many_finished(conn, op);
        }
        Py_DECREF(op);
    }
    else {
        op->abandoned = true;
        conn->abandoned += 1;
        if (op->kind == OP_STARTUP) {
            /* There is no key yet to cancel with. */
            conn_fail(conn, WIRE_OK, "the start of the session was given up", 0);
        }
        else {
            conn_check_cancel(conn);
            if (op->phase == OP_FILLING) {
                many_go_on(conn);
            }
        }
    }
    Py_DECREF(conn);
}

/* Closing */

int
conn_watch(struct connection *conn, PyObject *method, PyObject *callback)
{
    PyObject *fd = PyLong_FromLong(conn->stream.fd);
    PyObject *bound = callback == NULL ? NULL : PyObject_GetAttr((PyObject *)conn, callback);
    PyObject *result = NULL;
    if (fd != NULL && (callback == NULL || bound != NULL)) {
        result = PyObject_CallMethodObjArgs(conn->loop, method, fd, bound, NULL);
    }
    Py_XDECREF(bound);
    Py_XDECREF(fd);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

static void
conn_unwatch(struct connection *conn, PyObject *method)
{
    if (conn_watch(conn, method, NULL) < 0) {
        PyErr_Clear();
    }
}

void
conn_detach(struct connection *conn)
{
    int fd = conn->stream.fd;
    if (fd < 0) {
        return;
    }
    PyObject *saved = compat_take_exception();
    if (!conn_is_forked(conn) && !conn_asks_loop(conn->loop, conn->st->name_is_closed)) {
        /* Before the close, always: the loop would not notice the next socket
         * that gets the same number. */
        conn_unwatch(conn, conn->st->name_remove_reader);
        if (conn->writer_on) {
            conn_unwatch(conn, conn->st->name_remove_writer);
        }
    }
    conn->writer_on = false;
    conn->stream.ops->clear(&conn->stream);
    conn->stream.fd = -1;
    close(fd);
    if (saved != NULL) {
        compat_raise(saved);
    }
}

static PyObject *
conn_make_loss(struct connection *conn, const struct operation *op)
{
    const char *outcome = outcome_of(op);
    PyObject *query = op == NULL ? NULL : op->sql;
    switch (conn->lost_status) {
    case WIRE_ERR_PROTOCOL:
    case WIRE_ERR_LIMIT:
        return errors_violation(conn->st, conn->lost_message, outcome, query);
    case WIRE_ERR_AUTH:
        return errors_auth_failed(conn->st, conn->lost_message);
    case WIRE_OK:
    case WIRE_MORE:
    case WIRE_ERR_MEMORY:
    case WIRE_ERR_VERSION:
        break;
    }
    PyObject *words = conn->fatal_fields != NULL ? conn->fatal_fields : conn->farewell;
    return errors_lost(conn->st, conn->lost_message, words, conn->lost_errno, outcome, query);
}

PyObject *
conn_loss(struct connection *conn, const struct operation *op)
{
    PyObject *loss = conn_make_loss(conn, op);
    outcome_mark(conn, loss, op);
    return loss;
}

/* Every waiting operation ends with `error`, or with a loss of its own. */
static void
conn_end_queue(struct connection *conn, struct op_queue *queue, PyObject *error)
{
    struct operation *op;
    while ((op = op_queue_pop(queue)) != NULL) {
        if (op->held) {
            Py_CLEAR(op->error); /* it was to be sent again */
        }
        if (!op->done && op->error == NULL) {
            op_set_error(op, error != NULL ? Py_NewRef(error) : conn_loss(conn, op));
        }
        conn_finish(conn, op);
    }
}

static void
conn_end_all(struct connection *conn, PyObject *error)
{
    struct operation *waiter = conn->waiter;
    conn->waiter = NULL;
    conn->lookup = NULL;
    conn->healing = NULL;
    if (waiter != NULL && waiter->postponed != NULL) {
        op_set_error(waiter, error != NULL ? Py_NewRef(error) : conn_loss(conn, waiter));
        conn_finish(conn, waiter);
    }
    Py_XDECREF((PyObject *)waiter);
    conn_end_queue(conn, &conn->unread, error);
    conn_end_queue(conn, &conn->sent, error);
    conn_end_queue(conn, &conn->segment.waiting, error);
    conn_end_queue(conn, &conn->deferred, error);
    segment_forget(conn);
    conn_end_queue(conn, &conn->drains, error);
    conn_end_queue(conn, &conn->outsiders, error);
    block_forget(conn);
    conn->in_flight = 0;
    conn->abandoned = 0;
    if (conn->cancelling) {
        conn_tell(conn, conn->st->name_drained, PyTuple_Pack(1, conn));
    }
}

void
conn_fail(struct connection *conn, enum wire_status why, const char *message, int error_number)
{
    if (conn->closed) {
        return;
    }
    conn->closed = true;
    conn->lost_status = why;
    conn->lost_errno = error_number;
    snprintf(conn->lost_message, sizeof(conn->lost_message), "%s", message);
    conn_detach(conn);
    outcome_judge(conn);
    PyObject *loss = conn_loss(conn, NULL);
    if (loss == NULL) {
        loss = errors_take();
    }
    Py_XSETREF(conn->lost_error, loss);
    conn_end_all(conn, NULL);
    if (conn->started) {
        conn_tell(conn, conn->st->name_lost, PyTuple_Pack(2, conn, loss != NULL ? loss : Py_None));
    }
}

/* A polite good-bye where it costs nothing: nothing half written, no blocking. */
static void
conn_say_goodbye(struct connection *conn)
{
    if (!conn->started || conn->write_error != 0 || conn->writer_on || conn->encoding) {
        return;
    }
    wire_put_terminate(&conn->out);
    wire_slice bytes = wire_buffer_unread(&conn->out);
    size_t sent = 0;
    if (bytes.len > 0) {
        (void)net_write(&conn->stream, bytes.ptr, bytes.len, &sent);
        if (conn->trace != NULL) {
            conn_trace_sent(conn, sent);
        }
        wire_buffer_consume(&conn->out, wire_buffer_size(&conn->out));
    }
}

/* A loop that runs in another thread must not be touched: it is asked to do the rest
 * itself. False when there is none, or it is just being closed. */
static bool
conn_end_elsewhere(struct connection *conn)
{
    if (conn_is_here(conn) || !conn_asks_loop(conn->loop, conn->st->name_is_running)) {
        return false;
    }
    PyObject *detach = PyObject_GetAttrString((PyObject *)conn, "_detach");
    PyObject *handle =
        detach == NULL
            ? NULL
            : PyObject_CallMethodOneArg(conn->loop, conn->st->name_call_soon_threadsafe, detach);
    Py_XDECREF(detach);
    if (handle == NULL) {
        PyErr_Clear();
        return false;
    }
    Py_DECREF(handle);
    return true;
}

/* What is left of a terminate(): every request ends with the error it was given. */
static void
conn_end_closed(struct connection *conn)
{
    PyObject *error = Py_XNewRef(conn->lost_error);
    if (error == NULL) {
        error = PyObject_CallFunction(conn->st->interface_error, "s", "the connection was closed");
        PyErr_Clear();
    }
    conn_detach(conn);
    conn_end_all(conn, error);
    Py_XDECREF(error);
}

PyObject *
Connection_terminate(struct connection *conn, PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *error = nargs > 0 && args[0] != Py_None ? args[0] : NULL;
    if (conn->closed) {
        Py_RETURN_NONE;
    }
    conn->closed = true;
    if (error != NULL) {
        Py_XSETREF(conn->lost_error, Py_NewRef(error));
        conn->lost_status = WIRE_OK;
        PyObject *text = PyObject_Str(error);
        const char *utf8 = text == NULL ? NULL : PyUnicode_AsUTF8(text);
        snprintf(conn->lost_message, sizeof(conn->lost_message), "%s",
                 utf8 == NULL ? "the connection was closed" : utf8);
        Py_XDECREF(text);
        PyErr_Clear();
    }
    /* In a forked child our copy of the descriptor is closed, and nothing else. */
    if (!conn_is_forked(conn)) {
        if (conn_end_elsewhere(conn)) {
            Py_RETURN_NONE;
        }
        conn_say_goodbye(conn);
    }
    conn_end_closed(conn);
    Py_RETURN_NONE;
}

PyObject *
Connection_detach(struct connection *conn, PyObject *unused)
{
    (void)unused;
    conn_end_closed(conn);
    Py_RETURN_NONE;
}

PyObject *
Connection_adopt(struct connection *conn, PyObject *unused)
{
    (void)unused;
    if (conn_enter(conn) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyObject *
Connection_cancel_finished(struct connection *conn, PyObject *unused)
{
    (void)unused;
    conn->cancelling = false;
    if (!conn->closed) {
        conn_check_cancel(conn);
        conn_start_deferred(conn);
    }
    Py_RETURN_NONE;
}

/* What the loop calls */

PyObject *
Connection_on_readable(struct connection *conn, PyObject *unused)
{
    (void)unused;
    if (conn->closed || conn->pumping || conn->paused || conn_is_forked(conn)
        || (conn_is_elsewhere(conn) && !conn_is_here(conn))) {
        Py_RETURN_NONE;
    }
    if (conn->pump_due && !conn->pump_late) {
        conn->pump_late = true;
        Py_RETURN_NONE; /* its turn comes, and not two of them in one of the loop's */
    }
    conn->pump_due = false; /* or the loop has lost it, where there was no memory */
    Py_INCREF(conn);
    conn->pumping = true;
    conn_pump(conn);
    if (conn->sent.head != NULL && conn->sent.head->flow != NULL) {
        flow_deliver(conn, conn->sent.head);
    }
    if ((conn->deferred.head != NULL || conn->segment.waiting.head != NULL) && !conn->closed) {
        conn_start_deferred(conn);
    }
    conn->pumping = false;
    int status = conn_wake_ready(conn);
    Py_DECREF(conn);
    if (status < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyObject *
Connection_pump_again(struct connection *conn, PyObject *unused)
{
    if (!conn_is_here(conn)) {
        Py_RETURN_NONE; /* it has moved: its loop has been asked, too */
    }
    conn->pump_due = false;
    return Connection_on_readable(conn, unused);
}

PyObject *
Connection_on_writable(struct connection *conn, PyObject *unused)
{
    (void)unused;
    if (!conn->closed && !conn->encoding && (!conn_is_elsewhere(conn) || conn_is_here(conn))) {
        conn_flush(conn);
        if (many_open_borrow(conn) != NULL) {
            many_writable(conn);
        }
    }
    Py_RETURN_NONE;
}
