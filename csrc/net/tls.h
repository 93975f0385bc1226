/* TLS by OpenSSL (1.1.1 or 3) behind net_stream: what is trusted, the handshake,
 * reading and writing. What the settings mean is libpq's; which files they are is
 * decided by the caller. */
#ifndef NET_TLS_H
#define NET_TLS_H

#include "stream.h"

/* Certificates, keys and what is demanded of the server; shared by connections. */
struct net_tls_context;

/* Paths and secrets end in NUL; NULL: not given. */
struct net_tls_options {
    const char *root_file;    /* PEM: who may have signed the server's certificate */
    bool root_system;         /* the system's store instead */
    const char *crl_file;     /* PEM: certificates that were revoked */
    const char *crl_dir;      /* the same, hashed by c_rehash */
    const char *cert_file;    /* PEM: our own certificate and what leads to its root */
    const char *key_file;     /* PEM or DER: its key */
    const char *key_password; /* what the key is encrypted with */
    const char *min_version;  /* "TLSv1" … "TLSv1.3" */
    const char *max_version;
};

/* The server is verified when root_file or root_system is given. NULL with a text in
 * `reason`, which names the file and never a secret. Reads files: not for the loop's
 * thread. */
struct net_tls_context *
net_tls_context_new(const struct net_tls_options *options, char reason[NET_REASON_MAX]);

/* Streams made from it live on. */
void net_tls_context_free(struct net_tls_context *context);

/* Sets up a TLS client's stream over a connected, non-blocking `fd`. `server_name` goes
 * to the server (SNI), NULL: nothing does. 0, or -1 when there is no memory. */
int net_tls_init(struct net_stream *stream, int fd, const struct net_tls_context *context,
                 const char *server_name);

/* Moves a stream to another place in memory; `from` has nothing left to clear. */
void net_tls_move(struct net_stream *to, struct net_stream *from);

/* One step of the handshake: NET_OK when it has ended, NET_WANT_READ and
 * NET_WANT_WRITE when it waits; NET_EOF or NET_ERROR with the reason. */
enum net_status net_tls_handshake(struct net_stream *stream);

/* After the handshake: whether the server's certificate was made out to `host`, a
 * name or an IP address; see tlsname.h. */
bool net_tls_is_host(const struct net_stream *stream, const char *host);

/* The name that the server's certificate bears, for an error's text; "" for none. */
void net_tls_peer_name(const struct net_stream *stream, char *name, size_t name_max);

/* Whether the server asked for our certificate. */
bool net_tls_cert_requested(const struct net_stream *stream);

#define NET_TLS_BINDING_MAX 64

/* tls-server-end-point (RFC 5929): the hash of the server's certificate. Returns its
 * length; 0: there is none, the certificate's signature knows no hash (Ed25519). */
size_t net_tls_binding(const struct net_stream *stream, uint8_t hash[NET_TLS_BINDING_MAX]);

/* The same of a certificate in DER. 0 also when it cannot be read. */
size_t net_tls_binding_of(const uint8_t *der, size_t len, uint8_t hash[NET_TLS_BINDING_MAX]);

/* "TLSv1.3", "TLS_AES_256_GCM_SHA384", and the protocol that ALPN chose ("" for none). */
const char *net_tls_version(const struct net_stream *stream);
const char *net_tls_cipher(const struct net_stream *stream);
void net_tls_alpn(const struct net_stream *stream, char *name, size_t name_max);

#endif
