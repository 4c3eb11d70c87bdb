"""Switch or guest is killed at a random moment, again and again: no chain is lost or given back twice, nothing is left over.

The switch is a forked process with one port that sends back what it gets, by the functions that the daemon's cores run.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fakes import front_end as fe
from fakes.lasting_guest import LastingGuest
from peers.wait import until

from vswitchd.datapath.dp import ffi, lib
from vswitchd.ports.base import PortConfig, PortEnv, open_port
from vswitchd.ports.vhostuser import SERVER

ROUNDS = int(os.environ.get("VS_KILLS", "125"))
SEED = int(os.environ.get("VS_SEED", "0")) or random.randrange(1, 1 << 32)


async def echo(place: Path) -> None:
    """Run the switch for ever."""
    loop = asyncio.get_running_loop()
    port = open_port(PortConfig("vh0", SERVER, {}), PortEnv(loop, place, lambda _port: None))
    packets = ffi.new("uint64_t *")
    counters = ffi.new("struct vs_port_counters[2]")
    while True:
        for _ in range(20):
            lib.vs_port_test_forward(
                port.handle,
                0,
                port.handle,
                0,
                4,
                packets,
                ffi.addressof(counters, 0),
                ffi.addressof(counters, 1),
            )
        await asyncio.sleep(0)


def fork_switch(place: Path) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            asyncio.run(echo(place))
        finally:
            os._exit(1)
    return pid


def dial(place: Path) -> socket.socket:
    """Connect as soon as the switch listens."""

    def connected() -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(str(place / "vh0"))
        except OSError:
            sock.close()
            raise
        return sock

    return until(connected, "the switch listens", every=0.002)


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, "the switch had ended by itself"


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("k")


def run_until(guest: LastingGuest, frames: int) -> None:
    """Traffic until so many more frames have come."""
    goal, deadline = guest.arrived + frames, time.monotonic() + 60
    while guest.arrived < goal:
        guest.turn()
        assert time.monotonic() < deadline, "no traffic any more"


@pytest.mark.parametrize("mergeable", [True, False], ids=["mergeable", "plain"])
@pytest.mark.parametrize("inflight", [False, True], ids=["own-file", "inflight"])
@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_switch_is_killed_under_traffic(place, packed, inflight, mergeable):
    print("VS_SEED =", SEED)
    dice = random.Random(SEED)
    guest = LastingGuest(SEED, packed=packed, inflight=inflight, mergeable=mergeable)
    pid = 0
    try:
        for _ in range(ROUNDS):
            pid = fork_switch(place)
            guest.connect(dial(place))
            run_until(guest, dice.randint(1, 40))
            # What the guest does and what the switch does are not in step, so any turn is as good as another.
            for _ in range(dice.randrange(8)):
                guest.turn()
            kill(pid)
            pid = 0
            for _ in range(dice.randrange(3)):
                guest.turn()  # the guest goes on meanwhile
        pid = fork_switch(place)
        guest.connect(dial(place))
        run_until(guest, 200)
        deadline = time.monotonic() + 30
        while guest.offered[1] and time.monotonic() < deadline:
            guest.listen()
        guest.stop()
        files = sorted(p.name for p in (place / ".vhost-peers").glob("*.ring"))
        assert len(files) == (2 if packed and not inflight else 0)
    finally:
        if pid:
            kill(pid)
        guest.close()


def leftovers() -> tuple[int, int]:
    maps = Path("/proc/self/maps").read_text()
    return len(os.listdir("/proc/self/fd")), maps.count("memfd:") + maps.count(".ring")


def resident() -> int:
    """Bytes of memory in use."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


class Visitor:
    """A front-end that comes, gets as far as chance has it, and is gone in the middle of whatever it was doing."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.guest = LastingGuest(
            dice.randrange(1 << 32), packed=dice.random() < 0.5, inflight=False, mergeable=dice.random() < 0.5
        )

    async def visit(self, place: Path, turn) -> None:
        front = self.guest.front
        front.sock.close()
        front.sock = dial(place)
        front.sock.setblocking(False)
        steps = list(fe.set_up(front.guest, front.rings, front.features, front.events, front.protocol))
        last = self.dice.choice((self.dice.randrange(len(steps)), len(steps)))
        for data, fds in steps[:last]:
            front.send(data, fds)
            if self.dice.random() < 0.2:
                await turn(0)
        if last < len(steps):
            data, fds = steps[last]
            front.send(data[: self.dice.randint(1, len(data))], fds)
        else:
            await self.traffic(turn)
        if self.dice.random() < 0.5:
            await turn(0)

    async def traffic(self, turn) -> None:
        for i in range(self.dice.randint(1, 6)):
            self.guest.turn()
            await turn(self.dice.randint(0, 3))
            if i > 1 and self.dice.random() < 0.3:
                index = self.dice.randrange(2)
                self.guest.front.send(fe.message(fe.Request.GET_VRING_BASE, fe.state(index, 0)))


async def many_visits(place: Path, dice: random.Random, visits: int) -> tuple[int, int]:
    """Returns resident memory after a fifth of the visits, and after all."""
    loop = asyncio.get_running_loop()
    port = open_port(PortConfig("vh0", SERVER, {}), PortEnv(loop, place, lambda _port: None))
    packets, counters = ffi.new("uint64_t *"), ffi.new("struct vs_port_counters[2]")

    async def turn(rounds: int) -> None:
        if rounds:
            lib.vs_port_test_forward(
                port.handle, 0, port.handle, 0, rounds, packets, counters, ffi.addressof(counters, 1)
            )
        await asyncio.sleep(0)

    early, before = 0, (0, 0)
    for number in range(visits):
        visitor = Visitor(dice)
        await visitor.visit(place, turn)
        visitor.guest.close()
        for _ in range(3):
            await turn(0)
        if number == visits // 5:
            early, before = resident(), leftovers()
    for _ in range(10):
        await turn(1)
    assert leftovers() == before
    assert packets[0] > visits, "hardly any traffic"
    late = resident()
    port.stop()
    lib.vs_synchronize()
    lib.vs_port_destroy(port.handle)
    return early, late


def test_guest_is_killed_at_any_moment(place):
    print("VS_SEED =", SEED)
    early, late = asyncio.run(many_visits(place, random.Random(SEED), 1000))
    assert late - early < 8 << 20, "memory grows"
    # The process lives, as it is this one: its records stay for when it comes back, one for each ring.
    assert len(list((place / ".vhost-peers").glob("*.ring"))) == 2
