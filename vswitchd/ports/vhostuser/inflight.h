/* inflight.h: what survives a crash of ours: where each ring stood, and how to undo what was half done (vhost-user, Inflight I/O tracking).
 *
 * How it works: a record is memory that outlives us: the front-end's (GET_INFLIGHT_FD makes it, SET_INFLIGHT_FD brings it
 * back), or, for packed rings of front-ends without it, a file of our own (recovery.py). Each ring has its part, laid out as
 * the specification says, with what it leaves to the back-end used in our own way, under a mark of ours.
 * We give chains back in the order in which we took them, so what is in flight is what lies between the used and the available
 * position: recovery is to start at the used one, and taking those chains again.
 * A split ring tells that position itself (used->idx), and nothing in it is overwritten before that moves: there the record only follows.
 * A packed ring does not tell it, and a used descriptor overwrites the one that it answers before it is visible. So
 * push saves what will be overwritten; publish notes the positions before and behind the batch; when the first flags of the
 * batch are written, published makes the new position the old one. Who finds the record later sees by the used bit at the old position
 * whether the driver saw the batch: then the new one holds; else the saved descriptors are put back and the old one holds.
 * Each step is one store, and a process that is killed stops between two of them: compilers must keep their order, no more.
 *
 * The front-end's record is as hostile as all its memory: it is read at the start of a ring only, once, and every number is checked.
 * A record is not believed when the ring in guest memory cannot be the one it tells of (a guest that was reset meanwhile).
 * Left out on purpose: records of other back-ends with chains used out of order. Such a ring starts at its used position.
 *
 * Thread safety: hooks by the owner of the ring; the rest on the control thread.
 */
#ifndef VS_INFLIGHT_H
#define VS_INFLIGHT_H

#include "base.h"

struct vs_inflight; /* the part of one ring */

/* Bytes of the part of one ring in a record; parts follow one another. 0: no such queue size. */
uint64_t vs_inflight_size(uint32_t queue_size, int packed);
/* The part of ring number `queue` in a record of `len` bytes at `host`, which outlives this. `believe`: a position that
 * stands there goes before the base of the ring's configuration; else it is overwritten. NULL: the record is too short or not aligned to 8 bytes, or there is no
 * memory. */
struct vs_inflight *vs_inflight_new(uint8_t *host, uint64_t len, uint32_t queue, uint32_t queue_size,
                                    int packed, int believe);
/* After the ring is reaped. The record stays as it is. */
void vs_inflight_free(struct vs_inflight *f);
/* The front-end was told the position (GET_VRING_BASE) or the device was reset: what stands in the record does not hold any more. */
void vs_inflight_clear(struct vs_inflight *f);

#ifndef VS_CDEF
struct vs_vring;
struct vs_token;

/* Where a ring that is being made starts: the base, or what the record says. Puts back what was half done. May set r->inflight to NULL. */
uint16_t vs_inflight_begin(struct vs_vring *r, uint16_t base);
/* Packed: a used descriptor is about to be written over that of the chain. */
void vs_inflight_push(struct vs_vring *r, const struct vs_token *t, uint32_t len);
/* Packed: used descriptors up to slot `to` are about to become visible. */
void vs_inflight_publish(struct vs_vring *r, uint16_t to);
/* They are visible. */
void vs_inflight_published(struct vs_vring *r);
#endif

#endif
