/* Bytes → socket. A request goes out at once when nothing is in flight; those that follow
 * in the same turn of the loop leave in one write behind it. */
#include "connection.h"
#include "flow.h"
#include "many.h"

void
conn_set_writer(struct connection *conn, bool on)
{
    if (conn->writer_on == on) {
        return;
    }
    struct core_state *st = conn->st;
    int status = on ? conn_watch(conn, st->name_add_writer, st->name__on_writable)
                    : conn_watch(conn, st->name_remove_writer, NULL);
    if (status < 0) {
        PyErr_WriteUnraisable((PyObject *)conn);
        return;
    }
    conn->writer_on = on;
}

void
conn_flush(struct connection *conn)
{
    while (!conn->closed && conn->write_error == 0 && wire_buffer_size(&conn->out) > 0) {
        wire_slice bytes = wire_buffer_unread(&conn->out);
        size_t sent = 0;
        enum net_status status = net_write(&conn->stream, bytes.ptr, bytes.len, &sent);
        if (status == NET_OK) {
            conn->unsent = NULL;
        }
        if (status == NET_OK && conn->trace == NULL) {
            wire_buffer_consume(&conn->out, sent);
        }
        else if (status == NET_OK) {
            conn_trace_sent(conn, sent);
        }
        else if (status == NET_WANT_WRITE || status == NET_WANT_READ) {
            conn_set_writer(conn, true);
            break;
        }
        else {
            /* The server's last words may still be waiting to be read: the
             * reader, not the writer, says that it is over. */
            if (conn->session.encrypted) {
                conn->unsent = NULL; /* of several records the first may have left */
            }
            conn->write_error = conn->stream.error != 0 ? conn->stream.error : EPROTO;
            conn_pump_soon(conn);
        }
    }
    if (many_open_borrow(conn) != NULL) {
        many_flushed(conn);
    }
    else if (conn->writer_on && !conn->closed && wire_buffer_size(&conn->out) == 0) {
        conn_set_writer(conn, false);
    }
    if (conn->drains.head != NULL) {
        flow_written(conn);
    }
}

/* One write for all */

/* Has it done in the loop's next turn; -1, with nothing raised, where there is none. */
static int
write_soon(struct connection *conn)
{
    PyObject *saved = compat_take_exception();
    PyObject *callback = PyObject_GetAttr((PyObject *)conn, conn->st->name__write_soon);
    PyObject *handle =
        callback == NULL
            ? NULL
            : PyObject_CallMethodOneArg(conn->loop, conn->st->name_call_soon, callback);
    int status = handle == NULL ? -1 : 0;
    PyErr_Clear();
    Py_XDECREF(handle);
    Py_XDECREF(callback);
    conn->write_soon = status == 0;
    if (saved != NULL) {
        compat_raise(saved);
    }
    return status;
}

void
conn_write(struct connection *conn, const struct operation *op)
{
    if (op->piped) {
        if (op->kind == OP_SYNC || op->phase != OP_EXECUTING
            || wire_buffer_size(&conn->out) > WRITE_TURN_BYTES) {
            conn_flush(conn);
        }
        return; /* else a Flush or the Sync comes */
    }
    if (conn->waking) {
        if (wire_buffer_size(&conn->out) > WRITE_WAKING_BYTES) {
            conn_flush(conn);
        }
        return; /* the rest when all have been woken */
    }
    if (conn->in_flight == 1 || wire_buffer_size(&conn->out) > WRITE_TURN_BYTES
        || (!conn->write_soon && write_soon(conn) < 0)) {
        conn_flush(conn);
    }
}

void
conn_write_now(struct connection *conn)
{
    if (wire_buffer_size(&conn->out) == 0 || conn->writer_on) {
        return;
    }
    if (conn->encoding == NULL) {
        conn_flush(conn);
    }
    else if (!conn->write_soon) {
        (void)write_soon(conn); /* half a request is there */
    }
}

PyObject *
Connection_write_soon(struct connection *conn, PyObject *unused)
{
    (void)unused;
    if (conn_is_forked(conn) || (conn_is_elsewhere(conn) && !conn_is_here(conn))) {
        Py_RETURN_NONE; /* it has moved: with nothing left to be written */
    }
    conn->write_soon = false;
    conn_write_now(conn);
    Py_RETURN_NONE;
}
