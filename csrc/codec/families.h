/* What table.c knows of the families, and what the families share. Private to
 * codec/. Every family has codec_<family>_decode and codec_<family>_encode. */
#ifndef CODEC_FAMILIES_H
#define CODEC_FAMILIES_H

#include "codec.h"

#define CODEC_FAMILY(family)                                                                       \
    PyObject *codec_##family##_decode(const struct codec *self, struct codec_ctx *ctx,             \
                                      wire_slice value);                                           \
    enum codec_outcome codec_##family##_encode(const struct codec *self, struct codec_ctx *ctx,    \
                                               PyObject *value, struct wire_buffer *out)

/* number.c */
CODEC_FAMILY(bool);
CODEC_FAMILY(int2);
CODEC_FAMILY(int4);
CODEC_FAMILY(int8);
CODEC_FAMILY(oid);
CODEC_FAMILY(float4);
CODEC_FAMILY(float8);
CODEC_FAMILY(numeric);
/* text.c; `raw` is the text form of any type */
CODEC_FAMILY(text);
CODEC_FAMILY(name);
CODEC_FAMILY(raw);
CODEC_FAMILY(char);
CODEC_FAMILY(bytea);
/* datetime.c */
CODEC_FAMILY(date);
CODEC_FAMILY(time);
CODEC_FAMILY(timestamp);
CODEC_FAMILY(timestamptz);
CODEC_FAMILY(timetz);
CODEC_FAMILY(interval);
/* inet.c */
CODEC_FAMILY(inet);
CODEC_FAMILY(cidr);
CODEC_FAMILY(macaddr);
/* bits.c, money.c */
CODEC_FAMILY(bits);
CODEC_FAMILY(money);
/* catalog.c */
CODEC_FAMILY(tid);
CODEC_FAMILY(xid8);
CODEC_FAMILY(lsn);
CODEC_FAMILY(snapshot);
/* tsearch.c */
CODEC_FAMILY(tsvector);
CODEC_FAMILY(tsquery);
/* geometric.c */
CODEC_FAMILY(point);
CODEC_FAMILY(line);
CODEC_FAMILY(lseg);
CODEC_FAMILY(box);
CODEC_FAMILY(circle);
CODEC_FAMILY(path);
CODEC_FAMILY(polygon);
/* extension.c; `ltree` is a version and a text, its query types' form as well */
CODEC_FAMILY(hstore);
CODEC_FAMILY(ltree);
CODEC_FAMILY(cube);
/* pgvector.c */
CODEC_FAMILY(pgvector);
CODEC_FAMILY(halfvec);
CODEC_FAMILY(sparsevec);
/* uuid.c, json.c */
CODEC_FAMILY(uuid);
CODEC_FAMILY(json);
CODEC_FAMILY(jsonb);
/* array.c, vector.c, range.c, multirange.c, record.c; a `textarray` arrives as text, and
 * so do the others of format TEXT */
CODEC_FAMILY(array);
CODEC_FAMILY(textarray);
CODEC_FAMILY(vector);
CODEC_FAMILY(range);
CODEC_FAMILY(multirange);
CODEC_FAMILY(composite);
CODEC_FAMILY(record);
/* user.c: registered types; `user` is str ↔ value, in the format that the codec says */
CODEC_FAMILY(user);
CODEC_FAMILY(userbytes);
CODEC_FAMILY(enum);

/* Imports CPython's datetime C-API, whose pointer belongs to datetime.c. -1 with
 * an exception set. */
int codec_datetime_import(void);

/* For a reserve that gave NULL while `value` was being written: MemoryError, or
 * codec_fail_value where the message would pass its limit. */
enum codec_outcome codec_fail_room(const struct codec *codec, struct codec_ctx *ctx,
                                   PyObject *value, const struct wire_buffer *out);

/* True when the exception that is set is an ordinary one: not MemoryError, nor what
 * must not be caught (KeyboardInterrupt, CancelledError). */
int codec_may_convert(void);

/* After Python code that `value` brought along has raised: an ordinary exception
 * becomes codec_fail_value's, caused by it; others stay. Also when nothing is set. */
enum codec_outcome codec_fail_raised(const struct codec *codec, struct codec_ctx *ctx,
                                     PyObject *value, const char *remedy);

/* Copies bytes that are the whole binary form of `value`. */
enum codec_outcome
codec_put_bytes(const struct codec *codec, struct codec_ctx *ctx, PyObject *value,
                const void *bytes, size_t len, struct wire_buffer *out);

/* The UTF-8 of a str (or subclass), borrowed from it, in *text. False with
 * codec_fail_value's exception set for NUL and lone surrogates; `value` is what
 * the message shows. */
int codec_utf8_borrow(const struct codec *codec, struct codec_ctx *ctx, PyObject *value,
                      PyObject *str, wire_slice *text);

/* A str (or subclass) for the server's own parser; anything else is refused with
 * `remedy`. */
enum codec_outcome
codec_put_text_only(const struct codec *codec, struct codec_ctx *ctx, PyObject *value,
                    const char *remedy, struct wire_buffer *out);

/* The value of a hexadecimal digit, or -1. */
static inline int
codec_hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The decimal digits of an int (not of a subclass's own idea of them) as a new
 * str; digits beyond the interpreter's limit are made by way of Decimal. */
PyObject *codec_int_text(struct codec_ctx *ctx, PyObject *value);

/* The value of a float, or of what has __float__ or __index__, as a double. False for
 * bool and what is no number, without an exception, and with the one it raised. */
int codec_double_of(PyObject *value, double *result);

/* An instance of `type`, a subclass of tuple, without its __new__; steals `items`, a
 * tuple or NULL with an exception set. */
PyObject *codec_tuple_of(PyObject *type, PyObject *items);

/* The items of a list, tuple or other sequence, but of no str and bytes, as a new
 * tuple that running code cannot change. NULL without an exception for what is no
 * sequence, and with the one it raised. */
PyObject *codec_sequence_tuple(PyObject *value);

/* Decodes UTF-8; DataError where it is not valid. */
PyObject *codec_str_of(const struct codec *codec, struct codec_ctx *ctx, wire_slice value);

/* The next eight bytes as a double. */
static inline double
codec_read_double(struct wire_reader *reader)
{
    uint64_t bits = (uint64_t)wire_read_i64(reader);
    double number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

static inline void
codec_put_double(struct wire_buffer *out, double number)
{
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    wire_buffer_put_u64(out, bits);
}

#endif
