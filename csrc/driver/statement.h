/* A prepared statement: its name on the server, the codecs of its parameters and
 * columns, resolved once, and what Python sees of its columns, built once. */
#ifndef DRIVER_STATEMENT_H
#define DRIVER_STATEMENT_H

#include "module.h"

#include "../wire/session.h"

#define STMT_NAME_MAX 48

struct column {
    const struct codec *codec;
    uint32_t type_oid;
    int32_t type_modifier;
    int16_t type_size;
};

struct statement {
    PyObject_HEAD
    struct core_state *st;
    PyObject *sql;
    const void *owner; /* the connection it was prepared on; compared, never followed */
    char name[STMT_NAME_MAX];
    size_t name_len;
    size_t params_count;
    const struct codec **params;
    uint32_t *param_oids;
    size_t columns_count;
    struct column *columns;
    bool returns_rows; /* a RowDescription came (it may have no columns) */
    bool atomic_rows;  /* every column's values are free of references to containers */
    bool prepared;     /* the server knows it under its name */
    PyObject *fields;      /* tuple of column names */
    PyObject *description; /* PEP 249's, built when first asked for */
    PyTypeObject *row_type; /* Row subclass, made when first needed */
    uint8_t *result_formats; /* the tail of Bind */
    size_t result_formats_len;
    double prepared_at; /* monotonic seconds */
    struct statement *newer; /* LRU list of the cache, borrowed */
    struct statement *older;
};

/* A new statement for `sql` (a str), named by a hash of its text, or unnamed. */
struct statement *stmt_new(struct core_state *st, PyObject *sql, bool named);

/* Takes over what ParameterDescription and RowDescription say. -1 with an exception. */
int stmt_set_params(struct statement *stmt, size_t count, struct wire_reader *oids);
int stmt_set_columns(struct statement *stmt, size_t count, struct wire_reader *fields);

/* PEP 249's description: a new reference (None when it returns no rows). */
PyObject *stmt_description(struct statement *stmt);

/* The Row subclass of its columns: a borrowed reference that lives as long as the
 * statement; NULL with an exception. */
PyTypeObject *stmt_row_type_borrow(struct statement *stmt);

static inline wire_slice
stmt_name(const struct statement *stmt)
{
    wire_slice name = {(const uint8_t *)stmt->name, stmt->name_len};
    return name;
}

/* Adds the type to the state. -1 with an exception. */
int stmt_type_init(struct core_state *st, PyObject *module);

#endif
