/* instructions.c: the paths of the datapath one by one, for callgrind, which counts the instructions of each.
 *
 * How it works: a case warms up, then does the same some more times with counting on, and asks callgrind for a dump by its name. What plays the
 * world around (ports that make and swallow frames, the guest's side of rings) is left out of the counts. Everything is in one thread and
 * the same in every run, but the seed of the MAC table's hash, so counts hardly differ from run to run.
 * Standard output has a line for each case: packets, name. Build and run: python tests/bench/instructions.py
 */
#include <stdio.h>
#include <valgrind/callgrind.h>

#include "datapath.h"
#include "guest_ring.h"
#include "parse.h"

enum {
    WARM = 8,     /* batches before counting: once round a ring */
    COUNTED = 32, /* batches that are counted; the cache has room for all their flows */
    FRAME = 60,
    LONGEST = 128,
    CACHE = 1 << 13,
    TP_DST = 1001,
    VIA = 2, /* OpenFlow number of the port that swallows */
};

static const uint8_t UDP4[FRAME] = {2,    0, 0,  0,   0, 2, 2,    0,    0,    0,    0, 1, 8,  0,
                                    0x45, 0, 0,  46,  0, 0, 0,    0,    64,   17,   0, 0, 10, 254,
                                    0,    0, 10, 253, 0, 0, 0x03, 0xe8, 0x03, 0xe9, 0, 26};
static const uint8_t TCP4_VLAN[FRAME + 4] = {2,    0,    0,    0, 0,  2,    2, 0, 0,  0,   0, 1,    0x81,
                                             0,    0,    100,  8, 0,  0x45, 0, 0, 46, 0,   0, 0x40, 0,
                                             64,   6,    0,    0, 10, 254,  0, 0, 10, 253, 0, 0,    0x03,
                                             0xe8, 0x03, 0xe9, 0, 0,  0,    1, 0, 0,  0,   1, 0x50, 0x10};
static const uint8_t TCP6[74] = {2,    0,    0,    0,    0,    2, 2, 0, 0, 0, 0, 1, 0x86, 0xdd, 0x60, 0, 0, 0,
                                 0,    20,   6,    64,   0xfd, 0, 0, 0, 0, 0, 0, 0, 0,    0,    0,    0, 0, 0,
                                 0,    1,    0xfd, 0,    0,    0, 0, 0, 0, 0, 0, 0, 0,    0,    0,    0, 0, 2,
                                 0x03, 0xe8, 0x03, 0xe9, 0,    0, 0, 1, 0, 0, 0, 1, 0x50, 0x10};
static const uint8_t ARP[FRAME] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0,  1,   8, 6,
                                   0,    1,    8,    0,    6,    4,    0, 1, 2, 0, 0,  0,   0, 1,
                                   10,   254,  0,    1,    0,    0,    0, 0, 0, 0, 10, 253, 0, 1};

/* ---- counting ------------------------------------------------------------------------------------------------------ */

static bool counting;

static void count(bool on)
{
    if (counting != on)
        CALLGRIND_TOGGLE_COLLECT;
    counting = on;
}

static void report(const char *name, uint64_t packets)
{
    count(false);
    CALLGRIND_DUMP_STATS_AT(name);
    printf("%llu %s\n", (unsigned long long)packets, name);
}

static void must(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "instructions: %s\n", what);
    exit(1);
}

/* ---- parsing ------------------------------------------------------------------------------------------------------- */

static struct vs_packet packets[VS_BATCH];

static void parse(const char *name, const uint8_t *frame, uint32_t len, bool has_l4)
{
    static struct vs_key keys[VS_BATCH];
    static uint8_t dirty[VS_BATCH];
    for (unsigned i = 0; i < WARM + COUNTED; i++) {
        for (unsigned k = 0; k < VS_BATCH; k++) {
            vs_packet_reset(&packets[k], NULL);
            vs_packet_fill(&packets[k], frame, len);
        }
        count(i >= WARM);
        for (unsigned k = 0; k < VS_BATCH; k++)
            vs_parse(&packets[k], 1, &keys[k], &dirty[k]);
        count(false);
    }
    must(packets[0].l3_ofs != VS_L_NONE && (packets[0].l4_ofs != VS_L_NONE) == has_l4, name);
    report(name, (uint64_t)COUNTED * VS_BATCH);
}

/* ---- ports that cost nothing --------------------------------------------------------------------------------------- */

struct source { /* receives the frame again and again, each with another flow number */
    struct vs_port port;
    uint8_t frames[VS_BATCH][LONGEST];
    uint32_t flow, flows;
    uint32_t left; /* to receive in this turn */
    uint64_t sent;
};

static int source_rx(struct vs_port *port, unsigned rxq, struct vs_packet **pkts, int n,
                     struct vs_port_counters *c)
{
    struct source *s = (struct source *)port;
    bool on = counting;
    (void)rxq;
    count(false);
    int done = (int)VS_MIN((uint32_t)n, s->left);
    s->left -= (uint32_t)done;
    for (int i = 0; i < done; i++, s->flow++) {
        vs_put_be32(s->frames[i] + 30, 0x0afd0000 + s->flow % s->flows);
        vs_packet_fill(pkts[i], s->frames[i], FRAME);
    }
    vs_port_rx_count(c, (uint64_t)done, (uint64_t)done * FRAME);
    count(on);
    return done;
}

static void source_tx(struct vs_port *port, unsigned core, struct vs_packet **pkts, int n,
                      struct vs_port_counters *c)
{
    bool on = counting;
    (void)core, (void)pkts;
    count(false);
    ((struct source *)port)->sent += (uint64_t)n;
    vs_port_sent(c, (uint64_t)n, (uint64_t)n * FRAME);
    count(on);
}

static const struct vs_port_ops source_ops = {.type = "source", .rx = source_rx, .tx = source_tx};

static struct source *source_new(uint32_t flows, uint8_t last_of_mac)
{
    struct source *s = calloc(1, sizeof *s);
    must(s != NULL, "no memory");
    vs_port_init(&s->port, &source_ops, "source", 1);
    atomic_store(&s->port.link_up, 1);
    atomic_store(&s->port.rx_fd[0], -1);
    s->flows = flows;
    for (unsigned i = 0; i < VS_BATCH; i++) {
        memcpy(s->frames[i], UDP4, FRAME);
        s->frames[i][5] = 3 - last_of_mac;
        s->frames[i][11] = last_of_mac;
    }
    return s;
}

/* ---- one bridge, two ports ----------------------------------------------------------------------------------------- */

struct world {
    vs_dp *dp;
    vs_bridge *bridge;
    struct source *ends[2];
};

static struct world world_new(uint32_t flows)
{
    struct world w = {.dp = vs_dp_new(CACHE, 1)};
    struct vs_rxq_pin pins[2];
    must(w.dp != NULL && vs_dp_core_add(w.dp, -1) == 1, "no datapath");
    vs_dp_set_time(w.dp, 1000);
    w.bridge = vs_dp_bridge_add(w.dp, "bench");
    for (uint8_t i = 0; i < 2; i++) {
        w.ends[i] = source_new(flows, (uint8_t)(i + 1));
        int index = vs_dp_attach(w.dp, &w.ends[i]->port, w.bridge, i + 1u);
        pins[i] = (struct vs_rxq_pin){.port = (uint16_t)index, .core = 1};
    }
    must(vs_dp_assign(w.dp, pins, 2) == 0, "no memory");
    return w;
}

/* UDP to TP_DST; with `host` != 0 also to that address. Goes on to a table, or out of a port. */
static void add_rule(const struct world *w, uint8_t table, uint32_t host, int go_to, uint32_t port)
{
    struct vs_key value = {.eth_type = {8, 0}, .ip_proto = {17}}, mask = {.ip_proto = {255}};
    memset(mask.eth_type, 255, sizeof mask.eth_type);
    memset(mask.tp_dst, 255, sizeof mask.tp_dst);
    vs_put_be16(value.tp_dst, TP_DST);
    if (host != 0) {
        vs_put_be32(value.ipv4_dst, host);
        memset(mask.ipv4_dst, 255, sizeof mask.ipv4_dst);
    }
    struct vs_rule_spec spec = {
        .table = table, .priority = 10, .goto_table = (int16_t)go_to, .n_apply = go_to < 0};
    struct vs_action out = {.type = VS_ACT_OUTPUT, .arg = port, .max_len = 0xffff};
    must(vs_bridge_rule_add(w->bridge, &spec, &value, &mask, &out) != 0, "rule refused");
}

static void commit(const struct world *w)
{
    must(vs_bridge_commit(w->bridge) == 0, "no memory");
}

/* Batches from the first port, and as many from the second if `both`; all must come out of the other one. */
static void run(const char *name, struct world *w, bool both, uint64_t misses_of_counted)
{
    struct vs_core_stats before, after;
    unsigned each = both ? 2 : 1;
    uint64_t out = w->ends[0]->sent + w->ends[1]->sent;
    vs_dp_core_stats(w->dp, 1, &before);
    for (unsigned i = 0; i < WARM + COUNTED; i++) {
        w->ends[0]->left = VS_BATCH;
        w->ends[1]->left = both ? VS_BATCH : 0;
        if (i == WARM)
            vs_dp_core_stats(w->dp, 1, &before);
        count(i >= WARM);
        int n = vs_dp_poll(w->dp);
        count(false);
        must(n == (int)(VS_BATCH * each), name);
    }
    vs_dp_core_stats(w->dp, 1, &after);
    must(w->ends[0]->sent + w->ends[1]->sent - out == (uint64_t)(WARM + COUNTED) * VS_BATCH * each,
         "packets are missing");
    must(after.emc_misses - before.emc_misses == misses_of_counted, "hits or misses are not what was meant");
    report(name, (uint64_t)COUNTED * VS_BATCH * each);
}

static void hit(const char *name, uint32_t flows, bool rule_each)
{
    struct world w = world_new(flows);
    for (uint32_t i = 0; i < (rule_each ? flows : 1); i++)
        add_rule(&w, 0, rule_each ? 0x0afd0000 + i : 0, -1, VIA);
    commit(&w);
    run(name, &w, false, 0);
}

static void learned(void)
{
    struct world w = world_new(1);
    struct vs_key any = {.bridge = {0}};
    struct vs_rule_spec spec = {.priority = 0, .goto_table = -1, .n_apply = 1};
    struct vs_action normal = {.type = VS_ACT_OUTPUT, .arg = VS_OFPP_NORMAL, .max_len = 0xffff};
    must(vs_bridge_rule_add(w.bridge, &spec, &any, &any, &normal) != 0, "rule refused");
    commit(&w);
    run("NORMAL, learned hosts", &w, true, 0);
}

/* Every packet a new flow: the last table tells destinations apart; with `rule_each` each has a rule, and so a program, of its own. */
static void miss(const char *name, uint8_t tables, bool rule_each)
{
    uint32_t flows = (WARM + COUNTED) * VS_BATCH;
    struct world w = world_new(flows);
    for (uint8_t t = 0; t + 1 < tables; t++)
        add_rule(&w, t, 0, t + 1, 0);
    for (uint32_t i = 0; i < (rule_each ? flows : 1);
         i++) /* another host's rule makes the address a part of the mask */
        add_rule(&w, (uint8_t)(tables - 1), rule_each ? 0x0afd0000 + i : 0x0a000001, -1, VIA);
    if (!rule_each)
        add_rule(&w, (uint8_t)(tables - 1), 0, -1, VIA);
    commit(&w);
    run(name, &w, false, COUNTED * VS_BATCH);
}

/* ---- rings --------------------------------------------------------------------------------------------------------- */

static struct vs_port_counters counters;

static void receive(const char *name, const struct vs_guest_mem *mem, bool packed)
{
    struct vs_packet *pkts[VS_BATCH];
    struct vs_port *port = vs_vhost_new("bench");
    struct guest_ring ring;
    must(port != NULL, "no memory");
    guest_ring_make(&ring, port, 1, mem, packed, FRAME, -1);
    for (unsigned i = 0; i < GUEST_RING; i++)
        memcpy(guest_frame(&ring, i), UDP4, FRAME);
    for (unsigned i = 0; i < VS_BATCH; i++)
        pkts[i] = &packets[i];
    for (unsigned i = 0; i < WARM + COUNTED; i++) {
        guest_publish(&ring, VS_BATCH);
        for (unsigned k = 0; k < VS_BATCH; k++)
            vs_packet_reset(pkts[k], port);
        count(i >= WARM);
        int n = port->ops->rx(port, 0, pkts, VS_BATCH, &counters);
        port->ops->rx_release(port, 0);
        count(false);
        must(n == VS_BATCH && pkts[VS_BATCH - 1]->frame_len == FRAME, name);
    }
    report(name, (uint64_t)COUNTED * VS_BATCH);
}

static void transmit(const char *name, const struct vs_guest_mem *mem, bool packed)
{
    struct vs_packet *pkts[VS_BATCH];
    struct vs_port *port = vs_vhost_new("bench");
    struct guest_ring ring;
    must(port != NULL, "no memory");
    guest_ring_make(&ring, port, 0, mem, packed, FRAME, -1);
    for (unsigned i = 0; i < VS_BATCH; i++) {
        pkts[i] = &packets[i];
        vs_packet_reset(pkts[i], NULL);
        vs_packet_fill(pkts[i], UDP4, FRAME);
    }
    uint64_t before = counters.tx_packets;
    for (unsigned i = 0; i < WARM + COUNTED; i++) {
        guest_publish(&ring, VS_BATCH);
        count(i >= WARM);
        port->ops->tx(port, 1, pkts, VS_BATCH, &counters);
        count(false);
    }
    must(counters.tx_packets - before == (uint64_t)(WARM + COUNTED) * VS_BATCH, name);
    report(name, (uint64_t)COUNTED * VS_BATCH);
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    parse("parse, UDP over IPv4", UDP4, sizeof UDP4, true);
    parse("parse, TCP over IPv4, VLAN", TCP4_VLAN, sizeof TCP4_VLAN, true);
    parse("parse, TCP over IPv6", TCP6, sizeof TCP6, true);
    parse("parse, ARP", ARP, sizeof ARP, false);
    hit("cache hit, one flow", 1, false);
    hit("cache hit, 32 flows of 32 rules", VS_BATCH, true);
    learned();
    miss("miss, 1 table", 1, false);
    miss("miss, 1 table, a rule each", 1, true);
    miss("miss, 4 tables", 4, false);
    miss("miss, 20 tables", 20, false);
    const struct vs_guest_mem *mem = guest_memory_make();
    must(mem != NULL, "no memory");
    receive("vhost receive, split", mem, false);
    receive("vhost receive, packed", mem, true);
    transmit("vhost transmit, split", mem, false);
    transmit("vhost transmit, packed", mem, true);
    return 0;
}
