"""Buffered packets: who gets a buffer_id, what uses it up, and when it is gone (1.3.5, 6.1.2, 7.3.7, 7.4.1)."""

import pytest
from of_peer import flow

from vswitchd.datapath import dp
from vswitchd.ofproto import actions as act
from vswitchd.ofproto import buffers
from vswitchd.ofproto import messages as m
from vswitchd.ofproto.bundle_messages import BundleAdd, BundleControl, Bundled
from vswitchd.ofproto.codec import encode
from vswitchd.ofproto.constants import OFP_NO_BUFFER, OFPBCT, OFPFC, OFPP, OFPR

FRAME = bytes(range(200))
TO_TABLES = (dp.output(OFPP.TABLE),)


def punt(switch, peer, max_len=64, data=FRAME):
    """Send a packet to the controllers; what the peer hears."""
    switch.agent.punt(dp.Punt(0, 2, 0, 1, OFPR.ACTION, 0, len(data), max_len, data))
    (told,) = peer.heard()
    return told


def test_a_packet_out_uses_a_buffer_once(switch, peer):
    told = punt(switch, peer)
    assert told.data == FRAME[:64]
    out = m.PacketOut(told.buffer_id, 2, (act.Output(1),))
    assert peer.do(out) is None
    assert switch.bridge.sent == [(FRAME, 2, (dp.output(1),))]
    assert peer.do(out) == "OFPBRC_BUFFER_EMPTY"
    assert peer.do(m.PacketOut(told.buffer_id + 1)) == "OFPBRC_BUFFER_UNKNOWN"
    assert peer.do(m.PacketOut(0)) == "OFPBRC_BUFFER_UNKNOWN"


def test_without_actions_the_packet_is_dropped_and_a_refused_packet_out_keeps_it(switch, peer):
    number = punt(switch, peer).buffer_id
    assert peer.do(m.PacketOut(number, 2, (act.Output(0),))) == "OFPBAC_BAD_OUT_PORT"
    assert peer.do(m.PacketOut(number, 9)) == "OFPBRC_BAD_PORT"
    assert peer.do(m.PacketOut(number, 2)) is None
    assert peer.do(m.PacketOut(number, 2)) == "OFPBRC_BUFFER_EMPTY"


@pytest.mark.parametrize("command", [OFPFC.ADD, OFPFC.MODIFY, OFPFC.MODIFY_STRICT])
def test_a_flow_mod_sends_the_packet_through_the_tables_that_it_changed(switch, peer, command):
    number = punt(switch, peer).buffer_id
    seen = []
    switch.bridge.packet_out = lambda *sent: seen.append((sent, len(switch.bridge.visible())))
    assert peer.do(flow(buffer_id=number, command=command)) is None
    assert seen == [((FRAME, 2, TO_TABLES), int(command == OFPFC.ADD))]
    assert peer.do(flow(7, buffer_id=number)) == "OFPBRC_BUFFER_EMPTY"
    assert peer.do(flow(8, buffer_id=77)) == "OFPBRC_BUFFER_UNKNOWN"
    assert {entry.priority for entry in switch.flows(peer)} >= {7, 8}  # as two messages (7.3.4.1)


def test_a_refused_flow_mod_and_a_delete_leave_the_buffer(switch, peer):
    number = punt(switch, peer).buffer_id
    assert peer.do(flow(buffer_id=number, out=0)) == "OFPBAC_BAD_OUT_PORT"
    assert peer.do(flow(buffer_id=number, command=OFPFC.DELETE)) is None
    assert peer.do(flow(buffer_id=99, command=OFPFC.DELETE_STRICT)) is None
    assert peer.do(m.PacketOut(number, 2)) is None


def test_one_packet_has_one_buffer_for_all_controllers(switch, peer):
    other = switch.peer()
    number = punt(switch, peer).buffer_id
    assert other.heard()[0].buffer_id == number
    assert other.do(m.PacketOut(number, 2)) is None
    assert peer.do(m.PacketOut(number, 2)) == "OFPBRC_BUFFER_EMPTY"


def test_no_buffer_is_taken_away_before_its_time_packets_go_whole_then(switch, peer):
    numbers = [punt(switch, peer).buffer_id for _ in range(buffers.N_BUFFERS)]
    assert len(set(numbers)) == peer.reply(m.FeaturesRequest()).n_buffers == buffers.N_BUFFERS
    told = punt(switch, peer)
    assert (told.buffer_id, told.data) == (OFP_NO_BUFFER, FRAME)
    assert peer.do(m.PacketOut(numbers[9], 2)) is None
    assert punt(switch, peer).buffer_id == numbers[-1] + 1
    assert punt(switch, peer).buffer_id == OFP_NO_BUFFER
    switch.clock.now += buffers.LIFE_SECONDS
    assert peer.do(m.PacketOut(numbers[0], 2)) == "OFPBRC_BUFFER_EMPTY"
    assert punt(switch, peer).buffer_id == numbers[-1] + 2
    assert len(switch.agent.buffers) == 1


def test_nobody_who_listens_no_buffer(switch, peer):
    peer.do(m.SetAsync())
    switch.agent.punt(dp.Punt(0, 2, 0, 1, OFPR.ACTION, 0, 200, 64, FRAME))
    assert len(switch.agent.buffers) == 0
    peer.do(m.SetAsync(packet_in_master=2))
    punt(switch, peer, 0xFFFF)
    assert len(switch.agent.buffers) == 0


def test_miss_send_len_says_whether_a_packet_of_no_action_is_buffered(switch, peer):
    peer.do(m.SetAsync(packet_in_master=1 << OFPR.INVALID_TTL))
    for length, kept in ((0xFFFF, 0), (30, 1)):
        peer.do(m.SetConfig(0, length))
        switch.agent.punt(dp.Punt(0, 2, 0, 1, OFPR.INVALID_TTL, 0, 200, 5, FRAME))
        (told,) = peer.heard()
        assert (len(told.data), len(switch.agent.buffers)) == (min(length, 200), kept)


def test_numbers_come_round(switch, peer, monkeypatch):
    monkeypatch.setattr(buffers, "_LAST", 3)
    for want in (1, 2, 3, 1):
        told = punt(switch, peer)
        assert told.buffer_id == want
        assert peer.do(m.PacketOut(want, 2)) is None
    assert peer.do(m.PacketOut(3, 2)) == "OFPBRC_BUFFER_EMPTY"
    assert peer.do(m.PacketOut(4, 2)) == "OFPBRC_BUFFER_UNKNOWN"


def in_bundle(peer, *mods):
    for mod in mods:
        peer.xid += 1
        peer.feed(encode(BundleAdd(1, 0, Bundled(peer.xid, mod)), peer.xid))
    return [x.name for _, x in peer.ask(BundleControl(1, OFPBCT.COMMIT_REQUEST)) if isinstance(x, m.Error)]


def test_a_flow_mod_of_a_bundle_sends_its_packet_when_all_is_visible(switch, peer):
    number = punt(switch, peer).buffer_id
    assert in_bundle(peer, flow(buffer_id=99)) == ["OFPBRC_BUFFER_UNKNOWN", "OFPBFC_MSG_FAILED"]
    assert switch.flows(peer) == ()
    switch.bridge.fail_commit = dp.DatapathError("no memory", 12)
    assert in_bundle(peer, flow(buffer_id=number)) == ["OFPBFC_UNKNOWN"]
    switch.bridge.fail_commit = None
    assert switch.bridge.sent == []
    assert in_bundle(peer, flow(buffer_id=number), flow(buffer_id=number)) == []
    assert switch.bridge.sent == [(FRAME, 2, TO_TABLES)]
