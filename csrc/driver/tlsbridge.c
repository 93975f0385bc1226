/* An object of Python that does TLS, behind net_stream: slower than our own, for those
 * who bring an ssl.SSLContext. The socket is read and written here. */
#include "errors.h"
#include "tls.h"

#define BRIDGE_CHUNK 65536
#define BRIDGE_READ 16384
#define BRIDGE_ROUNDS 16

struct bridge {
    PyObject *object; /* borrowed from the connection */
    PyObject *plain;  /* bytes decrypted and not yet read, from `plain_start` on; or NULL */
    Py_ssize_t plain_start;
    PyObject *cipher; /* bytes not yet sent, from `cipher_start` on; or NULL */
    Py_ssize_t cipher_start;
    size_t accepted; /* plain bytes that `cipher` stands for */
    bool ended;      /* nothing comes behind `plain` */
};

/* The exception that the object has raised, as the stream's reason. */
static enum net_status
bridge_fail(struct net_stream *stream)
{
    PyObject *error = errors_take();
    PyObject *text = error == NULL ? NULL : PyObject_Str(error);
    const char *utf8 = text == NULL ? NULL : PyUnicode_AsUTF8(text);
    stream->error = 0;
    snprintf(stream->reason, sizeof(stream->reason), "%s", utf8 == NULL ? "TLS failed" : utf8);
    Py_XDECREF(text);
    Py_XDECREF(error);
    PyErr_Clear();
    return NET_ERROR;
}

/* object.<method>(bytes), which gives an object of `type`. NULL with an exception. It may
 * run anything, the collector for one, and have the stream cleared: that is an exception
 * too, and the bridge is gone then. */
static PyObject *
bridge_call(struct net_stream *stream, const char *method, const uint8_t *bytes, size_t len,
            PyTypeObject *type)
{
    const struct bridge *bridge = stream->state;
    PyObject *object = Py_NewRef(bridge->object);
    PyObject *result =
        PyObject_CallMethod(object, method, "y#", (const char *)bytes, (Py_ssize_t)len);
    Py_DECREF(object);
    if (stream->state != bridge) {
        Py_XDECREF(result);
        return errors_set(PyExc_ConnectionError, "the connection was closed");
    }
    if (result != NULL && !Py_IS_TYPE(result, type)) {
        Py_DECREF(result);
        return errors_set(PyExc_TypeError, "%s() must return %s", method, type->tp_name);
    }
    return result;
}

/* Hands the object what has come; `plain` and `ended` are what it says. -1 with an
 * exception. */
static int
bridge_take(struct net_stream *stream, const uint8_t *bytes, size_t len)
{
    struct bridge *bridge = stream->state;
    PyObject *result = bridge_call(stream, "receive", bytes, len, &PyTuple_Type);
    PyObject *plain = NULL;
    int ended = 0;
    if (result == NULL
        || !PyArg_ParseTuple(result, "Sp;receive() must return (bytes, bool)", &plain, &ended)) {
        Py_XDECREF(result);
        return -1;
    }
    if (PyBytes_GET_SIZE(plain) > 0) {
        bridge->plain = Py_NewRef(plain);
        bridge->plain_start = 0;
    }
    bridge->ended = ended;
    Py_DECREF(result);
    return 0;
}

static size_t
bridge_give(struct bridge *bridge, uint8_t *bytes, size_t cap)
{
    size_t left = (size_t)(PyBytes_GET_SIZE(bridge->plain) - bridge->plain_start);
    size_t n = left < cap ? left : cap;
    memcpy(bytes, PyBytes_AS_STRING(bridge->plain) + bridge->plain_start, n);
    bridge->plain_start += (Py_ssize_t)n;
    if (n == left) {
        Py_CLEAR(bridge->plain);
    }
    return n;
}

/* Once it is over, the object says why: good-bye, or an exception. */
static enum net_status
bridge_fill(struct net_stream *stream)
{
    struct bridge *bridge = stream->state;
    uint8_t chunk[BRIDGE_READ];
    size_t got = 0;
    bool over = bridge->ended;
    if (!over) {
        enum net_status status = net_plain_read(stream, chunk, sizeof(chunk), &got);
        if (status != NET_OK) {
            return status;
        }
    }
    if (bridge_take(stream, chunk, got) < 0) {
        return bridge_fail(stream);
    }
    return over || (bridge->ended && bridge->plain == NULL) ? NET_EOF : NET_OK;
}

static enum net_status
bridge_read(struct net_stream *stream, uint8_t *bytes, size_t cap, size_t *n)
{
    struct bridge *bridge = stream->state;
    for (int round = 0; bridge->plain == NULL; round++) {
        if (round == BRIDGE_ROUNDS) {
            return NET_WANT_READ; /* records without data: others get their turn */
        }
        enum net_status status = bridge_fill(stream);
        if (status != NET_OK) {
            return status;
        }
    }
    *n = bridge_give(bridge, bytes, cap);
    return NET_OK;
}

/* What was encrypted counts as written when all of it is on its way: until then the
 * caller keeps the bytes, and comes again with them. */
static enum net_status
bridge_write(struct net_stream *stream, const uint8_t *bytes, size_t len, size_t *n)
{
    struct bridge *bridge = stream->state;
    if (bridge->cipher == NULL) {
        size_t chunk = len < BRIDGE_CHUNK ? len : BRIDGE_CHUNK;
        PyObject *cipher = bridge_call(stream, "send", bytes, chunk, &PyBytes_Type);
        if (cipher == NULL) {
            return bridge_fail(stream);
        }
        bridge->cipher = cipher;
        bridge->cipher_start = 0;
        bridge->accepted = chunk;
    }
    while (bridge->cipher_start < PyBytes_GET_SIZE(bridge->cipher)) {
        size_t sent = 0;
        enum net_status status = net_plain_write(
            stream, (const uint8_t *)PyBytes_AS_STRING(bridge->cipher) + bridge->cipher_start,
            (size_t)(PyBytes_GET_SIZE(bridge->cipher) - bridge->cipher_start), &sent);
        if (status != NET_OK) {
            return status;
        }
        bridge->cipher_start += (Py_ssize_t)sent;
    }
    Py_CLEAR(bridge->cipher);
    *n = bridge->accepted;
    return NET_OK;
}

static bool
bridge_pending(const struct net_stream *stream)
{
    const struct bridge *bridge = stream->state;
    return bridge->plain != NULL || bridge->ended;
}

static void
bridge_clear(struct net_stream *stream)
{
    struct bridge *bridge = stream->state;
    if (bridge == NULL) {
        return;
    }
    stream->state = NULL;
    Py_CLEAR(bridge->plain);
    Py_CLEAR(bridge->cipher);
    PyMem_Free(bridge);
}

static const struct net_ops bridge_ops = {bridge_read, bridge_write, bridge_pending, bridge_clear};

int
tls_bridge_init(struct net_stream *stream, PyObject *object)
{
    struct bridge *bridge = PyMem_Calloc(1, sizeof(*bridge));
    if (bridge == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    bridge->object = object;
    stream->ops = &bridge_ops;
    stream->state = bridge;
    return 0;
}
