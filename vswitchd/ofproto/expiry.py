"""Idle and hard timeouts of flow entries (5.5): a heap of the times at which to look at an entry again.

An entry stands in the heap at most once with its current `timer`; older items of it are passed over. An entry
that was used since is put back with its next deadline, so packets cost nothing here. Thread: control.
"""

from __future__ import annotations

import heapq
from itertools import count
from typing import TYPE_CHECKING

from vswitchd.ofproto.constants import OFPRR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vswitchd.ofproto.flow_table import FlowEntry


class Expiry:
    """The timers of a switch's flow entries; times in seconds of its clock."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, FlowEntry]] = []
        self._order = count()

    def watch(self, entry: FlowEntry) -> None:
        """Note an entry whose timeouts were set just now. Cheap for one that has none."""
        entry.timer = 0.0
        if entry.idle or entry.hard:
            self._push(entry, entry.used)

    def next(self) -> float | None:
        """Return the earliest time at which `due()` may find something."""
        while self._heap and not _current(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def due(self, now: float, used: Callable[[FlowEntry], float]) -> Iterator[tuple[FlowEntry, int]]:
        """Yield entries that timed out by `now`, with the reason. `used(entry)` is when it was last used."""
        while self._heap and self._heap[0][0] <= now:
            item = heapq.heappop(self._heap)
            if not _current(item):
                continue
            entry = item[2]
            if entry.hard and entry.created + entry.hard <= now:
                yield entry, OFPRR.HARD_TIMEOUT
                continue
            last = used(entry)
            if entry.idle and last + entry.idle <= now:
                yield entry, OFPRR.IDLE_TIMEOUT
            else:
                self._push(entry, last)

    def _push(self, entry: FlowEntry, used: float) -> None:
        times = []
        if entry.idle:
            times.append(used + entry.idle)
        if entry.hard:
            times.append(entry.created + entry.hard)
        entry.timer = min(times)
        heapq.heappush(self._heap, (entry.timer, next(self._order), entry))


def _current(item: tuple[float, int, FlowEntry]) -> bool:
    return item[2].reason is None and item[2].timer == item[0]
