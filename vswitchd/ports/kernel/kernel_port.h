/* kernel_port.h: ports whose other side is the kernel: a tap device, or an AF_PACKET socket on an interface.
 *
 * How it works: Python opens and configures the descriptor (it fails richly there) and hands it over; C moves frames.
 * Both kinds put a struct virtio_net_hdr in front of each frame (IFF_VNET_HDR, PACKET_VNET_HDR), so that partial checksums
 * and TCP segmentation offload travel through the switch as they are, in both directions. Receive: up to 32 frames into
 * buffers of the port's own (the head is copied into the packet, the tail borrowed until rx_release); the fields of the
 * header are checked (vs_offload_check). Transmit: gathered from head and tail without a copy. The descriptor itself is
 * rx_fd: it is level triggered, so there is nothing to arm.
 * An empty queue costs a system call to find out, so it is looked at every 10 us at most: a busy core pays at most a few
 * per cent for an idle kernel port.
 * When the device under the descriptor is gone, rx_fd becomes -1 (a sleeping core must not spin on an error) and transmit
 * drops with link_down, until the control thread sets another descriptor.
 *
 * Thread safety: rx by the core that owns queue 0, tx by any core at once (one system call per frame or batch, no lock).
 * set/swap_fd: control thread; the old descriptor may be closed only after a grace period (vs_synchronize).
 */
#ifndef VS_KERNEL_PORT_H
#define VS_KERNEL_PORT_H

#include "base.h"
#include "packet.h"
#include "port.h"

enum vs_kernel_kind {
    VS_KERNEL_TAP,    /* fd of /dev/net/tun: IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, nonblocking */
    VS_KERNEL_PACKET, /* fd of socket(AF_PACKET, SOCK_RAW), bound, PACKET_VNET_HDR and PACKET_AUXDATA set */
};

/* type: the name of the port's type (static storage not needed: it is one of "tap", "internal", "system"). fd is owned by the
 * port from now on, -1: none yet. NULL when memory is short or the type unknown. */
struct vs_port *vs_kernel_port_new(const char *name, const char *type, int kind, int fd);
/* Use another descriptor (-1: none). Returns the old one, to be closed by the caller after vs_synchronize(). */
int vs_kernel_port_swap_fd(struct vs_port *port, int fd);
/* What the control thread knows of the device. mtu: bytes of layer 3. */
void vs_kernel_port_set(struct vs_port *port, int link_up, uint32_t mtu);

/* Tests drive a port without the polling core: rx and tx, called by name. Packets are reset before rx. */
int vs_kernel_port_rx(struct vs_port *port, struct vs_packet **pkts, int n, struct vs_port_counters *c);
void vs_kernel_port_tx(struct vs_port *port, struct vs_packet **pkts, int n, struct vs_port_counters *c);

#ifndef VS_CDEF
#include <linux/virtio_net.h>

enum {
    /* vnet header apart. Not a multiple of 4096, so that the beginnings of 32 buffers fall into different cache sets. */
    VS_KERNEL_BUF = VS_MAX_FRAME + 128,
    VS_KERNEL_SLACK = 64, /* in front of each frame, for a VLAN tag that is put back */
    VS_KERNEL_POLL_GAP_NS = 10000,
    VS_KERNEL_IOV = VS_MAX_SEGS + 2,
};

struct vs_kernel_port {
    struct vs_port port;
    _Atomic int fd;        /* control thread; pairs with the relaxed loads in rx and tx: an int on its own */
    _Atomic uint32_t mtu;  /* control thread */
    uint64_t next_look_ns; /* rx core: the queue was empty, look again from then on */
    uint8_t *bufs;         /* VS_BATCH of VS_KERNEL_BUF; rx core */
    struct vs_packet_rx *packet_rx; /* rx core; AF_PACKET only */
};

extern const struct vs_port_ops vs_tap_ops, vs_internal_ops, vs_system_ops;

static inline uint8_t *vs_kernel_buf(const struct vs_kernel_port *kp, int i)
{
    return kp->bufs + (size_t)i * VS_KERNEL_BUF + VS_KERNEL_SLACK;
}

/* Was the queue found empty less than VS_KERNEL_POLL_GAP_NS ago? */
bool vs_kernel_rx_too_early(const struct vs_kernel_port *kp);
void vs_kernel_rx_was_empty(struct vs_kernel_port *kp);
/* The device is gone: stop waiting for the descriptor `fd`. */
void vs_kernel_rx_dead(struct vs_kernel_port *kp, int fd);
/* Make a packet of a received frame, or count its drop. Returns whether the packet is to be used. */
bool vs_kernel_accept(struct vs_packet *p, const struct virtio_net_hdr *h, const uint8_t *frame, uint32_t len,
                      struct vs_port_counters *c);
/* Header and gather list for one packet. Returns the number of entries, or -(enum vs_drop) - 1 when it cannot be sent. */
int vs_kernel_gather(const struct vs_kernel_port *kp, const struct vs_packet *p, struct virtio_net_hdr *h,
                     void *iov);
enum vs_drop vs_kernel_tx_reason(int error);
/* Segment and send a packet that the kernel cannot segment (gso_l3_ofs is set): behind MPLS or PBB. */
void vs_kernel_send_segments(const struct vs_kernel_port *kp, const struct vs_packet *p,
                             struct vs_port_counters *c);
/* AF_PACKET's receive state. */
struct vs_packet_rx *vs_packet_rx_new(struct vs_kernel_port *kp);
void vs_kernel_destroy(struct vs_port *port);
#endif

#endif
