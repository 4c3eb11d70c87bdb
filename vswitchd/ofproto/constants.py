"""The numbers of OpenFlow under the specification's names: `OFPFC.ADD` is OFPFC_ADD (1.3.5, section 7).

Each enum is called like the prefix of its members. Decoded messages hold plain ints, so that a number that we
do not know survives; compare them with the members (`msg.command == OFPFC.ADD`) or name them with
`name_of()`.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag

OFP_VERSION_10 = 0x01
OFP_VERSION_13 = 0x04
OFP_VERSION_14 = 0x05
OFP_VERSION_15 = 0x06
OFP_HEADER_LEN = 8
OFP_MAX_LEN = 0xFFFF
OFP_NO_BUFFER = 0xFFFFFFFF
OFPCML_MAX = 0xFFE5
OFPCML_NO_BUFFER = 0xFFFF
OFP_DEFAULT_PRIORITY = 0x8000
OFP_DEFAULT_MISS_SEND_LEN = 128
OFPQ_ALL = 0xFFFFFFFF
OFPQ_MIN_RATE_UNCFG = 0xFFFF
OFPQ_MAX_RATE_UNCFG = 0xFFFF
OFPVID_PRESENT = 0x1000
OFPVID_NONE = 0x0000
OFPTT_MAX = 0xFE
OFPTT_ALL = 0xFF
U64_MAX = 0xFFFFFFFFFFFFFFFF
ONF_EXPERIMENTER = 0x4F4E4600


def name_of(kind: type[IntEnum], value: int) -> str:
    """Name a number: `name_of(OFPFC, 0)` is "ADD"; an unknown one is given in decimal."""
    try:
        return kind(value).name
    except ValueError:
        return str(value)


class OFPT(IntEnum):
    """Message types (7.1.1)."""

    HELLO = 0
    ERROR = 1
    ECHO_REQUEST = 2
    ECHO_REPLY = 3
    EXPERIMENTER = 4
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
    GROUP_MOD = 15
    PORT_MOD = 16
    TABLE_MOD = 17
    MULTIPART_REQUEST = 18
    MULTIPART_REPLY = 19
    BARRIER_REQUEST = 20
    BARRIER_REPLY = 21
    QUEUE_GET_CONFIG_REQUEST = 22
    QUEUE_GET_CONFIG_REPLY = 23
    ROLE_REQUEST = 24
    ROLE_REPLY = 25
    GET_ASYNC_REQUEST = 26
    GET_ASYNC_REPLY = 27
    SET_ASYNC = 28
    METER_MOD = 29


class OFPMP(IntEnum):
    """Multipart types (7.3.5)."""

    DESC = 0
    FLOW = 1
    AGGREGATE = 2
    TABLE = 3
    PORT_STATS = 4
    QUEUE = 5
    GROUP = 6
    GROUP_DESC = 7
    GROUP_FEATURES = 8
    METER = 9
    METER_CONFIG = 10
    METER_FEATURES = 11
    TABLE_FEATURES = 12
    PORT_DESC = 13
    EXPERIMENTER = 0xFFFF


class OFPMPF(IntFlag):
    """Multipart flags, the same in requests and replies (7.3.5)."""

    MORE = 1


class OFPP(IntEnum):
    """Reserved port numbers (7.2.1)."""

    MAX = 0xFFFFFF00
    IN_PORT = 0xFFFFFFF8
    TABLE = 0xFFFFFFF9
    NORMAL = 0xFFFFFFFA
    FLOOD = 0xFFFFFFFB
    ALL = 0xFFFFFFFC
    CONTROLLER = 0xFFFFFFFD
    LOCAL = 0xFFFFFFFE
    ANY = 0xFFFFFFFF


class OFPG(IntEnum):
    """Reserved group numbers (7.3.4.2)."""

    MAX = 0xFFFFFF00
    ALL = 0xFFFFFFFC
    ANY = 0xFFFFFFFF


class OFPM(IntEnum):
    """Reserved meter numbers (7.3.4.4)."""

    MAX = 0xFFFF0000
    SLOWPATH = 0xFFFFFFFD
    CONTROLLER = 0xFFFFFFFE
    ALL = 0xFFFFFFFF


class OFPPC(IntFlag):
    """Port configuration (7.2.1)."""

    PORT_DOWN = 1 << 0
    NO_RECV = 1 << 2
    NO_FWD = 1 << 5
    NO_PACKET_IN = 1 << 6


class OFPPS(IntFlag):
    """Port state (7.2.1)."""

    LINK_DOWN = 1 << 0
    BLOCKED = 1 << 1
    LIVE = 1 << 2


class OFPPF(IntFlag):
    """Port features (7.2.1)."""

    PF_10MB_HD = 1 << 0
    PF_10MB_FD = 1 << 1
    PF_100MB_HD = 1 << 2
    PF_100MB_FD = 1 << 3
    PF_1GB_HD = 1 << 4
    PF_1GB_FD = 1 << 5
    PF_10GB_FD = 1 << 6
    PF_40GB_FD = 1 << 7
    PF_100GB_FD = 1 << 8
    PF_1TB_FD = 1 << 9
    OTHER = 1 << 10
    COPPER = 1 << 11
    FIBER = 1 << 12
    AUTONEG = 1 << 13
    PAUSE = 1 << 14
    PAUSE_ASYM = 1 << 15


class OFPPR(IntEnum):
    """Why a port status was sent (7.4.3)."""

    ADD = 0
    DELETE = 1
    MODIFY = 2


class OFPC(IntFlag):
    """Capabilities (7.3.1)."""

    FLOW_STATS = 1 << 0
    TABLE_STATS = 1 << 1
    PORT_STATS = 1 << 2
    GROUP_STATS = 1 << 3
    IP_REASM = 1 << 5
    QUEUE_STATS = 1 << 6
    PORT_BLOCKED = 1 << 8


class OFPCFrag(IntEnum):
    """Handling of IP fragments, the flags of a switch configuration: OFPC_FRAG_* (7.3.2)."""

    NORMAL = 0
    DROP = 1
    REASM = 2
    MASK = 3


class OFPFC(IntEnum):
    """Flow-mod commands (7.3.4.1)."""

    ADD = 0
    MODIFY = 1
    MODIFY_STRICT = 2
    DELETE = 3
    DELETE_STRICT = 4


class OFPFF(IntFlag):
    """Flow-mod flags (7.3.4.1)."""

    SEND_FLOW_REM = 1 << 0
    CHECK_OVERLAP = 1 << 1
    RESET_COUNTS = 1 << 2
    NO_PKT_COUNTS = 1 << 3
    NO_BYT_COUNTS = 1 << 4


class OFPRR(IntEnum):
    """Why a flow was removed (7.4.2)."""

    IDLE_TIMEOUT = 0
    HARD_TIMEOUT = 1
    DELETE = 2
    GROUP_DELETE = 3


class OFPR(IntEnum):
    """Why a packet was sent to the controller (7.4.1)."""

    NO_MATCH = 0
    ACTION = 1
    INVALID_TTL = 2


class OFPGC(IntEnum):
    """Group-mod commands (7.3.4.2)."""

    ADD = 0
    MODIFY = 1
    DELETE = 2


class OFPGT(IntEnum):
    """Group types (7.3.4.2)."""

    ALL = 0
    SELECT = 1
    INDIRECT = 2
    FF = 3


class OFPGFC(IntFlag):
    """Group capabilities (7.3.5.10)."""

    SELECT_WEIGHT = 1 << 0
    SELECT_LIVENESS = 1 << 1
    CHAINING = 1 << 2
    CHAINING_CHECKS = 1 << 3


class OFPMC(IntEnum):
    """Meter-mod commands (7.3.4.4)."""

    ADD = 0
    MODIFY = 1
    DELETE = 2


class OFPMF(IntFlag):
    """Meter flags (7.3.4.4)."""

    KBPS = 1 << 0
    PKTPS = 1 << 1
    BURST = 1 << 2
    STATS = 1 << 3


class OFPMBT(IntEnum):
    """Meter band types (7.3.4.4)."""

    DROP = 1
    DSCP_REMARK = 2
    EXPERIMENTER = 0xFFFF


class OFPQT(IntEnum):
    """Queue property types (7.2.2)."""

    MIN_RATE = 1
    MAX_RATE = 2
    EXPERIMENTER = 0xFFFF


class OFPTFPT(IntEnum):
    """Table feature property types (7.3.5.5.2)."""

    INSTRUCTIONS = 0
    INSTRUCTIONS_MISS = 1
    NEXT_TABLES = 2
    NEXT_TABLES_MISS = 3
    WRITE_ACTIONS = 4
    WRITE_ACTIONS_MISS = 5
    APPLY_ACTIONS = 6
    APPLY_ACTIONS_MISS = 7
    MATCH = 8
    WILDCARDS = 10
    WRITE_SETFIELD = 12
    WRITE_SETFIELD_MISS = 13
    APPLY_SETFIELD = 14
    APPLY_SETFIELD_MISS = 15
    EXPERIMENTER = 0xFFFE
    EXPERIMENTER_MISS = 0xFFFF


class OFPCR(IntEnum):
    """Controller roles: OFPCR_ROLE_* (7.3.9)."""

    NOCHANGE = 0
    EQUAL = 1
    MASTER = 2
    SLAVE = 3


class OFPAT(IntEnum):
    """Action types (7.2.5)."""

    OUTPUT = 0
    COPY_TTL_OUT = 11
    COPY_TTL_IN = 12
    SET_MPLS_TTL = 15
    DEC_MPLS_TTL = 16
    PUSH_VLAN = 17
    POP_VLAN = 18
    PUSH_MPLS = 19
    POP_MPLS = 20
    SET_QUEUE = 21
    GROUP = 22
    SET_NW_TTL = 23
    DEC_NW_TTL = 24
    SET_FIELD = 25
    PUSH_PBB = 26
    POP_PBB = 27
    EXPERIMENTER = 0xFFFF


class OFPIT(IntEnum):
    """Instruction types (7.2.4)."""

    GOTO_TABLE = 1
    WRITE_METADATA = 2
    WRITE_ACTIONS = 3
    APPLY_ACTIONS = 4
    CLEAR_ACTIONS = 5
    METER = 6
    EXPERIMENTER = 0xFFFF


class OFPXMC(IntEnum):
    """Classes of match fields (7.2.3.3)."""

    NXM_0 = 0x0000
    NXM_1 = 0x0001
    OPENFLOW_BASIC = 0x8000
    EXPERIMENTER = 0xFFFF


class OFPBCT(IntEnum):
    """Bundle control types (ONF extension 230)."""

    OPEN_REQUEST = 0
    OPEN_REPLY = 1
    CLOSE_REQUEST = 2
    CLOSE_REPLY = 3
    COMMIT_REQUEST = 4
    COMMIT_REPLY = 5
    DISCARD_REQUEST = 6
    DISCARD_REPLY = 7


class OFPBF(IntFlag):
    """Bundle flags (ONF extension 230)."""

    ATOMIC = 1 << 0
    ORDERED = 1 << 1


class ONFT(IntEnum):
    """The ONF's experimenter types for 1.3 (ONF extension 230)."""

    BUNDLE_CONTROL = 2300
    BUNDLE_ADD = 2301
