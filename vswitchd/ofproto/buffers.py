"""Packets that wait in the switch for what a controller says of them: buffer_id (1.3.5, 6.1.2, 7.4.1).

A packet is kept until it is used, once, or LIFE_SECONDS have passed. A buffer is not taken away before: while
all are in use, packets go to the controllers whole and without a buffer. One packet has one buffer, whoever is
told of it, so that it leaves the switch once. Thread: control.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

from vswitchd.ofproto.errors import OFPBRC, OFError

if TYPE_CHECKING:
    from collections.abc import Callable

N_BUFFERS = 256
LIFE_SECONDS = 60.0
_FIRST = 1
_LAST = 0x7FFFFFFF


class Buffered(NamedTuple):
    """A whole frame, the port it came in by, and when (seconds of the switch's clock)."""

    frame: bytes
    in_port: int
    since: float


class Buffers:
    """The buffered packets of a switch, oldest first."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._kept: OrderedDict[int, Buffered] = OrderedDict()
        self._clock = clock
        self._next = _FIRST
        self._wrapped = False

    def __len__(self) -> int:
        return len(self._kept)

    def put(self, frame: bytes, in_port: int) -> int | None:
        """Keep a frame and return its number; None if there is no room."""
        now = self._clock()
        while self._kept and next(iter(self._kept.values())).since + LIFE_SECONDS <= now:
            self._kept.popitem(last=False)
        if len(self._kept) >= N_BUFFERS:
            return None
        number = self._next
        self._next = _FIRST if number == _LAST else number + 1
        self._wrapped = self._wrapped or number == _LAST
        self._kept[number] = Buffered(frame, in_port, now)
        return number

    def check(self, number: int) -> None:
        """Refuse a number that `take()` would refuse."""
        kept = self._kept.get(number)
        if kept is not None and kept.since + LIFE_SECONDS > self._clock():
            return
        if _FIRST <= number < self._next or (self._wrapped and self._next <= number <= _LAST):
            raise OFError(OFPBRC.BUFFER_EMPTY, f"the packet of buffer {number} was used or is too old")
        raise OFError(OFPBRC.BUFFER_UNKNOWN, f"there never was a buffer {number:#x}")

    def take(self, number: int) -> Buffered:
        """Return a packet and forget it. OFError BUFFER_EMPTY, BUFFER_UNKNOWN."""
        self.check(number)
        return self._kept.pop(number)
