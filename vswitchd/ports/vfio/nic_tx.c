/* nic_tx.c: the rarer ways of a packet to a NIC: copied, or finished in software first; see nic_tx.h. */
#include "nic_tx.h"

bool vs_nic_beyond(const struct vs_nic *nic, const struct vs_packet *p)
{
    static const uint32_t needs[] = {
        [VS_GSO_NONE] = VS_NIC_F_TX_CSUM, [VS_GSO_TCPV4] = VS_NIC_F_TSO4, [VS_GSO_TCPV6] = VS_NIC_F_TSO6};
    unsigned type = p->gso_type & ~(unsigned)VS_GSO_ECN;
    if (p->gso_l3_ofs != 0 || type >= sizeof needs / sizeof needs[0] || !(nic->use & needs[type]))
        return true;
    return nic->driver->able != NULL && !nic->driver->able(nic, p);
}

/* Where a packet's bytes are read. */
struct source {
    const struct vs_packet *p;
    const uint8_t *at;
    uint32_t left; /* of this run */
    unsigned seg;  /* next one */
};

static void read_bytes(struct source *s, uint8_t *to, uint32_t n)
{
    while (n > 0) {
        if (s->left == 0) {
            s->at = s->p->segs[s->seg].data;
            s->left = s->p->segs[s->seg++].len;
            continue;
        }
        uint32_t part = VS_MIN(n, s->left);
        memcpy(to, s->at, part);
        to += part;
        s->at += part;
        s->left -= part;
        n -= part;
    }
}

/* Buffers for `len` bytes: one big one where it takes more than VS_NIC_FRAGS ordinary ones. */
static struct vs_dma_buf *get_buffers(struct vs_nic_txq *q, uint32_t len)
{
    if (len > VS_NIC_FRAGS * VS_DMA_DATA)
        return vs_dma_get_big();
    struct vs_dma_buf *first = vs_dma_get(&q->list), *last = first;
    for (uint32_t room = VS_DMA_DATA; last != NULL && room < len; room += VS_DMA_DATA)
        last = last->next = vs_dma_get(&q->list);
    if (last == NULL && first != NULL) {
        vs_dma_put_chain(&q->list, first);
        return NULL;
    }
    return first;
}

int vs_nic_frame_copy(struct vs_nic_txq *q, const struct vs_packet *p, const uint8_t *bytes, uint32_t len,
                      struct vs_nic_frame *f)
{
    struct source s = {.p = p, .at = p != NULL ? p->data : bytes, .left = p != NULL ? p->head_len : len};
    uint32_t left = p != NULL ? p->frame_len : len;
    f->owner = get_buffers(q, left);
    if (VS_UNLIKELY(f->owner == NULL))
        return VS_DROP_TX_RING_FULL;
    f->len = left;
    f->n = 0;
    for (struct vs_dma_buf *b = f->owner; b != NULL; b = b->next) {
        uint32_t part = VS_MIN(left, b->big ? b->size : (uint32_t)VS_DMA_DATA);
        read_bytes(&s, vs_dma_data(b), part);
        f->frag[f->n].iova = b->iova + VS_DMA_HEADROOM;
        f->frag[f->n++].len = part;
        left -= part;
    }
    return 0;
}

/* A packet that becomes several frames. */
struct finishing {
    struct vs_nic_txq *q;
    vs_nic_put_fn put;
    vs_nic_queue_fn clean;
    uint64_t bytes;
    int reason; /* enum vs_drop; 0: none (no transmit reason is 0) */
};

static int put_finished(void *ctx, const uint8_t *frame, uint32_t len)
{
    struct finishing *w = ctx;
    struct vs_nic_frame f;
    if (w->q->free < VS_NIC_TX_ROOM)
        w->clean(w->q);
    if (len > w->q->nic->max_frame)
        w->reason = VS_DROP_TX_TOO_LONG;
    else if (w->q->free < VS_NIC_TX_ROOM)
        w->reason = VS_DROP_TX_RING_FULL;
    else
        w->reason = vs_nic_frame_copy(w->q, NULL, frame, len, &f);
    if (w->reason != 0)
        return -1;
    w->put(w->q, &f, NULL);
    w->bytes += len;
    return 0;
}

void vs_nic_send_software(struct vs_nic_txq *q, const struct vs_packet *p, struct vs_port_counters *c,
                          vs_nic_put_fn put, vs_nic_queue_fn clean)
{
    struct finishing w = {.q = q, .put = put, .clean = clean};
    uint8_t *scratch = q->nic->scratch + (size_t)q->index * VS_MAX_FRAME;
    if (vs_offload_finish(p, scratch, VS_MAX_FRAME, put_finished, &w) < 0 && w.reason == 0)
        w.reason = VS_DROP_TX_OFFLOAD;
    if (w.reason != 0)
        vs_port_tx_drop(c, (enum vs_drop)w.reason, 1);
    else
        vs_port_sent(c, 1, w.bytes);
}
