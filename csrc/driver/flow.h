/* Flow control: who makes bytes waits until the socket has taken some. */
#ifndef DRIVER_FLOW_H
#define DRIVER_FLOW_H

#include "connection.h"

/* Bytes of `out` over which a producer should stop, and those at which it may go on. */
#define FLOW_OUT_HIGH (256 * 1024)
#define FLOW_OUT_LOW (64 * 1024)

/* core.drain(); see _core.pyi. */
PyObject *Connection_drain(struct connection *conn, PyObject *unused);

/* `out` has become shorter: lets those go on that wait for that. */
void flow_written(struct connection *conn);

#endif
