#include "jsonread.h"

#include "families.h"

#include <math.h>

/* Keys longer than this are not remembered. */
#define JSON_KEY_MAX 40
/* Powers of ten that a double holds exactly, and integers that it does. */
#define JSON_EXACT_POWER 22
#define JSON_EXACT_INT (INT64_C(1) << 53)
/* In place of an exponent too long to be looked at. */
#define JSON_FAR_POWER 100000
/* Digits that always fit an int64_t. */
#define JSON_FAST_DIGITS 18

struct json_reader {
    struct codec_ctx *ctx;
    const uint8_t *start;
    const uint8_t *p;
    const uint8_t *end;
};

static PyObject *json_value(struct json_reader *r);

static void
json_space(struct json_reader *r)
{
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\n' || *r->p == '\t' || *r->p == '\r')) {
        r->p++;
    }
}

/* Takes the byte if it is the next one. */
static bool
json_take(struct json_reader *r, uint8_t byte)
{
    if (r->p == r->end || *r->p != byte) {
        return false;
    }
    r->p++;
    return true;
}

static bool
json_take_word(struct json_reader *r, const char *word, size_t len)
{
    if ((size_t)(r->end - r->p) < len || memcmp(r->p, word, len) != 0) {
        return false;
    }
    r->p += len;
    return true;
}

/* Strings */

static PyObject *
json_ascii(const uint8_t *bytes, size_t len)
{
    PyObject *text = PyUnicode_New((Py_ssize_t)len, 127);
    if (text != NULL && len > 0) {
        memcpy(PyUnicode_1BYTE_DATA(text), bytes, len);
    }
    return text;
}

/* The four digits behind \u; -1 where they are none. */
static int32_t
json_escape_unit(struct json_reader *r)
{
    int32_t unit = 0;
    if (r->end - r->p < 4) {
        return -1;
    }
    for (int i = 0; i < 4; i++) {
        int nibble = codec_hex_digit(r->p[i]);
        if (nibble < 0) {
            return -1;
        }
        unit = unit << 4 | nibble;
    }
    r->p += 4;
    return unit;
}

/* The character of an escape whose backslash has been taken; -1: there is none. Two
 * halves of a surrogate pair are one character, a half alone stays what it is. */
static int32_t
json_escape(struct json_reader *r)
{
    static const char from[] = "\"\\/bfnrt";
    static const char to[] = "\"\\/\b\f\n\r\t";
    if (r->p == r->end) {
        return -1;
    }
    uint8_t c = *r->p++;
    if (c != 'u') {
        const char *found = c == 0 ? NULL : strchr(from, c);
        return found == NULL ? -1 : to[found - from];
    }
    int32_t unit = json_escape_unit(r);
    if (unit < 0xD800 || unit > 0xDBFF || r->end - r->p < 6 || r->p[0] != '\\' || r->p[1] != 'u') {
        return unit;
    }
    const uint8_t *here = r->p;
    r->p += 2;
    int32_t low = json_escape_unit(r);
    if (low < 0xDC00 || low > 0xDFFF) {
        r->p = here; /* read again as a character of its own */
        return unit;
    }
    return 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
}

/* A string with escapes, up to its closing quote; r->p stands at the first one, and
 * what is in front of it, from `begin`, is free of them. */
static PyObject *
json_escaped(struct json_reader *r, const uint8_t *begin)
{
    const uint8_t *close = r->p;
    while (close < r->end && *close != '"') {
        close += *close == '\\' && close + 1 < r->end ? 2 : 1;
    }
    Py_UCS4 *chars = PyMem_New(Py_UCS4, (size_t)(close - begin) + 1);
    if (chars == NULL) {
        return PyErr_NoMemory();
    }
    Py_ssize_t count = 0;
    PyObject *text = NULL;
    r->p = begin;
    while (r->p < r->end && *r->p != '"') {
        const uint8_t *plain = r->p;
        while (r->p < r->end && *r->p >= 0x20 && *r->p != '"' && *r->p != '\\') {
            r->p++;
        }
        if (r->p > plain) {
            PyObject *part = PyUnicode_DecodeUTF8((const char *)plain, r->p - plain, NULL);
            if (part == NULL
                || PyUnicode_AsUCS4(part, chars + count, close - begin + 1 - count, 0) == NULL) {
                Py_XDECREF(part);
                goto done;
            }
            count += PyUnicode_GET_LENGTH(part);
            Py_DECREF(part);
        }
        if (r->p == r->end || *r->p == '"') {
            break;
        }
        int32_t c = json_take(r, '\\') ? json_escape(r) : -1;
        if (c < 0) {
            goto done;
        }
        chars[count++] = (Py_UCS4)c;
    }
    if (json_take(r, '"')) {
        text = PyUnicode_FromKindAndData(PyUnicode_4BYTE_KIND, chars, count);
    }
done:
    PyMem_Free(chars);
    return text;
}

/* Where the bytes of a key are remembered. */
static PyObject **
json_key_slot(struct codec_ctx *ctx, const uint8_t *bytes, size_t len)
{
    uint32_t hash = (uint32_t)len;
    for (size_t i = 0; i < len; i++) {
        hash = hash * 31 + bytes[i];
    }
    return &ctx->types->json_keys[(hash ^ hash >> 8) % CODEC_JSON_KEYS];
}

static PyObject *
json_key(struct json_reader *r, const uint8_t *bytes, size_t len)
{
    if (len > JSON_KEY_MAX) {
        return json_ascii(bytes, len);
    }
    PyObject **slot = json_key_slot(r->ctx, bytes, len);
    if (*slot != NULL && (size_t)PyUnicode_GET_LENGTH(*slot) == len
        && memcmp(PyUnicode_1BYTE_DATA(*slot), bytes, len) == 0) {
        return Py_NewRef(*slot);
    }
    PyObject *key = json_ascii(bytes, len);
    Py_XSETREF(*slot, Py_XNewRef(key));
    return key;
}

/* A string whose opening quote has been taken. */
static PyObject *
json_string(struct json_reader *r, bool key)
{
    const uint8_t *begin = r->p;
    const uint8_t *p = begin;
    uint8_t all = 0;
    while (p < r->end && *p != '"' && *p != '\\' && *p >= 0x20) {
        all |= *p++;
    }
    r->p = p;
    if (p == r->end || *p < 0x20) {
        return NULL;
    }
    if (*p == '\\') {
        return json_escaped(r, begin);
    }
    r->p++;
    size_t len = (size_t)(p - begin);
    if (all < 0x80) {
        return key ? json_key(r, begin, len) : json_ascii(begin, len);
    }
    return PyUnicode_DecodeUTF8((const char *)begin, (Py_ssize_t)len, NULL);
}

/* Numbers */

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
    PyObject *text = json_ascii(begin, len);
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
 * multiplication of exact doubles rounds right. */
static bool
json_fast_double(int64_t value, int digits, int power, bool minus, double *number)
{
    static const double powers[JSON_EXACT_POWER + 1] = {
        1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
        1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    if (digits > JSON_FAST_DIGITS || value > JSON_EXACT_INT || power > JSON_EXACT_POWER
        || power < -JSON_EXACT_POWER) {
        return false;
    }
    double result = (double)value;
    result = power < 0 ? result / powers[-power] : result * powers[power];
    *number = minus ? -result : result;
    return true;
}

static PyObject *
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

/* Containers; the opening bracket has been taken. */

static PyObject *
json_array(struct json_reader *r)
{
    PyObject *list = PyList_New(0);
    json_space(r);
    if (list == NULL || json_take(r, ']')) {
        return list;
    }
    do {
        PyObject *item = json_value(r);
        int failed = item == NULL ? -1 : PyList_Append(list, item);
        Py_XDECREF(item);
        if (failed < 0) {
            Py_DECREF(list);
            return NULL;
        }
        json_space(r);
    } while (json_take(r, ','));
    if (!json_take(r, ']')) {
        Py_CLEAR(list);
    }
    return list;
}

/* One `"key": value`. -1 on failure. */
static int
json_member(struct json_reader *r, PyObject *dict)
{
    json_space(r);
    PyObject *key = json_take(r, '"') ? json_string(r, true) : NULL;
    if (key == NULL) {
        return -1;
    }
    json_space(r);
    PyObject *value = json_take(r, ':') ? json_value(r) : NULL;
    int failed = value == NULL ? -1 : PyDict_SetItem(dict, key, value);
    Py_XDECREF(value);
    Py_DECREF(key);
    return failed;
}

static PyObject *
json_object(struct json_reader *r)
{
    PyObject *dict = PyDict_New();
    json_space(r);
    if (dict == NULL || json_take(r, '}')) {
        return dict;
    }
    do {
        if (json_member(r, dict) < 0) {
            Py_DECREF(dict);
            return NULL;
        }
        json_space(r);
    } while (json_take(r, ','));
    if (!json_take(r, '}')) {
        Py_CLEAR(dict);
    }
    return dict;
}

static PyObject *
json_nested(struct json_reader *r, PyObject *(*read)(struct json_reader *))
{
    if (Py_EnterRecursiveCall(" while reading a JSON document")) {
        return NULL;
    }
    PyObject *value = read(r);
    Py_LeaveRecursiveCall();
    return value;
}

/* The words that stand for values. NULL without an exception: none of them. */
static PyObject *
json_word(struct json_reader *r)
{
    if (json_take_word(r, "null", 4)) {
        return Py_NewRef(Py_None);
    }
    if (json_take_word(r, "true", 4)) {
        return Py_NewRef(Py_True);
    }
    if (json_take_word(r, "false", 5)) {
        return Py_NewRef(Py_False);
    }
    /* Not JSON, but json.loads takes them; the server never sends them. */
    if (json_take_word(r, "NaN", 3)) {
        return PyFloat_FromDouble(Py_NAN);
    }
    if (json_take_word(r, "Infinity", 8)) {
        return PyFloat_FromDouble(HUGE_VAL);
    }
    return json_take_word(r, "-Infinity", 9) ? PyFloat_FromDouble(-HUGE_VAL) : NULL;
}

static PyObject *
json_value(struct json_reader *r)
{
    json_space(r);
    if (r->p == r->end) {
        return NULL;
    }
    switch (*r->p) {
    case '"':
        r->p++;
        return json_string(r, false);
    case '{':
        r->p++;
        return json_nested(r, json_object);
    case '[':
        r->p++;
        return json_nested(r, json_array);
    case '-':
        if (r->end - r->p > 1 && r->p[1] == 'I') {
            return json_word(r);
        }
        return json_number(r);
    default:
        return *r->p >= '0' && *r->p <= '9' ? json_number(r) : json_word(r);
    }
}

PyObject *
json_read(struct codec_ctx *ctx, wire_slice text, size_t *at)
{
    struct json_reader r = {ctx, text.ptr, text.ptr, text.ptr};
    r.end = text.len == 0 ? text.ptr : text.ptr + text.len;
    PyObject *document = json_value(&r);
    json_space(&r);
    if (document != NULL && r.p != r.end) {
        Py_CLEAR(document);
    }
    *at = (size_t)(r.p - r.start);
    if (document == Py_None && ctx->options->json_null) {
        Py_SETREF(document, Py_NewRef(ctx->types->json_null));
    }
    return document;
}
