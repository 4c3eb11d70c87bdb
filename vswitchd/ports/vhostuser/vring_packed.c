/* vring_packed.c: the packed virtqueue: taking, publishing, notifications; see vring.h. Section numbers are of VIRTIO 1.2, 2.8. */
#include "vring_ahead.h"

enum {
    F_AVAIL = 1 << 7, /* VIRTQ_DESC_F_AVAIL, VIRTQ_DESC_F_USED */
    F_USED = 1 << 15,
    EVENT_ENABLE = 0, /* RING_EVENT_FLAGS_*, section 2.8.10 */
    EVENT_DISABLE = 1,
    EVENT_DESC = 2,
};

static inline uint16_t load16(const uint16_t *p)
{
    return __atomic_load_n(p, __ATOMIC_RELAXED);
}

/* Section 2.8.1: available when the available bit is the wrap counter and the used bit is not. */
static inline bool available(uint16_t flags, uint16_t slot)
{
    return (flags & (F_AVAIL | F_USED)) == ((slot & VS_SLOT_WRAP) != 0 ? F_AVAIL : F_USED);
}

static inline struct vs_packed_desc *at(const struct vs_vring *r, uint16_t slot)
{
    return &r->slots[slot & VS_SLOT_INDEX];
}

bool vs_packed_ready(const struct vs_vring *r, uint16_t slot)
{
    /* Acquire: the rest of the chain is read after the flags that made it available (section 2.8.21.1). */
    return available(__atomic_load_n(&at(r, slot)->flags, __ATOMIC_ACQUIRE), slot);
}

bool vs_packed_watch(const struct vs_vring *r, struct vs_watch *watch)
{
    const uint16_t *flags = &at(r, r->slot)->flags;
    uint16_t now = load16(flags) & (F_AVAIL | F_USED);
    *watch = (struct vs_watch){.word = flags, .mask = F_AVAIL | F_USED, .value = now};
    return !available(now, r->slot);
}

/* How many descriptors the list that starts at `slot` has, and the buffer id, which stands in the last one (section 2.8.6). 0: more than
 * `most` or VS_LIST_MAX. The driver made the whole list available by its first flags, so the others are not looked at for that. */
static uint16_t measure(const struct vs_vring *r, uint16_t slot, uint32_t most, uint16_t *id)
{
    for (uint32_t n = 1; n < VS_MIN(most, (uint32_t)VS_LIST_MAX); n++) {
        const struct vs_packed_desc *d = at(r, vs_slot_add(r, slot, n));
        uint16_t flags = load16(&d->flags);
        if ((flags & VS_DESC_NEXT) == 0) {
            *id = load16(&d->id);
            return (uint16_t)(n + 1);
        }
    }
    return 0;
}

unsigned vs_packed_fetch(struct vs_vring *r, struct vs_window *w, uint16_t pos, unsigned max)
{
    uint16_t slot = pos == r->last_avail ? r->slot : w->next_slot;
    uint32_t budget =
        r->size; /* descriptors of one window: no guest makes us read more than a ring's worth */
    unsigned n = VS_MIN(max, (unsigned)VS_BATCH), first_missing = VS_BATCH, i = 0, asked = 0;
    w->start = pos;
    for (; i < n && vs_packed_ready(r, slot); i++) {
        struct vs_desc d = vs_desc_load(at(r, slot)); /* its flags come last: in `next` */
        uint16_t flags = d.next & (VS_DESC_NEXT | VS_DESC_WRITE | VS_DESC_INDIRECT), id = d.flags, count = 1;
        if (VS_UNLIKELY((flags & VS_DESC_NEXT) != 0))
            count = measure(r, slot, budget, &id);
        if (VS_UNLIKELY(count == 0 || count > budget)) {
            if (i == 0)
                vs_vring_break(r, VS_CHAIN_LOOP); /* where the next list begins cannot be known */
            break;
        }
        budget -= count;
        w->token[i] = (struct vs_token){.id = id, .slot = slot, .count = count};
        w->desc[i] = (struct vs_desc){.addr = d.addr, .len = d.len, .flags = flags};
        w->len[i] = d.len;
        w->host[i] = vs_vring_translate(r, d.addr, flags & VS_DESC_WRITE, &w->len[i]);
        if (VS_LIKELY(w->host[i] != NULL))
            vs_vring_prefetch(w->host[i], flags);
        else if (r->iotlb != NULL &&
                 d.len != 0) { /* not known yet: it and what follows must wait; asked for are all */
            first_missing = VS_MIN(first_missing, i);
            asked += vs_vring_ask_cost(d.len);
            if (asked > VS_ASK_BUDGET)
                break;
        }
        slot = vs_slot_add(r, slot, count);
    }
    if (first_missing < i) {
        slot = w->token[first_missing].slot;
        i = first_missing;
    }
    w->next_slot = slot;
    w->n = (uint16_t)i;
    return i;
}

/* Keep usual chains from number `pos` and *slot to `end`; returns where they end. */
VS_ALWAYS_INLINE uint16_t look(struct vs_vring *r, uint16_t pos, uint16_t end, uint16_t *slot, bool write)
{
    struct vs_ahead a = vs_ahead_of(r);
    const struct vs_packed_desc *slots = r->slots;
    uint32_t index = *slot & (uint32_t)VS_SLOT_INDEX, wrap = *slot & (uint32_t)VS_SLOT_WRAP, size = r->size;
    uint32_t usual = (wrap != 0 ? F_AVAIL : F_USED) | (write ? VS_DESC_WRITE : 0);
    for (; pos != end; pos++) {
        const struct vs_packed_desc *d = &slots[index];
        /* Acquire: the rest is read after the flags that made it available (section 2.8.21.1), and not believed to be one. */
        if (__atomic_load_n(&d->flags, __ATOMIC_ACQUIRE) != usual)
            break;
        uint64_t addr = __atomic_load_n(&d->addr, __ATOMIC_RELAXED);
        uint32_t len = __atomic_load_n(&d->len, __ATOMIC_RELAXED);
        uint16_t id = __atomic_load_n(&d->id, __ATOMIC_RELAXED);
        if (VS_UNLIKELY(!vs_ahead_keep(&a, pos, addr, len, id, (uint16_t)(index | wrap), write)))
            break;
        if (VS_UNLIKELY(++index == size)) {
            index = 0;
            wrap ^= VS_SLOT_WRAP;
            usual ^= F_AVAIL | F_USED;
        }
    }
    *slot = (uint16_t)(index | wrap);
    return pos;
}

/* When a whole batch is kept, the slots behind it are probably ready, too, and will be written when their turn comes: send for them now. */
static void send_for(const struct vs_vring *r)
{
    if ((uint16_t)(r->ahead_end - r->last_avail) != VS_BATCH || r->size < 2 * VS_BATCH)
        return;
    for (unsigned i = 0; i < VS_BATCH; i += VS_CACHE_LINE / sizeof(struct vs_packed_desc))
        VS_PREFETCH_W(at(r, vs_slot_add(r, r->ahead_slot, i)));
}

unsigned vs_packed_ahead(struct vs_vring *r, unsigned most, bool fresh)
{
    uint16_t pos = r->ahead_end, known = (uint16_t)(pos - r->last_avail);
    most = VS_MIN(most, r->size);
    if (known >= most)
        return most;
    (void)fresh; /* each descriptor says itself whether it is ready */
    uint16_t end = (uint16_t)(r->last_avail + most);
    r->ahead_end = r->direction != 0 ? look(r, pos, end, &r->ahead_slot, true)
                                     : look(r, pos, end, &r->ahead_slot, false);
    if (!fresh)
        send_for(r);
    return (uint16_t)(r->ahead_end - r->last_avail);
}

void vs_packed_push_run(struct vs_vring *r, unsigned n, const uint32_t *used)
{
    const struct vs_usual *kept = r->ahead;
    struct vs_packed_desc *slots = r->slots;
    uint32_t pos = r->last_avail, i = 0;
    /* The first one of what is published together waits for the flush; a record is told of each before it is written. */
    for (; i < n && (r->inflight != NULL || r->used_idx == r->used_published); i++, pos++) {
        const struct vs_usual *u = &kept[pos % VS_BATCH];
        struct vs_token t = {.id = u->id, .slot = u->slot, .count = 1};
        vs_packed_push(r, &t, used != NULL ? used[i] : 0);
        r->used_idx++;
    }
    for (; i < n; i++, pos++) {
        const struct vs_usual *u = &kept[pos % VS_BATCH];
        struct vs_token t = {.id = u->id, .slot = u->slot, .count = 1};
        uint64_t word = vs_packed_used(&t, used != NULL ? used[i] : 0);
        __atomic_store_n((uint64_t *)(void *)&slots[u->slot & VS_SLOT_INDEX].len, word, __ATOMIC_RELAXED);
    }
    r->used_idx = (uint16_t)pos;
    __atomic_store_n(&r->slot, (uint16_t)pos == r->ahead_end ? r->ahead_slot : kept[pos % VS_BATCH].slot,
                     __ATOMIC_RELAXED);
    __atomic_store_n(&r->last_avail, (uint16_t)pos, __ATOMIC_RELAXED);
}

/* Did we pass, going from `old` to the slot `new`, the one that the driver wants to hear of (section 2.8.10)? */
static bool passed(const struct vs_vring *r, uint16_t event, uint16_t old, uint16_t new)
{
    uint16_t size = (uint16_t)r->size;
    uint16_t now = new & VS_SLOT_INDEX, was = old & VS_SLOT_INDEX, mark = event & VS_SLOT_INDEX;
    /* On one line: what belongs to the lap before `new` lies one ring's length behind. */
    if ((old ^ new) & VS_SLOT_WRAP)
        was = (uint16_t)(was - size);
    if ((event ^ new) & VS_SLOT_WRAP)
        mark = (uint16_t)(mark - size);
    return (uint16_t)(now - mark - 1) < (uint16_t)(now - was);
}

static bool driver_listens(const struct vs_vring *r, uint16_t old, uint16_t new)
{
    uint16_t flags = load16(&r->driver_event->flags) & 3;
    if (flags == EVENT_DESC && r->event_idx)
        return passed(r, load16(&r->driver_event->off_wrap), old, new);
    return flags != EVENT_DISABLE;
}

void vs_packed_flush(struct vs_vring *r)
{
    uint16_t old = r->used_slot, new = r->slot;
    vs_count(&r->stats->chains, (uint16_t)(r->used_idx - r->used_published));
    if (VS_UNLIKELY(r->inflight != NULL))
        vs_inflight_publish(r, new);
    r->used_published = r->used_idx;
    r->used_slot = new;
    /* Release: used descriptors behind the first one, and the bytes of the buffers, are there before the driver, which looks
     * at them in order, can pass the first one (section 2.8.15). */
    __atomic_store_n(&at(r, old)->flags, r->first_flags, __ATOMIC_RELEASE);
    vs_vring_log(r, at(r, old), sizeof(struct vs_packed_desc)); /* after the write, or it is lost */
    if (VS_UNLIKELY(r->inflight != NULL))
        vs_inflight_published(r);
    int fd = atomic_load_explicit(&r->call_fd, memory_order_relaxed);
    if (fd < 0)
        return;
    /* The flags are visible before we look whether the driver wants to hear of them; it does it the other way round. */
    atomic_thread_fence(memory_order_seq_cst);
    bool wanted = driver_listens(r, old, new);
    vs_count(wanted ? &r->stats->kicks_sent : &r->stats->kicks_suppressed, 1);
    if (wanted)
        vs_vring_signal(fd);
}

static void wish(struct vs_vring *r, uint16_t flags)
{
    __atomic_store_n(&r->device_event->flags, flags,
                     __ATOMIC_RELEASE); /* off_wrap is there before it counts */
    vs_vring_log(r, r->device_event, sizeof *r->device_event);
}

int vs_packed_arm(struct vs_vring *r)
{
    if (r->event_idx)
        __atomic_store_n(&r->device_event->off_wrap, r->slot, __ATOMIC_RELAXED);
    wish(r, r->event_idx ? EVENT_DESC : EVENT_ENABLE);
    atomic_thread_fence(memory_order_seq_cst); /* the wish is visible before we look once more */
    return vs_packed_ready(r, r->slot);
}

void vs_packed_disarm(struct vs_vring *r)
{
    wish(r, EVENT_DISABLE);
}
