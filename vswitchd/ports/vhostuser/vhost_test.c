/* vhost_test.c: hooks for tests; see vhost_test.h. */
#include "vhost_test.h"

static struct vs_packet pool[VS_BATCH];

static int receive(struct vs_port *port, unsigned rxq, struct vs_packet **pkts, int n,
                   struct vs_port_counters *c)
{
    for (int i = 0; i < n; i++) {
        pkts[i] = &pool[i];
        vs_packet_reset(pkts[i], port);
    }
    return port->ops->rx(port, rxq, pkts, n, c);
}

int vs_port_test_rx(struct vs_port *port, unsigned rxq, int n, uint8_t *frames, uint32_t stride,
                    uint32_t *lens, struct vs_port_counters *c)
{
    struct vs_packet *pkts[VS_BATCH];
    int got = receive(port, rxq, pkts, VS_MIN(n, (int)VS_BATCH), c);
    for (int i = 0; i < got; i++) {
        lens[i] = pkts[i]->frame_len;
        vs_packet_copy_out(pkts[i], frames + (size_t)i * stride, stride);
    }
    if (port->ops->rx_release != NULL)
        port->ops->rx_release(port, rxq);
    return got;
}

void vs_port_test_offload_of(int i, struct vs_port_test_offload *o)
{
    const struct vs_packet *p = &pool[i % VS_BATCH];
    *o = (struct vs_port_test_offload){.csum = p->csum,
                                       .gso_type = p->gso_type,
                                       .gso_size = p->gso_size,
                                       .gso_hdr_len = p->gso_hdr_len,
                                       .csum_start = p->csum_start,
                                       .csum_offset = p->csum_offset};
}

void vs_port_test_tx(struct vs_port *port, unsigned core, const uint8_t *frames, uint32_t stride,
                     const uint32_t *lens, int n, const struct vs_port_test_offload *o,
                     struct vs_port_counters *c)
{
    struct vs_packet *pkts[VS_BATCH];
    n = VS_MIN(n, (int)VS_BATCH);
    for (int i = 0; i < n; i++) {
        pkts[i] = &pool[i];
        vs_packet_reset(pkts[i], port);
        vs_packet_fill(pkts[i], frames + (size_t)i * stride, lens[i]);
        if (o == NULL)
            continue;
        pkts[i]->csum = o->csum;
        pkts[i]->csum_start = o->csum_start;
        pkts[i]->csum_offset = o->csum_offset;
        pkts[i]->gso_type = o->gso_type;
        pkts[i]->gso_size = o->gso_size;
        pkts[i]->gso_hdr_len = o->gso_hdr_len;
    }
    port->ops->tx(port, core, pkts, n, c);
}

uint64_t vs_port_test_forward(struct vs_port *from, unsigned rxq, struct vs_port *to, unsigned core,
                              unsigned rounds, uint64_t *packets, struct vs_port_counters *c_from,
                              struct vs_port_counters *c_to)
{
    struct vs_packet *pkts[VS_BATCH];
    uint64_t start = vs_cycles();
    for (unsigned i = 0; i < rounds; i++) {
        int got = receive(from, rxq, pkts, VS_BATCH, c_from);
        if (got == 0)
            break;
        for (int k = 0; k < got; k++)
            pkts[k]->queued = 1; /* to this port, and nobody else */
        to->ops->tx(to, core, pkts, got, c_to);
        if (from->ops->rx_release != NULL)
            from->ops->rx_release(from, rxq);
        *packets += (uint64_t)got;
    }
    return vs_cycles() - start;
}

int vs_port_test_arm(struct vs_port *port, unsigned rxq)
{
    return port->ops->rx_arm == NULL ? 0 : port->ops->rx_arm(port, rxq);
}

void vs_port_test_disarm(struct vs_port *port, unsigned rxq)
{
    if (port->ops->rx_disarm != NULL)
        port->ops->rx_disarm(port, rxq, true);
}

uint64_t vs_port_test_watch_changes(void)
{
    return atomic_load_explicit(&vs_watch_changes, memory_order_relaxed);
}

int vs_port_test_rx_fd(struct vs_port *port, unsigned rxq)
{
    return atomic_load_explicit(&port->rx_fd[rxq], memory_order_relaxed);
}
