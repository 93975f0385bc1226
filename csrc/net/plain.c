#include "stream.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* macOS: SO_NOSIGPIPE is set instead */
#endif

enum net_status
net_plain_read(struct net_stream *stream, uint8_t *bytes, size_t cap, size_t *n)
{
    ssize_t got;
    do {
        got = recv(stream->fd, bytes, cap, 0);
    } while (got < 0 && errno == EINTR);
    if (got > 0) {
        *n = (size_t)got;
        return NET_OK;
    }
    if (got == 0) {
        return NET_EOF;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
        return NET_WANT_READ;
    }
    stream->error = errno;
    return NET_ERROR;
}

enum net_status
net_plain_write(struct net_stream *stream, const uint8_t *bytes, size_t len, size_t *n)
{
    ssize_t sent;
    do {
        sent = send(stream->fd, bytes, len, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent >= 0) {
        *n = (size_t)sent;
        return sent == 0 && len != 0 ? NET_WANT_WRITE : NET_OK;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS) {
        return NET_WANT_WRITE;
    }
    stream->error = errno;
    return NET_ERROR;
}

static bool
plain_pending(const struct net_stream *stream)
{
    (void)stream;
    return false;
}

static void
plain_clear(struct net_stream *stream)
{
    (void)stream;
}

static const struct net_ops plain_ops = {net_plain_read, net_plain_write, plain_pending,
                                         plain_clear};

int
net_plain_init(struct net_stream *stream, int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
        return errno;
    }
#ifdef SO_NOSIGPIPE
    int on = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof(on)) < 0) {
        return errno;
    }
#endif
    stream->ops = &plain_ops;
    stream->fd = fd;
    stream->error = 0;
    stream->state = NULL;
    stream->reason[0] = '\0';
    return 0;
}
