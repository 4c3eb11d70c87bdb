/* packet_socket.c: frames to and from an interface by AF_PACKET (packet(7)); see kernel_port.h.
 *
 * Receive is recvmmsg, transmit sendmmsg: one system call per batch. The kernel takes the outer VLAN tag out of received
 * frames (and NICs do): PACKET_AUXDATA tells it, and it is put back, with csum_start moved.
 */
#include <errno.h>
#include <linux/if_packet.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "kernel_port.h"

#define ETH_ADDRS 12
#define VLAN_HLEN 4
#define ETH_P_8021Q 0x8100

struct vs_packet_rx {
    struct mmsghdr msgs[VS_BATCH];
    struct iovec iovs[VS_BATCH][2];
    struct virtio_net_hdr hdrs[VS_BATCH];
    union {
        struct cmsghdr align;
        uint8_t bytes[CMSG_SPACE(sizeof(struct tpacket_auxdata))];
    } control[VS_BATCH];
};

struct vs_packet_rx *vs_packet_rx_new(struct vs_kernel_port *kp)
{
    struct vs_packet_rx *rx = calloc(1, sizeof *rx);
    for (int i = 0; rx && i < VS_BATCH; i++) {
        rx->iovs[i][0] = (struct iovec){.iov_base = &rx->hdrs[i], .iov_len = sizeof rx->hdrs[i]};
        rx->iovs[i][1] = (struct iovec){.iov_base = vs_kernel_buf(kp, i), .iov_len = VS_MAX_FRAME};
        rx->msgs[i].msg_hdr =
            (struct msghdr){.msg_iov = rx->iovs[i], .msg_iovlen = 2, .msg_control = &rx->control[i]};
    }
    return rx;
}

/* The tag that was taken out of the frame, if any: 1, and TPID and TCI. */
static int stripped_tag(struct msghdr *m, uint16_t *tpid, uint16_t *tci)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        if (c->cmsg_level != SOL_PACKET || c->cmsg_type != PACKET_AUXDATA)
            continue;
        struct tpacket_auxdata aux;
        memcpy(&aux, CMSG_DATA(c), sizeof aux);
        if (!(aux.tp_status & TP_STATUS_VLAN_VALID))
            return 0;
        *tci = aux.tp_vlan_tci;
        *tpid = aux.tp_status & TP_STATUS_VLAN_TPID_VALID ? aux.tp_vlan_tpid : ETH_P_8021Q;
        return 1;
    }
    return 0;
}

/* Put the tag back into the slack in front of the frame. Returns the new beginning. */
static uint8_t *insert_tag(uint8_t *frame, struct virtio_net_hdr *h, uint16_t tpid, uint16_t tci)
{
    memmove(frame - VLAN_HLEN, frame, ETH_ADDRS);
    vs_put_be16(frame - VLAN_HLEN + ETH_ADDRS, tpid);
    vs_put_be16(frame - VLAN_HLEN + ETH_ADDRS + 2, tci);
    if (h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
        h->csum_start = (uint16_t)(h->csum_start + VLAN_HLEN);
    return frame - VLAN_HLEN;
}

/* One received message. Returns whether it became a packet. */
static bool take(struct vs_kernel_port *kp, int i, struct vs_packet *p, uint64_t *bytes,
                 struct vs_port_counters *c)
{
    struct vs_packet_rx *rx = kp->packet_rx;
    struct mmsghdr *m = &rx->msgs[i];
    uint8_t *frame = vs_kernel_buf(kp, i);
    uint16_t tpid, tci;
    if (m->msg_len < sizeof rx->hdrs[i]) { /* cannot be: the kernel always writes the header */
        vs_port_rx_drop(c, VS_DROP_RX_RUNT, 1);
        return false;
    }
    uint32_t len = m->msg_len - (uint32_t)sizeof rx->hdrs[i];
    if (len >= ETH_ADDRS && stripped_tag(&m->msg_hdr, &tpid, &tci)) {
        frame = insert_tag(frame, &rx->hdrs[i], tpid, tci);
        len += VLAN_HLEN;
    }
    *bytes += len;
    if (m->msg_hdr.msg_flags & MSG_TRUNC) {
        vs_port_rx_drop(c, VS_DROP_RX_OVERSIZE, 1);
        return false;
    }
    return vs_kernel_accept(p, &rx->hdrs[i], frame, len, c);
}

/* recvmmsg failed. A frame whose offload has no virtio encoding is lost inside the kernel (packet_rcv_vnet: EINVAL). */
static void rx_failed(struct vs_kernel_port *kp, int error, struct vs_port_counters *c)
{
    if (error == EINVAL) {
        vs_port_rx_count(c, 1, 0);
        vs_port_rx_drop(c, VS_DROP_RX_BAD_OFFLOAD, 1);
    } else {
        vs_kernel_rx_was_empty(kp); /* EAGAIN; ENETDOWN, told once: the control thread hears it by netlink */
    }
}

static int packet_rx(struct vs_port *port, unsigned rxq, struct vs_packet **pkts, int n,
                     struct vs_port_counters *c)
{
    struct vs_kernel_port *kp = VS_CONTAINER_OF(port, struct vs_kernel_port, port);
    struct vs_packet_rx *rx = kp->packet_rx;
    int fd = atomic_load_explicit(&kp->fd, memory_order_relaxed);
    if (fd < 0 || vs_kernel_rx_too_early(kp))
        return 0;
    n = VS_MIN(n, (int)VS_BATCH);
    for (int i = 0; i < n; i++)
        rx->msgs[i].msg_hdr.msg_controllen = sizeof rx->control[i];
    int got = recvmmsg(fd, rx->msgs, (unsigned)n, MSG_DONTWAIT, NULL);
    if (got <= 0) {
        rx_failed(kp, errno, c);
        return 0;
    }
    int used = 0;
    uint64_t bytes = 0;
    for (int i = 0; i < got; i++)
        used += take(kp, i, pkts[used], &bytes, c);
    vs_port_rx_count(c, (uint64_t)got, bytes);
    return used;
}

/* Send what was gathered. A message that is refused is dropped alone; a full queue or a link that is down drops the rest. */
static void flush(int fd, struct mmsghdr *msgs, const uint32_t *lens, int n, struct vs_port_counters *c)
{
    uint64_t sent = 0, bytes = 0;
    bool told = false;
    for (int i = 0; i < n;) {
        int done = sendmmsg(fd, msgs + i, (unsigned)(n - i), MSG_DONTWAIT);
        for (int k = 0; k < done; k++)
            bytes += lens[i + k];
        if (done > 0) {
            sent += (uint64_t)done;
            i += done;
            continue;
        }
        if (errno == ENETDOWN && !told) {
            told =
                true; /* perhaps an old error of the socket, which is told once: the link may be up again */
            continue;
        }
        enum vs_drop why = vs_kernel_tx_reason(errno);
        int lost = why == VS_DROP_TX_WOULD_BLOCK || why == VS_DROP_TX_LINK_DOWN ? n - i : 1;
        vs_port_tx_drop(c, why, (uint64_t)lost);
        i += lost;
    }
    vs_port_sent(c, sent, bytes);
}

static void packet_tx(struct vs_port *port, unsigned core, struct vs_packet **pkts, int n,
                      struct vs_port_counters *c)
{
    struct vs_kernel_port *kp = VS_CONTAINER_OF(port, struct vs_kernel_port, port);
    struct mmsghdr msgs[VS_BATCH];
    struct iovec iovs[VS_BATCH][VS_KERNEL_IOV];
    struct virtio_net_hdr hdrs[VS_BATCH];
    uint32_t lens[VS_BATCH];
    int fd = atomic_load_explicit(&kp->fd, memory_order_relaxed), ready = 0;
    for (int i = 0; i < n; i++) {
        if (VS_UNLIKELY(pkts[i]->gso_l3_ofs != 0)) {
            flush(fd, msgs, lens, ready, c); /* in order */
            ready = 0;
            vs_kernel_send_segments(kp, pkts[i], c);
            continue;
        }
        int parts = vs_kernel_gather(kp, pkts[i], &hdrs[ready], iovs[ready]);
        if (VS_UNLIKELY(parts < 0)) {
            vs_port_tx_drop(c, (enum vs_drop)(-parts - 1), 1);
            continue;
        }
        msgs[ready].msg_hdr = (struct msghdr){.msg_iov = iovs[ready], .msg_iovlen = (size_t)parts};
        lens[ready++] = pkts[i]->frame_len;
        if (ready == VS_BATCH) {
            flush(fd, msgs, lens, ready, c);
            ready = 0;
        }
    }
    flush(fd, msgs, lens, ready, c);
}

const struct vs_port_ops vs_system_ops = {
    .type = "system", .rx = packet_rx, .tx = packet_tx, .destroy = vs_kernel_destroy};
