"""The flow entries of a switch and how they are found: one hash per table and match shape.

(See match_shape.py.) Strict operations are one lookup. Loose filters (modify, delete, statistics) visit only
the shapes that can match, and where a filter names every bit of a shape only its priorities. 1,000,000
entries of one shape take about 400 bytes each. Nothing here talks to the datapath. Thread: control.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vswitchd.ofproto.compile import Program, compile_shape
from vswitchd.ofproto.constants import OFPFF, OFPG, OFPP, OFPTT_ALL, OFPTT_MAX
from vswitchd.ofproto.flow_program import Rewritten
from vswitchd.ofproto.match_shape import PRIORITY_BITS, PRIORITY_MASK, Shape, common, loose
from vswitchd.ofproto.oxm import Match

if TYPE_CHECKING:
    from collections.abc import Iterator

N_TABLES = OFPTT_MAX
_FEW_PRIORITIES = 32


class FlowEntry:
    """One flow entry. `key` is the packed match with the priority in its low bits.

    packets and bytes are the counters of rules that it had before (`FlowStore.counters()` adds the live
    one's); created and timer are in seconds of the switch's clock; timer is the deadline at which its
    timeouts are looked at (0 never), and when it was removed once it is; `reason` is OFPRR then. `carried`:
    rules of it whose final counters are not in yet.
    """

    __slots__ = (
        "bytes", "carried", "cookie", "created", "flags", "hard", "idle", "key", "packets", "program",
        "reason", "rule", "shape", "table", "timer", "used",
    )  # fmt: skip

    def __init__(
        self, table: int, shape: Shape, key: int, program: Program | Rewritten, created: float
    ) -> None:
        self.table = table
        self.shape = shape
        self.key = key
        self.program = program
        self.created = created
        self.used = created
        self.timer = 0.0
        self.cookie = 0
        self.flags = 0
        self.idle = 0
        self.hard = 0
        self.rule = 0
        self.packets = 0
        self.bytes = 0
        self.carried: tuple[int, ...] = ()
        self.reason: int | None = None

    @property
    def priority(self) -> int:
        """The priority."""
        return self.key & PRIORITY_MASK

    @property
    def match(self) -> Match:
        """The match, unpacked."""
        return self.shape.unpack(self.key)

    @property
    def wants_removed(self) -> bool:
        """Whether controllers are told when it goes."""
        return bool(self.flags & OFPFF.SEND_FLOW_REM)


class SubTable:
    """The entries of one table that have one shape, by key; and how many there are of each priority."""

    __slots__ = ("entries", "full", "key_fields", "priorities", "shape")

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.key_fields = compile_shape(shape)
        self.entries: dict[int, FlowEntry] = {}
        self.priorities: dict[int, int] = {}
        self.full = sum(place.mask << place.shift for place in shape.places)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which entries a modify, delete or statistics request means (7.3.4.1, 7.3.5.2)."""

    match: Match = Match()  # noqa: RUF009
    table_id: int = OFPTT_ALL
    out_port: int = OFPP.ANY
    out_group: int = OFPG.ANY
    cookie: int = 0
    cookie_mask: int = 0

    def admits(self, entry: FlowEntry) -> bool:
        """Whether an entry passes the filters other than the match."""
        return (
            not (entry.cookie ^ self.cookie) & self.cookie_mask
            and (self.out_port == OFPP.ANY or self.out_port in entry.program.outputs)
            and (self.out_group == OFPG.ANY or self.out_group in entry.program.groups)
        )

    @property
    def bare(self) -> bool:
        """Whether `admits` says yes to all."""
        return self.cookie_mask == 0 and self.out_port == OFPP.ANY and self.out_group == OFPG.ANY


class FlowTables:
    """All tables' entries."""

    def __init__(self) -> None:
        self.tables: list[dict[Shape, SubTable]] = [{} for _ in range(N_TABLES)]
        self.counts = [0] * N_TABLES

    def __len__(self) -> int:
        return sum(self.counts)

    def subtable(self, table: int, shape: Shape) -> SubTable:
        """Return the subtable of a shape, a new one if there is none; OFError BAD_FIELD if it cannot be."""
        found = self.tables[table].get(shape)
        return found if found is not None else SubTable(shape)

    def find_all(self, table: int, shape: Shape, key: int) -> list[FlowEntry]:
        """Return the entries with exactly this match and priority, of one table or of all (OFPTT_ALL)."""
        tables = self.tables if table == OFPTT_ALL else self.tables[table : table + 1]
        subs = [subs[shape] for subs in tables if shape in subs]
        return [sub.entries[key] for sub in subs if key in sub.entries]

    def insert(self, sub: SubTable, entry: FlowEntry) -> None:
        """Add an entry that is not there yet to the subtable that `subtable()` gave."""
        self.tables[entry.table].setdefault(sub.shape, sub)
        sub.entries[entry.key] = entry
        priority = entry.key & PRIORITY_MASK
        sub.priorities[priority] = sub.priorities.get(priority, 0) + 1
        self.counts[entry.table] += 1

    def remove(self, entry: FlowEntry) -> None:
        """Take out an entry that is there."""
        sub = self.tables[entry.table][entry.shape]
        del sub.entries[entry.key]
        priority = entry.key & PRIORITY_MASK
        left = sub.priorities[priority] - 1
        if left:
            sub.priorities[priority] = left
        else:
            del sub.priorities[priority]
            if not sub.entries:
                del self.tables[entry.table][entry.shape]
        self.counts[entry.table] -= 1

    def select(self, want: Selection) -> Iterator[FlowEntry]:
        """Yield what a selection means. The tables may change meanwhile: entries removed have a `reason`."""
        tables = self.tables if want.table_id == OFPTT_ALL else self.tables[want.table_id : want.table_id + 1]
        bare = want.bare
        for table in tables:
            for sub in list(table.values()):
                for entry in _matching(sub, want.match):
                    if bare or want.admits(entry):
                        yield entry

    def overlaps(self, table: int, match: Match, priority: int) -> FlowEntry | None:
        """Return an entry of the same priority that shares a packet with `match`, or None."""
        for sub in self.tables[table].values():
            if priority in sub.priorities:
                mask, value = common(match, sub.shape)
                mask |= PRIORITY_MASK
                value |= priority
                for key, entry in sub.entries.items():
                    if key & mask == value:
                        return entry
        return None


def _matching(sub: SubTable, match: Match) -> list[FlowEntry]:
    found = loose(match, sub.shape)
    if found is None:
        return []
    mask, value = found
    if not mask:
        return list(sub.entries.values())
    if mask == sub.full and len(sub.priorities) <= _FEW_PRIORITIES:
        keys = (value | priority for priority in sub.priorities)
        return [sub.entries[key] for key in keys if key in sub.entries]
    return [entry for key, entry in sub.entries.items() if key & mask == value]


assert PRIORITY_BITS == 16  # 7.3.4.1: a priority is a uint16_t
