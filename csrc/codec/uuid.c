/* uuid. A UUID is made without its __init__, which checks what cannot be wrong
 * here: the two slots of a bare object are filled through their descriptors. */
#include "families.h"

static int
uuid_set(PyObject *uuid, PyObject *slot, PyObject *value)
{
    return Py_TYPE(slot)->tp_descr_set(slot, uuid, value);
}

/* 16 bytes as an int; NULL with an exception. */
static PyObject *
uuid_number(struct codec_ctx *ctx, const uint8_t *bytes)
{
    PyObject *low = NULL;
    PyObject *shifted = NULL;
    PyObject *number = NULL;
    PyObject *high = PyLong_FromUnsignedLongLong(wire_load_u64(bytes));
    if (high == NULL) {
        goto fail;
    }
    low = PyLong_FromUnsignedLongLong(wire_load_u64(bytes + 8));
    if (low == NULL) {
        goto fail;
    }
    shifted = PyNumber_Lshift(high, ctx->types->shift);
    if (shifted != NULL) {
        number = PyNumber_Or(shifted, low);
    }
fail:
    Py_XDECREF(shifted);
    Py_XDECREF(low);
    Py_XDECREF(high);
    return number;
}

PyObject *
codec_uuid_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    (void)self;
    struct codec_types *types = ctx->types;
    PyObject *number = uuid_number(ctx, value.ptr);
    if (number == NULL) {
        return NULL;
    }
    PyTypeObject *type = (PyTypeObject *)types->uuid_type;
    PyObject *uuid = type->tp_alloc(type, 0);
    if (uuid != NULL
        && (uuid_set(uuid, types->uuid_int, number) < 0
            || uuid_set(uuid, types->uuid_is_safe, types->uuid_safe) < 0)) {
        Py_CLEAR(uuid);
    }
    Py_DECREF(number);
    return uuid;
}

/* Reads the two usual spellings: 32 hex digits, bare or in groups of 8-4-4-4-12. */
static int
uuid_parse(wire_slice text, uint8_t bytes[16])
{
    if (text.len != 32 && text.len != 36) {
        return 0;
    }
    size_t at = 0;
    for (size_t i = 0; i < 16; i++) {
        if (text.len == 36 && (i == 4 || i == 6 || i == 8 || i == 10) && text.ptr[at++] != '-') {
            return 0;
        }
        int high = codec_hex_digit(text.ptr[at]);
        int low = codec_hex_digit(text.ptr[at + 1]);
        if (high < 0 || low < 0) {
            return 0;
        }
        bytes[i] = (uint8_t)(high << 4 | low);
        at += 2;
    }
    return 1;
}

/* A str: binary where it is spelled as usual (so that it may stand in an array),
 * else as text, for the server to judge. */
static enum codec_outcome
uuid_put_str(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
             struct wire_buffer *out)
{
    wire_slice utf8;
    uint8_t bytes[16];
    if (!codec_utf8_borrow(self, ctx, value, value, &utf8)) {
        return CODEC_ERROR;
    }
    if (uuid_parse(utf8, bytes)) {
        return codec_put_bytes(self, ctx, value, bytes, sizeof bytes, out);
    }
    return codec_put_str(self, ctx, value, out);
}

/* A UUID: its int, cut into 16 bytes. */
static enum codec_outcome
uuid_put(const struct codec *self, struct codec_ctx *ctx, PyObject *value, struct wire_buffer *out)
{
    PyObject *slot = ctx->types->uuid_int;
    PyObject *number = Py_TYPE(slot)->tp_descr_get(slot, value, (PyObject *)Py_TYPE(value));
    if (number == NULL || !PyLong_Check(number)) {
        Py_XDECREF(number);
        return codec_fail_raised(self, ctx, value, "it is a UUID without a value");
    }
    uint8_t bytes[16];
    PyObject *high = PyNumber_Rshift(number, ctx->types->shift);
    if (high != NULL) {
        wire_store_u64(bytes, PyLong_AsUnsignedLongLongMask(high));
        wire_store_u64(bytes + 8, PyLong_AsUnsignedLongLongMask(number));
    }
    Py_DECREF(number);
    if (high == NULL) {
        return CODEC_ERROR;
    }
    Py_DECREF(high);
    return codec_put_bytes(self, ctx, value, bytes, sizeof bytes, out);
}

enum codec_outcome
codec_uuid_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                  struct wire_buffer *out)
{
    if (PyObject_TypeCheck(value, (PyTypeObject *)ctx->types->uuid_type)) {
        return uuid_put(self, ctx, value, out);
    }
    if (PyUnicode_Check(value)) {
        return uuid_put_str(self, ctx, value, out);
    }
    if (PyBytes_Check(value) && PyBytes_GET_SIZE(value) == 16) {
        return codec_put_bytes(self, ctx, value, PyBytes_AS_STRING(value), 16, out);
    }
    return codec_fail_value(self, ctx, value, "give a uuid.UUID, its str or its 16 bytes");
}
