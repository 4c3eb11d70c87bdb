/* changes.h: which packets the last commits may have concerned, so that a commit does not empty the caches.
 *
 * How it works: an entry of the cache is what a walk found at its version; the walk depends on the masked key and the rules alone. So it is
 * still right when no rule that came or went since then matches the key. For each mask among the rules that changed lately, a kind of
 * change, there is a table of seats: the hash of a rule's masked values names its seat, which keeps the version of the last commit that
 * changed a rule there. So a key is judged by one seat of each kind that changed since its entry's version, however many commits that
 * were; keys that share a changed rule's seat by chance are walked for. Behind table 0 a rule sees the key as the actions before it
 * left it: there the bits that actions may write, and metadata, are left out of the mask. Where that says nothing any more, where too
 * much changed at once, or where the union of all masks lost bits, the list begins anew, and older entries are walked for again; where
 * it is full, the kind that did not change for longest goes, and with it entries from before its last change.
 *
 * Thread safety: noting: control thread. A list is immutable and lives as long as its view; kinds go through qsbr.h. Seats change before the
 * view that shows why is published: who still has the view before walks for nothing, and finds its entry too old again later.
 */
#ifndef VS_CHANGES_H
#define VS_CHANGES_H

#include "rule.h"

#ifndef VS_CDEF
enum {
    VS_CHANGE_KINDS = 16,
    VS_CHANGE_SEATS = 4096, /* of each: 16 KB; 2^12, as vs_change_seat has it */
    VS_CHANGE_RULES = 4096, /* rules of one commit */
    VS_CHANGE_CALM_MS = 2,  /* so long after a commit entries take its version */
};

struct vs_change { /* a kind; immutable but for its seats */
    unsigned n_words;
    struct vs_change_word {
        uint64_t mask, times; /* times: odd, a secret of the word */
        uint64_t index;
    } word[VS_KEY_WORDS];
    _Atomic uint32_t since[VS_CHANGE_SEATS]; /* low bits of the first version that shows the last change */
};

struct vs_change_log {
    uint64_t made_ms;
    uint32_t from; /* entries of this version and later can be judged */
    unsigned n;
    struct vs_change_ref {
        struct vs_change *kind;
        uint32_t last;     /* version of its last change */
    } at[VS_CHANGE_KINDS]; /* by that, newest first */
};

/* What apply-actions of rules that go on may write of a key. Only grows. */
struct vs_edited {
    struct vs_key bits;
    bool layers; /* headers come and go: any bit */
};

/* A rule with these instructions is about to come. */
void vs_changes_edits(struct vs_edited *e, const struct vs_instructions *in);
/* The list of the next view, `version`: that of the old one and two lists of rules (by list_next) that come and go. The view is
 * published for certain; call vs_changes_swap then. */
void vs_changes_next(struct vs_change_log *log, uint32_t version, const struct vs_edited *e,
                     const struct vs_rule *come, const struct vs_rule *go);
/* Of a bridge that goes. */
void vs_changes_free(const struct vs_change_log *log);
/* Begin anew. */
void vs_changes_reset(struct vs_change_log *log, uint32_t version);
/* Free, after a grace period, what stands in `old` and no more in `fresh`. */
void vs_changes_swap(const struct vs_change_log *old, const struct vs_change_log *fresh);

/* Has the union of all masks lost bits? Then what changed before cannot be told from the keys any more. */
bool vs_changes_lost_bits(const struct vs_key *old, const struct vs_key *fresh);

/* Once in 2^31 views: no entry may become so old that it looks newer; all go (vs_dp_next_era). */
static inline bool vs_version_half_way(uint64_t version)
{
    return (version & INT32_MAX) == 0;
}

/* Is version a newer than b? They are less than 2^31 apart. */
static inline bool vs_version_newer(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) > 0;
}

/* The seat of values under the kind's mask: a sum of products by secrets, of which the top bits count (multilinear hashing). */
static inline unsigned vs_change_seat(const struct vs_change *c, const uint64_t *key)
{
    uint64_t sum = 0;
    for (unsigned j = 0; j < c->n_words; j++)
        sum += (key[c->word[j].index] & c->word[j].mask) * c->word[j].times;
    return (unsigned)(sum >> 52);
}

/* May what was found for this masked key at that version be wrong by now? *asked: how many kinds told. */
static inline bool vs_changes_concern(const struct vs_change_log *log, uint32_t version, const uint64_t *key,
                                      unsigned *asked)
{
    *asked = 0;
    if (vs_version_newer(log->from, version))
        return true;
    for (; *asked < log->n && vs_version_newer(log->at[*asked].last, version); ++*asked) {
        const struct vs_change *c = log->at[*asked].kind;
        /* Relaxed: what the view shows was written before it was published. */
        uint32_t since = atomic_load_explicit(&c->since[vs_change_seat(c, key)], memory_order_relaxed);
        if (vs_version_newer(since, version))
            return true;
    }
    return false;
}
#endif

#endif
