/* e1000e.h: what the parts of the e1000e driver share: e1000e.c moves packets, e1000e_start.c sets the device up and takes it down, e1000e_link.c has
 * the PHY, the link and the counters. C only.
 *
 * How it works: one driver for two families with the same registers. 82574L, 82574LA, 82583V: PCIe, extended receive descriptors, TSO; the
 * first two with two queues each way, RSS and MSI-X. 82540EM, 82545EM: PCI, legacy receive descriptors, one queue, INTx. Left out on purpose: 82571 to
 * 82573 (serdes ports, shared EEPROM, ASPM errata) and the PCH parts (I217 to I219: firmware, ULP and K1 workarounds at every turn).
 *
 * One vector (INTx, MSI) serves the first receive queue and the link: reading ICR lets the line go. A second queue has then nothing to
 * wake its core, which goes on polling.
 *
 * Thread safety: as nic.h says. what struct vs_e1000e has of its own is the control thread's but for `legacy`.
 */
#ifndef VS_E1000E_H
#define VS_E1000E_H

#include "e1000e_regs.h"
#include "nic.h"

enum { E1_QUEUES = 2 }; /* each way, at most */

struct vs_e1000e {
    struct vs_nic nic;
    bool legacy; /* 8254x */
    uint32_t rctl;
    uint32_t seen;                             /* STATUS when irq looked last */
    uint32_t was_up;                           /* when link looked last */
    uint32_t missed;                           /* MPC when stats looked last: QEMU's does not go back to 0 */
    uint16_t ends[E1_QUEUES][VS_NIC_MAX_DESC]; /* of each batch under way: by its first descriptor its last */
};

struct vs_e1000e_desc {
    uint64_t address; /* of the buffer; a context descriptor's offsets */
    uint64_t word;
};

static inline struct vs_e1000e *vs_e1000e_of(struct vs_nic *nic)
{
    return VS_CONTAINER_OF(nic, struct vs_e1000e, nic);
}

static inline uint32_t vs_e1000e_read(const struct vs_nic *nic, uint32_t reg)
{
    return vs_mmio_read32(&nic->env.bars[0], reg);
}

static inline void vs_e1000e_write(const struct vs_nic *nic, uint32_t reg, uint32_t value)
{
    vs_mmio_write32(&nic->env.bars[0], reg, value);
}

static inline void vs_e1000e_change(const struct vs_nic *nic, uint32_t reg, uint32_t clear, uint32_t set)
{
    vs_e1000e_write(nic, reg, (vs_e1000e_read(nic, reg) & ~clear) | set);
}

/* Post q->bufs[i]. */
static inline void vs_e1000e_post(const struct vs_nic_rxq *q, uint16_t i)
{
    struct vs_e1000e_desc *d = (struct vs_e1000e_desc *)(void *)q->ring + i;
    __atomic_store_n(&d->address, q->bufs[i]->iova + VS_DMA_HEADROOM, __ATOMIC_RELAXED);
    __atomic_store_n(&d->word, 0, __ATOMIC_RELAXED);
}

int vs_e1000e_probe(struct vs_nic *nic);
int vs_e1000e_start(struct vs_nic *nic);
void vs_e1000e_stop(struct vs_nic *nic);
int vs_e1000e_set_rx_mode(struct vs_nic *nic, uint32_t mode);
/* Read and clear the interrupt causes: the line goes down. */
uint32_t vs_e1000e_causes(const struct vs_nic *nic);
/* The management firmware talks to the same PHY. Not granted: go on, it is idle for all that we can know. */
void vs_e1000e_own_mdio(struct vs_nic *nic, bool own);
/* Wake the PHY (a kernel driver may have put it to sleep), and advertise pause frames (IEEE 802.3, 28B.2). */
void vs_e1000e_start_phy(struct vs_nic *nic);
void vs_e1000e_set_pause(struct vs_nic *nic, uint32_t pause);
void vs_e1000e_link(struct vs_nic *nic, struct vs_nic_link *link);
void vs_e1000e_stats(struct vs_nic *nic, struct vs_nic_stats *stats);

#endif
