#include "descriptions.h"

#include "clock.h"
#include "errors.h"

/* The first OID of what was made in a database (FirstNormalObjectId). */
#define DESCRIPTION_OIDS_MADE 16384u
#define DESCRIPTION_UNSTEADY_NS 5000000000u

/* About what an entry takes beside its text and its columns. */
#define DESCRIPTION_BYTES 600

/* The list of those in use, the most recently used first */

static void
descriptions_unlink(struct descriptions *all, struct statement *stmt)
{
    *(stmt->newer == NULL ? &all->newest : &stmt->newer->older) = stmt->older;
    *(stmt->older == NULL ? &all->oldest : &stmt->older->newer) = stmt->newer;
    stmt->newer = NULL;
    stmt->older = NULL;
}

static void
descriptions_link(struct descriptions *all, struct statement *stmt)
{
    stmt->newer = NULL;
    stmt->older = all->newest;
    *(all->newest == NULL ? &all->oldest : &all->newest->newer) = stmt;
    all->newest = stmt;
}

static size_t
description_bytes(const struct statement *stmt)
{
    size_t shape = stmt->shape == NULL ? 0 : (size_t)PyBytes_GET_SIZE(stmt->shape);
    return DESCRIPTION_BYTES + (size_t)PyUnicode_GET_LENGTH(stmt->sql) + 3 * shape
           + stmt->params_count * (sizeof(uint32_t) + sizeof(void *));
}

static void
descriptions_drop(struct descriptions *all, struct statement *stmt)
{
    PyObject *key = stmt->key;
    stmt->key = NULL;
    descriptions_unlink(all, stmt);
    all->bytes -= description_bytes(stmt);
    if (PyDict_DelItem(all->by_key, key) < 0) { /* frees stmt */
        PyErr_Clear();
    }
    Py_DECREF(key);
}

/* (catalog, sql): a new reference. NULL, without an exception: what this connection sees is
 * its own affair. */
static PyObject *
description_key(const struct connection *conn, PyObject *sql)
{
    bool shared = conn->catalog != NULL && conn->catalog != Py_None;
    if (!shared || conn->path_changed || conn->temp_made || sql == NULL) {
        return NULL;
    }
    PyObject *key = PyTuple_Pack(2, conn->catalog, sql);
    PyErr_Clear();
    return key;
}

static struct statement *
descriptions_look_up(struct descriptions *all, PyObject *key)
{
    struct statement *stmt = (struct statement *)PyDict_GetItemWithError(all->by_key, key);
    PyErr_Clear();
    return stmt;
}

/* Whether both are the same bytes, or NULL. */
static bool
description_bytes_equal(PyObject *one, PyObject *other)
{
    if (one == NULL || other == NULL) {
        return one == other;
    }
    size_t len = (size_t)PyBytes_GET_SIZE(one);
    return len == (size_t)PyBytes_GET_SIZE(other)
           && memcmp(PyBytes_AS_STRING(one), PyBytes_AS_STRING(other), len) == 0;
}

/* Whether it has types that somebody has made. */
static bool
description_has_made_types(const struct statement *stmt)
{
    for (size_t i = 0; i < stmt->params_count; i++) {
        if (stmt->param_oids[i] >= DESCRIPTION_OIDS_MADE) {
            return true;
        }
    }
    for (size_t i = 0; i < stmt->columns_count; i++) {
        if (stmt->columns[i].type_oid >= DESCRIPTION_OIDS_MADE) {
            return true;
        }
    }
    return false;
}

/* Whether types may just be dropped and made again: one that is gone before its values have
 * been read cannot be looked up, so that it is better to ask while Parse has its locks. */
static bool
description_is_unsteady(const struct core_state *st, const struct statement *stmt)
{
    return description_has_made_types(stmt) && st->schema_moved != 0
           && clock_ns() - st->schema_moved < DESCRIPTION_UNSTEADY_NS;
}

/* Use */

struct statement *
descriptions_find(struct connection *conn, const struct operation *op)
{
    /* Another try asks, and so does who wants to know (but for what a pipeline foresees). */
    bool asks =
        op->tries > 0 || op->hints != NULL || (op->kind == OP_PREPARE && op->params == NULL);
    struct descriptions *all = &conn->st->descriptions;
    PyObject *key = asks ? NULL : description_key(conn, op->sql);
    struct statement *found = key == NULL ? NULL : descriptions_look_up(all, key);
    Py_XDECREF(key);
    bool fresh =
        conn->schema_changed == 0 && found != NULL && found->schema_age == conn->st->schema_age;
    /* What is prepared ahead is for a pipeline. */
    bool inside = conn->begun || op->piped || op->kind == OP_PREPARE;
    if (found == NULL || (inside && !fresh) || description_is_unsteady(conn->st, found)) {
        return NULL;
    }
    descriptions_unlink(all, found);
    descriptions_link(all, found);
    struct statement *stmt = stmt_copy(found);
    if (stmt == NULL) {
        PyErr_Clear(); /* it is asked for */
        return NULL;
    }
    stmt->owner = conn;
    stmt->schema_age = conn_schema_age(conn);
    return stmt;
}

bool
descriptions_differ(const struct connection *conn, const struct statement *stmt)
{
    PyObject *key = description_key(conn, stmt->sql);
    const struct statement *found =
        key == NULL ? NULL : descriptions_look_up(&conn->st->descriptions, key);
    Py_XDECREF(key);
    if (found == NULL) {
        return false;
    }
    size_t params = stmt->params_count * sizeof(uint32_t);
    return found->params_count != stmt->params_count
           || memcmp(found->param_oids, stmt->param_oids, params) != 0
           || found->returns_rows != stmt->returns_rows
           || !description_bytes_equal(found->shape, stmt->shape);
}

void
descriptions_put(struct connection *conn, struct statement *stmt)
{
    struct descriptions *all = &conn->st->descriptions;
    /* What an open transaction has made nobody else sees. */
    PyObject *key = conn->schema_changed != 0 ? NULL : description_key(conn, stmt->sql);
    if (key == NULL) {
        return;
    }
    struct statement *old = descriptions_look_up(all, key);
    struct statement *kept = stmt_copy(stmt);
    if (old != NULL) {
        descriptions_drop(all, old);
    }
    if (kept == NULL || PyDict_SetItem(all->by_key, key, (PyObject *)kept) < 0) {
        PyErr_Clear();
        Py_XDECREF((PyObject *)kept);
        Py_DECREF(key);
        return;
    }
    stmt_share(kept);
    kept->key = key;
    kept->schema_age = conn->st->schema_age;
    descriptions_link(all, kept);
    all->bytes += description_bytes(kept);
    Py_DECREF((PyObject *)kept); /* the dict has it */
    while (PyDict_GET_SIZE(all->by_key) > DESCRIPTIONS_MAX
           || (all->bytes > DESCRIPTIONS_BYTES_MAX && all->oldest != all->newest)) {
        descriptions_drop(all, all->oldest);
    }
}

void
descriptions_forget(struct connection *conn, PyObject *sql)
{
    PyObject *key = description_key(conn, sql);
    struct statement *stmt =
        key == NULL ? NULL : descriptions_look_up(&conn->st->descriptions, key);
    if (stmt != NULL) {
        descriptions_drop(&conn->st->descriptions, stmt);
    }
    Py_XDECREF(key);
}

/* The state */

int
descriptions_init(struct core_state *st)
{
    st->descriptions.by_key = PyDict_New();
    return st->descriptions.by_key == NULL ? -1 : 0;
}

void
descriptions_clear(struct core_state *st)
{
    struct descriptions *all = &st->descriptions;
    while (all->by_key != NULL && all->newest != NULL) {
        descriptions_drop(all, all->newest);
    }
    Py_CLEAR(all->by_key);
}
