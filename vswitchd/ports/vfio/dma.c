/* dma.c: the window and its pool of buffers; see dma.h. */
#include "dma.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "port.h"

#ifndef MAP_HUGE_SHIFT
#define MAP_HUGE_SHIFT 26
#endif

struct vs_dma vs_dma;

/* Free buffers, ordinary and big. */
static struct stack {
    vs_spinlock lock;
    struct vs_dma_buf **at;
    _Atomic uint64_t n; /* written under the lock; vs_dma_n_free_buffers reads it without */
    uint64_t total;
} stacks[2];

static void *space(uint64_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

static uint64_t most_buffers(void)
{
    return vs_dma.size / VS_DMA_CHUNK * (VS_DMA_CHUNK / VS_DMA_STRIDE);
}

int vs_dma_reserve(uint64_t size)
{
    if (vs_dma.base != NULL)
        return -EBUSY;
    size = (size + VS_DMA_CHUNK - 1) / VS_DMA_CHUNK * VS_DMA_CHUNK;
    if (size == 0 || size > UINT64_C(1) << 46)
        return -EINVAL;
    /* So that a gigabyte page can lie on its own boundary. */
    uint64_t slack = UINT64_C(1) << 30;
    uint8_t *p = mmap(NULL, size + slack, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return -ENOMEM;
    uint8_t *base = (uint8_t *)(((uintptr_t)p + slack - 1) / slack * slack);
    if (base > p)
        munmap(p, (size_t)(base - p));
    munmap(base + size, (size_t)(p + slack - base));
    vs_dma = (struct vs_dma){.base = base, .size = size};
    vs_dma.bufs = space(most_buffers() * sizeof *vs_dma.bufs);
    for (int i = 0; i < 2; i++) {
        stacks[i].at = space(most_buffers() * sizeof *stacks[i].at);
        stacks[i].total = 0;
        atomic_store_explicit(&stacks[i].n, 0, memory_order_relaxed);
    }
    if (vs_dma.bufs != NULL && stacks[0].at != NULL && stacks[1].at != NULL)
        return 0;
    vs_dma_release();
    return -ENOMEM;
}

void vs_dma_forget_buffers(void)
{
    for (int i = 0; i < 2; i++) {
        stacks[i].total = 0;
        atomic_store_explicit(&stacks[i].n, 0, memory_order_relaxed);
    }
    vs_dma.n_bufs = 0;
}

void vs_dma_release(void)
{
    uint64_t most = most_buffers();
    if (vs_dma.base == NULL)
        return;
    for (int i = 0; i < 2; i++) {
        if (stacks[i].at != NULL)
            munmap(stacks[i].at, most * sizeof *stacks[i].at);
        stacks[i].at = NULL;
        stacks[i].total = 0;
        atomic_store_explicit(&stacks[i].n, 0, memory_order_relaxed);
    }
    if (vs_dma.bufs != NULL)
        munmap(vs_dma.bufs, most * sizeof *vs_dma.bufs);
    munmap(vs_dma.base, vs_dma.size);
    vs_dma = (struct vs_dma){0};
}

void *vs_dma_base(void)
{
    return vs_dma.base;
}

uint64_t vs_dma_size(void)
{
    return vs_dma.size;
}

void vs_dma_set_iova(uint64_t iova)
{
    vs_dma.iova = iova;
}

static bool inside(uint64_t offset, uint64_t length)
{
    return vs_dma.base != NULL && length != 0 && offset < vs_dma.size && length <= vs_dma.size - offset;
}

int vs_dma_back(uint64_t offset, uint64_t length, uint32_t huge_shift)
{
    if (!inside(offset, length))
        return -EINVAL;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    if (huge_shift != 0)
        flags |= MAP_HUGETLB | (int)(huge_shift << MAP_HUGE_SHIFT);
    void *p = mmap(vs_dma.base + offset, length, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (p == MAP_FAILED) {
        int error = errno;
        vs_dma_unback(offset, length); /* a mapping that failed may have taken the old one away */
        return -error;
    }
    madvise(p, length, MADV_DONTFORK); /* a child would copy pages that devices write to */
    return 0;
}

void vs_dma_unback(uint64_t offset, uint64_t length)
{
    if (inside(offset, length))
        (void)mmap(vs_dma.base + offset, length, PROT_NONE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
}

/* ---- buffers ------------------------------------------------------------------------------------------------------- */

static void push(struct stack *s, struct vs_dma_buf *const *bufs, unsigned n)
{
    vs_spin_lock(&s->lock);
    uint64_t at = atomic_load_explicit(&s->n, memory_order_relaxed);
    memcpy(s->at + at, bufs, n * sizeof *bufs);
    atomic_store_explicit(&s->n, at + n, memory_order_relaxed);
    vs_spin_unlock(&s->lock);
}

static unsigned pop(struct stack *s, struct vs_dma_buf **bufs, unsigned n)
{
    vs_spin_lock(&s->lock);
    uint64_t at = atomic_load_explicit(&s->n, memory_order_relaxed);
    n = (unsigned)VS_MIN((uint64_t)n, at);
    if (n > 0)
        memcpy(bufs, s->at + at - n, n * sizeof *bufs);
    atomic_store_explicit(&s->n, at - n, memory_order_relaxed);
    vs_spin_unlock(&s->lock);
    return n;
}

int64_t vs_dma_add_buffers(uint64_t offset, uint64_t length, int big)
{
    if (!inside(offset, length) || offset % VS_DMA_CHUNK != 0 || length % VS_DMA_CHUNK != 0)
        return -EINVAL;
    uint32_t stride = big ? VS_DMA_BIG_STRIDE : VS_DMA_STRIDE, each = VS_DMA_CHUNK / stride;
    struct stack *s = &stacks[big != 0];
    int64_t added = 0;
    for (uint64_t chunk = offset; chunk < offset + length; chunk += VS_DMA_CHUNK)
        for (uint32_t i = 0; i < each && vs_dma.n_bufs < most_buffers(); i++, added++) {
            uint8_t *bytes = vs_dma.base + chunk + (uint64_t)i * stride;
            struct vs_dma_buf *b = &vs_dma.bufs[vs_dma.n_bufs++];
            *b = (struct vs_dma_buf){.bytes = bytes,
                                     .iova = vs_dma_iova(bytes),
                                     .size = stride - VS_DMA_HEADROOM,
                                     .big = big != 0};
            push(s, &b, 1);
            s->total++;
        }
    return added;
}

uint64_t vs_dma_n_buffers(int big)
{
    return stacks[big != 0].total;
}

uint64_t vs_dma_n_free_buffers(int big)
{
    return atomic_load_explicit(&stacks[big != 0].n, memory_order_relaxed);
}

bool vs_dma_list_fill(struct vs_dma_list *l)
{
    unsigned n = pop(&stacks[0], l->at + l->n, VS_MIN((unsigned)VS_DMA_BULK, VS_DMA_LIST - l->n));
    l->n += n;
    return n > 0;
}

void vs_dma_list_spill(struct vs_dma_list *l)
{
    unsigned n = VS_MIN((unsigned)VS_DMA_BULK, l->n);
    /* The oldest: those that came last are still in the caches. */
    push(&stacks[0], l->at, n);
    l->n -= n;
    memmove(l->at, l->at + n, l->n * sizeof l->at[0]);
}

void vs_dma_list_empty(struct vs_dma_list *l)
{
    push(&stacks[0], l->at, l->n);
    l->n = 0;
}

struct vs_dma_buf *vs_dma_get_big(void)
{
    struct vs_dma_buf *b = NULL;
    if (pop(&stacks[1], &b, 1) == 0)
        return NULL;
    b->next = NULL;
    b->lent = NULL;
    return b;
}

void vs_dma_put_big(struct vs_dma_buf *b)
{
    push(&stacks[1], &b, 1);
}
