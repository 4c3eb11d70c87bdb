/* edit_layers.h: what the editing files share: where the headers of a packet are, and how its bytes and offsets move. Internal.
 *
 * How it works: a packet that was parsed is looked at again; the pointers are good until bytes are pushed or popped.
 *
 * Thread safety: works on its arguments only.
 */
#ifndef VS_EDIT_LAYERS_H
#define VS_EDIT_LAYERS_H

#include "edit_bits.h"
#include "packet.h"

enum {
    VS_ETH_HLEN = 14,
    VS_TAG_LEN = 4,
    VS_LSE_LEN = 4, /* label stack entry */
    VS_PBB_LEN =
        18, /* backbone addresses, EtherType, I-TAG up to the customer's addresses (IEEE 802.1Q, 9.7) */
    VS_TYPE_IPV4 = 0x0800,
    VS_TYPE_ARP = 0x0806,
    VS_TYPE_RARP = 0x8035,
    VS_TYPE_IPV6 = 0x86dd,
    VS_TYPE_MPLS = 0x8847,
    VS_TYPE_MPLS_MC = 0x8848,
    VS_TYPE_PBB = 0x88e7,
    VS_PROTO_HOP = 0,
    VS_PROTO_ICMP = 1,
    VS_PROTO_IPV4 = 4,
    VS_PROTO_TCP = 6,
    VS_PROTO_UDP = 17,
    VS_PROTO_IPV6 = 41,
    VS_PROTO_ROUTING = 43,
    VS_PROTO_FRAGMENT = 44,
    VS_PROTO_AH = 51,
    VS_PROTO_ICMP6 = 58,
    VS_PROTO_DEST = 60,
    VS_PROTO_SCTP = 132,
};

/* The headers of a parsed packet. */
struct vs_layers {
    uint8_t *l3, *l4; /* NULL: not there */
    uint8_t *upper;   /* what follows the headers of IP, of whatever protocol; NULL in a later fragment */
    uint8_t *end;     /* of what may be touched: the head, or the IP datagram where it ends earlier */
    uint32_t ip_end;  /* of the IP datagram, from l3, as its header says; 0: not said */
    uint16_t type;
    uint8_t proto;
    uint8_t routed; /* IPv6 with segments left: the pseudo-header holds another destination (RFC 8200, 8.1) */
    uint8_t fragment; /* also the first one */
};

/* See the headers again, as vs_parse found them. The EtherType stands right in front of l3 always. */
void vs_layers_look(const struct vs_packet *p, struct vs_layers *v);
/* Set the TTL or hop limit of the IP header at l3 (version 4 or 6); IPv4's checksum follows. */
void vs_layers_set_ttl(uint8_t *l3, unsigned version, uint8_t ttl);
/* All offsets after `by` bytes were pushed in front of the layers (or popped, when negative), and the lengths. */
void vs_layers_shift(struct vs_packet *p, int by);
/* Parse again after a pop: fills up the head from the tail, sets the layer offsets. Returns -1 when checksum or segmentation offload that
 * came in with the packet would now reach into headers that can be seen. */
int vs_layers_uncover(struct vs_packet *p);
/* Call before headers are pushed that do not say what follows them: keeps in mind where a packet is to be segmented. */
void vs_layers_cover(struct vs_packet *p);

/* Is there a header to push `by` bytes into, and room for them? */
static inline bool vs_layers_room(const struct vs_packet *p, int by)
{
    return p->head_len >= VS_ETH_HLEN && p->data - p->buf >= by && p->head_len + by <= VS_HEAD_MAX;
}

static inline int vs_layers_is_ip(const struct vs_layers *v)
{
    return v->type == VS_TYPE_IPV4 || v->type == VS_TYPE_IPV6;
}

static inline int vs_layers_is_mpls(const struct vs_layers *v)
{
    return v->type == VS_TYPE_MPLS || v->type == VS_TYPE_MPLS_MC;
}

/* One's complement sum. */
static inline uint16_t vs_csum_add(uint32_t a, uint32_t b)
{
    uint32_t sum = a + b;
    return (uint16_t)((sum & 0xffff) + (sum >> 16));
}

/* HC' = ~(~HC + ~m + m'), RFC 1624 eqn. 3 */
static inline void vs_csum_mend(uint8_t *field, uint32_t diff)
{
    vs_put_be16(field, (uint16_t)~vs_csum_add((uint16_t)~vs_get_be16(field), diff));
}

#endif
