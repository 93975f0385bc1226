/* Statements that are no longer what they were when they were prepared: the server has
 * forgotten them, or what they read has changed. A refused Bind has run nothing, so the
 * operation is sent again where that cannot be noticed: outside of a transaction, or when
 * the transaction has nothing else in it yet.
 *
 * Inside a transaction with earlier work nothing can be sent again. There a statement that
 * was prepared before the schema changed is prepared anew instead of being tried: `age`
 * counts the changes, those that this process has made and those that it has run into. */
#include "connection.h"
#include "clock.h"
#include "descriptions.h"
#include "doubt.h"
#include "errors.h"
#include "many.h"
#include "pooled.h"

/* A statement that was parsed for this try cannot be stale: what it reads is locked until it
 * has run. More tries are for what comes with its answer, and for its types. */
#define STALE_TRIES_MAX 10

/* What is refused may as well be the value. */
#define STALE_TYPES_TRIES_MAX 3

/* Changes of the schema */

/* CHANGED_IF_UNDONE: what is new changes nothing for statements, as they could not have
 * read it; but when it is rolled back, those that have read it since are of another schema. */
enum { CHANGED_NOTHING, CHANGED_IF_UNDONE, CHANGED_HERE, CHANGED_FOR_ALL };

static bool
tag_begins(const struct operation *op, const char *text)
{
    size_t len = strlen(text);
    return op->tag_len >= len && memcmp(op->tag, text, len) == 0;
}

bool
sql_mentions(PyObject *sql, const char *word)
{
    const char *text = sql == NULL ? NULL : PyUnicode_AsUTF8(sql);
    if (text == NULL) {
        PyErr_Clear();
        return false;
    }
    Py_ssize_t len = (Py_ssize_t)strlen(word);
    for (; *text != '\0'; text++) {
        if (PyOS_strnicmp(text, word, len) == 0) {
            return true;
        }
    }
    return false;
}

/* A new table. A temporary one may stand in front of one that statements have read so
 * far. */
static int
schema_table(struct connection *conn, const struct operation *op)
{
    if (!sql_mentions(op->sql, "temp")) {
        return CHANGED_IF_UNDONE;
    }
    conn->temp_made = true;
    return CHANGED_HERE;
}

/* Another search_path changes nothing for most programs: the tables of the next schema are
 * like those of the last. It counts where a statement has once become stale after it. */
static int
schema_path(struct connection *conn, const struct operation *op)
{
    if (!sql_mentions(op->sql, "search_path")) {
        return CHANGED_NOTHING;
    }
    conn->path_changed = true;
    return conn->path_counts ? CHANGED_HERE : CHANGED_NOTHING;
}

void
conn_note_path(struct connection *conn, bool sent)
{
    conn->path_changed = true;
    if (conn->path_counts && sent) {
        conn->schema_changed = CHANGED_HERE; /* and again when it ends */
    }
    else if (conn->path_counts) {
        conn->schema_age += 1;
    }
}

/* What a command that succeeded may have changed for statements that were prepared. */
static int
schema_change(struct connection *conn, const struct operation *op)
{
    switch (op->tag[0]) {
    case 'A':
        return tag_begins(op, "ALTER ") ? CHANGED_FOR_ALL : CHANGED_NOTHING;
    case 'C':
        if (tag_begins(op, "CREATE TABLE")) {
            return schema_table(conn, op);
        }
        if (tag_begins(op, "CREATE VIEW") || tag_begins(op, "COMMIT PREPARED")) {
            return CHANGED_FOR_ALL;
        }
        return tag_begins(op, "CREATE ") ? CHANGED_IF_UNDONE : CHANGED_NOTHING;
    case 'D':
        if (tag_begins(op, "DEALLOCATE")) {
            return CHANGED_HERE;
        }
        return tag_begins(op, "DROP ") ? CHANGED_FOR_ALL : CHANGED_NOTHING;
    case 'R':
        if (tag_begins(op, "RESET")) {
            return schema_path(conn, op);
        }
        /* ROLLBACK TO SAVEPOINT may have undone a change. */
        return conn->schema_changed != CHANGED_NOTHING ? CHANGED_HERE : CHANGED_NOTHING;
    case 'S':
        if (tag_begins(op, "SET")) {
            return schema_path(conn, op);
        }
        return op->stmt != NULL && tag_begins(op, "SELECT") ? schema_table(conn, op)
                                                            : CHANGED_NOTHING;
    default:
        return CHANGED_NOTHING;
    }
}

void
conn_schema_moves(struct connection *conn)
{
    conn->st->schema_age += 1;
    conn->st->schema_moved = clock_ns();
}

void
conn_note_command(struct connection *conn, const struct operation *op)
{
    int change = schema_change(conn, op);
    if (change > CHANGED_IF_UNDONE) {
        conn->schema_age += 1;
    }
    conn->schema_changed = change > conn->schema_changed ? change : conn->schema_changed;
}

void
conn_settle_schema(struct connection *conn, const struct operation *op)
{
    bool undone = op->failed || op->undone || tag_begins(op, "ROLLBACK");
    if (conn->schema_changed > CHANGED_IF_UNDONE || undone) {
        conn->schema_age += 1;
    }
    if (conn->schema_changed == CHANGED_FOR_ALL) {
        conn_schema_moves(conn); /* committed: others see it from now on */
    }
    conn->schema_changed = CHANGED_NOTHING;
}

bool
conn_trusts(const struct connection *conn, struct operation *op, struct statement *stmt)
{
    if (!stmt->returns_rows && stmt->params_count == 0) {
        return true; /* it has no types that could have changed */
    }
    if (conn->begun || op->piped || descriptions_differ(conn, stmt)) {
        return false;
    }
    op->suspected = true;
    stmt->schema_age = conn_schema_age(conn); /* dropped if this turns out to be wrong */
    return true;
}

/* What an error says */

static bool
code_is(PyObject *fields, const char *text)
{
    PyObject *value = PyDict_GetItemString(fields, "C");
    return value != NULL && PyUnicode_CompareWithASCIIString(value, text) == 0;
}

static bool
code_is_of_class(PyObject *fields, const char *text)
{
    PyObject *value = PyDict_GetItemString(fields, "C");
    const char *code = value == NULL ? NULL : PyUnicode_AsUTF8(value);
    if (code == NULL) {
        PyErr_Clear();
        return false;
    }
    return strncmp(code, text, 2) == 0;
}

/* "cached plan must not change result type", in whatever language: the routine's name is
 * never translated. */
static bool
plan_is_stale(PyObject *fields)
{
    PyObject *routine = PyDict_GetItemString(fields, "R");
    return code_is(fields, "0A000") && routine != NULL
           && PyUnicode_CompareWithASCIIString(routine, "RevalidateCachedQuery") == 0;
}

static bool
text_begins(PyObject *fields, const char *field, const char *text)
{
    PyObject *value = PyDict_GetItemString(fields, field);
    const char *found = value == NULL ? NULL : PyUnicode_AsUTF8(value);
    if (found == NULL) {
        PyErr_Clear();
        return false;
    }
    return strncmp(found, text, strlen(text)) == 0;
}

/* Whether a type, a table or a function was dropped while the server looked at it: another
 * look finds what is there instead. (Internal errors are not translated.) */
static bool
catalog_has_moved(PyObject *fields)
{
    if (code_is(fields, "42704")) {
        return text_begins(fields, "R", "lookup_type_cache");
    }
    return code_is(fields, "XX000")
           && (text_begins(fields, "M", "cache lookup failed for ")
               || text_begins(fields, "M", "could not open relation with OID "));
}

/* Whether a value of a type that was looked up is not what the server takes for one: the
 * type has been changed, or is gone. */
static bool
types_are_stale(const struct operation *op, PyObject *fields)
{
    if (op->tries >= STALE_TYPES_TRIES_MAX || op->stmt->codecs == NULL
        || PyList_GET_SIZE(op->stmt->codecs) == 0) {
        return false;
    }
    return code_is(fields, "22P03") || code_is(fields, "42704") || code_is(fields, "42804")
           || code_is(fields, "XX000");
}

/* Whether a statement that was prepared some time ago might be taken if it was prepared
 * now: names and types were looked up then. Not what it may not do (42501). */
static bool
might_be_stale(const struct operation *op, PyObject *fields)
{
    return !op->described && !code_is(fields, "42501")
           && (code_is_of_class(fields, "42") || code_is(fields, "0A000")
               || code_is(fields, "XX000"));
}

/* Bind was refused: the statement has not run. */
static bool
bind_is_stale(struct connection *conn, struct operation *op, PyObject *fields)
{
    bool unknown = code_is(fields, "26000");
    bool plan = plan_is_stale(fields);
    bool types = types_are_stale(op, fields);
    bool moved = catalog_has_moved(fields);
    if (types) {
        doubt_look_up_again(conn, op->stmt);
    }
    conn->path_counts = conn->path_counts || (plan && conn->path_changed);
    if (op->parse == OP_PARSE_SENT && code_is(fields, "42P05")) {
        pooled_suspect(conn);
    }
    if (unknown) {
        pooled_suspect(conn);
        conn->schema_age += 1; /* so may be the others */
    }
    else if ((plan || types) && !op->suspected) {
        conn_schema_moves(conn); /* a change that was not known yet */
    }
    /* Of a description: the number of columns, for which formats are asked. */
    bool shape = op->parse != OP_PARSE_NONE && code_is(fields, "08P01");
    op->stale = unknown || plan || types || moved || shape || might_be_stale(op, fields)
                || doubt_refusal(op, fields);
    /* The text was taken once, with types that do not fit any more. */
    bool unfit =
        op->parse == OP_PARSE_SENT && op->stmt->params_count > 0
        && (code_is(fields, "42846") || code_is(fields, "42883") || code_is(fields, "42804"));
    /* Other errors may as well be those of a value. */
    return unknown || plan || moved || unfit
           || (!op->described && (code_is(fields, "XX000") || code_is(fields, "0A000")));
}

bool
conn_note_refusal(struct connection *conn, struct operation *op, PyObject *fields, bool rider)
{
    if (rider && pooled_refused(conn, op)) {
        op->refused = true;
        op->stale = true; /* sent again, without the question */
        return false;
    }
    if (rider || op->bound || op->stmt == NULL || !op_runs_statement(op->kind)) {
        return false;
    }
    op->refused = true;
    if (op->phase == OP_DESCRIBING) {
        /* Behind a pooler another session may have left its statement: it is closed. */
        bool moved = catalog_has_moved(fields);
        op->stale = moved || code_is(fields, "42P05");
        if (op->stale && !moved) {
            pooled_suspect(conn);
        }
        return moved;
    }
    bool stale = bind_is_stale(conn, op, fields);
    if (op->stale) {
        stmtcache_drop(&conn->cache, op->stmt, true);
        descriptions_forget(conn, op->sql);
    }
    return stale;
}

/* Once more */

static bool
op_may_retry(const struct operation *op)
{
    return !op->abandoned && !op->piped && op->sql != NULL && op->tries < STALE_TRIES_MAX;
}

bool
conn_may_retry(const struct connection *conn, const struct operation *op)
{
    char status = conn->session.transaction_status;
    return op_may_retry(op)
           && ((status == 'I' && op->began == NULL) || (status == 'E' && op->first));
}

static void
op_reset(struct operation *op)
{
    if (op->hints == NULL && op->stmt != NULL) {
        op->hints = Py_XNewRef(op->stmt->hints);
    }
    Py_CLEAR(op->stmt);
    Py_CLEAR(op->error);
    Py_CLEAR(op->rows);
    op->phase = OP_DEFERRED;
    op->failed = false;
    op->stale = false;
    op->refused = false;
    op->bound = false;
    op->described = false;
    op->unsynced = false;
    op->parse = OP_PARSE_NONE;
    op->suspected = false;
    op->looked_up = false;
    op->indeterminate = 0;
    op->tag_len = 0;
    op->tries += 1;
    if (op->many != NULL) {
        many_reset(op);
    }
}

/* Makes ready for another try, the first in a transaction of the same kind as the one that
 * it has broken, if it was in one. */
static void
op_reset_first(struct connection *conn, struct operation *op, bool broken)
{
    op_reset(op);
    op->rollback = broken;
    conn->begun = broken; /* until the ROLLBACK is on its way */
}

int
conn_retry(struct connection *conn, struct operation *op)
{
    op_reset_first(conn, op, conn->session.transaction_status == 'E');
    return conn_encode_execution(conn, op);
}

bool
conn_may_retry_early(const struct connection *conn, const struct operation *op)
{
    bool alone = conn->session.transaction_status == 'I' && !conn->begun && op->began == NULL;
    return op_may_retry(op) && (alone || op->first);
}

int
conn_retry_early(struct connection *conn, struct operation *op)
{
    op_reset_first(conn, op, op->first);
    return conn_encode_execution(conn, op);
}

/* Pipelined: what is behind a stale statement is held back, as long as all of it was
 * refused, too, without having run: then everything is sent again, in the same order. */

/* `op` leaves `sent`, of which it is the head, for its place in front of what has not been
 * sent. */
static void
heal_hold(struct connection *conn, struct operation *op)
{
    op_queue_pop(&conn->sent);
    conn->in_flight -= 1;
    op->phase = OP_DEFERRED;
    op->held = true;
    struct operation *last = NULL;
    for (struct operation *at = conn->deferred.head; at != NULL && at->held; at = at->next) {
        last = at;
    }
    if (last == NULL) {
        op_queue_push_front(&conn->deferred, op);
        return;
    }
    op->next = last->next;
    last->next = op;
    if (conn->deferred.tail == last) {
        conn->deferred.tail = op;
    }
}

void
conn_heal_none(struct connection *conn)
{
    conn->healing = NULL;
    struct operation *next;
    for (struct operation *op = conn->deferred.head; op != NULL; op = next) {
        next = op->next;
        if (op->held) {
            op_queue_remove(&conn->deferred, op);
            op->held = false;
            op->phase = OP_EXECUTING;
            conn_finish(conn, op);
        }
    }
}

/* The pipeline is empty. All that was held goes out again, unless the first was given up
 * meanwhile: what follows was meant to come after it. */
static void
heal_resume(struct connection *conn)
{
    struct operation *first = conn->deferred.head;
    if (first == NULL || !first->held || first != conn->healing) {
        conn_heal_none(conn);
        return;
    }
    conn->healing = NULL;
    op_reset_first(conn, first, conn->session.transaction_status == 'E');
    first->held = false;
    for (struct operation *op = first->next; op != NULL && op->held; op = op->next) {
        op_reset(op);
        op->held = false;
    }
}

/* Whether the operation behind a stale one has run as little. In a transaction that has
 * failed the server takes nothing but its end. */
static bool
heal_may_hold(const struct connection *conn, const struct operation *op)
{
    char status = conn->session.transaction_status;
    return op->refused && !op->abandoned && op->began == NULL && op->sql != NULL
           && (status == 'E' || (op->stale && conn_may_retry(conn, op)));
}

bool
conn_heal(struct connection *conn, struct operation *op)
{
    if (conn->healing != NULL && !heal_may_hold(conn, op)) {
        conn_heal_none(conn);
    }
    if (conn->healing == NULL) {
        if (!op->stale || !conn_may_retry(conn, op)) {
            return false;
        }
        if (conn->in_flight == 1) {
            return conn_went_on(conn, op, conn_retry(conn, op));
        }
        conn->healing = op;
    }
    heal_hold(conn, op);
    if (conn->in_flight == 0) {
        heal_resume(conn);
    }
    else if (conn->abandoned > 0) {
        conn_check_cancel(conn);
    }
    return true;
}
