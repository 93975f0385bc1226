/* The life of a connection: attach, closing in all its ways, giving up, waking. */
#include "connection.h"
#include "errors.h"

#include <unistd.h>

/* Calls out */

void
conn_tell(struct connection *conn, PyObject *name, PyObject *args)
{
    PyObject *saved = compat_take_exception();
    PyObject *method = args == NULL ? NULL : PyObject_GetAttr(conn->link, name);
    PyObject *result = method == NULL ? NULL : PyObject_Call(method, args, NULL);
    if (result == NULL) {
        PyErr_WriteUnraisable(conn->link);
    }
    Py_XDECREF(result);
    Py_XDECREF(method);
    Py_XDECREF(args);
    if (saved != NULL) {
        compat_raise(saved);
    }
}

static bool
conn_loop_is_closed(struct connection *conn)
{
    PyObject *closed = PyObject_CallMethodNoArgs(conn->loop, conn->st->name_is_closed);
    bool is_closed = closed == NULL || PyObject_IsTrue(closed) != 0;
    Py_XDECREF(closed);
    PyErr_Clear();
    return is_closed;
}

static bool
conn_is_forked(const struct connection *conn)
{
    return conn->fork_generation != conn->st->fork_generation;
}

/* Is the caller allowed? */

static int
conn_refuse_closed(struct connection *conn)
{
    if (conn->lost_error == NULL) {
        PyErr_SetString(conn->st->interface_error, "the connection is closed");
        return -1;
    }
    PyObject *loss = conn_loss(conn, NULL);
    if (loss != NULL) {
        compat_raise(loss);
    }
    return -1;
}

static int
conn_refuse_loop(struct connection *conn, PyObject *running)
{
    if (running == Py_None) {
        PyErr_Format(conn->st->interface_error,
                     "no event loop is running here: the connection belongs to %R%s", conn->loop,
                     conn->thread == PyThread_get_thread_ident() ? "" : " in another thread");
    }
    else {
        PyErr_Format(conn->st->interface_error,
                     "the connection belongs to the event loop %R, but was used from %R",
                     conn->loop, running);
    }
    return -1;
}

int
conn_enter(struct connection *conn)
{
    if (conn_is_forked(conn)) {
        PyErr_SetString(conn->st->interface_error,
                        "the connection was opened before a fork and belongs to the parent "
                        "process: open a new one in the child");
        return -1;
    }
    PyObject *running = PyObject_CallNoArgs(conn->st->running_loop);
    if (running == NULL) {
        return -1;
    }
    int status = running == conn->loop ? 0 : conn_refuse_loop(conn, running);
    Py_DECREF(running);
    if (status == 0 && conn->closed) {
        status = conn_refuse_closed(conn);
    }
    return status;
}

/* Ends of operations */

void
conn_finish(struct connection *conn, struct operation *op)
{
    Py_CLEAR(op->conn); /* the caller holds the connection */
    if (op->done) {
        Py_DECREF(op);
        return;
    }
    op->done = true;
    if (conn->pumping) {
        op_queue_push(&conn->ready, op);
        return;
    }
    op_wake_soon(op);
    Py_DECREF(op);
}

int
conn_wake_ready(struct connection *conn)
{
    int status = 0;
    PyObject *raised = NULL;
    struct operation *op;
    while ((op = op_queue_pop(&conn->ready)) != NULL) {
        if (status < 0) {
            op_wake_soon(op); /* the program is being interrupted: later, if at all */
        }
        else if (op_wake(op) < 0) {
            status = -1;
            raised = compat_take_exception();
        }
        Py_DECREF(op);
    }
    if (raised != NULL) {
        compat_raise(raised);
    }
    return status;
}

static void
op_queue_remove(struct op_queue *queue, struct operation *op)
{
    struct operation *previous = NULL;
    for (struct operation *at = queue->head; at != NULL; previous = at, at = at->next) {
        if (at != op) {
            continue;
        }
        if (previous == NULL) {
            queue->head = op->next;
        }
        else {
            previous->next = op->next;
        }
        if (queue->tail == op) {
            queue->tail = previous;
        }
        op->next = NULL;
        return;
    }
}

void
conn_check_cancel(struct connection *conn)
{
    if (!conn->closed && !conn->cancelling && conn->abandoned > 0
        && conn->abandoned == conn->in_flight) {
        conn->cancelling = true;
        conn_tell(conn, conn->st->name_abandoned, PyTuple_Pack(1, conn));
    }
}

void
conn_abandon(struct operation *op, PyObject *error)
{
    if (op->done) {
        return;
    }
    op->done = true;
    Py_CLEAR(op->rows);
    if (error != NULL) {
        Py_XSETREF(op->error, Py_NewRef(error));
    }
    else {
        op->cancelled = true;
    }
    op_wake_soon(op);
    struct connection *conn = (struct connection *)Py_XNewRef((PyObject *)op->conn);
    if (conn == NULL) {
        return;
    }
    if (op->phase == OP_DEFERRED && op->kind != OP_STARTUP) {
        op_queue_remove(&conn->deferred, op);
        Py_CLEAR(op->conn);
        Py_DECREF(op);
    }
    else {
        op->abandoned = true;
        conn->abandoned += 1;
        if (op->kind == OP_STARTUP) {
            /* There is no key yet to cancel with. */
            conn_fail(conn, WIRE_OK, "the start of the session was given up", 0);
        }
        else {
            conn_check_cancel(conn);
        }
    }
    Py_DECREF(conn);
}

/* Closing */

static void
conn_call_loop_fd(struct connection *conn, PyObject *name)
{
    PyObject *fd = PyLong_FromLong(conn->stream.fd);
    PyObject *result = fd == NULL ? NULL : PyObject_CallMethodOneArg(conn->loop, name, fd);
    if (result == NULL) {
        PyErr_Clear();
    }
    Py_XDECREF(result);
    Py_XDECREF(fd);
}

void
conn_detach(struct connection *conn)
{
    int fd = conn->stream.fd;
    if (fd < 0) {
        return;
    }
    PyObject *saved = compat_take_exception();
    if (!conn_is_forked(conn) && !conn_loop_is_closed(conn)) {
        /* Before the close, always: the loop would not notice the next socket
         * that gets the same number. */
        conn_call_loop_fd(conn, conn->st->name_remove_reader);
        if (conn->writer_on) {
            conn_call_loop_fd(conn, conn->st->name_remove_writer);
        }
    }
    conn->writer_on = false;
    conn->stream.ops->clear(&conn->stream);
    conn->stream.fd = -1;
    close(fd);
    if (saved != NULL) {
        compat_raise(saved);
    }
}

/* What became of an operation when the session ended under it. */
static const char *
conn_outcome(struct connection *conn, const struct operation *op)
{
    if (op == NULL || op->phase != OP_EXECUTING || op->kind == OP_STARTUP) {
        return OUTCOME_NOT_SENT;
    }
    /* The FATAL came in place of the answer: the server did not finish it. A
     * COMMIT may have become durable before that. */
    if (conn->fatal_fields != NULL && op->kind != OP_COMMIT && op->tag_len == 0) {
        return OUTCOME_FAILED;
    }
    return OUTCOME_IN_DOUBT;
}

PyObject *
conn_loss(struct connection *conn, const struct operation *op)
{
    const char *outcome = conn_outcome(conn, op);
    PyObject *query = op == NULL ? NULL : op->sql;
    switch (conn->lost_status) {
    case WIRE_ERR_PROTOCOL:
    case WIRE_ERR_LIMIT:
        return errors_violation(conn->st, conn->lost_message, outcome, query);
    case WIRE_ERR_AUTH:
        return errors_auth_failed(conn->st, conn->lost_message);
    case WIRE_OK:
    case WIRE_MORE:
    case WIRE_ERR_MEMORY:
        break;
    }
    return errors_lost(conn->st, conn->lost_message, conn->fatal_fields, conn->lost_errno, outcome,
                       query);
}

/* Every waiting operation ends with `error`, or with a loss of its own. */
static void
conn_end_queue(struct connection *conn, struct op_queue *queue, PyObject *error)
{
    struct operation *op;
    while ((op = op_queue_pop(queue)) != NULL) {
        if (!op->done && op->error == NULL) {
            op_set_error(op, error != NULL ? Py_NewRef(error) : conn_loss(conn, op));
        }
        conn_finish(conn, op);
    }
}

static void
conn_end_all(struct connection *conn, PyObject *error)
{
    conn_end_queue(conn, &conn->sent, error);
    conn_end_queue(conn, &conn->deferred, error);
    conn->in_flight = 0;
    conn->abandoned = 0;
    if (conn->cancelling) {
        conn_tell(conn, conn->st->name_drained, PyTuple_Pack(1, conn));
    }
}

void
conn_fail(struct connection *conn, enum wire_status why, const char *message, int error_number)
{
    if (conn->closed) {
        return;
    }
    conn->closed = true;
    conn->lost_status = why;
    conn->lost_errno = error_number;
    snprintf(conn->lost_message, sizeof(conn->lost_message), "%s", message);
    conn_detach(conn);
    PyObject *loss = conn_loss(conn, NULL);
    if (loss == NULL) {
        loss = errors_take();
    }
    Py_XSETREF(conn->lost_error, loss);
    conn_end_all(conn, NULL);
    if (conn->started) {
        conn_tell(conn, conn->st->name_lost, PyTuple_Pack(2, conn, loss != NULL ? loss : Py_None));
    }
}

/* A polite good-bye where it costs nothing: nothing half written, no blocking. */
static void
conn_say_goodbye(struct connection *conn)
{
    if (!conn->started || conn->write_error != 0 || wire_buffer_size(&conn->out) > 0
        || conn->encoding) {
        return;
    }
    wire_put_terminate(&conn->out);
    wire_slice bytes = wire_buffer_unread(&conn->out);
    size_t sent;
    if (bytes.len > 0) {
        (void)net_write(&conn->stream, bytes.ptr, bytes.len, &sent);
        wire_buffer_consume(&conn->out, bytes.len);
    }
}

/* In another thread the loop must not be touched: it is asked to do the rest
 * itself. False when it cannot: nobody watches the descriptor then. */
static bool
conn_end_elsewhere(struct connection *conn)
{
    PyObject *detach = PyObject_GetAttrString((PyObject *)conn, "_detach");
    PyObject *handle =
        detach == NULL
            ? NULL
            : PyObject_CallMethodOneArg(conn->loop, conn->st->name_call_soon_threadsafe, detach);
    Py_XDECREF(detach);
    if (handle == NULL) {
        PyErr_Clear();
        return false;
    }
    Py_DECREF(handle);
    return true;
}

/* What is left of a terminate(): every request ends with the error it was given. */
static void
conn_end_closed(struct connection *conn)
{
    PyObject *error = Py_XNewRef(conn->lost_error);
    if (error == NULL) {
        error = PyObject_CallFunction(conn->st->interface_error, "s", "the connection was closed");
        PyErr_Clear();
    }
    conn_detach(conn);
    conn_end_all(conn, error);
    Py_XDECREF(error);
}

static PyObject *
Connection_terminate(struct connection *conn, PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *error = nargs > 0 && args[0] != Py_None ? args[0] : NULL;
    if (conn->closed) {
        Py_RETURN_NONE;
    }
    conn->closed = true;
    if (error != NULL) {
        Py_XSETREF(conn->lost_error, Py_NewRef(error));
        conn->lost_status = WIRE_OK;
        PyObject *text = PyObject_Str(error);
        const char *utf8 = text == NULL ? NULL : PyUnicode_AsUTF8(text);
        snprintf(conn->lost_message, sizeof(conn->lost_message), "%s",
                 utf8 == NULL ? "the connection was closed" : utf8);
        Py_XDECREF(text);
        PyErr_Clear();
    }
    /* In a forked child our copy of the descriptor is closed, and nothing else. */
    if (!conn_is_forked(conn)) {
        if (conn->thread != PyThread_get_thread_ident()) {
            if (conn_end_elsewhere(conn)) {
                Py_RETURN_NONE;
            }
        }
        else {
            conn_say_goodbye(conn);
        }
    }
    conn_end_closed(conn);
    Py_RETURN_NONE;
}

static PyObject *
Connection_detach(struct connection *conn, PyObject *unused)
{
    (void)unused;
    conn_end_closed(conn);
    Py_RETURN_NONE;
}

static PyObject *
Connection_cancel_finished(struct connection *conn, PyObject *unused)
{
    (void)unused;
    conn->cancelling = false;
    if (!conn->closed) {
        conn_check_cancel(conn);
        conn_start_deferred(conn);
    }
    Py_RETURN_NONE;
}

/* What the loop calls */

static PyObject *
Connection_on_readable(struct connection *conn, PyObject *unused)
{
    (void)unused;
    if (conn->closed || conn->pumping || conn_is_forked(conn)) {
        Py_RETURN_NONE;
    }
    Py_INCREF(conn);
    conn->pumping = true;
    conn_pump(conn);
    if (conn->deferred.head != NULL && !conn->closed) {
        conn_start_deferred(conn);
    }
    conn->pumping = false;
    int status = conn_wake_ready(conn);
    Py_DECREF(conn);
    if (status < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
Connection_on_writable(struct connection *conn, PyObject *unused)
{
    (void)unused;
    if (!conn->closed && !conn->encoding) {
        conn_flush(conn);
    }
    Py_RETURN_NONE;
}

/* Birth and death */

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
    conn->thread = PyThread_get_thread_ident();
    conn->fork_generation = conn->st->fork_generation;
    conn->parameters = PyDict_New();
    conn->begin_sql = PyUnicode_InternFromString("BEGIN");
    if (conn->parameters == NULL || conn->begin_sql == NULL) {
        return -1;
    }
    return stmtcache_init(&conn->cache, (size_t)size, seconds);
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
    conn->json_loads = Py_NewRef(st->types.json_loads);
    conn->json_dumps = Py_NewRef(st->types.json_dumps);
    wire_session_init(&conn->session);
    wire_buffer_init(&conn->in);
    wire_buffer_init(&conn->out);
    wire_buffer_init(&conn->cache.closing);
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

static int
conn_watch(struct connection *conn)
{
    PyObject *callback = PyObject_GetAttrString((PyObject *)conn, "_on_readable");
    if (callback == NULL) {
        return -1;
    }
    PyObject *result =
        PyObject_CallMethod(conn->loop, "add_reader", "iO", conn->stream.fd, callback);
    Py_DECREF(callback);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

PyObject *
core_attach(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    struct core_state *st = PyModule_GetState(module);
    int fd = nargs == 6 ? (int)PyLong_AsLong(args[0]) : -1;
    if (fd < 0) {
        return PyErr_Occurred() ? NULL
                                : errors_set(PyExc_TypeError, "attach(fd, loop, link, autocommit, "
                                                              "statement_cache_size, lifetime)");
    }
    struct connection *conn = conn_new(st, fd, args[1], args[2]);
    if (conn == NULL) {
        return NULL;
    }
    if (conn_init(conn, args[3], args[4], args[5]) < 0 || conn_watch(conn) < 0) {
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
    Py_VISIT(conn->json_loads);
    Py_VISIT(conn->json_dumps);
    Py_VISIT(conn->lost_error);
    Py_VISIT(conn->fatal_fields);
    Py_VISIT(conn->cache.by_sql);
    int status = op_queue_traverse(&conn->sent, visit, arg);
    status = status != 0 ? status : op_queue_traverse(&conn->deferred, visit, arg);
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
    op_queue_release(&conn->deferred);
    op_queue_release(&conn->ready);
    Py_CLEAR(conn->link);
    Py_CLEAR(conn->json_loads);
    Py_CLEAR(conn->json_dumps);
    Py_CLEAR(conn->lost_error);
    Py_CLEAR(conn->fatal_fields);
    stmtcache_clear(&conn->cache);
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
    Py_CLEAR(conn->begin_sql);
    Py_CLEAR(conn->begin_due);
    wire_session_clear(&conn->session);
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

static PyObject *
Connection_get_in_transaction(struct connection *conn, void *closure)
{
    (void)closure;
    return PyBool_FromLong(conn->begun || conn->session.transaction_status != 'I');
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
    return PyLong_FromSize_t(pending);
}

static PyObject *
Connection_get_backend_pid(struct connection *conn, void *closure)
{
    (void)closure;
    return PyLong_FromUnsignedLong(conn->backend_pid);
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
    if (conn->begun && (on != 0) != conn->autocommit) {
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

static PyGetSetDef Connection_getset[] = {
    {"closed", (getter)Connection_get_closed, NULL, NULL, NULL},
    {"in_transaction", (getter)Connection_get_in_transaction, NULL, NULL, NULL},
    {"transaction_status", (getter)Connection_get_transaction_status, NULL, NULL, NULL},
    {"pending", (getter)Connection_get_pending, NULL, NULL, NULL},
    {"backend_pid", (getter)Connection_get_backend_pid, NULL, NULL, NULL},
    {"backend_key", (getter)Connection_get_backend_key, NULL, NULL, NULL},
    {"autocommit", (getter)Connection_get_autocommit, (setter)Connection_set_autocommit, NULL,
     NULL},
    {"begin_sql", (getter)Connection_get_begin_sql, (setter)Connection_set_begin_sql, NULL, NULL},
    {"cached_statements", (getter)Connection_get_cached_statements, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef Connection_members[] = {
    {"parameters", T_OBJECT, offsetof(struct connection, parameters), READONLY, NULL},
    {"loop", T_OBJECT, offsetof(struct connection, loop), READONLY, NULL},
    {"link", T_OBJECT, offsetof(struct connection, link), READONLY, NULL},
    {"lost_error", T_OBJECT, offsetof(struct connection, lost_error), READONLY, NULL},
    {"json_loads", T_OBJECT, offsetof(struct connection, json_loads), 0, NULL},
    {"json_dumps", T_OBJECT, offsetof(struct connection, json_dumps), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyMethodDef Connection_methods[] = {
    {"terminate", (PyCFunction)(void (*)(void))Connection_terminate, METH_FASTCALL, NULL},
    {"cancel_finished", (PyCFunction)Connection_cancel_finished, METH_NOARGS, NULL},
    {"_detach", (PyCFunction)Connection_detach, METH_NOARGS, NULL},
    {"_on_readable", (PyCFunction)Connection_on_readable, METH_NOARGS, NULL},
    {"_on_writable", (PyCFunction)Connection_on_writable, METH_NOARGS, NULL},
    {"startup", (PyCFunction)Connection_startup, METH_VARARGS, NULL},
    {"scram_key", (PyCFunction)Connection_scram_key, METH_O, NULL},
    {"execute", (PyCFunction)(void (*)(void))Connection_execute, METH_FASTCALL, NULL},
    {"executemany", (PyCFunction)(void (*)(void))Connection_executemany, METH_FASTCALL, NULL},
    {"prepare", (PyCFunction)Connection_prepare, METH_O, NULL},
    {"open_portal", (PyCFunction)Connection_open_portal, METH_VARARGS, NULL},
    {"fetch_portal", (PyCFunction)Connection_fetch_portal, METH_VARARGS, NULL},
    {"close_portal", (PyCFunction)Connection_close_portal, METH_O, NULL},
    {"query", (PyCFunction)Connection_query, METH_O, NULL},
    {"begin", (PyCFunction)Connection_begin, METH_O, NULL},
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
