/* vmxnet3_engine.c: rings and frames of the model of vmxnet3, and what it does when it is hostile; see vmxnet3_model.h. */
#include "vmxnet3_model.h"

#include <string.h>

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

static uint32_t checksum_flags(const uint8_t *frame, uint32_t len, uint32_t flags)
{
    uint32_t at = 12;
    while (at + 4 < len && frame[at] == 0x81 && frame[at + 1] == 0)
        at += 4;
    if (at + 12 > len)
        return 0;
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

/* The last completion of a frame, and the interrupt. */
static void let_go(struct vmx_model *v, struct rxq *q)
{
    if (!q->holds)
        return;
    q->holds = false;
    complete(v, &q->comp, q->held);
    vmxnet3_trigger(v, q->vector);
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
        words[3] |= checksum_flags(frame, len, meta->flags);
    }
    memcpy(q->held, words, sizeof q->held);
    q->holds = true;
    if (!(v->m.flags & SLOW))
        let_go(v, q);
    if (words[2] & VMX_COMP_ERR)
        q->stats[VMX_STAT_LAST]++;
    else
        count(q->stats, frame, len);
    return 1;
}

int vmxnet3_receive(struct model *m, const uint8_t *frame, uint32_t len, const struct model_meta *meta)
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
    let_go(v, &v->rxq[number]);
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
    for (uint32_t turns = 0; turns < q->ring.size && ((v->m.flags & EAGER) || q->ring.next != q->ring.prod);
         turns++) {
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
        vmxnet3_trigger(v, q->vector);
        len = parts = 0;
        bad = false;
    }
}

void vmxnet3_run(struct model *m)
{
    struct vmx_model *v = of(m);
    for (unsigned i = 0; v->active && i < v->n_rxq; i++)
        let_go(v, &v->rxq[i]);
    for (unsigned i = 0; v->active && i < v->n_txq; i++)
        run_queue(v, i);
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

void vmxnet3_corrupt(struct model *m)
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
        vmxnet3_trigger(v, (unsigned)(model_random(m) % VMX_INTRS));
    else
        v->gone = model_random(m) % 4 == 0;
}
