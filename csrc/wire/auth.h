/* The client's side of cleartext, md5 and SCRAM-SHA-256 (RFC 5802, RFC 7677).
 * Needs libcrypto for the digests and nothing else. The slow part, PBKDF2, is
 * not done here: the caller derives the salted password off the event loop and
 * hands it in. Nonces are handed in too, so that tests are deterministic. */
#ifndef WIRE_AUTH_H
#define WIRE_AUTH_H

#include "buffer.h"

#define WIRE_SCRAM_KEY_LEN 32
#define WIRE_SCRAM_NONCE_LEN 24 /* the client's nonce: 18 random bytes in base64 */
#define WIRE_SCRAM_CHANNEL_MAX (24 + WIRE_BINDING_MAX) /* "p=tls-server-end-point,," + data */
#define WIRE_SALT_LEN 4
#define WIRE_MD5_ANSWER_LEN 35 /* "md5" and 32 hex digits */

/* "md5" + md5(md5(password + user) + salt). WIRE_ERR_AUTH with text where the
 * crypto library refuses md5 (FIPS). */
WIRE_MUSTCHECK enum wire_status
wire_md5_answer(wire_slice user, wire_slice password, const uint8_t salt[WIRE_SALT_LEN],
                char answer[WIRE_MD5_ANSWER_LEN + 1], struct wire_error *error);

/* SHA-256 of `data`; WIRE_ERR_MEMORY when the library fails. */
WIRE_MUSTCHECK enum wire_status wire_sha256(wire_slice data, uint8_t digest[32]);

enum wire_scram_state {
    WIRE_SCRAM_IDLE,
    WIRE_SCRAM_FIRST_SENT, /* waiting for server-first-message */
    WIRE_SCRAM_KEY_NEEDED, /* waiting for wire_scram_final */
    WIRE_SCRAM_FINAL_SENT, /* waiting for server-final-message */
    WIRE_SCRAM_VERIFIED,   /* the server proved that it knows the password */
};

struct wire_scram {
    enum wire_scram_state state;
    char nonce[WIRE_SCRAM_NONCE_LEN + 1];
    uint8_t channel[WIRE_SCRAM_CHANNEL_MAX]; /* the gs2 header and what binds to TLS */
    size_t channel_len;
    uint32_t iterations_max;
    struct wire_buffer client_first_bare;
    struct wire_buffer server_first;  /* as received: it is part of what is signed */
    struct wire_buffer salt;          /* decoded */
    size_t server_nonce_start;        /* the combined nonce, inside server_first */
    size_t server_nonce_len;
    uint32_t iterations;
    uint8_t server_signature[WIRE_SCRAM_KEY_LEN];
};

/* Cannot fail. */
void wire_scram_init(struct wire_scram *scram);
/* Frees, and overwrites what is secret. */
void wire_scram_clear(struct wire_scram *scram);

/* How an exchange is to go; all of it is copied. */
struct wire_scram_terms {
    uint8_t nonce[18];       /* fresh random bytes */
    char flag;               /* gs2-cbind-flag: 'n' no channel binding, 'y' we could, but the
                                server does not offer it, 'p' bound to `binding` */
    wire_slice binding;      /* 'p': tls-server-end-point data, WIRE_BINDING_MAX at most */
    uint32_t iterations_max; /* what the server may ask for */
};

/* Writes client-first-message ("n,,n=,r=…") into `out`. */
WIRE_MUSTCHECK enum wire_status
wire_scram_first(struct wire_scram *scram, const struct wire_scram_terms *terms,
                 struct wire_buffer *out, struct wire_error *error);

/* Reads server-first-message. Refuses: a nonce that does not start with ours or
 * adds nothing or is not printable, a mandatory extension (m=), an iteration
 * count of 0 or over that of the terms, a missing, empty or over-long salt,
 * bad base64, a NUL, trailing junk that is not an extension. */
WIRE_MUSTCHECK enum wire_status
wire_scram_server_first(struct wire_scram *scram, wire_slice message, struct wire_error *error);

/* ClientKey and ServerKey of RFC 5802, section 3. */
struct wire_scram_keys {
    uint8_t client[WIRE_SCRAM_KEY_LEN];
    uint8_t server[WIRE_SCRAM_KEY_LEN];
};

/* The keys of a salted password (PBKDF2-HMAC-SHA-256 of the prepared password); the
 * caller wipes them. WIRE_ERR_AUTH when the library fails. */
WIRE_MUSTCHECK enum wire_status
wire_scram_derive(const uint8_t salted[WIRE_SCRAM_KEY_LEN], struct wire_scram_keys *keys,
                  struct wire_error *error);

/* Writes client-final-message with the proof into `out`. */
WIRE_MUSTCHECK enum wire_status
wire_scram_final(struct wire_scram *scram, const struct wire_scram_keys *keys,
                 struct wire_buffer *out, struct wire_error *error);

/* Checks server-final-message ("v=…") in constant time; "e=…" is its refusal. */
WIRE_MUSTCHECK enum wire_status
wire_scram_server_final(struct wire_scram *scram, wire_slice message, struct wire_error *error);

#endif
