"""Which flow-mods are taken in runs, and which are left to the ordinary way; what a run rests on."""

import struct

import pytest
from of_peer import Peer, flow

from vswitchd.datapath.core import ffi, lib
from vswitchd.ofproto import actions as act
from vswitchd.ofproto import instructions as ins
from vswitchd.ofproto import messages as m
from vswitchd.ofproto.codec import encode
from vswitchd.ofproto.constants import OFPCR, OFPFC, OFPFF
from vswitchd.ofproto.fields import field
from vswitchd.ofproto.flow_run import FlowRun
from vswitchd.ofproto.flow_table import Selection
from vswitchd.ofproto.multipart import FlowStatsRequest
from vswitchd.ofproto.structures import Bucket

UDP = {"eth_type": 0x800, "ip_proto": 17}
KNOWN = {
    **UDP,
    "in_port": 1,
    "vlan_vid": (0x1005, 0x100F),
    "ipv4_dst": (0x0A000000, 0xFFFFFF00),
    "udp_dst": 53,
}


@pytest.fixture
def peer(real):
    return Peer(real)


@pytest.fixture
def taken(real, peer):
    """How many bytes of a message are taken after one was learned: all or none."""
    peer.feed(encode(flow(5, match=KNOWN), 1))

    def size(message, before=None):
        if before is not None:
            peer.feed(encode(before, 1))
        data = bytearray(message if isinstance(message, bytes) else encode(message, 9))
        return real.agent.run.take(data) == len(data)

    return size


def known(priority=7, **more):
    return flow(priority, match={**KNOWN, **more.pop("match", {})}, **more)


@pytest.mark.parametrize("same", [
    known(), known(0, cookie=9, idle_timeout=3, hard_timeout=4, out_port=1, cookie_mask=5),
    known(match={"in_port": 2, "vlan_vid": (0x100A, 0x100F), "ipv4_dst": (0x0B000100, 0xFFFFFF00), "udp_dst": 0}),
])  # fmt: skip
def test_those_that_differ_in_values_only_are_taken(taken, same):
    assert taken(same)


@pytest.mark.parametrize("other", [
    known(table_id=1), known(flags=OFPFF.SEND_FLOW_REM), known(buffer_id=1), known(out=2),
    known(command=OFPFC.MODIFY_STRICT), known(command=OFPFC.DELETE_STRICT), flow(5, match={**KNOWN, "eth_src": 2}),
    flow(5, match=UDP),
    known(match={"vlan_vid": (0x0005, 0x100F)}), known(match={"ipv4_dst": (0x0A000000, 0xFFFFFE00)}), known(actions=()),
])  # fmt: skip
def test_any_other_difference_is_not_taken(taken, other):
    assert not taken(other)


@pytest.mark.parametrize(("at", "bits"), [(0, 5), (1, 4), (16, 0), (49, 2), (59, 1), (60, 0x80)])
def test_no_bit_that_counts_may_differ(taken, at, bits):
    data = bytearray(encode(known(), 1))
    if at:
        data[at] ^= bits
    assert taken(bytes(data)) == (at in (0, 16, 59))  # cookie mask, in_port


def test_values_outside_of_their_mask_or_field_are_not_taken(taken):
    data = encode(known(), 1)
    masked = struct.pack("!II", 0x0A000000, 0xFFFFFF00)
    assert data.count(masked) == 1
    assert not taken(data.replace(masked, struct.pack("!II", 0x0A000001, 0xFFFFFF00)))
    vid = struct.pack("!HH", 0x1005, 0x100F)
    assert data.count(vid) == 1
    assert not taken(data.replace(vid, struct.pack("!HH", 0x3005, 0x100F)))
    assert taken(data)


def test_incomplete_messages_wait(real, taken):
    data = encode(known(), 1)
    for size in (*range(8), len(data) - 1):
        assert real.agent.run.take(bytearray(data[:size])) == 0
    assert real.agent.run.take(bytearray(data + data + data[:9])) == 2 * len(data)
    assert real.agent.run.take(bytearray(data * 3), most=2) == 2 * len(data)


@pytest.mark.parametrize("never", [
    flow(0, match={}), flow(5, match={"in_port": 1}, flags=OFPFF.CHECK_OVERLAP), flow(5, match={"in_port": 1, "in_phy_port": 1}),
    flow(5, match={"in_port": 1}, command=OFPFC.DELETE), flow(5, match={"in_port": 1}, command=OFPFC.MODIFY_STRICT),
    flow(5, match={"in_port": 1}, command=OFPFC.DELETE_STRICT, table_id=255),
    flow(5, match={"in_port": 1}, command=OFPFC.DELETE_STRICT, out_port=1),
    flow(5, match={"in_port": 1}, command=OFPFC.DELETE_STRICT, cookie_mask=1),
])  # fmt: skip
def test_those_that_need_more_than_their_own_table_are_never_taken(taken, never):
    assert not taken(never, before=never)


def test_strict_deletions_are_taken_and_told(real, peer, taken):
    gone = known(5, command=OFPFC.DELETE_STRICT)
    peer.feed(encode(gone, 1))
    peer.feed(encode(known(5, flags=OFPFF.SEND_FLOW_REM), 1))
    assert taken(gone)
    real.agent.commit()
    real.tick()
    assert [type(message) for message in peer.heard()] == [m.FlowRemoved]
    assert len(real.agent.flows.tables) == 0


def test_a_slave_has_no_runs(real, peer, taken):
    peer.session.role = OFPCR.SLAVE
    data = encode(known(), 1)
    peer.connection.receive(data)
    assert not real.agent.run_flow_mods(peer.session)
    assert peer.feed(b"")[0][1].name == "OFPBRC_IS_SLAVE"


def test_a_full_table_refuses_as_ever(real, peer, taken, monkeypatch):
    monkeypatch.setattr(type(real.agent.flows.pipeline), "room", lambda _self, _table: 4)
    mods = [known(5, match={"udp_dst": n}) for n in range(50, 60)]
    names = [answer.name for _, answer in peer.ask(*mods)]
    assert names == ["OFPFMFC_TABLE_FULL"] * 6  # 50, 51, 52 are new; 53 was there
    assert len(real.agent.flows.tables) == 4


def test_a_group_that_goes_is_not_forgotten(real, peer, taken):
    peer.ask(m.GroupMod(OFPFC.ADD, 0, 7, (Bucket(actions=(act.Output(2),)),)))
    todo = known(actions=(act.Group(7),))
    assert taken(todo, before=todo)
    peer.ask(m.GroupMod(2, 0, 7))
    assert not taken(todo)
    assert peer.do(todo) == "OFPBAC_BAD_OUT_GROUP"


def test_a_kind_knows_what_its_actions_ask_of_the_match(real, peer, taken):
    rewrite = (act.SetField(field("udp_dst"), 9), act.Output(2))
    assert taken(known(actions=rewrite), before=known(actions=rewrite))
    other = flow(5, match={"in_port": 1}, actions=rewrite)
    assert not taken(other, before=flow(5, match={"in_port": 1}))
    assert peer.do(other) == "OFPBAC_MATCH_INCONSISTENT"


def test_what_is_known_is_bounded(real, peer, taken, monkeypatch):
    monkeypatch.setattr("vswitchd.ofproto.flow_run._PROGRAMS", 20)
    for number in range(1, 50):
        todo = known(out=number)
        assert taken(todo, before=todo)
    assert len(real.agent.run._programs) <= 20
    for shift in range(48):
        todo = flow(5, match={"eth_dst": (1 << shift, 1 << shift)}, table_id=shift)
        assert taken(todo, before=todo)
    assert len(real.agent.run._kinds) <= 20


def test_long_matches_and_lists_of_instructions_are_left_alone(taken):
    long = {
        "eth_type": 0x86DD,
        "ipv6_src": (1, 3),
        "ipv6_dst": (1, 3),
        "metadata": 5,
        "tunnel_id": 6,
        "eth_src": 1,
    }
    fits = flow(5, match=long)
    assert taken(fits, before=fits)
    long |= {
        "ip_proto": 58,
        "icmpv6_type": 135,
        "ipv6_nd_target": 7,
        "ipv6_nd_sll": 8,
        "eth_dst": 4,
        "in_port": 1,
        "vlan_vid": 0x1001,
    }
    assert not taken(flow(5, match=long), before=flow(5, match=long))
    long |= {
        "icmpv6_code": 0,
        "vlan_pcp": 1,
        "ip_dscp": 1,
        "ip_ecn": 1,
        "ipv6_flabel": 3,
        "ipv6_exthdr": 1,
    }
    assert not taken(flow(5, match=long), before=flow(5, match=long))
    write = (
        ins.WriteActions((act.SetField(field("ipv6_src"), 1),) * 60),
        ins.GotoTable(4),
        ins.WriteMetadata(1, 1),
    )
    todo = known(instructions=write)
    assert taken(todo, before=todo)


def test_a_property_behind_a_bundled_flow_mod_is_not_taken_for_its_instructions(real, peer):
    """Its bytes are those of goto-table 2: an entry of another controller that has this instruction keeps it."""

    def bundled(kind, xid, rest):
        return struct.pack("!BBHIIII", 4, 4, 20 + len(rest), xid, 0x4F4E4600, kind, 1) + rest

    plain = encode(flow(5, match=KNOWN, out=1), 7)
    goto = struct.pack("!HHB3x", 1, 8, 2)
    control = bundled(2300, 1, struct.pack("!HH", 0, 3))
    add = bundled(2301, 7, struct.pack("!xxH", 3) + plain + goto)
    assert goto in encode(known(instructions=(ins.ApplyActions((act.Output(1),)), ins.GotoTable(2))), 8)
    for data in (control, add, bundled(2300, 2, struct.pack("!HH", 6, 3))):
        assert [type(answer) for answer in peer.feed(data)] != [m.Error]
    other = Peer(real, primary=False)
    wanted = (ins.ApplyActions((act.Output(1),)), ins.GotoTable(2))
    assert not other.ask(known(instructions=wanted))
    (entry,) = peer.reply(FlowStatsRequest()).entries
    assert entry.instructions == wanted


def common():
    return ffi.new(
        "struct vs_run_common *",
        {"at": {"cookie": 8, "idle": 26, "hard": 28, "priority": 30}, "adds": 1},
    )


def template(**wrong):
    """Add a template with one slot to a run of its own: its number or -errno."""
    run = ffi.gc(lib.vs_flow_run_new(ffi.NULL), lib.vs_flow_run_free)
    slot = {"from": 40, "size": 4, "shift": 0, "key_end": 4, "packed_end": 20} | wrong
    n = slot.pop("n", 64)
    return lib.vs_flow_run_template(
        run, bytes(2048), bytes(2048), n, [slot], slot.pop("n_slots", 1), common()
    )


@pytest.mark.parametrize("wrong", [
    {"from": 61}, {"size": 0}, {"size": 17}, {"key_end": 3}, {"key_end": 177}, {"packed_end": 3}, {"packed_end": 87},
    {"shift": 32, "key_end": 8}, {"shift": 1, "size": 5, "key_end": 8}, {"n": 24}, {"n": 63}, {"n": 1032},
])  # fmt: skip
def test_templates_that_would_reach_outside_are_refused(wrong):
    assert template() == 0
    assert template(**wrong) < 0


def test_without_a_datapath_nothing_that_makes_rules_is_taken(switch):
    peer = switch.peer()
    peer.do(flow(5, match=KNOWN))
    assert isinstance(switch.agent.run, FlowRun)
    assert switch.agent.run.take(bytearray(encode(known(), 1))) == 0


def routed(mac, *more, priority=7):
    todo = (
        act.SetField(field("eth_dst"), mac),
        act.SetField(field("vlan_vid"), 0x1000 | mac & 0xFFF),
        *more,
        act.Output(2),
    )
    return flow(priority, match=KNOWN, instructions=(ins.ApplyActions(todo[:1]), ins.WriteActions(todo[1:])))


def test_set_fields_of_their_own_are_taken_and_shown(real, peer, taken):
    assert taken(routed(0x0A0B0C0D0E0F, priority=3), before=routed(1, priority=2))
    assert taken(routed(0x0A0B0C0D0E0F, priority=4))
    assert len(real.agent.run._programs) == 2  # that of `known()` too
    found = {entry.priority: entry for entry in peer.reply(FlowStatsRequest()).entries}
    assert [found[n].instructions for n in (2, 3)] == [routed(n).instructions for n in (1, 0x0A0B0C0D0E0F)]
    one, other = (
        entry.program for entry in real.agent.flows.tables.select(Selection()) if entry.priority in (3, 4)
    )
    assert one is other
    assert one.outputs == {2}


def test_a_set_field_that_others_hang_on_is_no_value(taken):
    data = encode(routed(5), 1)
    assert taken(data, before=routed(1))
    vid = struct.pack("!H", 0x1005)
    assert data.count(vid) == 2  # the match, the set-field
    at = data.rindex(vid)
    assert not taken(data[:at] + struct.pack("!H", 0x0005) + data[at + 2 :])
    assert not taken(data[:at] + struct.pack("!H", 0x3005) + data[at + 2 :])
    assert not taken(
        routed(5, act.SetField(field("nw_ttl"), 4)), before=routed(5, act.SetField(field("nw_ttl"), 3))
    )


def program(**wrong):
    """Add a program with one edit to a template: 0 or -errno."""
    run = ffi.gc(lib.vs_flow_run_new(ffi.NULL), lib.vs_flow_run_free)
    assert lib.vs_flow_run_template(run, bytes(64), bytes(64), 64, [], 0, common()) == 0
    actions = ffi.new("struct vs_action[]", [{"type": lib.VS_ACT_SET_FIELD}, {"type": lib.VS_ACT_OUTPUT}])
    edit = {"from": 12, "action": 0, "size": 4, "shift": 0, "end": 4} | wrong
    spec = ffi.new("struct vs_rule_spec *", {"n_apply": edit.pop("n_apply", 2)})
    return lib.vs_flow_run_program(
        run, edit.pop("kind", 0), bytes(16), bytes(16), edit.pop("n", 16), 0, spec, actions, [edit], 1
    )


@pytest.mark.parametrize("wrong", [
    {"from": 13}, {"action": 1}, {"action": 2}, {"size": 0}, {"size": 5}, {"end": 3}, {"end": 17}, {"shift": 32},
    {"kind": 1}, {"kind": -1}, {"n": 12}, {"n": 15}, {"n_apply": 161},
])  # fmt: skip
def test_programs_that_would_reach_outside_are_refused(wrong):
    assert program() == 0
    assert program(**wrong) < 0


def simple(number, **more):
    return flow(5, match={"eth_type": 0x800, "ip_proto": 17, "udp_dst": number}, **more)


def ended(number):
    return simple(number, command=OFPFC.DELETE_STRICT)


@pytest.fixture
def both(real, peer):
    """Take a run of additions and deletions of one shape, of which there is no entry; None of it is left over."""
    for message in (simple(1), simple(2, flags=OFPFF.SEND_FLOW_REM), ended(1), ended(2)):
        peer.feed(encode(message, 1))
    real.agent.commit()
    real.tick()
    peer.heard()

    def take(*messages):
        data = bytearray(b"".join(encode(message, 9) for message in messages))
        assert real.agent.run.take(data) == len(data)
        real.agent.commit()
        return real.agent.flows.tables

    return take


def test_deleted_added_and_deleted_in_one_run(both):
    assert len(both(ended(7), simple(7), ended(7))) == 0


def test_kinds_of_one_shape_share_its_entries(real, peer, both):
    told = simple(8, flags=OFPFF.SEND_FLOW_REM)
    tables = both(simple(7), ended(7), told, simple(9))
    assert sum(len(sub.entries) for sub in tables.tables[0].values()) == tables.counts[0] == 2
    peer.feed(encode(ended(9), 1))
    peer.feed(encode(ended(8), 1))
    assert len(real.agent.flows.tables) == 0
