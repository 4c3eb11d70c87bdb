/* churn.c: everything that the control thread may change, changed while two cores forward; built with ThreadSanitizer.
 *
 * The main thread is the control thread: it feeds test ports, and between handfuls of frames adds and removes rules, groups, meters, ports,
 * bridges and cores, moves queues, harvests and keeps house. The order comes from a seed, the work is bounded by rounds.
 * What must hold: no data race; after the last packet every port's ledger closes, what was fed was received, every lookup is
 * a rule's packet or a miss, and addresses of a port that is gone are forgotten.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "datapath.h"
#include "qos.h"
#include "qsbr.h"

enum {
    PORTS = 4,      /* that stay, numbers 1 .. 4, two queues each */
    GUEST_PORT = 5, /* comes and goes */
    PATCH = 10,
    RULES = 64,
    ROUNDS = 800,
    METERS = 3,
    FRAME_MAX = 400,
    VS_ROWS = 512,
};

#define MUST(x)                                                                                              \
    do {                                                                                                     \
        if (!(x)) {                                                                                          \
            fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #x);                            \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)

static uint32_t seed = 1;
static vs_dp *dp;
static vs_bridge *first, *second;
static struct vs_port *ports[PORTS], *patch, *peer, *visitor, *behind;
static uint64_t fed[PORTS], rules[RULES], rule_packets, table_outs, over_rate;
static int cores[2];

static uint32_t some(uint32_t n)
{
    seed ^= seed << 13; /* xorshift32 */
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return (seed >> 8) % n;
}

static struct vs_action output(uint32_t port)
{
    return (struct vs_action){.type = VS_ACT_OUTPUT, .arg = port, .max_len = 64, .aux = VS_PUNT_ACTION};
}

static uint32_t some_output(void)
{
    static const uint32_t others[] = {GUEST_PORT, PATCH, 9};
    static const uint32_t reserved[] = {VS_OFPP_ALL, VS_OFPP_FLOOD, VS_OFPP_IN_PORT, VS_OFPP_CONTROLLER};
    uint32_t n = some(13);
    if (n < PORTS)
        return 1 + n;
    return n < 7 ? others[n - 4] : n < 11 ? reserved[n - 7] : (uint32_t)VS_OFPP_NORMAL;
}

static unsigned some_actions(struct vs_action *a)
{
    unsigned n = 0;
    if (some(3) == 0)
        a[n++] = (struct vs_action){.type = VS_ACT_SET_QUEUE, .arg = some(3)};
    if (some(4) == 0)
        a[n++] = (struct vs_action){.type = VS_ACT_PUSH_VLAN, .arg = 0x8100};
    if (some(3) == 0)
        a[n++] = output(some_output());
    if (some(4) == 0)
        a[n++] = (struct vs_action){.type = VS_ACT_DEC_TTL};
    if (some(4) == 0)
        a[n++] = (struct vs_action){.type = VS_ACT_GROUP, .arg = some(4)};
    a[n++] = output(some_output());
    return n;
}

static uint64_t add_rule(vs_bridge *b, uint8_t table, int32_t priority)
{
    struct vs_key value, mask;
    struct vs_action actions[8];
    memset(&value, 0, sizeof value);
    memset(&mask, 0, sizeof mask);
    struct vs_rule_spec spec = {.table = table, .goto_table = -1, .priority = priority};
    if (some(3) == 0)
        actions[spec.n_apply++] = (struct vs_action){.type = VS_ACT_METER, .arg = 1 + some(METERS), .aux = 1};
    spec.n_apply += some_actions(actions + spec.n_apply);
    if (table == 0 && some(3) == 0)
        spec.goto_table = 1;
    if (priority > 0 && some(2)) {
        vs_put_be32(value.in_port, 1 + some(PORTS));
        memset(mask.in_port, 0xff, sizeof mask.in_port);
    }
    if (priority > 0 && some(2)) {
        value.eth_dst[0] = 2;
        value.eth_dst[5] = (uint8_t)some(8);
        memset(mask.eth_dst, 0xff, some(2) ? 6 : 1);
        for (unsigned i = 0; i < 6; i++)
            value.eth_dst[i] &= mask.eth_dst[i];
    }
    if (priority > 0 && some(4) == 0) {
        value.ip_tos[0] = (uint8_t)(some(4) << 2);
        mask.ip_tos[0] = 0xfc;
    }
    uint64_t rule = vs_bridge_rule_add(b, &spec, &value, &mask, actions);
    MUST(rule != 0);
    return rule;
}

static uint32_t some_frame(uint8_t *f)
{
    uint32_t len = some(16) == 0 ? 10 + some(8) : 60 + some(FRAME_MAX - 60);
    memset(f, 0, FRAME_MAX);
    f[0] = some(8) == 0 ? 0xff : 2;
    f[5] = (uint8_t)some(8);
    f[6] = 2;
    f[11] = (uint8_t)some(8);
    f[12] = 8;
    f[14] = 0x45;
    f[15] = (uint8_t)(some(4) << 2);
    vs_put_be16(f + 16, (uint16_t)(len > 14 ? len - 14 : 0));
    f[20] = some(16) == 0 ? 0x20 : 0;
    f[22] = (uint8_t)(1 + some(3));
    f[23] = 17;
    return len;
}

static struct vs_port *attach(vs_bridge *b, struct vs_port *p, uint32_t number)
{
    MUST(p != NULL && vs_dp_attach(dp, p, b, number) >= 0);
    return p;
}

static void join(void)
{
    second = vs_dp_bridge_add(dp, "second");
    MUST(second != NULL);
    patch = attach(first, vs_patch_port_new("patch"), PATCH);
    peer = attach(second, vs_patch_port_new("peer"), PATCH);
    vs_port_set_patch_peer(patch, peer);
    vs_port_set_patch_peer(peer, patch);
    behind = attach(second, vs_test_port_new("behind", 1, 64), 1);
    for (int i = 0; i < 4; i++)
        add_rule(second, 0, i);
    MUST(vs_bridge_commit(second) == 0);
}

/* Queues at random over the cores there are; a queue left out is not polled for a while. */
static void assign(bool all)
{
    struct vs_rxq_pin pins[2 * PORTS + 2];
    uint32_t n = 0;
    for (unsigned i = 0; i < 2 * PORTS; i++)
        if (all || some(8) != 0)
            pins[n++] = (struct vs_rxq_pin){.port = vs_port_index(ports[i / 2]),
                                            .rxq = (uint16_t)(i % 2),
                                            .core = cores[1] > 0 ? cores[some(2)] : cores[0]};
    if (visitor != NULL)
        pins[n++] = (struct vs_rxq_pin){.port = vs_port_index(visitor), .core = cores[0]};
    pins[n++] = (struct vs_rxq_pin){.port = vs_port_index(behind), .core = cores[0]};
    MUST(vs_dp_assign(dp, pins, n) == 0);
}

static void change_group(void)
{
    struct vs_action actions[24];
    struct vs_bucket_spec buckets[3];
    struct vs_group_stats stats[4];
    uint32_t n = some(3) + 1, id = some(4);
    unsigned total = 0;
    for (uint32_t i = 0; i < n; i++) {
        buckets[i] = (struct vs_bucket_spec){
            .n_actions = some_actions(actions + total),
            .weight = some(3),
            .watch_port = some(2) ? 1 + some(GUEST_PORT) : VS_OFPP_ANY,
            .watch_group = some(2) ? some(4) : VS_OFPG_ANY,
        };
        total += buckets[i].n_actions;
    }
    if (some(3) == 0)
        MUST(vs_bridge_group_remove(first, id) == 0);
    else
        MUST(vs_bridge_group_set(first, id, (int)some(4), actions, buckets, n) == 0);
    (void)vs_bridge_group_stats(first, id, stats, 4);
    if (some(2))
        MUST(vs_bridge_commit(first) == 0);
}

static void change_meter(void)
{
    static const uint16_t types[] = {VS_BAND_DROP, VS_BAND_DSCP_REMARK};
    struct vs_band_spec bands[3];
    struct vs_meter_stats stats[4];
    uint32_t n = some(4), id = some(8) == 0 ? VS_OFPM_CONTROLLER : 1 + some(METERS);
    for (uint32_t i = 0; i < n; i++)
        bands[i] = (struct vs_band_spec){.type = types[some(2)],
                                         .prec_level = (uint8_t)(1 + some(3)),
                                         .rate = 1 + some(5000),
                                         .burst = some(9)};
    if (some(4) == 0)
        MUST(vs_bridge_meter_remove(first, id) == 0);
    else
        MUST(vs_bridge_meter_set(first, id, some(2) ? VS_METER_PKTPS : VS_METER_KBPS | VS_METER_BURST, bands,
                                 n) == 0);
    (void)vs_bridge_meter_stats(first, id, stats, 4);
    if (some(2))
        MUST(vs_bridge_commit(first) == 0);
}

static void change_visitor(void)
{
    static struct vs_mac_entry rows[VS_ROWS];
    if (visitor == NULL) {
        visitor = attach(first, vs_test_port_new("visitor", 1, 64), GUEST_PORT);
        assign(false);
        return;
    }
    vs_dp_detach(dp, visitor);
    visitor = NULL;
    uint32_t n = vs_mac_dump(vs_bridge_macs(first), rows, VS_ROWS, (uint32_t)(vs_dp_now_ms(dp) / 1000));
    for (uint32_t i = 0; i < VS_MIN(n, (uint32_t)VS_ROWS); i++)
        MUST(rows[i].port != GUEST_PORT);
}

static void change_second(void)
{
    vs_dp_detach(dp, patch);
    vs_dp_bridge_remove(dp, second); /* detaches what is left */
    join();
    assign(false);
}

static void change_core(void)
{
    if (cores[1] > 0) {
        int gone = cores[1];
        cores[1] = 0;
        assign(true);
        vs_dp_core_remove(dp, gone);
    } else {
        MUST((cores[1] = vs_dp_core_add(dp, -1)) > 0);
        assign(true);
    }
}

static void take_retired(void)
{
    struct vs_retired gone[16];
    uint32_t n;
    while ((n = vs_bridge_take_retired(first, gone, 16)) > 0)
        while (n > 0)
            rule_packets += gone[--n].packets;
    while (vs_bridge_take_retired(second, gone, 16) > 0)
        ;
}

static void change_rules(void)
{
    uint64_t *at = &rules[some(RULES)];
    if (*at != 0) {
        vs_bridge_rule_remove(first, *at);
        *at = 0;
    } else {
        *at = add_rule(first, 0, 1 + (int32_t)some(5));
    }
    if (some(3) == 0)
        MUST(vs_bridge_commit(first) == 0);
}

static void change_port(void)
{
    static const uint32_t bits[] = {0, 0, 0, VS_PORT_DOWN, VS_PORT_NO_RECV, VS_PORT_NO_FWD, VS_PORT_NO_FLOOD};
    struct vs_port_vlan vlan = {.mode = (uint16_t)some(4), .tag = (uint16_t)some(3)};
    struct vs_port *p = ports[some(PORTS)];
    vs_port_set_config(p, bits[some(sizeof bits / sizeof bits[0])]);
    vs_port_set_vlan(p, &vlan);
    vs_port_set_link(p, some(4) != 0);
}

/* Rates at which packets wait for a while; what waits moves over, goes on, or is dropped. */
static void change_qos(void)
{
    struct vs_queue_spec queues[2] = {{.id = some(3), .max_rate = 1000000 << some(8)}, {.id = 5}};
    struct vs_qos_spec spec = {.type = some(8) == 0 ? VS_QOS_POLICE : VS_QOS_SHAPE,
                               .max_rate = some(2) ? 2000000u << some(8) : 0};
    struct vs_port *p = some(4) ? ports[some(PORTS)] : patch;
    queues[1].min_rate = queues[0].max_rate / 2;
    if (some(3) == 0)
        vs_port_clear_qos(p);
    else
        MUST(vs_port_set_qos(p, &spec, queues, spec.type == VS_QOS_POLICE ? 0 : 1 + some(2)) == 0);
    if (some(4) == 0)
        MUST(vs_port_set_policing(p, some(2) ? 0 : 8000000, 0) == 0);
}

static void look(void)
{
    static uint8_t frame[VS_MAX_FRAME];
    struct vs_core_stats stats;
    struct vs_port_counters counters;
    struct vs_punt_record record;
    vs_dp_harvest(dp);
    vs_dp_core_stats(dp, cores[0], &stats);
    struct vs_queue_stats queue;
    vs_port_read_counters(ports[0], &counters);
    (void)vs_port_queue_stats(ports[0], some(3), &queue);
    MUST(vs_port_waiting(ports[0]) < 100000);
    for (int i = 0; i < 100 && vs_dp_punt_take(dp, &record, frame, sizeof frame); i++)
        ;
}

static void send_out(void)
{
    uint8_t frame[FRAME_MAX];
    struct vs_action actions[8];
    uint32_t len = some_frame(frame);
    unsigned n = some_actions(actions);
    if (len < 14)
        return;
    if (frame[20] == 0) { /* else it may be dropped before the lookup */
        actions[n++] = output(VS_OFPP_TABLE);
        table_outs++;
    }
    MUST(vs_dp_packet_out(dp, first, frame, len, VS_OFPP_CONTROLLER, actions + n - 1, 1) == 0);
}

static void change(void)
{
    switch (some(40)) {
    case 0:
        change_second();
        break;
    case 1:
        change_core();
        break;
    case 2:
    case 3:
        change_visitor();
        break;
    case 4:
        assign(false);
        break;
    case 5:
        vs_dp_set_idle_sleep(dp, some(2) ? 0 : -1);
        break;
    case 6:
        MUST(vs_bridge_set_macs(first, 16 << some(12), 300) == 0);
        vs_mac_flush(vs_bridge_macs(first));
        break;
    case 7:
        MUST(vs_bridge_set_drop_fragments(first, some(2) != 0) == 0);
        vs_bridge_set_punt_ttl(first, some(2) != 0);
        break;
    case 8:
    case 9:
        change_port();
        break;
    case 10:
    case 11:
        change_group();
        break;
    case 12:
        change_meter();
        break;
    case 13:
    case 14:
        look();
        break;
    case 19:
    case 20:
        change_qos();
        break;
    case 15:
        send_out();
        break;
    case 16:
    case 17:
    case 18:
        vs_dp_housekeep(dp);
        take_retired();
        break;
    default:
        change_rules();
    }
}

static void feed(void)
{
    uint8_t frame[FRAME_MAX];
    for (unsigned i = 0; i < 24; i++) {
        unsigned at = some(PORTS);
        uint32_t len = some_frame(frame);
        fed[at] += vs_test_port_feed(ports[at], some(2), frame, len) == 0;
    }
    if (visitor != NULL)
        vs_test_port_feed(visitor, 0, frame, some_frame(frame));
    for (unsigned i = 0; i < PORTS; i++)
        while (vs_test_port_take(ports[i], frame, sizeof frame) >= 0)
            ;
}

static void pause_a_little(void)
{
    struct timespec t = {.tv_nsec = 100000};
    nanosleep(&t, NULL);
}

/* Until all that was fed is received, and no rule is on its way out. */
static void settle(void)
{
    if (visitor != NULL)
        change_visitor();
    vs_port_clear_qos(patch); /* what waits there would come back later */
    assign(true);
    for (unsigned i = 0; i < PORTS; i++) {
        struct vs_port_counters c;
        do {
            pause_a_little();
            vs_port_read_counters(ports[i], &c);
        } while (c.rx_packets < fed[i]);
        MUST(c.rx_packets == fed[i]);
    }
    for (unsigned i = 0; i < RULES; i++)
        if (rules[i] != 0)
            vs_bridge_rule_remove(first, rules[i]);
    MUST(vs_bridge_commit(first) == 0);
    while (vs_dp_housekeep(dp))
        pause_a_little();
    take_retired();
    for (unsigned i = 0; i < 2; i++)
        if (cores[i] > 0)
            vs_dp_core_remove(dp, cores[i]);
}

/* The port's ledger. Returns how many of its packets were looked up in table 0. */
static uint64_t check_ledger(const struct vs_port *p)
{
    struct vs_port_counters c;
    uint64_t rx = 0, tx = 0;
    vs_port_read_counters(p, &c);
    for (unsigned i = 0; i < VS_N_RX_DROPS; i++)
        rx += c.drops[i];
    for (unsigned i = VS_N_RX_DROPS; i < VS_N_DROPS; i++)
        tx += c.drops[i];
    over_rate += c.drops[VS_DROP_RX_METER];
    MUST(c.rx_packets == c.rx_forwarded + rx);
    MUST(c.tx_offered == c.tx_packets + tx);
    return c.rx_packets - c.drops[VS_DROP_RX_PORT_DOWN] - c.drops[VS_DROP_RX_NO_RECV] -
           c.drops[VS_DROP_RX_POLICED] - c.drops[VS_DROP_RX_RUNT] - c.drops[VS_DROP_RX_FRAGMENT];
}

int main(int argc, char **argv)
{
    uint64_t last_rule, lookups, matches, looked_up = 0, total = 0;
    uint32_t n;
    seed = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 0) | 1 : 1;
    MUST((dp = vs_dp_new(1024, 0)) != NULL);
    MUST((first = vs_dp_bridge_add(dp, "first")) != NULL);
    for (unsigned i = 0; i < PORTS; i++)
        ports[i] = attach(first, vs_test_port_new("port", 2, 512), i + 1);
    join();
    for (unsigned i = 0; i < 16; i++)
        change_meter();
    last_rule = add_rule(first, 0, 0);
    for (int i = 0; i < 3; i++)
        add_rule(first, 1, i);
    MUST(vs_bridge_commit(first) == 0);
    for (unsigned i = 0; i < 2; i++)
        MUST((cores[i] = vs_dp_core_add(dp, -1)) > 0);
    vs_dp_set_idle_sleep(dp, 0);
    assign(true);
    for (unsigned i = 0; i < ROUNDS; i++) {
        feed();
        change();
    }
    settle();
    for (unsigned i = 0; i < PORTS; i++) {
        looked_up += check_ledger(ports[i]);
        total += fed[i];
    }
    check_ledger(patch);
    check_ledger(peer);
    check_ledger(behind);
    MUST(over_rate > 0);
    struct vs_rule_stats s;
    vs_rule_read(last_rule, &s);
    vs_bridge_table_stats(first, 0, &lookups, &matches, &n);
    MUST(n == 1);
    MUST(lookups == matches); /* the last rule takes all */
    MUST(matches == rule_packets + s.packets);
    MUST(lookups >=
         looked_up + table_outs); /* more: what came back by the patch port, and from the visitor */
    vs_dp_free(dp);
    printf("%llu frames, %llu lookups\n", (unsigned long long)total, (unsigned long long)lookups);
    return 0;
}
