"""BARs: what of a device's registers may be mapped, and where it is mapped.

The table of MSI-X vectors may lie in a BAR too. The kernel keeps it from us where it must: then only the pages around it
are mapped, as the sparse-mmap capability says, or, with a kernel that says nothing, as the device's own capability does.
"""

from __future__ import annotations

from dataclasses import dataclass

from vswitchd.ports.vfio import abi, errors
from vswitchd.ports.vfio.abi import RegionFlag, Request
from vswitchd.ports.vfio.kernel import Kernel, Mapping


@dataclass(frozen=True, slots=True)
class Region:
    """What the kernel says of one region of a device."""

    index: int
    flags: RegionFlag
    size: int
    offset: int
    """Where it begins in the device's file."""
    areas: tuple[tuple[int, int], ...]
    """(offset, size) of what may be mapped; empty: all of it, when flags say MMAP."""
    msix_mappable: bool


@dataclass(frozen=True, slots=True)
class MsixTable:
    """Where a device keeps its table of MSI-X vectors."""

    bar: int
    offset: int
    length: int


def read_region(kernel: Kernel, fd: int, index: int) -> Region:
    """Ask for one region. Raises OSError."""
    fixed = abi.REGION_INFO.pack(abi.REGION_INFO.size, 0, index, 0, 0, 0)
    answer = abi.ask(kernel, fd, Request.DEVICE_GET_REGION_INFO, fixed)
    _argsz, flags, _index, first, size, offset = abi.REGION_INFO.unpack_from(answer)
    areas: tuple[tuple[int, int], ...] = ()
    mappable = False
    for cap in abi.caps(answer, first) if flags & RegionFlag.CAPS else ():
        if cap.id == abi.CAP_SPARSE_MMAP:
            areas = tuple((at, room) for at, room in abi.ranges(cap.body) if room and at + room <= size)
        elif cap.id == abi.CAP_MSIX_MAPPABLE:
            mappable = True
    return Region(index, RegionFlag(flags), size, offset, areas, mappable)


def areas_of(region: Region, table: MsixTable | None, page: int) -> tuple[tuple[int, int], ...]:
    """(offset, size) of the pieces of a BAR to map; none where it cannot be."""
    if not region.flags & RegionFlag.MMAP or not region.size:
        return ()
    if region.areas:
        return region.areas
    if table is None or table.bar != region.index or region.msix_mappable:
        return ((0, region.size),)
    start = table.offset // page * page
    end = -(-(table.offset + table.length) // page) * page
    return tuple(
        (at, room) for at, room in ((0, min(start, region.size)), (end, region.size - end)) if room > 0
    )


@dataclass(frozen=True, slots=True)
class Bar:
    """One BAR of an open device. Its addresses are valid until the device is closed."""

    device: str
    index: int
    size: int
    """0: the device has none here."""
    pieces: tuple[tuple[int, int, Mapping], ...]
    """(offset, size, mapping) of what is mapped."""

    @property
    def address(self) -> int | None:
        """Virtual address of the BAR's first byte; None when that is not mapped."""
        return next((mapping.address for offset, _, mapping in self.pieces if offset == 0), None)

    @property
    def mapped(self) -> int:
        """How many bytes are mapped from `address` on."""
        return next((size for offset, size, _ in self.pieces if offset == 0), 0)

    def at(self, offset: int, length: int) -> int:
        """Virtual address of a part of the BAR, in one piece. Raises VfioError."""
        if offset < 0 or length < 0 or offset + length > self.size:
            raise errors.bar_too_small(self.device, self.index, self.size, offset + length)
        for start, size, mapping in self.pieces:
            if start <= offset and offset + length <= start + size:
                return mapping.address + offset - start
        raise errors.bar_unmappable(self.device, self.index)

    def close(self) -> None:
        """Unmap."""
        for _, _, mapping in self.pieces:
            mapping.close()


def map_bar(kernel: Kernel, fd: int, device: str, region: Region, table: MsixTable | None) -> Bar:
    """Map what may be mapped of a BAR. Raises VfioError, with nothing left mapped."""
    pieces: list[tuple[int, int, Mapping]] = []
    try:
        for offset, size in areas_of(region, table, kernel.page_size):
            pieces.append((offset, size, kernel.map(fd, region.offset + offset, size)))
    except OSError as error:
        for _, _, mapping in pieces:
            mapping.close()
        raise errors.refused(f"cannot map BAR {region.index} of {device}", error) from error
    return Bar(device, region.index, region.size, tuple(pieces))
