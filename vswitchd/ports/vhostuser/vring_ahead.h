/* vring_ahead.h: the short way through a ring, for the chains that nearly all are. C only.
 *
 * How it works: a ring is plain when nothing has to be done but to move frames: no vIOMMU, no migration, not disabled, headers of 12 bytes.
 * A chain is usual when it is one descriptor of the ring's direction, of a sensible length, within one region.
 * vs_vring_ahead copies such descriptors, each once and as two words, checks and translates them and keeps the outcome in r->ahead, from
 * last_avail to ahead_end. It is called again when a batch is done, for the chains that are known to be ready: what they point to, which another
 * core wrote last, arrives while this core is busy with the batch. It stops at the first chain that is not usual: that one and
 * those behind it are fetched as vring.h says, and vs_vring_take forgets what was kept.
 * A ring's memory table never changes, so a translation holds as long as the ring; a descriptor that the guest changes after it made it
 * available (it must not, section 2.7.13) is taken as it was when it was copied.
 *
 * Thread safety: the ring's owner.
 */
#ifndef VS_VRING_AHEAD_H
#define VS_VRING_AHEAD_H

#include "vring.h"

/* Lengths of usual buffers: what is received holds both headers at least, and no buffer is longer than a frame may be. */
enum { VS_USUAL_MIN = 12 + 14, VS_USUAL_MAX = VS_MAX_FRAME };

/* Locals of a loop over descriptors: what it needs of the ring, and the region that was hit last. The compiler would read them again after
 * each store. */
struct vs_ahead {
    struct vs_vring *r;
    struct vs_usual *kept;
    uint64_t gpa;
    uint64_t room; /* offsets in the region behind which a usual buffer may not fit */
    uint8_t *host;
    bool headers; /* received: the driver's header is read, too */
};

static inline void vs_ahead_region(struct vs_ahead *a)
{
    const struct vs_guest_region *region = a->r->hint;
    a->gpa = region->gpa;
    a->host = region->host;
    a->room = region->size > VS_USUAL_MAX ? region->size - VS_USUAL_MAX : 0;
}

static inline struct vs_ahead vs_ahead_of(struct vs_vring *r)
{
    struct vs_ahead a = {.r = r, .kept = r->ahead};
    a.headers = (r->features & 1ull << VS_VIRTIO_NET_F_CSUM) != 0;
    vs_ahead_region(&a);
    return a;
}

/* A buffer in another region, or near the end of one. NULL: not in one piece of guest memory. */
uint8_t *vs_ahead_translate(struct vs_ahead *a, uint64_t addr, uint32_t len);

/* Keep the chain of number `pos`, a buffer of `len` bytes at `addr`, and send for what of it will be touched first: two lines to write (a header
 * and a small frame), or the frame's head. False: it is not usual. */
VS_ALWAYS_INLINE bool vs_ahead_keep(struct vs_ahead *a, uint16_t pos, uint64_t addr, uint32_t len,
                                    uint16_t id, uint16_t slot, bool write)
{
    uint64_t ofs = addr - a->gpa;
    uint8_t *host;
    if (VS_UNLIKELY(len - (uint32_t)VS_USUAL_MIN > (uint32_t)(VS_USUAL_MAX - VS_USUAL_MIN)))
        return false;
    if (VS_LIKELY(ofs < a->room))
        host = a->host + ofs;
    else if ((host = vs_ahead_translate(a, addr, len)) == NULL)
        return false;
    a->kept[pos % VS_BATCH] = (struct vs_usual){.host = host, .len = len, .id = id, .slot = slot};
    if (write) {
        VS_PREFETCH_W(host);
        VS_PREFETCH_W(host + VS_CACHE_LINE);
        return true;
    }
    if (a->headers)
        VS_PREFETCH(host);
    VS_PREFETCH(host + 12);
    if (len > VS_CACHE_LINE + 12) {
        VS_PREFETCH(host + 12 + VS_CACHE_LINE);
        VS_PREFETCH(host + 12 + 2 * VS_CACHE_LINE);
        VS_PREFETCH(host + 12 + 3 * VS_CACHE_LINE - 1);
    }
    return true;
}

/* The next n chains are taken and given back; nobody sees it before vs_vring_flush. used[i]: the bytes written into the i-th, NULL: they were
 * only read. A driver that was promised the order of use finds out how many it may have back from the last of such a run
 * (sections 2.7.9.1, 2.7.13): the used elements of the others are not written, and their lines stay where they are. */
void vs_split_push_run(struct vs_vring *r, unsigned n, const uint32_t *used);
void vs_packed_push_run(struct vs_vring *r, unsigned n, const uint32_t *used);

static inline void vs_ahead_push(struct vs_vring *r, unsigned n, const uint32_t *used)
{
    if (r->packed)
        vs_packed_push_run(r, n, used);
    else
        vs_split_push_run(r, n, used);
}

/* All usual chains are taken: is there one of another kind? */
static inline bool vs_ahead_stuck(const struct vs_vring *r)
{
    return r->packed ? vs_packed_ready(r, r->slot) : r->avail_seen != r->last_avail;
}

/* Look at chains from last_avail on until `most` of them (at most VS_BATCH, and a ring's worth) are known; `fresh`: also at those that were
 * not yet known to be ready. Returns how many usual ones there are in a row. Section numbers are of VIRTIO 1.2. */
unsigned vs_split_ahead(struct vs_vring *r, unsigned most, bool fresh);
unsigned vs_packed_ahead(struct vs_vring *r, unsigned most, bool fresh);

static inline unsigned vs_vring_ahead(struct vs_vring *r, unsigned most, bool fresh)
{
    return r->packed ? vs_packed_ahead(r, most, fresh) : vs_split_ahead(r, most, fresh);
}

#endif
