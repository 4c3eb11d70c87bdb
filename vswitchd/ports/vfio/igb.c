/* igb.c: Intel 82576, 82580, I350, I354, I210, I211 and their virtual functions: identities, receive, transmit; see igb.h.
 *
 * A descriptor has 16 bytes (7.1.5, 7.2.2). Of a received one a single word of 8 bytes says it all, so it is read once. Of those sent only the
 * last of a batch is asked to report (RS), which frees the whole batch. Offloads are told by a context descriptor (7.2.2.2), which
 * the device remembers until the next: one for each run of packets of the same kind.
 */
#include "igb.h"
#include "nic_rx.h"
#include "nic_tx.h"

#include <errno.h>

enum {
    AHEAD = 4, /* received packets whose first line is fetched ahead: some 150 cycles, a line from memory */
    MAX_PARTS = 8,       /* buffers of a frame: five hold the longest */
    MAX_L2 = 96,         /* where the walk over tags ends: MACLEN has 7 bits */
    IGB_MAX_IPLEN = 511, /* IPLEN has 9 */
};

/* ---- receive ------------------------------------------------------------------------------------------------------- */

static void rx_refill(struct vs_nic_rxq *q, uint16_t i)
{
    struct igb_rx_desc *d = (struct igb_rx_desc *)(void *)q->ring + i;
    d->data = q->bufs[i]->iova + VS_DMA_HEADROOM;
    d->word = 0;
}

static uint64_t rx_word(const struct vs_nic_rxq *q, uint16_t i)
{
    return __atomic_load_n(&((const struct igb_rx_desc *)(const void *)q->ring + i)->word, __ATOMIC_ACQUIRE);
}

/* A frame is complete in the packet: 1 when it is to be handed on. */
static int rx_check(struct vs_nic_rxq *q, struct vs_packet *p, bool whole, uint64_t word,
                    struct vs_port_counters *c)
{
    if (VS_UNLIKELY(!whole || (word & IGB_RX_BAD))) {
        vs_nic_rx_bad(p, &q->nic->port, VS_DROP_RX_DEVICE, c);
        return 0;
    }
    if (VS_UNLIKELY(p->frame_len < 14)) {
        vs_nic_rx_bad(p, &q->nic->port, VS_DROP_RX_RUNT, c);
        return 0;
    }
    /* own[1]: what a checked and right checksum looks like, or what nothing looks like. */
    if ((word & (IGB_RX_L4_CHECKED | IGB_RX_L4_BAD | IGB_RX_IP_BAD)) == q->own[1])
        p->csum = VS_CSUM_VALID;
    return 1;
}

/* More parts than any frame has: the buffers stay where they are. */
static void rx_skip(struct vs_nic_rxq *q, unsigned parts)
{
    for (; parts > 0; parts--) {
        rx_refill(q, q->next);
        q->next = vs_nic_after(q->next, q->size);
    }
}

/* A frame of several buffers begins at q->next. 1: it is in the packet, 0: it was dropped, -1: not all of it is there, or no buffers. */
static int rx_long(struct vs_nic_rxq *q, struct vs_packet *p, struct vs_port_counters *c)
{
    uint64_t word[MAX_PARTS];
    struct vs_dma_buf *fresh[MAX_PARTS];
    unsigned parts = 0;
    uint16_t at = q->next;
    for (;;) {
        word[parts] = rx_word(q, at);
        if (!(word[parts] & IGB_RX_DONE))
            return -1;
        if (word[parts++] & IGB_RX_END)
            break;
        if (parts == MAX_PARTS) {
            rx_skip(q, parts);
            vs_nic_rx_bad(p, &q->nic->port, VS_DROP_RX_OVERSIZE, c);
            return 0;
        }
        at = vs_nic_after(at, q->size);
    }
    for (unsigned i = 0; i < parts; i++) {
        fresh[i] = vs_dma_get(&q->list);
        if (fresh[i] == NULL) {
            while (i-- > 0)
                vs_dma_put(&q->list, fresh[i]);
            return -1;
        }
    }
    bool whole = true;
    for (unsigned i = 0; i < parts; i++) {
        struct vs_dma_buf *b = q->bufs[q->next];
        uint32_t len = (uint16_t)(word[i] >> IGB_RX_LEN_SHIFT);
        if (i == 0)
            whole = vs_nic_rx_first(q, p, b, VS_DMA_HEADROOM, len);
        else if (len == 0 || !whole)
            vs_nic_lend(q, b);
        else
            whole = vs_nic_rx_more(q, p, b, VS_DMA_HEADROOM, len);
        q->bufs[q->next] = fresh[i];
        rx_refill(q, q->next);
        q->next = vs_nic_after(q->next, q->size);
    }
    if (whole)
        vs_nic_rx_pull(p);
    return rx_check(q, p, whole, word[parts - 1], c);
}

static int igb_rx(struct vs_nic_rxq *q, struct vs_packet **pkts, int n, struct vs_port_counters *c)
{
    uint16_t before = q->next;
    uint64_t bytes = 0;
    int used = 0;
    /* Looks are bounded too: what a device marks as bad does not fill the batch. */
    for (unsigned looked = 0; used < n && looked < q->size && q->n_lent < VS_NIC_LENT - VS_MAX_SEGS;
         looked++) {
        uint16_t at = q->next;
        uint64_t word = rx_word(q, at);
        if (!(word & IGB_RX_DONE))
            break;
        struct vs_packet *p = pkts[used];
        int ok;
        if (VS_UNLIKELY(!(word & IGB_RX_END))) {
            ok = rx_long(q, p, c);
            if (ok < 0)
                break;
        } else {
            VS_PREFETCH(q->bufs[vs_nic_ahead(at, AHEAD, q->size)]->bytes + VS_DMA_HEADROOM);
            struct vs_dma_buf *b = vs_nic_rx_swap(q, at);
            if (VS_UNLIKELY(b == NULL))
                break;
            bool whole = vs_nic_rx_first(q, p, b, VS_DMA_HEADROOM, (uint16_t)(word >> IGB_RX_LEN_SHIFT));
            rx_refill(q, at);
            q->next = vs_nic_after(at, q->size);
            ok = rx_check(q, p, whole, word, c);
        }
        if (VS_LIKELY(ok)) {
            bytes += p->frame_len;
            used++;
        }
    }
    if (q->next != before)
        /* The tail is the first descriptor that is not the device's: the one before the next stays ours. */
        vs_mmio_write32(&q->nic->env.bars[0], q->doorbell, (q->next == 0 ? q->size : q->next) - 1u);
    vs_port_rx_count(c, (uint64_t)used, bytes);
    return used;
}

static int igb_rx_pending(struct vs_nic_rxq *q)
{
    return (rx_word(q, q->next) & IGB_RX_DONE) != 0;
}

/* ---- transmit ------------------------------------------------------------------------------------------------------
 * own[0]: first descriptor of the batch that is being written; own[1]: last data descriptor and its command;
 * own[2]: the context that the device remembers. */

static struct igb_tx_desc *tx_next(struct vs_nic_txq *q)
{
    struct igb_tx_desc *d = (struct igb_tx_desc *)(void *)q->ring + q->next;
    q->next = vs_nic_after(q->next, q->size);
    q->free--;
    return d;
}

/* Offset of the IP header, or 0. csum_start belongs to the outermost one: vs_offload_check. */
static uint32_t tx_ip_header(const struct vs_packet *p)
{
    uint32_t at = 12;
    uint16_t type = vs_get_be16(p->data + at);
    while ((type == 0x8100 || type == 0x88a8) && at < MAX_L2)
        type = vs_get_be16(p->data + (at += 4));
    at += 2;
    bool ip = (type == 0x0800 && at + 20 <= p->csum_start) || (type == 0x86dd && at + 40 <= p->csum_start);
    return ip ? at : 0;
}

/* TCP and UDP, with headers where the device's fields reach. QEMU's reads the headers itself and knows two tags. */
static bool able(const struct vs_nic *nic, const struct vs_packet *p)
{
    uint32_t l3 = p->csum == VS_CSUM_PARTIAL ? tx_ip_header(p) : 0;
    if (l3 == 0 || l3 > 14 + 8 || p->csum_start - l3 > IGB_MAX_IPLEN ||
        p->csum_start + (uint32_t)p->csum_offset + 2 > p->head_len)
        return false;
    uint32_t headers = vs_offload_header_len(p);
    return p->gso_type == VS_GSO_NONE ? p->csum_offset == 16 || p->csum_offset == 6
                                      : p->csum_offset == 16 && headers >= p->csum_start + 20u &&
                                            headers <= p->head_len && headers < p->frame_len;
}

/* 7.2.4.5: the field of a packet to be segmented holds the sum of the pseudo header without the length, the IP header's own sum is 0. */
static void tx_prepare_segments(const struct vs_packet *p, uint8_t *frame, uint32_t l3)
{
    bool v4 = frame[l3] >> 4 == 4;
    uint32_t sum = 6u + (v4 ? vs_csum(frame + l3 + 12, 8) : vs_csum(frame + l3 + 8, 32));
    vs_put_be16(frame + p->csum_start + 16, (uint16_t)((sum & 0xffff) + (sum >> 16)));
    if (v4)
        vs_put_be16(frame + l3 + 10, 0);
}

/* Tell the device what the headers are, unless it remembers. */
static void tx_context(struct vs_nic_txq *q, uint32_t lengths, uint32_t kind, uint32_t sizes)
{
    uint64_t context = (uint64_t)sizes << 32 | kind << 16 | lengths;
    if (q->own[2] == context)
        return;
    q->own[2] = context;
    *tx_next(q) = (struct igb_tx_desc){.data = lengths, .command = IGB_TX_CONTEXT | kind, .status = sizes};
}

/* What the packet asks for, 7.2.4: bits of the data descriptors. */
static uint32_t tx_offload(struct vs_nic_txq *q, const struct vs_nic_frame *f, const struct vs_packet *p,
                           uint32_t *command)
{
    uint32_t l3 = tx_ip_header(p);
    uint32_t lengths = l3 << IGB_TX_MACLEN_SHIFT | (p->csum_start - l3);
    uint32_t version = p->data[l3] >> 4 == 4 ? IGB_TX_IPV4 : 0;
    if (p->gso_type == VS_GSO_NONE) {
        tx_context(q, lengths, version | (p->csum_offset == 16 ? IGB_TX_TCP : 0), 0);
        return f->len << IGB_TX_PAYLEN_SHIFT | IGB_TX_FILL_L4;
    }
    uint32_t headers = vs_offload_header_len(p);
    tx_prepare_segments(p, vs_nic_frame_bytes(f, 0), l3);
    tx_context(q, lengths, version | IGB_TX_TCP,
               (uint32_t)p->gso_size << IGB_TX_MSS_SHIFT | (headers - p->csum_start) << IGB_TX_L4LEN_SHIFT);
    *command |= IGB_TX_SEGMENT;
    return (f->len - headers) << IGB_TX_PAYLEN_SHIFT | IGB_TX_FILL_L4 | (version != 0 ? IGB_TX_FILL_IP : 0);
}

VS_ALWAYS_INLINE void tx_put(struct vs_nic_txq *q, const struct vs_nic_frame *f, const struct vs_packet *p)
{
    uint32_t command = IGB_TX_DATA, status = f->len << IGB_TX_PAYLEN_SHIFT;
    if (VS_UNLIKELY(p != NULL && p->csum == VS_CSUM_PARTIAL))
        status = tx_offload(q, f, p, &command);
    uint16_t last = q->next;
    for (unsigned i = 0; i < f->n; i++) {
        uint64_t iova = f->frag[i].iova;
        uint32_t left = f->frag[i].len, part;
        do { /* more than once for big buffers only: at most five times */
            part = VS_MIN(left, (uint32_t)IGB_TX_PIECE);
            left -= part;
            last = q->next;
            q->own[1] = (uint64_t)last << 32 | command | part | (left == 0 && i + 1 == f->n ? IGB_TX_END : 0);
            *tx_next(q) =
                (struct igb_tx_desc){.data = iova, .command = (uint32_t)q->own[1], .status = status};
            iova += part;
        } while (left > 0);
    }
    q->bufs[last] = f->owner;
}

static void tx_clean(struct vs_nic_txq *q)
{
    const uint16_t *done = vs_igb_of(q->nic)->done[q->index];
    while (q->clean != (uint16_t)q->own[0]) {
        uint16_t last = done[q->clean];
        const struct igb_tx_desc *d = (const struct igb_tx_desc *)(const void *)q->ring + last;
        if (!(__atomic_load_n(&d->status, __ATOMIC_ACQUIRE) & IGB_TX_DONE))
            return;
        uint16_t end = vs_nic_after(last, q->size);
        while (q->clean != end) {
            vs_nic_tx_done(q, q->clean);
            q->clean = vs_nic_after(q->clean, q->size);
            q->free++;
        }
    }
}

static void tx_kick(struct vs_nic_txq *q)
{
    uint16_t last = (uint16_t)(q->own[1] >> 32);
    struct igb_tx_desc *d = (struct igb_tx_desc *)(void *)q->ring + last;
    d->command = (uint32_t)q->own[1] | IGB_TX_REPORT;
    vs_igb_of(q->nic)->done[q->index][(uint16_t)q->own[0]] = last;
    q->own[0] = q->next;
    vs_mmio_write32(&q->nic->env.bars[0], q->doorbell, q->next);
}

static void igb_tx(struct vs_nic_txq *q, struct vs_packet **pkts, int n, struct vs_port_counters *c)
{
    vs_nic_transmit(q, pkts, n, c, tx_put, tx_clean, tx_kick);
}

/* ---- identity ------------------------------------------------------------------------------------------------------ */

static const struct {
    uint16_t device, family, queues;
} kinds[] = {
    {0x10c9, IGB_82576, 8},   {0x10e6, IGB_82576, 8},    {0x10e7, IGB_82576, 8},    {0x10e8, IGB_82576, 8},
    {0x1526, IGB_82576, 8},   {0x150a, IGB_82576, 8},    {0x1518, IGB_82576, 8},    {0x150d, IGB_82576, 8},
    {0x150e, IGB_I350, 8},    {0x150f, IGB_I350, 8},     {0x1510, IGB_I350, 8},     {0x1511, IGB_I350, 8},
    {0x1516, IGB_I350, 8},    {0x1527, IGB_I350, 8},     {0x1521, IGB_I350, 8},     {0x1522, IGB_I350, 8},
    {0x1523, IGB_I350, 8},    {0x1524, IGB_I350, 8},     {0x1546, IGB_I350, 8},     {0x1f40, IGB_I350, 8},
    {0x1f41, IGB_I350, 8},    {0x1f45, IGB_I350, 8},     {0x1533, IGB_I210, 4},     {0x1536, IGB_I210, 4},
    {0x1537, IGB_I210, 4},    {0x1538, IGB_I210, 4},     {0x157b, IGB_I210, 4},     {0x157c, IGB_I210, 4},
    {0x1539, IGB_I210, 2},    {0x10ca, IGB_82576_VF, 2}, {0x152d, IGB_82576_VF, 2}, {0x1520, IGB_I350_VF, 1},
    {0x152f, IGB_I350_VF, 1},
};
/* The same devices: 82576, 82580, I350, I354, I210, I211, then the virtual functions. */
static const struct vs_nic_id ids[] = {
    {0x8086, 0x10c9}, {0x8086, 0x10e6}, {0x8086, 0x10e7}, {0x8086, 0x10e8}, {0x8086, 0x1526},
    {0x8086, 0x150a}, {0x8086, 0x1518}, {0x8086, 0x150d}, {0x8086, 0x150e}, {0x8086, 0x150f},
    {0x8086, 0x1510}, {0x8086, 0x1511}, {0x8086, 0x1516}, {0x8086, 0x1527}, {0x8086, 0x1521},
    {0x8086, 0x1522}, {0x8086, 0x1523}, {0x8086, 0x1524}, {0x8086, 0x1546}, {0x8086, 0x1f40},
    {0x8086, 0x1f41}, {0x8086, 0x1f45}, {0x8086, 0x1533}, {0x8086, 0x1536}, {0x8086, 0x1537},
    {0x8086, 0x1538}, {0x8086, 0x157b}, {0x8086, 0x157c}, {0x8086, 0x1539}, {0x8086, 0x10ca},
    {0x8086, 0x152d}, {0x8086, 0x1520}, {0x8086, 0x152f}, {0, 0},
};

static const struct igb_ops *ops(const struct igb *igb)
{
    return vs_igb_is_vf(igb) ? &vs_igb_vf_ops : &vs_igb_pf_ops;
}

/* ---- vtable -------------------------------------------------------------------------------------------------------- */

static int igb_probe(struct vs_nic *nic)
{
    struct igb *igb = vs_igb_of(nic);
    unsigned k = 0;
    while (k < sizeof kinds / sizeof kinds[0] && kinds[k].device != nic->env.device)
        k++;
    if (k == sizeof kinds / sizeof kinds[0])
        return vs_nic_fail(nic, ENODEV, "driver igb does not know device %04x", nic->env.device);
    igb->family = (enum igb_family)kinds[k].family;
    igb->ready = false;
    int rc = vs_nic_need_bar(nic, 0, vs_igb_is_vf(igb) ? IGB_VF_BAR : IGB_PF_BAR);
    if (rc == 0 && vs_igb_gone(igb))
        rc = vs_nic_fail(nic, ENODEV, "the device does not answer: all its registers read as ones");
    if (rc == 0)
        rc = ops(igb)->reset(igb);
    if (rc < 0)
        return rc;
    igb->ready = true;
    struct vs_nic_info *i = &nic->info;
    i->max_rxq = i->max_txq = kinds[k].queues;
    i->min_desc = IGB_MIN_DESC;
    i->max_desc = VS_NIC_MAX_DESC;
    i->desc_multiple = IGB_DESC_MULTIPLE;
    i->max_mtu = IGB_MAX_MTU;
    i->features = VS_NIC_F_RX_CSUM | VS_NIC_F_TX_CSUM | VS_NIC_F_TSO4 | VS_NIC_F_TSO6 | VS_NIC_F_ALLMULTI |
                  VS_NIC_F_SET_MAC | VS_NIC_F_LINK_IRQ;
    i->features |= vs_igb_is_vf(igb) ? VS_NIC_F_VF : VS_NIC_F_RSS | VS_NIC_F_PROMISC | VS_NIC_F_FLOW_CONTROL;
    return 0;
}

static size_t ring_bytes(const struct vs_nic *nic, uint16_t desc)
{
    return (size_t)desc * sizeof(struct igb_rx_desc);
}

static int igb_start(struct vs_nic *nic)
{
    struct igb *igb = vs_igb_of(nic);
    int rc = igb->ready ? 0 : ops(igb)->reset(igb);
    igb->ready = false;
    if (rc < 0)
        return rc;
    rc = ops(igb)->configure(igb);
    if (rc == -ETIMEDOUT) { /* a physical function that forgot us answers after a reset only */
        rc = ops(igb)->reset(igb);
        rc = rc == 0 ? ops(igb)->configure(igb) : rc;
    }
    if (rc == 0)
        rc = vs_igb_queues_start(igb);
    if (rc < 0)
        return rc;
    for (unsigned i = 0; i < nic->config.n_rxq; i++) {
        struct vs_nic_rxq *q = &nic->rxq[i];
        q->own[1] = nic->use & VS_NIC_F_RX_CSUM ? IGB_RX_L4_CHECKED : UINT64_MAX;
        vs_mmio_write32(&nic->env.bars[0], q->doorbell, q->size - 1u);
    }
    ops(igb)->run(igb);
    return 0;
}

static void igb_stop(struct vs_nic *nic)
{
    ops(vs_igb_of(nic))->stop(vs_igb_of(nic));
}

/* Causes that came while nobody slept are forgotten first, so that they wake nobody. Reading then brings in whatever the device wrote
 * before that, so that the caller's look at the ring misses nothing. */
static void igb_irq_enable(struct vs_nic_rxq *q, bool on)
{
    const struct igb *igb = vs_igb_of(q->nic);
    uint32_t bit = (uint32_t)q->own[0];
    bool own_vectors = bit != IGB_SHARED_VECTOR;
    if (on) {
        vs_igb_write(igb, own_vectors ? IGB_EICR : IGB_ICR, own_vectors ? bit : IGB_ICR_RXDW);
        vs_igb_write(igb, own_vectors ? IGB_EIMS : IGB_IMS, own_vectors ? bit : IGB_ICR_RXDW);
        vs_igb_read(igb, IGB_STATUS);
    } else if (q->nic->config.n_vectors > 1 || q->nic->config.n_rxq == 1) {
        /* Not where other queues share it: the cause stays until it is forgotten, and comes once. */
        vs_igb_write(igb, own_vectors ? IGB_EIMC : IGB_IMC, own_vectors ? bit : IGB_ICR_RXDW);
    }
}

static int igb_irq(struct vs_nic *nic)
{
    struct igb *igb = vs_igb_of(nic);
    if (vs_igb_gone(igb)) {
        vs_nic_fail(nic, ENODEV, "the device does not answer: all its registers read as ones");
        return VS_NIC_IRQ_DEAD;
    }
    return ops(igb)->irq(igb);
}

static void igb_link(struct vs_nic *nic, struct vs_nic_link *link)
{
    if (!vs_igb_gone(vs_igb_of(nic)))
        ops(vs_igb_of(nic))->link(vs_igb_of(nic), link);
}

static void igb_stats(struct vs_nic *nic, struct vs_nic_stats *stats)
{
    if (!vs_igb_gone(vs_igb_of(nic)))
        ops(vs_igb_of(nic))->stats(vs_igb_of(nic), stats);
}

static int igb_set_rx_mode(struct vs_nic *nic, uint32_t mode)
{
    return ops(vs_igb_of(nic))->set_rx_mode(vs_igb_of(nic), mode);
}

const struct vs_nic_driver vs_igb_driver = {.name = "igb",
                                            .ids = ids,
                                            .size = sizeof(struct igb),
                                            .probe = igb_probe,
                                            .rx_ring_bytes = ring_bytes,
                                            .tx_ring_bytes = ring_bytes,
                                            .start = igb_start,
                                            .stop = igb_stop,
                                            .rx = igb_rx,
                                            .tx = igb_tx,
                                            .able = able,
                                            .rx_pending = igb_rx_pending,
                                            .irq_enable = igb_irq_enable,
                                            .irq = igb_irq,
                                            .link = igb_link,
                                            .stats = igb_stats,
                                            .set_rx_mode = igb_set_rx_mode};
