"""Frames through the drivers of kernel ports, without a switch: bytes, offload fields, tags, drops."""

import select

import pytest
from fakes.wire import Wire, frame, ip
from scapy.layers.inet import IP, TCP, UDP, in4_chksum
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from vswitchd.datapath.dp import ffi, lib

pytestmark = pytest.mark.root

ADDRESSES = {"dst": "02:00:00:00:00:aa", "src": "02:00:00:00:00:bb"}
PARTIAL = 1


@pytest.fixture(params=["tap", "system"])
def port(request, ports):
    """A port of each kind, MTU 9000, and a socket on the other side."""
    if request.param == "tap":
        made, other = ports.open("p0", "tap", mtu_request=9000), "p0"
    else:
        ip("link", "add", "p0", "mtu", 9000, "type", "veth", "peer", "name", "p1", "mtu", 9000)
        ip("link", "set", "p0", "up")
        ip("link", "set", "p1", "up")
        made, other = ports.open("p0", ""), "p1"
    made.wire = Wire(other)
    yield made
    made.wire.close()


def wait_for(port, driver, n):
    """Receive until n test frames came."""
    out = []
    while len(out) < n:
        assert select.select([lib.vs_port_test_rx_fd(port.handle, 0)], [], [], 5)[0], (
            f"only {len(out)} frames came"
        )
        out += [f for f in driver.frames() if f[:1] == b"\x02"]
    return out


@pytest.mark.parametrize("length", [14, 15, 59, 60, 64, 191, 192, 193, 1500, 1514, 9014])
def test_frames_are_identical_in_both_directions(port, driver, length):
    d = driver(port)
    sent = [frame(length, seed) for seed in range(3)]
    for data in sent:
        port.wire.send(data)
    assert wait_for(port, d, 3) == sent
    d.send(sent)
    assert port.wire.frames(3) == sent
    assert d.counters.tx_packets == 3
    assert d.counters.tx_bytes == 3 * length


def test_a_full_batch_and_more(port, driver):
    d = driver(port)
    sent = [frame(100, seed) for seed in range(100)]
    for data in sent:
        port.wire.send(data)
    assert wait_for(port, d, 100) == sent
    for i in range(0, 96, 32):
        d.send(sent[i : i + 32])
    assert port.wire.frames(96) == sent[:96]


@pytest.mark.parametrize(
    "tags", [b"\x81\x00\x20\x07", b"\x88\xa8\x00\x09", b"\x88\xa8\x00\x09\x81\x00\x00\x07"]
)
def test_vlan_tags_are_not_lost(port, driver, tags):
    d = driver(port)
    plain = frame(100)
    data = plain[:12] + tags + plain[12:]
    port.wire.send(data)
    assert wait_for(port, d, 1) == [data]
    d.send([data])
    assert port.wire.frames(1) == [data]


def partial_udp(size):
    data = Ether(**ADDRESSES) / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1, dport=2) / Raw(b"u" * size)
    raw = bytearray(bytes(data))
    raw[40:42] = b"\x12\x34"  # the sum of the pseudo header would stand here
    return bytes(raw)


def test_a_partial_checksum_comes_in_and_goes_out_as_it_is(port, driver):
    d = driver(port)
    data = partial_udp(300)
    port.wire.send(data, flags=1, csum_start=34, csum_offset=6)
    assert select.select([lib.vs_port_test_rx_fd(port.handle, 0)], [], [], 5)[0]
    packets = [p for p in d.receive() if p.frame_len == len(data)]
    (p,) = packets
    assert (p.csum, p.csum_start, p.csum_offset, p.gso_type) == (PARTIAL, 34, 6, 0)
    d.send([data], csum=PARTIAL, csum_start=34, csum_offset=6)
    got, header = port.wire.receive()
    assert got == data
    assert (header[0] & 1, header[4:]) == (1, (34, 6))


def test_csum_start_moves_with_a_tag_that_is_put_back(port, driver):
    d = driver(port)
    data = partial_udp(300)
    tagged = data[:12] + b"\x81\x00\x00\x07" + data[12:]
    port.wire.send(tagged, flags=1, csum_start=38, csum_offset=6)
    assert select.select([lib.vs_port_test_rx_fd(port.handle, 0)], [], [], 5)[0]
    (p,) = [p for p in d.receive() if p.frame_len == len(tagged)]
    assert (p.csum, p.csum_start, p.csum_offset) == (PARTIAL, 38, 6)


def big_tcp(size):
    return bytes(
        Ether(**ADDRESSES) / IP(src="10.0.0.1", dst="10.0.0.2") / TCP(sport=1, dport=2) / Raw(b"t" * size)
    )


def test_a_tcp_frame_of_many_segments_crosses_whole(port, driver):
    d = driver(port)
    data = big_tcp(40000)
    port.wire.send(data, flags=1, gso_type=1, hdr_len=54, gso_size=1448, csum_start=34, csum_offset=16)
    assert select.select([lib.vs_port_test_rx_fd(port.handle, 0)], [], [], 5)[0]
    (p,) = [p for p in d.receive() if p.frame_len > 1000]
    assert (p.frame_len, p.gso_type, p.gso_size, p.csum_start, p.csum_offset) == (len(data), 1, 1448, 34, 16)
    d.send([data], csum=PARTIAL, gso_type=1, gso_size=1448, csum_start=34, csum_offset=16)
    got, header = port.wire.receive()
    assert got == data
    assert header[1] == 1
    assert header[3:] == (1448, 34, 16)


def rebuilt(ipv4):
    """The packet with all checksums computed anew."""
    packet = IP(ipv4)
    del packet.chksum, packet[TCP].chksum
    return bytes(packet)


def test_behind_mpls_it_is_segmented_here(port, driver):
    """The kernel is not told that IP lies behind the label: the switch makes the segments, and their checksums."""
    d = driver(port)
    plain = big_tcp(3000)
    pseudo = ~in4_chksum(6, IP(src="10.0.0.1", dst="10.0.0.2"), bytes(3020)) & 0xFFFF
    plain = plain[:50] + pseudo.to_bytes(2, "big") + plain[52:]
    data = plain[:12] + bytes.fromhex("884700005140") + plain[14:]
    d.send([data], csum=PARTIAL, gso_type=1, gso_size=1448, csum_start=38, csum_offset=16, gso_l3_ofs=18)
    segments = port.wire.frames(3)
    assert [len(f) for f in segments] == [58 + 1448, 58 + 1448, 58 + 104]
    for segment in segments:
        assert segment[:18] == data[:18]
        assert segment[18:] == rebuilt(segment[18:])
    assert d.counters.tx_packets == 1
    d.send([data], csum=PARTIAL, gso_type=1, gso_size=9100, csum_start=38, csum_offset=16, gso_l3_ofs=18)
    assert d.drops() == {}
    d.send([data], csum=PARTIAL, gso_type=4, gso_size=1448, csum_start=38, csum_offset=16, gso_l3_ofs=18)
    assert d.drops() == {"offload_unsupported": 1}


def test_an_offload_that_does_not_fit_the_packet_is_dropped_by_name(port, driver):
    d = driver(port)
    d.send([big_tcp(5000)], csum=PARTIAL, gso_type=1, gso_size=0, csum_start=34, csum_offset=16)
    d.send([big_tcp(5000)], csum=PARTIAL, gso_type=3, gso_size=1000, csum_start=34, csum_offset=16)
    assert d.drops() == {"offload_unsupported": 2}
    assert d.counters.tx_packets == 0


def test_longer_than_the_mtu_is_dropped_by_name(port, driver):
    d = driver(port)
    d.send([frame(100, 1), frame(9100), frame(100, 2)])
    assert d.drops() == {"mtu_exceeded": 1}
    assert port.wire.frames(2) == [frame(100, 1), frame(100, 2)]
    assert d.counters.tx_packets == 2


def test_segments_longer_than_the_mtu_are_dropped_by_name(port, driver):
    d = driver(port)
    d.send([big_tcp(30000)], csum=PARTIAL, gso_type=1, gso_size=9100, csum_start=34, csum_offset=16)
    assert d.drops() == {"mtu_exceeded": 1}
    d.send([big_tcp(30000)], csum=PARTIAL, gso_type=1, gso_size=8960, csum_start=34, csum_offset=16)
    assert port.wire.receive()[0] == big_tcp(30000)


def test_a_tagged_frame_of_full_mtu_is_sent(port, driver):
    d = driver(port)
    plain = frame(9014)
    data = plain[:12] + b"\x81\x00\x00\x07" + plain[12:]
    d.send([data])
    assert port.wire.frames(1) == [data]


def test_an_interface_that_is_down_drops_by_name(port, driver):
    d = driver(port)
    ip("link", "set", "p0", "down")
    d.send([frame(100)] * 5)
    assert d.drops() == {"link_down": 5}
    assert d.receive() == []
    ip("link", "set", "p0", "up")
    d.send([frame(100)])
    assert port.wire.frames(1) == [frame(100)]


def test_own_frames_are_not_received(port, driver):
    d = driver(port)
    d.send([frame(100, 1)])
    assert port.wire.frames(1) == [frame(100, 1)]
    port.wire.send(frame(100, 2))
    assert wait_for(port, d, 1) == [frame(100, 2)]


def test_received_is_returned_plus_dropped(port, driver):
    d = driver(port)
    seen = 0
    for seed in range(10):
        port.wire.send(frame(200, seed))
    while seen < 10:
        assert select.select([lib.vs_port_test_rx_fd(port.handle, 0)], [], [], 5)[0]
        seen += len(d.receive())
    assert d.counters.rx_packets == seen + sum(d.drops().values())


def test_many_borrowed_segments_are_gathered(port, driver):
    d = driver(port)
    data = frame(2000, 9)
    (packet,) = [ffi.new("struct vs_packet *")]
    keep = ffi.new("uint8_t[]", data)
    lib.vs_packet_fill(packet, keep, len(data))
    step = -(-(len(data) - packet.head_len) // 20)
    packet.n_segs = 20
    for i in range(20):
        start = packet.head_len + i * step
        packet.segs[i].data = keep + start
        packet.segs[i].len = max(0, min(step, len(data) - start))
    vector = ffi.new("struct vs_packet *[]", [packet])
    lib.vs_kernel_port_tx(port.handle, vector, 1, d.counters)
    assert port.wire.frames(1) == [data]


def test_a_bad_offload_of_a_peer_is_dropped_by_name(ports, driver):
    """Segments of 20 bytes: the kernel passes them on, they would be 150 frames."""
    ip("link", "add", "p0", "type", "veth", "peer", "name", "p1")
    ip("link", "set", "p0", "up")
    ip("link", "set", "p1", "up")
    d = driver(ports.open("p0", "system"))
    wire = Wire("p1")
    wire.send(big_tcp(3000), flags=1, gso_type=1, hdr_len=54, gso_size=20, csum_start=34, csum_offset=16)
    assert select.select([lib.vs_port_test_rx_fd(d.port.handle, 0)], [], [], 5)[0]
    d.receive()
    wire.close()
    assert d.drops() == {"bad_offload": 1}


def test_a_batch_costs_one_look_when_the_queue_is_empty(port, driver):
    """rx_fd is level triggered by the frame itself."""
    fd = lib.vs_port_test_rx_fd(port.handle, 0)
    d = driver(port)
    d.receive()
    while select.select([fd], [], [], 0)[0]:
        d.receive()
    port.wire.send(frame(60))
    assert select.select([fd], [], [], 5)[0]
    assert wait_for(port, d, 1) == [frame(60)]
