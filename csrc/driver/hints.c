/* Parameters whose type the server cannot tell from the text: Parse is given the type of
 * the value for these, and leaves the others to the server. The hints are the
 * statement's; values of other types need it parsed anew. */
#include "connection.h"
#include "many.h"

size_t
conn_hints(const struct operation *op, uint32_t hints[WIRE_PARAMETERS_HINTED_MAX])
{
    Py_ssize_t count = op->hints == NULL ? 0 : PyTuple_GET_SIZE(op->hints);
    for (Py_ssize_t i = 0; i < count; i++) {
        hints[i] = (uint32_t)PyLong_AsUnsignedLongMask(PyTuple_GET_ITEM(op->hints, i));
    }
    return (size_t)count;
}

/* The value that stands for parameter `index`: that of the first set which has one. A new
 * reference; None where there is none. */
static PyObject *
hints_value(struct connection *conn, const struct operation *op, Py_ssize_t index)
{
    if (op->many != NULL) {
        return many_find_value(conn, op, index);
    }
    PyObject *params = op->params;
    bool there = params != NULL && PyTuple_Check(params) && index < PyTuple_GET_SIZE(params);
    return Py_NewRef(there ? PyTuple_GET_ITEM(params, index) : Py_None);
}

/* Whether no set has a value for the parameter. */
static bool
hints_is_null(struct connection *conn, const struct operation *op, Py_ssize_t index)
{
    PyObject *value = hints_value(conn, op, index);
    Py_DECREF(value);
    return value == Py_None;
}

/* The OID that link infers from a parameter's value; 0: none, or an exception was dropped. */
static unsigned long
hints_infer(struct connection *conn, const struct operation *op, Py_ssize_t index)
{
    PyObject *value = hints_value(conn, op, index);
    PyObject *oid = PyObject_CallMethodOneArg(conn->link, conn->st->name_infer, value);
    Py_DECREF(value);
    unsigned long number = oid == NULL ? 0 : PyLong_AsUnsignedLongMask(oid);
    Py_XDECREF(oid);
    if (PyErr_Occurred()) {
        PyErr_Clear();
        return 0;
    }
    return number;
}

/* `op` gets the hints `old` (may be NULL) with one changed. -1 with an exception. */
static int
hints_set(struct operation *op, PyObject *old, Py_ssize_t index, unsigned long oid)
{
    Py_ssize_t count = old == NULL ? 0 : PyTuple_GET_SIZE(old);
    PyObject *hints = PyTuple_New(index < count ? count : index + 1);
    for (Py_ssize_t i = 0; hints != NULL && i < PyTuple_GET_SIZE(hints); i++) {
        PyObject *hint = i != index && i < count ? Py_NewRef(PyTuple_GET_ITEM(old, i))
                                                 : PyLong_FromUnsignedLong(i == index ? oid : 0);
        if (hint == NULL) {
            Py_CLEAR(hints);
            break;
        }
        PyTuple_SET_ITEM(hints, i, hint);
    }
    if (hints == NULL) {
        return -1;
    }
    Py_XSETREF(op->hints, hints);
    return 0;
}

bool
conn_infer_parameter(struct connection *conn, struct operation *op)
{
    Py_ssize_t index = op->indeterminate - 1;
    PyObject *hints = op->hints;
    if (hints != NULL && index < PyTuple_GET_SIZE(hints)
        && PyLong_AsUnsignedLongMask(PyTuple_GET_ITEM(hints, index)) != 0) {
        return false; /* that was tried */
    }
    unsigned long oid = hints_infer(conn, op, index);
    if (oid == 0) {
        return false;
    }
    PyObject *old = Py_XNewRef(hints);
    int status = hints_set(op, old, index, oid);
    Py_XDECREF(old);
    if (status < 0) {
        PyErr_Clear();
    }
    return status == 0;
}

bool
conn_hints_fit(struct connection *conn, struct operation *op, const struct statement *stmt)
{
    bool fit = true;
    PyObject *hints = Py_NewRef(stmt->hints);
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(hints); i++) {
        unsigned long hint = PyLong_AsUnsignedLongMask(PyTuple_GET_ITEM(hints, i));
        unsigned long oid =
            hint == 0 || hints_is_null(conn, op, i) ? hint : hints_infer(conn, op, i);
        if (oid == hint) {
            continue;
        }
        PyObject *base = Py_NewRef(fit || op->hints == NULL ? hints : op->hints);
        if (hints_set(op, base, i, oid) < 0) {
            PyErr_Clear();
        }
        Py_DECREF(base);
        fit = false;
    }
    Py_DECREF(hints);
    return fit;
}
