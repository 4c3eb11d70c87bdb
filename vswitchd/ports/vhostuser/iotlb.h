/* iotlb.h: translations of a guest behind a vIOMMU: I/O virtual addresses to our memory (vhost-user, IOMMU support).
 *
 * How it works: one IOTLB per port. Its entries are an immutable snapshot, sorted by IOVA, at most VS_IOTLB_ENTRIES of them; an update or an
 * invalidation makes a new snapshot, which replaces the old one, freed after a grace period. An entry holds OUR pointer: the
 * front-end's address was looked up in the memory table when it came. Each ring looks through a view of its own, which remembers
 * the last large entry and, by page, what was found: no search in the usual case. What a view remembers holds for one
 * `generation`, which goes on with everything that takes a translation away, not with new ones.
 * A lookup that finds nothing notes the missing pages, each once, and rings `fd`; the control thread collects the notes and asks
 * the front-end. The core goes on with other work: who looked it up gets NULL, and need not come back
 * before the `turn` goes on, which it does with every change. A note stays until an update grants what it needs, an
 * invalidation covers it, or nobody answered it VS_IOTLB_TRIES times; so a guest that names pages which do not exist
 * costs a bounded list and one message per page and second. When the list is full, who was not noted comes back after a change.
 * When the snapshot is full, the entries that were updated longest ago go: what was just asked for stays long enough to be used.
 *
 * Thread safety: lookups by the owner of the view; views are made and freed, and everything else is done, on the control thread.
 */
#ifndef VS_IOTLB_H
#define VS_IOTLB_H

#include "guest_mem.h"

enum {
    VS_IOTLB_ENTRIES = 2048,
    VS_IOTLB_MISSES = 256, /* pages asked for and not answered yet */
    VS_IOTLB_PAGE = 4096,  /* what is asked for; an answer may be larger or smaller */
    VS_IOTLB_TRIES = 8,    /* questions about one page, a second apart, before it is forgotten */
    VS_IOTLB_READ = 1,     /* permissions, as in struct vhost_iotlb_msg */
    VS_IOTLB_WRITE = 2,
};

struct vs_iotlb;
struct vs_iotlb_view; /* what one ring sees of it */

struct vs_iotlb_miss {
    uint64_t iova; /* of a page */
    uint32_t perm; /* VS_IOTLB_*: what the access needs */
    uint32_t pad;
};

struct vs_iotlb_stats {
    uint64_t entries;
    uint64_t hits;   /* searches that found something; what a view remembers is not searched for */
    uint64_t misses; /* searches that did not */
    uint64_t asked;  /* misses that were collected, repeated ones included */
    uint64_t pending;
    uint64_t updates;
    uint64_t invalidations;
    uint64_t evictions;
};

struct vs_iotlb *vs_iotlb_new(void); /* NULL: no memory */
/* Its views were freed, and a grace period went by. */
void vs_iotlb_free(struct vs_iotlb *t);
/* An eventfd that becomes readable when there are misses to collect, or -errno. Made by the first call. */
int vs_iotlb_fd(struct vs_iotlb *t);
/* Map `size` bytes at `iova` to the front-end's address `uva`, instead of what was there. 0, or, with nothing changed, -EFAULT when some of it is
 * not in the memory table, -EINVAL for no bytes, sums that wrap around or unknown permissions, -ENOMEM. When the cache is full, old entries go. */
int vs_iotlb_update(struct vs_iotlb *t, const struct vs_guest_mem *mem, uint64_t iova, uint64_t size,
                    uint64_t uva, uint32_t perm);
/* Forget [iova, iova + size), cut at 2^64; on return no core uses it (a grace period). */
void vs_iotlb_invalidate(struct vs_iotlb *t, uint64_t iova, uint64_t size);
/* Take up to n misses that nobody was told of yet. Returns how many. */
unsigned vs_iotlb_collect(struct vs_iotlb *t, struct vs_iotlb_miss *to, unsigned n);
/* Misses told before the call before and not answered since are to be collected again; returns how many. */
unsigned vs_iotlb_retry(struct vs_iotlb *t);
/* Forget everything, misses too; on return no core uses it. */
void vs_iotlb_clear(struct vs_iotlb *t);
void vs_iotlb_stats_read(struct vs_iotlb *t, struct vs_iotlb_stats *to);

#ifndef VS_CDEF
enum {
    VS_IOTLB_SLOTS = 2048, /* pages that a view remembers; as many as there may be entries */
    VS_IOTLB_LARGE = 1 << 16,
    VS_IOTLB_ROW = 511, /* pages in a row, at most; in bits 2 to 10 of a tag */
    VS_IOTLB_ROW_SHIFT = 2,
    VS_IOTLB_APART = 1 << 11, /* what follows the row is known to be elsewhere */
};

typedef struct {
    uint64_t v;
} vs_iova;

struct vs_iotlb_count;

/* Of one page. The tag is its IOVA; in the 12 low bits the permission, how many pages lie in a row in our memory, and VS_IOTLB_APART. */
struct vs_iotlb_slot {
    uint64_t tag; /* 0: none */
    uint8_t *host;
};
VS_ASSERT_SIZE(struct vs_iotlb_slot, 16);

/* What changed; written by the control thread. */
struct vs_iotlb_clock {
    _Atomic uint64_t generation; /* something was taken away. Raised after the new snapshot is published */
    _Atomic uint64_t turn;       /* anything changed: what is missing may be there, the list may have room */
};

struct vs_iotlb_view {
    struct vs_iotlb *iotlb;
    const struct vs_iotlb_clock *clock;
    struct { /* the last large entry */
        uint64_t iova;
        uint64_t size; /* 0: none */
        uint8_t *host;
        uint32_t perm;
    } large;
    uint32_t hint;           /* index into the snapshot; only a guess */
    uint64_t generation;     /* in which `large` and the slots were found, or later */
    uint64_t turn;           /* when the owner began to look */
    _Atomic uint64_t missed; /* the turn in which something was missing that the owner waits for; 0: none */
    struct vs_iotlb_count *count;
    struct vs_iotlb_slot slots[VS_IOTLB_SLOTS] VS_CACHE_ALIGNED;
};

/* A view for the ring of this number; NULL: no memory. */
struct vs_iotlb_view *vs_iotlb_view_new(struct vs_iotlb *t, uint32_t ring);
void vs_iotlb_view_free(struct vs_iotlb_view *v);

/* Search the snapshot: the slow part of vs_iotlb_translate. */
uint8_t *vs_iotlb_search(struct vs_iotlb_view *v, vs_iova a, uint32_t perm, uint32_t *len);

/* Where `*len` bytes at `a` are; *len is cut to what is contiguous. NULL: not known (yet), or no such permission; the
 * front-end is asked. Within a batch: see vs_iotlb_begin. `perm`: VS_IOTLB_READ or VS_IOTLB_WRITE, or both. */
VS_ALWAYS_INLINE uint8_t *vs_iotlb_translate(struct vs_iotlb_view *v, vs_iova a, uint32_t perm, uint32_t *len)
{
    uint64_t ofs = a.v - v->large.iova;
    if (ofs < v->large.size && *len <= v->large.size - ofs && (v->large.perm & perm) == perm)
        return v->large.host + ofs;
    const struct vs_iotlb_slot *s = &v->slots[a.v / VS_IOTLB_PAGE % VS_IOTLB_SLOTS];
    uint64_t tag = s->tag, row = (uint64_t)VS_IOTLB_ROW << VS_IOTLB_ROW_SHIFT;
    ofs = a.v % VS_IOTLB_PAGE;
    if (VS_LIKELY((tag & ~(row | VS_IOTLB_APART)) == a.v - ofs + perm &&
                  ofs + *len <= (tag & row) * (VS_IOTLB_PAGE >> VS_IOTLB_ROW_SHIFT)))
        return s->host + ofs;
    return vs_iotlb_search(v, a, perm, len);
}

/* The same for a whole range that must be contiguous in our memory: rings. *error: -EAGAIN (asked), -EFAULT (not contiguous). */
uint8_t *vs_iotlb_range(struct vs_iotlb_view *v, vs_iova a, uint32_t perm, uint64_t len, int *error);

/* Is there no use in looking again? Something was missing, and nothing changed since. */
static inline bool vs_iotlb_blocked(const struct vs_iotlb_view *v)
{
    return atomic_load_explicit(&v->missed, memory_order_relaxed) ==
           atomic_load_explicit(&v->clock->turn, memory_order_acquire);
}

/* What the view remembers is out of date. */
void vs_iotlb_forget(struct vs_iotlb_view *v, uint64_t generation);

/* The owner begins a batch: false when looking something up has no use. Between two batches it is quiescent (qsbr.h), so it is enough to
 * ask once whether what the view remembers still holds. What is missing from now on is missing since this turn. */
static inline bool vs_iotlb_begin(struct vs_iotlb_view *v)
{
    /* Acquire: what is found from now on comes from a snapshot at least as new. */
    uint64_t generation = atomic_load_explicit(&v->clock->generation, memory_order_acquire);
    if (VS_UNLIKELY(v->generation != generation))
        vs_iotlb_forget(v, generation);
    if (vs_iotlb_blocked(v))
        return false;
    v->turn = atomic_load_explicit(&v->clock->turn, memory_order_acquire);
    atomic_store_explicit(&v->missed, 0, memory_order_relaxed);
    return true;
}

/* What was missing is not waited for any more. */
static inline void vs_iotlb_unblock(struct vs_iotlb_view *v)
{
    atomic_store_explicit(&v->missed, 0, memory_order_relaxed);
}
#endif

#endif
