/* Preloaded into a process of Python: lets the n-th recv or send, or the n-th allocation,
 * go wrong. The tests drive it by ctypes; without an order it does nothing.
 *
 * glibc only: the real allocator is called by its __libc_ names. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>
#include <sys/socket.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);

static long calls_left = -1; /* until the call that goes wrong */
static long calls_made;
static int calls_error; /* 0: one byte at most */
static int always;      /* every call from then on */

static __thread long blocks_left = -1; /* until the allocation that fails */
static __thread long blocks_failed;
static __thread int blocks_counted; /* or none is */

/* The `number`-th call from now (1: the next) fails with errno `error`, 0: takes one
 * byte; `all`: and so do those behind it. 0: none. */
void
faulty_calls(long number, int error, int all)
{
    calls_left = number > 0 ? number : -1;
    calls_error = error;
    always = all;
    calls_made = 0;
}

long
faulty_calls_made(void)
{
    return calls_made;
}

/* The `number`-th allocation of this thread fails, of those made while they count;
 * 0: none. */
void
faulty_memory(long number)
{
    blocks_left = number > 0 ? number : -1;
    blocks_failed = 0;
    blocks_counted = 0;
}

void
faulty_memory_counts(int yes)
{
    blocks_counted = yes;
}

long
faulty_memory_failed(void)
{
    return blocks_failed;
}

static int
call_is_due(void)
{
    calls_made++;
    if (calls_left > 0) {
        calls_left--;
    }
    if (calls_left != 0) {
        return 0;
    }
    if (!always) {
        calls_left = -1;
    }
    return 1;
}

static int
block_is_due(void)
{
    if (!blocks_counted || blocks_left <= 0 || --blocks_left > 0) {
        return 0;
    }
    blocks_left = -1;
    blocks_failed++;
    errno = ENOMEM;
    return 1;
}

ssize_t
recv(int fd, void *bytes, size_t size, int flags)
{
    static ssize_t (*real)(int, void *, size_t, int);
    if (real == NULL) {
        real = (ssize_t (*)(int, void *, size_t, int))dlsym(RTLD_NEXT, "recv");
    }
    if (call_is_due()) {
        if (calls_error != 0) {
            errno = calls_error;
            return -1;
        }
        size = size > 1 ? 1 : size;
    }
    return real(fd, bytes, size, flags);
}

ssize_t
__recv_chk(int fd, void *bytes, size_t size, size_t room, int flags)
{
    return recv(fd, bytes, size < room ? size : room, flags);
}

ssize_t
send(int fd, const void *bytes, size_t size, int flags)
{
    static ssize_t (*real)(int, const void *, size_t, int);
    if (real == NULL) {
        real = (ssize_t (*)(int, const void *, size_t, int))dlsym(RTLD_NEXT, "send");
    }
    if (call_is_due()) {
        if (calls_error != 0) {
            errno = calls_error;
            return -1;
        }
        size = size > 1 ? 1 : size;
    }
    return real(fd, bytes, size, flags);
}

void *
malloc(size_t size)
{
    return block_is_due() ? NULL : __libc_malloc(size);
}

void *
calloc(size_t count, size_t size)
{
    return block_is_due() ? NULL : __libc_calloc(count, size);
}

void *
realloc(void *block, size_t size)
{
    return block_is_due() ? NULL : __libc_realloc(block, size);
}
