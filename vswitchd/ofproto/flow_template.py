"""What all flow-mods of a kind have in common, read from the first one: for flow_run.c, which takes the others.

A kind is: the same version, table, command and flags, the same fields and masks in the same order on the wire, and the same
values of those fields on which others hang (prerequisites: eth_type, ip_proto ...). Where everything stands comes from the rows
of messages.py, messages10.py and fields.py; nothing about the wire is said here, and what is found is tried by decoding. Thread:
control.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from vswitchd.datapath.action import FIELDS as KEY_FIELDS
from vswitchd.datapath.action import FieldInfo, pack_match
from vswitchd.datapath.core import lib
from vswitchd.ofproto.actions import Action, SetField
from vswitchd.ofproto.codec import decode
from vswitchd.ofproto.compile import KEY_FIELD, compile_actions, compile_shape, dp_match
from vswitchd.ofproto.constants import (
    OFP_HEADER_LEN,
    OFP_NO_BUFFER,
    OFP_VERSION_10,
    OFP_VERSION_13,
    OFPFC,
    OFPFF,
    OFPG,
    OFPP,
    OFPTT_ALL,
)
from vswitchd.ofproto.errors import OFPBRC, OFError
from vswitchd.ofproto.fields import Field
from vswitchd.ofproto.instructions import INSTRUCTIONS, ApplyActions, Instruction, WriteActions
from vswitchd.ofproto.match10_places import bit_places, deciding
from vswitchd.ofproto.match_shape import Shape, pack
from vswitchd.ofproto.messages import FlowMod
from vswitchd.ofproto.oxm import Match, value_places
from vswitchd.ofproto.registry import BY_CLASS
from vswitchd.ofproto.wire import Layout, Reader, places
from vswitchd.ofproto.wire10 import Columns, Part, Recast

# What may differ between messages of a kind: what is copied, and what the command does not look at.
_FREE = {
    OFPFC.ADD: ("cookie", "cookie_mask", "idle_timeout", "hard_timeout", "priority", "out_port", "out_group"),
    OFPFC.DELETE_STRICT: ("cookie", "idle_timeout", "hard_timeout", "priority"),
}
_FREE_HEADER = range(2, OFP_HEADER_LEN)  # length and xid
_RESET_COUNTS = int(OFPFF.RESET_COUNTS)


@cache
def fixed_places(version: int) -> tuple[dict[str, tuple[int, int]], int]:
    """Return offset and size of the fixed fields of a flow-mod, and where its match begins."""
    body = BY_CLASS[version][FlowMod].body
    if isinstance(body, Layout):
        found, after = places(body.fixed.format[1:], body.head), OFP_HEADER_LEN + body.fixed.size
        return {name: (OFP_HEADER_LEN + at, size) for name, (at, size) in found.items()}, after
    assert isinstance(body, Recast)
    match, columns = body.steps[:2]
    assert isinstance(match, Part)
    assert isinstance(columns, Columns)
    start = OFP_HEADER_LEN + len(match.codec.write(Match(), version))
    found = places(columns.struct.format[1:], columns.names)
    return {name: (start + at, size) for name, (at, size) in found.items()}, OFP_HEADER_LEN


@dataclass(frozen=True, slots=True)
class Value:
    """A value of the match, of which `free` bits may differ: `size` bytes at `at` of the message.

    Other bits are set there only where the value has them too.
    """

    field: Field
    at: int
    size: int
    free: int


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """A kind of flow-mods; slots: (offset in the message, size, shift, end in struct vs_key, end in the packed number).

    `key`, `packed`: the bits of values that all of the kind have, with the priority if they have that too. `places`: offset and size
    of the fixed fields that may differ.
    """

    table: int
    shape: Shape
    adds: bool
    flags: int
    reset: bool
    """Whether counters begin at 0 where an entry is replaced."""
    mask: bytes
    head: bytes
    slots: tuple[tuple[int, int, int, int, int], ...]
    key: bytes
    key_mask: bytes
    packed: int
    places: dict[str, tuple[int, int]]


def has_kind(mod: FlowMod, version: int) -> bool:
    """Whether messages like this one need nothing but their own table: no buffer, no other entries, no table-miss entry."""
    if not mod.match.entries or mod.match.get("in_phy_port") is not None:
        return False
    if mod.command == OFPFC.ADD:
        return mod.buffer_id == OFP_NO_BUFFER and not mod.flags & OFPFF.CHECK_OVERLAP
    if mod.command == OFPFC.DELETE_STRICT:
        unfiltered = mod.out_port == OFPP.ANY and mod.out_group == OFPG.ANY and mod.cookie_mask == 0
        return unfiltered and (version == OFP_VERSION_10 or mod.table_id != OFPTT_ALL)
    return False


def template_of(data: bytes, mod: FlowMod, version: int) -> Template | None:
    """Return the kind of a flow-mod that was decoded from `data` and may have one (`has_kind`); None where it has none after all.

    OFError where it has a field that the switch has not.
    """
    free = _FREE[OFPFC(mod.command)]
    if version == OFP_VERSION_13:
        return _template13(data, mod, free)
    # An entry of 1.0 without wildcards has priority 65535 whatever it says (1.0.2, 3.4).
    return _template10(data, mod, free) or _template10(data, mod, tuple(n for n in free if n != "priority"))


def _template13(data: bytes, mod: FlowMod, free: tuple[str, ...]) -> Template:
    fixed, at = fixed_places(OFP_VERSION_13)
    rd = Reader(data, at, len(data), OFPBRC.BAD_LEN, OFP_VERSION_13)
    values = [
        Value(row, start, row.size, bits & ~deciding().get(row, 0)) for row, start, bits in value_places(rd)
    ]
    return _template(data, mod, {name: fixed[name] for name in free}, values, rd.pos)


def _template10(data: bytes, mod: FlowMod, free: tuple[str, ...]) -> Template | None:
    """Values that are no whole bytes on the wire are not free; what was found is tried."""
    fixed, start = fixed_places(OFP_VERSION_10)
    end_of_match = min(at for at, _size in fixed.values())
    values = []
    for place in bit_places(mod.match):
        size = (place.free.bit_length() + 7) // 8
        at = end_of_match - place.at // 8 - size
        entry = mod.match.get(place.field.name)
        assert entry is not None
        others = int.from_bytes(data[at : at + size], "big") & ~place.free
        if place.at >= 0 and place.at % 8 == 0 and at >= start and not others & ~entry.value:
            values.append(Value(place.field, at, size, place.free))
    numbers = {name: fixed[name] for name in free if name in fixed}
    found = _template(data, mod, numbers, values, max(at + size for at, size in fixed.values()))
    return found if _decodes_so(data, mod, found, values) else None


def _template(
    data: bytes, mod: FlowMod, numbers: dict[str, tuple[int, int]], values: list[Value], after: int
) -> Template:
    """numbers: where the fixed fields are that may differ; the head ends before byte `after`."""
    shape, packed = pack(mod.match)
    fields = compile_shape(shape)
    mask = bytearray(b"\xff" * after + bytes(-after % 8))
    for start, size in ((_FREE_HEADER.start, len(_FREE_HEADER)), *numbers.values()):
        mask[start : start + size] = bytes(size)
    slots = []
    for value in values:
        end, ones = value.at + value.size, (1 << 8 * value.size) - 1
        mask[value.at : end] = (ones & ~value.free).to_bytes(value.size, "big")
        place = shape.by_rank.get(value.field.rank)  # None: a field masked out whole
        if place is not None:
            packed &= ~(value.free << place.shift)
            info = KEY_FIELDS[KEY_FIELD[value.field]]
            slots.append((
                value.at, value.size, info.shift, info.offset + info.size, lib.VS_RUN_KEY - place.shift // 8,
            ))  # fmt: skip
    head = bytes(a & b for a, b in zip(data, mask, strict=False))
    reset = data[0] == OFP_VERSION_10 or bool(mod.flags & _RESET_COUNTS)  # 1.0.2, 4.6: the old entry goes
    return Template(
        mod.table_id, shape, mod.command == OFPFC.ADD, mod.flags, reset, bytes(mask), head, tuple(slots),
        *pack_match(dp_match(fields, packed)), packed if "priority" in numbers else packed | mod.priority, numbers,
    )  # fmt: skip


def _decodes_so(data: bytes, mod: FlowMod, kind: Template, values: list[Value]) -> bool:
    """Whether what has all set that may differ, or nothing of it, is decoded to just that."""
    free = {value.field: value.free for value in values}
    for ones in (0, -1):
        head = bytes(a | ~b & ones & 0xFF for a, b in zip(kind.head, kind.mask, strict=True))
        try:
            _xid, found = decode(
                data[:OFP_HEADER_LEN] + head[OFP_HEADER_LEN:] + data[len(head) :], OFP_VERSION_10
            )
        except OFError:
            return False
        assert isinstance(found, FlowMod)
        match = Match(tuple(
            e._replace(value=e.value & ~free.get(e.field, 0) | free.get(e.field, 0) & ones) for e in mod.match
        ))  # fmt: skip
        numbers: dict[str, Any] = {
            name: ones & (1 << 8 * size) - 1 for name, (_at, size) in kind.places.items()
        }
        # What is not looked at may be anything.
        if found != replace(mod, match=match, **numbers | {"out_port": found.out_port}):
            return False
    return True


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
                free = action.field.all_ones & ~deciding().get(action.field, 0)
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
    if not isinstance(action, SetField) or not action.field.all_ones & ~deciding().get(action.field, 0):
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
