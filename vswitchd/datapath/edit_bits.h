/* edit_bits.h: masked writes, shared by edit.c (bytes of a packet) and edit_key.c (bytes of a key). Internal.
 *
 * Thread safety: works on its arguments only.
 */
#ifndef VS_EDIT_BITS_H
#define VS_EDIT_BITS_H

#include "flow_key.h"

enum {
    VS_TCI_BITS = 0xefff, /* the DEI bit is where the key has VS_TCI_PRESENT: edits leave it alone */
};

/* A value and a mask as they lie in the key's member, confined to the bits of the field. */
struct vs_bits {
    const uint8_t *value;
    uint8_t mask[16];
};

/* The `count` lowest of the bits b .. b+7, as a mask of one byte; count is counted from bit 0 of the number. */
static inline uint8_t vs_bits_below(unsigned count, unsigned b)
{
    unsigned n = count <= b ? 0 : VS_MIN(count - b, 8u);
    return (uint8_t)((1u << n) - 1);
}

/* Confine to the field's own bits. Returns 0 when nothing is to be changed. */
static inline int vs_bits_clip(struct vs_bits *b, const struct vs_field_info *f, const uint8_t *value,
                               const uint8_t *mask)
{
    uint8_t any = 0;
    b->value = value;
    for (unsigned i = 0; i < f->size; i++) {
        unsigned low = (f->size - 1u - i) * 8u;
        uint8_t own = (uint8_t)(vs_bits_below(f->shift + f->bits, low) & ~vs_bits_below(f->shift, low));
        b->mask[i] = mask[i] & own;
        any |= b->mask[i];
    }
    return any != 0;
}

/* Write n bytes, which begin at an even offset of the checksummed data unless `odd`. Returns what has to be added to the
 * ones' complement sum: ~m + m' of RFC 1624, folded. */
static inline uint32_t vs_bits_patch(uint8_t *at, const uint8_t *value, const uint8_t *mask, unsigned n,
                                     unsigned odd)
{
    uint32_t sum = 0;
    for (unsigned i = 0; i < n; i++) {
        uint8_t now = (uint8_t)((at[i] & ~mask[i]) | (value[i] & mask[i]));
        unsigned shift = ((i + odd) & 1) ? 0 : 8;
        sum += (0xffffu - ((uint32_t)at[i] << shift)) + ((uint32_t)now << shift);
        at[i] = now;
    }
    sum = (sum & 0xffff) + (sum >> 16);
    return (sum & 0xffff) + (sum >> 16);
}

#endif
