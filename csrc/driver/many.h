/* executemany(): one statement, many sets of parameters, one Sync behind them. The sets are
 * encoded in slices, as far as `out` has room: the first when the request is sent, the
 * others when the socket has taken most of what there was. Meanwhile the operation is the
 * tail of `sent`, in phase OP_FILLING, and nothing else is sent behind it.
 *
 * If that comes to a bad end, the server must not commit what it has got by then: in front
 * of the Sync goes a Parse that it refuses, which breaks the implicit transaction in
 * autocommit and the open one elsewhere. */
#ifndef DRIVER_MANY_H
#define DRIVER_MANY_H

#include "connection.h"

/* So many sets in a row had the same result. */
struct many_run {
    int64_t count;   /* of the command tag, -1: none */
    Py_ssize_t rows; /* that were returned */
    size_t times;
};

struct many {
    PyObject *text;    /* the SQL as given, for sets with names */
    PyObject *names;   /* tuple of these, once a dict has come, or NULL */
    PyObject *kept;    /* list of op->params and those before it, while the server may refuse the
                          statement itself and want them all once more; else NULL */
    Py_ssize_t replay; /* of those, the next after op->params */
    Py_ssize_t next;   /* index in op->params of the next to be encoded */
    size_t base;       /* sets before op->params */
    size_t put;        /* sets encoded */
    size_t done;       /* sets that the server has run */
    bool more;         /* there are more sets than those at hand */
    bool returning;    /* rows are kept */
    bool given_up;     /* the Parse that the server refuses is on its way */
    struct wire_buffer head; /* what every Bind starts with */
    struct wire_bind bind;   /* its marks there */
    struct wire_buffer tail; /* what comes behind the values, Execute included */
    size_t formats_len;      /* bytes of it that belong to the Bind */
    struct operation *fed;    /* the next in conn->fed */
    PyObject *task;           /* that feeds it, or NULL */
    struct operation *feeder; /* waits until more sets can be taken, or NULL; owned */
    struct many_run *runs;
    size_t runs_count;
    size_t runs_cap;
    Py_ssize_t rows;   /* of the sets that are done */
};

/* Encodes the first slice, of a statement that is described; how many sets it has, at
 * least one, or -1 with an exception: the buffer has to be rolled back. */
Py_ssize_t many_put_first(struct connection *conn, struct operation *op);

/* Whether the sets at hand are used up. Goes on to the next of those kept, if there is one. */
bool many_is_dry(struct operation *op);

/* Whether all sets there will ever be are encoded. */
bool many_is_all(const struct operation *op);

/* The operation that is being filled, or NULL. Borrowed. */
static inline struct operation *
many_open_borrow(const struct connection *conn)
{
    struct operation *tail = conn->sent.tail;
    return tail != NULL && tail->phase == OP_FILLING ? tail : NULL;
}

/* Whether rows that come for the operation are of no interest. */
static inline bool
many_drops_rows(const struct operation *op)
{
    return op->many != NULL && !op->many->returning;
}

/* Does what is due for the operation that is being filled, if there is one: the next
 * slice, or its end. Never raises. Not while something is being encoded. */
void many_go_on(struct connection *conn);

/* conn_flush has come to its end, and an operation is being filled: turns the writer on or
 * off, lets the feeder go on. */
void many_flushed(struct connection *conn);

/* The socket takes more, and an operation is being filled. */
void many_writable(struct connection *conn);

/* The next `times` sets are done, each with that count of rows. */
void many_completed(struct operation *op, int64_t count, size_t times);

/* An ErrorResponse came for the operation. `rider`: for what rode in front of it. */
void many_refused(struct connection *conn, struct operation *op, bool rider);

/* Back to the first set, for another try. */
void many_reset(struct operation *op);

/* The operation is over: drops its sets, lets the feeder go on. */
void many_finished(struct connection *conn, struct operation *op);

/* An OP_FEED is given up. */
void many_forget_feeder(struct operation *feed);

/* feed.c */

/* Whether what this task asks for would wait for the end of an executemany() that the task
 * itself feeds. -1 with the InterfaceError then. */
int many_check_task(struct connection *conn);

/* many.c */

/* The value that stands for parameter `index`: of the first set at hand that has one. A new
 * reference; None where there is none. */
PyObject *many_find_value(struct connection *conn, const struct operation *op, Py_ssize_t index);

/* List of (count, rows, times): the results of the sets. NULL with an exception. */
PyObject *many_runs(const struct operation *op);

/* Frees op->many, which is there. */
void many_free(struct operation *op);

/* Methods; see _core.pyi. */
PyObject *Connection_executemany(struct connection *conn, PyObject *const *args, Py_ssize_t nargs);
PyObject *Connection_hungry(struct connection *conn, PyObject *argument);
PyObject *Connection_feed(struct connection *conn, PyObject *const *args, Py_ssize_t nargs);
PyObject *Connection_starve(struct connection *conn, PyObject *error);
PyObject *Connection_break_off(struct connection *conn, PyObject *const *args, Py_ssize_t nargs);

#endif
