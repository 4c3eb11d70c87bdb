/* group.c: making groups and reading their counters; see group.h. */
#include "group.h"

#include <errno.h>
#include <stdlib.h>

#include "bridge.h"

static void group_free(struct vs_item *item)
{
    struct vs_group *g = (struct vs_group *)(void *)item;
    if (--g->counts->users == 0)
        free(g->counts);
    free(g);
}

static const struct vs_group *newest(const vs_bridge *b, uint32_t id)
{
    const struct vs_view *v = atomic_load_explicit(&b->view, memory_order_relaxed);
    return (const struct vs_group *)(const void *)vs_items_find(vs_items_newest(&b->groups, v->groups), id);
}

/* Does it change the packet, or what goes with it to the ports? */
static bool edits(const struct vs_action *a)
{
    return a->type != VS_ACT_OUTPUT && a->type != VS_ACT_GROUP && a->type != VS_ACT_DROP;
}

static void fill_buckets(struct vs_group *g, const struct vs_bucket_spec *buckets, struct vs_action *own)
{
    for (uint32_t i = 0; i < g->n_buckets; i++) {
        struct vs_group_bucket *to = &g->buckets[i];
        to->actions = own;
        to->n_actions = (uint16_t)buckets[i].n_actions;
        to->weight = buckets[i].weight;
        to->watch_port = buckets[i].watch_port;
        to->watch_group = buckets[i].watch_group;
        to->watches = to->watch_port != VS_OFPP_ANY || to->watch_group != VS_OFPG_ANY;
        to->upto = g->weights += to->weight;
        for (uint32_t j = 0; j < to->n_actions; j++)
            to->edits |= edits(&own[j]);
        own += to->n_actions;
    }
}

int vs_bridge_group_set(vs_bridge *b, uint32_t id, int type, const struct vs_action *actions,
                        const struct vs_bucket_spec *buckets, uint32_t n)
{
    size_t total = 0;
    if (n > UINT16_MAX)
        return -EINVAL;
    for (uint32_t i = 0; i < n; i++) {
        total += buckets[i].n_actions;
        if (buckets[i].n_actions > UINT16_MAX)
            return -EINVAL;
    }
    if (!vs_actions_valid(actions, total))
        return -EINVAL;
    struct vs_group *g = calloc(1, sizeof *g + n * sizeof g->buckets[0] + total * sizeof *actions);
    const struct vs_group *old = newest(b, id); /* OFPGC_MODIFY keeps the group's counters */
    struct vs_group_counts *counts = old != NULL ? old->counts : calloc(1, sizeof *counts);
    if (g == NULL || counts == NULL) {
        free(g);
        if (old == NULL)
            free(counts);
        return -ENOMEM;
    }
    struct vs_action *own = (struct vs_action *)(void *)(g->buckets + n);
    if (total > 0)
        memcpy(own, actions, total * sizeof *actions);
    g->item = (struct vs_item){.id = id, .free = group_free};
    g->type = (uint16_t)type;
    g->n_buckets = (uint16_t)n;
    g->counts = counts;
    counts->users++;
    fill_buckets(g, buckets, own);
    const struct vs_view *v = atomic_load_explicit(&b->view, memory_order_relaxed);
    int rc = vs_items_set(&b->groups, v->groups, &g->item);
    if (rc != 0)
        group_free(&g->item);
    return rc;
}

int vs_bridge_group_remove(vs_bridge *b, uint32_t id)
{
    const struct vs_view *v = atomic_load_explicit(&b->view, memory_order_relaxed);
    return vs_items_remove(&b->groups, v->groups, id);
}

int vs_bridge_group_stats(vs_bridge *b, uint32_t id, struct vs_group_stats *to, uint32_t max)
{
    const struct vs_group *g = newest(b, id);
    if (g == NULL)
        return -ENOENT;
    for (uint32_t i = 0; i <= g->n_buckets && i < max; i++) {
        const struct vs_shared_count *from = i == 0 ? &g->counts->all : &g->buckets[i - 1].count;
        to[i].packets = atomic_load_explicit(&from->packets, memory_order_relaxed);
        to[i].bytes = atomic_load_explicit(&from->bytes, memory_order_relaxed);
    }
    return 0;
}
