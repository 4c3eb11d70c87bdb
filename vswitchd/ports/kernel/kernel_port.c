/* kernel_port.c: what tap and AF_PACKET ports share; see kernel_port.h. */
#include "kernel_port.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "offload.h"

#define ETH_HLEN 14
#define TAGS_LEN 8 /* two VLAN tags do not count against the MTU */

static const struct vs_port_ops *ops_of(const char *type)
{
    static const struct vs_port_ops *const all[] = {&vs_tap_ops, &vs_internal_ops, &vs_system_ops};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (!strcmp(type, all[i]->type))
            return all[i];
    return NULL;
}

struct vs_port *vs_kernel_port_new(const char *name, const char *type, int kind, int fd)
{
    const struct vs_port_ops *ops = ops_of(type);
    struct vs_kernel_port *kp = ops ? calloc(1, sizeof *kp) : NULL;
    if (!kp)
        return NULL;
    vs_port_init(&kp->port, ops, name, 1);
    atomic_store_explicit(&kp->mtu, 1500, memory_order_relaxed);
    /* Pages are only touched as frames come: an idle port costs address space. */
    void *bufs = mmap(NULL, (size_t)VS_BATCH * VS_KERNEL_BUF, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    kp->bufs = bufs == MAP_FAILED ? NULL : bufs;
    kp->packet_rx = kind == VS_KERNEL_PACKET && kp->bufs ? vs_packet_rx_new(kp) : NULL;
    atomic_store_explicit(&kp->fd, -1, memory_order_relaxed);
    if (!kp->bufs || (kind == VS_KERNEL_PACKET && !kp->packet_rx)) {
        vs_kernel_destroy(&kp->port);
        return NULL;
    }
    vs_kernel_port_swap_fd(&kp->port, fd);
    return &kp->port;
}

void vs_kernel_destroy(struct vs_port *port)
{
    struct vs_kernel_port *kp = VS_CONTAINER_OF(port, struct vs_kernel_port, port);
    int fd = atomic_load_explicit(&kp->fd, memory_order_relaxed);
    if (fd >= 0)
        close(fd);
    if (kp->bufs)
        munmap(kp->bufs, (size_t)VS_BATCH * VS_KERNEL_BUF);
    free(kp->packet_rx);
    free(kp);
}

int vs_kernel_port_swap_fd(struct vs_port *port, int fd)
{
    struct vs_kernel_port *kp = VS_CONTAINER_OF(port, struct vs_kernel_port, port);
    int old = atomic_exchange_explicit(&kp->fd, fd, memory_order_relaxed);
    atomic_store_explicit(&port->rx_fd[0], fd, memory_order_relaxed);
    vs_watch_changed();
    return old;
}

void vs_kernel_port_set(struct vs_port *port, int link_up, uint32_t mtu)
{
    struct vs_kernel_port *kp = VS_CONTAINER_OF(port, struct vs_kernel_port, port);
    atomic_store_explicit(&kp->mtu, mtu, memory_order_relaxed);
    atomic_store_explicit(&port->link_up, link_up ? 1 : 0, memory_order_relaxed);
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t); /* vDSO: no system call */
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

bool vs_kernel_rx_too_early(const struct vs_kernel_port *kp)
{
    return kp->next_look_ns && now_ns() < kp->next_look_ns;
}

void vs_kernel_rx_was_empty(struct vs_kernel_port *kp)
{
    kp->next_look_ns = now_ns() + VS_KERNEL_POLL_GAP_NS;
}

void vs_kernel_rx_dead(struct vs_kernel_port *kp, int fd)
{
    /* Only when the control thread did not put another descriptor there in the meantime. */
    if (atomic_compare_exchange_strong_explicit(&kp->port.rx_fd[0], &fd, -1, memory_order_relaxed,
                                                memory_order_relaxed))
        vs_watch_changed();
    vs_kernel_rx_was_empty(kp);
}

bool vs_kernel_accept(struct vs_packet *p, const struct virtio_net_hdr *h, const uint8_t *frame, uint32_t len,
                      struct vs_port_counters *c)
{
    if (VS_UNLIKELY(len < ETH_HLEN)) {
        vs_port_rx_drop(c, VS_DROP_RX_RUNT, 1);
        return false;
    }
    if (VS_UNLIKELY(len > VS_MAX_FRAME)) {
        vs_port_rx_drop(c, VS_DROP_RX_OVERSIZE, 1);
        return false;
    }
    vs_packet_fill(p, frame, len);
    if (h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
        p->csum = VS_CSUM_PARTIAL;
        p->csum_start = h->csum_start;
        p->csum_offset = h->csum_offset;
    } else if (h->flags & VIRTIO_NET_HDR_F_DATA_VALID) {
        p->csum = VS_CSUM_VALID;
    }
    p->gso_type = h->gso_type;
    p->gso_size = h->gso_size;
    p->gso_hdr_len = h->hdr_len;
    if (VS_UNLIKELY((p->csum == VS_CSUM_PARTIAL || p->gso_type) && vs_offload_check(p) < 0)) {
        vs_packet_reset(p, p->port); /* the caller gives it to the next frame */
        vs_port_rx_drop(c, VS_DROP_RX_BAD_OFFLOAD, 1);
        return false;
    }
    return true;
}

/* hdr_len is computed anew: what came in is a hint of a stranger, and tags may have moved it. */
static int fill_header(const struct vs_packet *p, struct virtio_net_hdr *h)
{
    memset(h, 0, sizeof *h);
    if (p->csum == VS_CSUM_PARTIAL) {
        h->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
        h->csum_start = p->csum_start;
        h->csum_offset = p->csum_offset;
    }
    if (p->gso_type == VS_GSO_NONE)
        return 0;
    uint32_t hdr_len = vs_offload_header_len(p);
    if (hdr_len == 0)
        return -1;
    h->gso_type = p->gso_type;
    h->gso_size = p->gso_size;
    h->hdr_len = (uint16_t)hdr_len;
    return 0;
}

int vs_kernel_gather(const struct vs_kernel_port *kp, const struct vs_packet *p, struct virtio_net_hdr *h,
                     void *vector)
{
    struct iovec *iov = vector;
    uint32_t mtu = atomic_load_explicit(&kp->mtu, memory_order_relaxed);
    if (VS_UNLIKELY(fill_header(p, h) < 0))
        return -(int)VS_DROP_TX_OFFLOAD - 1;
    /* What goes on the wire in the end: the frame, or each segment of it. */
    uint32_t wire_len =
        p->gso_type == VS_GSO_NONE ? p->frame_len : VS_MIN(p->frame_len, (uint32_t)h->hdr_len + h->gso_size);
    if (VS_UNLIKELY(wire_len > mtu + ETH_HLEN + TAGS_LEN))
        return -(int)VS_DROP_TX_TOO_LONG - 1;
    iov[0] = (struct iovec){.iov_base = h, .iov_len = sizeof *h};
    iov[1] = (struct iovec){.iov_base = p->data, .iov_len = p->head_len};
    for (unsigned i = 0; i < p->n_segs; i++)
        iov[2 + i] =
            (struct iovec){.iov_base = (void *)(uintptr_t)p->segs[i].data, .iov_len = p->segs[i].len};
    return 2 + p->n_segs;
}

enum vs_drop vs_kernel_tx_reason(int error)
{
    switch (error) {
    case EAGAIN:
    case ENOBUFS:
    case ENOMEM:
        return VS_DROP_TX_WOULD_BLOCK;
    case EIO:    /* tap: the interface is down */
    case EBADFD: /* tap: the interface was deleted */
    case EBADF:
    case ENETDOWN:
    case ENODEV:
    case ENXIO: /* AF_PACKET: the interface was deleted */
        return VS_DROP_TX_LINK_DOWN;
    case EMSGSIZE:
        return VS_DROP_TX_TOO_LONG;
    default:
        return VS_DROP_TX_ERROR;
    }
}

/* Segments under way. */
struct segments {
    int fd;
    uint32_t max_len; /* of a frame */
    uint64_t bytes;
    int reason; /* enum vs_drop, or -1 */
};

static int send_segment(void *ctx, const uint8_t *frame, uint32_t len)
{
    struct segments *s = ctx;
    struct virtio_net_hdr h = {0};
    struct iovec iov[2] = {{&h, sizeof h}, {(void *)(uintptr_t)frame, len}};
    if (len > s->max_len)
        s->reason = VS_DROP_TX_TOO_LONG;
    else if (writev(s->fd, iov, 2) < 0)
        s->reason = vs_kernel_tx_reason(errno);
    else
        s->bytes += len;
    return s->reason < 0 ? 0 : -1;
}

void vs_kernel_send_segments(const struct vs_kernel_port *kp, const struct vs_packet *p,
                             struct vs_port_counters *c)
{
    uint8_t scratch[16384]; /* longer segments fit no interface */
    struct segments s = {.fd = atomic_load_explicit(&kp->fd, memory_order_relaxed),
                         .max_len =
                             atomic_load_explicit(&kp->mtu, memory_order_relaxed) + ETH_HLEN + TAGS_LEN,
                         .reason = -1};
    if (vs_offload_finish(p, scratch, sizeof scratch, send_segment, &s) < 0 && s.reason < 0)
        s.reason = VS_DROP_TX_OFFLOAD;
    if (s.reason >= 0)
        vs_port_tx_drop(c, (enum vs_drop)s.reason, 1);
    else
        vs_port_sent(c, 1, s.bytes);
}

int vs_kernel_port_rx(struct vs_port *port, struct vs_packet **pkts, int n, struct vs_port_counters *c)
{
    struct vs_kernel_port *kp = VS_CONTAINER_OF(port, struct vs_kernel_port, port);
    kp->next_look_ns = 0; /* tests do not wait */
    for (int i = 0; i < n; i++)
        vs_packet_reset(pkts[i], port);
    return port->ops->rx(port, 0, pkts, n, c);
}

void vs_kernel_port_tx(struct vs_port *port, struct vs_packet **pkts, int n, struct vs_port_counters *c)
{
    port->ops->tx(port, 0, pkts, n, c);
}
