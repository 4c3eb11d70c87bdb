/* count_copies.c: how many bytes the switch moves for each byte that it forwards from guest to guest.
 *
 * How it works: the whole datapath is compiled with its copying functions replaced by ones that count (-Dmemcpy=..., -Dmemmove=...);
 * there is no other way in which it moves bytes of frames. Two guests are ports of a bridge with a rule from one to the other; a turn of
 * the core moves a batch. Arguments: bytes of a frame, bytes of a receive buffer, 1 when the frame is to be segmented by who receives it, 1 when the
 * receiver takes that, too. Prints bytes moved, and frame bytes forwarded, per frame sent.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "datapath.h"
#include "vhost_header.h"
#include "vhost_port.h"

enum { RING = 256, HEADER = 12, MEMORY = 64 << 20, GPA = 1 << 20, FRAMES = 4 };
static const uint64_t UVA = 0x7000000000;

static uint64_t moved;
static uint8_t *memory;
static uint64_t taken;

void *counted_memcpy(void *to, const void *from, size_t n);
void *counted_memmove(void *to, const void *from, size_t n);

void *counted_memcpy(void *to, const void *from, size_t n)
{
    moved += n;
    return __builtin_memcpy(to, from, n);
}

void *counted_memmove(void *to, const void *from, size_t n)
{
    moved += n;
    return __builtin_memmove(to, from, n);
}

static uint64_t take(uint64_t n)
{
    uint64_t at = taken;
    taken += (n + 4095) & ~(uint64_t)4095;
    return at;
}

struct ring {
    uint64_t desc, avail, used, buffers;
};

/* A ring whose first `n` chains are ready: one buffer of `len` bytes each. */
static struct ring start(struct vs_port *port, unsigned number, const struct vs_guest_mem *mem, uint32_t len,
                         uint16_t n)
{
    struct ring r = {take(16 * RING), take(6 + 2 * RING), take(6 + 8 * RING), take((uint64_t)len * RING)};
    struct vs_desc *desc = (struct vs_desc *)(void *)(memory + r.desc);
    struct vs_avail *avail = (struct vs_avail *)(void *)(memory + r.avail);
    for (uint16_t i = 0; i < RING; i++) {
        desc[i] = (struct vs_desc){.addr = GPA + r.buffers + (uint64_t)len * i,
                                   .len = len,
                                   .flags = number == 0 ? VS_DESC_WRITE : 0};
        avail->ring[i] = i;
    }
    uint64_t offload = number == 0 ? 1u << VS_VIRTIO_NET_F_GUEST_CSUM | 1u << VS_VIRTIO_NET_F_GUEST_TSO4
                                   : 1u << VS_VIRTIO_NET_F_CSUM | 1u << VS_VIRTIO_NET_F_HOST_TSO4;
    struct vs_vring_config cfg = {.features = 1ull << VS_VIRTIO_F_VERSION_1 |
                                              1u << VS_VIRTIO_NET_F_MRG_RXBUF |
                                              (number == 1 || port->name[0] == 'o' ? offload : 0),
                                  .desc = UVA + r.desc,
                                  .avail = UVA + r.avail,
                                  .used = UVA + r.used,
                                  .size = RING,
                                  .kick_fd = -1,
                                  .call_fd = -1,
                                  .err_fd = -1};
    if (vs_vhost_ring_start(port, number, mem, &cfg) != 0)
        exit(1);
    avail->idx = n;
    return r;
}

static void write_frames(const struct ring *r, uint32_t len, bool gso)
{
    static const uint8_t tcp[54] = {2, 0, 0, 0, 0, 2, 2,  0, 0, 0, 0,  1, 8, 0, 0x45, 0,
                                    0, 0, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10,   0,
                                    0, 2, 0, 1, 0, 2, 0,  0, 0, 0, 0,  0, 0, 0, 0x50, 16};
    struct vs_net_hdr h = {.flags = gso ? VS_NET_HDR_NEEDS_CSUM : 0,
                           .gso_type = gso ? VS_GSO_TCPV4 : 0,
                           .gso_size = gso ? 1448 : 0,
                           .csum_start = 34,
                           .csum_offset = 16};
    for (uint64_t i = 0; i < FRAMES; i++) {
        uint8_t *at = memory + r->buffers + (HEADER + (uint64_t)len) * i;
        __builtin_memcpy(at, &h, sizeof h);
        __builtin_memcpy(at + HEADER, tcp, sizeof tcp);
        vs_put_be16(at + HEADER + 16, (uint16_t)(len - 14));
    }
}

int main(int argc, char **argv)
{
    if (argc != 5)
        return 2;
    uint32_t len = (uint32_t)strtoul(argv[1], NULL, 10), buffer = (uint32_t)strtoul(argv[2], NULL, 10);
    bool gso = argv[3][0] == '1', takes = argv[4][0] == '1';
    memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct vs_guest_region region = {.gpa = GPA, .uva = UVA, .size = MEMORY, .host = memory};
    int error;
    struct vs_guest_mem *mem = vs_guest_mem_new(&region, 1, &error);
    vs_dp *dp = vs_dp_new(1 << 10, 1);
    if (memory == MAP_FAILED || mem == NULL || dp == NULL || vs_dp_core_add(dp, -1) < 0)
        return 1;
    vs_bridge *b = vs_dp_bridge_add(dp, "bench");
    struct vs_port *from = vs_vhost_new("from"), *to = vs_vhost_new(takes ? "offloads" : "plain");
    struct ring out = start(from, 1, mem, HEADER + len, FRAMES);
    start(to, 0, mem, buffer, RING);
    write_frames(&out, len, gso);
    struct vs_rxq_pin pin = {.port = (uint16_t)vs_dp_attach(dp, from, b, 1), .core = 1};
    vs_dp_attach(dp, to, b, 2);
    vs_dp_assign(dp, &pin, 1);
    struct vs_key any = {.in_port = {0}};
    struct vs_rule_spec spec = {.priority = 1, .goto_table = -1, .n_apply = 1};
    struct vs_action output = {.type = VS_ACT_OUTPUT, .arg = 2, .max_len = 0xffff};
    if (vs_bridge_rule_add(b, &spec, &any, &any, &output) == 0)
        return 1;
    vs_bridge_commit(b);
    moved = 0;
    if (vs_dp_poll(dp) != FRAMES)
        return 1;
    uint64_t counted = moved;
    struct vs_core_stats s;
    vs_dp_core_stats(dp, 1, &s);
    printf("%llu %llu\n", (unsigned long long)counted / FRAMES,
           (unsigned long long)vs_count_read(&to->counters[1]->tx_bytes) / FRAMES);
    return s.tx_packets == FRAMES ? 0 : 1;
}
