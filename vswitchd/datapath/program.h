/* program.h: what a pipeline walk yields, shared by all packets that took the same path.
 *
 * How it works: a program is the list of rules hit (the path) and the flat list of datapath actions. Rules are immutable,
 * so the path alone determines the actions: programs are interned per core by their path, and every cache entry with
 * that path points at the same program, which carries the counters. Memory: per core one arena per size class, reserved as
 * address space once and touched as it fills, so the loop never allocates.
 *
 * A path may hold markers, rules that belong to no table: RECIRC, behind which the tables were looked up again for the packet as
 * the rules before had changed it; PUNT, a miss that goes to the controllers; END, an action of the last rule before ended the
 * packet. So paths that differ in this are different programs. A packet that is looked up again runs several programs, the path of
 * each of which starts with that of the one before: a program counts for its rules from `first` on, so that each rule of the
 * whole path counts the packet once.
 *
 * Life: FREE -> LIVE (the core interns) -> RETIRED (the core's sweep found a dead rule in the path and took the program out
 * of its index) -> FREE (the control thread took the last counts; the core finds it in a later sweep). Cache entries that
 * still point at a retired program are stale by their version: the rule died after every core had left the last version
 * that shows it.
 * The control thread adds counters to the rules by vs_programs_harvest: the difference since the last time.
 *
 * Thread safety: intern, sweep and counting: the owning core. Harvest: control thread, at any time.
 */
#ifndef VS_PROGRAM_H
#define VS_PROGRAM_H

#include "classifier.h"

#ifndef VS_CDEF
enum {
    VS_PATH_MAX = 2 * VS_MAX_TABLES +
        2,                     /* rules in a path: tables only go forward; a marker between two at most */
    VS_PROGRAM_ACTIONS = 1024, /* actions in a program */
    VS_PROGRAM_CLASSES = 10,   /* 128 << class bytes */
    VS_PROGRAM_SIZE0 = 128,
};

enum vs_program_state {
    VS_PROGRAM_FREE,
    VS_PROGRAM_LIVE,
    VS_PROGRAM_RETIRED,
    VS_PROGRAM_LISTED /* on the core's free list */
};

struct vs_program {
    /* line 0: the owning core writes */
    uint64_t packets, bytes, used_ms;
    struct vs_program *next; /* in the index, or in the free list */
    uint16_t group;          /* in the batch under way, if that batch's group of this number says so */
    uint16_t n_rules;
    uint16_t n_actions;
    uint8_t drop;          /* reason when nothing is done with the packet */
    uint8_t single_output; /* one action: output to one real port */
    uint32_t hash;
    uint8_t size_class;
    uint8_t pad;
    uint16_t first; /* rules before it were counted by an earlier program of the packet */
    _Atomic uint32_t
        state; /* core: LIVE, RETIRED, LISTED; control thread: RETIRED -> FREE. Release stores, acquire loads */
    /* line 1: the control thread writes */
    uint64_t taken_packets, taken_bytes;
    struct vs_rule *rules[]; /* n_rules, then the actions */
};

static inline const struct vs_action *vs_program_actions(const struct vs_program *p)
{
    return (const struct vs_action *)(const void *)(p->rules + p->n_rules);
}

/* A walk's result before it is interned. */
struct vs_draft {
    uint16_t n_rules, n_actions, first;
    uint8_t drop;
    struct vs_rule *rules[VS_PATH_MAX];
    struct vs_action actions[VS_PROGRAM_ACTIONS];
};

struct vs_program_class {
    uint8_t *base;
    _Atomic uint32_t n; /* slots ever used; release by the core, acquire by harvest */
    uint32_t limit;
    struct vs_program *free;
};

struct vs_programs {
    struct vs_program **index; /* chains by path hash */
    uint32_t index_mask;
    struct vs_program_class classes[VS_PROGRAM_CLASSES];
    uint32_t sweep_class, sweep_at;
    uint64_t sweep_epoch; /* epoch of the sweep under way, or of the last one */
    bool sweeping;
    _Atomic uint64_t swept; /* last epoch fully swept; pairs with the control thread's check */
    uint64_t live, refused; /* owner writes */
};

/* Rules of no table, for paths. */
extern struct vs_rule vs_marker_recirc, vs_marker_punt, vs_marker_end;

int vs_programs_init(struct vs_programs *ps); /* 0 or -ENOMEM */
void vs_programs_destroy(struct vs_programs *ps);
/* The program of that path; NULL when the arena is full (then execute the draft itself). */
struct vs_program *vs_programs_intern(struct vs_programs *ps, const struct vs_draft *d);
/* Not 0, and of no other program of this core as long as a cache entry that is not stale may hold it: the number of its slot. The
 * slot gets another program only after every core left all versions in which this one could run. */
uint32_t vs_program_id(const struct vs_programs *ps, const struct vs_program *p);
/* Do a part of the sweep for `epoch`. Returns false when nothing is left to do. */
bool vs_programs_sweep(struct vs_programs *ps, uint64_t epoch);
/* Add what was counted since the last time to rules and tables. */
void vs_programs_harvest(struct vs_programs *ps);
/* Count one packet for n rules without a program. Any thread. */
void vs_rules_count(struct vs_rule *const *rules, unsigned n, uint64_t bytes, uint64_t now_ms);
#endif

#endif
