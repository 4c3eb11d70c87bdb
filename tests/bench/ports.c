/* ports.c: what a port costs a core that has nothing for it: cycles of a turn with 2 busy ports and N idle ones, in one thread.
 *
 * How it works: vhost ports whose guest memory is ours. Two of them get 32 frames of 60 bytes before each turn of a manual core, as in
 * loop.c, or none (`quiet`); the turn alone is timed. Worlds with different numbers of idle ports take turns, block by block,
 * so the difference of their medians, divided by the number of ports, hardly feels a noisy machine.
 * Arguments: rounds. Build and run: python tests/bench/ports.py
 */
#include "rings.h"

enum {
    BLOCK = 20,
    BUSY = 2,
    WORLDS = 4,
};
static const unsigned IDLE[WORLDS] = {0, 16, 128, 512};

struct world {
    vs_dp *dp;
    struct guest_ring rings[BUSY][2];
    uint64_t *cycles;
};

/* The busy ports stand at both ends of the list. */
static void make(struct world *w, unsigned idle, bool packed, uint32_t rounds)
{
    unsigned n = idle + BUSY;
    w->dp = vs_dp_new(1 << 12, 1);
    w->cycles = calloc(rounds, sizeof *w->cycles);
    struct vs_rxq_pin *pins = calloc(n, sizeof *pins);
    if (w->dp == NULL || w->cycles == NULL || pins == NULL || vs_dp_core_add(w->dp, -1) < 0)
        exit(1);
    vs_bridge *b = vs_dp_bridge_add(w->dp, "bench");
    for (unsigned i = 0; i < n; i++) {
        struct vs_port *port = vs_vhost_new("bench");
        unsigned busy = i == 0 ? 1 : i == n - 1 ? 2 : 0;
        struct guest_ring other;
        for (unsigned number = 0; number < 2; number++)
            start(busy != 0 ? &w->rings[busy - 1][number] : &other, port, number, packed, busy != 0, -1);
        if (busy != 0)
            write_frames(&w->rings[busy - 1][1]);
        int index = vs_dp_attach(w->dp, port, b, busy != 0 ? busy : i + BUSY);
        if (index < 0)
            exit(1);
        pins[i] = (struct vs_rxq_pin){.port = (uint16_t)index, .core = 1};
    }
    vs_dp_assign(w->dp, pins, n);
    free(pins);
    add_rules(b);
}

/* One round: what the guests do, then one timed turn of the core. */
static uint64_t turn(struct world *w, bool busy)
{
    for (unsigned p = 0; busy && p < BUSY; p++) {
        guest_publish(&w->rings[p][1], VS_BATCH);
        guest_publish(&w->rings[p][0], VS_BATCH);
    }
    atomic_thread_fence(memory_order_seq_cst); /* what the guests wrote has left the store buffer */
    uint64_t before = vs_cycles();
    if (vs_dp_poll(w->dp) != (busy ? BUSY * VS_BATCH : 0))
        exit(1);
    return vs_cycles() - before;
}

static void measure(struct world *worlds, const char *layout, bool busy, uint32_t rounds)
{
    double none = 0;
    for (uint32_t i = 0; i < rounds; i += BLOCK)
        for (unsigned k = 0; k < WORLDS; k++)
            for (uint32_t at = i; at < VS_MIN(i + BLOCK, rounds); at++)
                worlds[k].cycles[at] = turn(&worlds[k], busy);
    for (unsigned k = 0; k < WORLDS; k++) {
        qsort(worlds[k].cycles, rounds, sizeof *worlds[k].cycles, by_value);
        double median = (double)worlds[k].cycles[rounds / 2];
        none = k == 0 ? median : none;
        printf("%-6s %-5s %4u idle ports: %8.0f cycles a turn", layout, busy ? "busy" : "quiet", IDLE[k],
               median);
        printf(k == 0 ? "\n" : ", %6.1f for each idle port\n", (median - none) / VS_MAX(IDLE[k], 1u));
    }
}

int main(int argc, char **argv)
{
    uint32_t rounds = argc == 2 ? (uint32_t)strtoul(argv[1], NULL, 10) : 0;
    if (rounds == 0 || (mem = guest_memory_make()) == NULL)
        return 1;
    static struct world worlds[2][WORLDS];
    for (unsigned packed = 0; packed < 2; packed++)
        for (unsigned k = 0; k < WORLDS; k++)
            make(&worlds[packed][k], IDLE[k], packed == 1, rounds);
    for (unsigned packed = 0; packed < 2; packed++)
        for (unsigned busy = 0; busy < 2; busy++)
            measure(worlds[packed], packed ? "packed" : "split", busy == 1, rounds);
    return 0;
}
