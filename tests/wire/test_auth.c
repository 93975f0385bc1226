/* auth.c and scram.c: published vectors, whole exchanges, and how they end. */
#include <openssl/err.h>

#include "scram_bench.h"

/* Digests and md5 */

static void
test_sha256(void)
{
    /* FIPS 180-4: "abc" */
    static const uint8_t expected[32] = {
        0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40,
        0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17,
        0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad,
    };
    uint8_t digest[32];
    wire_slice nothing = {NULL, 0};
    CHECK_INT(wire_sha256(text_slice("abc"), digest), WIRE_OK);
    CHECK(memcmp(digest, expected, 32) == 0);
    CHECK_INT(wire_sha256(nothing, digest), WIRE_OK);
    CHECK_INT(digest[0], 0xe3);
    CHECK_INT(digest[31], 0x55);
}

static void
check_md5(const char *user, const char *password, uint32_t salt, const char *expected)
{
    uint8_t salt_bytes[WIRE_SALT_LEN];
    char answer[WIRE_MD5_ANSWER_LEN + 1];
    struct wire_error error = {WIRE_OK, ""};
    wire_store_u32(salt_bytes, salt);
    enum wire_status status =
        wire_md5_answer(text_slice(user), text_slice(password), salt_bytes, answer, &error);
    if (status == WIRE_ERR_AUTH) { /* a library without md5 says so */
        CHECK(strstr(error.text, "md5") != NULL);
        return;
    }
    CHECK_INT(status, WIRE_OK);
    CHECK_STR(answer, expected);
}

static void
test_md5(void)
{
    check_md5("postgres", "secret", 0x01020304, "md5bb41a296aab6baccb36ff243a562abff");
    check_md5("", "", 0, "md591b86670dcd47857d222fa05653500aa");
    char user[81] = "", password[301] = "";
    for (int i = 0; i < 40; i++) {
        memcpy(user + 2 * i, "\xc3\xa4", 3);
    }
    for (int i = 0; i < 100; i++) {
        memcpy(password + 3 * i, "\xe2\x82\xac", 4);
    }
    check_md5(user, password, 0xFFFFFFFF, "md53a67850f0278c2ea7798fb3f5cb539d6");
}

/* SCRAM as it should go */

/* RFC 7677, section 3. Its user name and nonce are not what we would send, so
 * they are put into place by hand. */
static void
test_rfc_7677(void)
{
    static const char client[] = "n=user,r=rOprNGfwEbeRWgbNEkqO";
    static const char server[] = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
                                 "s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    static const char salt[] = "\x5b\x6d\x99\x68\x9d\x12\x35\x8e\xec\xa0\x4b\x14\x12\x36\xfa\x81";
    struct wire_scram_keys keys;
    struct bench b;
    bench_init(&b);
    wire_buffer_put(&b.scram.client_first_bare, client, strlen(client));
    wire_buffer_put(&b.scram.server_first, server, strlen(server));
    wire_buffer_put(&b.scram.salt, salt, 16);
    b.scram.server_nonce_start = 2;
    b.scram.server_nonce_len = strcspn(server, ",") - 2;
    b.scram.iterations = 4096;
    b.scram.channel_len = 3;
    memcpy(b.scram.channel, "n,,", 3);
    b.scram.state = WIRE_SCRAM_KEY_NEEDED;
    derive_keys(&b, "pencil", &keys);
    CHECK_INT(wire_scram_final(&b.scram, &keys, &b.out, &b.error), WIRE_OK);
    check_sent(&b, "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
                   "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
    static const char last[] = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
    CHECK_INT(feed(&b, last, strlen(last), true), WIRE_OK);
    CHECK_INT(b.scram.state, WIRE_SCRAM_VERIFIED);
    bench_clear(&b);
}

static void
test_whole_exchange(void)
{
    struct bench b;
    bench_final(&b, "secret");
    check_sent(&b, GOOD_PROOF);
    CHECK_INT(wire_buffer_size(&b.scram.salt), 4);
    CHECK_INT(feed(&b, "v=" GOOD_SIGNATURE, 2 + strlen(GOOD_SIGNATURE), true), WIRE_OK);
    CHECK_INT(b.scram.state, WIRE_SCRAM_VERIFIED);
    CHECK_INT(b.error.status, WIRE_OK);
    bench_clear(&b);
    CHECK_INT(b.scram.state, WIRE_SCRAM_IDLE);
    CHECK_INT(b.scram.nonce[0], 0);
}

static void
test_final_extension(void)
{
    static const char last[] = "v=" GOOD_SIGNATURE ",x=whatever";
    struct bench b;
    bench_final(&b, "secret");
    CHECK_INT(feed(&b, last, strlen(last), true), WIRE_OK);
    CHECK_INT(b.scram.state, WIRE_SCRAM_VERIFIED);
    bench_clear(&b);
}

static void
test_appends(void)
{
    struct wire_scram_terms terms = terms_of('n', "");
    struct bench b;
    bench_init(&b);
    wire_buffer_put(&b.out, "head:", 5);
    CHECK_INT(wire_scram_first(&b.scram, &terms, &b.out, &b.error), WIRE_OK);
    check_sent(&b, "head:n,,n=,r=" NONCE);
    bench_clear(&b);
}

/* The channel */

/* The whole exchange with a flag and a binding, which is not looked at without 'p'. */
static void
check_channel(char flag, const char *binding, const char *header, const char *channel,
              const char *rest, const char *signature)
{
    char expected[400];
    struct wire_scram_keys keys;
    struct wire_scram_terms terms = terms_of(flag, binding);
    struct bench b;
    bench_init(&b);
    CHECK_INT(wire_scram_first(&b.scram, &terms, &b.out, &b.error), WIRE_OK);
    snprintf(expected, sizeof(expected), "%sn=,r=" NONCE, header);
    check_sent(&b, expected);
    CHECK_INT(feed(&b, GOOD_FIRST ",x=ext", strlen(GOOD_FIRST ",x=ext"), false), WIRE_OK);
    derive_keys(&b, "secret", &keys);
    CHECK_INT(wire_scram_final(&b.scram, &keys, &b.out, &b.error), WIRE_OK);
    snprintf(expected, sizeof(expected), "c=%s,r=" NONCE "server!,p=%s", channel, rest);
    check_sent(&b, expected);
    CHECK_INT(feed(&b, signature, strlen(signature), true), WIRE_OK);
    CHECK_INT(b.scram.state, WIRE_SCRAM_VERIFIED);
    bench_clear(&b);
    CHECK_INT(b.scram.channel[0], 0);
}

static void
test_channels(void)
{
    char longest[WIRE_BINDING_MAX + 1];
    for (int i = 0; i < WIRE_BINDING_MAX; i++) {
        longest[i] = (char)(i + 1);
    }
    longest[WIRE_BINDING_MAX] = '\0';
    check_channel('n', "ignored", "n,,", "biws", "lSMX+mRWHKby1sHVUBBm/d7FslaVduqkvhWYavlPosE=",
                  "v=5G2XM9VhQBDzY2q8NMDf9wZRxK8rln8hwHrLVxugV7A=");
    check_channel('y', "ignored", "y,,", "eSws", "/FeXcuE1bb5aTK0R4q/0ZxYwYpVdM7+o1n/rdvIPC1s=",
                  "v=ZBHa3diELy/vLP5675PEQlPDnArqn7rAaXa3nXZ0BqU=");
    check_channel('p', "binding data", "p=tls-server-end-point,,",
                  "cD10bHMtc2VydmVyLWVuZC1wb2ludCwsYmluZGluZyBkYXRh",
                  "zy0ZOPUhDoX9rQFtZIPReTq4FzBgLMWqiOq1dfp5ENA=",
                  "v=IwSa+3/asEHlubefkWDQ9BcX++x5UOxL0z42NZqy6f4=");
    check_channel('p', "x", "p=tls-server-end-point,,", "cD10bHMtc2VydmVyLWVuZC1wb2ludCwseA==",
                  "mnWsxQP8Z72grRDVpY2IfN3PlmWPH24ls/Xk9azZYTs=",
                  "v=SmbcwP4a4UrELj6OZ5F3OhVw9IxjxZfV4Caga92eicQ=");
    check_channel(
        'p', longest, "p=tls-server-end-point,,",
        "cD10bHMtc2VydmVyLWVuZC1wb2ludCwsAQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAhIiMkJSYnKCkqKywtLi8wMTIzNDU2Nzg5Ojs8PT4/QA==",
        "NO2Tnks81SZwVzIbr1pjB2/PGF8D3IuFxPTAehY0ZHs=",
        "v=8BSR/qgN/r1Tq6938Ly5Wbb/SwnRmtHKDSk5h9ylzhY=");
}

/* server-final-message */

static void
check_final_bytes(const char *message, size_t len, enum wire_status expected, const char *word)
{
    struct bench b;
    bench_final(&b, "secret");
    CHECK_INT(feed(&b, message, len, true), expected);
    CHECK_INT(b.error.status, expected);
    CHECK_INT(b.scram.state, WIRE_SCRAM_IDLE);
    if (strstr(b.error.text, word) == NULL) {
        CHECK_STR(b.error.text, word);
    }
    /* No second try. */
    CHECK(feed(&b, "v=" GOOD_SIGNATURE, 2 + strlen(GOOD_SIGNATURE), true) != WIRE_OK);
    bench_clear(&b);
}

static void
check_final(const char *message, enum wire_status expected, const char *word)
{
    check_final_bytes(message, strlen(message), expected, word);
}

static void
test_final_refused(void)
{
    static const char signature[] = "v=" GOOD_SIGNATURE;
    for (size_t len = 0; len + 1 < sizeof(signature); len++) {
        check_final_bytes(signature, len, WIRE_ERR_PROTOCOL, "malformed");
    }
    check_final_bytes(signature, sizeof(signature), WIRE_ERR_PROTOCOL, "zero byte");
    check_final("v=6G2XM9VhQBDzY2q8NMDf9wZRxK8rln8hwHrLVxugV7A=", WIRE_ERR_AUTH, "wrong");
    check_final("v=5G2XM9VhQBDzY2q8NMDf9wZRxK8rln8hwHrLVxugV7B=", WIRE_ERR_PROTOCOL, "base64");
    check_final("v=5G2XM9VhQBDzY2q8NMDf9wZRxK8rln8hwHrLVxugV7AA", WIRE_ERR_PROTOCOL, "32 bytes");
    check_final("v=" GOOD_SIGNATURE "AAAA", WIRE_ERR_PROTOCOL, "32 bytes");
    check_final("v=", WIRE_ERR_PROTOCOL, "neither");
    check_final("v", WIRE_ERR_PROTOCOL, "neither");
    check_final("w=" GOOD_SIGNATURE, WIRE_ERR_PROTOCOL, "neither");
    check_final("v=" GOOD_SIGNATURE ",", WIRE_ERR_PROTOCOL, "neither");
    check_final("v=" GOOD_SIGNATURE ",junk", WIRE_ERR_PROTOCOL, "extension");
    check_final("v=" GOOD_SIGNATURE ",m=1", WIRE_ERR_AUTH, "mandatory");
    check_final("v=" GOOD_SIGNATURE ",x=\n,y", WIRE_ERR_PROTOCOL, "extension");
}

static void
test_final_error(void)
{
    char message[1000] = "e=";
    check_final("e=invalid-proof", WIRE_ERR_AUTH, "invalid-proof");
    check_final("e=bad\x1b[2J\x80thing,x=1", WIRE_ERR_AUTH, "bad?[2J?thing");
    check_final("e=%s%n%s", WIRE_ERR_AUTH, "%s%n%s");
    memset(message + 2, 'y', 900);
    check_final(message, WIRE_ERR_AUTH, "yyyy");
}

static void
test_final_too_long(void)
{
    char message[WIRE_AUTH_MESSAGE_MAX + 1];
    memset(message, 'A', sizeof(message));
    memcpy(message, "v=", 2);
    check_final_bytes(message, sizeof(message), WIRE_ERR_LIMIT, "over");
    check_final_bytes(message, sizeof(message) - 1, WIRE_ERR_PROTOCOL, "32 bytes");
}

/* A server that does not know the password signs with another key. */
static void
test_wrong_password(void)
{
    struct bench b;
    bench_final(&b, "Secret");
    CHECK_INT(feed(&b, "v=" GOOD_SIGNATURE, 2 + strlen(GOOD_SIGNATURE), true), WIRE_ERR_AUTH);
    CHECK(b.scram.state != WIRE_SCRAM_VERIFIED);
    bench_clear(&b);
}

static void
test_out_of_turn(void)
{
    struct bench b;
    bench_init(&b);
    CHECK_INT(feed(&b, GOOD_FIRST, strlen(GOOD_FIRST), false), WIRE_ERR_PROTOCOL);
    bench_clear(&b);
    bench_init(&b);
    CHECK_INT(feed(&b, "v=" GOOD_SIGNATURE, 2 + strlen(GOOD_SIGNATURE), true), WIRE_ERR_PROTOCOL);
    bench_clear(&b);
    bench_first(&b);
    CHECK_INT(feed(&b, "v=" GOOD_SIGNATURE, 2 + strlen(GOOD_SIGNATURE), true), WIRE_ERR_PROTOCOL);
    CHECK(b.scram.state != WIRE_SCRAM_VERIFIED);
    bench_clear(&b);
    bench_first(&b);
    CHECK_INT(feed(&b, GOOD_FIRST, strlen(GOOD_FIRST), false), WIRE_OK);
    CHECK_INT(feed(&b, GOOD_FIRST, strlen(GOOD_FIRST), false), WIRE_ERR_PROTOCOL);
    bench_clear(&b);
    bench_final(&b, "secret");
    CHECK_INT(feed(&b, GOOD_FIRST, strlen(GOOD_FIRST), false), WIRE_ERR_PROTOCOL);
    bench_clear(&b);
}

/* A signature is accepted once. */
static void
test_final_twice(void)
{
    static const char last[] = "v=" GOOD_SIGNATURE;
    struct bench b;
    bench_final(&b, "secret");
    CHECK_INT(feed(&b, last, sizeof(last) - 1, true), WIRE_OK);
    CHECK_INT(feed(&b, last, sizeof(last) - 1, true), WIRE_ERR_PROTOCOL);
    bench_clear(&b);
}

/* A failed allocation, at each buffer in turn. */
static void
test_memory(void)
{
    struct wire_scram_terms terms = terms_of('n', "");
    struct wire_scram_keys keys = {{0}, {0}};
    struct bench b;
    bench_init(&b);
    b.scram.client_first_bare.failed = WIRE_ERR_MEMORY;
    CHECK_INT(wire_scram_first(&b.scram, &terms, &b.out, &b.error), WIRE_ERR_MEMORY);
    CHECK_INT(wire_buffer_size(&b.out), 0);
    bench_clear(&b);
    bench_init(&b);
    b.out.failed = WIRE_ERR_LIMIT;
    CHECK_INT(wire_scram_first(&b.scram, &terms, &b.out, &b.error), WIRE_ERR_LIMIT);
    bench_clear(&b);
    bench_first(&b);
    b.scram.salt.failed = WIRE_ERR_MEMORY;
    CHECK_INT(feed(&b, GOOD_FIRST, strlen(GOOD_FIRST), false), WIRE_ERR_MEMORY);
    CHECK_INT(b.scram.state, WIRE_SCRAM_IDLE);
    bench_clear(&b);
    bench_first(&b);
    b.scram.server_first.failed = WIRE_ERR_MEMORY;
    CHECK_INT(feed(&b, GOOD_FIRST, strlen(GOOD_FIRST), false), WIRE_ERR_MEMORY);
    CHECK_INT(b.scram.state, WIRE_SCRAM_IDLE);
    bench_clear(&b);
    bench_first(&b);
    CHECK_INT(feed(&b, GOOD_FIRST, strlen(GOOD_FIRST), false), WIRE_OK);
    wire_buffer_clear(&b.out, false);
    b.out.failed = WIRE_ERR_MEMORY;
    CHECK_INT(wire_scram_final(&b.scram, &keys, &b.out, &b.error), WIRE_ERR_MEMORY);
    bench_clear(&b);
}

/* A library that gives no digests (FIPS mode without the FIPS provider). It stays
 * so: the last test. */
static void
test_no_digests(void)
{
#if OPENSSL_VERSION_NUMBER >= 0x30000000L
    static const uint8_t salted[WIRE_SCRAM_KEY_LEN] = {0};
    static const uint8_t salt[WIRE_SALT_LEN] = {0};
    struct wire_scram_keys keys = {{0}, {0}};
    uint8_t digest[32];
    char answer[WIRE_MD5_ANSWER_LEN + 1];
    struct bench b;
    bench_first(&b);
    CHECK_INT(feed(&b, GOOD_FIRST, strlen(GOOD_FIRST), false), WIRE_OK);
    CHECK_INT(EVP_set_default_properties(NULL, "fips=yes"), 1);
    CHECK_INT(wire_sha256(text_slice("abc"), digest), WIRE_ERR_MEMORY);
    CHECK_INT(wire_scram_final(&b.scram, &keys, &b.out, &b.error), WIRE_ERR_AUTH);
    CHECK_INT(b.scram.state, WIRE_SCRAM_KEY_NEEDED);
    bench_clear(&b);
    bench_init(&b);
    CHECK_INT(wire_scram_derive(salted, &keys, &b.error), WIRE_ERR_AUTH);
    bench_clear(&b);
    bench_init(&b);
    enum wire_status status =
        wire_md5_answer(text_slice("user"), text_slice("secret"), salt, answer, &b.error);
    CHECK_INT(status, WIRE_ERR_AUTH);
    CHECK(strstr(b.error.text, "FIPS") != NULL);
    CHECK_INT(answer[0], 0);
    CHECK_INT(ERR_peek_error(), 0);
    bench_clear(&b);
#endif
}

int
main(void)
{
    test_sha256();
    test_md5();
    test_rfc_7677();
    test_whole_exchange();
    test_final_extension();
    test_appends();
    test_channels();
    test_final_refused();
    test_final_error();
    test_final_too_long();
    test_wrong_password();
    test_out_of_turn();
    test_final_twice();
    test_memory();
    test_no_digests();
    return check_done();
}
