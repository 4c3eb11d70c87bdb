/* dma.h: memory that devices may read and write: one window of addresses per process, and the pool of packet buffers in it.
 *
 * How it works: a range of virtual addresses is reserved once, backed piece by piece (Python: dma.py, which also maps each piece for every
 * device) and called IOVA = address + constant by all devices. Rings are cut from it, and packet buffers: since every NIC sees all of
 * them, a packet goes from NIC to NIC by handing over its buffer. What the driver knows of a buffer (struct vs_dma_buf) lies
 * in ordinary memory: a device can write into the window at any time, and nothing that we trust is there.
 *
 * Layout of a buffer: VS_DMA_HEADROOM bytes, then where a device writes a frame (VS_DMA_DATA bytes at most). The tail of a received packet
 * begins at or behind VS_DMA_HEADROOM + VS_HEAD_COPY, so that a head of any length (VS_HEADROOM + VS_HEAD_MAX) can be written in front of it.
 * Big buffers take a whole packet to be segmented, in one piece.
 *
 * Who holds a buffer: the pool; a list of a queue (struct vs_dma_list); a ring; or a batch under way (nic.h, `lent`). Each queue has a list of
 * its own and exchanges VS_DMA_BULK at a time with the pool, so that the pool's lock is rare.
 *
 * Thread safety: the pool's functions may be called by any thread; a list belongs to whoever owns its queue. Reserving, backing and adding:
 * control thread.
 */
#ifndef VS_DMA_H
#define VS_DMA_H

#include "base.h"
#include "packet.h"

enum {
    VS_DMA_HEADROOM = 128,
    VS_DMA_DATA = 2048,
    VS_DMA_STRIDE = 2240, /* an odd number of cache lines: buffers spread over the cache's sets */
    VS_DMA_BIG_STRIDE = VS_DMA_HEADROOM + VS_MAX_FRAME + 64,
    VS_DMA_CHUNK = 2 << 20, /* buffers do not cross it: one entry of a huge-page IOTLB each */
    VS_DMA_LIST = 64,
    VS_DMA_BULK = 32,
};

/* Reserve `size` bytes of addresses. 0, -EBUSY when there is a window already, or -ENOMEM. */
int vs_dma_reserve(uint64_t size);
/* NULL while nothing is reserved. */
void *vs_dma_base(void);
uint64_t vs_dma_size(void);
/* Back a piece with zeroed memory: pages of 1 << huge_shift bytes (21, 30), or ordinary ones (0). 0 or -errno. */
int vs_dma_back(uint64_t offset, uint64_t length, uint32_t huge_shift);
/* Give the memory of a piece back; its addresses stay reserved. */
void vs_dma_unback(uint64_t offset, uint64_t length);
/* Forget window and buffers. All buffers must be in the pool. */
void vs_dma_release(void);
/* What devices call the first byte of the window. Before the first port starts. */
void vs_dma_set_iova(uint64_t iova);
/* Cut a backed piece (VS_DMA_CHUNK multiples) into buffers, big ones or ordinary. Returns how many, or -errno. */
int64_t vs_dma_add_buffers(uint64_t offset, uint64_t length, int big);
/* The memory of the buffers is given back: there are none any more. All must be in the pool. */
void vs_dma_forget_buffers(void);
uint64_t vs_dma_n_buffers(int big);      /* all there are */
uint64_t vs_dma_n_free_buffers(int big); /* in the pool now */

#ifndef VS_CDEF
struct vs_dma_buf {
    uint8_t *bytes;
    uint64_t iova; /* of bytes */
    struct vs_dma_buf *
        *lent; /* in a batch: where its receive queue notes it; who keeps it writes NULL there */
    struct vs_dma_buf *next; /* of the same packet */
    uint32_t size;           /* bytes behind the headroom that may be used */
    uint32_t big;
};

struct vs_dma_list {
    uint32_t n;
    struct vs_dma_buf *at[VS_DMA_LIST];
};

struct vs_dma {
    uint8_t *base;
    uint64_t size, iova;
    struct vs_dma_buf *bufs; /* address space for all that the window could hold */
    uint64_t n_bufs;
};

extern struct vs_dma vs_dma;

/* Get VS_DMA_BULK (or fewer) from the pool; give as many back. Slow paths of the two below. */
bool vs_dma_list_fill(struct vs_dma_list *l);
void vs_dma_list_spill(struct vs_dma_list *l);
void vs_dma_list_empty(struct vs_dma_list *l); /* all back to the pool */
struct vs_dma_buf *vs_dma_get_big(void);       /* NULL when there is none */
void vs_dma_put_big(struct vs_dma_buf *b);

/* An ordinary buffer, or NULL. */
static inline struct vs_dma_buf *vs_dma_get(struct vs_dma_list *l)
{
    if (VS_UNLIKELY(l->n == 0) && !vs_dma_list_fill(l))
        return NULL;
    struct vs_dma_buf *b = l->at[--l->n];
    b->next = NULL;
    b->lent = NULL;
    return b;
}

static inline void vs_dma_put(struct vs_dma_list *l, struct vs_dma_buf *b)
{
    if (VS_UNLIKELY(b->big)) {
        vs_dma_put_big(b);
        return;
    }
    if (VS_UNLIKELY(l->n == VS_DMA_LIST))
        vs_dma_list_spill(l);
    l->at[l->n++] = b;
}

/* A buffer and those that follow it. */
static inline void vs_dma_put_chain(struct vs_dma_list *l, struct vs_dma_buf *b)
{
    while (b != NULL) {
        struct vs_dma_buf *next = b->next;
        vs_dma_put(l, b);
        b = next;
    }
}

static inline uint8_t *vs_dma_data(const struct vs_dma_buf *b)
{
    return b->bytes + VS_DMA_HEADROOM;
}

/* Do these bytes lie in the window? */
static inline bool vs_dma_has(const void *p, uint64_t len)
{
    uint64_t at = (uint64_t)((const uint8_t *)p - vs_dma.base);
    return at < vs_dma.size && len <= vs_dma.size - at;
}

/* What devices call an address of the window. */
static inline uint64_t vs_dma_iova(const void *p)
{
    return (uint64_t)((const uint8_t *)p - vs_dma.base) + vs_dma.iova;
}

/* A packet's `dma`: which buffer. */
static inline uint32_t vs_dma_number(const struct vs_dma_buf *b)
{
    return (uint32_t)(b - vs_dma.bufs) + 1;
}

static inline struct vs_dma_buf *vs_dma_numbered(uint32_t number)
{
    return &vs_dma.bufs[number - 1];
}
#endif

#endif
