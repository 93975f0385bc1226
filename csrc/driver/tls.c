#include "tls.h"

#include "errors.h"

struct tls_context {
    PyObject_HEAD
    struct core_state *st;
    struct net_tls_context *context;
};

struct tls {
    PyObject_HEAD
    struct core_state *st;
    struct net_stream stream; /* state NULL: the connection has it */
    bool busy;                /* another thread is inside the handshake */
};

/* TlsContext */

static int
path_or_none(PyObject *value, void *slot)
{
    if (value == Py_None) {
        *(PyObject **)slot = NULL;
        return 1;
    }
    return PyUnicode_FSConverter(value, slot);
}

static const char *
text_of(PyObject *bytes)
{
    return bytes == NULL ? NULL : PyBytes_AS_STRING(bytes);
}

static PyObject *
context_load(struct core_state *st, const struct net_tls_options *options)
{
    char reason[NET_REASON_MAX] = "";
    struct net_tls_context *context;
    Py_BEGIN_ALLOW_THREADS context = net_tls_context_new(options, reason);
    Py_END_ALLOW_THREADS if (context == NULL)
    {
        return errors_set(PyExc_ValueError, "%s", reason);
    }
    struct tls_context *self = PyObject_New(struct tls_context, st->tls_context_type);
    if (self == NULL) {
        net_tls_context_free(context);
        return NULL;
    }
    self->st = st;
    self->context = context;
    return (PyObject *)self;
}

PyObject *
core_tls_context(PyObject *module, PyObject *args, PyObject *keywords)
{
    char *names[] = {"root", "root_system", "crl",         "crl_dir",     "cert",
                     "key",  "password",    "min_version", "max_version", NULL};
    PyObject *root = NULL, *crl = NULL, *crl_dir = NULL, *cert = NULL, *key = NULL;
    struct net_tls_options options = {0};
    int system = 0;
    PyObject *self = NULL;
    if (PyArg_ParseTupleAndKeywords(
            args, keywords, "|$O&pO&O&O&O&zzz:tls_context", names, path_or_none, &root, &system,
            path_or_none, &crl, path_or_none, &crl_dir, path_or_none, &cert, path_or_none, &key,
            &options.key_password, &options.min_version, &options.max_version)) {
        options.root_file = text_of(root);
        options.root_system = system != 0;
        options.crl_file = text_of(crl);
        options.crl_dir = text_of(crl_dir);
        options.cert_file = text_of(cert);
        options.key_file = text_of(key);
        self = context_load(PyModule_GetState(module), &options);
    }
    Py_XDECREF(root);
    Py_XDECREF(crl);
    Py_XDECREF(crl_dir);
    Py_XDECREF(cert);
    Py_XDECREF(key);
    return self;
}

static void
TlsContext_dealloc(struct tls_context *self)
{
    PyTypeObject *type = Py_TYPE(self);
    net_tls_context_free(self->context);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyObject *
TlsContext_wrap(struct tls_context *self, PyObject *args)
{
    int fd;
    const char *server_name;
    if (!PyArg_ParseTuple(args, "iz:wrap", &fd, &server_name)) {
        return NULL;
    }
    struct tls *tls = PyObject_New(struct tls, self->st->tls_type);
    if (tls == NULL) {
        return NULL;
    }
    tls->st = self->st;
    tls->busy = false;
    tls->stream.state = NULL;
    if (net_tls_init(&tls->stream, fd, self->context, server_name) < 0) {
        Py_DECREF(tls);
        return PyErr_NoMemory();
    }
    return (PyObject *)tls;
}

/* Tls */

static void
Tls_dealloc(struct tls *self)
{
    PyTypeObject *type = Py_TYPE(self);
    if (self->stream.state != NULL) {
        self->stream.ops->clear(&self->stream);
    }
    PyObject_Free(self);
    Py_DECREF(type);
}

static bool
tls_is_there(struct tls *self)
{
    if (self->stream.state == NULL || self->busy) {
        PyErr_SetString(PyExc_ValueError, "the TLS stream is in use elsewhere");
        return false;
    }
    return true;
}

/* NULL with the OSError of a stream that has failed. */
static PyObject *
tls_raise(struct tls *self, enum net_status status)
{
    if (status == NET_EOF) {
        return errors_set(PyExc_ConnectionResetError, "the server closed the connection");
    }
    if (self->stream.error == 0) {
        return errors_set(PyExc_ConnectionError, "%s", self->stream.reason);
    }
    errno = self->stream.error;
    return PyErr_SetFromErrno(PyExc_OSError);
}

static PyObject *
Tls_handshake(struct tls *self, PyObject *unused)
{
    (void)unused;
    if (!tls_is_there(self)) {
        return NULL;
    }
    enum net_status status;
    self->busy = true;
    Py_BEGIN_ALLOW_THREADS status = net_tls_handshake(&self->stream);
    Py_END_ALLOW_THREADS self->busy = false;
    return status < 0 ? tls_raise(self, status) : PyLong_FromLong(status);
}

static PyObject *
Tls_send(struct tls *self, PyObject *bytes)
{
    size_t sent = 0;
    if (!tls_is_there(self)) {
        return NULL;
    }
    if (!PyBytes_Check(bytes)) {
        return errors_set(PyExc_TypeError, "send() takes bytes");
    }
    enum net_status status = net_write(&self->stream, (const uint8_t *)PyBytes_AS_STRING(bytes),
                                       (size_t)PyBytes_GET_SIZE(bytes), &sent);
    return status < 0 ? tls_raise(self, status) : PyLong_FromSize_t(sent);
}

static PyObject *
Tls_recv(struct tls *self, PyObject *unused)
{
    (void)unused;
    uint8_t bytes[512];
    size_t got = 0;
    if (!tls_is_there(self)) {
        return NULL;
    }
    enum net_status status = net_read(&self->stream, bytes, sizeof(bytes), &got);
    if (status > 0) {
        Py_RETURN_NONE;
    }
    if (status == NET_ERROR) {
        return tls_raise(self, status);
    }
    return PyBytes_FromStringAndSize((const char *)bytes, (Py_ssize_t)got);
}

static PyObject *
Tls_is_host(struct tls *self, PyObject *host)
{
    const char *name = tls_is_there(self) ? PyUnicode_AsUTF8(host) : NULL;
    return name == NULL ? NULL : PyBool_FromLong(net_tls_is_host(&self->stream, name));
}

static PyObject *
Tls_get_peer_name(struct tls *self, void *closure)
{
    (void)closure;
    char name[256];
    if (!tls_is_there(self)) {
        return NULL;
    }
    net_tls_peer_name(&self->stream, name, sizeof(name));
    return PyUnicode_FromString(name);
}

static PyObject *
Tls_get_cert_requested(struct tls *self, void *closure)
{
    (void)closure;
    return tls_is_there(self) ? PyBool_FromLong(net_tls_cert_requested(&self->stream)) : NULL;
}

static PyObject *
binding_object(const uint8_t *hash, size_t len)
{
    if (len == 0) {
        Py_RETURN_NONE;
    }
    return PyBytes_FromStringAndSize((const char *)hash, (Py_ssize_t)len);
}

static PyObject *
Tls_get_binding(struct tls *self, void *closure)
{
    (void)closure;
    uint8_t hash[NET_TLS_BINDING_MAX];
    return tls_is_there(self) ? binding_object(hash, net_tls_binding(&self->stream, hash)) : NULL;
}

static PyObject *
Tls_get_version(struct tls *self, void *closure)
{
    (void)closure;
    return tls_is_there(self) ? PyUnicode_FromString(net_tls_version(&self->stream)) : NULL;
}

static PyObject *
Tls_get_cipher(struct tls *self, void *closure)
{
    (void)closure;
    return tls_is_there(self) ? PyUnicode_FromString(net_tls_cipher(&self->stream)) : NULL;
}

static PyObject *
Tls_get_alpn(struct tls *self, void *closure)
{
    (void)closure;
    char name[256];
    if (!tls_is_there(self)) {
        return NULL;
    }
    net_tls_alpn(&self->stream, name, sizeof(name));
    return PyUnicode_FromString(name);
}

int
tls_take_stream(PyObject *object, struct net_stream *stream)
{
    struct tls *tls = (struct tls *)object;
    if (!tls_is_there(tls)) {
        return -1;
    }
    net_tls_move(stream, &tls->stream);
    return 0;
}

PyObject *
core_tls_binding(PyObject *module, PyObject *der)
{
    (void)module;
    uint8_t hash[NET_TLS_BINDING_MAX];
    if (!PyBytes_Check(der)) {
        return errors_set(PyExc_TypeError, "tls_binding() takes bytes");
    }
    size_t len = net_tls_binding_of((const uint8_t *)PyBytes_AS_STRING(der),
                                    (size_t)PyBytes_GET_SIZE(der), hash);
    return binding_object(hash, len);
}

/* The types */

static PyMethodDef TlsContext_methods[] = {
    {"wrap", (PyCFunction)TlsContext_wrap, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot TlsContext_slots[] = {
    {Py_tp_dealloc, TlsContext_dealloc},
    {Py_tp_methods, TlsContext_methods},
    {Py_tp_doc, "What is trusted and shown: certificates and keys."},
    {0, NULL},
};

static PyType_Spec TlsContext_spec = {
    .name = "pgasync._core.TlsContext",
    .basicsize = sizeof(struct tls_context),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = TlsContext_slots,
};

static PyMethodDef Tls_methods[] = {
    {"handshake", (PyCFunction)Tls_handshake, METH_NOARGS, NULL},
    {"send", (PyCFunction)Tls_send, METH_O, NULL},
    {"recv", (PyCFunction)Tls_recv, METH_NOARGS, NULL},
    {"is_host", (PyCFunction)Tls_is_host, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef Tls_getset[] = {
    {"peer_name", (getter)Tls_get_peer_name, NULL, NULL, NULL},
    {"cert_requested", (getter)Tls_get_cert_requested, NULL, NULL, NULL},
    {"binding", (getter)Tls_get_binding, NULL, NULL, NULL},
    {"version", (getter)Tls_get_version, NULL, NULL, NULL},
    {"cipher", (getter)Tls_get_cipher, NULL, NULL, NULL},
    {"alpn", (getter)Tls_get_alpn, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot Tls_slots[] = {
    {Py_tp_dealloc, Tls_dealloc},
    {Py_tp_methods, Tls_methods},
    {Py_tp_getset, Tls_getset},
    {Py_tp_doc, "A TLS stream over a socket, until a connection takes it over."},
    {0, NULL},
};

static PyType_Spec Tls_spec = {
    .name = "pgasync._core.Tls",
    .basicsize = sizeof(struct tls),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = Tls_slots,
};

int
tls_types_init(struct core_state *st, PyObject *module)
{
    st->tls_context_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &TlsContext_spec, NULL);
    st->tls_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &Tls_spec, NULL);
    return st->tls_context_type == NULL || st->tls_type == NULL
                   || PyModule_AddType(module, st->tls_context_type) < 0
                   || PyModule_AddType(module, st->tls_type) < 0
               ? -1
               : 0;
}
