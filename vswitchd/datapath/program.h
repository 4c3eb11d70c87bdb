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
 * Plain programs: where a packet's whole path is one rule of table 0 whose instructions the walk need not touch (`plain` in rule.h), the
 * rule's number says where its program lies: an array of one cache line for each rule, with the rule's own actions. Nothing is hashed
 * or interned, and a look-up that has found the rule's number can fetch the program before it has seen the rule (direct.h).
 *
 * Life of the others: FREE -> LIVE (the core interns) -> RETIRED (the core's sweep found a dead rule in the path and took the program
 * out of its index) -> FREE (the control thread took the last counts; the core finds it in a later sweep). Cache entries that
 * still point at a retired program are stale by their version: the rule died after every core had left the last version
 * that shows it. A plain program is FREE -> LIVE (the core meets the rule) -> FREE (the control thread, when no core can meet the rule
 * any more): removing rules that are in no other path takes no sweep (`in_path` in rule.h).
 * The control thread adds counters to the rules by vs_programs_harvest: the difference since the last time, which it keeps in arrays
 * of its own, so that a program is one line for its core.
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
    VS_PROGRAM_CLASSES = 11,   /* 64 << class bytes */
    VS_PROGRAM_SIZE0 = 64,
    VS_PROGRAM_PLAIN = 0xff, /* size_class of plain programs */
};
_Static_assert((int)VS_RULE_PLAIN_ACTIONS == (int)VS_PROGRAM_ACTIONS, "a plain rule's actions are a program");

enum vs_program_state {
    VS_PROGRAM_FREE,
    VS_PROGRAM_LIVE,
    VS_PROGRAM_RETIRED,
    VS_PROGRAM_LISTED /* on the core's free list */
};

struct vs_program { /* the owning core writes */
    uint64_t packets, bytes, used_ms;
    const struct vs_action *actions; /* behind the rules, or those of a plain rule */
    uint32_t next;                   /* in the index, or in the free list: vs_program_id, 0: none */
    _Atomic uint32_t
        state; /* core: LIVE, RETIRED, LISTED; control thread: RETIRED -> FREE. Release stores, acquire loads */
    uint32_t out; /* the only action: output to this real port, or OFPP_NORMAL; 0: not so */
    uint16_t n_rules;
    uint16_t n_actions;
    uint16_t first; /* rules before it were counted by an earlier program of the packet */
    uint8_t drop;   /* reason when nothing is done with the packet */
    uint8_t size_class;
    struct vs_rule *rules[]; /* n_rules, then the actions if they are its own */
};
VS_ASSERT_SIZE(struct vs_program, 56); /* with one rule: one cache line */

struct vs_taken { /* control thread: what of a program's counters stands in the rules */
    uint64_t packets, bytes;
};

/* A walk's result before it is interned. */
struct vs_draft {
    uint16_t n_rules, n_actions, first;
    uint8_t drop;
    struct vs_rule *rules[VS_PATH_MAX];
    struct vs_action actions[VS_PROGRAM_ACTIONS];
};

struct vs_program_class {
    uint8_t *base;
    struct vs_taken *taken;
    _Atomic uint32_t n; /* slots ever used; release by the core, acquire by harvest */
    uint32_t limit;
    uint32_t free;
};

struct vs_programs {
    struct vs_program *plain; /* by the rule's number, one line each */
    struct vs_taken *plain_taken;
    _Atomic uint32_t n_plain; /* numbers below it may have one; release by the core, acquire by harvest */
    uint32_t *index;          /* chains by path hash */
    uint32_t index_mask;
    struct vs_program_class classes[VS_PROGRAM_CLASSES];
    uint32_t sweep_class, sweep_at;
    uint64_t sweep_epoch; /* epoch of the sweep under way, or of the last one */
    bool sweeping;
    _Atomic uint64_t swept; /* last epoch fully swept; pairs with the control thread's check */
    uint64_t live, refused; /* owner writes; plain ones are not among them */
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
/* Not NULL: a plain rule's program. */
static inline struct vs_program *vs_program_plain(const struct vs_programs *ps, uint32_t rule)
{
    return (struct vs_program *)(void *)((uint8_t *)ps->plain + (size_t)rule * VS_PROGRAM_SIZE0);
}
/* Make it: the core meets the rule for the first time. */
void vs_programs_meet(struct vs_programs *ps, struct vs_program *p, struct vs_rule *r);
/* Control thread: take the last counts of the rule's plain program, and end it. No core can meet the rule any more. */
void vs_programs_forget(struct vs_programs *ps, struct vs_rule *r);
/* Add what was counted since the last time to rules and tables. */
void vs_programs_harvest(struct vs_programs *ps);
/* Count one packet for n rules without a program. Any thread. */
void vs_rules_count(struct vs_rule *const *rules, unsigned n, uint64_t bytes, uint64_t now_ms);
#endif

#endif
