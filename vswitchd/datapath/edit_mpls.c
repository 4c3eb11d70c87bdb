/* edit_mpls.c: see edit_mpls.h. */
#include "edit_mpls.h"

#include "edit_layers.h"

enum {
    MACS = 12,
    LSE_BOS = 1 << 8, /* RFC 3032, 2.1: 20 bits of label, 3 of traffic class, bottom of stack, 8 of TTL */
    LSE_TTL = 3,      /* offset */
    IPV4_HLEN = 20,
    IPV6_HLEN = 40,
    IPV4_TTL = 8,
    IPV6_TTL = 7,
};

/* A TTL in a packet. */
struct ttl {
    uint8_t *header; /* of IP or MPLS; NULL: there is none */
    uint8_t version; /* of IP; 0: MPLS */
};

static uint8_t *ttl_of(const struct ttl *t)
{
    return t->header + (t->version == 4 ? IPV4_TTL : t->version == 6 ? IPV6_TTL : LSE_TTL);
}

static void set_ttl(const struct ttl *t, uint8_t ttl)
{
    if (t->version != 0)
        vs_layers_set_ttl(t->header, t->version, ttl);
    else
        *ttl_of(t) = ttl;
}

/* The first entry of the label stack, or NULL. */
static uint8_t *entry_of(const struct vs_packet *p)
{
    struct vs_layers v;
    vs_layers_look(p, &v);
    return vs_layers_is_mpls(&v) ? v.l3 : NULL;
}

/* An IP header at h, if there is a whole one in front of `end`. */
static struct ttl ip_at(uint8_t *h, const uint8_t *end)
{
    uint32_t left = h < end ? (uint32_t)(end - h) : 0;
    struct ttl none = {.header = NULL};
    if (left >= IPV4_HLEN && h[0] >> 4 == 4) {
        uint32_t hlen = (h[0] & 15) * 4u;
        if (hlen < IPV4_HLEN || hlen > left || vs_get_be16(h + 2) < hlen)
            return none;
        return (struct ttl){.header = h, .version = 4};
    }
    if (left >= IPV6_HLEN && h[0] >> 4 == 6)
        return (struct ttl){.header = h, .version = 6};
    return none;
}

/* The two outermost headers with a TTL. False: there are no two. */
static bool find_ttls(const struct vs_packet *p, struct ttl *outer, struct ttl *inner)
{
    struct vs_layers v;
    vs_layers_look(p, &v);
    *outer = (struct ttl){.header = v.l3};
    *inner = (struct ttl){.header = NULL};
    if (vs_layers_is_mpls(&v)) {
        uint8_t *next = v.l3 + VS_LSE_LEN;
        if ((vs_get_be32(v.l3) & LSE_BOS) != 0)
            *inner = ip_at(next, v.end);
        else if (v.end - next >= VS_LSE_LEN)
            inner->header = next;
    } else if (vs_layers_is_ip(&v)) {
        outer->version = v.type == VS_TYPE_IPV4 ? 4 : 6;
        if (v.upper != NULL && (v.proto == VS_PROTO_IPV4 || v.proto == VS_PROTO_IPV6)) {
            *inner = ip_at(v.upper, v.end);
            if (inner->version != (v.proto == VS_PROTO_IPV4 ? 4 : 6))
                inner->header = NULL;
        }
    }
    return inner->header != NULL;
}

int vs_edit_copy_ttl_out(struct vs_packet *p)
{
    struct ttl outer, inner;
    if (!find_ttls(p, &outer, &inner))
        return -1;
    set_ttl(&outer, *ttl_of(&inner));
    return 0;
}

int vs_edit_copy_ttl_in(struct vs_packet *p)
{
    struct ttl outer, inner;
    if (!find_ttls(p, &outer, &inner))
        return -1;
    set_ttl(&inner, *ttl_of(&outer));
    return 0;
}

int vs_edit_set_mpls_ttl(struct vs_packet *p, uint8_t ttl)
{
    uint8_t *lse = entry_of(p);
    if (lse == NULL)
        return -1;
    lse[LSE_TTL] = ttl;
    return 0;
}

int vs_edit_dec_mpls_ttl(struct vs_packet *p)
{
    uint8_t *lse = entry_of(p);
    if (lse == NULL)
        return -1;
    if (lse[LSE_TTL] <= 1)
        return 1;
    lse[LSE_TTL]--;
    return 0;
}

/* All that is in front of `ofs` goes `by` bytes forward (back when negative), towards the headroom. */
static void open_gap(struct vs_packet *p, unsigned ofs, int by)
{
    memmove(p->data - by, p->data, ofs);
    p->data -= by;
    vs_layers_shift(p, by);
}

/* What was pushed right behind the addresses is all that can be seen now. */
static void pushed(struct vs_packet *p)
{
    p->l3_ofs = VS_ETH_HLEN;
    p->l4_ofs = VS_L_NONE;
    p->n_tags = 0;
}

int vs_edit_push_mpls(struct vs_packet *p, uint16_t ethertype)
{
    struct vs_layers v;
    if (!vs_layers_room(p, VS_LSE_LEN))
        return -1;
    vs_layers_look(p, &v);
    uint32_t lse = LSE_BOS;
    if (vs_layers_is_mpls(&v)) {
        lse = vs_get_be32(v.l3) | LSE_BOS;
        if (p->l3_ofs == VS_ETH_HLEN) /* else a tag follows */
            lse &= ~(uint32_t)LSE_BOS;
    } else if (vs_layers_is_ip(&v)) {
        lse |= v.l3[v.type == VS_TYPE_IPV4 ? IPV4_TTL : IPV6_TTL];
    }
    vs_layers_cover(p);
    open_gap(p, MACS, VS_LSE_LEN);
    vs_put_be16(p->data + MACS, ethertype);
    vs_put_be32(p->data + VS_ETH_HLEN, lse);
    pushed(p);
    return 0;
}

int vs_edit_pop_mpls(struct vs_packet *p, uint16_t ethertype)
{
    const uint8_t *at = entry_of(p);
    if (at == NULL)
        return -1;
    uint32_t lse = vs_get_be32(at);
    uint16_t type = vs_get_be16(at - 2), l3 = p->l3_ofs;
    open_gap(p, l3, -VS_LSE_LEN);
    vs_put_be16(p->data + l3 - 2, ethertype);
    if (vs_layers_uncover(p) == 0)
        return 0;
    open_gap(p, l3, VS_LSE_LEN);
    vs_put_be16(p->data + l3 - 2, type);
    vs_put_be32(p->data + l3, lse);
    (void)vs_layers_uncover(p);
    return -1;
}

int vs_edit_push_pbb(struct vs_packet *p, uint16_t ethertype)
{
    struct vs_layers v;
    if (!vs_layers_room(p, VS_PBB_LEN))
        return -1;
    vs_layers_look(p, &v);
    uint32_t isid = v.type == VS_TYPE_PBB ? vs_get_be32(v.l3) & 0xffffff : 0;
    uint32_t pcp = p->n_tags > 0 ? p->data[VS_ETH_HLEN] >> 5 : 0;
    vs_layers_cover(p);
    open_gap(p, 0, VS_PBB_LEN);
    memcpy(p->data, p->data + VS_PBB_LEN, MACS);
    vs_put_be16(p->data + MACS, ethertype);
    vs_put_be32(p->data + VS_ETH_HLEN, pcp << 29 | isid); /* I-PCP, I-DEI, UCA, reserved bits, I-SID */
    pushed(p);
    return 0;
}

int vs_edit_pop_pbb(struct vs_packet *p)
{
    struct vs_layers v;
    vs_layers_look(p, &v);
    if (v.type != VS_TYPE_PBB || p->l3_ofs != VS_ETH_HLEN || p->head_len < VS_PBB_LEN + VS_ETH_HLEN)
        return -1;
    open_gap(p, 0, -VS_PBB_LEN);
    if (vs_layers_uncover(p) == 0)
        return 0;
    open_gap(p, 0, VS_PBB_LEN);
    (void)vs_layers_uncover(p);
    return -1;
}
