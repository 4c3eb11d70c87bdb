"""Frames through split and packed rings: both directions, every layout that drivers use, drops and offloads."""

import struct

import pytest
from fakes.mock_guest import INDIRECT_DESC, MODERN, MRG_RXBUF, VERSION_1, Guest, Region, Ring, bits
from fakes.packed_ring import PackedRing
from vhostuser_frames import frame, tso

LEGACY = bits(INDIRECT_DESC)
PLAIN = bits(VERSION_1, INDIRECT_DESC)


@pytest.fixture(params=[Ring, PackedRing], ids=["split", "packed"])
def layout(request):
    """The class of the rings."""
    return request.param


def kinds(*features):
    """Layouts and features that go together: packed rings need VERSION_1."""
    found = [(Ring, word) for word in features]
    found += [(PackedRing, word) for word in features if word >> VERSION_1 & 1]
    return pytest.mark.parametrize(("layout", "features"), found)


@kinds(MODERN, PLAIN, LEGACY, bits(MRG_RXBUF, INDIRECT_DESC))
@pytest.mark.parametrize("indirect", [False, True])
@pytest.mark.parametrize(
    "cuts", [(), (10,), (12,), (5,), (12, 40), (3, 7, 20, 26, 60), (12, 203, 204, 205), (11, 205)]
)
def test_guest_sends_any_layout(loose, layout, features, indirect, cuts):
    port = loose(features)
    ring = layout(port.guest, 64, features)
    port.start(1, ring)
    sent = [frame(n, n) for n in (60, 64, 300, 1514)]
    for data in sent:
        ring.send(data, cuts=tuple(c for c in cuts if c < len(data)), indirect=indirect)
    assert port.rx() == sent
    assert len(ring.take()) == 4
    assert port.counters.rx_packets == 4
    assert port.counters.rx_bytes == sum(map(len, sent))
    assert port.drops() == {}


@pytest.mark.parametrize("n", range(14, 80))
def test_every_short_length_both_ways(loose, layout, n):
    port = loose()
    out, back = layout(port.guest, 4), layout(port.guest, 4)
    port.start(1, out)
    port.start(0, back)
    out.send(frame(n))
    back.post(200)
    assert port.rx() == [frame(n)]
    port.tx(frame(n))
    assert [f for _, f in back.received()] == [frame(n)]


def test_many_batches_wrap_the_ring(loose, layout):
    port = loose()
    ring = layout(port.guest, 32)
    port.start(1, ring)
    for turn in range(2100):  # 67,200 chains: the 16-bit indices wrap, too
        port.guest._next = 0x10000
        expected = [frame(60, turn + i) for i in range(32)]
        for data in expected:
            ring.send(data)
        assert port.rx() == expected
        assert len(ring.take()) == 32
    assert port.info(1).stats.chains == 67200 > 1 << 16


@kinds(MODERN, PLAIN, LEGACY)
@pytest.mark.parametrize("sizes", [(2048,), (10, 2048), (12, 1600), (5, 5, 2, 1000, 1000)])
@pytest.mark.parametrize("indirect", [False, True])
def test_guest_receives_any_layout(loose, layout, features, sizes, indirect):
    port = loose(features)
    ring = layout(port.guest, 64, features)
    port.start(0, ring)
    sent = [frame(n, n) for n in (60, 192, 193, 1514)]
    for _ in sent:
        ring.post(*sizes, indirect=indirect)
    port.tx(*sent)
    got = ring.received()
    assert [f for _, f in got] == sent
    expected = bytes(10) if features == LEGACY else bytes(10) + (struct.pack("<H", 1))
    assert {h for h, _ in got} == {expected}
    assert port.counters.tx_packets == 4
    assert port.counters.tx_bytes == sum(map(len, sent))


@pytest.mark.parametrize("size", [64, 100, 1500, 4096])
def test_mergeable_frames_span_buffers(loose, layout, size):
    port = loose()
    ring = layout(port.guest, 1024)
    port.start(0, ring)
    for _ in range(600):
        ring.post(size)
    sent = [frame(n, n) for n in (60, 1514, 9000, 64)]
    port.tx(*sent)
    got = ring.received()
    assert [f for _, f in got] == sent
    assert [struct.unpack_from("<H", h, 10)[0] for h, _ in got] == [
        -(-(n + 12) // size) for n in (60, 1514, 9000, 64)
    ]


def test_without_mergeable_a_long_frame_is_dropped_alone(loose, layout):
    port = loose(PLAIN)
    ring = layout(port.guest, 16, PLAIN)
    port.start(0, ring)
    for _ in range(3):
        ring.post(512)
    port.tx(frame(100), frame(600), frame(200))
    assert [f for _, f in ring.received()] == [frame(100), frame(200)]
    assert port.drops() == {"tx_mtu_exceeded": 1}


def test_full_ring_drops_by_name_and_keeps_half_frames_back(loose, layout):
    port = loose()
    ring = layout(port.guest, 16)
    port.start(0, ring)
    for _ in range(3):
        ring.post(100)
    port.tx(
        frame(60), frame(400), frame(61)
    )  # the second needs five buffers: it and what follows wait, then drop
    assert [f for _, f in ring.received()] == [frame(60)]
    assert port.drops() == {"tx_ring_full": 2}
    assert port.info(0).stats.full == 2
    ring.post(1000)
    port.tx(frame(70))  # the two buffers that the long frame did not fit into come first
    assert [f for _, f in ring.received()] == [frame(70)]


def test_ledger_of_a_stopped_ring(loose, layout):
    port = loose()
    port.tx(frame(60), frame(60))
    assert port.rx() == []
    assert port.drops() == {"tx_not_ready": 2}


def test_runt_and_giant_are_named(loose, layout):
    port = loose()
    ring = layout(port.guest, 16)
    port.start(1, ring)
    ring.send(frame(13))
    ring.send(frame(14))
    ring.send(frame(65536 + 65))
    ring.send(b"")
    assert port.rx() == [frame(14)]
    assert port.drops() == {"rx_runt": 2, "rx_oversize": 1}
    assert port.counters.rx_packets == 4
    assert len(ring.take()) == 4


def test_longest_frame(loose, layout):
    port = loose()
    out, back = layout(port.guest, 16), layout(port.guest, 256)
    port.start(1, out)
    port.start(0, back)
    for _ in range(60):
        back.post(2048)
    out.send(frame(65536), cuts=tuple(range(4096, 65536, 4096)))
    assert port.rx() == [frame(65536)]
    port.tx(frame(65536))
    assert [f for _, f in back.received()] == [frame(65536)]


def test_partial_checksum_is_completed(loose, layout):
    port = loose()
    ring = layout(port.guest, 16)
    port.start(0, ring)
    ring.post(2048)
    ip = bytes.fromhex("450000200000400040110000") + bytes([10, 0, 0, 1, 10, 0, 0, 2])
    data = bytes(12) + b"\x08\x00" + ip + struct.pack(">HHHH", 1, 2, 12, 0) + b"abcd"
    port.tx(data, csum=1, csum_start=34, csum_offset=6)
    [(_, got)] = ring.received()
    assert len(got) == len(data)
    assert got[:40] == data[:40]
    total = sum(struct.unpack(">6H", got[34:46]))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    assert total == 0xFFFF


def test_long_tcp_is_segmented(loose, layout):
    port = loose()
    ring = layout(port.guest, 64)
    port.start(0, ring)
    for _ in range(30):
        ring.post(2048)
    data, offload = tso(20000)
    port.tx(data, **offload)
    got = [f for _, f in ring.received()]
    assert [len(f) for f in got] == [54 + 1448] * 13 + [54 + 20000 - 13 * 1448]
    assert b"".join(f[54:] for f in got) == frame(20000)
    assert [struct.unpack_from(">I", f, 38)[0] for f in got] == [1000 + 1448 * i for i in range(14)]
    assert port.counters.tx_packets == 1
    assert port.counters.tx_bytes == sum(map(len, got))


def test_segments_that_find_no_room_are_one_drop(loose, layout):
    port = loose()
    ring = layout(port.guest, 64)
    port.start(0, ring)
    data, offload = tso(20000)
    port.tx(data, **offload)
    assert port.drops() == {"tx_ring_full": 1}
    for _ in range(5):
        ring.post(2048)
    port.tx(data, **offload)
    assert port.drops() == {"tx_ring_full": 2}
    assert len(ring.received()) == 5  # the head of the train; TCP sends the rest again
    assert (port.counters.tx_packets, port.counters.tx_bytes) == (0, 0)


def test_offload_fields_that_contradict_the_frame(loose, layout):
    port = loose()
    ring = layout(port.guest, 64)
    port.start(0, ring)
    ring.post(2048)
    port.tx(frame(60), csum=1, csum_start=59, csum_offset=6)
    assert port.drops() == {"tx_offload_unsupported": 1}
    assert ring.take() == []


def test_buffers_cross_regions_that_touch(loose, layout):
    guest = Guest([Region(0, 0x10000, 0x10000), Region(0x10000, 0x900000, 0x10000, offset=0x3000)])
    port = loose(guest=guest)
    out, back = layout(guest, 16), layout(guest, 16)
    port.start(1, out)
    port.start(0, back)
    at = 0x10000 - 100
    guest.write(at, bytes(12) + frame(88))
    guest.write(0x10000, frame(300, 5))
    out.set_desc(0, at, 400)
    out.offer(0)
    assert port.rx() == [frame(88) + frame(300, 5)]
    back.set_desc(0, 0x10000 - 500, 1000, 2)
    back.offer(0)
    port.tx(frame(800))
    assert guest.read(0x10000 - 488, 488) + guest.read(0x10000, 312) == frame(800)


def test_max_frame(loose, layout):
    from vswitchd.datapath.dp import lib

    port = loose()
    ring = layout(port.guest, 16)
    port.start(0, ring)
    lib.vs_vhost_set_max_frame(port.handle, 1522)
    for _ in range(2):
        ring.post(4096)
    port.tx(frame(1523), frame(1522))
    assert [f for _, f in ring.received()] == [frame(1522)]
    assert port.drops() == {"tx_mtu_exceeded": 1}
