/* What statements take and give, as this process knows it: a connection that has not
 * prepared one sends it in one flight, without asking. Kept for each catalog (a database as
 * a user sees it: link.typelink's), the least recently used go first. Only texts, type OIDs
 * and names of columns: codecs belong to connections.
 *
 * A description may be out of date. It decides in which formats values are sent and asked
 * for, and the types go along with Parse; rows are decoded by what the server says then. */
#ifndef DRIVER_DESCRIPTIONS_H
#define DRIVER_DESCRIPTIONS_H

#include "connection.h"

#define DESCRIPTIONS_MAX 2500
#define DESCRIPTIONS_BYTES_MAX (8u * 1024 * 1024)

/* A statement for `op`, of this connection, that nothing is prepared for yet: a new reference;
 * NULL (no exception) when there is no description, or it might not fit where the server
 * must not refuse it: in a transaction that has begun. */
struct statement *descriptions_find(struct connection *conn, const struct operation *op);

/* Whether the process has learned since that a statement of this connection takes or gives
 * something else. */
bool descriptions_differ(const struct connection *conn, const struct statement *stmt);

/* Keeps what the server has said of the statement just now. */
void descriptions_put(struct connection *conn, struct statement *stmt);

/* It is not true any more. */
void descriptions_forget(struct connection *conn, PyObject *sql);

/* Before the state is used; -1 with an exception. */
int descriptions_init(struct core_state *st);

/* At the end of the module. */
void descriptions_clear(struct core_state *st);

#endif
