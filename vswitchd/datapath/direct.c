/* direct.c: see direct.h. */
#include "direct.h"

#include "miss.h"

bool vs_direct_pays(const struct vs_table *t)
{
    return t->n_rules >= VS_DIRECT_RULES && t->n_plain >= t->n_rules / 2 &&
           vs_table_n_masks(t) <= VS_DIRECT_MASKS;
}

/* What a packet's search has come to. */
struct search {
    const struct vs_bucket *bucket;
    struct vs_rule *first; /* of the bucket, with this tag; NULL: none */
    uint32_t hash;
};

/* The rule in a bucket is nearly always the one, if there is one: tags seldom agree by chance. */
static struct vs_rule *look(const struct vs_subtable *s, const struct search *at, const uint64_t *key,
                            uint64_t version)
{
    if (at->first != NULL && !s->merged && VS_LIKELY(vs_mask_same(&s->mask, key, at->first)))
        return vs_chain_visible(at->first, version);
    if (at->first == NULL && VS_LIKELY(__atomic_load_n(&at->bucket->over, __ATOMIC_RELAXED) == 0))
        return NULL;
    return s->merged ? vs_subtable_best(s, key, version) : vs_subtable_find(s, key, version);
}

/* Search one subtable for the packets of `open`; `best` is replaced by what has a higher priority. */
static void search_batch(const struct vs_programs *ps, const struct vs_subtable *s, const struct vs_key *keys,
                         uint64_t version, uint32_t open, struct vs_rule **best)
{
    struct search at[VS_BATCH];
    uint32_t mask;
    const struct vs_bucket *buckets =
        vs_buckets_of(atomic_load_explicit(&s->buckets, memory_order_acquire), &mask); /* pairs with rehash */
    for (uint32_t left = open; left != 0; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctz(left);
        at[i].hash = vs_subtable_hash(s, vs_key_cwords(&keys[i]));
        at[i].bucket = &buckets[at[i].hash & mask];
        VS_PREFETCH(at[i].bucket);
    }
    for (uint32_t left = open; left != 0; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctz(left);
        unsigned hits = vs_bucket_hits(at[i].bucket, vs_bucket_tag(at[i].hash));
        at[i].first = NULL;
        if (hits == 0)
            continue;
        at[i].first = vs_bucket_rule(at[i].bucket, (unsigned)__builtin_ctz(hits));
        VS_PREFETCH(at[i].first);
        VS_PREFETCH_W(vs_program_plain(ps, vs_rule_number(at[i].first)));
    }
    for (uint32_t left = open; left != 0; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctz(left);
        struct vs_rule *r = look(s, &at[i], vs_key_cwords(&keys[i]), version);
        if (r != NULL && (best[i] == NULL || r->priority > best[i]->priority))
            best[i] = r;
    }
}

/* The packets for which a subtable of that priority could still have more. */
static uint32_t still_open(struct vs_rule *const *best, uint32_t todo, int32_t priority)
{
    uint32_t open = 0;
    for (uint32_t left = todo; left != 0; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctz(left);
        open |= (uint32_t)(best[i] == NULL || best[i]->priority < priority) << i;
    }
    return open;
}

/* Packets i of the bits in `todo`: s->program[i] is set where it is the plain program of a rule. Returns the bits of the others. */
static uint32_t ask_table(struct vs_core *c, struct vs_scratch *s, const struct vs_bridge *b,
                          const struct vs_view *view, uint32_t todo)
{
    struct vs_programs *ps = &c->programs;
    struct vs_rule *best[VS_BATCH] = {NULL};
    const struct vs_table *t =
        atomic_load_explicit(&b->tables[0], memory_order_acquire); /* pairs with table_at */
    const struct vs_subtable_vec *vec =
        atomic_load_explicit(&t->vec, memory_order_acquire); /* pairs with publish_vec */
    uint32_t open = todo, rest = 0;
    for (unsigned k = 0; k < vec->n && open != 0; k++) {
        if (k > 0)
            open = still_open(best, open, vec->ref[k].max_priority);
        search_batch(ps, vec->ref[k].subtable, s->keys, view->version, open, best);
    }
    for (uint32_t left = todo; left != 0; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctz(left);
        if (best[i] == NULL || VS_UNLIKELY(!best[i]->instructions->plain)) {
            rest |= UINT32_C(1) << i;
            continue;
        }
        struct vs_program *p = vs_program_plain(ps, vs_rule_number(best[i]));
        if (VS_UNLIKELY(atomic_load_explicit(&p->state, memory_order_relaxed) != VS_PROGRAM_LIVE))
            vs_programs_meet(ps, p, best[i]);
        s->program[i] = p;
    }
    return rest;
}

/* As ask_table, in the cache. */
static uint32_t ask_cache(const struct vs_core *c, struct vs_scratch *s, const struct vs_view *view,
                          uint32_t todo)
{
    const struct vs_emc *e = &c->emc;
    uint32_t missed = 0;
    if (e->n_entries == 0)
        return todo;
    for (uint32_t left = todo; left != 0; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctz(left);
        s->at[i] = vs_emc_find(e, s->hash[i]);
    }
    for (uint32_t left = todo; left != 0; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctz(left);
        s->program[i] = vs_miss_not(c, s, view, i, s->ext[i]);
        if (s->program[i] != NULL)
            VS_PREFETCH_W(s->program[i]); /* its counters */
        else
            missed |= UINT32_C(1) << i;
    }
    return missed;
}

static uint32_t cache_first(struct vs_core *c, struct vs_scratch *s, const struct vs_bridge *b,
                            const struct vs_view *view, uint32_t todo, unsigned *hits)
{
    struct vs_direct_turns *turns = &c->direct;
    uint32_t missed = ask_cache(c, s, view, todo), rest = 0;
    if (missed != 0)
        rest = ask_table(c, s, b, view, missed);
    for (uint32_t left = missed & ~rest; left != 0; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctz(left);
        vs_miss_remember(c, s, view, i, s->program[i]);
    }
    *hits = (unsigned)__builtin_popcount(todo & ~missed);
    turns->asked += (uint32_t)__builtin_popcount(todo);
    turns->known += *hits;
    if (turns->asked >= VS_DIRECT_ASK) {
        if (turns->known < turns->asked / 4 * 3)
            turns->table_first = VS_DIRECT_TABLE;
        turns->asked = turns->known = 0;
    }
    return rest;
}

static uint32_t table_first(struct vs_core *c, struct vs_scratch *s, const struct vs_bridge *b,
                            const struct vs_view *view, uint32_t todo, unsigned *hits)
{
    struct vs_direct_turns *turns = &c->direct;
    uint32_t rest = ask_table(c, s, b, view, todo);
    turns->table_first -= VS_MIN(turns->table_first, (uint32_t)__builtin_popcount(todo));
    if (rest == 0)
        return 0;
    uint32_t missed = ask_cache(c, s, view, rest);
    *hits = (unsigned)__builtin_popcount(rest & ~missed);
    return missed;
}

void vs_direct_find(struct vs_core *c, struct vs_scratch *s, const struct vs_bridge *b,
                    const struct vs_view *view, struct vs_packet **pkts, int n, uint32_t ended)
{
    uint32_t todo = (uint32_t)((UINT64_C(1) << n) - 1) & ~ended, rest;
    uint8_t missed[VS_BATCH];
    unsigned n_missed = 0, hits = 0;
    memset(s->program, 0, (size_t)n * sizeof s->program[0]);
    if (c->direct.table_first > 0)
        rest = table_first(c, s, b, view, todo, &hits);
    else
        rest = cache_first(c, s, b, view, todo, &hits);
    for (; rest != 0; rest &= rest - 1)
        missed[n_missed++] = (uint8_t)__builtin_ctz(rest);
    if (n_missed > 0)
        hits += vs_miss_batch(c, s, b, view, pkts, missed, n_missed);
    vs_count(&c->stats.emc_hits, hits);
    vs_count(&c->stats.emc_misses, (uint64_t)__builtin_popcount(todo) - hits);
}
