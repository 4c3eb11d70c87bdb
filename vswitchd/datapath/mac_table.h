/* mac_table.h: the learning table of NORMAL, shared by all cores.
 *
 * How it works: set-associative buckets of {MAC and VLAN, port, last seen}. A bucket's sequence number is even while it is
 * at rest and odd while somebody changes it (a seqlock, which is also the bucket's lock). Lookup takes no lock: it reads
 * the bucket between two looks at the number. A known source only refreshes `last seen`, at most once a second; the lock is
 * for inserting, moving and removing. An entry older than the ageing time is as good as absent. A full table (limit of
 * entries, or a full bucket) evicts the entry of the bucket that was not seen for longest and counts it; it never refuses
 * traffic. Moves between ports are plain updates, counted. The hash is seeded at random, so that nobody can fill one bucket.
 *
 * Thread safety: lookup and learn from any core; all else from the control thread, at any time. Cores never wait for long:
 * after some spinning a lookup says "unknown" and a learn leaves it to the next packet.
 */
#ifndef VS_MAC_TABLE_H
#define VS_MAC_TABLE_H

#include "base.h"

#ifndef VS_CDEF
/* Counts what may change where NORMAL sends packets between known hosts (normal_run.h), of all tables and bridges. */
extern _Atomic uint32_t vs_normal_era;

/* After the change. Any thread. */
static inline void vs_normal_changed(void)
{
    atomic_fetch_add_explicit(&vs_normal_era, 1, memory_order_release); /* pairs with vs_normal_run */
}
#endif

typedef struct vs_mac_table vs_mac_table;

struct vs_mac_entry {
    uint8_t mac[6];
    uint16_t vlan;
    uint32_t port; /* OpenFlow number */
    uint32_t age_s;
};

struct vs_mac_stats {
    uint64_t learned, moved, expired, evicted;
    uint32_t entries, limit,
        ageing_s; /* entries: aged ones included until vs_mac_expire or their seat is needed */
};

/* NULL when out of memory. limit: entries at most; ageing in seconds. */
vs_mac_table *vs_mac_table_new(uint32_t limit, uint32_t ageing_s);
void vs_mac_table_free(vs_mac_table *t); /* after a grace period */
/* Change the settings; entries beyond a smaller limit are evicted. Returns the limit in force, which is less than asked for
 * when the memory taken at creation (for the limit given then, 4096 at least) cannot hold it: then make a new table. */
uint32_t vs_mac_table_set(vs_mac_table *t, uint32_t limit, uint32_t ageing_s);
/* Port behind which the address was seen, or 0 when unknown or aged. */
uint32_t vs_mac_lookup(vs_mac_table *t, const uint8_t *mac, uint16_t vlan, uint32_t now_s);
/* Remember; multicast and zero sources, and port 0, are ignored. */
void vs_mac_learn(vs_mac_table *t, const uint8_t *mac, uint16_t vlan, uint32_t port, uint32_t now_s);
void vs_mac_flush(vs_mac_table *t);
void vs_mac_flush_port(vs_mac_table *t, uint32_t port);
/* Remove what is aged; returns how many. Only housekeeping, for truthful `entries`. */
uint32_t vs_mac_expire(vs_mac_table *t, uint32_t now_s);
/* Fill at most max entries that are not aged; returns how many there are. */
uint32_t vs_mac_dump(vs_mac_table *t, struct vs_mac_entry *to, uint32_t max, uint32_t now_s);
void vs_mac_stats(const vs_mac_table *t, struct vs_mac_stats *to);

/* For the stress test: n rounds of learn and lookup of addresses that all fall into one bucket, the port of each one always
 * in its own range. Returns how many lookups answered a port that the address never had. Run it in several threads. */
uint32_t vs_mac_stress(vs_mac_table *t, uint32_t seed, uint32_t n);

#endif
