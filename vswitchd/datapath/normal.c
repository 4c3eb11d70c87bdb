/* normal.c: see normal.h. The rules of port modes are those of the Port table of Open vSwitch's schema (vlan_mode). */
#include "normal.h"

#include "edit.h"
#include "parse.h"

enum { PCP_BITS = 0xe000, VID_BITS = 0x0fff, TEST_PORTS = 16 };

/* Is the VLAN among the trunks? No trunks at all means all. The bit comes first: whoever configures ports may write "all"
 * as ones, which spares the look at the other words. */
static int in_trunks(const struct vs_port_vlan *c, uint16_t vlan)
{
    if (c->trunks[vlan / 8] >> (vlan % 8) & 1)
        return 1;
    for (unsigned i = 0; i < sizeof c->trunks; i += 8) {
        uint64_t w;
        memcpy(&w, c->trunks + i, sizeof w);
        if (w != 0)
            return 0;
    }
    return 1;
}

/* The configuration is swapped by the control thread; partner: its release store of port->vlan. */
static const struct vs_port_vlan *config_of(const struct vs_port *port)
{
    return __atomic_load_n(&port->vlan, __ATOMIC_ACQUIRE);
}

static int is_member(const struct vs_port_vlan *c, uint16_t vlan)
{
    switch (c->mode) {
    case VS_VLAN_ACCESS:
        return vlan == c->tag;
    case VS_VLAN_NATIVE_TAGGED:
    case VS_VLAN_NATIVE_UNTAGGED:
        return vlan == c->tag || in_trunks(c, vlan);
    default:
        return in_trunks(c, vlan);
    }
}

/* VLAN of a received frame, or -1 when the port does not take it. A priority tag (VID 0) is as good as none. */
static int input_vlan(const struct vs_port_vlan *c, uint16_t tci)
{
    uint16_t vid = (tci & VS_TCI_PRESENT) ? tci & VID_BITS : 0;
    if (c->mode == VS_VLAN_ACCESS)
        return vid == 0 ? c->tag : -1;
    if (vid == 0 && c->mode != VS_VLAN_TRUNK)
        return c->tag;
    return is_member(c, vid) ? vid : -1;
}

/* 01:80:c2:00:00:00 to 0f: never forwarded by a bridge (IEEE 802.1Q, 8.6.3). */
static int is_reserved(const uint8_t *dst)
{
    return vs_get_be32(dst) == 0x0180c200 && dst[4] == 0 && dst[5] < 16;
}

void vs_normal_decide(vs_mac_table *macs, const struct vs_packet *p, uint16_t tci, const struct vs_port *in,
                      int forward_bpdu, uint32_t now_s,
                      struct vs_port *(*by_ofport)(const void *ctx, uint32_t ofport), const void *ctx,
                      bool learn, struct vs_normal_verdict *v)
{
    const uint8_t *dst = p->data, *src = p->data + 6;
    *v = (struct vs_normal_verdict){.drop = -1, .has_tag = (tci & VS_TCI_PRESENT) != 0};
    if (p->head_len < 14) {
        v->drop = VS_DROP_RX_RUNT;
        return;
    }
    int vlan = input_vlan(config_of(in), tci);
    if (vlan < 0) {
        v->drop = VS_DROP_RX_VLAN;
        return;
    }
    v->vlan = (uint16_t)vlan;
    if (!forward_bpdu && is_reserved(dst)) {
        v->drop = VS_DROP_RX_RESERVED_MAC;
        return;
    }
    if (learn && (in->ofport < VS_OFPP_FIRST_RESERVED ||
                  in->ofport == VS_OFPP_LOCAL)) /* not from a controller's packet-out */
        vs_mac_learn(macs, src, v->vlan, in->ofport, now_s);
    if (dst[0] & 1)
        return;
    uint32_t ofport = vs_mac_lookup(macs, dst, v->vlan, now_s);
    struct vs_port *to = ofport != 0 ? by_ofport(ctx, ofport) : NULL;
    if (to == in)
        v->drop = VS_DROP_RX_SAME_PORT;
    else if (to != NULL &&
             vs_normal_member(to, v->vlan)) /* else it left the VLAN since: as good as unknown */
        v->to = to;
}

int vs_normal_member(const struct vs_port *port, uint16_t vlan)
{
    return is_member(config_of(port), vlan);
}

enum vs_tag_op vs_normal_tag_op(const struct vs_port *port, const struct vs_normal_verdict *v,
                                uint16_t in_tci, uint16_t *tci)
{
    const struct vs_port_vlan *c = config_of(port);
    int untagged = v->vlan == 0 || c->mode == VS_VLAN_ACCESS ||
                   (c->mode == VS_VLAN_NATIVE_UNTAGGED && v->vlan == c->tag);
    *tci = (uint16_t)(v->vlan | (v->has_tag ? in_tci & PCP_BITS : 0));
    if (untagged)
        return v->has_tag ? VS_TAG_STRIP : VS_TAG_KEEP;
    if (!v->has_tag)
        return VS_TAG_ADD;
    return (in_tci & VID_BITS) == v->vlan ? VS_TAG_KEEP : VS_TAG_SET;
}

struct test_bridge {
    struct vs_port *ports;
    uint32_t n;
};

static struct vs_port *test_by_ofport(const void *ctx, uint32_t ofport)
{
    const struct test_bridge *b = ctx;
    return ofport >= 1 && ofport <= b->n ? &b->ports[ofport - 1] : NULL;
}

int vs_normal_try(vs_mac_table *macs, const uint8_t *frame, uint32_t len, struct vs_port_vlan *vlans, int n,
                  int in, int forward_bpdu, uint32_t now_s, uint8_t *ops, uint16_t *tcis)
{
    struct vs_port ports[TEST_PORTS];
    struct vs_packet p;
    struct vs_key key;
    struct vs_normal_verdict v;
    uint8_t dirty = 6;
    if (n < 1 || n > TEST_PORTS || in < 0 || in >= n)
        return -1;
    memset(ops, 255, (size_t)n);
    for (int i = 0; i < n; i++) {
        ports[i].vlan = &vlans[i];
        ports[i].ofport = (uint32_t)i + 1;
    }
    vs_packet_reset(&p, &ports[in]);
    p.in_port = (uint32_t)in + 1;
    vs_packet_fill(&p, frame, len);
    vs_parse(&p, 0, &key, &dirty);
    uint16_t tci = vs_edit_outer_tci(&p);
    struct test_bridge bridge = {.ports = ports, .n = (uint32_t)n};
    vs_normal_decide(macs, &p, tci, &ports[in], forward_bpdu, now_s, test_by_ofport, &bridge, true, &v);
    for (int i = 0; i < n && v.drop < 0; i++)
        if (v.to != NULL ? v.to == &ports[i] : i != in && vs_normal_member(&ports[i], v.vlan))
            ops[i] = (uint8_t)vs_normal_tag_op(&ports[i], &v, tci, &tcis[i]);
    return v.drop;
}
