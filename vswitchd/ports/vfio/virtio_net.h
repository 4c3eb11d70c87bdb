/* virtio_net.h: what the files of the virtio network driver share: virtio_net.c (identity, link, vtable), virtio_start.c (reset,
 * negotiation, queues), virtio_ctrl.c (control queue), virtio_ring.c (rings, receive, transmit). C only.
 *
 * How it works: split (VIRTIO 1.2, 2.7) and packed (2.8) rings, both of a power of two of descriptors, so that positions are free-running
 * 16-bit counters: entry = position & (size - 1), and in a packed ring the wrap counter is the next bit. A receive ring is always full of
 * buffers: for each that the device used, one is posted, `size` positions ahead. A transmit ring takes its ids from a list, as
 * the device may be done with them in any order (IN_ORDER is not negotiated); frames of several pieces are chains, there are no indirect tables.
 * Notifications are suppressed by flags; EVENT_IDX is not negotiated: it could not keep the interrupt of a polled queue off.
 *
 * Ring memory of a queue of n descriptors, split:  16 n descriptors | available: 6 + 2 n, to 64 more than 2 n | used: 6 + 8 n
 *                                          packed: 16 n descriptors | driver's event suppression: 4, to 64 | the device's: 4
 *
 * Every frame has a header of 12 bytes in front, in the same buffer: frames begin at VS_DMA_HEADROOM.
 *
 * A device that gives back what it was not given is broken: its queue stands still from then on, and irq says that the device is dead.
 *
 * Thread safety: nic.h.
 */
#ifndef VS_VIRTIO_NET_H
#define VS_VIRTIO_NET_H

#include "nic.h"
#include "virtio_net_regs.h"

enum {
    VIRTIO_HEADER = 12, /* struct vs_net_hdr, 5.1.6 */
    VIRTIO_MIN_DESC = 32,
    VIRTIO_RX_BYTES = VIRTIO_HEADER + VS_DMA_DATA, /* what a receive descriptor offers */
    /* Shared memory: the control queue's ring, its command and answer, and a ring for queues that must exist and are not used. */
    VIRTIO_CTRL_COMMAND = 2048,
    VIRTIO_CTRL_MAX = 1024,
    VIRTIO_CTRL_ANSWER = VIRTIO_CTRL_COMMAND + VIRTIO_CTRL_MAX,
    VIRTIO_IDLE_RING = 4096,
    VIRTIO_SHARED = 8192,
};

#define VIRTIO_BIT(n) (UINT64_C(1) << (n))

/* A transmit id. */
struct vs_virtio_slot {
    uint16_t next;  /* free one behind it; split: also the next descriptor of a chain */
    uint16_t last;  /* split, of the first: last descriptor of the chain */
    uint16_t count; /* of the first: descriptors */
    uint16_t unused;
};

struct vs_virtio_ctrl {
    uint8_t *ring;
    uint16_t index, size, position; /* size 0: there is no control queue, or it does not answer */
    uint32_t doorbell;
};

struct vs_virtio_net {
    struct vs_nic nic;
    uint64_t offered, features; /* what the device has; what was negotiated last */
    uint16_t max_pairs;
    bool packed, seen_up;
    struct vs_virtio_ctrl ctrl;
    struct vs_virtio_slot *slots[VS_NIC_QUEUES];
};

/* Of struct vs_nic_rxq.own. */
enum { RXQ_WISHES = 0, RXQ_BROKEN = 1, WISH_MERGEABLE = 1, WISH_CSUM = 2 };
/* Of struct vs_nic_txq.own. */
enum { TXQ_SLOTS = 0, TXQ_FREE = 1, TXQ_BROKEN = 2 };

static inline struct vs_virtio_net *vs_virtio_of(struct vs_nic *nic)
{
    return VS_CONTAINER_OF(nic, struct vs_virtio_net, nic);
}

static inline bool vs_virtio_has(const struct vs_virtio_net *v, unsigned feature)
{
    return (v->features >> feature & 1) != 0;
}

/* The parts of a ring. */
static inline struct vs_virtio_avail *vs_virtio_avail(uint8_t *ring, uint32_t size)
{
    return (void *)(ring + 16 * size);
}

static inline struct vs_virtio_used *vs_virtio_used(uint8_t *ring, uint32_t size)
{
    return (void *)(ring + 18 * size + 64);
}

static inline struct vs_virtio_event *vs_virtio_driver_event(uint8_t *ring, uint32_t size)
{
    return (void *)(ring + 16 * size);
}

static inline struct vs_virtio_event *vs_virtio_device_event(uint8_t *ring, uint32_t size)
{
    return (void *)(ring + 16 * size + 64);
}

static inline size_t vs_virtio_ring_bytes(uint32_t size)
{
    return 26 * (size_t)size + 64 + 64;
}

/* Packed rings: the flags of a descriptor that is available at a position, and those of one that is used (2.8.1). */
static inline uint16_t vs_virtio_avail_flags(uint16_t position, uint16_t size)
{
    return position & size ? DESC_F_USED : DESC_F_AVAIL;
}

static inline uint16_t vs_virtio_used_flags(uint16_t position, uint16_t size)
{
    return position & size ? 0 : DESC_F_USED | DESC_F_AVAIL;
}

/* The largest power of two that is not more than n. */
static inline uint16_t vs_virtio_power_of_two(uint16_t n)
{
    uint16_t p = 1;
    while (n > 1) {
        n >>= 1;
        p = (uint16_t)(p << 1);
    }
    return p;
}

static inline struct vs_bar *vs_virtio_bar(struct vs_nic *nic, unsigned what)
{
    return &nic->env.bars[nic->env.virtio[what].bar];
}

/* ---- registers ---- */

static inline uint64_t vs_virtio_place(const struct vs_nic *nic, unsigned what, uint32_t reg)
{
    return nic->env.virtio[what].offset + reg;
}

static inline uint8_t vs_virtio_status(struct vs_nic *nic)
{
    return vs_mmio_read8(vs_virtio_bar(nic, VIRTIO_COMMON),
                         vs_virtio_place(nic, VIRTIO_COMMON, COMMON_STATUS));
}

static inline void vs_virtio_set_status(struct vs_nic *nic, uint8_t value)
{
    vs_mmio_write8(vs_virtio_bar(nic, VIRTIO_COMMON), vs_virtio_place(nic, VIRTIO_COMMON, COMMON_STATUS),
                   value);
}

static inline uint16_t vs_virtio_common16(struct vs_nic *nic, uint32_t reg)
{
    return vs_mmio_read16(vs_virtio_bar(nic, VIRTIO_COMMON), vs_virtio_place(nic, VIRTIO_COMMON, reg));
}

static inline void vs_virtio_set_common16(struct vs_nic *nic, uint32_t reg, uint16_t value)
{
    vs_mmio_write16(vs_virtio_bar(nic, VIRTIO_COMMON), vs_virtio_place(nic, VIRTIO_COMMON, reg), value);
}

static inline uint32_t vs_virtio_common32(struct vs_nic *nic, uint32_t reg)
{
    return vs_mmio_read32(vs_virtio_bar(nic, VIRTIO_COMMON), vs_virtio_place(nic, VIRTIO_COMMON, reg));
}

static inline void vs_virtio_set_common32(struct vs_nic *nic, uint32_t reg, uint32_t value)
{
    vs_mmio_write32(vs_virtio_bar(nic, VIRTIO_COMMON), vs_virtio_place(nic, VIRTIO_COMMON, reg), value);
}

static inline uint16_t vs_virtio_net16(struct vs_nic *nic, uint32_t reg)
{
    return vs_mmio_read16(vs_virtio_bar(nic, VIRTIO_DEVICE), vs_virtio_place(nic, VIRTIO_DEVICE, reg));
}

static inline void vs_virtio_notify(struct vs_nic *nic, uint32_t doorbell, uint16_t queue)
{
    vs_mmio_write16(vs_virtio_bar(nic, VIRTIO_NOTIFY), doorbell, queue); /* 4.1.5.2 */
}

/* Does the device want to be told of new descriptors? Whatever was made available is visible to it before this looks. */
static inline bool vs_virtio_wants_notify(uint8_t *ring, uint32_t size, bool packed)
{
    vs_dma_mb();
    if (packed)
        return (*(volatile uint16_t *)&vs_virtio_device_event(ring, size)->flags & 3) != EVENT_F_DISABLE;
    return !(*(volatile uint16_t *)&vs_virtio_used(ring, size)->flags & USED_F_NO_NOTIFY);
}

/* virtio_ring.c */
int vs_virtio_rx_split(struct vs_nic_rxq *q, struct vs_packet **pkts, int n, struct vs_port_counters *c);
int vs_virtio_rx_packed(struct vs_nic_rxq *q, struct vs_packet **pkts, int n, struct vs_port_counters *c);
void vs_virtio_tx_split(struct vs_nic_txq *q, struct vs_packet **pkts, int n, struct vs_port_counters *c);
void vs_virtio_tx_packed(struct vs_nic_txq *q, struct vs_packet **pkts, int n, struct vs_port_counters *c);
int vs_virtio_rx_pending(struct vs_nic_rxq *q);
void vs_virtio_irq_enable(struct vs_nic_rxq *q, bool on);
/* Post a buffer at every descriptor, without interrupts; make the list of ids. 0 or -errno. */
int vs_virtio_rx_init(struct vs_nic_rxq *q);
int vs_virtio_tx_init(struct vs_nic_txq *q);

/* virtio_start.c. Reset: no DMA any more when it succeeds (2.4, 4.1.4.3.1). 0 or -errno with vs_nic_fail. */
int vs_virtio_reset(struct vs_nic *nic);
int vs_virtio_start(struct vs_nic *nic);
void vs_virtio_stop(struct vs_nic *nic);

/* virtio_ctrl.c. 0, or -errno with vs_nic_fail: -ETIMEDOUT when the device does not answer, -EOPNOTSUPP when it refuses or has no such
 * command. Control thread. */
int vs_virtio_ctrl_rx_mode(struct vs_virtio_net *v, uint32_t mode);
int vs_virtio_ctrl_mac(struct vs_virtio_net *v, const uint8_t mac[6]);
int vs_virtio_ctrl_queues(struct vs_virtio_net *v);

#endif
