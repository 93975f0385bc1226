/* cursor.h, buffer.c and wire_next_frame: bytes, room for them, and their frames. */
#include "backend.h"

#include <stdlib.h>

#include "check.h"

static wire_slice
slice_of(const void *bytes, size_t len)
{
    wire_slice s = {bytes, len};
    return s;
}

/* cursor.h */

static void
test_loads_and_stores(void)
{
    uint8_t bytes[9] = {0};
    wire_store_u16(bytes + 1, 0xFEDC);
    CHECK_SLICE(slice_of(bytes, 4), "\x00\xFE\xDC\x00");
    CHECK_INT(wire_load_u16(bytes + 1), 0xFEDC);
    CHECK_INT(wire_load_i16(bytes + 1), -292);
    wire_store_u32(bytes + 1, 0xFEDCBA98);
    CHECK_SLICE(slice_of(bytes + 1, 5), "\xFE\xDC\xBA\x98\x00");
    CHECK_INT(wire_load_u32(bytes + 1), 0xFEDCBA98);
    CHECK_INT(wire_load_i32(bytes + 1), (int32_t)0xFEDCBA98);
    wire_store_u64(bytes + 1, 0xFEDCBA9876543210);
    CHECK_SLICE(slice_of(bytes + 1, 8), "\xFE\xDC\xBA\x98\x76\x54\x32\x10");
    CHECK(wire_load_u64(bytes + 1) == 0xFEDCBA9876543210);
    CHECK_INT(wire_load_i64(bytes + 1), (int64_t)0xFEDCBA9876543210);
}

static void
test_reader(void)
{
    static const uint8_t body[] = {7, 0xFF, 0xFE, 0x00, 0x01, 0x00, 0x02, 'h',  'i',  0,
                                   0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFD, 'x'};
    struct wire_reader r = wire_reader_of(slice_of(body, sizeof(body)));
    CHECK_INT(wire_read_u8(&r), 7);
    CHECK_INT(wire_read_i16(&r), -2);
    CHECK_INT(wire_read_u32(&r), 0x00010002);
    CHECK_SLICE(wire_read_cstr(&r), "hi");
    CHECK_SLICE(wire_read_cstr(&r), "");
    CHECK_INT(wire_read_i64(&r), -3);
    CHECK(!wire_reader_end(&r));
    CHECK_SLICE(wire_read_bytes(&r, 1), "x");
    CHECK(wire_reader_end(&r));
}

/* Once bad, a reader gives nothing any more, whatever is left. */
static void
test_reader_is_sticky(void)
{
    static const uint8_t body[] = {1, 2, 3};
    struct wire_reader r = wire_reader_of(slice_of(body, sizeof(body)));
    CHECK_INT(wire_read_u32(&r), 0);
    CHECK(r.bad);
    CHECK_INT(wire_read_u8(&r), 0);
    CHECK_INT(wire_read_u16(&r), 0);
    CHECK_INT(wire_read_bytes(&r, 1).len, 0);
    CHECK_INT(wire_read_cstr(&r).len, 0);
    CHECK_INT(wire_reader_left(&r), 3);
    CHECK(!wire_reader_end(&r));
    r = wire_reader_of(slice_of(body, sizeof(body)));
    CHECK_INT(wire_read_cstr(&r).len, 0); /* no NUL */
    CHECK(r.bad);
    r = wire_reader_of(slice_of(body, sizeof(body)));
    CHECK(wire_read_bytes(&r, SIZE_MAX).ptr == NULL);
    CHECK(r.bad);
    r = wire_reader_of(slice_of(body, 0));
    CHECK(wire_reader_end(&r));
    CHECK_INT(wire_read_cstr(&r).len, 0);
    CHECK(!wire_reader_end(&r));
}

/* buffer.c */

static void
test_puts(void)
{
    struct wire_buffer b;
    wire_buffer_init(&b);
    CHECK_INT(wire_buffer_size(&b), 0);
    CHECK_INT(wire_buffer_unread(&b).len, 0);
    wire_buffer_put_u8(&b, 1);
    wire_buffer_put_u16(&b, 0x0203);
    wire_buffer_put_u32(&b, 0x04050607);
    wire_buffer_put_u64(&b, 0x08090A0B0C0D0E0F);
    wire_buffer_put(&b, "xy", 2);
    wire_buffer_put(&b, NULL, 0);
    wire_buffer_put_cstr(&b, slice_of("z", 1));
    wire_buffer_put_cstr(&b, slice_of(NULL, 0));
    CHECK_SLICE(wire_buffer_unread(&b), "\1\2\3\4\5\6\7\x08\x09\x0A\x0B\x0C\x0D\x0E\x0Fxyz\0\0");
    wire_buffer_consume(&b, 15);
    CHECK_SLICE(wire_buffer_unread(&b), "xyz\0\0");
    wire_buffer_consume(&b, 5);
    CHECK_INT(b.start, 0);
    CHECK_INT(b.end, 0);
    CHECK_INT(b.failed, WIRE_OK);
    wire_buffer_clear(&b, false);
    CHECK(b.data == NULL && b.cap == 0);
    wire_buffer_clear(&b, true);
}

/* A queue of many bytes through a buffer that moves and grows on the way. */
static void
test_growth_keeps_bytes(void)
{
    struct wire_buffer b;
    uint8_t written = 0, read = 0;
    unsigned wrong = 0;
    wire_buffer_init(&b);
    for (size_t round = 0; round < 2000; round++) {
        for (size_t i = 0; i < round % 97 + 3; i++) {
            wire_buffer_put_u8(&b, written++);
        }
        size_t n = wire_buffer_size(&b) < 60 ? wire_buffer_size(&b) : round % 61;
        wire_slice unread = wire_buffer_unread(&b);
        for (size_t i = 0; i < n; i++) {
            wrong += unread.ptr[i] != read++;
        }
        wire_buffer_consume(&b, n);
    }
    CHECK_INT(wrong, 0);
    CHECK_INT(b.failed, WIRE_OK);
    CHECK_INT((uint8_t)(read + wire_buffer_size(&b)), written);
    wire_buffer_clear(&b, false);
}

static void
test_growth_doubles(void)
{
    struct wire_buffer b;
    size_t growths = 0;
    wire_buffer_init(&b);
    for (size_t i = 0; i < 1u << 20; i++) {
        size_t cap = b.cap;
        wire_buffer_put_u8(&b, 0);
        growths += b.cap != cap;
    }
    CHECK(growths <= 12);
    wire_buffer_shrink(&b, 0);
    CHECK_INT(wire_buffer_size(&b), 1u << 20); /* not empty: left alone */
    wire_buffer_consume(&b, 1u << 20);
    wire_buffer_shrink(&b, 1u << 20);
    CHECK_INT(b.cap, 1u << 20);
    wire_buffer_shrink(&b, 4096);
    CHECK_INT(b.cap, 0);
    wire_buffer_put_u8(&b, 9);
    CHECK_SLICE(wire_buffer_unread(&b), "\x09");
    wire_buffer_clear(&b, false);
}

/* Consumed bytes do not move the room that is asked for over and over. */
static void
test_steady_state_does_not_grow(void)
{
    struct wire_buffer b;
    uint8_t bytes[100] = {0};
    wire_buffer_init(&b);
    wire_buffer_put(&b, bytes, 7);
    for (int i = 0; i < 10000; i++) {
        wire_buffer_put(&b, bytes, sizeof(bytes));
        wire_buffer_consume(&b, sizeof(bytes));
    }
    CHECK(b.cap <= 1024);
    CHECK_INT(wire_buffer_size(&b), 7);
    wire_buffer_clear(&b, false);
}

/* Lengths alone: what cannot be sent is not even looked at. */
static void
test_limits(void)
{
    static const size_t lengths[] = {(size_t)WIRE_MESSAGE_MAX + 1, (size_t)1 << 31,
                                     (size_t)UINT32_MAX - 3, SIZE_MAX - 8, SIZE_MAX};
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        struct wire_buffer b;
        wire_buffer_init(&b);
        wire_buffer_put(&b, "abc", 3);
        size_t mark = wire_buffer_mark(&b);
        wire_buffer_put(&b, "", lengths[i]);
        CHECK_INT(b.failed, WIRE_ERR_LIMIT);
        wire_buffer_put(&b, "def", 3); /* sticky: a no-op, though there is room */
        wire_buffer_put_u64(&b, 1);
        CHECK(wire_buffer_reserve(&b, 1) == NULL);
        CHECK_SLICE(wire_buffer_unread(&b), "abc");
        wire_buffer_rollback(&b, mark);
        CHECK_INT(b.failed, WIRE_OK);
        wire_buffer_put(&b, "def", 3);
        CHECK_SLICE(wire_buffer_unread(&b), "abcdef");
        wire_buffer_clear(&b, false);
    }
}

static void
test_rollback(void)
{
    struct wire_buffer b;
    wire_buffer_init(&b);
    wire_buffer_put(&b, "gone", 4);
    wire_buffer_put(&b, "keep", 4);
    wire_buffer_consume(&b, 4);
    size_t mark = wire_buffer_mark(&b);
    for (int i = 0; i < 5000; i++) {
        wire_buffer_put_u32(&b, 0);
    }
    wire_buffer_rollback(&b, mark);
    CHECK_SLICE(wire_buffer_unread(&b), "keep");
    wire_buffer_rollback(&b, 0);
    CHECK_INT(wire_buffer_size(&b), 0);
    wire_buffer_clear(&b, false);
}

static void
test_messages(void)
{
    struct wire_buffer b;
    wire_buffer_init(&b);
    wire_buffer_put(&b, "....", 4);
    wire_buffer_consume(&b, 3);
    size_t begin = wire_message_begin(&b, 'Q');
    wire_buffer_put_cstr(&b, slice_of("x", 1));
    wire_message_end(&b, begin);
    wire_message_end(&b, wire_message_begin(&b, 'S'));
    CHECK_SLICE(wire_buffer_unread(&b), ".Q\0\0\0\6x\0S\0\0\0\4");
    wire_buffer_clear(&b, false);
}

/* A length that is a lie: the message is refused, whatever holds its bytes. */
static void
test_message_limit(void)
{
    struct wire_buffer b;
    uint8_t header[8] = {0};
    b.data = header;
    b.start = 0;
    b.end = (size_t)WIRE_MESSAGE_MAX + 1;
    b.cap = b.end;
    b.failed = WIRE_OK;
    wire_message_end(&b, 1);
    CHECK_INT(b.failed, WIRE_OK);
    CHECK_INT(wire_load_u32(header + 1), WIRE_MESSAGE_MAX);
    b.end += 1;
    wire_message_end(&b, 1);
    CHECK_INT(b.failed, WIRE_ERR_LIMIT);
    CHECK_INT(wire_load_u32(header + 1), WIRE_MESSAGE_MAX);
}

/* Consumed bytes are overwritten in debug builds, and this is one. */
static void
test_poison(void)
{
    struct wire_buffer b;
    wire_buffer_init(&b);
    wire_buffer_put(&b, "stale!", 6);
    wire_slice stale = {wire_buffer_unread(&b).ptr, 5};
    wire_buffer_consume(&b, 5);
    CHECK_SLICE(stale, "\xDD\xDD\xDD\xDD\xDD");
    CHECK_SLICE(wire_buffer_unread(&b), "!");
    wire_buffer_clear(&b, false);
}

/* status.c */

static void
test_first_error_stays(void)
{
    struct wire_error error = {WIRE_OK, ""};
    CHECK_INT(wire_error_set(&error, WIRE_ERR_LIMIT, "first %d", 1), WIRE_ERR_LIMIT);
    CHECK_INT(wire_error_set(&error, WIRE_ERR_AUTH, "second"), WIRE_ERR_LIMIT);
    CHECK_STR(error.text, "first 1");
    memset(&error, 0, sizeof(error));
    CHECK_INT(wire_error_set(&error, WIRE_ERR_AUTH, "%0400d", 7), WIRE_ERR_AUTH);
    CHECK_INT(strlen(error.text), WIRE_ERROR_TEXT_MAX - 1);
}

/* wire_next_frame */

/* Looks at a copy of exact size. */
static enum wire_status
frame_status(const void *bytes, size_t len, bool authenticated, struct wire_error *error)
{
    struct wire_buffer in = {malloc(len + 1), 1, len + 1, len + 1, WIRE_OK};
    struct wire_frame frame;
    if (in.data == NULL) {
        abort();
    }
    memcpy(in.data + 1, bytes, len);
    memset(error, 0, sizeof(*error));
    enum wire_status status = wire_next_frame(&in, authenticated, &frame, error);
    free(in.data);
    return status;
}

static void
test_frame_in_parts(void)
{
    static const char bytes[] = "D\0\0\0\x08oneE";
    struct wire_error error;
    for (size_t len = 0; len < 9; len++) {
        CHECK_INT(frame_status(bytes, len, true, &error), WIRE_MORE);
        CHECK_STR(error.text, "");
    }
    struct wire_buffer in;
    struct wire_frame frame;
    wire_buffer_init(&in);
    wire_buffer_put(&in, "D\0\0\0\x07oneZ\0\0\0\x04", 13);
    CHECK_INT(wire_next_frame(&in, true, &frame, &error), WIRE_OK);
    CHECK_INT(frame.tag, 'D');
    CHECK_SLICE(frame.body, "one");
    wire_buffer_consume(&in, 5 + frame.body.len);
    CHECK_INT(wire_next_frame(&in, true, &frame, &error), WIRE_OK);
    CHECK_INT(frame.tag, 'Z');
    CHECK_INT(frame.body.len, 0);
    wire_buffer_consume(&in, 5);
    CHECK_INT(wire_next_frame(&in, true, &frame, &error), WIRE_MORE);
    wire_buffer_clear(&in, false);
}

/* Every tag there is, and no other, at once. */
static void
test_tags(void)
{
    static const char known[] = "RK23CdcGHWDIEvnNAtS1sZT";
    for (int tag = 0; tag < 256; tag++) {
        uint8_t byte = (uint8_t)tag;
        bool is_known = tag != 0 && strchr(known, tag) != NULL;
        struct wire_error error;
        enum wire_status status = frame_status(&byte, 1, true, &error);
        CHECK_INT(status, is_known ? WIRE_MORE : WIRE_ERR_PROTOCOL);
        CHECK_INT(error.status, is_known ? WIRE_OK : WIRE_ERR_PROTOCOL);
        CHECK((strstr(error.text, "unknown message type") != NULL) == !is_known);
    }
}

static enum wire_status
header_status(char tag, uint32_t len, bool authenticated)
{
    uint8_t header[5] = {(uint8_t)tag};
    struct wire_error error;
    wire_store_u32(header + 1, len);
    enum wire_status status = frame_status(header, sizeof(header), authenticated, &error);
    CHECK((status < 0) == (error.text[0] != '\0'));
    return status;
}

static void
test_impossible_lengths(void)
{
    static const char tags[] = "RK23CdcGHWDIEvnNAtS1sZT";
    for (size_t i = 0; i < sizeof(tags) - 1; i++) {
        for (uint32_t len = 0; len < 4; len++) {
            CHECK_INT(header_status(tags[i], len, true), WIRE_ERR_PROTOCOL);
        }
        CHECK_INT(header_status(tags[i], 4, true), WIRE_OK);
        CHECK_INT(header_status(tags[i], UINT32_MAX, true), WIRE_ERR_LIMIT);
        CHECK_INT(header_status(tags[i], 0x80000000, true), WIRE_ERR_LIMIT);
        CHECK_INT(header_status(tags[i], 0x7FFFFFFF, true), WIRE_ERR_LIMIT);
    }
}

/* The longest length of each tag is waited for; one more is refused by its header. */
static void
check_longest(const char *tags, uint32_t longest, bool authenticated)
{
    for (const char *tag = tags; *tag != '\0'; tag++) {
        CHECK_INT(header_status(*tag, longest, authenticated), WIRE_MORE);
        CHECK_INT(header_status(*tag, longest + 1, authenticated), WIRE_ERR_LIMIT);
    }
}

static void
test_longest_lengths(void)
{
    check_longest("DTtdENA", WIRE_MESSAGE_MAX, true);
    check_longest("K23CcGHWIvnS1sZ", WIRE_MESSAGE_SHORT_MAX, true);
    check_longest("DTtdENA", WIRE_MESSAGE_PREAUTH_MAX, false);
    check_longest("K23CcGHWIvnS1sZ", WIRE_MESSAGE_SHORT_MAX, false);
    check_longest("R", WIRE_AUTH_MESSAGE_MAX, true);
    check_longest("R", WIRE_AUTH_MESSAGE_MAX, false);
}

int
main(void)
{
    test_loads_and_stores();
    test_reader();
    test_reader_is_sticky();
    test_puts();
    test_growth_keeps_bytes();
    test_growth_doubles();
    test_steady_state_does_not_grow();
    test_limits();
    test_rollback();
    test_messages();
    test_message_limit();
    test_poison();
    test_first_error_stays();
    test_frame_in_parts();
    test_tags();
    test_impossible_lengths();
    test_longest_lengths();
    return check_done();
}
