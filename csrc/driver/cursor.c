/* The cursor: see the header. It keeps the list that the operation made; rows are
 * handed out as they are. */
#include "cursor.h"

#include "errors.h"

struct cursor {
    PyObject_HEAD
    struct connection *conn;
    PyObject *adapted;
    PyObject *wait;
    PyObject *current;     /* greenlet.getcurrent, or NULL: waiting always works */
    PyObject *rows;        /* list, or NULL */
    PyObject *description; /* or NULL: None */
    Py_ssize_t position;   /* of the next row */
    Py_ssize_t arraysize;
    long long rowcount;
};

PyObject *
Connection_cursor(struct connection *conn, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs < 3 || nargs > 4 || !PyType_Check(args[0])
        || !PyType_IsSubtype((PyTypeObject *)args[0], conn->st->cursor_type)) {
        return errors_set(PyExc_TypeError, "cursor(type, adapted, wait, current=None)");
    }
    PyTypeObject *type = (PyTypeObject *)args[0];
    struct cursor *cur = (struct cursor *)type->tp_alloc(type, 0);
    if (cur != NULL) {
        cur->conn = (struct connection *)Py_NewRef((PyObject *)conn);
        cur->adapted = Py_NewRef(args[1]);
        cur->wait = Py_NewRef(args[2]);
        cur->current = nargs == 4 && args[3] != Py_None ? Py_NewRef(args[3]) : NULL;
        cur->arraysize = 1;
        cur->rowcount = -1;
    }
    return (PyObject *)cur;
}

static int
Cursor_traverse(struct cursor *cur, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(cur));
    Py_VISIT(cur->conn);
    Py_VISIT(cur->adapted);
    Py_VISIT(cur->wait);
    Py_VISIT(cur->current);
    Py_VISIT(cur->rows);
    Py_VISIT(cur->description);
    return 0;
}

/* What can be part of a cycle. The connection stays: a method may be running. */
static int
Cursor_clear(struct cursor *cur)
{
    Py_CLEAR(cur->adapted);
    Py_CLEAR(cur->wait);
    Py_CLEAR(cur->current);
    Py_CLEAR(cur->rows);
    Py_CLEAR(cur->description);
    return 0;
}

static void
Cursor_dealloc(struct cursor *cur)
{
    PyTypeObject *type = Py_TYPE(cur);
    PyObject_GC_UnTrack(cur);
    Cursor_clear(cur);
    Py_CLEAR(cur->conn);
    type->tp_free(cur);
    Py_DECREF(type);
}

/* The operation's result becomes the cursor's. */
static int
cursor_take(struct cursor *cur, PyObject *result)
{
    if (!Py_IS_TYPE(result, cur->conn->st->operation_type)) {
        PyErr_SetString(PyExc_TypeError, "waiting gives the Operation");
        return -1;
    }
    struct operation *op = (struct operation *)result;
    PyObject *description = NULL;
    if (op->stmt != NULL && op->kind != OP_MANY) {
        description = stmt_description(op->stmt);
        if (description == NULL) {
            return -1;
        }
    }
    Py_XSETREF(cur->description, description);
    Py_XSETREF(cur->rows, Py_XNewRef(op->rows));
    cur->rowcount = op->rowcount;
    cur->position = 0;
    return 0;
}

/* Whether the current greenlet is one of SQLAlchemy's, in which `wait` works; -1 with an
 * exception. As its in_greenlet(), without two calls into Python. */
static int
cursor_may_wait(struct cursor *cur)
{
    if (cur->current == NULL) {
        return 1;
    }
    PyObject *greenlet = PyObject_CallNoArgs(cur->current);
    if (greenlet == NULL) {
        return -1;
    }
    PyObject *mark =
        PyObject_GetAttr(greenlet, cur->conn->st->name___sqlalchemy_greenlet_provider__);
    Py_DECREF(greenlet);
    if (mark == NULL) {
        PyErr_Clear();
        return 0;
    }
    int may_wait = PyObject_IsTrue(mark);
    Py_DECREF(mark);
    return may_wait;
}

static PyObject *
cursor_wait(struct cursor *cur, PyObject *request)
{
    PyObject *wait = Py_NewRef(cur->wait == NULL ? Py_None : cur->wait);
    PyObject *result = PyObject_CallOneArg(wait, request);
    Py_DECREF(wait);
    return result;
}

/* Runs a statement: the operation, done, or NULL with an exception. Nothing is sent where
 * waiting is an error. */
static PyObject *
cursor_run(struct cursor *cur, PyObject *sql, PyObject *params)
{
    int some = PyObject_IsTrue(params);
    if (some < 0) {
        return NULL;
    }
    int may_wait = cursor_may_wait(cur);
    if (may_wait <= 0) {
        return may_wait < 0 ? NULL : cursor_wait(cur, Py_None);
    }
    /* Only a text without parameters may be a script: () is none, too. */
    PyObject *const args[] = {sql, some ? params : Py_None};
    PyObject *request = Connection_execute(cur->conn, args, 2);
    if (request == NULL) {
        return NULL;
    }
    PyObject *result = cursor_wait(cur, request);
    Py_DECREF(request);
    return result;
}

static PyObject *
Cursor_execute(struct cursor *cur, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs < 1 || nargs > 2) {
        return errors_set(PyExc_TypeError, "execute(operation, parameters=None)");
    }
    PyObject *result = cursor_run(cur, args[0], nargs == 2 ? args[1] : Py_None);
    if (result == NULL) {
        struct core_state *st = cur->conn->st;
        if (!PyErr_ExceptionMatches(st->multiple_statements)) {
            return NULL;
        }
        PyErr_Clear();
        return PyObject_CallMethodOneArg((PyObject *)cur, st->name__run_script, args[0]);
    }
    int taken = cursor_take(cur, result);
    Py_DECREF(result);
    if (taken < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyObject *
core_cursor_execute(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *named)
{
    Py_ssize_t given = nargs + (named == NULL ? 0 : PyTuple_GET_SIZE(named));
    if (nargs < 3 || given > 4) {
        return errors_set(PyExc_TypeError, "do_execute(cursor, statement, parameters, context)");
    }
    struct core_state *st = PyModule_GetState(module);
    return PyObject_VectorcallMethod(st->name_execute, args, 3, NULL);
}

static PyObject *
Cursor_take(struct cursor *cur, PyObject *result)
{
    if (cursor_take(cur, result) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* How many rows are left. `rows` may have been set, and changed, by the subclass. */
static Py_ssize_t
cursor_left(const struct cursor *cur)
{
    Py_ssize_t len = cur->rows == NULL ? 0 : PyList_GET_SIZE(cur->rows);
    return cur->position < len ? len - cur->position : 0;
}

static PyObject *
cursor_next(struct cursor *cur)
{
    if (cursor_left(cur) == 0) {
        return NULL;
    }
    return Py_NewRef(PyList_GET_ITEM(cur->rows, cur->position++));
}

static PyObject *
Cursor_fetchone(struct cursor *cur, PyObject *unused)
{
    (void)unused;
    PyObject *row = cursor_next(cur);
    return row != NULL ? row : Py_NewRef(Py_None);
}

static PyObject *
Cursor_fetchmany(struct cursor *cur, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs > 1) {
        return errors_set(PyExc_TypeError, "fetchmany(size=None)");
    }
    Py_ssize_t size = cur->arraysize;
    if (nargs == 1 && args[0] != Py_None) {
        size = PyNumber_AsSsize_t(args[0], PyExc_OverflowError);
        if (size == -1 && PyErr_Occurred()) {
            return NULL;
        }
    }
    Py_ssize_t left = cursor_left(cur);
    if (size <= 0 || left == 0) {
        return PyList_New(0);
    }
    Py_ssize_t start = cur->position;
    cur->position += size < left ? size : left;
    return PyList_GetSlice(cur->rows, start, cur->position);
}

static PyObject *
Cursor_fetchall(struct cursor *cur, PyObject *unused)
{
    (void)unused;
    if (cursor_left(cur) == 0) {
        return PyList_New(0);
    }
    PyObject *rows = cur->rows;
    Py_ssize_t start = cur->position;
    cur->rows = NULL;
    cur->position = 0;
    if (start > 0) {
        Py_SETREF(rows, PyList_GetSlice(rows, start, PyList_GET_SIZE(rows)));
    }
    return rows;
}

static PyObject *
Cursor_close(struct cursor *cur, PyObject *unused)
{
    (void)unused;
    Py_CLEAR(cur->rows);
    Py_RETURN_NONE;
}

/* Nothing to wait for: SQLAlchemy awaits the end of a cursor. */
static PyObject *
Cursor_soft_close(struct cursor *cur, PyObject *unused)
{
    (void)unused;
    return Py_NewRef((PyObject *)cur);
}

static PyObject *
Cursor_await(struct cursor *cur)
{
    (void)cur;
    PyObject *nothing = PyTuple_New(0);
    PyObject *over = nothing == NULL ? NULL : PyObject_GetIter(nothing);
    Py_XDECREF(nothing);
    return over;
}

static PyObject *
Cursor_get_left(struct cursor *cur, void *closure)
{
    (void)closure;
    return PyLong_FromSsize_t(cursor_left(cur));
}

static PyObject *
Cursor_get_rows(struct cursor *cur, void *closure)
{
    (void)closure;
    return cur->rows == NULL ? PyList_New(0) : Py_NewRef(cur->rows);
}

static int
Cursor_set_rows(struct cursor *cur, PyObject *rows, void *closure)
{
    (void)closure;
    if (rows == NULL || !PyList_CheckExact(rows)) {
        PyErr_SetString(PyExc_TypeError, "_rows is a list");
        return -1;
    }
    Py_XSETREF(cur->rows, Py_NewRef(rows));
    cur->position = 0;
    return 0;
}

static PyMethodDef Cursor_methods[] = {
    {"_take", (PyCFunction)Cursor_take, METH_O, NULL},
    {"execute", (PyCFunction)(void (*)(void))Cursor_execute, METH_FASTCALL,
     "Runs a statement and takes all of its rows."},
    {"fetchone", (PyCFunction)Cursor_fetchone, METH_NOARGS, "The next row, None behind the last."},
    {"fetchmany", (PyCFunction)(void (*)(void))Cursor_fetchmany, METH_FASTCALL,
     "The next `size` rows (arraysize), fewer at the end."},
    {"fetchall", (PyCFunction)Cursor_fetchall, METH_NOARGS, "The rows not yet fetched."},
    {"close", (PyCFunction)Cursor_close, METH_NOARGS, "Drops the rows. Needs no greenlet."},
    {"_async_soft_close", (PyCFunction)Cursor_soft_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef Cursor_members[] = {
    {"_adapted", T_OBJECT, offsetof(struct cursor, adapted), READONLY, NULL},
    {"_core", T_OBJECT, offsetof(struct cursor, conn), READONLY, NULL},
    {"arraysize", T_PYSSIZET, offsetof(struct cursor, arraysize), 0, NULL},
    {"description", T_OBJECT, offsetof(struct cursor, description), 0, NULL},
    {"rowcount", T_LONGLONG, offsetof(struct cursor, rowcount), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef Cursor_getset[] = {
    {"_left", (getter)Cursor_get_left, NULL, NULL, NULL},
    {"_rows", (getter)Cursor_get_rows, (setter)Cursor_set_rows, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot Cursor_slots[] = {
    {Py_tp_dealloc, Cursor_dealloc},
    {Py_tp_traverse, Cursor_traverse},
    {Py_tp_clear, Cursor_clear},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, cursor_next},
    {Py_am_await, Cursor_await},
    {Py_tp_methods, Cursor_methods},
    {Py_tp_members, Cursor_members},
    {Py_tp_getset, Cursor_getset},
    {Py_tp_doc, "A cursor over rows that have all arrived."},
    {0, NULL},
};

static PyType_Spec Cursor_spec = {
    .name = "pgasync._core.Cursor",
    .basicsize = sizeof(struct cursor),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC
             | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = Cursor_slots,
};

int
cursor_type_init(struct core_state *st, PyObject *module)
{
    st->cursor_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &Cursor_spec, NULL);
    return st->cursor_type == NULL ? -1 : PyModule_AddType(module, st->cursor_type);
}
