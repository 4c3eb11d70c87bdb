"""Flow-mods as a controller sees them: commands, flags, errors, counters, timeouts, removal (6.4, 5.5)."""

import pytest
from of_peer import flow

from vswitchd.datapath import dp
from vswitchd.ofproto import actions as act
from vswitchd.ofproto import instructions as ins
from vswitchd.ofproto.constants import OFPFC, OFPFF, OFPP, OFPRR
from vswitchd.ofproto.fields import field
from vswitchd.ofproto.messages import FlowMod, FlowRemoved, GroupMod
from vswitchd.ofproto.multipart import AggregateStatsRequest, FlowStatsRequest
from vswitchd.ofproto.oxm import Match
from vswitchd.ofproto.structures import Bucket

IP = {"eth_type": 0x800}
TCP = {**IP, "ip_proto": 6}


def priorities(entries):
    return sorted(entry.priority for entry in entries)


def test_added_flow_is_a_rule_and_is_shown_as_it_was_sent(switch, peer):
    mod = flow(
        7, cookie=0x55, match={"in_port": 1, "eth_dst": (0x010000000000, 0x010000000000)}, table_id=3, out=2
    )
    assert peer.do(mod) is None
    (spec,) = switch.bridge.visible().values()
    assert (spec.table, spec.priority, spec.cookie) == (3, 7, 0x55)
    assert spec.match == (("IN_PORT", 1, 0xFFFFFFFF), ("ETH_DST", 0x010000000000, 0x010000000000))
    assert spec.apply == (dp.output(2),)
    (entry,) = switch.flows(peer)
    assert (entry.table_id, entry.priority, entry.cookie, entry.match) == (3, 7, 0x55, mod.match)
    assert entry.instructions == mod.instructions


def test_instructions_are_compiled(switch, peer):
    instructions = (
        ins.WriteMetadata(0xFF, 0x0F),
        ins.ApplyActions((act.PushVlan(0x8100), act.SetField(field("vlan_vid"), 0x100A))),
        ins.ClearActions(), ins.WriteActions((act.Output(2),)), ins.GotoTable(9),
    )  # fmt: skip
    assert peer.do(flow(instructions=instructions)) is None
    (spec,) = switch.bridge.visible().values()
    assert (spec.metadata, spec.clear, spec.goto) == ((0x0F, 0x0F), True, 9)
    assert spec.apply == (dp.push_vlan(0x8100), dp.set_field("VLAN_VID", 0x100A))
    assert spec.write == (dp.output(2),)


def test_only_the_table_miss_entry_punts_as_no_match(switch, peer):
    to_controller = (act.Output(OFPP.CONTROLLER, 200),)
    peer.do(flow(0, actions=to_controller))
    peer.do(flow(1, actions=to_controller))
    specs = {spec.priority: spec.apply[0] for spec in switch.bridge.visible().values()}
    assert specs[0] == dp.output(OFPP.CONTROLLER, 200, dp.PUNT_NO_MATCH)
    assert specs[1] == dp.output(OFPP.CONTROLLER, 200, dp.PUNT_ACTION)


def test_a_batch_is_committed_once_and_before_its_barrier(switch, peer):
    peer.ask(*(flow(p) for p in range(50)))
    assert switch.bridge.commits == 1
    assert len(switch.bridge.visible()) == 50


def test_identical_flow_replaces_and_keeps_its_counters(switch, peer):
    peer.do(flow(5, cookie=1))
    old = switch.rule(priority=5)
    switch.bridge.hit(old, 3, 300, 1000)
    switch.clock.now += 10
    assert peer.do(flow(5, cookie=2, out=2)) is None
    switch.bridge.hit(old, 1, 100, 1001)  # a core was in the middle of it
    switch.agent.tick()
    (entry,) = switch.flows(peer)
    assert (entry.cookie, entry.packet_count, entry.byte_count, entry.duration_sec) == (2, 4, 400, 0)
    switch.bridge.hit(switch.rule(priority=5), 10, 1000, 1002)
    assert switch.flows(peer)[0].packet_count == 14


def test_reset_counts(switch, peer):
    peer.do(flow(5))
    switch.bridge.hit(switch.rule(priority=5), 3, 300, 1000)
    peer.do(flow(5, out=2))
    peer.do(flow(5, flags=OFPFF.RESET_COUNTS))
    switch.agent.tick()
    assert switch.flows(peer)[0].packet_count == 0


def test_modify_changes_instructions_alone(switch, peer):
    peer.do(flow(5, cookie=7, idle_timeout=30, match={"in_port": 1}))
    peer.do(flow(6, match={"in_port": 2}))
    old = switch.rule(priority=5)
    switch.bridge.hit(old, 2, 200, 1)
    switch.clock.now += 3
    assert (
        peer.do(flow(99, command=OFPFC.MODIFY, cookie=8, idle_timeout=1, match={"in_port": 1}, out=9)) is None
    )
    five, six = sorted(switch.flows(peer), key=lambda e: e.priority)
    assert (five.cookie, five.idle_timeout, five.packet_count, five.duration_sec) == (7, 30, 2, 3)
    assert five.instructions == (ins.ApplyActions((act.Output(9),)),)
    assert six.instructions == (ins.ApplyActions((act.Output(1),)),)
    assert old not in switch.bridge.visible()


def test_modify_adds_nothing(switch, peer):
    assert peer.do(flow(5, command=OFPFC.MODIFY)) is None
    assert peer.do(flow(5, command=OFPFC.MODIFY_STRICT)) is None
    assert switch.bridge.visible() == {}


def test_strict_needs_the_same_match_and_priority(switch, peer):
    for priority in (1, 2):
        peer.do(flow(priority, match=IP))
    peer.do(flow(1, match=TCP))
    peer.do(flow(1, match=IP, command=OFPFC.MODIFY_STRICT, out=9))
    assert [spec.match for spec in switch.bridge.visible().values() if spec.apply == (dp.output(9),)] == [
        (("ETH_TYPE", 0x800, 0xFFFF),)
    ]
    peer.do(flow(2, match=IP, command=OFPFC.DELETE_STRICT))
    assert priorities(switch.flows(peer)) == [1, 1]
    peer.do(flow(3, match=IP, command=OFPFC.DELETE_STRICT))
    assert priorities(switch.flows(peer)) == [1, 1]


def test_the_order_of_match_fields_does_not_matter(switch, peer):
    one = Match.named(in_port=1, eth_dst=2, eth_type=0x800)
    other = Match(tuple(reversed(one.entries[:2])) + one.entries[2:])
    peer.do(FlowMod(priority=1, match=one))
    peer.do(FlowMod(priority=1, match=other))
    assert len(switch.flows(peer)) == 1


@pytest.mark.parametrize(
    ("match", "left"),
    [
        ({}, []),
        (IP, [4]),
        (TCP, [1, 3, 4]),
        ({**IP, "ipv4_dst": (0x0A000000, 0xFF000000)}, [1, 2, 4]),
        ({**IP, "ipv4_dst": (0x0A010000, 0xFFFF0000)}, [1, 2, 3, 4]),
        ({"in_port": 1}, [1, 2, 3, 4]),
    ],
)
def test_loose_delete_takes_equal_and_more_specific_flows(switch, peer, match, left):
    peer.do(flow(1, match=IP))
    peer.do(flow(2, match=TCP))
    peer.do(flow(3, match={**IP, "ipv4_dst": (0x0A000000, 0xFFFF0000)}))
    peer.do(flow(4))
    assert peer.do(flow(match=match, command=OFPFC.DELETE)) is None
    assert priorities(switch.flows(peer)) == left
    assert len(switch.bridge.visible()) == len(left)


def test_filters_of_delete_and_statistics(switch, peer):
    peer.do(GroupMod(group_id=4, buckets=(Bucket(actions=(act.Output(1),)),)))
    peer.do(flow(1, out=1, cookie=0x10, table_id=1))
    peer.do(flow(2, out=2, cookie=0x11, table_id=2))
    peer.do(flow(3, actions=[act.Group(4)], cookie=0x20))
    for want, found in [
        ({"out_port": 1}, [1]),
        ({"out_group": 4}, [3]),
        ({"cookie": 0x10, "cookie_mask": 0xF0}, [1, 2]),
        ({"table_id": 2}, [2]),
        ({"table_id": 0}, [3]),
        ({"cookie": 0xFFFF, "cookie_mask": 0}, [1, 2, 3]),
    ]:
        assert priorities(peer.reply(FlowStatsRequest(**want)).entries) == found
        assert peer.reply(AggregateStatsRequest(**want)).flow_count == len(found)
    peer.do(flow(0, command=OFPFC.DELETE, table_id=0xFF, out_port=1, match={}))
    assert priorities(switch.flows(peer)) == [2, 3]
    peer.do(flow(0, command=OFPFC.DELETE, table_id=0xFF, out_group=4))
    assert priorities(switch.flows(peer)) == [2]
    peer.do(flow(0, command=OFPFC.DELETE, table_id=0xFF, cookie=0x10, cookie_mask=1))
    assert priorities(switch.flows(peer)) == [2]


def test_modify_and_delete_heed_the_cookie_mask(switch, peer):
    peer.do(flow(1, cookie=1))
    peer.do(flow(2, cookie=2))
    peer.do(flow(command=OFPFC.MODIFY, cookie=2, cookie_mask=3, out=7))
    assert {s.priority: s.apply[0].arg for s in switch.bridge.visible().values()} == {1: 1, 2: 7}


@pytest.mark.parametrize(
    ("new", "refused"),
    [
        ({"match": IP}, True),
        ({"match": TCP}, True),
        ({"match": {"in_port": 1}}, True),
        ({"match": {"eth_type": 0x806}}, False),
        ({"match": {"eth_type": 0x800}, "table_id": 1}, False),
        ({"match": TCP, "priority": 6}, False),
    ],
)
def test_check_overlap(switch, peer, new, refused):
    peer.do(flow(5, match=IP))
    new = {"priority": 5, **new}
    wanted = "OFPFMFC_OVERLAP" if refused else None
    assert peer.do(flow(**new, flags=OFPFF.CHECK_OVERLAP)) == wanted
    assert len(switch.flows(peer)) == 2 - refused


SET_TTL = act.SetNwTtl(3)


@pytest.mark.parametrize(
    ("mod", "error"),
    [
        (flow(table_id=254), "OFPFMFC_BAD_TABLE_ID"),
        (flow(table_id=255), "OFPFMFC_BAD_TABLE_ID"),
        (flow(table_id=255, command=OFPFC.MODIFY), "OFPFMFC_BAD_TABLE_ID"),
        (flow(table_id=254, command=OFPFC.DELETE), "OFPFMFC_BAD_TABLE_ID"),
        (flow(flags=0x40), "OFPFMFC_BAD_FLAGS"),
        (flow(command=5), "OFPFMFC_BAD_COMMAND"),
        (flow(instructions=(ins.GotoTable(0),)), "OFPBIC_BAD_TABLE_ID"),
        (flow(instructions=(ins.GotoTable(4),), table_id=4), "OFPBIC_BAD_TABLE_ID"),
        (flow(instructions=(ins.GotoTable(254),)), "OFPBIC_BAD_TABLE_ID"),
        (flow(instructions=(ins.Meter(1),)), "OFPMMFC_UNKNOWN_METER"),
        (flow(instructions=(ins.ExperimenterInstruction(1, bytes(8)),)), "OFPBIC_BAD_EXPERIMENTER"),
        (flow(actions=[act.Output(0)]), "OFPBAC_BAD_OUT_PORT"),
        (flow(actions=[act.Output(0xFF00)]), "OFPBAC_BAD_OUT_PORT"),
        (flow(actions=[act.Output(OFPP.ANY)]), "OFPBAC_BAD_OUT_PORT"),
        (flow(actions=[act.Output(OFPP.TABLE)]), "OFPBAC_BAD_OUT_PORT"),
        (flow(actions=[act.Group(1)]), "OFPBAC_BAD_OUT_GROUP"),
        (flow(instructions=(ins.WriteActions((act.Group(1),)),)), "OFPBAC_BAD_OUT_GROUP"),
        (flow(actions=[act.ExperimenterAction(7)]), "OFPBAC_BAD_EXPERIMENTER"),
        (flow(actions=[act.Output(1)] * 65), "OFPBAC_TOO_MANY"),
        (flow(actions=[act.SetField(field("mpls_label"), 3)]), "OFPBAC_MATCH_INCONSISTENT"),
        (flow(actions=[act.SetField(field("vlan_vid"), 3)]), "OFPBAC_BAD_SET_ARGUMENT"),
        (flow(actions=[act.SetField(field("vlan_vid"), 0x1003)]), "OFPBAC_MATCH_INCONSISTENT"),
        (flow(actions=[act.SetField(field("ipv4_dst"), 3)]), "OFPBAC_MATCH_INCONSISTENT"),
        (flow(actions=[act.SetField(field("tcp_dst"), 3)], match=IP), "OFPBAC_MATCH_INCONSISTENT"),
        (flow(actions=[act.SetField(field("udp_dst"), 3)], match=TCP), "OFPBAC_MATCH_INCONSISTENT"),
        (flow(actions=[act.DecNwTtl()]), "OFPBAC_MATCH_INCONSISTENT"),
        (flow(actions=[SET_TTL], match={"eth_type": 0x806}), "OFPBAC_MATCH_INCONSISTENT"),
        (flow(actions=[act.PopVlan()]), "OFPBAC_MATCH_INCONSISTENT"),
        (flow(actions=[act.PushVlan(0x8100), act.PopVlan(), act.PopVlan()]), "OFPBAC_MATCH_INCONSISTENT"),
        (flow(match={"in_port": 1, "in_phy_port": 1}), None),
        (flow(match={"in_port": 1, "in_phy_port": 2}), None),
        (flow(actions=[act.SetField(field("tcp_dst"), 3), act.Output(1)], match=TCP), None),
        (flow(actions=[act.DecNwTtl(), SET_TTL], match={"eth_type": 0x86DD}), None),
        (flow(actions=[act.PopVlan()], match={"vlan_vid": (0x1000, 0x1000)}), None),
        (flow(actions=[act.PushVlan(0x8100), act.SetField(field("vlan_pcp"), 3), act.PopVlan()]), None),
        (flow(actions=[act.Output(77)]), None),
        (flow(match={"tunnel_id": 1}, actions=[act.SetQueue(1)]), None),
        (flow(instructions=()), None),
        (flow(instructions=(ins.WriteActions((act.PopVlan(), act.DecNwTtl())),)), None),
    ],
)
def test_what_is_refused_and_with_which_code(switch, peer, mod, error):
    assert peer.do(mod) == error
    assert len(switch.bridge.rules) == (error is None)


def test_a_modify_that_fits_not_all_flows_changes_none(switch, peer):
    peer.do(flow(1, match=TCP))
    peer.do(flow(2))
    peer.do(flow(3, match=TCP))
    mod = flow(command=OFPFC.MODIFY, actions=[act.SetField(field("tcp_dst"), 3)])
    assert peer.do(mod) == "OFPBAC_MATCH_INCONSISTENT"
    assert {spec.apply for spec in switch.bridge.visible().values()} == {(dp.output(1),)}


def test_datapath_without_memory_is_table_full(switch, peer):
    switch.bridge.fail_add = dp.DatapathError("no memory for a rule", 12)
    assert peer.do(flow()) == "OFPFMFC_TABLE_FULL"
    assert switch.flows(peer) == ()


def removed(peer):
    return [m for m in peer.heard() if isinstance(m, FlowRemoved)]


def test_flow_removed_waits_for_final_counters(switch, peer):
    mod = flow(5, cookie=9, flags=OFPFF.SEND_FLOW_REM, match=IP, table_id=2, hard_timeout=60)
    peer.do(mod)
    rule = switch.rule(priority=5)
    switch.bridge.hit(rule, 5, 500, 1)
    switch.clock.now += 2.5
    peer.do(flow(5, match=IP, table_id=2, command=OFPFC.DELETE))
    switch.clock.now += 100
    switch.bridge.hit(rule, 1, 100, 2)
    assert removed(peer) == []
    switch.agent.tick()
    (told,) = removed(peer)
    assert told == FlowRemoved(9, 5, OFPRR.DELETE, 2, 2, 500_000_000, 0, 60, 6, 600, mod.match)
    switch.agent.tick()
    assert removed(peer) == []


def test_removal_after_modify_counts_all_its_rules(switch, peer):
    peer.do(flow(5, flags=OFPFF.SEND_FLOW_REM))
    first = switch.rule(priority=5)
    switch.bridge.hit(first, 5, 500, 1)
    peer.do(flow(command=OFPFC.MODIFY, out=2))
    second = switch.rule(priority=5)
    switch.bridge.hit(second, 1, 100, 1)
    peer.do(flow(command=OFPFC.DELETE))
    switch.bridge.hit(first, 1, 50, 1)
    switch.agent.tick()
    assert [(m.packet_count, m.byte_count) for m in removed(peer)] == [(7, 650)]


def test_a_flush_is_silent(switch, peer):
    peer.do(flow(5, flags=OFPFF.SEND_FLOW_REM))
    peer.do(flow(command=OFPFC.MODIFY, out=2))
    switch.agent.flush()
    switch.agent.tick()
    assert switch.bridge.visible() == {}
    assert removed(peer) == []


def test_no_flow_removed_unless_asked(switch, peer):
    peer.do(flow(5))
    peer.do(flow(command=OFPFC.DELETE))
    switch.agent.tick()
    assert removed(peer) == []


def test_hard_timeout(switch, peer):
    peer.do(flow(5, hard_timeout=10, flags=OFPFF.SEND_FLOW_REM))
    rule = switch.rule(priority=5)
    switch.clock.now += 9.9
    switch.bridge.hit(rule, 1, 60, int(switch.clock.now * 1000))
    switch.agent.tick()
    assert len(switch.flows(peer)) == 1
    switch.clock.now += 0.2
    switch.agent.tick()
    assert switch.bridge.visible() == {}
    assert [m.reason for m in removed(peer)] == [OFPRR.HARD_TIMEOUT]


def test_idle_timeout_starts_anew_with_every_packet(switch, peer):
    peer.do(flow(5, idle_timeout=10, flags=OFPFF.SEND_FLOW_REM))
    rule = switch.rule(priority=5)
    for _ in range(3):
        switch.clock.now += 9
        switch.bridge.hit(rule, 1, 60, int(switch.clock.now * 1000))
        switch.agent.tick()
    assert len(switch.flows(peer)) == 1
    harvests = switch.datapath.harvests
    switch.clock.now += 10.5
    switch.agent.tick()
    assert switch.datapath.harvests == harvests + 1
    assert switch.bridge.visible() == {}
    (message,) = removed(peer)
    assert (message.reason, message.packet_count, message.idle_timeout) == (OFPRR.IDLE_TIMEOUT, 3, 10)


def test_readding_without_timeout_cancels_it(switch, peer):
    peer.do(flow(5, hard_timeout=1))
    peer.do(flow(5))
    switch.clock.now += 100
    switch.agent.tick()
    assert len(switch.flows(peer)) == 1


def test_a_group_takes_its_flows_along(switch, peer):
    peer.do(GroupMod(group_id=4, buckets=(Bucket(actions=(act.Output(1),)),)))
    peer.do(flow(1, actions=[act.Group(4)], flags=OFPFF.SEND_FLOW_REM))
    peer.do(flow(2, instructions=(ins.WriteActions((act.Group(4),)),)))
    peer.do(flow(3))
    peer.do(GroupMod(command=2, group_id=4))
    assert priorities(switch.flows(peer)) == [3]
    switch.agent.tick()
    assert [m.reason for m in removed(peer)] == [OFPRR.GROUP_DELETE]


def test_a_flow_that_left_a_group_stays(switch, peer):
    peer.do(GroupMod(group_id=4, buckets=(Bucket(actions=(act.Output(1),)),)))
    peer.do(flow(1, actions=[act.Group(4)]))
    peer.do(flow(command=OFPFC.MODIFY, out=3))
    peer.do(GroupMod(command=2, group_id=4))
    assert priorities(switch.flows(peer)) == [1]


def test_many_flows_in_several_replies(switch, peer):
    peer.ask(*(flow(i, match=IP) for i in range(5000)))
    found = peer.ask(FlowStatsRequest())
    assert len(found) > 5
    assert all(reply.flags == 1 for _, reply in found[:-1])
    assert found[-1][1].flags == 0
    assert priorities(entry for _, reply in found for entry in reply.entries) == list(range(5000))
