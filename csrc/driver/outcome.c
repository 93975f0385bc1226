#include "outcome.h"

#include "copy.h"
#include "errors.h"

/* What is proven here is proven by the order of what a server sends: messages leave it in
 * the order in which they were made, and FATAL, which flushes them, is the last. What it had
 * not begun to answer then it has not run. A pooler's FATAL proves nothing, as answers of the
 * server may have been lost behind it; only a server's own error names the C function that
 * has raised it (PostgreSQL documentation, "Error and Notice Message Fields"). */

static bool
field_is(PyObject *fields, const char *name, const char *text)
{
    PyObject *value = fields == NULL ? NULL : PyDict_GetItemString(fields, name);
    return value != NULL && PyUnicode_CompareWithASCIIString(value, text) == 0;
}

/* Whether these words of the server, not of a pooler, were the last of all. */
static bool
outcome_is_final(const struct connection *conn)
{
    if (conn->fatal_fields != NULL) {
        return errors_is_fatal(conn->fatal_fields)
               && PyDict_GetItemString(conn->fatal_fields, "R") != NULL;
    }
    /* A warning, in the place of a FATAL, of a server that ends at once. */
    return field_is(conn->farewell, "R", "quickdie");
}

/* Whether the server has waited for a request all the time: idle_session_timeout and
 * idle_in_transaction_session_timeout. */
static bool
outcome_was_idle(const struct connection *conn)
{
    return field_is(conn->fatal_fields, "C", "57P05") || field_is(conn->fatal_fields, "C", "25P03");
}

/* Whether BindComplete comes in front of whatever it does. */
static bool
op_is_bound_first(const struct operation *op)
{
    return op_runs_statement(op->kind) || op->kind == OP_CURSOR_FETCH || op->kind == OP_LOOKUP;
}

/* Whether a transaction may end with it: never too seldom. */
static bool
op_may_end_transaction(const struct operation *op)
{
    static const char *const words[] = {"commit", "end", "prepare", "rollback", "abort"};
    if (op->kind == OP_COMMIT || op->kind == OP_ROLLBACK) {
        return true;
    }
    bool several = op->kind == OP_QUERY || op->kind == OP_COPY;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (several ? sql_mentions(op->sql, words[i]) : sql_begins(op->sql, words[i])) {
            return true;
        }
    }
    return false;
}

/* Whether nothing that is in flight can have ended the transaction that is open. */
static bool
outcome_is_uncommitted(const struct connection *conn, bool final)
{
    for (const struct operation *op = conn->sent.head; op != NULL; op = op->next) {
        if (op_may_end_transaction(op)) {
            return false;
        }
        if (final) {
            break; /* the others have not run */
        }
    }
    return true;
}

static enum fate
outcome_decide(const struct connection *conn, const struct operation *op, bool final, bool inside)
{
    bool head = op == conn->sent.head;
    if (op->phase < OP_FILLING || op->kind == OP_STARTUP) {
        return FATE_NOT_SENT;
    }
    if (op->resetting && op->failed) {
        return FATE_NOT_SENT; /* or as good as that: the server has passed over it */
    }
    if (final && (!head || outcome_was_idle(conn) || (op_is_bound_first(op) && !op->bound))) {
        return FATE_UNRUN;
    }
    if (op->phase == OP_FILLING || copy_is_unfinished(op)) {
        return FATE_UNDONE; /* the server commits nothing without its end */
    }
    /* The FATAL came in place of the answer: the server did not finish it. A COMMIT may
     * have become durable before that; and anything, before a quickdie, which waits for
     * nothing. */
    if (final && conn->fatal_fields != NULL && op->tag_len == 0 && op->kind != OP_SYNC
        && !op_may_end_transaction(op)) {
        return FATE_UNDONE;
    }
    return inside ? FATE_UNDONE : FATE_IN_DOUBT;
}

/* The one request that was in flight, or waited for a reset that was. NULL: none, or more. */
static const struct operation *
outcome_sole_borrow(const struct connection *conn)
{
    const struct operation *sent = conn->sent.head;
    if (sent != conn->sent.tail) {
        return NULL;
    }
    if (sent != NULL && sent->kind == OP_RESET) {
        return conn->deferred.head == conn->deferred.tail ? conn->deferred.head : NULL;
    }
    return sent;
}

void
outcome_judge(struct connection *conn)
{
    conn->sole = outcome_sole_borrow(conn);
    bool final = outcome_is_final(conn);
    bool uncommitted = outcome_is_uncommitted(conn, final);
    bool inside = conn->session.transaction_status != 'I';
    bool unsent = false;
    bool skipped = false; /* with all of its pipeline */
    for (struct operation *op = conn->sent.head; op != NULL; op = op->next) {
        inside = inside || op->began != NULL;
        unsent = unsent || (conn->write_error != 0 && op == conn->unsent);
        skipped = op->piped && (skipped || (op->resetting && op->failed));
        op->fate = (unsigned char)(unsent || skipped
                                       ? FATE_NOT_SENT
                                       : outcome_decide(conn, op, final, inside && uncommitted));
    }
}

const char *
outcome_of(const struct operation *op)
{
    if (op == NULL) {
        return OUTCOME_NOT_SENT;
    }
    switch (op->fate) {
    case FATE_NOT_SENT:
        return OUTCOME_NOT_SENT;
    case FATE_UNRUN:
    case FATE_UNDONE:
        return OUTCOME_FAILED;
    case FATE_IN_DOUBT:
        return OUTCOME_IN_DOUBT;
    default:
        break;
    }
    return op->phase < OP_FILLING ? OUTCOME_NOT_SENT : OUTCOME_IN_DOUBT;
}

static void
error_set(PyObject *error, PyObject *name)
{
    if (PyObject_SetAttr(error, name, Py_True) < 0) {
        PyErr_Clear();
    }
}

/* Whether nothing but this operation, which has not run, has been asked since lend(). */
static bool
outcome_is_first(const struct connection *conn, const struct operation *op)
{
    if (op == NULL) {
        return conn->asked == 0;
    }
    if (op->phase == OP_DEFERRED) {
        return conn->asked == 0 && conn->sole == op;
    }
    return conn->asked == 1 && conn->sole == op
           && (op->fate == FATE_NOT_SENT || op->fate == FATE_UNRUN);
}

void
outcome_mark(const struct connection *conn, PyObject *error, const struct operation *op)
{
    if (error == NULL) {
        return;
    }
    if (op != NULL && op->fate == FATE_UNRUN) {
        error_set(error, conn->st->name__unrun);
    }
    if (outcome_is_first(conn, op)) {
        error_set(error, conn->st->name__first);
    }
}

void
outcome_mark_refused(struct operation *op)
{
    if (op->refused && op->error != NULL) {
        error_set(op->error, op->st->name__unrun);
    }
}
