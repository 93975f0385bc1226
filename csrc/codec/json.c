/* json and jsonb: documents by the connection's loads and dumps. */
#include "families.h"
#include "jsonread.h"

/* jsonb is sent as its version and the text of the document. */
#define JSONB_VERSION 1

/* What the user's own function makes of the text; some take bytes, and are faster. */
static PyObject *
json_load(const struct codec *self, struct codec_ctx *ctx, PyObject *loads, wire_slice value)
{
    PyObject *text = ctx->options->json_bytes
                         ? PyBytes_FromStringAndSize((const char *)value.ptr, (Py_ssize_t)value.len)
                         : codec_str_of(self, ctx, value);
    if (text == NULL) {
        return NULL;
    }
    Py_INCREF(loads);
    PyObject *document = PyObject_CallOneArg(loads, text);
    Py_DECREF(loads);
    Py_DECREF(text);
    if (document == NULL && codec_may_convert()) {
        return codec_fail(self, ctx, "not a JSON document that json_loads takes");
    }
    if (document == Py_None && ctx->options->json_null) {
        Py_SETREF(document, Py_NewRef(ctx->types->json_null));
    }
    return document;
}

/* The document in `value`, or its text where the connection has no loads. */
static PyObject *
json_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    PyObject *loads = ctx->options->json_loads;
    if (loads == Py_None) {
        return codec_str_of(self, ctx, value);
    }
    if (loads != NULL) {
        return json_load(self, ctx, loads, value);
    }
    size_t at;
    PyObject *document = json_read(ctx, value, &at);
    if (document == NULL && (!PyErr_Occurred() || codec_may_convert())) {
        return codec_fail(self, ctx, "not a JSON document, at byte %zu", at);
    }
    return document;
}

PyObject *
codec_json_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    return json_decode(self, ctx, value);
}

PyObject *
codec_jsonb_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    if (value.len == 0 || value.ptr[0] != JSONB_VERSION) {
        return codec_fail(self, ctx, "version 1 expected");
    }
    wire_slice text = {value.ptr + 1, value.len - 1};
    return json_decode(self, ctx, text);
}

/* The text by the default: json.dumps, or what writes every Decimal as its digits. */
static PyObject *
json_dump_default(struct codec_ctx *ctx, PyObject *value)
{
    if (ctx->options->json_exact) {
        return PyObject_CallOneArg(ctx->types->json_exact_dumps, value);
    }
    PyObject *text = PyObject_CallOneArg(ctx->types->json_dumps, value);
    if (text == NULL && PyErr_ExceptionMatches(PyExc_TypeError)) {
        PyObject *type, *raised, *traceback;
        PyErr_Fetch(&type, &raised, &traceback);
        text = PyObject_CallOneArg(ctx->types->json_exact_dumps, value);
        if (text == NULL && codec_may_convert()) {
            PyErr_Restore(type, raised, traceback);
            return NULL;
        }
        Py_XDECREF(type);
        Py_XDECREF(raised);
        Py_XDECREF(traceback);
    }
    return text;
}

/* What dumps makes of `value`: a new str or bytes; NULL with an exception. */
static PyObject *
json_dump(const struct codec *self, struct codec_ctx *ctx, PyObject *value)
{
    PyObject *dumps = ctx->options->json_dumps;
    if (dumps == Py_None) {
        codec_fail_value(self, ctx, value, "without json_dumps, give JSON text as a str");
        return NULL;
    }
    Py_XINCREF(dumps);
    PyObject *text =
        dumps == NULL ? json_dump_default(ctx, value) : PyObject_CallOneArg(dumps, value);
    Py_XDECREF(dumps);
    if (text == NULL) {
        codec_fail_raised(self, ctx, value, "json_dumps does not take it; give JSON text as a str");
    }
    if (text != NULL && !PyUnicode_Check(text) && !PyBytes_Check(text)) {
        codec_fail_value(self, ctx, value, "json_dumps gave %s, not str or bytes",
                         Py_TYPE(text)->tp_name);
        Py_CLEAR(text);
    }
    return text;
}

/* Writes the version, where `prefix_len` is 1, and then `text`, a str or bytes. */
static enum codec_outcome
json_put(const struct codec *self, struct codec_ctx *ctx, PyObject *value, PyObject *text,
         size_t prefix_len, struct wire_buffer *out)
{
    wire_slice bytes;
    if (PyBytes_Check(text)) {
        bytes.ptr = (const uint8_t *)PyBytes_AS_STRING(text);
        bytes.len = (size_t)PyBytes_GET_SIZE(text);
    }
    else if (!codec_utf8_borrow(self, ctx, value, text, &bytes)) {
        return CODEC_ERROR;
    }
    const uint8_t version = JSONB_VERSION;
    if (codec_put_bytes(self, ctx, value, &version, prefix_len, out) == CODEC_ERROR) {
        return CODEC_ERROR;
    }
    return codec_put_bytes(self, ctx, value, bytes.ptr, bytes.len, out);
}

static enum codec_outcome
json_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value, size_t prefix_len,
            struct wire_buffer *out)
{
    /* Bytes, which json.dumps refuses, are what orjson and others have made. */
    PyObject *dumps = ctx->options->json_dumps;
    bool is_text = PyUnicode_Check(value);
    if (is_text || (PyBytes_Check(value) && (dumps == NULL || dumps == Py_None))) {
        return json_put(self, ctx, value, value, prefix_len, out);
    }
    PyObject *document = value;
    if (Py_IS_TYPE(value, (PyTypeObject *)ctx->types->json)) {
        document = PyObject_GetAttrString(value, "value");
        if (document == NULL) {
            return codec_fail_raised(self, ctx, value, "it has no value");
        }
    }
    else {
        Py_INCREF(document);
    }
    PyObject *text = json_dump(self, ctx, document);
    Py_DECREF(document);
    if (text == NULL) {
        return CODEC_ERROR;
    }
    enum codec_outcome outcome = json_put(self, ctx, value, text, prefix_len, out);
    Py_DECREF(text);
    return outcome;
}

enum codec_outcome
codec_json_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                  struct wire_buffer *out)
{
    return json_encode(self, ctx, value, 0, out);
}

enum codec_outcome
codec_jsonb_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                   struct wire_buffer *out)
{
    return json_encode(self, ctx, value, 1, out);
}
