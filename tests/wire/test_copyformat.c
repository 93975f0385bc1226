/* copyformat.c: a COPY of three rows cut at every byte, and what is refused. */
#include "copyformat.h"

#include "backend.h"
#include "buffer.h"
#include "check.h"

static void
put_header(struct wire_buffer *b, uint32_t flags, uint32_t extension)
{
    wire_buffer_put(b, WIRE_COPY_SIGNATURE, WIRE_COPY_SIGNATURE_LEN);
    wire_buffer_put_u32(b, flags);
    wire_buffer_put_u32(b, extension);
}

static void
put_field(struct wire_buffer *b, const char *text)
{
    wire_buffer_put_u32(b, text == NULL ? UINT32_MAX : (uint32_t)strlen(text));
    wire_buffer_put(b, text, text == NULL ? 0 : strlen(text));
}

/* ("a", NULL), ("", "bcd"), () and an extension of three bytes. */
static void
put_rows(struct wire_buffer *b)
{
    put_header(b, 0x0000FFFFu, 3);
    wire_buffer_put(b, "ext", 3);
    wire_buffer_put_u16(b, 2);
    put_field(b, "a");
    put_field(b, NULL);
    wire_buffer_put_u16(b, 2);
    put_field(b, "");
    put_field(b, "bcd");
    wire_buffer_put_u16(b, 0);
    wire_buffer_put_u16(b, 0xFFFF);
}

/* Appends each tuple as "text,NULL,;" */
static void
write_tuple(struct wire_buffer *seen, struct wire_copy_tuple *tuple)
{
    for (size_t i = 0; i < tuple->count; i++) {
        wire_slice value;
        bool null;
        CHECK(wire_read_cell(&tuple->cells, &value, &null));
        wire_buffer_put(seen, null ? (const uint8_t *)"NULL" : value.ptr, null ? 4 : value.len);
        wire_buffer_put(seen, ",", 1);
    }
    CHECK(wire_reader_end(&tuple->cells));
    wire_buffer_put(seen, ";", 1);
}

/* Gives `bytes` in pieces; what was seen is in `seen`, NUL-terminated. */
static enum wire_status
read_pieces(wire_slice bytes, size_t first, size_t piece, struct wire_buffer *seen,
            struct wire_copy *copy)
{
    struct wire_buffer kept;
    wire_buffer_init(&kept);
    enum wire_status status = WIRE_MORE;
    for (size_t given = 0; given < bytes.len && status >= 0;) {
        size_t n = given == 0 ? first : piece;
        n = bytes.len - given < n ? bytes.len - given : n;
        wire_buffer_put(&kept, bytes.ptr + given, n);
        given += n;
        struct wire_reader r = wire_reader_of(wire_buffer_unread(&kept));
        struct wire_copy_tuple tuple;
        while ((status = wire_copy_next(copy, &r, &tuple)) == WIRE_OK) {
            write_tuple(seen, &tuple);
        }
        wire_buffer_consume(&kept, wire_buffer_size(&kept) - wire_reader_left(&r));
    }
    wire_buffer_clear(&kept, false);
    wire_buffer_put(seen, "", 1);
    return status < 0 ? status : wire_copy_end(copy);
}

static void
check_pieces(wire_slice bytes, size_t first, size_t piece)
{
    struct wire_copy copy = {0};
    struct wire_buffer seen;
    wire_buffer_init(&seen);
    CHECK_INT(read_pieces(bytes, first, piece, &seen, &copy), WIRE_OK);
    CHECK_STR((const char *)seen.data, "a,NULL,;,bcd,;;");
    wire_buffer_clear(&seen, false);
}

static void
test_cut_anywhere(void)
{
    struct wire_buffer b;
    wire_buffer_init(&b);
    put_rows(&b);
    wire_slice bytes = wire_buffer_unread(&b);
    for (size_t cut = 1; cut <= bytes.len; cut++) {
        check_pieces(bytes, cut, bytes.len);
        check_pieces(bytes, cut, 1);
        check_pieces(bytes, cut, cut);
    }
    wire_buffer_clear(&b, false);
}

static void
test_cut_off(void)
{
    struct wire_buffer b;
    wire_buffer_init(&b);
    put_rows(&b);
    wire_slice bytes = wire_buffer_unread(&b);
    for (bytes.len = 0; bytes.len < wire_buffer_size(&b); bytes.len++) {
        struct wire_copy copy = {0};
        struct wire_buffer seen;
        wire_buffer_init(&seen);
        CHECK_INT(read_pieces(bytes, 1, 7, &seen, &copy), WIRE_ERR_PROTOCOL);
        CHECK_STR(copy.error.text, "binary COPY data: it ends in the middle");
        wire_buffer_clear(&seen, false);
    }
    wire_buffer_clear(&b, false);
}

/* The bytes in `b` are refused with this text, whatever is asked afterwards. Clears it. */
static void
check_refused(struct wire_buffer *b, enum wire_status expected, const char *text)
{
    struct wire_copy copy = {0};
    struct wire_buffer seen;
    wire_buffer_init(&seen);
    CHECK_INT(read_pieces(wire_buffer_unread(b), 1, 1, &seen, &copy), expected);
    CHECK_STR(copy.error.text, text);
    struct wire_reader more = wire_reader_of(wire_buffer_unread(b));
    struct wire_copy_tuple tuple;
    CHECK_INT(wire_copy_next(&copy, &more, &tuple), expected);
    CHECK_INT(wire_copy_end(&copy), expected);
    wire_buffer_clear(&seen, false);
    wire_buffer_clear(b, false);
}

static void
test_header_refused(void)
{
    struct wire_buffer b;
    wire_buffer_init(&b);
    wire_buffer_put(&b, "PGCOPY\n\377\r\r\0\0\0\0\0\0\0\0\0\0", 20);
    check_refused(&b, WIRE_ERR_PROTOCOL, "binary COPY data: the signature is not PostgreSQL's");
    put_header(&b, 0x00010000u, 0);
    check_refused(&b, WIRE_ERR_PROTOCOL,
                  "binary COPY data: it has OIDs in its rows, as no server since PostgreSQL 12 "
                  "sends them");
    put_header(&b, 0x80000000u, 0);
    check_refused(&b, WIRE_ERR_PROTOCOL, "binary COPY data: its header has unknown critical flags");
    put_header(&b, 0, 0x80000000u);
    check_refused(&b, WIRE_ERR_PROTOCOL,
                  "binary COPY data: its header's extension has a negative length");
}

static void
test_row_refused(void)
{
    struct wire_buffer b;
    wire_buffer_init(&b);
    put_header(&b, 0, 0);
    wire_buffer_put_u16(&b, 0xFFFE);
    check_refused(&b, WIRE_ERR_PROTOCOL,
                  "binary COPY data: a row has an impossible number of fields");
    put_header(&b, 0, 0);
    wire_buffer_put_u16(&b, WIRE_COLUMNS_MAX + 1);
    check_refused(&b, WIRE_ERR_PROTOCOL,
                  "binary COPY data: a row has an impossible number of fields");
    put_header(&b, 0, 0);
    wire_buffer_put_u16(&b, 1);
    wire_buffer_put_u32(&b, 0xFFFFFFFEu);
    check_refused(&b, WIRE_ERR_PROTOCOL, "binary COPY data: a field has a negative length");
    put_header(&b, 0, 0);
    wire_buffer_put_u16(&b, 2);
    put_field(&b, "abc");
    wire_buffer_put_u32(&b, WIRE_MESSAGE_MAX - 12);
    check_refused(&b, WIRE_ERR_LIMIT, "binary COPY data: a row is longer than a message may be");
    put_rows(&b);
    wire_buffer_put(&b, "x", 1);
    check_refused(&b, WIRE_ERR_PROTOCOL, "binary COPY data: more came behind its end");
}

int
main(void)
{
    test_cut_anywhere();
    test_cut_off();
    test_header_refused();
    test_row_refused();
    return check_done();
}
