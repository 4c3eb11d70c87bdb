"""What all flow-mods of a kind have in common, read from the first one: for flow_run.c, which takes the others.

A kind is: the same table, command and flags, the same fields and masks in the same order on the wire, and the same values of
those fields on which others hang (prerequisites: eth_type, ip_proto ...). Where everything stands comes from the rows of
messages.py and fields.py; nothing about the wire is said here. Thread: control.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

from vswitchd.datapath.action import FIELDS as KEY_FIELDS
from vswitchd.datapath.action import FieldInfo, pack_match
from vswitchd.datapath.core import lib
from vswitchd.ofproto.actions import Action, SetField
from vswitchd.ofproto.compile import KEY_FIELD, compile_actions, compile_shape
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
from vswitchd.ofproto.instructions import INSTRUCTIONS, ApplyActions, Instruction, WriteActions
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


@dataclass(frozen=True, slots=True)
class Edit:
    """A value that an action sets: offset in the instructions, index of the compiled action, size, shift, end in its value."""

    at: int
    action: int
    size: int
    shift: int
    end: int


def edits_of(
    tail: bytes, instructions: tuple[Instruction, ...], before: int
) -> tuple[bytes, tuple[Edit, ...]]:
    """Find which bits of the instructions are values of set-field actions, and where each goes in the compiled actions.

    `before`: how many compiled actions stand before those of apply-actions. Returns the mask of all other bits. None at all if
    `tail` is not just what the codec writes. Where a value lies is seen from what the codec writes for two values.
    """
    mask = int.from_bytes(b"\xff" * len(tail), "big")
    found: list[Edit] = []
    if tail == INSTRUCTIONS.write(instructions, OFP_VERSION_13):
        first = {ApplyActions: before, WriteActions: before + sum(_n_apply(item) for item in instructions)}
        for number, item in enumerate(instructions):
            if not isinstance(item, ApplyActions | WriteActions):
                continue
            for index, action in enumerate(item.actions):
                info = _set_whole(action)
                if info is None or not isinstance(action, SetField):
                    continue
                free = action.field.all_ones & ~_DECIDING.get(action.field, 0)
                none, ones = (
                    _with(instructions, number, index, replace(action, value=value))
                    for value in (action.value & ~free, action.value | free)
                )
                bits = int.from_bytes(none, "big") ^ int.from_bytes(ones, "big")
                end = len(tail) - ((bits & -bits).bit_length() - 1) // 8
                size = action.field.size
                found.append(Edit(end - size, first[item.__class__] + index, size, info.shift, info.size))
                mask &= ~bits
    return mask.to_bytes(len(tail), "big"), tuple(found)


def _n_apply(item: Instruction) -> int:
    return len(item.actions) if isinstance(item, ApplyActions) else 0


def _set_whole(action: Action) -> FieldInfo | None:
    """Where in the datapath's key a set-field puts its value, None for what does not or has no bit of its own."""
    if not isinstance(action, SetField) or not action.field.all_ones & ~_DECIDING.get(action.field, 0):
        return None
    (compiled,) = compile_actions((action,))
    return KEY_FIELDS[KEY_FIELD[action.field]] if compiled.type == lib.VS_ACT_SET_FIELD else None


def _with(instructions: tuple[Instruction, ...], number: int, index: int, action: SetField) -> bytes:
    """Encode instructions in which one action is another one."""
    item = instructions[number]
    assert isinstance(item, ApplyActions | WriteActions)
    actions = (*item.actions[:index], action, *item.actions[index + 1 :])
    changed = (*instructions[:number], item.__class__(actions), *instructions[number + 1 :])
    return INSTRUCTIONS.write(changed, OFP_VERSION_13)
