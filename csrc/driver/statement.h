/* A prepared statement: its name on the server, the codecs of its parameters and
 * columns, resolved once, and what Python sees of its columns, built once. */
#ifndef DRIVER_STATEMENT_H
#define DRIVER_STATEMENT_H

#include "book.h"

#include "../wire/session.h"

#define STMT_NAME_MAX 48

/* A codec_age: codecs of its columns are to be found when its rows have come. */
#define STMT_CODECS_TO_COME (~0ul)

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
    bool copies;       /* COPY: nothing may be sent behind it before its answer */
    bool alters;       /* a change of the schema: what is sent behind it in a pipeline is
                          looked at again when it has been made */
    uint16_t taints;   /* what it does to its session: see taint.h */
    bool prepared;     /* the server knows it under its name */
    bool described;    /* what it takes and gives is known */
    bool shared;       /* it is a description of the process, and nobody's */
    unsigned long schema_age; /* conn_schema_age() when it was known to be right */
    unsigned long codec_age; /* the book's when its codecs were found; 0: not yet */
    PyObject *codecs; /* list of the Codec objects that its codecs lie in, or NULL */
    PyObject *hints;  /* tuple of the type OIDs that Parse was given (0: the server's
                         choice), or NULL */
    PyObject *shape;  /* bytes: the columns as the server described them, or NULL */
    PyObject *key;    /* of a description, in its dict */
    PyObject *fields; /* tuple of column names */
    PyObject *description; /* PEP 249's, built when first asked for */
    PyTypeObject *row_type; /* Row subclass, made when first needed */
    PyObject *makers;       /* list of makers of rows (factory.h), or NULL */
    uint8_t *result_formats; /* the tail of Bind */
    size_t result_formats_len;
    double prepared_at; /* monotonic seconds */
    struct statement *newer; /* LRU list of the cache, borrowed */
    struct statement *older;
};

/* A new statement for `sql` (a str), named by a hash of its text and hints, or
 * unnamed. `hints`: a tuple of type OIDs for Parse, or NULL. */
struct statement *stmt_new(struct core_state *st, PyObject *sql, PyObject *hints, bool named);

/* The same statement (its name, types and fields) with its codecs still to be found. */
struct statement *stmt_copy(const struct statement *stmt);

/* A copy that belongs to the process: it is not counted among the objects that are alive. */
void stmt_share(struct statement *stmt);

/* Whether a description is the same as the one that the statement has. */
bool stmt_has_shape(const struct statement *stmt, size_t count, struct wire_reader fields);

/* The statement is to have a name, or none, when it is prepared next. -1 with an exception. */
int stmt_choose_name(struct statement *stmt, bool named);

/* Forgets its columns: it returns no rows. */
void stmt_drop_columns(struct statement *stmt);

/* Finds the codecs of its parameters and columns; a type that is not known is text,
 * and its OID (int) is appended to `missing`. -1 with an exception. */
int stmt_resolve(struct statement *stmt, struct codec_book *book, PyObject *missing);

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
