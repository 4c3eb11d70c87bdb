"""Guest memory as the front-end describes it: regions, kinds of addresses, checks before mapping."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NewType

from vswitchd.ports.vhostuser.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

Gpa = NewType("Gpa", int)
"""Guest physical address: what descriptors hold."""
Uva = NewType("Uva", int)
"""Address in the front-end's own space: what SET_VRING_ADDR holds."""

MAX_REGIONS = 32  # VS_GUEST_REGIONS
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


def _overlap(a: int, a_size: int, b: int, b_size: int) -> bool:
    return a < b + b_size and b < a + a_size


def check_regions(regions: Sequence[Region]) -> None:
    """Raise RequestError unless every sum of every region stays below 2^64 and no two regions overlap."""
    if len(regions) > MAX_REGIONS:
        raise RequestError(f"{len(regions)} memory regions, at most {MAX_REGIONS}")
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
