/* receive.c: what came at a port: which stream it is of, whether it is whole, and giving the buffers back; see worker.h. */
#include "worker.h"

enum { REPOST = 32 };

/* A frame in its receive buffers, of which the first holds all headers. */
struct arrival {
    const uint8_t *frame;
    uint32_t length;
    uint32_t buffers;
};

/* Put a frame in several buffers together and compare; what the device says of its length was checked. */
static bool pattern_ok(struct load *g, struct load_ring *r, const struct load_stream *s,
                       const struct arrival *a, uint32_t shift)
{
    const uint8_t *frame = a->frame;
    uint32_t at = 0;
    if (a->buffers > 1) {
        for (uint32_t i = 0; i < a->buffers; i++) {
            uint32_t bytes = load_ring_length(r, r->done + i);
            const uint8_t *from = load_ring_buffer(r, load_ring_id(r, r->done + i)) + LOAD_FRAME_AT;
            memcpy(g->gather + at, from - LOAD_NET_HDR, bytes);
            at += bytes;
        }
        frame = g->gather + LOAD_NET_HDR;
    }
    return load_stream_pattern_ok(s, frame + shift);
}

static inline void count_frame(struct load *g, struct load_port *p, const struct arrival *a, uint64_t now)
{
    uint64_t type = load_get64(a->frame + 8);
    uint32_t shift = (uint16_t)(type >> 32) == 0x0081 ? 4 : 0; /* 81 00 */
    const uint8_t *body = a->frame + shift;
    uint64_t word5 = load_get64(body + 40);
    uint32_t number = a->length >= LOAD_MIN_FRAME + shift ? load_body_stream(word5) : LOAD_STREAMS;
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
    bool whole = a->length - shift == s->size - s->shift && load_stream_matches(s, flow, body);
    if (s->mask[0] != 0) /* the VLAN tag, and what stands before the body */
        whole = whole && shift == s->shift && (shift == 0 || memcmp(a->frame, s->frame, 4) == 0);
    uint64_t seq = load_get64(body + s->seq_at);
    if (seq % LOAD_PATTERN_EVERY == 0 && whole)
        whole = pattern_ok(g, &p->rx, s, a, shift);
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

/* A frame in several buffers (VIRTIO 1.2, 5.1.6.4): how long it is. False: the device did not give all of them, or more than they hold. */
static bool measure_frame(struct load *g, struct load_ring *r, struct arrival *a)
{
    uint32_t bytes = 0;
    while (r->used_count - r->done < a->buffers)
        if (load_ring_poll(r, a->buffers) == 0)
            return false;
    for (uint32_t i = 0; i < a->buffers; i++) {
        uint32_t part = load_ring_length(r, r->done + i);
        bytes += part;
        if (part > r->capacity || bytes > g->gather_bytes)
            return false;
    }
    a->length = bytes - LOAD_NET_HDR;
    return true;
}

/* The frame at `done`; how many buffers it took. */
static inline unsigned receive_one(struct load *g, struct load_port *p, uint64_t now)
{
    struct load_ring *r = &p->rx;
    uint32_t bytes = load_ring_length(r, r->done);
    struct arrival a = {.frame = load_ring_buffer(r, load_ring_id(r, r->done)) + LOAD_FRAME_AT,
                        .length = bytes - LOAD_NET_HDR,
                        .buffers = 1};
    if (__builtin_expect(bytes > r->capacity || bytes < LOAD_NET_HDR, 0)) {
        r->broken = true;
        return 1;
    }
    if (__builtin_expect(bytes == r->capacity && p->mergeable, 0)) {
        uint16_t buffers;
        memcpy(&buffers, a.frame - 2, sizeof buffers); /* num_buffers */
        a.buffers = buffers;
        if (buffers > 1 && !measure_frame(g, r, &a)) {
            r->broken = true;
            return 1;
        }
    }
    count_frame(g, p, &a, now);
    return a.buffers == 0 ? 1 : a.buffers;
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
