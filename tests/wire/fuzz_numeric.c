/* numeric.c: whatever is read as a numeric has a text, within the limits, that
 * gives the same text again; whatever is read as a text has a binary form. */
#include "fuzz.h"
#include "numeric.h"

#include <assert.h>
#include <stdlib.h>

#define TEXT_MAX (1 + 131072 + 1 + 16383)

static void
check_text_again(wire_slice text)
{
    struct wire_buffer binary, again;
    wire_buffer_init(&binary);
    wire_buffer_init(&again);
    bool ok = wire_numeric_from_text((const char *)text.ptr, text.len, &binary);
    assert(ok && binary.failed == WIRE_OK);
    ok = wire_numeric_to_text(wire_buffer_unread(&binary), &again);
    assert(ok && again.failed == WIRE_OK);
    size_t minus = text.ptr[0] == '-' && again.data[0] != '-' ? 1 : 0; /* -0 is 0 */
    assert(wire_buffer_size(&again) == text.len - minus);
    assert(memcmp(again.data, text.ptr + minus, text.len - minus) == 0);
    wire_buffer_clear(&binary, false);
    wire_buffer_clear(&again, false);
}

static void
fuzz_binary(wire_slice value)
{
    struct wire_buffer text;
    wire_buffer_init(&text);
    if (wire_numeric_to_text(value, &text)) {
        assert(text.failed == WIRE_OK);
        assert(wire_buffer_size(&text) > 0 && wire_buffer_size(&text) <= TEXT_MAX);
        check_text_again(wire_buffer_unread(&text));
    }
    else {
        assert(wire_buffer_size(&text) == 0);
    }
    wire_buffer_clear(&text, false);
}

static void
fuzz_text(wire_slice value)
{
    struct wire_buffer binary, text;
    wire_buffer_init(&binary);
    wire_buffer_init(&text);
    if (wire_numeric_from_text((const char *)value.ptr, value.len, &binary)) {
        assert(binary.failed == WIRE_OK);
        bool ok = wire_numeric_to_text(wire_buffer_unread(&binary), &text);
        assert(ok && wire_buffer_size(&text) <= TEXT_MAX);
    }
    else {
        assert(wire_buffer_size(&binary) == 0);
    }
    wire_buffer_clear(&binary, false);
    wire_buffer_clear(&text, false);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    wire_slice value = {data, size};
    fuzz_binary(value);
    fuzz_text(value);
    return 0;
}
