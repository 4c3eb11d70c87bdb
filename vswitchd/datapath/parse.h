/* parse.h: from bytes to flow key.
 *
 * How it works: reads the head of the packet only, never past head_len; a header that is cut short leaves the fields
 * of its layer zero and the layer offset VS_L_NONE (the packet still travels by what is known). Handles Ethernet II
 * and 802.3/LLC-SNAP, VLAN tags (0x8100, 0x88a8; any number), ARP and RARP, IPv4 (options, fragments), IPv6 (extension headers as
 * OFPIEH_* bits, fragments), TCP, UDP, ICMP, ICMPv6 with neighbour discovery (target, SLL, TLL options), SCTP ports, the
 * outermost label stack entry of MPLS and the I-SID of PBB (behind those nothing is read: they do not say what they carry).
 * The whole key is written (absent fields zero); blocks 1 and 2 are only zeroed when they were not zero before, which
 * the caller's `dirty` map says: bit 1 for block 1, bit 2 for block 2; the parser updates it.
 * l3_ofs is that of the byte after the EtherType, also for types that are not known; it is VS_L_NONE where the header of IPv4,
 * IPv6, ARP, MPLS or PBB is cut short or contradicts itself (wrong version, header or total length, ARP of another kind). l4_ofs is set
 * for whole TCP, UDP, SCTP, ICMP and ICMPv6 headers inside the IP datagram (padding is no L4), never for later fragments.
 * 802.3 frames without SNAP have eth_type 0x05ff. The key has the two outermost tags, and VS_TAGS_MORE in ip_frag when there are
 * more; n_tags counts all. A tag cut short is not counted: eth_type is its TPID. ip_proto of IPv6 is the type of the first header that is not walked over: the upper layer, ESP,
 * "no next header", or an extension header cut short; an atomic fragment (RFC 6946) is none.
 * Side effect: l3_ofs, l4_ofs and n_tags of the packet are set.
 *
 * Thread safety: works on its arguments only.
 */
#ifndef VS_PARSE_H
#define VS_PARSE_H

#include "flow_key.h"
#include "packet.h"

/* in_port and bridge of the key are set from the packet's in_port and from `bridge`. */
void vs_parse(struct vs_packet *p, uint16_t bridge, struct vs_key *key, uint8_t *dirty);
/* The same on one frame, for Python, tools and fuzzers. Offsets are returned in ofs[0] (l3), ofs[1] (l4), ofs[2] (tags). */
void vs_parse_frame(const uint8_t *frame, uint32_t len, uint32_t in_port, struct vs_key *key, uint16_t *ofs);

#ifndef VS_CDEF
#define VS_BE16(x) ((uint16_t)((((x) & 0xff) << 8) | (((x) >> 8) & 0xff)))
#define VS_MAC_BITS 0xffffffffffffULL

VS_ALWAYS_INLINE uint16_t vs_load16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

VS_ALWAYS_INLINE uint32_t vs_load32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

VS_ALWAYS_INLINE uint64_t vs_load64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* Words 1 to 5 of the key of a plain packet: in registers, so no array. */
struct vs_plain {
    uint64_t w1, w2, w3, w4, w5;
};

/* The shape of most packets: IPv4 without options or fragmentation at `ip`, of which `left` bytes are there, with a whole TCP or UDP
 * header. Words 3 to 5; false: another shape. The bytes are taken eight at a time: version, header length and TOS with the
 * EtherType before them, TTL and protocol as they stand. */
VS_ALWAYS_INLINE bool vs_parse_ipv4_plain(const uint8_t *ip, uint32_t left, struct vs_plain *to)
{
    enum { IP_LEN = 20, UDP_LEN = 8, TCP_LEN = 20, UDP = 17, TCP = 6 };
    if (VS_UNLIKELY(left < IP_LEN + UDP_LEN))
        return false;
    uint64_t first = vs_load64(ip - 2), second = vs_load64(ip + 6);
    if (VS_UNLIKELY((first & 0xffffff) != (0x450000 | VS_BE16(0x0800)) || (second & VS_BE16(0x3fff)) != 0))
        return false;
    uint32_t total = __builtin_bswap16((uint16_t)(first >> 32)), proto = second >> 24 & 0xff;
    to->w5 = 0;
    if (proto == TCP) {
        if (VS_UNLIKELY(VS_MIN(left, total) < IP_LEN + TCP_LEN))
            return false;
        to->w5 = vs_load16(ip + IP_LEN + 12) & VS_BE16(0x0fff);
    } else if (VS_UNLIKELY(proto != UDP || total < IP_LEN + UDP_LEN)) {
        return false;
    }
    to->w3 = vs_load64(ip + 12);
    to->w4 = vs_load32(ip + IP_LEN) | (second & 0xffff0000) << 16 | (first & 0xff000000) << 24;
    return true;
}

/* The same behind an Ethernet header without a tag: words 1 to 5, the upper two bytes of words 1 and 2 (VLAN tags) undefined: they are
 * to be masked. Word 0 has in_port, bridge and the EtherType of IPv4. The layers are at VS_PLAIN_L3 and VS_PLAIN_L4. */
enum { VS_PLAIN_L3 = 14, VS_PLAIN_L4 = 34 };

VS_ALWAYS_INLINE bool vs_parse_plain(const struct vs_packet *p, struct vs_plain *to)
{
    const uint8_t *d = p->data;
    uint32_t len = p->head_len;
    if (VS_UNLIKELY(len < VS_PLAIN_L4 + 8) || !vs_parse_ipv4_plain(d + VS_PLAIN_L3, len - VS_PLAIN_L3, to))
        return false;
    to->w1 = vs_load64(d);
    to->w2 = vs_load64(d + 6);
    return true;
}
#endif

#endif
