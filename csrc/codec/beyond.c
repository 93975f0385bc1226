/* Values outside of what the datetime module holds. */
#include "beyond.h"

#include "families.h"

PyObject *
beyond_make(const struct codec *self, struct codec_ctx *ctx, const char *kind, wire_slice value,
            const char *text, const char *python_type)
{
    const struct codec_options *options = ctx->options;
    if (options->beyond == CODEC_BEYOND_ERROR) {
        return codec_fail(self, ctx,
                          "%s is outside the range of %s; cast it to text, or connect with "
                          "out_of_range='sentinel' or 'clamp'",
                          text, python_type);
    }
    PyObject *clamp = options->beyond == CODEC_BEYOND_CLAMP ? Py_True : Py_False;
    PyObject *zone = options->zone == NULL ? Py_None : options->zone;
    return PyObject_CallFunction(ctx->types->out_of_range, "sy#OO", kind, (const char *)value.ptr,
                                 (Py_ssize_t)value.len, clamp, zone);
}

/* The binary form of a Beyond of this kind, or of INFINITY and NEGATIVE_INFINITY, which
 * are of any. */
static enum codec_outcome
beyond_put(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
           const struct beyond_kind *kind, struct wire_buffer *out)
{
    PyObject *own = PyObject_GetAttrString(value, "kind");
    PyObject *wire = own == NULL ? NULL : PyObject_GetAttrString(value, "wire");
    enum codec_outcome outcome = CODEC_ERROR;
    if (wire == NULL || !PyBytes_Check(wire)) {
        codec_fail_raised(self, ctx, value, "it is not a whole Beyond");
    }
    else if (own == Py_None && kind->infinities != NULL) {
        bool plus = PyBytes_AS_STRING(wire)[0] == '+';
        const char *bytes = plus ? kind->infinities : kind->infinities + kind->len;
        outcome = codec_put_bytes(self, ctx, value, bytes, kind->len, out);
    }
    else if (PyUnicode_Check(own) && PyUnicode_CompareWithASCIIString(own, kind->name) == 0
             && (size_t)PyBytes_GET_SIZE(wire) == kind->len) {
        outcome = codec_put_bytes(self, ctx, value, PyBytes_AS_STRING(wire), kind->len, out);
    }
    else {
        codec_fail_value(self, ctx, value, "it is no %s; give str(value) or another value",
                         kind->name);
    }
    Py_XDECREF(own);
    Py_XDECREF(wire);
    return outcome;
}

enum codec_outcome
beyond_put_other(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                 const struct beyond_kind *kind, struct wire_buffer *out)
{
    if (Py_IS_TYPE(value, (PyTypeObject *)ctx->types->beyond)) {
        return beyond_put(self, ctx, value, kind, out);
    }
    return codec_put_text_only(self, ctx, value, kind->remedy, out);
}
