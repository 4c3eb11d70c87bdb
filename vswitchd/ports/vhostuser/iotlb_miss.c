/* iotlb_miss.c: the list of pages that a guest's IOMMU was not asked for yet, or did not answer; see iotlb.h. */
#include <unistd.h>

#include "iotlb_internal.h"

static void ring_bell(struct vs_iotlb *t)
{
    static const uint64_t one = 1;
    if (vs_iotlb_bell(t) >= 0 && write(vs_iotlb_bell(t), &one, sizeof one) < 0)
        return; /* EAGAIN: it is readable already */
}

/* Under the lock, the list is not full. Returns whether the page is news to the control thread. */
static bool add(struct vs_iotlb *t, uint64_t page, uint32_t perm)
{
    for (unsigned i = 0; i < t->n_wanted; i++) {
        struct vs_iotlb_want *w = &t->wanted[i];
        if (w->page != page)
            continue;
        if ((perm & ~w->perm) == 0)
            return false;
        *w = (struct vs_iotlb_want){.page = page, .perm = w->perm | perm};
        return true;
    }
    t->wanted[t->n_wanted++] = (struct vs_iotlb_want){.page = page, .perm = perm};
    return true;
}

bool vs_iotlb_note(struct vs_iotlb *t, const uint64_t *pages, unsigned n, uint32_t perm)
{
    bool news = false;
    if (atomic_flag_test_and_set_explicit(&t->lock.held, memory_order_acquire))
        return false;
    /* When it is full, whoever waits looks again once there is room: a list that a guest filled up is not searched for each page. */
    for (unsigned i = 0; i < n && t->n_wanted < VS_IOTLB_MISSES; i++)
        news |= add(t, pages[i], perm);
    news = news && !t->rung;
    t->rung |= news;
    vs_spin_unlock(&t->lock);
    if (news)
        ring_bell(t);
    return true;
}

/* Under the lock. */
static void forget(struct vs_iotlb *t, unsigned i)
{
    memmove(&t->wanted[i], &t->wanted[i + 1], (--t->n_wanted - i) * sizeof t->wanted[0]);
}

static bool is_fine(const struct vs_iotlb *t, uint64_t region)
{
    for (unsigned i = 0; i < VS_IOTLB_FINE; i++)
        if (t->fine[i] == region + 1)
            return true;
    return false;
}

/* Under the lock. Is a question about the same huge page under way, whose answer may be all that is wanted? A guest with huge pages would
 * be asked about each of the 512 pages in them; one without is found out by its first answer. */
static bool held_back(const struct vs_iotlb *t, const struct vs_iotlb_want *w)
{
    uint64_t region = w->page >> VS_IOTLB_REGION_SHIFT;
    if (is_fine(t, region))
        return false;
    for (unsigned i = 0; i < t->n_wanted; i++)
        if (t->wanted[i].told && t->wanted[i].page >> VS_IOTLB_REGION_SHIFT == region)
            return true;
    return false;
}

/* Under the lock. An answer of less than a huge page: there are small ones in its region. */
static void note_fine(struct vs_iotlb *t, uint64_t iova, uint64_t last)
{
    uint64_t region = iova >> VS_IOTLB_REGION_SHIFT, size = UINT64_C(1) << VS_IOTLB_REGION_SHIFT;
    if (last >> VS_IOTLB_REGION_SHIFT == region && last - iova < size - 1 && !is_fine(t, region))
        t->fine[t->next_fine++ % VS_IOTLB_FINE] = region + 1;
}

unsigned vs_iotlb_settle(struct vs_iotlb *t, uint64_t iova, uint64_t last, uint32_t granted)
{
    unsigned before;
    vs_spin_lock(&t->lock);
    before = t->n_wanted;
    note_fine(t, iova, last);
    for (unsigned i = 0; i < t->n_wanted;) {
        const struct vs_iotlb_want *w = &t->wanted[i];
        if (w->page <= last && iova <= w->page + (VS_IOTLB_PAGE - 1) && (w->perm & ~granted) == 0)
            forget(t, i);
        else
            i++;
    }
    unsigned gone = before - t->n_wanted;
    bool more = gone > 0 && t->n_wanted > 0 && !t->rung; /* what was held back may be asked now */
    t->rung |= more;
    vs_spin_unlock(&t->lock);
    if (more)
        ring_bell(t);
    return gone;
}

unsigned vs_iotlb_collect(struct vs_iotlb *t, struct vs_iotlb_miss *to, unsigned n)
{
    const struct vs_iotlb_snapshot *s = atomic_load_explicit(&t->snapshot, memory_order_relaxed);
    uint64_t count;
    unsigned got = 0;
    if (vs_iotlb_bell(t) >= 0 && read(vs_iotlb_bell(t), &count, sizeof count) < 0)
        count = 0; /* nobody rang: there may be some all the same */
    vs_spin_lock(&t->lock);
    t->rung = false;
    for (unsigned i = 0; i < t->n_wanted;) {
        struct vs_iotlb_want *w = &t->wanted[i];
        /* Noted by a core that saw an older snapshot. Its ring looks again anyway: the turn went on. */
        if (!w->told && vs_iotlb_covers(s, w->page, w->page + (VS_IOTLB_PAGE - 1), w->perm)) {
            forget(t, i);
            continue;
        }
        bool ask = !w->told && !held_back(t, w);
        if (ask && got == n) {
            t->rung = true;
            break;
        }
        if (ask) {
            to[got++] = (struct vs_iotlb_miss){.iova = w->page, .perm = w->perm};
            w->told = 1;
            w->age = 0;
            w->tries++;
        }
        i++;
    }
    bool more = t->rung;
    vs_spin_unlock(&t->lock);
    t->asked += got;
    if (more)
        ring_bell(t);
    return got;
}

unsigned vs_iotlb_retry(struct vs_iotlb *t)
{
    unsigned again = 0, gone = 0;
    vs_spin_lock(&t->lock);
    for (unsigned i = 0; i < t->n_wanted;) {
        struct vs_iotlb_want *w = &t->wanted[i];
        if (w->told && w->age++ > 0) {
            if (w->tries >= VS_IOTLB_TRIES) {
                forget(t, i);
                gone++;
                continue;
            }
            w->told = 0;
        }
        again += w->told == 0;
        i++;
    }
    t->rung |= again > 0;
    vs_spin_unlock(&t->lock);
    if (again > 0)
        ring_bell(t);
    if (gone > 0)
        vs_iotlb_next_turn(t);
    return again;
}
