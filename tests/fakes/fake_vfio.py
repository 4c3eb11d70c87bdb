"""A kernel with VFIO in it, for the Python layer: sysfs, groups, containers, regions, interrupts, and what can go wrong.

It keeps the kernel's rules (who may be opened, mapped, unmapped when) and knows what is still open at the end. Each call that
may fail has a name in `calls`; fail(name, errno) makes the next such call fail, fail_at(n, errno) the n-th of all.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import mmap
import os
import struct
from dataclasses import dataclass, field

from vswitchd.ports.vfio import abi
from vswitchd.ports.vfio.abi import Irq, Request
from vswitchd.ports.vfio.kernel import Holder, Memlock

PAGE = 4096
MAP_NORESERVE = 0x4000
VFIO_DRIVERS = {"vfio-pci", "mlx5_vfio_pci"}
MSI_HOLE = ((0, 0xFEDFFFFF), (0xFEF00000, (1 << 48) - 1))


def error(number):
    return OSError(number, os.strerror(number))


@dataclass
class FakeBar:
    size: int = 0
    mappable: bool = True
    areas: tuple = ()
    msix_mappable: bool = True


@dataclass
class FakeDevice:
    address: str
    group: str
    driver: str | None = "vfio-pci"
    iommu: str = "dmar0"
    bars: dict = field(default_factory=lambda: {0: FakeBar(0x20000)})
    config: bytearray | None = None
    irqs: dict = field(
        default_factory=lambda: {Irq.INTX: 1, Irq.MSI: 1, Irq.MSIX: 10, Irq.ERR: 1, Irq.REQ: 1}
    )
    can_reset: bool = True
    gone: bool = False
    resets: int = 0
    eventfds: dict = field(default_factory=dict)
    unmask: int = -1
    writes: list = field(default_factory=list)

    def __post_init__(self):
        self.config = make_config() if self.config is None else self.config

    @property
    def bus_master(self):
        return bool(self.config[4] & 4)

    def fire(self, index, number=0):
        os.eventfd_write(self.eventfds[index][number], 1)


def make_config(vendor=0x8086, device=0x10C9, caps=(), *, class_code=0x020000, header=0, command=0):
    """256 bytes; caps: (offset, id, body bytes), linked in this order."""
    config = bytearray(256)
    struct.pack_into("<HHHHB", config, 0, vendor, device, command, 0x10 if caps else 0, 1)
    config[9:12] = class_code.to_bytes(3, "little")
    config[14] = header
    struct.pack_into("<HH", config, 0x2C, 0x1AF4, 0x1100)
    at = 0x34
    for offset, ident, body in caps:
        config[at] = offset
        config[offset] = ident
        config[offset + 2 : offset + 2 + len(body)] = body
        at = offset + 1
    return config


class Memory:
    """Anonymous memory with an address, for BARs and for the window."""

    def __init__(self, length, closed=lambda memory: None):
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE
        self._map = mmap.mmap(-1, length, flags)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        self.closed = closed

    def close(self):
        if self.closed is not None:
            self.closed(self)
            self._map.close()
            self.closed = None


@dataclass
class Container:
    groups: set = field(default_factory=set)
    typed: bool = False
    mappings: dict = field(default_factory=dict)


@dataclass
class GroupFile:
    group: str


@dataclass
class DeviceFile:
    device: FakeDevice


class FakeKernel:
    page_size = PAGE

    def __init__(self, *devices):
        self.devices = {device.address: device for device in devices}
        self.ranges = dict.fromkeys({device.iommu for device in devices}, MSI_HOLE)
        self.modules = True
        self.noiommu = False
        self.cpu = "vendor_id : GenuineIntel flags : fpu vme"
        self.files = {}
        self.maps = []
        self.denied = {}
        """path -> errno when it is opened"""
        self.other_holders = {}
        """group -> Holder: another process has it"""
        self.limit = None
        self.locked = 0
        self.dma_limit = 65535
        self.api_version = 0
        self.extensions = {1, 3, 9}
        self.page_sizes = 0x40201000
        self.range_cap = True
        self.remapping = True
        self.free_huge = {21: 1 << 20, 30: 16}
        self.window = None
        self.window_size = 0
        self.backed = {}
        self.calls = []
        self._fail = {}
        self._fail_at = {}
        self._numbers = itertools.count(100_000)

    # What tests say.

    def fail(self, name, number):
        self._fail[name] = number

    def fail_at(self, n, number):
        self._fail_at[n] = number

    def _call(self, name):
        self.calls.append(name)
        number = self._fail_at.pop(len(self.calls) - 1, None) or self._fail.pop(name, None)
        if number is not None:
            raise error(number)

    def left(self):
        """What is still open, as text; empty when all was given back."""
        found = [f"fd {fd}: {file}" for fd, file in self.files.items()]
        found += [f"mapped BAR at {memory.address:#x}" for memory, _ in self.maps]
        found += [f"backed {offset:#x}" for offset in self.backed]
        if self.window is not None:
            found.append("reservation")
        return found

    def containers(self):
        return [file for file in self.files.values() if isinstance(file, Container)]

    def die(self):
        """kill -9: the kernel closes everything of the process."""
        for memory, _ in list(self.maps):
            memory.close()
        for fd, file in sorted(
            self.files.items(), key=lambda item: isinstance(item[1], DeviceFile), reverse=True
        ):
            if isinstance(file, DeviceFile):
                file.device.config[4] &= ~4
            if file == "eventfd":
                os.close(fd)
        self.files.clear()
        self.backed.clear()
        if self.window is not None:
            self.window.close()
            self.window = None
        for device in self.devices.values():
            device.eventfds.clear()
        self.locked = 0

    # Files.

    def open(self, path):
        self._call(f"open {path}")
        if path in self.denied:
            raise error(self.denied[path])
        if not self.exists(path):
            raise error(errno.ENOENT)
        if path == abi.VFIO_PATH:
            return self._file(Container())
        group = path.rpartition("/")[2]
        busy = group in self.other_holders or any(
            isinstance(file, GroupFile) and file.group == group for file in self.files.values()
        )
        if busy or self._device_open(group):
            raise error(errno.EBUSY)
        return self._file(GroupFile(group))

    def _file(self, what):
        fd = next(self._numbers)
        self.files[fd] = what
        return fd

    def _device_open(self, group):
        return any(isinstance(f, DeviceFile) and f.device.group == group for f in self.files.values()) or any(
            device.group == group for _, device in self.maps
        )

    def close(self, fd):
        file = self.files.pop(fd)
        match file:
            case "eventfd":
                os.close(fd)
            case GroupFile(group):
                assert not self._device_open(group), "the group is closed while its device is open"
                for container in self.containers():
                    self._leave(container, group)
            case DeviceFile(device):
                device.eventfds.clear()
                device.config[4] &= ~4

    def _leave(self, container, group):
        container.groups.discard(group)
        if not container.groups:
            self.locked -= sum(length for length, _ in container.mappings.values())
            container.mappings.clear()
            container.typed = False

    def eventfd(self):
        self._call("eventfd")
        fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.files[fd] = "eventfd"
        return fd

    def pread(self, fd, length, offset):
        self._call("pread")
        device = self.files[fd].device
        at = offset - (abi.CONFIG_REGION << 40)
        assert 0 <= at <= 256 - length
        return b"\xff" * length if device.gone else bytes(device.config[at : at + length])

    def pwrite(self, fd, data, offset):
        self._call("pwrite")
        device = self.files[fd].device
        at = offset - (abi.CONFIG_REGION << 40)
        assert 0 <= at <= 256 - len(data)
        device.writes.append((at, bytes(data)))
        if at != 6:  # status cannot be written through vfio-pci
            device.config[at : at + len(data)] = data
        return len(data)

    def map(self, fd, offset, length):
        self._call("map")
        device = self.files[fd].device
        index, at = offset >> 40, offset & ((1 << 40) - 1)
        bar = device.bars[index]
        room = -(-bar.size // PAGE) * PAGE
        areas = bar.areas or ((0, bar.size),)
        fits = any(start <= at and at + length <= start + size for start, size in areas)
        if not bar.mappable or at % PAGE or at + length > room or not fits:
            raise error(errno.EINVAL)
        memory = Memory(length, lambda memory: self.maps.remove((memory, device)))
        self.maps.append((memory, device))
        return memory

    # sysfs and the like.

    def text(self, path):
        return self.cpu if path == "/proc/cpuinfo" else None

    def _device(self, path):
        return self.devices.get(path.split("/")[5]) if path.startswith("/sys/bus/pci/devices/") else None

    def link(self, path):
        device = self._device(path)
        if device is None:
            return None
        match path.rpartition("/")[2]:
            case "driver":
                return device.driver
            case "iommu_group":
                return device.group or None
        return None

    def names(self, path):
        group = path.split("/")[4]
        return sorted(device.address for device in self.devices.values() if device.group == group)

    def exists(self, path):
        if self._device(path) is not None:
            return True
        vfio = self.modules and {
            device.group for device in self.devices.values() if device.driver in VFIO_DRIVERS
        }
        prefix = "/dev/vfio/noiommu-" if self.noiommu else "/dev/vfio/"
        return (
            path == abi.VFIO_PATH
            if self.modules and path == abi.VFIO_PATH
            else any(path == prefix + group for group in vfio or ())
        )

    def holders(self, path):
        group = path.rpartition("/")[2]
        return [self.other_holders[group]] if isinstance(self.other_holders.get(group), Holder) else []

    def pid(self):
        return 4242

    def user(self):
        return 1000

    def memlock(self):
        return None if self.limit is None else Memlock(self.limit, self.locked)

    # DMA memory.

    def reserve(self, size, iova):
        self._call("reserve")
        assert self.window is None
        self.window = Memory(size)
        self.window_size = size
        return self.window.address

    def back(self, offset, length, shift):
        self._call("back")
        assert offset + length <= self.window_size
        assert not any(o < offset + length and offset < o + n for o, (n, _) in self.backed.items())
        if shift:
            if self.free_huge[shift] < length >> shift:
                raise error(errno.ENOMEM)
            self.free_huge[shift] -= length >> shift
        self.backed[offset] = (length, shift)

    def unback(self, offset, length):
        known, shift = self.backed.pop(offset)
        assert known == length
        start = self.window.address + offset
        for container in self.containers():
            assert not any(address == start for _, address in container.mappings.values()), (
                "a device can reach it"
            )
        if shift:
            self.free_huge[shift] += length >> shift

    def release(self):
        assert not self.backed
        self.window.close()
        self.window = None

    def clear(self, address, length):
        start = address - self.window.address
        assert any(offset <= start and start + length <= offset + n for offset, (n, _) in self.backed.items())
        ctypes.memset(address, 0, length)

    # Calls on VFIO's files.

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
