/* offload.c: checksum completion and segmentation of TCP and UDP in software; see offload.h. */
#include "offload.h"

/* The smallest TCP segment and the most UDP datagrams that are believed. Linux never sends less (TCP_MIN_SND_MSS) or more
 * (UDP_MAX_SEGMENTS); without a bound one frame of a guest could be turned into 65,536 of them. */
#define MIN_TCP_SEGMENT 48
#define MAX_UDP_SEGMENTS 128

#define ETH_HLEN 14
#define IPV4_HLEN 20
#define IPV6_HLEN 40
#define TCP_HLEN 20
#define TCP_CSUM_OFS 16
#define UDP_HLEN 8
#define UDP_CSUM_OFS 6
#define ICMP_CSUM_OFS 2
#define TCP_FIN 0x01
#define TCP_PSH 0x08
#define TCP_CWR 0x80

enum {
    PROTO_HOP = 0,
    PROTO_ICMP = 1,
    PROTO_TCP = 6,
    PROTO_UDP = 17,
    PROTO_ROUTING = 43,
    PROTO_FRAGMENT = 44,
    PROTO_AH = 51,
    PROTO_ICMP6 = 58,
    PROTO_NONE = 59,
    PROTO_DEST = 60,
};

/* Where the headers of a frame are, as far as offloads go. */
struct layout {
    uint32_t l3, l4;  /* l4: behind the IP header and what belongs to it; the same as l3 when it is not IP */
    uint32_t end;     /* of the datagram, as its header says */
    uint32_t hdr_len; /* of a segmentable frame: with the TCP or UDP header */
    uint8_t version;  /* of IP; 0: something else */
    uint8_t proto;
    bool fragment;
};

/* A place in the frame, for copying it piece by piece. */
struct cursor {
    const struct vs_packet *p;
    unsigned seg; /* 0: the head; i: segs[i - 1] */
    uint32_t ofs; /* in the segment */
};

static uint64_t sum_words(const uint8_t *data, uint32_t len)
{
    uint64_t sum = 0; /* 2^32 words of 32 bits fit: no carry is lost */
    uint32_t i = 0;
    for (; i + 4 <= len; i += 4) {
        uint32_t word;
        memcpy(&word, data + i, 4);
        sum += word;
    }
    if (i < len) {
        uint32_t word = 0; /* RFC 1071: an odd end is padded with zero */
        memcpy(&word, data + i, len - i);
        sum += word;
    }
    return sum;
}

static uint16_t fold(uint64_t sum)
{
    sum = (sum & 0xffffffffu) + (sum >> 32);
    sum = (sum & 0xffffffffu) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

/* The sum is the same in either byte order but for a swap at the end (RFC 1071, 2.B). */
uint16_t vs_csum(const uint8_t *data, uint32_t len)
{
    return __builtin_bswap16(fold(sum_words(data, len)));
}

/* Store the checksum of frame[start..len) at start + ofs, where the sum of the pseudo header stands already. */
static void store_csum(uint8_t *frame, uint32_t len, uint32_t start, uint32_t ofs)
{
    uint16_t csum = (uint16_t)~vs_csum(frame + start, len - start);
    vs_put_be16(frame + start + ofs, csum ? csum : 0xffff); /* RFC 768: zero would mean no checksum */
}

/* Go over the extension headers (RFC 8200, 4) in frame[0..have). False: they do not end there. */
static bool find_ipv6_upper(const uint8_t *frame, uint32_t have, struct layout *l)
{
    l->proto = frame[l->l3 + 6];
    l->l4 = l->l3 + IPV6_HLEN;
    while (l->proto == PROTO_HOP || l->proto == PROTO_ROUTING || l->proto == PROTO_FRAGMENT ||
           l->proto == PROTO_AH || l->proto == PROTO_DEST) {
        if (l->l4 + 8 > have)
            return false;
        const uint8_t *h = frame + l->l4;
        if (l->proto == PROTO_FRAGMENT)
            l->fragment = true;
        l->l4 += l->proto == PROTO_FRAGMENT ? 8 : l->proto == PROTO_AH ? (h[1] + 2u) * 4 : (h[1] + 1u) * 8;
        l->proto = h[0];
    }
    return l->l4 <= have;
}

/* Find the headers of IP at l->l3. False: as find_headers. */
static bool find_ip(const uint8_t *frame, uint32_t have, unsigned version, struct layout *l)
{
    const uint8_t *ip = frame + l->l3;
    if (l->l3 + (version == 4 ? IPV4_HLEN : IPV6_HLEN) > have || ip[0] >> 4 != version)
        return false;
    l->version = (uint8_t)version;
    if (version == 6) {
        l->end = l->l3 + IPV6_HLEN + vs_get_be16(ip + 4);
        return find_ipv6_upper(frame, have, l);
    }
    l->l4 = l->l3 + (ip[0] & 15) * 4u;
    l->end = l->l3 + vs_get_be16(ip + 2);
    l->proto = ip[9];
    l->fragment = (vs_get_be16(ip + 6) & 0x3fff) != 0;
    return (ip[0] & 15) >= 5 && l->l4 <= have;
}

/* Find the headers of a frame, of which the first `have` bytes are there. `covered`: offset of IP behind headers that we pushed, or 0. False: they are not there, or contradict themselves. */
static bool find_headers(const uint8_t *frame, uint32_t have, uint32_t covered, struct layout *l)
{
    *l = (struct layout){.l3 = ETH_HLEN, .proto = PROTO_NONE};
    if (have < ETH_HLEN)
        return false;
    if (covered != 0) {
        l->l3 = covered;
        return covered < have && find_ip(frame, have, frame[covered] >> 4 == 4 ? 4 : 6, l);
    }
    uint16_t type = vs_get_be16(frame + 12);
    for (; (type == 0x8100 || type == 0x88a8) && l->l3 + 4 <= have; l->l3 += 4)
        type = vs_get_be16(frame + l->l3 + 2);
    l->l4 = l->l3;
    if (type == 0x0800 || type == 0x86dd)
        return find_ip(frame, have, type == 0x0800 ? 4 : 6, l);
    return type >= 0x0600 && type != 0x0806; /* IEEE 802.3 and ARP: no such sum is in there */
}

/* Is a partial checksum stored where the protocol has its field? Completing it must not change what the flow table looked at:
 * addresses, ports, TCP flags. An inner header of a tunnel may be meant, which lies behind all that. */
static bool csum_fits(const struct vs_packet *p, const struct layout *l)
{
    uint32_t start = p->csum_start, field = start + p->csum_offset;
    if (field + 2 > p->head_len || start < l->l4)
        return false;
    switch (l->proto) {
    case PROTO_TCP:
        return start == l->l4 && p->csum_offset == TCP_CSUM_OFS;
    case PROTO_UDP:
        return start == l->l4 ? p->csum_offset == UDP_CSUM_OFS : start >= l->l4 + UDP_HLEN;
    case PROTO_ICMP:
    case PROTO_ICMP6:
        return start == l->l4 && p->csum_offset == ICMP_CSUM_OFS;
    default:
        return field >= l->l4 + 4; /* behind SCTP's ports */
    }
}

/* Do the fields of a segmentable packet make sense? Then l->hdr_len is set. */
static bool gso_fits(const struct vs_packet *p, struct layout *l)
{
    const uint8_t *l4 = p->data + l->l4;
    uint8_t type = p->gso_type & (uint8_t)~VS_GSO_ECN;
    uint32_t size = p->gso_size;
    bool udp = type == VS_GSO_UDP_L4;
    /* VIRTIO 1.2, 5.1.6.2: segmentation implies NEEDS_CSUM. */
    if (p->csum != VS_CSUM_PARTIAL || p->csum_start != l->l4 || l->fragment ||
        l->proto != (udp ? PROTO_UDP : PROTO_TCP))
        return false;
    switch (type) {
    case VS_GSO_TCPV4:
    case VS_GSO_TCPV6:
        if (l->version != (type == VS_GSO_TCPV4 ? 4 : 6) || l->l4 + TCP_HLEN > p->head_len ||
            l4[12] >> 4 < TCP_HLEN / 4 || size < MIN_TCP_SEGMENT)
            return false;
        l->hdr_len = l->l4 + (l4[12] >> 4) * 4u;
        break;
    case VS_GSO_UDP_L4:
        l->hdr_len = l->l4 + UDP_HLEN;
        if (l->version == 0 || p->gso_type != VS_GSO_UDP_L4 || l->hdr_len > p->head_len || size == 0 ||
            p->frame_len - l->hdr_len > size * MAX_UDP_SEGMENTS)
            return false;
        break;
    default: /* VS_GSO_UDP (fragmentation) is not taken: Linux sends none since 4.14 */
        return false;
    }
    /* Segments get lengths of their own. The flow table must have seen the same headers with the length that came. */
    return l->hdr_len <= p->head_len && l->hdr_len <= l->end;
}

/* Check the offload fields against the headers; *l says where those are. */
static bool fits(const struct vs_packet *p, struct layout *l)
{
    if (!find_headers(p->data, p->head_len, p->gso_l3_ofs, l))
        return false;
    return (p->csum != VS_CSUM_PARTIAL || csum_fits(p, l)) && (p->gso_type == VS_GSO_NONE || gso_fits(p, l));
}

int vs_offload_check(const struct vs_packet *p)
{
    struct layout l;
    if (p->csum != VS_CSUM_PARTIAL && p->gso_type == VS_GSO_NONE)
        return 0;
    return fits(p, &l) ? 0 : -1;
}

uint32_t vs_offload_header_len(const struct vs_packet *p)
{
    struct layout l;
    return p->gso_type != VS_GSO_NONE && fits(p, &l) ? l.hdr_len : 0;
}

uint32_t vs_offload_wire_len(const struct vs_packet *p)
{
    uint32_t hdr_len = vs_offload_header_len(p);
    return hdr_len == 0 ? p->frame_len : VS_MIN(p->frame_len, hdr_len + p->gso_size);
}

uint32_t vs_offload_wire_frames(const struct vs_packet *p, uint64_t *bytes)
{
    uint32_t hdr_len = vs_offload_header_len(p), frames = 1;
    if (hdr_len != 0 && p->gso_size != 0 && p->frame_len > hdr_len + p->gso_size)
        frames = (p->frame_len - hdr_len + p->gso_size - 1) / p->gso_size;
    *bytes = p->frame_len + (uint64_t)(frames - 1) * hdr_len; /* each has the headers */
    return frames;
}

static void cursor_copy(struct cursor *c, uint8_t *to, uint32_t n)
{
    while (n) {
        const uint8_t *data = c->seg ? c->p->segs[c->seg - 1].data : c->p->data;
        uint32_t len = c->seg ? c->p->segs[c->seg - 1].len : c->p->head_len;
        uint32_t part = VS_MIN(n, len - c->ofs);
        if (to) {
            memcpy(to, data + c->ofs, part);
            to += part;
        }
        c->ofs += part;
        n -= part;
        if (c->ofs == len) {
            c->seg++;
            c->ofs = 0;
        }
    }
}

/* The part of the header that TCP adds: sequence number and flags. */
static void finish_tcp(uint8_t *tcp, uint32_t index, uint32_t at, bool last)
{
    vs_put_be32(tcp + 4, vs_get_be32(tcp + 4) + at);
    if (index > 0)
        tcp[13] &= (uint8_t)~TCP_CWR; /* RFC 3168, 6.1.2: once per window reduction */
    if (!last)
        tcp[13] &= (uint8_t)~(TCP_FIN | TCP_PSH);
}

/* Make the headers of one segment fit its payload. `index` counts segments, `at` payload bytes before this one. */
static void finish_segment(uint8_t *f, const struct layout *l, uint32_t index, uint32_t at, uint32_t part,
                           uint32_t total)
{
    uint32_t frame_len = l->hdr_len + part, old_l4 = l->hdr_len - l->l4 + total, new_l4 = frame_len - l->l4;
    bool udp = l->proto == PROTO_UDP;
    uint32_t csum_ofs = udp ? UDP_CSUM_OFS : TCP_CSUM_OFS;
    uint8_t *ip = f + l->l3, *l4 = f + l->l4;
    if (l->version == 6) {
        vs_put_be16(ip + 4, (uint16_t)(frame_len - l->l3 - IPV6_HLEN));
    } else {
        vs_put_be16(ip + 2, (uint16_t)(frame_len - l->l3));
        vs_put_be16(ip + 4, (uint16_t)(vs_get_be16(ip + 4) + index));
        vs_put_be16(ip + 10, 0);
        vs_put_be16(ip + 10, (uint16_t)~vs_csum(ip, l->l4 - l->l3));
    }
    if (udp)
        vs_put_be16(l4 + 4, (uint16_t)new_l4);
    else
        finish_tcp(l4, index, at, at + part == total);
    /* The field holds the sum of the pseudo header with the length of the whole: put the new length in its place. */
    uint32_t pseudo = vs_get_be16(l4 + csum_ofs) + new_l4;
    pseudo += (uint16_t)~fold(old_l4);
    vs_put_be16(l4 + csum_ofs, fold(pseudo));
    store_csum(f, frame_len, l->l4, csum_ofs);
}

static int segment(const struct vs_packet *p, uint8_t *scratch, uint32_t scratch_len, vs_offload_emit emit,
                   void *ctx)
{
    struct layout l;
    struct cursor c = {.p = p};
    if (!fits(p, &l))
        return -1;
    uint32_t total = p->frame_len - l.hdr_len, mss = p->gso_size, at = 0;
    if (l.hdr_len + VS_MIN(mss, total) > scratch_len)
        return -1;
    cursor_copy(&c, NULL, l.hdr_len);
    int n = 0;
    do {
        uint32_t part = VS_MIN(mss, total - at);
        memcpy(scratch, p->data, l.hdr_len);
        cursor_copy(&c, scratch + l.hdr_len, part);
        finish_segment(scratch, &l, (uint32_t)n, at, part, total);
        if (emit(ctx, scratch, l.hdr_len + part))
            break;
        n++;
        at += part;
    } while (at < total);
    return n;
}

int vs_offload_finish(const struct vs_packet *p, uint8_t *scratch, uint32_t scratch_len, vs_offload_emit emit,
                      void *ctx)
{
    if (p->gso_type != VS_GSO_NONE)
        return segment(p, scratch, scratch_len, emit, ctx);
    if (p->frame_len > scratch_len || vs_offload_check(p) < 0)
        return -1;
    vs_packet_copy_out(p, scratch, p->frame_len);
    if (p->csum == VS_CSUM_PARTIAL)
        store_csum(scratch, p->frame_len, p->csum_start, p->csum_offset);
    return emit(ctx, scratch, p->frame_len) ? 0 : 1;
}
