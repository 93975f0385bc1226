/* The startup: authentication, and what is allowed before the first ReadyForQuery. */
#include "talk.h"

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
    test_startup_order();
    test_startup_error();
    test_parameter_flood();
    test_wrong_calls();
    test_out_failed();
    return check_done();
}
