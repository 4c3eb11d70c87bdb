/* program.c: interning, sweeping and counting programs; see program.h. */
#include "program.h"

#include <errno.h>
#include <sys/mman.h>

enum {
    INDEX_SIZE = 1 << 20,
    SWEEP_STEP = 512, /* slots per loop iteration: some 10 us when all are touched */
};

/* Address space per size class; pages appear when they are used. 128 bytes: 2 M programs of one output each. */
static const size_t arena_bytes[VS_PROGRAM_CLASSES] = {
    256u << 20, 256u << 20, 128u << 20, 64u << 20, 64u << 20,
    64u << 20,  64u << 20,  64u << 20,  64u << 20, 64u << 20,
};

struct vs_rule vs_marker_recirc = {.priority = -1, .goto_table = -1};
struct vs_rule vs_marker_punt = {.priority = -1, .goto_table = -1};
struct vs_rule vs_marker_end = {.priority = -1, .goto_table = -1};

static void *map_zero(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

int vs_programs_init(struct vs_programs *ps)
{
    memset(ps, 0, sizeof *ps);
    ps->index = map_zero(INDEX_SIZE * sizeof *ps->index);
    ps->index_mask = INDEX_SIZE - 1;
    bool ok = ps->index != NULL;
    for (unsigned c = 0; c < VS_PROGRAM_CLASSES; c++) {
        ps->classes[c].base = map_zero(arena_bytes[c]);
        ps->classes[c].limit = (uint32_t)(arena_bytes[c] / ((size_t)VS_PROGRAM_SIZE0 << c));
        ok = ok && ps->classes[c].base != NULL;
    }
    if (ok)
        return 0;
    vs_programs_destroy(ps);
    return -ENOMEM;
}

void vs_programs_destroy(struct vs_programs *ps)
{
    if (ps->index != NULL)
        munmap(ps->index, INDEX_SIZE * sizeof *ps->index);
    for (unsigned c = 0; c < VS_PROGRAM_CLASSES; c++)
        if (ps->classes[c].base != NULL)
            munmap(ps->classes[c].base, arena_bytes[c]);
    memset(ps, 0, sizeof *ps);
}

static struct vs_program *slot_at(const struct vs_programs *ps, unsigned size_class, uint32_t i)
{
    return (struct vs_program *)(void *)(ps->classes[size_class].base +
                                         ((size_t)i * VS_PROGRAM_SIZE0 << size_class));
}

uint32_t vs_program_id(const struct vs_programs *ps, const struct vs_program *p)
{
    size_t at = (size_t)((const uint8_t *)p - ps->classes[p->size_class].base);
    return ((uint32_t)p->size_class << 24) + (uint32_t)(at / VS_PROGRAM_SIZE0 >> p->size_class) + 1;
}

static struct vs_program *slot_alloc(struct vs_programs *ps, size_t size)
{
    for (unsigned c = 0; c < VS_PROGRAM_CLASSES; c++) {
        struct vs_program_class *cl = &ps->classes[c];
        if (size > (size_t)VS_PROGRAM_SIZE0 << c)
            continue;
        struct vs_program *p = cl->free;
        if (p != NULL) {
            cl->free = p->next;
        } else {
            uint32_t n = atomic_load_explicit(&cl->n, memory_order_relaxed);
            if (n == cl->limit)
                continue; /* a larger slot will do */
            p = slot_at(ps, c, n);
            atomic_store_explicit(&p->state, VS_PROGRAM_LISTED, memory_order_relaxed);
            atomic_store_explicit(&cl->n, n + 1, memory_order_release); /* pairs with vs_programs_harvest */
        }
        p->size_class = (uint8_t)c;
        return p;
    }
    return NULL;
}

static uint32_t path_hash(const struct vs_draft *d)
{
    uint64_t h = d->n_rules;
    for (unsigned i = 0; i < d->n_rules; i++)
        h = vs_hash_word(h, (uint64_t)(uintptr_t)d->rules[i]);
    return vs_hash_end(h);
}

static void fill(struct vs_program *p, const struct vs_draft *d, uint32_t hash)
{
    p->packets = p->bytes = p->used_ms = 0;
    p->taken_packets = p->taken_bytes = 0;
    p->group = 0;
    p->n_rules = d->n_rules;
    p->n_actions = d->n_actions;
    p->drop = d->drop;
    p->first = d->first;
    p->hash = hash;
    memcpy(p->rules, d->rules, d->n_rules * sizeof d->rules[0]);
    memcpy(p->rules + d->n_rules, d->actions, d->n_actions * sizeof d->actions[0]);
    p->single_output = d->n_actions == 1 && d->actions[0].type == VS_ACT_OUTPUT &&
                       (d->actions[0].arg < VS_OFPP_FIRST_RESERVED || d->actions[0].arg == VS_OFPP_LOCAL);
}

struct vs_program *vs_programs_intern(struct vs_programs *ps, const struct vs_draft *d)
{
    uint32_t hash = path_hash(d);
    struct vs_program **chain = &ps->index[hash & ps->index_mask];
    for (struct vs_program *p = *chain; p != NULL; p = p->next)
        if (p->hash == hash && p->n_rules == d->n_rules &&
            memcmp(p->rules, d->rules, d->n_rules * sizeof d->rules[0]) == 0)
            return p;
    size_t size =
        sizeof(struct vs_program) + d->n_rules * sizeof d->rules[0] + d->n_actions * sizeof d->actions[0];
    struct vs_program *p = slot_alloc(ps, size);
    if (p == NULL) {
        vs_count(&ps->refused, 1);
        return NULL;
    }
    fill(p, d, hash);
    p->next = *chain;
    *chain = p;
    atomic_store_explicit(&p->state, VS_PROGRAM_LIVE,
                          memory_order_release); /* pairs with vs_programs_harvest */
    vs_count(&ps->live, 1);
    return p;
}

static void retire_if_dead(struct vs_programs *ps, struct vs_program *p)
{
    bool dead = false;
    for (unsigned i = 0; i < p->n_rules; i++)
        dead |= atomic_load_explicit(&p->rules[i]->dead, memory_order_relaxed) != 0;
    if (!dead)
        return;
    struct vs_program **at = &ps->index[p->hash & ps->index_mask];
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    vs_count(&ps->live, (uint64_t)-1);
    atomic_store_explicit(&p->state, VS_PROGRAM_RETIRED,
                          memory_order_release); /* pairs with vs_programs_harvest */
}

bool vs_programs_sweep(struct vs_programs *ps, uint64_t epoch)
{
    if (!ps->sweeping) {
        if (ps->sweep_epoch == epoch)
            return false;
        ps->sweeping = true;
        ps->sweep_epoch = epoch;
        ps->sweep_class = ps->sweep_at = 0;
    }
    for (unsigned step = 0; step < SWEEP_STEP; step++) {
        struct vs_program_class *cl = &ps->classes[ps->sweep_class];
        if (ps->sweep_at == atomic_load_explicit(&cl->n, memory_order_relaxed)) {
            ps->sweep_at = 0;
            if (++ps->sweep_class < VS_PROGRAM_CLASSES)
                continue;
            ps->sweeping = false;
            /* Release: the retired states are seen before the epoch is. Pairs with the control thread's housekeeping. */
            atomic_store_explicit(&ps->swept, ps->sweep_epoch, memory_order_release);
            return ps->sweep_epoch != epoch;
        }
        struct vs_program *p = slot_at(ps, ps->sweep_class, ps->sweep_at++);
        uint32_t state =
            atomic_load_explicit(&p->state, memory_order_acquire); /* pairs with FREE in harvest */
        if (state == VS_PROGRAM_LIVE) {
            retire_if_dead(ps, p);
        } else if (state == VS_PROGRAM_FREE) {
            p->next = cl->free;
            cl->free = p;
            atomic_store_explicit(&p->state, VS_PROGRAM_LISTED, memory_order_relaxed);
        }
    }
    return true;
}

static void harvest_one(struct vs_program *p)
{
    uint64_t packets = vs_count_read(&p->packets), bytes = vs_count_read(&p->bytes),
             used = vs_count_read(&p->used_ms);
    uint64_t dp = packets - p->taken_packets, db = bytes - p->taken_bytes;
    if (dp == 0 && db == 0)
        return;
    p->taken_packets = packets;
    p->taken_bytes = bytes;
    for (unsigned i = p->first; i < p->n_rules; i++) {
        struct vs_rule *r = p->rules[i];
        if (r->table == NULL) /* a marker */
            continue;
        r->packets += dp;
        r->bytes += db;
        r->used_ms = VS_MAX(r->used_ms, used);
        r->table->lookups += dp;
        if (r->priority >= 0)
            r->table->matches += dp;
    }
}

void vs_programs_harvest(struct vs_programs *ps)
{
    for (unsigned c = 0; c < VS_PROGRAM_CLASSES; c++) {
        uint32_t n =
            atomic_load_explicit(&ps->classes[c].n, memory_order_acquire); /* pairs with slot_alloc */
        for (uint32_t i = 0; i < n; i++) {
            struct vs_program *p = slot_at(ps, c, i);
            uint32_t state =
                atomic_load_explicit(&p->state, memory_order_acquire); /* pairs with intern and retire */
            if (state == VS_PROGRAM_LIVE || state == VS_PROGRAM_RETIRED)
                harvest_one(p);
            if (state == VS_PROGRAM_RETIRED)
                atomic_store_explicit(&p->state, VS_PROGRAM_FREE,
                                      memory_order_release); /* pairs with sweep */
        }
    }
}

void vs_rules_count(struct vs_rule *const *rules, unsigned n, uint64_t bytes, uint64_t now_ms)
{
    for (unsigned i = 0; i < n; i++) {
        struct vs_rule *r = rules[i];
        if (r->table == NULL) /* a marker */
            continue;
        atomic_fetch_add_explicit(&r->direct_packets, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&r->direct_bytes, bytes, memory_order_relaxed);
        atomic_store_explicit(&r->direct_used_ms, now_ms, memory_order_relaxed);
        atomic_fetch_add_explicit(&r->table->direct_lookups, 1, memory_order_relaxed);
        if (r->priority >= 0)
            atomic_fetch_add_explicit(&r->table->direct_matches, 1, memory_order_relaxed);
    }
}
