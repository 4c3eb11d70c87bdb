/* classifier.h: the tuple-space classifier of one OpenFlow table.
 *
 * How it works: rules of few masks have an exact subtable for each mask (subtable.h): a look-up searches them all. With more masks than
 * VS_EXACT_SUBTABLES that would cost too much for every packet of a new flow, so rules of several masks are merged: hashed by a coarse
 * mask within all of theirs, as long as few of them agree under it, else by a finer one, at last by their own. A thousand masks of an
 * access list come to some twenty subtables. (After TupleMerge, Daly and others 2019; there rules move when too many agree, here
 * those that come later go elsewhere, so readers see nothing of it.)
 * Subtables are sorted by their highest priority, so a search stops when no later one can win. Where some are merged, the buckets of several are
 * fetched together, then the rules that have the tag, so that their ways from memory overlap.
 * A rule exists from version `added` up to, not including, `removed`; a lookup names the version it wants to see, so all changes of one
 * commit appear at once. A rule leaves the chains only after every core has moved on to a version without it, and is freed when no
 * program refers to it (program.h).
 *
 * Thread safety: vs_table_lookup from any core, without locks, as in subtable.h. All else: control thread.
 */
#ifndef VS_CLASSIFIER_H
#define VS_CLASSIFIER_H

#include "subtable.h"

#ifndef VS_CDEF
enum {
    VS_EXACT_SUBTABLES = 8, /* so many are searched as fast as what they could be merged to */
    VS_EXACT_RULES =
        256, /* a subtable with more rules is worth a search of its own: it stays when others are merged */
};

struct vs_subtable_ref {
    struct vs_subtable *subtable;
    int32_t max_priority;
};

struct vs_subtable_vec {
    unsigned n;
    bool merged;                  /* there may be merged ones */
    struct vs_subtable_ref ref[]; /* highest max_priority first */
};

struct vs_table {
    struct vs_subtable_vec *_Atomic vec;
    struct vs_rule miss; /* stands in paths for "no rule matched" */
    uint32_t n_rules;
    uint32_t n_plain;          /* rules whose instructions are plain (rule.h) */
    bool untidy;               /* vs_table_unlink left something for vs_table_tidy */
    bool merging;              /* there were too many masks for exact subtables */
    uint64_t lookups, matches; /* taken from programs; control thread */
    _Atomic uint64_t direct_lookups, direct_matches;
    unsigned n_subtables;
    struct vs_subtable *subtables; /* masks of most bits first */
    struct vs_shapes shapes;
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
/* OR the masks of all rules into `mask`. */
void vs_table_used_mask(const struct vs_table *t, struct vs_key *mask);
unsigned vs_table_n_masks(const struct vs_table *t);
unsigned vs_table_n_subtables(const struct vs_table *t); /* that a look-up searches */
#endif

#endif
