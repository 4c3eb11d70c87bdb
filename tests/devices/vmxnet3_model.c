/* vmxnet3_model.c: model of VMware's vmxnet3: registers, commands, the shared area, vectors that mask themselves; see vmxnet3_model.h. */
#include "vmxnet3_model.h"

#include <string.h>

/* ---- interrupts ---------------------------------------------------------------------------------------------------- */

void vmxnet3_fire_if_due(struct vmx_model *v, unsigned i)
{
    if (!v->pending[i] || v->masked[i])
        return;
    v->pending[i] = false;
    v->masked[i] = v->auto_mask;
    model_irq(&v->m, i);
}

void vmxnet3_trigger(struct vmx_model *v, unsigned i)
{
    if (i >= VMX_INTRS)
        return;
    v->pending[i] = true;
    vmxnet3_fire_if_due(v, i);
}

/* ---- commands ------------------------------------------------------------------------------------------------------ */

static void read_word(struct vmx_model *v, uint64_t offset, uint32_t *to)
{
    model_dma_read(&v->m, v->shared + offset, to, sizeof *to); /* without an area: a fault at a low address */
}

static struct ring ring_at(uint64_t iova, uint32_t size)
{
    return (struct ring){.iova = iova, .size = size, .gen = 1};
}

static bool ring_fits(const struct ring *r)
{
    return r->size != 0 && r->size <= 4096 && r->size % 32 == 0 && r->iova % 512 == 0;
}

static bool read_queues(struct vmx_model *v, const struct vmx_shared *s)
{
    struct vmx_tx_queue t;
    struct vmx_rx_queue r;
    for (unsigned i = 0; i < s->n_txq; i++) {
        struct txq *q = &v->txq[i];
        *q = (struct txq){.at = s->queues + 256u * i};
        if (!model_dma_read(&v->m, q->at, &t, sizeof t))
            return false;
        q->ring = ring_at(t.ring, t.ring_size);
        q->comp = ring_at(t.comp_ring, t.comp_size);
        q->vector = t.vector;
        if (!ring_fits(&q->ring) || !ring_fits(&q->comp) || t.vector >= s->n_intrs)
            return false;
    }
    for (unsigned i = 0; i < s->n_rxq; i++) {
        struct rxq *q = &v->rxq[i];
        *q = (struct rxq){.at = s->queues + 256u * (s->n_txq + i)};
        if (!model_dma_read(&v->m, q->at, &r, sizeof r))
            return false;
        for (int k = 0; k < 2; k++)
            q->ring[k] = ring_at(r.ring[k], r.ring_size[k]);
        q->comp = ring_at(r.comp_ring, r.comp_size);
        q->vector = r.vector;
        if (!ring_fits(&q->ring[0]) || !ring_fits(&q->ring[1]) || r.vector >= s->n_intrs ||
            r.comp_size != r.ring_size[0] + r.ring_size[1])
            return false;
        uint8_t *update = model_dma(&v->m, q->at, 1);
        if (update != NULL)
            *update = (v->m.flags & WANTS_PROD) != 0;
    }
    return true;
}

static void activate(struct vmx_model *v)
{
    struct vmx_shared s;
    if (!model_dma_read(&v->m, v->shared, &s, sizeof s) || v->active || (v->m.flags & REFUSES))
        return;
    if (s.magic != VMX_MAGIC || s.n_rxq == 0 || s.n_rxq > QUEUES || (s.n_rxq & (s.n_rxq - 1)) ||
        s.n_txq == 0 || s.n_txq > QUEUES || s.mtu < 60 || s.mtu > VMX_MAX_MTU ||
        s.event_vector >= s.n_intrs || s.n_intrs > VMX_INTRS || s.queues % 128 != 0 ||
        s.queues_len != 256u * (s.n_txq + s.n_rxq) || s.guest_os != VMX_GOS_LINUX64)
        return;
    if (!read_queues(v, &s))
        return;
    if ((s.features & VMX_F_RSS) && (s.rss.version != 1 || s.rss.length != sizeof v->rss ||
                                     !model_dma_read(&v->m, s.rss.iova, &v->rss, sizeof v->rss)))
        return;
    v->n_rxq = s.n_rxq;
    v->n_txq = s.n_txq;
    v->features = (uint32_t)s.features;
    v->max_parts = s.max_rx_parts;
    v->event_vector = s.event_vector;
    v->auto_mask = s.auto_mask;
    v->rx_mode = 0; /* until it is told */
    memcpy(v->mac_now, v->m.mac, 6);
    v->active = true;
}

static void reset(struct vmx_model *v)
{
    v->active = false;
    v->shared = 0;
    for (unsigned i = 0; i < VMX_INTRS; i++) {
        v->masked[i] = true;
        v->pending[i] = false;
    }
}

static void fill_stats(struct vmx_model *v)
{
    for (unsigned i = 0; v->active && i < v->n_txq; i++)
        model_dma_write(&v->m, v->txq[i].at + offsetof(struct vmx_tx_queue, stats), v->txq[i].stats,
                        sizeof v->txq[i].stats);
    for (unsigned i = 0; v->active && i < v->n_rxq; i++)
        model_dma_write(&v->m, v->rxq[i].at + offsetof(struct vmx_rx_queue, stats), v->rxq[i].stats,
                        sizeof v->rxq[i].stats);
}

static void do_command(struct vmx_model *v, uint32_t cmd)
{
    uint32_t word = 0;
    v->last_command = cmd;
    if (cmd == VMX_CMD_ACTIVATE)
        activate(v);
    else if (cmd == VMX_CMD_QUIESCE)
        v->active = false;
    else if (cmd == VMX_CMD_RESET)
        reset(v);
    else if (cmd == VMX_CMD_UPDATE_RX_MODE)
        read_word(v, offsetof(struct vmx_shared, rx_mode), &v->rx_mode);
    else if (cmd == VMX_CMD_UPDATE_VLAN_FILTERS)
        read_word(v, offsetof(struct vmx_shared, vlans), &word);
    else if (cmd == VMX_CMD_GET_STATS)
        fill_stats(v);
}

static uint32_t answer(struct vmx_model *v)
{
    const uint8_t *mac = v->m.mac;
    switch (v->last_command) {
    case VMX_CMD_ACTIVATE:
        return !v->active;
    case VMX_CMD_GET_LINK:
        return v->m.link_up ? 10000u << 16 | 1 : 0;
    case VMX_CMD_GET_MAC_LO:
        return mac[0] | (uint32_t)mac[1] << 8 | (uint32_t)mac[2] << 16 | (uint32_t)mac[3] << 24;
    case VMX_CMD_GET_MAC_HI:
        return mac[4] | (uint32_t)mac[5] << 8;
    case VMX_CMD_GET_CONF_INTR:
        return v->m.flags & ACTIVE_MASK ? 3 | 1 << 2 : 3;
    default:
        return 0;
    }
}

static uint64_t vmx_read(struct model *m, uint32_t bar, uint64_t offset, uint32_t width)
{
    struct vmx_model *v = of(m);
    if (v->gone || width != 4)
        return UINT64_MAX;
    if (bar == 0)
        return offset < VMX_INTRS * 8 ? v->masked[offset / 8] : 0;
    if (bar != 1)
        return UINT64_MAX;
    switch (offset) {
    case VMX_VRRS:
        return m->flags & OTHER_REV ? 2 : 0x7f;
    case VMX_UVRS:
        return 1;
    case VMX_CMD:
        return answer(v);
    default:
        return 0;
    }
}

static void write_doorbell(struct vmx_model *v, uint64_t offset, uint32_t value)
{
    unsigned i = (unsigned)(offset & 0x1ff) / VMX_STEP;
    if (offset < VMX_INTRS * VMX_STEP) {
        v->masked[i] = value != 0;
        vmxnet3_fire_if_due(v, i);
    } else if (!v->active || i >= QUEUES) {
        return;
    } else if (offset >= VMX_RXPROD2) {
        v->rxq[i].ring[1].prod = value;
    } else if (offset >= VMX_RXPROD) {
        v->rxq[i].ring[0].prod = value;
    } else if (offset >= VMX_TXPROD) {
        v->txq[i].ring.prod = value;
    }
}

static void vmx_write(struct model *m, uint32_t bar, uint64_t offset, uint32_t width, uint64_t value)
{
    struct vmx_model *v = of(m);
    if (v->gone || width != 4)
        return;
    if (bar == 0) {
        write_doorbell(v, offset, (uint32_t)value);
        return;
    }
    switch (bar == 1 ? offset : 0) {
    case VMX_DSAL:
        v->shared_low = (uint32_t)value;
        v->shared = 0;
        break;
    case VMX_DSAH:
        v->shared = value << 32 | v->shared_low;
        break;
    case VMX_CMD:
        do_command(v, (uint32_t)value);
        break;
    case VMX_MACL:
        v->mac_low = (uint32_t)value;
        break;
    case VMX_MACH:
        memcpy(v->mac_now, &v->mac_low, 4);
        memcpy(v->mac_now + 4, &value, 2);
        break;
    case VMX_ECR: {
        uint32_t *events = model_dma(m, v->shared + offsetof(struct vmx_shared, events), 4);
        if (events != NULL)
            *events &= ~(uint32_t)value;
        break;
    }
    default:
        break;
    }
}

static void vmx_link(struct model *m, bool up)
{
    struct vmx_model *v = of(m);
    uint32_t *events = model_dma(m, v->shared + offsetof(struct vmx_shared, events), 4);
    if (events != NULL)
        *events |= VMX_ECR_LINK;
    vmxnet3_trigger(v, v->event_vector);
}

static void vmx_init(struct model *m, uint32_t flags)
{
    m->vendor = 0x15ad;
    m->device = 0x07b0;
    model_bar(m, 0, VMX_PT_SIZE);
    model_bar(m, 1, VMX_VD_SIZE);
    model_bar(m, 2, 8192);
    reset(of(m));
}

const struct model_ops vmxnet3_model = {.kind = "vmxnet3",
                                        .size = sizeof(struct vmx_model),
                                        .init = vmx_init,
                                        .read = vmx_read,
                                        .write = vmx_write,
                                        .receive = vmxnet3_receive,
                                        .run = vmxnet3_run,
                                        .link = vmx_link,
                                        .corrupt = vmxnet3_corrupt};
