"""DMA memory: one range of virtual addresses per process, mapped for all devices at IOVA = address + constant.

The range is reserved whole and backed piece by piece: huge pages where some are free, else ordinary pages. Whatever is
backed is mapped in every container at once and locked in memory by that. A device may write to any of it at any time.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vswitchd.ports.vfio import errors, window
from vswitchd.ports.vfio.arena import Arena

if TYPE_CHECKING:
    from vswitchd.ports.vfio.container import Container
    from vswitchd.ports.vfio.kernel import Kernel

log = logging.getLogger(__name__)

WINDOW_SIZE = 16 << 30
WINDOW_LEAST = 64 << 20
HUGE_2M, HUGE_1G = 21, 30
_UNIT = 1 << HUGE_2M


@dataclass(frozen=True, slots=True)
class Chunk:
    """A backed and mapped part of the window, from grow() to shrink()."""

    offset: int
    length: int
    page_shift: int
    """30 or 21: huge pages of 1 << page_shift bytes; 0: ordinary ones."""


class DmaWindow:
    """The DMA memory of the process. Control thread.

    Life: reserved when the first container comes; every container that comes later maps what is backed by then;
    given back when no container is left and nobody holds memory (trim).
    """

    def __init__(self, kernel: Kernel, wanted: int = WINDOW_SIZE) -> None:
        self._kernel = kernel
        self._wanted = wanted
        self._containers: list[Container] = []
        self._arena = Arena(0)
        self._chunks: dict[int, Chunk] = {}
        self._rings: dict[int, Arena] = {}
        self._stuck: list[Chunk] = []
        self._told = False
        self.base = 0
        """Virtual address of offset 0; 0 while nothing is reserved."""
        self.iova_base = 0
        """What devices call that address."""
        self.size = 0

    @property
    def delta(self) -> int:
        """What must be added to a virtual address to get its IOVA."""
        return self.iova_base - self.base

    @property
    def backed(self) -> int:
        """Bytes of memory in the window."""
        return sum(chunk.length for chunk in self._chunks.values())

    def attach(self, container: Container, address: str) -> None:
        """Take a container in and map in it all that is backed. Raises VfioError; the container is to be closed then.

        `address` is the device for whose sake, for the message.
        """
        info = container.info()
        if not self.base:
            self._reserve(info.ranges)
        elif not window.inside(info.ranges, self.iova_base, self.size):
            raise self._out_of_reach(address, info.ranges)
        self._check_memlock(self.backed)
        for chunk in self._chunks.values():
            container.map(self.base + chunk.offset, self.iova_base + chunk.offset, chunk.length)
        self._containers.append(container)

    def check(self, container: Container, address: str) -> None:
        """Look again whether a container reaches the window, after a group joined it. Raises VfioError."""
        ranges = container.info().ranges
        if not window.inside(ranges, self.iova_base, self.size):
            raise self._out_of_reach(address, ranges)

    def detach(self, container: Container) -> None:
        """Unmap everything in a container that goes away."""
        if container in self._containers:
            self._containers.remove(container)
            for chunk in self._chunks.values():
                container.unmap(self.iova_base + chunk.offset, chunk.length)

    def _out_of_reach(self, address: str, ranges: tuple[tuple[int, int], ...]) -> errors.VfioError:
        return errors.out_of_reach(address, self.iova_base, self.iova_base + self.size - 1, ranges)

    def _reserve(self, ranges: tuple[tuple[int, int], ...]) -> None:
        """Choose IOVAs, and reserve as many virtual addresses. Raises VfioError."""
        place = window.choose(ranges, self._wanted, min(WINDOW_LEAST, self._wanted))
        if place is None:
            raise errors.no_iova(WINDOW_LEAST, ranges)
        iova_base, size = place
        try:
            base = self._kernel.reserve(size, iova_base)
        except OSError as error:
            raise errors.no_memory(size) from error
        self.base, self.iova_base, self.size = base, iova_base, size
        self._arena = Arena(size)
        if size < self._wanted:
            log.warning("the IOMMU allows only %d MB of IOVA space for DMA in one piece", size >> 20)

    def grow(self, length: int, page_shift: int = HUGE_2M) -> Chunk:
        """Back `length` more bytes, zeroed, in whole pages of 2 MB (1 GB for page_shift 30). Raises VfioError.

        page_shift is the largest page to try; smaller ones follow when none are free. The chunk is the caller's until
        shrink(). Takes milliseconds per 10 MB: the kernel locks every page.
        """
        if not self.base:
            raise RuntimeError("DMA memory is asked for while no device is open")
        self._check_memlock(-(-length // _UNIT) * _UNIT * len(self._containers))
        for shift in (s for s in (HUGE_1G, HUGE_2M, 0) if s <= page_shift):
            unit = 1 << max(shift, HUGE_2M)
            total = -(-length // unit) * unit
            offset = self._arena.take(total, unit)
            if offset is None:
                continue
            chunk = Chunk(offset, total, shift)
            if self._back(chunk):
                self._map(chunk)
                return chunk
        if self._arena.fits(-(-length // _UNIT) * _UNIT):
            raise errors.no_memory(length)
        raise errors.window_full(length, self.size)

    def _back(self, chunk: Chunk) -> bool:
        """Put memory into the range; False and nothing taken when there is none of this kind."""
        try:
            self._kernel.back(chunk.offset, chunk.length, chunk.page_shift)
        except OSError as error:
            self._arena.give(chunk.offset)
            if chunk.page_shift == HUGE_2M and not self._told:
                self._told = True
                log.warning(
                    "no %d free huge pages of 2 MB for packets of VFIO ports (%s): ordinary pages are used, which costs speed; "
                    "sysctl vm.nr_hugepages gives more",
                    chunk.length >> HUGE_2M,
                    error.strerror,
                )
            return False
        return True

    def _map(self, chunk: Chunk) -> None:
        """Map a backed chunk in all containers, or in none and take the memory out again. Raises VfioError."""
        try:
            for container in self._containers:
                container.map(self.base + chunk.offset, self.iova_base + chunk.offset, chunk.length)
        except errors.VfioError:
            self._retire(chunk)
            raise
        self._chunks[chunk.offset] = chunk

    def _check_memlock(self, more: int) -> None:
        """Raise VfioError when so many more bytes cannot be locked: better said before than by ENOMEM."""
        limit = self._kernel.memlock()
        if limit is not None and limit.used + more > limit.limit:
            raise errors.memlock(more, limit)

    def shrink(self, offset: int) -> None:
        """Give a chunk back: unmapped for all devices, then out of memory. No device and no packet may use it."""
        self._retire(self._chunks.pop(offset))
        self.trim()

    def _retire(self, chunk: Chunk) -> None:
        """Unmap a chunk and give its memory back; at once if no device can reach it, else when the containers are gone."""
        iova = self.iova_base + chunk.offset
        refused = [container for container in self._containers if not container.unmap(iova, chunk.length)]
        if not refused:
            self._unback(chunk)
        else:
            log.error(
                "the kernel did not unmap DMA memory at IOVA %#x: it is kept until all ports are closed", iova
            )
            self._stuck.append(chunk)

    def _unback(self, chunk: Chunk) -> None:
        self._kernel.unback(chunk.offset, chunk.length)
        self._arena.give(chunk.offset)

    def alloc(self, length: int, align: int = 4096) -> int:
        """Cut zeroed memory for a ring; returns its offset. `align`: a power of two up to 2 MB. Raises VfioError."""
        for start, arena in self._rings.items():
            if (found := arena.take(length, align)) is not None:
                self._kernel.clear(self.base + start + found, length)
                return start + found
        chunk = self.grow(length)
        arena = self._rings[chunk.offset] = Arena(chunk.length)
        arena.take(length, align)
        return chunk.offset

    def free(self, offset: int) -> None:
        """Give back what alloc() returned; the device must have stopped using it. Raises KeyError."""
        start = max((begin for begin in self._rings if begin <= offset), default=-1)
        arena = self._rings[start]
        arena.give(offset - start)
        if arena.idle:
            del self._rings[start]
            self.shrink(start)

    def trim(self) -> None:
        """Give the reservation back when no container is left and nobody holds memory."""
        if self._containers:
            return
        while self._stuck:
            self._unback(self._stuck.pop())
        if self.base and not self._chunks:
            self._kernel.release()
            self.base = self.iova_base = self.size = 0
            self._arena = Arena(0)

    def drop(self) -> None:
        """Give everything back, whoever holds it; no container may be left."""
        assert not self._containers
        self._rings.clear()
        for offset in list(self._chunks):
            self.shrink(offset)
        self.trim()
