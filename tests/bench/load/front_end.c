/* front_end.c: memory and conversation of a port; see front_end.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "front_end.h"
#include "vhost_user.h"

enum { HUGE_PAGE = 2 << 20, RX = 0, TX = 1 };
static const uint64_t guest_base = 0x100000000ull;

static uint64_t round_up(uint64_t n, uint64_t to)
{
    return (n + to - 1) / to * to;
}

/* Bytes from one buffer to the next: room for a frame, and an odd number of lines. */
static uint32_t stride_for(uint32_t frame)
{
    uint32_t lines = (LOAD_FRAME_AT + frame + 63) / 64;
    return (lines | 1) * 64;
}

static int map_memory(struct load_port *p, bool huge)
{
    uint64_t bytes = round_up(p->memory_bytes, huge ? HUGE_PAGE : 4096);
    p->memory_fd = memfd_create("vload", MFD_CLOEXEC | (huge ? MFD_HUGETLB : 0));
    if (p->memory_fd >= 0 && ftruncate(p->memory_fd, (off_t)bytes) == 0) {
        p->memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | (huge ? MAP_POPULATE : 0),
                         p->memory_fd, 0);
        if (p->memory != MAP_FAILED) {
            p->memory_bytes = bytes;
            return 0;
        }
    }
    if (p->memory_fd >= 0)
        close(p->memory_fd);
    p->memory = NULL;
    p->memory_fd = -1;
    return -1;
}

static int make_ring(struct load_port *p, struct load_ring *r, uint8_t *rings, uint64_t buffers,
                     uint32_t pieces)
{
    r->buffers = p->memory + buffers;
    r->buffers_gpa = guest_base + buffers;
    r->packed = (p->features & vu_bit(VU_F_RING_PACKED)) != 0;
    r->in_order = (p->features & vu_bit(VU_F_IN_ORDER)) != 0;
    r->kick_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    r->call_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    load_ring_layout(r, rings);
    return r->kick_fd < 0 || r->call_fd < 0 ? -1 : load_ring_cut(r, pieces);
}

static int make_rings(struct load_port *p, const struct load_options *o)
{
    struct load_ring *rx = &p->rx, *tx = &p->tx;
    rx->size = tx->size = o->ring;
    rx->receive = 1;
    rx->stride = stride_for(o->rx_buffer);
    tx->stride = stride_for(o->max_frame);
    rx->capacity = LOAD_NET_HDR + o->rx_buffer;
    uint64_t rings = round_up(load_ring_bytes(o->ring), 64), rx_at = round_up(2 * rings, 4096);
    uint64_t tx_at = rx_at + (uint64_t)o->ring * rx->stride;
    p->memory_bytes = tx_at + (uint64_t)(o->ring / o->pieces) * tx->stride;
    if ((!o->huge || map_memory(p, true) != 0) && map_memory(p, false) != 0)
        return -1;
    if (make_ring(p, rx, p->memory, rx_at, 1) != 0 ||
        make_ring(p, tx, p->memory + rings, tx_at, o->pieces) != 0)
        return -1;
    for (uint32_t id = 0; id < rx->chains; id++)
        load_ring_describe(rx, id, LOAD_FRAME_AT - LOAD_NET_HDR, rx->capacity);
    load_ring_publish(rx, rx->chains, LOAD_FRAME_AT - LOAD_NET_HDR, rx->capacity);
    return 0;
}

static const char *choose_features(struct load_port *p, const struct load_options *o, uint64_t offered)
{
    uint64_t tso =
        vu_bit(VU_F_CSUM) | vu_bit(VU_F_GUEST_CSUM) | vu_bit(VU_F_GUEST_TSO4) | vu_bit(VU_F_HOST_TSO4);
    uint64_t needed = vu_bit(VU_F_VERSION_1) | (o->packed ? vu_bit(VU_F_RING_PACKED) : 0) |
                      (o->tso ? tso : 0) | (o->mergeable ? vu_bit(VU_F_MRG_RXBUF) : 0);
    uint64_t wanted = needed | vu_bit(VU_F_PROTOCOL_FEATURES) | (o->in_order ? vu_bit(VU_F_IN_ORDER) : 0);
    p->features = offered & wanted;
    p->mergeable = o->mergeable;
    p->tso = o->tso;
    if ((offered & vu_bit(VU_F_VERSION_1)) == 0)
        return "the switch does not offer VERSION_1";
    if (o->packed && (offered & vu_bit(VU_F_RING_PACKED)) == 0)
        return "the switch does not offer packed rings: leave out --packed";
    if (o->tso && (offered & tso) != tso)
        return "the switch does not offer TSO (OVS: other_config:userspace-tso-enable=true): leave out --tso";
    if ((p->features & needed) != needed)
        return "the switch does not offer mergeable buffers: use --mergeable off";
    return NULL;
}

static int share_memory(const struct load_port *p, bool ack)
{
    struct vu_memory table = {.regions = 1,
                              .region = {{guest_base, p->memory_bytes, (uint64_t)(uintptr_t)p->memory, 0}}};
    uint32_t size = (uint32_t)(offsetof(struct vu_memory, region) + sizeof table.region[0]);
    return vu_tell(p->socket, ack, VU_SET_MEM_TABLE, &table, size, p->memory_fd);
}

static int start_ring(const struct load_port *p, uint32_t index, const struct load_ring *r, bool ack)
{
    struct vu_state num = {index, r->size};
    struct vu_state base = {index, r->packed ? 0x80008000u : 0}; /* both wrap counters are 1 */
    struct vu_address address = {.index = index,
                                 .desc = (uint64_t)(uintptr_t)r->desc,
                                 .used = (uint64_t)(uintptr_t)r->used,
                                 .avail = (uint64_t)(uintptr_t)r->avail};
    uint64_t ring = index;
    if (vu_tell(p->socket, ack, VU_SET_VRING_NUM, &num, sizeof num, -1) != 0 ||
        vu_tell(p->socket, ack, VU_SET_VRING_BASE, &base, sizeof base, -1) != 0 ||
        vu_tell(p->socket, ack, VU_SET_VRING_ADDR, &address, sizeof address, -1) != 0 ||
        vu_tell(p->socket, ack, VU_SET_VRING_CALL, &ring, sizeof ring, r->call_fd) != 0)
        return -1;
    return vu_tell(p->socket, ack, VU_SET_VRING_KICK, &ring, sizeof ring, r->kick_fd);
}

static int start_rings(const struct load_port *p, bool ack)
{
    const struct load_ring *ring[] = {&p->rx, &p->tx};
    for (uint32_t i = RX; i <= TX; i++)
        if (start_ring(p, i, ring[i], ack) != 0)
            return -1;
    for (uint32_t i = RX; i <= TX && (p->features & vu_bit(VU_F_PROTOCOL_FEATURES)) != 0; i++) {
        struct vu_state on = {i, 1};
        if (vu_tell(p->socket, ack, VU_SET_VRING_ENABLE, &on, sizeof on, -1) != 0)
            return -1;
    }
    return 0;
}

int load_port_open(struct load_port *p, const struct load_options *o, const char **why)
{
    struct vu_message m;
    *why = "the switch closed the connection or refused a message";
    if (vu_tell(p->socket, false, VU_SET_OWNER, NULL, 0, -1) != 0 ||
        vu_ask(p->socket, VU_GET_FEATURES, NULL, 0, -1, &m) != 0)
        return -1;
    const char *missing = choose_features(p, o, m.u64);
    if (missing != NULL) {
        *why = missing;
        return -1;
    }
    if ((p->features & vu_bit(VU_F_PROTOCOL_FEATURES)) != 0) {
        if (vu_ask(p->socket, VU_GET_PROTOCOL_FEATURES, NULL, 0, -1, &m) != 0)
            return -1;
        p->protocol = m.u64 & vu_bit(VU_PROTOCOL_REPLY_ACK);
        if (vu_tell(p->socket, false, VU_SET_PROTOCOL_FEATURES, &p->protocol, sizeof p->protocol, -1) != 0)
            return -1;
    }
    if (make_rings(p, o) != 0) {
        *why = "no memory for the rings and buffers";
        return -1;
    }
    bool ack = p->protocol != 0;
    if (vu_tell(p->socket, ack, VU_SET_FEATURES, &p->features, sizeof p->features, -1) != 0 ||
        share_memory(p, ack) != 0 || start_rings(p, ack) != 0)
        return -1;
    return vu_ask(p->socket, VU_GET_FEATURES, NULL, 0, -1, &m); /* all before is handled now */
}

void load_port_populate(struct load_port *p)
{
    enum {
        POPULATE_WRITE = 23
    }; /* MADV_POPULATE_WRITE, Linux 5.14; without it pages come when they are touched */
    if (!p->populated)
        (void)madvise(p->memory, p->memory_bytes, POPULATE_WRITE);
    p->populated = true;
}

void load_port_close(struct load_port *p)
{
    struct vu_message m;
    for (uint32_t i = RX; p->memory != NULL && i <= TX; i++) {
        struct vu_state ring = {i, 0};
        if (vu_ask(p->socket, VU_GET_VRING_BASE, &ring, sizeof ring, -1, &m) != 0)
            break;
    }
    close(p->socket);
}
