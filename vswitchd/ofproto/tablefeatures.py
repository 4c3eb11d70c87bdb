"""Table features and their properties (1.3.5, section 7.3.5.5)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from vswitchd.ofproto.constants import OFPTFPT, OFPXMC
from vswitchd.ofproto.errors import OFPTFFC, OFError
from vswitchd.ofproto.wire import Layout, ListOf, Reader, Sized

_HEAD = struct.Struct("!HH")
_U32 = struct.Struct("!I")
_EXP = struct.Struct("!II")
_EXPERIMENTER = 0xFFFF


@dataclass(frozen=True, slots=True)
class TableProperty:
    """A list of ids of one kind (OFPTFPT): instruction types, action types, table numbers, or OXM headers.

    An id of an experimenter is (its number << 32) plus the ordinary id (type 0xffff, or a header of class
    0xffff).
    """

    type: int
    ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ExperimenterProperty:
    """A property of an experimenter, opaque; type is OFPTFPT.EXPERIMENTER or EXPERIMENTER_MISS."""

    type: int
    experimenter: int
    exp_type: int = 0
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class TableFeatures:
    """What a table can do."""

    table_id: int
    name: str = ""
    metadata_match: int = 0
    metadata_write: int = 0
    config: int = 0
    max_entries: int = 0
    properties: tuple[TableProperty | ExperimenterProperty, ...] = ()


_INSTRUCTIONS = (OFPTFPT.INSTRUCTIONS, OFPTFPT.INSTRUCTIONS_MISS)
_TABLES = (OFPTFPT.NEXT_TABLES, OFPTFPT.NEXT_TABLES_MISS)
_ACTIONS = tuple(range(OFPTFPT.WRITE_ACTIONS, OFPTFPT.APPLY_ACTIONS_MISS + 1))
_OXMS = (8, 10, 12, 13, 14, 15)
_OPAQUE = (OFPTFPT.EXPERIMENTER, OFPTFPT.EXPERIMENTER_MISS)


def _read_types(rd: Reader) -> tuple[int, ...]:
    """Read instruction or action ids: type, length, and a number where it is an experimenter's."""
    ids = []
    while rd.pos < rd.end:
        kind, length = rd.unpack(_HEAD)
        if kind == _EXPERIMENTER:
            (who,) = rd.unpack(_U32)
            kind |= who << 32
        elif length > 4:  # actions of a whole: some controllers send the length of the action itself
            rd.skip(length - 4)
        elif length < 4:
            raise OFError(rd.short, f"an id of {length} bytes")
        ids.append(kind)
    return tuple(ids)


def _read_oxms(rd: Reader) -> tuple[int, ...]:
    ids = []
    while rd.pos < rd.end:
        (header,) = rd.unpack(_U32)
        if header >> 16 == OFPXMC.EXPERIMENTER:
            (who,) = rd.unpack(_U32)
            header |= who << 32
        ids.append(header)
    return tuple(ids)


def _write_id(kind: int, ident: int) -> bytes:
    who = _U32.pack(ident >> 32)
    if kind in _OXMS:
        header = ident & 0xFFFFFFFF
        return _U32.pack(header) + (who if header >> 16 == OFPXMC.EXPERIMENTER else b"")
    tail = who if ident & 0xFFFF == _EXPERIMENTER else b""
    return _HEAD.pack(ident & 0xFFFF, 4 + len(tail)) + tail


class TablePropertyCodec:
    """One property, padded to 8 bytes; every fault is one of TABLE_FEATURES_FAILED."""

    def read(self, rd: Reader) -> TableProperty | ExperimenterProperty:
        """Read one property."""
        left = rd.end - rd.pos
        kind, length = rd.unpack(_HEAD)
        if length < 4 or (length + 7) & ~7 > left:
            raise OFError(OFPTFFC.BAD_LEN, f"a property of {length} bytes")
        inner = rd.sub(length - 4, OFPTFFC.BAD_LEN)
        rd.skip(-length % 8)
        if kind in _OPAQUE:
            experimenter, exp_type = inner.unpack(_EXP)
            return ExperimenterProperty(kind, experimenter, exp_type, inner.rest())
        if kind in _TABLES:
            return TableProperty(kind, tuple(inner.rest()))
        if kind in _OXMS:
            return TableProperty(kind, _read_oxms(inner))
        if kind in _INSTRUCTIONS or kind in _ACTIONS:
            return TableProperty(kind, _read_types(inner))
        raise OFError(OFPTFFC.BAD_TYPE, f"property {kind}")

    def write(self, value: TableProperty | ExperimenterProperty, _version: int) -> bytes:
        """Write one property."""
        if isinstance(value, ExperimenterProperty):
            body = _EXP.pack(value.experimenter, value.exp_type) + value.data
        elif value.type in _TABLES:
            body = bytes(value.ids)
        else:
            body = b"".join([_write_id(value.type, ident) for ident in value.ids])
        length = 4 + len(body)
        return _HEAD.pack(value.type, length) + body + bytes(-length % 8)


TABLE_FEATURES = Sized(
    Layout(TableFeatures, "2xB5x32sQQII", ListOf(TablePropertyCodec()), text=("name",)),
    at=0,
    bad_len=OFPTFFC.BAD_LEN,
)
