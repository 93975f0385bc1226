/* Shared by tls.c and tlscontext.c, private to them. */
#ifndef NET_TLSCONTEXT_H
#define NET_TLSCONTEXT_H

#include <limits.h>
#include <stdio.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

struct net_tls_context {
    SSL_CTX *ctx;
};

#endif
