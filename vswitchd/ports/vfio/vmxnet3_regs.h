/* vmxnet3_regs.h: registers, descriptors and shared memory of VMware's vmxnet3, revision 1, UPT version 1.
 *
 * How it works: there is no datasheet; the interface is what the drivers of Linux, FreeBSD and DPDK agree on. BAR 0 has what is used while
 * packets go (masks, doorbells), BAR 1 the rest: 32 bits wide, 8 bytes apart. The driver describes itself and its queues in memory, the
 * driver-shared area, whose address goes into DSAL and DSAH; a command (CMD) tells the device to read it. All is little endian.
 *
 * A ring has no shared index: each descriptor has a generation bit, and is the other side's when that bit is that of its lap. The first lap's is 1.
 *
 * Thread safety: constants and layouts only.
 */
#ifndef VS_VMXNET3_REGS_H
#define VS_VMXNET3_REGS_H

#include "base.h"

enum { /* BAR 0; 8 bytes for each vector or queue */
       VMX_IMR = 0x000,
       VMX_TXPROD = 0x600,
       VMX_RXPROD = 0x800,
       VMX_RXPROD2 = 0xa00,
       VMX_PT_SIZE = 4096,
       VMX_STEP = 8,
};

enum {                  /* BAR 1 */
       VMX_VRRS = 0x00, /* revisions that the device knows, one bit each; write: the one to be used */
       VMX_UVRS = 0x08, /* UPT versions likewise */
       VMX_DSAL = 0x10, /* driver-shared area: low half first, the high one makes it valid */
       VMX_DSAH = 0x18,
       VMX_CMD = 0x20, /* write: command; read: its answer */
       VMX_MACL = 0x28,
       VMX_MACH = 0x30,
       VMX_ICR = 0x38, /* INTx: reading lowers the line */
       VMX_ECR = 0x40, /* write: these events were seen */
       VMX_VD_SIZE = 4096,
};

#define VMX_SET_CMD(n) (0xcafe0000u + (n))
#define VMX_GET_CMD(n) (0xf00d0000u + (n))
#define VMX_CMD_ACTIVATE VMX_SET_CMD(0) /* answer: 0, or why not */
#define VMX_CMD_QUIESCE VMX_SET_CMD(1)
#define VMX_CMD_RESET VMX_SET_CMD(2)
#define VMX_CMD_UPDATE_RX_MODE VMX_SET_CMD(3)
#define VMX_CMD_UPDATE_MAC_FILTERS VMX_SET_CMD(4)
#define VMX_CMD_UPDATE_VLAN_FILTERS VMX_SET_CMD(5)
#define VMX_CMD_GET_QUEUE_STATUS VMX_GET_CMD(0)
#define VMX_CMD_GET_STATS VMX_GET_CMD(1)
#define VMX_CMD_GET_LINK VMX_GET_CMD(2) /* bit 0: up; bits 16..31: Mbit/s */
#define VMX_CMD_GET_MAC_LO VMX_GET_CMD(3)
#define VMX_CMD_GET_MAC_HI VMX_GET_CMD(4)
#define VMX_CMD_GET_CONF_INTR VMX_GET_CMD(8) /* bits 0..1: type; bits 2..3: how vectors are masked */

#define VMX_MAGIC 0xbabefee1u
#define VMX_RXD_GEN (1u << 31)
#define VMX_COMP_GEN (1u << 31) /* dword 3 */

enum { VMX_MASK_AUTO = 0 }; /* GET_CONF_INTR: a vector masks itself when it fires */

enum { /* events */
       VMX_ECR_RQERR = 1,
       VMX_ECR_TQERR = 2,
       VMX_ECR_LINK = 4,
};

enum {
    VMX_GOS_LINUX64 = 2 | 1 << 2, /* 64 bits, Linux: what decides that body buffers are used */
    VMX_F_RXCSUM = 1,
    VMX_F_RSS = 2,
    VMX_RXM_UCAST = 1,
    VMX_RXM_MCAST = 2,
    VMX_RXM_BCAST = 4,
    VMX_RXM_ALL_MULTI = 8,
    VMX_RXM_PROMISC = 16,
    VMX_INTRS = 25,
    VMX_INTR_DISABLE_ALL = 1,
    VMX_IML_ADAPTIVE = 8, /* moderation of a vector */
    VMX_MAX_MTU = 9000,
    VMX_MAX_TX_BUFFER = 1 << 14, /* bytes of a descriptor; its 14 bits then say 0 */
    VMX_RING_MULTIPLE = 32,
    VMX_RSS_TABLE = 128,
    VMX_RSS_TOEPLITZ = 1,
    VMX_RSS_ALL_TYPES = 15, /* IPv4, TCP over it, IPv6, TCP over it; UDP goes by its addresses */
};

/* Descriptors and completions: 16 bytes each. */
struct vmx_desc {
    uint64_t addr;
    uint32_t dword2, dword3;
};

struct vmx_comp {
    uint32_t dword[4];
};

enum { /* transmit descriptor; dword2: length 0..13, generation, MSS or offset of the checksum field 18..31 */
       VMX_TXD_LEN = 0x3fff,
       VMX_TXD_GEN = 1 << 14,
       VMX_TXD_MSSCOF = 18,
       VMX_TXD_MAX_MSSCOF = 0x3fff,
       /* dword3: header length 0..9, offload mode */
       VMX_TXD_MAX_HLEN = 0x3ff,
       VMX_TXD_OM_CSUM = 2 << 10,
       VMX_TXD_OM_TSO = 3 << 10,
       VMX_TXD_EOP = 1 << 12,
       VMX_TXD_CQ = 1 << 13, /* completion wanted */
};

enum { /* receive descriptor, dword2: length 0..13 */
       VMX_RXD_BODY = 1 << 14,
};

enum {                         /* completions */
       VMX_COMP_INDEX = 0xfff, /* dword 0 */
       VMX_COMP_EOP = 1 << 14,
       VMX_COMP_SOP = 1 << 15,
       VMX_COMP_RQID = 16, /* 10 bits: queue for the first ring, queue + number of queues for the second */
       VMX_COMP_RQID_MASK = 0x3ff,
       VMX_COMP_CNC = 1 << 30, /* checksum not calculated */
       VMX_COMP_LEN = 0x3fff,  /* dword 2 */
       VMX_COMP_ERR = 1 << 14,
       VMX_COMP_TUC = 1 << 16, /* dword 3: L4 checksum right */
       VMX_COMP_UDP = 1 << 17,
       VMX_COMP_TCP = 1 << 18,
       VMX_COMP_IPC = 1 << 19, /* IPv4 header checksum right */
       VMX_COMP_V6 = 1 << 20,
       VMX_COMP_V4 = 1 << 21,
       VMX_COMP_FRAGMENT = 1 << 22,
};

/* One queue: what the driver says, and what the device says when it was asked. */
struct vmx_tx_queue {
    uint32_t deferred, threshold;
    uint64_t reserved;
    uint64_t ring, data_ring, comp_ring, driver_data, reserved2;
    uint32_t ring_size, data_ring_size, comp_size, driver_data_len;
    uint8_t vector, pad[7];
    uint8_t stopped, pad2[3];
    uint32_t error;
    uint64_t stats[10];
    uint8_t pad3[88];
};

struct vmx_rx_queue {
    uint8_t update_prod, pad[7]; /* the device wants RXPROD to be written */
    uint64_t reserved;
    uint64_t ring[2], comp_ring, driver_data, reserved2;
    uint32_t ring_size[2], comp_size, driver_data_len;
    uint8_t vector, pad2[7];
    uint8_t stopped, pad3[3];
    uint32_t error;
    uint64_t stats[10];
    uint8_t pad4[88];
};

/* Places in stats, the same for both directions as far as they go. */
enum {
    VMX_STAT_UCAST = 2, /* packets; bytes follow */
    VMX_STAT_MCAST = 4,
    VMX_STAT_BCAST = 6,
    VMX_STAT_FIRST_ERROR = 8, /* transmit: errors; receive: no buffer */
    VMX_STAT_LAST = 9,        /* transmit: discarded; receive: errors */
    VMX_STATS = 10,
};

struct vmx_conf_place {
    uint32_t version, length;
    uint64_t iova;
};

struct vmx_rss {
    uint16_t types, function, key_size, table_size;
    uint8_t key[40];
    uint8_t table[VMX_RSS_TABLE];
};

/* The driver-shared area. */
struct vmx_shared {
    uint32_t magic, pad;
    uint32_t driver_version, guest_os, revisions, upt_versions;
    uint64_t features, driver_data, queues;
    uint32_t driver_data_len, queues_len;
    uint32_t mtu;
    uint16_t max_rx_parts;
    uint8_t n_txq, n_rxq;
    uint32_t reserved[4];
    uint8_t auto_mask, n_intrs, event_vector;
    uint8_t moderation[VMX_INTRS];
    uint32_t intr_ctrl, reserved2[2];
    uint32_t rx_mode;
    uint16_t mcast_len, pad2;
    uint64_t mcast_list;
    uint32_t vlans[128]; /* a bit each */
    struct vmx_conf_place rss, wake_up, plugin;
    uint32_t events; /* the device sets them */
    uint32_t reserved3[5];
};

VS_ASSERT_SIZE(struct vmx_desc, 16);
VS_ASSERT_SIZE(struct vmx_comp, 16);
VS_ASSERT_SIZE(struct vmx_tx_queue, 256);
VS_ASSERT_SIZE(struct vmx_rx_queue, 256);
VS_ASSERT_SIZE(struct vmx_rss, 176);
VS_ASSERT_SIZE(struct vmx_shared, 720);
_Static_assert(offsetof(struct vmx_tx_queue, vector) == 72 && offsetof(struct vmx_tx_queue, stats) == 88,
               "transmit queue");
_Static_assert(offsetof(struct vmx_rx_queue, vector) == 72 && offsetof(struct vmx_rx_queue, stats) == 88,
               "receive queue");
_Static_assert(offsetof(struct vmx_shared, features) == 24 && offsetof(struct vmx_shared, auto_mask) == 80 &&
                   offsetof(struct vmx_shared, rx_mode) == 120 && offsetof(struct vmx_shared, rss) == 648 &&
                   offsetof(struct vmx_shared, events) == 696,
               "shared area");

#endif
