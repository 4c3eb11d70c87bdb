"""Bundles (ONF extension 230): all of their messages or none, whatever fails, and what is refused."""

import pytest
from of_peer import Switch, flow, port

from vswitchd.datapath import dp
from vswitchd.ofproto import actions as act
from vswitchd.ofproto import bundle_requests, bundles
from vswitchd.ofproto import instructions as ins
from vswitchd.ofproto import messages as m
from vswitchd.ofproto import multipart as mp
from vswitchd.ofproto.bundle_messages import BundleAdd, BundleControl, Bundled
from vswitchd.ofproto.codec import encode
from vswitchd.ofproto.constants import OFPBCT, OFPBF, OFPCR, OFPFC, OFPFF, OFPPC, OFPPR
from vswitchd.ofproto.structures import Bucket, DropBand

OPEN, CLOSE, COMMIT, DISCARD = (
    OFPBCT.OPEN_REQUEST, OFPBCT.CLOSE_REQUEST, OFPBCT.COMMIT_REQUEST, OFPBCT.DISCARD_REQUEST,
)  # fmt: skip
TO_GROUP = m.GroupMod(group_id=7, buckets=(Bucket(actions=(act.Output(1),)),))


def control(peer, kind, number=1, flags=0):
    reply = peer.reply(BundleControl(number, kind, flags))
    if isinstance(reply, m.Error):
        return reply.name
    assert reply == BundleControl(number, kind + 1, flags)
    return None


def add(peer, message, number=1, flags=0, xid=None):
    """Put a message into a bundle; None, or the name of the error."""
    peer.xid += 1
    found = peer.feed(encode(BundleAdd(number, flags, Bundled(xid or peer.xid, message)), peer.xid))
    return found[0][1].name if found else None


def bundle(peer, *messages):
    assert control(peer, OPEN) is None
    for message in messages:
        assert add(peer, message) is None


def commit(peer):
    """The names of the errors that a commit brings, with their xids."""
    found = peer.ask(BundleControl(1, COMMIT))
    if isinstance(found[-1][1], BundleControl):
        assert found == [(peer.xid, BundleControl(1, OFPBCT.COMMIT_REPLY))]
        return []
    return [(xid, message.name) for xid, message in found]


def state(switch, peer):
    """All that a controller or a packet can see of the tables."""
    flows = {(f.table_id, f.priority, f.match): (f.cookie, f.flags, f.instructions, f.packet_count, f.byte_count,
                                                 f.idle_timeout, f.hard_timeout) for f in switch.flows(peer)}  # fmt: skip
    counts = list(switch.agent.flows.tables.counts)
    store = switch.agent.flows
    users = [
        {n: len(entries) for n, entries in all_.items()} for all_ in (store.group_users, store.meter_users)
    ]
    shown = switch.bridge.visible(), dict(switch.bridge.shown_groups), dict(switch.bridge.shown_meters)
    return flows, counts, users, shown, list(switch.agent.groups), list(switch.agent.meters)


def test_nothing_is_seen_before_the_commit_and_all_with_one_commit_of_the_datapath(switch, peer):
    bundle(peer, TO_GROUP, flow(1, actions=[act.Group(7)]), *(flow(p) for p in range(2, 50)))
    assert (switch.bridge.visible(), switch.bridge.groups, switch.bridge.commits) == ({}, {}, 0)
    assert control(peer, CLOSE) is None
    assert commit(peer) == []
    assert len(switch.bridge.visible()) == 49
    assert list(switch.bridge.shown_groups) == [7]
    assert switch.bridge.commits == 1
    assert control(peer, COMMIT) == "OFPBFC_BAD_ID"


def metered(priority, meter, **more):
    return flow(priority, instructions=(ins.Meter(meter), ins.ApplyActions((act.Output(1),))), **more)


FIRST = [
    m.MeterMod(meter_id=4, flags=1, bands=(DropBand(5),)),
    metered(9, 4, table_id=8),
    TO_GROUP,
    m.GroupMod(group_id=8, buckets=()),
    flow(1, actions=[act.Group(7)], cookie=1),
    flow(2, idle_timeout=9, flags=OFPFF.SEND_FLOW_REM, match={"in_port": 1}),
    flow(3, match={"in_port": 2}),
    flow(4, hard_timeout=5, table_id=3),
]
CHANGES = [
    [flow(9)],
    [flow(9), flow(9, out=2), flow(9, command=OFPFC.DELETE)],
    [flow(1, cookie=5)],
    [flow(2, cookie=5, match={"in_port": 1}, flags=OFPFF.RESET_COUNTS, hard_timeout=7)],
    [flow(2, match={"in_port": 1}, out=2), flow(2, match={"in_port": 1}, out=1, command=OFPFC.MODIFY_STRICT)],
    [flow(command=OFPFC.MODIFY, out=2, flags=OFPFF.RESET_COUNTS)],
    [flow(command=OFPFC.DELETE)],
    [flow(command=OFPFC.DELETE), *FIRST[4:]],
    [flow(command=OFPFC.DELETE_STRICT, priority=3, match={"in_port": 2}), flow(3, match={"in_port": 2})],
    [m.GroupMod(command=2, group_id=7)],
    [m.GroupMod(command=2, group_id=0xFFFFFFFC), TO_GROUP, flow(1, actions=[act.Group(7)])],
    [m.GroupMod(command=1, group_id=8, type=2, buckets=(Bucket(actions=(act.Output(2),)),))],
    [m.GroupMod(group_id=9, buckets=()), flow(5, actions=[act.Group(9)])],
    [m.MeterMod(command=2, meter_id=4)],
    [m.MeterMod(command=1, meter_id=4, flags=2, bands=(DropBand(9),)), flow(4, table_id=3)],
    [m.MeterMod(meter_id=5, flags=1, bands=(DropBand(9),)), metered(6, 5), m.MeterMod(command=2, meter_id=5)],
]


@pytest.mark.parametrize("changes", CHANGES)
def test_a_failing_message_takes_everything_back(switch, peer, changes):
    for message in FIRST:
        assert peer.do(message) is None
    for number, rule in enumerate(switch.bridge.visible(), 1):
        switch.bridge.hit(rule, number, 100 * number, 1)
    peer.do(flow(2, out=2, command=OFPFC.MODIFY_STRICT, match={"in_port": 1}))  # has a rule that still counts
    before = state(switch, peer)
    bundle(peer, *changes, bad := flow(out=0))
    offending = peer.xid
    assert commit(peer) == [(offending, "OFPBAC_BAD_OUT_PORT"), (peer.xid, "OFPBFC_MSG_FAILED")]
    assert state(switch, peer) == before
    assert peer.do(bad) == "OFPBAC_BAD_OUT_PORT"
    switch.agent.tick()
    assert state(switch, peer) == before
    assert peer.heard() == []
    # The same without the bad one: as if the messages came by themselves.
    other = Switch()
    alone = other.peer()
    for message in [*FIRST, *changes]:
        assert alone.do(message) is None
    bundle(peer, *changes)
    assert commit(peer) == []
    assert [sorted(part) for part in shape(switch, peer)] == [sorted(part) for part in shape(other, alone)]


def shape(switch, peer):
    flows = [(f.table_id, f.priority, str(f.instructions), f.cookie, f.idle_timeout) for f in switch.flows(peer)
             if f.priority != 2]  # fmt: skip
    store = switch.agent.flows
    return flows, switch.bridge.shown_groups, store.group_users, switch.bridge.shown_meters, store.meter_users


def test_what_was_taken_back_still_times_out_and_is_told(switch, peer):
    peer.do(flow(2, idle_timeout=9, flags=OFPFF.SEND_FLOW_REM, cookie=3))
    switch.bridge.hit(switch.rule(priority=2), 4, 400, 1_000_000)
    bundle(peer, flow(2, out=2, hard_timeout=3), flow(command=OFPFC.DELETE), flow(out=0))
    assert len(commit(peer)) == 2
    switch.clock.now += 4
    switch.agent.tick()
    assert len(switch.flows(peer)) == 1
    switch.clock.now += 5
    switch.agent.tick()
    switch.agent.tick()
    (told,) = peer.heard()
    assert (told.cookie, told.packet_count, told.idle_timeout, told.hard_timeout) == (3, 4, 9, 0)


def test_the_head_of_the_message_that_failed_is_sent(peer):
    bundle(peer, flow(out=0))
    (xid, error), (_, of_all) = peer.ask(BundleControl(1, COMMIT))
    assert error.data == encode(flow(out=0), xid)[:64]
    assert of_all.data[4:] == encode(BundleControl(1, COMMIT), peer.xid)[:64]


def test_no_memory_for_the_commit(switch, peer):
    peer.do(flow(1))
    before = state(switch, peer)
    bundle(peer, flow(2))
    switch.bridge.fail_commit = dp.DatapathError("no memory", 12)
    assert commit(peer) == [(peer.xid, "OFPBFC_UNKNOWN")]
    switch.bridge.fail_commit = None
    assert state(switch, peer) == before


def test_port_mods_are_done_with_the_rest_or_not_at_all(switch, peer):
    mod = m.PortMod(1, port(1).hw_addr, OFPPC.NO_FWD, OFPPC.NO_FWD)
    bundle(peer, mod, flow(out=0))
    assert len(commit(peer)) == 2
    assert switch.handles[1].bits == 0
    bundle(peer, flow(1), mod)
    assert switch.handles[1].bits == 0
    assert commit(peer) == []
    assert switch.handles[1].bits == OFPPC.NO_FWD
    assert [told.reason for told in peer.heard()] == [OFPPR.MODIFY]
    bundle(peer, flow(2), m.PortMod(9))
    assert commit(peer)[0][1] == "OFPPMFC_BAD_PORT"
    assert len(switch.flows(peer)) == 1


@pytest.mark.parametrize(
    ("had", "asked", "error"),
    [
        (None, (OPEN, 1, 4), "OFPBFC_BAD_FLAGS"),
        (None, (OPEN, 1, int(OFPBF.ATOMIC | OFPBF.ORDERED)), None),
        (OPEN, (OPEN, 1, 0), "OFPBFC_BUNDLE_EXIST"),
        (OPEN, (OPEN, 2, 0), None),
        (OPEN, (CLOSE, 2, 0), "OFPBFC_BAD_ID"),
        (OPEN, (CLOSE, 1, 1), "OFPBFC_BAD_FLAGS"),
        (CLOSE, (CLOSE, 1, 0), "OFPBFC_BUNDLE_CLOSED"),
        (CLOSE, (COMMIT, 1, 0), None),
        (OPEN, (COMMIT, 1, 0), None),
        (OPEN, (COMMIT, 1, 2), "OFPBFC_BAD_FLAGS"),
        (OPEN, (COMMIT, 2, 0), "OFPBFC_BAD_ID"),
        (OPEN, (DISCARD, 2, 0), "OFPBFC_BAD_ID"),
        (CLOSE, (DISCARD, 1, 0), None),
        (OPEN, (OFPBCT.OPEN_REPLY, 1, 0), "OFPBFC_BAD_TYPE"),
        (OPEN, (8, 1, 0), "OFPBFC_BAD_TYPE"),
    ],
)
def test_controls(peer, had, asked, error):
    for step in {None: (), OPEN: (OPEN,), CLOSE: (OPEN, CLOSE)}[had]:
        assert control(peer, step) is None
    assert control(peer, *asked) == error


def test_adds(switch, peer):
    assert add(peer, flow(1), 5, 1) is None  # opens it (EXT-230)
    assert control(peer, OPEN, 5) == "OFPBFC_BUNDLE_EXIST"
    assert add(peer, flow(1), 5, 0) == "OFPBFC_BAD_FLAGS"
    assert add(peer, flow(1), 6, 8) == "OFPBFC_BAD_FLAGS"
    assert add(peer, flow(1), 5, 1, xid=1) == "OFPBFC_MSG_BAD_XID"
    assert add(peer, m.PacketOut(data=bytes(60)), 5, 1) == "OFPBFC_MSG_UNSUP"
    assert add(peer, m.BarrierRequest(), 5, 1) == "OFPBFC_MSG_UNSUP"
    assert add(peer, flow(1, command=9), 5, 1) == "OFPFMFC_BAD_COMMAND"
    assert control(peer, CLOSE, 5, 1) is None
    assert add(peer, flow(1), 5, 1) == "OFPBFC_BUNDLE_CLOSED"
    assert control(peer, COMMIT, 5, 1) is None
    assert len(switch.flows(peer)) == 1


def test_discarded_messages_are_never_done(switch, peer):
    bundle(peer, flow(1))
    assert control(peer, DISCARD) is None
    assert control(peer, COMMIT) == "OFPBFC_BAD_ID"
    assert switch.flows(peer) == ()


def test_bundles_are_of_one_connection_and_not_for_slaves(switch, peer):
    bundle(peer, flow(1))
    other = switch.peer()
    assert control(other, COMMIT) == "OFPBFC_BAD_ID"
    other.reply(m.RoleRequest(OFPCR.SLAVE, 1))
    assert control(other, OPEN) == "OFPBRC_IS_SLAVE"
    assert add(other, flow(1)) == "OFPBRC_IS_SLAVE"
    peer.reply(m.RoleRequest(OFPCR.SLAVE, 1))
    assert control(peer, COMMIT) == "OFPBRC_IS_SLAVE"


def test_bounds(switch, peer, monkeypatch):
    for number in range(bundles.MAX_BUNDLES):
        assert control(peer, OPEN, number) is None
    assert control(peer, OPEN, 99) == "OFPBFC_OUT_OF_BUNDLES"
    assert control(switch.peer(), OPEN) is None
    switch = Switch()
    switch.agent.bundle_budget.left = 1000
    one, two = switch.peer(), switch.peer()
    taken = 0
    while add(one, flow(taken)) is None:
        taken += 1
    assert taken == 1000 // (len(encode(flow(1), 1)) + 128)
    assert add(two, flow(1)) == "OFPBFC_MSG_TOO_MANY"
    assert commit(one) == []
    assert len(switch.flows(one)) == taken
    assert add(two, flow(1)) is None
    switch.agent.leave(two.session)
    assert switch.agent.bundle_budget.left == 1000


def test_an_idle_bundle_ends_with_an_error(switch, peer):
    bundle(peer, flow(1))
    opened = peer.xid - 1
    switch.clock.now += 6
    assert add(peer, flow(2)) is None
    switch.clock.now += 6
    bundle_requests.expire(peer.session)
    assert control(peer, CLOSE) is None
    switch.clock.now += 11
    bundle_requests.expire(peer.session)
    ((xid, error),) = [(x, e) for x, e in peer.feed(b"")]
    assert (xid, error.name) == (opened, "OFPBFC_TIMEOUT")
    assert error.data[4:] == encode(BundleControl(1, OPEN), opened)
    assert control(peer, COMMIT) == "OFPBFC_BAD_ID"


def test_no_half_is_shown_or_expired_while_it_goes_on(switch, peer):
    """A long one is carried out in slices: between them others see nothing and the clock touches nothing."""
    peer.do(flow(1, hard_timeout=1))
    bundle(peer, *(flow(p) for p in range(2, 100)))
    switch.clock.now += 5
    job = None
    peer.connection.receive(encode(BundleControl(1, COMMIT), 9))
    job = switch.agent.request(peer.session, peer.connection.next())
    assert next(job) == b""
    assert switch.agent.busy_for(object())
    assert not switch.agent.busy_for(peer.session)
    switch.agent.commit()
    switch.agent.tick()
    assert len(switch.bridge.visible()) == 1
    woken = []
    switch.agent.waiting.add(lambda: woken.append(1))
    switch.agent.settle()
    assert woken == [1]
    assert not switch.agent.busy_for(object())
    assert len(switch.bridge.visible()) == 99
    switch.agent.tick()
    assert len(switch.bridge.visible()) == 98


def test_a_connection_that_goes_in_the_middle_takes_it_back(switch, peer):
    peer.do(flow(1))
    bundle(peer, *(flow(p) for p in range(2, 100)), flow(1, command=OFPFC.DELETE))
    other = switch.peer()
    before = state(switch, other)
    peer.connection.receive(encode(BundleControl(1, COMMIT), 9))
    job = switch.agent.request(peer.session, peer.connection.next())
    next(job)
    switch.agent.leave(peer.session)
    assert state(switch, other) == before
    assert other.do(flow(5)) is None
    assert other.reply(mp.AggregateStatsRequest()).flow_count == 2
