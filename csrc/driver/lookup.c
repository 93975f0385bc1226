/* Types that are met for the first time, or that are no longer what they were: one
 * question to the catalog in one flight, whose answer link.types_found makes codecs
 * of. The operation that needs them waits: in front of `deferred` when it has not run,
 * in `waiter` alone when its rows are there and cannot be read yet. */
#include "connection.h"
#include "descriptions.h"
#include "errors.h"
#include "pipeline.h"

/* Of the missing types of many rows so many are asked for at once. */
#define LOOKUP_OIDS_MAX 1000

const struct codec *
conn_find_codec(struct codec_ctx *ctx, uint32_t oid)
{
    struct connection *conn = ctx->find_arg;
    PyObject *object;
    return book_find_borrow(&conn->book, oid, &object);
}

PyObject *
conn_take_missing(struct connection *conn)
{
    PyObject *taken = conn->missing;
    conn->missing = PyList_New(0);
    if (conn->missing == NULL) {
        conn->missing = taken;
        return NULL;
    }
    return taken;
}

int
conn_ask_types(struct connection *conn, PyObject *oids, PyObject **sql)
{
    PyObject *answer =
        PyObject_CallMethodObjArgs(conn->link, conn->st->name_types, conn, oids, NULL);
    *sql = NULL;
    if (answer == NULL) {
        return -1;
    }
    if (PyUnicode_Check(answer)) {
        *sql = answer;
        return 0;
    }
    Py_DECREF(answer);
    return 0;
}

int
conn_refresh_statement(struct connection *conn, struct operation *op)
{
    struct statement *stmt = op->stmt;
    if (stmt->codec_age == conn->book.age) {
        return 0;
    }
    struct statement *fresh = stmt;
    Py_INCREF(fresh);
    if (stmt->codec_age != 0) {
        /* Rows of the old one may still be on their way. */
        Py_SETREF(fresh, stmt_copy(stmt));
        if (fresh == NULL) {
            return -1;
        }
        bool cached = conn->cache.size_max > 0
                      && PyDict_GetItemWithError(conn->cache.by_sql, stmt->sql) == (PyObject *)stmt;
        if (cached && stmtcache_put(&conn->cache, fresh) < 0) {
            Py_DECREF(fresh);
            return -1;
        }
    }
    Py_SETREF(op->stmt, fresh);
    return stmt_resolve(fresh, &conn->book, conn->missing);
}

int
conn_resolve_statement(struct connection *conn, struct operation *op)
{
    for (;;) {
        if (conn_refresh_statement(conn, op) < 0) {
            return -1;
        }
        if (PyList_GET_SIZE(conn->missing) == 0) {
            return 0;
        }
        PyObject *oids = conn_take_missing(conn);
        if (oids == NULL) {
            return -1;
        }
        if (op->looked_up) {
            Py_DECREF(oids);
            return 0; /* the catalog does not know them either: text */
        }
        op->looked_up = true;
        op->stmt->codec_age = 0;
        PyObject *sql;
        int status = conn_ask_types(conn, oids, &sql);
        Py_DECREF(oids);
        if (status < 0) {
            return -1;
        }
        if (sql != NULL) {
            Py_XSETREF(conn->lookup_sql, sql);
            return REQUEST_WAITS;
        }
    }
}

/* Encodes the question, which is in no queue, and sends it. -1 with an exception. */
static int
lookup_send(struct connection *conn, struct operation *op)
{
    if (segment_is_under_way(conn)) {
        op->piped = true; /* a Sync of its own would end the transaction */
        op->flush = true;
    }
    if (conn_encode_execution(conn, op) < 0) {
        return -1;
    }
    op_queue_push(&conn->sent, op); /* steals */
    conn->in_flight += 1;
    conn_flush(conn);
    return 0;
}

/* Whether what is sent now would come in the middle of a request that is not whole yet:
 * the rows of an earlier one have turned out to need the types. */
static bool
lookup_must_wait(const struct connection *conn)
{
    const struct operation *tail = conn->sent.tail;
    return tail != NULL
           && (tail->phase == OP_FILLING || tail->phase == OP_COPYING || tail->unsynced);
}

int
conn_lookup_start(struct connection *conn, struct operation *waiter, PyObject *sql)
{
    assert(conn->lookup == NULL && conn->waiter == NULL);
    struct operation *op = op_new(conn->st, conn->loop, OP_LOOKUP, OP_ROWS, sql);
    if (op == NULL) {
        return -1;
    }
    op->conn = (struct connection *)Py_NewRef((PyObject *)conn);
    conn->lookup = op;
    conn->waiter = (struct operation *)Py_NewRef((PyObject *)waiter);
    if (lookup_must_wait(conn)) {
        op_queue_push_front(&conn->deferred, op); /* steals */
    }
    else if (lookup_send(conn, op) < 0) {
        conn->lookup = NULL;
        Py_CLEAR(conn->waiter);
        Py_DECREF(op);
        return -1;
    }
    return 0;
}

void
conn_lookup_late(struct connection *conn)
{
    struct operation *op = conn->lookup;
    if (op->phase != OP_DEFERRED || conn->closed || conn->cancelling || conn->encoding != NULL
        || lookup_must_wait(conn)) {
        return;
    }
    op_queue_remove(&conn->deferred, op);
    if (lookup_send(conn, op) < 0) {
        op_set_error(op, errors_take());
        conn_lookup_done(conn, op);
        conn_finish(conn, op);
    }
}

/* Columns whose types are not known when their rows come */

static PyObject *
lookup_decode_later(const struct codec *self, struct codec_ctx *ctx, wire_slice value)
{
    const struct connection *conn = ctx->find_arg;
    const struct statement *stmt = conn->sent.head->stmt;
    (void)value;
    for (size_t i = 0; i < stmt->columns_count; i++) {
        if (stmt->columns[i].codec->decode == lookup_decode_later) {
            codec_miss(self, ctx, stmt->columns[i].type_oid);
        }
    }
    return NULL;
}

static const struct codec lookup_to_come[] = {
    {.name = "a type that is looked up",
     .decode = lookup_decode_later,
     .fixed_len = -1,
     .format = WIRE_FORMAT_TEXT},
    {.name = "a type that is looked up",
     .decode = lookup_decode_later,
     .fixed_len = -1,
     .format = WIRE_FORMAT_BINARY},
};

const struct codec *
conn_codec_to_come(unsigned format)
{
    return &lookup_to_come[format == WIRE_FORMAT_BINARY];
}

/* Rows that could not be read */

/* Keeps (index, bytes) for later, with the OIDs that were missing. -1 with an exception. */
static int
lookup_postpone(struct connection *conn, struct operation *op, PyObject *item)
{
    PyObject *oids = conn_take_missing(conn);
    if (oids == NULL) {
        return -1;
    }
    if (op->postponed == NULL) {
        op->postponed = PyList_New(0);
        Py_XSETREF(op->missing, Py_NewRef(oids));
    }
    else if (PyList_GET_SIZE(op->missing) < LOOKUP_OIDS_MAX
             && PyList_SetSlice(op->missing, PY_SSIZE_T_MAX, PY_SSIZE_T_MAX, oids) < 0) {
        Py_DECREF(oids);
        return -1;
    }
    Py_DECREF(oids);
    return op->postponed == NULL ? -1 : PyList_Append(op->postponed, item);
}

int
conn_postpone_row(struct connection *conn, struct operation *op, struct wire_reader cells)
{
    bool listed = op->rows != NULL;
    size_t left = wire_reader_left(&cells);
    wire_slice bytes = wire_read_bytes(&cells, left);
    PyObject *item = Py_BuildValue("(ny#)", listed ? PyList_GET_SIZE(op->rows) : (Py_ssize_t)-1,
                                   (const char *)bytes.ptr, (Py_ssize_t)bytes.len);
    int failed = item == NULL || lookup_postpone(conn, op, item) < 0
                 || (listed && PyList_Append(op->rows, Py_None) < 0);
    Py_XDECREF(item);
    return failed ? -1 : 0;
}

/* Decodes one of them into its place. -1 with an exception. */
static int
lookup_decode_row(struct connection *conn, struct operation *op, PyObject *item)
{
    Py_ssize_t index = PyLong_AsSsize_t(PyTuple_GET_ITEM(item, 0));
    PyObject *bytes = PyTuple_GET_ITEM(item, 1);
    wire_slice slice = {(const uint8_t *)PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes)};
    PyObject *rows = op->rows;
    op->rows = index < 0 ? NULL : PyList_New(0);
    if (index >= 0 && op->rows == NULL) {
        op->rows = rows;
        return -1;
    }
    enum rows_status status = op_decode_row(conn, op, wire_reader_of(slice));
    if (index < 0 || op->rows == NULL) { /* NULL: given up while a decoder ran */
        Py_XDECREF(rows);
        return status == ROWS_OK ? 0 : -1;
    }
    PyObject *made = op->rows;
    op->rows = rows;
    if (status == ROWS_OK && PyList_GET_SIZE(made) == 1) {
        PyList_SetItem(rows, index, Py_NewRef(PyList_GET_ITEM(made, 0)));
    }
    Py_DECREF(made);
    return status == ROWS_OK ? 0 : -1;
}

/* Whether rows that were asked for in the formats of one statement can be read by another. */
static bool
lookup_reads_alike(const struct statement *old, const struct statement *fresh)
{
    for (size_t i = 0; i < old->columns_count; i++) {
        if (old->columns[i].codec->format != fresh->columns[i].codec->format) {
            return false;
        }
    }
    return true;
}

/* Finds the codecs of the columns anew, for rows that have come in the formats of the old
 * ones. 1: types are missing, which a container's codec went with; -1 with an exception. */
static int
lookup_refresh(struct connection *conn, struct operation *op)
{
    struct statement *old = (struct statement *)Py_NewRef((PyObject *)op->stmt);
    int status = conn_refresh_statement(conn, op);
    if (status == 0 && PyList_GET_SIZE(conn->missing) > 0 && op->lookups < WIRE_NESTING_MAX) {
        op->stmt->codec_age = 0;
        Py_SETREF(op->stmt, old);
        return 1;
    }
    if (status == 0 && !lookup_reads_alike(old, op->stmt)) {
        PyErr_SetString(conn->st->data_error,
                        "the type of a column has changed while its rows were on their way");
        status = -1;
    }
    Py_DECREF(old);
    return status;
}

/* The rows wait for yet another lookup. -1 with an exception. */
static int
lookup_postpone_all(struct connection *conn, struct operation *op, PyObject *postponed)
{
    PyObject *oids = conn_take_missing(conn);
    if (oids == NULL) {
        return -1;
    }
    Py_XSETREF(op->missing, oids);
    Py_XSETREF(op->postponed, Py_NewRef(postponed));
    return 0;
}

/* Decodes the postponed rows; those that turn out to hold yet other types are
 * postponed again, as often as containers may be nested. */
static void
lookup_decode_rows(struct connection *conn, struct operation *op)
{
    PyObject *postponed = op->postponed;
    op->postponed = NULL;
    op->lookups += 1;
    int failed = lookup_refresh(conn, op);
    bool later = failed > 0;
    if (later) {
        failed = lookup_postpone_all(conn, op, postponed);
    }
    for (Py_ssize_t i = 0; !later && failed == 0 && i < PyList_GET_SIZE(postponed); i++) {
        PyObject *item = PyList_GET_ITEM(postponed, i);
        failed = op->done ? -1 : lookup_decode_row(conn, op, item);
        if (failed < 0 && PyList_GET_SIZE(conn->missing) > 0 && op->lookups < WIRE_NESTING_MAX) {
            PyErr_Clear();
            failed = lookup_postpone(conn, op, item);
        }
    }
    Py_DECREF(postponed);
    if (failed < 0) {
        Py_CLEAR(op->postponed);
        Py_CLEAR(op->rows); /* not all of them are rows */
        PyObject *error = PyErr_Occurred() ? errors_take() : NULL;
        if (op->done) {
            Py_XDECREF(error);
        }
        else {
            op_set_error(op, error);
        }
    }
    if (PyList_SetSlice(conn->missing, 0, PY_SSIZE_T_MAX, NULL) < 0) {
        PyErr_Clear();
    }
}

bool
conn_await_types(struct connection *conn, struct operation *op)
{
    while (op->postponed != NULL && !op->abandoned && op->error == NULL) {
        if (conn->lookup != NULL) {
            op_queue_push(&conn->unread, op); /* steals what was that of `sent` */
            return true;
        }
        PyObject *sql;
        int status = conn_ask_types(conn, op->missing, &sql);
        if (status == 0 && sql != NULL) {
            status = conn_lookup_start(conn, op, sql);
            Py_DECREF(sql);
            if (status == 0) {
                return true;
            }
        }
        else if (status == 0) {
            lookup_decode_rows(conn, op);
        }
        if (status < 0) {
            op_set_error(op, errors_take());
        }
    }
    return false;
}

/* The end of a lookup */

/* What waited goes on: with its types, or with the error that kept them away. */
static void
lookup_resume(struct connection *conn, struct operation *waiter, PyObject *error)
{
    bool ran = waiter->postponed != NULL;
    if (error != NULL) {
        if (!ran) {
            op_queue_remove(conn_queue_borrow(conn, waiter),
                            waiter); /* whose reference is conn_finish's now */
        }
        op_set_error(waiter, Py_NewRef(error));
    }
    else if (ran) {
        lookup_decode_rows(conn, waiter);
        if (conn_await_types(conn, waiter)) {
            return;
        }
    }
    if (ran || error != NULL) {
        conn_finish(conn, waiter);
    }
}

/* Those whose turn has come. */
static void
lookup_resume_unread(struct connection *conn)
{
    struct operation *op;
    while (conn->lookup == NULL && (op = op_queue_pop(&conn->unread)) != NULL) {
        if (!conn_await_types(conn, op)) {
            conn_finish(conn, op);
        }
    }
}

/* Types of its statement are gone since it was described: it is parsed anew, which is
 * possible anywhere, as nothing of it has run. */
static void
lookup_describe_again(struct connection *conn, struct operation *waiter)
{
    if (waiter->postponed != NULL || !op_runs_statement(waiter->kind) || waiter->sql == NULL) {
        return;
    }
    if (waiter->hints == NULL) {
        waiter->hints = Py_XNewRef(waiter->stmt->hints);
    }
    stmtcache_drop(&conn->cache, waiter->stmt, true);
    descriptions_forget(conn, waiter->sql);
    Py_CLEAR(waiter->stmt);
}

void
conn_lookup_done(struct connection *conn, struct operation *op)
{
    struct operation *waiter = conn->waiter;
    conn->lookup = NULL;
    conn->waiter = NULL;
    if (waiter == NULL) {
        lookup_resume_unread(conn);
        return; /* it was given up */
    }
    if (op->error == NULL && !op->abandoned) {
        PyObject *done = PyObject_CallMethodObjArgs(conn->link, conn->st->name_types_found, conn,
                                                    op->rows == NULL ? Py_None : op->rows, NULL);
        if (done == NULL) {
            op_set_error(op, errors_take());
        }
        else if (done == Py_True) {
            lookup_describe_again(conn, waiter);
        }
        Py_XDECREF(done);
    }
    lookup_resume(conn, waiter, op->error);
    Py_DECREF(waiter);
    lookup_resume_unread(conn);
}

/* True: it was one of them. */
static bool
lookup_forget_unread(struct connection *conn, struct operation *op)
{
    struct operation *at = conn->unread.head;
    while (at != NULL && at != op) {
        at = at->next;
    }
    if (at == NULL) {
        return false;
    }
    op_queue_remove(&conn->unread, op);
    Py_CLEAR(op->conn);
    Py_DECREF(op);
    return true;
}

bool
conn_abandon_waiter(struct connection *conn, struct operation *op)
{
    if (conn->waiter != op) {
        return lookup_forget_unread(conn, op);
    }
    bool ran = op->postponed != NULL;
    conn->waiter = NULL;
    struct operation *lookup = conn->lookup;
    if (lookup != NULL) {
        conn->lookup = lookup->phase == OP_DEFERRED ? NULL : lookup;
        conn_abandon(lookup, NULL);
    }
    if (ran) {
        Py_CLEAR(op->conn);
        Py_DECREF(op); /* what was the queue's */
    }
    Py_DECREF(op);
    return ran;
}
