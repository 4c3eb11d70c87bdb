/* vhost_user.h: messages of the vhost-user protocol (QEMU's docs/interop/vhost-user.rst), both directions, blocking.
 *
 * Thread safety: one thread for each socket.
 */
#ifndef LOAD_VHOST_USER_H
#define LOAD_VHOST_USER_H

#include <stdbool.h>
#include <stdint.h>

enum {
    VU_GET_FEATURES = 1,
    VU_SET_FEATURES = 2,
    VU_SET_OWNER = 3,
    VU_SET_MEM_TABLE = 5,
    VU_SET_VRING_NUM = 8,
    VU_SET_VRING_ADDR = 9,
    VU_SET_VRING_BASE = 10,
    VU_GET_VRING_BASE = 11,
    VU_SET_VRING_KICK = 12,
    VU_SET_VRING_CALL = 13,
    VU_SET_VRING_ERR = 14,
    VU_GET_PROTOCOL_FEATURES = 15,
    VU_SET_PROTOCOL_FEATURES = 16,
    VU_SET_VRING_ENABLE = 18,
    VU_VERSION = 1,
    VU_REPLY = 4,
    VU_NEED_REPLY = 8,
    VU_NOFD = 1 << 8,
    VU_MAX_FDS = 8,
};

/* Bits of feature words. */
enum {
    VU_F_CSUM = 0,
    VU_F_GUEST_CSUM = 1,
    VU_F_GUEST_TSO4 = 7,
    VU_F_HOST_TSO4 = 11,
    VU_F_MRG_RXBUF = 15,
    VU_F_PROTOCOL_FEATURES = 30,
    VU_F_VERSION_1 = 32,
    VU_F_RING_PACKED = 34,
    VU_F_IN_ORDER = 35,
    VU_PROTOCOL_REPLY_ACK = 3,
};

struct vu_state {
    uint32_t index, num;
};

struct vu_address {
    uint32_t index, flags;
    uint64_t desc, used, avail, log;
};

struct vu_region {
    uint64_t gpa, size, uva, offset;
};

struct vu_memory {
    uint32_t regions, padding;
    struct vu_region region[VU_MAX_FDS];
};

struct vu_message {
    uint32_t request, flags, size;
    union {
        uint64_t u64;
        struct vu_state state;
        struct vu_address address;
        struct vu_memory memory;
    };
    int fds[VU_MAX_FDS]; /* -1: none */
};

static inline uint64_t vu_bit(unsigned bit)
{
    return (uint64_t)1 << bit;
}

/* Listen at a path, or connect to it; the socket, or -1 with errno. */
int vu_listen(const char *path);
int vu_connect(const char *path);
/* 0, or -1 with errno (EPROTO: the peer closed the connection or does not keep to the protocol). fd -1: none. */
int vu_send(int socket, uint32_t request, uint32_t flags, const void *payload, uint32_t size, int fd);
/* Receive one message; its descriptors are the caller's. */
int vu_receive(int socket, struct vu_message *m);
/* Send a request and wait for its answer; with `ack` for the acknowledgement, which must be 0. */
int vu_ask(int socket, uint32_t request, const void *payload, uint32_t size, int fd,
           struct vu_message *answer);
int vu_tell(int socket, bool ack, uint32_t request, const void *payload, uint32_t size, int fd);

#endif
