/* vring.c: the split virtqueue; see vring.h. Section numbers are of VIRTIO 1.2. */
#include "vring.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    USED_F_NO_NOTIFY = 1,
    AVAIL_F_NO_INTERRUPT = 1,
};

static const char *const labels[VS_N_CHAIN_ERRORS] = {
#define ROW(name, label, help) [VS_CHAIN_##name] = label,
    VS_CHAIN_ERRORS(ROW)
#undef ROW
};

const char *vs_chain_error_label(int error)
{
    return error >= 0 && error < VS_N_CHAIN_ERRORS ? labels[error] : NULL;
}

/* Copy a descriptor from guest memory, once: behind the barrier the compiler may not read it again in place of the copy. */
static inline struct vs_desc load_desc(const void *from)
{
    struct vs_desc d;
    memcpy(&d, from, sizeof d);
    __asm__ volatile("" ::: "memory");
    return d;
}

static inline uint16_t load16(const uint16_t *p)
{
    return __atomic_load_n(p, __ATOMIC_RELAXED);
}

static void quiet(struct vs_vring *r)
{
    /* With EVENT_IDX the stale avail_event is as good as a flag: it fires once in 65536 buffers. */
    if (!r->event_idx)
        __atomic_store_n(&r->used->flags, (uint16_t)USED_F_NO_NOTIFY, __ATOMIC_RELAXED);
}

static bool feature(const struct vs_vring_config *cfg, unsigned bit)
{
    return (cfg->features >> bit & 1) != 0;
}

static int place(struct vs_vring *r, const struct vs_vring_config *cfg)
{
    uint64_t n = cfg->size;
    /* Section 2.7: lengths with the event fields, which exist even when they are not used. */
    uint8_t *desc = vs_uva_translate(r->mem, (vs_uva){cfg->desc}, 16 * n);
    uint8_t *avail = vs_uva_translate(r->mem, (vs_uva){cfg->avail}, 6 + 2 * n);
    uint8_t *used = vs_uva_translate(r->mem, (vs_uva){cfg->used}, 6 + 8 * n);
    if (desc == NULL || avail == NULL || used == NULL)
        return -EFAULT;
    if ((uintptr_t)desc % 16 != 0 || (uintptr_t)avail % 2 != 0 || (uintptr_t)used % 4 != 0)
        return -EINVAL;
    r->desc = (struct vs_desc *)(void *)desc;
    r->avail = (struct vs_avail *)(void *)avail;
    r->used = (struct vs_used *)(void *)used;
    r->used_event = &r->avail->ring[n];
    r->avail_event = (uint16_t *)(void *)&r->used->ring[n];
    return 0;
}

struct vs_vring *vs_vring_new(const struct vs_guest_mem *mem, const struct vs_vring_config *cfg,
                              struct vs_vring_stats *stats, int *error)
{
    *error = -EINVAL;
    if (cfg->size == 0 || cfg->size > VS_RING_MAX || (cfg->size & (cfg->size - 1)) != 0 || mem->n == 0)
        return NULL;
    struct vs_vring *r = aligned_alloc(VS_CACHE_LINE, sizeof *r);
    uint8_t *scratch = malloc(VS_MAX_FRAME);
    *error = -ENOMEM;
    if (r == NULL || scratch == NULL)
        goto fail;
    memset(r, 0, sizeof *r);
    r->mem = mem;
    r->hint = &mem->regions[0];
    r->stats = stats;
    r->scratch = scratch;
    r->size = cfg->size;
    r->mask = (uint16_t)(cfg->size - 1);
    *error = place(r, cfg);
    if (*error != 0)
        goto fail;
    r->event_idx = feature(cfg, VS_VIRTIO_F_EVENT_IDX);
    r->indirect = feature(cfg, VS_VIRTIO_F_INDIRECT_DESC);
    r->mergeable = feature(cfg, VS_VIRTIO_NET_F_MRG_RXBUF);
    r->hdr_len = r->mergeable || feature(cfg, VS_VIRTIO_F_VERSION_1) ? 12 : 10;
    /* We give chains back in the order in which we took them, so a stopped split ring has used->idx == base. After a front-end lost
     * us without GET_VRING_BASE, used->idx is the one to believe: what was taken but not given back is taken again. */
    r->last_avail = r->avail_seen = r->used_idx = r->used_published = load16(&r->used->idx);
    r->kick_fd = cfg->kick_fd;
    atomic_store_explicit(&r->call_fd, cfg->call_fd, memory_order_relaxed);
    atomic_store_explicit(&r->err_fd, cfg->err_fd, memory_order_relaxed);
    quiet(r);
    return r;
fail:
    free(scratch);
    free(r);
    return NULL;
}

void vs_vring_free(struct vs_vring *r)
{
    if (r == NULL)
        return;
    free(r->scratch);
    free(r);
}

static void signal_fd(int fd)
{
    static const uint64_t one = 1;
    /* The descriptor is an eventfd set not to block (device.py): a full counter is a signal, too. */
    if (fd >= 0 && write(fd, &one, sizeof one) < 0)
        return;
}

void vs_vring_break(struct vs_vring *r, enum vs_chain_error why)
{
    if (atomic_load_explicit(&r->broken, memory_order_relaxed) != 0)
        return;
    vs_vring_refuse(r, why);
    atomic_store_explicit(&r->broken, why, memory_order_relaxed);
    signal_fd(atomic_load_explicit(&r->err_fd, memory_order_relaxed));
}

unsigned vs_vring_fetch(struct vs_vring *r, struct vs_window *w, uint16_t pos, unsigned max)
{
    uint16_t ready = (uint16_t)(r->avail_seen - pos);
    if (ready < max) {
        /* Acquire: ring entries and descriptors are read after the index that made them available (section 2.7.13.2). */
        r->avail_seen = __atomic_load_n(&r->avail->idx, __ATOMIC_ACQUIRE);
        ready = (uint16_t)(r->avail_seen - pos);
        /* From last_avail, not pos: chains between them are still ours. */
        if (VS_UNLIKELY((uint16_t)(r->avail_seen - r->last_avail) > r->size)) {
            vs_vring_break(r, VS_CHAIN_AVAIL);
            ready = 0;
        }
    }
    unsigned n = VS_MIN((unsigned)ready, max);
    n = VS_MIN(n, (unsigned)VS_BATCH);
    w->start = pos;
    for (unsigned i = 0; i < n; i++) {
        uint16_t head = load16(&r->avail->ring[(pos + i) & r->mask]);
        if (VS_UNLIKELY(head >= r->size)) {
            if (i == 0)
                vs_vring_break(r, VS_CHAIN_HEAD); /* else: when its turn comes, with the good ones done */
            n = i;
            break;
        }
        w->head[i] = head;
        VS_PREFETCH(&r->desc[head]);
    }
    for (unsigned i = 0; i < n; i++) {
        struct vs_desc d = load_desc(&r->desc[w->head[i]]);
        w->desc[i] = d;
        w->len[i] = d.len;
        w->host[i] = vs_gpa_translate(r->mem, &r->hint, (vs_gpa){d.addr}, &w->len[i]);
        if (VS_UNLIKELY(w->host[i] == NULL))
            continue;
        if ((d.flags & VS_DESC_WRITE) !=
            0) { /* ours to write: one transfer of the line, not a read and an upgrade */
            VS_PREFETCH_W(w->host[i]);
            VS_PREFETCH_W(w->host[i] + VS_CACHE_LINE);
        } else {
            VS_PREFETCH(w->host[i]);
            VS_PREFETCH(w->host[i] + VS_CACHE_LINE);
        }
    }
    w->n = (uint16_t)n;
    return n;
}

/* Where the next descriptor of a chain is read: the ring's table or an indirect one. */
struct table {
    const uint8_t *host; /* NULL: not contiguous, read piecewise at gpa */
    vs_gpa gpa;
    uint32_t n;
    bool indirect;
};

static bool table_read(struct vs_vring *r, const struct table *t, uint32_t i, struct vs_desc *d)
{
    if (VS_LIKELY(t->host != NULL)) {
        *d = load_desc(t->host + (size_t)i * sizeof *d);
        return true;
    }
    bool ok = vs_gpa_read(r->mem, &r->hint, (vs_gpa){t->gpa.v + (uint64_t)i * sizeof *d}, d, sizeof *d);
    __asm__ volatile("" ::: "memory");
    return ok;
}

/* Go into the indirect table that d names, and replace d by its first entry (section 2.7.5.3). */
static enum vs_chain_error enter_table(struct vs_vring *r, struct table *t, struct vs_desc *d)
{
    if (t->indirect)
        return VS_CHAIN_NESTED;
    if (!r->indirect || (d->flags & VS_DESC_NEXT) != 0)
        return VS_CHAIN_FLAGS;
    if (d->len == 0 || d->len % sizeof *d != 0 || d->len / sizeof *d > r->size)
        return VS_CHAIN_TABLE;
    uint32_t got = d->len;
    const uint8_t *host = vs_gpa_translate(r->mem, &r->hint, (vs_gpa){d->addr}, &got);
    *t = (struct table){
        .host = got == d->len ? host : NULL,
        .gpa = {d->addr},
        .n = d->len / (uint32_t)sizeof *d,
        .indirect = true,
    };
    return host != NULL && table_read(r, t, 0, d) ? VS_CHAIN_NONE : VS_CHAIN_TABLE;
}

/* Translate one buffer into pieces: it may cross regions. */
static enum vs_chain_error add_buffer(struct vs_vring *r, const struct vs_desc *d, struct vs_chain *c)
{
    vs_gpa a = {d->addr};
    uint32_t left = d->len;
    if (left == 0)
        return VS_CHAIN_EMPTY;
    if (left > VS_CHAIN_BYTES - c->total)
        return VS_CHAIN_LENGTH;
    c->total += left;
    while (left > 0) {
        uint32_t part = left;
        uint8_t *host = vs_gpa_translate(r->mem, &r->hint, a, &part);
        if (host == NULL)
            return VS_CHAIN_ADDRESS;
        if (c->n == VS_MAX_PIECES)
            return VS_CHAIN_PIECES;
        c->p[c->n++] = (struct vs_piece){.data = host, .len = part};
        a.v += part;
        left -= part;
    }
    return VS_CHAIN_NONE;
}

enum vs_chain_error vs_vring_walk(struct vs_vring *r, const struct vs_window *w, unsigned i, uint16_t write,
                                  struct vs_chain *c)
{
    struct table t = {.host = (const uint8_t *)r->desc, .n = r->size};
    struct vs_desc d = w->desc[i];
    enum vs_chain_error error;
    c->n = 0;
    c->total = 0;
    for (uint32_t steps = 0;; steps++) {
        if ((d.flags & ~(VS_DESC_NEXT | VS_DESC_WRITE | VS_DESC_INDIRECT)) != 0)
            return VS_CHAIN_FLAGS;
        if ((d.flags & VS_DESC_INDIRECT) != 0) {
            error = enter_table(r, &t, &d);
            if (error != VS_CHAIN_NONE)
                return error;
            continue;
        }
        /* Section 2.7.5.3.1: a chain, its indirect part included, is never longer than the queue. */
        if (steps > r->size)
            return VS_CHAIN_LOOP;
        if ((d.flags & VS_DESC_WRITE) != write)
            return VS_CHAIN_DIRECTION;
        error = add_buffer(r, &d, c);
        if (error != VS_CHAIN_NONE)
            return error;
        if ((d.flags & VS_DESC_NEXT) == 0)
            return VS_CHAIN_NONE;
        if (d.next >= t.n)
            return VS_CHAIN_NEXT;
        if (!table_read(r, &t, d.next, &d))
            return VS_CHAIN_TABLE;
    }
}

void vs_vring_flush(struct vs_vring *r)
{
    uint16_t old = r->used_published, new = r->used_idx;
    if (old == new)
        return;
    vs_count(&r->stats->chains, (uint16_t)(new - old));
    r->used_published = new;
    /* Release: used elements and the bytes of the buffers are there before the index says so (section 2.7.8). */
    __atomic_store_n(&r->used->idx, new, __ATOMIC_RELEASE);
    int fd = atomic_load_explicit(&r->call_fd, memory_order_relaxed);
    if (fd < 0)
        return;
    /* The index is visible before we look whether the driver wants to hear of it; the driver does it the other way
     * round (section 2.7.7.2). */
    atomic_thread_fence(memory_order_seq_cst);
    bool wanted;
    if (r->event_idx)
        wanted = (uint16_t)(new - load16(r->used_event) - 1) < (uint16_t)(new - old);
    else
        wanted = (load16(&r->avail->flags) & AVAIL_F_NO_INTERRUPT) == 0;
    vs_count(wanted ? &r->stats->kicks_sent : &r->stats->kicks_suppressed, 1);
    if (wanted)
        signal_fd(fd);
}

int vs_vring_arm(struct vs_vring *r)
{
    if (atomic_load_explicit(&r->broken, memory_order_relaxed) != 0)
        return 0;
    if (r->kick_fd < 0)
        return 1; /* the front-end told us to poll */
    if (r->event_idx)
        __atomic_store_n(r->avail_event, r->last_avail, __ATOMIC_RELAXED);
    else
        __atomic_store_n(&r->used->flags, (uint16_t)0, __ATOMIC_RELAXED);
    atomic_thread_fence(
        memory_order_seq_cst); /* the wish is visible before we look once more (section 2.7.10.1) */
    return load16(&r->avail->idx) != r->last_avail;
}

void vs_vring_disarm(struct vs_vring *r)
{
    uint64_t count;
    quiet(r);
    if (r->kick_fd >= 0 && read(r->kick_fd, &count, sizeof count) < 0)
        return; /* nothing to drain */
}
