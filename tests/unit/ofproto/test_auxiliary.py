"""Auxiliary connections to a controller (6.3.8) and how many packet-ins it gets a second."""

import pytest
from of_peer import Clock, flow, port
from of_world import world

from vswitchd.datapath import dp
from vswitchd.ofproto import messages as m
from vswitchd.ofproto.codec import encode
from vswitchd.ofproto.constants import OFPCR, OFPFC, OFPFF, OFPPR, OFPR, OFPRR
from vswitchd.ofproto.endpoint import ControllerConfig
from vswitchd.ofproto.rate_limit import RateLimit


def punt(in_port):
    return dp.Punt(0, in_port, 0, 1, OFPR.ACTION, 0, 60, 0xFFFF, bytes(60))


async def connected(w, count, **more):
    """The main connection of a controller and its auxiliary ones by number."""
    target = await w.listen()
    w.of.set_controllers([ControllerConfig(target, auxiliaries=count, **more)])
    main = await w.next()
    helpers = []
    for _ in range(count):
        await w.until(lambda: not w.arrived.empty())
        helpers.append(await w.next())
    await w.until(lambda: len(w.of.agent.sessions) == count + 1)
    numbered = {(await helper.ask(m.FeaturesRequest())).auxiliary_id: helper for helper in helpers}
    return target, main, numbered


@world
async def test_they_say_their_number_and_answer_what_they_are_asked(w):
    _, main, aux = await connected(w, 2)
    assert sorted(aux) == [1, 2]
    found = [await c.ask(m.FeaturesRequest()) for c in (main, aux[1], aux[2])]
    assert [reply.auxiliary_id for reply in found] == [0, 1, 2]
    assert {reply.datapath_id for reply in found} == {7}
    assert isinstance(await aux[2].ask(m.BarrierRequest(), 9), m.BarrierReply)


@world
async def test_packet_ins_are_spread_by_port_and_all_else_comes_by_the_main_one(w):
    _, main, aux = await connected(w, 2)
    for number in (3, 4, 5, 4):
        w.of.punt(punt(number))
    assert [(await main.next())[1].match.get("in_port").value] == [3]
    assert [(await aux[1].next())[1].match.get("in_port").value for _ in range(2)] == [4, 4]
    assert (await aux[2].next())[1].match.get("in_port").value == 5
    w.of.port_changed(port(1, curr_speed=9))
    told = (await main.next())[1]
    assert (told.reason, told.__class__) == (OFPPR.MODIFY, m.PortStatus)
    await aux[1].ask(m.BarrierRequest())


@world
async def test_role_and_asynchronous_configuration_are_the_controllers(w):
    _, main, aux = await connected(w, 1)
    assert (await aux[1].ask(m.RoleRequest(OFPCR.SLAVE, 1))).role == OFPCR.SLAVE
    assert (await main.ask(m.RoleRequest())).role == OFPCR.SLAVE
    assert (await aux[1].ask(flow(1))).name == "OFPBRC_IS_SLAVE"
    await main.ask(m.RoleRequest(OFPCR.MASTER, 2))
    await aux[1].ask(m.RoleRequest())
    aux[1].writer.write(
        b"".join(map(encoded, (m.SetAsync(flow_removed_master=1 << OFPRR.DELETE), m.SetConfig(0, 77))))
    )
    await aux[1].ask(m.BarrierRequest())
    assert (await main.ask(m.GetAsyncRequest())).flow_removed_master == 1 << OFPRR.DELETE
    assert (await main.ask(m.GetConfigRequest())).miss_send_len == 77
    gone = (flow(1, flags=OFPFF.SEND_FLOW_REM), flow(1, command=OFPFC.DELETE))
    aux[1].writer.write(b"".join(map(encoded, gone)))
    await aux[1].ask(m.BarrierRequest())
    w.of.tick()
    assert isinstance((await main.next())[1], m.FlowRemoved)


def encoded(message):
    return encode(message, 6)


@world
async def test_they_end_with_the_main_one_and_come_back_with_it(w):
    target, main, aux = await connected(w, 2)
    await main.close()
    for helper in aux.values():
        assert await helper.eof() == b""
    assert w.of.agent.sessions == []
    w.clock.now += 5
    w.of.tick()
    assert isinstance(await (await w.next()).ask(m.BarrierRequest()), m.BarrierReply)
    assert w.arrived.empty()  # not before the main one is up
    await w.until(lambda: w.arrived.qsize() == 2)
    assert w.status(target).is_connected


@world
async def test_one_that_is_lost_is_made_again_and_the_number_may_change(w):
    target, main, aux = await connected(w, 2)
    await aux[1].close()
    await w.until(lambda: len(w.of.agent.sessions) == 2)
    w.of.tick()
    assert w.arrived.empty()
    w.clock.now += 2
    await w.until(lambda: not w.arrived.empty())
    again = await w.next()
    assert (await again.ask(m.FeaturesRequest())).auxiliary_id == 1
    w.of.set_controllers([ControllerConfig(target)])
    w.of.tick()
    assert await again.eof() == b""
    assert await aux[2].eof() == b""
    assert isinstance(await main.ask(m.BarrierRequest()), m.BarrierReply)


@world
async def test_the_rate_of_a_controller(w):
    target, main, _ = await connected(w, 0, rate_limit=100)
    for _ in range(40):
        w.of.punt(punt(1))
    assert w.status(target).dropped == 15  # a burst is 25 at least
    assert w.of.endpoint(target).channels()[0].dropped == 15
    w.clock.now += 0.1
    for _ in range(11):
        w.of.punt(punt(1))
    assert w.status(target).dropped == 16
    w.of.set_controllers([ControllerConfig(target)])
    for _ in range(100):
        w.of.punt(punt(1))
    assert w.status(target).dropped == 16
    assert isinstance((await main.next())[1], m.PacketIn)
    await main.close()
    await w.until(lambda: not w.of.agent.sessions)
    assert w.status(target).dropped == 16


@world
async def test_what_all_connections_of_a_controller_drop_is_counted_together(w):
    target, main, aux = await connected(w, 1)
    for session in w.of.agent.sessions:
        session.connection.dropped = 5
    assert w.status(target).dropped == 10
    await aux[1].close()
    await w.until(lambda: len(w.of.agent.sessions) == 1)
    assert w.status(target).dropped == 10
    await main.close()
    await w.until(lambda: not w.of.agent.sessions)
    assert w.status(target).dropped == 10


@pytest.mark.parametrize(("rate", "burst", "at_once"), [(1000, None, 250), (100, None, 25), (100, 70, 70)])
def test_bursts(rate, burst, at_once):
    clock = Clock()
    limit = RateLimit(clock)
    limit.set(rate, burst)
    assert [limit.take() for _ in range(at_once + 1)].count(True) == at_once
    clock.now += 1000
    assert [limit.take() for _ in range(at_once + 9)].count(True) == at_once
    clock.now += 3.5 / rate
    assert [limit.take() for _ in range(5)].count(True) == 3
    assert limit.refused == 1 + 9 + 2


def test_a_new_limit_gives_no_new_burst():
    clock = Clock()
    limit = RateLimit(clock)
    limit.set(100, 50)
    for _ in range(50):
        assert limit.take()
    limit.set(100, 40)
    assert not limit.take()
    limit.set(None, None)
    assert all(limit.take() for _ in range(1000))
