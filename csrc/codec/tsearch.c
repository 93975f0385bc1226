/* tsvector and tsquery: the server's own text for them, made from the binary form,
 * which is what containers of them bring ("Text Search Types", 8.11). Sent as text. */
#include "families.h"

enum tsearch_item { TSEARCH_VALUE = 1, TSEARCH_OPERATOR = 2 };
enum tsearch_operator { TSEARCH_NOT = 1, TSEARCH_AND, TSEARCH_OR, TSEARCH_PHRASE };

struct tsearch_query {
    struct wire_reader reader;
    uint32_t items; /* not read yet */
};

static void
tsearch_put(struct wire_buffer *out, const char *text)
{
    wire_buffer_put(out, text, strlen(text));
}

/* A lexeme in quotes; a quote or backslash in it is written twice. */
static void
tsearch_put_lexeme(struct wire_buffer *out, wire_slice lexeme)
{
    tsearch_put(out, "'");
    for (size_t i = 0; i < lexeme.len; i++) {
        if (lexeme.ptr[i] == '\'' || lexeme.ptr[i] == '\\') {
            wire_buffer_put(out, &lexeme.ptr[i], 1);
        }
        wire_buffer_put(out, &lexeme.ptr[i], 1);
    }
    tsearch_put(out, "'");
}

static void
tsearch_put_positions(struct wire_buffer *out, struct wire_reader *reader)
{
    uint16_t count = wire_read_u16(reader);
    for (uint16_t i = 0; i < count && !reader->bad; i++) {
        static const char *const weights[] = {"", "C", "B", "A"};
        uint16_t entry = wire_read_u16(reader);
        char text[16];
        snprintf(text, sizeof text, "%s%u%s", i == 0 ? ":" : ",", (unsigned)(entry & 0x3FFF),
                 weights[entry >> 14]);
        tsearch_put(out, text);
    }
}

/* The text in `out` as a str, or what went wrong; clears the buffer. */
static PyObject *
tsearch_finish(const struct codec *self, struct codec_ctx *ctx, bool valid, struct wire_buffer *out)
{
    PyObject *text = NULL;
    if (PyErr_Occurred()) {
        /* RecursionError: it stays the cause */
        codec_fail(self, ctx, "it is nested too deeply");
    }
    else if (!valid) {
        codec_fail(self, ctx, "its parts do not fit its length");
    }
    else if (out->failed != WIRE_OK) {
        PyErr_NoMemory();
    }
    else {
        text = codec_str_of(self, ctx, wire_buffer_unread(out));
    }
    wire_buffer_clear(out, false);
    return text;
}

PyObject *
codec_tsvector_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    struct wire_buffer out;
    struct wire_reader reader = wire_reader_of(value);
    wire_buffer_init(&out);
    uint32_t count = wire_read_u32(&reader);
    for (uint32_t i = 0; i < count && !reader.bad; i++) {
        wire_slice lexeme = wire_read_cstr(&reader);
        if (i > 0) {
            tsearch_put(&out, " ");
        }
        tsearch_put_lexeme(&out, lexeme);
        tsearch_put_positions(&out, &reader);
    }
    return tsearch_finish(self, ctx, wire_reader_end(&reader), &out);
}

/* A word with its weights and whether it is a prefix: 'word':*AB */
static void
tsearch_put_value(struct tsearch_query *query, struct wire_buffer *out)
{
    uint8_t weight = wire_read_u8(&query->reader);
    uint8_t prefix = wire_read_u8(&query->reader);
    tsearch_put_lexeme(out, wire_read_cstr(&query->reader));
    if (weight == 0 && prefix == 0) {
        return;
    }
    tsearch_put(out, prefix != 0 ? ":*" : ":");
    for (int bit = 3; bit >= 0; bit--) {
        if ((weight >> bit & 1) != 0) {
            char letter[2] = {(char)('A' + 3 - bit), 0};
            tsearch_put(out, letter);
        }
    }
}

static bool
tsearch_put_item(struct tsearch_query *query, struct wire_buffer *out, int parent, bool right_side);

/* The operand(s) of an operator that has been read; the right one comes first. */
static bool
tsearch_put_operands(struct tsearch_query *query, struct wire_buffer *out, uint8_t code,
                     uint16_t distance, int priority)
{
    if (code == TSEARCH_NOT) {
        tsearch_put(out, "!");
        return tsearch_put_item(query, out, priority, false);
    }
    struct wire_buffer right;
    wire_buffer_init(&right);
    bool valid = tsearch_put_item(query, &right, priority, code == TSEARCH_PHRASE)
                 && tsearch_put_item(query, out, priority, false);
    char phrase[16];
    snprintf(phrase, sizeof phrase, distance == 1 ? " <-> " : " <%u> ", (unsigned)distance);
    tsearch_put(out, code == TSEARCH_AND ? " & " : code == TSEARCH_OR ? " | " : phrase);
    wire_slice text = wire_buffer_unread(&right);
    wire_buffer_put(out, text.ptr, text.len);
    valid = valid && right.failed == WIRE_OK;
    wire_buffer_clear(&right, false);
    return valid;
}

static bool
tsearch_put_operator(struct tsearch_query *query, struct wire_buffer *out, int parent,
                     bool right_side)
{
    static const int priorities[] = {0, 4, 2, 1, 3};
    uint8_t code = wire_read_u8(&query->reader);
    if (code < TSEARCH_NOT || code > TSEARCH_PHRASE) {
        return false;
    }
    uint16_t distance = code == TSEARCH_PHRASE ? wire_read_u16(&query->reader) : 0;
    int priority = priorities[code];
    /* a <-> b <-> c counts from the left. */
    bool parentheses = priority < parent || (code == TSEARCH_PHRASE && right_side);
    tsearch_put(out, parentheses ? "( " : "");
    bool valid = tsearch_put_operands(query, out, code, distance, priority);
    tsearch_put(out, parentheses ? " )" : "");
    return valid;
}

/* The next item with everything below it. False: malformed, or an exception is set. */
static bool
tsearch_put_item(struct tsearch_query *query, struct wire_buffer *out, int parent, bool right_side)
{
    uint8_t type = wire_read_u8(&query->reader);
    if (query->items == 0 || query->reader.bad) {
        return false;
    }
    query->items -= 1;
    if (type == TSEARCH_VALUE) {
        tsearch_put_value(query, out);
        return !query->reader.bad;
    }
    if (type != TSEARCH_OPERATOR || Py_EnterRecursiveCall(" while decoding a tsquery")) {
        return false;
    }
    bool valid = tsearch_put_operator(query, out, parent, right_side);
    Py_LeaveRecursiveCall();
    return valid;
}

PyObject *
codec_tsquery_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    struct wire_buffer out;
    struct tsearch_query query = {.reader = wire_reader_of(value)};
    wire_buffer_init(&out);
    query.items = wire_read_u32(&query.reader);
    bool valid = query.items == 0 || tsearch_put_item(&query, &out, -1, false);
    return tsearch_finish(self, ctx, valid && query.items == 0 && wire_reader_end(&query.reader),
                          &out);
}

enum codec_outcome
codec_tsvector_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                      struct wire_buffer *out)
{
    return codec_put_text_only(self, ctx, value, "give a str, its text form", out);
}

enum codec_outcome
codec_tsquery_encode(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                     struct wire_buffer *out)
{
    return codec_put_text_only(self, ctx, value, "give a str, its text form", out);
}
