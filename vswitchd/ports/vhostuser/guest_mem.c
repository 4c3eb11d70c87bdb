/* guest_mem.c: mappings and tables of guest memory; see guest_mem.h. */
#include "guest_mem.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sigbus.h"

struct vs_guest_map {
    uint8_t *base; /* of the mapping, page aligned */
    size_t len;
    uint8_t *host; /* of the region */
    struct vs_guarded *guard;
};

struct vs_guest_map *vs_guest_map_new(int fd, uint64_t offset, uint64_t size, int *error)
{
    struct stat st;
    if (fstat(fd, &st) != 0) {
        *error = -errno;
        return NULL;
    }
    /* Only files whose end is known: a touch behind the end of the file would be SIGBUS. */
    if (!S_ISREG(st.st_mode) || size == 0 || offset + size < offset) {
        *error = -EINVAL;
        return NULL;
    }
    if (offset + size > (uint64_t)st.st_size) {
        *error = -EFBIG;
        return NULL;
    }
    /* hugetlbfs wants offset and, for munmap, length in units of its pages, which it reports as the block size. */
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), block = (uint64_t)st.st_blksize;
    if (block > page && (block & (block - 1)) == 0)
        page = block;
    uint64_t start = offset & ~(page - 1);
    uint64_t len = (offset + size - start + page - 1) & ~(page - 1);
    struct vs_guest_map *map = malloc(sizeof *map);
    void *base = MAP_FAILED;
    if (map != NULL && len >= size)
        base = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, (off_t)start);
    if (base == MAP_FAILED) {
        *error = map == NULL || len < size ? -ENOMEM : -errno;
        free(map);
        return NULL;
    }
    (void)madvise(base, len, MADV_DONTDUMP); /* a core file of ours must not hold a guest's secrets */
    *map = (struct vs_guest_map){.base = base, .len = len, .host = (uint8_t *)base + (offset - start)};
    map->guard = vs_guarded_add(base, len, page, NULL, error); /* the file may be cut yet */
    if (map->guard == NULL) {
        vs_guest_map_free(map);
        return NULL;
    }
    return map;
}

uint8_t *vs_guest_map_host(struct vs_guest_map *map)
{
    return map->host;
}

uint8_t *vs_guest_map_range(struct vs_guest_map *map, size_t *len)
{
    *len = map->len;
    return map->base;
}

void vs_guest_map_own(struct vs_guest_map *map, const void *owner)
{
    vs_guarded_own(map->guard, owner);
}

void vs_guest_map_free(struct vs_guest_map *map)
{
    if (map == NULL)
        return;
    vs_guarded_remove(map->guard);
    munmap(map->base, map->len);
    free(map);
}

static bool overlap(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
    return a - b < b_size || b - a < a_size;
}

static bool region_bad(const struct vs_guest_region *r)
{
    return r->size == 0 || r->host == NULL || r->gpa + r->size < r->gpa || r->uva + r->size < r->uva;
}

struct vs_guest_mem *vs_guest_mem_new(const struct vs_guest_region *regions, unsigned n, int *error)
{
    *error = -E2BIG;
    if (n > VS_GUEST_REGIONS)
        return NULL;
    *error = -EINVAL;
    for (unsigned i = 0; i < n; i++) {
        const struct vs_guest_region *r = &regions[i];
        if (region_bad(r))
            return NULL;
        for (unsigned k = 0; k < i; k++)
            if (overlap(r->gpa, r->size, regions[k].gpa, regions[k].size) ||
                overlap(r->uva, r->size, regions[k].uva, regions[k].size))
                return NULL;
    }
    struct vs_guest_mem *mem = calloc(1, sizeof *mem);
    *error = mem == NULL ? -ENOMEM : 0;
    if (mem == NULL)
        return NULL;
    mem->n = n;
    for (unsigned i = 0; i < n; i++)
        mem->regions[i] = regions[i];
    return mem;
}

void vs_guest_mem_free(struct vs_guest_mem *mem)
{
    free(mem);
}

uint8_t *vs_uva_translate(const struct vs_guest_mem *mem, vs_uva a, uint64_t len)
{
    for (unsigned i = 0; i < mem->n; i++) {
        const struct vs_guest_region *r = &mem->regions[i];
        uint64_t ofs = a.v - r->uva;
        if (ofs < r->size)
            return len <= r->size - ofs ? r->host + ofs : NULL;
    }
    return NULL;
}

bool vs_gpa_read(const struct vs_guest_mem *mem, const struct vs_guest_region **hint, vs_gpa a, void *to,
                 uint32_t len)
{
    uint8_t *out = to;
    while (len > 0) {
        uint32_t part = len;
        const uint8_t *from = vs_gpa_translate(mem, hint, a, &part);
        if (from == NULL)
            return false;
        memcpy(out, from, part);
        out += part;
        a.v += part;
        len -= part;
    }
    return true;
}
