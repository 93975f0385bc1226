/* A row → bytes of a COPY: in binary, or as text or csv. It is written whole or not at all;
 * what is wrong with it is a DataError that names the row and the column. */
#include "copyrows.h"
#include "errors.h"

/* Errors */

/* The DataError that is set gets the row, and the column unless that is negative, in
 * front. Other exceptions stay as they are. Returns -1. */
static int
rows_fail(struct copy_rows *self, Py_ssize_t column)
{
    if (!PyErr_ExceptionMatches(self->st->data_error)) {
        return -1;
    }
    PyObject *error = compat_take_exception();
    PyObject *cause = PyException_GetCause(error);
    PyObject *name =
        column < 0 || self->names == NULL ? NULL : PyTuple_GET_ITEM(self->names, column);
    if (name != NULL) {
        PyErr_Format(self->st->data_error, "row %llu, column \"%S\": %S", self->rows, name, error);
    }
    else if (column >= 0) {
        PyErr_Format(self->st->data_error, "row %llu, value %zd: %S", self->rows, column, error);
    }
    else {
        PyErr_Format(self->st->data_error, "row %llu: %S", self->rows, error);
    }
    Py_DECREF(error);
    PyObject *told = compat_take_exception();
    if (name != NULL && told != NULL && PyObject_SetAttrString(told, "column_name", name) < 0) {
        PyErr_Clear();
    }
    if (told != NULL && cause != NULL) {
        PyException_SetCause(told, Py_NewRef(cause)); /* steals */
    }
    Py_XDECREF(cause);
    if (told != NULL) {
        compat_raise(told);
    }
    return -1;
}

static int
rows_fail_count(struct copy_rows *self, Py_ssize_t given)
{
    PyErr_Format(self->st->data_error, "it has %zd value%s for %zu column%s", given,
                 given == 1 ? "" : "s", self->count, self->count == 1 ? "" : "s");
    return rows_fail(self, -1);
}

/* Rows as tuples */

/* The values of a mapping in the order of the columns. */
static PyObject *
rows_from_dict(struct copy_rows *self, PyObject *row)
{
    if (self->names == NULL) {
        return errors_set(self->st->data_error,
                          "a mapping needs the names of the columns: name them in the COPY");
    }
    PyObject *values = PyTuple_New((Py_ssize_t)self->count);
    for (size_t i = 0; values != NULL && i < self->count; i++) {
        PyObject *name = PyTuple_GET_ITEM(self->names, (Py_ssize_t)i);
        PyObject *value = PyDict_GetItemWithError(row, name);
        if (value == NULL) {
            if (!PyErr_Occurred()) {
                PyErr_Format(self->st->data_error, "it has nothing for column \"%S\"", name);
            }
            Py_CLEAR(values);
            break;
        }
        PyTuple_SET_ITEM(values, (Py_ssize_t)i, Py_NewRef(value));
    }
    if (values != NULL && (size_t)PyDict_GET_SIZE(row) != self->count) {
        Py_CLEAR(values);
        PyErr_Format(self->st->data_error, "it has %zd keys for %zu columns: %S",
                     PyDict_GET_SIZE(row), self->count, self->names);
    }
    return values;
}

/* What is neither a tuple nor a list nor a dict. */
static PyObject *
rows_from_other(struct copy_rows *self, PyObject *row)
{
    if (PyUnicode_Check(row) || PyBytes_Check(row) || PyByteArray_Check(row)
        || !PySequence_Check(row)) {
        return errors_set(self->st->data_error,
                          "a row is a tuple, a list or a mapping, not %R (%s)", row,
                          Py_TYPE(row)->tp_name);
    }
    if (!PyObject_HasAttrString(row, "keys")) {
        return PySequence_Tuple(row);
    }
    PyObject *dict = PyDict_New();
    PyObject *values = NULL;
    if (dict != NULL && PyDict_Update(dict, row) == 0) {
        values = rows_from_dict(self, dict);
    }
    Py_XDECREF(dict);
    return values;
}

/* A new reference; NULL with an exception. */
static PyObject *
rows_tuple(struct copy_rows *self, PyObject *row)
{
    if (PyTuple_Check(row)) {
        return Py_NewRef(row);
    }
    if (PyList_Check(row)) {
        return PyList_AsTuple(row);
    }
    return PyDict_Check(row) ? rows_from_dict(self, row) : rows_from_other(self, row);
}

/* Binary */

/* CODEC_TEXT became of a value: there is no place for text in this format. */
static int
rows_fail_text(struct copy_rows *self, size_t column, PyObject *value)
{
    self->wants_text = true;
    PyErr_Format(self->st->data_error,
                 "%R (%s) can only be sent to %s as text, and this COPY is binary: give a value of "
                 "the type's own class, or have the COPY made with format='text'",
                 value, Py_TYPE(value)->tp_name, self->codecs[column]->name);
    return rows_fail(self, (Py_ssize_t)column);
}

static int
rows_put_binary(struct copy_rows *self, struct codec_ctx *ctx, PyObject *values)
{
    struct wire_buffer *out = &self->data;
    wire_buffer_put_u16(out, (uint16_t)self->count);
    for (size_t i = 0; i < self->count; i++) {
        PyObject *value = PyTuple_GET_ITEM(values, (Py_ssize_t)i);
        if (codec_quick_put(self->quick[i], value, out)) {
            continue;
        }
        if (value == Py_None) {
            wire_put_param_null(out);
            continue;
        }
        size_t mark = wire_put_param_begin(out);
        enum codec_outcome outcome = codec_encode(self->codecs[i], ctx, value, out);
        if (outcome == CODEC_ERROR) {
            return rows_fail(self, (Py_ssize_t)i);
        }
        if (outcome == CODEC_TEXT) {
            return rows_fail_text(self, i, value);
        }
        wire_put_param_end(out, mark);
    }
    return 0;
}

/* Text and csv */

/* A value whose column's type is not known, by its class. */
static enum codec_outcome
rows_spell_loose(struct copy_rows *self, struct codec_ctx *ctx, PyObject *value)
{
    enum codec_outcome outcome = codec_encode_text(&codec_unknown, ctx, value, &self->scratch);
    if (outcome != CODEC_ERROR || !PyErr_ExceptionMatches(self->st->data_error)
        || PyTuple_Check(value) || PyDict_Check(value)) {
        return outcome;
    }
    PyErr_Clear();
    PyObject *text = PyObject_CallOneArg(ctx->types->text_of, value);
    if (text == NULL && PyErr_ExceptionMatches(PyExc_TypeError)) {
        PyErr_Format(self->st->data_error,
                     "%R (%s) has no text form that is right for any type: name the columns' types "
                     "with set_types(), or give a str",
                     value, Py_TYPE(value)->tp_name);
        return CODEC_ERROR;
    }
    wire_buffer_rollback(&self->scratch, 0);
    if (text != NULL) {
        outcome = codec_put_str(&codec_unknown, ctx, text, &self->scratch);
        Py_DECREF(text);
    }
    return outcome;
}

static int
rows_put_text_value(struct copy_rows *self, struct codec_ctx *ctx, size_t column, PyObject *value)
{
    if (value == Py_None) {
        wire_copy_put_null(&self->data, &self->style);
        return 0;
    }
    wire_buffer_rollback(&self->scratch, 0);
    enum codec_outcome outcome =
        self->names == NULL ? rows_spell_loose(self, ctx, value)
                            : codec_encode_text(self->codecs[column], ctx, value, &self->scratch);
    if (outcome == CODEC_ERROR) {
        return rows_fail(self, (Py_ssize_t)column);
    }
    if (!wire_copy_put_value(&self->data, &self->style, wire_buffer_unread(&self->scratch))) {
        PyErr_SetString(self->st->data_error,
                        "an empty text cannot be told from NULL in this COPY: give it another "
                        "NULL, or the csv format");
        return rows_fail(self, (Py_ssize_t)column);
    }
    return 0;
}

static int
rows_put_text(struct copy_rows *self, struct codec_ctx *ctx, PyObject *values)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(values); i++) {
        if (i > 0) {
            wire_buffer_put_u8(&self->data, (uint8_t)self->style.delimiter);
        }
        if (rows_put_text_value(self, ctx, (size_t)i, PyTuple_GET_ITEM(values, i)) < 0) {
            return -1;
        }
    }
    wire_buffer_put_u8(&self->data, '\n');
    return 0;
}

/* Both */

static int
rows_put_values(struct copy_rows *self, struct codec_ctx *ctx, PyObject *values)
{
    if (self->names != NULL && (size_t)PyTuple_GET_SIZE(values) != self->count) {
        return rows_fail_count(self, PyTuple_GET_SIZE(values));
    }
    int status =
        self->binary ? rows_put_binary(self, ctx, values) : rows_put_text(self, ctx, values);
    if (status < 0) {
        return -1;
    }
    if (self->data.failed == WIRE_ERR_LIMIT) {
        PyErr_SetString(self->st->data_error, "a value of it is longer than 1 GiB");
        return rows_fail(self, -1);
    }
    return codec_buffer_failed(&self->data) ? -1 : 0;
}

int
copy_rows_put(struct copy_rows *self, struct codec_ctx *ctx, PyObject *row)
{
    self->wants_text = false;
    PyObject *values = rows_tuple(self, row);
    if (values == NULL) {
        return rows_fail(self, -1);
    }
    size_t mark = wire_buffer_mark(&self->data);
    int status = rows_put_values(self, ctx, values);
    Py_DECREF(values);
    if (status < 0) {
        wire_buffer_rollback(&self->data, mark);
        return -1;
    }
    self->rows += 1;
    return 0;
}
