/* text and its kin, "char", bytea, and the text form of types without a codec. */
#include "families.h"

#define TEXT_NAME_MAX 63

PyObject *
codec_text_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    return codec_str_of(self, ctx, value);
}

/* `value` is a str or a subclass. */
static enum codec_outcome
text_put(const struct codec *self, struct codec_ctx *ctx, PyObject *value, struct wire_buffer *out)
{
    wire_slice utf8;
    if (!codec_utf8_borrow(self, ctx, value, value, &utf8)) {
        return CODEC_ERROR;
    }
    return codec_put_bytes(self, ctx, value, utf8.ptr, utf8.len, out);
}

/* Writes what a function made of `value` and returned as a str; steals `text`. */
static enum codec_outcome
text_put_made(const struct codec *self, struct codec_ctx *ctx, PyObject *value, PyObject *text,
              struct wire_buffer *out)
{
    wire_slice utf8;
    enum codec_outcome outcome = CODEC_ERROR;
    if (text != NULL && codec_utf8_borrow(self, ctx, value, text, &utf8)) {
        outcome = codec_put_bytes(self, ctx, value, utf8.ptr, utf8.len, out);
    }
    Py_XDECREF(text);
    return outcome;
}

PyObject *
codec_name_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    return codec_str_of(self, ctx, value);
}

/* A name has at most 63 bytes in the database's encoding, which need not be UTF-8. The
 * server refuses a longer one in binary, and cuts it as text: where it has to. */
enum codec_outcome
codec_name_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                  struct wire_buffer *out)
{
    size_t mark = wire_buffer_mark(out);
    enum codec_outcome outcome = codec_text_encode(self, ctx, value, out);
    bool too_long = wire_buffer_mark(out) - mark > TEXT_NAME_MAX;
    return outcome == CODEC_BINARY && too_long ? CODEC_TEXT : outcome;
}

enum codec_outcome
codec_text_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                  struct wire_buffer *out)
{
    if (PyUnicode_Check(value)) {
        return text_put(self, ctx, value, out);
    }
    if (PyLong_Check(value) && !PyBool_Check(value)) {
        return text_put_made(self, ctx, value, codec_int_text(ctx, value), out);
    }
    if (PyBytes_Check(value) || PyByteArray_Check(value)) {
        return codec_fail_value(self, ctx, value, "give a str, by .decode(), or use bytea");
    }
    return codec_fail_value(self, ctx, value, "give a str, as from str(value)");
}

PyObject *
codec_raw_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    return codec_str_of(self, ctx, value);
}

/* The text the server's own parser reads as the same value, for what has one
 * spelling; NULL without an exception for everything else. */
static PyObject *
text_spelling(struct codec_ctx *ctx, PyObject *value)
{
    if (PyBool_Check(value)) {
        return PyUnicode_FromString(value == Py_True ? "true" : "false");
    }
    if (PyLong_Check(value)) {
        return codec_int_text(ctx, value);
    }
    if (PyFloat_Check(value)) {
        return PyFloat_Type.tp_repr(value);
    }
    if (PyObject_TypeCheck(value, (PyTypeObject *)ctx->types->decimal_type)
        || PyObject_TypeCheck(value, (PyTypeObject *)ctx->types->uuid_type)) {
        return PyObject_Str(value);
    }
    return NULL;
}

enum codec_outcome
codec_raw_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                 struct wire_buffer *out)
{
    if (PyUnicode_Check(value)) {
        return codec_put_str(self, ctx, value, out);
    }
    PyObject *text = text_spelling(ctx, value);
    if (text == NULL) {
        return codec_fail_raised(self, ctx, value, "give its text form as a str");
    }
    enum codec_outcome outcome = text_put_made(self, ctx, value, text, out);
    return outcome == CODEC_ERROR ? CODEC_ERROR : CODEC_TEXT;
}

/* A "char" is one byte: 0 is the empty string, and what is not ASCII is written
 * \ooo, as the server itself does. */
PyObject *
codec_char_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    (void)self, (void)ctx;
    unsigned byte = value.ptr[0];
    if (byte < 0x80) {
        return byte == 0 ? PyUnicode_New(0, 0) : PyUnicode_FromOrdinal((int)byte);
    }
    char octal[5] = {'\\', (char)('0' + (byte >> 6)), (char)('0' + (byte >> 3 & 7)),
                     (char)('0' + (byte & 7)), 0};
    return PyUnicode_FromString(octal);
}

/* The byte that `text` spells, or -1. */
static int
text_char_byte(wire_slice text)
{
    if (text.len == 0) {
        return 0;
    }
    if (text.len == 1) {
        return text.ptr[0];
    }
    if (text.len != 4 || text.ptr[0] != '\\' || text.ptr[1] < '0' || text.ptr[1] > '3') {
        return -1;
    }
    int byte = text.ptr[1] - '0';
    for (int i = 2; i < 4; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '7') {
            return -1;
        }
        byte = byte * 8 + text.ptr[i] - '0';
    }
    return byte;
}

enum codec_outcome
codec_char_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                  struct wire_buffer *out)
{
    if (!PyUnicode_Check(value)) {
        return codec_fail_value(self, ctx, value, "give a str of at most one character");
    }
    wire_slice utf8;
    if (!codec_utf8_borrow(self, ctx, value, value, &utf8)) {
        return CODEC_ERROR;
    }
    int code = text_char_byte(utf8);
    if (code < 0) {
        return codec_fail_value(self, ctx, value,
                                "it holds one ASCII character or \\ooo (octal); use text");
    }
    uint8_t byte = (uint8_t)code;
    return codec_put_bytes(self, ctx, value, &byte, 1, out);
}

PyObject *
codec_bytea_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    (void)self, (void)ctx;
    return PyBytes_FromStringAndSize((const char *)value.ptr, (Py_ssize_t)value.len);
}

enum codec_outcome
codec_bytea_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                   struct wire_buffer *out)
{
    if (PyBytes_CheckExact(value)) {
        return codec_put_bytes(self, ctx, value, PyBytes_AS_STRING(value),
                               (size_t)PyBytes_GET_SIZE(value), out);
    }
    if (PyUnicode_Check(value)) {
        return codec_put_str(self, ctx, value, out);
    }
    Py_buffer view;
    if (!PyObject_CheckBuffer(value)) {
        return codec_fail_value(self, ctx, value, "give bytes, bytearray or memoryview");
    }
    if (PyObject_GetBuffer(value, &view, PyBUF_SIMPLE) < 0) {
        return codec_fail_raised(self, ctx, value,
                                 "its buffer is not contiguous; give bytes(value)");
    }
    enum codec_outcome outcome = codec_put_bytes(self, ctx, value, view.buf, (size_t)view.len, out);
    PyBuffer_Release(&view);
    return outcome;
}
