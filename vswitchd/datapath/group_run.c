/* group_run.c: a packet goes through a group (OpenFlow 1.3.5, 5.6); see group.h. */
#include "execute.h"

static void run_bucket(struct vs_run *r, struct vs_packet *p, struct vs_group_bucket *bucket)
{
    atomic_fetch_add_explicit(&bucket->packets, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&bucket->bytes, p->frame_len, memory_order_relaxed);
    struct vs_packet *q = bucket->edits ? vs_core_clone(r->c, p) : p; /* a bucket works on a copy (5.6) */
    if (q == NULL)
        r->orig->drop = VS_DROP_RX_NO_CLONE;
    else
        vs_run_actions(r, q, bucket->actions, bucket->n_actions);
}

void vs_run_group(struct vs_run *r, struct vs_packet *p, uint32_t id)
{
    struct vs_group *g = (struct vs_group *)(void *)vs_items_find(r->view->groups, id);
    if (g == NULL || g->n_buckets == 0 || r->depth == VS_GROUP_DEPTH) {
        r->orig->drop = VS_DROP_RX_NO_GROUP;
        return;
    }
    atomic_fetch_add_explicit(&g->counts->packets, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&g->counts->bytes, p->frame_len, memory_order_relaxed);
    r->depth++;
    unsigned n = g->type == VS_GROUP_ALL ? g->n_buckets : 1;
    for (unsigned i = 0; i < n; i++)
        run_bucket(r, p, &g->buckets[i]);
    r->depth--;
}
