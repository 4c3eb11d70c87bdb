/* drop.c: names of the drop reasons; see drop.h. */
#include "drop.h"

static const struct {
    const char *label, *help;
} reasons[VS_N_DROPS] = {
#define VS_DROP_ROW(name, label, help) [VS_DROP_##name] = {label, help},
    VS_RX_DROPS(VS_DROP_ROW) VS_TX_DROPS(VS_DROP_ROW)
#undef VS_DROP_ROW
};

const char *vs_drop_label(int reason)
{
    return reason >= 0 && reason < VS_N_DROPS ? reasons[reason].label : NULL;
}

const char *vs_drop_help(int reason)
{
    return reason >= 0 && reason < VS_N_DROPS ? reasons[reason].help : NULL;
}
