/* Conversations with a session: what a server sends, fed whole, byte by byte and in
 * random pieces, and what comes of it, which must be the same every time. */
#ifndef TALK_H
#define TALK_H

#include <stdlib.h>

#include "check.h"
#include "session.h"
#include "transcript.h"

#define NONCE "AAECAwQFBgcICQoLDA0ODxAR" /* base64 of the bytes 0 to 17 */
#define CLIENT_FIRST "n,,n=,r=" NONCE
#define SERVER_FIRST "r=" NONCE "server!,s=c2FsdA==,i=2"
/* With the password "secret", the salt "salt" and 2 iterations. */
#define CLIENT_FINAL "c=biws,r=" NONCE "server!,p=OCN+BsLrgzCwaquqJXlUnZDCwdxxBfnjhaaV25SwrtM="
#define SERVER_FINAL "v=kXSCRor10uR/yIaAoV1rCFXiTpPrIuwRKDXjUTv9DZc="
#define LIST "SCRAM-SHA-256\0\0"
#define ITERATIONS_MAX 100000

static const uint8_t salted_password[WIRE_SCRAM_KEY_LEN] = {
    0xf9, 0x2f, 0x45, 0xf9, 0xdf, 0x4c, 0x2a, 0xea, 0xba, 0xe1, 0xed, 0x3c, 0x16, 0xf7, 0xb6, 0x46,
    0x60, 0xc1, 0xf8, 0xe3, 0x77, 0xfa, 0x9b, 0x46, 0x99, 0xb2, 0x3c, 0x2c, 0x3a, 0x29, 0xf5, 0x69};

/* Steps by letters; a small letter is a rider. */
static inline unsigned
step_of(char letter)
{
    static const char letters[] =
        "PBSDECYQMA"; /* S, D: Describe of a statement, a portal; M: one of many sets; A: to
                         be answered, a rider */
    static const unsigned steps[] = {WIRE_STEP_PARSE,
                                     WIRE_STEP_BIND,
                                     WIRE_STEP_DESCRIBE_STATEMENT,
                                     WIRE_STEP_DESCRIBE_PORTAL,
                                     WIRE_STEP_EXECUTE,
                                     WIRE_STEP_CLOSE,
                                     WIRE_STEP_SYNC,
                                     WIRE_STEP_QUERY,
                                     WIRE_STEP_SET,
                                     WIRE_STEP_QUESTION};
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
    const char *binding;  /* NULL: no TLS */
    enum wire_binding_mode channel_binding;
    uint32_t min_protocol; /* 0: 3.0 */
    uint32_t max_protocol;
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

static inline void
push_steps(struct wire_session *s, const char *steps)
{
    if (wire_session_reserve(s, strlen(steps)) != WIRE_OK) {
        abort();
    }
    for (; *steps != '\0'; steps++) {
        if (*steps == 'O') { /* the SYNC that stays open, then what is put in front of it */
            wire_session_open(s);
        }
        else if (s->open) {
            wire_session_insert(s, step_of(*steps), 1);
        }
        else {
            wire_session_push(s, step_of(*steps));
        }
    }
}

static inline void
start(struct wire_session *s, struct wire_buffer *out, const struct talk *talk)
{
    struct wire_pair pair = {{(const uint8_t *)"user", 4}, {(const uint8_t *)"user", 4}};
    struct wire_startup startup = {.pairs = &pair,
                                   .pairs_count = 1,
                                   .user = pair.value,
                                   .password = {(const uint8_t *)talk->password, 0},
                                   .allow = talk->allow,
                                   .binding = {(const uint8_t *)talk->binding, 0},
                                   .channel_binding = talk->channel_binding,
                                   .iterations_max = ITERATIONS_MAX};
    startup.min_protocol = talk->min_protocol == 0 ? WIRE_PROTOCOL_3_0 : talk->min_protocol;
    startup.max_protocol = talk->max_protocol == 0 ? WIRE_PROTOCOL_3_0 : talk->max_protocol;
    if (talk->password != NULL) {
        startup.password.len = strlen(talk->password);
    }
    if (talk->binding != NULL) {
        startup.binding.len = strlen(talk->binding);
    }
    for (size_t i = 0; i < sizeof(startup.nonce); i++) {
        startup.nonce[i] = (uint8_t)i;
    }
    wire_session_init(s);
    CHECK_INT(wire_session_start(s, out, &startup), WIRE_OK);
    if (startup.max_protocol == WIRE_PROTOCOL_3_2) {
        CHECK_SLICE(wire_buffer_unread(out), "\0\0\0\x13\0\3\0\2user\0user\0\0");
    }
    else {
        CHECK_SLICE(wire_buffer_unread(out), "\0\0\0\x13\0\3\0\0user\0user\0\0");
    }
    wire_buffer_consume(out, wire_buffer_size(out));
}

/* Every event there is; the status it ends with. */
static inline enum wire_status
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

static inline void
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
static inline void
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

static inline void
outcome_clear(struct outcome *o)
{
    wire_buffer_clear(&o->transcript, false);
    wire_buffer_clear(&o->sent, false);
}

static inline void
check_same(const struct outcome *a, const struct outcome *b)
{
    CHECK_STR((const char *)a->transcript.data, (const char *)b->transcript.data);
    CHECK_INT(a->status, b->status);
    CHECK_STR(a->error.text, b->error.text);
    wire_slice one = wire_buffer_unread(&a->sent), other = wire_buffer_unread(&b->sent);
    check_slice(one, other.ptr, other.len, "sent", __FILE__, __LINE__);
}

/* The outcome, which does not depend on how the bytes are cut. */
static inline void
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

static inline void
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
static inline void
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

static inline void
talk_clear(struct talk *talk)
{
    wire_buffer_clear(&talk->server, false);
}

static inline struct talk
startup_talk(unsigned allow, const char *password)
{
    struct talk talk = {.startup = true, .allow = allow, .password = password, .steps = ""};
    return talk;
}
/* Refusals. `events` come first, then the status, and its text holds `text`. */
static inline void
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

/* Startups that end well. */

#define BOOTED                                                                                     \
    "parameter TimeZone=UTC\n"                                                                     \
    "key 42 key!\n"                                                                                \
    "notice S=NOTICE\n"                                                                            \
    "ready I\n"

static inline void
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

/* One authentication request, refused. */
static inline void
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

#endif
