"""Matches packed into integers: a shape (fields and masks) shared by many flows, and one number per flow.

A match of fields f1/m1, f2/m2 ... is a `Shape` and the values side by side in one Python int, each in as many bytes as
on the wire, the first one lowest: so flow_run.c can gather them. A million
flow entries of one shape cost one int each, equality is one dict lookup, and a loose filter (6.4: "equal or
more specific") is one AND and one compare per entry, for those shapes only that can match at all. The low 16
bits are kept free for a priority. Thread: control.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from vswitchd.ofproto.oxm import OFPMT, FieldMatch, Match

if TYPE_CHECKING:
    from vswitchd.ofproto.fields import Field

PRIORITY_BITS = 16
PRIORITY_MASK = (1 << PRIORITY_BITS) - 1
_Key = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class _Place:
    field: Field
    mask: int
    shift: int


class Shape:
    """The fields and masks of a match, in canonical order, and where their values lie in a packed number.

    Shapes are shared: two equal ones are the same object while somebody holds it, so compare them by
    identity.
    """

    __slots__ = ("__weakref__", "_head", "_oxms", "_tail", "by_rank", "places")

    def __init__(self, fields: tuple[tuple[Field, int], ...]) -> None:
        places = []
        shift = PRIORITY_BITS
        for row, mask in fields:
            places.append(_Place(row, mask, shift))
            shift += 8 * row.size
        self.places = tuple(places)
        self.by_rank = {place.field.rank: place for place in places}
        self._oxms = tuple(_oxm(place) for place in places)
        length = 4 + sum(len(head) + size + len(mask) for head, _, _, size, mask in self._oxms)
        self._head = OFPMT.OXM.to_bytes(2, "big") + length.to_bytes(2, "big")
        self._tail = bytes(-length % 8)

    def unpack(self, packed: int) -> Match:
        """Return the match of a packed number (its priority bits are ignored)."""
        return Match(
            tuple(
                FieldMatch(
                    place.field,
                    packed >> place.shift & place.field.all_ones,
                    None if place.mask == place.field.all_ones else place.mask,
                )
                for place in self.places
            )
        )

    def encode(self, packed: int) -> bytes:
        """Return the match of a packed number as it stands on the wire, with its padding (7.2.3.1)."""
        chunks = [self._head]
        for head, shift, ones, size, mask in self._oxms:
            chunks += (head, (packed >> shift & ones).to_bytes(size, "big"), mask)
        chunks.append(self._tail)
        return b"".join(chunks)


def _oxm(place: _Place) -> tuple[bytes, int, int, int, bytes]:
    """Return head, shift, all ones of the field, bytes of its value, mask (none where it is exact)."""
    row = place.field
    exact = place.mask == row.all_ones
    head = (row.header if exact else row.header + 0x100 + row.size).to_bytes(4, "big")
    if row.experimenter:
        head += row.experimenter.to_bytes(4, "big")
    mask = b"" if exact else place.mask.to_bytes(row.size, "big")
    return head, place.shift, row.all_ones, row.size, mask


_SHAPES: WeakValueDictionary[_Key, Shape] = WeakValueDictionary()


def pack(match: Match) -> tuple[Shape, int]:
    """Return the shape of a match and its packed values, priority bits 0. The order of entries is free."""
    entries = [(e.field.rank, e.field.all_ones if e.mask is None else e.mask, e) for e in match.entries]
    entries.sort(key=_rank)
    key = tuple([(rank, mask) for rank, mask, _ in entries])
    shape = _SHAPES.get(key)
    if shape is None:
        shape = _SHAPES[key] = Shape(tuple((e.field, mask) for _, mask, e in entries))
    packed = 0
    for place, (_, _, entry) in zip(shape.places, entries, strict=True):
        packed |= entry.value << place.shift
    return shape, packed


def _rank(item: tuple[int, int, FieldMatch]) -> int:
    return item[0]


def loose(match: Match, shape: Shape) -> tuple[int, int] | None:
    """Return (mask, value): entries of `shape` with packed & mask == value are equal to or within `match`.

    None: no entry of this shape can be.
    """
    mask = value = 0
    for entry in match.entries:
        place = shape.by_rank.get(entry.field.rank)
        wanted = entry.field.all_ones if entry.mask is None else entry.mask
        if place is None or wanted & ~place.mask:
            return None
        mask |= wanted << place.shift
        value |= entry.value << place.shift
    return mask, value


def common(match: Match, shape: Shape) -> tuple[int, int]:
    """Return (mask, value): entries of `shape` with packed & mask == value share a packet with `match`."""
    mask = value = 0
    for entry in match.entries:
        place = shape.by_rank.get(entry.field.rank)
        if place is not None:
            both = place.mask & (entry.field.all_ones if entry.mask is None else entry.mask)
            mask |= both << place.shift
            value |= (entry.value & both) << place.shift
    return mask, value
