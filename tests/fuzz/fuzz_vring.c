/* fuzz_vring.c: any ring contents through receive and transmit of a vhost-user port.
 *
 * The input is laid over the guest's memory: descriptor table, available rings, an indirect table, buffers; then indexes and descriptors
 * change between batches, so that chains which were looked at ahead are no longer what they were. Memory is two regions that
 * touch in guest addresses but lie in two allocations of exact size, so that the sanitizer sees every byte too far.
 * With clang: `clang -fsanitize=fuzzer,address,undefined -Ivswitchd/datapath -Ivswitchd/ports/vhostuser
 * tests/fuzz/fuzz_vring.c vswitchd/ports/vhostuser/*.c
 * vswitchd/datapath/{packet,offload,qsbr}.c`. With -DVS_REPLAY it has a main of its own: it replays the files named on the command line, and
 * for each a number of mutations (VS_ROUNDS, default 2000) with a fixed seed.
 * What must hold: no byte outside guest memory is touched; each packet offered is sent or dropped once; each chain taken is given back;
 * what was received is as long as it says and readable.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "vhost_port.h"

enum {
    RING = 16,
    PART = 0x14000,   /* bytes of each region: longer than the longest usual chain (vring_ahead.h) */
    DESC = 0,         /* where things lie in the first region */
    SLOTS_TX = 0x100, /* packed; the other one lies at DESC */
    AVAIL_RX = 0x200,
    AVAIL_TX = 0x280,
    USED_RX = 0x300,
    USED_TX = 0x400,
    TABLE = 0x800,
    INPUT_MAX = 2048,
    BATCHES = 12,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* port.c needs a whole datapath; this is what the driver needs of it. */
void vs_port_init(struct vs_port *port, const struct vs_port_ops *ops, const char *name, uint16_t n_rxq)
{
    memset(port, 0, sizeof *port);
    port->ops = ops;
    port->n_rxq = n_rxq;
    strncpy(port->name, name, sizeof port->name - 1);
}

static void require(int ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "fuzz_vring: %s\n", what);
        abort();
    }
}

/* A number below `below`; the same ones from the same state. */
static uint32_t draw(uint64_t *state, uint32_t below)
{
    *state = *state * 6364136223846793005 + 1442695040888963407;
    return (uint32_t)(*state >> 33) % below;
}

static uint64_t drops(const struct vs_port_counters *c, int from, int to)
{
    uint64_t n = 0;
    for (int i = from; i < to; i++)
        n += c->drops[i];
    return n;
}

static void receive(struct vs_port *port, struct vs_port_counters *c)
{
    static struct vs_packet pool[VS_BATCH];
    static uint8_t copy[VS_MAX_FRAME];
    struct vs_packet *pkts[VS_BATCH];
    for (int i = 0; i < VS_BATCH; i++) {
        pkts[i] = &pool[i];
        vs_packet_reset(pkts[i], port);
    }
    uint64_t before = c->rx_packets, dropped = drops(c, 0, VS_N_RX_DROPS);
    int got = port->ops->rx(port, 0, pkts, VS_BATCH, c);
    require(c->rx_packets - before == (uint64_t)got + drops(c, 0, VS_N_RX_DROPS) - dropped,
            "a chain was not counted");
    for (int i = 0; i < got; i++) {
        uint32_t len = vs_packet_copy_out(pkts[i], copy, sizeof copy);
        require(len == pkts[i]->frame_len && len >= 14, "a frame is not as long as it says");
    }
    port->ops->rx_release(port, 0);
}

static void send(struct vs_port *port, uint32_t len, bool partial, struct vs_port_counters *c)
{
    static struct vs_packet packet;
    static uint8_t frame[9018];
    struct vs_packet *p = &packet;
    vs_packet_reset(p, port);
    vs_packet_fill(p, frame, len);
    p->csum = partial ? VS_CSUM_PARTIAL : VS_CSUM_NONE;
    p->csum_start = 34;
    p->csum_offset = 6;
    uint64_t before = c->tx_packets + drops(c, VS_N_RX_DROPS, VS_N_DROPS);
    port->ops->tx(port, 0, &p, 1, c);
    require(c->tx_packets + drops(c, VS_N_RX_DROPS, VS_N_DROPS) == before + 1, "a packet was not counted");
}

/* Byte 0 chooses features, byte 1 whether a part of memory is missing and, of packed rings, where they begin and how long they are; the
 * rest is memory. */
/* A batch of packets, most of them short. */
static void send_batch(struct vs_port *port, struct vs_port_counters *c, uint64_t *state)
{
    static struct vs_packet pool[VS_BATCH];
    static uint8_t frame[9018];
    struct vs_packet *p[VS_BATCH];
    int n = 1 + (int)draw(state, VS_BATCH);
    for (int i = 0; i < n; i++) {
        p[i] = &pool[i];
        vs_packet_reset(p[i], port);
        vs_packet_fill(p[i], frame, draw(state, 4) == 0 ? 14 + draw(state, 9000) : 60);
        if (draw(state, 10) == 0) {
            p[i]->csum = VS_CSUM_PARTIAL;
            p[i]->csum_start = 14;
            p[i]->csum_offset = 6;
        }
    }
    uint64_t before = c->tx_packets + drops(c, VS_N_RX_DROPS, VS_N_DROPS);
    port->ops->tx(port, 0, p, n, c);
    require(c->tx_packets + drops(c, VS_N_RX_DROPS, VS_N_DROPS) == before + (uint64_t)n,
            "packets of a batch were not counted");
}

/* The guest goes on: indexes mostly forward, some descriptors, of which those from 16 on are for us to write. */
static void go_on(uint8_t *first, uint64_t *state)
{
    static const uint16_t indexes[] = {AVAIL_RX + 2, AVAIL_TX + 2};
    for (unsigned i = 0; i < 2; i++) {
        uint16_t *at = (uint16_t *)(void *)(first + indexes[i]);
        *at = (uint16_t)(*at + draw(state, 18) - (draw(state, 8) == 0 ? 6 : 0));
    }
    for (uint32_t k = draw(state, 6); k > 0; k--) {
        unsigned d = draw(state, 2 * RING);
        struct vs_desc *desc = (struct vs_desc *)(void *)first + d;
        uint16_t write = d >= RING ? VS_DESC_WRITE : 0;
        switch (draw(state, 4)) {
        case 0:
            desc->addr = draw(state, 3 * PART);
            break;
        case 1:
            desc->len = draw(state, 2) ? 26 + draw(state, 2000) : draw(state, 100000);
            break;
        case 2: /* packed: available, in either lap */
            desc->next = (uint16_t)((draw(state, 2) ? 0x80 : 0x8000) | write);
            break;
        default:
            *desc = (struct vs_desc){
                .addr = draw(state, 2 * PART), .len = 26 + draw(state, 3000), .flags = write};
        }
    }
}

/* Batches each way while the guest goes on. */
static void forward(struct vs_port *port, struct vs_port_counters *c, uint8_t *first, uint64_t state)
{
    for (int i = 0; i < BATCHES; i++) {
        struct vs_watch watch;
        go_on(first, &state);
        receive(port, c);
        send_batch(port, c, &state);
        if (port->ops->rx_watch(port, 0, &watch))
            (void)vs_watch_quiet(&watch);
    }
}

static void lay(uint8_t *first, uint8_t *second, const uint8_t *data, size_t size)
{
    memset(first, 0, PART);
    memset(second, 0x11, PART);
    size_t n = VS_MIN(size, (size_t)0x300);
    memcpy(first, data, n);
    if (size > n)
        memcpy(first + TABLE, data + n, size - n);
    memset(first + USED_RX, 0, TABLE - USED_RX); /* we start at used index 0 */
}

static struct vs_vring_config config(uint64_t features, uint8_t shape, bool tx)
{
    bool packed = (features >> VS_VIRTIO_F_RING_PACKED & 1) != 0;
    uint32_t size = packed && (shape & 0x40) != 0 ? 13 : RING;
    return (struct vs_vring_config){
        .features = features,
        .desc = 0x100000 + (packed && tx ? SLOTS_TX : DESC),
        .avail = 0x100000 + (tx ? AVAIL_TX : AVAIL_RX),
        .used = 0x100000 + (tx ? USED_TX : USED_RX),
        .size = size,
        .base = (shape >> 1 & 15) % size | ((shape & 0x20) == 0 ? VS_SLOT_WRAP : 0),
        .kick_fd = -1,
        .call_fd = (shape & 0x80) != 0
                       ? INT_MAX
                       : -1, /* no such descriptor: whether to call is found out, nobody hears it */
        .err_fd = -1,
    };
}

/* Records in flight whose contents are the input, too, under a header that gets them read. */
static uint8_t *records(const uint8_t *data, size_t size, uint32_t ring_size)
{
    uint64_t part = vs_inflight_size(ring_size, 1);
    uint8_t *memory = calloc(2, part);
    for (unsigned i = 0; i < 2; i++) {
        uint8_t *p = memory + i * part;
        memcpy(p, data + size / (2 + i), VS_MIN(size - size / (2 + i), part));
        p[8] = 1; /* version */
        p[9] = 0;
        p[10] = (uint8_t)ring_size; /* desc_num */
        p[11] = 0;
        for (unsigned k = 16; k < 22; k++) /* positions and wrap counters: nearly possible ones */
            p[k] = k >= 20 ? p[k] & 1 : k % 2 == 0 ? p[k] & 15 : 0;
        p[22] = 0x56;
        p[25] = 0; /* pushed */
    }
    return memory;
}

static void stop(struct vs_port *port, unsigned ring, bool packed)
{
    struct vs_vhost_ring_info info;
    vs_vhost_ring_info(port, ring, &info);
    require(vs_vhost_ring_unpublish(port, ring) == 1, "a ring did not run");
    int64_t base = vs_vhost_ring_reap(port, ring);
    if (packed)
        require((base & 0xffff) == base >> 16 && (base & VS_SLOT_INDEX) < info.size,
                "a list that was taken was not given back");
    else
        require(base == (uint16_t)info.stats.chains, "a chain that was taken was not given back");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > INPUT_MAX)
        return 0;
    uint8_t *first = malloc(PART), *second = malloc(PART);
    struct vs_port_counters *c = calloc(1, sizeof *c);
    struct vs_port *port = vs_vhost_new("fuzz");
    struct vs_guest_region rows[] = {
        {.gpa = 0, .uva = 0x100000, .size = PART, .host = first},
        {.gpa = PART, .uva = 0x900000, .size = PART, .host = second},
    };
    uint64_t features = (uint64_t)(data[0] & 1) << VS_VIRTIO_NET_F_MRG_RXBUF |
                        (uint64_t)(data[0] >> 1 & 1) << VS_VIRTIO_F_VERSION_1 |
                        (uint64_t)(data[0] >> 2 & 1) << VS_VIRTIO_F_INDIRECT_DESC |
                        (uint64_t)(data[0] >> 3 & 1) << VS_VIRTIO_F_EVENT_IDX |
                        (uint64_t)(data[0] >> 4 & 1) << VS_VIRTIO_F_RING_PACKED |
                        (uint64_t)(data[0] >> 6 & 1) << VS_VIRTIO_F_IN_ORDER |
                        (uint64_t)(data[0] >> 7 & 1) << VS_VIRTIO_NET_F_CSUM;
    bool packed = (data[0] >> 4 & 1) != 0;
    int error;
    lay(first, second, data + 2, size - 2);
    struct vs_guest_mem *mem = vs_guest_mem_new(rows, data[1] & 1 ? 1 : 2, &error);
    struct vs_vring_config rx = config(features, data[1], false), tx = config(features, data[1], true);
    uint8_t *record = NULL;
    if (packed && (data[0] & 0x20) != 0) {
        uint64_t part = vs_inflight_size(rx.size, 1);
        record = records(data, size, rx.size);
        rx.inflight = vs_inflight_new(record, 2 * part, 1, rx.size, 1, 1);
        tx.inflight = vs_inflight_new(record, 2 * part, 0, tx.size, 1, 1);
    }
    require(mem != NULL && vs_vhost_ring_start(port, 1, mem, &rx) == 0 &&
                vs_vhost_ring_start(port, 0, mem, &tx) == 0,
            "the rings do not start");
    receive(port, c);
    send(port, 60, false, c);
    send(port, 1514, false, c);
    send(port, 9018, false, c);
    send(port, 100, true, c);
    forward(port, c, first, data[0] | (uint64_t)data[size - 1] << 8);
    (void)port->ops->rx_arm(port, 0);
    port->ops->rx_disarm(port, 0, true);
    receive(port, c);
    stop(port, 0, packed);
    stop(port, 1, packed);
    port->ops->destroy(port);
    vs_inflight_free(rx.inflight);
    vs_inflight_free(tx.inflight);
    free(record);
    vs_guest_mem_free(mem);
    free(c);
    free(first);
    free(second);
    return 0;
}

#ifdef VS_REPLAY
/* Change a few fields to values that are on some edge. */
static void mutate(uint8_t *data, size_t size, uint64_t *state)
{
    static const uint64_t edges[] = {0,          1,          2,         4,     6,        7,      12,
                                     15,         16,         17,        0x800, PART - 8, PART,   2 * PART - 1,
                                     2 * PART,   0x80,       0x81,      0x82,  0x8000,   0x8080, 0xffff,
                                     0x7fffffff, 0xffffffff, UINT64_MAX};
    for (uint32_t k = 1 + draw(state, 6); k > 0; k--) {
        uint32_t width = 1u << draw(state, 4), at = draw(state, (uint32_t)size);
        at -= at > 2 ? (at - 2) % width : 0;
        uint64_t value =
            draw(state, 3) == 0 ? draw(state, UINT32_MAX) : edges[draw(state, sizeof edges / sizeof *edges)];
        if (at + width <= size)
            memcpy(data + at, &value, width);
    }
}

int main(int argc, char **argv)
{
    static uint8_t data[INPUT_MAX], changed[INPUT_MAX];
    uint64_t state = 0x9e3779b97f4a7c15;
    const char *text = getenv("VS_ROUNDS");
    long rounds = text == NULL ? 2000 : atol(text);
    for (int i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        require(file != NULL, "cannot open a file of the corpus");
        size_t size = fread(data, 1, sizeof data, file);
        fclose(file);
        LLVMFuzzerTestOneInput(data, size);
        for (long k = 0; k < rounds && size > 0; k++) {
            memcpy(changed, data, size);
            mutate(changed, size, &state);
            LLVMFuzzerTestOneInput(changed, size);
        }
    }
    printf("%d files\n", argc - 1);
    return 0;
}
#endif
