/* session.c: a hostile server behind any steps. The first bytes choose them:
 *     how the session starts: bit 0: it is authenticated already; bits 1 to 4: the
 *         WIRE_ALLOW_ mask; bit 5: there is a password; bit 6: there is TLS; bit 7:
 *         protocol 3.2 is asked for
 *     low five bits: how many steps; bits 5 and 6: channel_binding (3: prefer, with a
 *         certificate that nothing can be bound to); bit 7: 3.2 is the least
 *     one byte for each step: low three bits the step; bit 6: it is a SET; bit 5: from
 *         here on in front of a SYNC that stays open; the highest bit makes it a rider
 * The rest comes from the server: whole, byte by byte and in pieces. Events, status,
 * error text and the bytes sent must be the same each time. */
#include "session.h"

#include <assert.h>

#include "fuzz.h"
#include "transcript.h"

#define SMALL 512 /* byte by byte up to here: the time goes with the square */

struct input {
    uint8_t start;
    uint8_t more;
    wire_slice steps;
    wire_slice server;
};

struct outcome {
    struct wire_buffer transcript;
    struct wire_buffer sent;
    enum wire_status status;
};

static struct input
split_input(const uint8_t *data, size_t size)
{
    struct wire_reader r = {data, data + size, false};
    struct input input;
    input.start = wire_read_u8(&r);
    input.more = wire_read_u8(&r);
    size_t steps = input.more % 32u;
    steps = steps < wire_reader_left(&r) ? steps : wire_reader_left(&r);
    input.steps = wire_read_bytes(&r, steps);
    input.server = wire_read_bytes(&r, wire_reader_left(&r));
    return input;
}

static void
push_steps(struct wire_session *s, wire_slice steps)
{
    enum wire_status status = wire_session_reserve(s, steps.len + 1);
    assert(status == WIRE_OK);
    for (size_t i = 0; i < steps.len; i++) {
        unsigned step = (steps.ptr[i] & 0x40u) != 0 ? WIRE_STEP_SET : 1 + (steps.ptr[i] & 7u);
        step |= steps.ptr[i] & WIRE_STEP_RIDER;
        if ((steps.ptr[i] & 0x47u) == 0x47u) {
            step = WIRE_STEP_QUESTION | WIRE_STEP_RIDER;
        }
        if ((steps.ptr[i] & 0x20u) != 0 && !s->open) {
            wire_session_open(s);
        }
        if (s->open) {
            wire_session_insert(s, step, 1);
        }
        else {
            wire_session_push(s, step);
        }
    }
}

static enum wire_binding_mode
binding_mode(const struct input *input)
{
    unsigned mode = (input->more >> 5) & 3u;
    return mode > WIRE_BINDING_REQUIRE ? WIRE_BINDING_PREFER : (enum wire_binding_mode)mode;
}

static void
set_version(struct wire_startup *startup, const struct input *input)
{
    bool newer = (input->start & 0x80) != 0, least = (input->more & 0x80) != 0;
    startup->max_protocol = newer ? WIRE_PROTOCOL_3_2 : WIRE_PROTOCOL_3_0;
    startup->min_protocol = newer && least ? WIRE_PROTOCOL_3_2 : WIRE_PROTOCOL_3_0;
}

static void
start(struct wire_session *s, const struct input *input, struct wire_buffer *out)
{
    struct wire_pair pair = {{(const uint8_t *)"user", 4}, {(const uint8_t *)"me", 2}};
    struct wire_startup startup = {.pairs = &pair,
                                   .pairs_count = 1,
                                   .user = pair.value,
                                   .password = {(const uint8_t *)"secret", 6},
                                   .allow = (input->start >> 1) & WIRE_ALLOW_ALL,
                                   .channel_binding = binding_mode(input),
                                   .iterations_max = 100000};
    if ((input->start & 0x40) != 0) {
        bool none = ((input->more >> 5) & 3u) == 3;
        startup.binding = (wire_slice){(const uint8_t *)"binding data", none ? 0 : 12};
    }
    set_version(&startup, input);
    if ((input->start & 0x20) == 0) {
        startup.password = (wire_slice){NULL, 0};
    }
    wire_session_init(s);
    enum wire_status status = wire_session_start(s, out, &startup);
    assert(status == WIRE_OK);
    if ((input->start & 1) != 0) { /* what a good startup leaves behind */
        wire_buffer_clear(&s->password, true);
        s->has_password = false;
        s->phase = WIRE_PHASE_READY;
        push_steps(s, input->steps);
    }
}

/* What must hold whenever the session is past its authentication. */
static void
check_authenticated(const struct wire_session *s, const struct input *input)
{
    assert((input->start & 1) != 0 || (s->allow & WIRE_ALLOW_NONE) != 0 || s->auth_finished);
    assert(s->auth_started != WIRE_AUTH_SASL); /* without the password: never */
    assert((input->start & 1) != 0 || binding_mode(input) != WIRE_BINDING_REQUIRE);
    assert((input->start & 1) != 0 || s->protocol >= s->protocol_min);
    assert(s->protocol == WIRE_PROTOCOL_3_0 || s->protocol == WIRE_PROTOCOL_3_2);
    assert(!s->has_password && s->password.data == NULL);
}

static void
check_event(const struct wire_session *s, const struct wire_event *event)
{
    bool error = event->kind == WIRE_EV_ERROR;
    assert(error || (!event->rider && !event->unsolicited));
    assert(!(event->rider && event->unsolicited));
    assert(event->kind != WIRE_EV_BACKEND_KEY || s->protocol == WIRE_PROTOCOL_3_2
           || event->u.backend_key.key.len == WIRE_CANCEL_KEY_MIN);
    assert(event->kind != WIRE_EV_READY || s->transaction_status == event->transaction_status);
    assert(s->steps_count <= s->steps_cap);
}

/* The short way over CopyData stays inside of what is there; then it is taken back. */
static void
check_more_data(struct wire_session *s, const struct wire_buffer *in)
{
    uint8_t to[64];
    size_t consumed = s->consumed;
    size_t put = wire_session_more_data(s, in, to, sizeof(to));
    assert(put <= sizeof(to) && s->consumed >= consumed + put);
    assert(s->consumed <= wire_buffer_size(in));
    s->consumed = consumed;
}

static enum wire_status
drain(struct wire_session *s, const struct input *input, struct wire_buffer *in, struct outcome *o)
{
    static const uint8_t wrong_key[WIRE_SCRAM_KEY_LEN] = {1, 2, 3};
    for (;;) {
        struct wire_event event;
        memset(&event, 0xAA, sizeof(event));
        enum wire_status status = wire_session_next(s, in, &o->sent, &event);
        if (s->phase == WIRE_PHASE_BOOT || s->phase == WIRE_PHASE_READY) {
            check_authenticated(s, input);
        }
        if (status != WIRE_OK) {
            return status;
        }
        check_event(s, &event);
        transcript_event(&o->transcript, &event);
        if (event.kind == WIRE_EV_COPY_DATA) {
            check_more_data(s, in);
        }
        if (event.kind == WIRE_EV_SCRAM_KEY) {
            status = wire_session_scram_key(s, &o->sent, wrong_key);
            assert(status == WIRE_OK);
        }
        if (event.kind == WIRE_EV_READY && s->steps_cap == 0) {
            push_steps(s, input->steps);
        }
    }
}

static void
check_end(struct wire_session *s, struct wire_buffer *in, struct outcome *o)
{
    struct wire_event event;
    assert(memchr(s->error.text, 0, sizeof(s->error.text)) != NULL);
    if (o->status < 0) { /* broken for good */
        assert(s->error.status == o->status && s->error.text[0] != '\0');
        assert(s->phase == WIRE_PHASE_BROKEN && !s->has_password);
        enum wire_status again = wire_session_next(s, in, &o->sent, &event);
        assert(again == o->status);
    }
    else {
        assert(o->status == WIRE_MORE && s->error.status == WIRE_OK);
    }
    transcript_put(&o->transcript, "%d %s", (int)o->status, s->error.text);
}

/* `piece` bytes at a time; 0: pieces that `seed` decides. */
static void
run(const struct input *input, size_t piece, uint32_t seed, struct outcome *o)
{
    struct wire_session s;
    struct wire_buffer in;
    size_t at = 0;
    memset(o, 0, sizeof(*o));
    wire_buffer_init(&in);
    start(&s, input, &o->sent);
    do {
        seed = seed * 1103515245u + 12345u;
        size_t left = input->server.len - at;
        size_t n = piece != 0 ? piece : 1 + (seed >> 16) % 61;
        n = n < left ? n : left;
        transcript_feed(&in, input->server.ptr + at, n);
        at += n;
        o->status = drain(&s, input, &in, o);
    } while (at < input->server.len && o->status == WIRE_MORE);
    check_end(&s, &in, o);
    wire_buffer_clear(&in, false);
    wire_session_clear(&s);
}

static void
outcome_clear(struct outcome *o)
{
    wire_buffer_clear(&o->transcript, false);
    wire_buffer_clear(&o->sent, false);
}

static void
check_same(const struct wire_buffer *a, const struct wire_buffer *b)
{
    size_t len = wire_buffer_size(a);
    assert(a->failed == WIRE_OK && b->failed == WIRE_OK);
    assert(len == wire_buffer_size(b));
    assert(len == 0 || memcmp(a->data + a->start, b->data + b->start, len) == 0);
}

static void
compare(const struct input *input, size_t piece, uint32_t seed, const struct outcome *whole)
{
    struct outcome pieces;
    run(input, piece, seed, &pieces);
    assert(pieces.status == whole->status);
    check_same(&pieces.transcript, &whole->transcript);
    check_same(&pieces.sent, &whole->sent);
    outcome_clear(&pieces);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0; /* no choice of steps */
    }
    struct input input = split_input(data, size);
    struct outcome whole;
    run(&input, SIZE_MAX, 0, &whole);
    if (input.server.len <= SMALL) {
        compare(&input, 1, 0, &whole);
    }
    compare(&input, 0, (uint32_t)size * 31 + input.start, &whole);
    outcome_clear(&whole);
    return 0;
}
