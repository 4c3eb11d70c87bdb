"""Controllers at their worst, and packets for them at full speed: everybody else is served as before."""

import contextlib
import random
import socket
import struct
import threading
import time

import pytest
from fakes.talker import SIZE, Exchange, Talker
from fakes.wire import namespace
from peers import need
from peers.proc import run
from peers.switch import Switch, total
from peers.wait import until

pytestmark = [pytest.mark.interop, pytest.mark.root]
BR = "xcb0"
HELLO, ERROR, ECHO, ECHO_REPLY, PACKET_IN = 0, 1, 2, 3, 10
FLOWS = "priority=9,in_port=1,actions=output:2\npriority=9,in_port=2,actions=output:1\npriority=0,actions=controller\n"
ENOUGH = 40_000


def header(kind, length=8, xid=1):
    return struct.pack("!BBHI", 4, kind, length, xid)


class Controller:
    """A program that the switch connects to; `work(sock)` is what it does with each connection."""

    def __init__(self, work):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.target = f"tcp:127.0.0.1:{self.listener.getsockname()[1]}"
        self.packet_ins = self.met = 0
        self._work = work
        self._socks = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.listener.accept()
                self._socks.append(sock)
                self.met += 1
                with contextlib.suppress(OSError):
                    self._work(self, sock)

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        for sock in self._socks:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        for sock in (self.listener, *self._socks):
            sock.close()


def well_behaved(self, sock):
    """Count packet-ins, answer echos."""
    sock.sendall(header(HELLO))
    data = b""
    while part := sock.recv(1 << 16):
        data += part
        at = 0
        while len(data) - at >= 8 and len(data) - at >= (length := struct.unpack_from("!H", data, at + 2)[0]):
            kind = data[at + 1]
            if kind == ECHO:
                sock.sendall(header(ECHO_REPLY, length) + data[at + 8 : at + length])
            self.packet_ins += kind == PACKET_IN
            at += length
        data = data[at:]


def never_reads(_self, sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.sendall(header(HELLO))


def silent(_self, _sock):
    """Not even a hello."""


def half_a_message(_self, sock):
    sock.sendall(header(HELLO) + header(14, 200) + bytes(50))


def garbage(self, sock):
    sock.sendall(random.Random(self.met).randbytes(3000))
    sock.close()


def garbage_after_hello(self, sock):
    source = random.Random(self.met)
    sock.sendall(header(HELLO))
    for _ in range(50):
        body = source.randbytes(8 * source.randrange(20))
        sock.sendall(header(source.randrange(30), 8 + len(body)) + body)


class Flood:
    """A guest whose ring of packets that no flow matches is always full."""

    def __init__(self, path):
        self.guest = Talker(path, "0200000000f1", "0200000000f2")
        self.guest.send(SIZE)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        ring, sent = self.guest.tx, SIZE
        while not self._stop.is_set():
            done = sent - ((sent - ring.used_idx()) & 0xFFFF)
            if done + SIZE != sent:
                sent = done + SIZE
                ring.publish(sent)
                self.guest.kick(1)
            time.sleep(0)
        until(lambda: ring.used_idx() == sent & 0xFFFF, "the rest is taken")

    def close(self):
        self._stop.set()
        self._thread.join()
        self.guest.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    need.need_root()
    place = tmp_path_factory.getbasetemp()
    with namespace():
        run(["ip", "link", "set", "lo", "up"])
        with Switch(place / "xc") as switch, contextlib.ExitStack() as stack:
            switch.add_bridge(BR, secure=True)
            for number, name in enumerate(("g1", "g2", "flood"), 1):
                switch.add_vhost(BR, name, number)
            # As in Open vSwitch, the first controller begins with an empty table.
            switch.good = Controller(well_behaved)
            stack.callback(switch.good.close)
            switch.vsctl("set-controller", BR, switch.good.target)
            until(lambda: connected(switch, switch.good.target), "the controller is connected")
            switch.set_flows(BR, FLOWS)
            switch.exchange = Exchange(switch.run_dir / "g1", switch.run_dir / "g2")
            stack.callback(switch.exchange.close)
            yield switch
            switch.exchange.check()


@pytest.fixture
def controllers(world):
    """Start controllers and give them to the bridge, beside the good one."""
    with contextlib.ExitStack() as stack:

        def start(*works):
            made = [Controller(work) for work in works]
            for one in made:
                stack.callback(one.close)
            world.vsctl("set-controller", BR, *(one.target for one in (world.good, *made)))
            return made

        yield start
        world.vsctl("set-controller", BR, world.good.target)


def connected(world, target):
    return total(world.metrics(), "vs_controller_connected", bridge=BR, target=target) == 1


def answers(world):
    """Everybody is served: guests, vsctl, the metrics page, OpenFlow on the management socket."""
    world.exchange.check()
    assert world.vsctl("list-br") == BR
    assert "in_port=1" in world.ofctl("dump-flows", BR)
    assert world.metrics()["vs_up"] == [({}, 1.0)]


def test_garbage_silence_and_halves(world, controllers):
    worse = controllers(silent, half_a_message, garbage, garbage_after_hello, never_reads)
    until(lambda: all(one.met for one in worse), "the bad ones were met")
    until(lambda: worse[2].met >= 3, "whoever sends garbage is tried again, later and later")
    answers(world)
    assert connected(world, world.good.target)


def test_many_connections_of_nonsense_to_the_management_socket(world):
    source = random.Random(3)
    with contextlib.ExitStack() as stack:
        for i in range(150):
            sock = stack.enter_context(socket.socket(socket.AF_UNIX))
            sock.connect(str(world.run_dir / f"{BR}.mgmt"))
            with contextlib.suppress(ConnectionError):
                sock.sendall(header(HELLO) if i % 2 else source.randbytes(100))
        world.exchange.check()
    until(
        lambda: "in_port=1" in run(world._words("vsofctl", "dump-flows", BR), check=False).stdout, "answers"
    )
    answers(world)


def test_a_flood_of_packets_for_controllers(world, controllers):
    good, (stuck,) = world.good, controllers(never_reads)
    until(lambda: connected(world, stuck.target), "the one that never reads is connected")

    def ledger():
        return {row["port"]: row for row in world.json("drops")}["flood"]

    start = ledger()["received"]
    flood = Flood(world.run_dir / "flood")
    try:
        until(lambda: ledger()["received"] > start + ENOUGH / 4, "the flood runs")
        answers(world)
        until(lambda: ledger()["received"] > start + ENOUGH, "more of the flood")
        until(
            lambda: total(world.metrics(), "vs_packet_in_dropped_total", target=stuck.target), "it is stuck"
        )
        answers(world)
        world.vsctl("set", "Bridge", BR, "other_config:x=1")
        assert connected(world, good.target)
    finally:
        flood.close()
    row = ledger()
    assert row["closes"], row
    assert set(row["rx_drops"]) <= {"punt_full"}
    now = world.metrics()
    assert row["rx_drops"].get("punt_full", 0) == total(now, "vs_punt_dropped_total")
    assert total(now, "vs_punt_packets_total") == row["forwarded"]
    until(lambda: told(world) == row["forwarded"], "all that came up was looked at")
    dropped = total(world.metrics(), "vs_packet_in_dropped_total", target=good.target)
    until(lambda: good.packet_ins == row["forwarded"] - dropped, "what was not dropped has arrived")
    answers(world)


def told(world):
    """How many packets the control plane has given to its controllers."""
    return total(world.metrics(), "vs_packet_in_total")
