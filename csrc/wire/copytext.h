/* COPY's text and csv formats as they go to the server (the documentation's "COPY", "Text
 * Format" and "CSV Format"). Everything is UTF-8. */
#ifndef WIRE_COPYTEXT_H
#define WIRE_COPYTEXT_H

#include "buffer.h"

#define WIRE_COPY_NULL_MAX 64

/* How values are written. Delimiter, quote and escape are ASCII. */
struct wire_copy_style {
    bool csv;
    char delimiter;
    char quote;  /* csv only */
    char escape; /* csv only */
    size_t null_len;
    char null[WIRE_COPY_NULL_MAX]; /* what stands for NULL, never escaped */
};

/* The style that COPY has without options. */
void wire_copy_style_init(struct wire_copy_style *style, bool csv);

/* The value, so that it is read as that and nothing else. False: it cannot be told from
 * NULL (the empty text, where that stands for NULL in the text format). */
WIRE_MUSTCHECK bool
wire_copy_put_value(struct wire_buffer *b, const struct wire_copy_style *style, wire_slice value);

/* NULL. */
void wire_copy_put_null(struct wire_buffer *b, const struct wire_copy_style *style);

#endif
