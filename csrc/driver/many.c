#include "many.h"

#include "bind.h"
#include "clock.h"
#include "errors.h"
#include "flow.h"

/* How long one slice may take, and after how many sets the clock is looked at. */
#define MANY_SLICE_NS 2000000u
#define MANY_CLOCK_SETS 4

/* The sets */

static inline Py_ssize_t
many_at_hand(const struct operation *op)
{
    return op->params == NULL ? 0 : PySequence_Fast_GET_SIZE(op->params);
}

bool
many_is_dry(struct operation *op)
{
    struct many *many = op->many;
    while (many->next >= many_at_hand(op)) {
        if (many->kept == NULL || many->replay >= PyList_GET_SIZE(many->kept)) {
            return true;
        }
        many->base += (size_t)many->next;
        many->next = 0;
        PyObject *sets = PyList_GET_ITEM(many->kept, many->replay);
        many->replay += 1;
        Py_XSETREF(op->params, Py_NewRef(sets));
    }
    return false;
}

bool
many_is_all(const struct operation *op)
{
    const struct many *many = op->many;
    bool last = many->kept == NULL || many->replay >= PyList_GET_SIZE(many->kept);
    return !many->more && last && many->next >= many_at_hand(op);
}

/* A set that is neither tuple nor list, by link.resolve: NULL with an exception. */
static PyObject *
many_resolve(struct connection *conn, const struct operation *op, PyObject *set)
{
    PyObject *both =
        PyObject_CallMethodObjArgs(conn->link, conn->st->name_resolve, op->many->text, set, NULL);
    if (both == NULL) {
        return NULL;
    }
    PyObject *text = NULL, *params = NULL;
    if (!PyArg_ParseTuple(both, "UO!:resolve", &text, &PyTuple_Type, &params)) {
        params = NULL;
    }
    else if (PyUnicode_Compare(text, op->sql) != 0) {
        PyErr_Format(conn->st->programming_error,
                     "the first set of parameters is for $1, $2 …, but this one is %R (%s): give "
                     "all of them in the same way",
                     set, Py_TYPE(set)->tp_name);
        params = NULL;
    }
    Py_XINCREF(params);
    Py_DECREF(both);
    return params;
}

/* The names of the SQL, borrowed; NULL with an exception. */
static PyObject *
many_names(struct connection *conn, const struct operation *op)
{
    struct many *many = op->many;
    if (many->names != NULL) {
        return many->names;
    }
    PyObject *both = PyObject_CallMethodOneArg(conn->link, conn->st->name_rewrite, many->text);
    PyObject *text, *names;
    if (both != NULL && PyArg_ParseTuple(both, "UO!:rewrite", &text, &PyTuple_Type, &names)) {
        Py_XSETREF(many->names, Py_NewRef(names));
    }
    Py_XDECREF(both);
    return many->names;
}

/* A dict with exactly the names that there are, as a tuple; else as link.resolve has it. */
static PyObject *
many_pick(struct connection *conn, const struct operation *op, PyObject *set)
{
    PyObject *names = Py_XNewRef(many_names(conn, op));
    if (names == NULL) {
        return NULL;
    }
    Py_ssize_t count = PyTuple_GET_SIZE(names);
    bool fits = count > 0 && PyDict_GET_SIZE(set) == count;
    PyObject *params = fits ? PyTuple_New(count) : NULL;
    for (Py_ssize_t i = 0; params != NULL && i < count; i++) {
        PyObject *value = PyDict_GetItemWithError(set, PyTuple_GET_ITEM(names, i));
        if (value == NULL) {
            Py_CLEAR(params);
            break;
        }
        PyTuple_SET_ITEM(params, i, Py_NewRef(value));
    }
    Py_DECREF(names);
    return params == NULL && !PyErr_Occurred() ? many_resolve(conn, op, set) : params;
}

/* One set as a tuple: a new reference, NULL with an exception. */
static PyObject *
many_tuple(struct connection *conn, const struct operation *op, PyObject *set)
{
    if (PyTuple_Check(set)) {
        return Py_NewRef(set);
    }
    if (PyList_Check(set)) {
        return PyList_AsTuple(set);
    }
    if (PyDict_CheckExact(set)) {
        return many_pick(conn, op, set);
    }
    return set == Py_None ? PyTuple_New(0) : many_resolve(conn, op, set);
}

PyObject *
many_find_value(struct connection *conn, const struct operation *op, Py_ssize_t index)
{
    for (Py_ssize_t i = 0; i < many_at_hand(op); i++) {
        PyObject *set = Py_NewRef(PySequence_Fast_GET_ITEM(op->params, i));
        PyObject *params = many_tuple(conn, op, set);
        Py_DECREF(set);
        if (params == NULL) {
            PyErr_Clear(); /* said when it is its turn to be sent */
            continue;
        }
        bool there = index < PyTuple_GET_SIZE(params) && PyTuple_GET_ITEM(params, index) != Py_None;
        PyObject *value = there ? Py_NewRef(PyTuple_GET_ITEM(params, index)) : NULL;
        Py_DECREF(params);
        if (value != NULL) {
            return value;
        }
    }
    Py_RETURN_NONE;
}

/* Encoding */

/* What all Binds have in common. -1 with an exception. */
static int
many_prepare(struct operation *op)
{
    static const wire_slice no_name = {(const uint8_t *)"", 0};
    struct many *many = op->many;
    wire_buffer_consume(&many->head, wire_buffer_size(&many->head));
    wire_buffer_consume(&many->tail, wire_buffer_size(&many->tail));
    wire_put_bind_begin(&many->head, &many->bind, no_name, stmt_name(op->stmt),
                        op->stmt->params_count);
    wire_slice formats = bind_formats(op->stmt);
    many->formats_len = formats.len;
    wire_buffer_put(&many->tail, formats.ptr, formats.len);
    wire_put_execute(&many->tail, no_name, 0);
    if (many->head.failed != WIRE_OK || many->tail.failed != WIRE_OK) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

/* Bind and Execute of one set. -1 with an exception. */
static int
many_put_set(struct connection *conn, struct operation *op, struct codec_ctx *ctx, PyObject *params)
{
    const struct many *many = op->many;
    if (bind_check_count(conn, op->stmt, PyTuple_GET_SIZE(params)) < 0) {
        return -1;
    }
    struct wire_buffer *out = &conn->out;
    size_t mark = wire_buffer_mark(out);
    struct wire_bind bind = {mark + many->bind.message, mark + many->bind.formats};
    wire_slice head = wire_buffer_unread(&many->head), tail = wire_buffer_unread(&many->tail);
    wire_buffer_put(out, head.ptr, head.len);
    if (bind_put_values(conn, op->stmt, ctx, params, &bind) < 0) {
        return -1;
    }
    wire_buffer_put(out, tail.ptr, many->formats_len);
    wire_message_end(out, bind.message);
    wire_buffer_put(out, tail.ptr + many->formats_len, tail.len - many->formats_len);
    return bind_check_length(conn);
}

/* The error of a set tells which one it is. */
static void
many_name_set(PyObject *error, size_t index)
{
    PyObject *number = PyLong_FromSize_t(index);
    if (number == NULL || PyObject_SetAttrString(error, "set_index", number) < 0) {
        PyErr_Clear();
    }
    Py_XDECREF(number);
}

/* The current exception was raised for the next set. Returns -1. */
static int
many_refuse_set(const struct operation *op)
{
    PyObject *error = compat_take_exception();
    if (error != NULL) {
        many_name_set(error, op->many->base + (size_t)op->many->next);
        compat_raise(error);
    }
    return -1;
}

static int
many_put_next_set(struct connection *conn, struct operation *op, struct codec_ctx *ctx)
{
    PyObject *set = Py_NewRef(PySequence_Fast_GET_ITEM(op->params, op->many->next));
    PyObject *params = PyTuple_CheckExact(set) ? Py_NewRef(set) : many_tuple(conn, op, set);
    int status = params == NULL ? -1 : many_put_set(conn, op, ctx, params);
    Py_XDECREF(params);
    Py_DECREF(set);
    if (status < 0) {
        return many_refuse_set(op);
    }
    op->many->next += 1;
    return 0;
}

/* Encodes sets while there is room, until `deadline` (0: none): how many, or -1 with an
 * exception. The caller has set conn->encoding. */
static Py_ssize_t
many_put_sets(struct connection *conn, struct operation *op, uint64_t deadline)
{
    struct codec_ctx ctx = conn_codec_ctx(conn);
    size_t limit = wire_buffer_mark(&conn->out) + FLOW_OUT_HIGH;
    Py_ssize_t count = 0;
    while (wire_buffer_mark(&conn->out) < limit && !many_is_dry(op)) {
        if (deadline > 0 && count % MANY_CLOCK_SETS == MANY_CLOCK_SETS - 1
            && clock_ns() > deadline) {
            break;
        }
        if (many_put_next_set(conn, op, &ctx) < 0) {
            return -1;
        }
        count += 1;
        if (op->done || conn->closed) {
            break; /* by code that a codec ran */
        }
    }
    op->many->put += (size_t)count;
    return count;
}

static int
many_refuse_copy(struct connection *conn, const struct operation *op)
{
    if (op->stmt->params_count > 0 || op->stmt->returns_rows || !op->stmt->copies) {
        return 0;
    }
    PyErr_SetString(conn->st->not_supported_error,
                    "COPY cannot run through executemany(): it takes no parameters. Use "
                    "conn.copy_records_to_table() or conn.copy()");
    return -1;
}

Py_ssize_t
many_put_first(struct connection *conn, struct operation *op)
{
    if (many_refuse_copy(conn, op) < 0 || many_prepare(op) < 0) {
        return -1;
    }
    op->rowcount = 0;
    return many_put_sets(conn, op, 0);
}

/* The end */

/* A Parse that the server refuses, and the Sync. What it has run since the last Sync it then
 * rolls back; an open transaction can only be rolled back. */
static void
many_put_refused(struct connection *conn, struct operation *op)
{
    static const char text[] =
        "executemany() of pgasync was given up: nothing of it may be committed";
    wire_slice name = {(const uint8_t *)"", 0};
    wire_slice sql = {(const uint8_t *)text, sizeof(text) - 1};
    op->many->given_up = true;
    if (wire_session_reserve(&conn->session, 1) != WIRE_OK) {
        conn_fail(conn, WIRE_ERR_MEMORY, "no memory to end an executemany()", 0);
        return;
    }
    wire_put_parse(&conn->out, name, sql, NULL, 0);
    wire_session_insert(&conn->session, WIRE_STEP_PARSE, 1);
}

static void
many_end(struct connection *conn, struct operation *op)
{
    bool whole = !op->abandoned && op->error == NULL;
    if (!whole && !op->failed) {
        many_put_refused(conn, op);
    }
    if (conn->closed) {
        return;
    }
    wire_put_sync(&conn->out);
    wire_session_close(&conn->session);
    op->phase = OP_EXECUTING;
    if (conn->out.failed != WIRE_OK) {
        conn_fail(conn, WIRE_ERR_MEMORY, "no memory to end an executemany()", 0);
    }
}

/* The current exception ends the operation, of which sets have been sent. */
static void
many_set_error(struct operation *op)
{
    PyObject *error = errors_take();
    if (error != NULL
        && (PyErr_GivenExceptionMatches(error, op->st->data_error)
            || PyErr_GivenExceptionMatches(error, op->st->programming_error))) {
        errors_set_outcome(error, OUTCOME_FAILED);
    }
    op_set_error(op, error);
}

/* The next slice. */
static void
many_put_slice(struct connection *conn, struct operation *op)
{
    size_t mark = wire_buffer_mark(&conn->out);
    conn->encoding = op;
    Py_ssize_t count = many_put_sets(conn, op, clock_ns() + MANY_SLICE_NS);
    conn->encoding = NULL;
    if (conn->closed) {
        PyErr_Clear();
        return;
    }
    if (count > 0 && wire_session_reserve(&conn->session, (size_t)count) != WIRE_OK) {
        PyErr_NoMemory();
        count = -1;
    }
    if (count < 0 || op->abandoned || op->failed) {
        wire_buffer_rollback(&conn->out, mark);
    }
    else {
        wire_session_insert(&conn->session, WIRE_STEP_SET, (size_t)count);
    }
    if (count < 0) {
        many_set_error(op);
    }
    if (op->error != NULL || op->abandoned || op->failed || many_is_all(op)) {
        many_end(conn, op);
    }
}

void
many_go_on(struct connection *conn)
{
    struct operation *op = many_open_borrow(conn);
    if (op == NULL || conn->encoding != NULL || conn->closed || conn->write_error != 0) {
        return;
    }
    Py_INCREF(op);
    if (op->error != NULL || op->abandoned || op->failed) {
        many_end(conn, op);
    }
    else {
        many_put_slice(conn, op);
    }
    conn_flush(conn);
    Py_DECREF(op);
}

/* What the server says */

void
many_completed(struct operation *op, int64_t count, size_t times)
{
    struct many *many = op->many;
    Py_ssize_t rows = many->returning && op->rows != NULL ? PyList_GET_SIZE(op->rows) : 0;
    Py_ssize_t new_rows = rows - many->rows;
    many->rows = rows;
    many->done += times;
    op->rowcount = op->rowcount < 0 || count < 0 ? -1 : op->rowcount + count * (int64_t)times;
    struct many_run *last = many->runs_count == 0 ? NULL : &many->runs[many->runs_count - 1];
    if (last != NULL && last->count == count && last->rows == new_rows) {
        last->times += times;
        return;
    }
    if (many->runs_count == many->runs_cap) {
        size_t cap = many->runs_cap == 0 ? 4 : 2 * many->runs_cap;
        struct many_run *runs = PyMem_Resize(many->runs, struct many_run, cap);
        if (runs == NULL) {
            PyErr_NoMemory();
            op_set_error(op, errors_take());
            return;
        }
        many->runs = runs;
        many->runs_cap = cap;
    }
    many->runs[many->runs_count++] = (struct many_run){count, new_rows, times};
}

void
many_refused(struct connection *conn, struct operation *op, bool rider)
{
    struct many *many = op->many;
    bool of_a_set = op->phase >= OP_FILLING && !rider && !many->given_up && many->done < many->put;
    if (of_a_set && op->error != NULL && !op->abandoned) {
        many_name_set(op->error, many->done);
    }
    if (op->phase == OP_FILLING) {
        many_go_on(conn);
    }
}

void
many_reset(struct operation *op)
{
    struct many *many = op->many;
    many->next = 0;
    many->base = 0;
    many->put = 0;
    many->done = 0;
    many->rows = 0;
    many->runs_count = 0;
    if (many->kept != NULL) {
        many->replay = 1;
        Py_XSETREF(op->params, Py_NewRef(PyList_GET_ITEM(many->kept, 0)));
    }
}

PyObject *
many_runs(const struct operation *op)
{
    size_t count = op->many == NULL ? 0 : op->many->runs_count;
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; list != NULL && i < count; i++) {
        const struct many_run *run = &op->many->runs[i];
        PyObject *item =
            Py_BuildValue("(Lnn)", (long long)run->count, run->rows, (Py_ssize_t)run->times);
        if (item == NULL) {
            Py_CLEAR(list);
            break;
        }
        PyList_SET_ITEM(list, (Py_ssize_t)i, item);
    }
    return list;
}

void
many_free(struct operation *op)
{
    struct many *many = op->many;
    op->many = NULL;
    Py_CLEAR(many->text);
    Py_CLEAR(many->names);
    Py_CLEAR(many->kept);
    Py_CLEAR(many->feeder);
    Py_CLEAR(many->task);
    wire_buffer_clear(&many->head, false);
    wire_buffer_clear(&many->tail, false);
    PyMem_Free(many->runs);
    PyMem_Free(many);
}
