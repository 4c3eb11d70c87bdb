"""What a port is to the control plane: the Port protocol, its configuration, its status, and the registry of types."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import asyncio


NO_MAC = "00:00:00:00:00:00"
Metrics = Mapping[tuple[str, tuple[tuple[str, str], ...]], float]


class PortError(Exception):
    """A port cannot be made or changed; the message is one line that says what to do (column `error` of Interface)."""


@dataclass(frozen=True, slots=True)
class PortConfig:
    """What the operator asked for, from one Interface row."""

    name: str
    type: str
    options: Mapping[str, str] = field(default_factory=dict)
    mtu_request: int | None = None
    mac: str | None = None
    n_rxq: int | None = None
    """options:n_rxq, already checked: 1 to 64."""


@dataclass(frozen=True, slots=True)
class PortStatus:
    """What is true of a port now; feeds the Interface row, OpenFlow and the metrics."""

    link_up: bool
    admin_up: bool = True
    mtu: int = 1500
    mac: str = NO_MAC
    speed_bps: int = 0
    info: Mapping[str, str] = field(default_factory=dict)
    """Column `status` of Interface: driver's facts as text."""
    measure: Callable[[], Metrics] = field(default=dict, compare=False, repr=False)
    """Makes `metrics`: status is asked for every second, metrics only at a scrape, while the port lives."""

    @property
    def metrics(self) -> Metrics:
        """Driver's own metrics, now: (name, labels) -> value; e.g. ("vs_vhost_connected", ()) -> 1."""
        return self.measure()


@dataclass(frozen=True, slots=True)
class PortEnv:
    """What a port may use of the daemon. All on the control thread."""

    loop: asyncio.AbstractEventLoop
    run_dir: Path
    """Sockets of vhost-user ports stand here."""
    changed: Callable[[Port], None]
    """Call when status (link, queues) changed: the daemon reads status() and n_rxq again. Cheap, may be called often."""
    cpus: int = 1
    """CPUs that may come to poll: with one more for the control thread, the transmit queues of who has one for each."""


class Port(Protocol):
    """One live port. Made by an opener on the control thread; never blocks it for long."""

    config: PortConfig
    handle: Any
    """struct vs_port *; owned by this object until close."""

    def status(self) -> PortStatus:
        """What is true now."""

    def reconfigure(self, config: PortConfig) -> bool:
        """Apply a changed configuration in place. False: cannot, make the port anew. Raises PortError."""

    def stop(self) -> None:
        """Close sockets and forget the peer; no more calls of `changed`.

        The daemon detaches `handle` from the datapath (which calls the driver's destroy after a grace period) right
        after this.
        """


Opener = Callable[[PortConfig, PortEnv], Port]
_openers: dict[str, Opener] = {}


def register(type_name: str, opener: Opener) -> None:
    """Make a port type known. Raises ValueError when the name is taken."""
    if type_name in _openers:
        raise ValueError(f"port type {type_name} is registered twice")
    _openers[type_name] = opener


def types() -> list[str]:
    """Known port types, sorted (column iface_types of Open_vSwitch)."""
    return sorted(_openers)


def open_port(config: PortConfig, env: PortEnv) -> Port:
    """Make a port of the configured type. Raises PortError."""
    opener = _openers.get(config.type)
    if opener is None:
        raise PortError(
            f"unknown interface type '{config.type}'; known types: {', '.join(filter(None, types()))}"
        )
    return opener(config, env)
