/* The state of one instance of the module (one per interpreter). */
#ifndef DRIVER_MODULE_H
#define DRIVER_MODULE_H

#include "compat.h"

#include "../codec/codec.h"

/* Names that are looked up or called again and again, interned once. */
#define CORE_NAMES(X)                                                                              \
    X(_fields)                                                                                     \
    X(_index)                                                                                      \
    X(__slots__)                                                                                   \
    X(__module__)                                                                                  \
    X(_on_readable)                                                                                \
    X(_on_writable)                                                                                \
    X(_pump_again)                                                                                 \
    X(_unrun)                                                                                      \
    X(_first)                                                                                      \
    X(_write_soon)                                                                                 \
    X(abandoned)                                                                                   \
    X(admits)                                                                                      \
    X(answered)                                                                                    \
    X(_run_script)                                                                                 \
    X(__sqlalchemy_greenlet_provider__)                                                            \
    X(add_reader)                                                                                  \
    X(add_writer)                                                                                  \
    X(check_pipeline)                                                                              \
    X(call_soon)                                                                                   \
    X(call_soon_threadsafe)                                                                        \
    X(execute)                                                                                     \
    X(context)                                                                                     \
    X(drained)                                                                                     \
    X(is_running)                                                                                  \
    X(moved)                                                                                       \
    X(is_closed)                                                                                   \
    X(is_script)                                                                                   \
    X(lost)                                                                                        \
    X(notice)                                                                                      \
    X(notification)                                                                                \
    X(parameter)                                                                                   \
    X(remove_reader)                                                                               \
    X(remove_writer)                                                                               \
    X(resolve)                                                                                     \
    X(rewrite)                                                                                     \
    X(scram)                                                                                       \
    X(types)                                                                                       \
    X(types_changed)                                                                               \
    X(types_doubted)                                                                               \
    X(types_found)                                                                                 \
    X(untraced)                                                                                    \
    X(_finish)                                                                                     \
    X(_lease)                                                                                      \
    X(_enter_lease)                                                                                \
    X(idle)                                                                                        \
    X(used)                                                                                        \
    X(infer)

struct statement;

/* Of statements, whichever connection prepared them: see descriptions.h. */
struct descriptions {
    PyObject *by_key; /* {(catalog, sql): Statement}, owns them */
    struct statement *newest;
    struct statement *oldest;
    size_t bytes;
};

struct core_state {
    struct codec_types types;
    PyTypeObject *codec_type;
    PyTypeObject *connection_type;
    PyTypeObject *operation_type;
    PyTypeObject *copy_rows_type;
    PyTypeObject *cursor_type;
    PyTypeObject *stream_step_type;
    PyTypeObject *statement_type;
    PyTypeObject *row_type;
    PyTypeObject *copy_reader_type;
    PyTypeObject *tls_context_type;
    PyTypeObject *tls_type;
    PyTypeObject *pool_member_type;
    PyTypeObject *pool_counts_type;
    PyTypeObject *acquiring_type;
    PyTypeObject *pool_handle_type;
    /* pgasync.errors */
    PyObject *interface_error;
    PyObject *data_error;
    PyObject *programming_error;
    PyObject *not_supported_error;
    PyObject *from_fields;
    PyObject *not_begun;
    PyObject *stale;
    PyObject *lost;
    PyObject *violation;
    PyObject *auth_failed;
    PyObject *rolled_back;
    PyObject *aborted;
    /* asyncio */
    PyObject *cancelled_error;
    PyObject *running_loop; /* asyncio._get_running_loop */
    PyObject *current_task; /* asyncio.current_task */
    PyObject *current_tasks; /* what that looks into: {loop: task}; NULL: it is fast itself */
    PyObject *tuple_getter; /* collections._tuplegetter: what namedtuple's fields are */
    PyObject *multiple_statements;
    PyObject *context_kwnames; /* ("context",) */
    PyObject *row_types;       /* {names: Row subclass} */
    PyObject *blocks;          /* context variable: see block.h */
    PyObject *compile_maker;   /* pgasync.rows.compile_maker, once it was needed */
    PyObject *sql_commit;      /* "COMMIT" */
    PyObject *sql_rollback;    /* "ROLLBACK" */
    PyObject *sql_pid;         /* the question of pooled.h */
#define X(name) PyObject *name_##name;
    CORE_NAMES(X)
#undef X
    struct descriptions descriptions;
    unsigned long fork_generation; /* raised in every forked child */
    unsigned long schema_age;      /* counts the changes of any schema: see stale.c */
    uint64_t schema_moved;         /* ns: when it was last raised */
    Py_ssize_t live;               /* connections, operations and statements */
};

#endif
