/* vmxnet3.h: the two halves of the vmxnet3 driver: what they share. Only they include it.
 *
 * How it works: vmxnet3.c has what cores do (receive, transmit), vmxnet3_start.c what the control thread does. The memory that the device shares
 * beside the rings: struct vmx_shared, then the queues' descriptions (transmit first, as the device wants it), then the RSS table.
 *
 * A receive queue has two rings over one array of buffers: heads, where a frame begins, and bodies, where it goes on. One descriptor of each
 * ring (`fill`) is always ours: to the device a ring that it owns whole would look like an empty one. Its buffer is there already; it is
 * posted when the device has used the next one, and so are those that the device passed over.
 *
 * Thread safety: as in nic.h.
 */
#ifndef VS_VMXNET3_H
#define VS_VMXNET3_H

#include "nic.h"
#include "vmxnet3_regs.h"

enum {
    VMX_QUEUES = 8, /* the least that any model of the device has: QEMU's */
    VMX_MAX_PARTS = 16,
};

struct vmx_ring {
    struct vmx_desc *desc;
    struct vs_dma_buf **bufs; /* part of the queue's */
    uint32_t flags;           /* dword2 of the next descriptor: size and kind of buffer, generation */
    uint16_t size, fill;
};

struct vmx_rx {
    const struct vmx_comp *comp;
    struct vmx_ring ring[2];
    uint32_t gen; /* of completions in this lap: 0 or VMX_COMP_GEN */
    uint16_t next, size;
} VS_CACHE_ALIGNED;
VS_ASSERT_SIZE(struct vmx_rx, 64);

struct vmx_tx {
    struct vmx_desc *desc;
    const struct vmx_comp *comp;
    uint32_t gen;      /* of descriptors: 0 or VMX_TXD_GEN */
    uint32_t comp_gen; /* 0 or VMX_COMP_GEN */
    uint16_t comp_next;
} VS_CACHE_ALIGNED;

struct vs_vmxnet3 {
    struct vs_nic nic;
    struct vmx_rx rx[VMX_QUEUES];
    struct vmx_tx tx[VMX_QUEUES];
    uint64_t rx_seen[VMX_QUEUES][VMX_STATS]; /* the device's counters as of the last look */
    uint64_t tx_seen[VMX_QUEUES][VMX_STATS];
    uint8_t event_vector;
    bool auto_mask;
};

static inline struct vs_vmxnet3 *vs_vmxnet3_of(struct vs_nic *nic)
{
    return VS_CONTAINER_OF(nic, struct vs_vmxnet3, nic);
}

static inline struct vmx_tx_queue *vs_vmxnet3_txq(const struct vs_nic *nic, unsigned i)
{
    return (struct vmx_tx_queue *)(void *)(nic->shared + 768) + i;
}

static inline struct vmx_rx_queue *vs_vmxnet3_rxq(const struct vs_nic *nic, unsigned i)
{
    return (struct vmx_rx_queue *)(void *)vs_vmxnet3_txq(nic, nic->config.n_txq) + i;
}

/* vmxnet3.c */
int vs_vmxnet3_rx(struct vs_nic_rxq *q, struct vs_packet **pkts, int n, struct vs_port_counters *c);
void vs_vmxnet3_tx(struct vs_nic_txq *q, struct vs_packet **pkts, int n, struct vs_port_counters *c);
bool vs_vmxnet3_able(const struct vs_nic *nic, const struct vs_packet *p);
int vs_vmxnet3_rx_pending(struct vs_nic_rxq *q);
void vs_vmxnet3_irq_enable(struct vs_nic_rxq *q, bool on);

#endif
