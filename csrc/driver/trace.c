/* What goes by, in words: hands the bytes to wire/trace.c and its lines to a Python
 * function. Whatever happens to them, the connection goes on. */
#include "connection.h"
#include "errors.h"

#include "../wire/trace.h"

#include <sys/time.h>
#include <time.h>

struct conn_trace {
    struct wire_trace wire;
    struct wire_buffer lines; /* not written yet */
    PyObject *write;
    size_t skip; /* bytes at the front of `out` that were there when the trace began */
    bool timestamps;
    bool writing; /* `write` is running: it may end up here again */
    bool ended;   /* while it ran */
};

#define STAMP_MAX 64

/* The local time as "2026-01-31 12:34:56.123456\t", as libpq writes it. */
static void
stamp_now(char stamp[STAMP_MAX])
{
    struct timeval now;
    struct tm local;
    stamp[0] = '\0';
    if (gettimeofday(&now, NULL) == 0 && localtime_r(&now.tv_sec, &local) != NULL) {
        size_t len = strftime(stamp, STAMP_MAX - 8, "%Y-%m-%d %H:%M:%S", &local);
        snprintf(stamp + len, STAMP_MAX - len, ".%06u\t", (unsigned)now.tv_usec % 1000000);
    }
}

static void
trace_free(struct conn_trace *trace)
{
    wire_trace_clear(&trace->wire);
    wire_buffer_clear(&trace->lines, false);
    Py_XDECREF(trace->write);
    PyMem_Free(trace);
}

void
conn_trace_end(struct connection *conn)
{
    struct conn_trace *trace = conn->trace;
    conn->trace = NULL;
    if (trace != NULL && trace->writing) {
        trace->ended = true; /* whoever writes frees it */
    }
    else if (trace != NULL) {
        trace_free(trace);
    }
}

int
conn_trace_traverse(const struct connection *conn, visitproc visit, void *arg)
{
    if (conn->trace != NULL) {
        Py_VISIT(conn->trace->write);
    }
    return 0;
}

/* Hands the lines over. False, with an exception, when they were not taken. */
static bool
trace_hand_over(struct conn_trace *trace)
{
    if (codec_buffer_failed(&trace->lines)) {
        return false;
    }
    wire_slice bytes = wire_buffer_unread(&trace->lines);
    PyObject *lines = PyBytes_FromStringAndSize((const char *)bytes.ptr, (Py_ssize_t)bytes.len);
    if (lines == NULL) {
        return false;
    }
    wire_buffer_consume(&trace->lines, bytes.len);
    wire_buffer_shrink(&trace->lines, CONN_KEEP_BYTES);
    PyObject *result = PyObject_CallOneArg(trace->write, lines);
    Py_DECREF(lines);
    Py_XDECREF(result);
    if (result == NULL && PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) {
        /* Meant for the program, which is not asked here: it comes once more. */
        PyErr_Clear();
        PyErr_SetInterrupt();
        return true;
    }
    return result != NULL;
}

static void
trace_write(struct connection *conn, struct conn_trace *trace)
{
    if (trace->writing) {
        return; /* by what `write` did; the loop below goes on */
    }
    PyObject *saved = compat_take_exception();
    bool good = true;
    trace->writing = true;
    while (good && !trace->ended
           && (wire_buffer_size(&trace->lines) > 0 || trace->lines.failed != WIRE_OK)) {
        good = trace_hand_over(trace);
    }
    PyObject *error = good ? NULL : errors_take();
    trace->writing = false;
    if (trace->ended) {
        trace_free(trace);
    }
    else if (!good) {
        conn_trace_end(conn);
        conn_tell(conn, conn->st->name_untraced, PyTuple_Pack(1, error == NULL ? Py_None : error));
    }
    Py_XDECREF(error);
    if (saved != NULL) {
        compat_raise(saved);
    }
}

static void
trace_feed(struct conn_trace *trace, enum wire_trace_side side, wire_slice bytes)
{
    char stamp[STAMP_MAX] = "";
    if (trace->timestamps) {
        stamp_now(stamp);
    }
    wire_trace_feed(&trace->wire, side, bytes, stamp, &trace->lines);
}

void
conn_trace_received(struct connection *conn, size_t got)
{
    wire_slice bytes = {conn->in.data + conn->in.end - got, got};
    trace_feed(conn->trace, WIRE_TRACE_BACKEND, bytes);
    trace_write(conn, conn->trace);
}

void
conn_trace_sent(struct connection *conn, size_t sent)
{
    struct conn_trace *trace = conn->trace;
    size_t skip = trace->skip < sent ? trace->skip : sent;
    trace->skip -= skip;
    wire_slice bytes = wire_buffer_unread(&conn->out);
    bytes.ptr += skip;
    bytes.len = sent - skip;
    trace_feed(trace, WIRE_TRACE_FRONTEND, bytes);
    wire_buffer_consume(&conn->out, sent);
    trace_write(conn, trace);
}

/* Where the conversation is now: nothing that was sent before is traced, nor the end of a
 * message of which a part was; what was received is, from the first message on that the
 * session has not looked at. */
static void
trace_begin(struct connection *conn, struct conn_trace *trace)
{
    trace->skip = wire_buffer_size(&conn->out);
    wire_slice bytes = wire_buffer_unread(&conn->in);
    size_t seen = conn->session.consumed;
    if (seen < bytes.len) {
        bytes.ptr += seen;
        bytes.len -= seen;
        trace_feed(trace, WIRE_TRACE_BACKEND, bytes);
    }
    conn->trace = trace;
}

PyObject *
Connection_trace(struct connection *conn, PyObject *args)
{
    PyObject *write;
    int timestamps, regress;
    if (!PyArg_ParseTuple(args, "Opp:trace", &write, &timestamps, &regress)) {
        return NULL;
    }
    conn_trace_end(conn);
    if (write == Py_None) {
        Py_RETURN_NONE;
    }
    struct conn_trace *trace = PyMem_Calloc(1, sizeof(*trace));
    if (trace == NULL) {
        return PyErr_NoMemory();
    }
    wire_trace_init(&trace->wire, conn->session.phase == WIRE_PHASE_NEW, regress != 0);
    wire_buffer_init(&trace->lines);
    trace->write = Py_NewRef(write);
    trace->timestamps = timestamps != 0;
    trace_begin(conn, trace);
    trace_write(conn, trace);
    Py_RETURN_NONE;
}

PyObject *
core_trace_exchange(PyObject *module, PyObject *args)
{
    (void)module;
    const char *sent, *received;
    Py_ssize_t sent_len, received_len;
    int timestamps, regress;
    if (!PyArg_ParseTuple(args, "y#y#pp:trace_exchange", &sent, &sent_len, &received, &received_len,
                          &timestamps, &regress)) {
        return NULL;
    }
    wire_slice requests = {(const uint8_t *)sent, (size_t)sent_len};
    wire_slice answers = {(const uint8_t *)received, (size_t)received_len};
    struct conn_trace trace = {.timestamps = timestamps != 0};
    wire_trace_init(&trace.wire, true, regress != 0);
    wire_buffer_init(&trace.lines);
    trace_feed(&trace, WIRE_TRACE_FRONTEND, requests);
    trace_feed(&trace, WIRE_TRACE_BACKEND, answers);
    PyObject *result = NULL;
    if (!codec_buffer_failed(&trace.lines)) {
        wire_slice bytes = wire_buffer_unread(&trace.lines);
        result = PyBytes_FromStringAndSize((const char *)bytes.ptr, (Py_ssize_t)bytes.len);
    }
    wire_trace_clear(&trace.wire);
    wire_buffer_clear(&trace.lines, false);
    return result;
}
