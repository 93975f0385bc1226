/* Statements that ride in front of a request, in the same flight: BEGIN, the settings of
 * its transaction, and what else has to come first. */
#ifndef DRIVER_RIDER_H
#define DRIVER_RIDER_H

#include "connection.h"

/* What stands for a transaction that is due: the str of its BEGIN, or a tuple of that, the
 * SQL that makes its settings, and the tuple of the parameters of that. */
static inline PyObject *
begin_sql_borrow(PyObject *begin)
{
    return PyTuple_Check(begin) ? PyTuple_GET_ITEM(begin, 0) : begin;
}

/* SQL as it goes out: no lone surrogates, no NUL. False with an exception. */
bool request_sql(struct connection *conn, PyObject *sql, wire_slice *text);

/* Parse, Bind and Execute of a statement that has no name: `params` is a tuple of str or None
 * (NULL), all sent as text, or NULL; rows, if any, come as text. With `describe` Describe
 * goes behind Parse. -1 with an exception. */
int rider_put(struct connection *conn, PyObject *sql, PyObject *params, bool describe);

/* Whether this is something that may stand for a transaction that is due: -1 with an
 * exception if not. */
int begin_check(struct connection *conn, PyObject *begin);

/* It is due now, or goes out: the schema may be another one while it lasts. */
void begin_note(struct connection *conn, PyObject *begin, bool sent);

/* An ErrorResponse came for what rides in front of `op`: the exception, a new reference;
 * NULL with one set. */
PyObject *rider_error(struct connection *conn, const struct operation *op, PyObject *fields);

/* core.begin(); see _core.pyi. */
PyObject *Connection_begin(struct connection *conn, PyObject *begin);

#endif
