/* flow_hash.c: see flow_hash.h. */
#include "flow_hash.h"

enum {
    ETH_HLEN = 14,
    IPV4_HLEN = 20,
    IPV6_HLEN = 40,
    PROTO_HOP = 0,
    PROTO_TCP = 6,
    PROTO_UDP = 17,
    PROTO_ROUTING = 43,
    PROTO_FRAGMENT = 44,
    PROTO_AH = 51,
    PROTO_DEST = 60,
    PROTO_SCTP = 132,
};

/* One end: an address of at most 8 bytes, or one of 16, and a port (0: none). */
VS_ALWAYS_INLINE uint64_t end_hash(const uint8_t *addr, unsigned len, uint64_t port)
{
    uint64_t word = 0, more = 0;
    if (len == 16)
        memcpy(&more, addr + 8, 8);
    memcpy(&word, addr, VS_MIN(len, 8u)); /* constant for each caller */
    if (len == 16)
        return vs_mix64(vs_mix64(word + port) + more);
    return vs_mix64(word ^ port << 48);
}

/* Source and destination of `len` bytes one behind the other; ports likewise, NULL: none. */
VS_ALWAYS_INLINE uint64_t ends(const uint8_t *addrs, unsigned len, const uint8_t *ports, uint64_t rest)
{
    uint64_t from = ports != NULL ? vs_get_be16(ports) : 0, to = ports != NULL ? vs_get_be16(ports + 2) : 0;
    uint64_t a = end_hash(addrs, len, from), b = end_hash(addrs + len, len, to);
    return vs_mix64(a + b + rest * 0x9e3779b97f4a7c15ULL);
}

static bool has_ports(uint8_t proto)
{
    return proto == PROTO_TCP || proto == PROTO_UDP || proto == PROTO_SCTP;
}

/* The protocol whose header is at `l4`, or 0: nothing with ports, or a fragment. Each step takes 8 bytes at least. */
static uint8_t ipv6_proto(const uint8_t *ip, uint32_t l4)
{
    uint8_t proto = ip[6];
    uint32_t at = IPV6_HLEN;
    while (at + 8 <= l4) {
        const uint8_t *h = ip + at;
        if (proto == PROTO_AH)
            at += (h[1] + 2u) * 4;
        else if (proto == PROTO_HOP || proto == PROTO_ROUTING || proto == PROTO_DEST)
            at += (h[1] + 1u) * 8;
        else
            return 0;
        proto = h[0];
    }
    return at == l4 && has_ports(proto) ? proto : 0;
}

uint64_t vs_flow_hash(const struct vs_packet *p)
{
    const uint8_t *d = p->data;
    uint32_t l3 = p->l3_ofs, l4 = p->l4_ofs, have = p->head_len;
    bool l4_there = l4 != VS_L_NONE && l4 > l3 && l4 + 4 <= have;
    if (have < ETH_HLEN)
        return 0;
    uint16_t type =
        l3 != VS_L_NONE && l3 >= ETH_HLEN && l3 <= have ? vs_get_be16(d + l3 - 2) : vs_get_be16(d + 12);
    if (type == 0x0800 && l3 + IPV4_HLEN <= have) {
        bool fragment = (vs_get_be16(d + l3 + 6) & 0x3fff) != 0;
        uint8_t proto = !fragment && l4_there && has_ports(d[l3 + 9]) ? d[l3 + 9] : 0;
        return ends(d + l3 + 12, 4, proto != 0 ? d + l4 : NULL, proto);
    }
    if (type == 0x86dd && l3 + IPV6_HLEN <= have) {
        uint8_t proto = l4_there ? ipv6_proto(d + l3, l4 - l3) : 0;
        return ends(d + l3 + 8, 16, proto != 0 ? d + l4 : NULL, proto);
    }
    return ends(d, 6, NULL, (uint64_t)type << 8);
}
