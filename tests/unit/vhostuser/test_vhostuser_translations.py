"""The session under ACCESS_PLATFORM, without a datapath: rings whose pages come and go."""

import struct

import pytest
from fakes import front_end as fe
from fakes.fake_device import PAGE
from vhostuser_peer import BASE, IOMMU, PLAIN, RING, SIZE

from vswitchd.ports.vhostuser.memory import Span
from vswitchd.ports.vhostuser.messages import Request


def test_rings_wait_for_their_pages_and_ask_once(peer):
    peer.start(IOMMU, base=0)
    peer.channel()
    assert (peer.session.running, peer.session.waiting) == (set(), {0, 1})
    assert peer.session.unanswered
    peer.session.ask_again()
    asked = [RING[index] + page * PAGE for index in (0, 1) for page in range(3)]
    assert sorted(peer.misses()) == asked
    peer.update_ring(1)
    assert (peer.session.running, peer.session.waiting) == ({1}, {0})
    peer.update_ring(0)
    assert peer.session.running == {0, 1}
    assert peer.misses() == []
    assert not peer.session.unanswered


def test_an_invalidation_stops_the_rings_it_concerns_before_it_is_acknowledged(peer):
    peer.start(IOMMU, base=0)
    peer.channel()
    for index in (0, 1):
        peer.update_ring(index)
    peer.misses()
    peer.device.calls.clear()
    peer.device.bases = {1: 5}
    answer = peer.ask(Request.IOTLB_MSG, fe.iotlb(fe.INVALIDATE, RING[1] + PAGE, PAGE))
    assert answer == fe.u64(0)
    assert peer.device.names() == ["stop", "invalidate", "start waits"]
    assert peer.device.log("stop") == [[1]]
    assert (peer.session.running, peer.session.waiting) == ({0}, {1})
    assert peer.misses() == [RING[1] + PAGE]
    peer.update(RING[1] + PAGE)
    assert peer.session.running == {0, 1}
    assert peer.device.log("start")[-1][2].base == 5


def test_an_invalidation_elsewhere_stops_nothing(peer):
    peer.start(IOMMU, base=0)
    for index in (0, 1):
        peer.update_ring(index)
    peer.device.calls.clear()
    for start, size in (
        (RING[0] + 16 * 64, PAGE - 16 * 64),
        (0, PAGE),
        (RING[1] + 3 * PAGE, 2**64 - RING[1] - 3 * PAGE),
    ):
        assert peer.ask(Request.IOTLB_MSG, fe.iotlb(fe.INVALIDATE, start, size)) == fe.u64(0)
    assert peer.device.names() == ["invalidate"] * 3


@pytest.mark.parametrize(
    ("iova", "size", "span"),
    [
        (
            0xFEE00000,
            0xFFFFFFFF01100000,
            Span(0xFEE00000, 0xFFFFFFFFFFEFFFFF),
        ),  # QEMU, around the interrupt range
        (0, 0xFEE00000, Span(0, 0xFEDFFFFF)),
        (0, 0, Span(0, 2**64 - 1)),  # 2^64 bytes
        (4096, 2**64 - 4096, Span(4096, 2**64 - 1)),
        (4096, 2**64 - 1, Span(4096, 2**64 - 1)),
        (2**64 - 1, 1, Span(2**64 - 1, 2**64 - 1)),
        (2**64 - 1, 2**64 - 1, Span(2**64 - 1, 2**64 - 1)),
    ],
)
def test_invalidations_of_any_size(peer, iova, size, span):
    peer.start(IOMMU, base=0)
    assert peer.ask(Request.IOTLB_MSG, fe.iotlb(fe.INVALIDATE, iova, size)) == fe.u64(0)
    assert peer.device.log("invalidate") == [span]


def test_translations_of_the_last_page(peer):
    peer.start(IOMMU, base=0)
    message = fe.iotlb(fe.UPDATE, 2**64 - PAGE, PAGE, BASE, 3)
    assert peer.ask(Request.IOTLB_MSG, message) == fe.u64(0)
    assert peer.device.log("insert")[0].span == Span(2**64 - PAGE, 2**64 - 1)


def test_an_update_that_is_refused_leaves_rings_running(peer):
    peer.start(IOMMU, base=0)
    for index in (0, 1):
        peer.update_ring(index)
    peer.device.refuse_insert = True
    assert peer.update(RING[0]) == fe.u64(1)
    assert peer.session.running == {0, 1}


def test_an_update_under_a_running_ring_restarts_it(peer):
    """The guest may have moved the page without withdrawing it first."""
    peer.start(IOMMU, base=0)
    for index in (0, 1):
        peer.update_ring(index)
    peer.device.calls.clear()
    peer.update(RING[1])
    assert peer.device.names() == ["stop", "insert", "start"]


def test_a_memory_table_takes_the_translations_with_it(peer):
    peer.start(IOMMU, base=0)
    for index in (0, 1):
        peer.update_ring(index)
    peer.device.calls.clear()
    peer.tell(Request.SET_MEM_TABLE, struct.pack("=IIQQQQ", 1, 0, 0, SIZE, BASE, 0), [peer.memory])
    names = peer.device.names()
    assert names.index("stop") < names.index("flush") < names.index("start waits") < names.index("unmap")
    assert peer.session.waiting == {0, 1}


@pytest.mark.parametrize("how", ["stop", "reset", "status", "features"])
def test_translations_end_with_the_rings(peer, how):
    """QEMU does not withdraw them once it has stopped the rings."""
    peer.start(IOMMU, base=0)
    for index in (0, 1):
        peer.update_ring(index)
    if how == "stop":
        peer.ask(Request.GET_VRING_BASE, fe.state(0, 0))
    elif how == "features":
        peer.tell(Request.SET_FEATURES, fe.u64(PLAIN))
    else:
        peer.tell(
            Request.RESET_DEVICE if how == "reset" else Request.SET_STATUS,
            b"" if how == "reset" else fe.u64(0),
        )
    assert peer.device.known == set()


def test_translations_before_features_or_memory_are_refused(peer):
    assert peer.ask(Request.IOTLB_MSG, fe.iotlb(fe.INVALIDATE, 0, PAGE)) == fe.u64(1)
    peer.tell(Request.SET_FEATURES, fe.u64(IOMMU))
    assert peer.ask(Request.IOTLB_MSG, fe.iotlb(fe.UPDATE, 0, PAGE, BASE, 3)) == fe.u64(1)
    assert peer.ask(Request.IOTLB_MSG, fe.iotlb(fe.INVALIDATE, 0, PAGE)) == fe.u64(0)


def test_waiting_rings_ask_again_while_nothing_comes(peer):
    peer.start(IOMMU, base=0, rings=(1,))
    peer.channel()
    peer.session.ask_again()
    assert len(peer.misses(result=1)) == 3
    assert peer.misses() == []
    peer.session.ask_again()
    assert len(peer.misses()) == 3
