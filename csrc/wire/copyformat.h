/* COPY's binary format as it comes from the server: a header, tuples, a trailer (the
 * documentation's "COPY", "Binary Format"). The bytes may be cut anywhere. */
#ifndef WIRE_COPYFORMAT_H
#define WIRE_COPYFORMAT_H

#include "cursor.h"

#define WIRE_COPY_SIGNATURE "PGCOPY\n\377\r\n" /* and the NUL behind it */
#define WIRE_COPY_SIGNATURE_LEN 11

enum wire_copy_part {
    WIRE_COPY_HEADER,
    WIRE_COPY_EXTENSION, /* of the header, skipped */
    WIRE_COPY_TUPLES,
    WIRE_COPY_ENDED, /* the trailer has come */
};

/* How far the reading of one COPY has come. All zero is the start. */
struct wire_copy {
    enum wire_copy_part part;
    uint32_t skip;        /* bytes of the extension that are still to come */
    uint32_t fields_left; /* of the tuple whose end has not come yet */
    size_t scanned;       /* its bytes in front of those fields; 0: its count is unknown */
    uint32_t count;       /* its fields */
    struct wire_error error;
};

struct wire_copy_tuple {
    size_t count;             /* of its fields, at most WIRE_COLUMNS_MAX */
    struct wire_reader cells; /* as wire_read_cell reads them, and all there */
};

/* The next tuple in `data`, which goes on behind it. WIRE_MORE: there is none, and what is
 * left of `data` must come again, in front of what follows. Negative: this is no such
 * format, or a tuple is longer than a message; copy->error has the text. */
WIRE_MUSTCHECK enum wire_status
wire_copy_next(struct wire_copy *copy, struct wire_reader *data, struct wire_copy_tuple *tuple);

/* When there are no more bytes: negative, with copy->error, unless the trailer has come. */
WIRE_MUSTCHECK enum wire_status wire_copy_end(struct wire_copy *copy);

#endif
