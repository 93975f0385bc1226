/* copyformat.c: the same bytes in one piece and cut into pieces are the same tuples, or the
 * same error. The first byte says how long the pieces are. */
#include "backend.h"
#include "copyformat.h"
#include "fuzz.h"

#include <assert.h>
#include <stdlib.h>

struct seen {
    size_t tuples;
    size_t cells;
    size_t bytes; /* in the cells */
    enum wire_status status;
};

static void
see_tuple(struct seen *seen, struct wire_copy_tuple *tuple)
{
    wire_slice value;
    bool null;
    for (size_t i = 0; i < tuple->count; i++) {
        bool there = wire_read_cell(&tuple->cells, &value, &null);
        assert(there);
        seen->cells += 1;
        seen->bytes += value.len;
    }
    assert(wire_reader_end(&tuple->cells));
    seen->tuples += 1;
}

/* The pieces as a caller keeps them: what is left is moved to the front of what follows. */
static struct seen
see(wire_slice data, size_t piece)
{
    struct seen seen = {0};
    struct wire_copy copy = {0};
    uint8_t *kept = malloc(data.len + 1);
    size_t have = 0, given = 0;
    assert(kept != NULL);
    while (given < data.len && seen.status >= 0) {
        size_t n = data.len - given < piece ? data.len - given : piece;
        memcpy(kept + have, data.ptr + given, n);
        have += n;
        given += n;
        struct wire_reader r = {kept, kept + have, false};
        struct wire_copy_tuple tuple;
        while ((seen.status = wire_copy_next(&copy, &r, &tuple)) == WIRE_OK) {
            see_tuple(&seen, &tuple);
        }
        have = wire_reader_left(&r);
        memmove(kept, r.p, have);
    }
    if (seen.status >= 0) {
        seen.status = wire_copy_end(&copy);
    }
    assert((seen.status < 0) == (copy.error.text[0] != '\0'));
    free(kept);
    return seen;
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (size == 0) {
        return 0;
    }
    wire_slice data = {bytes + 1, size - 1};
    struct seen whole = see(data, size);
    struct seen cut = see(data, 1 + bytes[0] % 64);
    assert(whole.status == cut.status && whole.tuples == cut.tuples);
    assert(whole.cells == cut.cells && whole.bytes == cut.bytes);
    return 0;
}
