"""The group table (5.6, 6.7, 7.3.4.2): ALL and INDIRECT groups, their chaining, their copy in the datapath.

SELECT and FF are refused with OFPGMFC_BAD_TYPE until their issue: `_KINDS` is their seat. Thread: control.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vswitchd.datapath import dp
from vswitchd.ofproto.action_checks import check_groups, check_ports
from vswitchd.ofproto.actions import Group as GroupAction
from vswitchd.ofproto.actions import Output
from vswitchd.ofproto.compile import compile_actions
from vswitchd.ofproto.constants import OFPG, OFPGC, OFPGT, OFPP
from vswitchd.ofproto.errors import OFPGMFC, OFError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vswitchd.ofproto.flow_store import FlowStore
    from vswitchd.ofproto.messages import GroupMod
    from vswitchd.ofproto.structures import Bucket

MAX_GROUPS = 65536
MAX_BUCKETS = 256
_KINDS = (OFPGT.ALL, OFPGT.INDIRECT)


@dataclass(frozen=True, slots=True)
class Group:
    """One group; created in seconds of the switch's clock; `uses` are the groups that its buckets send to."""

    group_id: int
    type: int
    buckets: tuple[Bucket, ...]
    created: float
    uses: frozenset[int]


class GroupTable:
    """The groups of one bridge. `in` and iteration are by group number."""

    def __init__(self, bridge: dp.DpBridge, clock: Callable[[], float]) -> None:
        self._groups: dict[int, Group] = {}
        self._bridge = bridge
        self._clock = clock

    def __contains__(self, group: object) -> bool:
        return group in self._groups

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(self._groups))

    def __len__(self) -> int:
        return len(self._groups)

    def __getitem__(self, group: int) -> Group:
        return self._groups[group]

    def apply(self, mod: GroupMod, flows: FlowStore) -> None:
        """Carry out a group-mod; OFError, and nothing changed, if refused. A delete takes its flows along."""
        if mod.command == OFPGC.DELETE:
            self._delete(mod.group_id, flows)
            return
        if mod.group_id > OFPG.MAX:
            raise OFError(OFPGMFC.INVALID_GROUP, f"group {mod.group_id:#x} is a reserved number")
        had = self._groups.get(mod.group_id)
        if mod.command == OFPGC.ADD and had is not None:
            raise OFError(OFPGMFC.GROUP_EXISTS, f"group {mod.group_id}")
        if mod.command == OFPGC.MODIFY and had is None:
            raise OFError(OFPGMFC.UNKNOWN_GROUP, f"group {mod.group_id}")
        if had is None and len(self._groups) >= MAX_GROUPS:
            raise OFError(OFPGMFC.OUT_OF_GROUPS, f"at most {MAX_GROUPS} groups")
        _check_buckets(mod)
        group = self._checked(mod, had.created if had is not None else self._clock())
        compiled = [dp.BucketSpec(compile_actions(bucket.actions)) for bucket in mod.buckets]
        try:
            self._bridge.set_group(mod.group_id, int(mod.type), compiled)
        except dp.DatapathError as error:
            raise OFError(OFPGMFC.OUT_OF_BUCKETS, str(error)) from None
        self._groups[mod.group_id] = group

    def flush(self) -> None:
        """Remove all groups; the flows that use them must be gone."""
        for group in list(self._groups):
            self._remove(group)

    def snapshot(self) -> dict[int, Group]:
        """Return what `restore()` takes: the groups as they are now."""
        return dict(self._groups)

    def restore(self, groups: dict[int, Group]) -> None:
        """Have these groups again (a transaction is taken back; the datapath forgets its own staged ones)."""
        self._groups = groups

    def users(self, group: int) -> int:
        """Return how many groups send to this one."""
        return sum(group in other.uses for other in self._groups.values())

    def _checked(self, mod: GroupMod, created: float) -> Group:
        """Check ports, chained groups and loops (6.7: a switch must refuse a loop that it finds)."""
        actions = [action for bucket in mod.buckets for action in bucket.actions]
        check_ports(frozenset(a.port for a in actions if isinstance(a, Output)))
        uses = frozenset(a.group_id for a in actions if isinstance(a, GroupAction))
        if mod.group_id in uses:
            raise OFError(OFPGMFC.LOOP, f"group {mod.group_id} sends to itself")
        check_groups(uses, self._groups)
        seen: set[int] = set()
        todo = list(uses)
        while todo:
            group = todo.pop()
            if group == mod.group_id:
                raise OFError(OFPGMFC.LOOP, f"group {mod.group_id} sends to itself through other groups")
            if group not in seen:
                seen.add(group)
                todo += self._groups[group].uses
        return Group(mod.group_id, mod.type, mod.buckets, created, uses)

    def _delete(self, group: int, flows: FlowStore) -> None:
        if group == OFPG.ALL:
            doomed = list(self._groups)
        elif group > OFPG.MAX:
            raise OFError(OFPGMFC.INVALID_GROUP, f"group {group:#x} is a reserved number")
        elif group not in self._groups:
            return  # no error (6.7)
        elif self.users(group):
            raise OFError(OFPGMFC.CHAINED_GROUP, f"another group sends to group {group}")
        else:
            doomed = [group]
        for number in doomed:
            flows.delete_group_users(number)
        for number in doomed:
            self._remove(number)

    def _remove(self, group: int) -> None:
        del self._groups[group]
        self._bridge.remove_group(group)


def _check_buckets(mod: GroupMod) -> None:
    if mod.type not in _KINDS:
        raise OFError(OFPGMFC.BAD_TYPE, f"group type {mod.type} is not supported")
    if len(mod.buckets) > MAX_BUCKETS:
        raise OFError(OFPGMFC.OUT_OF_BUCKETS, f"{len(mod.buckets)} buckets, at most {MAX_BUCKETS}")
    if mod.type == OFPGT.INDIRECT and len(mod.buckets) != 1:
        raise OFError(OFPGMFC.INVALID_GROUP, "an indirect group has one bucket")
    for bucket in mod.buckets:
        if bucket.weight:
            raise OFError(OFPGMFC.INVALID_GROUP, "a weight in a group that does not select")
        if bucket.watch_port != OFPP.ANY or bucket.watch_group != OFPG.ANY:
            raise OFError(OFPGMFC.WATCH_UNSUPPORTED, "a group without liveness watches nothing")
