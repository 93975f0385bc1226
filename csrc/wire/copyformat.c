#include "copyformat.h"

#define FLAGS_CRITICAL 0xFFFF0000u /* a reader that does not know one of them must stop */
#define FLAG_OIDS 0x00010000u
#define COUNT_TRAILER 0xFFFFu

static enum wire_status
copy_refuse(struct wire_copy *copy, const char *reason)
{
    return wire_error_set(&copy->error, WIRE_ERR_PROTOCOL, "binary COPY data: %s", reason);
}

static enum wire_status
copy_read_header(struct wire_copy *copy, struct wire_reader *data)
{
    struct wire_reader r = *data;
    wire_slice signature = wire_read_bytes(&r, WIRE_COPY_SIGNATURE_LEN);
    uint32_t flags = wire_read_u32(&r);
    uint32_t extension = wire_read_u32(&r);
    if (signature.len > 0
        && memcmp(signature.ptr, WIRE_COPY_SIGNATURE, WIRE_COPY_SIGNATURE_LEN) != 0) {
        return copy_refuse(copy, "the signature is not PostgreSQL's");
    }
    if (r.bad) {
        return WIRE_MORE;
    }
    if (flags & FLAGS_CRITICAL) {
        return copy_refuse(copy, flags & FLAG_OIDS ? "it has OIDs in its rows, as no server since "
                                                     "PostgreSQL 12 sends them"
                                                   : "its header has unknown critical flags");
    }
    if (extension > INT32_MAX) {
        return copy_refuse(copy, "its header's extension has a negative length");
    }
    *data = r;
    copy->skip = extension;
    copy->part = WIRE_COPY_EXTENSION;
    return WIRE_OK;
}

static enum wire_status
copy_skip_extension(struct wire_copy *copy, struct wire_reader *data)
{
    size_t left = wire_reader_left(data);
    uint32_t n = left < copy->skip ? (uint32_t)left : copy->skip;
    data->p += n;
    copy->skip -= n;
    if (copy->skip > 0) {
        return WIRE_MORE;
    }
    copy->part = WIRE_COPY_TUPLES;
    return WIRE_OK;
}

/* The number of fields in front of a tuple, or the trailer. */
static enum wire_status
copy_read_count(struct wire_copy *copy, const struct wire_reader *data)
{
    if (wire_reader_left(data) < 2) {
        return WIRE_MORE;
    }
    uint16_t count = wire_load_u16(data->p);
    if (count == COUNT_TRAILER) {
        copy->part = WIRE_COPY_ENDED;
        return WIRE_OK;
    }
    if (count > WIRE_COLUMNS_MAX) {
        return copy_refuse(copy, "a row has an impossible number of fields");
    }
    copy->count = count;
    copy->fields_left = count;
    copy->scanned = 2;
    return WIRE_OK;
}

/* Goes over the fields that are all there. */
static enum wire_status
copy_scan_fields(struct wire_copy *copy, const struct wire_reader *data)
{
    size_t have = wire_reader_left(data);
    while (copy->fields_left > 0) {
        size_t left = have - copy->scanned;
        if (left < 4) {
            return WIRE_MORE;
        }
        uint32_t len = wire_load_u32(data->p + copy->scanned);
        if (len == UINT32_MAX) {
            len = 0;
        }
        else if (len > INT32_MAX) {
            return copy_refuse(copy, "a field has a negative length");
        }
        if (len > WIRE_MESSAGE_MAX - 4 || copy->scanned > WIRE_MESSAGE_MAX - 4 - len) {
            return wire_error_set(&copy->error, WIRE_ERR_LIMIT,
                                  "binary COPY data: a row is longer than a message may be");
        }
        if (left - 4 < len) {
            return WIRE_MORE;
        }
        copy->scanned += 4 + (size_t)len;
        copy->fields_left -= 1;
    }
    return WIRE_OK;
}

static enum wire_status
copy_read_tuple(struct wire_copy *copy, struct wire_reader *data, struct wire_copy_tuple *tuple)
{
    enum wire_status status = copy_scan_fields(copy, data);
    if (status == WIRE_OK) {
        tuple->count = copy->count;
        tuple->cells = (struct wire_reader){data->p + 2, data->p + copy->scanned, false};
        data->p += copy->scanned;
        copy->scanned = 0;
    }
    return status;
}

enum wire_status
wire_copy_next(struct wire_copy *copy, struct wire_reader *data, struct wire_copy_tuple *tuple)
{
    enum wire_status status = copy->error.status;
    if (status == WIRE_OK && copy->part == WIRE_COPY_HEADER) {
        status = copy_read_header(copy, data);
    }
    if (status == WIRE_OK && copy->part == WIRE_COPY_EXTENSION) {
        status = copy_skip_extension(copy, data);
    }
    if (status == WIRE_OK && copy->part == WIRE_COPY_TUPLES && copy->scanned == 0) {
        status = copy_read_count(copy, data);
        if (copy->part == WIRE_COPY_ENDED) {
            data->p += 2;
        }
    }
    if (status != WIRE_OK) {
        return status;
    }
    if (copy->part == WIRE_COPY_TUPLES) {
        return copy_read_tuple(copy, data, tuple);
    }
    return wire_reader_left(data) == 0 ? WIRE_MORE : copy_refuse(copy, "more came behind its end");
}

enum wire_status
wire_copy_end(struct wire_copy *copy)
{
    if (copy->error.status == WIRE_OK && copy->part != WIRE_COPY_ENDED) {
        return copy_refuse(copy, "it ends in the middle");
    }
    return copy->error.status;
}
