/* edit_mpls.h: pushing and popping MPLS and PBB headers, and the TTLs of MPLS. Internal; vs_edit_apply is the way in.
 *
 * How it works: new headers go right behind the Ethernet addresses, in front of VLAN tags (OpenFlow 1.3.5, 5.12). Their fields are copied
 * from where the packet has them already, else they are zero (5.12.1). A pushed label stack entry takes the place of the EtherType, which
 * nothing keeps: pop_mpls is told what follows. The bottom-of-stack bit is set unless the next word is a label stack entry.
 * A popped I-TAG must be the outermost tag: the B-TAG in front of it is popped by pop_vlan (5.12, "Pop PBB").
 * After a push or a pop the layer offsets are those of what can be seen now. All return 0; -1 when it does not fit the packet, which
 * is left as it was; vs_edit_dec_mpls_ttl also 1, when the TTL is 0 or 1.
 *
 * Thread safety: works on its arguments only.
 */
#ifndef VS_EDIT_MPLS_H
#define VS_EDIT_MPLS_H

#include "packet.h"

int vs_edit_push_mpls(struct vs_packet *p, uint16_t ethertype);
int vs_edit_pop_mpls(struct vs_packet *p, uint16_t ethertype);
int vs_edit_push_pbb(struct vs_packet *p, uint16_t ethertype);
int vs_edit_pop_pbb(struct vs_packet *p);
int vs_edit_set_mpls_ttl(struct vs_packet *p, uint8_t ttl);
int vs_edit_dec_mpls_ttl(struct vs_packet *p);
/* Between the outermost header with a TTL and the next one: MPLS and MPLS, MPLS and IP (known by its version and lengths, as MPLS
 * does not tell), IP and IP. */
int vs_edit_copy_ttl_out(struct vs_packet *p);
int vs_edit_copy_ttl_in(struct vs_packet *p);

#endif
