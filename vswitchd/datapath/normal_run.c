/* normal_run.c: see normal_run.h. */
#include "normal_run.h"

#include "core.h"
#include "edit.h"
#include "parse.h"

/* What a packet is looked up by, and where. */
struct seat {
    uint64_t addresses, rest;
    struct vs_normal_memo *memo; /* VS_NORMAL_WAYS of them */
};

VS_ALWAYS_INLINE struct seat seat_of(const struct vs_core *c, const struct vs_port *in,
                                     const struct vs_packet *p)
{
    uint64_t tag = VS_UNLIKELY(p->n_tags != 0) ? vs_edit_outer_tci(p) : 0;
    struct seat s = {.addresses = vs_load64(p->data),
                     .rest = vs_load32(p->data + 8) | tag << 32 | (uint64_t)in->index << 48};
    uint64_t h = (s.addresses + c->emc.secret[0]) * 0x9e3779b97f4a7c15ULL ^ (s.rest + c->emc.secret[1]);
    s.memo = &c->normal[(h * 0xbf58476d1ce4e5b9ULL >> 52) * VS_NORMAL_WAYS];
    return s;
}
_Static_assert(VS_NORMAL_MEMO == VS_NORMAL_WAYS << 12, "the line is the upper 12 bits of 64");

VS_ALWAYS_INLINE bool is_for(const struct vs_normal_memo *m, const struct seat *s)
{
    return m->addresses == s->addresses && m->rest == s->rest;
}

/* The port, or 0. */
VS_ALWAYS_INLINE uint32_t recall(const struct seat *s, uint64_t time)
{
    const struct vs_normal_memo *m = s->memo;
    if (VS_LIKELY(is_for(m, s) && m->time == time))
        return m->to;
    return is_for(m + 1, s) && m[1].time == time ? m[1].to : 0;
}

/* Where to write: what is there for the packet already, or is of no use, else any. */
static struct vs_normal_memo *place(const struct seat *s, uint64_t time)
{
    struct vs_normal_memo *m = s->memo;
    if (is_for(m, s) || is_for(m + 1, s))
        return is_for(m, s) ? m : m + 1;
    if (m[0].time != time || m[1].time != time)
        return m[0].time != time ? m : m + 1;
    return m + (vs_cycles() >> 4 & 1);
}

/* The long way, and what there is to remember of it. */
static __attribute__((noinline)) void ask(struct vs_core *c, const struct vs_bridge *b, struct vs_port *in,
                                          const struct vs_program *program, struct vs_packet *p,
                                          const struct seat *s, uint64_t time)
{
    uint8_t src[6];
    memcpy(src, p->data + 6, sizeof src);
    p->drop = program->drop;
    uint16_t vlan;
    const struct vs_port *to = vs_output_normal(c, b, p, p, true, &vlan);
    if (to == NULL)
        return;
    vs_mac_table *macs = atomic_load_explicit(&b->macs, memory_order_acquire); /* pairs with set_macs */
    if (vs_mac_lookup(macs, src, vlan, (uint32_t)(c->now_ms / 1000)) == in->ofport)
        *place(s, time) = (struct vs_normal_memo){
            .addresses = s->addresses, .rest = s->rest, .time = time, .to = to->ofport};
}

unsigned vs_normal_run(struct vs_core *c, const struct vs_bridge *b, struct vs_port *in,
                       const struct vs_program *program, struct vs_packet **pkts, unsigned n)
{
    /* Before anything is looked up: what changes from now on is of a later era. */
    uint64_t era =
        atomic_load_explicit(&vs_normal_era, memory_order_acquire); /* pairs with vs_normal_changed */
    uint64_t time = era << 32 | (uint32_t)(c->now_ms / 1000);
    unsigned forwarded = 0, first = 0;
    uint32_t last = 0; /* where packets first .. i - 1 go; 0: there are none */
    struct seat seats[VS_BATCH];
    for (unsigned i = 0; i < n; i++) {
        seats[i] = seat_of(c, in, pkts[i]);
        VS_PREFETCH(seats[i].memo);
    }
    for (unsigned i = 0; i <= n; i++) {
        uint32_t to = VS_LIKELY(i < n) ? recall(&seats[i], time) : 0;
        if (VS_LIKELY(to == last && to != 0))
            continue;
        if (last != 0) {
            struct vs_port *out = vs_bridge_port(b, last);
            if (VS_LIKELY(out != NULL))
                forwarded += vs_core_forward(c, out, pkts + first, i - first);
            for (unsigned k = first; VS_UNLIKELY(out == NULL) && k < i; k++) /* it went in this moment */
                ask(c, b, in, program, pkts[k], &seats[k], time);
        }
        first = i;
        last = to;
        if (VS_UNLIKELY(to == 0 && i < n))
            ask(c, b, in, program, pkts[i], &seats[i], time);
    }
    return forwarded;
}
