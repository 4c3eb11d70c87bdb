/* miss.h: what happens to packets that the cache does not know. Internal.
 *
 * How it works: an entry of an older version that no change since then concerns (changes.h) is no miss. Else the tables are walked under
 * the masked key, the draft of the walk is interned as a program, and the cache remembers the program. A draft that gets no program is
 * run at once.
 *
 * Thread safety: one core's own; the tables are read under the batch's view.
 */
#ifndef VS_MISS_H
#define VS_MISS_H

#include "path.h"

static inline void vs_key_apply(struct vs_key *key, const struct vs_key *mask)
{
    uint64_t *w = vs_key_words(key);
    const uint64_t *m = vs_key_cwords(mask);
    for (unsigned i = 0; i < VS_KEY_WORDS; i++)
        w[i] &= m[i];
}

/* Does an entry of another version still hold? */
static inline bool vs_miss_settle(const struct vs_core *c, const struct vs_view *view,
                                  struct vs_emc_entry *at, const struct vs_key *key)
{
    unsigned asked;
    if (vs_changes_concern(&view->changes, at->version, vs_key_cwords(key), &asked))
        return false;
    /* While commits follow each other an entry that is written for each would cost more than to ask again. */
    if (asked > 1 || c->now_ms - view->changes.made_ms >= VS_CHANGE_CALM_MS)
        at->version = (uint32_t)view->version;
    return true;
}

/* The program of packet i, whose masked key and hash stand in s, from the cache; NULL: a miss. s->at[i] comes from vs_emc_find. */
static inline struct vs_program *vs_miss_not(const struct vs_core *c, const struct vs_scratch *s,
                                             const struct vs_view *view, unsigned i, bool ext)
{
    struct vs_emc_entry *at = s->at[i];
    if (at == NULL)
        return NULL;
    if (VS_UNLIKELY(
            !vs_emc_same(&c->emc, at, &s->keys[i], ext)) && /* signatures of one bucket seldom agree */
        (at = vs_emc_search(&c->emc, &s->keys[i], s->hash[i], ext)) == NULL)
        return NULL;
    if (VS_LIKELY(at->version == (uint32_t)view->version) || vs_miss_settle(c, view, at, &s->keys[i]))
        return at->program;
    return NULL;
}

/* Put what was found for packet i into the cache. */
static inline void vs_miss_remember(struct vs_core *c, const struct vs_scratch *s, const struct vs_view *view,
                                    unsigned i, struct vs_program *program)
{
    vs_emc_insert(&c->emc, &s->keys[i], s->hash[i], s->ext[i],
                  &(struct vs_emc_value){program, (uint32_t)view->version, view->changes.from});
}

/* Packets pkts[at[0]] .. pkts[at[n - 1]] of a batch, whose masked keys and hashes stand in s->keys and s->hash under the same numbers,
 * in the order in which they came: s->program[at[i]] is set to the program of each, or to NULL when the packet was run from a draft.
 * Returns how many found their program in the cache after all, because a packet before them put it there. */
unsigned vs_miss_batch(struct vs_core *c, struct vs_scratch *s, const struct vs_bridge *b,
                       const struct vs_view *view, struct vs_packet **pkts, const uint8_t *at, unsigned n);

/* The path of a packet that `path` changed and wants looked up again at `table`, from the cache or by a walk; `key` is that of the
 * packet parsed again. The draft is overwritten. */
struct vs_path vs_miss_again(struct vs_core *c, struct vs_draft *d, const struct vs_bridge *b,
                             const struct vs_view *view, const struct vs_key *key, const struct vs_path *path,
                             unsigned table);

#endif
