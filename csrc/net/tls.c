/* The stream: handshake, reading, writing. The context is in tlscontext.c. */
#include "tls.h"

#include <stdlib.h>
#include <string.h>

#include "tlscontext.h"
#include "tlsname.h"

/* What one call may take from the socket: a peer that sends records without data for ever
 * (tickets, warnings) would never let SSL_read come back. */
#define TLS_TURN_BYTES (512 * 1024)

struct tls_state {
    SSL *ssl;
    BIO_METHOD *method;
    struct net_stream *stream;
    size_t turn;         /* bytes taken from the socket in this call */
    bool eof;            /* the peer has closed its side */
    bool cert_requested; /* the server asked for ours */
};

static struct tls_state *
state_of(const struct net_stream *stream)
{
    return stream->state;
}

/* The BIO: OpenSSL's own would raise SIGPIPE. */

static int
bio_read(BIO *bio, char *bytes, int cap)
{
    struct tls_state *state = BIO_get_data(bio);
    size_t got = 0;
    BIO_clear_retry_flags(bio);
    if (state->turn > TLS_TURN_BYTES) {
        BIO_set_retry_read(bio);
        return -1;
    }
    switch (net_plain_read(state->stream, (uint8_t *)bytes, (size_t)cap, &got)) {
    case NET_OK:
        state->turn += got;
        return (int)got;
    case NET_EOF:
        state->eof = true;
        return 0;
    case NET_WANT_READ:
    case NET_WANT_WRITE:
        BIO_set_retry_read(bio);
        return -1;
    case NET_ERROR:
        break;
    }
    return -1;
}

static int
bio_write(BIO *bio, const char *bytes, int len)
{
    struct tls_state *state = BIO_get_data(bio);
    size_t sent = 0;
    BIO_clear_retry_flags(bio);
    switch (net_plain_write(state->stream, (const uint8_t *)bytes, (size_t)len, &sent)) {
    case NET_OK:
        return (int)sent;
    case NET_WANT_READ:
    case NET_WANT_WRITE:
        BIO_set_retry_write(bio);
        return -1;
    case NET_EOF:
    case NET_ERROR:
        break;
    }
    return -1;
}

static long
bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    (void)number;
    (void)pointer;
    const struct tls_state *state = BIO_get_data(bio);
    switch (command) {
    case BIO_CTRL_FLUSH:
        return 1;
    case BIO_CTRL_EOF:
        return state->eof;
    default:
        return 0;
    }
}

static BIO *
bio_new(struct tls_state *state)
{
    state->method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "pgasync socket");
    if (state->method == NULL || BIO_meth_set_read(state->method, bio_read) != 1
        || BIO_meth_set_write(state->method, bio_write) != 1
        || BIO_meth_set_ctrl(state->method, bio_ctrl) != 1) {
        return NULL;
    }
    BIO *bio = BIO_new(state->method);
    if (bio != NULL) {
        BIO_set_data(bio, state);
        BIO_set_init(bio, 1);
    }
    return bio;
}

/* What went wrong */

static enum net_status
tls_fail(struct net_stream *stream, const char *reason)
{
    stream->error = 0;
    snprintf(stream->reason, sizeof(stream->reason), "%s", reason);
    return NET_ERROR;
}

/* OpenSSL's reason for a failure, or NULL; its queue is empty then. */
static const char *
take_reason(void)
{
    unsigned long code = ERR_peek_error();
    const char *reason = code == 0 ? NULL : ERR_reason_error_string(code);
#ifdef SSL_R_UNEXPECTED_EOF_WHILE_READING
    if (ERR_GET_REASON(code) == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
        reason = NULL;
    }
#endif
    ERR_clear_error();
    return reason;
}

static enum net_status
tls_status(struct net_stream *stream, int result)
{
    const struct tls_state *state = state_of(stream);
    int why = SSL_get_error(state->ssl, result);
    if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) {
        return why == SSL_ERROR_WANT_READ ? NET_WANT_READ : NET_WANT_WRITE;
    }
    const char *reason = take_reason();
    if (why == SSL_ERROR_ZERO_RETURN) {
        return NET_EOF;
    }
    if (reason != NULL) {
        return tls_fail(stream, reason);
    }
    if (state->eof) {
        return NET_EOF;
    }
    return stream->error != 0 ? NET_ERROR : tls_fail(stream, "the TLS library failed");
}

/* The operations */

static int
int_of(size_t size)
{
    return size > INT_MAX ? INT_MAX : (int)size;
}

static enum net_status
tls_read(struct net_stream *stream, uint8_t *bytes, size_t cap, size_t *n)
{
    ERR_clear_error();
    stream->error = 0;
    state_of(stream)->turn = 0;
    int got = SSL_read(state_of(stream)->ssl, bytes, int_of(cap));
    if (got > 0) {
        *n = (size_t)got;
        return NET_OK;
    }
    return tls_status(stream, got);
}

static enum net_status
tls_write(struct net_stream *stream, const uint8_t *bytes, size_t len, size_t *n)
{
    ERR_clear_error();
    stream->error = 0;
    state_of(stream)->turn = 0;
    int sent = SSL_write(state_of(stream)->ssl, bytes, int_of(len));
    if (sent > 0) {
        *n = (size_t)sent;
        return NET_OK;
    }
    enum net_status status = tls_status(stream, sent);
    return status == NET_WANT_READ ? NET_WANT_WRITE : status;
}

static bool
tls_pending(const struct net_stream *stream)
{
    return SSL_has_pending(state_of(stream)->ssl) == 1;
}

/* No close_notify: Terminate says as much, and a broken stream must not write. */
static void
tls_clear(struct net_stream *stream)
{
    struct tls_state *state = stream->state;
    if (state == NULL) {
        return;
    }
    stream->state = NULL;
    SSL_set_quiet_shutdown(state->ssl, 1);
    SSL_free(state->ssl);
    BIO_meth_free(state->method);
    free(state);
}

static const struct net_ops tls_ops = {tls_read, tls_write, tls_pending, tls_clear};

/* Birth and handshake */

static int
on_cert_request(SSL *ssl, void *arg)
{
    (void)ssl;
    struct tls_state *state = arg;
    state->cert_requested = true;
    return 1;
}

static bool
set_up(struct tls_state *state, const struct net_tls_context *context, const char *server_name)
{
    static const unsigned char alpn[] = "\x0apostgresql";
    state->ssl = SSL_new(context->ctx);
    if (state->ssl == NULL) {
        return false;
    }
    BIO *bio = bio_new(state);
    if (bio == NULL) {
        return false;
    }
    SSL_set_bio(state->ssl, bio, bio);
    SSL_set_connect_state(state->ssl);
    SSL_set_cert_cb(state->ssl, on_cert_request, state);
    if (SSL_set_alpn_protos(state->ssl, alpn, sizeof(alpn) - 1) != 0) {
        return false;
    }
    return server_name == NULL || SSL_set_tlsext_host_name(state->ssl, server_name) == 1;
}

int
net_tls_init(struct net_stream *stream, int fd, const struct net_tls_context *context,
             const char *server_name)
{
    struct tls_state *state = calloc(1, sizeof(*state));
    if (state == NULL) {
        return -1;
    }
    memset(stream, 0, sizeof(*stream));
    state->stream = stream;
    if (!set_up(state, context, server_name)) {
        SSL_free(state->ssl);
        BIO_meth_free(state->method);
        free(state);
        ERR_clear_error();
        return -1;
    }
    stream->ops = &tls_ops;
    stream->fd = fd;
    stream->state = state;
    return 0;
}

void
net_tls_move(struct net_stream *to, struct net_stream *from)
{
    *to = *from;
    state_of(to)->stream = to;
    from->state = NULL;
    from->fd = -1;
}

enum net_status
net_tls_handshake(struct net_stream *stream)
{
    struct tls_state *state = state_of(stream);
    ERR_clear_error();
    stream->error = 0;
    state->turn = 0;
    int done = SSL_do_handshake(state->ssl);
    if (done == 1) {
        return NET_OK;
    }
    enum net_status status = tls_status(stream, done);
    long verified = SSL_get_verify_result(state->ssl);
    if (status == NET_ERROR && verified != X509_V_OK) {
        snprintf(stream->reason, sizeof(stream->reason), "certificate verify failed: %s",
                 X509_verify_cert_error_string(verified));
    }
    return status;
}

/* Who the server is */

static X509 *
peer_of(const struct net_stream *stream)
{
    return SSL_get_peer_certificate(state_of(stream)->ssl);
}

bool
net_tls_is_host(const struct net_stream *stream, const char *host)
{
    X509 *cert = peer_of(stream);
    bool same = cert != NULL && tls_cert_is_for(cert, host);
    X509_free(cert);
    return same;
}

void
net_tls_peer_name(const struct net_stream *stream, char *name, size_t name_max)
{
    X509 *cert = peer_of(stream);
    name[0] = '\0';
    if (cert != NULL) {
        tls_cert_name(cert, name, name_max);
    }
    X509_free(cert);
}

bool
net_tls_cert_requested(const struct net_stream *stream)
{
    return state_of(stream)->cert_requested;
}

/* RFC 5929, 4.1: MD5 and SHA-1 are replaced by SHA-256. */
static size_t
binding_of(X509 *cert, uint8_t hash[NET_TLS_BINDING_MAX])
{
    int digest = NID_undef;
    if (X509_get_signature_info(cert, &digest, NULL, NULL, NULL) != 1 || digest == NID_undef) {
        return 0;
    }
    if (digest == NID_md5 || digest == NID_sha1) {
        digest = NID_sha256;
    }
    const EVP_MD *kind = EVP_get_digestbynid(digest);
    unsigned len = 0;
    if (kind == NULL || EVP_MD_size(kind) > NET_TLS_BINDING_MAX
        || X509_digest(cert, kind, hash, &len) != 1) {
        return 0;
    }
    return len;
}

size_t
net_tls_binding(const struct net_stream *stream, uint8_t hash[NET_TLS_BINDING_MAX])
{
    X509 *cert = peer_of(stream);
    size_t len = cert == NULL ? 0 : binding_of(cert, hash);
    X509_free(cert);
    ERR_clear_error();
    return len;
}

size_t
net_tls_binding_of(const uint8_t *der, size_t der_len, uint8_t hash[NET_TLS_BINDING_MAX])
{
    X509 *cert = der_len > LONG_MAX ? NULL : d2i_X509(NULL, &der, (long)der_len);
    size_t len = cert == NULL ? 0 : binding_of(cert, hash);
    X509_free(cert);
    ERR_clear_error();
    return len;
}

const char *
net_tls_version(const struct net_stream *stream)
{
    return SSL_get_version(state_of(stream)->ssl);
}

const char *
net_tls_cipher(const struct net_stream *stream)
{
    const char *name = SSL_get_cipher_name(state_of(stream)->ssl);
    return name == NULL ? "" : name;
}

void
net_tls_alpn(const struct net_stream *stream, char *name, size_t name_max)
{
    const unsigned char *chosen = NULL;
    unsigned len = 0;
    SSL_get0_alpn_selected(state_of(stream)->ssl, &chosen, &len);
    tls_copy_printable(name, name_max, chosen, len);
}
