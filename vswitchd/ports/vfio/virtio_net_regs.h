/* virtio_net_regs.h: what the driver of virtio network devices shares with them: registers, descriptors, commands. C only.
 *
 * How it works: numbers and names as VIRTIO 1.2 has them, with its sections. Little endian, as we are. (vring.h of the vhost-user ports has the
 * same rings from the other side; nothing is shared with it, since a device checks what a driver writes and the other way round.)
 *
 * Thread safety: constants only.
 */
#ifndef VS_VIRTIO_NET_REGS_H
#define VS_VIRTIO_NET_REGS_H

#include "base.h"

/* cfg_type of the structures (4.1.4): index of vs_nic_env.virtio. */
enum { VIRTIO_COMMON = 1, VIRTIO_NOTIFY = 2, VIRTIO_ISR = 3, VIRTIO_DEVICE = 4 };

/* Offsets in the common structure (4.1.4.3). */
enum {
    COMMON_DEVICE_FEATURE_SELECT = 0,
    COMMON_DEVICE_FEATURE = 4,
    COMMON_DRIVER_FEATURE_SELECT = 8,
    COMMON_DRIVER_FEATURE = 12,
    COMMON_CONFIG_VECTOR = 16, /* u16 from here on, where not said otherwise */
    COMMON_NUM_QUEUES = 18,
    COMMON_STATUS = 20,     /* u8 */
    COMMON_GENERATION = 21, /* u8 */
    COMMON_QUEUE_SELECT = 22,
    COMMON_QUEUE_SIZE = 24,
    COMMON_QUEUE_VECTOR = 26,
    COMMON_QUEUE_ENABLE = 28,
    COMMON_QUEUE_NOTIFY_OFF = 30,
    COMMON_QUEUE_DESC = 32,   /* u64 */
    COMMON_QUEUE_DRIVER = 40, /* u64 */
    COMMON_QUEUE_DEVICE = 48, /* u64 */
    COMMON_LENGTH = 56,
    VIRTIO_NO_VECTOR = 0xffff,
};

/* Device status (2.1). */
enum {
    STATUS_ACKNOWLEDGE = 1,
    STATUS_DRIVER = 2,
    STATUS_DRIVER_OK = 4,
    STATUS_FEATURES_OK = 8,
    STATUS_NEEDS_RESET = 64,
    STATUS_FAILED = 128,
    STATUS_GONE = 0xff, /* no device: all registers read as ones */
};

/* Feature bits (5.1.3, 6). */
enum {
    F_CSUM = 0,
    F_GUEST_CSUM = 1,
    F_MTU = 3,
    F_MAC = 5,
    F_GUEST_TSO4 = 7,
    F_GUEST_TSO6 = 8,
    F_GUEST_ECN = 9,
    F_HOST_TSO4 = 11,
    F_HOST_TSO6 = 12,
    F_HOST_ECN = 13,
    F_MRG_RXBUF = 15,
    F_STATUS = 16,
    F_CTRL_VQ = 17,
    F_CTRL_RX = 18,
    F_MQ = 22,
    F_CTRL_MAC_ADDR = 23,
    F_VERSION_1 = 32,
    F_ACCESS_PLATFORM = 33,
    F_RING_PACKED = 34,
    F_ORDER_PLATFORM = 36,
    F_GUEST_USO4 = 54,
    F_GUEST_USO6 = 55,
    F_RSS = 60,
    F_SPEED_DUPLEX = 63,
};

/* Offsets in the device structure (5.1.4). */
enum {
    NET_MAC = 0,
    NET_STATUS = 6,
    NET_MAX_PAIRS = 8,
    NET_MTU = 10,
    NET_SPEED = 12,
    NET_DUPLEX = 16,
    NET_RSS_MAX_KEY = 17,
    NET_RSS_MAX_TABLE = 18,
    NET_RSS_TYPES = 20,
    NET_S_LINK_UP = 1,
    NET_FULL_DUPLEX = 1,
    RSS_TYPES_WANTED = 0x3f, /* IPv4, TCPv4, UDPv4, IPv6, TCPv6, UDPv6 (5.1.6.4.3.1) */
};

/* Commands of the control queue (5.1.6.5). */
enum {
    CTRL_RX = 0,
    CTRL_RX_PROMISC = 0,
    CTRL_RX_ALLMULTI = 1,
    CTRL_MAC = 1,
    CTRL_MAC_TABLE_SET = 0,
    CTRL_MAC_ADDR_SET = 1,
    CTRL_MQ = 4,
    CTRL_MQ_VQ_PAIRS_SET = 0,
    CTRL_MQ_RSS_CONFIG = 1,
    CTRL_OK = 0,
};

/* Flags of descriptors and rings (2.7.5, 2.7.6, 2.7.8, 2.8). */
enum {
    DESC_F_NEXT = 1,
    DESC_F_WRITE = 2,
    DESC_F_AVAIL = 1 << 7, /* packed */
    DESC_F_USED = 1 << 15, /* packed */
    AVAIL_F_NO_INTERRUPT = 1,
    USED_F_NO_NOTIFY = 1,
    EVENT_F_ENABLE = 0, /* packed: event suppression */
    EVENT_F_DISABLE = 1,
};

/* One descriptor. The second word is written and read at once: split: len, flags, next (2.7.5); packed: len, id, flags (2.8.13). */
struct vs_virtio_desc {
    uint64_t addr;
    uint64_t rest;
};
VS_ASSERT_SIZE(struct vs_virtio_desc, 16);

struct vs_virtio_avail {
    uint16_t flags, idx;
    uint16_t ring[];
};

struct vs_virtio_used_elem {
    uint32_t id, len;
};

struct vs_virtio_used {
    uint16_t flags, idx;
    struct vs_virtio_used_elem ring[];
};

struct vs_virtio_event {
    uint16_t off_wrap, flags;
};

#endif
