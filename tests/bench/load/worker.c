/* worker.c: the loop: sending, turns, and the control thread's calls; see worker.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>

#include "worker.h"

enum { AHEAD = 8, REPLAY_MAX = 2048, BEHIND = 1024 };
#define NO_OWNER 0xffff

/* Write n frames of a stream and let the device have them; there is room. */
static inline __attribute__((always_inline)) void send_made(struct load_ring *r, struct load_stream *s,
                                                            unsigned n, uint8_t vary, uint8_t dist)
{
    uint64_t now = s->latency ? load_ticks() : 0, seq = s->counts.sent;
    uint32_t offset = LOAD_FRAME_AT - LOAD_NET_HDR - s->shift, bytes = LOAD_NET_HDR + s->size;
    for (unsigned i = 0; i < n; i++) {
        uint32_t id = load_ring_id(r, r->next + i);
        uint8_t *buffer = load_ring_buffer(r, id);
        __builtin_prefetch(load_ring_buffer(r, load_ring_id(r, r->next + i + AHEAD)) + LOAD_FRAME_AT, 1);
        if (__builtin_expect(r->owner[id] != s->number, 0)) {
            r->owner[id] = (uint16_t)s->number;
            load_stream_prepare(s, buffer);
            load_ring_describe(r, id, offset, bytes);
        }
        uint32_t flow = load_stream_flow(s, dist);
        load_stream_stamp(s, vary, flow, seq + i, now, buffer + LOAD_FRAME_AT);
    }
    load_ring_publish(r, n, offset, bytes);
    s->counts.sent += n;
}

static void send_replay(struct load_ring *r, struct load_stream *s, unsigned n)
{
    uint32_t offset = LOAD_FRAME_AT - LOAD_NET_HDR;
    for (unsigned i = 0; i < n; i++) {
        const struct load_frame *f = &s->replay[s->cursor];
        uint32_t id = load_ring_id(r, r->next);
        uint8_t *frame = load_ring_buffer(r, id) + LOAD_FRAME_AT;
        s->cursor = s->cursor + 1 == s->replay_count ? 0 : s->cursor + 1;
        r->owner[id] = NO_OWNER;
        memset(frame - LOAD_NET_HDR, 0, LOAD_NET_HDR);
        memcpy(frame, f->bytes, f->length);
        load_ring_describe(r, id, offset, LOAD_NET_HDR + f->length);
        load_ring_publish(r, 1, offset, LOAD_NET_HDR + f->length);
    }
    s->counts.sent += n;
}

/* One loop for each way to choose flows and to write them: the compiler leaves out what the others need. */
static void send_frames(struct load_ring *r, struct load_stream *s, unsigned n)
{
    if (s->replay != NULL)
        send_replay(r, s, n);
    else if (s->vary == LOAD_DST_IP && s->dist == LOAD_UNIFORM)
        send_made(r, s, n, LOAD_DST_IP, LOAD_UNIFORM);
    else if (s->vary == LOAD_DST_IP && s->dist == LOAD_ZIPF)
        send_made(r, s, n, LOAD_DST_IP, LOAD_ZIPF);
    else if (s->vary == LOAD_FIVE_TUPLE)
        send_made(r, s, n, LOAD_FIVE_TUPLE, s->dist);
    else if (s->vary == LOAD_L2)
        send_made(r, s, n, LOAD_L2, s->dist);
    else
        send_made(r, s, n, s->vary, s->dist);
}

/* How many frames a stream at a rate should have sent by now, and has not. Who is far behind does not catch up. */
static unsigned due(struct load_stream *s, uint64_t now)
{
    double wanted = (double)(now - s->rate_from) * s->pps;
    if (wanted < (double)s->rate_sent + 1)
        return 0;
    if (wanted > (double)s->rate_sent + BEHIND) {
        s->rate_from = now;
        s->rate_sent = 0;
        return LOAD_BURST;
    }
    return (unsigned)(wanted - (double)s->rate_sent);
}

static unsigned send_stream(struct load *g, struct load_stream *s, uint64_t now)
{
    struct load_ring *r = &g->port[s->in].tx;
    load_ring_poll(r, r->chains);
    load_ring_notify(r);
    unsigned room = load_ring_room(r), burst = LOAD_BURST < r->chains / 2 ? LOAD_BURST : r->chains / 2;
    unsigned n = room < burst ? room : burst;
    uint64_t left = s->count - s->counts.sent;
    if (s->pps > 0) {
        unsigned wanted = due(s, now);
        n = wanted < n ? wanted : n;
        s->rate_sent += n;
    } else if (n < burst) {
        return 0;
    }
    n = left < n ? (unsigned)left : n;
    if (n > 0)
        send_frames(r, s, n);
    return n;
}

bool load_send_one(struct load *g, struct load_stream *s)
{
    struct load_ring *r = &g->port[s->in].tx;
    load_ring_poll(r, r->chains);
    if (load_ring_room(r) == 0)
        return false;
    send_frames(r, s, 1);
    load_ring_poll(r, r->chains);
    load_ring_notify(r);
    return true;
}

bool load_turn(struct load *g)
{
    uint64_t now = load_ticks();
    struct load_turns *t = &g->turns;
    unsigned work = 0;
    t->turns++;
    t->busy_turns += g->last_busy;
    t->ticks += now - g->last_tick;
    t->busy_ticks += g->last_busy ? now - g->last_tick : 0;
    g->last_tick = now;
    for (uint32_t i = 0; i < g->n_polled; i++)
        work += load_receive(g, g->polled[i]);
    g->other = g->other + 1 < g->ports ? g->other + 1 : 0;
    if (!g->port[g->other].polled)
        work += load_receive(g, &g->port[g->other]);
    g->rotate = g->rotate + 1 < g->streams ? g->rotate + 1 : 0;
    for (uint32_t i = 0; g->sending && i < g->streams; i++) {
        uint32_t at = g->rotate + i;
        work += send_stream(g, g->stream[at < g->streams ? at : at - g->streams], now);
    }
    g->last_busy = work != 0;
    return g->last_busy;
}

static bool all_back(struct load *g)
{
    bool back = true;
    for (uint32_t i = 0; i < g->streams; i++) {
        struct load_ring *r = &g->port[g->stream[i]->in].tx;
        load_ring_poll(r, r->chains);
        load_ring_notify(r);
        back = back && load_ring_room(r) == r->chains;
    }
    return back;
}

void load_drain(struct load *g, uint64_t quiet, uint64_t most)
{
    uint64_t begin = load_ticks(), last = begin;
    bool sending = g->sending;
    g->sending = false;
    while (load_ticks() - begin < most) {
        if (load_turn(g) || !all_back(g))
            last = load_ticks();
        else if (load_ticks() - last > quiet)
            break;
    }
    g->sending = sending;
}

bool load_all_sent(const struct load *g)
{
    for (uint32_t i = 0; i < g->streams; i++)
        if (g->stream[i]->counts.sent < g->stream[i]->count)
            return false;
    return true;
}

void load_expect(struct load *g)
{
    g->n_polled = 0;
    for (uint32_t i = 0; i < g->ports; i++)
        g->port[i].polled = false;
    for (uint32_t i = 0; i < g->streams; i++) {
        struct load_stream *s = g->stream[i];
        if (s->out >= 0 && !g->port[s->out].polled) {
            g->port[s->out].polled = true;
            g->polled[g->n_polled++] = &g->port[s->out];
        }
    }
}

static const char *find_fault(const struct load *g)
{
    for (uint32_t i = 0; i < g->ports; i++)
        if (g->port[i].tx.broken || g->port[i].rx.broken)
            return "the switch gave back a descriptor that it did not have, or a frame that does not fit its "
                   "buffer";
    return NULL;
}

static void *work(void *argument)
{
    struct load *g = argument;
    while (!g->quit) {
        if (g->waiting) {
            g->call(g, g->argument);
            g->fault = find_fault(g);
            g->waiting = 0;
            sem_post(&g->answered);
            g->last_tick = load_ticks(); /* what was called is no part of a turn */
            g->last_busy = false;
        }
        if (!g->running)
            sem_wait(&g->wake);
        else if (!load_turn(g))
            load_pause();
    }
    return NULL;
}

int load_worker_start(struct load *g, unsigned core)
{
    cpu_set_t set;
    pthread_attr_t attributes;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    if (sem_init(&g->wake, 0, 0) != 0 || sem_init(&g->answered, 0, 0) != 0 ||
        pthread_attr_init(&attributes) != 0)
        return errno;
    int error = pthread_attr_setaffinity_np(&attributes, sizeof set, &set);
    if (error == 0)
        error = pthread_create(&g->thread, &attributes, work, g);
    pthread_attr_destroy(&attributes);
    return error;
}

void load_worker_end(struct load *g)
{
    g->quit = 1;
    sem_post(&g->wake);
    pthread_join(g->thread, NULL);
}

void load_call(struct load *g, void (*call)(struct load *, void *), void *argument)
{
    g->call = call;
    g->argument = argument;
    g->waiting = 1;
    sem_post(&g->wake);
    while (sem_wait(&g->answered) != 0)
        continue;
}
