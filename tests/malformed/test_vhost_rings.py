"""A guest that does its worst to its rings: every refusal by name, nothing read or written elsewhere, the next frame passes.

Names of CVEs are those of DPDK's lib/vhost, whose mistakes are tried here.
"""

import os
import sys
import threading
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fakes.loose_port import LoosePort, eventfd_count
from fakes.mock_guest import DESC, INDIRECT, MODERN, NEXT, WRITE, Guest, Region, Ring, bits
from hypothesis import given, settings
from hypothesis import strategies as st

SIZE = 64
TOP = 8 << 20
FRAME = bytes(range(64))


class Hostile:
    """A port with both rings of a guest, and a word at the end of memory that must stay as it is."""

    def __init__(self, features=MODERN, guest=None):
        self.guest = guest or Guest()
        self.port = LoosePort(self.guest, features)
        self.out = Ring(self.guest, SIZE, features)
        self.back = Ring(self.guest, SIZE, features)
        self.err = os.eventfd(0, os.EFD_NONBLOCK)
        self.port.start(1, self.out, err=self.err)
        self.port.start(0, self.back, err=self.err)
        self.data = self.guest.alloc(8192)
        self.guest.write(self.data, bytes(12) + FRAME)

    def close(self):
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


GOOD = (0x4000, 76, 0, 0)  # address, length, flags, next; 0x4000 is within memory
# name -> (descriptors of the ring, indirect table, reason)
CHAINS = {
    "loop of one": ([(0x4000, 76, NEXT, 0)], [], "too_many_pieces"),
    "loop of two": ([(0x4000, 76, NEXT, 1), (0x4000, 4, NEXT, 0)], [], "too_many_pieces"),
    "next just outside": ([(0x4000, 76, NEXT, SIZE)], [], "next_range"),
    "next far outside": ([(0x4000, 76, NEXT, 0xFFFF)], [], "next_range"),
    "zero length": ([(0x4000, 0, 0, 0)], [], "zero_length"),
    "zero length at address 0 (CVE-2020-10725)": ([(0, 0, 0, 0)], [], "zero_length"),
    "zero length in the middle": ([(0x4000, 76, NEXT, 1), (0x4000, 0, NEXT, 2), GOOD], [], "zero_length"),
    "address behind memory": ([(TOP, 76, 0, 0)], [], "address"),
    "address at the top of all": ([(2**64 - 1, 76, 0, 0)], [], "address"),
    "address wraps": ([(2**64 - 16, 76, 0, 0)], [], "address"),
    "buffer ends behind memory (CVE-2018-1059)": ([(TOP - 16, 76, 0, 0)], [], "address"),
    "buffer ends one byte behind memory": ([(TOP - 75, 76, 0, 0)], [], "address"),
    "longest length": ([(0x4000, 2**32 - 1, 0, 0)], [], "too_long"),
    "lengths that add up beyond 32 bits": (
        [(0x4000, 0xFFFFF, NEXT, 1), (0x4000, 0xFFFFF001, 0, 0)],
        [],
        "too_long",
    ),
    "unknown flag": ([(0x4000, 76, 8, 0)], [], "flags"),
    "all flags": ([(0x4000, 76, 0xFFFF, 0)], [], "flags"),
    "indirect and next": ([(0x5000, 16, INDIRECT | NEXT, 1), GOOD], [GOOD], "flags"),
    "indirect in indirect": (
        [(0x5000, 32, INDIRECT, 0)],
        [(0x5000, 16, INDIRECT, 0), GOOD],
        "nested_indirect",
    ),
    "indirect in indirect, later": (
        [(0x5000, 32, INDIRECT, 0)],
        [(0x4000, 76, NEXT, 1), (0x5000, 16, INDIRECT, 0)],
        "nested_indirect",
    ),
    "empty table": ([(0x5000, 0, INDIRECT, 0)], [], "indirect_table"),
    "table of 15 bytes": ([(0x5000, 15, INDIRECT, 0)], [GOOD], "indirect_table"),
    "table of 17 bytes": ([(0x5000, 17, INDIRECT, 0)], [GOOD], "indirect_table"),
    "table longer than the queue": ([(0x5000, 16 * (SIZE + 1), INDIRECT, 0)], [GOOD], "indirect_table"),
    "table of 4 GB": ([(0x5000, 0xFFFFFFF0, INDIRECT, 0)], [GOOD], "indirect_table"),
    "table outside memory": ([(TOP, 16, INDIRECT, 0)], [], "indirect_table"),
    "loop in a table": (
        [(0x5000, 32, INDIRECT, 0)],
        [(0x4000, 1, NEXT, 1), (0x4000, 1, NEXT, 0)],
        "too_many_pieces",
    ),
    "next outside the table": ([(0x5000, 32, INDIRECT, 0)], [(0x4000, 76, NEXT, 2), GOOD], "next_range"),
    "chain into a table, too long": (
        [(0x4000, 76, NEXT, 1), (0x5000, 0x400, INDIRECT, 0)],
        [(0x4000, 1, NEXT, i + 1) for i in range(64)],
        "too_many_pieces",
    ),
}


def lay(h, ring, descriptors, table, flags):
    """Write a chain; `flags` is set in every descriptor that is not indirect."""
    assert h.guest._next < 0x200000
    for i, (addr, length, f, nxt) in enumerate(descriptors):
        ring.set_desc(i, addr, length, f | (0 if f & INDIRECT else flags), nxt)
    for i, (addr, length, f, nxt) in enumerate(table):
        ring.set_desc(i, addr, length, f | (0 if f & INDIRECT else flags), nxt, table=0x5000)


@pytest.fixture
def roomy():
    """A guest whose pages 0x4000 and 0x5000 are not used by rings."""
    guest = Guest()
    guest._next = 0x10000
    return guest


@pytest.mark.parametrize(("descriptors", "table", "reason"), CHAINS.values(), ids=CHAINS)
def test_chain_that_is_sent(hostile, roomy, descriptors, table, reason):
    h = hostile(guest=roomy)
    lay(h, h.out, descriptors, table, 0)
    h.out.offer(0)
    good = SIZE - 1
    h.out.set_desc(good, h.data, 76)
    h.out.offer(good)
    got = h.port.rx() + h.port.rx()
    assert got == [FRAME]
    assert h.port.refused(1) == {reason: 1}
    assert h.port.drops() == {"rx_bad_descriptor": 1}
    assert h.out.take() == [(0, 0), (good, 0)]
    assert eventfd_count(h.err) == 0


@pytest.mark.parametrize(("descriptors", "table", "reason"), CHAINS.values(), ids=CHAINS)
def test_chain_that_receives(hostile, roomy, descriptors, table, reason):
    h = hostile(guest=roomy)
    lay(h, h.back, descriptors, table, WRITE)
    h.back.offer(0)
    good = SIZE - 1
    h.back.set_desc(good, h.data, 2000, WRITE)
    h.back.chains[good] = [(h.data, 2000, WRITE)]
    h.back.offer(good)
    h.port.tx(FRAME)
    h.port.tx(FRAME)
    assert h.port.refused(0) == {reason: 1}
    assert h.port.drops() == {"tx_bad_descriptor": 1}
    assert h.back.take() == [(0, 0), (good, 76)]
    assert h.guest.read(h.data + 12, 64) == FRAME


@pytest.mark.parametrize("cut", [16, 20, 31])
def test_table_that_ends_outside_memory(hostile, cut):
    h = hostile()
    h.out.set_desc(0, TOP - cut, 32, INDIRECT)
    h.guest.write(TOP - cut, DESC.pack(h.data, 76, NEXT, 1))
    h.out.offer(0)
    assert h.port.rx() == []
    assert h.port.refused(1) == {"indirect_table": 1}


@pytest.mark.parametrize("indirect", [False, True])
def test_writable_descriptors_are_not_sent(hostile, indirect):
    h = hostile()
    h.out.chain([(h.data, 40), (h.data, 40)], WRITE, indirect=indirect)
    assert h.port.rx() == []
    assert h.port.refused(1) == {"direction": 1}


@pytest.mark.parametrize("indirect", [False, True])
def test_read_only_descriptors_are_not_written(hostile, indirect):
    h = hostile()
    before = h.guest.read(h.data, 8192)
    h.back.chain([(h.data, 4000), (h.data, 4000)], 0, indirect=indirect)
    h.port.tx(FRAME)
    assert h.port.refused(0) == {"direction": 1}
    assert h.guest.read(h.data, 8192) == before


def test_indirect_that_was_not_negotiated(hostile):
    features = bits(32, 15)
    h = hostile(features=features)
    h.out.send(FRAME, indirect=True)
    h.back.post(2000, indirect=True)
    h.port.tx(FRAME)
    assert h.port.rx() == []
    assert (h.port.refused(0), h.port.refused(1)) == ({"flags": 1}, {"flags": 1})


@pytest.mark.parametrize("n", range(1, 12))
def test_chain_shorter_than_the_header(hostile, n):
    """CVE-2022-2132: the header must be there, however it is cut."""
    h = hostile()
    h.out.chain([(h.data, n)])
    h.out.chain([(h.data, 1)] * n)
    h.back.post(n)
    h.port.tx(FRAME)
    assert h.port.rx() == []
    assert (h.port.refused(0), h.port.refused(1)) == ({"no_header": 1}, {"no_header": 2})


def test_header_alone(hostile):
    h = hostile()
    h.out.chain([(h.data, 12)])
    h.back.post(12)
    h.port.tx(FRAME)
    assert h.port.rx() == []
    assert h.port.drops() == {"rx_runt": 1, "tx_bad_descriptor": 1}


def test_refused_buffer_in_the_middle_of_a_merged_frame(hostile):
    h = hostile()
    h.back.post(500)
    h.back.chain([(TOP, 500)], WRITE)
    h.back.post(2000)
    h.port.tx(bytes(1000))
    assert [n for _, n in h.back.take()] == [500, 0]
    assert h.port.drops() == {"tx_bad_descriptor": 1}
    h.port.tx(FRAME)
    assert [f for _, f in h.back.received()] == [FRAME]


def test_tiny_buffers_do_not_hold_the_core(hostile):
    guest = Guest()
    port = LoosePort(guest)
    ring = Ring(guest, 32768)
    port.start(0, ring)
    at = guest.alloc(64)
    ring.set_desc(0, at, 13, WRITE)
    for _ in range(32768):
        ring.offer(0, publish=False)
    ring.publish()
    port.tx(bytes(9000), bytes(300))
    assert port.drops() == {"tx_mtu_exceeded": 1}
    assert len(ring.take()) == 24
    port.close()


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("ahead", [SIZE + 1, 1000, 0x7FFF, 0xFFFF])
def test_avail_index_too_far_ahead_stops_that_ring_alone(hostile, side, ahead):
    h = hostile()
    ring = (h.back, h.out)[side]
    ring.publish(ahead)
    h.port.rx()
    h.port.tx(FRAME)
    assert h.port.info(side).broken != 0
    assert h.port.refused(side) == {"avail_index": 1}
    assert eventfd_count(h.err) == 1
    ring.publish(0)
    h.port.rx()
    h.port.tx(FRAME)
    assert ring.take() == []  # not touched any more
    assert eventfd_count(h.err) == 0
    assert h.port.info(1 - side).broken == 0
    h.out.send(FRAME)
    h.back.post(2000)
    assert h.port.rx() == ([] if side else [FRAME])
    assert h.port.stop(side) == 0


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("head", [SIZE, SIZE + 1, 0x7FFF, 0xFFFF])
def test_head_out_of_range_stops_that_ring(hostile, side, head):
    """Good chains before the bad head still count."""
    h = hostile()
    h.out.send(FRAME)
    h.back.post(2000)
    (h.back, h.out)[side].offer(head)
    assert h.port.rx() == [FRAME]
    h.port.tx(FRAME)
    assert [f for _, f in h.back.received()] == [FRAME]
    h.port.rx()
    h.port.tx(FRAME)
    assert h.port.refused(side) == {"head_range": 1}
    assert eventfd_count(h.err) == 1
    assert h.port.stop(side) == 1


def test_regions_that_do_not_touch_are_not_joined(hostile):
    guest = Guest([Region(0, 0x10000000, 0x100000), Region(0x100001, 0x20000000, 0x10000)])
    h = hostile(guest=guest)
    h.out.set_desc(0, 0x100000 - 40, 80)
    h.out.offer(0)
    assert h.port.rx() == []
    assert h.port.refused(1) == {"address": 1}


@pytest.mark.parametrize("cut", range(0, 33, 3))
def test_table_across_regions(hostile, cut):
    """The table itself may cross regions that touch, at any byte; its entries are copied out piece by piece."""
    guest = Guest([Region(0, 0x10000000, 0x100000), Region(0x100000, 0x30000000, 0x10000, offset=4096)])
    h = hostile(guest=guest)
    table = DESC.pack(h.data, 12, NEXT, 1) + DESC.pack(h.data + 12, 64, 0, 0)
    start = 0x100000 - cut
    for i, byte in enumerate(table):
        guest.write(start + i, bytes([byte]))
    h.out.set_desc(0, start, 32, INDIRECT)
    h.out.offer(0)
    assert h.port.rx() == [FRAME]


def test_ring_parts_on_top_of_one_another(hostile):
    """A guest may lay its rings and buffers over each other: that harms nobody but itself."""
    h = hostile()
    h.port.stop(0)
    h.port.start(0, h.back, used=h.guest.uva(h.back.desc))
    for i in range(SIZE):
        h.back.set_desc(i, h.back.desc, 1024, WRITE)
        h.back.offer(i)
    for _ in range(8):
        h.port.tx(*[FRAME] * 32)
    h.port.rx()


def test_memory_that_flips_while_it_is_read(hostile):
    """CVE-2020-14375: a length that changes between check and use. Descriptors are read once, so either value is taken whole."""
    h = hostile()
    stop = threading.Event()
    good, bad = DESC.pack(h.data, 76, 0, 0), DESC.pack(TOP - 20, 0xFFFFFFFF, 0, 0)

    def flip():
        while not stop.is_set():
            h.guest.write(h.out.desc, good)
            h.guest.write(h.out.desc, bad)

    thread = threading.Thread(target=flip)
    thread.start()
    got = 0
    for _ in range(3000):
        h.out.offer(0)
        frames = h.port.rx()
        got += len(frames)
        assert all(f == FRAME for f in frames)
    stop.set()
    thread.join()
    refused = h.port.refused(1)
    assert got + sum(refused.values()) == 3000
    assert set(refused) <= {"too_long", "address", "flags"}


descriptor = st.tuples(
    st.sampled_from([0, 0x4000, 0x5000, 0x5010, 0x10000, TOP - 64, TOP - 1, TOP, 2**63, 2**64 - 1]),
    st.sampled_from([0, 1, 12, 16, 26, 32, 76, 1024, 4096, 65600, 2**20, 2**31, 2**32 - 1]),
    st.sampled_from([0, NEXT, WRITE, NEXT | WRITE, INDIRECT, INDIRECT | WRITE, INDIRECT | NEXT, 8, 0xFFFF]),
    st.sampled_from([0, 1, 2, 3, 7, 8, 0xFFFF]),
)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(descriptor, min_size=8, max_size=8),
    st.lists(descriptor, max_size=8),
    st.lists(st.integers(0, 9), max_size=20),
    st.integers(0, 20),
    st.integers(14, 4000),
)
def test_any_ring_contents(descriptors, table, heads, ahead, length):
    """Whatever stands in the rings: every chain taken is counted once, and given back unless the ring broke."""
    guest = Guest()
    guest._next = 0x10000
    port = LoosePort(guest)
    rings = [Ring(guest, 8), Ring(guest, 8)]
    for index, ring in enumerate(rings):
        port.start(index, ring)
        for i, row in enumerate(descriptors):
            ring.set_desc(i, *row)
        for i, row in enumerate(table):
            ring.set_desc(i, *row, table=0x5000)
        for head in heads:
            ring.offer(head, publish=False)
        ring.publish(ahead)
    port.rx()
    port.tx(bytes(length), FRAME)
    port.rx()
    c = port.counters
    info = port.info(1)
    assert c.rx_packets == rings[1].used_idx() == info.stats.chains
    assert c.tx_packets + sum(n for k, n in port.drops().items() if k.startswith("tx_")) == 2
    if not info.broken:
        assert rings[1].used_idx() == ahead
    port.close()
