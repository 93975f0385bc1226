#include "declared.h"

#include "errors.h"
#include "factory.h"

void
declared_check(struct operation *op, size_t count, struct wire_reader *fields)
{
    const struct statement *stmt = op->stmt;
    bool same = count == stmt->columns_count;
    for (size_t i = 0; i < count && same; i++) {
        struct wire_field field;
        wire_next_field(fields, &field);
        same = field.type_oid == stmt->columns[i].type_oid;
    }
    if (!same && !op->abandoned) {
        PyErr_SetString(op->st->programming_error,
                        "the cursor has other columns than it had: it was closed, and another "
                        "one of its name was opened");
        op_set_error(op, errors_take());
    }
}

static PyObject *
declared_submit(struct connection *conn, struct operation *op)
{
    if (conn_submit(conn, op) < 0) {
        Py_DECREF(op);
        return NULL;
    }
    return (PyObject *)op;
}

PyObject *
Connection_describe_portal(struct connection *conn, PyObject *args)
{
    PyObject *portal, *sql;
    if (!PyArg_ParseTuple(args, "UU:describe_portal", &portal, &sql) || conn_enter(conn) < 0) {
        return NULL;
    }
    struct operation *op = op_new(conn->st, conn->loop, OP_PORTAL_DESCRIBE, OP_RESULT, sql);
    if (op == NULL) {
        return NULL;
    }
    op->portal = PyUnicode_AsUTF8String(portal);
    op->stmt = stmt_new(conn->st, sql, NULL, false);
    if (op->portal == NULL || op->stmt == NULL) {
        Py_DECREF(op);
        return NULL;
    }
    return declared_submit(conn, op);
}

PyObject *
Connection_fetch_cursor(struct connection *conn, PyObject *args)
{
    PyObject *sql, *stmt, *row_factory;
    if (!PyArg_ParseTuple(args, "UO!O:fetch_cursor", &sql, conn->st->statement_type, &stmt,
                          &row_factory)
        || conn_enter(conn) < 0) {
        return NULL;
    }
    struct operation *op = op_new(conn->st, conn->loop, OP_CURSOR_FETCH, OP_RESULT, sql);
    if (op == NULL) {
        return NULL;
    }
    op->stmt = (struct statement *)Py_NewRef(stmt);
    if (op_set_row_factory(op, row_factory) < 0) {
        Py_DECREF(op);
        return NULL;
    }
    return declared_submit(conn, op);
}
