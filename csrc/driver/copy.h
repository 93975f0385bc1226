/* COPY between the client and the server: the request, what state it is in, and the
 * bytes that go to a COPY … FROM STDIN. An OP_COPY is a simple Query; from its answer
 * on nothing else is sent behind it until it has ended. */
#ifndef DRIVER_COPY_H
#define DRIVER_COPY_H

#include "connection.h"

enum copy_state {
    COPY_ASKED, /* the server has not answered, or nothing has been sent yet */
    COPY_IN,    /* the server takes data */
    COPY_OUT,   /* the server sends data */
    COPY_ENDED, /* no more data either way; the end of the request may still be due */
};

/* What an OP_COPY has beside other operations; operation->copy. */
struct copy {
    enum copy_state state;
    bool answered; /* the server has said which way the data go: `in`, `format`, `columns` */
    bool in;
    uint8_t format; /* of the whole: WIRE_FORMAT_TEXT (or csv), WIRE_FORMAT_BINARY */
    size_t columns;
    size_t prefix; /* characters in front of the text in the Query: a BEGIN */
    struct wire_buffer data;   /* bytes for the server that are not in a CopyData yet */
    PyObject *piece; /* bytes of the server's data, of which `filled` are there, or NULL */
    size_t filled;
    struct operation *starter; /* who waits for the answer; owned, or NULL */
    PyObject *task;            /* that began it: its other statements are refused meanwhile */
};

/* The answer of the server, for any operation: an OP_COPY begins, others are refused in
 * a way that keeps the connection. */
void copy_on_answer(struct connection *conn, struct operation *op, const struct wire_event *event);

/* A CopyData of the server; takes the next ones with it. */
void copy_on_data(struct connection *conn, struct operation *op, wire_slice data);

/* Puts the data that have come into op->rows. -1 with an exception: they are lost. */
int copy_close_piece(struct operation *op);

/* The server has sent its last CopyData. */
void copy_on_done(struct operation *op);

/* An OP_COPY is given up: its starter is let go, and a COPY FROM is failed. */
void copy_on_abandon(struct connection *conn, struct operation *op);

/* Gives up, with `error` (an exception), what waits for a program to give data or to take
 * them: COPYs and streams, sent or not. */
void copy_starve(struct connection *conn, PyObject *error);

/* An OP_COPY leaves its queue: it is an error where no COPY has come of it, and its
 * starter is let go. */
void copy_on_finish(struct connection *conn, struct operation *op);

/* Whether what this task asks for would wait for the end of a COPY of its own. -1 with
 * the InterfaceError then. */
int copy_check_task(struct connection *conn);

/* Whether the server cannot have done what is asked of it: its data had not all come. */
bool copy_is_unfinished(const struct operation *op);

/* Moves the "P" of an error's fields, a place in the text that was sent, to where it is
 * without the first `prefix` characters. */
void copy_shift_position(size_t prefix, PyObject *fields);

/* For the garbage collector and the end of an operation. */
int copy_traverse(const struct copy *copy, visitproc visit, void *arg);
void copy_free(struct copy *copy);

/* core.copy(), copy_started(), copy_write(), copy_done(), copy_fail(); see _core.pyi. */
PyObject *Connection_copy(struct connection *conn, PyObject *sql);
PyObject *Connection_copy_started(struct connection *conn, PyObject *operation);
PyObject *Connection_copy_write(struct connection *conn, PyObject *const *args, Py_ssize_t nargs);
PyObject *Connection_copy_done(struct connection *conn, PyObject *operation);
PyObject *Connection_copy_fail(struct connection *conn, PyObject *const *args, Py_ssize_t nargs);

/* Operation.copying; see _core.pyi. */
PyObject *copy_describe(const struct operation *op);

#endif
