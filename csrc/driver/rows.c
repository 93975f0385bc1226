#include "rows.h"

/* Names of a cell that failed are added to the message, cold. */
static void
rows_blame_column(const struct statement *stmt, size_t index)
{
    PyObject *error = compat_take_exception();
    if (error == NULL || !PyErr_GivenExceptionMatches(error, stmt->st->data_error)) {
        if (error != NULL) {
            compat_raise(error);
        }
        return;
    }
    PyErr_Format(stmt->st->data_error, "column %zu (%R): %S", index + 1,
                 PyTuple_GET_ITEM(stmt->fields, (Py_ssize_t)index), error);
    PyObject *named = compat_take_exception();
    if (named != NULL) {
        PyException_SetCause(named, error); /* steals error */
        compat_raise(named);
    }
    else {
        Py_DECREF(error);
    }
}

static inline enum rows_status
rows_decode_cell(const struct statement *stmt, size_t index, struct codec_ctx *ctx,
                 struct wire_reader *cells, PyObject **value)
{
    wire_slice bytes;
    bool null;
    if (!wire_read_cell(cells, &bytes, &null)) {
        return ROWS_VIOLATION;
    }
    if (null) {
        *value = Py_NewRef(Py_None);
        return ROWS_OK;
    }
    *value = codec_decode(stmt->columns[index].codec, ctx, bytes);
    if (*value == NULL) {
        rows_blame_column(stmt, index);
        return ROWS_ERROR;
    }
    return ROWS_OK;
}

/* A Row with its places empty, which the collector does not know yet. */
static PyObject *
rows_new(PyTypeObject *type, Py_ssize_t count)
{
    PyTupleObject *row = PyObject_GC_NewVar(PyTupleObject, type, count);
    if (row != NULL) {
        memset(row->ob_item, 0, (size_t)count * sizeof(PyObject *));
        compat_tuple_init(row);
    }
    return (PyObject *)row;
}

enum rows_status
rows_decode(const struct statement *stmt, struct codec_ctx *ctx, PyTypeObject *type,
            struct wire_reader cells, PyObject **row)
{
    Py_ssize_t count = (Py_ssize_t)stmt->columns_count;
    PyObject *tuple = type == NULL ? PyTuple_New(count) : rows_new(type, count);
    if (tuple == NULL) {
        return ROWS_ERROR;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *value;
        enum rows_status status = rows_decode_cell(stmt, (size_t)i, ctx, &cells, &value);
        if (status != ROWS_OK) {
            Py_DECREF(tuple);
            return status;
        }
        PyTuple_SET_ITEM(tuple, i, value);
    }
    if (!wire_reader_end(&cells)) {
        Py_DECREF(tuple);
        return ROWS_VIOLATION;
    }
    /* Nothing in it can be part of a cycle: spare the collector the walk. (The
     * empty tuple is shared and never tracked.) */
    if (type == NULL && stmt->atomic_rows && count > 0) {
        PyObject_GC_UnTrack(tuple);
    }
    else if (type != NULL && !stmt->atomic_rows) {
        PyObject_GC_Track(tuple);
    }
    *row = tuple;
    return ROWS_OK;
}

enum rows_status
rows_decode_first(const struct statement *stmt, struct codec_ctx *ctx, struct wire_reader cells,
                  PyObject **value)
{
    *value = NULL;
    for (size_t i = 0; i < stmt->columns_count; i++) {
        wire_slice bytes;
        bool null;
        if (i == 0) {
            enum rows_status status = rows_decode_cell(stmt, 0, ctx, &cells, value);
            if (status != ROWS_OK) {
                return status;
            }
        }
        else if (!wire_read_cell(&cells, &bytes, &null)) {
            break;
        }
    }
    if (!wire_reader_end(&cells)) {
        Py_CLEAR(*value);
        return ROWS_VIOLATION;
    }
    if (*value == NULL) {
        *value = Py_NewRef(Py_None);
    }
    return ROWS_OK;
}

/* Row: a tuple that answers to names. What depends on the names is on the
 * subclass: `_fields`, `_index` and a descriptor for each name. */

static PyObject *
Row_subscript(PyObject *self, PyObject *key)
{
    if (!PyUnicode_Check(key)) {
        return PyTuple_Type.tp_as_mapping->mp_subscript(self, key);
    }
    PyObject *index = PyObject_GetAttrString((PyObject *)Py_TYPE(self), "_index");
    if (index == NULL) {
        return NULL;
    }
    PyObject *position = PyDict_CheckExact(index) ? PyDict_GetItemWithError(index, key) : NULL;
    Py_XINCREF(position);
    Py_DECREF(index);
    if (position == NULL) {
        if (!PyErr_Occurred()) {
            PyErr_SetObject(PyExc_KeyError, key);
        }
        return NULL;
    }
    Py_ssize_t i = PyLong_AsSsize_t(position);
    Py_DECREF(position);
    if (i < 0 || i >= PyTuple_GET_SIZE(self)) {
        return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_KeyError, "%R", key);
    }
    return Py_NewRef(PyTuple_GET_ITEM(self, i));
}

static PyObject *
Row_fields(PyObject *self)
{
    return PyObject_GetAttrString((PyObject *)Py_TYPE(self), "_fields");
}

/* Reached for names only: descriptors on the subclass answer first. */
static PyObject *
Row_getattro(PyObject *self, PyObject *name)
{
    PyObject *value = PyObject_GenericGetAttr(self, name);
    if (value != NULL || !PyErr_ExceptionMatches(PyExc_AttributeError)) {
        return value;
    }
    PyErr_Clear();
    value = Row_subscript(self, name);
    if (value == NULL && PyErr_ExceptionMatches(PyExc_KeyError)) {
        PyErr_Clear();
        PyObject *fields = Row_fields(self);
        if (fields != NULL) {
            PyErr_Format(PyExc_AttributeError, "the row has no column %R; it has %R", name, fields);
            Py_DECREF(fields);
        }
    }
    return value;
}

static PyObject *
Row_asdict(PyObject *self, PyObject *unused)
{
    (void)unused;
    PyObject *fields = Row_fields(self);
    PyObject *dict = fields == NULL ? NULL : PyDict_New();
    for (Py_ssize_t i = 0; dict != NULL && i < PyTuple_GET_SIZE(self); i++) {
        /* setdefault: of columns with the same name the first one wins. */
        if (PyDict_SetDefault(dict, PyTuple_GET_ITEM(fields, i), PyTuple_GET_ITEM(self, i))
            == NULL) {
            Py_CLEAR(dict);
        }
    }
    Py_XDECREF(fields);
    return dict;
}

static PyObject *
Row_reduce(PyObject *self, PyObject *unused)
{
    (void)unused;
    PyObject *rows = PyImport_ImportModule("pgasync.rows");
    PyObject *restore = rows == NULL ? NULL : PyObject_GetAttrString(rows, "restore");
    PyObject *fields = restore == NULL ? NULL : Row_fields(self);
    PyObject *values = fields == NULL ? NULL : PySequence_List(self);
    Py_XDECREF(rows);
    if (values == NULL) {
        Py_XDECREF(restore);
        Py_XDECREF(fields);
        return NULL;
    }
    return Py_BuildValue("(N(NN))", restore, fields, values);
}

static PyObject *
Row_repr(PyObject *self)
{
    PyObject *fields = Row_fields(self);
    PyObject *parts = fields == NULL ? NULL : PyList_New(0);
    for (Py_ssize_t i = 0; parts != NULL && i < PyTuple_GET_SIZE(self); i++) {
        PyObject *part =
            PyUnicode_FromFormat("%S=%R", PyTuple_GET_ITEM(fields, i), PyTuple_GET_ITEM(self, i));
        if (part == NULL || PyList_Append(parts, part) < 0) {
            Py_CLEAR(parts);
        }
        Py_XDECREF(part);
    }
    Py_XDECREF(fields);
    PyObject *comma = parts == NULL ? NULL : PyUnicode_FromString(", ");
    PyObject *inside = comma == NULL ? NULL : PyUnicode_Join(comma, parts);
    Py_XDECREF(comma);
    Py_XDECREF(parts);
    PyObject *text = inside == NULL ? NULL : PyUnicode_FromFormat("Row(%U)", inside);
    Py_XDECREF(inside);
    return text;
}

/* As a tuple's, without the search for slots and dicts that a class made in Python gets:
 * Row's own subclasses have none. */
static void
Row_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_TRASHCAN_BEGIN(self, Row_dealloc) for (Py_ssize_t i = PyTuple_GET_SIZE(self); --i >= 0;)
    {
        Py_XDECREF(PyTuple_GET_ITEM(self, i));
    }
    type->tp_free(self);
    Py_DECREF(type);
    Py_TRASHCAN_END
}

static PyMethodDef Row_methods[] = {
    {"_asdict", Row_asdict, METH_NOARGS, "The row as {name: value}."},
    {"__reduce__", Row_reduce, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot Row_slots[] = {
    {Py_tp_dealloc, Row_dealloc},
    {Py_mp_subscript, Row_subscript},
    {Py_tp_getattro, Row_getattro},
    {Py_tp_repr, Row_repr},
    {Py_tp_methods, Row_methods},
    {Py_tp_doc, "A row: a tuple that also answers to column names."},
    {0, NULL},
};

static PyType_Spec Row_spec = {
    .name = "pgasync._core.Row",
    .basicsize = 0,
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = Row_slots,
};

/* {"_fields": …, "_index": …, "__slots__": (), name: descriptor, …} */
static PyObject *
rows_type_namespace(struct core_state *st, PyObject *fields)
{
    PyObject *index = PyDict_New();
    PyObject *empty = PyTuple_New(0);
    PyObject *module = PyUnicode_FromString("pgasync");
    PyObject *space = PyDict_New();
    if (index == NULL || empty == NULL || space == NULL || module == NULL
        || PyDict_SetItem(space, st->name__fields, fields) < 0
        || PyDict_SetItem(space, st->name__index, index) < 0
        || PyDict_SetItem(space, st->name___slots__, empty) < 0
        || PyDict_SetItem(space, st->name___module__, module) < 0) {
        Py_CLEAR(space);
    }
    for (Py_ssize_t i = 0; space != NULL && i < PyTuple_GET_SIZE(fields); i++) {
        PyObject *name = PyTuple_GET_ITEM(fields, i);
        PyObject *position = PyLong_FromSsize_t(i);
        if (position == NULL || PyDict_SetDefault(index, name, position) == NULL) {
            Py_CLEAR(space);
        }
        /* Names with an underscore in front belong to the class. */
        else if (PyUnicode_GET_LENGTH(name) > 0 && PyUnicode_READ_CHAR(name, 0) != '_'
                 && !PyDict_Contains(space, name)) {
            PyObject *descriptor =
                PyObject_CallFunctionObjArgs(st->tuple_getter, position, Py_None, NULL);
            if (descriptor == NULL || PyDict_SetItem(space, name, descriptor) < 0) {
                Py_CLEAR(space);
            }
            Py_XDECREF(descriptor);
        }
        Py_XDECREF(position);
    }
    Py_XDECREF(index);
    Py_XDECREF(empty);
    Py_XDECREF(module);
    return space;
}

/* Enough for any program's own statements; generated column names beyond that
 * start over rather than pile up. */
#define ROW_TYPES_MAX 4096

PyObject *
rows_type_for(struct core_state *st, PyObject *fields)
{
    PyObject *type = PyDict_GetItemWithError(st->row_types, fields);
    if (type != NULL || PyErr_Occurred()) {
        return Py_XNewRef(type);
    }
    PyObject *space = rows_type_namespace(st, fields);
    if (space == NULL) {
        return NULL;
    }
    type = PyObject_CallFunction((PyObject *)&PyType_Type, "s(O)O", "Row", st->row_type, space);
    Py_DECREF(space);
    if (type == NULL) {
        return NULL;
    }
    ((PyTypeObject *)type)->tp_dealloc = Row_dealloc;
    if (PyDict_GET_SIZE(st->row_types) >= ROW_TYPES_MAX) {
        PyDict_Clear(st->row_types);
    }
    if (PyDict_SetItem(st->row_types, fields, type) < 0) {
        Py_DECREF(type);
        return NULL;
    }
    return type;
}

int
rows_type_init(struct core_state *st, PyObject *module)
{
    PyObject *bases = PyTuple_Pack(1, &PyTuple_Type);
    if (bases == NULL) {
        return -1;
    }
    st->row_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &Row_spec, bases);
    Py_DECREF(bases);
    return st->row_type == NULL ? -1 : PyModule_AddType(module, st->row_type);
}
