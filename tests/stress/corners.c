/* corners.c: corners that Python cannot reach: versions whose low bits come round, a group that is modified while a core
 * counts by it, and a queue that moves away from a sleeping core. Exits with 0 when all hold.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "core.h"
#include "datapath.h"

#define MUST(x)                                                                                              \
    do {                                                                                                     \
        if (!(x)) {                                                                                          \
            fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #x);                            \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)

static uint64_t add_rule(vs_bridge *b, int32_t priority, uint32_t to)
{
    struct vs_key zero;
    struct vs_action action = {.type = VS_ACT_OUTPUT, .arg = to};
    struct vs_rule_spec spec = {.goto_table = -1, .priority = priority, .n_apply = 1};
    memset(&zero, 0, sizeof zero);
    uint64_t rule = vs_bridge_rule_add(b, &spec, &zero, &zero, &action);
    MUST(rule != 0 && vs_bridge_commit(b) == 0);
    return rule;
}

static bool arrives(vs_dp *dp, struct vs_port *from, struct vs_port *to)
{
    uint8_t frame[60] = {2, 0, 0, 0, 0, 2, 2}, got[60];
    MUST(vs_test_port_feed(from, 0, frame, sizeof frame) == 0);
    while (vs_dp_poll(dp) > 0)
        ;
    return vs_test_port_take(to, got, sizeof got) == (int)sizeof frame;
}

/* A cache entry of version 2 must not come to life in version 2^32 + 2. */
static void version_wraps(void)
{
    vs_dp *dp = vs_dp_new(1024, 1);
    vs_bridge *b = vs_dp_bridge_add(dp, "b");
    struct vs_port *p[3];
    MUST(vs_dp_core_add(dp, -1) == 1);
    for (uint32_t i = 0; i < 3; i++) {
        p[i] = vs_test_port_new("p", 1, 8);
        MUST(vs_dp_attach(dp, p[i], b, i + 1) >= 0);
    }
    struct vs_rxq_pin pin = {.port = vs_port_index(p[0]), .core = 1};
    MUST(vs_dp_assign(dp, &pin, 1) == 0);
    uint64_t old = add_rule(b, 1, 2);
    struct vs_view *view = atomic_load(&b->view);
    uint64_t first = view->version;
    MUST(arrives(dp, p[0], p[1]));
    view->version = UINT32_MAX;
    vs_bridge_rule_remove(b, old);
    for (int32_t i = 0; i <= (int32_t)first; i++)
        add_rule(b, i, 3);
    MUST((uint32_t)atomic_load(&b->view)->version == (uint32_t)first);
    MUST(arrives(dp, p[0], p[2]));
    vs_dp_free(dp);
}

static const struct vs_group *shown_group(vs_bridge *b, uint32_t id)
{
    const struct vs_view *view = atomic_load(&b->view);
    return (const struct vs_group *)(const void *)vs_items_find(view->groups, id);
}

/* A core that is still at work with the old form of a group counts for the new one. */
static void group_changes_hands(void)
{
    vs_dp *dp = vs_dp_new(0, 1);
    vs_bridge *b = vs_dp_bridge_add(dp, "b");
    struct vs_action action = {.type = VS_ACT_OUTPUT, .arg = 1};
    struct vs_group_stats stats;
    struct vs_bucket_spec one = {.n_actions = 1, .watch_port = VS_OFPP_ANY, .watch_group = UINT32_MAX};
    MUST(vs_bridge_group_set(b, 7, VS_GROUP_ALL, &action, &one, 1) == 0);
    MUST(vs_bridge_commit(b) == 0);
    const struct vs_group *held = shown_group(b, 7); /* freed by vs_dp_housekeep at the earliest */
    MUST(vs_bridge_group_set(b, 7, VS_GROUP_ALL, &action, &one, 1) == 0);
    MUST(vs_bridge_commit(b) == 0);
    MUST(shown_group(b, 7) != held);
    atomic_fetch_add(&held->counts->all.packets, 1);
    MUST(vs_bridge_group_stats(b, 7, &stats, 1) == 0 && stats.packets == 1);
    vs_dp_free(dp);
}

struct quiet_port {
    struct vs_port port;
    _Atomic int armed;
};

static int rx(struct vs_port *port, unsigned rxq, struct vs_packet **pkts, int n, struct vs_port_counters *c)
{
    return 0;
}

static void tx(struct vs_port *port, unsigned core, struct vs_packet **pkts, int n,
               struct vs_port_counters *c)
{
}

static int arm(struct vs_port *port, unsigned rxq)
{
    atomic_store(&((struct quiet_port *)port)->armed, 1);
    return 0;
}

static void disarm(struct vs_port *port, unsigned rxq, bool rang)
{
    atomic_store(&((struct quiet_port *)port)->armed, 0);
}

static void destroy(struct vs_port *port)
{
    free(port);
}

/* Until it must be so; the bound only ends a broken run. */
static bool soon(const struct quiet_port *q, int armed)
{
    struct timespec pause = {.tv_nsec = 1000000};
    for (int i = 0; i < 20000 && atomic_load(&q->armed) != armed; i++)
        nanosleep(&pause, NULL);
    return atomic_load(&q->armed) == armed;
}

/* What a sleeping core asked for ends when another core, which never sleeps, gets the queue. */
static void queue_leaves_sleeper(void)
{
    static const struct vs_port_ops ops = {
        .type = "quiet", .rx = rx, .tx = tx, .rx_arm = arm, .rx_disarm = disarm, .destroy = destroy};
    vs_dp *dp = vs_dp_new(1024, 0);
    vs_bridge *b = vs_dp_bridge_add(dp, "b");
    struct quiet_port *q = calloc(1, sizeof *q);
    vs_port_init(&q->port, &ops, "q", 1);
    MUST(vs_dp_attach(dp, &q->port, b, 1) >= 0);
    struct vs_rxq_pin pin = {.port = vs_port_index(&q->port), .core = vs_dp_core_add(dp, -1)};
    vs_dp_set_idle_sleep(dp, 0);
    MUST(vs_dp_assign(dp, &pin, 1) == 0);
    const struct vs_core *sleeper = dp->cores[pin.core];
    do
        MUST(soon(q, 1));
    while (!atomic_load(&sleeper->asleep));
    vs_dp_set_idle_sleep(dp, -1);
    pin.core = vs_dp_core_add(dp, -1);
    MUST(vs_dp_assign(dp, &pin, 1) == 0);
    MUST(soon(q, 0));
    vs_dp_free(dp);
}

int main(void)
{
    version_wraps();
    group_changes_hands();
    queue_leaves_sleeper();
    return 0;
}
