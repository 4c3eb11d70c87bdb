/* igb_model.c: an 82576, I350 or I210, or one of their virtual functions with a physical one behind the mailbox; see model.h.
 *
 * flags: which device (enum kind) and what is wrong with it (enum trouble). The register at IGB_TEST is the tests' own: it takes trouble that comes while
 * the device runs. What real devices would not forgive (a payload length that is not the packet's, a header kind that is not the packet's)
 * counts as a fault.
 */
#include "igb_model.h"

#include <stdlib.h>

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

void igb_model_interrupt(struct igb_model *g, uint32_t causes, uint32_t ecauses)
{
    raise_irq(g, causes, ecauses, g->icr & g->ims, g->eicr & g->eims);
}

static void mailbox_irq(struct igb_model *g)
{
    uint32_t misc = get(g, IGB_IVAR_MISC);
    igb_model_interrupt(g, 0, misc & IGB_IVAR_VALID ? 1u << (misc & 3) : 0);
}

/* ---- reset, link, PHY ---------------------------------------------------------------------------------------------- */

static void link_is(struct igb_model *g, bool up)
{
    uint32_t status = get(g, IGB_STATUS);
    if ((g->m.flags & K_MASK) == K_SERDES) {
        set(g, IGB_PCS_LSTAT, up);
        igb_model_interrupt(g, IGB_ICR_LSC, 0);
        return;
    }
    set(g, IGB_STATUS, up ? status | IGB_STATUS_LU : status & ~(uint32_t)IGB_STATUS_LU);
    g->phy[IGB_PHY_BMSR] = up ? 0x24 : 0;
    if ((status & IGB_STATUS_LU) == (get(g, IGB_STATUS) & IGB_STATUS_LU))
        return;
    if (!g->vf) {
        igb_model_interrupt(g, IGB_ICR_LSC, 0);
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
        g->low = (uint32_t)mac[3] << 24 | (uint32_t)mac[2] << 16 | (uint32_t)mac[1] << 8 | mac[0];
        g->high = (uint32_t)mac[5] << 8 | mac[4];
        set(g, IGB_VMBMEM + 4, none ? 0 : g->low);
        set(g, IGB_VMBMEM + 8, none ? 0 : g->high);
        reply = none ? IGB_MSG_NACK : IGB_MSG_ACK;
    } else if (!g->spoken || (g->m.flags & T_REFUSE)) {
        reply = IGB_MSG_NACK;
    } else if (what == IGB_VF_SET_MAC) {
        g->low = get(g, IGB_VMBMEM + 4);
        g->high = get(g, IGB_VMBMEM + 8);
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
        set(g, IGB_VMBMEM, get(g, IGB_TEST + 4));
        answer(g);
    }
    if (!(v & IGB_MBX_REQ) || (g->m.flags & T_MUTE))
        return;
    g->m.faults += !held; /* wrote without having the buffer */
    set(g, IGB_V2PMAILBOX, get(g, IGB_V2PMAILBOX) | IGB_MBX_PFACK);
    if (g->m.flags & T_CHATTY) {
        set(g, IGB_TEST + 4, get(g, IGB_VMBMEM));
        set(g, IGB_VMBMEM, IGB_PF_CONTROL | IGB_MSG_CTS);
        set(g, IGB_V2PMAILBOX, get(g, IGB_V2PMAILBOX) | IGB_MBX_PFSTS);
        return;
    }
    answer(g);
}

/* ---- registers ----------------------------------------------------------------------------------------------------- */

static uint64_t igb_read(struct model *m, uint32_t bar, uint64_t offset, uint32_t width)
{
    struct igb_model *g = igb_model_of(m);
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
    struct igb_model *g = igb_model_of(m);
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

/* ---- the rest ------------------------------------------------------------------------------------------------------ */

static void igb_link(struct model *m, bool up)
{
    link_is(igb_model_of(m), up);
}

static void igb_corrupt(struct model *m)
{
    struct igb_model *g = igb_model_of(m);
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
        set(g, g->vf ? IGB_VFGPRC : IGB_STATS + (r >> 16 & 0xfc), (uint32_t)model_random(m));
        g->icr ^= (uint32_t)model_random(m);
        break;
    case 5:
        m->flags ^= r >> 20 & 1 ? T_GONE : 0;
        break;
    default:
        igb_model_interrupt(g, (uint32_t)(r >> 16), (uint32_t)(r >> 32));
        break;
    }
}

static void igb_init(struct model *m, uint32_t flags)
{
    static const uint16_t devices[] = {0x10c9, 0x1521, 0x1533, 0x10ca, 0x1520, 0x10e7};
    struct igb_model *g = igb_model_of(m);
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
        free(igb_model_of(m)->tx[q].frame);
}

const struct model_ops igb_model = {.kind = "igb",
                                    .size = sizeof(struct igb_model),
                                    .init = igb_init,
                                    .read = igb_read,
                                    .write = igb_write,
                                    .receive = igb_model_receive,
                                    .run = igb_model_run,
                                    .link = igb_link,
                                    .corrupt = igb_corrupt,
                                    .destroy = igb_destroy};
