/* Numbers of JSON text: int, float or Decimal. */
#include "jsonread.h"

#include <float.h>

/* Powers of ten that a double holds exactly, and integers that it does. */
#define JSON_EXACT_POWER 22
#define JSON_EXACT_INT (INT64_C(1) << 53)
/* In place of an exponent too long to be looked at. */
#define JSON_FAR_POWER 100000
/* Digits that always fit an int64_t. */
#define JSON_FAST_DIGITS 18

/* Calls `make` with a NUL-terminated copy of the number. */
static PyObject *
json_number_text(const uint8_t *begin, size_t len, PyObject *(*make)(const char *))
{
    char small[64];
    char *copy = len < sizeof small ? small : PyMem_Malloc(len + 1);
    if (copy == NULL) {
        return PyErr_NoMemory();
    }
    memcpy(copy, begin, len);
    copy[len] = 0;
    PyObject *number = make(copy);
    if (copy != small) {
        PyMem_Free(copy);
    }
    return number;
}

static PyObject *
json_make_int(const char *text)
{
    return PyLong_FromString(text, NULL, 10);
}

static PyObject *
json_make_float(const char *text)
{
    double number = PyOS_string_to_double(text, NULL, NULL);
    return number == -1.0 && PyErr_Occurred() ? NULL : PyFloat_FromDouble(number);
}

static PyObject *
json_decimal(struct json_reader *r, const uint8_t *begin, size_t len)
{
    PyObject *text = PyUnicode_FromStringAndSize((const char *)begin, (Py_ssize_t)len);
    PyObject *number =
        text == NULL ? NULL : PyObject_CallOneArg(r->ctx->types->decimal_exact, text);
    Py_XDECREF(text);
    return number;
}

/* The digits at r->p go on in *value while there are at most JSON_FAST_DIGITS of them
 * in all; counts them in *digits. */
static void
json_digits(struct json_reader *r, int64_t *value, int *digits)
{
    while (r->p < r->end && *r->p >= '0' && *r->p <= '9') {
        if (++*digits <= JSON_FAST_DIGITS) {
            *value = *value * 10 + (*r->p - '0');
        }
        r->p++;
    }
}

/* What stands behind an integer: `.5`, `e-3`, both. Taken when it is complete; without
 * digits the number ends in front of it, as for json.loads. Gives the power of ten. */
static bool
json_fraction(struct json_reader *r, int64_t *value, int *digits, int *power)
{
    const uint8_t *before = r->p;
    bool found = false;
    if (json_take(r, '.')) {
        int whole = *digits;
        const uint8_t *first = r->p;
        json_digits(r, value, digits);
        found = r->p > first;
        *power = whole - *digits;
        r->p = found ? r->p : before;
    }
    before = r->p;
    if (json_take(r, 'e') || json_take(r, 'E')) {
        bool minus = json_take(r, '-');
        if (!minus) {
            json_take(r, '+');
        }
        int64_t exponent = 0;
        int exponent_digits = 0;
        json_digits(r, &exponent, &exponent_digits);
        if (exponent_digits == 0) {
            r->p = before;
            return found;
        }
        bool small = exponent_digits <= 4;
        *power += small ? (int)(minus ? -exponent : exponent) : JSON_FAR_POWER;
        found = true;
    }
    return found;
}

/* A number with at most 15 digits or so and a small power of ten: one division or
 * multiplication of exact doubles rounds right, where doubles are no wider than that. */
static bool
json_fast_double(int64_t value, int digits, int power, bool minus, double *number)
{
    static const double powers[JSON_EXACT_POWER + 1] = {
        1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
        1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    if (FLT_EVAL_METHOD != 0 || digits > JSON_FAST_DIGITS || value > JSON_EXACT_INT
        || power > JSON_EXACT_POWER || power < -JSON_EXACT_POWER) {
        return false;
    }
    double result = (double)value;
    result = power < 0 ? result / powers[-power] : result * powers[power];
    *number = minus ? -result : result;
    return true;
}

PyObject *
json_number(struct json_reader *r)
{
    const uint8_t *begin = r->p;
    bool minus = json_take(r, '-');
    int64_t value = 0;
    int digits = 0;
    int power = 0;
    if (json_take(r, '0')) {
        digits = 1;
    }
    else {
        json_digits(r, &value, &digits);
    }
    if (digits == 0) {
        r->p = begin;
        return NULL;
    }
    if (!json_fraction(r, &value, &digits, &power)) {
        return digits <= JSON_FAST_DIGITS
                   ? PyLong_FromLongLong(minus ? -value : value)
                   : json_number_text(begin, (size_t)(r->p - begin), json_make_int);
    }
    if (r->ctx->options->json_exact) {
        return json_decimal(r, begin, (size_t)(r->p - begin));
    }
    double number;
    if (json_fast_double(value, digits, power, minus, &number)) {
        return PyFloat_FromDouble(number);
    }
    return json_number_text(begin, (size_t)(r->p - begin), json_make_float);
}
