#include "taint.h"

#include "connection.h"
#include "errors.h"

unsigned
taint_of_sql(PyObject *sql)
{
    Py_ssize_t len;
    const char *text = PyUnicode_AsUTF8AndSize(sql, &len);
    if (text == NULL) {
        PyErr_Clear(); /* said in proper words when it is encoded */
        return 0;
    }
    return taint_of_text(text, (size_t)len);
}

PyObject *
core_taints(PyObject *module, PyObject *sql)
{
    (void)module;
    if (!PyUnicode_Check(sql)) {
        return errors_set(PyExc_TypeError, "the SQL text is a str");
    }
    return PyLong_FromUnsignedLong(taint_of_sql(sql));
}

/* What changes settings, for whoever wants to know which. */
static void
taint_log(struct connection *conn, const struct operation *op)
{
    PyObject *item = PyTuple_Pack(2, op->sql, op->params == NULL ? Py_None : op->params);
    if (item == NULL || PyList_Append(conn->settings_log, item) < 0) {
        PyErr_Clear();
    }
    Py_XDECREF(item);
}

void
taint_note(struct connection *conn, const struct operation *op, unsigned taints)
{
    conn->tainted |= taints;
    if (taints & TAINT_PREPARED) {
        Py_ssize_t len;
        const char *text = PyUnicode_AsUTF8AndSize(op->sql, &len);
        if (text == NULL) {
            PyErr_Clear();
        }
        else {
            taint_put_prepared(text, (size_t)len, &conn->prepared);
        }
    }
    if (conn->settings_log != NULL && (taints & (TAINT_SETTINGS | TAINT_OPAQUE))) {
        taint_log(conn, op);
    }
}

bool
taint_rides(const struct connection *conn, const struct operation *op)
{
    return conn->resets != NULL
           && (op_runs_statement(op->kind) || op->kind == OP_LOOKUP || op->kind == OP_RESET);
}

bool
taint_goes_first(const struct connection *conn, const struct operation *op)
{
    return conn->resets != NULL && !taint_rides(conn, op)
           && (op->kind == OP_QUERY || op->kind == OP_COPY || op->kind == OP_CURSOR_FETCH
               || op->kind == OP_PORTAL_FETCH || op->kind == OP_PORTAL_DESCRIBE);
}

PyObject *
Connection_reset_due(struct connection *conn, PyObject *resets)
{
    if (resets != Py_None && !PyTuple_Check(resets)) {
        return errors_set(PyExc_TypeError, "resets are a tuple of (sql, parameters), or None");
    }
    size_t names = wire_buffer_size(&conn->prepared);
    bool any = resets != Py_None && (PyTuple_GET_SIZE(resets) > 0 || names > 0);
    Py_XSETREF(conn->resets, any ? Py_NewRef(resets) : NULL);
    if (!any) {
        wire_buffer_consume(&conn->prepared, names);
    }
    conn->tainted = 0;
    Py_RETURN_NONE;
}

PyObject *
Connection_watch_settings(struct connection *conn, PyObject *list)
{
    if (list != Py_None && !PyList_Check(list)) {
        return errors_set(PyExc_TypeError, "what is watched goes into a list");
    }
    Py_XSETREF(conn->settings_log, list == Py_None ? NULL : Py_NewRef(list));
    Py_RETURN_NONE;
}

void
taint_not_undone(struct connection *conn, PyObject *fields)
{
    char text[WIRE_ERROR_TEXT_MAX];
    PyObject *message = PyDict_GetItemString(fields, "M");
    const char *words = message == NULL ? NULL : PyUnicode_AsUTF8(message);
    if (words == NULL) {
        PyErr_Clear();
        words = "the server gave no reason";
    }
    snprintf(text, sizeof(text), "the session could not be reset for its next user: %s", words);
    conn_fail(conn, WIRE_OK, text, 0);
}

int
taint_send(struct connection *conn)
{
    struct operation *op = op_new(conn->st, conn->loop, OP_RESET, OP_NONE, NULL);
    int status = op == NULL ? -1 : conn_send_alone(conn, op);
    Py_XDECREF((PyObject *)op);
    if (status == 0) {
        conn_flush(conn);
    }
    return status;
}

PyObject *
Connection_reset_now(struct connection *conn, PyObject *unused)
{
    (void)unused;
    if (conn_enter(conn) < 0) {
        return NULL;
    }
    struct operation *op = op_new(conn->st, conn->loop, OP_RESET, OP_NONE, NULL);
    if (op != NULL && conn_submit(conn, op) < 0) {
        Py_CLEAR(op);
    }
    return (PyObject *)op;
}
