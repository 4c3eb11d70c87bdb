/* miss.c: see miss.h. */
#include "miss.h"

#include "trace.h"

/* A cache miss: walk, intern, remember. NULL: the program has no place, the packet was executed from the draft. */
static struct vs_program *walk(struct vs_core *c, struct vs_scratch *s, const struct vs_bridge *b,
                               const struct vs_view *view, struct vs_packet *p, int i)
{
    struct vs_key key = s->keys[i];
    struct vs_draft *d = &s->draft;
    d->n_rules = 0;
    vs_pipeline_walk(b, view, &key, 0, d);
    if (VS_UNLIKELY(c->trace != NULL)) /* core 0: a packet that does not exist */
        vs_trace_path(c, d, &key);
    struct vs_program *program = c->index != 0 ? vs_programs_intern(&c->programs, d) : NULL;
    if (program == NULL) {
        vs_path_run(c, d, b, view, p, vs_path_of_draft(d));
        return NULL;
    }
    vs_miss_remember(c, s, view, (unsigned)i, program);
    return program;
}

/* What a packet of the batch before this one put into the cache. */
static struct vs_program *just_found(const struct vs_core *c, const struct vs_scratch *s,
                                     const struct vs_view *view, unsigned i)
{
    const struct vs_emc_entry *at = vs_emc_search(&c->emc, &s->keys[i], s->hash[i], s->ext[i]);
    return at != NULL && at->version == (uint32_t)view->version ? at->program : NULL;
}

unsigned vs_miss_batch(struct vs_core *c, struct vs_scratch *s, const struct vs_bridge *b,
                       const struct vs_view *view, struct vs_packet **pkts, const uint8_t *at, unsigned n)
{
    unsigned n_known = 0;
    for (unsigned k = 0; k < n; k++) {
        unsigned i = at[k];
        struct vs_program *program = just_found(c, s, view, i);
        n_known += program != NULL;
        s->program[i] = program != NULL ? program : walk(c, s, b, view, pkts[i], (int)i);
    }
    return n_known;
}

struct vs_path vs_miss_again(struct vs_core *c, struct vs_draft *d, const struct vs_bridge *b,
                             const struct vs_view *view, const struct vs_key *key, const struct vs_path *path,
                             unsigned table)
{
    struct vs_key masked = *key, walked;
    uint32_t version = (uint32_t)view->version;
    bool cached = path->program != NULL && c->emc.n_entries != 0;
    uint32_t id = path->program != NULL ? vs_program_id(&c->programs, path->program) : 0;
    vs_key_apply(&masked, &view->used);
    memcpy(masked.recirc_id, &id, sizeof id);
    bool ext = view->ext && vs_key_is_ext(&masked);
    uint32_t hash = cached ? vs_emc_hash(&c->emc, &masked, ext) : 0;
    if (cached) {
        /* Of this version only: the id of a program says which it is no longer than that. */
        const struct vs_emc_entry *at = vs_emc_search(&c->emc, &masked, hash, ext);
        bool known = at != NULL && at->version == version;
        vs_count(known ? &c->stats.emc_hits : &c->stats.emc_misses, 1);
        if (known)
            return vs_path_of_program(at->program);
    }
    if (path->rules != d->rules)
        memcpy(d->rules, path->rules, path->n_rules * sizeof d->rules[0]);
    d->n_rules = (uint16_t)path->n_rules;
    walked = masked;
    vs_pipeline_walk(b, view, &walked, (uint8_t)table, d);
    if (VS_UNLIKELY(c->trace != NULL))
        vs_trace_path(c, d, &walked);
    struct vs_program *program = path->program != NULL ? vs_programs_intern(&c->programs, d) : NULL;
    if (program == NULL)
        return vs_path_of_draft(d);
    if (cached)
        vs_emc_insert(&c->emc, &masked, hash, ext,
                      &(struct vs_emc_value){program, version, view->changes.from});
    return vs_path_of_program(program);
}
