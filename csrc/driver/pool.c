/* What a pool wants to know of a connection, and has it do, between two users. */
#include "pool.h"

bool
pool_at_rest(const struct connection *conn)
{
    bool busy = conn->in_flight != 0 || conn->deferred.head != NULL || conn->outsiders.head != NULL
                || conn->waiter != NULL || conn->encoding != NULL || conn->cancelling;
    bool owned =
        conn->segment.open || conn->pipelines != 0 || conn->block != NULL || conn->claims != NULL;
    bool begun = conn->begun || conn->begin_due != NULL || conn->session.transaction_status != 'I';
    return !conn->closed && !busy && !owned && !begun;
}

PyObject *
Connection_get_at_rest(struct connection *conn, void *closure)
{
    (void)closure;
    return PyBool_FromLong(pool_at_rest(conn));
}

PyObject *
Connection_get_spotless(struct connection *conn, void *closure)
{
    (void)closure;
    return PyBool_FromLong(conn->tainted == 0 && pool_at_rest(conn));
}

PyObject *
Connection_lend(struct connection *conn, PyObject *autocommit)
{
    pool_lend(conn, autocommit == Py_True);
    Py_RETURN_NONE;
}

/* Appends the operations of a queue to a list; -1 with an exception. */
static int
pool_collect(PyObject *all, const struct op_queue *queue)
{
    for (struct operation *op = queue->head; op != NULL; op = op->next) {
        if (PyList_Append(all, (PyObject *)op) < 0) {
            return -1;
        }
    }
    return 0;
}

PyObject *
Connection_abandon_all(struct connection *conn, PyObject *error)
{
    PyObject *all = PyList_New(0);
    if (all == NULL) {
        return NULL;
    }
    if (pool_collect(all, &conn->outsiders) < 0 || pool_collect(all, &conn->deferred) < 0
        || pool_collect(all, &conn->segment.waiting) < 0 || pool_collect(all, &conn->sent) < 0
        || pool_collect(all, &conn->unread) < 0
        || (conn->waiter != NULL && PyList_Append(all, (PyObject *)conn->waiter) < 0)) {
        Py_DECREF(all);
        return NULL;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(all); i++) {
        struct operation *op = (struct operation *)PyList_GET_ITEM(all, i);
        /* A request of the pool's own, and the end of a pipeline, which has to come. */
        if (op->kind != OP_RESET && op->kind != OP_SYNC) {
            conn_abandon(op, error);
        }
    }
    Py_DECREF(all);
    Py_RETURN_NONE;
}
