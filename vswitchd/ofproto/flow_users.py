"""Which flow entries use a group or a meter: they go with it (6.5, 6.7). Thread: control."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vswitchd.ofproto.flow_table import FlowEntry


class FlowUsers:
    """Entries by the groups and meters of their programs."""

    def __init__(self) -> None:
        self.groups: dict[int, set[FlowEntry]] = {}
        self.meters: dict[int, set[FlowEntry]] = {}

    def note(self, entry: FlowEntry) -> None:
        """Note what an entry's program uses."""
        for group in entry.program.groups:
            self.groups.setdefault(group, set()).add(entry)
        if entry.program.meter is not None:
            self.meters.setdefault(entry.program.meter, set()).add(entry)

    def drop(self, entry: FlowEntry) -> None:
        """Forget it again, before the entry's program changes."""
        for group in entry.program.groups:
            _drop(self.groups, group, entry)
        if entry.program.meter is not None:
            _drop(self.meters, entry.program.meter, entry)


def users_of(users: dict[int, set[FlowEntry]], number: int) -> Iterator[FlowEntry]:
    """All that use this one now, but for those that cease to while others have their turns."""
    return (entry for entry in list(users.get(number, ())) if entry in users.get(number, ()))


def _drop(users: dict[int, set[FlowEntry]], number: int, entry: FlowEntry) -> None:
    found = users.get(number)
    if found is not None:
        found.discard(entry)
        if not found:
            del users[number]
