/* keep.c: packets into a slab and out of it; see keep.h. */
#include "keep.h"

#include <errno.h>
#include <sys/mman.h>

int vs_slab_init(struct vs_slab *s)
{
    void *chunks = mmap(NULL, (size_t)VS_CHUNK * VS_SLAB_CHUNKS, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    *s = (struct vs_slab){.spare = VS_NO_CHUNK, .n_free = VS_SLAB_CHUNKS};
    s->chunks = chunks == MAP_FAILED ? NULL : chunks;
    return s->chunks == NULL ? -ENOMEM : 0;
}

void vs_slab_destroy(struct vs_slab *s)
{
    if (s->chunks != NULL)
        munmap(s->chunks, (size_t)VS_CHUNK * VS_SLAB_CHUNKS);
    s->chunks = NULL;
}

static uint32_t chunk_get(struct vs_slab *s)
{
    uint32_t i = s->spare;
    if (i == VS_NO_CHUNK)
        i = s->n_fresh++;
    else
        s->spare = vs_chunk_at(s, i)->next;
    s->n_free--;
    return i;
}

void vs_keep_free(struct vs_slab *s, uint32_t first)
{
    uint32_t last = first;
    s->n_free += vs_chunk_at(s, first)->n;
    while (vs_chunk_at(s, last)->next != VS_NO_CHUNK)
        last = vs_chunk_at(s, last)->next;
    vs_chunk_at(s, last)->next = s->spare;
    s->spare = first;
}

uint32_t vs_keep(struct vs_slab *s, const struct vs_packet *p, uint32_t need, uint32_t wire_len)
{
    uint32_t first = chunk_get(s);
    struct vs_chunk *k = vs_chunk_at(s, first);
    *k = (struct vs_chunk){
        .next = VS_NO_CHUNK,
        .next_packet = VS_NO_CHUNK,
        .frame_len = p->frame_len,
        .wire_len = wire_len,
        .queue = p->queue,
        .n = (uint16_t)need,
        .head_len = p->head_len,
        .l3_ofs = p->l3_ofs,
        .l4_ofs = p->l4_ofs,
        .gso_size = p->gso_size,
        .csum_start = p->csum_start,
        .csum_offset = p->csum_offset,
        .gso_hdr_len = p->gso_hdr_len,
        .gso_l3_ofs = p->gso_l3_ofs,
        .csum = p->csum,
        .gso_type = p->gso_type,
        .n_tags = p->n_tags,
        .depth = p->depth,
    };
    memcpy(k->bytes, p->data, p->head_len);
    uint32_t used = p->head_len; /* of the chunk */
    for (unsigned i = 0; i < p->n_segs; i++)
        for (uint32_t done = 0; done < p->segs[i].len;) {
            if (used == VS_CHUNK_BYTES) {
                k->next = chunk_get(s);
                k = vs_chunk_at(s, k->next);
                k->next = VS_NO_CHUNK;
                used = 0;
            }
            uint32_t n = VS_MIN(p->segs[i].len - done, VS_CHUNK_BYTES - used);
            memcpy(k->bytes + used, p->segs[i].data + done, n);
            used += n;
            done += n;
        }
    return first;
}

void vs_keep_restore(const struct vs_slab *s, uint32_t first, struct vs_port *port, struct vs_packet *p)
{
    struct vs_chunk *k = vs_chunk_at(s, first);
    vs_packet_reset(p, port);
    p->frame_len = k->frame_len;
    p->head_len = k->head_len;
    p->queue = k->queue;
    p->l3_ofs = k->l3_ofs;
    p->l4_ofs = k->l4_ofs;
    p->gso_size = k->gso_size;
    p->csum_start = k->csum_start;
    p->csum_offset = k->csum_offset;
    p->gso_hdr_len = k->gso_hdr_len;
    p->gso_l3_ofs = k->gso_l3_ofs;
    p->csum = k->csum;
    p->gso_type = k->gso_type;
    p->n_tags = k->n_tags;
    p->depth = k->depth;
    p->queued = 1;
    memcpy(p->data, k->bytes, k->head_len);
    uint32_t left = k->frame_len - k->head_len, from = k->head_len;
    while (left > 0) {
        uint32_t n = VS_MIN(left, VS_CHUNK_BYTES - from);
        if (n > 0)
            p->segs[p->n_segs++] = (struct vs_seg){.data = k->bytes + from, .len = n};
        left -= n;
        from = 0;
        if (left > 0)
            k = vs_chunk_at(s, k->next);
    }
}
