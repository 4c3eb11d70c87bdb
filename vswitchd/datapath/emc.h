/* emc.h: the exact-match cache of one core: masked key -> program.
 *
 * How it works: keys are already ANDed with the bridge's used mask, so an entry stands for all flows that no rule can tell
 * apart. Set-associative: a bucket is half a cache line of 16 sixteen-bit signatures; entry i of bucket b lies at b * 16 + i
 * in an array of cache lines {block 0 of the key, program, version}. Blocks 1 and 2 of a key, where they are not all zero, lie in a
 * second array that IPv4 traffic never touches. Whether an entry of another version still holds is not told here (changes.h); what a
 * walk finds overwrites it.
 *
 * Size: the arrays are address space for the configured number of entries, of which a part is in use: it doubles when packets
 * evict entries that are still good (what lies in the wrong bucket then is found no more and overwritten in time). So few flows stay in
 * few pages. Once all is in use a good entry is evicted by one of 8 insertions that want it, so that many flows which come once each
 * cost no cache line each, and those that come often still get in.
 *
 * Hash: the sum of products of (word + secret) pairs, as NH of UMAC (RFC 4418, 5.2.2; almost universal), folded. The secrets
 * are random: nobody outside can choose keys that share a bucket.
 *
 * Callers pipeline: vs_emc_prefetch for the whole batch, then vs_emc_find for the whole batch (which prefetches the entry),
 * then vs_emc_same and, where that is not so, vs_emc_search.
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

enum {
    VS_EMC_WAYS = 16,
    VS_EMC_PATIENCE = 8, /* a full cache: so many insertions want a good entry's place until one gets it */
    VS_EMC_SMALLEST = 1 << 13, /* entries in use at first: 512 KB */
};

struct vs_emc_bucket {
    uint16_t sig[VS_EMC_WAYS]; /* 0: free */
} __attribute__((aligned(32)));
VS_ASSERT_SIZE(struct vs_emc_bucket, 32);

struct vs_emc_entry {
    uint64_t key[VS_KEY_WORDS0];
    struct vs_program *program;
    uint32_t version; /* low bits of the view's version: half way round all entries go (vs_dp_next_era) */
    uint32_t ext;     /* the key goes on in the second array; else its blocks 1 and 2 are zero */
} VS_CACHE_ALIGNED;
VS_ASSERT_SIZE(struct vs_emc_entry, 64);

struct vs_emc_ext {
    uint64_t key[VS_KEY_WORDS - VS_KEY_WORDS0];
};

struct vs_emc {
    struct vs_emc_bucket *buckets;
    struct vs_emc_entry *entries;
    struct vs_emc_ext *ext;
    uint32_t mask;      /* number of buckets in use - 1 */
    uint32_t n_entries; /* that there is address space for; 0: cache off */
    uint64_t secret[VS_KEY_WORDS];
    uint64_t dice; /* picks victims */
    uint32_t pressure,
        patience; /* good entries evicted since the cache grew; insertions turned away since one was not */
    uint64_t used, inserted, evicted; /* owner writes */
};

/* entries: rounded up to a power of two, 0 turns the cache off. 0 or -ENOMEM. */
int vs_emc_init(struct vs_emc *e, uint32_t entries);
void vs_emc_destroy(struct vs_emc *e);
/* Forget all entries. The core's thread. */
void vs_emc_clear(struct vs_emc *e);
/* What an entry is made of, besides its key. */
struct vs_emc_value {
    struct vs_program *program;
    uint32_t version;
    uint32_t from; /* entries of older versions are worth nothing */
};

/* Insert or overwrite, if there is room (see above). `ext`: blocks 1 and 2 of the key are not all zero. */
void vs_emc_insert(struct vs_emc *e, const struct vs_key *key, uint32_t hash, bool ext,
                   const struct vs_emc_value *value);

/* The entry of the key, however many share its signature, of whatever version; NULL: there is none. */
struct vs_emc_entry *vs_emc_search(const struct vs_emc *e, const struct vs_key *key, uint32_t hash, bool ext);

__extension__ typedef unsigned __int128 vs_uint128;

VS_ALWAYS_INLINE vs_uint128 vs_emc_pair(const uint64_t *secret, uint64_t a, uint64_t b)
{
    return (vs_uint128)(a + secret[0]) * (b + secret[1]);
}

VS_ALWAYS_INLINE uint32_t vs_emc_fold(vs_uint128 sum)
{
    return (uint32_t)((((uint64_t)(sum >> 64) ^ (uint64_t)sum) * 0x9e3779b97f4a7c15ULL) >> 32);
}

/* Of block 0. */
VS_ALWAYS_INLINE vs_uint128 vs_emc_sum(const struct vs_emc *e, uint64_t w0, uint64_t w1, uint64_t w2,
                                       uint64_t w3, uint64_t w4, uint64_t w5)
{
    return vs_emc_pair(e->secret, w0, w1) + vs_emc_pair(e->secret + 2, w2, w3) +
           vs_emc_pair(e->secret + 4, w4, w5);
}

/* Of a whole masked key. */
static inline uint32_t vs_emc_hash(const struct vs_emc *e, const struct vs_key *key, bool ext)
{
    const uint64_t *w = vs_key_cwords(key);
    vs_uint128 sum = vs_emc_sum(e, w[0], w[1], w[2], w[3], w[4], w[5]);
    for (unsigned i = VS_KEY_WORDS0; ext && i < VS_KEY_WORDS; i += 2)
        sum += vs_emc_pair(e->secret + i, w[i], w[i + 1]);
    return vs_emc_fold(sum);
}

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

/* First entry of the bucket with this signature, or NULL; prefetches it. */
static inline struct vs_emc_entry *vs_emc_find(const struct vs_emc *e, uint32_t hash)
{
    uint32_t bucket = hash & e->mask;
    unsigned hits = vs_emc_hits(&e->buckets[bucket], vs_emc_sig(hash));
    if (VS_UNLIKELY(hits == 0))
        return NULL;
    struct vs_emc_entry *at = &e->entries[bucket * VS_EMC_WAYS + (unsigned)__builtin_ctz(hits)];
    VS_PREFETCH(at);
    return at;
}

static inline bool vs_emc_same(const struct vs_emc *e, const struct vs_emc_entry *at,
                               const struct vs_key *key, bool ext)
{
    const uint64_t *w = vs_key_cwords(key), *k = at->key;
#ifdef __SSE2__
    const __m128i *a = (const __m128i *)(const void *)w, *b = (const __m128i *)(const void *)k;
    __m128i same =
        _mm_and_si128(_mm_cmpeq_epi8(_mm_loadu_si128(a), _mm_load_si128(b)),
                      _mm_and_si128(_mm_cmpeq_epi8(_mm_loadu_si128(a + 1), _mm_load_si128(b + 1)),
                                    _mm_cmpeq_epi8(_mm_loadu_si128(a + 2), _mm_load_si128(b + 2))));
    if (_mm_movemask_epi8(same) != 0xffff)
        return false;
#else
    uint64_t diff =
        (w[0] ^ k[0]) | (w[1] ^ k[1]) | (w[2] ^ k[2]) | (w[3] ^ k[3]) | (w[4] ^ k[4]) | (w[5] ^ k[5]);
    if (diff != 0)
        return false;
#endif
    if (at->ext != ext)
        return false;
    return !ext || memcmp(w + VS_KEY_WORDS0, e->ext[at - e->entries].key, sizeof e->ext->key) == 0;
}
#endif

#endif
