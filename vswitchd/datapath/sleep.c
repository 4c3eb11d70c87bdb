/* sleep.c: how an idle core sleeps and wakes; the protocol is in port.h (rx_arm, rx_fd, rx_disarm).
 *
 * Order: arm every queue (each looks once more for work), say "asleep", look once more at what the control thread may have
 * changed, leave the grace periods (offline), wait. The list of queues may be freed while the core is offline: after waking it is
 * loaded anew. A core where packets wait in queues wakes when the first of them may go. The wait ends after WAKE_MS at the
 * latest, so that nothing depends on a peer's promise to notify.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "core.h"
#include "qsbr.h"

enum {
    WAKE_MS = 500,
    WORTHWHILE_NS =
        50000, /* as long as the kernel takes to wake a thread: who has something to do before stays awake */
};

static void disarm(const struct vs_rxq_ref *ref, bool rang)
{
    if (ref->port->ops->rx_disarm != NULL)
        ref->port->ops->rx_disarm(ref->port, ref->rxq, rang);
}

void vs_core_disarm(const struct vs_rxq_list *list, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        disarm(&list->ref[i], false);
}

static int fd_of(const struct vs_rxq_ref *ref)
{
    return atomic_load_explicit(&ref->port->rx_fd[ref->rxq], memory_order_acquire);
}

/* Drain what rang. The list may be another one than that of before: then a descriptor has another place, and is drained on suspicion. */
static void drain(const struct vs_core *c, const struct vs_rxq_list *list, unsigned n)
{
    for (unsigned i = 0, k = 1; i < list->n; i++) {
        int fd = fd_of(&list->ref[i]);
        if (fd < 0)
            continue;
        if (k >= n || c->pollfds[k].fd != fd || c->pollfds[k].revents != 0)
            disarm(&list->ref[i], true);
        k++;
    }
}

/* Returns how many were armed; fewer than all when one of them has work. */
static unsigned arm(const struct vs_rxq_list *list)
{
    for (unsigned i = 0; i < list->n; i++) {
        const struct vs_rxq_ref *ref = &list->ref[i];
        if (ref->port->ops->rx_arm != NULL && ref->port->ops->rx_arm(ref->port, ref->rxq) != 0)
            return i;
    }
    return list->n;
}

/* Not the hot loop: memory may be asked for here. */
static bool room_for(struct vs_core *c, unsigned n)
{
    if (n <= c->n_pollfds)
        return true;
    struct pollfd *more = realloc(c->pollfds, n * sizeof *more);
    if (more == NULL)
        return false;
    c->pollfds = more;
    c->n_pollfds = n;
    return true;
}

static bool must_stay(const struct vs_core *c, const struct vs_rxq_list *list)
{
    const struct vs_shaper *shaper = __atomic_load_n(&c->shaper, __ATOMIC_RELAXED);
    return atomic_load_explicit(&c->stop, memory_order_relaxed) ||
           (shaper != NULL && atomic_load_explicit(&shaper->seen, memory_order_relaxed) !=
                                  atomic_load_explicit(&c->dp->qos_epoch, memory_order_relaxed)) ||
           atomic_load_explicit(&c->rxqs, memory_order_relaxed) != list ||
           atomic_load_explicit(&c->programs.swept, memory_order_relaxed) !=
               atomic_load_explicit(&c->dp->sweep_epoch, memory_order_relaxed);
}

static void wait_for_work(struct vs_core *c, unsigned n, uint64_t ns)
{
    struct timespec limit = {.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};
    uint64_t before = vs_cycles();
    vs_qsbr_offline(&vs_qsbr, (unsigned)c->qsbr);
    int ready = ppoll(c->pollfds, n, &limit, NULL);
    vs_qsbr_online(&vs_qsbr, (unsigned)c->qsbr);
    atomic_store_explicit(&c->asleep, false, memory_order_relaxed);
    bool asked =
        ready > 0 && c->pollfds[0].revents != 0; /* by the control thread, for one look at what changed */
    if (asked) {
        uint64_t count;
        ssize_t done = read(c->wake_fd, &count, sizeof count);
        (void)done; /* EAGAIN: nothing was in it */
    }
    c->drowsy = ready <= asked;
    vs_count(&c->stats.sleeps, 1);
    vs_count(&c->stats.asleep_cycles, vs_cycles() - before);
}

void vs_core_sleep(struct vs_core *c)
{
    const struct vs_rxq_list *list = atomic_load_explicit(&c->rxqs, memory_order_acquire);
    c->idle_since = 0; /* whatever happens, a new spell of patience begins */
    uint64_t ns = UINT64_C(1000000) * WAKE_MS;
    const struct vs_shaper *shaper =
        __atomic_load_n(&c->shaper, __ATOMIC_ACQUIRE); /* pairs with give_shaper */
    if (shaper != NULL)                                /* not past the time when a packet that waits may go */
        ns = VS_MIN(ns, vs_shaper_due(c, shaper));
    if (ns < WORTHWHILE_NS || !room_for(c, list->n + 1))
        return;
    unsigned armed = arm(list), n = 1;
    c->pollfds[0] = (struct pollfd){.fd = c->wake_fd, .events = POLLIN};
    for (unsigned i = 0; i < armed; i++) {
        int fd = fd_of(&list->ref[i]);
        if (fd >= 0)
            c->pollfds[n++] = (struct pollfd){.fd = fd, .events = POLLIN};
    }
    atomic_store_explicit(&c->asleep, true, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst); /* pairs with the fence in vs_core_wake */
    if (armed < list->n || must_stay(c, list)) {
        atomic_store_explicit(&c->asleep, false, memory_order_relaxed);
        c->drowsy = false;
        vs_core_disarm(list, VS_MIN(armed + 1, list->n));
        return;
    }
    wait_for_work(c, n, ns);
    drain(c, atomic_load_explicit(&c->rxqs, memory_order_acquire), n);
    c->polled =
        NULL; /* the others are disarmed after the first turn: the frame that rang does not wait for them */
}

void vs_core_wake(struct vs_core *c)
{
    atomic_thread_fence(
        memory_order_seq_cst); /* what was changed before is seen by a core that goes to sleep after */
    uint64_t one = 1;
    ssize_t done = write(c->wake_fd, &one, sizeof one);
    (void)done; /* EAGAIN: it is readable already */
}
