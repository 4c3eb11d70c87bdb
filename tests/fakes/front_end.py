"""The front-end's side of the vhost-user protocol, as a driver or QEMU plays it; every byte can be set by hand.

Functions make payloads (u64, state, addr, memory, region, log_area, iotlb, inflight_area) and whole messages (message, set_up).
`FrontEnd` speaks over a blocking socket: `send` and `ask` for any message, and one method for each thing that a front-end
does in more than one message or with descriptors of its own:

    start()                              set up all rings and wait until they run
    sync()                               wait until everything sent so far is handled
    enable(i, on) / stop(i) -> base / restart(i, base)    one ring; restart sets base and kick descriptor
    open_channel() -> BackChannel        give the switch a socket for its own requests (misses, calls); see there
    update(iova, size, uva, perm) / invalidate(iova, size) -> result     IOTLB_MSG; 0 is success
    map_pages(first, n, uva)             what a vIOMMU would translate; serve_misses() answers misses with it
    set_log(pages) -> Log                share a migration log; start_logging() / stop_logging() as QEMU does it
    send_rarp(mac)
    get_inflight(queues, size) / set_inflight(record)     record: (area, fd), survives the connection
    kick_inband(i)                       VRING_KICK
    advise() -> userfaultfd, listen(), set_memory_postcopy() -> addresses, confirm(), end_postcopy()     post-copy, in that order
"""

from __future__ import annotations

import array
import contextlib
import mmap
import os
import socket
import struct
from collections.abc import Sequence

from fakes.back_channel import BackChannel
from fakes.mock_guest import MODERN, Guest, Ring, bits
from fakes.packed_ring import RING_PACKED, PackedRing
from vswitchd.ports.vhostuser.messages import HEADER, Request

PROTOCOL_FEATURES, LOG_ALL, ACCESS_PLATFORM = 30, 26, 33
ALL_PROTOCOL = bits(0, 3, 4, 13, 15, 16)
NEED_REPLY = 8
PAGE = 4096
UPDATE, INVALIDATE = 2, 3
READ, WRITE = 1, 2


def message(request: int, payload: bytes = b"", *, flags: int = 1, size: int | None = None) -> bytes:
    """Bytes of a request."""
    return HEADER.pack(request, flags, len(payload) if size is None else size) + payload


def u64(value: int) -> bytes:
    return struct.pack("=Q", value)


def state(index: int, num: int) -> bytes:
    return struct.pack("=II", index, num)


def addr(guest: Guest, index: int, ring: Ring, flags: int = 0, *, iova: bool = False) -> bytes:
    """Where a ring is; `iova`: guest physical addresses stand for IOVAs."""
    desc, used, avail = (a if iova else guest.uva(a) for a in (ring.desc, ring.used, ring.avail))
    return struct.pack("=IIQQQQ", index, flags, desc, used, avail, ring.used)


def memory(guest: Guest) -> bytes:
    rows = b"".join(struct.pack("=QQQQ", r.gpa, r.size, r.uva, r.offset) for r in guest.regions)
    return struct.pack("=II", len(guest.regions), 0) + rows


def region(gpa: int, size: int, uva: int, offset: int) -> bytes:
    return struct.pack("=QQQQQ", 0, gpa, size, uva, offset)


def log_area(size: int, offset: int = 0) -> bytes:
    return struct.pack("=QQ", size, offset)


def iotlb(kind: int, iova: int, size: int, uva: int = 0, perm: int = 0) -> bytes:
    return struct.pack("=QQQBB6x", iova, size, uva, perm, kind)


def inflight_area(size: int, offset: int, queues: int, queue_size: int) -> bytes:
    return struct.pack("=QQHH4x", size, offset, queues, queue_size)


def set_up(
    guest: Guest,
    rings: dict[int, Ring],
    features: int,
    eventfds: dict[int, tuple[int, int]],
    protocol: int = ALL_PROTOCOL,
):
    """The messages of a driver that starts these rings, as (bytes, fds); eventfds: ring -> (kick, call)."""
    iova = bool(features >> ACCESS_PLATFORM & 1)
    yield message(Request.SET_OWNER), []
    yield message(Request.SET_PROTOCOL_FEATURES, u64(protocol)), []
    yield message(Request.SET_FEATURES, u64(features)), []
    yield message(Request.SET_MEM_TABLE, memory(guest)), [r.fd for r in guest.regions]
    for index, ring in rings.items():
        kick, call = eventfds[index]
        yield message(Request.SET_VRING_NUM, state(index, ring.size)), []
        yield message(Request.SET_VRING_BASE, state(index, ring.idx & 0xFFFF)), []
        yield message(Request.SET_VRING_ADDR, addr(guest, index, ring, iova=iova)), []
        yield message(Request.SET_VRING_KICK, u64(index)), [kick]
        yield message(Request.SET_VRING_CALL, u64(index)), [call]
    if features >> PROTOCOL_FEATURES & 1:
        for index in rings:
            yield message(Request.SET_VRING_ENABLE, state(index, 1)), []


class Log:
    """A migration log in shared memory, as the front-end sees it."""

    def __init__(self, pages: int) -> None:
        self.size = -(-pages // 8)
        self.fd = os.memfd_create("log")
        os.ftruncate(self.fd, self.size)
        self.map = mmap.mmap(self.fd, self.size)

    def take(self) -> set[int]:
        """The numbers of the pages that are dirty; they are clean then."""
        found = {8 * i + bit for i, byte in enumerate(self.map[:]) for bit in range(8) if byte >> bit & 1}
        self.map[:] = bytes(self.size)
        return found

    def close(self) -> None:
        self.map.close()
        os.close(self.fd)


class FrontEnd:
    """A guest with queue pairs that talks over a blocking socket. Its rings are packed when `features` say so."""

    def __init__(
        self,
        sock: socket.socket,
        *,
        pairs: int = 1,
        features: int = MODERN,
        size: int = 256,
        protocol: int = ALL_PROTOCOL,
    ) -> None:
        self.sock = sock
        self.features = features | bits(PROTOCOL_FEATURES)
        self.protocol = protocol
        self.guest = Guest()
        ring = PackedRing if features >> RING_PACKED & 1 else Ring
        self.rings = {i: ring(self.guest, size, features) for i in range(2 * pairs)}
        self.events = {i: (self._eventfd(), self._eventfd()) for i in self.rings}
        self.channel: BackChannel | None = None
        self.log: Log | None = None
        self.pages: dict[int, int] = {}
        sock.settimeout(60)

    @staticmethod
    def _eventfd() -> int:
        return os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def send(self, data: bytes, fds: Sequence[int] = ()) -> None:
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        sent = self.sock.sendmsg([data], control)
        self.sock.sendall(data[sent:])

    def ask(self, request: int, payload: bytes = b"", fds: Sequence[int] = (), *, flags: int = 1) -> bytes:
        """Send a request and return the payload of its answer."""
        answer, given = self.ask_fds(request, payload, fds, flags=flags)
        assert given == []
        return answer

    def ask_fds(
        self, request: int, payload: bytes = b"", fds: Sequence[int] = (), *, flags: int = 1
    ) -> tuple[bytes, list[int]]:
        """The same for an answer that brings descriptors, the caller's to close."""
        self.send(message(request, payload, flags=flags), fds)
        head, given, _, _ = socket.recv_fds(self.sock, HEADER.size, 8)
        head += self._exactly(HEADER.size - len(head)) if head else self._exactly(1)
        answered, answer_flags, size = HEADER.unpack(head)
        assert (answered, answer_flags) == (request, 5)
        return self._exactly(size), given

    def result(self, request: int, payload: bytes = b"", fds: Sequence[int] = ()) -> int:
        """Send a request that wants an acknowledgement (REPLY_ACK) and return it: 0 is success."""
        return struct.unpack("=Q", self.ask(request, payload, fds, flags=1 | NEED_REPLY))[0]

    def _exactly(self, n: int) -> bytes:
        data = b""
        while len(data) < n:
            part = self.sock.recv(n - len(data))
            if not part:
                raise ConnectionError("the back-end closed the connection")
            data += part
        return data

    def start(self) -> None:
        """Set everything up and wait until it is in force. Under ACCESS_PLATFORM, rings wait for translations then."""
        for data, fds in set_up(self.guest, self.rings, self.features, self.events, self.protocol):
            self.send(data, fds)
        self.sync()

    def sync(self) -> None:
        """Wait until everything sent so far is handled."""
        self.ask(Request.GET_FEATURES)

    def enable(self, index: int, on: bool = True) -> None:
        self.send(message(Request.SET_VRING_ENABLE, state(index, int(on))))
        self.sync()

    def stop(self, index: int) -> int:
        """GET_VRING_BASE; of a packed ring: available place, and used place << 16."""
        return struct.unpack("=II", self.ask(Request.GET_VRING_BASE, state(index, 0)))[1]

    def restart(self, index: int, base: int) -> None:
        self.send(message(Request.SET_VRING_BASE, state(index, base)))
        self.send(message(Request.SET_VRING_KICK, u64(index)), [self.events[index][0]])
        self.sync()

    def open_channel(self) -> BackChannel:
        """Give the switch a socket for its requests. REPLY_ACK and BACKEND_REQ must be in `protocol`, and set."""
        ours, theirs = socket.socketpair()
        with theirs:
            assert self.result(Request.SET_BACKEND_REQ_FD, fds=[theirs.fileno()]) == 0
        self.channel = BackChannel(ours)
        return self.channel

    def update(self, iova: int, size: int, uva: int, perm: int = READ | WRITE) -> int:
        return self.result(Request.IOTLB_MSG, iotlb(UPDATE, iova, size, uva, perm))

    def invalidate(self, iova: int, size: int) -> int:
        """Withdraw translations, also from `pages`."""
        for page in [page for page in self.pages if iova <= page < iova + size]:
            del self.pages[page]
        return self.result(Request.IOTLB_MSG, iotlb(INVALIDATE, iova, size))

    def map_pages(self, iova: int, n: int, uva: int) -> None:
        """Let n pages from an IOVA on be at the front-end's address; the switch hears of it when it asks."""
        for i in range(n):
            self.pages[iova + i * PAGE] = uva + i * PAGE

    def map_guest(self) -> None:
        """Let every IOVA be the guest physical address, in the first region."""
        first = self.guest.regions[0]
        self.map_pages(first.gpa, first.size // PAGE, first.uva)

    def serve_misses(self, limit: int = 10000) -> list[tuple[int, int]]:
        """Answer what the switch asked for until it asks no more. Returns (IOVA, permissions) of the misses, in order."""
        assert self.channel is not None
        seen = []
        while len(seen) < limit:
            self.sync()  # the switch has told us all by now
            misses = self.channel.misses()
            if not misses:
                return seen
            for iova, _perm in misses:
                if iova in self.pages:
                    assert self.update(iova, PAGE, self.pages[iova]) == 0
                self.channel.answer(0 if iova in self.pages else 1)
            seen += misses
        raise AssertionError("the switch asks for ever")

    def set_log(self, pages: int = 8 << 8) -> Log:
        """Share a log of that many pages (default: the 8 MB of the guest). LOG_SHMFD must be in `protocol`, and set."""
        fresh = Log(pages)
        self.ask(Request.SET_LOG_BASE, log_area(fresh.size), [fresh.fd])
        if self.log is not None:
            self.log.close()
        self.log = fresh
        return fresh

    def start_logging(self) -> None:
        """As QEMU at the begin of a migration: the log comes first (set_log)."""
        self._logging(self.features | bits(LOG_ALL), 1)

    def stop_logging(self) -> None:
        self._logging(self.features & ~bits(LOG_ALL), 0)

    def _logging(self, features: int, flag: int) -> None:
        self.features = features
        self.send(message(Request.SET_FEATURES, u64(features)))
        for index, ring in self.rings.items():
            iova = bool(features >> ACCESS_PLATFORM & 1)
            self.send(message(Request.SET_VRING_ADDR, addr(self.guest, index, ring, flag, iova=iova)))
        self.sync()

    def send_rarp(self, mac: bytes) -> int:
        return self.result(Request.SEND_RARP, mac + bytes(2))

    def get_inflight(self, queues: int, queue_size: int) -> tuple[bytes, int]:
        """A record of chains in flight, from the switch: the payload to send back, and the file, the caller's to close."""
        area, fds = self.ask_fds(Request.GET_INFLIGHT_FD, inflight_area(0, 0, queues, queue_size))
        (fd,) = fds
        return area, fd

    def set_inflight(self, record: tuple[bytes, int]) -> int:
        return self.result(Request.SET_INFLIGHT_FD, record[0], [record[1]])

    def kick_inband(self, index: int) -> int:
        return self.result(Request.VRING_KICK, state(index, 0))

    def advise(self) -> int:
        """The switch's userfaultfd, the caller's to close. PAGEFAULT must be in `protocol`, and set."""
        answer, (fd,) = self.ask_fds(Request.POSTCOPY_ADVISE)
        assert answer == b""
        return fd

    def listen(self) -> int:
        return self.result(Request.POSTCOPY_LISTEN)

    def set_memory_postcopy(self) -> list[int]:
        """Tell the memory table; the switch says where each region is in its own space. `confirm` lets it use them."""
        table = self.ask(Request.SET_MEM_TABLE, memory(self.guest), [r.fd for r in self.guest.regions])
        rows = list(struct.iter_unpack("=QQQQ", table[8:]))
        for (gpa, size, _, offset), region_ in zip(rows, self.guest.regions, strict=True):
            assert (gpa, size, offset) == (region_.gpa, region_.size, region_.offset)
        return [address for _, _, address, _ in rows]

    def confirm(self) -> None:
        self.send(message(Request.SET_MEM_TABLE, u64(0)))
        self.sync()

    def end_postcopy(self) -> int:
        return struct.unpack("=Q", self.ask(Request.POSTCOPY_END))[0]

    def close(self) -> None:
        with contextlib.closing(self.sock):
            if self.channel is not None:
                self.channel.close()
        if self.log is not None:
            self.log.close()
        self.guest.close()
        for pair in self.events.values():
            for fd in pair:
                os.close(fd)
