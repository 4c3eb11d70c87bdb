"""The two ways to meet a front-end: listen on a socket of ours, or connect to one of its, again and again."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from vswitchd.ports.base import PortError
from vswitchd.ports.vhostuser.socket_file import (
    Access,
    BoundSocket,
    check_address,
    sockaddr,
    stream_socket,
)

if TYPE_CHECKING:
    import socket

log = logging.getLogger(__name__)

FIRST_WAIT, LONGEST_WAIT = 0.1, 4.0
"""Seconds between attempts to connect; doubled after each that led to nothing."""
PATIENCE = 1.0
"""Seconds that a second front-end waits for the first one's end to be heard (it may be a replacement)."""
_SHORT_OF_FDS = 1.0
"""Seconds until the next try to accept, when there was no descriptor for it."""

Connected = Callable[["socket.socket"], None]


class Listener:
    """Server mode: one front-end at a time; a second one is turned away."""

    def __init__(self, name: str, address: str, connected: Connected, *, access: Access) -> None:
        """Make the socket. Raises PortError."""
        self._name, self._address, self._connected = name, address, connected
        self._busy = False
        self._held: socket.socket | None = None
        self._bound = BoundSocket(name, address, access)
        self._sock = self._bound.sock
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._sock, self._accept)

    def set_access(self, access: Access) -> None:
        """Change owner, group and mode of the socket file. Raises PortError."""
        try:
            self._bound.set_access(access)
        except OSError as error:
            raise PortError(
                f"port {self._name}: cannot change owner or mode of {self._address}: {error.strerror}"
            ) from None

    def _accept(self) -> None:
        try:
            peer, _ = self._sock.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
                log.warning("%s: cannot accept a front-end: %s", self._name, error.strerror)
                self._loop.remove_reader(self._sock)
                self._loop.call_later(_SHORT_OF_FDS, self._resume)
            return
        if self._busy and self._held is None:
            self._held = peer
            self._loop.call_later(PATIENCE, self._refuse_held, peer)
        elif self._busy:
            self._refuse(peer)
        else:
            self._busy = True
            self._connected(peer)

    def _refuse(self, peer: socket.socket) -> None:
        log.warning("%s: refused a second front-end on %s", self._name, self._address)
        peer.close()

    def _refuse_held(self, peer: socket.socket) -> None:
        if self._held is peer:
            self._held = None
            self._refuse(peer)

    def _take_held(self) -> None:
        if self._held is not None and not self._busy:
            peer, self._held, self._busy = self._held, None, True
            self._connected(peer)

    def _resume(self) -> None:
        if self._sock.fileno() >= 0:
            self._loop.add_reader(self._sock, self._accept)

    def disconnected(self, *, useful: bool) -> None:  # noqa: ARG002 - what a Connector wants to know
        """Let the next front-end in."""
        self._busy = False
        self._loop.call_soon(self._take_held)

    def close(self) -> None:
        """Stop listening and remove the socket file, if it is still ours."""
        if self._sock.fileno() < 0:
            return
        self._loop.remove_reader(self._sock)
        self._bound.close()
        if self._held is not None:
            self._held.close()
            self._held = None


class Connector:
    """Client mode: tries again for ever, waiting longer after each failure, at most `longest` seconds."""

    def __init__(self, name: str, address: str, connected: Connected, *, longest: float) -> None:
        """Start trying, the first time at once. Raises PortError for an impossible path."""
        self._name, self._address, self._connected = name, check_address(name, address), connected
        self.longest = longest
        self._wait = FIRST_WAIT
        self._said = ""
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.Handle | None = self._loop.call_soon(self._try)

    def _try(self) -> None:
        self._timer = None
        sock = stream_socket()
        try:
            sock.connect(sockaddr(self._address))  # a unix socket connects at once or not at all
        except OSError as error:
            sock.close()
            reason = error.strerror or str(error)
            if reason != self._said:  # once, not at every attempt
                log.info("%s: cannot connect to %s yet: %s", self._name, self._address, reason)
                self._said = reason
            self._again()
            return
        self._said = ""
        self._connected(sock)

    def _again(self) -> None:
        wait = min(self._wait, self.longest)
        self._timer = self._loop.call_later(wait, self._try)
        self._wait = 2 * wait

    def disconnected(self, *, useful: bool) -> None:
        """Try again: soon, or when nothing came of the connection (not `useful`), as after a failure."""
        if useful:
            self._wait = FIRST_WAIT
        if not self._closed:
            self._again()

    def close(self) -> None:
        """Give up."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
