"""Ports and front-ends on a loop over real sockets, for the tests of the port types."""

import asyncio
import os
import socket
from pathlib import Path

from fakes import front_end as fe

from vswitchd.datapath.dp import ffi, lib
from vswitchd.ports.base import PortConfig, PortEnv, open_port
from vswitchd.ports.vhostuser import SERVER

FRAME = bytes(range(60))


class World:
    """Ports, front-ends and the changes that were announced."""

    def __init__(self, directory):
        self.dir = directory
        self.changes = []
        self.ports, self.fronts, self.servers = [], [], []

    def port(self, name="vh0", type_=SERVER, **how):
        options = {k.replace("_", "-"): v for k, v in how.pop("options", {}).items()}
        env = PortEnv(asyncio.get_running_loop(), self.dir, self.changes.append)
        port = open_port(PortConfig(name, type_, options, **how), env)
        self.ports.append(port)
        return port

    def listen(self, name="fe.sock"):
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(self.dir / name))
        server.listen(1)
        server.settimeout(10)
        self.servers.append(server)
        return server

    async def front(self, name="vh0", sock=None, **how):
        """A front-end whose rings run; blocking calls are made on a thread."""
        if sock is None:
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(str(self.dir / name))
        front = fe.FrontEnd(sock, **how)
        self.fronts.append(front)
        await asyncio.to_thread(front.start)
        return front

    def close(self):
        for front in self.fronts:
            front.close()
        for server in self.servers:
            server.close()
        for port in self.ports:
            port.stop()
            lib.vs_synchronize()
            lib.vs_port_destroy(port.handle)


def run(directory, main):
    """Run main(world) on a loop; afterwards no descriptor and no mapping of guest memory is left."""
    before = leftovers()

    async def body():
        world = World(directory)
        try:
            await main(world)
        finally:
            world.close()

    asyncio.run(body())
    assert leftovers() == before


def leftovers():
    maps = Path("/proc/self/maps").read_text()
    return len(os.listdir("/proc/self/fd")), maps.count("memfd:guest")


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - the port has no event for tests
            await asyncio.sleep(0.001)


def bounce(port):
    """What the port receives it sends back."""
    c = ffi.new("struct vs_port_counters *")
    n = ffi.new("uint64_t *")
    lib.vs_port_test_forward(port.handle, 0, port.handle, 0, 100, n, c, c)
    return n[0]


def check_echo(front, port, pair=0):
    front.rings[2 * pair].post(2000)
    front.rings[2 * pair + 1].send(FRAME)
    assert bounce(port) == 1
    assert [f for _, f in front.rings[2 * pair].received()] == [FRAME]
