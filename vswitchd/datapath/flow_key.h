/* flow_key.h: the fields of a packet that rules may look at, in a fixed layout.
 *
 * How it works: one struct of 22 eight-byte words in three blocks. Block 0 (48 bytes: so that a cache entry of key,
 * program and version fills one cache line) holds what Ethernet, VLAN, IPv4, TCP and UDP traffic needs. Block 1 (64
 * bytes) holds IPv6, ARP hardware addresses and neighbour discovery; block 2 (64 bytes) what is not read from the packet's
 * bytes: metadata, tunnel, registers (a seat). A mask is a key too. All fields hold network byte order, also in_port and
 * metadata, so a match of OpenFlow is copied byte by byte. Absent fields are zero; unused blocks of a packet are zero too.
 *
 * VLANs: a TCI field with VS_TCI_PRESENT set is a tag, zero is no tag (as OFPVID_PRESENT). eth_type is the type after
 * all tags (OpenFlow 1.3.5, 7.2.3.7: "after VLAN tags").
 * Shared seats: ipv4_src/ipv4_dst hold arp_spa/arp_tpa for ARP; tp_src/tp_dst hold type and code for ICMP and ICMPv6;
 * nd_sll/nd_tll share arp_sha/arp_tha. The prerequisites of OpenFlow keep them apart: a mask that covers a shared seat
 * also covers eth_type (and ip_proto).
 *
 * Thread safety: plain values.
 */
#ifndef VS_FLOW_KEY_H
#define VS_FLOW_KEY_H

#include "base.h"

enum {
    VS_TCI_PRESENT = 0x1000,
    VS_FRAG_ANY = 1,   /* ip_frag: a fragment */
    VS_FRAG_LATER = 2, /* ip_frag: not the first one; it has no L4 fields */
    VS_TAGS_MORE = 4,  /* ip_frag: there is a third VLAN tag; no rule matches on it, pop_vlan asks */
    VS_KEY_WORDS = 22,
    VS_KEY_WORDS0 = 6, /* words of block 0 */
    VS_KEY_WORDS1 = 8,
    VS_KEY_WORDS2 = 8,
};

struct vs_key {
    /* block 0, 48 bytes */
    uint8_t in_port[4]; /* OpenFlow port number */
    uint8_t bridge[2];  /* index of the bridge, so that caches serve all bridges */
    uint8_t eth_type[2];
    uint8_t eth_dst[6];
    uint8_t vlan_tci[2]; /* outer tag */
    uint8_t eth_src[6];
    uint8_t vlan2_tci[2]; /* inner tag: what pop_vlan uncovers */
    uint8_t ipv4_src[4];
    uint8_t ipv4_dst[4];
    uint8_t tp_src[2];
    uint8_t tp_dst[2];
    uint8_t ip_ttl[1]; /* before the protocol, as in an IPv4 header: they move together (parse.h) */
    uint8_t ip_proto[1];
    uint8_t ip_tos[1];
    uint8_t ip_frag[1];
    uint8_t tcp_flags[2];
    uint8_t arp_op[2];
    uint8_t recirc_id[4]; /* seat of recirculation */
    /* block 1, 64 bytes */
    uint8_t ipv6_src[16];
    uint8_t ipv6_dst[16];
    uint8_t nd_target[16];
    uint8_t ipv6_flabel[4];
    uint8_t arp_sha[6]; /* also nd_sll */
    uint8_t arp_tha[6]; /* also nd_tll */
    /* block 2, 64 bytes */
    uint8_t metadata[8];
    uint8_t tunnel_id[8];
    uint8_t ipv6_exthdr[2];
    uint8_t pad[2];
    uint8_t mpls_lse[4]; /* outermost label stack entry (RFC 3032, 2.1), TTL left out */
    uint8_t pbb_isid[4];
    uint8_t regs[36]; /* seat of registers */
    VS_PARTIAL
} VS_WORD_ALIGNED;
VS_ASSERT_SIZE(struct vs_key, 176);

/* X(name, member, shift, bits): how an OpenFlow field lies in the key. The field is the `bits` bits above `shift` of the
 * big-endian number that `member` is. */
#define VS_KEY_FIELDS(X)                                                                                     \
    X(IN_PORT, in_port, 0, 32)                                                                               \
    X(METADATA, metadata, 0, 64)                                                                             \
    X(ETH_DST, eth_dst, 0, 48)                                                                               \
    X(ETH_SRC, eth_src, 0, 48)                                                                               \
    X(ETH_TYPE, eth_type, 0, 16)                                                                             \
    X(VLAN_VID, vlan_tci, 0, 13)                                                                             \
    X(VLAN_PCP, vlan_tci, 13, 3)                                                                             \
    X(IP_DSCP, ip_tos, 2, 6)                                                                                 \
    X(IP_ECN, ip_tos, 0, 2)                                                                                  \
    X(IP_PROTO, ip_proto, 0, 8)                                                                              \
    X(IPV4_SRC, ipv4_src, 0, 32)                                                                             \
    X(IPV4_DST, ipv4_dst, 0, 32)                                                                             \
    X(TP_SRC, tp_src, 0, 16)                                                                                 \
    X(TP_DST, tp_dst, 0, 16)                                                                                 \
    X(ARP_OP, arp_op, 0, 16)                                                                                 \
    X(ARP_SPA, ipv4_src, 0, 32)                                                                              \
    X(ARP_TPA, ipv4_dst, 0, 32)                                                                              \
    X(ARP_SHA, arp_sha, 0, 48)                                                                               \
    X(ARP_THA, arp_tha, 0, 48)                                                                               \
    X(IPV6_SRC, ipv6_src, 0, 128)                                                                            \
    X(IPV6_DST, ipv6_dst, 0, 128)                                                                            \
    X(IPV6_FLABEL, ipv6_flabel, 0, 20)                                                                       \
    X(ICMP_TYPE, tp_src, 0, 8)                                                                               \
    X(ICMP_CODE, tp_dst, 0, 8)                                                                               \
    X(ND_TARGET, nd_target, 0, 128)                                                                          \
    X(ND_SLL, arp_sha, 0, 48)                                                                                \
    X(ND_TLL, arp_tha, 0, 48)                                                                                \
    X(TUNNEL_ID, tunnel_id, 0, 64)                                                                           \
    X(IPV6_EXTHDR, ipv6_exthdr, 0, 9)                                                                        \
    X(MPLS_LABEL, mpls_lse, 12, 20)                                                                          \
    X(MPLS_TC, mpls_lse, 9, 3)                                                                               \
    X(MPLS_BOS, mpls_lse, 8, 1)                                                                              \
    X(PBB_ISID, pbb_isid, 0, 24)                                                                             \
    X(IP_TTL, ip_ttl, 0, 8)                                                                                  \
    X(IP_FRAG, ip_frag, 0, 2)                                                                                \
    X(TCP_FLAGS, tcp_flags, 0, 12)                                                                           \
    X(VLAN_TCI, vlan_tci, 0, 16)                                                                             \
    X(VLAN2_TCI, vlan2_tci, 0, 16)                                                                           \
    X(BRIDGE, bridge, 0, 16)

enum vs_field {
#define VS_FIELD_ROW(name, member, shift, bits) VS_F_##name,
    VS_KEY_FIELDS(VS_FIELD_ROW) VS_N_FIELDS,
#undef VS_FIELD_ROW
};

struct vs_field_info {
    const char *name;
    uint16_t offset; /* bytes into struct vs_key */
    uint16_t size;   /* bytes of the member */
    uint16_t shift;
    uint16_t bits;
};

const struct vs_field_info *vs_field_info(int field); /* NULL when out of range */

#ifndef VS_CDEF
static inline uint64_t *vs_key_words(struct vs_key *key)
{
    return (uint64_t *)(void *)key;
}

static inline const uint64_t *vs_key_cwords(const struct vs_key *key)
{
    return (const uint64_t *)(const void *)key;
}

/* Bit i is set when word i of the mask is not zero. */
uint32_t vs_key_word_map(const struct vs_key *mask);

/* Are blocks 1 and 2 not all zero? */
static inline bool vs_key_is_ext(const struct vs_key *key)
{
    const uint64_t *w = vs_key_cwords(key);
    uint64_t any = 0;
    for (unsigned i = VS_KEY_WORDS0; i < VS_KEY_WORDS; i++)
        any |= w[i];
    return any != 0;
}

/* Mix one word into a running hash; finish with vs_hash_end. */
static inline uint64_t vs_hash_word(uint64_t h, uint64_t w)
{
    h = (h ^ w) * 0x9e3779b97f4a7c15ULL;
    return h ^ (h >> 32);
}

static inline uint32_t vs_hash_end(uint64_t h)
{
    h *= 0xff51afd7ed558ccdULL;
    return (uint32_t)(h >> 32);
}
#endif

#endif
