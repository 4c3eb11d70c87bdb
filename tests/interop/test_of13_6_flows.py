"""OpenFlow 1.3.5, 5.5 and 6.4 by Ryu's hands: adding, modifying, deleting and expiring flow entries."""

import pytest
from conformance_world import apply, eth, flow, goto, out, states, write

pytestmark = [pytest.mark.interop, pytest.mark.root]
FRAME = eth(0x88B5)
FLOWS = "p.OFPFlowStatsRequest(dp)"
IP = "eth_type=0x800"


def entries(of):
    return {(e["table_id"], e["priority"]): e for e in of.body(FLOWS)}


def delete(match="", **more):
    fields = {"command": "o.OFPFC_DELETE", "out_port": "o.OFPP_ANY", "out_group": "o.OFPG_ANY", **more}
    return flow(match, instructions="[]", **fields)


def modify(match="", actions="", **more):
    return flow(match, actions, **{"command": "o.OFPFC_MODIFY", **more})


STRICT = {"command": "o.OFPFC_DELETE_STRICT"}


@states(
    "6.4",
    "An add with the check-overlap flag that overlaps an entry of its priority is refused: OFPFMFC_OVERLAP.",
)
def test_6_4_overlap_is_refused(of):
    of.ok(flow("in_port=1", out(2), priority=5))
    assert of.error(flow(IP, out(3), priority=5, flags="o.OFPFF_CHECK_OVERLAP")) == "OFPFMFC_OVERLAP"
    assert len(of.body(FLOWS)) == 1


@states("6.4", "Entries of other priorities or tables, or that no packet can match both, do not overlap.")
@pytest.mark.parametrize(("match", "more"), [(IP, {"priority": 6}), (IP, {"table_id": 1}), ("in_port=2", {})])
def test_6_4_no_overlap(of, match, more):
    of.ok(flow("in_port=1", out(2), priority=5))
    of.ok(flow(match, out(3), **{"priority": 5, "flags": "o.OFPFF_CHECK_OVERLAP", **more}))
    assert len(of.body(FLOWS)) == 2


@states("6.4", "An add replaces an entry of identical match and priority; no flow-removed is sent for it.")
def test_6_4_add_replaces(of):
    of.ok(flow("in_port=1", out(2), cookie=1, flags="o.OFPFF_SEND_FLOW_REM"))
    of.ok(flow("in_port=1", out(3), cookie=2))
    (entry,) = of.body(FLOWS)
    assert entry["cookie"] == 2
    assert of.packet(FRAME) == {3: [FRAME]}
    of.ok(delete())
    assert of.early == []


@states("6.4", "The replacing entry takes the counters over; with the reset-counts flag they begin at zero.")
@pytest.mark.parametrize(("flags", "count"), [("0", 1), ("o.OFPFF_RESET_COUNTS", 0)])
def test_6_4_counters_of_the_replacing_entry(of, flags, count):
    of.ok(flow("in_port=1", out(2)))
    of.packet(FRAME)
    of.ok(flow("in_port=1", out(3), flags=flags))
    (entry,) = of.body(FLOWS)
    assert entry["packet_count"] == count


@states(
    "6.4",
    "Modify changes the instructions of matching entries; cookie, timeouts, flags, counters, duration stay.",
)
def test_6_4_modify_keeps_the_rest(of):
    of.ok(
        flow("in_port=1", out(2), cookie=7, idle_timeout=300, hard_timeout=400, flags="o.OFPFF_SEND_FLOW_REM")
    )
    of.packet(FRAME)
    of.ok(modify("in_port=1", out(3), cookie=9, idle_timeout=1, hard_timeout=1))
    (entry,) = of.body(FLOWS)
    kept = {name: entry[name] for name in ("cookie", "idle_timeout", "hard_timeout", "flags", "packet_count")}
    assert kept == {"cookie": 7, "idle_timeout": 300, "hard_timeout": 400, "flags": 1, "packet_count": 1}
    assert of.packet(FRAME) == {3: [FRAME]}


@states("6.4", "Modify with the reset-counts flag clears the counters.")
def test_6_4_modify_resets(of):
    of.ok(flow("in_port=1", out(2)))
    of.packet(FRAME)
    of.ok(modify("in_port=1", out(3), flags="o.OFPFF_RESET_COUNTS"))
    assert of.body(FLOWS)[0]["packet_count"] == 0


@states("6.4", "A modify that no entry matches changes nothing and is no error.")
@pytest.mark.parametrize("command", ["o.OFPFC_MODIFY", "o.OFPFC_MODIFY_STRICT"])
def test_6_4_modify_nothing(of, command):
    of.ok(flow("in_port=1", out(2), command=command))
    assert of.body(FLOWS) == []


@states("6.4", "A delete that no entry matches is no error.")
@pytest.mark.parametrize("command", ["o.OFPFC_DELETE", "o.OFPFC_DELETE_STRICT"])
def test_6_4_delete_nothing(of, command):
    of.ok(delete("in_port=1", command=command))


@states(
    "6.4",
    "Non-strict modify and delete act on all entries that are equal to or more specific than the match.",
)
def test_6_4_non_strict(of):
    of.ok(flow(f"in_port=1, {IP}", out(2), priority=1), flow("in_port=2", out(2), priority=2))
    of.ok(flow(f"{IP}, ipv4_dst=('10.0.0.0', '255.0.0.0')", out(2), priority=3))
    of.ok(modify(IP, out(3)))
    outputs = {k[1]: e["instructions"][0]["OFPInstructionActions"]["actions"] for k, e in entries(of).items()}
    ports = {k: actions[0]["OFPActionOutput"]["port"] for k, actions in outputs.items()}
    assert ports == {1: 3, 2: 2, 3: 3}
    of.ok(delete(IP))
    assert set(entries(of)) == {(0, 2)}


@states("6.4", "Strict modify and delete need the match, masks and the priority to be identical.")
def test_6_4_strict(of):
    of.ok(flow("in_port=1", out(2), priority=1), flow(f"in_port=1, {IP}", out(2), priority=2))
    of.ok(delete("in_port=1", priority=2, **STRICT), delete(IP, priority=2, **STRICT))
    assert len(of.body(FLOWS)) == 2
    of.ok(delete("in_port=1", priority=1, **STRICT))
    assert set(entries(of)) == {(0, 2)}


@states("6.4", "Modify and delete are limited by cookie and cookie_mask; a mask of 0 does not limit.")
def test_6_4_filter_by_cookie(of):
    of.ok(
        flow("in_port=1", out(2), cookie=0x11, priority=1), flow("in_port=2", out(2), cookie=0x21, priority=2)
    )
    of.ok(delete(cookie=0x20, cookie_mask=0xF0))
    assert set(entries(of)) == {(0, 1)}
    of.ok(modify("", out(3), cookie=0x99, cookie_mask=0xFF))
    assert of.packet(FRAME) == {2: [FRAME]}
    of.ok(delete(cookie=0x99))
    assert entries(of) == {}


@states("6.4", "For an add the cookie mask is ignored and the cookie is set.")
def test_6_4_cookie_of_an_add(of):
    of.ok(flow("in_port=1", out(2), cookie=0x1234, cookie_mask=0xFF))
    assert of.body(FLOWS)[0]["cookie"] == 0x1234


@states("6.4", "Deletes are limited by out_port and out_group, which look at apply- and write-actions.")
def test_6_4_filter_by_output(of):
    group = f"p.OFPGroupMod(dp, o.OFPGC_ADD, o.OFPGT_INDIRECT, 1, [p.OFPBucket(actions=[{out(3)}])])"
    of.ok(group, flow(actions=out(2), priority=1), flow(instructions=f"[{write(out(3))}]", priority=2))
    of.ok(flow(actions="p.OFPActionGroup(1)", priority=3))
    of.ok(delete(out_port=3))
    assert set(entries(of)) == {(0, 1), (0, 3)}
    of.ok(delete(out_group=1))
    assert set(entries(of)) == {(0, 1)}


@states("6.4", "out_port and out_group are ignored by add and modify.")
def test_6_4_output_filter_only_for_deletes(of):
    of.ok(flow(actions=out(2), out_port=7, out_group=9))
    of.ok(modify("", out(3), out_port=7))
    assert of.packet(FRAME) == {3: [FRAME]}


@states("6.4", "Delete takes OFPTT_ALL for all tables; add and modify refuse it: OFPFMFC_BAD_TABLE_ID.")
def test_6_4_all_tables(of):
    of.ok(flow(actions=out(2)), flow(actions=out(2), table_id=200))
    for command in ("o.OFPFC_ADD", "o.OFPFC_MODIFY", "o.OFPFC_MODIFY_STRICT"):
        assert of.error(flow(actions=out(2), command=command, table_id=255)) == "OFPFMFC_BAD_TABLE_ID"
    of.ok(delete(table_id=7))
    assert len(of.body(FLOWS)) == 2
    of.ok(delete(table_id=255))
    assert of.body(FLOWS) == []


@states("6.4", "A table that does not exist is refused: OFPFMFC_BAD_TABLE_ID.")
def test_6_4_bad_table(of):
    assert of.error(flow(actions=out(2), table_id=254)) == "OFPFMFC_BAD_TABLE_ID"


@states("6.4", "An unknown command is refused: OFPFMFC_BAD_COMMAND.")
def test_6_4_bad_command(of):
    assert of.error(flow(actions=out(2), command=9)) == "OFPFMFC_BAD_COMMAND"


@states("6.4", "Unknown flags are refused: OFPFMFC_BAD_FLAGS.")
def test_6_4_bad_flags(of):
    assert of.error(flow(actions=out(2), flags=0x8000)) == "OFPFMFC_BAD_FLAGS"


@states("6.4", "A refused flow-mod changes nothing.")
@pytest.mark.parametrize("bad", [out(0), "p.OFPActionGroup(77)", f"p.OFPActionPopVlan(), {out(2)}"])
def test_6_4_refused_changes_nothing(of, bad):
    of.ok(flow("in_port=1", out(2), cookie=5))
    assert of.error(flow("in_port=1", bad)) is not None
    assert of.error(modify("", bad)) is not None
    assert of.packet(FRAME) == {2: [FRAME]}


@states("6.4", "An instruction of an unknown type is refused: OFPBIC_UNKNOWN_INST.")
def test_6_4_unknown_instruction(of):
    bad = bytes.fromhex("040e0040 00000001".replace(" ", "")) + bytes(40) + bytes.fromhex("0001000400000000")
    message = bytearray(bad + bytes.fromhex("00630008 00000000".replace(" ", "")))
    message[2:4] = len(message).to_bytes(2, "big")
    message[32:36] = b"\xff\xff\xff\xff"
    (error,) = of.ryu.raw(bytes(message))
    assert error.fields["name"] == "OFPBIC_UNKNOWN_INST"


@states("6.4", "Set-field without its prerequisite in the match is refused: OFPBAC_MATCH_INCONSISTENT.")
@pytest.mark.parametrize(
    ("match", "field"),
    [("", "ipv4_dst='1.2.3.4'"), (IP, "tcp_dst=3"), (f"{IP}, ip_proto=6", "udp_dst=3"), ("", "vlan_pcp=1"), ("", "mpls_tc=1"),
     (IP, "arp_op=1"), (IP, "ipv6_src='::1'"), ("eth_type=0x86dd", "ipv6_nd_target='::1'"), ("", "pbb_isid=3")],
)  # fmt: skip
def test_6_4_set_field_prerequisite(of, match, field):
    todo = f"p.OFPActionSetField({field}), {out(2)}"
    assert of.error(flow(match, todo)) == "OFPBAC_MATCH_INCONSISTENT"


@states("5.5", "An entry with a hard timeout goes that many seconds after it was made: reason HARD_TIMEOUT.")
def test_5_5_hard_timeout(of):
    of.ok(flow("in_port=1", out(2), hard_timeout=1, cookie=3, priority=9, flags="o.OFPFF_SEND_FLOW_REM"))
    gone = of.told("OFPFlowRemoved")
    assert (gone["reason"], gone["cookie"], gone["priority"], gone["hard_timeout"]) == (1, 3, 9, 1)
    assert gone["duration_sec"] >= 1
    assert of.body(FLOWS) == []


@states(
    "5.5", "An entry with an idle timeout goes when no packet matched it for that long: reason IDLE_TIMEOUT."
)
def test_5_5_idle_timeout(of):
    of.ok(flow("in_port=1", out(2), idle_timeout=2, table_id=0, flags="o.OFPFF_SEND_FLOW_REM"))
    of.packet(FRAME)
    gone = of.told("OFPFlowRemoved")
    assert (gone["reason"], gone["packet_count"], gone["byte_count"]) == (0, 1, len(FRAME))


@states(
    "5.5",
    "A deleted entry with the flag is told with reason DELETE, its match and final counters; others are not told.",
)
def test_5_5_delete_is_told(of):
    of.ok(
        flow("in_port=1", out(2), cookie=1, flags="o.OFPFF_SEND_FLOW_REM"),
        flow("in_port=2", out(2), cookie=2),
    )
    of.packet(FRAME)
    of.packet(FRAME)
    of.ok(delete())
    gone = of.told("OFPFlowRemoved")
    match = gone["match"]["OFPMatch"]["oxm_fields"]
    assert (gone["reason"], gone["cookie"], gone["packet_count"], gone["byte_count"]) == (
        2,
        1,
        2,
        2 * len(FRAME),
    )
    assert match == [{"OXMTlv": {"field": "in_port", "value": 1, "mask": None}}]
    of.ok("p.OFPEchoRequest(dp, b'')")
    assert of.early == []


@states("5.5", "Entries that use a deleted group go with it: reason GROUP_DELETE.")
def test_5_5_group_delete(of):
    of.ok(f"p.OFPGroupMod(dp, o.OFPGC_ADD, o.OFPGT_ALL, 5, [p.OFPBucket(actions=[{out(3)}])])")
    of.ok(flow("in_port=1", "p.OFPActionGroup(5)", flags="o.OFPFF_SEND_FLOW_REM"))
    of.ok("p.OFPGroupMod(dp, o.OFPGC_DELETE, o.OFPGT_ALL, 5)")
    assert of.told("OFPFlowRemoved")["reason"] == 3
    assert of.body(FLOWS) == []


@states("5.8", "Flow entries count packets, bytes and how long they have been there.")
def test_5_8_flow_counters(of):
    of.ok(flow("in_port=1", out(2)))
    for _ in range(3):
        of.packet(FRAME)
    (entry,) = of.body(FLOWS)
    assert (entry["packet_count"], entry["byte_count"]) == (3, 3 * len(FRAME))
    assert entry["duration_sec"] < 60
    assert entry["duration_nsec"] < 10**9


@states("5.8", "A table counts active entries, lookups and matches.")
def test_5_8_table_counters(of):
    before = {t["table_id"]: t for t in of.body("p.OFPTableStatsRequest(dp)")}[9]
    of.ok(flow(instructions=f"[{goto(9)}]"), flow("in_port=1", out(2), table_id=9))
    of.packet(FRAME)
    of.packet(FRAME, in_port=2)
    after = {t["table_id"]: t for t in of.body("p.OFPTableStatsRequest(dp)")}[9]
    grown = [after[name] - before[name] for name in ("lookup_count", "matched_count")]
    assert (after["active_count"], grown) == (1, [2, 1])


@states("5.8", "A port counts what it sent and received and how long it has been there.")
def test_5_8_port_counters(of):
    of.ok(flow("in_port=1", out(2)))
    (before,) = of.body("p.OFPPortStatsRequest(dp, 0, 2)")
    of.packet(FRAME)
    (after,) = of.body("p.OFPPortStatsRequest(dp, 0, 2)")
    assert after["tx_packets"] - before["tx_packets"] == 1
    assert after["tx_bytes"] - before["tx_bytes"] == len(FRAME)


@states("5.8", "A counter that the switch does not have is all ones.")
def test_5_8_absent_counters(of):
    (port,) = of.body("p.OFPPortStatsRequest(dp, 0, 2)")
    assert port["collisions"] == 2**64 - 1


@states("5.9", "Apply-actions acts at once, write-actions at the end.")
def test_5_9_apply_now_write_later(of):
    of.ok(flow(instructions=f"[{write(out(2))}, {apply('p.OFPActionPushVlan(), ' + out(3))}]"))
    tagged = FRAME[:12] + bytes.fromhex("81000000") + FRAME[12:]
    assert of.packet(FRAME) == {2: [tagged], 3: [tagged]}
