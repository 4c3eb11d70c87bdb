/* packet.h: one packet on its way through the switch.
 *
 * How it works: receive copies the first bytes (up to VS_HEAD_ROOM_COPY) into the packet's own buffer, behind
 * headroom for pushed tags: the head. That is what is parsed and edited. What follows stays where it was received
 * (guest memory, a port's own receive buffer): borrowed tail segments, valid until the port's rx_release for that batch.
 * Transmit copies head and tail into the receiver. frame length = head_len + the lengths of the tail segments.
 *
 *     buf: |<- VS_HEADROOM ->|<- up to VS_HEAD_MAX ->|      segs[]: {data, len} ... borrowed
 *                            ^data (moves when tags are pushed or popped)
 *
 * A packet that was queued to a port (`queued` != 0) must not be edited any more: take vs_packet_clone (copy on write);
 * clones share the borrowed tail. A packet received by a NIC may be handed to another with its buffers (`dma`): only when a
 * single port got it, which then holds all there is of it, and when its batch is over. Offload fields have the meaning of struct virtio_net_hdr (VIRTIO 1.2, 5.1.6),
 * csum_start counted from `data`; who moves `data` moves csum_start.
 *
 * Thread safety: a packet belongs to one core.
 */
#ifndef VS_PACKET_H
#define VS_PACKET_H

#include "base.h"

enum {
    VS_HEADROOM = 64,
    VS_HEAD_MAX = 256, /* bytes of head that fit behind the headroom */
    VS_HEAD_COPY =
        192, /* bytes that receive copies at most: Ethernet, 2 tags, IPv6 with extension headers, TCP fit */
    /* Borrowed tail segments. 64 KB are 17 pages of a Linux guest, 33 buffers of 2 KB of a DPDK guest, 46 when it merged received
     * frames of 1,448 bytes. An odd number of cache lines to a packet: those of a batch spread over the sets. */
    VS_MAX_SEGS = 52,
    VS_MAX_FRAME = 65536 + 64,
    VS_GSO_NONE = 0, /* VIRTIO_NET_HDR_GSO_* */
    VS_GSO_TCPV4 = 1,
    VS_GSO_UDP = 3,
    VS_GSO_TCPV6 = 4,
    VS_GSO_UDP_L4 = 5, /* UDP datagrams of gso_size each */
    VS_GSO_ECN = 0x80,
    VS_CSUM_NONE = 0, /* nothing known */
    VS_CSUM_PARTIAL =
        1, /* NEEDS_CSUM: the sum from csum_start on is to be stored at csum_start + csum_offset */
    VS_CSUM_VALID = 2,  /* DATA_VALID: the L4 checksum was checked */
    VS_L_NONE = 0xffff, /* layer offset: not there */
};

struct vs_seg {
    const uint8_t *data;
    uint32_t len;
};

struct vs_port;

struct vs_packet {
    /* line 0: everything that the fast path touches but the bytes */
    uint8_t *data;
    uint32_t frame_len; /* bytes of the whole frame */
    uint16_t head_len;
    uint16_t n_segs;
    struct vs_port *port; /* received on */
    uint32_t in_port;     /* OpenFlow number of the port it came in by, host order */
    uint32_t queue;       /* set_queue: queue of the ports that it is output to */
    /* eight bytes that the parser writes at once (vs_packet_begin) */
    uint16_t l3_ofs; /* from data; VS_L_NONE when there is none. Set by parse */
    uint16_t l4_ofs;
    uint8_t n_tags; /* VLAN tags in front of l3, set by parse */
    uint8_t fate;   /* enum vs_fate */
    uint8_t drop;   /* enum vs_drop while fate is VS_FATE_DROP */
    uint8_t spare;
    uint8_t queued; /* ports it was handed to in this batch; not 0: do not edit */
    uint8_t depth;  /* bridges crossed so far */
    uint8_t is_clone;
    uint8_t csum; /* VS_CSUM_* */
    uint8_t gso_type;
    uint16_t gso_size;
    uint16_t csum_start;
    uint16_t csum_offset;
    uint16_t gso_hdr_len;
    uint16_t
        gso_l3_ofs; /* not 0: the IP header of the packet to be segmented is here, behind headers that we pushed and that do
                            not say so (MPLS, PBB): only our own software can segment it (offload.h) */
    uint32_t
        dma; /* not 0: it lies in DMA buffers that nobody else uses, the first is this (ports/vfio/dma.h) */
    struct vs_seg segs[VS_MAX_SEGS];
    uint8_t buf[VS_HEADROOM + VS_HEAD_MAX];
};

enum vs_fate {
    VS_FATE_NONE,      /* nothing was done with it: VS_DROP_RX_ACTION_DROP unless `drop` says more */
    VS_FATE_FORWARDED, /* handed to a port, a controller or another bridge at least once */
};

#ifndef VS_CDEF
_Static_assert(offsetof(struct vs_packet, l3_ofs) == 32 && offsetof(struct vs_packet, queued) == 40,
               "one aligned word of what the parser finds");

/* Layers and fate of a packet whose way begins, by one store. */
static inline void vs_packet_begin(struct vs_packet *p, uint16_t l3_ofs, uint16_t l4_ofs, uint8_t fate,
                                   uint8_t drop)
{
    uint64_t word =
        l3_ofs | (uint64_t)l4_ofs << 16 | (uint64_t)fate << 40 | (uint64_t)drop << 48; /* little-endian */
    memcpy((uint8_t *)p + offsetof(struct vs_packet, l3_ofs), &word, sizeof word);
}

/* Make an empty packet whose head is to be filled at data. Behind the port all is zero, but that no layer is known. */
static inline void vs_packet_reset(struct vs_packet *p, struct vs_port *port)
{
    p->data = p->buf + VS_HEADROOM;
    p->frame_len = 0;
    p->head_len = 0;
    p->n_segs = 0;
    p->port = port;
    memset((uint8_t *)p + offsetof(struct vs_packet, in_port), 0,
           offsetof(struct vs_packet, segs) - offsetof(struct vs_packet, in_port));
    p->l3_ofs = p->l4_ofs = VS_L_NONE;
}
#endif

/* Fill an empty packet from one contiguous frame that stays valid until the batch ends: copies the head, borrows the rest. */
void vs_packet_fill(struct vs_packet *p, const uint8_t *frame, uint32_t len);
/* Move bytes of the tail into the head, up to VS_HEAD_COPY: after a pop a parser sees as much as of a packet that came so. */
void vs_packet_pull(struct vs_packet *p);
/* Copy the whole frame, or its first `max` bytes, to `to`. Returns the bytes copied. */
uint32_t vs_packet_copy_out(const struct vs_packet *p, uint8_t *to, uint32_t max);
/* Make `to` a copy of `from` (head copied, tail shared). */
void vs_packet_copy(struct vs_packet *to, const struct vs_packet *from);

#endif
