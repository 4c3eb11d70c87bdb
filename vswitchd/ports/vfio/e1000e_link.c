/* e1000e_link.c: Intel 82574L and 82540EM: PHY, pause frames, state of the link, counters; see e1000e.h. */
#include "e1000e.h"

#include <errno.h>

/* ---- PHY -------------------------------------------------------------------------------------------------------- */

/* The management firmware talks to the same PHY. Not granted: go on, it is idle for all that we can know. */
void vs_e1000e_own_mdio(struct vs_nic *nic, bool own)
{
    if (vs_e1000e_of(nic)->legacy)
        return;
    for (int i = 0; i < 10; i++) {
        vs_e1000e_change(nic, E1_EXTCNF_CTRL, own ? 0 : E1_EXTCNF_MDIO_OWNED, own ? E1_EXTCNF_MDIO_OWNED : 0);
        if (!own || vs_e1000e_read(nic, E1_EXTCNF_CTRL) & E1_EXTCNF_MDIO_OWNED)
            return;
        vs_nic_sleep_us(1000);
    }
}

/* Value of a register of the PHY, or -EIO. */
static int phy(const struct vs_nic *nic, uint32_t reg, uint32_t command)
{
    vs_e1000e_write(nic, E1_MDIC, command | reg << E1_MDIC_REG_SHIFT | E1_MDIC_PHY_1);
    if (vs_nic_wait(&nic->env.bars[0], E1_MDIC, E1_MDIC_READY, E1_MDIC_READY, 2) < 0)
        return -EIO;
    uint32_t v = vs_e1000e_read(nic, E1_MDIC);
    return v & E1_MDIC_ERROR ? -EIO : (int)(v & 0xffff);
}

/* What is to be agreed on: VS_NIC_PAUSE_RX | _TX. AUTO alone: both. */
static uint32_t wanted_pause(const struct vs_nic *nic)
{
    uint32_t both = VS_NIC_PAUSE_RX | VS_NIC_PAUSE_TX, wanted = nic->config.flow_control & both;
    return wanted != 0 ? wanted : both;
}

/* Wake the PHY (a kernel driver may have put it to sleep), and advertise pause frames (IEEE 802.3, 28B.2). */
void vs_e1000e_start_phy(struct vs_nic *nic)
{
    vs_e1000e_own_mdio(nic, true);
    int control = phy(nic, E1_PHY_CONTROL, E1_MDIC_READ),
        advertised = phy(nic, E1_PHY_ADVERTISED, E1_MDIC_READ);
    bool anew = control >= 0 && control & E1_PHY_POWER_DOWN;
    if (advertised >= 0 && nic->config.flow_control & VS_NIC_PAUSE_AUTO) {
        int wish = wanted_pause(nic) & VS_NIC_PAUSE_RX ? E1_PHY_PAUSE | E1_PHY_ASM_DIR : E1_PHY_ASM_DIR;
        int to = (advertised & ~(E1_PHY_PAUSE | E1_PHY_ASM_DIR)) | wish;
        if (to != advertised) {
            phy(nic, E1_PHY_ADVERTISED, E1_MDIC_WRITE | (uint32_t)to);
            anew = true;
        }
    }
    if (anew && control >= 0)
        phy(nic, E1_PHY_CONTROL,
            E1_MDIC_WRITE | (((uint32_t)control & ~(uint32_t)E1_PHY_POWER_DOWN) | E1_PHY_AUTONEG));
    vs_e1000e_own_mdio(nic, false);
}

void vs_e1000e_set_pause(struct vs_nic *nic, uint32_t pause)
{
    vs_e1000e_change(nic, E1_CTRL, E1_CTRL_RFCE | E1_CTRL_TFCE,
                     (pause & VS_NIC_PAUSE_RX ? E1_CTRL_RFCE : 0) |
                         (pause & VS_NIC_PAUSE_TX ? E1_CTRL_TFCE : 0));
}

/* IEEE 802.3, table 28B-3. */
static void agree_on_pause(struct vs_nic *nic)
{
    if (!(nic->config.flow_control & VS_NIC_PAUSE_AUTO)) {
        vs_e1000e_set_pause(nic, nic->config.flow_control);
        return;
    }
    vs_e1000e_own_mdio(nic, true);
    int we = phy(nic, E1_PHY_ADVERTISED, E1_MDIC_READ), they = phy(nic, E1_PHY_PARTNER, E1_MDIC_READ);
    vs_e1000e_own_mdio(nic, false);
    uint32_t pause = 0;
    if (we < 0 || they < 0)
        pause = 0;
    else if (we & they & E1_PHY_PAUSE)
        pause = wanted_pause(nic);
    else if (we & they & E1_PHY_ASM_DIR)
        pause = we & E1_PHY_PAUSE ? VS_NIC_PAUSE_RX : they & E1_PHY_PAUSE ? VS_NIC_PAUSE_TX : 0;
    vs_e1000e_set_pause(nic, pause & wanted_pause(nic));
}

/* ---- link and counters ------------------------------------------------------------------------------------------ */

void vs_e1000e_link(struct vs_nic *nic, struct vs_nic_link *link)
{
    static const uint32_t speeds[4] = {10, 100, 1000, 1000};
    struct vs_e1000e *e = vs_e1000e_of(nic);
    uint32_t status = vs_e1000e_read(nic, E1_STATUS);
    link->up = status != UINT32_MAX && (status & E1_STATUS_LU) != 0;
    if (link->up && !e->was_up)
        agree_on_pause(nic);
    e->was_up = link->up;
    if (!link->up)
        return;
    link->full_duplex = (status & E1_STATUS_FD) != 0;
    link->speed_mbps = speeds[status >> E1_STATUS_SPEED_SHIFT & 3];
    uint32_t ctrl = vs_e1000e_read(nic, E1_CTRL);
    link->pause = (ctrl & E1_CTRL_RFCE ? VS_NIC_PAUSE_RX : 0) | (ctrl & E1_CTRL_TFCE ? VS_NIC_PAUSE_TX : 0);
    /* Segmentation is for 1 Gbit/s: at lower speeds the 82574 may hang on it. */
    uint32_t use = nic->info.features & ~nic->config.features_off;
    if (link->speed_mbps < 1000)
        use &= ~(uint32_t)(VS_NIC_F_TSO4 | VS_NIC_F_TSO6);
    __atomic_store_n(&nic->use, use, __ATOMIC_RELAXED);
}

static uint64_t count64(const struct vs_nic *nic, uint32_t low)
{
    uint64_t v = vs_e1000e_read(nic, low); /* the high half is read last: it clears both */
    return v | (uint64_t)vs_e1000e_read(nic, low + 4) << 32;
}

/* The datasheet's counter starts at 0 again when it was read; QEMU's goes on. A second read tells which. */
static uint64_t count_missed(struct vs_e1000e *e)
{
    uint32_t v = vs_e1000e_read(&e->nic, E1_MPC), again = vs_e1000e_read(&e->nic, E1_MPC), last = e->missed;
    if (v == 0 || again < v) {
        e->missed = 0;
        return (uint64_t)v + again;
    }
    e->missed = again;
    return again - last;
}

void vs_e1000e_stats(struct vs_nic *nic, struct vs_nic_stats *s)
{
    if (vs_e1000e_read(nic, E1_STATUS) == UINT32_MAX)
        return; /* gone: all counters would be */
    s->rx_packets += vs_e1000e_read(nic, E1_GPRC);
    s->tx_packets += vs_e1000e_read(nic, E1_GPTC);
    s->rx_bytes += count64(nic, E1_GORCL);
    s->tx_bytes += count64(nic, E1_GOTCL);
    /* QEMU's good ones are copies of the totals, which must go back to 0 with them. */
    (void)vs_e1000e_read(nic, E1_TPR);
    (void)vs_e1000e_read(nic, E1_TPT);
    (void)count64(nic, E1_TORL);
    (void)count64(nic, E1_TOTL);
    s->rx_missed += count_missed(vs_e1000e_of(nic));
    uint64_t crc = vs_e1000e_read(nic, E1_CRCERRS), length = vs_e1000e_read(nic, E1_RLEC);
    length += vs_e1000e_read(nic, E1_RUC) + (uint64_t)vs_e1000e_read(nic, E1_ROC);
    s->rx_crc += crc;
    s->rx_length += length;
    s->rx_errors += crc + length + vs_e1000e_read(nic, E1_RXERRC);
    s->tx_errors += vs_e1000e_read(nic, E1_ECOL) + (uint64_t)vs_e1000e_read(nic, E1_LATECOL);
    s->tx_collisions += vs_e1000e_read(nic, E1_COLC);
    s->rx_pause += vs_e1000e_read(nic, E1_XONRXC) + (uint64_t)vs_e1000e_read(nic, E1_XOFFRXC);
    s->tx_pause += vs_e1000e_read(nic, E1_XONTXC) + (uint64_t)vs_e1000e_read(nic, E1_XOFFTXC);
    s->rx_multicast += vs_e1000e_read(nic, E1_MPRC);
    s->rx_broadcast += vs_e1000e_read(nic, E1_BPRC);
}
