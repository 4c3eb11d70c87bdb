/* edit_fields.c: set_field of what is above Ethernet and VLAN tags; see edit.h. Every change of bytes goes through vs_bits_patch, which
 * tells how it changes an Internet checksum; the two kinds of checksum field (complete, and partial with VS_CSUM_PARTIAL) then take that
 * difference. */
#include "edit_fields.h"

#include "crc32c.h"
#include "edit_layers.h"

enum {
    ND_SOLICIT = 135,
    ND_ADVERT = 136,
    SCTP_CRC = 8, /* offset */
};

/* Mend the L4 checksum. pseudo: the change was in the pseudo-header. A partial sum covers nothing but that; of a tunnel's
 * packet csum_start names the inner header, and the outer checksum is complete. */
static void csum_l4(const struct vs_packet *p, const struct vs_layers *v, uint32_t diff, int pseudo)
{
    uint8_t *field;
    if (v->l4 == NULL)
        return;
    if (v->proto == VS_PROTO_TCP)
        field = v->l4 + 16;
    else if (v->proto == VS_PROTO_UDP)
        field = v->l4 + 6;
    else if (v->proto == VS_PROTO_ICMP6 || (v->proto == VS_PROTO_ICMP && !pseudo))
        field = v->l4 + 2;
    else
        return;
    if (p->csum == VS_CSUM_PARTIAL && p->csum_start == p->l4_ofs) {
        if (pseudo)
            vs_put_be16(field, vs_csum_add(vs_get_be16(field), diff));
        return;
    }
    if (v->proto == VS_PROTO_UDP && vs_get_be16(field) == 0)
        return; /* none was computed (RFC 768; RFC 6935 for IPv6) */
    vs_csum_mend(field, diff);
    /* Zero would mean "none" for UDP. ICMP has no pseudo-header, so all that is summed may be zero, and then only 0xffff is
     * right; otherwise the two are the same number to who verifies. */
    if ((v->proto == VS_PROTO_UDP || v->proto == VS_PROTO_ICMP) && vs_get_be16(field) == 0)
        vs_put_be16(field, 0xffff);
}

/* A label stack entry's fields, or the I-SID: all of a big-endian word. */
static int set_word(const struct vs_layers *v, int fits, const struct vs_bits *b)
{
    if (!fits)
        return -1;
    vs_bits_patch(v->l3, b->value, b->mask, 4, 0);
    return 0;
}

/* TOS or traffic class. */
static int set_tos(const struct vs_layers *v, const struct vs_bits *b)
{
    if (v->type == VS_TYPE_IPV4) {
        vs_csum_mend(v->l3 + 10, vs_bits_patch(v->l3 + 1, b->value, b->mask, 1, 1));
    } else if (v->type == VS_TYPE_IPV6) { /* 4 bits of version, 8 of traffic class (RFC 8200, 3) */
        uint8_t value[2], mask[2];
        vs_put_be16(value, (uint16_t)(b->value[0] << 4));
        vs_put_be16(mask, (uint16_t)(b->mask[0] << 4));
        vs_bits_patch(v->l3, value, mask, 2, 0);
    } else {
        return -1;
    }
    return 0;
}

static int set_ipv4_addr(const struct vs_packet *p, const struct vs_layers *v, unsigned ofs,
                         const struct vs_bits *b)
{
    if (v->type != VS_TYPE_IPV4)
        return -1;
    uint32_t diff = vs_bits_patch(v->l3 + ofs, b->value, b->mask, 4, 0);
    vs_csum_mend(v->l3 + 10, diff);
    csum_l4(p, v, diff, 1);
    return 0;
}

static int set_ipv6_addr(const struct vs_packet *p, const struct vs_layers *v, unsigned ofs,
                         const struct vs_bits *b)
{
    if (v->type != VS_TYPE_IPV6)
        return -1;
    uint32_t diff = vs_bits_patch(v->l3 + ofs, b->value, b->mask, 16, 0);
    if (ofs == 8 || !v->routed)
        csum_l4(p, v, diff, 1);
    return 0;
}

/* Ports of SCTP. Its CRC32c covers the whole packet (RFC 9260, 6.8): of a fragment its length is not known, and what a partial checksum will
 * be is not known either. Zero says that there is none (RFC 9653). */
static int set_sctp_port(const struct vs_packet *p, const struct vs_layers *v, unsigned ofs,
                         const struct vs_bits *b)
{
    if (v->fragment || v->ip_end == 0 || p->csum == VS_CSUM_PARTIAL)
        return -1;
    uint32_t behind = v->ip_end - (uint32_t)(v->l4 - v->l3) - ofs - 2;
    uint8_t change[2], *at = v->l4 + ofs, *field = v->l4 + SCTP_CRC;
    memcpy(change, at, 2);
    vs_bits_patch(at, b->value, b->mask, 2, 0);
    change[0] ^= at[0];
    change[1] ^= at[1];
    uint32_t crc = __builtin_bswap32(vs_get_be32(field)); /* appendix A: the lowest byte first */
    if (crc != 0)
        vs_put_be32(field, __builtin_bswap32(crc ^ vs_crc32c_change(change, 2, behind)));
    return 0;
}

static int set_port(const struct vs_packet *p, const struct vs_layers *v, unsigned ofs,
                    const struct vs_bits *b)
{
    if (!vs_layers_is_ip(v) || v->l4 == NULL)
        return -1;
    if (v->proto == VS_PROTO_SCTP)
        return set_sctp_port(p, v, ofs, b);
    if (v->proto != VS_PROTO_TCP && v->proto != VS_PROTO_UDP)
        return -1;
    csum_l4(p, v, vs_bits_patch(v->l4 + ofs, b->value, b->mask, 2, 0), 0);
    return 0;
}

/* ICMP and ICMPv6 type (ofs 0) and code (1). */
static int set_icmp(const struct vs_packet *p, const struct vs_layers *v, unsigned ofs,
                    const struct vs_bits *b)
{
    if (!vs_layers_is_ip(v) || v->l4 == NULL ||
        v->proto != (v->type == VS_TYPE_IPV4 ? VS_PROTO_ICMP : VS_PROTO_ICMP6))
        return -1;
    csum_l4(p, v, vs_bits_patch(v->l4 + ofs, b->value + 1, b->mask + 1, 1, ofs), 0);
    return 0;
}

static int set_arp(const struct vs_layers *v, unsigned ofs, unsigned n, const struct vs_bits *b)
{
    if (v->type != VS_TYPE_ARP && v->type != VS_TYPE_RARP)
        return -1;
    vs_bits_patch(v->l3 + ofs, b->value, b->mask, n, 0);
    return 0;
}

/* Neighbour discovery: option 0 is the target, else the link-layer address option of that type (RFC 4861, 4.6.1). */
static int set_nd(const struct vs_packet *p, const struct vs_layers *v, unsigned option,
                  const struct vs_bits *b)
{
    if (v->type != VS_TYPE_IPV6 || v->l4 == NULL || v->proto != VS_PROTO_ICMP6 || v->end - v->l4 < 24 ||
        v->l4[1] != 0 || (v->l4[0] != ND_SOLICIT && v->l4[0] != ND_ADVERT))
        return -1;
    if (option == 0) {
        csum_l4(p, v, vs_bits_patch(v->l4 + 8, b->value, b->mask, 16, 0), 0);
        return 0;
    }
    for (uint8_t *o = v->l4 + 24; v->end - o >= 8 && o[1] != 0 && v->end - o >= o[1] * 8; o += o[1] * 8)
        if (o[0] == option && o[1] == 1) {
            csum_l4(p, v, vs_bits_patch(o + 2, b->value, b->mask, 6, 0), 0);
            return 0;
        }
    return -1;
}

int vs_edit_set_upper(const struct vs_packet *p, enum vs_field field, const struct vs_bits *b)
{
    struct vs_layers v;
    vs_layers_look(p, &v);
    switch (field) {
    case VS_F_IP_DSCP:
    case VS_F_IP_ECN:
        return set_tos(&v, b);
    case VS_F_IPV4_SRC:
        return set_ipv4_addr(p, &v, 12, b);
    case VS_F_IPV4_DST:
        return set_ipv4_addr(p, &v, 16, b);
    case VS_F_IPV6_SRC:
        return set_ipv6_addr(p, &v, 8, b);
    case VS_F_IPV6_DST:
        return set_ipv6_addr(p, &v, 24, b);
    case VS_F_TP_SRC:
        return set_port(p, &v, 0, b);
    case VS_F_TP_DST:
        return set_port(p, &v, 2, b);
    case VS_F_ICMP_TYPE:
        return set_icmp(p, &v, 0, b);
    case VS_F_ICMP_CODE:
        return set_icmp(p, &v, 1, b);
    case VS_F_ARP_OP:
        return set_arp(&v, 6, 2, b);
    case VS_F_ARP_SHA:
        return set_arp(&v, 8, 6, b);
    case VS_F_ARP_SPA:
        return set_arp(&v, 14, 4, b);
    case VS_F_ARP_THA:
        return set_arp(&v, 18, 6, b);
    case VS_F_ARP_TPA:
        return set_arp(&v, 24, 4, b);
    case VS_F_IPV6_FLABEL:
        if (v.type != VS_TYPE_IPV6)
            return -1;
        vs_bits_patch(v.l3, b->value, b->mask, 4, 0);
        return 0;
    case VS_F_ND_TARGET:
        return set_nd(p, &v, 0, b);
    case VS_F_ND_SLL:
        return set_nd(p, &v, 1, b);
    case VS_F_ND_TLL:
        return set_nd(p, &v, 2, b);
    case VS_F_MPLS_LABEL:
    case VS_F_MPLS_TC:
    case VS_F_MPLS_BOS:
        return set_word(&v, vs_layers_is_mpls(&v), b);
    case VS_F_PBB_ISID:
        return set_word(&v, v.type == VS_TYPE_PBB, b);
    default:
        return -1;
    }
}
