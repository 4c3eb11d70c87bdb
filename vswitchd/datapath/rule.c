/* rule.c: the array of rules and the shared instructions; see rule.h. */
#include "rule.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "bridge.h"
#include "shape.h"

enum { MIN_SHARED = 64 };

struct vs_rule *vs_rule_base;
uint64_t vs_hash_secret, vs_hash_multiplier;

static uint32_t n_used = 1; /* numbers ever given; 0 is none */
static uint32_t first_free; /* linked by `next` */

/* By hash; control thread. */
static struct {
    struct vs_instructions **chain;
    uint32_t n_chains, n;
} shared;

__attribute__((constructor)) static void reserve(void)
{
    size_t size = (size_t)VS_MAX_RULES * sizeof(struct vs_rule);
    uint64_t secret[2];
    if (getrandom(secret, sizeof secret, 0) != sizeof secret)
        abort(); /* needs neither files nor memory: no kernel of our time refuses */
    vs_hash_secret = secret[0];
    vs_hash_multiplier = secret[1] | 1;
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return;
    (void)madvise(p, size, MADV_HUGEPAGE); /* a hint: failing changes speed only */
    vs_rule_base = p;
}

/* ---- instructions -------------------------------------------------------------------------------------------------- */

bool vs_actions_valid(const struct vs_action *actions, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (actions[i].type >= VS_N_ACTIONS || actions[i].type == VS_ACT_RECIRC ||
            (actions[i].type == VS_ACT_SET_FIELD && actions[i].field >= VS_N_FIELDS) ||
            (actions[i].type == VS_ACT_DROP && actions[i].arg >= VS_N_RX_DROPS))
            return false;
    return true;
}

/* May the walk have to write into it where the packet came from (pipeline.c)? */
static bool punts(const struct vs_action *a)
{
    return (a->type == VS_ACT_OUTPUT && a->arg == VS_OFPP_CONTROLLER) || a->type == VS_ACT_GROUP ||
           a->type == VS_ACT_DEC_TTL || a->type == VS_ACT_DEC_MPLS_TTL;
}

static bool is_plain(const struct vs_rule_body *body)
{
    bool plain = body->goto_table < 0 && body->n_write == 0 && body->n_apply <= VS_RULE_PLAIN_ACTIONS;
    for (unsigned i = 0; i < body->n_apply && plain; i++)
        plain = !punts(&body->actions[i]);
    return plain;
}

static uint32_t hash_body(const struct vs_rule_body *body)
{
    uint64_t h = vs_mix(vs_mix(vs_hash_secret, body->metadata), body->metadata_mask);
    h = vs_mix(h, (uint64_t)body->n_apply << 48 | (uint64_t)body->n_write << 32 |
                      (uint64_t)(uint16_t)body->goto_table << 16 | body->clear);
    for (unsigned i = 0; i < body->n_apply + body->n_write; i++) {
        uint64_t w[sizeof *body->actions / sizeof(uint64_t)];
        memcpy(w, &body->actions[i], sizeof w);
        for (unsigned j = 0; j < sizeof w / sizeof w[0]; j++)
            h = vs_mix(h, w[j]);
    }
    return (uint32_t)h;
}

static bool same_body(const struct vs_instructions *have, const struct vs_rule_body *body)
{
    return have->n_apply == body->n_apply && have->n_write == body->n_write &&
           have->goto_table == body->goto_table && have->clear == body->clear &&
           have->metadata == body->metadata && have->metadata_mask == body->metadata_mask &&
           memcmp(have->actions, body->actions, (body->n_apply + body->n_write) * sizeof have->actions[0]) ==
               0;
}

/* Keep the chains short. What fails costs speed only, but for the first time. */
static bool grow_shared(void)
{
    uint32_t n = VS_MAX(MIN_SHARED, shared.n_chains * 2);
    if (shared.n < shared.n_chains)
        return true;
    struct vs_instructions **fresh = calloc(n, sizeof(struct vs_instructions *));
    if (fresh == NULL)
        return shared.n_chains != 0;
    for (uint32_t i = 0; i < shared.n_chains; i++)
        for (struct vs_instructions *at = shared.chain[i], *next; at != NULL; at = next) {
            next = at->next;
            at->next = fresh[at->hash & (n - 1)];
            fresh[at->hash & (n - 1)] = at;
        }
    free(shared.chain);
    shared.chain = fresh;
    shared.n_chains = n;
    return true;
}

static const struct vs_instructions *take_instructions(const struct vs_rule_body *body)
{
    if (!grow_shared())
        return NULL;
    unsigned n = body->n_apply + body->n_write;
    uint32_t hash = hash_body(body);
    struct vs_instructions **chain = &shared.chain[hash & (shared.n_chains - 1)];
    for (struct vs_instructions *at = *chain; at != NULL; at = at->next)
        if (at->hash == hash && same_body(at, body)) {
            at->refs++;
            return at;
        }
    struct vs_instructions *fresh = calloc(1, sizeof *fresh + n * sizeof fresh->actions[0]);
    if (fresh == NULL)
        return NULL;
    fresh->n_apply = body->n_apply;
    fresh->n_write = body->n_write;
    fresh->goto_table = body->goto_table;
    fresh->clear = body->clear;
    fresh->plain = is_plain(body);
    fresh->metadata = body->metadata;
    fresh->metadata_mask = body->metadata_mask;
    fresh->refs = 1;
    fresh->hash = hash;
    if (n > 0)
        memcpy(fresh->actions, body->actions, n * sizeof fresh->actions[0]);
    fresh->next = *chain;
    *chain = fresh;
    shared.n++;
    return fresh;
}

static void drop_instructions(const struct vs_instructions *have)
{
    struct vs_instructions **at = &shared.chain[have->hash & (shared.n_chains - 1)];
    while (*at != have)
        at = &(*at)->next;
    struct vs_instructions *mine = *at;
    if (--mine->refs > 0)
        return;
    *at = mine->next;
    shared.n--;
    free(mine);
}

/* ---- rules --------------------------------------------------------------------------------------------------------- */

static struct vs_rule *take_number(void)
{
    struct vs_rule *r = vs_rule_at(first_free);
    if (first_free != 0)
        first_free = atomic_load_explicit(&r->next, memory_order_relaxed);
    else if (vs_rule_base == NULL || n_used == VS_MAX_RULES)
        return NULL;
    else
        r = vs_rule_at(n_used++);
    memset(r, 0, sizeof *r);
    return r;
}

static void give_number(struct vs_rule *r)
{
    atomic_store_explicit(&r->next, first_free, memory_order_relaxed);
    first_free = vs_rule_number(r);
}

/* Its masked value. */
static bool set_words(struct vs_rule *r, const struct vs_key *value, const struct vs_key *mask)
{
    const uint64_t *v = vs_key_cwords(value), *m = vs_key_cwords(mask);
    uint64_t *words = r->words;
    r->n_words = (uint8_t)__builtin_popcount(vs_key_word_map(mask));
    if (r->n_words > VS_RULE_WORDS) {
        words = malloc(r->n_words * sizeof words[0]);
        if (words == NULL)
            return false;
        r->far = words;
    }
    for (unsigned i = 0, j = 0; i < VS_KEY_WORDS; i++)
        if (m[i] != 0)
            words[j++] = v[i] & m[i];
    return true;
}

struct vs_rule *vs_rule_new(struct vs_table *t, int32_t priority, const struct vs_key *value,
                            const struct vs_key *mask, const struct vs_rule_body *body)
{
    struct vs_rule *r = take_number();
    if (r == NULL)
        return NULL;
    r->instructions = take_instructions(body);
    if (r->instructions == NULL || !set_words(r, value, mask)) {
        if (r->instructions != NULL)
            drop_instructions(r->instructions);
        give_number(r);
        return NULL;
    }
    r->priority = priority;
    r->table = t;
    r->table_id = t->miss.table_id;
    atomic_store_explicit(&r->added, UINT64_MAX, memory_order_relaxed);
    atomic_store_explicit(&r->removed, UINT64_MAX, memory_order_relaxed);
    return r;
}

void vs_rule_free(struct vs_rule *r)
{
    drop_instructions(r->instructions);
    if (r->n_words > VS_RULE_WORDS)
        free(r->far);
    if (r->shape != 0)
        vs_shape_unref(&vs_shape_base[r->shape]);
    give_number(r);
}

void vs_rule_count(struct vs_rule *r, uint64_t packets, uint64_t bytes, uint64_t used_ms)
{
    uint64_t before = atomic_load_explicit(&r->used_ms, memory_order_relaxed);
    atomic_fetch_add_explicit(&r->packets, packets, memory_order_relaxed);
    atomic_fetch_add_explicit(&r->bytes, bytes, memory_order_relaxed);
    while (before < used_ms && !atomic_compare_exchange_weak_explicit(
                                   &r->used_ms, &before, used_ms, memory_order_relaxed, memory_order_relaxed))
        continue;
}

void vs_rule_read(uint64_t rule, struct vs_rule_stats *to)
{
    const struct vs_rule *r = (const struct vs_rule *)(uintptr_t)rule;
    to->packets = atomic_load_explicit(&r->packets, memory_order_relaxed);
    to->bytes = atomic_load_explicit(&r->bytes, memory_order_relaxed);
    to->used_ms = atomic_load_explicit(&r->used_ms, memory_order_relaxed);
}
