/* classifier.c: tuple-space search; see classifier.h. */
#include "classifier.h"

#include <errno.h>
#include <stdlib.h>

#include "qsbr.h"

enum {
    TOGETHER = 8,    /* subtables that are fetched together */
    CANDIDATES = 32, /* rules */
};

/* ---- lookup -------------------------------------------------------------------------------------------------------- */

static struct vs_rule *search_exact(const struct vs_subtable_vec *vec, const uint64_t *key, uint64_t version)
{
    struct vs_rule *best = NULL;
    for (unsigned i = 0; i < vec->n; i++) {
        if (best != NULL && best->priority >= vec->ref[i].max_priority)
            break;
        struct vs_rule *r = vs_subtable_find(vec->ref[i].subtable, key, version);
        if (r != NULL && (best == NULL || r->priority > best->priority))
            best = r;
    }
    return best;
}

/* A search of many subtables. */
struct search {
    const uint64_t *key;
    uint64_t version;
    struct vs_rule *best;
    unsigned n;
    struct vs_rule *candidates[CANDIDATES]; /* on their way from memory */
};

static void judge(struct search *s)
{
    for (unsigned i = 0; i < s->n; i++)
        s->best = vs_rule_better(s->best, s->candidates[i], s->key, s->version);
    s->n = 0;
}

/* The rules of a subtable that may match. */
static void collect(struct search *s, const struct vs_bucket *buckets, uint32_t mask, uint32_t hash)
{
    for (uint32_t n = 0; n <= mask; n++) {
        const struct vs_bucket *b = &buckets[(hash + n) & mask];
        for (unsigned hits = vs_bucket_hits(b, vs_bucket_tag(hash)); hits != 0; hits &= hits - 1) {
            if (s->n == CANDIDATES)
                judge(s);
            struct vs_rule *r = vs_bucket_rule(b, (unsigned)__builtin_ctz(hits));
            VS_PREFETCH(r);
            s->candidates[s->n++] = r;
        }
        if (__atomic_load_n(&b->over, __ATOMIC_RELAXED) == 0)
            break;
    }
}

/* Not inlined: tables of few masks need none of its registers. */
static __attribute__((noinline)) struct vs_rule *search_merged(const struct vs_subtable_vec *vec,
                                                               const uint64_t *key, uint64_t version)
{
    struct {
        const struct vs_bucket *buckets;
        uint32_t mask, hash;
    } at[TOGETHER];
    struct search s = {.key = key, .version = version};
    for (unsigned from = 0, n; from < vec->n; from += n) {
        const struct vs_subtable_ref *ref = &vec->ref[from];
        n = VS_MIN(vec->n - from, (unsigned)TOGETHER);
        while (n > 0 && s.best != NULL && s.best->priority >= ref[n - 1].max_priority)
            n--;
        if (n == 0)
            break;
        for (unsigned i = 0; i < n; i++) {
            at[i].buckets = vs_buckets_of(
                atomic_load_explicit(&ref[i].subtable->buckets, memory_order_acquire), /* pairs with rehash */
                &at[i].mask);
            at[i].hash = vs_subtable_hash(ref[i].subtable, key);
            VS_PREFETCH(&at[i].buckets[at[i].hash & at[i].mask]);
        }
        for (unsigned i = 0; i < n; i++)
            collect(&s, at[i].buckets, at[i].mask, at[i].hash);
        judge(&s);
    }
    return s.best;
}

struct vs_rule *vs_table_lookup(const struct vs_table *t, const struct vs_key *key, uint64_t version)
{
    const struct vs_subtable_vec *vec =
        atomic_load_explicit(&t->vec, memory_order_acquire); /* pairs with publish_vec */
    return vec->merged ? search_merged(vec, vs_key_cwords(key), version)
                       : search_exact(vec, vs_key_cwords(key), version);
}

/* ---- subtables, control thread ------------------------------------------------------------------------------------- */

static int by_priority(const void *a, const void *b)
{
    const struct vs_subtable_ref *left = a, *right = b;
    return (left->max_priority < right->max_priority) - (left->max_priority > right->max_priority);
}

/* Publish the array of subtables, sorted, without empty ones but for `add`, which may be NULL. */
static int publish_vec(struct vs_table *t, const struct vs_subtable *add)
{
    struct vs_subtable_vec *old = atomic_load_explicit(&t->vec, memory_order_relaxed);
    struct vs_subtable_vec *fresh = malloc(sizeof *fresh + t->n_subtables * sizeof fresh->ref[0]);
    if (fresh == NULL)
        return -ENOMEM;
    fresh->n = 0;
    fresh->merged = t->merging;
    for (struct vs_subtable *s = t->subtables; s != NULL; s = s->next) {
        if (s->n_rules == 0 && s != add)
            continue;
        fresh->ref[fresh->n++] = (struct vs_subtable_ref){.subtable = s, .max_priority = s->max_priority};
    }
    qsort(fresh->ref, fresh->n, sizeof fresh->ref[0], by_priority);
    atomic_store_explicit(&t->vec, fresh, memory_order_release); /* pairs with vs_table_lookup */
    vs_qsbr_defer(&vs_qsbr, free, old);
    return 0;
}

static struct vs_subtable *add_subtable(struct vs_table *t, const struct vs_mask *mask,
                                        struct vs_shape *shape)
{
    struct vs_subtable *s = vs_subtable_new(mask, shape), **at = &t->subtables;
    if (s == NULL)
        return NULL;
    unsigned bits = vs_mask_bits(mask);
    while (*at != NULL && vs_mask_bits(&(*at)->mask) > bits)
        at = &(*at)->next;
    s->next = *at;
    *at = s;
    t->n_subtables++;
    if (shape != NULL)
        shape->exact = s;
    return s;
}

/* Take those without rules out of the list; the array does not have them any more. */
static void drop_empty(struct vs_table *t)
{
    for (struct vs_subtable **at = &t->subtables, *s; (s = *at) != NULL;) {
        if (s->n_rules > 0) {
            at = &s->next;
            continue;
        }
        *at = s->next;
        t->n_subtables--;
        if (s->shape != NULL && s->shape->exact == s)
            s->shape->exact = NULL;
        vs_qsbr_defer(&vs_qsbr, vs_subtable_free, s);
    }
    t->merging = t->merging && t->n_subtables > 0;
}

static bool has_mask(const struct vs_table *t, const struct vs_mask *mask)
{
    for (const struct vs_subtable *s = t->subtables; s != NULL; s = s->next)
        if (s->merged && vs_mask_equal(&s->mask, mask))
            return true;
    return false;
}

/* A merged subtable for rules of that shape that find no room in those that are there; or one of its own. */
static struct vs_subtable *another(struct vs_table *t, struct vs_shape *shape)
{
    struct vs_key common;
    struct vs_mask mask;
    vs_shapes_common(&t->shapes, &common);
    for (unsigned level = 0; level < VS_COARSE_LEVELS; level++) {
        vs_mask_coarse(&mask, &shape->mask, &common, level);
        if (!has_mask(t, &mask))
            return add_subtable(t, &mask, NULL);
    }
    return add_subtable(t, &shape->mask, shape);
}

/* ---- rules, control thread ----------------------------------------------------------------------------------------- */

/* Where a rule is to be: in a chain, or as the first of one. */
struct home {
    struct vs_subtable *subtable; /* NULL: no memory */
    struct vs_place chain;
    uint32_t hash;
};

static struct home home_in(struct vs_subtable *s, const struct vs_rule *r)
{
    struct home h = {.subtable = s};
    if (s != NULL) {
        h.hash = vs_mask_hash_rule(&s->mask, r);
        h.chain = vs_subtable_chain(s, r, h.hash);
    }
    return h;
}

static struct home merged_home(struct vs_table *t, struct vs_shape *shape, const struct vs_rule *r)
{
    for (struct vs_subtable *s = t->subtables; s != NULL; s = s->next)
        if (s->merged && vs_mask_within(&s->mask, &shape->mask)) {
            struct home h = home_in(s, r);
            if (h.chain.bucket != NULL || vs_subtable_has_room(s, h.hash))
                return h;
        }
    return home_in(another(t, shape), r);
}

static struct home find_home(struct vs_table *t, struct vs_shape *shape, const struct vs_rule *r)
{
    if (shape->exact != NULL)
        return home_in(shape->exact, r);
    return t->merging ? merged_home(t, shape, r) : home_in(add_subtable(t, &shape->mask, shape), r);
}

static void count_rule(void *ctx, struct vs_rule *r)
{
    struct vs_subtable *s = ctx;
    if (r->priority > s->max_priority) {
        s->max_priority = r->priority;
        s->n_at_max = 0;
    }
    s->n_at_max += r->priority == s->max_priority;
}

/* Put a chain of an exact subtable into a merged one; until the next array is published readers find it in the old one. This must not
 * fail: what waits is freed until there is memory. */
static void move_chain(struct vs_table *t, struct vs_shape *shape, struct vs_rule *head)
{
    struct home h;
    while ((h = find_home(t, shape, head)).subtable == NULL ||
           vs_subtable_place(h.subtable, head, h.hash) != 0)
        vs_qsbr_drain(&vs_qsbr);
    for (struct vs_rule *r = head;;) {
        r->subtable = h.subtable;
        h.subtable->n_rules++;
        count_rule(h.subtable, r);
        uint32_t next = atomic_load_explicit(&r->next, memory_order_relaxed);
        if (next == 0)
            break;
        r = vs_rule_at(next);
    }
}

/* There are too many masks: the rules of small exact subtables go into merged ones. */
static void merge_small(struct vs_table *t)
{
    struct vs_subtable *small[VS_EXACT_SUBTABLES];
    unsigned n = 0;
    t->merging = true;
    for (struct vs_subtable *s = t->subtables; s != NULL; s = s->next)
        if (s->n_rules > 0 && s->n_rules <= VS_EXACT_RULES)
            small[n++] = s;
    for (unsigned i = 0; i < n; i++) {
        uint32_t mask;
        const struct vs_bucket *b = vs_buckets_of(atomic_load(&small[i]->buckets), &mask);
        small[i]->shape->exact = NULL;
        for (uint32_t at = 0; at <= mask; at++)
            for (unsigned way = 0; way < VS_BUCKET_WAYS; way++)
                if (b[at].tag[way] != 0)
                    move_chain(t, small[i]->shape, vs_bucket_rule(&b[at], way));
        small[i]->n_rules = 0;
    }
    while (publish_vec(t, NULL) != 0)
        vs_qsbr_drain(&vs_qsbr);
    drop_empty(t);
}

/* 0 or -ENOMEM. The array is published before the rule comes: a reader that sees the rule sees the priority. */
static int settle(struct vs_table *t, const struct home *h, struct vs_rule *r)
{
    struct vs_subtable *s = h->subtable;
    int32_t before = s->max_priority;
    if (r->priority > before) {
        s->max_priority = r->priority;
        if (publish_vec(t, s) != 0) {
            s->max_priority = before;
            return -ENOMEM;
        }
    }
    if (h->chain.bucket != NULL) {
        vs_subtable_link(&h->chain, r);
    } else if (vs_subtable_place(s, r, h->hash) != 0) {
        s->max_priority = before; /* the array may say more than there is */
        return -ENOMEM;
    }
    if (r->priority > before)
        s->n_at_max = 0;
    s->n_at_max += r->priority == s->max_priority;
    s->n_rules++;
    r->subtable = s;
    return 0;
}

int vs_table_insert(struct vs_table *t, struct vs_rule *r, const struct vs_key *mask)
{
    struct vs_mask m;
    vs_mask_of(&m, mask);
    struct vs_shape *shape = vs_shape_get(&t->shapes, &m);
    if (shape == NULL)
        return -ENOMEM;
    r->shape = (uint32_t)(shape - vs_shape_base);
    if (shape->exact == NULL && !t->merging && t->n_subtables >= VS_EXACT_SUBTABLES)
        merge_small(t);
    struct home home = find_home(t, shape, r);
    if (home.subtable == NULL || settle(t, &home, r) != 0) {
        r->shape = 0;
        t->untidy = true; /* there may be an empty subtable */
        vs_shapes_tidy(&t->shapes);
        return -ENOMEM;
    }
    shape->n_rules++;
    shape->refs++;
    t->n_rules++;
    t->n_plain += r->instructions->plain;
    return 0;
}

void vs_table_unlink(struct vs_table *t, struct vs_rule *r)
{
    struct vs_subtable *s = r->subtable;
    vs_subtable_unlink(s, r);
    s->n_rules--;
    if (--vs_shape_base[r->shape].n_rules == 0)
        t->untidy = true;
    t->n_rules--;
    t->n_plain -= r->instructions->plain;
    if (r->priority == s->max_priority && --s->n_at_max == 0)
        t->untidy = true;
    t->untidy = t->untidy || vs_subtable_is_sparse(s);
}

/* Once for many rules: counting a subtable again for each of them would take the square of their number. */
void vs_table_tidy(struct vs_table *t)
{
    if (!t->untidy)
        return;
    t->untidy = false;
    for (struct vs_subtable *s = t->subtables; s != NULL; s = s->next) {
        if (s->n_at_max == 0) {
            s->max_priority = -1;
            vs_subtable_each(s, count_rule, s);
        }
        if (s->n_rules > 0 && vs_subtable_is_sparse(s))
            vs_subtable_shrink(s);
    }
    while (publish_vec(t, NULL) != 0)
        vs_qsbr_drain(&vs_qsbr); /* frees what waits; this must not fail */
    drop_empty(t);
    vs_shapes_tidy(&t->shapes);
}

/* ---- tables, control thread ---------------------------------------------------------------------------------------- */

int vs_table_init(struct vs_table *t, uint8_t id)
{
    memset(t, 0, sizeof *t);
    struct vs_subtable_vec *vec = calloc(1, sizeof *vec);
    static const struct vs_instructions none = {.goto_table = -1};
    if (vec == NULL)
        return -ENOMEM;
    atomic_init(&t->vec, vec);
    t->miss.table = t;
    t->miss.table_id = id;
    t->miss.priority = -1;
    t->miss.instructions = &none;
    return 0;
}

struct leaving {
    void (*gone)(void *ctx, struct vs_rule *r);
    void *ctx;
};

static void let_go(void *arg, struct vs_rule *r)
{
    const struct leaving *l = arg;
    l->gone(l->ctx, r);
    vs_rule_free(r);
}

void vs_table_destroy(struct vs_table *t, void (*gone)(void *ctx, struct vs_rule *r), void *ctx)
{
    struct leaving l = {.gone = gone, .ctx = ctx};
    for (struct vs_subtable *s = t->subtables, *next; s != NULL; s = next) {
        next = s->next;
        vs_subtable_each(s, let_go, &l);
        vs_subtable_free(s);
    }
    vs_shapes_destroy(&t->shapes);
    free(atomic_load_explicit(&t->vec, memory_order_relaxed));
}

static void kill_rule(void *ctx, struct vs_rule *r)
{
    (void)ctx;
    atomic_store_explicit(&r->dead, 1, memory_order_relaxed);
}

void vs_table_kill(struct vs_table *t)
{
    atomic_store_explicit(&t->miss.dead, 1, memory_order_relaxed);
    for (const struct vs_subtable *s = t->subtables; s != NULL; s = s->next)
        vs_subtable_each(s, kill_rule, NULL);
}

void vs_table_used_mask(const struct vs_table *t, struct vs_key *mask)
{
    vs_shapes_used(&t->shapes, mask);
}

unsigned vs_table_n_masks(const struct vs_table *t)
{
    return t->shapes.n;
}

unsigned vs_table_n_subtables(const struct vs_table *t)
{
    return atomic_load_explicit(&t->vec, memory_order_relaxed)->n;
}
