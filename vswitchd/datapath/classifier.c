/* classifier.c: tuple-space search; see classifier.h. */
#include "classifier.h"

#include <errno.h>
#include <stdlib.h>

#include "qsbr.h"

enum { MIN_SLOTS = 8 };

struct slot {
    uint32_t hash;
    struct vs_rule *_Atomic head; /* NULL: never used (a probe ends); TOMBSTONE: was used */
};

struct slots {
    uint32_t mask; /* number of slots - 1 */
    uint32_t used; /* tombstones included; control thread */
    struct slot slot[];
};

struct vs_subtable {
    uint8_t n_words;
    uint8_t index[VS_KEY_WORDS];
    uint64_t mask[VS_KEY_WORDS];
    struct slots *_Atomic slots;
    uint32_t n_rules;
    int32_t max_priority;
    uint32_t n_at_max;
    struct vs_subtable *next_empty; /* in vs_table_tidy */
};

static struct vs_rule tombstone;

/* ---- lookup -------------------------------------------------------------------------------------------------------- */

static inline uint32_t hash_key(const struct vs_subtable *s, const uint64_t *key)
{
    uint64_t h = 0;
    for (unsigned i = 0; i < s->n_words; i++)
        h = vs_hash_word(h, key[s->index[i]] & s->mask[i]);
    return vs_hash_end(h);
}

static inline bool same_key(const struct vs_subtable *s, const uint64_t *key, const struct vs_rule *r)
{
    for (unsigned i = 0; i < s->n_words; i++)
        if ((key[s->index[i]] & s->mask[i]) != r->words[i])
            return false;
    return true;
}

static inline bool visible(const struct vs_rule *r, uint64_t version)
{
    return atomic_load_explicit(&r->added, memory_order_relaxed) <= version &&
           version < atomic_load_explicit(&r->removed, memory_order_relaxed);
}

static struct vs_rule *subtable_lookup(const struct vs_subtable *s, const uint64_t *key, uint64_t version)
{
    uint32_t hash = hash_key(s, key);
    const struct slots *slots =
        atomic_load_explicit(&s->slots, memory_order_acquire); /* pairs with publish in grow */
    for (uint32_t i = hash & slots->mask;; i = (i + 1) & slots->mask) {
        struct vs_rule *r =
            atomic_load_explicit(&slots->slot[i].head, memory_order_acquire); /* pairs with link */
        if (r == NULL)
            return NULL;
        if (r == &tombstone || slots->slot[i].hash != hash || !same_key(s, key, r))
            continue;
        for (; r != NULL; r = atomic_load_explicit(&r->next, memory_order_acquire))
            if (visible(r, version))
                return r;
        return NULL;
    }
}

struct vs_rule *vs_table_lookup(const struct vs_table *t, const struct vs_key *key, uint64_t version)
{
    const struct vs_subtable_vec *vec =
        atomic_load_explicit(&t->vec, memory_order_acquire); /* pairs with publish_vec */
    const uint64_t *words = vs_key_cwords(key);
    struct vs_rule *best = NULL;
    for (unsigned i = 0; i < vec->n; i++) {
        if (best != NULL && best->priority >= vec->ref[i].max_priority)
            break;
        struct vs_rule *r = subtable_lookup(vec->ref[i].subtable, words, version);
        if (r != NULL && (best == NULL || r->priority > best->priority))
            best = r;
    }
    return best;
}

/* ---- subtables, control thread ------------------------------------------------------------------------------------- */

static struct slots *slots_new(uint32_t n)
{
    struct slots *s = calloc(1, sizeof *s + n * sizeof s->slot[0]);
    if (s != NULL)
        s->mask = n - 1;
    return s;
}

static struct slot *slot_for(struct slots *slots, const struct vs_subtable *s, const struct vs_rule *r,
                             bool *found)
{
    for (uint32_t i = r->hash & slots->mask;; i = (i + 1) & slots->mask) {
        struct slot *slot = &slots->slot[i];
        struct vs_rule *head = atomic_load_explicit(&slot->head, memory_order_relaxed);
        *found = false;
        if (head == NULL)
            return slot;
        if (head == &tombstone || slot->hash != r->hash)
            continue;
        if (memcmp(head->words, r->words, s->n_words * sizeof r->words[0]) == 0) {
            *found = true;
            return slot;
        }
    }
}

/* Room for one more chain; keeps the table at most half full, tombstones counted. */
static int slots_reserve(struct vs_subtable *s)
{
    struct slots *old = atomic_load_explicit(&s->slots, memory_order_relaxed);
    if (old->used * 2 < old->mask + 1)
        return 0;
    uint32_t n = MIN_SLOTS;
    while (n < (s->n_rules + 1) * 4)
        n *= 2;
    struct slots *fresh = slots_new(n);
    if (fresh == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i <= old->mask; i++) {
        struct vs_rule *head = atomic_load_explicit(&old->slot[i].head, memory_order_relaxed);
        if (head == NULL || head == &tombstone)
            continue;
        uint32_t j = old->slot[i].hash & fresh->mask;
        while (atomic_load_explicit(&fresh->slot[j].head, memory_order_relaxed) != NULL)
            j = (j + 1) & fresh->mask;
        fresh->slot[j].hash = old->slot[i].hash;
        atomic_store_explicit(&fresh->slot[j].head, head, memory_order_relaxed);
        fresh->used++;
    }
    atomic_store_explicit(&s->slots, fresh, memory_order_release); /* pairs with subtable_lookup */
    vs_qsbr_defer(&vs_qsbr, free, old);
    return 0;
}

static void subtable_free(void *arg)
{
    struct vs_subtable *s = arg;
    free(atomic_load_explicit(&s->slots, memory_order_relaxed));
    free(s);
}

static struct vs_subtable *subtable_new(const struct vs_key *mask)
{
    struct vs_subtable *s = calloc(1, sizeof *s);
    struct slots *slots = slots_new(MIN_SLOTS);
    if (s == NULL || slots == NULL) {
        free(s);
        free(slots);
        return NULL;
    }
    atomic_init(&s->slots, slots);
    s->max_priority = -1;
    const uint64_t *w = vs_key_cwords(mask);
    for (unsigned i = 0; i < VS_KEY_WORDS; i++)
        if (w[i] != 0) {
            s->index[s->n_words] = (uint8_t)i;
            s->mask[s->n_words++] = w[i];
        }
    return s;
}

static bool subtable_has_mask(const struct vs_subtable *s, const struct vs_key *mask)
{
    uint64_t w[VS_KEY_WORDS] = {0};
    for (unsigned i = 0; i < s->n_words; i++)
        w[s->index[i]] = s->mask[i];
    return memcmp(w, mask, sizeof w) == 0;
}

/* Publish the array of subtables, sorted, without empty ones; `add` is one more or NULL. */
static int publish_vec(struct vs_table *t, struct vs_subtable *add)
{
    struct vs_subtable_vec *old = atomic_load_explicit(&t->vec, memory_order_relaxed);
    struct vs_subtable_vec *fresh = malloc(sizeof *fresh + (old->n + 1) * sizeof fresh->ref[0]);
    if (fresh == NULL)
        return -ENOMEM;
    fresh->n = 0;
    for (unsigned i = 0; i <= old->n; i++) {
        struct vs_subtable *s = i < old->n ? old->ref[i].subtable : add;
        if (s == NULL || (s->n_rules == 0 && s != add))
            continue;
        unsigned at = fresh->n++;
        while (at > 0 && fresh->ref[at - 1].max_priority < s->max_priority) {
            fresh->ref[at] = fresh->ref[at - 1];
            at--;
        }
        fresh->ref[at] = (struct vs_subtable_ref){.subtable = s, .max_priority = s->max_priority};
    }
    atomic_store_explicit(&t->vec, fresh, memory_order_release); /* pairs with vs_table_lookup */
    vs_qsbr_defer(&vs_qsbr, free, old);
    return 0;
}

static void recount_priorities(struct vs_subtable *s)
{
    const struct slots *slots = atomic_load_explicit(&s->slots, memory_order_relaxed);
    s->max_priority = -1;
    s->n_at_max = 0;
    for (uint32_t i = 0; i <= slots->mask; i++) {
        struct vs_rule *r = atomic_load_explicit(&slots->slot[i].head, memory_order_relaxed);
        if (r == NULL || r == &tombstone)
            continue;
        for (; r != NULL; r = atomic_load_explicit(&r->next, memory_order_relaxed)) {
            if (r->priority > s->max_priority) {
                s->max_priority = r->priority;
                s->n_at_max = 0;
            }
            s->n_at_max += r->priority == s->max_priority;
        }
    }
}

/* ---- rules and tables, control thread ------------------------------------------------------------------------------ */

struct vs_rule *vs_rule_new(struct vs_table *t, int32_t priority, const struct vs_key *value,
                            const struct vs_key *mask, const struct vs_action *actions, unsigned n_apply,
                            unsigned n_write)
{
    unsigned n_words = (unsigned)__builtin_popcount(vs_key_word_map(mask)), n_actions = n_apply + n_write;
    size_t size = sizeof(struct vs_rule) + n_actions * sizeof *actions + n_words * sizeof(uint64_t);
    struct vs_rule *r = calloc(1, size);
    if (r == NULL)
        return NULL;
    struct vs_action *own = (struct vs_action *)(void *)(r + 1);
    uint64_t *words = (uint64_t *)(void *)(own + n_actions);
    if (n_actions > 0)
        memcpy(own, actions, n_actions * sizeof *actions);
    const uint64_t *v = vs_key_cwords(value), *m = vs_key_cwords(mask);
    uint64_t h = 0;
    for (unsigned i = 0, j = 0; i < VS_KEY_WORDS; i++)
        if (m[i] != 0) {
            words[j] = v[i] & m[i];
            h = vs_hash_word(h, words[j++]);
        }
    r->hash = vs_hash_end(h);
    r->priority = priority;
    r->table = t;
    r->table_id = t->miss.table_id;
    r->words = words;
    r->actions = own;
    r->n_apply = (uint16_t)n_apply;
    r->n_write = (uint16_t)n_write;
    r->goto_table = -1;
    atomic_init(&r->added, UINT64_MAX);
    atomic_init(&r->removed, UINT64_MAX);
    return r;
}

void vs_rule_free(struct vs_rule *r)
{
    free(r);
}

static void link_rule(struct slot *slot, struct vs_rule *r, bool found)
{
    if (!found) {
        slot->hash = r->hash;
        atomic_store_explicit(&slot->head, r, memory_order_release); /* pairs with subtable_lookup */
        return;
    }
    struct vs_rule *_Atomic *at = &slot->head;
    struct vs_rule *next = atomic_load_explicit(at, memory_order_relaxed);
    while (next != NULL && next->priority > r->priority) {
        at = &next->next;
        next = atomic_load_explicit(at, memory_order_relaxed);
    }
    atomic_store_explicit(&r->next, next, memory_order_relaxed);
    atomic_store_explicit(at, r, memory_order_release); /* pairs with subtable_lookup */
}

int vs_table_insert(struct vs_table *t, struct vs_rule *r, const struct vs_key *mask)
{
    const struct vs_subtable_vec *vec = atomic_load_explicit(&t->vec, memory_order_relaxed);
    struct vs_subtable *s = NULL;
    for (unsigned i = 0; i < vec->n && s == NULL; i++)
        if (subtable_has_mask(vec->ref[i].subtable, mask))
            s = vec->ref[i].subtable;
    bool fresh = s == NULL;
    if (fresh && (s = subtable_new(mask)) == NULL)
        return -ENOMEM;
    if (slots_reserve(s) != 0)
        return -ENOMEM; /* an old subtable stays as it is; a fresh one always has room */
    if (r->priority > s->max_priority) {
        int32_t before = s->max_priority;
        s->max_priority = r->priority;
        if (publish_vec(t, fresh ? s : NULL) != 0) {
            s->max_priority = before;
            if (fresh)
                subtable_free(s);
            return -ENOMEM;
        }
        s->n_at_max = 0;
    }
    bool found;
    struct slots *slots = atomic_load_explicit(&s->slots, memory_order_relaxed);
    struct slot *slot = slot_for(slots, s, r, &found);
    if (!found)
        slots->used++;
    r->subtable = s;
    link_rule(slot, r, found);
    s->n_at_max += r->priority == s->max_priority;
    s->n_rules++;
    t->n_rules++;
    return 0;
}

void vs_table_unlink(struct vs_table *t, struct vs_rule *r)
{
    struct vs_subtable *s = r->subtable;
    bool found;
    struct slot *slot = slot_for(atomic_load_explicit(&s->slots, memory_order_relaxed), s, r, &found);
    struct vs_rule *_Atomic *at = &slot->head;
    for (struct vs_rule *i = atomic_load_explicit(at, memory_order_relaxed); i != r;
         i = atomic_load_explicit(at, memory_order_relaxed))
        at = &i->next;
    struct vs_rule *next = atomic_load_explicit(&r->next, memory_order_relaxed);
    if (at == &slot->head && next == NULL)
        next = &tombstone;
    atomic_store_explicit(at, next, memory_order_release);
    s->n_rules--;
    t->n_rules--;
    if (r->priority == s->max_priority && --s->n_at_max == 0)
        t->untidy = true;
}

/* Once for many rules: counting a subtable again for each of them would take the square of their number. */
void vs_table_tidy(struct vs_table *t)
{
    if (!t->untidy)
        return;
    t->untidy = false;
    const struct vs_subtable_vec *old = atomic_load_explicit(&t->vec, memory_order_relaxed);
    struct vs_subtable *empty = NULL;
    for (unsigned i = 0; i < old->n; i++) {
        struct vs_subtable *s = old->ref[i].subtable;
        if (s->n_at_max == 0)
            recount_priorities(s);
        if (s->n_rules == 0) {
            s->next_empty = empty;
            empty = s;
        }
    }
    while (publish_vec(t, NULL) != 0)
        vs_qsbr_drain(&vs_qsbr); /* frees what waits; this must not fail */
    while (empty != NULL) {
        struct vs_subtable *next = empty->next_empty;
        vs_qsbr_defer(&vs_qsbr, subtable_free, empty);
        empty = next;
    }
}

int vs_table_init(struct vs_table *t, uint8_t id)
{
    memset(t, 0, sizeof *t);
    struct vs_subtable_vec *vec = calloc(1, sizeof *vec);
    if (vec == NULL)
        return -ENOMEM;
    atomic_init(&t->vec, vec);
    t->miss.table = t;
    t->miss.table_id = id;
    t->miss.priority = -1;
    t->miss.goto_table = -1;
    return 0;
}

static void subtable_destroy(struct vs_subtable *s)
{
    struct slots *slots = atomic_load_explicit(&s->slots, memory_order_relaxed);
    for (uint32_t i = 0; i <= slots->mask; i++) {
        struct vs_rule *r = atomic_load_explicit(&slots->slot[i].head, memory_order_relaxed);
        while (r != NULL && r != &tombstone) {
            struct vs_rule *next = atomic_load_explicit(&r->next, memory_order_relaxed);
            vs_rule_free(r);
            r = next;
        }
    }
    subtable_free(s);
}

void vs_table_destroy(struct vs_table *t)
{
    struct vs_subtable_vec *vec = atomic_load_explicit(&t->vec, memory_order_relaxed);
    for (unsigned i = 0; i < vec->n; i++)
        subtable_destroy(vec->ref[i].subtable);
    free(vec);
}

void vs_table_kill(struct vs_table *t)
{
    const struct vs_subtable_vec *vec = atomic_load_explicit(&t->vec, memory_order_relaxed);
    atomic_store_explicit(&t->miss.dead, 1, memory_order_relaxed);
    for (unsigned i = 0; i < vec->n; i++) {
        const struct slots *slots = atomic_load_explicit(&vec->ref[i].subtable->slots, memory_order_relaxed);
        for (uint32_t j = 0; j <= slots->mask; j++) {
            struct vs_rule *r = atomic_load_explicit(&slots->slot[j].head, memory_order_relaxed);
            for (; r != NULL && r != &tombstone; r = atomic_load_explicit(&r->next, memory_order_relaxed))
                atomic_store_explicit(&r->dead, 1, memory_order_relaxed);
        }
    }
}

void vs_table_used_mask(const struct vs_table *t, struct vs_key *mask)
{
    const struct vs_subtable_vec *vec = atomic_load_explicit(&t->vec, memory_order_relaxed);
    uint64_t *w = vs_key_words(mask);
    for (unsigned i = 0; i < vec->n; i++) {
        const struct vs_subtable *s = vec->ref[i].subtable;
        for (unsigned j = 0; j < s->n_words; j++)
            w[s->index[j]] |= s->mask[j];
    }
}

unsigned vs_table_n_masks(const struct vs_table *t)
{
    return atomic_load_explicit(&t->vec, memory_order_relaxed)->n;
}
