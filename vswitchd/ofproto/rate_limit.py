"""How many packet-ins a second a controller gets: controller_rate_limit and controller_burst_limit of its row.

A token bucket: what is over the rate is dropped and counted, not queued (the packet waits in a buffer of its
sender's soon enough, and a late packet-in is of no use). Thread: control.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MIN_BURST = 25
"""As in Open vSwitch (ovs-vswitchd.conf.db(5)); without a burst limit it is a quarter of the rate."""


class RateLimit:
    """`rate` packets a second, `burst` at once after a silence; None for no limit."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._rate: int | None = None
        self._burst = self._tokens = 0.0
        self._at = clock()
        self.refused = 0

    def set(self, rate: int | None, burst: int | None) -> None:
        """Change the limits. Nothing is given beyond the new burst."""
        self._rate = rate
        wanted = (rate or 0) // 4 if burst is None else burst
        fresh = not self._burst
        self._burst = float(max(MIN_BURST, wanted))
        self._tokens = self._burst if fresh else min(self._tokens, self._burst)

    def take(self) -> bool:
        """Whether one more may pass now; counts it in `refused` if not."""
        if self._rate is None:
            return True
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            self.refused += 1
            return False
        self._tokens -= 1
        return True
