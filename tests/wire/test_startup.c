/* The startup: version of the protocol, authentication, what is allowed before the
 * first ReadyForQuery. */
#include "talk.h"

#define BOOTED                                                                                     \
    "parameter TimeZone=UTC\n"                                                                     \
    "key 42 key!\n"                                                                                \
    "notice S=NOTICE\n"                                                                            \
    "ready I\n"

static void
check_startup(struct talk *talk, const char *events, const char *sent, size_t sent_len, int line)
{
    struct outcome o;
    serve(talk, "SKNZ");
    talk_run(talk, &o);
    check_str((const char *)o.transcript.data, events, "events", __FILE__, line);
    check_int(o.status, WIRE_MORE, "status", __FILE__, line);
    check_str(o.error.text, "", "error", __FILE__, line);
    check_slice(wire_buffer_unread(&o.sent), sent, sent_len, "sent", __FILE__, line);
    check_int(o.phase, WIRE_PHASE_READY, "phase", __FILE__, line);
    check_true(!o.secrets, "the secrets are wiped", __FILE__, line);
    outcome_clear(&o);
    talk_clear(talk);
}

#define CHECK_STARTUP(talk, events, sent)                                                          \
    check_startup((talk), events, sent, sizeof(sent) - 1, __LINE__)

static void
test_startup_trust(void)
{
    struct talk talk = startup_talk(WIRE_ALLOW_NONE, "unused");
    serve(&talk, "NR");
    CHECK_STARTUP(&talk, "notice S=NOTICE\n" BOOTED, "");
    talk = startup_talk(WIRE_ALLOW_ALL, NULL);
    serve(&talk, "R");
    CHECK_STARTUP(&talk, BOOTED, "");
}

static void
test_startup_password(void)
{
    struct talk talk = startup_talk(WIRE_ALLOW_PASSWORD, "secret");
    SERVER(&talk, 'R', AUTH_CLEARTEXT);
    serve(&talk, "R");
    CHECK_STARTUP(&talk, BOOTED, "p\0\0\0\x0Bsecret\0");
    talk = startup_talk(WIRE_ALLOW_PASSWORD, ""); /* empty is not none */
    SERVER(&talk, 'R', AUTH_CLEARTEXT);
    serve(&talk, "R");
    CHECK_STARTUP(&talk, BOOTED, "p\0\0\0\5\0");
}

static void
test_startup_md5(void)
{
    struct talk talk = startup_talk(WIRE_ALLOW_MD5, "secret");
    SERVER(&talk, 'R', AUTH_MD5);
    serve(&talk, "R");
    CHECK_STARTUP(&talk, BOOTED, "p\0\0\0\x28md5fccef98e4f1cf6cbe96b743fad4e8bd0\0");
}

static void
test_startup_scram(void)
{
    struct talk talk = startup_talk(WIRE_ALLOW_SCRAM_SHA_256, "secret");
    SERVER(&talk, 'R', AUTH_SASL "SCRAM-SHA-1\0" LIST);
    SERVER(&talk, 'R', AUTH_CONTINUE SERVER_FIRST);
    SERVER(&talk, 'R', AUTH_FINAL SERVER_FINAL);
    serve(&talk, "R");
    CHECK_STARTUP(&talk, "scram i=2 salt=salt\n" BOOTED,
                  "p\0\0\0\x36SCRAM-SHA-256\0\0\0\0\x20" CLIENT_FIRST "p\0\0\0\x5B" CLIENT_FINAL);
}

/* One authentication request, refused. */
static void
check_request(unsigned allow, const char *password, const char *body, size_t len,
              enum wire_status status, const char *text, int line)
{
    struct talk talk = startup_talk(allow, password);
    server_bytes(&talk, 'R', body, len);
    serve(&talk, "R");
    check_broken(&talk, "", status, text, line);
}

#define CHECK_REQUEST(allow, password, body, status, text)                                         \
    check_request((allow), (password), body, sizeof(body) - 1, (status), (text), __LINE__)

static void
test_not_allowed(void)
{
    CHECK_REQUEST(WIRE_ALLOW_ALL & ~WIRE_ALLOW_NONE, "secret", AUTH_OK, WIRE_ERR_AUTH,
                  "without authentication");
    CHECK_REQUEST(WIRE_ALLOW_ALL & ~WIRE_ALLOW_PASSWORD, "secret", AUTH_CLEARTEXT, WIRE_ERR_AUTH,
                  "does not allow");
    CHECK_REQUEST(WIRE_ALLOW_ALL & ~WIRE_ALLOW_MD5, "secret", AUTH_MD5, WIRE_ERR_AUTH,
                  "does not allow");
    CHECK_REQUEST(WIRE_ALLOW_ALL & ~WIRE_ALLOW_SCRAM_SHA_256, "secret", AUTH_SASL LIST,
                  WIRE_ERR_AUTH, "does not allow");
}

static void
test_no_password(void)
{
    CHECK_REQUEST(WIRE_ALLOW_ALL, NULL, AUTH_CLEARTEXT, WIRE_ERR_AUTH, "none was given");
    CHECK_REQUEST(WIRE_ALLOW_ALL, NULL, AUTH_MD5, WIRE_ERR_AUTH, "none was given");
    CHECK_REQUEST(WIRE_ALLOW_ALL, NULL, AUTH_SASL LIST, WIRE_ERR_AUTH, "none was given");
}

static void
test_unknown_methods(void)
{
    /* Kerberos V4 and V5, crypt, SCM, GSS and its continuation, SSPI, and nonsense. */
    CHECK_REQUEST(WIRE_ALLOW_ALL, "secret", "\0\0\0\1", WIRE_ERR_AUTH, "method 1,");
    CHECK_REQUEST(WIRE_ALLOW_ALL, "secret", "\0\0\0\2", WIRE_ERR_AUTH, "Kerberos V5");
    CHECK_REQUEST(WIRE_ALLOW_ALL, "secret", "\0\0\0\4ab", WIRE_ERR_AUTH, "crypt");
    CHECK_REQUEST(WIRE_ALLOW_ALL, "secret", "\0\0\0\6", WIRE_ERR_AUTH, "SCM credential");
    CHECK_REQUEST(WIRE_ALLOW_ALL, "secret", "\0\0\0\7", WIRE_ERR_AUTH, "GSSAPI");
    CHECK_REQUEST(WIRE_ALLOW_ALL, "secret", "\0\0\0\x08gss", WIRE_ERR_AUTH, "GSSAPI");
    CHECK_REQUEST(WIRE_ALLOW_ALL, "secret", "\0\0\0\x09", WIRE_ERR_AUTH, "SSPI");
    CHECK_REQUEST(WIRE_ALLOW_ALL, "secret", "\0\0\0\x0D", WIRE_ERR_AUTH, "method 13,");
    CHECK_REQUEST(WIRE_ALLOW_ALL, "secret", "\xFF\xFF\xFF\xFF", WIRE_ERR_AUTH,
                  "method 4294967295,");
    CHECK_REQUEST(WIRE_ALLOW_ALL, "secret", AUTH_SASL "SCRAM-SHA-1\0SCRAM-SHA-512\0\0",
                  WIRE_ERR_AUTH, "SCRAM-SHA-1 SCRAM-SHA-512");
    CHECK_REQUEST(WIRE_ALLOW_ALL, "secret", AUTH_SASL "OAUTHBEARER\0\0", WIRE_ERR_AUTH, "no OAuth");
    CHECK_REQUEST(WIRE_ALLOW_ALL, "secret", AUTH_SASL "\0", WIRE_ERR_AUTH, "no SASL mechanism");
    CHECK_REQUEST(WIRE_ALLOW_ALL, "secret", AUTH_SASL "\x1B[31m\xFF\0\0", WIRE_ERR_AUTH,
                  ": ?[31m?"); /* nothing that a terminal would obey */
}

static void
test_malformed_requests(void)
{
    CHECK_REQUEST(WIRE_ALLOW_ALL, "secret", "", WIRE_ERR_PROTOCOL, "malformed");
    CHECK_REQUEST(WIRE_ALLOW_ALL, "secret", "\0\0\0", WIRE_ERR_PROTOCOL, "malformed");
    CHECK_REQUEST(WIRE_ALLOW_ALL, "secret", AUTH_OK "x", WIRE_ERR_PROTOCOL, "wrong length");
    CHECK_REQUEST(WIRE_ALLOW_ALL, "secret", AUTH_CLEARTEXT "x", WIRE_ERR_PROTOCOL, "wrong length");
    CHECK_REQUEST(WIRE_ALLOW_ALL, "secret", "\0\0\0\5abc", WIRE_ERR_PROTOCOL, "3 bytes");
    CHECK_REQUEST(WIRE_ALLOW_ALL, "secret", "\0\0\0\5abcde", WIRE_ERR_PROTOCOL, "5 bytes");
    CHECK_REQUEST(WIRE_ALLOW_ALL, "secret", AUTH_SASL, WIRE_ERR_PROTOCOL, "malformed");
    CHECK_REQUEST(WIRE_ALLOW_ALL, "secret", AUTH_SASL "SCRAM-SHA-256", WIRE_ERR_PROTOCOL,
                  "malformed");
    CHECK_REQUEST(WIRE_ALLOW_ALL, "secret", AUTH_SASL "SCRAM-SHA-256\0", WIRE_ERR_PROTOCOL,
                  "malformed");
    CHECK_REQUEST(WIRE_ALLOW_ALL, "secret", AUTH_SASL LIST "x", WIRE_ERR_PROTOCOL, "malformed");
}

static void
test_too_long_request(void)
{
    struct talk talk = startup_talk(WIRE_ALLOW_ALL, "secret");
    char list[WIRE_AUTH_MESSAGE_MAX] = AUTH_SASL;
    memset(list + 4, 'x', sizeof(list) - 4);
    server_bytes(&talk, 'R', list, sizeof(list));
    CHECK_BROKEN(&talk, "", WIRE_ERR_LIMIT, "longer");
}

/* One method and no other, each message in its turn. */
static void
test_authentication_order(void)
{
    CHECK_REQUEST(WIRE_ALLOW_ALL, "secret", AUTH_CONTINUE SERVER_FIRST, WIRE_ERR_PROTOCOL,
                  "none was due");
    CHECK_REQUEST(WIRE_ALLOW_ALL, "secret", AUTH_FINAL SERVER_FINAL, WIRE_ERR_PROTOCOL,
                  "none was due");

    struct talk talk = startup_talk(WIRE_ALLOW_ALL, "secret");
    SERVER(&talk, 'R', AUTH_CLEARTEXT);
    SERVER(&talk, 'R', AUTH_CLEARTEXT);
    CHECK_BROKEN(&talk, "", WIRE_ERR_PROTOCOL, "second");

    talk = startup_talk(WIRE_ALLOW_ALL, "secret");
    SERVER(&talk, 'R', AUTH_MD5);
    SERVER(&talk, 'R', AUTH_SASL LIST);
    CHECK_BROKEN(&talk, "", WIRE_ERR_PROTOCOL, "second");

    talk = startup_talk(WIRE_ALLOW_ALL, "secret");
    SERVER(&talk, 'R', AUTH_SASL LIST);
    SERVER(&talk, 'R', AUTH_CLEARTEXT); /* the way to steal a password */
    CHECK_BROKEN(&talk, "", WIRE_ERR_PROTOCOL, "second");

    talk = startup_talk(WIRE_ALLOW_ALL, "secret");
    SERVER(&talk, 'R', AUTH_CLEARTEXT);
    SERVER(&talk, 'R', AUTH_CONTINUE SERVER_FIRST);
    CHECK_BROKEN(&talk, "", WIRE_ERR_PROTOCOL, "none was due");

    talk = startup_talk(WIRE_ALLOW_ALL, "secret");
    serve(&talk, "RR");
    CHECK_BROKEN(&talk, "", WIRE_ERR_PROTOCOL, "not due");
}

static void
test_scram_order(void)
{
    struct talk talk = startup_talk(WIRE_ALLOW_ALL, "secret");
    SERVER(&talk, 'R', AUTH_SASL LIST);
    serve(&talk, "R");
    CHECK_BROKEN(&talk, "", WIRE_ERR_AUTH, "before the authentication was finished");

    talk = startup_talk(WIRE_ALLOW_ALL, "secret");
    SERVER(&talk, 'R', AUTH_SASL LIST);
    SERVER(&talk, 'R', AUTH_FINAL SERVER_FINAL);
    CHECK_BROKEN(&talk, "", WIRE_ERR_PROTOCOL, "none was due");

    talk = startup_talk(WIRE_ALLOW_ALL, "secret");
    SERVER(&talk, 'R', AUTH_SASL LIST);
    SERVER(&talk, 'R', AUTH_CONTINUE SERVER_FIRST);
    serve(&talk, "R");
    CHECK_BROKEN(&talk, "scram i=2 salt=salt\n", WIRE_ERR_AUTH,
                 "before the authentication was finished");

    talk = startup_talk(WIRE_ALLOW_ALL, "secret");
    SERVER(&talk, 'R', AUTH_SASL LIST);
    SERVER(&talk, 'R', AUTH_CONTINUE SERVER_FIRST);
    SERVER(&talk, 'R', AUTH_CONTINUE SERVER_FIRST);
    CHECK_BROKEN(&talk, "scram i=2 salt=salt\n", WIRE_ERR_PROTOCOL, "none was due");

    talk = startup_talk(WIRE_ALLOW_ALL, "secret");
    SERVER(&talk, 'R', AUTH_SASL LIST);
    SERVER(&talk, 'R', AUTH_CONTINUE SERVER_FIRST);
    SERVER(&talk, 'R', AUTH_FINAL SERVER_FINAL);
    SERVER(&talk, 'R', AUTH_FINAL SERVER_FINAL);
    CHECK_BROKEN(&talk, "scram i=2 salt=salt\n", WIRE_ERR_PROTOCOL, "none was due");

    talk = startup_talk(WIRE_ALLOW_ALL, "secret");
    SERVER(&talk, 'R', AUTH_SASL LIST);
    SERVER(&talk, 'R', AUTH_CONTINUE SERVER_FIRST);
    SERVER(&talk, 'R', AUTH_FINAL "v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    serve(&talk, "R");
    CHECK_BROKEN(&talk, "scram i=2 salt=salt\n", WIRE_ERR_AUTH, "");

    talk = startup_talk(WIRE_ALLOW_ALL, "secret");
    SERVER(&talk, 'R', AUTH_SASL LIST);
    SERVER(&talk, 'R', AUTH_CONTINUE "r=someone-else's-nonce,s=c2FsdA==,i=2");
    CHECK_BROKEN(&talk, "", WIRE_ERR_AUTH, "");
}

/* Channel binding */

#define BINDING "binding data"
#define PLUS_LIST "SCRAM-SHA-256-PLUS\0" LIST
#define BOUND_FIRST "p=tls-server-end-point,,n=,r=" NONCE
#define BOUND_FINAL                                                                                \
    "c=cD10bHMtc2VydmVyLWVuZC1wb2ludCwsYmluZGluZyBkYXRh,r=" NONCE                                  \
    "server!,p=Hdj69YL1dwnbp3SFOATpHl2IT3nAJVzyDJC53vyWOSw="
#define BOUND_SIGNATURE "v=xotuHXVZNGxayAHTVbUKaiUe6eMadYF4iP/Umaozx74="
/* The client could have bound the exchange, and says so. */
#define ABLE_FINAL "c=eSws,r=" NONCE "server!,p=EVEN8nHtrl/DRJ0tEcVMrzWfVzmyWfKSOOc/OffMqY4="
#define ABLE_SIGNATURE "v=Q/GrHNK/WhTwj4NSoSYiBrsZEYOSXMB6qUqn4pannIE="

static struct talk
binding_talk(enum wire_binding_mode mode, const char *binding)
{
    struct talk talk = startup_talk(WIRE_ALLOW_ALL, "secret");
    talk.channel_binding = mode;
    talk.binding = binding;
    return talk;
}

static void
scram_talk(struct talk *talk, const char *signature)
{
    char last[100] = AUTH_FINAL;
    SERVER(talk, 'R', AUTH_CONTINUE SERVER_FIRST);
    memcpy(last + 4, signature, strlen(signature));
    server_bytes(talk, 'R', last, 4 + strlen(signature));
    serve(talk, "R");
}

static void
test_bound(void)
{
    for (int mode = WIRE_BINDING_PREFER; mode <= WIRE_BINDING_REQUIRE; mode++) {
        struct talk talk = binding_talk((enum wire_binding_mode)mode, BINDING);
        SERVER(&talk, 'R', AUTH_SASL PLUS_LIST);
        scram_talk(&talk, BOUND_SIGNATURE);
        CHECK_STARTUP(&talk, "scram i=2 salt=salt\n" BOOTED,
                      "p\0\0\0\x50SCRAM-SHA-256-PLUS\0\0\0\0\x35" BOUND_FIRST
                      "p\0\0\0\x87" BOUND_FINAL);
    }
    struct talk talk = binding_talk(WIRE_BINDING_REQUIRE, BINDING); /* nothing but PLUS */
    SERVER(&talk, 'R', AUTH_SASL "SCRAM-SHA-256-PLUS\0\0");
    scram_talk(&talk, BOUND_SIGNATURE);
    CHECK_STARTUP(&talk, "scram i=2 salt=salt\n" BOOTED,
                  "p\0\0\0\x50SCRAM-SHA-256-PLUS\0\0\0\0\x35" BOUND_FIRST
                  "p\0\0\0\x87" BOUND_FINAL);
    talk = binding_talk(WIRE_BINDING_PREFER, "other data"); /* signed for another end */
    SERVER(&talk, 'R', AUTH_SASL PLUS_LIST);
    scram_talk(&talk, BOUND_SIGNATURE);
    CHECK_BROKEN(&talk, "scram i=2 salt=salt\n", WIRE_ERR_AUTH, "signature is wrong");
}

/* An offer without PLUS to one who could: the server is told. */
static void
test_binding_not_offered(void)
{
    struct talk talk = binding_talk(WIRE_BINDING_PREFER, BINDING);
    SERVER(&talk, 'R', AUTH_SASL LIST);
    scram_talk(&talk, ABLE_SIGNATURE);
    CHECK_STARTUP(&talk, "scram i=2 salt=salt\n" BOOTED,
                  "p\0\0\0\x36SCRAM-SHA-256\0\0\0\0\x20y,,n=,r=" NONCE "p\0\0\0\x5B" ABLE_FINAL);
    talk = binding_talk(WIRE_BINDING_REQUIRE, BINDING);
    SERVER(&talk, 'R', AUTH_SASL "OTHER\0" LIST);
    CHECK_BROKEN(&talk, "", WIRE_ERR_AUTH, "no SCRAM-SHA-256-PLUS, only OTHER SCRAM-SHA-256 ");
}

/* No TLS, no wish, or a certificate to which nothing can be bound. */
static void
test_not_bound(void)
{
    static const struct {
        enum wire_binding_mode mode;
        const char *binding;
        bool plus;
    } cases[] = {
        {WIRE_BINDING_DISABLE, NULL, false},    {WIRE_BINDING_PREFER, NULL, false},
        {WIRE_BINDING_DISABLE, BINDING, false}, {WIRE_BINDING_DISABLE, BINDING, true},
        {WIRE_BINDING_PREFER, "", false},       {WIRE_BINDING_PREFER, "", true},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct talk talk = binding_talk(cases[i].mode, cases[i].binding);
        if (cases[i].plus) {
            SERVER(&talk, 'R', AUTH_SASL PLUS_LIST);
        }
        else {
            SERVER(&talk, 'R', AUTH_SASL LIST);
        }
        scram_talk(&talk, SERVER_FINAL);
        CHECK_STARTUP(&talk, "scram i=2 salt=salt\n" BOOTED,
                      "p\0\0\0\x36SCRAM-SHA-256\0\0\0\0\x20" CLIENT_FIRST
                      "p\0\0\0\x5B" CLIENT_FINAL);
    }
}

static void
test_binding_refused(void)
{
    for (int mode = WIRE_BINDING_DISABLE; mode <= WIRE_BINDING_PREFER; mode++) {
        struct talk talk = binding_talk((enum wire_binding_mode)mode, NULL);
        SERVER(&talk, 'R', AUTH_SASL PLUS_LIST);
        CHECK_BROKEN(&talk, "", WIRE_ERR_AUTH, "SCRAM-SHA-256-PLUS on a connection without TLS");
    }
    struct talk talk = binding_talk(WIRE_BINDING_DISABLE, BINDING);
    SERVER(&talk, 'R', AUTH_SASL "SCRAM-SHA-256-PLUS\0\0");
    CHECK_BROKEN(&talk, "", WIRE_ERR_AUTH, "no SASL mechanism");
    talk = binding_talk(WIRE_BINDING_PREFER, "");
    SERVER(&talk, 'R', AUTH_SASL "SCRAM-SHA-256-PLUS\0\0");
    CHECK_BROKEN(&talk, "", WIRE_ERR_AUTH, "no SASL mechanism");
}

/* require: no other way in. */
static void
test_binding_required(void)
{
    static const struct {
        const char *binding;
        wire_slice request;
        const char *text;
    } cases[] = {
#define CASE(binding, literal, text)                                                               \
    {binding, {(const uint8_t *)(literal), sizeof(literal) - 1}, text}
        CASE(NULL, AUTH_SASL LIST, "no TLS"),
        CASE(NULL, AUTH_SASL PLUS_LIST, "no TLS"),
        CASE("", AUTH_SASL PLUS_LIST, "Ed25519"),
        CASE("", AUTH_SASL LIST, "Ed25519"),
        CASE(BINDING, AUTH_SASL LIST, "offers no SCRAM-SHA-256-PLUS"),
        CASE(BINDING, AUTH_OK, "let us in without"),
        CASE(NULL, AUTH_OK, "let us in without"),
        CASE(BINDING, AUTH_CLEARTEXT, "asked for password"),
        CASE(BINDING, AUTH_MD5, "asked for md5"),
#undef CASE
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct talk talk = binding_talk(WIRE_BINDING_REQUIRE, cases[i].binding);
        server_bytes(&talk, 'R', (const char *)cases[i].request.ptr, cases[i].request.len);
        CHECK_BROKEN(&talk, "", WIRE_ERR_AUTH, cases[i].text);
    }
    struct talk talk = binding_talk(WIRE_BINDING_REQUIRE, BINDING);
    SERVER(&talk, 'R', AUTH_SASL PLUS_LIST);
    serve(&talk, "R");
    CHECK_BROKEN(&talk, "", WIRE_ERR_AUTH, "before the authentication was finished");
}

/* SCRAM with keys instead of a password: the other methods still need one. */
static void
test_keys(void)
{
    unsigned allow = WIRE_ALLOW_ALL | WIRE_ALLOW_SCRAM_KEYS;
    struct talk talk = startup_talk(allow, NULL);
    SERVER(&talk, 'R', AUTH_SASL LIST);
    scram_talk(&talk, SERVER_FINAL);
    CHECK_STARTUP(&talk, "scram i=2 salt=salt\n" BOOTED,
                  "p\0\0\0\x36SCRAM-SHA-256\0\0\0\0\x20" CLIENT_FIRST "p\0\0\0\x5B" CLIENT_FINAL);
    CHECK_REQUEST(allow, NULL, AUTH_CLEARTEXT, WIRE_ERR_AUTH, "none was given");
    CHECK_REQUEST(allow, NULL, AUTH_MD5, WIRE_ERR_AUTH, "none was given");
    CHECK_REQUEST(WIRE_ALLOW_SCRAM_KEYS, NULL, AUTH_SASL LIST, WIRE_ERR_AUTH, "does not allow");
}

static void
test_iterations(void)
{
    struct talk talk = startup_talk(WIRE_ALLOW_ALL, "secret");
    SERVER(&talk, 'R', AUTH_SASL LIST);
    SERVER(&talk, 'R', AUTH_CONTINUE "r=" NONCE "server!,s=c2FsdA==,i=100001");
    CHECK_BROKEN(&talk, "", WIRE_ERR_AUTH, "more than 100000 iterations (scram_max_iterations)");
}

/* The version of the protocol */

#define NEGOTIATE_3_0 "\0\3\0\0\0\0\0\0"

static struct talk
version_talk(uint32_t min_protocol, uint32_t max_protocol)
{
    struct talk talk = startup_talk(WIRE_ALLOW_ALL, "secret");
    talk.min_protocol = min_protocol;
    talk.max_protocol = max_protocol;
    return talk;
}

/* A BackendKeyData of `len` bytes of key. */
static void
serve_key(struct talk *talk, size_t len)
{
    char body[4 + 300] = "\0\0\0\x2A";
    memset(body + 4, 'k', len);
    server_bytes(talk, 'K', body, 4 + len);
}

static void
check_version(struct talk *talk, uint32_t version, int line)
{
    struct wire_session s;
    struct wire_buffer in, out;
    struct outcome o = {.status = WIRE_MORE};
    wire_slice bytes = wire_buffer_unread(&talk->server);
    wire_buffer_init(&in);
    wire_buffer_init(&out);
    start(&s, &out, talk);
    transcript_feed(&in, bytes.ptr, bytes.len);
    check_int(drain(&s, &in, &o, ""), WIRE_MORE, "status", __FILE__, line);
    check_int(s.protocol, version, "version", __FILE__, line);
    check_int(s.phase, WIRE_PHASE_READY, "phase", __FILE__, line);
    wire_session_clear(&s);
    wire_buffer_clear(&in, false);
    wire_buffer_clear(&out, false);
    outcome_clear(&o);
    talk_clear(talk);
}

#define CHECK_VERSION(talk, version) check_version((talk), (version), __LINE__)

static void
test_version(void)
{
    struct talk talk = version_talk(0, 0);
    serve(&talk, "RKZ");
    CHECK_VERSION(&talk, WIRE_PROTOCOL_3_0);
    talk = version_talk(WIRE_PROTOCOL_3_2, WIRE_PROTOCOL_3_2);
    serve(&talk, "RKZ");
    CHECK_VERSION(&talk, WIRE_PROTOCOL_3_2);
    talk = version_talk(WIRE_PROTOCOL_3_0, WIRE_PROTOCOL_3_2);
    SERVER(&talk, 'v', NEGOTIATE_3_0);
    serve(&talk, "RKZ");
    CHECK_VERSION(&talk, WIRE_PROTOCOL_3_0);
    talk = version_talk(WIRE_PROTOCOL_3_0, WIRE_PROTOCOL_3_2);
    serve(&talk, "N");
    SERVER(&talk, 'v', NEGOTIATE_3_0);
    SERVER(&talk, 'R', AUTH_CLEARTEXT);
    serve(&talk, "RKZ");
    CHECK_VERSION(&talk, WIRE_PROTOCOL_3_0);
}

static void
test_cancel_key(void)
{
    static const size_t good[] = {4, 5, 32, 256}, bad[] = {0, 3, 257};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct talk talk = version_talk(0, WIRE_PROTOCOL_3_2);
        serve(&talk, "R");
        serve_key(&talk, good[i]);
        serve(&talk, "Z");
        CHECK_VERSION(&talk, WIRE_PROTOCOL_3_2);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct talk talk = version_talk(0, WIRE_PROTOCOL_3_2);
        serve(&talk, "R");
        serve_key(&talk, bad[i]);
        CHECK_BROKEN(&talk, "", WIRE_ERR_PROTOCOL, "'K' is malformed");
    }
    struct talk talk = version_talk(0, 0);
    serve(&talk, "R");
    serve_key(&talk, 5);
    CHECK_BROKEN(&talk, "", WIRE_ERR_PROTOCOL, "cancel key of 5 bytes");
    talk = version_talk(0, WIRE_PROTOCOL_3_2);
    SERVER(&talk, 'v', NEGOTIATE_3_0);
    serve(&talk, "R");
    serve_key(&talk, 32);
    CHECK_BROKEN(&talk, "", WIRE_ERR_PROTOCOL, "cancel key of 32 bytes");
}

/* A NegotiateProtocolVersion that is refused. */
static void
check_negotiation(const char *body, size_t len, enum wire_status status, const char *text, int line)
{
    struct talk talk = version_talk(
        status == WIRE_ERR_VERSION ? WIRE_PROTOCOL_3_2 : WIRE_PROTOCOL_3_0, WIRE_PROTOCOL_3_2);
    server_bytes(&talk, 'v', body, len);
    serve(&talk, "R");
    check_broken(&talk, "", status, text, line);
}

#define CHECK_NEGOTIATION(body, status, text)                                                      \
    check_negotiation(body, sizeof(body) - 1, (status), (text), __LINE__)

static void
test_negotiation(void)
{
    CHECK_NEGOTIATION("\0\3\0\3\0\0\0\0", WIRE_ERR_PROTOCOL, "newer");
    CHECK_NEGOTIATION("\x7F\3\0\3\0\0\0\0", WIRE_ERR_PROTOCOL, "newer");
    CHECK_NEGOTIATION("\0\2\0\0\0\0\0\0", WIRE_ERR_PROTOCOL, "does not exist");
    CHECK_NEGOTIATION("\0\3\0\1\0\0\0\0", WIRE_ERR_PROTOCOL, "does not exist");
    CHECK_NEGOTIATION("\0\3\0\2\0\0\0\0", WIRE_ERR_PROTOCOL, "changes nothing");
    CHECK_NEGOTIATION("\0\3\0\2\0\0\0\1_pq_.x\0", WIRE_ERR_PROTOCOL, "an option");
    CHECK_NEGOTIATION("\0\3\0\0\0\0\0\1x\0", WIRE_ERR_PROTOCOL, "an option");
    CHECK_NEGOTIATION("\0\3\0\0\0\0\0\1", WIRE_ERR_PROTOCOL, "malformed");
    CHECK_NEGOTIATION("\0\3\0\0\xFF\xFF\xFF\xFFx\0", WIRE_ERR_PROTOCOL, "malformed");
    CHECK_NEGOTIATION("\0\3\0\0", WIRE_ERR_PROTOCOL, "malformed");
    CHECK_NEGOTIATION(NEGOTIATE_3_0, WIRE_ERR_VERSION,
                      "only supports protocol version 3.0, but min_protocol_version is 3.2");
    struct talk talk = version_talk(0, WIRE_PROTOCOL_3_2);
    SERVER(&talk, 'v', NEGOTIATE_3_0);
    SERVER(&talk, 'v', NEGOTIATE_3_0);
    CHECK_BROKEN(&talk, "", WIRE_ERR_PROTOCOL, "not due");
    talk = version_talk(0, WIRE_PROTOCOL_3_2);
    SERVER(&talk, 'R', AUTH_CLEARTEXT);
    SERVER(&talk, 'v', NEGOTIATE_3_0);
    CHECK_BROKEN(&talk, "", WIRE_ERR_PROTOCOL, "not due");
    talk = version_talk(0, WIRE_PROTOCOL_3_2);
    serve(&talk, "E");
    SERVER(&talk, 'v', NEGOTIATE_3_0);
    CHECK_BROKEN(&talk, "error S=ERROR C=42601 M=no\n", WIRE_ERR_PROTOCOL, "not due");
}

/* Nothing but authentication, notices and an error before AuthenticationOk; then no
 * answers before the first ReadyForQuery. */
static void
test_startup_order(void)
{
    for (const char *letter = "123tTnDCIsGHWdcASZK"; *letter != '\0'; letter++) {
        char one[2] = {*letter, '\0'};
        struct talk talk = startup_talk(WIRE_ALLOW_ALL, NULL);
        serve(&talk, one);
        CHECK_BROKEN(&talk, "", WIRE_ERR_PROTOCOL, "not due");
    }
    for (const char *letter = "123tTnDCIsGHWdcARv"; *letter != '\0'; letter++) {
        char two[3] = {'R', *letter, '\0'};
        struct talk talk = startup_talk(WIRE_ALLOW_ALL, NULL);
        serve(&talk, two);
        CHECK_BROKEN(&talk, "", WIRE_ERR_PROTOCOL, "not due");
    }
    struct talk talk = startup_talk(WIRE_ALLOW_ALL, NULL);
    serve(&talk, "RKK");
    CHECK_BROKEN(&talk, "key 42 key!\n", WIRE_ERR_PROTOCOL, "not due");
    talk = startup_talk(WIRE_ALLOW_ALL, NULL);
    serve(&talk, "v");
    CHECK_BROKEN(&talk, "", WIRE_ERR_PROTOCOL, "changes nothing");
}

/* A refused startup stays refused. */
static void
test_startup_error(void)
{
    struct talk talk = startup_talk(WIRE_ALLOW_ALL, "secret");
    serve(&talk, "NENR");
    CHECK_BROKEN(&talk,
                 "notice S=NOTICE\n"
                 "error S=ERROR C=42601 M=no\n"
                 "notice S=NOTICE\n",
                 WIRE_ERR_PROTOCOL, "not due");
    talk = startup_talk(WIRE_ALLOW_ALL, "secret");
    serve(&talk, "RSES");
    CHECK_BROKEN(&talk, "parameter TimeZone=UTC\nerror S=ERROR C=42601 M=no\n", WIRE_ERR_PROTOCOL,
                 "not due");
    talk = startup_talk(WIRE_ALLOW_ALL, "secret");
    serve(&talk, "E");
    CHECK_BROKEN(&talk, "error S=ERROR C=42601 M=no\n", WIRE_ERR_PROTOCOL, "not due");

    struct outcome o;
    talk = startup_talk(WIRE_ALLOW_ALL, "secret");
    serve(&talk, "E");
    talk_run(&talk, &o);
    CHECK_INT(o.status, WIRE_MORE);
    CHECK(!o.secrets);
    outcome_clear(&o);
    talk_clear(&talk);
}

static void
test_parameter_flood(void)
{
    struct talk talk = startup_talk(WIRE_ALLOW_ALL, NULL);
    struct outcome o;
    serve(&talk, "R");
    for (int i = 0; i < WIRE_PARAMETERS_MAX; i++) {
        serve(&talk, "S");
    }
    serve(&talk, "Z");
    talk_run(&talk, &o);
    CHECK_INT(o.status, WIRE_MORE);
    CHECK_INT(o.phase, WIRE_PHASE_READY);
    outcome_clear(&o);
    talk_clear(&talk);

    talk = startup_talk(WIRE_ALLOW_ALL, NULL);
    serve(&talk, "R");
    for (int i = 0; i <= WIRE_PARAMETERS_MAX; i++) {
        serve(&talk, "S");
    }
    talk_run(&talk, &o);
    CHECK_INT(o.status, WIRE_ERR_LIMIT);
    outcome_clear(&o);
    talk_clear(&talk);
}

/* Calls in a wrong phase are refused, and nothing is sent. */
static void
test_wrong_calls(void)
{
    struct wire_session s;
    struct wire_buffer in, out;
    struct wire_event event;
    struct talk talk = startup_talk(WIRE_ALLOW_ALL, "secret");
    wire_buffer_init(&in);
    wire_buffer_init(&out);
    start(&s, &out, &talk);
    CHECK_INT(wire_session_scram_key(&s, &out, salted_password), WIRE_ERR_AUTH);
    CHECK_INT(wire_session_next(&s, &in, &out, &event), WIRE_ERR_AUTH);
    CHECK_INT(wire_buffer_size(&out), 0);
    CHECK(!s.has_password);
    wire_session_clear(&s);

    struct wire_startup startup = {.allow = WIRE_ALLOW_ALL,
                                   .min_protocol = WIRE_PROTOCOL_3_0,
                                   .max_protocol = WIRE_PROTOCOL_3_0};
    start(&s, &out, &talk);
    CHECK_INT(wire_session_start(&s, &out, &startup), WIRE_ERR_PROTOCOL);
    CHECK_INT(wire_session_next(&s, &in, &out, &event), WIRE_ERR_PROTOCOL);
    CHECK_INT(wire_buffer_size(&out), 0);
    wire_session_clear(&s);

    wire_session_init(&s); /* not started */
    CHECK_INT(wire_session_next(&s, &in, &out, &event), WIRE_MORE);
    wire_buffer_put(&in, "Z\0\0\0\5I", 6);
    CHECK_INT(wire_session_next(&s, &in, &out, &event), WIRE_ERR_PROTOCOL);
    wire_session_clear(&s);
    wire_session_clear(&s);
    wire_buffer_clear(&in, false);
    wire_buffer_clear(&out, false);
}

/* The answer of the client does not fit: the session breaks, and keeps no password. */
static void
test_out_failed(void)
{
    static const uint8_t requests[][32] = {"R\0\0\0\x08\0\0\0\3", "R\0\0\0\x0C\0\0\0\5\1\2\3\4",
                                           "R\0\0\0\x17\0\0\0\x0ASCRAM-SHA-256\0\0"};
    static const size_t lengths[] = {9, 13, 24};
    for (size_t i = 0; i < 3; i++) {
        struct wire_session s;
        struct wire_buffer in, out;
        struct wire_event event;
        struct talk talk = startup_talk(WIRE_ALLOW_ALL, "secret");
        wire_buffer_init(&in);
        wire_buffer_init(&out);
        start(&s, &out, &talk);
        wire_buffer_put(&in, requests[i], lengths[i]);
        out.failed = WIRE_ERR_MEMORY;
        CHECK_INT(wire_session_next(&s, &in, &out, &event), WIRE_ERR_MEMORY);
        CHECK_INT(s.phase, WIRE_PHASE_BROKEN);
        CHECK(!s.has_password && s.password.data == NULL);
        wire_session_clear(&s);
        wire_buffer_clear(&in, false);
        wire_buffer_clear(&out, false);
    }
    struct wire_session s;
    struct wire_buffer out;
    struct wire_startup startup = {.password = {(const uint8_t *)"secret", 6},
                                   .min_protocol = WIRE_PROTOCOL_3_0,
                                   .max_protocol = WIRE_PROTOCOL_3_0};
    wire_buffer_init(&out);
    out.failed = WIRE_ERR_LIMIT;
    wire_session_init(&s);
    CHECK_INT(wire_session_start(&s, &out, &startup), WIRE_ERR_MEMORY);
    CHECK_INT(s.phase, WIRE_PHASE_BROKEN);
    CHECK(s.password.data == NULL);
    wire_session_clear(&s);
}

int
main(void)
{
    test_startup_trust();
    test_startup_password();
    test_startup_md5();
    test_startup_scram();
    test_not_allowed();
    test_no_password();
    test_unknown_methods();
    test_malformed_requests();
    test_too_long_request();
    test_authentication_order();
    test_scram_order();
    test_bound();
    test_binding_not_offered();
    test_not_bound();
    test_binding_refused();
    test_binding_required();
    test_keys();
    test_iterations();
    test_version();
    test_cancel_key();
    test_negotiation();
    test_startup_order();
    test_startup_error();
    test_parameter_flood();
    test_wrong_calls();
    test_out_failed();
    return check_done();
}
