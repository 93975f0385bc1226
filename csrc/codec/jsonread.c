#include "jsonread.h"

#include "families.h"

#include <math.h>

/* Keys longer than this are not remembered. */
#define JSON_KEY_MAX 40
/* Containers inside one another: more than the server parses with the stack that it is
 * given by default. */
#define JSON_DEPTH_MAX 20000
/* Bytes of a string that are looked at one by one before it counts as long. */
#define JSON_SHORT_STRING 8

static void
json_space(struct json_reader *r)
{
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\n' || *r->p == '\t' || *r->p == '\r')) {
        r->p++;
    }
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
    if (len == 1) {
        return PyUnicode_FromOrdinal(bytes[0]); /* it has a shared str */
    }
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

/* Bytes that are not ASCII, as characters; how many, or -1 with an exception. */
static Py_ssize_t
json_put_utf8(struct json_reader *r, Py_UCS4 *chars, Py_ssize_t room)
{
    const uint8_t *begin = r->p;
    while (r->p < r->end && *r->p >= 0x80) {
        r->p++;
    }
    PyObject *part = PyUnicode_DecodeUTF8((const char *)begin, r->p - begin, NULL);
    Py_ssize_t count = -1;
    if (part != NULL && PyUnicode_AsUCS4(part, chars, room, 0) != NULL) {
        count = PyUnicode_GET_LENGTH(part);
    }
    Py_XDECREF(part);
    return count;
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
        if (*r->p >= 0x80) {
            Py_ssize_t more = json_put_utf8(r, chars + count, close - begin + 1 - count);
            if (more < 0) {
                goto done;
            }
            count += more;
            continue;
        }
        int32_t c = *r->p++;
        if (c == '\\') {
            c = json_escape(r);
        }
        else if (c < 0x20) {
            c = -1;
        }
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

/* UTF-8 without escapes, which may be ASCII throughout. */
static PyObject *
json_utf8(const uint8_t *bytes, size_t len, bool ascii)
{
    return ascii ? json_ascii(bytes, len)
                 : PyUnicode_DecodeUTF8((const char *)bytes, (Py_ssize_t)len, NULL);
}

/* Whether `key`, one that is remembered, has these bytes. */
static bool
json_key_is(PyObject *key, const uint8_t *bytes, size_t len)
{
    Py_ssize_t key_len;
    if (PyUnicode_IS_COMPACT_ASCII(key)) {
        return (size_t)PyUnicode_GET_LENGTH(key) == len
               && memcmp(PyUnicode_1BYTE_DATA(key), bytes, len) == 0;
    }
    const char *utf8 = PyUnicode_AsUTF8AndSize(key, &key_len); /* made once, kept in the str */
    if (utf8 == NULL) {
        PyErr_Clear();
        return false;
    }
    return (size_t)key_len == len && memcmp(utf8, bytes, len) == 0;
}

static PyObject *
json_key(struct json_reader *r, const uint8_t *bytes, size_t len, bool ascii)
{
    if (len > JSON_KEY_MAX) {
        return json_utf8(bytes, len, ascii);
    }
    PyObject **slot = json_key_slot(r->ctx, bytes, len);
    if (*slot != NULL && json_key_is(*slot, bytes, len)) {
        return Py_NewRef(*slot);
    }
    PyObject *key = json_utf8(bytes, len, ascii);
    if (key != NULL) {
        Py_XSETREF(*slot, Py_NewRef(key));
    }
    return key;
}

/* Whether one of eight bytes ends a run of plain characters: a quote, a backslash or
 * what is below the space. */
static inline bool
json_ends_run(uint64_t word)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    uint64_t quote = word ^ ones * '"';
    uint64_t backslash = word ^ ones * '\\';
    uint64_t found = (quote - ones) & ~quote;
    found |= (backslash - ones) & ~backslash;
    found |= (word - ones * 0x20) & ~word;
    return (found & ones * 0x80) != 0;
}

/* Where the run of plain characters that goes on at `p` ends, or less than eight bytes
 * before; *all gets the bits of its bytes. */
static const uint8_t *
json_skip_run(const uint8_t *p, const uint8_t *end, uint8_t *all)
{
    uint64_t word;
    uint64_t bits = 0;
    while (end - p >= (ptrdiff_t)sizeof word) {
        memcpy(&word, p, sizeof word);
        if (json_ends_run(word)) {
            break;
        }
        bits |= word;
        p += sizeof word;
    }
    *all |= (bits & UINT64_C(0x8080808080808080)) != 0 ? 0x80 : 0;
    return p;
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
        if (p - begin == JSON_SHORT_STRING) {
            p = json_skip_run(p, r->end, &all);
        }
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
    return key ? json_key(r, begin, len, all < 0x80) : json_utf8(begin, len, all < 0x80);
}

/* Containers and values */

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

static int
json_grow(struct json_reader *r)
{
    if (r->room >= JSON_DEPTH_MAX) {
        PyErr_Format(PyExc_RecursionError, "a JSON document of more than %d levels",
                     JSON_DEPTH_MAX);
        return -1;
    }
    bool own = r->frames != r->usual;
    size_t room = r->room * 2 < JSON_DEPTH_MAX ? r->room * 2 : JSON_DEPTH_MAX;
    struct json_frame *frames = PyMem_Realloc(own ? r->frames : NULL, room * sizeof *frames);
    if (frames == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (!own) {
        memcpy(frames, r->usual, sizeof r->usual);
    }
    r->frames = frames;
    r->room = room;
    return 0;
}

/* `"key":` of the next member of the innermost container. */
static bool
json_member_key(struct json_reader *r)
{
    json_space(r);
    PyObject *key = json_take(r, '"') ? json_string(r, true) : NULL;
    r->frames[r->depth - 1].key = key;
    if (key == NULL) {
        return false;
    }
    json_space(r);
    return json_take(r, ':');
}

/* A container whose opening bracket has been taken: itself when it is empty. Else it
 * is the innermost one now, and *more says that its first value comes next. */
static PyObject *
json_open(struct json_reader *r, bool dict, bool *more)
{
    PyObject *container = dict ? PyDict_New() : PyList_New(0);
    json_space(r);
    if (container == NULL || json_take(r, dict ? '}' : ']')) {
        return container;
    }
    if (r->depth == r->room && json_grow(r) < 0) {
        Py_DECREF(container);
        return NULL;
    }
    r->frames[r->depth].container = container;
    r->frames[r->depth].key = NULL;
    r->depth++;
    *more = !dict || json_member_key(r);
    return NULL;
}

/* Puts `value`, which it steals, into the innermost container: itself when that ends
 * it. Else *more says that another value comes next. */
static PyObject *
json_settle(struct json_reader *r, PyObject *value, bool *more)
{
    struct json_frame *top = &r->frames[r->depth - 1];
    bool dict = top->key != NULL;
    int failed = dict ? PyDict_SetItem(top->container, top->key, value)
                      : PyList_Append(top->container, value);
    Py_DECREF(value);
    Py_CLEAR(top->key);
    if (failed < 0) {
        return NULL;
    }
    json_space(r);
    if (json_take(r, ',')) {
        *more = !dict || json_member_key(r);
        return NULL;
    }
    if (!json_take(r, dict ? '}' : ']')) {
        return NULL;
    }
    r->depth--;
    return top->container;
}

/* The next value, if it is complete; else as json_open. */
static PyObject *
json_value(struct json_reader *r, bool *more)
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
    case '[':
        return json_open(r, *r->p++ == '{', more);
    case '-':
        if (r->end - r->p > 1 && r->p[1] == 'I') {
            return json_word(r);
        }
        return json_number(r);
    default:
        return *r->p >= '0' && *r->p <= '9' ? json_number(r) : json_word(r);
    }
}

static PyObject *
json_document(struct json_reader *r)
{
    for (;;) {
        bool more = false;
        PyObject *value = json_value(r, &more);
        while (value != NULL && r->depth > 0) {
            value = json_settle(r, value, &more);
        }
        if (value != NULL || !more) {
            return value;
        }
    }
}

static void
json_reader_clear(struct json_reader *r)
{
    for (size_t i = 0; i < r->depth; i++) {
        Py_DECREF(r->frames[i].container);
        Py_XDECREF(r->frames[i].key);
    }
    if (r->frames != r->usual) {
        PyMem_Free(r->frames);
    }
}

PyObject *
json_read(struct codec_ctx *ctx, wire_slice text, size_t *at)
{
    struct json_reader r;
    r.ctx = ctx;
    r.p = text.ptr;
    r.end = text.len == 0 ? text.ptr : text.ptr + text.len;
    r.frames = r.usual;
    r.room = JSON_DEPTH_USUAL;
    r.depth = 0;
    PyObject *document = json_document(&r);
    json_space(&r);
    if (document != NULL && r.p != r.end) {
        Py_CLEAR(document);
    }
    *at = (size_t)(r.p - text.ptr);
    json_reader_clear(&r);
    if (document == Py_None && ctx->options->json_null) {
        Py_SETREF(document, Py_NewRef(ctx->types->json_null));
    }
    return document;
}
