/* virtio_net_model.h: a virtio network device over PCI (VIRTIO 1.2, 4.1 and 5.1), as QEMU's: split and packed rings, control queue, RSS; see model.h.
 *
 * How it works: BAR 4 holds the four structures (virtio_net_model.c). Commands are done when the control queue's doorbell is rung, transmit when the engine
 * (virtio_net_engine.c) runs and the queue's doorbell was rung since it was last empty. What a driver must not do (2.7, 2.8, 5.1.6) counts as a fault.
 * It is written apart from the driver, with structs and numbers of its own, so that the same mistake is not made twice.
 *
 * Thread safety: model.h.
 */
#ifndef VIRTIO_NET_MODEL_H
#define VIRTIO_NET_MODEL_H

#include <string.h>

#include "model.h"

/* model_new's flags; tests/unit/vfio/test_virtio_net.py has the same. */
enum {
    PACKED = 1,
    NO_MERGE = 2,
    NO_CTRL = 4,
    NO_RSS = 8,
    NO_ECN = 16,
    PAST_IOMMU = 32, /* no ACCESS_PLATFORM */
    LEGACY = 64,     /* no modern structures */
    PIECES = 128,    /* fills 100 bytes of a merged buffer only */
    BACKWARDS = 256, /* done with frames in reverse */
    STUBBORN = 512,  /* refuses features */
    SILENT = 1024,   /* no answer to commands */
    POLLS = 2048,    /* wants no notifications of transmit */
    NO_MAC = 4096,
    TRANSITIONAL = 8192,
    NO_VERSION_1 = 1 << 14,
    NO_FILTERS = 1 << 15, /* no CTRL_RX, no CTRL_MAC_ADDR */
    NO_MAC_ADDR = 1 << 16,
    NO_VECTORS = 1 << 17,   /* refuses MSI-X vectors */
    NO_CONFIG = 1 << 18,    /* no device structure */
    SMALL_RINGS = 1 << 19,  /* 16 descriptors */
    BAD_DOORBELL = 1 << 20, /* queue_notify_off points outside */
    STUCK = 1 << 21,        /* a reset that never ends */
    LATE = 1 << 22,         /* a merged frame's last buffer comes with the next run */
};

enum {
    PAIRS = 8,
    QUEUES = 2 * PAIRS + 1,
    RING = 1024,
    MTU = 9600,
    HDR = 12,
    COMMON = 0,
    ISR = 0x1000,
    DEVICE = 0x2000,
    NOTIFY = 0x3000,
    STEP = 4,
    MAX_CHAIN = 64,
    DRIVER_OK = 4,
    FEATURES_OK = 8,
    NEEDS_RESET = 64,
    NEXT = 1,
    WRITE = 2,
    AVAIL = 1 << 7,
    USED = 1 << 15,
};

#define B(n) (UINT64_C(1) << (n))

struct vq {
    uint16_t size, vector, enable;
    uint64_t desc, driver, device;
    uint16_t avail; /* position; split: index */
    uint16_t used;
    bool kicked;
};

struct hdr {
    uint8_t flags, gso_type;
    uint16_t hdr_len, gso_size, csum_start, csum_offset, num_buffers;
};

struct piece {
    uint64_t addr;
    uint32_t len;
    bool write;
};

struct chain {
    struct piece p[MAX_CHAIN];
    unsigned n;
    uint16_t id, count;
    uint32_t written;
};

struct dev {
    struct model m;
    uint64_t offers, features;
    uint32_t dfs, gfs;
    uint8_t status, isr;
    uint16_t select, config_vector;
    struct vq q[QUEUES];
    bool promisc, allmulti, dead;
    uint8_t mac[6], extra[6];
    uint16_t pairs, table_len, table[128];
    uint32_t types;
    uint8_t key[40];
    uint8_t frame[MODEL_MAX_FRAME + HDR];
    struct chain chains[RING];
    struct chain late;
    struct vq *late_queue;
};

static inline struct dev *dev(struct model *m)
{
    return (struct dev *)m;
}

static inline bool has(const struct dev *d, unsigned f)
{
    return (d->features & B(f)) != 0;
}

static inline void fault(struct dev *d)
{
    d->m.faults++;
}

static inline uint16_t load16(struct dev *d, uint64_t iova)
{
    const uint16_t *at = model_dma(&d->m, iova, 2);
    return at != NULL ? __atomic_load_n(at, __ATOMIC_ACQUIRE) : 0;
}

static inline void store16(struct dev *d, uint64_t iova, uint16_t v)
{
    uint16_t *at = model_dma(&d->m, iova, 2);
    if (at != NULL)
        __atomic_store_n(at, v, __ATOMIC_RELEASE);
}

/* virtio_net_engine.c */
bool vnet_chain_at(struct dev *d, const struct vq *q, uint16_t position, struct chain *c);
void vnet_use(struct dev *d, struct vq *q, const struct chain *c, unsigned n);
bool vnet_runs(const struct dev *d, const struct vq *q);
void vnet_transmit(struct dev *d, unsigned index);
int vnet_receive(struct model *m, const uint8_t *frame, uint32_t len, const struct model_meta *meta);
/* virtio_net_hostile.c */
void vnet_corrupt(struct model *m);

#endif
