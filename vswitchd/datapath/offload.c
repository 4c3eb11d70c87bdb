/* offload.c: checksum completion and segmentation of TCP and UDP in software; see offload.h. */
#include "offload.h"

/* The smallest TCP segment and the most UDP datagrams that are believed. Linux never sends less (TCP_MIN_SND_MSS) or more
 * (UDP_MAX_SEGMENTS); without a bound one frame of a guest could be turned into 65,536 of them. */
#define MIN_TCP_SEGMENT 48
#define MAX_UDP_SEGMENTS 128

#define ETH_HLEN 14
#define TCP_HLEN 20
#define TCP_CSUM_OFS 16
#define UDP_HLEN 8
#define UDP_CSUM_OFS 6
#define TCP_FIN 0x01
#define TCP_PSH 0x08
#define TCP_CWR 0x80
#define MAX_HDR 512 /* tags, IPv6 with extension headers, TCP with options */

/* Where the headers of a segmentable frame are. */
struct layout {
    uint16_t l3, l4, hdr_len;
    bool v6, udp;
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

static bool csum_fits(const struct vs_packet *p, uint32_t len)
{
    return p->csum_start >= ETH_HLEN && (uint32_t)p->csum_start + p->csum_offset + 2 <= len;
}

/* Do the fields of a segmentable packet make sense, of whose frame the first `have` bytes can be read? */
static bool gso_fits(const struct vs_packet *p, uint32_t have)
{
    uint32_t start = p->csum_start, size = p->gso_size,
             payload = p->frame_len - VS_MIN(p->frame_len, start + UDP_HLEN);
    if (p->csum != VS_CSUM_PARTIAL) /* VIRTIO 1.2, 5.1.6.2: segmentation implies NEEDS_CSUM */
        return false;
    switch (p->gso_type & ~VS_GSO_ECN) {
    case VS_GSO_TCPV4:
    case VS_GSO_TCPV6:
        return p->csum_offset == TCP_CSUM_OFS && size >= MIN_TCP_SEGMENT && start + TCP_HLEN <= have;
    case VS_GSO_UDP_L4:
        return p->csum_offset == UDP_CSUM_OFS && size > 0 && payload <= size * MAX_UDP_SEGMENTS &&
               p->gso_type == VS_GSO_UDP_L4 && start + UDP_HLEN <= have;
    default: /* VS_GSO_UDP (fragmentation) is not taken: Linux sends none since 4.14 */
        return false;
    }
}

int vs_offload_check(const struct vs_packet *p)
{
    if (p->csum == VS_CSUM_PARTIAL && !csum_fits(p, p->head_len))
        return -1;
    return p->gso_type == VS_GSO_NONE || gso_fits(p, p->head_len) ? 0 : -1;
}

/* Find the headers in hdr[0..len), the beginning of the frame. 0, or -1 when they are not what the offload fields say. */
static int find_headers(const struct vs_packet *p, const uint8_t *hdr, uint32_t len, struct layout *l)
{
    uint32_t l3 = ETH_HLEN, l4 = p->csum_start;
    uint8_t type = (uint8_t)(p->gso_type & ~VS_GSO_ECN);
    if (!gso_fits(p, len))
        return -1;
    l->udp = type == VS_GSO_UDP_L4;
    uint16_t ethertype = vs_get_be16(hdr + 12);
    while ((ethertype == 0x8100 || ethertype == 0x88a8) && l3 + 4 <= l4) {
        ethertype = vs_get_be16(hdr + l3 + 2);
        l3 += 4;
    }
    l->v6 = type == VS_GSO_TCPV6 || (l->udp && ethertype == 0x86dd);
    if (ethertype != (l->v6 ? 0x86dd : 0x0800) || l3 + (l->v6 ? 40 : 20) > l4 ||
        hdr[l3] >> 4 != (l->v6 ? 6 : 4))
        return -1;
    if (!l->v6 && (l3 + (hdr[l3] & 15) * 4u != l4 || hdr[l3 + 9] != (l->udp ? 17 : 6) ||
                   vs_get_be16(hdr + l3 + 6) & 0x3fff))
        return -1; /* csum_start is not behind the IPv4 header, another protocol, or a fragment */
    uint32_t l4_len = l->udp ? UDP_HLEN : (hdr[l4 + 12] >> 4) * 4u;
    if (l4_len < (l->udp ? UDP_HLEN : TCP_HLEN) || l4 + l4_len > len)
        return -1;
    l->l3 = (uint16_t)l3;
    l->l4 = (uint16_t)l4;
    l->hdr_len = (uint16_t)(l4 + l4_len);
    return 0;
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
    uint32_t csum_ofs = l->udp ? UDP_CSUM_OFS : TCP_CSUM_OFS;
    uint8_t *ip = f + l->l3, *l4 = f + l->l4;
    if (l->v6) {
        vs_put_be16(ip + 4, (uint16_t)(frame_len - l->l3 - 40));
    } else {
        vs_put_be16(ip + 2, (uint16_t)(frame_len - l->l3));
        vs_put_be16(ip + 4, (uint16_t)(vs_get_be16(ip + 4) + index));
        vs_put_be16(ip + 10, 0);
        vs_put_be16(ip + 10, (uint16_t)~vs_csum(ip, (uint32_t)(l->l4 - l->l3)));
    }
    if (l->udp)
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
    uint8_t hdr[MAX_HDR];
    struct layout l;
    struct cursor c = {.p = p};
    uint32_t have = vs_packet_copy_out(p, hdr, sizeof hdr);
    if (find_headers(p, hdr, have, &l) < 0)
        return -1;
    uint32_t total = p->frame_len - l.hdr_len, mss = p->gso_size, at = 0;
    if (l.hdr_len + VS_MIN(mss, total) > scratch_len)
        return -1;
    cursor_copy(&c, NULL, l.hdr_len);
    int n = 0;
    do {
        uint32_t part = VS_MIN(mss, total - at);
        memcpy(scratch, hdr, l.hdr_len);
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
    if (p->frame_len > scratch_len || (p->csum == VS_CSUM_PARTIAL && !csum_fits(p, p->frame_len)))
        return -1;
    vs_packet_copy_out(p, scratch, p->frame_len);
    if (p->csum == VS_CSUM_PARTIAL)
        store_csum(scratch, p->frame_len, p->csum_start, p->csum_offset);
    return emit(ctx, scratch, p->frame_len) ? 0 : 1;
}
