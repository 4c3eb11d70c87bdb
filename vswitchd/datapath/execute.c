/* execute.c: datapath actions on one packet; see action.h and core.h. */
#include "core.h"
#include "edit.h"

struct run {
    struct vs_core *c;
    const struct vs_bridge *b;
    struct vs_packet *orig; /* carries the fate */
    unsigned depth;         /* of groups */
};

bool vs_core_output(struct vs_core *c, struct vs_port *port, struct vs_packet *p)
{
    if (VS_UNLIKELY(atomic_load_explicit(&port->config, memory_order_relaxed) &
                    (VS_PORT_DOWN | VS_PORT_NO_FWD)))
        return false;
    struct vs_txq *q = &c->tx[port->index];
    if (!q->listed) {
        q->listed = 1;
        c->dirty[c->n_dirty++] = port;
    }
    q->pkts[q->n++] = p;
    p->queued = (uint8_t)(p->queued + (p->queued < UINT8_MAX));
    if (VS_UNLIKELY(q->n == VS_BATCH))
        vs_core_flush_port(c, port);
    return true;
}

struct vs_packet *vs_core_clone(struct vs_core *c, const struct vs_packet *p)
{
    if (c->n_clones == VS_CLONES)
        return NULL;
    struct vs_packet *copy = &c->clones[c->n_clones++];
    vs_packet_copy(copy, p);
    copy->is_clone = 1;
    return copy;
}

static void output_port(struct run *r, struct vs_packet *p, struct vs_port *port)
{
    if (port == NULL)
        r->orig->drop = VS_DROP_RX_NO_OUTPUT;
    else if (vs_core_output(r->c, port, p))
        r->orig->fate = VS_FATE_FORWARDED;
    else
        r->orig->drop = VS_DROP_RX_EGRESS_BLOCKED;
}

static void output(struct run *r, struct vs_packet *p, const struct vs_action *a, bool last)
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
        vs_output_controller(r->c, r->b, r->orig, p, a, (enum vs_punt_reason)a->aux);
        return;
    default:
        output_port(r, p, a->arg == r->orig->in_port ? NULL : vs_bridge_port(r->b, a->arg));
    }
}

/* Apply one editing action. 0, or the reason to drop. */
static int edit(struct run *r, struct vs_packet *p, const struct vs_action *a)
{
    switch ((enum vs_action_type)a->type) {
    case VS_ACT_SET_FIELD:
        return vs_edit_set_field(p, (enum vs_field)a->field, a->value, a->mask) == 0 ? 0
                                                                                     : VS_DROP_RX_BAD_ACTION;
    case VS_ACT_PUSH_VLAN:
        return vs_edit_push_vlan(p, (uint16_t)a->arg, vs_edit_outer_tci(p)) == 0 ? 0 : VS_DROP_RX_BAD_ACTION;
    case VS_ACT_POP_VLAN:
        return vs_edit_pop_vlan(p) == 0 ? 0 : VS_DROP_RX_BAD_ACTION;
    case VS_ACT_SET_TTL:
        return vs_edit_set_ttl(p, (uint8_t)a->arg) == 0 ? 0 : VS_DROP_RX_BAD_ACTION;
    case VS_ACT_DEC_TTL: {
        int done = vs_edit_dec_ttl(p);
        if (done == 1 && atomic_load_explicit(&r->b->punt_ttl, memory_order_relaxed)) {
            struct vs_action to_controller = {
                .type = VS_ACT_OUTPUT, .arg = VS_OFPP_CONTROLLER, .max_len = 0xffff};
            vs_output_controller(r->c, r->b, r->orig, p, &to_controller, VS_PUNT_TTL);
        }
        return done == 0 ? 0 : done == 1 ? VS_DROP_RX_TTL : VS_DROP_RX_BAD_ACTION;
    }
    default:
        return 0;
    }
}

static void run_actions(struct run *r, struct vs_packet *p, const struct vs_action *a, unsigned n);

static void run_bucket(struct run *r, struct vs_packet *p, struct vs_group_bucket *bucket)
{
    atomic_fetch_add_explicit(&bucket->packets, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&bucket->bytes, p->frame_len, memory_order_relaxed);
    struct vs_packet *q = bucket->edits ? vs_core_clone(r->c, p) : p; /* a bucket works on a copy (5.6) */
    if (q == NULL)
        r->orig->drop = VS_DROP_RX_NO_CLONE;
    else
        run_actions(r, q, bucket->actions, bucket->n_actions);
}

static void run_group(struct run *r, struct vs_packet *p, uint32_t id)
{
    struct vs_group *g = (struct vs_group *)(uintptr_t)vs_bridge_group(r->b, id);
    if (g == NULL || g->n_buckets == 0 || r->depth == VS_GROUP_DEPTH) {
        r->orig->drop = VS_DROP_RX_NO_GROUP;
        return;
    }
    atomic_fetch_add_explicit(&g->counts->packets, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&g->counts->bytes, p->frame_len, memory_order_relaxed);
    r->depth++;
    unsigned n = g->type == VS_GROUP_ALL ? g->n_buckets : 1;
    for (unsigned i = 0; i < n; i++)
        run_bucket(r, p, &g->buckets[i]);
    r->depth--;
}

static void run_actions(struct run *r, struct vs_packet *p, const struct vs_action *a, unsigned n)
{
    for (unsigned i = 0; i < n; i++, a++) {
        if (a->type == VS_ACT_OUTPUT) {
            output(r, p, a, i == n - 1 && r->depth == 0);
            continue;
        }
        if (a->type == VS_ACT_GROUP) {
            run_group(r, p, a->arg);
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

void vs_core_execute(struct vs_core *c, const struct vs_bridge *b, struct vs_packet *p,
                     const struct vs_action *actions, unsigned n)
{
    struct run r = {.c = c, .b = b, .orig = p};
    run_actions(&r, p, actions, n);
}
