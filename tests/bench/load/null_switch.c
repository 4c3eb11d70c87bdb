/* null_switch.c: see null_switch.h. */
#define _GNU_SOURCE
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "null_switch.h"
#include "ring.h"
#include "vhost_user.h"
#include "worker.h"

enum { RX = 0, TX = 1, BETWEEN_LOOKS = 20000 };

struct side { /* a ring, from the device */
    const struct load_desc *desc;
    uint16_t *avail, *used;
    uint16_t mask, at;
    bool enabled;
};

struct guest {
    int listener;
    int socket; /* -1: not connected yet */
    struct vu_region region;
    uint8_t *memory;
    struct side ring[2];
    uint64_t seen; /* frames, for what is done wrong */
};

static uint8_t *from_guest(const struct guest *g, uint64_t gpa)
{
    return g->memory + g->region.offset + (gpa - g->region.gpa);
}

static void *from_front_end(const struct guest *g, uint64_t uva)
{
    return g->memory + g->region.offset + (uva - g->region.uva);
}

static int take_memory(struct guest *g, const struct vu_message *m)
{
    g->region = m->memory.region[0];
    void *at =
        mmap(NULL, g->region.size + g->region.offset, PROT_READ | PROT_WRITE, MAP_SHARED, m->fds[0], 0);
    g->memory = at == MAP_FAILED ? NULL : at;
    return g->memory == NULL || m->memory.regions != 1 ? -1 : 0;
}

static uint64_t offered(void)
{
    return vu_bit(VU_F_MRG_RXBUF) | vu_bit(VU_F_PROTOCOL_FEATURES) | vu_bit(VU_F_VERSION_1) |
           vu_bit(VU_F_IN_ORDER);
}

/* Do what a message says; its answer is in m->u64. 1: it has an answer anyway, 0: when asked for, -1: leave. */
static int handle(struct guest *g, struct vu_message *m)
{
    struct side *s = &g->ring[m->state.index & 1];
    switch (m->request) {
    case VU_GET_FEATURES:
        m->u64 = offered();
        return 1;
    case VU_GET_PROTOCOL_FEATURES:
        m->u64 = vu_bit(VU_PROTOCOL_REPLY_ACK);
        return 1;
    case VU_SET_MEM_TABLE:
        return take_memory(g, m);
    case VU_SET_VRING_NUM:
        s->mask = (uint16_t)(m->state.num - 1);
        return 0;
    case VU_SET_VRING_ADDR:
        s->desc = from_front_end(g, m->address.desc);
        s->avail = from_front_end(g, m->address.avail);
        s->used = from_front_end(g, m->address.used);
        s->at = s->used[1];
        s->used[0] = 1; /* VIRTQ_USED_F_NO_NOTIFY */
        return 0;
    case VU_SET_VRING_ENABLE:
        s->enabled = m->state.num != 0;
        return 0;
    case VU_GET_VRING_BASE:
        s->enabled = false;
        m->state.num = s->at;
        return 1;
    default:
        return 0;
    }
}

/* One message of the front end; false when it has left. */
static bool converse(struct guest *g)
{
    struct vu_message m;
    if (vu_receive(g->socket, &m) != 0)
        return false;
    int answer = handle(g, &m);
    for (unsigned i = 0; i < VU_MAX_FDS; i++)
        if (m.fds[i] >= 0)
            close(m.fds[i]);
    if (answer < 0)
        return false;
    if (answer == 0 && (m.flags & VU_NEED_REPLY) == 0)
        return true;
    m.u64 = answer == 0 ? 0 : m.u64;
    return vu_send(g->socket, m.request, VU_REPLY, &m.u64, sizeof m.u64, -1) == 0;
}

static inline void give_back(struct side *s, uint16_t at, uint16_t head, uint32_t bytes)
{
    uint32_t *element = (uint32_t *)(void *)(s->used + 2) + 2 * (at & s->mask);
    element[0] = head;
    element[1] = bytes;
}

static inline unsigned ready(const struct side *s)
{
    return (uint16_t)(__atomic_load_n(s->avail + 1, __ATOMIC_ACQUIRE) - s->at);
}

static inline const struct load_desc *entry(const struct side *s, unsigned i, uint16_t *head)
{
    *head = s->avail[2 + ((s->at + i) & s->mask)];
    return &s->desc[*head];
}

/* One frame from place i of `from` to place k of `to`; false: it was lost on purpose. */
static inline bool pass(const struct load_null *how, struct guest *source, struct guest *sink, unsigned i,
                        unsigned k)
{
    struct side *from = &source->ring[TX], *to = &sink->ring[RX];
    uint16_t head, room;
    const struct load_desc *d = entry(from, i, &head), *b = entry(to, k, &room);
    give_back(from, (uint16_t)(from->at + i), head, 0);
    source->seen++;
    if (how->drop != 0 && source->seen % how->drop == 0)
        return false;
    uint32_t bytes = d->len < b->len ? d->len : b->len;
    if (!how->blind) {
        uint8_t *at = from_guest(sink, b->addr);
        uint16_t one = 1;
        memcpy(at, from_guest(source, d->addr), bytes);
        memcpy(at + 10, &one, sizeof one); /* num_buffers */
        if (how->corrupt != 0 && source->seen % how->corrupt == 0)
            at[LOAD_NET_HDR + 33] ^= 1; /* the last byte of the destination address */
    }
    give_back(to, (uint16_t)(to->at + k), room, bytes);
    return true;
}

static void look_ahead(const struct guest *source, const struct guest *sink, unsigned n)
{
    uint16_t head;
    for (unsigned i = 0; i < n; i++) {
        __builtin_prefetch(from_guest(source, entry(&source->ring[TX], i, &head)->addr) + LOAD_NET_HDR);
        __builtin_prefetch(from_guest(sink, entry(&sink->ring[RX], i, &head)->addr) + LOAD_NET_HDR, 1);
    }
}

static unsigned forward(const struct load_null *how, struct guest *source, struct guest *sink)
{
    struct side *from = &source->ring[TX], *to = &sink->ring[RX];
    if (!from->enabled || !to->enabled)
        return 0;
    unsigned n = ready(from), given = 0;
    n = n < LOAD_BURST ? n : LOAD_BURST;
    if (n == 0)
        return 0;
    unsigned room = ready(to);
    n = n < room ? n : room;
    if (!how->blind)
        look_ahead(source, sink, n);
    for (unsigned i = 0; i < n; i++) {
        bool swapped = how->swap != 0 && source->seen % how->swap == 0 && i + 1 < n;
        if (swapped)
            given += pass(how, source, sink, i + 1, given);
        given += pass(how, source, sink, i, given);
        i += swapped;
    }
    from->at = (uint16_t)(from->at + n);
    to->at = (uint16_t)(to->at + given);
    __atomic_store_n(from->used + 1, from->at, __ATOMIC_RELEASE);
    __atomic_store_n(to->used + 1, to->at, __ATOMIC_RELEASE);
    return n;
}

/* Let front ends in and handle what they say; false when one has left. Waits when nothing can be forwarded. */
static bool look(struct guest *guests, uint32_t n, bool wait)
{
    struct pollfd fds[64];
    for (uint32_t i = 0; i < n; i++)
        fds[i] = (struct pollfd){.fd = guests[i].socket < 0 ? guests[i].listener : guests[i].socket,
                                 .events = POLLIN};
    if (poll(fds, n, wait ? -1 : 0) <= 0)
        return true;
    for (uint32_t i = 0; i < n; i++) {
        if (fds[i].revents == 0)
            continue;
        if (guests[i].socket < 0)
            guests[i].socket = accept4(guests[i].listener, NULL, NULL, SOCK_CLOEXEC);
        else if (!converse(&guests[i]))
            return false;
    }
    return true;
}

static bool any_enabled(const struct guest *guests, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (guests[i].ring[TX].enabled)
            return true;
    return false;
}

int load_null_run(const struct load_null *how, unsigned core, const char *const *paths, uint32_t n)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    struct guest *guests = calloc(n, sizeof *guests);
    if (guests == NULL || n % 2 != 0 || n > 64 || sched_setaffinity(0, sizeof set, &set) != 0) {
        fprintf(stderr,
                "vload: --loop needs an even number of sockets, up to 64, and a core that is there\n");
        return 1;
    }
    for (uint32_t i = 0; i < n; i++) {
        guests[i].socket = -1;
        guests[i].listener = vu_listen(paths[i]);
        if (guests[i].listener < 0) {
            perror(paths[i]);
            return 1;
        }
    }
    for (uint64_t turn = 0;; turn++) {
        unsigned work = 0;
        for (uint32_t i = 0; i < n; i++)
            work += forward(how, &guests[i], &guests[i ^ 1]);
        if (turn % BETWEEN_LOOKS == 0 && !look(guests, n, !any_enabled(guests, n)))
            return 0;
        if (work == 0)
            load_pause();
    }
}
