"""Reconciliation: makes what runs equal to what is stored, one snapshot at a time.

    commit -> schedule() -> apply() once per loop turn: cores, bridges, ports, patch pairs, controllers
           -> status columns -> set_applied(next_cfg), which is what a waiting vsctl waits for

Nothing here raises because of one bad row: its error is stored beside it and everything else goes on. All of
it runs on the control thread; the polling cores never wait for it.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from vswitchd import bridge_spec, bridge_status
from vswitchd.bridge import LiveBridge, LivePort

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator, Mapping

    from vswitchd.bridge_ofports import OfPortFile
    from vswitchd.bridge_openflow import OpenFlowSide
    from vswitchd.bridge_spec import BridgeSpec, PortSpec
    from vswitchd.config.store import Store
    from vswitchd.datapath import dp
    from vswitchd.ports import base
    from vswitchd.reconcile_cores import CorePolicy

LOCAL = 0xFFFFFFFE
FOUND_TYPES = frozenset({"system"})
MADE_TYPES = frozenset({"tap", "internal"})

_log = logging.getLogger(__name__)


class Reconciler:
    """Owns the running bridges. `openflow(bridge)` makes a bridge's OpenFlow side."""

    def __init__(
        self,
        store: Store,
        datapath: dp.Datapath,
        env: base.PortEnv,
        numbers: OfPortFile,
        *,
        cores: CorePolicy,
        openflow: Callable[[LiveBridge], OpenFlowSide],
    ) -> None:
        self.bridges: dict[str, LiveBridge] = {}
        self.openflow: dict[str, OpenFlowSide] = {}
        self.applied = 0
        self.applied_once = False
        self.apply_seconds = 0.0
        self._store = store
        self._datapath = datapath
        self._env = env
        self._numbers = numbers
        self.cores = cores
        self._make_openflow = openflow
        self._pending: asyncio.Handle | None = None
        self._changed: set[str] = set()
        self._warned: dict[str, tuple[str, ...]] = {}

    # --- when ---

    def schedule(self) -> None:
        """Apply the newest snapshot soon; several calls before that are one."""
        if self._pending is None:
            self._pending = self._env.loop.call_soon(self._run)

    def _run(self) -> None:
        self._pending = None
        try:
            self.apply()
        except Exception:  # noqa: BLE001 - a bug of ours: clients must not wait for ever, the log has the rest
            _log.exception("the configuration could not be applied as a whole")
            self._store.set_applied(self._store.next_cfg)

    def port_changed(self, port: base.Port) -> None:
        """Note a driver's word that its status or queues changed; looked at once per loop turn."""
        if not self._changed:
            self._env.loop.call_soon(self._refresh_changed)
        self._changed.add(port.config.name)

    def _refresh_changed(self) -> None:
        names, self._changed = self._changed, set()
        updates = []
        for bridge, port in self.ports():
            if port.name in names:
                if port.refresh():
                    self.openflow[bridge.name].port_changed(port)
                updates.append(("Interface", port.spec.uuid, bridge_status.interface(port)))
        self._rebalance()
        self._store.set_statuses(updates)

    # --- what ---

    def ports(self) -> Iterator[tuple[LiveBridge, LivePort]]:
        """Iterate over all ports of all bridges."""
        for bridge in self.bridges.values():
            for port in bridge.ports.values():
                yield bridge, port

    def apply(self) -> None:
        """Make everything as the newest snapshot says, and say so in the store."""
        began = time.perf_counter()
        snapshot = self._store.snapshot()
        wanted = bridge_spec.read(snapshot)
        ssl = bridge_spec.read_ssl(snapshot)
        self.cores.configure(self._datapath, snapshot.root["other_config"])
        self._numbers.keep_only(set(wanted))
        for name in [n for n, b in self.bridges.items() if n not in wanted or wanted[n].uuid != b.spec.uuid]:
            self._remove_bridge(name)
        self._remove_moved(wanted)
        for spec in wanted.values():
            self._warn(spec)
            self._apply_bridge(spec)
        self._pair_patches()
        self._rebalance()
        for spec in wanted.values():
            self.openflow[spec.name].configure(spec, ssl)
        self._numbers.save()
        self.publish()
        self.applied = snapshot.next_cfg
        self.applied_once = True
        self.apply_seconds = time.perf_counter() - began
        self._store.set_applied(snapshot.next_cfg)

    def _warn(self, spec: BridgeSpec) -> None:
        if self._warned.get(spec.uuid, ()) != spec.warnings:
            self._warned[spec.uuid] = spec.warnings
            for warning in spec.warnings:
                _log.warning("bridge %s: %s", spec.name, warning)

    def _remove_moved(self, wanted: Mapping[str, BridgeSpec]) -> None:
        """Take away every port that its bridge lost, before another bridge makes it."""
        for name, bridge in self.bridges.items():
            for port in [p for p in bridge.ports if p not in wanted[name].ports]:
                self._remove_port(bridge, port)

    def _apply_bridge(self, spec: BridgeSpec) -> None:
        bridge = self.bridges.get(spec.name)
        if bridge is None:
            bridge = LiveBridge(spec, self._datapath, self._env)
            self.bridges[spec.name] = bridge
            self.openflow[spec.name] = self._make_openflow(bridge)
            _log.info("bridge %s: created", spec.name)
        bridge.configure(spec)
        requests = {n: p.ofport_request for n, p in spec.ports.items() if not p.local}
        numbers = {**self._numbers.bridge(spec.name).assign(requests), spec.name: LOCAL}
        self._apply_ports(bridge, spec.ports, numbers)

    def _apply_ports(
        self, bridge: LiveBridge, specs: Mapping[str, PortSpec], numbers: Mapping[str, int]
    ) -> None:
        stale = []
        for name, spec in specs.items():
            port = bridge.ports.get(name)
            if port is None:
                stale.append(name)
            elif (port.spec, port.ofport) != (spec, numbers[name]):
                was = port.last
                if not bridge.update_port(port, spec, numbers[name]):
                    self._remove_port(bridge, name)
                    stale.append(name)
                elif port.last != was:
                    self.openflow[bridge.name].port_changed(port)
        # All removals come first: a port may take over the number or socket of another one.
        for name in stale:
            self._add_port(bridge, specs[name], numbers[name])

    def _add_port(self, bridge: LiveBridge, spec: PortSpec, number: int) -> None:
        port = bridge.add_port(spec, number)
        if not port.error:
            self.openflow[bridge.name].port_added(port)

    def _remove_port(self, bridge: LiveBridge, name: str) -> None:
        port = bridge.ports[name]
        if port.driver is not None:
            for other in self._patches() if port.spec.config.type == "patch" else ():
                if other.handle is not None and other.spec.patch_peer == name:
                    other.handle.set_patch_peer(None)
            self.openflow[bridge.name].port_removed(port)
        bridge.remove_port(name)

    def _remove_bridge(self, name: str) -> None:
        bridge = self.bridges[name]
        for port in list(bridge.ports):
            self._remove_port(bridge, port)
        del self.bridges[name]
        self.openflow.pop(name).close()
        bridge.close()
        _log.info("bridge %s: removed", name)

    def _patches(self) -> list[LivePort]:
        return [port for _, port in self.ports() if port.spec.config.type == "patch"]

    def _pair_patches(self) -> None:
        by_name = {port.name: port for port in self._patches() if port.handle is not None}
        for port in by_name.values():
            peer = by_name.get(port.spec.patch_peer)
            good = peer is not None and peer.spec.patch_peer == port.name and peer is not port
            if port.handle is not None:
                port.handle.set_patch_peer(peer.handle if good and peer is not None else None)
            port.error = "" if good else f"No usable peer '{port.spec.patch_peer}' exists in this switch."

    def _rebalance(self) -> None:
        self.cores.spread(self._datapath, [p for b in self.bridges.values() for p, _, _ in b.live()])
        self._datapath.wake()

    def interface_changed(self, name: str, index: int, *, gone: bool) -> None:
        """Try again each port that waits for this interface, or for its name, which an interface left.

        A failed attempt causes events of its own. So the interface with which a port failed does not make
        it try again; only another one does, or, where the name was to be free, its end.
        """
        for bridge, port in list(self.ports()):
            if port.driver is not None:
                continue
            kind, same = port.spec.config.type, port.blocker == index
            appeared = kind in FOUND_TYPES and not gone and port.name == name and not same
            left = kind in MADE_TYPES and same and (gone or port.name != name)
            if appeared or left:
                self._remove_port(bridge, port.name)
                self._add_port(bridge, port.spec, port.ofport)
                self._rebalance()
                again = bridge_status.interface(bridge.ports[port.name])
                self._store.set_status("Interface", port.spec.uuid, again)

    # --- what is true ---

    def publish(self) -> None:
        """Write status and statistics of everything into the store."""
        updates: list[bridge_status.Update] = []
        for name, bridge in self.bridges.items():
            for port, _, _ in bridge.live():
                if port.refresh():
                    self.openflow[name].port_changed(port)
            updates += bridge_status.updates(bridge)
            updates += [
                (
                    "Controller",
                    c.uuid,
                    {"is_connected": c.connected, "role": c.role, "status": dict(c.status)},
                )
                for c in self.openflow[name].controllers()
            ]
        self._store.set_statuses(updates)

    def punt(self, punt: dp.Punt) -> None:
        """Give a packet to its bridge's controllers; a bridge that is gone has none."""
        for name, bridge in self.bridges.items():
            if bridge.dp.index == punt.bridge:
                self.openflow[name].punt(punt)

    def tick(self) -> None:
        """Let time pass for OpenFlow."""
        for side in self.openflow.values():
            side.tick()

    def close(self) -> None:
        """Take everything down, ports first; what is stored stays."""
        if self._pending is not None:
            self._pending.cancel()
        for name in list(self.bridges):
            self._remove_bridge(name)
