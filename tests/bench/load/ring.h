/* ring.h: a virtqueue seen from the driver (VIRTIO 1.2, sections 2.7 and 2.8), as fast as it can be for buffers that never move.
 *
 * How it works: a ring has a fixed number of chains, each of the same power of two of descriptors and with a buffer of its own. Chains
 * are counted by free running numbers: `next` is the next one to make available, `used` how many came back. The chain made available as
 * number k + chains is the one that came back as number k, so from a device that keeps the order the available ring (split) never
 * changes and descriptors are never written again: sending is writing the buffer and one index for a whole burst. A device that does not
 * keep the order costs a write where chain and place differ (`slot_id`). Of a packed ring the descriptor is written each time, as it must be.
 * The device is never asked to interrupt. It is notified when its flags ask for that, at the next turn of the loop: no fence is needed then,
 * as a turn that came too early is followed by another (section 2.7.10).
 *
 * Thread safety: one thread owns a ring.
 */
#ifndef LOAD_RING_H
#define LOAD_RING_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum {
    LOAD_DESC_NEXT = 1,
    LOAD_DESC_WRITE = 2,
    LOAD_NET_HDR = 12,  /* section 5.1.6: with VERSION_1 */
    LOAD_FRAME_AT = 64, /* where the frame begins in its buffer: its first 64 bytes are one cache line */
};

struct load_desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags; /* packed: the buffer id */
    uint16_t next;  /* packed: the flags */
};

struct load_ring {
    struct load_desc *desc; /* split and packed */
    uint16_t *avail;        /* split: flags, index, ring; packed: off_wrap, flags of our event suppression */
    uint16_t *used;         /* split: flags, index, ring; packed: the same of the device */
    uint8_t *buffers;
    uint64_t buffers_gpa;
    uint64_t next;
    uint64_t used_count;
    uint64_t done; /* receive: chains looked at */
    uint64_t kicked;
    uint64_t kicks;
    uint64_t interrupts; /* of the control thread */
    uint32_t size;
    uint32_t chains;
    uint32_t pieces; /* descriptors of a chain */
    uint32_t stride; /* bytes of a buffer */
    uint32_t capacity;
    uint16_t *slot_id; /* by number modulo chains: which chain */
    uint16_t *owner;   /* transmit, by chain: the stream that it was prepared for */
    uint8_t packed;
    uint8_t in_order;
    uint8_t receive;
    uint8_t wants_kick;
    bool broken; /* the device gave back what it did not have */
    int kick_fd;
    int call_fd;
};

/* Bytes of shared memory for the three areas of a ring, each on cache lines of its own. */
static inline uint64_t load_ring_bytes(uint32_t size)
{
    return (uint64_t)size * 16 + 64 + (uint64_t)size * 2 + 64 + (uint64_t)size * 8 + 64 + 192;
}

/* Lay the ring out at `at` (guest physical address `gpa` is set by the caller in buffers_gpa) and fill it; pieces divides size. */
void load_ring_layout(struct load_ring *r, uint8_t *at);
/* Cut the buffers into chains of `pieces` descriptors; nothing may be available. 0, or -1 without memory. */
int load_ring_cut(struct load_ring *r, uint32_t pieces);
/* Let the descriptors of chain `id` cover `bytes` from `offset` into its buffer on. */
void load_ring_describe(struct load_ring *r, uint32_t id, uint32_t offset, uint32_t bytes);
/* The slow part of polling: other chains than expected came back. */
void load_ring_reordered(struct load_ring *r, uint64_t number, uint32_t id);
void load_ring_kick(struct load_ring *r);

static inline uint8_t *load_ring_buffer(const struct load_ring *r, uint32_t id)
{
    return r->buffers + (uint64_t)id * r->stride;
}

static inline uint32_t load_ring_id(const struct load_ring *r, uint64_t number)
{
    return r->slot_id[number & (r->chains - 1)];
}

static inline uint32_t load_ring_room(const struct load_ring *r)
{
    return r->chains - (uint32_t)(r->next - r->used_count);
}

static inline const struct load_desc *load_ring_slot(const struct load_ring *r, uint64_t number)
{
    return &r->desc[(number * r->pieces) & (r->size - 1)];
}

/* Bytes that the device wrote into the chain that came back as `number`. */
static inline uint32_t load_ring_length(const struct load_ring *r, uint64_t number)
{
    if (r->packed)
        return load_ring_slot(r, number)->len;
    const uint32_t *element = (const uint32_t *)(const void *)(r->used + 2) + 2 * (number & (r->size - 1));
    return element[1];
}

static inline unsigned load_ring_poll_split(struct load_ring *r, unsigned max)
{
    uint32_t word = __atomic_load_n((uint32_t *)(void *)r->used, __ATOMIC_ACQUIRE); /* flags and index */
    unsigned n = (uint16_t)((word >> 16) - (uint16_t)r->used_count);
    r->wants_kick = (word & 1) == 0;
    if (n == 0)
        return 0;
    if (__builtin_expect(n > (uint32_t)(r->next - r->used_count), 0)) {
        r->broken = true;
        return 0;
    }
    n = n < max ? n : max;
    const uint32_t *elements = (const uint32_t *)(const void *)(r->used + 2);
    for (unsigned i = 0; !r->in_order && i < n; i++) {
        uint64_t number = r->used_count + i;
        uint32_t head = elements[2 * (number & (r->size - 1))];
        if (__builtin_expect(head != load_ring_id(r, number) * r->pieces, 0))
            load_ring_reordered(r, number, head / r->pieces);
    }
    r->used_count += n;
    return n;
}

static inline unsigned load_ring_poll_packed(struct load_ring *r, unsigned max)
{
    unsigned n = 0, most = (unsigned)(r->next - r->used_count);
    max = max < most ? max : most;
    r->wants_kick = (__atomic_load_n(r->used + 1, __ATOMIC_RELAXED) & 3) != 1;
    while (n < max) {
        uint64_t number = r->used_count + n;
        const struct load_desc *d = load_ring_slot(r, number);
        uint16_t flags = __atomic_load_n(&d->next, __ATOMIC_ACQUIRE);
        bool wrap = ((number * r->pieces) & r->size) == 0; /* the counter starts at 1: section 2.8.1 */
        if (((flags >> 15) & 1) != wrap || ((flags >> 7) & 1) != wrap)
            break;
        uint32_t id = d->flags;
        if (__builtin_expect(id == load_ring_id(r, number), 1)) {
            n++;
        } else if (r->in_order &&
                   !r->receive) { /* section 2.8.19: one used descriptor for the last of a batch */
            n += (unsigned)((id - number) & (r->chains - 1)) + 1;
        } else {
            load_ring_reordered(r, number, id);
            n++;
        }
    }
    r->used_count += n;
    return n;
}

/* How many chains came back since the last call, at most `max`. */
static inline unsigned load_ring_poll(struct load_ring *r, unsigned max)
{
    return r->packed ? load_ring_poll_packed(r, max) : load_ring_poll_split(r, max);
}

/* Make the next n chains available; their buffers, and of split rings descriptors, are ready. Packed: `offset` and `bytes` as in describe. */
static inline void load_ring_publish(struct load_ring *r, unsigned n, uint32_t offset, uint32_t bytes)
{
    uint64_t first = r->next;
    r->next = first + n;
    if (!r->packed) {
        __atomic_store_n(r->avail + 1, (uint16_t)r->next, __ATOMIC_RELEASE);
        return;
    }
    uint32_t piece = (bytes + r->pieces - 1) / r->pieces;
    for (unsigned i = n; i-- > 0;) { /* the first one last: it lets the device see all of them */
        uint64_t slot = (first + i) * r->pieces;
        uint32_t id = load_ring_id(r, first + i);
        uint64_t addr = r->buffers_gpa + (uint64_t)id * r->stride + offset;
        uint64_t flags = (slot & r->size) == 0 ? 1 << 7 : 1 << 15;
        flags |= r->receive ? LOAD_DESC_WRITE : 0;
        for (uint32_t k = r->pieces; k-- > 0;) {
            struct load_desc *d = &r->desc[(slot + k) & (r->size - 1)];
            uint32_t len = k + 1 == r->pieces ? bytes - k * piece : piece;
            uint64_t more = k + 1 == r->pieces ? flags : flags | LOAD_DESC_NEXT;
            d->addr = addr + (uint64_t)k * piece;
            __atomic_store_n((uint64_t *)(void *)&d->len, len | (uint64_t)id << 32 | more << 48,
                             __ATOMIC_RELEASE);
        }
    }
}

/* Tell the device of what it has not been told, if it wants to hear of it; its wish was read by the last poll. */
static inline void load_ring_notify(struct load_ring *r)
{
    if (__builtin_expect(r->wants_kick && r->kicked != r->next, 0))
        load_ring_kick(r);
}

#endif
