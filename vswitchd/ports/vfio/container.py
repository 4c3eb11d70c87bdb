"""Containers: the address space that the IOMMU gives to the devices of one or several groups.

All devices of the process share one container where their IOMMUs allow it. Where a group cannot join (another kind
of IOMMU, say), it gets a container of its own, in which the same memory is mapped at the same IOVAs.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass

from vswitchd.ports.vfio import abi, errors
from vswitchd.ports.vfio.abi import DmaFlag, Request
from vswitchd.ports.vfio.kernel import Kernel

_NO_LIMIT = 1 << 32


@dataclass(frozen=True, slots=True)
class IommuInfo:
    """What a container's IOMMUs can do."""

    page_sizes: int
    """Bit n: pages of 1 << n bytes."""
    ranges: tuple[tuple[int, int], ...]
    """IOVAs that may be mapped, (first, last), ascending: without the hole for MSI, as wide as the address width."""
    dma_available: int
    """How many more mappings may be made."""


class Container:
    """One open container. Owned by the session, which closes it with its last group. Control thread."""

    def __init__(self, kernel: Kernel) -> None:
        """Open /dev/vfio/vfio. Raises VfioError."""
        self._kernel = kernel
        self._typed = False
        self._mapped: dict[int, int] = {}
        try:
            self.fd = kernel.open(abi.VFIO_PATH)
        except OSError as error:
            raise open_error(kernel, abi.VFIO_PATH, error) from error
        try:
            version = kernel.ioctl(self.fd, Request.GET_API_VERSION)
            type1 = kernel.ioctl(self.fd, Request.CHECK_EXTENSION, abi.TYPE1V2_IOMMU)
        except OSError as error:
            self.close()
            raise errors.refused("cannot ask VFIO what it is", error) from error
        if version != abi.API_VERSION or type1 <= 0:
            self.close()
            raise (
                errors.no_type1()
                if version == abi.API_VERSION
                else errors.too_old(f"version {abi.API_VERSION}")
            )

    def join(self, group_fd: int) -> None:
        """Put a group into this container. Raises OSError: EINVAL or EPERM when it cannot join these others."""
        self._kernel.ioctl(group_fd, Request.GROUP_SET_CONTAINER, bytearray(self.fd.to_bytes(4, "little")))
        if self._typed:
            return
        try:
            self._kernel.ioctl(self.fd, Request.SET_IOMMU, abi.TYPE1V2_IOMMU)
        except OSError:
            self.leave(group_fd)
            raise
        self._typed = True

    def leave(self, group_fd: int) -> None:
        """Take a group out again; none of its devices is open. Cannot fail: closing the group does it too."""
        try:
            self._kernel.ioctl(group_fd, Request.GROUP_UNSET_CONTAINER)
        except OSError:
            return

    def info(self) -> IommuInfo:
        """Ask what may be mapped. Raises VfioError."""
        fixed = abi.IOMMU_INFO.pack(abi.IOMMU_INFO.size, 0, 0, 0)
        try:
            answer = abi.ask(self._kernel, self.fd, Request.IOMMU_GET_INFO, fixed)
        except OSError as error:
            raise errors.refused("cannot ask the IOMMU for its ranges", error) from error
        _argsz, flags, page_sizes, first = abi.IOMMU_INFO.unpack_from(answer)
        ranges: tuple[tuple[int, int], ...] = ()
        available = _NO_LIMIT
        for cap in abi.caps(answer, first) if flags & abi.IOMMU_INFO_CAPS else ():
            if cap.id == abi.CAP_IOVA_RANGE:
                ranges = tuple(sorted(abi.ranges(cap.body)))
            elif cap.id == abi.CAP_DMA_AVAIL and len(cap.body) >= 4:
                available = int.from_bytes(cap.body[:4], "little")
        if not ranges:
            raise errors.too_old("list of allowed IOVA ranges")
        return IommuInfo(page_sizes if flags & abi.IOMMU_INFO_PGSIZES else 0, ranges, available)

    def map(self, address: int, iova: int, length: int) -> None:
        """Let the devices read and write memory at `address` under `iova`; it is locked. Raises VfioError."""
        flags = DmaFlag.READ | DmaFlag.WRITE
        request = abi.DMA_MAP.pack(abi.DMA_MAP.size, flags, address, iova, length)
        try:
            self._kernel.ioctl(self.fd, Request.IOMMU_MAP_DMA, bytearray(request))
        except OSError as error:
            raise self._map_error(error, iova, length) from error
        self._mapped[iova] = length

    def _map_error(self, error: OSError, iova: int, length: int) -> errors.VfioError:
        """What a refused mapping means (vfio_dma_do_map)."""
        match error.errno:
            case errno.ENOMEM:
                limit = self._kernel.memlock()
                if limit is not None and limit.used + length > limit.limit:
                    return errors.memlock(length, limit)
                return errors.no_lock(length)
            case errno.ENOSPC:
                return errors.no_mappings(self.info().dma_available)
            case _:
                return errors.refused(f"cannot map {length:#x} bytes for devices at IOVA {iova:#x}", error)

    def unmap(self, iova: int, length: int) -> bool:
        """Take one mapping back, as a whole (type 1 version 2 splits none); not mapped is fine too.

        False: the kernel refused, so a device may still reach it until the container is closed. Should not happen.
        """
        if self._mapped.pop(iova, None) is None:
            return True
        request = abi.DMA_UNMAP.pack(abi.DMA_UNMAP.size, 0, iova, length)
        try:
            self._kernel.ioctl(self.fd, Request.IOMMU_UNMAP_DMA, bytearray(request))
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Unmap everything and close. A second call does nothing."""
        if self.fd < 0:
            return
        for iova, length in list(self._mapped.items()):
            self.unmap(iova, length)
        self._kernel.close(self.fd)
        self.fd = -1


def open_error(kernel: Kernel, path: str, error: OSError) -> errors.VfioError:
    """What it means that a file of /dev/vfio could not be opened."""
    if error.errno in {errno.ENOENT, errno.ENODEV, errno.ENXIO}:
        return errors.no_module(path)
    if error.errno in {errno.EACCES, errno.EPERM}:
        return errors.no_permission(path, kernel.user())
    return errors.refused(f"cannot open {path}", error)
