#include "session.h"

size_t
wire_session_more_data(struct wire_session *s, const struct wire_buffer *in, uint8_t *to,
                       size_t room)
{
    const uint8_t *p = in->data + in->start + s->consumed;
    size_t have = in->end - in->start - s->consumed, put = 0;
    while (have >= 5 && p[0] == WIRE_TAG_COPY_DATA) {
        uint32_t len = wire_load_u32(p + 1);
        if (len < 4 || len > have - 1 || len - 4 > room - put) {
            break;
        }
        memcpy(to + put, p + 5, len - 4);
        put += len - 4;
        p += 1 + (size_t)len;
        have -= 1 + (size_t)len;
    }
    s->consumed = in->end - in->start - have;
    return put;
}
