/* keep.h: owned copies of packets in a slab of bounded size: what waits longer than its batch. C only.
 *
 * How it works: a packet is copied whole into a chain of chunks and comes back as it was, its tail borrowed from the chunks, which stay
 * taken until they are freed. Memory is backed when a chunk is used for the first time; used ones are used again first.
 *
 * Thread safety: a slab belongs to one core; new and free: control thread.
 */
#ifndef VS_KEEP_H
#define VS_KEEP_H

#include "packet.h"

#ifndef VS_CDEF
enum {
    VS_CHUNK =
        1600, /* a frame of MTU 1500 fits; the longest is 43 of them, which a packet has segments for */
    VS_SLAB_CHUNKS = 20480, /* 32 MB */
    VS_NO_CHUNK = 0x7fffffff,
};

/* A part of a packet; what stands before `bytes` counts in the first one. */
struct vs_chunk {
    uint32_t next;        /* of this packet, or of the free list */
    uint32_t next_packet; /* for whoever keeps a list of packets */
    uint32_t frame_len;
    uint32_t wire_len; /* for the owner */
    uint32_t queue;
    uint16_t n; /* chunks */
    uint16_t head_len;
    uint16_t l3_ofs, l4_ofs;
    uint16_t gso_size, csum_start, csum_offset, gso_hdr_len, gso_l3_ofs;
    uint8_t csum, gso_type, n_tags, depth;
    uint8_t bytes[];
};

enum { VS_CHUNK_BYTES = VS_CHUNK - sizeof(struct vs_chunk) };
_Static_assert(VS_MAX_FRAME / VS_CHUNK_BYTES + 1 <= VS_MAX_SEGS, "a frame fits a packet");
_Static_assert((int)VS_HEAD_MAX <= (int)VS_CHUNK_BYTES, "the head is in the first chunk");

struct vs_slab {
    uint8_t *chunks;
    uint32_t n_fresh; /* chunks from here on were never used */
    uint32_t spare;   /* list of used ones */
    uint32_t n_free;
};

int vs_slab_init(struct vs_slab *s); /* 0 or -ENOMEM */
void vs_slab_destroy(struct vs_slab *s);

static inline struct vs_chunk *vs_chunk_at(const struct vs_slab *s, uint32_t i)
{
    return (struct vs_chunk *)(void *)(s->chunks + (size_t)i * VS_CHUNK);
}

static inline uint32_t vs_keep_need(const struct vs_packet *p)
{
    return VS_MAX((p->frame_len + VS_CHUNK_BYTES - 1) / VS_CHUNK_BYTES, 1u);
}

/* Copy a packet into `need` chunks, which are free. Returns the first. */
uint32_t vs_keep(struct vs_slab *s, const struct vs_packet *p, uint32_t need, uint32_t wire_len);
/* Make the packet of it, for `port`. */
void vs_keep_restore(const struct vs_slab *s, uint32_t first, struct vs_port *port, struct vs_packet *p);
void vs_keep_free(struct vs_slab *s, uint32_t first);
#endif

#endif
