"""Meters as a controller makes them (5.7, 6.5, 7.3.4.4), on the real datapath."""

import pytest
from of_peer import Peer, flow
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from test_agent_datapath import removed
from test_bundles import bundle, commit

from vswitchd.ofproto import actions as act
from vswitchd.ofproto import instructions as ins
from vswitchd.ofproto import messages as m
from vswitchd.ofproto import multipart as mp
from vswitchd.ofproto.constants import OFPFC, OFPFF, OFPM, OFPMC, OFPMF, OFPP, OFPRR
from vswitchd.ofproto.structures import DropBand, DscpRemarkBand, ExperimenterBand

BURST = int(OFPMF.PKTPS | OFPMF.BURST)
IPV4 = {"eth_type": 0x800}


def packet(dscp=10):
    ip = IP(src="10.0.0.1", dst="10.0.0.2", tos=dscp << 2)
    return bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / ip / UDP(sport=5, dport=53))


def meter(number=1, *bands, command=OFPMC.ADD, flags=BURST):
    return m.MeterMod(int(command), flags, number, tuple(bands))


def metered(*more, number=1, **fields):
    return flow(match=IPV4, instructions=(*more, ins.Meter(number)), **fields)


OUT = ins.ApplyActions((act.Output(2),))


@pytest.fixture
def peer(real):
    return Peer(real)


def came_out(real, frame, times):
    return [out for _ in range(times) for out in real.send(frame).get(2, [])]


def test_the_meter_comes_before_the_actions_whatever_the_order(real, peer):
    assert peer.do(meter(1, DropBand(10, 3))) is None
    assert peer.do(metered(OUT)) is None
    assert len(came_out(real, packet(), 8)) == 3
    (stats,) = peer.reply(mp.MeterStatsRequest(1)).entries
    octets = len(packet())
    assert (stats.meter_id, stats.flow_count) == (1, 1)
    assert (stats.packet_in_count, stats.byte_in_count) == (8, 8 * octets)
    assert [(c.packet_count, c.byte_count) for c in stats.band_stats] == [(5, 5 * octets)]
    assert peer.reply(mp.FlowStatsRequest()).entries[0].packet_count == 8
    real.sleep(1)
    assert len(came_out(real, packet(), 8)) == 3


@pytest.mark.parametrize(
    ("dscp", "level", "after"),
    [(10, 1, 12), (10, 2, 14), (12, 1, 14), (14, 1, 14), (38, 3, 38), (34, 200, 38), (0, 1, 0), (46, 1, 46), (8, 1, 8)],
)  # fmt: skip
def test_remarking_adds_drop_precedence_to_assured_forwarding(real, peer, dscp, level, after):
    assert peer.do(meter(1, DscpRemarkBand(10, 1, level))) is None
    assert peer.do(metered(OUT)) is None
    assert came_out(real, packet(dscp), 3) == [packet(dscp), packet(after), packet(after)]


def test_a_later_table_matches_what_a_meter_remarked(real, peer):
    assert peer.do(meter(1, DropBand(10, 100))) is None
    assert peer.do(metered(ins.GotoTable(1))) is None
    assert peer.do(flow(1, match={**IPV4, "ip_dscp": 12}, table_id=1, out=2)) is None
    assert came_out(real, packet(), 2) == []
    remark = DscpRemarkBand(10, 1)
    assert peer.do(meter(1, remark, command=OFPMC.MODIFY)) is None  # the rule is made anew
    assert came_out(real, packet(), 2) == [packet(12)]
    (entry,) = (e for e in peer.reply(mp.FlowStatsRequest()).entries if e.table_id == 0)
    assert entry.packet_count == 4
    assert peer.do(meter(1, command=OFPMC.MODIFY)) is None
    assert came_out(real, packet(), 2) == []


def test_deleting_a_meter_takes_its_flows_along(real, peer):
    for number in (1, 2):
        assert peer.do(meter(number, DropBand(10))) is None
    assert peer.do(metered(OUT, flags=OFPFF.SEND_FLOW_REM)) is None
    assert peer.do(metered(OUT, number=2, table_id=1)) is None
    assert peer.do(metered(OUT, table_id=2)) is None
    assert peer.do(flow(table_id=2, command=OFPFC.MODIFY, instructions=(OUT,))) is None  # it left the meter
    assert peer.do(meter(1, command=OFPMC.DELETE)) is None
    real.tick()
    real.tick()
    assert [message.reason for message in removed(peer)] == [OFPRR.DELETE]
    assert sorted(e.table_id for e in peer.reply(mp.FlowStatsRequest()).entries) == [1, 2]
    assert peer.do(meter(int(OFPM.ALL), command=OFPMC.DELETE)) is None
    assert [e.table_id for e in peer.reply(mp.FlowStatsRequest()).entries] == [2]
    assert peer.reply(mp.MeterStatsRequest()).entries == ()


def test_configurations_and_features(real, peer):
    bands = (DropBand(2000, 5), DscpRemarkBand(1000, 7, 2))
    assert peer.do(meter(7, *bands)) is None
    assert peer.do(meter(3, flags=int(OFPMF.KBPS))) is None
    three, seven = peer.reply(mp.MeterConfigRequest()).entries
    assert (three.meter_id, three.flags, three.bands) == (3, OFPMF.KBPS, ())
    assert (seven.meter_id, seven.flags, seven.bands) == (7, BURST, bands)
    assert peer.reply(mp.MeterConfigRequest(7)).entries == (seven,)
    real.sleep(2)
    assert [e.duration_sec for e in peer.reply(mp.MeterStatsRequest()).entries] == [2, 2]
    features = peer.reply(mp.MeterFeaturesRequest())
    assert (features.max_meter, features.band_types, features.max_bands) == (65536, 0b110, 8)
    assert features.capabilities == 0b1111


REFUSED = [
    (meter(1), "METER_EXISTS"),
    (meter(2, command=OFPMC.MODIFY), "UNKNOWN_METER"),
    (meter(0), "INVALID_METER"),
    (meter(int(OFPM.MAX) + 1), "INVALID_METER"),
    (meter(int(OFPM.SLOWPATH)), "INVALID_METER"),
    (meter(int(OFPM.ALL)), "INVALID_METER"),
    (meter(int(OFPM.CONTROLLER), command=OFPMC.DELETE), "INVALID_METER"),
    (meter(2, command=3), "BAD_COMMAND"),
    (meter(2, flags=3), "BAD_FLAGS"),
    (meter(2, flags=16), "BAD_FLAGS"),
    (meter(2, DropBand(0)), "BAD_RATE"),
    (meter(2, DropBand(9), DscpRemarkBand(0)), "BAD_RATE"),
    (meter(2, DscpRemarkBand(9, 0, 0)), "BAD_BAND_VALUE"),
    (meter(2, ExperimenterBand(9, 0, 0x2320)), "BAD_BAND"),
    (meter(2, *[DropBand(9)] * 9), "OUT_OF_BANDS"),
    (metered(number=2), "UNKNOWN_METER"),
    (metered(number=int(OFPM.CONTROLLER)), "UNKNOWN_METER"),
    (metered(number=2, command=OFPFC.MODIFY), "UNKNOWN_METER"),
]


@pytest.mark.parametrize(("mod", "code"), REFUSED)
def test_refused(peer, mod, code):
    assert peer.do(meter(1, DropBand(5))) is None
    assert peer.do(meter(int(OFPM.CONTROLLER), DropBand(5))) is None
    before = peer.reply(mp.MeterConfigRequest())
    assert peer.do(mod) == f"OFPMMFC_{code}"
    assert peer.reply(mp.MeterConfigRequest()) == before
    assert peer.reply(mp.FlowStatsRequest()).entries == ()


@pytest.mark.parametrize("request_", [mp.MeterStatsRequest, mp.MeterConfigRequest])
def test_asking_for_an_unknown_meter(peer, request_):
    assert peer.reply(request_(9)).name == "OFPMMFC_UNKNOWN_METER"


def test_the_controllers_meter_limits_packet_ins_and_stays(real, peer):
    number = int(OFPM.CONTROLLER)
    assert peer.do(flow(1, actions=[act.Output(OFPP.CONTROLLER)])) is None
    assert peer.do(meter(number, DropBand(10, 4))) is None
    assert peer.do(meter(int(OFPM.ALL), command=OFPMC.DELETE)) is None
    for _ in range(9):
        real.send(packet())
    assert len(peer.heard()) == 4
    assert peer.do(meter(number, command=OFPMC.MODIFY)) is None
    for _ in range(9):
        real.send(packet())
    assert len(peer.heard()) == 9


def test_too_many_meters(peer, monkeypatch):
    monkeypatch.setattr("vswitchd.ofproto.meters.MAX_METERS", 2)
    assert [peer.do(meter(number)) for number in (1, 2, 3)] == [None, None, "OFPMMFC_OUT_OF_METERS"]


def changes():
    return (
        meter(1, DscpRemarkBand(10, 1), command=OFPMC.MODIFY),
        meter(2, command=OFPMC.DELETE),
        meter(3, DropBand(10, 2)),
        metered(OUT, number=3),
    )


@pytest.fixture
def two_meters(peer):
    for number in (1, 2):
        assert peer.do(meter(number, DropBand(10, number))) is None
    assert peer.do(metered(OUT)) is None
    assert peer.do(metered(OUT, number=2, table_id=2)) is None
    return peer


def test_a_bundle_that_fails_leaves_meters_and_their_users(real, two_meters):
    peer = two_meters
    before = [peer.reply(mp.MeterConfigRequest()), peer.reply(mp.FlowStatsRequest())]
    bundle(peer, *changes(), meter(9, command=OFPMC.MODIFY))
    assert [name for _, name in commit(peer)] == ["OFPMMFC_UNKNOWN_METER", "OFPBFC_MSG_FAILED"]
    assert [peer.reply(mp.MeterConfigRequest()), peer.reply(mp.FlowStatsRequest())] == before
    assert came_out(real, packet(), 3) == [packet()]
    assert [e.flow_count for e in peer.reply(mp.MeterStatsRequest()).entries] == [1, 1]
    for number in (1, 2):
        assert peer.do(meter(number, command=OFPMC.DELETE)) is None
    assert peer.reply(mp.FlowStatsRequest()).entries == ()


def test_a_bundle_changes_meters_and_flows_together(real, two_meters):
    peer = two_meters
    bundle(peer, *changes())
    assert commit(peer) == []
    assert [(e.meter_id, e.flow_count) for e in peer.reply(mp.MeterStatsRequest()).entries] == [
        (1, 0),
        (3, 1),
    ]
    assert [e.table_id for e in peer.reply(mp.FlowStatsRequest()).entries] == [0]
    assert came_out(real, packet(), 3) == [packet()] * 2
