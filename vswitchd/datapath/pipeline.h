/* pipeline.h: the walk of a cache miss through the OpenFlow tables.
 *
 * How it works (OpenFlow 1.3.5, 5.1): from a table on, look up the key, append the rule's apply-actions to the flat list, do to
 * the key what they do to the packet, merge clear- and write-actions into the action set, write metadata, go on to the next
 * table; at the end append the action set in its order (5.10). The key is the masked one: all that the walk looks at is in the
 * mask. Metadata and tunnel id start as 0 and are no part of cached keys: the rules of the path determine them.
 *
 * Where an apply-action of a rule that goes on uncovers or hides headers, the key cannot tell what the next table sees: the
 * program ends with RECIRC. The packet is then parsed again, and the walk goes on at that table; action set, metadata and tunnel
 * id are those that the rules of the path so far give.
 *
 * Thread safety: any core, under one view; writes only its arguments.
 */
#ifndef VS_PIPELINE_H
#define VS_PIPELINE_H

#include "bridge.h"
#include "program.h"

#ifndef VS_CDEF
/* Where a packet for the controller comes from. The walk stores it in `value` and `mask` of the actions that may send one and
 * have no other use for them: OUTPUT to the controller, DEC_TTL, DEC_MPLS_TTL, GROUP. */
struct vs_punt_origin {
    uint64_t cookie; /* all ones: of no rule, as from the action set (7.4.1) */
    uint8_t table;
    uint8_t pad[7];
};
VS_ASSERT_SIZE(struct vs_punt_origin, 16); /* then, in mask: metadata and tunnel id, big-endian */

/* Walk from `table` on. d->n_rules is 0 for a packet that just came in; else d->rules is the path that ended in a RECIRC to this
 * table, and `key` that of the packet parsed again. Changes `key` as the actions do. */
void vs_pipeline_walk(const struct vs_bridge *b, const struct vs_view *view, struct vs_key *key,
                      uint8_t table, struct vs_draft *d);
#endif

#endif
