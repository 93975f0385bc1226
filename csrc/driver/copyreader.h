/* Rows out of COPY's binary format, by the codecs of a statement with the same columns. */
#ifndef DRIVER_COPYREADER_H
#define DRIVER_COPYREADER_H

#include "connection.h"

/* core.copy_reader(), core.forget(); see _core.pyi. */
PyObject *Connection_copy_reader(struct connection *conn, PyObject *args);
PyObject *Connection_forget(struct connection *conn, PyObject *statement);

/* Makes the type CopyReader and adds it to the module; -1 with an exception. */
int copy_reader_type_init(struct core_state *st, PyObject *module);

#endif
