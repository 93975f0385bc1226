/* Rows for `async for`: a list of them at a time, and no Python between one and the next. */
#ifndef DRIVER_STREAM_H
#define DRIVER_STREAM_H

#include "module.h"

/* Adds Stream to the module; -1 with an exception. */
int stream_type_init(struct core_state *st, PyObject *module);

#endif
