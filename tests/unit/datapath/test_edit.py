"""Edits against scapy doing the same to its packet, and the cases that a frame alone cannot show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from scapy.contrib.mpls import MPLS
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ND_NS,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.l2 import ARP, Dot1AH, Dot1Q, Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Packet, Raw

from vswitchd.datapath.dp import ffi, lib

if TYPE_CHECKING:
    from collections.abc import Callable

ETH = Ether(dst="02:00:00:00:00:01", src="02:00:00:00:00:02")
V4 = IP(src="10.0.0.1", dst="10.0.0.2", tos=0xB9, ttl=64)
V6 = IPv6(src="fe80::1", dst="fe80::2", tc=0xAB, fl=0x12345, hlim=7)
NS = ICMPv6ND_NS(tgt="fe80::9") / ICMPv6NDOptSrcLLAddr(lladdr="02:aa:02:aa:02:aa")
ODD = Raw(b"odd length payload!")
LONG = Raw(bytes(range(256)) * 5)


def setter(layer: Any, **changes: Any) -> Callable[[Packet], None]:
    def change(packet: Packet) -> None:
        for name, value in changes.items():
            setattr(packet[layer], name, value)

    return change


def mac(text: str) -> bytes:
    return bytes.fromhex(text)


ALL = b"\xff" * 16
CASES = {
    "eth_dst": (
        ETH / V4 / UDP() / ODD,
        "ETH_DST",
        mac("020304050607"),
        ALL,
        setter(Ether, dst="02:03:04:05:06:07"),
    ),
    "eth_src, masked": (
        ETH / V4 / UDP(),
        "ETH_SRC",
        mac("aabbccddeeff"),
        mac("ffffff000000"),
        setter(Ether, src="aa:bb:cc:00:00:02"),
    ),
    "vlan_vid": (
        ETH / Dot1Q(vlan=5, prio=3) / V4 / UDP(),
        "VLAN_VID",
        b"\x10\x07",
        ALL,
        setter(Dot1Q, vlan=7),
    ),
    "vlan_pcp": (
        ETH / Dot1Q(vlan=5, prio=3) / V4 / UDP(),
        "VLAN_PCP",
        b"\xa0\x00",
        ALL,
        setter(Dot1Q, prio=5),
    ),
    "ip_dscp": (ETH / V4 / TCP() / ODD, "IP_DSCP", b"\x28", ALL, setter(IP, tos=0x29)),
    "ip_ecn": (ETH / V4 / TCP() / ODD, "IP_ECN", b"\x02", ALL, setter(IP, tos=0xBA)),
    "ip6_dscp": (ETH / V6 / UDP(), "IP_DSCP", b"\x28", ALL, setter(IPv6, tc=0x2B)),
    "ip_ttl": (ETH / V4 / UDP(), "IP_TTL", b"\x09", ALL, setter(IP, ttl=9)),
    "ipv4_src of UDP": (
        ETH / V4 / UDP() / ODD,
        "IPV4_SRC",
        bytes([1, 2, 3, 4]),
        ALL,
        setter(IP, src="1.2.3.4"),
    ),
    "ipv4_dst of TCP": (
        ETH / V4 / TCP() / ODD,
        "IPV4_DST",
        bytes([1, 2, 3, 4]),
        ALL,
        setter(IP, dst="1.2.3.4"),
    ),
    "ipv4_dst of a long one": (ETH / V4 / TCP() / LONG, "IPV4_DST", bytes(4), ALL, setter(IP, dst="0.0.0.0")),
    "ipv4_dst of ICMP": (
        ETH / V4 / ICMP() / ODD,
        "IPV4_DST",
        bytes([1, 2, 3, 4]),
        ALL,
        setter(IP, dst="1.2.3.4"),
    ),
    "ipv4_src, masked": (
        ETH / V4 / UDP(),
        "IPV4_SRC",
        bytes([1, 2, 3, 4]),
        bytes([255, 0, 0, 255]),
        setter(IP, src="1.0.0.4"),
    ),
    "tcp_dst": (ETH / V4 / TCP() / ODD, "TP_DST", b"\x12\x34", ALL, setter(TCP, dport=0x1234)),
    "udp_src": (ETH / V4 / UDP() / ODD, "TP_SRC", b"\x12\x34", ALL, setter(UDP, sport=0x1234)),
    "udp_src of IPv6": (ETH / V6 / UDP() / ODD, "TP_SRC", b"\x12\x34", ALL, setter(UDP, sport=0x1234)),
    "sctp_src": (ETH / V4 / SCTP(tag=7) / ODD, "TP_SRC", b"\x12\x34", ALL, setter(SCTP, sport=0x1234)),
    "sctp_dst behind options, a long one": (
        ETH / V6 / IPv6ExtHdrDestOpt() / SCTP(tag=7, sport=9) / LONG,
        "TP_DST",
        b"\x12\x34",
        b"\x0f\xf0",
        setter(SCTP, dport=0x0230),
    ),
    "sctp_dst, padded": (
        ETH / IP(len=33) / SCTP(dport=1) / Raw(b"a" + bytes(13)),
        "TP_DST",
        b"\0\x01",
        ALL,
        lambda _: None,
    ),
    "sctp_src without a checksum": (
        ETH / V4 / SCTP(chksum=0) / ODD,
        "TP_SRC",
        b"\x12\x34",
        ALL,
        setter(SCTP, sport=0x1234),
    ),
    "mpls_label": (
        ETH / MPLS(label=3, cos=5, s=1, ttl=9) / V4,
        "MPLS_LABEL",
        bytes.fromhex("abcde000"),
        ALL,
        setter(MPLS, label=0xABCDE),
    ),
    "mpls_tc behind a tag": (
        ETH / Dot1Q(vlan=5) / MPLS(label=3, cos=5, s=1, ttl=9) / V4,
        "MPLS_TC",
        bytes.fromhex("00000400"),
        ALL,
        setter(MPLS, cos=2),
    ),
    "mpls_bos": (ETH / MPLS(s=1) / V4, "MPLS_BOS", bytes(4), ALL, setter(MPLS, s=0)),
    "pbb_isid": (
        ETH / Dot1AH(isid=5, prio=3, dei=1) / ETH / V4,
        "PBB_ISID",
        bytes.fromhex("ff123456"),
        ALL,
        setter(Dot1AH, isid=0x123456),
    ),
    "icmp_type": (ETH / V4 / ICMP(type=8, id=7) / ODD, "ICMP_TYPE", b"\x00\x00", ALL, setter(ICMP, type=0)),
    "icmp_code": (ETH / V4 / ICMP(type=3) / ODD, "ICMP_CODE", b"\x00\x0d", ALL, setter(ICMP, code=13)),
    "icmpv6_code": (
        ETH / V6 / ICMPv6EchoRequest(id=1) / ODD,
        "ICMP_CODE",
        b"\x00\x0d",
        ALL,
        setter(ICMPv6EchoRequest, code=13),
    ),
    "arp_op": (ETH / ARP(op=1), "ARP_OP", b"\x00\x02", ALL, setter(ARP, op=2)),
    "arp_spa": (ETH / ARP(), "ARP_SPA", bytes([1, 2, 3, 4]), ALL, setter(ARP, psrc="1.2.3.4")),
    "arp_tpa": (ETH / ARP(), "ARP_TPA", bytes([1, 2, 3, 4]), ALL, setter(ARP, pdst="1.2.3.4")),
    "arp_sha": (ETH / ARP(), "ARP_SHA", mac("020304050607"), ALL, setter(ARP, hwsrc="02:03:04:05:06:07")),
    "arp_tha": (ETH / ARP(), "ARP_THA", mac("020304050607"), ALL, setter(ARP, hwdst="02:03:04:05:06:07")),
    "ipv6_src": (ETH / V6 / UDP() / ODD, "IPV6_SRC", bytes(15) + b"\x05", ALL, setter(IPv6, src="::5")),
    "ipv6_dst of ICMPv6": (ETH / V6 / NS, "IPV6_DST", bytes(15) + b"\x05", ALL, setter(IPv6, dst="::5")),
    "ipv6_dst behind options": (
        ETH / V6 / IPv6ExtHdrDestOpt() / TCP() / ODD,
        "IPV6_DST",
        bytes(15) + b"\x05",
        ALL,
        setter(IPv6, dst="::5"),
    ),
    "ipv6_dst on a source route": (
        ETH / V6 / IPv6ExtHdrRouting(addresses=["fe80::77"], segleft=1) / UDP() / ODD,
        "IPV6_DST",
        bytes(15) + b"\x05",
        ALL,
        setter(IPv6, dst="::5"),
    ),
    "ipv6_flabel": (
        ETH / V6 / UDP(),
        "IPV6_FLABEL",
        bytes.fromhex("fff54321"),
        ALL,
        setter(IPv6, fl=0x54321),
    ),
    "nd_target": (ETH / V6 / NS, "ND_TARGET", bytes(15) + b"\x05", ALL, setter(ICMPv6ND_NS, tgt="::5")),
    "nd_sll": (
        ETH / V6 / NS,
        "ND_SLL",
        mac("020304050607"),
        ALL,
        setter(ICMPv6NDOptSrcLLAddr, lladdr="02:03:04:05:06:07"),
    ),
    "metadata": (ETH / V4 / UDP(), "METADATA", b"12345678", ALL, lambda _: None),
    "tunnel_id": (ETH / V4 / UDP(), "TUNNEL_ID", b"12345678", ALL, lambda _: None),
}


def action(
    kind: str, field: str = "IN_PORT", value: bytes = b"", mask: bytes = ALL, arg: int = 0
) -> dict[str, Any]:
    return {
        "type": getattr(lib, f"VS_ACT_{kind}"),
        "field": getattr(lib, f"VS_F_{field}"),
        "value": value.ljust(16, b"\0"),
        "mask": mask.ljust(16, b"\0"),
        "arg": arg,
    }


def edit(frame: bytes, *actions: dict[str, Any]) -> bytes | None:
    buffer = ffi.new("uint8_t[]", frame + bytes(16))
    n = lib.vs_edit_frame(
        buffer, len(frame), len(frame) + 16, ffi.new("struct vs_action[]", list(actions)), len(actions)
    )
    return bytes(buffer)[:n] if n >= 0 else None


def rebuilt(packet: Packet, change: Callable[[Packet], None]) -> bytes:
    """What scapy makes of the changed packet, all checksums computed anew."""
    packet = packet.copy()
    change(packet)
    return bytes(packet)


@pytest.mark.parametrize("name", CASES)
def test_set_field_is_what_scapy_does(name: str) -> None:
    packet, field, value, mask, change = CASES[name]
    want = rebuilt(packet, change)
    assert edit(bytes(packet), action("SET_FIELD", field, value, mask)) == want
    if not name.startswith(("metadata", "tunnel", "sctp_dst, padded")):
        assert want != bytes(packet)


REFUSED = {
    "no tag": (ETH / V4, "VLAN_VID"),
    "no second tag": (ETH / Dot1Q(vlan=1) / V4, "VLAN2_TCI"),
    "IPv4 field of IPv6": (ETH / V6 / UDP(), "IPV4_SRC"),
    "IPv6 field of IPv4": (ETH / V4 / UDP(), "IPV6_SRC"),
    "port of a later fragment": (ETH / IP(frag=3) / UDP(), "TP_SRC"),
    "port of ICMP": (ETH / V4 / ICMP(), "TP_SRC"),
    "port of an SCTP fragment (its CRC32c covers all of them)": (ETH / IP(flags="MF") / SCTP(), "TP_SRC"),
    "port of an SCTP fragment of IPv6": (ETH / V6 / IPv6ExtHdrFragment(m=1) / SCTP(), "TP_SRC"),
    "port of SCTP in a jumbogram": (ETH / IPv6(plen=0) / IPv6ExtHdrHopByHop() / SCTP(), "TP_SRC"),
    "type of UDP": (ETH / V4 / UDP(), "ICMP_TYPE"),
    "target of an echo": (ETH / V6 / ICMPv6EchoRequest(), "ND_TARGET"),
    "missing option": (ETH / V6 / NS, "ND_TLL"),
    "ARP field of IPv4": (ETH / V4, "ARP_OP"),
    "header cut short": (Raw(bytes(ETH / V4)[:30]), "IPV4_SRC"),
    "runt": (Raw(b"short"), "ETH_DST"),
    "eth_type": (ETH / V4 / UDP(), "ETH_TYPE"),
    "ip_proto": (ETH / V4 / UDP(), "IP_PROTO"),
    "in_port": (ETH / V4 / UDP(), "IN_PORT"),
    "tcp_flags": (ETH / V4 / TCP(), "TCP_FLAGS"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    packet, field = REFUSED[name]
    assert edit(bytes(packet), action("SET_FIELD", field, b"\x01" * 16)) is None


def test_tags() -> None:
    plain, one = ETH / V4 / UDP() / LONG, ETH / Dot1Q(vlan=5, prio=3) / V4 / UDP() / LONG
    assert edit(bytes(plain), action("PUSH_VLAN", arg=0x8100)) == bytes(
        ETH / Dot1Q(vlan=0) / V4 / UDP() / LONG
    )
    pushed = edit(bytes(one), action("PUSH_VLAN", arg=0x88A8))
    assert pushed == bytes(one)[:12] + bytes.fromhex("88a86005") + bytes(one)[12:]
    assert edit(bytes(one), action("POP_VLAN")) == bytes(plain)
    assert edit(bytes(plain), action("POP_VLAN")) is None
    push = action("PUSH_VLAN", arg=0x8100)
    assert edit(
        bytes(plain), push, action("SET_FIELD", "VLAN_VID", b"\x10\x05"), action("POP_VLAN")
    ) == bytes(plain)
    assert edit(bytes(plain), push, push, push, push, push) is None, "no room for 20 bytes"


@pytest.mark.parametrize("l3", [V4, V6], ids=["IPv4", "IPv6"])
def test_ttl(l3: Packet) -> None:
    name = "ttl" if l3 is V4 else "hlim"
    for before, after in ((64, 63), (2, 1), (1, None), (0, None)):
        packet = ETH / l3.copy() / UDP() / ODD
        setattr(packet[type(l3)], name, before)
        want = None if after is None else rebuilt(packet, setter(type(l3), **{name: after}))
        assert edit(bytes(packet), action("DEC_TTL")) == want
        assert edit(bytes(packet), action("SET_TTL", arg=77)) == rebuilt(
            packet, setter(type(l3), **{name: 77})
        )
    assert edit(bytes(ETH / ARP()), action("DEC_TTL")) is None
    assert edit(bytes(ETH / ARP()), action("SET_TTL", arg=3)) is None


def test_udp_checksum_of_zero() -> None:
    none = ETH / V4 / UDP(chksum=0) / ODD
    assert edit(bytes(none), action("SET_FIELD", "IPV4_SRC", b"abcd")) == rebuilt(
        none, setter(IP, src="97.98.99.100")
    )
    # a computed checksum of zero is sent as all ones (RFC 768)
    port = Ether(bytes(ETH / V4 / UDP(sport=1, dport=0)))[UDP].chksum
    whole = Ether(bytes(ETH / V4 / UDP(sport=1, dport=port)))
    assert whole[UDP].chksum == 0xFFFF
    other = bytes(ETH / V4 / UDP(sport=1, dport=9))
    assert edit(other, action("SET_FIELD", "TP_DST", port.to_bytes(2, "big"))) == bytes(whole)


def parsed(frame: bytes) -> Any:
    p = ffi.new("struct vs_packet *")
    lib.vs_packet_fill(p, frame, len(frame))
    lib.vs_parse(p, 0, ffi.new("struct vs_key *"), ffi.new("uint8_t *", 6))
    return p


def head(p: Any) -> bytes:
    return bytes(ffi.buffer(p.data, p.head_len))


def test_partial_checksum() -> None:
    """NEEDS_CSUM: the field holds the pseudo-header's sum, so addresses change it, ports do not."""
    packet = ETH / V4 / UDP(chksum=0x1111) / ODD
    p = parsed(bytes(packet))
    p.csum, p.csum_start, p.csum_offset = lib.VS_CSUM_PARTIAL, p.l4_ofs, 6
    assert lib.vs_edit_set_field(p, lib.VS_F_TP_DST, b"\x12\x34", ALL) == 0
    assert head(p) == bytes(ETH / V4 / UDP(chksum=0x1111, dport=0x1234) / ODD)
    assert lib.vs_edit_set_field(p, lib.VS_F_IPV4_SRC, bytes([10, 0, 1, 3]), ALL) == 0
    assert head(p)[p.l4_ofs + 6 : p.l4_ofs + 8] == (0x1111 + 0x0102).to_bytes(2, "big")
    assert lib.vs_edit_push_vlan(p, 0x8100, 5) == 0
    assert p.csum_start == p.l4_ofs == 38
    assert lib.vs_edit_pop_vlan(p) == 0
    assert (p.csum_start, p.l3_ofs, p.n_tags, p.frame_len) == (34, 14, 0, len(bytes(packet)))


def test_partial_checksum_of_an_inner_packet() -> None:
    """csum_start behind the outer UDP header: the outer checksum is complete and is mended as such."""
    packet = ETH / V4 / UDP(sport=1, dport=4789) / LONG
    p = parsed(bytes(packet))
    p.csum, p.csum_start, p.csum_offset = lib.VS_CSUM_PARTIAL, 90, 16
    assert lib.vs_edit_set_field(p, lib.VS_F_TP_SRC, b"\x12\x34", ALL) == 0
    want = rebuilt(packet, setter(UDP, sport=0x1234))
    assert head(p) == want[: p.head_len]


def test_headroom_ends() -> None:
    p = parsed(bytes(ETH / V4 / UDP()))
    pushes = 0
    while lib.vs_edit_push_vlan(p, 0x8100, 1) == 0:
        pushes += 1
    assert pushes == lib.VS_HEADROOM // 4
    assert head(p).endswith(bytes(V4 / UDP()))


def test_other_actions_leave_key_and_mask_alone() -> None:
    key, mask = ffi.new("struct vs_key *"), ffi.new("struct vs_key *")
    for kind in ("OUTPUT", "GROUP", "DROP"):
        a = ffi.new("struct vs_action *", action(kind, value=ALL))
        lib.vs_edit_key(key, a)
        lib.vs_edit_key_sources(mask, a)
    assert not any(bytes(ffi.buffer(key)) + bytes(ffi.buffer(mask)))


def test_metadata_of_a_key() -> None:
    key = ffi.new("struct vs_key *")
    key.metadata = b"\xaa" * 8
    lib.vs_edit_key(
        key, ffi.new("struct vs_action *", action("SET_FIELD", "METADATA", b"\x55" * 8, b"\x0f" * 8))
    )
    assert bytes(key.metadata) == b"\xa5" * 8
