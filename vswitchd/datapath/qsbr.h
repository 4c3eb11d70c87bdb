/* qsbr.h: when may the control thread free what cores might still read?
 *
 * How it works: quiescent-state based reclamation. Each core stores the global epoch it has seen once per loop, when it holds
 * no reference; a sleeping core stores VS_QSBR_OFFLINE. The control thread unpublishes an object, raises the epoch, and frees
 * when every core has seen it or is offline. vs_qsbr_defer queues the free; vs_qsbr_reclaim runs what is due and never waits;
 * vs_qsbr_synchronize waits (microseconds while cores poll).
 *
 * Thread safety: register/defer/reclaim/synchronize: control thread. quiescent/offline/online: the core's own thread.
 */
#ifndef VS_QSBR_H
#define VS_QSBR_H

#include "base.h"

#ifndef VS_CDEF
#define VS_QSBR_OFFLINE UINT64_MAX

struct vs_qsbr_core {
    _Atomic uint64_t seen; /* pairs with the loads in vs_qsbr_passed */
    char pad[VS_CACHE_LINE - 8];
} VS_CACHE_ALIGNED;

struct vs_qsbr {
    _Atomic uint64_t epoch;
    char pad[VS_CACHE_LINE - 8];
    struct vs_qsbr_core cores[VS_MAX_CORES];
    struct vs_qsbr_item *first, *last; /* deferred frees, oldest first; control thread */
    uint64_t n_deferred;
};

void vs_qsbr_init(struct vs_qsbr *q);
void vs_qsbr_quiescent(struct vs_qsbr *q, unsigned core);
void vs_qsbr_offline(struct vs_qsbr *q, unsigned core);
void vs_qsbr_online(struct vs_qsbr *q, unsigned core);
/* Start a grace period; vs_qsbr_passed says whether it is over. */
uint64_t vs_qsbr_begin(struct vs_qsbr *q);
bool vs_qsbr_passed(const struct vs_qsbr *q, uint64_t epoch);
void vs_qsbr_synchronize(struct vs_qsbr *q);
void vs_qsbr_defer(struct vs_qsbr *q, void (*fn)(void *), void *arg);
void vs_qsbr_reclaim(struct vs_qsbr *q);
void vs_qsbr_drain(struct vs_qsbr *q); /* synchronize, then run all: at the end */

/* The one of the process: drivers use it too. */
extern struct vs_qsbr vs_qsbr;
#endif

/* For Python: wait until no core can hold what was unpublished before; run the deferred frees that are due. */
void vs_synchronize(void);
void vs_reclaim(void);

#endif
