/* direct.h: looking up a batch in table 0 itself, without the cache in front. Internal.
 *
 * How it works: where table 0 has few masks and many rules that end the pipeline, the classifier's answer costs little more than the
 * cache's, and what the cache would hold is what the table holds. The cache wins while it has nearly all flows; when it has not, be
 * it that there are too many, that they are new, or that each commit makes it forget, asking it and filling it is lost work.
 * So a core asks it for a turn of packets, and if it knew too few, goes to the table first for a longer turn. Memory is what counts
 * there: with a million rules a packet needs a bucket, a rule and a program, a cache line each, none of which is near. So a batch
 * takes the steps together: all buckets are fetched, then all rules and programs (both known by the number in the bucket), then
 * they are looked at.
 *
 * Thread safety: one core's own; the table is read under the batch's view.
 */
#ifndef VS_DIRECT_H
#define VS_DIRECT_H

#include "core.h"

enum {
    VS_DIRECT_MASKS = 3,  /* more masks cost more than the cache */
    VS_DIRECT_RULES = 64, /* the few flows of fewer rules are near in the cache as well */
    VS_DIRECT_ASK = 4096, /* packets of a turn that asks the cache first, */
    VS_DIRECT_TABLE = 64 *
        VS_DIRECT_ASK, /* and of one that does not, after less than three quarters were known */
};

/* Is it worth it with these rules? Control thread, for the next view. */
bool vs_direct_pays(const struct vs_table *t);

/* Find the program of each packet i of n whose bit in `ended` is not set, for a view that says `direct`: s->program[i] is set, or NULL when
 * the packet was run from a draft. Masked keys and hashes stand in s->keys and s->hash. */
void vs_direct_find(struct vs_core *c, struct vs_scratch *s, const struct vs_bridge *b,
                    const struct vs_view *view, struct vs_packet **pkts, int n, uint32_t ended);

#endif
