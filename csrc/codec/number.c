/* bool, int2, int4, int8, oid, float4, float8, numeric. */
#include "families.h"

#include <float.h>
#include <math.h>

#include "../wire/numeric.h"

PyObject *
codec_bool_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    if (value.ptr[0] > 1) {
        return codec_fail(self, ctx, "byte %d is neither 0 nor 1", (int)value.ptr[0]);
    }
    return Py_NewRef(value.ptr[0] ? Py_True : Py_False);
}

enum codec_outcome
codec_bool_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                  struct wire_buffer *out)
{
    if (PyBool_Check(value)) {
        uint8_t byte = value == Py_True;
        return codec_put_bytes(self, ctx, value, &byte, 1, out);
    }
    if (PyUnicode_Check(value)) {
        return codec_put_str(self, ctx, value, out);
    }
    return codec_fail_value(self, ctx, value, "give True or False");
}

PyObject *
codec_int2_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    (void)self, (void)ctx;
    return PyLong_FromLong(wire_load_i16(value.ptr));
}

PyObject *
codec_int4_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    (void)self, (void)ctx;
    return PyLong_FromLong(wire_load_i32(value.ptr));
}

PyObject *
codec_int8_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    (void)self, (void)ctx;
    return PyLong_FromLongLong(wire_load_i64(value.ptr));
}

PyObject *
codec_oid_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    (void)self, (void)ctx;
    uint32_t oid = wire_load_u32(value.ptr);
    /* Where a long holds it, that way is shorter. */
    return sizeof(long) > sizeof oid ? PyLong_FromLong((long)oid) : PyLong_FromUnsignedLong(oid);
}

/* int(value), but only of a number that is small enough to be worth making: a
 * Decimal may have a billion digits. NULL, with or without an exception. */
static PyObject *
number_truncate(struct codec_ctx *ctx, PyObject *value)
{
    if (PyFloat_Check(value)) {
        return PyNumber_Long(value);
    }
    PyObject *adjusted = PyObject_CallMethodNoArgs(value, ctx->types->str_adjusted);
    if (adjusted == NULL) {
        return NULL;
    }
    int overflow;
    long long exponent = PyLong_AsLongLongAndOverflow(adjusted, &overflow);
    Py_DECREF(adjusted);
    if (overflow != 0 || exponent > 30) {
        return NULL;
    }
    return PyNumber_Long(value);
}

static int
number_is_decimal(struct codec_ctx *ctx, PyObject *value)
{
    return PyObject_TypeCheck(value, (PyTypeObject *)ctx->types->decimal_type);
}

/* A float or Decimal that is an integer, as a new int; NULL with an exception. */
static PyObject *
number_exact(const struct codec *self, struct codec_ctx *ctx, PyObject *value)
{
    PyObject *number = number_truncate(ctx, value);
    int equal = number == NULL ? 0 : PyObject_RichCompareBool(number, value, Py_EQ);
    if (equal <= 0) {
        Py_CLEAR(number);
        codec_fail_raised(self, ctx, value, "it is not an integer of that size; round it first");
    }
    return number;
}

/* Any value that an integer type takes, as a new int; NULL with an exception. */
static PyObject *
number_as_int(const struct codec *self, struct codec_ctx *ctx, PyObject *value)
{
    if (PyFloat_Check(value) || number_is_decimal(ctx, value)) {
        return number_exact(self, ctx, value);
    }
    if (!PyIndex_Check(value)) {
        codec_fail_value(self, ctx, value, "give an int");
        return NULL;
    }
    PyObject *number = PyNumber_Index(value);
    if (number == NULL) {
        codec_fail_raised(self, ctx, value, "its __index__ failed");
    }
    return number;
}

/* The value as an int64 within min … max; false with an exception. */
static int
number_as_i64(const struct codec *self, struct codec_ctx *ctx, PyObject *value, int64_t min,
              int64_t max, int64_t *result)
{
    int overflow;
    if (PyLong_Check(value)) {
        *result = PyLong_AsLongLongAndOverflow(value, &overflow);
    }
    else {
        PyObject *number = number_as_int(self, ctx, value);
        if (number == NULL) {
            return 0;
        }
        *result = PyLong_AsLongLongAndOverflow(number, &overflow);
        Py_DECREF(number);
    }
    if (overflow != 0 || *result < min || *result > max) {
        codec_fail_value(self, ctx, value, "%s holds %lld to %lld", self->name, (long long)min,
                         (long long)max);
        return 0;
    }
    return 1;
}

/* Writes an integer type of `width` bytes; inlined with constants by its callers. */
static inline enum codec_outcome
number_put_integer(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                   struct wire_buffer *out, int64_t min, int64_t max, size_t width)
{
    if (PyUnicode_Check(value)) {
        return codec_put_str(self, ctx, value, out);
    }
    int64_t number;
    if (!number_as_i64(self, ctx, value, min, max, &number)) {
        return CODEC_ERROR;
    }
    uint8_t *p = wire_buffer_reserve(out, width);
    if (p == NULL) {
        return codec_fail_room(self, ctx, value, out);
    }
    if (width == 2) {
        wire_store_u16(p, (uint16_t)number);
    }
    else if (width == 4) {
        wire_store_u32(p, (uint32_t)number);
    }
    else {
        wire_store_u64(p, (uint64_t)number);
    }
    wire_buffer_commit(out, width);
    return CODEC_BINARY;
}

enum codec_outcome
codec_int2_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                  struct wire_buffer *out)
{
    return number_put_integer(self, ctx, value, out, INT16_MIN, INT16_MAX, 2);
}

enum codec_outcome
codec_int4_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                  struct wire_buffer *out)
{
    return number_put_integer(self, ctx, value, out, INT32_MIN, INT32_MAX, 4);
}

enum codec_outcome
codec_int8_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                  struct wire_buffer *out)
{
    return number_put_integer(self, ctx, value, out, INT64_MIN, INT64_MAX, 8);
}

enum codec_outcome
codec_oid_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                 struct wire_buffer *out)
{
    return number_put_integer(self, ctx, value, out, 0, UINT32_MAX, 4);
}

PyObject *
codec_float4_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    (void)self, (void)ctx;
    uint32_t bits = wire_load_u32(value.ptr);
    float number;
    memcpy(&number, &bits, sizeof number);
    return PyFloat_FromDouble(number);
}

PyObject *
codec_float8_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    (void)self, (void)ctx;
    uint64_t bits = wire_load_u64(value.ptr);
    double number;
    memcpy(&number, &bits, sizeof number);
    return PyFloat_FromDouble(number);
}

int
codec_double_of(PyObject *value, double *result)
{
    if (PyFloat_CheckExact(value)) {
        *result = PyFloat_AS_DOUBLE(value);
        return 1;
    }
    PyNumberMethods *methods = Py_TYPE(value)->tp_as_number;
    int known = methods != NULL && (methods->nb_float != NULL || methods->nb_index != NULL);
    if (!known || PyBool_Check(value)) {
        return 0;
    }
    *result = PyFloat_AsDouble(value);
    return *result != -1.0 || !PyErr_Occurred();
}

/* The value as a double; false with an exception. */
static int
number_as_double(const struct codec *self, struct codec_ctx *ctx, PyObject *value, double *result)
{
    if (PyBool_Check(value)) {
        *result = value == Py_True;
        return 1;
    }
    if (codec_double_of(value, result)) {
        return 1;
    }
    codec_fail_raised(self, ctx, value,
                      PyErr_Occurred() ? "it has no float value of that size"
                                       : "give a float, int or Decimal");
    return 0;
}

enum codec_outcome
codec_float4_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                    struct wire_buffer *out)
{
    if (PyUnicode_Check(value)) {
        return codec_put_str(self, ctx, value, out);
    }
    double number;
    if (!number_as_double(self, ctx, value, &number)) {
        return CODEC_ERROR;
    }
    float narrow = (float)number;
    if ((isinf(narrow) && !isinf(number)) || (narrow == 0.0F && number != 0.0)) {
        return codec_fail_value(self, ctx, value, "float4 holds 1e-45 to 3.4e38; use float8");
    }
    uint32_t bits;
    memcpy(&bits, &narrow, sizeof bits);
    uint8_t bytes[4];
    wire_store_u32(bytes, bits);
    return codec_put_bytes(self, ctx, value, bytes, sizeof bytes, out);
}

enum codec_outcome
codec_float8_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                    struct wire_buffer *out)
{
    if (PyUnicode_Check(value)) {
        return codec_put_str(self, ctx, value, out);
    }
    double number;
    if (!number_as_double(self, ctx, value, &number)) {
        return CODEC_ERROR;
    }
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    uint8_t bytes[8];
    wire_store_u64(bytes, bits);
    return codec_put_bytes(self, ctx, value, bytes, sizeof bytes, out);
}

PyObject *
codec_numeric_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    struct wire_buffer buffer;
    wire_buffer_init(&buffer);
    PyObject *result = NULL;
    PyObject *text = NULL;
    int valid = wire_numeric_to_text(value, &buffer);
    if (buffer.failed != WIRE_OK) {
        PyErr_NoMemory();
    }
    else if (!valid) {
        codec_fail(self, ctx, "not a valid numeric");
    }
    else {
        wire_slice digits = wire_buffer_unread(&buffer);
        text = PyUnicode_DecodeASCII((const char *)digits.ptr, (Py_ssize_t)digits.len, NULL);
    }
    wire_buffer_clear(&buffer, false);
    if (text != NULL) {
        result = PyObject_CallOneArg(ctx->types->decimal_exact, text);
        Py_DECREF(text);
    }
    return result;
}

/* Writes decimal text in binary; false when it is not a numeric, or on failure of `out`. */
static bool
number_put_decimal(const char *text, size_t len, struct wire_buffer *out)
{
    return wire_numeric_from_text(text, len, out) && out->failed == WIRE_OK;
}

/* The text of a float as numeric spells it; the caller frees it with PyMem_Free. */
static char *
number_float_text(double number)
{
    if (isinf(number)) {
        char *text = PyMem_Malloc(sizeof "-Infinity");
        if (text == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
        return strcpy(text, number < 0 ? "-Infinity" : "Infinity");
    }
    return PyOS_double_to_string(number, 'r', 0, 0, NULL);
}

static enum codec_outcome
number_put_float(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                 struct wire_buffer *out)
{
    char *text = number_float_text(PyFloat_AS_DOUBLE(value));
    if (text == NULL) {
        return CODEC_ERROR;
    }
    bool valid = number_put_decimal(text, strlen(text), out);
    PyMem_Free(text);
    if (!valid) {
        assert(out->failed != WIRE_OK);
        return codec_fail_room(self, ctx, value, out);
    }
    return CODEC_BINARY;
}

/* The decimal text of an int or Decimal as a new str; NULL with an exception. */
static PyObject *
number_text(const struct codec *self, struct codec_ctx *ctx, PyObject *value)
{
    if (number_is_decimal(ctx, value)) {
        PyObject *digits = PyObject_Str(value);
        if (digits == NULL) {
            codec_fail_raised(self, ctx, value, "its __str__ failed");
        }
        return digits;
    }
    if (!PyIndex_Check(value)) {
        codec_fail_value(self, ctx, value, "give a Decimal, int or float");
        return NULL;
    }
    PyObject *number = PyNumber_Index(value);
    if (number == NULL) {
        codec_fail_raised(self, ctx, value, "its __index__ failed");
        return NULL;
    }
    PyObject *text = codec_int_text(ctx, number);
    Py_DECREF(number);
    return text;
}

enum codec_outcome
codec_numeric_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                     struct wire_buffer *out)
{
    if (PyUnicode_Check(value)) {
        return codec_put_str(self, ctx, value, out);
    }
    if (PyFloat_Check(value)) {
        return number_put_float(self, ctx, value, out);
    }
    PyObject *text = number_text(self, ctx, value);
    if (text == NULL) {
        return CODEC_ERROR;
    }
    Py_ssize_t len;
    const char *utf8 = PyUnicode_AsUTF8AndSize(text, &len);
    bool valid = utf8 != NULL && number_put_decimal(utf8, (size_t)len, out);
    Py_DECREF(text);
    if (valid) {
        return CODEC_BINARY;
    }
    if (out->failed != WIRE_OK) {
        return codec_fail_room(self, ctx, value, out);
    }
    return codec_fail_value(self, ctx, value,
                            "numeric holds NaN, infinities and at most 131072 digits before and "
                            "16383 behind the point");
}
