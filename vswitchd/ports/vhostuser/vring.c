/* vring.c: what both layouts of a virtqueue share: making one, and walking chains; see vring.h. Section numbers are of VIRTIO 1.2. */
#include "vring_ahead.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

static const char *const labels[VS_N_CHAIN_ERRORS] = {
#define ROW(name, label, help) [VS_CHAIN_##name] = label,
    VS_CHAIN_ERRORS(ROW)
#undef ROW
};

const char *vs_chain_error_label(int error)
{
    return error >= 0 && error < VS_N_CHAIN_ERRORS ? labels[error] : NULL;
}

/* ---- making one ---------------------------------------------------------------------------------------------------- */

static bool feature(const struct vs_vring_config *cfg, unsigned bit)
{
    return (cfg->features >> bit & 1) != 0;
}

/* Where a part of the ring is, as a whole: an address of the front-end, or an IOVA. NULL with *error. */
static uint8_t *part(const struct vs_vring *r, uint64_t addr, uint64_t len, uint32_t perm, int *error)
{
    *error = -EFAULT;
    if (r->iotlb != NULL)
        return vs_iotlb_range(r->iotlb, (vs_iova){addr}, perm, len, error);
    return vs_uva_translate(r->mem, (vs_uva){addr}, len);
}

static int place_split(struct vs_vring *r, const struct vs_vring_config *cfg)
{
    uint64_t n = cfg->size;
    int e[3];
    /* Section 2.7: lengths with the event fields, which exist even when they are not used. All are looked up before any is
     * judged: what is missing behind a vIOMMU is asked for at once. */
    uint8_t *desc = part(r, cfg->desc, 16 * n, VS_IOTLB_READ, &e[0]);
    uint8_t *avail = part(r, cfg->avail, 6 + 2 * n, VS_IOTLB_READ, &e[1]);
    uint8_t *used = part(r, cfg->used, 6 + 8 * n, VS_IOTLB_WRITE, &e[2]);
    if (desc == NULL || avail == NULL || used == NULL)
        return desc == NULL ? e[0] : avail == NULL ? e[1] : e[2];
    if ((cfg->size & (cfg->size - 1)) != 0 || (uintptr_t)desc % 16 != 0 || (uintptr_t)avail % 2 != 0 ||
        (uintptr_t)used % 4 != 0)
        return -EINVAL;
    r->desc = (struct vs_desc *)(void *)desc;
    r->avail = (struct vs_avail *)(void *)avail;
    r->used = (struct vs_used *)(void *)used;
    r->used_event = &r->avail->ring[n];
    r->avail_event = (uint16_t *)(void *)&r->used->ring[n];
    r->mask = (uint16_t)(cfg->size - 1);
    /* We give chains back in the order in which we took them, so a stopped split ring has used->idx == base. After a front-end lost
     * us without GET_VRING_BASE, used->idx is the one to believe: what was taken but not given back is taken again. */
    r->last_avail = __atomic_load_n(&r->used->idx, __ATOMIC_RELAXED);
    if (r->inflight != NULL)
        (void)vs_inflight_begin(r, r->last_avail);
    return 0;
}

static int place_packed(struct vs_vring *r, const struct vs_vring_config *cfg)
{
    int e[3];
    uint8_t *slots = part(r, cfg->desc, 16ull * cfg->size, VS_IOTLB_READ | VS_IOTLB_WRITE, &e[0]);
    uint8_t *driver = part(r, cfg->avail, sizeof(struct vs_packed_event), VS_IOTLB_READ, &e[1]);
    uint8_t *device = part(r, cfg->used, sizeof(struct vs_packed_event), VS_IOTLB_WRITE, &e[2]);
    if (slots == NULL || driver == NULL || device == NULL)
        return slots == NULL ? e[0] : driver == NULL ? e[1] : e[2];
    if ((uintptr_t)slots % 16 != 0 || (uintptr_t)driver % 4 != 0 || (uintptr_t)device % 4 != 0)
        return -EINVAL;
    if ((cfg->base & VS_SLOT_INDEX) >= cfg->size)
        return -EINVAL;
    r->slots = (struct vs_packed_desc *)(void *)slots;
    r->driver_event = (struct vs_packed_event *)(void *)driver;
    r->device_event = (struct vs_packed_event *)(void *)device;
    r->slot = (uint16_t)cfg->base;
    if (r->inflight != NULL)
        r->slot = vs_inflight_begin(r, r->slot);
    r->used_slot = r->slot;
    return 0;
}

static void set_up(struct vs_vring *r, const struct vs_guest_mem *mem, const struct vs_vring_config *cfg)
{
    r->mem = mem;
    r->hint = &mem->regions[0];
    r->size = cfg->size;
    r->features = cfg->features;
    r->packed = feature(cfg, VS_VIRTIO_F_RING_PACKED);
    r->event_idx = feature(cfg, VS_VIRTIO_F_EVENT_IDX);
    r->indirect = feature(cfg, VS_VIRTIO_F_INDIRECT_DESC);
    r->mergeable = feature(cfg, VS_VIRTIO_NET_F_MRG_RXBUF);
    r->hdr_len = r->mergeable || feature(cfg, VS_VIRTIO_F_VERSION_1) ? 12 : 10;
    r->discard = cfg->discard != 0;
    r->iotlb = feature(cfg, VS_VIRTIO_F_ACCESS_PLATFORM) ? cfg->iotlb : NULL;
    r->log = cfg->log;
    r->inflight = cfg->inflight;
    r->ring = cfg->ring;
    r->direction =
        cfg->ring % 2 == 0 ? VS_DESC_WRITE : 0; /* section 5.1.2: receive queues are the even ones */
    r->in_order = feature(cfg, VS_VIRTIO_F_IN_ORDER);
    r->plain = r->iotlb == NULL && r->log == NULL && !r->discard && r->hdr_len == 12 &&
               (r->packed || r->inflight == NULL);
    r->kick_fd = cfg->kick_fd;
    atomic_store_explicit(&r->call_fd, cfg->call_fd, memory_order_relaxed);
    atomic_store_explicit(&r->err_fd, cfg->err_fd, memory_order_relaxed);
}

struct vs_vring *vs_vring_new(const struct vs_guest_mem *mem, const struct vs_vring_config *cfg,
                              struct vs_vring_stats *stats, int *error)
{
    *error = -EINVAL;
    if (cfg->size == 0 || cfg->size > VS_RING_MAX || mem->n == 0)
        return NULL;
    struct vs_vring *r = aligned_alloc(VS_CACHE_LINE, sizeof *r);
    uint8_t *scratch = malloc(VS_MAX_FRAME);
    *error = -ENOMEM;
    if (r == NULL || scratch == NULL)
        goto fail;
    memset(r, 0, sizeof *r);
    set_up(r, mem, cfg);
    r->stats = stats;
    r->scratch = scratch;
    *error = r->packed ? place_packed(r, cfg) : place_split(r, cfg);
    if (*error != 0)
        goto fail;
    r->avail_seen = r->used_idx = r->used_published = r->ahead_end = r->last_avail;
    r->ahead_slot = r->slot;
    if (r->packed)
        vs_packed_disarm(r);
    else
        vs_split_disarm(r);
    return r;
fail:
    free(scratch);
    free(r);
    return NULL;
}

void vs_vring_free(struct vs_vring *r)
{
    if (r == NULL)
        return;
    free(r->scratch);
    free(r);
}

uint32_t vs_vring_base(const struct vs_vring *r)
{
    return r->packed ? r->slot | (uint32_t)r->used_slot << 16 : r->last_avail;
}

uint32_t vs_vring_ready(const struct vs_vring *r)
{
    if (r->packed) {
        uint16_t slot = __atomic_load_n(&r->slot, __ATOMIC_RELAXED);
        uint32_t n = 0,
                 most = VS_MIN(r->size, (uint32_t)VS_LIST_MAX); /* 128 rings of 32,768 would take 20 ms */
        while (n < most && vs_packed_ready(r, vs_slot_add(r, slot, n)))
            n++;
        return n;
    }
    uint16_t ready = (uint16_t)(__atomic_load_n(&r->avail->idx, __ATOMIC_RELAXED) -
                                __atomic_load_n(&r->last_avail, __ATOMIC_RELAXED));
    return VS_MIN((uint32_t)ready, r->size);
}

/* ---- notifications ------------------------------------------------------------------------------------------------- */

void vs_vring_signal(int fd)
{
    static const uint64_t one = 1;
    struct pollfd room = {.fd = fd, .events = POLLOUT};
    /* An eventfd that was set not to block (device.py). The front-end, which shares it, may have set it to block since, and filled
     * its counter: so it is asked first. A full counter is a signal, too. */
    if (fd >= 0 && poll(&room, 1, 0) == 1 && (room.revents & POLLOUT) != 0 && write(fd, &one, sizeof one) < 0)
        return;
}

void vs_vring_break(struct vs_vring *r, enum vs_chain_error why)
{
    if (atomic_load_explicit(&r->broken, memory_order_relaxed) != 0)
        return;
    vs_vring_refuse(r, why);
    r->plain = false;
    atomic_store_explicit(&r->broken, why, memory_order_relaxed);
    vs_vring_signal(atomic_load_explicit(&r->err_fd, memory_order_relaxed));
}

int vs_vring_arm(struct vs_vring *r)
{
    if (atomic_load_explicit(&r->broken, memory_order_relaxed) != 0)
        return 0;
    if (r->kick_fd < 0)
        return 1; /* the front-end told us to poll */
    return r->packed ? vs_packed_arm(r) : vs_split_arm(r);
}

/* The front-end, which shares the descriptor, may have set it to block meanwhile: so each read says that it must not. */
static void drain(int fd)
{
    uint64_t count;
    struct iovec to = {.iov_base = &count, .iov_len = sizeof count};
    if (preadv2(fd, &to, 1, -1, RWF_NOWAIT) < 0 && errno == EOPNOTSUPP &&
        read(fd, &count, sizeof count) < 0) /* before Linux 5.8 */
        return;                             /* nothing to drain */
}

void vs_vring_disarm(struct vs_vring *r, bool rang)
{
    if (r->packed)
        vs_packed_disarm(r);
    else
        vs_split_disarm(r);
    if (rang && r->kick_fd >= 0)
        drain(r->kick_fd);
}

uint8_t *vs_ahead_translate(struct vs_ahead *a, uint64_t addr, uint32_t len)
{
    uint32_t got = len;
    uint8_t *host = vs_gpa_translate(a->r->mem, &a->r->hint, (vs_gpa){addr}, &got);
    vs_ahead_region(a);
    return got == len ? host : NULL;
}

/* ---- walking ------------------------------------------------------------------------------------------------------- */

/* Where the next descriptor of a chain is read: the ring itself or an indirect table. */
struct table {
    const uint8_t *host; /* NULL: not contiguous, read piecewise at addr */
    uint64_t addr;
    uint32_t n;    /* descriptors in it */
    uint32_t at;   /* the one in hand */
    uint32_t left; /* packed: descriptors behind it */
    bool indirect;
};

/* What the lack of a translation means. */
static enum vs_chain_error absent(const struct vs_vring *r, enum vs_chain_error error)
{
    return r->iotlb != NULL ? (enum vs_chain_error)VS_CHAIN_WAIT : error;
}

static bool read_pieces(struct vs_vring *r, uint64_t addr, void *to, uint32_t len)
{
    uint8_t *out = to;
    while (len > 0) {
        uint32_t got = len;
        const uint8_t *from = vs_vring_translate(r, addr, 0, &got);
        if (from == NULL)
            return false;
        memcpy(out, from, got);
        out += got;
        addr += got;
        len -= got;
    }
    return true;
}

static bool table_read(struct vs_vring *r, const struct table *t, struct vs_desc *d)
{
    if (VS_LIKELY(t->host != NULL)) {
        *d = vs_desc_load(t->host + (size_t)t->at * sizeof *d);
    } else {
        if (!read_pieces(r, t->addr + (uint64_t)t->at * sizeof *d, d, sizeof *d))
            return false;
        __asm__ volatile("" ::: "memory");
    }
    if (r->packed) /* there the id stands before the flags, which also hold the state of the slot */
        d->flags = d->next & (VS_DESC_NEXT | VS_DESC_WRITE | VS_DESC_INDIRECT);
    return true;
}

/* Go into the indirect table that d names, and replace d by its first entry (sections 2.7.5.3, 2.8.7). */
static enum vs_chain_error enter_table(struct vs_vring *r, struct table *t, struct vs_desc *d)
{
    if (t->indirect)
        return VS_CHAIN_NESTED;
    if (!r->indirect || (d->flags & VS_DESC_NEXT) != 0)
        return VS_CHAIN_FLAGS;
    if (d->len == 0 || d->len % sizeof *d != 0 || d->len / sizeof *d > r->size)
        return VS_CHAIN_TABLE;
    uint32_t got = d->len;
    const uint8_t *host = vs_vring_translate(r, d->addr, 0, &got);
    *t = (struct table){
        .host = got == d->len ? host : NULL,
        .addr = d->addr,
        .n = d->len / (uint32_t)sizeof *d,
        .left = d->len / (uint32_t)sizeof *d - 1,
        .indirect = true,
    };
    return host != NULL && table_read(r, t, d) ? VS_CHAIN_NONE : absent(r, VS_CHAIN_TABLE);
}

/* Translate one buffer into pieces: it may cross regions. */
static enum vs_chain_error add_buffer(struct vs_vring *r, const struct vs_desc *d, struct vs_chain *c)
{
    uint64_t addr = d->addr;
    uint32_t left = d->len;
    if (left == 0)
        return VS_CHAIN_EMPTY;
    if (left > VS_CHAIN_BYTES - c->total)
        return VS_CHAIN_LENGTH;
    c->total += left;
    while (left > 0) {
        uint32_t got = left;
        uint8_t *host = vs_vring_translate(r, addr, d->flags & VS_DESC_WRITE, &got);
        if (host == NULL)
            return absent(r, VS_CHAIN_ADDRESS);
        if (c->n == VS_MAX_PIECES)
            return VS_CHAIN_PIECES;
        c->p[c->n++] = (struct vs_piece){.data = host, .len = got};
        addr += got;
        left -= got;
    }
    return VS_CHAIN_NONE;
}

/* Does the chain go on behind d? Then t->at is where. A split chain is linked by `next`; a packed one lies in a row, and how long it
 * is was found when it was fetched. */
static bool go_on(const struct vs_vring *r, struct table *t, const struct vs_desc *d,
                  enum vs_chain_error *error)
{
    *error = VS_CHAIN_NONE;
    if (r->packed) {
        if (t->left == 0)
            return false;
        t->left--;
        t->at = t->at + 1 == t->n ? 0 : t->at + 1;
        return true;
    }
    if ((d->flags & VS_DESC_NEXT) == 0)
        return false;
    if (d->next >= t->n)
        *error = VS_CHAIN_NEXT;
    t->at = d->next;
    return true;
}

enum vs_chain_error vs_vring_walk(struct vs_vring *r, const struct vs_window *w, unsigned i, uint16_t write,
                                  struct vs_chain *c)
{
    struct table t = {
        .host = (const uint8_t *)r->desc, /* also the packed ring's */
        .n = r->size,
        .at = w->token[i].slot & VS_SLOT_INDEX,
        .left = (uint32_t)w->token[i].count - 1,
    };
    struct vs_desc d = w->desc[i];
    enum vs_chain_error error;
    c->n = 0;
    c->total = 0;
    for (uint32_t steps = 0;; steps++) {
        if ((d.flags & ~(VS_DESC_NEXT | VS_DESC_WRITE | VS_DESC_INDIRECT)) != 0)
            return VS_CHAIN_FLAGS;
        if ((d.flags & VS_DESC_INDIRECT) != 0) {
            if (r->packed && t.left != 0 && !t.indirect)
                return VS_CHAIN_FLAGS; /* section 2.8.7: not in a list of several */
            error = enter_table(r, &t, &d);
            if (error != VS_CHAIN_NONE)
                return error;
            continue;
        }
        /* Section 2.7.5.3.1: a chain, its indirect part included, is never longer than the queue. */
        if (steps > r->size)
            return VS_CHAIN_LOOP;
        /* DPDK's driver leaves WRITE in the first entry of the packed tables that it sends: to read such a buffer harms nobody. */
        if (r->packed && t.indirect && write == 0)
            d.flags &= (uint16_t)~VS_DESC_WRITE;
        if ((d.flags & VS_DESC_WRITE) != write)
            return VS_CHAIN_DIRECTION;
        error = add_buffer(r, &d, c);
        if (error != VS_CHAIN_NONE)
            return error;
        if (!go_on(r, &t, &d, &error))
            return VS_CHAIN_NONE;
        if (error != VS_CHAIN_NONE)
            return error;
        if (!table_read(r, &t, &d))
            return absent(r, VS_CHAIN_TABLE);
    }
}
