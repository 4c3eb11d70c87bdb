/* iotlb_search.c: looking up translations: searching the snapshot, what a view remembers, asking for what is missing; see iotlb.h. */
#include <errno.h>

#include "iotlb_internal.h"

enum { ASK_PAGES = 32 }; /* pages of one buffer that are asked for at once */

uint32_t vs_iotlb_find(const struct vs_iotlb_snapshot *s, uint32_t hint, uint64_t iova)
{
    if (hint < s->n && iova - s->e[hint].iova <= s->e[hint].last - s->e[hint].iova)
        return hint;
    /* Entries before `low` begin at or below iova, those from `high` on above it. */
    uint32_t low = 0, high = s->n;
    while (low < high) {
        uint32_t mid = (low + high) / 2;
        if (s->e[mid].iova <= iova)
            low = mid + 1;
        else
            high = mid;
    }
    return low > 0 && iova <= s->e[low - 1].last ? low - 1 : s->n;
}

bool vs_iotlb_covers(const struct vs_iotlb_snapshot *s, uint64_t iova, uint64_t last, uint32_t perm)
{
    uint32_t i = vs_iotlb_find(s, UINT32_MAX, iova);
    for (; i < s->n && (s->e[i].perm & perm) == perm; i++) {
        if (s->e[i].last >= last)
            return true;
        if (i + 1 == s->n || s->e[i + 1].iova != s->e[i].last + 1)
            return false;
    }
    return false;
}

enum asked {
    ASKED_NONE, /* nothing is missing */
    ASKED,
    ASK_AGAIN, /* the list was in use */
};

/* Note those of the first `max` pages of [iova, last] that are missing. */
static enum asked ask(struct vs_iotlb *t, const struct vs_iotlb_snapshot *s, uint64_t iova, uint64_t last,
                      uint32_t perm, unsigned max)
{
    uint64_t pages[VS_IOTLB_MISSES];
    unsigned n = 0;
    for (uint64_t from = iova; max > 0; max--) {
        uint64_t end = VS_MIN(from | (VS_IOTLB_PAGE - 1), last);
        if (!vs_iotlb_covers(s, from, end, perm))
            pages[n++] = from & ~(uint64_t)(VS_IOTLB_PAGE - 1);
        if (end == last)
            break;
        from = end + 1;
    }
    if (n == 0)
        return ASKED_NONE;
    return vs_iotlb_note(t, pages, n, perm) ? ASKED : ASK_AGAIN;
}

/* Bytes from `iova` on, which is in entry i, that lie in a row in our memory: at most a little more than `want`. *apart: what
 * follows is known, too, but elsewhere. */
static uint64_t in_a_row(const struct vs_iotlb_snapshot *s, uint32_t i, uint64_t iova, uint32_t perm,
                         uint64_t want, bool *apart)
{
    uint64_t got = s->e[i].last - iova + 1;
    *apart = false;
    for (; got < want && i + 1 < s->n; i++) {
        const struct vs_iotlb_entry *e = &s->e[i], *next = e + 1;
        if (next->iova != e->last + 1 || (next->perm & perm) != perm)
            break;
        if (next->host != e->host + (e->last - e->iova) + 1) {
            *apart = true;
            break;
        }
        got += next->last - next->iova + 1;
    }
    return got;
}

void vs_iotlb_forget(struct vs_iotlb_view *v, uint64_t generation)
{
    v->large.size = 0;
    memset(v->slots, 0, sizeof v->slots);
    v->generation = generation;
}

static void remember(struct vs_iotlb_view *v, const struct vs_iotlb_entry *e, uint64_t iova, uint32_t perm,
                     uint64_t got, bool apart)
{
    uint64_t ofs = iova % VS_IOTLB_PAGE, page = iova - ofs, size = e->last - e->iova + 1;
    uint64_t row = (ofs + got) / VS_IOTLB_PAGE;
    if (size >= VS_IOTLB_LARGE) {
        v->large.iova = e->iova;
        v->large.size = size;
        v->large.host = e->host;
        v->large.perm = e->perm;
    }
    if (page < e->iova || row == 0)
        return; /* an entry that begins or ends within the page */
    apart = apart && row <= VS_IOTLB_ROW && (ofs + got) % VS_IOTLB_PAGE == 0;
    row = VS_MIN(row, (uint64_t)VS_IOTLB_ROW);
    v->slots[page / VS_IOTLB_PAGE % VS_IOTLB_SLOTS] = (struct vs_iotlb_slot){
        .tag = page | row << VS_IOTLB_ROW_SHIFT | (apart ? VS_IOTLB_APART : 0) | perm,
        .host = e->host + (page - e->iova),
    };
}

/* A page whose neighbour is known to lie elsewhere: its bytes, when that is what the slot says. */
static uint8_t *apart_from_next(const struct vs_iotlb_slot *slot, uint64_t iova, uint32_t perm, uint32_t *len)
{
    const uint64_t row = (uint64_t)VS_IOTLB_ROW << VS_IOTLB_ROW_SHIFT;
    uint64_t ofs = iova % VS_IOTLB_PAGE;
    if ((slot->tag & ~row) != (iova - ofs) + VS_IOTLB_APART + perm)
        return NULL;
    *len = (uint32_t)((slot->tag & row) * (VS_IOTLB_PAGE >> VS_IOTLB_ROW_SHIFT) - ofs);
    return slot->host + ofs;
}

uint8_t *vs_iotlb_search(struct vs_iotlb_view *v, vs_iova a, uint32_t perm, uint32_t *len)
{
    struct vs_iotlb *t = v->iotlb;
    uint64_t want = *len;
    uint8_t *host = apart_from_next(&v->slots[a.v / VS_IOTLB_PAGE % VS_IOTLB_SLOTS], a.v, perm, len);
    if (host != NULL)
        return host;
    if (want == 0)
        return NULL;
    /* After the generation of the batch: what is remembered is never older than that. Pairs with publish. */
    const struct vs_iotlb_snapshot *s = atomic_load_explicit(&t->snapshot, memory_order_acquire);
    uint64_t last = a.v + want - 1 < a.v ? UINT64_MAX : a.v + want - 1, got = 0;
    uint32_t i = vs_iotlb_find(s, v->hint, a.v);
    bool apart = false, known = i < s->n && (s->e[i].perm & perm) == perm;
    if (known) {
        v->hint = i;
        got = in_a_row(s, i, a.v, perm, want, &apart);
        remember(v, &s->e[i], a.v, perm, got, apart);
    }
    if (got < want) {
        enum asked asked = ask(t, s, a.v + got, last, perm, ASK_PAGES);
        if (asked == ASK_AGAIN)
            v->turn = 0; /* nothing to wait for */
        if (asked != ASKED_NONE)
            atomic_store_explicit(&v->missed, v->turn, memory_order_relaxed);
    }
    vs_count(known ? &v->count->hits : &v->count->misses, 1);
    if (!known)
        return NULL;
    *len = (uint32_t)VS_MIN(got, want);
    return s->e[i].host + (a.v - s->e[i].iova);
}

uint8_t *vs_iotlb_range(struct vs_iotlb_view *v, vs_iova a, uint32_t perm, uint64_t len, int *error)
{
    struct vs_iotlb *t = v->iotlb;
    const struct vs_iotlb_snapshot *s = atomic_load_explicit(&t->snapshot, memory_order_acquire);
    uint64_t last = a.v + len - 1;
    bool apart;
    *error = -EFAULT;
    if (len == 0 || last < a.v)
        return NULL;
    uint32_t i = vs_iotlb_find(s, v->hint, a.v);
    if (i < s->n && (s->e[i].perm & perm) == perm && in_a_row(s, i, a.v, perm, len, &apart) >= len) {
        *error = 0;
        return s->e[i].host + (a.v - s->e[i].iova);
    }
    if (ask(t, s, a.v, last, perm, VS_IOTLB_MISSES) != ASKED_NONE)
        *error = -EAGAIN;
    return NULL;
}
