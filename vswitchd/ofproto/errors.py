"""What goes wrong in OpenFlow: error types and codes (1.3.5, section 7.4.4) and their exceptions.

    OFError       a message that we refuse; has the type, code and data of the OFPT_ERROR to answer with
    EncodeError   a message of ours that cannot be written (a number out of its range, longer than 65535
    bytes)

Each enum of codes belongs to one type, so `OFError(OFPBRC.BAD_LEN)` says both.
"""

from __future__ import annotations

from enum import IntEnum

OFP_ERROR_DATA_MIN = 64


class OFPET(IntEnum):
    """Error types."""

    HELLO_FAILED = 0
    BAD_REQUEST = 1
    BAD_ACTION = 2
    BAD_INSTRUCTION = 3
    BAD_MATCH = 4
    FLOW_MOD_FAILED = 5
    GROUP_MOD_FAILED = 6
    PORT_MOD_FAILED = 7
    TABLE_MOD_FAILED = 8
    QUEUE_OP_FAILED = 9
    SWITCH_CONFIG_FAILED = 10
    ROLE_REQUEST_FAILED = 11
    METER_MOD_FAILED = 12
    TABLE_FEATURES_FAILED = 13
    EXPERIMENTER = 0xFFFF


class OFPHFC(IntEnum):
    """Hello failed."""

    INCOMPATIBLE = 0
    EPERM = 1


class OFPBRC(IntEnum):
    """Bad request."""

    BAD_VERSION = 0
    BAD_TYPE = 1
    BAD_MULTIPART = 2
    BAD_EXPERIMENTER = 3
    BAD_EXP_TYPE = 4
    EPERM = 5
    BAD_LEN = 6
    BUFFER_EMPTY = 7
    BUFFER_UNKNOWN = 8
    BAD_TABLE_ID = 9
    IS_SLAVE = 10
    BAD_PORT = 11
    BAD_PACKET = 12
    MULTIPART_BUFFER_OVERFLOW = 13


class OFPBAC(IntEnum):
    """Bad action."""

    BAD_TYPE = 0
    BAD_LEN = 1
    BAD_EXPERIMENTER = 2
    BAD_EXP_TYPE = 3
    BAD_OUT_PORT = 4
    BAD_ARGUMENT = 5
    EPERM = 6
    TOO_MANY = 7
    BAD_QUEUE = 8
    BAD_OUT_GROUP = 9
    MATCH_INCONSISTENT = 10
    UNSUPPORTED_ORDER = 11
    BAD_TAG = 12
    BAD_SET_TYPE = 13
    BAD_SET_LEN = 14
    BAD_SET_ARGUMENT = 15


class OFPBIC(IntEnum):
    """Bad instruction."""

    UNKNOWN_INST = 0
    UNSUP_INST = 1
    BAD_TABLE_ID = 2
    UNSUP_METADATA = 3
    UNSUP_METADATA_MASK = 4
    BAD_EXPERIMENTER = 5
    BAD_EXP_TYPE = 6
    BAD_LEN = 7
    EPERM = 8


class OFPBMC(IntEnum):
    """Bad match."""

    BAD_TYPE = 0
    BAD_LEN = 1
    BAD_TAG = 2
    BAD_DL_ADDR_MASK = 3
    BAD_NW_ADDR_MASK = 4
    BAD_WILDCARDS = 5
    BAD_FIELD = 6
    BAD_VALUE = 7
    BAD_MASK = 8
    BAD_PREREQ = 9
    DUP_FIELD = 10
    EPERM = 11


class OFPFMFC(IntEnum):
    """Flow mod failed."""

    UNKNOWN = 0
    TABLE_FULL = 1
    BAD_TABLE_ID = 2
    OVERLAP = 3
    EPERM = 4
    BAD_TIMEOUT = 5
    BAD_COMMAND = 6
    BAD_FLAGS = 7


class OFPGMFC(IntEnum):
    """Group mod failed."""

    GROUP_EXISTS = 0
    INVALID_GROUP = 1
    WEIGHT_UNSUPPORTED = 2
    OUT_OF_GROUPS = 3
    OUT_OF_BUCKETS = 4
    CHAINING_UNSUPPORTED = 5
    WATCH_UNSUPPORTED = 6
    LOOP = 7
    UNKNOWN_GROUP = 8
    CHAINED_GROUP = 9
    BAD_TYPE = 10
    BAD_COMMAND = 11
    BAD_BUCKET = 12
    BAD_WATCH = 13
    EPERM = 14


class OFPPMFC(IntEnum):
    """Port mod failed."""

    BAD_PORT = 0
    BAD_HW_ADDR = 1
    BAD_CONFIG = 2
    BAD_ADVERTISE = 3
    EPERM = 4


class OFPTMFC(IntEnum):
    """Table mod failed."""

    BAD_TABLE = 0
    BAD_CONFIG = 1
    EPERM = 2


class OFPQOFC(IntEnum):
    """Queue operation failed."""

    BAD_PORT = 0
    BAD_QUEUE = 1
    EPERM = 2


class OFPSCFC(IntEnum):
    """Switch configuration failed."""

    BAD_FLAGS = 0
    BAD_LEN = 1
    EPERM = 2


class OFPRRFC(IntEnum):
    """Role request failed."""

    STALE = 0
    UNSUP = 1
    BAD_ROLE = 2


class OFPMMFC(IntEnum):
    """Meter mod failed."""

    UNKNOWN = 0
    METER_EXISTS = 1
    INVALID_METER = 2
    UNKNOWN_METER = 3
    BAD_COMMAND = 4
    BAD_FLAGS = 5
    BAD_RATE = 6
    BAD_BURST = 7
    BAD_BAND = 8
    BAD_BAND_VALUE = 9
    OUT_OF_METERS = 10
    OUT_OF_BANDS = 11


class OFPTFFC(IntEnum):
    """Table features failed."""

    BAD_TABLE = 0
    BAD_METADATA = 1
    BAD_TYPE = 2
    BAD_LEN = 3
    BAD_ARGUMENT = 4
    EPERM = 5


class OFPBFC(IntEnum):
    """Bundle failed (ONF extension 230): codes of the ONF's experimenter error."""

    UNKNOWN = 2300
    EPERM = 2301
    BAD_ID = 2302
    BUNDLE_EXIST = 2303
    BUNDLE_CLOSED = 2304
    OUT_OF_BUNDLES = 2305
    BAD_TYPE = 2306
    BAD_FLAGS = 2307
    MSG_BAD_LEN = 2308
    MSG_BAD_XID = 2309
    MSG_UNSUP = 2310
    MSG_CONFLICT = 2311
    MSG_TOO_MANY = 2312
    MSG_FAILED = 2313
    TIMEOUT = 2314
    BUNDLE_IN_PROGRESS = 2315


CODES: dict[OFPET, type[IntEnum]] = {
    OFPET.HELLO_FAILED: OFPHFC,
    OFPET.BAD_REQUEST: OFPBRC,
    OFPET.BAD_ACTION: OFPBAC,
    OFPET.BAD_INSTRUCTION: OFPBIC,
    OFPET.BAD_MATCH: OFPBMC,
    OFPET.FLOW_MOD_FAILED: OFPFMFC,
    OFPET.GROUP_MOD_FAILED: OFPGMFC,
    OFPET.PORT_MOD_FAILED: OFPPMFC,
    OFPET.TABLE_MOD_FAILED: OFPTMFC,
    OFPET.QUEUE_OP_FAILED: OFPQOFC,
    OFPET.SWITCH_CONFIG_FAILED: OFPSCFC,
    OFPET.ROLE_REQUEST_FAILED: OFPRRFC,
    OFPET.METER_MOD_FAILED: OFPMMFC,
    OFPET.TABLE_FEATURES_FAILED: OFPTFFC,
    OFPET.EXPERIMENTER: OFPBFC,
}
_TYPE_OF = {codes: kind for kind, codes in CODES.items()}


def error_name(kind: int, code: int) -> str:
    """Name an error: `error_name(1, 6)` is "OFPBRC_BAD_LEN"; unknown ones keep their numbers."""
    codes = CODES.get(OFPET(kind)) if kind in OFPET.__members__.values() else None
    if codes is None or code not in codes.__members__.values():
        return f"type {kind}, code {code}"
    return f"{codes.__name__}_{codes(code).name}"


class OFError(Exception):
    """A refused message. `type` and `code` are those of OFPT_ERROR.

    `data` is what the answer carries (at least the first 64 bytes of the message, filled in by `decode()`;
    text for HELLO_FAILED), `xid` that of the refused message where it could be read, `detail` a line for our
    own log.
    """

    def __init__(self, code: IntEnum, detail: str = "", data: bytes = b"", xid: int = 0) -> None:
        super().__init__(detail)
        self.type = _TYPE_OF[code.__class__]
        self.code = code
        self.detail = detail
        self.data = data
        self.xid = xid

    def __str__(self) -> str:
        name = error_name(self.type, self.code)
        return f"{name}: {self.detail}" if self.detail else name


class EncodeError(ValueError):
    """A message of ours that the wire cannot carry; says which class and why."""
