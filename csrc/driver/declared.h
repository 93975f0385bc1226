/* Cursors of SQL: what DECLARE has made, here or in a function of the server. Their rows
 * come by FETCH, parsed each time: its columns are the cursor's, so that it cannot be
 * prepared for any other of the same name. */
#ifndef DRIVER_DECLARED_H
#define DRIVER_DECLARED_H

#include "connection.h"

/* The server says which columns a FETCH gives: other ones than the operation's statement
 * has make it fail, as its rows are asked for in that one's formats. */
void declared_check(struct operation *op, size_t count, struct wire_reader *fields);

/* core.describe_portal(), core.fetch_cursor(); see _core.pyi. */
PyObject *Connection_describe_portal(struct connection *conn, PyObject *args);
PyObject *Connection_fetch_cursor(struct connection *conn, PyObject *args);

#endif
