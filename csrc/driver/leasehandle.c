/* What the user of a pool has of a connection: the base of PoolConnection. */
#include "lease.h"

#include "connection.h"

PyObject *
lease_handle_new(struct pool_base *pool, struct pool_member *member)
{
    PyTypeObject *type = (PyTypeObject *)pool->handle_type;
    if (!PyType_IsSubtype(type, pool->st->pool_handle_type)) {
        PyErr_SetString(PyExc_TypeError, "the handles of a pool are PoolHandles");
        return NULL;
    }
    struct pool_handle *handle = (struct pool_handle *)type->tp_alloc(type, 0);
    if (handle == NULL) {
        return NULL;
    }
    handle->core = Py_NewRef(member->resource);
    handle->link = Py_NewRef(((struct connection *)member->resource)->link);
    handle->pool = Py_NewRef((PyObject *)pool);
    handle->member = Py_NewRef((PyObject *)member);
    handle->timeout = Py_NewRef(pool->timeout);
    handle->row_factory = Py_NewRef(pool->row_factory);
    return (PyObject *)handle;
}

static PyObject *
Handle_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)args;
    (void)kwargs;
    struct pool_handle *handle = (struct pool_handle *)type->tp_alloc(type, 0);
    if (handle != NULL) {
        handle->timeout = Py_NewRef(Py_None);
        handle->row_factory = Py_NewRef(Py_True);
    }
    return (PyObject *)handle;
}

static int
Handle_traverse(struct pool_handle *handle, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(handle));
    Py_VISIT(handle->core);
    Py_VISIT(handle->link);
    Py_VISIT(handle->pool);
    Py_VISIT(handle->member);
    Py_VISIT(handle->timeout);
    Py_VISIT(handle->row_factory);
    return 0;
}

static int
Handle_clear(struct pool_handle *handle)
{
    Py_CLEAR(handle->core);
    Py_CLEAR(handle->link);
    Py_CLEAR(handle->pool);
    Py_CLEAR(handle->member);
    Py_CLEAR(handle->timeout);
    Py_CLEAR(handle->row_factory);
    return 0;
}

static void
Handle_dealloc(struct pool_handle *handle)
{
    PyTypeObject *type = Py_TYPE(handle);
    PyObject_GC_UnTrack(handle);
    Handle_clear(handle);
    type->tp_free(handle);
    Py_DECREF(type);
}

/* One that was not given back says so. */
static void
Handle_finalize(PyObject *self)
{
    struct pool_handle *handle = (struct pool_handle *)self;
    if (handle->member == NULL || handle->member == Py_None) {
        return;
    }
    PyObject *saved = compat_take_exception();
    PyObject *done = PyObject_CallMethod(self, "_collected", NULL);
    if (done == NULL) {
        PyErr_WriteUnraisable(self);
    }
    Py_XDECREF(done);
    if (saved != NULL) {
        compat_raise(saved);
    }
}

static PyMemberDef Handle_members[] = {
    {"_core", T_OBJECT_EX, offsetof(struct pool_handle, core), 0, NULL},
    {"_link", T_OBJECT_EX, offsetof(struct pool_handle, link), 0, NULL},
    {"_pool", T_OBJECT_EX, offsetof(struct pool_handle, pool), 0, NULL},
    {"_member", T_OBJECT_EX, offsetof(struct pool_handle, member), 0, NULL},
    {"_timeout", T_OBJECT_EX, offsetof(struct pool_handle, timeout), 0, NULL},
    {"_row_factory", T_OBJECT_EX, offsetof(struct pool_handle, row_factory), 0, NULL},
    {"_engaged", T_BOOL, offsetof(struct pool_handle, engaged), 0, NULL},
    {"_left", T_BOOL, offsetof(struct pool_handle, left), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot Handle_slots[] = {
    {Py_tp_new, Handle_new},
    {Py_tp_dealloc, Handle_dealloc},
    {Py_tp_traverse, Handle_traverse},
    {Py_tp_clear, Handle_clear},
    {Py_tp_finalize, Handle_finalize},
    {Py_tp_members, Handle_members},
    {Py_tp_doc, "What the user of a pool has of a connection."},
    {0, NULL},
};

static PyType_Spec Handle_spec = {
    .name = "pgasync._core.PoolHandle",
    .basicsize = sizeof(struct pool_handle),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = Handle_slots,
};

int
lease_handle_type_init(struct core_state *st, PyObject *module)
{
    st->pool_handle_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &Handle_spec, NULL);
    return st->pool_handle_type == NULL ? -1 : PyModule_AddType(module, st->pool_handle_type);
}
