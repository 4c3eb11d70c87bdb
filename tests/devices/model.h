/* model.h: models of NICs, for tests of the drivers: registers that do what the datasheet says, and the engine behind the descriptors.
 *
 * How it works: a driver's register accesses come to the model through struct vs_mmio_hook (mmio.h); the model reads and writes rings and buffers in
 * the DMA window through model_dma, which stands for the IOMMU: an address that is not mapped is a fault, counted, and nothing is touched.
 * Frames "on the wire" are given by model_receive and taken by model_take; what the driver asked the device to do (checksums,
 * segmentation) is done as the hardware does it, so that a test sees finished frames. model_run lets the engine work once, model_thread again and again
 * beside the driver, as a device does. model_corrupt makes it hostile.
 *
 * One .c file per device, <kind>_model.c, with a struct that embeds struct model first and one struct model_ops. Public functions are what
 * Python declares in tests/fakes/nic_models.py.
 *
 * Thread safety: every call takes the model's lock (recursive); ops are called with it.
 */
#ifndef MODEL_H
#define MODEL_H

#include <pthread.h>
#include <stdbool.h>

#include "nic.h"

enum {
    MODEL_MAPS = 64,
    MODEL_SENT = 4096, /* frames sent and not taken yet */
    MODEL_VECTORS = 32,
    MODEL_MAX_FRAME = 65536 + 64,
};

/* model_receive's flags. */
enum {
    MODEL_RX_CSUM_GOOD = 1, /* the device found IP and L4 checksums right */
    MODEL_RX_CSUM_BAD = 2,  /* ... wrong */
    MODEL_RX_ERROR =
        4, /* a damaged frame (CRC): delivered with an error only when the driver asked for such */
    MODEL_RX_PARTIAL = 8, /* virtio: NEEDS_CSUM (csum_start, csum_offset) */
};

struct model_meta {
    uint32_t flags;
    uint32_t queue; /* receive: ~0: the model chooses (RSS), else this one; transmit: where it was sent */
    uint16_t csum_start, csum_offset;
    uint16_t gso_type, gso_size; /* virtio receive */
};

struct model;

struct model_ops {
    const char *kind;
    size_t size;
    /* Set identity, BAR sizes (model_bar), registers to their reset values. flags: the model's own variants (device id, packed ring, ...). */
    void (*init)(struct model *m, uint32_t flags);
    void (*env)(struct model *m, struct vs_nic_env *env); /* virtio places and the like; NULL: nothing more */
    uint64_t (*read)(struct model *m, uint32_t bar, uint64_t offset, uint32_t width);
    void (*write)(struct model *m, uint32_t bar, uint64_t offset, uint32_t width, uint64_t value);
    /* A frame comes from the wire. 1: delivered, 0: no descriptor (missed), -1: not for us (filter), or the device does not run. */
    int (*receive)(struct model *m, const uint8_t *frame, uint32_t len, const struct model_meta *meta);
    void (*run)(struct model *m); /* send what the driver put, write back completions, raise interrupts */
    void (*link)(struct model *m, bool up);
    /* One hostile act, chosen by model_random: rings, completions, indices, lengths, registers. */
    void (*corrupt)(struct model *m);
    void (*destroy)(struct model *m); /* NULL: nothing */
};

struct model {
    const struct model_ops *ops;
    struct vs_mmio_hook hook;
    uint16_t vendor, device;
    uint8_t mac[6];
    uint32_t flags;
    bool link_up;
    bool gone; /* pulled out: registers read all ones */
    struct {
        uint8_t *memory; /* plain registers; ops->read and write may use it */
        uint64_t size;
    } bar[VS_NIC_BARS];
    struct {
        uint64_t iova, length;
        uint8_t *at;
    } maps[MODEL_MAPS];
    unsigned n_maps;
    uint64_t faults, missed, received;
    int vector_fd[MODEL_VECTORS]; /* -1: none */
    uint64_t irqs[MODEL_VECTORS];
    struct model_sent {
        uint8_t *bytes;
        uint32_t len;
        uint32_t queue;
    } sent[MODEL_SENT];
    uint32_t sent_first, sent_n;
    uint64_t sent_lost; /* nobody took them */
    uint64_t random;
    pthread_mutex_t lock;
    pthread_t thread;
    _Atomic int thread_mode; /* 0: none, 1: run, 2: run and corrupt */
};

/* ---- for models ---- */
void model_bar(struct model *m, unsigned i, uint64_t size);
/* Where the device's address leads, or NULL and a fault. */
void *model_dma(struct model *m, uint64_t iova, uint64_t length);
bool model_dma_read(struct model *m, uint64_t iova, void *to, uint64_t length);
bool model_dma_write(struct model *m, uint64_t iova, const void *from, uint64_t length);
void model_irq(struct model *m, unsigned vector);
uint64_t model_random(struct model *m);
uint32_t model_bar32(const struct model *m, unsigned bar, uint64_t offset); /* plain memory of the BAR */
void model_set_bar32(struct model *m, unsigned bar, uint64_t offset, uint32_t value);
/* Toeplitz hash of the addresses and ports of an IPv4/IPv6 TCP/UDP frame; 0: not such a frame. */
uint32_t model_rss(const uint8_t *key, const uint8_t *frame, uint32_t len);

/* What the device was asked to do with a frame it sends. */
struct model_tx {
    uint32_t queue;
    bool ip_csum; /* fill the IPv4 header checksum of the header at l3 */
    bool
        l4_csum; /* sum from csum_start to the end, stored at csum_start + csum_offset; the field holds the pseudo header's sum */
    uint16_t l3; /* offset of the IP header */
    uint16_t csum_start, csum_offset;
    uint16_t mss;     /* not 0: segment; csum_start is the L4 header */
    uint16_t hdr_len; /* of all headers, when mss */
    bool
        pseudo_without_len; /* mss: the field holds the pseudo header's sum without the length (Intel, vmxnet3) */
};
/* A frame leaves: done as asked, then seen by model_take. */
void model_send(struct model *m, const uint8_t *frame, uint32_t len, const struct model_tx *tx);

extern const struct model_ops igb_model, e1000e_model, virtio_net_model, vmxnet3_model, ixgbe_model;
#endif
