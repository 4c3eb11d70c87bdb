"""Port types dpdkvhostuser (we listen) and dpdkvhostuserclient (we connect), as the daemon sees them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from vswitchd.datapath.dp import ffi, lib
from vswitchd.ports.base import NO_MAC, PortConfig, PortEnv, PortError, PortStatus
from vswitchd.ports.vhostuser import features
from vswitchd.ports.vhostuser.connection import Connection
from vswitchd.ports.vhostuser.device import CoreDevice
from vswitchd.ports.vhostuser.faults import FaultWatch
from vswitchd.ports.vhostuser.session import Session
from vswitchd.ports.vhostuser.sockets import Connector, Listener

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Iterator, Mapping

log = logging.getLogger(__name__)

SERVER, CLIENT = "dpdkvhostuser", "dpdkvhostuserclient"
PATH_OPTION, RETRIES_OPTION = "vhost-server-path", "tx-retries-max"
MAX_RETRIES = 32
DEFAULT_MTU = 1500
_L2_OVERHEAD = 14 + 8  # Ethernet header and two VLAN tags
_WATCH = 1.0  # seconds between looks for rings that broke
Metric = tuple[str, tuple[tuple[str, str], ...]]


def _retries(config: PortConfig) -> int:
    text = config.options.get(RETRIES_OPTION, str(lib.VS_VHOST_RETRIES))
    if not text.isascii() or not text.isdecimal() or int(text) > MAX_RETRIES:
        raise PortError(
            f"port {config.name}: options:{RETRIES_OPTION}={text} is not a number from 0 to {MAX_RETRIES}"
        )
    return int(text)


def _socket_path(config: PortConfig, env: PortEnv) -> str:
    if config.type == SERVER:
        if "/" in config.name or config.name in (".", ".."):
            raise PortError(
                f"port {config.name}: the name of a {SERVER} port is a file name and holds no '/'"
            )
        return str(env.run_dir / config.name)
    path = config.options.get(PATH_OPTION, "")
    if not path:
        raise PortError(
            f"port {config.name}: type {CLIENT} needs options:{PATH_OPTION}=<socket of the front-end>"
        )
    return path


class VhostPort:
    """One vhost-user port, from the socket to the rings."""

    def __init__(self, config: PortConfig, env: PortEnv) -> None:
        """Make the port and its socket. Raises PortError."""
        retries, path = _retries(config), _socket_path(config, env)
        self.config = config
        self._env = env
        self._path = path
        self._connection: Connection | None = None
        self._connects = 0
        self._seen: object = None
        self._broken: set[int] = set()
        self._rings = 0  # up to the highest that ever ran: those have counters
        self._watch: asyncio.TimerHandle | None = None
        self.handle: Any = lib.vs_vhost_new(config.name.encode())
        if self.handle == ffi.NULL:
            raise PortError(f"port {config.name}: out of memory")
        self._device = CoreDevice(config.name, self.handle)
        self._apply(config, retries)
        meet = Listener if config.type == SERVER else Connector
        try:
            self._socket: Listener | Connector = meet(config.name, path, self._connected)
        except PortError:
            lib.vs_port_destroy(self.handle)
            raise
        self._faults = FaultWatch(config.name, self.handle, env.loop, self._disconnect)

    def _apply(self, config: PortConfig, retries: int) -> None:
        lib.vs_vhost_set_retries(self.handle, retries)
        mtu = config.mtu_request
        lib.vs_vhost_set_max_frame(self.handle, 0xFFFFFFFF if mtu is None else mtu + _L2_OVERHEAD)

    def reconfigure(self, config: PortConfig) -> bool:
        """Apply MTU and retries in place; another type or socket takes a new port. Raises PortError."""
        retries = _retries(config)
        if config.type != self.config.type or _socket_path(config, self._env) != self._path:
            return False
        self.config = config
        self._apply(config, retries)
        return True

    def stop(self) -> None:
        """Forget the front-end and the socket."""
        self._seen = None
        self._env = PortEnv(self._env.loop, self._env.run_dir, lambda _port: None)
        self._socket.close()
        self._faults.close()
        self._disconnect()
        if self._watch is not None:
            self._watch.cancel()

    def _connected(self, sock: socket.socket) -> None:
        log.info("%s: front-end connected on %s", self.config.name, self._path)
        self._connects += 1
        self._broken.clear()
        self._connection = Connection(
            sock,
            Session(self._device, features.DEFAULT),
            name=self.config.name,
            handled=self._handled,
            closed=self._disconnected,
        )
        if self._watch is None:
            self._watch = self._env.loop.call_later(_WATCH, self._look)
        self._handled()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _disconnected(self, _connection: Connection) -> None:
        self._connection = None
        self._device.guest_mtu = None
        self._socket.disconnected()
        self._handled()

    def _handled(self) -> None:
        """Tell the daemon when something that it can see has changed."""
        seen = (self._connection is not None, self._features, tuple(self._device.sizes.items()))
        if seen != self._seen:
            self._seen = seen
            self._rings = max(self._rings, *(index + 1 for index in self._device.sizes), 0)
            lib.vs_port_set_link(self.handle, int(self._link_up()))
            self._env.changed(self)

    def _look(self) -> None:
        """Say once of each ring that it broke; the core that found out cannot."""
        self._watch = None
        for index in self._device.sizes:
            broken = self._device.info(index).broken
            if broken and index not in self._broken:
                self._broken.add(index)
                reason = ffi.string(lib.vs_chain_error_label(broken)).decode()
                log.warning("%s: ring %d is corrupt (%s) and stopped", self.config.name, index, reason)
            elif not broken:
                self._broken.discard(index)
        if self._connection is not None:
            self._watch = self._env.loop.call_later(_WATCH, self._look)

    @property
    def _features(self) -> int | None:
        return None if self._connection is None else self._connection.session.state.features

    def _link_up(self) -> bool:
        """Say whether both rings of some queue pair run."""
        running = self._device.sizes
        return any(index % 2 == 0 and index + 1 in running for index in running)

    def status(self) -> PortStatus:
        """Return what is true now."""
        mtu = self.config.mtu_request or DEFAULT_MTU
        mac, metrics = self.config.mac or NO_MAC, dict(self._metrics())
        return PortStatus(link_up=self._link_up(), mtu=mtu, mac=mac, info=self._info(), metrics=metrics)

    def _info(self) -> Mapping[str, str]:
        sizes = self._device.sizes
        info = {
            "driver_name": "vhost-user",
            "mode": "server" if self.config.type == SERVER else "client",
            "status": "disconnected" if self._connection is None else "connected",
            "socket": self._path,
            "num_of_vrings": str(len(sizes)),
            "numa": "0",
        }
        if self._features is not None:
            info["features"] = f"{self._features:#018x}"
            info["feature_names"] = features.names(self._features)
        if self._device.guest_mtu is not None:
            info["guest_mtu"] = str(self._device.guest_mtu)
        for index, size in sorted(sizes.items()):
            info[f"vring_{index}_size"] = str(size)
        return info

    def _metrics(self) -> Iterator[tuple[Metric, float]]:
        yield ("vs_vhost_connected", ()), float(self._connection is not None)
        yield ("vs_vhost_reconnects_total", ()), float(max(0, self._connects - 1))
        yield ("vs_vhost_memory_faults_total", ()), float(self._faults.total)
        for feature in features.names(self._features or 0).split():
            yield ("vs_vhost_feature_info", (("feature", feature),)), 1.0
        retries = 0
        for index in range(self._rings):
            info = self._device.info(index)
            yield from self._ring_metrics(index, info)
            retries += info.stats.retries
        yield ("vs_vhost_retries_total", ()), float(retries)

    def _ring_metrics(self, index: int, info: Any) -> Iterator[tuple[Metric, float]]:
        label = ("ring", str(index))
        stats = info.stats
        yield ("vs_vhost_ring_enabled", (label,)), float(index in self._device.sizes)
        if info.size:  # descriptors that wait for the switch
            yield ("vs_vhost_ring_used_ratio", (label,)), info.available / info.size
        yield ("vs_vhost_kicks_total", (label, ("state", "sent"))), float(stats.kicks_sent)
        yield ("vs_vhost_kicks_total", (label, ("state", "suppressed"))), float(stats.kicks_suppressed)
        if index % 2 == 0:
            yield ("vs_vhost_ring_full_total", (label,)), float(stats.full)
        for error in range(1, lib.VS_N_CHAIN_ERRORS):
            if stats.refused[error]:
                reason = ffi.string(lib.vs_chain_error_label(error)).decode()
                yield ("vs_vhost_refused_total", (label, ("reason", reason))), float(stats.refused[error])
