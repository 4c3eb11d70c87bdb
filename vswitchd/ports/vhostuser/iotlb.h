/* iotlb.h: translations of a guest behind a vIOMMU: I/O virtual addresses to our memory (vhost-user, IOMMU support).
 *
 * How it works: one IOTLB per port. Its entries are an immutable snapshot, sorted by IOVA, at most VS_IOTLB_ENTRIES of them; an update or an
 * invalidation makes a new snapshot, which replaces the old one, freed after a grace period. An entry holds OUR pointer: the
 * front-end's address was looked up in the memory table when it came. A lookup that finds nothing notes the missing page,
 * once, and rings `fd`; the control thread collects the notes and asks the front-end. The core goes on with other work:
 * who looked it up gets NULL and comes back later.
 *
 * Thread safety: lookups on any core; everything else on the control thread.
 */
#ifndef VS_IOTLB_H
#define VS_IOTLB_H

#include "guest_mem.h"

enum {
    VS_IOTLB_ENTRIES = 2048,
    VS_IOTLB_MISSES = 256, /* pages asked for and not answered yet */
    VS_IOTLB_READ = 1,     /* permissions, as in struct vhost_iotlb_msg */
    VS_IOTLB_WRITE = 2,
};

struct vs_iotlb;

struct vs_iotlb_miss {
    uint64_t iova; /* of a page */
    uint32_t perm; /* VS_IOTLB_*: what the access needs */
    uint32_t pad;
};

struct vs_iotlb_stats {
    uint64_t entries;
    uint64_t hits; /* of the cores, without those by the hint of a ring */
    uint64_t misses;
    uint64_t pending;
    uint64_t updates;
    uint64_t invalidations;
    uint64_t evictions;
};

/* NULL: no memory. `fd` of vs_iotlb_fd becomes readable when there are misses to collect. */
struct vs_iotlb *vs_iotlb_new(void);
void vs_iotlb_free(struct vs_iotlb *t);
int vs_iotlb_fd(struct vs_iotlb *t);
/* Map `size` bytes at `iova` to the front-end's address `uva`. 0, -EFAULT when some of it is not in the memory table, -EINVAL for sums that
 * wrap around, -ENOMEM. When the cache is full, old entries go. */
int vs_iotlb_update(struct vs_iotlb *t, const struct vs_guest_mem *mem, uint64_t iova, uint64_t size,
                    uint64_t uva, uint32_t perm);
/* Forget what overlaps [iova, iova + size), cut at 2^64; on return no core uses it (a grace period). */
void vs_iotlb_invalidate(struct vs_iotlb *t, uint64_t iova, uint64_t size);
/* Take up to n misses that nobody was told of yet. Returns how many. */
unsigned vs_iotlb_collect(struct vs_iotlb *t, struct vs_iotlb_miss *to, unsigned n);
/* Misses told before the call before and not answered since are to be collected again; returns how many. */
unsigned vs_iotlb_retry(struct vs_iotlb *t);
/* Forget everything; on return no core uses it. */
void vs_iotlb_clear(struct vs_iotlb *t);
void vs_iotlb_stats_read(struct vs_iotlb *t, struct vs_iotlb_stats *to);

#ifndef VS_CDEF
typedef struct {
    uint64_t v;
} vs_iova;

/* Where `*len` bytes at `a` are; *len is cut to what is contiguous. NULL: not known (yet), or no such permission; the
 * front-end is asked. `hint` is the caller's, for the entry that was hit last. */
uint8_t *vs_iotlb_translate(struct vs_iotlb *t, uint32_t *hint, vs_iova a, uint32_t perm, uint32_t *len);
/* The same for a whole range that must be contiguous in our memory: rings. *error: -EAGAIN (asked), -EFAULT (not contiguous). */
uint8_t *vs_iotlb_range(struct vs_iotlb *t, vs_iova a, uint32_t perm, uint64_t len, int *error);
#endif

#endif
