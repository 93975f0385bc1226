/* SCRAM bound to TLS, or not; SCRAM by keys; its cap. */
#include "talk.h"

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
    static const char *const bindings[] = {BINDING, ""};
    for (size_t i = 0; i < 2; i++) {
        struct talk talk = binding_talk(WIRE_BINDING_PREFER, bindings[i]);
        SERVER(&talk, 'R', AUTH_SASL LIST);
        scram_talk(&talk, ABLE_SIGNATURE);
        CHECK_STARTUP(&talk, "scram i=2 salt=salt\n" BOOTED,
                      "p\0\0\0\x36SCRAM-SHA-256\0\0\0\0\x20y,,n=,r=" NONCE
                      "p\0\0\0\x5B" ABLE_FINAL);
    }
    struct talk talk = binding_talk(WIRE_BINDING_REQUIRE, BINDING);
    SERVER(&talk, 'R', AUTH_SASL "OTHER\0" LIST);
    CHECK_BROKEN(&talk, "", WIRE_ERR_AUTH, "no SCRAM-SHA-256-PLUS, only OTHER SCRAM-SHA-256 ");
}

/* No TLS, or no wish. */
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
        {WIRE_BINDING_DISABLE, "", false},      {WIRE_BINDING_DISABLE, "", true},
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
    talk = binding_talk(WIRE_BINDING_PREFER, ""); /* the certificate has no hash function */
    SERVER(&talk, 'R', AUTH_SASL PLUS_LIST);
    CHECK_BROKEN(&talk, "", WIRE_ERR_AUTH, "verify-full or channel_binding=disable does without)");
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

int
main(void)
{
    test_bound();
    test_binding_not_offered();
    test_not_bound();
    test_binding_refused();
    test_binding_required();
    test_keys();
    test_iterations();
    return check_done();
}
