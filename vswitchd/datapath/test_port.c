/* test_port.c: a port that Python feeds and reads: two rings of frames under one lock each; see port.h. It takes no offloads: frames to
 * read are finished. */
#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "offload.h"
#include "port.h"

struct frame {
    uint32_t len;
    uint8_t *bytes;
};

struct ring {
    vs_spinlock lock;
    unsigned head, tail, held, size; /* held: handed to the core, not released */
    uint16_t put;                    /* low bits of head: the word of rx_watch */
    uint64_t polls;                  /* calls of rx */
    struct frame *frames;
};

struct test_port {
    struct vs_port port;
    struct ring tx;
    struct ring rx[VS_MAX_RXQ];
};

static bool ring_put(struct ring *r, const struct vs_packet *p, const uint8_t *frame, uint32_t len)
{
    bool ok = false;
    uint8_t *bytes = malloc(len > 0 ? len : 1);
    if (bytes != NULL && p != NULL)
        vs_packet_copy_out(p, bytes, len);
    else if (bytes != NULL)
        memcpy(bytes, frame, len);
    vs_spin_lock(&r->lock);
    if (bytes != NULL && r->head - r->tail < r->size) {
        r->frames[r->head++ % r->size] = (struct frame){.len = len, .bytes = bytes};
        __atomic_store_n(&r->put, (uint16_t)r->head, __ATOMIC_RELAXED);
        ok = true;
    }
    vs_spin_unlock(&r->lock);
    if (!ok)
        free(bytes);
    return ok;
}

static int test_rx(struct vs_port *port, unsigned rxq, struct vs_packet **pkts, int n,
                   struct vs_port_counters *c)
{
    struct test_port *t = (struct test_port *)port;
    struct ring *r = &t->rx[rxq];
    uint64_t bytes = 0;
    vs_count(&r->polls, 1);
    vs_spin_lock(&r->lock);
    int done = (int)VS_MIN((unsigned)n, r->head - r->tail);
    for (int i = 0; i < done; i++) {
        const struct frame *f = &r->frames[(r->tail + (unsigned)i) % r->size];
        vs_packet_fill(pkts[i], f->bytes, f->len);
        bytes += f->len;
    }
    r->held = (unsigned)done;
    vs_spin_unlock(&r->lock);
    if (done > 0)
        vs_port_rx_count(c, (uint64_t)done, bytes);
    return done;
}

static void test_release(struct vs_port *port, unsigned rxq)
{
    struct ring *r = &((struct test_port *)port)->rx[rxq];
    vs_spin_lock(&r->lock);
    for (; r->held > 0; r->held--, r->tail++)
        free(r->frames[r->tail % r->size].bytes);
    vs_spin_unlock(&r->lock);
}

static int keep_frame(void *ctx, const uint8_t *frame, uint32_t len)
{
    return ring_put(ctx, NULL, frame, len) ? 0 : -1;
}

/* -1: sent; else enum vs_drop. */
static int send_one(struct test_port *t, const struct vs_packet *p)
{
    if (!atomic_load_explicit(&t->port.link_up, memory_order_relaxed))
        return VS_DROP_TX_LINK_DOWN;
    if (p->csum != VS_CSUM_PARTIAL && p->gso_type == VS_GSO_NONE)
        return ring_put(&t->tx, p, NULL, p->frame_len) ? -1 : VS_DROP_TX_RING_FULL;
    uint8_t *scratch = malloc(VS_MAX_FRAME);
    int done = scratch == NULL ? 0 : vs_offload_finish(p, scratch, VS_MAX_FRAME, keep_frame, &t->tx);
    free(scratch);
    return done > 0 ? -1 : done < 0 ? VS_DROP_TX_OFFLOAD : VS_DROP_TX_RING_FULL;
}

static void test_tx(struct vs_port *port, unsigned core, struct vs_packet **pkts, int n,
                    struct vs_port_counters *c)
{
    for (int i = 0; i < n; i++) {
        int drop = send_one((struct test_port *)port, pkts[i]);
        if (drop < 0)
            vs_port_sent(c, 1, pkts[i]->frame_len);
        else
            vs_port_tx_drop(c, (enum vs_drop)drop, 1);
    }
}

static int test_arm(struct vs_port *port, unsigned rxq)
{
    struct ring *r = &((struct test_port *)port)->rx[rxq];
    vs_spin_lock(&r->lock);
    int waiting = r->head != r->tail;
    vs_spin_unlock(&r->lock);
    return waiting;
}

static void test_disarm(struct vs_port *port, unsigned rxq, bool rang)
{
    uint64_t count;
    if (!rang)
        return;
    ssize_t done = read(atomic_load_explicit(&port->rx_fd[rxq], memory_order_relaxed), &count, sizeof count);
    (void)done; /* EAGAIN: nobody rang */
}

static bool test_watch(struct vs_port *port, unsigned rxq, struct vs_watch *watch)
{
    struct ring *r = &((struct test_port *)port)->rx[rxq];
    vs_spin_lock(&r->lock);
    *watch = (struct vs_watch){.word = &r->put, .mask = 0xffff, .value = (uint16_t)r->head};
    bool empty = r->head == r->tail;
    vs_spin_unlock(&r->lock);
    return empty;
}

static void test_destroy(struct vs_port *port)
{
    struct test_port *t = (struct test_port *)port;
    for (unsigned i = 0; i <= port->n_rxq; i++) {
        struct ring *r = i < port->n_rxq ? &t->rx[i] : &t->tx;
        for (; r->tail != r->head; r->tail++)
            free(r->frames[r->tail % r->size].bytes);
        free(r->frames);
        if (i < port->n_rxq && atomic_load(&port->rx_fd[i]) >= 0)
            close(atomic_load(&port->rx_fd[i]));
    }
    free(t);
}

static const struct vs_port_ops test_ops = {
    .type = "test",
    .rx = test_rx,
    .rx_release = test_release,
    .tx = test_tx,
    .rx_arm = test_arm,
    .rx_disarm = test_disarm,
    .rx_watch = test_watch,
    .destroy = test_destroy,
};

struct vs_port *vs_test_port_new(const char *name, unsigned n_rxq, unsigned ring)
{
    struct test_port *t = n_rxq >= 1 && n_rxq <= VS_MAX_RXQ && ring >= 1 ? calloc(1, sizeof *t) : NULL;
    if (t == NULL)
        return NULL;
    vs_port_init(&t->port, &test_ops, name, (uint16_t)n_rxq);
    atomic_store(&t->port.link_up, 1);
    bool ok = true;
    for (unsigned i = 0; i <= n_rxq; i++) {
        struct ring *r = i < n_rxq ? &t->rx[i] : &t->tx;
        r->size = ring;
        ok = (r->frames = calloc(ring, sizeof *r->frames)) != NULL && ok;
        if (i < n_rxq) {
            int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
            atomic_store(&t->port.rx_fd[i], fd);
            ok = ok && fd >= 0;
        }
    }
    if (ok)
        return &t->port;
    test_destroy(&t->port);
    return NULL;
}

int vs_test_port_feed(struct vs_port *port, unsigned rxq, const uint8_t *frame, uint32_t len)
{
    if (rxq >= port->n_rxq || len > VS_MAX_FRAME)
        return -EINVAL;
    if (!ring_put(&((struct test_port *)port)->rx[rxq], NULL, frame, len))
        return -ENOBUFS;
    uint64_t one = 1;
    ssize_t done = write(atomic_load_explicit(&port->rx_fd[rxq], memory_order_relaxed), &one, sizeof one);
    (void)done;
    return 0;
}

uint64_t vs_test_port_polls(struct vs_port *port, unsigned rxq)
{
    return vs_count_read(&((struct test_port *)port)->rx[rxq].polls);
}

int vs_test_port_take(struct vs_port *port, uint8_t *to, uint32_t max)
{
    struct ring *r = &((struct test_port *)port)->tx;
    int len = -EAGAIN;
    vs_spin_lock(&r->lock);
    if (r->head != r->tail) {
        struct frame *f = &r->frames[r->tail++ % r->size];
        memcpy(to, f->bytes, VS_MIN(f->len, max));
        len = (int)f->len;
        free(f->bytes);
    }
    vs_spin_unlock(&r->lock);
    return len;
}
