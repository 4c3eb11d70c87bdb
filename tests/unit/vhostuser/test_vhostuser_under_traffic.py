"""Rings and memory change while polling cores forward at full speed: nothing crashes, every stop is exact, nothing is lost or left."""

import os
import random
import struct
import threading

import pytest
from fakes import front_end as fe
from fakes.mock_guest import MODERN, WRITE, Guest, Ring, bits

from vswitchd.datapath import dp
from vswitchd.datapath.dp import lib
from vswitchd.ports.vhostuser.device import CoreDevice
from vswitchd.ports.vhostuser.features import DEFAULT
from vswitchd.ports.vhostuser.messages import Request
from vswitchd.ports.vhostuser.session import Session

FEATURES = MODERN | bits(30)
SIZE = 64
FRAME = bytes(12) + bytes.fromhex("020000000001020000000002") + b"\x88\xb5" + bytes(286)


class Side:
    """A guest whose rings are always full of work: descriptors stand still, a thread moves the available index."""

    def __init__(self, name):
        self.handle = lib.vs_vhost_new(name.encode())
        self.device = CoreDevice(name, self.handle)
        self.guest = Guest()
        self.rings = {i: Ring(self.guest, SIZE) for i in (0, 1)}
        for index, ring in self.rings.items():
            for i in range(SIZE):
                at = self.guest.alloc(2048)
                self.guest.write(at, FRAME)
                ring.set_desc(i, at, 2048 if index == 0 else len(FRAME), WRITE if index == 0 else 0)
                self.guest.write(ring.avail + 4 + 2 * i, struct.pack("<H", i))
        self.events = {i: (os.eventfd(0), os.eventfd(0)) for i in self.rings}
        self.session = Session(self.device, DEFAULT)

    def push(self):
        """All that was used is available again."""
        for ring in self.rings.values():
            ring.publish(ring.used_idx() + SIZE)

    def feed(self, data, fds=()):
        out, copies = b"", [os.dup(fd) for fd in fds]
        while data:
            n = self.session.wanted
            out += self.session.receive(data[:n], copies)
            data, copies = data[n:], []
        return out

    def ask(self, request, payload=b"", fds=()):
        return self.feed(fe.message(request, payload), fds)

    def connect(self):
        self.session = Session(self.device, DEFAULT)
        for data, fds in fe.set_up(self.guest, self.rings, FEATURES, self.events):
            self.feed(data, fds)
        assert self.session.running == {0, 1}

    def stop_ring(self, index):
        answer = self.ask(Request.GET_VRING_BASE, fe.state(index, 0))
        base = struct.unpack_from("=II", answer, 12)[1]
        assert base == self.rings[index].used_idx()
        return base

    def start_ring(self, index):
        self.ask(Request.SET_VRING_KICK, fe.u64(index), [self.events[index][0]])

    def close(self):
        self.session.close()
        self.guest.close()
        for pair in self.events.values():
            for fd in pair:
                os.close(fd)


def toggle(side, index):
    side.ask(Request.SET_VRING_ENABLE, fe.state(index, 0))
    side.ask(Request.SET_VRING_ENABLE, fe.state(index, 1))


def new_memory(side, _index):
    side.ask(Request.SET_MEM_TABLE, fe.memory(side.guest), [r.fd for r in side.guest.regions])


def remove_memory(side, _index):
    r = side.guest.regions[0]
    side.ask(Request.REM_MEM_REG, fe.region(r.gpa, r.size, r.uva, r.offset))
    assert side.session.running == set()
    side.ask(Request.ADD_MEM_REG, fe.region(r.gpa, r.size, r.uva, r.offset), [r.fd])


def restart(side, index):
    base = side.stop_ring(index)
    used = side.rings[index].used_idx()
    assert used == base
    side.start_ring(index)


def new_call(side, index):
    side.ask(Request.SET_VRING_CALL, fe.u64(index), [side.events[index][1]])


def reconnect(side, _index):
    side.session.close()
    assert lib.vs_vhost_ring_unpublish(side.handle, 0) == 0
    side.connect()


ACTIONS = [toggle, new_memory, remove_memory, restart, new_call, reconnect]


@pytest.fixture
def world():
    before = len(os.listdir("/proc/self/fd"))
    datapath = dp.Datapath(1024)
    bridge = datapath.create_bridge("br0")
    sides = [Side("a"), Side("b")]
    for number, side in enumerate(sides, 1):
        datapath.attach(side.handle, bridge, number, side.device._name)
        match = (("IN_PORT", number, 0xFFFFFFFF),)
        bridge.add_rule(dp.RuleSpec(0, 10, match, apply=(dp.output(3 - number),)))
    bridge.commit()
    datapath.set_cores(sorted(os.sched_getaffinity(0))[:2])
    for side in sides:
        side.connect()
        datapath.rebalance()
    yield datapath, sides
    for side in sides:
        side.close()
    datapath.close()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("sleep_us", [None, 20], ids=["polling", "sleeping"])
def test_any_change_under_traffic(world, sleep_us):
    datapath, sides = world
    datapath.set_idle_sleep(sleep_us)
    done = threading.Event()

    def traffic():
        while not done.is_set():
            for side in sides:
                side.push()
                for kick, _ in side.events.values():
                    os.eventfd_write(kick, 1)

    thread = threading.Thread(target=traffic)
    thread.start()
    rng = random.Random(1)
    try:
        for _ in range(100):
            side, action = rng.choice(sides), rng.choice(ACTIONS)
            action(side, rng.randrange(2))
            datapath.wake()  # as the daemon does when a port has changed
            assert side.session.running == {0, 1}
        while min(handle.counters().rx_packets for handle in datapath.ports.values()) < 1000:
            datapath.wake()
    finally:
        done.set()
        thread.join()
    for side in sides:
        for index in (0, 1):
            side.stop_ring(index)
            assert dict(enumerate(side.device.info(index).stats.refused)) == dict.fromkeys(
                range(lib.VS_N_CHAIN_ERRORS), 0
            )
    counters = [handle.counters() for handle in datapath.ports.values()]
    for c in counters:
        assert c.rx_packets == c.rx_forwarded + sum(c.rx_drops.values())
        assert c.tx_offered == c.tx_packets + sum(c.tx_drops.values())
    assert [c.rx_packets for c in counters] == [s.device.info(1).stats.chains for s in sides]
    assert [c.tx_packets for c in counters] == [s.device.info(0).stats.chains for s in sides]
