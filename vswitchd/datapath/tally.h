/* tally.h: counters that several cores add to (groups, buckets, meters), once a batch instead of once a packet. Internal.
 *
 * How it works: a core gathers what it counts in a few slots, chosen by the counter's address; a slot is written out with two
 * atomic additions when another counter wants it, and all are at the end of a batch. So what a counter belongs to must
 * live until the batch ends: it does, for it is freed after a grace period.
 *
 * Thread safety: the slots are one core's own; counters may be read at any time.
 */
#ifndef VS_TALLY_H
#define VS_TALLY_H

#include "base.h"

enum { VS_TALLIES = 16 };

struct vs_shared_count {
    _Atomic uint64_t packets, bytes;
};

struct vs_tally {
    struct vs_shared_count *to; /* NULL: free */
    uint64_t packets, bytes;
};

struct vs_tallies {
    struct vs_tally slot[VS_TALLIES];
    bool any;
};

static inline void vs_tally_write(struct vs_tally *t)
{
    if (t->to == NULL)
        return;
    atomic_fetch_add_explicit(&t->to->packets, t->packets, memory_order_relaxed);
    atomic_fetch_add_explicit(&t->to->bytes, t->bytes, memory_order_relaxed);
    t->to = NULL;
}

static inline void vs_tally_add(struct vs_tallies *ts, struct vs_shared_count *to, uint64_t packets,
                                uint64_t bytes)
{
    struct vs_tally *t = &ts->slot[((uintptr_t)to * 0x9e3779b97f4a7c15ULL) >> 60]; /* VS_TALLIES: 4 bits */
    if (t->to != to) {
        vs_tally_write(t);
        *t = (struct vs_tally){.to = to};
        ts->any = true;
    }
    t->packets += packets;
    t->bytes += bytes;
}

/* The batch ends. */
static inline void vs_tally_settle(struct vs_tallies *ts)
{
    if (!ts->any)
        return;
    ts->any = false;
    for (unsigned i = 0; i < VS_TALLIES; i++)
        vs_tally_write(&ts->slot[i]);
}

#endif
