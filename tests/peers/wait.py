"""Waiting on a condition with a deadline; nothing in the interop tests sleeps for a fixed time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
POLL_SECONDS = 0.05


class DeadlineError(AssertionError):
    """A condition did not come true in time; the text says which and what was seen last."""


def until(condition: Callable[[], T], what: str, *, seconds: float = 60.0, every: float = POLL_SECONDS) -> T:
    """Poll `condition` until it gives a true value and return that; DeadlineError naming `what` otherwise.

    An exception of the kinds that "not up yet" takes (OSError, LookupError, ValueError) counts as false.
    """
    deadline = time.monotonic() + seconds
    last: object = None
    while True:
        try:
            if value := condition():
                return value
            last = value
        except (OSError, LookupError, ValueError) as error:
            last = error
        if time.monotonic() > deadline:
            raise DeadlineError(f"not within {seconds:g} s: {what} (last seen: {last!r})")
        time.sleep(every)
