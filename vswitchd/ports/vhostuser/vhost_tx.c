/* vhost_tx.c: from packets into the guest's receive rings; see vhost_port.h. */
#include "offload.h"
#include "vhost_header.h"
#include "vhost_queue.h"

/* Buffers, and pieces of them, per frame: a guest that posts tiny ones must not hold the core. */
enum { MERGE_MAX = 256 };

enum put {
    PUT_DONE,
    PUT_FULL,     /* nothing consumed: the guest is short of buffers */
    PUT_TOO_LONG, /* nothing consumed: no buffer of the guest is long enough */
    PUT_BAD,      /* the guest's buffer was refused and given back */
    PUT_WAIT,     /* nothing consumed: an address of the guest is not known yet */
    PUT_HELD,     /* it is kept until it is (vhost_hold.h) */
    PUT_NO_HOLD,  /* it would have to be kept, but there is no room */
};

/* A buffer that is filled, to be given back when the whole frame is. */
struct filled {
    struct vs_token token;
    uint32_t used;
};

/* Bytes to send, as the packet holds them, and the header in front of them. */
struct source {
    const struct vs_net_hdr *header;
    const uint8_t *head;
    const struct vs_seg *segs;
    uint32_t head_len;
    uint32_t n_segs;
    uint32_t total;
};

/* Where a source has been read up to. */
struct reader {
    const struct source *s;
    const uint8_t *at;
    uint32_t left; /* in the present run of bytes */
    uint32_t seg;  /* next one */
};

static struct reader reader_of(const struct source *s)
{
    return (struct reader){.s = s, .at = s->head, .left = s->head_len};
}

static void copy_run(uint8_t *to, const uint8_t *from, uint32_t n)
{
    if (n <= 256)
        vs_copy_small(to, from, n);
    else
        memmove(to, from, n); /* a guest may send to itself, from and to the same bytes */
}

/* Copy exactly n bytes, which the source has. */
static void reader_copy(struct reader *rd, uint8_t *to, uint32_t n)
{
    while (n > 0) {
        if (rd->left == 0) {
            rd->at = rd->s->segs[rd->seg].data;
            rd->left = rd->s->segs[rd->seg].len;
            rd->seg++;
            continue;
        }
        uint32_t part = VS_MIN(n, rd->left);
        copy_run(to, rd->at, part);
        to += part;
        n -= part;
        rd->at += part;
        rd->left -= part;
    }
}

/* No offloads; num_buffers is mended later. Legacy headers are cut to 10 bytes. */
static const struct vs_net_hdr plain_header = {.num_buffers = 1};

/* Entry of the window for the chain at available index `pos`, or -1 when the guest has none there. */
static int window_at(struct vs_vring *r, struct vs_window *w, uint16_t pos, unsigned want)
{
    unsigned i = (uint16_t)(pos - w->start);
    if (VS_LIKELY(i < w->n))
        return (int)i;
    return vs_vring_fetch(r, w, pos, want) == 0 ? -1 : 0;
}

/* Why there is none at `pos`: the guest is short of buffers, or has one whose address is not known yet. */
static enum put no_buffer(const struct vs_vring *r, const struct vs_window *w, uint16_t pos)
{
    if (r->iotlb == NULL || atomic_load_explicit(&r->broken, memory_order_relaxed) != 0)
        return PUT_FULL;
    bool ready =
        r->packed ? vs_packed_ready(r, pos == r->last_avail ? r->slot : w->next_slot) : r->avail_seen != pos;
    return ready ? PUT_WAIT : PUT_FULL;
}

/* Write header and bytes into one chain. `patch` gets the places of num_buffers when the header is written. Returns the bytes used. */
static uint32_t fill_chain(const struct vs_vring *r, const struct vs_chain *c, struct reader *rd,
                           uint32_t *left, bool first, uint8_t *patch[2])
{
    const uint8_t *bytes = (const uint8_t *)rd->s->header;
    uint32_t header = first ? 0 : r->hdr_len, used = 0; /* bytes of the header that stand already */
    for (unsigned i = 0; i < c->n && (*left > 0 || header < r->hdr_len); i++) {
        uint8_t *to = c->p[i].data;
        uint32_t room = c->p[i].len;
        for (; room > 0 && header < r->hdr_len; room--, header++, used++) {
            *to = bytes[header];
            if (header >= 10)
                patch[header - 10] = to;
            to++;
        }
        uint32_t part = VS_MIN(room, *left);
        reader_copy(rd, to, part);
        used += part;
        *left -= part;
        vs_vring_log(r, c->p[i].data, (uint64_t)(to - c->p[i].data) + part);
    }
    return used;
}

/* Give back what was filled for one frame; its number stands in the header (section 5.1.6.4). */
static void give_back(struct vs_vring *r, const struct vs_window *w, const struct filled *f, uint32_t n,
                      uint16_t pos, uint8_t *patch[2])
{
    if (r->hdr_len == 12 && patch[0] != NULL) {
        *patch[0] = (uint8_t)n;
        *patch[1] = (uint8_t)(n >> 8);
        vs_vring_log(r, patch[0], 1);
        vs_vring_log(r, patch[1], 1);
    }
    for (uint32_t i = 0; i < n; i++)
        vs_vring_push(r, &f[i].token, f[i].used);
    vs_vring_take(r, w, pos);
}

/* Any chain, any number of them. Buffers are filled one after the other, but taken and given back only when the frame is complete. */
static enum put put_chains(struct vs_vring *r, struct vs_window *w, const struct source *s, unsigned want)
{
    struct reader rd = reader_of(s);
    struct filled filled[MERGE_MAX];
    uint32_t left = s->total, n = 0, pieces = 0;
    uint16_t pos = r->last_avail;
    uint8_t *patch[2] = {NULL, NULL};
    enum put result = PUT_DONE;
    do {
        struct vs_chain chain;
        int i = window_at(r, w, pos, want);
        if (n == MERGE_MAX || n == r->size) /* or all that the ring can hold */
            return PUT_TOO_LONG;
        if (i < 0)
            return no_buffer(r, w, pos);
        enum vs_chain_error error = vs_vring_walk(r, w, (unsigned)i, VS_DESC_WRITE, &chain);
        if (error == (enum vs_chain_error)VS_CHAIN_WAIT)
            return PUT_WAIT;
        if (error == VS_CHAIN_NONE && n == 0 && chain.total <= r->hdr_len)
            error = VS_CHAIN_HEADER;
        if (error == VS_CHAIN_NONE && (pieces += chain.n) > MERGE_MAX)
            return PUT_TOO_LONG;
        if (error == VS_CHAIN_NONE && !r->mergeable && chain.total - r->hdr_len < left)
            return PUT_TOO_LONG;
        uint32_t used = 0;
        if (error == VS_CHAIN_NONE) {
            used = fill_chain(r, &chain, &rd, &left, n == 0, patch);
        } else { /* give it back empty, behind those of this frame that are filled already */
            vs_vring_refuse(r, error);
            result = PUT_BAD;
        }
        filled[n++] = (struct filled){.token = w->token[i], .used = used};
        pos++;
    } while (left > 0 && result == PUT_DONE);
    give_back(r, w, filled, n, pos, patch);
    return result;
}

/* What does not fit is tried once, not for each packet of the batch that is as long: finding out may take many buffers. */
static enum put put_slow(struct vs_vring *r, struct vs_window *w, const struct source *s, unsigned want)
{
    if (s->total >= w->no_fit && w->no_fit_at == r->last_avail)
        return PUT_TOO_LONG;
    enum put result = put_chains(r, w, s, want);
    if (result == PUT_TOO_LONG) {
        w->no_fit = s->total;
        w->no_fit_at = r->last_avail;
    }
    return result;
}

/* The usual case: one buffer of one descriptor takes it all. */
static enum put put(struct vs_vring *r, struct vs_window *w, const struct source *s, unsigned want)
{
    int i = window_at(r, w, r->last_avail, want);
    if (VS_UNLIKELY(i < 0))
        return no_buffer(r, w, r->last_avail);
    if (VS_UNLIKELY(w->desc[i].flags != VS_DESC_WRITE || w->len[i] != w->desc[i].len || w->host[i] == NULL ||
                    w->len[i] < r->hdr_len + s->total || w->len[i] > VS_CHAIN_BYTES))
        return put_slow(r, w, s, want);
    uint8_t *to = w->host[i];
    if (VS_LIKELY(r->hdr_len == 12))
        memcpy(to, s->header, 12);
    else
        memcpy(to, s->header, 10);
    to += r->hdr_len;
    copy_run(to, s->head, s->head_len);
    to += s->head_len;
    for (uint32_t k = 0; k < s->n_segs; k++) {
        copy_run(to, s->segs[k].data, s->segs[k].len);
        to += s->segs[k].len;
    }
    vs_vring_log(r, w->host[i], r->hdr_len + (uint64_t)s->total);
    vs_vring_push(r, &w->token[i], r->hdr_len + s->total);
    vs_vring_take(r, w, (uint16_t)(r->last_avail + 1));
    return PUT_DONE;
}

/* Put, or keep it until the address that is missing is known. `p`: the packet whose offloads go with the bytes, or NULL. */
static enum put put_or_hold(struct vs_vring *r, struct vs_window *w, const struct source *s, unsigned want,
                            const struct vs_packet *p, bool counts)
{
    struct vs_hold *h = r->hold;
    if (VS_LIKELY(h == NULL || h->n == 0 || h->emptying)) {
        enum put result = put(r, w, s, want);
        if (VS_LIKELY(result != PUT_WAIT) || h == NULL)
            return result;
        h->waits = true;
        if (h->emptying)
            return result;
    }
    return vs_hold_add(h, s->head, s->head_len, s->segs, s->n_segs, p, counts) ? PUT_HELD : PUT_NO_HOLD;
}

/* Frames that vs_offload_finish makes of one packet. */
struct finish {
    struct vs_vring *r;
    struct vs_window *w;
    enum put result;
    uint64_t bytes;
    uint32_t held; /* how many of them wait */
};

static int emit_frame(void *ctx, const uint8_t *frame, uint32_t len)
{
    struct finish *f = ctx;
    struct source s = {.header = &plain_header, .head = frame, .head_len = len, .total = len};
    f->result = put_or_hold(f->r, f->w, &s, VS_BATCH, NULL, f->bytes == 0 && f->held == 0);
    if (f->result == PUT_DONE)
        f->bytes += len;
    f->held += f->result == PUT_HELD;
    return f->result == PUT_DONE || f->result == PUT_HELD ? 0 : -1;
}

/* What the driver must have negotiated to take the packet as it is (section 5.1.6.4). UDP: both, as which of them counts is not looked up. */
static uint64_t needed_features(const struct vs_packet *p)
{
    uint64_t needed = p->csum == VS_CSUM_PARTIAL ? 1ull << VS_VIRTIO_NET_F_GUEST_CSUM : 0;
    if (p->gso_type & VS_GSO_ECN)
        needed |= 1ull << VS_VIRTIO_NET_F_GUEST_ECN;
    switch (p->gso_type & ~VS_GSO_ECN) {
    case VS_GSO_TCPV4:
        return needed | 1ull << VS_VIRTIO_NET_F_GUEST_TSO4;
    case VS_GSO_TCPV6:
        return needed | 1ull << VS_VIRTIO_NET_F_GUEST_TSO6;
    case VS_GSO_UDP_L4:
        return needed | 1ull << VS_VIRTIO_NET_F_GUEST_USO4 | 1ull << VS_VIRTIO_NET_F_GUEST_USO6;
    default:
        return needed;
    }
}

/* The header that tells the driver of the packet's offloads. False: software has to finish them. */
static bool pass_on(const struct vs_vring *r, const struct vs_packet *p, struct vs_net_hdr *h)
{
    uint64_t needed = needed_features(p);
    *h = plain_header;
    if ((r->features & needed) != needed || p->gso_l3_ofs != 0)
        return false;
    if (p->csum == VS_CSUM_PARTIAL) {
        h->flags = VS_NET_HDR_NEEDS_CSUM;
        h->csum_start = p->csum_start;
        h->csum_offset = p->csum_offset;
    } else if (p->csum == VS_CSUM_VALID && (r->features & 1ull << VS_VIRTIO_NET_F_GUEST_CSUM) != 0) {
        h->flags = VS_NET_HDR_DATA_VALID;
    }
    if (p->gso_type != VS_GSO_NONE) {
        h->gso_type = p->gso_type;
        h->gso_size = p->gso_size;
        h->hdr_len = (uint16_t)vs_offload_header_len(p);
        return h->hdr_len != 0;
    }
    return true;
}

static const enum vs_drop reasons[] = {
    [PUT_FULL] = VS_DROP_TX_RING_FULL,      [PUT_TOO_LONG] = VS_DROP_TX_TOO_LONG,
    [PUT_BAD] = VS_DROP_TX_BAD_DESC,        [PUT_WAIT] = VS_DROP_TX_RING_FULL,
    [PUT_HELD] = VS_DROP_TX_NO_TRANSLATION, [PUT_NO_HOLD] = VS_DROP_TX_NO_TRANSLATION,
};

static enum put put_whole(struct vs_vring *r, struct vs_window *w, const struct vs_packet *p,
                          const struct vs_net_hdr *h, unsigned want)
{
    struct source s = {.header = h,
                       .head = p->data,
                       .segs = p->segs,
                       .head_len = p->head_len,
                       .n_segs = p->n_segs,
                       .total = p->frame_len};
    return put_or_hold(r, w, &s, want, p, true);
}

/* A packet with offloads: passed on, or finished here. Also finished is what is too long for the buffers of a driver that takes segmentable
 * packets, but does not post what section 5.1.6.3.1 wants it to. */
static __attribute__((noinline)) enum put put_offload(struct vs_vring *r, struct vs_window *w,
                                                      const struct vs_packet *p, unsigned want,
                                                      uint64_t *bytes, enum vs_drop *reason)
{
    struct vs_net_hdr h;
    if (pass_on(r, p, &h)) {
        enum put result = put_whole(r, w, p, &h, want);
        *bytes += result == PUT_DONE ? p->frame_len : 0;
        *reason = reasons[result];
        if (result != PUT_TOO_LONG || p->gso_type == VS_GSO_NONE)
            return result;
    }
    struct finish f = {.r = r, .w = w, .result = PUT_DONE};
    int error = vs_offload_finish(p, r->scratch, VS_MAX_FRAME, emit_frame, &f);
    if (VS_UNLIKELY(f.held > 0 &&
                    f.result == PUT_NO_HOLD)) { /* not all of them have room: the packet is dropped */
        vs_hold_take_back(r->hold, f.held);
        *reason = reasons[PUT_NO_HOLD];
        return PUT_NO_HOLD;
    }
    if (VS_UNLIKELY(f.held > 0)) { /* counted: as sent now, or with the first frame that is kept */
        *bytes += f.bytes;
        return f.bytes > 0 ? PUT_DONE : PUT_HELD;
    }
    if (error < 0 && f.result == PUT_DONE) {
        *reason = VS_DROP_TX_OFFLOAD;
        return PUT_BAD;
    }
    *reason = reasons[f.result];
    if (f.result == PUT_DONE)
        *bytes += f.bytes;
    /* Some segments may be with the guest already: the rest is not tried again, the packet counts as dropped. */
    return (f.result == PUT_FULL || f.result == PUT_WAIT) && f.bytes > 0 ? PUT_BAD : f.result;
}

/* What became of one packet; *reason is set unless PUT_DONE. */
static enum put put_packet(struct vs_vring *r, struct vs_window *w, const struct vs_packet *p, unsigned want,
                           uint64_t *bytes, enum vs_drop *reason)
{
    if (VS_UNLIKELY(p->csum != VS_CSUM_NONE || p->gso_type != VS_GSO_NONE))
        return put_offload(r, w, p, want, bytes, reason);
    enum put result = put_whole(r, w, p, &plain_header, want);
    *reason = reasons[result];
    *bytes += result == PUT_DONE ? p->frame_len : 0;
    return result;
}

/* A packet that is going to be segmented is as long as its segments. */
static bool longer_than(const struct vs_packet *p, uint32_t max_frame)
{
    return VS_UNLIKELY(p->frame_len > max_frame) &&
           (p->gso_type == VS_GSO_NONE || vs_offload_wire_len(p) > max_frame);
}

/* Write one frame, of at most VS_CHAIN_BYTES, and the header in front of it. */
VS_ALWAYS_INLINE void write_plain(uint8_t *to, const struct vs_packet *p)
{
    memcpy(to, &plain_header, sizeof plain_header);
    to += sizeof plain_header;
    if (VS_LIKELY(p->head_len <= VS_HEAD_MAX))
        vs_copy_small(to, p->data, p->head_len);
    else
        memcpy(to, p->data, p->head_len);
    to += p->head_len;
    for (uint32_t k = 0; k < p->n_segs; k++) {
        copy_run(to, p->segs[k].data, p->segs[k].len);
        to += p->segs[k].len;
    }
}

static inline bool has_offloads(const struct vs_packet *p)
{
    return (p->csum | p->gso_type) != 0;
}

/* Send packets without offloads into usual chains (vring_ahead.h) until one of either kind is not. Returns how many were sent. */
static int send_usual(struct vs_vring *r, struct vs_packet **pkts, int n, uint32_t max_frame,
                      struct vs_port_counters *c)
{
    unsigned ready = vs_vring_ahead(r, (unsigned)n, true), i = 0;
    const struct vs_usual *kept = r->ahead;
    uint32_t first = r->last_avail, used[VS_BATCH];
    uint64_t bytes = 0;
    for (; i < ready; i++) {
        const struct vs_packet *p = pkts[i];
        const struct vs_usual *u = &kept[(first + i) % VS_BATCH];
        uint32_t len = p->frame_len, whole = (uint32_t)sizeof plain_header + len;
        if (VS_UNLIKELY(whole > u->len || len > max_frame || has_offloads(p)))
            break;
        used[i] = whole;
        write_plain(u->host, p);
        bytes += len;
    }
    if (i == 0)
        return 0;
    vs_ahead_push(r, i, used);
    vs_port_sent(c, i, bytes);
    return (int)i;
}

/* Send packets and chains of any kind. */
static int send_any(struct vs_vring *r, struct vs_packet **pkts, int n, uint32_t max_frame,
                    struct vs_port_counters *c)
{
    struct vs_window w;
    uint64_t sent = 0, bytes = 0;
    int i = 0;
    w.start = w.n = 0;
    w.no_fit = UINT32_MAX;
    for (; i < n; i++) {
        enum vs_drop reason = VS_DROP_TX_TOO_LONG;
        enum put result = PUT_TOO_LONG;
        if (!longer_than(pkts[i], max_frame))
            result = put_packet(r, &w, pkts[i], (unsigned)(n - i), &bytes, &reason);
        if (VS_LIKELY(result == PUT_DONE)) {
            sent++;
            continue;
        }
        if (result == PUT_HELD)
            continue;
        if (result == PUT_FULL || result == PUT_WAIT)
            break;
        vs_port_tx_drop(c, reason, 1);
    }
    if (sent != 0)
        vs_port_sent(c, sent, bytes);
    return i;
}

/* Send until the guest is short of buffers. Returns how many packets are dealt with: sent, kept, or dropped for another reason. */
int vs_vhost_send(struct vs_vring *r, struct vs_packet **pkts, int n, uint32_t max_frame,
                  struct vs_port_counters *c)
{
    int done = VS_LIKELY(r->plain) ? send_usual(r, pkts, n, max_frame, c) : 0;
    if (VS_UNLIKELY(done < n) && atomic_load_explicit(&r->broken, memory_order_relaxed) == 0)
        done += send_any(r, pkts + done, n - done, max_frame, c);
    vs_vring_flush(r);
    if (VS_LIKELY(r->plain))
        vs_vring_ahead(r, VS_BATCH, false);
    return done;
}

void vs_vhost_tx(struct vs_port *port, unsigned core, struct vs_packet **pkts, int n,
                 struct vs_port_counters *c)
{
    struct vs_vhost *v = vs_vhost_of(port);
    unsigned ring = atomic_load_explicit(&v->tx_ring[core], memory_order_relaxed);
    struct vs_vring *r = ring == VS_VHOST_NO_RING ? NULL : vs_vhost_ring(v, ring);
    if (r == NULL) {
        vs_port_tx_drop(c, VS_DROP_TX_NOT_READY, (uint64_t)n);
        return;
    }
    uint32_t max_frame = atomic_load_explicit(&v->max_frame, memory_order_relaxed);
    uint32_t retries = atomic_load_explicit(&v->retries, memory_order_relaxed);
    vs_spin_lock(&r->lock);
    if (VS_UNLIKELY(r->hold != NULL))
        vs_vhost_hold_empty(v, r, c);
    int done = 0, last = -1;
    while (done < n && atomic_load_explicit(&r->broken, memory_order_relaxed) == 0) {
        last = vs_vhost_send(r, pkts + done, n - done, max_frame, c);
        done += last;
        if (done == n || last == 0 || retries-- == 0)
            break;
        vs_count(&r->stats->retries, 1);
        vs_count(&c->tx_retries, 1);
        vs_cpu_relax();
    }
    bool broken = atomic_load_explicit(&r->broken, memory_order_relaxed) != 0;
    if (done < n && !broken)
        vs_count(&r->stats->full, (uint64_t)(n - done));
    if (VS_UNLIKELY(r->hold != NULL))
        vs_vhost_hold_after(v, r);
    vs_spin_unlock(&r->lock);
    if (done < n)
        vs_port_tx_drop(c, broken ? VS_DROP_TX_NOT_READY : VS_DROP_TX_RING_FULL, (uint64_t)(n - done));
}
