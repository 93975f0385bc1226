/* Values that the types of a statement do not take. Their types may have changed since it
 * was prepared: it is described once more, and only the types that it still has are believed.
 * Nothing has run then. */
#ifndef DRIVER_DOUBT_H
#define DRIVER_DOUBT_H

#include "connection.h"

/* A value of `op` could not be encoded, for the exception that is set. True: the exception
 * is dropped, and so is its statement, which was prepared before: encode it again. */
bool doubt_encoding(struct connection *conn, struct operation *op);

/* The server refuses a value in the Bind of `op`. True: the statement may be the reason; it
 * was not refused with the same types before. */
bool doubt_refusal(struct operation *op, PyObject *fields);

/* Has the types of the parameters looked up again when they are needed next. */
void doubt_look_up_again(struct connection *conn, const struct statement *stmt);

#endif
