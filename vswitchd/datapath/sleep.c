/* sleep.c: how an idle core sleeps and wakes; the protocol is in port.h (rx_arm, rx_fd, rx_disarm).
 *
 * Order: arm every queue (each looks once more for work), say "asleep", look once more at what the control thread may have
 * changed, leave the grace periods (offline), wait. The list of queues may be freed while the core is offline: after waking it is
 * loaded anew. A core where packets wait in queues wakes when the first of them may go. The wait ends after WAKE_MS at the
 * latest, so that nothing depends on a peer's promise to notify.
 *
 * The core waits on an epoll instance of its own, so going to sleep and waking cost the same with 5 ports and with 500. What it holds may
 * be stale: a guest has its own reference to its kick descriptor, so closing ours removes nothing, and the number may be another
 * file's by now. So nothing is ever taken out: when a descriptor or the list changed (vs_watch_changes), all is put into a new
 * instance, before the next sleep. A stale one can wake the core once, for nothing.
 *
 * A queue whose driver looks again when it is armed is watched edge-triggered: what nobody drains cannot keep the core awake. The others
 * (tap, sockets) must be level-triggered, because rx may not have looked. What epoll refuses wakes nobody: the core looks by itself
 * every DEAF_MS.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "core.h"
#include "qsbr.h"

enum {
    WAKE_MS = 500,
    DEAF_MS = 10,
    WORTHWHILE_NS =
        50000, /* as long as the kernel takes to wake a thread: who has something to do before stays awake */
    CONTROL = -1, /* in the place of a queue: wake_fd */
};

static void disarm(const struct vs_rxq_ref *ref, bool rang)
{
    if (ref->port->ops->rx_disarm != NULL)
        ref->port->ops->rx_disarm(ref->port, ref->rxq, rang);
}

static void disarm_first(const struct vs_rxq_list *list, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        disarm(&list->ref[i], false);
}

/* Draining the wrong queue, because the list is another one now, does no harm: whoever sleeps looks again. */
void vs_core_awake(struct vs_core *c, const struct vs_rxq_list *list)
{
    disarm_first(list, list->n);
    for (unsigned i = 0; i < c->n_rang; i++)
        if (c->rang[i] < list->n)
            disarm(&list->ref[c->rang[i]], true);
    c->n_rang = 0;
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

/* EEXIST: queues share a descriptor, and one of them is enough. */
static bool watch(int epoll_fd, int fd, uint32_t events, int place)
{
    struct epoll_event event = {.events = events, .data.fd = place};
    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0 || errno == EEXIST;
}

static bool empty_epoll(const struct vs_core *c)
{
    int fresh = epoll_create1(EPOLL_CLOEXEC);
    if (fresh < 0)
        return false;
    bool ok = dup3(fresh, c->epoll_fd, O_CLOEXEC) >= 0; /* closes the instance before */
    close(fresh);
    return ok;
}

/* Make a new set if something changed. False: there is none, so the core must not sleep. Not the hot loop: some 0.3 us for each queue. */
static bool watch_all(struct vs_core *c, const struct vs_rxq_list *list, uint64_t changes)
{
    uint64_t deaf = 0;
    if (changes == c->epoll_changes)
        return true;
    if (!empty_epoll(c) || !watch(c->epoll_fd, c->wake_fd, EPOLLIN, CONTROL))
        return false;
    c->epoll_changes = changes;
    for (unsigned i = 0; i < list->n; i++) {
        const struct vs_port *port = list->ref[i].port;
        int fd = atomic_load_explicit(&port->rx_fd[list->ref[i].rxq], memory_order_acquire);
        uint32_t how = port->ops->rx_arm != NULL ? EPOLLIN | EPOLLET : EPOLLIN;
        deaf += fd >= 0 && !watch(c->epoll_fd, fd, how, (int)i);
    }
    __atomic_store_n(&c->stats.deaf_queues, deaf, __ATOMIC_RELAXED);
    return true;
}

static bool must_stay(const struct vs_core *c, const struct vs_rxq_list *list)
{
    const struct vs_shaper *shaper = __atomic_load_n(&c->shaper, __ATOMIC_RELAXED);
    return atomic_load_explicit(&c->stop, memory_order_relaxed) ||
           (shaper != NULL && atomic_load_explicit(&shaper->seen, memory_order_relaxed) !=
                                  atomic_load_explicit(&c->dp->qos_epoch, memory_order_relaxed)) ||
           atomic_load_explicit(&c->rxqs, memory_order_relaxed) != list ||
           atomic_load_explicit(&vs_watch_changes, memory_order_relaxed) != c->epoll_changes ||
           atomic_load_explicit(&c->programs.swept, memory_order_relaxed) !=
               atomic_load_explicit(&c->dp->sweep_epoch, memory_order_relaxed);
}

static void drain_wake_fd(const struct vs_core *c)
{
    uint64_t count;
    ssize_t done = read(c->wake_fd, &count, sizeof count);
    (void)done; /* EAGAIN: nothing was in it */
}

static void wait_for_work(struct vs_core *c, uint64_t ns)
{
    struct timespec limit = {.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};
    struct epoll_event events[VS_RANG];
    uint64_t before = vs_cycles();
    vs_qsbr_offline(&vs_qsbr, (unsigned)c->qsbr);
    int ready = epoll_pwait2(c->epoll_fd, events, VS_RANG, &limit, NULL);
    vs_qsbr_online(&vs_qsbr, (unsigned)c->qsbr);
    atomic_store_explicit(&c->asleep, false, memory_order_relaxed);
    c->n_rang = 0;
    for (int i = 0; i < ready; i++) {
        if (events[i].data.fd == CONTROL)
            drain_wake_fd(c); /* the control thread asks for one look at what changed */
        else
            c->rang[c->n_rang++] = (uint32_t)events[i].data.fd;
    }
    c->drowsy = c->n_rang == 0;
    vs_count(&c->stats.sleeps, 1);
    vs_count(&c->stats.asleep_cycles, vs_cycles() - before);
}

void vs_core_sleep(struct vs_core *c)
{
    uint64_t changes = atomic_load_explicit(
        &vs_watch_changes, memory_order_acquire); /* before the list; pairs with vs_watch_changed */
    const struct vs_rxq_list *list = atomic_load_explicit(&c->rxqs, memory_order_acquire);
    c->idle_since = 0; /* whatever happens, a new spell of patience begins */
    uint64_t ns = UINT64_C(1000000) * WAKE_MS;
    const struct vs_shaper *shaper =
        __atomic_load_n(&c->shaper, __ATOMIC_ACQUIRE); /* pairs with give_shaper */
    if (shaper != NULL)                                /* not past the time when a packet that waits may go */
        ns = VS_MIN(ns, vs_shaper_due(c, shaper));
    if (ns < WORTHWHILE_NS || !watch_all(c, list, changes))
        return;
    if (vs_count_read(&c->stats.deaf_queues) != 0)
        ns = VS_MIN(ns, UINT64_C(1000000) * DEAF_MS);
    unsigned armed = arm(list);
    atomic_store_explicit(&c->asleep, true, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst); /* pairs with the fence in vs_core_wake */
    if (armed < list->n || must_stay(c, list)) {
        atomic_store_explicit(&c->asleep, false, memory_order_relaxed);
        c->drowsy = false;
        disarm_first(list, VS_MIN(armed + 1, list->n));
        return;
    }
    wait_for_work(c, ns);
    c->polled = NULL; /* disarmed after the first turn: the frame that rang does not wait for that */
}

void vs_core_wake(struct vs_core *c)
{
    atomic_thread_fence(
        memory_order_seq_cst); /* what was changed before is seen by a core that goes to sleep after */
    uint64_t one = 1;
    ssize_t done = write(c->wake_fd, &one, sizeof one);
    (void)done; /* EAGAIN: it is readable already */
}
