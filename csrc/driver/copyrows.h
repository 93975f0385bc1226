/* Rows of Python values as the data of a COPY … FROM STDIN. */
#ifndef DRIVER_COPYROWS_H
#define DRIVER_COPYROWS_H

#include "connection.h"

#include "../codec/quick.h"
#include "../wire/copytext.h"

struct copy_rows {
    PyObject_HEAD
    struct core_state *st;
    struct connection *conn; /* owned */
    PyObject *names;         /* tuple of str, or NULL: columns of any number */
    PyObject *kept;          /* list of the Codec objects that `codecs` lie in */
    size_t count;
    const struct codec **codecs;
    enum codec_quick *quick; /* of each codec */
    bool binary;
    bool busy;       /* in encode(), whose codecs may run Python */
    bool wants_text; /* the last row failed since a value of it can only be sent as text */
    struct wire_copy_style style;
    struct wire_buffer data;    /* whole rows */
    struct wire_buffer scratch; /* of one value */
    unsigned long long rows;    /* in all */
};

/* Appends a row; -1 with an exception, the data being what they were. copyvalues.c */
int copy_rows_put(struct copy_rows *self, struct codec_ctx *ctx, PyObject *row);

/* Makes the type and adds it to the module; -1 with an exception. */
int copy_rows_type_init(struct core_state *st, PyObject *module);

/* core.missing_types(), core.copy_rows(); see _core.pyi. */
PyObject *Connection_missing_types(struct connection *conn, PyObject *oids);
PyObject *Connection_copy_rows(struct connection *conn, PyObject *args);

/* The bytes that are ready, if `object` is a CopyRows: else NULL without an exception.
 * Borrowed; the caller consumes them. */
struct wire_buffer *copy_rows_data_borrow(struct core_state *st, PyObject *object);

#endif
