/* Bytes → events → operations. Only the pump reads, and it is not re-entrant;
 * whoever is to be woken is woken when it has ended. */
#include "connection.h"
#include "cold.h"
#include "copy.h"
#include "declared.h"
#include "descriptions.h"
#include "errors.h"
#include "factory.h"
#include "flow.h"
#include "many.h"
#include "outcome.h"
#include "pipeline.h"
#include "pooled.h"
#include "rider.h"
#include "rows.h"
#include "taint.h"

#include "../codec/codec.h"

static bool
tag_is(const struct operation *op, const char *text)
{
    return op->tag_len == strlen(text) && memcmp(op->tag, text, op->tag_len) == 0;
}

static PyObject *
decode_text(wire_slice text)
{
    return PyUnicode_DecodeUTF8((const char *)text.ptr, (Py_ssize_t)text.len, "replace");
}

/* Rows */

enum rows_status
op_decode_row(struct connection *conn, struct operation *op, struct wire_reader cells)
{
    struct codec_ctx ctx = conn_codec_ctx(conn);
    if (op->postponed != NULL && (op->mode == OP_VALUE || op->mode == OP_ROW)) {
        return ROWS_OK; /* the one row that is wanted is among those */
    }
    if (op->mode == OP_VALUE) {
        return op->rows != NULL ? ROWS_OK : rows_decode_first(op->stmt, &ctx, cells, &op->rows);
    }
    PyTypeObject *type = NULL;
    if (op->named_rows) {
        type = stmt_row_type_borrow(op->stmt);
        if (type == NULL) {
            return ROWS_ERROR;
        }
    }
    else if (op->maker != NULL) {
        return op_make_row(op, &ctx, cells);
    }
    if (op->mode == OP_ROW) {
        return op->rows != NULL ? ROWS_OK : rows_decode(op->stmt, &ctx, type, cells, &op->rows);
    }
    PyObject *row;
    enum rows_status status = rows_decode(op->stmt, &ctx, type, cells, &row);
    if (status != ROWS_OK) {
        return status;
    }
    /* A json decoder may have run Python that gave the operation up. */
    if (op->abandoned || op->rows == NULL) {
        Py_DECREF(row);
        return ROWS_OK;
    }
    int failed = PyList_Append(op->rows, row);
    Py_DECREF(row);
    return failed < 0 ? ROWS_ERROR : ROWS_OK;
}

static void
conn_on_row(struct connection *conn, struct operation *op, const struct wire_event *event)
{
    if (op->kind == OP_QUERY || op->kind == OP_COMMIT || op->kind == OP_ROLLBACK
        || op->kind == OP_COPY || (op->kind == OP_CURSOR_FETCH && op->error != NULL)) {
        return;
    }
    struct statement *stmt = op->stmt;
    if (stmt == NULL || !stmt->returns_rows || event->count != stmt->columns_count) {
        char text[WIRE_ERROR_TEXT_MAX];
        snprintf(text, sizeof(text), "a row of %zu columns came for a statement of %zu",
                 event->count, stmt == NULL ? 0 : stmt->columns_count);
        conn_fail(conn, WIRE_ERR_PROTOCOL, text, 0);
        return;
    }
    if (op->abandoned || op->error != NULL || many_drops_rows(op)) {
        return;
    }
    Py_INCREF(op);
    switch (op_decode_row(conn, op, event->reader)) {
    case ROWS_OK:
        flow_count(op, wire_reader_left(&event->reader));
        break;
    case ROWS_ERROR:
        if (op->abandoned || op->done) {
            PyErr_Clear();
        }
        else if (PyList_GET_SIZE(conn->missing) > 0) {
            PyErr_Clear();
            if (conn_postpone_row(conn, op, event->reader) < 0) {
                op_set_error(op, errors_take());
            }
        }
        else {
            op_set_error(op, errors_take());
        }
        break;
    case ROWS_VIOLATION:
        conn_fail(conn, WIRE_ERR_PROTOCOL, "a row does not fit its own lengths", 0);
        break;
    }
    Py_DECREF(op);
}

/* Results come into being with the first answer that says the statement runs. */
static int
op_open_result(struct operation *op)
{
    if (op->rows == NULL && op->stmt != NULL && op->stmt->returns_rows
        && (op->mode == OP_ROWS || op->mode == OP_RESULT) && !many_drops_rows(op)) {
        op->rows = PyList_New(0);
        return op->rows == NULL ? -1 : 0;
    }
    return 0;
}

/* Errors */

static bool
field_is(PyObject *fields, const char *code, const char *text)
{
    PyObject *value = PyDict_GetItemString(fields, code);
    return value != NULL && PyUnicode_CompareWithASCIIString(value, text) == 0;
}

/* The number of the parameter whose type the server cannot tell, 0 for all other
 * errors: "could not determine data type of parameter $2". */
static int
conn_indeterminate(const struct operation *op, PyObject *fields)
{
    if (op->phase != OP_DESCRIBING || op->params == NULL
        || !(field_is(fields, "C", "42P18") || field_is(fields, "C", "42P08"))) {
        return 0;
    }
    PyObject *message = PyDict_GetItemString(fields, "M");
    const char *text = message == NULL ? NULL : PyUnicode_AsUTF8(message);
    const char *dollar = text == NULL ? NULL : strchr(text, '$');
    long number = dollar == NULL ? 0 : strtol(dollar + 1, NULL, 10);
    PyErr_Clear();
    return number > 0 && number <= WIRE_PARAMETERS_HINTED_MAX ? (int)number : 0;
}

static void
conn_on_error(struct connection *conn, const struct wire_event *event)
{
    struct operation *op = conn->sent.head;
    PyObject *fields = errors_fields(event->body);
    if (fields == NULL) {
        PyErr_Clear();
        conn_fail(conn, WIRE_ERR_MEMORY, "out of memory", 0);
        return;
    }
    bool startup = op != NULL && op->kind == OP_STARTUP;
    if (event->unsolicited || op == NULL || startup || errors_is_fatal(fields)) {
        Py_XSETREF(conn->fatal_fields, Py_NewRef(fields));
        if (startup && !op->done) {
            op_set_error(op, errors_from_fields(conn->st, fields, NULL, OUTCOME_NOT_SENT));
        }
        conn_fail(conn, WIRE_OK, "the server ended the session", 0);
        Py_DECREF(fields);
        return;
    }
    if (op->failed || (op->undone && !event->rider)) {
        /* After an error the server skips to the Sync: there cannot be another. */
        conn_fail(conn, WIRE_ERR_PROTOCOL, "a second error came for one request", 0);
        Py_DECREF(fields);
        return;
    }
    op->failed = true;
    if (op->resetting && event->rider) {
        taint_not_undone(conn, fields);
        Py_DECREF(fields);
        return;
    }
    if (op->copy != NULL) {
        copy_shift_position(op->copy->prefix, fields);
    }
    else if (op->kind == OP_QUERY && op->began != NULL) {
        copy_shift_position((size_t)PyUnicode_GET_LENGTH(op->began) + 1, fields);
    }
    bool stale = conn_note_refusal(conn, op, fields, event->rider);
    op->indeterminate = conn_indeterminate(op, fields);
    if (!op->abandoned) {
        op_set_error(op, event->rider ? rider_error(conn, op, fields)
                         : stale ? errors_stale(conn->st, fields, op->sql)
                                 : errors_from_fields(conn->st, fields, op->sql, OUTCOME_FAILED));
    }
    outcome_mark_refused(op);
    Py_DECREF(fields);
    bool unparsed = op->parse == OP_PARSE_SENT;
    if (unparsed) {
        cold_unparsed(conn, op);
    }
    if (op->many != NULL) {
        many_refused(conn, op, event->rider || unparsed);
    }
    else if (op->piped && op->kind != OP_SYNC) {
        segment_failed(conn);
        return;
    }
    if (op->unsynced) {
        cold_refused(conn, op);
    }
}

/* Requests that end */

/* The text (str, or NULL) behind the comments that stand in front. */
static const char *
sql_start(PyObject *sql)
{
    const char *p = sql == NULL ? NULL : PyUnicode_AsUTF8(sql);
    if (p == NULL) {
        PyErr_Clear();
        return "";
    }
    for (;;) {
        p += strspn(p, " \t\r\n\f");
        if (p[0] == '-' && p[1] == '-') {
            p += strcspn(p, "\n");
        }
        else if (p[0] == '/' && p[1] == '*' && strstr(p + 2, "*/") != NULL) {
            p = strstr(p + 2, "*/") + 2;
        }
        else {
            return p;
        }
    }
}

bool
sql_begins(PyObject *sql, const char *word)
{
    return PyOS_strnicmp(sql_start(sql), word, (Py_ssize_t)strlen(word)) == 0;
}

bool
sql_is_commit(PyObject *sql)
{
    return sql_begins(sql, "commit") || sql_begins(sql, "end");
}

/* Commands after which a type may not be what the catalog said it was. */
static bool
tag_changes_types(const struct operation *op)
{
    static const char *const tags[] = {"ALTER TYPE",       "ALTER TABLE", "ALTER DOMAIN",
                                       "ALTER EXTENSION",  "CREATE TYPE", "CREATE DOMAIN",
                                       "CREATE EXTENSION", "DROP TYPE",   "DROP DOMAIN",
                                       "DROP EXTENSION",   "DROP SCHEMA"};
    if (op->tag[0] != 'A' && op->tag[0] != 'C' && op->tag[0] != 'D') {
        return false;
    }
    for (size_t i = 0; i < sizeof(tags) / sizeof(tags[0]); i++) {
        if (tag_is(op, tags[i])) {
            return true;
        }
    }
    return false;
}

/* A COMMIT of ours is done when the server says COMMIT and that no transaction is open. */
static void
conn_check_commit(struct connection *conn, const struct operation *op)
{
    if (op->failed || op->error != NULL || tag_is(op, "ROLLBACK")) {
        return;
    }
    if (!tag_is(op, "COMMIT") || conn->session.transaction_status != 'I') {
        conn_fail(conn, WIRE_ERR_PROTOCOL, "COMMIT was answered by something else", 0);
    }
}

static void
conn_check_outcome(struct connection *conn, struct operation *op)
{
    if (op->tag_len == 0 || op->abandoned || op->error != NULL) {
        return;
    }
    if (op->tag[0] == 'R' && tag_is(op, "ROLLBACK") && op->kind != OP_ROLLBACK
        && (op->kind == OP_COMMIT || sql_is_commit(op->sql))) {
        op_set_error(op, errors_rolled_back(conn->st, op->sql));
    }
    else if (op->tag[0] == 'D' && (tag_is(op, "DISCARD ALL") || tag_is(op, "DEALLOCATE ALL"))) {
        stmtcache_forget(&conn->cache);
    }
    else if (tag_changes_types(op)) {
        conn_tell(conn, conn->st->name_types_changed, PyTuple_New(0));
    }
}

bool
conn_went_on(struct connection *conn, struct operation *op, int status)
{
    if (status == REQUEST_WAITS) {
        conn_park(conn, op);
        return true;
    }
    if (status < 0) {
        op_set_error(op, errors_take());
        return false;
    }
    conn_flush(conn);
    return true;
}

/* The server cannot tell a parameter's type: it is told, and asked again. */
static bool
conn_retry_inferred(struct connection *conn, struct operation *op)
{
    if (op->indeterminate == 0 || conn->in_flight != 1 || !conn_may_retry(conn, op)
        || !conn_infer_parameter(conn, op)) {
        return false;
    }
    stmtcache_drop(&conn->cache, op->stmt, false);
    return conn_went_on(conn, op, conn_retry(conn, op));
}

bool
conn_remember(struct connection *conn, struct operation *op)
{
    struct statement *stmt = op->stmt;
    stmt->described = true;
    stmt->prepared = stmt->name_len > 0;
    stmt->owner = conn;
    descriptions_put(conn, stmt);
    if (conn->cache.size_max > 0 && stmtcache_put(&conn->cache, stmt) < 0) {
        op_set_error(op, errors_take());
        return false;
    }
    return true;
}

bool
conn_described(struct connection *conn, struct operation *op)
{
    if (conn_retry_inferred(conn, op)) {
        return true;
    }
    struct statement *stmt = op->stmt;
    if (stmt == NULL) {
        return false; /* a second try that could not be encoded */
    }
    if (op->failed || (op->error != NULL && !op->abandoned)) {
        if (!stmt->described) {
            stmt->prepared = true; /* or somebody has left one of its name */
            stmtcache_drop(&conn->cache, stmt, true);
        }
        return false;
    }
    if (!conn_remember(conn, op) || op->kind == OP_PREPARE || op->abandoned) {
        return false;
    }
    if (conn->sent.tail != op || conn->lookup != NULL) {
        conn_defer(conn, op); /* behind the lookup that was asked for meanwhile */
        return true;
    }
    if (!op->piped && !stmt->prepared) {
        op->phase = OP_DEFERRED; /* behind the Sync somebody may have parsed another one */
    }
    return conn_went_on(conn, op, conn_encode_execution(conn, op));
}

static void
conn_idle(struct connection *conn)
{
    conn->begun = conn->session.transaction_status != 'I';
    if (conn->in.cap > CONN_KEEP_BYTES) {
        wire_buffer_shrink(&conn->in, CONN_KEEP_BYTES);
    }
    if (conn->out.cap > CONN_KEEP_BYTES) {
        wire_buffer_shrink(&conn->out, CONN_KEEP_BYTES);
    }
    book_settle(&conn->book);
    if (conn->cancelling) {
        conn_tell(conn, conn->st->name_drained, PyTuple_Pack(1, conn));
    }
}

bool
conn_complete(struct connection *conn, struct operation *op)
{
    conn_check_outcome(conn, op);
    if (!op->abandoned && op->error == NULL && op_open_result(op) < 0) {
        op_set_error(op, errors_take());
    }
    op_queue_pop(&conn->sent);
    conn->in_flight -= 1;
    conn->abandoned -= op->abandoned;
    if (op == conn->lookup) {
        conn_lookup_done(conn, op);
    }
    if (op->postponed != NULL && conn_await_types(conn, op)) {
        return false;
    }
    conn_finish(conn, op);
    return true;
}

/* Part of a segment has run; its ReadyForQuery is that of an OP_SYNC behind it. */
static void
conn_on_part(struct connection *conn, struct operation *op)
{
    if (conn->healing != NULL) {
        conn_heal_none(conn); /* something has run behind what is held back */
    }
    (void)conn_complete(conn, op);
    conn_note_abandoned(conn);
}

/* The same for its description, with which no ReadyForQuery comes either. */
static void
conn_on_part_described(struct connection *conn, struct operation *op)
{
    if (op->phase != OP_DESCRIBING || conn_described(conn, op)) {
        return;
    }
    if (op->error != NULL && !op->abandoned) {
        segment_stop(conn, op->error);
    }
    conn_on_part(conn, op);
}

static void
conn_on_ready(struct connection *conn, struct operation *op)
{
    if (op->phase == OP_DESCRIBING && conn_described(conn, op)) {
        return;
    }
    if ((op->stale || conn->healing != NULL) && conn_heal(conn, op)) {
        return;
    }
    if (conn->closed) {
        return; /* by code that the encoding ran; conn_fail has ended all operations */
    }
    if (conn->schema_changed != 0 && conn->session.transaction_status == 'I') {
        conn_settle_schema(conn, op);
    }
    Py_CLEAR(conn->farewell); /* it was none */
    if (op->kind == OP_STARTUP) {
        conn->started = true;
        wire_buffer_clear(&conn->out, true); /* a password may have gone through it */
    }
    if (op->kind == OP_COMMIT) {
        conn_check_commit(conn, op);
        if (conn->closed) {
            return;
        }
    }
    if (!conn_complete(conn, op)) {
        return;
    }
    if (conn->in_flight == 0) {
        conn_idle(conn);
    }
    else if (conn->abandoned > 0) {
        conn_check_cancel(conn);
    }
}

/* What a description says. An error of ours (out of memory) fails the operation. */
static void
conn_on_description(struct operation *op, struct wire_event *event)
{
    if (op->kind == OP_CURSOR_FETCH) {
        declared_check(op, event->count, &event->reader);
        return;
    }
    if (op->stmt == NULL
        || (op->phase != OP_DESCRIBING && op->kind != OP_LOOKUP
            && op->kind != OP_PORTAL_DESCRIBE)) {
        return;
    }
    int status = 0;
    if (event->kind == WIRE_EV_PARAM_DESCRIPTION) {
        status = stmt_set_params(op->stmt, event->count, &event->reader);
    }
    else {
        op->stmt->returns_rows = true;
        status = stmt_set_columns(op->stmt, event->count, &event->reader);
    }
    if (status < 0) {
        PyObject *error = errors_take();
        op->failed = true;
        op_set_error(op, error);
    }
}

/* What is for nobody in particular */

static void
conn_on_parameter(struct connection *conn, const struct wire_parameter *parameter)
{
    PyObject *name = decode_text(parameter->name);
    PyObject *value = decode_text(parameter->value);
    if (name == NULL || value == NULL || PyDict_SetItem(conn->parameters, name, value) < 0) {
        PyErr_Clear();
    }
    else if (PyUnicode_CompareWithASCIIString(name, "client_encoding") == 0
             && PyUnicode_CompareWithASCIIString(value, "UTF8") != 0) {
        char text[WIRE_ERROR_TEXT_MAX];
        snprintf(text, sizeof(text),
                 "client_encoding was set to %.*s: pgasync speaks UTF8 only; do not change it",
                 (int)(parameter->value.len < 40 ? parameter->value.len : 40),
                 (const char *)parameter->value.ptr);
        conn_fail(conn, WIRE_ERR_PROTOCOL, text, 0);
    }
    else if (PyDict_GET_SIZE(conn->parameters) > WIRE_PARAMETERS_MAX) {
        conn_fail(conn, WIRE_ERR_LIMIT, "the server reports too many parameters", 0);
    }
    else if (conn->started) {
        conn->tainted |= TAINT_REPORTED;
        conn_tell(conn, conn->st->name_parameter, PyTuple_Pack(2, name, value));
    }
    Py_XDECREF(name);
    Py_XDECREF(value);
}

static void
conn_on_notification(struct connection *conn, const struct wire_notification *notification)
{
    PyObject *channel = decode_text(notification->channel);
    PyObject *payload = decode_text(notification->payload);
    if (channel == NULL || payload == NULL) {
        PyErr_Clear();
    }
    else {
        conn_tell(conn, conn->st->name_notification,
                  Py_BuildValue("(kOO)", (unsigned long)notification->pid, channel, payload));
    }
    Py_XDECREF(channel);
    Py_XDECREF(payload);
}

static void
conn_on_notice(struct connection *conn, wire_slice body)
{
    const struct operation *op = conn->sent.head;
    PyObject *fields = errors_fields(body);
    if (fields == NULL) {
        PyErr_Clear();
        return;
    }
    if (field_is(fields, "C", "57P01") || field_is(fields, "C", "57P02")) {
        /* An immediate shutdown, or the crash of another backend: no FATAL follows. */
        Py_XSETREF(conn->farewell, Py_NewRef(fields));
    }
    if (op == NULL || op->kind != OP_SYNC || !field_is(fields, "C", "25P01")) {
        /* That is of the ROLLBACK that undoes a pipeline, whose transaction is implicit. */
        conn_tell(conn, conn->st->name_notice, PyTuple_Pack(1, fields));
    }
    Py_DECREF(fields);
}

static void
conn_on_backend_key(struct connection *conn, const struct wire_backend_key *key)
{
    conn->backend_pid = key->pid;
    conn->backend_key_len = key->key.len;
    memcpy(conn->backend_key, key->key.ptr, key->key.len);
}

static void
conn_on_scram(struct connection *conn, const struct wire_event *event)
{
    PyObject *args =
        Py_BuildValue("(Oy#I)", conn, (const char *)event->u.scram.salt.ptr,
                      (Py_ssize_t)event->u.scram.salt.len, (unsigned)event->u.scram.iterations);
    if (conn_tell(conn, conn->st->name_scram, args) < 0) {
        conn_fail(conn, WIRE_ERR_MEMORY, "no memory to authenticate", 0);
    }
}

static void
conn_on_aside(struct connection *conn, const struct wire_event *event)
{
    switch (event->kind) {
    case WIRE_EV_PARAMETER:
        conn_on_parameter(conn, &event->u.parameter);
        break;
    case WIRE_EV_NOTICE:
        conn_on_notice(conn, event->body);
        break;
    case WIRE_EV_NOTIFICATION:
        conn_on_notification(conn, &event->u.notification);
        break;
    case WIRE_EV_BACKEND_KEY:
        conn_on_backend_key(conn, &event->u.backend_key);
        break;
    case WIRE_EV_SCRAM_KEY:
        conn_on_scram(conn, event);
        break;
    case WIRE_EV_ERROR:
        conn_on_error(conn, event);
        break;
    default:
        break;
    }
}

static void
conn_on_event(struct connection *conn, struct wire_event *event)
{
    struct operation *op = conn->sent.head;
    if (op == NULL) {
        conn_on_aside(conn, event);
        return;
    }
    switch (event->kind) {
    case WIRE_EV_ROW:
        if (op->rows == NULL && op_open_result(op) < 0) {
            op_set_error(op, errors_take());
        }
        conn_on_row(conn, op, event);
        break;
    case WIRE_EV_SETS:
    case WIRE_EV_COMPLETE:
        op_set_tag(op, event->body, event->kind == WIRE_EV_SETS ? event->count : 1);
        if (op->stmt == NULL || !op->stmt->returns_rows) {
            conn_note_command(conn, op);
        }
        if (op->piped) {
            conn_on_part(conn, op);
        }
        break;
    case WIRE_EV_SUSPENDED:
        if (op->rows_max == 0) {
            conn_fail(conn, WIRE_ERR_PROTOCOL, "a portal was suspended without a row limit", 0);
            break;
        }
        op->suspended = true;
        break;
    case WIRE_EV_READY:
        conn_on_ready(conn, op);
        break;
    case WIRE_EV_PARAM_DESCRIPTION:
    case WIRE_EV_ROW_DESCRIPTION:
    case WIRE_EV_NO_DATA:
        if (op->parse != OP_PARSE_NONE) {
            if (event->kind != WIRE_EV_PARAM_DESCRIPTION) {
                cold_check(conn, op, event);
            }
            break;
        }
        if (event->kind != WIRE_EV_NO_DATA) {
            conn_on_description(op, event);
        }
        if (event->kind == WIRE_EV_PARAM_DESCRIPTION) {
            break;
        }
        if (op->piped) {
            conn_on_part_described(conn, op);
        }
        else if (op->unsynced) {
            cold_described(conn, op);
        }
        break;
    case WIRE_EV_COPY_IN:
    case WIRE_EV_COPY_OUT:
        copy_on_answer(conn, op, event);
        break;
    case WIRE_EV_BOUND:
        op->bound = true;
        break;
    case WIRE_EV_EMPTY:
        if (op->many != NULL) {
            many_completed(op, 0, 1);
        }
        else if (op->piped) {
            conn_on_part(conn, op);
        }
        break;
    case WIRE_EV_PARSED:
        op->parse = op->parse == OP_PARSE_NONE ? OP_PARSE_NONE : OP_PARSE_DONE;
        break;
    case WIRE_EV_CLOSED:
        break;
    case WIRE_EV_COPY_DATA:
        copy_on_data(conn, op, event->body);
        break;
    case WIRE_EV_COPY_DONE:
        copy_on_done(op);
        break;
    case WIRE_EV_ANSWER:
        pooled_on_answer(conn, event->count, event->reader);
        break;
    default:
        conn_on_aside(conn, event);
        break;
    }
}

static void
conn_handle_input(struct connection *conn)
{
    struct wire_event event;
    enum wire_status status;
    size_t written = wire_buffer_size(&conn->out);
    unsigned left = conn->look_every;
    conn->backlog = false;
    while (!conn->closed) {
        status = wire_session_next(&conn->session, &conn->in, &conn->out, &event);
        if (status == WIRE_MORE) {
            break;
        }
        if (status < 0) {
            conn_fail(conn, status, conn->session.error.text, 0);
            return;
        }
        conn_on_event(conn, &event);
        if (--left == 0) {
            if (flow_turn_is_over(conn)) {
                conn->backlog = true;
                break;
            }
            left = conn->look_every;
        }
    }
    /* The session itself answers during authentication. */
    if (!conn->started && wire_buffer_size(&conn->out) != written) {
        conn_flush(conn);
    }
}

void
conn_pump_soon(struct connection *conn)
{
    if (conn->pump_due) {
        return;
    }
    PyObject *saved = compat_take_exception();
    PyObject *callback = PyObject_GetAttr((PyObject *)conn, conn->st->name__pump_again);
    PyObject *handle =
        callback == NULL
            ? NULL
            : PyObject_CallMethodOneArg(conn->loop, conn->st->name_call_soon, callback);
    if (handle == NULL) {
        PyErr_Clear(); /* the loop is closed: nobody waits */
    }
    conn->pump_due = handle != NULL;
    conn->pump_late = false;
    Py_XDECREF(handle);
    Py_XDECREF(callback);
    if (saved != NULL) {
        compat_raise(saved);
    }
}

/* Reads once. NET_OK: *full tells that there may be more, which the socket has not said. */
static enum net_status
conn_read(struct connection *conn, size_t *got, bool *full)
{
    size_t room = conn->in.cap - conn->in.end;
    if (room < CONN_READ_ROOM / 2) {
        room = CONN_READ_ROOM;
    }
    uint8_t *bytes = wire_buffer_reserve(&conn->in, room);
    if (bytes == NULL) {
        conn_fail(conn, WIRE_ERR_MEMORY, "out of memory for what the server sends", 0);
        return NET_WANT_READ;
    }
    room = conn->in.cap - conn->in.end;
    enum net_status status = net_read(&conn->stream, bytes, room, got);
    if (status == NET_OK) {
        wire_buffer_commit(&conn->in, *got);
        *full = *got >= room;
        if (conn->trace != NULL) {
            conn_trace_received(conn, *got);
        }
    }
    return status;
}

/* There is nothing to be read: now, or ever again. */
static void
conn_read_nothing(struct connection *conn, enum net_status status)
{
    if (status == NET_EOF) {
        conn_fail(conn, WIRE_OK, "the server closed the connection", conn->write_error);
    }
    else if (status == NET_ERROR) {
        conn_fail(conn, WIRE_OK,
                  conn->stream.error != 0 ? "the connection to the server broke"
                                          : conn->stream.reason,
                  conn->stream.error);
    }
    else if (conn->write_error != 0) {
        conn_fail(conn, WIRE_OK, "the connection to the server broke", conn->write_error);
    }
}

/* `in` was handled, or a part of it. True: that was enough for this turn, and somebody sees
 * to it that another one comes. */
static bool
conn_turn_is_over(struct connection *conn)
{
    struct operation *op = conn->sent.head;
    if (op != NULL && op->flow != NULL && flow_is_enough(conn, op)) {
        return true;
    }
    if (conn->backlog) {
        conn_pump_soon(conn);
    }
    return conn->backlog;
}

void
conn_pump(struct connection *conn)
{
    size_t budget = CONN_TURN_BYTES;
    conn->turn_began = 0;
    if (!conn->backlog) {
        conn->look_every = FLOW_LOOK_FIRST;
    }
    /* Nobody asked: what comes may be the last, and not every loop says so again. */
    bool idle = conn->in_flight == 0;
    for (;;) {
        size_t got = 0;
        bool full = true;
        enum net_status status = conn->backlog ? NET_OK : conn_read(conn, &got, &full);
        if (status != NET_OK) {
            conn_read_nothing(conn, status);
            return;
        }
        conn_handle_input(conn);
        if (conn->closed || conn_turn_is_over(conn)) {
            return;
        }
        if (!full && conn->in_flight == 0 && !idle && !net_pending(&conn->stream)) {
            return; /* nobody waits for more */
        }
        if (got >= budget) {
            conn_pump_soon(conn);
            return;
        }
        budget -= got;
    }
}
