/* json and jsonb: documents by the connection's loads and dumps. */
#include "families.h"

/* jsonb is sent as its version and the text of the document. */
#define JSONB_VERSION 1

static int
json_is_space(Py_UCS4 c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* The index of the first character at or behind `start` that is not white space. */
static Py_ssize_t
json_skip_space(PyObject *text, Py_ssize_t start)
{
    Py_ssize_t len = PyUnicode_GET_LENGTH(text);
    while (start < len && json_is_space(PyUnicode_READ_CHAR(text, start))) {
        start += 1;
    }
    return start;
}

/* What json.loads(text) gives, without the Python code around its scanner. NULL
 * with an exception, or without one where the text is not one document. */
static PyObject *
json_scan(struct codec_ctx *ctx, PyObject *text)
{
    PyObject *start = PyLong_FromSsize_t(json_skip_space(text, 0));
    if (start == NULL) {
        return NULL;
    }
    PyObject *args[] = {text, start};
    PyObject *pair = PyObject_Vectorcall(ctx->types->json_scan, args, 2, NULL);
    Py_DECREF(start);
    if (pair == NULL) {
        return NULL;
    }
    PyObject *document = NULL;
    if (PyTuple_Check(pair) && PyTuple_GET_SIZE(pair) == 2) {
        Py_ssize_t end = PyLong_AsSsize_t(PyTuple_GET_ITEM(pair, 1));
        if (end >= 0 && json_skip_space(text, end) == PyUnicode_GET_LENGTH(text)) {
            document = Py_NewRef(PyTuple_GET_ITEM(pair, 0));
        }
    }
    Py_DECREF(pair);
    return document;
}

static PyObject *
json_load(struct codec_ctx *ctx, PyObject *loads, PyObject *text)
{
    if (loads == ctx->types->json_loads) {
        return json_scan(ctx, text);
    }
    return PyObject_CallOneArg(loads, text);
}

/* The document in `value`, or its text where the connection has no loads. */
static PyObject *
json_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    PyObject *text = codec_str_of(self, ctx, value);
    PyObject *loads = ctx->options->json_loads;
    if (text == NULL || loads == Py_None) {
        return text;
    }
    loads = loads == NULL ? ctx->types->json_loads : loads;
    Py_INCREF(loads);
    PyObject *document = json_load(ctx, loads, text);
    Py_DECREF(loads);
    Py_DECREF(text);
    if (document == NULL && (!PyErr_Occurred() || codec_may_convert())) {
        return codec_fail(self, ctx, "not a JSON document that json_loads takes");
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

/* What dumps makes of `value`: a new str or bytes; NULL with an exception. */
static PyObject *
json_dump(const struct codec *self, struct codec_ctx *ctx, PyObject *value)
{
    PyObject *dumps = ctx->options->json_dumps;
    dumps = dumps == NULL ? ctx->types->json_dumps : dumps;
    if (dumps == Py_None) {
        codec_fail_value(self, ctx, value, "without json_dumps, give JSON text as a str");
        return NULL;
    }
    Py_INCREF(dumps);
    PyObject *text = PyObject_CallOneArg(dumps, value);
    Py_DECREF(dumps);
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
    if (PyUnicode_Check(value)) {
        return json_put(self, ctx, value, value, prefix_len, out);
    }
    PyObject *text = json_dump(self, ctx, value);
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
