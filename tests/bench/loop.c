/* loop.c: cycles per packet of the whole path, vhost-user ring to vhost-user ring, in one thread.
 *
 * How it works: two vhost ports whose guest memory is ours; each round publishes 32 frames of 60 bytes on both, runs one turn
 * of a manual core and times that turn alone. The median over many rounds hardly feels a noisy neighbour; caches are warm
 * and no other core touches the lines, so the figure is a floor: use it to compare two builds, not two switches.
 * Such worlds take turns, block by block, so the ratios of their medians hardly feel it: split rings, packed rings, and both behind
 * a vIOMMU that knows each page of the buffers (warm), no two of which lie in a row: as a guest's strict mode maps them.
 * With `far` the rings (not the frames) leave the caches before each turn, as those of a driver on another core do: there a packed
 * ring costs one line where a split one costs three.
 * Arguments: flows, rules (l4: one rule a port; each: one rule a flow; rings: what one port receives the other sends, with no switching),
 * rounds, near or far, bytes of a frame, and optionally which worlds take part (bits). Build and run: python tests/bench/loop.py
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "datapath.h"
#include "vhost_port.h"

enum {
    RING = 1024,
    BUFFER = 2048,
    HEADER = 12,
    MEMORY = 64 << 20,
    BLOCK = 10, /* rounds of one world before it is the other's turn */
    GPA = 1 << 20,
    FIRST_IP = 0x0afd0000,
    PAGE = 4096,
    KINDS = 4 /* bit 0: packed, bit 1: behind a vIOMMU */
};
static const uint64_t UVA = 0x7000000000;

struct ring {
    uint64_t desc, avail, used, buffers; /* offsets into the guest's memory */
    uint16_t idx;
    unsigned
        apart; /* behind a vIOMMU: buffer i is called i ^ apart, so that neighbouring pages change places */
    bool packed, writable;
};

struct world {
    vs_dp *dp;
    struct vs_port *ports[2];
    struct ring rings[2][2];
    uint64_t *cycles;
    uint32_t flow;
};

static uint8_t *memory;
static uint64_t taken;
static bool far, rings_only;
static uint32_t frame = 60;

static uint64_t take(uint64_t n)
{
    uint64_t at = taken;
    taken += (n + 4095) & ~(uint64_t)4095;
    return at;
}

static struct vs_avail *avail(const struct ring *r)
{
    return (struct vs_avail *)(void *)(memory + r->avail);
}

/* Section 2.8.21: the device wrote into the descriptors, so they are written anew. */
static void publish_packed(struct ring *r, unsigned n)
{
    struct vs_packed_desc *slots = (struct vs_packed_desc *)(void *)(memory + r->desc);
    for (; n > 0; n--, r->idx++) {
        uint16_t at = r->idx % RING, state = r->idx / RING % 2 == 0 ? 0x80 : 0x8000;
        slots[at].addr = GPA + r->buffers + (uint64_t)BUFFER * (at ^ r->apart);
        slots[at].len = r->writable ? BUFFER : HEADER + frame;
        slots[at].id = at;
        __atomic_store_n(&slots[at].flags, (uint16_t)(state | (r->writable ? VS_DESC_WRITE : 0)),
                         __ATOMIC_RELEASE);
    }
}

/* The driver of a split ring writes as much: a descriptor and an entry of the available ring. */
static void publish(struct ring *r, unsigned n)
{
    if (r->packed) {
        publish_packed(r, n);
        return;
    }
    struct vs_desc *desc = (struct vs_desc *)(void *)(memory + r->desc);
    for (; n > 0; n--, r->idx++) {
        uint16_t at = r->idx % RING;
        desc[at] = (struct vs_desc){.addr = GPA + r->buffers + (uint64_t)BUFFER * (at ^ r->apart),
                                    .len = r->writable ? BUFFER : HEADER + frame,
                                    .flags = r->writable ? VS_DESC_WRITE : 0};
        avail(r)->ring[at] = at;
    }
    __atomic_store_n(&avail(r)->idx, r->idx, __ATOMIC_RELEASE);
}

/* The ring itself in one piece, its buffers page by page. */
static void translate(const struct ring *r, struct vs_port *port, const struct vs_guest_mem *mem)
{
    int bad = vs_vhost_iotlb_update(port, mem, GPA + r->desc, r->buffers - r->desc, UVA + r->desc, 3);
    for (uint64_t at = 0; at < (uint64_t)BUFFER * RING; at += PAGE)
        bad |=
            vs_vhost_iotlb_update(port, mem, GPA + r->buffers + (at ^ PAGE), PAGE, UVA + r->buffers + at, 3);
    if (bad != 0)
        exit(1);
}

static void start(struct ring *r, struct vs_port *port, unsigned number, const struct vs_guest_mem *mem,
                  bool packed, bool iommu)
{
    *r = (struct ring){.desc = take(16 * RING),
                       .avail = take(6 + 2 * RING),
                       .used = take(6 + 8 * RING),
                       .buffers = take((uint64_t)BUFFER * RING),
                       .apart = iommu ? PAGE / BUFFER : 0,
                       .packed = packed,
                       .writable = number == 0};
    if (iommu)
        translate(r, port, mem);
    uint64_t base = iommu ? GPA : UVA;
    struct vs_vring_config cfg = {.features = 1ull << VS_VIRTIO_F_VERSION_1 |
                                              1ull << VS_VIRTIO_NET_F_MRG_RXBUF |
                                              (uint64_t)packed << VS_VIRTIO_F_RING_PACKED |
                                              (uint64_t)iommu << VS_VIRTIO_F_ACCESS_PLATFORM,
                                  .desc = base + r->desc,
                                  .avail = base + r->avail,
                                  .used = base + r->used,
                                  .size = RING,
                                  .base = packed ? VS_SLOT_WRAP : 0,
                                  .kick_fd = -1,
                                  .call_fd = -1,
                                  .err_fd = -1};
    if (vs_vhost_ring_start(port, number, mem, &cfg) != 0)
        exit(1);
    if (number == 0)
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

/* Rules as those of the benchmark: in_port,udp and the L4 port, or the flow's address. */
static void add_rules(vs_bridge *b, uint32_t n, bool each)
{
    for (uint32_t i = 0; i < (each ? n : 1); i++)
        for (uint8_t in = 1; in <= 2; in++) {
            struct vs_key value = {.in_port = {0, 0, 0, in}, .eth_type = {8, 0}, .ip_proto = {17}},
                          mask = {.ip_proto = {255}};
            memset(mask.in_port, 255, sizeof mask.in_port);
            memset(mask.eth_type, 255, sizeof mask.eth_type);
            if (each) {
                vs_put_be32(value.ipv4_dst, FIRST_IP + i);
                memset(mask.ipv4_dst, 255, sizeof mask.ipv4_dst);
            } else {
                vs_put_be16(value.tp_dst, 1001);
                memset(mask.tp_dst, 255, sizeof mask.tp_dst);
            }
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

static void send_away(uint64_t at, uint64_t n)
{
#ifdef __x86_64__
    for (uint64_t i = 0; i < n; i += VS_CACHE_LINE)
        __builtin_ia32_clflush(memory + at + i);
#else
    (void)at, (void)n;
    fputs("loop: far is written for x86-64 only\n", stderr);
    exit(2);
#endif
}

static void send_ring_away(const struct ring *r)
{
    send_away(r->desc, 16 * RING);
    send_away(r->avail, r->packed ? 4 : 6 + 2 * RING);
    send_away(r->used, r->packed ? 4 : 6 + 8 * RING);
}

/* A turn without a switch: each port sends what the other received. */
static __attribute__((noinline)) int forward(struct world *w)
{
    static struct vs_packet packets[VS_BATCH];
    struct vs_packet *pkts[VS_BATCH];
    int total = 0;
    for (unsigned p = 0; p < 2; p++) {
        struct vs_port *from = w->ports[p], *to = w->ports[1 - p];
        for (int i = 0; i < VS_BATCH; i++) {
            pkts[i] = &packets[i];
            vs_packet_reset(pkts[i], from);
        }
        int n = from->ops->rx(from, 0, pkts, VS_BATCH, from->counters[1]);
        to->ops->tx(to, 1, pkts, n, to->counters[1]);
        from->ops->rx_release(from, 0);
        total += n;
    }
    return total;
}

/* One round: what the guests do, then one timed turn of the core. */
static uint64_t turn(struct world *w, uint32_t flows)
{
    for (unsigned p = 0; p < 2; p++) {
        struct ring *tx = &w->rings[p][1];
        for (unsigned i = 0; i < VS_BATCH; i++) {
            uint64_t at = (uint64_t)((tx->idx + i) % RING) * BUFFER;
            vs_put_be32(memory + tx->buffers + at + HEADER + 30, FIRST_IP + w->flow++ % flows);
        }
        publish(tx, VS_BATCH);
        publish(&w->rings[p][0], VS_BATCH);
        if (far) {
            send_ring_away(tx);
            send_ring_away(&w->rings[p][0]);
        }
    }
    atomic_thread_fence(memory_order_seq_cst); /* what the guests wrote has left the store buffer */
    uint64_t before = vs_cycles();
    if ((rings_only ? forward(w) : vs_dp_poll(w->dp)) != 2 * VS_BATCH)
        exit(1);
    return vs_cycles() - before;
}

static void make(struct world *w, const struct vs_guest_mem *mem, unsigned kind, uint32_t rules, bool each,
                 uint32_t rounds)
{
    w->dp = vs_dp_new(1 << 18, 1);
    w->cycles = calloc(rounds, sizeof *w->cycles);
    if (w->dp == NULL || w->cycles == NULL || vs_dp_core_add(w->dp, -1) < 0)
        exit(1);
    vs_bridge *b = vs_dp_bridge_add(w->dp, "bench");
    struct vs_rxq_pin pins[2];
    for (unsigned p = 0; p < 2; p++) {
        struct vs_port *port = w->ports[p] = vs_vhost_new("bench");
        for (unsigned number = 0; number < 2; number++)
            start(&w->rings[p][number], port, number, mem, (kind & 1) != 0, (kind & 2) != 0);
        write_frames(&w->rings[p][1]);
        pins[p] = (struct vs_rxq_pin){.port = (uint16_t)vs_dp_attach(w->dp, port, b, p + 1), .core = 1};
    }
    vs_dp_assign(w->dp, pins, 2);
    add_rules(b, rules, each);
}

static double report(const char *what, const char *rules, uint32_t flows, struct world *w, uint32_t rounds)
{
    struct vs_core_stats s = {.rx_packets = 1, .tx_packets = 1};
    if (!rings_only)
        vs_dp_core_stats(w->dp, 1, &s);
    qsort(w->cycles, rounds, sizeof *w->cycles, by_value);
    double median = (double)w->cycles[rounds / 2] / (2 * VS_BATCH);
    printf("%-12s %-5s %8u flows: median %6.1f, tenth %6.1f cycles a packet; cache hits %5.1f %%\n", what,
           rules, flows, median, (double)w->cycles[rounds / 10] / (2 * VS_BATCH),
           100.0 * (double)s.emc_hits / (double)s.rx_packets);
    if (s.tx_packets != s.rx_packets)
        exit(1);
    return median;
}

int main(int argc, char **argv)
{
    if (argc < 6)
        return 2;
    far = strcmp(argv[4], "far") == 0;
    rings_only = strcmp(argv[2], "rings") == 0;
    frame = (uint32_t)strtoul(argv[5], NULL, 10);
    unsigned wanted = argc > 6 ? (unsigned)strtoul(argv[6], NULL, 10) : (1u << KINDS) - 1;
    uint32_t flows = (uint32_t)strtoul(argv[1], NULL, 10), rounds = (uint32_t)strtoul(argv[3], NULL, 10);
    memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    struct vs_guest_region region = {.gpa = GPA, .uva = UVA, .size = MEMORY, .host = memory};
    int error;
    struct vs_guest_mem *mem = vs_guest_mem_new(&region, 1, &error);
    if (flows == 0 || rounds == 0 || frame < 60 || frame > BUFFER - HEADER || memory == MAP_FAILED ||
        mem == NULL)
        return 1;
    static const char *const names[KINDS] = {"split", "packed", "split+iommu", "packed+iommu"};
    static struct world worlds[KINDS];
    double median[KINDS];
    bool each = strcmp(argv[2], "each") == 0;
    for (unsigned kind = 0; kind < KINDS; kind++)
        make(&worlds[kind], mem, kind, flows, each, rounds);
    for (uint32_t i = 0; i < rounds; i += BLOCK)
        for (unsigned kind = 0; kind < KINDS; kind++)
            for (uint32_t k = i; k < VS_MIN(i + BLOCK, rounds) && (wanted >> kind & 1) != 0; k++)
                worlds[kind].cycles[k] = turn(&worlds[kind], flows);
    for (unsigned kind = 0; kind < KINDS; kind++)
        median[kind] =
            (wanted >> kind & 1) == 0 ? 0 : report(names[kind], argv[2], flows, &worlds[kind], rounds);
    if (wanted == (1u << KINDS) - 1)
        printf("packed / split: %.3f; with warm vIOMMU / without: split %.3f, packed %.3f\n",
               median[1] / median[0], median[2] / median[0], median[3] / median[1]);
    return 0;
}
