/* vhost_queue.h: what the files of the vhost-user port share: its struct, and copying of short runs of bytes. C only.
 *
 * Thread safety: see vhost_port.h.
 */
#ifndef VS_VHOST_QUEUE_H
#define VS_VHOST_QUEUE_H

#include "vhost_hold.h"
#include "vhost_port.h"
#include "vring_ahead.h"

#ifndef VS_CDEF

enum { VS_VHOST_NO_RING = 0xffff };
#define VS_VHOST_RARP (1ull << 48)

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
    int wake_fd;        /* wakes the core of receive queue 0 while its ring is stopped; -1: not needed yet */
    _Atomic bool holds; /* a transmit ring may keep packets: chores come from other cores at any time */
    /* Chores of the core that polls receive queue 0. */
    _Atomic uint64_t holding VS_CACHE_ALIGNED; /* bit q: transmit queue q keeps packets (vhost_hold.h) */
    _Atomic uint64_t rarp;                     /* MAC address and VS_VHOST_RARP, 0: none to send */
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
int vs_vhost_send(struct vs_vring *r, struct vs_packet **pkts, int n, uint32_t max_frame,
                  struct vs_port_counters *c);
void vs_vhost_tx(struct vs_port *port, unsigned core, struct vs_packet **pkts, int n,
                 struct vs_port_counters *c);

/* vhost_chores.c: what is left to do for a port besides its rings. On cores; `hold` functions under the ring's lock. */
static inline bool vs_vhost_has_chores(struct vs_port *port)
{
    struct vs_vhost *v = vs_vhost_of(port);
    return (atomic_load_explicit(&v->holding, memory_order_relaxed) |
            atomic_load_explicit(&v->rarp, memory_order_relaxed)) != 0;
}
/* Do what can be done now. True: `p` is a packet to receive, not counted as borrowed from a ring. */
bool vs_vhost_chores(struct vs_port *port, struct vs_packet *p, struct vs_port_counters *c);
/* May a core that polls queue 0 sleep, as far as chores are concerned? */
bool vs_vhost_chores_wait(struct vs_port *port);
/* Send what is kept for a ring, as far as translations came. */
void vs_vhost_hold_empty(struct vs_vhost *v, struct vs_vring *r, struct vs_port_counters *c);
/* After a batch: let the core of queue 0 know when something is kept; look ahead. */
void vs_vhost_hold_after(struct vs_vhost *v, struct vs_vring *r);
/* Look up buffers that the guest has posted and that are not needed yet. */
void vs_vhost_look_ahead(struct vs_vring *r);
/* The ring is gone (control thread): what it kept is dropped. */
void vs_vhost_hold_end(struct vs_vhost *v, struct vs_vring *r);
/* Wake the cores that wait for a translation, or that have chores to do. Control thread. */
void vs_vhost_wake(struct vs_vhost *v);

VS_ALWAYS_INLINE void vs_copy_32(uint8_t *to, const uint8_t *from)
{
    memcpy(to, from, 32);
}

/* Copy n bytes inline, in blocks that the compiler turns into vector moves: a call of memcpy costs more than the copy of a small
 * frame. The last block overlaps the one before it, so no length takes more than one loop. */
VS_ALWAYS_INLINE void vs_copy_small(uint8_t *to, const uint8_t *from, uint32_t n)
{
    if (VS_LIKELY(n >= 32)) {
        for (uint32_t i = 64; VS_UNLIKELY(i < n); i += 64) {
            vs_copy_32(to + i - 64, from + i - 64);
            vs_copy_32(to + i - 32, from + i - 32);
        }
        if (n > 64)
            vs_copy_32(to + n - 64, from + n - 64);
        else
            vs_copy_32(to, from);
        vs_copy_32(to + n - 32, from + n - 32);
    } else if (n >= 16) {
        memcpy(to, from, 16);
        memcpy(to + n - 16, from + n - 16, 16);
    } else {
        for (uint32_t i = 0; i < n; i++)
            to[i] = from[i];
    }
}
#endif

#endif
