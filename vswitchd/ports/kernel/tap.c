/* tap.c: frames to and from a tap device (Linux, Documentation/networking/tuntap.rst); see kernel_port.h. */
#include <errno.h>
#include <sys/uio.h>
#include <unistd.h>

#include "kernel_port.h"

static int tap_rx(struct vs_port *port, unsigned rxq, struct vs_packet **pkts, int n,
                  struct vs_port_counters *c)
{
    struct vs_kernel_port *kp = VS_CONTAINER_OF(port, struct vs_kernel_port, port);
    int fd = atomic_load_explicit(&kp->fd, memory_order_relaxed);
    if (fd < 0 || vs_kernel_rx_too_early(kp))
        return 0;
    int used = 0;
    uint64_t frames = 0, bytes = 0;
    while (frames < (uint64_t)n) {
        struct virtio_net_hdr h;
        uint8_t *buf = vs_kernel_buf(kp, used);
        struct iovec iov[2] = {{&h, sizeof h},
                               {buf, VS_MAX_FRAME + 1}}; /* one more: that byte says "too long" */
        ssize_t got = readv(fd, iov, 2);
        if (got < (ssize_t)sizeof h) {
            if (got < 0 && errno == EBADFD)
                vs_kernel_rx_dead(kp, fd);
            else
                vs_kernel_rx_was_empty(kp);
            break;
        }
        uint32_t len = (uint32_t)((size_t)got - sizeof h);
        frames++;
        bytes += len;
        used += vs_kernel_accept(pkts[used], &h, buf, len, c);
    }
    vs_port_rx_count(c, frames, bytes);
    return used;
}

static void tap_tx(struct vs_port *port, unsigned core, struct vs_packet **pkts, int n,
                   struct vs_port_counters *c)
{
    struct vs_kernel_port *kp = VS_CONTAINER_OF(port, struct vs_kernel_port, port);
    int fd = atomic_load_explicit(&kp->fd, memory_order_relaxed);
    uint64_t sent = 0, bytes = 0;
    for (int i = 0; i < n; i++) {
        struct virtio_net_hdr h;
        struct iovec iov[VS_KERNEL_IOV];
        if (VS_UNLIKELY(pkts[i]->gso_l3_ofs != 0)) {
            vs_kernel_send_segments(kp, pkts[i], c);
            continue;
        }
        int parts = vs_kernel_gather(kp, pkts[i], &h, iov);
        if (VS_UNLIKELY(parts < 0)) {
            vs_port_tx_drop(c, (enum vs_drop)(-parts - 1), 1);
        } else if (VS_LIKELY(writev(fd, iov, parts) >= 0)) {
            sent++;
            bytes += pkts[i]->frame_len;
        } else {
            vs_port_tx_drop(c, vs_kernel_tx_reason(errno), 1);
        }
    }
    vs_port_sent(c, sent, bytes);
}

const struct vs_port_ops vs_tap_ops = {
    .type = "tap", .rx = tap_rx, .tx = tap_tx, .destroy = vs_kernel_destroy};
const struct vs_port_ops vs_internal_ops = {
    .type = "internal", .rx = tap_rx, .tx = tap_tx, .destroy = vs_kernel_destroy};
