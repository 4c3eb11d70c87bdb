"""Entries of flow statistics of OpenFlow 1.0 straight from packed flow entries; the same bytes as the codec's.

A match is written once for all that differ only in values that lie on the wire as they are (match10_places.py), the actions of a
program once. Thread: control.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from vswitchd.ofproto.constants import OFP_VERSION_10
from vswitchd.ofproto.dialect import express
from vswitchd.ofproto.fields import BY_NAME
from vswitchd.ofproto.flow_program import Rewritten
from vswitchd.ofproto.match10 import write_nearest10
from vswitchd.ofproto.match10_places import bit_places, deciding
from vswitchd.ofproto.messages10 import FLOW_STATS
from vswitchd.ofproto.ports import duration
from vswitchd.ofproto.wire10 import Columns, Part, Recast

if TYPE_CHECKING:
    from vswitchd.ofproto.compile import Program
    from vswitchd.ofproto.flow_store import Counters
    from vswitchd.ofproto.flow_table import FlowEntry
    from vswitchd.ofproto.match_shape import Shape

assert isinstance(FLOW_STATS.layout, Recast)
_TABLE, _MATCH, _NUMBERS, _ACTIONS = FLOW_STATS.layout.steps
assert isinstance(_TABLE, Columns)
assert isinstance(_NUMBERS, Columns)
assert isinstance(_ACTIONS, Part)
assert _NUMBERS.names == (
    "duration_sec", "duration_nsec", "priority", "idle_timeout", "hard_timeout", "cookie", "packet_count", "byte_count",
)  # fmt: skip
_HEAD, _FIXED, _PROGRAM = _TABLE.struct, _NUMBERS.struct, _ACTIONS.codec
_MATCH_BYTES = 40
_NARROWER = {BY_NAME["in_port"]: 0xFFFF8000}
"""Bits of a field of which hangs whether 1.0 can say the others."""
_MOST = 4096
"""Matches that are kept for a shape."""


@dataclass(slots=True)
class _Line:
    """Matches of a shape that agree in all that decides: `moves` are (shift in the key, bits, place on the wire)."""

    moves: tuple[tuple[int, int, int], ...]
    fixed: int
    bases: dict[int, int] = field(default_factory=dict)


class _Matches:
    """How the matches of a shape are written."""

    __slots__ = ("_deciding", "_full", "_lines")

    def __init__(self, shape: Shape) -> None:
        self._full = sum(place.mask << place.shift for place in shape.places)
        self._deciding = sum(
            (place.mask & (deciding().get(place.field, 0) | _NARROWER.get(place.field, 0))) << place.shift
            for place in shape.places
        )
        self._lines: dict[int, _Line] = {}

    def write(self, entry: FlowEntry) -> bytes:
        key = entry.key
        line = self._lines.get(key & self._deciding)
        if line is None:
            line = self._lines[key & self._deciding] = self._line(entry)
        number = line.bases.get(key & line.fixed)
        if number is None:
            if len(line.bases) == _MOST:
                line.bases.clear()
            number = int.from_bytes(write_nearest10(entry.match), "big")
            for _shift, free, at in line.moves:
                number &= ~(free << at)
            line.bases[key & line.fixed] = number
        for shift, free, at in line.moves:
            number |= (key >> shift & free) << at
        return number.to_bytes(_MATCH_BYTES, "big")

    def _line(self, entry: FlowEntry) -> _Line:
        if len(self._lines) == _MOST:
            self._lines.clear()
        by_rank, moves, fixed = entry.shape.by_rank, [], self._full
        for place in bit_places(entry.match):
            shift = by_rank[place.field.rank].shift
            fixed &= ~(place.free << shift)
            if place.at >= 0:
                moves.append((shift, place.free, place.at))
        return _Line(tuple(moves), fixed)


_matches: WeakKeyDictionary[Shape, _Matches] = WeakKeyDictionary()
_programs: WeakKeyDictionary[Program, bytes] = WeakKeyDictionary()


def flow10(entry: FlowEntry, counters: Counters, now: float) -> bytes:
    """Write an entry: what 1.0 can say of it."""
    matches = _matches.get(entry.shape)
    if matches is None:
        matches = _matches[entry.shape] = _Matches(entry.shape)
    done = _actions(entry)
    rest = _FIXED.pack(
        *duration(now - entry.created), entry.priority, entry.idle, entry.hard, entry.cookie, counters.packets,
        counters.bytes,
    )  # fmt: skip
    size = _HEAD.size + _MATCH_BYTES + _FIXED.size + len(done)
    return size.to_bytes(2, "big") + _HEAD.pack(entry.table)[2:] + matches.write(entry) + rest + done


def _actions(entry: FlowEntry) -> bytes:
    program = entry.program
    done = None if isinstance(program, Rewritten) else _programs.get(program)
    if done is None:
        done = _PROGRAM.write(express(program.instructions, OFP_VERSION_10, entry.match), OFP_VERSION_10)
        if not isinstance(program, Rewritten):
            _programs[program] = done  # how those are said does not hang on the match
    return done
