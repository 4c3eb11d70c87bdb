/* e1000e_model.c: the 82574L and the 82540EM, from their datasheets: registers, both kinds of receive descriptors, offloads, interrupts.
 *
 * Variants (flags): 1: an 82540EM (legacy receive descriptors, one queue, INTx: vector 0 fires when the line goes up). 2: MPC does not go back to 0 when it
 * is read, as QEMU's. 4: a 100 Mbit/s link. 8: a CRC error is delivered as a receive error (RXE). 16: the reset never ends. 32: no MAC address.
 * 64: the link partner takes no pause frames. 128: transmit checksums as QEMU's model: it looks for the headers itself, and leaves alone what it does not find.
 *
 * Thread safety: as model.h says.
 */
#include "model.h"

#include <string.h>

#include "e1000e_regs.h"

enum {
    LEGACY = 1,
    MPC_STAYS = 2,
    SLOW = 4,
    RXE = 8,
    STUCK = 16,
    NO_MAC = 32,
    NO_PAUSE = 64,
    PARSES = 128,
    BUFFER = 2048,
    QUEUES = 2,
    MAX_LONG = 16384,
};

struct e1000e {
    struct model m;
    uint32_t icr, ims;
    bool line, gone;
    uint16_t phy[32];
    struct {
        uint8_t bytes[MODEL_MAX_FRAME];
        uint32_t len;
        bool bad;
        uint64_t context[2]; /* of the last context descriptor */
        uint64_t first;      /* second word of the frame's first data descriptor */
    } tx[QUEUES];
};

static uint32_t get(const struct e1000e *e, uint32_t reg)
{
    return model_bar32(&e->m, 0, reg);
}

static void set(struct e1000e *e, uint32_t reg, uint32_t v)
{
    model_set_bar32(&e->m, 0, reg, v);
}

static bool legacy(const struct e1000e *e)
{
    return e->m.flags & LEGACY;
}

/* ---- interrupts (7.4) ---- */

static void fire(struct e1000e *e, uint32_t cause, uint32_t entry)
{
    if (!(e->icr & e->ims & cause) || !(entry & E1_IVAR_VALID))
        return;
    model_irq(&e->m, entry & 7);
    uint32_t automatic = get(e, E1_EIAC) & cause;
    e->icr &= ~automatic;
    e->ims &= ~automatic;
}

static void update_irq(struct e1000e *e)
{
    uint32_t ivar = get(e, E1_IVAR);
    if (!legacy(e) && ivar != 0) { /* MSI-X */
        if (e->icr & E1_INT_OTHERS)
            e->icr |= E1_INT_OTHER;
        for (unsigned i = 0; i < QUEUES; i++)
            fire(e, E1_INT_RXQ0 << i, ivar >> 4 * i);
        fire(e, E1_INT_OTHER, ivar >> E1_IVAR_OTHER_SHIFT);
        return;
    }
    bool line = (e->icr & e->ims) != 0;
    if (line && !e->line)
        model_irq(&e->m, 0);
    e->line = line;
}

static void cause(struct e1000e *e, uint32_t bits)
{
    e->icr |= bits;
    update_irq(e);
}

/* ---- registers ---- */

static void reset(struct e1000e *e)
{
    struct model *m = &e->m;
    memset(m->bar[0].memory, 0, E1_BAR_SIZE);
    e->icr = e->ims = 0;
    e->line = false;
    memset(e->tx, 0, sizeof e->tx);
    uint32_t low, high = 0;
    memcpy(&low, m->mac, 4);
    memcpy(&high, m->mac + 4, 2);
    set(e, E1_RAL, m->flags & NO_MAC ? 0 : low);
    set(e, E1_RAH, m->flags & NO_MAC ? 0 : high | E1_RAH_AV);
    set(e, E1_PBA, 0x00140014);
    set(e, E1_EECD, legacy(e) ? 0 : E1_EECD_AUTO_RD);
    set(e, E1_TARC, 0x403);
    set(e, E1_TARC + E1_QUEUE_STEP, 0x403);
}

static void init(struct model *m, uint32_t flags)
{
    struct e1000e *e = (struct e1000e *)m;
    m->vendor = 0x8086;
    m->device = flags & LEGACY ? 0x100e : 0x10d3;
    model_bar(m, 0, E1_BAR_SIZE);
    reset(e);
    set(e, E1_RCTL, E1_RCTL_EN | E1_RCTL_UPE); /* somebody left it running */
    e->phy[E1_PHY_CONTROL] = 0x1000 | E1_PHY_POWER_DOWN;
    e->phy[E1_PHY_ADVERTISED] = 0x01e1;
    e->phy[E1_PHY_PARTNER] = flags & NO_PAUSE ? 0x41e1 : 0x45e1;
}

static bool link_up(const struct e1000e *e)
{
    return e->m.link_up && !(e->phy[E1_PHY_CONTROL] & E1_PHY_POWER_DOWN) && get(e, E1_CTRL) & E1_CTRL_SLU;
}

static uint32_t status(const struct e1000e *e)
{
    return (link_up(e) ? E1_STATUS_LU | E1_STATUS_FD : 0) |
           (e->m.flags & SLOW ? 1 : 2) << E1_STATUS_SPEED_SHIFT |
           (get(e, E1_CTRL) & E1_CTRL_MASTER_DISABLE ? 0 : E1_STATUS_MASTER_ENABLE);
}

static uint64_t reg_read(struct model *m, uint32_t bar, uint64_t offset, uint32_t width)
{
    struct e1000e *e = (struct e1000e *)m;
    if (e->gone || bar != 0 || width != 4)
        return UINT32_MAX;
    uint32_t v = get(e, (uint32_t)offset);
    switch (offset) {
    case E1_STATUS:
        return status(e);
    case E1_CTRL:
        return m->flags & STUCK ? v | E1_CTRL_RST : v;
    case E1_IMS:
        return e->ims;
    case E1_ICR: /* 10.2.4: not cleared when only masked causes are there */
        v = e->icr;
        if (legacy(e) || e->ims == 0 || e->icr & e->ims)
            e->icr = 0;
        update_irq(e);
        return v;
    case E1_MPC:
        if (m->flags & MPC_STAYS)
            return v;
        break;
    case E1_GORCL:
    case E1_GOTCL:
    case E1_TORL:
    case E1_TOTL:
        return v; /* goes with its high half */
    case E1_GORCH:
    case E1_GOTCH:
        set(e, (uint32_t)offset - 4, 0);
        break;
    default:
        break;
    }
    if (offset >= E1_CRCERRS && offset < 0x4124)
        set(e, (uint32_t)offset, 0);
    return v;
}

static void mdic(struct e1000e *e, uint32_t v)
{
    uint32_t reg = v >> E1_MDIC_REG_SHIFT & 31;
    if (!legacy(e) && !(get(e, E1_EXTCNF_CTRL) & E1_EXTCNF_MDIO_OWNED)) {
        set(e, E1_MDIC, E1_MDIC_READY | E1_MDIC_ERROR);
        return;
    }
    if (v & E1_MDIC_WRITE)
        e->phy[reg] = (uint16_t)v;
    else
        v = (v & ~0xffffu) | e->phy[reg];
    set(e, E1_MDIC, v | E1_MDIC_READY);
}

static void reg_write(struct model *m, uint32_t bar, uint64_t offset, uint32_t width, uint64_t value)
{
    struct e1000e *e = (struct e1000e *)m;
    uint32_t v = (uint32_t)value;
    if (e->gone || bar != 0 || width != 4)
        return;
    switch (offset) {
    case E1_CTRL:
        if (v & E1_CTRL_RST)
            reset(e);
        else
            set(e, E1_CTRL, v);
        return;
    case E1_ICR:
        e->icr &= ~v;
        break;
    case E1_IMS:
        e->ims |= v;
        break;
    case E1_IMC:
        e->ims &= ~v;
        break;
    case E1_ICS:
        e->icr |= v;
        break;
    case E1_MDIC:
        mdic(e, v);
        return;
    case E1_STATUS:
    case E1_EECD:
        return;
    default:
        set(e, (uint32_t)offset, v);
        return;
    }
    update_irq(e);
}

/* ---- receive (7.1) ---- */

static void count(struct e1000e *e, uint32_t reg, uint32_t n)
{
    set(e, reg, get(e, reg) + n);
}

static bool wanted(const struct e1000e *e, const uint8_t *frame)
{
    uint32_t rctl = get(e, E1_RCTL), low = get(e, E1_RAL), high = get(e, E1_RAH);
    if (memcmp(frame, "\xff\xff\xff\xff\xff\xff", 6) == 0)
        return rctl & E1_RCTL_BAM;
    if (frame[0] & 1)
        return rctl & E1_RCTL_MPE;
    return rctl & E1_RCTL_UPE ||
           (high & E1_RAH_AV && memcmp(frame, &low, 4) == 0 && memcmp(frame + 4, &high, 2) == 0);
}

static unsigned choose_queue(const struct e1000e *e, const uint8_t *frame, uint32_t len)
{
    if (legacy(e) || !(get(e, E1_MRQC) & E1_MRQC_RSS) || !(get(e, E1_RXCSUM) & E1_RXCSUM_PCSD) ||
        !(get(e, E1_RFCTL) & E1_RFCTL_EXTEN))
        return 0;
    uint32_t hash = model_rss(e->m.bar[0].memory + E1_RSSRK, frame, len);
    return hash != 0 ? e->m.bar[0].memory[E1_RETA + (hash & 127)] >> 7 : 0;
}

static uint32_t rx_status(const struct e1000e *e, const uint8_t *frame, uint32_t len, uint32_t flags)
{
    uint32_t s = E1_RXD_DD | E1_RXD_EOP;
    bool udp = len > 23 && frame[23] == 17;
    if (flags & MODEL_RX_ERROR)
        s |= e->m.flags & RXE ? E1_RXD_RXE : E1_RXD_CE;
    if (!(get(e, E1_RXCSUM) & E1_RXCSUM_TUOFLD))
        return s | (legacy(e) ? E1_RXD_IXSM : 0);
    if (flags & (MODEL_RX_CSUM_GOOD | MODEL_RX_CSUM_BAD))
        s |= E1_RXD_IPCS | E1_RXD_TCPCS | (udp && !legacy(e) ? E1_RXD_UDPCS : 0);
    return s | (flags & MODEL_RX_CSUM_BAD ? E1_RXD_TCPE : 0);
}

static void write_back(struct e1000e *e, uint64_t at, uint32_t s, uint32_t len)
{
    uint64_t words[2] = {0, s | (uint64_t)len << 32};
    if (legacy(e)) {
        words[1] = len | (uint64_t)(s & 0xff) << 32 | (uint64_t)(s >> 24) << 40;
        model_dma_write(&e->m, at + 8, &words[1], 8);
    } else {
        model_dma_write(&e->m, at, words, 16);
    }
}

static int receive(struct model *m, const uint8_t *frame, uint32_t len, const struct model_meta *meta)
{
    struct e1000e *e = (struct e1000e *)m;
    uint32_t rctl = get(e, E1_RCTL);
    if (e->gone || !(rctl & E1_RCTL_EN) || !link_up(e) || get(e, E1_CTRL) & E1_CTRL_MASTER_DISABLE)
        return -1;
    if (len + 4 > (rctl & E1_RCTL_LPE ? MAX_LONG : 1522)) {
        count(e, E1_ROC, 1);
        return -1;
    }
    if (meta->flags & MODEL_RX_ERROR) {
        count(e, E1_CRCERRS, 1);
        if (!(m->flags & RXE) && !(rctl & E1_RCTL_SBP))
            return -1;
    }
    if (!wanted(e, frame))
        return -1;
    unsigned queue = meta->queue == UINT32_MAX ? choose_queue(e, frame, len) : meta->queue % QUEUES;
    uint32_t at = queue * E1_QUEUE_STEP, size = get(e, E1_RDLEN + at) / 16;
    uint32_t head = get(e, E1_RDH + at), tail = get(e, E1_RDT + at);
    uint32_t need = (len + BUFFER - 1) / BUFFER, total = len + (rctl & E1_RCTL_SECRC ? 0 : 4);
    need = (total + BUFFER - 1) / BUFFER;
    if (head >= size || tail >= size || (tail + size - head) % size < need) {
        count(e, E1_MPC, 1);
        cause(e, E1_INT_RXO);
        return 0;
    }
    uint64_t ring = get(e, E1_RDBAL + at) | (uint64_t)get(e, E1_RDBAH + at) << 32;
    for (uint32_t done = 0; done < total; done += BUFFER) {
        uint64_t address = 0;
        uint32_t part = total - done < BUFFER ? total - done : BUFFER;
        uint32_t bytes = done >= len ? 0 : len - done < part ? len - done : part; /* the FCS is anything */
        model_dma_read(m, ring + 16 * head, &address, 8);
        model_dma_write(m, address, frame + done, bytes);
        write_back(e, ring + 16 * head,
                   done + part == total ? rx_status(e, frame, len, meta->flags) : E1_RXD_DD, part);
        head = (head + 1) % size;
    }
    set(e, E1_RDH + at, head);
    count(e, E1_GPRC, 1);
    count(e, E1_GORCL, len + 4);
    if (frame[0] & 1)
        count(e, frame[0] == 0xff ? E1_BPRC : E1_MPRC, 1);
    cause(e, !legacy(e) && get(e, E1_IVAR) != 0 ? E1_INT_RXQ0 << queue : E1_INT_RXT0);
    return 1;
}

/* ---- transmit (7.2) ---- */

/* Where QEMU finds TCP or UDP: behind one tag, or 802.1ad's pair, and IP. 0: nowhere. */
static uint32_t find_l4(const uint8_t *frame)
{
    uint32_t at = 12, type = (uint32_t)frame[12] << 8 | frame[13];
    if (type == 0x88a8 && frame[16] == 0x81 && frame[17] == 0)
        at += 4;
    if (type == 0x88a8 || type == 0x8100)
        at += 4;
    type = (uint32_t)frame[at] << 8 | frame[at + 1];
    at += 2;
    uint32_t proto = type == 0x0800 ? frame[at + 9] : type == 0x86dd ? frame[at + 6] : 0;
    uint32_t length = type == 0x0800 ? 4u * (frame[at] & 15) : 40;
    return proto == 6 || proto == 17 ? at + length : 0;
}

static void send(struct e1000e *e, unsigned queue)
{
    uint8_t *frame = e->tx[queue].bytes;
    uint32_t len = e->tx[queue].len;
    uint64_t first = e->tx[queue].first, *context = e->tx[queue].context;
    uint32_t popts = first >> 40 & 0xff;
    struct model_tx tx = {.queue = queue, .pseudo_without_len = true};
    tx.l3 = context[0] & 0xff;
    tx.csum_start = context[0] >> 32 & 0xff;
    tx.csum_offset = (uint16_t)((context[0] >> 40 & 0xff) - tx.csum_start);
    tx.ip_csum = popts & E1_TXP_IXSM;
    tx.l4_csum = popts & E1_TXP_TXSM;
    if (e->m.flags & PARSES && tx.l4_csum && find_l4(frame) != tx.csum_start)
        tx.l4_csum = false;
    if (first & E1_TXD_TSE) {
        tx.mss = (uint16_t)(context[1] >> 48);
        tx.hdr_len = context[1] >> 40 & 0xff;
        /* The fields say the same twice; a device would do strange things where they differ. */
        if (!(context[1] & E1_TXC_TSE) || (context[1] & 0xfffff) != len - tx.hdr_len || tx.mss == 0)
            return;
    }
    if (len < E1_TX_LEAST || !(first & E1_TXD_IFCS))
        return;
    if (len < 60 && get(e, E1_TCTL) & E1_TCTL_PSP) {
        memset(frame + len, 0, 60 - len);
        len = 60;
    }
    model_send(&e->m, frame, len, &tx);
    count(e, E1_GPTC, 1);
    count(e, E1_GOTCL, len + 4);
}

static void take_descriptor(struct e1000e *e, unsigned queue, const uint64_t desc[2])
{
    uint32_t len = desc[1] & 0xfffff;
    if (desc[1] & E1_TXD_DEXT && !(desc[1] & E1_TXD_DATA)) {
        memcpy(e->tx[queue].context, desc, 16);
        return;
    }
    if (e->tx[queue].len == 0)
        e->tx[queue].first = desc[1];
    len &= 0xfffff;
    if (len == 0 || len > 16288 || e->tx[queue].len + len > MODEL_MAX_FRAME ||
        !model_dma_read(&e->m, desc[0], e->tx[queue].bytes + e->tx[queue].len, len))
        e->tx[queue].bad = true;
    else
        e->tx[queue].len += len;
    if (!(desc[1] & E1_TXD_EOP))
        return;
    if (!e->tx[queue].bad && e->m.link_up)
        send(e, queue);
    e->tx[queue].len = 0;
    e->tx[queue].bad = false;
}

static void run(struct model *m)
{
    struct e1000e *e = (struct e1000e *)m;
    if (e->gone || !(get(e, E1_TCTL) & E1_TCTL_EN) || get(e, E1_CTRL) & E1_CTRL_MASTER_DISABLE)
        return;
    for (unsigned q = 0; q < (legacy(e) ? 1u : QUEUES); q++) {
        uint32_t at = q * E1_QUEUE_STEP, size = get(e, E1_TDLEN + at) / 16;
        uint32_t head = get(e, E1_TDH + at), tail = get(e, E1_TDT + at);
        uint64_t ring = get(e, E1_TDBAL + at) | (uint64_t)get(e, E1_TDBAH + at) << 32;
        if (head >= size || tail >= size)
            continue;
        for (; head != tail; head = (head + 1) % size) {
            uint64_t desc[2] = {0, 0};
            if (!model_dma_read(m, ring + 16 * head, desc, 16))
                break;
            take_descriptor(e, q, desc);
            if (desc[1] & E1_TXD_RS) {
                desc[1] |= E1_TXD_DONE;
                model_dma_write(m, ring + 16 * head + 8, &desc[1], 8);
            }
        }
        set(e, E1_TDH + at, head);
    }
}

static void link_change(struct model *m, bool up)
{
    cause((struct e1000e *)m, E1_INT_LSC);
}

/* ---- hostile ---- */

static void corrupt_descriptor(struct e1000e *e, uint32_t base, uint32_t length)
{
    struct model *m = &e->m;
    uint64_t ring = get(e, base) | (uint64_t)get(e, base + 4) << 32, words[2];
    uint32_t size = get(e, length) / 16;
    if (size == 0)
        return;
    for (unsigned n = model_random(m) % 12 + 1, i = (unsigned)(model_random(m) % size); n > 0;
         n--, i = (i + 1) % size) {
        words[0] = model_random(m);
        words[1] = model_random(m);
        if (model_random(m) % 2) { /* plausible: done, with and without an end, of some length */
            words[1] = (words[1] & 0xfff0000000f) | E1_RXD_DD;
            words[1] |= legacy(e) ? UINT64_C(1) << 32 : 0;
        }
        model_dma_write(m, ring + 16 * i, words, 16);
    }
}

static void corrupt(struct model *m)
{
    struct e1000e *e = (struct e1000e *)m;
    uint32_t at = model_random(m) % QUEUES * E1_QUEUE_STEP;
    e->gone = false;
    switch (model_random(m) % 8) {
    case 0:
    case 1:
    case 2:
        corrupt_descriptor(e, E1_RDBAL + at, E1_RDLEN + at);
        break;
    case 3:
        corrupt_descriptor(e, E1_TDBAL + at, E1_TDLEN + at);
        break;
    case 4:
        set(e, (model_random(m) % 2 ? E1_RDH : E1_TDH) + at, model_random(m) % 300);
        break;
    case 5:
        e->gone = true; /* until the next act */
        break;
    case 6:
        set(e, model_random(m) % E1_BAR_SIZE / 4 * 4, (uint32_t)model_random(m));
        break;
    default: { /* anywhere in memory that it can reach */
        uint64_t word = model_random(m);
        unsigned i = (unsigned)(model_random(m) % m->n_maps);
        model_dma_write(m, m->maps[i].iova + model_random(m) % (m->maps[i].length - 8), &word, 8);
        break;
    }
    }
}

const struct model_ops e1000e_model = {
    .kind = "e1000e",
    .size = sizeof(struct e1000e),
    .init = init,
    .read = reg_read,
    .write = reg_write,
    .receive = receive,
    .run = run,
    .link = link_change,
    .corrupt = corrupt,
};
