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

/* The ports at l3 + ofs, when they are there: in the head and in the datagram. */
static const uint8_t *ports_at(const uint8_t *ip, uint32_t ofs, uint32_t left, uint8_t proto)
{
    return has_ports(proto) && ofs + 4 <= left ? ip + ofs : NULL;
}

static uint64_t hash_ipv4(const uint8_t *ip, uint32_t left)
{
    bool fragment = (vs_get_be16(ip + 6) & 0x3fff) != 0;
    uint32_t total = vs_get_be16(ip + 2), header = (ip[0] & 15) * 4u;
    bool none = fragment || header < IPV4_HLEN;
    const uint8_t *ports = none ? NULL : ports_at(ip, header, VS_MIN(left, total), ip[9]);
    return ends(ip + 12, 4, ports, ports != NULL ? ip[9] : 0);
}

static uint64_t hash_ipv6(const uint8_t *ip, uint32_t left)
{
    uint32_t at = IPV6_HLEN, end = (uint32_t)IPV6_HLEN + vs_get_be16(ip + 4);
    end = VS_MIN(left, end);
    uint8_t proto = ip[6];
    while (!has_ports(proto) && at + 8 <= end) { /* extension headers; each takes 8 bytes at least */
        const uint8_t *h = ip + at;
        if (proto == PROTO_AH)
            at += (h[1] + 2u) * 4;
        else if (proto == PROTO_HOP || proto == PROTO_ROUTING || proto == PROTO_DEST)
            at += (h[1] + 1u) * 8;
        else
            break; /* a fragment, too */
        proto = h[0];
    }
    const uint8_t *ports = ports_at(ip, at, end, proto);
    return ends(ip + 8, 16, ports, ports != NULL ? proto : 0);
}

/* Looks at the bytes alone: after edits the layer offsets may be those of what was pushed over. */
uint64_t vs_flow_hash(const struct vs_packet *p)
{
    const uint8_t *d = p->data;
    uint32_t l3 = ETH_HLEN, have = p->head_len;
    if (have < ETH_HLEN)
        return 0;
    uint16_t type = vs_get_be16(d + 12);
    while ((type == 0x8100 || type == 0x88a8) && l3 + 4 <= have) {
        type = vs_get_be16(d + l3 + 2);
        l3 += 4;
    }
    if (type < 0x0600) { /* a length; behind SNAP there may be a type */
        static const uint8_t snap[6] = {0xaa, 0xaa, 3, 0, 0, 0};
        bool typed = l3 + 8 <= have && memcmp(d + l3, snap, sizeof snap) == 0;
        type = typed ? vs_get_be16(d + l3 + 6) : 0;
        l3 += 8;
    }
    if (type == 0x0800 && l3 + IPV4_HLEN <= have)
        return hash_ipv4(d + l3, have - l3);
    if (type == 0x86dd && l3 + IPV6_HLEN <= have)
        return hash_ipv6(d + l3, have - l3);
    return ends(d, 6, NULL, (uint64_t)type << 8);
}
