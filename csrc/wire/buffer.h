/* Growable bytes with a read end and a write end. Failure is sticky: after a
 * failed allocation or a passed limit every put is a no-op, and one look at
 * `failed` at the end tells. */
#ifndef WIRE_BUFFER_H
#define WIRE_BUFFER_H

#include <stdbool.h>

#include "cursor.h"
#include "protocol.h"
#include "status.h"

struct wire_buffer {
    uint8_t *data;
    size_t start; /* first byte not consumed */
    size_t end;   /* one past the last byte written */
    size_t cap;
    enum wire_status failed; /* WIRE_OK, WIRE_ERR_MEMORY or WIRE_ERR_LIMIT */
};

/* An empty buffer that owns nothing yet; cannot fail. */
void wire_buffer_init(struct wire_buffer *b);

/* Frees the bytes (overwriting them first when `secret`) and leaves an empty buffer. */
void wire_buffer_clear(struct wire_buffer *b, bool secret);

/* Slow path of wire_buffer_reserve: moves unread bytes to the front or grows
 * (at least doubling). False, and sticky `failed`, when it cannot. */
bool wire_buffer_grow(struct wire_buffer *b, size_t n);

/* Room for `n` > 0 bytes at the write end, or NULL (sticky). The caller fills them
 * and calls wire_buffer_commit. The pointer dies at the next reserve or put. */
static inline uint8_t *
wire_buffer_reserve(struct wire_buffer *b, size_t n)
{
    if (n > b->cap - b->end || b->failed != WIRE_OK) {
        if (!wire_buffer_grow(b, n)) {
            return NULL;
        }
    }
    return b->data + b->end;
}

static inline void
wire_buffer_commit(struct wire_buffer *b, size_t n)
{
    b->end += n;
}

/* Bytes written and not yet consumed. */
static inline size_t
wire_buffer_size(const struct wire_buffer *b)
{
    return b->end - b->start;
}

/* The unread bytes; dies at the next reserve or put. */
static inline wire_slice
wire_buffer_unread(const struct wire_buffer *b)
{
    /* NULL where nothing was ever put: C does not allow NULL + 0. */
    wire_slice s = {b->data == NULL ? NULL : b->data + b->start, b->end - b->start};
    return s;
}

/* Consumes `n` unread bytes. When nothing is left both ends go back to zero. In
 * debug builds (NDEBUG not set) consumed bytes are overwritten with 0xDD. */
void wire_buffer_consume(struct wire_buffer *b, size_t n);

/* Gives memory back when the buffer is empty and its capacity is over `keep`. */
void wire_buffer_shrink(struct wire_buffer *b, size_t keep);

static inline void
wire_buffer_put_u8(struct wire_buffer *b, uint8_t value)
{
    uint8_t *p = wire_buffer_reserve(b, 1);
    if (p != NULL) {
        *p = value;
        b->end += 1;
    }
}

static inline void
wire_buffer_put_u16(struct wire_buffer *b, uint16_t value)
{
    uint8_t *p = wire_buffer_reserve(b, 2);
    if (p != NULL) {
        wire_store_u16(p, value);
        b->end += 2;
    }
}

static inline void
wire_buffer_put_u32(struct wire_buffer *b, uint32_t value)
{
    uint8_t *p = wire_buffer_reserve(b, 4);
    if (p != NULL) {
        wire_store_u32(p, value);
        b->end += 4;
    }
}

static inline void
wire_buffer_put_u64(struct wire_buffer *b, uint64_t value)
{
    uint8_t *p = wire_buffer_reserve(b, 8);
    if (p != NULL) {
        wire_store_u64(p, value);
        b->end += 8;
    }
}

static inline void
wire_buffer_put(struct wire_buffer *b, const void *bytes, size_t n)
{
    uint8_t *p = n == 0 ? NULL : wire_buffer_reserve(b, n);
    if (p != NULL) {
        memcpy(p, bytes, n);
        b->end += n;
    }
}

/* The slice and a NUL behind it. The caller has refused slices with a NUL inside. */
void wire_buffer_put_cstr(struct wire_buffer *b, wire_slice text);

/* Marks and rollback: a mark is the distance of the write end from the read end,
 * so it survives growth and compaction, but not a consume. Rollback also forgets
 * a sticky failure that came after the mark (nothing of it was sent). */
static inline size_t
wire_buffer_mark(const struct wire_buffer *b)
{
    return b->end - b->start;
}

/* Takes back everything put since `mark`. */
void wire_buffer_rollback(struct wire_buffer *b, size_t mark);

/* Opens a message: tag, room for the length. Returns the mark of the length
 * field, to be handed to wire_message_end. */
size_t wire_message_begin(struct wire_buffer *b, char tag);

/* Fills in the length of the message opened at `begin`. Sticky WIRE_ERR_LIMIT
 * when it is over WIRE_MESSAGE_MAX. */
void wire_message_end(struct wire_buffer *b, size_t begin);

#endif
