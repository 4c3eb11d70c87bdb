/* qsbr.c: quiescent-state based reclamation; see qsbr.h. */
#include "qsbr.h"

#include <stdlib.h>
#include <time.h>

struct vs_qsbr vs_qsbr;

struct vs_qsbr_item {
    struct vs_qsbr_item *next;
    void (*fn)(void *);
    void *arg;
    uint64_t epoch;
};

__attribute__((constructor)) static void init_process(void)
{
    vs_qsbr_init(&vs_qsbr);
}

void vs_qsbr_init(struct vs_qsbr *q)
{
    memset(q, 0, sizeof *q);
    atomic_store_explicit(&q->epoch, 1, memory_order_relaxed);
    for (unsigned i = 0; i < VS_MAX_CORES; i++)
        atomic_store_explicit(&q->cores[i].seen, VS_QSBR_OFFLINE, memory_order_relaxed);
}

void vs_qsbr_quiescent(struct vs_qsbr *q, unsigned core)
{
    uint64_t epoch = atomic_load_explicit(&q->epoch, memory_order_acquire);
    /* Release: all reads of the past loop are done before `seen` says so. Pairs with vs_qsbr_passed. */
    atomic_store_explicit(&q->cores[core].seen, epoch, memory_order_release);
}

void vs_qsbr_offline(struct vs_qsbr *q, unsigned core)
{
    atomic_store_explicit(&q->cores[core].seen, VS_QSBR_OFFLINE, memory_order_release);
}

void vs_qsbr_online(struct vs_qsbr *q, unsigned core)
{
    uint64_t epoch = atomic_load_explicit(&q->epoch, memory_order_relaxed);
    atomic_store_explicit(&q->cores[core].seen, epoch, memory_order_release);
    /* No read of shared objects may pass the store above: pairs with the fence in vs_qsbr_begin. */
    atomic_thread_fence(memory_order_seq_cst);
}

uint64_t vs_qsbr_begin(struct vs_qsbr *q)
{
    atomic_thread_fence(memory_order_seq_cst); /* unpublishing is visible before the epoch is raised */
    return atomic_fetch_add_explicit(&q->epoch, 1, memory_order_seq_cst) + 1;
}

bool vs_qsbr_passed(const struct vs_qsbr *q, uint64_t epoch)
{
    for (unsigned i = 0; i < VS_MAX_CORES; i++)
        if (atomic_load_explicit(&q->cores[i].seen, memory_order_acquire) < epoch)
            return false;
    return true;
}

void vs_qsbr_synchronize(struct vs_qsbr *q)
{
    uint64_t epoch = vs_qsbr_begin(q);
    for (unsigned spins = 0; !vs_qsbr_passed(q, epoch); spins++) {
        if (spins < 100) {
            vs_cpu_relax();
        } else { /* the core may need this very processor */
            struct timespec pause = {.tv_nsec = 20000};
            nanosleep(&pause, NULL);
        }
    }
}

void vs_qsbr_defer(struct vs_qsbr *q, void (*fn)(void *), void *arg)
{
    struct vs_qsbr_item *item = malloc(sizeof *item);
    if (item == NULL) { /* no memory to wait: wait now instead */
        vs_qsbr_synchronize(q);
        fn(arg);
        return;
    }
    *item = (struct vs_qsbr_item){.fn = fn, .arg = arg, .epoch = vs_qsbr_begin(q)};
    if (q->last != NULL)
        q->last->next = item;
    else
        q->first = item;
    q->last = item;
    q->n_deferred++;
}

void vs_qsbr_reclaim(struct vs_qsbr *q)
{
    while (q->first != NULL && vs_qsbr_passed(q, q->first->epoch)) {
        struct vs_qsbr_item *item = q->first;
        q->first = item->next;
        if (q->first == NULL)
            q->last = NULL;
        q->n_deferred--;
        item->fn(item->arg);
        free(item);
    }
}

void vs_qsbr_drain(struct vs_qsbr *q)
{
    vs_qsbr_synchronize(q);
    vs_qsbr_reclaim(q);
}

void vs_synchronize(void)
{
    vs_qsbr_drain(&vs_qsbr);
}

void vs_reclaim(void)
{
    vs_qsbr_reclaim(&vs_qsbr);
}
