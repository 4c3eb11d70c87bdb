/* ixgbe.c: the 82599 and its kin: probe, receive, transmit, link, counters; see ixgbe.h. Start and stop: ixgbe_start.c. */
#include "ixgbe.h"

#include <errno.h>

#include "nic_rx.h"
#include "nic_tx.h"

enum {
    PARTS = 8,      /* buffers of one frame at most: MAXFRS lets five through */
    AHEAD = 4,      /* packets whose data is fetched in advance */
    TX_GROUP = 32,  /* descriptors that share a "done" */
    TCP_FIELD = 16, /* offset of the checksum in the header */
    UDP_FIELD = 6,
};

/* Transmit queue, own[]: first descriptor of the group under way; the context that the device has, two halves of a descriptor (0: none).
 * own_more[]: second half of the last descriptor written; what the tail register was told. */
enum { OPEN, CONTEXT, CONTEXT2 };
enum { LAST, TOLD };

#define COMMAND ((uint32_t)(IXGBE_TX_DATA | IXGBE_TX_DEXT | IXGBE_TX_IFCS))

static uint64_t *desc_of(uint8_t *ring, uint16_t i)
{
    return (uint64_t *)(void *)(ring + (size_t)i * 16);
}

static uint64_t load(const uint64_t *at)
{
    return *(const volatile uint64_t *)at; /* the device writes there: one read, in one piece */
}

static void store(uint64_t *at, uint64_t first, uint64_t second)
{
    ((volatile uint64_t *)at)[0] = first;
    ((volatile uint64_t *)at)[1] = second;
}

/* ---- receive --------------------------------------------------------------------------------------------------------- */

/* Read the second halves of the descriptors of the frame at q->next: how many, or 0 when it is not all there. PARTS without an end: the
 * device says what cannot be. */
static unsigned frame_parts(const struct vs_nic_rxq *q, uint64_t first, uint64_t *parts)
{
    uint16_t at = q->next;
    parts[0] = first;
    for (unsigned n = 1; n < PARTS; n++) {
        if (parts[n - 1] & IXGBE_RX_EOP)
            return n;
        at = vs_nic_after(at, q->size);
        parts[n] = load(desc_of(q->ring, at) + 1);
        if (!(parts[n] & IXGBE_RX_DD))
            return 0;
    }
    return PARTS;
}

/* Are there fresh buffers for so many descriptors? */
static bool have_buffers(struct vs_nic_rxq *q, unsigned n)
{
    return VS_LIKELY(q->list.n >= n) || (vs_dma_list_fill(&q->list) && q->list.n >= n);
}

/* One descriptor: its buffer goes to the packet, a fresh one comes in its place. False: it cannot be as the device says. */
static inline bool take_part(struct vs_nic_rxq *q, struct vs_packet *p, uint64_t part, bool first)
{
    uint32_t len = (uint32_t)(part >> IXGBE_RX_LEN_SHIFT) & 0xffff;
    uint16_t at = q->next;
    struct vs_dma_buf *b = vs_nic_rx_swap(q, at);
    bool ok = first ? vs_nic_rx_first(q, p, b, VS_DMA_HEADROOM, len)
                    : vs_nic_rx_more(q, p, b, VS_DMA_HEADROOM, len);
    store(desc_of(q->ring, at), q->bufs[at]->iova + VS_DMA_HEADROOM, 0);
    q->next = vs_nic_after(at, q->size);
    return ok && len != 0 && len <= VS_DMA_DATA;
}

/* The whole frame. What is wrong with it, as enum vs_drop, or -1. */
static int take_frame(struct vs_nic_rxq *q, struct vs_packet *p, const uint64_t *parts, unsigned n)
{
    bool ok = take_part(q, p, parts[0], true);
    for (unsigned i = 1; i < n; i++)
        ok &= take_part(q, p, parts[i], false);
    uint64_t end = parts[n - 1];
    if (VS_UNLIKELY(!(end & IXGBE_RX_EOP)))
        return VS_DROP_RX_OVERSIZE;
    if (VS_UNLIKELY(!ok || (end & IXGBE_RX_RXE)))
        return VS_DROP_RX_DEVICE;
    if (VS_UNLIKELY(p->frame_len < 14))
        return VS_DROP_RX_RUNT;
    vs_nic_rx_pull(p);
    return -1;
}

static int ixgbe_rx(struct vs_nic_rxq *q, struct vs_packet **pkts, int n, struct vs_port_counters *c)
{
    struct vs_nic *nic = q->nic;
    bool sums = nic->use & VS_NIC_F_RX_CSUM;
    uint16_t before = q->next;
    uint64_t bytes = 0;
    int used = 0;
    while (used < n && q->n_lent < VS_NIC_LENT - PARTS) {
        uint64_t parts[PARTS], first = load(desc_of(q->ring, q->next) + 1);
        if (!(first & IXGBE_RX_DD))
            break;
        vs_dma_rmb();
        unsigned k = VS_LIKELY(first & IXGBE_RX_EOP) ? 1 : frame_parts(q, first, parts);
        if (VS_UNLIKELY(k == 0 || !have_buffers(q, k)))
            break;
        vs_dma_rmb();
        parts[0] = first;
        uint32_t ahead = q->next + (uint32_t)AHEAD;
        const uint8_t *soon = vs_dma_data(q->bufs[ahead < q->size ? ahead : ahead - q->size]);
        VS_PREFETCH(soon);
        VS_PREFETCH(soon + 64);
        struct vs_packet *p = pkts[used];
        int bad = take_frame(q, p, parts, k);
        if (VS_UNLIKELY(bad >= 0)) {
            vs_nic_rx_bad(p, &nic->port, (enum vs_drop)bad, c);
            continue;
        }
        /* 7.1.11: of L4CS and its error bits, in the last descriptor. */
        if (sums && (parts[k - 1] & (IXGBE_RX_L4CS | IXGBE_RX_L4E | IXGBE_RX_IPE)) == IXGBE_RX_L4CS)
            p->csum = VS_CSUM_VALID;
        bytes += p->frame_len;
        used++;
    }
    if (q->next != before) /* the tail stays one behind: what is between tail and head is ours */
        vs_mmio_write32(ixgbe_bar(nic), q->doorbell, q->next == 0 ? q->size - 1u : q->next - 1u);
    vs_port_rx_count(c, (uint64_t)used, bytes);
    return used;
}

static int ixgbe_rx_pending(struct vs_nic_rxq *q)
{
    return (load(desc_of(q->ring, q->next) + 1) & IXGBE_RX_DD) != 0;
}

/* 7.3.1.4: what happened while we polled is forgotten; the common code looks at the ring after this. */
static void ixgbe_irq_enable(struct vs_nic_rxq *q, bool on)
{
    uint32_t bit = 1u << q->index;
    if (on)
        ixgbe_write(q->nic, IXGBE_EICR, bit);
    ixgbe_write(q->nic, on ? IXGBE_EIMS : IXGBE_EIMC, bit);
    if (on) /* writes are posted: the caller looks at the ring after the device has them */
        (void)ixgbe_read(q->nic, IXGBE_STATUS);
}

/* ---- transmit -------------------------------------------------------------------------------------------------------- */

static void write_tx(struct vs_nic_txq *q, uint64_t first, uint64_t second)
{
    store(desc_of(q->ring, q->next), first, second);
    q->next = vs_nic_after(q->next, q->size);
    q->free--;
}

/* 7.2.3.2.3: MACLEN, IPLEN, L4LEN, MSS. The device keeps it until another comes. */
static void put_context(struct vs_nic_txq *q, uint64_t lengths, uint64_t rest)
{
    if (q->own[CONTEXT] == lengths && q->own[CONTEXT2] == rest)
        return;
    q->own[CONTEXT] = lengths;
    q->own[CONTEXT2] = rest;
    write_tx(q, lengths, rest);
}

/* 7.2.4: IP's length and checksum are 0, TCP's checksum is the pseudo header's without the length. */
static void prepare_segmentation(const struct vs_nic_frame *f, const struct vs_packet *p, uint32_t l3,
                                 bool v4)
{
    uint8_t *ip = vs_nic_frame_bytes(f, 0) + l3,
            *field = vs_nic_frame_bytes(f, 0) + p->csum_start + TCP_FIELD;
    uint32_t len = f->len - p->csum_start;
    vs_put_be16(ip + (v4 ? 2 : 4), 0);
    if (v4)
        vs_put_be16(ip + 10, 0);
    uint32_t sum = vs_get_be16(field) + (~((len & 0xffff) + (len >> 16)) & 0xffff);
    vs_put_be16(field, (uint16_t)((sum & 0xffff) + (sum >> 16)));
}

/* Where the IP header begins: behind the VLAN tags. *type: what it is. */
static uint32_t find_l3(const struct vs_packet *p, uint16_t *type)
{
    uint32_t l3 = 14;
    *type = vs_get_be16(p->data + 12);
    for (; (*type == 0x8100 || *type == 0x88a8) && l3 + 4 <= p->head_len; l3 += 4)
        *type = vs_get_be16(p->data + l3 + 2);
    return l3;
}

/* TCP and UDP at offsets that the device has fields for. */
static bool able(const struct vs_nic *nic, const struct vs_packet *p)
{
    uint16_t type;
    uint32_t l3 = find_l3(p, &type);
    return p->csum == VS_CSUM_PARTIAL && p->csum_start >= l3 && l3 <= IXGBE_MAX_MACLEN &&
           p->csum_start - l3 <= IXGBE_MAX_IPLEN &&
           (p->csum_offset == TCP_FIELD || p->csum_offset == UDP_FIELD) &&
           p->csum_start + (uint32_t)p->csum_offset + 2 <= p->head_len;
}

/* Tell the device what to do with the frame: a context, and for the data descriptors the bits of *command. Returns their fourth word. */
static uint32_t put_offload(struct vs_nic_txq *q, const struct vs_nic_frame *f, const struct vs_packet *p,
                            uint32_t l3, bool v4, uint32_t *command)
{
    uint32_t hdr_len = vs_offload_header_len(p), paylen = f->len;
    uint32_t iplen = p->csum_start - l3, todo = IXGBE_TX_TXSM;
    bool tcp = p->csum_offset == TCP_FIELD;
    uint32_t kind = IXGBE_TX_CONTEXT | IXGBE_TX_DEXT | (v4 ? IXGBE_CTX_IPV4 : 0) | (tcp ? IXGBE_CTX_TCP : 0);
    uint64_t sizes = 0;
    if (hdr_len != 0 && hdr_len < paylen) {
        prepare_segmentation(f, p, l3, v4);
        sizes = (hdr_len - p->csum_start) << IXGBE_CTX_L4LEN_SHIFT;
        sizes |= (uint32_t)p->gso_size << IXGBE_CTX_MSS_SHIFT;
        paylen -= hdr_len;
        todo |= v4 ? IXGBE_TX_IXSM : 0;
        *command |= IXGBE_TX_TSE;
    }
    put_context(q, (uint64_t)l3 << IXGBE_CTX_MACLEN_SHIFT | iplen, kind | sizes << 32);
    return todo | paylen << IXGBE_TX_PAYLEN_SHIFT;
}

/* 7.2.1: fewer bytes than the MAC pads: put together in the first buffer, which has room for them, with zeros behind. */
static void pad(struct vs_nic_frame *f)
{
    uint8_t *to = vs_nic_frame_bytes(f, 0);
    uint32_t len = f->frag[0].len;
    for (uint32_t i = 1; i < f->n; len += f->frag[i++].len)
        memcpy(to + len, vs_nic_frame_bytes(f, i), f->frag[i].len);
    memset(to + len, 0, IXGBE_TX_LEAST - len);
    f->n = 1;
    f->len = f->frag[0].len = IXGBE_TX_LEAST;
}

/* The descriptors since q->own[OPEN] become a group: the last of them says when all are done. */
static void close_group(struct vs_nic_txq *q)
{
    struct ixgbe *d = (struct ixgbe *)q->nic;
    uint16_t first = (uint16_t)q->own[OPEN], last = (uint16_t)((q->next == 0 ? q->size : q->next) - 1);
    *(volatile uint64_t *)(desc_of(q->ring, last) + 1) = q->own_more[LAST] | IXGBE_TX_RS;
    d->last[q->index][first] = last;
    q->own[OPEN] = q->next;
}

/* The data descriptors of a frame. `fourth`: their fourth word. */
VS_ALWAYS_INLINE void put_data(struct vs_nic_txq *q, const struct vs_nic_frame *f, uint64_t fourth,
                               uint32_t command)
{
    for (uint32_t i = 0;; i++) {
        uint64_t iova = f->frag[i].iova;
        uint32_t len = f->frag[i].len;
        for (; VS_UNLIKELY(len > IXGBE_TX_PIECE); len -= IXGBE_TX_PIECE, iova += IXGBE_TX_PIECE)
            write_tx(q, iova, fourth << 32 | command | IXGBE_TX_PIECE);
        if (i + 1 == f->n) {
            q->own_more[LAST] = fourth << 32 | command | IXGBE_TX_EOP | len;
            q->bufs[q->next] = f->owner;
            write_tx(q, iova, q->own_more[LAST]);
            break;
        }
        write_tx(q, iova, fourth << 32 | command | len);
    }
    uint32_t open = q->next + (uint32_t)q->size - (uint32_t)q->own[OPEN];
    if ((open >= q->size ? open - q->size : open) >= TX_GROUP)
        close_group(q);
}

/* A frame with something to be done, or too short. */
static void put_special(struct vs_nic_txq *q, const struct vs_nic_frame *f, const struct vs_packet *p)
{
    struct vs_nic_frame mine = *f;
    uint32_t command = COMMAND, fourth;
    if (mine.len < IXGBE_TX_LEAST)
        pad(&mine);
    fourth = mine.len << IXGBE_TX_PAYLEN_SHIFT;
    if (p != NULL && p->csum == VS_CSUM_PARTIAL) {
        uint16_t type;
        uint32_t l3 = find_l3(p, &type);
        fourth = put_offload(q, &mine, p, l3, type == 0x0800, &command);
    }
    put_data(q, &mine, fourth, command);
}

VS_ALWAYS_INLINE void put(struct vs_nic_txq *q, const struct vs_nic_frame *f, const struct vs_packet *p)
{
    if (VS_UNLIKELY(f->len < IXGBE_TX_LEAST || (p != NULL && p->csum == VS_CSUM_PARTIAL)))
        put_special(q, f, p);
    else
        put_data(q, f, f->len << IXGBE_TX_PAYLEN_SHIFT, COMMAND);
}

static void kick(struct vs_nic_txq *q)
{
    if (q->next == q->own_more[TOLD])
        return;
    if (q->next != q->own[OPEN])
        close_group(q);
    q->own_more[TOLD] = q->next;
    vs_mmio_write32(ixgbe_bar(q->nic), q->doorbell, q->next);
}

static void clean(struct vs_nic_txq *q)
{
    const struct ixgbe *d = (const struct ixgbe *)q->nic;
    if (q->free < VS_NIC_TX_ROOM)
        kick(q); /* packets that became many: the device has not heard of them yet */
    while (q->clean != q->own[OPEN]) {
        uint16_t last = d->last[q->index][q->clean];
        if (!(load(desc_of(q->ring, last) + 1) >> 32 & IXGBE_TX_DD))
            break;
        uint16_t i = q->clean, end = vs_nic_after(last, q->size);
        do {
            vs_nic_tx_done(q, i);
            q->free++;
            i = vs_nic_after(i, q->size);
        } while (i != end);
        q->clean = end;
    }
}

static void ixgbe_tx(struct vs_nic_txq *q, struct vs_packet **pkts, int n, struct vs_port_counters *c)
{
    vs_nic_transmit(q, pkts, n, c, put, clean, kick);
    kick(q); /* also when the ring went round exactly; does nothing when all was told */
}

/* ---- control ----------------------------------------------------------------------------------------------------------- */

static int ixgbe_irq(struct vs_nic *nic)
{
    uint32_t cause = ixgbe_read(nic, IXGBE_EICR);
    if (cause == UINT32_MAX && ixgbe_read(nic, IXGBE_STATUS) == UINT32_MAX) {
        (void)vs_nic_fail(nic, ENODEV, "the device does not answer: its registers read all ones");
        return VS_NIC_IRQ_DEAD;
    }
    ixgbe_write(nic, IXGBE_EICR, cause & IXGBE_INT_OTHERS);
    if (cause & IXGBE_INT_ECC) { /* 8.2.3.5.1: only a reset helps */
        (void)vs_nic_fail(nic, EIO, "the device reports an error of its packet memory");
        return VS_NIC_IRQ_DEAD;
    }
    return cause & IXGBE_INT_LSC ? VS_NIC_IRQ_LINK : 0;
}

static void ixgbe_link(struct vs_nic *nic, struct vs_nic_link *link)
{
    const struct ixgbe *d = (const struct ixgbe *)nic;
    static const uint32_t speeds[2][4] = {{0, 100, 1000, 10000}, {0, 5000, 0, 2500}};
    (void)ixgbe_read(nic, IXGBE_LINKS); /* the first read may tell of the past */
    uint32_t links = ixgbe_read(nic, IXGBE_LINKS);
    if (links == UINT32_MAX || !(links & IXGBE_LINKS_UP))
        return;
    bool odd = d->x550 && (links & IXGBE_LINKS_NON_STD);
    link->up = 1;
    link->full_duplex = 1; /* there is no other */
    link->speed_mbps = speeds[odd][links >> IXGBE_LINKS_SPEED_SHIFT & 3];
    link->pause = nic->config.flow_control & (VS_NIC_PAUSE_RX | VS_NIC_PAUSE_TX);
}

static uint64_t sum(const struct vs_nic *nic, const uint16_t *regs, unsigned n)
{
    uint64_t total = 0;
    for (unsigned i = 0; i < n; i++)
        total += ixgbe_read(nic, regs[i]);
    return total;
}

static uint64_t wide(const struct vs_nic *nic, uint32_t reg)
{
    uint64_t low = ixgbe_read(nic, reg);
    return low | (uint64_t)(ixgbe_read(nic, reg + 4) & 15) << 32;
}

/* 8.2.3.23. All queues are counted in QPRDC 0, where RQSMR puts them after a reset. */
static void ixgbe_stats(struct vs_nic *nic, struct vs_nic_stats *s)
{
    static const uint16_t missed[] = {IXGBE_RXMPC, IXGBE_QPRDC};
    static const uint16_t lengths[] = {IXGBE_RLEC, IXGBE_RUC, IXGBE_RFC, IXGBE_ROC, IXGBE_RJC};
    static const uint16_t errors[] = {IXGBE_ILLERRC, IXGBE_ERRBC, IXGBE_MLFC, IXGBE_MRFC};
    static const uint16_t rx_pause[] = {IXGBE_LXONRXC, IXGBE_LXOFFRXC};
    static const uint16_t tx_pause[] = {IXGBE_LXONTXC, IXGBE_LXOFFTXC};
    if (ixgbe_read(nic, IXGBE_STATUS) == UINT32_MAX)
        return; /* gone: no counters any more */
    uint64_t crc = ixgbe_read(nic, IXGBE_CRCERRS), length = sum(nic, lengths, 5);
    s->rx_packets += ixgbe_read(nic, IXGBE_GPRC);
    s->rx_bytes += wide(nic, IXGBE_GORC);
    s->tx_packets += ixgbe_read(nic, IXGBE_GPTC);
    s->tx_bytes += wide(nic, IXGBE_GOTC);
    s->rx_missed += sum(nic, missed, 2);
    s->rx_crc += crc;
    s->rx_length += length;
    s->rx_errors += crc + length + sum(nic, errors, 4);
    s->rx_pause += sum(nic, rx_pause, 2);
    s->tx_pause += sum(nic, tx_pause, 2);
    s->rx_multicast += ixgbe_read(nic, IXGBE_MPRC);
    s->rx_broadcast += ixgbe_read(nic, IXGBE_BPRC);
}

static size_t ring_bytes(const struct vs_nic *nic, uint16_t desc)
{
    (void)nic;
    return (size_t)desc * 16;
}

static int ixgbe_probe(struct vs_nic *nic)
{
    struct ixgbe *d = (struct ixgbe *)nic;
    uint16_t id = nic->env.device;
    int rc = vs_nic_need_bar(nic, 0, IXGBE_BAR_BYTES);
    d->x550 = id == 0x1563 || id == 0x15d1;
    d->x540 = d->x550 || id == 0x1528 || id == 0x1560;
    if (rc == 0)
        rc = ixgbe_reset(nic);
    if (rc < 0)
        return rc;
    /* 4.6.3.2: the address that the EEPROM has stands there after a reset. */
    uint32_t low = ixgbe_read(nic, IXGBE_RAL), high = ixgbe_read(nic, IXGBE_RAH);
    struct vs_nic_info info = {
        .mac = {(uint8_t)low, (uint8_t)(low >> 8), (uint8_t)(low >> 16), (uint8_t)(low >> 24), (uint8_t)high,
                (uint8_t)(high >> 8)},
        .max_rxq = 16, /* 7.1.2.8: a redirection entry has four bits */
        .max_txq = VS_NIC_QUEUES,
        .min_desc = 64,
        .max_desc = VS_NIC_MAX_DESC,
        .desc_multiple = 8, /* 8.2.3.8.3: 128 bytes */
        .max_mtu = IXGBE_MAX_FRAME - 4 - 22,
        .features = VS_NIC_F_RX_CSUM | VS_NIC_F_TX_CSUM | VS_NIC_F_TSO4 | VS_NIC_F_TSO6 | VS_NIC_F_RSS |
                    VS_NIC_F_PROMISC | VS_NIC_F_ALLMULTI | VS_NIC_F_SET_MAC | VS_NIC_F_FLOW_CONTROL |
                    VS_NIC_F_LINK_IRQ,
    };
    nic->info = info;
    return 0;
}

/* Left out: X550EM (other PHYs, which the driver would have to speak with), the 82599's QSFP and LS boards (the same), virtual functions. */
static const struct vs_nic_id ids[] = {
    {0x8086, 0x10f7}, {0x8086, 0x10f8}, {0x8086, 0x10f9}, {0x8086, 0x10fb}, {0x8086, 0x10fc},
    {0x8086, 0x1507}, {0x8086, 0x1514}, {0x8086, 0x1517}, {0x8086, 0x1529}, {0x8086, 0x152a},
    {0x8086, 0x154a}, {0x8086, 0x154d}, {0x8086, 0x1557}, /* 82599, X520 */
    {0x8086, 0x1528}, {0x8086, 0x1560},                   /* X540 */
    {0x8086, 0x1563}, {0x8086, 0x15d1},                   /* X550 */
    {0, 0},
};

const struct vs_nic_driver vs_ixgbe_driver = {
    .name = "ixgbe",
    .ids = ids,
    .size = sizeof(struct ixgbe),
    .probe = ixgbe_probe,
    .rx_ring_bytes = ring_bytes,
    .tx_ring_bytes = ring_bytes,
    .start = ixgbe_start,
    .stop = ixgbe_stop,
    .rx = ixgbe_rx,
    .tx = ixgbe_tx,
    .able = able,
    .rx_pending = ixgbe_rx_pending,
    .irq_enable = ixgbe_irq_enable,
    .irq = ixgbe_irq,
    .link = ixgbe_link,
    .stats = ixgbe_stats,
    .set_rx_mode = ixgbe_set_rx_mode,
};
