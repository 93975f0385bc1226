#include "session_auth.h"

static const char mechanism_name[] = "SCRAM-SHA-256";

static enum wire_status
auth_fail(struct wire_session *s, const char *text)
{
    return wire_error_set(&s->error, WIRE_ERR_AUTH, "%s", text);
}

void
wire_session_forget_secrets(struct wire_session *s)
{
    wire_buffer_clear(&s->password, true);
    wire_scram_clear(&s->scram);
    s->has_password = false;
}

enum wire_status
wire_session_break(struct wire_session *s, enum wire_status status, const char *text)
{
    s->phase = WIRE_PHASE_BROKEN;
    wire_session_forget_secrets(s);
    return wire_error_set(&s->error, status, "%s", text);
}

/* May `method` start now? Exactly one method, allowed, with what it needs. */
static enum wire_status
auth_begin(struct wire_session *s, uint32_t code, unsigned method, const char *name)
{
    if (s->auth_started != 0) {
        return wire_error_set(&s->error, WIRE_ERR_PROTOCOL,
                              "the server asked for a second authentication method (%s)", name);
    }
    if ((s->allow & method) == 0) {
        return wire_error_set(&s->error, WIRE_ERR_AUTH,
                              "the server asked for %s authentication, which require_auth does "
                              "not allow%s",
                              name,
                              method == WIRE_ALLOW_PASSWORD
                                  ? " (a cleartext password over an unencrypted connection to "
                                    "another machine must be allowed by name)"
                                  : "");
    }
    if (!s->has_password) {
        return wire_error_set(&s->error, WIRE_ERR_AUTH,
                              "the server asked for a password (%s), and none was given", name);
    }
    s->auth_started = code;
    return WIRE_OK;
}

static enum wire_status
out_status(struct wire_session *s, const struct wire_buffer *out)
{
    if (out->failed != WIRE_OK) {
        return wire_error_set(&s->error, WIRE_ERR_MEMORY, "out of memory while authenticating");
    }
    return WIRE_MORE;
}

static enum wire_status
auth_ok(struct wire_session *s, wire_slice data)
{
    if (data.len != 0) {
        return wire_error_set(&s->error, WIRE_ERR_PROTOCOL, "AuthenticationOk of a wrong length");
    }
    if (s->auth_started == 0 && (s->allow & WIRE_ALLOW_NONE) == 0) {
        return auth_fail(s, "the server let us in without authentication, which require_auth "
                            "does not allow");
    }
    if (s->auth_started != 0 && !s->auth_finished) {
        return auth_fail(s, "the server said OK before the authentication was finished: it did "
                            "not prove that it knows the password");
    }
    wire_session_forget_secrets(s);
    s->phase = WIRE_PHASE_BOOT;
    return WIRE_MORE;
}

static enum wire_status
auth_cleartext(struct wire_session *s, wire_slice data, struct wire_buffer *out)
{
    if (data.len != 0) {
        return wire_error_set(&s->error, WIRE_ERR_PROTOCOL,
                              "AuthenticationCleartextPassword of a wrong length");
    }
    enum wire_status status = auth_begin(s, WIRE_AUTH_CLEARTEXT, WIRE_ALLOW_PASSWORD, "password");
    if (status != WIRE_OK) {
        return status;
    }
    wire_put_password(out, wire_buffer_unread(&s->password));
    s->auth_finished = true;
    return out_status(s, out);
}

static enum wire_status
auth_md5(struct wire_session *s, wire_slice data, struct wire_buffer *out)
{
    if (data.len != WIRE_SALT_LEN) {
        return wire_error_set(&s->error, WIRE_ERR_PROTOCOL,
                              "AuthenticationMD5Password with a salt of %zu bytes", data.len);
    }
    enum wire_status status = auth_begin(s, WIRE_AUTH_MD5, WIRE_ALLOW_MD5, "md5");
    if (status != WIRE_OK) {
        return status;
    }
    char answer[WIRE_MD5_ANSWER_LEN + 1];
    status = wire_md5_answer(wire_buffer_unread(&s->user), wire_buffer_unread(&s->password),
                             data.ptr, answer, &s->error);
    if (status != WIRE_OK) {
        return status;
    }
    wire_slice text = {(const uint8_t *)answer, WIRE_MD5_ANSWER_LEN};
    wire_put_password(out, text);
    s->auth_finished = true;
    return out_status(s, out);
}

/* Is SCRAM-SHA-256 in the list? Copies the list, as text, into `offered`. */
static bool
find_mechanism(wire_slice data, bool *found, char *offered, size_t offered_max)
{
    struct wire_reader r = wire_reader_of(data);
    size_t len = 0;
    *found = false;
    offered[0] = '\0';
    while (!r.bad) {
        wire_slice name = wire_read_cstr(&r);
        if (name.len == 0) {
            break;
        }
        if (name.len == sizeof(mechanism_name) - 1
            && memcmp(name.ptr, mechanism_name, name.len) == 0) {
            *found = true;
        }
        for (size_t i = 0; i < name.len + 1 && len + 1 < offered_max; i++) {
            uint8_t c = i < name.len ? name.ptr[i] : ' ';
            offered[len++] = c >= 32 && c < 127 ? (char)c : '?';
        }
        offered[len] = '\0';
    }
    return wire_reader_end(&r);
}

static enum wire_status
auth_sasl(struct wire_session *s, wire_slice data, struct wire_buffer *out)
{
    bool found;
    char offered[128];
    if (!find_mechanism(data, &found, offered, sizeof(offered))) {
        return wire_error_set(&s->error, WIRE_ERR_PROTOCOL,
                              "the list of SASL mechanisms is malformed");
    }
    if (!found) {
        return wire_error_set(&s->error, WIRE_ERR_AUTH,
                              "the server offers no SASL mechanism that pgasync knows: %s",
                              offered);
    }
    enum wire_status status =
        auth_begin(s, WIRE_AUTH_SASL, WIRE_ALLOW_SCRAM_SHA_256, "scram-sha-256");
    if (status != WIRE_OK) {
        return status;
    }
    struct wire_buffer first;
    wire_buffer_init(&first);
    status = wire_scram_first(&s->scram, s->nonce, &first, &s->error);
    if (status == WIRE_OK) {
        wire_slice mechanism = {(const uint8_t *)mechanism_name, sizeof(mechanism_name) - 1};
        wire_put_sasl_initial(out, mechanism, wire_buffer_unread(&first));
        status = out_status(s, out);
    }
    wire_buffer_clear(&first, true);
    return status;
}

static enum wire_status
auth_sasl_continue(struct wire_session *s, wire_slice data, struct wire_event *event)
{
    if (s->auth_started != WIRE_AUTH_SASL || s->scram.state != WIRE_SCRAM_FIRST_SENT) {
        return wire_error_set(&s->error, WIRE_ERR_PROTOCOL,
                              "AuthenticationSASLContinue came when none was due");
    }
    enum wire_status status = wire_scram_server_first(&s->scram, data, &s->error);
    if (status != WIRE_OK) {
        return status;
    }
    event->kind = WIRE_EV_SCRAM_KEY;
    event->u.scram.salt = wire_buffer_unread(&s->scram.salt);
    event->u.scram.iterations = s->scram.iterations;
    return WIRE_OK;
}

static enum wire_status
auth_sasl_final(struct wire_session *s, wire_slice data)
{
    if (s->auth_started != WIRE_AUTH_SASL || s->scram.state != WIRE_SCRAM_FINAL_SENT) {
        return wire_error_set(&s->error, WIRE_ERR_PROTOCOL,
                              "AuthenticationSASLFinal came when none was due");
    }
    enum wire_status status = wire_scram_server_final(&s->scram, data, &s->error);
    if (status != WIRE_OK) {
        return status;
    }
    s->auth_finished = true;
    return WIRE_MORE;
}

enum wire_status
wire_session_authenticate(struct wire_session *s, wire_slice body, struct wire_buffer *out,
                          struct wire_event *event)
{
    struct wire_authentication message;
    if (!wire_parse_authentication(body, &message)) {
        return wire_error_set(&s->error, WIRE_ERR_PROTOCOL, "malformed authentication request");
    }
    switch (message.code) {
    case WIRE_AUTH_OK:
        return auth_ok(s, message.data);
    case WIRE_AUTH_CLEARTEXT:
        return auth_cleartext(s, message.data, out);
    case WIRE_AUTH_MD5:
        return auth_md5(s, message.data, out);
    case WIRE_AUTH_SASL:
        return auth_sasl(s, message.data, out);
    case WIRE_AUTH_SASL_CONTINUE:
        return auth_sasl_continue(s, message.data, event);
    case WIRE_AUTH_SASL_FINAL:
        return auth_sasl_final(s, message.data);
    default:
        return wire_error_set(&s->error, WIRE_ERR_AUTH,
                              "the server asked for authentication method %u, which pgasync "
                              "does not have (it has password, md5 and scram-sha-256)",
                              (unsigned)message.code);
    }
}

enum wire_status
wire_session_scram_key(struct wire_session *s, struct wire_buffer *out,
                       const uint8_t key[WIRE_SCRAM_KEY_LEN])
{
    if (s->phase != WIRE_PHASE_AUTH || s->scram.state != WIRE_SCRAM_KEY_NEEDED) {
        return wire_session_break(s, WIRE_ERR_AUTH, "no key was asked for");
    }
    struct wire_buffer final;
    wire_buffer_init(&final);
    enum wire_status status = wire_scram_final(&s->scram, key, &final, &s->error);
    if (status == WIRE_OK) {
        wire_put_sasl_response(out, wire_buffer_unread(&final));
        status = out_status(s, out) < 0 ? WIRE_ERR_MEMORY : WIRE_OK;
    }
    wire_buffer_clear(&final, true);
    return status < 0 ? wire_session_break(s, status, "the authentication failed") : WIRE_OK;
}
