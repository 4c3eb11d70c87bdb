/* subtable.c: buckets and chains; see subtable.h. */
#include "subtable.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "qsbr.h"

enum {
    SPARSE = 16, /* fewer chains than a sixteenth of the ways: the table may shrink */
    AHEAD = 4,   /* buckets whose rules are prefetched in rehash */
    HUGE_PAGE = 2 << 20,
};

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
static void seat(struct vs_bucket *buckets, uint32_t mask, const struct vs_rule *head, uint32_t hash)
{
    for (uint32_t at = hash & mask;; at = (at + 1) & mask) {
        struct vs_bucket *b = &buckets[at];
        unsigned free_ways = vs_bucket_hits(b, 0);
        if (free_ways == 0) {
            __atomic_store_n(&b->over, b->over + 1, __ATOMIC_RELAXED);
            continue;
        }
        unsigned way = (unsigned)__builtin_ctz(free_ways);
        __atomic_store_n(&b->rule[way], vs_rule_number(head),
                         __ATOMIC_RELEASE); /* pairs with vs_bucket_rule */
        /* The number is seen before the tag is: pairs with vs_bucket_hits. */
        __atomic_store_n(&b->tag[way], vs_bucket_tag(hash), __ATOMIC_RELEASE);
        return;
    }
}

struct vs_place vs_subtable_chain(const struct vs_subtable *s, const struct vs_rule *r, uint32_t hash)
{
    uint32_t mask;
    struct vs_bucket *buckets = buckets_of(s, &mask);
    for (uint32_t n = 0; n <= mask; n++) {
        struct vs_bucket *b = &buckets[(hash + n) & mask];
        for (unsigned hits = vs_bucket_hits(b, vs_bucket_tag(hash)); hits != 0; hits &= hits - 1) {
            unsigned way = (unsigned)__builtin_ctz(hits);
            const struct vs_rule *head = vs_bucket_rule(b, way);
            if (head->shape == r->shape &&
                memcmp(vs_rule_words(head), vs_rule_words(r), r->n_words * sizeof(uint64_t)) == 0)
                return (struct vs_place){.bucket = b, .way = way, .passed = n};
        }
        if (b->over == 0)
            break;
    }
    return (struct vs_place){.bucket = NULL};
}

bool vs_subtable_has_room(const struct vs_subtable *s, uint32_t hash)
{
    uint32_t mask;
    const struct vs_bucket *buckets = buckets_of(s, &mask);
    unsigned same =
        0; /* tags that agree: others of the bucket's do by chance, which costs nothing but a better seat */
    for (uint32_t n = 0; n <= mask && same < VS_MERGED_MOST; n++) {
        const struct vs_bucket *b = &buckets[(hash + n) & mask];
        same += (unsigned)__builtin_popcount(vs_bucket_hits(b, vs_bucket_tag(hash)));
        if (b->over == 0)
            break;
    }
    return same < VS_MERGED_MOST;
}

static void remove_chain(struct vs_subtable *s, const struct vs_place *at, uint32_t hash)
{
    uint32_t mask;
    struct vs_bucket *buckets = buckets_of(s, &mask);
    __atomic_store_n(&at->bucket->tag[at->way], 0, __ATOMIC_RELEASE);
    for (uint32_t n = 0; n < at->passed; n++) {
        struct vs_bucket *b = &buckets[(hash + n) & mask];
        __atomic_store_n(&b->over, b->over - 1, __ATOMIC_RELAXED);
    }
    s->n_chains--;
}

static void prefetch_rules(const struct vs_bucket *b)
{
    for (unsigned i = 0; i < VS_BUCKET_WAYS; i++)
        if (b->tag[i] != 0)
            VS_PREFETCH(vs_rule_at(b->rule[i]));
}

/* 0 or -ENOMEM. The rules of the next buckets are on their way while one bucket is copied. */
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
            if (from[i].tag[way] != 0) {
                const struct vs_rule *head = vs_bucket_rule(&from[i], way);
                seat(to, mask, head, vs_mask_hash_rule(&s->mask, head));
            }
    }
    atomic_store_explicit(&s->buckets, fresh, memory_order_release); /* pairs with vs_subtable_find */
    vs_qsbr_defer(&vs_qsbr, buckets_free, (void *)old); /* NOLINT: a word that holds an address */
    return 0;
}

static uint32_t full(const struct vs_subtable *s)
{
    return s->merged ? VS_MERGED_FULL : VS_BUCKET_FULL;
}

int vs_subtable_place(struct vs_subtable *s, const struct vs_rule *head, uint32_t hash)
{
    uint32_t mask;
    struct vs_bucket *buckets = buckets_of(s, &mask);
    if (s->n_chains >= (mask + 1) * full(s)) {
        if (rehash(s, (unsigned)__builtin_ctz(mask + 1) + 1) != 0)
            return -ENOMEM;
        buckets = buckets_of(s, &mask);
    }
    seat(buckets, mask, head, hash);
    s->n_chains++;
    return 0;
}

bool vs_subtable_is_sparse(const struct vs_subtable *s)
{
    uint32_t mask;
    (void)buckets_of(s, &mask);
    return mask > 0 && s->n_chains < (mask + 1) * VS_BUCKET_WAYS / SPARSE;
}

/* Failing changes memory only. */
void vs_subtable_shrink(struct vs_subtable *s)
{
    unsigned log = 0;
    while (s->n_chains * 2 >= (UINT32_C(1) << log) * full(s))
        log++;
    (void)rehash(s, log);
}

/* ---- subtables, control thread ------------------------------------------------------------------------------------- */

void vs_subtable_free(void *subtable)
{
    struct vs_subtable *s = subtable;
    buckets_free((void *)atomic_load_explicit(&s->buckets, memory_order_relaxed));
    free(s);
}

struct vs_subtable *vs_subtable_new(const struct vs_mask *mask, struct vs_shape *shape)
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
    s->mask = *mask;
    s->shape = shape;
    s->merged = shape == NULL;
    s->max_priority = -1;
    return s;
}

void vs_subtable_each(const struct vs_subtable *s, void (*fn)(void *ctx, struct vs_rule *r), void *ctx)
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

/* Behind all of higher priority, before the others: of equals the one that came last is found first. */
void vs_subtable_link(const struct vs_place *chain, struct vs_rule *r)
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

void vs_subtable_unlink(struct vs_subtable *s, struct vs_rule *r)
{
    uint32_t hash = vs_mask_hash_rule(&s->mask, r);
    struct vs_place chain = vs_subtable_chain(s, r, hash);
    uint32_t next = atomic_load_explicit(&r->next, memory_order_relaxed);
    struct vs_rule *at = vs_bucket_rule(chain.bucket, chain.way);
    if (at != r) {
        while (atomic_load_explicit(&at->next, memory_order_relaxed) != vs_rule_number(r))
            at = vs_rule_at(atomic_load_explicit(&at->next, memory_order_relaxed));
        atomic_store_explicit(&at->next, next, memory_order_release);
    } else if (next != 0) {
        __atomic_store_n(&chain.bucket->rule[chain.way], next, __ATOMIC_RELEASE);
    } else {
        remove_chain(s, &chain, hash);
    }
}

/* ---- lookup -------------------------------------------------------------------------------------------------------- */

struct vs_rule *vs_subtable_best(const struct vs_subtable *s, const uint64_t *key, uint64_t version)
{
    uint32_t mask, hash = vs_subtable_hash(s, key);
    const struct vs_bucket *buckets =
        vs_buckets_of(atomic_load_explicit(&s->buckets, memory_order_acquire), &mask); /* pairs with rehash */
    struct vs_rule *best = NULL;
    for (uint32_t n = 0; n <= mask; n++) {
        const struct vs_bucket *b = &buckets[(hash + n) & mask];
        for (unsigned hits = vs_bucket_hits(b, vs_bucket_tag(hash)); hits != 0; hits &= hits - 1)
            best = vs_rule_better(best, vs_bucket_rule(b, (unsigned)__builtin_ctz(hits)), key, version);
        if (__atomic_load_n(&b->over, __ATOMIC_RELAXED) == 0)
            break;
    }
    return best;
}
