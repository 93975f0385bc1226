/* Who may use a connection, and how an idle one moves from one event loop to another. */
#include "connection.h"
#include "block.h"
#include "errors.h"

#include <fcntl.h>

bool
conn_asks_loop(PyObject *loop, PyObject *question)
{
    PyObject *answer = PyObject_CallMethodNoArgs(loop, question);
    bool yes = answer == NULL || PyObject_IsTrue(answer) != 0;
    Py_XDECREF(answer);
    PyErr_Clear();
    return yes;
}

/* Is the caller allowed? */

static int
conn_refuse_closed(struct connection *conn)
{
    if (conn->lost_error == NULL) {
        PyErr_SetString(conn->st->interface_error, "the connection is closed");
        return -1;
    }
    PyObject *loss = conn_loss(conn, NULL);
    if (loss != NULL) {
        compat_raise(loss);
    }
    return -1;
}

static int
conn_refuse_busy(struct connection *conn, PyObject *running)
{
    if (running == Py_None) {
        PyErr_Format(conn->st->interface_error,
                     "no event loop is running here: the connection belongs to %R%s", conn->loop,
                     conn->thread == PyThread_get_thread_ident() ? "" : " in another thread");
    }
    else {
        PyErr_Format(conn->st->interface_error,
                     "the connection is busy in the event loop %R and cannot be used from %R: "
                     "wait until it is idle, or open another one",
                     conn->loop, running);
    }
    return -1;
}

int
conn_refuse_moved(struct connection *conn)
{
    PyObject *running = PyObject_CallNoArgs(conn->st->running_loop);
    if (running != NULL) {
        conn_refuse_busy(conn, running);
        Py_DECREF(running);
    }
    return -1;
}

/* Moving to another loop */

static bool
conn_is_idle(const struct connection *conn)
{
    return conn->started && conn->sent.head == NULL && conn->deferred.head == NULL
           && conn->outsiders.head == NULL && !conn->segment.open && conn->ready.head == NULL
           && conn->waiter == NULL && conn->encoding == NULL && !conn->pumping && !conn->cancelling
           && !conn->moving && !conn->writer_on && wire_buffer_size(&conn->out) == 0;
}

/* The reader leaves a loop that runs in another thread. That loop must do it itself, and
 * by then the descriptor must be the same one still: it keeps that, and gets rid of it in
 * the right order; the connection goes on with another number. */
static int
conn_leave_running(struct connection *conn, PyObject *loop)
{
    int fd = conn->stream.fd;
    int other = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (other < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    conn->stream.fd = other;
    PyObject *done = PyObject_CallMethod(conn->link, "leave", "Oi", loop, fd);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

static int
conn_leave(struct connection *conn, PyObject *loop)
{
    if (conn_asks_loop(loop, conn->st->name_is_closed)) {
        return 0;
    }
    if (conn_asks_loop(loop, conn->st->name_is_running)) {
        return conn_leave_running(conn, loop);
    }
    PyObject *fd = PyLong_FromLong(conn->stream.fd);
    PyObject *done =
        fd == NULL ? NULL : PyObject_CallMethodOneArg(loop, conn->st->name_remove_reader, fd);
    Py_XDECREF(fd);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

static int
conn_move(struct connection *conn, PyObject *running)
{
    PyObject *old = conn->loop;
    conn->loop = Py_NewRef(running); /* from here on nobody gets in by the old one */
    conn->thread = PyThread_get_thread_ident();
    conn->moving = true;
    conn->pump_due = false;   /* these were the old one's */
    conn->write_soon = false;
    conn->waking = false;
    int status = conn_leave(conn, old);
    if (status == 0) {
        status = conn_watch(conn, conn->st->name_add_reader, conn->st->name__on_readable);
    }
    conn->moving = false;
    Py_DECREF(old);
    if (status < 0) {
        PyObject *error = errors_take();
        conn_fail(conn, WIRE_OK, "the connection could not move to another event loop", 0);
        compat_raise(error);
        return -1;
    }
    conn_tell(conn, conn->st->name_moved, PyTuple_Pack(1, running));
    if (conn->write_error != 0 || conn->backlog || net_pending(&conn->stream)) {
        conn_pump_soon(conn); /* what the old loop was asked to do */
    }
    return 0;
}

/* The caller runs in another loop than the connection, or in none. */
static int
conn_enter_from(struct connection *conn, PyObject *running)
{
    if (conn->closed) {
        return 0;
    }
    int outside = running == Py_None || conn->block == NULL ? 0 : block_keeps_out(conn);
    if (outside < 0) {
        return -1;
    }
    if (running != Py_None && !outside && conn_is_idle(conn)) {
        return conn_move(conn, running);
    }
    if (running != Py_None && conn_asks_loop(conn->loop, conn->st->name_is_closed)) {
        conn_tell(conn, conn->st->name_moved, PyTuple_Pack(1, running)); /* its listeners */
        conn_fail(conn, WIRE_OK, "the event loop was closed while the connection was in use", 0);
        return 0;
    }
    return conn_refuse_busy(conn, running);
}

bool
conn_is_here(struct connection *conn)
{
    PyObject *running = PyObject_CallNoArgs(conn->st->running_loop);
    bool here = running == conn->loop;
    if (here) {
        conn->thread = PyThread_get_thread_ident(); /* a loop may go to another thread, too */
    }
    Py_XDECREF(running);
    PyErr_Clear();
    return here;
}

int
conn_enter(struct connection *conn)
{
    if (conn_is_forked(conn)) {
        PyErr_SetString(conn->st->interface_error,
                        "the connection was opened before a fork and belongs to the parent "
                        "process: open a new one in the child");
        return -1;
    }
    PyObject *running = PyObject_CallNoArgs(conn->st->running_loop);
    if (running == NULL) {
        return -1;
    }
    int status = 0;
    if (running == conn->loop) {
        conn->thread = PyThread_get_thread_ident(); /* a loop may go to another thread, too */
    }
    else {
        status = conn_enter_from(conn, running);
    }
    Py_DECREF(running);
    if (status == 0 && conn->closed) {
        status = conn_refuse_closed(conn);
    }
    return status;
}
