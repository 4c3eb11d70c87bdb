"""A kernel with VFIO in it, for the Python layer: sysfs, groups, containers, regions, interrupts, and what can go wrong.

It keeps the kernel's rules (who may be opened, mapped, unmapped when) and knows what is still open at the end. Each call that
may fail has a name in `calls`; fail(name, errno) makes the next such call fail, fail_at(n, errno) the n-th of all.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import os

from fakes.fake_vfio_files import (
    Container,
    DeviceFile,
    FakeBar,
    FakeDevice,
    GroupFile,
    Memory,
    error,
    make_config,
)
from fakes.fake_vfio_ioctls import PAGE, VFIO_DRIVERS, Calls
from vswitchd.ports.vfio import abi
from vswitchd.ports.vfio.kernel import Holder, Memlock

__all__ = ["FakeBar", "FakeDevice", "FakeKernel", "make_config"]

MSI_HOLE = ((0, 0xFEDFFFFF), (0xFEF00000, (1 << 48) - 1))


class FakeKernel(Calls):
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
