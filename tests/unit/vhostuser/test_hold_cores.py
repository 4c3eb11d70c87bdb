"""Packets that wait for a translation, in a datapath with real cores: the ledger closes, a sleeping core wakes for the answer."""

import os
import time
from collections.abc import Iterator

import pytest
from fakes.iommu_port import PAGE, WRITE, IommuPort
from fakes.mock_guest import Guest, Ring

from vswitchd.datapath import dp
from vswitchd.datapath.dp import lib

GUEST, SOURCE = 1, 2
FRAME = bytes.fromhex("020000000001020000000002") + b"\x88\xb5" + bytes(46)


class World:
    """What comes in at a test port goes to a guest behind a vIOMMU."""

    def __init__(self, *, manual: bool) -> None:
        self.dp = dp.Datapath(0, manual=manual)
        bridge = self.dp.create_bridge("br0")
        self.guest = IommuPort(Guest())
        self.source = lib.vs_test_port_new(b"source", 1, 1024)
        self.port = self.dp.attach(self.guest.handle, bridge, GUEST, "guest")
        self.dp.attach(self.source, bridge, SOURCE, "source")
        match = (("IN_PORT", SOURCE, 0xFFFFFFFF),)
        bridge.add_rule(dp.RuleSpec(0, 10, match, apply=(dp.output(GUEST),)))
        bridge.commit()
        self.ring = Ring(self.guest.guest, 64)
        self.guest.start_known(0, self.ring)
        self.guest.guest.alloc(PAGE, PAGE)
        self.kick = os.eventfd(0, os.EFD_NONBLOCK)
        self.guest.start_known(1, Ring(self.guest.guest, 64), kick=self.kick)
        if manual:
            self.dp.rebalance()
        else:
            self.dp.set_cores(sorted(os.sched_getaffinity(0))[:2])

    def post(self) -> int:
        page = self.guest.guest.alloc(PAGE, PAGE)
        self.ring.chain([(page, 2048)], WRITE)
        return page

    def feed(self, n: int = 1) -> None:
        for _ in range(n):
            assert lib.vs_test_port_feed(self.source, 0, FRAME, len(FRAME)) == 0
        self.dp.wake()

    def close(self) -> None:
        self.dp.close()
        self.guest.close_attached()
        os.close(self.kick)


@pytest.fixture
def manual() -> Iterator[World]:
    world = World(manual=True)
    yield world
    world.close()


@pytest.fixture
def running() -> Iterator[World]:
    world = World(manual=False)
    yield world
    world.close()


def ledger(world: World) -> tuple[int, int, dict[str, int]]:
    c = world.port.counters()
    drops = {name: n for name, n in c.tx_drops.items() if n}
    assert c.tx_offered == c.tx_packets + sum(drops.values()) + world.guest.held()
    return c.tx_packets, world.guest.held(), drops


def until(true, what: str) -> None:
    """Wait; that it comes at all is what is tested."""
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end, what
        os.sched_yield()


def test_what_a_stopped_ring_kept_is_dropped_by_name(manual: World) -> None:
    manual.post()
    manual.feed(5)
    manual.dp.poll()
    assert ledger(manual) == (0, 5, {})
    manual.guest.stop(0)
    c = manual.port.counters()
    assert (c.tx_offered, c.tx_packets) == (5, 0)
    assert {name: n for name, n in c.tx_drops.items() if n} == {"not_ready": 5}
    manual.guest.start_known(0, manual.ring)
    assert manual.guest.held() == 0
    manual.guest.answer()
    manual.dp.poll()
    assert manual.port.counters().tx_packets == 0, "what was dropped was sent"


def test_the_next_poll_sends_what_waited(manual: World) -> None:
    page = manual.post()
    manual.feed()
    manual.dp.poll()
    manual.guest.map(page)
    manual.dp.poll()
    assert ledger(manual) == (1, 0, {})
    assert [data for _, data in manual.ring.received()] == [FRAME]


@pytest.mark.parametrize("sleep_us", [None, 20], ids=["polling", "sleeping"])
def test_an_answer_is_enough(running: World, sleep_us: int | None) -> None:
    """Again and again: one packet, a miss, an answer while the cores may sleep, and no other packet that helps."""
    running.dp.set_idle_sleep(sleep_us)
    running.dp.wake()
    for n in range(1, 31):
        page = running.post()
        running.feed()
        until(lambda: running.guest.held() == 1, "the packet does not wait")
        until(running.guest.rung, "nobody was told of the miss")
        if sleep_us is not None and n > 1:
            until(lambda: sum(s.sleeps for s in running.dp.core_stats()) > 0, "no core slept")
        assert running.guest.misses() == [(page, WRITE)]
        running.guest.map(page)
        until(lambda: running.guest.held() == 0, "the answer did not help")
        until(lambda n=n: running.port.counters().tx_packets == n, "the packet is gone")
    assert ledger(running) == (30, 0, {})
    assert [data for _, data in running.ring.received()] == [FRAME] * 30


def test_a_sleeping_core_wakes_for_the_guest_that_came_from_elsewhere(running: World) -> None:
    running.dp.set_idle_sleep(20)
    running.dp.wake()
    until(lambda: sum(s.sleeps for s in running.dp.core_stats()) > 0, "no core slept")
    for n in range(1, 6):
        lib.vs_vhost_send_rarp(running.guest.handle, bytes(6))
        until(lambda n=n: running.port.counters().rx_packets == n, "no reverse ARP")
