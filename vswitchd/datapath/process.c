/* process.c: one batch through parse, mask, cache, walk and programs; see core.h and README.md (life of a packet). */
#include "core.h"
#include "miss.h"
#include "parse.h"
#include "trace.h"

/* Why a whole batch of this port must not enter, or -1. */
static int refuse_batch(const struct vs_port *in)
{
    uint32_t config = atomic_load_explicit(&in->config, memory_order_relaxed);
    if (config & VS_PORT_DOWN)
        return VS_DROP_RX_PORT_DOWN;
    return config & VS_PORT_NO_RECV ? VS_DROP_RX_NO_RECV : -1;
}

/* Parse, mask and hash; the cache line of the bucket is on its way when this returns. */
static void make_keys(struct vs_core *c, struct vs_scratch *s, const struct vs_bridge *b,
                      const struct vs_view *view, struct vs_packet **pkts, int n)
{
    const uint64_t *used = vs_key_cwords(&view->used);
    for (int i = 0; i < n; i++) {
        vs_parse(pkts[i], b->index, &s->keys[i], &s->dirty[i]);
        uint64_t *w = vs_key_words(&s->keys[i]), h = 0;
        if (VS_UNLIKELY(view->drop_fragments && (s->keys[i].ip_frag[0] & VS_FRAG_ANY)))
            pkts[i]->drop = VS_DROP_RX_FRAGMENT;
        for (unsigned j = 0; j < VS_KEY_WORDS0; j++)
            w[j] &= used[j];
        if (view->ext)
            for (unsigned j = VS_KEY_WORDS0; j < VS_KEY_WORDS; j++)
                w[j] &= used[j];
        for (unsigned j = 0; j < view->n_words; j++)
            h = vs_hash_word(h, w[view->index[j]]);
        s->hash[i] = vs_hash_end(h);
        if (c->emc.n_entries != 0)
            vs_emc_prefetch(&c->emc, s->hash[i]);
    }
}

/* The common case: one output, looked up once for all. */
static void run_output(struct vs_core *c, struct vs_program *program, struct vs_port *out,
                       struct vs_packet **pkts, const struct vs_batch_group *g)
{
    uint64_t bytes = 0;
    for (unsigned i = 0; i < g->n; i++)
        bytes += pkts[g->at[i]]->frame_len;
    vs_count(&program->packets, g->n);
    vs_count(&program->bytes, bytes);
    __atomic_store_n(&program->used_ms, c->now_ms, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < g->n; i++) {
        struct vs_packet *p = pkts[g->at[i]];
        if (vs_core_output(c, out, p))
            p->fate = VS_FATE_FORWARDED;
        else
            p->drop = VS_DROP_RX_EGRESS_BLOCKED;
    }
}

/* Count and execute the packets that share a program. */
static void run_group(struct vs_core *c, struct vs_scratch *s, const struct vs_bridge *b,
                      const struct vs_view *view, struct vs_port *in, struct vs_packet **pkts,
                      const struct vs_batch_group *g)
{
    struct vs_program *program = g->program;
    struct vs_port *out = program->single_output ? vs_bridge_port(b, program->out) : NULL;
    if (out != NULL && out != in) {
        run_output(c, program, out, pkts, g);
        return;
    }
    for (unsigned i = 0; i < g->n; i++)
        vs_path_run(c, &s->draft, b, view, pkts[g->at[i]], vs_path_of_program(program));
}

static void account_fates(const struct vs_core *c, const struct vs_port *in, struct vs_packet **pkts, int n)
{
    struct vs_port_counters *pc = in->counters[c->index];
    unsigned forwarded = 0;
    for (int i = 0; i < n; i++) {
        if (VS_LIKELY(pkts[i]->fate == VS_FATE_FORWARDED))
            forwarded++;
        else
            vs_port_rx_drop(pc, pkts[i]->drop, 1);
    }
    vs_count(&pc->rx_forwarded, forwarded);
}

/* Find the program of each packet, or end the packet. */
static void find_programs(struct vs_core *c, struct vs_scratch *s, const struct vs_bridge *b,
                          const struct vs_view *view, struct vs_packet **pkts, int n)
{
    uint8_t missed[VS_BATCH];
    unsigned n_missed = 0, looked_up = 0, hits = 0;
    for (int i = 0; i < n; i++) {
        s->program[i] = NULL;
        if (VS_UNLIKELY(pkts[i]->head_len < 14 || pkts[i]->drop == VS_DROP_RX_FRAGMENT)) {
            pkts[i]->drop = pkts[i]->head_len < 14 ? VS_DROP_RX_RUNT : VS_DROP_RX_FRAGMENT;
            continue;
        }
        looked_up++;
        if (c->emc.n_entries != 0)
            s->program[i] =
                vs_emc_get(&c->emc, s->at[i], &s->keys[i], s->hash[i], (uint32_t)view->version, view->ext);
        if (VS_UNLIKELY(s->program[i] == NULL))
            missed[n_missed++] = (uint8_t)i;
    }
    hits = looked_up - n_missed;
    if (VS_UNLIKELY(n_missed > 0))
        hits += vs_miss_batch(c, s, b, view, pkts, missed, n_missed);
    vs_count(&c->stats.emc_hits, hits);
    vs_count(&c->stats.emc_misses, looked_up - hits);
}

static void run_batch(struct vs_core *c, struct vs_scratch *s, const struct vs_bridge *b, struct vs_port *in,
                      struct vs_packet **pkts, int n)
{
    const struct vs_view *view =
        atomic_load_explicit(&b->view, memory_order_acquire); /* pairs with view_publish */
    unsigned n_groups = 0;
    make_keys(c, s, b, view, pkts, n);
    if (c->emc.n_entries != 0)
        for (int i = 0; i < n; i++)
            s->at[i] = vs_emc_find(&c->emc, s->hash[i]);
    find_programs(c, s, b, view, pkts, n);
    for (int i = 0; i < n; i++) {
        struct vs_program *program = s->program[i];
        if (program == NULL)
            continue;
        /* A sparse set: whatever an older or a nested batch left in program->group is checked against this batch's groups. */
        if (program->group >= n_groups || s->groups[program->group].program != program) {
            program->group = (uint16_t)n_groups;
            s->groups[n_groups].program = program;
            s->groups[n_groups++].n = 0;
        }
        struct vs_batch_group *g = &s->groups[program->group];
        g->at[g->n++] = (uint8_t)i;
    }
    for (unsigned i = 0; i < n_groups; i++)
        run_group(c, s, b, view, in, pkts, &s->groups[i]);
}

/* Run a packet with a recorder on, if the live trace wants it. */
static bool run_live(struct vs_core *c, struct vs_draft *d, const struct vs_bridge *b,
                     const struct vs_port *in, struct vs_packet *p, struct vs_live *live)
{
    const struct vs_view *view =
        atomic_load_explicit(&b->view, memory_order_acquire); /* pairs with view_publish */
    struct vs_trace *t = p->head_len < 14 ? NULL : vs_live_claim(live, in, p, b->index);
    if (t == NULL)
        return false;
    struct vs_key key = t->first;
    c->trace = t;
    t->level = --c->level; /* as if the packet came in now */
    vs_trace_bridge(c, in);
    c->level++;
    if (view->drop_fragments && (key.ip_frag[0] & VS_FRAG_ANY)) {
        p->drop = VS_DROP_RX_FRAGMENT;
    } else {
        vs_key_apply(&key, &view->used);
        d->n_rules = 0;
        vs_pipeline_walk(b, view, &key, 0, d);
        vs_trace_path(c, d, &key);
        vs_path_run(c, d, b, view, p, vs_path_of_draft(d));
    }
    c->level--;
    vs_trace_end(c, p);
    c->level++;
    c->trace = NULL;
    vs_live_done(live, t);
    return true;
}

/* While a live trace is on: packets one by one, so that none overtakes another. */
__attribute__((cold, noinline)) static void run_batch_live(struct vs_core *c, struct vs_scratch *s,
                                                           const struct vs_bridge *b, struct vs_port *in,
                                                           struct vs_packet **pkts, int n,
                                                           struct vs_live *live)
{
    struct vs_trace *outer = c->trace; /* a full queue may send on to here in the middle of a traced packet */
    c->trace = NULL;
    for (int i = 0; i < n; i++)
        if (!run_live(c, &s->draft, b, in, pkts[i], live))
            run_batch(c, s, b, in, &pkts[i], 1);
    c->trace = outer;
}

static void run_batch_or_live(struct vs_core *c, struct vs_scratch *s, const struct vs_bridge *b,
                              struct vs_port *in, struct vs_packet **pkts, int n)
{
    struct vs_live *live =
        atomic_load_explicit(&c->dp->live, memory_order_acquire); /* pairs with vs_dp_live_start */
    if (VS_LIKELY(live == NULL || c->index == 0))
        run_batch(c, s, b, in, pkts, n);
    else
        run_batch_live(c, s, b, in, pkts, n, live);
}

void vs_core_process(struct vs_core *c, struct vs_port *in, struct vs_packet **pkts, int n, bool account)
{
    const struct vs_bridge *b = __atomic_load_n(&in->bridge, __ATOMIC_ACQUIRE);
    int refused = b == NULL ? VS_DROP_RX_NO_BRIDGE : refuse_batch(in);
    if (c->level == VS_LEVELS)
        refused = VS_DROP_RX_PATCH_LOOP;
    for (int i = 0; i < n; i++) {
        pkts[i]->fate = VS_FATE_NONE;
        pkts[i]->drop = refused >= 0 ? (uint8_t)refused : VS_DROP_RX_ACTION_DROP;
        pkts[i]->in_port = in->ofport;
        pkts[i]->port = in;
    }
    bool dry = VS_UNLIKELY(c->trace != NULL) && c->trace->dry;
    if (dry)
        vs_trace_bridge(c, in);
    if (refused < 0)
        run_batch_or_live(c, c->scratch[c->level++], b, in, pkts, n);
    if (refused < 0)
        c->level--;
    if (dry)
        vs_trace_end(c, pkts[0]);
    if (account)
        account_fates(c, in, pkts, n);
}
