/* Whether a pooler stands in front of the server. Where the key that came at the startup
 * does not tell, conn->asking has a statement that must be parsed anyway take a question
 * along: the process that answers is the one of the key, unless the key was a pooler's. */
#ifndef DRIVER_POOLED_H
#define DRIVER_POOLED_H

#include "connection.h"

/* `op` is about to have its statement parsed: whether the question goes in front of it.
 * Only where conn->asking. */
bool pooled_may_ask(const struct connection *conn, const struct operation *op);

/* Appends the question. -1 with an exception. */
int pooled_put_question(struct connection *conn, struct operation *op);

/* The answer: link.answered(pid) is told. */
void pooled_on_answer(struct connection *conn, size_t count, struct wire_reader cells);

/* What rode in front of `op` was refused. True: that may be the question, which will not be
 * asked again, and `op` has not run. */
bool pooled_refused(struct connection *conn, struct operation *op);

/* The server does not know a statement that it was given, or knows one that it was not:
 * has the question asked, unless prepared_statements says what to do. */
void pooled_suspect(struct connection *conn);

#endif
