"""Datapath actions and rules as Python values, and their packing into the C layout (action.h, bridge.h)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, NamedTuple

from vswitchd.datapath.core import RX_DROPS, ffi, lib

PUNT_NO_MATCH, PUNT_ACTION, PUNT_TTL, PUNT_MISS = 0, 1, 2, 3
MAX_LEN_WHOLE = 0xFFFF
_ACTION = struct.Struct("=HHIHHI16s16s")
_ZEROS = bytes(16)
_ONES = b"\xff" * 16


class Action(NamedTuple):
    """One struct vs_action; make them with the functions below."""

    type: int
    field: int = 0
    arg: int = 0
    max_len: int = 0
    aux: int = 0
    value: bytes = _ZEROS
    mask: bytes = _ZEROS


class FieldInfo(NamedTuple):
    """Where a field lies in struct vs_key: the `bits` above `shift` of the big-endian number at offset, size bytes."""

    number: int
    offset: int
    size: int
    shift: int
    bits: int


def _fields() -> dict[str, FieldInfo]:
    rows = {}
    for i in range(lib.VS_N_FIELDS):
        info = lib.vs_field_info(i)
        name = ffi.string(info.name).decode()
        rows[name] = FieldInfo(i, info.offset, info.size, info.shift, info.bits)
    return rows


FIELDS: dict[str, FieldInfo] = _fields()
KEY_SIZE: int = ffi.sizeof("struct vs_key")


def output(port: int, max_len: int = MAX_LEN_WHOLE, reason: int = PUNT_ACTION) -> Action:
    """Output to an OpenFlow port number; max_len and reason matter for OFPP_CONTROLLER."""
    return Action(lib.VS_ACT_OUTPUT, arg=port, max_len=max_len, aux=reason)


def group(group_id: int) -> Action:
    """Run a group, looked up when the packet comes."""
    return Action(lib.VS_ACT_GROUP, arg=group_id)


def set_field(name: str, value: int, mask: int | None = None, *, proto: int = 0) -> Action:
    """Set a field of VS_KEY_FIELDS, where it is that of the IP protocol `proto` (0: any of those that share it).

    Raises KeyError (name) or ValueError (range).
    """
    f = FIELDS[name]
    full = (1 << f.bits) - 1
    mask = full if mask is None else mask
    if not 0 <= value <= full or not 0 <= mask <= full:
        raise ValueError(f"{name} has {f.bits} bits")
    return Action(
        lib.VS_ACT_SET_FIELD,
        field=f.number,
        arg=proto,
        value=((value & mask) << f.shift).to_bytes(f.size, "big").ljust(16, b"\0"),
        mask=(mask << f.shift).to_bytes(f.size, "big").ljust(16, b"\0"),
    )


def push_vlan(tpid: int = 0x8100) -> Action:
    """Push a tag; it copies VID and PCP of the outermost one."""
    return Action(lib.VS_ACT_PUSH_VLAN, arg=tpid)


def pop_vlan() -> Action:
    """Take the outermost tag away."""
    return Action(lib.VS_ACT_POP_VLAN)


def lenient(action: Action) -> Action:
    """Make a set_field, pop_vlan or push_vlan as OpenFlow 1.0 means it.

    A packet without the header stays as it is; a tag is pushed only where there is none.
    """
    return action._replace(aux=lib.VS_EDIT_LENIENT)


def dec_ttl() -> Action:
    """Decrement the IP TTL; at 0 or 1 the packet ends."""
    return Action(lib.VS_ACT_DEC_TTL)


def set_ttl(value: int) -> Action:
    """Set the IP TTL."""
    return Action(lib.VS_ACT_SET_TTL, arg=value)


def push_mpls(ethertype: int) -> Action:
    """Push a label stack entry right behind the Ethernet addresses."""
    return Action(lib.VS_ACT_PUSH_MPLS, arg=ethertype)


def pop_mpls(ethertype: int) -> Action:
    """Take the outermost label stack entry away; what follows is of that type."""
    return Action(lib.VS_ACT_POP_MPLS, arg=ethertype)


def push_pbb(ethertype: int = 0x88E7) -> Action:
    """Put the frame into a new one with an I-TAG."""
    return Action(lib.VS_ACT_PUSH_PBB, arg=ethertype)


def pop_pbb() -> Action:
    """Take the outer frame of a PBB frame away."""
    return Action(lib.VS_ACT_POP_PBB)


def set_mpls_ttl(value: int) -> Action:
    """Set the TTL of the outermost label stack entry."""
    return Action(lib.VS_ACT_SET_MPLS_TTL, arg=value)


def dec_mpls_ttl() -> Action:
    """Decrement the TTL of the outermost label stack entry; at 0 or 1 the packet ends."""
    return Action(lib.VS_ACT_DEC_MPLS_TTL)


def copy_ttl_out() -> Action:
    """Copy the TTL of the next header that has one to the outermost."""
    return Action(lib.VS_ACT_COPY_TTL_OUT)


def copy_ttl_in() -> Action:
    """Copy the TTL of the outermost header to the next one that has one."""
    return Action(lib.VS_ACT_COPY_TTL_IN)


def set_queue(queue: int) -> Action:
    """Choose the queue of the ports that follow."""
    return Action(lib.VS_ACT_SET_QUEUE, arg=queue)


def meter(meter_id: int, *, remarks: bool = False) -> Action:
    """Run a meter, looked up when the packet comes; remarks: it has a dscp_remark band."""
    return Action(lib.VS_ACT_METER, arg=meter_id, aux=int(remarks))


def drop(label: str) -> Action:
    """End the program with a receive drop reason of drop.h."""
    return Action(lib.VS_ACT_DROP, arg=RX_DROPS.index(label))


def pack(actions: tuple[Action, ...]) -> bytes:
    """As an array of struct vs_action."""
    return b"".join(
        _ACTION.pack(a.type, a.field, a.arg, a.max_len, a.aux, 0, a.value, a.mask) for a in actions
    )


def actions_array(actions: tuple[Action, ...]) -> Any:
    """A cffi array that C may read while the result lives."""
    return ffi.from_buffer("struct vs_action[]", pack(actions)) if actions else ffi.NULL


@dataclass(frozen=True, slots=True)
class RuleSpec:
    """One OpenFlow rule for the datapath: match as (field name, value, mask), instructions as datapath actions."""

    table: int
    priority: int
    match: tuple[tuple[str, int, int], ...] = ()
    cookie: int = 0
    apply: tuple[Action, ...] = ()
    write: tuple[Action, ...] = ()
    clear: bool = False
    metadata: tuple[int, int] | None = None
    goto: int | None = None


def pack_match(match: tuple[tuple[str, int, int], ...]) -> tuple[bytes, bytes]:
    """Value and mask as struct vs_key. Raises KeyError for an unknown field."""
    value, masks = 0, 0
    for name, v, m in match:
        f = FIELDS[name]
        shift = f.shift + 8 * (KEY_SIZE - f.offset - f.size)
        value |= (v & m) << shift
        masks |= m << shift
    return value.to_bytes(KEY_SIZE, "big"), masks.to_bytes(KEY_SIZE, "big")
