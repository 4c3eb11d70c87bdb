/* path.c: see path.h. */
#include "path.h"

#include "execute.h"
#include "miss.h"
#include "parse.h"
#include "trace.h"

/* The program of the packets that an action of the rule before `end` ended: its rules count them, those behind do not. */
static struct vs_program *ended_program(struct vs_core *c, struct vs_draft *d, const struct vs_path *path,
                                        unsigned end)
{
    memcpy(d->rules, path->rules, end * sizeof d->rules[0]);
    d->rules[end] = &vs_marker_end;
    d->n_rules = (uint16_t)(end + 1);
    d->n_actions = 0;
    d->first = (uint16_t)path->first;
    return vs_programs_intern(&c->programs, d);
}

/* Count a packet of `bytes` bytes for the rules of the path that saw it. */
static void count_path(struct vs_core *c, struct vs_draft *d, const struct vs_path *path, unsigned ended,
                       uint32_t bytes)
{
    unsigned end = VS_MIN(ended + 1, path->n_rules);
    struct vs_program *program = path->program;
    if (program != NULL && end < path->n_rules)
        program = ended_program(c, d, path, end);
    if (program == NULL) {
        vs_rules_count(path->rules + path->first, end - path->first, bytes, c->now_ms);
        return;
    }
    vs_count(&program->packets, 1);
    vs_count(&program->bytes, bytes);
    __atomic_store_n(&program->used_ms, c->now_ms, __ATOMIC_RELAXED);
}

void vs_path_run(struct vs_core *c, struct vs_draft *d, const struct vs_bridge *b, const struct vs_view *view,
                 struct vs_packet *orig, struct vs_path path)
{
    uint32_t bytes = orig->frame_len;
    struct vs_packet *p = orig;
    while (true) {
        struct vs_run run = {.c = c, .b = b, .view = view, .orig = orig, .ended = VS_NOT_ENDED};
        struct vs_key key;
        uint8_t dirty = 6;
        orig->drop = path.drop;
        vs_run_actions(&run, p, path.actions, path.n_actions);
        if (VS_LIKELY(c->trace == NULL || !c->trace->dry))
            count_path(c, d, &path, run.ended, bytes);
        if (run.recirc == NULL)
            return;
        p = run.recirc;
        vs_parse(p, b->index, &key, &dirty);
        if (p->head_len < 14 || (view->drop_fragments && (key.ip_frag[0] & VS_FRAG_ANY))) {
            orig->drop = p->head_len < 14 ? VS_DROP_RX_RUNT : VS_DROP_RX_FRAGMENT;
            return;
        }
        path = vs_miss_again(c, d, b, view, &key, &path, run.recirc_table);
    }
}
