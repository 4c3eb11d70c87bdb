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
 * The virtio-net header carries no offloads yet: none is negotiated, so received ones are ignored, and packets from other ports
 * that need checksums or segments are completed here in software.
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
};

/* NULL: no memory. The port is a struct vs_port, freed by its destroy. */
struct vs_port *vs_vhost_new(const char *name);
void vs_vhost_set_retries(struct vs_port *port, unsigned retries);
/* Longest frame that is sent to the guest; longer ones are dropped as mtu_exceeded. */
void vs_vhost_set_max_frame(struct vs_port *port, uint32_t max_frame);
/* Start a ring that is stopped. 0, or -EFAULT (an address does not translate), -EAGAIN (not yet: behind a vIOMMU), -EINVAL, -EBUSY (it
 * runs), -ENOMEM. */
int vs_vhost_ring_start(struct vs_port *port, unsigned ring, const struct vs_guest_mem *mem,
                        const struct vs_vring_config *cfg);
/* Hide a ring from the cores. 1 when it ran, else 0. */
int vs_vhost_ring_unpublish(struct vs_port *port, unsigned ring);
/* After a grace period: free it. Returns where it stood (the number of GET_VRING_BASE), or -ENOENT. */
int64_t vs_vhost_ring_reap(struct vs_port *port, unsigned ring);
/* Swap the call descriptor of a running ring; the old one may be closed after a grace period. */
void vs_vhost_ring_set_call(struct vs_port *port, unsigned ring, int fd);
void vs_vhost_ring_set_err(struct vs_port *port, unsigned ring, int fd);
void vs_vhost_ring_info(struct vs_port *port, unsigned ring, struct vs_vhost_ring_info *info);

#endif
