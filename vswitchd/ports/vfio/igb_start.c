/* igb_start.c: reset, start and stop of a physical function of the igb driver; see igb.h. */
#include "igb.h"

#include <errno.h>

enum {
    MASTER_MS = 100, /* requests under way end, 5.2.3.3 */
    RESET_US = 3000, /* 1 ms and some, 4.2.1.6 */
    EEPROM_MS = 25, /* auto read after reset; QEMU's device never says that it is done, so this is no error */
};

/* No DMA and no interrupts any more. */
static void quiet(struct igb *igb)
{
    vs_igb_write(igb, IGB_IMC, UINT32_MAX);
    vs_igb_write(igb, IGB_EIMC, UINT32_MAX);
    vs_igb_write(igb, IGB_RCTL, 0);
    vs_igb_write(igb, IGB_TCTL, IGB_TCTL_DEFAULTS);
    if (vs_igb_gone(igb))
        return;
    vs_igb_write(igb, IGB_CTRL, vs_igb_read(igb, IGB_CTRL) | IGB_CTRL_MASTER_DISABLE);
    vs_nic_wait(&igb->nic.env.bars[0], IGB_STATUS, IGB_STATUS_MASTER, 0, MASTER_MS);
}

/* 4.6.1: a reset of everything but PHY and PCI, then read the address that the EEPROM gave. */
static int pf_reset(struct igb *igb)
{
    struct vs_nic *nic = &igb->nic;
    quiet(igb);
    vs_igb_write(igb, IGB_CTRL, vs_igb_read(igb, IGB_CTRL) | IGB_CTRL_RST);
    vs_nic_sleep_us(RESET_US);
    if (vs_nic_wait(&nic->env.bars[0], IGB_CTRL, IGB_CTRL_RST, 0, EEPROM_MS) < 0)
        return vs_nic_fail(nic, ETIMEDOUT, "the device does not come back from its reset");
    vs_nic_wait(&nic->env.bars[0], IGB_EECD, IGB_EECD_AUTO_RD, IGB_EECD_AUTO_RD, EEPROM_MS);
    vs_igb_write(igb, IGB_IMC, UINT32_MAX);
    vs_igb_write(igb, IGB_EIMC, UINT32_MAX);
    vs_igb_read(igb, IGB_ICR);
    uint32_t low = vs_igb_read(igb, IGB_RAL), high = vs_igb_read(igb, IGB_RAH);
    if (!(high & IGB_RAH_VALID) || (low & 1) || (low == 0 && (uint16_t)high == 0))
        return vs_nic_fail(nic, EIO, "the device's memory holds no MAC address of its own");
    for (unsigned i = 0; i < 6; i++)
        nic->info.mac[i] = (uint8_t)(i < 4 ? low >> 8 * i : high >> 8 * (i - 4));
    return 0;
}

static void set_mac(struct igb *igb)
{
    static const uint8_t none[6];
    const uint8_t *m = igb->nic.config.mac;
    if (memcmp(m, none, sizeof none) == 0)
        m = igb->nic.info.mac;
    vs_igb_write(igb, IGB_RAL, (uint32_t)m[3] << 24 | (uint32_t)m[2] << 16 | (uint32_t)m[1] << 8 | m[0]);
    vs_igb_write(igb, IGB_RAH, IGB_RAH_VALID | (uint32_t)m[5] << 8 | m[4]);
}

/* 7.1.1.7: hash of addresses and ports, 128 entries that name the queues in turn. Descriptors hold the hash, not the packet's sum,
 * also with one queue: so there is one layout. */
static void set_rss(struct igb *igb)
{
    const struct vs_nic *nic = &igb->nic;
    bool rss = nic->config.n_rxq > 1 && (nic->use & VS_NIC_F_RSS);
    uint32_t sums = nic->use & VS_NIC_F_RX_CSUM ? IGB_RXCSUM_IP | IGB_RXCSUM_L4 : 0;
    vs_igb_write(igb, IGB_RXCSUM, IGB_RXCSUM_PCSD | sums);
    for (unsigned i = 0; i < sizeof vs_nic_rss_key; i += 4) {
        const uint8_t *k = vs_nic_rss_key + i;
        vs_igb_write(igb, IGB_RSSRK + i,
                     (uint32_t)k[3] << 24 | (uint32_t)k[2] << 16 | (uint32_t)k[1] << 8 | k[0]);
    }
    for (unsigned i = 0; i < IGB_RETA_ENTRIES; i += 4) {
        uint32_t four = 0;
        for (unsigned k = 0; k < 4; k++)
            four |= (i + k) % nic->config.n_rxq << 8 * k;
        vs_igb_write(igb, IGB_RETA + i, four);
    }
    vs_igb_write(igb, IGB_MRQC, rss ? IGB_MRQC_RSS | IGB_MRQC_FIELDS : 0);
}

static uint32_t receive_control(uint32_t mode)
{
    uint32_t rctl = IGB_RCTL_LPE | IGB_RCTL_BAM | IGB_RCTL_SECRC;
    if (mode & VS_NIC_RX_PROMISC)
        rctl |= IGB_RCTL_UPE | IGB_RCTL_MPE;
    if (mode & VS_NIC_RX_ALLMULTI)
        rctl |= IGB_RCTL_MPE;
    return rctl;
}

static int pf_configure(struct igb *igb)
{
    set_mac(igb);
    for (unsigned i = 0; i < IGB_MTA_WORDS; i++) /* not cleared by a reset, 8.10 */
        vs_igb_write(igb, IGB_MTA + 4 * i, 0);
    vs_igb_write(igb, IGB_RLPML, igb->nic.max_frame + 4);
    set_rss(igb);
    return 0;
}

static void pf_run(struct igb *igb)
{
    vs_igb_link_start(igb);
    vs_igb_write(igb, IGB_TCTL, IGB_TCTL_DEFAULTS | IGB_TCTL_EN);
    vs_igb_write(igb, IGB_RCTL, receive_control(igb->nic.config.rx_mode) | IGB_RCTL_EN);
}

static void pf_stop(struct igb *igb)
{
    quiet(igb);
    vs_igb_queues_stop(igb);
    if (vs_igb_gone(igb))
        return;
    /* Whatever did not end by itself ends with the reset; what it leaves is also what the next start expects. */
    igb->ready = pf_reset(igb) == 0;
}

static int pf_irq(struct igb *igb)
{
    return vs_igb_read(igb, IGB_ICR) & IGB_ICR_LSC ? VS_NIC_IRQ_LINK : 0;
}

static int pf_set_rx_mode(struct igb *igb, uint32_t mode)
{
    vs_igb_write(igb, IGB_RCTL, receive_control(mode) | IGB_RCTL_EN);
    return 0;
}

const struct igb_ops vs_igb_pf_ops = {.reset = pf_reset,
                                      .configure = pf_configure,
                                      .run = pf_run,
                                      .stop = pf_stop,
                                      .irq = pf_irq,
                                      .link = vs_igb_link,
                                      .stats = vs_igb_stats,
                                      .set_rx_mode = pf_set_rx_mode};
