/* core.h: a polling core: its loop, its batch, its caches and its statistics. Private to the datapath's C.
 *
 * How it works: vs_core_iterate polls each queue of the core's list once (one with a watch, watch.h, only when its word moved): rx -> vs_core_process (parse, mask, cache, walk, group
 * by program, execute) -> vs_core_flush (tx) -> rx_release. Output does not send at once: it collects packets per port
 * (c->tx) so that ports see batches. A core that found nothing for a while arms its queues and sleeps (sleep.c).
 * Core 0 is the control core: no thread, no cache; it runs packet-outs.
 *
 * Thread safety: a core's fields belong to its thread, but `rxqs`, `stop`, `asleep` (see there) and the statistics (relaxed
 * reads by the control thread).
 */
#ifndef VS_CORE_H
#define VS_CORE_H

#include <pthread.h>

#include "datapath.h"
#include "emc.h"
#include "normal_run.h"
#include "pipeline.h"
#include "program.h"
#include "punt.h"
#include "shaper.h"
#include "tally.h"

enum {
    VS_CLONES = 512,                /* copies of packets per batch and core */
    VS_LEVELS = 2 * VS_PATCH_DEPTH, /* nested batches: bridges behind patch ports */
    VS_GROUP_DEPTH = 8,
    VS_PUNT_RING = 4 << 20,
    VS_WATCH_AHEAD = 8,
    VS_RANG = 32, /* descriptors that one wait tells of */
};

struct vs_rxq_ref {
    struct vs_port *port;
    uint16_t rxq;
};

struct vs_rxq_list { /* immutable, but the answers of rx_watch, which are the core's */
    unsigned n;
    struct vs_watch *watch; /* of each ref; VS_WATCH_AHEAD more, so that prefetching needs no check */
    struct vs_rxq_ref ref[];
};

struct vs_txq {
    uint16_t n;
    uint16_t listed; /* stands in c->dirty */
    struct vs_packet *pkts[VS_BATCH];
};

struct vs_scratch {               /* of one level; by number of the packet in its batch */
    struct vs_key keys[VS_BATCH]; /* masked */
    uint8_t dirty[VS_BATCH];      /* blocks 1 and 2 of the key may hold something (parse.h) */
    bool ext[VS_BATCH];           /* blocks 1 and 2 of the key are not all zero, and count (vs_view) */
    uint32_t hash[VS_BATCH];      /* for the cache */
    struct vs_emc_entry *at[VS_BATCH];
    struct vs_program *program[VS_BATCH]; /* NULL: the packet has been dealt with */
    struct vs_draft draft;
};

struct vs_direct_turns {   /* packets of bridges with a direct look-up (direct.h) */
    uint32_t asked, known; /* in the cache, of this turn */
    uint32_t table_first;  /* so many more before the cache is asked again */
};

struct vs_core {
    struct vs_dp *dp;
    unsigned index;
    int cpu;
    int qsbr; /* slot, -1 for the control core */
    unsigned level;
    uint64_t now_ms;
    uint64_t now_ns; /* of this batch; 0: not read yet (vs_core_now_ns) */
    unsigned n_dirty, n_clones;
    struct vs_trace *trace;     /* of the packet under way: events are recorded (trace.h) */
    struct vs_port *virtual_in; /* control core: stands for a packet-out without an input port */
    struct vs_emc emc;
    struct vs_programs programs;
    struct vs_direct_turns direct;
    struct vs_punt_ring punt;
    struct vs_packet *rx[VS_BATCH];
    struct vs_packet *packets; /* VS_BATCH of them */
    struct vs_packet *clones;  /* VS_CLONES */
    struct vs_scratch *scratch[VS_LEVELS];
    uint8_t *bounce;        /* VS_MAX_FRAME bytes: frames completed for a controller */
    struct vs_port **dirty; /* ports with packets in tx */
    struct vs_txq *tx;      /* by port index */
    struct vs_core_stats stats;
    struct vs_normal_memo *normal; /* VS_NORMAL_MEMO of them; NULL on the control core */
    struct vs_tallies tallies;     /* of groups and meters */
    struct vs_shaper *shaper;      /* NULL until a port has a QoS; control thread sets it once, release */
    uint64_t idle_since;           /* cycles; 0: not idle */
    bool drowsy;                   /* nothing came since the core slept: it sleeps again without patience */
    const struct vs_rxq_list *polled; /* whose queues are disarmed; only compared */
    uint64_t watch_changes;           /* vs_watch_changes, as the list's watches know it */
    unsigned turn;                    /* counts iterations: which queue is polled whatever its watch says */
    uint32_t emc_era;                 /* of the cache's entries */
    struct vs_rxq_list *_Atomic rxqs; /* control thread swaps; acquire load once per iteration */
    _Atomic bool stop;                /* control thread */
    _Atomic bool asleep;              /* core; control thread reads to decide whether to ring wake_fd */
    int wake_fd;
    int epoll_fd;           /* what the core sleeps on */
    uint64_t epoll_changes; /* vs_watch_changes, as epoll_fd knows it */
    unsigned n_rang;        /* after a sleep, until the first turn */
    uint32_t rang[VS_RANG]; /* places in the list, perhaps in one before: only to be looked at first */
    pthread_t thread;
};

struct vs_core *vs_core_new(struct vs_dp *dp, unsigned index, int cpu, uint32_t emc_entries);
void vs_core_free(struct vs_core *c);
int vs_core_start(struct vs_core *c); /* 0 or -errno */
/* A list with room for n queues, empty. NULL: no memory. Freed by free(). */
struct vs_rxq_list *vs_rxq_list_new(unsigned n);
/* One iteration; returns packets received. */
int vs_core_iterate(struct vs_core *c);
/* Arm, wait; sleep.c. */
void vs_core_sleep(struct vs_core *c);
/* After a sleep and a turn: ask the peers for no more notifications, and drain what rang. */
void vs_core_awake(struct vs_core *c, const struct vs_rxq_list *list);
void vs_core_wake(struct vs_core *c); /* control thread */

/* Handle n packets received by `in`: up to, not including, sending. `account`: write their fates to the port's ledger. */
void vs_core_process(struct vs_core *c, struct vs_port *in, struct vs_packet **pkts, int n, bool account);
/* Send what was collected. */
void vs_core_flush(struct vs_core *c);
void vs_core_flush_port(struct vs_core *c, struct vs_port *port);
void vs_core_send(struct vs_core *c, struct vs_port *port, struct vs_packet **pkts, unsigned n);
/* End of a batch: copies may be used again. */
void vs_core_batch_end(struct vs_core *c);
/* Run actions on one packet; sets its fate. */
void vs_core_execute(struct vs_core *c, const struct vs_bridge *b, const struct vs_view *view,
                     struct vs_packet *p, const struct vs_action *actions, unsigned n);
/* Collect for a port, or let it wait (shaper.h); false when it is configured down or not to forward. */
bool vs_core_output(struct vs_core *c, struct vs_port *port, struct vs_packet *p);
/* The same for packets that go to this port only, at most a batch: sets their fates. Returns how many were forwarded. */
unsigned vs_core_forward(struct vs_core *c, struct vs_port *port, struct vs_packet **pkts, unsigned n);
/* As vs_core_output, noted when the packet is traced. */
bool vs_core_hand(struct vs_core *c, struct vs_port *port, struct vs_packet *p);
/* The port of that number; on the control core a stand-in when there is none (packet-out from OFPP_CONTROLLER). */
struct vs_port *vs_core_input(struct vs_core *c, const struct vs_bridge *b, uint32_t in_port);
/* Nanoseconds of the datapath clock, read once a batch by whoever asks first. */
static inline uint64_t vs_core_now_ns(struct vs_core *c)
{
    if (c->now_ns == 0)
        c->now_ns = vs_dp_now_ns(c->dp);
    return c->now_ns;
}
/* A copy that may be edited; NULL when the batch has used all. They share the tail, so its buffers stay (packet.h, dma). */
struct vs_packet *vs_core_clone(struct vs_core *c, struct vs_packet *p);
/* OFPP_NORMAL; output.c. `last`: the packet may be edited in place. When one known port got it as it is, that port is returned, and
 * the VLAN in *vlan; else NULL. */
const struct vs_port *vs_output_normal(struct vs_core *c, const struct vs_bridge *b, struct vs_packet *orig,
                                       struct vs_packet *p, bool last, uint16_t *vlan);
/* ALL and FLOOD: all ports but the input; `skip` are configuration bits that exclude a port. */
void vs_output_all(struct vs_core *c, const struct vs_bridge *b, struct vs_packet *orig, struct vs_packet *p,
                   uint32_t skip);
void vs_output_controller(struct vs_core *c, const struct vs_bridge *b, const struct vs_view *view,
                          struct vs_packet *orig, struct vs_packet *p, const struct vs_action *a,
                          enum vs_punt_reason reason);

#endif
