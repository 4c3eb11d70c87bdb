"""OpenFlow 1.3.5, 5.12 and 7.2.3.7 by Ryu's hands: fields that match, tags that come and go, TTLs, set-field."""

import pytest
from conformance_world import DST, SRC, apply, eth, flow, goto, out, states, write
from scapy.contrib.mpls import MPLS
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6ND_NS, ICMPv6NDOptSrcLLAddr, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Packet, Raw

pytestmark = [pytest.mark.interop, pytest.mark.root]
E = Ether(dst=DST.hex(":"), src=SRC.hex(":"))
PAYLOAD = Raw(b"payload of the packet, an even number of bytes..")
V4 = IP(src="10.0.0.1", dst="10.0.0.2", ttl=17, tos=0x28)
V6 = IPv6(src="fd00::1", dst="fd00::2", hlim=19, tc=0x28, fl=0x54321)


def data(packet: Packet) -> bytes:
    return bytes(packet)


def pbb(isid: int, inner: bytes) -> bytes:
    return DST + SRC + b"\x88\xe7" + isid.to_bytes(4, "big") + inner


UDP4 = E / V4 / UDP(sport=7, dport=9) / PAYLOAD
UDP6 = E / V6 / UDP(sport=7, dport=9) / PAYLOAD
FIELDS = {
    "in_port": ("in_port=1", data(UDP4)),
    "in_phy_port": ("in_port=1, in_phy_port=1", data(UDP4)),
    "eth_dst": (f"eth_dst='{DST.hex(':')}'", data(UDP4)),
    "eth_dst, masked": ("eth_dst=('02:00:00:00:00:00', 'ff:ff:ff:00:00:00')", data(UDP4)),
    "eth_src": (f"eth_src='{SRC.hex(':')}'", data(UDP4)),
    "eth_type": ("eth_type=0x88b5", eth(0x88B5)),
    "vlan_vid: none": ("vlan_vid=0", data(UDP4)),
    "vlan_vid: any": ("vlan_vid=(0x1000, 0x1000)", data(E / Dot1Q(vlan=5) / V4)),
    "vlan_vid": ("vlan_vid=0x1005", data(E / Dot1AD(vlan=5) / Dot1Q(vlan=6) / V4)),
    "vlan_pcp": ("vlan_vid=0x1005, vlan_pcp=3", data(E / Dot1Q(vlan=5, prio=3) / V4)),
    "ip_dscp": ("eth_type=0x800, ip_dscp=10", data(UDP4)),
    "ip_ecn": ("eth_type=0x86dd, ip_ecn=0", data(UDP6)),
    "ip_proto": ("eth_type=0x86dd, ip_proto=17", data(UDP6)),
    "ipv4_src": ("eth_type=0x800, ipv4_src='10.0.0.1'", data(UDP4)),
    "ipv4_dst, masked": ("eth_type=0x800, ipv4_dst=('10.0.0.0', '255.255.0.0')", data(UDP4)),
    "tcp_src": ("eth_type=0x800, ip_proto=6, tcp_src=80", data(E / V4 / TCP(sport=80))),
    "tcp_dst": ("eth_type=0x86dd, ip_proto=6, tcp_dst=81", data(E / V6 / TCP(dport=81))),
    "udp_src": ("eth_type=0x800, ip_proto=17, udp_src=7", data(UDP4)),
    "udp_dst": ("eth_type=0x86dd, ip_proto=17, udp_dst=9", data(UDP6)),
    "sctp_src": ("eth_type=0x800, ip_proto=132, sctp_src=5", data(E / V4 / SCTP(sport=5, dport=6))),
    "sctp_dst": ("eth_type=0x86dd, ip_proto=132, sctp_dst=6", data(E / V6 / SCTP(sport=5, dport=6))),
    "icmpv4": ("eth_type=0x800, ip_proto=1, icmpv4_type=8, icmpv4_code=0", data(E / V4 / ICMP())),
    "arp": (
        "eth_type=0x806, arp_op=1, arp_spa='10.0.0.1', arp_tpa=('10.0.0.0', '255.0.0.0'), arp_sha='00:00:00:00:00:11'",
        data(E / ARP(psrc="10.0.0.1", pdst="10.0.0.2", hwsrc="00:00:00:00:00:11", hwdst="00:00:00:00:00:22")),
    ),
    "ipv6_src": ("eth_type=0x86dd, ipv6_src='fd00::1', ipv6_dst=('fd00::', 'ffff::')", data(UDP6)),
    "ipv6_flabel": ("eth_type=0x86dd, ipv6_flabel=(0x50000, 0xf0000)", data(UDP6)),
    "icmpv6, nd": (
        "eth_type=0x86dd, ip_proto=58, icmpv6_type=135, ipv6_nd_target='fd00::9', ipv6_nd_sll='00:00:00:00:00:77'",
        data(E / V6 / ICMPv6ND_NS(tgt="fd00::9") / ICMPv6NDOptSrcLLAddr(lladdr="00:00:00:00:00:77")),
    ),
    "mpls": (
        "eth_type=0x8847, mpls_label=100, mpls_tc=2, mpls_bos=0",
        data(E / MPLS(label=100, cos=2, s=0) / MPLS(label=5, s=1) / V4),
    ),
    "pbb_isid": ("eth_type=0x88e7, pbb_isid=(0x120000, 0xff0000)", pbb(0x123456, data(UDP4))),
    "tunnel_id": ("tunnel_id=0", data(UDP4)),
    "ipv6_exthdr": (
        "eth_type=0x86dd, ipv6_exthdr=(0x48, 0x1ff)",
        data(E / V6 / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / UDP()),
    ),
}


@states("7.2.3.7", "Every field matches packets that have its value, and no others.")
@pytest.mark.parametrize("name", FIELDS)
def test_7_2_3_7_fields(request, of, name):
    request.node.user_properties[:] = [("statement", ("7.2.3.7", f"Matches {name}.", request.node.name))]
    match, frame = FIELDS[name]
    of.ok(flow(match, out(2), priority=5), flow(actions=out(3), priority=1))
    assert of.packet(frame) == {2: [frame]}
    other = DST + SRC + b"\x81\x00\x00\x09\x99\x99" + bytes(60)
    elsewhere = "in_port=2" if "in_port" in match else "vlan_vid=0x1009"
    if name not in (
        "eth_dst",
        "eth_dst, masked",
        "eth_src",
        "in_port",
        "in_phy_port",
        "tunnel_id",
        "vlan_vid: any",
    ):
        assert of.packet(other) == {3: [other]}, elsewhere


PUSH = "p.OFPActionPushVlan({})"
MPLS_ON = "p.OFPActionPushMpls(0x8847)"
ACTIONS = {
    "5.12|push_vlan copies VLAN number and priority of the tag that is there": (
        "vlan_vid=0x1005",
        PUSH.format("0x88a8"),
        E / Dot1Q(vlan=5, prio=3) / V4 / PAYLOAD,
        E / Dot1AD(vlan=5, prio=3) / Dot1Q(vlan=5, prio=3) / V4 / PAYLOAD,
    ),
    "5.12|push_vlan on a packet without tag makes one of number 0, priority 0": (
        "",
        PUSH.format("0x8100"),
        UDP4,
        E / Dot1Q(vlan=0) / UDP4.payload,
    ),
    "5.12|pop_vlan takes the outermost tag": (
        "vlan_vid=0x1005",
        "p.OFPActionPopVlan()",
        E / Dot1AD(vlan=5) / Dot1Q(vlan=6) / V4 / PAYLOAD,
        E / Dot1Q(vlan=6) / V4 / PAYLOAD,
    ),
    "5.12|push_mpls begins with label 0, class 0 and the TTL of IP": (
        "eth_type=0x800",
        MPLS_ON,
        UDP4,
        E / MPLS(label=0, cos=0, s=1, ttl=17) / UDP4.payload,
    ),
    "5.12|push_mpls copies label, class and TTL of the outermost entry, which is no bottom": (
        "eth_type=0x8847",
        MPLS_ON,
        E / MPLS(label=9, cos=3, s=1, ttl=44) / V4 / PAYLOAD,
        E / MPLS(label=9, cos=3, s=0, ttl=44) / MPLS(label=9, cos=3, s=1, ttl=44) / V4 / PAYLOAD,
    ),
    "5.12|push_mpls puts the entry before VLAN tags": (
        "vlan_vid=0x1005, eth_type=0x800",
        MPLS_ON,
        E / Dot1Q(vlan=5) / V4 / PAYLOAD,
        None,
    ),
    "5.12|pop_mpls takes the outermost entry and sets the EtherType": (
        "eth_type=0x8847, mpls_bos=1",
        "p.OFPActionPopMpls(0x800)",
        E / MPLS(label=9, s=1, ttl=44) / V4 / PAYLOAD,
        E / V4 / PAYLOAD,
    ),
    "5.12|set_mpls_ttl": (
        "eth_type=0x8847",
        "p.OFPActionSetMplsTtl(5)",
        E / MPLS(label=9, s=1, ttl=44) / V4,
        E / MPLS(label=9, s=1, ttl=5) / V4,
    ),
    "5.12|dec_mpls_ttl": (
        "eth_type=0x8847",
        "p.OFPActionDecMplsTtl()",
        E / MPLS(label=9, s=1, ttl=44) / V4,
        E / MPLS(label=9, s=1, ttl=43) / V4,
    ),
    "5.12|set_nw_ttl of IPv4": (
        "eth_type=0x800",
        "p.OFPActionSetNwTtl(99)",
        UDP4,
        E / IP(src="10.0.0.1", dst="10.0.0.2", ttl=99, tos=0x28) / UDP4[UDP],
    ),
    "5.12|dec_nw_ttl of IPv6": (
        "eth_type=0x86dd",
        "p.OFPActionDecNwTtl()",
        UDP6,
        E / IPv6(src="fd00::1", dst="fd00::2", hlim=18, tc=0x28, fl=0x54321) / UDP6[UDP],
    ),
    "5.12|copy_ttl_out from IP to MPLS": (
        "eth_type=0x8847",
        "p.OFPActionCopyTtlOut()",
        E / MPLS(label=9, s=1, ttl=44) / V4 / PAYLOAD,
        E / MPLS(label=9, s=1, ttl=17) / V4 / PAYLOAD,
    ),
    "5.12|copy_ttl_in from MPLS to IP": (
        "eth_type=0x8847",
        "p.OFPActionCopyTtlIn()",
        E / MPLS(label=9, s=1, ttl=44) / V4 / PAYLOAD,
        E / MPLS(label=9, s=1, ttl=44) / IP(src="10.0.0.1", dst="10.0.0.2", ttl=44, tos=0x28) / PAYLOAD,
    ),
    "5.12|copy_ttl_out from MPLS to MPLS": (
        "eth_type=0x8847",
        "p.OFPActionCopyTtlOut()",
        E / MPLS(label=9, s=0, ttl=44) / MPLS(label=1, s=1, ttl=3) / V4,
        E / MPLS(label=9, s=0, ttl=3) / MPLS(label=1, s=1, ttl=3) / V4,
    ),
    "5.12|set_field of addresses keeps the checksums right": (
        "eth_type=0x800, ip_proto=17",
        "p.OFPActionSetField(ipv4_src='9.8.7.6')",
        UDP4,
        E / IP(src="9.8.7.6", dst="10.0.0.2", ttl=17, tos=0x28) / UDP(sport=7, dport=9) / PAYLOAD,
    ),
    "5.12|set_field of ports keeps the checksums right": (
        "eth_type=0x86dd, ip_proto=17",
        "p.OFPActionSetField(udp_dst=4444)",
        UDP6,
        E / V6 / UDP(sport=7, dport=4444) / PAYLOAD,
    ),
    "5.12|set_field of SCTP ports keeps the checksum right": (
        "eth_type=0x800, ip_proto=132",
        "p.OFPActionSetField(sctp_dst=4444)",
        E / V4 / SCTP(sport=5, dport=6) / PAYLOAD,
        E / V4 / SCTP(sport=5, dport=4444) / PAYLOAD,
    ),
    "5.12|set_field of the DSCP": (
        "eth_type=0x800",
        "p.OFPActionSetField(ip_dscp=20)",
        UDP4,
        E / IP(src="10.0.0.1", dst="10.0.0.2", ttl=17, tos=0x50) / UDP4[UDP],
    ),
    "5.12|set_field of an MPLS label and class": (
        "eth_type=0x8847",
        "p.OFPActionSetField(mpls_label=77), p.OFPActionSetField(mpls_tc=5)",
        E / MPLS(label=9, s=1, ttl=44) / V4,
        E / MPLS(label=77, cos=5, s=1, ttl=44) / V4,
    ),
}


@pytest.mark.parametrize("name", ACTIONS)
@states("5.12", "Actions do what their section says, headers and checksums.")
def test_5_12_actions(request, of, name):
    section, text = name.split("|")
    request.node.user_properties[:] = [("statement", (section, f"Action: {text}.", request.node.name))]
    match, actions, before, after = ACTIONS[name]
    tagged = data(before)[:12] + bytes.fromhex("884700000111") + data(before)[14:]
    want = tagged if after is None else data(after)
    of.ok(flow(match, f"{actions}, {out(2)}"))
    assert of.packet(data(before)) == {2: [want]}


@states("5.12", "push_pbb makes the frame the payload of a new one; pop_pbb takes it out again.")
def test_5_12_pbb(of):
    frame = data(UDP4)
    todo = f"p.OFPActionPushPbb(0x88e7), p.OFPActionSetField(pbb_isid=0x123456), {out(2)}, p.OFPActionPopPbb(), {out(3)}"
    of.ok(flow(actions=todo))
    assert of.packet(frame) == {2: [pbb(0x123456, frame)], 3: [frame]}


@states("5.12", "After pop_mpls the headers that it uncovers are matched by the tables that follow.")
def test_5_12_pop_mpls_uncovers(of):
    of.ok(
        flow("eth_type=0x8847, mpls_bos=1", instructions=f"[{apply('p.OFPActionPopMpls(0x800)')}, {goto(3)}]")
    )
    of.ok(flow("eth_type=0x800, ip_proto=17, udp_dst=9", out(2), table_id=3))
    assert of.packet(data(E / MPLS(label=9, s=1) / UDP4.payload)) == {2: [data(UDP4)]}


@states(
    "5.10", "The action set is executed copy-in, pop, push MPLS, PBB, VLAN, copy-out, decrement, set, output."
)
def test_5_10_whole_order(of):
    todo = (
        f"{out(2)}, p.OFPActionSetField(vlan_vid=0x1007), p.OFPActionDecMplsTtl(), p.OFPActionPushVlan(), "
        "p.OFPActionSetField(mpls_label=33), p.OFPActionPushMpls(0x8847)"
    )
    of.ok(flow("eth_type=0x800", instructions=f"[{write(todo)}]"))
    want = E / Dot1Q(vlan=7) / MPLS(label=33, s=1, ttl=16) / UDP4.payload
    assert of.packet(data(UDP4)) == {2: [data(want)]}


@states("5.12", "Set-queue does not change where the packet goes.")
def test_5_12_set_queue(of):
    of.ok(flow(actions=f"p.OFPActionSetQueue(3), {out(2)}"))
    assert of.packet(data(UDP4)) == {2: [data(UDP4)]}
