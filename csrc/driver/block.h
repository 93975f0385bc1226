/* transaction() blocks: while one is open, the connection is for the block alone. What
 * other tasks ask for waits in conn->outsiders. Who is inside is told by a context
 * variable, the tuple of the blocks that a task has entered, which tasks started inside
 * inherit; and where that does not know the block, by the block itself, a Python object
 * whose admits() tells whether the caller is its owner or the owner is gone. */
#ifndef DRIVER_BLOCK_H
#define DRIVER_BLOCK_H

#include "connection.h"

/* Makes the context variable; -1 with an exception. */
int block_init(struct core_state *st, PyObject *module);

/* While a block is open: 1 when the caller is outside of it, 0 when not, or when nobody
 * owns it any more; -1 with an exception. Runs Python. */
int block_keeps_out(struct connection *conn);

/* Has the request of an outsider wait. -1 with an exception. Takes its own references. */
int block_wait(struct connection *conn, struct operation *op);

/* At the head of `deferred` stands an OP_TURN: its block gets the connection, unless
 * something is in flight (false). What stands behind it is outside then. */
bool block_take_turn(struct connection *conn);

/* The connection is closing: nobody owns it any more. */
void block_forget(struct connection *conn);

/* Methods of the connection; see _core.pyi. */
PyObject *Connection_enter_block(struct connection *conn, PyObject *block);
PyObject *Connection_leave_block(struct connection *conn, PyObject *block);
PyObject *Connection_end_block(struct connection *conn, PyObject *unused);
PyObject *Connection_admits(struct connection *conn, PyObject *unused);

#endif
