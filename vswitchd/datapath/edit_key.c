/* edit_key.c: the second half of edit.h: what edits do to a key, and which bits of the packet that depends on. */
#include "edit.h"
#include "edit_bits.h"

enum {
    TYPE_IPV4 = 0x0800,
    TYPE_ARP = 0x0806,
    TYPE_RARP = 0x8035,
    TYPE_IPV6 = 0x86dd,
    TYPE_MPLS = 0x8847,
    TYPE_MPLS_MC = 0x8848,
    TYPE_PBB = 0x88e7,
    PROTO_ICMP = 1,
    PROTO_TCP = 6,
    PROTO_UDP = 17,
    PROTO_ICMP6 = 58,
    PROTO_SCTP = 132,
    ND_SOLICIT = 135,
    ND_ADVERT = 136,
};

/* What a field needs to be there, as bits of the key. */
static int key_has(const struct vs_key *key, enum vs_field field)
{
    uint16_t type = vs_get_be16(key->eth_type);
    uint8_t proto = key->ip_proto[0];
    int ip = type == TYPE_IPV4 || type == TYPE_IPV6;
    switch (field) {
    case VS_F_ETH_DST:
    case VS_F_ETH_SRC:
    case VS_F_METADATA:
    case VS_F_TUNNEL_ID:
        return 1;
    case VS_F_VLAN_VID:
    case VS_F_VLAN_PCP:
    case VS_F_VLAN_TCI:
        return vs_get_be16(key->vlan_tci) & VS_TCI_PRESENT;
    case VS_F_VLAN2_TCI:
        return vs_get_be16(key->vlan2_tci) & VS_TCI_PRESENT;
    case VS_F_IP_DSCP:
    case VS_F_IP_ECN:
    case VS_F_IP_TTL:
        return ip;
    case VS_F_IPV4_SRC:
    case VS_F_IPV4_DST:
        return type == TYPE_IPV4;
    case VS_F_ARP_OP:
    case VS_F_ARP_SPA:
    case VS_F_ARP_TPA:
    case VS_F_ARP_SHA:
    case VS_F_ARP_THA:
        return type == TYPE_ARP || type == TYPE_RARP;
    case VS_F_IPV6_SRC:
    case VS_F_IPV6_DST:
    case VS_F_IPV6_FLABEL:
        return type == TYPE_IPV6;
    case VS_F_TP_SRC:
    case VS_F_TP_DST:
        return ip && (proto == PROTO_TCP || proto == PROTO_UDP || proto == PROTO_SCTP) &&
               !(key->ip_frag[0] & VS_FRAG_LATER);
    case VS_F_ICMP_TYPE:
    case VS_F_ICMP_CODE:
        return ip && proto == (type == TYPE_IPV4 ? PROTO_ICMP : PROTO_ICMP6) &&
               !(key->ip_frag[0] & VS_FRAG_LATER);
    case VS_F_ND_TARGET:
    case VS_F_ND_SLL:
    case VS_F_ND_TLL:
        return type == TYPE_IPV6 && proto == PROTO_ICMP6 && !(key->ip_frag[0] & VS_FRAG_LATER) &&
               (key->tp_src[1] == ND_SOLICIT || key->tp_src[1] == ND_ADVERT);
    case VS_F_MPLS_LABEL:
    case VS_F_MPLS_TC:
    case VS_F_MPLS_BOS:
        return type == TYPE_MPLS || type == TYPE_MPLS_MC;
    case VS_F_PBB_ISID:
        return type == TYPE_PBB;
    default:
        return 0;
    }
}

static void set_key(struct vs_key *key, enum vs_field field, const uint8_t *value, const uint8_t *mask)
{
    const struct vs_field_info *info = vs_field_info((int)field);
    struct vs_bits b;
    if (info == NULL || !key_has(key, field) || !vs_bits_clip(&b, info, value, mask))
        return;
    if (info->offset == offsetof(struct vs_key, vlan_tci) ||
        info->offset == offsetof(struct vs_key, vlan2_tci))
        vs_put_be16(b.mask, vs_get_be16(b.mask) & VS_TCI_BITS);
    vs_bits_patch((uint8_t *)key + info->offset, b.value, b.mask, info->size, 0);
}

void vs_edit_key(struct vs_key *key, const struct vs_action *a)
{
    switch (a->type) {
    case VS_ACT_SET_FIELD:
        if (a->arg == 0 || key->ip_proto[0] == a->arg)
            set_key(key, (enum vs_field)a->field, a->value, a->mask);
        break;
    case VS_ACT_PUSH_VLAN:
        if (a->aux == VS_EDIT_LENIENT && (vs_get_be16(key->vlan_tci) & VS_TCI_PRESENT))
            break;
        if (vs_get_be16(key->vlan2_tci) & VS_TCI_PRESENT)
            key->ip_frag[0] |= VS_TAGS_MORE;
        memcpy(key->vlan2_tci, key->vlan_tci, 2);
        vs_put_be16(key->vlan_tci, vs_get_be16(key->vlan_tci) | VS_TCI_PRESENT);
        break;
    case VS_ACT_POP_VLAN:
        memcpy(key->vlan_tci, key->vlan2_tci, 2);
        memset(key->vlan2_tci, 0, 2);
        break;
    case VS_ACT_DEC_TTL:
        if (key_has(key, VS_F_IP_TTL) && key->ip_ttl[0] > 1)
            key->ip_ttl[0]--;
        break;
    case VS_ACT_SET_TTL:
        if (key_has(key, VS_F_IP_TTL))
            key->ip_ttl[0] = (uint8_t)a->arg;
        break;
    default:
        break;
    }
}

bool vs_edit_needs_parse(const struct vs_key *key, const struct vs_action *a)
{
    switch (a->type) {
    case VS_ACT_PUSH_MPLS:
    case VS_ACT_POP_MPLS:
    case VS_ACT_PUSH_PBB:
    case VS_ACT_POP_PBB:
    case VS_ACT_COPY_TTL_OUT: /* not COPY_TTL_IN: what it writes is below what the key tells of */
        return true;
    case VS_ACT_POP_VLAN:
        return key->ip_frag[0] & VS_TAGS_MORE;
    case VS_ACT_SET_FIELD: /* the type says whether this is neighbour discovery */
        return (a->field == VS_F_ICMP_TYPE || a->field == VS_F_ICMP_CODE) &&
               vs_get_be16(key->eth_type) == TYPE_IPV6;
    case VS_ACT_METER:
        return a->aux != 0; /* remarks */
    default:
        return false;
    }
}

/* The bits that key_has looks at. */
static void need_field(struct vs_key *mask, enum vs_field field)
{
    switch (field) {
    case VS_F_VLAN_VID:
    case VS_F_VLAN_PCP:
    case VS_F_VLAN_TCI:
        mask->vlan_tci[0] |= VS_TCI_PRESENT >> 8;
        return;
    case VS_F_VLAN2_TCI:
        mask->vlan2_tci[0] |= VS_TCI_PRESENT >> 8;
        return;
    case VS_F_ND_TARGET:
    case VS_F_ND_SLL:
    case VS_F_ND_TLL:
        mask->tp_src[1] = 0xff; /* and what follows */
        /* fall through */
    case VS_F_TP_SRC:
    case VS_F_TP_DST:
    case VS_F_ICMP_TYPE:
    case VS_F_ICMP_CODE:
        mask->ip_proto[0] = 0xff;
        mask->ip_frag[0] |= VS_FRAG_LATER;
        break;
    case VS_F_IP_DSCP:
    case VS_F_IP_ECN:
    case VS_F_IP_TTL:
    case VS_F_IPV4_SRC:
    case VS_F_IPV4_DST:
    case VS_F_ARP_OP:
    case VS_F_ARP_SPA:
    case VS_F_ARP_TPA:
    case VS_F_ARP_SHA:
    case VS_F_ARP_THA:
    case VS_F_IPV6_SRC:
    case VS_F_IPV6_DST:
    case VS_F_IPV6_FLABEL:
    case VS_F_MPLS_LABEL:
    case VS_F_MPLS_TC:
    case VS_F_MPLS_BOS:
    case VS_F_PBB_ISID:
        break;
    default:
        return;
    }
    memset(mask->eth_type, 0xff, 2);
}

void vs_edit_key_sources(struct vs_key *mask, const struct vs_action *a)
{
    switch (a->type) {
    case VS_ACT_SET_FIELD:
        need_field(mask, (enum vs_field)a->field);
        break;
    case VS_ACT_PUSH_VLAN:
        memset(mask->vlan_tci, 0xff, 2);
        mask->vlan2_tci[0] |= VS_TCI_PRESENT >> 8;
        break;
    case VS_ACT_POP_VLAN:
        mask->ip_frag[0] |= VS_TAGS_MORE;
        memset(mask->vlan_tci, 0xff, 2);
        memset(mask->vlan2_tci, 0xff, 2);
        break;
    case VS_ACT_DEC_TTL:
    case VS_ACT_SET_TTL:
        need_field(mask, VS_F_IP_TTL);
        break;
    default:
        break;
    }
}
