/* receive.c: what came at a port: which stream it is of, whether it is whole, and giving the buffers back; see worker.h. */
#include "worker.h"

enum { REPOST = 32 };

static void count_frame(struct load *g, struct load_port *p, const uint8_t *frame, uint32_t length,
                        uint64_t now)
{
    uint64_t type = load_get64(frame + 8);
    uint32_t shift = (uint16_t)(type >> 32) == 0x0081 ? 4 : 0; /* 81 00 */
    const uint8_t *body = frame + shift;
    uint64_t word5 = load_get64(body + 40);
    uint32_t number = length >= LOAD_MIN_FRAME + shift ? load_body_stream(word5) : LOAD_STREAMS;
    if (number >= g->streams) {
        p->foreign++;
        return;
    }
    struct load_stream *s = g->stream[number];
    struct load_counts *c = &s->counts;
    if (__builtin_expect(s->out < 0 || p != &g->port[s->out], 0)) {
        c->misdirected++;
        return;
    }
    uint32_t flow = load_body_flow(s, load_get64(body + 32), word5);
    bool whole = length - shift == s->size - s->shift && load_stream_matches(s, flow, body);
    if (s->mask[0] != 0) /* the VLAN tag, and what stands before the body */
        whole = whole && shift == s->shift && (shift == 0 || memcmp(frame, s->frame, 4) == 0);
    uint64_t seq = load_get64(body + s->seq_at);
    if (seq % LOAD_PATTERN_EVERY == 0 && whole)
        whole = load_stream_pattern_ok(s, body);
    c->received++;
    c->corrupt += !whole;
    if (__builtin_expect(seq == c->expected, 1))
        c->expected = seq + 1;
    else if (seq > c->expected && seq < c->sent)
        c->expected = seq + 1;
    else
        c->out_of_order++;
    if (s->latency)
        load_histogram_add(s->histogram, now - load_get64(body + s->tsc_at));
}

/* A frame in several buffers (VIRTIO 1.2, 5.1.6.4): put it together. Returns how many buffers it had, 0: the device did not give all. */
static unsigned gather(struct load *g, struct load_port *p, unsigned buffers, uint32_t *length)
{
    struct load_ring *r = &p->rx;
    uint32_t at = 0;
    while (r->used_count - r->done < buffers)
        if (load_ring_poll(r, buffers) == 0)
            return 0;
    for (unsigned i = 0; i < buffers; i++) {
        uint64_t number = r->done + i;
        uint32_t bytes = load_ring_length(r, number);
        const uint8_t *from = load_ring_buffer(r, load_ring_id(r, number)) + LOAD_FRAME_AT - LOAD_NET_HDR;
        if (bytes > r->capacity || at + bytes > g->gather_bytes)
            return 0;
        memcpy(g->gather + at, from, bytes);
        at += bytes;
    }
    *length = at - LOAD_NET_HDR;
    return buffers;
}

/* The frame at `done`; how many buffers it took. */
static inline unsigned receive_one(struct load *g, struct load_port *p, uint64_t now)
{
    struct load_ring *r = &p->rx;
    uint32_t length = load_ring_length(r, r->done);
    const uint8_t *frame = load_ring_buffer(r, load_ring_id(r, r->done)) + LOAD_FRAME_AT;
    if (__builtin_expect(length > r->capacity || length < LOAD_NET_HDR, 0)) {
        r->broken = true;
        return 1;
    }
    if (__builtin_expect(length == r->capacity && p->mergeable, 0)) {
        uint16_t buffers;
        memcpy(&buffers, frame - 2, sizeof buffers); /* num_buffers */
        if (buffers > 1) {
            unsigned n = gather(g, p, buffers, &length);
            if (n == 0) {
                r->broken = true;
                return 1;
            }
            count_frame(g, p, g->gather + LOAD_NET_HDR, length, now);
            return n;
        }
    }
    count_frame(g, p, frame, length - LOAD_NET_HDR, now);
    return 1;
}

unsigned load_receive(struct load *g, struct load_port *p)
{
    struct load_ring *r = &p->rx;
    unsigned n = load_ring_poll(r, LOAD_BURST);
    if (n == 0)
        return 0;
    uint64_t now = load_ticks(), first = r->done;
    for (unsigned i = 0; i < n; i++)
        __builtin_prefetch(load_ring_buffer(r, load_ring_id(r, first + i)) + LOAD_FRAME_AT);
    while (r->done < r->used_count && !r->broken)
        r->done += receive_one(g, p, now);
    /* Whole cache lines of the available ring at once; the device has the others meanwhile. */
    uint32_t waiting = r->chains - (uint32_t)(r->next - r->done);
    if (waiting >= REPOST) {
        bool starved = waiting == r->chains;
        load_ring_publish(r, waiting, LOAD_FRAME_AT - LOAD_NET_HDR, r->capacity);
        if (starved)
            load_ring_notify(r);
    }
    return (unsigned)(r->done - first);
}
