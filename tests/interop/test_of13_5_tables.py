"""OpenFlow 1.3.5, chapter 5, by Ryu's hands: tables, matching, instructions, action sets, table-miss, removal."""

import pytest
from conformance_world import apply, eth, flow, goto, out, states, write

pytestmark = [pytest.mark.interop, pytest.mark.root]
FRAME = eth(0x88B5)


def vlan(frame, vid, prio=0, tpid=0x8100):
    return frame[:12] + tpid.to_bytes(2, "big") + (prio << 13 | vid).to_bytes(2, "big") + frame[12:]


@states("5.1.1", "The pipeline begins at table 0.")
def test_5_1_1_begins_at_table_0(of):
    of.ok(flow(actions=out(2), table_id=1), flow(actions=out(3)))
    assert of.packet(FRAME) == {3: [FRAME]}


@states("5.1.1", "Goto-table leads to a table of a greater number only; else OFPBIC_BAD_TABLE_ID.")
@pytest.mark.parametrize("table", [3, 2])
def test_5_1_1_goto_leads_forward(of, table):
    assert of.error(flow(instructions=f"[{goto(table)}]", table_id=3)) == "OFPBIC_BAD_TABLE_ID"
    assert of.body("p.OFPFlowStatsRequest(dp)") == []


@states("5.1.1", "The flow entries of the last table cannot contain goto-table.")
def test_5_1_1_last_table_has_no_goto(of):
    assert of.error(flow(instructions=f"[{goto(254)}]", table_id=253)) == "OFPBIC_BAD_TABLE_ID"


@states("5.1.1", "Where no goto-table follows, processing ends and the action set is executed.")
def test_5_1_1_action_set_runs_at_the_end(of):
    of.ok(flow(instructions=f"[{write(out(2))}, {goto(7)}]"), flow(instructions="[]", table_id=7))
    assert of.packet(FRAME) == {2: [FRAME]}


@states("5.3", "Only the highest-priority entry that matches is selected.")
def test_5_3_highest_priority(of):
    of.ok(
        flow(actions=out(2), priority=5),
        flow("in_port=1", out(3), priority=6),
        flow("in_port=2", out(3), priority=9),
    )
    assert of.packet(FRAME) == {3: [FRAME]}


@states("5.3", "The counters of the selected entry are updated, of no other.")
def test_5_3_counters_of_the_selected(of):
    of.ok(flow(actions=out(2), priority=5), flow("in_port=1", out(3), priority=6))
    of.packet(FRAME)
    counts = {
        e["priority"]: (e["packet_count"], e["byte_count"]) for e in of.body("p.OFPFlowStatsRequest(dp)")
    }
    assert counts == {5: (0, 0), 6: (1, len(FRAME))}


@states("5.3", "Fields of the match are those after apply-actions of earlier tables.")
def test_5_3_matches_the_changed_packet(of):
    todo = "p.OFPActionPushVlan(), p.OFPActionSetField(vlan_vid=0x1005)"
    of.ok(flow(instructions=f"[{apply(todo)}, {goto(1)}]"), flow("vlan_vid=0x1005", out(2), table_id=1))
    assert of.packet(FRAME) == {2: [vlan(FRAME, 5)]}


@states("5.4", "Without a table-miss entry a packet that no entry matches is dropped.")
def test_5_4_no_miss_entry_drops(of):
    of.ok(flow("in_port=2", out(2)))
    assert of.packet(FRAME) == {}


@states(
    "5.4", "The table-miss entry takes what no other entry matches; packet-ins by it have reason NO_MATCH."
)
def test_5_4_miss_entry_to_the_controller(of):
    of.ok(flow(actions=out("o.OFPP_CONTROLLER"), priority=0))
    of.packet(FRAME)
    packet = of.packet_in()
    assert (packet["reason"], packet["table_id"]) == (0, 0)


@states("5.4", "An entry of priority 0 that is not all wildcards is no table-miss entry: reason ACTION.")
def test_5_4_priority_0_alone_is_no_miss(of):
    of.ok(flow("in_port=1", out("o.OFPP_CONTROLLER"), priority=0))
    of.packet(FRAME)
    assert of.packet_in()["reason"] == 1


@states("5.4", "On a miss without entry the action set is not executed.")
def test_5_4_miss_forgets_the_action_set(of):
    of.ok(flow(instructions=f"[{write(out(2))}, {goto(7)}]"))
    assert of.packet(FRAME) == {}


@states("5.9", "Clear-actions empties the action set.")
def test_5_9_clear_actions(of):
    clear = "p.OFPInstructionActions(o.OFPIT_CLEAR_ACTIONS, [])"
    of.ok(
        flow(instructions=f"[{write(out(2))}, {goto(7)}]"),
        flow(instructions=f"[{clear}, {write(out(3))}]", table_id=7),
    )
    assert of.packet(FRAME) == {3: [FRAME]}


@states(
    "5.9",
    "Instructions are executed in the order meter, apply, clear, write, metadata, goto, whatever their order in the list.",
)
def test_5_9_order_of_instructions(of):
    clear = "p.OFPInstructionActions(o.OFPIT_CLEAR_ACTIONS, [])"
    of.ok(
        flow(instructions=f"[{goto(1)}, {write(out(3))}, {clear}, {apply(out(2))}]"),
        flow(instructions="[]", table_id=1),
    )
    assert of.packet(FRAME) == {2: [FRAME], 3: [FRAME]}


@states("5.9", "Write-metadata changes the bits of its mask only.")
def test_5_9_write_metadata_by_mask(of):
    of.ok(
        flow(instructions=f"[p.OFPInstructionWriteMetadata(0xff, 0xff), {goto(1)}]"),
        flow(instructions=f"[p.OFPInstructionWriteMetadata(0x120, 0xf20), {goto(2)}]", table_id=1),
        flow("metadata=0x1ff", out(2), table_id=2),
    )
    assert of.packet(FRAME) == {2: [FRAME]}


@states("5.10", "An action set holds one action of each type: a later write replaces it.")
def test_5_10_later_write_replaces(of):
    of.ok(
        flow(instructions=f"[{write(out(2))}, {goto(1)}]"),
        flow(instructions=f"[{write(out(3))}]", table_id=1),
    )
    assert of.packet(FRAME) == {3: [FRAME]}


@states("5.10", "Set-field actions of different fields are different types.")
def test_5_10_one_set_field_per_field(of):
    sets = "p.OFPActionSetField(vlan_vid=0x1005), p.OFPActionSetField(vlan_pcp=3)"
    of.ok(flow(instructions=f"[{write(out(2) + ', p.OFPActionPushVlan(), ' + sets)}]"))
    assert of.packet(FRAME) == {2: [vlan(FRAME, 5, 3)]}


@states("5.10", "The set is executed pop, push, set, output, in whatever order it was written.")
def test_5_10_order_of_the_set(of):
    todo = f"{out(2)}, p.OFPActionSetField(vlan_vid=0x1007), p.OFPActionPushVlan(), p.OFPActionPopVlan()"
    of.ok(flow(instructions=f"[{write(todo)}]"))
    assert of.packet(vlan(FRAME, 99)) == {2: [vlan(FRAME, 7)]}


@states("5.10", "Where the set has a group and an output, the output is ignored.")
def test_5_10_group_before_output(of):
    of.ok(
        f"p.OFPGroupMod(dp, o.OFPGC_ADD, o.OFPGT_INDIRECT, 1, [p.OFPBucket(actions=[{out(3)}])])",
        flow(instructions=f"[{write(out(2) + ', p.OFPActionGroup(1)')}]"),
    )
    assert of.packet(FRAME) == {3: [FRAME]}


@states("5.10", "A set without output and group drops the packet.")
def test_5_10_no_output_drops(of):
    of.ok(flow(instructions=f"[{write('p.OFPActionPushVlan()')}]"))
    assert of.packet(FRAME) == {}


@states("5.11", "Actions of a list are executed in its order; each output sends the packet as it then is.")
def test_5_11_list_in_order(of):
    todo = f"{out(2)}, p.OFPActionPushVlan(), p.OFPActionSetField(vlan_vid=0x1009), {out(3)}"
    of.ok(flow(actions=todo))
    assert of.packet(FRAME) == {2: [FRAME], 3: [vlan(FRAME, 9)]}


@states("5.12", "A packet is not sent out of its input port unless the action says OFPP_IN_PORT.")
def test_5_12_not_back_to_the_input_port(of):
    of.ok(flow(actions=f"{out(1)}, {out(2)}"))
    assert of.packet(FRAME) == {2: [FRAME]}
    of.ok(flow(actions=out("o.OFPP_IN_PORT")))
    assert of.packet(FRAME) == {1: [FRAME]}
