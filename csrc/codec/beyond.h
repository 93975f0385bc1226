/* Dates, times and intervals that PostgreSQL can hold and Python's datetime cannot:
 * infinity, years outside 1 to 9999, 24:00:00. The connection's out_of_range says what
 * becomes of them: a DataError, or an object that pgasync/temporal.py makes. */
#ifndef CODEC_BEYOND_H
#define CODEC_BEYOND_H

#include "codec.h"

/* A type without the domains around it. */
struct beyond_kind {
    const char *name;
    const char *remedy;     /* what may be sent */
    size_t len;             /* of its binary form */
    const char *infinities; /* the forms of infinity and -infinity; NULL: it has none */
};

/* For a value that the server holds and Python does not. `kind`: the type without
 * domains around it; `text`: what the message shows. A new reference, or NULL with an
 * exception. */
PyObject *beyond_make(const struct codec *self, struct codec_ctx *ctx, const char *kind,
                      wire_slice value, const char *text, const char *python_type);

/* Encodes what is no object of the type's class: a Beyond, a str for the server's
 * parser, or refused. */
enum codec_outcome
beyond_put_other(const struct codec *self, struct codec_ctx *ctx, PyObject *value,
                 const struct beyond_kind *kind, struct wire_buffer *out);

#endif
