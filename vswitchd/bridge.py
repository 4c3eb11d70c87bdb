"""A running bridge: its datapath bridge, its live ports, and what the operator sees of them.

Lives on the control thread. A port that cannot be made stays in the bridge as a LivePort with an `error` and
no driver, so that it is shown and can be tried again; nothing of it reaches the datapath.
"""

from __future__ import annotations

import contextlib
import logging
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vswitchd import descriptors
from vswitchd.datapath import dp
from vswitchd.ports import base

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vswitchd.bridge_spec import BridgeSpec, PortSpec
    from vswitchd.datapath.qos_spec import QosSpec

LOST = "the datapath refuses the port"

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class LivePort:
    """One interface of a bridge; `driver` and `handle` are there together, or `error` says why not."""

    spec: PortSpec
    ofport: int
    driver: base.Port | None = None
    handle: dp.PortHandle | None = None
    error: str = ""
    ifindex: int = 0
    blocker: int = 0
    """Index of the kernel interface of this name at the time of `error`."""
    link_resets: int = 0
    qos: QosSpec | None = None
    """What the port has; not what `spec` says while that is wrong."""
    qos_error: str = ""
    last: base.PortStatus = field(default_factory=lambda: base.PortStatus(link_up=False))

    @property
    def name(self) -> str:
        """The interface's name."""
        return self.spec.name

    @property
    def number(self) -> int:
        """The OpenFlow number as Open vSwitch shows it: 65534 for LOCAL."""
        return 65534 if self.spec.local else self.ofport

    def refresh(self) -> bool:
        """Ask the driver what is true, tell the datapath about the link; return whether anything changed."""
        if self.driver is None or self.handle is None:
            return False
        now, before = self.driver.status(), self.last
        self.last = now
        if now.link_up != before.link_up:
            self.link_resets += 1
            self.handle.set_link(now.link_up)
            _log.info("interface %s: link %s", self.name, "up" if now.link_up else "down")
        seen = (now.link_up, now.admin_up, now.mtu, now.mac, now.speed_bps)
        return seen != (before.link_up, before.admin_up, before.mtu, before.mac, before.speed_bps)


def ifindex_of(name: str) -> int:
    """Return the index of a kernel interface, 0 where there is none of that name."""
    with contextlib.suppress(OSError):
        return socket.if_nametoindex(name)
    return 0


class LiveBridge:
    """One bridge that runs. `datapath` and `env` belong to the daemon."""

    def __init__(self, spec: BridgeSpec, datapath: dp.Datapath, env: base.PortEnv) -> None:
        self.spec = spec
        self.ports: dict[str, LivePort] = {}
        self._datapath = datapath
        self._env = env
        self.dp: dp.DpBridge = datapath.create_bridge(spec.name)
        self._fdb: tuple[int, int] | None = None
        self._bpdu: bool | None = None

    @property
    def name(self) -> str:
        """The bridge's name."""
        return self.spec.name

    def configure(self, spec: BridgeSpec) -> None:
        """Take over the bridge's own settings (not ports, not controllers)."""
        self.spec = spec
        if self._fdb != (spec.mac_table_size, spec.mac_ageing):
            self._fdb = (spec.mac_table_size, spec.mac_ageing)
            self.dp.set_fdb(*self._fdb)
        if self._bpdu != spec.forward_bpdu:
            self._bpdu = spec.forward_bpdu
            self.dp.set_forward_bpdu(spec.forward_bpdu)

    def live(self) -> Iterator[tuple[LivePort, base.Port, dp.PortHandle]]:
        """Iterate over the ports that run."""
        for port in self.ports.values():
            if port.driver is not None and port.handle is not None:
                yield port, port.driver, port.handle

    def add_port(self, spec: PortSpec, ofport: int) -> LivePort:
        """Make a port; on failure it is there with its `error`."""
        port = LivePort(spec, ofport, error=spec.error)
        self.ports[spec.name] = port
        if not port.error:
            self._open(port)
        if port.error:
            _log.warning("bridge %s: could not add interface %s: %s", self.name, port.name, port.error)
        else:
            _log.info("bridge %s: added interface %s on port %d", self.name, port.name, port.number)
        for warning in spec.warnings:
            _log.warning("interface %s: %s", port.name, warning)
        return port

    def _open(self, port: LivePort) -> None:
        port.error = descriptors.shortage()
        if port.error:
            return
        try:
            driver = base.open_port(port.spec.config, self._env)
        except base.PortError as error:
            port.error = str(error)
            port.blocker = ifindex_of(port.name)
            return
        except Exception:  # noqa: BLE001 - a driver's bug must not stop the other ports
            _log.exception("interface %s: the driver failed", port.name)
            port.error = "internal error in the driver; the vswitchd log has the details"
            return
        try:
            port.handle = self._datapath.attach(driver.handle, self.dp, port.ofport, port.name)
        except dp.DatapathError as error:
            driver.stop()
            dp.lib.vs_port_destroy(driver.handle)
            port.error = f"{LOST}: {error}"
            return
        port.driver = driver
        port.ifindex = ifindex_of(port.name)
        port.last = driver.status()
        port.handle.set_link(port.last.link_up)
        self._set_vlan(port)
        self._set_qos(port)
        if port.spec.policing[0]:
            self._set_policing(port)

    def _set_vlan(self, port: LivePort) -> None:
        vlan = port.spec.vlan
        if port.handle is not None:
            port.handle.set_vlan(vlan.mode.value, vlan.tag, vlan.trunks)

    def _set_qos(self, port: LivePort) -> None:
        wanted, error = port.spec.qos, port.spec.qos_error
        if port.handle is not None and not error and wanted != port.qos:
            try:
                port.handle.set_qos(wanted)
                port.qos = wanted
            except dp.DatapathError as failed:
                error = str(failed)
        if error and error != port.qos_error:
            _log.warning("interface %s: QoS: %s; what it had stays", port.name, error)
        port.qos_error = error

    def _set_policing(self, port: LivePort) -> None:
        if port.handle is not None:
            try:
                port.handle.set_policing(*port.spec.policing)
            except dp.DatapathError as error:
                _log.error("interface %s: %s", port.name, error)

    def update_port(self, port: LivePort, spec: PortSpec, ofport: int) -> bool:
        """Apply a changed spec or number; return False if that takes a new port (remove_port, add_port)."""
        if port.driver is None or spec.error or ofport != port.ofport:
            return False
        if spec.config != port.spec.config:
            try:
                if not port.driver.reconfigure(spec.config):
                    return False
            except base.PortError:
                return False
        vlan_changed = spec.vlan != port.spec.vlan
        policing_changed = spec.policing != port.spec.policing
        port.spec = spec
        self._set_qos(port)
        if policing_changed:
            self._set_policing(port)
        if vlan_changed:
            self._set_vlan(port)
        port.refresh()
        return True

    def remove_port(self, name: str) -> None:
        """Stop a port and take it out of the datapath."""
        port = self.ports.pop(name)
        if port.driver is None or port.handle is None:
            return
        port.driver.stop()
        self._datapath.detach(port.handle)
        port.driver = port.handle = None
        _log.info("bridge %s: removed interface %s on port %d", self.name, name, port.number)

    def close(self) -> None:
        """Remove all ports and the datapath bridge."""
        for name in list(self.ports):
            self.remove_port(name)
        self._datapath.delete_bridge(self.dp)
