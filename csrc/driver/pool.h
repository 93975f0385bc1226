/* Between two users of a pooled connection: see pgasync/pool.py. */
#ifndef DRIVER_POOL_H
#define DRIVER_POOL_H

#include "connection.h"

/* Open, and nothing of its last user is left that the next one could meet in it: no
 * request, no transaction, no block, stream or pipeline. */
bool pool_at_rest(const struct connection *conn);

/* The same as the attribute `at_rest`. */
PyObject *Connection_get_at_rest(struct connection *conn, void *closure);

/* Attribute `spotless`: and it has not been tainted since the last reset. */
PyObject *Connection_get_spotless(struct connection *conn, void *closure);

/* A new user has it: counts what is asked from here on. */
static inline void
pool_lend(struct connection *conn, bool autocommit)
{
    conn->autocommit = autocommit;
    conn->asked = 0;
}

/* core.lend(); see _core.pyi. */
PyObject *Connection_lend(struct connection *conn, PyObject *autocommit);

/* Gives up every request but a reset, each with `error` (borrowed); what is in flight is stopped at
 * the server, as after a cancelled task. */
PyObject *Connection_abandon_all(struct connection *conn, PyObject *error);

#endif
