/* mmio.h: access to a device's registers: checked, ordered, and open to the device models of the tests.
 *
 * How it works: a BAR is a mapping and its size. An access outside of it reads all ones and writes nothing, as a device that is gone does, so a
 * device that lies about where its registers are harms nobody. With a hook, accesses go to it instead: a device model then has
 * registers that do something when they are read or written. In the field there is none, and the test for it is one predicted branch.
 *
 * Ordering: what was written to memory before vs_mmio_write* is visible to the device before the register changes; vs_dma_rmb stands between
 * reading a descriptor's "done" and the rest of it.
 *
 * Thread safety: that of the device's registers.
 */
#ifndef VS_MMIO_H
#define VS_MMIO_H

#include "base.h"

/* Registers of a device model. width: 1, 2, 4 or 8 bytes. */
struct vs_mmio_hook {
    uint64_t (*read)(void *ctx, uint32_t bar, uint64_t offset, uint32_t width);
    void (*write)(void *ctx, uint32_t bar, uint64_t offset, uint32_t width, uint64_t value);
    void *ctx;
};

struct vs_bar {
    uint8_t *base; /* NULL: the device has no such BAR, or it cannot be mapped */
    uint64_t size;
    const struct vs_mmio_hook *hook; /* NULL: real registers */
    uint32_t index;
};

#ifndef VS_CDEF
static inline bool vs_bar_has(const struct vs_bar *b, uint64_t offset, uint32_t width)
{
    return b->base != NULL && offset < b->size && width <= b->size - offset && offset % width == 0;
}

/* Descriptors are written before the register that tells of them. */
static inline void vs_dma_wmb(void)
{
#if defined(__aarch64__)
    __asm__ volatile("dmb oshst" ::: "memory");
#else
    atomic_thread_fence(memory_order_release); /* stores stay in order on x86 */
#endif
}

/* "Done" is read before what it tells of. */
static inline void vs_dma_rmb(void)
{
#if defined(__aarch64__)
    __asm__ volatile("dmb oshld" ::: "memory");
#else
    atomic_thread_fence(memory_order_acquire);
#endif
}

/* What we wrote is visible before we read what the device wrote. */
static inline void vs_dma_mb(void)
{
    atomic_thread_fence(memory_order_seq_cst);
}

#define VS_MMIO_ACCESS(bits, type)                                                                           \
    static inline type vs_mmio_read##bits(const struct vs_bar *b, uint64_t offset)                           \
    {                                                                                                        \
        if (VS_UNLIKELY(!vs_bar_has(b, offset, sizeof(type))))                                               \
            return (type) ~(type)0;                                                                          \
        if (VS_UNLIKELY(b->hook != NULL))                                                                    \
            return (type)b->hook->read(b->hook->ctx, b->index, offset, sizeof(type));                        \
        return *(volatile type *)(void *)(b->base + offset);                                                 \
    }                                                                                                        \
    static inline void vs_mmio_write##bits(const struct vs_bar *b, uint64_t offset, type value)              \
    {                                                                                                        \
        if (VS_UNLIKELY(!vs_bar_has(b, offset, sizeof(type))))                                               \
            return;                                                                                          \
        vs_dma_wmb();                                                                                        \
        if (VS_UNLIKELY(b->hook != NULL))                                                                    \
            b->hook->write(b->hook->ctx, b->index, offset, sizeof(type), value);                             \
        else                                                                                                 \
            *(volatile type *)(void *)(b->base + offset) = value;                                            \
    }

VS_MMIO_ACCESS(8, uint8_t)
VS_MMIO_ACCESS(16, uint16_t)
VS_MMIO_ACCESS(32, uint32_t)
#undef VS_MMIO_ACCESS

/* 64 bits as two halves, low first: VIRTIO 1.2, 4.1.3.1, and no device here needs more. */
static inline void vs_mmio_write64_halves(const struct vs_bar *b, uint64_t offset, uint64_t value)
{
    vs_mmio_write32(b, offset, (uint32_t)value);
    vs_mmio_write32(b, offset + 4, (uint32_t)(value >> 32));
}
#endif

#endif
