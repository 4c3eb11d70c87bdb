"""Time as the control plane sees it: one monotonic clock that tests can replace by hand-turned time."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What tells the time: seconds since some fixed moment, never going back."""

    def monotonic(self) -> float:
        """Seconds, for intervals."""

    def time(self) -> float:
        """Seconds since 1970-01-01 UTC, for people."""


class SystemClock:
    """The clock of the machine."""

    def monotonic(self) -> float:
        """Seconds of CLOCK_MONOTONIC."""
        return time.monotonic()

    def time(self) -> float:
        """Seconds since the epoch."""
        return time.time()


class ManualClock:
    """A clock that stands still until `advance` is called."""

    def __init__(self, start: float = 1_000_000.0) -> None:
        self.now = start

    def monotonic(self) -> float:
        """Seconds."""
        return self.now

    def time(self) -> float:
        """Seconds, the same as `monotonic`."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let `seconds` go by at once."""
        self.now += seconds
