/* flow_hash.h: one number for all packets of a connection, in both directions, for choosing among buckets.
 *
 * How it works: the two ends (address and port) are hashed each and added, so that exchanging them changes nothing. TCP, UDP and
 * SCTP over IP: addresses, protocol and ports. Other IP, and every fragment, the first one too: addresses alone, so that all
 * fragments of a datagram go one way. Not IP: Ethernet addresses and type. VLAN tags do not count; what is under MPLS or PBB is not looked at.
 *
 * Thread safety: works on its argument only.
 */
#ifndef VS_FLOW_HASH_H
#define VS_FLOW_HASH_H

#include "packet.h"

/* All 64 bits are good. */
uint64_t vs_flow_hash(const struct vs_packet *p);

#ifndef VS_CDEF
/* Another number from one, as good. */
static inline uint64_t vs_mix64(uint64_t x)
{
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93ULL;
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93ULL;
    return x ^ (x >> 32);
}
#endif

#endif
