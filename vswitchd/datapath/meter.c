/* meter.c: making meters, running them, reading their counters; see meter.h. */
#include "meter.h"

#include <errno.h>

#include "bridge.h"

int vs_bridge_meter_set(vs_bridge *b, uint32_t id, uint16_t flags, const struct vs_band_spec *bands,
                        uint32_t n)
{
    (void)b, (void)id, (void)flags, (void)bands, (void)n;
    return -EINVAL;
}

int vs_bridge_meter_remove(vs_bridge *b, uint32_t id)
{
    (void)b, (void)id;
    return 0;
}

int vs_bridge_meter_stats(vs_bridge *b, uint32_t id, struct vs_meter_stats *to, uint32_t max)
{
    (void)b, (void)id, (void)to, (void)max;
    return -ENOENT;
}
