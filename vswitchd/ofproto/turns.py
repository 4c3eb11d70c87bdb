"""Who may work how long in one turn of the event loop: many busy connections share what few have to themselves.

So a turn stays short whatever comes in by 100 connections, and packets for controllers, ports and timers wait
no longer for it. Thread: control.
"""

from __future__ import annotations

SLICE_SECONDS = 0.003
"""The most that one connection gets."""
TURN_SECONDS = 0.010
"""What all connections of a bridge get together; each may end the message that it is at."""


class Turns:
    """Counts the connections that are scheduled: `join()` for the coming turn, then `share()` when it is theirs."""

    def __init__(self) -> None:
        self._coming = 0
        self._left = 0
        self._share = SLICE_SECONDS

    def join(self) -> None:
        """Note that a connection is scheduled."""
        self._coming += 1

    def at_once(self, connections: int) -> float:
        """Return how many seconds a connection may work as soon as its bytes come, one of so many that may do so in this turn.

        0: others are waiting for their turn. A peer that waits for each answer is spared a turn of the loop.
        """
        return 0.0 if self._coming or self._left else SLICE_SECONDS / max(1, connections)

    def share(self) -> float:
        """Return how many seconds a connection that was scheduled may work now."""
        if not self._left:
            self._left, self._coming = max(1, self._coming), 0
            self._share = min(SLICE_SECONDS, TURN_SECONDS / self._left)
        self._left -= 1
        return self._share
