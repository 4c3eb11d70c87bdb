/* igb_queues.c: rings and interrupt vectors of the igb driver, physical and virtual functions alike; see igb.h. */
#include "igb.h"

#include <errno.h>

enum { QUEUE_MS = 10 }; /* a queue is enabled and disabled within microseconds; 4.5.9 names no limit */

/* Write the ring's place, empty it and enable the queue, 4.5.9 and 4.5.10. */
static int queue_start(struct igb *igb, uint32_t base, uint64_t ring, uint16_t size, uint32_t control)
{
    vs_igb_write(igb, base + IGB_DCTL, 0);
    vs_nic_wait(&igb->nic.env.bars[0], base + IGB_DCTL, IGB_DCTL_ENABLE, 0, QUEUE_MS);
    vs_igb_write(igb, base + IGB_DBAL, (uint32_t)ring);
    vs_igb_write(igb, base + IGB_DBAH, (uint32_t)(ring >> 32));
    vs_igb_write(igb, base + IGB_DLEN, size * 16u);
    vs_igb_write(igb, base + IGB_DH, 0);
    vs_igb_write(igb, base + IGB_DT, 0);
    vs_igb_write(igb, base + IGB_DCTL, control | IGB_DCTL_ENABLE);
    return vs_nic_wait(&igb->nic.env.bars[0], base + IGB_DCTL, IGB_DCTL_ENABLE, IGB_DCTL_ENABLE, QUEUE_MS);
}

static int receive_start(struct igb *igb, struct vs_nic_rxq *q)
{
    const struct vs_nic_config *c = &igb->nic.config;
    uint32_t base = vs_igb_rx_base(igb, q->index);
    struct igb_rx_desc *ring = (struct igb_rx_desc *)(void *)q->ring;
    for (unsigned i = 0; i < q->size; i++) {
        q->bufs[i] = vs_dma_get(&q->list);
        if (q->bufs[i] == NULL)
            return vs_nic_fail(&igb->nic, ENOMEM, "no buffers left for receive queue %u", q->index);
        ring[i] = (struct igb_rx_desc){.data = q->bufs[i]->iova + VS_DMA_HEADROOM};
    }
    q->doorbell = base + IGB_DT;
    /* A queue that nobody empties must not stop the others; pause frames can do their work only if it does. */
    uint32_t drop = c->n_rxq > 1 && !(c->flow_control & VS_NIC_PAUSE_TX) ? IGB_SRRCTL_DROP : 0;
    vs_igb_write(igb, base + IGB_SRRCTL, IGB_SRRCTL_ONE_BUFFER | VS_DMA_DATA / 1024 | drop);
    int rc = queue_start(igb, base, q->ring_iova, q->size, IGB_RXDCTL_THRESHOLDS);
    return rc == 0 ? 0 : vs_nic_fail(&igb->nic, -rc, "receive queue %u does not start", q->index);
}

int vs_igb_queues_start(struct igb *igb)
{
    struct vs_nic *nic = &igb->nic;
    for (unsigned i = 0; i < nic->config.n_rxq; i++) {
        int rc = receive_start(igb, &nic->rxq[i]);
        if (rc < 0)
            return rc;
    }
    for (unsigned i = 0; i < nic->config.n_txq; i++) {
        uint32_t base = vs_igb_tx_base(igb, i);
        nic->txq[i].doorbell = base + IGB_DT;
        int rc = queue_start(igb, base, nic->txq[i].ring_iova, nic->txq[i].size, IGB_TXDCTL_THRESHOLDS);
        if (rc < 0)
            return vs_nic_fail(nic, -rc, "transmit queue %u does not start", i);
    }
    vs_igb_vectors(igb);
    return 0;
}

void vs_igb_queues_stop(struct igb *igb)
{
    for (unsigned i = 0; i < igb->nic.info.max_rxq; i++)
        vs_igb_write(igb, vs_igb_rx_base(igb, i) + IGB_DCTL, 0);
    for (unsigned i = 0; i < igb->nic.info.max_txq; i++)
        vs_igb_write(igb, vs_igb_tx_base(igb, i) + IGB_DCTL, 0);
    if (vs_igb_gone(igb))
        return;
    for (unsigned i = 0; i < igb->nic.info.max_rxq; i++)
        vs_nic_wait(&igb->nic.env.bars[0], vs_igb_rx_base(igb, i) + IGB_DCTL, IGB_DCTL_ENABLE, 0, QUEUE_MS);
    for (unsigned i = 0; i < igb->nic.info.max_txq; i++)
        vs_nic_wait(&igb->nic.env.bars[0], vs_igb_tx_base(igb, i) + IGB_DCTL, IGB_DCTL_ENABLE, 0, QUEUE_MS);
}

/* Place of a receive queue's vector in the IVAR registers, 8.8.13: the 82576 has queues n and n + 8 in a register, the others 2n and 2n + 1.
 * A virtual function has one register for both of its queues. */
static void set_vector(struct igb *igb, unsigned queue, unsigned vector)
{
    unsigned word = igb->family == IGB_82576 ? queue % 8 : queue / 2;
    unsigned shift = igb->family == IGB_82576 ? queue / 8 * 16 : queue % 2 * 16;
    uint32_t reg = IGB_IVAR + word * 4, mask = UINT32_C(0xffff)
                                               << shift; /* with that of the transmit queue: none */
    vs_igb_write(igb, reg, (vs_igb_read(igb, reg) & ~mask) | (IGB_IVAR_VALID | vector) << shift);
}

void vs_igb_vectors(struct igb *igb)
{
    struct vs_nic *nic = &igb->nic;
    const struct vs_nic_config *c = &nic->config;
    bool several = c->n_vectors > 1, vf = vs_igb_is_vf(igb);
    if (c->n_vectors == 0)
        return;
    if (!several && !vf) { /* 7.3: one vector, or INTx: all causes in ICR, once each until they are cleared */
        vs_igb_write(igb, IGB_GPIE, IGB_GPIE_NSICR);
        for (unsigned i = 0; i < c->n_rxq; i++)
            nic->rxq[i].own[0] = IGB_SHARED_VECTOR;
        vs_igb_write(igb, IGB_IMS, IGB_ICR_LSC);
        return;
    }
    unsigned last = several ? c->n_rxq : 0;
    uint32_t all = (UINT32_C(2) << last) - 1;
    if (!vf)
        vs_igb_write(igb, IGB_GPIE, IGB_GPIE_NSICR | IGB_GPIE_MSIX | IGB_GPIE_PBA);
    for (unsigned i = 0; i < c->n_rxq; i++) {
        unsigned vector = several ? i : 0;
        set_vector(igb, i, vector);
        nic->rxq[i].own[0] = UINT64_C(1) << vector;
    }
    /* The mailbox's vector is in the low byte, that of all other causes of a physical function in the second. */
    vs_igb_write(igb, IGB_IVAR_MISC, (IGB_IVAR_VALID | last) << (vf ? 0 : 8));
    for (unsigned i = 0; i <= last; i++)
        vs_igb_write(igb, IGB_EITR + 4 * i, 0); /* no delay: a vector is enabled only while a core sleeps */
    /* Cleared by the message; where several queues share a vector, by who goes to sleep: so it comes once. */
    vs_igb_write(igb, IGB_EIAC, several || c->n_rxq == 1 ? all : 0);
    if (!vf)
        vs_igb_write(igb, IGB_IMS, IGB_ICR_LSC);
    vs_igb_write(igb, IGB_EIMS, UINT32_C(1) << last);
}
