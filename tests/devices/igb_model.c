/* igb_model.c: an 82576, I350 or I210, or one of their virtual functions with a physical one behind the mailbox; see model.h.
 *
 * flags: which device (enum kind) and what is wrong with it (enum trouble). The register at IGB_TEST is the tests' own: it takes trouble that comes while
 * the device runs. What real devices would not forgive (a payload length that is not the packet's, a header kind that is not the packet's)
 * counts as a fault.
 */
#include "igb_regs.h"
#include "model.h"

#include <stdlib.h>

enum kind { K_82576, K_I350, K_I210, K_82576_VF, K_I350_VF, K_SERDES, K_MASK = 15 };
enum trouble {
    T_MUTE = 0x100,   /* the physical function never answers */
    T_REFUSE = 0x200, /* ... says no, but to a reset */
    T_NO_MAC = 0x400,
    T_RESET = 0x800,   /* the physical function is being reset and does not come back */
    T_GONE = 0x1000,   /* pulled out */
    T_CHATTY = 0x2000, /* the physical function says something of its own before each answer */
    T_STUCK = 0x4000,  /* queues do not start */
};
enum {
    QUEUES = 16,
    IGB_TEST = 0x3ff0,
    GPRC = 0x74,
    BPRC = 0x78,
    MPRC = 0x7c,
    GPTC = 0x80,
    GORC = 0x88,
    GOTC = 0x90
};

struct igb_model {
    struct model m;
    bool vf, spoken; /* spoken: the virtual function said that it was reset */
    uint32_t icr, ims, eicr, eims, eiac;
    uint32_t multicast, longest; /* virtual function: what was agreed */
    uint16_t phy[32];
    struct {
        uint32_t context[2][3]; /* lengths, kind, sizes */
        uint32_t len, first_command, first_status;
        bool open, bad;
        uint8_t *frame;
    } tx[QUEUES];
};

static struct igb_model *of(struct model *m)
{
    return (struct igb_model *)(void *)m;
}

static uint32_t get(const struct igb_model *g, uint32_t reg)
{
    return model_bar32(&g->m, 0, reg);
}

static void set(struct igb_model *g, uint32_t reg, uint32_t value)
{
    model_set_bar32(&g->m, 0, reg, value);
}

static void count(struct igb_model *g, uint32_t reg, uint32_t n)
{
    set(g, reg, get(g, reg) + n);
}

static uint32_t rx_base(const struct igb_model *g, unsigned q)
{
    return g->vf ? IGB_VF_RX_BASE + q * IGB_VF_QUEUE_STRIDE : IGB_RX_BASE + q * IGB_QUEUE_STRIDE;
}

static uint32_t tx_base(const struct igb_model *g, unsigned q)
{
    return g->vf ? IGB_VF_TX_BASE + q * IGB_VF_QUEUE_STRIDE : IGB_TX_BASE + q * IGB_QUEUE_STRIDE;
}

static unsigned queues(const struct igb_model *g)
{
    return g->vf ? 2 : QUEUES;
}

/* ---- interrupts ---------------------------------------------------------------------------------------------------- */

static void raise_irq(struct igb_model *g, uint32_t causes, uint32_t ecauses, uint32_t old, uint32_t eold)
{
    bool msix = g->vf || (get(g, IGB_GPIE) & IGB_GPIE_MSIX);
    g->icr |= causes;
    g->eicr |= ecauses;
    uint32_t new = g->icr & g->ims & ~old;
    if (!msix) {
        if (new != 0)
            model_irq(&g->m, 0);
        return;
    }
    uint32_t misc = get(g, IGB_IVAR_MISC) >> 8;
    if (new != 0 && !g->vf && (misc & IGB_IVAR_VALID))
        g->eicr |= 1u << (misc & 31);
    uint32_t fire = g->eicr & g->eims & ~eold;
    for (unsigned v = 0; v < 25; v++)
        if (fire >> v & 1) {
            model_irq(&g->m, v);
            g->eicr &= ~(g->eiac & 1u << v);
        }
}

static void interrupt(struct igb_model *g, uint32_t causes, uint32_t ecauses)
{
    raise_irq(g, causes, ecauses, g->icr & g->ims, g->eicr & g->eims);
}

static uint32_t rx_cause(const struct igb_model *g, unsigned q)
{
    bool old = (g->m.flags & K_MASK) == K_82576 || (g->m.flags & K_MASK) == K_SERDES;
    uint32_t entry = get(g, IGB_IVAR + (old ? q % 8 : q / 2) * 4) >> (old ? q / 8 * 16 : q % 2 * 16);
    return entry & IGB_IVAR_VALID ? 1u << (entry & 31) : 0;
}

static void mailbox_irq(struct igb_model *g)
{
    uint32_t misc = get(g, IGB_IVAR_MISC);
    interrupt(g, 0, misc & IGB_IVAR_VALID ? 1u << (misc & 3) : 0);
}

/* ---- reset, link, PHY ---------------------------------------------------------------------------------------------- */

static void link_is(struct igb_model *g, bool up)
{
    uint32_t status = get(g, IGB_STATUS);
    set(g, IGB_STATUS, up ? status | IGB_STATUS_LU : status & ~(uint32_t)IGB_STATUS_LU);
    g->phy[IGB_PHY_BMSR] = up ? 0x24 : 0;
    if ((status & IGB_STATUS_LU) == (get(g, IGB_STATUS) & IGB_STATUS_LU))
        return;
    if (!g->vf) {
        interrupt(g, IGB_ICR_LSC, 0);
        return;
    }
    set(g, IGB_VMBMEM, IGB_PF_CONTROL | IGB_MSG_CTS);
    set(g, IGB_V2PMAILBOX, get(g, IGB_V2PMAILBOX) | IGB_MBX_PFSTS);
    mailbox_irq(g);
}

static void forget_queues(struct igb_model *g)
{
    for (unsigned q = 0; q < queues(g); q++) {
        set(g, rx_base(g, q) + IGB_DCTL, 0);
        set(g, tx_base(g, q) + IGB_DCTL, 0);
        memset(g->tx[q].context, 0, sizeof g->tx[q].context);
        g->tx[q].open = g->tx[q].bad = false;
        g->tx[q].len = 0;
    }
}

static void reset(struct igb_model *g)
{
    const uint8_t *mac = g->m.mac;
    forget_queues(g);
    g->icr = g->ims = g->eicr = g->eims = g->eiac = 0;
    if (g->vf) {
        g->spoken = false;
        return;
    }
    memset(g->m.bar[0].memory, 0, 0x8000);
    /* LAN 0, 1 Gb/s, full duplex, may be master; no link until PHY and MAC found one another. */
    set(g, IGB_STATUS, IGB_STATUS_FD | 2 << IGB_STATUS_SPEED_SHIFT | IGB_STATUS_MASTER);
    set(g, IGB_EECD, IGB_EECD_AUTO_RD);
    set(g, IGB_RXPBS, (g->m.flags & K_MASK) == K_I350 ? 0 : 0x40);
    set(g, IGB_CTRL_EXT, (g->m.flags & K_MASK) == K_SERDES ? IGB_CTRL_EXT_LINK_MODE : 0);
    if (!(g->m.flags & T_NO_MAC)) {
        set(g, IGB_RAL, (uint32_t)mac[3] << 24 | (uint32_t)mac[2] << 16 | (uint32_t)mac[1] << 8 | mac[0]);
        set(g, IGB_RAH, IGB_RAH_VALID | (uint32_t)mac[5] << 8 | mac[4]);
    }
    memset(g->phy, 0, sizeof g->phy);
    g->phy[IGB_PHY_BMCR] = IGB_BMCR_AUTONEG;
    g->phy[IGB_PHY_ANAR] = 0xde1;
    g->phy[IGB_PHY_ANLPAR] = 0x41e1 | IGB_AN_PAUSE;
}

static void mdic(struct igb_model *g, uint32_t v)
{
    unsigned reg = v >> IGB_MDIC_REG_SHIFT & 31;
    bool allowed = get(g, IGB_SW_FW_SYNC) & 2; /* port 0's PHY is ours */
    if (!allowed || (v >> 21 & 31) != 1) {
        set(g, IGB_MDIC, IGB_MDIC_READY | IGB_MDIC_ERROR);
        g->m.faults++;
        return;
    }
    if (v & IGB_MDIC_READ)
        v = (v & ~0xffffu) | g->phy[reg];
    else
        g->phy[reg] = (uint16_t)v & (reg == IGB_PHY_BMCR ? ~IGB_BMCR_RESTART : 0xffff);
    set(g, IGB_MDIC, v | IGB_MDIC_READY);
    if ((v & IGB_MDIC_WRITE) && reg == IGB_PHY_BMCR && (v & IGB_BMCR_RESTART))
        link_is(g, g->m.link_up && (get(g, IGB_CTRL) & IGB_CTRL_SLU));
}

/* ---- the physical function's side of the mailbox ------------------------------------------------------------------- */

static void answer(struct igb_model *g)
{
    uint32_t asked = get(g, IGB_VMBMEM), what = asked & 0xffff, reply = IGB_MSG_ACK;
    if (what == IGB_VF_RESET) {
        const uint8_t *mac = g->m.mac;
        bool none = g->m.flags & T_NO_MAC;
        g->spoken = true;
        g->multicast = 0;
        g->longest = 1522;
        set(g, IGB_RAL, (uint32_t)mac[3] << 24 | (uint32_t)mac[2] << 16 | (uint32_t)mac[1] << 8 | mac[0]);
        set(g, IGB_RAH, (uint32_t)mac[5] << 8 | mac[4]);
        set(g, IGB_VMBMEM + 4, none ? 0 : get(g, IGB_RAL));
        set(g, IGB_VMBMEM + 8, none ? 0 : get(g, IGB_RAH));
        reply = none ? IGB_MSG_NACK : IGB_MSG_ACK;
    } else if (!g->spoken || (g->m.flags & T_REFUSE)) {
        reply = IGB_MSG_NACK;
    } else if (what == IGB_VF_SET_MAC) {
        set(g, IGB_RAL, get(g, IGB_VMBMEM + 4));
        set(g, IGB_RAH, get(g, IGB_VMBMEM + 8));
    } else if (what == IGB_VF_SET_LPE) {
        g->longest = get(g, IGB_VMBMEM + 4);
    } else if (what == IGB_VF_SET_PROMISC) {
        g->multicast = asked & IGB_VF_PROMISC_MULTICAST;
    } else {
        reply = IGB_MSG_NACK;
    }
    set(g, IGB_VMBMEM, what | reply | IGB_MSG_CTS);
    set(g, IGB_V2PMAILBOX, get(g, IGB_V2PMAILBOX) | IGB_MBX_PFSTS);
}

static void mailbox(struct igb_model *g, uint32_t v)
{
    uint32_t now = get(g, IGB_V2PMAILBOX) & ~(uint32_t)IGB_MBX_VFU;
    bool held = get(g, IGB_V2PMAILBOX) & IGB_MBX_VFU;
    set(g, IGB_V2PMAILBOX, now | (v & IGB_MBX_VFU));
    if ((v & IGB_MBX_ACK) && (g->m.flags & T_CHATTY) && (get(g, IGB_VMBMEM) & 0xffff) == IGB_PF_CONTROL) {
        set(g, IGB_VMBMEM, g->m.bar[0].memory[IGB_TEST + 4]);
        answer(g);
    }
    if (!(v & IGB_MBX_REQ) || (g->m.flags & T_MUTE))
        return;
    g->m.faults += !held; /* wrote without having the buffer */
    set(g, IGB_V2PMAILBOX, get(g, IGB_V2PMAILBOX) | IGB_MBX_PFACK);
    if (g->m.flags & T_CHATTY) {
        g->m.bar[0].memory[IGB_TEST + 4] = (uint8_t)get(g, IGB_VMBMEM);
        set(g, IGB_VMBMEM, IGB_PF_CONTROL | IGB_MSG_CTS);
        set(g, IGB_V2PMAILBOX, get(g, IGB_V2PMAILBOX) | IGB_MBX_PFSTS);
        return;
    }
    answer(g);
}

/* ---- registers ----------------------------------------------------------------------------------------------------- */

static uint64_t igb_read(struct model *m, uint32_t bar, uint64_t offset, uint32_t width)
{
    struct igb_model *g = of(m);
    if ((m->flags & T_GONE) || bar != 0 || width != 4 || offset + 4 > m->bar[0].size)
        return UINT64_MAX;
    uint32_t reg = (uint32_t)offset, v = get(g, reg);
    if (reg == IGB_V2PMAILBOX && g->vf) {
        set(g, reg, v & ~(uint32_t)IGB_MBX_CLEARED);
        return v | (m->flags & T_RESET ? IGB_MBX_RSTI : 0);
    }
    if (reg == IGB_EIMS)
        return g->eims;
    if (reg == IGB_EICR) {
        v = g->eicr;
        g->eicr = 0;
        return v;
    }
    if (g->vf)
        return v;
    if (reg == IGB_ICR) {
        v = g->icr;
        g->icr = 0;
    } else if (reg >= IGB_STATS && reg < IGB_STATS + 0x100 && reg != IGB_STATS + GORC &&
               reg != IGB_STATS + GOTC) {
        set(g, reg, 0);
        if (reg == IGB_STATS + GORC + 4 || reg == IGB_STATS + GOTC + 4)
            set(g, reg - 4, 0);
    } else if (reg == IGB_SWSM) {
        set(g, reg, v | IGB_SWSM_SMBI);
    }
    return v;
}

static void interrupt_register(struct igb_model *g, uint32_t reg, uint32_t v)
{
    uint32_t old = g->icr & g->ims, eold = g->eicr & g->eims;
    switch (reg) {
    case IGB_ICR:
        g->icr &= ~v;
        return;
    case IGB_IMC:
        g->ims &= ~v;
        return;
    case IGB_EICR:
        g->eicr &= ~v;
        return;
    case IGB_EIMC:
        g->eims &= ~v;
        return;
    case IGB_EIAC:
        g->eiac = v;
        return;
    case IGB_IMS:
        g->ims |= v;
        break;
    default:
        g->eims |= v;
        break;
    }
    raise_irq(g, 0, 0, old, eold);
}

static void control(struct igb_model *g, uint32_t v)
{
    if (v & IGB_CTRL_RST) {
        reset(g);
        return;
    }
    set(g, IGB_CTRL, v);
    uint32_t status = get(g, IGB_STATUS);
    if (!g->vf)
        set(g, IGB_STATUS,
            v & IGB_CTRL_MASTER_DISABLE ? status & ~(uint32_t)IGB_STATUS_MASTER : status | IGB_STATUS_MASTER);
}

static void igb_write(struct model *m, uint32_t bar, uint64_t offset, uint32_t width, uint64_t value)
{
    struct igb_model *g = of(m);
    if (bar != 0 || width != 4 || offset + 4 > m->bar[0].size)
        return;
    uint32_t reg = (uint32_t)offset, v = (uint32_t)value;
    if (reg == IGB_TEST) {
        m->flags = (m->flags & (uint32_t)K_MASK) | v;
        if (g->vf && (v & T_RESET)) {
            forget_queues(g);
            mailbox_irq(g);
        }
        return;
    }
    if (m->flags & T_GONE)
        return;
    switch (reg) {
    case IGB_STATUS:
        return;
    case IGB_CTRL:
        control(g, v);
        return;
    case IGB_EIMS:
    case IGB_EIMC:
    case IGB_EIAC:
    case IGB_EICR:
    case IGB_IMS:
    case IGB_IMC:
    case IGB_ICR:
        interrupt_register(g, reg, v);
        return;
    case IGB_V2PMAILBOX:
        if (g->vf) {
            mailbox(g, v);
            return;
        }
        break;
    case IGB_MDIC:
        mdic(g, v);
        return;
    case IGB_PCS_LCTL:
        set(g, reg, v);
        set(g, IGB_PCS_LSTAT,
            m->link_up && (v & IGB_PCS_LCTL_RESTART) && (get(g, IGB_PCS_CFG) & IGB_PCS_CFG_EN));
        return;
    default:
        break;
    }
    for (unsigned q = 0; (m->flags & T_STUCK) && q < queues(g); q++)
        if (reg == rx_base(g, q) + IGB_DCTL)
            v = 0;
    set(g, reg, v);
}

/* ---- receive ------------------------------------------------------------------------------------------------------- */

static bool for_us(struct igb_model *g, const uint8_t *frame)
{
    uint32_t low = (uint32_t)frame[3] << 24 | (uint32_t)frame[2] << 16 | (uint32_t)frame[1] << 8 | frame[0];
    uint32_t high = (uint32_t)frame[5] << 8 | frame[4];
    bool ours = low == get(g, IGB_RAL) && high == (get(g, IGB_RAH) & 0xffff);
    if (g->vf)
        return (frame[0] & 1) ? (low == UINT32_MAX && high == 0xffff) || g->multicast : ours;
    uint32_t rctl = get(g, IGB_RCTL);
    if (low == UINT32_MAX && high == 0xffff)
        return rctl & IGB_RCTL_BAM;
    return frame[0] & 1 ? rctl & IGB_RCTL_MPE : ours || (rctl & IGB_RCTL_UPE);
}

static unsigned queue_for(struct igb_model *g, const uint8_t *frame, uint32_t len, uint32_t *hash)
{
    uint8_t key[40];
    uint32_t mrqc = get(g, IGB_MRQC);
    if (g->vf || (mrqc & 7) != IGB_MRQC_RSS || !(get(g, IGB_RXCSUM) & IGB_RXCSUM_PCSD))
        return 0;
    memcpy(key, g->m.bar[0].memory + IGB_RSSRK, sizeof key);
    *hash = model_rss(key, frame, len);
    return *hash != 0 ? g->m.bar[0].memory[IGB_RETA + (*hash & 127)] & 15 : 0;
}

static uint32_t checksum_bits(const struct igb_model *g, uint32_t flags)
{
    if (!g->vf && !(get(g, IGB_RXCSUM) & IGB_RXCSUM_L4))
        return 0;
    if (flags & MODEL_RX_CSUM_GOOD)
        return 0x60; /* IP and L4 checked */
    return flags & MODEL_RX_CSUM_BAD ? 0x60 | (uint32_t)IGB_RX_L4_BAD : 0;
}

/* Write a frame to a queue's descriptors. */
static int deliver(struct igb_model *g, unsigned q, const uint8_t *frame, uint32_t len, uint32_t bits,
                   uint32_t hash)
{
    uint32_t base = rx_base(g, q), size = get(g, base + IGB_DLEN) / 16, head = get(g, base + IGB_DH);
    uint32_t tail = get(g, base + IGB_DT), buffer = (get(g, base + IGB_SRRCTL) & 127) * 1024;
    uint64_t ring = (uint64_t)get(g, base + IGB_DBAH) << 32 | get(g, base + IGB_DBAL);
    if (size == 0 || tail >= size || head >= size || buffer == 0)
        return 0;
    uint32_t room = tail >= head ? tail - head : size + tail - head;
    if (room * buffer < len) {
        count(g, g->vf ? base + IGB_RQDPC : (uint32_t)IGB_STATS + 0x10, 1);
        return 0;
    }
    for (uint32_t done = 0; done < len;) {
        uint32_t part = len - done < buffer ? len - done : buffer;
        struct igb_rx_desc d;
        if (!model_dma_read(&g->m, ring + 16 * head, &d, 16))
            return 0;
        model_dma_write(&g->m, d.data, frame + done, part);
        done += part;
        uint32_t end = done == len ? (uint32_t)IGB_RX_END | bits : 0;
        d.data = (uint64_t)hash << 32;
        d.word = (uint64_t)part << IGB_RX_LEN_SHIFT | end | IGB_RX_DONE;
        uint64_t *to = model_dma(&g->m, ring + 16 * head, 16);
        to[0] = d.data;
        __atomic_store_n(&to[1], d.word, __ATOMIC_RELEASE);
        head = head + 1 == size ? 0 : head + 1;
        set(g, base + IGB_DH, head);
    }
    interrupt(g, IGB_ICR_RXDW, rx_cause(g, q));
    return 1;
}

static bool can_receive(const struct igb_model *g, uint32_t len)
{
    if (g->m.flags & T_GONE)
        return false;
    if (g->vf)
        return g->spoken && !(g->m.flags & T_RESET) && len + 4 <= g->longest;
    uint32_t rctl = get(g, IGB_RCTL);
    if (!(rctl & IGB_RCTL_EN) || !(get(g, IGB_STATUS) & IGB_STATUS_MASTER))
        return false;
    return rctl & IGB_RCTL_LPE ? len + 4 <= get(g, IGB_RLPML) : len <= 1518;
}

static int igb_receive(struct model *m, const uint8_t *frame, uint32_t len, const struct model_meta *meta)
{
    struct igb_model *g = of(m);
    uint32_t hash = 0;
    if (!can_receive(g, len) || (len >= 6 && !for_us(g, frame)))
        return -1;
    if (meta->flags & MODEL_RX_ERROR) {
        if (!g->vf)
            count(g, IGB_STATS, 1); /* CRCERRS: such frames were not asked for */
        return -1;
    }
    unsigned q = queue_for(g, frame, len, &hash);
    if (meta->queue != UINT32_MAX)
        q = meta->queue % queues(g);
    if (!(get(g, rx_base(g, q) + IGB_DCTL) & IGB_DCTL_ENABLE))
        return -1;
    int rc = deliver(g, q, frame, len, checksum_bits(g, meta->flags), hash);
    if (rc == 1 && g->vf) {
        count(g, IGB_VFGPRC, 1);
        count(g, IGB_VFGORC, len + 4);
    } else if (rc == 1) {
        count(g, IGB_STATS + GPRC, 1);
        count(g, IGB_STATS + GORC, len + 4);
        if (frame[0] & 1)
            count(g, IGB_STATS + (frame[1] == 0xff ? BPRC : MPRC), 1);
    }
    return rc;
}

/* ---- transmit ------------------------------------------------------------------------------------------------------ */

static void finish(struct igb_model *g, unsigned q)
{
    uint32_t command = g->tx[q].first_command, status = g->tx[q].first_status, len = g->tx[q].len;
    const uint32_t *context = g->tx[q].context[status >> 4 & 1];
    uint32_t l3 = context[0] >> IGB_TX_MACLEN_SHIFT & 127, l4 = l3 + (context[0] & 511);
    struct model_tx tx = {.queue = q, .pseudo_without_len = true};
    if (status & IGB_TX_FILL_L4) {
        tx.l4_csum = true;
        tx.l3 = (uint16_t)l3;
        tx.csum_start = (uint16_t)l4;
        tx.csum_offset = context[1] & IGB_TX_TCP ? 16 : 6;
        tx.ip_csum = status & IGB_TX_FILL_IP;
        bool v4 = context[1] & IGB_TX_IPV4;
        g->m.faults += l4 >= len || g->tx[q].frame[l3] >> 4 != (v4 ? 4 : 6);
    }
    if (command & IGB_TX_SEGMENT) {
        tx.mss = (uint16_t)(context[2] >> IGB_TX_MSS_SHIFT);
        tx.hdr_len = (uint16_t)(l4 + (context[2] >> IGB_TX_L4LEN_SHIFT & 255));
        g->m.faults += !(status & IGB_TX_FILL_L4) || tx.mss == 0;
    }
    uint32_t payload = tx.mss != 0 ? len - tx.hdr_len : len;
    g->m.faults += status >> IGB_TX_PAYLEN_SHIFT != payload;
    model_send(&g->m, g->tx[q].frame, len, &tx);
    if (g->vf) {
        count(g, IGB_VFGPTC, 1);
        count(g, IGB_VFGOTC, len + 4);
    } else {
        count(g, IGB_STATS + GPTC, 1);
        count(g, IGB_STATS + GOTC, len + 4);
    }
}

static void data(struct igb_model *g, unsigned q, const struct igb_tx_desc *d)
{
    uint32_t part = d->command & 0xffff;
    if (!g->tx[q].open) {
        g->tx[q].open = true;
        g->tx[q].first_command = d->command;
        g->tx[q].first_status = d->status;
    }
    if (g->tx[q].len + part > MODEL_MAX_FRAME ||
        !model_dma_read(&g->m, d->data, g->tx[q].frame + g->tx[q].len, part))
        g->tx[q].bad = true;
    else
        g->tx[q].len += part;
    if (!(d->command & IGB_TX_END))
        return;
    if (!g->tx[q].bad)
        finish(g, q);
    g->tx[q].open = g->tx[q].bad = false;
    g->tx[q].len = 0;
}

static void run_queue(struct igb_model *g, unsigned q)
{
    uint32_t base = tx_base(g, q), size = get(g, base + IGB_DLEN) / 16, tail = get(g, base + IGB_DT);
    uint64_t ring = (uint64_t)get(g, base + IGB_DBAH) << 32 | get(g, base + IGB_DBAL);
    uint32_t head = get(g, base + IGB_DH);
    if (!(get(g, base + IGB_DCTL) & IGB_DCTL_ENABLE) || tail >= size || head >= size)
        return;
    for (; head != tail; head = head + 1 == size ? 0 : head + 1) {
        struct igb_tx_desc d, *at = model_dma(&g->m, ring + 16 * head, 16);
        if (at == NULL)
            break;
        d = *at;
        if ((d.command >> 20 & 15) == 2) {
            uint32_t *context = g->tx[q].context[d.status >> 4 & 1];
            context[0] = (uint32_t)d.data;
            context[1] = d.command;
            context[2] = d.status;
        } else {
            g->m.faults += !(d.command & 1u << 29) || (d.command >> 20 & 15) != 3;
            data(g, q, &d);
        }
        if (d.command & IGB_TX_REPORT)
            __atomic_store_n(&at->status, d.status | IGB_TX_DONE, __ATOMIC_RELEASE);
    }
    set(g, base + IGB_DH, head);
}

static void igb_run(struct model *m)
{
    struct igb_model *g = of(m);
    bool may = g->vf ? g->spoken && !(m->flags & T_RESET)
                     : (get(g, IGB_TCTL) & IGB_TCTL_EN) && (get(g, IGB_STATUS) & IGB_STATUS_MASTER);
    if (!may || (m->flags & T_GONE))
        return;
    for (unsigned q = 0; q < queues(g); q++)
        run_queue(g, q);
}

/* ---- the rest ------------------------------------------------------------------------------------------------------ */

static void igb_link(struct model *m, bool up)
{
    link_is(of(m), up);
}

static void igb_corrupt(struct model *m)
{
    struct igb_model *g = of(m);
    uint64_t r = model_random(m);
    unsigned q = r >> 8 & 1;
    bool tx = r >> 9 & 1;
    uint32_t base = tx ? tx_base(g, q) : rx_base(g, q), size = get(g, base + IGB_DLEN) / 16;
    uint64_t ring = (uint64_t)get(g, base + IGB_DBAH) << 32 | get(g, base + IGB_DBAL);
    uint64_t *d = size != 0 ? model_dma(m, ring + 16 * ((r >> 16) % size), 16) : NULL;
    switch (r & 7) {
    case 0: /* any descriptor, anything */
        if (d != NULL)
            d[r >> 10 & 1] = model_random(m);
        break;
    case 1: /* done before its time */
        if (d != NULL)
            d[1] |=
                tx ? UINT64_C(1) << 32 : IGB_RX_DONE | (r >> 11 & 1 ? IGB_RX_END : 0) | model_random(m) << 32;
        break;
    case 2: /* all of them done, no end */
        for (uint32_t i = 0; d != NULL && i < size; i++)
            if ((d = model_dma(m, ring + 16 * i, 16)) != NULL)
                d[1] |= tx ? UINT64_C(1) << 32 : (UINT64_C(2048) << 32) | IGB_RX_DONE;
        break;
    case 3: /* the head stands elsewhere */
        set(g, base + IGB_DH, size != 0 ? (uint32_t)(r >> 16) % size : 0);
        break;
    case 4: /* registers say what they like */
        set(g, IGB_STATS + (r >> 16 & 0xfc), (uint32_t)model_random(m));
        g->icr ^= (uint32_t)model_random(m);
        break;
    case 5:
        m->flags ^= r >> 20 & 1 ? T_GONE : 0;
        break;
    default:
        interrupt(g, (uint32_t)(r >> 16), (uint32_t)(r >> 32));
        break;
    }
}

static void igb_init(struct model *m, uint32_t flags)
{
    static const uint16_t devices[] = {0x10c9, 0x1521, 0x1533, 0x10ca, 0x1520, 0x10e7};
    struct igb_model *g = of(m);
    m->vendor = 0x8086;
    m->device = devices[(flags & K_MASK) % 6];
    g->vf = (flags & K_MASK) == K_82576_VF || (flags & K_MASK) == K_I350_VF;
    model_bar(m, 0, g->vf ? IGB_VF_BAR : 0x20000);
    for (unsigned q = 0; q < queues(g); q++)
        g->tx[q].frame = malloc(MODEL_MAX_FRAME);
    reset(g);
    if (g->vf)
        set(g, IGB_STATUS, IGB_STATUS_FD | 2 << IGB_STATUS_SPEED_SHIFT | IGB_STATUS_LU);
}

static void igb_destroy(struct model *m)
{
    for (unsigned q = 0; q < QUEUES; q++)
        free(of(m)->tx[q].frame);
}

const struct model_ops igb_model = {.kind = "igb",
                                    .size = sizeof(struct igb_model),
                                    .init = igb_init,
                                    .read = igb_read,
                                    .write = igb_write,
                                    .receive = igb_receive,
                                    .run = igb_run,
                                    .link = igb_link,
                                    .corrupt = igb_corrupt,
                                    .destroy = igb_destroy};
