/* meter.c: making meters, running them, reading their counters; see meter.h. */
#include "meter.h"

#include <errno.h>
#include <stdlib.h>

#include "execute.h"
#include "offload.h"

enum { DEFAULT_BURST_MS = 5 }; /* of rate: 1 % of a second is 10 ms */

/* ---- measuring ----------------------------------------------------------------------------------------------------- */

int vs_meter_measure(struct vs_core *c, const struct vs_view *view, const struct vs_packet *p, uint32_t id)
{
    struct vs_meter *m = (struct vs_meter *)(void *)vs_items_find(view->meters, id);
    uint64_t bytes, now, units;
    if (m == NULL)
        return 0;
    uint32_t frames = vs_offload_wire_frames(p, &bytes);
    now = vs_tb_ticks(vs_core_now_ns(c));
    units = m->flags & VS_METER_PKTPS ? frames : bytes * 8;
    vs_tally_add(&c->tallies, &m->counts->all, frames, bytes);
    for (unsigned i = 0; i < m->n_bands; i++) {
        struct vs_meter_band *band = &m->bands[i];
        if (vs_tb_try(&band->bucket, now, units))
            continue;
        vs_tally_add(&c->tallies, &band->count, frames, bytes);
        return band->verdict;
    }
    return 0;
}

int vs_run_meter(struct vs_run *r, const struct vs_packet *p, uint32_t id)
{
    return vs_meter_measure(r->c, r->view, p, id);
}

/* ---- making -------------------------------------------------------------------------------------------------------- */

static void meter_free(struct vs_item *item)
{
    struct vs_meter *m = (struct vs_meter *)(void *)item;
    if (--m->counts->users == 0)
        free(m->counts);
    free(m);
}

static const struct vs_meter *newest(const vs_bridge *b, uint32_t id)
{
    const struct vs_view *v = atomic_load_explicit(&b->view, memory_order_relaxed);
    return (const struct vs_meter *)(const void *)vs_items_find(vs_items_newest(&b->meters, v->meters), id);
}

static bool spec_valid(const struct vs_band_spec *bands, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (bands[i].rate == 0 || (bands[i].type != VS_BAND_DROP &&
                                   (bands[i].type != VS_BAND_DSCP_REMARK || bands[i].prec_level == 0)))
            return false;
    return n <= VS_METER_BANDS;
}

static void fill_band(struct vs_meter_band *to, const struct vs_band_spec *from, uint16_t flags)
{
    uint64_t unit = flags & VS_METER_PKTPS ? 1 : 1000; /* packets, or bits in a kilobit */
    uint64_t rate = from->rate * unit, burst = rate * DEFAULT_BURST_MS / 1000;
    if (flags & VS_METER_BURST)
        burst = from->burst * unit;
    vs_tb_init(&to->bucket, rate, burst);
    /* The costs of packets are rounded to ticks: what they leave of an empty bucket is not a token. */
    to->bucket.depth -= VS_MIN(to->bucket.depth, vs_tb_cost(&to->bucket, 1)) / 2;
    to->rate = from->rate;
    to->verdict = from->type == VS_BAND_DROP ? (uint16_t)VS_DROP_RX_METER
                                             : (uint16_t)(VS_METER_REMARK + from->prec_level);
}

/* By rate, the highest first; of equal ones the first that was given. */
static void fill_bands(struct vs_meter *m, const struct vs_band_spec *bands)
{
    for (uint16_t i = 0; i < m->n_bands; i++) {
        struct vs_meter_band band;
        uint16_t at = i;
        memset(&band, 0, sizeof band);
        fill_band(&band, &bands[i], m->flags);
        band.place = (uint8_t)i;
        for (; at > 0 && m->bands[at - 1].rate < band.rate; at--)
            m->bands[at] = m->bands[at - 1];
        m->bands[at] = band;
    }
}

int vs_bridge_meter_set(vs_bridge *b, uint32_t id, uint16_t flags, const struct vs_band_spec *bands,
                        uint32_t n)
{
    if (!spec_valid(bands, n))
        return -EINVAL;
    struct vs_meter *m = calloc(1, sizeof *m + n * sizeof m->bands[0]);
    const struct vs_meter *old = newest(b, id); /* OFPMC_MODIFY keeps the meter's counters */
    struct vs_meter_counts *counts = old != NULL ? old->counts : calloc(1, sizeof *counts);
    if (m == NULL || counts == NULL) {
        free(m);
        if (old == NULL)
            free(counts);
        return -ENOMEM;
    }
    m->item = (struct vs_item){.id = id, .free = meter_free};
    m->flags = flags;
    m->n_bands = (uint16_t)n;
    m->counts = counts;
    counts->users++;
    fill_bands(m, bands);
    const struct vs_view *v = atomic_load_explicit(&b->view, memory_order_relaxed);
    int rc = vs_items_set(&b->meters, v->meters, &m->item);
    if (rc != 0)
        meter_free(&m->item);
    return rc;
}

int vs_bridge_meter_remove(vs_bridge *b, uint32_t id)
{
    const struct vs_view *v = atomic_load_explicit(&b->view, memory_order_relaxed);
    return vs_items_remove(&b->meters, v->meters, id);
}

static void read_count(struct vs_meter_stats *to, const struct vs_shared_count *from)
{
    to->packets = atomic_load_explicit(&from->packets, memory_order_relaxed);
    to->bytes = atomic_load_explicit(&from->bytes, memory_order_relaxed);
}

int vs_bridge_meter_stats(vs_bridge *b, uint32_t id, struct vs_meter_stats *to, uint32_t max)
{
    const struct vs_meter *m = newest(b, id);
    if (m == NULL)
        return -ENOENT;
    if (max > 0)
        read_count(&to[0], &m->counts->all);
    for (uint32_t i = 0; i < m->n_bands; i++)
        if (m->bands[i].place + 1u < max)
            read_count(&to[m->bands[i].place + 1], &m->bands[i].count);
    return 0;
}
