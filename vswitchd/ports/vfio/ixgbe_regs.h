/* ixgbe_regs.h: registers and descriptors of the 82599 and its kin, as the driver uses them. Sections are those of the 82599 datasheet.
 *
 * How it works: offsets in BAR 0, and bits. Where a register answers at two addresses, the one that all members of the family share
 * stands here (that of the 82598, which the 82599 keeps as an alias for its first 16 queues).
 *
 * Thread safety: constants only.
 */
#ifndef VS_IXGBE_REGS_H
#define VS_IXGBE_REGS_H

enum {
    IXGBE_BAR_BYTES = 0x20000,

    /* 8.2.3.1 general, 8.2.3.2 EEPROM, 8.2.3.4 PCIe */
    IXGBE_CTRL = 0x00000,
    IXGBE_CTRL_MASTER_DISABLE = 1 << 2,
    IXGBE_CTRL_LRST = 1 << 3,
    IXGBE_CTRL_RST = 1 << 26,
    IXGBE_STATUS = 0x00008,
    IXGBE_STATUS_LAN_SHIFT = 2, /* two bits: which port of the device */
    IXGBE_STATUS_MASTER = 1 << 19,
    IXGBE_CTRL_EXT = 0x00018,
    IXGBE_CTRL_EXT_NS_DIS = 1 << 16,
    IXGBE_CTRL_EXT_DRV_LOAD = 1 << 28,
    IXGBE_ESDP = 0x00020,
    IXGBE_ESDP_SDP3 = 1 << 3, /* a fibre's laser: 0 is on */
    IXGBE_ESDP_SDP3_DIR = 1 << 11,
    IXGBE_EEC = 0x10010,
    IXGBE_EEC_AUTO_READ = 1 << 9,
    IXGBE_GCR_EXT = 0x11050,
    IXGBE_GCR_EXT_BUFFERS_CLEAR = 1 << 30,
    IXGBE_SWSM = 0x10140,
    IXGBE_SWSM_SMBI = 1,
    IXGBE_SWSM_SWESMBI = 2,
    IXGBE_SW_FW_SYNC = 0x10160,
    IXGBE_SYNC_PHY0 = 1 << 1, /* PHY1 is the next bit */
    IXGBE_SYNC_MAC_CSR = 1 << 3,
    IXGBE_SYNC_FW_SHIFT = 5, /* the firmware's bits stand behind ours */

    /* 8.2.3.5 interrupts */
    IXGBE_EICR = 0x00800,
    IXGBE_EIAC = 0x00810,
    IXGBE_EIMS = 0x00880,
    IXGBE_EIMC = 0x00888,
    IXGBE_EIAM = 0x00890,
    IXGBE_GPIE = 0x00898,
    IXGBE_IVAR = 0x00900, /* + 4 * (queue / 2); a byte each: rx, tx, rx, tx */
    IXGBE_IVAR_MISC = 0x00A00,
    IXGBE_IVAR_VALID = 0x80,
    IXGBE_INT_QUEUES = 0xffff,
    IXGBE_INT_OTHERS = 0x3fff0000,
    IXGBE_INT_LSC = 1 << 20,
    IXGBE_INT_ECC = 1 << 28,
    IXGBE_INT_ALL = 0x7fffffff,
    IXGBE_EIMC_EX = 0x00AB0, /* two */
    IXGBE_GPIE_MSIX = 1 << 4,
    IXGBE_GPIE_OCD = 1 << 5, /* reading EICR clears the other causes only */
    IXGBE_GPIE_EIAME = 1 << 30,
    IXGBE_GPIE_PBA = 1u << 31,

    /* 8.2.3.8 receive queues, + 0x40 * queue unless said otherwise */
    IXGBE_RDBAL = 0x01000,
    IXGBE_RDLEN = 0x01008,
    IXGBE_RDH = 0x01010,
    IXGBE_RDT = 0x01018,
    IXGBE_RXDCTL = 0x01028,
    IXGBE_RSCCTL = 0x0102C,
    IXGBE_QUEUE_STEP = 0x40,
    IXGBE_QUEUE_ENABLE = 1 << 25, /* RXDCTL and TXDCTL */
    IXGBE_SRRCTL = 0x02100,       /* + 4 * queue */
    IXGBE_SRRCTL_ONE_BUFFER = 1 << 25,
    IXGBE_SRRCTL_DROP = 1 << 28,
    IXGBE_DCA_RXCTRL = 0x02200, /* + 4 * queue */
    IXGBE_DCA_RXCTRL_BIT12 = 1 << 12,
    IXGBE_RDRXCTL = 0x02F00,
    IXGBE_RDRXCTL_CRCSTRIP = 1 << 1,
    IXGBE_RDRXCTL_DMAIDONE = 1 << 3,
    IXGBE_RDRXCTL_RSCFRSTSIZE = 0x1f << 17,
    IXGBE_RDRXCTL_RSCACKC = 1 << 25,
    IXGBE_RDRXCTL_FCOE_WRFIX = 1 << 26,
    IXGBE_RXCTRL = 0x03000,
    IXGBE_RXCTRL_RXEN = 1,
    IXGBE_RSCDBU = 0x03028,
    IXGBE_RSCDBU_ACKDIS = 1 << 7,
    IXGBE_RXPBSIZE = 0x03C00,
    IXGBE_RXPBSIZE_MASK = 0xffc00,
    IXGBE_SECRXCTRL = 0x08D00, /* 8.2.3.13 */
    IXGBE_SECRXCTRL_RX_DIS = 2,
    IXGBE_SECRXSTAT = 0x08D04,
    IXGBE_SECRXSTAT_RDY = 1,

    /* 8.2.3.3 flow control */
    IXGBE_FCTTV = 0x03200,
    IXGBE_FCRTL = 0x03220,
    IXGBE_FCRTH = 0x03260,
    IXGBE_FCRT_ENABLE = 1u << 31,
    IXGBE_FCRT_MASK = 0x7ffe0,
    IXGBE_FCRTV = 0x032A0,
    IXGBE_FCCFG = 0x03D00,
    IXGBE_FCCFG_TFCE = 1 << 3,
    IXGBE_MFLCN = 0x04294,
    IXGBE_MFLCN_DPF = 1 << 1,
    IXGBE_MFLCN_RPFCE = 1 << 2,
    IXGBE_MFLCN_RFCE = 1 << 3,

    /* 8.2.3.22 MAC */
    IXGBE_HLREG0 = 0x04240,
    IXGBE_HLREG0_TXCRCEN = 1,
    IXGBE_HLREG0_RXCRCSTRP = 2,
    IXGBE_HLREG0_JUMBOEN = 4,
    IXGBE_HLREG0_TXPADEN = 1 << 10,
    IXGBE_HLREG0_LPBK = 1 << 15,
    IXGBE_MAXFRS = 0x04268, /* in the upper half */
    IXGBE_AUTOC = 0x042A0,
    IXGBE_AUTOC_RESTART = 1 << 12,
    IXGBE_LINKS = 0x042A4,
    IXGBE_LINKS_UP = 1 << 30,
    IXGBE_LINKS_SPEED_SHIFT = 28,  /* two bits: 1 100M, 2 1G, 3 10G */
    IXGBE_LINKS_NON_STD = 1 << 27, /* X550: 3 is 2.5G, 1 is 5G */

    /* 8.2.3.7 receive filters, 8.2.3.10 RSS */
    IXGBE_RXCSUM = 0x05000,
    IXGBE_RXCSUM_PCSD = 1 << 13,
    IXGBE_FCTRL = 0x05080,
    IXGBE_FCTRL_MPE = 1 << 8,
    IXGBE_FCTRL_UPE = 1 << 9,
    IXGBE_FCTRL_BAM = 1 << 10,
    IXGBE_VLNCTRL = 0x05088,
    IXGBE_VLNCTRL_VFE = 1 << 30,
    IXGBE_MTA = 0x05200, /* 128 */
    IXGBE_RAL = 0x05400,
    IXGBE_RAH = 0x05404,
    IXGBE_RAH_VALID = 1u << 31,
    IXGBE_MRQC = 0x05818,
    IXGBE_MRQC_RSS = 1,
    IXGBE_MRQC_FIELDS = 0xf3 << 16, /* IPv4, IPv6, and TCP and UDP over each */
    IXGBE_RETA = 0x05C00,           /* 32 of four entries */
    IXGBE_ERETA = 0x0EE80,          /* X550: 96 more */
    IXGBE_RSSRK = 0x05C80,

    /* 8.2.3.9 transmit */
    IXGBE_RTTDCS = 0x04900,
    IXGBE_RTTDCS_ARBDIS = 1 << 6,
    IXGBE_TXPBTHRESH = 0x04950,
    IXGBE_DMATXCTL = 0x04A80,
    IXGBE_DMATXCTL_TE = 1,
    IXGBE_TDBAL = 0x06000, /* + 0x40 * queue, and those below */
    IXGBE_TDLEN = 0x06008,
    IXGBE_DCA_TXCTRL = 0x0600C,
    IXGBE_DCA_TXCTRL_DCA = 1 << 5,
    IXGBE_DCA_TXCTRL_WRO = 1 << 11,
    IXGBE_TDH = 0x06010,
    IXGBE_TDT = 0x06018,
    IXGBE_TXDCTL = 0x06028,
    IXGBE_TXDCTL_THRESHOLDS = 32 | 1 << 8, /* fetch when less than 32 are left, and at least one is there */
    IXGBE_TDWBAL = 0x06038,
    IXGBE_DTXMXSZRQ = 0x08100,
    IXGBE_DTXMXSZRQ_MAX = 0xfff,
    IXGBE_MTQC = 0x08120,
    IXGBE_TXPBSIZE = 0x0CC00,
    IXGBE_TXPBSIZE_ALL = 160 << 10,

    /* 8.2.3.23 statistics; they clear when they are read */
    IXGBE_CRCERRS = 0x04000,
    IXGBE_ILLERRC = 0x04004,
    IXGBE_ERRBC = 0x04008,
    IXGBE_MLFC = 0x04034,
    IXGBE_MRFC = 0x04038,
    IXGBE_RLEC = 0x04040,
    IXGBE_LXONTXC = 0x03F60,
    IXGBE_LXOFFTXC = 0x03F68,
    IXGBE_LXONRXC = 0x041A4,
    IXGBE_LXOFFRXC = 0x041A8,
    IXGBE_RXMPC = 0x03FA0,
    IXGBE_GPRC = 0x04074,
    IXGBE_BPRC = 0x04078,
    IXGBE_MPRC = 0x0407C,
    IXGBE_GPTC = 0x04080,
    IXGBE_GORC = 0x04088, /* 36 bits: low, then high */
    IXGBE_GOTC = 0x04090,
    IXGBE_RUC = 0x040A4,
    IXGBE_RFC = 0x040A8,
    IXGBE_ROC = 0x040AC,
    IXGBE_RJC = 0x040B0,
    IXGBE_QPRDC = 0x01430,
};

/* 7.1.6: second half of a receive descriptor as the device writes it. */
enum {
    IXGBE_RX_DD = 1,
    IXGBE_RX_EOP = 1 << 1,
    IXGBE_RX_L4CS = 1 << 5,
    IXGBE_RX_RXE = 1 << 29,
    IXGBE_RX_L4E = 1 << 30,
    IXGBE_RX_IPE = 1u << 31,
    IXGBE_RX_LEN_SHIFT = 32,
};

/* 7.2.3.2: transmit descriptors. */
enum {
    IXGBE_TX_EOP = 1 << 24,
    IXGBE_TX_IFCS = 1 << 25,
    IXGBE_TX_RS = 1 << 27,
    IXGBE_TX_DEXT = 1 << 29,
    IXGBE_TX_TSE = 1u << 31,
    IXGBE_TX_CONTEXT = 2 << 20,
    IXGBE_TX_DATA = 3 << 20,
    IXGBE_TX_DD = 1, /* here and below: fourth word */
    IXGBE_TX_IXSM = 1 << 8,
    IXGBE_TX_TXSM = 2 << 8,
    IXGBE_TX_PAYLEN_SHIFT = 14,
    IXGBE_CTX_IPV4 = 1 << 10,
    IXGBE_CTX_TCP = 1 << 11,
    IXGBE_CTX_MACLEN_SHIFT = 9,
    IXGBE_CTX_L4LEN_SHIFT = 8,
    IXGBE_CTX_MSS_SHIFT = 16,
    IXGBE_MAX_MACLEN = 127,
    IXGBE_MAX_IPLEN = 511,
    IXGBE_TX_PIECE = 15360, /* of a buffer that one descriptor sends; 15.5 KB are allowed */
    IXGBE_TX_LEAST = 17,    /* bytes of a frame that the MAC pads; shorter ones are ours to pad (7.2.1) */
};

enum {
    IXGBE_MAX_FRAME = 9728, /* with FCS (the 82599 could do 15.5 KB, its kin say 9.5) */
    IXGBE_RETA_ENTRIES = 128,
};
#endif
