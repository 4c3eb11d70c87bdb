/* group.h: OpenFlow groups (1.3.5, 5.6): ALL, SELECT, INDIRECT, FF.
 *
 * How it works: immutable but for counters; looked up by number in the view (items.h) when the action runs. Liveness is
 * read per packet from the ports' own words, so that nothing has to be told to groups when a link goes down.
 *
 * Thread safety: vs_group_run: the core. All else: control thread.
 */
#ifndef VS_GROUP_H
#define VS_GROUP_H

#include "action.h"

enum vs_group_type { VS_GROUP_ALL, VS_GROUP_SELECT, VS_GROUP_INDIRECT, VS_GROUP_FF };

struct vs_group_stats {
    uint64_t packets, bytes;
};

struct vs_bucket_spec {
    uint32_t n_actions;
    uint32_t weight;      /* SELECT */
    uint32_t watch_port;  /* VS_OFPP_ANY: none */
    uint32_t watch_group; /* 0xffffffff: none */
};

#ifndef VS_CDEF
#include "items.h"

struct vs_group_bucket {
    const struct vs_action *actions;
    uint16_t n_actions;
    uint8_t edits; /* some action edits the packet: it runs on a copy */
    uint32_t weight, watch_port, watch_group;
    _Atomic uint64_t packets, bytes;
};

struct
    vs_group_counts { /* shared with the group that a modification replaced: cores may still count by that */
    _Atomic uint64_t packets, bytes;
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
