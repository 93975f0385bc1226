/* One function per message a client sends. All append to a wire_buffer and
 * report only through its sticky `failed`. Slices that become C strings must
 * not contain a NUL: the caller checks (wire_slice_has_nul) and refuses. */
#ifndef WIRE_FRONTEND_H
#define WIRE_FRONTEND_H

#include "buffer.h"

/* A startup parameter. */
struct wire_pair {
    wire_slice name;
    wire_slice value;
};

/* True when a NUL is inside. */
WIRE_MUSTCHECK bool wire_slice_has_nul(wire_slice text);

/* StartupMessage that asks for a version of the protocol, with `n` pairs ("user"
 * among them). */
void
wire_put_startup(struct wire_buffer *b, uint32_t version, const struct wire_pair *pairs, size_t n);
/* SSLRequest. */
void wire_put_ssl_request(struct wire_buffer *b);
/* CancelRequest with a key of 4 to 256 bytes. */
void wire_put_cancel_request(struct wire_buffer *b, uint32_t pid, wire_slice key);
/* PasswordMessage (cleartext or the md5 answer). */
void wire_put_password(struct wire_buffer *b, wire_slice password);
/* SASLInitialResponse and SASLResponse. */
void wire_put_sasl_initial(struct wire_buffer *b, wire_slice mechanism, wire_slice response);
void wire_put_sasl_response(struct wire_buffer *b, wire_slice response);

/* Query: one or more statements, simple protocol. */
void wire_put_query(struct wire_buffer *b, wire_slice sql);
/* Parse; `oids` (n of them, 0 = let the server infer) are parameter types. */
void wire_put_parse(struct wire_buffer *b, wire_slice statement, wire_slice sql,
                    const uint32_t *oids, size_t n);
/* Describe and Close; `kind` is 'S' (statement) or 'P' (portal). */
void wire_put_describe(struct wire_buffer *b, char kind, wire_slice name);
void wire_put_close(struct wire_buffer *b, char kind, wire_slice name);
/* Execute; rows_max 0 = all. */
void wire_put_execute(struct wire_buffer *b, wire_slice portal, uint32_t rows_max);
void wire_put_sync(struct wire_buffer *b);
void wire_put_flush(struct wire_buffer *b);
void wire_put_terminate(struct wire_buffer *b);

/* Bind is written in steps, values going straight into the buffer:
 *   wire_put_bind_begin, then per parameter either wire_put_param_null or
 *   wire_put_param_begin + bytes + wire_put_param_end (and
 *   wire_put_param_format where it is not binary), then wire_put_bind_end. */
struct wire_bind {
    size_t message; /* marks, as wire_message_begin's */
    size_t formats;
};

/* `params` ≤ WIRE_PARAMS_MAX. Every parameter starts as binary. */
void wire_put_bind_begin(struct wire_buffer *b, struct wire_bind *bind, wire_slice portal,
                         wire_slice statement, size_t params);
void wire_put_param_format(struct wire_buffer *b, const struct wire_bind *bind, size_t index,
                           uint16_t format);
static inline void
wire_put_param_null(struct wire_buffer *b)
{
    wire_buffer_put_u32(b, UINT32_MAX);
}
/* Room for a length; returns its mark. Also for elements of arrays and records. */
static inline size_t
wire_put_param_begin(struct wire_buffer *b)
{
    size_t mark = wire_buffer_mark(b);
    wire_buffer_put_u32(b, 0);
    return mark;
}
/* Fills in the length of the value begun at `mark`; sticky limit error over 1 GiB. */
void wire_put_param_end(struct wire_buffer *b, size_t mark);
/* `result_formats`: the tail of the message as it goes out (count and codes, big-endian). */
void
wire_put_bind_end(struct wire_buffer *b, const struct wire_bind *bind, wire_slice result_formats);

/* COPY. */
void wire_put_copy_data(struct wire_buffer *b, wire_slice data);
void wire_put_copy_done(struct wire_buffer *b);
void wire_put_copy_fail(struct wire_buffer *b, wire_slice reason);

#endif
