/* execute.h: what execute.c and the actions that have files of their own (groups, meters) share. Internal.
 *
 * Thread safety: one core's own.
 */
#ifndef VS_EXECUTE_H
#define VS_EXECUTE_H

#include "core.h"

enum {
    VS_NOT_ENDED = 0xffff,
    VS_METER_REMARK = 1000, /* vs_run_meter */
};

struct vs_run {
    struct vs_core *c;
    const struct vs_bridge *b;
    const struct vs_view *view;
    struct vs_packet *orig;        /* carries the fate */
    unsigned depth;                /* of groups */
    unsigned buckets;              /* run so far, of all groups */
    bool packet_out;               /* actions of a controller: no rule stands behind them */
    const struct vs_action *group; /* the group that runs, at depth 0 */
    struct vs_packet *recirc;      /* RECIRC was met: the packet to go on with, */
    uint32_t recirc_table;         /* and where */
    const uint8_t *tunnel;         /* what set_field tunnel_id last gave it; NULL: nothing so far */
    uint32_t ended; /* place of the rule whose action ended the packet early, or VS_NOT_ENDED */
};

void vs_run_actions(struct vs_run *r, struct vs_packet *p, const struct vs_action *a, unsigned n);
/* group_run.c: send the packet to a group; what its buckets change stays with copies of it. */
void vs_run_group(struct vs_run *r, struct vs_packet *p, uint32_t id);
/* meter.c: count and measure. 0: go on; VS_DROP_RX_METER; VS_METER_REMARK + n: a remark band asks for n more drop precedences. */
int vs_run_meter(struct vs_run *r, const struct vs_packet *p, uint32_t id);

#endif
