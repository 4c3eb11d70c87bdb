"""Software checksums and TCP segmentation against scapy's own arithmetic."""

import ipaddress
import random

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6ND_NS, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrRouting, PadN
from scapy.layers.l2 import ARP, GRE, LLC, SNAP, Dot1AD, Dot1Q, Dot3, Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Raw
from scapy.utils import inet_aton

from vswitchd.datapath.dp import ffi, lib

PARTIAL, TCPV4, UFO, TCPV6, UDP_L4, ECN = 1, 1, 3, 4, 5, 0x80
ETH = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
V4 = IP(src="10.1.2.3", dst="10.4.5.6", id=0xFFFE)
V6 = IPv6(src="fd00::1", dst="fd00::2")
SEQ = 0xFFFFFF00  # wraps within the frame


def packet(frame, cut=None, **fields):
    """A struct vs_packet of the frame; cut: borrow the tail in pieces of that many bytes."""
    p = ffi.new("struct vs_packet *")
    data = ffi.new("uint8_t[]", frame)
    lib.vs_packet_fill(p, data, len(frame))
    if cut and p.n_segs:
        starts = range(p.head_len, len(frame), cut)
        p.n_segs = len(starts)
        for i, start in enumerate(starts):
            p.segs[i].data = data + start
            p.segs[i].len = min(cut, len(frame) - start)
    for name, value in fields.items():
        setattr(p, name, value)
    return p, data


def finish(p, room=None, stop=None):
    out = []

    @ffi.callback("int(void *, const uint8_t *, uint32_t)")
    def emit(_ctx, frame, length):
        if stop is not None and len(out) == stop:
            return 1
        out.append(bytes(ffi.buffer(frame, length)))
        return 0

    size = room or 65600
    scratch = ffi.new("uint8_t[]", size)
    n = lib.vs_offload_finish(p, scratch, size, emit, ffi.NULL)
    return n, out


def pseudo_sum(ip, l4_len, proto, dst=None):
    """What a driver stores for NEEDS_CSUM: the folded, not complemented sum of the pseudo header."""
    if isinstance(ip, IP):
        data = inet_aton(ip.src) + inet_aton(ip.dst) + proto.to_bytes(2, "big") + l4_len.to_bytes(2, "big")
    else:
        data = ipaddress.ip_address(ip.src).packed + ipaddress.ip_address(dst or ip.dst).packed
        data += l4_len.to_bytes(4, "big") + proto.to_bytes(4, "big")
    return lib.vs_csum(data, len(data))


def partial(stack, l4, l4_bytes, proto, dst=None):
    """The frame as a driver hands it over, and its csum_start and csum_offset."""
    whole = bytes(stack / l4)
    start = len(whole) - l4_bytes
    ofs = 16 if proto == 6 else 6
    ip = stack[IP] if IP in stack else stack[IPv6]
    raw = bytearray(whole)
    raw[start + ofs : start + ofs + 2] = pseudo_sum(ip, l4_bytes, proto, dst).to_bytes(2, "big")
    return bytes(raw), start, ofs


def reference_csum(data):
    """RFC 1071 as it is written."""
    data += b"\0" * (len(data) % 2)
    total = sum(int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 5, 7, 20, 63, 1500, 65535])
def test_csum_is_rfc1071(length):
    data = random.Random(length).randbytes(length)
    assert lib.vs_csum(data, length) == reference_csum(data)


def test_csum_of_all_ones_does_not_lose_carries():
    data = b"\xff" * 65536
    assert lib.vs_csum(data, len(data)) == 0xFFFF


STACKS = {
    "v4": ETH / V4,
    "v4-vlan": ETH / Dot1Q(vlan=7) / V4,
    "v4-qinq": ETH / Dot1AD(vlan=9) / Dot1Q(vlan=7) / V4,
    "v4-options": ETH / IP(src="10.1.2.3", dst="10.4.5.6", id=0xFFFE, options=b"\x01" * 8),
    "v6": ETH / V6,
    "v6-vlan": ETH / Dot1Q(vlan=7) / V6,
    "v6-ext": ETH / V6 / IPv6ExtHdrDestOpt(),
    "v6-routing": ETH / V6 / IPv6ExtHdrRouting(addresses=["fd00::9"], segleft=1),
}


@pytest.mark.parametrize("name", STACKS)
@pytest.mark.parametrize("payload", [0, 1, 100, 1400, 4001])
@pytest.mark.parametrize("proto", [6, 17])
def test_partial_checksum(name, payload, proto):
    stack = STACKS[name]
    data = random.Random(payload).randbytes(payload)
    l4 = (TCP(sport=1, dport=2, flags="PA") if proto == 6 else UDP(sport=1, dport=2)) / Raw(data)
    final = "fd00::9" if name == "v6-routing" else None
    l4_bytes = payload + (20 if proto == 6 else 8)
    frame, start, ofs = partial(stack, l4, l4_bytes, proto, final)
    p, _keep = packet(frame, cut=777, csum=PARTIAL, csum_start=start, csum_offset=ofs)
    assert lib.vs_offload_check(p) == 0
    n, out = finish(p)
    assert n == 1
    assert out[0] == bytes(stack / l4)  # scapy completes it


def test_udp_checksum_is_never_zero():
    stack = ETH / V4
    frame, start, ofs = partial(stack, UDP(sport=1, dport=2) / Raw(b"\0\0"), 10, 17)
    missing = 0xFFFF - lib.vs_csum(frame[start:], 10)  # now the sum is 0xffff
    frame, start, ofs = partial(stack, UDP(sport=1, dport=2) / Raw(missing.to_bytes(2, "big")), 10, 17)
    assert lib.vs_csum(frame[start:], 10) == 0xFFFF
    p, _keep = packet(frame, csum=PARTIAL, csum_start=start, csum_offset=ofs)
    assert finish(p)[1][0][start + 6 : start + 8] == b"\xff\xff"


def test_frame_without_offload_is_copied():
    frame = bytes(ETH / V4 / UDP() / Raw(b"x" * 900))
    p, _keep = packet(frame, cut=100)
    assert finish(p) == (1, [frame])


def reference_segments(name, tcp_options, data, mss, flags):
    """Segmentation as scapy would build each segment by itself."""
    stack, out = STACKS[name], []
    for i, at in enumerate(range(0, max(len(data), 1), mss)):
        part = data[at : at + mss]
        keep = flags
        if i:
            keep = keep.replace("C", "")
        if at + mss < len(data):
            keep = keep.replace("F", "").replace("P", "")
        layers = stack.copy()
        if IP in layers:
            layers[IP].id = (0xFFFE + i) & 0xFFFF
        tcp = TCP(sport=1, dport=2, seq=(SEQ + at) % 2**32, ack=5, flags=keep, options=tcp_options)
        out.append(bytes(layers / tcp / Raw(part)))
    return out


def gso(name, data, mss, flags="FPCA", *, tcp_options=(), ecn=0):
    options = list(tcp_options)
    tcp = TCP(sport=1, dport=2, seq=SEQ, ack=5, flags=flags, options=options)
    final = "fd00::9" if name == "v6-routing" else None
    frame, start, ofs = partial(STACKS[name], tcp / Raw(data), len(bytes(tcp)) + len(data), 6, final)
    kind = (TCPV6 if name.startswith("v6") else TCPV4) | ecn
    return packet(
        frame, cut=4096, csum=PARTIAL, csum_start=start, csum_offset=ofs, gso_type=kind, gso_size=mss
    )


@pytest.mark.parametrize("name", STACKS)
@pytest.mark.parametrize(
    ("length", "mss"), [(0, 1448), (1, 1448), (1448, 1448), (1449, 1448), (9000, 1000), (60000, 1448)]
)
def test_segmentation(name, length, mss):
    data = random.Random(length).randbytes(length)
    p, _keep = gso(name, data, mss)
    assert lib.vs_offload_check(p) == 0
    n, out = finish(p)
    want = reference_segments(name, [], data, mss, "FPCA")
    assert n == len(want)
    assert out == want


def test_segmentation_with_tcp_options_and_ecn():
    options = [("NOP", None), ("NOP", None), ("Timestamp", (7, 8))]
    data = b"d" * 5000
    p, _keep = gso("v4", data, 1460, "PCA", tcp_options=options, ecn=ECN)
    assert lib.vs_offload_check(p) == 0
    assert finish(p)[1] == reference_segments("v4", options, data, 1460, "PCA")


def gso_udp(name, data, size):
    final = "fd00::9" if name == "v6-routing" else None
    udp = UDP(sport=1, dport=2) / Raw(data)
    frame, start, ofs = partial(STACKS[name], udp, 8 + len(data), 17, final)
    return packet(
        frame, cut=4096, csum=PARTIAL, csum_start=start, csum_offset=ofs, gso_type=UDP_L4, gso_size=size
    )


@pytest.mark.parametrize("name", STACKS)
@pytest.mark.parametrize(("length", "size"), [(1, 1000), (1000, 1000), (1001, 1000), (30000, 1472), (128, 1)])
def test_udp_segmentation(name, length, size):
    data = random.Random(length).randbytes(length)
    p, _keep = gso_udp(name, data, size)
    assert lib.vs_offload_check(p) == 0
    want = []
    for i, at in enumerate(range(0, length, size)):
        layers = STACKS[name].copy()
        if IP in layers:
            layers[IP].id = (0xFFFE + i) & 0xFFFF
        want.append(bytes(layers / UDP(sport=1, dport=2) / Raw(data[at : at + size])))
    assert finish(p) == (len(want), want)


def test_more_udp_datagrams_than_linux_makes_are_refused():
    p, _keep = gso_udp("v4", b"x" * 129, 1)
    assert lib.vs_offload_check(p) == -1
    assert finish(p) == (-1, [])


def test_a_receiver_that_stops_ends_the_segmentation():
    p, _keep = gso("v4", b"d" * 5000, 1000)
    n, out = finish(p, stop=2)
    assert n == len(out) == 2


def test_a_small_scratch_buffer_is_refused_before_anything_is_emitted():
    p, _keep = gso("v4", b"d" * 5000, 1000)
    assert finish(p, room=600) == (-1, [])
    p, _keep = packet(b"d" * 700)
    assert finish(p, room=600) == (-1, [])


BAD = {
    "csum in the Ethernet header": {"csum": PARTIAL, "csum_start": 0, "csum_offset": 6},
    "csum behind the frame": {"csum": PARTIAL, "csum_start": 34, "csum_offset": 1000},
    "csum_start behind the frame": {"csum": PARTIAL, "csum_start": 65535, "csum_offset": 65535},
    "csum field half outside": {"csum": PARTIAL, "csum_start": 34, "csum_offset": 19},
    "gso without csum": {"gso_type": TCPV4, "gso_size": 500},
    "gso with only DATA_VALID": {
        "csum": 2,
        "csum_start": 34,
        "csum_offset": 16,
        "gso_type": TCPV4,
        "gso_size": 500,
    },
    "gso size zero": {"gso_type": TCPV4, "gso_size": 0},
    "gso size absurdly small": {"gso_type": TCPV4, "gso_size": 1},
    "UDP fragmentation": {"gso_type": UFO, "gso_size": 500},
    "unknown gso type": {"gso_type": 2, "gso_size": 500},
    "UDP segments with the TCP offset": {"gso_type": UDP_L4, "gso_size": 500},
    "UDP segments with ECN": {"gso_type": UDP_L4 | ECN, "gso_size": 500, "csum_offset": 6},
    "UDP segments of nothing": {"gso_type": UDP_L4, "gso_size": 0, "csum_offset": 6},
    "only the ECN bit": {"gso_type": ECN, "gso_size": 500},
    "gso with the UDP offset": {"gso_type": TCPV4, "gso_size": 500, "csum_offset": 6},
}


@pytest.mark.parametrize("name", BAD)
def test_offload_fields_that_do_not_fit_are_refused(name):
    fields = dict(BAD[name])
    if name.startswith(("gso", "UDP", "unknown", "only")) and "without" not in name:
        fields = {"csum": PARTIAL, "csum_start": 34, "csum_offset": 16} | fields
    frame = bytes(ETH / V4 / TCP())
    p, _keep = packet(frame, **fields)
    assert lib.vs_offload_check(p) == -1
    assert finish(p) == (-1, [])


# The headers contradict the offload fields.
TCP_SEG = TCP(sport=1, dport=2)
CONTRADICTIONS = {
    "ARP type": bytearray(bytes(ETH / V4 / TCP_SEG / Raw(b"x" * 900))),
    "version": bytearray(bytes(ETH / V4 / TCP_SEG / Raw(b"x" * 900))),
    "header length": bytearray(bytes(ETH / V4 / TCP_SEG / Raw(b"x" * 900))),
    "protocol": bytearray(bytes(ETH / V4 / TCP_SEG / Raw(b"x" * 900))),
    "fragment": bytearray(bytes(ETH / V4 / TCP_SEG / Raw(b"x" * 900))),
    "data offset small": bytearray(bytes(ETH / V4 / TCP_SEG / Raw(b"x" * 900))),
    "data offset beyond": bytearray(bytes(ETH / V4 / TCP_SEG)),
    "total length that hides the header from the flow table": bytearray(
        bytes(ETH / V4 / TCP_SEG / Raw(b"x" * 900))
    ),
}
CONTRADICTIONS["ARP type"][12:14] = b"\x08\x06"
CONTRADICTIONS["version"][14] = 0x65
CONTRADICTIONS["header length"][14] = 0x46
CONTRADICTIONS["protocol"][23] = 17
CONTRADICTIONS["fragment"][20] = 0x20
CONTRADICTIONS["data offset small"][46] = 0x40
CONTRADICTIONS["data offset beyond"][46] = 0xF0
CONTRADICTIONS["total length that hides the header from the flow table"][16:18] = b"\0\x15"


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_headers_that_contradict_the_offload_are_refused(name):
    frame = bytes(CONTRADICTIONS[name])
    p, _keep = packet(frame, csum=PARTIAL, csum_start=34, csum_offset=16, gso_type=TCPV4, gso_size=500)
    assert lib.vs_offload_check(p) == -1
    assert lib.vs_offload_header_len(p) == 0
    assert finish(p) == (-1, [])


def test_header_and_wire_lengths():
    p, _keep = gso("v6-vlan", b"d" * 5000, 1000, tcp_options=[("NOP", None)] * 4)
    assert (lib.vs_offload_header_len(p), lib.vs_offload_wire_len(p)) == (18 + 40 + 24, 1082)
    p, _keep = gso("v4", b"d" * 500, 1000)
    assert (lib.vs_offload_header_len(p), lib.vs_offload_wire_len(p)) == (54, 554)
    p, _keep = gso_udp("v4", b"d" * 500, 100)
    assert (lib.vs_offload_header_len(p), lib.vs_offload_wire_len(p)) == (42, 142)
    p, _keep = packet(b"d" * 700)
    assert (lib.vs_offload_header_len(p), lib.vs_offload_wire_len(p)) == (0, 700)


INNER = ETH / IP(src="1.1.1.1", dst="2.2.2.2") / TCP(sport=1, dport=2) / Raw(b"x" * 40)
TUNNELS = {
    "VXLAN": (ETH / V4 / UDP(sport=9, dport=4789, chksum=0) / Raw(b"\x08" + bytes(7)) / INNER, 42 + 8 + 34),
    "IP in IP": (ETH / V4 / INNER[IP], 34 + 20),
    "GRE with a checksum of its own": (ETH / V4 / GRE(chksum_present=1, chksum=0) / INNER[IP], 34),
    "MPLS": (Ether(type=0x8847) / Raw(b"\0\0\x11\x40") / INNER[IP], 14 + 4 + 20),
}


@pytest.mark.parametrize("name", TUNNELS)
def test_a_sum_inside_of_a_tunnel_is_completed(name):
    stack, start = TUNNELS[name]
    frame, ofs = bytes(stack), 4 if "GRE" in name else 16
    p, _keep = packet(frame, csum=PARTIAL, csum_start=start, csum_offset=ofs)
    assert lib.vs_offload_check(p) == 0
    n, out = finish(p)
    want = (reference_csum(frame[start:]) ^ 0xFFFF).to_bytes(2, "big")
    assert (n, out) == (1, [frame[: start + ofs] + want + frame[start + ofs + 2 :]])


ND = IPv6(src="fe80::1", dst="fe80::2", hlim=255) / ICMPv6ND_NS(tgt="fe80::3")
FORBIDDEN = {  # stack, csum_start, csum_offset: completing would write what the flow table matched
    "TCP's ports": (ETH / V4 / TCP_SEG, 34, 2),
    "TCP's flags": (ETH / V4 / TCP_SEG, 34, 12),
    "an address": (ETH / V4 / TCP_SEG, 14, 16),
    "the EtherType of a tag": (ETH / Dot1Q(vlan=1) / V4 / TCP_SEG, 14, 2),
    "TCP's own field, summed from elsewhere": (ETH / V4 / TCP_SEG, 38, 12),
    "UDP's ports": (ETH / V4 / UDP() / Raw(b"x" * 40), 34, 0),
    "UDP's length": (ETH / V4 / UDP() / Raw(b"x" * 40), 34, 4),
    "UDP's ports, from outside of it": (ETH / V4 / UDP() / Raw(b"x" * 40), 40, 65530),
    "SCTP's ports": (ETH / V4 / SCTP() / Raw(b"x" * 40), 34, 2),
    "ICMP's type": (ETH / V4 / ICMP() / Raw(b"x" * 40), 34, 0),
    "ND's target": (ETH / ND, 54, 8),
    "an IPv6 extension header": (ETH / V6 / IPv6ExtHdrDestOpt() / UDP() / Raw(b"x" * 40), 54, 6),
    "an IPv6 address": (ETH / V6 / UDP() / Raw(b"x" * 40), 14, 16),
    "ARP": (ETH / ARP() / Raw(b"x" * 40), 30, 6),
    "IPv4 over IEEE 802.2": (Dot3() / LLC(dsap=0xAA, ssap=0xAA) / SNAP(code=0x800) / V4 / UDP(), 42, 6),
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_a_sum_must_not_land_on_what_the_flow_table_matched(name):
    stack, start, ofs = FORBIDDEN[name]
    p, _keep = packet(bytes(stack), csum=PARTIAL, csum_start=start, csum_offset=ofs)
    assert lib.vs_offload_check(p) == -1
    assert finish(p) == (-1, [])


def test_headers_longer_than_the_head_are_refused_with_offloads():
    """192 bytes are copied on receive; what reaches beyond could change under us."""
    for options, ok in ((100, True), (140, False)):
        stack = ETH / V6 / IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * options)])
        frame, start, ofs = partial(stack, UDP(sport=1, dport=2) / Raw(b"x" * 100), 108, 17)
        p, _keep = packet(frame, csum=PARTIAL, csum_start=start, csum_offset=ofs)
        assert lib.vs_offload_check(p) == (0 if ok else -1)


def test_any_fields_over_any_bytes_neither_crash_nor_overrun():
    rng = random.Random(1)
    for _ in range(3000):
        frame = bytes(ETH / V4 / TCP_SEG / Raw(b"x" * 300))[: rng.randrange(14, 354)]
        noisy = bytearray(frame)
        for _ in range(rng.randrange(4)):
            noisy[rng.randrange(len(noisy))] = rng.randrange(256)
        fields = {
            "csum": rng.randrange(3),
            "csum_start": rng.choice([0, 14, 34, 54, rng.randrange(65536)]),
            "csum_offset": rng.choice([6, 16, rng.randrange(65536)]),
            "gso_type": rng.choice([0, 1, 3, 4, 5, 0x81, rng.randrange(256)]),
            "gso_size": rng.choice([0, 48, 100, rng.randrange(65536)]),
        }
        p, _keep = packet(bytes(noisy), cut=64, **fields)
        n, out = finish(p)
        assert n == (len(out) if out else -1)
        assert all(14 <= len(f) <= len(frame) for f in out)


@pytest.mark.parametrize(
    ("size", "segment"), [(5000, 1000), (5001, 1000), (999, 1000), (1000, 1000), (60000, 1448)]
)
def test_wire_frames_are_those_that_segmentation_makes(size, segment):
    p, _keep = gso("v4", b"d" * size, segment)
    octets = ffi.new("uint64_t *")
    frames = lib.vs_offload_wire_frames(p, octets)
    _, out = finish(p)
    assert (frames, octets[0]) == (len(out), sum(map(len, out)))
