/* vhost_chores.c: what is to be done for a vhost-user port besides its rings: packets that wait for a translation, the
 * reverse ARP after a migration, and waking the core that polls receive queue 0, whose chores these are. */
#include <sys/eventfd.h>
#include <unistd.h>

#include "vhost_queue.h"

enum {
    RARP_FRAME = 60,
    ETH_RARP = 0x8035,
    EAGER = 1024, /* batches without a miss after which that ends: it costs a lookup per buffer */
};

/* ---- packets that wait --------------------------------------------------------------------------------------------- */

static void set_holding(struct vs_vhost *v, const struct vs_vring *r)
{
    uint64_t bit = 1ull << (r->ring / 2);
    if (r->hold->n == 0)
        atomic_fetch_and_explicit(&v->holding, ~bit, memory_order_relaxed);
    else
        atomic_fetch_or_explicit(&v->holding, bit, memory_order_relaxed);
}

/* Drop all that is kept. */
static void drop_all(struct vs_vring *r, enum vs_drop reason, struct vs_port_counters *c)
{
    if (c != NULL)
        vs_port_tx_drop(c, reason, vs_hold_counting(r->hold));
    vs_hold_remove(r->hold, r->hold->n);
}

void vs_vhost_hold_empty(struct vs_vhost *v, struct vs_vring *r, struct vs_port_counters *c)
{
    struct vs_hold *h = r->hold;
    struct vs_packet *pkts[VS_BATCH];
    if (!vs_iotlb_begin(r->iotlb) || h->n == 0)
        return;
    h->emptying = true;
    h->waits = false;
    while (h->n > 0 && !h->waits) {
        bool counts;
        int n = vs_hold_peek(h, pkts, &counts), done = 0;
        if (!counts)
            h->uncounted.tx_bytes = 0;
        if (atomic_load_explicit(&r->broken, memory_order_relaxed) == 0)
            done = vs_vhost_send(r, pkts, n, UINT32_MAX, counts ? c : &h->uncounted);
        if (!counts) /* parts of packets: their bytes alone */
            vs_count(&c->tx_bytes, h->uncounted.tx_bytes);
        vs_hold_remove(h, (uint32_t)done);
        if (done > 0 || h->waits)
            continue;
        bool broken = atomic_load_explicit(&r->broken, memory_order_relaxed) != 0;
        if (!broken) /* the guest is short of buffers, as it may be without an IOMMU */
            vs_count(&r->stats->full, h->n);
        drop_all(r, broken ? VS_DROP_TX_NOT_READY : VS_DROP_TX_RING_FULL, c);
    }
    h->emptying = false;
    set_holding(v, r);
}

static void announce(struct vs_vhost *v, struct vs_vring *r)
{
    set_holding(v, r);
    /* The chore is visible before we look whether the answer came meanwhile; vs_vhost_wake does it the other way round. */
    atomic_thread_fence(memory_order_seq_cst);
    if (!vs_iotlb_blocked(r->iotlb))
        vs_vring_signal(atomic_load_explicit(&v->port.rx_fd[0], memory_order_relaxed));
}

void vs_vhost_hold_end(struct vs_vhost *v, struct vs_vring *r)
{
    if (r->hold == NULL)
        return;
    drop_all(r, VS_DROP_TX_NOT_READY, v->port.counters[0]); /* the control thread's */
    set_holding(v, r);
}

/* ---- looking ahead -------------------------------------------------------------------------------------------------- */

/* One buffer; returns whether it is missing. */
static bool look_up(struct vs_vring *r, uint64_t addr, uint32_t len, uint16_t flags)
{
    return len != 0 && vs_vring_translate(r, addr, flags & VS_DESC_WRITE, &len) == NULL;
}

static bool look_ahead_packed(struct vs_vring *r)
{
    bool missing = false;
    /* Behind the cursor lie slots that were used since, which are not available; or it was lapped, and nothing is lost but time. */
    uint16_t slot = vs_packed_ready(r, r->hold->ahead) ? r->hold->ahead : r->slot;
    for (unsigned spent = 0; spent < VS_ASK_BUDGET && vs_packed_ready(r, slot);) {
        struct vs_desc d = vs_desc_load(&r->slots[slot & VS_SLOT_INDEX]); /* its flags come last: in `next` */
        missing |= look_up(r, d.addr, d.len, d.next);
        spent += vs_vring_ask_cost(d.len);
        slot = vs_slot_add(r, slot, 1);
    }
    r->hold->ahead = slot;
    return missing;
}

static bool look_ahead_split(struct vs_vring *r)
{
    bool missing = false;
    uint16_t end = __atomic_load_n(&r->avail->idx, __ATOMIC_ACQUIRE), pos = r->hold->ahead;
    uint16_t ready = (uint16_t)(end - r->last_avail);
    if (ready > r->size)
        return false; /* fetch will say so */
    if ((uint16_t)(pos - r->last_avail) > ready)
        pos = r->last_avail;
    for (unsigned spent = 0; spent < VS_ASK_BUDGET && pos != end; pos++) {
        uint16_t head = __atomic_load_n(&r->avail->ring[pos & r->mask], __ATOMIC_RELAXED);
        if (head >= r->size)
            break;
        struct vs_desc d = vs_desc_load(&r->desc[head]);
        missing |= look_up(r, d.addr, d.len, d.flags);
        spent += vs_vring_ask_cost(d.len);
    }
    r->hold->ahead = pos;
    return missing;
}

void vs_vhost_look_ahead(struct vs_vring *r)
{
    bool missing = r->packed ? look_ahead_packed(r) : look_ahead_split(r);
    r->hold->eager = missing ? EAGER : r->hold->eager - (r->hold->eager > 0);
}

void vs_vhost_hold_after(struct vs_vhost *v, struct vs_vring *r)
{
    if (r->hold->n > 0) {
        announce(v, r);
        r->hold->eager = EAGER;
    }
    if (r->hold->eager > 0)
        vs_vhost_look_ahead(r);
}

static void empty_all(struct vs_vhost *v, struct vs_port_counters *c)
{
    uint64_t left = atomic_load_explicit(&v->holding, memory_order_relaxed);
    for (; left != 0; left &= left - 1) {
        struct vs_vring *r = vs_vhost_ring(v, 2 * (unsigned)__builtin_ctzll(left));
        if (r == NULL || r->hold == NULL || vs_iotlb_blocked(r->iotlb))
            continue;
        vs_spin_lock(&r->lock);
        vs_vhost_hold_empty(v, r, c);
        vs_vhost_hold_after(v, r);
        vs_spin_unlock(&r->lock);
    }
}

/* ---- reverse ARP --------------------------------------------------------------------------------------------------- */

/* RFC 903: who am I? Sender and target are the guest's hardware address. */
static void make_rarp(struct vs_packet *p, uint64_t mac)
{
    static const uint8_t fixed[8] = {0, 1, 8, 0, 6, 4, 0, 3}; /* Ethernet, IPv4, lengths, request reverse */
    uint8_t *f = p->data, address[6];
    for (int i = 0; i < 6; i++)
        address[i] = (uint8_t)(mac >> (40 - 8 * i));
    memset(f, 0, RARP_FRAME);
    memset(f, 0xff, 6);
    memcpy(f + 6, address, 6);
    vs_put_be16(f + 12, ETH_RARP);
    memcpy(f + 14, fixed, sizeof fixed);
    memcpy(f + 22, address, 6);
    memcpy(f + 32, address, 6);
    p->head_len = RARP_FRAME;
    p->frame_len = RARP_FRAME;
}

void vs_vhost_send_rarp(struct vs_port *port, const uint8_t *mac)
{
    struct vs_vhost *v = vs_vhost_of(port);
    uint64_t word = VS_VHOST_RARP;
    for (int i = 0; i < 6; i++)
        word |= (uint64_t)mac[i] << (40 - 8 * i);
    atomic_store_explicit(&v->rarp, word, memory_order_relaxed);
    vs_watch_changed();
    vs_vhost_wake(v);
}

/* ---- the core ------------------------------------------------------------------------------------------------------ */

bool vs_vhost_chores(struct vs_port *port, struct vs_packet *p, struct vs_port_counters *c)
{
    struct vs_vhost *v = vs_vhost_of(port);
    empty_all(v, c);
    uint64_t mac = atomic_exchange_explicit(&v->rarp, 0, memory_order_relaxed);
    if (mac == 0)
        return false;
    make_rarp(p, mac);
    vs_port_rx_count(c, 1, RARP_FRAME);
    return true;
}

bool vs_vhost_chores_wait(struct vs_port *port)
{
    struct vs_vhost *v = vs_vhost_of(port);
    uint64_t left = atomic_load_explicit(&v->holding, memory_order_relaxed);
    for (; left != 0; left &= left - 1) {
        struct vs_vring *r = vs_vhost_ring(v, 2 * (unsigned)__builtin_ctzll(left));
        if (r != NULL && r->hold != NULL && !vs_iotlb_blocked(r->iotlb))
            return false;
    }
    return atomic_load_explicit(&v->rarp, memory_order_relaxed) == 0;
}

/* ---- waking -------------------------------------------------------------------------------------------------------- */

/* While the ring of queue 0 is stopped, a descriptor of ours stands for its kicks. */
static void make_wake_fd(struct vs_vhost *v)
{
    if (v->wake_fd >= 0)
        return;
    v->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (vs_vhost_ring(v, 1) == NULL)
        atomic_store_explicit(&v->port.rx_fd[0], v->wake_fd, memory_order_relaxed);
    vs_watch_changed();
}

void vs_vhost_wake(struct vs_vhost *v)
{
    make_wake_fd(v);
    /* What changed is visible before we look who waits: a core says that it waits, and looks once more before it sleeps. */
    atomic_thread_fence(memory_order_seq_cst);
    bool chores = vs_vhost_has_chores(&v->port);
    for (unsigned q = 0; q < v->port.n_rxq; q++) {
        const struct vs_vring *r = vs_vhost_ring(v, 2 * q + 1);
        bool waits = r != NULL && r->iotlb != NULL &&
                     atomic_load_explicit(&r->iotlb->missed, memory_order_relaxed) != 0;
        if (waits || (q == 0 && chores))
            vs_vring_signal(atomic_load_explicit(&v->port.rx_fd[q], memory_order_relaxed));
    }
}

int vs_vhost_iotlb_fd(struct vs_port *port)
{
    make_wake_fd(vs_vhost_of(port));
    return vs_iotlb_fd(vs_vhost_of(port)->iotlb);
}

unsigned vs_vhost_iotlb_collect(struct vs_port *port, struct vs_iotlb_miss *to, unsigned n)
{
    return vs_iotlb_collect(vs_vhost_of(port)->iotlb, to, n);
}

unsigned vs_vhost_iotlb_retry(struct vs_port *port)
{
    unsigned again = vs_iotlb_retry(vs_vhost_of(port)->iotlb);
    vs_vhost_wake(vs_vhost_of(port));
    return again;
}

int vs_vhost_iotlb_update(struct vs_port *port, const struct vs_guest_mem *mem, uint64_t iova, uint64_t size,
                          uint64_t uva, uint32_t perm)
{
    int error = vs_iotlb_update(vs_vhost_of(port)->iotlb, mem, iova, size, uva, perm);
    vs_vhost_wake(vs_vhost_of(port));
    return error;
}

void vs_vhost_iotlb_invalidate(struct vs_port *port, uint64_t iova, uint64_t size)
{
    vs_iotlb_invalidate(vs_vhost_of(port)->iotlb, iova, size);
    vs_vhost_wake(vs_vhost_of(port));
}

void vs_vhost_iotlb_clear(struct vs_port *port)
{
    vs_iotlb_clear(vs_vhost_of(port)->iotlb);
    vs_vhost_wake(vs_vhost_of(port));
}

void vs_vhost_iotlb_stats(struct vs_port *port, struct vs_iotlb_stats *to)
{
    vs_iotlb_stats_read(vs_vhost_of(port)->iotlb, to);
}
