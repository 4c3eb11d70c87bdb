"""Idle rings that a core only watches: whatever makes work, the next turn finds it; what is gone is not looked at."""

import os

import pytest
from fakes.iommu_port import PAGE, IommuPort
from fakes.loose_port import LoosePort
from fakes.mock_guest import WRITE, Guest, Region, Ring
from fakes.packed_ring import PackedRing
from vhostuser_frames import frame

from vswitchd.datapath import dp
from vswitchd.datapath.dp import ffi, lib

ROUNDS = 3  # one turn in 16 polls everything: what is missed comes out in the others


class World:
    """A guest's port and a test port that gets what it sends, on a core that is run by hand."""

    def __init__(self, port, layout):
        self.dp = dp.Datapath(0, manual=True)
        bridge = self.dp.create_bridge("br0")
        self.port, self.layout = port, layout
        self.live = self.dp.attach(port.handle, bridge, 1, "guest")
        self.sink = lib.vs_test_port_new(b"sink", 1, 64)
        self.dp.attach(self.sink, bridge, 2, "sink")
        for number in (1, 2):
            match = (("IN_PORT", number, 0xFFFFFFFF),)
            bridge.add_rule(dp.RuleSpec(0, 1, match, apply=(dp.output(3 - number),)))
        bridge.commit()
        self.ring = layout(port.guest, 64)
        self.buffer = ffi.new("uint8_t[]", 4096)
        self.dp.rebalance()

    def idle(self):
        """Turns without work, after which the core watches."""
        assert [self.dp.poll() for _ in range(3)] == [0, 0, 0]

    def comes(self, i=0, ring=None):
        """One frame arrives in the turn after it was sent."""
        (ring or self.ring).send(frame(60, i))
        self.arrives(frame(60, i))

    def arrives(self, expected):
        assert self.dp.poll() == 1
        assert lib.vs_test_port_take(self.sink, self.buffer, 4096) == len(expected)
        assert bytes(ffi.buffer(self.buffer, len(expected))) == expected
        self.ring.take()

    def close(self):
        self.dp.close()
        lib.vs_guest_mem_free(self.port.mem)
        for mapping in self.port.maps:
            lib.vs_guest_map_free(mapping)
        self.port.guest.close()


@pytest.fixture(params=[Ring, PackedRing])
def world(request):
    one = World(LoosePort(Guest()), request.param)
    yield one
    one.close()


def test_frames_come_at_once(world):
    world.port.start(1, world.ring)
    for i in range(200):  # several laps
        if i % 3 == 0:
            world.idle()
        world.comes(i)


def test_a_ring_that_starts_and_stops(world):
    base = world.ring.base
    for i in range(ROUNDS):
        world.idle()
        world.port.start(1, world.ring, base=base & 0xFFFF)
        world.idle()
        world.comes(i)
        world.idle()
        base = world.port.stop(1)
        world.ring.send(frame(60, 9))
        world.idle()
        world.port.start(1, world.ring, base=base & 0xFFFF)
        world.arrives(frame(60, 9))
        base = world.port.stop(1)


def test_memory_of_a_stopped_ring_is_not_read(world):
    """Unmapped right after the grace period, as a session does: a core that looked there would end the process."""
    world.port.start(1, world.ring)
    world.idle()
    world.port.stop(1)
    for mapping in world.port.maps:
        lib.vs_guest_map_free(mapping)
    world.port.maps = []
    world.idle()


def test_other_memory(world):
    """The ring goes on at another place: the old words tell nothing."""
    rings = [world.ring, *(world.layout(world.port.guest, 64) for _ in range(ROUNDS))]
    for i, ring in enumerate(rings):
        world.ring = ring
        world.port.start(1, ring)
        world.idle()
        world.comes(i)
        world.idle()
        world.port.stop(1)
        ring.send(frame(60, 7))
        world.idle()


def test_a_disabled_ring_and_then_enabled(world):
    base = world.ring.base
    for i in range(ROUNDS):
        world.port.start(1, world.ring, discard=1, base=base & 0xFFFF)
        world.idle()
        world.ring.send(frame(60, i))
        assert world.dp.poll() == 0
        assert len(world.ring.take()) == 1, "taken and dropped"
        base = world.port.stop(1)
        world.port.start(1, world.ring, base=base & 0xFFFF)
        world.comes(i)
        world.idle()
        base = world.port.stop(1)
    assert world.live.counters().rx_drops["queue_disabled"] == ROUNDS


def test_more_queues(world):
    world.port.start(1, world.ring)
    world.idle()
    for i in range(ROUNDS):
        second = world.layout(world.port.guest, 64)
        world.port.start(3, second)
        world.dp.rebalance()
        world.idle()
        second.send(frame(60, 1))
        world.arrives(frame(60, 1))
        world.idle()
        world.comes(i)
        world.port.stop(3)
        world.dp.rebalance()
        world.idle()


def test_reverse_arp_with_and_without_a_ring(world):
    mac = bytes.fromhex("02aabbccddee")
    for i in range(2 * ROUNDS):
        if i == ROUNDS:
            world.port.start(1, world.ring)
        world.idle()
        lib.vs_vhost_send_rarp(world.port.handle, mac)
        assert world.dp.poll() == 1
        assert lib.vs_test_port_take(world.sink, world.buffer, 4096) == 60


def test_a_broken_ring_is_left_alone_until_it_starts_anew():
    world = World(LoosePort(Guest()), Ring)
    try:
        world.port.start(1, world.ring)
        world.idle()
        world.ring.publish(world.ring.idx + 1000)
        world.idle()
        assert world.port.info(1).broken
        world.ring.publish()
        world.port.stop(1)
        world.port.start(1, world.ring)
        world.idle()
        world.comes()
    finally:
        world.close()


def test_memory_that_was_cut(world):
    """SIGBUS puts zeros there: the core goes on, whatever it reads."""
    good = LoosePort(Guest([Region(0, 0x7F0000000000, 1 << 20)]))
    try:
        ring = world.layout(good.guest, 64)
        good.start(1, ring)
        world.port.start(1, world.ring)
        world.idle()
        os.ftruncate(world.port.guest.regions[0].fd, 0)
        world.dp.poll()
        world.idle()
        world.port.stop(1)
        assert good.rx() == []
    finally:
        good.close()


@pytest.mark.parametrize("layout", [Ring, PackedRing])
def test_behind_an_iommu_an_answer_is_work(layout):
    """The ring's words keep still when the translation of a buffer comes."""
    port = IommuPort(Guest())
    world = World(port, layout)
    try:
        port.start_known(1, world.ring)
        for _ in range(ROUNDS):
            page = port.guest.alloc(PAGE, PAGE)
            port.guest.write(page, bytes(12) + frame(60))
            world.ring.chain([(page, 72)])
            world.idle()
            assert port.answer() == 1
            world.arrives(frame(60))
    finally:
        world.close()


@pytest.mark.parametrize("layout", [Ring, PackedRing])
def test_frames_that_wait_for_the_guest_are_work_of_its_first_queue(layout):
    """They go when the translation comes, though nothing else is sent and the guest's own ring does not run."""
    port = IommuPort(Guest())
    world = World(port, layout)
    try:
        port.start_known(0, world.ring)
        world.idle()
        for i in range(ROUNDS):
            page = port.guest.alloc(PAGE, PAGE)
            world.ring.chain([(page, 2048)], WRITE)
            assert lib.vs_test_port_feed(world.sink, 0, frame(60, i), 60) == 0
            assert world.dp.poll() == 1
            assert port.held() == 1
            world.idle()
            assert port.answer() == 1
            assert world.dp.poll() == 0
            assert port.held() == 0
            assert world.live.counters().tx_packets == i + 1
    finally:
        world.close()
