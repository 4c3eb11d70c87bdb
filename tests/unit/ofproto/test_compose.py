"""Frames made up for matches: the parser finds in them what the match says, scapy finds their checksums right."""

from __future__ import annotations

import pytest
from scapy.layers.l2 import Ether

from vswitchd.appctl_trace import parse_match
from vswitchd.datapath.core import ffi, lib
from vswitchd.ofproto.compose import compose
from vswitchd.ofproto.flowkey import match_of_key
from vswitchd.ofproto.flowmatch import format_match
from vswitchd.ofproto.oxm import Match

FLOWS = [
    "",
    "in_port=3,dl_src=02:00:00:00:00:01,dl_dst=02:00:00:00:00:02",
    "dl_type=0x88b5,dl_vlan=7,dl_vlan_pcp=3",
    "tcp,nw_src=10.0.0.1,nw_dst=10.0.0.2,tp_src=1000,tp_dst=80,nw_tos=40,nw_ecn=1,nw_ttl=9",
    "tcp,tcp_flags=+syn",
    "udp,dl_vlan=1,tp_dst=53",
    "sctp,tp_src=5,tp_dst=6",
    "icmp,icmp_type=8,icmp_code=0",
    "ip,nw_proto=47",
    "ip",
    "arp,arp_op=2,arp_spa=10.0.0.1,arp_tpa=10.0.0.2,arp_sha=02:00:00:00:00:01,arp_tha=02:00:00:00:00:02",
    "rarp,arp_op=3",
    "tcp6,ipv6_src=fc00::1,ipv6_dst=fc00::2,tp_dst=443,ipv6_label=0x12345,nw_ttl=3",
    "udp6,tp_src=1",
    "sctp6,tp_src=1",
    "ipv6,nw_proto=89",
    "icmp6,icmp_type=128",
    "icmp6,icmp_type=135,nd_target=fc00::9,nd_sll=02:00:00:00:00:01",
    "icmp6,icmp_type=136,nd_target=fc00::9,nd_tll=02:00:00:00:00:01",
    "mpls,mpls_label=77,mpls_tc=5,mpls_bos=0",
    "mplsm,mpls_label=1",
    "dl_type=0x88e7,pbb_isid=0x123456",
]


def parsed(frame: bytes, in_port: int = 0) -> Match:
    key, ofs = ffi.new("struct vs_key *"), ffi.new("uint16_t[3]")
    lib.vs_parse_frame(frame, len(frame), in_port, key, ofs)
    return match_of_key(bytes(ffi.buffer(key)))


@pytest.mark.parametrize("text", FLOWS)
def test_the_frame_is_of_the_flow(text: str) -> None:
    match = parse_match(text, {})
    frame = compose(match)
    assert len(frame) >= 60
    in_port = match.get("in_port")
    found = parsed(frame, in_port.value if in_port else 0)
    assert {entry for entry in match if entry.mask is None} <= set(found.entries), format_match(found)
    packet = Ether(frame)
    again = Ether(frame)
    for layer in again.layers():
        for name in ("chksum", "cksum"):
            if name in again[layer].fields and layer.__name__ != "SCTP":
                del again[layer].fields[name]
    assert bytes(Ether(bytes(again))) == bytes(packet) == frame


@pytest.mark.parametrize("bits", [8, 16, 32, 64, 8 | 32, 8 | 16 | 32 | 64])
def test_extension_headers(bits: int) -> None:
    match = Match.named(eth_type=0x86DD, ip_proto=6, tcp_dst=80, ipv6_exthdr=bits)
    found = parsed(compose(match))
    assert {(e.field.name, e.value) for e in found} >= {
        ("ipv6_exthdr", bits),
        ("ip_proto", 6),
        ("tcp_dst", 80),
    }


def test_what_cannot_be_made_up() -> None:
    with pytest.raises(ValueError, match="ipv6_exthdr"):
        compose(Match.named(eth_type=0x86DD, ipv6_exthdr=2))
