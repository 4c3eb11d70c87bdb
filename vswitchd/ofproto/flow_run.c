/* flow_run.c: see flow_run.h. */
#include "flow_run.h"

#include <errno.h>
#include <stdlib.h>

enum { HEADER = 8, LENGTH_AT = 2, XID_AT = 4, MIN_BUCKETS = 64 };

struct program {
    struct program *next; /* in its bucket, or in the list of those with edits */
    uint64_t hash;
    const uint8_t *tail, *mask; /* n bytes each */
    struct vs_action *actions;
    const struct vs_run_edit *edits;
    uint32_t n, n_edits, number;
    uint16_t kind;
    struct vs_rule_spec spec;
};

struct template {
    uint8_t *mask, *head; /* n bytes each, n a multiple of 8 */
    uint32_t n, n_slots;
    struct vs_run_slot slot[VS_RUN_SLOTS];
    struct vs_run_common common;
};

struct vs_flow_run {
    vs_bridge *bridge;
    unsigned n_templates;
    uint16_t order[VS_RUN_TEMPLATES]; /* the last used first */
    struct template *template[VS_RUN_TEMPLATES];
    struct program **bucket;
    uint32_t n_buckets, n_programs;
    struct program *edited;
};

/* ---- what is known ------------------------------------------------------------------------------------------------- */

vs_flow_run *vs_flow_run_new(vs_bridge *bridge)
{
    struct vs_flow_run *run = calloc(1, sizeof *run);
    if (run == NULL)
        return NULL;
    run->bucket = calloc(MIN_BUCKETS, sizeof *run->bucket);
    if (run->bucket == NULL) {
        free(run);
        return NULL;
    }
    run->n_buckets = MIN_BUCKETS;
    run->bridge = bridge;
    return run;
}

static void free_programs(struct program **list)
{
    for (struct program *p = *list, *next; p != NULL; p = next) {
        next = p->next;
        free(p);
    }
    *list = NULL;
}

void vs_flow_run_clear(vs_flow_run *run)
{
    for (unsigned i = 0; i < run->n_templates; i++) {
        free(run->template[i]->mask);
        free(run->template[i]);
    }
    for (uint32_t i = 0; i < run->n_buckets; i++)
        free_programs(&run->bucket[i]);
    free_programs(&run->edited);
    run->n_templates = run->n_programs = 0;
}

void vs_flow_run_free(vs_flow_run *run)
{
    vs_flow_run_clear(run);
    free(run->bucket);
    free(run);
}

/* All that a slot reads and writes is inside; so nothing is checked when messages come. */
static bool slots_valid(const struct vs_run_slot *slots, uint32_t n_slots, uint32_t head)
{
    for (uint32_t i = 0; i < n_slots; i++) {
        const struct vs_run_slot *s = &slots[i];
        if (s->size == 0 || s->size > 16 || s->from + s->size > head || s->packed_end < s->size ||
            s->packed_end > VS_RUN_KEY - 2 || s->key_end < s->size || s->key_end > sizeof(struct vs_key) ||
            (s->shift != 0 && (s->size > 4 || s->shift > 31)))
            return false;
    }
    return true;
}

static bool edits_valid(const struct vs_run_edit *edits, uint32_t n_edits, uint32_t n_tail,
                        const struct vs_action *actions, size_t n_actions)
{
    if (n_edits > 0 && n_actions > VS_RUN_ACTIONS)
        return false;
    for (uint32_t i = 0; i < n_edits; i++) {
        const struct vs_run_edit *e = &edits[i];
        if (e->size == 0 || e->size > e->end || e->end > sizeof actions->value ||
            e->from + e->size > n_tail || (e->shift != 0 && (e->size > 4 || e->shift > 31)) ||
            e->action >= n_actions || actions[e->action].type != VS_ACT_SET_FIELD)
            return false;
    }
    return true;
}

int vs_flow_run_template(vs_flow_run *run, const uint8_t *mask, const uint8_t *head, uint32_t n,
                         const struct vs_run_slot *slots, uint32_t n_slots,
                         const struct vs_run_common *common)
{
    const struct vs_run_places *p = &common->at;
    uint32_t fixed = VS_MAX(VS_MAX(p->cookie + 8u, p->idle + 2u), VS_MAX(p->hard + 2u, p->priority + 2u));
    if (n < HEADER || n < fixed || n % 8 != 0 || n > VS_RUN_HEAD || n_slots > VS_RUN_SLOTS ||
        !slots_valid(slots, n_slots, n))
        return -EINVAL;
    if (run->n_templates == VS_RUN_TEMPLATES)
        return -ENOSPC;
    struct template *t = calloc(1, sizeof *t);
    uint8_t *bytes = malloc(2 * n);
    if (t == NULL || bytes == NULL) {
        free(t);
        free(bytes);
        return -ENOMEM;
    }
    t->mask = bytes;
    t->head = bytes + n;
    memcpy(t->mask, mask, n);
    memcpy(t->head, head, n);
    t->n = n;
    t->n_slots = n_slots;
    memcpy(t->slot, slots, n_slots * sizeof *slots);
    t->common = *common;
    unsigned kind = run->n_templates++;
    run->template[kind] = t;
    memmove(&run->order[1], &run->order[0], kind * sizeof run->order[0]);
    run->order[0] = (uint16_t)kind;
    return (int)kind;
}

static uint64_t hash_tail(const uint8_t *tail, uint32_t n, unsigned kind)
{
    uint64_t h = vs_hash_word(0, (uint64_t)n << 16 | kind), word;
    for (; n >= sizeof word; n -= (uint32_t)sizeof word, tail += sizeof word) {
        memcpy(&word, tail, sizeof word);
        h = vs_hash_word(h, word);
    }
    return h;
}

static void rehash(struct vs_flow_run *run)
{
    uint32_t n = run->n_buckets * 4;
    struct program **fresh = calloc(n, sizeof(struct program *));
    if (fresh == NULL)
        return; /* longer chains */
    for (uint32_t i = 0; i < run->n_buckets; i++)
        for (struct program *p = run->bucket[i], *next; p != NULL; p = next) {
            next = p->next;
            p->next = fresh[p->hash % n];
            fresh[p->hash % n] = p;
        }
    free(run->bucket);
    run->bucket = fresh;
    run->n_buckets = n;
}

static void *append(uint8_t **to, const void *from, size_t size)
{
    uint8_t *own = *to;
    if (size > 0)
        memcpy(own, from, size);
    *to += size;
    return own;
}

int vs_flow_run_program(vs_flow_run *run, int kind, const uint8_t *tail, const uint8_t *mask, uint32_t n,
                        uint32_t program, const struct vs_rule_spec *spec, const struct vs_action *actions,
                        const struct vs_run_edit *edits, uint32_t n_edits)
{
    size_t n_actions = (size_t)spec->n_apply + spec->n_write;
    if (kind < 0 || (unsigned)kind >= run->n_templates || n % 8 != 0 || n > VS_RUN_TAIL ||
        !edits_valid(edits, n_edits, n, actions, n_actions))
        return -EINVAL;
    struct program *p = calloc(1, sizeof *p + n_actions * sizeof *actions + n_edits * sizeof *edits + 2 * n);
    if (p == NULL)
        return -ENOMEM;
    uint8_t *own = (uint8_t *)(p + 1);
    p->actions = append(&own, actions, n_actions * sizeof *actions);
    p->edits = append(&own, edits, n_edits * sizeof *edits);
    p->tail = append(&own, tail, n);
    p->mask = append(&own, mask, n_edits > 0 ? n : 0);
    p->n = n;
    p->n_edits = n_edits;
    p->number = program;
    p->kind = (uint16_t)kind;
    p->spec = *spec;
    p->hash = hash_tail(tail, n, (unsigned)kind);
    if (n_edits == 0 && run->n_programs++ >= run->n_buckets)
        rehash(run);
    struct program **at = n_edits > 0 ? &run->edited : &run->bucket[p->hash % run->n_buckets];
    p->next = *at;
    *at = p;
    return 0;
}

/* ---- messages ------------------------------------------------------------------------------------------------------ */

/* `n` is a multiple of 8. */
static bool looks_like(const uint8_t *data, const uint8_t *mask, const uint8_t *want, uint32_t n)
{
    for (uint32_t i = 0; i < n; i += 8) {
        uint64_t d, m, w;
        memcpy(&d, data + i, 8);
        memcpy(&m, mask + i, 8);
        memcpy(&w, want + i, 8);
        if ((d & m) != w)
            return false;
    }
    return true;
}

/* The template of a whole message; it comes to the front. */
static const struct template *find_template(struct vs_flow_run *run, const uint8_t *msg, uint32_t length,
                                            unsigned *kind)
{
    for (unsigned i = 0; i < run->n_templates; i++) {
        unsigned at = run->order[i];
        const struct template *t = run->template[at];
        if (t->n > length || !looks_like(msg, t->mask, t->head, t->n))
            continue;
        if (i > 0) {
            memmove(&run->order[1], &run->order[0], i * sizeof run->order[0]);
            run->order[0] = (uint16_t)at;
        }
        *kind = at;
        return t;
    }
    return NULL;
}

static const struct program *find_program(const struct vs_flow_run *run, const uint8_t *tail, uint32_t n,
                                          unsigned kind)
{
    if (n % 8 != 0 || n > VS_RUN_TAIL)
        return NULL;
    uint64_t hash = hash_tail(tail, n, kind);
    for (const struct program *p = run->bucket[hash % run->n_buckets]; p != NULL; p = p->next)
        if (p->hash == hash && p->kind == kind && p->n == n && memcmp(p->tail, tail, n) == 0)
            return p;
    for (const struct program *p = run->edited; p != NULL; p = p->next)
        if (p->kind == kind && p->n == n && looks_like(tail, p->mask, p->tail, n))
            return p;
    return NULL;
}

static uint32_t message_length(const uint8_t *data, size_t len)
{
    if (len < HEADER)
        return 0;
    uint32_t length = vs_get_be16(data + LENGTH_AT);
    return length < HEADER || length > len ? 0 : length;
}

/* Put a value so that it ends at `end` of what is behind `to`. Several fields may share a byte: bits are added. */
static void put(uint8_t *to, unsigned end, const uint8_t *from, unsigned size, unsigned shift)
{
    if (shift == 0) {
        for (unsigned i = 0; i < size; i++)
            to[end - size + i] |= from[i];
        return;
    }
    uint64_t value = 0;
    for (unsigned i = 0; i < size; i++)
        value = value << 8 | from[i];
    for (value <<= shift; value != 0 && end > 0; value >>= 8)
        to[--end] |= (uint8_t)value;
}

static void gather(const struct template *t, const uint8_t *msg, struct vs_key *key, uint8_t *packed)
{
    for (uint32_t i = 0; i < t->n_slots; i++) {
        const struct vs_run_slot *s = &t->slot[i];
        put(packed, s->packed_end, msg + s->from, s->size, 0);
        put((uint8_t *)key, s->key_end, msg + s->from, s->size, s->shift);
    }
}

int vs_flow_run_kind(vs_flow_run *run, const uint8_t *data, size_t len)
{
    unsigned kind;
    uint32_t length = message_length(data, len);
    return length != 0 && find_template(run, data, length, &kind) != NULL ? (int)kind : -1;
}

static uint64_t add_rule(struct vs_flow_run *run, const struct template *t, const struct program *p,
                         const uint8_t *tail, const struct vs_rule_spec *spec, const struct vs_key *key)
{
    struct vs_action actions[VS_RUN_ACTIONS];
    if (p->n_edits == 0)
        return vs_bridge_rule_add(run->bridge, spec, key, &t->common.key_mask, p->actions);
    memcpy(actions, p->actions, (spec->n_apply + spec->n_write) * sizeof actions[0]);
    for (uint32_t i = 0; i < p->n_edits; i++) {
        const struct vs_run_edit *e = &p->edits[i];
        struct vs_action *a = &actions[e->action];
        memset(a->value, 0, sizeof a->value);
        put(a->value, e->end, tail + e->from, e->size, e->shift);
    }
    return vs_bridge_rule_add(run->bridge, spec, key, &t->common.key_mask, actions);
}

/* One message of a known kind; false: a rule could not be made. */
static bool take(struct vs_flow_run *run, const struct template *t, const struct program *p,
                 const uint8_t *msg, struct vs_run_flow *to)
{
    struct vs_key key = t->common.key;
    const struct vs_run_places *at = &t->common.at;
    to->rule = 0;
    memcpy(to->key, t->common.packed, sizeof to->key);
    gather(t, msg, &key, to->key);
    if (at->priority != 0)
        memcpy(to->key + VS_RUN_KEY - 2, msg + at->priority, 2);
    to->cookie = (uint64_t)vs_get_be32(msg + at->cookie) << 32 | vs_get_be32(msg + at->cookie + 4);
    to->idle = vs_get_be16(msg + at->idle);
    to->hard = vs_get_be16(msg + at->hard);
    to->kind = p->kind;
    to->program = p->number;
    if (!t->common.adds)
        return true;
    if (run->bridge == NULL)
        return false;
    struct vs_rule_spec spec = p->spec;
    spec.priority = vs_get_be16(to->key + VS_RUN_KEY - 2);
    spec.cookie = to->cookie;
    to->rule = add_rule(run, t, p, msg + t->n, &spec, &key);
    return to->rule != 0;
}

/* What a whole message of this version is; NULL: not known. */
static const struct program *find(struct vs_flow_run *run, int version, const uint8_t *msg, uint32_t length,
                                  const struct template **found)
{
    unsigned kind;
    const struct template *t =
        length == 0 || msg[0] != version ? NULL : find_template(run, msg, length, &kind);
    *found = t;
    return t == NULL ? NULL : find_program(run, msg + t->n, length - t->n, kind);
}

uint32_t vs_flow_run_unwrap(vs_flow_run *run, int version, const uint8_t *mask, const uint8_t *head,
                            uint32_t n, const uint8_t *data, size_t len, uint8_t *to, uint32_t max,
                            size_t *used, size_t *copied)
{
    uint32_t count = 0;
    size_t at = 0, size = 0;
    for (; count < max; count++) {
        const uint8_t *outer = data + at, *inner = outer + n;
        uint32_t whole = message_length(outer, len - at);
        if (whole < n || !looks_like(outer, mask, head, n))
            break;
        uint32_t length = message_length(inner, whole - n);
        const struct template *t;
        if (length == 0 || length != whole - n || memcmp(outer + XID_AT, inner + XID_AT, 4) != 0 ||
            find(run, version, inner, length, &t) == NULL)
            break;
        memcpy(to + size, inner, length);
        size += length;
        at += whole;
    }
    *used = at;
    *copied = size;
    return count;
}

uint32_t vs_flow_run_take(vs_flow_run *run, int version, const uint8_t *data, size_t len,
                          struct vs_run_flow *to, uint32_t max, size_t *used)
{
    uint32_t n = 0;
    size_t at = 0;
    while (n < max) {
        const uint8_t *msg = data + at;
        uint32_t length = message_length(msg, len - at);
        const struct template *t;
        const struct program *p = find(run, version, msg, length, &t);
        if (p == NULL || !take(run, t, p, msg, &to[n]))
            break;
        to[n].tail = (uint32_t)(at + t->n);
        to[n].n_tail = (uint16_t)p->n;
        at += length;
        n++;
    }
    *used = at;
    return n;
}
