"""Who says anything at any time (Monkey), and who must not suffer from it (Good); see test_vhost_monkey."""

from __future__ import annotations

import array
import contextlib
import mmap
import os
import random
import socket
import struct
from pathlib import Path

from fakes import front_end as fe
from fakes.mock_guest import DESC, MODERN, NEXT, WRITE, Guest, Region, Ring, bits
from vhostuser_peer import OFFER

from vswitchd.datapath.dp import lib
from vswitchd.ports.vhostuser.connection import Connection
from vswitchd.ports.vhostuser.device import CoreDevice
from vswitchd.ports.vhostuser.features import Protocol
from vswitchd.ports.vhostuser.messages import TABLE, Request
from vswitchd.ports.vhostuser.payloads import Payload
from vswitchd.ports.vhostuser.session import Session

SIZE = 64
STEPS = 1200
PAGE = 4096
MB = 1 << 20
FRAME = bytes(12) + bytes.fromhex("020000000001020000000002") + b"\x88\xb5" + bytes(286)
# In post-copy a core waits for the front-end's pages: a matter of trust, and off unless asked for.
CHOICE = OFFER.without([Protocol.PAGEFAULT])
RINGS = (0, 0, 1, 1, 2, 3, 126, 127)
REQUESTS = [row for row in TABLE.values() if row.protocol is not Protocol.PAGEFAULT]
GOOD, OTHER, MONKEY, SINK = 1, 2, 3, 4


def leftovers() -> tuple[int, int]:
    """Descriptors, and mappings of memory that a front-end shared."""
    maps = Path("/proc/self/maps").read_text().splitlines()
    return len(os.listdir("/proc/self/fd")), sum("/memfd:" in line for line in maps)


class Good:
    """A guest that never changes anything: descriptors stand still, indices move."""

    def __init__(self, name: str) -> None:
        self.handle = lib.vs_vhost_new(name.encode())
        self.guest = Guest()
        self.rings = {i: Ring(self.guest, SIZE) for i in (0, 1)}
        for index, ring in self.rings.items():
            for i in range(SIZE):
                at = self.guest.alloc(2048)
                self.guest.write(at, FRAME)
                ring.set_desc(i, at, 2048 if index == 0 else len(FRAME), WRITE if index == 0 else 0)
                self.guest.write(ring.avail + 4 + 2 * i, struct.pack("<H", i))
        self.events = {i: (os.eventfd(0), os.eventfd(0)) for i in self.rings}
        self.session = Session(CoreDevice(name, self.handle), CHOICE)
        self.sent = self.posted = 0
        for data, fds in fe.set_up(self.guest, self.rings, MODERN | bits(30), self.events):
            copies = [os.dup(fd) for fd in fds]
            rest = data
            while rest:
                n = self.session.wanted
                self.session.receive(rest[:n], copies)
                rest, copies = rest[n:], []
        assert self.session.running == {0, 1}

    def _used(self, index: int, near: int) -> int:
        """The used index, all 16-bit laps counted; `near` is at most a ring ahead of it."""
        return near - (near - self.rings[index].used_idx() & 0xFFFF)

    def post(self) -> None:
        """All buffers that were used are there again."""
        self.posted = self._used(0, self.posted) + SIZE
        self.rings[0].publish(self.posted)

    def send_to(self, other: Good) -> None:
        """Send no more than the other one has buffers for."""
        self.sent = min(self._used(1, self.sent) + SIZE, other.posted)
        self.rings[1].publish(self.sent)
        os.eventfd_write(self.events[1][0], 1)

    def received(self) -> int:
        return self._used(0, self.posted)

    def close(self) -> None:
        self.session.close()
        self.guest.close()
        for pair in self.events.values():
            for fd in pair:
                os.close(fd)


class Monkey:
    """One connection: what it may send, and with what."""

    def __init__(self, handle: object, rng: random.Random) -> None:
        self.rng = rng
        ours, self.sock = socket.socketpair()
        self.sock.setblocking(False)
        self.ended = False
        self.connection = Connection(
            ours,
            Session(CoreDevice("monkey", handle), CHOICE),
            name="monkey",
            handled=lambda: None,
            closed=self._closed,
        )
        self.guest = Guest(
            [
                Region(0, 0x7F0000000000, 2 * MB),
                Region(4 * MB, 0x7E0000000000, MB, 8192),
                Region(8 * MB, 8 * MB, MB),
            ]
        )
        self.rings = [Ring(self.guest, SIZE) for _ in range(6)]
        self.buffers = self.guest.alloc(MB)
        self.file = os.memfd_create("other")
        os.ftruncate(self.file, MB)
        self.channel: socket.socket | None = None
        self.area = fe.inflight_area(MB, 0, 2, SIZE)

    def _closed(self, _connection: Connection) -> None:
        self.ended = True

    def close(self) -> None:
        self.connection.close()
        self.sock.close()
        self.guest.close()
        os.close(self.file)
        if self.channel is not None:
            self.channel.close()

    # ---- what to say

    def features(self) -> int:
        r = self.rng
        word = MODERN | bits(30)
        for bit, chance in (
            (33, 0.4),
            (34, 0.3),
            (26, 0.3),
            (29, 0.5),
            (0, 0.3),
            (1, 0.3),
            (15, 0.2),
            (30, 0.1),
        ):
            if r.random() < chance:
                word ^= 1 << bit
        return word if r.random() < 0.97 else r.getrandbits(64)

    def address(self) -> int:
        """Where something may be: as the front-end's address, which is also an IOVA."""
        r = self.rng
        region = r.choice(self.guest.regions)
        start = region.uva if r.random() < 0.5 else region.gpa
        return start + r.choice(
            [0, 0, r.randrange(region.size), r.randrange(region.size) & ~0xFFF, region.size - 16]
        )

    def place(self) -> tuple[int, int, int]:
        if self.rng.random() < 0.8:
            ring = self.rng.choice(self.rings)
            return self.guest.uva(ring.desc), self.guest.uva(ring.used), self.guest.uva(ring.avail)
        return self.address() & ~15, self.address() & ~3, self.address() & ~1

    def number(self, request: int) -> int:
        r = self.rng
        by_request = {
            Request.SET_FEATURES: self.features,
            Request.SET_PROTOCOL_FEATURES: lambda: CHOICE.protocol & ~(r.random() < 0.5 and bits(14)),
            Request.NET_SET_MTU: lambda: r.choice([68, 1500, 9000]),
            Request.SEND_RARP: lambda: int.from_bytes(b"\x02\0\0\0\0\x07\0\0", "little"),
            Request.SET_STATUS: lambda: r.choice([1, 3, 15, 15, 0]),
        }
        return by_request[Request(request)]()

    def state(self, request: int) -> bytes:
        r = self.rng
        values = {
            Request.SET_VRING_NUM: [SIZE, SIZE, SIZE, 32, 1, 256, 100],
            Request.SET_VRING_BASE: [0, 0, 0x8000, r.randrange(1 << 16), 5],
            Request.SET_VRING_ENABLE: [1, 1, 1, 0],
        }.get(Request(request), [0])
        return fe.state(r.choice(RINGS), r.choice(values))

    def translation(self) -> bytes:
        r = self.rng
        if r.random() < 0.3:
            return fe.iotlb(fe.INVALIDATE, self.address() & ~0xFFF, r.choice([PAGE, MB, 1 << 63, 0]))
        region = r.choice(self.guest.regions)
        iova, ofs = r.choice([region.uva, region.gpa, region.uva, r.getrandbits(48)]), 0
        size = region.size
        if r.random() < 0.5:
            ofs, size = r.randrange(region.size // PAGE) * PAGE, PAGE
        return fe.iotlb(fe.UPDATE, iova + ofs, size, region.uva + ofs, r.choice([1, 2, 3, 3, 3]))

    def memory(self) -> tuple[bytes, list[int]]:
        rows = self.rng.sample(self.guest.regions, self.rng.choice([1, 2, 3, 3, 3]))
        data = b"".join(struct.pack("=QQQQ", g.gpa, g.size, g.uva, g.offset) for g in rows)
        return struct.pack("=II", len(rows), 0) + data, [g.fd for g in rows]

    def region(self) -> tuple[bytes, list[int]]:
        g = self.rng.choice(self.guest.regions)
        return fe.region(g.gpa, g.size, g.uva, g.offset), [g.fd]

    def descriptor(self, request: int) -> list[int]:
        """A descriptor of the right kind, to be closed here once it is sent."""
        if request == Request.SET_BACKEND_REQ_FD:
            if self.channel is not None:
                self.channel.close()
            self.channel, theirs = socket.socketpair()
            self.channel.setblocking(False)
            if self.rng.random() < 0.1:  # or our own end of the first socket: the switch talks to itself then
                theirs.close()
                return [os.dup(self.sock.fileno())]
            return [theirs.detach()]
        if request in (Request.SET_LOG_BASE, Request.SET_INFLIGHT_FD):
            return [os.dup(self.file)]
        flags = os.EFD_NONBLOCK if self.rng.random() < 0.9 else os.EFD_NONBLOCK | os.EFD_SEMAPHORE
        return [os.eventfd(self.rng.choice([0, 1]), flags)]

    def body(self, row: object) -> tuple[bytes, list[int]]:
        """Payload and descriptors, these to be closed here."""
        r, request = self.rng, row.request
        match row.payload:
            case Payload.EMPTY:
                return b"", self.descriptor(request) if row.fds.value == "one" else []
            case Payload.U64:
                return fe.u64(self.number(request)), []
            case Payload.STATE:
                return self.state(request), []
            case Payload.ADDR:
                desc, used, avail = self.place()
                return struct.pack("=IIQQQQ", r.choice(RINGS), r.choice([0, 1]), desc, used, avail, used), []
            case Payload.VRING_FD:
                index = r.choice(RINGS)
                if r.random() < 0.2:
                    return fe.u64(index | 0x100), []
                return fe.u64(index), self.descriptor(request)
            case Payload.MEMORY:
                data, fds = self.memory()
                return data, [os.dup(fd) for fd in fds]
            case Payload.REGION:
                data, fds = self.region()
                return data, [os.dup(fd) for fd in fds]
            case Payload.LOG:
                return fe.log_area(r.choice([PAGE, MB // 2]), r.choice([0, 64])), self.descriptor(request)
            case Payload.IOTLB:
                return self.translation(), []
            case _:
                if request == Request.SET_INFLIGHT_FD:
                    return self.area, self.descriptor(request)
                return fe.inflight_area(0, 0, r.choice([1, 2, 4, 128]), r.choice([SIZE, 32, 100])), []

    def say(self) -> None:
        """Send one message."""
        row = self.rng.choice(REQUESTS)
        payload, fds = self.body(row)
        flags = 9 if self.rng.random() < 0.98 else 1
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
            self.sock.sendmsg([fe.message(row.request, payload, flags=flags)], control)
        for fd in fds:
            os.close(fd)

    def start(self) -> None:
        """Now and then all that a driver says at once, so that rings do run."""
        index = self.rng.choice([0, 2])
        rings = {index: self.rings[0], index + 1: self.rings[1]}
        events = {i: (os.eventfd(0, os.EFD_NONBLOCK), os.eventfd(0, os.EFD_NONBLOCK)) for i in rings}
        for data, fds in fe.set_up(
            self.guest, rings, self.features() | bits(30, 32), events, CHOICE.protocol & ~bits(14)
        ):
            control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
            with contextlib.suppress(OSError):
                self.sock.sendmsg([data], control)
        for pair in events.values():
            for fd in pair:
                os.close(fd)

    def listen(self) -> None:
        """Read what the switch says, believe some of it."""
        for sock in (self.sock, self.channel):
            while sock is not None:
                try:
                    data, control, _, _ = sock.recvmsg(65536, socket.CMSG_SPACE(64))
                except OSError:
                    break
                fds = array.array("i")
                for _, _, content in control:
                    fds.frombytes(content)
                for fd in fds:
                    os.close(fd)
                if not data:
                    break
                if sock is self.channel and self.rng.random() < 0.7:
                    self.answer(data)

    def answer(self, data: bytes) -> None:
        while len(data) >= 12:
            request, _, size = struct.unpack_from("=III", data)
            data = data[12 + size :]
            with contextlib.suppress(OSError):
                self.channel.send(struct.pack("=IIIQ", request, 5, 8, 0))

    # ---- the guest

    def scribble(self) -> None:
        """Write into rings: some of it a driver's work, some of it rubbish."""
        r, which = self.rng, self.rng.randrange(3)
        ring, write = self.rings[which], 0 if which == 1 else WRITE
        sane, packed = r.random() < 0.6, r.random() < 0.3
        for i in range(SIZE) if sane else r.sample(range(SIZE), 8):
            addr, length, flags = self.buffers + 4096 * i, 2048 if write else 300, write
            if not sane:
                addr = r.choice([addr, self.address(), r.getrandbits(64)])
                length = r.choice([16, 60, 300, 2048, 70000, 0])
                flags = r.choice([0, WRITE, NEXT, WRITE | NEXT, 4, 0x80, 0x8000, 0x82])
            last = (
                flags | r.choice([0x80, 0x80, 0x8000])
                if packed
                else r.choice([i + 1, r.randrange(SIZE)]) % SIZE
            )
            self.guest.write(ring.desc + 16 * i, DESC.pack(addr, length, i if packed else flags, last))
            self.guest.write(
                ring.avail + 4 + 2 * i, struct.pack("<H", i if sane or r.random() < 0.95 else 0x4000)
            )
        ring.publish(ring.used_idx() + r.choice([1, 8, SIZE, SIZE, SIZE if sane else SIZE + 1]))

    def cut(self) -> None:
        """The memory file is gone for a moment."""
        region = self.guest.regions[1]
        region.halves.release()
        region.map.close()
        os.ftruncate(region.fd, 0)
        os.ftruncate(region.fd, region.offset + region.size)
        region.map = mmap.mmap(region.fd, region.offset + region.size)
        region.halves = memoryview(region.map)[: (region.offset + region.size) & ~1].cast("H")
