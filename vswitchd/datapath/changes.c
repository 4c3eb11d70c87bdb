/* changes.c: noting what a commit changes; see changes.h. */
#include "changes.h"

#include <stdlib.h>

#include "shape.h"
#include "qsbr.h"

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
        uint64_t times = vs_mix(vs_hash_secret, m->index[i] + UINT64_C(1)) | 1;
        c->word[c->n_words++] = (struct vs_change_word){mask, times, m->index[i]};
    }
}

static bool same_mask(const struct vs_change *a, const struct vs_change *b)
{
    return a->n_words == b->n_words && memcmp(a->word, b->word, a->n_words * sizeof a->word[0]) == 0;
}

static void take_seat(struct vs_change *c, const struct vs_rule *r, uint32_t version)
{
    const struct vs_mask *m = vs_rule_mask(r);
    const uint64_t *words = vs_rule_words(r);
    uint64_t key[VS_KEY_WORDS] = {0};
    for (unsigned i = 0; i < m->n_words; i++)
        key[m->index[i]] = words[i];
    atomic_store_explicit(&c->since[vs_change_seat(c, key)], version, memory_order_relaxed);
}

/* The kind with this mask, or a new one in place of the oldest. NULL: all changed in this commit, or there is no memory. */
static struct vs_change *find_kind(struct vs_change_log *log, const struct vs_change *like, uint32_t version)
{
    struct vs_change_ref found = {NULL, version};
    unsigned i = 0;
    while (i < log->n && !same_mask(log->at[i].kind, like))
        i++;
    if (i < log->n) {
        found.kind = log->at[i].kind;
    } else {
        if (i == VS_CHANGE_KINDS && log->at[i - 1].last == version)
            return NULL;
        found.kind = malloc(sizeof *found.kind);
        if (found.kind == NULL)
            return NULL;
        if (i == VS_CHANGE_KINDS)
            log->from = log->at[--i].last;
        else
            log->n++;
        memcpy(found.kind, like, offsetof(struct vs_change, since));
        for (unsigned j = 0; j < VS_CHANGE_SEATS; j++)
            atomic_init(&found.kind->since[j], log->from);
    }
    memmove(&log->at[1], &log->at[0], i * sizeof log->at[0]);
    log->at[0] = found;
    return found.kind;
}

static bool note(struct vs_change_log *log, const struct vs_edited *e, uint32_t version,
                 const struct vs_rule *list)
{
    struct vs_change like;
    for (; list != NULL; list = list->list_next) {
        set_mask(&like, e, list);
        struct vs_change *kind = find_kind(log, &like, version);
        if (kind == NULL)
            return false;
        take_seat(kind, list, version);
    }
    return true;
}

static uint32_t count(const struct vs_rule *list)
{
    uint32_t n = 0;
    for (; list != NULL && n <= VS_CHANGE_RULES; list = list->list_next)
        n++;
    return n;
}

void vs_changes_reset(struct vs_change_log *log, uint32_t version)
{
    *log = (struct vs_change_log){.made_ms = log->made_ms, .from = version};
}

static bool has(const struct vs_change_log *log, const struct vs_change *kind)
{
    for (unsigned i = 0; i < log->n; i++)
        if (log->at[i].kind == kind)
            return true;
    return false;
}

void vs_changes_next(struct vs_change_log *log, uint32_t version, const struct vs_edited *e,
                     const struct vs_rule *come, const struct vs_rule *go)
{
    const struct vs_change_log old = *log;
    if (count(come) + count(go) <= VS_CHANGE_RULES && note(log, e, version, come) &&
        note(log, e, version, go))
        return;
    for (unsigned i = 0; i < log->n; i++)
        if (!has(&old, log->at[i].kind))
            free(log->at[i].kind);
    vs_changes_reset(log, version);
}

void vs_changes_free(const struct vs_change_log *log)
{
    for (unsigned i = 0; i < log->n; i++)
        free(log->at[i].kind);
}

void vs_changes_swap(const struct vs_change_log *old, const struct vs_change_log *fresh)
{
    for (unsigned i = 0; i < old->n; i++)
        if (!has(fresh, old->at[i].kind))
            vs_qsbr_defer(&vs_qsbr, free, old->at[i].kind);
}

bool vs_changes_lost_bits(const struct vs_key *old, const struct vs_key *fresh)
{
    const uint64_t *a = vs_key_cwords(old), *b = vs_key_cwords(fresh);
    uint64_t lost = 0;
    for (unsigned i = 0; i < VS_KEY_WORDS; i++)
        lost |= a[i] & ~b[i];
    return lost != 0;
}
