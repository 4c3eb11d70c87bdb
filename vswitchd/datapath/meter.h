/* meter.h: OpenFlow meters (1.3.5, 5.7): bands of token buckets that several cores share.
 *
 * How it works: per band one atomic word, a time in 1/256 ns: when the bucket would be full again if nothing came. A packet
 * that finds tokens takes what it costs, even if that makes the bucket negative, so the mean rate is exact for packets of any
 * size. Of the bands that are exceeded the one with the highest rate applies. Looked up by number in the view (items.h).
 *
 * Thread safety: vs_meter_run: any core. All else: control thread.
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
};

struct vs_band_spec {
    uint16_t type;
    uint8_t prec_level; /* DSCP_REMARK: drop precedences to add */
    uint8_t pad;
    uint32_t rate;  /* kb/s or packets/s */
    uint32_t burst; /* kb or packets; with VS_METER_BURST */
};

struct vs_meter_stats { /* [0] of the whole meter, then of each band */
    uint64_t packets, bytes;
};

#endif
