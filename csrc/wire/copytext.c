#include "copytext.h"

void
wire_copy_style_init(struct wire_copy_style *style, bool csv)
{
    memset(style, 0, sizeof(*style));
    style->csv = csv;
    style->delimiter = csv ? ',' : '\t';
    style->quote = '"';
    style->escape = '"';
    if (!csv) {
        memcpy(style->null, "\\N", 2);
        style->null_len = 2;
    }
}

static wire_slice
slice_from(wire_slice bytes, size_t mark)
{
    wire_slice rest = {bytes.len == mark ? NULL : bytes.ptr + mark, bytes.len - mark};
    return rest;
}

static bool
is_null_text(const struct wire_copy_style *style, wire_slice value)
{
    return value.len == style->null_len
           && (value.len == 0 || memcmp(value.ptr, style->null, value.len) == 0);
}

/* The letter behind the backslash for a byte of the text format, 0: it stays as it is. */
static uint8_t
text_letter(const struct wire_copy_style *style, uint8_t byte)
{
    switch (byte) {
    case '\\':
        return '\\';
    case '\n':
        return 'n';
    case '\r':
        return 'r';
    case '\t':
        return 't';
    default:
        return byte == (uint8_t)style->delimiter ? byte : 0;
    }
}

static void
put_text(struct wire_buffer *b, const struct wire_copy_style *style, wire_slice value)
{
    size_t begin = 0;
    for (size_t i = 0; i < value.len; i++) {
        uint8_t letter = text_letter(style, value.ptr[i]);
        if (letter != 0) {
            wire_buffer_put(b, value.ptr + begin, i - begin);
            wire_buffer_put_u8(b, '\\');
            wire_buffer_put_u8(b, letter);
            begin = i + 1;
        }
    }
    if (value.len > begin) {
        wire_buffer_put(b, value.ptr + begin, value.len - begin);
    }
}

/* A value that is spelt like NULL: its first byte in octal is the same value, since NULL
 * is looked for before anything is unescaped. */
static bool
put_text_not_null(struct wire_buffer *b, const struct wire_copy_style *style, wire_slice value)
{
    if (value.len == 0) {
        return false;
    }
    uint8_t byte = value.ptr[0];
    uint8_t octal[4] = {'\\', (uint8_t)('0' + (byte >> 6)), (uint8_t)('0' + (byte >> 3 & 7)),
                        (uint8_t)('0' + (byte & 7))};
    wire_slice rest = {value.ptr + 1, value.len - 1};
    wire_buffer_put(b, octal, sizeof(octal));
    put_text(b, style, rest);
    return true;
}

static bool
csv_needs_quotes(const struct wire_copy_style *style, wire_slice value)
{
    if (value.len == 0 || value.ptr[0] == '\\' || is_null_text(style, value)) {
        return true; /* "\." alone in a line ends the data of older servers */
    }
    for (size_t i = 0; i < value.len; i++) {
        uint8_t byte = value.ptr[i];
        if (byte == (uint8_t)style->delimiter || byte == (uint8_t)style->quote || byte == '\n'
            || byte == '\r') {
            return true;
        }
    }
    return false;
}

static void
put_csv(struct wire_buffer *b, const struct wire_copy_style *style, wire_slice value)
{
    if (!csv_needs_quotes(style, value)) {
        wire_buffer_put(b, value.ptr, value.len);
        return;
    }
    wire_buffer_put_u8(b, (uint8_t)style->quote);
    size_t begin = 0;
    for (size_t i = 0; i < value.len; i++) {
        if (value.ptr[i] == (uint8_t)style->quote || value.ptr[i] == (uint8_t)style->escape) {
            wire_buffer_put(b, value.ptr + begin, i - begin);
            wire_buffer_put_u8(b, (uint8_t)style->escape);
            begin = i;
        }
    }
    if (value.len > begin) {
        wire_buffer_put(b, value.ptr + begin, value.len - begin);
    }
    wire_buffer_put_u8(b, (uint8_t)style->quote);
}

bool
wire_copy_put_value(struct wire_buffer *b, const struct wire_copy_style *style, wire_slice value)
{
    if (style->csv) {
        put_csv(b, style, value);
        return true;
    }
    size_t mark = wire_buffer_mark(b);
    put_text(b, style, value);
    wire_slice written = wire_buffer_unread(b);
    if (b->failed != WIRE_OK || !is_null_text(style, slice_from(written, mark))) {
        return true;
    }
    wire_buffer_rollback(b, mark);
    return put_text_not_null(b, style, value);
}

void
wire_copy_put_null(struct wire_buffer *b, const struct wire_copy_style *style)
{
    wire_buffer_put(b, style->null, style->null_len);
}
