"""Requests that mean much work are done in turns of others, and taken back so; what is looked at does not grow with the switch."""

import sys

import pytest
from of_peer import flow

from vswitchd.ofproto import actions as act
from vswitchd.ofproto import messages as m
from vswitchd.ofproto.bundle_messages import BundleAdd, BundleControl, Bundled
from vswitchd.ofproto.connection import Request
from vswitchd.ofproto.constants import OFPBCT, OFPFC, OFPG, OFPGC, OFPGT, OFPM, OFPMC, OFPMF
from vswitchd.ofproto.multipart import TableFeaturesRequest
from vswitchd.ofproto.structures import Bucket
from vswitchd.ofproto.table_capabilities import table_features


@pytest.fixture
def start(switch, peer):
    """Begin a request and return its job."""
    return lambda message: switch.agent.request(peer.session, Request(7, message, b""))


def sends_to(*groups, number, command=OFPGC.ADD):
    buckets = tuple(Bucket(actions=(act.Group(group),)) for group in groups)
    return m.GroupMod(command, OFPGT.ALL, number, buckets)


def calls(function):
    """How many functions it calls."""
    count = 0

    def counting(_frame, event, _arg):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(counting)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


def test_a_group_at_the_end_of_a_long_chain_costs_what_the_first_one_does(peer, start):
    assert peer.do(m.GroupMod(group_id=1)) is None
    costs = [calls(lambda n=n: start(sends_to(n - 1, number=n))) for n in range(2, 200)]
    assert costs[-1] <= costs[1] + 5
    assert peer.do(sends_to(199, number=1, command=OFPGC.MODIFY)) == "OFPGMFC_LOOP"
    assert peer.do(sends_to(300, number=300)) == "OFPGMFC_LOOP"


def test_watching_in_a_loop_is_found_though_the_watched_group_went(peer):
    def watches(number, group):
        return m.GroupMod(OFPGC.ADD, OFPGT.FF, number, (Bucket(watch_group=group),))

    assert peer.do(m.GroupMod(group_id=1)) is None
    assert peer.do(watches(2, 1)) is None
    assert peer.do(m.GroupMod(OFPGC.DELETE, 0, 1)) is None
    assert peer.do(watches(1, 2)) == "OFPGMFC_LOOP"


def test_a_modification_of_many_goes_in_turns(switch, peer, start, monkeypatch):
    monkeypatch.setattr("vswitchd.ofproto.flow_store._MODIFY_TURN", 1)
    for priority in (1, 2, 3):
        assert peer.do(flow(priority, out=1)) is None
    job = start(flow(out=2, command=OFPFC.MODIFY))
    assert next(job) == b""
    left = [e.priority for e in switch.flows(peer) if e.instructions[0].actions[0].port == 1]
    assert len(left) == 2
    assert peer.do(flow(left[0], command=OFPFC.DELETE_STRICT)) is None
    assert set(job) == {b""}
    assert [e.instructions[0].actions[0].port for e in switch.flows(peer)] == [2, 2]


@pytest.mark.parametrize("dies", [False, True])
def test_a_bundle_is_taken_back_in_turns(switch, peer, start, monkeypatch, dies):
    monkeypatch.setattr("vswitchd.ofproto.flow_store._TURN", 1)
    monkeypatch.setattr("vswitchd.ofproto.bundle_requests._TURN", 1)
    agent = switch.agent
    assert peer.do(flow(1)) is None
    mods = [flow(command=OFPFC.DELETE), *(flow(priority) for priority in (4, 5, 6)), flow(table_id=255)]
    for mod in mods:
        start(BundleAdd(1, 0, Bundled(7, mod)))
    job = start(BundleControl(1, OFPBCT.COMMIT_REQUEST, 0))
    while len(agent.flows.tables) < 3:
        next(job)
    while len(agent.flows.tables) == 3:
        next(job)
    assert agent.transaction is not None
    assert len(agent.flows.tables) == 2
    if dies:
        agent.leave(peer.session)
    else:
        assert set(job) == {b""}
    assert agent.transaction is None
    assert [entry.priority for entry in switch.flows(switch.peer())] == [1]


def test_many_groups_and_meters_go_in_turns(switch, peer, start, monkeypatch):
    monkeypatch.setattr("vswitchd.ofproto.groups._TURN", 1)
    monkeypatch.setattr("vswitchd.ofproto.meters._TURN", 1)
    for number in (1, 2, 3):
        assert peer.do(m.GroupMod(group_id=number)) is None
        assert peer.do(m.MeterMod(OFPMC.ADD, OFPMF.KBPS, number)) is None
    assert list(start(m.GroupMod(OFPGC.DELETE, 0, OFPG.ALL))) == [b""] * 3
    assert list(start(m.MeterMod(OFPMC.DELETE, 0, OFPM.ALL))) == [b""] * 3
    assert not len(switch.agent.groups)
    assert not len(switch.agent.meters)


def test_a_pipeline_is_read_in_turns(switch, start):
    tables = tuple(table_features(number) for number in range(254))
    job = start(TableFeaturesRequest(tables))
    assert switch.agent.transaction is not None
    assert list(job).count(b"") >= len(tables)
    assert switch.agent.transaction is None
