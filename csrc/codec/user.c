/* Codecs of types that are registered: Python functions, and enums by dict. */
#include "families.h"

/* Calls one of the two functions in self->arg: 0 the encoder, 1 the decoder. Steals
 * `value`; without a function that is what it gives. */
static PyObject *
user_call(const struct codec *self, Py_ssize_t which, PyObject *value)
{
    PyObject *pair = self->arg;
    PyObject *function = pair != NULL && PyTuple_Check(pair) && PyTuple_GET_SIZE(pair) == 2
                             ? PyTuple_GET_ITEM(pair, which)
                             : Py_None;
    if (value == NULL || function == Py_None) {
        return value;
    }
    Py_INCREF(function);
    PyObject *result = PyObject_CallOneArg(function, value);
    Py_DECREF(function);
    Py_DECREF(value);
    return result;
}

static PyObject *
user_decode(const struct codec *self, struct codec_ctx *ctx, PyObject *wire)
{
    if (wire == NULL) {
        return NULL;
    }
    PyObject *value = user_call(self, 1, wire);
    if (value == NULL && codec_may_convert()) {
        return codec_fail(self, ctx, "its decoder failed");
    }
    return value;
}

PyObject *
codec_user_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    return user_decode(self, ctx, codec_str_of(self, ctx, value));
}

PyObject *
codec_userbytes_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    PyObject *bytes = PyBytes_FromStringAndSize((const char *)value.ptr, (Py_ssize_t)value.len);
    return user_decode(self, ctx, bytes);
}

/* What the encoder makes of `value`, a new reference; NULL with codec_fail_value's
 * exception when it fails. */
static PyObject *
user_encoded(const struct codec *self, struct codec_ctx *ctx, PyObject *value)
{
    PyObject *made = user_call(self, 0, Py_NewRef(value));
    if (made == NULL) {
        codec_fail_raised(self, ctx, value, "its encoder failed");
    }
    return made;
}

enum codec_outcome
codec_user_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                  struct wire_buffer *out)
{
    PyObject *text = user_encoded(self, ctx, value);
    if (text == NULL) {
        return CODEC_ERROR;
    }
    enum codec_outcome outcome = CODEC_ERROR;
    wire_slice utf8;
    if (!PyUnicode_Check(text)) {
        codec_fail_value(self, ctx, value, "a text encoder gives str, not %s",
                         Py_TYPE(text)->tp_name);
    }
    else if (codec_utf8_borrow(self, ctx, value, text, &utf8)) {
        outcome = codec_put_bytes(self, ctx, value, utf8.ptr, utf8.len, out);
    }
    Py_DECREF(text);
    if (outcome == CODEC_BINARY && self->format == WIRE_FORMAT_TEXT) {
        return CODEC_TEXT;
    }
    return outcome;
}

enum codec_outcome
codec_userbytes_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                       struct wire_buffer *out)
{
    PyObject *made = user_encoded(self, ctx, value);
    if (made == NULL) {
        return CODEC_ERROR;
    }
    enum codec_outcome outcome = CODEC_ERROR;
    Py_buffer view;
    if (!PyObject_CheckBuffer(made)) {
        codec_fail_value(self, ctx, value, "a binary encoder gives bytes, not %s",
                         Py_TYPE(made)->tp_name);
    }
    else if (PyObject_GetBuffer(made, &view, PyBUF_SIMPLE) < 0) {
        codec_fail_raised(self, ctx, value, "its encoder gave a buffer that is not contiguous");
    }
    else {
        outcome = codec_put_bytes(self, ctx, value, view.buf, (size_t)view.len, out);
        PyBuffer_Release(&view);
    }
    Py_DECREF(made);
    return outcome;
}

/* A registered enum's dict by labels (0) or by members (1), or NULL. */
static PyObject *
user_enum_dict(const struct codec *self, Py_ssize_t which)
{
    PyObject *pair = self->arg;
    if (pair == NULL || !PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2
        || !PyDict_Check(PyTuple_GET_ITEM(pair, which))) {
        return NULL;
    }
    return PyTuple_GET_ITEM(pair, which);
}

PyObject *
codec_enum_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    PyObject *label = codec_str_of(self, ctx, value);
    PyObject *members = user_enum_dict(self, 0);
    if (label == NULL || members == NULL) {
        return label;
    }
    PyObject *member = PyDict_GetItemWithError(members, label);
    Py_XINCREF(member);
    if (member == NULL && !PyErr_Occurred()) {
        codec_fail(self, ctx, "the registered class has no member for the label %R", label);
    }
    Py_DECREF(label);
    return member;
}

enum codec_outcome
codec_enum_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                  struct wire_buffer *out)
{
    PyObject *labels = user_enum_dict(self, 1);
    PyObject *label = labels == NULL ? NULL : PyDict_GetItemWithError(labels, value);
    if (label == NULL && PyErr_Occurred()) {
        return codec_fail_raised(self, ctx, value, "give a member of its class, or a str");
    }
    if (label == NULL) {
        label = value;
    }
    wire_slice utf8;
    if (!PyUnicode_Check(label)) {
        return codec_fail_value(self, ctx, value,
                                labels == NULL ? "give a str, or register the enum's class"
                                               : "give a member of its class, or a str");
    }
    Py_INCREF(label);
    enum codec_outcome outcome = CODEC_ERROR;
    if (codec_utf8_borrow(self, ctx, value, label, &utf8)) {
        outcome = codec_put_bytes(self, ctx, value, utf8.ptr, utf8.len, out);
    }
    Py_DECREF(label);
    return outcome;
}
