"""The interfaces of the host as they change: one netlink socket for all kernel ports of an event loop."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from vswitchd.ports.kernel import rtnl

if TYPE_CHECKING:
    import asyncio

NETLINK_ROUTE = 0
SOL_NETLINK = 270
NETLINK_LISTEN_ALL_NSID = 8
_RECEIVE = 1 << 16

Where = int | None
"""Identifier of a network namespace as ours knows it; None: our own."""
Watcher = Callable[[Where, rtnl.Link], None]


def request(message: bytes) -> list[rtnl.Link | rtnl.NamespaceId]:
    """Send one request, wait for its answer (microseconds), return what is in it. Raises OSError."""
    found: list[rtnl.Link | rtnl.NamespaceId] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_ROUTE) as sock:
        sock.settimeout(5)
        sock.send(message)
        dump = bool(struct.unpack_from("=H", message, 6)[0] & rtnl.NLM_F_DUMP)
        while True:
            for answer in rtnl.parse(sock.recv(_RECEIVE)):
                match answer:
                    case rtnl.Ack(errno=0) | rtnl.Done():
                        return found
                    case rtnl.Ack():
                        raise OSError(answer.errno, os.strerror(answer.errno))
                    case _:
                        found.append(answer)
            if found and not dump:
                return found


def find(name: str, where: Where = None) -> rtnl.Link | None:
    """Find the interface of that name in our namespace or in another one."""
    try:
        return next((a for a in request(rtnl.get_link(1, name, where)) if isinstance(a, rtnl.Link)), None)
    except OSError:
        return None


def find_all() -> list[rtnl.Link]:
    """All interfaces of our namespace."""
    return [a for a in request(rtnl.dump_links(1)) if isinstance(a, rtnl.Link)]


def namespace_id(fd: int) -> Where:
    """Tell what our namespace calls the one of an open file; None when it is ours. Raises OSError."""
    ours, that = Path("/proc/self/ns/net").stat(), os.fstat(fd)
    if (ours.st_dev, ours.st_ino) == (that.st_dev, that.st_ino):
        return None
    for _ in range(2):
        match request(rtnl.get_namespace_id(1, fd)):
            case [rtnl.NamespaceId(value)] if value >= 0:
                return value
        request(rtnl.new_namespace_id(1, fd))
    raise OSError(errno.ENXIO, "the network namespace has no identifier")


def change(
    index: int,
    *,
    mtu: int | None = None,
    mac: str | None = None,
    up: bool | None = None,
    netns: Where = None,
) -> None:
    """Change MTU, MAC or administrative state of an interface. Raises OSError."""
    request(rtnl.set_link(1, index, mtu=mtu, mac=mac, up=up, netns=netns))


class LinkMonitor:
    """Tells its watchers of every change of an interface. Control thread. Get it by `monitor(loop)`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._watchers: list[Watcher] = []
        self._sock: socket.socket | None = None
        self._known: dict[int, rtnl.Link] = {}

    def watch(self, watcher: Watcher) -> None:
        """Call `watcher` with each change from now on."""
        if self._sock is None:
            self._open()
        self._watchers.append(watcher)

    def unwatch(self, watcher: Watcher) -> None:
        """Stop calling. The last one closes the socket."""
        self._watchers.remove(watcher)
        if not self._watchers and self._sock is not None:
            if not self._loop.is_closed():
                self._loop.remove_reader(self._sock)
            self._sock.close()
            self._sock = None

    def fileno(self) -> int:
        """Give the descriptor that is readable when `pump` has work; -1 while nobody watches."""
        return self._sock.fileno() if self._sock is not None else -1

    def _open(self) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        sock = socket.socket(socket.AF_NETLINK, kind, NETLINK_ROUTE)
        # Taps that were moved to another namespace (containers) stay visible. Needs CAP_NET_BROADCAST.
        with contextlib.suppress(OSError):
            sock.setsockopt(SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, 1)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        sock.bind((0, rtnl.RTMGRP_LINK))
        self._sock = sock
        self._known = {link.index: link for link in find_all()}
        self._loop.add_reader(sock, self.pump)

    def pump(self) -> None:
        """Read what is there and tell the watchers. The event loop calls it; tests may."""
        while self._sock is not None:
            try:
                data, ancillary, _flags, _address = self._sock.recvmsg(_RECEIVE, 64)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    return
                self._resync()
                continue
            where: Where = None
            for level, kind, value in ancillary:
                if (level, kind) == (SOL_NETLINK, NETLINK_LISTEN_ALL_NSID):
                    where = struct.unpack_from("=i", value)[0]
            for message in rtnl.parse(data):
                if isinstance(message, rtnl.Link):
                    self._tell(where, message)

    def _tell(self, where: Where, link: rtnl.Link) -> None:
        if where is None and link.gone:
            self._known.pop(link.index, None)
        elif where is None:
            self._known[link.index] = link
        for watcher in list(self._watchers):
            watcher(where, link)

    def _resync(self) -> None:
        """Ask for everything: the kernel had to throw notifications away."""
        links = find_all()
        present = {link.index for link in links}
        for link in [
            replace(old, gone=True) for old in self._known.values() if old.index not in present
        ] + links:
            self._tell(None, link)


_monitors: WeakKeyDictionary[asyncio.AbstractEventLoop, LinkMonitor] = WeakKeyDictionary()


def monitor(loop: asyncio.AbstractEventLoop) -> LinkMonitor:
    """Give the monitor of that event loop."""
    if loop not in _monitors:
        _monitors[loop] = LinkMonitor(loop)
    return _monitors[loop]
