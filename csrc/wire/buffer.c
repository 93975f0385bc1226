#include "buffer.h"

#include <assert.h>
#include <stdlib.h>

/* A buffer may hold a whole message and its neighbours, never endless input. */
#define BUFFER_MAX ((size_t)WIRE_MESSAGE_MAX * 4)
#define BUFFER_MIN 512

void
wire_buffer_init(struct wire_buffer *b)
{
    memset(b, 0, sizeof(*b));
}

static void
wipe(uint8_t *bytes, size_t n)
{
    volatile uint8_t *p = bytes;
    for (size_t i = 0; i < n; i++) {
        p[i] = 0;
    }
}

void
wire_buffer_clear(struct wire_buffer *b, bool secret)
{
    if (secret && b->data != NULL) {
        wipe(b->data, b->cap);
    }
    free(b->data);
    wire_buffer_init(b);
}

static bool
buffer_fail(struct wire_buffer *b, enum wire_status status)
{
    if (b->failed == WIRE_OK) {
        b->failed = status;
    }
    return false;
}

bool
wire_buffer_grow(struct wire_buffer *b, size_t n)
{
    if (b->failed != WIRE_OK) {
        return false;
    }
    size_t unread = b->end - b->start;
    /* What cannot be part of a message is not copied either. */
    if (n > WIRE_MESSAGE_MAX || n > BUFFER_MAX - unread) {
        return buffer_fail(b, WIRE_ERR_LIMIT);
    }
    /* Moving pays only where much is free: otherwise many small moves add up. */
    if (unread + n <= b->cap && b->start >= unread) {
        memmove(b->data, b->data + b->start, unread);
        b->start = 0;
        b->end = unread;
        return true;
    }
    size_t cap = b->cap < BUFFER_MIN ? BUFFER_MIN : b->cap;
    while (cap < unread + n) {
        cap = cap > BUFFER_MAX / 2 ? BUFFER_MAX : cap * 2;
    }
    uint8_t *data = malloc(cap);
    if (data == NULL) {
        return buffer_fail(b, WIRE_ERR_MEMORY);
    }
    if (unread > 0) {
        memcpy(data, b->data + b->start, unread);
    }
    free(b->data);
    b->data = data;
    b->cap = cap;
    b->start = 0;
    b->end = unread;
    return true;
}

void
wire_buffer_consume(struct wire_buffer *b, size_t n)
{
    assert(n <= b->end - b->start);
#ifndef NDEBUG
    if (n > 0) {
        memset(b->data + b->start, 0xDD, n); /* a stale slice fails loudly */
    }
#endif
    b->start += n;
    if (b->start == b->end) {
        b->start = 0;
        b->end = 0;
    }
}

void
wire_buffer_shrink(struct wire_buffer *b, size_t keep)
{
    if (b->start == b->end && b->cap > keep) {
        free(b->data);
        b->data = NULL;
        b->cap = 0;
        b->start = 0;
        b->end = 0;
    }
}

void
wire_buffer_put_cstr(struct wire_buffer *b, wire_slice text)
{
    wire_buffer_put(b, text.ptr, text.len);
    wire_buffer_put_u8(b, 0);
}

void
wire_buffer_rollback(struct wire_buffer *b, size_t mark)
{
    assert(mark <= b->end - b->start);
    b->end = b->start + mark;
    b->failed = WIRE_OK;
}

size_t
wire_message_begin(struct wire_buffer *b, char tag)
{
    wire_buffer_put_u8(b, (uint8_t)tag);
    size_t mark = wire_buffer_mark(b);
    wire_buffer_put_u32(b, 0);
    return mark;
}

void
wire_message_end(struct wire_buffer *b, size_t begin)
{
    if (b->failed != WIRE_OK) {
        return;
    }
    size_t len = wire_buffer_mark(b) - begin;
    if (len > WIRE_MESSAGE_MAX) {
        (void)buffer_fail(b, WIRE_ERR_LIMIT);
        return;
    }
    wire_store_u32(b->data + b->start + begin, (uint32_t)len);
}
