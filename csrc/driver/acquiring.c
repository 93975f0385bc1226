#include "lease.h"

#include "errors.h"

/* What is to be awaited has come already: steals `result`. */
static PyObject *
acquiring_ready(struct acquiring *acquiring, PyObject *result)
{
    Py_XSETREF(acquiring->result, result);
    acquiring->phase = ACQUIRING_READY;
    return Py_NewRef((PyObject *)acquiring);
}

static PyObject *
Acquiring_aenter(struct acquiring *acquiring, PyObject *unused)
{
    (void)unused;
    struct pool_base *pool = acquiring->pool;
    if (acquiring->handle != NULL) {
        return errors_set(pool->st->interface_error,
                          "this acquire() was entered before: call it again");
    }
    acquiring->handle = lease_acquire(acquiring);
    if (acquiring->handle != NULL) {
        return acquiring_ready(acquiring, Py_NewRef(acquiring->handle));
    }
    if (PyErr_Occurred()) {
        return NULL;
    }
    return PyObject_CallMethodOneArg((PyObject *)pool, pool->st->name__enter_lease,
                                     (PyObject *)acquiring);
}

static PyObject *
Acquiring_aexit(struct acquiring *acquiring, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 3 || acquiring->handle == NULL) {
        return errors_set(PyExc_TypeError, "__aexit__ takes three arguments, after __aenter__");
    }
    struct pool_base *pool = acquiring->pool;
    int done = lease_release(pool, acquiring->handle);
    if (done > 0) {
        return acquiring_ready(acquiring, Py_NewRef(Py_None));
    }
    PyObject *call[] = {(PyObject *)pool, acquiring->handle, args[1]};
    return done < 0 ? NULL : PyObject_VectorcallMethod(pool->st->name__finish, call, 3, NULL);
}

static PyObject *
Acquiring_await(struct acquiring *acquiring)
{
    if (acquiring->phase == ACQUIRING_READY) {
        return Py_NewRef((PyObject *)acquiring);
    }
    PyObject *handle = lease_acquire(acquiring);
    if (handle != NULL) {
        return acquiring_ready(acquiring, handle);
    }
    if (PyErr_Occurred()) {
        return NULL;
    }
    PyObject *pool = (PyObject *)acquiring->pool;
    PyObject *waiting =
        PyObject_CallMethodOneArg(pool, acquiring->pool->st->name__lease, (PyObject *)acquiring);
    PyObject *steps = waiting == NULL ? NULL : PyObject_CallMethod(waiting, "__await__", NULL);
    Py_XDECREF(waiting);
    return steps;
}

static PySendResult
acquiring_send(struct acquiring *acquiring, PyObject *value, PyObject **result)
{
    (void)value;
    *result = acquiring->result;
    if (*result == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "an acquire() was awaited the wrong way");
        return PYGEN_ERROR;
    }
    acquiring->result = NULL;
    acquiring->phase = ACQUIRING_NEW;
    return PYGEN_RETURN;
}

/* As iterators say that they have ended with a value. */
static PyObject *
Acquiring_iternext(struct acquiring *acquiring)
{
    PyObject *result;
    if (acquiring_send(acquiring, Py_None, &result) == PYGEN_RETURN) {
        PyObject *stop = PyObject_CallOneArg(PyExc_StopIteration, result);
        if (stop != NULL) {
            compat_raise(stop);
        }
        Py_DECREF(result);
    }
    return NULL;
}

static PyObject *
Acquiring_get_where(struct acquiring *acquiring, void *closure)
{
    (void)closure;
    if (acquiring->code == NULL) {
        Py_RETURN_NONE;
    }
    return Py_BuildValue("(Oi)", acquiring->code, acquiring->place);
}

static int
Acquiring_traverse(struct acquiring *acquiring, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(acquiring));
    Py_VISIT(acquiring->pool);
    Py_VISIT(acquiring->timeout);
    Py_VISIT(acquiring->code);
    Py_VISIT(acquiring->handle);
    Py_VISIT(acquiring->result);
    return 0;
}

static int
Acquiring_clear(struct acquiring *acquiring)
{
    Py_CLEAR(acquiring->timeout);
    Py_CLEAR(acquiring->code);
    Py_CLEAR(acquiring->handle);
    Py_CLEAR(acquiring->result);
    return 0;
}

static void
Acquiring_dealloc(struct acquiring *acquiring)
{
    PyTypeObject *type = Py_TYPE(acquiring);
    PyObject_GC_UnTrack(acquiring);
    Acquiring_clear(acquiring);
    Py_CLEAR(acquiring->pool);
    PyObject_GC_Del(acquiring);
    Py_DECREF(type);
}

static PyMethodDef Acquiring_methods[] = {
    {"__aenter__", (PyCFunction)Acquiring_aenter, METH_NOARGS, NULL},
    {"__aexit__", (PyCFunction)(void (*)(void))Acquiring_aexit, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef Acquiring_members[] = {
    {"handle", T_OBJECT, offsetof(struct acquiring, handle), 0, NULL},
    {"timeout", T_OBJECT, offsetof(struct acquiring, timeout), READONLY, NULL},
    {"committing", T_BOOL, offsetof(struct acquiring, committing), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef Acquiring_getset[] = {
    {"where", (getter)Acquiring_get_where, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot Acquiring_slots[] = {
    {Py_tp_dealloc, Acquiring_dealloc},
    {Py_tp_traverse, Acquiring_traverse},
    {Py_tp_clear, Acquiring_clear},
    {Py_am_await, Acquiring_await},
    {Py_am_send, acquiring_send},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, Acquiring_iternext},
    {Py_tp_methods, Acquiring_methods},
    {Py_tp_members, Acquiring_members},
    {Py_tp_getset, Acquiring_getset},
    {Py_tp_doc, "What Pool.acquire() returns: to be awaited, or entered by `async with`."},
    {0, NULL},
};

static PyType_Spec Acquiring_spec = {
    .name = "pgasync._core.Acquiring",
    .basicsize = sizeof(struct acquiring),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE
             | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = Acquiring_slots,
};

/* Where it was asked for, cheaply. */
static void
acquiring_note_caller(struct acquiring *acquiring)
{
    PyFrameObject *frame = PyEval_GetFrame();
    if (frame != NULL) {
        acquiring->code = (PyObject *)PyFrame_GetCode(frame);
        acquiring->place = compat_frame_place(frame);
    }
}

PyObject *
acquiring_new(struct pool_base *pool, PyObject *timeout, bool committing)
{
    struct acquiring *made = PyObject_GC_New(struct acquiring, pool->st->acquiring_type);
    if (made == NULL) {
        return NULL;
    }
    made->pool = (struct pool_base *)Py_NewRef((PyObject *)pool);
    made->timeout = Py_NewRef(timeout);
    made->code = NULL;
    made->place = 0;
    made->handle = NULL;
    made->result = NULL;
    made->phase = ACQUIRING_NEW;
    made->committing = committing;
    acquiring_note_caller(made);
    PyObject_GC_Track(made);
    return (PyObject *)made;
}

int
acquiring_type_init(struct core_state *st, PyObject *module)
{
    st->acquiring_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &Acquiring_spec, NULL);
    return st->acquiring_type == NULL ? -1 : PyModule_AddType(module, st->acquiring_type);
}
