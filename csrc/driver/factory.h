/* Row factories: rows that are neither tuple nor Row. A maker is what
 * pgasync.rows.compile_maker() makes of a factory for a statement's columns; the
 * statement keeps it, as a tuple (factory, style, target, names). */
#ifndef DRIVER_FACTORY_H
#define DRIVER_FACTORY_H

#include "operation.h"
#include "rows.h"

/* How a maker is called; pgasync.rows knows them by the same names. */
enum row_style {
    ROW_SCALAR,   /* not at all: the row is the first column */
    ROW_DICT,     /* a copy of the dict `target`, its values set by `names` */
    ROW_STAR,     /* target(value, …) */
    ROW_KEYWORDS, /* target(name=value, …) */
    ROW_CALL,     /* target((value, …)) */
};

/* As below, for what is not True. */
int op_set_other_factory(struct operation *op, PyObject *factory);

/* Takes over what execute() was told: False or tuple, True or Row, or a factory. -1
 * with an exception when it cannot be called. */
static inline int
op_set_row_factory(struct operation *op, PyObject *factory)
{
    op->named_rows = factory == Py_True;
    return op->named_rows ? 0 : op_set_other_factory(op, factory);
}

/* As below, for an operation with a factory. */
int op_look_for_maker(struct operation *op);

/* Gives the operation the maker for its statement, if its rows need one: compiled once,
 * then found with the statement. -1 with an exception: the columns do not fit. */
static inline int
op_find_maker(struct operation *op)
{
    return op->row_factory == NULL ? 0 : op_look_for_maker(op);
}

/* A row by the operation's maker, into its result. Runs code of the program, which may
 * give the operation up or close the connection. */
enum rows_status op_make_row(struct operation *op, struct codec_ctx *ctx, struct wire_reader cells);

#endif
