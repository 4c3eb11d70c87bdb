"""The numbers of OpenFlow 1.0 that are not those of 1.3, under the specification's names (1.0.2, section 5)."""

from __future__ import annotations

from enum import IntEnum, IntFlag

OFP_VLAN_NONE = 0xFFFF
"""dl_vlan of packets without a tag (5.2.3)."""


class OFPT10(IntEnum):
    """Message types (5.1); those up to PACKET_OUT and FLOW_MOD are as in 1.3."""

    HELLO = 0
    ERROR = 1
    ECHO_REQUEST = 2
    ECHO_REPLY = 3
    VENDOR = 4
    FEATURES_REQUEST = 5
    FEATURES_REPLY = 6
    GET_CONFIG_REQUEST = 7
    GET_CONFIG_REPLY = 8
    SET_CONFIG = 9
    PACKET_IN = 10
    FLOW_REMOVED = 11
    PORT_STATUS = 12
    PACKET_OUT = 13
    FLOW_MOD = 14
    PORT_MOD = 15
    STATS_REQUEST = 16
    STATS_REPLY = 17
    BARRIER_REQUEST = 18
    BARRIER_REPLY = 19
    QUEUE_GET_CONFIG_REQUEST = 20
    QUEUE_GET_CONFIG_REPLY = 21


class OFPST(IntEnum):
    """Statistics types (5.3.5)."""

    DESC = 0
    FLOW = 1
    AGGREGATE = 2
    TABLE = 3
    PORT = 4
    QUEUE = 5
    VENDOR = 0xFFFF


class OFPAT10(IntEnum):
    """Action types (5.2.4)."""

    OUTPUT = 0
    SET_VLAN_VID = 1
    SET_VLAN_PCP = 2
    STRIP_VLAN = 3
    SET_DL_SRC = 4
    SET_DL_DST = 5
    SET_NW_SRC = 6
    SET_NW_DST = 7
    SET_NW_TOS = 8
    SET_TP_SRC = 9
    SET_TP_DST = 10
    ENQUEUE = 11
    VENDOR = 0xFFFF


class OFPFW(IntFlag):
    """Wildcards of a match (5.2.3); NW_SRC and NW_DST are numbers of bits, 32 and up for all."""

    IN_PORT = 1 << 0
    DL_VLAN = 1 << 1
    DL_SRC = 1 << 2
    DL_DST = 1 << 3
    DL_TYPE = 1 << 4
    NW_PROTO = 1 << 5
    TP_SRC = 1 << 6
    TP_DST = 1 << 7
    NW_SRC_MASK = 0x3F << 8
    NW_DST_MASK = 0x3F << 14
    DL_VLAN_PCP = 1 << 20
    NW_TOS = 1 << 21
    ALL = (1 << 22) - 1


NW_SRC_SHIFT = 8
NW_DST_SHIFT = 14


class OFPPC10(IntFlag):
    """Port configuration beyond that of 1.3 (5.2.1)."""

    NO_STP = 1 << 1
    NO_RECV_STP = 1 << 3
    NO_FLOOD = 1 << 4


class OFPC10(IntFlag):
    """Capabilities beyond those of 1.3 (5.3.1); where 1.3 has GROUP_STATS, 1.0 has STP."""

    STP = 1 << 3
    ARP_MATCH_IP = 1 << 7


class OFPFF10(IntFlag):
    """Flow-mod flags beyond those of 1.3 (5.3.3)."""

    EMERG = 1 << 2
