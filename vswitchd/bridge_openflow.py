"""The OpenFlow side of a bridge as the reconciler sees it: told of ports, asked for its controllers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from vswitchd.ofproto.agent import Identity
from vswitchd.ofproto.constants import OFPPC, OFPPF, OFPPS
from vswitchd.ofproto.endpoint import ControllerConfig
from vswitchd.ofproto.flow_table import FlowEntry, Selection
from vswitchd.ofproto.server import OpenFlowBridge
from vswitchd.ofproto.structures import Port
from vswitchd.ofproto.tls import SslConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vswitchd.bridge import LiveBridge, LivePort
    from vswitchd.bridge_spec import BridgeSpec, ControllerSpec, SslSpec
    from vswitchd.datapath import dp

OFP_NAME_LEN = 15
SPEEDS = {
    10_000_000: OFPPF.PF_10MB_FD,
    100_000_000: OFPPF.PF_100MB_FD,
    1_000_000_000: OFPPF.PF_1GB_FD,
    10_000_000_000: OFPPF.PF_10GB_FD,
    40_000_000_000: OFPPF.PF_40GB_FD,
    100_000_000_000: OFPPF.PF_100GB_FD,
    1_000_000_000_000: OFPPF.PF_1TB_FD,
}


@dataclass(frozen=True, slots=True)
class ControllerState:
    """Computed columns of one Controller row, and its counters."""

    uuid: str
    target: str
    connected: bool
    role: str | None = None
    status: Mapping[str, str] = field(default_factory=dict)
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class OpenFlowState:
    """What the metrics show of a bridge's OpenFlow side."""

    flows: Mapping[int, int] = field(default_factory=dict)
    """Flow entries by table."""
    groups: int = 0
    packet_ins: int = 0
    fail_open: bool = False


class OpenFlowSide(Protocol):
    """The OpenFlow agent of one bridge. All calls on the control thread."""

    def configure(self, spec: BridgeSpec, ssl: SslSpec | None) -> None:
        """Take over datapath id, fail mode and controllers."""

    def port_added(self, port: LivePort) -> None:
        """Take note of a port that runs now."""

    def port_changed(self, port: LivePort) -> None:
        """Its link, speed or address changed."""

    def port_removed(self, port: LivePort) -> None:
        """Forget a port, which is about to leave the datapath."""

    def punt(self, punt: dp.Punt) -> None:
        """Give a packet to the controllers."""

    def tick(self) -> None:
        """Let time pass: probes, back-off, expiry. About ten times a second."""

    def controllers(self) -> Sequence[ControllerState]:
        """How the configured controllers are doing."""

    def state(self) -> OpenFlowState:
        """Numbers for the metrics."""

    def entry(self, table: int, rule: int) -> FlowEntry | None:
        """The flow entry of a table whose rule in the datapath has that handle. Looks at all of the table."""

    def show_staged(self) -> None:
        """Show packets the flow-mods that wait for the end of a slice."""

    def close(self) -> None:
        """End all connections and listeners."""


def describe(port: LivePort) -> Port:
    """Return a running port as OpenFlow describes it (OpenFlow 1.3.5, 7.2.1)."""
    now = port.last
    feature = int(SPEEDS.get(now.speed_bps, 0))
    return Port(
        port_no=port.ofport,
        hw_addr=bytes.fromhex(now.mac.replace(":", "")),
        name=port.name[:OFP_NAME_LEN],
        config=0 if now.admin_up else int(OFPPC.PORT_DOWN),
        state=int(OFPPS.LIVE if now.link_up else OFPPS.LINK_DOWN),
        curr=feature,
        supported=feature,
        curr_speed=now.speed_bps // 1000,
        max_speed=now.speed_bps // 1000,
    )


def _controller(c: ControllerSpec) -> ControllerConfig:
    return ControllerConfig(
        c.target, c.primary, c.inactivity_probe_ms, c.max_backoff_ms, c.enable_async, c.rate_limit,
        c.burst_limit, c.auxiliaries,
    )  # fmt: skip


class BridgeOpenFlow:
    """The OpenFlowSide of a bridge that runs."""

    def __init__(
        self,
        bridge: LiveBridge,
        datapath: dp.Datapath,
        run_dir: str,
        clock: Callable[[], float],
        software: str,
    ) -> None:
        self._software = software
        self._uuids: dict[str, str] = {}
        self._side = OpenFlowBridge(
            bridge.dp, datapath, bridge.name, run_dir, clock=clock, identity=self._identity(bridge.spec)
        )

    def _identity(self, spec: BridgeSpec) -> Identity:
        return Identity(spec.datapath_id, spec.description or spec.name, "None", self._software)

    def configure(self, spec: BridgeSpec, ssl: SslSpec | None) -> None:
        """Take over datapath id, fail mode and controllers."""
        self._uuids = {c.target: c.uuid for c in spec.controllers}
        self._side.set_identity(self._identity(spec))
        self._side.set_protocols(spec.protocols)
        self._side.set_ssl(SslConfig(ssl.private_key, ssl.certificate, ssl.ca_cert) if ssl else None)
        self._side.set_fail_mode("secure" if spec.secure else "standalone")
        self._side.set_controllers(_controller(c) for c in spec.controllers)

    def port_added(self, port: LivePort) -> None:
        """Take note of a port that runs now."""
        if port.handle is not None:
            self._side.port_added(describe(port), port.handle)

    def port_changed(self, port: LivePort) -> None:
        """Tell of a port's link, speed or address."""
        self._side.port_changed(describe(port))

    def port_removed(self, port: LivePort) -> None:
        """Forget a port."""
        self._side.port_removed(port.ofport)

    def punt(self, punt: dp.Punt) -> None:
        """Give a packet to the controllers."""
        self._side.punt(punt)

    def tick(self) -> None:
        """Let time pass."""
        self._side.tick()

    def controllers(self) -> list[ControllerState]:
        """Return the state of every configured controller that still has its row."""
        return [
            ControllerState(
                self._uuids[target], target, status.is_connected, status.role, status.status, status.dropped
            )
            for target, status in self._side.status().controllers.items()
            if target in self._uuids
        ]

    def state(self) -> OpenFlowState:
        """Return numbers for the metrics."""
        status, agent = self._side.status(), self._side.agent
        flows = {table: count for table, count in enumerate(agent.flows.tables.counts) if count}
        return OpenFlowState(flows, status.groups, status.packet_ins, status.fail_open)

    def entry(self, table: int, rule: int) -> FlowEntry | None:
        """Return the flow entry of a table whose rule in the datapath has that handle."""
        entries = self._side.agent.flows.tables.select(Selection(table_id=table))
        return next((entry for entry in entries if entry.rule == rule), None)

    def show_staged(self) -> None:
        """Show packets the flow-mods that wait for the end of a slice."""
        self._side.agent.flows.commit()

    def close(self) -> None:
        """End all connections and listeners."""
        self._side.close()
