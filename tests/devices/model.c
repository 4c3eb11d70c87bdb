/* model.c: what all device models share, and the functions that Python calls; see model.h. */
#include "model.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define API __attribute__((visibility("default")))

static const struct model_ops *const kinds[] = {&igb_model, &e1000e_model, &virtio_net_model, &vmxnet3_model,
                                                &ixgbe_model};

/* ---- for models ---------------------------------------------------------------------------------------------------- */

void model_bar(struct model *m, unsigned i, uint64_t size)
{
    m->bar[i].memory = calloc(1, size);
    m->bar[i].size = size;
}

uint32_t model_bar32(const struct model *m, unsigned bar, uint64_t offset)
{
    uint32_t v;
    memcpy(&v, m->bar[bar].memory + offset, sizeof v);
    return v;
}

void model_set_bar32(struct model *m, unsigned bar, uint64_t offset, uint32_t value)
{
    memcpy(m->bar[bar].memory + offset, &value, sizeof value);
}

void *model_dma(struct model *m, uint64_t iova, uint64_t length)
{
    for (unsigned i = 0; i < m->n_maps; i++) {
        uint64_t in = iova - m->maps[i].iova;
        if (in < m->maps[i].length && length <= m->maps[i].length - in)
            return m->maps[i].at + in;
    }
    m->faults++;
    return NULL;
}

bool model_dma_read(struct model *m, uint64_t iova, void *to, uint64_t length)
{
    const void *at = model_dma(m, iova, length);
    if (at != NULL)
        memcpy(to, at, length);
    return at != NULL;
}

bool model_dma_write(struct model *m, uint64_t iova, const void *from, uint64_t length)
{
    void *at = model_dma(m, iova, length);
    if (at != NULL)
        memcpy(at, from, length);
    return at != NULL;
}

void model_irq(struct model *m, unsigned vector)
{
    if (vector >= MODEL_VECTORS)
        return;
    m->irqs[vector]++;
    uint64_t one = 1;
    if (m->vector_fd[vector] >= 0 && write(m->vector_fd[vector], &one, sizeof one) < 0)
        m->irqs[vector]--;
}

uint64_t model_random(struct model *m) /* xorshift64* */
{
    m->random ^= m->random >> 12;
    m->random ^= m->random << 25;
    m->random ^= m->random >> 27;
    return m->random * UINT64_C(2685821657736338717);
}

/* ---- frames -------------------------------------------------------------------------------------------------------- */

static uint32_t be16(const uint8_t *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}

static void put16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static uint32_t sum16(uint32_t sum, const uint8_t *p, uint32_t n)
{
    for (uint32_t i = 0; i + 1 < n; i += 2)
        sum += be16(p + i);
    if (n & 1)
        sum += (uint32_t)p[n - 1] << 8;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return sum;
}

uint32_t model_rss(const uint8_t *key, const uint8_t *frame, uint32_t len)
{
    uint8_t input[36];
    uint32_t at = 12, n, hash = 0;
    while (at + 4 < len && (be16(frame + at) == 0x8100 || be16(frame + at) == 0x88a8))
        at += 4;
    at += 2;
    if (at + 40 > len)
        return 0;
    if (be16(frame + at - 2) == 0x0800 && (frame[at + 9] == 6 || frame[at + 9] == 17)) {
        memcpy(input, frame + at + 12, 8);
        memcpy(input + 8, frame + at + 4 * (frame[at] & 15), 4);
        n = 12;
    } else if (be16(frame + at - 2) == 0x86dd && at + 44 <= len &&
               (frame[at + 6] == 6 || frame[at + 6] == 17)) {
        memcpy(input, frame + at + 8, 32);
        memcpy(input + 32, frame + at + 40, 4);
        n = 36;
    } else {
        return 0;
    }
    for (uint32_t bit = 0; bit < n * 8; bit++)
        if (input[bit / 8] >> (7 - bit % 8) & 1)
            for (uint32_t k = 0; k < 32; k++)
                hash ^= (uint32_t)(key[(bit + k) / 8] >> (7 - (bit + k) % 8) & 1) << (31 - k);
    return hash;
}

static void out(struct model *m, const uint8_t *frame, uint32_t len, uint32_t queue)
{
    if (m->sent_n == MODEL_SENT) {
        m->sent_lost++;
        return;
    }
    struct model_sent *s = &m->sent[(m->sent_first + m->sent_n++) % MODEL_SENT];
    s->bytes = malloc(len);
    memcpy(s->bytes, frame, len);
    s->len = len;
    s->queue = queue;
}

static void checksums(uint8_t *f, uint32_t len, const struct model_tx *tx, uint32_t extra)
{
    if (tx->ip_csum && tx->l3 + 20u <= len) {
        put16(f + tx->l3 + 10, 0);
        put16(f + tx->l3 + 10, ~sum16(0, f + tx->l3, 4u * (f[tx->l3] & 15)) & 0xffff);
    }
    if (tx->l4_csum && tx->csum_start + tx->csum_offset + 2u <= len) {
        uint32_t sum = ~sum16(extra, f + tx->csum_start, len - tx->csum_start) & 0xffff;
        put16(f + tx->csum_start + tx->csum_offset, sum != 0 ? sum : 0xffff);
    }
}

/* One segment: headers as for a packet of its own. TCP only. */
static void segment(struct model *m, uint8_t *f, uint32_t head, uint32_t payload, uint32_t done, bool last,
                    const struct model_tx *tx, uint32_t number)
{
    uint8_t *ip = f + tx->l3, *tcp = f + tx->csum_start;
    uint32_t l4_len = head - tx->csum_start + payload, extra = l4_len;
    if (ip[0] >> 4 == 4) {
        put16(ip + 2, head - tx->l3 + payload);
        put16(ip + 4, be16(ip + 4) + number);
    } else {
        put16(ip + 4, head - tx->l3 - 40 + payload);
    }
    uint32_t seq = (be16(tcp + 4) << 16 | be16(tcp + 6)) + done;
    put16(tcp + 4, seq >> 16);
    put16(tcp + 6, seq & 0xffff);
    if (!last)
        tcp[13] &= (uint8_t)~0x09; /* FIN, PSH */
    if (done != 0)
        tcp[13] &= (uint8_t)~0x80; /* CWR */
    if (!tx->pseudo_without_len) { /* virtio: the pseudo header is the device's work */
        put16(tcp + 16, sum16(6, ip[0] >> 4 == 4 ? ip + 12 : ip + 8, ip[0] >> 4 == 4 ? 8 : 32));
    }
    struct model_tx each = *tx;
    each.ip_csum = ip[0] >> 4 == 4;
    each.l4_csum = true;
    checksums(f, head + payload, &each, extra);
    out(m, f, head + payload, tx->queue);
}

void model_send(struct model *m, const uint8_t *frame, uint32_t len, const struct model_tx *tx)
{
    uint8_t *f = malloc(MODEL_MAX_FRAME);
    if (len > MODEL_MAX_FRAME || (tx->mss != 0 && (tx->hdr_len >= len || tx->csum_start + 20u > tx->hdr_len)))
        len = 0;
    if (tx->mss == 0) {
        memcpy(f, frame, len);
        checksums(f, len, tx, 0);
        out(m, f, len, tx->queue);
    } else if (len != 0) {
        uint32_t all = len - tx->hdr_len;
        for (uint32_t done = 0, i = 0; done < all; i++) {
            uint32_t part = all - done < tx->mss ? all - done : tx->mss;
            memcpy(f, frame, tx->hdr_len);
            memcpy(f + tx->hdr_len, frame + tx->hdr_len + done, part);
            segment(m, f, tx->hdr_len, part, done, done + part == all, tx, i);
            done += part;
        }
    }
    free(f);
}

/* ---- registers ----------------------------------------------------------------------------------------------------- */

static void enter(struct model *m)
{
    pthread_mutex_lock(&m->lock);
}

static void leave(struct model *m)
{
    pthread_mutex_unlock(&m->lock);
}

static uint64_t hook_read(void *ctx, uint32_t bar, uint64_t offset, uint32_t width)
{
    struct model *m = ctx;
    enter(m);
    uint64_t v = m->gone ? UINT64_MAX : m->ops->read(m, bar, offset, width);
    leave(m);
    return v;
}

static void hook_write(void *ctx, uint32_t bar, uint64_t offset, uint32_t width, uint64_t value)
{
    struct model *m = ctx;
    enter(m);
    if (!m->gone)
        m->ops->write(m, bar, offset, width, value);
    leave(m);
}

/* ---- for Python ---------------------------------------------------------------------------------------------------- */

API struct model *model_new(const char *kind, uint32_t flags)
{
    for (unsigned i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(kinds[i]->kind, kind) != 0)
            continue;
        struct model *m = calloc(1, kinds[i]->size);
        pthread_mutexattr_t attr;
        pthread_mutexattr_init(&attr);
        pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
        pthread_mutex_init(&m->lock, &attr);
        m->ops = kinds[i];
        m->flags = flags;
        m->link_up = true;
        m->random = 88172645463325252u;
        memcpy(m->mac, "\x02\x00\x00\x00\x00\x01", 6);
        for (unsigned v = 0; v < MODEL_VECTORS; v++)
            m->vector_fd[v] = -1;
        m->hook = (struct vs_mmio_hook){.read = hook_read, .write = hook_write, .ctx = m};
        m->ops->init(m, flags);
        return m;
    }
    return NULL;
}

API void model_thread(struct model *m, int mode);

API void model_free(struct model *m)
{
    model_thread(m, 0);
    if (m->ops->destroy != NULL)
        m->ops->destroy(m);
    for (; m->sent_n > 0; m->sent_n--)
        free(m->sent[m->sent_first++ % MODEL_SENT].bytes);
    for (unsigned i = 0; i < VS_NIC_BARS; i++)
        free(m->bar[i].memory);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

/* Fill what the driver is told of its device. env: struct vs_nic_env. */
API void model_env(struct model *m, void *env)
{
    struct vs_nic_env *e = env;
    memset(e, 0, sizeof *e);
    e->vendor = m->vendor;
    e->device = m->device;
    for (unsigned i = 0; i < VS_NIC_BARS; i++)
        if (m->bar[i].size != 0)
            e->bars[i] = (struct vs_bar){
                .base = m->bar[i].memory, .size = m->bar[i].size, .hook = &m->hook, .index = i};
    if (m->ops->env != NULL)
        m->ops->env(m, e);
}

API int model_map(struct model *m, uint64_t iova, void *at, uint64_t length)
{
    if (m->n_maps == MODEL_MAPS)
        return -1;
    m->maps[m->n_maps].iova = iova;
    m->maps[m->n_maps].at = at;
    m->maps[m->n_maps++].length = length;
    return 0;
}

API int model_receive(struct model *m, const uint8_t *frame, uint32_t len, const struct model_meta *meta)
{
    struct model_meta none = {.queue = UINT32_MAX};
    enter(m);
    int rc = m->link_up && !m->gone ? m->ops->receive(m, frame, len, meta != NULL ? meta : &none) : -1;
    m->missed += rc == 0;
    m->received += rc == 1;
    leave(m);
    return rc;
}

/* The oldest frame that was sent: its length, copied to `to` (at most max), or -1. */
API int model_take(struct model *m, uint8_t *to, uint32_t max, uint32_t *queue)
{
    enter(m);
    if (m->sent_n == 0) {
        leave(m);
        return -1;
    }
    struct model_sent s = m->sent[m->sent_first];
    m->sent_first = (m->sent_first + 1) % MODEL_SENT;
    m->sent_n--;
    leave(m);
    memcpy(to, s.bytes, s.len < max ? s.len : max);
    free(s.bytes);
    if (queue != NULL)
        *queue = s.queue;
    return (int)s.len;
}

API void model_run(struct model *m)
{
    enter(m);
    if (!m->gone)
        m->ops->run(m);
    leave(m);
}

API void model_corrupt(struct model *m, uint64_t seed)
{
    enter(m);
    if (seed != 0)
        m->random = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
    m->ops->corrupt(m);
    leave(m);
}

API void model_link(struct model *m, int up)
{
    enter(m);
    m->link_up = up != 0;
    m->ops->link(m, up != 0);
    leave(m);
}

/* Pull it out (registers read all ones, nothing moves any more), or put it in. */
API void model_gone(struct model *m, int gone)
{
    enter(m);
    m->gone = gone != 0;
    leave(m);
}

API void model_set_vector(struct model *m, unsigned vector, int fd)
{
    m->vector_fd[vector] = fd;
}

API uint64_t model_faults(const struct model *m)
{
    return m->faults;
}

API uint64_t model_irqs(const struct model *m, unsigned vector)
{
    return m->irqs[vector];
}

/* Shrink a BAR: what the driver says to a device that has too little. */
API void model_cut_bar(struct model *m, unsigned bar, uint64_t size)
{
    if (size < m->bar[bar].size)
        m->bar[bar].size = size;
}

static void *engine(void *arg)
{
    struct model *m = arg;
    int mode;
    while ((mode = atomic_load(&m->thread_mode)) != 0) {
        enter(m);
        m->ops->run(m);
        if (mode == 2)
            m->ops->corrupt(m);
        leave(m);
        usleep(10);
    }
    return NULL;
}

/* 0: stop the engine's thread; 1: it runs beside the driver; 2: and is hostile. */
API void model_thread(struct model *m, int mode)
{
    int before = atomic_exchange(&m->thread_mode, mode);
    if (before == 0 && mode != 0)
        pthread_create(&m->thread, NULL, engine, m);
    else if (before != 0 && mode == 0)
        pthread_join(m->thread, NULL);
}
