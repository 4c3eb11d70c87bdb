/* edit.c: see edit.h. Here: Ethernet, VLAN tags, the TTL of IP, and the way in; the rest is in edit_fields.c and edit_mpls.c. */
#include "edit.h"

#include "edit_fields.h"
#include "edit_layers.h"
#include "edit_mpls.h"
#include "parse.h"

/* The TCI of tag `index`, 0 being the outer one. */
static int set_tci(struct vs_packet *p, unsigned index, const struct vs_bits *b)
{
    uint8_t mask[2];
    if (p->n_tags <= index)
        return -1;
    vs_put_be16(mask, vs_get_be16(b->mask) & VS_TCI_BITS);
    vs_bits_patch(p->data + VS_ETH_HLEN + index * VS_TAG_LEN, b->value, mask, 2, 0);
    return 0;
}

static int set_eth(struct vs_packet *p, unsigned ofs, const struct vs_bits *b)
{
    if (p->head_len < VS_ETH_HLEN)
        return -1;
    vs_bits_patch(p->data + ofs, b->value, b->mask, 6, 0);
    return 0;
}

static int set_ttl(const struct vs_packet *p, const struct vs_bits *b)
{
    struct vs_layers v;
    vs_layers_look(p, &v);
    if (!vs_layers_is_ip(&v))
        return -1;
    uint8_t old = v.type == VS_TYPE_IPV4 ? v.l3[8] : v.l3[7];
    uint8_t ttl = (uint8_t)((old & ~b->mask[0]) | (b->value[0] & b->mask[0]));
    vs_layers_set_ttl(v.l3, v.type == VS_TYPE_IPV4 ? 4 : 6, ttl);
    return 0;
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
    case VS_F_IP_TTL:
        return set_ttl(p, &b);
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
        return vs_edit_set_upper(p, field, &b);
    }
}

uint16_t vs_edit_outer_tci(const struct vs_packet *p)
{
    return p->n_tags == 0 ? 0 : vs_get_be16(p->data + VS_ETH_HLEN) | VS_TCI_PRESENT;
}

int vs_edit_push_vlan(struct vs_packet *p, uint16_t tpid, uint16_t tci)
{
    if (!vs_layers_room(p, VS_TAG_LEN) || p->n_tags == UINT8_MAX)
        return -1;
    p->data -= VS_TAG_LEN;
    memmove(p->data, p->data + VS_TAG_LEN, 12);
    vs_put_be16(p->data + 12, tpid);
    vs_put_be16(p->data + 14, tci & VS_TCI_BITS);
    vs_layers_shift(p, VS_TAG_LEN);
    p->n_tags++;
    return 0;
}

int vs_edit_pop_vlan(struct vs_packet *p)
{
    if (p->n_tags == 0 || p->head_len < VS_ETH_HLEN + VS_TAG_LEN)
        return -1;
    memmove(p->data + VS_TAG_LEN, p->data, 12);
    p->data += VS_TAG_LEN;
    vs_layers_shift(p, -VS_TAG_LEN);
    p->n_tags--;
    return 0;
}

int vs_edit_dec_ttl(struct vs_packet *p)
{
    struct vs_layers v;
    vs_layers_look(p, &v);
    if (!vs_layers_is_ip(&v))
        return -1;
    uint8_t ttl = v.type == VS_TYPE_IPV4 ? v.l3[8] : v.l3[7];
    if (ttl <= 1)
        return 1;
    vs_layers_set_ttl(v.l3, v.type == VS_TYPE_IPV4 ? 4 : 6, (uint8_t)(ttl - 1));
    return 0;
}

int vs_edit_set_ttl(struct vs_packet *p, uint8_t ttl)
{
    return set_ttl(p, &(struct vs_bits){.value = &ttl, .mask = {0xff}});
}

/* tcp_src is no field of a UDP packet, though both have a seat in the key (OpenFlow 1.3.5, 7.2.3.7). */
static bool carries(const struct vs_packet *p, uint32_t proto)
{
    struct vs_layers v;
    vs_layers_look(p, &v);
    return vs_layers_is_ip(&v) && v.proto == proto;
}

int vs_edit_apply(struct vs_packet *p, const struct vs_action *a)
{
    switch (a->type) {
    case VS_ACT_SET_FIELD:
        if (a->arg != 0 && !carries(p, a->arg))
            return -1;
        return vs_edit_set_field(p, (enum vs_field)a->field, a->value, a->mask);
    case VS_ACT_PUSH_VLAN:
        return vs_edit_push_vlan(p, (uint16_t)a->arg, vs_edit_outer_tci(p));
    case VS_ACT_POP_VLAN:
        return vs_edit_pop_vlan(p);
    case VS_ACT_DEC_TTL:
        return vs_edit_dec_ttl(p);
    case VS_ACT_SET_TTL:
        return vs_edit_set_ttl(p, (uint8_t)a->arg);
    case VS_ACT_PUSH_MPLS:
        return vs_edit_push_mpls(p, (uint16_t)a->arg);
    case VS_ACT_POP_MPLS:
        return vs_edit_pop_mpls(p, (uint16_t)a->arg);
    case VS_ACT_PUSH_PBB:
        return vs_edit_push_pbb(p, (uint16_t)a->arg);
    case VS_ACT_POP_PBB:
        return vs_edit_pop_pbb(p);
    case VS_ACT_SET_MPLS_TTL:
        return vs_edit_set_mpls_ttl(p, (uint8_t)a->arg);
    case VS_ACT_DEC_MPLS_TTL:
        return vs_edit_dec_mpls_ttl(p);
    case VS_ACT_COPY_TTL_OUT:
        return vs_edit_copy_ttl_out(p);
    case VS_ACT_COPY_TTL_IN:
        return vs_edit_copy_ttl_in(p);
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
    for (int i = 0; i < n; i++)
        if (vs_edit_apply(&p, &actions[i]) != 0)
            return -1;
    if (p.frame_len > room)
        return -1;
    if (p.n_segs != 0) /* at most one, and it lies in the frame */
        memmove(frame + p.head_len, p.segs[0].data, p.segs[0].len);
    memcpy(frame, p.data, p.head_len);
    return (int)p.frame_len;
}
