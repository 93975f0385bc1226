/* Taking a connection out of a pool and giving it back, where nothing is in the way: one is
 * idle and was used a moment ago, and it comes back at rest. Everything else is Python's:
 * pgasync/poolkeeper.py, whose objects are built upon these types.
 *   lease.c       what is decided
 *   leasetypes.c  PoolMember, PoolCounts, PoolBase
 *   leasehandle.c what the user gets
 *   acquiring.c   what acquire() gives */
#ifndef DRIVER_LEASE_H
#define DRIVER_LEASE_H

#include "module.h"

/* A connection of a pool: base of poolstate.Member. */
struct pool_member {
    PyObject_HEAD
    PyObject *state; /* str, as all of these may be NULL: None */
    PyObject *resource;
    PyObject *holder; /* the task */
    PyObject *reason;
    PyObject *code; /* where it was acquired, and the place in there */
    int place;
    double born;
    double since;
    double idled;
    double expires;
    long long generation;
    long long uses;
    long long learned;
};

/* Base of poolstate.PoolState. */
struct pool_counts {
    PyObject_HEAD
    PyObject *idle; /* list of members; the last one was used last */
    PyObject *waiters; /* a sequence */
    long long acquired;
    long long released;
    long long surplus;
    long long max_uses;
    char closing;
};

/* Base of poolkeeper.Keeper. */
struct pool_base {
    PyObject_HEAD
    struct core_state *st; /* of the module, which the type keeps */
    PyObject *state; /* PoolCounts */
    PyObject *loop;
    PyObject *now;         /* callable: the loop's clock */
    PyObject *handle_type; /* poolhandle.PoolConnection */
    PyObject *returned;    /* takes the core's place in a handle that was given back */
    PyObject *timeout;     /* of the statements; None: no limit */
    PyObject *row_factory;
    char monotonic;  /* the loop's clock is that of clock.h */
    char hooked;     /* something runs before a connection is given out */
    char resets;     /* and when it comes back */
    char autocommit; /* of those that are given out */
};

/* Base of poolhandle.PoolConnection: what a user has of a member. */
struct pool_handle {
    PyObject_HEAD
    PyObject *core; /* `returned` once it was given back */
    PyObject *link;
    PyObject *pool;
    PyObject *member; /* None once it was given back or closed */
    PyObject *timeout;
    PyObject *row_factory;
    char engaged; /* the link knows it, for its listeners */
    char left;    /* its user has closed it */
};

enum acquiring_phase {
    ACQUIRING_NEW,
    ACQUIRING_READY, /* `result` is there to be taken */
};

/* What acquire() gives: to be awaited, or entered by `async with`. It is also what its own
 * methods give to be awaited when nothing has to be waited for. */
struct acquiring {
    PyObject_HEAD
    struct pool_base *pool;
    PyObject *timeout;
    PyObject *code; /* of the caller */
    int place;
    PyObject *handle; /* what `async with` has got */
    PyObject *result;
    enum acquiring_phase phase;
    bool committing; /* statements are transactions, whatever the pool says */
};

/* lease.c */

/* Takes the connection that was used last: a new reference. NULL without an exception:
 * Python has to look; with one when there is no memory. */
struct pool_member *lease_take(struct pool_base *pool);

/* Gives a used member back. 1: done; 0: Python has to do it; -1 with an exception. */
int lease_put(struct pool_base *pool, struct pool_member *member);

/* A handle without waiting: a new reference; NULL without an exception: Python has to. */
PyObject *lease_acquire(struct acquiring *acquiring);

/* Takes back what a handle holds: 1, 0 or -1 as lease_put(). */
int lease_release(struct pool_base *pool, PyObject *handle);

/* leasehandle.c */

/* A handle around a member, whose resource is a connection: NULL with an exception. */
PyObject *lease_handle_new(struct pool_base *pool, struct pool_member *member);

/* Makes its type; -1 with an exception. */
int lease_handle_type_init(struct core_state *st, PyObject *module);

/* acquiring.c */

/* `timeout` (borrowed): an object for Python; `committing`: as in the struct. NULL with an
 * exception. */
PyObject *acquiring_new(struct pool_base *pool, PyObject *timeout, bool committing);

/* Makes its type; -1 with an exception. */
int acquiring_type_init(struct core_state *st, PyObject *module);

/* leasetypes.c */

/* Adds all types to the module; -1 with an exception. */
int lease_types_init(struct core_state *st, PyObject *module);

#endif
