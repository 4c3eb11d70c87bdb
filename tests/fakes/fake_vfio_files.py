"""What the played kernel of fake_vfio.py has: devices, their BARs and config space, memory, and open files of VFIO."""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
from dataclasses import dataclass, field

from vswitchd.ports.vfio.abi import Irq

MAP_NORESERVE = 0x4000


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
