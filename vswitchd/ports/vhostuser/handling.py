"""What a handler gets and what it returns: the shape of all functions in the handlers_*.py files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vswitchd.ports.vhostuser.contract import Device
    from vswitchd.ports.vhostuser.features import Offer
    from vswitchd.ports.vhostuser.frames import Frame
    from vswitchd.ports.vhostuser.memory import Span
    from vswitchd.ports.vhostuser.payloads import Body
    from vswitchd.ports.vhostuser.state import State


@dataclass(frozen=True, slots=True)
class Context:
    """What a handler may look at."""

    state: State
    body: Body
    frame: Frame
    device: Device
    offer: Offer


@dataclass(frozen=True, slots=True)
class Change:
    """Translations that change: rings that live there stop before it and start after it, waiting ones try again."""

    span: Span
    apply: Callable[[], None]
    """May raise RequestError."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The state to put into force, and what to answer where the row says so."""

    state: State
    value: int = 0
    payload: bytes = b""
    """Answered instead of what the row says, when there is any."""
    fds: list[int] = field(default_factory=list)
    """Descriptors to send with the answer; the session's to close."""
    change: Change | None = None


Handler = Callable[[Context], Outcome]
