/* vhost_header.h: the header in front of each frame in a ring, struct virtio_net_hdr (VIRTIO 1.2, 5.1.6). C only.
 *
 * How it works: a driver may ask for a checksum (VIRTIO_NET_F_CSUM) and for segmentation (HOST_TSO4, HOST_TSO6, HOST_USO); the packet then
 * carries those wishes through the switch (packet.h), and they are passed to a guest that takes them (GUEST_CSUM, GUEST_TSO4, ...), or done
 * in software on the way into its ring (offload.h). ECN is a bit of its own on top of TCP: a driver that did not take
 * it must not see it. UFO is left out on purpose: no driver sends it any more (Linux since 4.14), and it is fragmentation, not segmentation.
 * From a guest: read once, into a local; without CSUM a header has no meaning and is not looked at, since drivers leave rubbish there;
 * with it, what was not negotiated is refused. DATA_VALID says nothing in this direction (5.1.6.2.2), and hdr_len is not believed.
 *
 * Thread safety: works on its arguments only.
 */
#ifndef VS_VHOST_HEADER_H
#define VS_VHOST_HEADER_H

#include "base.h"

enum {
    VS_NET_HDR_NEEDS_CSUM = 1, /* VIRTIO_NET_HDR_F_* */
    VS_NET_HDR_DATA_VALID = 2,
};

/* Little endian; a legacy driver's is in the guest's order, which is ours. Legacy drivers without MRG_RXBUF have no num_buffers. */
struct vs_net_hdr {
    uint8_t flags;
    uint8_t gso_type;
    uint16_t hdr_len;
    uint16_t gso_size;
    uint16_t csum_start;
    uint16_t csum_offset;
    uint16_t num_buffers;
};
VS_ASSERT_SIZE(struct vs_net_hdr, 12);

/* A header in guest memory is read in two parts, each once: the first one, behind whose barrier the compiler may not read it again, tells
 * whether the other one is of interest. */
static inline uint64_t vs_net_hdr_load(const uint8_t *from)
{
    uint64_t first;
    memcpy(&first, from, sizeof first);
    __asm__ volatile("" ::: "memory");
    return first;
}

/* Does the driver want anything: is one of flags and gso_type not 0? */
static inline bool vs_net_hdr_wants(uint64_t first)
{
    uint64_t mask;
    memcpy(&mask, (const uint8_t[8]){0xff, 0xff}, sizeof mask);
    return (first & mask) != 0;
}

static inline struct vs_net_hdr vs_net_hdr_complete(uint64_t first, const uint8_t *from)
{
    struct vs_net_hdr h = {.num_buffers = 0};
    memcpy(&h, &first, sizeof first);
    memcpy(&h.csum_offset, from + offsetof(struct vs_net_hdr, csum_offset), sizeof h.csum_offset);
    __asm__ volatile("" ::: "memory");
    return h;
}

#endif
