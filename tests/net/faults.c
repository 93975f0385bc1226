/* Loaded in front of libc (LD_PRELOAD): recv and send of sockets connected to one port,
 * malloc for one library, and CPython's allocators on behalf of that library fail when
 * they are told to. Python arms it by ctypes. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <link.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

enum kind {
    KIND_SHORT = -1, /* one byte; other kinds are values of errno */
};

struct range {
    const char *name; /* the end of it */
    uintptr_t low;
    uintptr_t high;
};

static struct range library;     /* on whose behalf allocations are counted */
static struct range tasks;       /* asyncio's, which loses a task when memory is out */
static struct range interpreter; /* the function that runs Python code */
static struct {
    int port;  /* of the peer; 0: no socket is touched */
    int kind;  /* what happens */
    long from; /* to the calls numbered from here … */
    long to;   /* … up to, not including, there */
    long calls;
    long malloc_at; /* the call that fails; -1: none */
    long mallocs;
} fault = {.malloc_at = -1};

void fault_arm(int port, int kind, long from, long to);
long fault_calls(void);
int fault_libraries(const char *core, const char *asyncio);
void fault_arm_malloc(long at);
long fault_mallocs(void);
void fault_hook_allocators(void);
void fault_arm_allocations(long from, long to);
long fault_allocations(void);

/* The `from`-th call (from 0) to the `to`-th fail; counts anew. Port 0 ends it. */
void
fault_arm(int port, int kind, long from, long to)
{
    fault.port = port;
    fault.kind = kind;
    fault.from = from;
    fault.to = to;
    fault.calls = 0;
}

long
fault_calls(void)
{
    return fault.calls;
}

static int
find_range(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size;
    struct range *range = arg;
    if (range->name == NULL || strstr(info->dlpi_name, range->name) == NULL) {
        return 0;
    }
    range->low = UINTPTR_MAX;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type == PT_LOAD) {
            uintptr_t start = info->dlpi_addr + part->p_vaddr;
            range->low = start < range->low ? start : range->low;
            range->high = start + part->p_memsz;
        }
    }
    return 1;
}

/* The files that they were loaded from; whether the first was. */
int
fault_libraries(const char *core, const char *asyncio)
{
    library.name = core;
    tasks.name = asyncio;
    (void)dl_iterate_phdr(find_range, &tasks);
    return dl_iterate_phdr(find_range, &library);
}

static bool
is_in(const struct range *range, const void *place)
{
    return (uintptr_t)place >= range->low && (uintptr_t)place < range->high;
}

/* The `at`-th malloc (from 0) of the library fails; -1: none. Counts anew. */
void
fault_arm_malloc(long at)
{
    fault.malloc_at = at;
    fault.mallocs = 0;
}

long
fault_mallocs(void)
{
    return fault.mallocs;
}

static bool
is_meant(int fd)
{
    struct sockaddr_storage peer;
    socklen_t len = sizeof(peer);
    if (fault.port == 0 || getpeername(fd, (struct sockaddr *)&peer, &len) != 0) {
        return false;
    }
    const struct sockaddr_in *in = (const struct sockaddr_in *)&peer;
    return peer.ss_family == AF_INET && ntohs(in->sin_port) == fault.port;
}

/* Whether this call fails: -1 with errno; or has its length cut to 1. */
static int
strike(int fd, size_t *len)
{
    int saved = errno;
    if (!is_meant(fd)) {
        errno = saved;
        return 0;
    }
    errno = saved;
    long call = fault.calls++;
    if (call < fault.from || call >= fault.to) {
        return 0;
    }
    if (fault.kind == KIND_SHORT) {
        *len = *len > 1 ? 1 : *len;
        return 0;
    }
    errno = fault.kind;
    return -1;
}

typedef ssize_t (*recv_function)(int, void *, size_t, int);
typedef ssize_t (*send_function)(int, const void *, size_t, int);

ssize_t
recv(int fd, void *bytes, size_t len, int flags)
{
    static recv_function real;
    if (real == NULL) {
        real = (recv_function)dlsym(RTLD_NEXT, "recv");
    }
    return strike(fd, &len) < 0 ? -1 : real(fd, bytes, len, flags);
}

ssize_t
send(int fd, const void *bytes, size_t len, int flags)
{
    static send_function real;
    if (real == NULL) {
        real = (send_function)dlsym(RTLD_NEXT, "send");
    }
    return strike(fd, &len) < 0 ? -1 : real(fd, bytes, len, flags);
}

/* glibc's own names for its allocator. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);

/* Whether the malloc that was called from there fails. */
static bool
strike_malloc(void *from)
{
    return is_in(&library, from) && fault.mallocs++ == fault.malloc_at;
}

void *
malloc(size_t size)
{
    if (strike_malloc(__builtin_return_address(0))) {
        errno = ENOMEM;
        return NULL;
    }
    return __libc_malloc(size);
}

void *
calloc(size_t count, size_t size)
{
    if (strike_malloc(__builtin_return_address(0))) {
        errno = ENOMEM;
        return NULL;
    }
    return __libc_calloc(count, size);
}

/* CPython's allocators, by Include/cpython/pymem.h. */

struct allocator {
    void *context;
    void *(*malloc)(void *context, size_t size);
    void *(*calloc)(void *context, size_t count, size_t size);
    void *(*realloc)(void *context, void *block, size_t size);
    void (*free)(void *context, void *block);
};

enum domain {
    DOMAIN_RAW,
    DOMAIN_MEM,
    DOMAIN_OBJ,
    DOMAINS,
};

static struct allocator originals[DOMAINS];
static struct {
    bool on;
    long from; /* the allocations of the library numbered from here … */
    long to;   /* … up to, not including, there */
    long count;
} allocations;
#define FRAMES_MAX 32

/* Whether the library asks for it, and not Python code or a task that it runs. */
static bool
is_of_library(void)
{
    void *frames[FRAMES_MAX];
    int count = backtrace(frames, FRAMES_MAX);
    for (int i = 0; i < count; i++) {
        if (is_in(&library, frames[i])) {
            return true;
        }
        if (is_in(&interpreter, frames[i]) || is_in(&tasks, frames[i])) {
            return false;
        }
    }
    return false;
}

static bool
strike_allocation(void)
{
    if (!allocations.on || !is_of_library()) {
        return false;
    }
    long number = allocations.count++;
    return number >= allocations.from && number < allocations.to;
}

static void *
hooked_malloc(void *context, size_t size)
{
    const struct allocator *original = context;
    return strike_allocation() ? NULL : original->malloc(original->context, size);
}

static void *
hooked_calloc(void *context, size_t count, size_t size)
{
    const struct allocator *original = context;
    return strike_allocation() ? NULL : original->calloc(original->context, count, size);
}

static void *
hooked_realloc(void *context, void *block, size_t size)
{
    const struct allocator *original = context;
    return strike_allocation() ? NULL : original->realloc(original->context, block, size);
}

static void
hooked_free(void *context, void *block)
{
    const struct allocator *original = context;
    original->free(original->context, block);
}

/* Once, with the GIL, behind fault_libraries. */
void
fault_hook_allocators(void)
{
    Dl_info info;
    const ElfW(Sym) *symbol = NULL;
    void *evaluate = dlsym(RTLD_DEFAULT, "_PyEval_EvalFrameDefault");
    if (evaluate != NULL && dladdr1(evaluate, &info, (void **)&symbol, RTLD_DL_SYMENT) != 0) {
        interpreter.low = (uintptr_t)evaluate;
        interpreter.high = (uintptr_t)evaluate + symbol->st_size;
    }
    void (*get)(enum domain, struct allocator *) =
        (void (*)(enum domain, struct allocator *))dlsym(RTLD_DEFAULT, "PyMem_GetAllocator");
    void (*set)(enum domain, struct allocator *) =
        (void (*)(enum domain, struct allocator *))dlsym(RTLD_DEFAULT, "PyMem_SetAllocator");
    for (enum domain domain = DOMAIN_RAW; domain < DOMAINS; domain++) {
        struct allocator hooked = {&originals[domain], hooked_malloc, hooked_calloc, hooked_realloc,
                                   hooked_free};
        get(domain, &originals[domain]);
        set(domain, &hooked);
    }
}

/* Counts anew; -1: neither counts nor fails. */
void
fault_arm_allocations(long from, long to)
{
    allocations.on = from >= 0;
    allocations.from = from;
    allocations.to = to;
    allocations.count = 0;
}

long
fault_allocations(void)
{
    return allocations.count;
}
