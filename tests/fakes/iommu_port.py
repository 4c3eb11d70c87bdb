"""A loose vhost-user port whose guest sits behind a vIOMMU: the test plays the front-end that answers misses.

All addresses of the mock guest are IOVAs here; its memory stands elsewhere in the memory table, so nothing works by chance.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field

from fakes.loose_port import LoosePort, StartError
from fakes.mock_guest import Ring
from vswitchd.datapath.dp import ffi, lib

ACCESS_PLATFORM = 1 << 33
READ, WRITE, BOTH = 1, 2, 3
PAGE = 4096
_ELSEWHERE = 1 << 45


@dataclass
class IommuPort(LoosePort):
    """Maps nothing by itself: see answer and map."""

    asked: list[tuple[int, int]] = field(default_factory=list)
    """All misses collected so far, (page, permissions)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.features |= ACCESS_PLATFORM
        rows = ffi.new("struct vs_guest_region[]", len(self.guest.regions))
        for row, region, mapping in zip(rows, self.guest.regions, self.maps, strict=True):
            row.gpa, row.uva, row.size = region.gpa + _ELSEWHERE, region.uva, region.size
            row.host = lib.vs_guest_map_host(mapping)
        lib.vs_guest_mem_free(self.mem)
        self.mem = lib.vs_guest_mem_new(rows, len(rows), ffi.new("int *"))
        assert self.mem != ffi.NULL
        self.fd = lib.vs_vhost_iotlb_fd(self.handle)

    def start_translated(self, index: int, ring: Ring, *, kick: int = -1, **changed: int) -> None:
        """Start a ring whose addresses are IOVAs: Raises StartError(-EAGAIN) while they are not known."""
        where = {"desc": ring.desc, "avail": ring.avail, "used": ring.used}
        self.start(index, ring, kick=kick, **{**where, **changed})

    def start_known(self, index: int, ring: Ring, *, kick: int = -1) -> None:
        """Start a ring after its own pages, and only those, were mapped."""
        size = getattr(ring, "ring_bytes", 16 * ring.size)
        for at, n in ((ring.desc, size), (ring.avail, 6 + 2 * ring.size), (ring.used, 6 + 8 * ring.size)):
            for page in range(at // PAGE, (at + n - 1) // PAGE + 1):
                self.map(page * PAGE)
        self.start_translated(index, ring, kick=kick)

    def rung(self) -> bool:
        """Is the control thread told to collect?"""
        try:
            os.eventfd_write(self.fd, os.eventfd_read(self.fd))
        except BlockingIOError:
            return False
        return True

    def misses(self, most: int = 256) -> list[tuple[int, int]]:
        """Collect what is missing and was not collected yet."""
        rows = ffi.new("struct vs_iotlb_miss[]", most)
        n = lib.vs_vhost_iotlb_collect(self.handle, rows, most)
        out = [(rows[i].iova, rows[i].perm) for i in range(n)]
        self.asked += out
        return out

    def update(self, iova: int, size: int, uva: int, perm: int = BOTH) -> int:
        return lib.vs_vhost_iotlb_update(self.handle, self.mem, iova, size, uva, perm)

    def map(self, iova: int, size: int = PAGE, perm: int = BOTH) -> None:
        """Map IOVAs to what the mock guest has there."""
        assert self.update(iova, size, self.guest.uva(iova), perm) == 0

    def unmap(self, iova: int, size: int = PAGE) -> None:
        lib.vs_vhost_iotlb_invalidate(self.handle, iova, size)

    def answer(self) -> int:
        """Answer all misses. Returns how many there were."""
        found = self.misses()
        for page, perm in found:
            self.map(page, perm=perm)
        return len(found)

    def stats(self) -> dict[str, int]:
        stats = ffi.new("struct vs_iotlb_stats *")
        lib.vs_vhost_iotlb_stats(self.handle, stats)
        names = ("entries", "hits", "misses", "asked", "pending", "updates", "invalidations", "evictions")
        return {name: getattr(stats, name) for name in names}

    def held(self, ring: int = 0) -> int:
        return self.info(ring).held

    def close_attached(self) -> None:
        """Close all but the port itself, which a datapath has destroyed."""
        lib.vs_guest_mem_free(self.mem)
        for mapping in self.maps:
            lib.vs_guest_map_free(mapping)
        self.guest.close()


def start_error(port: IommuPort, index: int, ring: Ring) -> int:
    """Start a ring that is to be refused; returns its errno."""
    try:
        port.start_translated(index, ring)
    except StartError as error:
        return -int(error.args[0])
    return 0


AGAIN = errno.EAGAIN
