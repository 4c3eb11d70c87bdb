/* normal.h: OFPP_NORMAL, the learning bridge with VLANs.
 *
 * How it works: finds the packet's VLAN from its tag and the input port's mode, learns its source, and says which ports get
 * it and with which tag: one known port, or all members of the VLAN but the input. Port modes as in the Port table
 * (access, trunk, native-tagged, native-untagged; priority-tagged frames count as untagged). Frames to
 * 01:80:c2:00:00:00..0f are dropped unless forward_bpdu. The caller edits tags and queues copies.
 *
 * Thread safety: any core; reads the bridge's member array (immutable, swapped) and the shared MAC table.
 */
#ifndef VS_NORMAL_H
#define VS_NORMAL_H

#include "mac_table.h"
#include "packet.h"
#include "port.h"

enum vs_tag_op {
    VS_TAG_KEEP,
    VS_TAG_STRIP,
    VS_TAG_ADD, /* push *tci; the frame has no tag of the VLAN */
    VS_TAG_SET, /* the frame's outer tag becomes *tci: a priority tag turns into the VLAN's */
};

#ifndef VS_CDEF
struct vs_normal_verdict {
    int drop;           /* enum vs_drop, or -1: go on */
    uint16_t vlan;      /* the VLAN it belongs to */
    int has_tag;        /* the frame carries that VLAN's tag (priority tags, VID 0, included) */
    struct vs_port *to; /* one port, or NULL: flood */
};

/* Decide for one parsed packet. `tci`: outer TCI with VS_TCI_PRESENT, 0 when untagged. `by_ofport(ctx, port)` finds a port of the
 * bridge or NULL. `learn`: the source, too. */
void vs_normal_decide(vs_mac_table *macs, const struct vs_packet *p, uint16_t tci, const struct vs_port *in,
                      int forward_bpdu, uint32_t now_s,
                      struct vs_port *(*by_ofport)(const void *ctx, uint32_t ofport), const void *ctx,
                      bool learn, struct vs_normal_verdict *v);
/* Is the port a member of the VLAN for transmit (flags of the port are checked by the caller)? */
int vs_normal_member(const struct vs_port *port, uint16_t vlan);
/* What must happen to the tag for this port; *tci (without VS_TCI_PRESENT) is what to add or set. */
enum vs_tag_op vs_normal_tag_op(const struct vs_port *port, const struct vs_normal_verdict *v,
                                uint16_t in_tci, uint16_t *tci);
#endif

/* For the tests: decide for one frame on a bridge of n ports (at most 16; OpenFlow numbers 1 to n), `in` being the index of the
 * input. ops[i]: the VS_TAG_* for port i, or 255 when it does not get the frame; tcis[i]: the TCI to add or set. Returns the
 * drop reason or -1. */
int vs_normal_try(vs_mac_table *macs, const uint8_t *frame, uint32_t len, struct vs_port_vlan *vlans, int n,
                  int in, int forward_bpdu, uint32_t now_s, uint8_t *ops, uint16_t *tcis);

#endif
