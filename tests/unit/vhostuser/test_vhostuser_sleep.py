"""A core that sleeps on guests' kick descriptors: which kicks wake it, and what a hostile descriptor costs."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakes.loose_port import LoosePort
from fakes.mock_guest import Guest, Region, Ring

from vswitchd.datapath import dp
from vswitchd.datapath.dp import lib

SINK = 1000
FRAME = bytes.fromhex("020000000001020000000002") + b"\x88\xb5" + bytes(46)
KICKS = 20
BOUND = 4.0
"""Seconds for KICKS frames. A core that hears no kick looks every 500 ms, one that does forwards all of them in some 5 ms."""


class Plugged(LoosePort):
    """A guest that sends what it has on ring 1."""

    def plug(self, kick: int) -> None:
        self.kick = kick
        self.ring = Ring(self.guest, 256)
        self.start(1, self.ring, kick=kick)

    def send(self) -> None:
        self.ring.send(FRAME)
        os.eventfd_write(self.kick, 1)


class World:
    """Guests, one core that sleeps as soon as it has nothing to do, and a port that takes what they send."""

    def __init__(self, guests: int) -> None:
        self.dp = dp.Datapath(0)
        self.bridge = self.dp.create_bridge("br0")
        self.guests = [Plugged(Guest([Region(0, 0x7F0000000000, 1 << 20)])) for _ in range(guests)]
        self.handles = [self.dp.attach(g.handle, self.bridge, 1 + i, "g") for i, g in enumerate(self.guests)]
        self.sink = self.dp.attach(lib.vs_test_port_new(b"sink", 1, 4096), self.bridge, SINK, "sink")
        self.bridge.add_rule(dp.RuleSpec(0, 1, (), apply=(dp.output(SINK),)))
        self.bridge.commit()
        self.dp.set_cores(sorted(os.sched_getaffinity(0))[:1])
        self.dp.set_idle_sleep(0)

    @property
    def stats(self) -> dp.CoreStats:
        return self.dp.core_stats()[0]

    def until(self, true: Callable[[], bool]) -> None:
        end = time.monotonic() + 60
        while not true():
            assert time.monotonic() < end
            os.sched_yield()

    def sent(self) -> int:
        return self.sink.counters().tx_packets

    def forward(self, guest: Plugged) -> None:
        """One frame, and the core sleeps again."""
        before = self.sent()
        guest.send()
        self.until(lambda: self.sent() > before)

    def settled(self) -> None:
        """Until the core did not move for a while."""
        pause, was, end = select.poll(), -1, time.monotonic() + 10
        while was != (was := self.stats.iterations):
            assert time.monotonic() < end, "the core does not sleep"
            pause.poll(5)

    def wakes(self, fd: int) -> int:
        """How many of KICKS kicks without a frame wake the core."""
        heard = 0
        pause = select.poll()
        for _ in range(KICKS):
            self.settled()
            before = self.stats.iterations
            os.eventfd_write(fd, 1)
            for _ in range(10):
                pause.poll(1)
                if self.stats.iterations > before:
                    heard += 1
                    break
        return heard

    def close(self) -> None:
        self.dp.close()
        for guest in self.guests:
            lib.vs_guest_mem_free(guest.mem)
            for mapping in guest.maps:
                lib.vs_guest_map_free(mapping)
            guest.guest.close()


@pytest.fixture
def world() -> Iterator[World]:
    w = World(3)
    yield w
    w.close()


def quickly(world: World, guest: Plugged) -> None:
    """Kicks are heard: no frame waits for the core to look by itself."""
    began = time.monotonic()
    for _ in range(KICKS):
        world.forward(guest)
    assert time.monotonic() - began < BOUND


def test_each_guest_wakes_the_core(world: World, eventfd: Callable[[], int]) -> None:
    for guest in world.guests:
        guest.plug(eventfd())
    world.dp.wake()
    for guest in world.guests:
        quickly(world, guest)
    assert world.stats.deaf_queues == 0


def test_guests_share_a_descriptor(world: World, eventfd: Callable[[], int]) -> None:
    kick = eventfd()
    for guest in world.guests:
        guest.plug(kick)
    world.dp.wake()
    for guest in world.guests:
        quickly(world, guest)
    assert world.stats.deaf_queues == 0


def test_a_kick_descriptor_that_went_wakes_nobody_and_its_number_is_free(
    world: World, eventfd: Callable[[], int]
) -> None:
    """The guest keeps its own reference, so that nothing ends by our closing ours."""
    guest, kick, fresh = world.guests[0], eventfd(), eventfd()
    guests_own = os.dup(kick)
    guest.plug(kick)
    world.dp.wake()
    quickly(world, guest)
    assert world.wakes(guests_own) >= 5
    guest.stop(1)
    os.dup2(fresh, kick)  # the number is another file's now
    guest.plug(kick)
    world.dp.wake()
    quickly(world, guest)
    assert world.wakes(guests_own) <= 2
    assert world.wakes(fresh) >= 5
    os.close(guests_own)


def test_rings_that_come_and_go_while_the_core_sleeps(world: World, eventfd: Callable[[], int]) -> None:
    began = time.monotonic()
    for turn in range(KICKS):
        guest, kick = world.guests[turn % 3], eventfd()
        guest.plug(kick)
        world.dp.wake()
        world.forward(guest)
        world.settled()
        world.forward(guest)
        guest.stop(1)
    assert time.monotonic() - began < 2 * BOUND


def test_a_port_that_leaves_takes_its_descriptor_with_it(world: World, eventfd: Callable[[], int]) -> None:
    kicks = [eventfd() for _ in world.guests]
    for guest, kick in zip(world.guests, kicks, strict=True):
        guest.plug(kick)
    world.dp.wake()
    quickly(world, world.guests[2])
    world.dp.detach(world.handles[0])
    quickly(world, world.guests[1])
    assert world.wakes(kicks[0]) <= 2
    quickly(world, world.guests[2])


def regular_file(tmp_path: Path) -> int:
    return os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)


def nested_epolls(_tmp_path: Path) -> int:
    """Deeper than epoll allows."""
    inner = os.eventfd(1)
    for _ in range(6):
        outer = select.epoll()
        try:
            outer.register(inner)
        except OSError:
            break
        inner = os.dup(outer.fileno())
    return inner


@pytest.mark.parametrize("make", [regular_file, nested_epolls])
def test_what_epoll_refuses_makes_its_own_port_slow_alone(
    world: World, eventfd: Callable[[], int], tmp_path: Path, make: Callable[[Path], int]
) -> None:
    """The session lets eventfds pass alone; this is for what it does not foresee."""
    hostile, *others = world.guests
    fd = make(tmp_path)
    hostile.plug(fd)
    for guest in others:
        guest.plug(eventfd())
    world.dp.wake()
    world.until(lambda: world.stats.deaf_queues == 1)
    for guest in others:
        quickly(world, guest)
    hostile.ring.send(FRAME)
    world.until(lambda: world.handles[0].counters().rx_packets == 1)
    hostile.stop(1)
    world.dp.wake()
    world.until(lambda: world.stats.deaf_queues == 0)
    os.close(fd)


def full_pipe() -> tuple[int, int]:
    reader, writer = os.pipe2(os.O_NONBLOCK)
    with pytest.raises(BlockingIOError):
        while os.write(writer, bytes(65536)):
            pass
    return reader, writer


def endless_eventfd() -> tuple[int]:
    """A semaphore: each read takes one."""
    return (os.eventfd(2**32 - 1, os.EFD_NONBLOCK | os.EFD_SEMAPHORE),)


@pytest.mark.parametrize("make", [full_pipe, endless_eventfd])
def test_what_stays_readable_does_not_keep_the_core_awake(
    world: World, eventfd: Callable[[], int], make: Callable[[], tuple[int, ...]]
) -> None:
    hostile, friendly, _ = world.guests
    fds = make()
    hostile.plug(fds[0])
    friendly.plug(eventfd())
    world.dp.wake()
    quickly(world, friendly)
    assert select.select(fds[:1], [], [], 0)[0]
    world.settled()  # for ever awake otherwise
    quickly(world, friendly)
    hostile.stop(1)
    for fd in fds:
        os.close(fd)
