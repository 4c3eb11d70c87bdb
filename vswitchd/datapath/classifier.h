/* classifier.h: the tuple-space classifier of one OpenFlow table.
 *
 * How it works: rules with the same mask share a subtable: a hash table over the masked words of the key. Subtables are
 * sorted by their highest priority, so a search stops when no later one can win. A bucket is one cache line of 12 rules: a byte
 * of the hash (compared all at once) and the number of each; `over` counts those that found it full and went on to the next
 * bucket, so a search ends where nobody went on. Rules with the same masked value are chained, highest priority first. A rule exists
 * from version `added` up to, not including, `removed`; a lookup names the version it wants to see, so all changes of one commit
 * appear at once. A rule leaves the chains only after every core has moved on to a version without it, and is freed
 * when no program refers to it (program.h).
 *
 * Thread safety: vs_table_lookup from any core, without locks: arrays are immutable or grow by publication (release
 * stores here, acquire loads there), and what a store changes under a reader is about rules that its version does not show. All
 * else: control thread. Replaced arrays are freed through qsbr.h.
 */
#ifndef VS_CLASSIFIER_H
#define VS_CLASSIFIER_H

#include "rule.h"

#ifndef VS_CDEF
#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum {
    VS_BUCKET_WAYS = 12,
    VS_BUCKET_FULL = 9, /* rules for each bucket, on average, before there are twice as many buckets */
};

struct vs_bucket {
    uint8_t tag[VS_BUCKET_WAYS]; /* 0: free */
    uint32_t over;
    uint32_t rule[VS_BUCKET_WAYS];
} VS_CACHE_ALIGNED;
VS_ASSERT_SIZE(struct vs_bucket, 64);

struct vs_subtable {
    _Atomic uintptr_t buckets; /* their address plus the logarithm of their number: both change at once */
    uint8_t n_words;
    uint8_t index[VS_KEY_WORDS];
    uint64_t mask[VS_KEY_WORDS]; /* as many as n_words */
    /* control thread */
    uint32_t n_chains, n_rules;
    uint32_t n_at_max;
    int32_t max_priority;
    struct vs_subtable *next_empty; /* in vs_table_tidy */
} VS_CACHE_ALIGNED;

struct vs_subtable_ref {
    struct vs_subtable *subtable;
    int32_t max_priority;
    uint32_t mask_hash;
};

struct vs_subtable_vec {
    unsigned n;
    struct vs_subtable_ref ref[]; /* highest max_priority first */
};

struct vs_table {
    struct vs_subtable_vec *_Atomic vec;
    struct vs_rule miss; /* stands in paths for "no rule matched" */
    uint32_t n_rules;
    uint32_t n_plain;          /* rules whose instructions are plain (rule.h) */
    bool untidy;               /* vs_table_unlink left something for vs_table_tidy */
    uint64_t lookups, matches; /* taken from programs; control thread */
    _Atomic uint64_t direct_lookups, direct_matches;
};

int vs_table_init(struct vs_table *t, uint8_t id); /* 0 or -ENOMEM */
/* No core reads it any more. `gone` is called for each rule, then the rule is freed. */
void vs_table_destroy(struct vs_table *t, void (*gone)(void *ctx, struct vs_rule *r), void *ctx);

/* Put into the chains; invisible until `added` is set. 0 or -ENOMEM. */
int vs_table_insert(struct vs_table *t, struct vs_rule *r, const struct vs_key *mask);
/* Take out of the chains (after the grace period of its removal); vs_table_tidy follows, once for all that were taken. */
void vs_table_unlink(struct vs_table *t, struct vs_rule *r);
void vs_table_tidy(struct vs_table *t);
/* The winning rule at that version, or NULL. */
struct vs_rule *vs_table_lookup(const struct vs_table *t, const struct vs_key *key, uint64_t version);
/* Mark all rules and the miss dead, for a bridge that goes away. */
void vs_table_kill(struct vs_table *t);
/* OR the masks of all subtables into `mask`. */
void vs_table_used_mask(const struct vs_table *t, struct vs_key *mask);
unsigned vs_table_n_masks(const struct vs_table *t);

/* ---- the steps of a lookup, for those who take them for many packets at once --------------------------------------- */

static inline uint32_t vs_subtable_hash(const struct vs_subtable *s, const uint64_t *key)
{
    uint64_t h = vs_hash_secret;
    for (unsigned i = 0; i < s->n_words; i++)
        h = vs_mix(h, key[s->index[i]] & s->mask[i]);
    return (uint32_t)h;
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

/* Bit i is set when way i has the tag. Acquire: the rule's number is seen. Pairs with place. */
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
    /* Acquire: the way may be another rule's by now. Pairs with place and link_rule. */
    return vs_rule_at(__atomic_load_n(&b->rule[way], __ATOMIC_ACQUIRE));
}

static inline bool vs_rule_same(const struct vs_subtable *s, const uint64_t *key, const struct vs_rule *r)
{
    const uint64_t *words = s->n_words <= VS_RULE_WORDS ? r->words : r->far;
    uint64_t diff = 0;
    for (unsigned i = 0; i < s->n_words; i++)
        diff |= (key[s->index[i]] & s->mask[i]) ^ words[i];
    return diff == 0;
}

/* The first of its chain that the version shows, or NULL. */
static inline struct vs_rule *vs_chain_visible(struct vs_rule *r, uint64_t version)
{
    while (true) {
        if (atomic_load_explicit(&r->added, memory_order_relaxed) <= version &&
            version < atomic_load_explicit(&r->removed, memory_order_relaxed))
            return r;
        uint32_t next = atomic_load_explicit(&r->next, memory_order_acquire); /* pairs with link_rule */
        if (next == 0)
            return NULL;
        r = vs_rule_at(next);
    }
}

/* As vs_table_lookup, in one subtable. */
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
            return only != NULL && vs_rule_same(s, key, only) ? vs_chain_visible(only, version) : NULL;
        }
    }
    uint32_t hash = vs_subtable_hash(s, key);
    uint8_t tag = vs_bucket_tag(hash);
    for (uint32_t n = 0; n <= mask;
         n++) { /* `over` may have stayed everywhere: they came when the buckets were full */
        const struct vs_bucket *b = &buckets[(hash + n) & mask];
        for (unsigned hits = vs_bucket_hits(b, tag); hits != 0; hits &= hits - 1) {
            struct vs_rule *r = vs_bucket_rule(b, (unsigned)__builtin_ctz(hits));
            if (vs_rule_same(s, key, r))
                return vs_chain_visible(r, version);
        }
        if (__atomic_load_n(&b->over, __ATOMIC_RELAXED) == 0)
            break;
    }
    return NULL;
}
#endif

#endif
