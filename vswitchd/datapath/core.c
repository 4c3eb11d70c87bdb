/* core.c: life and loop of a polling core; see core.h. */
#include "core.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "qsbr.h"

enum {
    RELAX = 8, /* pauses after an idle turn: some 0.2 us; 0 and 32 measured no better */
    TURNS_PER_FULL = 16,
};

/* One slot of the process-wide grace periods per polling core of any datapath. Control thread. */
static bool qsbr_taken[VS_MAX_CORES];

static int qsbr_slot(void)
{
    for (int i = 0; i < VS_MAX_CORES; i++)
        if (!qsbr_taken[i]) {
            qsbr_taken[i] = true;
            return i;
        }
    return -1;
}

static void *line_alloc(size_t size)
{
    size = (size + VS_CACHE_LINE - 1) / VS_CACHE_LINE * VS_CACHE_LINE;
    void *p = aligned_alloc(VS_CACHE_LINE, size);
    if (p != NULL)
        memset(p, 0, size);
    return p;
}

static bool alloc_parts(struct vs_core *c, uint32_t emc_entries)
{
    bool control = c->index == 0;
    c->packets = line_alloc(VS_BATCH * sizeof *c->packets);
    c->clones = line_alloc(VS_CLONES * sizeof *c->clones);
    c->bounce = line_alloc(VS_MAX_FRAME);
    c->dirty = calloc(VS_MAX_PORTS, sizeof(struct vs_port *));
    c->tx = calloc(VS_MAX_PORTS, sizeof *c->tx);
    c->normal = control ? NULL : line_alloc(VS_NORMAL_MEMO * sizeof *c->normal);
    bool ok = (control || c->normal != NULL) && c->packets != NULL && c->clones != NULL &&
              c->bounce != NULL && c->dirty != NULL && c->tx != NULL;
    for (unsigned i = 0; i < VS_LEVELS; i++)
        ok = ok && (c->scratch[i] = line_alloc(sizeof *c->scratch[i])) != NULL;
    struct vs_rxq_list *none = vs_rxq_list_new(0);
    atomic_init(&c->rxqs, none);
    ok = ok && none != NULL && vs_emc_init(&c->emc, control ? 0 : emc_entries) == 0;
    ok = ok && (control || vs_programs_init(&c->programs) == 0);
    return ok && vs_punt_init(&c->punt, VS_PUNT_RING, c->dp->punt_fd) == 0;
}

struct vs_core *vs_core_new(struct vs_dp *dp, unsigned index, int cpu, uint32_t emc_entries)
{
    struct vs_core *c = line_alloc(sizeof *c);
    if (c == NULL)
        return NULL;
    c->dp = dp;
    c->index = index;
    c->cpu = cpu;
    c->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    c->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    c->epoll_changes = UINT64_MAX; /* nothing is in it */
    c->qsbr = index == 0 ? -1 : qsbr_slot();
    if (c->wake_fd < 0 || c->epoll_fd < 0 || (index != 0 && c->qsbr < 0) || !alloc_parts(c, emc_entries)) {
        vs_core_free(c);
        return NULL;
    }
    for (unsigned i = 0; i < VS_BATCH; i++) {
        c->rx[i] = &c->packets[i];
        vs_packet_reset(c->rx[i], NULL);
    }
    return c;
}

void vs_core_free(struct vs_core *c)
{
    for (unsigned i = 0; i < VS_LEVELS; i++)
        free(c->scratch[i]);
    free(c->packets);
    free(c->clones);
    free(c->bounce);
    free(c->normal);
    free(c->dirty);
    free(c->tx);
    vs_shaper_free(c->shaper);
    free(atomic_load_explicit(&c->rxqs, memory_order_relaxed));
    vs_emc_destroy(&c->emc);
    vs_programs_destroy(&c->programs);
    vs_punt_destroy(&c->punt);
    if (c->wake_fd >= 0)
        close(c->wake_fd);
    if (c->epoll_fd >= 0)
        close(c->epoll_fd);
    if (c->qsbr >= 0)
        qsbr_taken[c->qsbr] = false;
    free(c);
}

/* ---- the loop ------------------------------------------------------------------------------------------------------ */

/* Drop what is over the port's rate, in front of everything else. */
static void process_policed(struct vs_core *c, struct vs_port *port, struct vs_tb *policer, int n)
{
    struct vs_packet *taken[VS_BATCH];
    uint64_t now = vs_tb_ticks(vs_dp_now_ns(c->dp));
    int n_taken = 0;
    for (int i = 0; i < n; i++) {
        if (vs_tb_try(policer, now, c->rx[i]->frame_len * UINT64_C(8)))
            taken[n_taken++] = c->rx[i];
        else
            vs_port_rx_drop(port->counters[c->index], VS_DROP_RX_POLICED, 1);
    }
    vs_core_process(c, port, taken, n_taken, true);
}

static int poll_queue(struct vs_core *c, const struct vs_rxq_ref *ref)
{
    struct vs_port *port = ref->port;
    struct vs_port_counters *pc = port->counters[c->index];
    int n = port->ops->rx(port, ref->rxq, c->rx, VS_BATCH, pc);
    if (n <= 0)
        return 0;
    uint64_t before = vs_cycles();
    c->now_ms =
        vs_dp_now_ms(c->dp); /* not in idle turns: reading the clock costs as much as an empty queue */
    struct vs_tb *policer = __atomic_load_n(&port->policer, __ATOMIC_ACQUIRE);
    if (VS_UNLIKELY(policer != NULL))
        process_policed(c, port, policer, n);
    else
        vs_core_process(c, port, c->rx, n, true);
    vs_core_flush(c);
    if (port->ops->rx_release != NULL)
        port->ops->rx_release(port, ref->rxq);
    vs_core_batch_end(c);
    for (int i = 0; i < n; i++)
        vs_packet_reset(c->rx[i], port);
    struct vs_rxq_stats *s = &port->rxq_stats[ref->rxq];
    vs_count(&s->packets, (uint64_t)n);
    vs_count(&s->batches, 1);
    vs_count(&s->cycles, vs_cycles() - before);
    vs_count(&c->stats.rx_packets, (uint64_t)n);
    vs_count(&c->stats.batches, 1);
    return n;
}

struct vs_rxq_list *vs_rxq_list_new(unsigned n)
{
    size_t refs = sizeof(struct vs_rxq_list) + n * sizeof(struct vs_rxq_ref);
    struct vs_rxq_list *list = malloc(refs + (n + VS_WATCH_AHEAD) * sizeof(struct vs_watch));
    if (list == NULL)
        return NULL;
    list->n = 0;
    list->watch = (struct vs_watch *)(void *)((uint8_t *)list + refs);
    for (unsigned i = 0; i < n + VS_WATCH_AHEAD; i++)
        list->watch[i] = vs_watch_always;
    return list;
}

static void forget_watches(struct vs_core *c, const struct vs_rxq_list *list)
{
    uint64_t changes =
        atomic_load_explicit(&vs_watch_changes, memory_order_acquire); /* pairs with vs_watch_changed */
    if (VS_LIKELY(changes == c->watch_changes))
        return;
    c->watch_changes = changes;
    for (unsigned i = 0; i < list->n; i++)
        list->watch[i] = vs_watch_always;
}

/* The frame that woke the core does not wait for a turn over all queues. */
static int poll_rang(struct vs_core *c, const struct vs_rxq_list *list)
{
    int total = 0;
    for (unsigned i = 0; i < c->n_rang; i++)
        if (c->rang[i] < list->n)
            total += poll_queue(c, &list->ref[c->rang[i]]);
    return total;
}

static int poll_all(struct vs_core *c, const struct vs_rxq_list *list)
{
    struct vs_watch *watch = list->watch;
    int total = 0;
    forget_watches(c, list);
    /* Now and then a queue is polled whatever its word says: should a driver be wrong, packets come late, but they come. */
    if (++c->turn % TURNS_PER_FULL == 0 && list->n != 0)
        watch[c->turn / TURNS_PER_FULL % list->n] = vs_watch_always;
    for (unsigned i = 0; i < list->n; i++) {
        VS_PREFETCH(watch[i + VS_WATCH_AHEAD].word);
        if (vs_watch_quiet(&watch[i]))
            continue;
        const struct vs_rxq_ref *ref = &list->ref[i];
        const struct vs_port_ops *ops = ref->port->ops;
        int n = poll_queue(c, ref);
        total += n;
        if (n != 0 || ops->rx_watch == NULL || !ops->rx_watch(ref->port, ref->rxq, &watch[i]))
            watch[i] = vs_watch_always;
    }
    return total;
}

int vs_core_iterate(struct vs_core *c)
{
    uint64_t start = vs_cycles();
    vs_qsbr_quiescent(&vs_qsbr, (unsigned)c->qsbr);
    uint64_t epoch =
        atomic_load_explicit(&c->dp->sweep_epoch, memory_order_acquire); /* pairs with vs_dp_start_sweep */
    uint32_t era =
        atomic_load_explicit(&c->dp->emc_era, memory_order_acquire); /* pairs with vs_dp_next_era */
    if (VS_UNLIKELY(era != c->emc_era)) {
        c->emc_era = era;
        vs_emc_clear(&c->emc);
    }
    bool sweeping = vs_programs_sweep(&c->programs, epoch);
    const struct vs_rxq_list *list =
        atomic_load_explicit(&c->rxqs, memory_order_acquire); /* pairs with vs_dp_assign */
    int total = VS_UNLIKELY(c->n_rang != 0) ? poll_rang(c, list) : 0;
    total += poll_all(c, list);
    /* After a sleep, or a queue may come from a core that sleeps, which armed it. What is there goes first. */
    if (VS_UNLIKELY(list != c->polled)) {
        c->polled = list;
        vs_core_awake(c, list);
    }
    unsigned sent = 0;
    struct vs_shaper *shaper = __atomic_load_n(&c->shaper, __ATOMIC_ACQUIRE); /* pairs with give_shaper */
    if (VS_UNLIKELY(shaper != NULL))
        sent = vs_shaper_run(c, shaper);
    uint64_t end = vs_cycles();
    vs_count(&c->stats.iterations, 1);
    if (total > 0 || sweeping || sent > 0) {
        vs_count(&c->stats.busy_iterations, 1);
        vs_count(&c->stats.busy_cycles, end - start);
        if (end - start > vs_count_read(&c->stats.max_gap_cycles))
            __atomic_store_n(&c->stats.max_gap_cycles, end - start, __ATOMIC_RELAXED);
        c->idle_since = 0;
        c->drowsy = c->drowsy && total == 0 && sent == 0;
    } else {
        vs_count(&c->stats.idle_cycles, end - start);
        if (c->idle_since == 0)
            c->idle_since = start;
    }
    return total;
}

static void *core_main(void *arg)
{
    struct vs_core *c = arg;
    vs_qsbr_online(&vs_qsbr, (unsigned)c->qsbr);
    while (!atomic_load_explicit(&c->stop, memory_order_acquire)) {
        /* Looking at an empty ring takes its index away from the guest that is about to write it. */
        if (vs_core_iterate(c) == 0)
            for (int i = 0; i < RELAX; i++)
                vs_cpu_relax();
        int64_t patience = atomic_load_explicit(&c->dp->idle_sleep_cycles, memory_order_relaxed);
        if (c->idle_since != 0 && patience >= 0 &&
            (c->drowsy || vs_cycles() - c->idle_since >= (uint64_t)patience))
            vs_core_sleep(c);
    }
    vs_qsbr_offline(&vs_qsbr, (unsigned)c->qsbr);
    return NULL;
}

int vs_core_start(struct vs_core *c)
{
    static const int faults[] = {SIGBUS, SIGSEGV, SIGFPE, SIGILL}; /* of the thread itself; sigbus.h */
    pthread_attr_t attr;
    sigset_t all, before;
    int rc = pthread_attr_init(&attr);
    if (rc != 0)
        return -rc;
    if (c->cpu >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET((unsigned)c->cpu, &set);
        rc = pthread_attr_setaffinity_np(&attr, sizeof set, &set);
    }
    sigfillset(&all);
    for (unsigned i = 0; i < sizeof faults / sizeof faults[0]; i++)
        sigdelset(&all, faults[i]);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the control thread's */
    if (rc == 0)
        rc = pthread_create(&c->thread, &attr, core_main, c);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    if (rc == 0) {
        char name[16];
        snprintf(name, sizeof name, "vs-core-%u", c->index);
        pthread_setname_np(c->thread, name);
    }
    return -rc;
}
