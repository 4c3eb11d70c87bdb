"""The front-end's side of the vhost-user protocol, as a driver or QEMU plays it; every byte can be set by hand."""

from __future__ import annotations

import array
import os
import socket
import struct
from collections.abc import Sequence

from fakes.mock_guest import MODERN, Guest, Ring, bits
from vswitchd.ports.vhostuser.messages import HEADER, Request

PROTOCOL_FEATURES = 30
ALL_PROTOCOL = bits(0, 3, 4, 13, 15, 16)


def message(request: int, payload: bytes = b"", *, flags: int = 1, size: int | None = None) -> bytes:
    """Bytes of a request."""
    return HEADER.pack(request, flags, len(payload) if size is None else size) + payload


def u64(value: int) -> bytes:
    return struct.pack("=Q", value)


def state(index: int, num: int) -> bytes:
    return struct.pack("=II", index, num)


def addr(guest: Guest, index: int, ring: Ring, flags: int = 0) -> bytes:
    desc, used, avail = (guest.uva(a) for a in (ring.desc, ring.used, ring.avail))
    return struct.pack("=IIQQQQ", index, flags, desc, used, avail, 0)


def memory(guest: Guest) -> bytes:
    rows = b"".join(struct.pack("=QQQQ", r.gpa, r.size, r.uva, r.offset) for r in guest.regions)
    return struct.pack("=II", len(guest.regions), 0) + rows


def region(gpa: int, size: int, uva: int, offset: int) -> bytes:
    return struct.pack("=QQQQQ", 0, gpa, size, uva, offset)


def set_up(guest: Guest, rings: dict[int, Ring], features: int, eventfds: dict[int, tuple[int, int]]):
    """The messages of a driver that starts these rings, as (bytes, fds); eventfds: ring -> (kick, call)."""
    yield message(Request.SET_OWNER), []
    yield message(Request.SET_PROTOCOL_FEATURES, u64(ALL_PROTOCOL)), []
    yield message(Request.SET_FEATURES, u64(features)), []
    yield message(Request.SET_MEM_TABLE, memory(guest)), [r.fd for r in guest.regions]
    for index, ring in rings.items():
        kick, call = eventfds[index]
        yield message(Request.SET_VRING_NUM, state(index, ring.size)), []
        yield message(Request.SET_VRING_BASE, state(index, ring.idx & 0xFFFF)), []
        yield message(Request.SET_VRING_ADDR, addr(guest, index, ring)), []
        yield message(Request.SET_VRING_KICK, u64(index)), [kick]
        yield message(Request.SET_VRING_CALL, u64(index)), [call]
    if features >> PROTOCOL_FEATURES & 1:
        for index in rings:
            yield message(Request.SET_VRING_ENABLE, state(index, 1)), []


class FrontEnd:
    """A guest with queue pairs that talks over a blocking socket."""

    def __init__(
        self, sock: socket.socket, *, pairs: int = 1, features: int = MODERN, size: int = 256
    ) -> None:
        self.sock = sock
        self.features = features | bits(PROTOCOL_FEATURES)
        self.guest = Guest()
        self.rings = {i: Ring(self.guest, size, features) for i in range(2 * pairs)}
        self.events = {i: (self._eventfd(), self._eventfd()) for i in self.rings}
        sock.settimeout(10)

    @staticmethod
    def _eventfd() -> int:
        return os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def send(self, data: bytes, fds: Sequence[int] = ()) -> None:
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        sent = self.sock.sendmsg([data], control)
        self.sock.sendall(data[sent:])

    def ask(self, request: int, payload: bytes = b"", fds: Sequence[int] = (), *, flags: int = 1) -> bytes:
        """Send a request and return the payload of its answer."""
        self.send(message(request, payload, flags=flags), fds)
        head = self._exactly(HEADER.size)
        answered, answer_flags, size = HEADER.unpack(head)
        assert (answered, answer_flags) == (request, 5)
        return self._exactly(size)

    def _exactly(self, n: int) -> bytes:
        data = b""
        while len(data) < n:
            part = self.sock.recv(n - len(data))
            if not part:
                raise ConnectionError("the back-end closed the connection")
            data += part
        return data

    def start(self) -> None:
        """Set everything up and wait until it is in force."""
        for data, fds in set_up(self.guest, self.rings, self.features, self.events):
            self.send(data, fds)
        self.ask(Request.GET_FEATURES)

    def close(self) -> None:
        self.sock.close()
        self.guest.close()
        for pair in self.events.values():
            for fd in pair:
                os.close(fd)
