"""Bundles over sockets, while others talk to the switch."""

from of_peer import flow
from of_world import Controller, world

from vswitchd.ofproto import multipart as mp
from vswitchd.ofproto.bundle_messages import BundleAdd, BundleControl, Bundled
from vswitchd.ofproto.codec import encode
from vswitchd.ofproto.constants import OFPBCT

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
