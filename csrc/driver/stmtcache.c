#include "stmtcache.h"

#include "clock.h"

static double
monotonic_now(void)
{
    return (double)clock_ns() * 1e-9;
}

int
stmtcache_init(struct stmtcache *cache, size_t size_max, double lifetime)
{
    cache->newest = NULL;
    cache->oldest = NULL;
    cache->size_max = size_max;
    cache->lifetime = lifetime;
    wire_buffer_init(&cache->closing);
    cache->by_sql = PyDict_New();
    return cache->by_sql == NULL ? -1 : 0;
}

void
stmtcache_clear(struct stmtcache *cache)
{
    cache->newest = NULL;
    cache->oldest = NULL;
    Py_CLEAR(cache->by_sql);
    wire_buffer_clear(&cache->closing, false);
}

static void
stmtcache_unlink(struct stmtcache *cache, struct statement *stmt)
{
    if (stmt->newer != NULL) {
        stmt->newer->older = stmt->older;
    }
    else {
        cache->newest = stmt->older;
    }
    if (stmt->older != NULL) {
        stmt->older->newer = stmt->newer;
    }
    else {
        cache->oldest = stmt->newer;
    }
    stmt->newer = NULL;
    stmt->older = NULL;
}

static void
stmtcache_link_newest(struct stmtcache *cache, struct statement *stmt)
{
    stmt->newer = NULL;
    stmt->older = cache->newest;
    if (cache->newest != NULL) {
        cache->newest->newer = stmt;
    }
    cache->newest = stmt;
    if (cache->oldest == NULL) {
        cache->oldest = stmt;
    }
}

void
stmtcache_drop(struct stmtcache *cache, struct statement *stmt, bool close)
{
    bool named = stmt->prepared && stmt->name_len > 0;
    stmt->prepared = false;
    stmt->described = false;
    if (close && named) { /* else the name may be another one's by now */
        wire_buffer_put_cstr(&cache->closing, stmt_name(stmt));
    }
    if (stmtcache_has(cache, stmt)) {
        stmtcache_unlink(cache, stmt);
        if (PyDict_DelItem(cache->by_sql, stmt->sql) < 0) { /* may free stmt */
            PyErr_Clear();
        }
    }
}

struct statement *
stmtcache_get_borrow(struct stmtcache *cache, PyObject *sql)
{
    struct statement *stmt = (struct statement *)PyDict_GetItemWithError(cache->by_sql, sql);
    if (stmt == NULL) {
        PyErr_Clear();
        return NULL;
    }
    if (cache->lifetime > 0 && monotonic_now() - stmt->prepared_at > cache->lifetime) {
        stmtcache_drop(cache, stmt, true);
        return NULL;
    }
    if (cache->newest != stmt) {
        stmtcache_unlink(cache, stmt);
        stmtcache_link_newest(cache, stmt);
    }
    return stmt;
}

int
stmtcache_put(struct stmtcache *cache, struct statement *stmt)
{
    struct statement *old = (struct statement *)PyDict_GetItemWithError(cache->by_sql, stmt->sql);
    if (old != NULL) {
        bool prepared = stmt->prepared, described = stmt->described;
        stmtcache_drop(cache, old, false); /* the same text has the same name */
        stmt->prepared = prepared;
        stmt->described = described;
    }
    while (cache->oldest != NULL && (size_t)PyDict_GET_SIZE(cache->by_sql) >= cache->size_max) {
        stmtcache_drop(cache, cache->oldest, true);
    }
    if (PyDict_SetItem(cache->by_sql, stmt->sql, (PyObject *)stmt) < 0) {
        return -1;
    }
    stmt->prepared_at = cache->lifetime > 0 ? monotonic_now() : 0;
    stmtcache_link_newest(cache, stmt);
    return 0;
}

void
stmtcache_forget(struct stmtcache *cache)
{
    for (struct statement *stmt = cache->newest; stmt != NULL;) {
        struct statement *older = stmt->older;
        stmt->prepared = false;
        stmt->newer = NULL;
        stmt->older = NULL;
        stmt = older;
    }
    cache->newest = NULL;
    cache->oldest = NULL;
    PyDict_Clear(cache->by_sql);
    wire_buffer_consume(&cache->closing, wire_buffer_size(&cache->closing));
}
