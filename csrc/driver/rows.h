/* DataRow → tuple or Row. */
#ifndef DRIVER_ROWS_H
#define DRIVER_ROWS_H

#include "statement.h"

/* Outcome of reading one DataRow. */
enum rows_status {
    ROWS_OK = 0,
    ROWS_ERROR = -1,     /* an exception is set: a cell could not be decoded */
    ROWS_VIOLATION = -2, /* the row does not fit its description */
};

/* Decodes a whole row into *row (a new reference): an exact tuple, or an instance
 * of `type` (a Row subclass) when it is not NULL. */
enum rows_status rows_decode(const struct statement *stmt, struct codec_ctx *ctx,
                             PyTypeObject *type, struct wire_reader cells, PyObject **row);

/* Decodes only the first cell (None for a row without columns); the others are
 * checked for their framing. */
enum rows_status rows_decode_first(const struct statement *stmt, struct codec_ctx *ctx,
                                   struct wire_reader cells, PyObject **value);

/* The Row subclass for a tuple of names: a new reference, made once per process
 * and list of names. */
PyObject *rows_type_for(struct core_state *st, PyObject *fields);

/* Adds Row to the module. -1 with an exception. */
int rows_type_init(struct core_state *st, PyObject *module);

#endif
