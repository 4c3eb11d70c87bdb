"""Where the connections of a target come from: what active (remote.py) and passive (listener.py) share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from vswitchd.ofproto.channel import Channel

MIN_BACKOFF = 1.0


@dataclass(frozen=True, slots=True)
class ControllerConfig:
    """One row of table Controller. Times in milliseconds; primary None: active targets are, others not.

    rate_limit, burst_limit: packet-ins a second, and at once; None: no limit. auxiliaries: connections besides
    the main one (active targets only).
    """

    target: str
    primary: bool | None = None
    inactivity_probe: int = 5000
    max_backoff: int = 8000
    enable_async: bool = True
    rate_limit: int | None = None
    burst_limit: int | None = None
    auxiliaries: int = 0

    @property
    def fixed(self) -> ControllerConfig:
        """What cannot change without new connections."""
        return ControllerConfig(self.target, self.primary, enable_async=self.enable_async)


@dataclass(frozen=True, slots=True)
class ControllerStatus:
    """What is true of a controller: columns is_connected and role, and the keys of column status."""

    target: str
    primary: bool
    is_connected: bool
    role: str | None
    state: str
    last_error: str | None = None
    sec_since_connect: int | None = None
    sec_since_disconnect: int | None = None
    dropped: int = 0
    """Packet-ins dropped because the controller did not read, or over its rate."""

    @property
    def status(self) -> dict[str, str]:
        """Column status."""
        found = {"state": self.state}
        for name in ("last_error", "sec_since_connect", "sec_since_disconnect"):
            value = getattr(self, name)
            if value is not None:
                found[name] = str(value)
        return found


@dataclass(slots=True)
class History:
    """Times (seconds of the clock) and the last error of an endpoint."""

    last_error: str | None = None
    connected_at: float | None = None
    disconnected_at: float | None = None
    dropped: int = field(default=0)


class Endpoint(Protocol):
    """One target's connections."""

    config: ControllerConfig
    primary: bool

    def tick(self) -> None:
        """Connect, probe; call some times a second."""

    def channels(self) -> list[Channel]:
        """Live connections, also those that have not exchanged hellos yet."""

    def status(self) -> ControllerStatus:
        """Say what is true now."""

    def close(self) -> None:
        """Close all connections and stop."""


def adjust(endpoint: Endpoint, config: ControllerConfig) -> bool:
    """Give a live endpoint new times and limits, keeping its connections. False, and nothing done, if more is different."""
    if config.fixed != endpoint.config.fixed:
        return False
    endpoint.config = config
    for channel in endpoint.channels():
        channel.set_probe(config.inactivity_probe / 1000)
        channel.set_rate(config.rate_limit, config.burst_limit)
    return True


ROLES = {1: "other", 2: "master", 3: "slave"}


def role_of(channel: Channel | None) -> str | None:
    """Return the role of a connection as column role has it."""
    if channel is None or channel.session is None:
        return None
    return ROLES.get(channel.session.role)


def since(now: float, then: float | None) -> int | None:
    """Return whole seconds since a time."""
    return None if then is None else max(0, int(now - then))
