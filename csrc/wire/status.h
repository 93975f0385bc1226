/* Outcomes of the wire layer and the text that goes with the bad ones. */
#ifndef WIRE_STATUS_H
#define WIRE_STATUS_H

#if defined(__GNUC__)
#define WIRE_MUSTCHECK __attribute__((warn_unused_result))
#define WIRE_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define WIRE_MUSTCHECK
#define WIRE_PRINTF(fmt, args)
#endif

/* Positive: nothing wrong, but not finished. Zero: done. Negative: sticky and
 * fatal for the connection. */
enum wire_status {
    WIRE_MORE = 1,          /* more bytes from the peer are needed */
    WIRE_OK = 0,
    WIRE_ERR_PROTOCOL = -1, /* the peer broke the protocol */
    WIRE_ERR_MEMORY = -2,   /* an allocation failed */
    WIRE_ERR_LIMIT = -3,    /* a limit of protocol.h was passed */
    WIRE_ERR_AUTH = -4,     /* authentication cannot go on, or must not */
    WIRE_ERR_VERSION = -5,  /* the peer speaks no version of the protocol that is wanted */
};

#define WIRE_ERROR_TEXT_MAX 256

/* A fatal status with its text; no allocation, so it can always be reported. */
struct wire_error {
    enum wire_status status;
    char text[WIRE_ERROR_TEXT_MAX];
};

/* Stores `status` and the formatted text unless an error is there already (the
 * first one is the cause). Returns the status now stored. */
enum wire_status wire_error_set(struct wire_error *error, enum wire_status status,
                                const char *format, ...) WIRE_PRINTF(3, 4);

#endif
