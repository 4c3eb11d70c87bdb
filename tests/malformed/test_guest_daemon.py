"""Guests at their worst against the whole daemon: others lose no packet, nothing leaks, everything answers."""

import array
import contextlib
import os
import random
import shutil
import socket
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fakes import front_end as fe
from fakes.mock_guest import MODERN, Guest, Region, Ring, bits
from fakes.talker import Exchange, Talker, meet
from fakes.wire import namespace
from peers.proc import run
from peers.switch import Switch
from peers.wait import until

from vswitchd.ports.vhostuser.messages import HEADER, Request

BR = "xgd0"
FEATURES = MODERN | bits(30)
GOOD = ("good1", "good2")
EVIL = "evil"
# AddressSanitizer keeps freed memory back (256 MB).
RSS_BOUND = (64 << 20) if "VS_ASAN" not in os.environ else (1 << 30)


class World:
    """A switch, two guests that talk all the time, and a third port for whoever means harm."""

    def __init__(self, place):
        self.switch = Switch(place / "s").start()
        self.pid = self.switch.child.pid
        self.place = place
        self.switch.add_bridge(BR)
        for number, name in enumerate((*GOOD, EVIL), 1):
            self.switch.add_vhost(BR, name, number)
        self.evil = self.switch.run_dir / EVIL
        self.exchange = Exchange(*(self.switch.run_dir / name for name in GOOD))
        self.exchange.check()
        # A port makes some descriptors with its first guest, and keeps them.
        Talker(self.evil, "0200000000e1", Exchange.MACS[0]).close()
        status = ("get", "Interface", EVIL, "status:status")
        until(lambda: self.switch.vsctl(*status) == "disconnected", "the first guest has left")
        self.fds, self.rss = self.count_fds(), self.read_rss()

    def count_fds(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def read_rss(self):
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def check(self):
        """Nobody was harmed: traffic goes on, the daemon answers, the port takes a guest, nothing is left."""
        self.exchange.check()
        self.switch.child.check_alive()
        guest = Talker(self.evil, "0200000000e1", Exchange.MACS[0])
        guest.send(8)
        until(lambda: guest.tx.used_idx() == 8, "the next guest on the port is served")
        guest.close()
        until(lambda: self.count_fds() == self.fds, f"{self.fds} descriptors as before")
        assert self.read_rss() < self.rss + RSS_BOUND
        rows = {row["port"]: row for row in self.switch.json("drops")}
        assert rows[EVIL]["received"] >= 8
        self.exchange.check()

    def close(self):
        self.exchange.close()
        self.switch.close()


@pytest.fixture(scope="module")
def world():
    place = Path(tempfile.mkdtemp(prefix="vsg"))
    with namespace() if os.geteuid() == 0 else contextlib.nullcontext():
        if os.geteuid() == 0:
            run(["ip", "link", "set", "lo", "up"])
        made = World(place)
        try:
            yield made
        finally:
            made.close()
            shutil.rmtree(place, ignore_errors=True)


@pytest.fixture(autouse=True)
def unharmed(world):
    """After each test."""
    yield
    world.check()


@pytest.fixture
def guest():
    with contextlib.ExitStack() as stack:
        made = Guest()
        stack.callback(made.close)
        rings = {i: Ring(made, 64) for i in (0, 1)}
        events = {i: (os.eventfd(0), os.eventfd(0)) for i in rings}
        for pair in events.values():
            for fd in pair:
                stack.callback(os.close, fd)
        made.rings, made.events = rings, events
        yield made


def steps(guest):
    return list(fe.set_up(guest, guest.rings, FEATURES, guest.events))


def push(sock, data, fds=()):
    """Send, as far as the other side takes it."""
    control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    with contextlib.suppress(ConnectionError):
        sock.sendmsg([data], control)


@pytest.mark.parametrize("half", [False, True], ids=["whole", "half"])
def test_vanishing_at_every_step(world, guest, half):
    for _ in range(8):
        messages = steps(guest)
        for n in range(len(messages) + 1):
            with meet(world.evil) as sock:
                for data, fds in messages[:n]:
                    push(sock, data, fds)
                if half and n < len(messages):
                    data, fds = messages[n]
                    push(sock, data[: len(data) // 2], fds)
    world.exchange.check()


def test_vanishing_with_packets_under_way(world):
    for i in range(30):
        guest = Talker(world.evil, "0200000000e2", "ffffffffffff" if i % 2 else Exchange.MACS[i % 4 // 2])
        guest.send(32)
        guest.close()
    world.exchange.check()


def test_garbage(world):
    source = random.Random(20261122)
    for i in range(120):
        with meet(world.evil) as sock:
            if i % 2:
                push(sock, source.randbytes(source.randrange(1, 3000)))
            else:
                payload = source.randbytes(source.choice([0, 4, 8, 40, 64]))
                push(sock, HEADER.pack(source.randrange(45), 1, len(payload)) + payload)


def test_fifty_at_once(world):
    with contextlib.ExitStack() as stack:
        socks = []
        for _ in range(50):
            sock = stack.enter_context(socket.socket(socket.AF_UNIX))
            sock.connect(str(world.evil))
            sock.settimeout(60)
            socks.append(sock)
        served = 0
        for sock in socks:
            with contextlib.suppress(ConnectionError):
                sock.sendall(fe.message(Request.GET_FEATURES))
                served += len(sock.recv(20)) == 20
        assert served == 1


def test_a_replacement_that_comes_at_once_is_let_in(world):
    sock = meet(world.evil)
    for _ in range(100):
        push(sock, fe.message(Request.SET_OWNER) * 300)  # more to read before its end is seen
        sock.close()
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(60)
        sock.connect(str(world.evil))
        sock.sendall(fe.message(Request.GET_FEATURES))
        assert len(sock.recv(20, socket.MSG_WAITALL)) == 20
    sock.close()


def test_answers_that_nobody_reads(world):
    with meet(world.evil) as sock:
        sock.setblocking(False)
        asked = 0
        with contextlib.suppress(BlockingIOError):
            while asked < 1 << 20:
                asked += sock.send(fe.message(Request.GET_FEATURES) * 64) // HEADER.size
        world.exchange.check()
        assert asked < 1 << 20, "the switch took questions without end"
        assert world.switch.vsctl("get", "Interface", EVIL, "status:status") == "connected"
        assert world.read_rss() < world.rss + RSS_BOUND


def test_memory_shorter_than_told(world, guest):
    region = guest.regions[0]
    for size in (0, 4096, region.size - 4096, region.size - 1):
        with meet(world.evil) as sock, contextlib.ExitStack() as stack:
            fd = os.memfd_create("short")
            stack.callback(os.close, fd)
            os.ftruncate(fd, size)
            push(sock, fe.message(Request.SET_MEM_TABLE, fe.memory(guest)), [fd])
            assert sock.recv(1) == b""


def test_a_flood_of_descriptors(world):
    with contextlib.ExitStack() as stack:
        fds = [os.eventfd(0) for _ in range(253)]
        for fd in fds:
            stack.callback(os.close, fd)
        for n in (1, 32, 33, 253):
            with meet(world.evil) as sock:
                for _ in range(20):
                    push(sock, fe.message(Request.GET_FEATURES), fds[:n])
        with meet(world.evil) as sock:  # none of the messages is ever finished
            for _ in range(60):
                push(sock, b"\x01", fds[:20])


def test_rings_of_nonsense(world, guest):
    source = random.Random(7)
    for i in range(20):
        with meet(world.evil) as sock:
            for data, fds in steps(guest):
                push(sock, data, fds)
            for ring in guest.rings.values():
                guest.write(ring.desc, source.randbytes(16 * ring.size))
                guest.write(ring.avail, source.randbytes(4 + 2 * ring.size))
                ring.publish(source.randrange(1 << 16) if i % 2 else ring.used_idx() + ring.size)
            for kick, _ in guest.events.values():
                os.eventfd_write(kick, 1)
            push(sock, fe.message(Request.GET_FEATURES))
            with contextlib.suppress(ConnectionError):
                sock.recv(20)
        for ring in guest.rings.values():
            ring.publish(0)
            guest.write(ring.used, bytes(4))


def test_many_regions_come_and_go(world):
    with contextlib.ExitStack() as stack:
        regions = [Region(i << 20, 0x7F0000000000 + (i << 20), 1 << 20) for i in range(32)]
        for region in regions:
            stack.callback(region.close)
        with meet(world.evil) as sock:
            push(sock, fe.message(Request.SET_PROTOCOL_FEATURES, fe.u64(fe.ALL_PROTOCOL)))
            push(sock, fe.message(Request.SET_FEATURES, fe.u64(FEATURES)))
            for _ in range(5):
                for region in regions:
                    row = fe.region(region.gpa, region.size, region.uva, 0)
                    push(sock, fe.message(Request.ADD_MEM_REG, row), [region.fd])
                for region in regions:
                    row = fe.region(region.gpa, region.size, region.uva, 0)
                    push(sock, fe.message(Request.REM_MEM_REG, row))
            push(sock, fe.message(Request.GET_FEATURES))
            assert len(sock.recv(20, socket.MSG_WAITALL)) == 20


def test_a_client_port_comes_back_after_each_loss(world):
    path = world.place / "listen"
    world.switch.vsctl(
        "add-port", BR, "evilc", "--", "set", "Interface", "evilc", "type=dpdkvhostuserclient",
        f"options:vhost-server-path={path}",
    )  # fmt: skip
    try:
        for _ in range(2):
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(path))
                listener.listen(4)
                listener.settimeout(30)
                for i in range(2):
                    with listener.accept()[0] as sock:
                        sock.settimeout(60)
                        push(sock, fe.message(Request.GET_FEATURES) if i else os.urandom(100))
                        with contextlib.suppress(ConnectionError):
                            sock.recv(20)
            path.unlink()
        world.exchange.check()
    finally:
        world.switch.vsctl("del-port", "evilc")


def test_a_port_is_deleted_and_made_again_under_its_guest(world):
    for _ in range(5):
        guest = Talker(world.evil, "0200000000e3", Exchange.MACS[0])
        guest.send(32)
        world.switch.vsctl("del-port", EVIL)
        assert not world.evil.exists()
        world.switch.add_vhost(BR, EVIL, 3)
        guest.close()
