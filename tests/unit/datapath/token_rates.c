/* token_rates.c: how much a token bucket gives when several threads ask at once, in a time that is made up.
 *
 * Packets are numbered by a shared counter; packet i comes at i * gap ticks of the virtual time, so that twice the rate is
 * offered whatever the machine does. As a core does, a thread reads the time once for 32 packets: it may lag behind others.
 * Arguments: rate (units a second), units of a packet, burst (units), packets, threads.
 * Prints: units given, ticks that went by.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "token.h"

static struct vs_tb bucket;
static _Atomic uint64_t next_packet, given;
static uint64_t units, packets;
static double gap;

static void *core(void *arg)
{
    uint64_t mine = 0, first;
    (void)arg;
    while ((first = atomic_fetch_add(&next_packet, 32)) < packets) {
        uint64_t now = vs_tb_ticks(1000000000) + (uint64_t)((double)first * gap);
        for (unsigned i = 0; i < 32; i++)
            if (vs_tb_try(&bucket, now, units))
                mine += units;
    }
    atomic_fetch_add(&given, mine);
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[16];
    if (argc != 6)
        return 2;
    uint64_t rate = strtoull(argv[1], NULL, 10), burst = strtoull(argv[3], NULL, 10);
    unsigned n = (unsigned)strtoul(argv[5], NULL, 10);
    units = strtoull(argv[2], NULL, 10);
    packets = strtoull(argv[4], NULL, 10);
    gap = (double)units * 1e9 * VS_TB_TICKS / (double)rate / 2;
    vs_tb_init(&bucket, rate, burst);
    for (unsigned i = 0; i < n && i < 16; i++)
        if (pthread_create(&threads[i], NULL, core, NULL) != 0)
            return 1;
    for (unsigned i = 0; i < n && i < 16; i++)
        pthread_join(threads[i], NULL);
    printf("%llu %.0f\n", (unsigned long long)atomic_load(&given), (double)packets * gap);
    return 0;
}
