/* The frontend/backend protocol 3 in constants: tags, codes and every hard
 * limit. Source: PostgreSQL documentation, "Frontend/Backend Protocol". */
#ifndef WIRE_PROTOCOL_H
#define WIRE_PROTOCOL_H

#include <stddef.h>
#include <stdint.h>

/* Bytes that belong to somebody else. A slice of an input buffer dies at the
 * next read into that buffer. */
typedef struct {
    const uint8_t *ptr;
    size_t len;
} wire_slice;

#define WIRE_PROTOCOL_3_0 0x00030000
#define WIRE_PROTOCOL_3_1 0x00030001 /* never existed */
#define WIRE_PROTOCOL_3_2 0x00030002
#define WIRE_CANCEL_CODE 80877102
#define WIRE_SSL_CODE 80877103

/* Limits. */
#define WIRE_MESSAGE_MAX 0x3FFFFFFE        /* 1 GiB - 2: what a server accepts */
#define WIRE_MESSAGE_SHORT_MAX 30000       /* tags that are never long */
#define WIRE_MESSAGE_PREAUTH_MAX 65536     /* anything before AuthenticationOk */
#define WIRE_AUTH_MESSAGE_MAX 2000         /* AuthenticationXxx, as libpq */
#define WIRE_PARAMS_MAX 65535              /* a 16-bit count in Bind */
#define WIRE_COLUMNS_MAX 1664              /* MaxTupleAttributeNumber */
#define WIRE_ARRAY_DIMS_MAX 6              /* MAXDIM */
#define WIRE_NESTING_MAX 32                /* containers in containers */
#define WIRE_SCRAM_SALT_MAX 1024
#define WIRE_BINDING_MAX 64                /* tls-server-end-point data: a SHA-512 */
#define WIRE_CANCEL_KEY_MIN 4
#define WIRE_CANCEL_KEY_MAX 256
#define WIRE_PARAMETER_MAX 8192            /* one ParameterStatus, name and value */
/* Parameters whose types the client names in Parse, at most. */
#define WIRE_PARAMETERS_HINTED_MAX 256
#define WIRE_PARAMETERS_MAX 256            /* distinct ParameterStatus names */
#define WIRE_NUMERIC_DIGITS_MAX 36864      /* base-10000 groups: 131072 + 16383 digits */

/* Backend tags. */
#define WIRE_TAG_AUTHENTICATION 'R'
#define WIRE_TAG_BACKEND_KEY 'K'
#define WIRE_TAG_BIND_COMPLETE '2'
#define WIRE_TAG_CLOSE_COMPLETE '3'
#define WIRE_TAG_COMMAND_COMPLETE 'C'
#define WIRE_TAG_COPY_DATA 'd'
#define WIRE_TAG_COPY_DONE 'c'
#define WIRE_TAG_COPY_IN 'G'
#define WIRE_TAG_COPY_OUT 'H'
#define WIRE_TAG_COPY_BOTH 'W'
#define WIRE_TAG_DATA_ROW 'D'
#define WIRE_TAG_EMPTY_QUERY 'I'
#define WIRE_TAG_ERROR 'E'
#define WIRE_TAG_NEGOTIATE_VERSION 'v'
#define WIRE_TAG_NO_DATA 'n'
#define WIRE_TAG_NOTICE 'N'
#define WIRE_TAG_NOTIFICATION 'A'
#define WIRE_TAG_PARAM_DESCRIPTION 't'
#define WIRE_TAG_PARAMETER_STATUS 'S'
#define WIRE_TAG_PARSE_COMPLETE '1'
#define WIRE_TAG_PORTAL_SUSPENDED 's'
#define WIRE_TAG_READY 'Z'
#define WIRE_TAG_ROW_DESCRIPTION 'T'

/* Codes of an AuthenticationXxx message. */
#define WIRE_AUTH_OK 0
#define WIRE_AUTH_CLEARTEXT 3
#define WIRE_AUTH_MD5 5
#define WIRE_AUTH_SASL 10
#define WIRE_AUTH_SASL_CONTINUE 11
#define WIRE_AUTH_SASL_FINAL 12

/* Which ways of authenticating a user allows (a mask). */
#define WIRE_ALLOW_NONE 0x01u
#define WIRE_ALLOW_PASSWORD 0x02u
#define WIRE_ALLOW_MD5 0x04u
#define WIRE_ALLOW_SCRAM_SHA_256 0x08u
#define WIRE_ALLOW_ALL 0x0Fu
/* SCRAM without a password: the caller has the keys. */
#define WIRE_ALLOW_SCRAM_KEYS 0x10u

/* Formats of a value. */
#define WIRE_FORMAT_TEXT 0
#define WIRE_FORMAT_BINARY 1

#endif
