"""The group table (5.6, 6.7, 7.3.4.2): groups, their chaining, their copy in the datapath.

Liveness is the datapath's: it looks at ports when packets come, nothing is told to groups. A group that is
watched may go; its watchers' buckets are dead then. Thread: control.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vswitchd.datapath import dp
from vswitchd.datapath.action_set import action_set
from vswitchd.ofproto.action_checks import check_groups, check_ports
from vswitchd.ofproto.actions import Group as GroupAction
from vswitchd.ofproto.actions import Output
from vswitchd.ofproto.compile import compile_actions
from vswitchd.ofproto.constants import OFPG, OFPGC
from vswitchd.ofproto.errors import OFPGMFC, OFError
from vswitchd.ofproto.group_checks import check_buckets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vswitchd.ofproto.flow_store import FlowStore
    from vswitchd.ofproto.messages import GroupMod
    from vswitchd.ofproto.structures import Bucket

MAX_GROUPS = 65536
_TURN = 500
"""Groups that are deleted between two turns of others: about 2 ms."""


@dataclass(frozen=True, slots=True)
class Group:
    """One group; created in seconds of the switch's clock.

    `uses` are the groups that its buckets send to, `watched` those that its buckets watch.
    """

    group_id: int
    type: int
    buckets: tuple[Bucket, ...]
    created: float
    uses: frozenset[int]
    watched: frozenset[int]


class GroupTable:
    """The groups of one bridge. `in` and iteration are by group number."""

    def __init__(self, bridge: dp.DpBridge, clock: Callable[[], float]) -> None:
        self._groups: dict[int, Group] = {}
        self._users: Counter[int] = Counter()
        self._watchers: Counter[int] = Counter()
        self._bridge = bridge
        self._clock = clock
        self.epoch = 0
        """Another number: a group may have gone."""

    def __contains__(self, group: object) -> bool:
        return group in self._groups

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(self._groups))

    def __len__(self) -> int:
        return len(self._groups)

    def __getitem__(self, group: int) -> Group:
        return self._groups[group]

    def apply(self, mod: GroupMod, flows: FlowStore) -> Iterator[bytes] | None:
        """Carry out a group-mod, staged; OFError, and nothing changed, if refused.

        A delete takes its flows along; it is done by whoever runs through the iterator that it returns.
        """
        if mod.command == OFPGC.DELETE:
            return self._delete(mod.group_id, flows)
        if mod.group_id > OFPG.MAX:
            raise OFError(OFPGMFC.INVALID_GROUP, f"group {mod.group_id:#x} is a reserved number")
        had = self._groups.get(mod.group_id)
        if mod.command == OFPGC.ADD and had is not None:
            raise OFError(OFPGMFC.GROUP_EXISTS, f"group {mod.group_id}")
        if mod.command == OFPGC.MODIFY and had is None:
            raise OFError(OFPGMFC.UNKNOWN_GROUP, f"group {mod.group_id}")
        if had is None and len(self._groups) >= MAX_GROUPS:
            raise OFError(OFPGMFC.OUT_OF_GROUPS, f"at most {MAX_GROUPS} groups")
        check_buckets(mod)
        group = self._checked(mod, had.created if had is not None else self._clock())
        compiled = [
            dp.BucketSpec(action_set(compile_actions(b.actions)), b.weight, b.watch_port, b.watch_group)
            for b in mod.buckets
        ]
        try:
            self._bridge.set_group(mod.group_id, int(mod.type), compiled)
        except dp.DatapathError as error:
            raise OFError(OFPGMFC.OUT_OF_BUCKETS, str(error)) from None
        self._note(group)
        return None

    def flush(self) -> None:
        """Remove all groups; the flows that use them must be gone."""
        for number in sorted(self._groups, reverse=True):
            self._remove(number)

    def snapshot(self) -> dict[int, Group]:
        """Return what `restore()` takes: the groups as they are now."""
        return dict(self._groups)

    def restore(self, groups: dict[int, Group]) -> None:
        """Have these groups again (a transaction is taken back; the datapath forgets its own staged ones)."""
        self.epoch += 1
        self._groups = groups
        self._users = Counter(used for group in groups.values() for used in group.uses)
        self._watchers = Counter(watched for group in groups.values() for watched in group.watched)

    def users(self, group: int) -> int:
        """Return how many groups send to this one."""
        return self._users[group]

    def _note(self, group: Group) -> None:
        self._forget(group.group_id)
        self._groups[group.group_id] = group
        self._users.update(group.uses)
        self._watchers.update(group.watched)

    def _forget(self, number: int) -> None:
        had = self._groups.pop(number, None)
        if had is not None:
            _drop(self._users, had.uses)
            _drop(self._watchers, had.watched)

    def _checked(self, mod: GroupMod, created: float) -> Group:
        """Check ports, chained and watched groups, and loops (6.7: a switch refuses a loop that it finds)."""
        actions = [action for bucket in mod.buckets for action in bucket.actions]
        check_ports(frozenset(a.port for a in actions if isinstance(a, Output)))
        uses = frozenset(a.group_id for a in actions if isinstance(a, GroupAction))
        watched = frozenset(bucket.watch_group for bucket in mod.buckets) - {OFPG.ANY}
        self._check_loop(mod.group_id, uses, self._users, lambda group: group.uses)
        self._check_loop(mod.group_id, watched, self._watchers, lambda group: group.watched)
        check_groups(uses, self._groups)
        for group in watched:
            if group not in self._groups:
                raise OFError(OFPGMFC.BAD_WATCH, f"there is no group {group} to watch")
        return Group(mod.group_id, mod.type, mod.buckets, created, uses, watched)

    def _check_loop(
        self, goal: int, start: frozenset[int], leading: Counter[int],
        after: Callable[[Group], frozenset[int]],
    ) -> None:  # fmt: skip
        if goal not in start and not leading[goal]:
            return  # nothing leads to it: no way through a long chain is needed to know
        seen: set[int] = set()
        todo = list(start)
        while todo:
            number = todo.pop()
            if number == goal:
                raise OFError(OFPGMFC.LOOP, f"group {goal} leads to itself")
            if number not in seen and number in self._groups:
                seen.add(number)
                todo += after(self._groups[number])

    def _delete(self, group: int, flows: FlowStore) -> Iterator[bytes] | None:
        if group == OFPG.ALL:
            return self._delete_in_turns(list(self._groups), flows)
        if group > OFPG.MAX:
            raise OFError(OFPGMFC.INVALID_GROUP, f"group {group:#x} is a reserved number")
        if group not in self._groups:
            return None  # no error (6.7)
        if self.users(group):
            raise OFError(OFPGMFC.CHAINED_GROUP, f"another group sends to group {group}")
        return self._delete_in_turns([group], flows)

    def _delete_in_turns(self, groups: list[int], flows: FlowStore) -> Iterator[bytes]:
        # The datapath's list is sorted, and its end is cheap.
        for done, number in enumerate(sorted(groups, reverse=True), 1):
            while flows.group_users.get(number):  # others may add some meanwhile
                yield from flows.delete_group_users(number)
            self._remove(number)
            if done % _TURN == 0:
                yield b""

    def _remove(self, number: int) -> None:
        if number in self._groups:
            self.epoch += 1
            self._forget(number)
            self._bridge.remove_group(number)


def _drop(counts: Counter[int], numbers: frozenset[int]) -> None:
    for number in numbers:
        counts[number] -= 1
        if not counts[number]:
            del counts[number]
