/* guest_mem.h: the memory a guest shares with us, and the one way to turn its addresses into ours.
 *
 * How it works: a region maps a piece of the guest's memory file. A table is an immutable, sorted list of regions. Three
 * kinds of addresses are three types, so that they cannot be mixed up: vs_gpa (guest physical, in descriptors), vs_uva (the
 * front-end's own address, in SET_VRING_ADDR) and a plain pointer (ours). Translation takes the wanted length and
 * returns how much of it is contiguous: whoever wants all of it compares (CVE-2018-1059 was the lack of this).
 * All sums were checked for overflow, and regions for overlap, when the table was made.
 *
 * Thread safety: a table never changes. The control thread makes a new one, restarts the rings on it, and frees the old one
 * after a grace period. Mappings outlive every table that names them.
 */
#ifndef VS_GUEST_MEM_H
#define VS_GUEST_MEM_H

#include "base.h"

enum { VS_GUEST_REGIONS = 32 };

struct vs_guest_region {
    uint64_t gpa;  /* guest physical address of the first byte */
    uint64_t uva;  /* the front-end's address of the first byte */
    uint64_t size; /* bytes, > 0 */
    uint8_t *host; /* our address of the first byte */
};

struct vs_guest_map; /* one mmap of a memory file */
struct vs_guest_mem; /* a table of regions */

/* Map `size` bytes at `offset` of a memory file, which stays open and the caller's. NULL with *error = -errno: -EFBIG when the file
 * ends before the region does, -EINVAL for no regular file or a bad sum. A file that is cut later reads as zeros there, and
 * vs_guarded_faults (sigbus.h) tells it of the mapping's owner. Control thread. */
struct vs_guest_map *vs_guest_map_new(int fd, uint64_t offset, uint64_t size, int *error);
uint8_t *vs_guest_map_host(struct vs_guest_map *map);
void vs_guest_map_own(struct vs_guest_map *map, const void *owner);
void vs_guest_map_free(struct vs_guest_map *map);

/* Make a table. NULL with *error: -EINVAL for an empty, wrapping or overlapping region, -E2BIG for more than
 * VS_GUEST_REGIONS, -ENOMEM. */
struct vs_guest_mem *vs_guest_mem_new(const struct vs_guest_region *regions, unsigned n, int *error);
void vs_guest_mem_free(struct vs_guest_mem *mem);

#ifndef VS_CDEF
/* All of the mapping: whole pages. */
uint8_t *vs_guest_map_range(struct vs_guest_map *map, size_t *len);

typedef struct {
    uint64_t v;
} vs_gpa;

typedef struct {
    uint64_t v;
} vs_uva;

struct vs_guest_mem {
    unsigned n;
    struct vs_guest_region regions[VS_GUEST_REGIONS];
};

/* Where `*len` bytes at guest physical address `a` are; *len is cut to what is contiguous. NULL when not even one byte is mapped.
 * `hint` is the region that was hit last; it is tried first. */
static inline uint8_t *vs_gpa_translate(const struct vs_guest_mem *mem, const struct vs_guest_region **hint,
                                        vs_gpa a, uint32_t *len)
{
    const struct vs_guest_region *r = *hint;
    uint64_t ofs = a.v - r->gpa;
    if (VS_UNLIKELY(ofs >= r->size)) {
        unsigned i = 0;
        for (; i < mem->n; i++)
            if (a.v - mem->regions[i].gpa < mem->regions[i].size)
                break;
        if (i == mem->n)
            return NULL;
        r = *hint = &mem->regions[i];
        ofs = a.v - r->gpa;
    }
    if (VS_UNLIKELY(*len > r->size - ofs))
        *len = (uint32_t)(r->size - ofs);
    return r->host + ofs;
}

/* Where the `len` bytes at the front-end's address `a` are; NULL unless all of them lie in one region. */
uint8_t *vs_uva_translate(const struct vs_guest_mem *mem, vs_uva a, uint64_t len);
/* Copy `len` bytes at a guest physical address, over any number of regions. False when some are not mapped. */
bool vs_gpa_read(const struct vs_guest_mem *mem, const struct vs_guest_region **hint, vs_gpa a, void *to,
                 uint32_t len);
#endif

#endif
