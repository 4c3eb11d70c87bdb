/* group.c: OpenFlow groups of a bridge: an immutable map from id to group, swapped whole; see bridge.h. */
#include <errno.h>
#include <stdlib.h>

#include "bridge.h"
#include "qsbr.h"

const struct vs_group *vs_bridge_group(const struct vs_bridge *b, uint32_t id)
{
    const struct vs_group_map *m =
        atomic_load_explicit(&b->groups, memory_order_acquire); /* pairs with publish */
    uint32_t low = 0, high = m->n;                              /* sorted by id */
    while (low < high) {
        uint32_t mid = (low + high) / 2;
        if (m->group[mid]->id == id)
            return m->group[mid];
        if (m->group[mid]->id < id)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

/* Publish the map without group `id`, with `add` (same id) when it is not NULL. */
static int publish(struct vs_bridge *b, uint32_t id, struct vs_group *add)
{
    struct vs_group_map *old = atomic_load_explicit(&b->groups, memory_order_relaxed);
    struct vs_group_map *fresh = malloc(sizeof *fresh + (old->n + 1) * sizeof(void *));
    struct vs_group *gone = NULL;
    if (fresh == NULL)
        return -ENOMEM;
    fresh->n = 0;
    bool placed = add == NULL;
    for (uint32_t i = 0; i < old->n; i++) {
        if (!placed && old->group[i]->id >= id) {
            fresh->group[fresh->n++] = add;
            placed = true;
        }
        if (old->group[i]->id == id)
            gone = old->group[i];
        else
            fresh->group[fresh->n++] = old->group[i];
    }
    if (!placed)
        fresh->group[fresh->n++] = add;
    atomic_store_explicit(&b->groups, fresh, memory_order_release); /* pairs with vs_bridge_group */
    vs_qsbr_defer(&vs_qsbr, free, old);
    if (gone != NULL && add == NULL)
        vs_qsbr_defer(&vs_qsbr, free, gone->counts);
    if (gone != NULL)
        vs_qsbr_defer(&vs_qsbr, free, gone);
    return 0;
}

static bool edits(const struct vs_action *a)
{
    return a->type != VS_ACT_OUTPUT && a->type != VS_ACT_GROUP && a->type != VS_ACT_DROP;
}

int vs_bridge_group_set(vs_bridge *b, uint32_t id, int type, const struct vs_action *actions,
                        const uint32_t *counts, uint32_t n)
{
    size_t total = 0;
    for (uint32_t i = 0; i < n; i++) {
        total += counts[i];
        if (counts[i] > UINT16_MAX)
            return -EINVAL;
    }
    if (n > UINT16_MAX || !vs_actions_valid(actions, total))
        return -EINVAL;
    struct vs_group *g = calloc(1, sizeof *g + n * sizeof g->buckets[0] + total * sizeof *actions);
    if (g == NULL)
        return -ENOMEM;
    struct vs_action *own = (struct vs_action *)(void *)(g->buckets + n);
    if (total > 0)
        memcpy(own, actions, total * sizeof *actions);
    g->id = id;
    g->type = (uint16_t)type;
    g->n_buckets = (uint16_t)n;
    const struct vs_group *old = vs_bridge_group(b, id);
    g->counts = old != NULL ? old->counts
                            : calloc(1, sizeof *g->counts); /* OFPGC_MODIFY keeps the group's counters */
    if (g->counts == NULL) {
        free(g);
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < n; i++) {
        g->buckets[i].actions = own;
        g->buckets[i].n_actions = (uint16_t)counts[i];
        for (uint32_t j = 0; j < counts[i]; j++)
            g->buckets[i].edits |= edits(&own[j]);
        own += counts[i];
    }
    if (publish(b, id, g) == 0)
        return 0;
    if (old == NULL)
        free(g->counts);
    free(g);
    return -ENOMEM;
}

void vs_bridge_group_remove(vs_bridge *b, uint32_t id)
{
    if (vs_bridge_group(b, id) == NULL)
        return;
    while (publish(b, id, NULL) != 0)
        vs_qsbr_drain(&vs_qsbr);
}

int vs_bridge_group_stats(vs_bridge *b, uint32_t id, struct vs_group_stats *to, uint32_t max)
{
    const struct vs_group *g = vs_bridge_group(b, id);
    if (g == NULL)
        return -ENOENT;
    if (max > 0) {
        to[0].packets = atomic_load_explicit(&g->counts->packets, memory_order_relaxed);
        to[0].bytes = atomic_load_explicit(&g->counts->bytes, memory_order_relaxed);
    }
    for (uint32_t i = 0; i < g->n_buckets && i + 1 < max; i++) {
        to[i + 1].packets = atomic_load_explicit(&g->buckets[i].packets, memory_order_relaxed);
        to[i + 1].bytes = atomic_load_explicit(&g->buckets[i].bytes, memory_order_relaxed);
    }
    return 0;
}
