/* race_rings.c: two guests and the switch on three threads, for ThreadSanitizer: is the order of memory accesses right?
 *
 * Guest A numbers its frames and sends them as fast as it can; the switch forwards; guest B checks that numbers rise and bytes are right.
 * The guests order their accesses as VIRTIO 1.2, 2.7.13, 2.7.14 and 2.8.21, 2.8.22 say, with release and acquire on the two indices
 * (split) or on the flags of a list's first descriptor (packed) and nothing else: whatever the switch orders too weakly is a race that the
 * sanitizer reports. A fourth thread asks for statistics all the time, as the control thread does.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include "qsbr.h"
#include "vhost_port.h"

enum {
    RING = 64,
    BUFFER = 2048,
    PART = 1 << 20,
    GPA_AVAIL = 0x4000,
    GPA_USED = 0x8000,
    GPA_BUFFERS = 0x10000
};

static unsigned frames, frame_len, buffer_len;
static _Atomic bool sent_all, stop_guest_b;

/* port.c needs a whole datapath; this is what the driver needs of it. */
void vs_port_init(struct vs_port *port, const struct vs_port_ops *ops, const char *name, uint16_t n_rxq)
{
    memset(port, 0, sizeof *port);
    port->ops = ops;
    port->n_rxq = n_rxq;
    strncpy(port->name, name, sizeof port->name - 1);
}

struct guest {
    uint8_t *memory;
    struct vs_desc *desc;
    struct vs_packed_desc *slots;
    struct vs_avail *avail;
    struct vs_used *used;
    uint16_t avail_idx, used_seen; /* packed: slots, counted over all laps */
    unsigned ring;
    bool packed;
    struct vs_port *port;
    struct vs_guest_mem *mem;
    struct vs_port_counters counters;
    int call;
    uint64_t received, last;
};

static void require(int ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "race_rings: %s\n", what);
        exit(1);
    }
}

static void guest_init(struct guest *g, unsigned ring, uint64_t features)
{
    int error;
    g->memory = aligned_alloc(4096, PART);
    memset(g->memory, 0, PART);
    g->desc = (struct vs_desc *)(void *)g->memory;
    g->slots = (struct vs_packed_desc *)(void *)g->memory;
    g->ring = ring;
    g->packed = (features >> VS_VIRTIO_F_RING_PACKED & 1) != 0;
    g->avail = (struct vs_avail *)(void *)(g->memory + GPA_AVAIL);
    g->used = (struct vs_used *)(void *)(g->memory + GPA_USED);
    g->call = eventfd(0, EFD_NONBLOCK);
    g->port = vs_vhost_new("race");
    struct vs_guest_region region = {.gpa = 0, .uva = 0x100000, .size = PART, .host = g->memory};
    g->mem = vs_guest_mem_new(&region, 1, &error);
    struct vs_vring_config config = {
        .features = features,
        .desc = 0x100000,
        .avail = 0x100000 + GPA_AVAIL,
        .used = 0x100000 + GPA_USED,
        .size = RING,
        .base = g->packed ? VS_SLOT_WRAP : 0,
        .kick_fd = -1,
        .call_fd = g->call,
        .err_fd = -1,
    };
    require(vs_vhost_ring_start(g->port, ring, g->mem, &config) == 0, "a ring does not start");
}

static void guest_free(struct guest *g)
{
    g->port->ops->destroy(g->port);
    vs_guest_mem_free(g->mem);
    free(g->memory);
}

/* The wrap counter of a slot that is counted over all laps, in the places of both state bits. */
static uint16_t lap(uint16_t n)
{
    return n / RING % 2 == 0 ? 0x8080 : 0;
}

/* One descriptor; or, on each seventh, two: the list is available by the flags of the first, which are written last. */
static void offer_packed(struct guest *g, uint16_t id, uint32_t len, uint16_t flags)
{
    uint16_t first = g->avail_idx++, more = g->ring == 1 && id % 7 == 0;
    uint64_t addr = GPA_BUFFERS + (uint64_t)id * BUFFER;
    uint32_t part = more ? 30 : 0;
    if (more) {
        uint16_t next = g->avail_idx++;
        struct vs_packed_desc *d = &g->slots[next % RING];
        d->addr = addr + part;
        d->len = len - part;
        d->id = id;
        /* Statistics look at it while it is written; so it is one store. */
        __atomic_store_n(&d->flags, (uint16_t)((lap(next) ^ 0x8000) | flags), __ATOMIC_RELAXED);
    }
    struct vs_packed_desc *d = &g->slots[first % RING];
    d->addr = addr;
    d->len = more ? part : len;
    d->id = id;
    __atomic_store_n(&d->flags, (uint16_t)((lap(first) ^ 0x8000) | flags | (more ? VS_DESC_NEXT : 0)),
                     __ATOMIC_RELEASE);
}

static void offer(struct guest *g, uint16_t id, uint32_t len, uint16_t flags)
{
    if (g->packed) {
        offer_packed(g, id, len, flags);
        return;
    }
    g->desc[id] = (struct vs_desc){.addr = GPA_BUFFERS + (uint64_t)id * BUFFER, .len = len, .flags = flags};
    g->avail->ring[g->avail_idx % RING] = id;
    g->avail_idx++;
    __atomic_store_n(&g->avail->idx, g->avail_idx, __ATOMIC_RELEASE);
}

static uint8_t *buffer(struct guest *g, uint16_t id)
{
    return g->memory + GPA_BUFFERS + (size_t)id * BUFFER;
}

/* The next used element, if there is one. */
static bool used(struct guest *g, struct vs_used_elem *e)
{
    if (g->packed) {
        struct vs_packed_desc *d = &g->slots[g->used_seen % RING];
        if ((__atomic_load_n(&d->flags, __ATOMIC_ACQUIRE) & 0x8080) != lap(g->used_seen))
            return false;
        *e = (struct vs_used_elem){.id = d->id, .len = d->len};
        g->used_seen = (uint16_t)(g->used_seen + (g->ring == 1 && d->id % 7 == 0 ? 2 : 1));
        return true;
    }
    if (g->used_seen == __atomic_load_n(&g->used->idx, __ATOMIC_ACQUIRE))
        return false;
    *e = g->used->ring[g->used_seen++ % RING];
    return true;
}

static void *guest_a(void *arg)
{
    struct guest *g = arg;
    uint16_t free_ids[RING], n_free = g->packed ? RING / 2 : RING; /* lists of two */
    for (uint16_t i = 0; i < n_free; i++)
        free_ids[i] = i;
    for (uint64_t number = 1; number <= frames;) {
        for (struct vs_used_elem e; used(g, &e);)
            free_ids[n_free++] = (uint16_t)e.id;
        if (n_free == 0)
            continue;
        uint16_t id = free_ids[--n_free];
        uint8_t *frame = buffer(g, id) + 12;
        memset(frame, (int)(number & 0xff), frame_len);
        memcpy(frame, &number, sizeof number);
        offer(g, id, 12 + frame_len, 0);
        number++;
    }
    atomic_store(&sent_all, true);
    return NULL;
}

/* Put one frame together from the used elements that are there. Returns false when there is none. */
static bool take(struct guest *g, uint8_t *frame)
{
    struct vs_used_elem e;
    if (!used(g, &e))
        return false;
    uint32_t done = 0, n = 1;
    for (uint32_t k = 0; k < n; k++) {
        require(k == 0 || used(g, &e), "a frame is there in part");
        const uint8_t *from = buffer(g, (uint16_t)e.id);
        uint32_t skip = k == 0 ? 12 : 0;
        if (k == 0)
            n = from[10] + 256u * from[11];
        memcpy(frame + done, from + skip, e.len - skip);
        done += e.len - skip;
        offer(g, (uint16_t)e.id, buffer_len, VS_DESC_WRITE);
    }
    require(done == frame_len, "a frame is cut");
    return true;
}

static void *guest_b(void *arg)
{
    struct guest *g = arg;
    static uint8_t frame[8192];
    for (uint16_t i = 0; i < RING; i++)
        offer(g, i, buffer_len, VS_DESC_WRITE);
    for (;;) {
        bool last_look = atomic_load(&stop_guest_b);
        while (take(g, frame)) {
            uint64_t number;
            memcpy(&number, frame, sizeof number);
            require(number > g->last, "numbers do not rise");
            for (uint32_t i = sizeof number; i < frame_len; i++)
                require(frame[i] == (uint8_t)number, "a byte is wrong");
            g->last = number;
            g->received++;
        }
        if (last_look)
            return NULL;
    }
}

static void *the_switch(void *arg)
{
    struct guest *a = arg, *b = a + 1;
    static struct vs_packet pool[VS_BATCH];
    struct vs_packet *pkts[VS_BATCH];
    while (a->counters.rx_packets < frames) {
        for (int i = 0; i < VS_BATCH; i++) {
            pkts[i] = &pool[i];
            vs_packet_reset(pkts[i], a->port);
        }
        int got = a->port->ops->rx(a->port, 0, pkts, VS_BATCH, &a->counters);
        if (got == 0)
            continue;
        b->port->ops->tx(b->port, 0, pkts, got, &b->counters);
        a->port->ops->rx_release(a->port, 0);
    }
    return NULL;
}

static void *statistics(void *arg)
{
    struct guest *g = arg;
    struct vs_vhost_ring_info info;
    while (!atomic_load(&stop_guest_b)) {
        vs_vhost_ring_info(g[0].port, 1, &info);
        vs_vhost_ring_info(g[1].port, 0, &info);
        require(info.available <= RING, "more is ready than the ring holds");
    }
    return NULL;
}

int main(int argc, char **argv)
{
    static struct guest guests[2];
    require(argc == 6, "frames frame_len buffer_len event_idx packed");
    frames = (unsigned)atoi(argv[1]);
    frame_len = (unsigned)atoi(argv[2]);
    buffer_len = (unsigned)atoi(argv[3]);
    uint64_t features = 1ull << VS_VIRTIO_F_VERSION_1 | 1ull << VS_VIRTIO_NET_F_MRG_RXBUF |
                        (uint64_t)(atoi(argv[4]) != 0) << VS_VIRTIO_F_EVENT_IDX |
                        (uint64_t)(atoi(argv[5]) != 0) << VS_VIRTIO_F_RING_PACKED;
    pthread_t threads[4];
    guest_init(&guests[0], 1, features);
    guest_init(&guests[1], 0, features);
    pthread_create(&threads[0], NULL, guest_b, &guests[1]);
    pthread_create(&threads[1], NULL, the_switch, guests);
    pthread_create(&threads[2], NULL, guest_a, &guests[0]);
    pthread_create(&threads[3], NULL, statistics, guests);
    pthread_join(threads[2], NULL);
    pthread_join(threads[1], NULL);
    atomic_store(&stop_guest_b, true);
    pthread_join(threads[0], NULL);
    pthread_join(threads[3], NULL);
    const struct vs_port_counters *c = &guests[1].counters;
    require(atomic_load(&sent_all) && guests[1].received > 0, "nothing came through");
    require(guests[1].received == c->tx_packets, "guest B saw another number of frames than were sent to it");
    require(c->tx_packets + c->drops[VS_DROP_TX_RING_FULL] == frames, "the ledger does not close");
    guest_free(&guests[0]);
    guest_free(&guests[1]);
    printf("ok\n");
    return 0;
}
