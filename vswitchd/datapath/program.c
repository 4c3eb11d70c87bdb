/* program.c: interning, sweeping and counting programs; see program.h. */
#include "program.h"

#include <errno.h>
#include <sys/mman.h>

#include "drop.h"

enum {
    INDEX_SIZE = 1 << 20,
    SWEEP_STEP = 512, /* slots per loop iteration: some 10 us when all are touched */
};

/* Address space per size class; pages appear when they are used. 128 bytes: 2 M programs of two rules and one output each. */
static const size_t arena_bytes[VS_PROGRAM_CLASSES] = {
    64u << 20, 256u << 20, 256u << 20, 128u << 20, 64u << 20, 64u << 20,
    64u << 20, 64u << 20,  64u << 20,  64u << 20,  64u << 20,
};

static const struct vs_instructions nothing = {.goto_table = -1};
struct vs_rule vs_marker_recirc = {.priority = -1, .instructions = &nothing};
struct vs_rule vs_marker_punt = {.priority = -1, .instructions = &nothing};
struct vs_rule vs_marker_end = {.priority = -1, .instructions = &nothing};

static void *map_zero(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

static void unmap(void *p, size_t size)
{
    if (p != NULL)
        munmap(p, size);
}

static uint32_t limit_of(unsigned size_class)
{
    return (uint32_t)(arena_bytes[size_class] / ((size_t)VS_PROGRAM_SIZE0 << size_class));
}

int vs_programs_init(struct vs_programs *ps)
{
    memset(ps, 0, sizeof *ps);
    ps->index = map_zero(INDEX_SIZE * sizeof *ps->index);
    ps->index_mask = INDEX_SIZE - 1;
    ps->plain = map_zero((size_t)VS_MAX_RULES * VS_PROGRAM_SIZE0);
    ps->plain_taken = map_zero((size_t)VS_MAX_RULES * sizeof *ps->plain_taken);
    bool ok = ps->index != NULL && ps->plain != NULL && ps->plain_taken != NULL;
    for (unsigned c = 0; c < VS_PROGRAM_CLASSES; c++) {
        struct vs_program_class *cl = &ps->classes[c];
        cl->base = map_zero(arena_bytes[c]);
        cl->limit = limit_of(c);
        cl->taken = map_zero(cl->limit * sizeof *cl->taken);
        ok = ok && cl->base != NULL && cl->taken != NULL;
    }
    if (ok) /* a hint: failing changes speed only */
        (void)madvise(ps->plain, (size_t)VS_MAX_RULES * VS_PROGRAM_SIZE0, MADV_HUGEPAGE);
    if (ok)
        return 0;
    vs_programs_destroy(ps);
    return -ENOMEM;
}

void vs_programs_destroy(struct vs_programs *ps)
{
    unmap(ps->index, INDEX_SIZE * sizeof *ps->index);
    unmap(ps->plain, (size_t)VS_MAX_RULES * VS_PROGRAM_SIZE0);
    unmap(ps->plain_taken, (size_t)VS_MAX_RULES * sizeof *ps->plain_taken);
    for (unsigned c = 0; c < VS_PROGRAM_CLASSES; c++) {
        unmap(ps->classes[c].base, arena_bytes[c]);
        unmap(ps->classes[c].taken, limit_of(c) * sizeof *ps->classes[c].taken);
    }
    memset(ps, 0, sizeof *ps);
}

static struct vs_program *slot_at(const struct vs_programs *ps, unsigned size_class, uint32_t i)
{
    return (struct vs_program *)(void *)(ps->classes[size_class].base +
                                         ((size_t)i * VS_PROGRAM_SIZE0 << size_class));
}

/* Of a program that is not plain: the class above, the slot's number plus 1 below. */
static uint32_t id_of(const struct vs_programs *ps, const struct vs_program *p)
{
    size_t at = (size_t)((const uint8_t *)p - ps->classes[p->size_class].base);
    return ((uint32_t)p->size_class << 24) + (uint32_t)(at / VS_PROGRAM_SIZE0 >> p->size_class) + 1;
}

static struct vs_program *by_id(const struct vs_programs *ps, uint32_t id)
{
    return id == 0 ? NULL : slot_at(ps, id >> 24, (id & 0xffffff) - 1);
}

uint32_t vs_program_id(const struct vs_programs *ps, const struct vs_program *p)
{
    if (p->size_class == VS_PROGRAM_PLAIN)
        return UINT32_C(1) << 31 | vs_rule_number(p->rules[0]);
    return id_of(ps, p);
}

static struct vs_program *slot_alloc(struct vs_programs *ps, size_t size)
{
    for (unsigned c = 0; c < VS_PROGRAM_CLASSES; c++) {
        struct vs_program_class *cl = &ps->classes[c];
        if (size > (size_t)VS_PROGRAM_SIZE0 << c)
            continue;
        struct vs_program *p = by_id(ps, cl->free);
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

static uint32_t path_hash(struct vs_rule *const *rules, unsigned n)
{
    uint64_t h = vs_hash_secret ^ n;
    for (unsigned i = 0; i < n; i++)
        h = vs_mix(h, (uint64_t)(uintptr_t)rules[i]);
    return (uint32_t)h;
}

static void set_output(struct vs_program *p)
{
    const struct vs_action *a = p->actions;
    bool single = p->n_actions == 1 && a->type == VS_ACT_OUTPUT &&
                  (a->arg < VS_OFPP_FIRST_RESERVED || a->arg == VS_OFPP_LOCAL || a->arg == VS_OFPP_NORMAL);
    p->out = single ? a->arg : 0;
}

static void fill(struct vs_program *p, const struct vs_draft *d)
{
    struct vs_action *actions = (struct vs_action *)(void *)(p->rules + d->n_rules);
    p->packets = p->bytes = p->used_ms = 0;
    p->n_rules = d->n_rules;
    p->n_actions = d->n_actions;
    p->drop = d->drop;
    p->first = d->first;
    p->actions = actions;
    memcpy(p->rules, d->rules, d->n_rules * sizeof d->rules[0]);
    memcpy(actions, d->actions, d->n_actions * sizeof d->actions[0]);
    set_output(p);
}

void vs_programs_meet(struct vs_programs *ps, struct vs_program *p, struct vs_rule *r)
{
    uint32_t number = vs_rule_number(r);
    p->packets = p->bytes = p->used_ms = 0;
    p->n_rules = 1;
    p->n_actions = r->instructions->n_apply;
    p->drop = VS_DROP_RX_ACTION_DROP;
    p->first = 0;
    p->size_class = VS_PROGRAM_PLAIN;
    p->actions = r->instructions->actions;
    p->rules[0] = r;
    set_output(p);
    atomic_store_explicit(&p->state, VS_PROGRAM_LIVE, memory_order_release); /* pairs with harvest */
    if (number >= atomic_load_explicit(&ps->n_plain, memory_order_relaxed))
        atomic_store_explicit(&ps->n_plain, number + 1, memory_order_release); /* pairs with harvest */
}

struct vs_program *vs_programs_intern(struct vs_programs *ps, const struct vs_draft *d)
{
    if (d->n_rules == 1 && d->rules[0]->table_id == 0 && d->rules[0]->instructions->plain &&
        d->rules[0]->priority >= 0) {
        struct vs_program *p = vs_program_plain(ps, vs_rule_number(d->rules[0]));
        if (atomic_load_explicit(&p->state, memory_order_relaxed) != VS_PROGRAM_LIVE)
            vs_programs_meet(ps, p, d->rules[0]);
        return p;
    }
    uint32_t *chain = &ps->index[path_hash(d->rules, d->n_rules) & ps->index_mask];
    for (struct vs_program *p = by_id(ps, *chain); p != NULL; p = by_id(ps, p->next))
        if (p->n_rules == d->n_rules && memcmp(p->rules, d->rules, d->n_rules * sizeof d->rules[0]) == 0)
            return p;
    size_t size =
        sizeof(struct vs_program) + d->n_rules * sizeof d->rules[0] + d->n_actions * sizeof d->actions[0];
    struct vs_program *p = slot_alloc(ps, size);
    if (p == NULL) {
        vs_count(&ps->refused, 1);
        return NULL;
    }
    fill(p, d);
    p->next = *chain;
    *chain = id_of(ps, p);
    for (unsigned i = 0; i < d->n_rules; i++) /* seen after a grace period: vs_bridge_housekeep */
        if (atomic_load_explicit(&d->rules[i]->in_path, memory_order_relaxed) == 0)
            atomic_store_explicit(&d->rules[i]->in_path, 1, memory_order_relaxed);
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
    uint32_t id = id_of(ps, p), *at = &ps->index[path_hash(p->rules, p->n_rules) & ps->index_mask];
    while (*at != id)
        at = &by_id(ps, *at)->next;
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
            cl->free = id_of(ps, p);
            atomic_store_explicit(&p->state, VS_PROGRAM_LISTED, memory_order_relaxed);
        }
    }
    return true;
}

static void harvest_one(const struct vs_program *p, struct vs_taken *taken)
{
    uint64_t packets = vs_count_read(&p->packets), bytes = vs_count_read(&p->bytes),
             used = vs_count_read(&p->used_ms);
    uint64_t dp = packets - taken->packets, db = bytes - taken->bytes;
    if (dp == 0 && db == 0)
        return;
    *taken = (struct vs_taken){.packets = packets, .bytes = bytes};
    for (unsigned i = p->first; i < p->n_rules; i++) {
        struct vs_rule *r = p->rules[i];
        if (r->table == NULL) /* a marker */
            continue;
        vs_rule_count(r, dp, db, used);
        r->table->lookups += dp;
        if (r->priority >= 0)
            r->table->matches += dp;
    }
}

static void harvest_class(struct vs_programs *ps, unsigned c)
{
    struct vs_program_class *cl = &ps->classes[c];
    uint32_t n = atomic_load_explicit(&cl->n, memory_order_acquire); /* pairs with slot_alloc */
    for (uint32_t i = 0; i < n; i++) {
        struct vs_program *p = slot_at(ps, c, i);
        uint32_t state =
            atomic_load_explicit(&p->state, memory_order_acquire); /* pairs with intern and retire */
        if (state == VS_PROGRAM_LIVE || state == VS_PROGRAM_RETIRED)
            harvest_one(p, &cl->taken[i]);
        if (state == VS_PROGRAM_RETIRED) {
            cl->taken[i] = (struct vs_taken){0};
            atomic_store_explicit(&p->state, VS_PROGRAM_FREE, memory_order_release); /* pairs with sweep */
        }
    }
}

void vs_programs_harvest(struct vs_programs *ps)
{
    uint32_t n = atomic_load_explicit(&ps->n_plain, memory_order_acquire); /* pairs with vs_programs_meet */
    for (uint32_t i = 1; i < n; i++) {
        struct vs_program *p = vs_program_plain(ps, i);
        if (atomic_load_explicit(&p->state, memory_order_acquire) == VS_PROGRAM_LIVE)
            harvest_one(p, &ps->plain_taken[i]);
    }
    for (unsigned c = 0; c < VS_PROGRAM_CLASSES; c++)
        harvest_class(ps, c);
}

void vs_programs_forget(struct vs_programs *ps, struct vs_rule *r)
{
    uint32_t number = vs_rule_number(r);
    struct vs_program *p = vs_program_plain(ps, number);
    if (atomic_load_explicit(&p->state, memory_order_acquire) != VS_PROGRAM_LIVE) /* pairs with meet */
        return;
    harvest_one(p, &ps->plain_taken[number]);
    ps->plain_taken[number] = (struct vs_taken){0};
    atomic_store_explicit(&p->state, VS_PROGRAM_FREE,
                          memory_order_release); /* who meets the number again saw it in a newer table */
}

void vs_rules_count(struct vs_rule *const *rules, unsigned n, uint64_t bytes, uint64_t now_ms)
{
    for (unsigned i = 0; i < n; i++) {
        struct vs_rule *r = rules[i];
        if (r->table == NULL) /* a marker */
            continue;
        vs_rule_count(r, 1, bytes, now_ms);
        atomic_fetch_add_explicit(&r->table->direct_lookups, 1, memory_order_relaxed);
        if (r->priority >= 0)
            atomic_fetch_add_explicit(&r->table->direct_matches, 1, memory_order_relaxed);
    }
}
