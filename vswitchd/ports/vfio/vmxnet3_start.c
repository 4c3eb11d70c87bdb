/* vmxnet3_start.c: what the control thread does with a vmxnet3: probe, start, stop, link, events, counters; see vmxnet3.h.
 *
 * A command that makes the device read the shared area is given only while there is one: from DSAH until reset. (QEMU's model reads at
 * address 0 otherwise, which the IOMMU answers with a fault; DPDK's driver lives with that.)
 */
#include "vmxnet3.h"

#include <errno.h>

enum {
    SHARED_RSS = 768 + 256 * 2 * VMX_QUEUES,
    SHARED_SIZE = SHARED_RSS + sizeof(struct vmx_rss),
    FEATURES = VS_NIC_F_RX_CSUM | VS_NIC_F_TX_CSUM | VS_NIC_F_TSO4 | VS_NIC_F_TSO6 | VS_NIC_F_RSS |
        VS_NIC_F_PROMISC | VS_NIC_F_ALLMULTI | VS_NIC_F_SET_MAC | VS_NIC_F_LINK_IRQ,
};

static struct vmx_shared *shared_of(const struct vs_nic *nic)
{
    return (struct vmx_shared *)(void *)nic->shared;
}

static void write1(const struct vs_nic *nic, uint64_t reg, uint32_t value)
{
    vs_mmio_write32(&nic->env.bars[1], reg, value);
}

static uint32_t read1(const struct vs_nic *nic, uint64_t reg)
{
    return vs_mmio_read32(&nic->env.bars[1], reg);
}

/* Give a command and read its answer: it is carried out by then. */
static uint32_t command(const struct vs_nic *nic, uint32_t cmd)
{
    write1(nic, VMX_CMD, cmd);
    return read1(nic, VMX_CMD);
}

static void mask(const struct vs_nic *nic, unsigned vector, bool on)
{
    vs_mmio_write32(&nic->env.bars[0], VMX_IMR + (uint64_t)VMX_STEP * vector, on);
}

/* ---- probe --------------------------------------------------------------------------------------------------------- */

static int probe(struct vs_nic *nic)
{
    int rc = vs_nic_need_bar(nic, 0, VMX_PT_SIZE);
    if (rc == 0)
        rc = vs_nic_need_bar(nic, 1, VMX_VD_SIZE);
    if (rc < 0)
        return rc;
    uint32_t revisions = read1(nic, VMX_VRRS), versions = read1(nic, VMX_UVRS);
    if (revisions == UINT32_MAX)
        return vs_nic_fail(nic, ENODEV, "the device does not answer: its registers read as ones");
    if (!(revisions & 1) || !(versions & 1))
        return vs_nic_fail(nic, EOPNOTSUPP,
                           "the device does not know revision 1 of vmxnet3 (it knows 0x%x and UPT 0x%x)",
                           revisions, versions);
    write1(nic, VMX_VRRS, 1);
    write1(nic, VMX_UVRS, 1);
    command(nic, VMX_CMD_RESET); /* an earlier run may have been killed */
    /* The permanent one: MACL and MACH have what somebody wrote there. */
    uint32_t low = command(nic, VMX_CMD_GET_MAC_LO), high = command(nic, VMX_CMD_GET_MAC_HI);
    struct vs_nic_info *i = &nic->info;
    memcpy(i->mac, &low, 4);
    memcpy(i->mac + 4, &high, 2);
    vs_vmxnet3_of(nic)->auto_mask = (command(nic, VMX_CMD_GET_CONF_INTR) >> 2 & 3) == VMX_MASK_AUTO;
    i->max_rxq = i->max_txq = VMX_QUEUES;
    i->desc_multiple = VMX_RING_MULTIPLE;
    i->min_desc = 2 * VMX_RING_MULTIPLE; /* one of each receive ring */
    i->max_desc = VS_NIC_MAX_DESC;
    i->max_mtu = VMX_MAX_MTU;
    i->features = FEATURES;
    return 0;
}

/* Descriptors of both rings, and a completion for each. */
static size_t rx_ring_bytes(const struct vs_nic *nic, uint16_t desc)
{
    return (size_t)desc * (sizeof(struct vmx_desc) + sizeof(struct vmx_comp));
}

static size_t tx_ring_bytes(const struct vs_nic *nic, uint16_t desc)
{
    return (size_t)desc * (sizeof(struct vmx_desc) + sizeof(struct vmx_comp));
}

static size_t shared_bytes(const struct vs_nic *nic)
{
    return SHARED_SIZE;
}

/* ---- start --------------------------------------------------------------------------------------------------------- */

/* Rings of a receive queue: bodies get half of the descriptors where frames need them, else as few as there can be. */
static int lay_out_rx(struct vs_vmxnet3 *v, struct vs_nic_rxq *q)
{
    struct vmx_rx *r = &v->rx[q->index];
    uint16_t bodies = VMX_RING_MULTIPLE;
    if (v->nic.max_frame > q->buffer)
        bodies = (uint16_t)(q->size / 2 / VMX_RING_MULTIPLE * VMX_RING_MULTIPLE);
    uint16_t heads = (uint16_t)(q->size - bodies);
    struct vmx_desc *desc = (struct vmx_desc *)(void *)q->ring;
    *r = (struct vmx_rx){
        .comp = (const struct vmx_comp *)(void *)(desc + q->size), .gen = VMX_COMP_GEN, .size = q->size};
    r->ring[0] =
        (struct vmx_ring){.desc = desc, .bufs = q->bufs, .flags = q->buffer | VMX_RXD_GEN, .size = heads};
    r->ring[1] = (struct vmx_ring){.desc = desc + heads,
                                   .bufs = q->bufs + heads,
                                   .flags = q->buffer | VMX_RXD_GEN | VMX_RXD_BODY,
                                   .size = bodies};
    for (unsigned i = 0; i < q->size; i++) {
        q->bufs[i] = vs_dma_get(&q->list);
        if (q->bufs[i] == NULL)
            return vs_nic_fail(&v->nic, ENOMEM, "too few packet buffers for %u receive descriptors", q->size);
    }
    for (int k = 0; k < 2; k++) {
        struct vmx_ring *ring = &r->ring[k];
        for (; ring->fill + 1 < ring->size; ring->fill++)
            ring->desc[ring->fill] = (struct vmx_desc){.addr = ring->bufs[ring->fill]->iova + VS_DMA_HEADROOM,
                                                       .dword2 = ring->flags};
    }
    return 0;
}

static void describe_rxq(struct vs_vmxnet3 *v, const struct vs_nic_rxq *q)
{
    struct vmx_rx *r = &v->rx[q->index];
    struct vmx_rx_queue *d = vs_vmxnet3_rxq(&v->nic, q->index);
    for (int k = 0; k < 2; k++) {
        d->ring[k] = vs_dma_iova(r->ring[k].desc);
        d->ring_size[k] = r->ring[k].size;
    }
    d->comp_ring = vs_dma_iova(r->comp);
    d->comp_size = r->size;
    d->vector = v->nic.config.n_vectors > 1 ? (uint8_t)q->index : 0;
}

static void describe_txq(struct vs_vmxnet3 *v, const struct vs_nic_txq *q, uint8_t vector)
{
    struct vmx_tx *t = &v->tx[q->index];
    struct vmx_tx_queue *d = vs_vmxnet3_txq(&v->nic, q->index);
    t->desc = (struct vmx_desc *)(void *)q->ring;
    t->comp = (const struct vmx_comp *)(void *)(t->desc + q->size);
    t->gen = VMX_TXD_GEN;
    t->comp_gen = VMX_COMP_GEN;
    t->comp_next = 0;
    d->ring = q->ring_iova;
    d->comp_ring = vs_dma_iova(t->comp);
    d->ring_size = d->comp_size = q->size;
    d->vector = vector;
}

static void describe_rss(const struct vs_nic *nic)
{
    struct vmx_shared *s = shared_of(nic);
    struct vmx_rss *rss = (struct vmx_rss *)(void *)(nic->shared + SHARED_RSS);
    *rss = (struct vmx_rss){.types = VMX_RSS_ALL_TYPES,
                            .function = VMX_RSS_TOEPLITZ,
                            .key_size = sizeof rss->key,
                            .table_size = VMX_RSS_TABLE};
    memcpy(rss->key, vs_nic_rss_key, sizeof rss->key);
    for (unsigned i = 0; i < VMX_RSS_TABLE; i++)
        rss->table[i] = (uint8_t)(i % nic->config.n_rxq);
    s->rss =
        (struct vmx_conf_place){.version = 1, .length = sizeof *rss, .iova = nic->shared_iova + SHARED_RSS};
    s->features |= VMX_F_RSS;
}

static uint32_t rx_mode(uint32_t mode)
{
    uint32_t m = VMX_RXM_UCAST | VMX_RXM_BCAST | VMX_RXM_MCAST;
    if (mode & VS_NIC_RX_ALLMULTI)
        m |= VMX_RXM_ALL_MULTI;
    if (mode & VS_NIC_RX_PROMISC)
        m |= VMX_RXM_PROMISC | VMX_RXM_ALL_MULTI;
    return m;
}

/* Vectors: one for each receive queue, one for events; transmit queues get another, which stays masked: we look when we send. With one
 * vector in all it is that of everything. */
static void describe_vectors(struct vs_vmxnet3 *v, struct vmx_shared *s)
{
    const struct vs_nic_config *c = &v->nic.config;
    v->event_vector = (uint8_t)(c->n_vectors > 1 ? c->n_rxq : 0);
    s->auto_mask = v->auto_mask;
    s->event_vector = v->event_vector;
    s->n_intrs = (uint8_t)(v->event_vector + (v->nic.unmask_fd >= 0 ? 1 : 2));
    for (unsigned i = 0; c->n_vectors > 1 && i < c->n_rxq; i++)
        s->moderation[i] = VMX_IML_ADAPTIVE;
    s->intr_ctrl = c->n_vectors == 0 ? VMX_INTR_DISABLE_ALL : 0;
}

static void describe(struct vs_vmxnet3 *v)
{
    const struct vs_nic *nic = &v->nic;
    const struct vs_nic_config *c = &nic->config;
    struct vmx_shared *s = shared_of(nic);
    s->magic = VMX_MAGIC;
    s->driver_version = 1;
    s->guest_os = VMX_GOS_LINUX64;
    s->revisions = s->upt_versions = 1;
    s->features = nic->use & VS_NIC_F_RX_CSUM ? VMX_F_RXCSUM : 0; /* no LRO, no stripping of tags */
    s->queues = vs_dma_iova(vs_vmxnet3_txq(nic, 0));
    s->queues_len = 256u * (c->n_txq + c->n_rxq);
    s->mtu = c->mtu;
    s->max_rx_parts = (uint16_t)((nic->max_frame + VS_DMA_DATA - 1) / VS_DMA_DATA);
    s->n_txq = (uint8_t)c->n_txq;
    s->n_rxq = (uint8_t)c->n_rxq;
    s->rx_mode = rx_mode(c->rx_mode);
    memset(s->vlans, 0xff, sizeof s->vlans);
    describe_vectors(v, s);
    for (unsigned i = 0; i < c->n_txq; i++)
        describe_txq(v, &nic->txq[i], (uint8_t)(s->n_intrs - 1));
    for (unsigned i = 0; i < c->n_rxq; i++)
        describe_rxq(v, &nic->rxq[i]);
    if (c->n_rxq > 1 && (nic->use & VS_NIC_F_RSS))
        describe_rss(nic);
}

static void stats(struct vs_nic *nic, struct vs_nic_stats *to);

static int start(struct vs_nic *nic)
{
    struct vs_vmxnet3 *v = vs_vmxnet3_of(nic);
    const struct vs_nic_config *c = &nic->config;
    if (c->n_rxq & (c->n_rxq - 1))
        return vs_nic_fail(nic, EINVAL, "n_rxq %u: vmxnet3 takes 1, 2, 4 or 8 receive queues", c->n_rxq);
    for (unsigned i = 0; i < c->n_rxq; i++) {
        int rc = lay_out_rx(v, &nic->rxq[i]);
        if (rc < 0)
            return rc;
    }
    describe(v);
    for (unsigned i = 0; i < VMX_INTRS; i++)
        mask(nic, i, true);
    write1(nic, VMX_DSAL, (uint32_t)nic->shared_iova);
    write1(nic, VMX_DSAH, (uint32_t)(nic->shared_iova >> 32));
    uint32_t answer = command(nic, VMX_CMD_ACTIVATE);
    if (answer == UINT32_MAX)
        return vs_nic_fail(nic, ENODEV, "the device does not answer: its registers read as ones");
    if (answer != 0)
        return vs_nic_fail(nic, EIO, "the device refuses its configuration (answer 0x%x)", answer);
    for (unsigned i = 0; i < c->n_rxq; i++) {
        const struct vmx_rx *r = &v->rx[i];
        vs_mmio_write32(&nic->env.bars[0], VMX_RXPROD + (uint64_t)VMX_STEP * i, r->ring[0].fill);
        vs_mmio_write32(&nic->env.bars[0], VMX_RXPROD2 + (uint64_t)VMX_STEP * i, r->ring[1].fill);
    }
    static const uint8_t none[6];
    const uint8_t *mac = memcmp(c->mac, none, 6) != 0 ? c->mac : nic->info.mac;
    uint32_t low, high = 0;
    memcpy(&low, mac, 4);
    memcpy(&high, mac + 4, 2);
    write1(nic, VMX_MACL, low); /* behind the activation, at which QEMU goes back to the permanent one */
    write1(nic, VMX_MACH, high);
    command(nic, VMX_CMD_UPDATE_RX_MODE);
    command(nic, VMX_CMD_UPDATE_VLAN_FILTERS);
    struct vs_nic_stats before = {0};
    memset(v->rx_seen, 0, sizeof v->rx_seen);
    memset(v->tx_seen, 0, sizeof v->tx_seen);
    stats(nic, &before);  /* whatever it counted in another life */
    if (c->n_vectors > 1) /* else it is a receive queue's too, whose core unmasks it */
        mask(nic, v->event_vector, false);
    return 0;
}

static void stop(struct vs_nic *nic)
{
    if (read1(nic, VMX_VRRS) == UINT32_MAX)
        return; /* gone */
    for (unsigned i = 0; i < VMX_INTRS; i++)
        mask(nic, i, true);
    command(nic, VMX_CMD_QUIESCE);
    command(nic, VMX_CMD_RESET); /* it forgets the shared area */
    write1(nic, VMX_DSAL, 0);
    write1(nic, VMX_DSAH, 0);
    read1(nic, VMX_CMD); /* behind it, nothing is under way */
}

/* ---- while it runs ------------------------------------------------------------------------------------------------- */

static void link(struct vs_nic *nic, struct vs_nic_link *to)
{
    uint32_t state = command(nic, VMX_CMD_GET_LINK);
    if (state == UINT32_MAX || !(state & 1))
        return;
    to->up = to->full_duplex = 1;
    to->speed_mbps = state >> 16;
}

static int set_rx_mode(struct vs_nic *nic, uint32_t mode)
{
    shared_of(nic)->rx_mode = rx_mode(mode);
    command(nic, VMX_CMD_UPDATE_RX_MODE);
    return 0;
}

/* What the counters of a queue grew by. The device can write there: they are numbers and nothing else. */
static void grown(const uint64_t *now, uint64_t *seen, uint64_t *by)
{
    for (unsigned i = 0; i < VMX_STATS; i++) {
        uint64_t value = __atomic_load_n(&now[i], __ATOMIC_RELAXED);
        by[i] = value - seen[i];
        seen[i] = value;
    }
}

static void stats(struct vs_nic *nic, struct vs_nic_stats *to)
{
    struct vs_vmxnet3 *v = vs_vmxnet3_of(nic);
    uint64_t by[VMX_STATS];
    command(nic, VMX_CMD_GET_STATS);
    for (unsigned i = 0; i < nic->config.n_rxq; i++) {
        grown(vs_vmxnet3_rxq(nic, i)->stats, v->rx_seen[i], by);
        to->rx_packets += by[VMX_STAT_UCAST] + by[VMX_STAT_MCAST] + by[VMX_STAT_BCAST];
        to->rx_bytes += by[VMX_STAT_UCAST + 1] + by[VMX_STAT_MCAST + 1] + by[VMX_STAT_BCAST + 1];
        to->rx_multicast += by[VMX_STAT_MCAST];
        to->rx_broadcast += by[VMX_STAT_BCAST];
        to->rx_missed += by[VMX_STAT_FIRST_ERROR];
        to->rx_errors += by[VMX_STAT_LAST];
    }
    for (unsigned i = 0; i < nic->config.n_txq; i++) {
        grown(vs_vmxnet3_txq(nic, i)->stats, v->tx_seen[i], by);
        to->tx_packets += by[VMX_STAT_UCAST] + by[VMX_STAT_MCAST] + by[VMX_STAT_BCAST];
        to->tx_bytes += by[VMX_STAT_UCAST + 1] + by[VMX_STAT_MCAST + 1] + by[VMX_STAT_BCAST + 1];
        to->tx_errors += by[VMX_STAT_FIRST_ERROR] + by[VMX_STAT_LAST];
    }
}

/* A queue has stopped: say which. */
static void explain_error(struct vs_nic *nic, bool receive)
{
    command(nic, VMX_CMD_GET_QUEUE_STATUS);
    unsigned n = receive ? nic->config.n_rxq : nic->config.n_txq;
    for (unsigned i = 0; i < n; i++) {
        const struct vmx_tx_queue *d = receive ? (void *)vs_vmxnet3_rxq(nic, i) : vs_vmxnet3_txq(nic, i);
        if (__atomic_load_n(&d->stopped, __ATOMIC_RELAXED)) { /* at the same place in both */
            vs_nic_fail(nic, EIO, "the device stopped %s queue %u (error 0x%x)",
                        receive ? "receive" : "transmit", i, __atomic_load_n(&d->error, __ATOMIC_RELAXED));
            return;
        }
    }
    vs_nic_fail(nic, EIO, "the device reports an error of a %s queue", receive ? "receive" : "transmit");
}

static int irq(struct vs_nic *nic)
{
    /* First unmask, then look: what comes in between comes again. */
    if (nic->config.n_vectors > 1)
        mask(nic, vs_vmxnet3_of(nic)->event_vector, false);
    if (read1(nic, VMX_VRRS) == UINT32_MAX) {
        vs_nic_fail(nic, ENODEV, "the device does not answer any more");
        return VS_NIC_IRQ_DEAD;
    }
    uint32_t events = __atomic_load_n(&shared_of(nic)->events, __ATOMIC_RELAXED);
    int seen = 0;
    if (events != 0)
        write1(nic, VMX_ECR, events);
    if (events & VMX_ECR_LINK)
        seen |= VS_NIC_IRQ_LINK;
    if (events & (VMX_ECR_RQERR | VMX_ECR_TQERR)) {
        explain_error(nic, events & VMX_ECR_RQERR);
        seen |= VS_NIC_IRQ_DEAD;
    }
    return seen;
}

static const struct vs_nic_id ids[] = {{0x15ad, 0x07b0}, {0, 0}};

const struct vs_nic_driver vs_vmxnet3_driver = {.name = "vmxnet3",
                                                .ids = ids,
                                                .size = sizeof(struct vs_vmxnet3),
                                                .probe = probe,
                                                .rx_ring_bytes = rx_ring_bytes,
                                                .tx_ring_bytes = tx_ring_bytes,
                                                .shared_bytes = shared_bytes,
                                                .start = start,
                                                .stop = stop,
                                                .rx = vs_vmxnet3_rx,
                                                .tx = vs_vmxnet3_tx,
                                                .able = vs_vmxnet3_able,
                                                .rx_pending = vs_vmxnet3_rx_pending,
                                                .irq_enable = vs_vmxnet3_irq_enable,
                                                .irq = irq,
                                                .link = link,
                                                .stats = stats,
                                                .set_rx_mode = set_rx_mode};
