/* A small mutating fuzzer for compilers without libFuzzer:
 *     mutate SECONDS SEED FINDING FILE...
 * runs the target on changed versions of the files, the same ones for the same seed,
 * and prints how many. An input that fails is written to the path FINDING. */
#define _POSIX_C_SOURCE 200809L /* clock_gettime, open, write */

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fuzz.h"

#define INPUT_MAX 8192
#define FILES_MAX 4096

struct input {
    uint8_t *data;
    size_t len;
};

/* What the handlers of a crash need. */
static const char *finding_path;
static uint8_t current[INPUT_MAX];
static size_t current_len;

/* Of the sanitizers' runtime. */
void __sanitizer_set_death_callback(void (*callback)(void));

static void
save_finding(void)
{
    int fd = open(finding_path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd >= 0) {
        if (write(fd, current, current_len) != (ssize_t)current_len) {
            perror(finding_path);
        }
        close(fd);
    }
}

static void
on_abort(int signal_number)
{
    save_finding();
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

/* xorshift64*: short, and the same on every platform. */
static uint64_t
next_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(2685821657736338717) >> 16;
}

static size_t
below(uint64_t *state, size_t n)
{
    return n == 0 ? 0 : (size_t)(next_random(state) % n);
}

/* Puts `len` bytes at `at`, moving the rest. */
static void
insert(size_t at, const uint8_t *bytes, size_t len)
{
    if (len > INPUT_MAX - current_len) {
        return;
    }
    memmove(current + at + len, current + at, current_len - at);
    memmove(current + at, bytes, len);
    current_len += len;
}

static void
cut(size_t at, size_t len)
{
    memmove(current + at, current + at + len, current_len - at - len);
    current_len -= len;
}

/* Overwrites with the numbers that lengths and counts go wrong at. */
static void
edge_number(uint64_t *state)
{
    static const uint32_t edges[] = {
        0,      1,      2,      3,          4,          5,          0x7f,       0xff,
        0x7fff, 0x8000, 0xffff, 0x3ffffffe, 0x3fffffff, 0x7fffffff, 0x80000000, 0xffffffff};
    uint32_t value = edges[below(state, sizeof(edges) / sizeof(edges[0]))];
    value = below(state, 4) == 0 ? (uint32_t)below(state, 64) : value;
    size_t width = (size_t)1 << below(state, 3);
    if (current_len < width) {
        return;
    }
    size_t at = below(state, current_len - width + 1);
    for (size_t i = 0; i < width; i++) {
        current[at + i] = (uint8_t)(value >> 8 * (width - 1 - i));
    }
}

static void
mutate(uint64_t *state, const struct input *other)
{
    size_t at = below(state, current_len);
    size_t some = below(state, 1 + below(state, 32));
    size_t from = below(state, other->len);
    switch (below(state, 7)) {
    case 0:
        if (current_len > 0) {
            current[at] ^= (uint8_t)(1u << below(state, 8));
        }
        break;
    case 1:
        if (current_len > 0) {
            current[at] = (uint8_t)next_random(state);
        }
        break;
    case 2:
        cut(at, some < current_len - at ? some : current_len - at);
        break;
    case 3: /* a splice of another input */
        some = below(state, other->len - from + 1);
        insert(at, other->data + from, some);
        break;
    case 4: /* the end of another input */
        current_len = at;
        insert(at, other->data + from, other->len - from);
        break;
    case 5: { /* a piece twice */
        uint8_t piece[32];
        size_t len = some < current_len - at ? some : current_len - at;
        memcpy(piece, current + at, len);
        insert(below(state, current_len), piece, len);
        break;
    }
    default:
        edge_number(state);
        break;
    }
}

/* Runs a copy of exact size. */
static void
run_current(void)
{
    uint8_t *data = malloc(current_len + 1);
    if (data == NULL) {
        abort();
    }
    memcpy(data + 1, current, current_len);
    (void)LLVMFuzzerTestOneInput(data + 1, current_len);
    free(data);
}

static bool
load(const char *path, struct input *input)
{
    FILE *file = fopen(path, "rb");
    input->data = malloc(INPUT_MAX);
    if (file == NULL || input->data == NULL) {
        perror(path);
        return false;
    }
    input->len = fread(input->data, 1, INPUT_MAX, file);
    fclose(file);
    return true;
}

static double
now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t
fuzz_for(double seconds, uint64_t seed, const struct input *inputs, size_t n)
{
    uint64_t state = seed * 2 + 1;
    uint64_t runs = 0;
    double end = now_s() + seconds;
    while (runs % 64 != 0 || now_s() < end) {
        const struct input *input = &inputs[below(&state, n)];
        memcpy(current, input->data, input->len);
        current_len = input->len;
        for (size_t changes = 1 + below(&state, 8); changes > 0; changes--) {
            mutate(&state, &inputs[below(&state, n)]);
        }
        run_current();
        runs += 1;
    }
    return runs;
}

int
main(int argc, char **argv)
{
    static struct input inputs[FILES_MAX];
    size_t n = 0;
    if (argc < 5) {
        fprintf(stderr, "usage: %s SECONDS SEED FINDING FILE...\n", argv[0]);
        return 2;
    }
    finding_path = argv[3];
    for (int i = 4; i < argc && n < FILES_MAX; i++) {
        if (!load(argv[i], &inputs[n++])) {
            return 2;
        }
    }
    signal(SIGABRT, on_abort);
    __sanitizer_set_death_callback(save_finding);
    uint64_t runs = fuzz_for(atof(argv[1]), strtoull(argv[2], NULL, 10), inputs, n);
    printf("%" PRIu64 " runs\n", runs);
    for (size_t i = 0; i < n; i++) {
        free(inputs[i].data);
    }
    return 0;
}
