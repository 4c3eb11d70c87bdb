/* vmxnet3_model.c: model of VMware's vmxnet3: commands, shared area, rings with generation bits, RSS, interrupts that mask themselves.
 *
 * How it works: as QEMU's model where the two can be told apart (what a command without shared area costs, pending interrupts, errors
 * of frames that do not fit), but with all queues used and with what the real one does besides: flags of model_new choose it.
 */
#include "model.h"

#include <stdlib.h>
#include <string.h>

#include "vmxnet3_regs.h"

enum {                   /* flags */
       SKIPS = 1,        /* passes over a receive descriptor now and then, without a word */
       EMPTIES = 2,      /* ... or with a completion of no bytes */
       WANTS_PROD = 4,   /* goes by RXPROD */
       REFUSES = 8,      /* does not activate */
       OTHER_REV = 16,   /* knows revision 2 only */
       ACTIVE_MASK = 32, /* vectors do not mask themselves */
       QUEUES = 8,
};

struct ring {
    uint64_t iova;
    uint32_t size, next, gen; /* gen: 0 or 1 */
    uint32_t prod;            /* the driver's last word */
};

struct rxq {
    struct ring ring[2], comp;
    uint8_t vector;
    uint64_t stats[VMX_STATS], at;
    uint32_t turn;
};

struct txq {
    struct ring ring, comp;
    uint8_t vector;
    uint64_t stats[VMX_STATS], at;
};

struct vmx_model {
    struct model m;
    uint64_t shared;
    uint32_t shared_low, last_command, mac_low;
    uint8_t mac_now[6];
    bool active, gone, auto_mask;
    uint8_t event_vector;
    uint32_t rx_mode, n_rxq, n_txq, max_parts, features;
    struct vmx_rss rss;
    bool masked[VMX_INTRS], pending[VMX_INTRS];
    struct rxq rxq[QUEUES];
    struct txq txq[QUEUES];
    uint8_t frame[MODEL_MAX_FRAME];
};

static struct vmx_model *of(struct model *m)
{
    return (struct vmx_model *)m;
}

/* ---- interrupts and rings ------------------------------------------------------------------------------------------ */

static void fire_if_due(struct vmx_model *v, unsigned i)
{
    if (!v->pending[i] || v->masked[i])
        return;
    v->pending[i] = false;
    v->masked[i] = v->auto_mask;
    model_irq(&v->m, i);
}

static void trigger(struct vmx_model *v, unsigned i)
{
    if (i >= VMX_INTRS)
        return;
    v->pending[i] = true;
    fire_if_due(v, i);
}

static void advance(struct ring *r)
{
    if (++r->next == r->size) {
        r->next = 0;
        r->gen ^= 1;
    }
}

static void *cell(struct vmx_model *v, const struct ring *r)
{
    return model_dma(&v->m, r->iova + 16u * r->next, 16);
}

static struct ring ring_at(uint64_t iova, uint32_t size)
{
    return (struct ring){.iova = iova, .size = size, .gen = 1};
}

static bool ring_fits(const struct ring *r)
{
    return r->size != 0 && r->size <= 4096 && r->size % 32 == 0 && r->iova % 512 == 0;
}

static void complete(struct vmx_model *v, struct ring *r, const uint32_t *words)
{
    struct vmx_comp *c = cell(v, r);
    if (c == NULL)
        return;
    for (int i = 0; i < 3; i++)
        __atomic_store_n(&c->dword[i], words[i], __ATOMIC_RELAXED);
    __atomic_store_n(&c->dword[3], (words[3] & ~VMX_COMP_GEN) | (r->gen ? VMX_COMP_GEN : 0),
                     __ATOMIC_RELEASE);
    advance(r);
}

/* ---- commands ------------------------------------------------------------------------------------------------------ */

static void read_word(struct vmx_model *v, uint64_t offset, uint32_t *to)
{
    model_dma_read(&v->m, v->shared + offset, to, sizeof *to); /* without an area: a fault at a low address */
}

static bool read_queues(struct vmx_model *v, const struct vmx_shared *s)
{
    struct vmx_tx_queue t;
    struct vmx_rx_queue r;
    for (unsigned i = 0; i < s->n_txq; i++) {
        struct txq *q = &v->txq[i];
        *q = (struct txq){.at = s->queues + 256u * i};
        if (!model_dma_read(&v->m, q->at, &t, sizeof t))
            return false;
        q->ring = ring_at(t.ring, t.ring_size);
        q->comp = ring_at(t.comp_ring, t.comp_size);
        q->vector = t.vector;
        if (!ring_fits(&q->ring) || !ring_fits(&q->comp) || t.vector >= s->n_intrs)
            return false;
    }
    for (unsigned i = 0; i < s->n_rxq; i++) {
        struct rxq *q = &v->rxq[i];
        *q = (struct rxq){.at = s->queues + 256u * (s->n_txq + i)};
        if (!model_dma_read(&v->m, q->at, &r, sizeof r))
            return false;
        for (int k = 0; k < 2; k++)
            q->ring[k] = ring_at(r.ring[k], r.ring_size[k]);
        q->comp = ring_at(r.comp_ring, r.comp_size);
        q->vector = r.vector;
        if (!ring_fits(&q->ring[0]) || !ring_fits(&q->ring[1]) || r.vector >= s->n_intrs ||
            r.comp_size != r.ring_size[0] + r.ring_size[1])
            return false;
        uint8_t *update = model_dma(&v->m, q->at, 1);
        if (update != NULL)
            *update = (v->m.flags & WANTS_PROD) != 0;
    }
    return true;
}

static void activate(struct vmx_model *v)
{
    struct vmx_shared s;
    if (!model_dma_read(&v->m, v->shared, &s, sizeof s) || v->active || (v->m.flags & REFUSES))
        return;
    if (s.magic != VMX_MAGIC || s.n_rxq == 0 || s.n_rxq > QUEUES || (s.n_rxq & (s.n_rxq - 1)) ||
        s.n_txq == 0 || s.n_txq > QUEUES || s.mtu < 60 || s.mtu > VMX_MAX_MTU ||
        s.event_vector >= s.n_intrs || s.n_intrs > VMX_INTRS || s.queues % 128 != 0 ||
        s.queues_len != 256u * (s.n_txq + s.n_rxq) || s.guest_os != VMX_GOS_LINUX64)
        return;
    if (!read_queues(v, &s))
        return;
    if ((s.features & VMX_F_RSS) && (s.rss.version != 1 || s.rss.length != sizeof v->rss ||
                                     !model_dma_read(&v->m, s.rss.iova, &v->rss, sizeof v->rss)))
        return;
    v->n_rxq = s.n_rxq;
    v->n_txq = s.n_txq;
    v->features = (uint32_t)s.features;
    v->max_parts = s.max_rx_parts;
    v->event_vector = s.event_vector;
    v->auto_mask = s.auto_mask;
    v->rx_mode = 0; /* until it is told */
    memcpy(v->mac_now, v->m.mac, 6);
    v->active = true;
}

static void reset(struct vmx_model *v)
{
    v->active = false;
    v->shared = 0;
    for (unsigned i = 0; i < VMX_INTRS; i++) {
        v->masked[i] = true;
        v->pending[i] = false;
    }
}

static void fill_stats(struct vmx_model *v)
{
    for (unsigned i = 0; v->active && i < v->n_txq; i++)
        model_dma_write(&v->m, v->txq[i].at + offsetof(struct vmx_tx_queue, stats), v->txq[i].stats,
                        sizeof v->txq[i].stats);
    for (unsigned i = 0; v->active && i < v->n_rxq; i++)
        model_dma_write(&v->m, v->rxq[i].at + offsetof(struct vmx_rx_queue, stats), v->rxq[i].stats,
                        sizeof v->rxq[i].stats);
}

static void do_command(struct vmx_model *v, uint32_t cmd)
{
    uint32_t word = 0;
    v->last_command = cmd;
    if (cmd == VMX_CMD_ACTIVATE)
        activate(v);
    else if (cmd == VMX_CMD_QUIESCE)
        v->active = false;
    else if (cmd == VMX_CMD_RESET)
        reset(v);
    else if (cmd == VMX_CMD_UPDATE_RX_MODE)
        read_word(v, offsetof(struct vmx_shared, rx_mode), &v->rx_mode);
    else if (cmd == VMX_CMD_UPDATE_VLAN_FILTERS)
        read_word(v, offsetof(struct vmx_shared, vlans), &word);
    else if (cmd == VMX_CMD_GET_STATS)
        fill_stats(v);
}

static uint32_t answer(struct vmx_model *v)
{
    const uint8_t *mac = v->m.mac;
    switch (v->last_command) {
    case VMX_CMD_ACTIVATE:
        return !v->active;
    case VMX_CMD_GET_LINK:
        return v->m.link_up ? 10000u << 16 | 1 : 0;
    case VMX_CMD_GET_MAC_LO:
        return mac[0] | (uint32_t)mac[1] << 8 | (uint32_t)mac[2] << 16 | (uint32_t)mac[3] << 24;
    case VMX_CMD_GET_MAC_HI:
        return mac[4] | (uint32_t)mac[5] << 8;
    case VMX_CMD_GET_CONF_INTR:
        return v->m.flags & ACTIVE_MASK ? 3 | 1 << 2 : 3;
    default:
        return 0;
    }
}

static uint64_t vmx_read(struct model *m, uint32_t bar, uint64_t offset, uint32_t width)
{
    struct vmx_model *v = of(m);
    if (v->gone || width != 4)
        return UINT64_MAX;
    if (bar == 0)
        return offset < VMX_INTRS * 8 ? v->masked[offset / 8] : 0;
    if (bar != 1)
        return UINT64_MAX;
    switch (offset) {
    case VMX_VRRS:
        return m->flags & OTHER_REV ? 2 : 0x7f;
    case VMX_UVRS:
        return 1;
    case VMX_CMD:
        return answer(v);
    default:
        return 0;
    }
}

static void write_doorbell(struct vmx_model *v, uint64_t offset, uint32_t value)
{
    unsigned i = (unsigned)(offset & 0x1ff) / VMX_STEP;
    if (offset < VMX_INTRS * VMX_STEP) {
        v->masked[i] = value != 0;
        fire_if_due(v, i);
    } else if (!v->active || i >= QUEUES) {
        return;
    } else if (offset >= VMX_RXPROD2) {
        v->rxq[i].ring[1].prod = value;
    } else if (offset >= VMX_RXPROD) {
        v->rxq[i].ring[0].prod = value;
    } else if (offset >= VMX_TXPROD) {
        v->txq[i].ring.prod = value;
    }
}

static void vmx_write(struct model *m, uint32_t bar, uint64_t offset, uint32_t width, uint64_t value)
{
    struct vmx_model *v = of(m);
    if (v->gone || width != 4)
        return;
    if (bar == 0) {
        write_doorbell(v, offset, (uint32_t)value);
        return;
    }
    switch (bar == 1 ? offset : 0) {
    case VMX_DSAL:
        v->shared_low = (uint32_t)value;
        v->shared = 0;
        break;
    case VMX_DSAH:
        v->shared = value << 32 | v->shared_low;
        break;
    case VMX_CMD:
        do_command(v, (uint32_t)value);
        break;
    case VMX_MACL:
        v->mac_low = (uint32_t)value;
        break;
    case VMX_MACH:
        memcpy(v->mac_now, &v->mac_low, 4);
        memcpy(v->mac_now + 4, &value, 2);
        break;
    case VMX_ECR: {
        uint32_t *events = model_dma(m, v->shared + offsetof(struct vmx_shared, events), 4);
        if (events != NULL)
            *events &= ~(uint32_t)value;
        break;
    }
    default:
        break;
    }
}

/* ---- receive ------------------------------------------------------------------------------------------------------- */

static bool accepts(const struct vmx_model *v, const uint8_t *frame)
{
    static const uint8_t all[6] = {255, 255, 255, 255, 255, 255};
    if (v->rx_mode & VMX_RXM_PROMISC)
        return true;
    if (memcmp(frame, all, 6) == 0)
        return v->rx_mode & VMX_RXM_BCAST;
    if (frame[0] & 1)
        return v->rx_mode & VMX_RXM_ALL_MULTI;
    return (v->rx_mode & VMX_RXM_UCAST) && memcmp(frame, v->mac_now, 6) == 0;
}

/* The next descriptor of a ring, copied; false: none. */
static bool next_desc(struct vmx_model *v, struct ring *r, struct vmx_desc *d, uint32_t *index)
{
    const struct vmx_desc *at = cell(v, r);
    if (at == NULL)
        return false;
    uint32_t dword2 = __atomic_load_n(&at->dword2, __ATOMIC_ACQUIRE);
    if (dword2 >> 31 != r->gen || ((v->m.flags & WANTS_PROD) && r->next == r->prod))
        return false;
    *d = *at;
    *index = r->next;
    advance(r);
    return true;
}

static uint32_t checksum_flags(const uint8_t *frame, uint32_t flags)
{
    uint32_t at = 12;
    while (frame[at] == 0x81 && frame[at + 1] == 0)
        at += 4;
    bool v4 = frame[at] == 8 && frame[at + 1] == 0;
    uint8_t proto = frame[at + (v4 ? 11 : 8)];
    return (v4 ? VMX_COMP_V4 | VMX_COMP_IPC : VMX_COMP_V6) |
           (proto == 6    ? VMX_COMP_TCP
            : proto == 17 ? VMX_COMP_UDP
                          : 0u) |
           (flags & MODEL_RX_CSUM_GOOD ? VMX_COMP_TUC : 0u);
}

static void count(uint64_t *stats, const uint8_t *frame, uint32_t len)
{
    static const uint8_t all[6] = {255, 255, 255, 255, 255, 255};
    unsigned at = !(frame[0] & 1) ? VMX_STAT_UCAST : memcmp(frame, all, 6) ? VMX_STAT_MCAST : VMX_STAT_BCAST;
    stats[at]++;
    stats[at + 1] += len;
}

/* What the real one does and QEMU's does not. */
static void be_different(struct vmx_model *v, struct rxq *q, unsigned number)
{
    struct vmx_desc d;
    uint32_t index;
    if (++q->turn % 3 != 0)
        return;
    if (v->m.flags & SKIPS)
        next_desc(v, &q->ring[0], &d, &index);
    if ((v->m.flags & EMPTIES) && next_desc(v, &q->ring[0], &d, &index)) {
        uint32_t words[4] = {index | VMX_COMP_SOP | VMX_COMP_EOP | number << VMX_COMP_RQID, 0, 0, 0};
        complete(v, &q->comp, words);
    }
}

static int deliver(struct vmx_model *v, unsigned number, const uint8_t *frame, uint32_t len,
                   const struct model_meta *meta)
{
    struct rxq *q = &v->rxq[number];
    uint32_t done = 0, words[4] = {0};
    unsigned parts = 0;
    while (done < len && parts < v->max_parts) {
        struct vmx_desc d;
        uint32_t index, id = number;
        struct ring *r = &q->ring[parts != 0];
        if (!next_desc(v, r, &d, &index))
            break;
        if (((d.dword2 & VMX_RXD_BODY) != 0) != (parts != 0))
            break; /* a real one stops; QEMU's dies */
        if (parts != 0) {
            complete(v, &q->comp, words);
            id += v->n_rxq;
        }
        uint32_t part = d.dword2 & VMX_COMP_LEN;
        part = part < len - done ? part : len - done;
        model_dma_write(&v->m, d.addr, frame + done, part);
        done += part;
        words[0] = index | (parts == 0 ? VMX_COMP_SOP : 0u) | id << VMX_COMP_RQID | VMX_COMP_CNC;
        words[2] = part;
        words[3] = 0;
        parts++;
    }
    if (parts == 0) {
        q->stats[VMX_STAT_FIRST_ERROR]++;
        return 0;
    }
    words[0] |= VMX_COMP_EOP;
    if (done < len || (meta->flags & MODEL_RX_ERROR))
        words[2] |= VMX_COMP_ERR;
    if ((v->features & VMX_F_RXCSUM) && (meta->flags & (MODEL_RX_CSUM_GOOD | MODEL_RX_CSUM_BAD))) {
        words[0] &= ~(uint32_t)VMX_COMP_CNC;
        words[3] |= checksum_flags(frame, meta->flags);
    }
    complete(v, &q->comp, words);
    if (words[2] & VMX_COMP_ERR)
        q->stats[VMX_STAT_LAST]++;
    else
        count(q->stats, frame, len);
    trigger(v, q->vector);
    return 1;
}

static int vmx_receive(struct model *m, const uint8_t *frame, uint32_t len, const struct model_meta *meta)
{
    struct vmx_model *v = of(m);
    unsigned number = 0;
    if (!v->active || len < 6 || !accepts(v, frame))
        return -1;
    if (meta->queue < v->n_rxq)
        number = meta->queue;
    else if (v->features & VMX_F_RSS)
        number = v->rss.table[model_rss(v->rss.key, frame, len) % v->rss.table_size];
    number = number < v->n_rxq ? number : 0;
    be_different(v, &v->rxq[number], number);
    return deliver(v, number, frame, len, meta);
}

/* ---- transmit ------------------------------------------------------------------------------------------------------ */

static void send_frame(struct vmx_model *v, unsigned number, uint32_t len, uint32_t dword2, uint32_t dword3)
{
    uint32_t head = dword3 & VMX_TXD_MAX_HLEN, value = dword2 >> VMX_TXD_MSSCOF;
    struct model_tx tx = {.queue = number, .pseudo_without_len = true};
    const uint8_t *f = v->frame;
    switch (dword3 & VMX_TXD_OM_TSO) {
    case VMX_TXD_OM_CSUM:
        tx.l4_csum = true;
        tx.csum_start = (uint16_t)head;
        tx.csum_offset = (uint16_t)(value - head);
        break;
    case VMX_TXD_OM_TSO: /* it finds the headers itself */
        tx.l3 = f[12] == 0x81 ? 18 : 14;
        tx.csum_start = (uint16_t)(tx.l3 + (f[tx.l3] >> 4 == 4 ? 4 * (f[tx.l3] & 15) : 40));
        tx.csum_offset = 16;
        tx.mss = (uint16_t)value;
        tx.hdr_len = (uint16_t)head;
        break;
    default:
        break;
    }
    model_send(&v->m, f, len, &tx);
    count(v->txq[number].stats, f, len);
}

static void run_queue(struct vmx_model *v, unsigned number)
{
    struct txq *q = &v->txq[number];
    uint32_t len = 0, first2 = 0, first3 = 0, parts = 0;
    bool bad = false;
    for (uint32_t turns = 0; turns < q->ring.size && q->ring.next != q->ring.prod; turns++) {
        const struct vmx_desc *at = cell(v, &q->ring);
        if (at == NULL)
            return;
        uint32_t dword2 = __atomic_load_n(&at->dword2, __ATOMIC_ACQUIRE);
        if (((dword2 & VMX_TXD_GEN) != 0) != q->ring.gen)
            break;
        struct vmx_desc d = *at;
        uint32_t part = d.dword2 & VMX_TXD_LEN ? d.dword2 & VMX_TXD_LEN : VMX_MAX_TX_BUFFER;
        if (parts++ == 0) {
            first2 = d.dword2;
            first3 = d.dword3;
        }
        bad = bad || parts > 16 || len + part > sizeof v->frame ||
              !model_dma_read(&v->m, d.addr, v->frame + len, part);
        len += bad ? 0 : part;
        uint32_t index = q->ring.next;
        advance(&q->ring);
        if (!(d.dword3 & VMX_TXD_EOP))
            continue;
        if (bad || len < 14)
            q->stats[VMX_STAT_FIRST_ERROR]++;
        else
            send_frame(v, number, len, first2, first3);
        uint32_t words[4] = {index};
        if (d.dword3 & VMX_TXD_CQ)
            complete(v, &q->comp, words);
        trigger(v, q->vector);
        len = parts = 0;
        bad = false;
    }
}

static void vmx_run(struct model *m)
{
    struct vmx_model *v = of(m);
    for (unsigned i = 0; v->active && i < v->n_txq; i++)
        run_queue(v, i);
}

static void vmx_link(struct model *m, bool up)
{
    struct vmx_model *v = of(m);
    uint32_t *events = model_dma(m, v->shared + offsetof(struct vmx_shared, events), 4);
    if (events != NULL)
        *events |= VMX_ECR_LINK;
    trigger(v, v->event_vector);
}

/* ---- hostile ------------------------------------------------------------------------------------------------------- */

static void scribble(struct vmx_model *v, uint64_t iova, uint64_t range)
{
    for (int i = 0; i < 8; i++) {
        uint32_t *at = model_dma(&v->m, iova + model_random(&v->m) % range / 4 * 4, 4);
        if (at != NULL)
            __atomic_store_n(at, (uint32_t)model_random(&v->m), __ATOMIC_RELAXED);
    }
}

/* Completions that look new. */
static void forge(struct vmx_model *v, struct ring *r, bool advances)
{
    for (unsigned i = model_random(&v->m) % 40; i > 0; i--) {
        struct ring before = *r;
        uint32_t words[4];
        for (int k = 0; k < 4; k++)
            words[k] = (uint32_t)model_random(&v->m);
        if (i & 1) { /* near the truth */
            words[0] = (words[0] & 0x1ffff) % (r->size * 2) | (words[0] & 0xc000) | (words[0] >> 30) << 16;
            words[2] &= 0x7ff;
        }
        complete(v, r, words);
        if (!advances)
            *r = before;
    }
}

static void vmx_corrupt(struct model *m)
{
    struct vmx_model *v = of(m);
    if (!v->active)
        return;
    struct rxq *rx = &v->rxq[model_random(m) % v->n_rxq];
    struct txq *tx = &v->txq[model_random(m) % v->n_txq];
    uint64_t kind = model_random(m) % 12;
    if (kind < 2)
        forge(v, &rx->comp, kind);
    else if (kind < 4)
        forge(v, &tx->comp, kind == 3);
    else if (kind == 4)
        scribble(v, v->shared, sizeof(struct vmx_shared));
    else if (kind == 5)
        scribble(v, rx->at, 256);
    else if (kind == 6)
        scribble(v, rx->comp.iova, 16u * rx->comp.size);
    else if (kind == 7)
        scribble(v, rx->ring[0].iova, 16u * rx->ring[0].size);
    else if (kind == 8)
        scribble(v, tx->ring.iova, 16u * tx->ring.size);
    else if (kind == 9)
        scribble(v, m->maps[0].iova, m->maps[0].length);
    else if (kind == 10)
        trigger(v, (unsigned)(model_random(m) % VMX_INTRS));
    else
        v->gone = model_random(m) % 4 == 0;
}

static void vmx_init(struct model *m, uint32_t flags)
{
    m->vendor = 0x15ad;
    m->device = 0x07b0;
    model_bar(m, 0, VMX_PT_SIZE);
    model_bar(m, 1, VMX_VD_SIZE);
    model_bar(m, 2, 8192);
    reset(of(m));
}

const struct model_ops vmxnet3_model = {.kind = "vmxnet3",
                                        .size = sizeof(struct vmx_model),
                                        .init = vmx_init,
                                        .read = vmx_read,
                                        .write = vmx_write,
                                        .receive = vmx_receive,
                                        .run = vmx_run,
                                        .link = vmx_link,
                                        .corrupt = vmx_corrupt};
