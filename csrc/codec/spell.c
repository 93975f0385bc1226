/* A value as the text that COPY's text and csv formats hold. What a program most often
 * sends is spelt here, the rest by textform.c. */
#include "container.h"

char
container_delimiter(const struct codec *array)
{
    PyObject *given = array->arg;
    if (given != NULL && PyUnicode_Check(given) && PyUnicode_GET_LENGTH(given) == 1) {
        return (char)PyUnicode_READ_CHAR(given, 0);
    }
    const struct codec *elem = array->elem;
    while (elem->encode == codec_array_encode) { /* a domain over an array */
        elem = elem->elem;
    }
    return elem->encode == codec_box_encode ? ';' : ',';
}

static bool
spell_is_integer(const struct codec *codec)
{
    codec_encode_fn encode = codec->encode;
    return encode == codec_int2_encode || encode == codec_int4_encode || encode == codec_int8_encode
           || encode == codec_oid_encode;
}

/* The text of a value whose codec has taken it; NULL without an exception: there is no
 * short way. */
static PyObject *
spell_plain(const struct codec *codec, struct codec_ctx *ctx, PyObject *value)
{
    if (PyLong_CheckExact(value)
        && (spell_is_integer(codec) || codec->encode == codec_numeric_encode)) {
        return codec_int_text(ctx, value);
    }
    if (PyFloat_CheckExact(value) && codec->encode == codec_float8_encode) {
        return PyFloat_Type.tp_repr(value);
    }
    if (PyBool_Check(value) && codec->encode == codec_bool_encode) {
        return PyUnicode_FromString(value == Py_True ? "t" : "f");
    }
    return NULL;
}

enum codec_outcome
codec_encode_text(const struct codec *codec, struct codec_ctx *ctx, PyObject *value,
                  struct wire_buffer *out)
{
    if (!PyLong_Check(value) && !PyFloat_CheckExact(value)) {
        enum codec_outcome outcome = textform_put_alone(codec, ctx, value, out);
        return container_end(codec, ctx, value, out, outcome);
    }
    /* The codec looks first: a value that does not fit is said to be that here. */
    PyObject *text = NULL;
    if (codec_has_binary(codec)) {
        enum codec_outcome outcome = codec_encode(codec, ctx, value, out);
        if (outcome != CODEC_BINARY) {
            return outcome;
        }
        text = spell_plain(codec, ctx, value);
        if (text == NULL && PyErr_Occurred()) {
            return CODEC_ERROR;
        }
        wire_buffer_rollback(out, 0);
    }
    enum codec_outcome outcome = text == NULL ? textform_put_alone(codec, ctx, value, out)
                                              : codec_put_str(codec, ctx, text, out);
    Py_XDECREF(text);
    return container_end(codec, ctx, value, out, outcome);
}
