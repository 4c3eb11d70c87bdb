/* datapath.c: what the control plane calls: ports, bridges, cores, housekeeping; see datapath.h. */
#include "datapath.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "core.h"
#include "parse.h"
#include "qsbr.h"
#include "trace.h"

uint64_t vs_dp_now_ms(const vs_dp *dp)
{
    int64_t fixed = atomic_load_explicit(&dp->time_override, memory_order_relaxed);
    if (fixed >= 0)
        return (uint64_t)fixed;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now); /* some nanoseconds: no system call */
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint64_t vs_dp_now_ns(const vs_dp *dp)
{
    int64_t fixed = atomic_load_explicit(&dp->time_override, memory_order_relaxed);
    if (fixed >= 0)
        return (uint64_t)fixed * 1000000;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void vs_dp_set_time(vs_dp *dp, int64_t ms)
{
    atomic_store_explicit(&dp->time_override, ms, memory_order_relaxed);
}

/* Rate of vs_cycles, measured over a few milliseconds of the system's clock. */
static uint64_t measure_cycles_per_us(void)
{
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    uint64_t start = vs_cycles(), ns = 0;
    do {
        clock_gettime(CLOCK_MONOTONIC, &b);
        ns = (uint64_t)(b.tv_sec - a.tv_sec) * 1000000000u + (uint64_t)b.tv_nsec - (uint64_t)a.tv_nsec;
    } while (ns < 2000000);
    return VS_MAX((vs_cycles() - start) * 1000 / ns, 1);
}

vs_dp *vs_dp_new(uint32_t emc_entries, int manual)
{
    static uint64_t cycles_per_us;
    if (cycles_per_us == 0)
        cycles_per_us = measure_cycles_per_us();
    vs_dp *dp = calloc(1, sizeof *dp);
    if (dp == NULL)
        return NULL;
    dp->emc_entries = emc_entries;
    dp->manual = manual;
    dp->cycles_per_us = cycles_per_us;
    atomic_init(&dp->live, NULL);
    atomic_init(&dp->idle_sleep_cycles, -1);
    atomic_init(&dp->time_override, -1);
    dp->punt_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    dp->cores[0] = dp->punt_fd >= 0 ? vs_core_new(dp, 0, -1, 0) : NULL;
    struct vs_port *virtual_in = dp->cores[0] != NULL ? vs_patch_port_new("") : NULL;
    if (virtual_in != NULL)
        virtual_in->counters[0] = calloc(1, sizeof *virtual_in->counters[0]);
    if (virtual_in == NULL || virtual_in->counters[0] == NULL) {
        vs_dp_free(dp);
        return NULL;
    }
    dp->cores[0]->virtual_in = virtual_in;
    return dp;
}

void vs_dp_free(vs_dp *dp)
{
    vs_dp_live_stop(dp);
    for (int i = VS_MAX_CORES - 1; i > 0; i--)
        if (dp->cores[i] != NULL)
            vs_dp_core_remove(dp, i);
    for (unsigned i = 0; i < VS_MAX_PORTS; i++)
        if (dp->ports[i] != NULL)
            vs_dp_detach(dp, dp->ports[i]);
    for (unsigned i = 0; i < VS_MAX_PORTS; i++)
        if (dp->bridges[i] != NULL)
            vs_dp_bridge_remove(dp, dp->bridges[i]);
    vs_qsbr_drain(&vs_qsbr);
    if (dp->cores[0] != NULL) {
        if (dp->cores[0]->virtual_in != NULL)
            vs_port_destroy(dp->cores[0]->virtual_in);
        vs_core_free(dp->cores[0]);
    }
    if (dp->punt_fd >= 0)
        close(dp->punt_fd);
    free(dp);
}

/* ---- cores --------------------------------------------------------------------------------------------------------- */

static int give_counters(struct vs_port *p, unsigned core)
{
    if (p->counters[core] != NULL)
        return 0;
    size_t size = (sizeof(struct vs_port_counters) + VS_CACHE_LINE - 1) / VS_CACHE_LINE * VS_CACHE_LINE;
    p->counters[core] = aligned_alloc(VS_CACHE_LINE, size);
    if (p->counters[core] == NULL)
        return -ENOMEM;
    memset(p->counters[core], 0, size);
    return 0;
}

int vs_dp_core_add(vs_dp *dp, int cpu)
{
    int index = 1;
    while (index < VS_MAX_CORES && dp->cores[index] != NULL)
        index++;
    if (index == VS_MAX_CORES)
        return -ENOSPC;
    for (unsigned i = 0; i < VS_MAX_PORTS; i++)
        if (dp->ports[i] != NULL && give_counters(dp->ports[i], (unsigned)index) != 0)
            return -ENOMEM;
    struct vs_core *c = vs_core_new(dp, (unsigned)index, cpu, dp->emc_entries);
    if (c == NULL)
        return -ENOMEM;
    int rc = vs_qos_core_added(dp, c);
    if (rc == 0 && !dp->manual)
        rc = vs_core_start(c);
    if (rc != 0) {
        vs_qos_core_removed(dp, c);
        vs_core_free(c);
        return rc;
    }
    dp->cores[index] = c;
    return index;
}

void vs_dp_core_remove(vs_dp *dp, int core)
{
    struct vs_core *c = dp->cores[core];
    if (c == NULL)
        return;
    atomic_store_explicit(&c->stop, true, memory_order_release); /* pairs with core_main */
    if (!dp->manual) {
        vs_core_wake(c);
        pthread_join(c->thread, NULL);
    } else {
        vs_qsbr_offline(&vs_qsbr, (unsigned)c->qsbr);
    }
    vs_qos_core_removed(dp, c);
    vs_programs_harvest(&c->programs);
    vs_punt_move(&dp->cores[0]->punt, &c->punt);
    dp->cores[core] = NULL;
    vs_core_free(c);
}

void vs_dp_set_idle_sleep(vs_dp *dp, int64_t us)
{
    int64_t cycles = us < 0 ? -1 : us * (int64_t)dp->cycles_per_us;
    atomic_store_explicit(&dp->idle_sleep_cycles, cycles, memory_order_relaxed);
}

uint64_t vs_dp_cycles_per_us(const vs_dp *dp)
{
    return dp->cycles_per_us;
}

void vs_dp_wake(vs_dp *dp)
{
    for (unsigned i = 1; i < VS_MAX_CORES; i++)
        if (dp->cores[i] != NULL)
            vs_core_wake(dp->cores[i]);
}

void vs_dp_core_stats(vs_dp *dp, int core, struct vs_core_stats *to)
{
    memset(to, 0, sizeof *to);
    if (core < 0 || core >= VS_MAX_CORES || dp->cores[core] == NULL)
        return;
    struct vs_core *c = dp->cores[core];
    const uint64_t *from = (const uint64_t *)(const void *)&c->stats;
    uint64_t *out = (uint64_t *)(void *)to;
    for (unsigned i = 0; i < sizeof *to / sizeof *out; i++)
        out[i] = vs_count_read(&from[i]);
    __atomic_store_n(&c->stats.max_gap_cycles, 0, __ATOMIC_RELAXED);
    to->cpu = c->cpu;
    to->n_rxq = atomic_load_explicit(&c->rxqs, memory_order_relaxed)->n;
    to->emc_used = vs_count_read(&c->emc.used);
    to->emc_size = c->emc.n_entries;
    to->emc_inserted = vs_count_read(&c->emc.inserted);
    to->emc_evicted = vs_count_read(&c->emc.evicted);
    to->programs = vs_count_read(&c->programs.live);
    to->programs_refused = vs_count_read(&c->programs.refused);
    to->punt_packets = vs_count_read(&c->punt.packets);
    to->punt_refused = vs_count_read(&c->punt.refused);
}

int vs_dp_poll(vs_dp *dp)
{
    int total = 0;
    for (unsigned i = 1; i < VS_MAX_CORES; i++)
        if (dp->cores[i] != NULL && dp->manual) {
            vs_qsbr_online(&vs_qsbr, (unsigned)dp->cores[i]->qsbr);
            total += vs_core_iterate(dp->cores[i]);
            vs_qsbr_offline(&vs_qsbr, (unsigned)dp->cores[i]->qsbr);
        }
    return total;
}

/* ---- receive queues over cores ------------------------------------------------------------------------------------- */

static bool has_ref(const struct vs_rxq_list *list, const struct vs_port *port, uint16_t rxq)
{
    for (unsigned i = 0; i < list->n; i++)
        if (list->ref[i].port == port && list->ref[i].rxq == rxq)
            return true;
    return false;
}

static void swap_list(struct vs_core *c, struct vs_rxq_list *fresh)
{
    struct vs_rxq_list *old = atomic_load_explicit(&c->rxqs, memory_order_relaxed);
    atomic_store_explicit(&c->rxqs, fresh, memory_order_release); /* pairs with vs_core_iterate */
    vs_watch_changed();
    vs_qsbr_defer(&vs_qsbr, free, old);
}

static struct vs_rxq_list *list_for(vs_dp *dp, unsigned core, const struct vs_rxq_pin *pins, uint32_t n)
{
    struct vs_rxq_list *list = vs_rxq_list_new(n);
    if (list == NULL)
        return NULL;
    for (uint32_t i = 0; i < n; i++) {
        struct vs_port *port = pins[i].port < VS_MAX_PORTS ? dp->ports[pins[i].port] : NULL;
        if (pins[i].core == (int32_t)core && port != NULL && pins[i].rxq < VS_MAX_RXQ)
            list->ref[list->n++] = (struct vs_rxq_ref){.port = port, .rxq = pins[i].rxq};
    }
    return list;
}

/* Two steps, so that no queue has two pollers: first every core drops what it is to lose, then each gets its new list. */
int vs_dp_assign(vs_dp *dp, const struct vs_rxq_pin *pins, uint32_t n)
{
    struct vs_rxq_list *want[VS_MAX_CORES] = {NULL}, *keep[VS_MAX_CORES] = {NULL};
    bool ok = true, shrinks = false;
    for (unsigned i = 1; i < VS_MAX_CORES; i++) {
        if (dp->cores[i] == NULL)
            continue;
        const struct vs_rxq_list *old = atomic_load_explicit(&dp->cores[i]->rxqs, memory_order_relaxed);
        want[i] = list_for(dp, i, pins, n);
        keep[i] = vs_rxq_list_new(old->n);
        ok = ok && want[i] != NULL && keep[i] != NULL;
        if (!ok)
            break;
        for (unsigned j = 0; j < old->n; j++)
            if (has_ref(want[i], old->ref[j].port, old->ref[j].rxq))
                keep[i]->ref[keep[i]->n++] = old->ref[j];
        shrinks = shrinks || keep[i]->n < old->n;
    }
    for (unsigned i = 1; i < VS_MAX_CORES; i++) {
        if (ok && shrinks && keep[i] != NULL)
            swap_list(dp->cores[i], keep[i]);
        else
            free(keep[i]);
        if (!ok)
            free(want[i]);
    }
    if (!ok)
        return -ENOMEM;
    if (shrinks) {
        vs_dp_wake(dp);
        vs_qsbr_synchronize(&vs_qsbr);
    }
    for (unsigned i = 1; i < VS_MAX_CORES; i++)
        if (want[i] != NULL)
            swap_list(dp->cores[i], want[i]);
    vs_dp_wake(dp);
    return 0;
}

static void unassign_port(vs_dp *dp, const struct vs_port *p)
{
    bool changed = false;
    for (unsigned i = 1; i < VS_MAX_CORES; i++) {
        if (dp->cores[i] == NULL)
            continue;
        const struct vs_rxq_list *old = atomic_load_explicit(&dp->cores[i]->rxqs, memory_order_relaxed);
        bool here = false;
        for (unsigned j = 0; j < old->n; j++)
            here = here || old->ref[j].port == p;
        if (!here)
            continue;
        struct vs_rxq_list *fresh;
        while ((fresh = vs_rxq_list_new(old->n)) == NULL)
            vs_qsbr_drain(&vs_qsbr);
        for (unsigned j = 0; j < old->n; j++)
            if (old->ref[j].port != p)
                fresh->ref[fresh->n++] = old->ref[j];
        swap_list(dp->cores[i], fresh);
        changed = true;
    }
    if (changed)
        vs_dp_wake(dp);
}

/* ---- bridges and ports --------------------------------------------------------------------------------------------- */

vs_bridge *vs_dp_bridge_add(vs_dp *dp, const char *name)
{
    for (uint16_t i = 0; i < VS_MAX_PORTS; i++)
        if (dp->bridges[i] == NULL)
            return dp->bridges[i] = vs_bridge_new(dp, name, i);
    return NULL;
}

uint16_t vs_bridge_index(const vs_bridge *b)
{
    return b->index;
}

void vs_dp_bridge_remove(vs_dp *dp, vs_bridge *b)
{
    for (unsigned i = 0; i < VS_MAX_PORTS; i++)
        if (dp->ports[i] != NULL && dp->ports[i]->bridge == b)
            vs_dp_detach(dp, dp->ports[i]);
    /* Cores may still hold programs of this bridge, whose paths name its rules: let them go before the rules do. */
    for (unsigned i = 0; i < VS_MAX_TABLES; i++) {
        struct vs_table *t = atomic_load_explicit(&b->tables[i], memory_order_relaxed);
        if (t != NULL)
            vs_table_kill(t);
    }
    dp->bridges[b->index] = NULL;
    dp->last_version =
        VS_MAX(dp->last_version, atomic_load_explicit(&b->view, memory_order_relaxed)->version);
    /* Its successor may begin more than half way round from here, where versions cannot be told from newer ones. */
    vs_dp_next_era(dp);
    vs_dp_start_sweep(dp, vs_dp_next_sweep(dp));
    vs_dp_wait_swept(dp);
    vs_dp_harvest(dp); /* retired programs of the bridge are emptied while its rules still stand */
    vs_qsbr_drain(&vs_qsbr);
    vs_bridge_free(b);
}

int vs_dp_attach(vs_dp *dp, struct vs_port *p, vs_bridge *b, uint32_t ofport)
{
    uint16_t index = 0;
    while (index < VS_MAX_PORTS && dp->ports[index] != NULL)
        index++;
    if (index == VS_MAX_PORTS)
        return -ENOSPC;
    for (unsigned i = 0; i < VS_MAX_CORES; i++)
        if (dp->cores[i] != NULL && give_counters(p, i) != 0)
            return -ENOMEM;
    p->index = index;
    int rc = vs_bridge_add_port(b, p, ofport);
    if (rc != 0)
        return rc;
    dp->ports[index] = p;
    return index;
}

static void destroy_port(void *arg)
{
    vs_port_destroy(arg);
}

void vs_dp_detach(vs_dp *dp, struct vs_port *p)
{
    unassign_port(dp, p);
    vs_port_clear_qos(p);
    for (unsigned i = 0; i < VS_MAX_PORTS; i++)
        if (dp->ports[i] != NULL && dp->ports[i]->patch_peer == p)
            vs_port_set_patch_peer(dp->ports[i], NULL);
    vs_bridge_remove_port(p->bridge, p);
    dp->ports[p->index] = NULL;
    vs_qsbr_synchronize(&vs_qsbr); /* its index may be given again at once: no core may hold packets for it */
    vs_mac_flush_port(vs_bridge_macs(p->bridge), p->ofport); /* until now a core may have learned more */
    vs_qsbr_defer(&vs_qsbr, destroy_port, p);
    vs_qsbr_reclaim(&vs_qsbr);
}

/* ---- housekeeping -------------------------------------------------------------------------------------------------- */

uint64_t vs_dp_next_sweep(const vs_dp *dp)
{
    return atomic_load_explicit(&dp->sweep_epoch, memory_order_relaxed) + 1;
}

void vs_dp_next_era(vs_dp *dp)
{
    atomic_fetch_add_explicit(&dp->emc_era, 1, memory_order_release); /* pairs with vs_core_iterate */
    vs_qsbr_synchronize(&vs_qsbr);
}

void vs_dp_start_sweep(vs_dp *dp, uint64_t epoch)
{
    atomic_store_explicit(&dp->sweep_epoch, epoch, memory_order_release); /* pairs with vs_core_iterate */
    vs_dp_wake(dp);
}

static uint64_t swept_by_all(const vs_dp *dp)
{
    uint64_t swept = atomic_load_explicit(&dp->sweep_epoch, memory_order_relaxed);
    for (unsigned i = 1; i < VS_MAX_CORES; i++)
        if (dp->cores[i] != NULL) {
            /* Acquire: retired states stored before are seen. Pairs with vs_programs_sweep. */
            uint64_t one = atomic_load_explicit(&dp->cores[i]->programs.swept, memory_order_acquire);
            swept = VS_MIN(swept, one);
        }
    return swept;
}

void vs_dp_wait_swept(vs_dp *dp)
{
    uint64_t epoch = atomic_load_explicit(&dp->sweep_epoch, memory_order_relaxed);
    while (swept_by_all(dp) < epoch) {
        struct timespec pause = {.tv_nsec = 20000};
        for (unsigned i = 1; dp->manual && i < VS_MAX_CORES; i++)
            if (dp->cores[i] != NULL)
                (void)vs_programs_sweep(&dp->cores[i]->programs, epoch);
        if (!dp->manual)
            nanosleep(&pause, NULL);
    }
}

void vs_dp_harvest(vs_dp *dp)
{
    for (unsigned i = 1; i < VS_MAX_CORES; i++)
        if (dp->cores[i] != NULL)
            vs_programs_harvest(&dp->cores[i]->programs);
}

void vs_dp_forget_rule(vs_dp *dp, struct vs_rule *r)
{
    for (unsigned i = 1; i < VS_MAX_CORES; i++)
        if (dp->cores[i] != NULL)
            vs_programs_forget(&dp->cores[i]->programs, r);
}

int vs_dp_housekeep(vs_dp *dp)
{
    uint64_t swept = swept_by_all(dp);
    bool due = false, pending = false;
    for (unsigned i = 0; i < VS_MAX_PORTS; i++)
        for (const struct vs_rule *r = dp->bridges[i] != NULL ? dp->bridges[i]->dying : NULL;
             r != NULL && !due; r = r->list_next)
            due = r->gc_epoch != 0 && r->gc_epoch <= swept;
    if (due)
        vs_dp_harvest(dp);
    for (unsigned i = 0; i < VS_MAX_PORTS; i++)
        if (dp->bridges[i] != NULL) {
            vs_bridge_housekeep(dp->bridges[i], swept);
            pending = pending || dp->bridges[i]->zombies != NULL || dp->bridges[i]->dying != NULL;
        }
    vs_qsbr_reclaim(&vs_qsbr);
    return pending;
}

/* ---- controllers --------------------------------------------------------------------------------------------------- */

int vs_dp_punt_fd(const vs_dp *dp)
{
    return dp->punt_fd;
}

int vs_dp_punt_take(vs_dp *dp, struct vs_punt_record *record, uint8_t *data, uint32_t max)
{
    for (unsigned tries = 0; tries < VS_MAX_CORES; tries++) {
        dp->punt_next = (dp->punt_next + 1) % VS_MAX_CORES; /* round robin: no core starves another */
        struct vs_core *c = dp->cores[dp->punt_next];
        if (c != NULL && vs_punt_take(&c->punt, record, data, max))
            return 1;
    }
    return 0;
}

int vs_dp_packet_out(vs_dp *dp, vs_bridge *b, const uint8_t *frame, uint32_t len, uint32_t in_port,
                     const struct vs_action *actions, uint32_t n)
{
    struct vs_core *c = dp->cores[0];
    struct vs_packet *p = c->rx[0];
    uint8_t dirty = 6;
    if (len < 14 || len > VS_MAX_FRAME || !vs_actions_valid(actions, n))
        return -EINVAL;
    c->now_ms = vs_dp_now_ms(dp);
    vs_packet_reset(p, NULL);
    vs_packet_fill(p, frame, len);
    p->in_port = in_port;
    vs_parse(p, b->index, &c->scratch[0]->keys[0], &dirty);
    c->scratch[0]->dirty[0] = 6;
    vs_core_execute(c, b, atomic_load_explicit(&b->view, memory_order_relaxed), p, actions, n);
    vs_core_flush(c);
    vs_core_batch_end(c);
    return 0;
}
