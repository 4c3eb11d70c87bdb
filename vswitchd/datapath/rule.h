/* rule.h: rules, where they lie, and the instructions that they share.
 *
 * How it works: all rules of the process lie in one array, two cache lines each; a rule is known by its number there (0: none), so that
 * tables need 4 bytes for it and cores can keep what they know of a rule in arrays of their own (program.h). The array is address
 * space that fills up, with huge pages where the kernel has some. Line 0 has what a lookup compares: a masked value of up to
 * VS_RULE_WORDS words stands in it. Equal instructions are kept once: a million rules seldom do a million different things.
 *
 * Thread safety: making and freeing: control thread. Cores read rules that they found in a table; counters are added to by anyone.
 */
#ifndef VS_RULE_H
#define VS_RULE_H

#include "action.h"
#include "flow_key.h"

#ifndef VS_CDEF
struct vs_subtable;
struct vs_table;

enum {
    VS_MAX_RULES = 1 << 24,
    VS_RULE_PLAIN_ACTIONS = 1024, /* as many as a program has (program.h) */
    VS_RULE_WORDS = 3,            /* addresses, protocol and L4 ports of IPv4, with the input port */
};

/* Immutable, shared by rules. */
struct vs_instructions {
    uint16_t n_apply, n_write; /* of `actions`, in this order */
    int16_t goto_table;        /* -1: none */
    uint8_t clear;
    bool plain; /* in table 0 these actions alone are the program of a packet (program.h) */
    uint64_t metadata, metadata_mask; /* big-endian */
    uint32_t refs, hash;
    struct vs_instructions *next; /* of those with a similar hash; control thread */
    struct vs_action actions[];
};

struct vs_rule {
    /* line 0: what a lookup reads */
    union {
        uint64_t words[VS_RULE_WORDS]; /* masked value, in the order of the mask's words */
        uint64_t *far;                 /* when there are more */
    };
    _Atomic uint64_t added;   /* version; UINT64_MAX: not committed yet */
    _Atomic uint64_t removed; /* version; UINT64_MAX: not removed */
    const struct vs_instructions *instructions;
    _Atomic uint32_t next; /* number of the next in the chain: lower or equal priority */
    int32_t priority;      /* -1: the pseudo rule that stands for a table's miss, or a marker */
    uint32_t shape;        /* number of its mask (shape.h); 0: not in a table yet */
    uint8_t table_id;
    uint8_t n_words;
    _Atomic uint8_t dead;    /* no version has it any more: programs through it are to go */
    _Atomic uint8_t in_path; /* a core has, or had, a program through it that is not its own (program.h) */
    /* line 1 */
    uint64_t cookie;
    struct vs_table *table; /* NULL: a marker */
    struct vs_subtable *subtable;
    _Atomic uint64_t packets, bytes, used_ms; /* taken from programs, or counted without one */
    struct vs_rule *list_next;                /* staged, zombie or retired list; control thread */
    uint64_t gc_epoch;
} VS_CACHE_ALIGNED;
VS_ASSERT_SIZE(struct vs_rule, 128);

extern struct vs_rule *vs_rule_base; /* NULL: there was no address space */

static inline struct vs_rule *vs_rule_at(uint32_t number)
{
    return vs_rule_base + number;
}

static inline uint32_t vs_rule_number(const struct vs_rule *r)
{
    return (uint32_t)(r - vs_rule_base);
}

static inline const uint64_t *vs_rule_words(const struct vs_rule *r)
{
    return r->n_words <= VS_RULE_WORDS ? r->words : r->far;
}

/* Hash of masked words: each is multiplied by a secret to 128 bits that are folded. The secrets are random for each process: neither
 * senders nor controllers can choose values that share a bucket. */
extern uint64_t vs_hash_secret, vs_hash_multiplier; /* the second is odd */

static inline uint64_t vs_mix(uint64_t h, uint64_t word)
{
    unsigned __int128 product = (unsigned __int128)(h ^ word) * vs_hash_multiplier;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* What the rule says to do; `actions` has n_apply + n_write of them. */
struct vs_rule_body {
    const struct vs_action *actions;
    uint16_t n_apply, n_write;
    int16_t goto_table;
    uint8_t clear;
    uint64_t metadata, metadata_mask;
};

/* A rule, not in a table yet. NULL when out of memory, or of numbers. */
struct vs_rule *vs_rule_new(struct vs_table *t, int32_t priority, const struct vs_key *value,
                            const struct vs_key *mask, const struct vs_rule_body *body);
/* Nobody reads it any more, and no core knows anything by its number. */
void vs_rule_free(struct vs_rule *r);
/* Add to its counters. Any thread. */
void vs_rule_count(struct vs_rule *r, uint64_t packets, uint64_t bytes, uint64_t used_ms);
#endif

#endif
