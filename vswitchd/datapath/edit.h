/* edit.h: changing a packet's headers, checksums kept right.
 *
 * How it works: each function changes the head of one packet that was parsed (layer offsets set) and is not queued, and
 * keeps IPv4, TCP, UDP, ICMP and ICMPv6 checksums right by incremental update (RFC 1624); a UDP checksum of zero stays zero
 * on IPv4 (RFC 768); with VS_CSUM_PARTIAL only the pseudo-header sum in the field is updated when addresses change, and ports
 * need no update at all. Fragments other than the first have no L4 header to mend. Layer offsets, csum_start, head_len and
 * frame_len follow pushed and popped headers. A function that cannot apply returns -1 and leaves the packet as it was.
 * SCTP's CRC32c covers the tail, which is not read: crc32c.h. Pushed and popped MPLS and PBB headers: edit_mpls.h.
 * Offloads: a partial checksum behind a pushed MPLS or PBB header is still one, csum_start says where. A packet to be segmented can only be
 * segmented by our software from then on (gso_l3_ofs). A pop that would uncover headers to which the offload fields of a received packet do not
 * belong is refused: completing the checksum would change what tables matched.
 * Refused (-1): fields whose header is not there; ports of SCTP in fragments; IN_PORT, ETH_TYPE, IP_PROTO, IP_FRAG, TCP_FLAGS,
 * IPV6_EXTHDR, BRIDGE. METADATA and TUNNEL_ID succeed and change no byte. The DEI bit of a tag is never changed. Bits of value and mask
 * outside the field are ignored.
 * vs_edit_key does to a key what the action does to the packet, for the tables after it.
 *
 * Thread safety: works on its arguments only.
 */
#ifndef VS_EDIT_H
#define VS_EDIT_H

#include "action.h"
#include "packet.h"

int vs_edit_set_field(struct vs_packet *p, enum vs_field field, const uint8_t *value, const uint8_t *mask);
/* tci without VS_TCI_PRESENT (the DEI bit is not set); -1: no headroom. */
int vs_edit_push_vlan(struct vs_packet *p, uint16_t tpid, uint16_t tci);
int vs_edit_pop_vlan(struct vs_packet *p);
int vs_edit_dec_ttl(struct vs_packet *p); /* 1: the TTL was 0 or 1, packet unchanged; 0: done; -1: not IP */
int vs_edit_set_ttl(struct vs_packet *p, uint8_t ttl);
/* Apply any editing action: 0; 1: dec_ttl or dec_mpls_ttl met 0 or 1, packet unchanged; -1: it does not fit the packet. Actions
 * that edit nothing return 0. */
int vs_edit_apply(struct vs_packet *p, const struct vs_action *a);
/* The outer tag's TCI with VS_TCI_PRESENT, or 0 when untagged: what push_vlan copies and NORMAL asks for. */
uint16_t vs_edit_outer_tci(const struct vs_packet *p);

/* Apply an editing action after which vs_edit_needs_parse is false to a key. Other actions change nothing. */
void vs_edit_key(struct vs_key *key, const struct vs_action *a);
/* Add to `mask` the bits of the original packet that the action's effect on the key depends on, beyond the bits that a later
 * table looks at (those are in its own mask): whether the header is there, and what pop_vlan moves. DEC_TTL adds no bit of the
 * TTL, because a match looks at all of ip_ttl or at none. */
void vs_edit_key_sources(struct vs_key *mask, const struct vs_action *a);

/* Must the packet be parsed again after this action, because it uncovers or hides headers that the key does not tell of?
 * Then vs_edit_key says nothing about it. What of the key this looks at is in vs_edit_key_sources. */
bool vs_edit_needs_parse(const struct vs_key *key, const struct vs_action *a);

/* For Python and tests: apply n edit actions to a frame in place (room bytes available). Returns the new length or -1. */
int vs_edit_frame(uint8_t *frame, uint32_t len, uint32_t room, const struct vs_action *actions, int n);

#endif
