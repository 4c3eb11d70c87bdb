/* rings.h: guests of the benchmarks ports.c and wake.c: rings in memory of ours, driven by as few instructions as a driver needs.
 *
 * How it works: every ring begins on a page of its own, as guests lay them out: the words that tell of work all fall into the same sets of
 * the first cache. Included by one file of a program.
 *
 * Thread safety: one thread plays all guests.
 */
#ifndef VS_BENCH_RINGS_H
#define VS_BENCH_RINGS_H

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "datapath.h"
#include "vhost_port.h"

enum {
    RING = 256,
    BUFFER = 2048,
    HEADER = 12,
    FRAME = 60,
    GPA = 1 << 20,
};
static const uint64_t UVA = 0x7000000000, MEMORY = 96 << 20;

struct ring {
    uint64_t desc, avail, used, buffers; /* offsets into the guest's memory */
    uint16_t idx;
    bool packed, writable;
};

static uint8_t *memory;
static uint64_t taken;
static const struct vs_guest_mem *mem;

static uint64_t take(uint64_t n)
{
    uint64_t at = taken;
    taken += (n + 4095) & ~(uint64_t)4095;
    if (taken > MEMORY)
        exit(1);
    return at;
}

static void publish(struct ring *r, unsigned n)
{
    struct vs_packed_desc *slots = (struct vs_packed_desc *)(void *)(memory + r->desc);
    struct vs_desc *desc = (struct vs_desc *)(void *)(memory + r->desc);
    struct vs_avail *avail = (struct vs_avail *)(void *)(memory + r->avail);
    uint32_t len = r->writable ? BUFFER : HEADER + FRAME;
    uint16_t write = r->writable ? VS_DESC_WRITE : 0;
    for (; n > 0; n--, r->idx++) {
        uint16_t at = r->idx % RING, state = r->idx / RING % 2 == 0 ? 0x80 : 0x8000;
        uint64_t addr = GPA + r->buffers + (uint64_t)BUFFER * at;
        if (r->packed) {
            slots[at].addr = addr;
            slots[at].len = len;
            slots[at].id = at;
            __atomic_store_n(&slots[at].flags, (uint16_t)(state | write), __ATOMIC_RELEASE);
        } else {
            desc[at] = (struct vs_desc){.addr = addr, .len = len, .flags = write};
            avail->ring[at] = at;
        }
    }
    if (!r->packed)
        __atomic_store_n(&avail->idx, r->idx, __ATOMIC_RELEASE);
}

static void start(struct ring *r, struct vs_port *port, unsigned number, bool packed, bool busy, int kick_fd)
{
    *r = (struct ring){.desc = take(16 * RING),
                       .avail = take(6 + 2 * RING),
                       .used = take(6 + 8 * RING),
                       .buffers = busy ? take((uint64_t)BUFFER * RING) : 0,
                       .packed = packed,
                       .writable = number == 0};
    struct vs_vring_config cfg = {.features = 1ull << VS_VIRTIO_F_VERSION_1 |
                                              1ull << VS_VIRTIO_NET_F_MRG_RXBUF |
                                              (uint64_t)packed << VS_VIRTIO_F_RING_PACKED,
                                  .desc = UVA + r->desc,
                                  .avail = UVA + r->avail,
                                  .used = UVA + r->used,
                                  .size = RING,
                                  .base = packed ? VS_SLOT_WRAP : 0,
                                  .kick_fd = kick_fd,
                                  .call_fd = -1,
                                  .err_fd = -1};
    if (vs_vhost_ring_start(port, number, mem, &cfg) != 0)
        exit(1);
    if (number == 0 && busy)
        publish(r, RING - 64);
}

static void write_frames(const struct ring *r)
{
    static const uint8_t udp[42] = {2,    0, 0,  0,   0, 2, 2, 0,   0,  0,   0, 1,  8,  0,
                                    0x45, 0, 0,  46,  0, 0, 0, 0,   64, 17,  0, 0,  10, 254,
                                    0,    0, 10, 253, 0, 0, 3, 232, 3,  233, 0, 26, 0,  0};
    for (uint64_t i = 0; i < RING; i++)
        memcpy(memory + r->buffers + BUFFER * i + HEADER, udp, sizeof udp);
}

/* Memory for all guests; false: there is none. */
static bool make_memory(void)
{
    int error;
    memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    struct vs_guest_region region = {.gpa = GPA, .uva = UVA, .size = MEMORY, .host = memory};
    mem = memory == MAP_FAILED ? NULL : vs_guest_mem_new(&region, 1, &error);
    return mem != NULL;
}

/* Port 1 to port 2 and back. */
static void add_rules(vs_bridge *b)
{
    for (uint8_t in = 1; in <= 2; in++) {
        struct vs_key value = {.in_port = {0, 0, 0, in}}, mask = {{0}};
        memset(mask.in_port, 255, sizeof mask.in_port);
        struct vs_rule_spec spec = {.priority = 10, .goto_table = -1, .n_apply = 1};
        struct vs_action out = {.type = VS_ACT_OUTPUT, .arg = 3u - in, .max_len = 0xffff};
        if (vs_bridge_rule_add(b, &spec, &value, &mask, &out) == 0)
            exit(1);
    }
    vs_bridge_commit(b);
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

#endif
