/* watch.c: the number that makes watches old, and the two that need no driver's word; see watch.h. */
#include "watch.h"

static const uint16_t zero, one = 1;
const struct vs_watch vs_watch_never = {.word = &zero, .mask = 0xffff};
const struct vs_watch vs_watch_always = {.word = &one, .mask = 0xffff};
_Atomic uint64_t vs_watch_changes;
