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

#endif
