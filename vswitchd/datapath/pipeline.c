/* pipeline.c: the walk; see pipeline.h. */
#include "pipeline.h"

#include "edit.h"

/* The action set: at most one action of each type, one set-field per field (OpenFlow 1.3.5, 5.10). */
struct action_set {
    const struct vs_action *pop_vlan, *push_vlan, *dec_ttl, *set_ttl, *group, *output;
    const struct vs_action *set_field[VS_N_FIELDS];
    const struct vs_rule *output_rule;
    uint64_t output_metadata;
    bool any, any_field;
};

static void set_write(struct action_set *set, const struct vs_rule *r, uint64_t metadata)
{
    const struct vs_action *a = r->actions + r->n_apply;
    for (unsigned i = 0; i < r->n_write; i++, a++) {
        set->any = true;
        switch ((enum vs_action_type)a->type) {
        case VS_ACT_POP_VLAN:
            set->pop_vlan = a;
            break;
        case VS_ACT_PUSH_VLAN:
            set->push_vlan = a;
            break;
        case VS_ACT_DEC_TTL:
            set->dec_ttl = a;
            break;
        case VS_ACT_SET_TTL:
            set->set_ttl = a;
            break;
        case VS_ACT_SET_FIELD:
            set->set_field[a->field] = a;
            set->any_field = true;
            break;
        case VS_ACT_GROUP:
            set->group = a;
            break;
        case VS_ACT_OUTPUT:
        case VS_ACT_DROP:
            set->output = a;
            set->output_rule = r;
            set->output_metadata = metadata;
            break;
        default:
            break;
        }
    }
}

static bool append(struct vs_draft *d, const struct vs_action *a, const struct vs_rule *r, uint64_t metadata)
{
    if (d->n_actions == VS_PROGRAM_ACTIONS)
        return false;
    struct vs_action *to = &d->actions[d->n_actions++];
    *to = *a;
    if (a->type == VS_ACT_OUTPUT && a->arg == VS_OFPP_CONTROLLER) {
        struct vs_punt_origin origin = {.cookie = r->cookie, .table = r->table_id};
        memcpy(to->value, &origin, sizeof origin);
        memcpy(to->mask, &metadata, sizeof metadata);
    }
    return true;
}

static bool append_set(struct vs_draft *d, const struct action_set *set)
{
    bool ok = true;
    const struct vs_action *before[] = {set->pop_vlan, set->push_vlan, set->dec_ttl, set->set_ttl};
    for (unsigned i = 0; i < sizeof before / sizeof before[0]; i++)
        if (before[i] != NULL)
            ok = ok && append(d, before[i], NULL, 0);
    if (set->any_field)
        for (unsigned f = 0; f < VS_N_FIELDS; f++)
            if (set->set_field[f] != NULL)
                ok = ok && append(d, set->set_field[f], NULL, 0);
    if (set->group !=
        NULL) /* "if both an output action and a group action are specified, the output action is ignored" */
        return ok && append(d, set->group, NULL, 0);
    if (set->output != NULL)
        ok = ok && append(d, set->output, set->output_rule, set->output_metadata);
    return ok;
}

/* One table. Returns the next table, -1 at the end, -2 when the program is too long. */
static int walk_rule(struct vs_rule *r, struct vs_key *key, struct vs_draft *d, struct action_set *set)
{
    uint64_t metadata;
    memcpy(&metadata, key->metadata, sizeof metadata);
    for (unsigned i = 0; i < r->n_apply; i++) {
        if (!append(d, &r->actions[i], r, metadata))
            return -2;
        if (r->goto_table >= 0)
            vs_edit_key(key, &r->actions[i]);
    }
    if (r->clear)
        memset(set, 0, sizeof *set);
    if (r->n_write > 0)
        set_write(set, r, metadata);
    metadata = (metadata & ~r->metadata_mask) | (r->metadata & r->metadata_mask);
    memcpy(key->metadata, &metadata, sizeof metadata);
    return r->goto_table;
}

void vs_pipeline_walk(const struct vs_bridge *b, const struct vs_view *view, struct vs_key *key,
                      uint8_t first_table, struct vs_draft *d)
{
    struct action_set set;
    memset(&set, 0, sizeof set);
    d->n_rules = d->n_actions = 0;
    d->drop = VS_DROP_RX_ACTION_DROP;
    int table = first_table;
    while (table >= 0) {
        struct vs_table *t =
            atomic_load_explicit(&b->tables[table], memory_order_acquire); /* pairs with table_at */
        struct vs_rule *r = t != NULL ? vs_table_lookup(t, key, view->version) : NULL;
        if (r == NULL) { /* 5.4: no table-miss entry: dropped, the action set is not executed */
            if (t != NULL)
                d->rules[d->n_rules++] = &t->miss;
            d->drop = VS_DROP_RX_TABLE_MISS;
            return;
        }
        d->rules[d->n_rules++] = r;
        table = walk_rule(r, key, d, &set);
    }
    if (table == -2 || (set.any && !append_set(d, &set))) {
        d->n_actions = 0;
        d->drop = VS_DROP_RX_RESUBMIT_LOOP;
    }
}
