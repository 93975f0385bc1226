#include "cold.h"

#include "clock.h"
#include "descriptions.h"
#include "errors.h"
#include "factory.h"
#include "rider.h"

/* A server whose statement_timeout ends between two flights is done with the transaction by
 * itself, and would run the second one on its own. When the answer to the first one has lain
 * about for so long, the second one waits until the server has said that it is ready. */
#define COLD_GAP_NS 500000000u

void
cold_begin(struct connection *conn, struct operation *op)
{
    op->unsynced = !op->piped && op->kind != OP_PREPARE;
    conn->cold_since = clock_ns();
}

/* Adds the Sync that is owed to `out`. False: the connection is closed. */
static bool
cold_put_sync(struct connection *conn, struct operation *op)
{
    op->unsynced = false;
    wire_put_sync(&conn->out);
    if (conn->out.failed != WIRE_OK || wire_session_reserve(&conn->session, 1) != WIRE_OK) {
        conn_fail(conn, WIRE_ERR_MEMORY, "no memory to end a request", 0);
        return false;
    }
    wire_session_push(&conn->session, WIRE_STEP_SYNC);
    return true;
}

static void
cold_sync(struct connection *conn, struct operation *op)
{
    if (cold_put_sync(conn, op)) {
        conn_flush(conn);
    }
}

/* The Sync that is owed becomes an operation of its own in the place of `op`, the only one
 * in flight, which is in no queue then: something may follow in the same write. False:
 * nothing has changed, or the connection is closed. */
static bool
cold_step_aside(struct connection *conn, struct operation *op)
{
    if (conn->in_flight != 1 || conn->healing != NULL || conn->cancelling || op->abandoned) {
        return false;
    }
    struct operation *end = op_new(conn->st, conn->loop, OP_SYNC, OP_NONE, NULL);
    if (end == NULL || !cold_put_sync(conn, op)) {
        PyErr_Clear();
        Py_XDECREF(end);
        return false;
    }
    end->done = true; /* nobody waits */
    end->phase = OP_EXECUTING;
    end->conn = (struct connection *)Py_NewRef((PyObject *)conn);
    op_queue_pop(&conn->sent);
    op_queue_push(&conn->sent, end);
    return true;
}

/* Whether the second flight may follow without a Sync in between. */
static bool
cold_may_go_on(const struct connection *conn, const struct operation *op)
{
    return !op->abandoned && !op->failed && op->error == NULL && conn->lookup == NULL
           && (op->tries > 0 || clock_ns() - conn->cold_since < COLD_GAP_NS);
}

/* Types have to be asked for before the second flight: behind a Sync, since the answer may
 * take its time. */
static void
cold_park(struct connection *conn, struct operation *op)
{
    if (cold_step_aside(conn, op)) {
        op->phase = OP_DEFERRED;
        op_queue_push_front(&conn->deferred, op);
        conn_await_lookup(conn, op);
        conn_flush(conn);
    }
    else if (!conn->closed) {
        op->looked_up = false; /* when the server is ready */
        Py_CLEAR(conn->lookup_sql);
        cold_sync(conn, op);
    }
}

void
cold_described(struct connection *conn, struct operation *op)
{
    if (!cold_may_go_on(conn, op) || !conn_remember(conn, op)) {
        cold_sync(conn, op);
        return;
    }
    Py_INCREF(op);
    int status = conn_encode_execution(conn, op);
    if (conn->closed) {
        PyErr_Clear(); /* by code that the encoding ran; conn_fail has ended all operations */
    }
    else if (status == 0) {
        conn_flush(conn);
    }
    else if (status == REQUEST_WAITS) {
        cold_park(conn, op);
    }
    else {
        op_set_error(op, errors_take());
        cold_sync(conn, op);
    }
    Py_DECREF(op);
}

/* The server could not tell a parameter's type: it is told, and asked again, in the same
 * write as the Sync. */
static bool
cold_retry(struct connection *conn, struct operation *op)
{
    if (op->indeterminate == 0 || conn->lookup != NULL || !conn_may_retry_early(conn, op)
        || !conn_infer_parameter(conn, op) || conn->closed || !cold_step_aside(conn, op)) {
        return false;
    }
    stmtcache_drop(&conn->cache, op->stmt, false);
    int status = conn_retry_early(conn, op);
    if (status == 0) {
        op_queue_push(&conn->sent, op);
        conn->in_flight += 1;
    }
    else if (status == REQUEST_WAITS) {
        op_queue_push_front(&conn->deferred, op);
        conn_await_lookup(conn, op);
    }
    else {
        op_set_error(op, errors_take());
        conn_finish(conn, op);
    }
    if (!conn->closed) {
        conn_flush(conn);
    }
    return true;
}

void
cold_refused(struct connection *conn, struct operation *op)
{
    if (!cold_retry(conn, op) && !conn->closed) {
        cold_sync(conn, op);
    }
}

/* Parse and Bind together */

int
cold_put_parse(struct connection *conn, struct operation *op)
{
    struct statement *stmt = op->stmt;
    wire_slice sql;
    if (stmt_choose_name(stmt, !conn->unnamed) < 0 || !request_sql(conn, stmt->sql, &sql)) {
        return -1;
    }
    op->parse = OP_PARSE_SENT;
    wire_put_parse(&conn->out, stmt_name(stmt), sql, stmt->param_oids, stmt->params_count);
    wire_put_describe(&conn->out, 'S', stmt_name(stmt));
    return 0;
}

void
cold_sent(struct connection *conn, struct operation *op)
{
    struct statement *stmt = op->stmt;
    stmt->owner = conn;
    stmt->described = true;
    stmt->prepared = stmt->name_len > 0; /* for what is sent behind it */
    if (conn->cache.size_max > 0 && !stmtcache_has(&conn->cache, stmt)
        && stmtcache_put(&conn->cache, stmt) < 0) {
        PyErr_Clear();
        stmtcache_drop(&conn->cache, stmt, true);
    }
}

void
cold_unparsed(struct connection *conn, struct operation *op)
{
    op->parse = OP_PARSE_NONE;
    stmtcache_drop(&conn->cache, op->stmt, true);
}

/* The format in which a column was asked for. */
static unsigned
cold_asked_format(const struct statement *stmt, size_t index)
{
    size_t codes = stmt->result_formats_len < 2 ? 0 : (stmt->result_formats_len - 2) / 2;
    if (codes == 0) {
        return WIRE_FORMAT_TEXT;
    }
    size_t at = codes == 1 ? 0 : index < codes ? index : codes - 1;
    return wire_load_u16(stmt->result_formats + 2 + 2 * at);
}

/* Whether rows that were asked for in the formats of one statement can be read by another. */
static bool
cold_can_read(const struct statement *asked, const struct statement *fresh)
{
    for (size_t i = 0; i < fresh->columns_count; i++) {
        if (cold_asked_format(asked, i) != (unsigned)fresh->columns[i].codec->format) {
            return false;
        }
    }
    return true;
}

/* The operation's statement with the columns that it turns out to have: a new reference, NULL
 * with an exception. */
static struct statement *
cold_redescribe(struct connection *conn, const struct operation *op, struct wire_event *event)
{
    struct statement *fresh = stmt_copy(op->stmt);
    if (fresh == NULL) {
        return NULL;
    }
    stmt_drop_columns(fresh);
    if ((event->kind == WIRE_EV_ROW_DESCRIPTION
         && stmt_set_columns(fresh, event->count, &event->reader) < 0)
        || stmt_resolve(fresh, &conn->book, conn->missing) < 0) {
        Py_DECREF(fresh);
        return NULL;
    }
    return fresh;
}

/* Others find out, too. */
static void
cold_replace(struct connection *conn, struct statement *fresh)
{
    conn_schema_moves(conn);
    fresh->schema_age = conn_schema_age(conn);
    fresh->described = true;
    descriptions_put(conn, fresh);
    if (conn->cache.size_max > 0 && stmtcache_put(&conn->cache, fresh) < 0) {
        PyErr_Clear();
        stmtcache_drop(&conn->cache, fresh, true);
    }
}

/* Types of its columns are not known yet: its rows wait until they have been looked up. -1
 * with an exception. */
static int
cold_await_columns(struct connection *conn, const struct statement *asked, struct statement *fresh)
{
    for (size_t i = 0; i < fresh->columns_count; i++) {
        if (fresh->columns[i].codec == &codec_unknown) {
            fresh->columns[i].codec = conn_codec_to_come(cold_asked_format(asked, i));
        }
    }
    fresh->codec_age = STMT_CODECS_TO_COME;
    return PyList_SetSlice(conn->missing, 0, PY_SSIZE_T_MAX, NULL);
}

static void
cold_set_unreadable(const struct connection *conn)
{
    PyErr_SetString(conn->st->data_error,
                    "the statement has other columns than it had when it was described, and "
                    "they came in formats that were meant for those: it has run, but its rows "
                    "cannot be read; the next time they can");
}

/* What was sent behind `op` for the statement that it has parsed has those columns, too. */
static void
cold_pass_on(struct connection *conn, struct operation *op, struct statement *fresh)
{
    for (struct operation *at = op->next; at != NULL && !conn->closed; at = at->next) {
        if (!op_runs_statement(at->kind) || at->stmt == NULL || fresh->name_len == 0
            || strcmp(at->stmt->name, fresh->name) != 0) {
            continue;
        }
        if (at->parse != OP_PARSE_NONE || at->phase == OP_DESCRIBING) {
            break; /* it finds out by itself */
        }
        bool readable = cold_can_read(at->stmt, fresh);
        Py_SETREF(at->stmt, (struct statement *)Py_NewRef((PyObject *)fresh));
        if (at->abandoned || at->error != NULL) {
            continue;
        }
        if (!readable) {
            cold_set_unreadable(conn);
        }
        if ((!readable || op_find_maker(at) < 0) && !at->done) {
            op_set_error(at, errors_take());
        }
        PyErr_Clear();
    }
}

/* The columns are not those that were known: the rows are decoded as what they are. -1 with
 * an exception. */
static int
cold_relearn(struct connection *conn, struct operation *op, struct wire_event *event)
{
    struct statement *fresh = cold_redescribe(conn, op, event);
    if (fresh == NULL) {
        return -1;
    }
    cold_replace(conn, fresh);
    if (PyList_GET_SIZE(conn->missing) > 0 && cold_await_columns(conn, op->stmt, fresh) < 0) {
        Py_DECREF(fresh);
        return -1;
    }
    bool readable = cold_can_read(op->stmt, fresh);
    Py_SETREF(op->stmt, fresh);
    cold_pass_on(conn, op, fresh);
    if (!readable && !op->abandoned) {
        cold_set_unreadable(conn);
        return -1;
    }
    return op->abandoned ? 0 : op_find_maker(op);
}

void
cold_check(struct connection *conn, struct operation *op, struct wire_event *event)
{
    struct statement *stmt = op->stmt;
    bool same = event->kind == WIRE_EV_NO_DATA ? !stmt->returns_rows
                                               : stmt_has_shape(stmt, event->count, event->reader);
    op->parse = OP_PARSE_NONE;
    if (same) {
        return;
    }
    Py_INCREF(op);
    if (cold_relearn(conn, op, event) < 0) {
        PyObject *error = errors_take();
        if (op->done) {
            Py_XDECREF(error);
        }
        else {
            op_set_error(op, error);
        }
    }
    Py_DECREF(op);
}
