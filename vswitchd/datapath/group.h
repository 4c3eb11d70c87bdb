/* group.h: OpenFlow groups (1.3.5, 5.6): ALL, SELECT, INDIRECT, FF.
 *
 * How it works: immutable but for counters; looked up by number in the view (items.h) when the action runs. Liveness (6.7) is
 * read per packet from the ports' own words, so that nothing has to be told to groups when a link goes down: the next batch
 * goes another way. A bucket that watches nothing is live; a group is live when one of its buckets is.
 * SELECT: the hash of the connection (flow_hash.h) takes a bucket by weight; if that is dead, a new hash of the hash takes
 * another one, so that only the connections of dead buckets move. Groups have hashes of their own: a chain of them spreads.
 * What one packet may cost is bounded: groups in groups, and buckets run and looked at in all.
 *
 * Thread safety: vs_group_run: the core. All else: control thread.
 */
#ifndef VS_GROUP_H
#define VS_GROUP_H

#include "action.h"

enum vs_group_type { VS_GROUP_ALL, VS_GROUP_SELECT, VS_GROUP_INDIRECT, VS_GROUP_FF };

enum vs_ofpg { VS_OFPG_ANY = 0xffffffff };

struct vs_group_stats {
    uint64_t packets, bytes;
};

struct vs_bucket_spec {
    uint32_t n_actions;
    uint32_t weight;      /* SELECT */
    uint32_t watch_port;  /* VS_OFPP_ANY: none */
    uint32_t watch_group; /* VS_OFPG_ANY: none */
};

#ifndef VS_CDEF
#include "items.h"
#include "tally.h"

enum {
    VS_SELECT_TRIES = 8,    /* hashes before only live buckets are counted */
    VS_GROUP_BUCKETS = 1024 /* that one packet may run, and look at */
};

struct vs_group_bucket {
    const struct vs_action *actions;
    uint16_t n_actions;
    uint8_t edits; /* some action edits the packet: it runs on a copy */
    bool watches;
    uint32_t weight, watch_port, watch_group;
    uint64_t upto; /* the weights of the buckets up to this one */
    struct vs_shared_count count;
};

/* Shared with the group that a modification replaced: cores may still count by that. */
struct vs_group_counts {
    struct vs_shared_count all;
    unsigned users; /* control thread */
};

struct vs_group {
    struct vs_item item;
    uint16_t type, n_buckets;
    uint64_t weights; /* sum */
    struct vs_group_counts *counts;
    struct vs_group_bucket buckets[];
};
#endif

#endif
