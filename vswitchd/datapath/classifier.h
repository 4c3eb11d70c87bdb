/* classifier.h: rules and the tuple-space classifier of one OpenFlow table.
 *
 * How it works: rules with the same mask share a subtable: a hash table over the masked words of the key. Subtables are
 * sorted by their highest priority, so a search stops when no later one can win. Slots hold chains of rules with the same
 * masked value, highest priority first. A rule exists from version `added` up to, not including, `removed`; a lookup names the
 * version it wants to see, so all changes of one commit appear at once. A rule leaves the chains only after every
 * core has moved on to a version without it, and is freed when no program refers to it (program.h).
 *
 * Thread safety: vs_table_lookup from any core, without locks: arrays are immutable or grow by publication (release
 * stores here, acquire loads there). All else: control thread. Replaced arrays are freed through qsbr.h.
 */
#ifndef VS_CLASSIFIER_H
#define VS_CLASSIFIER_H

#include "action.h"
#include "flow_key.h"

#ifndef VS_CDEF
struct vs_subtable;
struct vs_table;

struct vs_rule {
    /* line 0: what a lookup reads */
    struct vs_rule *_Atomic next; /* in the chain: lower or equal priority */
    _Atomic uint64_t added;       /* version; UINT64_MAX: not committed yet */
    _Atomic uint64_t removed;     /* version; UINT64_MAX: not removed */
    uint32_t hash;
    int32_t priority; /* -1: the pseudo rule that stands for a table's miss */
    uint64_t cookie;
    struct vs_table *table;
    struct vs_subtable *subtable;
    const uint64_t *words; /* masked value, in the order of the subtable's words */
    /* instructions, immutable */
    const struct vs_action *actions; /* n_apply, then n_write */
    uint16_t n_apply, n_write;
    uint8_t clear;
    uint8_t table_id;
    int16_t goto_table;               /* -1: none */
    uint64_t metadata, metadata_mask; /* big-endian */
    /* statistics */
    uint64_t packets, bytes, used_ms;                              /* taken from programs; control thread */
    _Atomic uint64_t direct_packets, direct_bytes, direct_used_ms; /* executed without a program */
    _Atomic uint8_t dead;      /* no version has it any more: programs through it are to go */
    struct vs_rule *list_next; /* staged, zombie or retired list; control thread */
    uint64_t gc_epoch;
};

struct vs_subtable_ref {
    struct vs_subtable *subtable;
    int32_t max_priority;
};

struct vs_subtable_vec {
    unsigned n;
    struct vs_subtable_ref ref[]; /* highest max_priority first */
};

struct vs_table {
    struct vs_subtable_vec *_Atomic vec;
    struct vs_rule miss; /* stands in paths for "no rule matched" */
    uint32_t n_rules;
    bool untidy;               /* vs_table_unlink left a highest priority too high or a subtable empty */
    uint64_t lookups, matches; /* taken from programs; control thread */
    _Atomic uint64_t direct_lookups, direct_matches;
};

int vs_table_init(struct vs_table *t, uint8_t id); /* 0 or -ENOMEM */
void vs_table_destroy(struct vs_table *t);         /* no core reads it any more; frees the rules too */

/* A rule, not in a table yet. NULL when out of memory. */
struct vs_rule *vs_rule_new(struct vs_table *t, int32_t priority, const struct vs_key *value,
                            const struct vs_key *mask, const struct vs_action *actions, unsigned n_apply,
                            unsigned n_write);
void vs_rule_free(struct vs_rule *r);
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
#endif

#endif
