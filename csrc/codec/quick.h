/* Values as COPY's binary format holds them, a length in front, of the classes that rows
 * are mostly made of: without a call for each. What a codec would write, or nothing. */
#ifndef CODEC_QUICK_H
#define CODEC_QUICK_H

#include "codec.h"

enum codec_quick {
    CODEC_QUICK_NONE,
    CODEC_QUICK_INT2,
    CODEC_QUICK_INT4,
    CODEC_QUICK_INT8,
    CODEC_QUICK_FLOAT8,
    CODEC_QUICK_TEXT,
};

/* How values of a type may be written. quick.c */
enum codec_quick codec_quick_of(const struct codec *codec);

static inline bool
codec_quick_put_text(PyObject *value, struct wire_buffer *out)
{
    if (!PyUnicode_CheckExact(value) || !PyUnicode_IS_COMPACT_ASCII(value)) {
        return false;
    }
    size_t len = (size_t)PyUnicode_GET_LENGTH(value);
    const void *text = PyUnicode_DATA(value);
    if (len > WIRE_MESSAGE_MAX || memchr(text, 0, len) != NULL) {
        return false;
    }
    uint8_t *p = wire_buffer_reserve(out, 4 + len);
    if (p == NULL) {
        return false;
    }
    wire_store_u32(p, (uint32_t)len);
    memcpy(p + 4, text, len);
    wire_buffer_commit(out, 4 + len);
    return true;
}

static inline bool
codec_quick_put_int(enum codec_quick quick, PyObject *value, struct wire_buffer *out)
{
    if (!PyLong_CheckExact(value)) {
        return false;
    }
    int overflow;
    long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
    uint8_t *p = wire_buffer_reserve(out, 12);
    if (overflow != 0 || p == NULL) {
        return false;
    }
    if (quick == CODEC_QUICK_INT8) {
        wire_store_u32(p, 8);
        wire_store_u64(p + 4, (uint64_t)number);
        wire_buffer_commit(out, 12);
        return true;
    }
    if (quick == CODEC_QUICK_INT4 ? number != (int32_t)number : number != (int16_t)number) {
        return false;
    }
    if (quick == CODEC_QUICK_INT4) {
        wire_store_u32(p, 4);
        wire_store_u32(p + 4, (uint32_t)number);
        wire_buffer_commit(out, 8);
        return true;
    }
    wire_store_u32(p, 2);
    wire_store_u16(p + 4, (uint16_t)number);
    wire_buffer_commit(out, 6);
    return true;
}

static inline bool
codec_quick_put_float(PyObject *value, struct wire_buffer *out)
{
    uint8_t *p = PyFloat_CheckExact(value) ? wire_buffer_reserve(out, 12) : NULL;
    if (p == NULL) {
        return false;
    }
    double number = PyFloat_AS_DOUBLE(value);
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    wire_store_u32(p, 8);
    wire_store_u64(p + 4, bits);
    wire_buffer_commit(out, 12);
    return true;
}

/* False: nothing was written, and the codec has to. */
static inline bool
codec_quick_put(enum codec_quick quick, PyObject *value, struct wire_buffer *out)
{
    switch (quick) {
    case CODEC_QUICK_TEXT:
        return codec_quick_put_text(value, out);
    case CODEC_QUICK_FLOAT8:
        return codec_quick_put_float(value, out);
    case CODEC_QUICK_INT2:
    case CODEC_QUICK_INT4:
    case CODEC_QUICK_INT8:
        return codec_quick_put_int(quick, value, out);
    case CODEC_QUICK_NONE:
        break;
    }
    return false;
}

#endif
