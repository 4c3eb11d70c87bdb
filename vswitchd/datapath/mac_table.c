/* mac_table.c: see mac_table.h.
 *
 * The partners in memory order: `seq` is taken by a compare-and-swap with acquire (lock) and given back by a store with
 * release (unlock). id and loc are stored with release and loaded with acquire, so that a reader who saw any store of a
 * change also sees, at its second look, that `seq` became odd before it. The refresh of loc in learn is a
 * compare-and-swap without the lock: it only ever replaces {port, old second} by {port, new second}. */
#include "mac_table.h"

#include <stdlib.h>
#include <sys/random.h>

enum {
    WAYS = 15,
    SLOTS_PER_ENTRY =
        4, /* 4 of 16 seats taken on average at the limit: a full bucket is a matter of one in a million */
    MIN_ENTRIES = 4096,
    MAX_ENTRIES = 1 << 24,
    SPINS = 1000, /* a change takes some 50 ns; longer means that its thread was preempted */
};

#define ID_VALID (1ULL << 63)

struct entry {
    _Atomic uint64_t id;  /* ID_VALID | vlan << 48 | mac; 0: free */
    _Atomic uint64_t loc; /* port << 32 | second last seen */
};

struct bucket {
    _Atomic uint32_t seq;
    uint32_t pad[3];
    struct entry e[WAYS];
};
VS_ASSERT_SIZE(struct bucket, 256);

struct vs_mac_table {
    struct bucket *buckets; /* read only */
    uint64_t seed;
    uint32_t mask;          /* buckets - 1 */
    uint32_t capacity;      /* highest limit */
    _Atomic uint32_t limit; /* control thread writes, relaxed */
    _Atomic uint32_t ageing_s;
    VS_CACHE_ALIGNED _Atomic uint32_t entries; /* relaxed counters; written when an entry comes or goes */
    _Atomic uint64_t learned, moved, expired, evicted;
};

_Atomic uint32_t vs_normal_era = 1;

static void bump(_Atomic uint64_t *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

static uint64_t make_id(const uint8_t *mac, uint16_t vlan)
{
    return ID_VALID | (uint64_t)(vlan & 0xfff) << 48 | (uint64_t)vs_get_be16(mac) << 32 |
           vs_get_be32(mac + 2);
}

static uint64_t make_loc(uint32_t port, uint32_t seen)
{
    return (uint64_t)port << 32 | seen;
}

static struct bucket *bucket_of(const vs_mac_table *t, uint64_t id)
{
    uint64_t h = (t->seed ^ id) * 0x9e3779b97f4a7c15ULL;
    h = (h ^ (h >> 29)) * 0xbf58476d1ce4e5b9ULL;
    return &t->buckets[(uint32_t)(h >> 32) & t->mask];
}

/* Cores may be a second apart: the time since `seen` can be negative. */
static int is_aged(uint64_t loc, uint32_t now_s, uint32_t ageing_s)
{
    return (int64_t)(int32_t)(now_s - (uint32_t)loc) > (int64_t)ageing_s;
}

static int try_lock(struct bucket *b)
{
    for (int i = 0; i < SPINS; i++) {
        uint32_t seq = atomic_load_explicit(&b->seq, memory_order_relaxed);
        if (!(seq & 1) && atomic_compare_exchange_weak_explicit(&b->seq, &seq, seq + 1, memory_order_acquire,
                                                                memory_order_relaxed))
            return 1;
        vs_cpu_relax();
    }
    return 0;
}

static void lock(struct bucket *b)
{
    while (!try_lock(b))
        ;
}

static void unlock(struct bucket *b)
{
    uint32_t seq = atomic_load_explicit(&b->seq, memory_order_relaxed);
    atomic_store_explicit(&b->seq, seq + 1, memory_order_release);
}

static void put(struct entry *e, uint64_t id, uint64_t loc)
{
    atomic_store_explicit(&e->id, id, memory_order_release);
    atomic_store_explicit(&e->loc, loc, memory_order_release);
}

static uint64_t id_of(const struct entry *e)
{
    return atomic_load_explicit(&e->id, memory_order_acquire);
}

static uint64_t loc_of(const struct entry *e)
{
    return atomic_load_explicit(&e->loc, memory_order_acquire);
}

static void drop_entry(vs_mac_table *t, struct entry *e)
{
    put(e, 0, 0);
    vs_normal_changed();
    atomic_fetch_sub_explicit(&t->entries, 1, memory_order_relaxed);
}

static struct entry *find(struct bucket *b, uint64_t id)
{
    for (int i = 0; i < WAYS; i++)
        if (id_of(&b->e[i]) == id)
            return &b->e[i];
    return NULL;
}

/* The entry not seen for longest, NULL when the bucket is empty. */
static struct entry *oldest(struct bucket *b, uint32_t now_s)
{
    struct entry *found = NULL;
    int32_t most = 0;
    for (int i = 0; i < WAYS; i++) {
        int32_t age = (int32_t)(now_s - (uint32_t)loc_of(&b->e[i]));
        if (id_of(&b->e[i]) != 0 && (found == NULL || age > most)) {
            found = &b->e[i];
            most = age;
        }
    }
    return found;
}

vs_mac_table *vs_mac_table_new(uint32_t limit, uint32_t ageing_s)
{
    vs_mac_table *t = aligned_alloc(VS_CACHE_LINE, sizeof *t);
    if (t == NULL)
        return NULL;
    memset(t, 0, sizeof *t);
    t->capacity = VS_MIN(VS_MAX(limit, (uint32_t)MIN_ENTRIES), (uint32_t)MAX_ENTRIES);
    uint32_t n = 1;
    while (n * 16u < t->capacity * SLOTS_PER_ENTRY)
        n *= 2;
    t->mask = n - 1;
    t->buckets = aligned_alloc(sizeof(struct bucket), n * sizeof(struct bucket));
    if (t->buckets == NULL || getrandom(&t->seed, sizeof t->seed, 0) != (ssize_t)sizeof t->seed) {
        vs_mac_table_free(t);
        return NULL;
    }
    memset(t->buckets, 0, n * sizeof(struct bucket));
    vs_mac_table_set(t, limit, ageing_s);
    return t;
}

void vs_mac_table_free(vs_mac_table *t)
{
    vs_normal_changed();
    if (t != NULL)
        free(t->buckets);
    free(t);
}

uint32_t vs_mac_lookup(vs_mac_table *t, const uint8_t *mac, uint16_t vlan, uint32_t now_s)
{
    uint64_t id = make_id(mac, vlan);
    struct bucket *b = bucket_of(t, id);
    for (int i = 0; i < SPINS; i++) {
        uint32_t seq = atomic_load_explicit(&b->seq, memory_order_acquire); /* partner: unlock */
        if (!(seq & 1)) {
            struct entry *e = find(b, id);
            uint64_t loc = e != NULL ? loc_of(e) : 0;
            if (atomic_load_explicit(&b->seq, memory_order_relaxed) == seq) {
                uint32_t ageing = atomic_load_explicit(&t->ageing_s, memory_order_relaxed);
                return e != NULL && !is_aged(loc, now_s, ageing) ? (uint32_t)(loc >> 32) : 0;
            }
        }
        vs_cpu_relax();
    }
    return 0;
}

static int reserve(vs_mac_table *t)
{
    uint32_t n = atomic_load_explicit(&t->entries, memory_order_relaxed);
    while (n < atomic_load_explicit(&t->limit, memory_order_relaxed))
        if (atomic_compare_exchange_weak_explicit(&t->entries, &n, n + 1, memory_order_relaxed,
                                                  memory_order_relaxed))
            return 1;
    return 0;
}

/* Write a new or changed entry into a locked bucket. Returns 0 when the table is full and the bucket has nothing to evict. */
static int insert(vs_mac_table *t, struct bucket *b, uint64_t id, uint64_t loc)
{
    uint32_t now_s = (uint32_t)loc, ageing = atomic_load_explicit(&t->ageing_s, memory_order_relaxed);
    struct entry *e = find(b, id);
    if (e != NULL && !is_aged(loc_of(e), now_s, ageing)) {
        bool moved = loc_of(e) >> 32 != loc >> 32;
        put(e, id, loc);
        if (moved) {
            bump(&t->moved);
            vs_normal_changed();
        }
        return 1;
    }
    struct entry *free_seat = find(b, 0), *old = e != NULL ? e : oldest(b, now_s);
    if (old != NULL && is_aged(loc_of(old), now_s, ageing)) {
        bump(&t->expired);
    } else if (free_seat != NULL && reserve(t)) {
        old = free_seat;
    } else if (old != NULL && atomic_load_explicit(&t->limit, memory_order_relaxed) != 0) {
        bump(&t->evicted);
    } else {
        return 0;
    }
    bump(&t->learned);
    put(old, id, loc);
    if (old != free_seat) /* who was here, or was elsewhere, is no more; a new host is in nobody's memo */
        vs_normal_changed();
    return 1;
}

/* The table is full and the bucket empty: evict from the next bucket that has something. */
static void make_room(vs_mac_table *t, const struct bucket *from, uint32_t now_s)
{
    uint32_t start = (uint32_t)(from - t->buckets);
    for (uint32_t i = 1; i <= t->mask; i++) {
        struct bucket *b = &t->buckets[(start + i) & t->mask];
        if (oldest(b, now_s) == NULL || !try_lock(b))
            continue;
        struct entry *e = oldest(b, now_s);
        if (e != NULL) {
            int aged = is_aged(loc_of(e), now_s, atomic_load_explicit(&t->ageing_s, memory_order_relaxed));
            drop_entry(t, e);
            bump(aged ? &t->expired : &t->evicted);
        }
        unlock(b);
        if (e != NULL)
            return;
    }
}

void vs_mac_learn(vs_mac_table *t, const uint8_t *mac, uint16_t vlan, uint32_t port, uint32_t now_s)
{
    uint64_t id = make_id(mac, vlan), loc = make_loc(port, now_s);
    if ((mac[0] & 1) || (id & 0xffffffffffffULL) == 0 || port == 0)
        return;
    struct bucket *b = bucket_of(t, id);
    struct entry *e = find(b, id);
    if (VS_LIKELY(e != NULL)) {
        uint64_t old = loc_of(e);
        uint32_t ageing = atomic_load_explicit(&t->ageing_s, memory_order_relaxed);
        if (VS_LIKELY(old >> 32 == port && !is_aged(old, now_s, ageing))) {
            if ((int32_t)(now_s - (uint32_t)old) > 0)
                atomic_compare_exchange_strong_explicit(&e->loc, &old, loc, memory_order_relaxed,
                                                        memory_order_relaxed);
            return;
        }
    }
    for (int i = 0; i < 4; i++) { /* other cores may take the room that was made */
        if (!try_lock(b))
            return;
        int done = insert(t, b, id, loc);
        unlock(b);
        if (done || atomic_load_explicit(&t->limit, memory_order_relaxed) == 0)
            return;
        make_room(t, b, now_s);
    }
}

/* Remove each entry that `want` names, all buckets, one at a time. Returns how many. */
static uint32_t sweep(vs_mac_table *t, int (*want)(uint64_t loc, uint32_t a, uint32_t b), uint32_t a,
                      uint32_t b)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i <= t->mask; i++) {
        struct bucket *bucket = &t->buckets[i];
        lock(bucket);
        for (int k = 0; k < WAYS; k++)
            if (id_of(&bucket->e[k]) != 0 && want(loc_of(&bucket->e[k]), a, b)) {
                drop_entry(t, &bucket->e[k]);
                n++;
            }
        unlock(bucket);
    }
    return n;
}

static int want_all(uint64_t loc, uint32_t a, uint32_t b)
{
    return 1;
}

static int want_port(uint64_t loc, uint32_t port, uint32_t b)
{
    return (uint32_t)(loc >> 32) == port;
}

void vs_mac_flush(vs_mac_table *t)
{
    sweep(t, want_all, 0, 0);
}

void vs_mac_flush_port(vs_mac_table *t, uint32_t port)
{
    sweep(t, want_port, port, 0);
}

uint32_t vs_mac_expire(vs_mac_table *t, uint32_t now_s)
{
    uint32_t n = sweep(t, is_aged, now_s, atomic_load_explicit(&t->ageing_s, memory_order_relaxed));
    atomic_fetch_add_explicit(&t->expired, n, memory_order_relaxed);
    return n;
}

uint32_t vs_mac_table_set(vs_mac_table *t, uint32_t limit, uint32_t ageing_s)
{
    limit = VS_MIN(limit, t->capacity);
    atomic_store_explicit(&t->limit, limit, memory_order_relaxed);
    atomic_store_explicit(&t->ageing_s, ageing_s, memory_order_relaxed);
    vs_normal_changed();
    /* One of each bucket in turn, the longest unseen first; it ends because cores insert nothing beyond the limit. */
    for (uint32_t i = 0; atomic_load_explicit(&t->entries, memory_order_relaxed) > limit; i++) {
        struct bucket *b = &t->buckets[i & t->mask];
        lock(b);
        uint32_t newest = 0;
        for (int k = 0; k < WAYS; k++)
            newest = VS_MAX(newest, (uint32_t)loc_of(&b->e[k]));
        struct entry *e = oldest(b, newest);
        if (e != NULL) {
            drop_entry(t, e);
            bump(&t->evicted);
        }
        unlock(b);
    }
    return limit;
}

uint32_t vs_mac_dump(vs_mac_table *t, struct vs_mac_entry *to, uint32_t max, uint32_t now_s)
{
    uint32_t n = 0, ageing = atomic_load_explicit(&t->ageing_s, memory_order_relaxed);
    for (uint32_t i = 0; i <= t->mask; i++) {
        struct bucket *b = &t->buckets[i];
        lock(b);
        for (int k = 0; k < WAYS; k++) {
            uint64_t id = id_of(&b->e[k]), loc = loc_of(&b->e[k]);
            if (id == 0 || is_aged(loc, now_s, ageing))
                continue;
            if (n < max) {
                int32_t age = (int32_t)(now_s - (uint32_t)loc);
                vs_put_be16(to[n].mac, (uint16_t)(id >> 32));
                vs_put_be32(to[n].mac + 2, (uint32_t)id);
                to[n].vlan = (uint16_t)(id >> 48) & 0xfff;
                to[n].port = (uint32_t)(loc >> 32);
                to[n].age_s = age > 0 ? (uint32_t)age : 0;
            }
            n++;
        }
        unlock(b);
    }
    return n;
}

void vs_mac_stats(const vs_mac_table *t, struct vs_mac_stats *to)
{
    to->learned = atomic_load_explicit(&t->learned, memory_order_relaxed);
    to->moved = atomic_load_explicit(&t->moved, memory_order_relaxed);
    to->expired = atomic_load_explicit(&t->expired, memory_order_relaxed);
    to->evicted = atomic_load_explicit(&t->evicted, memory_order_relaxed);
    to->entries = atomic_load_explicit(&t->entries, memory_order_relaxed);
    to->limit = atomic_load_explicit(&t->limit, memory_order_relaxed);
    to->ageing_s = atomic_load_explicit(&t->ageing_s, memory_order_relaxed);
}

uint32_t vs_mac_stress(vs_mac_table *t, uint32_t seed, uint32_t n)
{
    enum { MACS = 32 }; /* twice what a bucket holds: entries are replaced all the time */
    uint8_t macs[MACS][6];
    uint32_t wrong = 0, r = seed | 1;
    for (uint32_t i = 0, found = 0; found < MACS; i++) {
        memcpy(macs[found], (const uint8_t[6]){2}, 6);
        vs_put_be32(macs[found] + 2, i);
        found += bucket_of(t, make_id(macs[found], 1)) == t->buckets;
    }
    for (uint32_t i = 0; i < n; i++) {
        r ^= r << 13; /* xorshift32 */
        r ^= r >> 17;
        r ^= r << 5;
        uint32_t who = (r >> 8) % MACS;
        if (r & 1)
            vs_mac_learn(t, macs[who], 1, who * 4 + 1 + (r >> 1 & 3), 1 + (i >> 12));
        uint32_t port = vs_mac_lookup(t, macs[(r >> 16) % MACS], 1, 1 + (i >> 12));
        wrong += port != 0 && (port - 1) / 4 != (r >> 16) % MACS;
    }
    return wrong;
}
