/* Values → the parameters of a Bind. */
#ifndef DRIVER_BIND_H
#define DRIVER_BIND_H

#include "connection.h"

/* Appends a Bind with `params` (a tuple, or NULL for none). -1 with an exception: the
 * buffer has to be rolled back. May run Python code. */
int bind_put(struct connection *conn, const struct statement *stmt, PyObject *params,
             wire_slice portal);

/* Sets the ProgrammingError of a wrong number of parameters. Returns -1. */
int bind_fail_count(struct connection *conn, const struct statement *stmt, Py_ssize_t given);

/* Checks that so many parameters were given as the statement takes. -1 with a
 * ProgrammingError. */
static inline int
bind_check_count(struct connection *conn, const struct statement *stmt, Py_ssize_t given)
{
    return (size_t)given == stmt->params_count ? 0 : bind_fail_count(conn, stmt, given);
}

/* Appends the values (a tuple of the right length) of the Bind that was begun as `bind`. As
 * bind_put. */
int bind_put_values(struct connection *conn, const struct statement *stmt, struct codec_ctx *ctx,
                    PyObject *params, const struct wire_bind *bind);

/* The result formats of the statement's Bind, as they go out; borrowed from it. */
static inline wire_slice
bind_formats(const struct statement *stmt)
{
    wire_slice formats = {stmt->result_formats, stmt->result_formats_len};
    if (stmt->result_formats == NULL) {
        formats = (wire_slice){(const uint8_t *)"\0\0", 2}; /* all as text */
    }
    return formats;
}

/* -1 with an exception when what was put into `out` is longer than a message may be, or
 * memory is out. */
int bind_check_length(struct connection *conn);

#endif
