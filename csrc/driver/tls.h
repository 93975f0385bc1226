/* TLS as Python sees it: a context, a stream that shakes hands, and an ssl.SSLObject
 * in place of ours. */
#ifndef DRIVER_TLS_H
#define DRIVER_TLS_H

#include "module.h"

#include "../net/tls.h"

/* Makes the types TlsContext and Tls and adds them to the module; -1 with an exception. */
int tls_types_init(struct core_state *st, PyObject *module);

/* _core.tls_context() and _core.tls_binding(); see _core.pyi. */
PyObject *core_tls_context(PyObject *module, PyObject *args, PyObject *keywords);
PyObject *core_tls_binding(PyObject *module, PyObject *der);

/* Moves the stream of a Tls object, whose handshake has ended, to `stream`. -1 with a
 * ValueError: it is not there any more. */
int tls_take_stream(PyObject *tls, struct net_stream *stream);

/* tlsbridge.c */

/* Puts a Python object that does TLS (see _core.pyi, TlsBridge) on top of a plain
 * stream. `bridge` is borrowed and outlives the stream. -1 with a MemoryError. */
int tls_bridge_init(struct net_stream *stream, PyObject *bridge);

#endif
