"""The switch's answers apart from flows: configuration, roles, packets, ports, groups (7.3, 7.4)."""

import pytest
from of_peer import flow, port

from vswitchd.datapath import dp
from vswitchd.ofproto import actions as act
from vswitchd.ofproto import messages as m
from vswitchd.ofproto import multipart as mp
from vswitchd.ofproto.constants import OFPCR, OFPFC, OFPFF, OFPMPF, OFPP, OFPPC, OFPPR, OFPR, OFPXMC, U64_MAX
from vswitchd.ofproto.oxm import Match
from vswitchd.ofproto.structures import Bucket
from vswitchd.ofproto.tablefeatures import TableFeatures

FRAME = bytes(range(200))


def punt(reason=OFPR.ACTION, max_len=0xFFFF, **more):
    values = {
        "bridge": 0,
        "in_port": 2,
        "table": 3,
        "cookie": 77,
        "metadata": 0,
        "total_len": 200,
        "data": FRAME,
    }
    return dp.Punt(**{**values, **more}, reason=reason, max_len=max_len)


def test_features(peer):
    reply = peer.reply(m.FeaturesRequest())
    assert (reply.datapath_id, reply.n_buffers, reply.n_tables, reply.auxiliary_id) == (0xABCDEF, 256, 254, 0)
    assert reply.capabilities == 0b1001111


def test_description(peer):
    reply = peer.reply(mp.DescRequest())
    assert (reply.dp_desc, reply.sw_desc) == ("br0", "1")


def test_config_is_of_the_connection_but_for_fragments(switch, peer):
    other = switch.peer(primary=False)
    assert peer.do(m.SetConfig(1, 500)) is None
    assert peer.reply(m.GetConfigRequest()) == m.GetConfigReply(1, 500)
    assert other.reply(m.GetConfigRequest()) == m.GetConfigReply(1, 0)
    assert switch.bridge.frag_drop
    assert peer.do(m.SetConfig(2)) == "OFPSCFC_BAD_FLAGS"
    for length in (0, 0xFFE5, 0xFFFE, 0xFFFF):
        assert peer.do(m.SetConfig(0, length)) is None
        assert peer.reply(m.GetConfigRequest()) == m.GetConfigReply(0, length)
    assert peer.do(m.SetConfig(0)) is None
    assert not switch.bridge.frag_drop


def test_packet_in(switch, peer):
    switch.agent.punt(punt(max_len=20, metadata=9, tunnel_id=8))
    match = Match.named(in_port=2, metadata=9, tunnel_id=8)
    assert peer.heard() == [m.PacketIn(1, 200, OFPR.ACTION, 3, 77, match, FRAME[:20])]
    switch.agent.punt(punt())
    (told,) = peer.heard()
    assert (told.buffer_id, told.data) == (0xFFFFFFFF, FRAME)
    switch.agent.punt(punt(max_len=0))
    (told,) = peer.heard()
    assert (told.buffer_id, told.data) == (2, b"")


def test_service_connections_hear_nothing_until_they_set_miss_send_len(switch):
    peer = switch.peer(primary=False)
    switch.agent.punt(punt())
    switch.agent.change_port(port(1, curr_speed=5))
    assert peer.heard() == []
    peer.do(m.SetConfig(0, 65535))
    switch.agent.punt(punt())
    assert [x.__class__ for x in peer.heard()] == [m.PacketIn]


def test_invalid_ttl_is_sent_on_request_with_miss_send_len(switch, peer):
    switch.agent.punt(punt(OFPR.INVALID_TTL))
    assert peer.heard() == []
    assert not switch.bridge.ttl_punt
    peer.do(m.SetAsync(packet_in_master=1 << OFPR.INVALID_TTL))
    assert switch.bridge.ttl_punt
    peer.do(m.SetConfig(0, 30))
    switch.agent.punt(punt(OFPR.INVALID_TTL, max_len=5))
    switch.agent.punt(punt(OFPR.ACTION))
    assert [len(x.data) for x in peer.heard()] == [30]


def test_async_masks(switch, peer):
    assert peer.reply(m.GetAsyncRequest()) == m.GetAsyncReply(0b011, 0, 0b111, 0b111, 0b1111, 0)
    masks = (1, 2, 3, 4, 5, 6)
    assert peer.do(m.SetAsync(*masks)) is None
    assert peer.reply(m.GetAsyncRequest()) == m.GetAsyncReply(*masks)
    peer.do(m.SetAsync(port_status_master=1 << OFPPR.DELETE))
    switch.agent.change_port(port(1, curr_speed=1))
    switch.agent.remove_port(1)
    assert [x.reason for x in peer.heard()] == [OFPPR.DELETE]


def test_roles(switch):
    one, two, three = switch.peer(), switch.peer(), switch.peer()
    assert one.reply(m.RoleRequest()) == m.RoleReply(OFPCR.EQUAL, U64_MAX)
    assert one.reply(m.RoleRequest(OFPCR.MASTER, 5)) == m.RoleReply(OFPCR.MASTER, 5)
    assert two.reply(m.RoleRequest(OFPCR.MASTER, 6)) == m.RoleReply(OFPCR.MASTER, 6)
    assert one.reply(m.RoleRequest()) == m.RoleReply(OFPCR.SLAVE, 6)
    assert three.reply(m.RoleRequest()).role == OFPCR.EQUAL
    assert one.reply(m.RoleRequest(OFPCR.MASTER, 5)).name == "OFPRRFC_STALE"
    assert one.reply(m.RoleRequest(OFPCR.SLAVE, 5)).name == "OFPRRFC_STALE"
    assert one.reply(m.RoleRequest(OFPCR.EQUAL, 0)).role == OFPCR.EQUAL
    assert two.reply(m.RoleRequest()).role == OFPCR.MASTER


def test_generation_wraps_around(switch, peer):
    peer.reply(m.RoleRequest(OFPCR.SLAVE, U64_MAX))
    assert peer.reply(m.RoleRequest(OFPCR.SLAVE, 1)).generation_id == 1
    assert peer.reply(m.RoleRequest(OFPCR.SLAVE, U64_MAX)).name == "OFPRRFC_STALE"


def test_a_slave_may_read_but_not_write(switch, peer):
    slave = switch.peer()
    slave.reply(m.RoleRequest(OFPCR.SLAVE, 1))
    for message in (
        flow(), m.GroupMod(buckets=()), m.PortMod(1), m.TableMod(0), m.MeterMod(), m.PacketOut(data=FRAME),
    ):  # fmt: skip
        assert slave.do(message) == "OFPBRC_IS_SLAVE", message
    assert slave.reply(mp.TableFeaturesRequest((TableFeatures(0),))).name == "OFPBRC_IS_SLAVE"
    slave.do(m.SetConfig(1, 44))
    assert slave.reply(m.GetConfigRequest()) == m.GetConfigReply(0, 44)
    assert slave.reply(mp.FlowStatsRequest()).entries == ()
    switch.agent.punt(punt())
    switch.agent.change_port(port(1, curr_speed=1))
    peer.do(flow(flags=OFPFF.SEND_FLOW_REM))
    peer.do(flow(command=OFPFC.DELETE))
    switch.agent.tick()
    assert [x.__class__ for x in slave.heard()] == [m.PortStatus]
    assert [x.__class__ for x in peer.heard()] == [m.PacketIn, m.PortStatus, m.FlowRemoved]


def test_packet_out(switch, peer):
    actions = (act.PushVlan(0x8100), act.Output(OFPP.FLOOD))
    assert peer.do(m.PacketOut(in_port=1, actions=actions, data=FRAME)) is None
    assert switch.bridge.sent == [(FRAME, 1, (dp.push_vlan(0x8100), dp.output(OFPP.FLOOD)))]


def test_packet_out_to_the_tables_sees_flows_before_it(switch, peer):
    peer.ask(flow(), m.PacketOut(actions=(act.Output(OFPP.TABLE),), data=FRAME), flow(2))
    assert len(switch.bridge.sent) == 1
    assert switch.bridge.commits == 2


@pytest.mark.parametrize(
    ("out", "error"),
    [
        (m.PacketOut(buffer_id=4, data=FRAME), "OFPBRC_BUFFER_UNKNOWN"),
        (m.PacketOut(in_port=9, data=FRAME), "OFPBRC_BAD_PORT"),
        (m.PacketOut(in_port=0, data=FRAME), "OFPBRC_BAD_PORT"),
        (m.PacketOut(in_port=OFPP.FLOOD, data=FRAME), "OFPBRC_BAD_PORT"),
        (m.PacketOut(in_port=OFPP.LOCAL, data=FRAME), "OFPBRC_BAD_PORT"),
        (m.PacketOut(data=FRAME[:13]), "OFPBRC_BAD_PACKET"),
        (m.PacketOut(actions=(act.Output(0),), data=FRAME), "OFPBAC_BAD_OUT_PORT"),
        (m.PacketOut(actions=(act.Group(3),), data=FRAME), "OFPBAC_BAD_OUT_GROUP"),
        (m.PacketOut(actions=(act.ExperimenterAction(7),), data=FRAME), "OFPBAC_BAD_EXPERIMENTER"),
        (m.PacketOut(in_port=OFPP.ANY, data=FRAME), None),
        (m.PacketOut(data=FRAME), None),
    ],
)
def test_packet_out_refused(switch, peer, out, error):
    assert peer.do(out) == error
    assert len(switch.bridge.sent) == (error is None)


def test_ports(switch, peer):
    assert peer.reply(mp.PortDescRequest()).entries == (port(1), port(2))
    switch.agent.add_port(port(3), switch.handles[1])
    switch.agent.change_port(port(3))
    switch.agent.change_port(port(3, state=1))
    switch.agent.change_port(port(8))
    switch.agent.remove_port(3)
    switch.agent.remove_port(3)
    assert peer.heard() == [
        m.PortStatus(OFPPR.ADD, port(3)),
        m.PortStatus(OFPPR.MODIFY, port(3, state=1)),
        m.PortStatus(OFPPR.DELETE, port(3, state=1)),
    ]


def test_port_mod_changes_the_masked_bits_and_is_told_to_all(switch, peer):
    other = switch.peer()
    address = port(1).hw_addr
    assert peer.do(m.PortMod(1, address, OFPPC.NO_FWD | OFPPC.PORT_DOWN, OFPPC.NO_FWD)) is None
    assert switch.handles[1].bits == OFPPC.NO_FWD
    want = port(1, config=int(OFPPC.NO_FWD))
    assert other.heard() == [m.PortStatus(OFPPR.MODIFY, want)]
    assert peer.reply(mp.PortDescRequest()).entries[0] == want
    peer.do(m.PortMod(1, address, 0, OFPPC.NO_FWD))
    assert switch.handles[1].bits == 0
    peer.do(m.PortMod(1, address, 0, OFPPC.NO_FWD))
    assert len(other.heard()) == 1


def test_a_port_that_is_down_in_the_kernel_is_shown_so_and_can_come_up(switch, peer):
    down, mask = int(OFPPC.PORT_DOWN), int(OFPPC.NO_RECV)
    switch.agent.change_port(port(1, config=down))
    peer.do(m.PortMod(1, port(1).hw_addr, mask, mask))
    assert switch.handles[1].bits == mask
    switch.agent.change_port(port(1))
    assert [told.desc.config for told in peer.heard()] == [down, down | mask, mask]


@pytest.mark.parametrize(
    ("mod", "error"),
    [
        (m.PortMod(7), "OFPPMFC_BAD_PORT"),
        (m.PortMod(1, bytes(6)), "OFPPMFC_BAD_HW_ADDR"),
        (m.PortMod(1, port(1).hw_addr, 0, 1 << 1), "OFPPMFC_BAD_CONFIG"),
        (m.PortMod(1, port(1).hw_addr, 0, 0, 1), "OFPPMFC_BAD_ADVERTISE"),
    ],
)
def test_port_mod_refused(peer, mod, error):
    assert peer.do(mod) == error


def test_port_statistics(switch, peer):
    stats = switch.handles[2].stats
    stats.rx_packets, stats.tx_bytes = 5, 600
    stats.rx_drops = {"table_miss": 2, "runt": 1}
    stats.tx_drops = {"ring_full": 3}
    switch.clock.now += 1.25
    one, two = peer.reply(mp.PortStatsRequest()).entries
    assert one.rx_packets == 0
    assert (two.rx_packets, two.tx_bytes, two.rx_dropped, two.rx_errors, two.tx_dropped) == (5, 600, 2, 1, 3)
    assert (two.duration_sec, two.duration_nsec, two.collisions) == (1, 250_000_000, U64_MAX)
    assert peer.reply(mp.PortStatsRequest(2)).entries == (two,)
    assert peer.reply(mp.PortStatsRequest(3)).name == "OFPBRC_BAD_PORT"


def test_table_statistics(switch, peer):
    peer.do(flow())
    entries = peer.reply(mp.TableStatsRequest()).entries
    assert len(entries) == 254
    assert (entries[0].active_count, entries[0].lookup_count, entries[0].matched_count) == (1, 7, 5)


def test_aggregate(switch, peer):
    peer.do(flow(1))
    peer.do(flow(2))
    for priority in (1, 2):
        switch.bridge.hit(switch.rule(priority=priority), priority, 100 * priority, 1)
    assert peer.reply(mp.AggregateStatsRequest()) == mp.AggregateStatsReply(3, 300, 2)
    assert peer.reply(mp.AggregateStatsRequest(table_id=254)).name == "OFPBRC_BAD_TABLE_ID"


def test_table_features(peer):
    entries = peer.reply(mp.TableFeaturesRequest()).entries
    assert [entry.table_id for entry in entries] == list(range(254))
    first = {prop.type: prop.ids for prop in entries[0].properties}
    last = {prop.type: prop.ids for prop in entries[253].properties}
    assert first[0] == (1, 2, 3, 4, 5, 6)
    assert first[2] == tuple(range(1, 254))
    assert last[0] == (2, 3, 4, 5, 6)
    assert last[2] == ()
    assert all(header >> 16 == OFPXMC.OPENFLOW_BASIC for header in first[8])


BUCKET = Bucket(actions=(act.Output(1),))


def test_groups(switch, peer):
    mod = m.GroupMod(group_id=7, buckets=(BUCKET, Bucket(actions=(act.PushVlan(0x8100), act.Output(2)))))
    assert peer.do(mod) is None
    assert switch.bridge.groups[7] == (0, [(dp.output(1),), (dp.push_vlan(0x8100), dp.output(2))])
    peer.do(flow(actions=[act.Group(7)]))
    switch.clock.now += 2
    (desc,) = peer.reply(mp.GroupDescRequest()).entries
    assert (desc.group_id, desc.type, desc.buckets) == (7, 0, mod.buckets)
    (stats,) = peer.reply(mp.GroupStatsRequest(7)).entries
    assert (stats.ref_count, stats.duration_sec, stats.packet_count) == (1, 2, 70)
    assert [count.packet_count for count in stats.bucket_stats] == [7, 7]
    assert peer.reply(mp.GroupStatsRequest(8)).entries == ()
    assert peer.do(m.GroupMod(command=1, type=2, group_id=7, buckets=(BUCKET,))) is None
    assert switch.bridge.groups[7] == (2, [(dp.output(1),)])
    assert peer.do(m.GroupMod(command=2, group_id=0xFFFFFFFC)) is None
    assert switch.bridge.groups == {}
    assert peer.reply(mp.GroupDescRequest()).entries == ()


@pytest.mark.parametrize(
    ("mod", "error"),
    [
        (m.GroupMod(group_id=1, buckets=(BUCKET,)), "OFPGMFC_GROUP_EXISTS"),
        (m.GroupMod(command=1, group_id=9), "OFPGMFC_UNKNOWN_GROUP"),
        (m.GroupMod(command=2, group_id=9), None),
        (m.GroupMod(command=2, group_id=1), "OFPGMFC_CHAINED_GROUP"),
        (m.GroupMod(command=3, group_id=9), "OFPGMFC_BAD_COMMAND"),
        (m.GroupMod(group_id=0xFFFFFF01), "OFPGMFC_INVALID_GROUP"),
        (m.GroupMod(command=2, group_id=0xFFFFFFFF), "OFPGMFC_INVALID_GROUP"),
        (m.GroupMod(type=4, group_id=9), "OFPGMFC_BAD_TYPE"),
        (m.GroupMod(type=3, group_id=9, buckets=(BUCKET,)), "OFPGMFC_INVALID_GROUP"),
        (m.GroupMod(type=3, group_id=9, buckets=(Bucket(1, watch_port=1),)), "OFPGMFC_INVALID_GROUP"),
        (m.GroupMod(type=3, group_id=9, buckets=(Bucket(watch_port=0),)), "OFPGMFC_BAD_WATCH"),
        (m.GroupMod(type=3, group_id=9, buckets=(Bucket(watch_port=0xFFFFFFFD),)), "OFPGMFC_BAD_WATCH"),
        (m.GroupMod(type=3, group_id=9, buckets=(Bucket(watch_group=8),)), "OFPGMFC_BAD_WATCH"),
        (m.GroupMod(type=3, group_id=9, buckets=(Bucket(watch_group=0xFFFFFFFC),)), "OFPGMFC_BAD_WATCH"),
        (m.GroupMod(type=3, group_id=9, buckets=(Bucket(watch_group=9),)), "OFPGMFC_LOOP"),
        (m.GroupMod(type=3, group_id=9, buckets=(Bucket(0, 0xFFFFFFFE, 1),)), None),
        (m.GroupMod(type=3, group_id=9, buckets=(Bucket(watch_port=77),)), None),
        (m.GroupMod(type=1, group_id=9, buckets=(Bucket(5), Bucket(0xFFFF, 1, 2), Bucket())), None),
        (m.GroupMod(type=2, group_id=9), "OFPGMFC_INVALID_GROUP"),
        (m.GroupMod(group_id=9, buckets=(Bucket(weight=1),)), "OFPGMFC_INVALID_GROUP"),
        (m.GroupMod(group_id=9, buckets=(Bucket(watch_port=1),)), "OFPGMFC_WATCH_UNSUPPORTED"),
        (m.GroupMod(group_id=9, buckets=(BUCKET,) * 257), "OFPGMFC_OUT_OF_BUCKETS"),
        (m.GroupMod(group_id=9, buckets=(Bucket(actions=(act.Output(0),)),)), "OFPBAC_BAD_OUT_PORT"),
        (m.GroupMod(group_id=9, buckets=(Bucket(actions=(act.Group(8),)),)), "OFPBAC_BAD_OUT_GROUP"),
        (m.GroupMod(group_id=9, buckets=(Bucket(actions=(act.Group(9),)),)), "OFPGMFC_LOOP"),
        (m.GroupMod(command=1, group_id=1, buckets=(Bucket(actions=(act.Group(2),)),)), "OFPGMFC_LOOP"),
        (m.GroupMod(group_id=9, buckets=(Bucket(actions=(act.Group(2),)),)), None),
        (m.GroupMod(group_id=9, buckets=()), None),
    ],
)
def test_group_mod_refused(switch, peer, mod, error):
    assert peer.do(m.GroupMod(group_id=1, buckets=(BUCKET,))) is None
    assert peer.do(m.GroupMod(group_id=2, buckets=(Bucket(actions=(act.Group(1),)),))) is None
    before = dict(switch.bridge.groups)
    assert peer.do(mod) == error
    if error is not None:
        assert switch.bridge.groups == before


def test_what_is_not_there_yet_is_answered_so(peer):
    assert peer.reply(mp.QueueStatsRequest()).entries == ()
    assert peer.reply(mp.QueueStatsRequest(port_no=9)).name == "OFPQOFC_BAD_PORT"
    assert peer.reply(mp.QueueStatsRequest(queue_id=1)).name == "OFPQOFC_BAD_QUEUE"
    assert peer.reply(m.QueueGetConfigRequest(1)) == m.QueueGetConfigReply(1)
    assert peer.reply(m.QueueGetConfigRequest(9)).name == "OFPQOFC_BAD_PORT"
    assert peer.reply(mp.MeterStatsRequest()).entries == ()
    assert peer.reply(mp.MeterConfigRequest(4)).name == "OFPMMFC_UNKNOWN_METER"
    assert peer.do(m.MeterMod(command=1, meter_id=1)) == "OFPMMFC_UNKNOWN_METER"
    assert peer.do(m.MeterMod(command=2, meter_id=1)) is None
    assert peer.reply(m.Experimenter(0x2320, 3)).name == "OFPBRC_BAD_EXPERIMENTER"
    assert peer.reply(mp.ExperimenterMultipartRequest(0x2320)).name == "OFPBRC_BAD_EXPERIMENTER"
    assert peer.reply(m.Experimenter(0x4F4E4600, 3)).name == "OFPBRC_BAD_EXP_TYPE"
    assert peer.reply(mp.ExperimenterMultipartRequest(0x4F4E4600, 3)).name == "OFPBRC_BAD_EXP_TYPE"


def test_group_features(peer):
    reply = peer.reply(mp.GroupFeaturesRequest())
    assert (reply.types, reply.capabilities) == (0b1111, 0b1111)
    assert reply.actions_all >> 22 & 1
    assert {reply.actions_select, reply.actions_indirect, reply.actions_ff} == {reply.actions_all}
    assert {reply.max_all, reply.max_select, reply.max_indirect, reply.max_ff} == {65536}


def test_table_mod(peer):
    assert peer.do(m.TableMod(255, 3)) is None
    assert peer.do(m.TableMod(254)) == "OFPTMFC_BAD_TABLE"
    assert peer.do(m.TableMod(0, 4)) == "OFPTMFC_BAD_CONFIG"


def test_requests_in_several_parts_are_refused(peer):
    assert peer.reply(mp.FlowStatsRequest(flags=int(OFPMPF.MORE))).name == "OFPBRC_MULTIPART_BUFFER_OVERFLOW"


@pytest.mark.parametrize("message", [m.FeaturesReply(1), m.BarrierReply(), m.PacketIn(), mp.DescReply()])
def test_messages_of_a_switch_are_refused(peer, message):
    assert peer.reply(message).name == "OFPBRC_BAD_TYPE"


def test_an_error_is_not_answered(peer):
    assert peer.ask(m.Error(1, 2, b"x")) == []


def test_echo(peer):
    assert peer.reply(m.EchoRequest(b"abc")) == m.EchoReply(b"abc")
