"""A guest that does its worst to packed rings (VIRTIO 1.2, 2.8): refused by name, nothing else touched, the next frame passes."""

from __future__ import annotations

import os
import struct
import sys
import threading
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fakes.loose_port import LoosePort, eventfd_count
from fakes.mock_guest import INDIRECT, MODERN, NEXT, WRITE, Guest, Region, bits
from hypothesis import given, settings
from hypothesis import strategies as st

RING_PACKED = 34
PACKED = MODERN | bits(RING_PACKED)
SIZE = 64
TOP = 8 << 20
FRAME = bytes(range(64))
AVAIL, USED = 1 << 7, 1 << 15
DESC = struct.Struct("<QIHH")  # address, length, id, flags


class Bare:
    """A packed ring whose every descriptor is written by hand."""

    def __init__(self, guest: Guest, size: int = SIZE) -> None:
        self.guest, self.size = guest, size
        self.desc = guest.alloc(16 * size)
        self.avail = guest.alloc(4)  # the driver's event suppression
        self.used = guest.alloc(4)
        self.at, self.wrap = 0, 1

    def put(self, slot: int, addr: int, length: int, ident: int, flags: int) -> None:
        """One descriptor, flags last, as they are."""
        self.guest.write(self.desc + 16 * slot, struct.pack("<QIH", addr, length, ident))
        self.guest.write(self.desc + 16 * slot + 14, struct.pack("<H", flags))

    def ready(self, flags: int) -> int:
        """Flags of a descriptor that is available in this lap."""
        return flags | (AVAIL if self.wrap else USED)

    def list(self, rows: list[tuple[int, int, int]], ident: int = 7) -> None:
        """(address, length, flags) rows as they are, made available; the first one's flags come last."""
        places = []
        for addr, length, flags in rows:
            places.append((self.at, addr, length, ident, self.ready(flags)))
            self.at += 1
            if self.at == self.size:
                self.at, self.wrap = 0, 1 - self.wrap
        for place in reversed(places):
            self.put(*place)

    def flags(self, slot: int) -> int:
        return struct.unpack("<H", self.guest.read(self.desc + 16 * slot + 14, 2))[0]

    def used_at(self, slot: int, wrap: int = 1) -> tuple[int, int] | None:
        """(id, length) of the used descriptor of a slot, or None."""
        both = AVAIL | USED if wrap else 0
        if self.flags(slot) & (AVAIL | USED) != both:
            return None
        _, length, ident, _ = DESC.unpack(self.guest.read(self.desc + 16 * slot, 16))
        return ident, length


class Hostile:
    """A port with both rings of a guest."""

    def __init__(self, guest: Guest | None = None, size: int = SIZE, features: int = PACKED) -> None:
        self.guest = guest or Guest()
        self.guest._next = max(self.guest._next, 0x10000)
        self.port = LoosePort(self.guest, features)
        self.out, self.back = Bare(self.guest, size), Bare(self.guest, size)
        self.err = os.eventfd(0, os.EFD_NONBLOCK)
        for index, ring in ((1, self.out), (0, self.back)):
            self.port.start(index, ring, err=self.err, base=0x8000)
        self.data = self.guest.alloc(8192)
        self.guest.write(self.data, bytes(12) + FRAME)

    def close(self) -> None:
        self.port.close()
        os.close(self.err)


@pytest.fixture
def hostile():
    made = []

    def make(**how):
        made.append(Hostile(**how))
        return made[-1]

    yield make
    for one in made:
        one.close()


GOOD = (0x4000, 76, 0)
# name -> (descriptors of the list, indirect table, reason)
LISTS = {
    "zero length": ([(0x4000, 0, 0)], [], "zero_length"),
    "zero length at address 0 (CVE-2020-10725)": ([(0, 0, 0)], [], "zero_length"),
    "zero length in the middle": ([(0x4000, 76, NEXT), (0x4000, 0, NEXT), GOOD], [], "zero_length"),
    "address behind memory": ([(TOP, 76, 0)], [], "address"),
    "address at the top of all": ([(2**64 - 1, 76, 0)], [], "address"),
    "buffer ends behind memory": ([(TOP - 75, 76, 0)], [], "address"),
    "longest length": ([(0x4000, 2**32 - 1, 0)], [], "too_long"),
    "lengths that add up beyond 32 bits": (
        [(0x4000, 0xFFFFF, NEXT), (0x4000, 0xFFFFF001, 0)],
        [],
        "too_long",
    ),
    "more pieces than allowed": ([(0x4000, 1, NEXT)] * 62 + [(0x4000, 1, 0)], [], "too_many_pieces"),
    "indirect at the end of a list": ([(0x4000, 76, NEXT), (0x5000, 16, INDIRECT)], [GOOD], None),
    "indirect and next": ([(0x5000, 16, INDIRECT | NEXT), GOOD], [GOOD], "flags"),
    "indirect in indirect": ([(0x5000, 32, INDIRECT)], [(0x5000, 16, INDIRECT), GOOD], "nested_indirect"),
    "empty table": ([(0x5000, 0, INDIRECT)], [], "indirect_table"),
    "table of 15 bytes": ([(0x5000, 15, INDIRECT)], [GOOD], "indirect_table"),
    "table longer than the queue": ([(0x5000, 16 * (SIZE + 1), INDIRECT)], [GOOD], "indirect_table"),
    "table of 4 GB": ([(0x5000, 0xFFFFFFF0, INDIRECT)], [GOOD], "indirect_table"),
    "table outside memory": ([(TOP, 16, INDIRECT)], [], "indirect_table"),
}


def lay(h: Hostile, ring: Bare, rows, table, flags: int) -> int:
    """Offer a list and then a good buffer; returns the good one's slot."""
    for i, (addr, length, f) in enumerate(table):
        h.guest.write(0x5000 + 16 * i, DESC.pack(addr, length, 0, f | (0 if f & INDIRECT else flags)))
    ring.list([(addr, length, f | (0 if f & INDIRECT else flags)) for addr, length, f in rows])
    good = ring.at
    ring.list([(h.data, 76 if not flags else 2000, flags)], ident=9)
    return good


@pytest.mark.parametrize(("rows", "table", "reason"), LISTS.values(), ids=LISTS)
def test_list_that_is_sent(hostile, rows, table, reason):
    h = hostile()
    good = lay(h, h.out, rows, table, 0)
    got = h.port.rx() + h.port.rx()
    if reason is None:  # a table behind other descriptors is odd, but harmless
        assert got[-1] == FRAME
        assert len(got) + sum(h.port.refused(1).values()) == 2
    else:
        assert got == [FRAME]
        assert h.port.refused(1) == {reason: 1}
        assert h.port.drops() == {"rx_bad_descriptor": 1}
    assert h.out.used_at(0) == (7, 0)
    assert h.out.used_at(good) == (9, 0)
    assert eventfd_count(h.err) == 0


@pytest.mark.parametrize(("rows", "table", "reason"), LISTS.values(), ids=LISTS)
def test_list_that_receives(hostile, rows, table, reason):
    h = hostile()
    good = lay(h, h.back, rows, table, WRITE)
    h.port.tx(FRAME)
    h.port.tx(FRAME)
    assert h.back.used_at(good) == (9, 76)
    assert h.guest.read(h.data + 12, 64) == FRAME
    if reason is not None:
        assert h.port.refused(0) == {reason: 1}
        assert h.back.used_at(0) == (7, 0)


def test_endless_list_breaks_that_ring_alone(hostile):
    """Every descriptor says NEXT: where the next list begins cannot be known."""
    h = hostile()
    h.out.list([(0x4000, 1, NEXT)] * SIZE)
    assert h.port.rx() == []
    assert h.port.info(1).broken != 0
    assert h.port.refused(1) == {"too_many_descriptors": 1}
    assert eventfd_count(h.err) == 1
    assert h.port.rx() == []
    assert eventfd_count(h.err) == 0
    h.back.list([(h.data, 2000, WRITE)])
    h.port.tx(FRAME)
    assert h.back.used_at(0) == (7, 76)


@pytest.mark.parametrize("size", [1, 2, 3, 1000, 32768])
def test_ring_that_is_available_for_ever(hostile, size):
    """The driver marks every slot available in both laps again and again: bounded work per turn, and only its own frames."""
    h = hostile(size=size, guest=Guest([Region(0, 0x7F0000000000, TOP)]))
    for lap in range(3):
        for slot in range(min(size, 2000)):
            h.out.put(slot, h.data, 76, slot & 0xFFFF, AVAIL if lap % 2 == 0 else USED)
        got = [h.port.rx() for _ in range(min(size, 2000) // 32 + 1)]
        assert all(frame == FRAME for batch in got for frame in batch)
        if size <= 1000:
            assert sum(len(batch) for batch in got) == size
            assert all(h.out.flags(slot) == (AVAIL | USED if lap % 2 == 0 else 0) for slot in range(size))
    assert h.port.counters.rx_packets == h.port.info(1).stats.chains


def test_list_of_ring_length_straddles_the_end(hostile):
    h = hostile(size=8)
    for _ in range(3):  # three slots further each time
        h.out.list([(h.data, 12, NEXT), (h.data + 12, 32, NEXT), (h.data + 44, 32, 0)])
        assert h.port.rx() == [FRAME]
    assert h.port.stop(1) == 1 | 1 << 16  # nine slots on: the second lap's slot 1, wrap counter 0


@pytest.mark.parametrize("base", [SIZE, SIZE + 1, 0x7FFF, 0xFFFF])
def test_base_outside_the_ring_does_not_start(base):
    guest = Guest()
    port = LoosePort(guest, PACKED)
    with pytest.raises(Exception, match="-22"):
        port.start(1, Bare(guest), base=base)
    port.close()


def test_indirect_that_was_not_negotiated(hostile):
    h = hostile(features=bits(15, 32, RING_PACKED))
    h.guest.write(0x5000, DESC.pack(h.data, 76, 0, 0))
    h.out.list([(0x5000, 16, INDIRECT)])
    assert h.port.rx() == []
    assert h.port.refused(1) == {"flags": 1}


def test_wrong_direction(hostile):
    h = hostile()
    before = h.guest.read(h.data, 8192)
    h.out.list([(h.data, 76, WRITE)])
    h.back.list([(h.data, 2000, 0)])
    assert h.port.rx() == []
    h.port.tx(FRAME)
    assert (h.port.refused(0), h.port.refused(1)) == ({"direction": 1}, {"direction": 1})
    assert h.guest.read(h.data, 8192) == before


def test_writable_entries_of_a_table_that_is_sent(hostile):
    """What DPDK's driver does: the entry of the header says WRITE. It is read all the same; nothing is ever written there."""
    h = hostile()
    h.guest.write(0x5000, DESC.pack(h.data, 12, 0, WRITE) + DESC.pack(h.data + 12, 64, 0, 0))
    h.out.list([(0x5000, 32, INDIRECT)])
    h.guest.write(0x6000, DESC.pack(h.data, 2000, 0, 0))
    h.back.list([(0x6000, 16, INDIRECT)])
    assert h.port.rx() == [FRAME]
    h.port.tx(FRAME)
    assert h.port.refused(0) == {"direction": 1}


def test_table_that_ends_outside_memory(hostile):
    h = hostile()
    h.guest.write(TOP - 16, DESC.pack(h.data, 12, 0, 0))
    h.out.list([(TOP - 16, 32, INDIRECT)])
    assert h.port.rx() == []
    assert h.port.refused(1) == {"indirect_table": 1}


def test_memory_that_flips_while_it_is_read(hostile):
    """CVE-2020-14375: address and length of a list's second descriptor, and whether it goes on, change between any two reads."""
    h = hostile(size=4)
    stop = threading.Event()
    good = struct.pack("<QIHH", h.data + 12, 64, 1, AVAIL)
    bad = struct.pack("<QIHH", TOP - 20, 0xFFFFFFFF, 2, AVAIL | NEXT)
    second = h.out.desc + 16

    def flip():
        while not stop.is_set():
            h.guest.write(second, good)
            h.guest.write(second, bad)

    h.out.put(2, h.data, 0, 3, AVAIL)
    thread = threading.Thread(target=flip)
    thread.start()
    got = taken = 0
    for _ in range(3000):
        h.out.put(0, h.data, 12, 1, AVAIL | NEXT)
        frames = h.port.rx(n=1)
        assert all(frame == FRAME for frame in frames)
        got += len(frames)
        taken = h.port.counters.rx_packets
        h.port.stop(1)
        h.port.start(1, h.out, base=0x8000)
    stop.set()
    thread.join()
    refused = h.port.refused(1)
    assert taken == got + sum(refused.values()) == 3000
    assert set(refused) <= {"too_long", "address", "zero_length"}


descriptor = st.tuples(
    st.sampled_from([0, 0x4000, 0x5000, 0x10000, TOP - 64, TOP - 1, TOP, 2**63, 2**64 - 1]),
    st.sampled_from([0, 1, 12, 16, 26, 32, 76, 1024, 4096, 65600, 2**20, 2**31, 2**32 - 1]),
    st.sampled_from([0, 1, 7, 8, 0x7FFF, 0xFFFF]),
    st.sampled_from(
        [0, NEXT, WRITE, NEXT | WRITE, INDIRECT, INDIRECT | WRITE, INDIRECT | NEXT, 8, 0x7F]
    ).flatmap(lambda f: st.sampled_from([f | AVAIL, f | USED, f | AVAIL | USED, f])),
)


@settings(max_examples=300, deadline=None)
@given(
    st.integers(1, 9).flatmap(lambda n: st.lists(descriptor, min_size=n, max_size=n)),
    st.lists(descriptor, max_size=8),
    st.sampled_from([0x8000, 0, 0x8001, 1]),
    st.integers(14, 4000),
)
def test_any_ring_contents(descriptors, table, base, length):
    """Whatever stands in the rings: every chain taken is counted once, and every frame sent is accounted for."""
    guest = Guest()
    guest._next = 0x10000
    size = len(descriptors)
    port = LoosePort(guest, PACKED)
    rings = [Bare(guest, size), Bare(guest, size)]
    base = base if base & 0x7FFF < size else base & 0x8000
    for index, ring in enumerate(rings):
        for i, row in enumerate(descriptors):
            ring.put(i, *row)
        for i, row in enumerate(table):
            guest.write(0x5000 + 16 * i, DESC.pack(*row))
        port.start(index, ring, base=base)
    port.rx()
    port.tx(bytes(length), FRAME)
    port.rx()
    c = port.counters
    info = port.info(1)
    assert c.rx_packets == info.stats.chains
    assert c.tx_packets + sum(n for k, n in port.drops().items() if k.startswith("tx_")) == 2
    assert port.info(1).available <= size
    port.close()
