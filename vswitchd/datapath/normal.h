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

#ifndef VS_CDEF
enum vs_tag_op { VS_TAG_KEEP, VS_TAG_STRIP, VS_TAG_ADD };

struct vs_normal_verdict {
    int drop;          /* enum vs_drop, or -1: go on */
    uint16_t vlan;     /* the VLAN it belongs to */
    int has_tag;       /* the frame carries that VLAN's tag (priority tags, VID 0, included) */
    struct vs_port *to; /* one port, or NULL: flood */
};

/* Decide for one parsed packet. `tci`: outer TCI with VS_TCI_PRESENT, 0 when untagged. `by_ofport(ctx, port)` finds a port of the
 * bridge or NULL. */
void vs_normal_decide(vs_mac_table *macs, const struct vs_packet *p, uint16_t tci, const struct vs_port *in, int forward_bpdu,
                      uint32_t now_s, struct vs_port *(*by_ofport)(const void *ctx, uint32_t ofport), const void *ctx,
                      struct vs_normal_verdict *v);
/* Is the port a member of the VLAN for transmit (flags of the port are checked by the caller)? */
int vs_normal_member(const struct vs_port *port, uint16_t vlan);
/* What must happen to the tag for this port: VS_TAG_KEEP, STRIP or ADD; *tci is what to add. */
enum vs_tag_op vs_normal_tag_op(const struct vs_port *port, const struct vs_normal_verdict *v, uint16_t in_tci, uint16_t *tci);
#endif

#endif
