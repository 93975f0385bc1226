/* What is trusted and shown: OpenSSL's SSL_CTX made from libpq's settings. */
#include "tlscontext.h"

#include <stdlib.h>
#include <string.h>

#include "tls.h"

/* OpenSSL's reason, or the system's behind it; never NULL. */
static const char *
reason_of(unsigned long code)
{
#ifdef ERR_SYSTEM_ERROR
    if (ERR_SYSTEM_ERROR(code)) {
        return strerror(ERR_GET_REASON(code));
    }
#endif
    const char *why = code == 0 ? NULL : ERR_reason_error_string(code);
    return why == NULL ? "unknown reason" : why;
}

/* "<what> <file>: <reason>". False, so that checks can return it. */
static bool
refuse_for(unsigned long code, char reason[NET_REASON_MAX], const char *what, const char *file)
{
    ERR_clear_error();
    snprintf(reason, NET_REASON_MAX, "%.70s \"%.110s\": %.60s", what, file, reason_of(code));
    return false;
}

static bool
refuse(char reason[NET_REASON_MAX], const char *what, const char *file)
{
    return refuse_for(ERR_peek_error(), reason, what, file);
}

/* 0 (the library's own limit) for NULL; -1: there is no such version. */
static int
version_of(const char *name)
{
    if (name == NULL) {
        return 0;
    }
    if (strcmp(name, "TLSv1") == 0) {
        return TLS1_VERSION;
    }
    if (strcmp(name, "TLSv1.1") == 0) {
        return TLS1_1_VERSION;
    }
    if (strcmp(name, "TLSv1.2") == 0) {
        return TLS1_2_VERSION;
    }
    return strcmp(name, "TLSv1.3") == 0 ? TLS1_3_VERSION : -1;
}

static bool
set_versions(SSL_CTX *ctx, const struct net_tls_options *options, char reason[NET_REASON_MAX])
{
    if (SSL_CTX_set_min_proto_version(ctx, version_of(options->min_version)) != 1) {
        return refuse(reason, "ssl_min_protocol_version", options->min_version);
    }
    if (SSL_CTX_set_max_proto_version(ctx, version_of(options->max_version)) != 1) {
        return refuse(reason, "ssl_max_protocol_version", options->max_version);
    }
    return true;
}

static bool
load_roots(SSL_CTX *ctx, const struct net_tls_options *options, char reason[NET_REASON_MAX])
{
    if (options->root_system) {
        if (SSL_CTX_set_default_verify_paths(ctx) != 1) {
            return refuse(reason, "root certificates", "system");
        }
    }
    else if (options->root_file == NULL) {
        return true;
    }
    else if (SSL_CTX_load_verify_locations(ctx, options->root_file, NULL) != 1) {
        return refuse(reason, "could not read root certificate file", options->root_file);
    }
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    return true;
}

static bool
load_revoked(SSL_CTX *ctx, const struct net_tls_options *options, char reason[NET_REASON_MAX])
{
    if (options->crl_file == NULL && options->crl_dir == NULL) {
        return true;
    }
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    if (X509_STORE_load_locations(store, options->crl_file, options->crl_dir) != 1) {
        return refuse(reason, "could not read certificate revocation list",
                      options->crl_file != NULL ? options->crl_file : options->crl_dir);
    }
    X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
    return true;
}

/* OpenSSL's own would ask at the terminal. */
static int
give_password(char *to, int cap, int writing, void *password)
{
    (void)writing;
    size_t len = password == NULL ? 0 : strlen(password);
    if (len == 0 || cap < 0 || len > (size_t)cap) {
        return 0;
    }
    memcpy(to, password, len);
    return (int)len;
}

static const char *
key_trouble(const struct net_tls_options *options, unsigned long code)
{
    int why = ERR_GET_REASON(code);
    if (why == X509_R_KEY_VALUES_MISMATCH || why == X509_R_KEY_TYPE_MISMATCH) {
        return "the certificate does not match private key file";
    }
    return options->key_password == NULL
               ? "could not load private key file (encrypted? give sslpassword)"
               : "could not load private key file (is sslpassword right?)";
}

static bool
load_key(SSL_CTX *ctx, const struct net_tls_options *options, char reason[NET_REASON_MAX])
{
    SSL_CTX_set_default_passwd_cb(ctx, give_password);
    SSL_CTX_set_default_passwd_cb_userdata(ctx, (void *)(uintptr_t)options->key_password);
    bool loaded = SSL_CTX_use_PrivateKey_file(ctx, options->key_file, SSL_FILETYPE_PEM) == 1;
    unsigned long code = ERR_peek_error();
    loaded = loaded || SSL_CTX_use_PrivateKey_file(ctx, options->key_file, SSL_FILETYPE_ASN1) == 1;
    SSL_CTX_set_default_passwd_cb_userdata(ctx, NULL);
    ERR_clear_error();
    return loaded || refuse_for(code, reason, key_trouble(options, code), options->key_file);
}

static bool
load_own(SSL_CTX *ctx, const struct net_tls_options *options, char reason[NET_REASON_MAX])
{
    if (options->cert_file == NULL) {
        return true;
    }
    if (SSL_CTX_use_certificate_chain_file(ctx, options->cert_file) != 1) {
        return refuse(reason, "could not read certificate file", options->cert_file);
    }
    return options->key_file == NULL || load_key(ctx, options, reason);
}

static SSL_CTX *
ctx_new(void)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    if (ctx != NULL) {
        SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
        SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
                                  | SSL_MODE_RELEASE_BUFFERS);
        SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
        SSL_CTX_set_read_ahead(ctx, 1);
    }
    return ctx;
}

struct net_tls_context *
net_tls_context_new(const struct net_tls_options *options, char reason[NET_REASON_MAX])
{
    ERR_clear_error();
    struct net_tls_context *context = malloc(sizeof(*context));
    SSL_CTX *ctx = context == NULL ? NULL : ctx_new();
    if (ctx == NULL) {
        free(context);
        ERR_clear_error();
        snprintf(reason, NET_REASON_MAX, "no memory for a TLS context");
        return NULL;
    }
    context->ctx = ctx;
    if (!set_versions(ctx, options, reason) || !load_roots(ctx, options, reason)
        || !load_revoked(ctx, options, reason) || !load_own(ctx, options, reason)) {
        net_tls_context_free(context);
        return NULL;
    }
    return context;
}

void
net_tls_context_free(struct net_tls_context *context)
{
    if (context != NULL) {
        SSL_CTX_free(context->ctx);
        free(context);
    }
}
