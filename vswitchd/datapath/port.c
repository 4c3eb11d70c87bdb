/* port.c: the part of a port that all drivers share, and the patch port; see port.h. */
#include "port.h"

#include <stdlib.h>

#include "core.h"
#include "mac_table.h"
#include "qsbr.h"

/* VS_VLAN_TRUNK of all: what a port is until it is told otherwise. */
static struct vs_port_vlan trunk_of_all = {.trunks = {[0 ... 511] = 0xff}};

void vs_port_init(struct vs_port *port, const struct vs_port_ops *ops, const char *name, uint16_t n_rxq)
{
    memset(port, 0, sizeof *port);
    port->ops = ops;
    port->n_rxq = n_rxq;
    port->vlan = &trunk_of_all;
    strncpy(port->name, name, sizeof port->name - 1);
    for (unsigned i = 0; i < VS_MAX_RXQ; i++)
        atomic_init(&port->rx_fd[i], -1);
}

void vs_port_destroy(struct vs_port *p)
{
    for (unsigned i = 0; i < VS_MAX_CORES; i++)
        free(p->counters[i]);
    if (p->vlan != &trunk_of_all)
        free(p->vlan);
    free(p->policer);
    vs_normal_changed(); /* its index is free, and memos know ports by it */
    p->ops->destroy(p);
}

uint16_t vs_port_n_rxq(const struct vs_port *p)
{
    return __atomic_load_n(&p->n_rxq, __ATOMIC_RELAXED);
}

uint32_t vs_port_ofport(const struct vs_port *p)
{
    return p->ofport;
}

uint16_t vs_port_index(const struct vs_port *p)
{
    return p->index;
}

void vs_port_set_config(struct vs_port *p, uint32_t config)
{
    config &= ~(uint32_t)VS_PORT_SHAPED; /* the control thread is its only writer */
    config |= atomic_load_explicit(&p->config, memory_order_relaxed) & VS_PORT_SHAPED;
    atomic_store_explicit(&p->config, config, memory_order_relaxed);
}

void vs_port_set_link(struct vs_port *p, int up)
{
    atomic_store_explicit(&p->link_up, up != 0, memory_order_relaxed);
}

int vs_port_link(const struct vs_port *p)
{
    return (int)atomic_load_explicit(&p->link_up, memory_order_relaxed);
}

void vs_port_set_vlan(struct vs_port *p, const struct vs_port_vlan *vlan)
{
    struct vs_port_vlan *fresh = malloc(sizeof *fresh);
    if (fresh == NULL)
        return; /* the old membership stays */
    *fresh = *vlan;
    struct vs_port_vlan *old = p->vlan;
    __atomic_store_n(&p->vlan, fresh, __ATOMIC_RELEASE); /* pairs with the dependent loads in normal.c */
    vs_normal_changed();
    if (old != &trunk_of_all)
        vs_qsbr_defer(&vs_qsbr, free, old);
}

void vs_port_read_counters(const struct vs_port *p, struct vs_port_counters *to)
{
    uint64_t *sum = (uint64_t *)(void *)to;
    memset(to, 0, sizeof *to);
    for (unsigned i = 0; i < VS_MAX_CORES; i++) {
        const uint64_t *one = (const uint64_t *)(const void *)p->counters[i];
        for (unsigned j = 0; one != NULL && j < sizeof *to / sizeof *sum; j++)
            sum[j] += vs_count_read(&one[j]);
    }
}

void vs_port_rxq_stats(const struct vs_port *p, unsigned rxq, struct vs_rxq_stats *to)
{
    memset(to, 0, sizeof *to);
    if (rxq >= VS_MAX_RXQ)
        return;
    to->cycles = vs_count_read(&p->rxq_stats[rxq].cycles);
    to->packets = vs_count_read(&p->rxq_stats[rxq].packets);
    to->batches = vs_count_read(&p->rxq_stats[rxq].batches);
}

/* ---- patch --------------------------------------------------------------------------------------------------------- */

static int patch_rx(struct vs_port *port, unsigned rxq, struct vs_packet **pkts, int n,
                    struct vs_port_counters *c)
{
    return 0; /* its packets arrive in patch_tx of the peer */
}

/* What a batch still needs of its packet: the batch may be under way when a full queue sends the packet on. */
struct place {
    struct vs_port *port;
    uint32_t in_port;
    uint8_t fate, drop;
};

/* Receive at the peer, and give the packets back to their batch as they were. `depth` stays: they may be queued to the
 * next patch port. */
static void cross(struct vs_core *co, struct vs_port *peer, struct vs_packet **pkts, int n)
{
    struct place places[VS_BATCH];
    for (int i = 0; i < n; i++)
        places[i] = (struct place){pkts[i]->port, pkts[i]->in_port, pkts[i]->fate, pkts[i]->drop};
    vs_core_process(co, peer, pkts, n, true);
    for (int i = 0; i < n; i++) {
        pkts[i]->port = places[i].port;
        pkts[i]->in_port = places[i].in_port;
        pkts[i]->fate = places[i].fate;
        pkts[i]->drop = places[i].drop;
    }
}

static void patch_tx(struct vs_port *port, unsigned core, struct vs_packet **pkts, int n,
                     struct vs_port_counters *c)
{
    struct vs_port *peer = __atomic_load_n(&port->patch_peer, __ATOMIC_ACQUIRE);
    if (peer == NULL || __atomic_load_n(&peer->bridge, __ATOMIC_ACQUIRE) == NULL || port->bridge == NULL) {
        vs_port_tx_drop(c, VS_DROP_TX_NO_PEER, (uint64_t)n);
        return;
    }
    struct vs_core *co = port->bridge->dp->cores[core];
    struct vs_port_counters *pc = peer->counters[core];
    struct vs_packet *go[VS_BATCH];
    uint64_t bytes = 0;
    int n_go = 0;
    for (int i = 0; i < n; i++) {
        struct vs_packet *p = pkts[i];
        bytes += p->frame_len;
        if (p->depth >= VS_PATCH_DEPTH) {
            vs_port_rx_drop(pc, VS_DROP_RX_PATCH_LOOP, 1);
            continue;
        }
        if (p->queued > 1) /* other ports hold it too: its state there and here must not mix */
            p = vs_core_clone(co, p);
        if (p == NULL) {
            vs_port_rx_drop(pc, VS_DROP_RX_NO_CLONE, 1);
            continue;
        }
        if (p->dma != 0 &&
            p->queued == 1) /* nobody else holds it, and its batch is over: as fresh from a NIC */
            p->queued = 0;
        p->depth++;
        go[n_go++] = p;
    }
    vs_port_sent(c, (uint64_t)n, bytes);
    vs_port_rx_count(pc, (uint64_t)n, bytes);
    if (n_go > 0)
        cross(co, peer, go, n_go);
}

static void patch_destroy(struct vs_port *port)
{
    free(port);
}

static const struct vs_port_ops patch_ops = {
    .type = "patch", .rx = patch_rx, .tx = patch_tx, .destroy = patch_destroy};

struct vs_port *vs_patch_port_new(const char *name)
{
    struct vs_port *port = calloc(1, sizeof *port);
    if (port == NULL)
        return NULL;
    vs_port_init(port, &patch_ops, name, 0);
    atomic_store_explicit(&port->link_up, 1, memory_order_relaxed);
    return port;
}

void vs_port_set_patch_peer(struct vs_port *p, struct vs_port *peer)
{
    __atomic_store_n(&p->patch_peer, peer, __ATOMIC_RELEASE); /* pairs with patch_tx */
}
