/* The only place that turns a refusal of the server, of the transport or of the
 * wire layer into a Python exception. */
#ifndef DRIVER_ERRORS_H
#define DRIVER_ERRORS_H

#include "module.h"

#include "../wire/backend.h"

/* What became of a request, as `outcome` of the exception says it. */
#define OUTCOME_NOT_SENT "not_sent"
#define OUTCOME_FAILED "failed"
#define OUTCOME_IN_DOUBT "in_doubt"

/* The fields of an ErrorResponse or NoticeResponse as {code: text}: a new
 * reference, NULL with an exception. Text that is not UTF-8 is replaced, since an
 * error before authentication may come in any encoding. */
PyObject *errors_fields(wire_slice body);

/* True when the severity is FATAL or PANIC: the session is over. */
bool errors_is_fatal(PyObject *fields);

/* Exception objects (new references; NULL with an exception set when even that
 * fails). `query` may be NULL. */
PyObject *
errors_from_fields(struct core_state *st, PyObject *fields, PyObject *query, const char *outcome);
PyObject *errors_stale(struct core_state *st, PyObject *fields, PyObject *query);
PyObject *errors_lost(struct core_state *st, const char *message, PyObject *fields, int error,
                      const char *outcome, PyObject *query);
PyObject *
errors_violation(struct core_state *st, const char *message, const char *outcome, PyObject *query);
PyObject *errors_auth_failed(struct core_state *st, const char *message);
PyObject *errors_rolled_back(struct core_state *st, PyObject *query);

/* Has the exception say what became of its request: an OUTCOME_. */
void errors_set_outcome(PyObject *error, const char *outcome);
/* A statement of a pipeline that did not run, as `cause` (or NULL: a cancellation) had
 * stopped it. */
PyObject *errors_aborted(struct core_state *st, PyObject *query, PyObject *cause);

/* Sets `type` with a formatted text. Returns NULL. */
PyObject *errors_set(PyObject *type, const char *format, ...);

/* Takes the current exception and gives it as an object; a RuntimeError if there
 * is none. Never NULL unless memory is out. */
PyObject *errors_take(void);

#endif
