"""All that the process has of VFIO: its devices, their groups, the containers, and the DMA window that they share.

Who comes first opens what is needed, who leaves last closes it. Nothing of it outlives the process: when it dies, by
kill -9 too, the kernel stops the devices, unmaps and closes, and the next process opens them as if nothing had been.
"""

from __future__ import annotations

import errno

from vswitchd.ports.vfio import errors, pci
from vswitchd.ports.vfio.container import Container
from vswitchd.ports.vfio.device import Device
from vswitchd.ports.vfio.dma import WINDOW_SIZE, DmaWindow
from vswitchd.ports.vfio.group import Group, group_of
from vswitchd.ports.vfio.kernel import Kernel


class Vfio:
    """The one owner of VFIO in a process. Control thread."""

    def __init__(self, kernel: Kernel, window_size: int = WINDOW_SIZE) -> None:
        """Open nothing yet."""
        self._kernel = kernel
        self._devices: dict[str, Group] = {}
        self._groups: dict[str, Group] = {}
        self._containers: list[Container] = []
        self._open: list[Device] = []
        self.window = DmaWindow(kernel, window_size)

    def open(self, address: str) -> Device:
        """Open a device by its PCI address: BARs mapped, memory space on, bus mastering off. Raises VfioError.

        On error all that was opened for it is closed again.
        """
        address = pci.normalise(address)
        if address in self._devices:
            raise errors.taken(address)
        group = self._group(address)
        try:
            device = Device(self._kernel, address, group.device(address), self._closed)
        except BaseException:
            self._tidy(group)
            raise
        group.devices += 1
        self._devices[address] = group
        self._open.append(device)
        return device

    def _group(self, address: str) -> Group:
        """Group of a device, open and in a container. Raises VfioError."""
        number = group_of(self._kernel, address)
        if number in self._groups:
            return self._groups[number]
        group = Group(self._kernel, number, address)
        try:
            group.container = self._place(group, address)
        except BaseException:
            group.close()
            raise
        self._groups[number] = group
        return group

    def _place(self, group: Group, address: str) -> Container:
        """Put a group into a container that we have, or into a new one. Raises VfioError."""
        for container in self._containers:
            try:
                container.join(group.fd)
            except OSError:
                continue
            try:
                self.window.check(container, address)
            except BaseException:
                container.leave(group.fd)
                raise
            return container
        container = Container(self._kernel)
        joined = False
        try:
            container.join(group.fd)
            joined = True
            self.window.attach(container, address)
        except BaseException as error:
            if joined:
                container.leave(group.fd)
            container.close()
            self.window.trim()
            if isinstance(error, OSError):
                raise _join_error(address, error) from error
            raise
        self._containers.append(container)
        return container

    def _closed(self, device: Device) -> None:
        """Take note of a closed device; the last of its group closes that."""
        self._open.remove(device)
        group = self._devices.pop(device.address)
        group.devices -= 1
        self._tidy(group)

    def _tidy(self, group: Group) -> None:
        """Close a group without devices, and its container without groups."""
        if group.devices:
            return
        del self._groups[group.number]
        container = group.container
        assert container is not None
        if any(other.container is container for other in self._groups.values()):
            group.close()
            return
        self.window.detach(container)
        group.close()
        self._containers.remove(container)
        container.close()
        self.window.trim()

    def close(self) -> None:
        """Close every device and give all DMA memory back, whoever holds it. A second call does nothing."""
        for device in list(self._open):
            device.close()
        self.window.drop()


def _join_error(address: str, error: OSError) -> errors.VfioError:
    """What it means that a group got no IOMMU (vfio_iommu_type1_attach_group)."""
    if error.errno == errno.EPERM:
        return errors.no_remapping(address)
    return errors.refused(f"the IOMMU does not take {address}", error)
