/* shape.c: see shape.h. */
#include "shape.h"

#include <stddef.h>
#include <sys/mman.h>

enum { COARSE_BITS = 32 }; /* more would tell few rules apart that these do not */

struct vs_shape *vs_shape_base;

static uint32_t n_used = 1; /* numbers ever given; 0 is none */
static struct vs_shape *first_free;

__attribute__((constructor)) static void reserve(void)
{
    void *p = mmap(NULL, (size_t)VS_MAX_SHAPES * sizeof(struct vs_shape), PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p != MAP_FAILED)
        vs_shape_base = p;
}

/* ---- masks --------------------------------------------------------------------------------------------------------- */

void vs_mask_of(struct vs_mask *m, const struct vs_key *mask)
{
    const uint64_t *w = vs_key_cwords(mask);
    m->n_words = 0;
    for (unsigned i = 0; i < VS_KEY_WORDS; i++)
        if (w[i] != 0) {
            m->index[m->n_words] = (uint8_t)i;
            m->word[m->n_words++] = w[i];
        }
}

/* OR it into a key. */
static void widen(struct vs_key *to, const struct vs_mask *m)
{
    uint64_t *w = vs_key_words(to);
    for (unsigned i = 0; i < m->n_words; i++)
        w[m->index[i]] |= m->word[i];
}

bool vs_mask_equal(const struct vs_mask *a, const struct vs_mask *b)
{
    return a->n_words == b->n_words && memcmp(a->index, b->index, a->n_words) == 0 &&
           memcmp(a->word, b->word, a->n_words * sizeof a->word[0]) == 0;
}

bool vs_mask_within(const struct vs_mask *a, const struct vs_mask *b)
{
    unsigned j = 0;
    for (unsigned i = 0; i < a->n_words; i++, j++) {
        while (j < b->n_words && b->index[j] < a->index[i])
            j++;
        if (j == b->n_words || b->index[j] != a->index[i] || (a->word[i] & ~b->word[j]) != 0)
            return false;
    }
    return true;
}

unsigned vs_mask_bits(const struct vs_mask *m)
{
    unsigned bits = 0;
    for (unsigned i = 0; i < m->n_words; i++)
        bits += (unsigned)__builtin_popcountll(m->word[i]);
    return bits;
}

uint32_t vs_mask_hash_rule(const struct vs_mask *m, const struct vs_rule *r)
{
    const struct vs_mask *own = vs_rule_mask(r);
    const uint64_t *words = vs_rule_words(r);
    uint64_t h = vs_hash_secret;
    for (unsigned i = 0, j = 0; i < m->n_words; i++) {
        while (own->index[j] != m->index[i])
            j++;
        h = vs_mix(h, words[j] & m->word[i]);
    }
    return (uint32_t)h;
}

/* Copy the bytes that count in full, of `n` from an offset on. Returns their bits. */
static unsigned copy_full(uint8_t *to, const uint8_t *from, size_t offset, size_t n)
{
    unsigned bits = 0;
    for (size_t i = offset; i < offset + n; i++)
        if (from[i] == 0xff) {
            to[i] = 0xff;
            bits += 8;
        }
    return bits;
}

/* Level 0: the first halves of addresses, then other fields until there are bits enough. Level 1: all whole bytes. So prefixes of
 * many lengths come to few masks. */
void vs_mask_coarse(struct vs_mask *to, const struct vs_mask *m, const struct vs_key *common, unsigned level)
{
    static const struct {
        uint8_t offset, size;
    } fields[] = {
        {offsetof(struct vs_key, ipv4_src), 2}, {offsetof(struct vs_key, ipv4_dst), 2},
        {offsetof(struct vs_key, ipv6_src), 8}, {offsetof(struct vs_key, ipv6_dst), 8},
        {offsetof(struct vs_key, tp_dst), 2},   {offsetof(struct vs_key, tp_src), 2},
        {offsetof(struct vs_key, ip_proto), 1}, {offsetof(struct vs_key, eth_dst), 6},
        {offsetof(struct vs_key, eth_src), 6},  {offsetof(struct vs_key, in_port), 4},
        {offsetof(struct vs_key, metadata), 8}, {offsetof(struct vs_key, vlan_tci), 2},
    };
    enum { ADDRESSES = 4 };
    struct vs_key full = {.in_port = {0}}, coarse = {.in_port = {0}};
    const uint8_t *from = (const uint8_t *)&full;
    unsigned bits = 0;
    widen(&full, m);
    if (level > 0)
        (void)copy_full((uint8_t *)&coarse, from, 0, sizeof full);
    for (unsigned i = 0; i < sizeof fields / sizeof fields[0] && level == 0; i++)
        if (i < ADDRESSES || bits < COARSE_BITS)
            bits += copy_full((uint8_t *)&coarse, from, fields[i].offset, fields[i].size);
    for (unsigned i = 0; i < VS_KEY_WORDS; i++)
        vs_key_words(&coarse)[i] |= vs_key_cwords(common)[i] & vs_key_cwords(&full)[i];
    vs_mask_of(to, &coarse);
}

/* ---- shapes -------------------------------------------------------------------------------------------------------- */

static struct vs_shape *take_number(void)
{
    struct vs_shape *shape = first_free;
    if (shape != NULL)
        first_free = shape->next;
    else if (vs_shape_base == NULL || n_used == VS_MAX_SHAPES)
        return NULL;
    else
        shape = &vs_shape_base[n_used++];
    memset(shape, 0, sizeof *shape);
    return shape;
}

void vs_shape_unref(struct vs_shape *shape)
{
    if (--shape->refs > 0)
        return;
    shape->next = first_free;
    first_free = shape;
}

static uint32_t hash_of(const struct vs_mask *m)
{
    uint64_t h = vs_hash_secret;
    for (unsigned i = 0; i < m->n_words; i++)
        h = vs_mix(vs_mix(h, m->index[i]), m->word[i]);
    return (uint32_t)h;
}

struct vs_shape *vs_shape_get(struct vs_shapes *of, const struct vs_mask *mask)
{
    uint32_t hash = hash_of(mask);
    struct vs_shape **chain = &of->chain[hash % VS_SHAPE_CHAINS];
    for (struct vs_shape *at = *chain; at != NULL; at = at->next)
        if (at->hash == hash && vs_mask_equal(&at->mask, mask))
            return at;
    struct vs_shape *fresh = take_number();
    if (fresh == NULL)
        return NULL;
    fresh->mask = *mask;
    fresh->hash = hash;
    fresh->refs = 1;
    fresh->next = *chain;
    *chain = fresh;
    of->n++;
    return fresh;
}

void vs_shapes_tidy(struct vs_shapes *of)
{
    for (unsigned i = 0; i < VS_SHAPE_CHAINS; i++)
        for (struct vs_shape **at = &of->chain[i], *one; (one = *at) != NULL;) {
            if (one->n_rules > 0) {
                at = &one->next;
                continue;
            }
            *at = one->next;
            of->n--;
            vs_shape_unref(one);
        }
}

void vs_shapes_common(const struct vs_shapes *of, struct vs_key *to)
{
    uint64_t *w = vs_key_words(to);
    memset(to, 0xff, sizeof *to);
    for (unsigned i = 0; i < VS_SHAPE_CHAINS; i++)
        for (const struct vs_shape *at = of->chain[i]; at != NULL; at = at->next) {
            struct vs_key mask = {.in_port = {0}};
            widen(&mask, &at->mask);
            for (unsigned j = 0; j < VS_KEY_WORDS; j++)
                w[j] &= vs_key_cwords(&mask)[j];
        }
}

void vs_shapes_used(const struct vs_shapes *of, struct vs_key *to)
{
    for (unsigned i = 0; i < VS_SHAPE_CHAINS; i++)
        for (const struct vs_shape *at = of->chain[i]; at != NULL; at = at->next)
            widen(to, &at->mask);
}

void vs_shapes_destroy(struct vs_shapes *of)
{
    for (unsigned i = 0; i < VS_SHAPE_CHAINS; i++)
        for (struct vs_shape *at = of->chain[i], *next; at != NULL; at = next) {
            next = at->next;
            vs_shape_unref(at);
        }
}
