/* action.h: datapath actions, the flat form into which the control plane compiles OpenFlow actions.
 *
 * A rule carries an array of these; a program is a flat list of them. Values and masks are big-endian, right-aligned to the
 * member's size in struct vs_key (the first `size` bytes of value), already shifted as they lie in the key (VLAN_PCP,
 * IP_DSCP ...): so the datapath ORs and ANDs whole members.
 *
 * Thread safety: plain values.
 */
#ifndef VS_ACTION_H
#define VS_ACTION_H

#include "base.h"
#include "flow_key.h"

enum vs_action_type {
    VS_ACT_OUTPUT, /* arg: OpenFlow port number (real, or one of VS_OFPP_*); max_len for CONTROLLER; aux: enum vs_punt_reason */
    VS_ACT_GROUP,     /* arg: group id; the group is looked up when the action runs */
    VS_ACT_SET_FIELD, /* field, value, mask (all ones: whole field); arg: the ip_proto that has it, 0: any */
    VS_ACT_PUSH_VLAN, /* arg: TPID; the new tag copies VID and PCP of the outermost tag, or is 0 */
    VS_ACT_POP_VLAN,
    VS_ACT_DEC_TTL, /* IPv4 TTL or IPv6 hop limit; at 1 or 0 the packet is punted (if OFPC allows) and dropped */
    VS_ACT_SET_TTL, /* arg: value */
    VS_ACT_DROP,    /* arg: enum vs_drop: ends the program with a reason */
    VS_ACT_PUSH_MPLS, /* arg: EtherType; directly behind the Ethernet addresses; label, TC, TTL as 5.12.1 says */
    VS_ACT_POP_MPLS, /* arg: EtherType of what follows */
    VS_ACT_PUSH_PBB, /* arg: EtherType; the frame becomes the payload of a new one */
    VS_ACT_POP_PBB,
    VS_ACT_SET_MPLS_TTL, /* arg: value */
    VS_ACT_DEC_MPLS_TTL, /* as DEC_TTL */
    VS_ACT_COPY_TTL_OUT, /* from the next header with a TTL to the outermost one */
    VS_ACT_COPY_TTL_IN,
    VS_ACT_SET_QUEUE, /* arg: queue of the ports that the packet is output to from here on */
    VS_ACT_METER,     /* arg: meter; aux 1: it may remark the DSCP field */
    VS_ACT_RECIRC,    /* made by the walk only: parse again, go on at table arg */
    VS_N_ACTIONS,
};

/* Reserved ports of OpenFlow 1.3 (A.2.1). */
enum vs_ofpp {
    VS_OFPP_FIRST_RESERVED = 0xffffff00,
    VS_OFPP_IN_PORT = 0xfffffff8,
    VS_OFPP_TABLE = 0xfffffff9,
    VS_OFPP_NORMAL = 0xfffffffa,
    VS_OFPP_FLOOD = 0xfffffffb,
    VS_OFPP_ALL = 0xfffffffc,
    VS_OFPP_CONTROLLER = 0xfffffffd,
    VS_OFPP_LOCAL = 0xfffffffe,
    VS_OFPP_ANY = 0xffffffff,
};

enum vs_punt_reason {
    VS_PUNT_NO_MATCH = 0, /* OFPR_NO_MATCH */
    VS_PUNT_ACTION = 1,   /* OFPR_ACTION */
    VS_PUNT_TTL = 2,      /* OFPR_INVALID_TTL */
    VS_PUNT_MISS = 3,     /* no table-miss entry: for controllers of OpenFlow 1.0 only */
};

/* aux of SET_FIELD, POP_VLAN, PUSH_VLAN as OpenFlow 1.0 means them: a packet without the header stays as it is, a tag is pushed
 * only where there is none. */
enum vs_edit_mode {
    VS_EDIT_STRICT,
    VS_EDIT_LENIENT,
};

struct vs_action {
    uint16_t type;  /* enum vs_action_type */
    uint16_t field; /* enum vs_field */
    uint32_t arg;
    uint16_t max_len; /* OUTPUT to CONTROLLER: bytes wanted, 0xffff whole (OFPCML_NO_BUFFER) */
    uint16_t aux;
    uint32_t place; /* set by the walk: which rule of the path it comes from */
    uint8_t value[16];
    uint8_t mask[16];
};
VS_ASSERT_SIZE(struct vs_action, 48);

#ifndef VS_CDEF
/* Is every type, field and reason one that exists? What is not checked here would index an array later. */
bool vs_actions_valid(const struct vs_action *actions, size_t n);
#endif

#endif
