/* Types of extensions that PostgreSQL ships: hstore, ltree and its queries, cube. */
#include "families.h"

#define EXTENSION_CUBE_POINT 0x80000000u /* in a cube's header: one corner for both */
#define EXTENSION_TREE_VERSION 1

/* A str with its length in front; NULL with an exception. */
static PyObject *
hstore_read_str(const struct codec *self, struct codec_ctx *ctx, struct wire_reader *reader,
                int32_t len)
{
    wire_slice text = {NULL, 0};
    if (len >= 0) {
        text = wire_read_bytes(reader, (size_t)len);
    }
    if (len < 0 || reader->bad) {
        return codec_fail(self, ctx, "a key or value does not fit its length");
    }
    return codec_str_of(self, ctx, text);
}

/* The next pair into `dict`; a key that comes twice has its last value. */
static int
hstore_read_pair(const struct codec *self, struct codec_ctx *ctx, struct wire_reader *reader,
                 PyObject *dict)
{
    PyObject *key = hstore_read_str(self, ctx, reader, wire_read_i32(reader));
    if (key == NULL) {
        return -1;
    }
    int32_t len = wire_read_i32(reader);
    PyObject *value =
        len == -1 && !reader->bad ? Py_NewRef(Py_None) : hstore_read_str(self, ctx, reader, len);
    int set = value == NULL ? -1 : PyDict_SetItem(dict, key, value);
    Py_XDECREF(value);
    Py_DECREF(key);
    return set;
}

PyObject *
codec_hstore_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    struct wire_reader reader = wire_reader_of(value);
    int32_t count = wire_read_i32(&reader);
    if (reader.bad || count < 0 || (size_t)count > wire_reader_left(&reader) / 8) {
        return codec_fail(self, ctx, "its number of pairs does not fit its length");
    }
    PyObject *dict = PyDict_New();
    for (int32_t i = 0; dict != NULL && i < count; i++) {
        if (hstore_read_pair(self, ctx, &reader, dict) < 0) {
            Py_CLEAR(dict);
        }
    }
    if (dict != NULL && !wire_reader_end(&reader)) {
        Py_DECREF(dict);
        return codec_fail(self, ctx, "there are bytes behind the last pair");
    }
    return dict;
}

static enum codec_outcome
hstore_fail(const struct codec *self, struct codec_ctx *ctx, PyObject *value)
{
    return codec_fail_raised(self, ctx, value,
                             "give a dict of str to str or None, as {key: str(value)}");
}

/* A str of `whole` with its length in front. */
static int
hstore_put_str(const struct codec *self, struct codec_ctx *ctx, PyObject *whole, PyObject *str,
               struct wire_buffer *out)
{
    wire_slice text;
    if (!PyUnicode_Check(str)) {
        hstore_fail(self, ctx, whole);
        return 0;
    }
    if (!codec_utf8_borrow(self, ctx, whole, str, &text)) {
        return 0;
    }
    wire_buffer_put_u32(out, (uint32_t)text.len);
    wire_buffer_put(out, text.ptr, text.len);
    return 1;
}

static int
hstore_put_pair(const struct codec *self, struct codec_ctx *ctx, PyObject *whole, PyObject *pair,
                struct wire_buffer *out)
{
    if (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2) {
        hstore_fail(self, ctx, whole);
        return 0;
    }
    if (!hstore_put_str(self, ctx, whole, PyTuple_GET_ITEM(pair, 0), out)) {
        return 0;
    }
    if (PyTuple_GET_ITEM(pair, 1) == Py_None) {
        wire_buffer_put_u32(out, UINT32_MAX);
        return 1;
    }
    return hstore_put_str(self, ctx, whole, PyTuple_GET_ITEM(pair, 1), out);
}

/* The (key, value) pairs of a mapping as a new list; NULL with an exception. */
static PyObject *
hstore_pairs(const struct codec *self, struct codec_ctx *ctx, PyObject *value)
{
    PyObject *pairs = PyMapping_Check(value) ? PyMapping_Items(value) : NULL;
    if (pairs == NULL) {
        if (PyErr_ExceptionMatches(PyExc_AttributeError)) {
            PyErr_Clear();
        }
        hstore_fail(self, ctx, value);
    }
    return pairs;
}

enum codec_outcome
codec_hstore_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                    struct wire_buffer *out)
{
    if (PyUnicode_Check(value)) {
        return codec_put_str(self, ctx, value, out);
    }
    PyObject *pairs = hstore_pairs(self, ctx, value);
    if (pairs == NULL) {
        return CODEC_ERROR;
    }
    int put = 1;
    wire_buffer_put_u32(out, (uint32_t)PyList_GET_SIZE(pairs));
    for (Py_ssize_t i = 0; put && i < PyList_GET_SIZE(pairs); i++) {
        put = hstore_put_pair(self, ctx, value, PyList_GET_ITEM(pairs, i), out);
    }
    Py_DECREF(pairs);
    if (put && out->failed != WIRE_OK) {
        return codec_fail_room(self, ctx, value, out);
    }
    return put ? CODEC_BINARY : CODEC_ERROR;
}

PyObject *
codec_ltree_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    if (value.len == 0 || value.ptr[0] != EXTENSION_TREE_VERSION) {
        return codec_fail(self, ctx, "it has a version that is not known");
    }
    wire_slice text = {value.ptr + 1, value.len - 1};
    return codec_str_of(self, ctx, text);
}

enum codec_outcome
codec_ltree_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                   struct wire_buffer *out)
{
    if (!PyUnicode_Check(value)) {
        return codec_fail_value(self, ctx, value, "give a str");
    }
    wire_slice text;
    if (!codec_utf8_borrow(self, ctx, value, value, &text)) {
        return CODEC_ERROR;
    }
    wire_buffer_put_u8(out, EXTENSION_TREE_VERSION);
    return codec_put_bytes(self, ctx, value, text.ptr, text.len, out);
}

/* One corner: a tuple of floats. */
static PyObject *
cube_read_corner(struct wire_reader *reader, size_t dim)
{
    PyObject *corner = PyTuple_New((Py_ssize_t)dim);
    for (size_t i = 0; corner != NULL && i < dim; i++) {
        PyObject *number = PyFloat_FromDouble(codec_read_double(reader));
        if (number == NULL) {
            Py_CLEAR(corner);
            break;
        }
        PyTuple_SET_ITEM(corner, (Py_ssize_t)i, number);
    }
    return corner;
}

PyObject *
codec_cube_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    struct wire_reader reader = wire_reader_of(value);
    uint32_t header = wire_read_u32(&reader);
    uint32_t dim = header & ~EXTENSION_CUBE_POINT;
    bool is_point = (header & EXTENSION_CUBE_POINT) != 0;
    if (reader.bad || (uint64_t)dim * (is_point ? 8 : 16) != wire_reader_left(&reader)) {
        return codec_fail(self, ctx, "its dimensions do not fit its length");
    }
    PyObject *low = cube_read_corner(&reader, dim);
    if (low == NULL) {
        return NULL;
    }
    PyObject *high = is_point ? Py_NewRef(low) : cube_read_corner(&reader, dim);
    PyObject *corners = high == NULL ? NULL : PyTuple_Pack(2, low, high);
    Py_DECREF(low);
    Py_XDECREF(high);
    return codec_tuple_of(ctx->types->cube, corners);
}

/* Writes the numbers in a tuple; false without or with an exception. */
static int
cube_put_corner(PyObject *corner, struct wire_buffer *out)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(corner); i++) {
        double number;
        if (!codec_double_of(PyTuple_GET_ITEM(corner, i), &number)) {
            return 0;
        }
        codec_put_double(out, number);
    }
    return 1;
}

/* Two corners of one length, not yet checked: a point if their bytes are the same. */
static int
cube_put_box(PyObject *low, PyObject *high, struct wire_buffer *out)
{
    Py_ssize_t dim = PyTuple_GET_SIZE(low);
    size_t mark = wire_buffer_mark(out);
    wire_buffer_put_u32(out, (uint32_t)dim);
    if (dim != PyTuple_GET_SIZE(high) || !cube_put_corner(low, out)
        || !cube_put_corner(high, out)) {
        return 0;
    }
    size_t len = (size_t)dim * 8;
    if (out->failed == WIRE_OK) {
        uint8_t *p = out->data + out->start + mark;
        if (len == 0 || memcmp(p + 4, p + 4 + len, len) == 0) {
            wire_store_u32(p, (uint32_t)dim | EXTENSION_CUBE_POINT);
            wire_buffer_rollback(out, mark + 4 + len);
        }
    }
    return 1;
}

/* A pair of corners, or the numbers of a point. */
static int
cube_put(PyObject *items, struct wire_buffer *out)
{
    if (PyTuple_GET_SIZE(items) != 2 || !PySequence_Check(PyTuple_GET_ITEM(items, 0))) {
        wire_buffer_put_u32(out, (uint32_t)PyTuple_GET_SIZE(items) | EXTENSION_CUBE_POINT);
        return cube_put_corner(items, out);
    }
    PyObject *low = codec_sequence_tuple(PyTuple_GET_ITEM(items, 0));
    PyObject *high = low == NULL ? NULL : codec_sequence_tuple(PyTuple_GET_ITEM(items, 1));
    int put = high != NULL && cube_put_box(low, high, out);
    Py_XDECREF(low);
    Py_XDECREF(high);
    return put;
}

enum codec_outcome
codec_cube_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                  struct wire_buffer *out)
{
    if (PyUnicode_Check(value)) {
        return codec_put_str(self, ctx, value, out);
    }
    PyObject *items = codec_sequence_tuple(value);
    int put = items != NULL && cube_put(items, out);
    Py_XDECREF(items);
    if (!put) {
        return codec_fail_raised(self, ctx, value,
                                 "give a Cube, or a tuple of numbers, which is a point");
    }
    return out->failed == WIRE_OK ? CODEC_BINARY : codec_fail_room(self, ctx, value, out);
}
