/* pgvector's vector, halfvec and sparsevec. They arrive in arrays of C floats; numbers
 * to be sent are read from memory where an object has them there (buffer protocol). */
#include "families.h"

#include <math.h>

#define PGVECTOR_DIM_MAX INT16_MAX /* what the header holds; the server takes 16000 */

/* What the functions that write a value share. */
struct pgvector_out {
    const struct codec *self;
    struct codec_ctx *ctx;
    PyObject *value; /* the whole, for messages */
    struct wire_buffer *out;
    const char *remedy;
    bool half; /* IEEE binary16, not binary32 */
};

static const char pgvector_remedy[] =
    "give a Vector, or a list, tuple or one-dimensional array of numbers";
static const char pgvector_half_remedy[] =
    "give a HalfVector, or a list, tuple or one-dimensional array of numbers";
static const char pgvector_sparse_remedy[] =
    "give a SparseVector, as from SparseVector.from_dict(dim, {index: value})";

/* A binary16 as a float: every one is one. */
static float
pgvector_from_half(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    uint32_t exponent = half >> 10 & 0x1F;
    uint32_t fraction = half & 0x3FF;
    float number;
    if (exponent == 0) {
        number = (float)fraction * 0x1p-24F;
        return sign ? -number : number;
    }
    uint32_t bits = sign | fraction << 13 | (exponent == 31 ? 0x7F800000 : (exponent + 112) << 23);
    memcpy(&number, &bits, sizeof number);
    return number;
}

/* The nearest binary16, to even at the middle; what is too large gives an infinity. */
static uint16_t
pgvector_to_half(double number)
{
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    uint16_t sign = (uint16_t)(bits >> 48 & 0x8000);
    int exponent = (int)(bits >> 52 & 0x7FF) - 1023;
    uint64_t fraction = bits & 0xFFFFFFFFFFFFF;
    if (exponent == 1024 && fraction != 0) {
        return sign | 0x7E00;
    }
    if (exponent > 15) {
        return sign | 0x7C00;
    }
    if (exponent < -25) {
        return sign;
    }
    /* Below 2^-14 the last bit stays where it is, and fewer are kept. */
    int dropped = exponent < -14 ? 42 - 14 - exponent : 42;
    uint64_t significand = fraction | (uint64_t)1 << 52;
    uint64_t kept = significand >> dropped;
    uint64_t rest = significand & (((uint64_t)1 << dropped) - 1);
    uint64_t middle = (uint64_t)1 << (dropped - 1);
    kept += rest > middle || (rest == middle && (kept & 1));
    /* Carries run into the exponent, up to that of an infinity. */
    return (uint16_t)(sign | (kept + (exponent < -14 ? 0 : (uint64_t)(exponent + 14) << 10)));
}

/* `type`, a subclass of array.array, from floats or ints in memory; steals `bytes`. */
static PyObject *
pgvector_array(struct codec_ctx *ctx, PyObject *type, const char *typecode, PyObject *bytes)
{
    PyObject *args = bytes == NULL ? NULL : Py_BuildValue("(sN)", typecode, bytes);
    if (args == NULL) {
        return NULL;
    }
    PyObject *array =
        ((PyTypeObject *)ctx->types->number_array)->tp_new((PyTypeObject *)type, args, NULL);
    Py_DECREF(args);
    return array;
}

/* `count` numbers of four bytes, which are there, in the order of this machine. */
static PyObject *
pgvector_read_words(struct wire_reader *reader, size_t count)
{
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)count * 4);
    char *p = bytes == NULL ? NULL : PyBytes_AS_STRING(bytes);
    for (size_t i = 0; bytes != NULL && i < count; i++) {
        uint32_t word = wire_read_u32(reader);
        memcpy(p + i * 4, &word, 4);
    }
    return bytes;
}

static PyObject *
pgvector_read_halves(struct wire_reader *reader, size_t count)
{
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)count * 4);
    char *p = bytes == NULL ? NULL : PyBytes_AS_STRING(bytes);
    for (size_t i = 0; bytes != NULL && i < count; i++) {
        float number = pgvector_from_half(wire_read_u16(reader));
        memcpy(p + i * 4, &number, 4);
    }
    return bytes;
}

/* Reads the header of a vector whose numbers have `width` bytes; -1 with an exception. */
static int
pgvector_read_dim(const struct codec *self, struct codec_ctx *ctx, struct wire_reader *reader,
                  size_t width)
{
    int dim = wire_read_i16(reader);
    int16_t reserved = wire_read_i16(reader);
    if (reader->bad || dim < 0 || (size_t)dim * width != wire_reader_left(reader)) {
        codec_fail(self, ctx, "its dimensions do not fit its length");
        return -1;
    }
    if (reserved != 0) {
        codec_fail(self, ctx, "its header is not known");
        return -1;
    }
    return dim;
}

PyObject *
codec_pgvector_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    struct wire_reader reader = wire_reader_of(value);
    int dim = pgvector_read_dim(self, ctx, &reader, 4);
    if (dim < 0) {
        return NULL;
    }
    return pgvector_array(ctx, ctx->types->vector, "f", pgvector_read_words(&reader, (size_t)dim));
}

PyObject *
codec_halfvec_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    struct wire_reader reader = wire_reader_of(value);
    int dim = pgvector_read_dim(self, ctx, &reader, 2);
    if (dim < 0) {
        return NULL;
    }
    return pgvector_array(ctx, ctx->types->half_vector, "f",
                          pgvector_read_halves(&reader, (size_t)dim));
}

PyObject *
codec_sparsevec_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    struct wire_reader reader = wire_reader_of(value);
    int32_t dim = wire_read_i32(&reader);
    int32_t count = wire_read_i32(&reader);
    int32_t reserved = wire_read_i32(&reader);
    if (reader.bad || count < 0 || (uint64_t)count * 8 != wire_reader_left(&reader)) {
        return codec_fail(self, ctx, "its number of elements does not fit its length");
    }
    if (dim < 0 || reserved != 0) {
        return codec_fail(self, ctx, "its header is not known");
    }
    PyObject *array = ctx->types->number_array;
    PyObject *indices =
        pgvector_array(ctx, array, "i", pgvector_read_words(&reader, (size_t)count));
    PyObject *values =
        indices == NULL
            ? NULL
            : pgvector_array(ctx, array, "f", pgvector_read_words(&reader, (size_t)count));
    PyObject *sparse = NULL;
    if (values != NULL) {
        sparse = PyObject_CallFunction(ctx->types->sparse_vector, "iOO", (int)dim, indices, values);
    }
    Py_XDECREF(indices);
    Py_XDECREF(values);
    return sparse;
}

static int
pgvector_fail(const struct pgvector_out *vector)
{
    codec_fail_raised(vector->self, vector->ctx, vector->value, vector->remedy);
    return 0;
}

static int
pgvector_fail_size(const struct pgvector_out *vector)
{
    codec_fail_value(vector->self, vector->ctx, vector->value, "%s holds numbers up to %s",
                     vector->self->name, vector->half ? "65504" : "3.4e38");
    return 0;
}

static int
pgvector_fail_dim(const struct pgvector_out *vector)
{
    codec_fail_value(vector->self, vector->ctx, vector->value, "%s has at most 16000 numbers",
                     vector->self->name);
    return 0;
}

/* Stores a number at `p`; false where it is too large. */
static inline bool
pgvector_store(bool half, uint8_t *p, double number)
{
    if (half) {
        uint16_t bits = pgvector_to_half(number);
        wire_store_u16(p, bits);
        return (bits & 0x7FFF) != 0x7C00 || isinf(number);
    }
    float narrow = (float)number;
    uint32_t bits;
    memcpy(&bits, &narrow, sizeof bits);
    wire_store_u32(p, bits);
    return !isinf(narrow) || isinf(number);
}

/* What is at the front of a buffer's items: 'f' floating point, 'i' or 'u' an integer of
 * this machine with and without sign; 0: something else. */
static char
pgvector_kind(const Py_buffer *view)
{
    const uint16_t one = 1;
    const char *format = view->format == NULL ? "B" : view->format;
    char order = *(const uint8_t *)&one == 1 ? '<' : '>';
    if (*format == '@' || *format == '=' || *format == order) {
        format++;
    }
    if (*format == '\0' || format[1] != '\0') {
        return 0;
    }
    bool is_float = view->itemsize == (*format == 'e' ? 2 : *format == 'f' ? 4 : 8);
    bool is_int =
        view->itemsize == 1 || view->itemsize == 2 || view->itemsize == 4 || view->itemsize == 8;
    if (strchr("efd", *format) != NULL) {
        return is_float ? 'f' : 0;
    }
    if (strchr("bhilqn", *format) != NULL) {
        return is_int ? 'i' : 0;
    }
    return is_int && strchr("BHILQN", *format) != NULL ? 'u' : 0;
}

#define PGVECTOR_LOAD(type)                                                                        \
    do {                                                                                           \
        type number;                                                                               \
        memcpy(&number, p, sizeof number);                                                         \
        return (double)number;                                                                     \
    } while (0)

/* The number at `p`, of `size` bytes. */
static double
pgvector_load(char kind, Py_ssize_t size, const char *p)
{
    if (kind == 'f') {
        uint16_t half;
        switch (size) {
        case 2:
            memcpy(&half, p, sizeof half);
            return (double)pgvector_from_half(half);
        case 4:
            PGVECTOR_LOAD(float);
        default:
            PGVECTOR_LOAD(double);
        }
    }
    bool is_signed = kind == 'i';
    switch (size) {
    case 1:
        return is_signed ? (double)*(const int8_t *)p : (double)*(const uint8_t *)p;
    case 2:
        if (is_signed) {
            PGVECTOR_LOAD(int16_t);
        }
        PGVECTOR_LOAD(uint16_t);
    case 4:
        if (is_signed) {
            PGVECTOR_LOAD(int32_t);
        }
        PGVECTOR_LOAD(uint32_t);
    default:
        if (is_signed) {
            PGVECTOR_LOAD(int64_t);
        }
        PGVECTOR_LOAD(uint64_t);
    }
}

/* Room for `count` numbers; NULL with `out` failed, or where there are none. */
static uint8_t *
pgvector_reserve(const struct pgvector_out *vector, Py_ssize_t count)
{
    size_t width = vector->half ? 2 : 4;
    return count == 0 ? NULL : wire_buffer_reserve(vector->out, (size_t)count * width);
}

/* Stores all items of a one-dimensional buffer; false where one is too large. */
static bool
pgvector_put_view(const struct pgvector_out *vector, const Py_buffer *view, char kind)
{
    Py_ssize_t count = view->shape[0];
    size_t width = vector->half ? 2 : 4;
    uint8_t *p = pgvector_reserve(vector, count);
    for (Py_ssize_t i = 0; p != NULL && i < count; i++) {
        const char *item = (const char *)view->buf + i * view->strides[0];
        if (!pgvector_store(vector->half, p + (size_t)i * width,
                            pgvector_load(kind, view->itemsize, item))) {
            return false;
        }
    }
    if (p != NULL) {
        wire_buffer_commit(vector->out, (size_t)count * width);
    }
    return true;
}

/* Numbers that lie in memory. Gives their count, -1 with an exception, or -2 where
 * `numbers` is to be read item by item. */
static Py_ssize_t
pgvector_put_buffer(const struct pgvector_out *vector, PyObject *numbers)
{
    Py_buffer view;
    if (PyObject_GetBuffer(numbers, &view, PyBUF_RECORDS_RO) < 0) {
        if (!codec_may_convert()) {
            return -1;
        }
        PyErr_Clear();
        return -2;
    }
    char kind = pgvector_kind(&view);
    Py_ssize_t count = view.ndim == 1 ? view.shape[0] : -1;
    bool is_short = count <= PGVECTOR_DIM_MAX;
    bool fits = count < 0 || !is_short || kind == 0 || pgvector_put_view(vector, &view, kind);
    PyBuffer_Release(&view);
    if (count < 0) {
        pgvector_fail(vector);
        return -1;
    }
    if (!is_short || !fits) {
        (void)(is_short ? pgvector_fail_size(vector) : pgvector_fail_dim(vector));
        return -1;
    }
    return kind == 0 ? -2 : count;
}

/* One number of a sequence; false with an exception. */
static int
pgvector_put_number(const struct pgvector_out *vector, PyObject *item)
{
    double number;
    uint8_t bytes[4];
    if (!codec_double_of(item, &number)) {
        return pgvector_fail(vector);
    }
    if (!pgvector_store(vector->half, bytes, number)) {
        return pgvector_fail_size(vector);
    }
    wire_buffer_put(vector->out, bytes, vector->half ? 2 : 4);
    return 1;
}

/* Writes numbers, whatever holds them. Gives their count, -1 with an exception. */
static Py_ssize_t
pgvector_put_numbers(const struct pgvector_out *vector, PyObject *numbers)
{
    if (PyObject_CheckBuffer(numbers) && !PyBytes_Check(numbers) && !PyByteArray_Check(numbers)) {
        Py_ssize_t count = pgvector_put_buffer(vector, numbers);
        if (count != -2) {
            return count;
        }
    }
    PyObject *items = codec_sequence_tuple(numbers);
    Py_ssize_t count = items == NULL ? -1 : PyTuple_GET_SIZE(items);
    if (items == NULL) {
        pgvector_fail(vector);
        return -1;
    }
    int put = count <= PGVECTOR_DIM_MAX || pgvector_fail_dim(vector);
    for (Py_ssize_t i = 0; put && i < count; i++) {
        put = pgvector_put_number(vector, PyTuple_GET_ITEM(items, i));
    }
    Py_DECREF(items);
    return put ? count : -1;
}

static enum codec_outcome
pgvector_put(const struct pgvector_out *vector)
{
    struct wire_buffer *out = vector->out;
    if (PyUnicode_Check(vector->value)) {
        return codec_put_str(vector->self, vector->ctx, vector->value, out);
    }
    size_t mark = wire_buffer_mark(out);
    wire_buffer_put_u32(out, 0); /* the dimensions, and 16 bits that are reserved */
    Py_ssize_t dim = pgvector_put_numbers(vector, vector->value);
    if (dim < 0) {
        return CODEC_ERROR;
    }
    if (out->failed != WIRE_OK) {
        return codec_fail_room(vector->self, vector->ctx, vector->value, out);
    }
    wire_store_u16(out->data + out->start + mark, (uint16_t)dim);
    return CODEC_BINARY;
}

enum codec_outcome
codec_pgvector_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                      struct wire_buffer *out)
{
    struct pgvector_out vector = {self, ctx, value, out, pgvector_remedy, false};
    return pgvector_put(&vector);
}

enum codec_outcome
codec_halfvec_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                     struct wire_buffer *out)
{
    struct pgvector_out vector = {self, ctx, value, out, pgvector_half_remedy, true};
    return pgvector_put(&vector);
}

/* A dimension or index; false with an exception. */
static int
pgvector_put_index(const struct pgvector_out *vector, PyObject *item)
{
    PyObject *number = PyIndex_Check(item) ? PyNumber_Index(item) : NULL;
    int overflow = 0;
    long index = number == NULL ? -1 : PyLong_AsLongAndOverflow(number, &overflow);
    Py_XDECREF(number);
    if (index < 0 || index > INT32_MAX) {
        return pgvector_fail(vector);
    }
    wire_buffer_put_u32(vector->out, (uint32_t)index);
    return 1;
}

/* Writes what a SparseVector's attributes are; the server checks order and limits. */
static int
pgvector_put_sparse(const struct pgvector_out *vector, PyObject *dim, PyObject *indices,
                    PyObject *values)
{
    struct wire_buffer *out = vector->out;
    PyObject *items = codec_sequence_tuple(indices);
    if (items == NULL) {
        return pgvector_fail(vector);
    }
    Py_ssize_t count = PyTuple_GET_SIZE(items);
    int put = pgvector_put_index(vector, dim);
    wire_buffer_put_u32(out, (uint32_t)count);
    wire_buffer_put_u32(out, 0);
    for (Py_ssize_t i = 0; put && i < count; i++) {
        put = pgvector_put_index(vector, PyTuple_GET_ITEM(items, i));
    }
    Py_DECREF(items);
    if (!put) {
        return 0;
    }
    Py_ssize_t written = pgvector_put_numbers(vector, values);
    return written == count || (written >= 0 && pgvector_fail(vector));
}

enum codec_outcome
codec_sparsevec_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                       struct wire_buffer *out)
{
    struct pgvector_out vector = {self, ctx, value, out, pgvector_sparse_remedy, false};
    if (PyUnicode_Check(value)) {
        return codec_put_str(self, ctx, value, out);
    }
    if (!PyObject_TypeCheck(value, (PyTypeObject *)ctx->types->sparse_vector)) {
        pgvector_fail(&vector);
        return CODEC_ERROR;
    }
    PyObject *dim = PyObject_GetAttrString(value, "dim");
    PyObject *indices = dim == NULL ? NULL : PyObject_GetAttrString(value, "indices");
    PyObject *values = indices == NULL ? NULL : PyObject_GetAttrString(value, "values");
    int put = values == NULL ? pgvector_fail(&vector)
                             : pgvector_put_sparse(&vector, dim, indices, values);
    Py_XDECREF(dim);
    Py_XDECREF(indices);
    Py_XDECREF(values);
    if (put && out->failed != WIRE_OK) {
        return codec_fail_room(self, ctx, value, out);
    }
    return put ? CODEC_BINARY : CODEC_ERROR;
}
