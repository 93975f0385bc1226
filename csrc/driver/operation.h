/* One object is the request in the connection's queue, the thing a coroutine
 * awaits, what a Task takes for a future, and, once done, the result. */
#ifndef DRIVER_OPERATION_H
#define DRIVER_OPERATION_H

#include "statement.h"

struct connection;
struct copy;

enum op_kind {
    OP_STARTUP,
    OP_EXECUTE,
    OP_MANY,
    OP_PREPARE,
    OP_PORTAL_OPEN,
    OP_PORTAL_FETCH,
    OP_PORTAL_CLOSE,
    OP_PORTAL_DESCRIBE,
    OP_CURSOR_FETCH, /* of SQL's cursors: see declared.h */
    OP_LOOKUP, /* of types, by the driver itself */
    OP_QUERY,
    OP_COMMIT,
    OP_ROLLBACK,
    OP_COPY,       /* a simple Query, data behind it or behind its answer: see copy.h */
    OP_FEED,       /* no request: waits until an OP_MANY can take more sets */
    OP_RESET,      /* of the session, for its next user: see taint.h */
    OP_SYNC,       /* ends a segment of a pipeline: see pipeline.h */
    OP_SEGMENT,    /* no request: the beginning of one, when its turn has come */
    OP_DRAIN,      /* no request: waits for room in the connection's `out` */
    OP_COPY_START, /* no request: waits for the answer to an OP_COPY */
    OP_TAKE,       /* no request: waits for what comes of a stream */
    OP_TURN,       /* no request: waits for the connection, for the block in `params` */
};

/* What the await gives. */
enum op_mode { OP_RESULT, OP_ROWS, OP_ROW, OP_VALUE, OP_NONE };

/* Of a Parse that goes out together with its Bind: see cold.h. */
enum op_parse {
    OP_PARSE_NONE, /* there is none, or its description has come */
    OP_PARSE_SENT, /* nothing has come yet */
    OP_PARSE_DONE, /* the server knows the statement */
};

enum op_phase {
    OP_DEFERRED,   /* nothing of it has been sent */
    OP_DESCRIBING, /* Parse and Describe are out; Bind and Execute follow their answer */
    OP_FILLING,    /* a part of it is out, its Sync is not: see many.h */
    OP_EXECUTING,  /* everything is out */
    OP_COPYING,    /* everything is out, and nothing may be sent behind it yet: a COPY, whose
                      data may follow, or a statement that changes those behind it */
};

#define OP_TAG_MAX 64

/* Whether it has a statement that is bound and executed, or described. */
static inline bool
op_runs_statement(enum op_kind kind)
{
    return kind == OP_EXECUTE || kind == OP_MANY || kind == OP_PREPARE || kind == OP_PORTAL_OPEN;
}

/* Of an operation whose result is taken while it comes, and of the OP_TAKE that waits for
 * more of it; see flow.h. */
struct op_flow {
    struct operation *peer; /* owned: who waits for this stream, the stream it waits for */
    size_t bytes;           /* of messages, that `rows` were made of */
    bool pulled;            /* `rows` may be taken before it is done */
    bool either;            /* it is a portal in a transaction, and pulled outside of one */
};

struct operation {
    PyObject_HEAD
    struct core_state *st;
    struct connection *conn; /* owned while the operation is in a queue, else NULL */
    PyObject *loop;          /* owned; what get_loop() tells */
    struct operation *next;  /* in the queue, or in the list of those to be woken */
    enum op_kind kind;
    enum op_mode mode;
    enum op_phase phase;
    bool done;       /* for whoever awaits it */
    bool abandoned;  /* given up while in flight: drained, its results dropped */
    bool failed;     /* an ErrorResponse came for it */
    bool refused;    /* before its parameters were taken: it has not run */
    bool stale;      /* and its statement had become stale, or may have */
    bool bound;      /* its parameters were taken: the statement runs */
    bool described;  /* its statement was parsed for it, not by an earlier operation */
    uint8_t parse;   /* enum op_parse */
    bool unsynced;   /* the Sync behind its first flight has not been sent: see cold.h */
    bool suspected;  /* its statement was prepared before the schema changed */
    bool first;      /* its own BEGIN opened the transaction: nothing was in it before */
    unsigned char fate; /* when the session has ended: see outcome.h */
    bool held;       /* in `deferred`, to be sent again: see conn_heal */
    unsigned char tries; /* how often it has been sent again */
    bool cancelled;
    bool rollback;   /* what it began has failed: ROLLBACK goes in front of its next try; of
                        an OP_SYNC: what it ends is undone so */
    bool resetting;  /* the session is reset in front of it: an error there comes before it,
                        and ends the connection */
    bool undone;     /* an OP_SYNC, which ends what has failed */
    bool piped;      /* part of a segment of a pipeline */
    bool asked;      /* the question of pooled.h rides in front */
    bool flush;      /* and somebody waits for it: a Flush goes behind */
    bool looked_up;  /* its types were asked for: what is still unknown is text */
    unsigned lookups; /* how often its rows have been decoded again */
    int indeterminate; /* $n whose type the server cannot tell, or 0 */
    bool named_rows;    /* rows are Row, else tuple, unless there is a row_factory */
    bool own_traceback; /* the error was raised by code of the program */
    bool suspended;
    char blocking;   /* _asyncio_future_blocking */
    int64_t rowcount;
    uint32_t rows_max;
    uint32_t doubted; /* the types of its statement when it did not take the values: doubt.h */
    size_t tag_len;
    char tag[OP_TAG_MAX];
    PyObject *sql;
    struct statement *stmt;
    PyObject *params; /* tuple; for OP_MANY the sets at hand, a tuple or list; for OP_FEED
                         the OP_MANY */
    struct many *many; /* of OP_MANY */
    PyObject *began;  /* the BEGIN that rode in front of it, see rider.h, or NULL */
    PyObject *hints;  /* tuple of type OIDs for Parse, 0 where the server decides, or NULL */
    PyObject *portal; /* bytes */
    PyObject *rows;   /* list, or the row or value itself in OP_ROW and OP_VALUE */
    PyObject *postponed; /* list of (index in rows or -1, bytes): rows whose types must be
                            looked up first */
    PyObject *missing;   /* list of the OIDs of those types */
    PyObject *row_factory; /* what the program gave for its rows, or NULL */
    PyObject *maker;       /* of rows by that factory, or NULL: see factory.h */
    struct copy *copy;   /* of an OP_COPY, else NULL */
    PyObject *error;     /* exception to raise */
    struct op_flow *flow; /* NULL for nearly all */
    PyObject *cancel_message;
    PyObject *callback; /* the one waiter */
    PyObject *context;
};

/* A new operation that waits for nothing yet. `sql` may be NULL. */
struct operation *
op_new(struct core_state *st, PyObject *loop, enum op_kind kind, enum op_mode mode, PyObject *sql);

/* Stores the exception (steals it; NULL stands for one that could not be made)
 * unless there is one: the first is the cause. The rows are dropped, but for those of
 * a stream, which come before its error. */
void op_set_error(struct operation *op, PyObject *error);

/* Stores a command tag and its row count; for OP_MANY that of each of the next `times` sets. */
void op_set_tag(struct operation *op, wire_slice tag, size_t times);

/* Calls the waiter at once, in its own context: the last thing a pump does. -1
 * only for a KeyboardInterrupt or SystemExit of the task that was woken. */
int op_wake(struct operation *op);

/* Schedules the waiter with the loop; never fails loudly (a closed loop has nobody to wake). */
void op_wake_soon(struct operation *op);

/* Makes the type and adds it to the module; -1 with an exception. */
int op_type_init(struct core_state *st, PyObject *module);

#endif
