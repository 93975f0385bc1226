/* Operation → bytes. Everything of a request is appended to `out` before any of
 * it is sent; if a value cannot be encoded the buffer is rolled back, and it is as
 * if nothing had been asked. */
#include "connection.h"
#include "bind.h"
#include "copy.h"
#include "block.h"
#include "cold.h"
#include "descriptions.h"
#include "doubt.h"
#include "errors.h"
#include "factory.h"
#include "flow.h"
#include "many.h"
#include "pipeline.h"
#include "pooled.h"
#include "rider.h"
#include "taint.h"

static const wire_slice no_name = {(const uint8_t *)"", 0};

/* What has to be queued in the session once all bytes are there. */
struct plan {
    size_t resets;     /* statements in front that reset the session */
    size_t forgotten;  /* bytes of the names of PREPARE, which are closed then */
    size_t closes;     /* statements closed behind those, these included */
    bool evicted;      /* among them are those that the cache has evicted */
    size_t riders;     /* further statements in front of the request */
    bool begin;        /* one of them is BEGIN */
    size_t count;      /* steps of the request itself */
    uint8_t steps[8];  /* without the closing SYNC */
    size_t sets;       /* SETs behind them */
    bool open;         /* more of them follow: the SYNC is not sent yet */
    bool simple;       /* a Query, or inside of a segment: no SYNC */
};

static wire_slice
slice_of_bytes(PyObject *bytes)
{
    wire_slice slice = {(const uint8_t *)PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes)};
    return slice;
}

/* In front: Close of evicted statements, BEGIN of a transaction that is due. */

static void
request_put_names(struct connection *conn, struct plan *plan, wire_slice closing)
{
    struct wire_reader names = wire_reader_of(closing);
    while (wire_reader_left(&names) > 0) {
        wire_put_close(&conn->out, 'S', wire_read_cstr(&names));
        plan->closes += 1;
    }
}

static void
request_put_closes(struct connection *conn, struct plan *plan)
{
    if (wire_buffer_size(&conn->cache.closing) == 0) {
        return;
    }
    if (conn->unnamed) { /* it may not be ours to close */
        wire_buffer_consume(&conn->cache.closing, wire_buffer_size(&conn->cache.closing));
        return;
    }
    plan->evicted = true;
    request_put_names(conn, plan, wire_buffer_unread(&conn->cache.closing));
}

static PyObject *
request_begin_borrow(struct connection *conn, const struct operation *op)
{
    if (op->rollback) {
        return op->began; /* of the same kind */
    }
    if (conn->begun || op->kind == OP_PREPARE) {
        return NULL;
    }
    if (conn->begin_due != NULL) {
        return conn->begin_due;
    }
    return conn->autocommit ? NULL : conn->begin_sql;
}

/* A statement that rides in front, its parameters (a tuple of str or None, or NULL) as text. */
static int
request_put_rider(struct connection *conn, struct plan *plan, PyObject *sql, PyObject *params)
{
    plan->riders += 1;
    return rider_put(conn, sql, params, false);
}

/* BEGIN, and the settings of its transaction. */
static int
request_put_begun(struct connection *conn, struct plan *plan, PyObject *begin)
{
    plan->begin = true;
    if (request_put_rider(conn, plan, begin_sql_borrow(begin), NULL) < 0) {
        return -1;
    }
    if (!PyTuple_Check(begin)) {
        return 0;
    }
    begin_note(conn, begin, true);
    return request_put_rider(conn, plan, PyTuple_GET_ITEM(begin, 1), PyTuple_GET_ITEM(begin, 2));
}

/* What resets the session for its new user. REQUEST_WAITS: it cannot go with `op`. */
static int
request_put_resets(struct connection *conn, const struct operation *op, struct plan *plan)
{
    if (taint_goes_first(conn, op)) {
        return REQUEST_WAITS;
    }
    Py_ssize_t count = taint_rides(conn, op) ? PyTuple_GET_SIZE(conn->resets) : 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *sql, *params;
        if (!PyArg_ParseTuple(PyTuple_GET_ITEM(conn->resets, i), "UO!:reset", &sql, &PyTuple_Type,
                              &params)
            || request_put_rider(conn, plan, sql, params) < 0) {
            return -1;
        }
    }
    plan->resets = plan->riders;
    plan->riders = 0;
    if (taint_rides(conn, op)) {
        plan->forgotten = wire_buffer_size(&conn->prepared);
        request_put_names(conn, plan, wire_buffer_unread(&conn->prepared));
    }
    return 0;
}

static int
request_put_begin(struct connection *conn, struct operation *op, struct plan *plan)
{
    if (op->rollback && request_put_rider(conn, plan, conn->st->sql_rollback, NULL) < 0) {
        return -1;
    }
    PyObject *begin = request_begin_borrow(conn, op);
    if (begin == NULL) {
        return 0;
    }
    op->first = op->rollback || (conn->in_flight == 0 && conn->session.transaction_status == 'I');
    Py_XSETREF(op->began, Py_NewRef(begin));
    return request_put_begun(conn, plan, begin);
}

/* The request itself */

static void
plan_steps(struct plan *plan, unsigned first, unsigned second)
{
    plan->steps[plan->count++] = (uint8_t)first;
    if (second != 0) {
        plan->steps[plan->count++] = (uint8_t)second;
    }
}

/* As many sets as may go out at once. The phase, or -1. */
static int
request_put_many(struct connection *conn, struct operation *op, struct plan *plan)
{
    Py_ssize_t sets = many_put_first(conn, op);
    if (sets < 0) {
        return -1;
    }
    plan_steps(plan, WIRE_STEP_BIND, WIRE_STEP_EXECUTE);
    plan->sets = (size_t)sets - 1;
    plan->open = !many_is_all(op);
    return plan->open ? OP_FILLING : OP_EXECUTING;
}

/* Bind and Execute of a described statement. */
static int
request_put_execution(struct connection *conn, struct operation *op, struct plan *plan)
{
    if (op->flow != NULL) {
        flow_choose(conn, op, plan->begin);
    }
    wire_slice portal = op->portal == NULL ? no_name : slice_of_bytes(op->portal);
    if (bind_put(conn, op->stmt, op->params, portal) < 0) {
        return -1;
    }
    wire_put_execute(&conn->out, portal, op->rows_max);
    plan_steps(plan, WIRE_STEP_BIND, WIRE_STEP_EXECUTE);
    return 0;
}

/* What its first word tells of a new statement. */
static void
request_classify(struct statement *stmt)
{
    stmt->copies = sql_begins(stmt->sql, "copy");
    stmt->alters = sql_begins(stmt->sql, "alter") || sql_begins(stmt->sql, "create")
                   || sql_begins(stmt->sql, "drop") || sql_begins(stmt->sql, "discard")
                   || sql_begins(stmt->sql, "deallocate")
                   || sql_begins(stmt->sql, "set search_path");
    stmt->taints = (uint16_t)taint_of_sql(stmt->sql);
}

/* In front of a statement that has to be parsed. */
static int
request_put_question(struct connection *conn, struct operation *op, struct plan *plan)
{
    static const uint8_t steps[] = {WIRE_STEP_PARSE | WIRE_STEP_RIDER,
                                    WIRE_STEP_BIND | WIRE_STEP_RIDER,
                                    WIRE_STEP_QUESTION | WIRE_STEP_RIDER};
    if (!pooled_may_ask(conn, op)) {
        return 0;
    }
    memcpy(plan->steps, steps, sizeof(steps));
    plan->count = sizeof(steps);
    return pooled_put_question(conn, op);
}

static int
request_put_description(struct connection *conn, struct operation *op, struct plan *plan)
{
    wire_slice sql;
    if (!request_sql(conn, op->sql, &sql)) {
        return -1;
    }
    if (conn->asking && request_put_question(conn, op, plan) < 0) {
        return -1;
    }
    struct statement *stmt = stmt_new(conn->st, op->sql, op->hints, !conn->unnamed);
    if (stmt == NULL) {
        return -1;
    }
    Py_XSETREF(op->stmt, stmt);
    stmt->schema_age = conn_schema_age(conn);
    request_classify(stmt);
    op->described = true;
    op->looked_up = false;
    cold_begin(conn, op);
    uint32_t hints[WIRE_PARAMETERS_HINTED_MAX];
    size_t hinted = conn_hints(op, hints);
    wire_put_parse(&conn->out, stmt_name(stmt), sql, hints, hinted);
    wire_put_describe(&conn->out, 'S', stmt_name(stmt));
    plan_steps(plan, WIRE_STEP_PARSE, WIRE_STEP_DESCRIBE_STATEMENT);
    return 0;
}

/* One that other connections have prepared, if there is one. */
static void
request_find_description(struct connection *conn, struct operation *op)
{
    struct statement *stmt = descriptions_find(conn, op);
    if (stmt != NULL && stmt->hints != NULL && !conn_hints_fit(conn, op, stmt)) {
        Py_CLEAR(stmt);
    }
    Py_XSETREF(op->stmt, stmt);
}

static void
request_find_known(struct connection *conn, struct operation *op)
{
    struct statement *stmt = op->stmt;
    bool known = stmt != NULL && stmt->owner == conn
                 && (stmt->prepared || (stmt->described && conn->unnamed));
    if (!known) {
        stmt = conn->cache.size_max == 0 ? NULL : stmtcache_get_borrow(&conn->cache, op->sql);
    }
    if (stmt != NULL && stmt->schema_age != conn_schema_age(conn) && !conn_trusts(conn, op, stmt)) {
        if (op->hints == NULL) {
            op->hints = Py_XNewRef(stmt->hints);
        }
        stmtcache_drop(&conn->cache, stmt, true); /* of another schema: parse again */
        request_find_description(conn, op);
        return;
    }
    if (known) {
        return;
    }
    if (stmt == NULL) {
        request_find_description(conn, op);
        return;
    }
    if (stmt->hints != NULL && !conn_hints_fit(conn, op, stmt)) {
        stmtcache_drop(&conn->cache, stmt, true); /* other types this time: parse again */
        stmt = NULL;
    }
    Py_XINCREF(stmt);
    Py_XSETREF(op->stmt, stmt);
}

/* A statement the server still knows, or of which we know what it would say; or NULL: it has
 * to be described first. So does one
 * whose columns do not fit the row factory: they may not be what they were. */
static void
request_find_statement(struct connection *conn, struct operation *op)
{
    request_find_known(conn, op);
    if (op->stmt == NULL || op_find_maker(op) == 0) {
        return;
    }
    bool unfit = PyErr_ExceptionMatches(conn->st->programming_error);
    PyErr_Clear(); /* whatever it is, it comes again */
    if (unfit) {
        if (op->hints == NULL) {
            op->hints = Py_XNewRef(op->stmt->hints);
        }
        stmtcache_drop(&conn->cache, op->stmt, true);
        Py_CLEAR(op->stmt);
    }
}

/* Whether its Parse goes along with its Bind. */
static inline bool
request_is_cold(const struct connection *conn, const struct operation *op)
{
    return conn->unnamed || !op->stmt->prepared;
}

static int
request_put_statement(struct connection *conn, struct operation *op, struct plan *plan)
{
    if (op->phase == OP_DEFERRED && op->stmt == NULL) {
        return request_put_description(conn, op, plan) < 0 ? -1 : OP_DESCRIBING;
    }
    if (op->kind == OP_PREPARE) {
        return OP_DEFERRED; /* known already: nothing to send */
    }
    int resolved = conn_resolve_statement(conn, op);
    if (resolved < 0) {
        return resolved;
    }
    if (op_find_maker(op) < 0) {
        return -1;
    }
    if (op->stmt->taints != 0) {
        taint_note(conn, op, op->stmt->taints);
    }
    if (op->phase == OP_DEFERRED && request_is_cold(conn, op)) {
        if ((conn->asking && request_put_question(conn, op, plan) < 0)
            || cold_put_parse(conn, op) < 0) {
            return -1;
        }
        plan_steps(plan, WIRE_STEP_PARSE, WIRE_STEP_DESCRIBE_STATEMENT);
    }
    if (op->kind == OP_MANY) {
        return request_put_many(conn, op, plan);
    }
    if (op->stmt->copies && op->piped) {
        PyErr_SetString(conn->st->not_supported_error,
                        "COPY cannot be part of a pipeline: use copy_to_table(), "
                        "copy_from_query() or copy() outside of it");
        return -1;
    }
    if (request_put_execution(conn, op, plan) < 0) {
        return -1;
    }
    return op->stmt->copies || (op->piped && op->stmt->alters) ? OP_COPYING : OP_EXECUTING;
}

static int
request_put_query(struct connection *conn, struct operation *op, struct plan *plan)
{
    bool ends = op->kind == OP_COMMIT || op->kind == OP_ROLLBACK;
    if (ends && !conn->begun && conn->in_flight == 0) {
        Py_CLEAR(conn->begin_due);
        return OP_DEFERRED; /* no transaction: nothing to send */
    }
    wire_slice sql;
    if (!request_sql(conn, op->sql, &sql)) {
        return -1;
    }
    if (!ends) {
        taint_note(conn, op, taint_of_sql(op->sql));
    }
    size_t message = wire_message_begin(&conn->out, 'Q');
    PyObject *due = op->kind == OP_COPY ? request_begin_borrow(conn, op) : conn->begin_due;
    if (!ends && sql.len > 0 && due != NULL && !conn->begun) {
        if (PyTuple_Check(due)) {
            PyErr_SetString(conn->st->interface_error,
                            "the settings of the transaction go out with a statement that may "
                            "have parameters: run one first");
            return -1;
        }
        wire_slice begin;
        if (!request_sql(conn, due, &begin)) {
            return -1;
        }
        if (op->copy != NULL) {
            op->copy->prefix = (size_t)PyUnicode_GET_LENGTH(due) + 1;
        }
        else {
            Py_XSETREF(op->began, Py_NewRef(due));
        }
        wire_buffer_put(&conn->out, begin.ptr, begin.len);
        wire_buffer_put(&conn->out, ";", 1);
        Py_CLEAR(conn->begin_due);
        conn->begun = true;
    }
    wire_buffer_put_cstr(&conn->out, sql);
    wire_message_end(&conn->out, message);
    plan_steps(plan, WIRE_STEP_QUERY, 0);
    plan->simple = true;
    return op->kind == OP_COPY ? OP_COPYING : OP_EXECUTING;
}

static int
request_put_portal(struct connection *conn, struct operation *op, struct plan *plan)
{
    wire_slice portal = slice_of_bytes(op->portal);
    if (op->kind == OP_PORTAL_FETCH) {
        if (op_find_maker(op) < 0) {
            return -1;
        }
        wire_put_execute(&conn->out, portal, op->rows_max);
        plan_steps(plan, WIRE_STEP_EXECUTE, 0);
    }
    else if (op->kind == OP_PORTAL_DESCRIBE) {
        wire_put_describe(&conn->out, 'P', portal);
        plan_steps(plan, WIRE_STEP_DESCRIBE_PORTAL, 0);
    }
    else {
        wire_put_close(&conn->out, 'P', portal);
        plan_steps(plan, WIRE_STEP_CLOSE, 0);
    }
    return OP_EXECUTING;
}

/* FETCH of a cursor whose columns are known, all in one flight. */
static int
request_put_fetch(struct connection *conn, struct operation *op, struct plan *plan)
{
    static const uint8_t steps[] = {WIRE_STEP_PARSE, WIRE_STEP_BIND, WIRE_STEP_DESCRIBE_PORTAL,
                                    WIRE_STEP_EXECUTE};
    int resolved = conn_resolve_statement(conn, op);
    if (resolved < 0) {
        return resolved;
    }
    wire_slice sql;
    if (op_find_maker(op) < 0 || !request_sql(conn, op->sql, &sql)) {
        return -1;
    }
    struct wire_bind bind;
    wire_put_parse(&conn->out, no_name, sql, NULL, 0);
    wire_put_bind_begin(&conn->out, &bind, no_name, no_name, 0);
    wire_put_bind_end(&conn->out, &bind, bind_formats(op->stmt));
    wire_put_describe(&conn->out, 'P', no_name);
    wire_put_execute(&conn->out, no_name, 0);
    memcpy(plan->steps, steps, sizeof(steps));
    plan->count = sizeof(steps);
    return OP_EXECUTING;
}

/* All in one flight, and every value as text, which needs no knowledge of types. */
static int
request_put_lookup(struct connection *conn, struct operation *op, struct plan *plan)
{
    static const uint8_t steps[] = {WIRE_STEP_PARSE, WIRE_STEP_DESCRIBE_STATEMENT, WIRE_STEP_BIND,
                                    WIRE_STEP_EXECUTE};
    op->stmt = stmt_new(conn->st, op->sql, NULL, false);
    if (op->stmt == NULL || rider_put(conn, op->sql, NULL, true) < 0) {
        return -1;
    }
    memcpy(plan->steps, steps, sizeof(steps));
    plan->count = sizeof(steps);
    return OP_EXECUTING;
}

static int
request_put_sync(struct connection *conn, struct operation *op, struct plan *plan)
{
    if (!segment_ends(conn, op)) {
        return OP_DEFERRED;
    }
    if (op->rollback && request_put_rider(conn, plan, conn->st->sql_rollback, NULL) < 0) {
        return -1;
    }
    return OP_EXECUTING;
}

/* The phase the operation is in once its bytes are out, or -1. */
static int
request_put(struct connection *conn, struct operation *op, struct plan *plan)
{
    switch (op->kind) {
    case OP_QUERY:
    case OP_COMMIT:
    case OP_ROLLBACK:
    case OP_COPY:
        return request_put_query(conn, op, plan);
    case OP_PORTAL_FETCH:
    case OP_PORTAL_CLOSE:
    case OP_PORTAL_DESCRIBE:
        return request_put_portal(conn, op, plan);
    case OP_CURSOR_FETCH:
        return request_put_fetch(conn, op, plan);
    case OP_EXECUTE:
    case OP_MANY:
    case OP_PREPARE:
    case OP_PORTAL_OPEN:
        return request_put_statement(conn, op, plan);
    case OP_LOOKUP:
        return request_put_lookup(conn, op, plan);
    case OP_RESET:
        return plan->resets + plan->closes == 0 ? OP_DEFERRED : OP_COPYING;
    case OP_SYNC:
        return request_put_sync(conn, op, plan);
    case OP_SEGMENT:
        segment_open(conn);
        return OP_DEFERRED;
    case OP_STARTUP:
    case OP_FEED:
    case OP_DRAIN:
    case OP_COPY_START:
    case OP_TAKE:
    case OP_TURN:
        break;
    }
    PyErr_SetString(PyExc_SystemError, "not a request");
    return -1;
}

static void
request_push_riders(struct wire_session *session, size_t count)
{
    for (; count > 0; count--) {
        wire_session_push(session, WIRE_STEP_PARSE | WIRE_STEP_RIDER);
        wire_session_push(session, WIRE_STEP_BIND | WIRE_STEP_RIDER);
        wire_session_push(session, WIRE_STEP_EXECUTE | WIRE_STEP_RIDER);
    }
}

static int
request_push_steps(struct connection *conn, const struct plan *plan)
{
    struct wire_session *session = &conn->session;
    size_t wanted = 3 * (plan->resets + plan->riders) + plan->closes + plan->count + plan->sets + 1;
    if (wire_session_reserve(session, wanted) != WIRE_OK) {
        PyErr_NoMemory();
        return -1;
    }
    request_push_riders(session, plan->resets);
    for (size_t i = 0; i < plan->closes; i++) {
        wire_session_push(session, WIRE_STEP_CLOSE | WIRE_STEP_RIDER);
    }
    request_push_riders(session, plan->riders);
    for (size_t i = 0; i < plan->count; i++) {
        wire_session_push(session, plan->steps[i]);
    }
    for (size_t i = 0; i < plan->sets; i++) {
        wire_session_push(session, WIRE_STEP_SET);
    }
    if (plan->open) {
        wire_session_open(session);
    }
    else if (!plan->simple) {
        wire_session_push(session, WIRE_STEP_SYNC);
    }
    return 0;
}

static void
request_sent(struct connection *conn, struct operation *op, const struct plan *plan)
{
    if (plan->evicted) {
        wire_buffer_consume(&conn->cache.closing, wire_buffer_size(&conn->cache.closing));
    }
    op->resetting = plan->resets > 0;
    if (plan->resets + plan->forgotten > 0) {
        Py_CLEAR(conn->resets);
        wire_buffer_consume(&conn->prepared, plan->forgotten);
    }
    if (op->parse != OP_PARSE_NONE) {
        cold_sent(conn, op);
    }
    op->rollback = false;
    conn->segment.begun = conn->segment.begun || op->piped;
    if (plan->begin) {
        conn->begun = true;
        Py_CLEAR(conn->begin_due);
    }
    if (op->kind == OP_COMMIT || op->kind == OP_ROLLBACK) {
        conn->begun = false;
        Py_CLEAR(conn->begin_due);
    }
}

/* What follows the messages of the request, if it has any. */
static void
request_put_end(struct connection *conn, const struct operation *op, struct plan *plan, int phase)
{
    if (phase <= OP_DEFERRED || plan->simple || plan->open) {
        return;
    }
    bool part = op->piped && op->kind != OP_SYNC;
    if (!part && (phase != OP_DESCRIBING || !op->unsynced)) {
        wire_put_sync(&conn->out);
        return;
    }
    plan->simple = true;
    if (op->flush || phase != OP_EXECUTING) {
        wire_put_flush(&conn->out);
    }
}

/* Part of a segment could not be encoded, for the exception that is set. */
static void
request_refused_part(struct connection *conn, const struct operation *op)
{
    if (op->kind == OP_EXECUTE) {
        segment_refused(conn);
    }
    else if (op->kind == OP_SYNC) {
        /* The server would wait for it for ever. */
        PyObject *error = errors_take();
        conn_fail(conn, WIRE_ERR_MEMORY, "out of memory for the end of a pipeline", 0);
        compat_raise(error);
    }
}

/* Appends the request (or its second flight). OP_DESCRIBING or OP_EXECUTING: its
 * bytes are in `out` and its steps in the session; OP_DEFERRED: nothing to send,
 * it is done; -1 with an exception: `out` is as it was. */
static int
conn_encode(struct connection *conn, struct operation *op)
{
    struct plan plan = {0};
    if (op->piped && op->kind == OP_EXECUTE && segment_check(conn, op) < 0) {
        return -1;
    }
    size_t mark = wire_buffer_mark(&conn->out);
    if (mark == 0) {
        conn->unsent = op;
    }
    conn->encoding = op;
    int phase = 0;
    if (conn->resets != NULL && op->phase == OP_DEFERRED) {
        phase = request_put_resets(conn, op, &plan);
    }
    if (phase == 0 && op->phase == OP_DEFERRED && op_runs_statement(op->kind)) {
        request_find_statement(conn, op); /* may find it too old, and have it closed */
        if (!op->piped || op->stmt == NULL || request_is_cold(conn, op)) {
            /* Behind the others of a pipeline it might be skipped. */
            request_put_closes(conn, &plan);
        }
        phase = request_put_begin(conn, op, &plan);
    }
    if (phase == 0) {
        phase = request_put(conn, op, &plan);
    }
    request_put_end(conn, op, &plan, phase);
    conn->encoding = NULL;
    if ((phase > OP_DEFERRED || phase == REQUEST_WAITS) && (conn->closed || op->done)) {
        /* A codec or a row factory ran Python that closed it, or gave this up. */
        PyErr_SetString(conn->st->interface_error,
                        conn->closed ? "the connection is closed" : "the request was given up");
        phase = -1;
    }
    if (phase > OP_DEFERRED
        && (bind_check_length(conn) < 0 || request_push_steps(conn, &plan) < 0)) {
        phase = -1;
    }
    if (phase <= OP_DEFERRED) {
        wire_buffer_rollback(&conn->out, mark);
        if (phase == -1 && doubt_encoding(conn, op)) {
            return conn_encode(conn, op);
        }
        if (op->piped && phase == -1) {
            request_refused_part(conn, op);
        }
        return phase;
    }
    request_sent(conn, op, &plan);
    op->phase = (enum op_phase)phase;
    op->unsynced = op->unsynced && phase == OP_DESCRIBING;
    return phase;
}

int
conn_encode_execution(struct connection *conn, struct operation *op)
{
    int phase = conn_encode(conn, op);
    return phase < 0 ? phase : 0;
}

static bool
conn_can_send(const struct connection *conn)
{
    const struct operation *tail = conn->sent.tail;
    return conn->started && !conn->closed && !conn->cancelling && conn->encoding == NULL
           && conn->lookup == NULL && conn->healing == NULL
           && (tail == NULL || (tail->phase == OP_EXECUTING && !flow_is_pulled(tail))
               || conn->foreseeing);
}

static void
conn_enqueue(struct connection *conn, struct op_queue *queue, struct operation *op)
{
    op->conn = (struct connection *)Py_NewRef((PyObject *)conn);
    op_queue_push(queue, (struct operation *)Py_NewRef((PyObject *)op));
}

/* Sends the question that `op`, now in front of `deferred`, waits for, or what resets the
 * session. */
static int
request_look_up(struct connection *conn, struct operation *op)
{
    if (conn->lookup_sql == NULL) {
        return taint_send(conn);
    }
    PyObject *sql = conn->lookup_sql;
    conn->lookup_sql = NULL;
    int status = conn_lookup_start(conn, op, sql);
    Py_DECREF(sql);
    return status;
}

void
conn_defer(struct connection *conn, struct operation *op)
{
    assert(conn->sent.head == op);
    op_queue_pop(&conn->sent);
    conn->in_flight -= 1;
    op->phase = OP_DEFERRED;
    op_queue_push_front(conn_queue_borrow(conn, op), op);
}

void
conn_park(struct connection *conn, struct operation *op)
{
    conn_defer(conn, op);
    conn_await_lookup(conn, op);
}

void
conn_await_lookup(struct connection *conn, struct operation *op)
{
    if (request_look_up(conn, op) < 0) {
        op_set_error(op, errors_take());
        op_queue_pop(conn_queue_borrow(conn, op));
        conn_finish(conn, op);
    }
}

static void
conn_enqueue_front(struct connection *conn, struct operation *op)
{
    op->conn = (struct connection *)Py_NewRef((PyObject *)conn);
    struct op_queue *queue = conn_queue_borrow(conn, op);
    op_queue_push_front(queue, (struct operation *)Py_NewRef((PyObject *)op));
}

int
conn_submit(struct connection *conn, struct operation *op)
{
    if (conn->block != NULL && !op->piped) {
        int outside = block_keeps_out(conn);
        if (outside != 0) {
            return outside < 0 ? -1 : block_wait(conn, op);
        }
    }
    if (conn_is_elsewhere(conn) || op->loop != conn->loop) {
        /* Since conn_enter another thread has had its turn. */
        return conn_refuse_moved(conn);
    }
    if (conn->pipelines != 0 && segment_check_request(conn, op) < 0) {
        return -1;
    }
    int claimed = conn->claims == NULL || op->piped ? 0 : flow_check_claims(conn, op);
    if (claimed != 0) {
        return claimed < 0 ? -1 : 0;
    }
    struct op_queue *queue = op->piped ? &conn->segment.waiting : &conn->deferred;
    if (queue->head != NULL || !segment_lets_through(conn, op) || !conn_can_send(conn)) {
        if (copy_check_task(conn) < 0 || many_check_task(conn) < 0) {
            return -1;
        }
        conn_enqueue(conn, queue, op);
        return 0;
    }
    int phase = conn_encode(conn, op);
    if (phase == REQUEST_WAITS) {
        conn_enqueue_front(conn, op);
        if (request_look_up(conn, op) == 0) {
            return 0;
        }
        op_queue_pop(queue);
        Py_CLEAR(op->conn);
        Py_DECREF(op);
        phase = -1;
    }
    if (phase < 0) {
        conn_start_deferred(conn); /* a codec may have asked for something meanwhile */
        return -1;
    }
    if (phase == OP_DEFERRED) {
        op->done = true;
    }
    else {
        conn_enqueue(conn, &conn->sent, op);
        conn->in_flight += 1;
        conn->asked += op->kind != OP_RESET;
    }
    if (conn->deferred.head != NULL) {
        conn_start_deferred(conn);
    }
    if (phase != OP_DEFERRED) {
        conn_write(conn, op);
    }
    return 0;
}

int
conn_send_alone(struct connection *conn, struct operation *op)
{
    int phase = conn_encode(conn, op);
    if (phase > OP_DEFERRED) {
        conn_enqueue(conn, &conn->sent, op);
        conn->in_flight += 1;
        conn->asked += op->kind != OP_RESET;
    }
    return phase < 0 ? -1 : 0;
}

/* Those whose turn it is. */
static struct op_queue *
request_queue_borrow(struct connection *conn)
{
    return conn->segment.open ? &conn->segment.waiting : &conn->deferred;
}

void
conn_start_deferred(struct connection *conn)
{
    bool any = false;
    struct op_queue *queue;
    if (conn->lookup != NULL) {
        conn_lookup_late(conn);
    }
    while ((queue = request_queue_borrow(conn))->head != NULL && conn_can_send(conn)) {
        if (queue->head->kind == OP_TURN) {
            if (!block_take_turn(conn)) {
                break;
            }
            continue;
        }
        struct operation *op = op_queue_pop(queue);
        int phase = conn_encode(conn, op);
        if (phase == REQUEST_WAITS) {
            op_queue_push_front(queue, op);
            if (request_look_up(conn, op) == 0) {
                return;
            }
            op_queue_pop(queue);
        }
        if (phase > OP_DEFERRED) {
            op_queue_push(&conn->sent, op);
            conn->in_flight += 1;
            conn->asked += op->kind != OP_RESET;
            any = true;
            continue;
        }
        if (phase < 0) {
            op_set_error(op, errors_take());
        }
        conn_finish(conn, op);
    }
    if (any) {
        conn_flush(conn);
    }
}
