/* worker.h: the generator: its ports and streams, and the thread that sends and receives.
 *
 * How it works: the worker turns round a loop. A turn polls the receive rings where frames are expected and one of the others, then the
 * transmit ring of each stream, and sends on it what fits: in closed-ring mode when a whole burst does, at a rate what is due. It makes no
 * system call but to notify a device that sleeps. Turns that found something are told from empty ones by count and by time: a generator
 * that has empty turns waits for the switch.
 * The control thread changes nothing itself: it has the worker run a function between two turns (`load_call`).
 * While nothing is started the worker sleeps.
 *
 * Thread safety: all belongs to the worker from load_worker_start on; functions that take a `struct load *` are run by it.
 */
#ifndef LOAD_WORKER_H
#define LOAD_WORKER_H

#include <pthread.h>
#include <semaphore.h>

#include "stream.h"

enum { LOAD_BURST = 32, LOAD_PORTS = 1024 };

struct load_port {
    struct load_ring tx;
    struct load_ring rx;
    uint64_t foreign; /* frames that are not ours */
    bool polled;      /* frames are expected here */
    /* of the front end */
    int socket;
    int memory_fd;
    uint8_t *memory;
    uint64_t memory_bytes;
    uint64_t features;
    uint64_t protocol;
    bool mergeable;
    bool tso;
    bool populated;
};

struct load_turns {
    uint64_t turns, busy_turns, ticks, busy_ticks;
};

struct load {
    struct load_port *port;
    struct load_stream *stream[LOAD_STREAMS];
    struct load_port *polled[LOAD_PORTS];
    uint32_t ports, streams, n_polled, rotate, other;
    uint32_t gather_bytes;
    uint8_t *gather; /* a frame that came in several buffers */
    bool running, sending;
    const char *fault;
    struct load_turns turns;
    uint64_t last_tick;
    bool last_busy;
    /* the control thread's letter box */
    void (*call)(struct load *, void *);
    void *argument;
    _Atomic int waiting, quit;
    sem_t wake, answered;
    pthread_t thread;
};

/* A clock that costs next to nothing, and what a loop that waits does. */
#if defined(__x86_64__)
static inline uint64_t load_ticks(void)
{
    return __builtin_ia32_rdtsc();
}

static inline void load_pause(void)
{
    __builtin_ia32_pause();
}
#else
static inline uint64_t load_ticks(void)
{
    uint64_t ticks;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(ticks));
    return ticks;
}

static inline void load_pause(void)
{
    __asm__ volatile("yield");
}
#endif

/* Start the worker on a core; 0 or an errno. */
int load_worker_start(struct load *g, unsigned core);
void load_worker_end(struct load *g);
/* Have the worker run a function, and wait until it did. Control thread. */
void load_call(struct load *g, void (*call)(struct load *, void *), void *argument);

/* One turn; true when it found something. */
bool load_turn(struct load *g);
/* Receive without sending until nothing came for `quiet` ticks and the device has given everything back, at most `most` ticks. */
void load_drain(struct load *g, uint64_t quiet, uint64_t most);
/* Have all streams sent as many frames as they were to send? */
bool load_all_sent(const struct load *g);
/* Send one frame of a stream now, if there is room. */
bool load_send_one(struct load *g, struct load_stream *s);
/* Begin to expect frames at the port of each stream. */
void load_expect(struct load *g);
/* Look at what a port received; how many frames. receive.c */
unsigned load_receive(struct load *g, struct load_port *p);

#endif
