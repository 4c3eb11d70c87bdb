"""vs_parse on frames written by hand: one table of what each kind of frame yields."""

from __future__ import annotations

import pytest

from vswitchd.datapath.dp import ffi, lib

NONE = 0xFFFF
MACS = "020000000001020000000002"
MAC_KEY = {"eth_dst": "020000000001", "eth_src": "020000000002"}
UDP = "1388 0035 0008 0000"
TCP = "1388 0050 00000001 00000002 5112 ffff 0000 0000"
NS = "8700 0000 00000000" + "fe80" + "00" * 13 + "09" + "0101 02aa02aa02aa"


def ip4(proto: int, total: int, frag: int = 0, first: str = "45", options: str = "") -> str:
    return f"{first}b8 {total:04x} 0001 {frag:04x} 40{proto:02x} 0000 0a000001 0a000002 {options}"


IP4_KEY = {"eth_type": "0800", "ipv4_src": "0a000001", "ipv4_dst": "0a000002", "ip_tos": "b8", "ip_ttl": "40"}


def ip6(proto: int, payload: int) -> str:
    return f"6ab12345 {payload:04x} {proto:02x}07 fe80{'00' * 13}01 ff02{'00' * 13}02"


IP6_KEY = {
    "eth_type": "86dd",
    "ip_tos": "ab",
    "ip_ttl": "07",
    "ipv6_flabel": "00012345",
    "ipv6_src": "fe80" + "00" * 13 + "01",
    "ipv6_dst": "ff02" + "00" * 13 + "02",
}
UDP_KEY = {"ip_proto": "11", "tp_src": "1388", "tp_dst": "0035"}

CASES = {
    "unknown type": ("88b5 00", {"eth_type": "88b5"}, [14, NONE, 0]),
    "802.3": ("0008 4242 03 00", {"eth_type": "05ff"}, [14, NONE, 0]),
    "SNAP": ("0024 aaaa03000000 0800" + ip4(17, 28) + UDP, IP4_KEY | UDP_KEY, [22, 42, 0]),
    "UDP": ("0800" + ip4(17, 28) + UDP, IP4_KEY | UDP_KEY, [14, 34, 0]),
    "TCP, 12 bits of flags": (
        "0800" + ip4(6, 40) + TCP,
        IP4_KEY | {"ip_proto": "06", "tp_src": "1388", "tp_dst": "0050", "tcp_flags": "0112"},
        [14, 34, 0],
    ),
    "ICMP": (
        "0800" + ip4(1, 28) + "0305 0000 00000000",
        IP4_KEY | {"ip_proto": "01", "tp_src": "0003", "tp_dst": "0005"},
        [14, 34, 0],
    ),
    "IPv4 options": (
        "0800" + ip4(17, 32, first="46", options="01010101") + UDP,
        IP4_KEY | UDP_KEY,
        [14, 38, 0],
    ),
    "first fragment": (
        "0800" + ip4(17, 28, 0x2000) + UDP,
        IP4_KEY | UDP_KEY | {"ip_frag": "01"},
        [14, 34, 0],
    ),
    "later fragment": (
        "0800" + ip4(17, 28, 0x0007) + UDP,
        IP4_KEY | {"ip_proto": "11", "ip_frag": "03"},
        [14, NONE, 0],
    ),
    "don't fragment": ("0800" + ip4(17, 28, 0x4000) + UDP, IP4_KEY | UDP_KEY, [14, 34, 0]),
    "padding is not L4": ("0800" + ip4(17, 24) + UDP, IP4_KEY | {"ip_proto": "11"}, [14, NONE, 0]),
    "total length too small": ("0800" + ip4(17, 19) + UDP, {"eth_type": "0800"}, [NONE, NONE, 0]),
    "version 5": ("0800" + ip4(17, 28, first="55") + UDP, {"eth_type": "0800"}, [NONE, NONE, 0]),
    "IHL 4": ("0800" + ip4(17, 28, first="44") + UDP, {"eth_type": "0800"}, [NONE, NONE, 0]),
    "VLAN": ("8100 6005 0800" + ip4(17, 28) + UDP, IP4_KEY | UDP_KEY | {"vlan_tci": "7005"}, [18, 38, 1]),
    "QinQ": (
        "88a8 0002 8100 e003 0800" + ip4(17, 28) + UDP,
        IP4_KEY | UDP_KEY | {"vlan_tci": "1002", "vlan2_tci": "f003"},
        [22, 42, 2],
    ),
    "third tag": (
        "8100 0001 8100 0002 8100 0003 0800" + ip4(17, 28, 0x2000) + UDP,
        IP4_KEY | UDP_KEY | {"vlan_tci": "1001", "vlan2_tci": "1002", "ip_frag": "05"},
        [26, 46, 3],
    ),
    "five tags": (
        "8100 0001 8100 0002 88a8 0003 8100 0004 8100 0005 0800" + ip4(17, 28) + UDP,
        IP4_KEY | UDP_KEY | {"vlan_tci": "1001", "vlan2_tci": "1002", "ip_frag": "04"},
        [34, 54, 5],
    ),
    "third tag cut short": (
        "8100 0001 8100 0002 8100 0003",
        {"eth_type": "8100", "vlan_tci": "1001", "vlan2_tci": "1002"},
        [22, NONE, 2],
    ),
    "MPLS": ("8847 12345a40 45000000", {"eth_type": "8847", "mpls_lse": "12345a00"}, [14, NONE, 0]),
    "MPLS multicast behind a tag": (
        "8100 0005 8848 00001101",
        {"eth_type": "8848", "mpls_lse": "00001100", "vlan_tci": "1005"},
        [18, NONE, 1],
    ),
    "MPLS cut short": ("8847 123456", {"eth_type": "8847"}, [NONE, NONE, 0]),
    "PBB": ("88e7 e0123456" + MACS, {"eth_type": "88e7", "pbb_isid": "00123456"}, [14, NONE, 0]),
    "PBB cut short": ("88e7 e01234", {"eth_type": "88e7"}, [NONE, NONE, 0]),
    "tag cut short": ("8100 000108", {"eth_type": "8100"}, [14, NONE, 0]),
    "second tag cut short": ("8100 0001 88a8 00", {"eth_type": "88a8", "vlan_tci": "1001"}, [18, NONE, 1]),
    "ARP": (
        "0806 0001 0800 06 04 0002 0a0b0c0d0e0f 0a000001 1a1b1c1d1e1f 0a000002",
        {
            "eth_type": "0806",
            "arp_op": "0002",
            "ipv4_src": "0a000001",
            "ipv4_dst": "0a000002",
            "arp_sha": "0a0b0c0d0e0f",
            "arp_tha": "1a1b1c1d1e1f",
        },
        [14, NONE, 0],
    ),
    "IPv6 UDP": ("86dd" + ip6(17, 8) + UDP, IP6_KEY | UDP_KEY, [14, 54, 0]),
    "neighbour solicitation": (
        "86dd" + ip6(58, 32) + NS,
        IP6_KEY
        | {
            "ip_proto": "3a",
            "tp_src": "0087",
            "nd_target": "fe80" + "00" * 13 + "09",
            "arp_sha": "02aa02aa02aa",
        },
        [14, 54, 0],
    ),
    "hop-by-hop, routing": (
        "86dd" + ip6(0, 24) + "2b00 0000000000001100 000000000000" + UDP,
        IP6_KEY | UDP_KEY | {"ipv6_exthdr": "0060"},
        [14, 70, 0],
    ),
    "out of order": (
        "86dd" + ip6(43, 24) + "0000 0000000000001100 000000000000" + UDP,
        IP6_KEY | UDP_KEY | {"ipv6_exthdr": "0120"},
        [14, 70, 0],
    ),
    "repeated": (
        "86dd" + ip6(0, 24) + "0000 0000000000001100 000000000000" + UDP,
        IP6_KEY | UDP_KEY | {"ipv6_exthdr": "00c0"},
        [14, 70, 0],
    ),
    "no next header": (
        "86dd" + ip6(59, 0),
        IP6_KEY | {"ip_proto": "3b", "ipv6_exthdr": "0001"},
        [14, NONE, 0],
    ),
    "ESP": ("86dd" + ip6(50, 8) + UDP, IP6_KEY | {"ip_proto": "32", "ipv6_exthdr": "0002"}, [14, NONE, 0]),
    "IPv6 first fragment": (
        "86dd" + ip6(44, 16) + "1100 0001 00000001" + UDP,
        IP6_KEY | UDP_KEY | {"ipv6_exthdr": "0010", "ip_frag": "01"},
        [14, 62, 0],
    ),
    "IPv6 later fragment": (
        "86dd" + ip6(44, 16) + "1100 0009 00000001" + UDP,
        IP6_KEY | {"ip_proto": "11", "ipv6_exthdr": "0010", "ip_frag": "03"},
        [14, NONE, 0],
    ),
    "IPv6 atomic fragment": (
        "86dd" + ip6(44, 16) + "1100 0000 00000001" + UDP,
        IP6_KEY | UDP_KEY | {"ipv6_exthdr": "0010"},
        [14, 62, 0],
    ),
    "SCTP": (
        "0800" + ip4(132, 32) + "1388 0050 00000001 00000000",
        IP4_KEY | {"ip_proto": "84", "tp_src": "1388", "tp_dst": "0050"},
        [14, 34, 0],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_frame(name: str) -> None:
    text, want, offsets = CASES[name]
    frame = bytes.fromhex(MACS + text)
    key = ffi.new("struct vs_key *")
    ffi.memmove(key, b"\xff" * ffi.sizeof("struct vs_key"), ffi.sizeof("struct vs_key"))
    ofs = ffi.new("uint16_t[3]")
    lib.vs_parse_frame(frame, len(frame), 0x01020304, key, ofs)
    got = {n: bytes(ffi.buffer(ffi.addressof(key, n))).hex() for n, _ in ffi.typeof("struct vs_key").fields}
    got = {n: v for n, v in got.items() if v.strip("0")}
    assert got == want | MAC_KEY | {"in_port": "01020304"}
    assert list(ofs) == offsets


def test_runt_has_no_fields() -> None:
    key, ofs = ffi.new("struct vs_key *"), ffi.new("uint16_t[3]")
    lib.vs_parse_frame(bytes(13), 13, 0, key, ofs)
    assert not any(bytes(ffi.buffer(key)))
    assert list(ofs) == [NONE, NONE, 0]


def test_key_is_clean_after_each_kind_of_packet() -> None:
    """The `dirty` map: an IPv6 packet's fields do not shine through the key of the packet after it."""
    key, packet = ffi.new("struct vs_key *"), ffi.new("struct vs_packet *")
    dirty = ffi.new("uint8_t *", 6)
    udp4 = bytes.fromhex(MACS + "0800" + ip4(17, 28) + UDP)
    fresh = ffi.new("struct vs_key *")
    ofs = ffi.new("uint16_t[3]")
    lib.vs_parse_frame(udp4, len(udp4), 0, fresh, ofs)
    for name in ("hop-by-hop, routing", "MPLS", "PBB", "neighbour solicitation", "ARP", "UDP"):
        frame = bytes.fromhex(MACS + CASES[name][0])
        lib.vs_packet_fill(packet, frame, len(frame))
        lib.vs_parse(packet, 0, key, dirty)
        assert bool(dirty[0] & 2) == (name not in ("UDP", "MPLS", "PBB"))
        assert bool(dirty[0] & 4) == (name in ("hop-by-hop, routing", "MPLS", "PBB"))
        lib.vs_packet_fill(packet, udp4, len(udp4))
        lib.vs_parse(packet, 0, key, dirty)
        assert dirty[0] == 0
        assert bytes(ffi.buffer(key)) == bytes(ffi.buffer(fresh))


def test_bridge_is_part_of_the_key() -> None:
    key, packet, dirty = ffi.new("struct vs_key *"), ffi.new("struct vs_packet *"), ffi.new("uint8_t *", 6)
    frame = bytes.fromhex(MACS + "88b5")
    lib.vs_packet_fill(packet, frame, len(frame))
    lib.vs_parse(packet, 0x0102, key, dirty)
    assert bytes(key.bridge) == b"\x01\x02"
