/* command.c: the commands themselves; see command.h. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "command.h"
#include "front_end.h"

static struct load_snapshot *at_start;

void load_refuse(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    printf("{\"ok\": false, \"error\": \"");
    vprintf(format, arguments);
    printf("\"}\n");
    fflush(stdout);
    va_end(arguments);
}

static void accept_plain(void)
{
    printf("{\"ok\": true}\n");
    fflush(stdout);
}

static void add_stream(struct load *g, void *stream)
{
    struct load_stream *s = stream;
    s->rate_from = load_ticks();
    g->stream[g->streams++] = s;
    load_expect(g);
}

static bool room_for_stream(const struct load *g)
{
    if (g->streams < LOAD_STREAMS)
        return true;
    load_refuse("there are %d streams already", LOAD_STREAMS);
    return false;
}

static void finish_stream(struct load *g, struct load_stream *s)
{
    s->pps /= load_ticks_per_second();
    load_port_populate(&g->port[s->in]);
    if (s->out >= 0)
        load_port_populate(&g->port[s->out]);
    load_call(g, add_stream, s);
    printf("{\"ok\": true, \"stream\": %u}\n", s->number);
    fflush(stdout);
}

static void do_traffic(struct load *g, struct load_words *w)
{
    struct load_stream_spec spec;
    const char *wrong = load_read_traffic(g, w, &spec), *key = load_words_unknown(w);
    struct load_stream *s = NULL;
    if (wrong == NULL && key != NULL) {
        free(spec.tuples);
        load_refuse("traffic: there is no %s=", key);
        return;
    }
    if (wrong == NULL && !room_for_stream(g))
        return;
    if (wrong == NULL)
        s = load_stream_new(g->streams, &spec, &wrong);
    if (s == NULL) {
        free(spec.tuples);
        load_refuse("traffic: %s", wrong);
        return;
    }
    finish_stream(g, s);
}

static void do_replay(struct load *g, struct load_words *w)
{
    uint64_t in;
    double pps = 0;
    const char *rate = load_words_get(w, "rate"), *why = "usage: replay IN FILE [rate=max|PPS]";
    struct load_stream_spec spec = {.size = LOAD_MIN_FRAME, .flows = 1, .out = -1, .dports = 1};
    if (w->n_plain != 3 || !load_read_number(w->plain[1], g->ports - 1, &in) ||
        load_words_unknown(w) != NULL ||
        (rate != NULL && strcmp(rate, "max") != 0 && !load_read_real(rate, &pps))) {
        load_refuse("%s", why);
        return;
    }
    spec.in = (uint32_t)in;
    spec.pps = pps;
    uint32_t count;
    struct load_frame *frames =
        load_read_frames(w->plain[2], g->port[in].tx.stride - LOAD_FRAME_AT, &count, &why);
    if (frames == NULL) {
        load_refuse("replay %s: %s", w->plain[2], why);
        return;
    }
    struct load_stream *s = room_for_stream(g) ? load_stream_new(g->streams, &spec, &why) : NULL;
    if (s == NULL)
        return;
    s->replay = frames;
    s->replay_count = count;
    finish_stream(g, s);
}

static void begin(struct load *g, void *argument)
{
    (void)argument;
    uint64_t now = load_ticks();
    for (uint32_t i = 0; i < g->streams; i++) {
        g->stream[i]->rate_from = now;
        g->stream[i]->rate_sent = 0;
    }
    g->running = g->sending = true;
}

/* How a run ends: when all was sent, if that was asked for, and when nothing comes any more. */
static void end(struct load *g, void *argument)
{
    const bool *finish = argument;
    double second = load_ticks_per_second();
    uint64_t begun = load_ticks();
    while (*finish && !load_all_sent(g) && (double)(load_ticks() - begun) < 60 * second)
        load_turn(g);
    load_drain(g, (uint64_t)(0.05 * second), (uint64_t)(2 * second));
    g->running = g->sending = false;
}

/* The same as what the generator does when it has no stream: it would turn for nothing. */
static void snap(struct load *g, struct load_snapshot *to, bool reset)
{
    struct load_snap_request request = {to, reset};
    load_call(g, load_snap, &request);
    for (uint32_t i = 0; i < g->ports; i++) {
        uint64_t n;
        struct load_ring *ring[] = {&g->port[i].tx, &g->port[i].rx};
        for (unsigned k = 0; k < 2; k++)
            if (read(ring[k]->call_fd, &n, sizeof n) == (ssize_t)sizeof n)
                ring[k]->interrupts += n;
        to->interrupts += ring[0]->interrupts + ring[1]->interrupts;
    }
}

static void do_start(struct load *g)
{
    if (g->running || g->streams == 0) {
        load_refuse(g->running ? "start: it is started" : "start: there is no stream");
        return;
    }
    if (at_start == NULL)
        at_start = calloc(1, sizeof *at_start);
    snap(g, at_start, true);
    load_call(g, begin, NULL);
    accept_plain();
}

static void do_stop(struct load *g, bool finish)
{
    if (!g->running) {
        load_refuse("stop: it is not started");
        return;
    }
    struct load_snapshot *now = calloc(1, sizeof *now);
    load_call(g, end, &finish);
    snap(g, now, false);
    if (g->fault != NULL)
        load_refuse("%s", g->fault);
    else
        load_report(g, at_start, now, true);
    load_snapshot_free(now);
}

static void rest(double seconds)
{
    struct timespec t = {.tv_sec = (time_t)seconds,
                         .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};
    while (nanosleep(&t, &t) != 0)
        continue;
}

static void do_measure(struct load *g, struct load_words *w)
{
    double seconds;
    if (w->n_plain != 2 || !load_read_real(w->plain[1], &seconds) || seconds <= 0 || !g->running) {
        load_refuse(g->running ? "usage: measure SECONDS" : "measure: it is not started");
        return;
    }
    struct load_snapshot *from = calloc(1, sizeof *from), *to = calloc(1, sizeof *to);
    snap(g, from, true);
    rest(seconds);
    snap(g, to, false);
    if (g->fault != NULL)
        load_refuse("%s", g->fault);
    else
        load_report(g, from, to, false);
    load_snapshot_free(from);
    load_snapshot_free(to);
}

struct rate_request {
    struct load_stream *stream;
    double pps;
};

static void set_rate(struct load *g, void *argument)
{
    (void)g;
    const struct rate_request *r = argument;
    r->stream->pps = r->pps;
    r->stream->rate_from = load_ticks();
    r->stream->rate_sent = 0;
}

static void do_rate(struct load *g, struct load_words *w)
{
    uint64_t number;
    struct rate_request r = {.pps = 0};
    if (w->n_plain != 3 || g->streams == 0 || !load_read_number(w->plain[1], g->streams - 1, &number) ||
        (strcmp(w->plain[2], "max") != 0 && (!load_read_real(w->plain[2], &r.pps) || r.pps <= 0))) {
        load_refuse("usage: rate STREAM max|PPS");
        return;
    }
    r.stream = g->stream[number];
    r.pps /= load_ticks_per_second();
    load_call(g, set_rate, &r);
    accept_plain();
}

struct wake_request {
    struct load_stream *stream;
    uint64_t n, gap, lost, ticks_patience;
    struct load_histogram histogram;
};

/* One frame, then silence, n times; the worker spins meanwhile, so that what is measured is the switch's waking alone. */
static void wake(struct load *g, void *argument)
{
    struct wake_request *r = argument;
    struct load_stream *s = r->stream;
    bool sending = g->sending;
    g->sending = false;
    for (uint64_t i = 0; i < r->n; i++) {
        uint64_t begun = load_ticks(), received = s->counts.received;
        while (load_ticks() - begun < r->gap)
            load_pause();
        begun = load_ticks();
        bool sent = load_send_one(g, s);
        while (sent && s->counts.received == received && load_ticks() - begun < r->ticks_patience) {
            load_receive(g, &g->port[s->out]);
            load_ring_poll(&g->port[s->in].tx, g->port[s->in].tx.chains);
            load_ring_notify(&g->port[s->in].tx);
        }
        if (s->counts.received == received)
            r->lost++;
        else
            load_histogram_add(&r->histogram, load_ticks() - begun);
    }
    g->sending = sending;
}

static struct load_stream *stream_between(struct load *g, uint64_t in, uint64_t out)
{
    for (uint32_t i = 0; i < g->streams; i++)
        if (g->stream[i]->in == in && g->stream[i]->out == (int32_t)out)
            return g->stream[i];
    const char *why;
    struct load_stream_spec spec = {.in = (uint32_t)in,
                                    .out = (int32_t)out,
                                    .size = 64,
                                    .flows = 1,
                                    .dports = 1,
                                    .src = 0x0afe0000,
                                    .dst = 0x0afd0000,
                                    .sport = 1000,
                                    .dport = 1001};
    struct load_stream *s = g->streams < LOAD_STREAMS ? load_stream_new(g->streams, &spec, &why) : NULL;
    if (s != NULL)
        load_call(g, add_stream, s);
    return s;
}

static void do_wake(struct load *g, struct load_words *w)
{
    uint64_t in, out, n = 100, gap = 10000;
    const char *text;
    bool good = w->n_plain == 3 && load_read_number(w->plain[1], g->ports - 1, &in) &&
                load_read_number(w->plain[2], g->ports - 1, &out) && !g->running;
    good = good && ((text = load_words_get(w, "n")) == NULL || load_read_number(text, 1000000, &n));
    good = good && ((text = load_words_get(w, "gap_us")) == NULL || load_read_number(text, 10000000, &gap));
    if (!good || load_words_unknown(w) != NULL) {
        load_refuse(g->running ? "wake: stop first" : "usage: wake IN OUT [n=COUNT] [gap_us=MICROSECONDS]");
        return;
    }
    double second = load_ticks_per_second();
    struct wake_request *r = calloc(1, sizeof *r);
    r->stream = stream_between(g, in, out);
    r->n = n;
    r->gap = (uint64_t)(second * 1e-6 * (double)gap);
    r->ticks_patience = (uint64_t)(second / 4);
    load_call(g, wake, r);
    double ns = 1e9 / second;
    printf("{\"ok\": true, \"n\": %llu, \"lost\": %llu, \"p50\": %.0f, \"p99\": %.0f, \"max\": %.0f}\n",
           (unsigned long long)n, (unsigned long long)r->lost,
           ns * load_histogram_quantile(&r->histogram, 0.5),
           ns * load_histogram_quantile(&r->histogram, 0.99), ns * (double)r->histogram.max);
    fflush(stdout);
    free(r);
}

bool load_command(struct load *g, char *line)
{
    struct load_words w;
    if (load_words_split(&w, line) != 0 || w.n_plain == 0) {
        load_refuse("not a command: traffic, replay, start, stop, finish, measure, rate, wake or quit");
        return true;
    }
    const char *name = w.plain[0];
    if (strcmp(name, "traffic") == 0)
        do_traffic(g, &w);
    else if (strcmp(name, "replay") == 0)
        do_replay(g, &w);
    else if (strcmp(name, "start") == 0)
        do_start(g);
    else if (strcmp(name, "stop") == 0)
        do_stop(g, false);
    else if (strcmp(name, "finish") == 0)
        do_stop(g, true);
    else if (strcmp(name, "measure") == 0)
        do_measure(g, &w);
    else if (strcmp(name, "rate") == 0)
        do_rate(g, &w);
    else if (strcmp(name, "wake") == 0)
        do_wake(g, &w);
    else if (strcmp(name, "quit") == 0)
        return false;
    else
        load_refuse("no command %s: traffic, replay, start, stop, finish, measure, rate, wake or quit", name);
    return true;
}
