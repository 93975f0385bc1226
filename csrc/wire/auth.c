/* SHA-256 and the md5 answer; SCRAM is in scram.c. */
#include "auth.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>

#define MD5_LEN 16

static wire_slice
slice_of(const void *bytes, size_t len)
{
    wire_slice s = {bytes, len};
    return s;
}

/* The digest of `a` and `b` in a row. The library's error queue is left empty:
 * it belongs to TLS. */
static bool
digest_pair(const EVP_MD *kind, wire_slice a, wire_slice b, uint8_t *out)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool ok = context != NULL && EVP_DigestInit_ex(context, kind, NULL) == 1
              && EVP_DigestUpdate(context, a.ptr, a.len) == 1
              && EVP_DigestUpdate(context, b.ptr, b.len) == 1
              && EVP_DigestFinal_ex(context, out, NULL) == 1;
    EVP_MD_CTX_free(context);
    if (!ok) {
        ERR_clear_error();
    }
    return ok;
}

enum wire_status
wire_sha256(wire_slice data, uint8_t digest[32])
{
    wire_slice nothing = {NULL, 0};
    return digest_pair(EVP_sha256(), data, nothing, digest) ? WIRE_OK : WIRE_ERR_MEMORY;
}

/* md5 */

static bool
md5_hex(wire_slice a, wire_slice b, char out[2 * MD5_LEN])
{
    static const char digits[] = "0123456789abcdef";
    uint8_t digest[MD5_LEN];
    if (!digest_pair(EVP_md5(), a, b, digest)) {
        return false;
    }
    for (size_t i = 0; i < MD5_LEN; i++) {
        out[2 * i] = digits[digest[i] >> 4];
        out[2 * i + 1] = digits[digest[i] & 15];
    }
    OPENSSL_cleanse(digest, sizeof(digest));
    return true;
}

enum wire_status
wire_md5_answer(wire_slice user, wire_slice password, const uint8_t salt[WIRE_SALT_LEN],
                char answer[WIRE_MD5_ANSWER_LEN + 1], struct wire_error *error)
{
    char shadow[2 * MD5_LEN];
    memcpy(answer, "md5", 3);
    answer[WIRE_MD5_ANSWER_LEN] = '\0';
    bool ok =
        md5_hex(password, user, shadow)
        && md5_hex(slice_of(shadow, sizeof(shadow)), slice_of(salt, WIRE_SALT_LEN), answer + 3);
    OPENSSL_cleanse(shadow, sizeof(shadow));
    if (!ok) {
        OPENSSL_cleanse(answer, WIRE_MD5_ANSWER_LEN + 1);
        return wire_error_set(error, WIRE_ERR_AUTH,
                              "the server asks for md5, which the crypto library refuses "
                              "(FIPS mode?); let the server use scram-sha-256");
    }
    return WIRE_OK;
}
