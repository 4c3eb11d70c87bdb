"""A front-end that sends any well-formed message at any time, while cores forward: it harms nobody but itself.

A seeded walk over all requests of the message table, on a real socket. Each message is well formed and brings the descriptors that it
must; numbers mostly make sense, and sometimes not. Its guest scribbles over its rings meanwhile, and its memory file is cut now and
then. Two other guests talk to each other through the same cores, with a copy of everything to the first one, and lose nothing.
"""

from __future__ import annotations

import asyncio
import os
import random
import threading

import pytest
from vhost_monkey import GOOD, MONKEY, OTHER, SINK, STEPS, Good, Monkey, leftovers

from vswitchd.datapath import dp
from vswitchd.datapath.dp import lib


@pytest.fixture
def world():
    datapath = dp.Datapath(1024)
    bridge = datapath.create_bridge("br0")
    good = {number: Good(f"g{number}") for number in (GOOD, OTHER, SINK)}
    handle = lib.vs_vhost_new(b"monkey")
    rules = {GOOD: (OTHER, MONKEY), OTHER: (GOOD, MONKEY), MONKEY: (SINK,), SINK: (MONKEY,)}
    for number, to in rules.items():
        datapath.attach(handle if number == MONKEY else good[number].handle, bridge, number, f"p{number}")
        match = (("IN_PORT", number, 0xFFFFFFFF),)
        bridge.add_rule(dp.RuleSpec(0, 10, match, apply=tuple(dp.output(out) for out in to)))
    bridge.commit()
    datapath.set_cores(sorted(os.sched_getaffinity(0))[:2])
    datapath.set_idle_sleep(20)
    datapath.rebalance()
    yield datapath, good, handle
    for one in good.values():
        one.close()
    datapath.close()


async def walk(datapath: dp.Datapath, handle: object, rng: random.Random) -> int:
    """Connect again and again, and say anything. Returns how many connections it took."""
    said = connections = 0
    while said < STEPS:
        monkey = Monkey(handle, rng)
        connections += 1
        monkey.start()
        while not monkey.ended and said < STEPS:
            for _ in range(rng.randrange(1, 6)):
                monkey.say()
                said += 1
            if rng.random() < 0.2:
                monkey.start()
            monkey.scribble()
            if rng.random() < 0.01:
                monkey.cut()
            for _ in range(3):
                await asyncio.sleep(0)
            monkey.listen()
            datapath.wake()  # as the daemon does when a port has changed
            if rng.random() < 0.02:
                datapath.rebalance()
        monkey.close()
    return connections


@pytest.mark.parametrize("seed", range(4))
def test_any_message_at_any_time(world, seed: int) -> None:
    datapath, good, handle = world
    lib.vs_vhost_iotlb_fd(handle)  # these live as long as the port
    lib.vs_sigbus_install()
    done = threading.Event()

    def traffic() -> None:
        while not done.is_set():
            for one in good.values():
                one.post()
            good[GOOD].send_to(good[OTHER])
            good[OTHER].send_to(good[GOOD])
            good[SINK].send_to(good[SINK])

    thread = threading.Thread(target=traffic)
    thread.start()
    before = leftovers()
    try:
        asyncio.run(walk(datapath, handle, random.Random(seed)))
        assert leftovers() == before
    finally:
        done.set()
        thread.join()
    deadline = 10_000_000
    while (good[GOOD].sent, good[OTHER].sent) != (good[OTHER].received(), good[GOOD].received()):
        datapath.wake()
        deadline -= 1
        assert deadline > 0, "frames of good guests do not arrive"
    counters = {port.name: port.counters() for port in datapath.ports.values()}
    for c in counters.values():
        assert c.rx_packets == c.rx_forwarded + sum(c.rx_drops.values())
        assert c.tx_offered == c.tx_packets + sum(c.tx_drops.values())
    for one, other in ((GOOD, OTHER), (OTHER, GOOD)):
        c = counters[f"p{one}"]
        assert (c.rx_packets, sum(c.rx_drops.values())) == (good[one].sent, 0)
        assert (c.tx_packets, sum(c.tx_drops.values())) == (good[other].sent, 0)
    assert counters["p3"].rx_packets > 0
    assert counters["p3"].tx_packets > 0
