#include "block.h"

#include "copy.h"
#include "errors.h"
#include "flow.h"
#include "many.h"
#include "pipeline.h"

int
block_init(struct core_state *st, PyObject *module)
{
    PyObject *none = PyTuple_New(0);
    st->blocks = none == NULL ? NULL : PyContextVar_New("pgasync.blocks", none);
    Py_XDECREF(none);
    return st->blocks == NULL ? -1 : PyModule_AddObjectRef(module, "blocks", st->blocks);
}

/* Whether the context has entered the block; -1 with an exception. */
static int
block_is_entered(const struct connection *conn)
{
    PyObject *entered;
    if (PyContextVar_Get(conn->st->blocks, NULL, &entered) < 0) {
        return -1;
    }
    int found = 0;
    Py_ssize_t count = PyTuple_Check(entered) ? PyTuple_GET_SIZE(entered) : 0;
    for (Py_ssize_t i = count - 1; i >= 0 && !found; i--) {
        found = PyTuple_GET_ITEM(entered, i) == conn->block;
    }
    Py_DECREF(entered);
    return found;
}

int
block_keeps_out(struct connection *conn)
{
    int inside = block_is_entered(conn);
    if (inside != 0) {
        return inside < 0 ? -1 : 0;
    }
    PyObject *block = Py_NewRef(conn->block);
    PyObject *answer = PyObject_CallMethodNoArgs(block, conn->st->name_admits);
    inside = answer == NULL ? -1 : PyObject_IsTrue(answer);
    Py_XDECREF(answer);
    Py_DECREF(block);
    if (inside < 0) {
        return -1;
    }
    if (conn->closed) {
        PyErr_SetString(conn->st->interface_error, "the connection is closed");
        return -1;
    }
    return !inside;
}

/* Puts all of `from` behind `to`. */
static void
block_append(struct op_queue *to, struct op_queue *from)
{
    struct operation *op;
    while ((op = op_queue_pop(from)) != NULL) {
        op_queue_push(to, op);
    }
}

/* Whoever is outside has a turn. */
static void
block_release(struct connection *conn)
{
    block_append(&conn->deferred, &conn->outsiders);
    if (!conn->closed) {
        conn_start_deferred(conn);
    }
}

int
block_wait(struct connection *conn, struct operation *op)
{
    if (conn_is_elsewhere(conn) || op->loop != conn->loop) {
        return conn_refuse_moved(conn);
    }
    if (many_check_task(conn) < 0) {
        return -1;
    }
    op->conn = (struct connection *)Py_NewRef((PyObject *)conn);
    op_queue_push(&conn->outsiders, (struct operation *)Py_NewRef((PyObject *)op));
    if (conn->block == NULL) {
        block_release(conn); /* it has ended while Python ran */
    }
    return 0;
}

bool
block_take_turn(struct connection *conn)
{
    if (conn->in_flight > 0) {
        return false;
    }
    struct operation *op = op_queue_pop(&conn->deferred);
    conn->block = Py_NewRef(op->params);
    block_append(&conn->outsiders, &conn->deferred);
    conn_finish(conn, op);
    return true;
}

void
block_forget(struct connection *conn)
{
    Py_CLEAR(conn->block);
}

PyObject *
Connection_enter_block(struct connection *conn, PyObject *block)
{
    if (conn_enter(conn) < 0 || (conn->in_flight > 0 && copy_check_task(conn) < 0)
        || (conn->claims != NULL && flow_check_claims(conn, NULL) < 0)) {
        return NULL;
    }
    struct operation *op = op_new(conn->st, conn->loop, OP_TURN, OP_NONE, NULL);
    if (op == NULL || (conn->pipelines != 0 && segment_check_request(conn, op) < 0)) {
        Py_XDECREF(op);
        return NULL;
    }
    op->params = Py_NewRef(block);
    if (block_wait(conn, op) < 0) {
        Py_DECREF(op);
        return NULL;
    }
    return (PyObject *)op;
}

PyObject *
Connection_leave_block(struct connection *conn, PyObject *block)
{
    if (conn->block == block) {
        conn->block = NULL;
        block_release(conn);
        Py_DECREF(block);
    }
    Py_RETURN_NONE;
}

/* Every operation of the queue, or only those that wait for a turn, end with an error. */
static void
block_refuse(struct connection *conn, struct op_queue *queue, bool all)
{
    struct op_queue left = {NULL, NULL};
    struct operation *op;
    while ((op = op_queue_pop(queue)) != NULL) {
        if (!all && op->kind != OP_TURN) {
            op_queue_push(&left, op);
            continue;
        }
        PyErr_SetString(conn->st->interface_error,
                        "the connection was closed before its turn came, behind a transaction() "
                        "block of another task: nothing was sent");
        op_set_error(op, errors_take());
        conn_finish(conn, op);
    }
    *queue = left;
}

PyObject *
Connection_end_block(struct connection *conn, PyObject *unused)
{
    (void)unused;
    block_forget(conn);
    block_refuse(conn, &conn->outsiders, true);
    block_refuse(conn, &conn->deferred, false);
    Py_RETURN_NONE;
}

PyObject *
Connection_admits(struct connection *conn, PyObject *unused)
{
    (void)unused;
    int outside = conn->block == NULL || conn->closed ? 0 : block_keeps_out(conn);
    if (outside < 0) {
        return NULL;
    }
    return PyBool_FromLong(!outside);
}
