/* execute.c: datapath actions on one packet; see action.h and core.h. */
#include "execute.h"

#include "edit.h"

struct vs_packet *vs_core_clone(struct vs_core *c, const struct vs_packet *p)
{
    if (c->n_clones == VS_CLONES)
        return NULL;
    struct vs_packet *copy = &c->clones[c->n_clones++];
    vs_packet_copy(copy, p);
    copy->is_clone = 1;
    return copy;
}

static void output_port(struct vs_run *r, struct vs_packet *p, struct vs_port *port)
{
    if (port == NULL)
        r->orig->drop = VS_DROP_RX_NO_OUTPUT;
    else if (vs_core_output(r->c, port, p))
        r->orig->fate = VS_FATE_FORWARDED;
    else
        r->orig->drop = VS_DROP_RX_EGRESS_BLOCKED;
}

static void output(struct vs_run *r, struct vs_packet *p, const struct vs_action *a, bool last)
{
    switch (a->arg) {
    case VS_OFPP_IN_PORT:
        output_port(r, p, vs_bridge_port(r->b, r->orig->in_port));
        return;
    case VS_OFPP_TABLE: /* packet-out only: the control plane lets it through nowhere else */
        if (r->c->index == 0)
            vs_core_process(r->c, vs_core_input(r->c, r->b, r->orig->in_port), &p, 1, false);
        return;
    case VS_OFPP_NORMAL:
        vs_output_normal(r->c, r->b, r->orig, p, last);
        return;
    case VS_OFPP_FLOOD:
        vs_output_all(r->c, r->b, r->orig, p, VS_PORT_NO_FLOOD);
        return;
    case VS_OFPP_ALL:
        vs_output_all(r->c, r->b, r->orig, p, 0);
        return;
    case VS_OFPP_CONTROLLER:
        vs_output_controller(r->c, r->b, r->view, r->orig, p, a, (enum vs_punt_reason)a->aux);
        return;
    default:
        output_port(r, p, a->arg == r->orig->in_port ? NULL : vs_bridge_port(r->b, a->arg));
    }
}

/* Apply one editing action. 0, or the reason to drop. */
static int edit(struct vs_run *r, struct vs_packet *p, const struct vs_action *a)
{
    int done = vs_edit_apply(p, a);
    if (done == 1 && atomic_load_explicit(&r->b->punt_ttl, memory_order_relaxed)) {
        struct vs_action to_controller = {
            .type = VS_ACT_OUTPUT, .arg = VS_OFPP_CONTROLLER, .max_len = 0xffff};
        vs_output_controller(r->c, r->b, r->view, r->orig, p, &to_controller, VS_PUNT_TTL);
    }
    return done == 0 ? 0 : done == 1 ? VS_DROP_RX_TTL : VS_DROP_RX_BAD_ACTION;
}

void vs_run_actions(struct vs_run *r, struct vs_packet *p, const struct vs_action *a, unsigned n)
{
    for (unsigned i = 0; i < n; i++, a++) {
        if (a->type == VS_ACT_OUTPUT) {
            output(r, p, a, i == n - 1 && r->depth == 0);
            continue;
        }
        if (a->type == VS_ACT_GROUP) {
            vs_run_group(r, p, a->arg);
            continue;
        }
        if (a->type == VS_ACT_SET_QUEUE) {
            p->queue = a->arg;
            continue;
        }
        if (a->type == VS_ACT_DROP) {
            r->orig->drop = (uint8_t)a->arg;
            return;
        }
        if (p->queued) { /* copy on write */
            struct vs_packet *copy = vs_core_clone(r->c, p);
            if (copy == NULL) {
                r->orig->drop = VS_DROP_RX_NO_CLONE;
                return;
            }
            p = copy;
        }
        int reason = edit(r, p, a);
        if (reason != 0) {
            r->orig->drop = (uint8_t)reason;
            return;
        }
    }
}

void vs_core_execute(struct vs_core *c, const struct vs_bridge *b, const struct vs_view *view,
                     struct vs_packet *p, const struct vs_action *actions, unsigned n)
{
    struct vs_run r = {.c = c, .b = b, .view = view, .orig = p};
    vs_run_actions(&r, p, actions, n);
}
