"""The driver's side of split virtqueues in memory files: one mock guest for unit, malformed and bench tests.

A Guest has regions of memory (a memfd each) and rings laid out in the first one. Everything can be set by hand, also to nonsense: the
methods that a well-behaved driver would use (send, post, take) are a thin layer over set_desc and offer.
"""

from __future__ import annotations

import itertools
import mmap
import os
import struct
from dataclasses import dataclass

NEXT, WRITE, INDIRECT = 1, 2, 4
DESC = struct.Struct("<QIHH")
MRG_RXBUF, INDIRECT_DESC, EVENT_IDX, PROTOCOL_FEATURES, VERSION_1, IN_ORDER = 15, 28, 29, 30, 32, 35
MODERN = 1 << VERSION_1 | 1 << MRG_RXBUF | 1 << INDIRECT_DESC


def bits(*numbers: int) -> int:
    """A feature word from bit numbers."""
    return sum(1 << n for n in numbers)


@dataclass
class Region:
    """A piece of guest memory; `offset` bytes of the file stand before it."""

    gpa: int
    uva: int
    size: int
    offset: int = 0

    def __post_init__(self) -> None:
        self.fd = os.memfd_create("guest")
        os.ftruncate(self.fd, self.offset + self.size)
        self.map = mmap.mmap(self.fd, self.offset + self.size)
        # Indices are written and read by one 16-bit access each, as a driver does: a copy of two bytes may tear.
        self.halves = memoryview(self.map)[: (self.offset + self.size) & ~1].cast("H")

    def close(self) -> None:
        self.halves.release()
        self.map.close()
        os.close(self.fd)


class Guest:
    """Memory and rings. Guest physical 0 is in the first region, at the front-end's address 0x7f0000000000."""

    def __init__(self, regions: list[Region] | None = None) -> None:
        self.regions = regions or [Region(0, 0x7F0000000000, 8 << 20)]
        self._next = 0x1000

    def close(self) -> None:
        for region in self.regions:
            region.close()

    def _find(self, gpa: int, n: int) -> tuple[Region, int]:
        for region in self.regions:
            if region.gpa <= gpa and gpa + n <= region.gpa + region.size:
                return region, region.offset + gpa - region.gpa
        raise ValueError(f"{gpa:#x}+{n} is not in one region")

    def read(self, gpa: int, n: int) -> bytes:
        region, at = self._find(gpa, n)
        if n == 2 and at % 2 == 0:
            return struct.pack("=H", region.halves[at // 2])
        return region.map[at : at + n]

    def write(self, gpa: int, data: bytes) -> None:
        region, at = self._find(gpa, len(data))
        if len(data) == 2 and at % 2 == 0:
            (region.halves[at // 2],) = struct.unpack("=H", data)
        else:
            region.map[at : at + len(data)] = data

    def uva(self, gpa: int) -> int:
        region, _ = self._find(gpa, 1)
        return region.uva + gpa - region.gpa

    def alloc(self, n: int, align: int = 64) -> int:
        """Guest physical address of n fresh bytes in the first region."""
        at = -(-self._next // align) * align
        self._next = at + n
        assert self._next <= self.regions[0].gpa + self.regions[0].size, "mock guest out of memory"
        return at


class Ring:
    """The driver of one split ring (VIRTIO 1.2, 2.7)."""

    needs = 0
    """Features that the layout is negotiated by."""

    def __init__(self, guest: Guest, size: int = 256, features: int = MODERN, base: int = 0) -> None:
        self.guest, self.size, self.features = guest, size, features
        self.desc = guest.alloc(16 * size)
        self.avail = guest.alloc(6 + 2 * size)
        self.used = guest.alloc(6 + 8 * size)
        self.base = self.idx = self.seen = base
        guest.write(self.avail + 2, struct.pack("<H", base & 0xFFFF))
        guest.write(self.used + 2, struct.pack("<H", base & 0xFFFF))
        self.free = list(range(size))
        self.chains: dict[int, list[tuple[int, int, int]]] = {}
        self._owned: dict[int, list[int]] = {}

    @property
    def hdr_len(self) -> int:
        return 12 if self.features & bits(MRG_RXBUF, VERSION_1) else 10

    def set_desc(
        self, i: int, addr: int, length: int, flags: int = 0, nxt: int = 0, *, table: int | None = None
    ) -> None:
        self.guest.write(
            (self.desc if table is None else table) + 16 * i, DESC.pack(addr, length, flags, nxt)
        )

    def offer(self, head: int, *, publish: bool = True) -> None:
        self.guest.write(self.avail + 4 + 2 * (self.idx % self.size), struct.pack("<H", head))
        self.idx += 1
        if publish:
            self.publish()

    def publish(self, idx: int | None = None) -> None:
        value = self.idx if idx is None else idx
        self.guest.write(self.avail + 2, struct.pack("<H", value & 0xFFFF))

    def chain(
        self, buffers: list[tuple[int, int]], flags: int = 0, *, indirect: bool = False, publish: bool = True
    ) -> int:
        """Offer (address, length) buffers as one chain. Returns the head."""
        n = 1 if indirect else len(buffers)
        ids = [self.free.pop(0) for _ in range(n)]
        if indirect:
            table = self.guest.alloc(16 * len(buffers), 16)
            for i, (addr, length) in enumerate(buffers):
                more = NEXT if i + 1 < len(buffers) else 0
                self.set_desc(i, addr, length, flags | more, i + 1, table=table)
            self.set_desc(ids[0], table, 16 * len(buffers), INDIRECT)
        else:
            for i, (addr, length) in enumerate(buffers):
                more = NEXT if i + 1 < n else 0
                self.set_desc(ids[i], addr, length, flags | more, ids[i + 1] if more else 0)
        self._owned[ids[0]] = ids
        self.chains[ids[0]] = [(addr, length, flags) for addr, length in buffers]
        self.offer(ids[0], publish=publish)
        return ids[0]

    def used_idx(self) -> int:
        return struct.unpack("<H", self.guest.read(self.used + 2, 2))[0]

    def used_flags(self) -> int:
        return struct.unpack("<H", self.guest.read(self.used, 2))[0]

    def avail_event(self) -> int:
        return struct.unpack("<H", self.guest.read(self.used + 4 + 8 * self.size, 2))[0]

    def set_avail_flags(self, flags: int) -> None:
        self.guest.write(self.avail, struct.pack("<H", flags))

    def set_used_event(self, idx: int) -> None:
        self.guest.write(self.avail + 4 + 2 * self.size, struct.pack("<H", idx & 0xFFFF))

    def take(self) -> list[tuple[int, int]]:
        """New used elements (id, length); their descriptors are free again."""
        out = []
        while self.seen & 0xFFFF != self.used_idx():
            element = struct.unpack("<II", self.guest.read(self.used + 4 + 8 * (self.seen % self.size), 8))
            self.free.extend(self._owned.pop(element[0], []))
            out.append(element)
            self.seen += 1
        return out

    def send(
        self, frame: bytes, *, header: bytes | None = None, cuts: tuple[int, ...] = (), indirect: bool = False
    ) -> int:
        """Offer header and frame for transmission, cut into descriptors at the given byte offsets."""
        data = (bytes(self.hdr_len) if header is None else header) + frame
        edges = [0, *cuts, len(data)]
        buffers = []
        for a, b in itertools.pairwise(edges):
            at = self.guest.alloc(b - a)
            self.guest.write(at, data[a:b])
            buffers.append((at, b - a))
        return self.chain(buffers, indirect=indirect)

    def post(self, *sizes: int, indirect: bool = False) -> int:
        """Offer one receive buffer made of descriptors of these sizes."""
        return self.chain([(self.guest.alloc(n), n) for n in sizes], WRITE, indirect=indirect)

    def received(self) -> list[tuple[bytes, bytes]]:
        """Frames that came in since, as (header, frame)."""
        out = []
        elements = [(self.chains[i], n) for i, n in self.take()]
        while elements:
            data = self._gather(*elements.pop(0))
            header, data = data[: self.hdr_len], data[self.hdr_len :]
            more = struct.unpack_from("<H", header, 10)[0] - 1 if len(header) == 12 else 0
            for _ in range(more):
                data += self._gather(*elements.pop(0))
            out.append((header, data))
        return out

    def _gather(self, buffers: list[tuple[int, int, int]], n: int) -> bytes:
        data = b""
        for addr, length, _ in buffers:
            data += self.guest.read(addr, min(length, n - len(data)))
        assert len(data) == n, "used length is longer than the buffers"
        return data
