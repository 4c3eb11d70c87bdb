/* port.h: what every port is, to the polling cores.
 *
 * How it works: a port driver embeds struct vs_port as its first member and fills a vtable. A core calls rx for each
 * receive queue it owns, handles the batch, and calls rx_release when no packet of the batch is used any more: until then
 * the tail segments that rx handed out stay valid. tx sends a batch on behalf of one core; it must be safe when several
 * cores send to the port at once (a driver with fewer queues than cores takes a vs_spinlock per batch).
 * A core that goes to sleep calls rx_arm for every queue: it asks the peer for notifications, then looks once more, and
 * returns 1 when there is work after all. It then waits for `rx_fd` of any queue to become readable. After waking it calls
 * rx_disarm of every queue, which also drains the descriptor if it is an eventfd that `rang`: one call of the system for each queue
 * would keep the frame that woke the core waiting. All are called on the core's thread. Whoever puts another descriptor into rx_fd
 * calls vs_watch_changed then: a core knows those that it waited for (sleep.c).
 * A driver whose peer tells of work by a word in memory implements rx_watch, and an idle queue costs next to nothing (watch.h).
 *
 * The ledger (see drop.h): the driver counts every packet it received in rx_packets/rx_bytes, also one that it
 * then drops itself by vs_port_rx_drop; the core counts what becomes of the packets that rx returned. In tx the core has
 * counted the n packets as offered; the driver counts each one as sent (vs_port_sent) or dropped (vs_port_tx_drop).
 * A packet that waits in a queue (qos.h) is not offered yet: it is counted when it is sent or dropped, so the ledger
 * closes while packets wait. How many do is a gauge of its own (vs_port_waiting).
 *
 * Thread safety: `ops`, `index`, `type` never change. What the control thread changes while cores run is
 * one word each, read with relaxed loads, or a pointer that is swapped and freed after a grace period (qsbr.h). Counters are
 * one block per core, written by that core only. A port is freed by the control thread after it left every core's queue
 * list and every bridge and a grace period went by.
 */
#ifndef VS_PORT_H
#define VS_PORT_H

#include "base.h"
#include "drop.h"
#include "packet.h"
#include "watch.h"

struct vs_port_counters {
    uint64_t rx_packets; /* all that came in, dropped ones included */
    uint64_t rx_bytes;
    uint64_t rx_forwarded; /* packets with at least one copy handed on */
    uint64_t tx_offered;   /* copies handed to the port */
    uint64_t tx_packets;   /* copies sent */
    uint64_t tx_bytes;
    uint64_t rx_multicast;
    uint64_t tx_retries;
    uint64_t drops[VS_N_DROPS];
    VS_PARTIAL
};

/* OFPPC_* and link state as the control thread last set them. */
enum {
    VS_PORT_DOWN = 1,          /* OFPPC_PORT_DOWN */
    VS_PORT_NO_RECV = 4,       /* OFPPC_NO_RECV */
    VS_PORT_NO_FWD = 32,       /* OFPPC_NO_FWD */
    VS_PORT_NO_PACKET_IN = 64, /* OFPPC_NO_PACKET_IN */
    VS_PORT_NO_FLOOD = 128,    /* OFPPC_NO_FLOOD of OpenFlow 1.0: not in FLOOD */
    VS_PORT_SHAPED = 1 << 30,  /* our own, beside OpenFlow's: the port has a QoS */
};

enum vs_vlan_mode {
    VS_VLAN_TRUNK,           /* tagged traffic of the VLANs in trunks (all when empty) */
    VS_VLAN_ACCESS,          /* untagged, belongs to `tag` */
    VS_VLAN_NATIVE_TAGGED,   /* trunk; untagged on receive belongs to `tag`, sent tagged */
    VS_VLAN_NATIVE_UNTAGGED, /* trunk; `tag` is sent untagged */
};

/* VLAN membership for NORMAL; immutable, swapped whole. */
struct vs_port_vlan {
    uint16_t mode; /* enum vs_vlan_mode */
    uint16_t tag;
    uint8_t trunks[512]; /* bit (vid % 8) of byte vid / 8 */
};

/* Of one receive queue; the core that polls it writes. */
struct vs_rxq_stats {
    uint64_t cycles, packets, batches;
};

#ifdef VS_CDEF
struct vs_port; /* opaque to Python: read through functions */
#else
struct vs_bridge;
struct vs_core;
struct vs_qos;
struct vs_tb;

struct vs_port_ops {
    const char *type;
    /* Fill up to n packets (already vs_packet_reset by the caller). Returns how many. */
    int (*rx)(struct vs_port *port, unsigned rxq, struct vs_packet **pkts, int n, struct vs_port_counters *c);
    /* The batch of the last rx on this queue is done with. May be NULL. */
    void (*rx_release)(struct vs_port *port, unsigned rxq);
    /* Send n packets for core `core` (index). Packets are read only. */
    void (*tx)(struct vs_port *port, unsigned core, struct vs_packet **pkts, int n,
               struct vs_port_counters *c);
    /* The three of sleeping; may be NULL when rx_fd is always level triggered by waiting packets (tap, sockets). */
    int (*rx_arm)(struct vs_port *port, unsigned rxq);
    void (*rx_disarm)(struct vs_port *port, unsigned rxq, bool rang);
    /* rx just found nothing: what tells of work until vs_watch_changed (watch.h)? False: nothing does. May be NULL. */
    bool (*rx_watch)(struct vs_port *port, unsigned rxq, struct vs_watch *watch);
    /* Free everything; control thread, after the grace period. */
    void (*destroy)(struct vs_port *port);
};

struct vs_port {
    /* line 0: read only while the port is attached */
    const struct vs_port_ops *ops;
    struct vs_bridge *bridge;                        /* NULL: detached. Swapped by the control thread */
    struct vs_port_vlan *vlan;                       /* never NULL */
    struct vs_port_counters *counters[VS_MAX_CORES]; /* one block per core, allocated at attach */
    uint32_t ofport;                                 /* OpenFlow number */
    uint16_t index;                                  /* in the datapath: 0 .. VS_MAX_PORTS - 1 */
    uint16_t n_rxq;           /* receive queues that exist now; grows and shrinks by the control thread */
    _Atomic uint32_t config;  /* VS_PORT_* */
    _Atomic uint32_t link_up; /* driver or control thread */
    struct vs_qos *qos;       /* with VS_PORT_SHAPED; swapped by the control thread (qos.c) */
    struct vs_tb *policer;    /* of what it receives, or NULL; swapped by the control thread */
    _Atomic int
        rx_fd[VS_MAX_RXQ];      /* what a sleeping core waits for; -1: none (the queue cannot wake a core) */
    struct vs_port *patch_peer; /* patch ports: the other end, or NULL. Swapped by the control thread */
    struct vs_rxq_stats rxq_stats[VS_MAX_RXQ];
    char name[64];
};

/* Initialize the embedded part. Driver constructors call it first. */
void vs_port_init(struct vs_port *port, const struct vs_port_ops *ops, const char *name, uint16_t n_rxq);

static inline void vs_port_rx_count(struct vs_port_counters *c, uint64_t packets, uint64_t bytes)
{
    vs_count(&c->rx_packets, packets);
    vs_count(&c->rx_bytes, bytes);
}

static inline void vs_port_rx_drop(struct vs_port_counters *c, enum vs_drop reason, uint64_t n)
{
    vs_count(&c->drops[reason], n);
}

static inline void vs_port_tx_drop(struct vs_port_counters *c, enum vs_drop reason, uint64_t n)
{
    vs_count(&c->drops[reason], n);
}

static inline void vs_port_sent(struct vs_port_counters *c, uint64_t packets, uint64_t bytes)
{
    vs_count(&c->tx_packets, packets);
    vs_count(&c->tx_bytes, bytes);
}

typedef struct {
    atomic_flag held;
} vs_spinlock;

static inline void vs_spin_lock(vs_spinlock *l)
{
    while (atomic_flag_test_and_set_explicit(&l->held, memory_order_acquire))
        vs_cpu_relax();
}

static inline void vs_spin_unlock(vs_spinlock *l)
{
    atomic_flag_clear_explicit(&l->held, memory_order_release);
}
#endif

/* Test port ("test"): Python feeds frames and reads what was sent. */
struct vs_port *vs_test_port_new(const char *name, unsigned n_rxq, unsigned ring);
/* 0, or -ENOBUFS when the queue is full. Any one thread at a time. */
int vs_test_port_feed(struct vs_port *port, unsigned rxq, const uint8_t *frame, uint32_t len);
/* Length of the oldest frame sent by the switch, copied to `to` (at most max bytes), or -EAGAIN. */
int vs_test_port_take(struct vs_port *port, uint8_t *to, uint32_t max);

/* How often a core asked the queue for packets. */
uint64_t vs_test_port_polls(struct vs_port *port, unsigned rxq);

/* Patch port ("patch"): what is sent to it is received by its peer at once, on the same core. */
struct vs_port *vs_patch_port_new(const char *name);

#endif
