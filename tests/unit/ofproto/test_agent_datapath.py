"""The agent on the real datapath with test ports: what a controller asks for is what packets meet."""

import pytest
from of_peer import Peer, flow, port
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Raw

from vswitchd.datapath import dp
from vswitchd.ofproto import actions as act
from vswitchd.ofproto import instructions as ins
from vswitchd.ofproto import messages as m
from vswitchd.ofproto import multipart as mp
from vswitchd.ofproto.bundle_messages import BundleAdd, BundleControl, Bundled
from vswitchd.ofproto.codec import encode
from vswitchd.ofproto.constants import OFPBCT, OFPFC, OFPFF, OFPP, OFPPC, OFPR, OFPRR
from vswitchd.ofproto.fields import field
from vswitchd.ofproto.structures import Bucket
from vswitchd.ofproto.transaction import Transaction

ETH = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
UDP_FRAME = bytes(ETH / IP(src="10.0.0.1", dst="10.0.0.2", ttl=9) / UDP(sport=5, dport=53) / Raw(b"x" * 30))
IPV4 = {"eth_type": 0x800}
UDPV4 = {**IPV4, "ip_proto": 17}


@pytest.fixture
def peer(real):
    return Peer(real)


def removed(peer):
    return [message for message in peer.heard() if isinstance(message, m.FlowRemoved)]


def test_a_flow_works_after_its_barrier_and_counts(real, peer):
    assert real.send(UDP_FRAME) == {}
    assert peer.do(flow(5, match={"in_port": 1, **UDPV4, "udp_dst": 53}, out=2)) is None
    assert real.send(UDP_FRAME) == {2: [UDP_FRAME]}
    assert real.send(UDP_FRAME, 3) == {}
    (entry,) = peer.reply(mp.FlowStatsRequest()).entries
    assert (entry.packet_count, entry.byte_count) == (1, len(UDP_FRAME))
    table = peer.reply(mp.TableStatsRequest()).entries[0]
    assert (table.active_count, table.matched_count) == (1, 1)
    one, two, _ = peer.reply(mp.PortStatsRequest()).entries
    assert (one.rx_packets, one.rx_dropped, two.tx_packets, two.tx_bytes) == (2, 1, 1, len(UDP_FRAME))


MATCHES = [
    ({"in_port": 1}, True),
    ({"eth_src": 0x020000000001, "eth_dst": (0x020000000000, 0xFE0000000000)}, True),
    ({"eth_src": 0x020000000003}, False),
    ({"vlan_vid": 0x1005}, True),
    ({"vlan_vid": (0x1000, 0x1000), "vlan_pcp": 3}, True),
    ({"vlan_vid": 0}, False),
    ({"vlan_vid": 0x1006}, False),
    ({**IPV4, "ipv4_src": 0x0A000001, "ipv4_dst": (0x0A000000, 0xFF000000)}, True),
    ({**IPV4, "ip_dscp": 10, "ip_ecn": 1}, True),
    ({**IPV4, "ip_dscp": 11}, False),
    ({**UDPV4, "udp_src": 5, "udp_dst": (0x30, 0xFFF0)}, True),
    ({**IPV4, "ip_proto": 6, "tcp_dst": 53}, False),
    ({**IPV4, "nw_ttl": 9}, True),
    ({"eth_type": 0x806}, False),
]


@pytest.mark.parametrize(("match", "hit"), MATCHES)
def test_matches(real, peer, match, hit):
    tagged = Ether(src=ETH.src, dst=ETH.dst) / Dot1Q(vlan=5, prio=3)
    frame = bytes(tagged / IP(src="10.0.0.1", dst="10.0.0.2", tos=41, ttl=9) / UDP(sport=5, dport=53))
    assert peer.do(flow(5, match=match, out=2)) is None
    assert (real.send(frame) == {2: [frame]}) is hit


def test_matches_of_arp_and_ipv6(real, peer):
    arp = bytes(ETH / ARP(op=2, psrc="10.0.0.1", pdst="10.0.0.2", hwsrc=ETH.src, hwdst=ETH.dst))
    six = bytes(ETH / IPv6(src="fd00::1", dst="fd00::2", fl=7) / UDP(sport=1, dport=2))
    spa = {"arp_op": 2, "arp_spa": 0x0A000001, "arp_tpa": 0x0A000002}
    peer.do(flow(5, match={"eth_type": 0x806, **spa, "arp_sha": 0x020000000001}, out=2))
    wide = {"ipv6_src": (0xFD << 120, 0xFF << 120), "ipv6_dst": (0xFD << 120) | 2}
    peer.do(
        flow(5, match={"eth_type": 0x86DD, "ip_proto": 17, "udp_dst": 2, **wide, "ipv6_flabel": 7}, out=3)
    )
    assert real.send(arp) == {2: [arp]}
    assert real.send(six) == {3: [six]}


def test_tables_metadata_and_action_set(real, peer):
    peer.do(
        flow(
            instructions=(ins.WriteMetadata(0x55, 0xFF), ins.WriteActions((act.Output(2),)), ins.GotoTable(7))
        )
    )
    peer.do(flow(1, match={"metadata": (0x05, 0x0F)}, table_id=7, instructions=()))
    assert real.send(UDP_FRAME) == {2: [UDP_FRAME]}
    peer.do(flow(2, match={"metadata": 0x55}, table_id=7, instructions=(ins.ClearActions(),)))
    assert real.send(UDP_FRAME) == {}


def test_edits(real, peer):
    actions = [
        act.SetField(field("eth_dst"), 0x0200000000AA), act.SetField(field("ipv4_dst"), 0x0A0000FE), act.DecNwTtl(),
        act.SetField(field("udp_dst"), 99), act.PushVlan(0x8100), act.SetField(field("vlan_vid"), 0x1005), act.Output(2),
    ]  # fmt: skip
    assert peer.do(flow(5, match=UDPV4, actions=actions)) is None
    want = Ether(src=ETH.src, dst="02:00:00:00:00:aa") / Dot1Q(vlan=5)
    want = want / IP(src="10.0.0.1", dst="10.0.0.254", ttl=8) / UDP(sport=5, dport=99) / Raw(b"x" * 30)
    assert real.send(UDP_FRAME) == {2: [bytes(want)]}


def test_groups_and_flood(real, peer):
    buckets = tuple(Bucket(actions=(act.Output(number),)) for number in (2, 3))
    peer.do(m.GroupMod(group_id=1, buckets=buckets))
    peer.do(m.GroupMod(type=2, group_id=2, buckets=(Bucket(actions=(act.Group(1),)),)))
    peer.do(flow(5, actions=[act.Group(2)]))
    assert real.send(UDP_FRAME) == {2: [UDP_FRAME], 3: [UDP_FRAME]}
    stats = {e.group_id: e for e in peer.reply(mp.GroupStatsRequest()).entries}
    assert (stats[1].packet_count, stats[2].packet_count, stats[1].ref_count) == (1, 1, 1)
    peer.do(flow(5, actions=[act.Output(OFPP.FLOOD)]))
    assert real.send(UDP_FRAME, 2) == {1: [UDP_FRAME], 3: [UDP_FRAME]}


def test_packet_in_and_packet_out(real, peer):
    peer.do(flow(0, actions=[act.Output(OFPP.CONTROLLER, 0xFFFF)], cookie=9))
    assert real.send(UDP_FRAME) == {}
    (told,) = peer.heard()
    assert (told.reason, told.table_id, told.cookie, told.data) == (OFPR.NO_MATCH, 0, 9, UDP_FRAME)
    assert told.match.get("in_port").value == 1
    peer.do(m.PacketOut(in_port=1, actions=(act.Output(OFPP.FLOOD),), data=told.data))
    assert real.out() == {2: [UDP_FRAME], 3: [UDP_FRAME]}
    peer.do(m.PacketOut(in_port=3, actions=(act.Output(OFPP.IN_PORT),), data=told.data))
    assert real.out() == {3: [UDP_FRAME]}
    peer.do(m.PacketOut(in_port=2, actions=(act.Output(OFPP.TABLE),), data=UDP_FRAME[:60]))
    real.poll()
    assert [(x.data, x.match.get("in_port").value) for x in peer.heard()] == [(UDP_FRAME[:60], 2)]


def test_max_len_and_metadata_of_a_packet_in(real, peer):
    peer.do(flow(instructions=(ins.WriteMetadata(0x77), ins.GotoTable(1))))
    peer.do(flow(7, table_id=1, actions=[act.Output(OFPP.CONTROLLER, 20)]))
    real.send(UDP_FRAME)
    (told,) = peer.heard()
    assert (told.reason, told.total_len, told.data) == (OFPR.ACTION, len(UDP_FRAME), UDP_FRAME[:20])
    assert told.match.get("metadata").value == 0x77


def test_invalid_ttl_is_told_when_asked_for(real, peer):
    frame = bytes(ETH / IP(ttl=1) / UDP())
    peer.do(flow(5, match=IPV4, actions=[act.DecNwTtl(), act.Output(2)]))
    assert real.send(frame) == {}
    assert peer.heard() == []
    peer.do(m.SetAsync(packet_in_master=1 << OFPR.INVALID_TTL))
    assert real.send(frame) == {}
    assert [(x.reason, x.data) for x in peer.heard()] == [(OFPR.INVALID_TTL, frame[:128])]


def test_port_mod(real, peer):
    peer.do(flow(5, out=2))
    bits = int(OFPPC.NO_FWD)
    peer.do(m.PortMod(2, port(2).hw_addr, bits, bits))
    assert real.send(UDP_FRAME) == {}
    peer.do(m.PortMod(2, port(2).hw_addr, 0, bits))
    assert real.send(UDP_FRAME) == {2: [UDP_FRAME]}


def test_modified_and_readded_flows_keep_counting(real, peer):
    peer.do(flow(5, flags=OFPFF.SEND_FLOW_REM, out=2))
    real.send(UDP_FRAME)
    peer.do(flow(command=OFPFC.MODIFY, out=3))
    assert real.send(UDP_FRAME) == {3: [UDP_FRAME]}
    assert peer.reply(mp.FlowStatsRequest()).entries[0].packet_count == 2
    peer.do(flow(5, flags=OFPFF.SEND_FLOW_REM, out=2))
    real.send(UDP_FRAME)
    real.tick()
    assert peer.reply(mp.FlowStatsRequest()).entries[0].packet_count == 3
    peer.do(flow(5, command=OFPFC.DELETE_STRICT))
    real.tick()
    assert [(x.reason, x.packet_count, x.byte_count) for x in removed(peer)] == [
        (OFPRR.DELETE, 3, 3 * len(UDP_FRAME))
    ]


def test_idle_timeout_by_packets(real, peer):
    peer.do(flow(5, idle_timeout=10, flags=OFPFF.SEND_FLOW_REM, out=2))
    for _ in range(3):
        real.sleep(9)
        assert real.send(UDP_FRAME) == {2: [UDP_FRAME]}
        real.tick()
    real.sleep(9.5)
    real.tick()
    assert len(peer.reply(mp.FlowStatsRequest()).entries) == 1
    real.sleep(1)
    real.tick()
    real.tick()
    assert real.send(UDP_FRAME) == {}
    (told,) = removed(peer)
    assert (told.reason, told.packet_count, told.duration_sec) == (OFPRR.IDLE_TIMEOUT, 3, 37)


def test_hard_timeout(real, peer):
    peer.do(flow(5, hard_timeout=4, flags=OFPFF.SEND_FLOW_REM, out=2))
    real.sleep(4)
    real.tick()
    real.tick()
    assert [(x.reason, x.duration_sec) for x in removed(peer)] == [(OFPRR.HARD_TIMEOUT, 4)]
    assert real.send(UDP_FRAME) == {}


def test_fragments_are_dropped_on_request(real, peer):
    fragment = bytes(ETH / IP(flags="MF") / UDP() / Raw(bytes(64)))
    peer.do(flow(5, out=2))
    peer.do(m.SetConfig(1))
    assert real.send(fragment) == {}
    peer.do(m.SetConfig(0))
    assert real.send(fragment) == {2: [fragment]}


def bundle(peer, *messages):
    """The names of what the commit of a bundle of these is answered with."""
    for message in messages:
        peer.xid += 1
        assert peer.feed(encode(BundleAdd(1, 0, Bundled(peer.xid, message)), peer.xid)) == []
    found = peer.ask(BundleControl(1, OFPBCT.COMMIT_REQUEST))
    return [message.name for _, message in found if isinstance(message, m.Error)]


def test_a_bundle_is_seen_whole_or_not_at_all(real, peer):
    to_group = m.GroupMod(group_id=1, buckets=(Bucket(actions=(act.Output(2),)),))
    assert bundle(peer, to_group, flow(1, actions=[act.Group(1)])) == []
    assert real.send(UDP_FRAME) == {2: [UDP_FRAME]}
    changes = (
        m.GroupMod(command=1, group_id=1, buckets=(Bucket(actions=(act.Output(3),)),)),
        m.GroupMod(group_id=2, buckets=(Bucket(actions=(act.Output(3),)),)),
        flow(2, actions=[act.Group(2)]), flow(command=OFPFC.DELETE), flow(3, out=3),
    )  # fmt: skip
    for _ in range(3):
        assert bundle(peer, *changes, flow(out=0)) == ["OFPBAC_BAD_OUT_PORT", "OFPBFC_MSG_FAILED"]
        assert real.send(UDP_FRAME) == {2: [UDP_FRAME]}
        real.tick()
    (entry,) = peer.reply(mp.FlowStatsRequest()).entries
    assert (entry.priority, entry.packet_count) == (1, 4)
    (group,) = peer.reply(mp.GroupStatsRequest()).entries
    assert (group.group_id, group.packet_count) == (1, 4)
    assert bundle(peer, *changes) == []
    assert real.send(UDP_FRAME) == {3: [UDP_FRAME]}
    real.tick()
    assert real.bridge.stats()["n_rules"] == 1


def test_a_connection_of_10_that_comes_in_the_middle_of_a_bundle_shows_nothing_of_it(real, peer):
    group = m.GroupMod(group_id=1, buckets=(Bucket(actions=(act.Output(2),)),))
    transaction = Transaction(real.agent, peer.session)
    real.agent.groups.apply(group, real.agent.flows)
    old = Peer(real)
    old.connection.version = 1
    real.agent.watch_punts()
    transaction.rollback()
    assert real.agent.groups.snapshot() == {}
    with pytest.raises(dp.DatapathError):
        real.bridge.group_stats(1, 1)
    assert bundle(peer, group) == []
    assert real.bridge.group_stats(1, 1) == [(0, 0), (0, 0)]
