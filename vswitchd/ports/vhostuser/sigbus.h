/* sigbus.h: memory of a front-end that goes away under our mapping costs its port only, not the switch.
 *
 * How it works: a page of a mapped file that cannot be had (the front-end truncated the file, its file system is full, no huge page is
 * left, the memory is defective) raises SIGBUS in the thread that touches it. Whoever maps a file of a front-end adds the
 * mapping to a registry; the handler finds the address there, puts private memory of zeros in the place, notes that the
 * mapping is faulted, writes an eventfd, and the thread goes on: what it reads is what a hostile guest could have written. The
 * control thread then asks for each port whether it is concerned, and closes that connection. Any other SIGBUS goes to the handler that was
 * there before (faulthandler, a sanitizer), or ends the process.
 *
 * A piece of VS_GUARDED_CHUNK bytes is replaced at a time: taking 4 GB of touched memory away at once holds up every thread of the
 * process for 170 ms, 2 MB for 0.2 ms. But a process may have only so many mappings (65,530): from VS_GUARDED_PIECES on the whole
 * mapping is replaced.
 *
 * Thread safety: all functions are the control thread's. The handler runs on any thread, also on several at once (replacing twice
 * is harmless), takes no lock and only reads the registry; records are never freed, and a sequence number tells it
 * apart one that changes. A mapping is added before a core may touch it and removed, then unmapped, after the grace period.
 */
#ifndef VS_SIGBUS_H
#define VS_SIGBUS_H

#include "base.h"

enum {
    VS_GUARDED_CHUNK = 2 << 20,
    VS_GUARDED_PIECES =
        8192, /* in all mappings that are guarded now; each costs at most two of the process's */
};

struct vs_guarded; /* a mapping in the registry */

/* Make SIGBUS ours, also when somebody took it since the last call. Returns an eventfd that becomes readable when a mapping faulted;
 * it is the same each time and stays open. Or -errno. */
int vs_sigbus_install(void);

/* Guard a mapping of `len` bytes in units of `page` (a power of two; both are multiples of it). `owner` is compared only, and may be NULL.
 * Installs the handler. NULL with *error = -errno. */
struct vs_guarded *vs_guarded_add(void *base, size_t len, size_t page, const void *owner, int *error);
void vs_guarded_own(struct vs_guarded *g, const void *owner);
/* Call it right before munmap, which stays the caller's. NULL is allowed. */
void vs_guarded_remove(struct vs_guarded *g);
/* How many mappings of this owner faulted since the last call. */
unsigned vs_guarded_faults(const void *owner);

#endif
