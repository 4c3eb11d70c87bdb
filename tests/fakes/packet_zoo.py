"""One packet of each kind that actions may meet, built by scapy, and what of it a switch can see."""

from __future__ import annotations

from scapy.contrib.mpls import MPLS
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.ipsec import AH
from scapy.layers.l2 import ARP, LLC, SNAP, Dot1AD, Dot1AH, Dot1Q, Dot3, Ether
from scapy.layers.sctp import SCTP
from scapy.packet import NoPayload, Packet, Raw

MACS = {"dst": "02:00:00:00:00:01", "src": "02:00:00:00:00:02"}
ETH = Ether(**MACS)
ENDS = {"src": "10.0.0.1", "dst": "10.0.0.2"}
V4 = IP(**ENDS, tos=0xB9, ttl=64)
V6 = IPv6(src="fe80::1", dst="fe80::2", tc=0xAB, fl=0x12345, hlim=7)
ODD = Raw(b"odd length payload!")
LONG = Raw(bytes(range(256)) * 5)
NS = ICMPv6ND_NS(tgt="fe80::9") / ICMPv6NDOptSrcLLAddr(lladdr="02:aa:02:aa:02:aa")
NA = ICMPv6ND_NA(tgt="fe80::9") / ICMPv6NDOptDstLLAddr(lladdr="02:aa:02:aa:02:aa")
TAG = Dot1Q(vlan=5, prio=3, id=1)
LABEL = {"label": 0x12345, "cos": 5, "ttl": 9}
ISID = {"isid": 0x654321, "prio": 2, "dei": 1}
INNER = Ether(dst="02:00:00:00:00:03", src="02:00:00:00:00:04")

ZOO: dict[str, Packet] = {
    "arp": ETH / ARP(op=1, hwsrc="02:00:00:00:00:09", psrc="10.0.0.1", pdst="10.0.0.2"),
    "rarp": Ether(**MACS, type=0x8035) / ARP(op=3),
    "udp": ETH / V4 / UDP(sport=1, dport=2) / ODD,
    "udp without checksum": ETH / V4 / UDP(chksum=0) / ODD,
    "long tcp": ETH / V4 / TCP(sport=1, dport=2) / LONG,
    "icmp": ETH / V4 / ICMP(type=8, id=7) / ODD,
    "sctp": ETH / V4 / SCTP(sport=1, dport=2, tag=7) / ODD,
    "long sctp": ETH / V4 / SCTP(sport=1, dport=2, tag=7) / LONG,
    "ipv4 options": ETH / IP(**ENDS, options=[IPOption(b"\x01")] * 4) / UDP() / ODD,
    "ipv4 of ttl 1": ETH / IP(**ENDS, ttl=1) / UDP(),
    "first fragment": ETH / IP(**ENDS, flags="MF") / UDP() / ODD,
    "first fragment of sctp": ETH / IP(**ENDS, flags="MF") / SCTP() / ODD,
    "later fragment": ETH / IP(**ENDS, frag=3) / Raw(b"data of a fragment"),
    "ip in ip": ETH / V4 / IP(**ENDS, ttl=33) / UDP() / ODD,
    "ipv6 in ip": ETH / V4 / IPv6(hlim=44) / UDP() / ODD,
    "unknown protocol": ETH / IP(**ENDS, proto=200) / ODD,
    "udp6": ETH / V6 / UDP(sport=1, dport=2) / ODD,
    "long tcp6": ETH / V6 / TCP(sport=1, dport=2) / LONG,
    "echo6": ETH / V6 / ICMPv6EchoRequest(id=1) / ODD,
    "neighbour solicitation": ETH / V6 / NS,
    "neighbour advertisement": ETH / V6 / NA,
    "sctp6 behind options": ETH / V6 / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / SCTP() / LONG,
    "source route": ETH / V6 / IPv6ExtHdrRouting(addresses=["fe80::77"], segleft=1) / UDP() / ODD,
    "authenticated": ETH / V6 / AH(nh=132, icv=bytes(12), payloadlen=4) / SCTP() / ODD,
    "atomic fragment": ETH / V6 / IPv6ExtHdrFragment() / UDP() / ODD,
    "first fragment of sctp6": ETH / V6 / IPv6ExtHdrFragment(m=1) / SCTP() / ODD,
    "later fragment of ipv6": ETH / V6 / IPv6ExtHdrFragment(offset=3) / ODD,
    "ip in ipv6": ETH / V6 / IPv6ExtHdrDestOpt() / IP(**ENDS, ttl=33) / ODD,
    "vlan": ETH / TAG / V4 / UDP(sport=1) / ODD,
    "vlan arp": ETH / TAG / ARP(),
    "qinq": ETH / Dot1AD(vlan=9, prio=6) / TAG / V6 / TCP() / ODD,
    "three tags": ETH / Dot1AD(vlan=9) / TAG / Dot1Q(vlan=7) / V4 / TCP() / ODD,
    "mpls ip": ETH / MPLS(**LABEL, s=1) / V4 / UDP() / ODD,
    "mpls ipv6": ETH / MPLS(**LABEL, s=1) / V6 / UDP() / ODD,
    "mpls of ttl 1": ETH / MPLS(label=3, s=1, ttl=1) / V4,
    "two labels": ETH / MPLS(**LABEL, s=0) / MPLS(label=77, s=1, ttl=200) / V4 / TCP() / LONG,
    "mpls of no ip": ETH / MPLS(**LABEL, s=1) / Raw(b"\x00\x00\x00\x00pseudowire"),
    "mpls behind a tag": ETH / TAG / MPLS(**LABEL, s=1) / V4 / UDP() / ODD,
    "mpls multicast": Ether(**MACS, type=0x8848) / MPLS(**LABEL, s=1) / V6 / ODD,
    "pbb": ETH / Dot1AH(**ISID) / INNER / V4 / UDP() / ODD,
    "pbb of a tagged frame": ETH / Dot1AH(**ISID) / INNER / TAG / V6 / UDP() / LONG,
    "pbb behind a b-tag": ETH / Dot1AD(vlan=3, prio=1) / Dot1AH(**ISID) / INNER / V4 / UDP(),
    "unknown type": Ether(**MACS, type=0x88B5) / ODD,
    "802.3": Dot3(**MACS) / LLC(dsap=0x42, ssap=0x42, ctrl=3) / ODD,
    "snap": Dot3(**MACS) / LLC(dsap=0xAA, ssap=0xAA, ctrl=3) / SNAP(code=0x800) / V4 / UDP() / ODD,
}


def layers(packet: Packet) -> list[Packet]:
    """All layers, outermost first."""
    out = []
    while not isinstance(packet, NoPayload):
        out.append(packet)
        packet = packet.payload
    return out


def visible(packet: Packet) -> list[Packet]:
    """The layers that match fields tell of: nothing behind MPLS, an I-TAG, a second IP header, in a later fragment."""
    out: list[Packet] = []
    for layer in layers(packet):
        if isinstance(layer, IP | IPv6) and any(isinstance(seen, IP | IPv6) for seen in out):
            break
        out.append(layer)
        later = (isinstance(layer, IP) and layer.frag) or (
            isinstance(layer, IPv6ExtHdrFragment) and layer.offset
        )
        if isinstance(layer, MPLS | Dot1AH) or later:
            break
    return out


def fragment(packet: Packet) -> bool:
    """Whether it is the first or a later one."""
    return any(
        (isinstance(layer, IP) and (layer.flags.MF or layer.frag))
        or (isinstance(layer, IPv6ExtHdrFragment) and (layer.m or layer.offset))
        for layer in visible(packet)
    )
