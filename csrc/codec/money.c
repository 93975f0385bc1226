/* money: a number of the smallest unit. How many of them make a whole one is a setting
 * of the server (lc_monetary) that it does not tell: the connection's money_digits. */
#include "families.h"

#define MONEY_TEXT_MAX 48
#define MONEY_DIGITS_MAX 20 /* in front of the point or behind it, more cannot fit */

PyObject *
codec_money_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    (void)self;
    int64_t units = wire_load_i64(value.ptr);
    uint64_t size = units < 0 ? 0 - (uint64_t)units : (uint64_t)units;
    int digits = ctx->options->money_digits;
    uint64_t whole = 1;
    for (int i = 0; i < digits; i++) {
        whole *= 10;
    }
    char text[MONEY_TEXT_MAX];
    snprintf(text, sizeof text, digits > 0 ? "%s%llu.%0*llu" : "%s%llu", units < 0 ? "-" : "",
             (unsigned long long)(size / whole), digits, (unsigned long long)(size % whole));
    return PyObject_CallFunction(ctx->types->decimal_type, "s", text);
}

/* Adds a digit; false when the number would not fit. */
static bool
money_digit(uint64_t *units, int next)
{
    if (*units > (UINT64_MAX - 9) / 10) {
        return false;
    }
    *units = *units * 10 + (uint64_t)next;
    return *units <= (uint64_t)INT64_MAX + 1;
}

/* Reads [-]digits[.digits], with zeros only behind the last digit that counts. */
static bool
money_parse(const char *text, int digits, int64_t *units)
{
    bool minus = *text == '-';
    uint64_t size = 0;
    int behind = -1; /* digits behind the point so far, -1 in front of it */
    if (text[minus] < '0' || text[minus] > '9') {
        return false;
    }
    for (const char *p = text + minus; *p != 0; p++) {
        if (*p == '.' && behind < 0) {
            behind = 0;
            continue;
        }
        if (*p < '0' || *p > '9' || (behind >= digits && *p != '0')) {
            return false;
        }
        if (behind < digits && !money_digit(&size, *p - '0')) {
            return false;
        }
        behind += behind >= 0;
    }
    for (int i = behind < 0 ? 0 : behind; i < digits; i++) {
        if (!money_digit(&size, 0)) {
            return false;
        }
    }
    if (size > (uint64_t)INT64_MAX + minus) {
        return false;
    }
    *units = (int64_t)(minus ? 0 - size : size);
    return true;
}

/* What is less than any unit: "0" for a zero, else NULL, with or without an exception. */
static PyObject *
money_text_tiny(PyObject *value)
{
    return PyObject_IsTrue(value) == 0 ? PyUnicode_FromString("0") : NULL;
}

static PyObject *
money_text_int(struct codec_ctx *ctx, PyObject *value)
{
    PyObject *number = PyNumber_Index(value);
    PyObject *text = number == NULL ? NULL : codec_int_text(ctx, number);
    Py_XDECREF(number);
    return text;
}

/* The value without an exponent, a new str; NULL with or without an exception. An
 * exponent of millions is not written out. */
static PyObject *
money_text(struct codec_ctx *ctx, PyObject *value)
{
    if (PyIndex_Check(value)) {
        return PyBool_Check(value) ? NULL : money_text_int(ctx, value);
    }
    if (!PyObject_TypeCheck(value, (PyTypeObject *)ctx->types->decimal_type)) {
        return NULL;
    }
    PyObject *adjusted = PyObject_CallMethodNoArgs(value, ctx->types->str_adjusted);
    long digits = adjusted == NULL ? -1 : PyLong_AsLong(adjusted);
    Py_XDECREF(adjusted);
    if (PyErr_Occurred() || digits > MONEY_DIGITS_MAX) {
        return NULL;
    }
    if (digits < -MONEY_DIGITS_MAX) {
        return money_text_tiny(value);
    }
    PyObject *spec = PyUnicode_FromString("f");
    PyObject *text = spec == NULL ? NULL : PyObject_Format(value, spec);
    Py_XDECREF(spec);
    return text;
}

enum codec_outcome
codec_money_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                   struct wire_buffer *out)
{
    if (PyUnicode_Check(value)) {
        return codec_put_str(self, ctx, value, out);
    }
    PyObject *text = money_text(ctx, value);
    const char *utf8 = text == NULL ? NULL : PyUnicode_AsUTF8(text);
    int64_t units = 0;
    bool valid = utf8 != NULL && money_parse(utf8, ctx->options->money_digits, &units);
    Py_XDECREF(text);
    if (!valid) {
        if (PyErr_Occurred() && !codec_may_convert()) {
            return CODEC_ERROR;
        }
        return codec_fail_value(self, ctx, value,
                                "give a Decimal or int with at most %d digits behind the point "
                                "(money_digits), of less than 2**63 of the smallest unit",
                                ctx->options->money_digits);
    }
    uint8_t bytes[8];
    wire_store_u64(bytes, (uint64_t)units);
    return codec_put_bytes(self, ctx, value, bytes, sizeof bytes, out);
}
