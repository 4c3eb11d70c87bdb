"""Flow-mods carried out: the flow entries and their rules in the datapath change together (6.4, 7.3.4.1).

Changes are staged; `commit()` shows all of them to packets at once. A changed entry gets a new rule; the old
one's last counts arrive later (`reap()`) and are added to the entry's, and only then is its removal told
(7.4.2: final counters). Between `begin()` and `keep()` or `take_back()` nothing is shown, and every change
notes how to undo it (a bundle is all or nothing). Thread: control.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from vswitchd.datapath import dp
from vswitchd.ofproto.action_checks import check_consistent
from vswitchd.ofproto.compile import Program, compile_instructions, dp_match
from vswitchd.ofproto.constants import OFPFC, OFPFF, OFPRR, OFPTT_ALL
from vswitchd.ofproto.errors import OFPFMFC, OFError
from vswitchd.ofproto.expiry import Expiry
from vswitchd.ofproto.flow_program import Rewritten, apply_of, program_of
from vswitchd.ofproto.flow_table import FlowEntry, FlowTables, Selection, SubTable
from vswitchd.ofproto.flow_users import FlowUsers, users_of
from vswitchd.ofproto.match_shape import PRIORITY_MASK, pack
from vswitchd.ofproto.pipeline import WHOLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from vswitchd.ofproto.groups import GroupTable
    from vswitchd.ofproto.messages import FlowMod
    from vswitchd.ofproto.meters import MeterTable

log = logging.getLogger(__name__)

REPLACED = -1
"""`reason` of an entry whose slot was taken away without a removal being told."""


_TURN = 500
"""Entries that are deleted between two turns of others: about 2 ms."""
_MODIFY_TURN = 50
"""The same for those that are modified."""
_EXPIRED_AT_ONCE = 5000


class Counters(NamedTuple):
    """Packets, bytes, and when last used (seconds of the switch's clock; the creation if never)."""

    packets: int
    bytes: int
    used: float


class FlowStore:
    """The flow entries of one bridge. `removed(entry)` is called when the entry's counters are final."""

    def __init__(
        self, bridge: dp.DpBridge, clock: Callable[[], float], groups: GroupTable,
        meters: MeterTable, removed: Callable[[FlowEntry], None],
    ) -> None:  # fmt: skip
        self.tables = FlowTables()
        self.pipeline = WHOLE
        self.users = FlowUsers()
        self.group_users, self.meter_users = self.users.groups, self.users.meters
        self.groups = groups
        self.meters = meters
        self._bridge = bridge
        self.clock = clock
        self._removed = removed
        self._undo: list[Callable[[], None]] | None = None
        self._waiting: dict[int, tuple[FlowEntry, int, int]] = {}
        self._expiry = Expiry()

    def apply(self, mod: FlowMod, *, afresh: bool = False) -> Iterator[bytes] | None:
        """Carry out one flow-mod, staged. OFError, and nothing changed, if it is refused.

        `afresh`: an addition counts from 0 even where it replaces an entry. A delete or a modification that may be
        long is done by whoever runs through the iterator that it returns.
        """
        if mod.command in (OFPFC.DELETE, OFPFC.DELETE_STRICT):
            self.check_table(mod, also=OFPTT_ALL)
            found = self._selected(mod, strict=mod.command == OFPFC.DELETE_STRICT)
            if mod.command == OFPFC.DELETE:
                return self._delete_in_turns(found)
            for entry in found:
                self.delete(entry, OFPRR.DELETE)
            return None
        self.check_table(mod)
        program = program_of(mod, self.pipeline, self.groups, self.meters)
        if mod.command == OFPFC.ADD:
            self._add(mod, program, reset=afresh or bool(mod.flags & OFPFF.RESET_COUNTS))
        else:
            entries = list(self._selected(mod, strict=mod.command == OFPFC.MODIFY_STRICT))
            limits = self.pipeline.limits(mod.table_id)
            if limits is not None and any(map(_is_table_miss, entries)):
                limits.check_instructions(program.instructions, table_miss=True)
            if program.inconsistent:
                for entry in entries:
                    check_consistent(entry.match, program.instructions)
            job = self._modify_in_turns(entries, program, reset=bool(mod.flags & OFPFF.RESET_COUNTS))
            if len(entries) > _MODIFY_TURN:
                return job
            for _ in job:
                pass
        return None

    def selects(self, mod: FlowMod) -> bool:
        """Whether a modification finds an entry."""
        return any(True for _ in self._selected(mod, strict=mod.command == OFPFC.MODIFY_STRICT))

    def commit(self) -> None:
        """Show everything staged to packets at once; not between `begin()` and its end. Cheap when nothing is."""
        if self._undo is None:
            self._bridge.commit()

    def begin(self) -> None:
        """Show what is staged; what follows is kept or taken back as a whole."""
        self.commit()
        self._undo = []

    def keep(self) -> None:
        """Show all changes since `begin()`. DatapathError: out of memory, and nothing has changed."""
        self._bridge.commit()
        self._undo = None

    def take_back_some(self) -> bool:
        """Take back some of what `take_back()` would, as much as a turn may; return whether there is more."""
        for _ in range(_TURN):
            if not self._undo:
                return False
            self._undo.pop()()
        return True

    def take_back(self) -> None:
        """Be as at `begin()`; what else is staged in the datapath is forgotten too."""
        steps, self._undo = self._undo or [], None
        while steps:
            steps.pop()()
        self._bridge.rollback()

    def counters(self, entry: FlowEntry) -> Counters:
        """Return an entry's counters up to the last harvest."""
        packets, octets, used_ms = self._bridge.rule_stats(entry.rule)
        for rule in entry.carried:  # packets may have met it until the last commit, and count only now
            _, had_packets, had_bytes = self._waiting[rule]
            late_packets, late_bytes, late_ms = self._bridge.rule_stats(rule)
            packets += late_packets - had_packets
            octets += late_bytes - had_bytes
            used_ms = max(used_ms, late_ms)
        if used_ms:
            entry.used = max(entry.used, used_ms / 1000)
        return Counters(entry.packets + packets, entry.bytes + octets, entry.used)

    def expire(self, now: float) -> int:
        """Remove what timed out, some at a time; return how many. Call `dp.harvest()` before; it commits."""
        count = 0
        for entry, reason in self._expiry.due(now, lambda e: self.counters(e).used):
            self.delete(entry, reason)
            count += 1
            if count == _EXPIRED_AT_ONCE:
                break
        self.commit()
        return count

    def next_expiry(self) -> float | None:
        """Return when `expire()` has something to look at, None for never."""
        return self._expiry.next()

    def reap(self) -> None:
        """Take the last counts of rules that packets no longer see; tell the removals that waited."""
        for rule, packets, octets, used_ms in self._bridge.take_retired():
            found = self._waiting.pop(rule, None)
            if found is None:
                continue
            entry, had_packets, had_bytes = found
            entry.packets += packets - had_packets
            entry.bytes += octets - had_bytes
            entry.used = max(entry.used, used_ms / 1000)
            entry.carried = tuple(old for old in entry.carried if old != rule)
            if not entry.carried and entry.reason not in (None, REPLACED) and entry.wants_removed:
                self._removed(entry)

    def delete_group_users(self, group: int) -> Iterator[bytes]:
        """Remove all entries that send to a group that goes (6.7), staged, by whoever runs through it."""
        return self._delete_in_turns(users_of(self.group_users, group), OFPRR.GROUP_DELETE)

    def delete_meter_users(self, meter: int) -> Iterator[bytes]:
        """Remove all entries that use a meter that goes (6.5), staged, by whoever runs through it."""
        return self._delete_in_turns(users_of(self.meter_users, meter))

    def renew_meter_users(self, meter: int) -> Iterator[bytes]:
        """Make the rules of all entries that use a meter anew: its action changed. As above."""
        for done, entry in enumerate(users_of(self.meter_users, meter), 1):
            sub = self.tables.subtable(entry.table, entry.shape)
            try:
                rule = self._add_rule(sub, entry.table, entry.key, entry.program.whole, entry.cookie)
            except (
                OFError
            ) as error:  # the old rule stays, and meters; later tables do not see what it remarks
                log.warning("meter %d: %s", meter, error)
                return
            self._swap(entry, entry.program, rule, reset=False)
            if done % _TURN == 0:
                yield b""

    def flush(self) -> None:
        """Remove everything without telling anybody (a change of fail mode), staged."""
        for entry in list(self.tables.select(Selection())):
            self._forget(entry, REPLACED, final=False)

    def clear_tables(self, tables: Iterable[int]) -> Iterator[bytes]:
        """Remove all entries of some tables without telling anybody (7.3.5.5.1), staged, in turns."""
        for table in tables:
            for done, entry in enumerate(self.tables.select(Selection(table_id=table)), 1):
                self._forget(entry, REPLACED, final=False)
                if done % _TURN == 0:
                    yield b""

    def _selected(self, mod: FlowMod, *, strict: bool) -> Iterable[FlowEntry]:
        want = Selection(mod.match, mod.table_id, mod.out_port, mod.out_group, mod.cookie, mod.cookie_mask)
        if mod.command in (
            OFPFC.MODIFY,
            OFPFC.MODIFY_STRICT,
        ):  # out_port and out_group are for deletes (7.3.4.1)
            want = Selection(mod.match, mod.table_id, cookie=mod.cookie, cookie_mask=mod.cookie_mask)
        if not strict:
            return self.tables.select(want)
        shape, packed = pack(mod.match)
        found = self.tables.find_all(mod.table_id, shape, packed | mod.priority)
        return [entry for entry in found if want.admits(entry)]

    def check_table(self, mod: FlowMod, also: int = 0) -> None:
        """OFError BAD_TABLE_ID where there is no such table."""
        if mod.table_id not in self.pipeline and mod.table_id != also:
            raise OFError(OFPFMFC.BAD_TABLE_ID, f"table {mod.table_id}")

    def _add(self, mod: FlowMod, program: Program, *, reset: bool) -> None:
        shape, packed = pack(mod.match)
        key = packed | mod.priority
        sub = self.tables.subtable(mod.table_id, shape)
        if mod.flags & OFPFF.CHECK_OVERLAP and self.tables.overlaps(mod.table_id, mod.match, mod.priority):
            raise OFError(OFPFMFC.OVERLAP, "an entry of the same priority overlaps")
        if key not in sub.entries and not self.room(mod.table_id):
            raise OFError(OFPFMFC.TABLE_FULL, f"table {mod.table_id} has {self.tables.counts[mod.table_id]}")
        rule = self._add_rule(sub, mod.table_id, key, program, mod.cookie)
        entry = FlowEntry(mod.table_id, shape, key, program, self.clock())
        entry.rule, entry.cookie, entry.flags = rule, mod.cookie, mod.flags
        entry.idle, entry.hard = mod.idle_timeout, mod.hard_timeout
        self.enter(sub, entry, reset=reset)

    def room(self, table: int) -> int:
        """Return how many more entries a table takes."""
        return max(0, self.pipeline.room(table) - self.tables.counts[table])

    def enter(self, sub: SubTable, new: FlowEntry, *, reset: bool) -> None:
        """Take a new entry whose rule is staged. There must be room. `reset`: not the counts of an identical one."""
        entry = sub.entries.get(new.key)
        if entry is None:
            entry = new
            self.tables.insert(sub, entry)
            if entry.program.uses:
                self.users.note(entry)
            if self._undo is not None:
                self._undo.append(partial(self._uninsert, entry))
        else:
            # An identical entry is cleared and the new one takes its counters, unless RESET_COUNTS (6.4).
            self._swap(entry, new.program, new.rule, reset=reset)
            entry.created = entry.used = new.created
            entry.cookie, entry.flags, entry.idle, entry.hard = new.cookie, new.flags, new.idle, new.hard
        if entry.idle or entry.hard or entry.timer:
            self._expiry.watch(entry)

    def _modify_in_turns(
        self, entries: Iterable[FlowEntry], program: Program, *, reset: bool
    ) -> Iterator[bytes]:
        for done, entry in enumerate(entries, 1):
            if entry.reason is None:  # else it went in a turn of others
                self._modify(entry, program, reset=reset)
            if done % _MODIFY_TURN == 0:
                yield b""

    def _modify(self, entry: FlowEntry, program: Program, *, reset: bool) -> None:
        if entry.program is program and not reset:
            return
        if _is_table_miss(entry):
            program = compile_instructions(program.instructions, table_miss=True)
        sub = self.tables.subtable(entry.table, entry.shape)
        rule = self._add_rule(sub, entry.table, entry.key, program, entry.cookie)
        self._swap(entry, program, rule, reset=reset)

    def _swap(self, entry: FlowEntry, program: Program | Rewritten, rule: int, *, reset: bool) -> None:
        old = entry.rule
        self._remember(entry)
        entry.rule = rule
        self._bridge.remove_rule(old)
        if reset:
            entry.packets = entry.bytes = 0
            self._uncarry(entry)
        else:
            packets, octets, used_ms = self._bridge.rule_stats(old)
            entry.packets += packets
            entry.bytes += octets
            entry.used = max(entry.used, used_ms / 1000)
            self._waiting[old] = (entry, packets, octets)
            entry.carried += (old,)
        self.users.drop(entry)
        entry.program = program
        self.users.note(entry)

    def _uncarry(self, entry: FlowEntry) -> None:
        """Forget the rules that an entry had before its counters were reset."""
        for rule in entry.carried:
            del self._waiting[rule]
        entry.carried = ()

    def _add_rule(self, sub: SubTable, table: int, key: int, program: Program, cookie: int) -> int:
        spec = dp.RuleSpec(
            table, key & PRIORITY_MASK, dp_match(sub.key_fields, key), cookie, apply_of(program, self.meters),
            program.write, program.clear, program.metadata, program.goto,
        )  # fmt: skip
        try:
            return self._bridge.add_rule(spec)
        except dp.DatapathError as error:
            raise OFError(OFPFMFC.TABLE_FULL, str(error)) from None

    def _delete_in_turns(self, entries: Iterable[FlowEntry], reason: int = OFPRR.DELETE) -> Iterator[bytes]:
        for done, entry in enumerate(entries, 1):
            self.delete(entry, reason)
            if done % _TURN == 0:
                yield b""

    def delete(self, entry: FlowEntry, reason: int) -> None:
        """Remove an entry, staged, and tell it if that is wanted."""
        if entry.reason is None:
            self._forget(entry, reason, final=entry.wants_removed)

    def _forget(self, entry: FlowEntry, reason: int, *, final: bool) -> None:
        if self._undo is not None:
            self._undo.append(partial(self._unforget, entry, entry.timer, entry.carried))
        self.tables.remove(entry)
        self.users.drop(entry)
        entry.reason = reason
        entry.timer = self.clock()
        self._bridge.remove_rule(entry.rule)
        if final:
            self._waiting[entry.rule] = (entry, 0, 0)
            entry.carried += (entry.rule,)

    def _remember(self, entry: FlowEntry) -> None:
        """Note how to make an entry again what it is now."""
        if self._undo is not None:
            was = [getattr(entry, name) for name in FlowEntry.__slots__]
            waiting = {rule: self._waiting[rule] for rule in entry.carried}
            self._undo.append(partial(self._restore, entry, was, waiting))

    def _uninsert(self, entry: FlowEntry) -> None:
        self.tables.remove(entry)
        self.users.drop(entry)
        entry.reason = REPLACED

    def _unforget(self, entry: FlowEntry, timer: float, carried: tuple[int, ...]) -> None:
        for rule in entry.carried[len(carried) :]:
            del self._waiting[rule]
        entry.reason, entry.timer, entry.carried = None, timer, carried
        self.users.note(entry)
        self.tables.insert(self.tables.subtable(entry.table, entry.shape), entry)

    def _restore(
        self, entry: FlowEntry, was: list[Any], waiting: dict[int, tuple[FlowEntry, int, int]]
    ) -> None:
        self.users.drop(entry)
        for rule in entry.carried:
            del self._waiting[rule]
        self._waiting.update(waiting)
        for name, value in zip(FlowEntry.__slots__, was, strict=True):
            setattr(entry, name, value)
        self.users.note(entry)


def _is_table_miss(entry: FlowEntry) -> bool:
    """Whether this is the table-miss entry of its table (5.4)."""
    return entry.priority == 0 and not entry.shape.places
