/* Arrays: lists in lists. Counts from the network are believed only as far as
 * the bytes that came with them. */
#include "container.h"

/* What the recursion over an array's dimensions needs. */
struct array_in {
    const struct codec *self;
    struct codec_ctx *ctx;
    struct wire_reader reader;
    int dims;
    bool bounded; /* some lower bound is not 1 */
    size_t len[WIRE_ARRAY_DIMS_MAX];
    int32_t lower[WIRE_ARRAY_DIMS_MAX];
};

struct array_out {
    const struct codec *self;
    struct codec_ctx *ctx;
    struct wire_buffer *out;
    int dims;
    int dims_max; /* deeper lists are elements */
    bool text;
    bool has_null;
    bool bounded;
    Py_ssize_t len[WIRE_ARRAY_DIMS_MAX];
    int32_t lower[WIRE_ARRAY_DIMS_MAX];
};

/* Reads the header and the dimensions. Gives the number of elements, or -1 with
 * an exception set. */
static Py_ssize_t
array_read_dims(struct array_in *in)
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
        in->lower[i] = wire_read_i32(reader);
        in->bounded = in->bounded || in->lower[i] != 1;
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
array_read_element(struct array_in *in)
{
    wire_slice value;
    bool null;
    if (!container_read(in->self, in->ctx, &in->reader, &value, &null)) {
        return NULL;
    }
    return null ? Py_NewRef(Py_None) : codec_decode(in->self->elem, in->ctx, value);
}

/* The list at depth `dim` with all that is in it; at most six levels deep. The
 * collector does not see it before it is full: decoding may run Python code. */
static PyObject *
array_read_list(struct array_in *in, int dim)
{
    PyObject *list = PyList_New((Py_ssize_t)in->len[dim]);
    if (list == NULL) {
        return NULL;
    }
    PyObject_GC_UnTrack(list);
    for (size_t i = 0; i < in->len[dim]; i++) {
        PyObject *item =
            dim + 1 == in->dims ? array_read_element(in) : array_read_list(in, dim + 1);
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
array_with_bounds(struct codec_ctx *ctx, PyObject *list, const int32_t *lower, int dims)
{
    PyObject *array = NULL;
    PyObject *bounds = PyTuple_New(dims);
    for (int i = 0; bounds != NULL && i < dims; i++) {
        PyObject *bound = PyLong_FromLong(lower[i]);
        if (bound == NULL) {
            Py_CLEAR(bounds);
            break;
        }
        PyTuple_SET_ITEM(bounds, i, bound);
    }
    if (bounds != NULL) {
        array = PyObject_CallFunctionObjArgs(ctx->types->array, list, bounds, NULL);
        Py_DECREF(bounds);
    }
    Py_DECREF(list);
    return array;
}

static bool
array_is_of_json(const struct codec *elem)
{
    return elem->encode == codec_json_encode || elem->encode == codec_jsonb_encode;
}

/* Whether its elements are of a domain over an array type: lists that are no level of
 * the array itself. A plain list has one level then, a types.Array says how many. */
static bool
array_is_of_arrays(const struct codec *self)
{
    return self->elem->encode == codec_array_encode || self->elem->encode == codec_textarray_encode;
}

/* Whether a list `dims` levels deep holds lists beyond that. */
static bool
array_holds_lists(PyObject *list, int dims)
{
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list); i++) {
        PyObject *item = PyList_GET_ITEM(list, i);
        if (dims == 1 ? PyList_Check(item) : array_holds_lists(item, dims - 1)) {
            return true;
        }
    }
    return false;
}

bool
array_hides_levels(const struct codec *self, PyObject *list, int dims)
{
    return (dims > 1 && array_is_of_arrays(self))
           || (dims > 0 && array_is_of_json(self->elem) && array_holds_lists(list, dims));
}

/* A plain list, unless more has to be known to send it back. Steals `list`. */
static PyObject *
array_finish(struct array_in *in, PyObject *list)
{
    if (in->bounded || array_hides_levels(in->self, list, in->dims)) {
        return array_with_bounds(in->ctx, list, in->lower, in->dims);
    }
    return list;
}

PyObject *
codec_array_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    struct array_in in = {.self = self, .ctx = ctx, .reader = wire_reader_of(value)};
    Py_ssize_t count = array_read_dims(&in);
    if (count < 0) {
        return NULL;
    }
    if (!container_enter(ctx)) {
        return codec_fail(self, ctx, "containers are nested too deeply");
    }
    PyObject *list = count == 0 ? PyList_New(0) : array_read_list(&in, 0);
    container_leave(ctx);
    if (list != NULL && !wire_reader_end(&in.reader)) {
        Py_DECREF(list);
        return codec_fail(self, ctx, "there are bytes behind the array");
    }
    return list == NULL || count == 0 ? list : array_finish(&in, list);
}

/* Sending: what is a level of the array, and what an element */

/* True for sequences with an order that are no strings; numpy's are told by tolist. */
static bool
array_is_sequence(PyObject *value)
{
    if (PyType_HasFeature(Py_TYPE(value), Py_TPFLAGS_SEQUENCE)) {
        return true;
    }
    PySequenceMethods *methods = Py_TYPE(value)->tp_as_sequence;
    if (methods == NULL || methods->sq_item == NULL || PyUnicode_Check(value)
        || PyBytes_Check(value) || PyByteArray_Check(value)) {
        return false;
    }
    PyObject *tolist = PyObject_GetAttrString((PyObject *)Py_TYPE(value), "tolist");
    Py_XDECREF(tolist);
    PyErr_Clear();
    return tolist != NULL;
}

/* Whether `value`, met in an array, is one more level of it. */
static bool
array_nests(const struct array_out *array, PyObject *value)
{
    const struct codec *elem = array->self->elem;
    if (PyList_CheckExact(value)) {
        return true;
    }
    if (PyList_Check(value)) { /* a subclass may be what people use for the element */
        return elem->encode != codec_multirange_encode && elem->encode != codec_vector_encode;
    }
    if (elem->encode == codec_bytea_encode && PyObject_CheckBuffer(value)) {
        return false;
    }
    /* Of what a user has registered only lists are levels, as of tuples. */
    return !elem->tuples && elem->arg == NULL && array_is_sequence(value);
}

/* The items of a sequence as a tuple; NULL with an exception. */
static PyObject *
array_items(const struct array_out *array, PyObject *value)
{
    if (PyTuple_Check(value)) {
        return Py_NewRef(value);
    }
    if (PyList_Check(value)) {
        return PyList_AsTuple(value);
    }
    PyObject *items = PyObject_HasAttrString(value, "tolist")
                          ? PyObject_CallMethod(value, "tolist", NULL)
                          : PySequence_Tuple(value);
    if (items != NULL && PyList_Check(items)) {
        Py_SETREF(items, PyList_AsTuple(items));
    }
    if (items == NULL || !PyTuple_Check(items)) {
        Py_XDECREF(items);
        codec_fail_raised(array->self, array->ctx, value, "give a list of its elements");
        return NULL;
    }
    return items;
}

static inline bool
array_is_list(PyObject *value)
{
    return PyType_HasFeature(Py_TYPE(value), Py_TPFLAGS_LIST_SUBCLASS | Py_TPFLAGS_TUPLE_SUBCLASS);
}

/* One step down: the length of `level` into the next dimension, its first item into
 * *first (NULL when it is empty). False with an exception about `value`, the array. */
static bool
array_measure_level(struct array_out *array, PyObject *value, PyObject *level, PyObject **first)
{
    PyObject *items = array_is_list(level) ? Py_NewRef(level) : array_items(array, level);
    if (items == NULL) {
        return false;
    }
    Py_ssize_t len = PySequence_Fast_GET_SIZE(items);
    bool fits = array->dims < WIRE_ARRAY_DIMS_MAX && len <= INT32_MAX;
    if (fits) {
        array->len[array->dims++] = len;
        *first = len == 0 ? NULL : Py_NewRef(PySequence_Fast_GET_ITEM(items, 0));
    }
    else {
        codec_fail_value(array->self, array->ctx, value,
                         "an array has at most 6 dimensions of 2147483647 elements");
    }
    Py_DECREF(items);
    return fits;
}

/* Finds the dimensions by the first element of each level. False with an exception. */
static bool
array_measure(struct array_out *array, PyObject *value)
{
    bool good = true;
    PyObject *level = Py_NewRef(value);
    while (good && level != NULL && array->dims < array->dims_max
           && (array->dims == 0 || array_nests(array, level))) {
        PyObject *first = NULL;
        good = array_measure_level(array, value, level, &first);
        Py_SETREF(level, first);
    }
    Py_XDECREF(level);
    return good;
}

/* The lower bounds of a types.Array: how many there are, at most six; -1 with an
 * exception. */
static int
array_read_bounds(struct array_out *array, PyObject *value)
{
    PyObject *bounds = PyObject_GetAttrString(value, "lower_bounds");
    Py_ssize_t count = bounds != NULL && PyTuple_Check(bounds) ? PyTuple_GET_SIZE(bounds) : -1;
    bool good = count >= 0 && count <= WIRE_ARRAY_DIMS_MAX;
    for (Py_ssize_t i = 0; good && i < count; i++) {
        int overflow = 0;
        PyObject *bound = PyTuple_GET_ITEM(bounds, i);
        long lower = PyLong_Check(bound) ? PyLong_AsLongAndOverflow(bound, &overflow) : 0;
        good = PyLong_Check(bound) && !overflow && lower >= INT32_MIN && lower <= INT32_MAX;
        array->lower[i] = (int32_t)lower;
    }
    Py_XDECREF(bounds);
    if (!good) {
        codec_fail_raised(array->self, array->ctx, value,
                          "its lower_bounds are not a tuple of at most six int4");
        return -1;
    }
    return (int)count;
}

/* Takes the bounds that were read, if they are of the dimensions that were measured. */
static bool
array_apply_bounds(struct array_out *array, PyObject *value, int count)
{
    array->bounded = count == array->dims;
    for (int i = 0; i < array->dims; i++) {
        if (!array->bounded) {
            array->lower[i] = 1;
        }
        else if ((int64_t)array->lower[i] + array->len[i] - 1 > INT32_MAX) {
            codec_fail_value(array->self, array->ctx, value, "its upper bound is over 2147483647");
            return false;
        }
    }
    return true;
}

/* Dimensions and lower bounds. False with an exception. */
static bool
array_inspect(struct array_out *array, PyObject *value)
{
    PyTypeObject *with_bounds = (PyTypeObject *)array->ctx->types->array;
    int bounds = 0;
    const bool of_arrays = array_is_of_arrays(array->self);
    array->dims_max = of_arrays ? 1 : WIRE_ARRAY_DIMS_MAX + 1;
    if (!PyList_CheckExact(value) && PyObject_TypeCheck(value, with_bounds)) {
        bounds = array_read_bounds(array, value);
        if (bounds < 0) {
            return false;
        }
        if (bounds > 0 && (of_arrays || array_is_of_json(array->self->elem))) {
            array->dims_max = bounds;
        }
    }
    return array_measure(array, value) && array_apply_bounds(array, value, bounds);
}

/* Sending: the bytes */

static enum codec_outcome
array_fail_shape(struct array_out *array, PyObject *item)
{
    return codec_fail_value(array->self, array->ctx, item,
                            "every list of one level must have the same length and depth");
}

/* Writes one element: with its length in front of it, or as quoted text. */
static inline enum codec_outcome
array_put_element(struct array_out *array, PyObject *item, bool text)
{
    struct wire_buffer *out = array->out;
    if (item == Py_None) {
        array->has_null = true;
        if (text) {
            wire_buffer_put(out, "NULL", 4);
            return CODEC_TEXT;
        }
        wire_buffer_put_u32(out, UINT32_MAX);
        return CODEC_BINARY;
    }
    if (array_is_list(item) && array->dims < array->dims_max && array_nests(array, item)) {
        return array_fail_shape(array, item);
    }
    return text ? textform_put(array->self->elem, array->ctx, item, out)
                : container_put(array->self->elem, array->ctx, item, out);
}

static enum codec_outcome array_put_items(struct array_out *array, PyObject *items, int dim);

/* Writes a level of depth `dim`. A list is copied first: encoding an element may
 * run Python code that changes it. */
static enum codec_outcome
array_put_level(struct array_out *array, PyObject *level, int dim)
{
    if (dim > 0 && !array_nests(array, level)) {
        return array_fail_shape(array, level);
    }
    PyObject *items = array_items(array, level);
    if (items == NULL) {
        return CODEC_ERROR;
    }
    enum codec_outcome outcome = CODEC_ERROR;
    if (PyTuple_GET_SIZE(items) != array->len[dim]) {
        array_fail_shape(array, level);
    }
    else {
        outcome = array_put_items(array, items, dim);
    }
    Py_DECREF(items);
    return outcome;
}

/* CODEC_TEXT ends the binary form at the first element that gives it. */
static enum codec_outcome
array_put_items(struct array_out *array, PyObject *items, int dim)
{
    const bool text = array->text;
    const bool innermost = dim + 1 == array->dims;
    const enum codec_outcome wanted = text ? CODEC_TEXT : CODEC_BINARY;
    char separator = '{';
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(items); i++) {
        PyObject *item = PyTuple_GET_ITEM(items, i);
        if (text) {
            wire_buffer_put_u8(array->out, (uint8_t)separator);
            separator = container_delimiter(array->self);
        }
        enum codec_outcome outcome = innermost ? array_put_element(array, item, text)
                                               : array_put_level(array, item, dim + 1);
        if (outcome != wanted) {
            return outcome;
        }
    }
    if (text) {
        wire_buffer_put_u8(array->out, '}');
    }
    return wanted;
}

static void
array_put_header(struct array_out *array, int dims)
{
    wire_buffer_put_u32(array->out, (uint32_t)dims);
    wire_buffer_put_u32(array->out, 0);
    wire_buffer_put_u32(array->out, array->self->elem->oid);
    for (int i = 0; i < dims; i++) {
        wire_buffer_put_u32(array->out, (uint32_t)array->len[i]);
        wire_buffer_put_u32(array->out, (uint32_t)array->lower[i]);
    }
}

/* Writes a sequence whose shape has been measured. */
static enum codec_outcome
array_put_binary(struct array_out *array, PyObject *value)
{
    struct wire_buffer *out = array->out;
    size_t mark = wire_buffer_mark(out);
    /* The server has one empty array, without dimensions: [], [[], []]. */
    array_put_header(array, array->len[array->dims - 1] == 0 ? 0 : array->dims);
    enum codec_outcome outcome = array_put_level(array, value, 0);
    if (outcome == CODEC_BINARY && array->has_null && out->failed == WIRE_OK) {
        wire_store_u32(out->data + out->start + mark + 4, 1);
    }
    return outcome;
}

/* [lower:upper]…={…} */
static enum codec_outcome
array_put_literal(struct array_out *array, PyObject *value)
{
    struct wire_buffer *out = array->out;
    array->text = true;
    if (array->len[array->dims - 1] == 0) {
        size_t mark = wire_buffer_mark(out);
        enum codec_outcome outcome = array_put_level(array, value, 0); /* checks the shape */
        wire_buffer_rollback(out, mark);
        wire_buffer_put(out, "{}", 2);
        return outcome;
    }
    for (int i = 0; array->bounded && i < array->dims; i++) {
        char bounds[32];
        long upper = (long)((int64_t)array->lower[i] + array->len[i] - 1);
        int len = snprintf(bounds, sizeof bounds, "[%ld:%ld]%s", (long)array->lower[i], upper,
                           i + 1 == array->dims ? "=" : "");
        wire_buffer_put(out, bounds, (size_t)len);
    }
    return array_put_level(array, value, 0);
}

/* Binary, and where an element has only a text form, text from the beginning. */
static enum codec_outcome
array_put(struct array_out *array, PyObject *value, bool text)
{
    size_t mark = wire_buffer_mark(array->out);
    enum codec_outcome outcome = text ? CODEC_TEXT : array_put_binary(array, value);
    if (outcome == CODEC_TEXT) {
        wire_buffer_rollback(array->out, mark);
        outcome = array_put_literal(array, value);
    }
    return outcome;
}

static enum codec_outcome
array_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
             struct wire_buffer *out, bool text)
{
    struct array_out array = {.self = self, .ctx = ctx, .out = out};
    if (PyUnicode_Check(value)) {
        return codec_put_str(self, ctx, value, out);
    }
    if (!array_is_list(value) && !array_is_sequence(value)) {
        return codec_fail_value(self, ctx, value, "give a list or tuple, as from list(value)");
    }
    if (!array_inspect(&array, value)) {
        return CODEC_ERROR;
    }
    if (!container_enter(ctx)) {
        return codec_fail_value(self, ctx, value, "containers are nested too deeply");
    }
    enum codec_outcome outcome = array_put(&array, value, text);
    container_leave(ctx);
    return container_end(self, ctx, value, out, outcome);
}

enum codec_outcome
codec_array_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                   struct wire_buffer *out)
{
    return array_encode(self, ctx, value, out, false);
}

enum codec_outcome
array_put_text(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
               struct wire_buffer *out)
{
    return array_encode(self, ctx, value, out, true);
}

PyObject *
codec_textarray_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    return textform_array(self, ctx, value);
}

enum codec_outcome
codec_textarray_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                       struct wire_buffer *out)
{
    return array_encode(self, ctx, value, out, true);
}
