/* punt.h: packets on their way to a controller: a bounded lock-free ring per core, and one eventfd for all.
 *
 * How it works: the core copies the packet whole into its ring and writes the eventfd when the
 * control thread may be waiting; the control thread takes records in order. A full ring refuses: the caller drops with a name.
 *
 * Thread safety: vs_punt_put: the owning core. vs_punt_take: control thread.
 */
#ifndef VS_PUNT_H
#define VS_PUNT_H

#include "base.h"
#include "packet.h"

struct vs_punt_record {
    uint64_t cookie;
    uint64_t metadata, tunnel_id; /* big-endian */
    uint32_t in_port;
    uint32_t frame_len;
    uint32_t data_len;
    uint16_t bridge;
    uint16_t max_len; /* what the action asked for */
    uint8_t table;
    uint8_t reason; /* enum vs_punt_reason */
    uint8_t pad[6];
};
VS_ASSERT_SIZE(struct vs_punt_record, 48);

#ifndef VS_CDEF
struct vs_punt_ring {
    uint8_t *bytes;
    uint32_t size;                          /* power of two */
    int event_fd;                           /* shared by all rings of the datapath */
    _Atomic uint64_t head VS_CACHE_ALIGNED; /* the core writes; pairs with take */
    uint64_t packets, refused;              /* the core writes */
    _Atomic uint64_t tail VS_CACHE_ALIGNED; /* the control thread writes; pairs with put */
};

int vs_punt_init(struct vs_punt_ring *r, uint32_t size, int event_fd); /* 0 or -ENOMEM */
void vs_punt_destroy(struct vs_punt_ring *r);
/* record->data_len bytes at most are kept. Returns false when the ring is full. */
bool vs_punt_put(struct vs_punt_ring *r, struct vs_punt_record *record, const struct vs_packet *p);
/* The oldest record and its data (data_len <= max); false when empty. */
bool vs_punt_take(struct vs_punt_ring *r, struct vs_punt_record *record, uint8_t *data, uint32_t max);
/* Hand on what is left in the ring of a core that stopped, to a ring of the same size that the control thread fills. What has no
 * room there is lost. */
void vs_punt_move(struct vs_punt_ring *to, struct vs_punt_ring *from);
#endif

#endif
