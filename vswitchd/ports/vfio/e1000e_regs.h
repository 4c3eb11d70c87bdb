/* e1000e_regs.h: registers and descriptors of Intel's 82574L, 82583V and of the 8254x before them, as far as the driver touches them. C only.
 *
 * How it works: section numbers are those of the 82574 datasheet (chapter 7: receive and transmit, chapter 10: registers); the 8254x software
 * developer's manual has the same registers in its chapter 13. The second queue's registers stand E1_QUEUE_STEP behind the first's.
 *
 * Thread safety: constants only.
 */
#ifndef VS_E1000E_REGS_H
#define VS_E1000E_REGS_H

enum {
    E1_BAR_SIZE = 0x20000,
    E1_QUEUE_STEP = 0x100,
    /* general, 10.2.2 */
    E1_CTRL = 0x0000,
    E1_STATUS = 0x0008,
    E1_EECD = 0x0010,
    E1_CTRL_EXT = 0x0018,
    E1_MDIC = 0x0020,
    E1_FCAL = 0x0028,
    E1_FCAH = 0x002c,
    E1_FCT = 0x0030,
    E1_VET = 0x0038,
    E1_FCTTV = 0x0170,
    E1_EXTCNF_CTRL = 0x0f00,
    E1_PBA = 0x1000,
    E1_FCRTL = 0x2160,
    E1_FCRTH = 0x2168,
    E1_GCR = 0x5b00,
    E1_GCR2 = 0x5b64,
    /* interrupts, 10.2.4 */
    E1_ICR = 0x00c0,
    E1_ITR = 0x00c4,
    E1_ICS = 0x00c8,
    E1_IMS = 0x00d0,
    E1_IMC = 0x00d8,
    E1_EIAC = 0x00dc,
    E1_IVAR = 0x00e4,
    E1_EITR = 0x00e8, /* + 4 for each vector */
    /* receive, 10.2.5 */
    E1_RCTL = 0x0100,
    E1_RDBAL = 0x2800,
    E1_RDBAH = 0x2804,
    E1_RDLEN = 0x2808,
    E1_RDH = 0x2810,
    E1_RDT = 0x2818,
    E1_RDTR = 0x2820,
    E1_RXDCTL = 0x2828,
    E1_RADV = 0x282c,
    E1_RXCSUM = 0x5000,
    E1_RFCTL = 0x5008,
    E1_MTA = 0x5200, /* 128 words */
    E1_RAL = 0x5400, /* 16 pairs */
    E1_RAH = 0x5404,
    E1_MRQC = 0x5818,
    E1_RETA = 0x5c00,  /* 32 words */
    E1_RSSRK = 0x5c80, /* 10 words */
    /* transmit, 10.2.6 */
    E1_TCTL = 0x0400,
    E1_TIPG = 0x0410,
    E1_TDBAL = 0x3800,
    E1_TDBAH = 0x3804,
    E1_TDLEN = 0x3808,
    E1_TDH = 0x3810,
    E1_TDT = 0x3818,
    E1_TXDCTL = 0x3828,
    E1_TARC = 0x3840,
    /* statistics, 10.2.7: cleared when read */
    E1_CRCERRS = 0x4000,
    E1_RXERRC = 0x400c,
    E1_MPC = 0x4010,
    E1_ECOL = 0x4018,
    E1_LATECOL = 0x4020,
    E1_COLC = 0x4028,
    E1_RLEC = 0x4040,
    E1_XONRXC = 0x4048,
    E1_XONTXC = 0x404c,
    E1_XOFFRXC = 0x4050,
    E1_XOFFTXC = 0x4054,
    E1_GPRC = 0x4074,
    E1_BPRC = 0x4078,
    E1_MPRC = 0x407c,
    E1_GPTC = 0x4080,
    E1_GORCL = 0x4088,
    E1_GORCH = 0x408c,
    E1_GOTCL = 0x4090,
    E1_GOTCH = 0x4094,
    E1_RUC = 0x40a4,
    E1_ROC = 0x40ac,
    E1_TORL = 0x40c0,
    E1_TOTL = 0x40c8,
    E1_TPR = 0x40d0,
    E1_TPT = 0x40d4,
};

enum {
    E1_CTRL_MASTER_DISABLE = 1 << 2, /* PCIe parts: no new requests to memory */
    E1_CTRL_LRST = 1 << 3,
    E1_CTRL_ASDE = 1 << 5,
    E1_CTRL_SLU = 1 << 6,
    E1_CTRL_ILOS = 1 << 7,
    E1_CTRL_FRCSPD = 1 << 11,
    E1_CTRL_FRCDPX = 1 << 12,
    E1_CTRL_RST = 1 << 26,
    E1_CTRL_RFCE = 1 << 27,
    E1_CTRL_TFCE = 1 << 28,
    E1_CTRL_VME = 1 << 30,
    E1_STATUS_FD = 1 << 0,
    E1_STATUS_LU = 1 << 1,
    E1_STATUS_SPEED_SHIFT = 6,
    E1_STATUS_MASTER_ENABLE = 1 << 19,
    E1_EECD_AUTO_RD = 1 << 9,
    E1_CTRL_EXT_DRV_LOAD = 1 << 28,
    E1_EXTCNF_MDIO_OWNED = 1 << 5, /* ours, not the management firmware's */
};
#define E1_CTRL_EXT_PBA_CLR (1u << 31) /* MSI-X: a pending bit goes when its cause is unmasked */
#define E1_FCRTL_XONE (1u << 31)
#define E1_RAH_AV (1u << 31)

/* MDIC (10.2.2) and the PHY's registers (IEEE 802.3, 22.2.4). */
enum {
    E1_MDIC_REG_SHIFT = 16,
    E1_MDIC_PHY_1 = 1 << 21,
    E1_MDIC_WRITE = 1 << 26,
    E1_MDIC_READ = 2 << 26,
    E1_MDIC_READY = 1 << 28,
    E1_MDIC_ERROR = 1 << 30,
    E1_PHY_CONTROL = 0,
    E1_PHY_ADVERTISED = 4,
    E1_PHY_PARTNER = 5,
    E1_PHY_POWER_DOWN = 1 << 11,
    E1_PHY_AUTONEG = 1 << 12 | 1 << 9, /* on, and anew */
    E1_PHY_PAUSE = 1 << 10,
    E1_PHY_ASM_DIR = 1 << 11,
};

/* ICR, IMS, IMC, EIAC */
enum {
    E1_INT_LSC = 1 << 2,
    E1_INT_RXDMT0 = 1 << 4,
    E1_INT_RXO = 1 << 6,
    E1_INT_RXT0 = 1 << 7,
    E1_INT_MDAC = 1 << 9,
    E1_INT_SRPD = 1 << 16,
    E1_INT_ACK = 1 << 17,
    E1_INT_MNG = 1 << 18,
    E1_INT_RXQ0 = 1 << 20, /* RXQ1 next to it */
    E1_INT_OTHER = 1 << 24,
    /* without MSI-X all that tells of packets; with it, RXQ of every queue */
    E1_INT_RX = E1_INT_RXT0 | E1_INT_RXDMT0 | E1_INT_RXO,
    /* what OTHER stands for */
    E1_INT_OTHERS = E1_INT_LSC | E1_INT_RXO | E1_INT_MDAC | E1_INT_SRPD | E1_INT_ACK | E1_INT_MNG |
        E1_INT_OTHER,
    E1_IVAR_VALID = 8,
    E1_IVAR_OTHER_SHIFT = 16,
};

enum {
    E1_RCTL_EN = 1 << 1,
    E1_RCTL_SBP = 1 << 2,
    E1_RCTL_UPE = 1 << 3,
    E1_RCTL_MPE = 1 << 4,
    E1_RCTL_LPE = 1 << 5,
    E1_RCTL_BAM = 1 << 15,
    E1_RCTL_SECRC = 1 << 26,                               /* buffers of 2,048 bytes: BSIZE 0, BSEX 0 */
    E1_RXDCTL_THRESHOLDS = 8 | 4 << 8 | 1 << 16 | 1 << 24, /* in descriptors */
    E1_RXCSUM_IPOFLD = 1 << 8,
    E1_RXCSUM_TUOFLD = 1 << 9,
    E1_RXCSUM_PCSD = 1 << 13, /* RSS needs it */
    E1_RFCTL_ISCSI_DIS = 1 << 0,
    E1_RFCTL_NFSW_DIS = 1 << 6,
    E1_RFCTL_NFSR_DIS = 1 << 7,
    E1_RFCTL_ACK_DIS = 1 << 12,
    E1_RFCTL_EXTEN = 1 << 15,
    E1_RFCTL_IPV6_EX_DIS = 1 << 16,
    E1_RFCTL_NEW_IPV6_EXT_DIS = 1 << 17,
    E1_MRQC_RSS = 1,
    E1_MRQC_FIELDS = 1 << 16 | 1 << 17 | 1 << 18 | 1 << 20, /* TCP/IPv4, IPv4, TCP/IPv6, IPv6 */
    E1_TCTL_EN = 1 << 1,
    E1_TCTL_PSP = 1 << 3,
    E1_TCTL_COLLISIONS = 15 << 4 | 63 << 12, /* retries, and the slot time in bytes */
    E1_TCTL_RTLC = 1 << 24,
    E1_TCTL_MULR = 1 << 28,
    E1_TIPG_COPPER = 8 | 8 << 10 | 6 << 20,
    E1_TXDCTL_THRESHOLDS = 31 | 1 << 8 | 1 << 16 | 1 << 24,
    E1_TXDCTL_COUNT = 1 << 22, /* PCIe parts: to be set, says Intel */
};

/* Receive descriptors, 7.1: the second word, as written back. Extended: status and errors in 31:0, length in 47:32. Legacy: length in
 * 15:0, status in 39:32, errors in 47:40. Status and errors have the same bits in both. */
enum {
    E1_RXD_DD = 1 << 0,
    E1_RXD_EOP = 1 << 1,
    E1_RXD_IXSM = 1 << 2,
    E1_RXD_UDPCS = 1 << 4,
    E1_RXD_TCPCS = 1 << 5,
    E1_RXD_IPCS = 1 << 6,
    E1_RXD_CE = 1 << 24,
    E1_RXD_SE = 1 << 25,
    E1_RXD_SEQ = 1 << 26,
    E1_RXD_CXE = 1 << 28,
    E1_RXD_TCPE = 1 << 29,
    E1_RXD_IPE = 1 << 30,
};
#define E1_RXD_RXE (1u << 31)
#define E1_RXD_ERRORS (E1_RXD_CE | E1_RXD_SE | E1_RXD_SEQ | E1_RXD_CXE | E1_RXD_RXE)

/* Transmit descriptors, 7.2: context and data descriptors, in the second word. DD in bit 32. */
enum {
    E1_TXD_DATA = 1 << 20,
    E1_TXD_EOP = 1 << 24,
    E1_TXD_IFCS = 1 << 25,
    E1_TXD_TSE = 1 << 26,
    E1_TXD_RS = 1 << 27,
    E1_TXD_DEXT = 1 << 29,
    E1_TXC_TCP = 1 << 24,
    E1_TXC_IPV4 = 1 << 25,
    E1_TXC_TSE = 1 << 26,
    E1_TXP_IXSM = 1, /* POPTS, bits 47:40 */
    E1_TXP_TXSM = 2,
    E1_TX_PIECE = 8192, /* bytes that one descriptor takes at most */
    E1_TX_LEAST = 17,   /* bytes of the shortest frame that is padded by the device */
};
#define E1_TXD_DONE (UINT64_C(1) << 32)

#endif
