/* trace.c: two streams, interleaved. The first byte says how the trace begins; then come
 * pieces: a byte with the side (its highest bit) and the length, 0 for all that is left.
 * The lines must be the same when the bytes come one by one; no line is longer than its
 * message allows. */
#include "trace.h"

#include <assert.h>

#include "fuzz.h"

#define LINE_MAX_EXTRA 200 /* the name, the length, the remark about a mismatch */
#define LINE_MAX_TIMES 12  /* of one byte: " -1" for two in a row, "\x00" for one */

static void
feed(struct wire_trace *trace, enum wire_trace_side side, wire_slice bytes, size_t step,
     struct wire_buffer *lines)
{
    for (size_t i = 0; i < bytes.len; i += step) {
        wire_slice part = {bytes.ptr + i, bytes.len - i < step ? bytes.len - i : step};
        wire_trace_feed(trace, side, part, "", lines);
    }
}

static void
run(const uint8_t *data, size_t size, size_t step, struct wire_buffer *lines)
{
    struct wire_trace trace;
    wire_trace_init(&trace, (data[0] & 1) != 0, (data[0] & 2) != 0);
    size_t at = 1;
    while (at < size) {
        size_t len = data[at] & 0x7F;
        enum wire_trace_side side =
            (data[at] & 0x80) != 0 ? WIRE_TRACE_FRONTEND : WIRE_TRACE_BACKEND;
        at += 1;
        len = len == 0 || len > size - at ? size - at : len;
        wire_slice piece = {data + at, len};
        feed(&trace, side, piece, step, lines);
        at += len;
    }
    wire_trace_clear(&trace);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    struct wire_buffer whole, single;
    wire_buffer_init(&whole);
    wire_buffer_init(&single);
    run(data, size, size, &whole);
    run(data, size, 1, &single);
    assert(whole.failed == WIRE_OK && single.failed == WIRE_OK);
    size_t len = wire_buffer_size(&whole);
    assert(len == wire_buffer_size(&single));
    assert(len == 0 || memcmp(whole.data, single.data, len) == 0);
    assert(len <= LINE_MAX_TIMES * size + LINE_MAX_EXTRA * (size / 4 + 1));
    assert(len == 0 || whole.data[len - 1] == '\n');
    wire_buffer_clear(&whole, false);
    wire_buffer_clear(&single, false);
    return 0;
}
