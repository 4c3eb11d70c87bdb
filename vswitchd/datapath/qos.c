/* qos.c: making, replacing and freeing the QoS of a port; counters; policing; see qos.h. */
#include "qos.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "core.h"
#include "qsbr.h"

uint32_t vs_qos_find(const struct vs_qos *qos, uint32_t id)
{
    uint32_t low = 0, high = qos->n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (qos->queues[middle].id == id)
            return middle;
        if (qos->queues[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return qos->fallback;
}

/* ---- making one ---------------------------------------------------------------------------------------------------- */

static struct vs_shaped *shaped_new(struct vs_qos *qos)
{
    struct vs_shaped *st = calloc(1, sizeof *st + qos->n * sizeof st->fifos[0]);
    uint32_t *busy = calloc(qos->n, sizeof *busy);
    if (st == NULL || busy == NULL) {
        free(st);
        free(busy);
        return NULL;
    }
    st->qos = qos;
    st->busy = busy;
    st->adopted = qos->before == NULL;
    return st;
}

static void shaped_free(struct vs_shaped *st)
{
    if (st != NULL)
        free(st->busy);
    free(st);
}

static void qos_free(struct vs_qos *qos)
{
    for (unsigned i = 0; i < VS_MAX_CORES; i++)
        shaped_free(qos->cores[i]);
    free(qos);
}

static int by_id(const void *a, const void *b)
{
    uint32_t x = ((const struct vs_queue *)a)->id, y = ((const struct vs_queue *)b)->id;
    return x < y ? -1 : x > y;
}

static void bucket(struct vs_tb *b, uint64_t rate, uint64_t burst)
{
    vs_tb_init(b, rate, burst != 0 ? burst : rate / VS_QOS_BURST);
}

/* share: of the minimum rates, in 1/2^32, so that their sum is not over the port's rate. */
static void queue_init(struct vs_queue *q, const struct vs_queue_spec *spec, uint64_t root, uint64_t share)
{
    uint64_t max = spec->max_rate != 0 && (root == 0 || spec->max_rate < root) ? spec->max_rate : 0;
    uint64_t rate = max != 0 ? max : root, tenth = rate / 80; /* 100 ms in bytes */
    uint64_t min = (uint64_t)((unsigned __int128)spec->min_rate * share >> 32);
    if (rate == 0)
        tenth = VS_QUEUE_BYTES_MAX;
    q->id = spec->id;
    q->priority = spec->priority;
    q->limit_packets = spec->limit_packets != 0 ? spec->limit_packets : VS_QUEUE_PACKETS;
    q->limit_bytes = spec->limit_bytes;
    if (q->limit_bytes == 0)
        q->limit_bytes = (uint32_t)VS_MIN(VS_MAX(tenth, VS_QUEUE_BYTES_MIN), VS_QUEUE_BYTES_MAX);
    q->has_min = min != 0;
    q->has_max = max != 0;
    if (q->has_min)
        bucket(&q->min, min, spec->burst);
    if (q->has_max)
        bucket(&q->max, max, spec->burst);
}

static uint64_t min_share(uint64_t root, const struct vs_queue_spec *queues, uint32_t n)
{
    unsigned __int128 sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += queues[i].min_rate;
    if (root == 0 || sum <= root)
        return UINT64_C(1) << 32;
    return (uint64_t)(((unsigned __int128)root << 32) / sum);
}

static struct vs_qos *qos_new(struct vs_port *p, const struct vs_qos_spec *spec,
                              const struct vs_queue_spec *queues, uint32_t n)
{
    struct vs_qos *qos = calloc(1, sizeof *qos + (n + 1) * sizeof qos->queues[0]);
    if (qos == NULL)
        return NULL;
    qos->port = p;
    qos->type = (uint16_t)spec->type;
    qos->before = p->qos;
    qos->has_root = spec->max_rate != 0;
    if (qos->has_root)
        bucket(&qos->root, spec->max_rate, spec->burst);
    uint64_t share = min_share(spec->max_rate, queues, n);
    bool zero = false;
    for (uint32_t i = 0; i < n; i++) {
        queue_init(&qos->queues[i], &queues[i], spec->max_rate, share);
        zero = zero || queues[i].id == 0;
    }
    qos->n = n;
    if (!zero) {
        queue_init(&qos->queues[qos->n], &(struct vs_queue_spec){0}, spec->max_rate, 0);
        qos->queues[qos->n++].hidden = true;
    }
    qsort(qos->queues, qos->n, sizeof qos->queues[0], by_id); /* queue 0 stands first: the fallback */
    return qos;
}

static int give_core(struct vs_qos *qos, struct vs_core *c)
{
    if (qos->cores[c->index] == NULL)
        qos->cores[c->index] = shaped_new(qos);
    return qos->cores[c->index] != NULL ? 0 : -ENOMEM;
}

/* The memory in which packets wait, of a core that has none yet. */
static int give_shaper(const struct vs_dp *dp, struct vs_core *c)
{
    if (c->index == 0 || c->shaper != NULL)
        return 0;
    struct vs_shaper *s = vs_shaper_new(atomic_load_explicit(&dp->qos_epoch, memory_order_relaxed));
    __atomic_store_n(&c->shaper, s, __ATOMIC_RELEASE); /* pairs with vs_core_iterate */
    return s != NULL ? 0 : -ENOMEM;
}

/* ---- replacing one ------------------------------------------------------------------------------------------------- */

static bool let_go_by_all(const struct vs_dp *dp, uint64_t epoch)
{
    for (unsigned i = 1; i < VS_MAX_CORES; i++)
        if (dp->cores[i] != NULL && dp->cores[i]->shaper != NULL &&
            atomic_load_explicit(&dp->cores[i]->shaper->seen, memory_order_acquire) != epoch)
            return false;
    return true;
}

/* No core knows that QoS any more, which no port has, when this returns. */
static void let_go(struct vs_dp *dp, struct vs_qos *qos)
{
    dp->qos_leaving = qos;
    uint64_t epoch = 1 + atomic_fetch_add_explicit(&dp->qos_epoch, 1, memory_order_release);
    vs_shaper_settle(dp->cores[0], qos);
    for (unsigned i = 1; dp->manual && i < VS_MAX_CORES; i++)
        if (dp->cores[i] != NULL && dp->cores[i]->shaper != NULL) {
            vs_shaper_settle(dp->cores[i], qos);
            atomic_store_explicit(&dp->cores[i]->shaper->seen, epoch, memory_order_relaxed);
        }
    vs_dp_wake(dp);
    while (!let_go_by_all(dp, epoch)) {
        struct timespec pause = {.tv_nsec = 20000};
        nanosleep(&pause, NULL);
    }
    dp->qos_leaving = NULL;
}

static void put(struct vs_port *p, struct vs_qos *fresh)
{
    struct vs_qos *old = p->qos;
    uint32_t bit = fresh != NULL ? VS_PORT_SHAPED : 0;
    if (old != NULL)
        old->after = fresh;
    __atomic_store_n(&p->qos, fresh, __ATOMIC_RELEASE); /* pairs with vs_shaper_take */
    uint32_t config = atomic_load_explicit(&p->config, memory_order_relaxed);
    atomic_store_explicit(&p->config, (config & ~(uint32_t)VS_PORT_SHAPED) | bit, memory_order_relaxed);
    if (old == NULL)
        return;
    let_go(p->bridge->dp, old);
    for (uint32_t i = 0; fresh != NULL && i < old->n; i++) { /* what cores counted that are gone */
        struct vs_queue *q = &fresh->queues[vs_qos_find(fresh, old->queues[i].id)];
        if (q->id == old->queues[i].id && q->hidden == old->queues[i].hidden)
            q->gone = old->queues[i].gone;
    }
    if (fresh != NULL)
        fresh->before = NULL;
    qos_free(old);
}

static bool valid(const struct vs_qos_spec *spec, const struct vs_queue_spec *queues, uint32_t n)
{
    if (spec->type > VS_QOS_POLICE || n > VS_QUEUES || (spec->type == VS_QOS_POLICE && n > 0))
        return false;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = i + 1; j < n; j++)
            if (queues[i].id == queues[j].id)
                return false;
    return true;
}

int vs_port_set_qos(struct vs_port *p, const struct vs_qos_spec *spec, const struct vs_queue_spec *queues,
                    uint32_t n)
{
    struct vs_dp *dp = p->bridge != NULL ? p->bridge->dp : NULL;
    if (dp == NULL || !valid(spec, queues, n))
        return -EINVAL;
    struct vs_qos *qos = qos_new(p, spec, queues, n);
    if (qos == NULL)
        return -ENOMEM;
    for (unsigned i = 0; i < VS_MAX_CORES; i++)
        if (dp->cores[i] != NULL &&
            (give_shaper(dp, dp->cores[i]) != 0 || give_core(qos, dp->cores[i]) != 0)) {
            qos_free(qos);
            return -ENOMEM;
        }
    put(p, qos);
    return 0;
}

void vs_port_clear_qos(struct vs_port *p)
{
    if (p->qos != NULL)
        put(p, NULL);
}

/* ---- cores --------------------------------------------------------------------------------------------------------- */

int vs_qos_core_added(struct vs_dp *dp, struct vs_core *c)
{
    int rc = 0;
    for (unsigned i = 0; i < VS_MAX_PORTS && rc == 0; i++)
        if (dp->ports[i] != NULL && dp->ports[i]->qos != NULL)
            rc = give_shaper(dp, c) != 0 || give_core(dp->ports[i]->qos, c) != 0 ? -ENOMEM : 0;
    return rc;
}

void vs_qos_core_removed(struct vs_dp *dp, struct vs_core *c)
{
    for (unsigned i = 0; i < VS_MAX_PORTS; i++) {
        struct vs_qos *qos = dp->ports[i] != NULL ? dp->ports[i]->qos : NULL;
        struct vs_shaped *st = qos != NULL ? qos->cores[c->index] : NULL;
        if (st == NULL)
            continue;
        vs_shaper_settle(c, qos); /* nothing comes after it: all is dropped */
        for (uint32_t j = 0; j < qos->n; j++) {
            qos->queues[j].gone.packets += st->fifos[j].packets;
            qos->queues[j].gone.bytes += st->fifos[j].bytes;
            qos->queues[j].gone.dropped += st->fifos[j].dropped;
        }
        qos->cores[c->index] = NULL;
        shaped_free(st);
    }
}

/* ---- counters ------------------------------------------------------------------------------------------------------ */

int vs_port_queue_stats(const struct vs_port *p, uint32_t id, struct vs_queue_stats *to)
{
    const struct vs_qos *qos = p->qos;
    uint32_t i = qos != NULL ? vs_qos_find(qos, id) : 0;
    if (qos == NULL || qos->queues[i].id != id || qos->queues[i].hidden)
        return -ENOENT;
    const struct vs_queue *q = &qos->queues[i];
    *to = q->gone;
    for (unsigned c = 0; c < VS_MAX_CORES; c++) {
        const struct vs_fifo *f = qos->cores[c] != NULL ? &qos->cores[c]->fifos[i] : NULL;
        to->packets += f != NULL ? vs_count_read(&f->packets) : 0;
        to->bytes += f != NULL ? vs_count_read(&f->bytes) : 0;
        to->dropped += f != NULL ? vs_count_read(&f->dropped) : 0;
    }
    to->waiting_packets = atomic_load_explicit(&q->waiting_packets, memory_order_relaxed);
    to->waiting_bytes = atomic_load_explicit(&q->waiting_bytes, memory_order_relaxed);
    return 0;
}

uint64_t vs_port_waiting(const struct vs_port *p)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; p->qos != NULL && i < p->qos->n; i++)
        sum += atomic_load_explicit(&p->qos->queues[i].waiting_packets, memory_order_relaxed);
    return sum;
}

/* ---- policing ------------------------------------------------------------------------------------------------------ */

int vs_port_set_policing(struct vs_port *p, uint64_t rate, uint64_t burst)
{
    struct vs_tb *fresh = rate != 0 ? calloc(1, sizeof *fresh) : NULL, *old = p->policer;
    if (rate != 0 && fresh == NULL)
        return -ENOMEM;
    if (fresh != NULL)
        bucket(fresh, rate, burst);
    __atomic_store_n(&p->policer, fresh, __ATOMIC_RELEASE); /* pairs with poll_queue */
    if (old != NULL)
        vs_qsbr_defer(&vs_qsbr, free, old);
    return 0;
}
