"""Port types dpdkvhostuser (we listen) and dpdkvhostuserclient (we connect), as the daemon sees them."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vswitchd.datapath.dp import ffi, lib
from vswitchd.ports.base import NO_MAC, PortConfig, PortEnv, PortError, PortStatus
from vswitchd.ports.vhostuser import memo, options, status
from vswitchd.ports.vhostuser.connection import Connection
from vswitchd.ports.vhostuser.device import CoreDevice
from vswitchd.ports.vhostuser.faults import FaultWatch
from vswitchd.ports.vhostuser.features import SUPPORTED, Offer, Protocol, Virtio, names, protocol_names
from vswitchd.ports.vhostuser.options import CLIENT, SERVER
from vswitchd.ports.vhostuser.recovery import Recovery
from vswitchd.ports.vhostuser.session import Session
from vswitchd.ports.vhostuser.sockets import Connector, Listener

if TYPE_CHECKING:
    import socket

    from vswitchd.ports.vhostuser.state import State

__all__ = ["CLIENT", "SERVER", "VhostPort"]
log = logging.getLogger(__name__)

DEFAULT_MTU = 1500
_L2_OVERHEAD = 14 + 8  # Ethernet header and two VLAN tags
_REMEMBERED = SUPPORTED.without([Protocol.PAGEFAULT])


class VhostPort:
    """One vhost-user port, from the socket to the rings."""

    def __init__(self, config: PortConfig, env: PortEnv) -> None:
        """Make the port and its socket. Raises PortError."""
        self._options = options.read(config, env.run_dir)
        self.config = config
        self._env = env
        self._memo = memo.MemoFile(config.name, env.run_dir)
        self._connection: Connection | None = None
        self._peer: memo.Peer | None = None
        self._offer = self._options.offer
        self._negotiated = False
        self._connects = 0
        self._since = 0.0
        self._error = ""
        self._seen: object = None
        self._broken: set[int] = set()
        self._rings = 0  # up to the highest that ever ran: those have counters
        self.handle: Any = lib.vs_vhost_new(config.name.encode())
        if self.handle == ffi.NULL:
            raise PortError(f"port {config.name}: out of memory")
        self._recovery = Recovery(config.name, env.run_dir)
        self._device = CoreDevice(config.name, self.handle, self._recovery)
        self._apply()
        try:
            self._socket = self._make_socket()
        except PortError:
            lib.vs_port_destroy(self.handle)
            raise
        self._faults = FaultWatch(config.name, self.handle, env.loop, self._disconnect)

    def _make_socket(self) -> Listener | Connector:
        name, asked = self.config.name, self._options
        if self.config.type == SERVER:
            return Listener(name, asked.address, self._connected, access=asked.access)
        return Connector(name, asked.address, self._connected, longest=asked.longest_wait)

    def _apply(self) -> None:
        lib.vs_vhost_set_retries(self.handle, self._options.retries)
        mtu = self.config.mtu_request
        lib.vs_vhost_set_max_frame(self.handle, 0xFFFFFFFF if mtu is None else mtu + _L2_OVERHEAD)

    def reconfigure(self, config: PortConfig) -> bool:
        """Apply all but another type or address in place; those take a new port.

        What is offered changes with the front-end's next connection: one that is connected has negotiated. An
        option that is not valid is told in column `error`, and the port runs on as before: nobody means to
        unplug a guest by a typing error.
        """
        if config.type != self.config.type:
            return False
        self.config = config
        try:
            asked = options.read(config, self._env.run_dir)
            if asked.address != self._options.address:
                return False
            if isinstance(self._socket, Listener):
                self._socket.set_access(asked.access)
            else:
                self._socket.longest = asked.longest_wait
            self._error = ""
        except PortError as error:
            log.warning("%s; the port runs on as before", error)
            self._error, asked = str(error), self._options
        if asked.offer != self._options.offer and self._connection is not None:
            log.info("%s: the changed features take effect when the front-end connects again", config.name)
        self._options = asked
        self._apply()
        return True

    def stop(self) -> None:
        """Forget the front-end and the socket."""
        self._seen = None
        self._env = replace(self._env, changed=lambda _port: None)
        self._socket.close()
        self._faults.close()
        self._disconnect()
        self._recovery.close()
        self._memo.close()

    def _connected(self, sock: socket.socket) -> None:
        log.info("%s: front-end connected on %s", self.config.name, self._options.address)
        self._connects += 1
        self._since = self._env.loop.time()
        self._broken.clear()
        self._negotiated = False
        self._peer = memo.find_peer(sock)
        self._recovery.begin(self._peer)
        self._offer = self._offer_to(self._peer)
        self._connection = Connection(
            sock,
            Session(self._device, self._offer),
            name=self.config.name,
            handled=self._handled,
            closed=self._disconnected,
        )
        self._handled()

    def _offer_to(self, peer: memo.Peer | None) -> Offer:
        """Return what is configured, and what this peer had: its guest runs and cannot do without.

        Not PAGEFAULT: that is a matter of trust, and no guest that runs depends on it.
        """
        asked = self._options.offer
        before = self._memo.recall(peer)
        if before is None:
            return asked
        offer = asked | (before.negotiated & _REMEMBERED)
        if offer.protocol:
            offer = offer.plus([Virtio.PROTOCOL_FEATURES])
        if offer != asked:
            log.info(
                "%s: the front-end (pid %d) was here before and keeps what it negotiated: %s",
                self.config.name,
                before.peer.pid,
                " ".join(
                    filter(
                        None,
                        (
                            names(offer.virtio & ~asked.virtio),
                            protocol_names(offer.protocol & ~asked.protocol),
                            f"{offer.pairs} queue pairs" if offer.pairs != asked.pairs else "",
                        ),
                    )
                ),
            )
        return offer

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _disconnected(self, _connection: Connection) -> None:
        self._connection = None
        self._recovery.lost()
        self._device.guest_mtu = None
        self._socket.disconnected(useful=self._negotiated)
        self._handled()

    def _handled(self) -> None:
        """Tell the daemon when something that it can see has changed."""
        state = self._state
        if state is not None:
            self._recovery.settled()
        if state is not None and state.features is not None:
            self._remember(state, state.features)
        seen = (
            None if state is None else status.outline(state),
            tuple(self._device.sizes.items()),
            self._device.starts,
            self._device.guest_mtu,
        )
        if seen != self._seen:
            self._seen = seen
            self._rings = max(self._rings, *(index + 1 for index in self._device.sizes), 0)
            lib.vs_port_set_link(self.handle, int(self._link_up()))
            self._env.changed(self)

    def _remember(self, state: State, features: int) -> None:
        self._negotiated = True
        if self._peer is not None:
            pairs = max(state.rings, default=0) // 2 + 1  # QEMU names all it has, also those that do not run
            negotiated = Offer(features, state.protocol, pairs)
            self._memo.remember(memo.Memo(self._peer, self._offer, negotiated))

    def _tell_broken(self, facts: dict[str, str]) -> None:
        """Say once of each ring that it broke; the core that found out cannot."""
        for index in self._device.sizes:
            reason = facts.get(status.ring_error(index))
            if reason is None:
                self._broken.discard(index)
            elif index not in self._broken:
                self._broken.add(index)
                log.warning("%s: ring %d is corrupt (%s) and stopped", self.config.name, index, reason)

    @property
    def _state(self) -> State | None:
        return None if self._connection is None else self._connection.session.state

    def _link_up(self) -> bool:
        """Say whether both rings of some queue pair run."""
        running = self._device.sizes
        return any(index % 2 == 0 and index + 1 in running for index in running)

    def status(self) -> PortStatus:
        """Return what is true now. The daemon asks every second, which is also how broken rings are found."""
        view = status.View(
            server=self.config.type == SERVER,
            address=self._options.address,
            device=self._device,
            state=self._state,
            age=self._env.loop.time() - self._since,
            connects=self._connects,
            rings=self._rings,
            faults=self._faults.total,
            pid=None if self._peer is None else self._peer.pid,
            own_records=self._recovery.own,
            error=self._error,
        )
        facts = status.info(view)
        self._tell_broken(facts)
        return PortStatus(
            link_up=self._link_up(),
            mtu=self.config.mtu_request or DEFAULT_MTU,
            mac=self.config.mac or NO_MAC,
            info=facts,
            measure=lambda: dict(status.metrics(view)),
        )
