/* Values ↔ bytes. A codec is one row: two functions and what they need to know.
 * Lookup happens once per column and parameter when a statement is prepared;
 * rows call the pointers. NULL never reaches a codec. */
#ifndef CODEC_CODEC_H
#define CODEC_CODEC_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>

#include "../wire/buffer.h"
#include "../wire/cursor.h"
#include "../wire/protocol.h"

struct codec;

/* Classes and objects of pgasync.types that codecs make and recognise:
 * X(array, "Array") imports pgasync.types.Array into types->array. */
#define CODEC_PYTHON_TYPES(X)                                                                      \
    X(json, "Json")                                                                                \
    X(json_null, "JSON_NULL")                                                                      \
    X(json_exact_dumps, "json_exact_dumps")                                                        \
    X(bit_string, "BitString")                                                                     \
    X(lsn, "Lsn")                                                                                  \
    X(snapshot, "Snapshot")                                                                        \
    X(decimal_exact, "decimal_exact")                                                              \
    X(interval, "Interval")                                                                        \
    X(beyond, "Beyond")                                                                            \
    X(out_of_range, "out_of_range")                                                                \
    X(point, "Point")                                                                              \
    X(line, "Line")                                                                                \
    X(lseg, "LineSegment")                                                                         \
    X(box, "Box")                                                                                  \
    X(circle, "Circle")                                                                            \
    X(path, "Path")                                                                                \
    X(polygon, "Polygon")                                                                          \
    X(array, "Array")                                                                              \
    X(range, "Range")                                                                              \
    X(range_parts, "RANGE_PARTS")                                                                  \
    X(multirange, "Multirange")                                                                    \
    X(text_of, "text_of")                                                                          \
    X(text_to, "text_to")                                                                          \
    X(cube, "Cube")                                                                                \
    X(number_array, "NumberArray")                                                                 \
    X(vector, "Vector")                                                                            \
    X(half_vector, "HalfVector")                                                                   \
    X(sparse_vector, "SparseVector")

#define CODEC_JSON_KEYS 256

/* The same of the standard library's ipaddress. */
#define CODEC_ADDRESS_TYPES(X)                                                                     \
    X(ipv4_address, "IPv4Address")                                                                 \
    X(ipv4_interface, "IPv4Interface")                                                             \
    X(ipv4_network, "IPv4Network")                                                                 \
    X(ipv6_address, "IPv6Address")                                                                 \
    X(ipv6_interface, "IPv6Interface")                                                             \
    X(ipv6_network, "IPv6Network")

/* The Python objects that codecs make and recognise; one per module state. */
struct codec_types {
#define X(field, name) PyObject *field;
    CODEC_PYTHON_TYPES(X)
    CODEC_ADDRESS_TYPES(X)
#undef X
    PyObject *data_error;   /* pgasync.errors.DataError */
    PyObject *decimal_type; /* decimal.Decimal */
    PyObject *uuid_type;    /* uuid.UUID */
    PyObject *uuid_safe;    /* uuid.SafeUUID.unknown */
    PyObject *uuid_int;     /* the slots of a UUID, which forbids setattr */
    PyObject *uuid_is_safe;
    PyObject *json_dumps;   /* json.dumps */
    PyObject *json_keys[CODEC_JSON_KEYS]; /* short keys of objects that were seen, or NULL */
    PyObject *shift;        /* the int 64 */
    PyObject *str_adjusted; /* interned names of methods */
    PyObject *str_utcoffset;
};

/* Imports and looks up; -1 with an exception set. `data_error` is a new reference taken inside. */
int codec_types_init(struct codec_types *types, PyObject *data_error);
int codec_types_traverse(struct codec_types *types, visitproc visit, void *arg);
void codec_types_clear(struct codec_types *types);

/* What becomes of a date, time or interval that Python's types cannot hold. */
enum codec_beyond { CODEC_BEYOND_ERROR, CODEC_BEYOND_CLAMP, CODEC_BEYOND_SENTINEL };

/* A user's choices, one set per connection; see connect()'s keywords. Every
 * PyObject is owned and may be NULL, which is the default. */
struct codec_options {
    PyObject *json_loads; /* NULL: json.loads; None: documents stay text */
    PyObject *json_dumps; /* NULL: json.dumps; None: only text is sent */
    PyObject *zone;       /* tzinfo of timestamptz; NULL or None: UTC */
    PyObject *range_type; /* called (lower, upper, bounds=, empty=); NULL: types.Range */
    PyObject *multirange_type; /* called with a list of ranges; NULL: types.Multirange */
    enum codec_beyond beyond;
    int money_digits;     /* behind the point */
    bool naive_utc;       /* naive and aware datetimes stand for each other, by UTC */
    bool naive_local;     /* naive datetimes are local time where a moment is wanted */
    bool json_exact;      /* numbers with a fraction or exponent become Decimal */
    bool json_bytes;      /* json_loads takes bytes */
    bool json_null;       /* JSON's null becomes types.JSON_NULL, not None */
};

/* The defaults, for a struct that owns nothing yet. */
void codec_options_init(struct codec_options *options);
/* Drops what is owned: back to NULL. */
void codec_options_clear(struct codec_options *options);
/* For tp_traverse of what holds them. */
int codec_options_traverse(struct codec_options *options, visitproc visit, void *arg);
/* Sets the options named in a dict: "json_loads", "zone", "beyond" ("error", "clamp",
 * "sentinel"), … as the fields above. -1 with ValueError or TypeError. */
int codec_options_set(struct codec_options *options, PyObject *named);

/* What one call may look at. Lives on the stack of the caller or in a connection. */
struct codec_ctx {
    struct codec_types *types;
    const struct codec_options *options; /* borrowed */
    /* The codec of a type met inside a value (anonymous records), or NULL: not known
     * yet. Without an exception. `find_arg` is for its own use. */
    const struct codec *(*find)(struct codec_ctx *ctx, uint32_t oid);
    void *find_arg;
    /* A list of OIDs (int), or NULL: a decoder that meets a type which `find` does not
     * know, or a composite that is not what its codec says, calls codec_miss. */
    PyObject *missing;
    int param_index; /* 1 for $1, …; 0: not encoding a parameter */
    unsigned depth;  /* containers we are inside of, ≤ WIRE_NESTING_MAX */
};

/* Notes that the type `oid` has to be looked up (again) before `self` can decode the
 * value, and sets an exception: where ctx->missing is not NULL the driver catches it,
 * looks the type up and decodes the cell once more; else it is the DataError that
 * stays. Returns NULL. */
PyObject *codec_miss(const struct codec *self, struct codec_ctx *ctx, uint32_t oid);

/* A new reference, or NULL with an exception set: DataError where the bytes are
 * not a value of the type, MemoryError. Never reads outside `value`. */
typedef PyObject *(*codec_decode_fn)(const struct codec *self, struct codec_ctx *ctx,
                                     wire_slice value);

/* Appends the value without its length. CODEC_BINARY or CODEC_TEXT says which
 * form was written; CODEC_ERROR: an exception is set (made by codec_fail_value),
 * and the caller rolls the buffer back. May run Python code. */
enum codec_outcome { CODEC_ERROR = -1, CODEC_TEXT = 0, CODEC_BINARY = 1 };
typedef enum codec_outcome (*codec_encode_fn)(const struct codec *self, struct codec_ctx *ctx,
                                              PyObject *value, struct wire_buffer *out);

struct codec {
    uint32_t oid;
    uint32_t array_oid; /* 0: no array type */
    const char *name;   /* what ::regtype takes and people say: int4, "char", int4[] */
    codec_decode_fn decode;
    codec_encode_fn encode;
    int32_t fixed_len;         /* the only length a binary value may have; -1: any */
    int16_t format;            /* WIRE_FORMAT_BINARY, or TEXT where no binary form is used */
    bool tuples; /* a tuple is one of its values: in arrays only lists are dimensions */
    const struct codec *elem; /* of an array its element's, of a range its subtype's, of a
                                * multirange its range's codec */
    /* Of codecs made at run time (dynamic.c), borrowed from the object they live in: */
    const struct codec_member *members; /* of a composite */
    size_t members_count;
    PyObject *arg; /* what its kind needs (dynamic.h), or NULL */
};

struct codec_member {
    PyObject *name; /* str */
    const struct codec *codec;
};

/* Whether no value that it decodes can ever hold a reference to another object of the
 * program, so that the garbage collector need not see what is made of such values alone. */
bool codec_is_atomic(const struct codec *codec);

/* The built-in codec of `oid` (arrays included), or NULL. Static lifetime. */
const struct codec *codec_find(uint32_t oid);
/* For every type not found: text both ways (str in, str out). */
extern const struct codec codec_unknown;

/* Rows of the built-in table, for tests and tools: index 0 … codec_count()-1,
 * arrays behind scalars. */
size_t codec_count(void);
const struct codec *codec_at(size_t index);

/* Decodes one value: checks fixed_len, then calls decode. What rows.c and containers use. */
static inline PyObject *
codec_decode(const struct codec *codec, struct codec_ctx *ctx, wire_slice value);

/* After a codec has refused a value: the same with value.item() where it is a scalar of
 * numpy. `mark`: where it had begun to write. */
enum codec_outcome codec_encode_item(const struct codec *codec, struct codec_ctx *ctx,
                                     PyObject *value, struct wire_buffer *out, size_t mark);

/* Encodes one value: calls encode, and once more where it refuses a scalar of numpy. What
 * a request and containers use. */
static inline enum codec_outcome
codec_encode(const struct codec *codec, struct codec_ctx *ctx, PyObject *value,
             struct wire_buffer *out)
{
    size_t mark = wire_buffer_mark(out);
    enum codec_outcome outcome = codec->encode(codec, ctx, value, out);
    return outcome != CODEC_ERROR ? outcome : codec_encode_item(codec, ctx, value, out, mark);
}

/* The same as text, whatever the codec chooses: CODEC_TEXT or CODEC_ERROR. `out` is empty. */
enum codec_outcome codec_encode_text(const struct codec *codec, struct codec_ctx *ctx,
                                     PyObject *value, struct wire_buffer *out);

/* Whether a value of the type can be sent in binary at all. */
static inline bool
codec_has_binary(const struct codec *codec)
{
    return codec->format == WIRE_FORMAT_BINARY;
}

/* Sets DataError: "cannot decode <type>: <reason>". Returns NULL. */
PyObject *codec_fail(const struct codec *codec, struct codec_ctx *ctx, const char *format, ...);

/* Sets DataError naming $n (ctx->param_index), the value (repr, shortened), its
 * Python type, the PostgreSQL type and the remedy. Returns CODEC_ERROR. */
enum codec_outcome codec_fail_value(const struct codec *codec, struct codec_ctx *ctx,
                                    PyObject *value, const char *remedy, ...);

/* Sets the DataError for a value of a wrong length; for codec_decode. */
PyObject *codec_fail_length(const struct codec *codec, struct codec_ctx *ctx, size_t len);

/* Writes `text` (a str or a subclass) as UTF-8 and gives CODEC_TEXT: the server
 * parses it. Refuses NUL and lone surrogates by codec_fail_value. */
enum codec_outcome codec_put_str(const struct codec *codec, struct codec_ctx *ctx, PyObject *text,
                                 struct wire_buffer *out);

/* True, with the exception set, when the buffer has failed (memory or limit). */
int codec_buffer_failed(const struct wire_buffer *out);

static inline PyObject *
codec_decode(const struct codec *codec, struct codec_ctx *ctx, wire_slice value)
{
    if (codec->fixed_len >= 0 && value.len != (size_t)codec->fixed_len) {
        return codec_fail_length(codec, ctx, value.len);
    }
    return codec->decode(codec, ctx, value);
}

#endif
