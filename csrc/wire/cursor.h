/* Big-endian loads and stores, and a reader that cannot run past its end. */
#ifndef WIRE_CURSOR_H
#define WIRE_CURSOR_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "protocol.h"
#include "status.h"

/* Unaligned big-endian loads; the caller has checked the length. */
static inline uint16_t
wire_load_u16(const uint8_t *p)
{
    return (uint16_t)((unsigned)p[0] << 8 | p[1]);
}

static inline uint32_t
wire_load_u32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline uint64_t
wire_load_u64(const uint8_t *p)
{
    return (uint64_t)wire_load_u32(p) << 32 | wire_load_u32(p + 4);
}

static inline int16_t
wire_load_i16(const uint8_t *p)
{
    return (int16_t)wire_load_u16(p);
}

static inline int32_t
wire_load_i32(const uint8_t *p)
{
    return (int32_t)wire_load_u32(p);
}

static inline int64_t
wire_load_i64(const uint8_t *p)
{
    return (int64_t)wire_load_u64(p);
}

/* Unaligned big-endian stores; the caller has reserved the room. */
static inline void
wire_store_u16(uint8_t *p, uint16_t value)
{
    p[0] = (uint8_t)(value >> 8);
    p[1] = (uint8_t)value;
}

static inline void
wire_store_u32(uint8_t *p, uint32_t value)
{
    p[0] = (uint8_t)(value >> 24);
    p[1] = (uint8_t)(value >> 16);
    p[2] = (uint8_t)(value >> 8);
    p[3] = (uint8_t)value;
}

static inline void
wire_store_u64(uint8_t *p, uint64_t value)
{
    wire_store_u32(p, (uint32_t)(value >> 32));
    wire_store_u32(p + 4, (uint32_t)value);
}

/* Walks a body. Once a read asks for more than is left, `bad` is set, and every
 * read from then on gives zero or an empty slice, so a parse function reads
 * everything first and asks wire_reader_end once. */
struct wire_reader {
    const uint8_t *p;
    const uint8_t *end;
    bool bad;
};

static inline struct wire_reader
wire_reader_of(wire_slice body)
{
    struct wire_reader r = {body.ptr, body.len == 0 ? body.ptr : body.ptr + body.len, false};
    return r;
}

static inline size_t
wire_reader_left(const struct wire_reader *r)
{
    return (size_t)(r->end - r->p);
}

/* Takes `n` bytes; NULL (and `bad`) when fewer are left. */
static inline const uint8_t *
wire_reader_take(struct wire_reader *r, size_t n)
{
    if (n > wire_reader_left(r) || r->bad) {
        r->bad = true;
        return NULL;
    }
    const uint8_t *p = r->p;
    r->p += n;
    return p;
}

static inline uint8_t
wire_read_u8(struct wire_reader *r)
{
    const uint8_t *p = wire_reader_take(r, 1);
    return p == NULL ? 0 : *p;
}

static inline uint16_t
wire_read_u16(struct wire_reader *r)
{
    const uint8_t *p = wire_reader_take(r, 2);
    return p == NULL ? 0 : wire_load_u16(p);
}

static inline int16_t
wire_read_i16(struct wire_reader *r)
{
    return (int16_t)wire_read_u16(r);
}

static inline uint32_t
wire_read_u32(struct wire_reader *r)
{
    const uint8_t *p = wire_reader_take(r, 4);
    return p == NULL ? 0 : wire_load_u32(p);
}

static inline int32_t
wire_read_i32(struct wire_reader *r)
{
    return (int32_t)wire_read_u32(r);
}

static inline int64_t
wire_read_i64(struct wire_reader *r)
{
    const uint8_t *p = wire_reader_take(r, 8);
    return p == NULL ? 0 : wire_load_i64(p);
}

/* The next `n` bytes as a slice. */
static inline wire_slice
wire_read_bytes(struct wire_reader *r, size_t n)
{
    wire_slice s = {wire_reader_take(r, n), n};
    if (s.ptr == NULL) {
        s.len = 0;
    }
    return s;
}

/* A string up to its NUL, which is consumed but not part of the slice; bad when
 * no NUL is left in the body. */
static inline wire_slice
wire_read_cstr(struct wire_reader *r)
{
    wire_slice s = {NULL, 0};
    const uint8_t *nul = r->bad || r->p == r->end ? NULL : memchr(r->p, 0, wire_reader_left(r));
    if (nul == NULL) {
        r->bad = true;
        return s;
    }
    s.ptr = r->p;
    s.len = (size_t)(nul - r->p);
    r->p = nul + 1;
    return s;
}

/* True when everything was there and nothing is left over. */
WIRE_MUSTCHECK static inline bool
wire_reader_end(const struct wire_reader *r)
{
    return !r->bad && r->p == r->end;
}

#endif
