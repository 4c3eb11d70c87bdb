/* vring.h: a split virtqueue seen from the device (VIRTIO 1.2, section 2.7): taking chains, giving them back, notifying.
 *
 * How it works: a ring is made by the control thread from addresses that translate as a whole, and never changes its shape.
 * Taking: vs_vring_fetch copies up to a batch of heads and their first descriptors, each ONCE, into a window and prefetches
 * what they point to; vs_vring_walk turns one head of the window into a chain of pieces in our address space. It is the
 * only code that follows descriptors. Everything that comes from the guest may change at any time: a descriptor is
 * loaded into a local, checked there, and never read again.
 * Giving back: vs_vring_push writes used elements, vs_vring_flush publishes them with one release store and notifies.
 * A chain that is refused is given back with length 0 and counted by reason. A ring that cannot be trusted any more (avail index too
 * far ahead, head out of range) is marked broken and not touched again until the front-end sets it up anew.
 *
 * Thread safety: one core at a time owns a ring (rings that several cores send to are locked by vhost_port.c). `call_fd`
 * and `err_fd` are swapped by the control thread, which closes the old one after a grace period.
 */
#ifndef VS_VRING_H
#define VS_VRING_H

#include "guest_mem.h"

/* X(enum suffix, label, help): why a chain was refused. HEAD and AVAIL break the ring. */
#define VS_CHAIN_ERRORS(X)                                                                                   \
    X(NONE, "none", "not refused")                                                                           \
    X(AVAIL, "avail_index", "the available index is further ahead than the ring is long")                    \
    X(HEAD, "head_range", "a head outside the descriptor table")                                             \
    X(NEXT, "next_range", "a next field outside the table")                                                  \
    X(LOOP, "too_many_descriptors", "more descriptors than the ring is long: a loop")                        \
    X(FLAGS, "flags", "flags that are unknown, exclude one another or were not negotiated")                  \
    X(NESTED, "nested_indirect", "an indirect descriptor in an indirect table")                              \
    X(TABLE, "indirect_table", "an indirect table of a bad length or not in guest memory")                   \
    X(DIRECTION, "direction", "a descriptor of the wrong direction")                                         \
    X(EMPTY, "zero_length", "a descriptor of length zero")                                                   \
    X(ADDRESS, "address", "an address outside guest memory")                                                 \
    X(PIECES, "too_many_pieces", "a buffer in more pieces than allowed")                                     \
    X(LENGTH, "too_long", "a buffer of more bytes than allowed")                                             \
    X(HEADER, "no_header", "no room for the virtio-net header")

enum vs_chain_error {
#define VS_CHAIN_ROW(name, label, help) VS_CHAIN_##name,
    VS_CHAIN_ERRORS(VS_CHAIN_ROW)
#undef VS_CHAIN_ROW
        VS_N_CHAIN_ERRORS
};

const char *vs_chain_error_label(int error); /* NULL when out of range */

/* What the control thread says of a ring. Addresses are the front-end's. */
struct vs_vring_config {
    uint64_t features; /* negotiated virtio features, bit numbers as in the specification */
    uint64_t desc;
    uint64_t avail;
    uint64_t used;
    uint32_t size; /* power of two, 1 .. 32768 */
    uint16_t base; /* next available index */
    uint16_t pad;
    int kick_fd; /* -1: none. The descriptors stay the caller's */
    int call_fd;
    int err_fd;
};

/* Counters of one ring; they live longer than the ring. Written by the ring's owner. */
struct vs_vring_stats {
    uint64_t chains; /* taken and given back */
    uint64_t kicks_sent;
    uint64_t kicks_suppressed;
    uint64_t full; /* packets that found no buffer */
    uint64_t retries;
    uint64_t refused[VS_N_CHAIN_ERRORS];
};

#ifndef VS_CDEF
#include "port.h"

enum {
    VS_DESC_NEXT = 1, /* VIRTQ_DESC_F_* */
    VS_DESC_WRITE = 2,
    VS_DESC_INDIRECT = 4,
    VS_VIRTIO_NET_F_MRG_RXBUF = 15, /* feature bits */
    VS_VIRTIO_F_INDIRECT_DESC = 28,
    VS_VIRTIO_F_EVENT_IDX = 29,
    VS_VIRTIO_F_VERSION_1 = 32,
    VS_RING_MAX = 32768,      /* section 2.7: the largest queue size */
    VS_MAX_PIECES = 40,       /* 64 KB in 4 KB pages, twice, and some */
    VS_CHAIN_BYTES = 1 << 20, /* no buffer of a network device is longer */
};

struct vs_desc { /* section 2.7.5 */
    uint64_t addr;
    uint32_t len;
    uint16_t flags;
    uint16_t next;
};
VS_ASSERT_SIZE(struct vs_desc, 16);

struct vs_used_elem { /* section 2.7.8 */
    uint32_t id;
    uint32_t len;
};

struct vs_avail {
    uint16_t flags;
    uint16_t idx;
    uint16_t ring[];
};

struct vs_used {
    uint16_t flags;
    uint16_t idx;
    struct vs_used_elem ring[];
};

struct vs_piece {
    uint8_t *data;
    uint32_t len;
};

struct vs_chain {
    uint32_t total;
    uint32_t n;
    struct vs_piece p[VS_MAX_PIECES];
};

struct vs_vring {
    /* line 0: read only */
    struct vs_desc *desc;
    struct vs_avail *avail;
    struct vs_used *used;
    uint16_t *used_event;  /* behind avail->ring: the driver wants to be called when used passes this */
    uint16_t *avail_event; /* behind used->ring: we want to be kicked when avail passes this */
    const struct vs_guest_mem *mem;
    uint32_t size;
    uint16_t mask;
    uint8_t event_idx;
    uint8_t indirect;
    uint8_t hdr_len; /* section 5.1.6: 12, or 10 for a legacy driver without MRG_RXBUF */
    uint8_t mergeable;
    /* line 1: the owner's */
    uint16_t last_avail VS_CACHE_ALIGNED; /* next chain to take */
    uint16_t avail_seen;                  /* avail->idx as last read */
    uint16_t used_idx;                    /* next used element to write */
    uint16_t used_published;              /* used->idx as last written */
    const struct vs_guest_region *hint;
    struct vs_vring_stats *stats;
    vs_spinlock lock;
    /* line 2: written rarely */
    _Atomic int call_fd VS_CACHE_ALIGNED;
    _Atomic int err_fd;
    _Atomic uint32_t broken; /* enum vs_chain_error; set by the owner, read by the control thread */
    int kick_fd;
    uint8_t *scratch; /* VS_MAX_FRAME bytes for offloads that end in software; under the lock */
};

/* Heads and first descriptors, copied once. */
struct vs_window {
    uint16_t start; /* avail index of the first */
    uint16_t n;
    uint16_t head[VS_BATCH];
    struct vs_desc desc[VS_BATCH];
    uint8_t *host[VS_BATCH]; /* first piece, NULL: not in guest memory */
    uint32_t len[VS_BATCH];  /* contiguous bytes there, at most desc.len */
};

/* Make a ring, or NULL with *error (-EFAULT: an address does not translate, -EINVAL, -ENOMEM). Control thread. */
struct vs_vring *vs_vring_new(const struct vs_guest_mem *mem, const struct vs_vring_config *cfg,
                              struct vs_vring_stats *stats, int *error);
void vs_vring_free(struct vs_vring *r);

/* Copy up to max heads from available index `pos` on. Returns how many are in the window; 0 when there are none or the ring broke. */
unsigned vs_vring_fetch(struct vs_vring *r, struct vs_window *w, uint16_t pos, unsigned max);
/* Follow the chain that starts with entry i of the window. `write`: VS_DESC_WRITE for buffers that we fill, else 0. */
enum vs_chain_error vs_vring_walk(struct vs_vring *r, const struct vs_window *w, unsigned i, uint16_t write,
                                  struct vs_chain *c);
/* Publish the used elements and call the driver if it wants that. */
void vs_vring_flush(struct vs_vring *r);
/* Do not touch the ring again; tell the front-end through its error descriptor. */
void vs_vring_break(struct vs_vring *r, enum vs_chain_error why);
/* Ask for kicks; returns 1 when there is work (section 2.7.10). */
int vs_vring_arm(struct vs_vring *r);
void vs_vring_disarm(struct vs_vring *r);

static inline void vs_vring_refuse(struct vs_vring *r, enum vs_chain_error why)
{
    vs_count(&r->stats->refused[why], 1);
}

/* Write one used element behind those written before; nobody sees it before the flush. */
static inline void vs_vring_push(struct vs_vring *r, uint16_t head, uint32_t len)
{
    r->used->ring[r->used_idx & r->mask] = (struct vs_used_elem){.id = head, .len = len};
    r->used_idx++;
}
#endif

#endif
