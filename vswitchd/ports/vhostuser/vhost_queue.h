/* vhost_queue.h: what the files of the vhost-user port share: its struct, and copying of short runs of bytes. C only.
 *
 * Thread safety: see vhost_port.h.
 */
#ifndef VS_VHOST_QUEUE_H
#define VS_VHOST_QUEUE_H

#include "vhost_port.h"

#ifndef VS_CDEF

enum { VS_VHOST_NO_RING = 0xffff };

struct vs_vhost_queue {
    _Atomic(struct vs_vring *) ring; /* NULL: stopped. Published by the control thread */
    struct vs_vring *held;           /* the ring of the last receive, until it is released; the core's */
    struct vs_vring *dying;          /* unpublished, waits for its grace period; the control thread's */
    struct vs_vring_stats stats VS_CACHE_ALIGNED;
} VS_CACHE_ALIGNED;

struct vs_vhost {
    struct vs_port port;
    _Atomic uint16_t tx_ring[VS_MAX_CORES]; /* which ring a core sends to */
    _Atomic uint32_t retries;
    _Atomic uint32_t max_frame;
    struct vs_iotlb *iotlb; /* of the guest's vIOMMU; lives as long as the port */
    struct vs_vhost_queue queues[VS_VHOST_RINGS];
};

static inline struct vs_vhost *vs_vhost_of(struct vs_port *port)
{
    return VS_CONTAINER_OF(port, struct vs_vhost, port);
}

static inline struct vs_vring *vs_vhost_ring(struct vs_vhost *v, unsigned ring)
{
    return atomic_load_explicit(&v->queues[ring].ring, memory_order_acquire);
}

int vs_vhost_rx(struct vs_port *port, unsigned rxq, struct vs_packet **pkts, int n,
                struct vs_port_counters *c);
void vs_vhost_rx_release(struct vs_port *port, unsigned rxq);
void vs_vhost_tx(struct vs_port *port, unsigned core, struct vs_packet **pkts, int n,
                 struct vs_port_counters *c);

/* Copy n bytes inline, in blocks that the compiler turns into vector moves: a call of memcpy costs more than the copy of a small
 * frame. Tails of 16 bytes and more are copied by one overlapping block. */
VS_ALWAYS_INLINE void vs_copy_small(uint8_t *to, const uint8_t *from, uint32_t n)
{
    uint32_t i = 0;
    if (VS_LIKELY(n >= 16)) {
        for (; i + 32 <= n; i += 32)
            memcpy(to + i, from + i, 32);
        if (i + 16 <= n) {
            memcpy(to + i, from + i, 16);
            i += 16;
        }
        if (i < n)
            memcpy(to + n - 16, from + n - 16, 16);
        return;
    }
    for (; i < n; i++)
        to[i] = from[i];
}
#endif

#endif
