"""PCI devices that come, go, or change their driver: the kernel's uevents, so that a port can wait for its device."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

_NETLINK_KOBJECT_UEVENT = 15
_KERNEL_GROUP = 1
_LONGEST = 8192
_ACTIONS = frozenset({"add", "remove", "bind", "unbind"})


@dataclass(frozen=True, slots=True)
class PciEvent:
    """A device of the PCI bus: `action` is add, remove, bind (a driver took it) or unbind."""

    address: str
    action: str
    driver: str | None


def parse(data: bytes) -> PciEvent | None:
    """Read one uevent (ACTION@DEVPATH, then NAME=VALUE, each ended by a zero byte); None when it is about other things."""
    head, _, rest = data.partition(b"\0")
    if b"@" not in head:
        return None  # udev's own messages begin with "libudev"
    fields = dict(part.decode("utf-8", "replace").split("=", 1) for part in rest.split(b"\0") if b"=" in part)
    action, address = fields.get("ACTION", ""), fields.get("PCI_SLOT_NAME", "")
    if fields.get("SUBSYSTEM") != "pci" or action not in _ACTIONS or not address:
        return None
    return PciEvent(address, action, fields.get("DRIVER"))


class Hotplug:
    """Calls back with every PciEvent while it is open. Control thread.

    In a network namespace of another user namespace, or without permission, no event comes: then nothing is called.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[PciEvent], None]) -> None:
        """Begin to listen. Never fails: without the socket there are just no events."""
        self._loop = loop
        self._callback = callback
        self._socket: socket.socket | None = None
        try:
            sock = socket.socket(
                socket.AF_NETLINK,
                socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC,
                _NETLINK_KOBJECT_UEVENT,
            )
        except OSError:
            return
        try:
            sock.bind((0, _KERNEL_GROUP))
            loop.add_reader(sock.fileno(), self._readable)
        except OSError:
            sock.close()
            return
        self._socket = sock

    def _readable(self) -> None:
        """Take one event; the loop calls again while there are more."""
        assert self._socket is not None
        try:
            data, sender = self._socket.recvfrom(_LONGEST)
        except OSError:
            return  # ENOBUFS: some were lost; a port that waits also looks by itself
        # Any process may send to a group it may not listen to: only the kernel (port 0) is believed.
        if sender[0] == 0 and (event := parse(data)) is not None:
            self._callback(event)

    def close(self) -> None:
        """Listen no more. A second call does nothing."""
        if self._socket is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None
