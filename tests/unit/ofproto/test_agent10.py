"""The switch for a controller of OpenFlow 1.0, beside one of 1.3: its requests, what it is told, packets."""

from weakref import WeakKeyDictionary

import pytest
from of_peer import Peer, Switch, flow
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Raw

from vswitchd.datapath import dp
from vswitchd.ofproto import actions as a
from vswitchd.ofproto import actions10 as a10
from vswitchd.ofproto import flow_dump10
from vswitchd.ofproto import messages as m
from vswitchd.ofproto import multipart as mp
from vswitchd.ofproto.bundle_messages import BundleControl
from vswitchd.ofproto.constants import OFPC, OFPCR, OFPFC, OFPP, OFPRR
from vswitchd.ofproto.constants10 import OFPC10, OFPPC10
from vswitchd.ofproto.errors import EncodeError
from vswitchd.ofproto.fields import field
from vswitchd.ofproto.instructions import ApplyActions, GotoTable
from vswitchd.ofproto.messages10 import Vendor, VendorStatsRequest
from vswitchd.ofproto.oxm import Match


@pytest.fixture
def switch():
    return Switch()


@pytest.fixture
def old(switch):
    return switch.peer(version=1)


@pytest.fixture
def new(switch):
    return switch.peer()


def punt(reason, data=bytes(60)):
    return dp.Punt(0, 2, 0, 7, reason, 0, len(data), 0xFFFF, data)


def test_features_have_ports_and_actions(old, new):
    reply = old.reply(m.FeaturesRequest())
    assert reply.datapath_id == 0xABCDEF
    assert [port.port_no for port in reply.ports] == [1, 2]
    assert reply.actions == 0xFFF
    assert reply.capabilities & OFPC10.ARP_MATCH_IP
    assert not reply.capabilities & OFPC10.STP
    assert new.reply(m.FeaturesRequest()).capabilities & OFPC.GROUP_STATS


@pytest.mark.parametrize(
    ("ports", "shown"),
    [
        ((65536, 1, 2, 3), {None, 1, 2, 3}),
        ((1, 0xFF05, 0x8001), {None, 1, 0x8001}),
        ((0x8001, 0xFF05, 1), {None, 1, 0x8001}),
    ],
)
def test_a_port_that_1_0_cannot_say_does_not_change_those_of_others(old, new, monkeypatch, ports, shown):
    monkeypatch.setattr(flow_dump10, "_matches", WeakKeyDictionary())
    for number in ports:
        assert new.do(flow(5, match={"in_port": number})) is None
    entries = old.reply(mp.FlowStatsRequest()).entries
    found = [entry.match.get("in_port") for entry in entries]
    assert {None if one is None else one.value for one in found} == shown
    assert len(found) == len(ports)


def test_flows_of_1_0_and_of_1_3_are_the_same_flows(old, new):
    actions = (a10.SetVlanVid(5), a10.SetNwTos(32), a10.SetTpDst(80), a10.Enqueue(2, 3))
    match = Match.named(eth_type=0x800, ip_proto=17)
    assert old.do(m.FlowMod(cookie=9, match=match, instructions=(ApplyActions(actions),))) is None
    (mine,) = old.reply(mp.FlowStatsRequest()).entries
    assert (mine.match, mine.cookie, mine.instructions) == (match, 9, (ApplyActions(actions),))
    (theirs,) = new.reply(mp.FlowStatsRequest()).entries
    assert theirs.instructions[0].actions == (
        a.PushVlan(0x8100), a.SetField(field("vlan_vid"), 0x1005), a.SetField(field("ip_dscp"), 8),
        a.SetField(field("udp_dst"), 80), a.SetQueue(3), a.Output(2),
    )  # fmt: skip
    assert new.do(m.FlowMod(command=OFPFC.DELETE, match=match)) is None
    assert old.reply(mp.FlowStatsRequest()).entries == ()


def test_1_0_sees_of_a_flow_what_it_can_say(old, new):
    actions = (a.PushVlan(0x8100), a.SetField(field("vlan_vid"), 0x1005), a.SetField(field("tcp_src"), 9), a.PopVlan(),
               a.PushMpls(0x8847), a.SetQueue(4), a.Output(1), a.Output(int(OFPP.FLOOD)))  # fmt: skip
    match = {"eth_type": 0x800, "ip_proto": 6, "metadata": 5, "ipv4_dst": (0x0A000000, 0xFF000000)}
    done = (ApplyActions(actions), GotoTable(3))
    assert new.do(flow(table_id=2, match=match, instructions=done)) is None
    (seen,) = old.reply(mp.FlowStatsRequest()).entries
    assert seen.table_id == 2
    assert seen.match == Match.named(eth_type=0x800, ip_proto=6, ipv4_dst=(0x0A000000, 0xFF000000))
    assert seen.instructions[0].actions == (
        a10.SetVlanVid(5), a10.SetTpSrc(9), a10.StripVlan(), a10.Enqueue(1, 4), a.Output(int(OFPP.FLOOD)),
    )  # fmt: skip


def test_a_modification_that_finds_nothing_adds(old, new):
    for command in (OFPFC.MODIFY, OFPFC.MODIFY_STRICT):
        mod = flow(command=command, match={"in_port": int(command)})
        assert new.do(mod) is None
        before = len(new.reply(mp.FlowStatsRequest()).entries)
        assert old.do(mod) is None
        assert len(new.reply(mp.FlowStatsRequest()).entries) == before + 1
        assert old.do(flow(command=command, match={"in_port": int(command)}, out=2)) is None
        assert len(new.reply(mp.FlowStatsRequest()).entries) == before + 1


def test_an_addition_begins_to_count_anew(switch, old, new):
    def counts():
        return [entry.packet_count for entry in new.reply(mp.FlowStatsRequest()).entries]

    for peer, expected in ((new, [7]), (old, [0])):
        assert peer.do(flow(5)) is None
        switch.bridge.hit(switch.rule(priority=5), 7, 700, 1)
        assert peer.do(flow(5, out=2)) is None
        assert counts() == expected
        assert new.do(m.FlowMod(command=OFPFC.DELETE, table_id=255)) is None


def test_deletions_are_of_all_tables(old, new):
    assert new.do(flow(table_id=3)) is None
    assert old.do(m.FlowMod(command=OFPFC.DELETE)) is None
    assert new.reply(mp.FlowStatsRequest()).entries == ()


ERRORS = [
    (flow(flags=2), "OFPFMFC_OVERLAP"),
    (flow(actions=[a.Output(int(OFPP.MAX))]), "OFPBAC_BAD_OUT_PORT"),
    (flow(actions=[a.ExperimenterAction(0x2320, bytes(8))]), "OFPBAC_BAD_VENDOR"),
    (Vendor(0x2320, bytes(8)), "OFPBRC_BAD_VENDOR"),
    (VendorStatsRequest(0x2320), "OFPBRC_BAD_VENDOR"),
    (m.PacketOut(data=bytes(3)), "OFPBRC_BAD_LEN"),
    (m.PacketOut(buffer_id=5), "OFPBRC_BUFFER_UNKNOWN"),
    (m.PortMod(9), "OFPPMFC_BAD_PORT"),
    (m.PortMod(1), "OFPPMFC_BAD_HW_ADDR"),
    (m.QueueGetConfigRequest(9), "OFPQOFC_BAD_PORT"),
]


@pytest.mark.parametrize(("message", "name"), ERRORS, ids=lambda x: x if isinstance(x, str) else "")
def test_errors_are_those_of_1_0(old, message, name):
    assert old.do(flow(priority=10, match={"in_port": 1})) is None
    assert old.do(message) == name


def test_a_packet_without_an_entry_is_for_1_0_only(switch, new):
    assert not switch.bridge.punt_miss
    old = switch.peer(version=1)
    assert switch.bridge.punt_miss
    switch.agent.punt(punt(dp.PUNT_MISS, bytes(300)))
    assert new.heard() == []
    (got,) = old.heard()
    assert (got.reason, got.total_len, len(got.data)) == (0, 300, 128)
    assert got.match.get("in_port").value == 2
    old.ask(m.PacketOut(buffer_id=got.buffer_id, in_port=2, actions=(a.Output(1),)))
    switch.agent.leave(old.session)
    assert not switch.bridge.punt_miss


def test_1_3_does_not_get_it_by_asking(switch, new):
    assert new.do(m.SetAsync(0xFF, 0xFF, 7, 7, 7, 7)) is None
    assert not switch.bridge.punt_miss
    switch.agent.punt(punt(dp.PUNT_MISS))
    assert new.heard() == []


def test_1_0_hears_no_invalid_ttl(switch, old):
    switch.agent.punt(punt(dp.PUNT_TTL))
    switch.agent.punt(punt(dp.PUNT_ACTION))
    assert [got.reason for got in old.heard()] == [1]


def test_port_config_of_1_0_is_seen_by_1_0(switch, old, new):
    mac = switch.agent.ports.desc(1).hw_addr
    bits = int(OFPPC10.NO_FLOOD | OFPPC10.NO_STP) | 1
    assert old.do(m.PortMod(1, mac, bits, bits)) is None
    assert switch.handles[1].bits == 1 | 128
    (told,) = old.heard()
    assert told.desc.config == bits
    (told,) = new.heard()
    assert told.desc.config == 1
    assert old.reply(m.FeaturesRequest()).ports[0].config == bits
    assert new.reply(mp.PortDescRequest()).entries[0].config == 1
    assert new.do(m.PortMod(1, mac, 0, 16)) == "OFPPMFC_BAD_CONFIG"
    assert old.do(m.PortMod(1, mac, 0, int(OFPPC10.NO_FLOOD))) is None
    assert switch.handles[1].bits == 1


def test_tables_and_ports_are_counted_for_1_0(old):
    assert old.do(flow()) is None
    tables = old.reply(mp.TableStatsRequest()).entries
    assert [table.active_count for table in tables[:2]] == [1, 0]
    assert tables[0].wildcards == 0x3FFFFF
    assert tables[0].max_entries
    assert len(old.reply(mp.PortStatsRequest()).entries) == 2
    assert old.reply(mp.AggregateStatsRequest()).flow_count == 1
    assert old.reply(mp.QueueStatsRequest()).entries == ()
    assert old.reply(m.QueueGetConfigRequest(1)).queues == ()
    assert old.reply(mp.DescRequest()).hw_desc


def test_a_removed_group_is_a_deletion_to_1_0(switch, old, new):
    assert new.do(m.GroupMod(0, 0, 5)) is None
    assert new.do(flow(actions=[a.Group(5)], match={"metadata": 1}, flags=1)) is None
    assert new.do(m.GroupMod(2, 0, 5)) is None
    switch.agent.tick()
    (heard,) = old.heard()
    assert (heard.reason, heard.match) == (OFPRR.DELETE, Match())
    (heard,) = new.heard()
    assert (heard.reason, heard.match) == (OFPRR.GROUP_DELETE, Match.named(metadata=1))


def test_roles_without_generations(old, new):
    assert new.reply(m.RoleRequest(OFPCR.MASTER, 1 << 60)).role == OFPCR.MASTER
    assert old.reply(m.RoleRequest(OFPCR.MASTER)).role == OFPCR.MASTER
    assert new.reply(m.RoleRequest()) == m.RoleReply(OFPCR.SLAVE, 1 << 60)
    assert old.reply(m.RoleRequest(OFPCR.SLAVE)).role == OFPCR.SLAVE
    assert old.do(flow()) == "OFPBRC_EPERM"
    assert new.reply(m.RoleRequest(OFPCR.MASTER, 1 << 60)).role == OFPCR.MASTER


def test_bundles_are_not_for_1_0(old):
    with pytest.raises(EncodeError):
        old.ask(BundleControl(1, 0))


# Packets, through the real datapath.
ETH = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
UDP_ = IP(src="10.0.0.1", dst="10.0.0.2", ttl=9) / UDP(sport=5, dport=53) / Raw(b"x" * 30)
TCP_ = IP(src="10.0.0.1", dst="10.0.0.2", ttl=9) / TCP(sport=5, dport=53) / Raw(b"x" * 30)


def changed(frame, **fields):
    """The frame with fields set, checksums made anew."""
    packet = Ether(bytes(frame))
    for name, value in fields.items():
        layer, _, key = name.partition("__")
        setattr(packet[layer], key, value)
    for layer in (IP, UDP, TCP):
        if layer in packet:
            del packet[layer].chksum
    return bytes(packet)


ARP_ = ETH / ARP(psrc="10.0.0.1", pdst="10.0.0.2")
TAGGED = ETH / Dot1Q(vlan=9, prio=3) / UDP_
CASES = [
    ("set_vlan_vid untagged", a10.SetVlanVid(5), ETH / UDP_, bytes(ETH / Dot1Q(vlan=5) / UDP_)),
    ("set_vlan_vid tagged", a10.SetVlanVid(5), TAGGED, bytes(ETH / Dot1Q(vlan=5, prio=3) / UDP_)),
    ("set_vlan_pcp untagged", a10.SetVlanPcp(5), ETH / UDP_, bytes(ETH / Dot1Q(vlan=0, prio=5) / UDP_)),
    ("set_vlan_pcp tagged", a10.SetVlanPcp(5), TAGGED, bytes(ETH / Dot1Q(vlan=9, prio=5) / UDP_)),
    ("strip_vlan tagged", a10.StripVlan(), TAGGED, bytes(ETH / UDP_)),
    ("strip_vlan untagged", a10.StripVlan(), ETH / UDP_, bytes(ETH / UDP_)),
    ("set_dl_src", a10.SetDlSrc(7), ETH / UDP_, changed(ETH / UDP_, Ethernet__src="00:00:00:00:00:07")),
    ("set_dl_dst", a10.SetDlDst(7), ARP_, changed(ARP_, Ethernet__dst="00:00:00:00:00:07")),
    ("set_nw_src", a10.SetNwSrc(7), ETH / UDP_, changed(ETH / UDP_, IP__src="0.0.0.7")),
    ("set_nw_dst", a10.SetNwDst(7), ETH / TCP_, changed(ETH / TCP_, IP__dst="0.0.0.7")),
    ("set_nw_src arp", a10.SetNwSrc(7), ARP_, bytes(ARP_)),
    ("set_nw_tos", a10.SetNwTos(32), ETH / UDP_, changed(ETH / UDP_, IP__tos=32)),
    ("set_nw_tos arp", a10.SetNwTos(32), ARP_, bytes(ARP_)),
    ("set_tp_src udp", a10.SetTpSrc(7), ETH / UDP_, changed(ETH / UDP_, UDP__sport=7)),
    ("set_tp_dst tcp", a10.SetTpDst(7), ETH / TCP_, changed(ETH / TCP_, TCP__dport=7)),
    ("set_tp_src icmp", a10.SetTpSrc(7), ETH / IP(dst="10.0.0.2") / ICMP(), bytes(ETH / IP(dst="10.0.0.2") / ICMP())),
    ("set_tp_dst arp", a10.SetTpDst(7), ARP_, bytes(ARP_)),
    ("enqueue", a10.Enqueue(2, 0), ETH / UDP_, bytes(ETH / UDP_)),
]  # fmt: skip


@pytest.mark.parametrize(("action", "frame", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_actions_on_packets(real, action, frame, expected):
    old = Peer(real, version=1)
    actions = (action,) if isinstance(action, a10.Enqueue) else (action, a.Output(2))
    assert old.do(flow(actions=actions)) is None
    for _ in range(2):  # the walk, then the cache
        assert real.send(bytes(frame)) == {2: [expected]}


def test_a_tag_that_was_pushed_is_there_for_the_next_action(real):
    old = Peer(real, version=1)
    assert (
        old.do(flow(actions=(a10.SetVlanVid(5), a10.SetVlanPcp(2), a.Output(2)), match={"in_port": 1}))
        is None
    )
    assert real.send(bytes(ETH / UDP_)) == {2: [bytes(ETH / Dot1Q(vlan=5, prio=2) / UDP_)]}


def test_a_miss_is_a_packet_in_of_1_0(real):
    old = Peer(real, version=1)
    frame = bytes(ETH / UDP_ / Raw(bytes(200)))
    assert real.send(frame) == {}
    (got,) = old.heard()
    assert (got.reason, got.total_len, got.data) == (0, len(frame), frame[:128])
    old.ask(m.FlowMod(buffer_id=got.buffer_id, instructions=(ApplyActions((a.Output(3),)),)))
    real.poll()
    assert real.out() == {3: [frame]}


def test_without_1_0_a_miss_is_dropped(real):
    new = Peer(real)
    assert real.send(bytes(ETH / UDP_)) == {}
    assert new.heard() == []


def test_no_flood_keeps_a_port_out_of_flood_not_of_all(real):
    old = Peer(real, version=1)
    mac = real.agent.ports.desc(3).hw_addr
    assert old.do(m.PortMod(3, mac, 16, 16)) is None
    assert old.do(flow(actions=[a.Output(int(OFPP.FLOOD))])) is None
    assert list(real.send(bytes(ETH / UDP_))) == [2]
    assert old.do(flow(actions=[a.Output(int(OFPP.ALL))])) is None
    assert sorted(real.send(bytes(ETH / UDP_))) == [2, 3]
