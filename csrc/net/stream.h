/* A non-blocking byte stream over a file descriptor: plain, or TLS behind the same
 * table of operations. No Python, nothing of ours included. */
#ifndef NET_STREAM_H
#define NET_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define NET_REASON_MAX 256

enum net_status {
    NET_WANT_READ = 1,
    NET_WANT_WRITE = 2,
    NET_OK = 0,
    NET_EOF = -1,   /* the peer closed its side */
    NET_ERROR = -2, /* see net_stream.error and .reason */
};

struct net_stream;

struct net_ops {
    /* Reads at most `cap` bytes; NET_OK sets *n > 0. */
    enum net_status (*read)(struct net_stream *, uint8_t *bytes, size_t cap, size_t *n);
    /* Writes at most `len` bytes; NET_OK sets *n > 0, which may be under `len`. */
    enum net_status (*write)(struct net_stream *, const uint8_t *bytes, size_t len, size_t *n);
    /* Whether bytes have been taken off the descriptor that no read has given yet:
     * nobody is told of those when the descriptor becomes readable. */
    bool (*pending)(const struct net_stream *);
    /* Gives back what the transport owns besides the descriptor. */
    void (*clear)(struct net_stream *);
};

struct net_stream {
    const struct net_ops *ops;
    int fd;      /* owned by the connection, which closes it */
    int error;   /* errno of the last NET_ERROR; 0 when `reason` says it */
    void *state; /* what the transport keeps, of its own kind */
    char reason[NET_REASON_MAX]; /* of the last NET_ERROR, or "" */
};

/* The plain stream's way of reading and writing, for those that put something on top. */
enum net_status net_plain_read(struct net_stream *stream, uint8_t *bytes, size_t cap, size_t *n);
enum net_status
net_plain_write(struct net_stream *stream, const uint8_t *bytes, size_t len, size_t *n);

/* Sets up a plain stream over `fd`, which it makes non-blocking. 0, or an errno. */
int net_plain_init(struct net_stream *stream, int fd);

static inline enum net_status
net_read(struct net_stream *stream, uint8_t *bytes, size_t cap, size_t *n)
{
    return stream->ops->read(stream, bytes, cap, n);
}

static inline enum net_status
net_write(struct net_stream *stream, const uint8_t *bytes, size_t len, size_t *n)
{
    return stream->ops->write(stream, bytes, len, n);
}

static inline bool
net_pending(const struct net_stream *stream)
{
    return stream->ops->pending(stream);
}

#endif
