/* guest_ring.h: the guest's side of a vhost-user ring, for programs that play both sides in one thread: split or packed, every buffer of
 * one size and in its place.
 *
 * How it works: guest_ring_make takes places from one block of memory and starts the ring at the port; guest_publish does what a driver
 * does to make the next n buffers available. Rings and buffers begin on pages of their own, as guests lay them out: the words that tell of
 * work all fall into the same sets of the first cache. GUEST_MEGABYTES may be defined before; included by one file of a program.
 *
 * Thread safety: one thread.
 */
#ifndef VS_GUEST_RING_H
#define VS_GUEST_RING_H

#include <stdlib.h>
#include <sys/mman.h>

#include "vhost_port.h"

#ifndef GUEST_MEGABYTES
#define GUEST_MEGABYTES 32
#endif

enum { GUEST_RING = 256, GUEST_BUFFER = 2048, GUEST_HEADER = 12, GUEST_GPA = 1 << 20, GUEST_PAGE = 4096 };
static const uint64_t GUEST_UVA = 0x7000000000, GUEST_MEMORY = GUEST_MEGABYTES << 20;

struct guest_ring {
    uint64_t desc, avail, used, buffers; /* offsets into the guest's memory */
    uint32_t len;                        /* what is offered of each buffer */
    uint16_t idx;
    bool packed, writable;
};

static uint8_t *guest_memory;
static uint64_t guest_taken;

static inline const struct vs_guest_mem *guest_memory_make(void)
{
    int error;
    guest_memory =
        mmap(NULL, GUEST_MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (guest_memory == MAP_FAILED)
        exit(1);
    struct vs_guest_region region = {
        .gpa = GUEST_GPA, .uva = GUEST_UVA, .size = GUEST_MEMORY, .host = guest_memory};
    return vs_guest_mem_new(&region, 1, &error);
}

static inline uint64_t guest_take(uint64_t n)
{
    uint64_t at = guest_taken;
    guest_taken += (n + GUEST_PAGE - 1) & ~(uint64_t)(GUEST_PAGE - 1);
    if (guest_taken > GUEST_MEMORY)
        exit(1);
    return at;
}

static inline void *guest_at(uint64_t offset)
{
    return guest_memory + offset;
}

static inline uint8_t *guest_frame(const struct guest_ring *r, unsigned number)
{
    return guest_memory + r->buffers + (uint64_t)GUEST_BUFFER * (number % GUEST_RING) + GUEST_HEADER;
}

/* VIRTIO 1.2, 2.7.13 and 2.8.21: the buffer, then what makes it available. */
static inline void guest_publish(struct guest_ring *r, unsigned n)
{
    struct vs_desc *desc = guest_at(r->desc);
    struct vs_packed_desc *slots = guest_at(r->desc);
    struct vs_avail *avail = guest_at(r->avail);
    uint16_t write = r->writable ? VS_DESC_WRITE : 0;
    for (; n > 0; n--, r->idx++) {
        uint16_t at = r->idx % GUEST_RING, lap = r->idx / GUEST_RING % 2 == 0 ? 0x80 : 0x8000;
        uint64_t addr = GUEST_GPA + r->buffers + (uint64_t)GUEST_BUFFER * at;
        if (r->packed) {
            slots[at].addr = addr, slots[at].len = r->len, slots[at].id = at;
            __atomic_store_n(&slots[at].flags, (uint16_t)(lap | write), __ATOMIC_RELEASE);
        } else {
            desc[at] = (struct vs_desc){.addr = addr, .len = r->len, .flags = write};
            avail->ring[at] = at;
        }
    }
    if (!r->packed)
        __atomic_store_n(&avail->idx, r->idx, __ATOMIC_RELEASE);
}

/* Ring `number` of the port: an even one is what the switch sends to. `frame`: bytes of a frame that the guest sends; 0: the ring stays idle
 * and has no buffers. `kick_fd`: -1: none. */
static inline void guest_ring_make(struct guest_ring *r, struct vs_port *port, unsigned number,
                                   const struct vs_guest_mem *mem, bool packed, uint32_t frame, int kick_fd)
{
    bool writable = number % 2 == 0;
    *r = (struct guest_ring){.desc = guest_take(16 * GUEST_RING),
                             .avail = guest_take(6 + 2 * GUEST_RING),
                             .used = guest_take(6 + 8 * GUEST_RING),
                             .buffers = frame != 0 ? guest_take((uint64_t)GUEST_BUFFER * GUEST_RING) : 0,
                             .len = writable ? GUEST_BUFFER : GUEST_HEADER + frame,
                             .packed = packed,
                             .writable = writable};
    struct vs_vring_config cfg = {.features = 1ull << VS_VIRTIO_F_VERSION_1 |
                                              1ull << VS_VIRTIO_NET_F_MRG_RXBUF |
                                              (uint64_t)packed << VS_VIRTIO_F_RING_PACKED,
                                  .desc = GUEST_UVA + r->desc,
                                  .avail = GUEST_UVA + r->avail,
                                  .used = GUEST_UVA + r->used,
                                  .size = GUEST_RING,
                                  .base = packed ? VS_SLOT_WRAP : 0,
                                  .kick_fd = kick_fd,
                                  .call_fd = -1,
                                  .err_fd = -1};
    if (vs_vhost_ring_start(port, number, mem, &cfg) != 0)
        exit(1);
}

#endif
