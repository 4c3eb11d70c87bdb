/* vhost_rx.c: from the guest's transmit rings into packets; see vhost_port.h. */
#include "offload.h"
#include "vhost_header.h"
#include "vhost_queue.h"

enum { MIN_FRAME = 14 };   /* an Ethernet header */
#define NOT_YET UINT32_MAX /* in place of a length: an address of the chain is not known yet */

static uint64_t bit(unsigned feature)
{
    return 1ull << feature;
}

/* Which feature lets the driver ask for this kind of segmentation; 0: none does. */
static uint64_t gso_features(uint8_t gso_type)
{
    uint64_t ecn = gso_type & VS_GSO_ECN ? bit(VS_VIRTIO_NET_F_HOST_ECN) : 0;
    switch (gso_type & ~VS_GSO_ECN) {
    case VS_GSO_TCPV4:
        return bit(VS_VIRTIO_NET_F_HOST_TSO4) | ecn;
    case VS_GSO_TCPV6:
        return bit(VS_VIRTIO_NET_F_HOST_TSO6) | ecn;
    case VS_GSO_UDP_L4:
        return bit(VS_VIRTIO_NET_F_HOST_USO);
    default:
        return 0;
    }
}

/* What the driver wants done with the frame (section 5.1.6.2). False: it asks for what was not negotiated, or what the frame is not;
 * the packet is empty again then. */
static __attribute__((noinline)) bool take_wishes(const struct vs_vring *r, uint64_t first,
                                                  const uint8_t *header, struct vs_packet *p)
{
    if ((r->features & bit(VS_VIRTIO_NET_F_CSUM)) == 0)
        return true;
    struct vs_net_hdr h = vs_net_hdr_complete(first, header);
    bool ok = true;
    if (h.flags & VS_NET_HDR_NEEDS_CSUM) {
        p->csum = VS_CSUM_PARTIAL;
        p->csum_start = h.csum_start;
        p->csum_offset = h.csum_offset;
    }
    if (h.gso_type != VS_GSO_NONE) {
        uint64_t needed = gso_features(h.gso_type);
        ok = needed != 0 && (r->features & needed) == needed;
        p->gso_type = h.gso_type;
        p->gso_size = h.gso_size;
    }
    ok = ok && vs_offload_check(p) == 0;
    if (!ok)
        vs_packet_reset(p, p->port);
    return ok;
}

/* The header may be spread over pieces; the chain is longer than it. */
static void gather_header(const struct vs_chain *c, uint8_t header[10])
{
    uint32_t done = 0;
    for (unsigned i = 0; done < 10; i++) {
        uint32_t part = VS_MIN(10 - done, c->p[i].len);
        memcpy(header + done, c->p[i].data, part);
        done += part;
    }
    __asm__ volatile("" ::"r"(header) : "memory");
}

/* Fill the packet from a frame that starts `skip` bytes into a chain. False: more pieces than a packet can lend. */
static bool fill_pieces(struct vs_packet *p, const struct vs_chain *c, uint32_t skip)
{
    uint32_t head = 0, want = VS_MIN(c->total - skip, (uint32_t)VS_HEAD_COPY);
    unsigned segs = 0;
    for (unsigned i = 0; i < c->n; i++) {
        const uint8_t *data = c->p[i].data;
        uint32_t len = c->p[i].len, past = VS_MIN(skip, len), part;
        skip -= past;
        data += past;
        len -= past;
        part = VS_MIN(want - head, len);
        memcpy(p->data + head, data, part);
        head += part;
        if (part == len)
            continue;
        if (segs == VS_MAX_SEGS)
            return false;
        p->segs[segs++] = (struct vs_seg){.data = data + part, .len = len - part};
    }
    p->head_len = (uint16_t)head;
    p->n_segs = (uint16_t)segs;
    return true;
}

/* One chain into one packet. Returns the frame's length; 0 when it was refused: then *drop says why, or NOT_YET. */
static uint32_t fill_slow(struct vs_vring *r, const struct vs_window *w, unsigned i, struct vs_packet *p,
                          enum vs_drop *drop)
{
    struct vs_chain chain;
    enum vs_chain_error error = vs_vring_walk(r, w, i, 0, &chain);
    if (error == VS_CHAIN_NONE && chain.total < r->hdr_len)
        error =
            VS_CHAIN_HEADER; /* CVE-2022-2132: the header may be spread over descriptors, but it must be there */
    *drop = VS_DROP_RX_BAD_DESC;
    if (error == (enum vs_chain_error)VS_CHAIN_WAIT)
        return NOT_YET;
    if (error != VS_CHAIN_NONE) {
        vs_vring_refuse(r, error);
        return 0;
    }
    uint32_t len = chain.total - r->hdr_len;
    *drop = len < MIN_FRAME ? VS_DROP_RX_RUNT : VS_DROP_RX_OVERSIZE;
    if (len < MIN_FRAME || len > VS_MAX_FRAME || !fill_pieces(p, &chain, r->hdr_len))
        return 0;
    p->frame_len = len;
    uint8_t header[10];
    gather_header(&chain, header);
    uint64_t first = vs_net_hdr_load(header);
    *drop = VS_DROP_RX_BAD_OFFLOAD;
    return !vs_net_hdr_wants(first) || take_wishes(r, first, header, p) ? len : 0;
}

/* Header and frame lie at `host`, `len` bytes in all, `hdr_len` of them the header. Without CSUM (`looks`) the header says nothing: its
 * line is not touched. */
VS_ALWAYS_INLINE uint32_t fill_fast(const struct vs_vring *r, const uint8_t *host, uint32_t len,
                                    uint32_t hdr_len, bool looks, struct vs_packet *p, enum vs_drop *drop)
{
    uint64_t first = looks ? vs_net_hdr_load(host) : 0;
    const uint8_t *frame = host + hdr_len;
    len -= hdr_len;
    uint32_t head = VS_MIN(len, (uint32_t)VS_HEAD_COPY);
    vs_copy_small(p->data, frame, head);
    p->head_len = (uint16_t)head;
    p->frame_len = len;
    if (len > head) {
        p->segs[0] = (struct vs_seg){.data = frame + head, .len = len - head};
        p->n_segs = 1;
    }
    if (VS_UNLIKELY(vs_net_hdr_wants(first)) && !take_wishes(r, first, host, p)) {
        *drop = VS_DROP_RX_BAD_OFFLOAD;
        return 0;
    }
    return len;
}

static inline bool looks_at_headers(const struct vs_vring *r)
{
    return (r->features & bit(VS_VIRTIO_NET_F_CSUM)) != 0;
}

/* Receive the usual chains in front (vring_ahead.h), at most n. Returns how many packets came of them. */
static int rx_usual(struct vs_vring *r, struct vs_packet **pkts, unsigned n, struct vs_port_counters *c)
{
    unsigned got = vs_vring_ahead(r, n, true);
    const struct vs_usual *kept = r->ahead;
    uint32_t pos = r->last_avail, end = pos + got;
    bool looks = looks_at_headers(r);
    uint64_t bytes = 0;
    struct vs_packet **to = pkts;
    if (got == 0)
        return 0;
    for (; pos != end; pos++) {
        const struct vs_usual *u = &kept[pos % VS_BATCH];
        enum vs_drop drop;
        uint32_t len = fill_fast(r, u->host, u->len, 12, looks, *to, &drop);
        bytes += len;
        if (VS_LIKELY(len != 0))
            to++;
        else
            vs_port_rx_drop(c, drop, 1);
    }
    vs_ahead_push(r, got, NULL);
    vs_port_rx_count(c, got, bytes);
    vs_vring_ahead(r, VS_BATCH, false);
    return (int)(to - pkts);
}

/* Take and drop what a guest sends on a queue that is started but disabled (vhost-user, Ring states). */
static void discard(struct vs_vring *r, struct vs_port_counters *c)
{
    struct vs_window w;
    unsigned got = vs_vring_fetch(r, &w, r->last_avail, VS_BATCH);
    for (unsigned i = 0; i < got; i++)
        vs_vring_push(r, &w.token[i], 0);
    if (got == 0)
        return;
    vs_vring_take(r, &w, (uint16_t)(r->last_avail + got));
    vs_port_rx_count(c, got, 0);
    vs_port_rx_drop(c, VS_DROP_RX_QUEUE_DISABLED, got);
    vs_vring_flush(r);
}

/* Receive chains of any kind. */
static int rx_any(struct vs_vring *r, struct vs_packet **pkts, unsigned n, struct vs_port_counters *c)
{
    struct vs_window w;
    unsigned got = vs_vring_fetch(r, &w, r->last_avail, n);
    if (got == 0)
        return 0;
    int out = 0;
    uint64_t bytes = 0;
    bool looks = looks_at_headers(r);
    for (unsigned i = 0; i < got; i++) {
        struct vs_packet *p = pkts[out];
        enum vs_drop drop = VS_DROP_RX_BAD_DESC;
        uint32_t len = w.desc[i].len;
        if (VS_LIKELY(w.desc[i].flags == 0 && w.len[i] == len && w.host[i] != NULL &&
                      len >= MIN_FRAME + 12u && len <= VS_MAX_FRAME))
            len = fill_fast(r, w.host[i], len, r->hdr_len, looks, p, &drop);
        else
            len = fill_slow(r, &w, i, p, &drop);
        if (VS_UNLIKELY(len == NOT_YET)) {
            got = i;
            break;
        }
        vs_vring_push(r, &w.token[i], 0);
        bytes += len;
        if (VS_LIKELY(len != 0))
            out++;
        else
            vs_port_rx_drop(c, drop, 1);
    }
    vs_vring_take(r, &w, (uint16_t)(r->last_avail + got));
    vs_port_rx_count(c, got, bytes);
    return out;
}

int vs_vhost_rx(struct vs_port *port, unsigned rxq, struct vs_packet **pkts, int n,
                struct vs_port_counters *c)
{
    struct vs_vhost_queue *q = &vs_vhost_of(port)->queues[2 * rxq + 1];
    struct vs_vring *r = atomic_load_explicit(&q->ring, memory_order_acquire);
    if (VS_UNLIKELY(rxq == 0 && vs_vhost_has_chores(port)) && vs_vhost_chores(port, pkts[0], c))
        return 1;
    if (r == NULL || atomic_load_explicit(&r->broken, memory_order_relaxed) != 0)
        return 0;
    if (VS_UNLIKELY(r->iotlb != NULL) && !vs_iotlb_begin(r->iotlb))
        return 0; /* an address is missing, and nothing has changed since it was asked for */
    if (VS_UNLIKELY(r->discard)) {
        discard(r, c);
        return 0;
    }
    int out = VS_LIKELY(r->plain) ? rx_usual(r, pkts, (unsigned)n, c) : 0;
    if (VS_UNLIKELY(out < n && (!r->plain || vs_ahead_stuck(r))) &&
        atomic_load_explicit(&r->broken, memory_order_relaxed) == 0)
        out += rx_any(r, pkts + out, (unsigned)(n - out), c);
    if (out != 0)
        q->held = r;
    else /* nothing is lent */
        vs_vring_flush(r);
    return out;
}

void vs_vhost_rx_release(struct vs_port *port, unsigned rxq)
{
    /* The ring of the receive, which may have been unpublished since; it lives until this core is quiescent. */
    struct vs_vhost_queue *q = &vs_vhost_of(port)->queues[2 * rxq + 1];
    struct vs_vring *r = q->held;
    q->held = NULL;
    if (r != NULL)
        vs_vring_flush(r);
}
