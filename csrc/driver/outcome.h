/* What became of the requests of a session that has ended under them. */
#ifndef DRIVER_OUTCOME_H
#define DRIVER_OUTCOME_H

#include "connection.h"

/* In operation.fate. FATE_UNKNOWN: not judged, its phase tells. */
enum fate {
    FATE_UNKNOWN,
    FATE_NOT_SENT, /* no byte of it, or nothing that could run, has left */
    FATE_UNRUN,    /* it was sent, and the server ended before it came to it */
    FATE_UNDONE,   /* what it did, if anything, was rolled back */
    FATE_IN_DOUBT,
};

/* The session has ended, and all that came has been handled: judges what is in `sent`. */
void outcome_judge(struct connection *conn);

/* The OUTCOME_ of an operation that ends with the session; NULL stands for what is asked of
 * a connection that is closed. */
const char *outcome_of(const struct operation *op);

/* Has the exception of an operation, or of a connection that is closed (NULL), tell what its
 * outcome alone does not: `_unrun`, that it has not run; `_first`, that nothing else has been
 * asked since core.lend(). Never fails. */
void outcome_mark(const struct connection *conn, PyObject *error, const struct operation *op);

/* An ErrorResponse refused what belongs to `op`: the same. */
void outcome_mark_refused(struct operation *op);

#endif
