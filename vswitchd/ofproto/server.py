"""The OpenFlow side of a bridge: its agent, its connections of every kind, its fail mode.

The daemon makes one per bridge. Made and used on the control thread within a running event loop. Nothing
blocks. See `OpenFlowBridge` for the calls.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vswitchd.ofproto.agent import Agent, Identity
from vswitchd.ofproto.connection import VERSIONS
from vswitchd.ofproto.constants import OFP_VERSION_10, OFP_VERSION_13
from vswitchd.ofproto.endpoint import ControllerConfig, ControllerStatus, Endpoint, adjust
from vswitchd.ofproto.fail_mode import FailMode
from vswitchd.ofproto.listener import Listener
from vswitchd.ofproto.remote import Remote
from vswitchd.ofproto.target import TargetError, parse_target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from vswitchd.datapath import dp
    from vswitchd.ofproto.structures import Port
    from vswitchd.ofproto.tls import SslConfig

log = logging.getLogger(__name__)
PROTOCOLS = {"OpenFlow10": OFP_VERSION_10, "OpenFlow13": OFP_VERSION_13}
"""The versions that are spoken, by their names in column protocols of table Bridge."""
NO_PROBE_SECONDS = 5.0
"""What counts as the probe interval of controllers that are not probed, for fail mode."""


@dataclass(frozen=True, slots=True)
class BridgeStatus:
    """What is true of a bridge's OpenFlow side. `controllers` is by target and without the .mgmt socket."""

    datapath_id: str
    fail_open: bool
    flows: int
    groups: int
    packet_ins: int
    controllers: dict[str, ControllerStatus]


def datapath_id(mac: str | bytes, wanted: str | None = None) -> int:
    """Return the id: other_config:datapath-id (16 hex digits, or 0x and 1 to 16), or the bridge's MAC.

    ValueError, one line, where `wanted` is bad.
    """
    if wanted:
        digits = wanted[2:] if wanted.startswith(("0x", "0X")) else wanted
        exact = digits is wanted
        if (
            not digits
            or len(digits) > 16
            or (exact and len(digits) != 16)
            or not _is_hex(digits)
            or not int(digits, 16)
        ):
            raise ValueError(f"other_config:datapath-id={wanted}: expected 16 hex digits that are not all 0")
        return int(digits, 16)
    octets = bytes.fromhex(mac.replace(":", "")) if isinstance(mac, str) else mac
    return int.from_bytes(octets, "big")


def _is_hex(text: str) -> bool:
    return all(c in "0123456789abcdefABCDEF" for c in text)


def _void(target: str, error: TargetError) -> ControllerStatus:
    return ControllerStatus(
        target, primary=True, is_connected=False, role=None, state="VOID", last_error=str(error)
    )


class OpenFlowBridge:
    """One bridge's OpenFlow switch. Call `tick()` about ten times a second, after `dp.housekeeping()`."""

    def __init__(
        self, bridge: dp.DpBridge, datapath: dp.Datapath, name: str, run_dir: str, *,
        clock: Callable[[], float], identity: Identity,
    ) -> None:  # fmt: skip
        self.name = name
        self.agent = Agent(bridge, datapath, clock, identity)
        self.fail_mode = FailMode(self.agent)
        self.agent.primary_connected = self.fail_mode.connected
        self._ssl: SslConfig | None = None
        self._endpoints: dict[str, Endpoint] = {}
        self._bad: dict[str, ControllerStatus] = {}
        self.mgmt_error: str | None = None
        self._mgmt: Endpoint | None = None
        try:
            self._mgmt = self._make(ControllerConfig(f"punix:{run_dir}/{name}.mgmt", inactivity_probe=0))
        except TargetError as error:
            self.mgmt_error = str(error)
            log.warning("%s: %s", name, error)

    def set_identity(self, identity: Identity) -> None:
        """Change datapath id or description. A new id ends all connections: controllers must see it."""
        had = self.agent.identity
        self.agent.identity = identity
        if had.datapath_id != identity.datapath_id:
            for endpoint in self._endpoints.values():
                for channel in endpoint.channels():
                    channel.close("the datapath id changed")

    def set_protocols(self, names: Iterable[str]) -> None:
        """Set the versions to speak by their names in column protocols ("OpenFlow10"); none we know: all.

        Connections that speak another one end.
        """
        self.agent.versions = frozenset(PROTOCOLS[name] for name in names if name in PROTOCOLS) or VERSIONS
        for endpoint in self._all():
            for channel in endpoint.channels():
                if channel.session is not None and channel.session.version not in self.agent.versions:
                    channel.close("the bridge's protocols changed")

    def set_controllers(self, configs: Iterable[ControllerConfig]) -> None:
        """Make the connections be these. Unchanged ones live on; a bad target shows in its status only."""
        wanted = {config.target: config for config in configs}
        for target, endpoint in list(self._endpoints.items()):
            config = wanted.get(target)
            if config is None or not adjust(endpoint, config):
                endpoint.close()
                del self._endpoints[target]
        self._bad = {}
        for target, config in wanted.items():
            if target not in self._endpoints:
                try:
                    self._endpoints[target] = self._make(config)
                except TargetError as error:
                    log.warning("%s: %s", self.name, error)
                    self._bad[target] = ControllerStatus(
                        target,
                        primary=True,
                        is_connected=False,
                        role=None,
                        state="VOID",
                        last_error=str(error),
                    )
        self.fail_mode.set_controllers(configured=any(e.primary for e in self._endpoints.values()))

    def set_fail_mode(self, mode: str) -> None:
        """Set "standalone" or "secure". ValueError for another."""
        self.fail_mode.set_mode(mode)

    def set_ssl(self, config: SslConfig | None) -> None:
        """Set the files of TLS; connections made from now on use them."""
        self._ssl = config

    def port_added(self, desc: Port, handle: dp.PortHandle) -> None:
        """Tell of a new port that is attached to the datapath."""
        self.agent.add_port(desc, handle)

    def port_removed(self, ofport: int) -> None:
        """Tell that a port is gone."""
        self.agent.remove_port(ofport)

    def port_changed(self, desc: Port) -> None:
        """Tell of a port's new link state, address, name or speed; nothing is sent where nothing is new."""
        self.agent.change_port(desc)

    def punt(self, punt: dp.Punt) -> None:
        """Give a packet of this bridge to the controllers."""
        self.agent.punt(punt)

    def tick(self) -> None:
        """Timeouts, flow-removed, probes, reconnects, fail mode."""
        self.agent.tick()
        for endpoint in self._all():
            endpoint.tick()
        primaries = [e for e in self._endpoints.values() if e.primary]
        self.fail_mode.tick(
            connected=any(channel.ready for e in primaries for channel in e.channels()),
            probe=max((e.config.inactivity_probe / 1000 or NO_PROBE_SECONDS for e in primaries), default=0.0),
        )

    def status(self) -> BridgeStatus:
        """Say what is true now."""
        return BridgeStatus(
            f"{self.agent.identity.datapath_id:016x}",
            self.fail_mode.failing_open,
            len(self.agent.flows.tables),
            len(self.agent.groups),
            self.agent.punts,
            {target: endpoint.status() for target, endpoint in self._endpoints.items()} | self._bad,
        )

    def endpoint(self, target: str) -> Endpoint:
        """Return the endpoint of a configured target; KeyError."""
        return self._endpoints[target]

    def close(self) -> None:
        """Close every connection and socket. The flows stay in the datapath until the bridge itself goes."""
        self.agent.stop()
        for endpoint in self._all():
            endpoint.close()
        self._endpoints = {}
        self._mgmt = None

    def _all(self) -> list[Endpoint]:
        return [*self._endpoints.values(), *([self._mgmt] if self._mgmt is not None else [])]

    def _make(self, config: ControllerConfig) -> Endpoint:
        target = parse_target(config.target)
        kind = Listener if target.passive else Remote
        return kind(self.agent, target, config, lambda: self._ssl)
