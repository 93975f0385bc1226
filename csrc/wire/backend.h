/* Cutting the input into frames and reading their bodies. Nothing here is
 * trusted: every length is checked against what is there and against a limit. */
#ifndef WIRE_BACKEND_H
#define WIRE_BACKEND_H

#include "buffer.h"

struct wire_frame {
    char tag;
    wire_slice body;
};

/* Looks at the front of `in`. WIRE_OK: `frame` holds the first whole message
 * (not consumed: its slices live until the caller consumes 5 + body.len bytes).
 * WIRE_MORE: not whole yet. Negative, with text: an unknown tag, or a length
 * under 4 or over the limit of its tag. Only tags that may be long (T D d V E N
 * A t C(no)) pass WIRE_MESSAGE_SHORT_MAX; before authentication
 * WIRE_MESSAGE_PREAUTH_MAX holds for all, WIRE_AUTH_MESSAGE_MAX for 'R'. The
 * limit is checked as soon as the five header bytes are there. */
WIRE_MUSTCHECK enum wire_status wire_next_frame(const struct wire_buffer *in, bool authenticated,
                                                struct wire_frame *frame, struct wire_error *error);

/* Body parsers. Each returns false when the body is short, long or out of range;
 * the slices they give are borrowed from the body. */

/* Authentication…, SASL and all. */
struct wire_authentication {
    uint32_t code;
    wire_slice data; /* what follows the code */
};
WIRE_MUSTCHECK bool wire_parse_authentication(wire_slice body, struct wire_authentication *out);

/* BackendKeyData: what a CancelRequest must show. */
struct wire_backend_key {
    uint32_t pid;
    wire_slice key; /* 4 to 256 bytes; in protocol 3.0 exactly 4 */
};
WIRE_MUSTCHECK bool wire_parse_backend_key(wire_slice body, struct wire_backend_key *out);

/* ParameterStatus. */
struct wire_parameter {
    wire_slice name;
    wire_slice value;
};
WIRE_MUSTCHECK bool wire_parse_parameter_status(wire_slice body, struct wire_parameter *out);

/* ReadyForQuery: 'I', 'T' or 'E'; anything else is false. */
WIRE_MUSTCHECK bool wire_parse_ready(wire_slice body, char *status);

/* NotificationResponse. */
struct wire_notification {
    uint32_t pid;
    wire_slice channel;
    wire_slice payload;
};
WIRE_MUSTCHECK bool wire_parse_notification(wire_slice body, struct wire_notification *out);

/* CommandComplete: the tag without its NUL. */
WIRE_MUSTCHECK bool wire_parse_command_complete(wire_slice body, wire_slice *tag);
/* Rows of a tag ("INSERT 0 5" → 5, "SELECT 3" → 3); -1 when it names none. */
int64_t wire_tag_rows(wire_slice tag);

/* ErrorResponse and NoticeResponse: fields one by one. Call wire_error_fields to
 * check the whole body, then wire_next_error_field until it gives false. Every
 * field is optional, and unknown codes are passed on. */
struct wire_error_field {
    char code;
    wire_slice value;
};
WIRE_MUSTCHECK bool wire_error_fields(wire_slice body, struct wire_reader *fields);
WIRE_MUSTCHECK bool wire_next_error_field(struct wire_reader *fields, struct wire_error_field *out);

/* RowDescription. */
struct wire_field {
    wire_slice name;
    uint32_t table_oid;
    int16_t column;
    uint32_t type_oid;
    int16_t type_size;
    int32_t type_modifier;
    int16_t format;
};
/* Checks the whole body; `count` fields can then be read one by one. */
WIRE_MUSTCHECK bool
wire_row_description(wire_slice body, size_t *count, struct wire_reader *fields);
void wire_next_field(struct wire_reader *fields, struct wire_field *out);

/* ParameterDescription: checks the body; the OIDs are read with wire_read_u32. */
WIRE_MUSTCHECK bool
wire_parameter_description(wire_slice body, size_t *count, struct wire_reader *oids);

/* CopyInResponse, CopyOutResponse, CopyBothResponse. */
struct wire_copy_response {
    uint8_t format;
    size_t columns;
};
WIRE_MUSTCHECK bool wire_parse_copy_response(wire_slice body, struct wire_copy_response *out);

/* NegotiateProtocolVersion: the newest minor version the server speaks. */
struct wire_negotiation {
    uint32_t version;
    uint32_t options; /* how many startup options it did not know */
};
WIRE_MUSTCHECK bool wire_parse_negotiation(wire_slice body, struct wire_negotiation *out);

/* DataRow: the number of cells; the cells follow as wire_read_cell gives them. */
static inline bool
wire_read_cell(struct wire_reader *cells, wire_slice *value, bool *null)
{
    size_t left = wire_reader_left(cells);
    if (left < 4) {
        cells->bad = true;
        return false;
    }
    uint32_t len = wire_load_u32(cells->p);
    *null = len == UINT32_MAX;
    value->ptr = cells->p + 4;
    value->len = *null ? 0 : len;
    if (value->len > left - 4) { /* a negative length, too */
        cells->bad = true;
        return false;
    }
    cells->p = value->ptr + value->len;
    return true;
}

#endif
