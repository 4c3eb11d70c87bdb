"""Errors of OpenFlow 1.0: our codes are those of 1.3; here is what they are in 1.0 (1.0.2, section 5.4.4).

A code that 1.0 has under the same or its older name is that one; another becomes the nearest.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from vswitchd.ofproto.errors import (
    OFPBAC,
    OFPBRC,
    OFPET,
    OFPFMFC,
    OFPPMFC,
    OFError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


class OFPET10(IntEnum):
    """Error types."""

    HELLO_FAILED = 0
    BAD_REQUEST = 1
    BAD_ACTION = 2
    FLOW_MOD_FAILED = 3
    PORT_MOD_FAILED = 4
    QUEUE_OP_FAILED = 5


class OFPHFC10(IntEnum):
    """Hello failed."""

    INCOMPATIBLE = 0
    EPERM = 1


class OFPBRC10(IntEnum):
    """Bad request."""

    BAD_VERSION = 0
    BAD_TYPE = 1
    BAD_STAT = 2
    BAD_VENDOR = 3
    BAD_SUBTYPE = 4
    EPERM = 5
    BAD_LEN = 6
    BUFFER_EMPTY = 7
    BUFFER_UNKNOWN = 8


class OFPBAC10(IntEnum):
    """Bad action."""

    BAD_TYPE = 0
    BAD_LEN = 1
    BAD_VENDOR = 2
    BAD_VENDOR_TYPE = 3
    BAD_OUT_PORT = 4
    BAD_ARGUMENT = 5
    EPERM = 6
    TOO_MANY = 7
    BAD_QUEUE = 8


class OFPFMFC10(IntEnum):
    """Flow mod failed."""

    ALL_TABLES_FULL = 0
    OVERLAP = 1
    EPERM = 2
    BAD_EMERG_TIMEOUT = 3
    BAD_COMMAND = 4
    UNSUPPORTED = 5


class OFPPMFC10(IntEnum):
    """Port mod failed."""

    BAD_PORT = 0
    BAD_HW_ADDR = 1


class OFPQOFC10(IntEnum):
    """Queue operation failed."""

    BAD_PORT = 0
    BAD_QUEUE = 1
    EPERM = 2


CODES_10: dict[OFPET10, type[IntEnum]] = {
    OFPET10.HELLO_FAILED: OFPHFC10,
    OFPET10.BAD_REQUEST: OFPBRC10,
    OFPET10.BAD_ACTION: OFPBAC10,
    OFPET10.FLOW_MOD_FAILED: OFPFMFC10,
    OFPET10.PORT_MOD_FAILED: OFPPMFC10,
    OFPET10.QUEUE_OP_FAILED: OFPQOFC10,
}
_TYPE_OF = {codes: kind for kind, codes in CODES_10.items()}
# By type of 1.3: the codes by their numbers, and what becomes of those that are not there.
_BY_TYPE: dict[OFPET, tuple[Mapping[int, IntEnum], IntEnum]] = {
    OFPET.HELLO_FAILED: (dict(enumerate(OFPHFC10)), OFPHFC10.INCOMPATIBLE),
    OFPET.BAD_REQUEST: (
        dict(enumerate(OFPBRC10))
        | {
            OFPBRC.BAD_PACKET: OFPBRC10.BAD_LEN,
            OFPBRC.MULTIPART_BUFFER_OVERFLOW: OFPBRC10.BAD_STAT,
        },
        OFPBRC10.EPERM,
    ),
    OFPET.BAD_ACTION: (
        dict(enumerate(OFPBAC10))
        | {OFPBAC.BAD_OUT_GROUP: OFPBAC10.BAD_OUT_PORT, OFPBAC.BAD_SET_LEN: OFPBAC10.BAD_LEN},
        OFPBAC10.BAD_ARGUMENT,
    ),
    OFPET.FLOW_MOD_FAILED: (
        {
            OFPFMFC.TABLE_FULL: OFPFMFC10.ALL_TABLES_FULL,
            OFPFMFC.OVERLAP: OFPFMFC10.OVERLAP,
            OFPFMFC.EPERM: OFPFMFC10.EPERM,
            OFPFMFC.BAD_TIMEOUT: OFPFMFC10.BAD_EMERG_TIMEOUT,
            OFPFMFC.BAD_COMMAND: OFPFMFC10.BAD_COMMAND,
        },
        OFPFMFC10.UNSUPPORTED,
    ),
    OFPET.BAD_INSTRUCTION: ({}, OFPFMFC10.UNSUPPORTED),
    OFPET.BAD_MATCH: ({}, OFPFMFC10.UNSUPPORTED),
    OFPET.PORT_MOD_FAILED: (
        {OFPPMFC.BAD_PORT: OFPPMFC10.BAD_PORT, OFPPMFC.BAD_HW_ADDR: OFPPMFC10.BAD_HW_ADDR},
        OFPBRC10.EPERM,
    ),
    OFPET.QUEUE_OP_FAILED: (dict(enumerate(OFPQOFC10)), OFPQOFC10.EPERM),
}


def error10(error: OFError) -> tuple[int, int]:
    """Return type and code of an error in 1.0."""
    codes, other = _BY_TYPE.get(error.type, ({}, OFPBRC10.EPERM))
    code = codes.get(int(error.code), other)
    return int(_TYPE_OF[code.__class__]), int(code)


def error_name10(kind: int, code: int) -> str:
    """Name an error of 1.0: `error_name10(3, 1)` is "OFPFMFC_OVERLAP"; unknown ones keep their numbers."""
    codes = CODES_10.get(OFPET10(kind)) if kind in OFPET10.__members__.values() else None
    if codes is None or code not in codes.__members__.values():
        return f"type {kind}, code {code}"
    return f"{codes.__name__.removesuffix('10')}_{codes(code).name}"
