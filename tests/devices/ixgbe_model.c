/* ixgbe_model.c: registers of the 82599 as its datasheet has them; see ixgbe_model.h. */
#include "ixgbe_model.h"

#define API __attribute__((visibility("default")))

/* ---- interrupts: 7.3 ------------------------------------------------------------------------------------------------- */

static void fire(struct model *m, uint32_t bits)
{
    struct ixgbe_model *d = of(m);
    uint32_t gpie = reg(m, GPIE);
    bits &= d->eicr & d->eims;
    if (bits == 0)
        return;
    if (!(gpie & 1 << 4)) { /* one vector for all */
        model_irq(m, 0);
        d->eims &= gpie & 1 << 30 ? ~(bits & reg(m, EIAM)) : ~0u;
        return;
    }
    for (uint32_t v = 0; v < 16; v++)
        if (bits & 1u << v) {
            model_irq(m, v);
            d->eicr &= ~(reg(m, EIAC) & 1u << v);
            d->eims &= gpie & 1 << 30 ? ~(reg(m, EIAM) & 1u << v) : ~0u;
        }
    if (bits & 0x3fff0000 && reg(m, IVAR_MISC) & 0x8000)
        model_irq(m, reg(m, IVAR_MISC) >> 8 & 0x3f);
}

void ixgbe_cause(struct model *m, uint32_t bits)
{
    of(m)->eicr |= bits;
    fire(m, bits);
}

/* 7.3.4.3: a cause that no vector belongs to must not be enabled. */
static void enable_causes(struct model *m, uint32_t bits)
{
    bool many = reg(m, GPIE) & 1 << 4;
    for (uint32_t v = 0; v < 16; v++) {
        bool mapped = false;
        for (uint32_t e = 0; e < 32; e++) /* rx and tx entries of 16 queues */
            mapped |= (reg(m, IVAR + 4 * (e / 4)) >> 8 * (e % 4) & 0xff) == (0x80 | v);
        check(m, !(bits & 1u << v) || mapped, "EIMS: a cause without an IVAR entry");
    }
    check(m, !many || !(bits & 0x3fff0000) || reg(m, IVAR_MISC) & 0x8000,
          "EIMS: other causes without IVAR_MISC");
    of(m)->eims |= bits;
    fire(m, bits);
}

/* ---- reset: 4.2.1, 4.6.3 ---------------------------------------------------------------------------------------------- */

static void defaults(struct model *m)
{
    struct ixgbe_model *d = of(m);
    memset(m->bar[0].memory, 0, m->bar[0].size);
    memset(d->rx, 0, sizeof d->rx);
    memset(d->tx, 0, sizeof d->tx);
    memset(d->has_context, 0, sizeof d->has_context);
    d->eicr = d->eims = 0;
    d->eeprom_seen = d->dma_seen = d->rx_ready_seen = false;
    d->eeprom_late = d->dma_late = LATE;
    set(m, RDRXCTL, 8 << 17);
    set(m, HLREG0, 0x08012c0b);
    set(m, MAXFRS, 1518 << 16);
    set(m, RXPBSIZE, d->x540 ? 384 << 10 : 512 << 10);
    set(m, TXPBSIZE, 160 << 10);
    set(m, AUTOC, 3 << 13);
    set(m, RAL, (uint32_t)m->mac[0] | m->mac[1] << 8 | m->mac[2] << 16 | (uint32_t)m->mac[3] << 24);
    set(m, RAL + 4, 1u << 31 | m->mac[4] | (uint32_t)m->mac[5] << 8);
    for (uint32_t i = 0; i < QUEUES; i++) {
        set(m, 0x1000 + 0x40 * i + DCA, 0xb200);
        set(m, 0x1000 + 0x40 * i + SRRCTL, 2 | 4 << 8);
    }
}

static void reset(struct model *m, uint32_t bits)
{
    struct ixgbe_model *d = of(m);
    bool hanging = m->flags & F_MASTER_HANGS && d->resets < 2;
    check(m, reg(m, CTRL) & 4 && (d->master_late == 0 || hanging),
          "reset while the device is master of the bus");
    check(m, !hanging || d->flushed, "reset of a hanging device that was not flushed");
    check(m, !d->x540 || !(bits & 8), "link reset of a device whose firmware has the PHY");
    d->resets += hanging;
    defaults(m);
    d->reset_late = LATE;
    if (m->flags & F_MASTER_HANGS && d->resets == 1)
        set(m, CTRL, 4); /* the second one follows at once */
}

/* ---- reading ----------------------------------------------------------------------------------------------------------- */

/* Registers that answer at a second address: that of the 82598. */
static uint32_t canonical(uint32_t at)
{
    if (at >= 0x2100 && at < 0x2140)
        return 0x1000 + SRRCTL + (at - 0x2100) * 16;
    if (at >= 0x2200 && at < 0x2240)
        return 0x1000 + DCA + (at - 0x2200) * 16;
    if (at >= 0x5400 && at < 0x5480)
        return RAL + at - 0x5400;
    if (at >= 0x5c00 && at < 0x5c80)
        return RETA + at - 0x5c00;
    if (at >= 0x5c80 && at < 0x5ca8)
        return RSSRK + at - 0x5c80;
    return at == 0x5818 ? MRQC : at;
}

static struct queue *queue_at(struct model *m, uint32_t at, uint32_t *field)
{
    struct ixgbe_model *d = of(m);
    *field = at & 0x3f;
    if (at >= 0x1000 && at < 0x1400)
        return &d->rx[(at - 0x1000) / 0x40];
    if (at >= 0x6000 && at < 0x6400)
        return &d->tx[(at - 0x6000) / 0x40];
    return NULL;
}

static bool late(unsigned *left)
{
    if (*left == 0)
        return false;
    (*left)--;
    return true;
}

static uint32_t read_queue(struct model *m, struct queue *q, uint32_t at, uint32_t field)
{
    if (field == HEAD)
        return q->head;
    if (field != DCTL)
        return reg(m, at);
    uint32_t v = reg(m, at) & ~(uint32_t)ENABLE;
    if (q->on ? !(m->flags & F_NO_ENABLE) && !late(&q->on_late) : late(&q->off_late))
        v |= ENABLE;
    q->seen |= q->on && (v & ENABLE);
    return v;
}

static uint32_t read_and_clear(struct model *m, uint32_t at)
{
    uint32_t v = reg(m, at);
    set(m, at, 0);
    return v;
}

static uint32_t read_status(struct model *m)
{
    struct ixgbe_model *d = of(m);
    bool hanging = m->flags & F_MASTER_HANGS && d->resets < 2;
    bool master = !(reg(m, CTRL) & 4) || hanging || late(&d->master_late);
    return master ? 1 << 19 : 0;
}

static uint32_t read_links(struct model *m)
{
    bool laser = of(m)->x540 || !(of(m)->esdp & 8);
    uint32_t speed = m->flags >> F_SPEED_SHIFT & 3;
    return (m->link_up && laser ? 1u << 30 : 0) | (speed != 0 ? speed : 3) << 28 |
           (m->flags & F_NON_STD ? 1 << 27 : 0);
}

static uint64_t ixgbe_read_reg(struct model *m, uint32_t bar, uint64_t offset, uint32_t width)
{
    struct ixgbe_model *d = of(m);
    uint32_t at = canonical((uint32_t)offset), field, v;
    check(m, bar == 0 && width == 4, "registers are 32 bits wide");
    struct queue *q = queue_at(m, at, &field);
    if (d->gone)
        return UINT32_MAX;
    if (q != NULL && field < 0x30)
        return read_queue(m, q, at, field);
    if ((at >= 0x4000 && at < 0x4100) || (at >= 0x3f60 && at < 0x3fc0) || at == QPRDC || at == 0x41a4 ||
        at == 0x41a8)
        return read_and_clear(m, at);
    switch (at) {
    case CTRL:
        return reg(m, at) | (late(&d->reset_late) ? 1u << 26 : 0);
    case STATUS:
        return read_status(m);
    case EEC:
        d->eeprom_seen = !(m->flags & F_NO_EEPROM) && !late(&d->eeprom_late);
        return d->eeprom_seen ? 1 << 9 | 1 << 8 : 1 << 8;
    case RDRXCTL:
        d->dma_seen |= !(m->flags & F_NO_DMA) && !late(&d->dma_late);
        return reg(m, at) | (d->dma_seen ? 1 << 3 : 0);
    case SECRXSTAT:
        d->rx_ready_seen = reg(m, SECRXCTRL) & 2 && !late(&d->rx_late);
        return d->rx_ready_seen;
    case EICR: /* 8.2.3.5.1: with OCD only the other causes clear */
        v = d->eicr;
        d->eicr &= reg(m, GPIE) & 1 << 5 ? 0xffff : 0;
        return v;
    case EIMS:
        return d->eims;
    case SWSM: /* 10.5.4: who reads SMBI as 0 has it */
        v = d->swsm;
        d->swsm |= 1;
        return v;
    case SYNC:
        if (m->flags & F_FIRMWARE_HOLDS || (m->flags & F_FIRMWARE_BUSY && late(&d->firmware_turns)))
            return d->sync | 1 << 8;
        return d->sync;
    case ESDP:
        return d->esdp;
    case LINKS:
        return read_links(m);
    default:
        return reg(m, at);
    }
}

/* ---- writing ----------------------------------------------------------------------------------------------------------- */

/* 4.6.7, 4.6.8: what must be before a queue is enabled. */
static void enable_queue(struct model *m, struct queue *q, uint32_t base, uint32_t v)
{
    uint32_t srrctl = reg(m, base + SRRCTL);
    check(m, ring_size(m, base) != 0, "queue enabled before its ring");
    check(m, !(reg(m, CTRL) & 4), "queue enabled while the device may not use the bus");
    if (base < 0x6000) {
        check(m, (srrctl >> 25 & 7) == 1, "SRRCTL: not the advanced one-buffer descriptor");
        check(m, (srrctl & 31) >= 1 && (srrctl & 31) <= 16, "SRRCTL: BSIZEPACKET");
        check(m, !(reg(m, base + DCA) & 1 << 12), "DCA_RXCTRL: bit 12 is to be cleared");
        check(m, !(v & 1 << 30), "RXDCTL: tags are not to be stripped");
    } else {
        check(m, reg(m, DMATXCTL) & 1, "transmit queue enabled before DMATXCTL.TE");
        check(m, (v >> 16 & 127) == 0, "TXDCTL: WTHRESH with descriptors that do not ask for a report");
        check(m, (v & 127) == 0 || (v >> 8 & 127) != 0, "TXDCTL: PTHRESH without HTHRESH");
    }
    q->on = true;
    q->seen = false;
    q->on_late = LATE;
}

static void write_tail(struct model *m, struct queue *q, uint32_t base, uint32_t v)
{
    uint32_t size = ring_size(m, base), before = reg(m, base + TAIL);
    if (v == 0 && !q->on)
        return;
    check(m, q->on && q->seen, "tail written before ENABLE was read back");
    if (size == 0 || v >= size) {
        wrong(m, "tail behind the end of the ring");
        return;
    }
    /* Only what belongs to software may be given: [tail, head). */
    check(m, (v + size - before) % size <= (q->head + size - before - 1) % size, "tail overtakes the head");
    set(m, base + TAIL, v);
}

static void write_queue(struct model *m, struct queue *q, uint32_t at, uint32_t field, uint32_t v)
{
    uint32_t base = at - field;
    bool rx = base < 0x6000;
    if (field == TAIL) {
        write_tail(m, q, base, v);
        return;
    }
    if (field == DCTL) {
        set(m, at, v & ~(uint32_t)ENABLE);
        if (v & ENABLE && !q->on)
            enable_queue(m, q, base, v);
        else if (!(v & ENABLE) && q->on)
            *q = (struct queue){.head = q->head, .off_late = LATE};
        return;
    }
    check(m, !q->on, "queue changed while it is enabled");
    switch (field) {
    case BAL:
        check(m, (v & 127) == 0, "ring that does not begin at 128 bytes");
        break;
    case LEN:
        check(m, v % 128 == 0 && v != 0 && v <= 512 << 10,
              "ring length: a multiple of 128 bytes, 512 KB at most");
        break;
    case HEAD:
        q->head = v;
        set(m, base + TAIL, 0);
        break;
    case RSCCTL:
        check(m, !rx || !(v & 1), "RSCCTL: coalescing");
        break;
    default:
        break;
    }
    set(m, at, v);
}

static bool any_queue(const struct queue *q)
{
    for (unsigned i = 0; i < QUEUES; i++)
        if (q[i].on)
            return true;
    return false;
}

/* 4.6.7: RXEN comes last, with the path in front of the packet buffer held. */
static void enable_receive(struct model *m)
{
    uint32_t rdrxctl = reg(m, RDRXCTL), high = reg(m, FCRTH) & 0x7ffe0;
    check(m, reg(m, SECRXCTRL) & 2 && of(m)->rx_ready_seen, "RXEN without SECRXCTRL.RX_DIS and SECRX_RDY");
    check(m, (rdrxctl >> 1 & 1) == (reg(m, HLREG0) >> 1 & 1),
          "CRC stripped by one of RDRXCTL and HLREG0 only");
    check(m, (rdrxctl >> 17 & 31) == 0, "RDRXCTL.RSCFRSTSIZE must be 0");
    check(m, (rdrxctl >> 25 & 3) == 3, "RDRXCTL.RSCACKC and FCOE_WRFIX must be 1");
    if (reg(m, FCCFG) & 8) {
        check(m, reg(m, FCRTH) >> 31 && high < reg(m, RXPBSIZE), "FCRTH: threshold of pause frames");
        check(m, (reg(m, FCRTL) & 0x7ffe0) < high, "FCRTL is not below FCRTH");
    }
}

static void write_lock(struct model *m, uint32_t at, uint32_t v)
{
    struct ixgbe_model *d = of(m);
    if (at == SWSM) {
        check(m, !(v & 2) || d->swsm & 1, "SWSM.SWESMBI without SMBI");
        d->swsm = v & 3;
        return;
    }
    check(m, (d->swsm & 3) == 3, "SW_FW_SYNC written without the semaphore");
    check(m, !(v & ~d->sync & 8) || !(m->flags & F_FIRMWARE_HOLDS), "SW_FW_SYNC: the firmware holds it");
    d->sync = v & 0x1f;
}

static void write_global(struct model *m, uint32_t at, uint32_t v)
{
    struct ixgbe_model *d = of(m);
    uint32_t before = reg(m, at);
    switch (at) {
    case SECRXCTRL:
        d->rx_late = v & 2 ? LATE : 0;
        d->rx_ready_seen &= (v & 2) != 0;
        break;
    case RXCTRL:
        if (v & 1 && !(before & 1))
            enable_receive(m);
        break;
    case FCTRL:
        check(m, !(reg(m, RXCTRL) & 1), "FCTRL changed while RXEN is set");
        check(m, !(v & 2), "FCTRL.SBP: bad frames are not wanted");
        break;
    case HLREG0:
        check(m, !((v ^ before) & ~0x18038407u), "HLREG0: reserved bits changed");
        break;
    case MTQC:
        check(m, reg(m, RTTDCS) & 1 << 6, "MTQC written without RTTDCS.ARBDIS");
        check(m, !any_queue(d->tx), "MTQC written with queues enabled");
        break;
    case DMATXCTL:
        check(m, !(v & 1) || !(reg(m, RTTDCS) & 1 << 6), "DMATXCTL.TE with the arbiter disabled");
        break;
    case AUTOC:
        check(m, !d->x540, "AUTOC of a device whose firmware has the link");
        check(m, d->sync & 8, "AUTOC written without SW_FW_SYNC.MAC_CSR");
        d->autoc_writes++;
        v &= ~(1u << 12);
        break;
    case GCR_EXT:
        d->flushed |= v >> 30 & 1 && reg(m, HLREG0) & 1 << 15 && !(reg(m, RXCTRL) & 1);
        break;
    default:
        break;
    }
    set(m, at, v);
}

static void ixgbe_write_reg(struct model *m, uint32_t bar, uint64_t offset, uint32_t width, uint64_t value)
{
    struct ixgbe_model *d = of(m);
    uint32_t at = canonical((uint32_t)offset), v = (uint32_t)value, field;
    check(m, bar == 0 && width == 4, "registers are 32 bits wide");
    struct queue *q = queue_at(m, at, &field);
    check(m, d->reset_late == 0, "written during a reset");
    if (d->gone)
        return;
    if (at == CTRL) {
        if (v & 4 && !(reg(m, CTRL) & 4))
            d->master_late = LATE;
        set(m, CTRL, v & ~(1u << 26 | 8));
        if (v & (1u << 26))
            reset(m, v);
    } else if (at == EIMC) {
        d->eims &= ~v;
    } else if (at == EICR) {
        d->eicr &= ~v;
    } else if (at == SWSM || at == SYNC) {
        write_lock(m, at, v);
    } else if (at == EIMC_EX || at == EIMC_EX + 4) {
        d->eims &= at == EIMC_EX ? ~(v & 0xffff) : ~0u;
    } else if (at == RXCTRL && v == 0 && reg(m, RXCTRL) == 0) {
        return;
    } else if (at == HLREG0 && (v ^ reg(m, HLREG0)) == 1 << 15) {
        set(m, at, v); /* the flush before a reset */
    } else if (at == GCR_EXT) {
        write_global(m, at, v);
    } else if (q != NULL && field == DCTL && !(v & ENABLE)) {
        write_queue(m, q, at, field, v);
    } else {
        check(m, d->eeprom_seen && d->dma_seen, "set up before EEC.ARD and RDRXCTL.DMAIDONE were seen");
        if (at == EIMS)
            enable_causes(m, v);
        else if (at == EICS)
            ixgbe_cause(m, v);
        else if (at == ESDP)
            d->esdp = v;
        else if (q != NULL && (field < 0x30 || at >= 0x6000))
            write_queue(m, q, at, field, v);
        else
            write_global(m, at, v);
    }
}

/* ---- the model ------------------------------------------------------------------------------------------------------------ */

static void ixgbe_init(struct model *m, uint32_t flags)
{
    struct ixgbe_model *d = of(m);
    m->vendor = 0x8086;
    d->x550 = flags & F_X550;
    d->x540 = flags & (F_X540 | F_X550);
    m->device = d->x550 ? 0x1563 : d->x540 ? 0x1528 : 0x10fb;
    d->firmware_turns = FW_TURNS;
    if (flags & F_SEMAPHORE_LEFT) {
        d->swsm = 1;
        d->sync = 8;
    }
    d->esdp = 1 << 3 | 1 << 11; /* the kernel's driver left the laser off */
    model_bar(m, 0, 512 << 10);
    defaults(m);
}

static void ixgbe_link(struct model *m, bool up)
{
    (void)up;
    ixgbe_cause(m, 1 << 20);
}

const struct model_ops ixgbe_model = {.kind = "ixgbe",
                                      .size = sizeof(struct ixgbe_model),
                                      .init = ixgbe_init,
                                      .read = ixgbe_read_reg,
                                      .write = ixgbe_write_reg,
                                      .receive = ixgbe_receive,
                                      .run = ixgbe_run,
                                      .link = ixgbe_link,
                                      .corrupt = ixgbe_corrupt};

/* For tests of the model itself, and to see what a driver did wrong. */
API uint32_t ixgbe_model_read(struct model *m, uint32_t at)
{
    return (uint32_t)m->hook.read(m, 0, at, 4);
}

API void ixgbe_model_write(struct model *m, uint32_t at, uint32_t v)
{
    m->hook.write(m, 0, at, 4, v);
}

API const char *ixgbe_model_note(const struct model *m, uint32_t i)
{
    const struct ixgbe_model *d = (const struct ixgbe_model *)m;
    return i < d->n_notes ? d->note[i] : "";
}

/* The device is pulled out. */
API void ixgbe_model_gone(struct model *m, int gone)
{
    of(m)->gone = gone != 0;
}
