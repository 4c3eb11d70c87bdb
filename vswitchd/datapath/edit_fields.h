/* edit_fields.h: set_field of what is above Ethernet and VLAN tags. Internal; vs_edit_set_field is the way in.
 *
 * Thread safety: works on its arguments only.
 */
#ifndef VS_EDIT_FIELDS_H
#define VS_EDIT_FIELDS_H

#include "edit_bits.h"
#include "packet.h"

/* `b` is confined to the field. 0, or -1 when the packet has no such field: it is left as it was. */
int vs_edit_set_upper(const struct vs_packet *p, enum vs_field field, const struct vs_bits *b);

#endif
