/* The version of the protocol: NegotiateProtocolVersion, the length of cancel keys. */
#include "talk.h"

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

int
main(void)
{
    test_version();
    test_cancel_key();
    test_negotiation();
    return check_done();
}
