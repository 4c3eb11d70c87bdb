/* edit.c: see edit.h. Every change of bytes goes through vs_bits_patch, which tells how it changes an Internet checksum; the two
 * kinds of checksum field (complete, and partial with VS_CSUM_PARTIAL) then take that difference. */
#include "edit.h"

#include "edit_bits.h"
#include "parse.h"

enum {
    ETH_HLEN = 14,
    TAG_LEN = 4,
    TYPE_IPV4 = 0x0800,
    TYPE_ARP = 0x0806,
    TYPE_IPV6 = 0x86dd,
    PROTO_HOP = 0,
    PROTO_ICMP = 1,
    PROTO_TCP = 6,
    PROTO_UDP = 17,
    PROTO_ROUTING = 43,
    PROTO_FRAGMENT = 44,
    PROTO_AH = 51,
    PROTO_ICMP6 = 58,
    PROTO_DEST = 60,
    ND_SOLICIT = 135,
    ND_ADVERT = 136,
};

/* The headers of a parsed packet. */
struct view {
    uint8_t *l3, *l4; /* NULL: not there */
    uint8_t *end;     /* of what may be touched: the head, or the IP datagram where it ends earlier */
    uint16_t type;
    uint8_t proto;
    uint8_t routed; /* IPv6 with segments left: the pseudo-header holds another destination (RFC 8200, 8.1) */
};

static uint16_t add16(uint32_t a, uint32_t b)
{
    uint32_t sum = a + b;
    return (uint16_t)((sum & 0xffff) + (sum >> 16));
}

/* HC' = ~(~HC + ~m + m'), RFC 1624 eqn. 3 */
static void csum_complete(uint8_t *field, uint32_t diff)
{
    vs_put_be16(field, (uint16_t)~add16((uint16_t)~vs_get_be16(field), diff));
}

/* Mend the L4 checksum. pseudo: the change was in the pseudo-header. A partial sum covers nothing but that; of a tunnel's
 * packet csum_start names the inner header, and the outer checksum is complete. */
static void csum_l4(const struct vs_packet *p, const struct view *v, uint32_t diff, int pseudo)
{
    uint8_t *field;
    if (v->l4 == NULL)
        return;
    if (v->proto == PROTO_TCP)
        field = v->l4 + 16;
    else if (v->proto == PROTO_UDP)
        field = v->l4 + 6;
    else if (v->proto == PROTO_ICMP6 || (v->proto == PROTO_ICMP && !pseudo))
        field = v->l4 + 2;
    else
        return;
    if (p->csum == VS_CSUM_PARTIAL && p->csum_start == p->l4_ofs) {
        if (pseudo)
            vs_put_be16(field, add16(vs_get_be16(field), diff));
        return;
    }
    if (v->proto == PROTO_UDP && vs_get_be16(field) == 0)
        return; /* none was computed (RFC 768; RFC 6935 for IPv6) */
    csum_complete(field, diff);
    /* Zero would mean "none" for UDP. ICMP has no pseudo-header, so all that is summed may be zero, and then only 0xffff is
     * right; otherwise the two are the same number to who verifies. */
    if ((v->proto == PROTO_UDP || v->proto == PROTO_ICMP) && vs_get_be16(field) == 0)
        vs_put_be16(field, 0xffff);
}

/* Upper-layer protocol of an IPv6 packet whose parser found l4, or `routed` for its routing header. */
static void look_ipv6(struct view *v)
{
    uint8_t *h = v->l3 + 40, *stop = v->l4 != NULL ? v->l4 : v->end;
    uint8_t proto = v->l3[6];
    while (h + 8 <= stop) {
        unsigned size;
        if (proto == PROTO_HOP || proto == PROTO_ROUTING || proto == PROTO_DEST)
            size = (h[1] + 1u) * 8;
        else if (proto == PROTO_FRAGMENT)
            size = 8;
        else if (proto == PROTO_AH)
            size = (h[1] + 2u) * 4;
        else
            break;
        if (proto == PROTO_ROUTING && h[3] != 0)
            v->routed = 1;
        proto = h[0];
        h += size;
    }
    v->proto = proto;
}

/* See the headers again, as vs_parse found them. The EtherType stands right in front of l3 always. */
static void look(struct vs_packet *p, struct view *v)
{
    *v = (struct view){.end = p->data + p->head_len};
    if (p->l3_ofs == VS_L_NONE)
        return;
    v->l3 = p->data + p->l3_ofs;
    v->type = vs_get_be16(v->l3 - 2);
    v->l4 = p->l4_ofs == VS_L_NONE ? NULL : p->data + p->l4_ofs;
    uint32_t left = (uint32_t)(v->end - v->l3);
    if (v->type == TYPE_IPV4) {
        v->proto = v->l3[9];
        v->end = v->l3 + VS_MIN(left, (uint32_t)vs_get_be16(v->l3 + 2));
    } else if (v->type == TYPE_IPV6) {
        uint32_t payload = vs_get_be16(v->l3 + 4);
        if (payload != 0 || v->l3[6] != PROTO_HOP)
            v->end = v->l3 + VS_MIN(left, 40 + payload);
        look_ipv6(v);
    }
}

static int is_ip(const struct view *v)
{
    return v->type == TYPE_IPV4 || v->type == TYPE_IPV6;
}

/* TOS or traffic class. */
static int set_tos(const struct view *v, const struct vs_bits *b)
{
    if (v->type == TYPE_IPV4) {
        csum_complete(v->l3 + 10, vs_bits_patch(v->l3 + 1, b->value, b->mask, 1, 1));
    } else if (v->type == TYPE_IPV6) { /* 4 bits of version, 8 of traffic class (RFC 8200, 3) */
        uint8_t value[2], mask[2];
        vs_put_be16(value, (uint16_t)(b->value[0] << 4));
        vs_put_be16(mask, (uint16_t)(b->mask[0] << 4));
        vs_bits_patch(v->l3, value, mask, 2, 0);
    } else {
        return -1;
    }
    return 0;
}

static int set_ttl(const struct view *v, const struct vs_bits *b)
{
    if (v->type == TYPE_IPV4)
        csum_complete(v->l3 + 10, vs_bits_patch(v->l3 + 8, b->value, b->mask, 1, 0));
    else if (v->type == TYPE_IPV6)
        vs_bits_patch(v->l3 + 7, b->value, b->mask, 1, 1);
    else
        return -1;
    return 0;
}

static int set_ipv4_addr(const struct vs_packet *p, const struct view *v, unsigned ofs,
                         const struct vs_bits *b)
{
    if (v->type != TYPE_IPV4)
        return -1;
    uint32_t diff = vs_bits_patch(v->l3 + ofs, b->value, b->mask, 4, 0);
    csum_complete(v->l3 + 10, diff);
    csum_l4(p, v, diff, 1);
    return 0;
}

static int set_ipv6_addr(const struct vs_packet *p, const struct view *v, unsigned ofs,
                         const struct vs_bits *b)
{
    if (v->type != TYPE_IPV6)
        return -1;
    uint32_t diff = vs_bits_patch(v->l3 + ofs, b->value, b->mask, 16, 0);
    if (ofs == 8 || !v->routed)
        csum_l4(p, v, diff, 1);
    return 0;
}

/* Ports. SCTP has a CRC32c over the whole packet (RFC 9260, 6.8), which cannot be mended from its head: refused. */
static int set_port(const struct vs_packet *p, const struct view *v, unsigned ofs, const struct vs_bits *b)
{
    if (!is_ip(v) || v->l4 == NULL || (v->proto != PROTO_TCP && v->proto != PROTO_UDP))
        return -1;
    csum_l4(p, v, vs_bits_patch(v->l4 + ofs, b->value, b->mask, 2, 0), 0);
    return 0;
}

/* ICMP and ICMPv6 type (ofs 0) and code (1). */
static int set_icmp(const struct vs_packet *p, const struct view *v, unsigned ofs, const struct vs_bits *b)
{
    if (!is_ip(v) || v->l4 == NULL || v->proto != (v->type == TYPE_IPV4 ? PROTO_ICMP : PROTO_ICMP6))
        return -1;
    csum_l4(p, v, vs_bits_patch(v->l4 + ofs, b->value + 1, b->mask + 1, 1, ofs), 0);
    return 0;
}

static int set_arp(const struct view *v, unsigned ofs, unsigned n, const struct vs_bits *b)
{
    if (v->type != TYPE_ARP)
        return -1;
    vs_bits_patch(v->l3 + ofs, b->value, b->mask, n, 0);
    return 0;
}

/* Neighbour discovery: option 0 is the target, else the link-layer address option of that type (RFC 4861, 4.6.1). */
static int set_nd(const struct vs_packet *p, const struct view *v, unsigned option, const struct vs_bits *b)
{
    if (v->type != TYPE_IPV6 || v->l4 == NULL || v->proto != PROTO_ICMP6 || v->end - v->l4 < 24 ||
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

/* The TCI of tag `index`, 0 being the outer one. */
static int set_tci(struct vs_packet *p, unsigned index, const struct vs_bits *b)
{
    uint8_t mask[2];
    if (p->n_tags <= index)
        return -1;
    vs_put_be16(mask, vs_get_be16(b->mask) & VS_TCI_BITS);
    vs_bits_patch(p->data + ETH_HLEN + index * TAG_LEN, b->value, mask, 2, 0);
    return 0;
}

static int set_eth(struct vs_packet *p, unsigned ofs, const struct vs_bits *b)
{
    if (p->head_len < ETH_HLEN)
        return -1;
    vs_bits_patch(p->data + ofs, b->value, b->mask, 6, 0);
    return 0;
}

static int set_l3_l4(struct vs_packet *p, enum vs_field field, const struct vs_bits *b)
{
    struct view v;
    look(p, &v);
    switch (field) {
    case VS_F_IP_DSCP:
    case VS_F_IP_ECN:
        return set_tos(&v, b);
    case VS_F_IP_TTL:
        return set_ttl(&v, b);
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
        if (v.type != TYPE_IPV6)
            return -1;
        vs_bits_patch(v.l3, b->value, b->mask, 4, 0);
        return 0;
    case VS_F_ND_TARGET:
        return set_nd(p, &v, 0, b);
    case VS_F_ND_SLL:
        return set_nd(p, &v, 1, b);
    case VS_F_ND_TLL:
        return set_nd(p, &v, 2, b);
    default:
        return -1;
    }
}

int vs_edit_set_field(struct vs_packet *p, enum vs_field field, const uint8_t *value, const uint8_t *mask)
{
    const struct vs_field_info *info = vs_field_info((int)field);
    struct vs_bits b;
    if (info == NULL)
        return -1;
    vs_bits_clip(&b, info, value, mask);
    switch (field) {
    case VS_F_METADATA:
    case VS_F_TUNNEL_ID:
        return 0; /* not in the packet's bytes */
    case VS_F_ETH_DST:
        return set_eth(p, 0, &b);
    case VS_F_ETH_SRC:
        return set_eth(p, 6, &b);
    case VS_F_VLAN_VID:
    case VS_F_VLAN_PCP:
    case VS_F_VLAN_TCI:
        return set_tci(p, 0, &b);
    case VS_F_VLAN2_TCI:
        return set_tci(p, 1, &b);
    default:
        return set_l3_l4(p, field, &b);
    }
}

uint16_t vs_edit_outer_tci(const struct vs_packet *p)
{
    return p->n_tags == 0 ? 0 : vs_get_be16(p->data + ETH_HLEN) | VS_TCI_PRESENT;
}

/* The layers moved by `by` bytes against data. */
static void shift_layers(struct vs_packet *p, int by)
{
    if (p->l3_ofs != VS_L_NONE)
        p->l3_ofs = (uint16_t)(p->l3_ofs + by);
    if (p->l4_ofs != VS_L_NONE)
        p->l4_ofs = (uint16_t)(p->l4_ofs + by);
    if (p->csum == VS_CSUM_PARTIAL)
        p->csum_start = (uint16_t)(p->csum_start + by);
    if (p->gso_hdr_len != 0)
        p->gso_hdr_len = (uint16_t)(p->gso_hdr_len + by);
    p->head_len = (uint16_t)(p->head_len + by);
    p->frame_len = (uint32_t)((int32_t)p->frame_len + by);
}

int vs_edit_push_vlan(struct vs_packet *p, uint16_t tpid, uint16_t tci)
{
    if (p->data - p->buf < TAG_LEN || p->head_len < ETH_HLEN || p->n_tags == UINT8_MAX)
        return -1;
    p->data -= TAG_LEN;
    memmove(p->data, p->data + TAG_LEN, 12);
    vs_put_be16(p->data + 12, tpid);
    vs_put_be16(p->data + 14, tci & VS_TCI_BITS);
    shift_layers(p, TAG_LEN);
    p->n_tags++;
    return 0;
}

int vs_edit_pop_vlan(struct vs_packet *p)
{
    if (p->n_tags == 0 || p->head_len < ETH_HLEN + TAG_LEN)
        return -1;
    memmove(p->data + TAG_LEN, p->data, 12);
    p->data += TAG_LEN;
    shift_layers(p, -TAG_LEN);
    p->n_tags--;
    return 0;
}

int vs_edit_dec_ttl(struct vs_packet *p)
{
    static const uint8_t all = 0xff;
    struct view v;
    look(p, &v);
    if (!is_ip(&v))
        return -1;
    uint8_t ttl = v.type == TYPE_IPV4 ? v.l3[8] : v.l3[7];
    if (ttl <= 1)
        return 1;
    ttl--;
    return set_ttl(&v, &(struct vs_bits){.value = &ttl, .mask = {all}});
}

int vs_edit_set_ttl(struct vs_packet *p, uint8_t ttl)
{
    struct view v;
    look(p, &v);
    return set_ttl(&v, &(struct vs_bits){.value = &ttl, .mask = {0xff}});
}

int vs_edit_apply(struct vs_packet *p, const struct vs_action *a)
{
    switch (a->type) {
    case VS_ACT_SET_FIELD:
        return vs_edit_set_field(p, (enum vs_field)a->field, a->value, a->mask);
    case VS_ACT_PUSH_VLAN:
        return vs_edit_push_vlan(p, (uint16_t)a->arg, vs_edit_outer_tci(p));
    case VS_ACT_POP_VLAN:
        return vs_edit_pop_vlan(p);
    case VS_ACT_DEC_TTL:
        return vs_edit_dec_ttl(p);
    case VS_ACT_SET_TTL:
        return vs_edit_set_ttl(p, (uint8_t)a->arg);
    default:
        return 0;
    }
}

int vs_edit_frame(uint8_t *frame, uint32_t len, uint32_t room, const struct vs_action *actions, int n)
{
    struct vs_packet p;
    struct vs_key key;
    uint8_t dirty = 6;
    if (len > room || len > VS_MAX_FRAME)
        return -1;
    vs_packet_reset(&p, NULL);
    p.in_port = 0;
    vs_packet_fill(&p, frame, len);
    vs_parse(&p, 0, &key, &dirty);
    uint32_t old_head = p.head_len;
    for (int i = 0; i < n; i++)
        if (vs_edit_apply(&p, &actions[i]) != 0)
            return -1;
    if (p.frame_len > room)
        return -1;
    memmove(frame + p.head_len, frame + old_head, len - old_head);
    memcpy(frame, p.data, p.head_len);
    return (int)p.frame_len;
}
