/* ixgbe_start.c: reset, and everything in the order that the 82599 datasheet asks for (4.6); see ixgbe.h. */
#include "ixgbe.h"

#include <errno.h>

enum {
    QUEUE_MS = 10,
    RESET_MS = 100,
    EEPROM_MS = 100,
    MASTER_MS = 80,
    SEMAPHORE_TRIES = 20,
    RESOURCE_TRIES = 100
};

static uint32_t rxq_reg(const struct vs_nic_rxq *q, uint32_t reg)
{
    return reg + q->index * IXGBE_QUEUE_STEP;
}

static uint32_t txq_reg(const struct vs_nic_txq *q, uint32_t reg)
{
    return reg + q->index * IXGBE_QUEUE_STEP;
}

/* ---- what software, firmware and the other port share ---------------------------------------------------------------- */

static void give_semaphore(const struct vs_nic *nic)
{
    ixgbe_change(nic, IXGBE_SWSM, IXGBE_SWSM_SMBI | IXGBE_SWSM_SWESMBI, 0);
}

/* 10.5.4: the semaphore in front of SW_FW_SYNC. Reading SMBI takes it when it was free. */
static bool take_semaphore(const struct vs_nic *nic)
{
    for (int i = 0; i < SEMAPHORE_TRIES; i++) {
        if (!(ixgbe_read(nic, IXGBE_SWSM) & IXGBE_SWSM_SMBI)) {
            ixgbe_change(nic, IXGBE_SWSM, 0, IXGBE_SWSM_SMBI | IXGBE_SWSM_SWESMBI);
            if (ixgbe_read(nic, IXGBE_SWSM) & IXGBE_SWSM_SWESMBI) /* the firmware has not got it */
                return true;
            ixgbe_change(nic, IXGBE_SWSM, IXGBE_SWSM_SMBI, 0);
        }
        vs_nic_sleep_us(50);
    }
    return false;
}

/* 10.5.4: hold a resource against firmware and the other function. A driver that was killed may have left its bits taken: at the end of our
 * patience what is not the firmware's is free. 82599 only: on the X540 and X550 the firmware alone runs PHY and link. */
static int take_resource(const struct vs_nic *nic, uint32_t resource)
{
    for (int i = 0; i < RESOURCE_TRIES; i++) {
        bool last = i == RESOURCE_TRIES - 1, free = false;
        if (i == RESOURCE_TRIES / 2)
            give_semaphore(nic);
        if (take_semaphore(nic)) {
            uint32_t held = ixgbe_read(nic, IXGBE_SW_FW_SYNC);
            free = !(held & resource << IXGBE_SYNC_FW_SHIFT) && (!(held & resource) || last);
            if (free)
                ixgbe_write(nic, IXGBE_SW_FW_SYNC, held | resource);
            give_semaphore(nic);
        }
        if (free)
            return 0;
        vs_nic_sleep_us(1000);
    }
    return -EBUSY;
}

static void give_resource(const struct vs_nic *nic, uint32_t resource)
{
    (void)take_semaphore(nic);
    ixgbe_change(nic, IXGBE_SW_FW_SYNC, resource, 0);
    give_semaphore(nic);
}

/* ---- reset ----------------------------------------------------------------------------------------------------------- */

static void mask_interrupts(const struct vs_nic *nic)
{
    ixgbe_write(nic, IXGBE_EIMC, IXGBE_INT_ALL);
    for (uint32_t i = 0; i < 2; i++)
        ixgbe_write(nic, IXGBE_EIMC_EX + 4 * i, UINT32_MAX);
    (void)ixgbe_read(nic, IXGBE_EICR);
}

/* 5.2.5.3.2: no new requests on the bus, and wait for those under way. 0 or -ETIMEDOUT. */
static int end_dma(const struct vs_nic *nic)
{
    ixgbe_change(nic, IXGBE_CTRL, 0, IXGBE_CTRL_MASTER_DISABLE);
    return vs_nic_wait(ixgbe_bar(nic), IXGBE_STATUS, IXGBE_STATUS_MASTER, 0, MASTER_MS);
}

/* Specification update, clarification 9: requests that hang behind flow control or a dead link are flushed so. */
static void flush_buffers(const struct vs_nic *nic)
{
    ixgbe_change(nic, IXGBE_HLREG0, 0, IXGBE_HLREG0_LPBK);
    ixgbe_change(nic, IXGBE_RXCTRL, IXGBE_RXCTRL_RXEN, 0);
    ixgbe_change(nic, IXGBE_GCR_EXT, 0, IXGBE_GCR_EXT_BUFFERS_CLEAR);
    vs_nic_sleep_us(20);
    ixgbe_change(nic, IXGBE_HLREG0, IXGBE_HLREG0_LPBK, 0);
    ixgbe_change(nic, IXGBE_GCR_EXT, IXGBE_GCR_EXT_BUFFERS_CLEAR, 0);
}

/* 4.2.1.7: on the X540 and X550 a link reset would take the PHY away from the firmware. */
static int reset_once(const struct vs_nic *nic)
{
    const struct ixgbe *d = (const struct ixgbe *)nic;
    uint32_t bits = d->x540 ? IXGBE_CTRL_RST : IXGBE_CTRL_RST | IXGBE_CTRL_LRST;
    ixgbe_change(nic, IXGBE_CTRL, 0, bits);
    vs_nic_sleep_us(1000); /* nothing may be read earlier */
    return vs_nic_wait(ixgbe_bar(nic), IXGBE_CTRL, IXGBE_CTRL_RST, 0, RESET_MS);
}

int ixgbe_reset(struct vs_nic *nic)
{
    struct ixgbe *d = (struct ixgbe *)nic;
    d->fresh = false;
    if (ixgbe_read(nic, IXGBE_STATUS) == UINT32_MAX)
        return vs_nic_fail(nic, ENODEV, "the device does not answer: its registers read all ones");
    mask_interrupts(nic);
    bool twice = end_dma(nic) < 0;
    if (twice)
        flush_buffers(nic);
    int rc = reset_once(nic);
    if (rc == 0 && twice)
        rc = reset_once(nic);
    if (rc < 0)
        return vs_nic_fail(nic, EIO, "the device does not come out of its reset");
    vs_nic_sleep_us(10000); /* 4.6.3.2 */
    mask_interrupts(nic);
    if (vs_nic_wait(ixgbe_bar(nic), IXGBE_EEC, IXGBE_EEC_AUTO_READ, IXGBE_EEC_AUTO_READ, EEPROM_MS) < 0)
        return vs_nic_fail(nic, EIO, "the device does not read its EEPROM");
    if (vs_nic_wait(ixgbe_bar(nic), IXGBE_RDRXCTL, IXGBE_RDRXCTL_DMAIDONE, IXGBE_RDRXCTL_DMAIDONE, RESET_MS) <
        0)
        return vs_nic_fail(nic, EIO, "the device's DMA does not become ready");
    if (ixgbe_read(nic, IXGBE_STATUS) == UINT32_MAX)
        return vs_nic_fail(nic, ENODEV, "the device does not answer: its registers read all ones");
    d->fresh = true;
    return 0;
}

/* ---- receive ----------------------------------------------------------------------------------------------------------- */

/* 4.6.7: nothing may be under way in front of the packet buffer while RXEN or a filter changes. */
static int hold_receive(const struct vs_nic *nic)
{
    ixgbe_change(nic, IXGBE_SECRXCTRL, 0, IXGBE_SECRXCTRL_RX_DIS);
    return vs_nic_wait(ixgbe_bar(nic), IXGBE_SECRXSTAT, IXGBE_SECRXSTAT_RDY, IXGBE_SECRXSTAT_RDY, QUEUE_MS);
}

static void release_receive(const struct vs_nic *nic)
{
    ixgbe_change(nic, IXGBE_RXCTRL, 0, IXGBE_RXCTRL_RXEN);
    ixgbe_change(nic, IXGBE_SECRXCTRL, IXGBE_SECRXCTRL_RX_DIS, 0);
}

static void write_rx_mode(const struct vs_nic *nic, uint32_t mode)
{
    uint32_t on = IXGBE_FCTRL_BAM;
    if (mode & VS_NIC_RX_PROMISC)
        on |= IXGBE_FCTRL_UPE | IXGBE_FCTRL_MPE;
    if (mode & VS_NIC_RX_ALLMULTI)
        on |= IXGBE_FCTRL_MPE;
    ixgbe_change(nic, IXGBE_FCTRL, IXGBE_FCTRL_UPE | IXGBE_FCTRL_MPE | IXGBE_FCTRL_BAM, on);
}

/* 8.2.3.7.1: FCTRL is changed while RXEN is 0. */
int ixgbe_set_rx_mode(struct vs_nic *nic, uint32_t mode)
{
    int rc = hold_receive(nic);
    ixgbe_change(nic, IXGBE_RXCTRL, IXGBE_RXCTRL_RXEN, 0);
    write_rx_mode(nic, mode);
    release_receive(nic);
    return rc < 0 ? vs_nic_fail(nic, EIO, "the device does not empty its receive path") : 0;
}

/* 7.1.2.8: both directions of a connection to the same queue, flows spread evenly. */
static void init_rss(const struct vs_nic *nic)
{
    const struct ixgbe *d = (const struct ixgbe *)nic;
    uint32_t n = nic->config.n_rxq, entries = IXGBE_RETA_ENTRIES;
    for (uint32_t i = 0; i < sizeof vs_nic_rss_key; i += 4) {
        uint32_t word;
        memcpy(&word, vs_nic_rss_key + i, 4);
        ixgbe_write(nic, IXGBE_RSSRK + i, word);
    }
    if (d->x550)
        entries *= 4;
    for (uint32_t i = 0; i < entries; i += 4) {
        uint32_t four = i % n | (i + 1) % n << 8 | (i + 2) % n << 16 | (i + 3) % n << 24;
        ixgbe_write(nic, i < IXGBE_RETA_ENTRIES ? IXGBE_RETA + i : IXGBE_ERETA + i - IXGBE_RETA_ENTRIES,
                    four);
    }
    bool on = n > 1 && (nic->use & VS_NIC_F_RSS);
    ixgbe_write(nic, IXGBE_MRQC, on ? IXGBE_MRQC_RSS | IXGBE_MRQC_FIELDS : 0);
}

/* 4.6.7, what belongs to no queue. */
static void init_rx(const struct vs_nic *nic)
{
    const uint8_t *mac = nic->config.mac;
    static const uint8_t none[6];
    if (memcmp(mac, none, sizeof none) == 0)
        mac = nic->info.mac;
    ixgbe_write(nic, IXGBE_RAL,
                (uint32_t)mac[0] | (uint32_t)mac[1] << 8 | (uint32_t)mac[2] << 16 | (uint32_t)mac[3] << 24);
    ixgbe_write(nic, IXGBE_RAH, (uint32_t)mac[4] | (uint32_t)mac[5] << 8 | IXGBE_RAH_VALID);
    for (uint32_t i = 0; i < 128; i++)
        ixgbe_write(nic, IXGBE_MTA + 4 * i, 0);
    write_rx_mode(nic, nic->config.rx_mode);
    ixgbe_change(nic, IXGBE_VLNCTRL, IXGBE_VLNCTRL_VFE, 0);
    /* 4.6.7.2, 8.2.3.8.8: the CRC is stripped by both or by none; what is said of receive side coalescing holds though it is off. */
    ixgbe_change(nic, IXGBE_RDRXCTL, IXGBE_RDRXCTL_RSCFRSTSIZE,
                 IXGBE_RDRXCTL_CRCSTRIP | IXGBE_RDRXCTL_RSCACKC | IXGBE_RDRXCTL_FCOE_WRFIX);
    ixgbe_change(nic, IXGBE_RSCDBU, 0, IXGBE_RSCDBU_ACKDIS);
    ixgbe_change(nic, IXGBE_HLREG0, IXGBE_HLREG0_LPBK,
                 IXGBE_HLREG0_TXCRCEN | IXGBE_HLREG0_RXCRCSTRP | IXGBE_HLREG0_JUMBOEN | IXGBE_HLREG0_TXPADEN);
    ixgbe_change(nic, IXGBE_MAXFRS, 0xffff0000, (nic->max_frame + 4) << 16);
    ixgbe_change(nic, IXGBE_RXCSUM, 0, IXGBE_RXCSUM_PCSD); /* the hash, not a sum over everything */
    init_rss(nic);
}

static int start_rxq(struct vs_nic *nic, struct vs_nic_rxq *q)
{
    q->doorbell = rxq_reg(q, IXGBE_RDT);
    for (uint16_t i = 0; i < q->size; i++) {
        struct vs_dma_buf *b = vs_dma_get(&q->list);
        if (b == NULL)
            return vs_nic_fail(nic, ENOMEM, "not enough packet buffers for receive queue %u", q->index);
        q->bufs[i] = b;
        uint64_t desc[2] = {b->iova + VS_DMA_HEADROOM, 0};
        memcpy(q->ring + (size_t)i * sizeof desc, desc, sizeof desc);
    }
    vs_mmio_write64_halves(ixgbe_bar(nic), rxq_reg(q, IXGBE_RDBAL), q->ring_iova);
    ixgbe_write(nic, rxq_reg(q, IXGBE_RDLEN), (uint32_t)q->size * 16);
    ixgbe_write(nic, rxq_reg(q, IXGBE_RDH), 0);
    ixgbe_write(nic, rxq_reg(q, IXGBE_RDT), 0);
    /* 3.7.7.3.2: a queue that may not drop lets the packet buffer fill up, which makes pause frames, but stops the other queues too. */
    uint32_t drop = nic->config.flow_control & VS_NIC_PAUSE_TX ? 0 : IXGBE_SRRCTL_DROP;
    ixgbe_write(nic, IXGBE_SRRCTL + 4u * q->index, VS_DMA_DATA / 1024 | IXGBE_SRRCTL_ONE_BUFFER | drop);
    ixgbe_write(nic, IXGBE_DCA_RXCTRL + 4u * q->index, 0); /* no DCA; and bit 12 must be 0 (4.6.7) */
    ixgbe_write(nic, rxq_reg(q, IXGBE_RSCCTL), 0);
    ixgbe_change(nic, rxq_reg(q, IXGBE_RXDCTL), 0, IXGBE_QUEUE_ENABLE);
    if (vs_nic_wait(ixgbe_bar(nic), rxq_reg(q, IXGBE_RXDCTL), IXGBE_QUEUE_ENABLE, IXGBE_QUEUE_ENABLE,
                    QUEUE_MS) < 0)
        return vs_nic_fail(nic, EIO, "receive queue %u does not start", q->index);
    ixgbe_write(nic, q->doorbell, q->size - 1u);
    return 0;
}

/* ---- transmit ------------------------------------------------------------------------------------------------------------ */

/* 4.6.8, 4.6.11.3.4: one packet buffer, no DCB, no VMDq. The arbiter rests while they change. */
static void init_tx(const struct vs_nic *nic)
{
    ixgbe_change(nic, IXGBE_RTTDCS, 0, IXGBE_RTTDCS_ARBDIS);
    ixgbe_write(nic, IXGBE_MTQC, 0);
    ixgbe_write(nic, IXGBE_TXPBSIZE, IXGBE_TXPBSIZE_ALL);
    ixgbe_write(nic, IXGBE_TXPBTHRESH, 160 - (IXGBE_MAX_FRAME + 1023) / 1024); /* KB; room for a frame */
    for (uint32_t i = 1; i < 8; i++) {
        ixgbe_write(nic, IXGBE_TXPBSIZE + 4 * i, 0);
        ixgbe_write(nic, IXGBE_TXPBTHRESH + 4 * i, 0);
    }
    ixgbe_write(nic, IXGBE_DTXMXSZRQ, IXGBE_DTXMXSZRQ_MAX);
    ixgbe_change(nic, IXGBE_RTTDCS, IXGBE_RTTDCS_ARBDIS, 0);
    ixgbe_change(nic, IXGBE_DMATXCTL, 0, IXGBE_DMATXCTL_TE);
}

static int start_txq(struct vs_nic *nic, struct vs_nic_txq *q)
{
    q->doorbell = txq_reg(q, IXGBE_TDT);
    vs_mmio_write64_halves(ixgbe_bar(nic), txq_reg(q, IXGBE_TDBAL), q->ring_iova);
    ixgbe_write(nic, txq_reg(q, IXGBE_TDLEN), (uint32_t)q->size * 16);
    ixgbe_write(nic, txq_reg(q, IXGBE_TDH), 0);
    ixgbe_write(nic, txq_reg(q, IXGBE_TDT), 0);
    vs_mmio_write64_halves(ixgbe_bar(nic), txq_reg(q, IXGBE_TDWBAL), 0); /* no head write-back */
    /* 8.2.3.11.2: no DCA, and "done" is not written ahead of what was read before. */
    ixgbe_change(nic, txq_reg(q, IXGBE_DCA_TXCTRL), IXGBE_DCA_TXCTRL_DCA | IXGBE_DCA_TXCTRL_WRO, 0);
    /* WTHRESH 0: a descriptor that asks for it is written back at once. */
    ixgbe_write(nic, txq_reg(q, IXGBE_TXDCTL), IXGBE_TXDCTL_THRESHOLDS);
    ixgbe_change(nic, txq_reg(q, IXGBE_TXDCTL), 0, IXGBE_QUEUE_ENABLE);
    if (vs_nic_wait(ixgbe_bar(nic), txq_reg(q, IXGBE_TXDCTL), IXGBE_QUEUE_ENABLE, IXGBE_QUEUE_ENABLE,
                    QUEUE_MS) < 0)
        return vs_nic_fail(nic, EIO, "transmit queue %u does not start", q->index);
    return 0;
}

/* ---- the rest -------------------------------------------------------------------------------------------------------------- */

/* 3.7.7.3: as configured. There is no word with the other side about it: the PHY's registers are not read. */
static void init_flow_control(const struct vs_nic *nic)
{
    uint32_t how = nic->config.flow_control;
    uint32_t buffer = ixgbe_read(nic, IXGBE_RXPBSIZE) & IXGBE_RXPBSIZE_MASK;
    /* Behind the pause frame comes what is on its way: 64 KB are more than two jumbo frames and 300 m of fibre. */
    uint32_t high = buffer > 256 << 10 ? buffer - (64 << 10) : buffer / 2, low = high / 2;
    bool tx = how & VS_NIC_PAUSE_TX;
    for (uint32_t i = 0; i < 4; i++)
        ixgbe_write(nic, IXGBE_FCTTV + 4 * i, 0xffffffff); /* the longest pause; XON ends it */
    ixgbe_write(nic, IXGBE_FCRTV, 0x7fff);
    for (uint32_t i = 0; i < 8; i++) {
        ixgbe_write(nic, IXGBE_FCRTL + 4 * i, tx && i == 0 ? (low & IXGBE_FCRT_MASK) | IXGBE_FCRT_ENABLE : 0);
        ixgbe_write(nic, IXGBE_FCRTH + 4 * i,
                    tx && i == 0 ? (high & IXGBE_FCRT_MASK) | IXGBE_FCRT_ENABLE : 0);
    }
    ixgbe_change(nic, IXGBE_MFLCN, IXGBE_MFLCN_RPFCE | IXGBE_MFLCN_RFCE,
                 IXGBE_MFLCN_DPF | (how & VS_NIC_PAUSE_RX ? IXGBE_MFLCN_RFCE : 0));
    ixgbe_write(nic, IXGBE_FCCFG, tx ? IXGBE_FCCFG_TFCE : 0);
}

/* 4.6.3.1, 7.3.4.3: a vector each for the receive queues, the last for the rest; or one for all, then bit i of EICR is queue i all the same.
 * An interrupt masks its queue until the core asks again. Nobody waits for transmit. */
static void init_interrupts(const struct vs_nic *nic)
{
    uint32_t n = nic->config.n_rxq;
    if (nic->config.n_vectors == 0)
        return;
    bool many = nic->config.n_vectors > 1, line = nic->unmask_fd >= 0;
    ixgbe_write(nic, IXGBE_GPIE,
                IXGBE_GPIE_OCD | (line ? 0 : IXGBE_GPIE_EIAME | IXGBE_GPIE_PBA) |
                    (many ? IXGBE_GPIE_MSIX : 0));
    for (uint32_t i = 0; i < n; i += 2)
        ixgbe_write(nic, IXGBE_IVAR + 2 * i,
                    (i | IXGBE_IVAR_VALID) | (i + 1 < n ? (i + 1) | IXGBE_IVAR_VALID : 0) << 16);
    ixgbe_write(nic, IXGBE_IVAR_MISC, many ? (n | IXGBE_IVAR_VALID) << 8 : 0);
    ixgbe_write(nic, IXGBE_EIAC, many ? IXGBE_INT_QUEUES : 0);
    ixgbe_write(nic, IXGBE_EIAM, IXGBE_INT_QUEUES);
    ixgbe_write(nic, IXGBE_EICR, UINT32_MAX);
    ixgbe_write(nic, IXGBE_EIMS, IXGBE_INT_LSC | IXGBE_INT_ECC);
}

/* 4.6.4: the link comes up as the EEPROM wants it. The kernel's driver leaves a laser off. */
static int init_link(struct vs_nic *nic)
{
    const struct ixgbe *d = (const struct ixgbe *)nic;
    if (d->x540)
        return 0;
    if (ixgbe_read(nic, IXGBE_ESDP) & IXGBE_ESDP_SDP3_DIR)
        ixgbe_change(nic, IXGBE_ESDP, IXGBE_ESDP_SDP3, 0);
    if (take_resource(nic, IXGBE_SYNC_MAC_CSR) < 0)
        return vs_nic_fail(nic, EBUSY, "the device's firmware does not let go of the link");
    ixgbe_change(nic, IXGBE_AUTOC, 0, IXGBE_AUTOC_RESTART);
    give_resource(nic, IXGBE_SYNC_MAC_CSR);
    return 0;
}

int ixgbe_start(struct vs_nic *nic)
{
    struct ixgbe *d = (struct ixgbe *)nic;
    struct vs_nic_stats forget;
    int rc = d->fresh ? 0 : ixgbe_reset(nic);
    d->fresh = false;
    if (rc < 0)
        return rc;
    ixgbe_change(nic, IXGBE_CTRL_EXT, 0, IXGBE_CTRL_EXT_NS_DIS | IXGBE_CTRL_EXT_DRV_LOAD);
    nic->driver->stats(nic, &forget); /* 4.6.5: they clear when they are read */
    init_flow_control(nic);
    init_rx(nic);
    for (unsigned i = 0; i < nic->config.n_rxq && rc == 0; i++)
        rc = start_rxq(nic, &nic->rxq[i]);
    init_tx(nic);
    for (unsigned i = 0; i < nic->config.n_txq && rc == 0; i++)
        rc = start_txq(nic, &nic->txq[i]);
    if (rc == 0 && hold_receive(nic) < 0)
        rc = vs_nic_fail(nic, EIO, "the device does not empty its receive path");
    if (rc < 0)
        return rc;
    release_receive(nic);
    init_interrupts(nic);
    return init_link(nic);
}

/* 4.6.7.1, 4.6.8.1: queue by queue, then the bus. A device that does not obey is reset. */
void ixgbe_stop(struct vs_nic *nic)
{
    int rc = 0;
    mask_interrupts(nic);
    ixgbe_change(nic, IXGBE_RXCTRL, IXGBE_RXCTRL_RXEN, 0);
    for (unsigned i = 0; i < nic->config.n_txq; i++)
        ixgbe_change(nic, txq_reg(&nic->txq[i], IXGBE_TXDCTL), IXGBE_QUEUE_ENABLE, 0);
    for (unsigned i = 0; i < nic->config.n_rxq; i++)
        ixgbe_change(nic, rxq_reg(&nic->rxq[i], IXGBE_RXDCTL), IXGBE_QUEUE_ENABLE, 0);
    for (unsigned i = 0; i < nic->config.n_txq && rc == 0; i++)
        rc =
            vs_nic_wait(ixgbe_bar(nic), txq_reg(&nic->txq[i], IXGBE_TXDCTL), IXGBE_QUEUE_ENABLE, 0, QUEUE_MS);
    for (unsigned i = 0; i < nic->config.n_rxq && rc == 0; i++)
        rc =
            vs_nic_wait(ixgbe_bar(nic), rxq_reg(&nic->rxq[i], IXGBE_RXDCTL), IXGBE_QUEUE_ENABLE, 0, QUEUE_MS);
    vs_nic_sleep_us(100); /* 4.6.7.1.2: buffers that it fetched already */
    ixgbe_change(nic, IXGBE_CTRL_EXT, IXGBE_CTRL_EXT_DRV_LOAD, 0);
    if (end_dma(nic) < 0 || rc < 0)
        (void)ixgbe_reset(nic);
}
