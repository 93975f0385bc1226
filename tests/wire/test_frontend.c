/* frontend.c: every message, byte by byte. */
#include "frontend.h"

#include <stdlib.h>

#include "check.h"

static wire_slice
text_slice(const char *text)
{
    wire_slice s = {(const uint8_t *)text, strlen(text)};
    return s;
}

static const wire_slice nothing = {NULL, 0};

/* The bytes in the buffer are `literal`; they are consumed. */
#define CHECK_SENT(b, literal)                                                                     \
    do {                                                                                           \
        CHECK_INT((b)->failed, WIRE_OK);                                                           \
        CHECK_SLICE(wire_buffer_unread(b), literal);                                               \
        wire_buffer_consume((b), wire_buffer_size(b));                                             \
    } while (0)

static void
test_startup(struct wire_buffer *b)
{
    struct wire_pair pairs[] = {{text_slice("user"), text_slice("me")},
                                {text_slice("options"), nothing}};
    wire_put_startup(b, WIRE_PROTOCOL_3_0, pairs, 2);
    CHECK_SENT(b, "\0\0\0\x1A\0\3\0\0user\0me\0options\0\0\0");
    wire_put_startup(b, WIRE_PROTOCOL_3_2, NULL, 0);
    CHECK_SENT(b, "\0\0\0\x09\0\3\0\2\0");
    wire_put_ssl_request(b);
    CHECK_SENT(b, "\0\0\0\x08\x04\xD2\x16\x2F");
}

static void
test_cancel(struct wire_buffer *b)
{
    uint8_t key[WIRE_CANCEL_KEY_MAX] = {0};
    wire_slice longest = {key, sizeof(key)};
    wire_put_cancel_request(b, 0x01020304, text_slice("abcd"));
    CHECK_SENT(b, "\0\0\0\x10\x04\xD2\x16\x2E\1\2\3\4"
                  "abcd");
    wire_put_cancel_request(b, 1, longest);
    CHECK_INT(wire_buffer_size(b), 12 + sizeof(key));
    CHECK_INT(wire_load_u32(b->data), 12 + sizeof(key));
    wire_buffer_consume(b, wire_buffer_size(b));
}

static void
test_authentication(struct wire_buffer *b)
{
    wire_put_password(b, text_slice("secret"));
    CHECK_SENT(b, "p\0\0\0\x0Bsecret\0");
    wire_put_password(b, nothing);
    CHECK_SENT(b, "p\0\0\0\5\0");
    wire_put_sasl_initial(b, text_slice("SCRAM"), text_slice("n,,"));
    CHECK_SENT(b, "p\0\0\0\x11SCRAM\0\0\0\0\3n,,");
    wire_put_sasl_initial(b, text_slice("X"), nothing);
    CHECK_SENT(b, "p\0\0\0\x0AX\0\0\0\0\0");
    wire_put_sasl_response(b, text_slice("c=biws"));
    CHECK_SENT(b, "p\0\0\0\x0A"
                  "c=biws");
}

static void
test_statements(struct wire_buffer *b)
{
    static const uint32_t oids[] = {23, 0, 0xFFFFFFFF};
    wire_put_query(b, text_slice("select 1"));
    CHECK_SENT(b, "Q\0\0\0\x0Dselect 1\0");
    wire_put_parse(b, text_slice("s1"), text_slice("select $1"), oids, 3);
    CHECK_SENT(b, "P\0\0\0\x1Fs1\0select $1\0\0\3\0\0\0\x17\0\0\0\0\xFF\xFF\xFF\xFF");
    wire_put_parse(b, nothing, nothing, NULL, 0);
    CHECK_SENT(b, "P\0\0\0\x08\0\0\0\0");
    wire_put_describe(b, 'S', text_slice("s1"));
    CHECK_SENT(b, "D\0\0\0\x08Ss1\0");
    wire_put_describe(b, 'P', nothing);
    CHECK_SENT(b, "D\0\0\0\6P\0");
    wire_put_close(b, 'P', text_slice("p"));
    CHECK_SENT(b, "C\0\0\0\7Pp\0");
    wire_put_execute(b, text_slice("p"), 0x01020304);
    CHECK_SENT(b, "E\0\0\0\x0Ap\0\1\2\3\4");
}

static void
test_bare(struct wire_buffer *b)
{
    wire_put_sync(b);
    wire_put_flush(b);
    wire_put_terminate(b);
    wire_put_copy_done(b);
    CHECK_SENT(b, "S\0\0\0\4H\0\0\0\4X\0\0\0\4c\0\0\0\4");
}

static void
test_copy(struct wire_buffer *b)
{
    wire_put_copy_data(b, text_slice("a\n"));
    wire_put_copy_data(b, nothing);
    wire_put_copy_fail(b, text_slice("no"));
    CHECK_SENT(b, "d\0\0\0\6a\nd\0\0\0\4f\0\0\0\7no\0");
}

static void
test_bind_empty(struct wire_buffer *b)
{
    struct wire_bind bind;
    wire_put_bind_begin(b, &bind, nothing, text_slice("s"), 0);
    wire_put_bind_end(b, &bind, text_slice(""));
    CHECK_SENT(b, "B\0\0\0\x0B\0s\0\0\0\0\0");
}

static void
test_bind(struct wire_buffer *b)
{
    struct wire_bind bind;
    static const uint8_t formats[] = {0, 1, 0, 1};
    wire_slice tail = {formats, sizeof(formats)};
    wire_put_sync(b); /* not the first message in the buffer */
    wire_put_bind_begin(b, &bind, text_slice("p"), text_slice("s"), 3);
    size_t value = wire_put_param_begin(b);
    wire_buffer_put_u16(b, 0x0102);
    wire_put_param_end(b, value);
    wire_put_param_null(b);
    wire_put_param_format(b, &bind, 2, WIRE_FORMAT_TEXT);
    value = wire_put_param_begin(b);
    wire_put_param_end(b, value);
    wire_put_bind_end(b, &bind, tail);
    CHECK_SENT(b, "S\0\0\0\4B\0\0\0\x24p\0s\0\0\3\0\1\0\1\0\0\0\3"
                  "\0\0\0\2\1\2\xFF\xFF\xFF\xFF\0\0\0\0\0\1\0\1");
}

static void
test_bind_most(struct wire_buffer *b)
{
    struct wire_bind bind;
    wire_put_bind_begin(b, &bind, nothing, nothing, WIRE_PARAMS_MAX);
    for (size_t i = 0; i < WIRE_PARAMS_MAX; i++) {
        wire_put_param_null(b);
    }
    wire_put_bind_end(b, &bind, text_slice(""));
    size_t len = 1 + 4 + 2 + 2 + 2 * (size_t)WIRE_PARAMS_MAX + 2 + 4 * (size_t)WIRE_PARAMS_MAX;
    CHECK_INT(b->failed, WIRE_OK);
    CHECK_INT(wire_buffer_size(b), len);
    CHECK_INT(wire_load_u32(b->data + 1), len - 1);
    CHECK_INT(wire_load_u16(b->data + 7), WIRE_PARAMS_MAX);
    CHECK_INT(wire_load_u16(b->data + 9 + 2 * (size_t)WIRE_PARAMS_MAX), WIRE_PARAMS_MAX);
    wire_buffer_consume(b, len);
}

/* The lengths of CVE-2024-27304: 2, 4 and 5 GiB. Nothing behind them is read, and
 * nothing is left to be sent. */
static void
test_too_long(struct wire_buffer *b)
{
    static const uint64_t lengths[] = {(uint64_t)WIRE_MESSAGE_MAX + 1, (uint64_t)2 << 30,
                                       (uint64_t)4 << 30, (uint64_t)5 << 30};
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        wire_slice text = {(const uint8_t *)"", (size_t)lengths[i]};
        struct wire_bind bind;
        if (text.len != lengths[i]) {
            continue; /* size_t of 32 bits cannot say it */
        }
        for (int message = 0; message < 4; message++) {
            size_t mark = wire_buffer_mark(b);
            switch (message) {
            case 0:
                wire_put_query(b, text);
                break;
            case 1:
                wire_put_parse(b, nothing, text, NULL, 0);
                break;
            case 2:
                wire_put_copy_data(b, text);
                break;
            default:
                wire_put_bind_begin(b, &bind, nothing, nothing, 1);
                size_t value = wire_put_param_begin(b);
                wire_buffer_put(b, text.ptr, text.len);
                wire_put_param_end(b, value);
                wire_put_param_format(b, &bind, 0, WIRE_FORMAT_TEXT);
                wire_put_bind_end(b, &bind, nothing);
                break;
            }
            CHECK_INT(b->failed, WIRE_ERR_LIMIT);
            wire_put_sync(b);
            wire_buffer_rollback(b, mark);
            CHECK_SENT(b, "");
        }
    }
}

/* A value whose length is over the limit, in a buffer that only says so. */
static void
test_value_too_long(void)
{
    struct wire_buffer b;
    uint8_t length[4] = {0};
    b.data = length;
    b.start = 0;
    b.end = (size_t)WIRE_MESSAGE_MAX + 4;
    b.cap = b.end;
    b.failed = WIRE_OK;
    wire_put_param_end(&b, 0);
    CHECK_INT(b.failed, WIRE_OK);
    CHECK_INT(wire_load_u32(length), WIRE_MESSAGE_MAX);
    b.end += 1;
    wire_put_param_end(&b, 0);
    CHECK_INT(b.failed, WIRE_ERR_LIMIT);
}

static void
test_nul(void)
{
    wire_slice hidden = {(const uint8_t *)"a\0b", 3};
    wire_slice last = {(const uint8_t *)"ab", 3};
    CHECK(wire_slice_has_nul(hidden));
    CHECK(wire_slice_has_nul(last));
    CHECK(!wire_slice_has_nul(text_slice("ab")));
    CHECK(!wire_slice_has_nul(nothing));
}

int
main(void)
{
    struct wire_buffer b;
    wire_buffer_init(&b);
    test_startup(&b);
    test_cancel(&b);
    test_authentication(&b);
    test_statements(&b);
    test_bare(&b);
    test_copy(&b);
    test_bind_empty(&b);
    test_bind(&b);
    test_bind_most(&b);
    test_too_long(&b);
    test_value_too_long();
    test_nul();
    wire_buffer_clear(&b, false);
    return check_done();
}
