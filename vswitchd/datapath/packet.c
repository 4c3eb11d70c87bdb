/* packet.c: filling, copying and reading packets; see packet.h. */
#include "packet.h"

void vs_packet_fill(struct vs_packet *p, const uint8_t *frame, uint32_t len)
{
    uint32_t head = VS_MIN(len, (uint32_t)VS_HEAD_COPY);
    p->data = p->buf + VS_HEADROOM;
    memcpy(p->data, frame, head);
    p->head_len = (uint16_t)head;
    p->frame_len = len;
    p->n_segs = 0;
    if (len > head) {
        p->segs[0] = (struct vs_seg){.data = frame + head, .len = len - head};
        p->n_segs = 1;
    }
}

void vs_packet_pull(struct vs_packet *p)
{
    while (p->n_segs > 0 && p->head_len < VS_HEAD_COPY) {
        uint32_t room = (uint32_t)(p->buf + sizeof p->buf - p->data) - p->head_len;
        uint32_t n = VS_MIN(VS_MIN((uint32_t)VS_HEAD_COPY - p->head_len, p->segs[0].len), room);
        memcpy(p->data + p->head_len, p->segs[0].data, n);
        p->head_len = (uint16_t)(p->head_len + n);
        p->segs[0].data += n;
        p->segs[0].len -= n;
        if (p->segs[0].len != 0)
            return;
        p->n_segs--;
        memmove(p->segs, p->segs + 1, p->n_segs * sizeof p->segs[0]);
    }
}

uint32_t vs_packet_copy_out(const struct vs_packet *p, uint8_t *to, uint32_t max)
{
    uint32_t done = VS_MIN(max, (uint32_t)p->head_len);
    memcpy(to, p->data, done);
    for (unsigned i = 0; i < p->n_segs && done < max; i++) {
        uint32_t n = VS_MIN(max - done, p->segs[i].len);
        memcpy(to + done, p->segs[i].data, n);
        done += n;
    }
    return done;
}

void vs_packet_copy(struct vs_packet *to, const struct vs_packet *from)
{
    memcpy(to, from, offsetof(struct vs_packet, segs) + from->n_segs * sizeof(struct vs_seg));
    to->data = to->buf + (from->data - from->buf);
    memcpy(to->data, from->data, from->head_len);
    to->queued = 0;
    to->dma = 0;
}
