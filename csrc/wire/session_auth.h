/* The startup's share of the session; private to session.c. */
#ifndef WIRE_SESSION_AUTH_H
#define WIRE_SESSION_AUTH_H

#include "session.h"

/* Copies what the startup needs later on; WIRE_ERR_MEMORY without text. */
WIRE_MUSTCHECK enum wire_status
wire_session_prepare(struct wire_session *s, const struct wire_startup *startup);

/* Handles a NegotiateProtocolVersion body: WIRE_MORE, or negative. */
WIRE_MUSTCHECK enum wire_status wire_session_negotiate(struct wire_session *s, wire_slice body);

/* Handles an AuthenticationXxx body. WIRE_OK: `event` is filled (SCRAM_KEY);
 * WIRE_MORE: dealt with, no event; negative: the session is broken. */
WIRE_MUSTCHECK enum wire_status
wire_session_authenticate(struct wire_session *s, wire_slice body, struct wire_buffer *out,
                          struct wire_event *event);

/* Wipes the password and the keys: the startup is over, well or not. */
void wire_session_forget_secrets(struct wire_session *s);

/* Ends the session for good: wipes the secrets and stores `status` with `text`,
 * unless an error is stored already. Returns the status now stored. */
enum wire_status
wire_session_break(struct wire_session *s, enum wire_status status, const char *text);

#endif
