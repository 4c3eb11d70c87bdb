/* race_iotlb.c: two guests behind vIOMMUs, a polling core and the control thread, for ThreadSanitizer: do invalidations take effect before
 * they return, and are snapshots, views and the list of misses ordered right?
 *
 * Guest A numbers its frames and sends them; the core forwards; guest B checks that numbers rise. All the while the control
 * thread answers misses, and takes pages away: once vs_vhost_iotlb_invalidate has returned it writes to the last bytes of that
 * page's frame, which no guest touches, by a plain store, and maps the page again. A core that still used the old translation
 * would be a race with that store.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include "qsbr.h"
#include "vhost_port.h"

enum {
    RING = 64,
    PAGE = 4096,
    PAGES = RING + 3,
    FRAME = 600,
    TAIL = 8, /* the control thread's */
    CORE = 1,
    LINGER = 5000,
};
static const uint64_t IOVA = 0x500000000, UVA = 0x100000;

static unsigned frames;
static _Atomic bool stop_guest_b, core_done;

/* port.c needs a whole datapath; this is what the driver needs of it. */
void vs_port_init(struct vs_port *port, const struct vs_port_ops *ops, const char *name, uint16_t n_rxq)
{
    memset(port, 0, sizeof *port);
    port->ops = ops;
    port->n_rxq = n_rxq;
    strncpy(port->name, name, sizeof port->name - 1);
    for (unsigned i = 0; i < VS_MAX_RXQ; i++)
        atomic_store(&port->rx_fd[i], -1);
}

struct guest {
    uint8_t *memory; /* descriptors, avail, used, then a page per buffer */
    struct vs_desc *desc;
    struct vs_avail *avail;
    struct vs_used *used;
    uint16_t avail_idx, used_seen;
    struct vs_port *port;
    struct vs_guest_mem *mem;
    struct vs_port_counters counters;
    uint64_t received, last;
};

static void require(int ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "race_iotlb: %s\n", what);
        exit(1);
    }
}

static void map(struct guest *g, uint64_t page)
{
    require(vs_vhost_iotlb_update(g->port, g->mem, IOVA + page * PAGE, PAGE, UVA + page * PAGE, 3) == 0,
            "update");
}

static void guest_init(struct guest *g, unsigned ring)
{
    int error;
    g->memory = aligned_alloc(PAGE, PAGES * PAGE);
    memset(g->memory, 0, PAGES * PAGE);
    g->desc = (struct vs_desc *)(void *)g->memory;
    g->avail = (struct vs_avail *)(void *)(g->memory + PAGE);
    g->used = (struct vs_used *)(void *)(g->memory + 2 * PAGE);
    g->port = vs_vhost_new("race");
    struct vs_guest_region region = {.gpa = 0, .uva = UVA, .size = PAGES * PAGE, .host = g->memory};
    g->mem = vs_guest_mem_new(&region, 1, &error);
    require(vs_vhost_iotlb_fd(g->port) >= 0, "no eventfd");
    struct vs_vring_config config = {
        .features = 1ull << VS_VIRTIO_F_VERSION_1 | 1ull << VS_VIRTIO_F_ACCESS_PLATFORM,
        .desc = IOVA,
        .avail = IOVA + PAGE,
        .used = IOVA + 2 * PAGE,
        .size = RING,
        .kick_fd = -1,
        .call_fd = -1,
        .err_fd = -1,
    };
    for (uint64_t page = 0; page < 3; page++)
        map(g, page);
    require(vs_vhost_ring_start(g->port, ring, g->mem, &config) == 0, "a ring does not start");
}

static void guest_free(struct guest *g)
{
    g->port->ops->destroy(g->port);
    vs_guest_mem_free(g->mem);
    free(g->memory);
}

static uint8_t *buffer(struct guest *g, unsigned id)
{
    return g->memory + (size_t)(3 + id) * PAGE;
}

static void offer(struct guest *g, uint16_t id, uint32_t len, uint16_t flags)
{
    g->desc[id] = (struct vs_desc){.addr = IOVA + (3 + (uint64_t)id) * PAGE, .len = len, .flags = flags};
    g->avail->ring[g->avail_idx % RING] = id;
    g->avail_idx++;
    __atomic_store_n(&g->avail->idx, g->avail_idx, __ATOMIC_RELEASE);
}

static void *guest_a(void *arg)
{
    struct guest *g = arg;
    uint16_t free_ids[RING], n_free = RING;
    for (uint16_t i = 0; i < RING; i++)
        free_ids[i] = i;
    for (uint64_t number = 1; number <= frames;) {
        while (g->used_seen != __atomic_load_n(&g->used->idx, __ATOMIC_ACQUIRE))
            free_ids[n_free++] = (uint16_t)g->used->ring[g->used_seen++ % RING].id;
        if (n_free == 0)
            continue;
        uint16_t id = free_ids[--n_free];
        uint8_t *frame = buffer(g, id) + 12;
        memset(frame, (int)(number & 0xff), FRAME - TAIL);
        memcpy(frame, &number, sizeof number);
        offer(g, id, 12 + FRAME, 0);
        number++;
    }
    return NULL;
}

static void *guest_b(void *arg)
{
    struct guest *g = arg;
    for (uint16_t i = 0; i < RING; i++)
        offer(g, i, 12 + FRAME, VS_DESC_WRITE);
    for (;;) {
        bool last_look = atomic_load(&stop_guest_b);
        while (g->used_seen != __atomic_load_n(&g->used->idx, __ATOMIC_ACQUIRE)) {
            struct vs_used_elem e = g->used->ring[g->used_seen++ % RING];
            const uint8_t *frame = buffer(g, e.id) + 12;
            uint64_t number;
            memcpy(&number, frame, sizeof number);
            require(e.len == 12 + FRAME, "a frame is cut");
            require(number > g->last, "numbers do not rise");
            for (uint32_t i = sizeof number; i < FRAME - TAIL; i++)
                require(frame[i] == (uint8_t)number, "a byte is wrong");
            g->last = number;
            g->received++;
            offer(g, (uint16_t)e.id, 12 + FRAME, VS_DESC_WRITE);
        }
        if (last_look)
            return NULL;
    }
}

static bool holds(struct guest *g)
{
    struct vs_vhost_ring_info info;
    vs_vhost_ring_info(g->port, 0, &info);
    return info.held != 0;
}

static void *the_core(void *arg)
{
    struct guest *a = arg, *b = a + 1;
    static struct vs_packet pool[VS_BATCH];
    struct vs_packet *pkts[VS_BATCH];
    vs_qsbr_online(&vs_qsbr, CORE);
    while (a->counters.rx_packets < frames || holds(b)) {
        vs_qsbr_quiescent(&vs_qsbr, CORE);
        for (int i = 0; i < VS_BATCH; i++) {
            pkts[i] = &pool[i];
            vs_packet_reset(pkts[i], a->port);
        }
        int got = a->port->ops->rx(a->port, 0, pkts, VS_BATCH, &a->counters);
        if (got > 0) {
            b->port->ops->tx(b->port, 0, pkts, got, &b->counters);
            a->port->ops->rx_release(a->port, 0);
        }
        require(b->port->ops->rx(b->port, 0, pkts, VS_BATCH, &b->counters) == 0, "guest B sent something");
    }
    vs_qsbr_offline(&vs_qsbr, CORE);
    atomic_store(&core_done, true);
    return NULL;
}

/* Answer what is missing, and take one page away. */
static void control(struct guest *g, uint64_t *random)
{
    struct vs_iotlb_miss misses[VS_IOTLB_MISSES];
    unsigned n = vs_vhost_iotlb_collect(g->port, misses, VS_IOTLB_MISSES);
    for (unsigned i = 0; i < n; i++)
        map(g, (misses[i].iova - IOVA) / PAGE);
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    unsigned id = (unsigned)(*random >> 33) % RING;
    vs_vhost_iotlb_invalidate(g->port, IOVA + (3 + (uint64_t)id) * PAGE, PAGE);
    volatile uint8_t *tail = buffer(g, id) + 12 + FRAME - TAIL;
    for (unsigned i = 0; i < LINGER; i++) /* long enough for a core that should not be there to come along */
        tail[i % TAIL] = (uint8_t)id;
    if ((*random >> 40 & 1) != 0) /* else it is asked for when it is missed */
        map(g, 3 + id);
}

int main(int argc, char **argv)
{
    static struct guest guests[2];
    require(argc == 2, "frames");
    frames = (unsigned)atoi(argv[1]);
    pthread_t threads[3];
    uint64_t random = 1;
    guest_init(&guests[0], 1);
    guest_init(&guests[1], 0);
    pthread_create(&threads[0], NULL, guest_b, &guests[1]);
    pthread_create(&threads[1], NULL, the_core, guests);
    pthread_create(&threads[2], NULL, guest_a, &guests[0]);
    while (!atomic_load(&core_done)) {
        control(&guests[0], &random);
        control(&guests[1], &random);
    }
    for (int i = 2; i > 0; i--)
        pthread_join(threads[i], NULL);
    atomic_store(&stop_guest_b, true);
    pthread_join(threads[0], NULL);
    const struct vs_port_counters *c = &guests[1].counters;
    struct vs_iotlb_stats stats;
    vs_vhost_iotlb_stats(guests[1].port, &stats);
    require(guests[1].received == c->tx_packets && c->tx_packets > 0,
            "guest B saw another number of frames than were sent");
    require(c->tx_packets + c->drops[VS_DROP_TX_RING_FULL] + c->drops[VS_DROP_TX_NO_TRANSLATION] == frames,
            "the ledger does not close");
    require(stats.asked > 0 && stats.invalidations > 0, "nothing was missed");
    guest_free(&guests[0]);
    guest_free(&guests[1]);
    printf("ok\n");
    return 0;
}
