/* trace.c: recorders, the trace of a packet that does not exist, and live traces; see trace.h. */
#include "trace.h"

#include <errno.h>
#include <stdlib.h>

#include "core.h"
#include "parse.h"
#include "qsbr.h"

struct vs_live_slot {
    _Atomic uint32_t done; /* core: release behind the last event; control thread: acquire */
    struct vs_trace *trace;
};

struct vs_live {
    const struct vs_port *port; /* only compared */
    struct vs_key value, mask;
    uint32_t limit;
    _Atomic uint32_t claimed;
    uint32_t taken; /* control thread */
    struct vs_live_slot slot[];
};

struct vs_trace *vs_trace_new(uint32_t room)
{
    struct vs_trace *t = calloc(1, sizeof *t + room * sizeof t->event[0]);
    if (t != NULL)
        t->room = room;
    return t;
}

void vs_trace_free(struct vs_trace *t)
{
    free(t);
}

/* ---- recording ----------------------------------------------------------------------------------------------------- */

static struct vs_trace_event *add(struct vs_core *c, enum vs_trace_kind kind, uint32_t arg)
{
    struct vs_trace *t = c->trace;
    bool fits = t->n < t->room;
    struct vs_trace_event *e = fits ? &t->event[t->n++] : &t->spare;
    t->lost += !fits;
    *e = (struct vs_trace_event){.kind = (uint8_t)kind, .level = (uint8_t)(c->level - t->level), .arg = arg};
    return e;
}

void vs_trace_event(struct vs_core *c, enum vs_trace_kind kind, uint32_t arg, unsigned depth)
{
    add(c, kind, arg)->depth = (uint8_t)depth;
}

void vs_trace_bridge(struct vs_core *c, const struct vs_port *in)
{
    const struct vs_bridge *b = __atomic_load_n(&in->bridge, __ATOMIC_ACQUIRE);
    struct vs_trace_event *e = add(c, VS_TRACE_BRIDGE, b != NULL ? b->index : UINT32_MAX);
    e->rule = in->ofport;
    e->level++; /* the core counts it a moment later */
}

void vs_trace_path(struct vs_core *c, const struct vs_draft *d, const struct vs_key *key)
{
    for (unsigned i = d->first; i < d->n_rules; i++) {
        const struct vs_rule *r = d->rules[i];
        if (r->table == NULL) /* a marker */
            continue;
        struct vs_trace_event *e = add(c, VS_TRACE_RULE, i);
        e->table = r->table_id;
        e->rule = r->priority >= 0 ? (uint64_t)(uintptr_t)r : 0;
    }
    if (c->level == c->trace->level + 1) {
        memcpy(&c->trace->metadata, key->metadata, sizeof c->trace->metadata);
        memcpy(&c->trace->tunnel_id, key->tunnel_id, sizeof c->trace->tunnel_id);
    }
}

void vs_trace_action(struct vs_core *c, const struct vs_action *a, unsigned depth)
{
    struct vs_trace_event *e = add(c, VS_TRACE_ACTION, 0);
    e->depth = (uint8_t)depth;
    e->action = *a;
}

void vs_trace_left(struct vs_core *c, struct vs_packet *p)
{
    uint8_t dirty = 6;
    if (c->level == c->trace->level + 1)
        vs_parse(p, 0, &c->trace->last, &dirty);
}

void vs_trace_end(struct vs_core *c, const struct vs_packet *p)
{
    struct vs_trace_event *e = add(c, VS_TRACE_END, p->drop);
    e->table = p->fate;
    e->level++; /* as in vs_trace_bridge */
}

/* The other end of a patch port gets a copy, as if it had been sent. */
static void cross(struct vs_core *c, struct vs_port *port, struct vs_packet *p)
{
    struct vs_port *peer = __atomic_load_n(&port->patch_peer, __ATOMIC_ACQUIRE);
    if (peer == NULL || __atomic_load_n(&peer->bridge, __ATOMIC_ACQUIRE) == NULL)
        return;
    struct vs_packet *copy = p->depth < VS_PATCH_DEPTH ? vs_core_clone(c, p) : NULL;
    if (copy == NULL) {
        vs_trace_event(c, VS_TRACE_STOP,
                       p->depth < VS_PATCH_DEPTH ? VS_DROP_RX_NO_CLONE : VS_DROP_RX_PATCH_LOOP, 0);
        return;
    }
    copy->depth++;
    vs_core_process(c, peer, &copy, 1, false);
}

bool vs_trace_output(struct vs_core *c, struct vs_port *port, struct vs_packet *p)
{
    struct vs_trace_event *e = add(c, VS_TRACE_OUTPUT, port->ofport);
    bool blocked =
        (atomic_load_explicit(&port->config, memory_order_relaxed) & (VS_PORT_DOWN | VS_PORT_NO_FWD)) != 0;
    e->table = blocked;
    if (!c->trace->dry)
        return vs_core_output(c, port, p);
    p->queued = (uint8_t)(p->queued + (p->queued < UINT8_MAX)); /* later actions work on a copy */
    if (!blocked)
        cross(c, port, p);
    return !blocked;
}

int vs_dp_trace(vs_dp *dp, vs_bridge *b, const uint8_t *frame, uint32_t len, uint32_t in_port,
                struct vs_trace *t)
{
    struct vs_core *c = dp->cores[0];
    struct vs_packet *p = c->rx[0];
    uint8_t dirty = 6;
    if (len < 14 || len > VS_MAX_FRAME)
        return -EINVAL;
    c->now_ms = vs_dp_now_ms(dp);
    struct vs_port *in = vs_core_input(c, b, in_port);
    vs_packet_reset(p, in);
    vs_packet_fill(p, frame, len);
    p->in_port = in_port;
    t->n = t->lost = 0;
    t->metadata = t->tunnel_id = 0;
    t->dry = 1;
    t->level = c->level;
    t->frame_len = len;
    vs_parse(p, 0, &t->first, &dirty);
    t->last = t->first;
    c->trace = t;
    vs_core_process(c, in, &p, 1, false);
    c->trace = NULL;
    vs_core_batch_end(c);
    return 0;
}

/* ---- live ---------------------------------------------------------------------------------------------------------- */

static void live_free(struct vs_live *live)
{
    for (uint32_t i = 0; live != NULL && i < live->limit; i++)
        vs_trace_free(live->slot[i].trace);
    free(live);
}

int vs_dp_live_start(vs_dp *dp, struct vs_port *port, const struct vs_key *value, const struct vs_key *mask,
                     uint32_t limit)
{
    if (limit == 0 || limit > VS_LIVE_MAX)
        return -EINVAL;
    if (atomic_load_explicit(&dp->live, memory_order_relaxed) != NULL)
        return -EBUSY;
    struct vs_live *live = calloc(1, sizeof *live + limit * sizeof live->slot[0]);
    if (live == NULL)
        return -ENOMEM;
    live->port = port;
    live->value = *value;
    live->mask = *mask;
    live->limit = limit;
    for (uint32_t i = 0; i < limit; i++)
        if ((live->slot[i].trace = vs_trace_new(VS_LIVE_EVENTS)) == NULL) {
            live_free(live);
            return -ENOMEM;
        }
    atomic_store_explicit(&dp->live, live, memory_order_release); /* pairs with run_batch */
    return 0;
}

const struct vs_trace *vs_dp_live_take(vs_dp *dp)
{
    struct vs_live *live = atomic_load_explicit(&dp->live, memory_order_relaxed);
    if (live == NULL || live->taken == live->limit)
        return NULL;
    struct vs_live_slot *s = &live->slot[live->taken];
    if (!atomic_load_explicit(&s->done, memory_order_acquire)) /* pairs with vs_live_done */
        return NULL;
    live->taken++;
    return s->trace;
}

void vs_dp_live_stop(vs_dp *dp)
{
    struct vs_live *live = atomic_load_explicit(&dp->live, memory_order_relaxed);
    if (live == NULL)
        return;
    atomic_store_explicit(&dp->live, NULL, memory_order_relaxed);
    vs_dp_wake(dp);
    vs_qsbr_synchronize(&vs_qsbr);
    live_free(live);
}

struct vs_trace *vs_live_claim(struct vs_live *live, const struct vs_port *in, struct vs_packet *p,
                               uint16_t bridge)
{
    struct vs_key key;
    uint8_t dirty = 6;
    if (in != live->port || atomic_load_explicit(&live->claimed, memory_order_relaxed) >= live->limit)
        return NULL;
    vs_parse(p, bridge, &key, &dirty);
    const uint64_t *k = vs_key_cwords(&key), *v = vs_key_cwords(&live->value),
                   *m = vs_key_cwords(&live->mask);
    for (unsigned i = 0; i < VS_KEY_WORDS; i++)
        if (((k[i] ^ v[i]) & m[i]) != 0)
            return NULL;
    uint32_t at = atomic_fetch_add_explicit(&live->claimed, 1, memory_order_relaxed);
    if (at >= live->limit)
        return NULL;
    struct vs_trace *t = live->slot[at].trace;
    t->first = t->last = key;
    t->frame_len = p->frame_len;
    return t;
}

void vs_live_done(struct vs_live *live, struct vs_trace *t)
{
    for (uint32_t i = 0; i < live->limit; i++)
        if (live->slot[i].trace == t)
            atomic_store_explicit(&live->slot[i].done, 1,
                                  memory_order_release); /* pairs with vs_dp_live_take */
}
