/* virtio_net_engine.c: the rings of the virtio model, and frames out of them and into them; see virtio_net_model.h. */
#include "virtio_net_model.h"

/* ---- rings --------------------------------------------------------------------------------------------------------- */

static bool wrap(const struct vq *q, uint16_t position)
{
    return !(position & q->size);
}

struct raw {
    uint64_t addr;
    uint32_t len;
    uint16_t a, b; /* split: flags, next; packed: id, flags */
};

static bool read_desc(struct dev *d, const struct vq *q, uint16_t i, struct raw *r)
{
    return model_dma_read(&d->m, q->desc + 16u * i, r, sizeof *r);
}

/* The chain at `position`: false when the driver has put none there, or nonsense. */
static bool chain_split(struct dev *d, const struct vq *q, uint16_t position, struct chain *c)
{
    struct raw r;
    if (load16(d, q->driver + 2) == position)
        return false;
    uint16_t i = c->id = load16(d, q->driver + 4 + 2u * (position & (q->size - 1)));
    for (c->n = 0; c->n < MAX_CHAIN && i < q->size; i = r.b) {
        if (!read_desc(d, q, i, &r))
            return false;
        c->p[c->n++] = (struct piece){r.addr, r.len, (r.a & WRITE) != 0};
        if (!(r.a & NEXT)) {
            c->count = 1;
            return true;
        }
    }
    fault(d);
    return false;
}

static bool chain_packed(struct dev *d, const struct vq *q, uint16_t position, struct chain *c)
{
    struct raw r;
    for (c->n = 0; c->n < MAX_CHAIN; position++) {
        uint16_t flags = load16(d, q->desc + 16u * (position & (q->size - 1)) + 14);
        if (!(flags & AVAIL) == wrap(q, position) || !(flags & USED) != wrap(q, position)) {
            if (c->n != 0)
                fault(d); /* a part of a chain is there, but not all of it */
            return false;
        }
        if (!read_desc(d, q, position & (q->size - 1), &r))
            return false;
        c->p[c->n++] = (struct piece){r.addr, r.len, (r.b & WRITE) != 0};
        if (!(r.b & NEXT)) {
            c->id = r.a;
            c->count = (uint16_t)c->n;
            return true;
        }
    }
    fault(d);
    return false;
}

bool vnet_chain_at(struct dev *d, const struct vq *q, uint16_t position, struct chain *c)
{
    c->written = 0;
    return has(d, 34) ? chain_packed(d, q, position, c) : chain_split(d, q, position, c);
}

static void use_split(struct dev *d, struct vq *q, const struct chain *c, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        uint32_t e[2] = {c[i].id, c[i].written};
        model_dma_write(&d->m, q->device + 4 + 8u * (q->used++ & (q->size - 1)), e, sizeof e);
    }
    store16(d, q->device + 2, q->used);
}

/* All that the first one is not, then the first one: the driver sees all of them at once. */
static void use_packed(struct dev *d, struct vq *q, const struct chain *c, unsigned n)
{
    uint16_t at = q->used;
    for (unsigned i = 0; i < n; i++)
        at = (uint16_t)(at + c[i].count);
    uint16_t end = at;
    for (unsigned i = n; i-- > 0;) {
        at = (uint16_t)(at - c[i].count);
        uint64_t slot = q->desc + 16u * (at & (q->size - 1));
        uint16_t flags = wrap(q, at) ? AVAIL | USED : 0;
        model_dma_write(&d->m, slot + 8, &c[i].written, 4);
        model_dma_write(&d->m, slot + 12, &c[i].id, 2);
        store16(d, slot + 14, flags);
    }
    q->used = end;
}

static void interrupt(struct dev *d, const struct vq *q)
{
    bool off = has(d, 34) ? load16(d, q->driver + 2) == 1 : (load16(d, q->driver) & 1) != 0;
    if (off)
        return;
    d->isr |= 1;
    if (q->vector != 0xffff)
        model_irq(&d->m, q->vector);
}

void vnet_use(struct dev *d, struct vq *q, const struct chain *c, unsigned n)
{
    if (has(d, 34))
        use_packed(d, q, c, n);
    else
        use_split(d, q, c, n);
    interrupt(d, q);
}

bool vnet_runs(const struct dev *d, const struct vq *q)
{
    return (d->status & (DRIVER_OK | NEEDS_RESET)) == DRIVER_OK && !d->dead && q->enable && q->size != 0;
}

/* ---- transmit ------------------------------------------------------------------------------------------------------ */

static void headers(const uint8_t *f, uint32_t len, struct model_tx *tx)
{
    uint32_t at = 12;
    while (at + 4 < len && ((f[at] == 0x81 && f[at + 1] == 0) || (f[at] == 0x88 && f[at + 1] == 0xa8)))
        at += 4;
    tx->l3 = (uint16_t)(at + 2);
}

static void send_frame(struct dev *d, uint32_t len, uint32_t queue)
{
    static const uint8_t feature[8] = {[1] = 11, [4] = 12};
    struct hdr h;
    memcpy(&h, d->frame, sizeof h);
    const uint8_t *f = d->frame + HDR;
    struct model_tx tx = {.queue = queue, .csum_start = h.csum_start, .csum_offset = h.csum_offset};
    len -= HDR;
    headers(f, len, &tx);
    tx.l4_csum = (h.flags & 1) != 0;
    if ((tx.l4_csum && !has(d, 0)) || h.flags & ~1 || (h.gso_type & 0x80 && !has(d, 13)) ||
        h.num_buffers != 0)
        fault(d);
    if (h.gso_type != 0) {
        unsigned needs = feature[h.gso_type & 7];
        uint32_t tcp = h.csum_start;
        if (needs == 0 || !has(d, needs) || !tx.l4_csum || h.gso_size == 0 || tcp + 20 > len ||
            h.hdr_len != tcp + (f[tcp + 12] >> 4) * 4u) {
            fault(d);
            return;
        }
        tx.mss = h.gso_size;
        tx.hdr_len = h.hdr_len;
    }
    model_send(&d->m, f, len, &tx);
}

static uint32_t gather(struct dev *d, const struct chain *c)
{
    uint32_t len = 0;
    for (unsigned i = 0; i < c->n; i++) {
        if (c->p[i].write || c->p[i].len > sizeof d->frame - len ||
            !model_dma_read(&d->m, c->p[i].addr, d->frame + len, c->p[i].len)) {
            fault(d);
            return 0;
        }
        len += c->p[i].len;
    }
    return len;
}

void vnet_transmit(struct dev *d, unsigned index)
{
    struct vq *q = &d->q[index];
    bool polls = (d->m.flags & POLLS) != 0;
    unsigned n = 0;
    if (!vnet_runs(d, q) || (index / 2 >= d->pairs && index != 1))
        return;
    if (!q->kicked && !polls)
        return;
    if (q->kicked && polls)
        fault(d);
    q->kicked = false;
    for (; n < RING && vnet_chain_at(d, q, q->avail, &d->chains[n]); n++) {
        struct chain *c = &d->chains[n];
        uint32_t len = gather(d, c);
        if (len > HDR)
            send_frame(d, len, index / 2);
        q->avail = (uint16_t)(q->avail + c->count);
    }
    for (unsigned i = 0; d->m.flags & BACKWARDS && i < n / 2; i++) {
        struct chain c = d->chains[i];
        d->chains[i] = d->chains[n - 1 - i];
        d->chains[n - 1 - i] = c;
    }
    if (n != 0)
        vnet_use(d, q, d->chains, n);
}

/* ---- receive ------------------------------------------------------------------------------------------------------- */

static bool wants(const struct dev *d, const uint8_t *f)
{
    if (d->promisc || memcmp(f, "\xff\xff\xff\xff\xff\xff", 6) == 0)
        return true;
    if (f[0] & 1)
        return d->allmulti;
    return memcmp(f, d->mac, 6) == 0 || memcmp(f, d->extra, 6) == 0;
}

static unsigned choose(const struct dev *d, const uint8_t *frame, uint32_t len, const struct model_meta *meta)
{
    if (meta->queue != UINT32_MAX)
        return meta->queue % d->pairs;
    if (d->table_len == 0)
        return len > 30 ? frame[29] % d->pairs : 0; /* automatic steering: anything goes */
    uint32_t hash = model_rss(d->key, frame, len);
    return hash != 0 ? d->table[hash & (d->table_len - 1u)] : 0;
}

/* Write `len` bytes of d->frame from `from` on into one chain, as far as it and the model's mood go. */
static uint32_t fill(struct dev *d, struct chain *c, uint32_t from, uint32_t len)
{
    uint32_t most = d->m.flags & PIECES ? 100 : UINT32_MAX, done = 0;
    for (unsigned i = 0; i < c->n && done < len && done < most; i++) {
        uint32_t part = c->p[i].len < len - done ? c->p[i].len : len - done;
        part = part < most - done ? part : most - done;
        if (!c->p[i].write || !model_dma_write(&d->m, c->p[i].addr, d->frame + from + done, part))
            fault(d);
        done += part;
    }
    c->written = done;
    return done;
}

static void set_header(struct dev *d, const struct model_meta *meta)
{
    struct hdr h = {.num_buffers = 1};
    if (has(d, 1) && meta->flags & MODEL_RX_CSUM_GOOD)
        h.flags = 2;
    if (meta->flags & MODEL_RX_PARTIAL) {
        h.flags = 1;
        h.csum_start = meta->csum_start;
        h.csum_offset = meta->csum_offset;
    }
    h.gso_type = (uint8_t)meta->gso_type;
    h.gso_size = meta->gso_size;
    memcpy(d->frame, &h, sizeof h);
}

int vnet_receive(struct model *m, const uint8_t *frame, uint32_t len, const struct model_meta *meta)
{
    struct dev *d = dev(m);
    if ((d->status & (DRIVER_OK | NEEDS_RESET)) != DRIVER_OK || d->dead || len < 6 || !wants(d, frame))
        return -1;
    if (meta->flags & MODEL_RX_ERROR)
        return 0;
    struct vq *q = &d->q[2 * choose(d, frame, len, meta)];
    if (!vnet_runs(d, q))
        return 0;
    set_header(d, meta);
    memcpy(d->frame + HDR, frame, len);
    uint32_t done = 0, total = len + HDR;
    uint16_t position = q->avail, n = 0;
    while (done < total) {
        struct chain *c = &d->chains[n];
        if (n == q->size || (n != 0 && !has(d, 15)) || !vnet_chain_at(d, q, position, c))
            return 0;
        done += fill(d, c, done, total - done);
        position = (uint16_t)(position + c->count);
        n++;
    }
    q->avail = position;
    model_dma_write(m, d->chains[0].p[0].addr + 10, &n, 2);
    if (m->flags & LATE && n > 1) { /* against the rules: not all at once */
        vnet_use(d, q, d->chains, n - 1u);
        d->late = d->chains[n - 1];
        d->late_queue = q;
        return 1;
    }
    vnet_use(d, q, d->chains, n);
    return 1;
}
