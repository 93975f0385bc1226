/* bit and varbit. */
#include "families.h"

#define BITS_HEADER_LEN 4 /* the number of bits */

PyObject *
codec_bits_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    if (value.len < BITS_HEADER_LEN) {
        return codec_fail(self, ctx, "its length is missing");
    }
    uint32_t count = wire_load_u32(value.ptr);
    const uint8_t *bytes = value.ptr + BITS_HEADER_LEN;
    if (count > INT32_MAX || (count + UINT32_C(7)) / 8 != value.len - BITS_HEADER_LEN) {
        return codec_fail(self, ctx, "%lu bits do not fit its length", (unsigned long)count);
    }
    PyObject *text = PyUnicode_New((Py_ssize_t)count, 127);
    if (text == NULL) {
        return NULL;
    }
    Py_UCS1 *chars = PyUnicode_1BYTE_DATA(text);
    for (uint32_t i = 0; i < count; i++) {
        chars[i] = (Py_UCS1)('0' + (bytes[i / 8] >> (7 - i % 8) & 1));
    }
    PyObject *bits = PyObject_CallOneArg(ctx->types->bit_string, text);
    Py_DECREF(text);
    return bits;
}

static bool
bits_are(wire_slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] != '0' && text.ptr[i] != '1') {
            return false;
        }
    }
    return text.len <= INT32_MAX;
}

enum codec_outcome
codec_bits_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                  struct wire_buffer *out)
{
    wire_slice text;
    if (!PyUnicode_Check(value)) {
        return codec_fail_value(self, ctx, value,
                                "give a types.BitString, as from_int(value, length), or a str of "
                                "0 and 1");
    }
    if (!codec_utf8_borrow(self, ctx, value, value, &text)) {
        return CODEC_ERROR;
    }
    if (!bits_are(text)) {
        return codec_put_str(self, ctx, value, out); /* X'1F' and the like */
    }
    size_t len = BITS_HEADER_LEN + (text.len + 7) / 8;
    uint8_t *p = wire_buffer_reserve(out, len);
    if (p == NULL) {
        return codec_fail_room(self, ctx, value, out);
    }
    memset(p, 0, len);
    wire_store_u32(p, (uint32_t)text.len);
    for (size_t i = 0; i < text.len; i++) {
        p[BITS_HEADER_LEN + i / 8] |= (uint8_t)((text.ptr[i] - '0') << (7 - i % 8));
    }
    wire_buffer_commit(out, len);
    return CODEC_BINARY;
}
