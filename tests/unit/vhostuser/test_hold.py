"""Packets for a guest whose buffers are not translated yet: kept in order, bounded, sent when the answer comes, all accounted for."""

import struct

import pytest
from fakes.iommu_port import PAGE, WRITE, IommuPort
from fakes.mock_guest import MODERN, MRG_RXBUF, VERSION_1, Guest, Region, Ring, bits
from fakes.packed_ring import PackedRing
from iommu_rings import ledger, post_fresh, receiver
from vhostuser_frames import frame, tso

from vswitchd.datapath.dp import ffi

MAC = bytes.fromhex("020000000042")


@pytest.fixture
def port():
    made = IommuPort(Guest([Region(0, 0x7F0000000000, 32 << 20)]))
    yield made
    made.close()


@pytest.mark.parametrize("make", [Ring, PackedRing])
def test_packets_wait_and_are_sent_in_order(port, make):
    ring = receiver(port, make=make)
    pages = post_fresh(ring, 10)
    port.tx(*(frame(60, i) for i in range(4)))
    assert ledger(port) == (0, 0, 4)
    assert ring.take() == []
    assert sorted(port.misses()) == [(page, WRITE) for page in pages], "all buffers posted, each once"
    port.tx(*(frame(60, i) for i in range(4, 7)))
    for page in pages[:5]:
        port.map(page)
    port.tx(*(frame(60, i) for i in range(7, 9)))
    assert ledger(port) == (5, 0, 4)
    for page in pages[5:]:
        port.map(page)
    port.tx(frame(60, 9))
    assert [data for _, data in ring.received()] == [frame(60, i) for i in range(10)]
    assert ledger(port) == (10, 0, 0)
    assert port.counters.tx_bytes == 600
    assert port.misses() == []


@pytest.mark.parametrize("make", [Ring, PackedRing])
def test_buffers_are_asked_for_before_they_are_needed(port, make):
    """A guest in strict mode maps each buffer anew: after a miss the switch looks ahead, and later packets need not wait."""
    ring = receiver(port, 256, make=make)
    pages = post_fresh(ring, 200)
    port.tx(frame(60))
    assert [page for page, _ in port.misses()] == pages[:64], "as many as are looked up at once"
    for page, _ in port.asked:
        port.map(page)
    waited = 0
    for i in range(1, 150):
        port.tx(frame(60, i))
        waited += port.held() > 0
        port.answer()
    assert waited == 0
    assert len(ring.received()) == 150
    assert ledger(port) == (150, 0, 0)
    assert len(port.asked) == len(set(port.asked)) == 200


@pytest.mark.parametrize("make", [Ring, PackedRing])
def test_buffers_are_asked_for_when_the_ring_starts(port, make):
    ring = make(port.guest, 64, port.features & ~(1 << 33))
    port.guest.alloc(PAGE, PAGE)
    pages = post_fresh(ring, 10)
    port.start_known(0, ring)
    assert port.misses() == [(page, WRITE) for page in pages]


def test_nothing_is_sent_past_a_packet_that_waits(port):
    """Later buffers may be known already: the ring is filled in order all the same."""
    ring = receiver(port)
    pages = post_fresh(ring, 3)
    for page in pages[1:]:
        port.map(page)
    port.tx(frame(60, 1), frame(60, 2))
    port.tx(frame(60, 3))
    assert ledger(port) == (0, 0, 3)
    port.map(pages[0])
    port.tx()
    assert [data for _, data in ring.received()] == [frame(60, i) for i in (1, 2, 3)]


def test_the_core_of_queue_0_sends_them(port):
    """No further packet has to come: polling the port's receive queue is enough, also when that ring does not run."""
    ring = receiver(port)
    (page,) = post_fresh(ring, 1)
    port.tx(frame(60))
    assert port.rx() == []
    assert ledger(port) == (0, 0, 1)
    port.map(page)
    assert port.rx() == []
    assert ledger(port) == (1, 0, 0)
    assert [data for _, data in ring.received()] == [frame(60)]


def test_waiting_does_not_search_again(port):
    ring = receiver(port)
    post_fresh(ring, 1)
    port.tx(frame(60))
    before = port.stats()["misses"]
    for _ in range(50):
        port.rx()
        port.tx(frame(60))
    assert port.stats()["misses"] == before
    assert ledger(port) == (0, 0, 51)
    assert len(port.misses()) == 1
    assert not port.rung()


def test_what_is_kept_is_a_copy(port):
    """A packet borrows from its sender, who gets the bytes back with the batch."""
    ring = receiver(port)
    pages = post_fresh(ring, 1)
    port.tx(frame(1400, 1))
    ffi.memmove(port.frames, bytes(1400), 1400)
    port.map(pages[0])
    port.rx()
    assert [data for _, data in ring.received()] == [frame(1400, 1)]


class TestBounds:
    def test_frames(self, port):
        ring = receiver(port, 512)
        post_fresh(ring, 300)
        for i in range(30):
            port.tx(*(frame(60, i) for _ in range(10)))
        assert ledger(port) == (0, 44, 256)
        assert port.drops() == {"tx_no_translation": 44}
        for _ in range(20):
            port.answer()
            port.rx()
        assert ledger(port) == (256, 44, 0)
        assert [data for _, data in ring.received()] == [frame(60, i // 10) for i in range(256)]

    def test_bytes(self, port):
        """Of long frames fewer than that fit: a megabyte."""
        ring = receiver(port, 256)
        pages = post_fresh(ring, 200)
        sent = 0
        for i in range(40):
            port.tx(frame(60000, i))
            sent += 1
        held = ledger(port)[2]
        assert held == (1 << 20) // 60000
        assert ledger(port) == (0, sent - held, held)
        for page in pages:
            port.map(page, PAGE)
        port.rx()
        assert [d for _, d in ring.received()] == [frame(60000, i) for i in range(ledger(port)[0])]

    def test_room_is_used_again(self, port):
        """Lengths of all kinds, several times around the buffer of bytes."""
        ring = receiver(port, 1024)
        lengths = [60, 9000, 1514, 30000, 64, 200, 45000, 1000]
        expected, got = [], []
        for n in range(200):
            for page in post_fresh(ring, lengths[n % 8] // 2000 + 2):
                if n % 3:
                    port.map(page)
            expected.append(frame(lengths[n % 8] + n % 7, n))
            port.tx(expected[-1])
            if n % 16 == 15:
                port.answer()
                port.rx()
                got += [d for _, d in ring.received()]
        while port.held():
            port.answer()
            port.rx()
        got += [d for _, d in ring.received()]
        assert ledger(port) == (200, 0, 0)
        assert sum(map(len, expected)) > 2 << 20
        assert got == expected


def test_a_guest_short_of_buffers_loses_as_without_an_iommu(port):
    ring = receiver(port)
    (page,) = post_fresh(ring, 1)
    port.tx(*(frame(60, i) for i in range(5)))
    assert ledger(port) == (0, 0, 5)
    port.map(page)
    port.rx()
    assert ledger(port) == (1, 4, 0)
    assert port.drops() == {"tx_ring_full": 4}


def test_a_ring_that_breaks_keeps_nothing(port):
    ring = receiver(port)
    (page,) = post_fresh(ring, 1)
    port.tx(frame(60), frame(60))
    ring.publish(ring.idx + 1000)
    port.map(page)
    port.rx()
    sent, dropped, held = ledger(port)
    assert (sent + dropped, held) == (2, 0)


def test_a_buffer_refused_meanwhile_costs_one_packet(port):
    ring = receiver(port)
    pages = post_fresh(ring, 2)
    port.tx(frame(60, 1), frame(60, 2))
    port.answer()
    ring.set_desc(0, pages[0], 2048, 0)  # not writable any more
    port.rx()
    while port.answer():
        port.rx()
    assert ledger(port) == (1, 1, 0)
    assert port.drops() == {"tx_bad_descriptor": 1}


def test_invalidated_while_it_waits(port):
    ring = receiver(port)
    pages = post_fresh(ring, 2)
    port.tx(frame(60, 1), frame(60, 2))
    port.map(pages[0])
    port.unmap(pages[0])
    port.map(pages[1])
    port.rx()
    assert ledger(port) == (0, 0, 2)
    assert (pages[0], WRITE) in port.misses()
    port.map(pages[0])
    port.rx()
    assert [data for _, data in ring.received()] == [frame(60, 1), frame(60, 2)]


class TestOffloads:
    def test_segments_wait_like_packets_and_the_packet_counts_once(self, port):
        """The guest takes no segmentation: the first segments find buffers, the others wait for theirs."""
        ring = receiver(port)
        pages = post_fresh(ring, 8)
        port.map(pages[0])
        port.map(pages[1])
        data, fields = tso(6 * 1448)
        port.tx(data, **fields)
        assert ledger(port) == (1, 0, 0)
        assert len(ring.received()) == 2
        port.tx(frame(60, 9))
        assert ledger(port) == (1, 0, 1)
        while port.answer():
            port.rx()
        got = [d for _, d in ring.received()]
        seqs = [struct.unpack_from(">I", d, 38)[0] for d in got[:-1]]
        assert seqs == [1000 + 1448 * i for i in range(2, 6)]
        assert got[-1] == frame(60, 9)
        assert ledger(port) == (2, 0, 0)
        assert port.counters.tx_bytes == 6 * (1448 + 54) + 60

    def test_a_packet_whose_segments_all_wait(self, port):
        ring = receiver(port)
        post_fresh(ring, 8)
        data, fields = tso(3 * 1448)
        port.tx(data, **fields)
        assert ledger(port) == (0, 0, 1)
        while port.answer():
            port.rx()
        assert len(ring.received()) == 3
        assert ledger(port) == (1, 0, 0)
        assert port.counters.tx_bytes == 3 * (1448 + 54)

    @pytest.mark.parametrize("mapped", [0, 2])
    def test_a_packet_of_more_segments_than_may_wait_is_one_drop(self, port, mapped):
        """However many segments found buffers before; nothing of it waits then."""
        ring = receiver(port, 512)
        pages = post_fresh(ring, 400)
        for page in pages[:mapped]:
            port.map(page)
        data, fields = tso(300 * 100)
        port.tx(data, **fields | {"gso_size": 100})
        assert ledger(port) == (0, 1, 0)
        assert port.drops() == {"tx_no_translation": 1}
        assert len(ring.received()) == mapped
        port.tx(frame(60, 9))
        while port.answer():
            port.rx()
        assert [d for _, d in ring.received()] == [frame(60, 9)]
        assert ledger(port) == (1, 1, 0)

    def test_a_packet_that_the_guest_takes_as_it_is(self, port):
        """Its offloads wait with it."""
        port.features |= bits(1, 7)  # GUEST_CSUM, GUEST_TSO4
        ring = receiver(port, 64)
        post_fresh(ring, 8)
        data, fields = tso(3 * 1448)
        port.tx(data, **fields)
        assert ledger(port) == (0, 0, 1)
        while port.answer():
            port.rx()
        ((header, got),) = ring.received()
        assert got == data
        assert header[:10] == struct.pack("<BBHHHH", 1, 1, 54, 1448, 34, 16)


@pytest.mark.parametrize("features", [MODERN, bits(VERSION_1), bits(MRG_RXBUF)])
def test_all_kinds_of_headers(features):
    port = IommuPort(Guest([Region(0, 0x7F0000000000, 32 << 20)]), features)
    try:
        ring = receiver(port)
        post_fresh(ring, 4)
        port.tx(frame(1500, 1), frame(60, 2))
        while port.answer():
            port.rx()
        assert [data for _, data in ring.received()] == [frame(1500, 1), frame(60, 2)]
    finally:
        port.close()
