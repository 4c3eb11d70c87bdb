"""The narrow seam between the VFIO layer and the operating system: what it asks for, so that tests can play the kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that has a file open."""

    pid: int
    name: str


@dataclass(frozen=True, slots=True)
class Memlock:
    """How much memory this process may lock, and has locked, in bytes."""

    limit: int
    used: int


class Mapping(Protocol):
    """A piece of a device's BAR in our address space."""

    address: int

    def close(self) -> None:
        """Unmap; nobody may use the address any more."""


class Kernel(Protocol):
    """Linux, as far as the VFIO layer needs it (linux.py). What can fail raises OSError, where not said otherwise."""

    page_size: int

    def open(self, path: str) -> int:
        """Open for reading and writing, closed on exec; returns a descriptor."""

    def close(self, fd: int) -> None:
        """Close a descriptor."""

    def ioctl(self, fd: int, request: int, argument: int | bytearray = 0) -> int:
        """Make the call; a bytearray is changed in place. Returns what the call returned."""

    def pread(self, fd: int, length: int, offset: int) -> bytes:
        """Read; may return less than `length`."""

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        """Write; returns how many bytes were taken."""

    def map(self, fd: int, offset: int, length: int) -> Mapping:
        """Map a piece of a device region, shared, for reading and writing."""

    def eventfd(self) -> int:
        """Make an eventfd that does not block and is closed on exec."""

    def text(self, path: str) -> str | None:
        """Text of a small file without the white space around it; None when it cannot be read."""

    def link(self, path: str) -> str | None:
        """Last component of what a symbolic link points to; None when there is none."""

    def names(self, path: str) -> list[str]:
        """Names in a directory, sorted; empty when there is none."""

    def exists(self, path: str) -> bool:
        """Whether there is such a file."""

    def holders(self, path: str) -> list[Holder]:
        """Processes that have this file open, as far as they can be seen."""

    def memlock(self) -> Memlock | None:
        """RLIMIT_MEMLOCK and what is used of it; None: no limit for this process."""

    def pid(self) -> int:
        """Number of this process."""

    def user(self) -> int:
        """Effective user of this process."""

    def reserve(self, size: int, iova: int) -> int:
        """Reserve the one range of virtual addresses for DMA memory, which devices call `iova`; returns its address."""

    def back(self, offset: int, length: int, shift: int) -> None:
        """Put zeroed memory into the range, in pages of 1 << shift bytes (0: ordinary ones)."""

    def unback(self, offset: int, length: int) -> None:
        """Take memory out of the range. Cannot fail."""

    def release(self) -> None:
        """Give the range back. Cannot fail."""

    def clear(self, address: int, length: int) -> None:
        """Zero memory."""
