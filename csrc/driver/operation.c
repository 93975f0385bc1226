#include "operation.h"

#include "connection.h"
#include "copy.h"
#include "errors.h"
#include "flow.h"
#include "many.h"

struct operation *
op_new(struct core_state *st, PyObject *loop, enum op_kind kind, enum op_mode mode, PyObject *sql)
{
    struct operation *op = PyObject_GC_New(struct operation, st->operation_type);
    if (op == NULL) {
        return NULL;
    }
    memset((char *)op + sizeof(PyObject), 0, offsetof(struct operation, tag) - sizeof(PyObject));
    size_t rest = offsetof(struct operation, sql);
    memset((char *)op + rest, 0, sizeof(*op) - rest);
    op->st = st;
    op->loop = Py_NewRef(loop);
    op->kind = kind;
    op->mode = mode;
    op->rowcount = -1;
    op->sql = Py_XNewRef(sql);
    st->live += 1;
    PyObject_GC_Track(op);
    return op;
}

static int
Operation_traverse(struct operation *op, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(op->conn);
    Py_VISIT(op->loop);
    Py_VISIT(op->stmt);
    Py_VISIT(op->params);
    if (op->many != NULL) {
        Py_VISIT(op->many->kept);
        Py_VISIT((PyObject *)op->many->feeder);
        Py_VISIT(op->many->task);
    }
    Py_VISIT(op->rows);
    Py_VISIT(op->postponed);
    Py_VISIT(op->row_factory);
    Py_VISIT(op->maker);
    Py_VISIT(op->error);
    if (op->flow != NULL) {
        Py_VISIT(op->flow->peer);
    }
    Py_VISIT(op->cancel_message);
    Py_VISIT(op->callback);
    Py_VISIT(op->context);
    return op->copy == NULL ? 0 : copy_traverse(op->copy, visit, arg);
}

static int
Operation_clear(struct operation *op)
{
    if (op->flow != NULL) {
        flow_drop(op);
    }
    Py_CLEAR(op->conn);
    Py_CLEAR(op->loop);
    Py_CLEAR(op->sql);
    Py_CLEAR(op->stmt);
    Py_CLEAR(op->params);
    if (op->many != NULL) {
        many_free(op);
    }
    Py_CLEAR(op->portal);
    Py_CLEAR(op->hints);
    Py_CLEAR(op->began);
    Py_CLEAR(op->rows);
    Py_CLEAR(op->postponed);
    Py_CLEAR(op->missing);
    Py_CLEAR(op->row_factory);
    Py_CLEAR(op->maker);
    Py_CLEAR(op->error);
    Py_CLEAR(op->cancel_message);
    Py_CLEAR(op->callback);
    Py_CLEAR(op->context);
    if (op->copy != NULL) {
        struct copy *copy = op->copy;
        op->copy = NULL;
        copy_free(copy);
    }
    return 0;
}

static void
Operation_dealloc(struct operation *op)
{
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    Operation_clear(op);
    op->st->live -= 1;
    PyObject_GC_Del(op);
    Py_DECREF(type);
}

/* A StopIteration out of an await would be its result: it goes under the cover that
 * generators give it (PEP 479). Steals `error`. */
static PyObject *
op_cover_stop(PyObject *error)
{
    if (error == NULL || !PyErr_GivenExceptionMatches(error, PyExc_StopIteration)) {
        return error;
    }
    PyErr_SetString(PyExc_RuntimeError,
                    "a function that was called for a row raised StopIteration");
    PyObject *cover = errors_take();
    if (cover == NULL) {
        return error;
    }
    PyException_SetCause(cover, error); /* steals */
    return cover;
}

void
op_set_error(struct operation *op, PyObject *error)
{
    if (error == NULL) {
        error = errors_take();
    }
    if (op->error == NULL) {
        op->error = op_cover_stop(error);
    }
    else {
        Py_XDECREF(error);
    }
    if (op->flow == NULL) {
        Py_CLEAR(op->rows);
    }
}

void
op_set_tag(struct operation *op, wire_slice tag, size_t times)
{
    op->tag_len = tag.len < OP_TAG_MAX ? tag.len : OP_TAG_MAX;
    memcpy(op->tag, tag.ptr, op->tag_len);
    int64_t rows = wire_tag_rows(tag);
    if (op->many != NULL) {
        many_completed(op, rows, times);
    }
    else {
        op->rowcount = rows;
    }
}

/* Waiting */

static PyObject *
op_result(struct operation *op)
{
    switch (op->mode) {
    case OP_ROWS:
        return op->rows != NULL ? Py_NewRef(op->rows) : PyList_New(0);
    case OP_ROW:
    case OP_VALUE:
        return Py_NewRef(op->rows != NULL ? op->rows : Py_None);
    case OP_NONE:
        Py_RETURN_NONE;
    case OP_RESULT:
        break;
    }
    return Py_NewRef(op->kind == OP_PREPARE && op->stmt != NULL ? (PyObject *)op->stmt
                                                                : (PyObject *)op);
}

static void
op_raise(struct operation *op)
{
    if (op->cancelled) {
        PyErr_SetObject(op->st->cancelled_error, op->cancel_message);
    }
    else {
        /* The traceback grows with each raise: start from a clean one, unless it
         * leads into a function of the program. */
        if (!op->own_traceback) {
            PyException_SetTraceback(op->error, Py_None);
        }
        op->own_traceback = false;
        PyErr_SetObject((PyObject *)Py_TYPE(op->error), op->error);
    }
}

/* One step of the await: PYGEN_NEXT (parked, *result is the operation itself),
 * PYGEN_RETURN or PYGEN_ERROR. */
static PySendResult
op_step(struct operation *op, PyObject **result)
{
    if (!op->done) {
        if (op->blocking || op->callback != NULL) {
            PyErr_SetString(PyExc_RuntimeError, "an Operation is awaited by one task at a time");
            *result = NULL;
            return PYGEN_ERROR;
        }
        op->blocking = 1;
        *result = Py_NewRef((PyObject *)op);
        return PYGEN_NEXT;
    }
    if (op->error != NULL || op->cancelled) {
        op_raise(op);
        *result = NULL;
        return PYGEN_ERROR;
    }
    *result = op_result(op);
    return *result == NULL ? PYGEN_ERROR : PYGEN_RETURN;
}

static PySendResult
Operation_am_send(struct operation *op, PyObject *value, PyObject **result)
{
    (void)value;
    return op_step(op, result);
}

/* PyErr_SetObject would unpack a tuple, so StopIteration is built by hand. */
static void
op_set_stop_iteration(PyObject *value)
{
    PyObject *stop = PyObject_CallOneArg(PyExc_StopIteration, value);
    if (stop != NULL) {
        PyErr_SetObject(PyExc_StopIteration, stop);
        Py_DECREF(stop);
    }
}

static PyObject *
Operation_iternext(struct operation *op)
{
    PyObject *result;
    switch (op_step(op, &result)) {
    case PYGEN_NEXT:
        return result;
    case PYGEN_RETURN:
        op_set_stop_iteration(result);
        Py_DECREF(result);
        return NULL;
    case PYGEN_ERROR:
        break;
    }
    return NULL;
}

static PyObject *
Operation_await(struct operation *op)
{
    return Py_NewRef((PyObject *)op);
}

static PyObject *
Operation_send(struct operation *op, PyObject *value)
{
    (void)value;
    return Operation_iternext(op);
}

static PyObject *
Operation_throw(struct operation *op, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs < 1 || nargs > 3) {
        return errors_set(PyExc_TypeError, "throw() takes 1 to 3 arguments, not %zd", nargs);
    }
    conn_abandon(op, NULL);
    PyObject *type = args[0];
    PyObject *value = nargs > 1 && args[1] != Py_None ? args[1] : NULL;
    if (PyExceptionInstance_Check(type)) {
        PyErr_SetObject((PyObject *)Py_TYPE(type), type);
    }
    else if (PyExceptionClass_Check(type)) {
        PyErr_SetObject(type, value);
    }
    else {
        PyErr_SetString(PyExc_TypeError, "throw() takes an exception");
    }
    return NULL;
}

static PyObject *
Operation_close(struct operation *op, PyObject *unused)
{
    (void)unused;
    conn_abandon(op, NULL);
    Py_RETURN_NONE;
}

/* Waking */

int
op_wake(struct operation *op)
{
    PyObject *callback = op->callback;
    PyObject *context = op->context;
    op->callback = NULL;
    op->context = NULL;
    if (callback == NULL) {
        return 0;
    }
    int status = 0;
    if (PyContext_Enter(context) < 0) {
        /* Somebody is inside that context already: let the loop do it. */
        PyErr_Clear();
        op->callback = callback;
        op->context = context;
        op_wake_soon(op);
        return 0;
    }
    PyObject *result = PyObject_CallOneArg(callback, (PyObject *)op);
    if (result == NULL) {
        if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)
            || PyErr_ExceptionMatches(PyExc_SystemExit)) {
            status = -1;
        }
        else {
            PyErr_WriteUnraisable(callback);
        }
    }
    Py_XDECREF(result);
    PyObject *raised = status < 0 ? compat_take_exception() : NULL;
    if (PyContext_Exit(context) < 0) {
        PyErr_WriteUnraisable(callback);
    }
    if (raised != NULL) {
        compat_raise(raised);
    }
    Py_DECREF(callback);
    Py_DECREF(context);
    return status;
}

static int
op_call_soon(struct operation *op, PyObject *callback, PyObject *context)
{
    PyObject *method = PyObject_GetAttr(op->loop, op->st->name_call_soon);
    PyObject *args[3] = {callback, (PyObject *)op, context};
    PyObject *handle =
        method == NULL ? NULL : PyObject_Vectorcall(method, args, 2, op->st->context_kwnames);
    Py_XDECREF(handle);
    Py_XDECREF(method);
    return handle == NULL ? -1 : 0;
}

void
op_wake_soon(struct operation *op)
{
    PyObject *callback = op->callback;
    PyObject *context = op->context;
    op->callback = NULL;
    op->context = NULL;
    if (callback == NULL) {
        return;
    }
    PyObject *saved = compat_take_exception();
    if (op_call_soon(op, callback, context) < 0 && PyErr_ExceptionMatches(PyExc_MemoryError)) {
        PyErr_Clear();
        (void)op_call_soon(op, callback, context); /* nobody else would wake the task */
    }
    PyErr_Clear(); /* the loop is closed: its tasks are gone with it */
    Py_DECREF(callback);
    Py_DECREF(context);
    if (saved != NULL) {
        compat_raise(saved);
    }
}

/* What asyncio.Task expects of a future */

static PyObject *
Operation_add_done_callback(struct operation *op, PyObject *const *args, Py_ssize_t nargs,
                            PyObject *kwnames)
{
    Py_ssize_t keywords = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    if (nargs != 1 || keywords > 1
        || (keywords == 1
            && PyUnicode_Compare(PyTuple_GET_ITEM(kwnames, 0), op->st->name_context) != 0)) {
        return errors_set(PyExc_TypeError, "add_done_callback(callback, *, context=None)");
    }
    if (op->callback != NULL) {
        return errors_set(PyExc_RuntimeError, "an Operation is awaited by one task at a time");
    }
    PyObject *context =
        keywords == 1 && args[1] != Py_None ? Py_NewRef(args[1]) : PyContext_CopyCurrent();
    if (context == NULL) {
        return NULL;
    }
    op->callback = Py_NewRef(args[0]);
    op->context = context;
    if (op->done) {
        op_wake_soon(op);
    }
    Py_RETURN_NONE;
}

static PyObject *
Operation_remove_done_callback(struct operation *op, PyObject *callback)
{
    int same = op->callback == NULL ? 0 : PyObject_RichCompareBool(op->callback, callback, Py_EQ);
    if (same < 0) {
        return NULL;
    }
    if (same) {
        Py_CLEAR(op->callback);
        Py_CLEAR(op->context);
    }
    return PyLong_FromLong(same);
}

static PyObject *
Operation_get_loop(struct operation *op, PyObject *unused)
{
    (void)unused;
    return Py_NewRef(op->loop);
}

static PyObject *
Operation_result(struct operation *op, PyObject *unused)
{
    (void)unused;
    if (!op->done) {
        return errors_set(PyExc_RuntimeError, "the Operation is not done");
    }
    if (op->error != NULL || op->cancelled) {
        op_raise(op);
        return NULL;
    }
    return op_result(op);
}

static PyObject *
Operation_exception(struct operation *op, PyObject *unused)
{
    (void)unused;
    if (op->cancelled) {
        op_raise(op);
        return NULL;
    }
    return Py_NewRef(op->error != NULL ? op->error : Py_None);
}

static PyObject *
Operation_done(struct operation *op, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(op->done);
}

static PyObject *
Operation_cancelled(struct operation *op, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(op->cancelled);
}

static PyObject *
Operation_cancel(struct operation *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    if (nargs + (kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames)) > 1) {
        return errors_set(PyExc_TypeError, "cancel(msg=None)");
    }
    if (op->done) {
        Py_RETURN_FALSE;
    }
    PyObject *message = nargs == 1 || kwnames != NULL ? args[0] : Py_None;
    if (message != Py_None) {
        op->cancel_message = Py_NewRef(message);
    }
    conn_abandon(op, NULL);
    Py_RETURN_TRUE;
}

static PyObject *
Operation_expire(struct operation *op, PyObject *error)
{
    if (!PyExceptionInstance_Check(error)) {
        return errors_set(PyExc_TypeError, "expire() takes an exception");
    }
    if (op->done) {
        Py_RETURN_FALSE;
    }
    conn_abandon(op, error);
    Py_RETURN_TRUE;
}

/* The result's attributes */

static PyObject *
Operation_get_rows(struct operation *op, void *closure)
{
    (void)closure;
    return Py_NewRef(op->rows != NULL ? op->rows : Py_None);
}

static PyObject *
Operation_get_statement(struct operation *op, void *closure)
{
    (void)closure;
    return Py_NewRef(op->stmt != NULL ? (PyObject *)op->stmt : Py_None);
}

static PyObject *
Operation_get_description(struct operation *op, void *closure)
{
    (void)closure;
    if (op->stmt == NULL || (op->many != NULL && !op->many->returning)) {
        Py_RETURN_NONE;
    }
    return stmt_description(op->stmt);
}

static PyObject *
Operation_get_rowcount(struct operation *op, void *closure)
{
    (void)closure;
    return PyLong_FromLongLong(op->rowcount);
}

static PyObject *
Operation_get_runs(struct operation *op, void *closure)
{
    (void)closure;
    return many_runs(op);
}

static PyObject *
Operation_get_statusmessage(struct operation *op, void *closure)
{
    (void)closure;
    if (op->tag_len == 0) {
        Py_RETURN_NONE;
    }
    return PyUnicode_DecodeUTF8(op->tag, (Py_ssize_t)op->tag_len, "replace");
}

static PyObject *
Operation_get_sent(struct operation *op, void *closure)
{
    (void)closure;
    return PyBool_FromLong(op->phase != OP_DEFERRED);
}

static PyObject *
Operation_get_suspended(struct operation *op, void *closure)
{
    (void)closure;
    return PyBool_FromLong(op->suspended);
}

static PyObject *
Operation_get_copying(struct operation *op, void *closure)
{
    (void)closure;
    return copy_describe(op);
}

static PyObject *
Operation_get_received(struct operation *op, void *closure)
{
    (void)closure;
    return PyLong_FromSize_t(op->flow == NULL ? 0 : op->flow->bytes);
}

static PyObject *
Operation_get_pulled(struct operation *op, void *closure)
{
    (void)closure;
    return PyBool_FromLong(flow_is_pulled(op));
}

static PyMethodDef Operation_methods[] = {
    {"send", (PyCFunction)Operation_send, METH_O, NULL},
    {"throw", (PyCFunction)(void (*)(void))Operation_throw, METH_FASTCALL, NULL},
    {"close", (PyCFunction)Operation_close, METH_NOARGS, NULL},
    {"add_done_callback", (PyCFunction)(void (*)(void))Operation_add_done_callback,
     METH_FASTCALL | METH_KEYWORDS, NULL},
    {"remove_done_callback", (PyCFunction)Operation_remove_done_callback, METH_O, NULL},
    {"get_loop", (PyCFunction)Operation_get_loop, METH_NOARGS, NULL},
    {"result", (PyCFunction)Operation_result, METH_NOARGS, NULL},
    {"exception", (PyCFunction)Operation_exception, METH_NOARGS, NULL},
    {"done", (PyCFunction)Operation_done, METH_NOARGS, NULL},
    {"cancelled", (PyCFunction)Operation_cancelled, METH_NOARGS, NULL},
    {"cancel", (PyCFunction)(void (*)(void))Operation_cancel, METH_FASTCALL | METH_KEYWORDS, NULL},
    {"expire", (PyCFunction)Operation_expire, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef Operation_members[] = {
    {"_asyncio_future_blocking", T_BOOL, offsetof(struct operation, blocking), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef Operation_getset[] = {
    {"rows", (getter)Operation_get_rows, NULL, NULL, NULL},
    {"statement", (getter)Operation_get_statement, NULL, NULL, NULL},
    {"description", (getter)Operation_get_description, NULL, NULL, NULL},
    {"rowcount", (getter)Operation_get_rowcount, NULL, NULL, NULL},
    {"runs", (getter)Operation_get_runs, NULL, NULL, NULL},
    {"statusmessage", (getter)Operation_get_statusmessage, NULL, NULL, NULL},
    {"sent", (getter)Operation_get_sent, NULL, NULL, NULL},
    {"suspended", (getter)Operation_get_suspended, NULL, NULL, NULL},
    {"copying", (getter)Operation_get_copying, NULL, NULL, NULL},
    {"received", (getter)Operation_get_received, NULL, NULL, NULL},
    {"pulled", (getter)Operation_get_pulled, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot Operation_slots[] = {
    {Py_tp_dealloc, Operation_dealloc},
    {Py_tp_traverse, Operation_traverse},
    {Py_tp_clear, Operation_clear},
    {Py_am_await, Operation_await},
    {Py_am_send, Operation_am_send},
    {Py_tp_iter, Operation_await},
    {Py_tp_iternext, Operation_iternext},
    {Py_tp_methods, Operation_methods},
    {Py_tp_members, Operation_members},
    {Py_tp_getset, Operation_getset},
    {Py_tp_doc, "A request: awaited once, then its result."},
    {0, NULL},
};

static PyType_Spec Operation_spec = {
    .name = "pgasync._core.Operation",
    .basicsize = sizeof(struct operation),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE
             | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = Operation_slots,
};

int
op_type_init(struct core_state *st, PyObject *module)
{
    st->operation_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &Operation_spec, NULL);
    return st->operation_type == NULL ? -1 : PyModule_AddType(module, st->operation_type);
}
