"""A guest behind a vIOMMU: what is asked for, when, how often, and what is done with the answers."""

import pytest
from fakes.iommu_port import AGAIN, BOTH, PAGE, READ, WRITE, IommuPort, start_error
from fakes.mock_guest import MODERN, Guest, Region, Ring
from iommu_rings import page_of, send_on_fresh_page, sender
from vhostuser_frames import frame

from vswitchd.datapath.dp import lib

TOP = 1 << 64
HUGE = 2 << 20


@pytest.fixture
def port():
    made = IommuPort(Guest())
    yield made
    made.close()


def test_a_ring_asks_for_its_own_pages(port):
    """Addresses of rings are IOVAs: a ring that is not known asks for its pages, and starts when they are there."""
    ring = Ring(port.guest, 256)
    assert start_error(port, 1, ring) == AGAIN
    wanted = {page_of(a) for a in range(ring.desc, ring.used + 6 + 8 * 256, 8)}
    (first, _), *others = port.misses()
    assert others == [], "the answer might have held them all"
    assert start_error(port, 1, ring) == AGAIN
    assert port.misses() == [], "asked twice"
    port.map(first)
    assert port.rung()
    assert {page for page, _ in port.misses()} == wanted - {first}
    for page in wanted - {first}:
        port.map(page)
    port.start_translated(1, ring)
    assert port.info(1).size == 256


def test_a_guest_with_huge_pages_is_asked_once_for_each():
    """Not for each of the 512 pages in it: the first answer holds them all."""
    port = IommuPort(Guest([Region(0, 0x7F0000000000, 8 << 20)]))
    ring = Ring(port.guest, 256)
    assert start_error(port, 1, ring) == AGAIN
    assert len(port.misses()) == 1
    port.map(0, HUGE)
    port.start_translated(1, ring)
    port.guest.alloc(1, HUGE)
    pages = [send_on_fresh_page(ring, frame(60, i)) for i in range(20)]
    assert pages[0] >= HUGE
    assert port.rx() == []
    assert port.misses() == [(pages[0], READ)]
    assert port.rx() == []
    port.map(HUGE, HUGE)
    assert port.rx() == [frame(60, i) for i in range(20)]
    assert port.misses() == []
    port.close()


def test_what_was_held_back_is_asked_when_nobody_answers(port):
    """A question that is given up makes room for the next about the same huge page."""
    ring = Ring(port.guest, 256)
    assert start_error(port, 1, ring) == AGAIN
    asked = set()
    for _ in range(100):
        asked |= {page for page, _ in port.misses()}
        lib.vs_vhost_iotlb_retry(port.handle)
    assert len(asked) > 1


def test_used_ring_needs_write_permission(port):
    ring = Ring(port.guest, 256)
    ring.used = port.guest.alloc(6 + 8 * 256, PAGE)  # on pages of its own
    for at, n, perm in ((ring.desc, 4096, READ), (ring.avail, 518, READ), (ring.used, 2054, READ)):
        port.map(page_of(at), at + n - page_of(at), perm)
    assert start_error(port, 1, ring) == AGAIN
    assert port.misses() == [(ring.used, WRITE)]


def test_receive_waits_for_its_page_and_goes_on(port):
    ring = sender(port)
    page = send_on_fresh_page(ring, frame(100))
    assert port.rx() == []
    assert ring.take() == [], "a chain that waits was given back"
    assert port.misses() == [(page, READ)]
    port.map(page, perm=READ)
    assert port.rx() == [frame(100)]
    assert ring.take() == [(0, 0)]
    assert port.drops() == {}
    assert port.counters.rx_packets == 1


def test_a_page_is_asked_for_once_however_often_the_ring_is_polled(port):
    ring = sender(port)
    page = send_on_fresh_page(ring, frame(100))
    for _ in range(50):
        assert port.rx() == []
    assert port.stats()["misses"] == 1, "polling a ring that waits searched again"
    assert port.misses() == [(page, READ)]
    for _ in range(50):
        assert port.rx() == []
    assert not port.rung()
    assert port.misses() == []


def test_all_pages_of_a_window_are_asked_for_at_once(port):
    ring = sender(port)
    pages = [send_on_fresh_page(ring, frame(60, i)) for i in range(20)]
    assert port.rx() == []
    assert port.misses() == [(page, READ) for page in pages]
    for page in reversed(pages[1:]):
        port.map(page)
        assert port.rx() == [], "order of chains was not kept"
    port.map(pages[0])
    assert port.rx() == [frame(60, i) for i in range(20)]


def test_chains_before_the_missing_one_are_received(port):
    ring = sender(port)
    pages = [send_on_fresh_page(ring, frame(60, i)) for i in range(5)]
    for page in (*pages[:3], pages[4]):
        port.map(page)
    assert port.rx() == [frame(60, i) for i in range(3)]
    assert port.rx() == []
    assert port.answer() == 1
    assert port.rx() == [frame(60, 3), frame(60, 4)]


def test_a_buffer_over_pages_is_asked_for_as_a_whole(port):
    ring = sender(port)
    at = port.guest.alloc(5 * PAGE, PAGE) + 3000
    data = frame(12000)
    port.guest.write(at, bytes(12) + data)
    ring.chain([(at, 12 + len(data))])
    assert port.rx() == []
    assert port.misses() == [(page_of(at) + i * PAGE, READ) for i in range(4)]
    for i in (0, 1, 3):
        port.map(page_of(at) + i * PAGE)
        assert port.rx() == []
    port.map(page_of(at) + 2 * PAGE)
    assert port.rx() == [data]


def test_pages_that_lie_elsewhere_are_pieces(port):
    """Neighbours of the guest's are not neighbours of ours."""
    ring = sender(port)
    iova = 0x40_0000_0000 - PAGE
    frames = [port.guest.alloc(PAGE, PAGE) for _ in range(4)][::-1]
    data = frame(4 * PAGE - 12 - 8)
    whole = bytes(12) + data
    for i, at in enumerate(frames):
        port.guest.write(at, whole[i * PAGE : (i + 1) * PAGE])
        assert port.update(iova + i * PAGE, PAGE, port.guest.uva(at)) == 0
    for _ in range(3):
        ring.chain([(iova, len(whole))])
    assert port.rx() == [data] * 3
    assert port.misses() == []


@pytest.mark.parametrize("indirect", [False, True])
def test_chains_of_many_pages(port, indirect):
    ring = sender(port)
    pages = [port.guest.alloc(PAGE, PAGE) for _ in range(6)]
    data = frame(6 * 300)
    for i, page in enumerate(pages):
        port.guest.write(page, (bytes(12) + data)[i * 302 : (i + 1) * 302])
    ring.chain([(page, 302) for page in pages], indirect=indirect)
    for _ in range(20):
        if got := port.rx():
            break
        assert port.answer() > 0, "the ring waits for nothing"
    assert got == [data]
    assert len({p for p, _ in port.asked}) == len(port.asked), "asked twice"


def test_an_indirect_table_on_two_pages(port):
    ring = sender(port)
    table = port.guest.alloc(2 * PAGE, PAGE) + PAGE - 24  # the second entry lies on both
    port.guest.alloc(16)
    bufs = [port.guest.alloc(64) for _ in range(3)]
    for i, at in enumerate(bufs):
        ring.set_desc(i, at, 40, 1 if i < 2 else 0, i + 1, table=table)
        port.guest.write(at, frame(40, i))
    ring.set_desc(0, table, 48, 4)
    ring.offer(0)
    for _ in range(10):
        if got := port.rx():
            break
        port.answer()
    assert got == [(frame(40, 0) + frame(40, 1) + frame(40, 2))[12:]]


class TestPermissions:
    def test_a_read_only_page_is_not_written(self, port):
        """Receive buffers need W; an answer that grants R alone does not unlock them, nor is the front-end asked in a circle."""
        ring = Ring(port.guest, 16)
        port.start_known(0, ring)
        at = port.guest.alloc(PAGE, PAGE)
        ring.chain([(at, 2048)], 2)
        port.tx(frame(100))
        assert port.misses() == [(at, WRITE)]
        for _ in range(5):
            port.map(at, perm=READ)
            port.tx(frame(100))
            assert port.misses() == []
        assert port.guest.read(at, 2048) == bytes(2048)
        assert port.counters.tx_packets == 0
        port.map(at, perm=WRITE)
        port.tx()
        port.rx()
        assert [data for _, data in ring.received()] == [frame(100)]

    def test_a_write_only_page_is_not_read(self, port):
        ring = sender(port)
        page = send_on_fresh_page(ring, frame(100))
        port.map(page, perm=WRITE)
        assert port.rx() == []
        assert port.misses() == [(page, READ)]

    def test_a_page_wanted_for_both_is_asked_for_again(self, port):
        """What was asked for reading is now needed for writing, too."""
        ring = sender(port)
        other = Ring(port.guest, 16)
        port.start_known(0, other)
        page = send_on_fresh_page(ring, frame(100))
        other.chain([(page, 2048)], 2)
        port.rx()
        assert port.misses() == [(page, READ)]
        port.tx(frame(60))
        assert port.misses() == [(page, BOTH)]


def test_hits_and_misses_are_counted(port):
    ring = sender(port)
    page = send_on_fresh_page(ring, frame(60))
    port.rx()
    port.answer()
    port.rx()
    before = port.stats()
    assert before["misses"] == 1
    assert before["asked"] == 1
    for _ in range(10):
        ring.chain([(page, 72)])
        assert len(port.rx()) == 1
    assert port.stats()["hits"] == before["hits"], "what the ring remembers is not searched for"


def test_without_the_feature_addresses_are_physical(port):
    """ACCESS_PLATFORM decides, not the presence of an IOTLB."""
    ring = Ring(port.guest, 16)
    port.features = MODERN
    port.start(1, ring)
    ring.chain([((1 << 45) + 0x100000, 72)])
    assert len(port.rx()) == 1
