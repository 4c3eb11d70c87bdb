"""Where a modern virtio device has its registers: its vendor capabilities, checked (VIRTIO 1.2 section 4.1.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from vswitchd.ports.vfio import errors
from vswitchd.ports.vfio.pci import CONFIG_SIZE, CapId, ConfigSpace

_LENGTH, _TYPE, _BAR, _OFFSET, _SIZE, _MULTIPLIER = 2, 3, 4, 8, 12, 16


class CfgType(IntEnum):
    """cfg_type (section 4.1.4); others are ignored."""

    COMMON = 1
    NOTIFY = 2
    ISR = 3
    DEVICE = 4


_LEAST = {CfgType.COMMON: 56, CfgType.NOTIFY: 2, CfgType.ISR: 1, CfgType.DEVICE: 1}
"""Bytes that each structure has at least."""
_ALIGN = {CfgType.COMMON: 4, CfgType.NOTIFY: 2, CfgType.ISR: 1, CfgType.DEVICE: 4}
"""What its offset is a multiple of (sections 4.1.4.3 to 4.1.4.6)."""


@dataclass(frozen=True, slots=True)
class Place:
    """A part of a BAR; it lies inside."""

    bar: int
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class VirtioLayout:
    """The structures of a modern virtio device."""

    common: Place
    notify: Place
    notify_off_multiplier: int
    """Bytes between the notify registers of queue_notify_off n and n + 1: 0, or a power of two from 2 up."""
    isr: Place
    device: Place | None


def parse(config: ConfigSpace, bar_sizes: Sequence[int]) -> VirtioLayout:
    """Read the vendor capabilities. Of several of one type the first that can be used counts (section 4.1.4).

    Raises VfioError when one that must be there is not, or reaches out of its BAR.
    """
    found: dict[CfgType, Place] = {}
    multiplier = 0
    for cap in config.capabilities():
        if cap.id != CapId.VENDOR or cap.offset + _MULTIPLIER > CONFIG_SIZE:
            continue
        body = config.bytes(cap.offset, _MULTIPLIER)
        if body[_TYPE] not in _LEAST or body[_BAR] > 5:
            continue  # section 4.1.4.1: reserved values of bar and unknown types are ignored
        kind = CfgType(body[_TYPE])
        if kind in found:
            continue
        place = _place(body, kind, bar_sizes)
        needed = _MULTIPLIER + (4 if kind == CfgType.NOTIFY else 0)
        if place is None or body[_LENGTH] < needed or cap.offset + needed > CONFIG_SIZE:
            continue
        found[kind] = place
        if kind == CfgType.NOTIFY:
            multiplier = config.u32(cap.offset + _MULTIPLIER)
    for kind in (CfgType.COMMON, CfgType.NOTIFY, CfgType.ISR):
        if kind not in found:
            raise errors.not_modern(config.address, kind.name)
    if multiplier & (multiplier - 1) or multiplier == 1:
        raise errors.bad_config(config.address, f"notify_off_multiplier {multiplier} is no even power of two")
    return VirtioLayout(
        common=found[CfgType.COMMON],
        notify=found[CfgType.NOTIFY],
        notify_off_multiplier=multiplier,
        isr=found[CfgType.ISR],
        device=found.get(CfgType.DEVICE),
    )


def _place(body: bytes, kind: CfgType, bar_sizes: Sequence[int]) -> Place | None:
    """Where one structure lies; None when it is not inside its BAR, too short or not aligned."""
    bar = body[_BAR]
    offset = int.from_bytes(body[_OFFSET : _OFFSET + 4], "little")
    length = int.from_bytes(body[_SIZE : _SIZE + 4], "little")
    if length < _LEAST[kind] or offset % _ALIGN[kind] or offset + length > bar_sizes[bar]:
        return None
    return Place(bar, offset, length)
