/* punt.c: the ring to the control thread; see punt.h. */
#include "punt.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum { ALIGN = 8 };

static uint32_t padded(uint32_t n)
{
    return (n + ALIGN - 1) & ~(uint32_t)(ALIGN - 1);
}

int vs_punt_init(struct vs_punt_ring *r, uint32_t size, int event_fd)
{
    memset(r, 0, sizeof *r);
    r->bytes = malloc(size);
    r->size = size;
    r->event_fd = event_fd;
    return r->bytes != NULL ? 0 : -ENOMEM;
}

void vs_punt_destroy(struct vs_punt_ring *r)
{
    free(r->bytes);
    r->bytes = NULL;
}

static void ring_write(struct vs_punt_ring *r, uint64_t at, const void *from, uint32_t n)
{
    uint32_t ofs = (uint32_t)at & (r->size - 1), first = VS_MIN(n, r->size - ofs);
    memcpy(r->bytes + ofs, from, first);
    memcpy(r->bytes, (const uint8_t *)from + first, n - first);
}

static void ring_read(const struct vs_punt_ring *r, uint64_t at, void *to, uint32_t n)
{
    uint32_t ofs = (uint32_t)at & (r->size - 1), first = VS_MIN(n, r->size - ofs);
    memcpy(to, r->bytes + ofs, first);
    memcpy((uint8_t *)to + first, r->bytes, n - first);
}

bool vs_punt_put(struct vs_punt_ring *r, struct vs_punt_record *record, const struct vs_packet *p)
{
    record->data_len = VS_MIN(record->data_len, p->frame_len);
    record->frame_len = p->frame_len;
    uint64_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
    uint64_t tail = atomic_load_explicit(&r->tail, memory_order_acquire); /* pairs with vs_punt_take */
    uint32_t need = (uint32_t)sizeof *record + padded(record->data_len);
    if (r->size - (head - tail) < need) {
        vs_count(&r->refused, 1);
        return false;
    }
    uint64_t at = head;
    ring_write(r, at, record, sizeof *record);
    at += sizeof *record;
    uint32_t left = record->data_len, n = VS_MIN(left, (uint32_t)p->head_len);
    ring_write(r, at, p->data, n);
    for (unsigned i = 0; i < p->n_segs && (left -= n) > 0; i++) {
        at += n;
        n = VS_MIN(left, p->segs[i].len);
        ring_write(r, at, p->segs[i].data, n);
    }
    atomic_store_explicit(&r->head, head + need, memory_order_seq_cst); /* pairs with vs_punt_take */
    vs_count(&r->packets, 1);
    /* Ring the bell only when the reader had caught up: it drains until empty. seq_cst on head and tail: one of the two sees
     * the other's store. */
    if (atomic_load_explicit(&r->tail, memory_order_seq_cst) == head) {
        uint64_t one = 1;
        ssize_t done = write(r->event_fd, &one, sizeof one);
        (void)done; /* EAGAIN: it is readable already */
    }
    return true;
}

bool vs_punt_take(struct vs_punt_ring *r, struct vs_punt_record *record, uint8_t *data, uint32_t max)
{
    uint64_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    uint64_t head = atomic_load_explicit(&r->head, memory_order_seq_cst); /* pairs with vs_punt_put */
    if (head == tail)
        return false;
    ring_read(r, tail, record, sizeof *record);
    uint32_t n = VS_MIN(record->data_len, max);
    ring_read(r, tail + sizeof *record, data, n);
    uint32_t whole = (uint32_t)sizeof *record + padded(record->data_len);
    record->data_len = n;
    atomic_store_explicit(&r->tail, tail + whole, memory_order_seq_cst); /* pairs with vs_punt_put */
    return true;
}

void vs_punt_move(struct vs_punt_ring *to, struct vs_punt_ring *from)
{
    uint64_t at = atomic_load_explicit(&from->tail, memory_order_relaxed);
    uint64_t end = atomic_load_explicit(&from->head, memory_order_relaxed);
    uint64_t head = atomic_load_explicit(&to->head, memory_order_relaxed);
    if (at == end || to->size - (head - atomic_load_explicit(&to->tail, memory_order_relaxed)) < end - at)
        return;
    while (at != end) {
        uint32_t ofs = (uint32_t)at & (from->size - 1), n = from->size - ofs;
        n = (uint32_t)VS_MIN(end - at, (uint64_t)n);
        ring_write(to, head, from->bytes + ofs, n);
        head += n;
        at += n;
    }
    atomic_store_explicit(&to->head, head, memory_order_seq_cst);
    uint64_t one = 1;
    ssize_t done = write(to->event_fd, &one, sizeof one);
    (void)done; /* EAGAIN: it is readable already */
}
