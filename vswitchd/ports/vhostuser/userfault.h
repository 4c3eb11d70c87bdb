/* userfault.h: memory of a guest that is not all there yet: post-copy migration (vhost-user, POSTCOPY_*).
 *
 * How it works: the guest already runs here while its memory still comes from where it was. The front-end's memory files are mapped and
 * watched by a userfaultfd that the front-end gets a copy of: who touches a page that has not come sleeps until the front-end
 * has put it into the file and wakes him. So cores AND the control thread may sleep for a peer: post-copy is
 * offered only where the operator said so, because he trusts the front-end. When the descriptor is closed everywhere, sleepers go on and
 * read zeros.
 *
 * Thread safety: the control thread; a mapping is watched before any core sees it.
 */
#ifndef VS_USERFAULT_H
#define VS_USERFAULT_H

#include "guest_mem.h"

/* A new descriptor, not blocking, or -errno (-EPERM: not allowed here, -ENOSYS: a kernel without). */
int vs_userfault_new(void);
/* Watch a mapping: from now on missing pages wait. 0, or -errno. */
int vs_userfault_watch(int fd, struct vs_guest_map *map);
/* Watch it no more and wake who sleeps in it. */
void vs_userfault_unwatch(int fd, struct vs_guest_map *map);

#endif
