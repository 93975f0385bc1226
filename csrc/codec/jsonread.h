/* JSON text → Python objects: what json.loads gives for the same text, without making
 * a str of the whole first, and with short keys remembered from value to value. */
#ifndef CODEC_JSONREAD_H
#define CODEC_JSONREAD_H

#include "codec.h"

/* The document: a new reference. NULL with an exception (MemoryError, RecursionError,
 * ValueError for an int of too many digits), or NULL without one where the text is no
 * JSON document; then *at is the place, in bytes. With options->json_exact, numbers
 * with a fraction or an exponent are Decimal; with json_null, a document that is null
 * is types->json_null. */
PyObject *json_read(struct codec_ctx *ctx, wire_slice text, size_t *at);

/* What the parts of the reader share: jsonread.c, jsonnumber.c. */

/* So many need no memory of their own. */
#define JSON_DEPTH_USUAL 16

/* A container that is being filled. */
struct json_frame {
    PyObject *container; /* a list or dict */
    PyObject *key;       /* of a dict: of the member that is being read */
};

/* Containers are read without recursion, so that no document is too deep for the C
 * stack, whatever the interpreter's recursion limit has been set to. */
struct json_reader {
    struct codec_ctx *ctx;
    const uint8_t *p;
    const uint8_t *end;
    struct json_frame *frames; /* `usual`, or memory of its own */
    size_t room;
    size_t depth;
    struct json_frame usual[JSON_DEPTH_USUAL];
};

/* Takes the byte if it is the next one. */
static inline bool
json_take(struct json_reader *r, uint8_t byte)
{
    if (r->p == r->end || *r->p != byte) {
        return false;
    }
    r->p++;
    return true;
}

/* A number, which ends where it is complete. NULL with an exception, or without one
 * where there is none. */
PyObject *json_number(struct json_reader *r);

#endif
