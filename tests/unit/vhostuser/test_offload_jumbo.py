"""Long frames: 9,000 bytes and more, 64 KB for segmentation, in the pieces in which honest drivers lay them out."""

import random

import pytest
from fakes.guest_pair import BASE, SENDS, TAKES, GuestPair
from fakes.mock_guest import MRG_RXBUF, WRITE, Guest, Region, Ring, bits
from fakes.offload_frames import Wish, segmentable
from fakes.packed_ring import PackedRing
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from vhostuser_frames import frame

from vswitchd.datapath.dp import ffi, lib

LAYOUTS = pytest.mark.parametrize("layout", [Ring, PackedRing])
STACK = (
    Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    / IP(src="10.1.2.3", dst="10.4.5.6")
    / TCP(sport=1, dport=2, flags="A", options=[("Timestamp", (7, 8))])
    / Raw(random.Random(1).randbytes(65535 - 20 - 32))
)
LONGEST, WISH = segmentable(STACK, 1448)  # as long as IPv4 can be, and Ethernet: 65,549 bytes


@LAYOUTS
@pytest.mark.parametrize("length", [1515, 8999, 9000, 9018, 9216, 16000, 65535])
@pytest.mark.parametrize("buffer", [0, 1536, 2048, 4096])
def test_jumbo_frames(loose, layout, length, buffer):
    """Buffer 0: not mergeable, the frame in one buffer of pages."""
    takes = BASE if buffer else BASE & ~bits(MRG_RXBUF)
    pair = GuestPair(loose, BASE, takes, layout=layout)
    if buffer:
        pair.post(100, buffer)
    else:
        pair.post(3, *[4096] * 17)
    sent = [frame(length, 1), frame(60), frame(length, 2)]
    for data in sent:
        pair.send(data, cuts=tuple(range(2048, len(data), 2048)))
    assert [f for _, f in pair.forward()] == sent
    assert (pair.a.drops(), pair.b.drops()) == ({}, {})


def cuts(header, piece):
    return (12, *range(12 + header, 12 + len(LONGEST), piece))


SENDERS = {  # header apart, then what follows; longest chain: 1 + pieces
    "Linux: header and 17 fragments of 4 KB": cuts(66, 4096),
    "Linux: header and two fragments of 32 KB": cuts(66, 32768),
    "DPDK: 33 buffers of 2 KB": cuts(2048, 2048),
    "DPDK: 46 buffers of received 1,448 bytes": cuts(66, 1448),
}
RECEIVERS = {
    "Linux: mergeable, 1.5 KB": (TAKES, 60, (1536,)),
    "Linux: mergeable, 4 KB": (TAKES, 60, (4096,)),
    "Linux: 19 pieces, not mergeable": (TAKES & ~bits(MRG_RXBUF), 2, (12, 4084, *[4096] * 17)),
    "DPDK: mergeable, 2 KB and the header": (TAKES, 60, (12 + 2048,)),
}


@LAYOUTS
@pytest.mark.parametrize("sender", SENDERS)
@pytest.mark.parametrize("receiver", RECEIVERS)
@pytest.mark.parametrize("indirect", [False, True])
def test_64_kb_as_honest_drivers_lay_it_out(loose, layout, sender, receiver, indirect):
    takes, count, sizes = RECEIVERS[receiver]
    pair = GuestPair(loose, takes=takes, layout=layout)
    pair.post(count, *sizes)
    [(got, data)] = pair.through(LONGEST, WISH, cuts=SENDERS[sender], indirect=indirect)
    assert (got.but(num_buffers=0), data) == (WISH, LONGEST)


def test_buffers_across_regions(loose):
    """Memory of two regions that touch: a buffer may lie in both."""
    guests = [
        Guest([Region(0, 0x7F0000000000, 8 << 20), Region(8 << 20, 0x7E0000000000, 1 << 20)])
        for _ in range(2)
    ]
    a, b = (loose(word, guest=g) for word, g in zip((SENDS, TAKES), guests, strict=True))
    out, back = Ring(guests[0], 64, SENDS), Ring(guests[1], 64, TAKES)
    a.start(1, out)
    b.start(0, back)
    edge = 8 << 20
    data = bytes(WISH) + LONGEST
    guests[0].write(edge - 30000, data[:30000])
    guests[0].write(edge, data[30000:])
    out.chain([(edge - 30000, len(data))])
    back.chain([(edge - 30000, len(data))], WRITE)
    lib.vs_port_test_forward(a.handle, 0, b.handle, 0, 2, ffi.new("uint64_t *"), a.counters, b.counters)
    assert back.take() == [(0, 12 + len(LONGEST))]
    got = guests[1].read(edge - 30000, 30000) + guests[1].read(edge, 12 + len(LONGEST) - 30000)
    assert Wish.read(got[:12]) == WISH.but(num_buffers=1)
    assert got[12:] == LONGEST


def test_more_pieces_than_are_lent_are_dropped_by_name(loose):
    pair = GuestPair(loose)
    pair.post(4, 65700)
    for step, drops in ((1040, {"rx_bad_descriptor": 1}), (1250, {"rx_bad_descriptor": 1, "rx_oversize": 1})):
        assert pair.through(LONGEST, WISH, cuts=(12, *range(300, len(LONGEST), step))) == []
        assert pair.a.drops() == drops
    assert pair.a.refused(1) == {"too_many_pieces": 1}
