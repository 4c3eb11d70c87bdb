/* vhost_port.h: a vhost-user port: the guest's rings as receive and transmit queues of the switch.
 *
 * How it works: ring 2q is the guest's receive ring: the switch's transmit queue q. Ring 2q + 1 is the guest's transmit ring: the
 * switch's receive queue q. The control thread (device.py) starts a ring by publishing a finished struct vs_vring, and stops it in
 * three steps: vs_vhost_ring_unpublish, vs_synchronize (grace period: no core uses it any more), vs_vhost_ring_reap, which
 * says where it stopped. Nothing in a running ring changes but the call descriptor.
 * Receive copies the head of each frame into the packet and lends the rest from guest memory until rx_release, which gives the
 * buffers back. Transmit copies head and tail into the guest's buffers, one or (MRG_RXBUF) several per frame. A core sends to queue
 * (core % running queues); the ring's lock is held for a batch. When the guest is short of buffers, what was sent is published and the rest
 * is tried again, at most `retries` times and only while there is progress, and then dropped.
 * The virtio-net header carries offloads (vhost_header.h): what a guest asks for is checked and goes with the packet; who does not take it gets
 * the packet finished in software.
 *
 * Thread safety: vtable functions on the cores, all vs_vhost_* on the control thread.
 */
#ifndef VS_VHOST_PORT_H
#define VS_VHOST_PORT_H

#include "port.h"
#include "vring.h"

enum {
    VS_VHOST_PAIRS = VS_MAX_RXQ, /* queue pairs of one port */
    VS_VHOST_RINGS = 2 * VS_VHOST_PAIRS,
    VS_VHOST_RETRIES = 8, /* as Open vSwitch's tx-retries-max */
};

struct vs_vhost_ring_info {
    struct vs_vring_stats stats;
    uint32_t size;      /* 0: not running */
    uint32_t available; /* chains that the guest has ready for us */
    uint32_t broken;    /* enum vs_chain_error */
    uint32_t held;      /* packets that wait for a translation, neither sent nor dropped yet */
    uint32_t waiting;   /* 1: the next chain waits for a translation */
};

/* NULL: no memory. The port is a struct vs_port, freed by its destroy. */
struct vs_port *vs_vhost_new(const char *name);
void vs_vhost_set_retries(struct vs_port *port, unsigned retries);
/* Longest frame that is sent to the guest; longer ones are dropped as mtu_exceeded. */
void vs_vhost_set_max_frame(struct vs_port *port, uint32_t max_frame);
/* Start a ring that is stopped. The driver is called once: whoever ran the ring before may have died before it did. 0, or -EFAULT (an address does not translate), -EAGAIN (not yet: behind a vIOMMU), -EINVAL, -EBUSY (it
 * runs), -ENOMEM. */
int vs_vhost_ring_start(struct vs_port *port, unsigned ring, const struct vs_guest_mem *mem,
                        const struct vs_vring_config *cfg);
/* Hide a ring, and the word by which cores watch it (watch.h), from the cores. 1 when it ran, else 0. */
int vs_vhost_ring_unpublish(struct vs_port *port, unsigned ring);
/* After a grace period: free it. Returns where it stood (the number of GET_VRING_BASE), or -ENOENT. */
int64_t vs_vhost_ring_reap(struct vs_port *port, unsigned ring);
/* Swap the call descriptor of a running ring; the old one may be closed. The driver is called once by the new one: nobody may have
 * listened to the old one. QEMU sets the one that the guest's interrupt hangs on after it started the ring, and throws away what came by
 * the one before; a driver that waits for that call, with its buffers all used, would wait for ever. */
void vs_vhost_ring_set_call(struct vs_port *port, unsigned ring, int fd);
void vs_vhost_ring_set_err(struct vs_port *port, unsigned ring, int fd);
void vs_vhost_ring_info(struct vs_port *port, unsigned ring, struct vs_vhost_ring_info *info);

/* The port's IOTLB (iotlb.h), which lives as long as the port. The fd becomes readable when there are misses to collect and tell
 * the front-end of. Update, invalidate and clear also wake the cores that wait for an answer. Rings whose own
 * addresses are IOVAs: start says -EAGAIN and asks; start them again after an update. Stop rings whose pages are
 * invalidated BEFORE the invalidation. When the memory table changes: clear, before anything is unmapped. */
int vs_vhost_iotlb_fd(struct vs_port *port);
unsigned vs_vhost_iotlb_collect(struct vs_port *port, struct vs_iotlb_miss *to, unsigned n);
/* Call it about once a second while misses are pending: those that went unanswered since the call before are collected again. Returns
 * how many. */
unsigned vs_vhost_iotlb_retry(struct vs_port *port);
int vs_vhost_iotlb_update(struct vs_port *port, const struct vs_guest_mem *mem, uint64_t iova, uint64_t size,
                          uint64_t uva, uint32_t perm);
void vs_vhost_iotlb_invalidate(struct vs_port *port, uint64_t iova, uint64_t size);
/* Forget all translations and all misses: a new memory table, or a new connection. */
void vs_vhost_iotlb_clear(struct vs_port *port);
void vs_vhost_iotlb_stats(struct vs_port *port, struct vs_iotlb_stats *to);

/* Let the switch learn where the guest lives now (vhost-user, SEND_RARP): the core that polls queue 0 receives one reverse ARP request
 * (RFC 903) from `mac`, as if the guest had sent it. */
void vs_vhost_send_rarp(struct vs_port *port, const uint8_t *mac);

#endif
