/* virtio_net_model.c: a virtio network device over PCI (VIRTIO 1.2, 4.1 and 5.1), as QEMU's: split and packed rings, control queue, RSS; see model.h.
 *
 * How it works: BAR 4 holds the four structures. Commands are done when the control queue's doorbell is rung, transmit when the engine runs and the queue's
 * doorbell was rung since it was last empty. What a driver must not do (2.7, 2.8, 5.1.6) counts as a fault. It is written apart from the driver, with
 * structs and numbers of its own, so that the same mistake is not made twice.
 */
#include <stdlib.h>
#include <string.h>

#include "model.h"

/* model_new's flags; tests/unit/vfio/test_virtio_net.py has the same. */
enum {
    PACKED = 1,
    NO_MERGE = 2,
    NO_CTRL = 4,
    NO_RSS = 8,
    NO_ECN = 16,
    PAST_IOMMU = 32, /* no ACCESS_PLATFORM */
    LEGACY = 64,     /* no modern structures */
    PIECES = 128,    /* fills 100 bytes of a merged buffer only */
    BACKWARDS = 256, /* done with frames in reverse */
    STUBBORN = 512,  /* refuses features */
    SILENT = 1024,   /* no answer to commands */
    POLLS = 2048,    /* wants no notifications of transmit */
    NO_MAC = 4096,
    TRANSITIONAL = 8192,
    NO_VERSION_1 = 1 << 14,
    NO_FILTERS = 1 << 15, /* no CTRL_RX, no CTRL_MAC_ADDR */
    NO_MAC_ADDR = 1 << 16,
    NO_VECTORS = 1 << 17,   /* refuses MSI-X vectors */
    NO_CONFIG = 1 << 18,    /* no device structure */
    SMALL_RINGS = 1 << 19,  /* 16 descriptors */
    BAD_DOORBELL = 1 << 20, /* queue_notify_off points outside */
    STUCK = 1 << 21,        /* a reset that never ends */
    LATE = 1 << 22,         /* a merged frame's last buffer comes with the next run */
};

enum {
    PAIRS = 8,
    QUEUES = 2 * PAIRS + 1,
    RING = 1024,
    MTU = 9600,
    HDR = 12,
    COMMON = 0,
    ISR = 0x1000,
    DEVICE = 0x2000,
    NOTIFY = 0x3000,
    STEP = 4,
    MAX_CHAIN = 64,
    DRIVER_OK = 4,
    FEATURES_OK = 8,
    NEEDS_RESET = 64,
    NEXT = 1,
    WRITE = 2,
    AVAIL = 1 << 7,
    USED = 1 << 15,
};

#define B(n) (UINT64_C(1) << (n))

struct vq {
    uint16_t size, vector, enable;
    uint64_t desc, driver, device;
    uint16_t avail; /* position; split: index */
    uint16_t used;
    bool kicked;
};

struct hdr {
    uint8_t flags, gso_type;
    uint16_t hdr_len, gso_size, csum_start, csum_offset, num_buffers;
};

struct piece {
    uint64_t addr;
    uint32_t len;
    bool write;
};

struct chain {
    struct piece p[MAX_CHAIN];
    unsigned n;
    uint16_t id, count;
    uint32_t written;
};

struct dev {
    struct model m;
    uint64_t offers, features;
    uint32_t dfs, gfs;
    uint8_t status, isr;
    uint16_t select, config_vector;
    struct vq q[QUEUES];
    bool promisc, allmulti, dead;
    uint8_t mac[6], extra[6];
    uint16_t pairs, table_len, table[128];
    uint32_t types;
    uint8_t key[40];
    uint8_t frame[MODEL_MAX_FRAME + HDR];
    struct chain chains[RING];
    struct chain late;
    struct vq *late_queue;
};

static struct dev *dev(struct model *m)
{
    return (struct dev *)m;
}

static bool has(const struct dev *d, unsigned f)
{
    return (d->features & B(f)) != 0;
}

static void fault(struct dev *d)
{
    d->m.faults++;
}

/* ---- rings --------------------------------------------------------------------------------------------------------- */

static uint16_t load16(struct dev *d, uint64_t iova)
{
    const uint16_t *at = model_dma(&d->m, iova, 2);
    return at != NULL ? __atomic_load_n(at, __ATOMIC_ACQUIRE) : 0;
}

static void store16(struct dev *d, uint64_t iova, uint16_t v)
{
    uint16_t *at = model_dma(&d->m, iova, 2);
    if (at != NULL)
        __atomic_store_n(at, v, __ATOMIC_RELEASE);
}

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

static bool chain_at(struct dev *d, const struct vq *q, uint16_t position, struct chain *c)
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

static void use(struct dev *d, struct vq *q, const struct chain *c, unsigned n)
{
    if (has(d, 34))
        use_packed(d, q, c, n);
    else
        use_split(d, q, c, n);
    interrupt(d, q);
}

static bool runs(const struct dev *d, const struct vq *q)
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

static void transmit(struct dev *d, unsigned index)
{
    struct vq *q = &d->q[index];
    bool polls = (d->m.flags & POLLS) != 0;
    unsigned n = 0;
    if (!runs(d, q) || (index / 2 >= d->pairs && index != 1))
        return;
    if (polls)
        store16(d, has(d, 34) ? q->device + 2 : q->device, 1);
    if (!q->kicked && !polls)
        return;
    if (q->kicked && polls)
        fault(d);
    q->kicked = false;
    for (; n < RING && chain_at(d, q, q->avail, &d->chains[n]); n++) {
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
        use(d, q, d->chains, n);
}

/* ---- commands ------------------------------------------------------------------------------------------------------ */

static uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static bool set_pairs(struct dev *d, uint16_t pairs)
{
    if (pairs == 0 || pairs > PAIRS)
        return false;
    for (unsigned i = 0; i < 2u * pairs; i++)
        if (!d->q[i].enable)
            fault(d); /* 5.1.6.5.6.1: configured before it is used */
    d->pairs = pairs;
    return true;
}

static bool set_rss(struct dev *d, const uint8_t *p, uint32_t len)
{
    uint32_t entries = len >= 8 ? get16(p + 4) + 1u : 0;
    if (!has(d, 60) || entries == 0 || entries > 128 || entries & (entries - 1) ||
        len != 8 + 2 * entries + 43 || p[10 + 2 * entries] != 40)
        return false;
    d->types = (uint32_t)get16(p);
    d->table_len = (uint16_t)entries;
    for (uint32_t i = 0; i < entries; i++)
        d->table[i] = get16(p + 8 + 2 * i);
    memcpy(d->key, p + 11 + 2 * entries, 40);
    return set_pairs(d, get16(p + 8 + 2 * entries));
}

static bool command(struct dev *d, const uint8_t *p, uint32_t len)
{
    if (len < 3)
        return false;
    const uint8_t *data = p + 2;
    len -= 2;
    switch (p[0] << 8 | p[1]) {
    case 0x0000:
    case 0x0001:
        if (!has(d, 18) || len != 1)
            return false;
        *(p[1] == 0 ? &d->promisc : &d->allmulti) = data[0] != 0;
        return true;
    case 0x0100:
        if (!has(d, 18) || len != 14 || get16(data) != 1)
            return false;
        memcpy(d->extra, data + 4, 6);
        return true;
    case 0x0101:
        if (!has(d, 23) || len != 6)
            return false;
        memcpy(d->mac, data, 6);
        return true;
    case 0x0400:
        return has(d, 22) && len == 2 && set_pairs(d, get16(data));
    case 0x0401:
        return set_rss(d, data, len);
    default:
        return false;
    }
}

static void control(struct dev *d, struct vq *q)
{
    struct chain *c = &d->chains[0];
    while (runs(d, q) && !(d->m.flags & SILENT) && chain_at(d, q, q->avail, c)) {
        uint8_t said[1024], answer = 1;
        if (c->n == 2 && !c->p[0].write && c->p[1].write && c->p[1].len == 1 && c->p[0].len <= sizeof said &&
            model_dma_read(&d->m, c->p[0].addr, said, c->p[0].len) && command(d, said, c->p[0].len))
            answer = 0;
        model_dma_write(&d->m, c->p[c->n - 1].addr, &answer, 1);
        c->written = 1;
        q->avail = (uint16_t)(q->avail + c->count);
        use(d, q, c, 1);
    }
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

static int receive(struct model *m, const uint8_t *frame, uint32_t len, const struct model_meta *meta)
{
    struct dev *d = dev(m);
    if ((d->status & (DRIVER_OK | NEEDS_RESET)) != DRIVER_OK || d->dead || len < 6 || !wants(d, frame))
        return -1;
    if (meta->flags & MODEL_RX_ERROR)
        return 0;
    struct vq *q = &d->q[2 * choose(d, frame, len, meta)];
    if (!runs(d, q))
        return 0;
    set_header(d, meta);
    memcpy(d->frame + HDR, frame, len);
    uint32_t done = 0, total = len + HDR;
    uint16_t position = q->avail, n = 0;
    while (done < total) {
        struct chain *c = &d->chains[n];
        if (n == q->size || (n != 0 && !has(d, 15)) || !chain_at(d, q, position, c))
            return 0;
        done += fill(d, c, done, total - done);
        position = (uint16_t)(position + c->count);
        n++;
    }
    q->avail = position;
    model_dma_write(m, d->chains[0].p[0].addr + 10, &n, 2);
    if (m->flags & LATE && n > 1) { /* against the rules: not all at once */
        use(d, q, d->chains, n - 1u);
        d->late = d->chains[n - 1];
        d->late_queue = q;
        return 1;
    }
    use(d, q, d->chains, n);
    return 1;
}

/* ---- registers ----------------------------------------------------------------------------------------------------- */

static void reset(struct dev *d)
{
    memset(d->q, 0, sizeof d->q);
    for (unsigned i = 0; i < QUEUES; i++) {
        d->q[i].size = d->m.flags & SMALL_RINGS ? 16 : i == QUEUES - 1 ? 64 : RING;
        d->q[i].vector = 0xffff;
    }
    d->config_vector = 0xffff;
    d->features = 0;
    d->isr = 0;
    d->promisc = true; /* until told otherwise */
    d->allmulti = false;
    memcpy(d->mac, d->m.mac, 6);
    memset(d->extra, 0, 6);
    d->pairs = 1;
    d->table_len = 0;
    d->dead = false;
    d->late_queue = NULL;
}

static void set_status(struct dev *d, uint8_t v)
{
    if (v == 0) {
        reset(d);
        d->status = d->m.flags & STUCK ? 1 : 0;
        return;
    }
    if (v & FEATURES_OK && !(d->status & FEATURES_OK) &&
        (d->features & ~d->offers || d->m.flags & STUBBORN || !has(d, 32) || !has(d, 33)))
        v &= (uint8_t)~FEATURES_OK;
    if (v & DRIVER_OK && has(d, 18))
        d->promisc = false;
    d->status = v;
}

static struct vq *selected(struct dev *d)
{
    /* 5.1.2: without several queues the control queue is number 2. */
    if (d->features & (B(22) | B(60)) || d->select < 2)
        return d->select < QUEUES ? &d->q[d->select] : NULL;
    return d->select == 2 ? &d->q[QUEUES - 1] : NULL;
}

static void set_half(uint64_t *to, uint64_t offset, uint32_t v)
{
    unsigned shift = offset & 4 ? 32 : 0;
    *to = (*to & ~((uint64_t)UINT32_MAX << shift)) | (uint64_t)v << shift;
}

static void enable(struct dev *d, struct vq *q)
{
    if (q->enable || !(d->status & FEATURES_OK) || q->size & (q->size - 1) || q->desc % 16 || q->driver % 4 ||
        q->device % 4 || q->driver < q->desc + 16u * q->size || q->driver == q->device)
        fault(d);
    q->enable = 1;
    q->kicked = false;
}

static void common_write(struct dev *d, uint64_t offset, uint32_t v)
{
    struct vq none = {0}, *q = selected(d);
    uint16_t vector = d->m.flags & NO_VECTORS ? 0xffff : (uint16_t)v;
    if (q == NULL)
        q = &none;
    switch (offset) {
    case 0:
        d->dfs = v;
        break;
    case 8:
        d->gfs = v;
        break;
    case 12:
        if (d->gfs < 2 && !(d->status & FEATURES_OK))
            set_half(&d->features, d->gfs * 4, v);
        break;
    case 16:
        d->config_vector = vector;
        break;
    case 20:
        set_status(d, (uint8_t)v);
        break;
    case 22:
        d->select = (uint16_t)v;
        break;
    case 24:
        q->size = v <= q->size ? (uint16_t)v : 0;
        break;
    case 26:
        q->vector = vector;
        break;
    case 28:
        enable(d, q);
        break;
    case 32:
    case 36:
        set_half(&q->desc, offset, v);
        break;
    case 40:
    case 44:
        set_half(&q->driver, offset - 40, v);
        break;
    case 48:
    case 52:
        set_half(&q->device, offset - 48, v);
        break;
    default:
        fault(d);
    }
}

static uint64_t common_read(struct dev *d, uint64_t offset)
{
    struct vq none = {0}, *q = selected(d);
    if (q == NULL)
        q = &none;
    switch (offset) {
    case 4:
        return d->dfs < 2 ? (uint32_t)(d->offers >> (32 * d->dfs)) : 0;
    case 16:
        return d->config_vector;
    case 18:
        return QUEUES;
    case 20:
        return d->status;
    case 21:
        return 0;
    case 24:
        return q->size;
    case 26:
        return q->vector;
    case 28:
        return q->enable;
    case 30:
        return d->m.flags & BAD_DOORBELL ? 0x7fff : d->select;
    default:
        return 0;
    }
}

static uint64_t reg_read(struct model *m, uint32_t bar, uint64_t offset, uint32_t width)
{
    struct dev *d = dev(m);
    uint64_t v = 0;
    if (bar != 4 || d->dead)
        return UINT64_MAX;
    if (offset < ISR)
        return common_read(d, offset);
    if (offset == ISR) {
        v = d->isr;
        d->isr = 0;
    } else if (offset >= DEVICE) {
        memcpy(&v, m->bar[4].memory + offset, width);
    }
    return v;
}

static void reg_write(struct model *m, uint32_t bar, uint64_t offset, uint32_t width, uint64_t value)
{
    struct dev *d = dev(m);
    if (bar != 4 || (d->dead && offset != 20))
        return;
    if (offset < ISR) {
        common_write(d, offset, (uint32_t)value);
        return;
    }
    uint64_t index = (offset - NOTIFY) / STEP;
    bool many = d->features & (B(22) | B(60));
    if (offset < NOTIFY || width != 2 || index != value || !(d->status & DRIVER_OK)) {
        fault(d);
        return;
    }
    if (index == (many ? QUEUES - 1 : 2))
        control(d, &d->q[QUEUES - 1]);
    else if (index < QUEUES)
        d->q[index].kicked = true;
}

/* ---- life ---------------------------------------------------------------------------------------------------------- */

static uint64_t offers(uint32_t flags)
{
    static const uint8_t all[] = {0,  1,  3,  5,  7,  8,  9,  11, 12, 13, 15, 16,
                                  17, 18, 22, 23, 32, 33, 35, 36, 54, 55, 60, 63};
    uint64_t f = 0;
    for (unsigned i = 0; i < sizeof all; i++)
        f |= B(all[i]);
    f |= B(10) | B(14) | B(19) | B(20) | B(21) | B(28) | B(29) | B(38) | B(40); /* what the driver leaves */
    if (flags & PACKED)
        f |= B(34);
    if (flags & NO_MERGE)
        f &= ~B(15);
    if (flags & NO_CTRL)
        f &= ~(B(17) | B(18) | B(22) | B(23) | B(60));
    if (flags & NO_RSS)
        f &= ~B(60);
    if (flags & NO_ECN)
        f &= ~B(13);
    if (flags & PAST_IOMMU)
        f &= ~B(33);
    if (flags & NO_MAC)
        f &= ~B(5);
    if (flags & NO_VERSION_1)
        f &= ~B(32);
    if (flags & NO_FILTERS)
        f &= ~(B(18) | B(23));
    if (flags & NO_MAC_ADDR)
        f &= ~B(23);
    return f;
}

static void put_config(struct model *m, unsigned at, const void *from, size_t n)
{
    memcpy(m->bar[4].memory + DEVICE + at, from, n);
}

static void init(struct model *m, uint32_t flags)
{
    struct dev *d = dev(m);
    const uint16_t status = 1, pairs = PAIRS, mtu = MTU, table = 128;
    const uint32_t speed = 25000, types = 0x1ff;
    m->vendor = 0x1af4;
    m->device = flags & (TRANSITIONAL | LEGACY) ? 0x1000 : 0x1041;
    model_bar(m, 1, 0x1000);
    model_bar(m, 4, 0x4000);
    d->offers = offers(flags);
    put_config(m, 0, m->mac, 6);
    put_config(m, 6, &status, 2);
    put_config(m, 8, &pairs, 2);
    put_config(m, 10, &mtu, 2);
    put_config(m, 12, &speed, 4);
    put_config(m, 16, "\x01\x28", 2); /* full duplex, keys of 40 bytes */
    put_config(m, 18, &table, 2);
    put_config(m, 20, &types, 4);
    reset(d);
}

static void env(struct model *m, struct vs_nic_env *e)
{
    static const uint32_t at[5] = {0, COMMON, NOTIFY, ISR, DEVICE};
    for (unsigned i = 1; i < 5 && !(m->flags & LEGACY); i++)
        if (i != 4 || !(m->flags & NO_CONFIG))
            e->virtio[i] = (struct vs_nic_place){.bar = 4, .present = 1, .offset = at[i], .length = 0x1000};
    e->notify_multiplier = STEP;
}

static void run(struct model *m)
{
    struct dev *d = dev(m);
    if (d->late_queue != NULL)
        use(d, d->late_queue, &d->late, 1);
    d->late_queue = NULL;
    for (unsigned i = 1; i < QUEUES - 1; i += 2)
        transmit(d, i);
}

static void set_link(struct model *m, bool up)
{
    struct dev *d = dev(m);
    const uint16_t status = up;
    put_config(m, 6, &status, 2);
    if (!(d->status & DRIVER_OK) || !has(d, 16))
        return;
    d->isr |= 2;
    if (d->config_vector != 0xffff)
        model_irq(m, d->config_vector);
}

/* ---- hostile ------------------------------------------------------------------------------------------------------- */

static uint64_t some(struct dev *d, uint64_t n)
{
    return model_random(&d->m) % n;
}

/* Rubbish somewhere in the three parts of a ring. */
static void scribble(struct dev *d, const struct vq *q)
{
    const uint64_t parts[3] = {q->desc, q->driver, q->device};
    const uint64_t lengths[3] = {16u * q->size, has(d, 34) ? 4 : 6u + 2u * q->size,
                                 has(d, 34) ? 4 : 6u + 8u * q->size};
    unsigned part = (unsigned)some(d, 3);
    for (unsigned i = 0; i < 8; i++) {
        uint8_t v = (uint8_t)model_random(&d->m);
        model_dma_write(&d->m, parts[part] + some(d, lengths[part]), &v, 1);
    }
}

/* Gives back what may not be its to give back. */
static void give(struct dev *d, struct vq *q)
{
    struct chain c = {.count = 1};
    c.id = (uint16_t)(some(d, 4) ? some(d, q->size) : model_random(&d->m));
    c.written = (uint32_t)(some(d, 2) ? some(d, 3000) : model_random(&d->m));
    use(d, q, &c, 1);
}

/* A header that says what cannot be, in the buffer that is given back next. */
static void lie(struct dev *d, struct vq *q)
{
    struct chain *c = &d->chains[0];
    if (!chain_at(d, q, q->avail, c) || c->n == 0)
        return;
    uint8_t h[HDR];
    for (unsigned i = 0; i < HDR; i++)
        h[i] = (uint8_t)model_random(&d->m);
    if (some(d, 2)) /* how many buffers; the rest is 0 */
        memset(h, 0, 10);
    if (some(d, 2))
        h[11] = 0;
    model_dma_write(&d->m, c->p[0].addr, h, HDR);
    c->written = (uint32_t)some(d, 2100);
    q->avail = (uint16_t)(q->avail + c->count);
    use(d, q, c, 1);
}

static void corrupt(struct model *m)
{
    struct dev *d = dev(m);
    struct vq *q = &d->q[some(d, 4)];
    if (!runs(d, q))
        return;
    switch (some(d, 40)) {
    case 0:
        d->dead = some(d, 4) == 0;
        break;
    case 1:
        d->status |= NEEDS_RESET;
        break;
    case 2:
        q->used = (uint16_t)(q->used + model_random(m)); /* the next one is anywhere */
        break;
    case 3:
        store16(d, q->device + 2, (uint16_t)model_random(m));
        break;
    case 4:
        m->bar[4].memory[DEVICE + some(d, 24)] = (uint8_t)model_random(m);
        break;
    default:
        if (some(d, 3) == 0)
            scribble(d, q);
        else if (some(d, 2) == 0)
            give(d, q);
        else
            lie(d, q);
    }
}

const struct model_ops virtio_net_model = {
    .kind = "virtio_net",
    .size = sizeof(struct dev),
    .init = init,
    .env = env,
    .read = reg_read,
    .write = reg_write,
    .receive = receive,
    .run = run,
    .link = set_link,
    .corrupt = corrupt,
};
