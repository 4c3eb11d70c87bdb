/* ports.c: what a port costs a core that has nothing for it: cycles of a turn with 2 busy ports and N idle ones, in one thread.
 *
 * How it works: vhost ports whose guest memory is ours. Two of them get 32 frames of 60 bytes before each turn of a manual core, as in
 * loop.c, or none (`quiet`); the turn alone is timed. Worlds with different numbers of idle ports take turns, block by block,
 * so the difference of their medians, divided by the number of ports, hardly feels a noisy machine. Every ring begins on a page of its own, as
 * guests lay them out: the words that tell of work all fall into the same sets of the first cache.
 * Arguments: rounds. Build and run: python tests/bench/ports.py
 */
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
    BLOCK = 20,
    BUSY = 2,
    WORLDS = 4,
};
static const uint64_t UVA = 0x7000000000, MEMORY = 96 << 20;
static const unsigned IDLE[WORLDS] = {0, 16, 128, 512};

struct ring {
    uint64_t desc, avail, used, buffers; /* offsets into the guest's memory */
    uint16_t idx;
    bool packed, writable;
};

struct world {
    vs_dp *dp;
    struct ring rings[BUSY][2];
    uint64_t *cycles;
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

static void start(struct ring *r, struct vs_port *port, unsigned number, bool packed, bool busy)
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
                                  .kick_fd = -1,
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

static void add_rules(vs_bridge *b)
{
    for (uint8_t in = 1; in <= BUSY; in++) {
        struct vs_key value = {.in_port = {0, 0, 0, in}}, mask = {{0}};
        memset(mask.in_port, 255, sizeof mask.in_port);
        struct vs_rule_spec spec = {.priority = 10, .goto_table = -1, .n_apply = 1};
        struct vs_action out = {.type = VS_ACT_OUTPUT, .arg = 3u - in, .max_len = 0xffff};
        if (vs_bridge_rule_add(b, &spec, &value, &mask, &out) == 0)
            exit(1);
    }
    vs_bridge_commit(b);
}

/* The busy ports stand at both ends of the list. */
static void make(struct world *w, unsigned idle, bool packed, uint32_t rounds)
{
    unsigned n = idle + BUSY;
    w->dp = vs_dp_new(1 << 12, 1);
    w->cycles = calloc(rounds, sizeof *w->cycles);
    struct vs_rxq_pin *pins = calloc(n, sizeof *pins);
    if (w->dp == NULL || w->cycles == NULL || pins == NULL || vs_dp_core_add(w->dp, -1) < 0)
        exit(1);
    vs_bridge *b = vs_dp_bridge_add(w->dp, "bench");
    for (unsigned i = 0; i < n; i++) {
        struct vs_port *port = vs_vhost_new("bench");
        unsigned busy = i == 0 ? 1 : i == n - 1 ? 2 : 0;
        struct ring other;
        for (unsigned number = 0; number < 2; number++)
            start(busy != 0 ? &w->rings[busy - 1][number] : &other, port, number, packed, busy != 0);
        if (busy != 0)
            write_frames(&w->rings[busy - 1][1]);
        int index = vs_dp_attach(w->dp, port, b, busy != 0 ? busy : i + BUSY);
        if (index < 0)
            exit(1);
        pins[i] = (struct vs_rxq_pin){.port = (uint16_t)index, .core = 1};
    }
    vs_dp_assign(w->dp, pins, n);
    free(pins);
    add_rules(b);
}

/* One round: what the guests do, then one timed turn of the core. */
static uint64_t turn(struct world *w, bool busy)
{
    for (unsigned p = 0; busy && p < BUSY; p++) {
        publish(&w->rings[p][1], VS_BATCH);
        publish(&w->rings[p][0], VS_BATCH);
    }
    atomic_thread_fence(memory_order_seq_cst); /* what the guests wrote has left the store buffer */
    uint64_t before = vs_cycles();
    if (vs_dp_poll(w->dp) != (busy ? BUSY * VS_BATCH : 0))
        exit(1);
    return vs_cycles() - before;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void measure(struct world *worlds, const char *layout, bool busy, uint32_t rounds)
{
    double none = 0;
    for (uint32_t i = 0; i < rounds; i += BLOCK)
        for (unsigned k = 0; k < WORLDS; k++)
            for (uint32_t at = i; at < VS_MIN(i + BLOCK, rounds); at++)
                worlds[k].cycles[at] = turn(&worlds[k], busy);
    for (unsigned k = 0; k < WORLDS; k++) {
        qsort(worlds[k].cycles, rounds, sizeof *worlds[k].cycles, by_value);
        double median = (double)worlds[k].cycles[rounds / 2];
        none = k == 0 ? median : none;
        printf("%-6s %-5s %4u idle ports: %8.0f cycles a turn", layout, busy ? "busy" : "quiet", IDLE[k],
               median);
        printf(k == 0 ? "\n" : ", %6.1f for each idle port\n", (median - none) / VS_MAX(IDLE[k], 1u));
    }
}

int main(int argc, char **argv)
{
    uint32_t rounds = argc == 2 ? (uint32_t)strtoul(argv[1], NULL, 10) : 0;
    int error;
    memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    struct vs_guest_region region = {.gpa = GPA, .uva = UVA, .size = MEMORY, .host = memory};
    mem = vs_guest_mem_new(&region, 1, &error);
    if (rounds == 0 || memory == MAP_FAILED || mem == NULL)
        return 1;
    static struct world worlds[2][WORLDS];
    for (unsigned packed = 0; packed < 2; packed++)
        for (unsigned k = 0; k < WORLDS; k++)
            make(&worlds[packed][k], IDLE[k], packed == 1, rounds);
    for (unsigned packed = 0; packed < 2; packed++)
        for (unsigned busy = 0; busy < 2; busy++)
            measure(worlds[packed], packed ? "packed" : "split", busy == 1, rounds);
    return 0;
}
