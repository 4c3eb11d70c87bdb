"""Bundles over sockets, while others talk to the switch."""

import asyncio
from itertools import count

from of_peer import flow
from of_world import Controller, world

from vswitchd.ofproto import flow_store
from vswitchd.ofproto import messages as m
from vswitchd.ofproto import multipart as mp
from vswitchd.ofproto.bundle_messages import BundleAdd, BundleControl, Bundled
from vswitchd.ofproto.codec import encode
from vswitchd.ofproto.constants import OFPBCT, OFPFC
from vswitchd.ofproto.transaction import Transaction

N = 3000


def adds(count, first=1):
    return b"".join(encode(BundleAdd(1, 0, Bundled(first + i, flow(1 + i))), first + i) for i in range(count))


async def committing(w):
    """A controller in the middle of the commit of N flows."""
    one = await Controller.to_unix(w.mgmt)
    one.writer.write(adds(N) + encode(BundleControl(1, OFPBCT.COMMIT_REQUEST), 9))
    await w.until(lambda: w.of.agent.transaction is not None)
    assert len(w.dp.visible()) == 1  # NORMAL, without a controller
    return one


@world
async def test_others_wait_for_a_bundle_and_see_all_of_it(w):
    two = await Controller.to_unix(w.mgmt)
    one = await committing(w)
    assert (await two.ask(mp.AggregateStatsRequest())).flow_count == N + 1
    assert (await one.next())[1].type == OFPBCT.COMMIT_REPLY
    assert w.dp.commits == 2
    assert (await one.ask(mp.AggregateStatsRequest())).flow_count == N + 1


@world
async def test_a_peer_that_goes_holds_up_nobody_and_leaves_nothing(w):
    two = await Controller.to_unix(w.mgmt)
    one = await committing(w)
    one.writer.transport.abort()
    assert (await two.ask(mp.AggregateStatsRequest())).flow_count == 1
    assert len(w.of.agent.sessions) == 1


@world
async def test_a_peer_that_does_not_read_holds_up_nobody(w):
    two = await Controller.to_unix(w.mgmt)
    await committing(w)
    for channel in w.of._mgmt.channels():
        if channel.session is w.of.agent.transaction.session:
            channel.pause_writing()
    assert (await two.ask(mp.AggregateStatsRequest())).flow_count == N + 1


@world
async def test_a_new_fail_mode_waits_for_the_end_of_a_bundle(w):
    await committing(w)
    w.of.set_fail_mode("secure")
    assert w.of.agent.transaction is None
    assert w.dp.visible() == {}


@world
async def test_a_bundle_whose_messages_wait_for_us_is_not_idle(w):
    two = await Controller.to_unix(w.mgmt)
    two.writer.write(adds(1))
    await two.ask(m.BarrierRequest())
    await committing(w)
    two.writer.write(adds(1, 7) + encode(BundleControl(1, OFPBCT.COMMIT_REQUEST), 9))
    channels = w.of._mgmt.channels()
    await w.until(lambda: any(channel._parked for channel in channels) or w.of.agent.transaction is None)
    w.clock.now += 100
    for channel in channels:
        channel.tick()
    xid, reply = await two.next()
    assert (xid, reply.type) == (9, OFPBCT.COMMIT_REPLY)


@world
async def test_when_the_bridge_goes_nothing_touches_it_afterwards(w):
    one = await committing(w)
    touched = []
    w.of.close()
    assert w.of.agent.transaction is None
    assert len(w.dp.rules) == 1
    for name in ("commit", "rollback", "add_rule", "remove_rule", "set_ttl_punt", "set_punt_miss"):
        setattr(w.dp, name, lambda *_: touched.append(1))
    await one.eof()
    async with asyncio.timeout(20):
        while w.of.agent.sessions:  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert touched == []


def test_what_others_are_in_the_middle_of_waits_too(tmp_path, monkeypatch):
    monkeypatch.setattr(flow_store, "_TURN", 1)
    monkeypatch.setattr("vswitchd.ofproto.channel.clock", count().__next__)  # one piece a slice

    async def main(w):
        one, two = await Controller.to_unix(w.mgmt), await Controller.to_unix(w.mgmt)
        one.writer.write(b"".join(encode(flow(1 + i), 1) for i in range(50)))
        await one.ask(m.BarrierRequest())
        left = w.of.agent.flows.tables.counts
        two.writer.write(encode(flow(command=OFPFC.DELETE), 1))
        async with asyncio.timeout(20):
            while left[0] == 51:  # noqa: ASYNC110  # with NORMAL
                await asyncio.sleep(0)
        transaction = Transaction(w.of.agent, w.of.agent.sessions[0])
        before = left[0]
        assert before
        for _ in range(20):
            await asyncio.sleep(0)
        assert left[0] == before
        transaction.rollback()
        assert left[0] == before
        await two.ask(m.BarrierRequest())
        assert left[0] == 0

    world(main)(tmp_path)
