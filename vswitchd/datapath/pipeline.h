/* pipeline.h: the walk of a cache miss through the OpenFlow tables.
 *
 * How it works (OpenFlow 1.3.5, 5.1): from a table on, look up the key, append the rule's apply-actions to the flat list, do to
 * the key what they do to the packet, merge clear- and write-actions into the action set, write metadata, go on to the next
 * table; at the end append the action set in its order (5.10). An output to the controller gets the cookie, the table and the
 * metadata of its place. The key is the masked one: all that the walk looks at is in the mask.
 *
 * Thread safety: any core, under one view; writes only its arguments.
 */
#ifndef VS_PIPELINE_H
#define VS_PIPELINE_H

#include "bridge.h"
#include "program.h"

#ifndef VS_CDEF
/* What the walk stores in value and mask of an OUTPUT to the controller (they have no other use there). */
struct vs_punt_origin {
    uint64_t cookie;
    uint8_t table;
    uint8_t pad[7];
};

/* Changes `key` as the actions do. */
void vs_pipeline_walk(const struct vs_bridge *b, const struct vs_view *view, struct vs_key *key,
                      uint8_t first_table, struct vs_draft *d);
#endif

#endif
