/* meter.h: OpenFlow meters (1.3.5, 5.7): bands of token buckets that several cores share.
 *
 * How it works: a bucket a band (token.h). A packet that finds tokens takes what it costs, even if that makes the bucket
 * negative, so the mean rate is exact for packets of any size. The bands are asked from the highest rate down, and the first that
 * is exceeded is the one that applies: a lower band measures what the higher ones let through, so that with a drop band above a
 * remark band the lower rate still gets through as it is. Looked up by number in the view (items.h) when the action runs.
 * What counts is what the wire would carry: whole Ethernet frames without preamble and FCS; a frame to be segmented is all of
 * its segments, for the rate and in the counters.
 *
 * Thread safety: vs_run_meter, vs_meter_measure: any core. All else: control thread.
 */
#ifndef VS_METER_H
#define VS_METER_H

#include "base.h"

enum {
    VS_METER_KBPS = 1, /* OFPMF_* */
    VS_METER_PKTPS = 2,
    VS_METER_BURST = 4,
    VS_METER_STATS = 8,
    VS_BAND_DROP = 1, /* OFPMBT_* */
    VS_BAND_DSCP_REMARK = 2,
    VS_METER_BANDS = 16, /* of one meter at most */
};

/* Meters of the switch itself (OFPM_*, 7.3.4.4): looked up as any other. */
enum vs_ofpm { VS_OFPM_CONTROLLER = 0xfffffffe };

struct vs_band_spec {
    uint16_t type;
    uint8_t prec_level; /* DSCP_REMARK: drop precedences to add */
    uint8_t pad;
    uint32_t rate;  /* kb/s or packets/s, not 0 */
    uint32_t burst; /* kb or packets; with VS_METER_BURST */
};

struct vs_meter_stats { /* [0] of the whole meter, then of each band */
    uint64_t packets, bytes;
};

#ifndef VS_CDEF
#include "items.h"
#include "tally.h"
#include "token.h"

struct vs_meter_band {
    struct vs_tb bucket; /* bits or packets */
    uint32_t rate;
    uint16_t verdict; /* what vs_run_meter returns for a packet above the rate */
    uint8_t place;    /* among the bands as they were given */
    struct vs_shared_count count;
};

/* Shared with the meter that a modification replaced: cores may still count by that. */
struct vs_meter_counts {
    struct vs_shared_count all;
    unsigned users; /* control thread */
};

struct vs_meter {
    struct vs_item item;
    uint16_t flags, n_bands;
    struct vs_meter_counts *counts;
    struct vs_meter_band bands[]; /* the highest rate first */
};

struct vs_core;
struct vs_view;
struct vs_packet;

/* Count and measure by the meter of that number: as vs_run_meter (execute.h); 0 when there is none. */
int vs_meter_measure(struct vs_core *c, const struct vs_view *view, const struct vs_packet *p, uint32_t id);
#endif

#endif
