#include "doubt.h"

#include "descriptions.h"
#include "many.h"

/* A checksum of the types of its parameters, never 0. */
static uint32_t
doubt_types(const struct statement *stmt)
{
    uint32_t sum = 2166136261u;
    for (size_t i = 0; i < stmt->params_count; i++) {
        sum = (sum ^ stmt->param_oids[i]) * 16777619u;
    }
    return sum | 1u;
}

/* Whether the statement has types that were looked up, which may not be what they were. */
static bool
doubt_looked_up(const struct statement *stmt)
{
    return stmt->codecs != NULL && PyList_GET_SIZE(stmt->codecs) > 0;
}

void
doubt_look_up_again(struct connection *conn, const struct statement *stmt)
{
    PyObject *oids = PyList_New(0);
    for (size_t i = 0; oids != NULL && i < stmt->params_count; i++) {
        PyObject *oid = PyLong_FromUnsignedLong(stmt->param_oids[i]);
        if (oid == NULL || PyList_Append(oids, oid) < 0) {
            Py_CLEAR(oids);
        }
        Py_XDECREF(oid);
    }
    if (oids == NULL) {
        PyErr_Clear();
        return;
    }
    conn_tell(conn, conn->st->name_types_doubted, PyTuple_Pack(1, oids));
    Py_DECREF(oids);
}

bool
doubt_encoding(struct connection *conn, struct operation *op)
{
    struct statement *stmt = op->stmt;
    if (stmt == NULL || op->described || op->piped || op->phase != OP_DEFERRED || op->doubted != 0
        || op->done || conn->closed || !op_runs_statement(op->kind)
        || conn->session.transaction_status == 'E'
        || !PyErr_ExceptionMatches(conn->st->data_error)) {
        return false;
    }
    PyErr_Clear(); /* it comes again */
    op->doubted = doubt_types(stmt);
    if (op->hints == NULL) {
        op->hints = Py_XNewRef(stmt->hints);
    }
    if (doubt_looked_up(stmt)) {
        doubt_look_up_again(conn, stmt);
    }
    if (op->many != NULL) {
        many_reset(op);
    }
    if (op->stmt != NULL) { /* Python code has run */
        stmtcache_drop(&conn->cache, op->stmt, true);
        Py_CLEAR(op->stmt);
    }
    descriptions_forget(conn, op->sql);
    op->parse = OP_PARSE_NONE;
    return true;
}

bool
doubt_refusal(struct operation *op, PyObject *fields)
{
    static const char *const codes[] = {"22P02", "22P03", "22003", "22007", "22008"};
    PyObject *code = PyDict_GetItemString(fields, "C");
    bool of_value = false;
    for (size_t i = 0; code != NULL && i < sizeof(codes) / sizeof(codes[0]); i++) {
        of_value = of_value || PyUnicode_CompareWithASCIIString(code, codes[i]) == 0;
    }
    if (!of_value || op->stmt->params_count == 0 || (op->described && !doubt_looked_up(op->stmt))) {
        return false;
    }
    uint32_t refused = op->doubted;
    op->doubted = doubt_types(op->stmt);
    return op->doubted != refused;
}
