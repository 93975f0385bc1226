/* Arrays: lists in lists. Counts from the network are believed only as far as
 * the bytes that came with them. */
#include "families.h"

#define CONTAINER_HEADER_LEN 12 /* dimensions, flags, element OID */

/* What the recursion over an array's dimensions needs. */
struct container_in {
    const struct codec *self;
    struct codec_ctx *ctx;
    struct wire_reader reader;
    int dims;
    size_t len[WIRE_ARRAY_DIMS_MAX];
};

struct container_out {
    const struct codec *self;
    struct codec_ctx *ctx;
    struct wire_buffer *out;
    int dims;
    int has_null;
    Py_ssize_t len[WIRE_ARRAY_DIMS_MAX];
};

static int
container_enter(struct codec_ctx *ctx)
{
    if (ctx->depth >= WIRE_NESTING_MAX) {
        return 0;
    }
    ctx->depth += 1;
    return 1;
}

/* Reads the header and the dimensions. Gives the number of elements, or -1 with
 * an exception set. */
static Py_ssize_t
container_read_dims(struct container_in *in)
{
    struct wire_reader *reader = &in->reader;
    int32_t dims = wire_read_i32(reader);
    uint32_t flags = wire_read_u32(reader);
    uint32_t elem_oid = wire_read_u32(reader);
    if (reader->bad || dims < 0 || dims > WIRE_ARRAY_DIMS_MAX || flags > 1) {
        codec_fail(in->self, in->ctx, "the array's header is malformed");
        return -1;
    }
    if (elem_oid != in->self->elem->oid) {
        codec_fail(in->self, in->ctx, "its elements have type OID %lu, not %lu",
                   (unsigned long)elem_oid, (unsigned long)in->self->elem->oid);
        return -1;
    }
    in->dims = dims;
    uint64_t count = dims > 0;
    for (int i = 0; i < dims; i++) {
        int32_t len = wire_read_i32(reader);
        wire_read_i32(reader); /* the lower bound */
        in->len[i] = (size_t)len;
        /* Bounded by the length of a message each time, so it cannot overflow. */
        count *= len < 0 ? UINT32_MAX : (uint64_t)len;
        if (reader->bad || len < 0 || count > wire_reader_left(reader) / 4) {
            codec_fail(in->self, in->ctx, "the array's dimensions do not fit its length");
            return -1;
        }
    }
    return (Py_ssize_t)count;
}

/* The next element, None included; NULL with an exception. */
static PyObject *
container_read_element(struct container_in *in)
{
    int32_t len = wire_read_i32(&in->reader);
    if (in->reader.bad || len < -1) {
        return codec_fail(in->self, in->ctx, "an element's length is malformed");
    }
    if (len == -1) {
        return Py_NewRef(Py_None);
    }
    wire_slice value = wire_read_bytes(&in->reader, (size_t)len);
    if (in->reader.bad) {
        return codec_fail(in->self, in->ctx, "an element goes beyond the array");
    }
    return codec_decode(in->self->elem, in->ctx, value);
}

/* The list at depth `dim` with all that is in it; at most six levels deep. The
 * collector does not see it before it is full: decoding may run Python code. */
static PyObject *
container_read_list(struct container_in *in, int dim)
{
    PyObject *list = PyList_New((Py_ssize_t)in->len[dim]);
    if (list == NULL) {
        return NULL;
    }
    PyObject_GC_UnTrack(list);
    for (size_t i = 0; i < in->len[dim]; i++) {
        PyObject *item =
            dim + 1 == in->dims ? container_read_element(in) : container_read_list(in, dim + 1);
        if (item == NULL) {
            Py_DECREF(list);
            return NULL;
        }
        PyList_SET_ITEM(list, (Py_ssize_t)i, item);
    }
    PyObject_GC_Track(list);
    return list;
}

PyObject *
codec_array_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    struct container_in in = {.self = self, .ctx = ctx, .reader = wire_reader_of(value)};
    Py_ssize_t count = container_read_dims(&in);
    if (count < 0) {
        return NULL;
    }
    if (!container_enter(ctx)) {
        return codec_fail(self, ctx, "containers are nested too deeply");
    }
    PyObject *list = count == 0 ? PyList_New(0) : container_read_list(&in, 0);
    ctx->depth -= 1;
    if (list != NULL && !wire_reader_end(&in.reader)) {
        Py_DECREF(list);
        return codec_fail(self, ctx, "there are bytes behind the array");
    }
    return list;
}

static int
container_is_list(PyObject *value)
{
    return PyList_Check(value) || PyTuple_Check(value);
}

/* Whether an item of an array is a dimension more, not an element. */
static int
container_is_level(const struct container_out *array, PyObject *item)
{
    return array->self->elem->tuples ? PyList_Check(item) : container_is_list(item);
}

/* Finds the dimensions by the first element of each level. False with an exception. */
static int
container_measure(struct container_out *array, PyObject *value)
{
    PyObject *level = value;
    Py_INCREF(level);
    do {
        Py_ssize_t len = PySequence_Fast_GET_SIZE(level);
        if (array->dims == WIRE_ARRAY_DIMS_MAX || len > INT32_MAX) {
            Py_DECREF(level);
            codec_fail_value(array->self, array->ctx, value,
                             "an array has at most 6 dimensions of 2147483647 elements");
            return 0;
        }
        array->len[array->dims++] = len;
        if (len == 0) {
            break;
        }
        PyObject *first = PySequence_Fast_GET_ITEM(level, 0);
        Py_INCREF(first);
        Py_SETREF(level, first);
    } while (container_is_level(array, level));
    Py_DECREF(level);
    return 1;
}

static enum codec_outcome
container_fail_shape(struct container_out *array, PyObject *item)
{
    return codec_fail_value(array->self, array->ctx, item,
                            "every list of one level must have the same length and depth");
}

/* Writes one element with its length in front of it. */
static enum codec_outcome
container_put_element(struct container_out *array, PyObject *item)
{
    struct wire_buffer *out = array->out;
    const struct codec *elem = array->self->elem;
    if (item == Py_None) {
        array->has_null = 1;
        wire_buffer_put_u32(out, UINT32_MAX);
        return CODEC_BINARY;
    }
    if (container_is_level(array, item)) {
        return container_fail_shape(array, item);
    }
    size_t mark = wire_buffer_mark(out);
    wire_buffer_put_u32(out, 0);
    enum codec_outcome outcome = elem->encode(elem, array->ctx, item, out);
    if (outcome == CODEC_TEXT) {
        return codec_fail_value(array->self, array->ctx, item,
                                "give elements as %s, or the whole array as a str literal",
                                elem->name);
    }
    if (outcome == CODEC_BINARY && out->failed == WIRE_OK) {
        size_t len = wire_buffer_mark(out) - mark - 4;
        wire_store_u32(out->data + out->start + mark, (uint32_t)len);
    }
    return outcome;
}

static enum codec_outcome
container_put_items(struct container_out *array, PyObject *items, int dim);

/* Writes a list of depth `dim`. A list is copied first: encoding an element may
 * run Python code that changes it. */
static enum codec_outcome
container_put_list(struct container_out *array, PyObject *list, int dim)
{
    if (dim > 0 && !container_is_level(array, list)) {
        return container_fail_shape(array, list);
    }
    PyObject *items = PyTuple_Check(list) ? Py_NewRef(list) : PyList_AsTuple(list);
    if (items == NULL) {
        return CODEC_ERROR;
    }
    enum codec_outcome outcome = CODEC_ERROR;
    if (PyTuple_GET_SIZE(items) != array->len[dim]) {
        container_fail_shape(array, list);
    }
    else {
        outcome = container_put_items(array, items, dim);
    }
    Py_DECREF(items);
    return outcome;
}

static enum codec_outcome
container_put_items(struct container_out *array, PyObject *items, int dim)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(items); i++) {
        PyObject *item = PyTuple_GET_ITEM(items, i);
        enum codec_outcome outcome = dim + 1 == array->dims
                                         ? container_put_element(array, item)
                                         : container_put_list(array, item, dim + 1);
        if (outcome == CODEC_ERROR) {
            return CODEC_ERROR;
        }
    }
    return CODEC_BINARY;
}

static void
container_put_header(struct container_out *array, int dims)
{
    wire_buffer_put_u32(array->out, (uint32_t)dims);
    wire_buffer_put_u32(array->out, 0);
    wire_buffer_put_u32(array->out, array->self->elem->oid);
    for (int i = 0; i < dims; i++) {
        wire_buffer_put_u32(array->out, (uint32_t)array->len[i]);
        wire_buffer_put_u32(array->out, 1);
    }
}

/* Writes a list or tuple whose shape has been measured. */
static enum codec_outcome
container_put(struct container_out *array, PyObject *value)
{
    struct wire_buffer *out = array->out;
    size_t mark = wire_buffer_mark(out);
    /* The server has one empty array, without dimensions: [], [[], []]. */
    container_put_header(array, array->len[array->dims - 1] == 0 ? 0 : array->dims);
    enum codec_outcome outcome = container_put_list(array, value, 0);
    if (outcome == CODEC_BINARY && out->failed != WIRE_OK) {
        return codec_fail_room(array->self, array->ctx, value, out);
    }
    if (outcome == CODEC_BINARY && array->has_null) {
        wire_store_u32(out->data + out->start + mark + 4, 1);
    }
    return outcome;
}

enum codec_outcome
codec_array_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                   struct wire_buffer *out)
{
    if (PyUnicode_Check(value)) {
        return codec_put_str(self, ctx, value, out);
    }
    if (!container_is_list(value)) {
        return codec_fail_value(self, ctx, value, "give a list or tuple, as from list(value)");
    }
    struct container_out array = {.self = self, .ctx = ctx, .out = out};
    if (!container_measure(&array, value)) {
        return CODEC_ERROR;
    }
    if (!container_enter(ctx)) {
        return codec_fail_value(self, ctx, value, "containers are nested too deeply");
    }
    enum codec_outcome outcome = container_put(&array, value);
    ctx->depth -= 1;
    return outcome;
}
