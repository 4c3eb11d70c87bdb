"""Table features written: what is refused, what flow-mods are held to then, and requests in parts (7.3.5.5)."""

from dataclasses import replace

import pytest
from of_peer import flow

from vswitchd.datapath import dp
from vswitchd.ofproto import actions as act
from vswitchd.ofproto import actions10 as act10
from vswitchd.ofproto import instructions as ins
from vswitchd.ofproto import messages as m
from vswitchd.ofproto import multipart as mp
from vswitchd.ofproto import reassembly
from vswitchd.ofproto.codec import encode, encode_parts
from vswitchd.ofproto.constants import OFPAT, OFPCR, OFPFC, OFPFF, OFPIT, OFPMPF, OFPTFPT
from vswitchd.ofproto.errors import OFPBAC, OFError
from vswitchd.ofproto.fields import field
from vswitchd.ofproto.tablefeatures import ExperimenterProperty, TableFeatures, TableProperty

T = OFPTFPT


def oxm(*names, masked=()):
    return tuple(field(name).header for name in names) + tuple(
        field(name).header + 0x100 + field(name).size for name in masked
    )


PROPERTIES = {
    T.INSTRUCTIONS: (OFPIT.APPLY_ACTIONS, OFPIT.GOTO_TABLE, OFPIT.WRITE_METADATA),
    T.INSTRUCTIONS_MISS: (OFPIT.APPLY_ACTIONS, OFPIT.WRITE_ACTIONS),
    T.NEXT_TABLES: (5,),
    T.NEXT_TABLES_MISS: (),
    T.WRITE_ACTIONS: (),
    T.WRITE_ACTIONS_MISS: (OFPAT.OUTPUT,),
    T.APPLY_ACTIONS: (OFPAT.OUTPUT, OFPAT.SET_FIELD),
    T.APPLY_ACTIONS_MISS: (OFPAT.GROUP,),
    T.MATCH: oxm("in_port", "eth_type", "vlan_vid", "ipv4_src", masked=("eth_dst", "metadata")),
    T.WILDCARDS: oxm("in_port", "eth_type", "eth_dst", "vlan_vid", "metadata"),
    T.WRITE_SETFIELD: (),
    T.APPLY_SETFIELD: oxm("eth_dst"),
    T.APPLY_SETFIELD_MISS: (),
}


def table(number, changes=None, **fields):
    properties = PROPERTIES | (changes or {})
    entry = TableFeatures(
        number, f"t{number}", 0xFF, 0xF0, 0, 4,
        tuple(TableProperty(int(kind), tuple(map(int, ids))) for kind, ids in properties.items() if ids is not None),
    )  # fmt: skip
    return replace(entry, **fields)


LAST = table(5, {T.INSTRUCTIONS: (OFPIT.APPLY_ACTIONS,), T.NEXT_TABLES: ()})


def write(peer, *tables):
    """The features as they are then, or the name of the error."""
    found = peer.ask(mp.TableFeaturesRequest(tables))
    assert {xid for xid, _ in found} == {peer.xid}
    if isinstance(found[0][1], m.Error):
        return found[0][1].name
    return tuple(entry for _, part in found for entry in part.entries)


def test_what_is_written_is_had_and_read(switch, peer):
    assert write(peer, LAST, table(0)) == (table(0), LAST)
    assert peer.reply(mp.TableFeaturesRequest()).entries == (table(0), LAST)
    assert [entry.table_id for entry in peer.reply(mp.TableStatsRequest()).entries] == [0, 5]
    assert peer.reply(m.FeaturesRequest()).n_tables == 254
    for message, error in (
        (flow(table_id=1), "OFPFMFC_BAD_TABLE_ID"),
        (flow(table_id=1, command=OFPFC.DELETE), "OFPFMFC_BAD_TABLE_ID"),
        (flow(table_id=255, command=OFPFC.DELETE), None),
        (m.TableMod(1), "OFPTMFC_BAD_TABLE"),
        (m.TableMod(5), None),
        (m.TableMod(255), None),
    ):
        assert peer.do(message) == error
    assert peer.reply(mp.FlowStatsRequest(table_id=1)).name == "OFPBRC_BAD_TABLE_ID"
    assert peer.reply(mp.FlowStatsRequest(table_id=5)).entries == ()


def test_ids_of_fields_without_their_length_are_meant_as_with_it(peer):
    """As Ryu and faucet write them."""
    fields = {T.MATCH, T.WILDCARDS, T.WRITE_SETFIELD, T.APPLY_SETFIELD, T.APPLY_SETFIELD_MISS}
    short = [
        replace(prop, ids=tuple(i & ~0xFF for i in prop.ids)) if prop.type in fields else prop
        for prop in table(0).properties
    ]
    assert short != list(table(0).properties)
    assert write(peer, LAST, table(0, properties=tuple(short))) == (table(0), LAST)


def test_what_was_read_can_be_written_back_and_changes_nothing(switch, peer):
    whole = peer.reply(mp.TableFeaturesRequest()).entries
    peer.do(
        flow(1, match={"eth_type": 0x800, "ipv4_src": (5, 7)}, actions=[act.PushVlan(0x8100), act.Output(1)])
    )
    assert write_parts(peer, whole) == whole
    assert len(switch.flows(peer)) == 1
    assert peer.do(flow(2, table_id=253)) is None


def write_parts(peer, tables):
    peer.xid += 1
    data = b"".join(encode_parts(mp.TableFeaturesRequest(), peer.xid, entries=tables))
    found = peer.feed(data)
    assert {xid for xid, _ in found} == {peer.xid}
    return tuple(entry for _, part in found for entry in part.entries)


FIELD = {"eth_type": 0x800, "ipv4_src": 5}
SET_DST = act.SetField(field("eth_dst"), 1)


@pytest.mark.parametrize(
    ("mod", "error"),
    [
        (flow(match=FIELD), None),
        (flow(match={**FIELD, "eth_dst": (4, 4)}), None),
        (flow(match={"in_port": 1}), None),  # without its prerequisite ipv4_src cannot be there
        (flow(match={"eth_type": 0x800}), "OFPBMC_BAD_WILDCARDS"),
        (flow(match={"eth_src": 1}), "OFPBMC_BAD_FIELD"),
        (flow(match={**FIELD, "vlan_vid": (0x1000, 0x1000)}), "OFPBMC_BAD_MASK"),
        (flow(match={"metadata": (0x80, 0x80)}), None),
        (flow(match={"metadata": 5}), "OFPBMC_BAD_MASK"),
        (flow(actions=[SET_DST]), None),
        (flow(actions=[act.SetField(field("eth_src"), 1)]), "OFPBAC_BAD_SET_TYPE"),
        (flow(actions=[act.PushVlan(0x8100)]), "OFPBAC_BAD_TYPE"),
        (flow(instructions=(ins.WriteActions((act.Output(1),)),)), "OFPBIC_UNSUP_INST"),
        (flow(instructions=(ins.ClearActions(),)), "OFPBIC_UNSUP_INST"),
        (flow(instructions=(ins.GotoTable(5),)), None),
        (flow(instructions=(ins.GotoTable(6),)), "OFPBIC_BAD_TABLE_ID"),
        (flow(instructions=(ins.WriteMetadata(0x30, 0x70),)), None),
        (flow(instructions=(ins.WriteMetadata(1, 1),)), "OFPBIC_UNSUP_METADATA_MASK"),
        (flow(table_id=5, instructions=(ins.GotoTable(6),)), "OFPBIC_BAD_TABLE_ID"),
        (flow(0), "OFPBAC_BAD_TYPE"),
        (flow(0, actions=[SET_DST]), "OFPBAC_BAD_TYPE"),
        (flow(0, instructions=(ins.WriteActions((act.Output(1),)),)), None),
        (flow(0, instructions=(ins.GotoTable(5),)), "OFPBIC_UNSUP_INST"),
    ],
)
def test_flow_mods_are_held_to_it(peer, mod, error):
    write(peer, table(0), LAST)
    assert peer.do(mod) == error


def test_actions_that_table_features_cannot_name_are_refused(switch, peer):
    write(peer, table(0), LAST)
    old = flow(actions=[act10.StripVlan()])
    with pytest.raises(OFError) as refused:
        switch.agent.flows.apply(old)
    assert refused.value.code == OFPBAC.BAD_TYPE


def test_modify_is_held_to_what_its_entries_may_do(switch, peer):
    write(peer, table(0), LAST)
    miss = flow(0, instructions=(ins.WriteActions((act.Output(1),)),))
    assert peer.do(miss) is None
    assert peer.do(flow(command=OFPFC.MODIFY, out=2)) == "OFPBAC_BAD_TYPE"
    assert peer.do(flow(command=OFPFC.MODIFY, out=2, match={"in_port": 1})) is None
    assert peer.do(replace(miss, command=OFPFC.MODIFY)) == "OFPBIC_UNSUP_INST"
    assert switch.flows(peer)[0].instructions == miss.instructions


def test_max_entries(switch, peer):
    write(peer, table(0), LAST)
    for priority in range(1, 5):
        assert peer.do(flow(priority)) is None
    assert peer.do(flow(5)) == "OFPFMFC_TABLE_FULL"
    assert peer.do(flow(4, actions=[SET_DST])) is None  # takes the place of an identical one
    assert peer.do(flow(5, table_id=5)) is None
    assert peer.do(flow(4, command=OFPFC.DELETE_STRICT)) is None
    assert peer.do(flow(5)) is None


def test_entries_of_tables_that_change_or_go_are_removed_untold(switch, peer):
    for number in (0, 1, 5):
        peer.do(flow(number + 1, table_id=number, flags=OFPFF.SEND_FLOW_REM))
    assert len(write(peer, table(0), LAST)) == 2
    assert switch.flows(peer) == ()
    assert switch.bridge.visible() == {}
    peer.do(flow(1))
    peer.do(flow(2, table_id=5))
    assert len(write(peer, table(0, name="other"), replace(LAST, max_entries=3))) == 2
    assert [entry.table_id for entry in switch.flows(peer)] == [0]
    same = table(0, {T.WRITE_SETFIELD_MISS: ()})  # was left out, as it is the same
    assert write(peer, same, replace(LAST, max_entries=3))[0] == same
    assert [entry.table_id for entry in switch.flows(peer)] == [0]
    switch.agent.tick()
    assert peer.heard() == []


def test_all_or_nothing(switch, peer):
    peer.do(flow(1))
    before = peer.reply(mp.TableFeaturesRequest()).entries
    assert write(peer, table(0), table(5)) == "OFPTFFC_BAD_ARGUMENT"
    switch.bridge.fail_commit = dp.DatapathError("no memory", 12)
    assert write(peer, table(0), LAST) == "OFPTFFC_EPERM"
    switch.bridge.fail_commit = None
    assert len(switch.flows(peer)) == 1
    assert peer.reply(mp.TableFeaturesRequest()).entries == before


EXPERIMENTER = ExperimenterProperty(int(T.EXPERIMENTER), 1, 2, bytes(4))


@pytest.mark.parametrize(
    ("tables", "error"),
    [
        ((table(0), LAST, LAST), "BAD_TABLE"),
        ((table(0), LAST, replace(LAST, table_id=254)), "BAD_TABLE"),
        ((table(0), LAST, replace(LAST, table_id=255)), "BAD_TABLE"),
        ((LAST,), "BAD_TABLE"),
        ((table(0, config=4), LAST), "BAD_ARGUMENT"),
        ((table(0, max_entries=1 << 31), LAST), "BAD_ARGUMENT"),
        ((table(0, properties=(*table(0).properties, EXPERIMENTER)), LAST), "BAD_TYPE"),
        ((table(0, properties=table(0).properties + table(0).properties[:1]), LAST), "BAD_ARGUMENT"),
        ((table(0),), "BAD_ARGUMENT"),  # leads to a table that is left out
        ((table(0, {T.NEXT_TABLES: (0,)}), LAST), "BAD_ARGUMENT"),
        ((table(0, {T.NEXT_TABLES_MISS: (254,)}), LAST), "BAD_ARGUMENT"),
        ((table(0, {T.INSTRUCTIONS: (7,)}), LAST), "BAD_ARGUMENT"),
        ((table(0, {T.INSTRUCTIONS_MISS: (0xFFFF | 5 << 32,)}), LAST), "BAD_ARGUMENT"),
        ((table(0, {T.WRITE_ACTIONS: (1,)}), LAST), "BAD_ARGUMENT"),
        ((table(0, {T.APPLY_ACTIONS_MISS: (0xFFFF | 5 << 32,)}), LAST), "BAD_ARGUMENT"),
        ((table(0, {T.MATCH: (0x8000FE04,)}), LAST), "BAD_ARGUMENT"),
        ((table(0, {T.MATCH: oxm("in_port", masked=("in_port",)), T.WILDCARDS: ()}), LAST), "BAD_ARGUMENT"),
        ((table(0, {T.MATCH: (), T.WILDCARDS: oxm("in_port")}), LAST), "BAD_ARGUMENT"),
        ((table(0, {T.APPLY_SETFIELD: oxm("in_port")}), LAST), "BAD_ARGUMENT"),
        ((table(0, {T.WRITE_SETFIELD_MISS: oxm("metadata")}), LAST), "BAD_ARGUMENT"),
        *(((table(0, {kind: None}), LAST), "BAD_ARGUMENT") for kind in PROPERTIES if "MISS" not in kind.name),
    ],
)
def test_what_is_refused(peer, tables, error):
    assert write(peer, *tables) == f"OFPTFFC_{error}"


def test_properties_for_table_miss_entries_may_be_left_out(peer):
    entry = table(0, dict.fromkeys((kind for kind in PROPERTIES if "MISS" in kind.name), None))
    assert write(peer, entry, LAST) == (entry, LAST)
    assert peer.do(flow(0, actions=[SET_DST])) is None
    assert peer.do(flow(0, instructions=(ins.WriteActions(()),))) == "OFPBIC_UNSUP_INST"


def test_slaves_may_only_read(peer):
    peer.reply(m.RoleRequest(OFPCR.SLAVE, 1))
    assert write(peer, table(0), LAST) == "OFPBRC_IS_SLAVE"
    assert len(peer.reply(mp.TableFeaturesRequest()).entries) == 254


def part(peer, xid, *tables, more=True):
    found = peer.feed(encode(mp.TableFeaturesRequest(tables, flags=int(more) * OFPMPF.MORE), xid))
    return [x.name if isinstance(x, m.Error) else len(x.entries) for _, x in found]


def test_a_request_in_parts(switch, peer):
    assert part(peer, 7, table(0)) == []
    assert peer.do(flow(1, table_id=3)) is None
    assert part(peer, 7) == []
    assert part(peer, 7, LAST, more=False) == [2]
    assert part(peer, 7, table(0), more=False) == ["OFPTFFC_BAD_ARGUMENT"]


def test_parts_are_bounded(switch, peer):
    assert part(peer, 7, table(0)) == []
    assert part(peer, 8, table(0)) == ["OFPBRC_MULTIPART_BUFFER_OVERFLOW"]
    for _ in range(reassembly.MAX_PARTS - 1):
        assert part(peer, 7) == []
    assert part(peer, 7) == ["OFPBRC_MULTIPART_BUFFER_OVERFLOW"]
    assert part(peer, 8, table(0)) == []
    switch.clock.now += reassembly.PATIENCE_SECONDS
    assert part(peer, 9, table(0)) == []
    assert part(peer, 9, LAST, more=False) == [2]


def test_a_flush_brings_all_tables_back(switch, peer):
    write(peer, table(0), LAST)
    switch.agent.flush()
    assert len(peer.reply(mp.TableFeaturesRequest()).entries) == 254
