"""A guest whose rings outlive its back-ends: it counts every chain it offers until it comes back, whoever gives it back.

As QEMU does, it connects again with the base that it knew at the start; only GET_VRING_BASE tells it a newer one.
"""

from __future__ import annotations

import os
import random
import socket
import struct

from fakes import front_end as fe
from fakes.mock_guest import MODERN, MRG_RXBUF, WRITE, bits
from fakes.packed_ring import RING_PACKED
from vswitchd.ports.vhostuser.messages import Request

INFLIGHT_SHMFD = 12
ROOM = 2048  # bytes of a chain's buffers
NUMBER = struct.Struct("<QI")
FRAME_MIN = 60


class LostError(AssertionError):
    """A chain came back twice, out of turn, or not at all; or a frame is not what was sent."""


class LastingGuest:
    """One queue pair; what it sends is to come back to it (an echoing switch)."""

    def __init__(self, seed: int, *, packed: bool, inflight: bool, mergeable: bool, size: int = 64) -> None:
        self.dice = random.Random(seed)
        self.mergeable = mergeable
        features = MODERN if mergeable else MODERN & ~bits(MRG_RXBUF)
        self.features = features | (bits(RING_PACKED) if packed else 0)
        self.protocol = fe.ALL_PROTOCOL | (bits(INFLIGHT_SHMFD) if inflight else 0)
        self.inflight = inflight
        self.record: tuple[bytes, int] | None = None
        self.sent = self.arrived = self.repeated = self.back = 0
        self.front = fe.FrontEnd(socket.socket(), features=self.features, size=size, protocol=self.protocol)
        self.rx, self.tx = self.front.rings[0], self.front.rings[1]
        self.size = size
        self.bases = {0: self.rx.base, 1: self.tx.base}
        self.offered: dict[int, list[int]] = {0: [], 1: []}
        guest = self.front.guest
        self.buffers = {ring: [guest.alloc(ROOM) for _ in range(size)] for ring in (0, 1)}

    def connect(self, sock: socket.socket) -> None:
        """Set everything up with another back-end."""
        front = self.front
        front.sock.close()
        front.sock = sock
        sock.settimeout(30)
        steps = iter(fe.set_up(front.guest, front.rings, front.features, front.events, self.protocol))
        for data, fds in steps:
            request = struct.unpack_from("=I", data)[0]
            if request == Request.SET_VRING_NUM and self.inflight:
                self._track()
            if request == Request.SET_VRING_BASE:
                index = struct.unpack_from("=I", data, fe.HEADER.size)[0]
                data = fe.message(request, fe.state(index, self.bases[index]))  # noqa: PLW2901
            front.send(data, fds)
        front.sync()

    def _track(self) -> None:
        if self.record is None:
            self.record = self.front.get_inflight(2, self.size)
        if self.front.set_inflight(self.record) != 0:
            raise LostError("the record of chains in flight was refused")

    def turn(self) -> None:
        """Take what came back, offer again."""
        self.listen()
        self._send()

    def listen(self) -> None:
        """The same without sending."""
        self._elements(1)
        self._take_arrived()
        self._post()

    def _elements(self, index: int) -> list[tuple[int, int]]:
        found = self.front.rings[index].take()
        for ident, _ in found:
            if not self.offered[index] or self.offered[index].pop(0) != ident:
                raise LostError(f"ring {index}: chain {ident} came back out of turn or twice")
        self.back += len(found)
        return found

    def _take_arrived(self) -> None:
        elements = [(self.rx.chains[ident], n) for ident, n in self._elements(0)]
        while elements:
            data = self._gather(elements, 1)
            if self.mergeable:
                data += self._gather(elements, struct.unpack_from("<H", data, 10)[0] - 1)
            self._check(data[self.rx.hdr_len :])

    def _gather(self, elements: list[tuple[list[tuple[int, int, int]], int]], n: int) -> bytes:
        if len(elements) < n:
            raise LostError("part of a frame is visible")
        data = b""
        for _ in range(n):
            buffers, left = elements.pop(0)
            for addr, length, _flags in buffers:
                data += self.front.guest.read(addr, min(length, left))
                left -= min(length, left)
        return data

    def _check(self, frame: bytes) -> None:
        number, length = NUMBER.unpack_from(frame)
        if frame != make_frame(number, length):
            raise LostError(f"frame {number} was changed")
        # What was passed on but not given back when the switch died is taken, and passed on, again.
        if number <= self.arrived:
            self.repeated += 1
            if self.arrived - number > self.size:
                raise LostError(f"frame {number} comes again after {self.arrived}")
        self.arrived = max(self.arrived, number)

    def _room(self, index: int) -> int:
        ring = self.front.rings[index]
        return min(getattr(ring, "room", self.size), len(ring.free))

    def _offer(self, index: int, sizes: list[int], flags: int, *, indirect: bool) -> None:
        ring = self.front.rings[index]
        at = self.buffers[index][ring.free[0]]
        if indirect:  # the table behind the buffers, at a place of its own
            ring.guest._next = at + ROOM - 256
        edges = [at + sum(sizes[:i]) for i in range(len(sizes))]
        self.offered[index].append(ring.chain(list(zip(edges, sizes, strict=True)), flags, indirect=indirect))

    def _post(self) -> None:
        while self._room(0) >= 3:
            pieces = self.dice.randint(1, 3)
            size = self.dice.choice((100, 250)) if self.mergeable else 500
            self._offer(0, [size] * pieces, WRITE, indirect=self.dice.random() < 0.2)

    def _send(self) -> None:
        for _ in range(self.dice.randint(0, 20)):
            if self._room(1) < 3:
                return
            self.sent += 1
            length = self.dice.choice((FRAME_MIN, 200, 480))
            data = bytes(self.tx.hdr_len) + make_frame(self.sent, length)
            self.front.guest.write(self.buffers[1][self.tx.free[0]], data)
            cut = self.dice.choice(([len(data)], [12, len(data) - 12], [5, 20, len(data) - 25]))
            self._offer(1, cut, 0, indirect=self.dice.random() < 0.2)

    def stop(self) -> None:
        """Stop both rings in order, and see that they are where the guest is."""
        for index in (0, 1):
            base = self.front.stop(index)
            ring = self.front.rings[index]
            self._take_arrived() if index == 0 else self._elements(1)
            seen = ring.seen & 0xFFFF
            if base != (seen | seen << 16 if self.features >> RING_PACKED & 1 else seen):
                raise LostError(f"ring {index} stopped at {base:#x}, the guest is at {seen:#x}")
            self.bases[index] = base
        if self.offered[1]:
            raise LostError(f"{len(self.offered[1])} frames were not taken")

    def close(self) -> None:
        self.front.close()
        if self.record is not None:
            os.close(self.record[1])


def make_frame(number: int, length: int) -> bytes:
    """A frame that says which it is, and how long."""
    return (NUMBER.pack(number, length) + bytes((number * 31 + i) & 0xFF for i in range(256)) * 2)[:length]
