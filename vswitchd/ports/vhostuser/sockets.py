"""The two ways to meet a front-end: listen on a socket of ours, or connect to one of its, again and again."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

from vswitchd.paths import MAX_SOCKET_PATH
from vswitchd.ports.base import PortError

log = logging.getLogger(__name__)

FIRST_WAIT, LONGEST_WAIT = 1.0, 4.0
"""Seconds between attempts to connect; doubled after each failure."""
PATIENCE = 1.0
"""Seconds that a second front-end waits for the first one's end to be heard (it may be a replacement)."""

Connected = Callable[[socket.socket], None]


def check_path(name: str, path: str) -> str:
    """Return the path if a socket can have it; raise PortError."""
    size = len(os.fsencode(path))
    if not path or "\0" in path:
        raise PortError(f"port {name}: the socket path is empty or holds a NUL byte")
    if size > MAX_SOCKET_PATH:
        raise PortError(
            f"port {name}: socket path {path} is too long ({size} bytes, at most {MAX_SOCKET_PATH})"
        )
    return path


def _remove_stale(name: str, path: str) -> None:
    """Remove a socket file that nobody listens on. Raises PortError when it is no socket, or in use."""
    try:
        mode = Path(path).lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise PortError(f"port {name}: {path} exists and is no socket; remove it or rename the port")
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    probe.setblocking(False)
    try:
        probe.connect(path)
    except ConnectionRefusedError:
        Path(path).unlink(missing_ok=True)
        return
    except BlockingIOError:
        pass  # its backlog is full: somebody is there
    finally:
        probe.close()
    raise PortError(f"port {name}: another program listens on {path}; stop it or rename the port")


def _bind(name: str, path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        _remove_stale(name, path)
        sock.bind(path)
        sock.listen(4)
    except OSError as error:
        sock.close()
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            hint = f"no permission to make socket {path} (run as a user who may write to its directory)"
        elif error.errno == errno.ENOENT:
            hint = f"the directory of socket {path} does not exist"
        else:
            hint = f"cannot make socket {path}: {error.strerror}"
        raise PortError(f"port {name}: {hint}") from None
    except PortError:
        sock.close()
        raise
    return sock


class Listener:
    """Server mode: one front-end at a time; a second one is turned away."""

    def __init__(self, name: str, path: str, connected: Connected) -> None:
        """Make the socket file. Raises PortError."""
        self._name, self._path, self._connected = name, path, connected
        self._busy = False
        self._held: socket.socket | None = None
        self._sock = _bind(name, check_path(name, path))
        self._inode = Path(path).lstat().st_ino
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._sock, self._accept)

    def _accept(self) -> None:
        try:
            peer, _ = self._sock.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
                log.warning("%s: cannot accept a front-end: %s", self._name, error.strerror)
                self._loop.remove_reader(self._sock)
                self._loop.call_later(FIRST_WAIT, self._resume)
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
        log.warning("%s: refused a second front-end on %s", self._name, self._path)
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

    def disconnected(self) -> None:
        """Let the next front-end in."""
        self._busy = False
        self._loop.call_soon(self._take_held)

    def close(self) -> None:
        """Stop listening and remove the socket file, if it is still ours."""
        if self._sock.fileno() < 0:
            return
        self._loop.remove_reader(self._sock)
        self._sock.close()
        if self._held is not None:
            self._held.close()
            self._held = None
        try:
            if Path(self._path).lstat().st_ino == self._inode:
                Path(self._path).unlink()
        except OSError:
            pass  # somebody removed it


class Connector:
    """Client mode: tries again for ever, waiting longer after each failure."""

    def __init__(self, name: str, path: str, connected: Connected) -> None:
        """Start trying, the first time at once. Raises PortError for an impossible path."""
        self._name, self._path, self._connected = name, check_path(name, path), connected
        self._wait = FIRST_WAIT
        self._said = ""
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.Handle | None = self._loop.call_soon(self._try)

    def _try(self) -> None:
        self._timer = None
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            sock.connect(self._path)  # a unix socket connects at once or not at all
        except OSError as error:
            sock.close()
            reason = error.strerror or str(error)
            if reason != self._said:  # once, not at every attempt
                log.info("%s: cannot connect to %s yet: %s", self._name, self._path, reason)
                self._said = reason
            self._timer = self._loop.call_later(self._wait, self._try)
            self._wait = min(2 * self._wait, LONGEST_WAIT)
            return
        self._wait, self._said = FIRST_WAIT, ""
        self._connected(sock)

    def disconnected(self) -> None:
        """Try again after the shortest wait."""
        self._timer = self._loop.call_later(self._wait, self._try)

    def close(self) -> None:
        """Give up."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
