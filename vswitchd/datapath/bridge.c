/* bridge.c: staging, committing and retiring rules; ports of a bridge; see bridge.h. */
#include "bridge.h"

#include <errno.h>
#include <stdlib.h>

#include "datapath.h"
#include "direct.h"
#include "edit.h"
#include "qsbr.h"

/* ---- the view ------------------------------------------------------------------------------------------------------ */

/* The next view. `rules`: of a commit of rules, the only one that may look at other bits than the one before: cached entries are judged
 * by what was committed since (changes.h). */
static struct vs_view *view_new(const struct vs_bridge *b, const struct vs_view *old, bool rules)
{
    struct vs_view *v = calloc(1, sizeof *v);
    if (v == NULL)
        return NULL;
    if (old != NULL)
        *v = *old;
    v->version++;
    if (vs_version_half_way(v->version)) {
        vs_dp_next_era(b->dp);
        vs_changes_reset(&v->changes, (uint32_t)v->version);
    }
    const struct vs_table *first = atomic_load_explicit(&b->tables[0], memory_order_relaxed);
    v->direct = first != NULL && vs_direct_pays(first);
    if (old == NULL || (rules && b->masks_changed)) {
        v->used = b->masks_edited;
        memset(v->used.in_port, 0xff, sizeof v->used.in_port);
        memset(v->used.bridge, 0xff, sizeof v->used.bridge);
        for (unsigned i = 0; i < VS_MAX_TABLES; i++) {
            const struct vs_table *t = atomic_load_explicit(&b->tables[i], memory_order_relaxed);
            if (t != NULL)
                vs_table_used_mask(t, &v->used);
        }
        /* Metadata starts as zero in every packet: what rules match of it was written by the walk itself. */
        memset(v->used.metadata, 0, sizeof v->used.metadata);
        memset(v->used.tunnel_id, 0,
               sizeof v->used.tunnel_id); /* so does the tunnel id, until there are tunnels */
        v->words = vs_key_word_map(&v->used);
        v->n_words = 0;
        for (unsigned i = 0; i < VS_KEY_WORDS; i++)
            if (v->words & (1u << i))
                v->index[v->n_words++] = (uint8_t)i;
        v->ext = (v->words >> VS_KEY_WORDS0) != 0;
    }
    return v;
}

static void view_publish(struct vs_bridge *b, struct vs_view *v)
{
    struct vs_view *old = atomic_load_explicit(&b->view, memory_order_relaxed);
    struct vs_change_log before = old->changes;
    atomic_store_explicit(&b->view, v, memory_order_release); /* pairs with the load at batch start */
    vs_qsbr_defer(&vs_qsbr, free, old);
    vs_changes_swap(&before, &v->changes);
}

/* A commit: groups and meters that are staged are shown by this view. What changes a setting only leaves them staged, else it
 * would show a part of a bundle. */
static void view_publish_staged(struct vs_bridge *b, struct vs_view *v)
{
    struct vs_item_map *groups = v->groups, *meters = v->meters;
    if (b->groups.map != NULL)
        v->groups = b->groups.map;
    if (b->meters.map != NULL)
        v->meters = b->meters.map;
    view_publish(b, v);
    vs_items_shown(&b->groups, groups);
    vs_items_shown(&b->meters, meters);
}

/* ---- rules --------------------------------------------------------------------------------------------------------- */

static struct vs_table *table_at(struct vs_bridge *b, uint8_t id)
{
    struct vs_table *t = atomic_load_explicit(&b->tables[id], memory_order_relaxed);
    if (t != NULL)
        return t;
    t = aligned_alloc(VS_CACHE_LINE, (sizeof *t + VS_CACHE_LINE - 1) / VS_CACHE_LINE * VS_CACHE_LINE);
    if (t == NULL || vs_table_init(t, id) != 0) {
        free(t);
        return NULL;
    }
    atomic_store_explicit(&b->tables[id], t, memory_order_release); /* pairs with the walk */
    return t;
}

/* The walk relies on it: tables exist and only lead forward (OpenFlow 1.3.5, 5.1.1). */
static bool spec_valid(const struct vs_rule_spec *spec, const struct vs_action *actions)
{
    bool leads_on =
        spec->goto_table == -1 || (spec->goto_table > spec->table && spec->goto_table < VS_MAX_TABLES);
    return spec->table < VS_MAX_TABLES && leads_on && spec->priority >= 0 && spec->n_apply <= UINT16_MAX &&
           spec->n_write <= UINT16_MAX && vs_actions_valid(actions, spec->n_apply + spec->n_write);
}

uint64_t vs_bridge_rule_add(vs_bridge *b, const struct vs_rule_spec *spec, const struct vs_key *value,
                            const struct vs_key *mask, const struct vs_action *actions)
{
    if (!spec_valid(spec, actions))
        return 0;
    struct vs_table *t = table_at(b, spec->table);
    if (t == NULL || (spec->goto_table >= 0 && table_at(b, (uint8_t)spec->goto_table) == NULL))
        return 0;
    struct vs_rule_body body = {.actions = actions,
                                .n_apply = (uint16_t)spec->n_apply,
                                .n_write = (uint16_t)spec->n_write,
                                .goto_table = spec->goto_table,
                                .clear = spec->clear};
    memcpy(&body.metadata, spec->metadata, sizeof body.metadata);
    memcpy(&body.metadata_mask, spec->metadata_mask, sizeof body.metadata_mask);
    struct vs_rule *r = vs_rule_new(t, spec->priority, value, mask, &body);
    if (r == NULL)
        return 0;
    r->cookie = spec->cookie;
    unsigned masks = vs_table_n_masks(t);
    if (vs_table_insert(t, r, mask) != 0) {
        vs_rule_free(r);
        return 0;
    }
    if (vs_table_n_masks(t) != masks)
        b->masks_changed = true;
    vs_changes_edits(&b->edited, r->instructions);
    struct vs_key before = b->masks_edited;
    for (unsigned i = 0; i < body.n_apply; i++)
        vs_edit_key_sources(&b->masks_edited, &actions[i]);
    if (memcmp(&before, &b->masks_edited, sizeof before) != 0)
        b->masks_changed = true;
    r->list_next = b->staged_add;
    b->staged_add = r;
    b->n_rules++;
    return (uint64_t)(uintptr_t)r;
}

void vs_bridge_rule_remove(vs_bridge *b, uint64_t rule)
{
    struct vs_rule *r = (struct vs_rule *)(uintptr_t)rule;
    /* One that was never committed: it leaves as it came, by the same road. */
    if (atomic_load_explicit(&r->added, memory_order_relaxed) == UINT64_MAX) {
        struct vs_rule **at = &b->staged_add;
        while (*at != r)
            at = &(*at)->list_next;
        *at = r->list_next;
    }
    r->list_next = b->staged_remove;
    b->staged_remove = r;
    b->n_rules--;
}

int vs_bridge_commit(vs_bridge *b)
{
    const struct vs_view *old = atomic_load_explicit(&b->view, memory_order_relaxed);
    bool rules = b->staged_add != NULL || b->staged_remove != NULL;
    if (!rules && b->groups.map == NULL && b->meters.map == NULL)
        return 0;
    struct vs_view *v = view_new(b, old, rules);
    if (v == NULL)
        return -ENOMEM;
    if (!rules) { /* the caches stay right: groups and meters are looked up when actions run */
        v->version--;
        view_publish_staged(b, v);
        return 0;
    }
    b->masks_changed = false;
    v->changes.made_ms = vs_dp_now_ms(b->dp);
    if (vs_changes_lost_bits(&old->used, &v->used))
        vs_changes_reset(&v->changes, (uint32_t)v->version);
    else
        vs_changes_next(&v->changes, (uint32_t)v->version, &b->edited, b->staged_add, b->staged_remove);
    for (struct vs_rule *r = b->staged_add, *next; r != NULL; r = next) {
        next = r->list_next;
        r->list_next = NULL;
        atomic_store_explicit(&r->added, v->version, memory_order_relaxed);
    }
    for (struct vs_rule *r = b->staged_remove, *next; r != NULL; r = next) {
        next = r->list_next;
        atomic_store_explicit(&r->removed, v->version, memory_order_relaxed);
        r->list_next = b->zombies;
        b->zombies = r;
    }
    b->staged_add = b->staged_remove = NULL;
    view_publish_staged(b, v);
    if (b->zombies != NULL)
        b->zombie_epoch = vs_qsbr_begin(&vs_qsbr);
    return 0;
}

void vs_bridge_rollback(vs_bridge *b)
{
    vs_items_rollback(&b->groups);
    vs_items_rollback(&b->meters);
    for (struct vs_rule *r = b->staged_remove, *next; r != NULL; r = next) {
        next = r->list_next;
        r->list_next = NULL;
        b->n_rules++;
        if (atomic_load_explicit(&r->added, memory_order_relaxed) == UINT64_MAX) { /* as if still staged */
            r->list_next = b->staged_add;
            b->staged_add = r;
        }
    }
    b->staged_remove = NULL;
    bool any = b->staged_add != NULL;
    for (struct vs_rule *r = b->staged_add, *next; r != NULL;
         r = next) { /* never seen by a packet, but linked */
        next = r->list_next;
        r->list_next = b->zombies;
        b->zombies = r;
        b->n_rules--;
    }
    b->staged_add = NULL;
    if (any)
        b->zombie_epoch = vs_qsbr_begin(&vs_qsbr);
}

static void tidy_tables(struct vs_bridge *b)
{
    for (unsigned i = 0; i < VS_MAX_TABLES; i++) {
        struct vs_table *t = atomic_load_explicit(&b->tables[i], memory_order_relaxed);
        if (t == NULL)
            continue;
        unsigned masks = vs_table_n_masks(t);
        vs_table_tidy(t);
        if (vs_table_n_masks(t) != masks)
            b->masks_changed = true; /* the next commit looks at fewer bits */
    }
}

/* zombies: not in the newest view --grace period--> unlinked, dead, dying --all cores swept--> retired. Who is in no path but its own
 * need not wait for a sweep. */
static void bury_zombies(struct vs_bridge *b)
{
    uint64_t epoch = vs_dp_next_sweep(b->dp);
    bool sweep = false;
    for (struct vs_rule *r = b->zombies, *next; r != NULL; r = next) {
        next = r->list_next;
        vs_table_unlink(r->table, r);
        bool in_path = atomic_load_explicit(&r->in_path, memory_order_relaxed) != 0;
        r->gc_epoch = in_path ? epoch : 0;
        sweep = sweep || in_path;
        r->list_next = b->dying;
        b->dying = r;
        atomic_store_explicit(&r->dead, 1, memory_order_relaxed); /* published by the sweep epoch */
    }
    b->zombies = NULL;
    tidy_tables(b);
    if (sweep)
        vs_dp_start_sweep(b->dp, epoch);
}

void vs_bridge_housekeep(struct vs_bridge *b, uint64_t swept)
{
    if (b->zombies != NULL && vs_qsbr_passed(&vs_qsbr, b->zombie_epoch))
        bury_zombies(b);
    struct vs_rule **at = &b->dying;
    while (*at != NULL) {
        struct vs_rule *r = *at;
        if (r->gc_epoch > swept) {
            at = &r->list_next;
            continue;
        }
        *at = r->list_next;
        vs_dp_forget_rule(b->dp, r);
        r->list_next = b->retired;
        b->retired = r;
    }
}

uint32_t vs_bridge_take_retired(vs_bridge *b, struct vs_retired *to, uint32_t max)
{
    uint32_t n = 0;
    while (b->retired != NULL && n < max) {
        struct vs_rule *r = b->retired;
        struct vs_rule_stats s;
        b->retired = r->list_next;
        vs_rule_read((uint64_t)(uintptr_t)r, &s);
        to[n++] = (struct vs_retired){(uint64_t)(uintptr_t)r, s.packets, s.bytes, s.used_ms};
        vs_qsbr_defer(&vs_qsbr, (void (*)(void *))vs_rule_free, r);
    }
    return n;
}

/* ---- ports --------------------------------------------------------------------------------------------------------- */

static int publish_members(struct vs_bridge *b, struct vs_port *add, const struct vs_port *remove)
{
    struct vs_member_list *old = atomic_load_explicit(&b->members, memory_order_relaxed);
    struct vs_member_list *fresh = malloc(sizeof *fresh + (old->n + 1) * sizeof(void *));
    if (fresh == NULL)
        return -ENOMEM;
    fresh->n = 0;
    for (unsigned i = 0; i < old->n; i++)
        if (old->port[i] != remove)
            fresh->port[fresh->n++] = old->port[i];
    if (add != NULL)
        fresh->port[fresh->n++] = add;
    atomic_store_explicit(&b->members, fresh, memory_order_release); /* pairs with flood */
    vs_qsbr_defer(&vs_qsbr, free, old);
    return 0;
}

int vs_bridge_add_port(struct vs_bridge *b, struct vs_port *p, uint32_t ofport)
{
    if (ofport != VS_OFPP_LOCAL && (ofport == 0 || ofport >= 0xff00))
        return -EINVAL;
    if (vs_bridge_port(b, ofport) != NULL)
        return -EEXIST;
    p->ofport = ofport; /* before any core can see the port */
    __atomic_store_n(&p->bridge, b,
                     __ATOMIC_RELEASE); /* pairs with patch_tx: the peer may know this port already */
    if (publish_members(b, p, NULL) != 0) {
        p->bridge = NULL;
        return -ENOMEM;
    }
    atomic_store_explicit(ofport == VS_OFPP_LOCAL ? &b->local : &b->by_ofport[ofport], p,
                          memory_order_release);
    return 0;
}

void vs_bridge_remove_port(struct vs_bridge *b, struct vs_port *p)
{
    atomic_store_explicit(p->ofport == VS_OFPP_LOCAL ? &b->local : &b->by_ofport[p->ofport], NULL,
                          memory_order_release);
    while (publish_members(b, NULL, p) != 0)
        vs_qsbr_drain(&vs_qsbr); /* frees what waits; a removal must not fail */
}

/* ---- life and settings --------------------------------------------------------------------------------------------- */

static void forget_rule(void *dp, struct vs_rule *r)
{
    vs_dp_forget_rule(dp, r);
}

static void free_tables(struct vs_bridge *b)
{
    for (unsigned i = 0; i < VS_MAX_TABLES; i++) {
        struct vs_table *t = atomic_load_explicit(&b->tables[i], memory_order_relaxed);
        if (t != NULL) {
            vs_table_destroy(t, forget_rule,
                             b->dp); /* staged rules and zombies are still linked: freed here */
            free(t);
        }
    }
}

struct vs_bridge *vs_bridge_new(struct vs_dp *dp, const char *name, uint16_t index)
{
    struct vs_bridge *b = calloc(1, sizeof *b);
    if (b == NULL)
        return NULL;
    b->dp = dp;
    b->index = index;
    strncpy(b->name, name, sizeof b->name - 1);
    struct vs_view *view = view_new(b, NULL, true);
    struct vs_member_list *members = calloc(1, sizeof *members);
    struct vs_item_map *groups = vs_items_new(), *meters = vs_items_new();
    vs_mac_table *macs = vs_mac_table_new(8192, 300);
    const struct vs_table *first = table_at(b, 0); /* where walks begin */
    if (view != NULL)
        view->version += dp->last_version; /* newer than any cache entry of a bridge that had this index */
    if (view == NULL || members == NULL || groups == NULL || meters == NULL || macs == NULL ||
        first == NULL) {
        free_tables(b);
        free(view);
        free(members);
        free(groups);
        free(meters);
        if (macs != NULL)
            vs_mac_table_free(macs);
        free(b);
        return NULL;
    }
    view->groups = groups;
    view->meters = meters;
    vs_changes_reset(&view->changes, (uint32_t)view->version);
    atomic_init(&b->view, view);
    atomic_init(&b->members, members);
    atomic_init(&b->macs, macs);
    return b;
}

static void free_list(vs_dp *dp, struct vs_rule *r)
{
    while (r != NULL) {
        struct vs_rule *next = r->list_next;
        vs_dp_forget_rule(dp, r);
        vs_rule_free(r);
        r = next;
    }
}

void vs_bridge_free(struct vs_bridge *b)
{
    free_tables(b);
    free_list(b->dp, b->dying);
    free_list(b->dp, b->retired);
    vs_items_rollback(&b->groups);
    vs_items_rollback(&b->meters);
    const struct vs_view *view = atomic_load_explicit(&b->view, memory_order_relaxed);
    vs_items_destroy(view->groups);
    vs_items_destroy(view->meters);
    free(atomic_load_explicit(&b->members, memory_order_relaxed));
    vs_changes_free(&view->changes);
    free(atomic_load_explicit(&b->view, memory_order_relaxed));
    vs_mac_table_free(atomic_load_explicit(&b->macs, memory_order_relaxed));
    free(b);
}

int vs_bridge_set_punt_miss(vs_bridge *b, int on)
{
    struct vs_view *v = view_new(b, atomic_load_explicit(&b->view, memory_order_relaxed), false);
    if (v == NULL)
        return -ENOMEM;
    v->punt_miss = on != 0;
    vs_changes_reset(&v->changes, (uint32_t)v->version);
    view_publish(b, v);
    return 0;
}

int vs_bridge_set_drop_fragments(vs_bridge *b, int drop)
{
    struct vs_view *v = view_new(b, atomic_load_explicit(&b->view, memory_order_relaxed), false);
    if (v == NULL)
        return -ENOMEM;
    v->version--; /* no rule changed: the caches stay right */
    v->drop_fragments = drop != 0;
    view_publish(b, v);
    return 0;
}

void vs_bridge_stats(vs_bridge *b, struct vs_bridge_stats *to)
{
    to->version = atomic_load_explicit(&b->view, memory_order_relaxed)->version;
    to->n_rules = b->n_rules;
    to->n_ports = atomic_load_explicit(&b->members, memory_order_relaxed)->n;
    to->n_masks = to->n_subtables = 0;
    for (unsigned i = 0; i < VS_MAX_TABLES; i++) {
        const struct vs_table *t = atomic_load_explicit(&b->tables[i], memory_order_relaxed);
        if (t != NULL) {
            to->n_masks += vs_table_n_masks(t);
            to->n_subtables += vs_table_n_subtables(t);
        }
    }
}

void vs_bridge_table_stats(vs_bridge *b, unsigned table, uint64_t *lookups, uint64_t *matches,
                           uint32_t *rules)
{
    const struct vs_table *t =
        table < VS_MAX_TABLES ? atomic_load_explicit(&b->tables[table], memory_order_relaxed) : NULL;
    *lookups = *matches = *rules = 0;
    if (t == NULL)
        return;
    *lookups = t->lookups + atomic_load_explicit(&t->direct_lookups, memory_order_relaxed);
    *matches = t->matches + atomic_load_explicit(&t->direct_matches, memory_order_relaxed);
    *rules = t->n_rules;
}

void vs_bridge_used_mask(vs_bridge *b, struct vs_key *to)
{
    *to = atomic_load_explicit(&b->view, memory_order_relaxed)->used;
}

vs_mac_table *vs_bridge_macs(vs_bridge *b)
{
    return atomic_load_explicit(&b->macs, memory_order_relaxed);
}

static void free_macs(void *macs)
{
    vs_mac_table_free(macs);
}

int vs_bridge_set_macs(vs_bridge *b, uint32_t limit, uint32_t ageing_s)
{
    vs_mac_table *old = vs_bridge_macs(b);
    if (vs_mac_table_set(old, limit, ageing_s) >= limit)
        return 0;
    vs_mac_table *fresh = vs_mac_table_new(limit, ageing_s);
    if (fresh == NULL)
        return -ENOMEM;
    atomic_store_explicit(&b->macs, fresh, memory_order_release); /* pairs with vs_output_normal */
    vs_qsbr_defer(&vs_qsbr, free_macs, old);
    return 0;
}

void vs_bridge_set_forward_bpdu(vs_bridge *b, int on)
{
    atomic_store_explicit(&b->forward_bpdu, on != 0, memory_order_relaxed);
}

void vs_bridge_set_punt_ttl(vs_bridge *b, int on)
{
    atomic_store_explicit(&b->punt_ttl, on != 0, memory_order_relaxed);
}
