#include "backend.h"

/* Longest body a tag may announce; 0: no such tag. */
static uint32_t
tag_limit(char tag)
{
    switch (tag) {
    case WIRE_TAG_DATA_ROW:
    case WIRE_TAG_ROW_DESCRIPTION:
    case WIRE_TAG_PARAM_DESCRIPTION:
    case WIRE_TAG_COPY_DATA:
    case WIRE_TAG_ERROR:
    case WIRE_TAG_NOTICE:
    case WIRE_TAG_NOTIFICATION:
        return WIRE_MESSAGE_MAX;
    case WIRE_TAG_AUTHENTICATION:
        return WIRE_AUTH_MESSAGE_MAX;
    case WIRE_TAG_BACKEND_KEY:
    case WIRE_TAG_BIND_COMPLETE:
    case WIRE_TAG_CLOSE_COMPLETE:
    case WIRE_TAG_COMMAND_COMPLETE:
    case WIRE_TAG_COPY_DONE:
    case WIRE_TAG_COPY_IN:
    case WIRE_TAG_COPY_OUT:
    case WIRE_TAG_COPY_BOTH:
    case WIRE_TAG_EMPTY_QUERY:
    case WIRE_TAG_NEGOTIATE_VERSION:
    case WIRE_TAG_NO_DATA:
    case WIRE_TAG_PARAMETER_STATUS:
    case WIRE_TAG_PARSE_COMPLETE:
    case WIRE_TAG_PORTAL_SUSPENDED:
    case WIRE_TAG_READY:
        return WIRE_MESSAGE_SHORT_MAX;
    default:
        return 0;
    }
}

static enum wire_status
bad_header(char tag, uint32_t len, uint32_t limit, struct wire_error *error)
{
    if (limit == 0) {
        return wire_error_set(error, WIRE_ERR_PROTOCOL, "unknown message type 0x%02x",
                              (unsigned)(unsigned char)tag);
    }
    if (len < 4) {
        return wire_error_set(error, WIRE_ERR_PROTOCOL, "message '%c' of impossible length %u", tag,
                              (unsigned)len);
    }
    return wire_error_set(error, WIRE_ERR_LIMIT,
                          "message '%c' of %u bytes is longer than the %u it may have", tag,
                          (unsigned)len, (unsigned)limit);
}

enum wire_status
wire_next_frame(const struct wire_buffer *in, bool authenticated, struct wire_frame *frame,
                struct wire_error *error)
{
    size_t have = in->end - in->start;
    if (have == 0) {
        return WIRE_MORE;
    }
    const uint8_t *p = in->data + in->start;
    char tag = (char)p[0];
    uint32_t limit = tag_limit(tag);
    if (limit == 0) {
        return bad_header(tag, 0, 0, error);
    }
    if (have < 5) {
        return WIRE_MORE;
    }
    uint32_t len = wire_load_u32(p + 1);
    if (!authenticated && limit > WIRE_MESSAGE_PREAUTH_MAX) {
        limit = WIRE_MESSAGE_PREAUTH_MAX;
    }
    if (len < 4 || len > limit) {
        return bad_header(tag, len, limit, error);
    }
    if (have - 1 < len) {
        return WIRE_MORE;
    }
    frame->tag = tag;
    frame->body.ptr = p + 5;
    frame->body.len = len - 4;
    return WIRE_OK;
}

bool
wire_parse_authentication(wire_slice body, struct wire_authentication *out)
{
    struct wire_reader r = wire_reader_of(body);
    out->code = wire_read_u32(&r);
    out->data = wire_read_bytes(&r, wire_reader_left(&r));
    return wire_reader_end(&r);
}

bool
wire_parse_backend_key(wire_slice body, struct wire_backend_key *out)
{
    struct wire_reader r = wire_reader_of(body);
    out->pid = wire_read_u32(&r);
    out->key = wire_read_bytes(&r, wire_reader_left(&r));
    return wire_reader_end(&r) && out->key.len >= WIRE_CANCEL_KEY_MIN
           && out->key.len <= WIRE_CANCEL_KEY_MAX;
}

bool
wire_parse_parameter_status(wire_slice body, struct wire_parameter *out)
{
    struct wire_reader r = wire_reader_of(body);
    out->name = wire_read_cstr(&r);
    out->value = wire_read_cstr(&r);
    return wire_reader_end(&r) && body.len <= WIRE_PARAMETER_MAX;
}

bool
wire_parse_ready(wire_slice body, char *status)
{
    struct wire_reader r = wire_reader_of(body);
    *status = (char)wire_read_u8(&r);
    return wire_reader_end(&r) && (*status == 'I' || *status == 'T' || *status == 'E');
}

bool
wire_parse_notification(wire_slice body, struct wire_notification *out)
{
    struct wire_reader r = wire_reader_of(body);
    out->pid = wire_read_u32(&r);
    out->channel = wire_read_cstr(&r);
    out->payload = wire_read_cstr(&r);
    return wire_reader_end(&r);
}

bool
wire_parse_command_complete(wire_slice body, wire_slice *tag)
{
    struct wire_reader r = wire_reader_of(body);
    *tag = wire_read_cstr(&r);
    return wire_reader_end(&r);
}

int64_t
wire_tag_rows(wire_slice tag)
{
    size_t i = tag.len;
    while (i > 0 && tag.ptr[i - 1] >= '0' && tag.ptr[i - 1] <= '9') {
        i -= 1;
    }
    if (i == tag.len || i == 0 || tag.ptr[i - 1] != ' ' || tag.len - i > 18) {
        return -1;
    }
    int64_t rows = 0;
    for (; i < tag.len; i++) {
        rows = rows * 10 + (tag.ptr[i] - '0');
    }
    return rows;
}

bool
wire_error_fields(wire_slice body, struct wire_reader *fields)
{
    *fields = wire_reader_of(body);
    struct wire_reader r = *fields;
    while (!r.bad) {
        if (wire_read_u8(&r) == 0) {
            break;
        }
        (void)wire_read_cstr(&r);
    }
    return wire_reader_end(&r);
}

bool
wire_next_error_field(struct wire_reader *fields, struct wire_error_field *out)
{
    out->code = (char)wire_read_u8(fields);
    if (out->code == 0) {
        return false;
    }
    out->value = wire_read_cstr(fields);
    return !fields->bad;
}

void
wire_next_field(struct wire_reader *fields, struct wire_field *out)
{
    out->name = wire_read_cstr(fields);
    out->table_oid = wire_read_u32(fields);
    out->column = wire_read_i16(fields);
    out->type_oid = wire_read_u32(fields);
    out->type_size = wire_read_i16(fields);
    out->type_modifier = wire_read_i32(fields);
    out->format = wire_read_i16(fields);
}

bool
wire_row_description(wire_slice body, size_t *count, struct wire_reader *fields)
{
    struct wire_reader r = wire_reader_of(body);
    *count = wire_read_u16(&r);
    *fields = r;
    if (*count > WIRE_COLUMNS_MAX) {
        return false;
    }
    for (size_t i = 0; i < *count && !r.bad; i++) {
        struct wire_field field;
        wire_next_field(&r, &field);
        if (field.format != WIRE_FORMAT_TEXT && field.format != WIRE_FORMAT_BINARY) {
            return false;
        }
    }
    return wire_reader_end(&r);
}

bool
wire_parameter_description(wire_slice body, size_t *count, struct wire_reader *oids)
{
    struct wire_reader r = wire_reader_of(body);
    *count = wire_read_u16(&r);
    *oids = r;
    return !r.bad && wire_reader_left(&r) == *count * 4;
}

bool
wire_parse_copy_response(wire_slice body, struct wire_copy_response *out)
{
    struct wire_reader r = wire_reader_of(body);
    out->format = wire_read_u8(&r);
    out->columns = wire_read_u16(&r);
    uint16_t formats = 0;
    for (size_t i = 0; i < out->columns; i++) {
        formats |= wire_read_u16(&r);
    }
    return wire_reader_end(&r) && out->format <= WIRE_FORMAT_BINARY
           && formats <= WIRE_FORMAT_BINARY;
}

bool
wire_parse_negotiation(wire_slice body, struct wire_negotiation *out)
{
    struct wire_reader r = wire_reader_of(body);
    out->version = wire_read_u32(&r);
    out->options = wire_read_u32(&r);
    for (uint32_t i = 0; i < out->options && !r.bad; i++) {
        (void)wire_read_cstr(&r);
    }
    return wire_reader_end(&r);
}
