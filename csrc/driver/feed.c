/* Where the sets of an executemany() come from: a sequence, or one task that gives more of
 * them when they are wanted. */
#include "copy.h"
#include "errors.h"
#include "factory.h"
#include "flow.h"
#include "many.h"

/* What feeds it */

/* `more`: whether more sets are wanted. */
static void
many_release(struct connection *conn, struct operation *op, bool more)
{
    struct operation *feeder = op->many->feeder;
    if (feeder == NULL) {
        return;
    }
    op->many->feeder = NULL;
    feeder->rows = Py_NewRef(more ? Py_True : Py_False);
    conn_finish(conn, feeder); /* steals */
}

static bool
many_wants_sets(const struct connection *conn, struct operation *op)
{
    return op->phase == OP_FILLING && op->error == NULL && !op->failed && op->many->more
           && wire_buffer_size(&conn->out) <= FLOW_OUT_HIGH && many_is_dry(op);
}

void
many_flushed(struct connection *conn)
{
    struct operation *op = many_open_borrow(conn);
    if (conn->closed || conn->write_error != 0) {
        return;
    }
    bool waits = op->many->more && many_is_dry(op);
    conn_set_writer(conn, !waits || wire_buffer_size(&conn->out) > 0);
    if (many_wants_sets(conn, op)) {
        many_release(conn, op, true);
    }
}

void
many_writable(struct connection *conn)
{
    if (wire_buffer_size(&conn->out) <= FLOW_OUT_LOW) {
        many_go_on(conn);
    }
    if (conn->deferred.head != NULL && !conn->closed) {
        conn_start_deferred(conn);
    }
}

static void
many_unlink(struct connection *conn, struct operation *op)
{
    for (struct operation **at = &conn->fed; *at != NULL; at = &(*at)->many->fed) {
        if (*at == op) {
            *at = op->many->fed;
            op->many->fed = NULL;
            return;
        }
    }
}

int
many_check_task(struct connection *conn)
{
    if (conn->fed == NULL) {
        return 0;
    }
    PyObject *task = PyObject_CallNoArgs(conn->st->current_task);
    if (task == NULL) {
        return -1;
    }
    bool own = false;
    for (struct operation *op = conn->fed; op != NULL; op = op->many->fed) {
        own = own || op->many->task == task;
    }
    Py_DECREF(task);
    if (own) {
        PyErr_SetString(conn->st->interface_error,
                        "an executemany() takes its sets from this task, which would wait for "
                        "ever: use another connection for what the sets are made of, or make a "
                        "list of them first");
    }
    return own ? -1 : 0;
}

void
many_finished(struct connection *conn, struct operation *op)
{
    struct many *many = op->many;
    Py_CLEAR(op->params);
    Py_CLEAR(many->kept);
    wire_buffer_clear(&many->head, false);
    wire_buffer_clear(&many->tail, false);
    Py_CLEAR(many->task);
    many->more = false;
    many_unlink(conn, op);
    many_release(conn, op, false);
}

void
many_forget_feeder(struct operation *feed)
{
    ((struct operation *)feed->params)->many->feeder = NULL;
}

/* Methods */

/* What the SQL becomes where the first set has names: a new reference, NULL with an
 * exception. */
static PyObject *
many_text(struct connection *conn, PyObject *sql, PyObject *first)
{
    if (PyTuple_Check(first) || PyList_Check(first)) {
        return conn_check_count(conn, Py_SIZE(first)) < 0 ? NULL : Py_NewRef(sql);
    }
    if (first == Py_None) {
        return Py_NewRef(sql);
    }
    PyObject *both =
        PyObject_CallMethodObjArgs(conn->link, conn->st->name_resolve, sql, first, NULL);
    PyObject *text = NULL, *params;
    if (both != NULL && PyArg_ParseTuple(both, "UO!:resolve", &text, &PyTuple_Type, &params)
        && conn_check_count(conn, PyTuple_GET_SIZE(params)) < 0) {
        text = NULL;
    }
    Py_XINCREF(text);
    Py_XDECREF(both);
    return text;
}

static struct operation *
many_new(struct connection *conn, PyObject *sql, PyObject *sets)
{
    PyObject *first = PySequence_Fast_GET_SIZE(sets) == 0
                          ? Py_NewRef(Py_None)
                          : Py_NewRef(PySequence_Fast_GET_ITEM(sets, 0));
    PyObject *text = many_text(conn, sql, first);
    Py_DECREF(first);
    struct operation *op =
        text == NULL ? NULL : op_new(conn->st, conn->loop, OP_MANY, OP_RESULT, text);
    Py_XDECREF(text);
    if (op == NULL) {
        return NULL;
    }
    op->params = Py_NewRef(sets);
    op->many = PyMem_Calloc(1, sizeof(*op->many));
    if (op->many == NULL) {
        PyErr_NoMemory();
        Py_DECREF(op);
        return NULL;
    }
    op->many->text = Py_NewRef(sql);
    wire_buffer_init(&op->many->head);
    wire_buffer_init(&op->many->tail);
    return op;
}

/* More sets will come from the task that runs. -1 with an exception. */
static int
many_link(struct connection *conn, struct operation *op)
{
    if (op->done) {
        return 0;
    }
    op->many->task = PyObject_CallNoArgs(conn->st->current_task);
    if (op->many->task == NULL) {
        PyObject *error = errors_take();
        conn_abandon(op, error);
        compat_raise(error);
        return -1;
    }
    op->many->fed = conn->fed;
    conn->fed = op;
    return 0;
}

PyObject *
Connection_executemany(struct connection *conn, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs < 2 || nargs > 5) {
        return errors_set(PyExc_TypeError, "executemany(sql, sets, more, returning, row_factory)");
    }
    PyObject *sql = args[0];
    if (conn_enter(conn) < 0) {
        return NULL;
    }
    if (Py_IS_TYPE(sql, conn->st->statement_type)) {
        sql = ((struct statement *)sql)->sql;
    }
    if (conn_check_sql(conn, sql) < 0) {
        return NULL;
    }
    PyObject *sets = PySequence_Fast(args[1], "executemany(): the sets are a sequence");
    struct operation *op = sets == NULL ? NULL : many_new(conn, sql, sets);
    Py_XDECREF(sets);
    if (op == NULL) {
        return NULL;
    }
    op->many->more = nargs > 2 && args[2] == Py_True;
    op->many->returning = nargs > 3 && args[3] == Py_True;
    if (nargs > 4 && op_set_row_factory(op, args[4]) < 0) {
        Py_DECREF(op);
        return NULL;
    }
    if (PySequence_Fast_GET_SIZE(op->params) == 0) {
        op->rowcount = 0;
        op->done = true;
        return (PyObject *)op;
    }
    if (conn_submit(conn, op) < 0 || (op->many->more && many_link(conn, op) < 0)) {
        Py_DECREF(op);
        return NULL;
    }
    return (PyObject *)op;
}

/* The OP_MANY among the arguments, borrowed; NULL with a TypeError. */
static struct operation *
many_argument(struct connection *conn, PyObject *argument)
{
    if (Py_IS_TYPE(argument, conn->st->operation_type)
        && ((struct operation *)argument)->many != NULL) {
        return (struct operation *)argument;
    }
    errors_set(PyExc_TypeError, "an executemany() is wanted");
    return NULL;
}

PyObject *
Connection_hungry(struct connection *conn, PyObject *argument)
{
    struct operation *op = many_argument(conn, argument);
    if (op == NULL) {
        return NULL;
    }
    if (op->many->feeder != NULL) {
        return errors_set(PyExc_RuntimeError, "an executemany() is fed by one task");
    }
    struct operation *feed = op_new(conn->st, op->loop, OP_FEED, OP_VALUE, NULL);
    if (feed == NULL) {
        return NULL;
    }
    feed->params = Py_NewRef((PyObject *)op);
    bool wanted = !op->done && many_wants_sets(conn, op);
    if (op->done || wanted) {
        feed->done = true;
        feed->rows = Py_NewRef(wanted ? Py_True : Py_False);
        return (PyObject *)feed;
    }
    feed->conn = (struct connection *)Py_NewRef((PyObject *)conn);
    op->many->feeder = (struct operation *)Py_NewRef((PyObject *)feed);
    return (PyObject *)feed;
}

/* Keeps the new sets with those before, unless the server has taken the statement. */
static int
many_keep(struct operation *op, PyObject *sets)
{
    struct many *many = op->many;
    if (op->bound) {
        Py_CLEAR(many->kept);
        return 0;
    }
    if (many->kept == NULL) {
        many->kept = PyList_New(0);
        if (many->kept == NULL || PyList_Append(many->kept, op->params) < 0) {
            return -1;
        }
    }
    many->replay = PyList_GET_SIZE(many->kept) + 1;
    return PyList_Append(many->kept, sets);
}

PyObject *
Connection_feed(struct connection *conn, PyObject *const *args, Py_ssize_t nargs)
{
    struct operation *op = nargs != 3 ? NULL : many_argument(conn, args[0]);
    if (op == NULL) {
        return nargs == 3 ? NULL : errors_set(PyExc_TypeError, "feed(operation, sets, more)");
    }
    if (conn_enter(conn) < 0) {
        return NULL;
    }
    if (op->done || op->error != NULL) {
        Py_RETURN_NONE; /* it has come to its end since hungry() */
    }
    if (!many_is_dry(op) || !op->many->more || !PyList_Check(args[1])) {
        return errors_set(PyExc_RuntimeError, "feed() without hungry(), or sets not in a list");
    }
    if (many_keep(op, args[1]) < 0) {
        return NULL;
    }
    op->many->base += (size_t)op->many->next;
    op->many->next = 0;
    op->many->more = args[2] == Py_True;
    Py_XSETREF(op->params, Py_NewRef(args[1]));
    many_go_on(conn);
    if (conn->deferred.head != NULL && !conn->closed) {
        conn_start_deferred(conn);
    }
    Py_RETURN_NONE;
}

/* `error` (borrowed) comes in place of more sets. */
static void
many_break_off(struct connection *conn, struct operation *op, PyObject *error)
{
    if (op->phase == OP_DEFERRED) {
        conn_abandon(op, error);
    }
    else if (!op->done && op->error == NULL) {
        op_set_error(op, Py_NewRef(error));
        op->own_traceback = true;
        many_go_on(conn);
    }
}

PyObject *
Connection_break_off(struct connection *conn, PyObject *const *args, Py_ssize_t nargs)
{
    struct operation *op = nargs != 2 ? NULL : many_argument(conn, args[0]);
    if (op == NULL || !PyExceptionInstance_Check(args[1])) {
        return errors_set(PyExc_TypeError, "break_off(operation, exception)");
    }
    many_break_off(conn, op, args[1]);
    Py_RETURN_NONE;
}

PyObject *
Connection_starve(struct connection *conn, PyObject *error)
{
    if (!PyExceptionInstance_Check(error)) {
        return errors_set(PyExc_TypeError, "starve(exception)");
    }
    while (conn->fed != NULL) {
        struct operation *op = (struct operation *)Py_NewRef((PyObject *)conn->fed);
        many_unlink(conn, op);
        many_break_off(conn, op, error);
        Py_DECREF(op);
    }
    copy_starve(conn, error);
    Py_RETURN_NONE;
}
