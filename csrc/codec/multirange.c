/* Multiranges: sequences of ranges. */
#include "container.h"

#define MULTIRANGE_REMEDY "give a sequence of ranges, as in pgasync.types.Multirange([...])"

/* A types.Multirange, which is a tuple of its own class. */
static PyObject *
multirange_make(struct codec_ctx *ctx, PyObject *ranges)
{
    PyTypeObject *type = (PyTypeObject *)ctx->types->multirange;
    Py_ssize_t count = PyList_GET_SIZE(ranges);
    PyObject *multirange = type->tp_alloc(type, count);
    for (Py_ssize_t i = 0; multirange != NULL && i < count; i++) {
        PyTuple_SET_ITEM(multirange, i, Py_NewRef(PyList_GET_ITEM(ranges, i)));
    }
    return multirange;
}

PyObject *
multirange_new(const struct codec *self, struct codec_ctx *ctx, PyObject *ranges)
{
    PyObject *maker = ctx->options->multirange_type;
    PyObject *multirange = NULL;
    if (ranges != NULL && (maker == NULL || maker == Py_None)) {
        multirange = multirange_make(ctx, ranges);
    }
    else if (ranges != NULL) {
        Py_INCREF(maker);
        multirange = PyObject_CallOneArg(maker, ranges);
        Py_DECREF(maker);
        if (multirange == NULL && codec_may_convert()) {
            codec_fail(self, ctx, "multirange_type failed");
        }
    }
    Py_XDECREF(ranges);
    return multirange;
}

/* The list of the ranges; NULL with an exception. */
static PyObject *
multirange_read(const struct codec *self, struct codec_ctx *ctx, struct wire_reader *reader)
{
    int32_t count = wire_read_i32(reader);
    if (reader->bad || count < 0 || (size_t)count > wire_reader_left(reader) / 5) {
        return codec_fail(self, ctx, "the number of its ranges does not fit its length");
    }
    PyObject *ranges = PyList_New(0);
    for (int32_t i = 0; ranges != NULL && i < count; i++) {
        wire_slice bytes;
        bool null = false;
        PyObject *range = NULL;
        if (container_read(self, ctx, reader, &bytes, &null)) {
            range = null ? codec_fail(self, ctx, "a range in it is NULL")
                         : codec_decode(self->elem, ctx, bytes);
        }
        if (range == NULL || PyList_Append(ranges, range) < 0) {
            Py_CLEAR(ranges);
        }
        Py_XDECREF(range);
    }
    if (ranges != NULL && !wire_reader_end(reader)) {
        Py_DECREF(ranges);
        return codec_fail(self, ctx, "there are bytes behind the last range");
    }
    return ranges;
}

PyObject *
codec_multirange_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    if (self->format == WIRE_FORMAT_TEXT) {
        return textform_multirange(self, ctx, value);
    }
    if (!container_enter(ctx)) {
        return codec_fail(self, ctx, "containers are nested too deeply");
    }
    struct wire_reader reader = wire_reader_of(value);
    PyObject *ranges = multirange_read(self, ctx, &reader);
    container_leave(ctx);
    return multirange_new(self, ctx, ranges);
}

static enum codec_outcome
multirange_put_binary(const struct codec *self, struct codec_ctx *ctx, PyObject *ranges,
                      struct wire_buffer *out)
{
    enum codec_outcome outcome = CODEC_BINARY;
    wire_buffer_put_u32(out, (uint32_t)PyTuple_GET_SIZE(ranges));
    for (Py_ssize_t i = 0; outcome == CODEC_BINARY && i < PyTuple_GET_SIZE(ranges); i++) {
        outcome = container_put(self->elem, ctx, PyTuple_GET_ITEM(ranges, i), out);
    }
    return outcome;
}

/* {[1,2),[3,4)} */
static enum codec_outcome
multirange_put_literal(const struct codec *self, struct codec_ctx *ctx, PyObject *ranges,
                       struct wire_buffer *out)
{
    enum codec_outcome outcome = CODEC_TEXT;
    wire_buffer_put_u8(out, '{');
    for (Py_ssize_t i = 0; outcome == CODEC_TEXT && i < PyTuple_GET_SIZE(ranges); i++) {
        if (i > 0) {
            wire_buffer_put_u8(out, ',');
        }
        outcome = range_put_text(self->elem, ctx, PyTuple_GET_ITEM(ranges, i), out);
    }
    wire_buffer_put_u8(out, '}');
    return outcome;
}

static enum codec_outcome
multirange_put(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
               struct wire_buffer *out, bool text)
{
    PyObject *ranges = PySequence_Tuple(value);
    if (ranges == NULL) {
        return codec_fail_raised(self, ctx, value, MULTIRANGE_REMEDY);
    }
    enum codec_outcome outcome = CODEC_TEXT;
    size_t mark = wire_buffer_mark(out);
    if (!text) {
        outcome = multirange_put_binary(self, ctx, ranges, out);
    }
    if (outcome == CODEC_TEXT) {
        wire_buffer_rollback(out, mark);
        outcome = multirange_put_literal(self, ctx, ranges, out);
    }
    Py_DECREF(ranges);
    return container_end(self, ctx, value, out, outcome);
}

static enum codec_outcome
multirange_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                  struct wire_buffer *out, bool text)
{
    if (PyUnicode_Check(value)) {
        return codec_put_str(self, ctx, value, out);
    }
    if (!PyType_HasFeature(Py_TYPE(value), Py_TPFLAGS_SEQUENCE) || PyRange_Check(value)) {
        return codec_fail_value(self, ctx, value, MULTIRANGE_REMEDY);
    }
    if (!container_enter(ctx)) {
        return codec_fail_value(self, ctx, value, "containers are nested too deeply");
    }
    enum codec_outcome outcome = multirange_put(self, ctx, value, out, text);
    container_leave(ctx);
    return outcome;
}

enum codec_outcome
codec_multirange_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                        struct wire_buffer *out)
{
    return multirange_encode(self, ctx, value, out, self->format == WIRE_FORMAT_TEXT);
}

enum codec_outcome
multirange_put_text(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                    struct wire_buffer *out)
{
    return multirange_encode(self, ctx, value, out, true);
}
