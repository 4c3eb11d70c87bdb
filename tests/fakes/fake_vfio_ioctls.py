"""How the played kernel of fake_vfio.py answers ioctls on VFIO's files."""

from __future__ import annotations

import errno
import struct

from fakes.fake_vfio_files import Container, DeviceFile, FakeBar, GroupFile, error
from vswitchd.ports.vfio import abi
from vswitchd.ports.vfio.abi import Irq, Request

PAGE = 4096
VFIO_DRIVERS = {"vfio-pci", "mlx5_vfio_pci"}


class Calls:
    """A part of FakeKernel, whose state it uses."""

    def ioctl(self, fd, request, argument=0):
        request = Request(request)
        self._call(request.name)
        file = self.files[fd]
        kind = {Container: "container", GroupFile: "group", DeviceFile: "device"}[type(file)]
        return getattr(self, f"_{kind}_{request.name.lower()}")(file, argument)

    def _container_get_api_version(self, container, argument):
        return self.api_version

    def _container_check_extension(self, container, argument):
        return int(argument in self.extensions)

    def _container_set_iommu(self, container, argument):
        if not container.groups or container.typed:
            raise error(errno.EINVAL)
        if not self.remapping:
            raise error(errno.EPERM)
        container.typed = True
        return 0

    def _allowed(self, container):
        iommus = {device.iommu for device in self.devices.values() if device.group in container.groups}
        assert len(iommus) == 1
        return self.ranges[iommus.pop()]

    def _container_iommu_get_info(self, container, answer):
        assert container.typed
        ranges = self._allowed(container)
        body = struct.pack("=II", len(ranges), 0) + b"".join(struct.pack("=QQ", *pair) for pair in ranges)
        first = 24
        links = [(abi.CAP_DMA_AVAIL, struct.pack("=I", self.dma_limit - len(container.mappings)) + bytes(4))]
        links += [(abi.CAP_IOVA_RANGE, body)] if self.range_cap else []
        return self._answer(answer, abi.IOMMU_INFO.pack(0, 3, self.page_sizes, first), first, links)

    def _answer(self, answer, fixed, first, links):
        """Put a struct and its chain of capabilities into a buffer, as much as argsz allows."""
        argsz = struct.unpack_from("=I", answer)[0]
        assert argsz == len(answer)
        chain = b""
        for position, (ident, body) in enumerate(links):
            following = first + len(chain) + 8 + len(body) if position + 1 < len(links) else 0
            chain += abi.CAP_HEADER.pack(ident, 1, following) + body
        whole = bytearray(fixed.ljust(first, b"\0")[:first] + chain)
        struct.pack_into("=I", whole, 0, len(whole))
        if len(whole) > argsz:
            answer[:first] = whole[:first]
            return 0
        answer[: len(whole)] = whole
        struct.pack_into("=I", answer, 0, argsz)
        return 0

    def _container_iommu_map_dma(self, container, argument):
        _, flags, address, iova, length = abi.DMA_MAP.unpack(argument)
        assert container.typed
        assert flags == 3
        if (address | iova | length) % PAGE or not length:
            raise error(errno.EINVAL)
        if any(first < iova + length and iova < first + n for first, (n, _) in container.mappings.items()):
            raise error(errno.EEXIST)
        if len(container.mappings) >= self.dma_limit:
            raise error(errno.ENOSPC)
        if not any(first <= iova and iova + length - 1 <= last for first, last in self._allowed(container)):
            raise error(errno.EINVAL)
        start = address - self.window.address
        if not any(o <= start and start + length <= o + n for o, (n, _) in self.backed.items()):
            raise error(errno.EFAULT)
        if self.limit is not None and self.locked + length > self.limit:
            raise error(errno.ENOMEM)
        self.locked += length
        container.mappings[iova] = (length, address)
        return 0

    def _container_iommu_unmap_dma(self, container, argument):
        _, _flags, iova, length = abi.DMA_UNMAP.unpack(argument)
        if container.mappings.get(iova, (0, 0))[0] != length:
            raise error(errno.EINVAL)
        del container.mappings[iova]
        self.locked -= length
        return 0

    def _group_group_get_status(self, file, argument):
        drivers = {device.driver for device in self.devices.values() if device.group == file.group}
        viable = drivers <= VFIO_DRIVERS | {None, "pci-stub", "pcieport"}
        argument[:] = abi.GROUP_STATUS.pack(8, 1 if viable else 0)
        return 0

    def _group_group_set_container(self, file, argument):
        container = self.files[struct.unpack("=i", argument)[0]]
        mine = {device.iommu for device in self.devices.values() if device.group == file.group}
        there = {device.iommu for device in self.devices.values() if device.group in container.groups}
        if there and mine != there:
            raise error(errno.EINVAL)
        container.groups.add(file.group)
        return 0

    def _group_group_unset_container(self, file, argument):
        if self._device_open(file.group):
            raise error(errno.EBUSY)
        container = next(c for c in self.containers() if file.group in c.groups)
        self._leave(container, file.group)
        return 0

    def _group_group_get_device_fd(self, file, argument):
        container = next(c for c in self.containers() if file.group in c.groups)
        assert container.typed
        device = self.devices.get(bytes(argument).rstrip(b"\0").decode())
        if device is None or device.group != file.group:
            raise error(errno.ENODEV)
        device.config[4] &= ~4
        return self._file(DeviceFile(device))

    def _device_device_get_info(self, file, argument):
        argument[:] = abi.DEVICE_INFO.pack(16, 2 | file.device.can_reset, 9, 5)
        return 0

    def _device_device_get_region_info(self, file, answer):
        index = abi.REGION_INFO.unpack_from(answer)[2]
        bar = file.device.bars.get(index, FakeBar()) if index < 6 else FakeBar(256, mappable=False)
        links = []
        if bar.areas:
            body = struct.pack("=II", len(bar.areas), 0) + b"".join(struct.pack("=QQ", *a) for a in bar.areas)
            links.append((abi.CAP_SPARSE_MMAP, body))
        if bar.msix_mappable:
            links.append((abi.CAP_MSIX_MAPPABLE, b""))
        flags = 3 | (4 if bar.mappable and bar.size else 0) | (8 if links else 0)
        fixed = abi.REGION_INFO.pack(0, flags, index, 32 if links else 0, bar.size, index << 40)
        return self._answer(answer, fixed, 32, links)

    def _device_device_get_irq_info(self, file, argument):
        index = abi.IRQ_INFO.unpack(argument)[2]
        if index not in file.device.irqs:
            raise error(errno.EINVAL)
        argument[:] = abi.IRQ_INFO.pack(16, {0: 7, 1: 9, 2: 9}.get(index, 1), index, file.device.irqs[index])
        return 0

    def _device_device_set_irqs(self, file, argument):
        device = file.device
        argsz, flags, index, start, count = abi.IRQ_SET.unpack_from(argument)
        assert argsz == len(argument)
        if flags == 1 | 32 and count == 0:
            device.eventfds.pop(index, None)
            return 0
        fds = struct.unpack_from(f"={count}i", argument, 20)
        if start + count > device.irqs[index] or not all(self.files[fd] == "eventfd" for fd in fds):
            raise error(errno.EINVAL)
        if flags == 4 | 16:
            assert index == Irq.INTX
            device.unmask = fds[0]
            return 0
        assert flags == 4 | 32
        if index in {Irq.MSIX, Irq.MSI} and index in device.eventfds:
            raise error(errno.EINVAL)
        if index < 3 and any(other < 3 and other != index for other in device.eventfds):
            raise error(errno.EINVAL)  # one kind at a time
        device.eventfds[index] = list(fds)
        return 0

    def _device_device_reset(self, file, argument):
        if not file.device.can_reset:
            raise error(errno.ENOTTY)
        file.device.resets += 1
        file.device.config[4:6] = b"\0\0"
        return 0
