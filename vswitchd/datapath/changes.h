/* changes.h: which packets the last commits may have concerned, so that a commit does not empty the caches.
 *
 * How it works: an entry of the cache is what a walk found at its version; the walk depends on the masked key and the rules alone. So it is
 * still right when no rule that came or went since then matches the key. A view carries the last commits as a short list: for each
 * mask among the rules that changed, a set of bits, chosen by the hash of their masked values. A bit that is not set says that none of
 * them matches; one that is set by chance costs a walk. Behind table 0 a rule sees the key as the actions before it left it:
 * there the bits that actions may write, and metadata, are left out of the mask. Where that says nothing any more, where too much
 * changed at once, or where the union of all masks lost bits, the list begins anew, and older entries are walked for again.
 *
 * Thread safety: noting: control thread. A list is immutable and lives as long as its view; records go through qsbr.h.
 */
#ifndef VS_CHANGES_H
#define VS_CHANGES_H

#include "rule.h"

#ifndef VS_CDEF
enum {
    VS_CHANGES = 32,       /* records of a view: judging by more costs as much as a walk */
    VS_CHANGE_MASKS = 8,   /* different masks of one commit */
    VS_CHANGE_RULES = 4096 /* rules of one commit */
};

struct vs_change {     /* immutable */
    uint32_t version;  /* low bits of the first that shows it */
    uint32_t bit_mask; /* number of bits - 1 */
    uint8_t n_words;
    uint8_t index[VS_KEY_WORDS];
    uint64_t mask[VS_KEY_WORDS];
    uint64_t bits[];
};

struct vs_change_log {
    uint32_t from; /* entries of this version and later can be judged */
    unsigned n;
    struct vs_change *at[VS_CHANGES]; /* oldest first */
};

/* What apply-actions of rules that go on may write of a key. Only grows. */
struct vs_edited {
    struct vs_key bits;
    bool layers; /* headers come and go: any bit */
};

/* A rule with these instructions is about to come. */
void vs_changes_edits(struct vs_edited *e, const struct vs_instructions *in);
/* The list of the next view, `version`: that of the old one and two lists of rules (by list_next) that come and go. Call
 * vs_changes_swap when the view is published. */
void vs_changes_next(struct vs_change_log *log, uint32_t version, const struct vs_edited *e,
                     const struct vs_rule *come, const struct vs_rule *go);
/* Begin anew. */
void vs_changes_reset(struct vs_change_log *log, uint32_t version);
/* Free, after a grace period, what stands in `old` and no more in `fresh`. */
void vs_changes_swap(const struct vs_change_log *old, const struct vs_change_log *fresh);

/* Has the union of all masks lost bits? Then what changed before cannot be told from the keys any more. */
bool vs_changes_lost_bits(const struct vs_key *old, const struct vs_key *fresh);

/* May what was found for this masked key at that version be wrong by now? */
static inline bool vs_changes_concern(const struct vs_change_log *log, uint32_t now, uint32_t version,
                                      const uint64_t *key)
{
    if (now - version > now - log->from)
        return true;
    for (unsigned i = log->n; i-- > 0;) {
        const struct vs_change *c = log->at[i];
        uint64_t h = vs_hash_secret;
        if (now - c->version >= now - version)
            return false;
        for (unsigned j = 0; j < c->n_words; j++)
            h = vs_mix(h, key[c->index[j]] & c->mask[j]);
        uint32_t bit = (uint32_t)h & c->bit_mask;
        if (c->bits[bit / 64] >> bit % 64 & 1)
            return true;
    }
    return false;
}
#endif

#endif
