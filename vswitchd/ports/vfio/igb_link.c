/* igb_link.c: PHY, link, pause frames and counters of a physical function of the igb driver; see igb.h. */
#include "igb.h"

#include <errno.h>

enum {
    PHY_MS = 10, /* one access takes 64 us, 8.2.4 */
    SEMAPHORE_TRIES = 500,
    SEMAPHORE_US = 100,
    PAUSE_TIME = 0xffff, /* longest, in slots of 512 bits; the device takes it back when it has room */
};

/* ---- the PHY ------------------------------------------------------------------------------------------------------- */

static uint32_t phy_bit(const struct igb *igb)
{
    static const uint32_t bits[4] = {0x02, 0x04, 0x20, 0x40}; /* of SW_FW_SYNC */
    return bits[vs_igb_read(igb, IGB_STATUS) >> IGB_STATUS_LAN_SHIFT & 3];
}

/* Take the semaphore of semaphores, 4.7: between drivers (SMBI), then between driver and firmware. */
static bool semaphore_take(const struct igb *igb)
{
    if (vs_igb_read(igb, IGB_SWSM) & IGB_SWSM_SMBI)
        return false;
    vs_igb_write(igb, IGB_SWSM, IGB_SWSM_SWESMBI);
    if (vs_igb_read(igb, IGB_SWSM) & IGB_SWSM_SWESMBI)
        return true;
    vs_igb_write(igb, IGB_SWSM, 0); /* the firmware has it: the other one back */
    return false;
}

/* Firmware and the other functions use the PHY's bus too. Who holds it for long has died with it: a driver that was killed. */
static void phy_lock(const struct igb *igb)
{
    uint32_t bit = phy_bit(igb);
    for (unsigned i = 0; i < SEMAPHORE_TRIES; i++) {
        if (semaphore_take(igb) || i + 1 == SEMAPHORE_TRIES) {
            uint32_t held = vs_igb_read(igb, IGB_SW_FW_SYNC);
            bool ours = !(held & (bit | bit << 16)) || i + 1 == SEMAPHORE_TRIES;
            if (ours)
                vs_igb_write(igb, IGB_SW_FW_SYNC, held | bit);
            vs_igb_write(igb, IGB_SWSM, 0);
            if (ours)
                return;
        }
        vs_nic_sleep_us(SEMAPHORE_US);
    }
}

static void phy_unlock(const struct igb *igb)
{
    semaphore_take(igb);
    vs_igb_write(igb, IGB_SW_FW_SYNC, vs_igb_read(igb, IGB_SW_FW_SYNC) & ~phy_bit(igb));
    vs_igb_write(igb, IGB_SWSM, 0);
}

/* One access by MDIC, 8.2.4. The value read, 0 for a write, or -errno. */
static int phy_access(const struct igb *igb, uint32_t reg, uint32_t command)
{
    vs_igb_write(igb, IGB_MDIC, command | reg << IGB_MDIC_REG_SHIFT | IGB_MDIC_PHY);
    if (vs_nic_wait(&igb->nic.env.bars[0], IGB_MDIC, IGB_MDIC_READY, IGB_MDIC_READY, PHY_MS) < 0)
        return -ETIMEDOUT;
    uint32_t v = vs_igb_read(igb, IGB_MDIC);
    return v & IGB_MDIC_ERROR ? -EIO : (int)(v & 0xffff);
}

static int phy_read(const struct igb *igb, uint32_t reg)
{
    return phy_access(igb, reg, IGB_MDIC_READ);
}

static void phy_write(const struct igb *igb, uint32_t reg, uint32_t value)
{
    phy_access(igb, reg, IGB_MDIC_WRITE | (value & 0xffff));
}

static bool has_phy(const struct igb *igb)
{
    return (vs_igb_read(igb, IGB_CTRL_EXT) & IGB_CTRL_EXT_LINK_MODE) == 0;
}

/* ---- start --------------------------------------------------------------------------------------------------------- */

/* What we tell the partner of pause frames, 802.3 annex 28B. */
static uint32_t advertised(uint32_t flow)
{
    if (!(flow & VS_NIC_PAUSE_AUTO))
        return 0;
    return (flow & VS_NIC_PAUSE_RX ? IGB_AN_PAUSE | IGB_AN_ASYM : 0) ^
           (flow & VS_NIC_PAUSE_TX ? IGB_AN_ASYM : 0);
}

/* Negotiate anew only where there is a reason: a link that is up stays up over stop and start. */
static void negotiate(const struct igb *igb)
{
    phy_lock(igb);
    int bmcr = phy_read(igb, IGB_PHY_BMCR), bmsr = phy_read(igb, IGB_PHY_BMSR);
    int anar = phy_read(igb, IGB_PHY_ANAR);
    if (bmcr >= 0 && bmsr >= 0 && anar >= 0) {
        uint32_t tell = ((uint32_t)anar & ~(uint32_t)(IGB_AN_PAUSE | IGB_AN_ASYM)) |
                        advertised(igb->nic.config.flow_control);
        bool idle = (bmcr & (IGB_BMCR_POWER_DOWN | IGB_BMCR_AUTONEG)) != IGB_BMCR_AUTONEG;
        if (idle || !(bmsr & IGB_BMSR_DONE) || tell != (uint32_t)anar) {
            phy_write(igb, IGB_PHY_ANAR, tell);
            phy_write(igb, IGB_PHY_BMCR,
                      ((uint32_t)bmcr & ~(uint32_t)IGB_BMCR_POWER_DOWN) | IGB_BMCR_AUTONEG |
                          IGB_BMCR_RESTART);
        }
    }
    phy_unlock(igb);
}

/* Fibre, backplane, SGMII: the MAC's own PCS, at 1 Gb/s; negotiated but for 1000BASE-KX, which does not. */
static void pcs_start(const struct igb *igb)
{
    uint32_t ext = vs_igb_read(igb, IGB_CTRL_EXT);
    bool kx = (ext & IGB_CTRL_EXT_LINK_MODE) == IGB_CTRL_EXT_KX;
    vs_igb_write(igb, IGB_CTRL_EXT, ext & ~(uint32_t)IGB_CTRL_EXT_SDP3); /* the laser on */
    vs_igb_write(igb, IGB_PCS_CFG, vs_igb_read(igb, IGB_PCS_CFG) | IGB_PCS_CFG_EN);
    uint32_t ctrl = vs_igb_read(igb, IGB_CTRL) & ~(uint32_t)IGB_CTRL_SPEED;
    vs_igb_write(igb, IGB_CTRL,
                 ctrl | IGB_CTRL_SPEED_1000 | IGB_CTRL_FD | IGB_CTRL_FRCSPD | IGB_CTRL_FRCDPX | IGB_CTRL_SLU);
    uint32_t pcs = vs_igb_read(igb, IGB_PCS_LCTL) &
                   ~(uint32_t)(IGB_PCS_LCTL_FORCE | IGB_PCS_LCTL_AN | IGB_PCS_LCTL_TIMEOUT);
    vs_igb_write(igb, IGB_PCS_LCTL, pcs | (kx ? 0 : IGB_PCS_LCTL_AN | IGB_PCS_LCTL_RESTART));
}

/* When to send pause frames: with 9/10 of the packet buffer full, or two frames short of it, 3.5.5.3. */
static void watermarks(const struct igb *igb)
{
    static const uint8_t kb[11] = {36, 72, 144, 1,  2,  4,
                                   8,  16, 35,  70, 140};    /* I350, 82580: RXPBS is an index */
    uint32_t rxpbs = vs_igb_read(igb, IGB_RXPBS), size = 34; /* I210 */
    if (igb->family == IGB_82576)
        size = rxpbs & 0x7f;
    else if (igb->family == IGB_I350 && (rxpbs & 15) < sizeof kb)
        size = kb[rxpbs & 15];
    uint32_t all = size * 1024, frames = 2 * (igb->nic.max_frame + 4);
    uint32_t high = VS_MIN(all / 10 * 9, all > frames ? all - frames : 0) & 0xfff0;
    bool send = igb->nic.config.flow_control & VS_NIC_PAUSE_TX;
    vs_igb_write(igb, IGB_FCRTL, send && high > 16 ? IGB_FCRTL_XON | (high - 16) : 0);
    vs_igb_write(igb, IGB_FCRTH, send ? high : 0);
    vs_igb_write(igb, IGB_FCTTV, PAUSE_TIME);
    vs_igb_write(igb, IGB_FCRTV, PAUSE_TIME / 2);
    vs_igb_write(igb, IGB_FCAL, 0x00c28001); /* 01:80:c2:00:00:01, type 8808 */
    vs_igb_write(igb, IGB_FCAH, 0x00000100);
    vs_igb_write(igb, IGB_FCT, 0x8808);
}

void vs_igb_link_start(struct igb *igb)
{
    watermarks(igb);
    if (!has_phy(igb)) {
        pcs_start(igb);
        return;
    }
    uint32_t ctrl = vs_igb_read(igb, IGB_CTRL);
    ctrl &= ~(uint32_t)(IGB_CTRL_FRCSPD | IGB_CTRL_FRCDPX | IGB_CTRL_VME | IGB_CTRL_MASTER_DISABLE);
    vs_igb_write(igb, IGB_CTRL, ctrl | IGB_CTRL_SLU);
    negotiate(igb);
}

/* ---- link ---------------------------------------------------------------------------------------------------------- */

/* Pause frames that both ends agreed to, 802.3 table 28B-3, or those that were ordered. */
static uint32_t agreed(const struct igb *igb)
{
    uint32_t flow = igb->nic.config.flow_control, both = VS_NIC_PAUSE_RX | VS_NIC_PAUSE_TX;
    if (!(flow & VS_NIC_PAUSE_AUTO) || !has_phy(igb))
        return flow & both;
    phy_lock(igb);
    int theirs = phy_read(igb, IGB_PHY_ANLPAR);
    phy_unlock(igb);
    uint32_t ours = advertised(flow);
    if (theirs < 0)
        return 0;
    if (ours & (uint32_t)theirs & IGB_AN_PAUSE)
        return flow & VS_NIC_PAUSE_TX ? both : VS_NIC_PAUSE_RX;
    if (!(ours & (uint32_t)theirs & IGB_AN_ASYM))
        return 0;
    return ours & IGB_AN_PAUSE ? VS_NIC_PAUSE_RX : theirs & IGB_AN_PAUSE ? VS_NIC_PAUSE_TX : 0;
}

void vs_igb_link(struct igb *igb, struct vs_nic_link *link)
{
    static const uint32_t speeds[4] = {10, 100, 1000, 1000};
    uint32_t status = vs_igb_read(igb, IGB_STATUS);
    link->up = (status & IGB_STATUS_LU) != 0;
    if (!has_phy(igb))
        link->up |= vs_igb_read(igb, IGB_PCS_LSTAT) & IGB_PCS_LSTAT_LINK;
    if (!link->up)
        return;
    link->full_duplex = (status & IGB_STATUS_FD) != 0;
    link->speed_mbps = speeds[status >> IGB_STATUS_SPEED_SHIFT & 3];
    /* The MAC does not follow the PHY in this: whoever reads the link tells it. */
    link->pause = link->full_duplex ? agreed(igb) : 0;
    uint32_t want = (link->pause & VS_NIC_PAUSE_RX ? IGB_CTRL_RFCE : 0) |
                    (link->pause & VS_NIC_PAUSE_TX ? IGB_CTRL_TFCE : 0);
    uint32_t ctrl = vs_igb_read(igb, IGB_CTRL);
    if ((ctrl & (IGB_CTRL_RFCE | IGB_CTRL_TFCE)) != want)
        vs_igb_write(igb, IGB_CTRL, (ctrl & ~(uint32_t)(IGB_CTRL_RFCE | IGB_CTRL_TFCE)) | want);
}

/* ---- counters ------------------------------------------------------------------------------------------------------ */

/* Counters of 8.19 that clear when they are read, by offset from the first, and what they are added to. */
static const struct {
    uint16_t reg, field;
} counters[] = {
    {0x00, offsetof(struct vs_nic_stats, rx_crc)},        /* CRCERRS */
    {0x0c, offsetof(struct vs_nic_stats, rx_errors)},     /* RXERRC */
    {0x10, offsetof(struct vs_nic_stats, rx_missed)},     /* MPC */
    {0x20, offsetof(struct vs_nic_stats, tx_errors)},     /* LATECOL */
    {0x18, offsetof(struct vs_nic_stats, tx_errors)},     /* ECOL */
    {0x28, offsetof(struct vs_nic_stats, tx_collisions)}, /* COLC */
    {0x40, offsetof(struct vs_nic_stats, rx_length)},     /* RLEC */
    {0x48, offsetof(struct vs_nic_stats, rx_pause)},      /* XONRXC */
    {0x4c, offsetof(struct vs_nic_stats, tx_pause)},      /* XONTXC */
    {0x50, offsetof(struct vs_nic_stats, rx_pause)},      /* XOFFRXC */
    {0x54, offsetof(struct vs_nic_stats, tx_pause)},      /* XOFFTXC */
    {0x74, offsetof(struct vs_nic_stats, rx_packets)},    /* GPRC */
    {0x78, offsetof(struct vs_nic_stats, rx_broadcast)},  /* BPRC */
    {0x7c, offsetof(struct vs_nic_stats, rx_multicast)},  /* MPRC */
    {0x80, offsetof(struct vs_nic_stats, tx_packets)},    /* GPTC */
    {0xa4, offsetof(struct vs_nic_stats, rx_length)},     /* RUC */
    {0xa8, offsetof(struct vs_nic_stats, rx_length)},     /* RFC */
    {0xac, offsetof(struct vs_nic_stats, rx_length)},     /* ROC */
    {0xb0, offsetof(struct vs_nic_stats, rx_length)},     /* RJC */
};

static uint64_t octets(const struct igb *igb, uint32_t low)
{
    uint64_t v = vs_igb_read(igb, IGB_STATS + low); /* reading the upper half clears both */
    return v | (uint64_t)vs_igb_read(igb, IGB_STATS + low + 4) << 32;
}

void vs_igb_stats(struct igb *igb, struct vs_nic_stats *stats)
{
    uint64_t bad = stats->rx_crc + stats->rx_length;
    for (unsigned i = 0; i < sizeof counters / sizeof counters[0]; i++) {
        uint64_t *field = (uint64_t *)(void *)((char *)stats + counters[i].field);
        *field += vs_igb_read(igb, IGB_STATS + counters[i].reg);
    }
    stats->rx_errors += stats->rx_crc + stats->rx_length - bad; /* errors with a name are errors */
    stats->rx_bytes += octets(igb, 0x88);
    stats->tx_bytes += octets(igb, 0x90);
    for (unsigned i = 0; i < igb->nic.config.n_rxq; i++) { /* dropped for want of descriptors, 8.10 */
        uint32_t reg = vs_igb_rx_base(igb, i) + IGB_RQDPC;
        stats->rx_missed += vs_igb_read(igb, reg) & 0xfff;
        if (igb->family == IGB_I210) /* cleared by writing */
            vs_igb_write(igb, reg, 0);
    }
}
