"""The message table: one row per request of the vhost-user protocol that a network back-end knows.

Everything that can be checked of a request without knowing the device stands in its row: payload layout,
descriptors, needed features, whether a ring is named, what is answered. The engine (session.py) checks all of
it before a handler runs, and the malformed-message tests are generated from the same rows. Numbers are in the
machine's byte order, as the protocol says.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import TYPE_CHECKING

from vswitchd.ports.vhostuser.errors import RequestError
from vswitchd.ports.vhostuser.features import Protocol, Virtio
from vswitchd.ports.vhostuser.memory import MAX_REGIONS, Region

if TYPE_CHECKING:
    from collections.abc import Callable

HEADER = struct.Struct("=III")
VERSION = 1
VERSION_MASK, REPLY, NEED_REPLY = 3, 4, 8

_U64 = struct.Struct("=Q")
_STATE = struct.Struct("=II")
_ADDR = struct.Struct("=IIQQQQ")
_COUNT = struct.Struct("=II")
_REGION = struct.Struct("=QQQQ")
MAX_PAYLOAD = _COUNT.size + MAX_REGIONS * _REGION.size
NOFD = 1 << 8


class Request(IntEnum):
    """Requests of the front-end (vhost-user, Front-end message types)."""

    GET_FEATURES = 1
    SET_FEATURES = 2
    SET_OWNER = 3
    RESET_OWNER = 4
    SET_MEM_TABLE = 5
    SET_VRING_NUM = 8
    SET_VRING_ADDR = 9
    SET_VRING_BASE = 10
    GET_VRING_BASE = 11
    SET_VRING_KICK = 12
    SET_VRING_CALL = 13
    SET_VRING_ERR = 14
    GET_PROTOCOL_FEATURES = 15
    SET_PROTOCOL_FEATURES = 16
    GET_QUEUE_NUM = 17
    SET_VRING_ENABLE = 18
    NET_SET_MTU = 20
    RESET_DEVICE = 34
    GET_MAX_MEM_SLOTS = 36
    ADD_MEM_REG = 37
    REM_MEM_REG = 38
    SET_STATUS = 39
    GET_STATUS = 40


@dataclass(frozen=True, slots=True)
class Empty:
    """No payload."""


@dataclass(frozen=True, slots=True)
class U64:
    """A number."""

    value: int


@dataclass(frozen=True, slots=True)
class VringState:
    """A ring and a number."""

    index: int
    num: int


@dataclass(frozen=True, slots=True)
class VringAddr:
    """Where the three parts of a ring are, as addresses of the front-end."""

    index: int
    flags: int
    desc: int
    used: int
    avail: int
    log: int


@dataclass(frozen=True, slots=True)
class VringFd:
    """A ring, and whether a descriptor comes with the message."""

    index: int
    nofd: bool


@dataclass(frozen=True, slots=True)
class MemoryTable:
    """All regions of the guest's memory."""

    regions: tuple[Region, ...]


Body = Empty | U64 | VringState | VringAddr | VringFd | MemoryTable | Region


def _size(payload: bytes, size: int) -> None:
    if len(payload) != size:
        raise RequestError(f"payload of {len(payload)} bytes instead of {size}")


def _empty(payload: bytes) -> Body:
    _size(payload, 0)
    return Empty()


def _u64(payload: bytes) -> Body:
    _size(payload, _U64.size)
    return U64(*_U64.unpack(payload))


def _state(payload: bytes) -> Body:
    _size(payload, _STATE.size)
    return VringState(*_STATE.unpack(payload))


def _addr(payload: bytes) -> Body:
    _size(payload, _ADDR.size)
    return VringAddr(*_ADDR.unpack(payload))


def _vring_fd(payload: bytes) -> Body:
    _size(payload, _U64.size)
    (value,) = _U64.unpack(payload)
    if value >> 9:
        raise RequestError(f"unknown bits in ring number {value:#x}")
    return VringFd(value & 0xFF, bool(value & NOFD))


def _memory(payload: bytes) -> Body:
    if len(payload) < _COUNT.size:
        raise RequestError(f"payload of {len(payload)} bytes for a memory table")
    count, _padding = _COUNT.unpack_from(payload)
    if not 1 <= count <= MAX_REGIONS:
        raise RequestError(f"{count} memory regions instead of 1 to {MAX_REGIONS}")
    _size(payload, _COUNT.size + count * _REGION.size)
    rows = _REGION.iter_unpack(payload[_COUNT.size :])
    return MemoryTable(tuple(Region.of_wire(*row) for row in rows))


def _region(payload: bytes) -> Body:
    _size(payload, _U64.size + _REGION.size)
    return Region.of_wire(*_REGION.unpack_from(payload, _U64.size))


class Payload(Enum):
    """Payload layouts and their decoders."""

    EMPTY = (_empty,)
    U64 = (_u64,)
    STATE = (_state,)
    ADDR = (_addr,)
    VRING_FD = (_vring_fd,)
    MEMORY = (_memory,)
    REGION = (_region,)

    def decode(self, payload: bytes) -> Body:
        """Parse; raises RequestError."""
        decoder: Callable[[bytes], Body] = self.value[0]
        return decoder(payload)


class Fds(Enum):
    """How many descriptors come with a message."""

    NONE = "none"
    ONE = "one"
    ONE_OR_NONE = "one or none"
    UNLESS_NOFD = "one unless the NOFD bit is set"
    PER_REGION = "one per region"

    def allows(self, n: int, body: Body) -> bool:
        """Say whether n descriptors fit."""
        if self is Fds.ONE_OR_NONE:
            return n <= 1
        if isinstance(body, VringFd):
            return n == (0 if body.nofd else 1)
        if isinstance(body, MemoryTable):
            return n == len(body.regions)
        return n == (1 if self is Fds.ONE else 0)


class Answer(Enum):
    """What is answered: an acknowledgement when asked for, or a payload of its own."""

    ACK = "ack"
    U64 = "u64"
    STATE = "vring state"


@dataclass(frozen=True, slots=True)
class Row:
    """What the engine checks of a request."""

    request: Request
    payload: Payload = Payload.EMPTY
    fds: Fds = Fds.NONE
    answer: Answer = Answer.ACK
    feature: Virtio | None = None
    protocol: Protocol | None = None

    @property
    def names_ring(self) -> bool:
        """Whether the payload holds a ring index."""
        return self.payload in (Payload.STATE, Payload.ADDR, Payload.VRING_FD)


_ROWS = (
    Row(Request.GET_FEATURES, answer=Answer.U64),
    Row(Request.SET_FEATURES, Payload.U64),
    Row(Request.SET_OWNER),
    Row(Request.RESET_OWNER),
    Row(Request.SET_MEM_TABLE, Payload.MEMORY, Fds.PER_REGION),
    Row(Request.SET_VRING_NUM, Payload.STATE),
    Row(Request.SET_VRING_ADDR, Payload.ADDR),
    Row(Request.SET_VRING_BASE, Payload.STATE),
    Row(Request.GET_VRING_BASE, Payload.STATE, answer=Answer.STATE),
    Row(Request.SET_VRING_KICK, Payload.VRING_FD, Fds.UNLESS_NOFD),
    Row(Request.SET_VRING_CALL, Payload.VRING_FD, Fds.UNLESS_NOFD),
    Row(Request.SET_VRING_ERR, Payload.VRING_FD, Fds.UNLESS_NOFD),
    Row(Request.GET_PROTOCOL_FEATURES, answer=Answer.U64),
    Row(Request.SET_PROTOCOL_FEATURES, Payload.U64),
    Row(Request.GET_QUEUE_NUM, answer=Answer.U64, protocol=Protocol.MQ),
    Row(Request.SET_VRING_ENABLE, Payload.STATE, feature=Virtio.PROTOCOL_FEATURES),
    Row(Request.NET_SET_MTU, Payload.U64, protocol=Protocol.NET_MTU),
    Row(Request.RESET_DEVICE, protocol=Protocol.RESET_DEVICE),
    Row(Request.GET_MAX_MEM_SLOTS, answer=Answer.U64, protocol=Protocol.CONFIGURE_MEM_SLOTS),
    Row(Request.ADD_MEM_REG, Payload.REGION, Fds.ONE, protocol=Protocol.CONFIGURE_MEM_SLOTS),
    # "the back-end MAY accept messages with one file descriptor", which is closed unused
    Row(Request.REM_MEM_REG, Payload.REGION, Fds.ONE_OR_NONE, protocol=Protocol.CONFIGURE_MEM_SLOTS),
    Row(Request.SET_STATUS, Payload.U64, protocol=Protocol.STATUS),
    Row(Request.GET_STATUS, answer=Answer.U64, protocol=Protocol.STATUS),
)
TABLE: dict[int, Row] = {row.request: row for row in _ROWS}


def reply(request: int, payload: bytes) -> bytes:
    """Return the bytes of an answer."""
    return HEADER.pack(request, VERSION | REPLY, len(payload)) + payload


def reply_u64(request: int, value: int) -> bytes:
    """Return an answer that is a number; also acknowledgement (0) and refusal (1)."""
    return reply(request, _U64.pack(value))


def reply_state(request: int, index: int, num: int) -> bytes:
    """Return an answer that is a vring state."""
    return reply(request, _STATE.pack(index, num))
