#include "lease.h"

#include "errors.h"

/* Members */

static PyObject *
Member_get_where(struct pool_member *member, void *closure)
{
    (void)closure;
    if (member->code == NULL) {
        Py_RETURN_NONE;
    }
    return Py_BuildValue("(Oi)", member->code, member->place);
}

static int
Member_set_where(struct pool_member *member, PyObject *where, void *closure)
{
    (void)closure;
    PyObject *code = NULL;
    int place = 0;
    if (where != NULL && where != Py_None && !PyArg_ParseTuple(where, "Oi", &code, &place)) {
        return -1;
    }
    Py_XSETREF(member->code, Py_XNewRef(code));
    member->place = place;
    return 0;
}

static int
Member_traverse(struct pool_member *member, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(member));
    Py_VISIT(member->state);
    Py_VISIT(member->resource);
    Py_VISIT(member->holder);
    Py_VISIT(member->reason);
    Py_VISIT(member->code);
    return 0;
}

static int
Member_clear(struct pool_member *member)
{
    Py_CLEAR(member->state);
    Py_CLEAR(member->resource);
    Py_CLEAR(member->holder);
    Py_CLEAR(member->reason);
    Py_CLEAR(member->code);
    return 0;
}

static void
Member_dealloc(struct pool_member *member)
{
    PyTypeObject *type = Py_TYPE(member);
    PyObject_GC_UnTrack(member);
    Member_clear(member);
    type->tp_free(member);
    Py_DECREF(type);
}

static PyMemberDef Member_members[] = {
    {"state", T_OBJECT, offsetof(struct pool_member, state), 0, NULL},
    {"resource", T_OBJECT, offsetof(struct pool_member, resource), 0, NULL},
    {"holder", T_OBJECT, offsetof(struct pool_member, holder), 0, NULL},
    {"reason", T_OBJECT, offsetof(struct pool_member, reason), 0, NULL},
    {"born", T_DOUBLE, offsetof(struct pool_member, born), 0, NULL},
    {"since", T_DOUBLE, offsetof(struct pool_member, since), 0, NULL},
    {"idled", T_DOUBLE, offsetof(struct pool_member, idled), 0, NULL},
    {"expires", T_DOUBLE, offsetof(struct pool_member, expires), 0, NULL},
    {"generation", T_LONGLONG, offsetof(struct pool_member, generation), 0, NULL},
    {"uses", T_LONGLONG, offsetof(struct pool_member, uses), 0, NULL},
    {"learned", T_LONGLONG, offsetof(struct pool_member, learned), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef Member_getset[] = {
    {"where", (getter)Member_get_where, (setter)Member_set_where, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot Member_slots[] = {
    {Py_tp_dealloc, Member_dealloc},
    {Py_tp_traverse, Member_traverse},
    {Py_tp_clear, Member_clear},
    {Py_tp_members, Member_members},
    {Py_tp_getset, Member_getset},
    {Py_tp_doc, "One connection of a pool."},
    {0, NULL},
};

static PyType_Spec Member_spec = {
    .name = "pgasync._core.PoolMember",
    .basicsize = sizeof(struct pool_member),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = Member_slots,
};

/* Counts */

static int
Counts_traverse(struct pool_counts *counts, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(counts));
    Py_VISIT(counts->idle);
    Py_VISIT(counts->waiters);
    return 0;
}

static int
Counts_clear(struct pool_counts *counts)
{
    Py_CLEAR(counts->idle);
    Py_CLEAR(counts->waiters);
    return 0;
}

static void
Counts_dealloc(struct pool_counts *counts)
{
    PyTypeObject *type = Py_TYPE(counts);
    PyObject_GC_UnTrack(counts);
    Counts_clear(counts);
    type->tp_free(counts);
    Py_DECREF(type);
}

static PyMemberDef Counts_members[] = {
    {"idle", T_OBJECT, offsetof(struct pool_counts, idle), 0, NULL},
    {"waiters", T_OBJECT, offsetof(struct pool_counts, waiters), 0, NULL},
    {"acquired", T_LONGLONG, offsetof(struct pool_counts, acquired), 0, NULL},
    {"released", T_LONGLONG, offsetof(struct pool_counts, released), 0, NULL},
    {"surplus", T_LONGLONG, offsetof(struct pool_counts, surplus), 0, NULL},
    {"max_uses", T_LONGLONG, offsetof(struct pool_counts, max_uses), 0, NULL},
    {"closing", T_BOOL, offsetof(struct pool_counts, closing), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot Counts_slots[] = {
    {Py_tp_dealloc, Counts_dealloc},
    {Py_tp_traverse, Counts_traverse},
    {Py_tp_clear, Counts_clear},
    {Py_tp_members, Counts_members},
    {Py_tp_doc, "What of a pool's state is looked at for every connection."},
    {0, NULL},
};

static PyType_Spec Counts_spec = {
    .name = "pgasync._core.PoolCounts",
    .basicsize = sizeof(struct pool_counts),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = Counts_slots,
};

/* The pool */

static PyObject *
Pool_acquire(struct pool_base *pool, PyObject *const *args, Py_ssize_t nargs, PyObject *names)
{
    PyObject *timeout = Py_None;
    Py_ssize_t named = names == NULL ? 0 : PyTuple_GET_SIZE(names);
    if (nargs != 0 || named > 1) {
        return errors_set(PyExc_TypeError, "acquire() takes the keyword timeout only");
    }
    if (named == 1) {
        if (PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), "timeout") != 0) {
            return errors_set(PyExc_TypeError, "acquire() has no keyword %R, but timeout",
                              PyTuple_GET_ITEM(names, 0));
        }
        timeout = args[0];
    }
    return acquiring_new(pool, timeout, false);
}

static PyObject *
Pool_autocommitting(struct pool_base *pool, PyObject *timeout)
{
    return acquiring_new(pool, timeout, true);
}

static PyObject *
Pool_take(struct pool_base *pool, PyObject *unused)
{
    (void)unused;
    PyObject *member = (PyObject *)lease_take(pool);
    return member == NULL && !PyErr_Occurred() ? Py_NewRef(Py_None) : member;
}

static PyObject *
Pool_give(struct pool_base *pool, PyObject *member)
{
    if (!PyObject_TypeCheck(member, pool->st->pool_member_type)) {
        Py_RETURN_FALSE;
    }
    int done = lease_put(pool, (struct pool_member *)member);
    return done < 0 ? NULL : PyBool_FromLong(done);
}

static PyObject *
Pool_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)args;
    (void)kwargs;
    PyTypeObject *own = type;
    while (own->tp_base != &PyBaseObject_Type) { /* the module's is the last before it */
        own = own->tp_base;
    }
    struct core_state *st = PyType_GetModuleState(own);
    struct pool_base *pool = st == NULL ? NULL : (struct pool_base *)type->tp_alloc(type, 0);
    if (pool != NULL) {
        pool->st = st;
        pool->timeout = Py_NewRef(Py_None);
        pool->row_factory = Py_NewRef(Py_True);
        pool->returned = Py_NewRef(Py_None);
    }
    return (PyObject *)pool;
}

static int
Pool_traverse(struct pool_base *pool, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(pool));
    Py_VISIT(pool->state);
    Py_VISIT(pool->loop);
    Py_VISIT(pool->now);
    Py_VISIT(pool->handle_type);
    Py_VISIT(pool->returned);
    Py_VISIT(pool->timeout);
    Py_VISIT(pool->row_factory);
    return 0;
}

static int
Pool_clear(struct pool_base *pool)
{
    Py_CLEAR(pool->state);
    Py_CLEAR(pool->loop);
    Py_CLEAR(pool->now);
    Py_CLEAR(pool->handle_type);
    Py_CLEAR(pool->returned);
    Py_CLEAR(pool->timeout);
    Py_CLEAR(pool->row_factory);
    return 0;
}

static void
Pool_dealloc(struct pool_base *pool)
{
    PyTypeObject *type = Py_TYPE(pool);
    PyObject_GC_UnTrack(pool);
    Pool_clear(pool);
    type->tp_free(pool);
    Py_DECREF(type);
}

PyDoc_STRVAR(acquire_doc,
             "acquire($self, *, timeout=None)\n--\n\n"
             "A connection: `async with pool.acquire() as conn` (commits on a clean\n"
             "exit, rolls back on an exception), or `conn = await pool.acquire()`,\n"
             "after which `await pool.release(conn)` gives it back.\n\n"
             "First come, first served. PoolTimeout after `timeout` seconds (the\n"
             "pool's own unless told), TooManyWaiting, PoolClosed, and what connect()\n"
             "raises when the server refuses and nobody has a connection that could\n"
             "come back.");

static PyMethodDef Pool_methods[] = {
    {"acquire", (PyCFunction)(void (*)(void))Pool_acquire, METH_FASTCALL | METH_KEYWORDS,
     acquire_doc},
    {"_autocommitting", (PyCFunction)Pool_autocommitting, METH_O, NULL},
    {"_take", (PyCFunction)Pool_take, METH_NOARGS, NULL},
    {"_give", (PyCFunction)Pool_give, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef Pool_members[] = {
    {"_state", T_OBJECT_EX, offsetof(struct pool_base, state), 0, NULL},
    {"_loop", T_OBJECT, offsetof(struct pool_base, loop), 0, NULL},
    {"_now", T_OBJECT_EX, offsetof(struct pool_base, now), 0, NULL},
    {"_handle_type", T_OBJECT, offsetof(struct pool_base, handle_type), 0, NULL},
    {"_returned", T_OBJECT, offsetof(struct pool_base, returned), 0, NULL},
    {"_statement_timeout", T_OBJECT, offsetof(struct pool_base, timeout), 0, NULL},
    {"_row_factory", T_OBJECT, offsetof(struct pool_base, row_factory), 0, NULL},
    {"_monotonic", T_BOOL, offsetof(struct pool_base, monotonic), 0, NULL},
    {"_hooked", T_BOOL, offsetof(struct pool_base, hooked), 0, NULL},
    {"_resets", T_BOOL, offsetof(struct pool_base, resets), 0, NULL},
    {"_autocommit", T_BOOL, offsetof(struct pool_base, autocommit), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot Pool_slots[] = {
    {Py_tp_new, Pool_new},
    {Py_tp_dealloc, Pool_dealloc},
    {Py_tp_traverse, Pool_traverse},
    {Py_tp_clear, Pool_clear},
    {Py_tp_methods, Pool_methods},
    {Py_tp_members, Pool_members},
    {Py_tp_doc, "What of a pool runs for every connection that is taken and given back."},
    {0, NULL},
};

static PyType_Spec Pool_spec = {
    .name = "pgasync._core.PoolBase",
    .basicsize = sizeof(struct pool_base),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = Pool_slots,
};

/* Adds a type; -1 with an exception. */
static int
lease_add(PyObject *module, PyType_Spec *spec, PyTypeObject **slot)
{
    *slot = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
    return *slot == NULL ? -1 : PyModule_AddType(module, *slot);
}

int
lease_types_init(struct core_state *st, PyObject *module)
{
    PyTypeObject *base = NULL;
    if (lease_add(module, &Member_spec, &st->pool_member_type) < 0
        || lease_add(module, &Counts_spec, &st->pool_counts_type) < 0
        || acquiring_type_init(st, module) < 0 || lease_handle_type_init(st, module) < 0
        || lease_add(module, &Pool_spec, &base) < 0) {
        Py_XDECREF((PyObject *)base);
        return -1;
    }
    Py_DECREF((PyObject *)base);
    return 0;
}
