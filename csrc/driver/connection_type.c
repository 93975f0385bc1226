/* The connection's Python type: birth, death, attributes, the table of methods. */
#include "connection.h"
#include "block.h"
#include "copy.h"
#include "copyrows.h"
#include "copyreader.h"
#include "cursor.h"
#include "declared.h"
#include "errors.h"
#include "flow.h"
#include "many.h"
#include "pipeline.h"
#include "pool.h"
#include "rider.h"
#include "taint.h"
#include "tls.h"

#include <unistd.h>

static int
conn_init(struct connection *conn, PyObject *autocommit, PyObject *cache_size, PyObject *lifetime)
{
    int on = PyObject_IsTrue(autocommit);
    Py_ssize_t size = PyLong_AsSsize_t(cache_size);
    double seconds = PyFloat_AsDouble(lifetime);
    if (on < 0 || PyErr_Occurred()) {
        return -1;
    }
    if (size < 0 || !(seconds >= 0)) {
        PyErr_SetString(PyExc_ValueError, "statement cache size and lifetime must not be negative");
        return -1;
    }
    conn->autocommit = on != 0;
    conn->unnamed = size == 0;
    conn->look_every = FLOW_LOOK_FIRST;
    conn->thread = PyThread_get_thread_ident();
    conn->fork_generation = conn->st->fork_generation;
    conn->parameters = PyDict_New();
    conn->begin_sql = PyUnicode_InternFromString("BEGIN");
    conn->missing = PyList_New(0);
    if (conn->parameters == NULL || conn->begin_sql == NULL || conn->missing == NULL) {
        return -1;
    }
    return stmtcache_init(&conn->cache, (size_t)size, seconds);
}

/* TLS, whose handshake is over, in place of the plain stream. */
static int
conn_take_transport(struct connection *conn, PyObject *transport)
{
    if (transport == Py_None) {
        return 0;
    }
    if (Py_IS_TYPE(transport, conn->st->tls_type)) {
        int fd = conn->stream.fd;
        int status = tls_take_stream(transport, &conn->stream);
        conn->stream.fd = fd;
        return status;
    }
    conn->tls_bridge = Py_NewRef(transport);
    return tls_bridge_init(&conn->stream, transport);
}

static struct connection *
conn_new(struct core_state *st, int fd, PyObject *loop, PyObject *link)
{
    struct connection *conn = PyObject_GC_New(struct connection, st->connection_type);
    if (conn == NULL) {
        close(fd);
        return NULL;
    }
    memset((char *)conn + sizeof(PyObject), 0, sizeof(*conn) - sizeof(PyObject));
    conn->st = st;
    st->live += 1;
    conn->loop = Py_NewRef(loop);
    conn->link = Py_NewRef(link);
    codec_options_init(&conn->options);
    book_init(&conn->book, st->codec_type);
    wire_session_init(&conn->session);
    wire_buffer_init(&conn->in);
    wire_buffer_init(&conn->out);
    wire_buffer_init(&conn->cache.closing);
    wire_buffer_init(&conn->prepared);
    int failed = net_plain_init(&conn->stream, fd);
    if (failed != 0) {
        close(fd);
        conn->stream.fd = -1;
        errno = failed;
        PyErr_SetFromErrno(PyExc_OSError);
    }
    PyObject_GC_Track(conn);
    if (failed != 0) {
        Py_DECREF(conn);
        return NULL;
    }
    return conn;
}

PyObject *
core_attach(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    struct core_state *st = PyModule_GetState(module);
    int fd = nargs == 7 ? (int)PyLong_AsLong(args[0]) : -1;
    if (fd < 0) {
        return PyErr_Occurred()
                   ? NULL
                   : errors_set(PyExc_TypeError, "attach(fd, loop, link, autocommit, "
                                                 "statement_cache_size, lifetime, transport)");
    }
    struct connection *conn = conn_new(st, fd, args[1], args[2]);
    if (conn == NULL) {
        return NULL;
    }
    if (conn_init(conn, args[3], args[4], args[5]) < 0 || conn_take_transport(conn, args[6]) < 0
        || conn_watch(conn, st->name_add_reader, st->name__on_readable) < 0) {
        conn->closed = true;
        conn_detach(conn);
        Py_DECREF(conn);
        return NULL;
    }
    return (PyObject *)conn;
}

static int
op_queue_traverse(const struct op_queue *queue, visitproc visit, void *arg)
{
    for (struct operation *op = queue->head; op != NULL; op = op->next) {
        Py_VISIT(op);
    }
    return 0;
}

static int
Connection_traverse(struct connection *conn, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(conn));
    Py_VISIT(conn->loop);
    Py_VISIT(conn->link);
    Py_VISIT(conn->parameters);
    Py_VISIT(conn->catalog);
    Py_VISIT(conn->tls_bridge);
    Py_VISIT(conn->lost_error);
    Py_VISIT(conn->fatal_fields);
    Py_VISIT(conn->farewell);
    Py_VISIT(conn->cache.by_sql);
    Py_VISIT(conn->waiter);
    Py_VISIT(conn->block);
    Py_VISIT(conn->claims);
    Py_VISIT(conn->resets);
    Py_VISIT(conn->settings_log);
    Py_VISIT(conn->segment.error);
    int status = codec_options_traverse(&conn->options, visit, arg);
    status = status != 0 ? status : conn_trace_traverse(conn, visit, arg);
    status = status != 0 ? status : book_traverse(&conn->book, visit, arg);
    status = status != 0 ? status : op_queue_traverse(&conn->sent, visit, arg);
    status = status != 0 ? status : op_queue_traverse(&conn->deferred, visit, arg);
    status = status != 0 ? status : op_queue_traverse(&conn->unread, visit, arg);
    status = status != 0 ? status : op_queue_traverse(&conn->segment.waiting, visit, arg);
    status = status != 0 ? status : op_queue_traverse(&conn->drains, visit, arg);
    status = status != 0 ? status : op_queue_traverse(&conn->outsiders, visit, arg);
    return status != 0 ? status : op_queue_traverse(&conn->ready, visit, arg);
}

static void
op_queue_release(struct op_queue *queue)
{
    struct operation *op;
    while ((op = op_queue_pop(queue)) != NULL) {
        Py_CLEAR(op->conn);
        Py_DECREF(op);
    }
}

static void
conn_release(struct connection *conn)
{
    conn->closed = true;
    op_queue_release(&conn->sent);
    op_queue_release(&conn->unread);
    op_queue_release(&conn->deferred);
    op_queue_release(&conn->segment.waiting);
    segment_forget(conn);
    op_queue_release(&conn->drains);
    op_queue_release(&conn->outsiders);
    block_forget(conn);
    op_queue_release(&conn->ready);
    Py_CLEAR(conn->link);
    struct operation *waiter = conn->waiter;
    conn->waiter = NULL;
    conn->lookup = NULL;
    if (waiter != NULL && waiter->postponed != NULL) {
        Py_CLEAR(waiter->conn);
        Py_DECREF(waiter); /* what was the queue's */
    }
    Py_XDECREF((PyObject *)waiter);
    if (conn->stream.ops != NULL) {
        conn->stream.ops->clear(&conn->stream);
    }
    Py_CLEAR(conn->tls_bridge);
    Py_CLEAR(conn->claims);
    Py_CLEAR(conn->resets);
    Py_CLEAR(conn->settings_log);
    codec_options_clear(&conn->options);
    book_clear(&conn->book);
    Py_CLEAR(conn->lost_error);
    Py_CLEAR(conn->fatal_fields);
    Py_CLEAR(conn->farewell);
    stmtcache_clear(&conn->cache);
    conn_trace_end(conn);
}

static int
Connection_clear(struct connection *conn)
{
    /* An operation holds the connection as the connection holds it: keep alive
     * until the queues are empty. */
    Py_INCREF(conn);
    conn_release(conn);
    Py_DECREF(conn);
    return 0;
}

/* The loop holds the connection while it watches the descriptor, so that here the
 * loop is gone or the descriptor is: only the descriptor itself is left to close. */
static void
Connection_dealloc(struct connection *conn)
{
    PyTypeObject *type = Py_TYPE(conn);
    PyObject_GC_UnTrack(conn);
    if (conn->stream.fd >= 0) {
        close(conn->stream.fd);
        conn->stream.fd = -1;
    }
    conn_release(conn);
    Py_CLEAR(conn->loop);
    Py_CLEAR(conn->parameters);
    Py_CLEAR(conn->catalog);
    Py_CLEAR(conn->begin_sql);
    Py_CLEAR(conn->begin_due);
    Py_CLEAR(conn->missing);
    Py_CLEAR(conn->lookup_sql);
    wire_session_clear(&conn->session);
    wire_buffer_clear(&conn->prepared, false);
    wire_buffer_clear(&conn->in, false);
    wire_buffer_clear(&conn->out, true);
    conn->st->live -= 1;
    PyObject_GC_Del(conn);
    Py_DECREF(type);
}

/* Attributes */

static PyObject *
Connection_get_closed(struct connection *conn, void *closure)
{
    (void)closure;
    return PyBool_FromLong(conn->closed);
}

/* Open, of this process and watched by the loop that runs here. */
static PyObject *
Connection_get_at_home(struct connection *conn, void *closure)
{
    (void)closure;
    PyObject *running = PyObject_CallNoArgs(conn->st->running_loop);
    if (running == NULL) {
        return NULL;
    }
    bool at_home = !conn->closed && conn->fork_generation == conn->st->fork_generation
                   && running == conn->loop;
    Py_DECREF(running);
    return PyBool_FromLong(at_home);
}

/* Whether the end of a transaction is on its way: what the server said last is old then. */
static bool
conn_is_ending(const struct connection *conn)
{
    for (const struct operation *op = conn->sent.head; op != NULL; op = op->next) {
        if (op->kind == OP_COMMIT || op->kind == OP_ROLLBACK) {
            return true;
        }
    }
    return false;
}

static PyObject *
Connection_get_in_transaction(struct connection *conn, void *closure)
{
    (void)closure;
    bool open = conn->session.transaction_status != 'I' && !conn_is_ending(conn);
    return PyBool_FromLong(conn->begun || open);
}

static PyObject *
Connection_get_settings_due(struct connection *conn, void *closure)
{
    (void)closure;
    return PyBool_FromLong(!conn->begun && conn->begin_due != NULL
                           && PyTuple_Check(conn->begin_due));
}

static PyObject *
Connection_get_transaction_status(struct connection *conn, void *closure)
{
    (void)closure;
    return PyUnicode_FromStringAndSize(&conn->session.transaction_status, 1);
}

static PyObject *
Connection_get_pending(struct connection *conn, void *closure)
{
    (void)closure;
    size_t pending = conn->in_flight;
    for (struct operation *op = conn->deferred.head; op != NULL; op = op->next) {
        pending += 1;
    }
    for (struct operation *op = conn->outsiders.head; op != NULL; op = op->next) {
        pending += 1;
    }
    for (struct operation *op = conn->segment.waiting.head; op != NULL; op = op->next) {
        pending += 1;
    }
    return PyLong_FromSize_t(pending);
}

static PyObject *
Connection_get_paused(struct connection *conn, void *closure)
{
    (void)closure;
    return PyBool_FromLong(conn->paused);
}

static PyObject *
Connection_get_crowded(struct connection *conn, void *closure)
{
    (void)closure;
    return PyBool_FromLong(wire_buffer_size(&conn->out) > FLOW_OUT_HIGH);
}

static PyObject *
Connection_get_backend_pid(struct connection *conn, void *closure)
{
    (void)closure;
    return PyLong_FromUnsignedLong(conn->backend_pid);
}

static PyObject *
Connection_get_protocol(struct connection *conn, void *closure)
{
    (void)closure;
    return PyLong_FromUnsignedLong(conn->session.protocol);
}

static PyObject *
Connection_get_backend_key(struct connection *conn, void *closure)
{
    (void)closure;
    return PyBytes_FromStringAndSize((const char *)conn->backend_key,
                                     (Py_ssize_t)conn->backend_key_len);
}

static PyObject *
Connection_get_autocommit(struct connection *conn, void *closure)
{
    (void)closure;
    return PyBool_FromLong(conn->autocommit);
}

static int
Connection_set_autocommit(struct connection *conn, PyObject *value, void *closure)
{
    (void)closure;
    int on = value == NULL ? -1 : PyObject_IsTrue(value);
    if (on < 0) {
        return -1;
    }
    if ((conn->begun || conn->block != NULL) && (on != 0) != conn->autocommit) {
        PyErr_SetString(conn->st->interface_error,
                        "autocommit cannot change inside a transaction: commit() or rollback() "
                        "first");
        return -1;
    }
    conn->autocommit = on != 0;
    return 0;
}

static PyObject *
Connection_get_begin_sql(struct connection *conn, void *closure)
{
    (void)closure;
    return Py_NewRef(conn->begin_sql);
}

static int
Connection_set_begin_sql(struct connection *conn, PyObject *value, void *closure)
{
    (void)closure;
    if (value == NULL || !PyUnicode_Check(value)) {
        PyErr_SetString(PyExc_TypeError, "begin_sql is a str");
        return -1;
    }
    Py_XSETREF(conn->begin_sql, Py_NewRef(value));
    return 0;
}

static PyObject *
Connection_get_cached_statements(struct connection *conn, void *closure)
{
    (void)closure;
    return PyLong_FromSsize_t(PyDict_GET_SIZE(conn->cache.by_sql));
}

static PyObject *
Connection_get_unnamed(struct connection *conn, void *closure)
{
    (void)closure;
    return PyBool_FromLong(conn->unnamed);
}

static int
Connection_set_unnamed(struct connection *conn, PyObject *value, void *closure)
{
    (void)closure;
    int on = value == NULL ? -1 : PyObject_IsTrue(value);
    if (on < 0) {
        if (value == NULL) {
            PyErr_SetString(PyExc_TypeError, "unnamed is a bool");
        }
        return -1;
    }
    conn->unnamed = on != 0 || conn->cache.size_max == 0;
    return 0;
}

static PyGetSetDef Connection_getset[] = {
    {"closed", (getter)Connection_get_closed, NULL, NULL, NULL},
    {"at_home", (getter)Connection_get_at_home, NULL, NULL, NULL},
    {"in_transaction", (getter)Connection_get_in_transaction, NULL, NULL, NULL},
    {"settings_due", (getter)Connection_get_settings_due, NULL, NULL, NULL},
    {"transaction_status", (getter)Connection_get_transaction_status, NULL, NULL, NULL},
    {"at_rest", (getter)Connection_get_at_rest, NULL, NULL, NULL},
    {"spotless", (getter)Connection_get_spotless, NULL, NULL, NULL},
    {"crowded", (getter)Connection_get_crowded, NULL, NULL, NULL},
    {"pending", (getter)Connection_get_pending, NULL, NULL, NULL},
    {"paused", (getter)Connection_get_paused, NULL, NULL, NULL},
    {"backend_pid", (getter)Connection_get_backend_pid, NULL, NULL, NULL},
    {"backend_key", (getter)Connection_get_backend_key, NULL, NULL, NULL},
    {"protocol", (getter)Connection_get_protocol, NULL, NULL, NULL},
    {"autocommit", (getter)Connection_get_autocommit, (setter)Connection_set_autocommit, NULL,
     NULL},
    {"begin_sql", (getter)Connection_get_begin_sql, (setter)Connection_set_begin_sql, NULL, NULL},
    {"unnamed", (getter)Connection_get_unnamed, (setter)Connection_set_unnamed, NULL, NULL},
    {"cached_statements", (getter)Connection_get_cached_statements, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef Connection_members[] = {
    {"catalog", T_OBJECT, offsetof(struct connection, catalog), 0, NULL},
    {"parameters", T_OBJECT, offsetof(struct connection, parameters), READONLY, NULL},
    {"tainted", T_UINT, offsetof(struct connection, tainted), 0, NULL},
    {"resets", T_OBJECT, offsetof(struct connection, resets), READONLY, NULL},
    {"detects", T_BOOL, offsetof(struct connection, detects), 0, NULL},
    {"asking", T_BOOL, offsetof(struct connection, asking), 0, NULL},
    {"pipelines", T_INT, offsetof(struct connection, pipelines), 0, NULL},
    {"loop", T_OBJECT, offsetof(struct connection, loop), READONLY, NULL},
    {"link", T_OBJECT, offsetof(struct connection, link), READONLY, NULL},
    {"block", T_OBJECT, offsetof(struct connection, block), READONLY, NULL},
    {"lost_error", T_OBJECT, offsetof(struct connection, lost_error), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyMethodDef Connection_methods[] = {
    {"terminate", (PyCFunction)(void (*)(void))Connection_terminate, METH_FASTCALL, NULL},
    {"adopt", (PyCFunction)Connection_adopt, METH_NOARGS, NULL},
    {"cancel_finished", (PyCFunction)Connection_cancel_finished, METH_NOARGS, NULL},
    {"_detach", (PyCFunction)Connection_detach, METH_NOARGS, NULL},
    {"_on_readable", (PyCFunction)Connection_on_readable, METH_NOARGS, NULL},
    {"_pump_again", (PyCFunction)Connection_pump_again, METH_NOARGS, NULL},
    {"_on_writable", (PyCFunction)Connection_on_writable, METH_NOARGS, NULL},
    {"_write_soon", (PyCFunction)Connection_write_soon, METH_NOARGS, NULL},
    {"segment", (PyCFunction)Connection_segment, METH_NOARGS, NULL},
    {"foresee", (PyCFunction)Connection_foresee, METH_O, NULL},
    {"pipe", (PyCFunction)(void (*)(void))Connection_pipe, METH_FASTCALL, NULL},
    {"pipe_flush", (PyCFunction)Connection_pipe_flush, METH_NOARGS, NULL},
    {"sync", (PyCFunction)Connection_sync, METH_O, NULL},
    {"startup", (PyCFunction)Connection_startup, METH_VARARGS, NULL},
    {"scram_key", (PyCFunction)Connection_scram_key, METH_O, NULL},
    {"cursor", (PyCFunction)(void (*)(void))Connection_cursor, METH_FASTCALL, NULL},
    {"execute", (PyCFunction)(void (*)(void))Connection_execute, METH_FASTCALL, NULL},
    {"executemany", (PyCFunction)(void (*)(void))Connection_executemany, METH_FASTCALL, NULL},
    {"hungry", (PyCFunction)Connection_hungry, METH_O, NULL},
    {"feed", (PyCFunction)(void (*)(void))Connection_feed, METH_FASTCALL, NULL},
    {"starve", (PyCFunction)Connection_starve, METH_O, NULL},
    {"break_off", (PyCFunction)(void (*)(void))Connection_break_off, METH_FASTCALL, NULL},
    {"prepare", (PyCFunction)Connection_prepare, METH_O, NULL},
    {"open_portal", (PyCFunction)Connection_open_portal, METH_VARARGS, NULL},
    {"fetch_portal", (PyCFunction)Connection_fetch_portal, METH_VARARGS, NULL},
    {"close_portal", (PyCFunction)Connection_close_portal, METH_O, NULL},
    {"describe_portal", (PyCFunction)Connection_describe_portal, METH_VARARGS, NULL},
    {"fetch_cursor", (PyCFunction)Connection_fetch_cursor, METH_VARARGS, NULL},
    {"query", (PyCFunction)Connection_query, METH_O, NULL},
    {"drain", (PyCFunction)Connection_drain, METH_NOARGS, NULL},
    {"copy", (PyCFunction)Connection_copy, METH_O, NULL},
    {"missing_types", (PyCFunction)Connection_missing_types, METH_O, NULL},
    {"copy_rows", (PyCFunction)Connection_copy_rows, METH_VARARGS, NULL},
    {"copy_started", (PyCFunction)Connection_copy_started, METH_O, NULL},
    {"copy_write", (PyCFunction)(void (*)(void))Connection_copy_write, METH_FASTCALL, NULL},
    {"copy_done", (PyCFunction)Connection_copy_done, METH_O, NULL},
    {"copy_fail", (PyCFunction)(void (*)(void))Connection_copy_fail, METH_FASTCALL, NULL},
    {"take", (PyCFunction)Connection_take, METH_O, NULL},
    {"claim", (PyCFunction)Connection_claim, METH_O, NULL},
    {"release", (PyCFunction)Connection_release, METH_O, NULL},
    {"copy_reader", (PyCFunction)Connection_copy_reader, METH_VARARGS, NULL},
    {"forget", (PyCFunction)Connection_forget, METH_O, NULL},
    {"begin", (PyCFunction)Connection_begin, METH_O, NULL},
    {"enter_block", (PyCFunction)Connection_enter_block, METH_O, NULL},
    {"leave_block", (PyCFunction)Connection_leave_block, METH_O, NULL},
    {"end_block", (PyCFunction)Connection_end_block, METH_NOARGS, NULL},
    {"lend", (PyCFunction)Connection_lend, METH_O, NULL},
    {"abandon_all", (PyCFunction)Connection_abandon_all, METH_O, NULL},
    {"admits", (PyCFunction)Connection_admits, METH_NOARGS, NULL},
    {"configure", (PyCFunction)Connection_configure, METH_O, NULL},
    {"look_up", (PyCFunction)Connection_look_up, METH_O, NULL},
    {"put_codec", (PyCFunction)Connection_put_codec, METH_O, NULL},
    {"get_codec", (PyCFunction)Connection_get_codec, METH_O, NULL},
    {"drop_codecs", (PyCFunction)Connection_drop_codecs, METH_NOARGS, NULL},
    {"trace", (PyCFunction)Connection_trace, METH_VARARGS, NULL},
    {"reset_due", (PyCFunction)Connection_reset_due, METH_O, NULL},
    {"reset_now", (PyCFunction)Connection_reset_now, METH_NOARGS, NULL},
    {"watch_settings", (PyCFunction)Connection_watch_settings, METH_O, NULL},
    {"commit", (PyCFunction)Connection_commit, METH_NOARGS, NULL},
    {"rollback", (PyCFunction)Connection_rollback, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot Connection_slots[] = {
    {Py_tp_dealloc, Connection_dealloc},
    {Py_tp_traverse, Connection_traverse},
    {Py_tp_clear, Connection_clear},
    {Py_tp_methods, Connection_methods},
    {Py_tp_members, Connection_members},
    {Py_tp_getset, Connection_getset},
    {Py_tp_doc, "A connection, as the Python layer drives it."},
    {0, NULL},
};

static PyType_Spec Connection_spec = {
    .name = "pgasync._core.Connection",
    .basicsize = sizeof(struct connection),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE
             | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = Connection_slots,
};

int
conn_type_init(struct core_state *st, PyObject *module)
{
    st->connection_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &Connection_spec, NULL);
    return st->connection_type == NULL ? -1 : PyModule_AddType(module, st->connection_type);
}
