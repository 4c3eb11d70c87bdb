/* parse.c: see parse.h. vs_parse is the fast path (at most two tags, plain IPv4, TCP or UDP); all else goes through
 * parse_slow. Block 0 of the key is composed in registers and stored as whole words, because it is read as whole words
 * right afterwards (masking and hashing): narrower stores would not forward to those loads. */
#include "parse.h"

#define BE16 VS_BE16
#define MAC_BITS VS_MAC_BITS

enum {
    ETH_HLEN = 14,
    TAG_LEN = 4,
    SNAP_LEN = 8,
    ETH_MIN_TYPE = 0x0600, /* smaller: an IEEE 802.3 length */
    ETH_TYPE_NONE =
        0x05ff, /* eth_type of 802.3 frames without SNAP (as OpenFlow 1.0, 3.4, and Open vSwitch) */
    IPV4_HLEN = 20,
    IPV6_HLEN = 40,
    TCP_HLEN = 20,
    UDP_HLEN = 8,
    ICMP_HLEN = 8,
    ICMP6_HLEN = 4,
    SCTP_HLEN = 12,
    ARP_LEN = 28,
    ND_LEN = 24, /* ICMPv6 header, reserved word, target (RFC 4861, 4.3 and 4.4) */
    DIRTY_1 = 2, /* bits of the `dirty` map */
    DIRTY_2 = 4,
};

enum {
    PROTO_HOP = 0,
    PROTO_ICMP = 1,
    PROTO_TCP = 6,
    PROTO_UDP = 17,
    PROTO_ROUTING = 43,
    PROTO_FRAGMENT = 44,
    PROTO_ESP = 50,
    PROTO_AH = 51,
    PROTO_ICMP6 = 58,
    PROTO_NONE = 59,
    PROTO_DEST = 60,
    PROTO_SCTP = 132
};

/* enum ofp_ipv6exthdr_flags (OpenFlow 1.3.5, 7.2.3.7) */
enum {
    IEH_NONEXT = 1,
    IEH_ESP = 2,
    IEH_AUTH = 4,
    IEH_DEST = 8,
    IEH_FRAG = 16,
    IEH_ROUTER = 32,
    IEH_HOP = 64,
    IEH_UNREP = 128,
    IEH_UNSEQ = 256
};

/* What the slow path passes from layer to layer. Words are those of block 0. */
struct scan {
    const uint8_t *d;
    uint32_t end; /* no byte at or after this offset may be read: head_len, or the end of the IP datagram */
    uint16_t l3_ofs, l4_ofs;
    uint8_t proto, tos, ttl, frag;
    uint32_t ports;     /* tp_src and tp_dst as they lie in the key */
    uint16_t tcp_flags; /* big-endian */
    uint16_t arp_op;    /* big-endian */
    uint64_t addrs;     /* ipv4_src and ipv4_dst as they lie in the key */
    struct vs_key *key;
    uint8_t *dirty;
};

VS_ALWAYS_INLINE int is_tag(uint16_t type)
{
    return type == BE16(0x8100) || type == BE16(0x88a8);
}

VS_ALWAYS_INLINE uint64_t word4(uint32_t ports, uint8_t proto, uint8_t tos, uint8_t ttl, uint8_t frag)
{
    return ports | (uint64_t)ttl << 32 | (uint64_t)proto << 40 | (uint64_t)tos << 48 | (uint64_t)frag << 56;
}

/* Neighbour discovery: target and the link-layer address options (RFC 4861, 4.6.1); the first of a kind counts. */
static void parse_nd(struct scan *s)
{
    const uint8_t *nd = s->d + s->l4_ofs;
    uint32_t left = s->end - s->l4_ofs;
    static const uint8_t none[6];
    if ((nd[0] != 135 && nd[0] != 136) || nd[1] != 0 || left < ND_LEN)
        return;
    memcpy(s->key->nd_target, nd + 8, 16);
    const uint8_t *opt = nd + ND_LEN;
    left -= ND_LEN;
    while (left >= 8) {
        uint32_t size = opt[1] * 8u;
        if (size == 0 || size > left)
            return;
        if (opt[0] == 1 && size == 8 && memcmp(s->key->arp_sha, none, 6) == 0)
            memcpy(s->key->arp_sha, opt + 2, 6);
        else if (opt[0] == 2 && size == 8 && memcmp(s->key->arp_tha, none, 6) == 0)
            memcpy(s->key->arp_tha, opt + 2, 6);
        opt += size;
        left -= size;
    }
}

/* The upper-layer header at ofs, when all of it is there. */
static void parse_l4(struct scan *s, uint32_t ofs, int v6)
{
    const uint8_t *l4 = s->d + ofs;
    uint32_t left = s->end > ofs ? s->end - ofs : 0;
    switch (s->proto) {
    case PROTO_TCP:
        if (left < TCP_HLEN)
            return;
        s->tcp_flags = vs_load16(l4 + 12) & BE16(0x0fff);
        s->ports = vs_load32(l4);
        break;
    case PROTO_UDP:
        if (left < UDP_HLEN)
            return;
        s->ports = vs_load32(l4);
        break;
    case PROTO_SCTP:
        if (left < SCTP_HLEN)
            return;
        s->ports = vs_load32(l4);
        break;
    case PROTO_ICMP:
    case PROTO_ICMP6:
        if (v6 != (s->proto == PROTO_ICMP6) || left < (uint32_t)(v6 ? ICMP6_HLEN : ICMP_HLEN))
            return;
        s->ports = (uint32_t)l4[0] << 8 | (uint32_t)l4[1] << 24;
        break;
    default:
        return;
    }
    s->l4_ofs = (uint16_t)ofs;
    if (s->proto == PROTO_ICMP6)
        parse_nd(s);
}

static void parse_ipv4(struct scan *s, uint32_t ofs)
{
    const uint8_t *ip = s->d + ofs;
    uint32_t hlen = (ip[0] & 15) * 4u;
    uint32_t total = vs_get_be16(ip + 2);
    if (ip[0] >> 4 != 4 || hlen < IPV4_HLEN || ofs + hlen > s->end || total < hlen)
        return;
    s->l3_ofs = (uint16_t)ofs;
    s->end = VS_MIN(s->end, ofs + total); /* what follows is padding */
    s->addrs = vs_load64(ip + 12);
    s->proto = ip[9];
    s->tos = ip[1];
    s->ttl = ip[8];
    uint16_t frag = vs_get_be16(ip + 6);
    if (frag & 0x3fff)
        s->frag |= (frag & 0x1fff) ? VS_FRAG_ANY | VS_FRAG_LATER : VS_FRAG_ANY;
    if (!(s->frag & VS_FRAG_LATER))
        parse_l4(s, ofs + hlen, 0);
}

/* What the extension headers so far were. */
struct exthdrs {
    uint16_t bits; /* OFPIEH_* */
    uint16_t seen; /* the same, but a hop-by-hop header wherever it stands */
    unsigned rank; /* place of the last one in the order of RFC 8200, 4.1 */
    unsigned n_dest;
};

/* Add one extension header. OFPIEH_HOP is for one that is the first of all (7.2.3.7). */
static void exthdr_add(struct exthdrs *e, uint16_t bit)
{
    static const struct {
        uint16_t bit;
        uint8_t rank;
    } order[] = {{IEH_HOP, 0}, {IEH_ROUTER, 2}, {IEH_FRAG, 3}, {IEH_AUTH, 4}, {IEH_ESP, 5}, {IEH_NONEXT, 7}};
    unsigned mine = 0;
    for (unsigned i = 0; i < sizeof order / sizeof order[0]; i++)
        if (order[i].bit == bit)
            mine = order[i].rank;
    if (bit == IEH_DEST) {
        mine = e->rank == 0 ? 1 : 6; /* before the routing header, or the last of all */
        if (++e->n_dest > 2)
            e->bits |= IEH_UNREP;
    } else if (e->seen & bit) {
        e->bits |= IEH_UNREP;
    }
    if (mine < e->rank)
        e->bits |= IEH_UNSEQ;
    if (bit != IEH_HOP || e->seen == 0)
        e->bits |= bit;
    e->rank = mine;
    e->seen |= bit;
}

static uint16_t exthdr_bit(uint8_t proto)
{
    switch (proto) {
    case PROTO_HOP:
        return IEH_HOP;
    case PROTO_ROUTING:
        return IEH_ROUTER;
    case PROTO_FRAGMENT:
        return IEH_FRAG;
    case PROTO_ESP:
        return IEH_ESP;
    case PROTO_AH:
        return IEH_AUTH;
    case PROTO_NONE:
        return IEH_NONEXT;
    case PROTO_DEST:
        return IEH_DEST;
    default:
        return 0;
    }
}

/* Walk the extension headers from ofs; s->proto is the type of the header there. Each step takes at least 8 bytes of the
 * head, so the walk ends. Returns the offset of the upper layer; 0 when there is none to look at. */
static uint32_t parse_exthdrs(struct scan *s, uint32_t ofs)
{
    struct exthdrs e = {0};
    uint16_t bit;
    while ((bit = exthdr_bit(s->proto)) != 0) {
        const uint8_t *h = s->d + ofs;
        uint32_t size = 0;
        if (bit != IEH_NONEXT && bit != IEH_ESP) {
            if (ofs + 8 > s->end)
                break;
            size = bit == IEH_FRAG ? 8 : bit == IEH_AUTH ? (h[1] + 2u) * 4 : (h[1] + 1u) * 8;
            if (size < 8 || ofs + size > s->end)
                break;
        }
        exthdr_add(&e, bit);
        if (size == 0)
            break;
        s->proto = h[0];
        ofs += size;
        if (bit == IEH_FRAG) {
            uint16_t frag = vs_get_be16(h + 2);
            if (frag & 0xfff8)
                s->frag |= VS_FRAG_ANY | VS_FRAG_LATER;
            else if (frag & 1)
                s->frag |= VS_FRAG_ANY; /* neither: an atomic fragment (RFC 6946), as good as whole */
            if (s->frag & VS_FRAG_LATER)
                break;
        }
    }
    if (e.seen != 0) {
        vs_put_be16(s->key->ipv6_exthdr, e.bits);
        *s->dirty |= DIRTY_2;
    }
    return bit != 0 ? 0 : ofs;
}

static void parse_ipv6(struct scan *s, uint32_t ofs)
{
    const uint8_t *ip = s->d + ofs;
    if (ip[0] >> 4 != 6)
        return;
    uint32_t payload = vs_get_be16(ip + 4);
    s->l3_ofs = (uint16_t)ofs;
    if (payload != 0 || ip[6] != PROTO_HOP) /* else a jumbogram (RFC 2675) */
        s->end = VS_MIN(s->end, ofs + IPV6_HLEN + payload);
    memcpy(s->key->ipv6_src, ip + 8, 16);
    memcpy(s->key->ipv6_dst, ip + 24, 16);
    vs_put_be32(s->key->ipv6_flabel, vs_get_be32(ip) & 0xfffff);
    *s->dirty |= DIRTY_1;
    s->tos = (uint8_t)(vs_get_be16(ip) >> 4);
    s->ttl = ip[7];
    s->proto = ip[6];
    uint32_t l4 = parse_exthdrs(s, ofs + IPV6_HLEN);
    if (l4 != 0)
        parse_l4(s, l4, 1);
}

/* ARP for Ethernet and IPv4 (RFC 826); of other kinds nothing is known. */
static void parse_arp(struct scan *s, uint32_t ofs)
{
    static const uint8_t kind[6] = {0, 1, 8, 0, 6, 4};
    const uint8_t *arp = s->d + ofs;
    if (memcmp(arp, kind, sizeof kind) != 0)
        return;
    s->l3_ofs = (uint16_t)ofs;
    s->arp_op = vs_load16(arp + 6);
    memcpy(s->key->arp_sha, arp + 8, 6);
    memcpy(s->key->arp_tha, arp + 18, 6);
    *s->dirty |= DIRTY_1;
    s->addrs = vs_load32(arp + 14) | (uint64_t)vs_load32(arp + 24) << 32;
}

/* MPLS (RFC 3032, 2.1) and the I-TAG of a PBB frame (IEEE 802.1Q, 9.7): the outermost word; nothing says what follows it. */
static void parse_word(struct scan *s, uint32_t ofs, int mpls)
{
    const uint8_t *word = s->d + ofs;
    s->l3_ofs = (uint16_t)ofs;
    if (mpls)
        memcpy(s->key->mpls_lse, word, 3);
    else
        memcpy(s->key->pbb_isid + 1, word + 1, 3);
    *s->dirty |= DIRTY_2;
}

/* All that the fast path left. `type` is big-endian, ofs that of the byte after it. Returns the key's eth_type. */
static __attribute__((noinline)) uint16_t parse_slow(struct scan *s, uint16_t type, uint32_t ofs)
{
    uint32_t left = s->end - ofs;
    if (vs_get_be16(&type) < ETH_MIN_TYPE) {
        static const uint8_t snap[6] = {0xaa, 0xaa, 3,
                                        0,    0,    0}; /* IEEE 802.2 LLC, SNAP with the OUI of EtherTypes */
        const uint8_t *llc = s->d + ofs;
        if (left < SNAP_LEN || memcmp(llc, snap, sizeof snap) != 0 || vs_get_be16(llc + 6) < ETH_MIN_TYPE) {
            s->l3_ofs = (uint16_t)ofs;
            return BE16(ETH_TYPE_NONE);
        }
        type = vs_load16(llc + 6);
        ofs += SNAP_LEN;
        left -= SNAP_LEN;
    }
    if (type == BE16(0x0800)) {
        if (left >= IPV4_HLEN)
            parse_ipv4(s, ofs);
    } else if (type == BE16(0x86dd)) {
        if (left >= IPV6_HLEN)
            parse_ipv6(s, ofs);
    } else if (type == BE16(0x0806) || type == BE16(0x8035)) { /* RARP (RFC 903) has the same form */
        if (left >= ARP_LEN)
            parse_arp(s, ofs);
    } else if (type == BE16(0x8847) || type == BE16(0x8848) || type == BE16(0x88e7)) {
        if (left >= 4)
            parse_word(s, ofs, type != BE16(0x88e7));
    } else {
        s->l3_ofs = (uint16_t)ofs;
    }
    return type;
}

static __attribute__((noinline)) void clear_blocks(struct vs_key *key, uint8_t *dirty)
{
    uint64_t *w = vs_key_words(key);
    if (*dirty & DIRTY_1)
        memset(w + VS_KEY_WORDS0, 0, VS_KEY_WORDS1 * 8);
    if (*dirty & DIRTY_2)
        memset(w + VS_KEY_WORDS0 + VS_KEY_WORDS1, 0, VS_KEY_WORDS2 * 8);
    *dirty = 0;
}

/* Ethernet with its addresses and tags is in words 0 to 2; the rest by the slow path. */
static __attribute__((noinline)) void parse_rest(struct vs_packet *p, uint16_t type, uint32_t ofs,
                                                 uint8_t tags_more, struct vs_key *key, uint8_t *dirty)
{
    uint64_t *w = vs_key_words(key);
    struct scan s = {.d = p->data,
                     .end = p->head_len,
                     .l3_ofs = VS_L_NONE,
                     .l4_ofs = VS_L_NONE,
                     .frag = tags_more,
                     .key = key,
                     .dirty = dirty};
    w[0] |= (uint64_t)parse_slow(&s, type, ofs) << 48;
    w[3] = s.addrs;
    w[4] = word4(s.ports, s.proto, s.tos, s.ttl, s.frag);
    w[5] = s.tcp_flags | (uint64_t)s.arp_op << 16;
    p->l3_ofs = s.l3_ofs;
    p->l4_ofs = s.l4_ofs;
}

/* A frame with three tags at least, all of them whole; the first word is set. */
static __attribute__((noinline)) void parse_many(struct vs_packet *p, struct vs_key *key, uint8_t *dirty)
{
    const uint8_t *d = p->data;
    uint64_t *w = vs_key_words(key);
    uint32_t ofs = ETH_HLEN + 3 * TAG_LEN;
    while (is_tag(vs_load16(d + ofs - 2)) && p->head_len >= ofs + TAG_LEN)
        ofs += TAG_LEN;
    p->n_tags = (uint8_t)((ofs - ETH_HLEN) / TAG_LEN);
    w[1] = (vs_load64(d) & MAC_BITS) | (uint64_t)(vs_load16(d + 14) | BE16(VS_TCI_PRESENT)) << 48;
    w[2] = (vs_load64(d + 6) & MAC_BITS) | (uint64_t)(vs_load16(d + 18) | BE16(VS_TCI_PRESENT)) << 48;
    parse_rest(p, vs_load16(d + ofs - 2), ofs, VS_TAGS_MORE, key, dirty);
}

void vs_parse(struct vs_packet *p, uint16_t bridge, struct vs_key *key, uint8_t *dirty)
{
    const uint8_t *d = p->data;
    uint32_t len = p->head_len, ofs = ETH_HLEN;
    uint64_t *w = vs_key_words(key);
    uint64_t tci = 0, tci2 = 0;
    uint8_t n_tags = 0;
    if (VS_UNLIKELY(*dirty != 0))
        clear_blocks(key, dirty);
    w[0] = __builtin_bswap32(p->in_port) | (uint64_t)__builtin_bswap16(bridge) << 32;
    if (VS_UNLIKELY(len < ETH_HLEN)) {
        w[1] = w[2] = w[3] = w[4] = w[5] = 0;
        p->l3_ofs = p->l4_ofs = VS_L_NONE;
        p->n_tags = 0;
        return;
    }
    uint16_t type = vs_load16(d + 12);
    if (is_tag(type) && len >= ofs + TAG_LEN) {
        tci = vs_load16(d + ofs) | BE16(VS_TCI_PRESENT);
        type = vs_load16(d + ofs + 2);
        ofs += TAG_LEN;
        n_tags = 1;
        if (is_tag(type) && len >= ofs + TAG_LEN) {
            tci2 = vs_load16(d + ofs) | BE16(VS_TCI_PRESENT);
            type = vs_load16(d + ofs + 2);
            ofs += TAG_LEN;
            n_tags = 2;
            if (VS_UNLIKELY(is_tag(type) && len >= ofs + TAG_LEN)) {
                parse_many(p, key, dirty);
                return;
            }
        }
    }
    p->n_tags = n_tags;
    w[1] = (vs_load64(d) & MAC_BITS) | tci << 48;
    w[2] = (vs_load64(d + 6) & MAC_BITS) | tci2 << 48;

    struct vs_plain plain;
    if (VS_LIKELY(vs_parse_ipv4_plain(d + ofs, len - ofs, &plain))) {
        w[3] = plain.w3;
        w[4] = plain.w4;
        w[5] = plain.w5;
        w[0] |= (uint64_t)BE16(0x0800) << 48;
        p->l3_ofs = (uint16_t)ofs;
        p->l4_ofs = (uint16_t)(ofs + IPV4_HLEN);
        return;
    }
    parse_rest(p, type, ofs, 0, key, dirty);
}

void vs_parse_frame(const uint8_t *frame, uint32_t len, uint32_t in_port, struct vs_key *key, uint16_t *ofs)
{
    struct vs_packet p;
    uint8_t dirty = DIRTY_1 | DIRTY_2;
    p.data = (uint8_t *)(uintptr_t)frame; /* the parser only reads */
    p.head_len = (uint16_t)VS_MIN(len, (uint32_t)VS_HEAD_COPY);
    p.in_port = in_port;
    vs_parse(&p, 0, key, &dirty);
    ofs[0] = p.l3_ofs;
    ofs[1] = p.l4_ofs;
    ofs[2] = p.n_tags;
}
