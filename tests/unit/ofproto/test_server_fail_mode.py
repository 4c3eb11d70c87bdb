"""Fail mode: what runs while no controller is there, standalone or secure."""

import asyncio
import os

import pytest
from of_peer import flow
from of_world import LIMIT, world

from vswitchd.ofproto import messages as m
from vswitchd.ofproto.codec import encode
from vswitchd.ofproto.constants import OFPP
from vswitchd.ofproto.endpoint import ControllerConfig


async def _standalone(w):
    assert len(w.normal()) == 1
    target = await w.listen()
    w.of.set_controllers([ControllerConfig(target, inactivity_probe=2000)])
    assert w.dp.visible() == {}
    c = await w.next()
    c.writer.write(encode(flow(9), 3))
    await c.ask(m.BarrierRequest())
    w.servers[0].close()
    await c.close()
    await w.until(lambda: not w.status(target).is_connected)
    w.clock.now += 5.9
    w.of.tick()
    assert [spec.priority for spec in w.dp.visible().values()] == [9]
    w.clock.now += 0.2
    w.of.tick()
    assert len(w.normal()) == len(w.dp.visible()) == 1
    assert w.of.status().fail_open
    os.unlink(f"{w.dir}/c")
    await w.listen()
    w.clock.now += 20
    await w.until(lambda: not w.arrived.empty())
    await w.next()
    await w.until(lambda: w.status(target).is_connected)
    w.of.tick()
    assert w.dp.visible() == {}
    assert not w.of.status().fail_open
    w.of.set_controllers([])
    assert len(w.normal()) == 1


async def _own_normal_flow(w):
    """A controller whose own flow is that of failing open, sent with its hello: it stays."""
    target = f"unix:{w.dir}/c"
    w.of.set_controllers([ControllerConfig(target)])
    w.clock.now += 16
    w.of.tick()
    assert w.of.status().fail_open
    await w.until(lambda: w.status(target).state == "BACKOFF")
    await w.listen()
    w.clock.now += 20
    w.of.tick()
    async with asyncio.timeout(LIMIT):
        c = await w.arrived.get()
    c.writer.write(encode(m.Hello(frozenset({4})), 1) + encode(flow(0, out=OFPP.NORMAL), 2))
    await c.next()
    await c.ask(m.BarrierRequest())
    w.of.tick()
    assert not w.of.status().fail_open
    assert len(w.normal()) == 1


async def _secure(w):
    w.of.set_fail_mode("secure")
    assert w.dp.visible() == {}
    target = await w.listen()
    w.of.set_controllers([ControllerConfig(target)])
    c = await w.next()
    c.writer.write(encode(flow(9), 3))
    await c.ask(m.BarrierRequest())
    await c.close()
    await w.until(lambda: not w.status(target).is_connected)
    w.clock.now += 1000
    w.of.tick()
    assert [spec.priority for spec in w.dp.visible().values()] == [9]
    with pytest.raises(ValueError, match="expected standalone or secure"):
        w.of.set_fail_mode("open")


async def _failing_open_ends_with_secure(w):
    target = f"unix:{w.dir}/nobody"
    w.of.set_controllers([ControllerConfig(target)])
    w.clock.now += 16
    w.of.tick()
    assert len(w.normal()) == 1
    w.of.set_fail_mode("secure")
    assert w.normal() == []


test_standalone_stands_in_for_a_lost_controller = world(_standalone)
test_the_flow_of_failing_open_is_not_taken_for_a_controllers = world(_own_normal_flow)
test_secure_keeps_its_flows = world(_secure)
test_failing_open_ends_when_made_secure = world(_failing_open_ends_with_secure)
