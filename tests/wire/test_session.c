/* session.c and session_auth.c: conversations, each fed whole, byte by byte and in
 * random pieces; the events must be the same every time. */
#include "session.h"

#include <stdlib.h>

#include "check.h"
#include "transcript.h"

#define NONCE "AAECAwQFBgcICQoLDA0ODxAR" /* base64 of the bytes 0 to 17 */
#define CLIENT_FIRST "n,,n=,r=" NONCE
#define SERVER_FIRST "r=" NONCE "server!,s=c2FsdA==,i=2"
/* With the password "secret", the salt "salt" and 2 iterations. */
#define CLIENT_FINAL "c=biws,r=" NONCE "server!,p=OCN+BsLrgzCwaquqJXlUnZDCwdxxBfnjhaaV25SwrtM="
#define SERVER_FINAL "v=kXSCRor10uR/yIaAoV1rCFXiTpPrIuwRKDXjUTv9DZc="
#define LIST "SCRAM-SHA-256\0\0"

static const uint8_t salted_password[WIRE_SCRAM_KEY_LEN] = {
    0xf9, 0x2f, 0x45, 0xf9, 0xdf, 0x4c, 0x2a, 0xea, 0xba, 0xe1, 0xed, 0x3c, 0x16, 0xf7, 0xb6, 0x46,
    0x60, 0xc1, 0xf8, 0xe3, 0x77, 0xfa, 0x9b, 0x46, 0x99, 0xb2, 0x3c, 0x2c, 0x3a, 0x29, 0xf5, 0x69};

/* Steps by letters; a small letter is a rider. */
static unsigned
step_of(char letter)
{
    static const char letters[] = "PBSDECYQ"; /* S, D: Describe of a statement, a portal */
    static const unsigned steps[] = {WIRE_STEP_PARSE,
                                     WIRE_STEP_BIND,
                                     WIRE_STEP_DESCRIBE_STATEMENT,
                                     WIRE_STEP_DESCRIBE_PORTAL,
                                     WIRE_STEP_EXECUTE,
                                     WIRE_STEP_CLOSE,
                                     WIRE_STEP_SYNC,
                                     WIRE_STEP_QUERY};
    bool rider = letter >= 'a';
    const char *found = strchr(letters, rider ? letter - 'a' + 'A' : letter);
    if (found == NULL) {
        abort();
    }
    return steps[found - letters] | (rider ? WIRE_STEP_RIDER : 0);
}

/* What a conversation is made of. */
struct talk {
    bool startup;         /* from the first byte on; else from the first ReadyForQuery on */
    unsigned allow;       /* WIRE_ALLOW_ mask */
    const char *password; /* NULL: none */
    const char *steps;    /* pushed when the session is ready */
    struct wire_buffer server; /* what the server sends */
};

/* What comes of it. */
struct outcome {
    struct wire_buffer transcript;
    struct wire_buffer sent; /* behind the StartupMessage */
    enum wire_status status;
    struct wire_error error;
    enum wire_phase phase;
    bool secrets; /* something of the password is still there */
    size_t steps_left;
};

static void
push_steps(struct wire_session *s, const char *steps)
{
    if (wire_session_reserve(s, strlen(steps)) != WIRE_OK) {
        abort();
    }
    for (; *steps != '\0'; steps++) {
        wire_session_push(s, step_of(*steps));
    }
}

static void
start(struct wire_session *s, struct wire_buffer *out, const struct talk *talk)
{
    struct wire_pair pair = {{(const uint8_t *)"user", 4}, {(const uint8_t *)"user", 4}};
    struct wire_startup startup = {.pairs = &pair,
                                   .pairs_count = 1,
                                   .user = pair.value,
                                   .password = {(const uint8_t *)talk->password, 0},
                                   .allow = talk->allow};
    if (talk->password != NULL) {
        startup.password.len = strlen(talk->password);
    }
    for (size_t i = 0; i < sizeof(startup.nonce); i++) {
        startup.nonce[i] = (uint8_t)i;
    }
    wire_session_init(s);
    CHECK_INT(wire_session_start(s, out, &startup), WIRE_OK);
    CHECK_SLICE(wire_buffer_unread(out), "\0\0\0\x13\0\3\0\0user\0user\0\0");
    wire_buffer_consume(out, wire_buffer_size(out));
}

/* Every event there is; the status it ends with. */
static enum wire_status
drain(struct wire_session *s, struct wire_buffer *in, struct outcome *o, const char *steps)
{
    for (;;) {
        struct wire_event event;
        memset(&event, 0xAA, sizeof(event));
        enum wire_status status = wire_session_next(s, in, &o->sent, &event);
        if (status != WIRE_OK) {
            return status;
        }
        transcript_event(&o->transcript, &event);
        if (event.kind == WIRE_EV_SCRAM_KEY
            && wire_session_scram_key(s, &o->sent, salted_password) != WIRE_OK) {
            abort();
        }
        if (event.kind == WIRE_EV_READY && s->steps_cap == 0) {
            push_steps(s, steps);
        }
    }
}

static void
skip_startup(struct wire_session *s, struct outcome *o, const char *steps)
{
    static const uint8_t welcome[] = "R\0\0\0\x08\0\0\0\0Z\0\0\0\5I";
    struct wire_buffer in;
    wire_buffer_init(&in);
    transcript_feed(&in, welcome, sizeof(welcome) - 1);
    CHECK_INT(drain(s, &in, o, steps), WIRE_MORE);
    CHECK_INT(wire_buffer_size(&in), 0);
    wire_buffer_clear(&in, false);
    wire_buffer_consume(&o->transcript, wire_buffer_size(&o->transcript));
}

/* `piece` bytes at a time; 0: random pieces, of `seed`. */
static void
talk_in_pieces(const struct talk *talk, size_t piece, unsigned seed, struct outcome *o)
{
    struct wire_session s;
    struct wire_buffer in;
    wire_slice bytes = wire_buffer_unread(&talk->server);
    memset(o, 0, sizeof(*o));
    wire_buffer_init(&in);
    start(&s, &o->sent, talk);
    if (!talk->startup) {
        skip_startup(&s, o, talk->steps);
    }
    o->status = WIRE_MORE;
    for (size_t at = 0; at < bytes.len && o->status == WIRE_MORE;) {
        seed = seed * 1103515245u + 12345u;
        size_t n = piece != 0 ? piece : 1 + (seed >> 16) % 23;
        n = n < bytes.len - at ? n : bytes.len - at;
        transcript_feed(&in, bytes.ptr + at, n);
        at += n;
        o->status = drain(&s, &in, o, talk->steps);
    }
    o->error = s.error;
    o->phase = s.phase;
    o->steps_left = s.steps_count;
    o->secrets = s.has_password || s.password.data != NULL || s.scram.server_first.data != NULL;
    if (o->status < 0) { /* broken for good, whatever comes */
        struct wire_event event;
        static const uint8_t more[] = "Z\0\0\0\5I";
        transcript_feed(&in, more, sizeof(more) - 1);
        CHECK_INT(wire_session_next(&s, &in, &o->sent, &event), o->status);
        CHECK_INT(s.phase, WIRE_PHASE_BROKEN);
    }
    wire_buffer_clear(&in, false);
    wire_session_clear(&s);
}

static void
outcome_clear(struct outcome *o)
{
    wire_buffer_clear(&o->transcript, false);
    wire_buffer_clear(&o->sent, false);
}

static void
check_same(const struct outcome *a, const struct outcome *b)
{
    CHECK_STR((const char *)a->transcript.data, (const char *)b->transcript.data);
    CHECK_INT(a->status, b->status);
    CHECK_STR(a->error.text, b->error.text);
    wire_slice one = wire_buffer_unread(&a->sent), other = wire_buffer_unread(&b->sent);
    check_slice(one, other.ptr, other.len, "sent", __FILE__, __LINE__);
}

/* The outcome, which does not depend on how the bytes are cut. */
static void
talk_run(const struct talk *talk, struct outcome *o)
{
    talk_in_pieces(talk, SIZE_MAX, 0, o);
    wire_buffer_put_u8(&o->transcript, 0);
    for (unsigned seed = 0; seed < 12; seed++) {
        struct outcome again;
        talk_in_pieces(talk, seed == 0 ? 1 : 0, seed, &again);
        wire_buffer_put_u8(&again.transcript, 0);
        check_same(&again, o);
        outcome_clear(&again);
    }
}

/* Builders of what the server sends. */

static void
server_bytes(struct talk *talk, char tag, const char *body, size_t len)
{
    size_t begin = wire_message_begin(&talk->server, tag);
    wire_buffer_put(&talk->server, body, len);
    wire_message_end(&talk->server, begin);
}

#define SERVER(talk, tag, literal) server_bytes((talk), (tag), literal, sizeof(literal) - 1)
#define AUTH_OK "\0\0\0\0"
#define AUTH_CLEARTEXT "\0\0\0\3"
#define AUTH_MD5 "\0\0\0\5\1\2\3\4"
#define AUTH_SASL "\0\0\0\x0A"
#define AUTH_CONTINUE "\0\0\0\x0B"
#define AUTH_FINAL "\0\0\0\x0C"
#define ERROR_BODY "SERROR\0C42601\0Mno\0\0"
#define COLUMNS "\0\1a\0\0\0\0\0\0\0\0\0\0\x17\0\4\xFF\xFF\xFF\xFF\0\1"
#define PARAMS "\0\2\0\0\0\x17\0\0\0\x19"
#define ROW "\0\2\0\0\0\1x\xFF\xFF\xFF\xFF"

/* One answer per letter, all of them well-formed. */
static void
serve(struct talk *talk, const char *letters)
{
    static const struct {
        char letter;
        char tag;
        wire_slice body;
    } answers[] = {
#define ANSWER(letter, tag, literal)                                                               \
    {                                                                                              \
        letter, tag, {(const uint8_t *)(literal), sizeof(literal) - 1}                             \
    }
        ANSWER('1', '1', ""),
        ANSWER('2', '2', ""),
        ANSWER('3', '3', ""),
        ANSWER('t', 't', PARAMS),
        ANSWER('T', 'T', COLUMNS),
        ANSWER('n', 'n', ""),
        ANSWER('D', 'D', ROW),
        ANSWER('C', 'C', "SELECT 1\0"),
        ANSWER('I', 'I', ""),
        ANSWER('s', 's', ""),
        ANSWER('G', 'G', "\0\0\2\0\0\0\0"),
        ANSWER('H', 'H', "\1\0\1\0\1"),
        ANSWER('W', 'W', "\0\0\0"),
        ANSWER('d', 'd', "line\n"),
        ANSWER('c', 'c', ""),
        ANSWER('E', 'E', ERROR_BODY),
        ANSWER('N', 'N', "SNOTICE\0\0"),
        ANSWER('A', 'A', "\0\0\0\7ch\0hi\0"),
        ANSWER('S', 'S', "TimeZone\0UTC\0"),
        ANSWER('Z', 'Z', "I"),
        ANSWER('z', 'Z', "E"),
        ANSWER('R', 'R', AUTH_OK),
        ANSWER('K', 'K', "\0\0\0\x2Akey!"),
        ANSWER('v', 'v', "\0\3\0\0\0\0\0\0"),
#undef ANSWER
    };
    for (; *letters != '\0'; letters++) {
        size_t i = 0;
        while (answers[i].letter != *letters) {
            i += 1; /* an unknown letter is a bug, and ASan says so */
        }
        server_bytes(talk, answers[i].tag, (const char *)answers[i].body.ptr, answers[i].body.len);
    }
}

static void
talk_clear(struct talk *talk)
{
    wire_buffer_clear(&talk->server, false);
}

/* Startup */

static struct talk
startup_talk(unsigned allow, const char *password)
{
    struct talk talk = {.startup = true, .allow = allow, .password = password, .steps = ""};
    return talk;
}

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
    SERVER(&talk, 'R', AUTH_SASL "SCRAM-SHA-256-PLUS\0" LIST);
    SERVER(&talk, 'R', AUTH_CONTINUE SERVER_FIRST);
    SERVER(&talk, 'R', AUTH_FINAL SERVER_FINAL);
    serve(&talk, "R");
    CHECK_STARTUP(&talk, "scram i=2 salt=salt\n" BOOTED,
                  "p\0\0\0\x36SCRAM-SHA-256\0\0\0\0\x20" CLIENT_FIRST "p\0\0\0\x5B" CLIENT_FINAL);
}

/* Refusals. `events` come first, then the status, and its text holds `text`. */
static void
check_broken(struct talk *talk, const char *events, enum wire_status status, const char *text,
             int line)
{
    struct outcome o;
    serve(talk, "Z");
    talk_run(talk, &o);
    check_str((const char *)o.transcript.data, events, "events", __FILE__, line);
    check_int(o.status, status, "status", __FILE__, line);
    check_int(o.error.status, status, "error.status", __FILE__, line);
    if (strstr(o.error.text, text) == NULL) {
        check_str(o.error.text, text, "error.text", __FILE__, line);
    }
    check_int(o.phase, WIRE_PHASE_BROKEN, "phase", __FILE__, line);
    check_true(!o.secrets, "the secrets are wiped", __FILE__, line);
    outcome_clear(&o);
    talk_clear(talk);
}

#define CHECK_BROKEN(talk, events, status, text)                                                   \
    check_broken((talk), events, status, text, __LINE__)

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
    CHECK_REQUEST(WIRE_ALLOW_ALL, "secret", "\0\0\0\2", WIRE_ERR_AUTH, "method 2,");
    CHECK_REQUEST(WIRE_ALLOW_ALL, "secret", "\0\0\0\4ab", WIRE_ERR_AUTH, "method 4,");
    CHECK_REQUEST(WIRE_ALLOW_ALL, "secret", "\0\0\0\6", WIRE_ERR_AUTH, "method 6,");
    CHECK_REQUEST(WIRE_ALLOW_ALL, "secret", "\0\0\0\7", WIRE_ERR_AUTH, "method 7,");
    CHECK_REQUEST(WIRE_ALLOW_ALL, "secret", "\0\0\0\x08gss", WIRE_ERR_AUTH, "method 8,");
    CHECK_REQUEST(WIRE_ALLOW_ALL, "secret", "\0\0\0\x09", WIRE_ERR_AUTH, "method 9,");
    CHECK_REQUEST(WIRE_ALLOW_ALL, "secret", "\0\0\0\x0D", WIRE_ERR_AUTH, "method 13,");
    CHECK_REQUEST(WIRE_ALLOW_ALL, "secret", "\xFF\xFF\xFF\xFF", WIRE_ERR_AUTH,
                  "method 4294967295,");
    CHECK_REQUEST(WIRE_ALLOW_ALL, "secret", AUTH_SASL "SCRAM-SHA-1\0SCRAM-SHA-256-PLUS\0\0",
                  WIRE_ERR_AUTH, "SCRAM-SHA-1 SCRAM-SHA-256-PLUS");
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
    CHECK_BROKEN(&talk, "", WIRE_ERR_PROTOCOL, "negotiate");
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

    struct wire_startup startup = {.allow = WIRE_ALLOW_ALL};
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
    struct wire_startup startup = {.password = {(const uint8_t *)"secret", 6}};
    wire_buffer_init(&out);
    out.failed = WIRE_ERR_LIMIT;
    wire_session_init(&s);
    CHECK_INT(wire_session_start(&s, &out, &startup), WIRE_ERR_MEMORY);
    CHECK_INT(s.phase, WIRE_PHASE_BROKEN);
    CHECK(s.password.data == NULL);
    wire_session_clear(&s);
}

/* Requests */

#define BEFORE(steps_, answers_)                                                                   \
    struct talk talk = {.allow = WIRE_ALLOW_ALL, .steps = (steps_)};                               \
    serve(&talk, (answers_))

static void
check_talk(const char *steps, const char *answers, const char *events, size_t left, int line)
{
    struct outcome o;
    BEFORE(steps, answers);
    talk_run(&talk, &o);
    check_str((const char *)o.transcript.data, events, "events", __FILE__, line);
    check_int(o.status, WIRE_MORE, "status", __FILE__, line);
    check_str(o.error.text, "", "error", __FILE__, line);
    check_int((long long)o.steps_left, (long long)left, "steps left", __FILE__, line);
    check_int((long long)wire_buffer_size(&o.sent), 0, "bytes sent", __FILE__, line);
    outcome_clear(&o);
    talk_clear(&talk);
}

#define CHECK_TALK(steps, answers, events) check_talk(steps, answers, events, 0, __LINE__)
#define CHECK_TALK_LEFT(steps, answers, events, left)                                              \
    check_talk(steps, answers, events, left, __LINE__)

/* The last answer of `answers` is not due; `events` come of those before it. */
static void
check_not_due(const char *steps, const char *answers, const char *events, int line)
{
    BEFORE(steps, answers);
    check_broken(&talk, events, WIRE_ERR_PROTOCOL, "not due", line);
}

#define CHECK_NOT_DUE(steps, answers, events) check_not_due(steps, answers, events, __LINE__)

#define PARAMS_LINE "params 23 25\n"
#define COLUMNS_LINE "columns a:23\n"
#define ROW_LINE "row [x] null\n"
#define COMPLETE_LINE "complete SELECT 1\n"
#define ERROR_LINE "error S=ERROR C=42601 M=no\n"
#define RIDER_ERROR_LINE "error (rider) S=ERROR C=42601 M=no\n"
#define UNSOLICITED_LINE "error (unsolicited) S=ERROR C=42601 M=no\n"
#define NOTICE_LINE "notice S=NOTICE\n"
#define NOTIFICATION_LINE "notification 7 ch hi\n"
#define PARAMETER_LINE "parameter TimeZone=UTC\n"
#define READY_LINE "ready I\n"

static void
test_steps(void)
{
    CHECK_TALK("Y", "Z", READY_LINE);
    CHECK_TALK("Y", "z", "ready E\n");
    CHECK_TALK("PY", "1Z", "parsed\n" READY_LINE);
    CHECK_TALK("BY", "2Z", "bound\n" READY_LINE);
    CHECK_TALK("SY", "tTZ", PARAMS_LINE COLUMNS_LINE READY_LINE);
    CHECK_TALK("SY", "tnZ", PARAMS_LINE "no data\n" READY_LINE);
    CHECK_TALK("DY", "TZ", COLUMNS_LINE READY_LINE);
    CHECK_TALK("DY", "nZ", "no data\n" READY_LINE);
    CHECK_TALK("EY", "DDCZ", ROW_LINE ROW_LINE COMPLETE_LINE READY_LINE);
    CHECK_TALK("EY", "CZ", COMPLETE_LINE READY_LINE);
    CHECK_TALK("EY", "IZ", "empty\n" READY_LINE);
    CHECK_TALK("EEY", "DsCZ", ROW_LINE "suspended\n" COMPLETE_LINE READY_LINE);
    CHECK_TALK("CY", "3Z", "closed\n" READY_LINE);
}

static void
test_pipeline(void)
{
    CHECK_TALK("PBSEYBEYQCY", "12tTDCZ2CZTDCZ3Z",
               "parsed\nbound\n" PARAMS_LINE COLUMNS_LINE ROW_LINE COMPLETE_LINE READY_LINE
               "bound\n" COMPLETE_LINE READY_LINE COLUMNS_LINE ROW_LINE COMPLETE_LINE READY_LINE
               "closed\n" READY_LINE);
    CHECK_TALK_LEFT("PBEYBEY", "12", "parsed\nbound\n", 5);
}

/* The server skips to the Sync, and the request behind it is not touched. */
static void
test_pipeline_error(void)
{
    CHECK_TALK("BEYPBEYBEY", "2CZEz2CZ",
               "bound\n" COMPLETE_LINE READY_LINE ERROR_LINE "ready E\n"
               "bound\n" COMPLETE_LINE READY_LINE);
    CHECK_TALK("PBEYBEY", "12DEZ2CZ",
               "parsed\nbound\n" ROW_LINE ERROR_LINE READY_LINE "bound\n" COMPLETE_LINE READY_LINE);
    CHECK_TALK("BEBEBEYY", "2C2EZZ",
               "bound\n" COMPLETE_LINE "bound\n" ERROR_LINE READY_LINE READY_LINE);
    CHECK_TALK("SYDY", "tEZTZ", PARAMS_LINE ERROR_LINE READY_LINE COLUMNS_LINE READY_LINE);
    CHECK_TALK("BEY", "EEZ", ERROR_LINE ERROR_LINE READY_LINE); /* the second one is FATAL */
    CHECK_TALK("BEQYBEY", "EZ2CZ", ERROR_LINE READY_LINE "bound\n" COMPLETE_LINE READY_LINE);
    CHECK_NOT_DUE("BEYBEY", "E2", ERROR_LINE);
    CHECK_NOT_DUE("BEYBEY", "EC", ERROR_LINE);
    CHECK_NOT_DUE("EY", "DED", ROW_LINE ERROR_LINE);
}

/* An error of the Sync itself: a deferred constraint at the implicit commit. */
static void
test_error_at_sync(void)
{
    CHECK_TALK("BEYBEY", "2CEZ2CZ",
               "bound\n" COMPLETE_LINE ERROR_LINE READY_LINE "bound\n" COMPLETE_LINE READY_LINE);
    CHECK_NOT_DUE("EY", "CEC", COMPLETE_LINE ERROR_LINE);
}

static void
test_riders(void)
{
    CHECK_TALK("pbecBEY", "12C32CZ", "bound\n" COMPLETE_LINE READY_LINE);
    CHECK_TALK_LEFT("pbecBEY", "12E", RIDER_ERROR_LINE, 1);
    CHECK_TALK("pbecBEYBEY", "12EZ2CZ",
               RIDER_ERROR_LINE READY_LINE "bound\n" COMPLETE_LINE READY_LINE);
    CHECK_TALK("pbecBEY", "12C3EZ", ERROR_LINE READY_LINE);
    CHECK_TALK(
        "cEY", "N3ANSDCZ",
        NOTICE_LINE NOTIFICATION_LINE NOTICE_LINE PARAMETER_LINE ROW_LINE COMPLETE_LINE READY_LINE);
    CHECK_TALK("seEY", "tTDDCDCZ", ROW_LINE COMPLETE_LINE READY_LINE); /* its rows are dropped */
    CHECK_TALK("eEY", "ICZ", COMPLETE_LINE READY_LINE);
    CHECK_TALK("dEY", "nCZ", COMPLETE_LINE READY_LINE);
    CHECK_NOT_DUE("eEY", "G", "");
    CHECK_NOT_DUE("eEY", "H", "");
    CHECK_NOT_DUE("cEY", "C", "");
}

static void
test_unsolicited(void)
{
    CHECK_TALK("", "NAS", NOTICE_LINE NOTIFICATION_LINE PARAMETER_LINE);
    CHECK_TALK("", "E", UNSOLICITED_LINE);
    CHECK_TALK("EY", "CZE", COMPLETE_LINE READY_LINE UNSOLICITED_LINE);
    CHECK_TALK("BEY", "N2ADNDSCNZA",
               NOTICE_LINE "bound\n" NOTIFICATION_LINE ROW_LINE NOTICE_LINE ROW_LINE PARAMETER_LINE
                   COMPLETE_LINE NOTICE_LINE READY_LINE NOTIFICATION_LINE);
    CHECK_TALK("EYEY", "ENASZCZ",
               ERROR_LINE NOTICE_LINE NOTIFICATION_LINE PARAMETER_LINE READY_LINE COMPLETE_LINE
                   READY_LINE);
    for (const char *letter = "123tTnDCIsGHWdcZRKv"; *letter != '\0'; letter++) {
        char one[2] = {*letter, '\0'};
        CHECK_NOT_DUE("", one, "");
    }
}

/* Once the session runs a server may report one name as often as it likes. */
static void
test_many_parameters(void)
{
    struct outcome o;
    BEFORE("", "");
    for (int i = 0; i < 2 * WIRE_PARAMETERS_MAX; i++) {
        serve(&talk, "S");
    }
    talk_run(&talk, &o);
    CHECK_INT(o.status, WIRE_MORE);
    outcome_clear(&o);
    talk_clear(&talk);
}

static void
test_query(void)
{
    CHECK_TALK("Q", "TDDCZ", COLUMNS_LINE ROW_LINE ROW_LINE COMPLETE_LINE READY_LINE);
    CHECK_TALK("Q", "IZ", "empty\n" READY_LINE);
    CHECK_TALK(
        "Q", "CTCCTDCz",
        COMPLETE_LINE COLUMNS_LINE COMPLETE_LINE COMPLETE_LINE COLUMNS_LINE ROW_LINE COMPLETE_LINE
        "ready E\n");
    CHECK_TALK("Q", "Z", READY_LINE);
    CHECK_TALK("QQ", "CTDEZEZ",
               COMPLETE_LINE COLUMNS_LINE ROW_LINE ERROR_LINE READY_LINE ERROR_LINE READY_LINE);
    CHECK_TALK("Q", "CEZ", COMPLETE_LINE ERROR_LINE READY_LINE);
    CHECK_NOT_DUE("Q", "D", "");
    CHECK_NOT_DUE("Q", "TT", COLUMNS_LINE);
    CHECK_NOT_DUE("Q", "TZ", COLUMNS_LINE);
    CHECK_NOT_DUE("Q", "TDZ", COLUMNS_LINE ROW_LINE);
    CHECK_NOT_DUE("Q", "TI", COLUMNS_LINE);
    CHECK_NOT_DUE("Q", "TDT", COLUMNS_LINE ROW_LINE);
    CHECK_NOT_DUE("Q", "TCD", COLUMNS_LINE COMPLETE_LINE);
    CHECK_NOT_DUE("Q", "TDs", COLUMNS_LINE ROW_LINE);
    CHECK_NOT_DUE("QY", "EC", ERROR_LINE);
    CHECK_NOT_DUE("QY", "ED", ERROR_LINE);
    CHECK_NOT_DUE("QY", "ET", ERROR_LINE);
}

static void
test_copy_out(void)
{
    CHECK_TALK("EY", "HddcCZ",
               "copy out 1/1\ndata line\\0a\ndata line\\0a\ncopy done\n" COMPLETE_LINE READY_LINE);
    CHECK_TALK("EY", "HcCZ", "copy out 1/1\ncopy done\n" COMPLETE_LINE READY_LINE);
    CHECK_TALK(
        "EYEY", "HdNEZCZ",
        "copy out 1/1\ndata line\\0a\n" NOTICE_LINE ERROR_LINE READY_LINE COMPLETE_LINE READY_LINE);
    CHECK_TALK("Q", "HdcCCHcCZ",
               "copy out 1/1\ndata line\\0a\ncopy done\n" COMPLETE_LINE COMPLETE_LINE
               "copy out 1/1\ncopy done\n" COMPLETE_LINE READY_LINE);
    CHECK_TALK("Q", "HdEZ", "copy out 1/1\ndata line\\0a\n" ERROR_LINE READY_LINE);
    for (const char *letter = "123tTnDCIsGHWZRKv"; *letter != '\0'; letter++) {
        char answers[3] = {'H', *letter, '\0'};
        CHECK_NOT_DUE("EY", answers, "copy out 1/1\n");
        CHECK_NOT_DUE("Q", answers, "copy out 1/1\n");
    }
    for (const char *letter = "123tTnDIsGHWdcZRKv"; *letter != '\0'; letter++) {
        char answers[4] = {'H', 'c', *letter, '\0'};
        CHECK_NOT_DUE("EY", answers, "copy out 1/1\ncopy done\n");
        CHECK_NOT_DUE("Q", answers, "copy out 1/1\ncopy done\n");
    }
}

static void
test_copy_in(void)
{
    CHECK_TALK("EY", "GCZ", "copy in 0/2\n" COMPLETE_LINE READY_LINE);
    CHECK_TALK("EY", "GEZ", "copy in 0/2\n" ERROR_LINE READY_LINE);
    CHECK_TALK("Q", "GCGEZ", "copy in 0/2\n" COMPLETE_LINE "copy in 0/2\n" ERROR_LINE READY_LINE);
    for (const char *letter = "123tTnDIsGHWdcZRKv"; *letter != '\0'; letter++) {
        char answers[3] = {'G', *letter, '\0'};
        CHECK_NOT_DUE("EY", answers, "copy in 0/2\n");
        CHECK_NOT_DUE("Q", answers, "copy in 0/2\n");
    }
}

/* For each step every answer that is not one of its own. */
static void
test_wrong_answers(void)
{
    static const struct {
        const char *steps;
        const char *first; /* answers that are due before the wrong one */
        const char *events;
        const char *due;
    } cases[] = {
        {"PY", "", "", "1"},
        {"BY", "", "", "2"},
        {"SY", "", "", "t"},
        {"SY", "t", PARAMS_LINE, "Tn"},
        {"DY", "", "", "Tn"},
        {"EY", "", "", "DCIsGH"},
        {"EY", "D", ROW_LINE, "DCs"},
        {"CY", "", "", "3"},
        {"YY", "", "", "Z"},
        {"QY", "", "", "TCIGHZ"},
        {"QY", "T", COLUMNS_LINE, "DC"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (const char *letter = "123tTnDCIsGHWdcZRKv"; *letter != '\0'; letter++) {
            if (strchr(cases[i].due, *letter) == NULL) {
                char answers[8];
                snprintf(answers, sizeof(answers), "%s%c", cases[i].first, *letter);
                CHECK_NOT_DUE(cases[i].steps, answers, cases[i].events);
            }
        }
    }
}

/* A body that does not fit its message. */
static void
check_malformed(const char *steps, const char *first, char tag, const char *body, size_t len,
                const char *events, int line)
{
    BEFORE(steps, first);
    server_bytes(&talk, tag, body, len);
    check_broken(&talk, events, WIRE_ERR_PROTOCOL, "malformed", line);
}

#define CHECK_MALFORMED(steps, first, tag, body, events)                                           \
    check_malformed(steps, first, tag, body, sizeof(body) - 1, events, __LINE__)

static void
test_malformed(void)
{
    CHECK_MALFORMED("PY", "", '1', "x", "");
    CHECK_MALFORMED("BY", "", '2', "x", "");
    CHECK_MALFORMED("CY", "", '3', "x", "");
    CHECK_MALFORMED("SY", "", 't', "\0\2\0\0\0\x17", "");
    CHECK_MALFORMED("SY", "t", 'T', "\0\1a\0", PARAMS_LINE);
    CHECK_MALFORMED("DY", "", 'T', "", "");
    CHECK_MALFORMED("DY", "", 'n', "x", "");
    CHECK_MALFORMED("EY", "", 'D', "", "");
    CHECK_MALFORMED("EY", "", 'D', "\0", "");
    CHECK_MALFORMED("EY", "", 'C', "SELECT 1", "");
    CHECK_MALFORMED("EY", "", 'C', "SELECT\0x", "");
    CHECK_MALFORMED("EY", "", 'I', "x", "");
    CHECK_MALFORMED("EY", "", 's', "x", "");
    CHECK_MALFORMED("EY", "", 'G', "\0\0", "");
    CHECK_MALFORMED("EY", "", 'H', "\0\0\1", "");
    CHECK_MALFORMED("EY", "H", 'c', "x", "copy out 1/1\n");
    CHECK_MALFORMED("Y", "", 'Z', "", "");
    CHECK_MALFORMED("Y", "", 'Z', "X", "");
    CHECK_MALFORMED("Y", "", 'Z', "II", "");
    CHECK_MALFORMED("Q", "", 'T', "\xFF\xFF", "");
    CHECK_MALFORMED("", "", 'E', "", "");
    CHECK_MALFORMED("", "", 'N', "Sx", "");
    CHECK_MALFORMED("", "", 'A', "\0\0\0\1ch\0", "");
    CHECK_MALFORMED("", "", 'S', "TimeZone\0", "");
}

/* Cells that are wrong inside a whole row are not the session's business. */
static void
test_bad_cells_pass(void)
{
    struct outcome o;
    BEFORE("EY", "");
    SERVER(&talk, 'D', "\0\1\0\0\0\x09x");
    SERVER(&talk, 'D', "\0\0x");
    serve(&talk, "CZ");
    talk_run(&talk, &o);
    CHECK_STR((const char *)o.transcript.data, "row bad\nrow junk\n" COMPLETE_LINE READY_LINE);
    outcome_clear(&o);
    talk_clear(&talk);
}

static void
test_bad_frames(void)
{
    struct talk talk = {.allow = WIRE_ALLOW_ALL, .steps = "EY"};
    serve(&talk, "D");
    wire_buffer_put(&talk.server, "D\0\0\0\3", 5);
    CHECK_BROKEN(&talk, ROW_LINE, WIRE_ERR_PROTOCOL, "impossible length");
    wire_buffer_init(&talk.server);
    wire_buffer_put(&talk.server, "D\x40\0\0\0", 5);
    CHECK_BROKEN(&talk, "", WIRE_ERR_LIMIT, "longer");
    wire_buffer_init(&talk.server);
    wire_buffer_put(&talk.server, "C\0\0\x75\x31", 5);
    CHECK_BROKEN(&talk, "", WIRE_ERR_LIMIT, "longer");
    wire_buffer_init(&talk.server);
    wire_buffer_put(&talk.server, "", 1);
    CHECK_BROKEN(&talk, "", WIRE_ERR_PROTOCOL, "unknown message type 0x00");
}

/* Before authentication a server cannot make us wait for a long message. */
static void
test_long_error(void)
{
    struct talk talk = startup_talk(WIRE_ALLOW_ALL, NULL);
    wire_buffer_put(&talk.server, "E\0\1\0\1", 5);
    CHECK_BROKEN(&talk, "", WIRE_ERR_LIMIT, "longer");
    talk = startup_talk(WIRE_ALLOW_ALL, NULL);
    serve(&talk, "R");
    wire_buffer_put(&talk.server, "E\0\1\0\1SX\0", 8); /* later on that is waited for */
    struct outcome o;
    talk_run(&talk, &o);
    CHECK_INT(o.status, WIRE_MORE);
    outcome_clear(&o);
    talk_clear(&talk);
}

/* The ring of steps */

static void
test_ring(void)
{
    struct wire_session s;
    struct wire_buffer in, out;
    struct outcome o = {.status = WIRE_MORE};
    struct talk talk = {.allow = WIRE_ALLOW_ALL, .steps = ""};
    size_t waiting = 0, answered = 0, pushed = 0;
    wire_buffer_init(&in);
    wire_buffer_init(&out);
    start(&s, &out, &talk);
    skip_startup(&s, &o, "");
    /* Pushes and answers take turns: the ring wraps around many times, and grows now
     * and then in the middle of its turn. Parse and Close tell an order that broke. */
    for (unsigned round = 0; round < 400; round++) {
        size_t n = round % 50 == 49 ? 200 : 7;
        CHECK_INT(wire_session_reserve(&s, n), WIRE_OK);
        for (size_t i = 0; i < n; i++) {
            wire_session_push(&s, pushed++ % 3 == 0 ? WIRE_STEP_PARSE : WIRE_STEP_CLOSE);
        }
        waiting += n;
        CHECK_INT(s.steps_count, waiting);
        for (size_t i = 0; i < 9 && waiting > 0; i++, waiting--) {
            wire_buffer_put(&in, answered++ % 3 == 0 ? "1\0\0\0\4" : "3\0\0\0\4", 5);
        }
        struct wire_event event;
        enum wire_status status;
        while ((status = wire_session_next(&s, &in, &out, &event)) == WIRE_OK) {
        }
        CHECK_INT(status, WIRE_MORE);
    }
    CHECK((s.steps_cap & (s.steps_cap - 1)) == 0);
    CHECK(s.steps_cap < 4096);
    CHECK_INT(s.steps_count, waiting);
    wire_session_clear(&s);
    wire_buffer_clear(&in, false);
    wire_buffer_clear(&out, false);
    outcome_clear(&o);
}

static void
test_ring_limit(void)
{
    struct wire_session s;
    wire_session_init(&s);
    CHECK_INT(wire_session_reserve(&s, SIZE_MAX), WIRE_ERR_MEMORY);
    CHECK_INT(wire_session_reserve(&s, ((size_t)1 << 28) + 1), WIRE_ERR_MEMORY);
    CHECK_INT(s.steps_cap, 0);
    CHECK_INT(wire_session_reserve(&s, 0), WIRE_OK);
    CHECK_INT(wire_session_reserve(&s, 33), WIRE_OK);
    CHECK_INT(s.steps_cap, 64);
    wire_session_push(&s, WIRE_STEP_SYNC);
    CHECK_INT(wire_session_reserve(&s, SIZE_MAX), WIRE_ERR_MEMORY);
    CHECK_INT(wire_session_reserve(&s, 63), WIRE_OK);
    CHECK_INT(s.steps_cap, 64);
    CHECK_INT(wire_session_reserve(&s, 64), WIRE_OK);
    CHECK_INT(s.steps_cap, 128);
    CHECK_INT(s.steps_count, 1);
    wire_session_clear(&s);
}

/* The transaction status is that of the last ReadyForQuery. */
static void
test_transaction_status(void)
{
    struct wire_session s;
    struct wire_buffer in, out;
    struct wire_event event;
    wire_session_init(&s);
    CHECK_INT(s.transaction_status, 'I');
    wire_session_clear(&s);
    struct outcome o = {.status = WIRE_MORE};
    struct talk talk = {.allow = WIRE_ALLOW_ALL, .steps = "YYY"};
    wire_buffer_init(&in);
    wire_buffer_init(&out);
    start(&s, &out, &talk);
    skip_startup(&s, &o, talk.steps);
    for (const char *status = "TEI"; *status != '\0'; status++) {
        wire_buffer_put(&in, "Z\0\0\0\5", 5);
        wire_buffer_put_u8(&in, (uint8_t)*status);
        CHECK_INT(wire_session_next(&s, &in, &out, &event), WIRE_OK);
        CHECK_INT(event.transaction_status, *status);
        CHECK_INT(s.transaction_status, *status);
    }
    wire_session_clear(&s);
    wire_buffer_clear(&in, false);
    wire_buffer_clear(&out, false);
    outcome_clear(&o);
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
    test_steps();
    test_pipeline();
    test_pipeline_error();
    test_error_at_sync();
    test_riders();
    test_unsolicited();
    test_many_parameters();
    test_query();
    test_copy_out();
    test_copy_in();
    test_wrong_answers();
    test_malformed();
    test_bad_cells_pass();
    test_bad_frames();
    test_long_error();
    test_ring();
    test_ring_limit();
    test_transaction_status();
    return check_done();
}
