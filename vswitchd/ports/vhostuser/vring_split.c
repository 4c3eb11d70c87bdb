/* vring_split.c: the split virtqueue: taking, publishing, notifications; see vring.h. Section numbers are of VIRTIO 1.2. */
#include "vring_ahead.h"

enum {
    USED_F_NO_NOTIFY = 1,
    AVAIL_F_NO_INTERRUPT = 1,
};

static inline uint16_t load16(const uint16_t *p)
{
    return __atomic_load_n(p, __ATOMIC_RELAXED);
}

/* Copy the heads of the window; cut it at one that is out of range. */
static unsigned copy_heads(struct vs_vring *r, struct vs_window *w, uint16_t pos, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        uint16_t head = load16(&r->avail->ring[(pos + i) & r->mask]);
        if (VS_UNLIKELY(head >= r->size)) {
            if (i == 0)
                vs_vring_break(r, VS_CHAIN_HEAD); /* else: when its turn comes, with the good ones done */
            return i;
        }
        w->token[i] = (struct vs_token){.id = head, .slot = head, .count = 1};
        VS_PREFETCH(&r->desc[head]);
    }
    return n;
}

/* How many chains are ready from number `pos` on; when that is less than `wanted`, as the driver says now. Breaks the ring. */
static uint16_t ready_from(struct vs_vring *r, uint16_t pos, unsigned wanted)
{
    uint16_t ready = (uint16_t)(r->avail_seen - pos);
    if (ready >= wanted)
        return ready;
    /* Acquire: ring entries and descriptors are read after the index that made them available (section 2.7.13.2). */
    uint16_t seen = __atomic_load_n(&r->avail->idx, __ATOMIC_ACQUIRE);
    /* From last_avail: chains between it and pos are still ours. From pos: the index does not go back behind what was looked at. */
    if (VS_UNLIKELY((uint16_t)(seen - r->last_avail) > r->size || (uint16_t)(seen - pos) > r->size)) {
        vs_vring_break(r, VS_CHAIN_AVAIL);
        return 0;
    }
    r->avail_seen = seen;
    return (uint16_t)(seen - pos);
}

/* Keep usual chains from number `pos` to `end`; returns where they end. */
VS_ALWAYS_INLINE uint16_t look(struct vs_vring *r, uint16_t pos, uint16_t end, bool write)
{
    struct vs_ahead a = vs_ahead_of(r);
    const uint16_t *ring = r->avail->ring;
    const struct vs_desc *table = r->desc;
    uint32_t mask = r->mask;
    for (; pos != end; pos++) {
        uint16_t head = load16(&ring[pos & mask]);
        if (VS_UNLIKELY(head > mask))
            break;
        const uint64_t *from = (const uint64_t *)(const void *)&table[head];
        uint64_t addr = __atomic_load_n(&from[0], __ATOMIC_RELAXED);
        uint64_t rest = __atomic_load_n(&from[1], __ATOMIC_RELAXED); /* len, flags, next */
        if (VS_UNLIKELY((uint16_t)(rest >> 32) != (write ? VS_DESC_WRITE : 0)) ||
            VS_UNLIKELY(!vs_ahead_keep(&a, pos, addr, (uint32_t)rest, head, 0, write)))
            break;
    }
    return pos;
}

/* Send for what the batch behind the one that is kept will need: its descriptors, which drivers mostly hand out in a row, as far as they are known to be
 * ready (the others the driver is about to write); and for the used elements of the batch that is kept, but for those that may
 * share a line with elements that the driver is reading. */
static void send_for(struct vs_vring *r)
{
    uint16_t end = r->ahead_end;
    unsigned ready = VS_MIN((unsigned)(uint16_t)(r->avail_seen - end), (unsigned)VS_BATCH);
    uint32_t next = r->ahead[(uint16_t)(end - 1) % VS_BATCH].id + 1u;
    for (unsigned i = 0; i < ready; i += VS_CACHE_LINE / sizeof(struct vs_desc))
        VS_PREFETCH(&r->desc[(next + i) & r->mask]);
    if (r->in_order && r->direction == 0)
        return;
    uint16_t pos = (uint16_t)(r->last_avail + VS_CACHE_LINE / sizeof(struct vs_used_elem));
    for (; (int16_t)(end - pos) > 0; pos = (uint16_t)(pos + VS_CACHE_LINE / sizeof(struct vs_used_elem)))
        VS_PREFETCH_W(&r->used->ring[pos & r->mask]);
}

unsigned vs_split_ahead(struct vs_vring *r, unsigned most, bool fresh)
{
    uint16_t pos = r->ahead_end, known = (uint16_t)(pos - r->last_avail);
    if (known >= most)
        return most;
    unsigned ready = ready_from(r, pos, fresh ? most - known : 0);
    uint16_t end = (uint16_t)(pos + VS_MIN(ready, most - known));
    r->ahead_end = r->direction != 0 ? look(r, pos, end, true) : look(r, pos, end, false);
    if (!fresh)
        send_for(r);
    return (uint16_t)(r->ahead_end - r->last_avail);
}

/* One store for an element; its fields are little endian, as the ring is (section 2.7.8). */
VS_ALWAYS_INLINE void put_element(struct vs_used_elem *to, uint32_t id, uint64_t len)
{
    uint64_t element = id | len << 32;
    memcpy(to, &element, sizeof element);
}

void vs_split_push_run(struct vs_vring *r, unsigned n, const uint32_t *used)
{
    const struct vs_usual *kept = r->ahead;
    struct vs_used_elem *ring = r->used->ring;
    uint32_t pos = r->last_avail, end = pos + n, mask = r->mask;
    if (used != NULL)
        for (; pos != end; pos++)
            put_element(&ring[pos & mask], kept[pos % VS_BATCH].id, *used++);
    else if (r->in_order)
        put_element(&ring[pos & mask], kept[(end - 1) % VS_BATCH].id, 0);
    else
        for (; pos != end; pos++)
            put_element(&ring[pos & mask], kept[pos % VS_BATCH].id, 0);
    r->used_idx = (uint16_t)end;
    __atomic_store_n(&r->last_avail, (uint16_t)end, __ATOMIC_RELAXED);
}

unsigned vs_split_fetch(struct vs_vring *r, struct vs_window *w, uint16_t pos, unsigned max)
{
    uint16_t ready = ready_from(r, pos, max);
    unsigned n = VS_MIN(VS_MIN((unsigned)ready, max), (unsigned)VS_BATCH);
    unsigned first_missing = VS_BATCH, asked = 0;
    w->start = pos;
    n = copy_heads(r, w, pos, n);
    for (unsigned i = 0; i < n; i++) {
        struct vs_desc d = vs_desc_load(&r->desc[w->token[i].id]);
        w->desc[i] = d;
        w->len[i] = d.len;
        w->host[i] = vs_vring_translate(r, d.addr, d.flags & VS_DESC_WRITE, &w->len[i]);
        if (VS_LIKELY(w->host[i] != NULL))
            vs_vring_prefetch(w->host[i], d.flags);
        else if (r->iotlb != NULL &&
                 d.len != 0) { /* not known yet: it and what follows must wait; asked for are all */
            first_missing = VS_MIN(first_missing, i);
            asked += vs_vring_ask_cost(d.len);
            if (asked > VS_ASK_BUDGET)
                break;
        }
    }
    w->n = (uint16_t)VS_MIN(n, first_missing);
    return w->n;
}

void vs_split_flush(struct vs_vring *r)
{
    uint16_t old = r->used_published, new = r->used_idx;
    vs_count(&r->stats->chains, (uint16_t)(new - old));
    r->used_published = new;
    /* Release: used elements and the bytes of the buffers are there before the index says so (section 2.7.8). */
    __atomic_store_n(&r->used->idx, new, __ATOMIC_RELEASE);
    vs_vring_log(r, &r->used->idx, sizeof r->used->idx);
    if (VS_UNLIKELY(r->inflight != NULL))
        vs_inflight_published(r);
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
        vs_vring_signal(fd);
}

int vs_split_arm(struct vs_vring *r)
{
    if (r->event_idx) {
        __atomic_store_n(r->avail_event, r->last_avail, __ATOMIC_RELAXED);
        vs_vring_log(r, r->avail_event, sizeof *r->avail_event);
    } else {
        __atomic_store_n(&r->used->flags, (uint16_t)0, __ATOMIC_RELAXED);
        vs_vring_log(r, &r->used->flags, sizeof r->used->flags);
    }
    atomic_thread_fence(
        memory_order_seq_cst); /* the wish is visible before we look once more (section 2.7.10.1) */
    return load16(&r->avail->idx) != r->last_avail;
}

void vs_split_disarm(struct vs_vring *r)
{
    /* With EVENT_IDX the stale avail_event is as good as a flag: it fires once in 65536 buffers. */
    if (r->event_idx)
        return;
    __atomic_store_n(&r->used->flags, (uint16_t)USED_F_NO_NOTIFY, __ATOMIC_RELAXED);
    vs_vring_log(r, &r->used->flags, sizeof r->used->flags);
}
