/* inflight.h: what survives a crash of ours: which chains were taken and not given back (vhost-user, Inflight I/O tracking).
 *
 * How it works: a region of memory that outlives us: the front-end's (GET_INFLIGHT_FD makes it, SET_INFLIGHT_FD brings it
 * back), or, for packed rings of front-ends without it, a small file of our own. Each ring has its part. The owner of a ring tells
 * when it took a chain (push), just before used entries become visible (publish) and just after (published), so that
 * whoever finds the region later can tell from the ring itself which half of the last step was done. We
 * give chains back in the order in which we took them, so what is in flight is what lies between the used and the available
 * position: recovery means to start at the used one.
 *
 * Thread safety: hooks by the owner of the ring; the rest on the control thread.
 */
#ifndef VS_INFLIGHT_H
#define VS_INFLIGHT_H

#include "base.h"

struct vs_inflight;

#ifndef VS_CDEF
struct vs_vring;
struct vs_token;

/* A chain was taken and its used entry written, not visible yet. */
void vs_inflight_push(struct vs_vring *r, const struct vs_token *t);
/* Used entries are about to become visible; and: are visible. */
void vs_inflight_publish(struct vs_vring *r);
void vs_inflight_published(struct vs_vring *r);
#endif

#endif
