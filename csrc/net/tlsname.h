/* Whose certificate it is: names in X.509. Private to tls.c. */
#ifndef NET_TLSNAME_H
#define NET_TLSNAME_H

#include <stdbool.h>
#include <stddef.h>

#include <openssl/x509v3.h>

/* Whether the certificate was made out to `host`, a name or an IP address: by its
 * alternative names, or by its common name where it has none (for a name: none but
 * addresses). A wildcard stands for the first label of a name, as a whole. */
bool tls_cert_is_for(const X509 *cert, const char *host);

/* The first name in the certificate, printable; "" for none. */
void tls_cert_name(const X509 *cert, char *name, size_t name_max);

/* At most name_max - 1 of the bytes, with ? for those that cannot be printed. */
void tls_copy_printable(char *to, size_t to_max, const unsigned char *from, size_t len);

#endif
