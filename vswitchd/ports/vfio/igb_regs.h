/* igb_regs.h: registers, bits and descriptors of the 82576, I350, I210 and kin, as far as the driver uses them.
 *
 * How it works: section numbers are those of the 82576 datasheet (revision 2.63), which the others follow; what differs is told
 * where it is used. Register names are the datasheet's.
 *
 * Thread safety: constants only.
 */
#ifndef VS_IGB_REGS_H
#define VS_IGB_REGS_H

#include "base.h"

/* 8.1.3: registers of the device as a whole. */
enum igb_reg {
    IGB_CTRL = 0x0000,
    IGB_STATUS = 0x0008,
    IGB_EECD = 0x0010,
    IGB_CTRL_EXT = 0x0018,
    IGB_MDIC = 0x0020,
    IGB_FCAL = 0x0028,
    IGB_FCAH = 0x002c,
    IGB_FCT = 0x0030,
    IGB_RCTL = 0x0100,
    IGB_FCTTV = 0x0170,
    IGB_TCTL = 0x0400,
    IGB_ICR = 0x1500,
    IGB_IMS = 0x1508,
    IGB_IMC = 0x150c,
    IGB_GPIE = 0x1514,
    IGB_EIMS = 0x1524, /* the same places in a virtual function, 8.26 */
    IGB_EIMC = 0x1528,
    IGB_EIAC = 0x152c,
    IGB_EIAM = 0x1530,
    IGB_EICR = 0x1580,
    IGB_EITR = 0x1680,
    IGB_IVAR = 0x1700,
    IGB_IVAR_MISC = 0x1740,
    IGB_FCRTL = 0x2160,
    IGB_FCRTH = 0x2168,
    IGB_RXPBS = 0x2404,
    IGB_FCRTV = 0x2460,
    IGB_STATS = 0x4000, /* CRCERRS, the first of the counters */
    IGB_PCS_CFG = 0x4200,
    IGB_PCS_LCTL = 0x4208,
    IGB_PCS_LSTAT = 0x420c,
    IGB_RXCSUM = 0x5000,
    IGB_RLPML = 0x5004,
    IGB_MTA = 0x5200,
    IGB_RAL = 0x5400,
    IGB_RAH = 0x5404,
    IGB_MRQC = 0x5818,
    IGB_SWSM = 0x5b50,
    IGB_SW_FW_SYNC = 0x5b5c,
    IGB_RETA = 0x5c00,
    IGB_RSSRK = 0x5c80,
    /* 8.26: of a virtual function alone */
    IGB_V2PMAILBOX = 0x0c40,
    IGB_VMBMEM = 0x0800,
    IGB_VFGPRC = 0x0f10,
    IGB_VFGPTC = 0x0f14,
    IGB_VFGORC = 0x0f18,
    IGB_VFGOTC = 0x0f34,
    IGB_VFMPRC = 0x0f3c,
    IGB_PF_BAR = 0x10000, /* bytes that we need of BAR 0 */
    IGB_VF_BAR = 0x4000,
};

/* 8.10, 8.12: registers of a queue, from its base. Queues of a virtual function stand where the old places of the 82575 were. */
enum igb_queue_reg {
    IGB_RX_BASE = 0xc000,
    IGB_TX_BASE = 0xe000,
    IGB_QUEUE_STRIDE = 0x40,
    IGB_VF_RX_BASE = 0x2800,
    IGB_VF_TX_BASE = 0x3800,
    IGB_VF_QUEUE_STRIDE = 0x100,
    IGB_DBAL = 0x00,
    IGB_DBAH = 0x04,
    IGB_DLEN = 0x08,
    IGB_SRRCTL = 0x0c,
    IGB_DH = 0x10,
    IGB_DT = 0x18,
    IGB_DCTL = 0x28,
    IGB_RQDPC = 0x30,
};

enum {
    /* CTRL, 8.2.1 */
    IGB_CTRL_FD = 1 << 0,
    IGB_CTRL_MASTER_DISABLE = 1 << 2,
    IGB_CTRL_SLU = 1 << 6,
    IGB_CTRL_SPEED = 3 << 8,
    IGB_CTRL_SPEED_1000 = 2 << 8,
    IGB_CTRL_FRCSPD = 1 << 11,
    IGB_CTRL_FRCDPX = 1 << 12,
    IGB_CTRL_RST = 1 << 26,
    IGB_CTRL_RFCE = 1 << 27,
    IGB_CTRL_TFCE = 1 << 28,
    IGB_CTRL_VME = 1 << 30,
    /* STATUS, 8.2.2 */
    IGB_STATUS_FD = 1 << 0,
    IGB_STATUS_LU = 1 << 1,
    IGB_STATUS_LAN_SHIFT = 2,
    IGB_STATUS_SPEED_SHIFT = 6,
    IGB_STATUS_MASTER = 1 << 19,
    /* EECD 8.4.1, CTRL_EXT 8.2.3 */
    IGB_EECD_AUTO_RD = 1 << 9,
    IGB_CTRL_EXT_SDP3 = 1 << 7,
    IGB_CTRL_EXT_LINK_MODE = 3 << 22, /* 0: copper by the internal PHY */
    IGB_CTRL_EXT_KX = 1 << 22,
    /* MDIC, 8.2.4 */
    IGB_MDIC_REG_SHIFT = 16,
    IGB_MDIC_PHY = 1 << 21,
    IGB_MDIC_WRITE = 1 << 26,
    IGB_MDIC_READ = 2 << 26,
    IGB_MDIC_READY = 1 << 28,
    IGB_MDIC_ERROR = 1 << 30,
    /* SWSM and SW_FW_SYNC, 8.2: who may talk to the PHY */
    IGB_SWSM_SMBI = 1 << 0,
    IGB_SWSM_SWESMBI = 1 << 1,
    /* PCS_CFG, PCS_LCTL, PCS_LSTAT: media without a PHY */
    IGB_PCS_CFG_EN = 1 << 3,
    IGB_PCS_LCTL_FORCE = 0x31, /* link value, speed and duplex, link: all not forced */
    IGB_PCS_LCTL_AN = 1 << 16,
    IGB_PCS_LCTL_RESTART = 1 << 17,
    IGB_PCS_LCTL_TIMEOUT = 1 << 18,
    IGB_PCS_LSTAT_LINK = 1 << 0,
    /* RCTL, 8.10.1 */
    IGB_RCTL_EN = 1 << 1,
    IGB_RCTL_UPE = 1 << 3,
    IGB_RCTL_MPE = 1 << 4,
    IGB_RCTL_LPE = 1 << 5,
    IGB_RCTL_BAM = 1 << 15,
    IGB_RCTL_SECRC = 1 << 26,
    /* TCTL, 8.12.1: pad, 15 collisions, distance 64, retransmit on late collision */
    IGB_TCTL_EN = 1 << 1,
    IGB_TCTL_DEFAULTS = 1 << 3 | 15 << 4 | 63 << 12 | 1 << 24,
    /* ICR, IMS 8.8.9 */
    IGB_ICR_LSC = 1 << 2,
    IGB_ICR_RXDW = 1 << 7,
    /* GPIE 8.8.5: vectors of their own, pending bits cleared by the message, reading ICR clears it */
    IGB_GPIE_NSICR = 1 << 0,
    IGB_GPIE_MSIX = 1 << 4,
    IGB_IVAR_VALID = 0x80,
    /* RXDCTL 8.10, TXDCTL 8.12 */
    IGB_DCTL_ENABLE = 1 << 25,
    IGB_RXDCTL_THRESHOLDS = 8 | 8 << 8 | 1 << 16,
    IGB_TXDCTL_THRESHOLDS = 8 | 1 << 8 | 1 << 16,
    /* SRRCTL 8.10: one buffer, in KB */
    IGB_SRRCTL_ONE_BUFFER = 1 << 25,
    /* RXCSUM 8.10 */
    IGB_RXCSUM_IP = 1 << 8,
    IGB_RXCSUM_L4 = 1 << 9,
    IGB_RXCSUM_PCSD = 1 << 13, /* the RSS hash instead of a packet checksum */
    /* MRQC 8.10: RSS over IPv4, IPv6 and their TCP and UDP */
    IGB_MRQC_RSS = 2,
    IGB_MRQC_FIELDS = 1 << 16 | 1 << 17 | 1 << 18 | 1 << 20 | 1 << 21 | 1 << 22 | 1 << 23,
    IGB_RETA_ENTRIES = 128,
    IGB_MTA_WORDS = 128,
    /* V2PMAILBOX 8.26 */
    IGB_MBX_REQ = 1 << 0,
    IGB_MBX_ACK = 1 << 1,
    IGB_MBX_VFU = 1 << 2,
    IGB_MBX_PFSTS = 1 << 4,
    IGB_MBX_PFACK = 1 << 5,
    IGB_MBX_RSTI = 1 << 6,
    IGB_MBX_RSTD = 1 << 7,
    IGB_MBX_CLEARED = IGB_MBX_PFSTS | IGB_MBX_PFACK | IGB_MBX_RSTD, /* by reading */
    /* IEEE 802.3, clause 22: registers of the PHY */
    IGB_PHY_BMCR = 0,
    IGB_PHY_BMSR = 1,
    IGB_PHY_ANAR = 4,
    IGB_PHY_ANLPAR = 5,
    IGB_BMCR_RESTART = 1 << 9,
    IGB_BMCR_POWER_DOWN = 1 << 11,
    IGB_BMCR_AUTONEG = 1 << 12,
    IGB_BMSR_DONE = 1 << 5,
    IGB_AN_PAUSE = 1 << 10,
    IGB_AN_ASYM = 1 << 11,
};

/* Bit 31 does not fit an enum. */
static const uint32_t IGB_RAH_VALID = 1u << 31, IGB_SRRCTL_DROP = 1u << 31, IGB_GPIE_PBA = 1u << 31,
                      IGB_FCRTL_XON = 1u << 31;

/* What a virtual function says to its physical one, and the answers' bits; the numbers are those that the kernel's igb knows. */
enum igb_message {
    IGB_VF_RESET = 1,
    IGB_VF_SET_MAC = 2,
    IGB_VF_SET_LPE = 5,
    IGB_VF_SET_PROMISC = 6,
    IGB_VF_PROMISC_MULTICAST = 2 << 16,
    IGB_PF_CONTROL = 0x100,
    IGB_MSG_CTS = 1 << 29,
    IGB_MSG_NACK = 1 << 30,
};
static const uint32_t IGB_MSG_ACK = 1u << 31;

/* Receive descriptor, 7.1.5. We give `data`; the device writes `word` over the header's address, which is 0. */
struct igb_rx_desc {
    uint64_t data;
    uint64_t word;
};
VS_ASSERT_SIZE(struct igb_rx_desc, 16);

static const uint64_t IGB_RX_DONE = 1u << 0, IGB_RX_END = 1u << 1, IGB_RX_L4_CHECKED = 1u << 5,
                      IGB_RX_L4_BAD = 1u << 29, IGB_RX_IP_BAD = 1u << 30, IGB_RX_BAD = 1u << 31;
enum { IGB_RX_LEN_SHIFT = 32 };

/* Transmit descriptor: data 7.2.2.3, context 7.2.2.2. */
struct igb_tx_desc {
    uint64_t data;    /* context: VLAN, MAC length and IP length; the upper half is 0 */
    uint32_t command; /* context: kinds of headers */
    uint32_t status;  /* written back; ours: payload length, options. Context: MSS, L4 length */
};
VS_ASSERT_SIZE(struct igb_tx_desc, 16);

static const uint32_t IGB_TX_DATA = 3u << 20 | 1u << 29 | 1u << 25; /* type, extended, with FCS */
static const uint32_t IGB_TX_END = 1u << 24, IGB_TX_REPORT = 1u << 27, IGB_TX_SEGMENT = 1u << 31;
static const uint32_t IGB_TX_DONE = 1u << 0;                                        /* status */
static const uint32_t IGB_TX_FILL_IP = 1u << 8, IGB_TX_FILL_L4 = 1u << 9;           /* status */
static const uint32_t IGB_TX_CONTEXT = 2u << 20 | 1u << 29, IGB_TX_IPV4 = 1u << 10, /* command */
    IGB_TX_TCP = 1u << 11;
enum { IGB_TX_PAYLEN_SHIFT = 14, IGB_TX_MACLEN_SHIFT = 9, IGB_TX_L4LEN_SHIFT = 8, IGB_TX_MSS_SHIFT = 16 };
/* Longest piece of one data descriptor: DTALEN has 16 bits; 16 KB is what every device of the family takes. */
enum { IGB_TX_PIECE = 16384 };
#endif
