/* qos.h: the quality of service of a port: a rate for all of it, and queues with a minimum and a maximum rate.
 *
 * How it works: a vs_qos is immutable but for its token buckets (token.h), its counts and what waits. The control thread puts another one
 * in its place; cores take over what waits in a queue of the same number, and drop what waits in a queue that is no more
 * (queue_removed). It waits for that, some microseconds, so that nobody can meet the old one when it is freed. A packet whose queue the port
 * does not have goes to queue 0; where there is none, to one without rates of its own that nobody sees. The cores' part is shaper.h.
 * Minimum rates whose sum is over the port's rate are scaled down to it: the port's rate is kept.
 *
 * Policing: VS_QOS_POLICE drops what is over the port's rate instead of letting it wait; vs_port_set_policing does so with
 * what a port receives.
 *
 * Thread safety: all functions here: control thread.
 */
#ifndef VS_QOS_H
#define VS_QOS_H

#include "base.h"
#include "port.h"

enum {
    VS_QOS_SHAPE,      /* what is over the rate waits */
    VS_QOS_POLICE,     /* what is over the rate is dropped; no queues */
    VS_QUEUES = 4096,  /* of one port */
    VS_QOS_BURST = 200 /* default burst: 1/200 s worth of the rate */
};

struct vs_qos_spec {
    uint32_t type;
    uint32_t pad;
    uint64_t max_rate; /* bits/s; 0: no limit */
    uint64_t burst;    /* bits; 0: VS_QOS_BURST */
};

struct vs_queue_spec {
    uint32_t id;
    uint32_t priority;      /* what the minimum rates leave goes to the queues of the lowest number first */
    uint64_t min_rate;      /* bits/s; 0: none */
    uint64_t max_rate;      /* bits/s; 0: the port's */
    uint64_t burst;         /* bits; 0: VS_QOS_BURST */
    uint32_t limit_packets; /* that may wait; 0: VS_QUEUE_PACKETS */
    uint32_t limit_bytes;   /* 0: 100 ms of the rate, within bounds */
};

struct vs_queue_stats {
    uint64_t packets; /* handed to the port */
    uint64_t bytes;
    uint64_t dropped; /* no room */
    uint64_t waiting_packets;
    uint64_t waiting_bytes;
};

/* Give an attached port this quality of service. 0, -ENOMEM or -EINVAL (an id twice, too many queues); then the old one stays. */
int vs_port_set_qos(struct vs_port *p, const struct vs_qos_spec *spec, const struct vs_queue_spec *queues,
                    uint32_t n);
/* Send everything at once again; what waits is dropped. */
void vs_port_clear_qos(struct vs_port *p);
/* Of the queue of that number. 0, or -ENOENT. */
int vs_port_queue_stats(const struct vs_port *p, uint32_t id, struct vs_queue_stats *to);
/* Packets that wait in all queues of the port. */
uint64_t vs_port_waiting(const struct vs_port *p);
/* Drop what the port receives over this rate (policed); rate 0: take all. bits/s and bits. 0 or -ENOMEM. */
int vs_port_set_policing(struct vs_port *p, uint64_t rate, uint64_t burst);

#ifndef VS_CDEF
#include "token.h"

struct vs_core;
struct vs_dp;

enum {
    VS_QUEUE_PACKETS = 4096,
    VS_QUEUE_BYTES_MIN = 64 << 10,
    VS_QUEUE_BYTES_MAX = 4 << 20,
};

struct vs_queue {
    uint32_t id, priority;
    uint32_t limit_packets, limit_bytes;
    bool has_min, has_max;
    bool hidden;                      /* stands in for queue 0 */
    struct vs_tb min, max;            /* in bits */
    struct vs_queue_stats gone;       /* counted by cores that are gone; control thread */
    _Atomic uint64_t waiting_packets; /* on all cores; relaxed */
    _Atomic uint64_t waiting_bytes;
};

struct vs_shaped; /* of one core; shaper.h */

struct vs_qos {
    struct vs_port *port;
    uint16_t type;
    bool has_root;
    struct vs_tb root;                     /* of the port; in bits */
    struct vs_qos *before;                 /* that this one replaces, until every core adopted what waits */
    struct vs_qos *after;                  /* that replaces this one, or NULL */
    struct vs_shaped *cores[VS_MAX_CORES]; /* of the cores that there are */
    uint32_t n;
    uint32_t fallback;        /* place of the queue for numbers that the port does not have */
    struct vs_queue queues[]; /* by id */
};

/* Place of that queue, or qos->fallback. */
uint32_t vs_qos_find(const struct vs_qos *qos, uint32_t id);
/* A core comes, before it runs: 0 or -ENOMEM. A core went, its thread ended: what waited there is dropped. */
int vs_qos_core_added(struct vs_dp *dp, struct vs_core *c);
void vs_qos_core_removed(struct vs_dp *dp, struct vs_core *c);
#endif

#endif
