/* path.h: running what a lookup found, a program or the draft of a walk, on one packet. Internal.
 *
 * How it works: a path is a program, or a draft that has no program (the arena is full, the control core, a trace). It is run, counted
 * for its rules, and where it ends in RECIRC the packet is parsed and looked up again (miss.h), and run on.
 *
 * Thread safety: one core's own.
 */
#ifndef VS_PATH_H
#define VS_PATH_H

#include "core.h"

struct vs_path {
    struct vs_rule *const *rules;
    const struct vs_action *actions;
    struct vs_program *program; /* NULL: a draft */
    unsigned n_rules, n_actions, first;
    uint8_t drop;
};

static inline struct vs_path vs_path_of_program(struct vs_program *p)
{
    return (struct vs_path){.rules = p->rules,
                            .actions = p->actions,
                            .program = p,
                            .n_rules = p->n_rules,
                            .n_actions = p->n_actions,
                            .first = p->first,
                            .drop = p->drop};
}

static inline struct vs_path vs_path_of_draft(const struct vs_draft *d)
{
    return (struct vs_path){.rules = d->rules,
                            .actions = d->actions,
                            .n_rules = d->n_rules,
                            .n_actions = d->n_actions,
                            .first = d->first,
                            .drop = d->drop};
}

/* Run a path on one packet, and those that follow where the packet is looked up again: each starts at a later table, so they
 * end. Counts the packet for the rules, by the length that it came in with; sets its fate. `d`: scratch, or the path's own. */
void vs_path_run(struct vs_core *c, struct vs_draft *d, const struct vs_bridge *b, const struct vs_view *view,
                 struct vs_packet *orig, struct vs_path path);

#endif
