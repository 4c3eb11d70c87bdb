/* igb.h: what the parts of the igb driver share.
 *
 * How it works: igb.c has the identities, the vtable and the two hot functions, the same for physical and virtual functions, whose queues
 * differ in the place of their registers only (igb_queues.c). igb_start.c runs a physical function, igb_link.c has its PHY, link and counters, igb_vf.c all
 * that is special to a virtual function, which asks its physical one for what it needs (mailbox).
 *
 * Thread safety: as nic.h says; `done` belongs to the holder of the transmit queue's lock.
 */
#ifndef VS_IGB_H
#define VS_IGB_H

#include "igb_regs.h"
#include "nic.h"

enum igb_family { IGB_82576, IGB_I350, IGB_I210, IGB_82576_VF, IGB_I350_VF };

enum {
    IGB_TX_QUEUES = 8,
    IGB_MIN_DESC = 64,
    IGB_DESC_MULTIPLE = 8,    /* rings are multiples of 128 bytes, 8.10 */
    IGB_LONGEST_FRAME = 9728, /* with FCS: 9.5 KB, 8.10 (RLPML) */
    IGB_MAX_MTU = IGB_LONGEST_FRAME - 4 - 8 - 14,
    IGB_SHARED_VECTOR = 0, /* q->own[0]: no bit of EIMS, the one vector is for all causes */
};

struct igb {
    struct vs_nic nic;
    enum igb_family family;
    bool ready;          /* reset, and not started since */
    bool own_mac;        /* virtual function: the physical one gave no address, info.mac is ours */
    uint32_t mailbox;    /* bits of V2PMAILBOX that reading cleared */
    uint32_t counted[5]; /* virtual function: counters that do not clear, as last read */
    uint16_t done[IGB_TX_QUEUES]
                 [VS_NIC_MAX_DESC]; /* at a batch's first descriptor: its last one, which reports */
};

/* What physical and virtual functions do each in their own way. */
struct igb_ops {
    int (*reset)(struct igb *igb);     /* also reads the MAC address */
    int (*configure)(struct igb *igb); /* all but the queues */
    void (*run)(struct igb *igb);      /* queues are ready: go */
    void (*stop)(struct igb *igb);
    int (*irq)(struct igb *igb);
    void (*link)(struct igb *igb, struct vs_nic_link *link);
    void (*stats)(struct igb *igb, struct vs_nic_stats *stats);
    int (*set_rx_mode)(struct igb *igb, uint32_t mode);
};
extern const struct igb_ops vs_igb_pf_ops, vs_igb_vf_ops;

static inline struct igb *vs_igb_of(struct vs_nic *nic)
{
    return VS_CONTAINER_OF(nic, struct igb, nic);
}

static inline bool vs_igb_is_vf(const struct igb *igb)
{
    return igb->family >= IGB_82576_VF;
}

static inline uint32_t vs_igb_read(const struct igb *igb, uint32_t reg)
{
    return vs_mmio_read32(&igb->nic.env.bars[0], reg);
}

static inline void vs_igb_write(const struct igb *igb, uint32_t reg, uint32_t value)
{
    vs_mmio_write32(&igb->nic.env.bars[0], reg, value);
}

/* A device that was pulled out reads as ones everywhere; STATUS never is all ones, 8.2.2. */
static inline bool vs_igb_gone(const struct igb *igb)
{
    return vs_igb_read(igb, IGB_STATUS) == UINT32_MAX;
}

/* First register of a queue. */
static inline uint32_t vs_igb_rx_base(const struct igb *igb, unsigned queue)
{
    return vs_igb_is_vf(igb) ? IGB_VF_RX_BASE + queue * IGB_VF_QUEUE_STRIDE
                             : IGB_RX_BASE + queue * IGB_QUEUE_STRIDE;
}

static inline uint32_t vs_igb_tx_base(const struct igb *igb, unsigned queue)
{
    return vs_igb_is_vf(igb) ? IGB_VF_TX_BASE + queue * IGB_VF_QUEUE_STRIDE
                             : IGB_TX_BASE + queue * IGB_QUEUE_STRIDE;
}

/* igb_queues.c: rings and their vectors. */
int vs_igb_queues_start(struct igb *igb);
void vs_igb_queues_stop(struct igb *igb);
void vs_igb_vectors(struct igb *igb);

/* igb_link.c */
void vs_igb_link_start(struct igb *igb);
void vs_igb_link(struct igb *igb, struct vs_nic_link *link);
void vs_igb_stats(struct igb *igb, struct vs_nic_stats *stats);
#endif
