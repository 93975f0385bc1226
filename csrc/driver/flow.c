#include "flow.h"

static bool
flow_may_write(const struct connection *conn)
{
    return wire_buffer_size(&conn->out) <= FLOW_OUT_LOW;
}

PyObject *
Connection_drain(struct connection *conn, PyObject *unused)
{
    (void)unused;
    if (conn_enter(conn) < 0) {
        return NULL;
    }
    struct operation *op = op_new(conn->st, conn->loop, OP_DRAIN, OP_NONE, NULL);
    if (op == NULL) {
        return NULL;
    }
    if (flow_may_write(conn)) {
        op->done = true;
        return (PyObject *)op;
    }
    op->conn = (struct connection *)Py_NewRef((PyObject *)conn);
    op_queue_push(&conn->drains, (struct operation *)Py_NewRef((PyObject *)op));
    return (PyObject *)op;
}

void
flow_written(struct connection *conn)
{
    struct operation *op;
    while (flow_may_write(conn) && (op = op_queue_pop(&conn->drains)) != NULL) {
        conn_finish(conn, op);
    }
}
