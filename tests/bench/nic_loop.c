/* nic_loop.c: cycles per packet of NIC drivers, from NIC to NIC, against the device models of tests/devices; and of vhost-user rings beside them.
 *
 * How it works: two ports of one kind. In each round 32 frames arrive at the first (the model fills buffers and descriptors: not timed), rx, tx on the second, and
 * rx_release are timed each on its own, then the model sends what stands in the ring (not timed). No classification: descriptor handling, head
 * copied, buffers handed over, which is what ixy's figures hold too. The model runs on the same core, so descriptors are warm, but so is
 * whatever it touched: before each round the frames' first lines are read away from the first-level cache by walking over EVICT bytes.
 * `vhost`: the same rounds between two vhost-user ports with split rings, one copy of the frame each.
 * Arguments: kind, frame length, rounds. Build and run: python tests/bench/nic_loop.py
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "model.h"
#include "vhost_port.h"

enum {
    WINDOW = 256 << 20,
    BUFFERS = 16 << 20,
    RINGS = 16 << 20,
    EVICT = 64 << 10, /* twice a first-level cache */
    DESC = 512,
    VRING = 1024,
    VBUFFER = 2048,
    VHEADER = 12,
    GPA = 1 << 20,
};
#define IOVA UINT64_C(0x100000000)
#define UVA UINT64_C(0x7000000000)

struct model *model_new(const char *kind, uint32_t flags);
void model_env(struct model *m, void *env);
int model_map(struct model *m, uint64_t iova, void *at, uint64_t length);
int model_receive(struct model *m, const uint8_t *frame, uint32_t len, const struct model_meta *meta);
int model_take(struct model *m, uint8_t *to, uint32_t max, uint32_t *queue);
void model_run(struct model *m);

/* One end of the path: how frames come to it and leave it, untimed. */
struct end {
    struct vs_port *port;
    struct model *model; /* NULL: vhost */
    uint64_t desc, avail, used, buffers;
    uint16_t idx;
    bool receives; /* from the guest's view: ring 0 */
};

static struct vs_packet packets[VS_BATCH];
static struct vs_port_counters counters;
static uint8_t frame[16384], evict[EVICT], *memory;
static uint32_t frame_len;
static uint64_t taken;

static void fail(const char *what)
{
    fprintf(stderr, "nic_loop: %s\n", what);
    exit(1);
}

static void start_nic(struct end *e, const char *kind, unsigned number)
{
    struct vs_nic_env env;
    struct vs_nic_info info;
    struct vs_nic_link link;
    e->model = model_new(kind, 0);
    if (e->model == NULL)
        fail("no such kind");
    model_map(e->model, IOVA, vs_dma_base(), WINDOW);
    model_env(e->model, &env);
    e->port = vs_nic_new(kind);
    struct vs_nic_config c = {
        .n_rxq = 1, .n_txq = 1, .rx_desc = DESC, .tx_desc = DESC, .mtu = 9000, .rx_mode = 1};
    if (vs_nic_attach(e->port, kind, &env) != 0 || vs_nic_probe(e->port, &info) != 0)
        fail(vs_nic_error(e->port));
    if (info.max_desc < DESC)
        c.rx_desc = c.tx_desc = info.max_desc;
    int fd = -1;
    if (vs_nic_start(e->port, &c, BUFFERS + number * (RINGS / 2), &fd, -1) != 0)
        fail(vs_nic_error(e->port));
    vs_nic_link(e->port, &link);
}

/* ---- a guest's ring ------------------------------------------------------------------------------------------------ */

static uint64_t take(uint64_t n)
{
    uint64_t at = taken;
    taken += (n + 4095) & ~UINT64_C(4095);
    return at;
}

static void publish(struct end *e)
{
    struct vs_desc *desc = (struct vs_desc *)(void *)(memory + e->desc);
    struct vs_avail *avail = (struct vs_avail *)(void *)(memory + e->avail);
    for (unsigned n = 0; n < VS_BATCH; n++, e->idx++) {
        uint16_t at = e->idx % VRING;
        desc[at] = (struct vs_desc){.addr = GPA + e->buffers + (uint64_t)VBUFFER * at,
                                    .len = e->receives ? VBUFFER : VHEADER + frame_len,
                                    .flags = e->receives ? VS_DESC_WRITE : 0};
        avail->ring[at] = at;
    }
    __atomic_store_n(&avail->idx, e->idx, __ATOMIC_RELEASE);
}

static void start_vhost(struct end *e, unsigned number)
{
    static struct vs_guest_mem *mem;
    int error = 0;
    if (mem == NULL) {
        memory =
            mmap(NULL, 16 << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
        struct vs_guest_region region = {.gpa = GPA, .uva = UVA, .size = 16 << 20, .host = memory};
        mem = vs_guest_mem_new(&region, 1, &error);
    }
    e->receives = number == 1; /* we send to the second guest */
    e->desc = take(16 * VRING), e->avail = take(6 + 2 * VRING), e->used = take(6 + 8 * VRING);
    e->buffers = take((uint64_t)VBUFFER * VRING);
    for (uint64_t i = 0; i < VRING; i++)
        memcpy(memory + e->buffers + VBUFFER * i + VHEADER, frame, frame_len);
    struct vs_vring_config cfg = {.features =
                                      1ull << VS_VIRTIO_F_VERSION_1 | 1ull << VS_VIRTIO_NET_F_MRG_RXBUF,
                                  .desc = UVA + e->desc,
                                  .avail = UVA + e->avail,
                                  .used = UVA + e->used,
                                  .size = VRING,
                                  .kick_fd = -1,
                                  .call_fd = -1,
                                  .err_fd = -1};
    e->port = vs_vhost_new("bench");
    if (mem == NULL || vs_vhost_ring_start(e->port, e->receives ? 0 : 1, mem, &cfg) != 0)
        fail("the vhost ring does not start");
    if (e->receives)
        for (unsigned i = 0; i < VRING / VS_BATCH - 1; i++)
            publish(e);
}

/* ---- rounds -------------------------------------------------------------------------------------------------------- */

static void arrive(struct end *e)
{
    if (e->model == NULL) {
        publish(e);
        return;
    }
    for (unsigned i = 0; i < VS_BATCH; i++)
        if (model_receive(e->model, frame, frame_len, NULL) != 1)
            fail("the model has no descriptor");
}

static void leave(struct end *e)
{
    static uint8_t out[16384];
    if (e->model == NULL) {
        publish(e);
        return;
    }
    model_run(e->model);
    unsigned n = 0;
    while (model_take(e->model, out, sizeof out, NULL) >= 0)
        n++;
    if (n != VS_BATCH || memcmp(out, frame, frame_len) != 0)
        fail("not what was sent");
}

static void round_of(struct end *from, struct end *to, uint64_t cycles[2])
{
    struct vs_packet *pkts[VS_BATCH];
    arrive(from);
    for (unsigned i = 0; i < VS_BATCH; i++) {
        pkts[i] = &packets[i];
        vs_packet_reset(pkts[i], from->port);
    }
    for (unsigned i = 0; i < EVICT; i += 64)
        __atomic_fetch_add(&evict[i], 1, __ATOMIC_RELAXED);
    uint64_t t0 = vs_cycles();
    int n = from->port->ops->rx(from->port, 0, pkts, VS_BATCH, &counters);
    uint64_t t1 = vs_cycles();
    if (n != VS_BATCH)
        fail("received too little");
    for (int i = 0; i < n; i++)
        pkts[i]->queued = 1;
    uint64_t t2 = vs_cycles();
    to->port->ops->tx(to->port, 0, pkts, n, &counters);
    from->port->ops->rx_release(from->port, 0);
    uint64_t t3 = vs_cycles();
    cycles[0] = t1 - t0;
    cycles[1] = t3 - t2;
    leave(to);
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    bool vhost = strcmp(argv[1], "vhost") == 0;
    uint32_t rounds = (uint32_t)strtoul(argv[3], NULL, 10);
    frame_len = (uint32_t)strtoul(argv[2], NULL, 10);
    for (unsigned i = 0; i < frame_len; i++)
        frame[i] = (uint8_t)(i * 7);
    memcpy(frame, "\2\0\0\0\0\1\2\0\0\0\0\2\x88\xb5", 14);
    if (vs_dma_reserve(WINDOW) != 0 || vs_dma_back(0, BUFFERS + RINGS + (2 << 20), 0) != 0)
        fail("no memory");
    vs_dma_set_iova(IOVA);
    if (vs_dma_add_buffers(0, BUFFERS, 0) < 0)
        fail("no buffers");
    struct end ends[2] = {0};
    for (unsigned i = 0; i < 2; i++)
        if (vhost)
            start_vhost(&ends[i], i);
        else
            start_nic(&ends[i], argv[1], i);
    uint64_t *all[2] = {calloc(rounds, 8), calloc(rounds, 8)};
    for (uint32_t r = 0; r < rounds + 100; r++) {
        uint64_t cycles[2];
        round_of(&ends[0], &ends[1], cycles);
        for (unsigned k = 0; r >= 100 && k < 2; k++)
            all[k][r - 100] = cycles[k];
    }
    double median[2];
    for (unsigned k = 0; k < 2; k++) {
        qsort(all[k], rounds, 8, by_value);
        median[k] = (double)all[k][rounds / 2] / VS_BATCH;
    }
    printf("%-11s %5u bytes: rx %6.1f, tx %6.1f, together %6.1f cycles a packet\n", argv[1], frame_len,
           median[0], median[1], median[0] + median[1]);
    return 0;
}
