"""PCI as a device shows it: addresses, config space and its capabilities. Nothing of it is believed unchecked.

A hostile or dead device may answer all ones, or link its capabilities in a ring (PCI 3.0 section 6.7).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum, IntFlag

from vswitchd.ports.vfio import errors

VENDOR, COMMAND, STATUS, REVISION, HEADER_TYPE = 0x00, 0x04, 0x06, 0x08, 0x0E
SUBSYSTEM_VENDOR, CAPABILITY_LIST = 0x2C, 0x34
CONFIG_SIZE = 256
_FIRST_CAPABILITY = 0x40
_MOST_CAPABILITIES = (CONFIG_SIZE - _FIRST_CAPABILITY) // 4
_ADDRESS = re.compile(r"(?:([0-9a-f]{4,8}):)?([0-9a-f]{1,2}):([0-9a-f]{1,2})\.([0-7])", re.ASCII)


class Command(IntFlag):
    """Bits of the command register."""

    MEMORY = 0x2
    MASTER = 0x4
    INTX_DISABLE = 0x400


class Status(IntFlag):
    """Bits of the status register that matter here."""

    CAP_LIST = 0x10
    RECEIVED_TARGET_ABORT = 0x1000
    RECEIVED_MASTER_ABORT = 0x2000


class CapId(IntEnum):
    """Capabilities that are looked at."""

    POWER = 0x01
    VENDOR = 0x09
    EXPRESS = 0x10
    MSIX = 0x11


def normalise(text: str) -> str:
    """Return a PCI address as sysfs writes it: domain 0000 when left out, lower case. Raises VfioError."""
    match = _ADDRESS.fullmatch(text.strip().lower())
    if match is None:
        raise errors.bad_address(text)
    domain, bus, slot, function = match.groups()
    if int(slot, 16) > 0x1F:
        raise errors.bad_address(text)
    return f"{int(domain or '0', 16):04x}:{int(bus, 16):02x}:{int(slot, 16):02x}.{function}"


@dataclass(frozen=True, slots=True)
class Capability:
    """One capability: where it begins in config space."""

    id: int
    offset: int


@dataclass(frozen=True, slots=True)
class Identity:
    """What a device says it is (PCI 3.0 section 6.2.1)."""

    vendor: int
    device: int
    subsystem_vendor: int
    subsystem_device: int
    class_code: int
    revision: int

    def __str__(self) -> str:
        return f"{self.vendor:04x}:{self.device:04x}"


@dataclass(frozen=True, slots=True)
class PcieLink:
    """Speed in GT/s and lanes of the link to the slot, and what the device could do."""

    speed: float
    width: int
    max_speed: float
    max_width: int


_GIGATRANSFERS = {1: 2.5, 2: 5.0, 3: 8.0, 4: 16.0, 5: 32.0, 6: 64.0}


class ConfigSpace:
    """The first 256 bytes of config space, by typed reads and writes. Control thread.

    `read(offset, length)` and `write(offset, data)` reach the device; they raise VfioError when it is gone.
    """

    def __init__(
        self, address: str, read: Callable[[int, int], bytes], write: Callable[[int, bytes], None]
    ) -> None:
        self.address = address
        self._read = read
        self._write = write

    def bytes(self, offset: int, length: int) -> bytes:
        """Read; offset and length are ours, so a read past the end is a bug."""
        if offset < 0 or offset + length > CONFIG_SIZE:
            raise ValueError(f"config space ends before {offset:#x}+{length}")
        return self._read(offset, length)

    def u8(self, offset: int) -> int:
        """Read one byte."""
        return self.bytes(offset, 1)[0]

    def u16(self, offset: int) -> int:
        """Read two bytes."""
        return int.from_bytes(self.bytes(offset, 2), "little")

    def u32(self, offset: int) -> int:
        """Read four bytes."""
        return int.from_bytes(self.bytes(offset, 4), "little")

    def write_u16(self, offset: int, value: int) -> None:
        """Write two bytes."""
        self._write(offset, value.to_bytes(2, "little"))

    def write_u32(self, offset: int, value: int) -> None:
        """Write four bytes."""
        self._write(offset, value.to_bytes(4, "little"))

    def command(self, on: int = 0, off: int = 0) -> None:
        """Set and clear bits of the command register, with one write, and none when nothing changes."""
        before = self.u16(COMMAND)
        after = (before & ~off) | on
        if after != before:
            self.write_u16(COMMAND, after)

    def identity(self) -> Identity:
        """Read what the device is. Raises VfioError when nobody answers or it is a bridge."""
        head = self.bytes(0, _FIRST_CAPABILITY)

        def word(at: int) -> int:
            return int.from_bytes(head[at : at + 2], "little")

        if word(VENDOR) == 0xFFFF:
            raise errors.removed(self.address)
        if head[HEADER_TYPE] & 0x7F:
            raise errors.bad_config(self.address, f"header type {head[HEADER_TYPE] & 0x7F}, a bridge")
        return Identity(
            vendor=word(VENDOR),
            device=word(VENDOR + 2),
            subsystem_vendor=word(SUBSYSTEM_VENDOR),
            subsystem_device=word(SUBSYSTEM_VENDOR + 2),
            class_code=int.from_bytes(head[REVISION + 1 : REVISION + 4], "little"),
            revision=head[REVISION],
        )

    def capabilities(self) -> tuple[Capability, ...]:
        """Walk the list. Raises VfioError when it leaves config space or does not end."""
        if not self.u16(STATUS) & Status.CAP_LIST:
            return ()
        found: list[Capability] = []
        at = self.u8(CAPABILITY_LIST) & 0xFC
        while at:
            if at < _FIRST_CAPABILITY:
                raise errors.bad_config(self.address, f"a capability at {at:#x}, inside the header")
            if len(found) == _MOST_CAPABILITIES:
                raise errors.bad_config(self.address, "its list of capabilities does not end")
            head = self.u16(at)
            if head == 0xFFFF:
                raise errors.removed(self.address)
            found.append(Capability(head & 0xFF, at))
            at = head >> 8 & 0xFC
        return tuple(found)

    def find(self, ident: CapId, size: int) -> int | None:
        """Offset of the first capability of a kind, None when there is none. Raises VfioError when it is cut off."""
        at = next((cap.offset for cap in self.capabilities() if cap.id == ident), None)
        if at is not None and at + size > CONFIG_SIZE:
            raise errors.bad_config(self.address, f"capability {ident.name} at {at:#x} does not fit")
        return at

    def link(self) -> PcieLink | None:
        """Read the PCI Express link (PCIe 4.0 sections 7.5.3.6 and 7.5.3.8); None for a device without one."""
        at = self.find(CapId.EXPRESS, 0x14)
        if at is None:
            return None
        can, now = self.u32(at + 0x0C), self.u16(at + 0x12)
        return PcieLink(
            speed=_GIGATRANSFERS.get(now & 0xF, 0.0),
            width=now >> 4 & 0x3F,
            max_speed=_GIGATRANSFERS.get(can & 0xF, 0.0),
            max_width=can >> 4 & 0x3F,
        )
