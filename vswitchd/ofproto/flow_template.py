"""What all flow-mods of a kind have in common, read from the first one: for flow_run.c, which takes the others.

A kind is: the same table, command and flags, the same fields and masks in the same order on the wire, and the same values of
those fields on which others hang (prerequisites: eth_type, ip_proto ...). Where everything stands comes from the rows of
messages.py and fields.py; nothing about the wire is said here. Thread: control.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from vswitchd.datapath.action import FIELDS as KEY_FIELDS
from vswitchd.datapath.action import pack_match
from vswitchd.datapath.core import lib
from vswitchd.ofproto.compile import KEY_FIELD, compile_shape
from vswitchd.ofproto.constants import (
    OFP_HEADER_LEN,
    OFP_NO_BUFFER,
    OFP_VERSION_13,
    OFPFC,
    OFPFF,
    OFPG,
    OFPP,
    OFPTT_ALL,
    OFPVID_PRESENT,
)
from vswitchd.ofproto.errors import OFPBRC
from vswitchd.ofproto.fields import BY_NAME, FIELDS, Field
from vswitchd.ofproto.match_shape import Shape, pack
from vswitchd.ofproto.messages import FlowMod
from vswitchd.ofproto.oxm import value_places
from vswitchd.ofproto.registry import BY_CLASS
from vswitchd.ofproto.wire import Layout, Reader, places

_BODY = BY_CLASS[OFP_VERSION_13][FlowMod].body
assert isinstance(_BODY, Layout)
PLACES = {
    name: (OFP_HEADER_LEN + at, size)
    for name, (at, size) in places(_BODY.fixed.format[1:], _BODY.head).items()
}
"""Offset and size of the fixed fields of a flow-mod."""
_MATCH_AT = OFP_HEADER_LEN + _BODY.fixed.size
# What may differ between messages of a kind: what is copied, and what the command does not look at.
_FREE = {
    OFPFC.ADD: ("cookie", "cookie_mask", "idle_timeout", "hard_timeout", "priority", "out_port", "out_group"),
    OFPFC.DELETE_STRICT: ("cookie", "idle_timeout", "hard_timeout", "priority"),
}
_FREE_HEADER = range(2, OFP_HEADER_LEN)  # length and xid


def _deciding() -> dict[Field, int]:
    """The bits of fields whose values say whether others may stand in a match, or an action in the instructions."""
    found: dict[Field, int] = {BY_NAME["vlan_vid"]: OFPVID_PRESENT}
    for row in FIELDS:
        for name, values in row.prereqs:
            if values:
                found[BY_NAME[name]] = BY_NAME[name].all_ones
    return found


_DECIDING = _deciding()


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """A kind of flow-mods; slots: (offset in the message, size, shift, end in struct vs_key, end in the packed number)."""

    table: int
    shape: Shape
    adds: bool
    flags: int
    mask: bytes
    head: bytes
    slots: tuple[tuple[int, int, int, int, int], ...]
    key_mask: bytes

    @property
    def reset(self) -> bool:
        """Whether counters begin at 0 where an entry is replaced."""
        return bool(self.flags & _RESET_COUNTS)


_RESET_COUNTS = int(OFPFF.RESET_COUNTS)


def has_kind(mod: FlowMod) -> bool:
    """Whether messages like this one need nothing but their own table: no buffer, no other entries, no table-miss entry."""
    if not mod.match.entries or mod.match.get("in_phy_port") is not None:
        return False
    if mod.command == OFPFC.ADD:
        return mod.buffer_id == OFP_NO_BUFFER and not mod.flags & OFPFF.CHECK_OVERLAP
    if mod.command == OFPFC.DELETE_STRICT:
        unfiltered = mod.out_port == OFPP.ANY and mod.out_group == OFPG.ANY and mod.cookie_mask == 0
        return unfiltered and mod.table_id != OFPTT_ALL
    return False


@cache
def _fixed_mask(command: OFPFC) -> bytes:
    """Which bits of a flow-mod's part before the match are to be the same; padding is not."""
    mask = bytearray(_MATCH_AT)
    mask[: _FREE_HEADER.start] = b"\xff" * _FREE_HEADER.start
    for name, (at, size) in PLACES.items():
        if name not in _FREE[command]:
            mask[at : at + size] = b"\xff" * size
    return bytes(mask)


def template_of(data: bytes, mod: FlowMod) -> Template:
    """Return the kind of a flow-mod of OpenFlow 1.3 that was carried out and has one (`has_kind`)."""
    shape, _packed = pack(mod.match)
    rd = Reader(data, _MATCH_AT, len(data), OFPBRC.BAD_LEN, OFP_VERSION_13)
    values = value_places(rd)
    mask = bytearray(_fixed_mask(OFPFC(mod.command)) + b"\xff" * (rd.pos - _MATCH_AT) + bytes(-rd.pos % 8))
    slots = []
    for row, at, bits in values:
        free = bits & ~_DECIDING.get(row, 0)
        mask[at : at + row.size] = (~free & (1 << 8 * row.size) - 1).to_bytes(row.size, "big")
        place = shape.by_rank.get(row.rank)  # None: a field masked out whole
        if place is not None:
            info = KEY_FIELDS[KEY_FIELD[row]]
            end = lib.VS_RUN_KEY - place.shift // 8
            slots.append((at, row.size, info.shift, info.offset + info.size, end))
    head = bytes(a & b for a, b in zip(data, mask, strict=False))
    fields = tuple((key, 0, ones) for key, ones, _shift, _bits in compile_shape(shape))
    return Template(
        mod.table_id, shape, mod.command == OFPFC.ADD, mod.flags, bytes(mask), head, tuple(slots),
        pack_match(fields)[1],
    )  # fmt: skip
