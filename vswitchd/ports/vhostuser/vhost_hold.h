/* vhost_hold.h: packets on their way to a guest whose buffers are not translated yet (see iotlb.h). C only.
 *
 * How it works: a transmit ring behind a vIOMMU has a queue of at most VS_HOLD_FRAMES frames and VS_HOLD_BYTES bytes: owned copies, since what
 * a packet borrows is given back with its batch. When put finds an address that is not known, the frame goes there, and all
 * later ones behind it, so order is kept. The queue is emptied when a translation came, by whoever is first: the next
 * transmit to the ring, or the core that polls receive queue 0 of the port (vs_vhost_chores). A frame that is made of a packet in software
 * (a segment) may `count` or not: a packet counts once.
 *
 * Thread safety: the owner of the ring (under its lock); new and free on the control thread.
 */
#ifndef VS_VHOST_HOLD_H
#define VS_VHOST_HOLD_H

#include "packet.h"
#include "port.h"

#ifndef VS_CDEF
enum {
    VS_HOLD_FRAMES = 256,
    VS_HOLD_BYTES = 1 << 20,
};

struct vs_hold_frame {
    uint32_t ofs;
    uint32_t len;
    bool counts;
    uint8_t csum; /* offload fields of struct vs_packet */
    uint8_t gso_type;
    uint16_t gso_size;
    uint16_t csum_start;
    uint16_t csum_offset;
    uint16_t gso_hdr_len;
};

struct vs_hold {
    uint32_t first; /* index of the oldest */
    uint32_t n;
    _Atomic uint32_t counting; /* those that count; read by the control thread */
    bool emptying;             /* what is put now comes from here */
    bool waits;                /* and the oldest must go on waiting */
    uint16_t ahead;            /* buffers before this one were looked up ahead: split: number; packed: slot */
    uint32_t eager;            /* turns for which buffers are looked up ahead: not 0 while some are missing */
    uint8_t *bytes;
    struct vs_hold_frame frames[VS_HOLD_FRAMES];
    struct vs_packet packets[VS_BATCH]; /* to send from */
    struct vs_port_counters uncounted;  /* of frames that do not count */
};

struct vs_hold *vs_hold_new(void); /* NULL: no memory */
void vs_hold_free(struct vs_hold *h);
/* Append a copy of head and segments, with the offload fields of `p` unless it is NULL. False: no room. */
bool vs_hold_add(struct vs_hold *h, const uint8_t *head, uint32_t head_len, const struct vs_seg *segs,
                 uint32_t n_segs, const struct vs_packet *p, bool counts);
/* Make packets of the oldest frames, which stay here: up to VS_BATCH, all of which count or none. */
int vs_hold_peek(struct vs_hold *h, struct vs_packet **pkts, bool *counts);
void vs_hold_remove(struct vs_hold *h, uint32_t n);
/* Undo the last n of vs_hold_add. */
void vs_hold_take_back(struct vs_hold *h, uint32_t n);

static inline uint32_t vs_hold_counting(const struct vs_hold *h)
{
    return h == NULL ? 0 : atomic_load_explicit(&h->counting, memory_order_relaxed);
}
#endif

#endif
