/* dirty_log.c: the migration log; see dirty_log.h. */
#include "dirty_log.h"

#include <errno.h>
#include <stdlib.h>

enum { PAGE_SHIFT = 12 }; /* VHOST_LOG_PAGE */

struct vs_dirty_log {
    struct vs_guest_map *map;
    uint8_t *bits;
    uint64_t size; /* bytes */
};

struct vs_dirty_log *vs_dirty_log_new(int fd, uint64_t offset, uint64_t size, int *error)
{
    struct vs_dirty_log *log = calloc(1, sizeof *log);
    *error = -ENOMEM;
    if (log == NULL)
        return NULL;
    log->map = vs_guest_map_new(fd, offset, size, error);
    if (log->map == NULL) {
        free(log);
        return NULL;
    }
    log->bits = vs_guest_map_host(log->map);
    log->size = size;
    return log;
}

void vs_dirty_log_free(struct vs_dirty_log *log)
{
    if (log == NULL)
        return;
    vs_guest_map_free(log->map);
    free(log);
}

struct vs_guest_map *vs_dirty_log_map(struct vs_dirty_log *log)
{
    return log->map;
}

static void set_bits(struct vs_dirty_log *log, uint64_t gpa, uint64_t len)
{
    uint64_t last = (gpa + len - 1) >> PAGE_SHIFT;
    for (uint64_t page = gpa >> PAGE_SHIFT; page <= last && page / 8 < log->size; page++)
        /* Release: who finds the bit finds what was written, too. */
        __atomic_fetch_or(&log->bits[page / 8], (uint8_t)(1u << page % 8), __ATOMIC_RELEASE);
}

void vs_dirty_mark(struct vs_dirty_log *log, const struct vs_guest_mem *mem, const void *host, uint64_t len)
{
    const uint8_t *at = host;
    /* Behind a vIOMMU a piece may lie in several regions, whose mappings happen to be neighbours: each turn takes one. */
    for (unsigned turns = mem->n; turns > 0 && len > 0; turns--) {
        for (unsigned i = 0; i < mem->n; i++) {
            const struct vs_guest_region *r = &mem->regions[i];
            uint64_t ofs = (uint64_t)(at - r->host), part = VS_MIN(len, r->size - ofs);
            if (ofs >= r->size)
                continue;
            set_bits(log, r->gpa + ofs, part);
            at += part;
            len -= part;
            break;
        }
    }
}
