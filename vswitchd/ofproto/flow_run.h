/* flow_run.h: runs of flow-mods that look like some seen before, decoded and made rules in one call.
 *
 * How it works: this file knows nothing of OpenFlow. Python decodes the first message of a kind by the one description that
 * there is (messages.py, fields.py), and makes a template of it: for each byte of its head (up to the end of the match)
 * the bits that every message of this kind must have, and where the values stand that may differ. A message whose head has
 * these bits needs no further check: bits that must be zero, prerequisites, masks, commands and flags are all among them. What
 * follows the head (the instructions) is compared with what Python compiled for this template before, a program: whole, or, where
 * fields are set, all but their values, which are put into the compiled actions. So a message is either of a known kind to
 * the last bit that counts, or it ends the run and goes through Python.
 *
 * Values are gathered twice: into the key of the datapath, and into a big-endian number, priority last, that is the key of
 * the flow entry in Python (match_shape.py). Bits of values that all of a kind have stand in the template.
 *
 * Thread safety: control thread.
 */
#ifndef VS_FLOW_RUN_H
#define VS_FLOW_RUN_H

#include "bridge.h"

typedef struct vs_flow_run vs_flow_run;

enum {
    VS_RUN_KEY =
        88, /* bytes of the packed match and its priority: an IPv6 five-tuple with MAC addresses and metadata */
    VS_RUN_TEMPLATES = 256,
    VS_RUN_SLOTS = 32,
    VS_RUN_HEAD = 1024,
    VS_RUN_TAIL = 4096,
    VS_RUN_ACTIONS = 160,
};

/* One value: `size` bytes at `from` of the message, shifted left by `shift` bits, end at `key_end` of struct vs_key; and, not
 * shifted, at `packed_end` of the packed number. */
struct vs_run_slot {
    uint16_t from, key_end, packed_end;
    uint8_t size, shift;
};

/* A value that a program sets: `size` bytes at `from` of the tail, shifted, end at `end` of the value of an action. */
struct vs_run_edit {
    uint16_t from, action;
    uint8_t size, shift, end;
};

/* Where the fixed part of a flow-mod has what may differ: bytes into the message; priority 0: all of a kind have one, which stands
 * in `packed` of the template. */
struct vs_run_places {
    uint16_t cookie, idle, hard, priority;
};

/* What all messages of a kind have: the bits of values that no slot has, the mask of the key; `adds`: they make rules. */
struct vs_run_common {
    struct vs_key key, key_mask;
    uint8_t packed[VS_RUN_KEY];
    struct vs_run_places at;
    uint8_t adds;
};

struct vs_run_flow {
    uint64_t rule; /* handle of the staged rule; 0: the template makes none */
    uint64_t cookie;
    uint32_t program;
    uint16_t kind; /* number of the template */
    uint16_t idle, hard;
    uint16_t n_tail; /* bytes behind the head, whose place is `tail` bytes into the data */
    uint32_t tail;
    uint8_t key[VS_RUN_KEY];
};
VS_ASSERT_SIZE(struct vs_run_flow, 120);

/* The bridge may be NULL: then messages that make rules are left alone. NULL: out of memory. */
vs_flow_run *vs_flow_run_new(vs_bridge *bridge);
void vs_flow_run_free(vs_flow_run *run);
void vs_flow_run_clear(vs_flow_run *run); /* forget all templates and programs */
/* A template: `n` bytes of mask and of what the masked head must be. Returns its number, -EINVAL where it does not fit, -ENOSPC
 * or -ENOMEM. */
int vs_flow_run_template(vs_flow_run *run, const uint8_t *mask, const uint8_t *head, uint32_t n,
                         const struct vs_run_slot *slots, uint32_t n_slots,
                         const struct vs_run_common *common);
/* A program of a template: the bytes behind the head (where there are edits: those bits of them that `mask` has), and the rule
 * that they make but for priority, cookie and the edits. 0 or -errno. */
int vs_flow_run_program(vs_flow_run *run, int kind, const uint8_t *tail, const uint8_t *mask, uint32_t n,
                        uint32_t program, const struct vs_rule_spec *spec, const struct vs_action *actions,
                        const struct vs_run_edit *edits, uint32_t n_edits);
/* The template of the first message, or -1. */
int vs_flow_run_kind(vs_flow_run *run, const uint8_t *data, size_t len);
/* Messages in envelopes: one of `n` bytes that has `head` where `mask` has bits stands before each, with the length of both and the
 * message's xid. Copy up to `max` of them that are of known kinds to `to`, which has room for `len` bytes. Returns how many; `used` bytes
 * are done, `copied` are in `to`. */
uint32_t vs_flow_run_unwrap(vs_flow_run *run, int version, const uint8_t *mask, const uint8_t *head,
                            uint32_t n, const uint8_t *data, size_t len, uint8_t *to, uint32_t max,
                            size_t *used, size_t *copied);
/* Take up to `max` messages of one version of OpenFlow from the beginning of `data`, staging their rules. Returns how many;
 * `used` bytes are done. */
uint32_t vs_flow_run_take(vs_flow_run *run, int version, const uint8_t *data, size_t len,
                          struct vs_run_flow *to, uint32_t max, size_t *used);

#endif
