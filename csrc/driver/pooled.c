#include "pooled.h"

#include "rider.h"

/* Statements that take the question along: not those that must be alone in their
 * transaction, nor those that end one. */
static const char carriers[][8] = {"select", "insert", "update", "delete",
                                   "with",   "values", "merge"};

bool
pooled_may_ask(const struct connection *conn, const struct operation *op)
{
    if (op->piped || op->kind == OP_PREPARE || conn->in_flight > 0
        || conn->session.transaction_status != 'I') {
        return false;
    }
    for (size_t i = 0; i < sizeof(carriers) / sizeof(carriers[0]); i++) {
        if (sql_begins(op->sql, carriers[i])) {
            return true;
        }
    }
    return false;
}

int
pooled_put_question(struct connection *conn, struct operation *op)
{
    op->asked = true;
    return rider_put(conn, conn->st->sql_pid, NULL, false);
}

void
pooled_on_answer(struct connection *conn, size_t count, struct wire_reader cells)
{
    uint32_t len = wire_read_u32(&cells);
    wire_slice text = wire_read_bytes(&cells, count == 1 && len <= 10 ? len : 0);
    unsigned long pid = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9') {
            return;
        }
        pid = 10 * pid + (unsigned long)(text.ptr[i] - '0');
    }
    if (cells.bad || text.len == 0) {
        return;
    }
    conn->asking = false;
    conn_tell(conn, conn->st->name_answered, Py_BuildValue("(Ok)", conn, pid));
}

bool
pooled_refused(struct connection *conn, struct operation *op)
{
    if (!op->asked) {
        return false;
    }
    conn->asking = false;
    return true;
}

void
pooled_suspect(struct connection *conn)
{
    if (conn->detects) {
        conn->asking = true;
        conn->unnamed = true;
    }
}
