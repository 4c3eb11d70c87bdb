/* rings.h: what the benchmarks ports.c and wake.c share: guests that send short frames to each other through a bridge, and idle ones.
 *
 * Included by one file of a program.
 *
 * Thread safety: one thread plays all guests.
 */
#ifndef VS_BENCH_RINGS_H
#define VS_BENCH_RINGS_H

#include <stdio.h>

#define GUEST_MEGABYTES 96

#include "datapath.h"
#include "guest_ring.h"

enum { FRAME = 60 };

static const struct vs_guest_mem *mem;

/* A ring of a guest that sends frames and has room for some, or of an idle one. */
static void start(struct guest_ring *r, struct vs_port *port, unsigned number, bool packed, bool busy,
                  int kick_fd)
{
    guest_ring_make(r, port, number, mem, packed, busy ? FRAME : 0, kick_fd);
    if (number == 0 && busy)
        guest_publish(r, GUEST_RING - 64);
}

static void write_frames(const struct guest_ring *r)
{
    static const uint8_t udp[42] = {2,    0, 0,  0,   0, 2, 2, 0,   0,  0,   0, 1,  8,  0,
                                    0x45, 0, 0,  46,  0, 0, 0, 0,   64, 17,  0, 0,  10, 254,
                                    0,    0, 10, 253, 0, 0, 3, 232, 3,  233, 0, 26, 0,  0};
    for (unsigned i = 0; i < GUEST_RING; i++)
        memcpy(guest_frame(r, i), udp, sizeof udp);
}

/* Port 1 to port 2 and back. */
static void add_rules(vs_bridge *b)
{
    for (uint8_t in = 1; in <= 2; in++) {
        struct vs_key value = {.in_port = {0, 0, 0, in}}, mask = {{0}};
        memset(mask.in_port, 255, sizeof mask.in_port);
        struct vs_rule_spec spec = {.priority = 10, .goto_table = -1, .n_apply = 1};
        struct vs_action out = {.type = VS_ACT_OUTPUT, .arg = 3u - in, .max_len = 0xffff};
        if (vs_bridge_rule_add(b, &spec, &value, &mask, &out) == 0)
            exit(1);
    }
    vs_bridge_commit(b);
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

#endif
