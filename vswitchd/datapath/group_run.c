/* group_run.c: a packet goes through a group (OpenFlow 1.3.5, 5.6); see group.h. */
#include "execute.h"
#include "flow_hash.h"
#include "trace.h"

/* ---- liveness (6.7) ------------------------------------------------------------------------------------------------ */

struct look {
    const struct vs_bridge *b;
    const struct vs_view *view;
    unsigned left; /* buckets that may still be looked at */
};

static bool port_live(const struct vs_bridge *b, uint32_t number)
{
    const struct vs_port *port = vs_bridge_port(b, number);
    return port != NULL && atomic_load_explicit(&port->link_up, memory_order_relaxed) &&
           !(atomic_load_explicit(&port->config, memory_order_relaxed) & VS_PORT_DOWN);
}

static bool bucket_live(struct look *l, const struct vs_group_bucket *k, unsigned depth)
{
    if (!k->watches || port_live(l->b, k->watch_port))
        return true;
    if (k->watch_group == VS_OFPG_ANY || depth == VS_GROUP_DEPTH)
        return false;
    const struct vs_group *g =
        (const struct vs_group *)(const void *)vs_items_find(l->view->groups, k->watch_group);
    for (unsigned i = 0; g != NULL && i < g->n_buckets && l->left > 0; i++) {
        l->left--;
        if (bucket_live(l, &g->buckets[i], depth + 1))
            return true;
    }
    return false;
}

/* ---- choosing ------------------------------------------------------------------------------------------------------ */

static struct vs_group_bucket *first_live(struct look *l, struct vs_group *g)
{
    for (unsigned i = 0; i < g->n_buckets; i++)
        if (bucket_live(l, &g->buckets[i], 0))
            return &g->buckets[i];
    return NULL;
}

/* The bucket in whose share of the weights `at` lies; one of weight 0 has none. */
static struct vs_group_bucket *bucket_at(struct vs_group *g, uint64_t at)
{
    unsigned low = 0, high = g->n_buckets - 1u;
    while (low < high) {
        unsigned mid = (low + high) / 2;
        if (g->buckets[mid].upto > at)
            high = mid;
        else
            low = mid + 1;
    }
    return &g->buckets[low];
}

/* Most buckets are dead: by the weights of the live ones. */
static struct vs_group_bucket *select_live(struct look *l, struct vs_group *g, uint64_t hash)
{
    struct vs_group_bucket *found = NULL;
    uint64_t sum = 0, at;
    for (unsigned i = 0; i < g->n_buckets; i++)
        if (g->buckets[i].weight > 0 && bucket_live(l, &g->buckets[i], 0))
            sum += g->buckets[i].weight;
    if (sum == 0)
        return NULL;
    at = hash % sum;
    for (unsigned i = 0; i < g->n_buckets; i++) {
        struct vs_group_bucket *k = &g->buckets[i];
        if (k->weight == 0 || !bucket_live(l, k, 0))
            continue;
        found = k; /* if a link went down since the sum was made, the last that is left */
        if (at < k->weight)
            break;
        at -= k->weight;
    }
    return found;
}

static struct vs_group_bucket *select_one(struct look *l, struct vs_group *g, const struct vs_packet *p)
{
    if (g->weights == 0)
        return NULL;
    uint64_t hash = vs_mix64(vs_flow_hash(p) + g->item.id);
    for (unsigned i = 0; i < VS_SELECT_TRIES; i++) {
        struct vs_group_bucket *k = bucket_at(g, hash % g->weights);
        if (bucket_live(l, k, 0))
            return k;
        hash = vs_mix64(hash + 1);
    }
    return select_live(l, g, hash);
}

/* ---- running ------------------------------------------------------------------------------------------------------- */

static void count(struct vs_run *r, struct vs_shared_count *to, const struct vs_packet *p)
{
    if (VS_LIKELY(r->c->trace == NULL || !r->c->trace->dry)) /* a packet that does not exist counts nowhere */
        vs_tally_add(&r->c->tallies, to, 1, p->frame_len);
}

static void run_bucket(struct vs_run *r, struct vs_packet *p, struct vs_group *g,
                       struct vs_group_bucket *bucket)
{
    if (VS_UNLIKELY(r->c->trace != NULL))
        vs_trace_event(r->c, VS_TRACE_BUCKET, (uint32_t)(bucket - g->buckets), r->depth);
    if (++r->buckets > VS_GROUP_BUCKETS) { /* groups of groups multiply */
        r->orig->drop = VS_DROP_RX_RESUBMIT_LOOP;
        return;
    }
    count(r, &bucket->count, p);
    struct vs_packet *q = bucket->edits ? vs_core_clone(r->c, p) : p; /* a bucket works on a copy (5.6) */
    if (q == NULL) {
        r->orig->drop = VS_DROP_RX_NO_CLONE;
        return;
    }
    const uint8_t *tunnel = r->tunnel;
    vs_run_actions(r, q, bucket->actions, bucket->n_actions);
    r->tunnel = tunnel;
}

void vs_run_group(struct vs_run *r, struct vs_packet *p, uint32_t id)
{
    struct vs_group *g = (struct vs_group *)(void *)vs_items_find(r->view->groups, id);
    if (g == NULL || g->n_buckets == 0 || r->depth == VS_GROUP_DEPTH) {
        r->orig->drop = VS_DROP_RX_NO_GROUP;
        return;
    }
    count(r, &g->counts->all, p);
    struct look look = {.b = r->b, .view = r->view, .left = VS_GROUP_BUCKETS};
    struct vs_group_bucket *one = g->buckets;
    if (g->type == VS_GROUP_SELECT)
        one = select_one(&look, g, p);
    else if (g->type == VS_GROUP_FF)
        one = first_live(&look, g);
    if (one == NULL) {
        r->orig->drop = VS_DROP_RX_NO_BUCKET;
        return;
    }
    r->depth++;
    if (g->type == VS_GROUP_ALL)
        for (unsigned i = 0; i < g->n_buckets; i++)
            run_bucket(r, p, g, &g->buckets[i]);
    else
        run_bucket(r, p, g, one);
    r->depth--;
}
