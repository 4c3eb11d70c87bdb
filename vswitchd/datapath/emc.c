/* emc.c: memory and replacement of the exact-match cache; see emc.h. */
#include "emc.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/random.h>

enum { HUGE_PAGE = 2 << 20 };

/* Zero pages that cost nothing until they are touched; huge where the kernel has some, so they begin at a boundary of such. */
static void *map_zero(size_t size)
{
    size_t extra = size < HUGE_PAGE ? 0 : HUGE_PAGE;
    uint8_t *p =
        mmap(NULL, size + extra, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    if (extra == 0)
        return p;
    size_t before = -(uintptr_t)p % HUGE_PAGE;
    if (before != 0)
        munmap(p, before);
    if (before != extra)
        munmap(p + before + size, extra - before);
    (void)madvise(p + before, size, MADV_HUGEPAGE); /* a hint: failing changes speed only */
    return p + before;
}

static uint32_t buckets_at_first(const struct vs_emc *e)
{
    return VS_MIN(e->n_entries, (uint32_t)VS_EMC_SMALLEST) / VS_EMC_WAYS;
}

int vs_emc_init(struct vs_emc *e, uint32_t entries)
{
    memset(e, 0, sizeof *e);
    if (entries == 0)
        return 0;
    uint32_t n = VS_EMC_WAYS;
    while (n < entries && n < (1u << 28))
        n *= 2;
    uint32_t buckets = n / VS_EMC_WAYS;
    e->buckets = map_zero(buckets * sizeof *e->buckets);
    e->entries = map_zero(n * sizeof *e->entries);
    e->ext = map_zero(n * sizeof *e->ext);
    e->n_entries = n;
    e->mask = buckets_at_first(e) - 1;
    bool random = getrandom(e->secret, sizeof e->secret, 0) == (ssize_t)sizeof e->secret;
    e->dice = e->secret[0] | 1;
    if (random && e->buckets != NULL && e->entries != NULL && e->ext != NULL)
        return 0;
    vs_emc_destroy(e);
    return -ENOMEM;
}

void vs_emc_destroy(struct vs_emc *e)
{
    if (e->buckets != NULL)
        munmap(e->buckets, e->n_entries / VS_EMC_WAYS * sizeof *e->buckets);
    if (e->entries != NULL)
        munmap(e->entries, e->n_entries * sizeof *e->entries);
    if (e->ext != NULL)
        munmap(e->ext, e->n_entries * sizeof *e->ext);
    memset(e, 0, sizeof *e);
}

void vs_emc_clear(struct vs_emc *e)
{
    if (e->n_entries == 0)
        return;
    memset(e->buckets, 0, (e->mask + 1) * sizeof *e->buckets);
    e->mask = buckets_at_first(e) - 1;
    e->pressure = e->patience = 0;
    vs_count(&e->used, -e->used);
}

struct vs_emc_entry *vs_emc_search(const struct vs_emc *e, const struct vs_key *key, uint32_t hash, bool ext)
{
    if (e->n_entries == 0)
        return NULL;
    uint32_t bucket = hash & e->mask;
    for (unsigned hits = vs_emc_hits(&e->buckets[bucket], vs_emc_sig(hash)); hits != 0; hits &= hits - 1) {
        struct vs_emc_entry *at = &e->entries[bucket * VS_EMC_WAYS + (unsigned)__builtin_ctz(hits)];
        if (vs_emc_same(e, at, key, ext))
            return at;
    }
    return NULL;
}

/* A good entry is in the way of another. Use more buckets; what moves to another bucket by it stays behind as if it were good, and
 * is evicted like that. False: all are in use, and it is not time yet to give in. */
static bool give_way(struct vs_emc *e)
{
    uint32_t entries = (e->mask + 1) * VS_EMC_WAYS;
    if (entries == e->n_entries) {
        if (++e->patience < VS_EMC_PATIENCE)
            return false;
        e->patience = 0;
    } else if (++e->pressure > entries / 32) {
        e->mask = e->mask * 2 + 1;
        e->pressure = 0;
    }
    vs_count(&e->evicted, 1);
    return true;
}

/* Which way of the bucket to write: the same key, a free one, or any; -1: none. */
static int choose_way(struct vs_emc *e, struct vs_emc_bucket *b, const struct vs_emc_entry *first,
                      const struct vs_key *key, uint32_t hash, uint32_t from, bool ext)
{
    for (unsigned hits = vs_emc_hits(b, vs_emc_sig(hash)); hits != 0; hits &= hits - 1)
        if (vs_emc_same(e, first + __builtin_ctz(hits), key, ext))
            return __builtin_ctz(hits);
    unsigned free_ways = vs_emc_hits(b, 0);
    if (free_ways != 0) {
        vs_count(&e->used, 1);
        return __builtin_ctz(free_ways);
    }
    e->dice = e->dice * 6364136223846793005ULL + 1442695040888963407ULL; /* Knuth's MMIX generator */
    int way = (int)(e->dice >> 60);
    return (int32_t)(from - first[way].version) > 0 || give_way(e) ? way : -1;
}

void vs_emc_insert(struct vs_emc *e, const struct vs_key *key, uint32_t hash, bool ext,
                   const struct vs_emc_value *value)
{
    if (e->n_entries == 0)
        return;
    uint32_t bucket = hash & e->mask;
    struct vs_emc_bucket *b = &e->buckets[bucket];
    struct vs_emc_entry *first = &e->entries[bucket * VS_EMC_WAYS];
    int way = choose_way(e, b, first, key, hash, value->from, ext);
    if (way < 0)
        return;
    struct vs_emc_entry *entry = first + way;
    const uint64_t *w = vs_key_cwords(key);
    memcpy(entry->key, w, sizeof entry->key);
    if (ext)
        memcpy(e->ext[entry - e->entries].key, w + VS_KEY_WORDS0, sizeof e->ext->key);
    entry->program = value->program;
    entry->version = value->version;
    entry->ext = ext;
    b->sig[way] = vs_emc_sig(hash);
    vs_count(&e->inserted, 1);
}
