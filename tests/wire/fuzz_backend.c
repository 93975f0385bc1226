/* backend.c: the bytes as a stream of frames, and as the body of every message. What
 * a parser accepts is read to its end, and must lie inside the body. */
#include "backend.h"

#include <assert.h>

#include "fuzz.h"

static void
check_inside(wire_slice part, wire_slice body)
{
    assert(part.len == 0 || (part.ptr >= body.ptr && part.len <= body.len));
    assert(part.len == 0 || (size_t)(part.ptr - body.ptr) <= body.len - part.len);
}

static void
fuzz_fields(wire_slice body)
{
    size_t count;
    struct wire_reader r;
    if (wire_row_description(body, &count, &r)) {
        assert(count <= WIRE_COLUMNS_MAX);
        for (size_t i = 0; i < count; i++) {
            struct wire_field field;
            wire_next_field(&r, &field);
            check_inside(field.name, body);
            assert(field.format == WIRE_FORMAT_TEXT || field.format == WIRE_FORMAT_BINARY);
        }
        bool all = wire_reader_end(&r);
        assert(all);
    }
    if (wire_parameter_description(body, &count, &r)) {
        assert(wire_reader_left(&r) == 4 * count);
    }
}

static void
fuzz_errors(wire_slice body)
{
    struct wire_reader r;
    struct wire_error_field field;
    if (!wire_error_fields(body, &r)) {
        return;
    }
    size_t fields = 0;
    while (wire_next_error_field(&r, &field)) {
        check_inside(field.value, body);
        fields += 1;
    }
    assert(fields <= body.len / 2);
    bool all = wire_reader_end(&r);
    assert(all);
}

static void
fuzz_strings(wire_slice body)
{
    struct wire_parameter parameter;
    struct wire_notification notification;
    wire_slice tag;
    if (wire_parse_parameter_status(body, &parameter)) {
        check_inside(parameter.name, body);
        check_inside(parameter.value, body);
        assert(parameter.name.len + parameter.value.len + 2 == body.len);
    }
    if (wire_parse_notification(body, &notification)) {
        check_inside(notification.channel, body);
        check_inside(notification.payload, body);
        assert(notification.channel.len + notification.payload.len + 6 == body.len);
    }
    if (wire_parse_command_complete(body, &tag)) {
        check_inside(tag, body);
        assert(wire_tag_rows(tag) >= -1);
    }
}

static void
fuzz_small(wire_slice body)
{
    struct wire_authentication authentication;
    struct wire_backend_key key;
    struct wire_copy_response copy;
    struct wire_negotiation negotiation;
    char status;
    if (wire_parse_authentication(body, &authentication)) {
        check_inside(authentication.data, body);
        assert(authentication.data.len + 4 == body.len);
    }
    if (wire_parse_backend_key(body, &key)) {
        check_inside(key.key, body);
        assert(key.key.len >= WIRE_CANCEL_KEY_MIN && key.key.len <= WIRE_CANCEL_KEY_MAX);
    }
    if (wire_parse_copy_response(body, &copy)) {
        assert(copy.format <= 1 && body.len == 3 + 2 * copy.columns);
    }
    if (wire_parse_negotiation(body, &negotiation)) {
        assert(negotiation.options <= body.len);
    }
    if (wire_parse_ready(body, &status)) {
        assert(status == 'I' || status == 'T' || status == 'E');
    }
}

static void
fuzz_row(wire_slice body)
{
    struct wire_reader cells = wire_reader_of(body);
    wire_slice value;
    bool null;
    (void)wire_read_u16(&cells);
    while (wire_read_cell(&cells, &value, &null)) {
        check_inside(value, body);
        assert(!null || value.len == 0);
    }
    assert(cells.bad);
}

static void
fuzz_body(wire_slice body)
{
    fuzz_fields(body);
    fuzz_errors(body);
    fuzz_strings(body);
    fuzz_small(body);
    fuzz_row(body);
}

/* `in` holds no more than the bytes: nothing behind them may be read. */
static void
fuzz_frames(wire_slice bytes, bool authenticated)
{
    struct wire_buffer in = {(uint8_t *)(uintptr_t)bytes.ptr, 0, bytes.len, bytes.len, WIRE_OK};
    struct wire_error error = {WIRE_OK, ""};
    struct wire_frame frame;
    enum wire_status status;
    while ((status = wire_next_frame(&in, authenticated, &frame, &error)) == WIRE_OK) {
        assert(frame.body.ptr == in.data + in.start + 5);
        assert(frame.body.len <= wire_buffer_size(&in) - 5);
        fuzz_body(frame.body);
        in.start += 5 + frame.body.len; /* not wire_buffer_consume: the bytes are not ours */
    }
    assert(error.status == (status < 0 ? status : WIRE_OK));
    assert((status < 0) == (error.text[0] != '\0'));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (data == NULL) {
        return 0; /* libFuzzer's first input */
    }
    wire_slice bytes = {data, size};
    fuzz_frames(bytes, true);
    fuzz_frames(bytes, false);
    fuzz_body(bytes);
    return 0;
}
