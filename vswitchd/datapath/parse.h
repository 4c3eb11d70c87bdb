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

#endif
