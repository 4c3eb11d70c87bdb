/* execute.h: what execute.c and the actions that have files of their own (groups, meters) share. Internal.
 *
 * Thread safety: one core's own.
 */
#ifndef VS_EXECUTE_H
#define VS_EXECUTE_H

#include "core.h"

struct vs_run {
    struct vs_core *c;
    const struct vs_bridge *b;
    const struct vs_view *view;
    struct vs_packet *orig; /* carries the fate */
    unsigned depth;         /* of groups */
    unsigned buckets;       /* run so far */
};

void vs_run_actions(struct vs_run *r, struct vs_packet *p, const struct vs_action *a, unsigned n);
/* group_run.c: send the packet to a group; what its buckets change stays with copies of it. */
void vs_run_group(struct vs_run *r, struct vs_packet *p, uint32_t id);
/* meter.c: count and measure. 0: go on; VS_DROP_RX_METER; 1000 + n: a remark band asks for n more drop precedences. */
int vs_run_meter(struct vs_run *r, const struct vs_packet *p, uint32_t id);

#endif
