/* vhost_hold.c: the queue of packets that wait for a translation; see vhost_hold.h. */
#include "vhost_hold.h"

#include <stdlib.h>

struct vs_hold *vs_hold_new(void)
{
    struct vs_hold *h = calloc(1, sizeof *h);
    uint8_t *bytes = malloc(VS_HOLD_BYTES);
    if (h == NULL || bytes == NULL) {
        free(h);
        free(bytes);
        return NULL;
    }
    h->bytes = bytes;
    return h;
}

void vs_hold_free(struct vs_hold *h)
{
    if (h == NULL)
        return;
    free(h->bytes);
    free(h);
}

static struct vs_hold_frame *at(struct vs_hold *h, uint32_t i)
{
    return &h->frames[(h->first + i) % VS_HOLD_FRAMES];
}

/* Where `len` bytes in one piece are free, or UINT32_MAX. Frames lie one after the other and begin anew at 0 when the end has no room. */
static uint32_t room(struct vs_hold *h, uint32_t len)
{
    if (h->n == VS_HOLD_FRAMES || len > VS_HOLD_BYTES)
        return UINT32_MAX;
    if (h->n == 0)
        return 0;
    const struct vs_hold_frame *oldest = at(h, 0), *newest = at(h, h->n - 1);
    uint32_t end = newest->ofs + newest->len;
    if (newest->ofs < oldest->ofs) /* began anew */
        return oldest->ofs - end >= len ? end : UINT32_MAX;
    if (VS_HOLD_BYTES - end >= len)
        return end;
    return oldest->ofs >= len ? 0 : UINT32_MAX;
}

bool vs_hold_add(struct vs_hold *h, const uint8_t *head, uint32_t head_len, const struct vs_seg *segs,
                 uint32_t n_segs, const struct vs_packet *p, bool counts)
{
    uint32_t len = head_len;
    for (uint32_t i = 0; i < n_segs; i++)
        len += segs[i].len;
    uint32_t ofs = room(h, len);
    if (ofs == UINT32_MAX || len == 0)
        return false;
    uint8_t *to = h->bytes + ofs;
    memcpy(to, head, head_len);
    to += head_len;
    for (uint32_t i = 0; i < n_segs; i++) {
        memcpy(to, segs[i].data, segs[i].len);
        to += segs[i].len;
    }
    struct vs_hold_frame *f = at(h, h->n++);
    *f = (struct vs_hold_frame){.ofs = ofs, .len = len, .counts = counts};
    if (p != NULL) {
        f->csum = p->csum;
        f->gso_type = p->gso_type;
        f->gso_size = p->gso_size;
        f->csum_start = p->csum_start;
        f->csum_offset = p->csum_offset;
        f->gso_hdr_len = p->gso_hdr_len;
    }
    atomic_store_explicit(&h->counting, vs_hold_counting(h) + counts, memory_order_relaxed);
    return true;
}

void vs_hold_take_back(struct vs_hold *h, uint32_t n)
{
    uint32_t counting = vs_hold_counting(h);
    while (n-- > 0)
        counting -= at(h, --h->n)->counts;
    atomic_store_explicit(&h->counting, counting, memory_order_relaxed);
}

int vs_hold_peek(struct vs_hold *h, struct vs_packet **pkts, bool *counts)
{
    uint32_t n = 0;
    *counts = h->n > 0 && at(h, 0)->counts;
    for (; n < h->n && n < VS_BATCH && at(h, n)->counts == *counts; n++) {
        const struct vs_hold_frame *f = at(h, n);
        struct vs_packet *p = pkts[n] = &h->packets[n];
        vs_packet_reset(p, NULL);
        vs_packet_fill(p, h->bytes + f->ofs, f->len);
        p->csum = f->csum;
        p->gso_type = f->gso_type;
        p->gso_size = f->gso_size;
        p->csum_start = f->csum_start;
        p->csum_offset = f->csum_offset;
        p->gso_hdr_len = f->gso_hdr_len;
    }
    return (int)n;
}

void vs_hold_remove(struct vs_hold *h, uint32_t n)
{
    uint32_t counting = vs_hold_counting(h);
    for (uint32_t i = 0; i < n; i++)
        counting -= at(h, i)->counts;
    h->first = (h->first + n) % VS_HOLD_FRAMES;
    h->n -= n;
    atomic_store_explicit(&h->counting, counting, memory_order_relaxed);
}
