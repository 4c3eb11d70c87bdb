/* process.c: one batch through parse, mask, cache, walk and programs; see core.h and README.md (life of a packet). */
#include "core.h"
#include "direct.h"
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

static void enter(struct vs_packet *p, struct vs_port *in, uint8_t drop)
{
    p->port = in;
    p->in_port = in->ofport;
    p->fate = VS_FATE_NONE;
    p->drop = drop;
}

/* The key of a packet that is not of the plain shape, or takes the place of one that was not. False: the packet ends here. */
static __attribute__((noinline)) bool make_key(struct vs_core *c, struct vs_scratch *s,
                                               const struct vs_bridge *b, const struct vs_view *view,
                                               struct vs_packet *p, int i)
{
    struct vs_key *key = &s->keys[i];
    const uint64_t *used = vs_key_cwords(&view->used);
    uint64_t *w = vs_key_words(key);
    p->fate = VS_FATE_NONE;
    p->drop = VS_DROP_RX_ACTION_DROP;
    vs_parse(p, b->index, key, &s->dirty[i]);
    if (p->head_len < 14 || (view->drop_fragments && (key->ip_frag[0] & VS_FRAG_ANY))) {
        p->drop = p->head_len < 14 ? VS_DROP_RX_RUNT : VS_DROP_RX_FRAGMENT;
        return false;
    }
    for (unsigned j = 0; j < VS_KEY_WORDS0; j++)
        w[j] &= used[j];
    s->ext[i] = false;
    /* Also without view->ext: what judges old entries looks at the whole key (changes.h). */
    if (s->dirty[i] != 0) {
        for (unsigned j = VS_KEY_WORDS0; j < VS_KEY_WORDS; j++)
            w[j] &= used[j];
        s->ext[i] = view->ext && vs_key_is_ext(key);
    }
    s->hash[i] = vs_emc_hash(&c->emc, key, s->ext[i]);
    return true;
}

/* Parse, mask and hash; the cache line of the bucket is on its way when this returns. Bit i of the result: packet i has ended. */
static uint32_t make_keys(struct vs_core *c, struct vs_scratch *s, const struct vs_bridge *b,
                          const struct vs_view *view, struct vs_port *in, struct vs_packet **pkts, int n)
{
    const struct vs_emc *e = &c->emc;
    const uint64_t *used = vs_key_cwords(&view->used);
    const uint64_t w0 = (__builtin_bswap32(in->ofport) | (uint64_t)__builtin_bswap16(b->index) << 32 |
                         (uint64_t)VS_BE16(0x0800) << 48) &
                        used[0];
    const uint64_t m1 = used[1] & VS_MAC_BITS, m2 = used[2] & VS_MAC_BITS, m3 = used[3], m4 = used[4],
                   m5 = used[5];
    const uint32_t in_port = in->ofport;
    uint32_t ended = 0;
    for (int i = 0; i < n; i++) {
        struct vs_packet *p = pkts[i];
        struct vs_plain k;
        p->port = in;
        p->in_port = in_port;
        if (VS_LIKELY(s->dirty[i] == 0 && vs_parse_plain(p, &k))) {
            uint64_t *w = vs_key_words(&s->keys[i]);
            vs_packet_begin(p, VS_PLAIN_L3, VS_PLAIN_L4, VS_FATE_NONE, VS_DROP_RX_ACTION_DROP);
            s->ext[i] = false;
            w[0] = w0;
            w[1] = k.w1 &= m1;
            w[2] = k.w2 &= m2;
            w[3] = k.w3 &= m3;
            w[4] = k.w4 &= m4;
            w[5] = k.w5 &= m5;
            s->hash[i] = vs_emc_fold(vs_emc_sum(e, w0, k.w1, k.w2, k.w3, k.w4, k.w5));
        } else if (!make_key(c, s, b, view, p, i)) {
            ended |= 1u << i;
            s->hash[i] = 0;
        }
        vs_emc_prefetch(e, s->hash[i]);
    }
    return ended;
}

/* Find the program of each packet that has not ended. */
static void find_programs(struct vs_core *c, struct vs_scratch *s, const struct vs_bridge *b,
                          const struct vs_view *view, struct vs_packet **pkts, int n, uint32_t ended)
{
    const struct vs_emc *e = &c->emc;
    uint8_t missed[VS_BATCH];
    unsigned n_missed = 0, looked_up = (unsigned)n, misses;
    for (int i = 0; i < n; i++)
        s->at[i] = VS_LIKELY(e->n_entries != 0) ? vs_emc_find(e, s->hash[i]) : NULL;
    for (uint32_t left = ended; VS_UNLIKELY(left != 0); left &= left - 1, looked_up--)
        s->at[__builtin_ctz(left)] = NULL;
    for (int i = 0; i < n; i++) {
        bool ext = VS_UNLIKELY(view->ext) && s->ext[i];
        struct vs_program *program = vs_miss_not(c, s, view, (unsigned)i, ext);
        s->program[i] = program;
        if (VS_LIKELY(program != NULL))
            VS_PREFETCH_W(program); /* its counters */
        else if (!(ended >> i & 1))
            missed[n_missed++] = (uint8_t)i;
    }
    misses = n_missed;
    if (VS_UNLIKELY(n_missed > 0))
        misses -= vs_miss_batch(c, s, b, view, pkts, missed, n_missed);
    vs_count(&c->stats.emc_hits, looked_up - misses);
    vs_count(&c->stats.emc_misses, misses);
}

/* Count and execute packets that share a program. Returns how many are known to be forwarded. */
static unsigned run_same(struct vs_core *c, struct vs_scratch *s, const struct vs_bridge *b,
                         const struct vs_view *view, struct vs_port *in, struct vs_program *program,
                         struct vs_packet **pkts, unsigned n)
{
    struct vs_port *out = program->out != 0 ? vs_bridge_port(b, program->out) : NULL;
    bool normal = program->out == VS_OFPP_NORMAL;
    if (VS_UNLIKELY((out == NULL || out == in) && !normal)) {
        for (unsigned i = 0; i < n; i++)
            vs_path_run(c, &s->draft, b, view, pkts[i], vs_path_of_program(program));
        return 0;
    }
    uint64_t bytes = 0;
    for (unsigned i = 0; i < n; i++)
        bytes += pkts[i]->frame_len;
    vs_count(&program->packets, n);
    vs_count(&program->bytes, bytes);
    __atomic_store_n(&program->used_ms, c->now_ms, __ATOMIC_RELAXED);
    return normal ? vs_normal_run(c, b, in, program, pkts, n) : vs_core_forward(c, out, pkts, n);
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

/* In the order in which they came; packets with one program that follow each other are run together. Returns how many are known to be
 * forwarded. */
static int run_batch(struct vs_core *c, struct vs_scratch *s, const struct vs_bridge *b, struct vs_port *in,
                     struct vs_packet **pkts, int n)
{
    const struct vs_view *view =
        atomic_load_explicit(&b->view, memory_order_acquire); /* pairs with view_publish */
    unsigned forwarded = 0;
    uint32_t ended = make_keys(c, s, b, view, in, pkts, n);
    if (VS_UNLIKELY(view->direct) && c->index != 0)
        vs_direct_find(c, s, b, view, pkts, n, ended);
    else
        find_programs(c, s, b, view, pkts, n, ended);
    for (int i = 0, next; i < n; i = next) {
        struct vs_program *program = s->program[i];
        for (next = i + 1; next < n && s->program[next] == program; next++)
            ;
        if (VS_LIKELY(program != NULL))
            forwarded += run_same(c, s, b, view, in, program, pkts + i, (unsigned)(next - i));
    }
    return (int)forwarded;
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
    for (int i = 0; i < n; i++) {
        enter(pkts[i], in, VS_DROP_RX_ACTION_DROP);
        if (!run_live(c, &s->draft, b, in, pkts[i], live))
            run_batch(c, s, b, in, &pkts[i], 1);
    }
    c->trace = outer;
}

static int run_batch_or_live(struct vs_core *c, struct vs_scratch *s, const struct vs_bridge *b,
                             struct vs_port *in, struct vs_packet **pkts, int n)
{
    struct vs_live *live =
        atomic_load_explicit(&c->dp->live, memory_order_acquire); /* pairs with vs_dp_live_start */
    if (VS_LIKELY(live == NULL || c->index == 0))
        return run_batch(c, s, b, in, pkts, n);
    run_batch_live(c, s, b, in, pkts, n, live);
    return 0;
}

void vs_core_process(struct vs_core *c, struct vs_port *in, struct vs_packet **pkts, int n, bool account)
{
    const struct vs_bridge *b = __atomic_load_n(&in->bridge, __ATOMIC_ACQUIRE);
    int refused = b == NULL ? VS_DROP_RX_NO_BRIDGE : refuse_batch(in), forwarded = 0;
    if (c->level == VS_LEVELS)
        refused = VS_DROP_RX_PATCH_LOOP;
    for (int i = 0; VS_UNLIKELY(refused >= 0) && i < n; i++)
        enter(pkts[i], in, (uint8_t)refused);
    bool dry = VS_UNLIKELY(c->trace != NULL) && c->trace->dry;
    if (dry)
        vs_trace_bridge(c, in);
    if (VS_LIKELY(refused < 0)) {
        forwarded = run_batch_or_live(c, c->scratch[c->level++], b, in, pkts, n);
        c->level--;
    }
    if (dry)
        vs_trace_end(c, pkts[0]);
    if (!account)
        return;
    if (VS_LIKELY(forwarded == n))
        vs_count(&in->counters[c->index]->rx_forwarded, (uint64_t)n);
    else
        account_fates(c, in, pkts, n);
}
