/* The statements a connection keeps prepared: least recently used goes first. */
#ifndef DRIVER_STMTCACHE_H
#define DRIVER_STMTCACHE_H

#include "statement.h"

struct stmtcache {
    PyObject *by_sql; /* {sql: Statement}, owns the statements */
    struct statement *newest;
    struct statement *oldest;
    size_t size_max;       /* 0: off */
    double lifetime;       /* seconds; 0: no limit */
    struct wire_buffer closing; /* names (NUL-terminated) of evicted statements: a
                                   Close for each rides in front of the next request */
};

/* Whether it is there. */
static inline bool
stmtcache_has(const struct stmtcache *cache, const struct statement *stmt)
{
    return cache->newest == stmt || stmt->newer != NULL;
}

/* -1 with an exception. */
int stmtcache_init(struct stmtcache *cache, size_t size_max, double lifetime);
void stmtcache_clear(struct stmtcache *cache);

/* The statement prepared for `sql`, now the most recently used, or NULL (no
 * exception). Borrowed: the cache owns it until the next put or drop. */
struct statement *stmtcache_get_borrow(struct stmtcache *cache, PyObject *sql);

/* Keeps a prepared statement; evicts the least recently used one if it is full.
 * -1 with an exception. */
int stmtcache_put(struct stmtcache *cache, struct statement *stmt);

/* Forgets `stmt` if it is in the cache; with `close`, its Close will ride along if it is
 * prepared (whether it was cached or not). */
void stmtcache_drop(struct stmtcache *cache, struct statement *stmt, bool close);

/* Forgets all (DISCARD ALL, DEALLOCATE ALL): the server has none of them any more. */
void stmtcache_forget(struct stmtcache *cache);

#endif
