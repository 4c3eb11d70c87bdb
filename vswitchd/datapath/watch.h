/* watch.h: what tells of work for a receive queue: a word in memory, and while its core sleeps a descriptor (port.h, rx_fd). C only.
 *
 * How it works: when a driver's rx found nothing, the core asks for a watch (rx_watch, port.h) and calls rx again only when the word reads
 * otherwise. So an idle queue costs a core one load and no call: the words of the next queues are on their way meanwhile. The core
 * keeps watches beside its list of queues. It forgets all of them when vs_watch_changes moved, which it looks at in each turn, after
 * it said that it is quiescent (qsbr.h), and before it looks at any word. So whoever takes a word away unpublishes what leads to it,
 * calls vs_watch_changed, and waits for a grace period, as for anything else that cores use. By the same number a core knows that it
 * has to make a new set of the descriptors that it sleeps on.
 *
 * Thread safety: a watch is its core's. vs_watch_changed: any thread.
 */
#ifndef VS_WATCH_H
#define VS_WATCH_H

#include "base.h"

#ifndef VS_CDEF
struct vs_watch { /* nothing to receive while (*word & mask) == value */
    const uint16_t *word;
    uint16_t mask, value;
};

/* Nothing will come before vs_watch_changed. / Nothing tells: poll. */
extern const struct vs_watch vs_watch_never, vs_watch_always;
extern _Atomic uint64_t vs_watch_changes; /* one number for all ports */

/* Rx may have something to do although its word kept still, the word goes away, or rx_fd or a core's list is another one now. */
static inline void vs_watch_changed(void)
{
    /* Release: what changed is seen by a core that sees the number. Pairs with the acquire load in core.c. */
    atomic_fetch_add_explicit(&vs_watch_changes, 1, memory_order_release);
}

static inline bool vs_watch_quiet(const struct vs_watch *w)
{
    return (__atomic_load_n(w->word, __ATOMIC_RELAXED) & w->mask) == w->value;
}
#endif

#endif
