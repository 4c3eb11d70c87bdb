/* edit_layers.c: see edit_layers.h. */
#include "edit_layers.h"

#include "offload.h"
#include "parse.h"

/* Upper-layer protocol of an IPv6 packet whose parser found l4, or `routed` for its routing header. */
static void look_ipv6(struct vs_layers *v)
{
    uint8_t *h = v->l3 + 40, *stop = v->l4 != NULL ? v->l4 : v->end;
    uint8_t proto = v->l3[6];
    bool later = false;
    while (!later && h + 8 <= stop) {
        unsigned size;
        if (proto == VS_PROTO_HOP || proto == VS_PROTO_ROUTING || proto == VS_PROTO_DEST)
            size = (h[1] + 1u) * 8;
        else if (proto == VS_PROTO_FRAGMENT)
            size = 8;
        else if (proto == VS_PROTO_AH)
            size = (h[1] + 2u) * 4;
        else
            break;
        if (proto == VS_PROTO_ROUTING && h[3] != 0)
            v->routed = 1;
        if (proto == VS_PROTO_FRAGMENT && (vs_get_be16(h + 2) & 0xfff9) != 0) {
            v->fragment = 1; /* else an atomic fragment (RFC 6946) */
            later = (vs_get_be16(h + 2) & 0xfff8) != 0;
        }
        proto = h[0];
        h += size;
    }
    v->proto = proto;
    v->upper = later || h > stop ? NULL : h;
}

void vs_layers_look(const struct vs_packet *p, struct vs_layers *v)
{
    *v = (struct vs_layers){.end = p->data + p->head_len};
    if (p->l3_ofs == VS_L_NONE)
        return;
    v->l3 = p->data + p->l3_ofs;
    v->type = vs_get_be16(v->l3 - 2);
    v->l4 = p->l4_ofs == VS_L_NONE ? NULL : p->data + p->l4_ofs;
    uint32_t left = (uint32_t)(v->end - v->l3);
    if (v->type == VS_TYPE_IPV4) {
        uint16_t frag = vs_get_be16(v->l3 + 6);
        v->proto = v->l3[9];
        v->ip_end = vs_get_be16(v->l3 + 2);
        v->end = v->l3 + VS_MIN(left, v->ip_end);
        v->fragment = (frag & 0x3fff) != 0;
        v->upper = (frag & 0x1fff) != 0 ? NULL : v->l3 + (v->l3[0] & 15) * 4;
    } else if (v->type == VS_TYPE_IPV6) {
        uint32_t payload = vs_get_be16(v->l3 + 4);
        if (payload != 0 || v->l3[6] != VS_PROTO_HOP) {
            v->ip_end = 40 + payload;
            v->end = v->l3 + VS_MIN(left, v->ip_end);
        }
        look_ipv6(v);
    }
}

void vs_layers_set_ttl(uint8_t *l3, unsigned version, uint8_t ttl)
{
    static const uint8_t all = 0xff;
    if (version == 4)
        vs_csum_mend(l3 + 10, vs_bits_patch(l3 + 8, &ttl, &all, 1, 0));
    else
        l3[7] = ttl;
}

static uint16_t moved(uint16_t ofs, int by, uint16_t none)
{
    return ofs == none ? ofs : (uint16_t)(ofs + by);
}

void vs_layers_shift(struct vs_packet *p, int by)
{
    p->l3_ofs = moved(p->l3_ofs, by, VS_L_NONE);
    p->l4_ofs = moved(p->l4_ofs, by, VS_L_NONE);
    if (p->csum == VS_CSUM_PARTIAL)
        p->csum_start = (uint16_t)(p->csum_start + by);
    p->gso_hdr_len = moved(p->gso_hdr_len, by, 0);
    p->gso_l3_ofs = moved(p->gso_l3_ofs, by, 0);
    p->head_len = (uint16_t)(p->head_len + by);
    p->frame_len = (uint32_t)((int32_t)p->frame_len + by);
}

void vs_layers_cover(struct vs_packet *p)
{
    if (p->gso_type != VS_GSO_NONE && p->gso_l3_ofs == 0 && p->l3_ofs != VS_L_NONE)
        p->gso_l3_ofs = p->l3_ofs;
}

int vs_layers_uncover(struct vs_packet *p)
{
    struct vs_key key;
    uint8_t dirty = 6;
    uint16_t covered = p->gso_l3_ofs;
    vs_packet_pull(p);
    vs_parse(p, 0, &key, &dirty);
    p->gso_l3_ofs = 0;
    if (vs_offload_check(p) == 0)
        return 0;
    p->gso_l3_ofs = covered;
    return covered != 0 ? 0 : -1;
}
