/* shaper.h: a core's share of shaping: packets that wait in queues, and when they may go. Private to the datapath's C.
 *
 * How it works: vs_core_output on a port with a QoS (qos.h) copies the packet whole into chunks of this core's slab, at the end of this core's
 * FIFO for the port and queue: what a packet borrows is given back with its batch. After its receive queues, and in idle
 * turns, the core sends what the buckets allow through the port's tx, up to VS_SHAPER_BURST packets of a port a turn:
 *   first from queues that have tokens of their minimum rate (whatever the port's bucket holds: it is charged and others wait),
 *   then, while the port's bucket gives, from the queues of the best priority, equal shares of bytes (deficit round robin).
 * Buckets are shared: N cores together keep the rates. Order is kept within a queue and core. Among cores, what is left
 * over goes to whoever asks first.
 *
 * Memory: the slab is bounded (keep.h), taken by the control thread when the first port gets a QoS, and lazily
 * backed. A queue is bounded by its limits over all cores, and on a core by as many chunks as are free there, so that a
 * queue that overflows leaves room for others. An empty queue takes any one packet.
 *
 * Packet-outs run on core 0, which has no loop: they pass at once, ahead of what waits, and are charged to the buckets, so the
 * rates hold; over a debt as long as a full queue they are dropped (queue_full).
 *
 * Thread safety: a core's fields belong to its thread, but `seen`. vs_shaper_new and _free: control thread.
 */
#ifndef VS_SHAPER_H
#define VS_SHAPER_H

#include "keep.h"
#include "qos.h"

struct vs_core;

enum {
    VS_SHAPER_BURST = 4 * VS_BATCH,
    VS_SHAPER_LATE_NS = 20000000, /* of a core that stood still: what it missed is made up for */
    VS_SHAPER_QUANTUM = 8192,     /* bytes a queue may send when its turn comes */
};

struct vs_fifo {          /* of a port's queue on one core */
    uint32_t first, last; /* first chunks of packets */
    uint32_t n, chunks;
    uint32_t place;  /* in vs_shaped.busy */
    bool may_borrow; /* during one pick */
    int64_t deficit;
    uint64_t packets, bytes,
        dropped; /* of struct vs_queue_stats; the control thread reads them at any time */
};

struct vs_shaped { /* a port's queues on one core */
    struct vs_qos *qos;
    bool adopted; /* what waited in qos->before is here */
    bool listed;  /* stands in the core's list, at `place`: packets wait */
    uint32_t place;
    uint32_t n_busy;         /* queues with packets */
    uint32_t next_min, next; /* whose turn it is in busy */
    uint64_t due;            /* ticks before which nothing can go */
    uint32_t *busy;          /* places of queues */
    struct vs_fifo fifos[];  /* as qos->queues */
};

struct vs_shaper {
    struct vs_slab slab;
    uint32_t n_listed;
    struct vs_shaped **listed;
    _Atomic uint64_t seen; /* dp->qos_epoch up to which replaced QoS were let go; release, pairs with qos.c */
};

struct vs_shaper *vs_shaper_new(uint64_t epoch);
void vs_shaper_free(struct vs_shaper *s);
/* A packet for a port with VS_PORT_SHAPED. True: a copy waits, or was dropped and counted. False: send it with its batch. */
bool vs_shaper_take(struct vs_core *c, struct vs_port *port, const struct vs_packet *p);
/* Send what may go. Not within a batch. Returns packets sent. */
unsigned vs_shaper_run(struct vs_core *c, struct vs_shaper *s);
/* Nanoseconds until vs_shaper_run has something to do; UINT64_MAX: nothing waits. */
uint64_t vs_shaper_due(const struct vs_core *c, const struct vs_shaper *s);
/* Take over or drop what waits on this core in a QoS that was replaced (qos->after). */
void vs_shaper_settle(struct vs_core *c, struct vs_qos *qos);

#endif
