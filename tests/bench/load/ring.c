/* ring.c: laying a ring out, and what happens rarely; see ring.h. */
#include <stdlib.h>
#include <unistd.h>

#include "ring.h"

static uint64_t aligned(uint64_t n)
{
    return (n + 63) & ~(uint64_t)63;
}

void load_ring_layout(struct load_ring *r, uint8_t *at)
{
    uint64_t avail = aligned((uint64_t)r->size * 16), used = aligned(avail + 6 + (uint64_t)r->size * 2);
    r->desc = (struct load_desc *)(void *)at;
    r->avail = (uint16_t *)(void *)(at + avail);
    r->used = (uint16_t *)(void *)(at + used);
    if (r->packed)
        r->avail[1] = 1; /* RING_EVENT_FLAGS_DISABLE, section 2.8.10 */
    else
        r->avail[0] = 1; /* VIRTQ_AVAIL_F_NO_INTERRUPT, section 2.7.7 */
}

int load_ring_cut(struct load_ring *r, uint32_t pieces)
{
    r->pieces = pieces;
    r->chains = r->size / pieces;
    free(r->slot_id);
    free(r->owner);
    r->slot_id = calloc(r->chains, sizeof *r->slot_id);
    r->owner = malloc(r->chains * sizeof *r->owner);
    if (r->slot_id == NULL || r->owner == NULL)
        return -1;
    for (uint32_t i = 0; i < r->chains; i++)
        /* Whatever was sent before, chain numbers and places agree again from `next` on. */
        r->slot_id[(r->next + i) & (r->chains - 1)] = (uint16_t)((r->next + i) & (r->chains - 1));
    memset(r->owner, 0xff, r->chains * sizeof *r->owner);
    for (uint32_t i = 0; !r->packed && i < r->size; i++)
        r->avail[2 + i] = (uint16_t)((i & (r->chains - 1)) * pieces);
    return 0;
}

void load_ring_describe(struct load_ring *r, uint32_t id, uint32_t offset, uint32_t bytes)
{
    if (r->packed)
        return; /* written when it is published */
    uint32_t piece = (bytes + r->pieces - 1) / r->pieces;
    uint64_t addr = r->buffers_gpa + (uint64_t)id * r->stride + offset;
    for (uint32_t k = 0; k < r->pieces; k++) {
        uint32_t at = id * r->pieces + k;
        bool last = k + 1 == r->pieces;
        uint16_t flags = r->receive ? LOAD_DESC_WRITE : 0;
        r->desc[at] = (struct load_desc){.addr = addr + (uint64_t)k * piece,
                                         .len = last ? bytes - k * piece : piece,
                                         .flags = (uint16_t)(flags | (last ? 0 : LOAD_DESC_NEXT)),
                                         .next = (uint16_t)(last ? 0 : at + 1)};
    }
}

void load_ring_reordered(struct load_ring *r, uint64_t number, uint32_t id)
{
    if (id >= r->chains) {
        r->broken = true;
        return;
    }
    r->slot_id[number & (r->chains - 1)] = (uint16_t)id;
    if (!r->packed)
        r->avail[2 + ((number + r->chains) & (r->size - 1))] = (uint16_t)(id * r->pieces);
}

void load_ring_kick(struct load_ring *r)
{
    uint64_t one = 1;
    r->kicked = r->next;
    r->kicks++;
    if (write(r->kick_fd, &one, sizeof one) < 0)
        return; /* EAGAIN: the counter is full, so the device has been told */
}
