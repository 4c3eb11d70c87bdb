/* igb_engine.c: the engine of the model of igb devices: frames and descriptors, datasheet 7.1 and 7.2; see igb_model.h. */
#include "igb_model.h"

static uint32_t rx_cause(const struct igb_model *g, unsigned q)
{
    bool old = (g->m.flags & K_MASK) == K_82576 || (g->m.flags & K_MASK) == K_SERDES;
    uint32_t entry = get(g, IGB_IVAR + (old ? q % 8 : q / 2) * 4) >> (old ? q / 8 * 16 : q % 2 * 16);
    return entry & IGB_IVAR_VALID ? 1u << (entry & 31) : 0;
}

/* ---- receive ------------------------------------------------------------------------------------------------------- */

static bool for_us(struct igb_model *g, const uint8_t *frame)
{
    uint32_t low = (uint32_t)frame[3] << 24 | (uint32_t)frame[2] << 16 | (uint32_t)frame[1] << 8 | frame[0];
    uint32_t high = (uint32_t)frame[5] << 8 | frame[4];
    if (g->vf)
        return (frame[0] & 1) ? (low == UINT32_MAX && high == 0xffff) || g->multicast
                              : low == g->low && high == g->high;
    bool ours = low == get(g, IGB_RAL) && high == (get(g, IGB_RAH) & 0xffff);
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
    igb_model_interrupt(g, IGB_ICR_RXDW, rx_cause(g, q));
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

int igb_model_receive(struct model *m, const uint8_t *frame, uint32_t len, const struct model_meta *meta)
{
    struct igb_model *g = igb_model_of(m);
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

void igb_model_run(struct model *m)
{
    struct igb_model *g = igb_model_of(m);
    bool may = g->vf ? g->spoken && !(m->flags & T_RESET)
                     : (get(g, IGB_TCTL) & IGB_TCTL_EN) && (get(g, IGB_STATUS) & IGB_STATUS_MASTER);
    if (!may || (m->flags & T_GONE))
        return;
    for (unsigned q = 0; q < queues(g); q++)
        run_queue(g, q);
}
