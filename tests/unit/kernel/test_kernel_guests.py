"""Offloads between a guest and the kernel: to a tap and to an AF_PACKET port as they are, and back."""

import random
import select

import pytest
from fakes.guest_pair import BASE, SENDS, TAKES
from fakes.loose_port import LoosePort
from fakes.mock_guest import Guest, Region, Ring
from fakes.offload_frames import Wish, partial, segmentable, segments
from fakes.wire import Wire, ip
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Raw

from vswitchd.datapath.dp import ffi, lib

pytestmark = pytest.mark.root
ETH = Ether(src="02:00:00:00:00:bb", dst="02:00:00:00:00:aa")
V4, V6 = IP(src="10.0.0.1", dst="10.0.0.2", id=77), IPv6(src="fd00::1", dst="fd00::2")
DATA = random.Random(1).randbytes(20000)
STACKS = {
    "TCPv4": ETH / V4 / TCP(sport=1, dport=2, flags="PA") / Raw(DATA),
    "TCPv4, VLAN": ETH / Dot1Q(vlan=7) / V4 / TCP(sport=1, dport=2, flags="PA") / Raw(DATA),
    "TCPv6": ETH / V6 / TCP(sport=1, dport=2, flags="PA") / Raw(DATA),
    "UDPv4": ETH / V4 / UDP(sport=1, dport=2) / Raw(DATA),
}


@pytest.fixture(params=["tap", "system"])
def kernel(request, ports):
    """A port of each kind and a socket on the other side."""
    if request.param == "tap":
        made, other = ports.open("p0", "tap"), "p0"
    else:
        ip("link", "add", "p0", "type", "veth", "peer", "name", "p1")
        ip("link", "set", "p0", "up")
        ip("link", "set", "p1", "up")
        made, other = ports.open("p0", ""), "p1"
    made.wire = Wire(other)
    yield made
    made.wire.close()


@pytest.fixture
def guest():
    made = []

    def make(features):
        made.append(LoosePort(Guest([Region(0, 0x7F0000000000, 16 << 20)]), features))
        return made[-1]

    yield make
    for port in made:
        port.close()


def move(source, source_counters, target, target_counters):
    packets = ffi.new("uint64_t *")
    lib.vs_port_test_forward(source, 0, target, 0, 10, packets, source_counters, target_counters)
    return packets[0]


def send(kernel, port, frame, wish):
    ring = Ring(port.guest, 64, SENDS)
    port.start(1, ring)
    ring.send(frame, header=bytes(wish), cuts=(12, 80))
    counters = ffi.new("struct vs_port_counters *")
    assert move(port.handle, port.counters, kernel.handle, counters) == 1
    assert counters.tx_packets == 1
    return kernel.wire.receive()


@pytest.mark.parametrize("name", STACKS)
def test_a_long_packet_of_a_guest_reaches_the_kernel_whole(kernel, guest, name):
    frame, wish = segmentable(STACKS[name], 1400)
    got, header = send(kernel, guest(SENDS), frame, wish)
    assert got == frame
    assert (header[1], header[3]) == (wish.gso_type, 1400)


def test_a_partial_checksum_of_a_guest(kernel, guest):
    frame, wish = partial(ETH / V4 / UDP(sport=1, dport=2) / Raw(DATA[:300]))
    got, header = send(kernel, guest(SENDS), frame, wish)
    assert got == frame
    assert (header[0] & 1, header[4:]) == (1, (34, 6))


@pytest.mark.parametrize("name", [n for n in STACKS if "TCP" in n])  # a tap has the kernel cut UDP
@pytest.mark.parametrize("features", [TAKES, BASE], ids=["with", "without"])
def test_a_long_packet_of_the_kernel_reaches_guests(kernel, guest, name, features):
    frame, wish = segmentable(STACKS[name], 1400)
    port = guest(features)
    ring = Ring(port.guest, 64, features)
    port.start(0, ring)
    for _ in range(30):
        ring.post(4096)
    kernel.wire.send(
        frame,
        flags=1,
        gso_type=wish.gso_type,
        hdr_len=wish.hdr_len,
        gso_size=wish.gso_size,
        csum_start=wish.csum_start,
        csum_offset=wish.csum_offset,
    )
    counters = ffi.new("struct vs_port_counters *")
    got = []
    while not [f for _, f in got if f[:6] == frame[:6]]:
        assert select.select([lib.vs_port_test_rx_fd(kernel.handle, 0)], [], [], 5)[0]
        move(kernel.handle, counters, port.handle, port.counters)
        got += ring.received()
    mine = [(Wish.read(h), f) for h, f in got if f[:6] == frame[:6]]
    if features == TAKES:
        assert mine == [(wish.but(num_buffers=-(-(12 + len(frame)) // 4096)), frame)]
    else:
        assert [f for _, f in mine] == segments(STACKS[name], 1400)
