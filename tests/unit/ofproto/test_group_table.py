"""Groups as a controller makes them, on the real datapath: buckets as action sets, failover, loops of watching."""

import pytest
from of_peer import Peer, flow, port
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Dot1Q, Ether

from vswitchd.ofproto import actions as act
from vswitchd.ofproto import messages as m
from vswitchd.ofproto import multipart as mp
from vswitchd.ofproto.constants import OFPGC, OFPGT, OFPPS
from vswitchd.ofproto.fields import field
from vswitchd.ofproto.structures import Bucket

ETH = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
FRAME = bytes(ETH / IP(src="10.0.0.1", dst="10.0.0.2", ttl=9) / UDP(sport=5, dport=53))
PORT_DOWN = 1


@pytest.fixture
def peer(real):
    peer = Peer(real)
    assert peer.do(m.GroupMod(group_id=1)) is None
    assert peer.do(flow(5, match={"in_port": 1}, actions=[act.Group(1)])) is None
    return peer


def mod(kind, *buckets, group=1, command=OFPGC.MODIFY):
    return m.GroupMod(command, int(kind), group, tuple(buckets))


def to(port, **more):
    return Bucket(actions=(act.Output(port),), **more)


def test_a_bucket_is_an_action_set(real, peer):
    vid = field("vlan_vid")
    actions = (
        act.Output(3), act.SetField(vid, 0x1001), act.SetField(vid, 0x1007), act.DecNwTtl(),
        act.SetQueue(0), act.PushVlan(0x8100), act.Output(2),
    )  # fmt: skip
    assert peer.do(mod(OFPGT.INDIRECT, Bucket(actions=actions))) is None
    want = Ether(src=ETH.src, dst=ETH.dst) / Dot1Q(vlan=7) / IP(src="10.0.0.1", dst="10.0.0.2", ttl=8)
    assert real.send(FRAME) == {2: [bytes(want / UDP(sport=5, dport=53))]}


def test_a_group_in_a_bucket_takes_the_place_of_its_output(real, peer):
    assert peer.do(mod(OFPGT.ALL, to(3), group=2, command=OFPGC.ADD)) is None
    assert peer.do(mod(OFPGT.ALL, Bucket(actions=(act.Group(2), act.Output(2))))) is None
    assert real.send(FRAME) == {3: [FRAME]}


def test_fast_failover_needs_no_message(real, peer):
    assert peer.do(mod(OFPGT.FF, to(2, watch_port=2), to(3, watch_port=3))) is None
    assert real.send(FRAME) == {2: [FRAME]}
    real.ports[2].set_link(False)
    assert real.send(FRAME) == {3: [FRAME]}
    address = real.agent.ports.desc(3).hw_addr
    peer.do(m.PortMod(3, address, PORT_DOWN, PORT_DOWN))
    assert real.send(FRAME) == {}
    real.ports[2].set_link(True)
    assert real.send(FRAME) == {2: [FRAME]}


def test_a_watched_group_may_go(real, peer):
    assert peer.do(mod(OFPGT.FF, to(2, watch_port=2), group=2, command=OFPGC.ADD)) is None
    assert peer.do(mod(OFPGT.FF, to(2, watch_group=2), to(3, watch_port=3))) is None
    assert peer.do(mod(OFPGT.FF, to(2, watch_group=1), group=2)) == "OFPGMFC_LOOP"
    assert real.send(FRAME) == {2: [FRAME]}
    assert peer.do(mod(OFPGT.ALL, group=2, command=OFPGC.DELETE)) is None
    assert real.send(FRAME) == {3: [FRAME]}


def test_weights_reach_the_datapath_and_descriptions_come_back(real, peer):
    buckets = (to(2, weight=1), to(3, weight=0, watch_port=3))
    assert peer.do(mod(OFPGT.SELECT, *buckets)) is None
    for low in range(40):
        assert set(real.send(FRAME[:29] + bytes([low]) + FRAME[30:])) == {2}
    (desc,) = peer.reply(mp.GroupDescRequest()).entries
    assert (desc.type, desc.buckets) == (OFPGT.SELECT, buckets)
    (stats,) = peer.reply(mp.GroupStatsRequest(1)).entries
    assert (stats.packet_count, stats.bucket_stats[0].packet_count) == (40, 40)


def test_users_of_groups_are_counted_as_they_come_and_go(peer):
    def references():
        return {entry.group_id: entry.ref_count for entry in peer.reply(mp.GroupStatsRequest()).entries}

    for number in (2, 3):
        user = Bucket(actions=(act.Group(1),))
        assert peer.do(mod(OFPGT.ALL, user, user, group=number, command=OFPGC.ADD)) is None
    assert references() == {1: 3, 2: 0, 3: 0}  # a flow and two groups
    assert peer.do(mod(OFPGT.ALL, group=2)) is None
    assert peer.do(mod(OFPGT.ALL, group=3, command=OFPGC.DELETE)) is None
    assert references() == {1: 1, 2: 0}
    assert peer.do(mod(OFPGT.ALL, group=1, command=OFPGC.DELETE)) is None
    assert peer.reply(mp.FlowStatsRequest()).entries == ()


def test_a_port_that_is_configured_down_is_not_told_to_be_live(real, peer):
    def state():
        return [desc.state for desc in peer.reply(mp.PortDescRequest()).entries if desc.port_no == 2]

    address = real.agent.ports.desc(2).hw_addr
    real.agent.change_port(port(2, state=int(OFPPS.LIVE)))
    assert state() == [OFPPS.LIVE]
    assert peer.do(m.PortMod(2, address, PORT_DOWN, PORT_DOWN)) is None
    assert state() == [0]
    real.agent.change_port(port(2, state=int(OFPPS.LIVE), curr=8))
    assert state() == [0]
    assert peer.do(m.PortMod(2, address, 0, PORT_DOWN)) is None
    assert state() == [OFPPS.LIVE]


def test_a_group_with_many_users_goes_in_turns(real, peer, monkeypatch):
    monkeypatch.setattr("vswitchd.ofproto.flow_store._TURN", 1)
    for priority in (6, 7, 8):
        assert peer.do(flow(priority, actions=[act.Group(1)])) is None
    job = real.agent.groups.apply(mod(OFPGT.ALL, group=1, command=OFPGC.DELETE), real.agent.flows)
    assert next(job) == b""
    assert len(peer.reply(mp.FlowStatsRequest()).entries) == 3
    for priority in (6, 7, 8):  # some of them again, some a second time: all come too late
        assert peer.do(flow(priority, actions=[act.Group(1)])) is None
    assert set(job) == {b""}
    assert peer.reply(mp.FlowStatsRequest()).entries == ()
    assert peer.reply(mp.GroupDescRequest()).entries == ()
    assert real.send(FRAME) == {}
