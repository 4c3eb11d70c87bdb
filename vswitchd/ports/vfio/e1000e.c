/* e1000e.c: Intel 82574L and 82540EM: receive, transmit, interrupts; see e1000e.h. */
#include "e1000e.h"

#include <unistd.h>

#include "nic_rx.h"
#include "nic_tx.h"

enum {
    RX_PARTS = 9,  /* descriptors of one frame at most: 16 KB, what the devices take */
    RX_LOOK = 256, /* frames looked at in one turn, bad ones included */
    RX_AHEAD = 4,  /* frames whose bytes are on their way into the cache */
    RX_CUT = 0,    /* q->own: the rest of a frame without an end is being skipped */
    RX_TELL = 32,  /* buffers posted before the device hears of them: a register is dear */
    TX_OPEN = 0,   /* q->own of a transmit queue: first descriptor that the device has not heard of */
    TX_LAST = 1,   /* and the last word that was written */
    MIN_MSS = 64,  /* of what the device segments */
    NO_DROP = -1,  /* enum vs_drop starts at 0 */
    ETH_TAG = 0x8100,
    ETH_OUTER_TAG = 0x88a8,
};

/* ---- receive ---------------------------------------------------------------------------------------------------- */

struct part {
    uint32_t status, len;
};

VS_ALWAYS_INLINE struct part rx_read(const struct vs_nic_rxq *q, uint16_t i, bool legacy)
{
    const struct vs_e1000e_desc *d = (const struct vs_e1000e_desc *)(const void *)q->ring + i;
    uint64_t w = __atomic_load_n(&d->word, __ATOMIC_RELAXED); /* the device may write: once */
    if (legacy)
        return (struct part){.status = (uint32_t)(w >> 32 & 0xff) | (uint32_t)(w >> 40 & 0xff) << 24,
                             .len = (uint32_t)w & 0xffff};
    return (struct part){.status = (uint32_t)w, .len = (uint32_t)(w >> 32) & 0xffff};
}

/* Why a frame cannot be taken, or NO_DROP. */
static inline int rx_judge(const struct vs_nic *nic, uint32_t status, uint32_t len)
{
    if (VS_UNLIKELY(status & E1_RXD_ERRORS))
        return VS_DROP_RX_DEVICE;
    if (VS_UNLIKELY(len < 14))
        return VS_DROP_RX_RUNT;
    return VS_UNLIKELY(len > nic->max_frame) ? VS_DROP_RX_OVERSIZE : NO_DROP;
}

/* 7.1: the L4 checksum was looked at, and neither it nor that of IPv4 is wrong. */
static inline uint8_t rx_csum(uint32_t status)
{
    bool looked = (status & (E1_RXD_TCPCS | E1_RXD_UDPCS)) && !(status & E1_RXD_IXSM);
    return looked && !(status & (E1_RXD_TCPE | E1_RXD_IPE)) ? VS_CSUM_VALID : VS_CSUM_NONE;
}

/* Give the next n descriptors back as they are. */
static void rx_repost(struct vs_nic_rxq *q, unsigned n)
{
    for (; n > 0; n--) {
        vs_e1000e_post(q, q->next);
        q->next = vs_nic_after(q->next, q->size);
    }
}

/* Hand out a frame of n parts that all are there. All fresh buffers are taken first: -1 and nothing done when there are not as many. */
static int rx_chain(struct vs_nic_rxq *q, struct vs_packet *p, const struct part *parts, unsigned n,
                    struct vs_port_counters *c)
{
    struct vs_dma_buf *fresh[RX_PARTS];
    for (unsigned i = 0; i < n; i++) {
        fresh[i] = vs_dma_get(&q->list);
        if (fresh[i] == NULL) {
            while (i > 0)
                vs_dma_put(&q->list, fresh[--i]);
            return -1;
        }
    }
    bool ok = true;
    for (unsigned i = 0; i < n; i++) {
        struct vs_dma_buf *b = q->bufs[q->next];
        q->bufs[q->next] = fresh[i];
        ok &= i == 0 ? vs_nic_rx_first(q, p, b, VS_DMA_HEADROOM, parts[i].len)
                     : vs_nic_rx_more(q, p, b, VS_DMA_HEADROOM, parts[i].len);
        rx_repost(q, 1);
    }
    if (ok) {
        p->csum = rx_csum(parts[n - 1].status);
        return 1;
    }
    vs_nic_rx_bad(p, &q->nic->port, VS_DROP_RX_DEVICE, c);
    return 0;
}

/* A frame of several descriptors. 1: packet filled; 0: dropped, or a piece of one skipped; -1: wait for the rest. */
static int rx_several(struct vs_nic_rxq *q, struct vs_packet *p, struct vs_port_counters *c, bool legacy)
{
    struct part parts[RX_PARTS];
    uint32_t len = 0;
    unsigned n = 0;
    bool whole = false, full = true;
    for (; n < RX_PARTS && !whole; n++) {
        parts[n] = rx_read(q, vs_nic_ahead(q->next, (uint16_t)n, q->size), legacy);
        if (!(parts[n].status & E1_RXD_DD)) {
            if (!q->own[RX_CUT])
                return -1;
            break;
        }
        whole = (parts[n].status & E1_RXD_EOP) != 0;
        /* 7.1: every buffer but the last is filled. */
        full &= whole ? parts[n].len != 0 && parts[n].len <= q->buffer : parts[n].len == q->buffer;
        len += parts[n].len;
    }
    vs_dma_rmb();
    int why = NO_DROP;
    if (q->own[RX_CUT]) { /* counted when it began */
        q->own[RX_CUT] = !whole;
        rx_repost(q, n);
        return 0;
    }
    if (!whole) {
        q->own[RX_CUT] = 1;
        why = VS_DROP_RX_OVERSIZE;
    } else {
        why = full ? rx_judge(q->nic, parts[n - 1].status, len) : VS_DROP_RX_DEVICE;
    }
    if (why == NO_DROP)
        return rx_chain(q, p, parts, n, c);
    rx_repost(q, n);
    vs_nic_rx_bad(p, &q->nic->port, (enum vs_drop)why, c);
    return 0;
}

VS_ALWAYS_INLINE int receive(struct vs_nic_rxq *q, struct vs_packet **pkts, int n, struct vs_port_counters *c,
                             bool legacy)
{
    struct vs_nic *nic = q->nic;
    uint64_t bytes = 0;
    int used = 0, looked = 0;
    for (; used < n && looked < RX_LOOK && q->n_lent < VS_NIC_LENT - VS_MAX_SEGS; looked++) {
        struct part d = rx_read(q, q->next, legacy);
        if (!(d.status & E1_RXD_DD))
            break;
        vs_dma_rmb();
        struct vs_packet *p = pkts[used];
        if (VS_UNLIKELY(!(d.status & E1_RXD_EOP) || q->own[RX_CUT])) {
            int got = rx_several(q, p, c, legacy);
            if (got < 0)
                break;
            bytes += got ? p->frame_len : 0;
            used += got;
            continue;
        }
        int why = VS_UNLIKELY(d.len > q->buffer) ? VS_DROP_RX_DEVICE : rx_judge(nic, d.status, d.len);
        if (VS_UNLIKELY(why != NO_DROP)) {
            rx_repost(q, 1);
            vs_nic_rx_bad(p, &nic->port, (enum vs_drop)why, c);
            continue;
        }
        struct vs_dma_buf *b = vs_nic_rx_swap(q, q->next);
        if (VS_UNLIKELY(b == NULL))
            break;
        VS_PREFETCH(q->bufs[vs_nic_ahead(q->next, 2 * RX_AHEAD, q->size)]);
        VS_PREFETCH(q->bufs[vs_nic_ahead(q->next, RX_AHEAD, q->size)]->bytes + VS_DMA_HEADROOM);
        vs_e1000e_post(q, q->next);
        q->next = vs_nic_after(q->next, q->size);
        (void)vs_nic_rx_first(q, p, b, VS_DMA_HEADROOM, d.len); /* it fits: d.len <= q->buffer */
        p->csum = rx_csum(d.status);
        bytes += d.len;
        used++;
    }
    uint16_t untold = vs_nic_ahead(q->next, (uint16_t)(q->size - q->tail), q->size);
    if (untold >= VS_MIN((int)RX_TELL, q->size / 4)) {
        q->tail = q->next;
        /* the last descriptor that is ours to give */
        vs_e1000e_write(nic, q->doorbell, vs_nic_ahead(q->next, (uint16_t)(q->size - 1), q->size));
    }
    vs_port_rx_count(c, (uint64_t)used, bytes);
    return used;
}

static int rx(struct vs_nic_rxq *q, struct vs_packet **pkts, int n, struct vs_port_counters *c)
{
    return vs_e1000e_of(q->nic)->legacy ? receive(q, pkts, n, c, true) : receive(q, pkts, n, c, false);
}

static int rx_pending(struct vs_nic_rxq *q)
{
    return (rx_read(q, q->next, vs_e1000e_of(q->nic)->legacy).status & E1_RXD_DD) != 0;
}

/* ---- transmit --------------------------------------------------------------------------------------------------- */

/* Where the IP header of a packet with a partial checksum is, when it is one that all models of the device can finish: TCP or UDP right
 * behind IP without IPv6 extensions, and one tag, or 802.1ad's pair (QEMU looks at the headers itself). Else 0: software does it. */
static uint32_t find_ip(const struct vs_packet *p)
{
    if (p->head_len < 14 + 8)
        return 0;
    uint32_t l3 = 14;
    uint16_t type = vs_get_be16(p->data + 12);
    if (type == ETH_OUTER_TAG && vs_get_be16(p->data + 16) == ETH_TAG)
        l3 += 4;
    if (type == ETH_TAG || type == ETH_OUTER_TAG) {
        type = vs_get_be16(p->data + l3 + 2);
        l3 += 4;
    }
    const uint8_t *ip = p->data + l3;
    if (p->csum != VS_CSUM_PARTIAL || p->csum_start + p->csum_offset + 2 > p->head_len ||
        p->csum_start < l3 + (type == 0x0800 ? 20 : 40))
        return 0;
    uint8_t proto = type == 0x0800 ? ip[9] : ip[6];
    uint32_t end = l3 + (type == 0x0800 ? (ip[0] & 15) * 4u : 40);
    bool field = proto == 6 ? p->csum_offset == 16 : proto == 17 && p->csum_offset == 6;
    return (type == 0x0800 || type == 0x86dd) && end == p->csum_start && field ? l3 : 0;
}

static bool able(const struct vs_nic *nic, const struct vs_packet *p)
{
    if (find_ip(p) == 0)
        return false;
    return p->gso_type == VS_GSO_NONE ||
           (p->csum_offset == 16 && p->gso_size >= MIN_MSS && vs_offload_header_len(p) != 0 &&
            p->frame_len > vs_offload_header_len(p));
}

static inline void tx_desc(struct vs_nic_txq *q, uint64_t address, uint64_t word)
{
    struct vs_e1000e_desc *d = (struct vs_e1000e_desc *)(void *)q->ring + q->next;
    __atomic_store_n(&d->address, address, __ATOMIC_RELAXED);
    __atomic_store_n(&d->word, word, __ATOMIC_RELAXED);
    q->next = vs_nic_after(q->next, q->size);
    q->free--;
}

/* 7.2: lengths and the IP checksum are 0 and are filled in for each segment; the sum of the pseudo header is without the length. */
static void tx_blank(uint8_t *frame, const struct vs_packet *p, uint32_t l3, bool v4)
{
    vs_put_be16(frame + l3 + (v4 ? 2 : 4), 0);
    if (v4)
        vs_put_be16(frame + l3 + 10, 0);
    uint32_t sum = 6u + vs_csum(p->data + l3 + (v4 ? 12 : 8), v4 ? 8 : 32);
    vs_put_be16(frame + p->csum_start + p->csum_offset, (uint16_t)((sum & 0xffff) + (sum >> 16)));
}

/* Put the context descriptor (7.2) that the offloads of p need. Returns the fields that its data descriptors have more. */
static uint64_t tx_context(struct vs_nic_txq *q, const struct vs_nic_frame *f, const struct vs_packet *p)
{
    uint64_t l3 = find_ip(p), start = p->csum_start, popts = E1_TXP_TXSM, command = 0;
    uint64_t address = start << 32 | (start + p->csum_offset) << 40;
    uint64_t word = E1_TXD_DEXT | (p->csum_offset == 16 ? E1_TXC_TCP : 0);
    if (p->gso_type != VS_GSO_NONE) {
        bool v4 = p->data[l3] >> 4 == 4;
        uint64_t head = vs_offload_header_len(p);
        address |= l3 | (l3 + 10) << 8 | (v4 ? (start - 1) << 16 : 0);
        word |= (uint64_t)(E1_TXC_TSE | (v4 ? E1_TXC_IPV4 : 0)) | (f->len - head) | head << 40 |
                (uint64_t)p->gso_size << 48;
        popts |= v4 ? (uint64_t)E1_TXP_IXSM : 0;
        command = E1_TXD_TSE;
        tx_blank(vs_nic_frame_bytes(f, 0), p, (uint32_t)l3, v4);
    }
    tx_desc(q, address, word);
    return popts << 40 | command;
}

static void tx_put(struct vs_nic_txq *q, const struct vs_nic_frame *f, const struct vs_packet *p)
{
    uint64_t fields = E1_TXD_DEXT | E1_TXD_DATA | E1_TXD_IFCS;
    if (VS_UNLIKELY(p != NULL && p->csum == VS_CSUM_PARTIAL))
        fields |= tx_context(q, f, p);
    uint32_t more = 0;
    if (VS_UNLIKELY(f->len < E1_TX_LEAST && f->n == 1)) { /* buffers go on behind their data */
        more = E1_TX_LEAST - f->len;
        memset(vs_nic_frame_bytes(f, 0) + f->len, 0, more);
    }
    for (uint32_t i = 0; i < f->n; i++) {
        uint64_t address = f->frag[i].iova;
        uint32_t left = f->frag[i].len + more;
        while (left > E1_TX_PIECE) {
            tx_desc(q, address, fields | E1_TX_PIECE);
            address += E1_TX_PIECE;
            left -= E1_TX_PIECE;
        }
        if (i + 1 == f->n) {
            q->bufs[q->next] = f->owner;
            fields |= E1_TXD_EOP;
            q->own[TX_LAST] = fields | left;
        }
        tx_desc(q, address, fields | left);
    }
}

/* From batch to batch: only the last descriptor of each is asked. */
static void tx_clean(struct vs_nic_txq *q)
{
    const struct vs_e1000e_desc *ring = (const struct vs_e1000e_desc *)(const void *)q->ring;
    const uint16_t *ends = vs_e1000e_of(q->nic)->ends[q->index];
    while (q->clean != q->own[TX_OPEN]) {
        uint16_t last = ends[q->clean], end = vs_nic_after(last, q->size);
        if (!(__atomic_load_n(&ring[last].word, __ATOMIC_RELAXED) & E1_TXD_DONE))
            break;
        for (; q->clean != end; q->clean = vs_nic_after(q->clean, q->size)) {
            vs_nic_tx_done(q, q->clean);
            q->free++;
        }
    }
}

/* The last descriptor of a batch alone is to be reported: each report is a write of the device. */
static void tx_kick(struct vs_nic_txq *q)
{
    uint16_t last = vs_nic_ahead(q->next, (uint16_t)(q->size - 1), q->size);
    struct vs_e1000e_desc *d = (struct vs_e1000e_desc *)(void *)q->ring + last;
    if (q->next == q->own[TX_OPEN])
        return;
    __atomic_store_n(&d->word, q->own[TX_LAST] | E1_TXD_RS, __ATOMIC_RELAXED);
    vs_e1000e_of(q->nic)->ends[q->index][q->own[TX_OPEN]] = last;
    q->own[TX_OPEN] = q->next;
    vs_e1000e_write(q->nic, q->doorbell, q->next);
}

static void tx(struct vs_nic_txq *q, struct vs_packet **pkts, int n, struct vs_port_counters *c)
{
    vs_nic_transmit(q, pkts, n, c, tx_put, tx_clean, tx_kick);
}

/* ---- interrupts ------------------------------------------------------------------------------------------------- */

static void irq_enable(struct vs_nic_rxq *q, bool on)
{
    const struct vs_nic *nic = q->nic;
    uint32_t own = (uint32_t)E1_INT_RXQ0 << q->index;
    if (nic->config.n_vectors > 1) { /* what came before is no reason to wake: the caller looks */
        if (on)
            vs_e1000e_write(nic, E1_ICR, own);
        vs_e1000e_write(nic, on ? E1_IMS : E1_IMC, own);
        if (on) /* writes are posted: the caller looks at the ring after the device has them */
            (void)vs_e1000e_read(nic, E1_STATUS);
        return;
    }
    if (!on)
        vs_e1000e_write(nic, E1_IMC, E1_INT_RX | own);
    vs_e1000e_causes(nic); /* the line must go down before the kernel lets it through again */
    if (on) {
        vs_e1000e_write(nic, E1_IMS, E1_INT_RX | own);
        (void)vs_e1000e_read(nic, E1_STATUS);
    }
}

/* One vector for all: a cause that was meant for a sleeping core is handed on to it, and the kernel lets the next one through. */
static void irq_shared(const struct vs_nic *nic)
{
    const uint64_t one = 1;
    ssize_t done = 0;
    /* IMS after ICR: a core that arms in between is woken for nothing, not forgotten. */
    uint32_t causes = vs_e1000e_causes(nic), armed = vs_e1000e_read(nic, E1_IMS);
    if (causes & armed & (E1_INT_RX | E1_INT_RXQ0) && nic->rxq[0].fd >= 0)
        done = write(nic->rxq[0].fd, &one, sizeof one);
    if (nic->unmask_fd >= 0)
        done = write(nic->unmask_fd, &one, sizeof one);
    (void)done; /* full: it is readable */
}

static int irq(struct vs_nic *nic)
{
    struct vs_e1000e *e = vs_e1000e_of(nic);
    if (nic->config.n_vectors > 1) {
        /* EIAC masked it when it came. ICR is not read: that would take the causes of the cores. */
        vs_e1000e_write(nic, E1_ICR, E1_INT_OTHERS);
        vs_e1000e_write(nic, E1_IMS, E1_INT_OTHER | E1_INT_LSC);
    } else if (nic->config.n_vectors == 1) {
        irq_shared(nic);
    }
    uint32_t status = vs_e1000e_read(nic, E1_STATUS), before = e->seen;
    if (status == UINT32_MAX)
        return VS_NIC_IRQ_DEAD;
    e->seen = status;
    return (status ^ before) & (E1_STATUS_LU | E1_STATUS_FD | 3 << E1_STATUS_SPEED_SHIFT) ? VS_NIC_IRQ_LINK
                                                                                          : 0;
}

/* ---- the driver -------------------------------------------------------------------------------------------------- */

static size_t ring_bytes(const struct vs_nic *nic, uint16_t desc)
{
    return desc * sizeof(struct vs_e1000e_desc);
}

static const struct vs_nic_id ids[] = {
    {0x8086, 0x10d3}, /* 82574L */
    {0x8086, 0x10f6}, /* 82574LA */
    {0x8086, 0x150c}, /* 82583V */
    {0x8086, 0x100e}, /* 82540EM */
    {0x8086, 0x100f}, /* 82545EM */
    {0, 0},
};

const struct vs_nic_driver vs_e1000e_driver = {
    .name = "e1000e",
    .ids = ids,
    .size = sizeof(struct vs_e1000e),
    .probe = vs_e1000e_probe,
    .rx_ring_bytes = ring_bytes,
    .tx_ring_bytes = ring_bytes,
    .start = vs_e1000e_start,
    .stop = vs_e1000e_stop,
    .rx = rx,
    .tx = tx,
    .able = able,
    .rx_pending = rx_pending,
    .irq_enable = irq_enable,
    .irq = irq,
    .link = vs_e1000e_link,
    .stats = vs_e1000e_stats,
    .set_rx_mode = vs_e1000e_set_rx_mode,
};
