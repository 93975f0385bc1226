/* What Python calls to make a request: checks the caller and the arguments, makes
 * the operation, hands it to conn_submit. */
#include "connection.h"
#include "errors.h"
#include "factory.h"
#include "flow.h"

#include <openssl/crypto.h>

int
conn_refuse_sql(struct connection *conn, PyObject *sql)
{
    PyErr_Format(conn->st->programming_error, "the SQL text must be a str, not %R (%s)", sql,
                 Py_TYPE(sql)->tp_name);
    return -1;
}

/* resolve_params() without a look at their number. */
static int
take_params(struct connection *conn, PyObject **sql, PyObject **params)
{
    PyObject *given = *params;
    if (given == NULL || given == Py_None) {
        *params = NULL;
    }
    else if (PyTuple_CheckExact(given)) {
        *params = Py_NewRef(given);
    }
    else if (PyList_CheckExact(given)) {
        *params = PyList_AsTuple(given);
        if (*params == NULL) {
            return -1;
        }
    }
    else {
        PyObject *both =
            PyObject_CallMethodObjArgs(conn->link, conn->st->name_resolve, *sql, given, NULL);
        if (both == NULL) {
            return -1;
        }
        if (!PyTuple_Check(both) || PyTuple_GET_SIZE(both) != 2
            || !PyUnicode_Check(PyTuple_GET_ITEM(both, 0))
            || !PyTuple_Check(PyTuple_GET_ITEM(both, 1))) {
            Py_DECREF(both);
            PyErr_SetString(PyExc_TypeError, "link.resolve gives (sql, tuple)");
            return -1;
        }
        *sql = Py_NewRef(PyTuple_GET_ITEM(both, 0));
        *params = Py_NewRef(PyTuple_GET_ITEM(both, 1));
        Py_DECREF(both);
        return 0;
    }
    Py_INCREF(*sql);
    return 0;
}

int
conn_refuse_count(struct connection *conn, Py_ssize_t given)
{
    PyErr_Format(conn->st->programming_error,
                 "%zd parameters were given, and a statement takes %d at most: send several "
                 "statements, or a list as one parameter, for = any($1) or unnest($1)",
                 given, WIRE_PARAMS_MAX);
    return -1;
}

/* Parameters for one execution: *params becomes a tuple or NULL (none); *sql may
 * be replaced where `:name` is rewritten. Both new references on success. */
static int
resolve_params(struct connection *conn, PyObject **sql, PyObject **params)
{
    if (take_params(conn, sql, params) < 0) {
        return -1;
    }
    if (*params != NULL && conn_check_count(conn, PyTuple_GET_SIZE(*params)) < 0) {
        Py_CLEAR(*params);
        Py_DECREF(*sql);
        return -1;
    }
    return 0;
}

/* A text with a semicolon that is not its last sign may be a script. */
static int
refuse_script(struct connection *conn, PyObject *sql)
{
    Py_ssize_t len;
    const char *text = PyUnicode_AsUTF8AndSize(sql, &len);
    if (text == NULL) {
        PyErr_Clear(); /* said in proper words when it is encoded */
        return 0;
    }
    const char *semicolon = memchr(text, ';', (size_t)len);
    if (semicolon == NULL || semicolon == text + len - 1
        || (conn->cache.size_max > 0 && PyDict_Contains(conn->cache.by_sql, sql) == 1)) {
        return 0;
    }
    PyObject *answer = PyObject_CallMethodOneArg(conn->link, conn->st->name_is_script, sql);
    int script = answer == NULL ? -1 : PyObject_IsTrue(answer);
    Py_XDECREF(answer);
    if (script > 0) {
        PyErr_SetNone(conn->st->multiple_statements);
        return -1;
    }
    return script;
}

static PyObject *
submit(struct connection *conn, struct operation *op)
{
    if (conn_submit(conn, op) < 0) {
        Py_DECREF(op);
        return NULL;
    }
    return (PyObject *)op;
}

/* An operation for a text or a Statement; steals `params` (may be NULL). */
static struct operation *
new_operation(struct connection *conn, enum op_kind kind, enum op_mode mode, PyObject *sql,
              PyObject *params)
{
    struct statement *stmt = NULL;
    if (Py_IS_TYPE(sql, conn->st->statement_type)) {
        stmt = (struct statement *)sql;
        sql = stmt->sql;
    }
    struct operation *op = op_new(conn->st, conn->loop, kind, mode, sql);
    if (op == NULL) {
        Py_XDECREF(params);
        return NULL;
    }
    op->stmt = (struct statement *)Py_XNewRef((PyObject *)stmt);
    op->params = params;
    return op;
}

struct operation *
conn_new_execution(struct connection *conn, enum op_kind kind, enum op_mode mode, PyObject *sql,
                   PyObject *params)
{
    bool text = !Py_IS_TYPE(sql, conn->st->statement_type);
    if (text && conn_check_sql(conn, sql) < 0) {
        return NULL;
    }
    if (resolve_params(conn, &sql, &params) < 0) {
        return NULL;
    }
    struct operation *op = NULL;
    if (text && params == NULL && refuse_script(conn, sql) < 0) {
        Py_XDECREF(params);
    }
    else {
        op = new_operation(conn, kind, mode, sql, params);
    }
    Py_DECREF(sql);
    return op;
}

PyObject *
Connection_execute(struct connection *conn, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs < 1 || nargs > 4) {
        return errors_set(PyExc_TypeError, "execute(sql, params, mode, row_factory)");
    }
    if (conn_enter(conn) < 0) {
        return NULL;
    }
    long mode = nargs > 2 ? PyLong_AsLong(args[2]) : OP_RESULT;
    if (mode < OP_RESULT || mode > OP_NONE) {
        return PyErr_Occurred() ? NULL : errors_set(PyExc_ValueError, "unknown mode %ld", mode);
    }
    struct operation *op = conn_new_execution(conn, OP_EXECUTE, (enum op_mode)mode, args[0],
                                              nargs > 1 ? args[1] : NULL);
    if (op == NULL) {
        return NULL;
    }
    if (nargs > 3 && op_set_row_factory(op, args[3]) < 0) {
        Py_DECREF(op);
        return NULL;
    }
    return submit(conn, op);
}

PyObject *
Connection_prepare(struct connection *conn, PyObject *sql)
{
    if (conn_enter(conn) < 0 || conn_check_sql(conn, sql) < 0) {
        return NULL;
    }
    struct operation *op = new_operation(conn, OP_PREPARE, OP_RESULT, sql, NULL);
    return op == NULL ? NULL : submit(conn, op);
}

/* A portal's name as bytes: a new reference, NULL with an exception. */
static PyObject *
portal_name(struct connection *conn, PyObject *name)
{
    PyObject *bytes = PyUnicode_Check(name) ? PyUnicode_AsUTF8String(name) : NULL;
    if (PyErr_Occurred() && PyErr_ExceptionMatches(PyExc_MemoryError)) {
        return NULL;
    }
    if (bytes == NULL || PyBytes_GET_SIZE(bytes) == 0
        || memchr(PyBytes_AS_STRING(bytes), 0, (size_t)PyBytes_GET_SIZE(bytes)) != NULL) {
        PyErr_Clear();
        Py_XDECREF(bytes);
        PyErr_Format(conn->st->programming_error, "%R is not a name for a portal", name);
        return NULL;
    }
    return bytes;
}

/* Submits `op` (stolen; NULL: an exception is set) for a portal. */
static PyObject *
submit_portal(struct connection *conn, struct operation *op, PyObject *portal, unsigned rows_max,
              PyObject *row_factory, bool either)
{
    if (op == NULL) {
        return NULL;
    }
    op->portal = portal_name(conn, portal);
    if (op->portal == NULL || op_set_row_factory(op, row_factory) < 0) {
        Py_DECREF(op);
        return NULL;
    }
    op->rows_max = rows_max;
    if (flow_open(op, false) < 0) {
        Py_DECREF(op);
        return NULL;
    }
    op->flow->either = either;
    return submit(conn, op);
}

PyObject *
Connection_open_portal(struct connection *conn, PyObject *args)
{
    PyObject *portal, *sql, *params, *row_factory;
    unsigned int rows_max;
    int either = 0;
    if (!PyArg_ParseTuple(args, "OOOIO|p:open_portal", &portal, &sql, &params, &rows_max,
                          &row_factory, &either)
        || conn_enter(conn) < 0) {
        return NULL;
    }
    struct operation *op = conn_new_execution(conn, OP_PORTAL_OPEN, OP_RESULT, sql, params);
    return submit_portal(conn, op, portal, rows_max, row_factory, either != 0);
}

PyObject *
Connection_fetch_portal(struct connection *conn, PyObject *args)
{
    PyObject *portal, *stmt, *row_factory;
    unsigned int rows_max;
    if (!PyArg_ParseTuple(args, "OO!IO:fetch_portal", &portal, conn->st->statement_type, &stmt,
                          &rows_max, &row_factory)
        || conn_enter(conn) < 0) {
        return NULL;
    }
    struct operation *op = new_operation(conn, OP_PORTAL_FETCH, OP_RESULT, stmt, NULL);
    return submit_portal(conn, op, portal, rows_max, row_factory, false);
}

PyObject *
Connection_close_portal(struct connection *conn, PyObject *portal)
{
    if (conn_enter(conn) < 0) {
        return NULL;
    }
    struct operation *op = op_new(conn->st, conn->loop, OP_PORTAL_CLOSE, OP_RESULT, NULL);
    return submit_portal(conn, op, portal, 0, Py_False, false);
}

static PyObject *
submit_query(struct connection *conn, enum op_kind kind, PyObject *sql)
{
    if (conn_enter(conn) < 0 || conn_check_sql(conn, sql) < 0) {
        return NULL;
    }
    struct operation *op = op_new(conn->st, conn->loop, kind, OP_RESULT, sql);
    return op == NULL ? NULL : submit(conn, op);
}

PyObject *
Connection_query(struct connection *conn, PyObject *sql)
{
    return submit_query(conn, OP_QUERY, sql);
}

PyObject *
Connection_commit(struct connection *conn, PyObject *unused)
{
    (void)unused;
    return submit_query(conn, OP_COMMIT, conn->st->sql_commit);
}

PyObject *
Connection_rollback(struct connection *conn, PyObject *unused)
{
    (void)unused;
    return submit_query(conn, OP_ROLLBACK, conn->st->sql_rollback);
}

PyObject *
Connection_configure(struct connection *conn, PyObject *options)
{
    if (codec_options_set(&conn->options, options) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyObject *
Connection_look_up(struct connection *conn, PyObject *sql)
{
    if (conn_enter(conn) < 0 || conn_check_sql(conn, sql) < 0) {
        return NULL;
    }
    struct operation *op = op_new(conn->st, conn->loop, OP_LOOKUP, OP_ROWS, sql);
    return op == NULL ? NULL : submit(conn, op);
}

PyObject *
Connection_put_codec(struct connection *conn, PyObject *codec)
{
    if (book_put(&conn->book, codec) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyObject *
Connection_get_codec(struct connection *conn, PyObject *oid)
{
    PyObject *found =
        conn->book.by_oid == NULL ? NULL : PyDict_GetItemWithError(conn->book.by_oid, oid);
    if (found == NULL && PyErr_Occurred()) {
        return NULL;
    }
    return Py_NewRef(found == NULL ? Py_None : found);
}

PyObject *
Connection_drop_codecs(struct connection *conn, PyObject *unused)
{
    (void)unused;
    if (book_drop_all(&conn->book) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* Startup */

static wire_slice
utf8_slice(PyObject *text)
{
    Py_ssize_t len = 0;
    const char *utf8 = PyUnicode_Check(text) ? PyUnicode_AsUTF8AndSize(text, &len) : NULL;
    if (utf8 == NULL && !PyErr_Occurred()) {
        PyErr_SetString(PyExc_TypeError, "startup parameters are str");
    }
    wire_slice slice = {(const uint8_t *)utf8, (size_t)len};
    return slice;
}

/* Fills `pairs` from a sequence of (name, value); -1 with an exception. */
static int
startup_pairs(struct connection *conn, PyObject *fast, struct wire_startup *startup,
              struct wire_pair *pairs)
{
    Py_ssize_t count = PySequence_Fast_GET_SIZE(fast);
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *pair = PySequence_Fast_GET_ITEM(fast, i);
        if (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2) {
            PyErr_SetString(PyExc_TypeError, "startup parameters are (name, value)");
            return -1;
        }
        pairs[i].name = utf8_slice(PyTuple_GET_ITEM(pair, 0));
        pairs[i].value =
            pairs[i].name.ptr == NULL ? pairs[i].name : utf8_slice(PyTuple_GET_ITEM(pair, 1));
        if (pairs[i].value.ptr == NULL) {
            return -1;
        }
        if (wire_slice_has_nul(pairs[i].name) || wire_slice_has_nul(pairs[i].value)) {
            PyErr_Format(conn->st->interface_error,
                         "the startup parameter %R contains a NUL character", pair);
            return -1;
        }
        if (pairs[i].name.len == 4 && memcmp(pairs[i].name.ptr, "user", 4) == 0) {
            startup->user = pairs[i].value;
        }
    }
    startup->pairs = pairs;
    startup->pairs_count = (size_t)count;
    return 0;
}

static PyObject *
start_session(struct connection *conn, const struct wire_startup *startup)
{
    struct operation *op = op_new(conn->st, conn->loop, OP_STARTUP, OP_NONE, NULL);
    if (op == NULL) {
        return NULL;
    }
    if (wire_session_start(&conn->session, &conn->out, startup) != WIRE_OK) {
        PyErr_SetString(conn->st->interface_error, conn->session.error.text);
        Py_DECREF(op);
        return NULL;
    }
    op->conn = (struct connection *)Py_NewRef((PyObject *)conn);
    op_queue_push(&conn->sent, (struct operation *)Py_NewRef((PyObject *)op));
    conn->in_flight = 1;
    conn_flush(conn);
    return (PyObject *)op;
}

/* Checks what _core.pyi says about startup(); -1 with a ValueError. */
static int
check_startup(const struct wire_startup *startup, Py_ssize_t nonce_len)
{
    if (nonce_len != (Py_ssize_t)sizeof(startup->nonce)) {
        errors_set(PyExc_ValueError, "the nonce is %zu bytes", sizeof(startup->nonce));
    }
    else if (startup->binding.len > WIRE_BINDING_MAX) {
        errors_set(PyExc_ValueError, "the binding is at most %d bytes", WIRE_BINDING_MAX);
    }
    else if (startup->channel_binding > WIRE_BINDING_REQUIRE) {
        errors_set(PyExc_ValueError, "unknown channel_binding %u",
                   (unsigned)startup->channel_binding);
    }
    else if (startup->min_protocol > startup->max_protocol) {
        errors_set(PyExc_ValueError, "min_protocol is greater than max_protocol");
    }
    else {
        return 0;
    }
    return -1;
}

PyObject *
Connection_startup(struct connection *conn, PyObject *args)
{
    PyObject *parameters;
    const char *password, *nonce, *binding;
    Py_ssize_t password_len, nonce_len, binding_len;
    unsigned int allow, channel_binding, iterations_max, min_protocol, max_protocol;
    if (!PyArg_ParseTuple(args, "Oz#Iy#z#IIII:startup", &parameters, &password, &password_len,
                          &allow, &nonce, &nonce_len, &binding, &binding_len, &channel_binding,
                          &iterations_max, &min_protocol, &max_protocol)
        || conn_enter(conn) < 0) {
        return NULL;
    }
    struct wire_startup startup = {
        .password = {(const uint8_t *)password, (size_t)password_len},
        .allow = allow,
        .binding = {(const uint8_t *)binding, (size_t)binding_len},
        .channel_binding = (enum wire_binding_mode)channel_binding,
        .iterations_max = iterations_max,
        .min_protocol = min_protocol,
        .max_protocol = max_protocol,
    };
    if (check_startup(&startup, nonce_len) < 0) {
        return NULL;
    }
    memcpy(startup.nonce, nonce, sizeof(startup.nonce));
    PyObject *fast = PySequence_Fast(parameters, "startup parameters are a sequence");
    if (fast == NULL) {
        return NULL;
    }
    PyObject *op = NULL;
    struct wire_pair *pairs =
        PyMem_New(struct wire_pair, (size_t)PySequence_Fast_GET_SIZE(fast) + 1);
    if (pairs == NULL) {
        PyErr_NoMemory();
    }
    else if (startup_pairs(conn, fast, &startup, pairs) == 0) {
        op = start_session(conn, &startup);
    }
    PyMem_Free(pairs);
    Py_DECREF(fast);
    return op;
}

PyObject *
Connection_scram_key(struct connection *conn, PyObject *key)
{
    if (conn->closed) {
        Py_RETURN_NONE;
    }
    char *bytes;
    Py_ssize_t len;
    if (PyBytes_AsStringAndSize(key, &bytes, &len) < 0) {
        return NULL;
    }
    enum wire_status status;
    if (len == WIRE_SCRAM_KEY_LEN) {
        status = wire_session_scram_key(&conn->session, &conn->out, (const uint8_t *)bytes);
    }
    else if (len == sizeof(struct wire_scram_keys)) {
        struct wire_scram_keys keys;
        memcpy(&keys, bytes, sizeof(keys));
        status = wire_session_scram_keys(&conn->session, &conn->out, &keys);
        OPENSSL_cleanse(&keys, sizeof(keys));
    }
    else {
        return errors_set(PyExc_ValueError, "the key is %d bytes, or two of them",
                          WIRE_SCRAM_KEY_LEN);
    }
    if (status < 0) {
        conn_fail(conn, status, conn->session.error.text, 0);
        Py_RETURN_NONE;
    }
    conn_flush(conn);
    Py_RETURN_NONE;
}
