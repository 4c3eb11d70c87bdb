/* ixgbe_engine.c: what the 82599 does with descriptors, frames and, hostile, with everything; see ixgbe_model.h. */
#include "ixgbe_model.h"

/* ---- receive: 7.1 -------------------------------------------------------------------------------------------------------- */

static bool wanted(struct model *m, const uint8_t *frame, uint32_t len)
{
    static const uint8_t all[6] = {255, 255, 255, 255, 255, 255};
    uint32_t fctrl = reg(m, FCTRL);
    bool tagged = len > 14 && frame[12] == 0x81 && frame[13] == 0;
    uint32_t most = (reg(m, HLREG0) & 4 ? reg(m, MAXFRS) >> 16 : 1518) + (tagged ? 4 : 0);
    if (len + 4 > most) {
        add(m, ROC, 1, false);
        return false;
    }
    if (tagged && reg(m, VLNCTRL) >> 30 & 1)
        return false;
    if (memcmp(frame, all, 6) == 0)
        return fctrl >> 10 & 1;
    for (uint32_t i = 0; i < 16; i++) {
        uint32_t low = reg(m, RAL + 8 * i), high = reg(m, RAL + 8 * i + 4);
        if (high >> 31 && memcmp(&low, frame, 4) == 0 && memcmp(&high, frame + 4, 2) == 0)
            return true;
    }
    return frame[0] & 1 ? fctrl >> 8 & 1 : fctrl >> 9 & 1;
}

/* 7.1.2.8 */
static uint32_t choose_queue(struct model *m, const uint8_t *frame, uint32_t len, uint32_t *hash)
{
    uint8_t key[40];
    *hash = 0;
    if ((reg(m, MRQC) & 15) != 1 || (reg(m, MRQC) >> 16 & 0xf3) != 0xf3)
        return 0;
    memcpy(key, m->bar[0].memory + RSSRK, sizeof key);
    *hash = model_rss(key, frame, len);
    uint32_t entry = *hash & (of(m)->x550 ? 511 : 127);
    return m->bar[0].memory[entry < 128 ? RETA + entry : ERETA + entry - 128] & 15;
}

static void write_back(uint8_t *desc, uint64_t first, uint64_t second)
{
    memcpy(desc, &first, 8);
    __atomic_store_n((uint64_t *)(void *)(desc + 8), second, __ATOMIC_RELEASE);
}

static int fill(struct model *m, uint32_t n, const uint8_t *frame, uint32_t len,
                const struct model_meta *meta, uint32_t hash)
{
    struct queue *q = &of(m)->rx[n];
    uint32_t base = 0x1000 + 0x40 * n, size = ring_size(m, base),
             buffer = (reg(m, base + SRRCTL) & 31) * 1024;
    uint32_t parts = (len + buffer - 1) / buffer, status = 0, tail = reg(m, base + TAIL);
    uint8_t *ring = model_dma(m, reg(m, base) | (uint64_t)reg(m, base + BAH) << 32, size * 16);
    if (ring == NULL || q->head >= size || (tail + size - q->head) % size < parts) {
        add(m, QPRDC, 1, false);
        return 0;
    }
    if (meta->flags & (MODEL_RX_CSUM_GOOD | MODEL_RX_CSUM_BAD))
        status = 1 << 5 | 1 << 6 | (meta->flags & MODEL_RX_CSUM_BAD ? 1 << 30 : 0);
    for (uint32_t at = 0; at < len; at += buffer) {
        uint8_t *desc = ring + q->head * 16;
        uint32_t part = len - at < buffer ? len - at : buffer;
        bool last = at + part == len;
        uint64_t address, header;
        memcpy(&address, desc, 8);
        memcpy(&header, desc + 8, 8);
        check(m, (header & 1) == 0, "receive descriptor whose DD was not cleared");
        check(m, (address & 1) == 0, "receive buffer: bit 0 asks for no-snoop");
        if (!model_dma_write(m, address, frame + at, part))
            return 0;
        write_back(desc, (uint64_t)hash << 32, (uint64_t)part << 32 | 1 | (last ? 2 | status : 0));
        q->head = (q->head + 1) % size;
    }
    uint32_t ivar = reg(m, IVAR + 4 * (n / 2)) >> 16 * (n % 2) & 0xff;
    if (ivar & 0x80)
        ixgbe_cause(m, 1u << (ivar & 15));
    return 1;
}

int ixgbe_receive(struct model *m, const uint8_t *frame, uint32_t len, const struct model_meta *meta)
{
    uint32_t hash = 0, n;
    if (of(m)->gone || !(reg(m, RXCTRL) & 1) || reg(m, SECRXCTRL) & 2 || reg(m, CTRL) & 4)
        return -1;
    if (meta->flags & MODEL_RX_ERROR) {
        add(m, CRCERRS, 1, false);
        return -1;
    }
    if (!wanted(m, frame, len))
        return -1;
    add(m, GPRC, 1, false);
    add(m, GORC, len + 4, true);
    if (frame[0] & 1)
        add(m, frame[1] == 255 ? BPRC : MPRC, 1, false);
    n = choose_queue(m, frame, len, &hash);
    if (meta->queue != UINT32_MAX)
        n = meta->queue & 15;
    return of(m)->rx[n].on ? fill(m, n, frame, len, meta, hash) : 0;
}

/* ---- transmit: 7.2 ------------------------------------------------------------------------------------------------------- */

/* One packet: what its first data descriptor and its context say. */
struct packet {
    uint32_t queue, len, command, fourth, index;
    bool begun;
};

/* 7.2.3.2.3, 7.2.4, 7.2.5: the headers must be those that the context tells of. */
static void offloads(struct model *m, const struct packet *p, struct model_tx *tx)
{
    struct ixgbe_model *d = of(m);
    const uint32_t *c = d->context[p->queue][p->index];
    uint32_t l3 = c[0] >> 9 & 127, iplen = c[0] & 511, l4len = c[3] >> 8 & 255, kind = c[2] >> 11 & 3;
    bool v4 = c[2] >> 10 & 1, segment = p->command >> 31;
    const uint8_t *ip = d->frame + l3;
    check(m, d->has_context[p->queue][p->index], "offload without a context");
    check(m, l3 >= 14 && l3 + iplen + 8 <= p->len, "context: headers behind the end of the frame");
    check(m, kind < 2, "context: neither TCP nor UDP");
    tx->l3 = (uint16_t)l3;
    tx->csum_start = (uint16_t)(l3 + iplen);
    tx->csum_offset = kind == 1 ? 16 : 6;
    tx->l4_csum = p->fourth >> 9 & 1;
    tx->ip_csum = p->fourth >> 8 & 1;
    check(m, !tx->ip_csum || v4, "IXSM without IPv4");
    if (!segment)
        return;
    tx->mss = (uint16_t)(c[3] >> 16);
    tx->hdr_len = (uint16_t)(l3 + iplen + l4len);
    tx->pseudo_without_len = true;
    check(m, kind == 1 && tx->l4_csum && tx->ip_csum == v4, "segmentation: TCP, TXSM, and IXSM for IPv4");
    check(m, tx->mss != 0 && l4len >= 20 && tx->hdr_len < p->len, "segmentation: lengths");
    check(m, ip[0] >> 4 == (v4 ? 4 : 6), "segmentation: version of IP");
    check(m, v4 ? ip[2] + ip[3] + ip[10] + ip[11] == 0 : ip[4] + ip[5] == 0,
          "segmentation: IP's length and checksum must be 0");
}

static void finish(struct model *m, const struct packet *p)
{
    struct ixgbe_model *d = of(m);
    struct model_tx tx = {.queue = p->queue};
    uint32_t len = p->len, frames = 1;
    uint64_t bytes;
    check(m, p->command >> 25 & 1, "IFCS is missing");
    if (p->fourth & 0x300 || p->command >> 31)
        offloads(m, p, &tx);
    check(m, p->fourth >> 14 == len - tx.hdr_len, "PAYLEN");
    check(m, len >= 17, "frame of fewer than 17 bytes");
    check(m, tx.mss != 0 || len + 4 <= reg(m, MAXFRS) >> 16 || reg(m, HLREG0) >> 2 & 1,
          "frame longer than MAXFRS");
    if (tx.mss != 0 && len > tx.hdr_len)
        frames = (len - tx.hdr_len + tx.mss - 1) / tx.mss;
    bytes = len + (frames - 1) * tx.hdr_len + 4 * frames;
    if (reg(m, HLREG0) >> 10 & 1 && len < 60) {
        memset(d->frame + len, 0, 60 - len);
        len = 60;
    }
    add(m, GPTC, frames, false);
    add(m, GOTC, bytes, true);
    model_send(m, d->frame, len, &tx);
}

/* One descriptor. False: the engine stops here. */
static bool send_one(struct model *m, struct packet *p, const uint32_t *desc)
{
    struct ixgbe_model *d = of(m);
    uint32_t kind = desc[2] >> 20 & 15, len = desc[2] & 0xffff;
    uint64_t address = desc[0] | (uint64_t)desc[1] << 32;
    check(m, desc[2] >> 29 & 1, "legacy descriptor");
    if (kind == 2) {
        uint32_t index = desc[3] >> 4 & 1;
        check(m, !p->begun && !(desc[2] >> 27 & 1),
              "context inside of a packet, or one that asks for a report");
        memcpy(d->context[p->queue][index], desc, 16);
        d->has_context[p->queue][index] = true;
        return true;
    }
    check(m, kind == 3, "descriptor of no type");
    check(m, len != 0 && len <= PIECE, "DTALEN: 1 to 15.5 KB");
    if (!p->begun)
        *p = (struct packet){.queue = p->queue,
                             .begun = true,
                             .command = desc[2],
                             .fourth = desc[3],
                             .index = desc[3] >> 4 & 1};
    if (len > sizeof d->frame - p->len || !model_dma_read(m, address, d->frame + p->len, len)) {
        *p = (struct packet){.queue = p->queue};
        return true;
    }
    p->len += len;
    if (desc[2] >> 24 & 1) {
        finish(m, p);
        p->begun = false;
        p->len = 0;
    }
    return true;
}

static void run_queue(struct model *m, uint32_t n)
{
    struct queue *q = &of(m)->tx[n];
    uint32_t base = 0x6000 + 0x40 * n, size = ring_size(m, base), tail = reg(m, base + TAIL);
    struct packet p = {.queue = n};
    if (!q->on || !q->seen || size == 0)
        return;
    uint8_t *ring = model_dma(m, reg(m, base) | (uint64_t)reg(m, base + BAH) << 32, size * 16);
    for (uint32_t budget = size; ring != NULL && q->head != tail && budget > 0; budget--) {
        uint32_t desc[4];
        memcpy(desc, ring + q->head * 16, sizeof desc);
        if (!send_one(m, &p, desc))
            return;
        if (desc[2] >> 27 & 1) /* RS: 7.2.3.3 */
            write_back(ring + q->head * 16, 0, UINT64_C(1) << 32);
        q->head = (q->head + 1) % size;
    }
    check(m, !p.begun, "the tail stands inside of a packet");
}

void ixgbe_run(struct model *m)
{
    if (of(m)->gone || !m->link_up || !(reg(m, DMATXCTL) & 1) || reg(m, RTTDCS) >> 6 & 1 || reg(m, CTRL) & 4)
        return;
    for (uint32_t n = 0; n < QUEUES; n++)
        run_queue(m, n);
}

/* ---- hostile ------------------------------------------------------------------------------------------------------------- */

static void corrupt_ring(struct model *m, uint32_t base, uint32_t act)
{
    uint32_t size = ring_size(m, base), at;
    uint8_t *ring =
        size != 0 ? model_dma(m, reg(m, base) | (uint64_t)reg(m, base + BAH) << 32, size * 16) : NULL;
    if (ring == NULL)
        return;
    at = (uint32_t)model_random(m) % size;
    uint64_t word = model_random(m), from;
    switch (act) {
    case 0: /* done, of any length, with any errors */
        write_back(ring + at * 16, word, model_random(m) | 1);
        break;
    case 1: /* all done, no end of a frame; transmit: all done */
        for (uint32_t i = 0; i < size; i++)
            write_back(ring + i * 16, 0, UINT64_C(0x0000000100000001) | (word & 0x7ff) << 32);
        break;
    case 2: /* all whole, too long for their buffers */
        for (uint32_t i = 0; i < size; i++)
            write_back(ring + i * 16, 0, word << 32 | 3);
        break;
    case 3: /* garbage where the buffers are */
        memcpy(&from, ring + at * 16, 8);
        for (uint32_t i = 0; i < 256; i++)
            if (model_dma_write(m, from + 8 * i, &word, 8))
                word = model_random(m);
        break;
    default:
        memcpy(ring + at * 16 + word % 9, &word, 7);
        break;
    }
}

void ixgbe_corrupt(struct model *m)
{
    struct ixgbe_model *d = of(m);
    uint32_t act = (uint32_t)(model_random(m) >> 32) % 12, n = (uint32_t)(model_random(m) >> 32) % 4;
    uint64_t faults = m->faults;
    d->gone = false;
    switch (act) {
    case 6: /* the device goes on somewhere else */
        d->rx[n].head = d->tx[n].head = (uint32_t)(model_random(m) >> 32) % 64;
        break;
    case 7: /* counters and causes of all kinds */
        for (uint32_t at = 0x4000; at < 0x4100; at += 4)
            set(m, at, (uint32_t)model_random(m));
        ixgbe_cause(m, (uint32_t)model_random(m));
        break;
    case 8:
        d->gone = true;
        break;
    case 9: /* a queue that does not stop, a lock that is not free */
        d->rx[n].off_late = d->tx[n].off_late = 3;
        d->swsm = 1;
        break;
    default:
        corrupt_ring(m, (act & 1 ? 0x1000 : 0x6000) + 0x40 * (n & 1), (uint32_t)(model_random(m) >> 32) % 5);
        break;
    }
    m->faults = faults;
}
