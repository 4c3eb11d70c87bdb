/* changes.c: noting what a commit changes; see changes.h. */
#include "changes.h"

#include <stdlib.h>

#include "shape.h"
#include "qsbr.h"

enum { BITS_FOR_EACH = 32, LEAST_BITS = 512 };

void vs_changes_edits(struct vs_edited *e, const struct vs_instructions *in)
{
    for (unsigned i = 0; i < in->n_apply && in->goto_table >= 0; i++) {
        const struct vs_action *a = &in->actions[i];
        switch ((enum vs_action_type)a->type) {
        case VS_ACT_OUTPUT:
        case VS_ACT_GROUP:
        case VS_ACT_METER:
        case VS_ACT_SET_QUEUE:
        case VS_ACT_DROP:
            break;
        case VS_ACT_SET_FIELD: {
            const struct vs_field_info *f = vs_field_info(a->field);
            memset((uint8_t *)&e->bits + f->offset, 0xff, f->size);
            break;
        }
        case VS_ACT_SET_TTL:
        case VS_ACT_DEC_TTL:
            memset(e->bits.ip_ttl, 0xff, sizeof e->bits.ip_ttl);
            break;
        default:
            e->layers = true;
        }
    }
}

/* The words of the rule's mask, as far as they can be told from a packet's key. */
static void set_mask(struct vs_change *c, const struct vs_edited *e, const struct vs_rule *r)
{
    const struct vs_mask *m = vs_rule_mask(r);
    const uint64_t *edited = vs_key_cwords(&e->bits);
    struct vs_key carried = {.metadata = {0}}; /* not in cached keys */
    memset(carried.metadata, 0xff, sizeof carried.metadata);
    memset(carried.tunnel_id, 0xff, sizeof carried.tunnel_id);
    const uint64_t *out = vs_key_cwords(&carried);
    c->n_words = 0;
    for (unsigned i = 0; i < m->n_words; i++) {
        uint64_t mask = m->word[i] & ~out[m->index[i]];
        if (r->table_id > 0)
            mask = e->layers ? 0 : mask & ~edited[m->index[i]];
        if (mask == 0)
            continue;
        c->index[c->n_words] = m->index[i];
        c->mask[c->n_words++] = mask;
    }
}

static bool same_mask(const struct vs_change *a, const struct vs_change *b)
{
    return a->n_words == b->n_words && memcmp(a->index, b->index, a->n_words) == 0 &&
           memcmp(a->mask, b->mask, a->n_words * sizeof a->mask[0]) == 0;
}

static void set_bit(struct vs_change *c, const struct vs_rule *r)
{
    const struct vs_mask *m = vs_rule_mask(r);
    const uint64_t *words = vs_rule_words(r);
    uint64_t h = vs_hash_secret;
    for (unsigned i = 0, j = 0; j < c->n_words; i++)
        if (m->index[i] == c->index[j])
            h = vs_mix(h, words[i] & c->mask[j++]);
    uint32_t bit = (uint32_t)h & c->bit_mask;
    c->bits[bit / 64] |= UINT64_C(1) << bit % 64;
}

/* The records of one commit while they are made. */
struct making {
    const struct vs_edited *e;
    uint32_t version, n_rules;
    unsigned n;
    struct vs_change *at[VS_CHANGE_MASKS];
};

/* False: too many masks, or no memory. */
static bool note(struct making *m, const struct vs_rule *r)
{
    struct vs_change head = {.version = m->version};
    uint32_t bits = LEAST_BITS;
    set_mask(&head, m->e, r);
    for (unsigned i = 0; i < m->n; i++)
        if (same_mask(m->at[i], &head)) {
            set_bit(m->at[i], r);
            return true;
        }
    while (bits < m->n_rules * BITS_FOR_EACH)
        bits *= 2;
    struct vs_change *c = m->n < VS_CHANGE_MASKS ? calloc(1, sizeof *c + bits / 8) : NULL;
    if (c == NULL)
        return false;
    memcpy(c, &head, sizeof head);
    c->bit_mask = bits - 1;
    set_bit(c, r);
    m->at[m->n++] = c;
    return true;
}

static uint32_t count(const struct vs_rule *list)
{
    uint32_t n = 0;
    for (; list != NULL && n <= VS_CHANGE_RULES; list = list->list_next)
        n++;
    return n;
}

static void add_record(struct vs_change_log *log, struct vs_change *c)
{
    if (log->n == VS_CHANGES) { /* entries from before the oldest can be judged no more */
        log->from = log->at[0]->version;
        memmove(&log->at[0], &log->at[1], (VS_CHANGES - 1) * sizeof log->at[0]);
        log->n--;
    }
    log->at[log->n++] = c;
}

void vs_changes_reset(struct vs_change_log *log, uint32_t version)
{
    *log = (struct vs_change_log){.from = version};
}

void vs_changes_next(struct vs_change_log *log, uint32_t version, const struct vs_edited *e,
                     const struct vs_rule *come, const struct vs_rule *go)
{
    struct making m = {.e = e, .version = version, .n_rules = count(come) + count(go)};
    bool ok = m.n_rules <= VS_CHANGE_RULES;
    for (const struct vs_rule *r = come; r != NULL && ok; r = r->list_next)
        ok = note(&m, r);
    for (const struct vs_rule *r = go; r != NULL && ok; r = r->list_next)
        ok = note(&m, r);
    for (unsigned i = 0; i < m.n; i++)
        if (ok)
            add_record(log, m.at[i]);
        else
            free(m.at[i]);
    if (!ok)
        vs_changes_reset(log, version);
}

void vs_changes_swap(const struct vs_change_log *old, const struct vs_change_log *fresh)
{
    for (unsigned i = 0; i < old->n; i++) {
        bool kept = false;
        for (unsigned j = 0; j < fresh->n && !kept; j++)
            kept = fresh->at[j] == old->at[i];
        if (!kept)
            vs_qsbr_defer(&vs_qsbr, free, old->at[i]);
    }
}

bool vs_changes_lost_bits(const struct vs_key *old, const struct vs_key *fresh)
{
    const uint64_t *a = vs_key_cwords(old), *b = vs_key_cwords(fresh);
    uint64_t lost = 0;
    for (unsigned i = 0; i < VS_KEY_WORDS; i++)
        lost |= a[i] & ~b[i];
    return lost != 0;
}
