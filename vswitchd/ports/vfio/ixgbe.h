/* ixgbe.h: what the two files of the ixgbe driver share: ixgbe.c (probe, receive, transmit, the rest of the vtable) and ixgbe_start.c.
 *
 * How it works: see nic.h. The driver takes PCI functions of the 82599 (also sold as X520), X540 and X550, not their virtual functions. Link and PHY are
 * those that EEPROM and firmware set up: nothing is said to an external PHY, no I2C is spoken with an SFP+ module.
 *
 * Thread safety: as nic.h.
 */
#ifndef VS_IXGBE_H
#define VS_IXGBE_H

#include "ixgbe_regs.h"
#include "nic.h"

struct ixgbe {
    struct vs_nic nic;
    bool x540, x550; /* x540: or X550 */
    bool fresh;      /* reset, and nothing done since */
    /* Transmit: by the first descriptor of a group, the last one, whose "done" tells of all. In own memory: the device cannot lie about it. */
    uint16_t last[VS_NIC_QUEUES][VS_NIC_MAX_DESC];
};

static inline const struct vs_bar *ixgbe_bar(const struct vs_nic *nic)
{
    return &nic->env.bars[0];
}

static inline uint32_t ixgbe_read(const struct vs_nic *nic, uint32_t reg)
{
    return vs_mmio_read32(ixgbe_bar(nic), reg);
}

static inline void ixgbe_write(const struct vs_nic *nic, uint32_t reg, uint32_t value)
{
    vs_mmio_write32(ixgbe_bar(nic), reg, value);
}

static inline void ixgbe_change(const struct vs_nic *nic, uint32_t reg, uint32_t clear, uint32_t set)
{
    ixgbe_write(nic, reg, (ixgbe_read(nic, reg) & ~clear) | set);
}

/* 4.6.3: leaves the device as after power on, its EEPROM read and its DMA ready. 0 or -errno. */
int ixgbe_reset(struct vs_nic *nic);
int ixgbe_start(struct vs_nic *nic);
void ixgbe_stop(struct vs_nic *nic);
int ixgbe_set_rx_mode(struct vs_nic *nic, uint32_t mode);
#endif
