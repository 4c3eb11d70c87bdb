/* emc.c: memory and replacement of the exact-match cache; see emc.h. */
#include "emc.h"

#include <errno.h>
#include <sys/mman.h>

/* Zero pages that cost nothing until they are touched; huge where the kernel has some. */
static void *map_zero(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    (void)madvise(p, size, MADV_HUGEPAGE); /* a hint: failing changes speed only */
    return p;
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
    e->mask = buckets - 1;
    e->n_entries = n;
    if (e->buckets != NULL && e->entries != NULL && e->ext != NULL)
        return 0;
    vs_emc_destroy(e);
    return -ENOMEM;
}

void vs_emc_destroy(struct vs_emc *e)
{
    uint32_t buckets = e->mask + 1;
    if (e->buckets != NULL)
        munmap(e->buckets, buckets * sizeof *e->buckets);
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
    vs_count(&e->used, -e->used);
}

/* Which way of the bucket to write: the same key, a free one, a stale one, or the next victim in turn. */
static unsigned choose_way(struct vs_emc *e, struct vs_emc_bucket *b, int64_t first, const struct vs_key *key,
                           uint32_t hash, uint32_t version, bool ext)
{
    int free_way = -1, stale = -1;
    for (unsigned i = 0; i < VS_EMC_WAYS; i++) {
        if (b->sig[i] == 0) {
            if (free_way < 0)
                free_way = (int)i;
            continue;
        }
        if (b->sig[i] == vs_emc_sig(hash) && e->entries[first + i].hash == hash &&
            vs_emc_same(e, first + i, key, ext))
            return i;
    }
    if (free_way >= 0) {
        vs_count(&e->used, 1);
        return (unsigned)free_way;
    }
    for (unsigned i = 0; i < VS_EMC_WAYS && stale < 0; i++)
        if (e->entries[first + i].version != version)
            stale = (int)i;
    if (stale >= 0)
        return (unsigned)stale;
    vs_count(&e->evicted, 1);
    return b->next_victim++ % VS_EMC_WAYS;
}

void vs_emc_insert(struct vs_emc *e, const struct vs_key *key, uint32_t hash, uint32_t version, bool ext,
                   struct vs_program *program)
{
    if (e->n_entries == 0)
        return;
    struct vs_emc_bucket *b = &e->buckets[hash & e->mask];
    int64_t first = (int64_t)(hash & e->mask) * VS_EMC_WAYS;
    unsigned way = choose_way(e, b, first, key, hash, version, ext);
    struct vs_emc_entry *entry = &e->entries[first + way];
    const uint64_t *w = vs_key_cwords(key);
    memcpy(entry->key, w, sizeof entry->key);
    if (ext)
        memcpy(e->ext[first + way].key, w + VS_KEY_WORDS0, sizeof e->ext[first + way].key);
    entry->program = program;
    entry->version = version;
    entry->hash = hash;
    b->sig[way] = vs_emc_sig(hash);
    vs_count(&e->inserted, 1);
}
