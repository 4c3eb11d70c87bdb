/* vhost_port.c: the control side of a vhost-user port, and its queues; see vhost_port.h. Receive and transmit stand in
 * vhost_rx.c and vhost_tx.c. */
#include "qsbr.h"
#include "vhost_queue.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static void ring_free(struct vs_vring *r)
{
    if (r == NULL)
        return;
    vs_hold_free(r->hold);
    vs_iotlb_view_free(r->iotlb);
    vs_vring_free(r);
}

static void destroy(struct vs_port *port)
{
    struct vs_vhost *v = vs_vhost_of(port);
    for (unsigned i = 0; i < VS_VHOST_RINGS; i++) {
        ring_free(atomic_load_explicit(&v->queues[i].ring, memory_order_relaxed));
        ring_free(v->queues[i].dying);
    }
    vs_iotlb_free(v->iotlb);
    if (v->wake_fd >= 0)
        close(v->wake_fd);
    free(v);
}

static int rx_arm(struct vs_port *port, unsigned rxq)
{
    struct vs_vring *r = vs_vhost_ring(vs_vhost_of(port), 2 * rxq + 1);
    if (rxq == 0 && !vs_vhost_chores_wait(port))
        return 1;
    if (r == NULL)
        return 0;
    int work = vs_vring_arm(r);
    /* What waits for a translation is no work; whoever brings that rings the kick descriptor. */
    return work != 0 && r->iotlb != NULL && r->kick_fd >= 0 && vs_iotlb_blocked(r->iotlb) ? 0 : work;
}

static void rx_disarm(struct vs_port *port, unsigned rxq, bool rang)
{
    struct vs_vring *r = vs_vhost_ring(vs_vhost_of(port), 2 * rxq + 1);
    uint64_t count;
    if (r != NULL)
        vs_vring_disarm(r, rang);
    else if (rang && rxq == 0 && vs_vhost_of(port)->wake_fd >= 0 &&
             read(vs_vhost_of(port)->wake_fd, &count, sizeof count) < 0)
        return; /* nothing to drain */
}

static bool rx_watch(struct vs_port *port, unsigned rxq, struct vs_watch *watch)
{
    struct vs_vhost *v = vs_vhost_of(port);
    struct vs_vring *r = vs_vhost_ring(v, 2 * rxq + 1);
    if (rxq == 0 && (atomic_load_explicit(&v->holds, memory_order_relaxed) || vs_vhost_has_chores(port)))
        return false;
    if (r == NULL || atomic_load_explicit(&r->broken, memory_order_relaxed) != 0) {
        *watch = vs_watch_never;
        return true;
    }
    return vs_vring_watch(r, watch); /* a chain that waits for a translation is there */
}

static const struct vs_port_ops ops = {
    .type = "vhostuser",
    .rx = vs_vhost_rx,
    .rx_release = vs_vhost_rx_release,
    .tx = vs_vhost_tx,
    .rx_arm = rx_arm,
    .rx_disarm = rx_disarm,
    .rx_watch = rx_watch,
    .destroy = destroy,
};

struct vs_port *vs_vhost_new(const char *name)
{
    struct vs_vhost *v = aligned_alloc(VS_CACHE_LINE, sizeof *v);
    if (v == NULL)
        return NULL;
    memset(v, 0, sizeof *v);
    v->wake_fd = -1;
    v->iotlb = vs_iotlb_new();
    if (v->iotlb == NULL) {
        free(v);
        return NULL;
    }
    vs_port_init(&v->port, &ops, name, 1);
    for (unsigned i = 0; i < VS_MAX_RXQ; i++)
        atomic_store_explicit(&v->port.rx_fd[i], -1, memory_order_relaxed);
    for (unsigned i = 0; i < VS_MAX_CORES; i++)
        atomic_store_explicit(&v->tx_ring[i], VS_VHOST_NO_RING, memory_order_relaxed);
    atomic_store_explicit(&v->retries, VS_VHOST_RETRIES, memory_order_relaxed);
    atomic_store_explicit(&v->max_frame, UINT32_MAX, memory_order_relaxed);
    return &v->port;
}

void vs_vhost_set_retries(struct vs_port *port, unsigned retries)
{
    atomic_store_explicit(&vs_vhost_of(port)->retries, retries, memory_order_relaxed);
}

void vs_vhost_set_max_frame(struct vs_port *port, uint32_t max_frame)
{
    atomic_store_explicit(&vs_vhost_of(port)->max_frame, max_frame, memory_order_relaxed);
}

/* After a ring came or went: spread the cores over the transmit rings, count the receive queues, and have the cores look anew. */
static void rebalance(struct vs_vhost *v)
{
    uint16_t tx[VS_VHOST_PAIRS];
    uint16_t n_tx = 0, n_rx = 1;
    bool holds = false;
    for (uint16_t q = 0; q < VS_VHOST_PAIRS; q++) {
        const struct vs_vring *r = vs_vhost_ring(v, 2u * q);
        if (r != NULL) {
            tx[n_tx++] = (uint16_t)(2 * q);
            holds = holds || r->hold != NULL;
        }
        if (vs_vhost_ring(v, 2u * q + 1) != NULL)
            n_rx = (uint16_t)(q + 1);
    }
    for (unsigned core = 0; core < VS_MAX_CORES; core++)
        atomic_store_explicit(&v->tx_ring[core], n_tx == 0 ? VS_VHOST_NO_RING : tx[core % n_tx],
                              memory_order_relaxed);
    v->port.n_rxq = n_rx;
    atomic_store_explicit(&v->holds, holds, memory_order_relaxed);
    vs_watch_changed();
}

int vs_vhost_ring_start(struct vs_port *port, unsigned ring, const struct vs_guest_mem *mem,
                        const struct vs_vring_config *cfg)
{
    struct vs_vhost *v = vs_vhost_of(port);
    struct vs_vhost_queue *q = &v->queues[ring];
    int error = 0;
    if (ring >= VS_VHOST_RINGS)
        return -EINVAL;
    if (vs_vhost_ring(v, ring) != NULL || q->dying != NULL)
        return -EBUSY;
    struct vs_vring_config own = *cfg;
    struct vs_hold *hold = NULL;
    own.iotlb = NULL;
    own.ring = ring;
    if ((cfg->features >> VS_VIRTIO_F_ACCESS_PLATFORM & 1) != 0) {
        own.iotlb = vs_iotlb_view_new(v->iotlb, ring);
        hold = ring % 2 == 0 ? vs_hold_new() : NULL;
        if (own.iotlb == NULL || (ring % 2 == 0 && hold == NULL))
            error = -ENOMEM;
    }
    struct vs_vring *r = error == 0 ? vs_vring_new(mem, &own, &q->stats, &error) : NULL;
    if (r == NULL) {
        vs_hold_free(hold);
        vs_iotlb_view_free(own.iotlb);
        return error;
    }
    r->hold = hold;
    if (hold != NULL) {
        hold->ahead = r->packed ? r->slot : r->last_avail;
        (void)vs_iotlb_begin(r->iotlb);
        vs_vhost_look_ahead(r);
    }
    /* Release: the ring is complete before a core finds it. Pairs with the acquire in vs_vhost_ring. */
    atomic_store_explicit(&q->ring, r, memory_order_release);
    if (ring % 2 == 1)
        atomic_store_explicit(&port->rx_fd[ring / 2], cfg->kick_fd, memory_order_relaxed);
    rebalance(v);
    vs_vring_signal(cfg->call_fd);
    return 0;
}

int vs_vhost_ring_unpublish(struct vs_port *port, unsigned ring)
{
    struct vs_vhost *v = vs_vhost_of(port);
    struct vs_vhost_queue *q = &v->queues[ring];
    if (ring >= VS_VHOST_RINGS || vs_vhost_ring(v, ring) == NULL)
        return 0;
    if (ring % 2 == 1)
        atomic_store_explicit(&port->rx_fd[ring / 2], ring == 1 ? v->wake_fd : -1, memory_order_relaxed);
    q->dying = vs_vhost_ring(v, ring);
    atomic_store_explicit(&q->ring, NULL, memory_order_release);
    rebalance(v);
    return 1;
}

int64_t vs_vhost_ring_reap(struct vs_port *port, unsigned ring)
{
    struct vs_vhost *v = vs_vhost_of(port);
    if (ring >= VS_VHOST_RINGS || v->queues[ring].dying == NULL)
        return -ENOENT;
    struct vs_vring *r = v->queues[ring].dying;
    v->queues[ring].dying = NULL;
    int64_t base = vs_vring_base(r);
    vs_vhost_hold_end(v, r);
    ring_free(r);
    return base;
}

void vs_vhost_ring_set_call(struct vs_port *port, unsigned ring, int fd)
{
    struct vs_vring *r = ring < VS_VHOST_RINGS ? vs_vhost_ring(vs_vhost_of(port), ring) : NULL;
    if (r == NULL)
        return;
    atomic_store_explicit(&r->call_fd, fd, memory_order_relaxed);
    /* A core may have called by the old one until now. What it called for is visible when the grace period is over. */
    vs_synchronize();
    vs_vring_signal(fd);
}

void vs_vhost_ring_set_err(struct vs_port *port, unsigned ring, int fd)
{
    struct vs_vring *r = ring < VS_VHOST_RINGS ? vs_vhost_ring(vs_vhost_of(port), ring) : NULL;
    if (r != NULL)
        atomic_store_explicit(&r->err_fd, fd, memory_order_relaxed);
}

void vs_vhost_ring_info(struct vs_port *port, unsigned ring, struct vs_vhost_ring_info *info)
{
    memset(info, 0, sizeof *info);
    if (ring >= VS_VHOST_RINGS)
        return;
    struct vs_vhost *v = vs_vhost_of(port);
    const struct vs_vring_stats *s = &v->queues[ring].stats;
    info->stats.chains = vs_count_read(&s->chains);
    info->stats.kicks_sent = vs_count_read(&s->kicks_sent);
    info->stats.kicks_suppressed = vs_count_read(&s->kicks_suppressed);
    info->stats.full = vs_count_read(&s->full);
    info->stats.retries = vs_count_read(&s->retries);
    for (unsigned i = 0; i < VS_N_CHAIN_ERRORS; i++)
        info->stats.refused[i] = vs_count_read(&s->refused[i]);
    const struct vs_vring *r = vs_vhost_ring(v, ring);
    if (r == NULL)
        return;
    info->size = r->size;
    info->broken = atomic_load_explicit(&r->broken, memory_order_relaxed);
    info->available = vs_vring_ready(r);
    info->held = vs_hold_counting(r->hold);
    info->waiting = r->iotlb != NULL && vs_iotlb_blocked(r->iotlb);
}
