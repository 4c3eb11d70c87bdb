/* vring.h: a virtqueue seen from the device (VIRTIO 1.2, sections 2.7 and 2.8): taking chains, giving them back, notifying.
 *
 * How it works: a ring is made by the control thread from addresses that translate as a whole, and never changes its shape.
 * Taking: vs_vring_fetch copies up to a batch of heads and their first descriptors, each ONCE, into a window and prefetches
 * what they point to; vs_vring_walk turns one head of the window into a chain of pieces in our address space. It is the
 * only code that follows descriptors, for both layouts. Everything that comes from the guest may change at any time: a descriptor is
 * loaded into a local, checked there, and never read again.
 * Giving back: vs_vring_push writes used elements, vs_vring_flush publishes them with one release store and notifies. Chains are
 * given back in the order in which they were taken, so a stopped ring has one position, not two.
 * Most chains of most rings are of one kind: vring_ahead.h is the short way for these.
 * The two layouts, split (vring_split.c) and packed (vring_packed.c), differ in fetch, push, flush, arm and disarm; vring.c
 * is what they share. Chains are counted by a free running 16 bit number; a packed ring also knows the slot of the next one.
 * A chain that is refused is given back with length 0 and counted by reason. A ring that cannot be trusted any more (avail index too
 * far ahead, head out of range, endless chain) is marked broken and not touched again until the front-end sets it up anew.
 * Behind a vIOMMU an address may not be known yet: VS_CHAIN_WAIT. The chain then stays where it is, to be tried again later.
 *
 * Thread safety: one core at a time owns a ring (rings that several cores send to are locked by vhost_port.c). `call_fd`
 * and `err_fd` are swapped by the control thread, which closes the old one after a grace period.
 */
#ifndef VS_VRING_H
#define VS_VRING_H

#include "dirty_log.h"
#include "guest_mem.h"
#include "inflight.h"
#include "iotlb.h"

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

/* What the control thread says of a ring. Addresses are the front-end's; IOVAs when ACCESS_PLATFORM was negotiated. */
struct vs_vring_config {
    uint64_t features; /* negotiated virtio features, bit numbers as in the specification */
    uint64_t desc;
    uint64_t avail; /* packed: the driver's event suppression structure */
    uint64_t used;  /* packed: the device's */
    uint32_t size;  /* 1 .. 32768; split: a power of two */
    uint32_t
        base; /* of SET_VRING_BASE; packed: slot, and the wrap counter in bit 15. Split rings begin at used->idx */
    int kick_fd; /* -1: none. The descriptors stay the caller's */
    int call_fd;
    int err_fd;
    int discard;                  /* started but disabled: what the guest sends is taken and dropped */
    struct vs_dirty_log *log;     /* NULL: not migrating */
    struct vs_inflight *inflight; /* NULL: none */
    struct vs_iotlb_view *iotlb;  /* set by the port when ACCESS_PLATFORM was negotiated */
    uint32_t ring;                /* its number, set by the port */
    uint32_t pad;
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
    VS_VIRTIO_NET_F_CSUM = 0, /* feature bits */
    VS_VIRTIO_NET_F_GUEST_CSUM = 1,
    VS_VIRTIO_NET_F_GUEST_TSO4 = 7,
    VS_VIRTIO_NET_F_GUEST_TSO6 = 8,
    VS_VIRTIO_NET_F_GUEST_ECN = 9,
    VS_VIRTIO_NET_F_HOST_TSO4 = 11,
    VS_VIRTIO_NET_F_HOST_TSO6 = 12,
    VS_VIRTIO_NET_F_HOST_ECN = 13,
    VS_VIRTIO_NET_F_MRG_RXBUF = 15,
    VS_VIRTIO_F_INDIRECT_DESC = 28,
    VS_VIRTIO_F_EVENT_IDX = 29,
    VS_VIRTIO_F_VERSION_1 = 32,
    VS_VIRTIO_F_ACCESS_PLATFORM = 33,
    VS_VIRTIO_F_RING_PACKED = 34,
    VS_VIRTIO_F_IN_ORDER = 35,
    VS_VIRTIO_NET_F_GUEST_USO4 = 54,
    VS_VIRTIO_NET_F_GUEST_USO6 = 55,
    VS_VIRTIO_NET_F_HOST_USO = 56,
    VS_RING_MAX = 32768, /* section 2.7: the largest queue size */
    VS_MAX_PIECES =
        56, /* 64 KB in what was received in frames of 1,448 bytes, the finest that drivers do, and headers */
    VS_CHAIN_BYTES = 1 << 20, /* no buffer of a network device is longer */
    VS_LIST_MAX =
        1024, /* packed: descriptors of a list; many more than VS_MAX_PIECES, few enough to count for each packet */
    VS_ASK_BUDGET = 64,
    VS_CHAIN_WAIT = 255,    /* of enum vs_chain_error: a translation is not known yet; nothing is wrong */
    VS_SLOT_WRAP = 0x8000,  /* packed: wrap counter in a slot number */
    VS_SLOT_INDEX = 0x7fff, /* and the rest of it */
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

struct vs_packed_desc { /* section 2.8.13 */
    uint64_t addr;
    uint32_t len;
    uint16_t id;
    uint16_t flags;
};
VS_ASSERT_SIZE(struct vs_packed_desc, 16);

struct vs_packed_event { /* section 2.8.14 */
    uint16_t off_wrap;
    uint16_t flags;
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

/* What identifies a chain that was taken. */
struct vs_token {
    uint16_t id;    /* split: the head; packed: the buffer id */
    uint16_t slot;  /* packed: of the first descriptor, with VS_SLOT_WRAP */
    uint16_t count; /* packed: descriptors in the ring */
};

/* A chain that was looked at already (vring_ahead.h): one buffer in one piece of guest memory. */
struct vs_usual {
    uint8_t *host;
    uint32_t len;
    uint16_t id;   /* split: the head; packed: the buffer id */
    uint16_t slot; /* packed: with VS_SLOT_WRAP */
};
VS_ASSERT_SIZE(struct vs_usual, 16);

struct vs_vring {
    /* line 0: read only, but for `plain`, which the owner clears when the ring breaks */
    union {
        struct { /* split */
            struct vs_desc *desc;
            struct vs_avail *avail;
            struct vs_used *used;
        };
        struct { /* packed */
            struct vs_packed_desc *slots;
            struct vs_packed_event *driver_event;
            struct vs_packed_event *device_event;
        };
    };
    uint16_t *used_event; /* split, behind avail->ring: the driver wants to be called when used passes this */
    uint16_t *avail_event; /* split, behind used->ring: we want to be kicked when avail passes this */
    const struct vs_guest_mem *mem;
    uint32_t size;
    uint16_t mask; /* split */
    uint8_t packed;
    uint8_t event_idx;
    uint8_t indirect;
    uint8_t mergeable;
    uint8_t discard;
    uint8_t in_order;
    uint8_t plain;      /* vring_ahead.h: the short way is open */
    uint8_t hdr_len;    /* section 5.1.6: 12, or 10 for a legacy driver without MRG_RXBUF */
    uint16_t direction; /* of all buffers: VS_DESC_WRITE or 0 */
    /* line 1: the owner's */
    uint16_t last_avail VS_CACHE_ALIGNED; /* number of the next chain to take */
    uint16_t avail_seen;                  /* split: avail->idx as last read */
    uint16_t used_idx;                    /* number of the next chain to give back */
    uint16_t used_published;              /* what the driver can see of it */
    uint16_t slot;                        /* packed: of the next chain to take */
    uint16_t used_slot;                   /* packed: behind the last chain published */
    uint16_t first_flags;                 /* packed: of the first chain pushed since */
    uint16_t ahead_end;                   /* number behind the last chain in `ahead` */
    uint16_t ahead_slot;                  /* packed: its slot */
    const struct vs_guest_region *hint;
    struct vs_iotlb_view *iotlb; /* NULL: addresses are guest physical */
    struct vs_dirty_log *log;
    struct vs_inflight *inflight;
    struct vs_vring_stats *stats;
    /* line 2: rarely read */
    uint64_t features VS_CACHE_ALIGNED;
    struct vs_hold *hold; /* transmit behind a vIOMMU: packets that wait for a translation; under the lock */
    uint32_t ring;        /* number in its port */
    vs_spinlock lock;
    _Atomic int call_fd;
    _Atomic int err_fd;
    _Atomic uint32_t broken; /* enum vs_chain_error; set by the owner, read by the control thread */
    int kick_fd;
    uint8_t *scratch; /* VS_MAX_FRAME bytes for offloads that end in software; under the lock */
    /* From last_avail to ahead_end, each in the place of its number modulo VS_BATCH. The owner's. */
    struct vs_usual ahead[VS_BATCH] VS_CACHE_ALIGNED;
};

/* Chains that are ready, with their first descriptors, copied once. */
struct vs_window {
    uint16_t start; /* number of the first */
    uint16_t n;
    uint16_t next_slot; /* packed: behind the last */
    uint16_t
        no_fit_at; /* transmit: frames of `no_fit` bytes and more do not fit into the chains from this number on */
    uint32_t no_fit;
    struct vs_token token[VS_BATCH];
    struct vs_desc desc[VS_BATCH]; /* flags: VS_DESC_* alone; packed: next is not used */
    uint8_t *host[VS_BATCH];       /* first piece, NULL: not in guest memory */
    uint32_t len[VS_BATCH];        /* contiguous bytes there, at most desc.len */
};

/* Make a ring, or NULL with *error (-EFAULT: an address does not translate, -EAGAIN: the same, but it was asked for, -EINVAL, -ENOMEM).
 * Control thread. */
struct vs_vring *vs_vring_new(const struct vs_guest_mem *mem, const struct vs_vring_config *cfg,
                              struct vs_vring_stats *stats, int *error);
void vs_vring_free(struct vs_vring *r);
/* Where the ring stands, as GET_VRING_BASE wants it. */
uint32_t vs_vring_base(const struct vs_vring *r);
/* Chains that the driver has ready, for statistics; of a packed ring, descriptors, counted up to VS_LIST_MAX. Control thread. */
uint32_t vs_vring_ready(const struct vs_vring *r);

/* Follow the chain that starts with entry i of the window. `write`: VS_DESC_WRITE for buffers that we fill, else 0. */
enum vs_chain_error vs_vring_walk(struct vs_vring *r, const struct vs_window *w, unsigned i, uint16_t write,
                                  struct vs_chain *c);
/* Do not touch the ring again; tell the front-end through its error descriptor. */
void vs_vring_break(struct vs_vring *r, enum vs_chain_error why);
/* Ring an eventfd of the front-end. */
void vs_vring_signal(int fd);

/* The layouts. fetch: copy up to max chains from number `pos` on, which is last_avail or the end of the window; returns how many are in
 * the window; 0 when there are none, the first one waits for a translation, or the ring broke. flush: publish the used
 * elements of all chains taken and call the driver if it wants that. arm: ask for kicks, 1 when there is work (sections 2.7.10, 2.8.21). */
unsigned vs_split_fetch(struct vs_vring *r, struct vs_window *w, uint16_t pos, unsigned max);
void vs_split_flush(struct vs_vring *r);
int vs_split_arm(struct vs_vring *r);
void vs_split_disarm(struct vs_vring *r);
unsigned vs_packed_fetch(struct vs_vring *r, struct vs_window *w, uint16_t pos, unsigned max);
void vs_packed_flush(struct vs_vring *r);
int vs_packed_arm(struct vs_vring *r);
void vs_packed_disarm(struct vs_vring *r);
bool vs_packed_ready(const struct vs_vring *r, uint16_t slot);
bool vs_packed_watch(const struct vs_vring *r, struct vs_watch *watch);

static inline unsigned vs_vring_fetch(struct vs_vring *r, struct vs_window *w, uint16_t pos, unsigned max)
{
    return r->packed ? vs_packed_fetch(r, w, pos, max) : vs_split_fetch(r, w, pos, max);
}

/* What tells of the next chain; false: it is there. For the owner. */
static inline bool vs_vring_watch(const struct vs_vring *r, struct vs_watch *watch)
{
    if (r->packed)
        return vs_packed_watch(r, watch);
    *watch = (struct vs_watch){.word = &r->avail->idx, .mask = 0xffff, .value = r->last_avail};
    return true;
}

int vs_vring_arm(struct vs_vring *r);
void vs_vring_disarm(struct vs_vring *r, bool rang);

static inline void vs_vring_flush(struct vs_vring *r)
{
    if (r->used_idx == r->used_published)
        return;
    if (r->packed)
        vs_packed_flush(r);
    else
        vs_split_flush(r);
}

static inline void vs_vring_refuse(struct vs_vring *r, enum vs_chain_error why)
{
    vs_count(&r->stats->refused[why], 1);
    if (r->iotlb != NULL)
        vs_iotlb_unblock(r->iotlb); /* if it was this chain that waited */
}

/* We wrote to guest memory: for a migration. */
static inline void vs_vring_log(const struct vs_vring *r, const void *host, uint64_t len)
{
    if (VS_UNLIKELY(r->log != NULL))
        vs_dirty_mark(r->log, r->mem, host, len);
}

/* Copy a descriptor from guest memory, once: behind the barrier the compiler may not read it again in place of the copy. */
static inline struct vs_desc vs_desc_load(const void *from)
{
    struct vs_desc d;
    memcpy(&d, from, sizeof d);
    __asm__ volatile("" ::: "memory");
    return d;
}

/* Where a buffer of the guest is; NULL: nowhere, or (r->iotlb) not known yet. */
static inline uint8_t *vs_vring_translate(struct vs_vring *r, uint64_t addr, uint16_t write, uint32_t *len)
{
    if (VS_UNLIKELY(r->iotlb != NULL))
        return vs_iotlb_translate(r->iotlb, (vs_iova){addr}, write != 0 ? VS_IOTLB_WRITE : VS_IOTLB_READ,
                                  len);
    return vs_gpa_translate(r->mem, &r->hint, (vs_gpa){addr}, len);
}

/* What it costs to find out that a buffer is not known, in small buffers: one of a megabyte is asked for page by page. A batch spends up to
 * VS_ASK_BUDGET of it; without that, a guest could hold a core for a millisecond with each turn. */
static inline unsigned vs_vring_ask_cost(uint32_t len)
{
    return 1 + VS_MIN(len, 32u * VS_IOTLB_PAGE) / (2 * VS_IOTLB_PAGE);
}

/* Bring the first piece of a chain nearer: what we write as one transfer of the line, not a read and an upgrade. */
static inline void vs_vring_prefetch(const uint8_t *host, uint16_t flags)
{
    if ((flags & VS_DESC_WRITE) != 0) {
        VS_PREFETCH_W(host);
        VS_PREFETCH_W(host + VS_CACHE_LINE);
    } else {
        VS_PREFETCH(host);
        VS_PREFETCH(host + VS_CACHE_LINE);
    }
}

/* The slot `n` (at most the size of the ring) behind another one. */
static inline uint16_t vs_slot_add(const struct vs_vring *r, uint16_t slot, uint32_t n)
{
    uint32_t at = (slot & (uint32_t)VS_SLOT_INDEX) + n;
    uint32_t wrap = slot & (uint32_t)VS_SLOT_WRAP;
    if (at >= r->size) {
        at -= r->size;
        wrap ^= VS_SLOT_WRAP;
    }
    return (uint16_t)(at | wrap);
}

/* The chains before number `pos` are taken; `pos` is in the window, or its end. */
static inline void vs_vring_take(struct vs_vring *r, const struct vs_window *w, uint16_t pos)
{
    uint16_t i = (uint16_t)(pos - w->start);
    if (r->packed)
        __atomic_store_n(&r->slot, i < w->n ? w->token[i].slot : w->next_slot, __ATOMIC_RELAXED);
    __atomic_store_n(&r->last_avail, pos, __ATOMIC_RELAXED);
    r->ahead_end = pos; /* what was looked at before may be behind us now */
    r->ahead_slot = r->slot;
}

/* What a used descriptor holds behind its address: length, id, flags, as one little-endian word (section 2.8.14). */
static inline uint64_t vs_packed_used(const struct vs_token *t, uint32_t len)
{
    uint64_t flags = (t->slot & VS_SLOT_WRAP ? 0x8080 : 0) | (len != 0 ? VS_DESC_WRITE : 0);
    return len | (uint64_t)t->id << 32 | flags << 48;
}

/* Section 2.8.15: the used descriptor goes to the slot of the chain's first one. Its flags make it visible; those of the first chain since
 * the last flush, which stands at used_slot, wait for the next. */
static inline void vs_packed_push(struct vs_vring *r, const struct vs_token *t, uint32_t len)
{
    struct vs_packed_desc *d = &r->slots[t->slot & VS_SLOT_INDEX];
    uint64_t word = vs_packed_used(t, len);
    if (VS_UNLIKELY(r->inflight != NULL))
        vs_inflight_push(r, t, len);
    if (r->used_idx == r->used_published) {
        d->id = t->id;
        d->len = len;
        r->first_flags = (uint16_t)(word >> 48);
    } else {
        /* All in one store, which is not ordered: the flush's release is for all, as the driver looks at the first one first. */
        __atomic_store_n((uint64_t *)(void *)&d->len, word, __ATOMIC_RELAXED);
    }
    vs_vring_log(r, d, sizeof *d);
}

/* Give a chain back, behind those given back before; nobody sees it before the flush. */
static inline void vs_vring_push(struct vs_vring *r, const struct vs_token *t, uint32_t len)
{
    if (r->packed) {
        vs_packed_push(r, t, len);
    } else {
        struct vs_used_elem *u = &r->used->ring[r->used_idx & r->mask];
        *u = (struct vs_used_elem){.id = t->id, .len = len};
        vs_vring_log(r, u, sizeof *u);
    }
    r->used_idx++;
}
#endif

#endif
