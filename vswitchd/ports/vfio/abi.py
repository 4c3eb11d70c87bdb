"""The kernel's VFIO interface as data: request numbers, flags and struct layouts of <linux/vfio.h>.

Every struct begins with argsz (its size as we know it) and most with flags. Answers that may carry a chain of
capabilities are asked for with room for it, and again with more when the kernel says so.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Protocol

VFIO_PATH = "/dev/vfio/vfio"
API_VERSION = 0
TYPE1V2_IOMMU = 3


class Request(IntEnum):
    """Request numbers: _IO(';', 100 + n). 12 and 13 mean another thing on a container than on a device."""

    GET_API_VERSION = 0x3B64
    CHECK_EXTENSION = 0x3B65
    SET_IOMMU = 0x3B66
    GROUP_GET_STATUS = 0x3B67
    GROUP_SET_CONTAINER = 0x3B68
    GROUP_UNSET_CONTAINER = 0x3B69
    GROUP_GET_DEVICE_FD = 0x3B6A
    DEVICE_GET_INFO = 0x3B6B
    DEVICE_GET_REGION_INFO = 0x3B6C
    DEVICE_GET_IRQ_INFO = 0x3B6D
    DEVICE_SET_IRQS = 0x3B6E
    DEVICE_RESET = 0x3B6F
    IOMMU_GET_INFO = 0x3B70
    IOMMU_MAP_DMA = 0x3B71
    IOMMU_UNMAP_DMA = 0x3B72


class GroupFlag(IntFlag):
    """vfio_group_status.flags."""

    VIABLE = 1
    CONTAINER_SET = 2


class DeviceFlag(IntFlag):
    """vfio_device_info.flags."""

    RESET = 1
    PCI = 2


class RegionFlag(IntFlag):
    """vfio_region_info.flags."""

    READ = 1
    WRITE = 2
    MMAP = 4
    CAPS = 8


class IrqFlag(IntFlag):
    """vfio_irq_info.flags."""

    EVENTFD = 1
    MASKABLE = 2
    AUTOMASKED = 4
    NORESIZE = 8


class IrqSet(IntFlag):
    """vfio_irq_set.flags."""

    DATA_NONE = 1
    DATA_BOOL = 2
    DATA_EVENTFD = 4
    ACTION_MASK = 8
    ACTION_UNMASK = 16
    ACTION_TRIGGER = 32


class DmaFlag(IntFlag):
    """vfio_iommu_type1_dma_map.flags."""

    READ = 1
    WRITE = 2


class Irq(IntEnum):
    """Interrupt indices of a PCI device."""

    INTX = 0
    MSI = 1
    MSIX = 2
    ERR = 3
    REQ = 4


CONFIG_REGION = 7
"""Region index of config space; 0 to 5 are the BARs."""
IOMMU_INFO_PGSIZES = 1
IOMMU_INFO_CAPS = 2
CAP_IOVA_RANGE = 1
CAP_DMA_AVAIL = 3
CAP_SPARSE_MMAP = 1
CAP_MSIX_MAPPABLE = 3

GROUP_STATUS = struct.Struct("=II")  # argsz flags
DEVICE_INFO = struct.Struct("=IIII")  # argsz flags num_regions num_irqs
REGION_INFO = struct.Struct("=IIIIQQ")  # argsz flags index cap_offset size offset
IRQ_INFO = struct.Struct("=IIII")  # argsz flags index count
IRQ_SET = struct.Struct("=IIIII")  # argsz flags index start count, then s32 eventfds
IOMMU_INFO = struct.Struct("=IIQI")  # argsz flags iova_pgsizes cap_offset
DMA_MAP = struct.Struct("=IIQQQ")  # argsz flags vaddr iova size
DMA_UNMAP = struct.Struct("=IIQQ")  # argsz flags iova size
CAP_HEADER = struct.Struct("=HHI")  # id version next
_RANGE = struct.Struct("=QQ")
_WORD = struct.Struct("=I")
_ROOM = 2048
_ROOM_MAX = 1 << 20


class Asks(Protocol):
    """What of the kernel (kernel.py) is needed here."""

    def ioctl(self, fd: int, request: int, argument: int | bytearray = 0) -> int:
        """Make the call; a bytearray is changed in place. Raises OSError."""


@dataclass(frozen=True, slots=True)
class Cap:
    """One link of a chain of capabilities: its id and what follows its header."""

    id: int
    body: bytes


def ask(kernel: Asks, fd: int, request: Request, fixed: bytes) -> bytes:
    """Ask for a struct that may carry capabilities; `fixed` is its fixed part, argsz is filled in here.

    Returns the whole answer. Raises OSError.
    """
    room = _ROOM
    while True:
        answer = bytearray(fixed) + bytes(room - len(fixed))
        _WORD.pack_into(answer, 0, room)
        kernel.ioctl(fd, request, answer)
        needed = _WORD.unpack_from(answer)[0]
        if needed <= room or needed > _ROOM_MAX:
            return bytes(answer)
        room = needed


def caps(answer: bytes, first: int) -> Iterator[Cap]:
    """Walk the chain that begins at offset `first` of an answer (0: none). A chain that does not rise ends."""
    at = first
    while 0 < at <= len(answer) - CAP_HEADER.size:
        ident, _version, following = CAP_HEADER.unpack_from(answer, at)
        end = following if following > at else len(answer)
        yield Cap(ident, answer[at + CAP_HEADER.size : end])
        if following <= at:
            return
        at = following


def ranges(body: bytes) -> tuple[tuple[int, int], ...]:
    """Pairs of u64 behind a count and 4 bytes: (first, last) of an IOVA range, (offset, size) of an mmap area."""
    if len(body) < 8:
        return ()
    room = (len(body) - 8) // _RANGE.size
    count = min(_WORD.unpack_from(body)[0], room)
    return tuple(_RANGE.unpack_from(body, 8 + i * _RANGE.size) for i in range(count))
