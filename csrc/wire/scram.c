/* SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, the client's side. */
#include "auth.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#define DIGEST_LEN WIRE_SCRAM_KEY_LEN
#define BASE64_LEN(n) (((n) + 2) / 3 * 4)
#define REFUSAL_TEXT_MAX 100 /* bytes of the server's "e=" shown */

static wire_slice
slice_of(const void *bytes, size_t len)
{
    wire_slice s = {bytes, len};
    return s;
}

/* The library's error queue is left empty: it belongs to TLS. */
static bool
hmac_sha256(const uint8_t key[DIGEST_LEN], wire_slice data, uint8_t out[DIGEST_LEN])
{
    unsigned len = 0;
    if (HMAC(EVP_sha256(), key, DIGEST_LEN, data.ptr, data.len, out, &len) == NULL
        || len != DIGEST_LEN) {
        ERR_clear_error();
        return false;
    }
    return true;
}

/* Base64 */

/* Writes BASE64_LEN(n) bytes, no NUL. */
static void
base64_encode(const uint8_t *in, size_t n, char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        size_t here = n - i < 3 ? n - i : 3;
        uint32_t bits = (uint32_t)in[i] << 16;
        bits |= here > 1 ? (uint32_t)in[i + 1] << 8 : 0;
        bits |= here > 2 ? in[i + 2] : 0;
        *out++ = digits[bits >> 18];
        *out++ = digits[bits >> 12 & 63];
        *out++ = here > 1 ? digits[bits >> 6 & 63] : '=';
        *out++ = here > 2 ? digits[bits & 63] : '=';
    }
}

/* The value of a digit, or 64 when it is none. */
static uint32_t
base64_digit(uint8_t c)
{
    if (c >= 'A' && c <= 'Z') {
        return (uint32_t)(c - 'A');
    }
    if (c >= 'a' && c <= 'z') {
        return (uint32_t)(c - 'a' + 26);
    }
    if (c >= '0' && c <= '9') {
        return (uint32_t)(c - '0' + 52);
    }
    return c == '+' ? 62 : c == '/' ? 63 : 64;
}

/* Decodes the canonical form only: padding where it belongs, no
 * white space, unused bits zero. The caller has seen to whole groups; `out` has
 * room for text.len / 4 * 3 bytes. */
static bool
base64_decode(wire_slice text, uint8_t *out, size_t *n)
{
    assert(text.len % 4 == 0);
    *n = 0;
    for (size_t i = 0; i < text.len; i += 4) {
        const uint8_t *p = text.ptr + i;
        size_t pad = i + 4 == text.len && p[3] == '=' ? (p[2] == '=' ? 2 : 1) : 0;
        uint32_t bits = 0;
        for (size_t k = 0; k < 4; k++) {
            uint32_t digit = k >= 4 - pad ? 0 : base64_digit(p[k]);
            if (digit > 63) {
                return false;
            }
            bits = bits << 6 | digit;
        }
        if ((bits & ((UINT32_C(1) << (8 * pad)) - 1)) != 0) {
            return false;
        }
        out[(*n)++] = (uint8_t)(bits >> 16);
        if (pad < 2) {
            out[(*n)++] = (uint8_t)(bits >> 8);
        }
        if (pad < 1) {
            out[(*n)++] = (uint8_t)bits;
        }
    }
    return true;
}

/* Life and errors */

void
wire_scram_init(struct wire_scram *scram)
{
    memset(scram, 0, sizeof(*scram));
    scram->state = WIRE_SCRAM_IDLE;
    wire_buffer_init(&scram->client_first_bare);
    wire_buffer_init(&scram->server_first);
    wire_buffer_init(&scram->salt);
}

void
wire_scram_clear(struct wire_scram *scram)
{
    wire_buffer_clear(&scram->client_first_bare, true);
    wire_buffer_clear(&scram->server_first, true);
    wire_buffer_clear(&scram->salt, true);
    OPENSSL_cleanse(scram, sizeof(*scram));
    wire_scram_init(scram);
}

static enum wire_status
scram_malformed(struct wire_error *error, const char *what)
{
    return wire_error_set(error, WIRE_ERR_PROTOCOL, "malformed SCRAM message: %s", what);
}

static enum wire_status
scram_refused(struct wire_error *error, const char *why)
{
    return wire_error_set(error, WIRE_ERR_AUTH, "SCRAM authentication refused: %s", why);
}

/* The sticky failure of `b`, as an error. */
static enum wire_status
buffer_result(const struct wire_buffer *b, struct wire_error *error)
{
    if (b->failed == WIRE_OK) {
        return WIRE_OK;
    }
    return wire_error_set(error, b->failed, "out of memory or over a limit in authentication");
}

/* Client-first-message */

/* The gs2 header, without an authorization identity; behind it, for later, what the
 * exchange is bound to. Returns the header's length. */
static size_t
set_channel(struct wire_scram *scram, const struct wire_scram_terms *terms)
{
    bool bound = terms->flag == 'p';
    const char *header = bound ? "p=tls-server-end-point,," : terms->flag == 'y' ? "y,," : "n,,";
    size_t len = strlen(header);
    memcpy(scram->channel, header, len);
    scram->channel_len = len;
    if (bound) {
        assert(terms->binding.len > 0 && terms->binding.len <= WIRE_BINDING_MAX);
        memcpy(scram->channel + len, terms->binding.ptr, terms->binding.len);
        scram->channel_len += terms->binding.len;
    }
    return len;
}

enum wire_status
wire_scram_first(struct wire_scram *scram, const struct wire_scram_terms *terms,
                 struct wire_buffer *out, struct wire_error *error)
{
    assert(scram->state == WIRE_SCRAM_IDLE);
    size_t header_len = set_channel(scram, terms);
    scram->iterations_max = terms->iterations_max;
    base64_encode(terms->nonce, sizeof(terms->nonce), scram->nonce);
    scram->nonce[WIRE_SCRAM_NONCE_LEN] = '\0';
    struct wire_buffer *bare = &scram->client_first_bare;
    wire_buffer_consume(bare, wire_buffer_size(bare));
    wire_buffer_put(bare, "n=,r=", 5); /* the server takes the user from the startup packet */
    wire_buffer_put(bare, scram->nonce, WIRE_SCRAM_NONCE_LEN);
    if (bare->failed != WIRE_OK) {
        return buffer_result(bare, error);
    }
    wire_slice text = wire_buffer_unread(bare);
    wire_buffer_put(out, scram->channel, header_len);
    wire_buffer_put(out, text.ptr, text.len);
    scram->state = WIRE_SCRAM_FIRST_SENT;
    return buffer_result(out, error);
}

/* Reading */

/* The next attribute, "x=value", and the comma behind it; the reader goes bad
 * when there is none, when the value is empty or when nothing follows the comma. */
static wire_slice
next_attribute(struct wire_reader *r, uint8_t *name)
{
    *name = wire_read_u8(r);
    bool letter = (*name >= 'a' && *name <= 'z') || (*name >= 'A' && *name <= 'Z');
    if (!letter || wire_read_u8(r) != '=') {
        r->bad = true;
    }
    size_t left = wire_reader_left(r);
    const uint8_t *comma = left == 0 ? NULL : memchr(r->p, ',', left);
    wire_slice value = wire_read_bytes(r, comma == NULL ? left : (size_t)(comma - r->p));
    if (comma != NULL) {
        wire_read_u8(r);
    }
    if (value.len == 0 || (comma != NULL && wire_reader_left(r) == 0)) {
        r->bad = true;
    }
    return value;
}

/* What both server messages may not be: too long, or with a NUL inside. */
static enum wire_status
check_message(wire_slice message, struct wire_error *error)
{
    if (message.len > WIRE_AUTH_MESSAGE_MAX) {
        return wire_error_set(error, WIRE_ERR_LIMIT, "SCRAM message of %zu bytes, over %d",
                              message.len, WIRE_AUTH_MESSAGE_MAX);
    }
    if (message.len == 0) {
        return scram_malformed(error, "empty");
    }
    if (memchr(message.ptr, 0, message.len) != NULL) {
        return scram_malformed(error, "a zero byte");
    }
    return WIRE_OK;
}

/* Optional extensions up to the end; what they say is ignored. */
static enum wire_status
check_extensions(struct wire_reader *r, struct wire_error *error)
{
    while (wire_reader_left(r) != 0) {
        uint8_t name;
        next_attribute(r, &name);
        if (r->bad) {
            return scram_malformed(error, "trailing bytes that are not an extension");
        }
        if (name == 'm') {
            return scram_refused(error, "the server demands an unknown mandatory extension");
        }
    }
    return WIRE_OK;
}

static enum wire_status
check_nonce(const struct wire_scram *scram, wire_slice nonce, struct wire_error *error)
{
    for (size_t i = 0; i < nonce.len; i++) {
        if (nonce.ptr[i] < 0x21 || nonce.ptr[i] > 0x7E) {
            return scram_malformed(error, "the nonce is not printable");
        }
    }
    if (nonce.len < WIRE_SCRAM_NONCE_LEN
        || CRYPTO_memcmp(nonce.ptr, scram->nonce, WIRE_SCRAM_NONCE_LEN) != 0) {
        return scram_refused(error, "the server's nonce does not start with ours");
    }
    if (nonce.len == WIRE_SCRAM_NONCE_LEN) {
        return scram_refused(error, "the server added nothing to our nonce");
    }
    return WIRE_OK;
}

static enum wire_status
read_salt(struct wire_scram *scram, wire_slice text, struct wire_error *error)
{
    if (text.len % 4 != 0) {
        return scram_malformed(error, "the salt is not base64");
    }
    size_t room = text.len / 4 * 3; /* not 0: an attribute is never empty */
    if (room > WIRE_SCRAM_SALT_MAX + 2) { /* 2: what padding may take off */
        return wire_error_set(error, WIRE_ERR_LIMIT, "SCRAM salt over %d bytes",
                              WIRE_SCRAM_SALT_MAX);
    }
    wire_buffer_consume(&scram->salt, wire_buffer_size(&scram->salt));
    uint8_t *out = wire_buffer_reserve(&scram->salt, room);
    if (out == NULL) {
        return buffer_result(&scram->salt, error);
    }
    size_t n;
    if (!base64_decode(text, out, &n) || n == 0) {
        return scram_malformed(error, "the salt is not base64");
    }
    if (n > WIRE_SCRAM_SALT_MAX) {
        return wire_error_set(error, WIRE_ERR_LIMIT, "SCRAM salt over %d bytes",
                              WIRE_SCRAM_SALT_MAX);
    }
    wire_buffer_commit(&scram->salt, n);
    return WIRE_OK;
}

static enum wire_status
read_iterations(struct wire_scram *scram, wire_slice text, struct wire_error *error)
{
    uint64_t count = 0;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.ptr[i];
        if (c < '0' || c > '9' || text.ptr[0] == '0') {
            return scram_malformed(error, "the iteration count is not a positive number");
        }
        if (count <= scram->iterations_max) { /* so it cannot wrap */
            count = count * 10 + (uint64_t)(c - '0');
        }
    }
    if (count > scram->iterations_max) {
        return wire_error_set(error, WIRE_ERR_AUTH,
                              "SCRAM authentication refused: the server asks for more than %u "
                              "iterations (scram_max_iterations)",
                              (unsigned)scram->iterations_max);
    }
    scram->iterations = (uint32_t)count;
    return WIRE_OK;
}

/* Splits "r=…,s=…,i=…[,extensions]". */
static enum wire_status
split_server_first(wire_slice message, wire_slice *nonce, wire_slice *salt, wire_slice *count,
                   struct wire_error *error)
{
    struct wire_reader r = wire_reader_of(message);
    uint8_t names[3];
    *nonce = next_attribute(&r, &names[0]);
    if (!r.bad && names[0] == 'm') {
        return scram_refused(error, "the server demands an unknown mandatory extension");
    }
    *salt = next_attribute(&r, &names[1]);
    *count = next_attribute(&r, &names[2]);
    if (r.bad || memcmp(names, "rsi", 3) != 0) {
        return scram_malformed(error, "not a nonce, a salt and an iteration count");
    }
    return check_extensions(&r, error);
}

enum wire_status
wire_scram_server_first(struct wire_scram *scram, wire_slice message, struct wire_error *error)
{
    if (scram->state != WIRE_SCRAM_FIRST_SENT) {
        return scram_malformed(error, "server-first-message out of turn");
    }
    scram->state = WIRE_SCRAM_IDLE; /* until all of it is found good */
    wire_slice nonce, salt, count;
    enum wire_status status = check_message(message, error);
    if (status == WIRE_OK) {
        status = split_server_first(message, &nonce, &salt, &count, error);
    }
    if (status == WIRE_OK) {
        status = check_nonce(scram, nonce, error);
    }
    if (status == WIRE_OK) {
        status = read_salt(scram, salt, error);
    }
    if (status == WIRE_OK) {
        status = read_iterations(scram, count, error);
    }
    if (status != WIRE_OK) {
        return status;
    }
    scram->server_nonce_start = (size_t)(nonce.ptr - message.ptr);
    scram->server_nonce_len = nonce.len;
    wire_buffer_consume(&scram->server_first, wire_buffer_size(&scram->server_first));
    wire_buffer_put(&scram->server_first, message.ptr, message.len);
    status = buffer_result(&scram->server_first, error);
    if (status == WIRE_OK) {
        scram->state = WIRE_SCRAM_KEY_NEEDED;
    }
    return status;
}

/* Client-final-message */

static enum wire_status
digest_failed(struct wire_error *error)
{
    return wire_error_set(error, WIRE_ERR_AUTH, "the crypto library fails at SHA-256");
}

enum wire_status
wire_scram_derive(const uint8_t salted[WIRE_SCRAM_KEY_LEN], struct wire_scram_keys *keys,
                  struct wire_error *error)
{
    bool ok = hmac_sha256(salted, slice_of("Client Key", 10), keys->client)
              && hmac_sha256(salted, slice_of("Server Key", 10), keys->server);
    return ok ? WIRE_OK : digest_failed(error);
}

/* Computes the proof and the signature to expect from the keys and the text that
 * both sides sign (RFC 5802, section 3). */
static bool
scram_sign(const struct wire_scram_keys *keys, wire_slice signed_text, uint8_t proof[DIGEST_LEN],
           uint8_t server_signature[DIGEST_LEN])
{
    uint8_t stored_key[DIGEST_LEN], signature[DIGEST_LEN];
    bool ok = wire_sha256(slice_of(keys->client, DIGEST_LEN), stored_key) == WIRE_OK
              && hmac_sha256(stored_key, signed_text, signature)
              && hmac_sha256(keys->server, signed_text, server_signature);
    for (size_t i = 0; ok && i < DIGEST_LEN; i++) {
        proof[i] = keys->client[i] ^ signature[i];
    }
    OPENSSL_cleanse(stored_key, sizeof(stored_key));
    OPENSSL_cleanse(signature, sizeof(signature));
    return ok;
}

/* "c=<channel>,r=<nonce>": client-final-message without the proof. */
static void
put_final_bare(const struct wire_scram *scram, struct wire_buffer *out)
{
    char channel[BASE64_LEN(WIRE_SCRAM_CHANNEL_MAX)];
    wire_slice first = wire_buffer_unread(&scram->server_first);
    assert(scram->server_nonce_start + scram->server_nonce_len <= first.len);
    base64_encode(scram->channel, scram->channel_len, channel);
    wire_buffer_put(out, "c=", 2);
    wire_buffer_put(out, channel, BASE64_LEN(scram->channel_len));
    wire_buffer_put(out, ",r=", 3);
    wire_buffer_put(out, first.ptr + scram->server_nonce_start, scram->server_nonce_len);
}

/* The text that both sides sign. */
static void
put_signed_text(const struct wire_scram *scram, struct wire_buffer *out)
{
    wire_slice client = wire_buffer_unread(&scram->client_first_bare);
    wire_slice server = wire_buffer_unread(&scram->server_first);
    wire_buffer_put(out, client.ptr, client.len);
    wire_buffer_put_u8(out, ',');
    wire_buffer_put(out, server.ptr, server.len);
    wire_buffer_put_u8(out, ',');
    put_final_bare(scram, out);
}

enum wire_status
wire_scram_final(struct wire_scram *scram, const struct wire_scram_keys *keys,
                 struct wire_buffer *out, struct wire_error *error)
{
    assert(scram->state == WIRE_SCRAM_KEY_NEEDED);
    uint8_t proof[DIGEST_LEN];
    char proof_base64[BASE64_LEN(DIGEST_LEN)];
    struct wire_buffer text;
    wire_buffer_init(&text);
    put_signed_text(scram, &text);
    enum wire_status status = buffer_result(&text, error);
    if (status == WIRE_OK
        && !scram_sign(keys, wire_buffer_unread(&text), proof, scram->server_signature)) {
        status = digest_failed(error);
    }
    wire_buffer_clear(&text, true);
    if (status != WIRE_OK) {
        return status;
    }
    base64_encode(proof, DIGEST_LEN, proof_base64);
    OPENSSL_cleanse(proof, sizeof(proof));
    put_final_bare(scram, out);
    wire_buffer_put(out, ",p=", 3);
    wire_buffer_put(out, proof_base64, sizeof(proof_base64));
    OPENSSL_cleanse(proof_base64, sizeof(proof_base64));
    scram->state = WIRE_SCRAM_FINAL_SENT;
    return buffer_result(out, error);
}

/* Server-final-message */

/* The server's "e=": its text, with what is not printable masked. */
static enum wire_status
server_refusal(wire_slice value, struct wire_error *error)
{
    char text[REFUSAL_TEXT_MAX + 1];
    size_t n = value.len < REFUSAL_TEXT_MAX ? value.len : REFUSAL_TEXT_MAX;
    for (size_t i = 0; i < n; i++) {
        text[i] = value.ptr[i] >= 0x20 && value.ptr[i] <= 0x7E ? (char)value.ptr[i] : '?';
    }
    text[n] = '\0';
    return wire_error_set(error, WIRE_ERR_AUTH, "SCRAM authentication failed at the server: %s",
                          text);
}

static enum wire_status
check_signature(const struct wire_scram *scram, wire_slice value, struct wire_error *error)
{
    uint8_t signature[BASE64_LEN(DIGEST_LEN) / 4 * 3];
    size_t n = 0;
    bool decoded = value.len == BASE64_LEN(DIGEST_LEN) && base64_decode(value, signature, &n)
                   && n == DIGEST_LEN;
    if (!decoded) {
        return scram_malformed(error, "the server's signature is not 32 bytes in base64");
    }
    if (CRYPTO_memcmp(signature, scram->server_signature, DIGEST_LEN) != 0) {
        return scram_refused(error,
                             "the server's signature is wrong: it does not know the password");
    }
    return WIRE_OK;
}

enum wire_status
wire_scram_server_final(struct wire_scram *scram, wire_slice message, struct wire_error *error)
{
    if (scram->state != WIRE_SCRAM_FINAL_SENT) {
        return scram_malformed(error, "server-final-message out of turn");
    }
    scram->state = WIRE_SCRAM_IDLE; /* until the signature is found good */
    enum wire_status status = check_message(message, error);
    if (status != WIRE_OK) {
        return status;
    }
    struct wire_reader r = wire_reader_of(message);
    uint8_t name;
    wire_slice value = next_attribute(&r, &name);
    if (r.bad || (name != 'v' && name != 'e')) {
        return scram_malformed(error, "neither a signature nor an error");
    }
    status = name == 'e' ? server_refusal(value, error) : check_extensions(&r, error);
    if (status == WIRE_OK) {
        status = check_signature(scram, value, error);
    }
    if (status == WIRE_OK) {
        scram->state = WIRE_SCRAM_VERIFIED;
    }
    return status;
}
