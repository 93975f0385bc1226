#include "session_steps.h"

#include <assert.h>
#include <stdlib.h>

#define STEPS_MIN 32
#define STEPS_MAX ((size_t)1 << 28)

enum wire_status
wire_session_reserve(struct wire_session *s, size_t n)
{
    if (n <= s->steps_cap - s->steps_count) {
        return WIRE_OK;
    }
    if (n > STEPS_MAX - s->steps_count) {
        return WIRE_ERR_MEMORY;
    }
    size_t cap = s->steps_cap < STEPS_MIN ? STEPS_MIN : s->steps_cap;
    while (cap - s->steps_count < n) {
        cap *= 2;
    }
    uint8_t *steps = malloc(cap);
    if (steps == NULL) {
        return WIRE_ERR_MEMORY;
    }
    for (size_t i = 0; i < s->steps_count; i++) {
        steps[i] = s->steps[(s->steps_head + i) & (s->steps_cap - 1)];
    }
    free(s->steps);
    s->steps = steps;
    s->steps_cap = cap;
    s->steps_head = 0;
    return WIRE_OK;
}

void
wire_session_insert(struct wire_session *s, unsigned step, size_t n)
{
    assert(s->open && s->steps_count > 0);
    if (s->steps_count == 1 && s->substate == SUB_FAILED) {
        return;
    }
    s->steps_count -= 1;
    for (size_t i = 0; i < n; i++) {
        wire_session_push(s, step);
    }
    wire_session_push(s, WIRE_STEP_SYNC);
}

void
wire_steps_take_same(struct wire_session *s, const struct wire_buffer *in, struct wire_event *event)
{
    static const char bound[5] = "2\0\0\0\4";
    const uint8_t *complete = in->data + in->start;
    const uint8_t *end = in->data + in->end;
    size_t len = s->consumed;
    const uint8_t *next = complete + len;
    while (head_step(s) == WIRE_STEP_SET && (size_t)(end - next) >= sizeof(bound) + len
           && memcmp(next, bound, sizeof(bound)) == 0
           && memcmp(next + sizeof(bound), complete, len) == 0) {
        pop_step(s);
        event->count += 1;
        next += sizeof(bound) + len;
    }
    s->consumed = (size_t)(next - complete);
}
