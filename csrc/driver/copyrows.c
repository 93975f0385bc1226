/* The Python type that turns rows into the data of a COPY, in slices. */
#include "copyrows.h"

#include "errors.h"

#include "../wire/copyformat.h"

#include <time.h>

/* Rows between two looks at the clock. */
#define ROWS_CLOCK 32

static int
CopyRows_traverse(struct copy_rows *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->conn);
    Py_VISIT(self->kept);
    return 0;
}

static int
CopyRows_clear(struct copy_rows *self)
{
    Py_CLEAR(self->conn);
    return 0;
}

static void
CopyRows_dealloc(struct copy_rows *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_CLEAR(self->conn);
    Py_CLEAR(self->names);
    Py_CLEAR(self->kept);
    PyMem_Free(self->codecs);
    PyMem_Free(self->quick);
    wire_buffer_clear(&self->data, false);
    wire_buffer_clear(&self->scratch, false);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

/* Making one */

/* The codecs of the types with these OIDs (a sequence of int): -1 with an exception. */
static int
rows_find_codecs(struct copy_rows *self, PyObject *oids)
{
    for (size_t i = 0; i < self->count; i++) {
        PyObject *object = NULL;
        PyObject *oid = PySequence_GetItem(oids, (Py_ssize_t)i);
        unsigned long number = oid == NULL ? 0 : PyLong_AsUnsignedLong(oid);
        Py_XDECREF(oid);
        if (PyErr_Occurred()) {
            return -1;
        }
        const struct codec *codec = book_find_borrow(&self->conn->book, (uint32_t)number, &object);
        self->codecs[i] = codec != NULL ? codec : &codec_unknown;
        self->quick[i] = codec_quick_of(self->codecs[i]);
        if (object != NULL && PyList_Append(self->kept, object) < 0) {
            return -1;
        }
    }
    return 0;
}

/* One ASCII character, -1 with an exception. */
static int
rows_style_char(PyObject *text, char *result)
{
    if (text == Py_None) {
        return 0;
    }
    if (!PyUnicode_Check(text) || PyUnicode_GET_LENGTH(text) != 1
        || PyUnicode_READ_CHAR(text, 0) > 127) {
        PyErr_Format(PyExc_ValueError, "%R is not one ASCII character", text);
        return -1;
    }
    *result = (char)PyUnicode_READ_CHAR(text, 0);
    return 0;
}

/* From (csv, delimiter, null, quote, escape), the last four None for the default; None as
 * a whole: binary. -1 with an exception. */
static int
rows_set_style(struct copy_rows *self, PyObject *style)
{
    self->binary = style == Py_None;
    wire_copy_style_init(&self->style, false);
    if (self->binary) {
        return 0;
    }
    int csv;
    PyObject *delimiter, *null, *quote, *escape;
    if (!PyArg_ParseTuple(style, "pOOOO", &csv, &delimiter, &null, &quote, &escape)) {
        return -1;
    }
    wire_copy_style_init(&self->style, csv != 0);
    if (rows_style_char(delimiter, &self->style.delimiter) < 0
        || rows_style_char(quote, &self->style.quote) < 0) {
        return -1;
    }
    self->style.escape = self->style.quote;
    if (rows_style_char(escape, &self->style.escape) < 0) {
        return -1;
    }
    if (null == Py_None) {
        return 0;
    }
    Py_ssize_t len;
    const char *utf8 = PyUnicode_AsUTF8AndSize(null, &len);
    if (utf8 == NULL || len > WIRE_COPY_NULL_MAX) {
        if (utf8 != NULL) {
            PyErr_Format(PyExc_ValueError, "%R is too long to stand for NULL", null);
        }
        return -1;
    }
    memcpy(self->style.null, utf8, (size_t)len);
    self->style.null_len = (size_t)len;
    return 0;
}

static int
rows_init(struct copy_rows *self, PyObject *names, PyObject *oids, PyObject *style)
{
    self->kept = PyList_New(0);
    if (self->kept == NULL || rows_set_style(self, style) < 0) {
        return -1;
    }
    if (names == Py_None) {
        return 0;
    }
    self->names = PySequence_Tuple(names);
    if (self->names == NULL) {
        return -1;
    }
    self->count = (size_t)PyTuple_GET_SIZE(self->names);
    self->codecs = PyMem_New(const struct codec *, self->count + 1);
    self->quick = PyMem_New(enum codec_quick, self->count + 1);
    if (self->codecs == NULL || self->quick == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    return rows_find_codecs(self, oids);
}

PyObject *
Connection_missing_types(struct connection *conn, PyObject *oids)
{
    PyObject *missing = PyList_New(0);
    Py_ssize_t count = missing == NULL ? 0 : PySequence_Size(oids);
    for (Py_ssize_t i = 0; i < count && missing != NULL; i++) {
        PyObject *object;
        PyObject *oid = PySequence_GetItem(oids, i);
        unsigned long number = oid == NULL ? 0 : PyLong_AsUnsignedLong(oid);
        bool unknown =
            !PyErr_Occurred() && book_find_borrow(&conn->book, (uint32_t)number, &object) == NULL;
        if (PyErr_Occurred() || (unknown && PyList_Append(missing, oid) < 0)) {
            Py_CLEAR(missing);
        }
        Py_XDECREF(oid);
    }
    return count < 0 ? NULL : missing;
}

PyObject *
Connection_copy_rows(struct connection *conn, PyObject *args)
{
    PyObject *names, *oids, *style;
    if (!PyArg_ParseTuple(args, "OOO:copy_rows", &names, &oids, &style)) {
        return NULL;
    }
    struct copy_rows *self = PyObject_GC_New(struct copy_rows, conn->st->copy_rows_type);
    if (self == NULL) {
        return NULL;
    }
    memset((char *)self + sizeof(PyObject), 0, sizeof(*self) - sizeof(PyObject));
    self->st = conn->st;
    self->conn = (struct connection *)Py_NewRef((PyObject *)conn);
    wire_buffer_init(&self->data);
    wire_buffer_init(&self->scratch);
    PyObject_GC_Track(self);
    if (rows_init(self, names, oids, style) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    if (self->binary) {
        wire_buffer_put(&self->data, WIRE_COPY_SIGNATURE, WIRE_COPY_SIGNATURE_LEN);
        wire_buffer_put_u64(&self->data, 0); /* no flags, no extension */
    }
    return (PyObject *)self;
}

static int64_t
rows_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* An iterator has given nothing: 0, or -1 with an exception. */
static int
rows_ended(void)
{
    if (!PyErr_Occurred()) {
        return 0;
    }
    if (!PyErr_ExceptionMatches(PyExc_StopIteration)) {
        return -1;
    }
    PyErr_Clear();
    return 0;
}

/* 1: there may be more rows, 0: there are none, -1 with an exception. */
static int
rows_take(struct copy_rows *self, PyObject *iterator, size_t bytes_max, int64_t budget)
{
    int64_t end = rows_clock() + budget;
    struct codec_ctx ctx = conn_codec_ctx(self->conn);
    iternextfunc next = Py_TYPE(iterator)->tp_iternext;
    for (unsigned count = 1;; count++) {
        PyObject *row = next(iterator);
        if (row == NULL) {
            return rows_ended();
        }
        int status = copy_rows_put(self, &ctx, row);
        Py_DECREF(row);
        if (status < 0) {
            return -1;
        }
        if (wire_buffer_size(&self->data) >= bytes_max
            || (count % ROWS_CLOCK == 0 && rows_clock() >= end)) {
            return 1;
        }
    }
}

/* The codecs' Python code must not come back in here. */
static int
rows_enter(struct copy_rows *self)
{
    if (self->busy || self->conn == NULL) {
        PyErr_SetString(self->st->interface_error,
                        "a codec that is being called for a row of this COPY cannot write another");
        return -1;
    }
    self->busy = true;
    return 0;
}

static PyObject *
CopyRows_encode(struct copy_rows *self, PyObject *args)
{
    PyObject *iterator;
    Py_ssize_t bytes_max;
    double seconds;
    if (!PyArg_ParseTuple(args, "Ond:encode", &iterator, &bytes_max, &seconds)) {
        return NULL;
    }
    if (!PyIter_Check(iterator)) {
        return errors_set(PyExc_TypeError, "encode() takes an iterator");
    }
    if (rows_enter(self) < 0) {
        return NULL;
    }
    int more = rows_take(self, iterator, (size_t)bytes_max, (int64_t)(seconds * 1e6));
    self->busy = false;
    return more < 0 ? NULL : PyBool_FromLong(more);
}

static PyObject *
CopyRows_add(struct copy_rows *self, PyObject *row)
{
    if (rows_enter(self) < 0) {
        return NULL;
    }
    struct codec_ctx ctx = conn_codec_ctx(self->conn);
    int status = copy_rows_put(self, &ctx, row);
    self->busy = false;
    return status < 0 ? NULL : PyLong_FromSize_t(wire_buffer_size(&self->data));
}

static PyObject *
CopyRows_end(struct copy_rows *self, PyObject *unused)
{
    (void)unused;
    if (self->binary) {
        wire_buffer_put_u16(&self->data, UINT16_MAX);
    }
    Py_RETURN_NONE;
}

struct wire_buffer *
copy_rows_data_borrow(struct core_state *st, PyObject *object)
{
    if (!Py_IS_TYPE(object, st->copy_rows_type)) {
        return NULL;
    }
    struct copy_rows *self = (struct copy_rows *)object;
    return &self->data;
}

static PyObject *
CopyRows_get_rows(struct copy_rows *self, void *closure)
{
    (void)closure;
    return PyLong_FromUnsignedLongLong(self->rows);
}

static PyObject *
CopyRows_get_size(struct copy_rows *self, void *closure)
{
    (void)closure;
    return PyLong_FromSize_t(wire_buffer_size(&self->data));
}

static PyObject *
CopyRows_get_wants_text(struct copy_rows *self, void *closure)
{
    (void)closure;
    return PyBool_FromLong(self->wants_text);
}

/* Whether every column's type has a binary form. */
static PyObject *
CopyRows_get_has_binary(struct copy_rows *self, void *closure)
{
    (void)closure;
    bool all = true;
    for (size_t i = 0; i < self->count; i++) {
        all = all && codec_has_binary(self->codecs[i]);
    }
    return PyBool_FromLong(all);
}

static PyMethodDef CopyRows_methods[] = {
    {"encode", (PyCFunction)CopyRows_encode, METH_VARARGS, NULL},
    {"add", (PyCFunction)CopyRows_add, METH_O, NULL},
    {"end", (PyCFunction)CopyRows_end, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef CopyRows_getset[] = {
    {"rows", (getter)CopyRows_get_rows, NULL, NULL, NULL},
    {"size", (getter)CopyRows_get_size, NULL, NULL, NULL},
    {"wants_text", (getter)CopyRows_get_wants_text, NULL, NULL, NULL},
    {"has_binary", (getter)CopyRows_get_has_binary, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot CopyRows_slots[] = {
    {Py_tp_dealloc, CopyRows_dealloc},
    {Py_tp_traverse, CopyRows_traverse},
    {Py_tp_clear, CopyRows_clear},
    {Py_tp_methods, CopyRows_methods},
    {Py_tp_getset, CopyRows_getset},
    {Py_tp_doc, "Rows as the data of a COPY."},
    {0, NULL},
};

static PyType_Spec CopyRows_spec = {
    .name = "pgasync._core.CopyRows",
    .basicsize = sizeof(struct copy_rows),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE
             | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = CopyRows_slots,
};

int
copy_rows_type_init(struct core_state *st, PyObject *module)
{
    st->copy_rows_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &CopyRows_spec, NULL);
    return st->copy_rows_type == NULL ? -1 : PyModule_AddType(module, st->copy_rows_type);
}
