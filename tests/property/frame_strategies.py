"""Strategies of frames built with scapy: every protocol that the parser knows, and some it does not."""

from __future__ import annotations

from hypothesis import strategies as st
from scapy.contrib.mpls import MPLS
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptMTU,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
)
from scapy.layers.ipsec import AH
from scapy.layers.l2 import ARP, LLC, SNAP, Dot1AD, Dot1AH, Dot1Q, Dot3, Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Packet, Raw

u3, u6, u8, u12, u16, u20, u32 = (st.integers(0, 2**n - 1) for n in (3, 6, 8, 12, 16, 20, 32))
macs = st.binary(min_size=6, max_size=6).map(lambda b: b.hex(":"))
ipv4s = st.binary(min_size=4, max_size=4).map(lambda b: ".".join(map(str, b)))
ipv6s = st.binary(min_size=16, max_size=16).map(lambda b: b.hex(":", 2))
payloads = st.binary(max_size=300)

tcps = st.builds(
    lambda s, d, f, r, o: TCP(sport=s, dport=d, flags=f, reserved=r, options=[("NOP", None)] * o),
    u16,
    u16,
    st.integers(0, 511),
    u3,
    st.integers(0, 9),
)
udps = st.builds(lambda s, d: UDP(sport=s, dport=d), u16, u16)
sctps = st.builds(lambda s, d, t: SCTP(sport=s, dport=d, tag=t), u16, u16, u32)
icmps = st.builds(lambda t, c: ICMP(type=t, code=c), st.sampled_from([0, 3, 8, 11]), u8)

lladdr_options = st.lists(
    st.one_of(
        st.builds(lambda m: ICMPv6NDOptSrcLLAddr(lladdr=m), macs),
        st.builds(lambda m: ICMPv6NDOptDstLLAddr(lladdr=m), macs),
        st.builds(lambda m: ICMPv6NDOptMTU(mtu=m), u32),
    ),
    max_size=3,
)


def _stack(first: Packet, more: list[Packet]) -> Packet:
    for layer in more:
        first = first / layer
    return first


nds = st.builds(
    lambda cls, target, code, options: _stack(cls(tgt=target, code=code), options),
    st.sampled_from([ICMPv6ND_NS, ICMPv6ND_NA]),
    ipv6s,
    st.sampled_from([0, 0, 0, 1]),
    lladdr_options,
)
echoes6 = st.builds(lambda i, c: ICMPv6EchoRequest(id=i, code=c), u16, u8)
exthdrs = st.lists(
    st.one_of(
        st.builds(lambda n: IPv6ExtHdrHopByHop(options=[PadN(optdata=b"\0" * n)]), st.integers(0, 12)),
        st.builds(lambda n: IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * n)]), st.integers(0, 12)),
        st.builds(lambda a, left: IPv6ExtHdrRouting(addresses=[a], segleft=left), ipv6s, st.integers(0, 1)),
        st.builds(
            lambda o, m: IPv6ExtHdrFragment(offset=o, m=m), st.sampled_from([0, 0, 0, 7]), st.integers(0, 1)
        ),
        st.builds(lambda: AH(icv=b"\0" * 12, payloadlen=4)),
    ),
    max_size=4,
)
l4s4 = st.one_of(tcps, udps, udps, icmps, sctps, st.just(Raw(b"")))
l4s6 = st.one_of(tcps, udps, udps, echoes6, nds, sctps, st.just(Raw(b"")))

ip4s = st.builds(
    lambda s, d, tos, ttl, flags, frag, opts, l4, data: (
        IP(src=s, dst=d, tos=tos, ttl=ttl, flags=flags, frag=frag, options=[IPOption(b"\x01")] * opts)
        / l4
        / Raw(data)
    ),
    ipv4s,
    ipv4s,
    u8,
    u8,
    st.sampled_from([0, 2, 2, 0, 1]),
    st.sampled_from([0, 0, 0, 0, 5]),
    st.sampled_from([0, 0, 0, 3, 40]),
    l4s4,
    payloads,
)
ip6s = st.builds(
    lambda s, d, tc, fl, hlim, ext, l4, data: _stack(
        IPv6(src=s, dst=d, tc=tc, fl=fl, hlim=hlim), [*ext, l4, Raw(data)]
    ),
    ipv6s,
    ipv6s,
    u8,
    u20,
    u8,
    exthdrs,
    l4s6,
    payloads,
)
arps = st.builds(
    lambda op, sha, spa, tha, tpa: ARP(op=op, hwsrc=sha, psrc=spa, hwdst=tha, pdst=tpa),
    u16,
    macs,
    ipv4s,
    macs,
    ipv4s,
)
l3s = st.one_of(ip4s, ip4s, ip6s, ip6s, arps, st.builds(Raw, payloads))
tags = st.lists(
    st.builds(
        lambda cls, v, p, d: cls(vlan=v, prio=p, id=d),
        st.sampled_from([Dot1Q, Dot1Q, Dot1AD]),
        u12,
        u3,
        st.integers(0, 1),
    ),
    max_size=4,
)


def _type(vlan: list[Packet], l3: Packet) -> dict[str, int]:
    if vlan:
        return {}
    return (
        {"type": 0x88B5} if isinstance(l3, Raw) else {"type": 0x8035} if getattr(l3, "op", 0) % 4 == 3 else {}
    )


def _frame(dst: str, src: str, vlan: list[Packet], l3: Packet, padding: int) -> Packet:
    return _stack(Ether(dst=dst, src=src, **_type(vlan, l3)), [*vlan, l3]) / (
        Raw(b"\xee" * padding) if isinstance(l3, ARP) else b""
    )


ethernet = st.builds(_frame, macs, macs, tags, l3s, st.integers(0, 18))
snaps = st.builds(
    lambda d, s, oui, l3: (
        Dot3(dst=d, src=s) / LLC(dsap=0xAA, ssap=0xAA, ctrl=3) / SNAP(OUI=oui, code=0x800) / l3
    ),
    macs,
    macs,
    st.sampled_from([0, 0, 1]),
    ip4s,
)
lses = st.builds(lambda label, tc, ttl: MPLS(label=label, cos=tc, ttl=ttl), u20, u3, u8)


def _mpls(dst: str, vlan: list[Packet], labels: list[Packet], bos: int, l3: Packet) -> Packet:
    """Labels, the last of which mostly says that it is."""
    labels = [label.copy() for label in labels]
    for label in labels:
        label.s = 0
    labels[-1].s = bos
    return _stack(Ether(dst=dst, src=dst), [*vlan, *labels, l3])


def _pbb(dst: str, vlan: list[Packet], isid: int, inner: Packet) -> Packet:
    return _stack(Ether(dst=dst, src=dst), [*vlan, Dot1AH(isid=isid, prio=isid & 7), inner])


mplss = st.builds(
    _mpls,
    macs,
    tags,
    st.lists(lses, min_size=1, max_size=3),
    st.sampled_from([1, 1, 1, 0]),
    st.one_of(ip4s, ip6s, arps),
)
pbbs = st.builds(_pbb, macs, tags, st.integers(0, 2**24 - 1), ethernet)
packets = st.one_of(ethernet, ethernet, ethernet, snaps, mplss, pbbs)
frames = packets.map(bytes)
