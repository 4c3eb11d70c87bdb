"""Hostile virtio-net headers: refused by name and alone, read once, bounded work; the next frame passes."""

import sys
import threading
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fakes.guest_pair import BASE, CSUM, HOST_TSO4, SENDS, GuestPair
from fakes.loose_port import LoosePort
from fakes.mock_guest import WRITE, Ring, bits
from fakes.offload_frames import (
    ECN,
    NEEDS_CSUM,
    TCPV4,
    TCPV6,
    UDP_L4,
    UFO,
    Wish,
    ones_sum,
    partial,
    segmentable,
    segments,
)
from fakes.packed_ring import PackedRing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, PadN
from scapy.layers.l2 import Ether
from scapy.packet import Raw

ETH = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
V4 = IP(src="10.1.2.3", dst="10.4.5.6")
TCP4 = ETH / V4 / TCP(sport=1, dport=2, flags="A") / Raw(b"x" * 5000)
UDP4 = ETH / V4 / UDP(sport=1, dport=2) / Raw(b"x" * 5000)
GOOD, TSO = segmentable(TCP4, 1000)
USO_GOOD, USO = segmentable(UDP4, 1000)
NEXT, NEXT_WISH = partial(ETH / V4 / UDP(sport=1, dport=2) / Raw(b"next"))
LONG_HEADER = (
    ETH
    / IPv6(src="fd00::1", dst="fd00::2")
    / IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(200))])
    / UDP(sport=1, dport=2)
    / Raw(b"x" * 400)
)


@pytest.fixture
def loose():
    made = []

    def make(features, guest):
        made.append(LoosePort(guest, features))
        return made[-1]

    yield make
    for port in made:
        port.close()


HOSTILE = {
    "start in the tail": (GOOD, Wish(NEEDS_CSUM, csum_start=1000, csum_offset=16)),
    "start past the frame": (GOOD, Wish(NEEDS_CSUM, csum_start=6000, csum_offset=16)),
    "start at the very end": (GOOD, Wish(NEEDS_CSUM, csum_start=len(GOOD), csum_offset=0)),
    "offset in the tail": (GOOD, Wish(NEEDS_CSUM, csum_start=34, csum_offset=1000)),
    "offset past the frame": (GOOD, Wish(NEEDS_CSUM, csum_start=34, csum_offset=65535)),
    "sum of both beyond 16 bits": (GOOD, Wish(NEEDS_CSUM, csum_start=65535, csum_offset=65535)),
    "start in the Ethernet header": (GOOD, Wish(NEEDS_CSUM, csum_start=0, csum_offset=50)),
    "start in the IP header": (GOOD, Wish(NEEDS_CSUM, csum_start=14, csum_offset=36)),
    "completing would forge the ports": (GOOD, Wish(NEEDS_CSUM, csum_start=34, csum_offset=2)),
    "completing would forge the TCP flags": (GOOD, Wish(NEEDS_CSUM, csum_start=34, csum_offset=12)),
    "a header that reaches into the tail": partial(LONG_HEADER),
    "segments of nothing": (GOOD, TSO.but(gso_size=0)),
    "segments of one byte": (GOOD, TSO.but(gso_size=1)),
    "segments of 47 bytes": (GOOD, TSO.but(gso_size=47)),
    "UDP datagrams of nothing": (USO_GOOD, USO.but(gso_size=0)),
    "129 UDP datagrams": (USO_GOOD, USO.but(gso_size=38)),
    "ECN alone": (GOOD, TSO.but(gso_type=ECN)),
    "ECN of UDP": (USO_GOOD, USO.but(gso_type=UDP_L4 | ECN)),
    "UDP fragmentation": (USO_GOOD, USO.but(gso_type=UFO)),
    "a type that is none": (GOOD, TSO.but(gso_type=2)),
    "every bit of the type": (GOOD, TSO.but(gso_type=255)),
    "segmentation without a checksum": (GOOD, TSO.but(flags=0)),
    "TCPv6 of an IPv4 packet": (GOOD, TSO.but(gso_type=TCPV6)),
    "UDP of a TCP packet": (GOOD, TSO.but(gso_type=UDP_L4, csum_offset=6)),
    "TCP of a UDP packet": (USO_GOOD, USO.but(gso_type=TCPV4, csum_offset=16)),
    "segmentation of 14 bytes": (GOOD[:14], TSO),
    "segmentation of a cut TCP header": (GOOD[:50], TSO),
    "segmentation of zeros": (bytes(5000), TSO),
    "a fragment": (GOOD[:20] + b"\x20\0" + GOOD[22:], TSO),
    "a total length that ends before TCP": (GOOD[:16] + b"\0\x14" + GOOD[18:], TSO),
    "a TCP header longer than the head": (GOOD[:46] + b"\xf0" + GOOD[47:80], TSO),
}


@pytest.mark.parametrize("layout", [Ring, PackedRing])
@pytest.mark.parametrize("takes", [SENDS, None], ids=["receiver without", "receiver with"])
@pytest.mark.parametrize("name", HOSTILE)
def test_refused_by_name_and_alone(loose, layout, takes, name):
    pair = GuestPair(loose, layout=layout, **({} if takes is None else {"takes": BASE}))
    pair.post(40, 4096)
    frame, wish = HOSTILE[name]
    pair.send(frame, wish)
    pair.send(NEXT, NEXT_WISH)
    pair.send(frame, wish, cuts=(12, 30) if len(frame) > 30 else ())
    [(_, data)] = pair.forward()
    assert data[:40] == NEXT[:40]
    assert pair.a.drops() == {"rx_bad_offload": 2}
    assert pair.b.drops() == {}
    assert pair.a.counters.rx_packets == 3


@pytest.mark.parametrize("layout", [Ring, PackedRing])
@pytest.mark.parametrize("indirect", [False, True])
def test_a_header_spread_over_descriptors_of_one_byte(loose, layout, indirect):
    pair = GuestPair(loose, layout=layout)
    pair.post(4, 6000)
    every = tuple(range(1, 30))
    assert pair.through(GOOD, TSO, cuts=every, indirect=indirect) == [(TSO.but(num_buffers=1), GOOD)]
    assert pair.through(NEXT, NEXT_WISH, cuts=every, indirect=indirect) == [
        (NEXT_WISH.but(num_buffers=1), NEXT)
    ]
    assert pair.through(GOOD, TSO.but(gso_size=1), cuts=every, indirect=indirect) == []
    assert pair.a.drops() == {"rx_bad_offload": 1}


def test_64_kb_of_tiny_segments_are_bounded_work(loose):
    """48 bytes is the least that Linux sends (TCP_MIN_SND_MSS): 1,366 frames, not 65,536; a full ring ends it before."""
    stack = ETH / V4 / TCP(sport=1, dport=2, flags="A") / Raw(bytes(65480))
    frame, wish = segmentable(stack, 48)
    pair = GuestPair(loose, takes=BASE)
    pair.post(200, 256)
    got = [f for _, f in pair.through(frame, wish)]
    assert got == segments(ETH / V4 / TCP(sport=1, dport=2, flags="A") / Raw(bytes(48 * 201)), 48)[:200]
    assert pair.b.drops() == {"tx_ring_full": 1}
    assert pair.through(frame, wish.but(gso_size=47)) == []
    assert pair.a.drops() == {"rx_bad_offload": 1}


@pytest.mark.parametrize("takes", [BASE, None])
def test_a_header_that_flips_while_it_is_read(loose, takes):
    """A thread writes two headers in turn, a good and a bad one. What comes out was one of both or refused; no mixture is obeyed."""
    pair = GuestPair(loose, **({} if takes is None else {"takes": takes}))
    at = pair.a.guest.alloc(12 + len(GOOD))
    room = pair.b.guest.alloc(2048 * pair.back.size)
    headers = [bytes(TSO), bytes(Wish(255, 255, 65535, 1, 65535, 65535, 65535))]
    pair.a.guest.write(at, headers[0] + GOOD)
    stop = threading.Event()

    def flip():
        while not stop.is_set():
            for header in headers:
                pair.a.guest.write(at, header)

    thread = threading.Thread(target=flip)
    thread.start()
    passed = refused = 0
    try:
        deadline = time.monotonic() + 20
        while (passed < 50 or refused < 50) and time.monotonic() < deadline:
            while len(pair.back.free) > 200:
                pair.back.chain([(room + 2048 * pair.back.free[0], 2048)], WRITE)
            pair.out.chain([(at, 12 + len(GOOD))])
            got = pair.forward()
            passed, refused = passed + bool(got), refused + (not got)
            for wish, data in got:
                assert len(data) in (len(GOOD), 1054)
                assert (wish.gso_type, wish.gso_size) in {(TCPV4, 1000), (0, 0)}
    finally:
        stop.set()
        thread.join()
    assert passed
    assert refused
    assert pair.a.drops() == {"rx_bad_offload": refused}


fields = st.builds(
    Wish,
    st.integers(0, 255),
    st.one_of(st.sampled_from([0, 1, 3, 4, 5, 0x81, 0x84]), st.integers(0, 255)),
    st.integers(0, 65535),
    st.one_of(st.sampled_from([0, 1, 47, 48, 1000]), st.integers(0, 65535)),
    st.one_of(st.sampled_from([0, 14, 34, 54]), st.integers(0, 65535)),
    st.one_of(st.sampled_from([0, 6, 16]), st.integers(0, 65535)),
    st.integers(0, 65535),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    fields,
    st.sampled_from([GOOD, USO_GOOD, bytes(LONG_HEADER), NEXT]),
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 255)), max_size=3),
    st.booleans(),
)
def test_any_header_over_any_frame(wish, frame, changes, finished):
    """Both ledgers close, and what the flow table looked at is not written by who completes the sum."""
    made = []

    def make(features, guest):
        made.append(LoosePort(guest, features))
        return made[-1]

    data = bytearray(frame)
    for at, value in changes:
        if at < len(data):
            data[at] = value
    pair = GuestPair(make, **({"takes": BASE} if finished else {}))
    try:
        pair.post(150, 2048)
        got = pair.through(bytes(data), wish)
        assert (len(got) == 0) == (pair.a.drops() == {"rx_bad_offload": 1})
        assert pair.b.drops() == {}
        for header, out in got:
            assert finished <= (header == Wish(num_buffers=header.num_buffers))
            assert out[:14] == data[:14]
            if len(got) == 1 and wish.gso_type == 0:
                changed = [i for i, (a, b) in enumerate(zip(out, data, strict=True)) if a != b]
                assert set(changed) <= {
                    wish.csum_start + wish.csum_offset,
                    wish.csum_start + wish.csum_offset + 1,
                }
                assert not changed or min(changed) >= 36
    finally:
        for port in made:
            port.close()


def test_sums_are_not_believed_without_the_feature(loose):
    """CSUM alone lets a guest ask for sums, not for segments."""
    pair = GuestPair(loose, BASE | bits(CSUM))
    pair.post(4, 6000)
    assert pair.through(GOOD, TSO) == []
    assert pair.through(NEXT, NEXT_WISH) == [(NEXT_WISH.but(num_buffers=1), NEXT)]
    pair = GuestPair(loose, BASE | bits(HOST_TSO4), BASE)
    pair.post(4, 6000)
    [(_, data)] = pair.through(GOOD, TSO)  # without CSUM a header is rubbish: the frame goes as it lies there
    assert data == GOOD
    assert ones_sum(data[14:34]) == 0xFFFF
