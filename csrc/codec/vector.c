/* int2vector and oidvector: arrays of one dimension, counted from 0, without NULLs. */
#include "container.h"

PyObject *
codec_vector_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    PyObject *list = codec_array_decode(self, ctx, value);
    if (list == NULL || Py_IS_TYPE(list, (PyTypeObject *)ctx->types->array)) {
        return list;
    }
    if (PyList_GET_SIZE(list) > 0) {
        Py_DECREF(list);
        return codec_fail(self, ctx, "it does not start at 0");
    }
    const int32_t lower = 0;
    return array_with_bounds(ctx, list, &lower, 1);
}

/* One element in binary. */
static enum codec_outcome
vector_put_element(const struct codec *self, struct codec_ctx *ctx, PyObject *item,
                   struct wire_buffer *out)
{
    if (!PyIndex_Check(item)) {
        return codec_fail_value(self, ctx, item, "give a list of int");
    }
    return container_put(self->elem, ctx, item, out);
}

static enum codec_outcome
vector_put(const struct codec *self, struct codec_ctx *ctx, PyObject *items,
           struct wire_buffer *out)
{
    Py_ssize_t count = PyTuple_GET_SIZE(items);
    if (count == 0) {
        return CODEC_TEXT; /* the empty text: its binary form is one the server refuses */
    }
    wire_buffer_put_u32(out, 1);
    wire_buffer_put_u32(out, 0);
    wire_buffer_put_u32(out, self->elem->oid);
    wire_buffer_put_u32(out, (uint32_t)count);
    wire_buffer_put_u32(out, 0);
    for (Py_ssize_t i = 0; i < count; i++) {
        if (vector_put_element(self, ctx, PyTuple_GET_ITEM(items, i), out) == CODEC_ERROR) {
            return CODEC_ERROR;
        }
    }
    return CODEC_BINARY;
}

enum codec_outcome
codec_vector_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                    struct wire_buffer *out)
{
    if (PyUnicode_Check(value)) {
        return codec_put_str(self, ctx, value, out);
    }
    if (!PyType_HasFeature(Py_TYPE(value), Py_TPFLAGS_SEQUENCE)) {
        return codec_fail_value(self, ctx, value, "give a list of int");
    }
    PyObject *items = PySequence_Tuple(value);
    if (items == NULL) {
        return codec_fail_raised(self, ctx, value, "give a list of int");
    }
    enum codec_outcome outcome = vector_put(self, ctx, items, out);
    Py_DECREF(items);
    return container_end(self, ctx, value, out, outcome);
}

enum codec_outcome
vector_put_text(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                struct wire_buffer *out)
{
    size_t mark = wire_buffer_mark(out);
    enum codec_outcome outcome = codec_vector_encode(self, ctx, value, out);
    if (outcome != CODEC_BINARY) {
        return outcome;
    }
    /* The elements are in the buffer: numbers of a known width, after the header. */
    wire_slice bytes = {out->data + out->start + mark, wire_buffer_mark(out) - mark};
    struct wire_reader reader = wire_reader_of(bytes);
    wire_read_bytes(&reader, 20);
    PyObject *text = PyUnicode_FromString("");
    while (text != NULL && wire_reader_left(&reader) > 0) {
        uint32_t len = wire_read_u32(&reader);
        long long number = len == 2 ? wire_read_i16(&reader) : (long long)wire_read_u32(&reader);
        PyUnicode_AppendAndDel(&text, PyUnicode_FromFormat("%lld ", number));
    }
    wire_buffer_rollback(out, mark);
    outcome = text == NULL ? CODEC_ERROR : codec_put_str(self, ctx, text, out);
    Py_XDECREF(text);
    return outcome;
}
