/* iotlb_internal.h: what iotlb.c, iotlb_search.c and iotlb_miss.c share. C only.
 *
 * How it works: see iotlb.h. The list of misses is short and kept under a lock that a core only tries: when the control thread holds
 * it, the core comes back with its next poll.
 *
 * Thread safety: as said at each member.
 */
#ifndef VS_IOTLB_INTERNAL_H
#define VS_IOTLB_INTERNAL_H

#include "iotlb.h"
#include "port.h"

struct vs_iotlb_entry {
    uint64_t iova;
    uint64_t last; /* the last byte: an entry may end at 2^64 */
    uint8_t *host;
    uint64_t stamp; /* number of the update that brought it */
    uint32_t perm;
};

struct vs_iotlb_snapshot {
    uint32_t n;
    struct vs_iotlb_entry e[];
};

/* A huge page: one question is asked about each until an answer shows that there are only small ones. */
enum { VS_IOTLB_REGION_SHIFT = 21, VS_IOTLB_FINE = 16 };

struct vs_iotlb_want {
    uint64_t page;
    uint32_t perm;
    uint8_t told;  /* the control thread collected it */
    uint8_t age;   /* calls of vs_iotlb_retry since */
    uint8_t tries; /* how often it was told */
};

/* Of one ring, written by the owner of its view; they live longer than the view. */
struct vs_iotlb_count {
    uint64_t hits;
    uint64_t misses;
} VS_CACHE_ALIGNED;

struct vs_iotlb {
    /* read by cores */
    struct vs_iotlb_clock clock VS_CACHE_ALIGNED;
    _Atomic(const struct vs_iotlb_snapshot *) snapshot; /* published by the control thread */
    _Atomic int fd;                                     /* < 0: nobody asked for it yet */
    /* under the lock */
    vs_spinlock lock VS_CACHE_ALIGNED;
    bool rung; /* the control thread was told to collect */
    unsigned n_wanted;
    struct vs_iotlb_want wanted[VS_IOTLB_MISSES];
    uint64_t fine[VS_IOTLB_FINE]; /* regions that were answered page by page lately, plus 1 */
    unsigned next_fine;
    /* the control thread's */
    bool evicted VS_CACHE_ALIGNED; /* views may remember what the snapshot does not have any more */
    uint64_t stamp;
    uint64_t asked, updates, invalidations, evictions;
    struct vs_iotlb_count count[2 * VS_MAX_RXQ];
};

static inline int vs_iotlb_bell(struct vs_iotlb *t)
{
    return atomic_load_explicit(&t->fd, memory_order_relaxed);
}

/* Index of the entry that holds `iova`, or n. `hint`: an index to try first; any number. */
uint32_t vs_iotlb_find(const struct vs_iotlb_snapshot *s, uint32_t hint, uint64_t iova);
/* Is all of [iova, last] known with these permissions? */
bool vs_iotlb_covers(const struct vs_iotlb_snapshot *s, uint64_t iova, uint64_t last, uint32_t perm);
/* Note missing pages. False when the list is in use just now: come back at once. Any core. */
bool vs_iotlb_note(struct vs_iotlb *t, const uint64_t *pages, unsigned n, uint32_t perm);
/* Forget notes of [iova, last]: all, or those that need no more than `granted`. Returns how many. Control thread. */
unsigned vs_iotlb_settle(struct vs_iotlb *t, uint64_t iova, uint64_t last, uint32_t granted);
/* Something changed: who waits may look again. Control thread. */
void vs_iotlb_next_turn(struct vs_iotlb *t);

#endif
