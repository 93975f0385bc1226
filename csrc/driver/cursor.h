/* A PEP 249 cursor over rows that have all arrived, for whoever waits in a greenlet:
 * what an SQLAlchemy dialect makes anew for every statement. */
#ifndef DRIVER_CURSOR_H
#define DRIVER_CURSOR_H

#include "connection.h"

/* connection.cursor(type, adapted, wait, current=None): a new cursor of a subclass
 * of the core's. `wait` makes an Operation's result of the Operation; where
 * the greenlet current() is none of SQLAlchemy's it is called with None, to raise, and
 * nothing is sent. `adapted` is kept for
 * the subclass. */
PyObject *Connection_cursor(struct connection *conn, PyObject *const *args, Py_ssize_t nargs);

/* What Dialect.do_execute() is to do: cursor.execute(statement, parameters). The
 * fourth argument, the context, is not looked at. */
PyObject *
core_cursor_execute(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *named);

/* Makes the type and adds it to the module; -1 with an exception. */
int cursor_type_init(struct core_state *st, PyObject *module);

#endif
