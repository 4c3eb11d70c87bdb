/* output.c: outputs that are more than one port: NORMAL, FLOOD and ALL, CONTROLLER; and sending what was collected. */
#include "core.h"
#include "edit.h"
#include "normal.h"
#include "offload.h"
#include "trace.h"

/* ---- sending ------------------------------------------------------------------------------------------------------- */

/* Before the end of the batch: packets may be output again, so they keep their buffers. */
static __attribute__((noinline)) void flush_early(struct vs_core *c, struct vs_port *port)
{
    struct vs_txq *q = &c->tx[port->index];
    for (unsigned i = 0; i < q->n; i++)
        q->pkts[i]->dma = 0;
    vs_core_flush_port(c, port);
}

VS_ALWAYS_INLINE bool collect(struct vs_core *c, struct vs_port *port, struct vs_packet *p)
{
    struct vs_txq *q = &c->tx[port->index];
    if (VS_UNLIKELY(q->n == VS_BATCH))
        flush_early(c, port);
    if (!q->listed) {
        q->listed = 1;
        c->dirty[c->n_dirty++] = port;
    }
    q->pkts[q->n++] = p;
    p->queued = (uint8_t)(p->queued + (p->queued < UINT8_MAX));
    return true;
}

/* Ports that are not simply sent to: configured so, or with a QoS. */
static __attribute__((noinline)) bool output_slowly(struct vs_core *c, struct vs_port *port,
                                                    struct vs_packet *p, uint32_t config)
{
    if (config & (VS_PORT_DOWN | VS_PORT_NO_FWD))
        return false;
    return vs_shaper_take(c, port, p) || collect(c, port, p);
}

bool vs_core_output(struct vs_core *c, struct vs_port *port, struct vs_packet *p)
{
    uint32_t config = atomic_load_explicit(&port->config, memory_order_relaxed);
    if (VS_UNLIKELY(config & (VS_PORT_DOWN | VS_PORT_NO_FWD | VS_PORT_SHAPED)))
        return output_slowly(c, port, p, config);
    return collect(c, port, p);
}

/* Each as vs_core_output would. */
static __attribute__((noinline)) unsigned forward_slowly(struct vs_core *c, struct vs_port *port,
                                                         struct vs_packet **pkts, unsigned n)
{
    unsigned forwarded = 0;
    for (unsigned i = 0; i < n; i++)
        if (vs_core_output(c, port, pkts[i])) {
            pkts[i]->fate = VS_FATE_FORWARDED;
            forwarded++;
        } else {
            pkts[i]->drop = VS_DROP_RX_EGRESS_BLOCKED;
        }
    return forwarded;
}

unsigned vs_core_forward(struct vs_core *c, struct vs_port *port, struct vs_packet **pkts, unsigned n)
{
    uint32_t config = atomic_load_explicit(&port->config, memory_order_relaxed);
    struct vs_txq *q = &c->tx[port->index];
    if (VS_UNLIKELY((config & (VS_PORT_DOWN | VS_PORT_NO_FWD | VS_PORT_SHAPED)) != 0 || q->n + n > VS_BATCH))
        return forward_slowly(c, port, pkts, n);
    if (!q->listed) {
        q->listed = 1;
        c->dirty[c->n_dirty++] = port;
    }
    struct vs_packet **to = &q->pkts[q->n];
    q->n = (uint16_t)(q->n + n);
    for (unsigned i = 0; i < n; i++) {
        struct vs_packet *p = pkts[i];
        to[i] = p;
        p->queued = (uint8_t)(p->queued + (p->queued < UINT8_MAX));
        p->fate = VS_FATE_FORWARDED;
    }
    return n;
}

void vs_core_send(struct vs_core *c, struct vs_port *port, struct vs_packet **pkts, unsigned n)
{
    struct vs_port_counters *pc = port->counters[c->index];
    vs_count(&pc->tx_offered, n);
    vs_count(&c->stats.tx_packets, n);
    vs_count(&c->stats.tx_batches, 1);
    port->ops->tx(port, c->index, pkts, (int)n, pc);
}

bool vs_core_hand(struct vs_core *c, struct vs_port *port, struct vs_packet *p)
{
    return VS_UNLIKELY(c->trace != NULL) ? vs_trace_output(c, port, p) : vs_core_output(c, port, p);
}

/* Not inlined: vs_core_output, which every packet goes through, would save registers and make room for it (18 instructions). */
__attribute__((noinline)) void vs_core_flush_port(struct vs_core *c, struct vs_port *port)
{
    struct vs_txq *q = &c->tx[port->index];
    struct vs_packet *pkts[VS_BATCH];
    unsigned n = q->n;
    if (n == 0)
        return;
    memcpy(pkts, q->pkts, n * sizeof pkts[0]);
    q->n = 0; /* first: a patch port may come back to this queue */
    vs_core_send(c, port, pkts, n);
}

void vs_core_flush(struct vs_core *c)
{
    while (c->n_dirty > 0) {
        struct vs_port *port = c->dirty[--c->n_dirty];
        c->tx[port->index].listed = 0;
        vs_core_flush_port(c, port);
    }
}

void vs_core_batch_end(struct vs_core *c)
{
    c->n_clones = 0;
    c->now_ns = 0;
    vs_tally_settle(&c->tallies);
}

struct vs_port *vs_core_input(struct vs_core *c, const struct vs_bridge *b, uint32_t in_port)
{
    struct vs_port *in = vs_bridge_port(b, in_port);
    if (in != NULL || c->virtual_in == NULL)
        return in;
    c->virtual_in->bridge = (struct vs_bridge *)(uintptr_t)b;
    c->virtual_in->ofport = in_port;
    return c->virtual_in;
}

/* ---- ALL, FLOOD ---------------------------------------------------------------------------------------------------- */

void vs_output_all(struct vs_core *c, const struct vs_bridge *b, struct vs_packet *orig, struct vs_packet *p,
                   uint32_t skip)
{
    const struct vs_member_list *m =
        atomic_load_explicit(&b->members, memory_order_acquire); /* pairs with publish */
    bool any = false;
    for (unsigned i = 0; i < m->n; i++) {
        struct vs_port *port = m->port[i];
        if (port->ofport == orig->in_port ||
            (atomic_load_explicit(&port->config, memory_order_relaxed) & skip))
            continue;
        any = vs_core_hand(c, port, p) || any;
    }
    if (any)
        orig->fate = VS_FATE_FORWARDED;
    else
        orig->drop = VS_DROP_RX_NO_MEMBER;
}

/* ---- NORMAL -------------------------------------------------------------------------------------------------------- */

struct normal {
    struct vs_core *c;
    struct vs_packet *orig, *p;
    struct vs_packet *stripped, *tagged; /* made once, shared by all ports that want them */
    struct vs_normal_verdict v;
    uint16_t tci;
    bool in_place;
};

static struct vs_port *port_by_number(const void *ctx, uint32_t ofport)
{
    return vs_bridge_port(ctx, ofport);
}

static struct vs_packet *editable(struct normal *n)
{
    if (n->in_place && !n->p->queued)
        return n->p;
    struct vs_packet *copy = vs_core_clone(n->c, n->p);
    if (copy == NULL)
        n->orig->drop = VS_DROP_RX_NO_CLONE;
    return copy;
}

/* The packet as this port wants it, or NULL (reason noted). */
static struct vs_packet *dress(struct normal *n, const struct vs_port *port)
{
    uint16_t tci = 0;
    switch (vs_normal_tag_op(port, &n->v, n->tci, &tci)) {
    case VS_TAG_KEEP:
        return n->p;
    case VS_TAG_STRIP:
        if (n->stripped == NULL && (n->stripped = editable(n)) != NULL)
            (void)vs_edit_pop_vlan(n->stripped);
        return n->stripped;
    case VS_TAG_ADD:
    default:
        if (n->tagged == NULL && (n->tagged = editable(n)) != NULL) {
            if (n->v.has_tag) /* a priority tag gives way to the real one */
                (void)vs_edit_pop_vlan(n->tagged);
            (void)vs_edit_push_vlan(n->tagged, 0x8100, tci);
        }
        return n->tagged;
    }
}

static bool send_dressed(struct normal *n, struct vs_port *port)
{
    struct vs_packet *p = dress(n, port);
    if (p == NULL)
        return false;
    bool sent = vs_core_hand(n->c, port, p);
    if (!sent)
        n->orig->drop = VS_DROP_RX_EGRESS_BLOCKED;
    return sent;
}

const struct vs_port *vs_output_normal(struct vs_core *c, const struct vs_bridge *b, struct vs_packet *orig,
                                       struct vs_packet *p, bool last, uint16_t *vlan)
{
    struct normal n = {.c = c, .orig = orig, .p = p};
    const struct vs_port *in = vs_core_input(c, b, orig->in_port);
    if (in == NULL) {
        orig->drop = VS_DROP_RX_NO_OUTPUT;
        return NULL;
    }
    n.tci = vs_edit_outer_tci(p);
    vs_mac_table *macs = atomic_load_explicit(&b->macs, memory_order_acquire);
    int bpdu = atomic_load_explicit(&b->forward_bpdu, memory_order_relaxed);
    vs_normal_decide(macs, p, n.tci, in, bpdu, (uint32_t)(c->now_ms / 1000), port_by_number, b,
                     c->trace == NULL || !c->trace->dry, &n.v);
    if (n.v.drop >= 0) {
        orig->drop = (uint8_t)n.v.drop;
        return NULL;
    }
    bool any = false;
    if (n.v.to != NULL) {
        n.in_place = last;
        any = send_dressed(&n, n.v.to);
    } else {
        const struct vs_member_list *m =
            atomic_load_explicit(&b->members, memory_order_acquire); /* pairs with publish */
        orig->drop = VS_DROP_RX_NO_MEMBER;
        for (unsigned i = 0; i < m->n; i++) {
            struct vs_port *port = m->port[i];
            if (port != in && vs_normal_member(port, n.v.vlan) &&
                !(atomic_load_explicit(&port->config, memory_order_relaxed) & VS_PORT_NO_FLOOD))
                any = send_dressed(&n, port) || any;
        }
    }
    if (any)
        orig->fate = VS_FATE_FORWARDED;
    *vlan = n.v.vlan;
    return any && n.stripped == NULL && n.tagged == NULL ? n.v.to : NULL;
}

/* ---- CONTROLLER ---------------------------------------------------------------------------------------------------- */

struct punting {
    struct vs_core *c;
    struct vs_punt_record record;
    bool ok;
};

static int punt_frame(void *ctx, const uint8_t *frame, uint32_t len)
{
    struct punting *pt = ctx;
    struct vs_packet whole;
    struct vs_punt_record record = pt->record;
    vs_packet_reset(&whole, NULL);
    vs_packet_fill(&whole, frame, len);
    pt->ok = vs_punt_put(&pt->c->punt, &record, &whole) && pt->ok;
    return 0;
}

void vs_output_controller(struct vs_core *c, const struct vs_bridge *b, const struct vs_view *view,
                          struct vs_packet *orig, struct vs_packet *p, const struct vs_action *a,
                          enum vs_punt_reason reason)
{
    const struct vs_port *in = vs_bridge_port(b, orig->in_port);
    if (in != NULL && (atomic_load_explicit(&in->config, memory_order_relaxed) & VS_PORT_NO_PACKET_IN)) {
        orig->drop = VS_DROP_RX_NO_PACKET_IN;
        return;
    }
    if (vs_meter_measure(c, view, p, VS_OFPM_CONTROLLER) == VS_DROP_RX_METER) {
        orig->drop = VS_DROP_RX_METER;
        return;
    }
    struct vs_punt_origin origin;
    struct punting pt = {.c = c, .ok = true};
    memcpy(&origin, a->value, sizeof origin);
    memcpy(&pt.record.metadata, a->mask, sizeof pt.record.metadata);
    memcpy(&pt.record.tunnel_id, a->mask + 8, sizeof pt.record.tunnel_id);
    pt.record.cookie = origin.cookie;
    pt.record.table = origin.table;
    pt.record.bridge = b->index;
    pt.record.in_port = orig->in_port;
    pt.record.reason = (uint8_t)reason;
    pt.record.max_len = a->max_len;
    pt.record.data_len = UINT32_MAX; /* whole: what the controller does not get now may be buffered for it */
    if (p->csum == VS_CSUM_PARTIAL ||
        p->gso_type != VS_GSO_NONE) { /* a controller sees what the wire would carry */
        if (vs_offload_finish(p, c->bounce, VS_MAX_FRAME, punt_frame, &pt) < 0)
            pt.ok = false;
    } else {
        pt.ok = vs_punt_put(&c->punt, &pt.record, p);
    }
    if (pt.ok)
        orig->fate = VS_FATE_FORWARDED;
    else
        orig->drop = VS_DROP_RX_PUNT_FULL;
}
