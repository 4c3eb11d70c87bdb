"""One packet to several ports of different abilities: each gets it as it can take it, edits included."""

import random
from collections.abc import Iterator

import pytest
from fakes.guest_box import GuestBox
from fakes.guest_pair import BASE, GUEST_CSUM, SENDS, TAKES
from fakes.mock_guest import bits
from fakes.offload_frames import Wish, partial, segmentable, segments
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Raw

from vswitchd.datapath import dp

FLOOD, CONTROLLER = 0xFFFFFFFB, 0xFFFFFFFD
DATA = random.Random(1).randbytes(20000)
ETH = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")


def tcp4(vlan=None, ttl=64, dst="10.4.5.6", port=2, n=20000):
    tag = ETH.copy() if vlan is None else ETH / Dot1Q(vlan=vlan)
    return (
        tag
        / IP(src="10.1.2.3", dst=dst, ttl=ttl, id=9)
        / TCP(sport=1, dport=port, flags="PA")
        / Raw(DATA[:n])
    )


def udp6(vlan=None, hlim=64, dst="fd00::2", port=2, n=20000):
    tag = ETH.copy() if vlan is None else ETH / Dot1Q(vlan=vlan)
    return tag / IPv6(src="fd00::1", dst=dst, hlim=hlim) / UDP(sport=1, dport=port) / Raw(DATA[:n])


@pytest.fixture
def box() -> Iterator[GuestBox]:
    """Port 1: a test port, no offloads. Guests: 2 sends, 3 takes all, 4 sums only, 5 nothing."""
    box = GuestBox(1)
    for number, features in enumerate((SENDS | TAKES, TAKES, BASE | bits(GUEST_CSUM), BASE), 2):
        box.seat(number, features)
    box.post(40, 4096)
    yield box
    box.assert_ledgers()
    box.close()


def headers(wish, frame):
    return (wish.but(num_buffers=-(-(12 + len(frame)) // 4096)), frame)


def test_flood_a_partial_checksum(box):
    box.rule(1, (), dp.output(FLOOD))
    stack = tcp4(n=1000)
    frame, wish = partial(stack)
    plain = (Wish(num_buffers=1), bytes(stack))
    kept = headers(wish, frame)
    assert box.through(2, frame, wish) == {1: [bytes(stack)], 3: [kept], 4: [kept], 5: [plain]}


@pytest.mark.parametrize("stack", [tcp4(), udp6()], ids=["TCPv4", "UDPv6"])
def test_flood_a_long_packet(box, stack):
    box.rule(1, (), dp.output(FLOOD))
    frame, wish = segmentable(stack, 1400)
    cut = segments(stack, 1400)
    plain = [(Wish(num_buffers=1), f) for f in cut]
    assert box.through(2, frame, wish) == {1: cut, 3: [headers(wish, frame)], 4: plain, 5: plain}


@pytest.mark.parametrize("make", [tcp4, udp6], ids=["TCPv4", "UDPv6"])
def test_each_output_sees_the_edits_before_it(box, make):
    """A copy is made when a packet that was handed out is edited: both stay right, whoever finishes them."""
    ttl = "ttl" if make is tcp4 else "hlim"
    to, field = ("10.9.9.9", "IPV4_DST") if make is tcp4 else ("fd00::9:9", "IPV6_DST")
    number = 0x0A090909 if make is tcp4 else 0xFD00 << 112 | 0x90009
    box.rule(
        1,
        (),
        dp.output(3),
        dp.output(5),
        dp.set_field(field, number),
        dp.set_field("TP_DST", 4444),
        dp.dec_ttl(),
        dp.push_vlan(),
        dp.set_field("VLAN_VID", 7),
        dp.output(1),
        dp.output(3),
        dp.output(4),
        dp.pop_vlan(),
        dp.output(5),
    )
    stack = make()
    frame, wish = segmentable(stack, 1400)
    edited, short = make(7, dst=to, port=4444, **{ttl: 63}), make(dst=to, port=4444, **{ttl: 63})
    tagged, moved = segmentable(edited, 1400)
    plain = [(Wish(num_buffers=1), f) for f in segments(edited, 1400)]
    assert box.through(2, frame, wish) == {
        1: segments(edited, 1400),
        3: [headers(wish, frame), headers(moved, tagged)],
        4: plain,
        5: [(Wish(num_buffers=1), f) for f in segments(stack, 1400) + segments(short, 1400)],
    }


def test_a_controller_sees_what_the_wire_would_carry(box):
    box.rule(1, (), dp.output(CONTROLLER))
    stack = tcp4(n=1000)
    assert box.through(2, *partial(stack)) == {}
    assert [p.data for p in box.dp.take_punts()] == [bytes(stack)]
    assert box.through(2, *segmentable(tcp4(), 1400)) == {}
    assert [p.data for p in box.dp.take_punts()] == segments(tcp4(), 1400)


def test_through_a_patch_port(box):
    other = box.dp.create_bridge("br1")
    box.patch(20, box.bridge, 21, other)
    sink = box.add_port(22, other)
    box.dp.rebalance()
    box.rule(1, (), dp.output(20), dp.output(3))
    other.add_rule(dp.RuleSpec(0, 1, (), apply=(dp.push_vlan(), dp.set_field("VLAN_VID", 7), dp.output(22))))
    other.commit()
    frame, wish = segmentable(tcp4(), 1400)
    assert box.through(2, frame, wish) == {3: [headers(wish, frame)]}
    assert box.take_from(sink) == segments(tcp4(7), 1400)


def test_a_vlan_header_between_guests_in_an_access_port(box):
    """NORMAL strips and adds tags; the wishes move with the headers."""
    box.rule(1, (), dp.push_vlan(), dp.set_field("VLAN_VID", 7), dp.output(3), dp.pop_vlan(), dp.output(3))
    frame, wish = segmentable(udp6(), 1400)
    tagged, moved = segmentable(udp6(7), 1400)
    assert box.through(2, frame, wish) == {3: [headers(moved, tagged), headers(wish, frame)]}
