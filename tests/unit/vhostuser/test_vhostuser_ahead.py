"""Chains that are looked at before it is their turn, and runs of them given back by one element (vring_ahead.h)."""

import struct

import pytest
from fakes.mock_guest import IN_ORDER, INDIRECT_DESC, MODERN, MRG_RXBUF, VERSION_1, Guest, Region, Ring, bits
from fakes.packed_ring import PackedRing
from vhostuser_frames import frame

ORDERED = bits(VERSION_1, MRG_RXBUF, IN_ORDER)
UNTOUCHED = b"\xee" * 8
NOWHERE = 1 << 40


@pytest.fixture(params=[Ring, PackedRing], ids=["split", "packed"])
def layout(request):
    """The class of the rings."""
    return request.param


def position(ring, n):
    """Where a ring stands after n chains of one descriptor, as GET_VRING_BASE tells."""
    slot = ring.after(0x8000, n) if isinstance(ring, PackedRing) else n
    return slot | slot << 16 if isinstance(ring, PackedRing) else slot


def test_what_is_looked_at_is_not_taken(loose, layout):
    port = loose()
    ring = layout(port.guest, 64)
    port.start(1, ring)
    sent = [frame(60, n) for n in range(40)]
    for data in sent:
        ring.send(data)
    assert port.rx() == sent[:32]
    assert port.stop(1) == position(ring, 32)
    port.start(1, ring, base=position(ring, 32) & 0xFFFF)
    assert port.rx() == sent[32:]
    assert len(ring.take()) == 40


def test_buffers_that_are_looked_at_are_not_taken(loose, layout):
    port = loose()
    ring = layout(port.guest, 64)
    port.start(0, ring)
    for _ in range(40):
        ring.post(200)
    port.tx(*(frame(60, n) for n in range(5)))
    assert port.stop(0) == position(ring, 5)
    port.start(0, ring, base=position(ring, 5) & 0xFFFF)
    port.tx(*(frame(60, n) for n in range(5, 37)))
    assert [data for _, data in ring.received()] == [frame(60, n) for n in range(37)]


def test_a_descriptor_is_read_once(loose, layout):
    """A guest that changes it after it was looked at changes nothing: the copy was checked, the copy is used."""
    port = loose()
    ring = layout(port.guest, 64)
    port.start(1, ring)
    sent = [frame(60, n) for n in range(34)]
    for data in sent:
        ring.send(data)
    assert port.rx() == sent[:32]
    for i in (32, 33):
        port.guest.write(ring.desc + 16 * i, struct.pack("<Q", NOWHERE))
    assert port.rx() == sent[32:]
    assert port.refused(1) == {}


def test_usual_and_other_chains_in_turns(loose, layout):
    """None overtakes another, and a batch does not end where their kind changes."""
    port = loose(MODERN | bits(INDIRECT_DESC))
    ring, back = layout(port.guest, 128), layout(port.guest, 128)
    port.start(1, ring)
    port.start(0, back)
    for turn in range(8):
        sent = [frame(60 + n, turn) for n in range(20)]
        for n, data in enumerate(sent):
            ring.send(data, cuts=(12,) if n % 5 == turn else (), indirect=n % 7 == turn)
            back.post(*((12, 300) if n % 6 == turn else (300,)))
        assert port.rx() == sent
        port.tx(*sent)
        assert [data for _, data in back.received()] == sent
        assert len(ring.take()) == 20
    assert port.drops() == {}


def test_a_packet_that_does_not_fit_is_skipped_alone(loose, layout):
    port = loose(bits(VERSION_1))
    ring = layout(port.guest, 32, bits(VERSION_1))
    port.start(0, ring)
    for _ in range(8):
        ring.post(112)
    port.tx(frame(60), frame(100), frame(101), frame(14))
    assert [data for _, data in ring.received()] == [frame(60), frame(100), frame(14)]
    assert port.drops() == {"tx_mtu_exceeded": 1}


def test_buffers_in_many_regions(loose, layout):
    """Neighbours lie in different regions, near their ends, and over them."""
    size = 1 << 17
    regions = [Region((i << 20), 0x7F0000000000 + (i << 20), size) for i in range(3)]
    regions.append(Region((2 << 20) + size, 0x7E0000000000, size))  # behind the third one, elsewhere for us
    port = loose(guest=Guest(regions))
    ring = layout(port.guest, 64)
    port.start(1, ring)
    places = [(i % 3 << 20) + size - 72 * (2 + i // 3) for i in range(24)]
    sent = [frame(60, i) for i in range(len(places))]
    for at, data in zip(places, sent, strict=True):
        port.guest.write(at, bytes(12) + data)
        ring.chain([(at, 72)])
    over = (2 << 20) + size - 32
    port.guest.write(over, (bytes(12) + frame(60, 99))[:32])
    port.guest.write(over + 32, (bytes(12) + frame(60, 99))[32:])
    ring.chain([(over, 72)])
    ring.chain([((1 << 20) + size - 40, 72)])  # half of it nowhere
    assert port.rx() == [*sent, frame(60, 99)]
    assert port.refused(1) == {"address": 1}
    assert len(ring.take()) == 26


def test_a_run_of_sent_frames_is_given_back_by_its_last(loose):
    """Section 2.7.9.1, for drivers that negotiated IN_ORDER."""
    port = loose(ORDERED)
    ring = Ring(port.guest, 64, ORDERED)
    port.start(1, ring)
    for start in range(0, 200, 20):
        port.guest.write(ring.used + 4, UNTOUCHED * 64)
        for n in range(20):
            ring.free = [(start + n) % 64]  # in the order of the table, as the driver promised
            ring.send(frame(60, n))
        assert len(port.rx()) == 20
        assert ring.used_idx() == start + 20
        used = port.guest.read(ring.used + 4, 8 * 64)
        elements = [used[i : i + 8] for i in range(0, len(used), 8)]
        assert elements.pop(start % 64) == struct.pack("<II", (start + 19) % 64, 0)
        assert set(elements) == {UNTOUCHED}


def test_buffers_that_were_filled_are_given_back_one_by_one(loose):
    """Their lengths differ."""
    port = loose(ORDERED)
    ring = Ring(port.guest, 64, ORDERED)
    port.start(0, ring)
    for _ in range(20):
        ring.post(200)
    port.tx(*(frame(60 + n) for n in range(20)))
    assert ring.take() == [(n, 72 + n) for n in range(20)]


@pytest.mark.parametrize("number", [0, 1])
def test_an_index_that_goes_back_behind_what_was_looked_at_breaks_the_ring(loose, number):
    port = loose()
    ring = Ring(port.guest, 64)
    port.start(number, ring)
    frames = [frame(60, n) for n in range(60)]
    for data in frames:
        _ = ring.send(data) if number else ring.post(200)
    for turn in range(5):
        _ = port.rx() if number else port.tx(*frames[:32])
        if turn == 0:
            ring.publish(50)
    assert ring.used_idx() <= 60
    assert port.refused(number) == {"avail_index": 1}
