/* libpq's rules, which are those of RFC 6125 but for one: the label behind a wildcard may
 * be the last one (*.internal). OpenSSL's own X509_check_host demands two. */
#include "tlsname.h"

#include <string.h>

#include <openssl/err.h>

static unsigned char
lower(unsigned char c)
{
    return c >= 'A' && c <= 'Z' ? (unsigned char)(c + 32) : c;
}

static bool
same_text(const unsigned char *a, const unsigned char *b, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (lower(a[i]) != lower(b[i])) {
            return false;
        }
    }
    return true;
}

/* A wildcard stands for a label of a name, not for a number of an address. */
static bool
name_fits(const ASN1_STRING *text, const char *host, bool is_address)
{
    const unsigned char *name = ASN1_STRING_get0_data(text);
    const unsigned char *wanted = (const unsigned char *)host;
    size_t len = (size_t)ASN1_STRING_length(text);
    size_t host_len = strlen(host);
    if (len == 0 || memchr(name, 0, len) != NULL) {
        return false; /* a NUL inside would let it end earlier for others */
    }
    if (len == host_len && same_text(name, wanted, len)) {
        return true;
    }
    const char *dot = is_address ? NULL : strchr(host, '.');
    if (len < 3 || name[0] != '*' || name[1] != '.' || dot == NULL || dot == host) {
        return false;
    }
    return strlen(dot) == len - 1 && same_text(name + 1, (const unsigned char *)dot, len - 1);
}

static bool
address_fits(const ASN1_OCTET_STRING *name, const ASN1_OCTET_STRING *address)
{
    return ASN1_OCTET_STRING_cmp(name, address) == 0;
}

static const ASN1_STRING *
common_name(const X509 *cert)
{
    const X509_NAME *subject = X509_get_subject_name(cert);
    int index = X509_NAME_get_index_by_NID((X509_NAME *)(uintptr_t)subject, NID_commonName, -1);
    const X509_NAME_ENTRY *entry = index < 0 ? NULL : X509_NAME_get_entry(subject, index);
    return entry == NULL ? NULL : X509_NAME_ENTRY_get_data(entry);
}

/* The common name counts where no alternative name is there to count: addresses do not
 * speak against it when a name is looked for. */
bool
tls_cert_is_for(const X509 *cert, const char *host)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    ASN1_OCTET_STRING *address = a2i_IPADDRESS(host);
    bool is_address = address != NULL, named = false, fits = false;
    for (int i = 0; !fits && i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *entry = sk_GENERAL_NAME_value(names, i);
        if (entry->type == GEN_DNS) {
            named = true;
            fits = name_fits(entry->d.dNSName, host, is_address);
        }
        else if (entry->type == GEN_IPADD && is_address) {
            named = true;
            fits = address_fits(entry->d.iPAddress, address);
        }
    }
    const ASN1_STRING *common = named ? NULL : common_name(cert);
    fits = fits || (common != NULL && name_fits(common, host, is_address));
    GENERAL_NAMES_free(names);
    ASN1_OCTET_STRING_free(address);
    ERR_clear_error();
    return fits;
}

void
tls_copy_printable(char *to, size_t to_max, const unsigned char *from, size_t len)
{
    size_t n = 0;
    for (; n < len && n + 1 < to_max; n++) {
        to[n] = from[n] >= 32 && from[n] < 127 ? (char)from[n] : '?';
    }
    to[n] = '\0';
}

static bool
first_alternative(const X509 *cert, char *name, size_t name_max)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    bool found = false;
    for (int i = 0; !found && i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *entry = sk_GENERAL_NAME_value(names, i);
        if (entry->type == GEN_DNS) {
            tls_copy_printable(name, name_max, ASN1_STRING_get0_data(entry->d.dNSName),
                               (size_t)ASN1_STRING_length(entry->d.dNSName));
            found = true;
        }
    }
    GENERAL_NAMES_free(names);
    return found;
}

void
tls_cert_name(const X509 *cert, char *name, size_t name_max)
{
    name[0] = '\0';
    if (!first_alternative(cert, name, name_max)) {
        const ASN1_STRING *common = common_name(cert);
        if (common != NULL) {
            tls_copy_printable(name, name_max, ASN1_STRING_get0_data(common),
                               (size_t)ASN1_STRING_length(common));
        }
    }
    ERR_clear_error();
}
