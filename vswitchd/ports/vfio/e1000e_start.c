/* e1000e_start.c: Intel 82574L and 82540EM: reset, identity, filters, rings; see e1000e.h. */
#include "e1000e.h"

#include <errno.h>

enum {
    MAX_MTU = 9234 - 4 - 14 - 8, /* the longest frame is 9,234 bytes with FCS */
    MIN_DESC = 64,
    MAX_DESC = 4096,
    DESC_MULTIPLE = 8,    /* rings are multiples of 128 bytes */
    LINK_IRQ_RATE = 4000, /* x 256 ns between two of the last vector: overruns raise it too */
};

static const struct kind {
    uint16_t device;
    uint8_t queues;
    bool legacy;
} kinds[] = {
    {0x10d3, 2, false}, {0x10f6, 2, false}, {0x150c, 1, false}, {0x100e, 1, true}, {0x100f, 1, true},
};

static const struct kind *kind_of(const struct vs_nic *nic)
{
    for (unsigned i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (kinds[i].device == nic->env.device)
            return &kinds[i];
    return &kinds[0];
}

uint32_t vs_e1000e_causes(const struct vs_nic *nic)
{
    uint32_t causes = vs_e1000e_read(nic, E1_ICR);
    vs_e1000e_write(nic, E1_ICR, causes); /* 10.2.4: there are cases in which the read does not clear */
    return causes;
}

/* ---- reset ------------------------------------------------------------------------------------------------------ */

/* No DMA and no interrupt any more; all registers as after power on, but the PHY goes on. QEMU 7.2 resets next to
 * nothing, so whatever matters is set in vs_e1000e_start. */
static int reset(struct vs_nic *nic)
{
    const struct vs_bar *bar = &nic->env.bars[0];
    const struct kind *k = kind_of(nic);
    vs_e1000e_write(nic, E1_IMC, UINT32_MAX);
    vs_e1000e_write(nic, E1_RCTL, 0);
    vs_e1000e_write(nic, E1_TCTL, E1_TCTL_PSP);
    if (vs_e1000e_read(nic, E1_STATUS) == UINT32_MAX)
        return vs_nic_fail(nic, ENODEV, "the device does not answer: it is switched off, or gone");
    if (k->legacy) {
        vs_nic_sleep_us(2000); /* the frames under way are through: nothing tells */
    } else {
        vs_e1000e_change(nic, E1_CTRL, 0, E1_CTRL_MASTER_DISABLE);
        (void)vs_nic_wait(bar, E1_STATUS, E1_STATUS_MASTER_ENABLE, 0, 80); /* else the reset ends it */
        vs_e1000e_own_mdio(nic, true);
    }
    vs_e1000e_change(nic, E1_CTRL, 0, E1_CTRL_RST);
    vs_nic_sleep_us(1000);
    int rc = vs_nic_wait(bar, E1_CTRL, E1_CTRL_RST, 0, 10);
    vs_e1000e_own_mdio(nic, false);
    if (rc == 0 && k->legacy)
        vs_nic_sleep_us(5000); /* reads its EEPROM: the 8254x have no bit for when that is done */
    else if (rc == 0)
        rc = vs_nic_wait(bar, E1_EECD, E1_EECD_AUTO_RD, E1_EECD_AUTO_RD, 20);
    if (rc < 0)
        return vs_nic_fail(nic, ETIMEDOUT, "the device does not come back from its reset");
    vs_e1000e_write(nic, E1_IMC, UINT32_MAX);
    (void)vs_e1000e_causes(nic);
    return 0;
}

static void set_mac(const struct vs_nic *nic, const uint8_t mac[6])
{
    uint32_t low, high = 0;
    memcpy(&low, mac, 4);
    memcpy(&high, mac + 4, 2);
    vs_e1000e_write(nic, E1_RAL, low);
    vs_e1000e_write(nic, E1_RAH, high | E1_RAH_AV);
}

int vs_e1000e_probe(struct vs_nic *nic)
{
    static const uint8_t none[6] = {0};
    const struct kind *k = kind_of(nic);
    vs_e1000e_of(nic)->legacy = k->legacy;
    int rc = vs_nic_need_bar(nic, 0, E1_BAR_SIZE);
    if (rc == 0)
        rc = reset(nic);
    if (rc < 0)
        return rc;
    uint32_t low = vs_e1000e_read(nic, E1_RAL), high = vs_e1000e_read(nic, E1_RAH);
    struct vs_nic_info *i = &nic->info;
    memcpy(i->mac, &low, 4);
    memcpy(i->mac + 4, &high, 2);
    if (memcmp(i->mac, none, 6) == 0 || i->mac[0] & 1)
        return vs_nic_fail(nic, EIO, "the device has no MAC address: its EEPROM is empty or damaged");
    i->max_rxq = i->max_txq = k->queues;
    i->min_desc = MIN_DESC;
    i->max_desc = MAX_DESC;
    i->desc_multiple = DESC_MULTIPLE;
    i->max_mtu = MAX_MTU;
    i->features = VS_NIC_F_RX_CSUM | VS_NIC_F_TX_CSUM | VS_NIC_F_PROMISC | VS_NIC_F_ALLMULTI |
                  VS_NIC_F_SET_MAC | VS_NIC_F_FLOW_CONTROL | VS_NIC_F_LINK_IRQ;
    if (!k->legacy) /* the 8254x have it too, with errata */
        i->features |= VS_NIC_F_TSO4 | VS_NIC_F_TSO6;
    if (k->queues > 1)
        i->features |= VS_NIC_F_RSS;
    return 0;
}

/* ---- start and stop --------------------------------------------------------------------------------------------- */

/* Bits that Intel wants to be set in the PCIe parts: errata (82574 specification update), and descriptors counted one by one. */
static void set_chip_bits(const struct vs_nic *nic)
{
    vs_e1000e_change(nic, E1_CTRL, 1 << 29, 0);
    vs_e1000e_change(nic, E1_CTRL_EXT, 1 << 23, 1 << 22 | E1_CTRL_EXT_DRV_LOAD | E1_CTRL_EXT_PBA_CLR);
    vs_e1000e_change(nic, E1_GCR, 0, 1 << 22);
    vs_e1000e_change(nic, E1_GCR2, 0, 1);
    vs_e1000e_change(nic, E1_TARC, 15 << 27, 1 << 26);
    vs_e1000e_change(nic, E1_TARC + E1_QUEUE_STEP, 7 << 28, 0); /* bit 28 stands against MULR */
}

static void set_filters(struct vs_nic *nic)
{
    static const uint8_t none[6] = {0};
    set_mac(nic, memcmp(nic->config.mac, none, 6) != 0 ? nic->config.mac : nic->info.mac);
    for (uint32_t i = 1; i < 16; i++)
        vs_e1000e_write(nic, E1_RAH + 8 * i, 0);
    for (uint32_t i = 0; i < 128; i++)
        vs_e1000e_write(nic, E1_MTA + 4 * i, 0);
}

/* XOFF when the receive part of the packet memory has no room for one more frame, XON soon below. */
static void set_flow_control(const struct vs_nic *nic)
{
    uint32_t pause = nic->config.flow_control, memory = (vs_e1000e_read(nic, E1_PBA) & 0xffff) << 10;
    uint32_t left = memory > nic->max_frame ? memory - nic->max_frame : 0;
    uint32_t high = VS_MIN(memory / 10 * 9, left) & 0xfff8;
    bool sends = pause & (VS_NIC_PAUSE_TX | VS_NIC_PAUSE_AUTO) && high > 8;
    vs_e1000e_write(nic, E1_FCAL, 0x00c28001); /* 01:80:c2:00:00:01, ethertype 8808 */
    vs_e1000e_write(nic, E1_FCAH, 0x0100);
    vs_e1000e_write(nic, E1_FCT, 0x8808);
    vs_e1000e_write(nic, E1_FCTTV, 0xffff);
    vs_e1000e_write(nic, E1_FCRTL, sends ? (high - 8) | E1_FCRTL_XONE : 0);
    vs_e1000e_write(nic, E1_FCRTH, sends ? high : 0);
}

/* 7.1: the low seven bits of the hash choose an entry, whose bit 7 is the queue. UDP is spread by its addresses alone. */
static void set_rss(const struct vs_nic *nic)
{
    bool on = nic->config.n_rxq > 1 && nic->use & VS_NIC_F_RSS;
    for (uint32_t i = 0; i < 10; i++) {
        uint32_t word;
        memcpy(&word, vs_nic_rss_key + 4 * i, 4);
        vs_e1000e_write(nic, E1_RSSRK + 4 * i, word);
    }
    for (uint32_t i = 0; i < 32; i++)
        vs_e1000e_write(nic, E1_RETA + 4 * i, on ? 0x80008000 : 0);
    vs_e1000e_write(nic, E1_MRQC, on ? E1_MRQC_RSS | E1_MRQC_FIELDS : 0);
}

static int start_receive(struct vs_nic *nic)
{
    const struct vs_e1000e *e = vs_e1000e_of(nic);
    for (unsigned i = 0; i < nic->config.n_rxq; i++) {
        struct vs_nic_rxq *q = &nic->rxq[i];
        uint32_t at = i * E1_QUEUE_STEP;
        for (uint16_t k = 0; k < q->size; k++) {
            q->bufs[k] = vs_dma_get(&q->list);
            if (q->bufs[k] == NULL)
                return vs_nic_fail(nic, ENOMEM, "no packet buffers left for the receive queues");
            vs_e1000e_post(q, k);
        }
        q->doorbell = E1_RDT + at;
        vs_mmio_write64_halves(&nic->env.bars[0], E1_RDBAL + at, q->ring_iova);
        vs_e1000e_write(nic, E1_RDLEN + at, q->size * (uint32_t)sizeof(struct vs_e1000e_desc));
        vs_e1000e_write(nic, E1_RDH + at, 0);
        vs_e1000e_write(nic, E1_RDT + at, 0);
        vs_e1000e_write(nic, E1_RXDCTL + at, E1_RXDCTL_THRESHOLDS);
    }
    vs_e1000e_write(nic, E1_RDTR, 0); /* written back at once */
    vs_e1000e_write(nic, E1_RADV, 0);
    uint32_t csum = nic->use & VS_NIC_F_RX_CSUM ? E1_RXCSUM_IPOFLD | E1_RXCSUM_TUOFLD : 0;
    vs_e1000e_write(nic, E1_RXCSUM, csum | (e->legacy ? 0 : E1_RXCSUM_PCSD));
    if (!e->legacy) {
        /* Malformed IPv6 extension headers can hang the parser; ACK detection raises interrupts that nobody asked for. */
        vs_e1000e_write(nic, E1_RFCTL,
                        E1_RFCTL_EXTEN | E1_RFCTL_ISCSI_DIS | E1_RFCTL_NFSW_DIS | E1_RFCTL_NFSR_DIS |
                            E1_RFCTL_ACK_DIS | E1_RFCTL_IPV6_EX_DIS | E1_RFCTL_NEW_IPV6_EXT_DIS);
        set_rss(nic);
    }
    return 0;
}

static void start_transmit(struct vs_nic *nic)
{
    for (unsigned i = 0; i < nic->config.n_txq; i++) {
        struct vs_nic_txq *q = &nic->txq[i];
        uint32_t at = i * E1_QUEUE_STEP;
        q->doorbell = E1_TDT + at;
        vs_mmio_write64_halves(&nic->env.bars[0], E1_TDBAL + at, q->ring_iova);
        vs_e1000e_write(nic, E1_TDLEN + at, q->size * (uint32_t)sizeof(struct vs_e1000e_desc));
        vs_e1000e_write(nic, E1_TDH + at, 0);
        vs_e1000e_write(nic, E1_TDT + at, 0);
        vs_e1000e_write(nic, E1_TXDCTL + at,
                        E1_TXDCTL_THRESHOLDS | (vs_e1000e_of(nic)->legacy ? 0 : E1_TXDCTL_COUNT));
    }
    vs_e1000e_write(nic, E1_TIPG, E1_TIPG_COPPER);
    uint32_t both = vs_e1000e_of(nic)->legacy ? 0 : E1_TCTL_MULR;
    vs_e1000e_write(nic, E1_TCTL, E1_TCTL_EN | E1_TCTL_PSP | E1_TCTL_COLLISIONS | E1_TCTL_RTLC | both);
}

/* Vectors of the receive queues, then one for the rest (7.4). Masked and cleared by the device when they are sent (EIAC). */
static void start_interrupts(struct vs_nic *nic)
{
    uint32_t vectors = nic->config.n_vectors, last = vectors > 0 ? vectors - 1 : 0, causes = E1_INT_OTHER;
    if (!vs_e1000e_of(nic)->legacy) {
        uint32_t ivar = (last | E1_IVAR_VALID) << E1_IVAR_OTHER_SHIFT;
        for (uint32_t i = 0; i < nic->config.n_rxq; i++) {
            ivar |= (VS_MIN(i, last) | E1_IVAR_VALID) << 4 * i;
            causes |= (uint32_t)E1_INT_RXQ0 << i;
        }
        vs_e1000e_write(nic, E1_IVAR, vectors > 0 ? ivar : 0);
        vs_e1000e_write(nic, E1_EIAC, vectors > 1 ? causes : 0);
        for (uint32_t i = 0; i < vectors; i++)
            vs_e1000e_write(nic, E1_EITR + 4 * i, i > 0 && i == last ? LINK_IRQ_RATE : 0);
    }
    for (unsigned i = 1; vectors == 1 && i < nic->config.n_rxq; i++)
        nic->rxq[i].fd = -1; /* e1000e.h: nothing would wake its core */
    vs_e1000e_write(nic, E1_ITR, 0);
    if (vectors > 0)
        vs_e1000e_write(nic, E1_IMS, E1_INT_LSC | (vs_e1000e_of(nic)->legacy ? 0 : E1_INT_OTHER));
}

static uint32_t rctl_mode(uint32_t mode)
{
    return (mode & VS_NIC_RX_PROMISC ? E1_RCTL_UPE | E1_RCTL_MPE : 0) |
           (mode & VS_NIC_RX_ALLMULTI ? E1_RCTL_MPE : 0);
}

int vs_e1000e_set_rx_mode(struct vs_nic *nic, uint32_t mode)
{
    struct vs_e1000e *e = vs_e1000e_of(nic);
    uint32_t rctl = (e->rctl & ~(uint32_t)(E1_RCTL_UPE | E1_RCTL_MPE)) | rctl_mode(mode);
    if (rctl != e->rctl) /* QEMU's 82540EM receives nothing for a second after each write */
        vs_e1000e_write(nic, E1_RCTL, rctl);
    e->rctl = rctl;
    return 0;
}

int vs_e1000e_start(struct vs_nic *nic)
{
    struct vs_e1000e *e = vs_e1000e_of(nic);
    if (nic->config.n_vectors > 1 && kind_of(nic)->queues == 1)
        return vs_nic_fail(nic, EINVAL, "%u interrupt vectors: the device has one", nic->config.n_vectors);
    int rc = reset(nic);
    if (rc < 0)
        return rc;
    if (!e->legacy)
        set_chip_bits(nic);
    vs_e1000e_change(nic, E1_CTRL,
                     E1_CTRL_MASTER_DISABLE | E1_CTRL_LRST | E1_CTRL_ILOS | E1_CTRL_FRCSPD | E1_CTRL_FRCDPX |
                         E1_CTRL_VME,
                     E1_CTRL_SLU | (e->legacy ? E1_CTRL_ASDE : 0));
    set_filters(nic);
    set_flow_control(nic);
    vs_e1000e_set_pause(nic, nic->config.flow_control & VS_NIC_PAUSE_AUTO ? 0 : nic->config.flow_control);
    vs_e1000e_start_phy(nic);
    rc = start_receive(nic);
    if (rc < 0)
        return rc;
    start_transmit(nic);
    e->was_up = 0;
    e->missed = 0;
    struct vs_nic_stats before = {0};
    vs_e1000e_stats(nic, &before); /* what others counted */
    /* Frames with two tags are longer than the 1,522 bytes that go without LPE. */
    e->rctl = E1_RCTL_EN | E1_RCTL_BAM | E1_RCTL_LPE | E1_RCTL_SECRC | rctl_mode(nic->config.rx_mode);
    vs_e1000e_write(nic, E1_RCTL, e->rctl);
    for (unsigned i = 0; i < nic->config.n_rxq; i++)
        vs_e1000e_write(nic, nic->rxq[i].doorbell, nic->rxq[i].size - 1u);
    start_interrupts(nic);
    e->seen = vs_e1000e_read(nic, E1_STATUS);
    return 0;
}

void vs_e1000e_stop(struct vs_nic *nic)
{
    if (reset(nic) < 0)
        vs_e1000e_write(nic, E1_CTRL, E1_CTRL_RST); /* no answer that makes sense: all that is left to do */
    set_mac(nic, nic->info.mac);                    /* QEMU's reset does not bring it back */
    for (unsigned i = 0; i < 2 && (i == 0 || !vs_e1000e_of(nic)->legacy); i++) {
        uint32_t at = i * E1_QUEUE_STEP;
        vs_e1000e_write(nic, E1_RDLEN + at, 0);
        vs_e1000e_write(nic, E1_TDLEN + at, 0);
    }
    if (!vs_e1000e_of(nic)->legacy)
        vs_e1000e_change(nic, E1_CTRL_EXT, E1_CTRL_EXT_DRV_LOAD, 0);
}
