/* A statement that this connection has not prepared. Its description is asked for with a
 * Flush, not with a Sync: the implicit transaction stays open from Parse to Execute, so that
 * the locks of Parse keep what the statement reads from changing, and a pooler does not give
 * the server to somebody else. */
#ifndef DRIVER_COLD_H
#define DRIVER_COLD_H

#include "connection.h"

/* Nor does that, where the process has a description of it (descriptions.h), or nothing is
 * to be named on the server: Parse, with the types of its parameters, Describe, Bind and
 * Execute go out together. The rows are decoded by the description that comes back. */

/* Parse and Describe of the operation's statement, whose Bind follows. -1 with an exception. */
int cold_put_parse(struct connection *conn, struct operation *op);

/* They are on their way. */
void cold_sent(struct connection *conn, struct operation *op);

/* The description of the head of `sent`, whose Parse came with its Bind: RowDescription or
 * NoData. */
void cold_check(struct connection *conn, struct operation *op, struct wire_event *event);

/* The Parse was refused, or skipped. */
void cold_unparsed(struct connection *conn, struct operation *op);

/* The first flight of `op` is about to go out: whether it ends with a Flush, behind which
 * op->unsynced says that a Sync is owed. */
void cold_begin(struct connection *conn, struct operation *op);

/* The answer to the first flight of the head of `sent`, which is unsynced, is there: sends
 * the second one, or the Sync, behind whose ReadyForQuery conn_described() goes on. */
void cold_described(struct connection *conn, struct operation *op);

/* The first flight of the head of `sent` was refused, and the server skips to the Sync that
 * is owed: sends it, and with it the next try, if there is to be one. */
void cold_refused(struct connection *conn, struct operation *op);

#endif
