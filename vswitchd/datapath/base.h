/* base.h: the common dialect of all public headers.
 *
 * Every public header of the datapath is read twice: by the C compiler, and (through `cc -E -P -DVS_CDEF`) by cffi.
 * So constants are enums, there are no bit-fields and no _Atomic in public structs, and whatever only C may see stands
 * under `#ifndef VS_CDEF`. A struct whose alignment cffi cannot know ends in VS_PARTIAL.
 *
 * Thread safety: nothing here has state.
 */
#ifndef VS_BASE_H
#define VS_BASE_H

#ifdef VS_CDEF
#define VS_CACHE_ALIGNED
#define VS_WORD_ALIGNED
#define VS_PARTIAL ...;
#define VS_ASSERT_SIZE(type, size)
#else
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define VS_CACHE_LINE 64
#define VS_CACHE_ALIGNED __attribute__((aligned(VS_CACHE_LINE)))
#define VS_WORD_ALIGNED __attribute__((aligned(8)))
#define VS_PARTIAL
#define VS_ASSERT_SIZE(type, size) _Static_assert(sizeof(type) == (size), #type " has an unexpected size")

#define VS_LIKELY(x) __builtin_expect(!!(x), 1)
#define VS_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define VS_PREFETCH(p) __builtin_prefetch((p), 0, 3)
/* On the x86-64 baseline the builtin would make a read of it; processors without prefetchw ignore the instruction. */
#if defined(__x86_64__)
#define VS_PREFETCH_W(p) __asm__ volatile("prefetchw %0" ::"m"(*(const char *)(p)))
#else
#define VS_PREFETCH_W(p) __builtin_prefetch((p), 1, 3)
#endif
#define VS_ALWAYS_INLINE static inline __attribute__((always_inline))
#define VS_CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))

#define VS_MIN(a, b) ((a) < (b) ? (a) : (b))
#define VS_MAX(a, b) ((a) > (b) ? (a) : (b))

/* Unaligned big-endian access to packet bytes. */
static inline uint16_t vs_get_be16(const void *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return __builtin_bswap16(v);
}

static inline uint32_t vs_get_be32(const void *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return __builtin_bswap32(v);
}

static inline void vs_put_be16(void *p, uint16_t v)
{
    v = __builtin_bswap16(v);
    memcpy(p, &v, sizeof v);
}

static inline void vs_put_be32(void *p, uint32_t v)
{
    v = __builtin_bswap32(v);
    memcpy(p, &v, sizeof v);
}

/* Tell the processor that this is a spin loop. */
static inline void vs_cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Cycles of a clock that runs at a constant rate on all cores. */
static inline uint64_t vs_cycles(void)
{
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
    uint64_t v;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(v));
    return v;
#else
#error "vs_cycles: no constant-rate counter known for this architecture"
#endif
}

/* A counter that one thread writes and any thread may read: a plain add for the owner, never torn for the reader. */
static inline void vs_count(uint64_t *counter, uint64_t n)
{
    __atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

static inline uint64_t vs_count_read(const uint64_t *counter)
{
    return __atomic_load_n(counter, __ATOMIC_RELAXED);
}
#endif /* !VS_CDEF */

enum {
    VS_BATCH = 32,       /* packets handled at once */
    VS_MAX_PORTS = 4096, /* port indices of one datapath */
    VS_MAX_CORES = 64,   /* polling cores, the control core (index 0) included */
    VS_MAX_RXQ = 64,     /* receive queues of one port */
    VS_MAX_TABLES = 255, /* OpenFlow tables 0..254 of one bridge */
    VS_PATCH_DEPTH = 8,  /* bridges that one packet may cross */
};

#endif
