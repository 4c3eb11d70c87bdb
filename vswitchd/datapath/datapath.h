/* datapath.h: the whole: bridges, ports, cores; what the control plane calls.
 *
 * How it works: a datapath owns up to VS_MAX_CORES cores. Core 0 is the control core: it has no thread and runs packet-outs on
 * the control thread. Polling cores are threads, or in manual mode (tests) run by vs_dp_poll. The datapath hands each
 * polling core an immutable list of the receive queues it polls.
 *
 * Thread safety: everything: control thread. vs_dp_core_stats and counters may be read at any time, no core stops for it.
 */
#ifndef VS_DATAPATH_H
#define VS_DATAPATH_H

#include "base.h"
#include "bridge.h"
#include "port.h"
#include "punt.h"

typedef struct vs_dp vs_dp;

struct vs_core_stats {
    int32_t cpu; /* -1: not pinned */
    uint32_t n_rxq;
    uint64_t busy_cycles, idle_cycles, asleep_cycles;
    uint64_t iterations, busy_iterations, sleeps;
    uint64_t rx_packets, batches;
    uint64_t emc_hits, emc_misses; /* not in the cache, or not sought there: found in the tables */
    uint64_t emc_used, emc_size, emc_inserted, emc_evicted;
    uint64_t programs, programs_refused;
    uint64_t tx_packets, tx_batches;
    uint64_t punt_packets, punt_refused;
    uint64_t
        deaf_queues; /* receive queues that cannot wake the core: epoll refused their descriptor (sleep.c) */
    uint64_t max_gap_cycles; /* longest busy iteration since the last read of it */
    VS_PARTIAL
};

struct vs_rxq_pin {
    uint16_t port; /* index */
    uint16_t rxq;
    int32_t core; /* index of the polling core, 1 .. */
};

/* NULL when out of memory. manual: no threads. */
vs_dp *vs_dp_new(uint32_t emc_entries, int manual);
void vs_dp_free(vs_dp *dp);
/* Start a polling core on that CPU (-1: anywhere). Returns its index, or -errno. */
int vs_dp_core_add(vs_dp *dp, int cpu);
/* Stop it; its queues must have been assigned away. */
void vs_dp_core_remove(vs_dp *dp, int core);
/* Microseconds of idleness before a core sleeps; negative: never. */
void vs_dp_set_idle_sleep(vs_dp *dp, int64_t us);
uint64_t vs_dp_cycles_per_us(const vs_dp *dp);
/* Wake sleeping cores, so that they look at what changed. */
void vs_dp_wake(vs_dp *dp);
/* Which core polls which queue; replaces the whole assignment, no queue is ever polled by two cores. 0 or -ENOMEM. */
int vs_dp_assign(vs_dp *dp, const struct vs_rxq_pin *pins, uint32_t n);
void vs_dp_core_stats(vs_dp *dp, int core, struct vs_core_stats *to);
/* Manual mode: run one iteration of every core. Returns the packets received. */
int vs_dp_poll(vs_dp *dp);

vs_bridge *vs_dp_bridge_add(vs_dp *dp, const char *name); /* NULL: out of memory or of indices */
uint16_t vs_bridge_index(const vs_bridge *b);
void vs_dp_bridge_remove(vs_dp *dp, vs_bridge *b); /* its ports were detached */

/* Attach a port. Returns its index, or -errno (-EEXIST: number taken, -ENOSPC: too many ports). */
int vs_dp_attach(vs_dp *dp, struct vs_port *p, vs_bridge *b, uint32_t ofport);
/* Detach, then call the driver's destroy after a grace period. Its queues are taken from the cores first. */
void vs_dp_detach(vs_dp *dp, struct vs_port *p);
/* Free a port that was never attached. */
void vs_port_destroy(struct vs_port *p);
uint16_t vs_port_n_rxq(const struct vs_port *p);
uint32_t vs_port_ofport(const struct vs_port *p);
uint16_t vs_port_index(const struct vs_port *p);
void vs_port_set_config(struct vs_port *p, uint32_t config);
void vs_port_set_vlan(struct vs_port *p, const struct vs_port_vlan *vlan); /* copied */
void vs_port_set_patch_peer(struct vs_port *p, struct vs_port *peer);
void vs_port_set_link(struct vs_port *p, int up);
int vs_port_link(const struct vs_port *p);
/* Sum over all cores. */
void vs_port_read_counters(const struct vs_port *p, struct vs_port_counters *to);
void vs_port_rxq_stats(const struct vs_port *p, unsigned rxq, struct vs_rxq_stats *to);

/* Take counts from the programs into rules and tables. */
void vs_dp_harvest(vs_dp *dp);
/* Retire removed rules, free what is due. Call some times a second, and after commits that removed rules. Returns 1 while there
 * is more to do. */
int vs_dp_housekeep(vs_dp *dp);

int vs_dp_punt_fd(const vs_dp *dp);
/* Oldest punt of any core; returns 1 and fills, or 0. data holds max bytes. */
int vs_dp_punt_take(vs_dp *dp, struct vs_punt_record *record, uint8_t *data, uint32_t max);

/* Run actions on a frame. TABLE starts the pipeline. 0, or -EINVAL: a runt, a giant, or an action that does not exist. */
int vs_dp_packet_out(vs_dp *dp, vs_bridge *b, const uint8_t *frame, uint32_t len, uint32_t in_port,
                     const struct vs_action *actions, uint32_t n);
/* Milliseconds of the datapath clock. */
uint64_t vs_dp_now_ms(const vs_dp *dp);
uint64_t vs_dp_now_ns(const vs_dp *dp);     /* the same, finer */
void vs_dp_set_time(vs_dp *dp, int64_t ms); /* virtual clock for tests; negative: real time */

#ifndef VS_CDEF
struct vs_core;
struct vs_live;
struct vs_rule;

struct vs_dp {
    struct vs_core *cores[VS_MAX_CORES]; /* 0: the control core */
    struct vs_port *ports[VS_MAX_PORTS];
    struct vs_bridge *bridges[VS_MAX_PORTS];
    _Atomic uint64_t sweep_epoch;      /* release by the control thread, acquire by the cores */
    _Atomic uint32_t emc_era;          /* as sweep_epoch: cores that see another one empty their caches */
    struct vs_live *_Atomic live;      /* trace.h; NULL: none */
    _Atomic int64_t idle_sleep_cycles; /* negative: never */
    _Atomic int64_t time_override;     /* negative: real time */
    uint64_t cycles_per_us;
    uint64_t
        last_version; /* highest of any removed bridge: caches may hold its entries under the same index */
    uint32_t emc_entries;
    _Atomic uint64_t qos_epoch; /* as sweep_epoch: cores that see another one let qos_leaving go */
    struct vs_qos *qos_leaving;
    int manual;
    int punt_fd;
    unsigned punt_next; /* core whose ring is read next: fairness */
};

uint64_t vs_dp_next_sweep(const vs_dp *dp);
/* Let all cores forget what they cached: the low bits of a version are about to come round. Waits for a grace period. */
void vs_dp_next_era(vs_dp *dp);
void vs_dp_start_sweep(vs_dp *dp, uint64_t epoch);
/* Take the last counts of a rule that no core can meet any more, so that its number may be given again. */
void vs_dp_forget_rule(vs_dp *dp, struct vs_rule *r);
void vs_dp_wait_swept(vs_dp *dp); /* until all cores have done the newest sweep */
#endif

#endif
