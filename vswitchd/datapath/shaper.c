/* shaper.c: packets that wait in queues of a port, and their turn; see shaper.h. */
#include "shaper.h"

#include <stdlib.h>

#include "core.h"
#include "offload.h"

struct vs_shaper *vs_shaper_new(uint64_t epoch)
{
    struct vs_shaper *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->listed = calloc(VS_MAX_PORTS, sizeof(struct vs_shaped *));
    atomic_init(&s->seen, epoch);
    if (vs_slab_init(&s->slab) == 0 && s->listed != NULL)
        return s;
    vs_shaper_free(s);
    return NULL;
}

void vs_shaper_free(struct vs_shaper *s)
{
    if (s == NULL)
        return;
    vs_slab_destroy(&s->slab);
    free(s->listed);
    free(s);
}

/* Bytes that the packet takes on the wire, where a packet to be segmented is several frames. */
static uint32_t wire_len(const struct vs_packet *p)
{
    uint32_t headers = p->gso_type != VS_GSO_NONE && p->gso_size != 0 ? vs_offload_header_len(p) : 0;
    if (headers == 0 || headers >= p->frame_len)
        return p->frame_len;
    uint32_t segments = (p->frame_len - headers + p->gso_size - 1) / p->gso_size;
    return p->frame_len + (segments - 1) * headers;
}

/* ---- queues -------------------------------------------------------------------------------------------------------- */

static void list(struct vs_shaper *s, struct vs_shaped *st)
{
    if (st->listed)
        return;
    st->listed = true;
    st->place = s->n_listed;
    s->listed[s->n_listed++] = st;
}

static void unlist(struct vs_shaper *s, struct vs_shaped *st)
{
    if (!st->listed)
        return;
    st->listed = false;
    struct vs_shaped *last = s->listed[--s->n_listed];
    s->listed[st->place] = last;
    last->place = st->place;
}

static void busy(struct vs_shaped *st, uint32_t queue)
{
    struct vs_fifo *f = &st->fifos[queue];
    f->place = st->n_busy;
    f->deficit = 0;
    st->busy[st->n_busy++] = queue;
    st->due = 0;
}

static void idle(struct vs_shaped *st, uint32_t queue)
{
    uint32_t place = st->fifos[queue].place, last = st->busy[--st->n_busy];
    st->busy[place] = last;
    st->fifos[last].place = place;
}

static void count_drops(struct vs_core *c, const struct vs_port *port, enum vs_drop reason, uint64_t n)
{
    struct vs_port_counters *pc = port->counters[c->index];
    vs_count(&pc->tx_offered, n);
    vs_port_tx_drop(pc, reason, n);
}

/* Append; the memory is there. */
static void append(struct vs_core *c, struct vs_shaped *st, uint32_t queue, const struct vs_packet *p,
                   uint32_t need)
{
    struct vs_shaper *s = c->shaper;
    struct vs_fifo *f = &st->fifos[queue];
    uint32_t first = vs_keep(&s->slab, p, need, wire_len(p));
    if (f->n == 0) {
        f->first = first;
        busy(st, queue);
    } else {
        vs_chunk_at(&s->slab, f->last)->next_packet = first;
    }
    f->last = first;
    f->n++;
    f->chunks += need;
    list(s, st);
}

/* Take the oldest packet out of the FIFO; its chunks stay taken. */
static uint32_t pop(struct vs_shaper *s, struct vs_shaped *st, uint32_t queue)
{
    struct vs_fifo *f = &st->fifos[queue];
    struct vs_queue *q = &st->qos->queues[queue];
    uint32_t first = f->first;
    const struct vs_chunk *k = vs_chunk_at(&s->slab, first);
    f->first = k->next_packet;
    f->chunks -= k->n;
    if (--f->n == 0)
        idle(st, queue);
    atomic_fetch_sub_explicit(&q->waiting_packets, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&q->waiting_bytes, k->frame_len, memory_order_relaxed);
    return first;
}

static void drop_queue(struct vs_core *c, struct vs_shaped *st, uint32_t queue, enum vs_drop reason)
{
    uint64_t n = st->fifos[queue].n;
    while (st->fifos[queue].n > 0)
        vs_keep_free(&c->shaper->slab, pop(c->shaper, st, queue));
    if (n > 0)
        count_drops(c, st->qos->port, reason, n);
}

/* Count it as waiting, unless the queue is full. */
static bool admit(const struct vs_shaper *s, const struct vs_fifo *f, struct vs_queue *q, uint32_t len,
                  uint32_t need)
{
    uint64_t n = atomic_fetch_add_explicit(&q->waiting_packets, 1, memory_order_relaxed);
    uint64_t bytes = atomic_fetch_add_explicit(&q->waiting_bytes, len, memory_order_relaxed);
    bool fits = n == 0 || (n < q->limit_packets && bytes + len <= q->limit_bytes);
    if (fits && need <= VS_MAX_SEGS && need <= s->slab.n_free && f->chunks + need <= s->slab.n_free)
        return true;
    atomic_fetch_sub_explicit(&q->waiting_packets, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&q->waiting_bytes, len, memory_order_relaxed);
    return false;
}

/* Take tokens of all buckets that the packet counts in. `least`: by right of the minimum rate. */
static void charge(struct vs_qos *qos, struct vs_queue *q, uint64_t now, uint64_t bytes, bool least)
{
    if (least)
        vs_tb_take(&q->min, now, bytes * 8);
    if (q->has_max)
        vs_tb_take(&q->max, now, bytes * 8);
    if (qos->has_root)
        vs_tb_take(&qos->root, now, bytes * 8);
}

static bool police(struct vs_core *c, struct vs_port *port, struct vs_qos *qos, const struct vs_packet *p)
{
    uint64_t now = vs_tb_ticks(vs_dp_now_ns(c->dp));
    if (qos->has_root && !vs_tb_ready(&qos->root, now)) {
        count_drops(c, port, VS_DROP_TX_POLICED, 1);
        return true;
    }
    charge(qos, &qos->queues[0], now, wire_len(p), false);
    return false;
}

/* As much as a queue would hold at least: 100 ms or 64 KB. */
static bool in_debt(const struct vs_tb *b, uint64_t now)
{
    uint64_t most = VS_MAX(vs_tb_ticks(100000000), vs_tb_cost(b, VS_QUEUE_BYTES_MIN * 8u));
    return vs_tb_due(b) > now + most;
}

/* The control core does not let packets wait: they pass and are charged, unless the debt is too big. */
static bool pass_at_once(struct vs_core *c, struct vs_qos *qos, struct vs_shaped *st, uint32_t queue,
                         const struct vs_packet *p)
{
    uint64_t now = vs_tb_ticks(vs_dp_now_ns(c->dp));
    struct vs_queue *q = &qos->queues[queue];
    struct vs_fifo *f = &st->fifos[queue];
    if ((qos->has_root && in_debt(&qos->root, now)) || (q->has_max && in_debt(&q->max, now))) {
        vs_count(&f->dropped, 1);
        count_drops(c, qos->port, VS_DROP_TX_QUEUE_FULL, 1);
        return true;
    }
    charge(qos, q, now, wire_len(p), false);
    vs_count(&f->packets, 1);
    vs_count(&f->bytes, p->frame_len);
    return false;
}

bool vs_shaper_take(struct vs_core *c, struct vs_port *port, const struct vs_packet *p)
{
    struct vs_qos *qos = __atomic_load_n(&port->qos, __ATOMIC_ACQUIRE); /* pairs with put in qos.c */
    if (qos == NULL)
        return false;
    if (qos->type == VS_QOS_POLICE)
        return police(c, port, qos, p);
    struct vs_shaped *st = qos->cores[c->index];
    uint32_t queue = vs_qos_find(qos, p->queue);
    if (c->index == 0)
        return pass_at_once(c, qos, st, queue, p);
    if (!st->adopted)
        vs_shaper_settle(c, qos->before);
    struct vs_fifo *f = &st->fifos[queue];
    uint32_t need = vs_keep_need(p);
    if (admit(c->shaper, f, &qos->queues[queue], p->frame_len, need)) {
        append(c, st, queue, p, need);
    } else {
        vs_count(&f->dropped, 1);
        count_drops(c, port, VS_DROP_TX_QUEUE_FULL, 1);
    }
    return true;
}

/* ---- whose turn it is ---------------------------------------------------------------------------------------------- */

/* Equal shares for the queues of that priority that may_borrow; there is one at least. */
static uint32_t next_share(struct vs_shaped *st, uint32_t priority)
{
    for (;; st->next++) {
        if (st->next >= st->n_busy)
            st->next = 0;
        uint32_t queue = st->busy[st->next];
        struct vs_fifo *f = &st->fifos[queue];
        if (!f->may_borrow || st->qos->queues[queue].priority != priority)
            continue;
        if (f->deficit > 0)
            return queue;
        f->deficit += VS_SHAPER_QUANTUM;
    }
}

/* The queue that may send now, or -1, and when there will be one. */
static int64_t pick(struct vs_shaped *st, uint64_t now, bool *least)
{
    const struct vs_qos *qos = st->qos;
    uint64_t root = qos->has_root ? vs_tb_due(&qos->root) : 0, soonest = UINT64_MAX;
    uint64_t best = UINT64_MAX;
    for (uint32_t i = 0; i < st->n_busy; i++) {
        if (++st->next_min >= st->n_busy)
            st->next_min = 0;
        uint32_t queue = st->busy[st->next_min];
        const struct vs_queue *q = &qos->queues[queue];
        uint64_t max = q->has_max ? vs_tb_due(&q->max) : 0;
        uint64_t min = q->has_min ? vs_tb_due(&q->min) : UINT64_MAX;
        *least = VS_MAX(min, max) <= now;
        if (*least)
            return queue;
        st->fifos[queue].may_borrow = VS_MAX(root, max) <= now;
        if (st->fifos[queue].may_borrow)
            best = VS_MIN(best, q->priority);
        soonest = VS_MIN(soonest, VS_MAX(max, VS_MIN(min, root)));
    }
    st->due = soonest;
    return best == UINT64_MAX ? -1 : (int64_t)next_share(st, (uint32_t)best);
}

/* One batch of a port. Returns packets sent. base: the time from which tokens are counted; see lateness. */
static unsigned serve(struct vs_core *c, struct vs_shaper *s, struct vs_shaped *st, uint64_t now,
                      uint64_t base)
{
    struct vs_port *port = st->qos->port;
    uint32_t kept[VS_BATCH];
    unsigned n = 0;
    while (n < VS_BATCH && st->n_busy > 0) {
        bool least;
        int64_t queue = pick(st, now, &least);
        if (queue < 0)
            break;
        struct vs_fifo *f = &st->fifos[queue];
        kept[n] = pop(s, st, (uint32_t)queue);
        const struct vs_chunk *k = vs_chunk_at(&s->slab, kept[n]);
        if (!least)
            f->deficit -= k->wire_len;
        charge(st->qos, &st->qos->queues[queue], base, k->wire_len, least);
        vs_count(&f->packets, 1);
        vs_count(&f->bytes, k->frame_len);
        vs_keep_restore(&s->slab, kept[n], port, c->rx[n]);
        n++;
    }
    if (n == 0)
        return 0;
    vs_core_send(c, port, c->rx, n);
    vs_core_flush(c); /* what a patch port's other side sends borrows from the chunks */
    vs_core_batch_end(c);
    for (unsigned i = 0; i < n; i++) {
        vs_packet_reset(c->rx[i], NULL);
        vs_keep_free(&s->slab, kept[i]);
    }
    return n;
}

/* How late the core is for what could go at st->due. Buckets that filled up meanwhile would lose what came after that: on a
 * processor that it shares a core may stand still for longer than the default burst. */
static uint64_t lateness(const struct vs_shaped *st, uint64_t now)
{
    uint64_t late = st->due != 0 && st->due < now ? now - st->due : 0;
    return VS_MIN(late, vs_tb_ticks(VS_SHAPER_LATE_NS));
}

static unsigned serve_port(struct vs_core *c, struct vs_shaper *s, struct vs_shaped *st, uint64_t now)
{
    unsigned sent = 0, n = VS_BATCH;
    uint64_t base = now - lateness(st, now);
    if (atomic_load_explicit(&st->qos->port->config, memory_order_relaxed) & (VS_PORT_DOWN | VS_PORT_NO_FWD))
        while (st->n_busy > 0)
            drop_queue(c, st, st->busy[0], VS_DROP_TX_LINK_DOWN);
    while (n == VS_BATCH && sent < VS_SHAPER_BURST)
        sent += n = serve(c, s, st, now, base);
    if (st->n_busy == 0)
        unlist(s, st);
    return sent;
}

unsigned vs_shaper_run(struct vs_core *c, struct vs_shaper *s)
{
    uint64_t epoch = atomic_load_explicit(&c->dp->qos_epoch, memory_order_acquire); /* pairs with let_go */
    if (VS_UNLIKELY(epoch != atomic_load_explicit(&s->seen, memory_order_relaxed))) {
        vs_shaper_settle(c, c->dp->qos_leaving);
        atomic_store_explicit(&s->seen, epoch, memory_order_release); /* pairs with let_go */
    }
    if (s->n_listed == 0)
        return 0;
    uint64_t now = vs_tb_ticks(vs_dp_now_ns(c->dp));
    unsigned sent = 0;
    for (uint32_t i = s->n_listed; i-- > 0;)
        if (i < s->n_listed && s->listed[i]->due <= now) {
            c->now_ms = vs_dp_now_ms(c->dp);
            sent += serve_port(c, s, s->listed[i], now);
        }
    return sent;
}

uint64_t vs_shaper_due(const struct vs_core *c, const struct vs_shaper *s)
{
    uint64_t due = UINT64_MAX;
    for (uint32_t i = 0; i < s->n_listed; i++)
        due = VS_MIN(due, s->listed[i]->due);
    if (due == UINT64_MAX)
        return due;
    uint64_t now = vs_tb_ticks(vs_dp_now_ns(c->dp));
    return due <= now ? 0 : (due - now) / VS_TB_TICKS + 1;
}

/* ---- another QoS --------------------------------------------------------------------------------------------------- */

/* Place of the queue that goes on for one of the old, or -1. */
static int64_t heir(const struct vs_qos *after, const struct vs_queue *q)
{
    if (after == NULL || after->type != VS_QOS_SHAPE)
        return -1;
    uint32_t i = vs_qos_find(after, q->id);
    return after->queues[i].id == q->id ? (int64_t)i : -1;
}

static void inherit(struct vs_shaped *st, uint32_t from, struct vs_shaped *to, uint32_t queue)
{
    struct vs_fifo *f = &st->fifos[from], *t = &to->fifos[queue];
    struct vs_queue *q = &st->qos->queues[from], *heir_q = &to->qos->queues[queue];
    if (q->hidden == heir_q->hidden) {
        vs_count(&t->packets, f->packets);
        vs_count(&t->bytes, f->bytes);
        vs_count(&t->dropped, f->dropped);
    }
    if (f->n == 0)
        return;
    idle(st, from);
    t->first = f->first;
    t->last = f->last;
    t->n = f->n;
    t->chunks = f->chunks;
    busy(to, queue);
    f->n = f->chunks = 0;
}

/* The number that waits on this core goes over with the packets; the bytes are counted anew, which is seldom. */
static void move_waiting(const struct vs_shaper *s, const struct vs_fifo *f, struct vs_queue *from,
                         struct vs_queue *to)
{
    uint64_t bytes = 0;
    uint32_t i = f->first;
    for (uint32_t n = 0; n < f->n; n++, i = vs_chunk_at(&s->slab, i)->next_packet)
        bytes += vs_chunk_at(&s->slab, i)->frame_len;
    atomic_fetch_add_explicit(&to->waiting_packets, f->n, memory_order_relaxed);
    atomic_fetch_add_explicit(&to->waiting_bytes, bytes, memory_order_relaxed);
    atomic_fetch_sub_explicit(&from->waiting_packets, f->n, memory_order_relaxed);
    atomic_fetch_sub_explicit(&from->waiting_bytes, bytes, memory_order_relaxed);
}

void vs_shaper_settle(struct vs_core *c, struct vs_qos *qos)
{
    struct vs_shaped *st = qos->cores[c->index];
    struct vs_shaped *to = qos->after != NULL ? qos->after->cores[c->index] : NULL;
    if (to != NULL && to->adopted)
        return;
    for (uint32_t i = 0; i < qos->n; i++) {
        int64_t place = heir(qos->after, &qos->queues[i]);
        if (place < 0) {
            drop_queue(c, st, i, VS_DROP_TX_QUEUE_GONE);
            continue;
        }
        if (st->fifos[i].n > 0)
            move_waiting(c->shaper, &st->fifos[i], &qos->queues[i], &qos->after->queues[place]);
        inherit(st, i, to, (uint32_t)place);
    }
    if (to != NULL)
        to->adopted = true;
    if (c->shaper == NULL) /* the control core */
        return;
    unlist(c->shaper, st);
    if (to != NULL && to->n_busy > 0)
        list(c->shaper, to);
}
