/* subtable.h: rules of a table hashed by one mask.
 *
 * How it works: a bucket is one cache line of 12 chains: a byte of the hash (compared all at once) and the number of the first rule of
 * each; `over` counts those that found it full and went on to the next bucket, so a search ends where nobody went on. Rules with the same
 * mask and the same masked value are chained, highest priority first. In an exact subtable all rules have its own mask, so at most one
 * chain matches a key. In a merged one they have finer masks: all chains whose values agree under the subtable's mask lie in the same
 * buckets and are compared by their own; VS_MERGED_MOST bounds how many they are.
 *
 * Thread safety: searching from any core, without locks: arrays are immutable or grow by publication (release stores here,
 * acquire loads there), and what a store changes under a reader is about rules that its version does not show. All else: control thread.
 * Replaced arrays are freed through qsbr.h.
 */
#ifndef VS_SUBTABLE_H
#define VS_SUBTABLE_H

#include "shape.h"

#ifndef VS_CDEF
#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum {
    VS_BUCKET_WAYS = 12,
    VS_BUCKET_FULL = 9, /* chains for each bucket, on average, before there are twice as many buckets */
    VS_MERGED_FULL = 4, /* the same where chains come in heaps */
    VS_MERGED_MOST = 8, /* chains that agree under the mask of a merged subtable */
};

struct vs_bucket {
    uint8_t tag[VS_BUCKET_WAYS]; /* 0: free */
    uint32_t over;
    uint32_t rule[VS_BUCKET_WAYS];
} VS_CACHE_ALIGNED;
VS_ASSERT_SIZE(struct vs_bucket, 64);

struct vs_subtable {
    _Atomic uintptr_t buckets; /* their address plus the logarithm of their number: both change at once */
    bool merged;               /* immutable, as the mask */
    struct vs_mask mask;
    /* control thread */
    struct vs_shape *shape; /* of all its rules; NULL: merged */
    struct vs_subtable *next;
    uint32_t n_chains, n_rules;
    uint32_t n_at_max;
    int32_t max_priority;
} VS_CACHE_ALIGNED;

/* The chain of rules with the same mask and value. */
struct vs_place {
    struct vs_bucket *bucket; /* NULL: there is none */
    unsigned way;
    uint32_t passed; /* buckets before it, from the first on */
};

struct vs_subtable *vs_subtable_new(const struct vs_mask *mask, struct vs_shape *shape); /* or NULL */
void vs_subtable_free(void *subtable);
struct vs_place vs_subtable_chain(const struct vs_subtable *s, const struct vs_rule *r, uint32_t hash);
/* Can it take one more chain of that hash? */
bool vs_subtable_has_room(const struct vs_subtable *s, uint32_t hash);
/* Put the first rule of a chain there, with those behind it. 0 or -ENOMEM. */
int vs_subtable_place(struct vs_subtable *s, const struct vs_rule *head, uint32_t hash);
/* Put a rule into its chain. */
void vs_subtable_link(const struct vs_place *chain, struct vs_rule *r);
void vs_subtable_unlink(struct vs_subtable *s, struct vs_rule *r);
/* After a mass removal. */
bool vs_subtable_is_sparse(const struct vs_subtable *s);
void vs_subtable_shrink(struct vs_subtable *s);
/* Call a function for each rule; it may free the rule. */
void vs_subtable_each(const struct vs_subtable *s, void (*fn)(void *ctx, struct vs_rule *r), void *ctx);
/* The best of a merged subtable's rules that match, or NULL. */
struct vs_rule *vs_subtable_best(const struct vs_subtable *s, const uint64_t *key, uint64_t version);

/* ---- the steps of a lookup, for those who take them for many packets at once --------------------------------------- */

static inline uint32_t vs_subtable_hash(const struct vs_subtable *s, const uint64_t *key)
{
    return (uint32_t)vs_mask_hash(&s->mask, key);
}

static inline struct vs_bucket *vs_buckets_of(uintptr_t word, uint32_t *mask)
{
    *mask = (UINT32_C(1) << (word & (VS_CACHE_LINE - 1))) - 1;
    return (struct vs_bucket *)(word & ~(uintptr_t)(VS_CACHE_LINE - 1));
}

static inline uint8_t vs_bucket_tag(uint32_t hash)
{
    uint8_t tag = (uint8_t)(hash >> 24);
    return tag != 0 ? tag : 1;
}

/* Bit i is set when way i has the tag. Acquire: the rule's number is seen. Pairs with seat. */
static inline unsigned vs_bucket_hits(const struct vs_bucket *b, uint8_t tag)
{
    const uint64_t *w = (const uint64_t *)(const void *)b->tag;
    uint64_t low = __atomic_load_n(&w[0], __ATOMIC_ACQUIRE), high = __atomic_load_n(&w[1], __ATOMIC_ACQUIRE);
#ifdef __SSE2__
    __m128i tags = _mm_set_epi64x((long long)high, (long long)low);
    return (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(tags, _mm_set1_epi8((char)tag))) & 0xfff;
#else
    unsigned hits = 0;
    uint64_t words[2] = {low, high};
    const uint8_t *tags = (const uint8_t *)words;
    for (unsigned i = 0; i < VS_BUCKET_WAYS; i++)
        hits |= (unsigned)(tags[i] == tag) << i;
    return hits;
#endif
}

static inline struct vs_rule *vs_bucket_rule(const struct vs_bucket *b, unsigned way)
{
    /* Acquire: the way may be another rule's by now. Pairs with seat and vs_subtable_link. */
    return vs_rule_at(__atomic_load_n(&b->rule[way], __ATOMIC_ACQUIRE));
}

/* The first of its chain that the version shows, or NULL. */
static inline struct vs_rule *vs_chain_visible(struct vs_rule *r, uint64_t version)
{
    while (true) {
        if (atomic_load_explicit(&r->added, memory_order_relaxed) <= version &&
            version < atomic_load_explicit(&r->removed, memory_order_relaxed))
            return r;
        uint32_t next =
            atomic_load_explicit(&r->next, memory_order_acquire); /* pairs with vs_subtable_link */
        if (next == 0)
            return NULL;
        r = vs_rule_at(next);
    }
}

/* The better of `best` (or NULL) and what the chain from `head` on has for the key. */
static inline struct vs_rule *vs_rule_better(struct vs_rule *best, struct vs_rule *head, const uint64_t *key,
                                             uint64_t version)
{
    if ((best != NULL && head->priority <= best->priority) || !vs_mask_same(vs_rule_mask(head), key, head))
        return best;
    struct vs_rule *r = vs_chain_visible(head, version);
    return r != NULL && (best == NULL || r->priority > best->priority) ? r : best;
}

/* The rule of an exact subtable that matches, or NULL. */
static inline struct vs_rule *vs_subtable_find(const struct vs_subtable *s, const uint64_t *key,
                                               uint64_t version)
{
    uint32_t mask;
    const struct vs_bucket *buckets =
        vs_buckets_of(atomic_load_explicit(&s->buckets, memory_order_acquire), &mask); /* pairs with rehash */
    if (mask == 0) {
        unsigned used = ~vs_bucket_hits(buckets, 0) & 0xfff;
        if ((used & (used - 1)) ==
            0) { /* one chain at most, as in many a table of a long pipeline: no hash */
            struct vs_rule *only = used != 0 ? vs_bucket_rule(buckets, (unsigned)__builtin_ctz(used)) : NULL;
            return only != NULL && vs_mask_same(&s->mask, key, only) ? vs_chain_visible(only, version) : NULL;
        }
    }
    uint32_t hash = vs_subtable_hash(s, key);
    uint8_t tag = vs_bucket_tag(hash);
    for (uint32_t n = 0; n <= mask;
         n++) { /* `over` may have stayed everywhere: they came when the buckets were full */
        const struct vs_bucket *b = &buckets[(hash + n) & mask];
        for (unsigned hits = vs_bucket_hits(b, tag); hits != 0; hits &= hits - 1) {
            struct vs_rule *r = vs_bucket_rule(b, (unsigned)__builtin_ctz(hits));
            if (vs_mask_same(&s->mask, key, r))
                return vs_chain_visible(r, version);
        }
        if (__atomic_load_n(&b->over, __ATOMIC_RELAXED) == 0)
            break;
    }
    return NULL;
}
#endif

#endif
