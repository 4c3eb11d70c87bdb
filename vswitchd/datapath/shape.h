/* shape.h: the masks of rules, each kept once for its table.
 *
 * How it works: a mask lists the words of a key that it looks at. The masks of a table's rules are its shapes; they lie in one array of the
 * process and are known by their numbers there (0: none), so that a rule has room to say which is its own. The array is address
 * space that fills up. A coarse mask (vs_mask_coarse) has a part of a shape's bits: rules of several shapes can be hashed by it.
 *
 * Thread safety: cores read the masks of rules that they found: a shape goes with the last of its rules. All else: control thread.
 */
#ifndef VS_SHAPE_H
#define VS_SHAPE_H

#include "rule.h"

#ifndef VS_CDEF
enum {
    VS_MAX_SHAPES = 1 << 22,
    VS_SHAPE_CHAINS = 64,
    VS_COARSE_LEVELS = 2,
};

struct vs_mask {
    uint8_t n_words;
    uint8_t index[VS_KEY_WORDS];
    uint64_t word[VS_KEY_WORDS]; /* as many as n_words */
};

struct vs_shape {
    struct vs_mask mask; /* immutable: one cache line when there are up to five words */
    struct vs_shape *next;
    struct vs_subtable *exact; /* where all new rules of this shape go, or NULL */
    uint32_t hash;
    uint32_t n_rules; /* in the table */
    uint32_t refs;    /* rules that are not freed yet, and the set */
} VS_CACHE_ALIGNED;
VS_ASSERT_SIZE(struct vs_shape, 256);

/* Those of one table. */
struct vs_shapes {
    struct vs_shape *chain[VS_SHAPE_CHAINS];
    unsigned n;
};

extern struct vs_shape *vs_shape_base; /* NULL: there was no address space */

static inline const struct vs_mask *vs_rule_mask(const struct vs_rule *r)
{
    return &vs_shape_base[r->shape].mask;
}

static inline uint64_t vs_mask_hash(const struct vs_mask *m, const uint64_t *key)
{
    uint64_t h = vs_hash_secret;
    for (unsigned i = 0; i < m->n_words; i++)
        h = vs_mix(h, key[m->index[i]] & m->word[i]);
    return h;
}

/* Has the key the rule's value, which is of this mask? */
static inline bool vs_mask_same(const struct vs_mask *m, const uint64_t *key, const struct vs_rule *r)
{
    const uint64_t *words = m->n_words <= VS_RULE_WORDS ? r->words : r->far;
    uint64_t diff = 0;
    for (unsigned i = 0; i < m->n_words; i++)
        diff |= (key[m->index[i]] & m->word[i]) ^ words[i];
    return diff == 0;
}

void vs_mask_of(struct vs_mask *m, const struct vs_key *mask);
bool vs_mask_equal(const struct vs_mask *a, const struct vs_mask *b);
/* Has `b` all bits that `a` has? */
bool vs_mask_within(const struct vs_mask *a, const struct vs_mask *b);
unsigned vs_mask_bits(const struct vs_mask *m);
/* The hash of a rule's value under a mask that is within its own. */
uint32_t vs_mask_hash_rule(const struct vs_mask *m, const struct vs_rule *r);
/* A mask within m: what tells rules of that kind apart best, the same for many shapes, and the bits that m and all others have. Level 0
 * is coarse, 1 finer. */
void vs_mask_coarse(struct vs_mask *to, const struct vs_mask *m, const struct vs_key *common, unsigned level);

/* The shape of that mask, a new one if there is none; NULL when out of memory, or of numbers. */
struct vs_shape *vs_shape_get(struct vs_shapes *of, const struct vs_mask *mask);
/* Take those without rules out of the set. */
void vs_shapes_tidy(struct vs_shapes *of);
/* The bits that all of them have. */
void vs_shapes_common(const struct vs_shapes *of, struct vs_key *to);
void vs_shapes_used(const struct vs_shapes *of, struct vs_key *to); /* OR them all into `to` */
void vs_shapes_destroy(struct vs_shapes *of);
void vs_shape_unref(struct vs_shape *shape);
#endif

#endif
