#include "rider.h"

#include "errors.h"

static const wire_slice no_name = {(const uint8_t *)"", 0};
static const uint8_t no_formats[2] = {0, 0};

/* SQL text and text parameters */

static bool
rider_text(struct connection *conn, PyObject *text, const char *what, wire_slice *slice)
{
    Py_ssize_t len = 0;
    const char *utf8 = PyUnicode_AsUTF8AndSize(text, &len);
    if (utf8 == NULL) {
        PyObject *cause = errors_take();
        PyErr_Format(conn->st->programming_error, "%s cannot be sent as UTF-8: %S", what, cause);
        Py_XDECREF(cause);
        return false;
    }
    slice->ptr = (const uint8_t *)utf8;
    slice->len = (size_t)len;
    if (wire_slice_has_nul(*slice)) {
        PyErr_Format(conn->st->programming_error,
                     "%s contains a NUL character (\\x00); PostgreSQL cannot take it", what);
        return false;
    }
    return true;
}

bool
request_sql(struct connection *conn, PyObject *sql, wire_slice *text)
{
    return rider_text(conn, sql, "the SQL text", text);
}

static int
rider_put_params(struct connection *conn, PyObject *params, const struct wire_bind *bind)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(params); i++) {
        PyObject *value = PyTuple_GET_ITEM(params, i);
        wire_slice text;
        if (value == Py_None) {
            wire_put_param_null(&conn->out);
            continue;
        }
        if (!rider_text(conn, value, "a parameter", &text)) {
            return -1;
        }
        wire_put_param_format(&conn->out, bind, (size_t)i, 0);
        size_t mark = wire_put_param_begin(&conn->out);
        wire_buffer_put(&conn->out, text.ptr, text.len);
        wire_put_param_end(&conn->out, mark);
    }
    return 0;
}

int
rider_put(struct connection *conn, PyObject *sql, PyObject *params, bool describe)
{
    wire_slice text;
    if (!request_sql(conn, sql, &text)) {
        return -1;
    }
    wire_slice formats = {no_formats, sizeof(no_formats)};
    struct wire_bind bind;
    size_t count = params == NULL ? 0 : (size_t)PyTuple_GET_SIZE(params);
    wire_put_parse(&conn->out, no_name, text, NULL, 0);
    if (describe) {
        wire_put_describe(&conn->out, 'S', no_name);
    }
    wire_put_bind_begin(&conn->out, &bind, no_name, no_name, count);
    if (params != NULL && rider_put_params(conn, params, &bind) < 0) {
        return -1;
    }
    wire_put_bind_end(&conn->out, &bind, formats);
    wire_put_execute(&conn->out, no_name, 0);
    return 0;
}

/* The beginning of a transaction */

static bool
begin_is_valid(PyObject *begin)
{
    if (PyUnicode_Check(begin)) {
        return true;
    }
    if (!PyTuple_Check(begin) || PyTuple_GET_SIZE(begin) != 3
        || !PyUnicode_Check(PyTuple_GET_ITEM(begin, 0))
        || !PyUnicode_Check(PyTuple_GET_ITEM(begin, 1))
        || !PyTuple_Check(PyTuple_GET_ITEM(begin, 2))) {
        return false;
    }
    PyObject *params = PyTuple_GET_ITEM(begin, 2);
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(params); i++) {
        PyObject *value = PyTuple_GET_ITEM(params, i);
        if (value != Py_None && !PyUnicode_Check(value)) {
            return false;
        }
    }
    return PyTuple_GET_SIZE(params) <= WIRE_PARAMS_MAX;
}

int
begin_check(struct connection *conn, PyObject *begin)
{
    if (!begin_is_valid(begin)) {
        PyErr_SetString(conn->st->programming_error,
                        "BEGIN is a str, or (BEGIN, SQL of its settings, (str or None, …))");
        return -1;
    }
    return 0;
}

static bool
begin_changes_path(PyObject *begin)
{
    PyObject *params = PyTuple_Check(begin) ? PyTuple_GET_ITEM(begin, 2) : NULL;
    for (Py_ssize_t i = 0; params != NULL && i < PyTuple_GET_SIZE(params); i += 2) {
        PyObject *name = PyTuple_GET_ITEM(params, i);
        const char *utf8 = name == Py_None ? "" : PyUnicode_AsUTF8(name);
        if (utf8 == NULL) {
            PyErr_Clear(); /* it is refused when it is sent */
        }
        else if (PyOS_stricmp(utf8, "search_path") == 0) {
            return true;
        }
    }
    return false;
}

void
begin_note(struct connection *conn, PyObject *begin, bool sent)
{
    if (begin_changes_path(begin)) {
        conn_note_path(conn, sent);
    }
}

PyObject *
rider_error(struct connection *conn, const struct operation *op, PyObject *fields)
{
    PyObject *sql = op->began == NULL ? NULL : Py_NewRef(begin_sql_borrow(op->began));
    if (sql != NULL && PyTuple_Check(op->began)) {
        Py_SETREF(sql, PyUnicode_FromFormat("%U; %U", sql, PyTuple_GET_ITEM(op->began, 1)));
    }
    if (sql == NULL && PyErr_Occurred()) {
        return NULL;
    }
    PyObject *error = PyObject_CallFunctionObjArgs(conn->st->not_begun, fields,
                                                   sql != NULL ? sql : Py_None, NULL);
    Py_XDECREF(sql);
    return error;
}

PyObject *
Connection_begin(struct connection *conn, PyObject *begin)
{
    if (conn_enter(conn) < 0 || begin_check(conn, begin) < 0) {
        return NULL;
    }
    if (conn->begun) {
        return errors_set(conn->st->interface_error,
                          "a transaction is open already: commit() or rollback() it first");
    }
    begin_note(conn, begin, false);
    Py_XSETREF(conn->begin_due, Py_NewRef(begin));
    Py_RETURN_NONE;
}
