/* walk.c: cycles per packet of looking up, without rings: parse, cache, classifier, walk, programs, output; one thread.
 *
 * How it works: a port of this file's own hands out batches of 32 frames, each of a flow drawn at random, and forgets what is sent
 * to it. First every flow comes once, in order (set-up: each packet is the first of its flow), then the turns that are counted.
 * Rules can change while packets flow: one rule that no packet meets comes or goes every so many packets, as a controller's
 * flow-mods would, one commit each. Only the core's turns are timed; what a commit costs shows in the packets behind it.
 * Rules:  each  one rule a flow (in_port,udp,nw_dst)      l4  in_port,udp,tp_dst=1001, the rest dropped
 *         wide  four rules that look at the 5-tuple, so that each flow is one of the cache     two  wide, behind a first table
 *         acl   N rules of prefixes and ports over some hundred masks, as ClassBench makes them
 * Arguments: rules, number of rules, flows, packets, packets between two changes (0: none). Run: python tests/bench/walk.py
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "datapath.h"

enum { FRAME = 60, FIRST_IP = 0x0afd0000 };

enum kind { EACH, L4, WIDE, TWO, ACL, N_KINDS };
static const char *const names[N_KINDS] = {"each", "l4", "wide", "two", "acl"};

struct tuple { /* what of a frame differs */
    uint32_t src, dst;
    uint16_t sport, dport;
    uint8_t proto;
};

struct source {
    struct vs_port port;
    uint64_t sent;
};

static vs_dp *dp;
static vs_bridge *bridge;
static enum kind kind;
static uint32_t n_rules, n_flows;
static struct tuple *acl; /* of each rule, masked bits filled in at random */
static uint64_t sequence; /* packets made: below n_flows in order, then at random */

/* ---- frames -------------------------------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t x) /* splitmix64 */
{
    x += 0x9e3779b97f4a7c15ULL;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}

static struct tuple flow(uint32_t i)
{
    uint64_t a = mix(i), b = mix(a);
    if (kind == ACL) {
        struct tuple t = acl[a % n_rules % (1 + b % n_rules)]; /* the first rules are met more often */
        t.sport = (uint16_t)(b >> 32);
        return t;
    }
    if (kind == WIDE || kind == TWO)
        return (struct tuple){.src = (uint32_t)a | 1,
                              .dst = (uint32_t)(a >> 32),
                              .sport = (uint16_t)b,
                              .dport = (uint16_t)(b >> 16),
                              .proto = 17};
    return (struct tuple){.src = 0x0afe0000, .dst = FIRST_IP + i, .sport = 1000, .dport = 1001, .proto = 17};
}

static void fill(struct vs_packet *p, const struct tuple *t)
{
    static const uint8_t udp[FRAME] = {2, 0,    0, 0, 0,  2, 2, 0, 0, 0,  0,  1, 8,
                                       0, 0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0};
    memcpy(p->data, udp, FRAME);
    p->data[23] = t->proto;
    vs_put_be32(p->data + 26, t->src);
    vs_put_be32(p->data + 30, t->dst);
    vs_put_be16(p->data + 34, t->sport);
    vs_put_be16(p->data + 36, t->dport);
    vs_put_be16(p->data + 38, 26);
    p->head_len = FRAME;
    p->frame_len = FRAME;
}

static int source_rx(struct vs_port *port, unsigned rxq, struct vs_packet **pkts, int n,
                     struct vs_port_counters *c)
{
    for (int i = 0; i < n; i++) {
        uint64_t s = sequence++;
        struct tuple t = flow((uint32_t)(s < n_flows ? s : mix(s) % n_flows));
        fill(pkts[i], &t);
    }
    vs_port_rx_count(c, (uint64_t)n, (uint64_t)n * FRAME);
    return n;
}

static void source_tx(struct vs_port *port, unsigned core, struct vs_packet **pkts, int n,
                      struct vs_port_counters *c)
{
    ((struct source *)port)->sent += (uint64_t)n;
    vs_port_sent(c, (uint64_t)n, (uint64_t)n * FRAME);
}

static void source_destroy(struct vs_port *port)
{
    free(port);
}

/* ---- rules --------------------------------------------------------------------------------------------------------- */

static uint64_t add(uint8_t table, int32_t priority, int16_t go_to, const struct vs_key *value,
                    const struct vs_key *mask, uint32_t out)
{
    struct vs_rule_spec spec = {
        .table = table, .priority = priority, .goto_table = go_to, .n_apply = out != 0};
    struct vs_action action = {.type = VS_ACT_OUTPUT, .arg = out, .max_len = 0xffff};
    uint64_t rule = vs_bridge_rule_add(bridge, &spec, value, mask, &action);
    if (rule == 0)
        exit(1);
    return rule;
}

static struct vs_key udp_from_1(struct vs_key *mask)
{
    *mask = (struct vs_key){.ip_proto = {255}};
    memset(mask->in_port, 255, sizeof mask->in_port);
    memset(mask->eth_type, 255, sizeof mask->eth_type);
    return (struct vs_key){.in_port = {0, 0, 0, 1}, .eth_type = {8, 0}, .ip_proto = {17}};
}

static void add_each(void)
{
    for (uint32_t i = 0; i < n_rules; i++) {
        struct vs_key mask, value = udp_from_1(&mask);
        vs_put_be32(value.ipv4_dst, FIRST_IP + i);
        memset(mask.ipv4_dst, 255, sizeof mask.ipv4_dst);
        add(0, 10, -1, &value, &mask, 2);
    }
}

static void add_l4(void)
{
    for (uint16_t port = 9; port <= 1001; port = (uint16_t)(port + 992)) {
        struct vs_key mask, value = udp_from_1(&mask);
        vs_put_be16(value.tp_dst, port);
        memset(mask.tp_dst, 255, sizeof mask.tp_dst);
        add(0, 10, -1, &value, &mask, port == 9 ? 0 : 2);
    }
}

/* Nothing that packets have, but all of the 5-tuple; the last rule takes everything. */
static void add_wide(uint8_t table)
{
    const struct vs_key none = {.in_port = {0}};
    for (unsigned i = 0; i < 3; i++) {
        struct vs_key mask, value = udp_from_1(&mask);
        memset(i == 0 ? mask.ipv4_src : mask.ipv4_dst, i == 2 ? 0 : 255, 4);
        if (i > 0)
            memset(i == 1 ? mask.tp_src : mask.tp_dst, 255, 2);
        add(table, 10, -1, &value, &mask, 0);
    }
    add(table, 0, -1, &none, &none, 2);
}

static uint32_t prefix(unsigned bits)
{
    return bits == 0 ? 0 : UINT32_MAX << (32 - bits);
}

/* Lengths and ports as in access lists: hosts and small nets, a port or any, few ranges. */
static void add_acl(void)
{
    static const uint8_t lengths[16] = {32, 32, 32, 32, 24, 24, 28, 30, 27, 16, 20, 22, 23, 8, 0, 0};
    static const uint16_t ports[8] = {0xffff, 0xffff, 0xffff, 0xffff, 0, 0, 0xff00, 0xfffc};
    acl = calloc(n_rules, sizeof *acl);
    for (uint32_t i = 0; i < n_rules; i++) {
        uint64_t a = mix(i * 2u), b = mix(i * 2u + 1);
        struct tuple t = {.src = (uint32_t)a | 1, .dst = (uint32_t)(a >> 32), .proto = b & 4 ? 6 : 17};
        uint32_t src = prefix(lengths[b >> 8 & 15]), dst = prefix(lengths[b >> 12 & 15]);
        uint16_t port = ports[b >> 16 & 7];
        t.dport = (uint16_t)(b >> 32);
        struct vs_key mask, value = udp_from_1(&mask);
        memset(mask.in_port, 0, sizeof mask.in_port);
        memset(value.in_port, 0, sizeof value.in_port);
        value.ip_proto[0] = t.proto;
        vs_put_be32(value.ipv4_src, t.src);
        vs_put_be32(mask.ipv4_src, src);
        vs_put_be32(value.ipv4_dst, t.dst);
        vs_put_be32(mask.ipv4_dst, dst);
        vs_put_be16(value.tp_dst, t.dport);
        vs_put_be16(mask.tp_dst, port);
        acl[i] = t;
        add(0, 65000 - (int32_t)(i * UINT64_C(60000) / n_rules), -1, &value, &mask, 2);
    }
}

static void add_rules(void)
{
    const struct vs_key none = {.in_port = {0}};
    if (kind == EACH)
        add_each();
    else if (kind == ACL)
        add_acl();
    else if (kind == L4)
        add_l4();
    else
        add_wide(kind == TWO);
    if (kind == TWO)
        add(0, 1, 1, &none, &none, 0);
    else if (kind != WIDE)
        add(0, 0, -1, &none, &none, 0); /* the rest is dropped */
    if (vs_bridge_commit(bridge) != 0)
        exit(1);
}

/* One flow-mod: a rule for an address that nobody has, or its end. */
static void change(void)
{
    static uint64_t rules[64];
    static unsigned n;
    uint64_t *at = &rules[n++ % 64];
    if (*at != 0) {
        vs_bridge_rule_remove(bridge, *at);
        *at = 0;
    } else {
        struct vs_key mask, value = udp_from_1(&mask);
        vs_put_be32(value.ipv4_dst, 0xc0000000 + n);
        memset(mask.ipv4_dst, 255, sizeof mask.ipv4_dst);
        *at = add(kind == TWO, 10, -1, &value, &mask, 2);
    }
    if (vs_bridge_commit(bridge) != 0)
        exit(1);
}

/* The control thread's part of every 0.1 s, as if a packet took 250 ns. */
static void housekeep(void)
{
    struct vs_retired retired[64];
    (void)vs_dp_housekeep(dp);
    while (vs_bridge_take_retired(bridge, retired, 64) > 0)
        continue;
}

/* ---- turns --------------------------------------------------------------------------------------------------------- */

static struct vs_port *new_port(uint32_t number, uint16_t n_rxq)
{
    static const struct vs_port_ops ops = {
        .type = "source", .rx = source_rx, .tx = source_tx, .destroy = source_destroy};
    struct source *s = calloc(1, sizeof *s);
    vs_port_init(&s->port, &ops, "source", n_rxq);
    if (vs_dp_attach(dp, &s->port, bridge, number) < 0)
        exit(1);
    return &s->port;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static long resident(void)
{
    long size = 0, pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f == NULL || fscanf(f, "%ld %ld", &size, &pages) != 2)
        exit(1);
    fclose(f);
    return pages * sysconf(_SC_PAGESIZE);
}

/* Each turn makes its own packets, which is not to be counted: the driver's time is measured by itself and taken off. */
static uint64_t cost_of_frames(uint64_t turns)
{
    struct vs_packet *packets = calloc(VS_BATCH, sizeof *packets), *pkts[VS_BATCH];
    static struct vs_port_counters c;
    uint64_t kept = sequence, before, least = UINT64_MAX;
    for (unsigned i = 0; i < VS_BATCH; i++) {
        pkts[i] = &packets[i];
        vs_packet_reset(pkts[i], NULL);
    }
    sequence = n_flows;
    for (uint64_t i = 0; i < turns; i++) {
        before = vs_cycles();
        source_rx(NULL, 0, pkts, VS_BATCH, &c);
        least = VS_MIN(least, vs_cycles() - before);
    }
    sequence = kept;
    free(packets);
    return least;
}

static void turns(const char *what, uint64_t packets, uint32_t each, uint64_t frames)
{
    uint64_t n = VS_MAX(packets / VS_BATCH, 1), sum = 0, due = each, quiet = 0, done = 0;
    uint64_t *cycles = calloc(n, sizeof *cycles);
    struct vs_core_stats before, after;
    vs_dp_core_stats(dp, 1, &before);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t start = vs_cycles();
        done += (uint64_t)vs_dp_poll(dp);
        cycles[i] = vs_cycles() - start;
        sum += cycles[i];
        for (; each != 0 && done >= due; due += each)
            change();
        if (done - quiet >= 400000) {
            quiet = done;
            housekeep();
        }
    }
    vs_dp_core_stats(dp, 1, &after);
    qsort(cycles, n, sizeof *cycles, by_value);
    printf("  %-7s median %7.1f  tenth %7.1f  mean %7.1f cycles a packet; %5.1f %% walked\n", what,
           ((double)cycles[n / 2] - (double)frames) / VS_BATCH,
           ((double)cycles[n / 10] - (double)frames) / VS_BATCH,
           ((double)sum / (double)n - (double)frames) / VS_BATCH,
           100.0 * (double)(after.emc_misses - before.emc_misses) / (double)(n * VS_BATCH));
    free(cycles);
}

int main(int argc, char **argv)
{
    if (argc != 6)
        return 2;
    while (kind < N_KINDS && strcmp(names[kind], argv[1]) != 0)
        kind++;
    n_rules = (uint32_t)strtoul(argv[2], NULL, 10);
    n_flows = (uint32_t)strtoul(argv[3], NULL, 10);
    uint64_t packets = strtoull(argv[4], NULL, 10), n_masks;
    if (kind == N_KINDS || n_rules == 0 || n_flows == 0 || (dp = vs_dp_new(1 << 18, 1)) == NULL ||
        vs_dp_core_add(dp, -1) < 0 || (bridge = vs_dp_bridge_add(dp, "walk")) == NULL)
        return 1;
    struct vs_rxq_pin pin = {.port = vs_port_index(new_port(1, 1)), .core = 1};
    struct vs_port *out = new_port(2, 0);
    long bytes = resident();
    uint64_t start = vs_cycles();
    add_rules();
    uint64_t added = vs_cycles() - start;
    long rule_bytes = resident() - bytes;
    struct vs_bridge_stats stats;
    vs_bridge_stats(bridge, &stats);
    n_masks = stats.n_masks;
    uint64_t frames = cost_of_frames(1000);
    vs_dp_assign(dp, &pin, 1);
    printf("%s: %u rules, %lu masks, %u flows; %.0f cycles to add a rule\n", names[kind], stats.n_rules,
           (unsigned long)n_masks, n_flows, (double)added / stats.n_rules);
    turns("set-up", n_flows, 0, frames);
    printf("  memory  %.0f bytes a rule, %.0f a flow\n", (double)rule_bytes / stats.n_rules,
           (double)(resident() - bytes) / VS_MAX(n_flows, stats.n_rules));
    turns("steady", packets, (uint32_t)strtoul(argv[5], NULL, 10), frames);
    if (((struct source *)out)->sent == 0)
        return 1;
    vs_dp_free(dp);
    return 0;
}
