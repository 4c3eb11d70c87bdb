/* virtio_ring.c: receive and transmit on split and packed virtio rings; see virtio_net.h. */
#include <errno.h>
#include <stdlib.h>

#include "nic_rx.h"
#include "nic_tx.h"
#include "vhost_header.h"
#include "virtio_net.h"

enum { MIN_FRAME = 14, PREFETCH = 4 };

/* A head of any length has room for the header in front of it: received frames begin at VS_DMA_HEADROOM, their tails at VS_HEAD_COPY behind it or
 * later, and nothing but what is pushed (VS_HEADROOM bytes at most) makes a head longer than VS_HEAD_COPY. */
_Static_assert(VS_DMA_HEADROOM >= VS_HEADROOM + VIRTIO_HEADER, "no room for the header of a frame");

static inline bool is_packed(const struct vs_nic *nic)
{
    return VS_CONTAINER_OF(nic, const struct vs_virtio_net, nic)->packed;
}

static inline struct vs_virtio_desc *descs(uint8_t *ring)
{
    return (void *)ring;
}

static inline uint16_t used_idx(uint8_t *ring, uint16_t size)
{
    uint16_t idx = *(volatile uint16_t *)&vs_virtio_used(ring, size)->idx;
    vs_dma_rmb();
    return idx;
}

/* What the device gave back. */
struct used {
    uint32_t id, len;
};

/* Is the entry at `position` given back? `seen`: the used index, split only. */
VS_ALWAYS_INLINE bool used_at(uint8_t *ring, uint16_t size, bool packed, uint16_t position, uint16_t past,
                              uint16_t seen, struct used *u)
{
    uint16_t at = position & (uint16_t)(size - 1);
    if (packed) {
        uint64_t rest = *(volatile uint64_t *)&descs(ring)[at].rest;
        if ((rest >> 48 & (DESC_F_AVAIL | DESC_F_USED)) != vs_virtio_used_flags(position, size))
            return false;
        vs_dma_rmb(); /* pairs with the device's write of the flags, its last one */
        *u = (struct used){.id = (uint32_t)(rest >> 32) & 0xffff, .len = (uint32_t)rest};
        return true;
    }
    if (seen == past)
        return false;
    const volatile struct vs_virtio_used_elem *e = &vs_virtio_used(ring, size)->ring[at];
    *u = (struct used){.id = e->id, .len = e->len};
    return true;
}

/* ---- receive ------------------------------------------------------------------------------------------------------- */

/* Post the buffer that stands at `id` where the one that was used at q->next stood, and step on. */
VS_ALWAYS_INLINE void post(struct vs_nic_rxq *q, bool packed, uint16_t id)
{
    uint16_t position = q->next++;
    uint16_t at = position & (uint16_t)(q->size - 1);
    uint64_t iova = q->bufs[id]->iova + VS_DMA_HEADROOM - VIRTIO_HEADER;
    if (packed) {
        uint64_t flags = vs_virtio_avail_flags((uint16_t)(position + q->size), q->size) | DESC_F_WRITE;
        struct vs_virtio_desc *d = &descs(q->ring)[at];
        d->addr = iova;
        vs_dma_wmb();
        *(volatile uint64_t *)&d->rest = VIRTIO_RX_BYTES | (uint64_t)id << 32 | flags << 48;
    } else {
        descs(q->ring)[id] =
            (struct vs_virtio_desc){.addr = iova, .rest = VIRTIO_RX_BYTES | (uint64_t)DESC_F_WRITE << 32};
        vs_virtio_avail(q->ring, q->size)->ring[at] = id;
    }
}

/* Everything up to q->next + size is posted: say so, and kick the device when it waits for that. */
static void publish(struct vs_nic_rxq *q, bool packed)
{
    if (!packed) {
        vs_dma_wmb();
        *(volatile uint16_t *)&vs_virtio_avail(q->ring, q->size)->idx = (uint16_t)(q->next + q->size);
    }
    if (vs_virtio_wants_notify(q->ring, q->size, packed))
        vs_virtio_notify(q->nic, q->doorbell, (uint16_t)(2 * q->index));
}

int vs_virtio_rx_init(struct vs_nic_rxq *q)
{
    bool packed = is_packed(q->nic);
    for (uint32_t i = 0; i < q->size; i++) {
        q->bufs[i] = vs_dma_get(&q->list);
        if (q->bufs[i] == NULL)
            return vs_nic_fail(q->nic, ENOMEM, "no packet buffers for receive queue %u", q->index);
    }
    vs_virtio_irq_enable(q, false);
    q->next = (uint16_t)(0 - q->size); /* post works one ring ahead */
    for (uint32_t i = 0; i < q->size; i++)
        post(q, packed, (uint16_t)i);
    if (!packed)
        vs_virtio_avail(q->ring, q->size)->idx = q->size;
    return 0;
}

/* The device gave back what it was not given. */
static int rx_broken(struct vs_nic_rxq *q, struct vs_packet *p, struct vs_port_counters *c)
{
    __atomic_store_n(&q->own[RXQ_BROKEN], 1, __ATOMIC_RELAXED);
    vs_nic_rx_bad(p, &q->nic->port, VS_DROP_RX_DEVICE, c);
    return 0;
}

/* What the header says of the frame (5.1.6.4). False: it contradicts it. */
static bool take_header(struct vs_packet *p, uint64_t first, uint16_t csum_offset)
{
    struct vs_net_hdr h;
    memcpy(&h, &first, sizeof first);
    if (h.flags & VS_NET_HDR_NEEDS_CSUM) {
        p->csum = VS_CSUM_PARTIAL;
        p->csum_start = h.csum_start;
        p->csum_offset = csum_offset;
    } else if (h.flags & VS_NET_HDR_DATA_VALID) {
        p->csum = VS_CSUM_VALID;
    }
    if (h.gso_type != VS_GSO_NONE) {
        p->gso_type = h.gso_type;
        p->gso_size = h.gso_size;
    }
    return vs_offload_check(p) == 0;
}

/* The frame is whole. 1, or 0 when it was dropped. */
VS_ALWAYS_INLINE int finish(struct vs_nic_rxq *q, struct vs_packet *p, uint64_t first, uint16_t csum_offset,
                            struct vs_port_counters *c)
{
    enum vs_drop why = VS_DROP_RX_RUNT;
    if (VS_LIKELY(p->frame_len >= MIN_FRAME)) {
        if (VS_LIKELY(!(q->own[RXQ_WISHES] & WISH_CSUM) || !vs_net_hdr_wants(first)) ||
            take_header(p, first, csum_offset))
            return 1;
        why = VS_DROP_RX_BAD_OFFLOAD;
    }
    vs_nic_rx_bad(p, &q->nic->port, why, c);
    return 0;
}

/* One of several buffers of a frame, taken out of the ring. A reason, or 0. */
static int take_part(struct vs_nic_rxq *q, struct vs_packet *p, const struct used *u, bool head)
{
    if (u->len > VIRTIO_RX_BYTES || u->len < (head ? VIRTIO_HEADER : 1))
        return VS_DROP_RX_DEVICE;
    struct vs_dma_buf *b = vs_nic_rx_swap(q, (uint16_t)u->id);
    bool ok = head ? vs_nic_rx_first(q, p, b, VS_DMA_HEADROOM, u->len - VIRTIO_HEADER)
                   : vs_nic_rx_more(q, p, b, VS_DMA_HEADROOM - VIRTIO_HEADER, u->len);
    return ok ? 0 : VS_DROP_RX_OVERSIZE;
}

/* A frame in `parts` buffers (MRG_RXBUF, 5.1.6.4). 1: it is in p; 0: dropped; -1: it is not all there, or there are no buffers to post instead. */
static __attribute__((noinline)) int receive_merged(struct vs_nic_rxq *q, bool packed, struct vs_packet *p,
                                                    unsigned parts, uint16_t seen, struct vs_port_counters *c)
{
    struct used u;
    bool lies = parts == 0 || parts > q->size;
    int why = lies ? VS_DROP_RX_DEVICE : parts >= VS_MAX_SEGS ? VS_DROP_RX_OVERSIZE : 0;
    if (lies)
        parts = 1;
    if (!packed && (uint16_t)(seen - q->next) < parts)
        return -1;
    for (unsigned i = parts; packed && i-- > 0;)
        if (!used_at(q->ring, q->size, true, (uint16_t)(q->next + i), 0, 0, &u))
            return -1;
    while (why == 0 && q->list.n < parts)
        if (!vs_dma_list_fill(&q->list))
            return -1;
    uint64_t first = 0;
    uint16_t csum_offset = 0;
    for (unsigned i = 0; i < parts; i++) {
        if (!used_at(q->ring, q->size, packed, q->next, q->next, (uint16_t)(q->next + 1), &u) ||
            u.id >= q->size || q->bufs[u.id] == NULL)
            return rx_broken(q, p, c);
        const uint8_t *header = q->bufs[u.id]->bytes + VS_DMA_HEADROOM - VIRTIO_HEADER;
        if (i == 0) {
            first = vs_net_hdr_load(header);
            csum_offset = vs_net_hdr_complete(first, header).csum_offset;
        }
        if (why == 0)
            why = take_part(q, p, &u, i == 0);
        post(q, packed, (uint16_t)u.id);
    }
    if (why != 0) {
        vs_nic_rx_bad(p, &q->nic->port, (enum vs_drop)why, c);
        return 0;
    }
    vs_nic_rx_pull(p);
    return finish(q, p, first, csum_offset, c);
}

/* One frame in one buffer. 1: it is in p; 0: dropped; -1: no buffer to post instead. */
VS_ALWAYS_INLINE int receive_single(struct vs_nic_rxq *q, bool packed, struct vs_packet *p,
                                    const struct used *u, uint64_t first, uint16_t csum_offset,
                                    struct vs_port_counters *c)
{
    if (VS_UNLIKELY(u->len < VIRTIO_HEADER || u->len > VIRTIO_RX_BYTES)) {
        post(q, packed, (uint16_t)u->id);
        vs_nic_rx_bad(p, &q->nic->port, VS_DROP_RX_DEVICE, c);
        return 0;
    }
    struct vs_dma_buf *b = vs_nic_rx_swap(q, (uint16_t)u->id);
    if (VS_UNLIKELY(b == NULL))
        return -1;
    post(q, packed, (uint16_t)u->id);
    vs_nic_rx_first(q, p, b, VS_DMA_HEADROOM, u->len - VIRTIO_HEADER);
    return finish(q, p, first, csum_offset, c);
}

/* The bytes that are looked at next but PREFETCH - 1. A packed ring's ids stay where they were posted, mostly; a wrong guess harms nobody. */
VS_ALWAYS_INLINE void prefetch(const struct vs_nic_rxq *q, bool packed, uint16_t seen)
{
    uint16_t position = (uint16_t)(q->next + PREFETCH), at = position & (uint16_t)(q->size - 1);
    uint32_t id = at;
    if (!packed) {
        if ((uint16_t)(seen - q->next) <= PREFETCH)
            return;
        id = *(volatile uint32_t *)&vs_virtio_used(q->ring, q->size)->ring[at].id & (q->size - 1u);
    }
    const uint8_t *bytes = q->bufs[id]->bytes + VS_DMA_HEADROOM;
    VS_PREFETCH(bytes - VIRTIO_HEADER);
    VS_PREFETCH(bytes);
}

VS_ALWAYS_INLINE int receive(struct vs_nic_rxq *q, struct vs_packet **pkts, int n, struct vs_port_counters *c,
                             bool packed)
{
    uint16_t before = q->next, seen = packed ? 0 : used_idx(q->ring, q->size);
    uint64_t bytes = 0;
    int got = 0;
    if (VS_UNLIKELY(q->own[RXQ_BROKEN] != 0))
        return 0;
    for (unsigned budget = q->size; budget > 0 && got < n && q->n_lent < VS_NIC_LENT - VS_MAX_SEGS;
         budget--) {
        struct vs_packet *p = pkts[got];
        struct used u;
        if (!used_at(q->ring, q->size, packed, q->next, q->next, seen, &u))
            break;
        if (VS_UNLIKELY(u.id >= q->size || q->bufs[u.id] == NULL)) {
            rx_broken(q, p, c);
            break;
        }
        prefetch(q, packed, seen);
        const uint8_t *header = q->bufs[u.id]->bytes + VS_DMA_HEADROOM - VIRTIO_HEADER;
        uint64_t first = vs_net_hdr_load(header);
        uint32_t second;
        memcpy(&second, header + sizeof first, sizeof second);
        __asm__ volatile("" ::: "memory");
        int rc;
        if (VS_LIKELY(second >> 16 == 1) || !(q->own[RXQ_WISHES] & WISH_MERGEABLE))
            rc = receive_single(q, packed, p, &u, first, (uint16_t)second, c);
        else
            rc = receive_merged(q, packed, p, second >> 16, seen, c);
        if (VS_UNLIKELY(rc < 0 || q->own[RXQ_BROKEN] != 0))
            break;
        if (VS_LIKELY(rc > 0)) {
            bytes += p->frame_len;
            got++;
        }
    }
    if (q->next != before)
        publish(q, packed);
    vs_port_rx_count(c, (uint64_t)got, bytes);
    return got;
}

int vs_virtio_rx_split(struct vs_nic_rxq *q, struct vs_packet **pkts, int n, struct vs_port_counters *c)
{
    return receive(q, pkts, n, c, false);
}

int vs_virtio_rx_packed(struct vs_nic_rxq *q, struct vs_packet **pkts, int n, struct vs_port_counters *c)
{
    return receive(q, pkts, n, c, true);
}

int vs_virtio_rx_pending(struct vs_nic_rxq *q)
{
    struct used u;
    bool packed = is_packed(q->nic);
    if (__atomic_load_n(&q->own[RXQ_BROKEN], __ATOMIC_RELAXED) != 0)
        return 0;
    uint16_t seen = packed ? 0 : used_idx(q->ring, q->size);
    return used_at(q->ring, q->size, packed, q->next, q->next, seen, &u);
}

void vs_virtio_irq_enable(struct vs_nic_rxq *q, bool on)
{
    if (is_packed(q->nic))
        *(volatile uint16_t *)&vs_virtio_driver_event(q->ring, q->size)->flags =
            on ? EVENT_F_ENABLE : EVENT_F_DISABLE;
    else
        *(volatile uint16_t *)&vs_virtio_avail(q->ring, q->size)->flags = on ? 0 : AVAIL_F_NO_INTERRUPT;
    if (on && q->nic->unmask_fd >= 0) /* INTx: its line falls when the ISR is read (4.1.4.5) */
        (void)vs_mmio_read8(vs_virtio_bar(q->nic, VIRTIO_ISR), q->nic->env.virtio[VIRTIO_ISR].offset);
}

/* ---- transmit ------------------------------------------------------------------------------------------------------ */

static inline struct vs_virtio_slot *slots_of(const struct vs_nic_txq *q)
{
    return (struct vs_virtio_slot *)(uintptr_t)q->own[TXQ_SLOTS];
}

int vs_virtio_tx_init(struct vs_nic_txq *q)
{
    struct vs_virtio_net *v = vs_virtio_of(q->nic);
    struct vs_virtio_slot *slots = calloc(q->size, sizeof *slots);
    if (slots == NULL)
        return vs_nic_fail(q->nic, ENOMEM, "out of memory");
    for (uint32_t i = 0; i < q->size; i++)
        slots[i].next = (uint16_t)((i + 1) % q->size);
    v->slots[q->index] = slots;
    q->own[TXQ_SLOTS] = (uintptr_t)slots;
    q->own[TXQ_FREE] = 0;
    q->own[TXQ_BROKEN] = 0;
    q->next = q->clean = 0;
    q->free = q->size;
    if (v->packed)
        vs_virtio_driver_event(q->ring, q->size)->flags = EVENT_F_DISABLE;
    else
        vs_virtio_avail(q->ring, q->size)->flags = AVAIL_F_NO_INTERRUPT;
    return 0;
}

/* Take back what the device is done with. */
VS_ALWAYS_INLINE void clean(struct vs_nic_txq *q, bool packed)
{
    struct vs_virtio_slot *slots = slots_of(q);
    uint16_t seen = packed ? 0 : used_idx(q->ring, q->size);
    struct used u;
    for (unsigned i = 0; i < q->size && q->own[TXQ_BROKEN] == 0; i++) {
        if (!used_at(q->ring, q->size, packed, q->clean, q->clean, seen, &u))
            break;
        if (VS_UNLIKELY(u.id >= q->size || q->bufs[u.id] == NULL)) {
            __atomic_store_n(&q->own[TXQ_BROKEN], 1, __ATOMIC_RELAXED);
            break;
        }
        struct vs_virtio_slot *s = &slots[u.id];
        vs_nic_tx_done(q, (uint16_t)u.id);
        slots[packed ? u.id : s->last].next = (uint16_t)q->own[TXQ_FREE];
        q->own[TXQ_FREE] = u.id;
        q->free = (uint16_t)(q->free + s->count);
        q->clean = (uint16_t)(q->clean + (packed ? s->count : 1));
    }
}

static void clean_split(struct vs_nic_txq *q)
{
    clean(q, false);
}

static void clean_packed(struct vs_nic_txq *q)
{
    clean(q, true);
}

static __attribute__((noinline)) struct vs_net_hdr wishes(const struct vs_packet *p)
{
    struct vs_net_hdr h = {0};
    if (p->csum == VS_CSUM_PARTIAL) {
        h.flags = VS_NET_HDR_NEEDS_CSUM;
        h.csum_start = p->csum_start;
        h.csum_offset = p->csum_offset;
    }
    if (p->gso_type != VS_GSO_NONE) {
        h.gso_type = p->gso_type;
        h.gso_size = p->gso_size;
        h.hdr_len = (uint16_t)vs_offload_header_len(p);
    }
    return h;
}

/* Write the header in front of the frame (5.1.6.2), where it becomes a part of the first piece. */
VS_ALWAYS_INLINE void put_header(const struct vs_nic_frame *f, const struct vs_packet *p)
{
    struct vs_net_hdr h = {0};
    if (VS_UNLIKELY(p != NULL && (p->csum == VS_CSUM_PARTIAL || p->gso_type != VS_GSO_NONE)))
        h = wishes(p);
    memcpy(f->owner->bytes + (f->frag[0].iova - f->owner->iova) - VIRTIO_HEADER, &h, sizeof h);
}

static void put_split(struct vs_nic_txq *q, const struct vs_nic_frame *f, const struct vs_packet *p)
{
    struct vs_virtio_slot *slots = slots_of(q);
    uint16_t first = (uint16_t)q->own[TXQ_FREE], id = first, last = first;
    put_header(f, p);
    for (uint32_t i = 0; i < f->n; i++) {
        uint64_t next = slots[id].next, flags = i + 1 < f->n ? DESC_F_NEXT : 0;
        uint32_t header = i == 0 ? VIRTIO_HEADER : 0;
        descs(q->ring)[id] = (struct vs_virtio_desc){
            .addr = f->frag[i].iova - header, .rest = (f->frag[i].len + header) | flags << 32 | next << 48};
        last = id;
        id = (uint16_t)next;
    }
    q->own[TXQ_FREE] = id;
    q->bufs[first] = f->owner;
    slots[first].last = last;
    slots[first].count = (uint16_t)f->n;
    vs_virtio_avail(q->ring, q->size)->ring[q->next++ & (q->size - 1)] = first;
    q->free = (uint16_t)(q->free - f->n);
}

static void put_packed(struct vs_nic_txq *q, const struct vs_nic_frame *f, const struct vs_packet *p)
{
    struct vs_virtio_slot *slots = slots_of(q);
    uint16_t id = (uint16_t)q->own[TXQ_FREE];
    put_header(f, p);
    q->own[TXQ_FREE] = slots[id].next;
    q->bufs[id] = f->owner;
    slots[id].count = (uint16_t)f->n;
    for (uint32_t i = f->n; i-- > 0;) { /* the first one last: with it all of them are available (2.8.21) */
        uint16_t position = (uint16_t)(q->next + i);
        uint64_t flags = vs_virtio_avail_flags(position, q->size);
        struct vs_virtio_desc *d = &descs(q->ring)[position & (q->size - 1)];
        if (i + 1 < f->n)
            flags |= DESC_F_NEXT;
        uint32_t header = i == 0 ? VIRTIO_HEADER : 0;
        d->addr = f->frag[i].iova - header;
        vs_dma_wmb();
        *(volatile uint64_t *)&d->rest = (f->frag[i].len + header) | (uint64_t)id << 32 | flags << 48;
    }
    q->next = (uint16_t)(q->next + f->n);
    q->free = (uint16_t)(q->free - f->n);
}

static void kick_split(struct vs_nic_txq *q)
{
    vs_dma_wmb();
    *(volatile uint16_t *)&vs_virtio_avail(q->ring, q->size)->idx = q->next;
    if (vs_virtio_wants_notify(q->ring, q->size, false))
        vs_virtio_notify(q->nic, q->doorbell, (uint16_t)(2 * q->index + 1));
}

static void kick_packed(struct vs_nic_txq *q)
{
    if (vs_virtio_wants_notify(q->ring, q->size, true))
        vs_virtio_notify(q->nic, q->doorbell, (uint16_t)(2 * q->index + 1));
}

void vs_virtio_tx_split(struct vs_nic_txq *q, struct vs_packet **pkts, int n, struct vs_port_counters *c)
{
    vs_nic_transmit(q, pkts, n, c, put_split, clean_split, kick_split);
}

void vs_virtio_tx_packed(struct vs_nic_txq *q, struct vs_packet **pkts, int n, struct vs_port_counters *c)
{
    vs_nic_transmit(q, pkts, n, c, put_packed, clean_packed, kick_packed);
}
