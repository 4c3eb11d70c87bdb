/* report.c: what was counted between two moments, as JSON; see command.h. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "command.h"

static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

double load_ticks_per_second(void)
{
    static double since, rate;
    static uint64_t ticks;
    if (ticks == 0) {
        since = seconds_now();
        ticks = load_ticks();
        while (seconds_now() - since < 0.01)
            continue;
    }
    double passed = seconds_now() - since;
    if (rate == 0 || passed > 0.05) /* the longer, the better */
        rate = (double)(load_ticks() - ticks) / passed;
    return rate;
}

static void snap_histogram(struct load_snapshot *to, uint32_t i, struct load_histogram *h, bool reset)
{
    if (reset) {
        memset(h, 0, sizeof *h);
        return;
    }
    if (to->histogram[i] == NULL)
        to->histogram[i] = malloc(sizeof *h);
    if (to->histogram[i] != NULL)
        memcpy(to->histogram[i], h, sizeof *h);
}

void load_snap(struct load *g, void *request)
{
    const struct load_snap_request *asked = request;
    struct load_snapshot *to = asked->to;
    to->seconds = seconds_now();
    to->ticks = load_ticks();
    to->turns = g->turns;
    to->foreign = to->kicks = to->interrupts = 0;
    for (uint32_t i = 0; i < g->streams; i++) {
        to->counts[i] = g->stream[i]->counts;
        if (g->stream[i]->latency)
            snap_histogram(to, i, g->stream[i]->histogram, asked->reset);
    }
    for (uint32_t i = 0; i < g->ports; i++) {
        to->foreign += g->port[i].foreign;
        to->kicks += g->port[i].tx.kicks + g->port[i].rx.kicks;
    }
}

void load_snapshot_free(struct load_snapshot *s)
{
    for (unsigned i = 0; s != NULL && i < LOAD_STREAMS; i++)
        free(s->histogram[i]);
    free(s);
}

static void print_latency(const struct load_histogram *h)
{
    if (h == NULL || h->samples == 0) {
        printf("null");
        return;
    }
    double ns = 1e9 / load_ticks_per_second();
    printf("{\"samples\": %llu, \"p50\": %.0f, \"p99\": %.0f, \"p999\": %.0f, \"max\": %.0f, \"mean\": %.1f}",
           (unsigned long long)h->samples, ns * load_histogram_quantile(h, 0.5),
           ns * load_histogram_quantile(h, 0.99), ns * load_histogram_quantile(h, 0.999), ns * (double)h->max,
           ns * (double)h->sum / (double)h->samples);
}

static void print_stream(const struct load_stream *s, const struct load_counts *a,
                         const struct load_counts *b, const struct load_histogram *h, double seconds,
                         bool final)
{
    uint64_t sent = b->sent - a->sent, received = b->received - a->received;
    int64_t missing = (int64_t)(b->expected - a->expected) - (int64_t)received;
    if (final)
        missing = (int64_t)(sent - received - (b->misdirected - a->misdirected));
    if (s->out < 0)
        missing = 0;
    printf(
        "{\"stream\": %u, \"in\": %u, \"out\": %d, \"sent\": %llu, \"received\": %llu, \"lost\": %lld, "
        "\"out_of_order\": %llu, \"corrupt\": %llu, \"misdirected\": %llu, \"mpps\": %.6f, \"gbps\": %.6f, "
        "\"sent_mpps\": %.6f, \"latency_ns\": ",
        s->number, s->in, s->out, (unsigned long long)sent, (unsigned long long)received,
        (long long)(missing < 0 ? 0 : missing), (unsigned long long)(b->out_of_order - a->out_of_order),
        (unsigned long long)(b->corrupt - a->corrupt), (unsigned long long)(b->misdirected - a->misdirected),
        (double)received / seconds * 1e-6, (double)received * s->size * 8 / seconds * 1e-9,
        (double)sent / seconds * 1e-6);
    print_latency(h);
    printf("}");
}

void load_report(const struct load *g, const struct load_snapshot *from, const struct load_snapshot *to,
                 bool final)
{
    double seconds = to->seconds - from->seconds;
    uint64_t sent = 0, received = 0, turns = to->turns.turns - from->turns.turns;
    double ticks = (double)(to->turns.ticks - from->turns.ticks);
    double busy = (double)(to->turns.busy_ticks - from->turns.busy_ticks);
    printf("{\"ok\": true, \"seconds\": %.6f, \"streams\": [", seconds);
    for (uint32_t i = 0; i < g->streams; i++) {
        const struct load_counts *a = &from->counts[i], *b = &to->counts[i];
        printf("%s", i == 0 ? "" : ", ");
        print_stream(g->stream[i], a, b, to->histogram[i], seconds, final);
        sent += b->sent - a->sent;
        received += b->received - a->received;
    }
    uint64_t packets = sent > received ? sent : received;
    printf("], \"cycles_per_packet\": %.1f, \"busy_fraction\": %.4f, \"busy_time\": %.4f, \"turns\": %llu, "
           "\"ticks_per_second\": %.0f, \"foreign\": %llu, \"kicks\": %llu, \"interrupts\": %llu}\n",
           packets == 0 ? 0 : busy / (double)packets,
           turns == 0 ? 0 : (double)(to->turns.busy_turns - from->turns.busy_turns) / (double)turns,
           ticks > 0 ? busy / ticks : 0, (unsigned long long)turns, load_ticks_per_second(),
           (unsigned long long)(to->foreign - from->foreign), (unsigned long long)(to->kicks - from->kicks),
           (unsigned long long)(to->interrupts - from->interrupts));
    fflush(stdout);
}
