"""Groups: the devices that the IOMMU cannot tell apart, which only one process may have, all together.

The first device of a group opens it, the last one closes it.
"""

from __future__ import annotations

import errno

from vswitchd.ports.vfio import abi, errors
from vswitchd.ports.vfio.abi import GroupFlag, Request
from vswitchd.ports.vfio.container import Container, open_error
from vswitchd.ports.vfio.kernel import Kernel

DEVICES = "/sys/bus/pci/devices"
GROUPS = "/sys/kernel/iommu_groups"
_HARMLESS = {"pci-stub", "pcieport"}
"""Drivers that do no DMA of their own: the kernel lets them stay (vfio_dev_viable)."""


def is_vfio_driver(driver: str | None) -> bool:
    """Whether a driver gives its devices to VFIO: vfio-pci, or a variant of it (mlx5_vfio_pci and the like)."""
    return driver is not None and driver.replace("_", "-").endswith("vfio-pci")


def group_of(kernel: Kernel, address: str) -> str:
    """Find the group of a device and check that it can be had, by what sysfs says. Raises VfioError."""
    path = f"{DEVICES}/{address}"
    if not kernel.exists(path):
        raise errors.absent(address)
    group = kernel.link(f"{path}/iommu_group")
    driver = kernel.link(f"{path}/driver")
    if group is None:
        raise _no_iommu(kernel, address)
    if not is_vfio_driver(driver):
        raise errors.unbound(address, driver)
    if not kernel.exists(abi.VFIO_PATH):
        raise errors.no_module(abi.VFIO_PATH)
    if not kernel.exists(f"/dev/vfio/{group}") and kernel.exists(f"/dev/vfio/noiommu-{group}"):
        raise errors.no_iommu_mode(address)
    return group


def _no_iommu(kernel: Kernel, address: str) -> errors.VfioError:
    """Say what is missing, for this processor and kind of machine."""
    words = (kernel.text("/proc/cpuinfo") or "").split()
    vendor = next((name for name in ("GenuineIntel", "AuthenticAMD") if name in words), "")
    return errors.no_iommu(address, vendor, "hypervisor" in words)


class Group:
    """One open group, in a container once `container` is set. Owned by the session. Control thread."""

    def __init__(self, kernel: Kernel, number: str, address: str) -> None:
        """Open the group for the device at `address`. Raises VfioError."""
        self._kernel = kernel
        self.number = number
        self.container: Container | None = None
        self.devices = 0
        """How many of its devices are open; the session counts."""
        path = f"/dev/vfio/{number}"
        try:
            self.fd = kernel.open(path)
        except OSError as error:
            if error.errno == errno.EBUSY:
                raise errors.busy(address, path, kernel.holders(path), kernel.pid()) from error
            raise open_error(kernel, path, error) from error
        try:
            self._check_viable(address)
        except BaseException:
            self.close()
            raise

    def _check_viable(self, address: str) -> None:
        """Raise VfioError when the kernel still drives a device of this group."""
        status = bytearray(abi.GROUP_STATUS.pack(abi.GROUP_STATUS.size, 0))
        try:
            self._kernel.ioctl(self.fd, Request.GROUP_GET_STATUS, status)
        except OSError as error:
            raise errors.refused(f"cannot ask for the state of IOMMU group {self.number}", error) from error
        if not abi.GROUP_STATUS.unpack(status)[1] & GroupFlag.VIABLE:
            raise errors.not_viable(address, self.number, self._culprits())

    def _culprits(self) -> list[tuple[str, str]]:
        """Devices of the group that a driver of the kernel has, with its name."""
        found = []
        for other in self._kernel.names(f"{GROUPS}/{self.number}/devices"):
            driver = self._kernel.link(f"{DEVICES}/{other}/driver")
            if driver is not None and driver not in _HARMLESS and not is_vfio_driver(driver):
                found.append((other, driver))
        return found

    def device(self, address: str) -> int:
        """Open a device of the group; returns its descriptor. Raises VfioError."""
        name = bytearray(address.encode() + b"\0")
        try:
            return self._kernel.ioctl(self.fd, Request.GROUP_GET_DEVICE_FD, name)
        except OSError as error:
            if error.errno == errno.ENODEV:
                raise errors.removed(address) from error
            if error.errno == errno.EACCES:
                physical = self._kernel.link(f"{DEVICES}/{address}/physfn")
                raise errors.needs_token(address, physical) from error
            raise errors.refused(f"cannot open {address}", error) from error

    def close(self) -> None:
        """Leave the container and close. A second call does nothing."""
        if self.fd < 0:
            return
        if self.container is not None:
            self.container.leave(self.fd)
            self.container = None
        self._kernel.close(self.fd)
        self.fd = -1
