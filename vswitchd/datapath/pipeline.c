/* pipeline.c: the walk; see pipeline.h. */
#include "pipeline.h"

#include "edit.h"

/* The action set: at most one action of each type, one set-field per field (OpenFlow 1.3.5, 5.10). */
struct action_set {
    const struct vs_action *by_type[VS_N_ACTIONS];
    const struct vs_action *set_field[VS_N_FIELDS];
    bool any, any_field;
};

struct walk {
    const struct vs_bridge *b;
    const struct vs_view *view;
    struct vs_key *key;
    struct vs_draft *d;
    struct action_set set;
};

/* In the order of 5.10; the set-fields, and what follows them, come behind. */
static const uint8_t before_fields[] = {
    VS_ACT_COPY_TTL_IN,  VS_ACT_POP_VLAN, VS_ACT_POP_PBB,      VS_ACT_POP_MPLS,
    VS_ACT_PUSH_MPLS,    VS_ACT_PUSH_PBB, VS_ACT_PUSH_VLAN,    VS_ACT_COPY_TTL_OUT,
    VS_ACT_DEC_MPLS_TTL, VS_ACT_DEC_TTL,  VS_ACT_SET_MPLS_TTL, VS_ACT_SET_TTL,
};

static void set_write(struct action_set *set, const struct vs_instructions *in)
{
    const struct vs_action *a = in->actions + in->n_apply;
    for (unsigned i = 0; i < in->n_write; i++, a++) {
        set->any = true;
        if (a->type == VS_ACT_SET_FIELD) {
            set->set_field[a->field] = a;
            set->any_field = true;
        } else { /* a DROP takes the seat of an output: the program ends there */
            set->by_type[a->type == VS_ACT_DROP ? VS_ACT_OUTPUT : a->type] = a;
        }
    }
}

/* May it send the packet to a controller by itself? */
static bool punts(const struct vs_action *a)
{
    return (a->type == VS_ACT_OUTPUT && a->arg == VS_OFPP_CONTROLLER) || a->type == VS_ACT_GROUP ||
           a->type == VS_ACT_DEC_TTL || a->type == VS_ACT_DEC_MPLS_TTL;
}

static bool append(struct walk *w, const struct vs_action *a, uint64_t cookie)
{
    struct vs_draft *d = w->d;
    if (d->n_actions == VS_PROGRAM_ACTIONS)
        return false;
    struct vs_action *to = &d->actions[d->n_actions++];
    const struct vs_rule *r = d->rules[d->n_rules - 1];
    *to = *a;
    to->place = d->n_rules - 1u;
    if (punts(a)) {
        struct vs_punt_origin origin = {.cookie = cookie, .table = r->table_id};
        memcpy(to->value, &origin, sizeof origin);
        memcpy(to->mask, w->key->metadata, 8);
        memcpy(to->mask + 8, w->key->tunnel_id, 8);
    }
    return true;
}

/* What the set holds of that type, if anything. */
static bool append_type(struct walk *w, unsigned type)
{
    const struct vs_action *a = w->set.by_type[type];
    return a == NULL || append(w, a, UINT64_MAX);
}

static bool append_set(struct walk *w)
{
    const struct action_set *set = &w->set;
    bool ok = true;
    for (unsigned i = 0; i < sizeof before_fields; i++)
        ok = ok && append_type(w, before_fields[i]);
    for (unsigned f = 0; f < VS_N_FIELDS && set->any_field; f++)
        if (set->set_field[f] != NULL) {
            ok = ok && append(w, set->set_field[f], UINT64_MAX);
            if (f == VS_F_TUNNEL_ID) /* a packet-in tells of it */
                vs_edit_key(w->key, set->set_field[f]);
        }
    ok = ok && append_type(w, VS_ACT_SET_QUEUE);
    /* "if both an output action and a group action are specified, the output action is ignored" */
    return ok && append_type(w, set->by_type[VS_ACT_GROUP] != NULL ? VS_ACT_GROUP : VS_ACT_OUTPUT);
}

/* What a rule leaves for the tables behind it: clear-actions, write-actions, write-metadata, in this order (5.9). */
static void leave(struct walk *w, const struct vs_instructions *in)
{
    uint64_t metadata;
    if (in->clear)
        memset(&w->set, 0, sizeof w->set);
    if (in->n_write > 0)
        set_write(&w->set, in);
    memcpy(&metadata, w->key->metadata, sizeof metadata);
    metadata = (metadata & ~in->metadata_mask) | (in->metadata & in->metadata_mask);
    memcpy(w->key->metadata, &metadata, sizeof metadata);
}

/* Apply-actions of the rule found last. Sets *parse when the next table must see the packet parsed again. False: too many. */
static bool apply(struct walk *w, const struct vs_rule *r, bool *parse)
{
    const struct vs_instructions *in = r->instructions;
    for (unsigned i = 0; i < in->n_apply; i++) {
        const struct vs_action *a = &in->actions[i];
        if (!append(w, a, r->cookie))
            return false;
        if (in->goto_table < 0 && a->field != VS_F_TUNNEL_ID)
            continue;
        *parse = *parse || vs_edit_needs_parse(w->key, a);
        vs_edit_key(w->key, a);
    }
    return true;
}

/* Action set, metadata and tunnel id as the rules of the path left them. */
static void replay(struct walk *w)
{
    for (unsigned i = 0; i < w->d->n_rules; i++) {
        const struct vs_instructions *in = w->d->rules[i]->instructions;
        for (unsigned j = 0; j < in->n_apply; j++)
            if (in->actions[j].type == VS_ACT_SET_FIELD && in->actions[j].field == VS_F_TUNNEL_ID)
                vs_edit_key(w->key, &in->actions[j]);
        leave(w, in);
    }
    w->d->rules[w->d->n_rules++] = &vs_marker_recirc;
}

/* 5.4: without a table-miss entry the packet is dropped, the action set is not executed; OpenFlow 1.0 sends it to a controller.
 * False: too many actions. */
static bool miss(struct walk *w, struct vs_table *t)
{
    static const struct vs_action punt = {
        .type = VS_ACT_OUTPUT, .arg = VS_OFPP_CONTROLLER, .max_len = 0xffff, .aux = VS_PUNT_MISS};
    struct vs_draft *d = w->d;
    d->drop = VS_DROP_RX_TABLE_MISS;
    d->rules[d->n_rules++] = &t->miss;
    if (!w->view->punt_miss)
        return true;
    bool ok = append(w, &punt, UINT64_MAX);
    d->rules[d->n_rules++] = &vs_marker_punt;
    return ok;
}

/* The program ends here; the packet goes on at that table. */
static bool recirculate(struct vs_draft *d, unsigned table)
{
    if (d->n_actions == VS_PROGRAM_ACTIONS)
        return false;
    d->actions[d->n_actions++] =
        (struct vs_action){.type = VS_ACT_RECIRC, .arg = table, .place = d->n_rules - 1u};
    return true;
}

/* False: too many actions. Table 0 and all that a goto names exist (bridge.c). */
static bool walk_tables(struct walk *w, unsigned table)
{
    struct vs_draft *d = w->d;
    while (true) {
        struct vs_table *t =
            atomic_load_explicit(&w->b->tables[table], memory_order_acquire); /* pairs with table_at */
        struct vs_rule *r = vs_table_lookup(t, w->key, w->view->version);
        bool parse = false;
        if (r == NULL)
            return miss(w, t);
        int16_t next = r->instructions->goto_table;
        d->rules[d->n_rules++] = r;
        if (!apply(w, r, &parse))
            return false;
        if (parse && next >= 0)
            return recirculate(d, (unsigned)next);
        leave(w, r->instructions);
        if (next < 0)
            return !w->set.any || append_set(w);
        table = (unsigned)next;
    }
}

void vs_pipeline_walk(const struct vs_bridge *b, const struct vs_view *view, struct vs_key *key,
                      uint8_t table, struct vs_draft *d)
{
    struct walk w = {.b = b, .view = view, .key = key, .d = d};
    d->n_actions = 0;
    d->drop = VS_DROP_RX_ACTION_DROP;
    if (d->n_rules > 0)
        replay(&w);
    d->first = d->n_rules;
    if (!walk_tables(&w, table)) {
        d->n_actions = 0;
        d->drop = VS_DROP_RX_RESUBMIT_LOOP;
    }
}
