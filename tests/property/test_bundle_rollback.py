"""Random requests in random bundles: one that fails leaves no trace, one that does not is as its messages alone."""

import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit" / "ofproto"))

from of_peer import Switch, flow

from vswitchd.ofproto import actions as act
from vswitchd.ofproto import instructions as ins
from vswitchd.ofproto import messages as m
from vswitchd.ofproto.bundle_messages import BundleAdd, BundleControl, Bundled
from vswitchd.ofproto.codec import encode
from vswitchd.ofproto.constants import OFPBCT
from vswitchd.ofproto.oxm import Match
from vswitchd.ofproto.structures import Bucket, DropBand

MATCHES = ({}, {"in_port": 1}, {"in_port": 2}, {"eth_type": 0x800})


def request(r):
    kind = r.random()
    if kind < 0.1:
        bands = (DropBand(r.choice((5, 6))),)
        return m.MeterMod(r.choice((0, 1, 1, 1, 2)), 1, r.choice((1, 1, 2, 2, 2, 0xFFFFFFFF)), bands)
    if kind < 0.25:
        buckets = (Bucket(actions=(act.Output(r.randrange(1, 3)),)),)
        return m.GroupMod(
            r.choice((0, 1, 1, 1, 2)), r.choice((0, 2)), r.choice((1, 2, 3, 3, 3, 0xFFFFFFFC)), buckets
        )
    todo = (
        ins.ApplyActions(
            (act.Output(r.randrange(1, 3)) if r.random() < 0.8 else act.Group(r.randrange(1, 4)),)
        ),
    )
    if r.random() < 0.3:
        todo = (ins.Meter(r.randrange(1, 3)), *todo)
    return m.FlowMod(
        cookie=r.randrange(4), cookie_mask=r.choice((0, 0, 3)), table_id=r.choice((0, 0, 0, 0, 1, 1, 255)),
        command=r.choice((0, 0, 0, 0, 0, 1, 2, 3, 4, 4)), idle_timeout=r.choice((0, 0, 5)), hard_timeout=r.choice((0, 0, 9)),
        priority=r.randrange(3), flags=r.randrange(32), match=Match.named(**r.choice(MATCHES)), instructions=todo,
    )  # fmt: skip


def state(switch, peer):
    """All that controllers and packets can see, and what is still to be counted."""
    store = switch.agent.flows
    shown = switch.bridge.visible(), dict(switch.bridge.shown_groups), dict(switch.bridge.shown_meters)
    users = [{n: len(found) for n, found in all_.items()} for all_ in (store.group_users, store.meter_users)]
    flows = sorted(map(str, switch.flows(peer)))
    return flows, shown, users, dict(store._waiting), list(store.tables.counts), list(switch.agent.meters)


def outcome(switch, peer):
    """What a twin must have too: all but counters, which its packets did not count."""
    flows = [(f.table_id, f.priority, str(f.match), f.cookie, f.flags, str(f.instructions), f.idle_timeout,
              f.hard_timeout, f.duration_sec) for f in switch.flows(peer)]  # fmt: skip
    return sorted(flows), switch.bridge.shown_groups, switch.bridge.shown_meters


def bundled(peer, messages):
    """Whether the commit of a bundle of these succeeds."""
    for message in messages:
        peer.xid += 1
        assert peer.feed(encode(BundleAdd(1, 3, Bundled(peer.xid, message)), peer.xid)) == []
    return isinstance(peer.ask(BundleControl(1, OFPBCT.COMMIT_REQUEST, 3))[-1][1], BundleControl)


@pytest.mark.parametrize("seed", range(25))
def test_bundles_are_all_or_nothing(seed):
    r = random.Random(seed)
    switch, twin = Switch(), Switch()
    peer, other, alone = switch.peer(), switch.peer(), twin.peer()
    for _ in range(12):
        messages = [request(r) for _ in range(r.randrange(6))]
        peer.ask(*messages)
        alone.ask(*messages)
        for rule in switch.bridge.visible():
            if r.random() < 0.4:
                packets, octets, _ = switch.bridge.rule_stats(rule)
                switch.bridge.stats[rule] = packets + 3, octets + 300, 1
        before = state(switch, other)
        messages = [request(r) for _ in range(r.randrange(1, 5))]
        if r.random() < 0.4:
            messages.append(flow(out=0))
        if bundled(peer, messages):
            alone.ask(*messages)
        else:
            assert state(switch, other) == before
        assert outcome(switch, other) == outcome(twin, alone)
        pause = r.choice((0, 1, 6))
        for one in (switch, twin):
            one.clock.now += pause
            one.agent.tick()
    assert len(switch.bridge.rules) == len(switch.agent.flows.tables)
