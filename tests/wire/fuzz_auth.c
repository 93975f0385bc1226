/* scram.c: a hostile server's two messages, apart by the first zero byte, to a client
 * with each gs2-cbind-flag. Without the password nothing may end as verified. */
#include "auth.h"

#include <assert.h>
#include <stdlib.h>

#include "fuzz.h"

#define ITERATIONS_MAX 100000

static void
check_error(const struct wire_error *error, enum wire_status status)
{
    assert(error->status == status);
    assert(memchr(error->text, 0, sizeof(error->text)) != NULL);
    assert((status == WIRE_OK) == (error->text[0] == '\0'));
}

/* What a good server-first-message leaves behind. */
static void
check_first_read(const struct wire_scram *scram)
{
    size_t salt = wire_buffer_size(&scram->salt);
    assert(scram->state == WIRE_SCRAM_KEY_NEEDED);
    assert(salt >= 1 && salt <= WIRE_SCRAM_SALT_MAX);
    assert(scram->iterations >= 1 && scram->iterations <= ITERATIONS_MAX);
    assert(scram->server_nonce_len > WIRE_SCRAM_NONCE_LEN);
    assert(scram->server_nonce_start + scram->server_nonce_len
           <= wire_buffer_size(&scram->server_first));
}

static void
exchange(struct wire_scram *scram, char flag, struct wire_buffer *out, wire_slice first,
         wire_slice last)
{
    static const uint8_t binding[WIRE_BINDING_MAX] = {4, 5, 6};
    static const struct wire_scram_keys keys = {{1, 2, 3}, {7, 8, 9}};
    struct wire_scram_terms terms = {
        .flag = flag, .binding = {binding, sizeof(binding)}, .iterations_max = ITERATIONS_MAX};
    struct wire_error error = {WIRE_OK, ""};
    enum wire_status status = wire_scram_first(scram, &terms, out, &error);
    assert(status == WIRE_OK);
    status = wire_scram_server_first(scram, first, &error);
    check_error(&error, status);
    if (status == WIRE_OK) {
        check_first_read(scram);
        status = wire_scram_final(scram, &keys, out, &error);
        assert(status == WIRE_OK);
    }
    struct wire_error last_error = {WIRE_OK, ""};
    status = wire_scram_server_final(scram, last, &last_error);
    check_error(&last_error, status);
    assert(status != WIRE_OK && scram->state == WIRE_SCRAM_IDLE);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *zero = size == 0 ? NULL : memchr(data, 0, size);
    size_t first_len = zero == NULL ? size : (size_t)(zero - data);
    wire_slice first = {data, first_len};
    wire_slice last = {data + first_len, 0};
    if (zero != NULL) {
        last.ptr = zero + 1;
        last.len = size - first_len - 1;
    }
    for (const char *flag = "nyp"; *flag != '\0'; flag++) {
        struct wire_scram scram;
        struct wire_buffer out;
        wire_scram_init(&scram);
        wire_buffer_init(&out);
        exchange(&scram, *flag, &out, first, last);
        wire_scram_clear(&scram);
        wire_buffer_clear(&out, true);
    }
    return 0;
}
