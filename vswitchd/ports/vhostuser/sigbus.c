/* sigbus.c: the registry of guarded mappings and the handler of SIGBUS; see sigbus.h. */
#include "sigbus.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

struct vs_guarded {
    struct vs_guarded *next; /* never changes once listed */
    _Atomic uint32_t seq;    /* odd while base, len and page change */
    _Atomic uintptr_t base;  /* 0: the record is free */
    _Atomic size_t len, page;
    _Atomic uint32_t pieces; /* replaced */
    _Atomic bool faulted;
    const void *owner; /* control thread */
};

static struct vs_guarded *_Atomic records;
static _Atomic uint32_t all_pieces;
static _Atomic int notice_fd = -1;
static struct sigaction previous; /* written before the handler that reads it is installed */
static atomic_flag passed = ATOMIC_FLAG_INIT;

/* ---- the handler: any thread, async-signal-safe -------------------------------------------------------------------- */

struct span {
    uintptr_t base;
    size_t len, page;
};

/* False when the record changes meanwhile: then it is not the one that this thread touched. */
static bool read_span(struct vs_guarded *g, struct span *s)
{
    uint32_t seq = atomic_load_explicit(&g->seq, memory_order_acquire);
    s->base = atomic_load_explicit(&g->base, memory_order_acquire);
    s->len = atomic_load_explicit(&g->len, memory_order_acquire);
    s->page = atomic_load_explicit(&g->page, memory_order_acquire);
    return seq % 2 == 0 && s->base != 0 && atomic_load_explicit(&g->seq, memory_order_relaxed) == seq;
}

static bool put_zeros(uintptr_t base, size_t len)
{
    void *at = (void *)base; // NOLINT: an address of the kernel's making
    if (mmap(at, len, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
             0) == MAP_FAILED)
        return false;
    (void)madvise(at, len, MADV_DONTDUMP); /* as the mapping was: frames of others may be written there */
    return true;
}

static bool replace(uintptr_t address)
{
    for (struct vs_guarded *g = atomic_load_explicit(&records, memory_order_acquire); g != NULL;
         g = g->next) {
        struct span s;
        if (!read_span(g, &s) || address - s.base >= s.len)
            continue;
        size_t chunk = VS_MAX(s.page, (size_t)VS_GUARDED_CHUNK);
        size_t start = (address - s.base) / chunk * chunk;
        atomic_fetch_add_explicit(&g->pieces, 1, memory_order_relaxed);
        bool whole = atomic_fetch_add_explicit(&all_pieces, 1, memory_order_relaxed) >= VS_GUARDED_PIECES;
        if ((whole || !put_zeros(s.base + start, VS_MIN(chunk, s.len - start))) && !put_zeros(s.base, s.len))
            return false;
        atomic_store_explicit(&g->faulted, true, memory_order_release);
        uint64_t one = 1;
        ssize_t done = write(atomic_load_explicit(&notice_fd, memory_order_relaxed), &one, sizeof one);
        (void)done; /* EAGAIN: it is readable already */
        return true;
    }
    return false;
}

/* Not ours. A fault comes again when we return, and finds the handler of before; when that hands it on to us, the default action. */
static void pass_on(bool sent)
{
    struct sigaction next = {.sa_handler = SIG_DFL};
    if (!atomic_flag_test_and_set(&passed) && previous.sa_handler != SIG_IGN)
        next = previous;
    sigaction(SIGBUS, &next, NULL);
    if (sent)
        raise(SIGBUS);
}

static void on_sigbus(int number, siginfo_t *info, void *context)
{
    int saved = errno;
    /* Python's faulthandler, when it was enabled after us, puts us back and sends the signal to its own thread: if it was a fault, the fault
     * comes again when we return. */
    bool handed_on = info->si_code == SI_TKILL && info->si_pid == getpid();
    bool fault = info->si_code > 0;
    if (!handed_on && !(fault && replace((uintptr_t)info->si_addr)))
        pass_on(!fault);
    errno = saved;
}

/* ---- control thread ------------------------------------------------------------------------------------------------ */

int vs_sigbus_install(void)
{
    struct sigaction now, ours = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO};
    if (atomic_load_explicit(&notice_fd, memory_order_relaxed) < 0) {
        int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        if (fd < 0)
            return -errno;
        atomic_store_explicit(&notice_fd, fd, memory_order_relaxed);
    }
    sigemptyset(&ours.sa_mask);
    if (sigaction(SIGBUS, NULL, &now) != 0)
        return -errno;
    if ((now.sa_flags & SA_SIGINFO) == 0 || now.sa_sigaction != on_sigbus) {
        previous = now;
        if (sigaction(SIGBUS, &ours, NULL) != 0)
            return -errno;
    }
    return atomic_load_explicit(&notice_fd, memory_order_relaxed);
}

static void set_span(struct vs_guarded *g, struct span s)
{
    uint32_t seq = atomic_load_explicit(&g->seq, memory_order_relaxed);
    atomic_store_explicit(&g->seq, seq + 1, memory_order_relaxed);
    /* Release: who sees one of these sees the odd number too. Pairs with the acquires in read_span. */
    atomic_store_explicit(&g->base, s.base, memory_order_release);
    atomic_store_explicit(&g->len, s.len, memory_order_release);
    atomic_store_explicit(&g->page, s.page, memory_order_release);
    atomic_store_explicit(&g->seq, seq + 2, memory_order_release);
}

static struct vs_guarded *free_record(void)
{
    struct vs_guarded *first = atomic_load_explicit(&records, memory_order_relaxed);
    for (struct vs_guarded *g = first; g != NULL; g = g->next)
        if (atomic_load_explicit(&g->base, memory_order_relaxed) == 0)
            return g;
    struct vs_guarded *g = calloc(1, sizeof *g);
    if (g != NULL) {
        g->next = first;
        atomic_store_explicit(&records, g, memory_order_release);
    }
    return g;
}

struct vs_guarded *vs_guarded_add(void *base, size_t len, size_t page, const void *owner, int *error)
{
    int fd = vs_sigbus_install();
    *error = fd < 0 ? fd : 0;
    if (fd < 0)
        return NULL;
    struct vs_guarded *g = free_record();
    if (g == NULL) {
        *error = -ENOMEM;
        return NULL;
    }
    g->owner = owner;
    atomic_store_explicit(&g->faulted, false, memory_order_relaxed);
    set_span(g, (struct span){.base = (uintptr_t)base, .len = len, .page = page});
    return g;
}

void vs_guarded_own(struct vs_guarded *g, const void *owner)
{
    g->owner = owner;
}

void vs_guarded_remove(struct vs_guarded *g)
{
    if (g == NULL)
        return;
    g->owner = NULL;
    set_span(g, (struct span){0});
    uint32_t n = atomic_exchange_explicit(&g->pieces, 0, memory_order_relaxed);
    atomic_fetch_sub_explicit(&all_pieces, n, memory_order_relaxed);
}

unsigned vs_guarded_faults(const void *owner)
{
    unsigned n = 0;
    for (struct vs_guarded *g = atomic_load_explicit(&records, memory_order_relaxed); g != NULL; g = g->next)
        if (g->owner == owner && atomic_load_explicit(&g->base, memory_order_relaxed) != 0)
            n += atomic_exchange_explicit(&g->faulted, false, memory_order_acquire);
    return n;
}
