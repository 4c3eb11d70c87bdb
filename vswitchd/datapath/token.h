/* token.h: a token bucket that several cores share: how many units (bits, packets) a second, and how many at once.
 *
 * How it works: one atomic word, the time at which the bucket would be full again if nothing came. A bucket gives while it holds
 * any token and may so fall below empty, by one packet and core at most: the debt is paid before it gives again. The mean rate is
 * exact for packets of any size, and the depth bounds only what comes at once. Time is counted in ticks of 1/64 ns: 64 bytes
 * at 100 Gb/s are 328 of them, and the word comes round after nine years.
 *
 * Thread safety: ready, due, take, try: any thread. init: before it is shared.
 */
#ifndef VS_TOKEN_H
#define VS_TOKEN_H

#include "base.h"

#ifndef VS_CDEF
enum { VS_TB_TICKS = 64 }; /* in a nanosecond */

struct vs_tb {
    uint64_t mult;            /* ticks a unit takes, in 1/2^24 */
    uint64_t depth;           /* ticks from empty to full */
    _Atomic uint64_t full_at; /* ticks; relaxed: it guards no other data */
};

static inline uint64_t vs_tb_ticks(uint64_t ns)
{
    return ns * VS_TB_TICKS;
}

static inline uint64_t vs_tb_cost(const struct vs_tb *b, uint64_t units)
{
    return (uint64_t)(((unsigned __int128)units * b->mult + (1u << 23)) >> 24);
}

/* A full bucket. rate: units a second, at least 1; burst: units. */
static inline void vs_tb_init(struct vs_tb *b, uint64_t rate, uint64_t burst)
{
    b->mult = (uint64_t)(((unsigned __int128)(UINT64_C(1000000000) * VS_TB_TICKS) << 24) / VS_MAX(rate, 1u));
    unsigned __int128 depth = (unsigned __int128)burst * b->mult >> 24;
    b->depth = depth > UINT64_MAX / 4 ? UINT64_MAX / 4 : VS_MAX((uint64_t)depth, 1u); /* years are enough */
    atomic_init(&b->full_at, 0);
}

/* Ticks from which on it gives. */
static inline uint64_t vs_tb_due(const struct vs_tb *b)
{
    uint64_t full_at = atomic_load_explicit(&b->full_at, memory_order_relaxed);
    return full_at < b->depth ? 0 : full_at - b->depth + 1;
}

static inline bool vs_tb_ready(const struct vs_tb *b, uint64_t now)
{
    return vs_tb_due(b) <= now;
}

/* Take tokens, whether they are there or not. */
static inline void vs_tb_take(struct vs_tb *b, uint64_t now, uint64_t units)
{
    uint64_t cost = vs_tb_cost(b, units);
    uint64_t at = atomic_load_explicit(&b->full_at, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&b->full_at, &at, VS_MAX(at, now) + cost,
                                                  memory_order_relaxed, memory_order_relaxed))
        ;
}

/* Take tokens if it gives: one step, so that of all cores together only one packet leaves it in debt. */
static inline bool vs_tb_try(struct vs_tb *b, uint64_t now, uint64_t units)
{
    uint64_t cost = vs_tb_cost(b, units);
    uint64_t at = atomic_load_explicit(&b->full_at, memory_order_relaxed);
    do {
        if (at >= b->depth && at - b->depth >= now)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&b->full_at, &at, VS_MAX(at, now) + cost,
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}
#endif

#endif
