"""The front-end's end of the back-end channel: what the switch asks of it, and the answers."""

from __future__ import annotations

import socket
import struct

from vswitchd.ports.vhostuser.messages import HEADER

IOTLB_MSG, VRING_CALL, VRING_ERR = 1, 4, 5
MISS = 1


class BackChannel:
    """Requests of the switch, in order. Those that want an answer get one with `answer`."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._data = b""
        self._seen: list[tuple[int, bytes]] = []
        self._owed: list[int] = []
        sock.setblocking(False)

    def requests(self) -> list[tuple[int, bytes]]:
        """What came in since, as (request, payload); never waits."""
        while True:
            try:
                part = self.sock.recv(65536)
            except BlockingIOError:
                break
            if not part:
                break
            self._data += part
        found, self._seen = self._seen, []
        while len(self._data) >= HEADER.size:
            request, flags, size = HEADER.unpack_from(self._data)
            if len(self._data) < HEADER.size + size:
                break
            assert flags in (1, 9), flags
            payload = self._data[HEADER.size : HEADER.size + size]
            self._data = self._data[HEADER.size + size :]
            found.append((request, payload))
            if flags & 8:
                self._owed.append(request)
        return found

    def misses(self) -> list[tuple[int, int]]:
        """The translations that the switch wants, as (IOVA, permissions). Nothing else may have come."""
        found = []
        for request, payload in self.requests():
            assert request == IOTLB_MSG, request
            iova, size, uva, perm, kind = struct.unpack("=QQQBB6x", payload)
            assert (size, uva, kind) == (0, 0, MISS)
            found.append((iova, perm))
        return found

    def answer(self, value: int = 0) -> None:
        """Acknowledge the oldest request that wants it; do nothing when none does."""
        if self._owed:
            self.sock.sendall(HEADER.pack(self._owed.pop(0), 5, 8) + struct.pack("=Q", value))

    def wait(self, seconds: float = 10) -> tuple[int, bytes]:
        """Wait for one request, acknowledge and return it."""
        self._seen = self.requests()
        self.sock.settimeout(seconds)
        try:
            while not self._seen:
                self._data += self.sock.recv(1)
                self.sock.setblocking(False)
                self._seen = self.requests()
                self.sock.settimeout(seconds)
        finally:
            self.sock.setblocking(False)
        self.answer()
        return self._seen.pop(0)

    def close(self) -> None:
        self.sock.close()
