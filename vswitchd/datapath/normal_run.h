/* normal_run.h: NORMAL for packets whose program is nothing else, with a memo of verdicts. Internal.
 *
 * How it works: between hosts that are known, NORMAL says the same for packet after packet: one port, the tag kept. A core remembers that by
 * input port, addresses and tag, for the current second and the current era: the source is then seen this second already, and the
 * destination is not aged. Two seats of a line have one hash. The era (vs_normal_era) is counted up whenever a verdict may have changed: an address moved or went, a port
 * got other VLANs, a port went (and with it the addresses behind it). Everything else (unknown hosts, floods, tags to be changed, drops) takes the long way, which is
 * vs_output_normal.
 *
 * Thread safety: the memo is one core's own. vs_normal_changed: any thread, after the change.
 */
#ifndef VS_NORMAL_RUN_H
#define VS_NORMAL_RUN_H

#include "base.h"

struct vs_bridge;
struct vs_core;
struct vs_packet;
struct vs_port;
struct vs_program;

enum {
    VS_NORMAL_MEMO = 8192, /* 256 KB for each core */
    VS_NORMAL_WAYS = 2,    /* seats for one hash: a cache line of them */
};

struct vs_normal_memo { /* aligned: a line has VS_NORMAL_WAYS */
    uint64_t addresses; /* first eight bytes of the frame */
    uint64_t rest;      /* rest of the source, tag, input port */
    uint64_t time;      /* era and second; 0: nothing here */
    uint32_t to;        /* OpenFlow port */
    uint32_t pad;
};
VS_ASSERT_SIZE(struct vs_normal_memo, VS_CACHE_LINE / VS_NORMAL_WAYS);

/* Forward n packets of this program; returns how many are known to be forwarded. The caller counted them. */
unsigned vs_normal_run(struct vs_core *c, const struct vs_bridge *b, struct vs_port *in,
                       const struct vs_program *program, struct vs_packet **pkts, unsigned n);

#endif
