/* tsvector and tsquery: the server's own text for them, made from the binary form,
 * which is what containers of them bring ("Text Search Types", 8.11). Sent as text. */
#include "families.h"

enum tsearch_kind { TSEARCH_VALUE = 1, TSEARCH_OPERATOR = 2 };
enum tsearch_operation { TSEARCH_WORD, TSEARCH_NOT, TSEARCH_AND, TSEARCH_OR, TSEARCH_PHRASE };

/* An item of a tsquery, which is a tree written in the order: operator, right operand,
 * left operand. It may be as deep as it has items, so that no function here recurs. */
struct tsearch_item {
    wire_slice word;
    size_t parent; /* the index of its operator; TSEARCH_NONE: the root */
    size_t end;    /* the index behind the last item below it, where its left side starts */
    uint16_t distance;
    uint8_t operation; /* TSEARCH_WORD or an operator */
    uint8_t weight;
    bool prefix;
};

#define TSEARCH_NONE SIZE_MAX
#define TSEARCH_ITEM_MIN 2 /* bytes of the shortest item */

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
    if (!valid) {
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

static bool
tsearch_read_item(struct wire_reader *reader, struct tsearch_item *item)
{
    uint8_t kind = wire_read_u8(reader);
    memset(item, 0, sizeof *item);
    if (kind == TSEARCH_VALUE) {
        item->weight = wire_read_u8(reader);
        item->prefix = wire_read_u8(reader) != 0;
        item->word = wire_read_cstr(reader);
        return !reader->bad;
    }
    item->operation = wire_read_u8(reader);
    if (item->operation == TSEARCH_PHRASE) {
        item->distance = wire_read_u16(reader);
    }
    return !reader->bad && kind == TSEARCH_OPERATOR && item->operation >= TSEARCH_NOT
           && item->operation <= TSEARCH_PHRASE;
}

/* Finds every item's parent and end; false unless all of them are one tree. */
static bool
tsearch_link(struct tsearch_item *items, size_t count)
{
    for (size_t i = count; i-- > 0;) {
        static const int operands[] = {0, 1, 2, 2, 2};
        size_t next = i + 1;
        for (int n = operands[items[i].operation]; n > 0; n--) {
            if (next >= count) {
                return false;
            }
            items[next].parent = i;
            next = items[next].end;
        }
        items[i].end = next;
    }
    items[0].parent = TSEARCH_NONE;
    return items[0].end == count;
}

/* A word with its weights and whether it is a prefix: 'word':*AB */
static void
tsearch_put_word(struct wire_buffer *out, const struct tsearch_item *item)
{
    tsearch_put_lexeme(out, item->word);
    if (item->weight == 0 && !item->prefix) {
        return;
    }
    tsearch_put(out, item->prefix ? ":*" : ":");
    for (int bit = 3; bit >= 0; bit--) {
        if ((item->weight >> bit & 1) != 0) {
            char letter[2] = {(char)('A' + 3 - bit), 0};
            tsearch_put(out, letter);
        }
    }
}

/* Whether an operator binds less than the one above it. a <-> b <-> c counts from the left. */
static bool
tsearch_parentheses(const struct tsearch_item *items, size_t at)
{
    static const int priorities[] = {5, 4, 2, 1, 3};
    size_t parent = items[at].parent;
    if (parent == TSEARCH_NONE) {
        return false;
    }
    uint8_t above = items[parent].operation;
    return priorities[items[at].operation] < priorities[above]
           || (items[at].operation == TSEARCH_PHRASE && above == TSEARCH_PHRASE
               && at == parent + 1);
}

static void
tsearch_put_operator(struct wire_buffer *out, const struct tsearch_item *item)
{
    char phrase[16];
    snprintf(phrase, sizeof phrase, item->distance == 1 ? " <-> " : " <%u> ",
             (unsigned)item->distance);
    const char *const texts[] = {"", "", " & ", " | ", phrase};
    tsearch_put(out, texts[item->operation]);
}

/* Goes down to the first word of what starts at `at`; gives the word's index. */
static size_t
tsearch_put_start(struct wire_buffer *out, const struct tsearch_item *items, size_t at)
{
    while (items[at].operation != TSEARCH_WORD) {
        tsearch_put(out, tsearch_parentheses(items, at) ? "( " : "");
        if (items[at].operation == TSEARCH_NOT) {
            tsearch_put(out, "!");
            at += 1;
        }
        else {
            at = items[at + 1].end;
        }
    }
    tsearch_put_word(out, &items[at]);
    return at;
}

/* Goes up from what is written, to the next operator whose right side is not; gives the
 * right side's index, or TSEARCH_NONE. */
static size_t
tsearch_put_end(struct wire_buffer *out, const struct tsearch_item *items, size_t at)
{
    for (;;) {
        size_t parent = items[at].parent;
        if (parent == TSEARCH_NONE) {
            return TSEARCH_NONE;
        }
        if (at != parent + 1) {
            tsearch_put_operator(out, &items[parent]);
            return parent + 1;
        }
        tsearch_put(out, tsearch_parentheses(items, parent) ? " )" : "");
        at = parent;
    }
}

/* Reads and writes `count` items. */
static bool
tsearch_put_items(struct wire_reader *reader, struct tsearch_item *items, size_t count,
                  struct wire_buffer *out)
{
    for (size_t i = 0; i < count; i++) {
        if (!tsearch_read_item(reader, &items[i])) {
            return false;
        }
    }
    if (!tsearch_link(items, count)) {
        return false;
    }
    for (size_t at = 0; at != TSEARCH_NONE && out->failed == WIRE_OK;) {
        at = tsearch_put_end(out, items, tsearch_put_start(out, items, at));
    }
    return true;
}

PyObject *
codec_tsquery_decode(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    struct wire_buffer out;
    struct wire_reader reader = wire_reader_of(value);
    wire_buffer_init(&out);
    size_t count = wire_read_u32(&reader);
    if (count == 0 || count > wire_reader_left(&reader) / TSEARCH_ITEM_MIN) {
        return tsearch_finish(self, ctx, count == 0 && wire_reader_end(&reader), &out);
    }
    struct tsearch_item *items = PyMem_Malloc(count * sizeof *items);
    if (items == NULL) {
        return PyErr_NoMemory();
    }
    bool valid = tsearch_put_items(&reader, items, count, &out);
    PyMem_Free(items);
    return tsearch_finish(self, ctx, valid && wire_reader_end(&reader), &out);
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
