/* nic_tx.h: transmitting, as far as it is the same for all NIC drivers. C only; drivers include it.
 *
 * How it works: a driver has three small functions, and its tx is one call of vs_nic_transmit with them, which the compiler turns into one loop:
 *
 *     put(q, &frame, p)   writes the descriptors of one frame, frame.owner into q->bufs at the last one, moves q->next and q->free. There is room
 *                         for VS_NIC_TX_ROOM descriptors, so it cannot fail. Offloads wanted: p's fields (p is NULL: none).
 *     clean(q)            takes back what the device is done with: vs_nic_tx_done(q, i) for each, moves q->clean and q->free. Never more than the ring.
 *     kick(q)             tells the device.
 *
 * Before a packet is put it becomes a frame: pieces of the DMA window. A packet that lies in DMA buffers and that nobody else uses is handed over
 * with them, its head written back in front of its tail; any other is copied, once, into buffers of ours. What the device cannot do
 * (checksum, segmentation) is done in software first.
 *
 * Thread safety: the queue's lock is held.
 */
#ifndef VS_NIC_TX_H
#define VS_NIC_TX_H

#include "nic.h"
#include "offload.h"

struct vs_nic_frame {
    struct vs_dma_buf
        *owner; /* chain of buffers, ours from now on; free when the device has sent the frame */
    uint32_t len;
    uint32_t n;
    struct {
        uint64_t iova;
        uint32_t len;
    } frag[VS_NIC_FRAGS];
};

typedef void (*vs_nic_put_fn)(struct vs_nic_txq *q, const struct vs_nic_frame *f, const struct vs_packet *p);
typedef void (*vs_nic_queue_fn)(struct vs_nic_txq *q);

/* Copy a packet, or (p NULL) `len` bytes, into buffers of ours. 0, or the reason why not. */
int vs_nic_frame_copy(struct vs_nic_txq *q, const struct vs_packet *p, const uint8_t *bytes, uint32_t len,
                      struct vs_nic_frame *f);
/* Finish offloads in software and put what comes of it. Counts. */
void vs_nic_send_software(struct vs_nic_txq *q, const struct vs_packet *p, struct vs_port_counters *c,
                          vs_nic_put_fn put, vs_nic_queue_fn clean);

/* The device is done with descriptor i. */
static inline void vs_nic_tx_done(struct vs_nic_txq *q, uint16_t i)
{
    struct vs_dma_buf *b = q->bufs[i];
    if (b != NULL) {
        q->bufs[i] = NULL;
        vs_dma_put_chain(&q->list, b);
    }
}

/* Is an offload that the packet asks for beyond the device? */
bool vs_nic_beyond(const struct vs_nic *nic, const struct vs_packet *p);

/* Must software do what the packet asks for? */
static inline bool vs_nic_needs_software(const struct vs_nic *nic, const struct vs_packet *p)
{
    if (VS_LIKELY(p->csum != VS_CSUM_PARTIAL && p->gso_type == VS_GSO_NONE))
        return false;
    return vs_nic_beyond(nic, p);
}

/* The bytes of piece i: our own memory, written just now, which put may still change. */
static inline uint8_t *vs_nic_frame_bytes(const struct vs_nic_frame *f, uint32_t i)
{
    return vs_dma.base + (f->frag[i].iova - vs_dma.iova);
}

/* Hand over the buffers that a packet lies in. False, and nothing done, when it cannot be: then copy. */
VS_ALWAYS_INLINE bool vs_nic_frame_take(struct vs_packet *p, struct vs_nic_frame *f)
{
    if (p->dma == 0 || p->queued != 1 || p->n_segs > VS_NIC_FRAGS)
        return false;
    struct vs_dma_buf *b = vs_dma_numbered(p->dma);
    uint8_t *at = vs_dma_data(b);
    f->n = 1;
    f->frag[0].len = p->head_len;
    if (p->n_segs > 0) {
        at = (uint8_t *)(uintptr_t)p->segs[0].data - p->head_len;
        if (VS_UNLIKELY((uint64_t)(at - b->bytes) >= VS_DMA_HEADROOM + VS_DMA_DATA))
            return false; /* the head had a buffer of its own */
        f->frag[0].len += p->segs[0].len;
    }
    for (unsigned i = 1; i < p->n_segs; i++) {
        if (VS_UNLIKELY(!vs_dma_has(p->segs[i].data, p->segs[i].len)))
            return false;
        f->frag[f->n].iova = vs_dma_iova(p->segs[i].data);
        f->frag[f->n++].len = p->segs[i].len;
    }
    uint32_t held = 0;
    for (const struct vs_dma_buf *each = b; each != NULL; each = each->next)
        held++;
    if (VS_UNLIKELY(held > f->n))
        return false; /* a ring holds no more buffers than descriptors: vs_nic_n_buffers */
    memcpy(at, p->data, p->head_len);
    f->frag[0].iova = b->iova + (uint64_t)(at - b->bytes);
    f->len = p->frame_len;
    f->owner = b;
    p->dma = 0;
    for (; b != NULL; b = b->next)
        *b->lent = NULL;
    return true;
}

/* A driver's tx. */
VS_ALWAYS_INLINE void vs_nic_transmit(struct vs_nic_txq *q, struct vs_packet **pkts, int n,
                                      struct vs_port_counters *c, vs_nic_put_fn put, vs_nic_queue_fn clean,
                                      vs_nic_queue_fn kick)
{
    const struct vs_nic *nic = q->nic;
    uint64_t sent = 0, bytes = 0;
    uint16_t before = q->next;
    if (q->free < q->size / 2)
        clean(q);
    for (int i = 0; i < n; i++) {
        struct vs_packet *p = pkts[i];
        struct vs_nic_frame f;
        if (VS_UNLIKELY(vs_nic_needs_software(nic, p))) {
            vs_nic_send_software(q, p, c, put, clean);
            continue;
        }
        if (VS_UNLIKELY(p->frame_len > nic->max_frame) && vs_offload_wire_len(p) > nic->max_frame) {
            vs_port_tx_drop(c, VS_DROP_TX_TOO_LONG, 1);
            continue;
        }
        if (VS_UNLIKELY(q->free < VS_NIC_TX_ROOM)) {
            clean(q);
            if (q->free < VS_NIC_TX_ROOM) {
                vs_port_tx_drop(c, VS_DROP_TX_RING_FULL, 1);
                continue;
            }
        }
        if (!vs_nic_frame_take(p, &f)) {
            int why = vs_nic_frame_copy(q, p, NULL, 0, &f);
            if (VS_UNLIKELY(why != 0)) { /* what the device is done with may be what is missing */
                clean(q);
                why = vs_nic_frame_copy(q, p, NULL, 0, &f);
            }
            if (VS_UNLIKELY(why != 0)) {
                vs_port_tx_drop(c, (enum vs_drop)why, 1);
                continue;
            }
        }
        sent++;
        bytes += f.len;
        put(q, &f, p);
    }
    if (q->next != before)
        kick(q);
    vs_port_sent(c, sent, bytes);
}
#endif
