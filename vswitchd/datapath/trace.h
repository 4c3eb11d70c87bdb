/* trace.h: what happened to one packet, event by event: the rules it hit, the actions that ran, where it went or why it ended.
 *
 * How it works: a core with a recorder (c->trace) notes events on the way of the packet, which takes no cache and no program: it
 * is walked, and runs from the draft, through the same code as any other. Two kinds:
 *
 * - vs_dp_trace: a packet that does not exist, on core 0 (`dry`). Outputs and packet-ins are noted instead of done, patch ports
 *   are crossed, nothing is counted or learned, meters are not asked.
 * - Live: packets that a port receives and that a filter lets through. The core that polls the port claims one of a fixed number
 *   of records, runs the packet for good, and marks the record done; the control thread takes them in order. When all are taken
 *   the filter does nothing more. One at a time.
 *
 * Without a live trace a batch pays one branch.
 *
 * Thread safety: functions for Python: control thread. The others: the core that has the recorder.
 */
#ifndef VS_TRACE_H
#define VS_TRACE_H

#include "action.h"
#include "bridge.h"
#include "datapath.h"

enum vs_trace_kind {
    VS_TRACE_BRIDGE, /* the packet enters the tables of bridge `arg`; its OpenFlow port is in `rule` */
    VS_TRACE_RULE,   /* `rule` of `table` matched (0: none did); `arg`: its place in the path */
    VS_TRACE_ACTION, /* `action` is about to run */
    VS_TRACE_METER, /* `arg`: what the meter said: 0, a drop reason, or 1000 and the drop precedences to add */
    VS_TRACE_BUCKET,  /* number `arg` of the group that the action before named */
    VS_TRACE_OUTPUT,  /* to port `arg` of the bridge; `table` 1: configured not to send */
    VS_TRACE_PUNT,    /* to the controllers; `arg`: enum vs_punt_reason */
    VS_TRACE_NOTHING, /* nothing came of an output or a group, for reason `arg` */
    VS_TRACE_STOP,    /* an action ended the packet, or its copy in a bucket, for reason `arg` */
    VS_TRACE_END, /* the bridge is done with it; `table`: enum vs_fate; `arg`: drop reason when it is VS_FATE_NONE */
};

struct vs_trace_event {
    uint8_t kind;
    uint8_t table;
    uint8_t level; /* 1: the first bridge; more: behind patch ports */
    uint8_t depth; /* of groups */
    uint32_t arg;
    uint64_t rule;
    struct vs_action action;
};
VS_ASSERT_SIZE(struct vs_trace_event, 64);

struct vs_trace {
    struct vs_key first, last; /* the whole key when it came in, and at the end, in the first bridge */
    uint32_t frame_len;        /* when it came in */
    uint32_t n, room, lost;    /* events */
    uint32_t level;            /* of the core, before */
    uint8_t dry, pad[3];
    uint64_t metadata, tunnel_id; /* at the end of the tables, big-endian */
    struct vs_trace_event spare;  /* what has no room */
    struct vs_trace_event event[];
};

enum { VS_TRACE_EVENTS = 4096, VS_LIVE_EVENTS = 256, VS_LIVE_MAX = 256 };

struct vs_trace *vs_trace_new(uint32_t room); /* NULL: out of memory */
void vs_trace_free(struct vs_trace *t);
/* 0, or -EINVAL: a runt or a giant. */
int vs_dp_trace(vs_dp *dp, vs_bridge *b, const uint8_t *frame, uint32_t len, uint32_t in_port,
                struct vs_trace *t);
/* Record the next `limit` packets (at most VS_LIVE_MAX) that the port receives and whose whole key has `value` under `mask`. 0,
 * -EBUSY: there is one already, -EINVAL or -ENOMEM. */
int vs_dp_live_start(vs_dp *dp, struct vs_port *port, const struct vs_key *value, const struct vs_key *mask,
                     uint32_t limit);
/* The next finished record, or NULL. Valid until vs_dp_live_stop. */
const struct vs_trace *vs_dp_live_take(vs_dp *dp);
void vs_dp_live_stop(vs_dp *dp); /* waits for a grace period */

#ifndef VS_CDEF
struct vs_core;
struct vs_draft;
struct vs_live;

/* A record for this packet if the live trace wants it, else NULL. */
struct vs_trace *vs_live_claim(struct vs_live *live, const struct vs_port *in, struct vs_packet *p,
                               uint16_t bridge);
void vs_live_done(struct vs_live *live, struct vs_trace *t);

void vs_trace_bridge(struct vs_core *c, const struct vs_port *in);
/* The rules that a walk found, from d->first on, and what the tables made of the key. */
void vs_trace_path(struct vs_core *c, const struct vs_draft *d, const struct vs_key *key);
void vs_trace_action(struct vs_core *c, const struct vs_action *a, unsigned depth);
void vs_trace_event(struct vs_core *c, enum vs_trace_kind kind, uint32_t arg, unsigned depth);
void vs_trace_left(struct vs_core *c, struct vs_packet *p); /* the packet behind the last action */
void vs_trace_end(struct vs_core *c, const struct vs_packet *p);
/* Stand in for vs_core_output. */
bool vs_trace_output(struct vs_core *c, struct vs_port *port, struct vs_packet *p);
#endif

#endif
