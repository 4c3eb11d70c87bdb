/* inflight.c: in-flight records; see inflight.h. */
#include "inflight.h"

#include <stdlib.h>

#include "vring.h"

enum {
    VERSION = 1,
    MARK = 0x56, /* in the padding: the record is kept in our way */
    USED_BIT = 1 << 15,
};

/* One store may not pass another: a killed process did all before some point and nothing behind it. */
#define STEP() atomic_signal_fence(memory_order_seq_cst)

struct
    split_part { /* QueueRegionSplit; of the DescStateSplit behind it (16 bytes each) none is ever in flight */
    uint64_t features;
    uint16_t version; /* 0: nothing stands here */
    uint16_t desc_num;
    uint16_t last_batch_head;
    uint16_t used_idx;
};
VS_ASSERT_SIZE(struct split_part, 16);

struct saved { /* DescStatePacked: of the chain whose first descriptor is in this slot */
    uint8_t inflight;
    uint8_t padding;
    uint16_t next;
    uint16_t last;
    uint16_t num;     /* descriptors of the chain */
    uint64_t written; /* `counter`: the second half of the used descriptor: len, id, flags */
    uint16_t id;      /* what it was written over */
    uint16_t flags;
    uint32_t len;
    uint64_t addr;
};
VS_ASSERT_SIZE(struct saved, 32);

struct packed_part { /* QueueRegionPacked */
    uint64_t features;
    uint16_t version;
    uint16_t desc_num;
    uint16_t free_head;
    uint16_t old_free_head;
    /* used_idx, old_used_idx (16 bits each), used_wrap_counter, old_used_wrap_counter (8 bits each), and of the padding our mark:
     * one word, so that it changes as a whole. */
    uint64_t position;
    uint16_t pushed; /* padding: descriptors from the old position on that belong to saved chains */
    uint16_t padding[3];
    struct saved saved[];
};
VS_ASSERT_SIZE(struct packed_part, 32);

struct vs_inflight {
    union {
        uint8_t *host;
        struct split_part *split;
        struct packed_part *packed;
    };
    uint32_t size;
    bool is_packed;
    bool believe;
    uint32_t pushed; /* ours; the record's is never read while the ring runs */
};

uint64_t vs_inflight_size(uint32_t queue_size, int packed)
{
    if (queue_size == 0 || queue_size > VS_RING_MAX)
        return 0;
    uint64_t bytes = packed ? sizeof(struct packed_part) + sizeof(struct saved) * (uint64_t)queue_size
                            : sizeof(struct split_part) + 16 * (uint64_t)queue_size;
    return (bytes + 63) & ~(uint64_t)63;
}

struct vs_inflight *vs_inflight_new(uint8_t *host, uint64_t len, uint32_t queue, uint32_t queue_size,
                                    int packed, int believe)
{
    uint64_t part = vs_inflight_size(queue_size, packed);
    if (part == 0 || len / part <= queue || (uintptr_t)host % 8 != 0)
        return NULL;
    struct vs_inflight *f = malloc(sizeof *f);
    if (f != NULL)
        *f = (struct vs_inflight){.host = host + part * queue,
                                  .size = queue_size,
                                  .is_packed = packed != 0,
                                  .believe = believe != 0};
    return f;
}

void vs_inflight_free(struct vs_inflight *f)
{
    free(f);
}

static uint16_t *version(struct vs_inflight *f)
{
    return f->is_packed ? &f->packed->version : &f->split->version;
}

void vs_inflight_clear(struct vs_inflight *f)
{
    __atomic_store_n(version(f), (uint16_t)0, __ATOMIC_RELAXED);
}

/* ---- packed -------------------------------------------------------------------------------------------------------- */

static uint64_t position(uint16_t new, uint16_t old)
{
    return (uint64_t)(new & VS_SLOT_INDEX) | (uint64_t)(old & VS_SLOT_INDEX) << 16 |
           (uint64_t)(new >> 15) << 32 | (uint64_t)(old >> 15) << 40 | (uint64_t)MARK << 48;
}

void vs_inflight_push(struct vs_vring *r, const struct vs_token *t, uint32_t len)
{
    struct vs_inflight *f = r->inflight;
    const struct vs_packed_desc *d = &r->slots[t->slot & VS_SLOT_INDEX];
    struct saved *s = &f->packed->saved[t->slot & VS_SLOT_INDEX];
    s->id = d->id;
    s->flags = __atomic_load_n(&d->flags, __ATOMIC_RELAXED);
    s->len = d->len;
    s->num = t->count;
    s->written = vs_packed_used(t, len);
    /* A guest that makes slots available twice can make us push more than a ring's worth. */
    f->pushed = VS_MIN(f->pushed + t->count, r->size);
    STEP();
    __atomic_store_n(&f->packed->pushed, (uint16_t)f->pushed, __ATOMIC_RELAXED);
    STEP();
}

void vs_inflight_publish(struct vs_vring *r, uint16_t to)
{
    STEP();
    __atomic_store_n(&r->inflight->packed->position, position(to, r->used_slot), __ATOMIC_RELAXED);
    STEP();
}

void vs_inflight_published(struct vs_vring *r)
{
    struct vs_inflight *f = r->inflight;
    STEP();
    if (!f->is_packed) {
        __atomic_store_n(&f->split->used_idx, r->used_published, __ATOMIC_RELAXED);
        return;
    }
    f->pushed = 0;
    __atomic_store_n(&f->packed->pushed, (uint16_t)0, __ATOMIC_RELAXED);
    STEP();
    __atomic_store_n(&f->packed->position, position(r->used_slot, r->used_slot), __ATOMIC_RELAXED);
    STEP();
}

static uint16_t flags_at(const struct vs_vring *r, uint16_t slot)
{
    return __atomic_load_n(&r->slots[slot & VS_SLOT_INDEX].flags, __ATOMIC_RELAXED);
}

/* Can a device have used this ring up to `slot`? A new ring has no used bits (drivers zero it). They never all go away: what is used in the first
 * lap bears one, and so does what is made available in the second; but for a place right behind a list that went over the end. */
static bool plausible(const struct vs_vring *r, const struct packed_part *p, uint16_t slot)
{
    bool found = slot == VS_SLOT_WRAP;
    for (uint32_t i = 0; i < r->size && !found; i++)
        found = (flags_at(r, (uint16_t)i) & USED_BIT) != 0;
    for (uint32_t i = 0; i < r->size && !found && (slot & VS_SLOT_WRAP) != 0; i++)
        found = i + p->saved[i].num == r->size + (slot & VS_SLOT_INDEX);
    return found;
}

/* Put back what used descriptors were written over; where something else stands by now, leave it. */
static void put_back(struct vs_vring *r, const struct packed_part *p, uint16_t old, uint32_t pushed)
{
    for (uint32_t at = 0; at < pushed;) {
        uint16_t slot = vs_slot_add(r, old, at);
        struct vs_packed_desc *d = &r->slots[slot & VS_SLOT_INDEX];
        struct saved s;
        memcpy(&s, &p->saved[slot & VS_SLOT_INDEX], sizeof s);
        STEP();
        if (s.num == 0 || s.num > pushed - at)
            return;
        at += s.num;
        uint32_t len = d->len;
        uint16_t id = d->id, flags = flags_at(r, slot);
        if ((len != s.len && len != (uint32_t)s.written) ||
            (id != s.id && id != (uint16_t)(s.written >> 32)) ||
            (flags != s.flags && flags != (uint16_t)(s.written >> 48)))
            continue;
        d->len = s.len;
        d->id = s.id;
        __atomic_store_n(&d->flags, s.flags, __ATOMIC_RELAXED);
        vs_vring_log(r, d, sizeof *d);
    }
}

/* Find where the ring stood. False: the record does not say, or not of this ring. */
static bool recover(struct vs_vring *r, struct packed_part *p, uint16_t *slot)
{
    uint64_t word = __atomic_load_n(&p->position, __ATOMIC_RELAXED);
    uint32_t pushed = __atomic_load_n(&p->pushed, __ATOMIC_RELAXED);
    uint16_t new = (uint16_t)(word & 0xffff), old = (uint16_t)(word >> 16);
    uint8_t new_wrap = (uint8_t)(word >> 32), old_wrap = (uint8_t)(word >> 40);
    if (p->version != VERSION || p->desc_num != r->size || (uint8_t)(word >> 48) != MARK)
        return false;
    if (new >= r->size || old >= r->size || new_wrap > 1 || old_wrap > 1 || pushed > r->size)
        return false;
    new = (uint16_t)(new | new_wrap << 15);
    old = (uint16_t)(old | old_wrap << 15);
    if (!plausible(r, p, old))
        return false;
    bool visible = ((flags_at(r, old) & USED_BIT) != 0) == (old_wrap != 0);
    if (new != old && visible) {
        *slot = new;
    } else {
        put_back(r, p, old, pushed);
        *slot = old;
    }
    return true;
}

uint16_t vs_inflight_begin(struct vs_vring *r, uint16_t base)
{
    struct vs_inflight *f = r->inflight;
    if (f->is_packed != (r->packed != 0) || r->size > f->size) {
        r->inflight = NULL;
        return base;
    }
    if (!f->is_packed) {
        f->split->used_idx = base;
        f->split->features = 0;
        f->split->desc_num = (uint16_t)r->size;
        STEP();
        *version(f) = VERSION;
        return base;
    }
    struct packed_part *p = f->packed;
    uint16_t slot = base;
    bool recovered = f->believe && recover(r, p, &slot);
    if (!recovered && (p->version != VERSION || p->desc_num != r->size))
        vs_inflight_clear(f);
    f->pushed = 0;
    STEP();
    __atomic_store_n(&p->pushed, (uint16_t)0, __ATOMIC_RELAXED);
    STEP();
    __atomic_store_n(&p->position, position(slot, slot), __ATOMIC_RELAXED);
    p->features = 0;
    p->desc_num = (uint16_t)r->size;
    STEP();
    __atomic_store_n(&p->version, (uint16_t)VERSION, __ATOMIC_RELAXED);
    return slot;
}
