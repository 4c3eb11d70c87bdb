/* mac_table.h: the learning table of NORMAL, shared by all cores.
 *
 * How it works: set-associative buckets of {MAC and VLAN, port, last seen}; cores look up without locks, refresh `last seen`
 * with a relaxed store when the second changed, and take a lock per bucket only to insert or move an entry. An entry older
 * than the ageing time is as good as absent. A full table (limit of entries) evicts the entry longest unseen of the bucket and
 * counts it; it never refuses traffic. Gratuitous moves between ports are plain updates, counted.
 *
 * Thread safety: lookup and learn from any core; flush, dump and settings from the control thread at any time.
 */
#ifndef VS_MAC_TABLE_H
#define VS_MAC_TABLE_H

#include "base.h"

typedef struct vs_mac_table vs_mac_table;

struct vs_mac_entry {
    uint8_t mac[6];
    uint16_t vlan;
    uint32_t port; /* OpenFlow number */
    uint32_t age_s;
};

struct vs_mac_stats {
    uint64_t learned, moved, expired, evicted;
    uint32_t entries, limit, ageing_s;
};

/* NULL when out of memory. limit: entries at most; ageing in seconds. */
vs_mac_table *vs_mac_table_new(uint32_t limit, uint32_t ageing_s);
void vs_mac_table_free(vs_mac_table *t); /* after a grace period */
void vs_mac_table_set(vs_mac_table *t, uint32_t limit, uint32_t ageing_s); /* limit is bounded by the size given at creation x 16; see .c */
/* Port behind which the address was seen, or 0 when unknown or aged. */
uint32_t vs_mac_lookup(vs_mac_table *t, const uint8_t *mac, uint16_t vlan, uint32_t now_s);
/* Remember; multicast and zero sources are ignored. */
void vs_mac_learn(vs_mac_table *t, const uint8_t *mac, uint16_t vlan, uint32_t port, uint32_t now_s);
void vs_mac_flush(vs_mac_table *t);
void vs_mac_flush_port(vs_mac_table *t, uint32_t port);
/* Fill at most max entries that are not aged; returns how many there are. */
uint32_t vs_mac_dump(vs_mac_table *t, struct vs_mac_entry *to, uint32_t max, uint32_t now_s);
void vs_mac_stats(const vs_mac_table *t, struct vs_mac_stats *to);

#endif
