/* execute.c: datapath actions on one packet; see action.h and core.h. */
#include "execute.h"

#include "edit.h"
#include "parse.h"
#include "trace.h"

struct vs_packet *vs_core_clone(struct vs_core *c, struct vs_packet *p)
{
    if (c->n_clones == VS_CLONES)
        return NULL;
    struct vs_packet *copy = &c->clones[c->n_clones++];
    vs_packet_copy(copy, p);
    p->dma = 0;
    copy->is_clone = 1;
    return copy;
}

static void output_port(struct vs_run *r, struct vs_packet *p, struct vs_port *port)
{
    if (port == NULL)
        r->orig->drop = VS_DROP_RX_NO_OUTPUT;
    else if (vs_core_hand(r->c, port, p))
        r->orig->fate = VS_FATE_FORWARDED;
    else
        r->orig->drop = VS_DROP_RX_EGRESS_BLOCKED;
}

/* To the controllers. `a` says where the packet comes from, but that buckets of a group do not know it: the group's action does,
 * without a cookie (OpenFlow 1.3.5, 7.4.1). */
static void punt(struct vs_run *r, struct vs_packet *p, const struct vs_action *a, enum vs_punt_reason reason)
{
    const struct vs_action *from = r->depth > 0 && r->group != NULL ? r->group : a;
    struct vs_action to = {.arg = VS_OFPP_CONTROLLER,
                           .max_len = a->type == VS_ACT_OUTPUT ? a->max_len : 0xffff};
    if (!r->packet_out) {
        memcpy(to.value, from->value, sizeof to.value);
        memcpy(to.mask, from->mask, sizeof to.mask);
    }
    if (r->packet_out || r->depth > 0)
        memset(to.value, 0xff, sizeof(uint64_t));             /* the cookie */
    if (r->tunnel != NULL && (r->packet_out || r->depth > 0)) /* else the walk told the action */
        memcpy(to.mask + 8, r->tunnel, 8);
    if (VS_UNLIKELY(r->c->trace != NULL)) {
        vs_trace_event(r->c, VS_TRACE_PUNT, reason, r->depth);
        if (r->c->trace->dry) {
            r->orig->fate = VS_FATE_FORWARDED;
            return;
        }
    }
    vs_output_controller(r->c, r->b, r->view, r->orig, p, &to, reason);
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
        vs_output_normal(r->c, r->b, r->orig, p, last, &(uint16_t){0});
        return;
    case VS_OFPP_FLOOD:
        vs_output_all(r->c, r->b, r->orig, p, VS_PORT_NO_FLOOD);
        return;
    case VS_OFPP_ALL:
        vs_output_all(r->c, r->b, r->orig, p, 0);
        return;
    case VS_OFPP_CONTROLLER:
        punt(r, p, a, (enum vs_punt_reason)a->aux);
        return;
    default:
        output_port(r, p, a->arg == r->orig->in_port ? NULL : vs_bridge_port(r->b, a->arg));
    }
}

/* The packet ends by this action of a rule; the tables behind never see it. In a bucket only the bucket's copy ends. */
static void end(struct vs_run *r, const struct vs_action *a, int reason)
{
    r->orig->drop = (uint8_t)reason;
    if (r->depth == 0)
        r->ended = a->place;
    if (VS_UNLIKELY(r->c->trace != NULL))
        vs_trace_event(r->c, VS_TRACE_STOP, (uint32_t)reason, r->depth);
}

/* A dscp_remark band (5.7): `more` drop precedences on top, of the classes AF1 to AF4 (RFC 2597: DSCP 8 * class + 2 * precedence).
 * Other packets stay as they are. */
static void remark(const struct vs_run *r, struct vs_packet *p, int more)
{
    struct vs_key key;
    uint8_t dirty = 6;
    vs_parse(p, r->b->index, &key, &dirty);
    int dscp = key.ip_tos[0] >> 2, class = dscp >> 3, precedence = dscp >> 1 & 3;
    if (class < 1 || class > 4 || precedence == 0 || (dscp & 1) != 0)
        return;
    precedence = VS_MIN(precedence + more, 3);
    uint8_t value[16] = {(uint8_t)((class << 3 | precedence << 1) << 2)}, mask[16] = {0xfc};
    (void)vs_edit_set_field(p, VS_F_IP_DSCP, value, mask); /* there is a field: it was just read */
}

/* One action that changes the packet or what goes with it; p may be written. 0, or the reason to drop. */
static int edit(struct vs_run *r, struct vs_packet *p, const struct vs_action *a)
{
    if (a->type == VS_ACT_SET_QUEUE) {
        p->queue = a->arg;
        return 0;
    }
    if (a->type == VS_ACT_METER) { /* asked before: it remarks */
        remark(r, p, (int)a->aux);
        return 0;
    }
    if (a->type == VS_ACT_SET_FIELD && a->field == VS_F_TUNNEL_ID) {
        r->tunnel = a->value;
        return 0;
    }
    if (a->aux == VS_EDIT_LENIENT && a->type == VS_ACT_PUSH_VLAN && p->n_tags != 0)
        return 0;
    int done = vs_edit_apply(p, a);
    if (done < 0 && a->aux == VS_EDIT_LENIENT)
        return 0;
    if (done == 1 && atomic_load_explicit(&r->b->punt_ttl, memory_order_relaxed))
        punt(r, p, a, VS_PUNT_TTL);
    return done == 0 ? 0 : done == 1 ? VS_DROP_RX_TTL : VS_DROP_RX_BAD_ACTION;
}

/* As vs_run_meter. A trace of no packet takes no tokens: the meter lets it pass. */
static int meter(struct vs_run *r, const struct vs_packet *p, uint32_t id)
{
    if (VS_LIKELY(r->c->trace == NULL))
        return vs_run_meter(r, p, id);
    int verdict = r->c->trace->dry ? 0 : vs_run_meter(r, p, id);
    vs_trace_event(r->c, VS_TRACE_METER, (uint32_t)verdict, r->depth);
    return verdict;
}

/* The packet as one that may be written: copied when a port holds it already. NULL: no buffer. */
static struct vs_packet *own(struct vs_run *r, struct vs_packet *p)
{
    return p->queued ? vs_core_clone(r->c, p) : p;
}

static void run_group(struct vs_run *r, struct vs_packet *p, const struct vs_action *a)
{
    if (r->depth == 0)
        r->group = a;
    vs_run_group(r, p, a->arg);
}

/* An output or a group with a recorder on: if nothing came of it, it says why. */
static void send_traced(struct vs_run *r, struct vs_packet *p, const struct vs_action *a, bool last)
{
    const struct vs_trace *t = r->c->trace;
    uint32_t events = t->n + t->lost;
    uint8_t before = r->orig->drop;
    r->orig->drop = UINT8_MAX;
    if (a->type == VS_ACT_GROUP)
        run_group(r, p, a);
    else
        output(r, p, a, last);
    if (r->orig->drop == UINT8_MAX)
        r->orig->drop = before;
    else if (t->n + t->lost == events)
        vs_trace_event(r->c, VS_TRACE_NOTHING, r->orig->drop, r->depth);
}

/* Returns the packet as the last action left it. */
static struct vs_packet *run(struct vs_run *r, struct vs_packet *p, const struct vs_action *a, unsigned n)
{
    struct vs_action remarking;
    for (unsigned i = 0; i < n; i++, a++) {
        const struct vs_action *what = a;
        if (VS_UNLIKELY(r->c->trace != NULL)) {
            vs_trace_action(r->c, a, r->depth);
            if (a->type == VS_ACT_OUTPUT || a->type == VS_ACT_GROUP) {
                send_traced(r, p, a, i == n - 1 && r->depth == 0);
                continue;
            }
        }
        if (a->type == VS_ACT_OUTPUT) {
            output(r, p, a, i == n - 1 && r->depth == 0);
            continue;
        }
        if (a->type == VS_ACT_GROUP) {
            run_group(r, p, a);
            continue;
        }
        if (a->type == VS_ACT_DROP) {
            end(r, a, (int)a->arg);
            return p;
        }
        if (a->type == VS_ACT_RECIRC) {
            r->recirc = p;
            r->recirc_table = a->arg;
            return p;
        }
        if (a->type == VS_ACT_METER) {
            int verdict = meter(r, p, a->arg);
            if (verdict == 0)
                continue;
            if (verdict < VS_METER_REMARK) {
                end(r, a, verdict);
                return p;
            }
            remarking = *a;
            remarking.aux = (uint16_t)(verdict - VS_METER_REMARK);
            what = &remarking;
        }
        struct vs_packet *mine = own(r, p);
        int reason = mine == NULL ? VS_DROP_RX_NO_CLONE : edit(r, mine, what);
        if (reason != 0) {
            end(r, a, reason);
            return p;
        }
        p = mine;
    }
    return p;
}

void vs_run_actions(struct vs_run *r, struct vs_packet *p, const struct vs_action *a, unsigned n)
{
    p = run(r, p, a, n);
    if (VS_UNLIKELY(r->c->trace != NULL) && r->depth == 0)
        vs_trace_left(r->c, p);
}

void vs_core_execute(struct vs_core *c, const struct vs_bridge *b, const struct vs_view *view,
                     struct vs_packet *p, const struct vs_action *actions, unsigned n)
{
    struct vs_run r = {.c = c, .b = b, .view = view, .orig = p, .packet_out = true};
    vs_run_actions(&r, p, actions, n);
}
