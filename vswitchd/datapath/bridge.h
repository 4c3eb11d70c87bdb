/* bridge.h: one OpenFlow switch: tables, the view that packets see, ports by number, groups, the MAC table.
 *
 * How it works: all that a batch must see as one thing stands in an immutable view: the version of the tables, the union of all
 * masks (used_mask), fragment handling. A core loads the view once per batch. The control thread stages changes (rules
 * inserted but invisible, rules to be removed), then commits: it makes the next view and swaps the pointer. Rules that no
 * view shows any more are unlinked, marked dead, and given back (vs_bridge_take_retired) when no program refers to them.
 *
 * Thread safety: functions: control thread, unless said otherwise. The atomics below are read by cores.
 */
#ifndef VS_BRIDGE_H
#define VS_BRIDGE_H

#include "action.h"
#include "base.h"
#include "flow_key.h"
#include "group.h"
#include "mac_table.h"
#include "meter.h"
#include "port.h"

typedef struct vs_bridge vs_bridge;

struct vs_rule_stats {
    uint64_t packets, bytes, used_ms; /* used_ms: datapath clock, 0 never */
};

struct vs_rule_spec {
    uint8_t table;
    uint8_t clear;      /* CLEAR_ACTIONS */
    int16_t goto_table; /* -1: none */
    int32_t priority;   /* 0 .. 65535 */
    uint64_t cookie;
    uint8_t metadata[8], metadata_mask[8];
    uint32_t n_apply, n_write; /* actions: apply first, then write */
};

struct vs_retired {
    uint64_t rule; /* handle */
    uint64_t packets, bytes, used_ms;
};

struct vs_bridge_stats {
    uint64_t version;
    uint32_t n_rules, n_masks, n_ports;
    uint32_t n_subtables; /* what the masks are merged to: those of all tables that look-ups search */
};

#ifndef VS_CDEF
#include "changes.h"
#include "classifier.h"

struct vs_view {
    uint64_t version;
    struct vs_key used;                   /* union of all masks, with in_port and bridge */
    uint32_t words;                       /* bit i: word i of `used` is not zero */
    uint8_t n_words, index[VS_KEY_WORDS]; /* the same as a list */
    bool ext;                             /* words beyond block 0 */
    bool direct;                          /* look up in table 0 before the cache (direct.h) */
    bool drop_fragments;
    bool punt_miss; /* without a table-miss entry a packet goes to the controllers of OpenFlow 1.0 */
    struct vs_item_map *groups, *meters;
    struct vs_change_log changes;
};

struct vs_member_list { /* the bridge's ports, immutable */
    unsigned n;
    struct vs_port *port[];
};

struct vs_bridge {
    struct vs_view *_Atomic view;
    struct vs_member_list *_Atomic members;
    vs_mac_table *_Atomic macs;
    struct vs_port *_Atomic local;
    _Atomic uint8_t forward_bpdu;
    _Atomic uint8_t punt_ttl; /* dec_ttl at its end also goes to the controllers */
    uint16_t index;
    struct vs_table *_Atomic tables[VS_MAX_TABLES]; /* NULL: never had a rule */
    struct vs_port *_Atomic by_ofport[0x10000];
    /* control thread */
    struct vs_key masks_edited;          /* sources of actions: only grows */
    struct vs_edited edited;             /* what rules behind table 0 may see otherwise than it came */
    struct vs_item_stage groups, meters; /* what the next view shows */
    struct vs_rule *staged_add, *staged_remove, *zombies, *dying, *retired;
    uint64_t zombie_epoch;
    bool masks_changed;
    uint32_t n_rules;
    struct vs_dp *dp;
    char name[64];
};

/* Any core. */
static inline struct vs_port *vs_bridge_port(const struct vs_bridge *b, uint32_t ofport)
{
    if (ofport < 0x10000)
        return atomic_load_explicit(&b->by_ofport[ofport], memory_order_acquire);
    return ofport == VS_OFPP_LOCAL ? atomic_load_explicit(&b->local, memory_order_acquire) : NULL;
}

struct vs_bridge *vs_bridge_new(struct vs_dp *dp, const char *name, uint16_t index);
void vs_bridge_free(struct vs_bridge *b); /* after its ports are gone and a grace period */
/* Take the next step for removed rules; `swept` is the sweep epoch that all cores have done. */
void vs_bridge_housekeep(struct vs_bridge *b, uint64_t swept);
int vs_bridge_add_port(struct vs_bridge *b, struct vs_port *p, uint32_t ofport); /* 0 or -errno */
/* What it taught the MAC table goes after a grace period (vs_dp_detach). */
void vs_bridge_remove_port(struct vs_bridge *b, struct vs_port *p);
#endif

/* Stage a rule. Returns its handle, or 0 when out of memory or when a table, an action or a field does not exist. */
uint64_t vs_bridge_rule_add(vs_bridge *b, const struct vs_rule_spec *spec, const struct vs_key *value,
                            const struct vs_key *mask, const struct vs_action *actions);
void vs_bridge_rule_remove(vs_bridge *b, uint64_t rule); /* stage its removal */
/* Publish all staged changes at once. 0 or -ENOMEM (nothing published; try again). */
int vs_bridge_commit(vs_bridge *b);
/* Forget all staged changes. The handles of staged rules still come out of vs_bridge_take_retired. */
void vs_bridge_rollback(vs_bridge *b);
void vs_rule_read(uint64_t rule, struct vs_rule_stats *to); /* as of the last harvest */
uint32_t vs_bridge_take_retired(vs_bridge *b, struct vs_retired *to, uint32_t max);
int vs_bridge_set_drop_fragments(vs_bridge *b, int drop);
int vs_bridge_set_punt_miss(vs_bridge *b, int on); /* 0 or -ENOMEM */
void vs_bridge_stats(vs_bridge *b, struct vs_bridge_stats *to);
/* Lookups and matches of a table as of the last harvest. */
void vs_bridge_table_stats(vs_bridge *b, unsigned table, uint64_t *lookups, uint64_t *matches,
                           uint32_t *rules);
void vs_bridge_used_mask(vs_bridge *b, struct vs_key *to);
/* Stage a group; `actions` has the buckets' actions one after the other. 0, -ENOMEM, or -EINVAL: more than 65535 buckets or
 * actions of one, or an action that does not exist. */
int vs_bridge_group_set(vs_bridge *b, uint32_t id, int type, const struct vs_action *actions,
                        const struct vs_bucket_spec *buckets, uint32_t n);
int vs_bridge_group_remove(vs_bridge *b, uint32_t id); /* staged; 0 or -ENOMEM */
/* Stage a meter; 0, -ENOMEM or -EINVAL: a band or a rate that cannot be. */
int vs_bridge_meter_set(vs_bridge *b, uint32_t id, uint16_t flags, const struct vs_band_spec *bands,
                        uint32_t n);
int vs_bridge_meter_remove(vs_bridge *b, uint32_t id);
/* Counters of the meter in to[0], of its bands behind; 0 or -ENOENT. */
int vs_bridge_meter_stats(vs_bridge *b, uint32_t id, struct vs_meter_stats *to, uint32_t max);
/* Counters of the group in to[0], of its buckets behind; 0 or -ENOENT. */
int vs_bridge_group_stats(vs_bridge *b, uint32_t id, struct vs_group_stats *to, uint32_t max);
vs_mac_table *vs_bridge_macs(vs_bridge *b);
/* Bound and ageing of the MAC table; what was learned is lost when the table must grow. 0 or -ENOMEM. */
int vs_bridge_set_macs(vs_bridge *b, uint32_t limit, uint32_t ageing_s);
void vs_bridge_set_forward_bpdu(vs_bridge *b, int on);
void vs_bridge_set_punt_ttl(vs_bridge *b, int on);

#endif
