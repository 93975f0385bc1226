#include "factory.h"

#include "errors.h"

/* The places in a maker. */
enum { MAKER_FACTORY, MAKER_STYLE, MAKER_TARGET, MAKER_NAMES, MAKER_SIZE };

/* Factories that a statement keeps makers for. Programs use one or two; those that are
 * made anew for every call must not pile up. */
#define MAKERS_MAX 16

int
op_set_other_factory(struct operation *op, PyObject *factory)
{
    struct core_state *st = op->st;
    op->named_rows = factory == (PyObject *)st->row_type;
    if (op->named_rows || factory == Py_False || factory == (PyObject *)&PyTuple_Type) {
        return 0;
    }
    if (!PyCallable_Check(factory)) {
        PyErr_Format(st->interface_error, "row_factory is None, a class or a function, not %R (%s)",
                     factory, Py_TYPE(factory)->tp_name);
        return -1;
    }
    op->row_factory = Py_NewRef(factory);
    return 0;
}

/* Finding and compiling */

/* pgasync.rows.compile_maker, which cannot be imported while the core itself is. */
static PyObject *
factory_compiler_borrow(struct core_state *st)
{
    if (st->compile_maker == NULL) {
        PyObject *rows = PyImport_ImportModule("pgasync.rows");
        st->compile_maker = rows == NULL ? NULL : PyObject_GetAttrString(rows, "compile_maker");
        Py_XDECREF(rows);
    }
    return st->compile_maker;
}

/* Whether a row of `columns` values can be made by it, for rows are made unchecked. */
static bool
maker_is_sound(PyObject *maker, Py_ssize_t columns)
{
    if (!PyTuple_CheckExact(maker) || PyTuple_GET_SIZE(maker) != MAKER_SIZE) {
        return false;
    }
    PyObject *names = PyTuple_GET_ITEM(maker, MAKER_NAMES);
    bool named = PyTuple_CheckExact(names) && PyTuple_GET_SIZE(names) == columns;
    for (Py_ssize_t i = 0; named && i < columns; i++) {
        named = PyUnicode_CheckExact(PyTuple_GET_ITEM(names, i));
    }
    switch (PyLong_AsLong(PyTuple_GET_ITEM(maker, MAKER_STYLE))) {
    case ROW_SCALAR:
    case ROW_STAR:
    case ROW_CALL:
        return true;
    case ROW_DICT:
        return named && PyDict_CheckExact(PyTuple_GET_ITEM(maker, MAKER_TARGET));
    case ROW_KEYWORDS:
        return named;
    default:
        return false;
    }
}

/* A new reference to the maker for these columns; NULL with an exception. */
static PyObject *
maker_compile(struct core_state *st, PyObject *factory, PyObject *fields)
{
    PyObject *compiler = factory_compiler_borrow(st);
    PyObject *maker =
        compiler == NULL ? NULL : PyObject_CallFunctionObjArgs(compiler, factory, fields, NULL);
    if (maker != NULL && !maker_is_sound(maker, PyTuple_GET_SIZE(fields))) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_TypeError, "compile_maker() gave no maker");
        }
        Py_CLEAR(maker);
    }
    return maker;
}

/* The maker that the statement keeps for the factory: borrowed, NULL when there is none. */
static PyObject *
stmt_maker_borrow(const struct statement *stmt, PyObject *factory)
{
    Py_ssize_t count = stmt->makers == NULL ? 0 : PyList_GET_SIZE(stmt->makers);
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *maker = PyList_GET_ITEM(stmt->makers, i);
        if (PyTuple_GET_ITEM(maker, MAKER_FACTORY) == factory) {
            return maker;
        }
    }
    return NULL;
}

static int
stmt_keep_maker(struct statement *stmt, PyObject *maker)
{
    PyObject *makers = stmt->makers;
    if (makers == NULL || PyList_GET_SIZE(makers) >= MAKERS_MAX) {
        makers = PyList_New(0);
        if (makers == NULL) {
            return -1;
        }
        Py_XSETREF(stmt->makers, makers);
    }
    return PyList_Append(makers, maker);
}

int
op_look_for_maker(struct operation *op)
{
    struct statement *stmt = op->stmt;
    if (op->mode == OP_VALUE || op->mode == OP_NONE || !stmt->returns_rows) {
        return 0;
    }
    PyObject *maker = stmt_maker_borrow(stmt, op->row_factory);
    if (maker != NULL) {
        Py_XSETREF(op->maker, Py_NewRef(maker));
        return 0;
    }
    maker = maker_compile(op->st, op->row_factory, stmt->fields);
    if (maker == NULL || stmt_keep_maker(stmt, maker) < 0) {
        Py_XDECREF(maker);
        return -1;
    }
    Py_XSETREF(op->maker, maker);
    return 0;
}

/* Making */

/* Of columns with the same name the first one wins, as in a Row: it is set last. */
static PyObject *
maker_make_dict(PyObject *maker, PyObject *values)
{
    PyObject *names = PyTuple_GET_ITEM(maker, MAKER_NAMES);
    PyObject *dict = PyDict_Copy(PyTuple_GET_ITEM(maker, MAKER_TARGET));
    for (Py_ssize_t i = PyTuple_GET_SIZE(names) - 1; dict != NULL && i >= 0; i--) {
        if (PyDict_SetItem(dict, PyTuple_GET_ITEM(names, i), PyTuple_GET_ITEM(values, i)) < 0) {
            Py_CLEAR(dict);
        }
    }
    return dict;
}

static PyObject *
maker_make(PyObject *maker, enum row_style style, PyObject *values)
{
    PyObject *target = PyTuple_GET_ITEM(maker, MAKER_TARGET);
    PyObject *const *items = PySequence_Fast_ITEMS(values);
    switch (style) {
    case ROW_DICT:
        return maker_make_dict(maker, values);
    case ROW_STAR:
        return PyObject_Vectorcall(target, items, (size_t)PyTuple_GET_SIZE(values), NULL);
    case ROW_KEYWORDS:
        return PyObject_Vectorcall(target, items, 0, PyTuple_GET_ITEM(maker, MAKER_NAMES));
    case ROW_CALL:
        return PyObject_CallOneArg(target, values);
    case ROW_SCALAR:
        break;
    }
    return Py_NewRef(values);
}

/* The row, unless its own making ended the operation. */
static int
op_keep_row(struct operation *op, PyObject *row)
{
    if (op->abandoned || op->done || op->error != NULL) {
        return 0;
    }
    if (op->mode == OP_ROW) {
        Py_XSETREF(op->rows, Py_NewRef(row));
        return 0;
    }
    return op->rows == NULL ? 0 : PyList_Append(op->rows, row);
}

enum rows_status
op_make_row(struct operation *op, struct codec_ctx *ctx, struct wire_reader cells)
{
    if (op->mode == OP_ROW && op->rows != NULL) {
        return ROWS_OK;
    }
    PyObject *maker = Py_NewRef(op->maker);
    long style = PyLong_AsLong(PyTuple_GET_ITEM(maker, MAKER_STYLE));
    PyObject *row = NULL;
    enum rows_status status = style == ROW_SCALAR ? rows_decode_first(op->stmt, ctx, cells, &row)
                                                  : rows_decode(op->stmt, ctx, NULL, cells, &row);
    if (status == ROWS_OK && style != ROW_SCALAR) {
        PyObject *values = row;
        row = maker_make(maker, (enum row_style)style, values);
        Py_DECREF(values);
        op->own_traceback = row == NULL;
        status = row == NULL ? ROWS_ERROR : ROWS_OK;
    }
    Py_DECREF(maker);
    if (status == ROWS_OK) {
        status = op_keep_row(op, row) < 0 ? ROWS_ERROR : ROWS_OK;
        Py_DECREF(row);
    }
    return status;
}
