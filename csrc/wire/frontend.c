#include "frontend.h"

#include <assert.h>

bool
wire_slice_has_nul(wire_slice text)
{
    return text.len > 0 && memchr(text.ptr, 0, text.len) != NULL;
}

/* A message without a tag: its length is its first field. */
static size_t
untagged_begin(struct wire_buffer *b, uint32_t code)
{
    size_t mark = wire_buffer_mark(b);
    wire_buffer_put_u32(b, 0);
    wire_buffer_put_u32(b, code);
    return mark;
}

void
wire_put_startup(struct wire_buffer *b, uint32_t version, const struct wire_pair *pairs, size_t n)
{
    size_t message = untagged_begin(b, version);
    for (size_t i = 0; i < n; i++) {
        wire_buffer_put_cstr(b, pairs[i].name);
        wire_buffer_put_cstr(b, pairs[i].value);
    }
    wire_buffer_put_u8(b, 0);
    wire_message_end(b, message);
}

void
wire_put_ssl_request(struct wire_buffer *b)
{
    wire_message_end(b, untagged_begin(b, WIRE_SSL_CODE));
}

void
wire_put_cancel_request(struct wire_buffer *b, uint32_t pid, wire_slice key)
{
    assert(key.len >= WIRE_CANCEL_KEY_MIN && key.len <= WIRE_CANCEL_KEY_MAX);
    size_t message = untagged_begin(b, WIRE_CANCEL_CODE);
    wire_buffer_put_u32(b, pid);
    wire_buffer_put(b, key.ptr, key.len);
    wire_message_end(b, message);
}

void
wire_put_password(struct wire_buffer *b, wire_slice password)
{
    size_t message = wire_message_begin(b, 'p');
    wire_buffer_put_cstr(b, password);
    wire_message_end(b, message);
}

void
wire_put_sasl_initial(struct wire_buffer *b, wire_slice mechanism, wire_slice response)
{
    size_t message = wire_message_begin(b, 'p');
    wire_buffer_put_cstr(b, mechanism);
    size_t length = wire_put_param_begin(b);
    wire_buffer_put(b, response.ptr, response.len);
    wire_put_param_end(b, length);
    wire_message_end(b, message);
}

void
wire_put_sasl_response(struct wire_buffer *b, wire_slice response)
{
    size_t message = wire_message_begin(b, 'p');
    wire_buffer_put(b, response.ptr, response.len);
    wire_message_end(b, message);
}

void
wire_put_query(struct wire_buffer *b, wire_slice sql)
{
    size_t message = wire_message_begin(b, 'Q');
    wire_buffer_put_cstr(b, sql);
    wire_message_end(b, message);
}

void
wire_put_parse(struct wire_buffer *b, wire_slice statement, wire_slice sql, const uint32_t *oids,
               size_t n)
{
    assert(n <= WIRE_PARAMS_MAX);
    size_t message = wire_message_begin(b, 'P');
    wire_buffer_put_cstr(b, statement);
    wire_buffer_put_cstr(b, sql);
    wire_buffer_put_u16(b, (uint16_t)n);
    for (size_t i = 0; i < n; i++) {
        wire_buffer_put_u32(b, oids[i]);
    }
    wire_message_end(b, message);
}

static void
put_kind_and_name(struct wire_buffer *b, char tag, char kind, wire_slice name)
{
    assert(kind == 'S' || kind == 'P');
    size_t message = wire_message_begin(b, tag);
    wire_buffer_put_u8(b, (uint8_t)kind);
    wire_buffer_put_cstr(b, name);
    wire_message_end(b, message);
}

void
wire_put_describe(struct wire_buffer *b, char kind, wire_slice name)
{
    put_kind_and_name(b, 'D', kind, name);
}

void
wire_put_close(struct wire_buffer *b, char kind, wire_slice name)
{
    put_kind_and_name(b, 'C', kind, name);
}

void
wire_put_execute(struct wire_buffer *b, wire_slice portal, uint32_t rows_max)
{
    size_t message = wire_message_begin(b, 'E');
    wire_buffer_put_cstr(b, portal);
    wire_buffer_put_u32(b, rows_max);
    wire_message_end(b, message);
}

static void
put_bare(struct wire_buffer *b, const char *bytes)
{
    wire_buffer_put(b, bytes, 5);
}

void
wire_put_sync(struct wire_buffer *b)
{
    put_bare(b, "S\0\0\0\4");
}

void
wire_put_flush(struct wire_buffer *b)
{
    put_bare(b, "H\0\0\0\4");
}

void
wire_put_terminate(struct wire_buffer *b)
{
    put_bare(b, "X\0\0\0\4");
}

void
wire_put_bind_begin(struct wire_buffer *b, struct wire_bind *bind, wire_slice portal,
                    wire_slice statement, size_t params)
{
    assert(params <= WIRE_PARAMS_MAX);
    bind->message = wire_message_begin(b, 'B');
    wire_buffer_put_cstr(b, portal);
    wire_buffer_put_cstr(b, statement);
    wire_buffer_put_u16(b, (uint16_t)params);
    bind->formats = wire_buffer_mark(b);
    uint8_t *p = wire_buffer_reserve(b, 2 * params + 2);
    if (p == NULL) {
        return;
    }
    for (size_t i = 0; i < params; i++) {
        wire_store_u16(p + 2 * i, WIRE_FORMAT_BINARY);
    }
    wire_store_u16(p + 2 * params, (uint16_t)params);
    wire_buffer_commit(b, 2 * params + 2);
}

void
wire_put_param_format(struct wire_buffer *b, const struct wire_bind *bind, size_t index,
                      uint16_t format)
{
    if (b->failed == WIRE_OK) {
        wire_store_u16(b->data + b->start + bind->formats + 2 * index, format);
    }
}

void
wire_put_param_end(struct wire_buffer *b, size_t mark)
{
    if (b->failed != WIRE_OK) {
        return;
    }
    size_t len = wire_buffer_mark(b) - mark - 4;
    if (len > WIRE_MESSAGE_MAX) {
        b->failed = WIRE_ERR_LIMIT;
        return;
    }
    wire_store_u32(b->data + b->start + mark, (uint32_t)len);
}

void
wire_put_bind_end(struct wire_buffer *b, const struct wire_bind *bind, wire_slice result_formats)
{
    wire_buffer_put(b, result_formats.ptr, result_formats.len);
    wire_message_end(b, bind->message);
}

void
wire_put_copy_data(struct wire_buffer *b, wire_slice data)
{
    size_t message = wire_message_begin(b, 'd');
    wire_buffer_put(b, data.ptr, data.len);
    wire_message_end(b, message);
}

void
wire_put_copy_done(struct wire_buffer *b)
{
    put_bare(b, "c\0\0\0\4");
}

void
wire_put_copy_fail(struct wire_buffer *b, wire_slice reason)
{
    size_t message = wire_message_begin(b, 'f');
    wire_buffer_put_cstr(b, reason);
    wire_message_end(b, message);
}
