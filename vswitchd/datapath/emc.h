/* emc.h: the exact-match cache of one core: masked key -> program.
 *
 * How it works: keys are already ANDed with the bridge's used mask, so an entry stands for all flows that no rule can tell
 * apart. Set-associative: a bucket is one cache line of 16 sixteen-bit signatures; entry i of bucket b lies at b * 16 + i
 * in an array of cache lines {block 0 of the key, program, version}. Blocks 1 and 2 of the key, where the used mask has
 * them, lie in a second array that IPv4 traffic never touches. An entry of another version is a miss; the walk's result then
 * overwrites it. A full bucket evicts an entry of an older version, else one picked by the hash.
 *
 * Callers pipeline: vs_emc_prefetch for the whole batch, then vs_emc_find for the whole batch (which prefetches the entry),
 * then vs_emc_get.
 *
 * Thread safety: one core's own. Statistics are read by others with relaxed loads.
 */
#ifndef VS_EMC_H
#define VS_EMC_H

#include "flow_key.h"

#ifndef VS_CDEF
#ifdef __SSE2__
#include <emmintrin.h>
#endif

struct vs_program;

enum { VS_EMC_WAYS = 16 };

struct vs_emc_bucket {
    uint16_t sig[VS_EMC_WAYS]; /* 0: free */
    uint32_t next_victim;
    uint8_t pad[28];
} VS_CACHE_ALIGNED;
VS_ASSERT_SIZE(struct vs_emc_bucket, 64);

struct vs_emc_entry {
    uint64_t key[VS_KEY_WORDS0];
    struct vs_program *program;
    uint32_t version; /* low bits of the view's version: when they wrap, all entries go (vs_dp_next_era) */
    uint32_t hash;
} VS_CACHE_ALIGNED;
VS_ASSERT_SIZE(struct vs_emc_entry, 64);

struct vs_emc_ext {
    uint64_t key[VS_KEY_WORDS - VS_KEY_WORDS0];
};

struct vs_emc {
    struct vs_emc_bucket *buckets;
    struct vs_emc_entry *entries;
    struct vs_emc_ext *ext;
    uint32_t mask; /* number of buckets - 1; entries == 0: cache off */
    uint32_t n_entries;
    uint64_t used, inserted, evicted; /* owner writes */
};

/* entries: rounded up to a power of two, 0 turns the cache off. 0 or -ENOMEM. */
int vs_emc_init(struct vs_emc *e, uint32_t entries);
void vs_emc_destroy(struct vs_emc *e);
/* Forget all entries. The core's thread. */
void vs_emc_clear(struct vs_emc *e);
/* Insert or overwrite. `ext`: the mask has words beyond block 0. */
void vs_emc_insert(struct vs_emc *e, const struct vs_key *key, uint32_t hash, uint32_t version, bool ext,
                   struct vs_program *program);

static inline void vs_emc_prefetch(const struct vs_emc *e, uint32_t hash)
{
    VS_PREFETCH(&e->buckets[hash & e->mask]);
}

static inline uint16_t vs_emc_sig(uint32_t hash)
{
    return (uint16_t)((hash >> 16) | 1);
}

/* Bit i is set when way i has the signature. */
static inline unsigned vs_emc_hits(const struct vs_emc_bucket *b, uint16_t sig)
{
#ifdef __SSE2__ /* part of the x86-64 baseline; 40 cycles a packet less than the loop (tests/bench/README.md) */
    const __m128i want = _mm_set1_epi16((short)sig), *ways = (const __m128i *)(const void *)b->sig;
    __m128i low = _mm_cmpeq_epi16(_mm_load_si128(ways), want),
            high = _mm_cmpeq_epi16(_mm_load_si128(ways + 1), want);
    return (unsigned)_mm_movemask_epi8(_mm_packs_epi16(low, high));
#else
    unsigned hits = 0;
    for (unsigned i = 0; i < VS_EMC_WAYS; i++)
        hits |= (unsigned)(b->sig[i] == sig) << i;
    return hits;
#endif
}

/* First entry of the bucket with this signature, as an index, or -1; prefetches it. */
static inline int64_t vs_emc_find(const struct vs_emc *e, uint32_t hash)
{
    unsigned hits = vs_emc_hits(&e->buckets[hash & e->mask], vs_emc_sig(hash));
    if (hits == 0)
        return -1;
    int64_t at = (int64_t)(hash & e->mask) * VS_EMC_WAYS + __builtin_ctz(hits);
    VS_PREFETCH(&e->entries[at]);
    return at;
}

static inline bool vs_emc_same(const struct vs_emc *e, int64_t at, const struct vs_key *key, bool ext)
{
    const uint64_t *w = vs_key_cwords(key), *k = e->entries[at].key;
    uint64_t diff =
        (w[0] ^ k[0]) | (w[1] ^ k[1]) | (w[2] ^ k[2]) | (w[3] ^ k[3]) | (w[4] ^ k[4]) | (w[5] ^ k[5]);
    if (diff != 0)
        return false;
    return !ext || memcmp(w + VS_KEY_WORDS0, e->ext[at].key, sizeof e->ext[at].key) == 0;
}

/* The program for the key, or NULL. `at` comes from vs_emc_find. */
static inline struct vs_program *vs_emc_get(const struct vs_emc *e, int64_t at, const struct vs_key *key,
                                            uint32_t hash, uint32_t version, bool ext)
{
    if (at < 0)
        return NULL;
    const struct vs_emc_bucket *b = &e->buckets[hash & e->mask];
    int64_t end = (int64_t)(hash & e->mask) * VS_EMC_WAYS + VS_EMC_WAYS;
    for (; at < end; at++) { /* nearly always the first one: signatures of one bucket seldom agree */
        if (b->sig[at % VS_EMC_WAYS] != vs_emc_sig(hash))
            continue;
        const struct vs_emc_entry *entry = &e->entries[at];
        if (entry->hash == hash && vs_emc_same(e, at, key, ext))
            return entry->version == version ? entry->program : NULL;
    }
    return NULL;
}
#endif

#endif
