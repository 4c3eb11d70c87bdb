"""Fixtures of the kernel port tests: a namespace, an environment for ports, a driver without a core."""

import asyncio
import select
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from fakes.wire import namespace

from vswitchd.datapath.dp import ffi, lib
from vswitchd.ports import base
from vswitchd.ports.kernel import links


class Driver:
    """Calls rx and tx of one port, as a core would."""

    def __init__(self, port):
        self.port = port
        self.counters = ffi.new("struct vs_port_counters *")
        self._packets = [ffi.new("struct vs_packet *") for _ in range(32)]
        self._vector = ffi.new("struct vs_packet *[]", self._packets)

    def receive(self, n=32):
        """One call of rx: the packets (valid until the next call)."""
        got = lib.vs_kernel_port_rx(self.port.handle, self._vector, n, self.counters)
        return self._packets[:got]

    def frames(self, n=32):
        return [whole(p) for p in self.receive(n)]

    def send(self, frames, **fields):
        keep = [ffi.new("uint8_t[]", f) for f in frames]
        for packet, data, f in zip(self._packets, keep, frames, strict=False):
            lib.vs_packet_fill(packet, data, len(f))
            packet.csum = packet.gso_type = 0
            for name, value in fields.items():
                setattr(packet, name, value)
        lib.vs_kernel_port_tx(self.port.handle, self._vector, len(frames), self.counters)

    def drops(self):
        rows = {}
        for i in range(lib.VS_N_DROPS):
            if self.counters.drops[i]:
                rows[ffi.string(lib.vs_drop_label(i)).decode()] = self.counters.drops[i]
        return rows


def whole(packet):
    data = ffi.new("uint8_t[]", packet.frame_len)
    lib.vs_packet_copy_out(packet, data, packet.frame_len)
    return bytes(data)


class Ports:
    """Opens ports and counts their notifications."""

    def __init__(self, loop):
        self.loop = loop
        self.changes = []
        self._open = []
        self.env = base.PortEnv(loop=loop, run_dir=Path("/nonexistent"), changed=self.changes.append)

    def open(self, name, kind, **settings):
        port = base.open_port(base.PortConfig(name, kind, **settings), self.env)
        self._open.append(port)
        return port

    def pump(self):
        """Let netlink notifications in."""
        links.monitor(self.loop).pump()

    def wait(self, condition, seconds=30):
        """Let notifications in until the condition holds: the kernel tells of carriers a little later."""
        monitor = links.monitor(self.loop)
        monitor.pump()
        while not condition():
            assert select.select([monitor.fileno()], [], [], seconds)[0], "the kernel told nothing"
            monitor.pump()

    def close(self, port):
        self._open.remove(port)
        port.stop()
        lib.vs_port_destroy(port.handle)

    def close_all(self):
        while self._open:
            self.close(self._open[-1])


@pytest.fixture
def netns():
    with namespace():
        yield


@pytest.fixture
def ports(netns):
    import vswitchd.ports.kernel  # noqa: F401  (registers the types)

    loop = asyncio.new_event_loop()
    opened = Ports(loop)
    try:
        yield opened
    finally:
        opened.close_all()
        loop.close()


@pytest.fixture
def driver():
    return Driver
