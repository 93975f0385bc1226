/* A SCRAM exchange on the bench: both of the server's messages are fed to it. */
#ifndef SCRAM_BENCH_H
#define SCRAM_BENCH_H

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#include "auth.h"
#include "check.h"

#define NONCE "AAECAwQFBgcICQoLDA0ODxAR" /* base64 of the bytes 0 to 17 */
#define SALT_AND_COUNT ",s=c2FsdA==,i=2"
#define GOOD_FIRST "r=" NONCE "server!" SALT_AND_COUNT
/* With the password "secret", the salt "salt", 2 iterations and GOOD_FIRST ",x=ext". */
#define GOOD_PROOF "c=biws,r=" NONCE "server!,p=lSMX+mRWHKby1sHVUBBm/d7FslaVduqkvhWYavlPosE="
#define GOOD_SIGNATURE "5G2XM9VhQBDzY2q8NMDf9wZRxK8rln8hwHrLVxugV7A="

/* What a test works with: the exchange, the last bytes to send, the error. */
struct bench {
    struct wire_scram scram;
    struct wire_buffer out;
    struct wire_error error;
};

static inline wire_slice
text_slice(const char *text)
{
    wire_slice s = {(const uint8_t *)text, strlen(text)};
    return s;
}

static inline void
bench_init(struct bench *b)
{
    wire_scram_init(&b->scram);
    wire_buffer_init(&b->out);
    memset(&b->error, 0, sizeof(b->error));
}

static inline void
bench_clear(struct bench *b)
{
    wire_scram_clear(&b->scram);
    wire_buffer_clear(&b->out, true);
}

/* The bytes to send as a string; they are consumed. */
static inline void
check_sent(struct bench *b, const char *expected)
{
    wire_buffer_put_u8(&b->out, 0);
    CHECK_STR((const char *)b->out.data, expected);
    wire_buffer_consume(&b->out, wire_buffer_size(&b->out));
}

/* Feeds a copy of exact size, so that a read past the end is seen. */
static inline enum wire_status
feed(struct bench *b, const char *bytes, size_t len, bool final)
{
    uint8_t *copy = malloc(len + 1);
    if (copy == NULL) {
        abort();
    }
    memcpy(copy + 1, bytes, len);
    wire_slice message = {copy + 1, len};
    enum wire_status status = final ? wire_scram_server_final(&b->scram, message, &b->error)
                                    : wire_scram_server_first(&b->scram, message, &b->error);
    free(copy);
    return status;
}

static inline struct wire_scram_terms
terms_of(char flag, const char *binding)
{
    struct wire_scram_terms terms = {
        .flag = flag, .binding = text_slice(binding), .iterations_max = 100000};
    for (size_t i = 0; i < sizeof(terms.nonce); i++) {
        terms.nonce[i] = (uint8_t)i;
    }
    return terms;
}

static inline void
bench_first(struct bench *b)
{
    struct wire_scram_terms terms = terms_of('n', "");
    bench_init(b);
    CHECK_INT(wire_scram_first(&b->scram, &terms, &b->out, &b->error), WIRE_OK);
    CHECK_INT(b->scram.state, WIRE_SCRAM_FIRST_SENT);
}

static inline void
derive_keys(struct bench *b, const char *password, struct wire_scram_keys *keys)
{
    uint8_t salted[WIRE_SCRAM_KEY_LEN];
    wire_slice salt = wire_buffer_unread(&b->scram.salt);
    int ok = PKCS5_PBKDF2_HMAC(password, (int)strlen(password), salt.ptr, (int)salt.len,
                               (int)b->scram.iterations, EVP_sha256(), WIRE_SCRAM_KEY_LEN, salted);
    CHECK_INT(ok, 1);
    CHECK_INT(wire_scram_derive(salted, keys, &b->error), WIRE_OK);
}

/* Up to the point where the server's last message is awaited. */
static inline void
bench_final(struct bench *b, const char *password)
{
    struct wire_scram_keys keys;
    bench_first(b);
    check_sent(b, "n,,n=,r=" NONCE);
    CHECK_INT(feed(b, GOOD_FIRST ",x=ext", strlen(GOOD_FIRST ",x=ext"), false), WIRE_OK);
    CHECK_INT(b->scram.state, WIRE_SCRAM_KEY_NEEDED);
    CHECK_INT(b->scram.iterations, 2);
    derive_keys(b, password, &keys);
    CHECK_INT(wire_scram_final(&b->scram, &keys, &b->out, &b->error), WIRE_OK);
    CHECK_INT(b->scram.state, WIRE_SCRAM_FINAL_SENT);
}

#endif
