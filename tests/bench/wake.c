/* wake.c: how long a frame takes through a core that sleeps: from before the guest's kick to the frame in the other guest's ring.
 *
 * How it works: a polling core on one processor; the main thread, on another one, plays two guests and N idle ones. It waits until the core
 * sleeps, and a little longer, sends a frame, writes the kick eventfd, and spins on the receiver's used index.
 * In turn with that it wakes a thread that does nothing but read an eventfd, on the core's processor: what the kernel and the
 * hypervisor take, whoever sleeps there.
 * Arguments: rounds, idle ports, processor of the core, of the guests, microseconds of sleep at least. Build and run: python tests/bench/ports.py wake
 */
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "rings.h"

static struct timespec settle;

static struct guest_ring rings[2][2];
static int kicks[2];
static int bare_fd;
static _Atomic uint32_t bare_woken;

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void pin(unsigned cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0)
        exit(1);
}

static vs_dp *make(unsigned idle, int cpu)
{
    vs_dp *dp = vs_dp_new(1 << 12, 0);
    if (dp == NULL)
        exit(1);
    vs_bridge *b = vs_dp_bridge_add(dp, "bench");
    struct vs_rxq_pin *pins = calloc(idle + 2, sizeof *pins);
    for (unsigned i = 0; i < idle + 2; i++) {
        struct vs_port *port = vs_vhost_new("bench");
        struct guest_ring other;
        int kick = eventfd(0, EFD_NONBLOCK);
        for (unsigned number = 0; number < 2; number++)
            start(i < 2 ? &rings[i][number] : &other, port, number, false, i < 2, kick);
        if (i < 2) {
            write_frames(&rings[i][1]);
            kicks[i] = kick;
        }
        pins[i] = (struct vs_rxq_pin){.port = (uint16_t)vs_dp_attach(dp, port, b, i + 1), .core = 1};
    }
    add_rules(b);
    if (vs_dp_core_add(dp, cpu) != 1 || vs_dp_assign(dp, pins, idle + 2) != 0)
        exit(1);
    free(pins);
    return dp;
}

/* Until the core slept for that long. */
static void wait_asleep(vs_dp *dp)
{
    struct vs_core_stats was, is;
    do { /* a core that sleeps has no iterations */
        vs_dp_core_stats(dp, 1, &was);
        nanosleep(&settle, NULL);
        vs_dp_core_stats(dp, 1, &is);
    } while (is.iterations != was.iterations);
}

static uint64_t round_trip(vs_dp *dp, unsigned from)
{
    struct guest_ring *out = &rings[from][1], *in = &rings[!from][0];
    const struct vs_used *used = (const struct vs_used *)(const void *)guest_at(in->used);
    uint16_t before = __atomic_load_n(&used->idx, __ATOMIC_RELAXED);
    uint64_t one = 1;
    wait_asleep(dp);
    uint64_t began = now_ns();
    guest_publish(out, 1);
    if (write(kicks[from], &one, sizeof one) != sizeof one)
        exit(1);
    while (__atomic_load_n(&used->idx, __ATOMIC_ACQUIRE) == before)
        vs_cpu_relax();
    uint64_t took = now_ns() - began;
    guest_publish(in, 1);
    return took;
}

static void *bare_main(void *cpu)
{
    uint64_t count;
    pin((unsigned)*(int *)cpu);
    while (read(bare_fd, &count, sizeof count) == sizeof count)
        atomic_fetch_add_explicit(&bare_woken, 1, memory_order_release);
    return NULL;
}

/* The core sleeps, so nobody else is on that processor. */
static uint64_t bare_trip(vs_dp *dp)
{
    uint32_t before = atomic_load_explicit(&bare_woken, memory_order_relaxed);
    uint64_t one = 1;
    wait_asleep(dp);
    uint64_t began = now_ns();
    if (write(bare_fd, &one, sizeof one) != sizeof one)
        exit(1);
    while (atomic_load_explicit(&bare_woken, memory_order_acquire) == before)
        vs_cpu_relax();
    return now_ns() - began;
}

static void print(const char *what, uint32_t idle, uint64_t *took, uint32_t rounds)
{
    qsort(took, rounds, sizeof *took, by_value);
    printf("%4u idle ports: %s in %6.1f us (median), %6.1f (p90), %6.1f (p99), %6.1f (max)\n", idle, what,
           (double)took[rounds / 2] / 1000, (double)took[rounds * 9 / 10] / 1000,
           (double)took[rounds * 99 / 100] / 1000, (double)took[rounds - 1] / 1000);
}

int main(int argc, char **argv)
{
    if (argc != 6 || (mem = guest_memory_make()) == NULL)
        return 2;
    uint32_t rounds = (uint32_t)strtoul(argv[1], NULL, 10), idle = (uint32_t)strtoul(argv[2], NULL, 10);
    uint64_t *took = calloc(rounds, sizeof *took), *bare = calloc(rounds, sizeof *bare);
    int cpu = atoi(argv[3]);
    settle.tv_nsec = 1000 * atol(argv[5]);
    pthread_t thread;
    if (rounds == 0 || took == NULL || bare == NULL || (bare_fd = eventfd(0, 0)) < 0 ||
        pthread_create(&thread, NULL, bare_main, &cpu) != 0)
        return 2;
    pin((unsigned)strtoul(argv[4], NULL, 10));
    vs_dp *dp = make(idle, cpu);
    vs_dp_set_idle_sleep(dp, 50);
    for (uint32_t i = 0; i < rounds; i++) {
        took[i] = round_trip(dp, i % 2);
        bare[i] = bare_trip(dp);
    }
    print("a thread woken       ", idle, bare, rounds);
    print("woken and forwarded  ", idle, took, rounds);
    vs_dp_free(dp);
    return 0;
}
