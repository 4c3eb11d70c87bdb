/* dirty_log.h: the bitmap in which we note the pages of guest memory that we wrote to, while a guest is migrated.
 *
 * How it works: the front-end shares a memory file (SET_LOG_BASE): bit n of it stands for the page of 4,096 bytes at guest physical
 * address n * 4096. Who wrote to guest memory calls vs_dirty_mark with OUR pointer: the guest physical address is found by
 * looking it up backwards in the region table, so it is right behind a vIOMMU too. Bits are set atomically: the front-end
 * clears them at the same time (vhost-user, Migration).
 *
 * Thread safety: mark on any core; new and free on the control thread, free after a grace period.
 */
#ifndef VS_DIRTY_LOG_H
#define VS_DIRTY_LOG_H

#include "guest_mem.h"

struct vs_dirty_log;

/* Map `size` bytes of the bitmap at `offset` of a file, which stays the caller's. NULL with *error as vs_guest_map_new. */
struct vs_dirty_log *vs_dirty_log_new(int fd, uint64_t offset, uint64_t size, int *error);
void vs_dirty_log_free(struct vs_dirty_log *log);
struct vs_guest_map *vs_dirty_log_map(struct vs_dirty_log *log);

#ifndef VS_CDEF
/* We wrote `len` bytes at `host`. Pages behind the end of the bitmap are not noted. */
void vs_dirty_mark(struct vs_dirty_log *log, const struct vs_guest_mem *mem, const void *host, uint64_t len);
#endif

#endif
