"""A match: an immutable ordered set of field constraints, and its wire form, the OXM list (1.3.5, 7.2.3).

Reading checks what the specification lets a switch refuse, field by field in wire order: class and number,
length, mask allowed, value bits outside the mask or the field, prerequisites before their dependants,
duplicates. A mask of all ones is dropped and a field masked out whole is left out (7.2.3.5), so equal matches
have equal entries.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from vswitchd.ofproto.constants import OFPVID_PRESENT, OFPXMC
from vswitchd.ofproto.errors import OFPBMC, OFError
from vswitchd.ofproto.fields import BY_NAME, FIELDS, Field
from vswitchd.ofproto.wire import Reader

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_HEAD = struct.Struct("!HH")
_OXM = struct.Struct("!HBB")
_U32 = struct.Struct("!I")
_VLAN_PCP_NEEDS = BY_NAME["vlan_vid"]


class OFPMT(IntEnum):
    """Match types (7.2.3.1)."""

    STANDARD = 0
    OXM = 1


class FieldMatch(NamedTuple):
    """One constraint: packet[field] & mask == value; no mask means all bits of the field."""

    field: Field
    value: int
    mask: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Match:
    """What packets a flow entry takes. Build it with `Match.of()`, which checks; the bare constructor trusts.

    Equality and hash do not look at the order of the entries.
    """

    entries: tuple[FieldMatch, ...] = ()

    @classmethod
    def of(cls, *entries: FieldMatch | tuple[Field, int] | tuple[Field, int, int | None]) -> Match:
        """Check constraints, put them in canonical order and build a match; OFError (BAD_MATCH) if bad."""
        seen: dict[Field, int] = {}
        done = []
        for entry in sorted((FieldMatch(*e) for e in entries), key=lambda e: e.field.rank):
            checked = _checked(entry.field, entry.value, entry.mask, seen)
            if checked is not None:
                done.append(checked)
        return cls(tuple(done))

    @classmethod
    def named(cls, **values: int | tuple[int, int]) -> Match:
        """Build a match by field names: `Match.named(eth_type=0x800, ipv4_dst=(0x0A000000, 0xFF000000))`."""
        return cls.of(
            *(
                (BY_NAME[name], *value) if isinstance(value, tuple) else (BY_NAME[name], value)
                for name, value in values.items()
            )
        )

    def get(self, name: str) -> FieldMatch | None:
        """Return the constraint on a field, by the field's name."""
        for entry in self.entries:
            if entry.field.name == name:
                return entry
        return None

    def __iter__(self) -> Iterator[FieldMatch]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Match):
            return NotImplemented
        return self.entries == other.entries or frozenset(self.entries) == frozenset(other.entries)

    def __hash__(self) -> int:
        return hash(frozenset(self.entries))


def _checked(row: Field, value: int, mask: int | None, seen: dict[Field, int]) -> FieldMatch | None:
    """Check one constraint after those in `seen`, note it there; None if its mask leaves nothing."""
    if row in seen:
        raise OFError(OFPBMC.DUP_FIELD, f"{row.name} twice")
    ones = (1 << row.bits) - 1
    if mask is not None:
        if not row.maskable:
            raise OFError(OFPBMC.BAD_MASK, f"{row.name} cannot be masked")
        if value & ~mask:
            raise OFError(
                OFPBMC.BAD_WILDCARDS, f"{row.name}={value:#x}/{mask:#x} has bits outside of its mask"
            )
        mask &= ones
        if mask == ones:
            mask = None
    if value & ~ones:
        raise OFError(OFPBMC.BAD_VALUE, f"{row.name}={value:#x} has more than {row.bits} bits")
    for name, allowed in row.prereqs:
        found = seen.get(BY_NAME[name])
        if found is None or (found not in allowed if allowed else not _present(name, found)):
            raise OFError(OFPBMC.BAD_PREREQ, f"{row.name} needs {name} before it")
    seen[row] = value
    return None if mask == 0 else FieldMatch(row, value, mask)


def _present(name: str, value: int) -> bool:
    return name != "vlan_vid" or bool(value & OFPVID_PRESENT)


_BY_KEY: dict[int, tuple[Field, bool]] = {}
for _row in FIELDS:
    _BY_KEY[_row.oxm_id >> 8] = (_row, False)
    _BY_KEY[_row.oxm_id >> 8 | 1] = (_row, True)


def read_oxm(rd: Reader) -> tuple[Field, int, int | None]:
    """Read one OXM TLV, unchecked but for its class, number and length."""
    oxm_class, number, length = rd.unpack(_OXM)
    key = oxm_class << 8 | number
    if oxm_class == OFPXMC.EXPERIMENTER and length >= 4:
        (experimenter,) = rd.unpack(_U32)
        key |= experimenter << 24
        length -= 4
    found = _BY_KEY.get(key)
    if found is None:
        raise OFError(OFPBMC.BAD_FIELD, f"unknown field: class {oxm_class:#06x}, number {number >> 1}")
    row, masked = found
    size = row.size
    if length != (size + size if masked else size):
        raise OFError(OFPBMC.BAD_LEN, f"{row.name} of {length} bytes")
    pos = rd.pos
    rd.skip(length)
    data = rd.data
    value = int.from_bytes(data[pos : pos + size], "big")
    return row, value, int.from_bytes(data[pos + size : pos + length], "big") if masked else None


def write_oxm(entry: FieldMatch, _version: int) -> bytes:
    """Write one OXM TLV."""
    row, value, mask = entry
    size = row.size
    head = row.header if mask is None else row.header + 0x100 + size
    data = head.to_bytes(4, "big")
    if row.experimenter:
        data += row.experimenter.to_bytes(4, "big")
    data += value.to_bytes(size, "big")
    return data if mask is None else data + mask.to_bytes(size, "big")


class MatchCodec:
    """struct ofp_match with its padding to 8 bytes (7.2.3.1)."""

    def read(self, rd: Reader) -> Match:
        """Read and check a match; OFError of type BAD_MATCH."""
        start = rd.pos
        if rd.end - start < 8:
            raise OFError(OFPBMC.BAD_LEN, f"{rd.end - start} bytes left for a match")
        kind, length = rd.unpack(_HEAD)
        if kind != OFPMT.OXM:
            raise OFError(OFPBMC.BAD_TYPE, f"match type {kind}")
        padded = (length + 7) & ~7
        if length < 4 or start + padded > rd.end:
            raise OFError(OFPBMC.BAD_LEN, f"a match of {length} bytes")
        inner = Reader(rd.data, rd.pos, start + length, OFPBMC.BAD_LEN, rd.version)
        rd.pos = start + padded
        seen: dict[Field, int] = {}
        entries = []
        while inner.pos < inner.end:
            entry = _checked(*read_oxm(inner), seen)
            if entry is not None:
                entries.append(entry)
        return Match(tuple(entries))

    def write(self, value: Match, version: int) -> bytes:
        """Write a match in the order of its entries."""
        body = b"".join([write_oxm(entry, version) for entry in value.entries])
        length = 4 + len(body)
        return _HEAD.pack(OFPMT.OXM, length) + body + bytes(-length % 8)


def value_places(rd: Reader) -> list[tuple[Field, int, int]]:
    """Find the values of a match that `MatchCodec` took before: (field, offset, the bits that a value may have set).

    The reader is behind the match then, before its padding.
    """
    start = rd.pos
    _kind, length = rd.unpack(_HEAD)
    inner = Reader(rd.data, rd.pos, start + length, OFPBMC.BAD_LEN, rd.version)
    rd.pos = start + length
    found = []
    while inner.pos < inner.end:
        row, _value, mask = read_oxm(inner)
        ones = (1 << row.bits) - 1
        if mask is None:
            found.append((row, inner.pos - row.size, ones))
        else:
            found.append((row, inner.pos - 2 * row.size, mask & ones))
    return found


MATCH = MatchCodec()


def from_wire_order(entries: Iterable[FieldMatch]) -> Match:
    """Build a match that keeps the given order (for tests); checked like one from the wire."""
    seen: dict[Field, int] = {}
    checked = [_checked(entry.field, entry.value, entry.mask, seen) for entry in entries]
    return Match(tuple(entry for entry in checked if entry is not None))
