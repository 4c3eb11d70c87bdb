/* gaps.c: how long a processor is taken away from a thread that does nothing but look at the clock: timer ticks of the kernel, the
 * hypervisor, other guests. What no program on that processor can be faster than.
 *
 * Arguments: processor, seconds. Prints the length of each gap of a microsecond or more, in nanoseconds, one a line.
 */
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { LEAST_NS = 1000, MOST_GAPS = 1 << 20 };

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int main(int argc, char **argv)
{
    static uint64_t gap[MOST_GAPS];
    cpu_set_t set;
    unsigned n = 0;
    if (argc != 3)
        return 2;
    CPU_ZERO(&set);
    CPU_SET((unsigned)strtoul(argv[1], NULL, 10), &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0)
        return 1;
    uint64_t last = now_ns(), end = last + (uint64_t)(strtod(argv[2], NULL) * 1e9);
    while (last < end && n < MOST_GAPS) {
        uint64_t now = now_ns();
        if (now - last >= LEAST_NS)
            gap[n++] = now - last;
        last = now;
    }
    for (unsigned i = 0; i < n; i++)
        printf("%llu\n", (unsigned long long)gap[i]);
    return 0;
}
