"""Where the values of a match lie on the wire of OpenFlow 1.0, bit by bit: seen from what the codec writes for two values.

So flow_template.py can have values gathered, and flow_dump.py can write them, without a second description of the match.
Thread: any.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from vswitchd.ofproto.constants import OFPVID_PRESENT
from vswitchd.ofproto.fields import BY_NAME, FIELDS, Field
from vswitchd.ofproto.match10 import write_nearest10
from vswitchd.ofproto.oxm import FieldMatch, Match

if TYPE_CHECKING:
    from collections.abc import Iterator

_ORDINARY = 0x7FFF
"""Of a number that is narrower in 1.0 the upper half may mean reserved ones: ports."""


@cache
def deciding() -> dict[Field, int]:
    """The bits of fields whose values say whether others may stand in a match, or an action in the instructions."""
    found: dict[Field, int] = {BY_NAME["vlan_vid"]: OFPVID_PRESENT}
    for row in FIELDS:
        for name, values in row.prereqs:
            if values:
                found[BY_NAME[name]] = BY_NAME[name].all_ones
    return found


@dataclass(frozen=True, slots=True)
class BitPlace:
    """`free` bits of a field's value are `free << at` of the match as a number; no bits where 1.0 cannot say it (`at` -1)."""

    field: Field
    free: int
    at: int


def bit_places(match: Match) -> Iterator[BitPlace]:
    """Yield what may differ in matches like this one and lies on the wire as it is; what is left out has no such place."""
    for entry in match:
        ones = entry.field.all_ones if entry.mask is None else entry.mask
        free = ones & ~deciding().get(entry.field, 0)
        for some in (free, free & _ORDINARY):
            none, all_ = (
                int.from_bytes(write_nearest10(_with(match, entry, value)), "big")
                for value in (entry.value & ~some, entry.value | some)
            )
            bits = none ^ all_
            if not some:
                break
            if not bits:
                if some == free:  # else this value cannot be said, others can
                    yield BitPlace(entry.field, some, -1)
                break
            at = _lowest(bits) - _lowest(some)
            if at >= 0 and bits == some << at:
                yield BitPlace(entry.field, some, at)
                break


def _lowest(bits: int) -> int:
    return (bits & -bits).bit_length() - 1


def _with(match: Match, old: FieldMatch, value: int) -> Match:
    return Match(tuple(e._replace(value=value) if e is old else e for e in match.entries))
