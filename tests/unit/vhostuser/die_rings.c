/* die_rings.c: the switch dies between any two instructions of taking and giving back; does its successor find the rings whole?
 *
 * How it works: guest memory and the record are shared with a child that plays the switch; it is run instruction by instruction
 * (ptrace). After each that changed the shared memory, that memory is as a kill there would leave it: a copy of it is
 * given to a new switch, with the base that the front-end knew at the beginning. The driver's side then checks that what it saw
 * used is a beginning of what it offered, that the new switch deals with exactly the rest, each byte of it, and that in the end each chain
 * was used once. Now and then the successor's start is run the same way: it may be killed, too.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "inflight.h"
#include "vhost_port.h"

enum {
    RING = 16,
    CHAINS = 8, /* of 1, 2, 3, 1, .. descriptors: 15 in all */
    PIECE = 64, /* bytes of a descriptor */
    MEMORY = 0x4000,
    AVAIL = 0x400,
    USED = 0x600,
    BUFFERS = 0x1000, /* 1 KB a chain */
    RECORD = MEMORY,
    ALL = MEMORY + 0x1000,
};

static bool packed, sends; /* what the guest does */
static uint16_t base;
static uint8_t frame[256]; /* what the guest receives the first bytes of */
static unsigned deaths, second_deaths, steps;

/* port.c needs a whole datapath; this is what the driver needs of it. */
void vs_port_init(struct vs_port *port, const struct vs_port_ops *ops, const char *name, uint16_t n_rxq)
{
    memset(port, 0, sizeof *port);
    port->ops = ops;
    port->n_rxq = n_rxq;
    strncpy(port->name, name, sizeof port->name - 1);
}

static void require(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "die_rings: after %u deaths (%u of successors): %s\n", deaths, second_deaths, what);
        exit(1);
    }
}

/* ---- the driver ---------------------------------------------------------------------------------------------------- */

static unsigned count_of(unsigned chain)
{
    return 1 + chain % 3;
}

static uint16_t slot_of(unsigned chain)
{
    uint32_t at = base & VS_SLOT_INDEX, wrap = base & VS_SLOT_WRAP;
    for (unsigned k = 0; k < chain; k++)
        at += count_of(k);
    return (uint16_t)(at >= RING ? (at - RING) | (wrap ^ VS_SLOT_WRAP) : at | wrap);
}

static uint32_t frame_len(unsigned chain)
{
    return count_of(chain) * PIECE - 12 - chain;
}

static uint8_t frame_byte(unsigned chain, uint32_t i)
{
    return (uint8_t)(chain * 37 + i);
}

static void write_packed(uint8_t *m, unsigned chain, unsigned k, uint32_t len, uint16_t flags)
{
    uint32_t at = slot_of(chain) & VS_SLOT_INDEX, wrap = slot_of(chain) & VS_SLOT_WRAP;
    at += k;
    if (at >= RING) {
        at -= RING;
        wrap ^= VS_SLOT_WRAP;
    }
    struct vs_packed_desc *d = (struct vs_packed_desc *)(void *)m + at;
    *d = (struct vs_packed_desc){.addr = BUFFERS + 1024u * chain + PIECE * k,
                                 .len = len,
                                 .id = (uint16_t)(100 + chain),
                                 .flags = (uint16_t)(flags | (wrap != 0 ? 0x80 : 0x8000))};
}

static void offer(uint8_t *m, unsigned chain)
{
    unsigned count = count_of(chain);
    uint32_t left = sends ? 12 + frame_len(chain) : count * PIECE;
    uint16_t head = 0;
    for (unsigned k = 0; k < chain; k++)
        head = (uint16_t)(head + count_of(k));
    for (unsigned k = 0; k < count; k++) {
        uint32_t len = VS_MIN(left, (uint32_t)PIECE);
        uint16_t flags = (uint16_t)((sends ? 0 : VS_DESC_WRITE) | (k + 1 < count ? VS_DESC_NEXT : 0));
        left -= len;
        if (packed)
            write_packed(m, chain, k, len, flags);
        else
            ((struct vs_desc *)(void *)m)[head + k] =
                (struct vs_desc){.addr = BUFFERS + 1024u * chain + PIECE * k,
                                 .len = len,
                                 .flags = flags,
                                 .next = (uint16_t)(head + k + 1)};
    }
    struct vs_avail *avail = (struct vs_avail *)(void *)(m + AVAIL);
    if (!packed) {
        avail->ring[(uint16_t)(base + chain) % RING] = head;
        avail->idx = (uint16_t)(base + chain + 1);
    }
    for (uint32_t i = 0; sends && i < frame_len(chain); i++)
        m[BUFFERS + 1024 * chain + 12 + i] = frame_byte(chain, i);
}

static void set_up(uint8_t *m)
{
    memset(m, 0, ALL);
    if (packed && base != VS_SLOT_WRAP) /* what was used before */
        for (uint16_t i = 0; i < RING; i++)
            ((struct vs_packed_desc *)(void *)m)[i].flags =
                ((base & VS_SLOT_WRAP) != 0) == (i < (base & VS_SLOT_INDEX)) ? 0x8080 : 0;
    else
        ((struct vs_used *)(void *)(m + USED))->idx = base;
    for (unsigned k = 0; k < CHAINS; k++)
        offer(m, k);
}

/* The used element of a chain, if the driver can see it. */
static bool used(const uint8_t *m, unsigned chain, struct vs_used_elem *e)
{
    if (packed) {
        const struct vs_packed_desc *d =
            (const struct vs_packed_desc *)(const void *)m + (slot_of(chain) & VS_SLOT_INDEX);
        *e = (struct vs_used_elem){.id = d->id, .len = d->len};
        return (d->flags & 0x8080) == ((slot_of(chain) & VS_SLOT_WRAP) != 0 ? 0x8080 : 0);
    }
    const struct vs_used *u = (const struct vs_used *)(const void *)(m + USED);
    *e = u->ring[(uint16_t)(base + chain) % RING];
    return (uint16_t)(u->idx - base) > chain && (uint16_t)(u->idx - base) <= CHAINS;
}

/* How many chains the driver sees used; all are what they should be. */
static unsigned look(const uint8_t *m)
{
    struct vs_used_elem e;
    unsigned n = 0, head = 0;
    while (n < CHAINS && used(m, n, &e)) {
        require(e.id == (packed ? 100 + n : head), "another chain was used than was to come");
        require(sends ? e.len == 0 : e.len <= count_of(n) * PIECE, "a used length is wrong");
        head += count_of(n);
        n++;
    }
    return n;
}

/* Put the frames together that the guest received. Returns how many. */
static unsigned gather(const uint8_t *m, uint32_t *lens)
{
    unsigned seen = look(m), frames = 0;
    for (unsigned chain = 0; chain < seen;) {
        const uint8_t *first = m + BUFFERS + 1024 * chain;
        unsigned buffers = first[10] + 256u * first[11];
        uint32_t done = 0;
        require(buffers > 0 && chain + buffers <= seen, "part of a frame is visible");
        for (unsigned b = 0; b < buffers; b++, chain++) {
            struct vs_used_elem e;
            (void)used(m, chain, &e);
            const uint8_t *from = m + BUFFERS + 1024 * chain;
            for (uint32_t i = b == 0 ? 12 : 0; i < e.len; i++, done++)
                require(from[i] == (uint8_t)(done * 7 + 1), "a byte that the guest got is wrong");
        }
        lens[frames++] = done;
    }
    return frames;
}

/* ---- the switch ---------------------------------------------------------------------------------------------------- */

struct play {
    uint8_t *m;
    struct vs_guest_mem *mem;
    struct vs_inflight *record;
    struct vs_port *port;
    struct vs_port_counters counters;
    unsigned received;
};

static void prepare(struct play *p, uint8_t *m, bool believe)
{
    int error;
    memset(p, 0, sizeof *p);
    p->m = m;
    struct vs_guest_region region = {.gpa = 0, .uva = 0x100000, .size = MEMORY, .host = m};
    p->mem = vs_guest_mem_new(&region, 1, &error);
    p->record = vs_inflight_new(m + RECORD, ALL - RECORD, 0, RING, packed, believe);
    p->port = vs_vhost_new("die");
    require(p->port != NULL && p->mem != NULL && p->record != NULL, "no memory");
}

static void start(struct play *p)
{
    struct vs_vring_config config = {
        .features = 1ull << VS_VIRTIO_F_VERSION_1 | 1ull << VS_VIRTIO_NET_F_MRG_RXBUF |
                    (uint64_t)packed << VS_VIRTIO_F_RING_PACKED,
        .desc = 0x100000,
        .avail = 0x100000 + AVAIL,
        .used = 0x100000 + USED,
        .size = RING,
        .base = base,
        .kick_fd = -1,
        .call_fd = -1,
        .err_fd = -1,
        .inflight = p->record,
    };
    require(vs_vhost_ring_start(p->port, sends ? 1 : 0, p->mem, &config) == 0, "the ring does not start");
}

static void end(struct play *p)
{
    p->port->ops->destroy(p->port);
    vs_inflight_free(p->record);
    vs_guest_mem_free(p->mem);
}

/* Take up to n frames of the guest; the first is number `from`. */
static int receive(struct play *p, int n, unsigned from)
{
    static struct vs_packet pool[VS_BATCH];
    struct vs_packet *pkts[VS_BATCH];
    static uint8_t copy[1024];
    for (int i = 0; i < n; i++) {
        pkts[i] = &pool[i];
        vs_packet_reset(pkts[i], p->port);
    }
    int got = p->port->ops->rx(p->port, 0, pkts, n, &p->counters);
    for (int i = 0; i < got; i++) {
        unsigned chain = from + (unsigned)i;
        require(vs_packet_copy_out(pkts[i], copy, sizeof copy) == frame_len(chain),
                "a frame has another length");
        for (uint32_t k = 0; k < frame_len(chain); k++)
            require(copy[k] == frame_byte(chain, k), "a byte that the guest sent is wrong");
    }
    p->port->ops->rx_release(p->port, 0);
    return got;
}

static void transmit(struct play *p, uint32_t a, uint32_t b)
{
    static struct vs_packet pool[2];
    struct vs_packet *pkts[2] = {&pool[0], &pool[1]};
    uint32_t lens[2] = {a, b};
    for (int i = 0; i < 2; i++) {
        vs_packet_reset(pkts[i], p->port);
        vs_packet_fill(pkts[i], frame, lens[i]);
    }
    p->port->ops->tx(p->port, 0, pkts, b == 0 ? 1 : 2, &p->counters);
}

static void traffic(struct play *p)
{
    if (sends) {
        (void)receive(p, 3, 0);
        (void)receive(p, 1, 3);
        (void)receive(p, 2, 4);
    } else {
        transmit(p, 100, 150); /* 2 and 1 chains, or so */
        transmit(p, 90, 0);
        transmit(p, 200, 17);
    }
}

/* ---- dying --------------------------------------------------------------------------------------------------------- */

/* Go on where another was killed; afterwards each chain has been used once. */
static void succeed(uint8_t *m)
{
    struct play p;
    uint32_t lens[CHAINS];
    unsigned seen = look(m), before = sends ? 0 : gather(m, lens);
    prepare(&p, m, true);
    start(&p);
    require(look(m) == seen || (packed && look(m) >= seen), "a start took back what was visible");
    seen = look(m);
    if (sends) {
        unsigned from = seen;
        for (int got; (got = receive(&p, 5, from)) > 0;)
            from += (unsigned)got;
        require(from == CHAINS, "a frame was lost or came twice");
    } else {
        for (unsigned i = 0; i < CHAINS; i++)
            transmit(&p, 40, 0);
        unsigned after = gather(m, lens);
        require(after - before == CHAINS - seen, "a buffer was lost or used twice");
        for (unsigned i = before; i < after; i++)
            require(lens[i] == 40, "a frame has another length");
    }
    require(look(m) == CHAINS, "a chain did not come back");
    struct vs_vhost_ring_info info;
    vs_vhost_ring_info(p.port, sends ? 1 : 0, &info);
    require(info.broken == 0 && info.stats.chains == CHAINS - seen, "the ring is broken, or counts wrong");
    for (int i = 1; i < VS_N_CHAIN_ERRORS; i++)
        require(info.stats.refused[i] == 0, "a chain was refused");
    end(&p);
}

/* Run what a child does from its SIGSTOP on; call `died` with the memory after each instruction that changed it. */
static void step_through(uint8_t *shared, void (*child)(uint8_t *), void (*died)(const uint8_t *))
{
    uint8_t *last = malloc(ALL);
    int status;
    memcpy(last, shared, ALL);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
            _exit(77);
        child(shared);
        _exit(0);
    }
    require(waitpid(pid, &status, 0) == pid, "waitpid");
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        printf("no ptrace\n");
        exit(77);
    }
    for (;; steps++) {
        require(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) == 0, "ptrace");
        require(waitpid(pid, &status, 0) == pid, "waitpid");
        if (WIFEXITED(status))
            break;
        require(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP, "the child crashed");
        if (memcmp(shared, last, ALL) == 0)
            continue;
        memcpy(last, shared, ALL);
        died(last);
    }
    require(WEXITSTATUS(status) == 0, "the child failed");
    free(last);
}

static uint8_t *mapped(void)
{
    uint8_t *m = mmap(NULL, ALL, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    require(m != MAP_FAILED, "mmap");
    return m;
}

static void first_life(uint8_t *m)
{
    struct play p;
    prepare(&p, m, false);
    start(&p);
    (void)raise(SIGSTOP);
    traffic(&p);
}

static void second_life(uint8_t *m)
{
    struct play p;
    prepare(&p, m, true);
    (void)raise(SIGSTOP);
    start(&p);
}

static void successor_died(const uint8_t *left)
{
    static uint8_t copy[ALL] VS_CACHE_ALIGNED;
    second_deaths++;
    memcpy(copy, left, ALL);
    succeed(copy);
}

static void switch_died(const uint8_t *left)
{
    static uint8_t copy[ALL] __attribute__((aligned(4096)));
    static uint8_t *shared;
    deaths++;
    memcpy(copy, left, ALL);
    succeed(copy);
    if (!packed || deaths % 16 != 0)
        return;
    if (shared == NULL)
        shared = mapped();
    memcpy(shared, left, ALL);
    step_through(shared, second_life, successor_died);
}

int main(int argc, char **argv)
{
    require(argc == 4, "packed sends base");
    packed = atoi(argv[1]) != 0;
    sends = atoi(argv[2]) != 0;
    base = (uint16_t)strtoul(argv[3], NULL, 0);
    for (unsigned i = 0; i < sizeof frame; i++)
        frame[i] = (uint8_t)(i * 7 + 1);
    uint8_t *shared = mapped();
    set_up(shared);
    step_through(shared, first_life, switch_died);
    require(deaths > 10 && look(shared) >= 5, "too little happened");
    printf("ok %u %u %u\n", deaths, second_deaths, steps);
    return 0;
}
