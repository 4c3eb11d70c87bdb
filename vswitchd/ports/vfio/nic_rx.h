/* nic_rx.h: receiving, as far as it is the same for all NIC drivers. C only; drivers include it.
 *
 * How it works: a driver's rx looks at the next descriptor, and as long as the device is done with it: takes a fresh buffer (none: stop, the
 * descriptor stays as it is), takes the old one from q->bufs, posts the fresh one there, and makes a packet of the old one:
 *
 *     while (used < n && <descriptor q->next is done> && q->n_lent < VS_NIC_LENT - VS_MAX_SEGS) {
 *         <copy the descriptor into a local; vs_dma_rmb>
 *         struct vs_dma_buf *b = vs_nic_rx_swap(q, q->next);      // NULL: no fresh buffer, stop
 *         if (first part of a frame)  ok = vs_nic_rx_first(q, pkts[used], b, VS_DMA_HEADROOM, len);
 *         else                        ok = vs_nic_rx_more(q, pkts[used], b, VS_DMA_HEADROOM, len);
 *         <write the descriptor anew for q->bufs[q->next]; advance q->next>
 *         if (last part) ok && no error of the device ? used++ : vs_nic_rx_bad(q, pkts[used], reason, c);
 *     }
 *
 * A frame whose parts are not all there yet must wait: look for the last part first, or keep what came so far in the driver's own memory. Every
 * buffer that was swapped out is in `lent` from then on, and comes back with rx_release whatever happens to the packet.
 *
 * Thread safety: the core that polls the queue.
 */
#ifndef VS_NIC_RX_H
#define VS_NIC_RX_H

#include "nic.h"

/* Take the buffer at descriptor i, and put a fresh one in its place. NULL, and nothing done, when there is no fresh one. */
static inline struct vs_dma_buf *vs_nic_rx_swap(struct vs_nic_rxq *q, uint16_t i)
{
    struct vs_dma_buf *fresh = vs_dma_get(&q->list);
    if (VS_UNLIKELY(fresh == NULL))
        return NULL;
    struct vs_dma_buf *b = q->bufs[i];
    q->bufs[i] = fresh;
    return b;
}

static inline void vs_nic_lend(struct vs_nic_rxq *q, struct vs_dma_buf *b)
{
    struct vs_dma_buf **at = &q->lent[q->n_lent++];
    *at = b;
    b->lent = at;
}

/* The first `len` bytes of a frame are `offset` bytes into b. False when that cannot be: the buffer is not as long. */
static inline bool vs_nic_rx_first(struct vs_nic_rxq *q, struct vs_packet *p, struct vs_dma_buf *b,
                                   uint32_t offset, uint32_t len)
{
    b->next = NULL;
    vs_nic_lend(q, b);
    p->n_segs = 0;
    p->dma = 0;
    if (VS_UNLIKELY(offset > VS_DMA_HEADROOM + VS_HEAD_COPY || len > VS_DMA_HEADROOM + b->size - offset)) {
        p->frame_len = 0;
        p->head_len = 0;
        return false;
    }
    const uint8_t *from = b->bytes + offset;
    /* In whole cache lines: the buffer goes on behind the frame. */
    memcpy(p->data, from, 64);
    if (len > 64)
        memcpy(p->data + 64, from + 64, VS_HEAD_COPY - 64);
    uint32_t head = VS_MIN(len, (uint32_t)VS_HEAD_COPY);
    p->head_len = (uint16_t)head;
    p->frame_len = len;
    if (len > head) {
        p->segs[0] = (struct vs_seg){.data = from + head, .len = len - head};
        p->n_segs = 1;
    }
    p->dma = vs_dma_number(b);
    return true;
}

/* The next `len` bytes of the same frame. False when it becomes too long, or the buffer is not as long. */
static inline bool vs_nic_rx_more(struct vs_nic_rxq *q, struct vs_packet *p, struct vs_dma_buf *b,
                                  uint32_t offset, uint32_t len)
{
    b->next = NULL;
    vs_nic_lend(q, b);
    if (VS_UNLIKELY(p->dma == 0 || p->n_segs >= VS_MAX_SEGS - 1 || offset > VS_DMA_HEADROOM + b->size ||
                    len > VS_DMA_HEADROOM + b->size - offset || p->frame_len + len > VS_MAX_FRAME)) {
        p->dma = 0; /* the frame is bad from here on */
        return false;
    }
    struct vs_dma_buf *last = vs_dma_numbered(p->dma);
    while (last->next != NULL) /* few: a frame of 9,000 bytes has five */
        last = last->next;
    last->next = b;
    p->segs[p->n_segs++] = (struct vs_seg){.data = b->bytes + offset, .len = len};
    p->frame_len += len;
    return true;
}

/* The head is to hold all headers: pull it together when the first buffer held less than that. */
static inline void vs_nic_rx_pull(struct vs_packet *p)
{
    if (VS_UNLIKELY(p->head_len < VS_HEAD_COPY && p->n_segs > 0))
        vs_packet_pull(p);
}

/* Drop the packet under way: counted as received, with its reason. The packet may be used for the next frame. */
static inline void vs_nic_rx_bad(struct vs_packet *p, struct vs_port *port, enum vs_drop reason,
                                 struct vs_port_counters *c)
{
    vs_packet_reset(p, port);
    vs_port_rx_count(c, 1, 0);
    vs_port_rx_drop(c, reason, 1);
}
#endif
