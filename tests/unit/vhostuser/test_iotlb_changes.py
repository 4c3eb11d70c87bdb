"""The cache of a vIOMMU as it changes: invalidations, updates, its bounds, and questions that nobody answers."""

import pytest
from fakes.iommu_port import PAGE, READ, IommuPort
from fakes.mock_guest import Guest, Region, Ring
from iommu_rings import send_on_fresh_page, sender
from vhostuser_frames import frame

from vswitchd.datapath.dp import lib

TOP = 1 << 64


@pytest.fixture
def port():
    made = IommuPort(Guest())
    yield made
    made.close()


class TestInvalidation:
    def test_it_is_forgotten_and_asked_for_anew(self, port):
        ring = sender(port)
        page = send_on_fresh_page(ring, frame(100))
        port.map(page)
        assert port.rx() == [frame(100)]
        port.unmap(page)
        ring.chain([(page, 112)])
        assert port.rx() == []
        assert port.misses() == [(page, READ)]

    def test_it_cuts_larger_entries(self, port):
        """Two megabytes lose one page in their middle: the rest is still there."""
        ring = sender(port)
        big = port.guest.alloc(1 << 20, PAGE)
        port.map(big, 1 << 20)
        hole = big + 100 * PAGE
        port.unmap(hole)
        for at in (hole - PAGE, hole, hole + PAGE):
            port.guest.write(at, bytes(12) + frame(60))
            ring.chain([(at, 72)])
        assert len(port.rx()) == 1
        assert port.misses() == [(hole, READ)]
        port.map(hole)
        assert len(port.rx()) == 2
        assert port.stats()["invalidations"] == 1

    def test_a_question_that_it_covers_may_be_asked_again(self, port):
        ring = sender(port)
        page = send_on_fresh_page(ring, frame(100))
        port.rx()
        assert port.misses() == [(page, READ)]
        port.unmap(page)
        port.rx()
        assert port.misses() == [(page, READ)]

    @pytest.mark.parametrize(
        ("iova", "size", "gone"),
        [
            (0, TOP - 1, True),
            (0, 0xFEE00000, True),  # what QEMU sends: all but the window of interrupts
            (0xFEF00000, 0xFFFFFFFF01100000, False),  # up to 2^64, whose sum is 0
            (0xFEF00000, 0xFFFFFFFFFFFFFFFF, False),  # cut at 2^64
            (0, 0, False),
            (TOP - 1, 1, False),
        ],
    )
    def test_ranges_up_to_the_end_of_the_world(self, port, iova, size, gone):
        port.map(0x10000)
        port.unmap(iova, size)
        assert port.stats()["entries"] == (0 if gone else 1)

    def test_clear_forgets_questions_too(self, port):
        ring = sender(port)
        page = send_on_fresh_page(ring, frame(100))
        port.rx()
        port.misses()
        lib.vs_vhost_iotlb_clear(port.handle)
        assert (port.stats()["entries"], port.stats()["pending"]) == (0, 0)
        port.rx()
        assert port.misses() == [(page, READ)]


class TestUpdates:
    def test_a_later_one_replaces_an_earlier_one(self, port):
        ring = sender(port)
        iova, old, new = 0x40_0000_0000, *(port.guest.alloc(PAGE, PAGE) for _ in range(2))
        for at, seed in ((old, 1), (new, 2)):
            port.guest.write(at, bytes(12) + frame(60, seed))
        for target, seed in ((old, 1), (new, 2)):
            assert port.update(iova, PAGE, port.guest.uva(target)) == 0
            ring.chain([(iova, 72)])
            assert port.rx() == [frame(60, seed)]
        assert port.misses() == []

    def test_the_same_again_changes_nothing(self, port):
        port.map(0x10000)
        entries = port.stats()["entries"]
        port.map(0x10000)
        assert port.stats()["entries"] == entries
        assert port.stats()["updates"] == 2

    def test_an_update_over_regions_is_split(self):
        """Regions that are neighbours to the front-end are different mappings of ours."""
        regions = [Region(0, 0x7F0000000000, 1 << 20), Region(1 << 20, 0x7F0000100000, 1 << 20)]
        port = IommuPort(Guest(regions))
        try:
            ring = sender(port)
            edge = 1 << 20
            iova = 0x50_0000_0000
            assert port.update(iova, 8 * PAGE, 0x7F0000100000 - 4 * PAGE) == 0
            data = frame(3000)
            whole = bytes(12) + data
            port.guest.write(edge - 1000, whole[:1000])
            port.guest.write(edge, whole[1000:])
            ring.chain([(iova + 4 * PAGE - 1000, len(whole))])
            assert port.rx() == [data]
        finally:
            port.close()

    @pytest.mark.parametrize(
        ("range_", "perm", "error"),
        [
            ((0, 0, 0), 3, 22),
            ((TOP - PAGE, 2 * PAGE, 0), 3, 22),
            ((0, PAGE, TOP - 0x7F0000000000 - 1), 3, 22),
            ((0, TOP - 1, 0), 3, 22),
            ((0, PAGE, 0), 0, 22),
            ((0, PAGE, 0), 4, 22),
            ((0, PAGE, 8 << 20), 3, 14),
            ((0, 2 * PAGE, (8 << 20) - PAGE), 3, 14),
            ((0, PAGE, -1), 3, 14),
        ],
    )
    def test_nonsense_changes_nothing(self, port, range_, perm, error):
        iova, size, offset = range_
        assert port.update(iova, size, 0x7F0000000000 + offset, perm) == -error
        assert (port.stats()["entries"], port.stats()["updates"]) == (0, 0)

    def test_the_last_page_of_the_world(self, port):
        ring = sender(port)
        at = port.guest.alloc(PAGE, PAGE)
        port.guest.write(at + 1000, bytes(12) + frame(100))
        assert port.update(TOP - PAGE, PAGE, port.guest.uva(at)) == 0
        ring.chain([(TOP - PAGE + 1000, 112)])
        assert port.rx() == [frame(100)]


class TestBounds:
    def test_the_snapshot_is_bounded_and_the_newest_stay(self, port):
        at = port.guest.uva(0)
        for i in range(2100):
            assert port.update((1 << 40) + 2 * i * PAGE, PAGE, at) == 0
        stats = port.stats()
        assert (stats["entries"], stats["evictions"]) == (2048, 52)
        ring = sender(port)
        ring.chain([((1 << 40) + 2 * 2099 * PAGE, 112)])
        assert len(port.rx()) == 1, "the newest translation is gone"

    def test_what_was_evicted_is_asked_for_again(self, port):
        ring = sender(port)
        for i in range(2100):
            port.update((1 << 40) + 2 * i * PAGE, PAGE, port.guest.uva(0))
        ring.chain([(1 << 40, 112)])
        assert port.rx() == []
        assert port.misses() == [(1 << 40, READ)]

    def test_what_was_evicted_is_invalidated_all_the_same(self, port):
        """A ring may remember what the snapshot had to let go of."""
        ring = sender(port)
        page = send_on_fresh_page(ring, frame(60))
        port.map(page)
        assert len(port.rx()) == 1
        for i in range(2100):
            port.update((1 << 40) + 2 * i * PAGE, PAGE, port.guest.uva(0))
        port.unmap(page)
        ring.chain([(page, 72)])
        assert port.rx() == []

    def test_the_list_of_misses_is_bounded_and_room_is_used(self, port):
        """A guest that names pages which do not exist: the front-end is not asked more, and other rings go on in time."""
        rings = []
        for q in range(10):
            ring = Ring(port.guest, 32)
            port.start_known(2 * q + 1, ring)
            rings.append(ring)
        pages = [
            send_on_fresh_page(ring, frame(60, q)) for q in range(10) for ring in rings for _ in range(3)
        ]
        assert len(pages) == 300
        for q in range(10):
            port.rx(q)
        assert port.stats()["pending"] == 256
        first = port.misses()
        assert len(first) == 256
        got = 0
        for _ in range(20):
            for page, _ in port.asked:
                port.map(page)
            for q in range(10):
                got += len(port.rx(q))
            port.misses()
        assert got == 300

    def test_collecting_in_parts(self, port):
        ring = sender(port)
        for i in range(10):
            send_on_fresh_page(ring, frame(60, i))
        port.rx()
        assert port.rung()
        parts = [port.misses(4), port.misses(4)]
        assert port.rung(), "the rest is not announced"
        parts.append(port.misses(4))
        assert [len(part) for part in parts] == [4, 4, 2]
        assert not port.rung()


class TestUnanswered:
    def test_a_lost_answer_is_asked_for_again(self, port):
        ring = sender(port)
        page = send_on_fresh_page(ring, frame(60))
        port.rx()
        assert port.misses() == [(page, READ)]
        assert lib.vs_vhost_iotlb_retry(port.handle) == 0, "it was told a moment ago"
        assert port.misses() == []
        assert lib.vs_vhost_iotlb_retry(port.handle) == 1
        assert port.rung()
        assert port.misses() == [(page, READ)]

    def test_in_the_end_it_is_forgotten_until_the_ring_looks_again(self, port):
        ring = sender(port)
        page = send_on_fresh_page(ring, frame(60))
        port.rx()
        for _ in range(40):
            port.misses()
            lib.vs_vhost_iotlb_retry(port.handle)
            if port.stats()["pending"] == 0:
                break
        assert port.stats()["pending"] == 0
        assert len(port.asked) == 8
        port.rx()
        assert port.misses() == [(page, READ)]
        port.map(page)
        assert port.rx() == [frame(60)]
