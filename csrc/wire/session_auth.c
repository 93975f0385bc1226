#include "session_auth.h"

#include <assert.h>
#include <openssl/crypto.h>

static const char plain_name[] = "SCRAM-SHA-256";
static const char plus_name[] = "SCRAM-SHA-256-PLUS";
static const char oauth_name[] = "OAUTHBEARER";

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

enum wire_status
wire_session_prepare(struct wire_session *s, const struct wire_startup *startup)
{
    assert(startup->binding.len <= WIRE_BINDING_MAX);
    assert(startup->min_protocol <= startup->max_protocol);
    s->protocol = startup->max_protocol;
    s->protocol_min = startup->min_protocol;
    s->allow = startup->allow;
    s->iterations_max = startup->iterations_max;
    s->channel_binding = startup->channel_binding;
    s->encrypted = startup->binding.ptr != NULL;
    s->binding_len = startup->binding.len;
    if (s->binding_len > 0) {
        memcpy(s->binding, startup->binding.ptr, s->binding_len);
    }
    s->has_password = startup->password.ptr != NULL;
    memcpy(s->nonce, startup->nonce, sizeof(s->nonce));
    wire_buffer_put(&s->user, startup->user.ptr, startup->user.len);
    wire_buffer_put(&s->password, startup->password.ptr, startup->password.len);
    return s->user.failed != WIRE_OK || s->password.failed != WIRE_OK ? WIRE_ERR_MEMORY : WIRE_OK;
}

/* NegotiateProtocolVersion: the server speaks an older version than was asked for, or
 * does not know an option; none was asked for. */

static enum wire_status
negotiation_fail(struct wire_session *s, const char *what)
{
    return wire_error_set(&s->error, WIRE_ERR_PROTOCOL, "NegotiateProtocolVersion %s", what);
}

static enum wire_status
check_negotiation(struct wire_session *s, const struct wire_negotiation *n)
{
    if (s->negotiated || s->auth_started != 0) {
        return negotiation_fail(s, "came when it was not due");
    }
    if (n->version > s->protocol) {
        return negotiation_fail(s, "names a newer version than was asked for");
    }
    if (n->version < WIRE_PROTOCOL_3_0 || n->version == WIRE_PROTOCOL_3_1) {
        return negotiation_fail(s, "names a version that does not exist");
    }
    if (n->options != 0) {
        return negotiation_fail(s, "refuses an option that was not asked for");
    }
    if (n->version == s->protocol) {
        return negotiation_fail(s, "changes nothing");
    }
    if (n->version < s->protocol_min) {
        return wire_error_set(&s->error, WIRE_ERR_VERSION,
                              "the server only supports protocol version %u.%u, but "
                              "min_protocol_version is %u.%u",
                              (unsigned)(n->version >> 16), (unsigned)(n->version & 0xFFFF),
                              (unsigned)(s->protocol_min >> 16),
                              (unsigned)(s->protocol_min & 0xFFFF));
    }
    return WIRE_MORE;
}

enum wire_status
wire_session_negotiate(struct wire_session *s, wire_slice body)
{
    struct wire_negotiation n;
    if (!wire_parse_negotiation(body, &n)) {
        return negotiation_fail(s, "is malformed");
    }
    enum wire_status status = check_negotiation(s, &n);
    if (status == WIRE_MORE) {
        s->negotiated = true;
        s->protocol = n.version;
    }
    return status;
}

/* Authentication */

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
    if (s->channel_binding == WIRE_BINDING_REQUIRE && method != WIRE_ALLOW_SCRAM_SHA_256) {
        return wire_error_set(&s->error, WIRE_ERR_AUTH,
                              "channel_binding=require, but the server asked for %s "
                              "authentication, which cannot be bound to TLS",
                              name);
    }
    bool keys = method == WIRE_ALLOW_SCRAM_SHA_256 && (s->allow & WIRE_ALLOW_SCRAM_KEYS) != 0;
    if (!s->has_password && !keys) {
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
    if (s->channel_binding == WIRE_BINDING_REQUIRE && !s->bound) {
        return auth_fail(s, "channel_binding=require, but the server let us in without "
                            "SCRAM-SHA-256-PLUS");
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

/* The server's list of SASL mechanisms. */
struct sasl_offer {
    bool plain;
    bool plus;
    bool oauth;
    char names[128]; /* as text */
};

static bool
name_is(wire_slice name, const char *known)
{
    return name.len == strlen(known) && memcmp(name.ptr, known, name.len) == 0;
}

static bool
read_offer(wire_slice data, struct sasl_offer *offer)
{
    struct wire_reader r = wire_reader_of(data);
    size_t len = 0;
    memset(offer, 0, sizeof(*offer));
    while (!r.bad) {
        wire_slice name = wire_read_cstr(&r);
        if (name.len == 0) {
            break;
        }
        offer->plain = offer->plain || name_is(name, plain_name);
        offer->plus = offer->plus || name_is(name, plus_name);
        offer->oauth = offer->oauth || name_is(name, oauth_name);
        for (size_t i = 0; i < name.len + 1 && len + 1 < sizeof(offer->names); i++) {
            uint8_t c = i < name.len ? name.ptr[i] : ' ';
            offer->names[len++] = c >= 32 && c < 127 ? (char)c : '?';
        }
    }
    return wire_reader_end(&r);
}

#define NOTHING_TO_BIND                                                                            \
    "the signature of the server's certificate has no hash function (as with Ed25519): nothing "   \
    "can be bound to it"

/* Refuses an offer that is too little for channel_binding=require, that nobody makes
 * without TLS, or that can only be declined: a certificate without a hash function may
 * be there to that end. */
static enum wire_status
check_offer(struct wire_session *s, const struct sasl_offer *offer)
{
    bool require = s->channel_binding == WIRE_BINDING_REQUIRE;
    if (require && !s->encrypted) {
        return auth_fail(s, "channel_binding=require, but the connection has no TLS");
    }
    if (offer->plus && !s->encrypted) {
        return auth_fail(s, "the server offers SCRAM-SHA-256-PLUS on a connection without TLS: "
                            "something in between may have removed it");
    }
    if (s->channel_binding != WIRE_BINDING_DISABLE && s->encrypted && s->binding_len == 0
        && (require || offer->plus)) {
        return auth_fail(s, require ? "channel_binding=require, but " NOTHING_TO_BIND
                                    : "channel_binding=prefer, but " NOTHING_TO_BIND
                                      " (sslmode=verify-full or channel_binding=disable does "
                                      "without)");
    }
    if (require && !offer->plus) {
        return wire_error_set(&s->error, WIRE_ERR_AUTH,
                              "channel_binding=require, but the server offers no "
                              "SCRAM-SHA-256-PLUS, only %s",
                              offer->names);
    }
    return WIRE_OK;
}

/* Chooses the mechanism by its gs2-cbind-flag: 'p' is SCRAM-SHA-256-PLUS. 'y' tells a
 * server that does offer it that somebody has taken it off the list. */
static enum wire_status
choose_mechanism(struct wire_session *s, const struct sasl_offer *offer, char *flag)
{
    enum wire_status status = check_offer(s, offer);
    if (status != WIRE_OK) {
        return status;
    }
    bool able = s->encrypted && s->channel_binding != WIRE_BINDING_DISABLE;
    bool bound = able && offer->plus;
    if (!bound && !offer->plain) {
        return wire_error_set(&s->error, WIRE_ERR_AUTH,
                              "the server offers no SASL mechanism that pgasync can use%s: %s",
                              offer->oauth ? " (it has no OAuth)" : "", offer->names);
    }
    *flag = bound ? 'p' : able ? 'y' : 'n';
    return WIRE_OK;
}

/* Writes SASLInitialResponse. */
static enum wire_status
sasl_first(struct wire_session *s, char flag, struct wire_buffer *out)
{
    struct wire_scram_terms terms = {.flag = flag, .iterations_max = s->iterations_max};
    memcpy(terms.nonce, s->nonce, sizeof(terms.nonce));
    terms.binding.ptr = s->binding;
    terms.binding.len = s->binding_len;
    struct wire_buffer first;
    wire_buffer_init(&first);
    enum wire_status status = wire_scram_first(&s->scram, &terms, &first, &s->error);
    if (status == WIRE_OK) {
        const char *mechanism = flag == 'p' ? plus_name : plain_name;
        wire_slice name = {(const uint8_t *)mechanism, strlen(mechanism)};
        wire_put_sasl_initial(out, name, wire_buffer_unread(&first));
        status = out_status(s, out);
    }
    wire_buffer_clear(&first, true);
    return status;
}

static enum wire_status
auth_sasl(struct wire_session *s, wire_slice data, struct wire_buffer *out)
{
    struct sasl_offer offer;
    if (!read_offer(data, &offer)) {
        return wire_error_set(&s->error, WIRE_ERR_PROTOCOL,
                              "the list of SASL mechanisms is malformed");
    }
    char flag = 'n';
    enum wire_status status = choose_mechanism(s, &offer, &flag);
    if (status == WIRE_OK) {
        status = auth_begin(s, WIRE_AUTH_SASL, WIRE_ALLOW_SCRAM_SHA_256, "scram-sha-256");
    }
    return status == WIRE_OK ? sasl_first(s, flag, out) : status;
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
    s->bound = s->scram.channel[0] == 'p';
    return WIRE_MORE;
}

/* A method that is asked for by servers, but not to be had here. */
static enum wire_status
auth_unknown(struct wire_session *s, uint32_t code)
{
    static const struct {
        uint32_t code;
        const char *name;
    } known[] = {
        {2, "Kerberos V5"}, {4, "crypt"},  {6, "SCM credential"},
        {7, "GSSAPI"},      {8, "GSSAPI"}, {9, "SSPI"},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (known[i].code == code) {
            return wire_error_set(&s->error, WIRE_ERR_AUTH,
                                  "the server asked for %s authentication, which pgasync does "
                                  "not have: let its pg_hba.conf name scram-sha-256",
                                  known[i].name);
        }
    }
    return wire_error_set(&s->error, WIRE_ERR_AUTH,
                          "the server asked for authentication method %u, which pgasync does not "
                          "have (it has password, md5 and scram-sha-256)",
                          (unsigned)code);
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
        return auth_unknown(s, message.code);
    }
}

enum wire_status
wire_session_scram_keys(struct wire_session *s, struct wire_buffer *out,
                        const struct wire_scram_keys *keys)
{
    if (s->phase != WIRE_PHASE_AUTH || s->scram.state != WIRE_SCRAM_KEY_NEEDED) {
        return wire_session_break(s, WIRE_ERR_AUTH, "no key was asked for");
    }
    struct wire_buffer final;
    wire_buffer_init(&final);
    enum wire_status status = wire_scram_final(&s->scram, keys, &final, &s->error);
    if (status == WIRE_OK) {
        wire_put_sasl_response(out, wire_buffer_unread(&final));
        status = out_status(s, out) < 0 ? WIRE_ERR_MEMORY : WIRE_OK;
    }
    wire_buffer_clear(&final, true);
    return status < 0 ? wire_session_break(s, status, "the authentication failed") : WIRE_OK;
}

enum wire_status
wire_session_scram_key(struct wire_session *s, struct wire_buffer *out,
                       const uint8_t key[WIRE_SCRAM_KEY_LEN])
{
    struct wire_scram_keys keys;
    enum wire_status status = wire_scram_derive(key, &keys, &s->error);
    if (status == WIRE_OK) {
        status = wire_session_scram_keys(s, out, &keys);
    }
    else {
        status = wire_session_break(s, status, "the authentication failed");
    }
    OPENSSL_cleanse(&keys, sizeof(keys));
    return status;
}
