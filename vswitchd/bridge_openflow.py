"""The OpenFlow side of a bridge as the reconciler sees it: told of ports, asked for its controllers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vswitchd.bridge import LivePort
    from vswitchd.bridge_spec import BridgeSpec, SslSpec


@dataclass(frozen=True, slots=True)
class ControllerState:
    """Computed columns of one Controller row."""

    uuid: str
    target: str
    connected: bool
    role: str = "other"
    status: Mapping[str, str] = field(default_factory=dict)


class OpenFlowSide(Protocol):
    """The OpenFlow agent of one bridge. All calls on the control thread."""

    def configure(self, spec: BridgeSpec, ssl: SslSpec | None) -> None:
        """Take over datapath id, fail mode, protocols and controllers."""

    def port_added(self, port: LivePort) -> None:
        """Take note of a port that runs now."""

    def port_changed(self, port: LivePort) -> None:
        """Its link, speed or address changed."""

    def port_removed(self, port: LivePort) -> None:
        """Forget a port, which is about to leave the datapath."""

    def controllers(self) -> Sequence[ControllerState]:
        """How the configured controllers are doing."""

    async def close(self) -> None:
        """End all connections and listeners."""
