"""Guest memory as the front-end describes it: kinds of addresses, regions, translations, and checks before use.

Three kinds of addresses are three types, so that they cannot be mixed up. Addresses of our own are a fourth thing: pointers,
which stay inside device.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NewType

from vswitchd.ports.vhostuser.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

Gpa = NewType("Gpa", int)
"""Guest physical address: what descriptors hold without ACCESS_PLATFORM."""
Uva = NewType("Uva", int)
"""Address in the front-end's own space: what SET_VRING_ADDR holds without ACCESS_PLATFORM, and what an IOVA becomes."""
Iova = NewType("Iova", int)
"""Address that the guest programmed into its IOMMU: what descriptors and SET_VRING_ADDR hold under ACCESS_PLATFORM."""

MAX_REGIONS = 32  # VS_GUEST_REGIONS
MAX_MEMORY = 1 << 43
"""Bytes of all regions: 8 TB. Files may be sparse, and the process has 128 TB of addresses for all ports together."""
_TOP = 1 << 64


@dataclass(frozen=True, slots=True)
class Region:
    """A piece of guest memory: `size` bytes from `offset` of a file on. Not checked yet."""

    gpa: Gpa
    uva: Uva
    size: int
    offset: int

    @classmethod
    def of_wire(cls, gpa: int, size: int, uva: int, offset: int) -> Region:
        """Make a region from the fields in the order of the message."""
        return cls(Gpa(gpa), Uva(uva), size, offset)

    def same_place(self, other: Region) -> bool:
        """Say whether both name the same region (REM_MEM_REG ignores the offset)."""
        return (self.gpa, self.uva, self.size) == (other.gpa, other.uva, other.size)

    def __str__(self) -> str:
        return f"region {self.gpa:#x}+{self.size:#x}"


@dataclass(frozen=True, slots=True)
class Span:
    """Addresses from `first` to `last`, which is in it: so the last page of all has no end that overflows."""

    first: int
    last: int

    def overlaps(self, other: Span) -> bool:
        """Say whether any address is in both."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True, slots=True)
class Translation:
    """`size` bytes from an IOVA on are at this address of the front-end. Not checked yet."""

    iova: Iova
    size: int
    uva: Uva
    perm: int
    """READ, WRITE or both: what we may do."""

    @property
    def span(self) -> Span:
        """The IOVAs."""
        return Span(self.iova, self.iova + self.size - 1)


READ, WRITE = 1, 2


@dataclass(frozen=True, slots=True)
class Miss:
    """An IOVA that is not in the cache, and for what it is wanted."""

    iova: Iova
    perm: int


def check_translation(entry: Translation) -> None:
    """Raise RequestError unless the entry is whole and allows something. Whether it leads to memory, the table tells."""
    if entry.size == 0:
        raise RequestError(f"translation of {entry.iova:#x} is empty")
    if entry.iova + entry.size > _TOP or entry.uva + entry.size > _TOP:
        raise RequestError(f"translation {entry.iova:#x}+{entry.size:#x} wraps around")
    if entry.perm not in (READ, WRITE, READ | WRITE):
        raise RequestError(f"translation of {entry.iova:#x} has permissions {entry.perm:#x}")


def invalidated(iova: int, size: int) -> Span:
    """Return what an invalidation covers. What would wrap ends at the top, and a size of 0 is 2^64: more is gone, never less."""
    last = iova + (size or _TOP) - 1
    return Span(iova, min(last, _TOP - 1))


def _overlap(a: int, a_size: int, b: int, b_size: int) -> bool:
    return a < b + b_size and b < a + a_size


def check_regions(regions: Sequence[Region]) -> None:
    """Raise RequestError unless every sum of every region stays below 2^64 and no two regions overlap."""
    if len(regions) > MAX_REGIONS:
        raise RequestError(f"{len(regions)} memory regions, at most {MAX_REGIONS}")
    total = sum(region.size for region in regions)
    if total > MAX_MEMORY:
        raise RequestError(f"{total:#x} bytes of memory, at most {MAX_MEMORY:#x}")
    for i, region in enumerate(regions):
        if region.size == 0:
            raise RequestError(f"{region} is empty")
        for what, start in (("guest", region.gpa), ("user", region.uva), ("file", region.offset)):
            if start + region.size >= _TOP:
                raise RequestError(f"{region} wraps around in {what} addresses")
        for other in regions[:i]:
            if _overlap(region.gpa, region.size, other.gpa, other.size):
                raise RequestError(f"{region} overlaps {other} in guest addresses")
            if _overlap(region.uva, region.size, other.uva, other.size):
                raise RequestError(f"{region} overlaps {other} in user addresses")
