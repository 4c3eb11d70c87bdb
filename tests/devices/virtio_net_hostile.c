/* virtio_net_hostile.c: what a virtio device does that means harm; see virtio_net_model.h. */
#include "virtio_net_model.h"

static uint64_t some(struct dev *d, uint64_t n)
{
    return model_random(&d->m) % n;
}

/* Rubbish somewhere in the three parts of a ring. */
static void scribble(struct dev *d, const struct vq *q)
{
    const uint64_t parts[3] = {q->desc, q->driver, q->device};
    const uint64_t lengths[3] = {16u * q->size, has(d, 34) ? 4 : 6u + 2u * q->size,
                                 has(d, 34) ? 4 : 6u + 8u * q->size};
    unsigned part = (unsigned)some(d, 3);
    for (unsigned i = 0; i < 8; i++) {
        uint8_t v = (uint8_t)model_random(&d->m);
        model_dma_write(&d->m, parts[part] + some(d, lengths[part]), &v, 1);
    }
}

/* Gives back what may not be its to give back. */
static void give(struct dev *d, struct vq *q)
{
    struct chain c = {.count = 1};
    c.id = (uint16_t)(some(d, 4) ? some(d, q->size) : model_random(&d->m));
    c.written = (uint32_t)(some(d, 2) ? some(d, 3000) : model_random(&d->m));
    vnet_use(d, q, &c, 1);
}

/* A header that says what cannot be, in the buffer that is given back next. */
static void lie(struct dev *d, struct vq *q)
{
    struct chain *c = &d->chains[0];
    if (!vnet_chain_at(d, q, q->avail, c) || c->n == 0)
        return;
    uint8_t h[HDR];
    for (unsigned i = 0; i < HDR; i++)
        h[i] = (uint8_t)model_random(&d->m);
    if (some(d, 2)) /* how many buffers; the rest is 0 */
        memset(h, 0, 10);
    if (some(d, 2))
        h[11] = 0;
    model_dma_write(&d->m, c->p[0].addr, h, HDR);
    c->written = (uint32_t)some(d, 2100);
    q->avail = (uint16_t)(q->avail + c->count);
    vnet_use(d, q, c, 1);
}

void vnet_corrupt(struct model *m)
{
    struct dev *d = dev(m);
    struct vq *q = &d->q[some(d, 4)];
    if (!vnet_runs(d, q))
        return;
    switch (some(d, 40)) {
    case 0:
        d->dead = some(d, 4) == 0;
        break;
    case 1:
        d->status |= NEEDS_RESET;
        break;
    case 2:
        q->used = (uint16_t)(q->used + model_random(m)); /* the next one is anywhere */
        break;
    case 3:
        store16(d, q->device + 2, (uint16_t)model_random(m));
        break;
    case 4:
        m->bar[4].memory[DEVICE + some(d, 24)] = (uint8_t)model_random(m);
        break;
    default:
        if (some(d, 3) == 0)
            scribble(d, q);
        else if (some(d, 2) == 0)
            give(d, q);
        else
            lie(d, q);
    }
}
