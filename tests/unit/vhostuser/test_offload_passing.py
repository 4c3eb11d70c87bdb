"""Offloads from guest to guest: passed on to who takes them, done in software for who does not, refused when not negotiated."""

import random

import pytest
from fakes.guest_pair import (
    BASE,
    CSUM,
    GUEST_CSUM,
    GUEST_ECN,
    GUEST_TSO4,
    GUEST_TSO6,
    GUEST_USO4,
    GUEST_USO6,
    HOST_ECN,
    HOST_TSO4,
    HOST_TSO6,
    HOST_USO,
    SENDS,
    TAKES,
    GuestPair,
)
from fakes.mock_guest import INDIRECT_DESC, MRG_RXBUF, Ring, bits
from fakes.offload_frames import DATA_VALID, NEEDS_CSUM, Wish, partial, segmentable, segments
from fakes.packed_ring import PackedRing
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether
from scapy.packet import Raw

from vswitchd.datapath.dp import lib

ETH = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
V4 = IP(src="10.1.2.3", dst="10.4.5.6", id=0xFFFE)
V6 = IPv6(src="fd00::1", dst="fd00::2")
TCP_BIG = TCP(sport=1, dport=2, seq=0xFFFFFF00, ack=5, flags="PAC", options=[("Timestamp", (7, 8))])
UDP_BIG = UDP(sport=1, dport=2)
DATA = random.Random(1).randbytes(65000)


def big(l3, l4, n=60000):
    return ETH / l3 / l4 / Raw(DATA[:n])


# name -> stack, size of a segment, what the sender and the receiver must have negotiated
KINDS = {
    "TCPv4": (big(V4, TCP_BIG), 1448, HOST_TSO4, (GUEST_TSO4,)),
    "TCPv4, VLAN": (ETH / Dot1Q(vlan=7) / V4 / TCP_BIG / Raw(DATA[:60000]), 1448, HOST_TSO4, (GUEST_TSO4,)),
    "TCPv4, options": (
        big(IP(src="10.1.2.3", dst="10.4.5.6", options=b"\x01" * 8), TCP_BIG),
        1448,
        HOST_TSO4,
        (GUEST_TSO4,),
    ),
    "TCPv6": (big(V6, TCP_BIG), 1428, HOST_TSO6, (GUEST_TSO6,)),
    "TCPv6, QinQ": (
        ETH / Dot1AD(vlan=9) / Dot1Q(vlan=7) / V6 / TCP_BIG / Raw(DATA[:60000]),
        1428,
        HOST_TSO6,
        (GUEST_TSO6,),
    ),
    "TCPv6, extension header": (big(V6 / IPv6ExtHdrDestOpt(), TCP_BIG), 1400, HOST_TSO6, (GUEST_TSO6,)),
    "UDPv4": (big(V4, UDP_BIG), 1472, HOST_USO, (GUEST_USO4, GUEST_USO6)),
    "UDPv6": (big(V6, UDP_BIG), 1452, HOST_USO, (GUEST_USO4, GUEST_USO6)),
}
LAYOUTS = pytest.mark.parametrize("layout", [Ring, PackedRing])


def without(word, *features):
    return word & ~bits(*features)


@LAYOUTS
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("buffer", [1536, 4096])
def test_a_long_packet_passes_as_it_is(loose, layout, name, buffer):
    stack, size, *_ = KINDS[name]
    pair = GuestPair(loose, layout=layout)
    pair.post(50, buffer)
    frame, wish = segmentable(stack, size)
    count = -(-(12 + len(frame)) // buffer)
    assert pair.through(frame, wish, cuts=(12, 100, *range(4000, 60000, 4096))) == [
        (wish.but(num_buffers=count), frame)
    ]
    assert (pair.a.drops(), pair.b.drops()) == ({}, {})
    assert (pair.b.counters.tx_packets, pair.b.counters.tx_bytes) == (1, len(frame))


@pytest.mark.parametrize("name", KINDS)
def test_a_long_packet_is_segmented_for_who_lacks_the_feature(loose, name):
    stack, size, _, needed = KINDS[name]
    frame, wish = segmentable(stack, size)
    for lacking in (*needed, GUEST_CSUM):
        pair = GuestPair(loose, takes=without(TAKES, lacking))
        pair.post(60, 1600)
        got = pair.through(frame, wish)
        assert [f for _, f in got] == segments(stack, size)
        assert {h for h, _ in got} == {Wish(num_buffers=1)}
        assert pair.b.counters.tx_packets == 1


@pytest.mark.parametrize("name", KINDS)
def test_segmentation_that_was_not_negotiated_is_refused(loose, name):
    stack, size, offered, _ = KINDS[name]
    pair = GuestPair(loose, sends=without(SENDS, offered))
    pair.post(60, 1600)
    frame, wish = segmentable(stack, size)
    assert pair.through(frame, wish) == []
    assert pair.a.drops() == {"rx_bad_offload": 1}
    plain, wish = partial(ETH / V4 / UDP_BIG / Raw(b"next"))
    assert pair.through(plain, wish) == [(wish.but(num_buffers=1), plain)]


@LAYOUTS
@pytest.mark.parametrize("l4", [TCP(sport=1, dport=2), UDP(sport=1, dport=2)])
@pytest.mark.parametrize("payload", [0, 1, 40, 1400, 8933])
def test_a_partial_checksum_passes_or_is_completed(loose, layout, l4, payload):
    stack = ETH / V4 / l4 / Raw(DATA[:payload])
    frame, wish = partial(stack)
    pair = GuestPair(loose, layout=layout)
    pair.post(4, 9100)
    assert pair.through(frame, wish) == [(wish.but(num_buffers=1), frame)]
    pair = GuestPair(loose, takes=BASE, layout=layout)
    pair.post(4, 9100)
    assert pair.through(frame, wish) == [(Wish(num_buffers=1), bytes(stack))]


def test_a_header_means_nothing_when_csum_was_not_negotiated(loose):
    """Drivers without offloads leave what they like there."""
    pair = GuestPair(loose, sends=BASE | bits(HOST_TSO4))
    pair.post(8, 2048)
    frame = bytes(ETH / V4 / UDP_BIG / Raw(b"data"))
    for rubbish in (
        b"\xff" * 12,
        bytes(Wish(NEEDS_CSUM, csum_start=34, csum_offset=6)),
        b"\0\1" + b"\x20" * 10,
    ):
        assert pair.through(frame, rubbish) == [(Wish(num_buffers=1), frame)]
    assert pair.a.drops() == {}


def test_a_legacy_header_of_ten_bytes(loose):
    features = bits(INDIRECT_DESC, CSUM, HOST_TSO4)
    takes = bits(INDIRECT_DESC, GUEST_CSUM, GUEST_TSO4)
    pair = GuestPair(loose, features, takes)
    pair.post(2, *[4096] * 17)
    stack = big(V4, TCP_BIG)
    frame, wish = segmentable(stack, 1448)
    assert pair.through(frame, wish) == [(wish, frame)]


def test_checked_is_not_for_a_guest_to_say(loose):
    """DATA_VALID and unknown flags of a driver are ignored (VIRTIO 1.2, 5.1.6.2.1 and 5.1.6.2.2)."""
    pair = GuestPair(loose)
    pair.post(4, 2048)
    frame = bytes(ETH / V4 / UDP_BIG / Raw(b"data"))
    for flags in (DATA_VALID, 4, 0xF8):
        assert pair.through(frame, Wish(flags)) == [(Wish(num_buffers=1), frame)]
    half, wish = partial(ETH / V4 / UDP_BIG / Raw(b"data"))
    assert pair.through(half, wish.but(flags=0xFF)) == [(wish.but(num_buffers=1), half)]


@pytest.mark.parametrize(("takes", "flags"), [(TAKES, DATA_VALID), (BASE, 0)])
def test_a_checksum_that_the_kernel_checked(loose, takes, flags):
    port = loose(takes)
    ring = Ring(port.guest, 16, takes)
    port.start(0, ring)
    ring.post(2048)
    frame = bytes(ETH / V4 / UDP_BIG / Raw(b"data"))
    port.tx(frame, csum=2)
    assert [(Wish.read(h), f) for h, f in ring.received()] == [(Wish(flags, num_buffers=1), frame)]


def test_header_length_of_a_guest_is_not_believed(loose):
    pair = GuestPair(loose)
    pair.post(60, 4096)
    frame, wish = segmentable(big(V4, TCP_BIG), 1448)
    for lie in (0, 13, 65535):
        [(got, _)] = pair.through(frame, wish.but(hdr_len=lie))
        assert got.hdr_len == wish.hdr_len


def test_ecn_needs_its_own_feature_on_both_sides(loose):
    stack = big(V4, TCP_BIG)
    frame, wish = segmentable(stack, 1448, ecn=True)
    pair = GuestPair(loose)
    pair.post(60, 4096)
    assert pair.through(frame, wish) == [(wish.but(num_buffers=-(-(12 + len(frame)) // 4096)), frame)]
    pair = GuestPair(loose, takes=without(TAKES, GUEST_ECN))
    pair.post(60, 4096)
    assert [f for _, f in pair.through(frame, wish)] == segments(stack, 1448)
    pair = GuestPair(loose, sends=without(SENDS, HOST_ECN))
    assert pair.through(frame, wish) == []
    assert pair.a.drops() == {"rx_bad_offload": 1}


@pytest.mark.parametrize("sizes", [(1526,), (12, 1514)])
def test_buffers_too_small_for_what_the_driver_negotiated(loose, sizes):
    """Section 5.1.6.3.1 wants 65,550 bytes where MRG_RXBUF is not there; segments are better than nothing."""
    takes = without(TAKES, MRG_RXBUF)
    pair = GuestPair(loose, takes=takes)
    pair.post(60, *sizes)
    stack = big(V4, TCP_BIG)
    got = pair.through(*segmentable(stack, 1440))
    assert [f for _, f in got] == segments(stack, 1440)
    assert pair.b.drops() == {}


def test_a_ring_that_cannot_hold_a_long_packet_gets_segments(loose):
    pair = GuestPair(loose, size=32)
    pair.post(32, 1600)
    stack = big(V4, TCP_BIG, 52000)
    frame, wish = segmentable(stack, 1448)
    want = segments(stack, 1448)
    got = [f for _, f in pair.through(frame, wish)]
    assert got == want[:32]
    assert pair.b.drops() == {"tx_ring_full": 1}


@pytest.mark.parametrize(("over", "got", "drops"), [(0, 1, {}), (1, 0, {"tx_mtu_exceeded": 1})])
def test_the_longest_frame_is_asked_of_a_segment(loose, over, got, drops):
    pair = GuestPair(loose)
    pair.post(40, 4096)
    frame, wish = segmentable(big(V4, TCP_BIG), 1448)
    lib.vs_vhost_set_max_frame(pair.b.handle, wish.hdr_len + 1448 - over)
    assert len(pair.through(frame, wish)) == got
    assert pair.b.drops() == drops


def test_udp_segments_need_both_features(loose):
    """USO4 alone is not enough: which of both counts is not looked up."""
    for takes in (without(TAKES, GUEST_USO4), without(TAKES, GUEST_USO6)):
        pair = GuestPair(loose, takes=takes)
        pair.post(60, 2048)
        stack = big(V4, UDP_BIG)
        assert [f for _, f in pair.through(*segmentable(stack, 1472))] == segments(stack, 1472)
