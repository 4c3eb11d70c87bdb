/* nic.h: what all NIC drivers share: the vtable, the queues, and the port that the cores see.
 *
 * How it works: Python opens the device (VFIO), maps its BARs and gives memory for rings; vs_nic_new makes the port with the driver that knows
 * the device's identity. probe resets it and reads what it is; start lays out the rings and lets it run; stop leaves it without DMA. A driver
 * embeds struct vs_nic as its first member and is one C file: registers, descriptors, and these functions. Its rx and tx are written
 * with the helpers of nic_rx.h and nic_tx.h, which do what has nothing to do with the device: buffers, the ledger, offloads in software.
 *
 * Trust: a device may be hostile, or broken. Whatever it wrote (descriptors, rings, registers) is read once into a local and checked;
 * which buffer stands where is known from memory of our own (`bufs`), never from a descriptor. It cannot make us read or write outside of
 * the DMA window and of our own structures, nor hold a core: every loop is bounded by the ring and the batch.
 *
 * Life of a buffer, receive: list -> ring (bufs[i]) -> batch (lent) -> list, or away with a transmit queue. Transmit: from the packet, or from the
 * list -> ring (bufs[i], at the packet's last descriptor) -> list.
 *
 * Threads: probe, start, stop, link, stats, set_*: control thread. rx, rx_release, arm, disarm: the core that polls the queue. tx: any core,
 * queue = core modulo the number of transmit queues, under the queue's lock. While `running` is 0 cores touch nothing; the control
 * thread clears it and waits for a grace period before it stops or changes the device.
 */
#ifndef VS_NIC_H
#define VS_NIC_H

#include "base.h"
#include "dma.h"
#include "mmio.h"
#include "port.h"

enum {
    VS_NIC_BARS = 6,
    VS_NIC_QUEUES = 16, /* receive queues at most, and transmit queues */
    VS_NIC_MAX_DESC = 4096,
    VS_NIC_MIN_FRAME = 60, /* Ethernet's, without FCS: shorter ones are padded by the device */
    VS_NIC_FRAGS = 8,
    VS_NIC_TX_ROOM = 12, /* descriptors that one packet takes at most */
    VS_NIC_LENT = 256,   /* buffers that a batch borrows at most */
    VS_NIC_ERROR = 128,
};

/* struct vs_nic_info.features: what the device can do. */
enum {
    VS_NIC_F_RX_CSUM = 1,
    VS_NIC_F_TX_CSUM = 2,
    VS_NIC_F_TSO4 = 4,
    VS_NIC_F_TSO6 = 8,
    VS_NIC_F_RSS = 16,
    VS_NIC_F_PROMISC = 32, /* receives everything when it is told to */
    VS_NIC_F_ALLMULTI = 64,
    VS_NIC_F_SET_MAC = 128,
    VS_NIC_F_FLOW_CONTROL = 256,
    VS_NIC_F_LINK_IRQ = 512, /* the vector behind those of the receive queues tells of link changes */
    VS_NIC_F_MAC_FILTER = 1024,
    VS_NIC_F_VLAN_FILTER = 2048,
    VS_NIC_F_VF = 4096, /* a virtual function: its physical one decides on link, MTU, promiscuous mode */
};

/* struct vs_nic_config.rx_mode and vs_nic_set_rx_mode. */
enum { VS_NIC_RX_PROMISC = 1, VS_NIC_RX_ALLMULTI = 2 };

/* struct vs_nic_config.flow_control: IEEE 802.3x pause frames. */
enum { VS_NIC_PAUSE_RX = 1, VS_NIC_PAUSE_TX = 2, VS_NIC_PAUSE_AUTO = 4 };

/* vs_nic_irq's answer. */
enum { VS_NIC_IRQ_LINK = 1, VS_NIC_IRQ_DEAD = 2 };

/* Where a virtio structure is: VIRTIO 1.2, 4.1.4; Python read and checked the capability. */
struct vs_nic_place {
    uint32_t bar;
    uint32_t present;
    uint64_t offset, length;
};

/* What Python knows of the device. */
struct vs_nic_env {
    uint16_t vendor, device, subvendor, subdevice;
    uint32_t revision;
    struct vs_bar bars[VS_NIC_BARS];
    struct vs_nic_place virtio[5]; /* by cfg_type: 1 common, 2 notify, 3 ISR, 4 device */
    uint32_t notify_multiplier;
};

/* What probe found. */
struct vs_nic_info {
    uint8_t mac[6];
    uint16_t max_rxq, max_txq; /* 1 .. VS_NIC_QUEUES */
    uint16_t min_desc, max_desc, desc_multiple;
    uint16_t max_mtu;
    uint32_t features; /* VS_NIC_F_* */
};

/* What start is to do. The common code has checked it against the info. */
struct vs_nic_config {
    uint16_t n_rxq, n_txq;
    uint16_t rx_desc, tx_desc;
    uint16_t mtu; /* bytes of layer 3; frames are 14 + 2 tags longer, FCS apart */
    uint16_t
        n_vectors; /* 0: no interrupts; 1: one for everything; n_rxq + 1: one each, and the last for link and the rest */
    uint32_t rx_mode;
    uint32_t flow_control;
    uint32_t features_off; /* VS_NIC_F_* not to be used */
    uint8_t mac[6];        /* to be used; all zero: the device's own */
};

struct vs_nic_link {
    uint32_t up, full_duplex, speed_mbps; /* speed 0: unknown */
    uint32_t pause;                       /* VS_NIC_PAUSE_RX | VS_NIC_PAUSE_TX as agreed */
};

/* The hardware's counters since start, beside our own. What a device does not count stays 0. */
struct vs_nic_stats {
    uint64_t rx_packets, rx_bytes, tx_packets, tx_bytes;
    uint64_t rx_missed; /* no descriptor, or the device's memory was full: never seen by us */
    uint64_t rx_crc, rx_length, rx_errors; /* bad frames, of them those with a name */
    uint64_t tx_errors, tx_collisions;
    uint64_t rx_pause, tx_pause;
    uint64_t rx_multicast, rx_broadcast;
};

/* A port without a device. NULL: out of memory. */
struct vs_port *vs_nic_new(const char *name);
/* Give a stopped port its device, or another one. 0, -ENODEV: no such driver, -EBUSY: it runs. */
int vs_nic_attach(struct vs_port *port, const char *driver, const struct vs_nic_env *env);
/* Name of the driver for a device, or NULL. */
const char *vs_nic_driver_for(uint32_t vendor, uint32_t device);
/* The i-th identity that we know: 1 and its parts, or 0. For documents, vs-bind and tests. */
int vs_nic_known(uint32_t i, uint32_t *vendor, uint32_t *device, const char **driver);
/* Reset the device and read what it is. 0 or -errno; vs_nic_error says more. */
int vs_nic_probe(struct vs_port *port, struct vs_nic_info *info);
/* Bytes of ring memory, a multiple of 4096, that start needs. */
uint64_t vs_nic_ring_bytes(const struct vs_port *port, const struct vs_nic_config *config);
/* Ordinary buffers that the queues may hold at once: the pool must have as many for each port. */
uint64_t vs_nic_n_buffers(const struct vs_nic_config *config);
/* Run. ring_offset: of the ring memory in the window, zeroed here. fds: an eventfd per vector. unmask_fd: of INTx, or -1. 0 or -errno. */
int vs_nic_start(struct vs_port *port, const struct vs_nic_config *config, uint64_t ring_offset,
                 const int *fds, int unmask_fd);
/* No DMA any more when it returns, and all buffers are in the pool again. A second call does nothing. */
void vs_nic_stop(struct vs_port *port);
int vs_nic_running(const struct vs_port *port);
/* What it runs with: a driver may have taken fewer queues or descriptors. */
void vs_nic_configured(const struct vs_port *port, struct vs_nic_config *config);
void vs_nic_link(struct vs_port *port, struct vs_nic_link *link); /* also sets the port's link */
void vs_nic_read_stats(struct vs_port *port, struct vs_nic_stats *stats);
/* VS_NIC_RX_*: 0, or -EOPNOTSUPP when the device refuses (what it can do of it is done). */
int vs_nic_set_rx_mode(struct vs_port *port, uint32_t mode);
/* Something came by the last vector, or it is time to look: what it was (VS_NIC_IRQ_*). */
int vs_nic_irq(struct vs_port *port);
/* One line about the last error, "" for none. */
const char *vs_nic_error(const struct vs_port *port);
const char *vs_nic_driver_name(const struct vs_port *port);

#ifndef VS_CDEF
struct vs_nic;

struct vs_nic_rxq {
    /* line 0: what every batch touches */
    struct vs_nic *nic;
    uint8_t *ring;              /* the device's: descriptors */
    struct vs_dma_buf **bufs;   /* ours: what is posted at each descriptor */
    uint16_t index, size, next; /* next: descriptor that the device fills next */
    uint16_t n_lent;
    uint16_t tail;     /* where the next buffer is posted; for drivers that keep it apart from next */
    uint16_t buffer;   /* bytes of a buffer that the device was told */
    uint32_t doorbell; /* register offset, checked at start */
    uint64_t own[2];   /* the driver's */
    /* the rest */
    uint8_t *ring2; /* a second ring (vmxnet3, virtio: used) */
    uint64_t ring_iova, ring2_iova;
    uint64_t own_more[6];
    int fd; /* of its interrupt, or -1 */
    struct vs_dma_buf *lent[VS_NIC_LENT];
    struct vs_dma_list list;
} VS_CACHE_ALIGNED;

struct vs_nic_txq {
    struct vs_nic *nic;
    uint8_t *ring;
    struct vs_dma_buf **bufs; /* at the last descriptor of each packet: what to free with it */
    uint16_t index, size;
    uint16_t next, clean; /* to be written next; the oldest that the device has not given back */
    uint16_t free;        /* descriptors */
    uint16_t unused;
    uint32_t doorbell;
    uint64_t own[3];
    vs_spinlock lock; /* any core */
    uint8_t *ring2;
    uint64_t ring_iova, ring2_iova;
    uint64_t own_more[6];
    struct vs_dma_list list;
} VS_CACHE_ALIGNED;

struct vs_nic_id {
    uint16_t vendor, device;
};

struct vs_nic_driver {
    const char *name;
    const struct vs_nic_id *ids; /* ends with vendor 0 */
    size_t size;                 /* of the struct that embeds struct vs_nic first */
    /* Reset, and fill nic->info. 0 or -errno with vs_nic_fail. */
    int (*probe)(struct vs_nic *nic);
    /* Bytes of ring memory for one receive queue and for one transmit queue, descriptors and whatever else the device shares of it;
     * and of memory for the device as a whole. Multiples of VS_CACHE_LINE are made of them. */
    size_t (*rx_ring_bytes)(const struct vs_nic *nic, uint16_t desc);
    size_t (*tx_ring_bytes)(const struct vs_nic *nic, uint16_t desc);
    size_t (*shared_bytes)(const struct vs_nic *nic); /* NULL: none */
    /* Queues are laid out (ring, bufs, size) and lists filled; post buffers (vs_nic_post_all) and let the device run. */
    int (*start)(struct vs_nic *nic);
    /* DMA has ended when it returns. Buffers are taken back by the common code. Also called after start failed. */
    void (*stop)(struct vs_nic *nic);
    int (*rx)(struct vs_nic_rxq *q, struct vs_packet **pkts, int n, struct vs_port_counters *c);
    void (*tx)(struct vs_nic_txq *q, struct vs_packet **pkts, int n, struct vs_port_counters *c); /* locked */
    /* Can the device do what this packet asks for, which its features promise? Asked for packets with offloads only; when not, software finishes
     * them. NULL: always. */
    bool (*able)(const struct vs_nic *nic, const struct vs_packet *p);
    int (*rx_pending)(struct vs_nic_rxq *q);           /* is there a packet? */
    void (*irq_enable)(struct vs_nic_rxq *q, bool on); /* NULL: none */
    int (*irq)(struct vs_nic *nic);                    /* acknowledge the last vector: VS_NIC_IRQ_* */
    void (*link)(struct vs_nic *nic, struct vs_nic_link *link);
    void (*stats)(struct vs_nic *nic,
                  struct vs_nic_stats *stats); /* add what was counted since the last call */
    int (*set_rx_mode)(struct vs_nic *nic, uint32_t mode);
};

struct vs_nic {
    struct vs_port port;
    const struct vs_nic_driver *driver;
    _Atomic int running; /* control thread; cores look before they touch anything */
    uint32_t use;        /* VS_NIC_F_*: info.features without config.features_off */
    uint32_t max_frame;  /* bytes of a frame without FCS that may be sent: MTU + 14 + 8 */
    struct vs_nic_info info;
    struct vs_nic_config config;
    struct vs_nic_env env;
    struct vs_nic_stats stats;
    uint8_t *shared; /* shared_bytes of ring memory */
    uint64_t shared_iova;
    int unmask_fd;
    size_t own_bytes; /* behind this struct: the driver's */
    char error[VS_NIC_ERROR];
    uint8_t *scratch; /* VS_MAX_FRAME bytes for each transmit queue, for offloads in software */
    struct vs_nic_rxq rxq[VS_NIC_QUEUES];
    struct vs_nic_txq txq[VS_NIC_QUEUES];
};

extern const struct vs_nic_driver vs_igb_driver, vs_e1000e_driver, vs_virtio_net_driver, vs_vmxnet3_driver,
    vs_ixgbe_driver;

/* Note an error for the operator and return -code. */
int vs_nic_fail(struct vs_nic *nic, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Wait until (register & mask) == value, at most `ms` milliseconds. Control thread, start and stop only. 0 or -ETIMEDOUT. */
int vs_nic_wait(const struct vs_bar *bar, uint64_t reg, uint32_t mask, uint32_t value, unsigned ms);
void vs_nic_sleep_us(unsigned us);
/* The key of the RSS hash (40 bytes): symmetric, both directions of a connection come to the same queue. */
extern const uint8_t vs_nic_rss_key[40];
/* Is there a BAR `i` of `size` bytes? 0 or an error that says so. */
int vs_nic_need_bar(struct vs_nic *nic, unsigned i, uint64_t size);

/* The descriptor behind descriptor i of a ring. */
static inline uint16_t vs_nic_after(uint16_t i, uint16_t size)
{
    return (uint16_t)(i + 1 == size ? 0 : i + 1);
}

/* The descriptor n (at most the ring's size) further on. */
static inline uint16_t vs_nic_ahead(uint16_t i, uint16_t n, uint16_t size)
{
    uint32_t next = (uint32_t)i + n;
    return (uint16_t)(next >= size ? next - size : next);
}

static inline struct vs_nic *vs_nic_of(struct vs_port *port)
{
    return VS_CONTAINER_OF(port, struct vs_nic, port);
}
#endif

#endif
