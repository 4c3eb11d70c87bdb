/* classifier.c: tuple-space search; see classifier.h. */
#include "classifier.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "qsbr.h"

enum {
    SPARSE = 16, /* fewer chains than a sixteenth of the ways: the table may shrink */
    AHEAD = 4,   /* buckets whose rules are prefetched in rehash */
    HUGE_PAGE = 2 << 20,
};

/* ---- lookup -------------------------------------------------------------------------------------------------------- */

struct vs_rule *vs_table_lookup(const struct vs_table *t, const struct vs_key *key, uint64_t version)
{
    const struct vs_subtable_vec *vec =
        atomic_load_explicit(&t->vec, memory_order_acquire); /* pairs with publish_vec */
    const uint64_t *words = vs_key_cwords(key);
    struct vs_rule *best = NULL;
    for (unsigned i = 0; i < vec->n; i++) {
        if (best != NULL && best->priority >= vec->ref[i].max_priority)
            break;
        const struct vs_subtable *s = vec->ref[i].subtable;
        struct vs_rule *r = vs_subtable_find(s, words, version);
        if (r != NULL && (best == NULL || r->priority > best->priority))
            best = r;
    }
    return best;
}

/* ---- buckets, control thread --------------------------------------------------------------------------------------- */

/* 0: no memory. Huge pages where there are so many that they pay; the memory behind the last bucket is not touched. */
static uintptr_t buckets_new(unsigned log)
{
    size_t size = sizeof(struct vs_bucket) << log;
    struct vs_bucket *b = aligned_alloc(size >= HUGE_PAGE ? HUGE_PAGE : VS_CACHE_LINE, size);
    if (b == NULL)
        return 0;
    if (size >= HUGE_PAGE)
        (void)madvise(b, size, MADV_HUGEPAGE); /* a hint: failing changes speed only */
    memset(b, 0, size);
    return (uintptr_t)b + log;
}

static void buckets_free(void *word)
{
    uint32_t mask;
    free(vs_buckets_of((uintptr_t)word, &mask));
}

static struct vs_bucket *buckets_of(const struct vs_subtable *s, uint32_t *mask)
{
    return vs_buckets_of(atomic_load_explicit(&s->buckets, memory_order_relaxed), mask);
}

/* Put the head of a chain into the first free way from its bucket on. */
static void place(struct vs_bucket *buckets, uint32_t mask, const struct vs_rule *r)
{
    for (uint32_t at = r->hash & mask;; at = (at + 1) & mask) {
        struct vs_bucket *b = &buckets[at];
        unsigned free_ways = vs_bucket_hits(b, 0);
        if (free_ways == 0) {
            __atomic_store_n(&b->over, b->over + 1, __ATOMIC_RELAXED);
            continue;
        }
        unsigned way = (unsigned)__builtin_ctz(free_ways);
        __atomic_store_n(&b->rule[way], vs_rule_number(r), __ATOMIC_RELEASE); /* pairs with vs_bucket_rule */
        /* The number is seen before the tag is: pairs with vs_bucket_hits. */
        __atomic_store_n(&b->tag[way], vs_bucket_tag(r->hash), __ATOMIC_RELEASE);
        return;
    }
}

/* The chain of rules with the same masked value. */
struct place {
    struct vs_bucket *bucket; /* NULL: there is none */
    unsigned way;
    uint32_t passed; /* buckets before it, from the first on */
};

static struct place find_chain(const struct vs_subtable *s, const struct vs_rule *r)
{
    uint32_t mask;
    struct vs_bucket *buckets = buckets_of(s, &mask);
    for (uint32_t n = 0; n <= mask; n++) {
        struct vs_bucket *b = &buckets[(r->hash + n) & mask];
        for (unsigned hits = vs_bucket_hits(b, vs_bucket_tag(r->hash)); hits != 0; hits &= hits - 1) {
            unsigned way = (unsigned)__builtin_ctz(hits);
            const struct vs_rule *head = vs_bucket_rule(b, way);
            if (head->hash == r->hash &&
                memcmp(vs_rule_words(head), vs_rule_words(r), s->n_words * sizeof(uint64_t)) == 0)
                return (struct place){.bucket = b, .way = way, .passed = n};
        }
        if (b->over == 0)
            break;
    }
    return (struct place){.bucket = NULL};
}

static void remove_chain(const struct vs_subtable *s, const struct place *at, uint32_t hash)
{
    uint32_t mask;
    struct vs_bucket *buckets = buckets_of(s, &mask);
    __atomic_store_n(&at->bucket->tag[at->way], 0, __ATOMIC_RELEASE);
    for (uint32_t n = 0; n < at->passed; n++) {
        struct vs_bucket *b = &buckets[(hash + n) & mask];
        __atomic_store_n(&b->over, b->over - 1, __ATOMIC_RELAXED);
    }
}

static void prefetch_rules(const struct vs_bucket *b)
{
    for (unsigned i = 0; i < VS_BUCKET_WAYS; i++)
        if (b->tag[i] != 0)
            VS_PREFETCH(vs_rule_at(b->rule[i]));
}

/* 0 or -ENOMEM. The hashes stand in the rules: those of the next buckets are on their way while one bucket is copied. */
static int rehash(struct vs_subtable *s, unsigned log)
{
    uint32_t old_mask, mask;
    uintptr_t old = atomic_load_explicit(&s->buckets, memory_order_relaxed), fresh = buckets_new(log);
    if (fresh == 0)
        return -ENOMEM;
    const struct vs_bucket *from = vs_buckets_of(old, &old_mask);
    struct vs_bucket *to = vs_buckets_of(fresh, &mask);
    for (uint32_t i = 0; i <= old_mask; i++) {
        if (i + AHEAD <= old_mask)
            prefetch_rules(&from[i + AHEAD]);
        for (unsigned way = 0; way < VS_BUCKET_WAYS; way++)
            if (from[i].tag[way] != 0)
                place(to, mask, vs_bucket_rule(&from[i], way));
    }
    atomic_store_explicit(&s->buckets, fresh, memory_order_release); /* pairs with vs_subtable_find */
    vs_qsbr_defer(&vs_qsbr, buckets_free, (void *)old); /* NOLINT: a word that holds an address */
    return 0;
}

/* Room for one more chain. */
static int reserve(struct vs_subtable *s)
{
    uint32_t mask;
    (void)buckets_of(s, &mask);
    if (s->n_chains < (mask + 1) * VS_BUCKET_FULL)
        return 0;
    return rehash(s, (unsigned)__builtin_ctz(mask + 1) + 1);
}

static bool is_sparse(const struct vs_subtable *s)
{
    uint32_t mask;
    (void)buckets_of(s, &mask);
    return mask > 0 && s->n_chains < (mask + 1) * VS_BUCKET_WAYS / SPARSE;
}

/* After a mass removal. Failing changes memory only. */
static void shrink(struct vs_subtable *s)
{
    unsigned log = 0;
    while (s->n_chains * 2 >= (UINT32_C(1) << log) * VS_BUCKET_FULL)
        log++;
    (void)rehash(s, log);
}

/* ---- subtables, control thread ------------------------------------------------------------------------------------- */

static void subtable_free(void *arg)
{
    struct vs_subtable *s = arg;
    buckets_free((void *)atomic_load_explicit(&s->buckets, memory_order_relaxed));
    free(s);
}

static struct vs_subtable *subtable_new(const struct vs_key *mask)
{
    struct vs_subtable *s = aligned_alloc(VS_CACHE_LINE, sizeof *s);
    uintptr_t buckets = buckets_new(0);
    if (s == NULL || buckets == 0) {
        free(s);
        if (buckets != 0)
            buckets_free((void *)buckets);
        return NULL;
    }
    memset(s, 0, sizeof *s);
    atomic_init(&s->buckets, buckets);
    s->max_priority = -1;
    const uint64_t *w = vs_key_cwords(mask);
    for (unsigned i = 0; i < VS_KEY_WORDS; i++)
        if (w[i] != 0) {
            s->index[s->n_words] = (uint8_t)i;
            s->mask[s->n_words++] = w[i];
        }
    return s;
}

static bool subtable_has_mask(const struct vs_subtable *s, const struct vs_key *mask)
{
    uint64_t w[VS_KEY_WORDS] = {0};
    for (unsigned i = 0; i < s->n_words; i++)
        w[s->index[i]] = s->mask[i];
    return memcmp(w, mask, sizeof w) == 0;
}

static uint32_t mask_hash(const struct vs_key *mask)
{
    const uint64_t *w = vs_key_cwords(mask);
    uint64_t h = vs_hash_secret;
    for (unsigned i = 0; i < VS_KEY_WORDS; i++)
        h = vs_mix(h, w[i]);
    return (uint32_t)h;
}

static struct vs_subtable *subtable_of(const struct vs_table *t, const struct vs_key *mask, uint32_t hash)
{
    const struct vs_subtable_vec *vec = atomic_load_explicit(&t->vec, memory_order_relaxed);
    for (unsigned i = 0; i < vec->n; i++)
        if (vec->ref[i].mask_hash == hash && subtable_has_mask(vec->ref[i].subtable, mask))
            return vec->ref[i].subtable;
    return NULL;
}

/* Publish the array of subtables, sorted, without empty ones; `add` is one more or NULL, `hash` that of its mask. */
static int publish_vec(struct vs_table *t, struct vs_subtable *add, uint32_t hash)
{
    struct vs_subtable_vec *old = atomic_load_explicit(&t->vec, memory_order_relaxed);
    struct vs_subtable_vec *fresh = malloc(sizeof *fresh + (old->n + 1) * sizeof fresh->ref[0]);
    if (fresh == NULL)
        return -ENOMEM;
    fresh->n = 0;
    for (unsigned i = 0; i <= old->n; i++) {
        struct vs_subtable *s = i < old->n ? old->ref[i].subtable : add;
        if (s == NULL || (s->n_rules == 0 && s != add))
            continue;
        unsigned at = fresh->n++;
        while (at > 0 && fresh->ref[at - 1].max_priority < s->max_priority) {
            fresh->ref[at] = fresh->ref[at - 1];
            at--;
        }
        fresh->ref[at] = (struct vs_subtable_ref){.subtable = s,
                                                  .max_priority = s->max_priority,
                                                  .mask_hash = i < old->n ? old->ref[i].mask_hash : hash};
    }
    atomic_store_explicit(&t->vec, fresh, memory_order_release); /* pairs with vs_table_lookup */
    vs_qsbr_defer(&vs_qsbr, free, old);
    return 0;
}

/* Call a function for each rule of a subtable; it may free the rule. */
static void for_each_rule(const struct vs_subtable *s, void (*fn)(void *ctx, struct vs_rule *r), void *ctx)
{
    uint32_t mask;
    const struct vs_bucket *buckets = buckets_of(s, &mask);
    for (uint32_t i = 0; i <= mask; i++)
        for (unsigned way = 0; way < VS_BUCKET_WAYS; way++) {
            uint32_t number = buckets[i].tag[way] != 0 ? buckets[i].rule[way] : 0;
            while (number != 0) {
                struct vs_rule *r = vs_rule_at(number);
                number = atomic_load_explicit(&r->next, memory_order_relaxed);
                fn(ctx, r);
            }
        }
}

static void count_priority(void *ctx, struct vs_rule *r)
{
    struct vs_subtable *s = ctx;
    if (r->priority > s->max_priority) {
        s->max_priority = r->priority;
        s->n_at_max = 0;
    }
    s->n_at_max += r->priority == s->max_priority;
}

/* ---- rules and tables, control thread ------------------------------------------------------------------------------ */

/* Behind all of higher priority, before the others: of equals the one that came last is found first. */
static void link_rule(const struct place *chain, struct vs_rule *r)
{
    uint32_t number = chain->bucket->rule[chain->way];
    struct vs_rule *before = NULL;
    while (number != 0 && vs_rule_at(number)->priority > r->priority) {
        before = vs_rule_at(number);
        number = atomic_load_explicit(&before->next, memory_order_relaxed);
    }
    atomic_store_explicit(&r->next, number, memory_order_relaxed);
    if (before == NULL)
        __atomic_store_n(&chain->bucket->rule[chain->way], vs_rule_number(r), __ATOMIC_RELEASE);
    else /* pairs with vs_chain_visible */
        atomic_store_explicit(&before->next, vs_rule_number(r), memory_order_release);
}

int vs_table_insert(struct vs_table *t, struct vs_rule *r, const struct vs_key *mask)
{
    uint32_t hash = mask_hash(mask);
    struct vs_subtable *s = subtable_of(t, mask, hash);
    bool fresh = s == NULL;
    if (fresh && (s = subtable_new(mask)) == NULL)
        return -ENOMEM;
    if (reserve(s) != 0)
        return -ENOMEM; /* an old subtable stays as it is; a fresh one always has room */
    if (r->priority > s->max_priority) {
        int32_t before = s->max_priority;
        s->max_priority = r->priority;
        if (publish_vec(t, fresh ? s : NULL, hash) != 0) {
            s->max_priority = before;
            if (fresh)
                subtable_free(s);
            return -ENOMEM;
        }
        s->n_at_max = 0;
    }
    r->subtable = s;
    struct place chain = find_chain(s, r);
    if (chain.bucket != NULL) {
        link_rule(&chain, r);
    } else {
        uint32_t n;
        struct vs_bucket *buckets = buckets_of(s, &n);
        place(buckets, n, r);
        s->n_chains++;
    }
    s->n_at_max += r->priority == s->max_priority;
    s->n_rules++;
    t->n_rules++;
    t->n_plain += r->instructions->plain;
    return 0;
}

void vs_table_unlink(struct vs_table *t, struct vs_rule *r)
{
    struct vs_subtable *s = r->subtable;
    struct place chain = find_chain(s, r);
    uint32_t next = atomic_load_explicit(&r->next, memory_order_relaxed);
    struct vs_rule *at = vs_bucket_rule(chain.bucket, chain.way);
    if (at != r) {
        while (atomic_load_explicit(&at->next, memory_order_relaxed) != vs_rule_number(r))
            at = vs_rule_at(atomic_load_explicit(&at->next, memory_order_relaxed));
        atomic_store_explicit(&at->next, next, memory_order_release);
    } else if (next != 0) {
        __atomic_store_n(&chain.bucket->rule[chain.way], next, __ATOMIC_RELEASE);
    } else {
        remove_chain(s, &chain, r->hash);
        s->n_chains--;
    }
    s->n_rules--;
    t->n_rules--;
    t->n_plain -= r->instructions->plain;
    if (r->priority == s->max_priority && --s->n_at_max == 0)
        t->untidy = true;
    t->untidy = t->untidy || is_sparse(s);
}

/* Once for many rules: counting a subtable again for each of them would take the square of their number. */
void vs_table_tidy(struct vs_table *t)
{
    if (!t->untidy)
        return;
    t->untidy = false;
    const struct vs_subtable_vec *old = atomic_load_explicit(&t->vec, memory_order_relaxed);
    struct vs_subtable *empty = NULL;
    for (unsigned i = 0; i < old->n; i++) {
        struct vs_subtable *s = old->ref[i].subtable;
        if (s->n_at_max == 0) {
            s->max_priority = -1;
            for_each_rule(s, count_priority, s);
        }
        if (s->n_rules == 0) {
            s->next_empty = empty;
            empty = s;
        } else if (is_sparse(s)) {
            shrink(s);
        }
    }
    while (publish_vec(t, NULL, 0) != 0)
        vs_qsbr_drain(&vs_qsbr); /* frees what waits; this must not fail */
    while (empty != NULL) {
        struct vs_subtable *next = empty->next_empty;
        vs_qsbr_defer(&vs_qsbr, subtable_free, empty);
        empty = next;
    }
}

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
    struct vs_subtable_vec *vec = atomic_load_explicit(&t->vec, memory_order_relaxed);
    struct leaving l = {.gone = gone, .ctx = ctx};
    for (unsigned i = 0; i < vec->n; i++) {
        for_each_rule(vec->ref[i].subtable, let_go, &l);
        subtable_free(vec->ref[i].subtable);
    }
    free(vec);
}

static void kill_rule(void *ctx, struct vs_rule *r)
{
    (void)ctx;
    atomic_store_explicit(&r->dead, 1, memory_order_relaxed);
}

void vs_table_kill(struct vs_table *t)
{
    const struct vs_subtable_vec *vec = atomic_load_explicit(&t->vec, memory_order_relaxed);
    atomic_store_explicit(&t->miss.dead, 1, memory_order_relaxed);
    for (unsigned i = 0; i < vec->n; i++)
        for_each_rule(vec->ref[i].subtable, kill_rule, NULL);
}

void vs_table_used_mask(const struct vs_table *t, struct vs_key *mask)
{
    const struct vs_subtable_vec *vec = atomic_load_explicit(&t->vec, memory_order_relaxed);
    uint64_t *w = vs_key_words(mask);
    for (unsigned i = 0; i < vec->n; i++) {
        const struct vs_subtable *s = vec->ref[i].subtable;
        for (unsigned j = 0; j < s->n_words; j++)
            w[s->index[j]] |= s->mask[j];
    }
}

unsigned vs_table_n_masks(const struct vs_table *t)
{
    return atomic_load_explicit(&t->vec, memory_order_relaxed)->n;
}
