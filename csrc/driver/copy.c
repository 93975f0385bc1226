/* COPY: its states, and the data of a COPY … FROM STDIN. */
#include "copy.h"

#include "copyrows.h"
#include "errors.h"
#include "flow.h"

/* Bytes in a CopyData, and those that wait until there is one. */
#define COPY_MESSAGE_BYTES (64 * 1024)

#define REASON_CANCELLED "the client gave the COPY up"

static wire_slice
slice_of(const char *text)
{
    wire_slice slice = {(const uint8_t *)text, strlen(text)};
    return slice;
}

/* Memory */

static struct copy *
copy_new(void)
{
    struct copy *copy = PyMem_Calloc(1, sizeof(*copy));
    if (copy == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    wire_buffer_init(&copy->data);
    return copy;
}

int
copy_traverse(const struct copy *copy, visitproc visit, void *arg)
{
    Py_VISIT(copy->starter);
    Py_VISIT(copy->task);
    return 0;
}

void
copy_free(struct copy *copy)
{
    Py_CLEAR(copy->starter);
    Py_CLEAR(copy->task);
    Py_CLEAR(copy->piece);
    wire_buffer_clear(&copy->data, false);
    PyMem_Free(copy);
}

/* States */

/* Who waits for the beginning goes on; with what the COPY failed with, if it did. */
static void
copy_let_go(struct connection *conn, struct operation *op)
{
    struct operation *starter = op->copy->starter;
    if (starter == NULL) {
        return;
    }
    op->copy->starter = NULL;
    if (!starter->done) {
        starter->cancelled = op->cancelled;
        starter->error = Py_XNewRef(op->error);
    }
    conn_finish(conn, starter);
}

/* A COPY that nobody asked for: an execute(), a script, a second one in a text. */
static void
copy_refuse(struct connection *conn, struct operation *op, bool in)
{
    if (op->copy != NULL) {
        op->copy->state = COPY_ENDED;
    }
    if (!op->abandoned && op->error == NULL) {
        PyErr_SetString(conn->st->not_supported_error,
                        op->kind == OP_COPY ? "one COPY at a time: the text holds several"
                        : in ? "COPY … FROM STDIN cannot run through execute(), which has no "
                               "data for it: use copy_to_table(), copy_records_to_table() or copy()"
                             : "COPY … TO STDOUT cannot run through execute(), since its data are "
                               "not rows: use copy_from_query(), copy_from_table() or copy()");
        op_set_error(op, errors_take());
    }
    if (in) {
        wire_put_copy_fail(&conn->out, slice_of("the client has no data for this COPY"));
        if (op->kind != OP_QUERY && op->kind != OP_COPY) {
            /* The server ignores a Sync that comes while it waits for data. */
            wire_put_sync(&conn->out);
        }
        conn_flush(conn);
    }
}

void
copy_on_answer(struct connection *conn, struct operation *op, const struct wire_event *event)
{
    bool in = event->kind == WIRE_EV_COPY_IN;
    if (op->kind != OP_COPY || op->copy->answered) {
        copy_refuse(conn, op, in);
        return;
    }
    struct copy *copy = op->copy;
    copy->answered = true;
    copy->in = in;
    copy->format = event->u.copy.format;
    copy->columns = event->u.copy.columns;
    op->tag_len = 0; /* BEGIN's */
    if (op->done) { /* given up: conn_abandon could not fail it yet */
        copy->state = COPY_ENDED;
        if (in) {
            wire_put_copy_fail(&conn->out, slice_of(REASON_CANCELLED));
            conn_flush(conn);
        }
        return;
    }
    copy->state = in ? COPY_IN : COPY_OUT;
    if (!in && flow_open(op, true) < 0) {
        op_set_error(op, errors_take());
    }
    copy_let_go(conn, op);
}

void
copy_on_done(struct operation *op)
{
    if (op->copy != NULL) {
        op->copy->state = COPY_ENDED;
    }
}

void
copy_on_abandon(struct connection *conn, struct operation *op)
{
    struct copy *copy = op->copy;
    copy_let_go(conn, op);
    if (copy->state == COPY_IN && !conn->closed) {
        /* What the server waits for is data: a CancelRequest alone would not wake it. */
        wire_put_copy_fail(&conn->out, slice_of(REASON_CANCELLED));
        conn_flush(conn);
    }
    copy->state = COPY_ENDED;
    Py_CLEAR(copy->piece);
    wire_buffer_clear(&copy->data, false);
}

/* The first in a queue that would wait for its program; NULL: none. */
static struct operation *
copy_find_waiting(const struct op_queue *queue)
{
    struct operation *op = queue->head;
    while (op != NULL && (op->done || (op->copy == NULL && op->flow == NULL))) {
        op = op->next;
    }
    return op;
}

void
copy_starve(struct connection *conn, PyObject *error)
{
    const struct op_queue *const queues[] = {&conn->sent, &conn->deferred, &conn->outsiders};
    for (size_t i = 0; i < sizeof(queues) / sizeof(queues[0]); i++) {
        struct operation *op;
        while ((op = copy_find_waiting(queues[i])) != NULL) {
            Py_INCREF(op);
            conn_abandon(op, error);
            Py_DECREF(op);
        }
    }
}

void
copy_on_finish(struct connection *conn, struct operation *op)
{
    struct copy *copy = op->copy;
    if (!op->done && op->error == NULL && !copy->answered) {
        PyObject *tag = PyUnicode_DecodeUTF8(op->tag, (Py_ssize_t)op->tag_len, "replace");
        PyErr_Format(conn->st->programming_error,
                     "no COPY has come of this statement, which has run (%V): copy() is for COPY "
                     "FROM STDIN and COPY TO STDOUT, everything else for execute()",
                     tag, "");
        Py_XDECREF(tag);
        op_set_error(op, errors_take());
    }
    else if (!op->done && op->error == NULL && copy->state == COPY_IN && !conn->closed) {
        PyObject *error = errors_violation(
            conn->st, "the server has ended a COPY FROM STDIN before all of its data had come",
            OUTCOME_IN_DOUBT, op->sql);
        op_set_error(op, error != NULL ? error : errors_take());
    }
    copy->state = COPY_ENDED;
    copy_let_go(conn, op);
}

bool
copy_is_unfinished(const struct operation *op)
{
    return op->copy != NULL && (op->copy->state == COPY_ASKED || op->copy->state == COPY_IN);
}

int
copy_check_task(struct connection *conn)
{
    const struct operation *op = conn->sent.tail;
    if (op == NULL || op->copy == NULL || op->copy->task == NULL || op->done
        || op->copy->state == COPY_ENDED) {
        return 0;
    }
    PyObject *task = PyObject_CallNoArgs(conn->st->current_task);
    bool same = task == op->copy->task;
    Py_XDECREF(task);
    if (task != NULL && !same) {
        return 0;
    }
    if (task != NULL) {
        PyErr_SetString(conn->st->interface_error,
                        "a COPY is open on this connection, and this task would wait for ever: "
                        "end the COPY first (leave its block), or use another connection");
    }
    return -1;
}

void
copy_shift_position(size_t prefix, PyObject *fields)
{
    PyObject *text = PyDict_GetItemString(fields, "P");
    PyObject *number = text == NULL ? NULL : PyLong_FromUnicodeObject(text, 10);
    size_t position = number == NULL ? 0 : PyLong_AsSize_t(number);
    Py_XDECREF(number);
    if (!PyErr_Occurred() && position > prefix) {
        PyObject *shifted = PyUnicode_FromFormat("%zu", position - prefix);
        if (shifted != NULL) {
            (void)PyDict_SetItemString(fields, "P", shifted);
        }
        Py_XDECREF(shifted);
    }
    PyErr_Clear(); /* the position is a help, not more */
}

PyObject *
copy_describe(const struct operation *op)
{
    const struct copy *copy = op->copy;
    if (copy == NULL || !copy->answered) {
        Py_RETURN_NONE;
    }
    return Py_BuildValue("(sin)", copy->in ? "in" : "out", (int)copy->format,
                         (Py_ssize_t)copy->columns);
}

/* Data */

static void
copy_put_message(struct connection *conn, const uint8_t *bytes, size_t len)
{
    wire_slice slice = {bytes, len};
    wire_put_copy_data(&conn->out, slice);
}

static void
copy_put_pending(struct connection *conn, struct copy *copy)
{
    wire_slice pending = wire_buffer_unread(&copy->data);
    if (pending.len > 0) {
        copy_put_message(conn, pending.ptr, pending.len);
        wire_buffer_consume(&copy->data, pending.len);
    }
}

/* Small pieces are gathered, so that a message is worth its while. */
static void
copy_put(struct connection *conn, struct copy *copy, const uint8_t *bytes, size_t len)
{
    if (wire_buffer_size(&copy->data) + len < COPY_MESSAGE_BYTES) {
        wire_buffer_put(&copy->data, bytes, len);
        return;
    }
    copy_put_pending(conn, copy);
    while (len > 0) {
        size_t part = len < COPY_MESSAGE_BYTES ? len : COPY_MESSAGE_BYTES;
        copy_put_message(conn, bytes, part);
        bytes += part;
        len -= part;
    }
    conn_flush(conn);
}

/* The COPY that may take data now; NULL with an exception: its own error if it has one. */
static struct operation *
copy_of(struct connection *conn, PyObject *object)
{
    struct operation *op = (struct operation *)object;
    if (!Py_IS_TYPE(object, conn->st->operation_type) || op->copy == NULL) {
        PyErr_SetString(PyExc_TypeError, "not the Operation of a copy()");
        return NULL;
    }
    if (op->error != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(op->error), op->error);
        return NULL;
    }
    if (conn_enter(conn) < 0) {
        return NULL;
    }
    if (op->copy->state != COPY_IN || (struct connection *)op->conn != conn) {
        PyErr_SetString(conn->st->interface_error,
                        op->copy->answered && !op->copy->in
                            ? "a COPY … TO STDOUT gives data, and takes none"
                            : "the COPY takes no data: it has ended, or not begun");
        return NULL;
    }
    return op;
}

/* True when the producer may go on at once; NULL with an exception. */
static PyObject *
copy_may_go_on(struct connection *conn, struct copy *copy)
{
    if (codec_buffer_failed(&copy->data) || codec_buffer_failed(&conn->out)) {
        conn_fail(conn, WIRE_ERR_MEMORY, "out of memory for the data of a COPY", 0);
        return NULL;
    }
    return PyBool_FromLong(wire_buffer_size(&conn->out) <= FLOW_OUT_HIGH);
}

PyObject *
Connection_copy_write(struct connection *conn, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 2) {
        return errors_set(PyExc_TypeError, "copy_write(operation, data)");
    }
    struct operation *op = copy_of(conn, args[0]);
    if (op == NULL) {
        return NULL;
    }
    struct wire_buffer *rows = copy_rows_data_borrow(conn->st, args[1]);
    if (rows != NULL) {
        wire_slice bytes = wire_buffer_unread(rows);
        copy_put(conn, op->copy, bytes.ptr, bytes.len);
        wire_buffer_consume(rows, bytes.len);
        return copy_may_go_on(conn, op->copy);
    }
    Py_buffer view;
    if (PyObject_GetBuffer(args[1], &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    copy_put(conn, op->copy, view.buf, (size_t)view.len);
    PyBuffer_Release(&view);
    return copy_may_go_on(conn, op->copy);
}

PyObject *
Connection_copy_done(struct connection *conn, PyObject *operation)
{
    struct operation *op = copy_of(conn, operation);
    if (op == NULL) {
        return NULL;
    }
    copy_put_pending(conn, op->copy);
    wire_put_copy_done(&conn->out);
    op->copy->state = COPY_ENDED;
    PyObject *going = copy_may_go_on(conn, op->copy);
    if (going != NULL) {
        conn_flush(conn);
    }
    return going;
}

PyObject *
Connection_copy_fail(struct connection *conn, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 2 || !PyUnicode_Check(args[1])) {
        return errors_set(PyExc_TypeError, "copy_fail(operation, reason)");
    }
    struct operation *op = copy_of(conn, args[0]);
    if (op == NULL) {
        return NULL;
    }
    PyObject *reason = PyUnicode_AsEncodedString(args[1], "utf-8", "backslashreplace");
    if (reason == NULL) {
        return NULL;
    }
    wire_slice text = slice_of(PyBytes_AS_STRING(reason)); /* up to a NUL */
    wire_buffer_clear(&op->copy->data, false);
    wire_put_copy_fail(&conn->out, text);
    Py_DECREF(reason);
    op->copy->state = COPY_ENDED;
    PyObject *going = copy_may_go_on(conn, op->copy);
    if (going != NULL) {
        conn_flush(conn);
    }
    return going;
}

/* Beginning */

PyObject *
Connection_copy(struct connection *conn, PyObject *sql)
{
    if (conn_enter(conn) < 0) {
        return NULL;
    }
    if (!PyUnicode_Check(sql)) {
        return errors_set(conn->st->programming_error, "the SQL text must be a str, not %R (%s)",
                          sql, Py_TYPE(sql)->tp_name);
    }
    struct operation *op = op_new(conn->st, conn->loop, OP_COPY, OP_RESULT, sql);
    if (op == NULL) {
        return NULL;
    }
    op->copy = copy_new();
    if (op->copy != NULL) {
        op->copy->task = PyObject_CallNoArgs(conn->st->current_task);
    }
    if (op->copy == NULL || op->copy->task == NULL || conn_submit(conn, op) < 0) {
        Py_DECREF(op);
        return NULL;
    }
    if (op->copy->task == Py_None) {
        Py_CLEAR(op->copy->task);
    }
    return (PyObject *)op;
}

PyObject *
Connection_copy_started(struct connection *conn, PyObject *operation)
{
    struct operation *op = (struct operation *)operation;
    if (!Py_IS_TYPE(operation, conn->st->operation_type) || op->copy == NULL
        || op->copy->starter != NULL) {
        return errors_set(PyExc_TypeError, "copy_started(operation of a copy()), once");
    }
    struct operation *starter = op_new(conn->st, conn->loop, OP_COPY_START, OP_NONE, NULL);
    if (starter == NULL) {
        return NULL;
    }
    if (op->copy->state == COPY_ASKED && !op->done) {
        op->copy->starter = (struct operation *)Py_NewRef((PyObject *)starter);
        return (PyObject *)starter;
    }
    starter->done = true;
    starter->cancelled = op->cancelled;
    starter->error = Py_XNewRef(op->error);
    return (PyObject *)starter;
}
