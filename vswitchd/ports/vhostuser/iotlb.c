/* iotlb.c: translations behind a vIOMMU: making new snapshots; see iotlb.h. Looking up stands in iotlb_search.c, the list of
 * misses in iotlb_miss.c. */
#include "iotlb_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "qsbr.h"

enum {
    DEFERRED_MAX = 64
}; /* old snapshots that wait for their grace period; then the control thread waits */

static const struct vs_iotlb_snapshot empty = {.n = 0};

/* ---- changing ------------------------------------------------------------------------------------------------------ */

static struct vs_iotlb_snapshot *snapshot_new(size_t entries)
{
    struct vs_iotlb_snapshot *s = malloc(sizeof *s + entries * sizeof s->e[0]);
    if (s != NULL)
        s->n = 0;
    return s;
}

/* Copy all but [iova, last], which may cut entries. Room for two more than there are. Returns whether anything was left out. */
static bool copy_without(struct vs_iotlb_snapshot *to, const struct vs_iotlb_snapshot *from, uint64_t iova,
                         uint64_t last)
{
    bool cut = false;
    for (uint32_t i = 0; i < from->n; i++) {
        struct vs_iotlb_entry e = from->e[i], tail = e;
        if (e.last < iova || e.iova > last) {
            to->e[to->n++] = e;
            continue;
        }
        cut = true;
        if (e.iova < iova) {
            e.last = iova - 1;
            to->e[to->n++] = e;
        }
        if (tail.last > last) {
            tail.host += last + 1 - tail.iova;
            tail.iova = last + 1;
            to->e[to->n++] = tail;
        }
    }
    return cut;
}

/* Put sorted pieces, which overlap nothing, where they belong. */
static void insert(struct vs_iotlb_snapshot *s, const struct vs_iotlb_entry *pieces, uint32_t n)
{
    uint32_t at = 0;
    while (at < s->n && s->e[at].iova < pieces[0].iova)
        at++;
    memmove(&s->e[at + n], &s->e[at], (s->n - at) * sizeof s->e[0]);
    memcpy(&s->e[at], pieces, n * sizeof s->e[0]);
    s->n += n;
}

/* Entries that were updated longest ago go. */
static bool evict(struct vs_iotlb *t, struct vs_iotlb_snapshot *s)
{
    bool any = s->n > VS_IOTLB_ENTRIES;
    while (s->n > VS_IOTLB_ENTRIES) {
        uint32_t oldest = 0;
        for (uint32_t i = 1; i < s->n; i++)
            if (s->e[i].stamp < s->e[oldest].stamp)
                oldest = i;
        memmove(&s->e[oldest], &s->e[oldest + 1], (--s->n - oldest) * sizeof s->e[0]);
        t->evictions++;
    }
    return any;
}

static void raise_by_one(_Atomic uint64_t *number)
{
    atomic_store_explicit(number, atomic_load_explicit(number, memory_order_relaxed) + 1,
                          memory_order_release);
}

void vs_iotlb_next_turn(struct vs_iotlb *t)
{
    raise_by_one(&t->clock.turn);
}

static void drop(void *snapshot)
{
    free(snapshot);
}

/* Snapshot first, then generation, then turn: who sees a number of the clock sees at least the snapshot that it stands for. */
static void publish(struct vs_iotlb *t, const struct vs_iotlb_snapshot *fresh, bool taken_away)
{
    const struct vs_iotlb_snapshot *old = atomic_load_explicit(&t->snapshot, memory_order_relaxed);
    atomic_store_explicit(&t->snapshot, fresh, memory_order_release);
    if (taken_away)
        raise_by_one(&t->clock.generation);
    raise_by_one(&t->clock.turn);
    if (old != &empty)
        vs_qsbr_defer(&vs_qsbr, drop, (void *)(uintptr_t)old);
    vs_qsbr_reclaim(&vs_qsbr);
    if (vs_qsbr.n_deferred > DEFERRED_MAX) /* a storm of updates must not fill memory */
        vs_synchronize();
}

/* Cut the front-end's range into pieces of one region each. Returns how many, or -EFAULT. */
static int pieces_of(const struct vs_guest_mem *mem, struct vs_iotlb_entry to[VS_GUEST_REGIONS],
                     struct vs_iotlb_entry whole, uint64_t uva)
{
    int n = 0;
    for (;;) {
        const struct vs_guest_region *r = mem->regions;
        while (r < mem->regions + mem->n && uva - r->uva >= r->size)
            r++;
        if (r == mem->regions + mem->n)
            return -EFAULT;
        uint64_t left = whole.last - whole.iova, part = VS_MIN(left, r->size - 1 - (uva - r->uva));
        to[n] = whole;
        to[n].last = whole.iova + part;
        to[n++].host = r->host + (uva - r->uva);
        if (part == left)
            return n;
        whole.iova += part + 1;
        uva += part + 1;
    }
}

/* A front-end may answer the same question twice: nothing to do. */
static bool known_already(const struct vs_iotlb_snapshot *s, const struct vs_iotlb_entry *piece)
{
    uint32_t i = vs_iotlb_find(s, UINT32_MAX, piece->iova);
    return i < s->n && s->e[i].last >= piece->last && s->e[i].perm == piece->perm &&
           s->e[i].host + (piece->iova - s->e[i].iova) == piece->host;
}

int vs_iotlb_update(struct vs_iotlb *t, const struct vs_guest_mem *mem, uint64_t iova, uint64_t size,
                    uint64_t uva, uint32_t perm)
{
    struct vs_iotlb_entry pieces[VS_GUEST_REGIONS];
    struct vs_iotlb_entry whole = {
        .iova = iova, .last = iova + size - 1, .stamp = t->stamp + 1, .perm = perm};
    if (size == 0 || whole.last < iova || uva + size - 1 < uva || perm == 0 ||
        (perm & ~(uint32_t)(VS_IOTLB_READ | VS_IOTLB_WRITE)) != 0)
        return -EINVAL;
    int n = pieces_of(mem, pieces, whole, uva);
    if (n < 0)
        return n;
    const struct vs_iotlb_snapshot *old = atomic_load_explicit(&t->snapshot, memory_order_relaxed);
    if (n == 1 && known_already(old, &pieces[0])) {
        vs_iotlb_next_turn(t);
    } else {
        struct vs_iotlb_snapshot *fresh = snapshot_new((size_t)old->n + (size_t)n + 2);
        if (fresh == NULL)
            return -ENOMEM;
        bool replaced = copy_without(fresh, old, iova, whole.last);
        insert(fresh, pieces, (uint32_t)n);
        t->evicted |= evict(t, fresh);
        t->stamp++;
        publish(t, fresh, replaced);
    }
    t->updates++;
    vs_iotlb_settle(t, iova, whole.last, perm);
    return 0;
}

void vs_iotlb_invalidate(struct vs_iotlb *t, uint64_t iova, uint64_t size)
{
    uint64_t last = iova + size - 1 < iova ? UINT64_MAX : iova + size - 1;
    const struct vs_iotlb_snapshot *old = atomic_load_explicit(&t->snapshot, memory_order_relaxed);
    if (size == 0)
        return;
    t->invalidations++;
    unsigned gone = vs_iotlb_settle(t, iova, last, UINT32_MAX);
    struct vs_iotlb_snapshot *fresh = snapshot_new((size_t)old->n + 2);
    bool cut = fresh == NULL || copy_without(fresh, old, iova, last);
    if (!cut && !t->evicted) { /* nobody can know of it */
        free(fresh);
        if (gone > 0)
            vs_iotlb_next_turn(t);
        return;
    }
    t->evicted = false; /* from here on views remember nothing of before */
    if (fresh != NULL)
        evict(t, fresh);
    publish(t, fresh != NULL ? fresh : &empty, true); /* no memory: rather forget all than too little */
    vs_synchronize();
}

void vs_iotlb_clear(struct vs_iotlb *t)
{
    vs_iotlb_settle(t, 0, UINT64_MAX, UINT32_MAX);
    t->evicted = false;
    publish(t, &empty, true);
    vs_synchronize();
}

/* ---- life ---------------------------------------------------------------------------------------------------------- */

static void *line_alloc(size_t size)
{
    size = (size + VS_CACHE_LINE - 1) / VS_CACHE_LINE * VS_CACHE_LINE;
    void *p = aligned_alloc(VS_CACHE_LINE, size);
    if (p != NULL)
        memset(p, 0, size);
    return p;
}

struct vs_iotlb *vs_iotlb_new(void)
{
    struct vs_iotlb *t = line_alloc(sizeof *t);
    if (t == NULL)
        return NULL;
    atomic_store_explicit(&t->fd, -1, memory_order_relaxed);
    atomic_store_explicit(&t->clock.generation, 1, memory_order_relaxed);
    atomic_store_explicit(&t->clock.turn, 1, memory_order_relaxed);
    atomic_store_explicit(&t->snapshot, &empty, memory_order_relaxed);
    return t;
}

void vs_iotlb_free(struct vs_iotlb *t)
{
    if (t == NULL)
        return;
    const struct vs_iotlb_snapshot *s = atomic_load_explicit(&t->snapshot, memory_order_relaxed);
    if (s != &empty)
        free((void *)(uintptr_t)s);
    if (vs_iotlb_bell(t) >= 0)
        close(vs_iotlb_bell(t));
    free(t);
}

struct vs_iotlb_view *vs_iotlb_view_new(struct vs_iotlb *t, uint32_t ring)
{
    struct vs_iotlb_view *v = line_alloc(sizeof *v);
    if (v == NULL)
        return NULL;
    v->iotlb = t;
    v->clock = &t->clock;
    v->count = &t->count[ring % (2 * VS_MAX_RXQ)];
    return v;
}

void vs_iotlb_view_free(struct vs_iotlb_view *v)
{
    free(v);
}

int vs_iotlb_fd(struct vs_iotlb *t)
{
    if (vs_iotlb_bell(t) < 0) {
        int fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC); /* readable: there may be some already */
        atomic_store_explicit(&t->fd, fd < 0 ? -errno : fd, memory_order_relaxed);
    }
    return vs_iotlb_bell(t);
}

void vs_iotlb_stats_read(struct vs_iotlb *t, struct vs_iotlb_stats *to)
{
    *to = (struct vs_iotlb_stats){
        .entries = atomic_load_explicit(&t->snapshot, memory_order_relaxed)->n,
        .asked = t->asked,
        .updates = t->updates,
        .invalidations = t->invalidations,
        .evictions = t->evictions,
    };
    for (unsigned i = 0; i < 2 * VS_MAX_RXQ; i++) {
        to->hits += vs_count_read(&t->count[i].hits);
        to->misses += vs_count_read(&t->count[i].misses);
    }
    vs_spin_lock(&t->lock);
    to->pending = t->n_wanted;
    vs_spin_unlock(&t->lock);
}
