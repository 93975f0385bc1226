/* What a session has that its next user must not see: known from the texts of statements,
 * each looked at once, and from what the server reports. Flags are raised when a statement
 * is sent, whatever becomes of it: the session may be clean and be taken for tainted, never
 * the other way round. What functions do inside of the server cannot be seen.
 *
 * And how it is undone: by statements that ride in front of the next user's first one, in
 * a transaction of their own, so that they stand when that fails, and nothing of it runs
 * when they fail. */
#ifndef DRIVER_TAINT_H
#define DRIVER_TAINT_H

#include "compat.h"

#include "../wire/buffer.h"

#include <stdbool.h>
#include <stdint.h>

struct connection;
struct operation;

enum taint {
    TAINT_SETTINGS = 1,  /* SET, RESET, set_config(…, false) */
    TAINT_ROLE = 2,      /* SET ROLE, SET SESSION AUTHORIZATION */
    TAINT_LISTEN = 4,    /* LISTEN */
    TAINT_TEMP = 8,      /* temporary tables, views, sequences */
    TAINT_LOCKS = 16,    /* advisory locks that outlive the transaction */
    TAINT_CURSORS = 32,  /* cursors WITH HOLD */
    TAINT_PREPARED = 64, /* PREPARE as SQL */
    TAINT_OPAQUE = 128,  /* DO, CALL: any of the above */
    TAINT_REPORTED = 256, /* a ParameterStatus came, be it for what was set or set back */
    TAINT_DRIVER = 512    /* what the driver keeps of it: raised by Python alone */
};

/* What the statements of a text (UTF-8) taint. */
unsigned taint_of_text(const char *sql, size_t len);

/* Appends the name in PREPARE, as the server has it, with its NUL. Nothing where the text
 * is no PREPARE. */
void taint_put_prepared(const char *sql, size_t len, struct wire_buffer *names);

/* The same as taint_of_text() for a str; 0 where it cannot be sent anyway. */
unsigned taint_of_sql(PyObject *sql);

/* _core.taints(); see _core.pyi. */
PyObject *core_taints(PyObject *module, PyObject *sql);

/* `op`, whose statement (or text) taints so, is being sent. */
void taint_note(struct connection *conn, const struct operation *op, unsigned taints);

/* Whether the resets that are due must be answered before `op` may be sent: they cannot ride
 * in front of it. */
bool taint_goes_first(const struct connection *conn, const struct operation *op);

/* Whether they ride in front of `op`. */
bool taint_rides(const struct connection *conn, const struct operation *op);

/* The server has refused one of them, with these fields: the connection closes. */
void taint_not_undone(struct connection *conn, PyObject *fields);

/* Sends them in a flight of their own, when nothing else is in flight. -1 with an
 * exception. */
int taint_send(struct connection *conn);

/* Methods of the Python type; see _core.pyi. */
PyObject *Connection_reset_due(struct connection *conn, PyObject *resets);
PyObject *Connection_reset_now(struct connection *conn, PyObject *unused);
PyObject *Connection_watch_settings(struct connection *conn, PyObject *list);

#endif
