#include "lease.h"

#include "clock.h"
#include "connection.h"
#include "pool.h"

/* One that was used so long ago may have been closed by the other side: s. */
#define LEASE_FRESH 0.05

/* The decisions */

/* Whether the pool's loop runs here. */
static bool
lease_is_here(struct pool_base *pool)
{
    if (pool->loop == NULL || pool->loop == Py_None) {
        return false;
    }
    PyObject *running = PyObject_CallNoArgs(pool->st->running_loop);
    bool here = running == pool->loop;
    Py_XDECREF(running);
    PyErr_Clear();
    return here;
}

/* The loop's time; -1 with an exception. */
static double
lease_now(struct pool_base *pool)
{
    if (pool->monotonic) {
        return (double)clock_ns() * 1e-9;
    }
    PyObject *now = pool->now == NULL ? NULL : PyObject_CallNoArgs(pool->now);
    double seconds = now == NULL ? -1.0 : PyFloat_AsDouble(now);
    Py_XDECREF(now);
    return seconds;
}

/* The pool's state; NULL: not one of ours. */
static struct pool_counts *
lease_counts(struct pool_base *pool)
{
    PyTypeObject *type = pool->st->pool_counts_type;
    PyObject *state = pool->state;
    return state != NULL && PyObject_TypeCheck(state, type) ? (struct pool_counts *)state : NULL;
}

/* The core of a member; NULL: it has none. */
static struct connection *
lease_core(struct pool_base *pool, struct pool_member *member)
{
    PyObject *core = member->resource;
    bool fits = core != NULL && Py_IS_TYPE(core, pool->st->connection_type);
    return fits ? (struct connection *)core : NULL;
}

/* The one that was used last, if it can be given out as it is: borrowed. NULL without an
 * exception: Python has to look. */
static struct pool_member *
lease_look(struct pool_base *pool, struct pool_counts *counts, double now)
{
    if (counts->idle == NULL || !PyList_CheckExact(counts->idle)) {
        return NULL;
    }
    Py_ssize_t count = PyList_GET_SIZE(counts->idle);
    PyObject *last = count == 0 ? NULL : PyList_GET_ITEM(counts->idle, count - 1);
    if (last == NULL || !PyObject_TypeCheck(last, pool->st->pool_member_type)) {
        return NULL;
    }
    struct pool_member *member = (struct pool_member *)last;
    struct connection *core = lease_core(pool, member);
    bool fresh = now - member->idled < LEASE_FRESH && now < member->expires;
    return fresh && core != NULL && !core->closed && !conn_is_forked(core) ? member : NULL;
}

struct pool_member *
lease_take(struct pool_base *pool)
{
    struct pool_counts *counts = lease_counts(pool);
    if (counts == NULL || pool->hooked || counts->closing || !lease_is_here(pool)) {
        return NULL;
    }
    double now = lease_now(pool);
    struct pool_member *member = now < 0 ? NULL : lease_look(pool, counts, now);
    if (member == NULL) {
        return NULL;
    }
    Py_ssize_t last = PyList_GET_SIZE(counts->idle) - 1;
    Py_INCREF((PyObject *)member);
    if (PyList_SetSlice(counts->idle, last, last + 1, NULL) < 0) {
        Py_DECREF((PyObject *)member);
        return NULL;
    }
    Py_XSETREF(member->state, Py_NewRef(pool->st->name_used));
    member->since = now;
    member->uses += 1;
    counts->acquired += 1;
    return member;
}

/* Whether it can be used again as it is. */
static bool
lease_is_fit(const struct pool_counts *counts, const struct pool_member *member,
             const struct connection *core, double now)
{
    return core->tainted == 0 && pool_at_rest(core) && now < member->expires
           && member->uses != counts->max_uses && counts->surplus == 0 && !counts->closing;
}

/* To who waits longest, or to the idle ones. -1 with an exception. */
static int
lease_hand_on(struct pool_base *pool, struct pool_counts *counts, struct pool_member *member,
              double now)
{
    Py_ssize_t waiting = counts->waiters == NULL ? 0 : PyObject_Size(counts->waiters);
    if (waiting != 0) {
        PyObject *done = waiting < 0 ? NULL
                                     : PyObject_CallMethod((PyObject *)counts, "_hand_on", "Od",
                                                           (PyObject *)member, now);
        Py_XDECREF(done);
        return done == NULL ? -1 : 0;
    }
    if (PyList_Append(counts->idle, (PyObject *)member) < 0) {
        return -1;
    }
    member->since = now;
    member->idled = now;
    Py_XSETREF(member->state, Py_NewRef(pool->st->name_idle));
    Py_CLEAR(member->code);
    Py_CLEAR(member->holder);
    return 0;
}

int
lease_put(struct pool_base *pool, struct pool_member *member)
{
    struct pool_counts *counts = lease_counts(pool);
    struct connection *core = lease_core(pool, member);
    if (counts == NULL || core == NULL || pool->resets || member->state != pool->st->name_used
        || !lease_is_here(pool)) {
        return 0;
    }
    double now = lease_now(pool);
    if (now < 0) {
        return PyErr_Occurred() ? -1 : 0;
    }
    if (!lease_is_fit(counts, member, core, now)) {
        return 0;
    }
    counts->released += 1;
    core->autocommit = true;
    return lease_hand_on(pool, counts, member, now) < 0 ? -1 : 1;
}

/* Handles */

/* The task that runs; NULL when there is none. */
static PyObject *
lease_task(struct core_state *st, PyObject *loop)
{
    if (st->current_tasks != NULL) {
        PyObject *found = PyDict_GetItemWithError(st->current_tasks, loop);
        if (found == NULL) {
            PyErr_Clear();
        }
        return Py_XNewRef(found);
    }
    PyObject *task = PyObject_CallNoArgs(st->current_task);
    if (task == NULL) {
        PyErr_Clear();
    }
    return task;
}

PyObject *
lease_acquire(struct acquiring *acquiring)
{
    struct pool_base *pool = acquiring->pool;
    if (pool->handle_type == NULL || !PyType_Check(pool->handle_type)) {
        return NULL;
    }
    struct pool_member *member = lease_take(pool);
    if (member == NULL) {
        return NULL;
    }
    PyObject *handle = lease_handle_new(pool, member);
    if (handle == NULL) {
        PyObject *error = compat_take_exception();
        if (lease_put(pool, member) < 0) {
            PyErr_Clear();
        }
        compat_raise(error);
    }
    else {
        pool_lend((struct connection *)member->resource, pool->autocommit || acquiring->committing);
        Py_XSETREF(member->holder, lease_task(pool->st, pool->loop));
        Py_XSETREF(member->code, Py_XNewRef(acquiring->code));
        member->place = acquiring->place;
    }
    Py_DECREF((PyObject *)member);
    return handle;
}

int
lease_release(struct pool_base *pool, PyObject *given)
{
    struct core_state *st = pool->st;
    if (!PyObject_TypeCheck(given, st->pool_handle_type)) {
        return 0;
    }
    struct pool_handle *handle = (struct pool_handle *)given;
    PyObject *member = handle->member;
    if (handle->engaged || member == NULL || !PyObject_TypeCheck(member, st->pool_member_type)) {
        return 0;
    }
    Py_INCREF(member);
    int done = lease_put(pool, (struct pool_member *)member);
    if (done > 0) {
        Py_XSETREF(handle->core, Py_NewRef(pool->returned));
        Py_XSETREF(handle->member, Py_NewRef(Py_None));
    }
    Py_DECREF(member);
    return done;
}
