/* virtio_net_model.c: registers, commands and life of the virtio model; see virtio_net_model.h. */
#include "virtio_net_model.h"

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
    while (vnet_runs(d, q) && !(d->m.flags & SILENT) && vnet_chain_at(d, q, q->avail, c)) {
        uint8_t said[1024], answer = 1;
        if (c->n == 2 && !c->p[0].write && c->p[1].write && c->p[1].len == 1 && c->p[0].len <= sizeof said &&
            model_dma_read(&d->m, c->p[0].addr, said, c->p[0].len) && command(d, said, c->p[0].len))
            answer = 0;
        model_dma_write(&d->m, c->p[c->n - 1].addr, &answer, 1);
        c->written = 1;
        q->avail = (uint16_t)(q->avail + c->count);
        vnet_use(d, q, c, 1);
    }
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
    if (d->m.flags & POLLS && (q - d->q) % 2 == 1)
        store16(d, has(d, 34) ? q->device + 2 : q->device, 1);
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
        vnet_use(d, d->late_queue, &d->late, 1);
    d->late_queue = NULL;
    for (unsigned i = 1; i < QUEUES - 1; i += 2)
        vnet_transmit(d, i);
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

const struct model_ops virtio_net_model = {
    .kind = "virtio_net",
    .size = sizeof(struct dev),
    .init = init,
    .env = env,
    .read = reg_read,
    .write = reg_write,
    .receive = vnet_receive,
    .run = run,
    .link = set_link,
    .corrupt = vnet_corrupt,
};
