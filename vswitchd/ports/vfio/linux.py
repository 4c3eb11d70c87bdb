"""The kernel as it is: system calls, sysfs and procfs, and the C that places DMA memory at fixed addresses."""

from __future__ import annotations

import fcntl
import mmap
import os
import resource
from pathlib import Path

from vswitchd.datapath.dp import ffi, lib
from vswitchd.ports.vfio.kernel import Holder, Memlock

_CAP_IPC_LOCK = 14
_SMALL = 16384


class LinuxMapping:
    """A mapped piece of a BAR. Its address stays valid until close()."""

    def __init__(self, fd: int, offset: int, length: int) -> None:
        self._map = mmap.mmap(fd, length, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE, offset=offset)
        # The buffer must not stay: an mmap whose buffer is lent cannot be closed.
        self.address = int(ffi.cast("uintptr_t", ffi.from_buffer(self._map)))

    def close(self) -> None:
        """Unmap. A second call does nothing."""
        self._map.close()


class LinuxKernel:
    """Kernel (see kernel.py) for real. Any thread, but meant for the control thread."""

    page_size = mmap.PAGESIZE

    def open(self, path: str) -> int:
        """Open for reading and writing."""
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def close(self, fd: int) -> None:
        """Close a descriptor."""
        os.close(fd)

    def ioctl(self, fd: int, request: int, argument: int | bytearray = 0) -> int:
        """Make the call. A mutable buffer makes fcntl.ioctl return the call's result (a new descriptor, say)."""
        if isinstance(argument, int):
            return fcntl.ioctl(fd, request, argument)
        result: int = fcntl.ioctl(fd, request, argument, True)
        return result

    def pread(self, fd: int, length: int, offset: int) -> bytes:
        """Read at an offset."""
        return os.pread(fd, length, offset)

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        """Write at an offset."""
        return os.pwrite(fd, data, offset)

    def map(self, fd: int, offset: int, length: int) -> LinuxMapping:
        """Map a piece of a device region."""
        return LinuxMapping(fd, offset, length)

    def eventfd(self) -> int:
        """Make an eventfd."""
        return os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def text(self, path: str) -> str | None:
        """Read a small file."""
        try:
            with Path(path).open("rb") as file:
                return file.read(_SMALL).decode("utf-8", "replace").strip()
        except OSError:
            return None

    def link(self, path: str) -> str | None:
        """Name that a link points to."""
        try:
            return Path(path).readlink().name
        except OSError:
            return None

    def names(self, path: str) -> list[str]:
        """List a directory."""
        try:
            return sorted(os.listdir(path))  # noqa: PTH208 - names, not paths
        except OSError:
            return []

    def exists(self, path: str) -> bool:
        """Look whether there is such a file."""
        return Path(path).exists()

    def holders(self, path: str) -> list[Holder]:
        """Look through the descriptors of every process that lets us."""
        found = []
        for pid in self.names("/proc"):
            if not pid.isdigit():
                continue
            links = f"/proc/{pid}/fd"
            for number in self.names(links):
                try:
                    target = os.readlink(f"{links}/{number}")  # noqa: PTH115 - once per descriptor of the machine
                except OSError:
                    continue
                if target == path:
                    found.append(Holder(int(pid), self.text(f"/proc/{pid}/comm") or "?"))
                    break
        return found

    def memlock(self) -> Memlock | None:
        """Tell the limit, as type1 applies it: not with CAP_IPC_LOCK (vfio_lock_acct)."""
        limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
        if limit == resource.RLIM_INFINITY:
            return None
        fields = dict(
            line.split(":", 1) for line in (self.text("/proc/self/status") or "").splitlines() if ":" in line
        )
        if int(fields.get("CapEff", "0").strip(), 16) >> _CAP_IPC_LOCK & 1:
            return None
        return Memlock(limit, int(fields.get("VmLck", "0 kB").split()[0]) * 1024)

    def pid(self) -> int:
        """Number of this process."""
        return os.getpid()

    def user(self) -> int:
        """Effective user of this process."""
        return os.geteuid()

    def reserve(self, size: int, iova: int) -> int:
        """Reserve addresses for DMA memory, and tell the drivers."""
        _check(lib.vs_dma_reserve(size))
        lib.vs_dma_set_iova(iova)
        return int(ffi.cast("uintptr_t", lib.vs_dma_base()))

    def back(self, offset: int, length: int, shift: int) -> None:
        """Back a part of them."""
        _check(lib.vs_dma_back(offset, length, shift))

    def unback(self, offset: int, length: int) -> None:
        """Take the memory out again."""
        lib.vs_dma_unback(offset, length)

    def release(self) -> None:
        """Give the addresses back."""
        lib.vs_dma_release()

    def clear(self, address: int, length: int) -> None:
        """Zero memory."""
        ffi.buffer(ffi.cast("char *", address), length)[:] = bytes(length)


def _check(result: int) -> None:
    """Raise OSError for a negative errno."""
    if result < 0:
        raise OSError(-result, os.strerror(-result))
