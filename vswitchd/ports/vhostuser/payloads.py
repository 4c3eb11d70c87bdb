"""Payloads of vhost-user requests: their layouts, and what they become once their bytes are checked.

Numbers are in the machine's byte order, as the protocol says. Decoders raise RequestError and look at nothing but the bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from vswitchd.ports.vhostuser.errors import RequestError
from vswitchd.ports.vhostuser.memory import MAX_REGIONS, Region

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

U64_LAYOUT = struct.Struct("=Q")
STATE_LAYOUT = struct.Struct("=II")
IOTLB_LAYOUT = struct.Struct("=QQQBB6x")  # struct vhost_iotlb_msg, with its padding
_ADDR = struct.Struct("=IIQQQQ")
_COUNT = struct.Struct("=II")
_REGION = struct.Struct("=QQQQ")
_LOG = struct.Struct("=QQ")
_INFLIGHT = struct.Struct("=QQHH")
_INFLIGHT_PADDED = _INFLIGHT.size + 4  # as a C structure: what QEMU sends
MAX_PAYLOAD = _COUNT.size + MAX_REGIONS * _REGION.size
NOFD = 1 << 8
_READY = U64_LAYOUT.pack(0)


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
    """Where the three parts of a ring are: addresses of the front-end, or IOVAs under ACCESS_PLATFORM."""

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


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The front-end is ready for faults in the memory that it was told of (post-copy)."""


@dataclass(frozen=True, slots=True)
class LogArea:
    """Where in its file the migration log is."""

    size: int
    offset: int


@dataclass(frozen=True, slots=True)
class IotlbMessage:
    """A translation that is new, or gone."""

    iova: int
    size: int
    uva: int
    perm: int
    kind: int


@dataclass(frozen=True, slots=True)
class InflightArea:
    """Where in its file the record of chains in flight is, and for how many rings of which size."""

    size: int
    offset: int
    queues: int
    queue_size: int
    padding: int = 0

    def encode(self) -> bytes:
        """Return the bytes of the payload, as long as those it was decoded from."""
        return _INFLIGHT.pack(self.size, self.offset, self.queues, self.queue_size) + bytes(self.padding)


Body = (
    Empty
    | U64
    | VringState
    | VringAddr
    | VringFd
    | MemoryTable
    | Region
    | Confirmed
    | LogArea
    | IotlbMessage
    | InflightArea
)


def _size(payload: bytes, size: int) -> None:
    if len(payload) != size:
        raise RequestError(f"payload of {len(payload)} bytes instead of {size}")


def _empty(payload: bytes) -> Body:
    _size(payload, 0)
    return Empty()


def _u64(payload: bytes) -> Body:
    _size(payload, U64_LAYOUT.size)
    return U64(*U64_LAYOUT.unpack(payload))


def _state(payload: bytes) -> Body:
    _size(payload, STATE_LAYOUT.size)
    return VringState(*STATE_LAYOUT.unpack(payload))


def _addr(payload: bytes) -> Body:
    _size(payload, _ADDR.size)
    return VringAddr(*_ADDR.unpack(payload))


def _vring_fd(payload: bytes) -> Body:
    _size(payload, U64_LAYOUT.size)
    (value,) = U64_LAYOUT.unpack(payload)
    if value >> 9:
        raise RequestError(f"unknown bits in ring number {value:#x}")
    return VringFd(value & 0xFF, bool(value & NOFD))


def _memory(payload: bytes) -> Body:
    if len(payload) < _COUNT.size:
        raise RequestError(f"payload of {len(payload)} bytes for a memory table")
    count, _padding = _COUNT.unpack_from(payload)
    if payload == _READY:
        return Confirmed()
    if not 1 <= count <= MAX_REGIONS:
        raise RequestError(f"{count} memory regions instead of 1 to {MAX_REGIONS}")
    _size(payload, _COUNT.size + count * _REGION.size)
    rows = _REGION.iter_unpack(payload[_COUNT.size :])
    return MemoryTable(tuple(Region.of_wire(*row) for row in rows))


def _region(payload: bytes) -> Body:
    if payload == _READY:
        return Confirmed()
    _size(payload, U64_LAYOUT.size + _REGION.size)
    return Region.of_wire(*_REGION.unpack_from(payload, U64_LAYOUT.size))


def _log(payload: bytes) -> Body:
    _size(payload, _LOG.size)
    return LogArea(*_LOG.unpack(payload))


def _iotlb(payload: bytes) -> Body:
    _size(payload, IOTLB_LAYOUT.size)
    return IotlbMessage(*IOTLB_LAYOUT.unpack(payload))


def _inflight(payload: bytes) -> Body:
    """Take it with and without the padding that C gives the structure: the specification shows none."""
    if len(payload) != _INFLIGHT.size:
        _size(payload, _INFLIGHT_PADDED)
    size, offset, queues, queue_size = _INFLIGHT.unpack_from(payload)
    return InflightArea(size, offset, queues, queue_size, len(payload) - _INFLIGHT.size)


def encode_regions(regions: Sequence[Region]) -> bytes:
    """Return a memory table as SET_MEM_TABLE has it."""
    rows = (_REGION.pack(region.gpa, region.size, region.uva, region.offset) for region in regions)
    return _COUNT.pack(len(regions), 0) + b"".join(rows)


def encode_region(region: Region) -> bytes:
    """Return a region as ADD_MEM_REG has it."""
    return U64_LAYOUT.pack(0) + _REGION.pack(region.gpa, region.size, region.uva, region.offset)


class Payload(Enum):
    """Payload layouts and their decoders."""

    EMPTY = (_empty,)
    U64 = (_u64,)
    STATE = (_state,)
    ADDR = (_addr,)
    VRING_FD = (_vring_fd,)
    MEMORY = (_memory,)
    REGION = (_region,)
    LOG = (_log,)
    IOTLB = (_iotlb,)
    INFLIGHT = (_inflight,)

    def decode(self, payload: bytes) -> Body:
        """Parse; raises RequestError."""
        decoder: Callable[[bytes], Body] = self.value[0]
        return decoder(payload)
