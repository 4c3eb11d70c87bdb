"""An OpenFlow bridge in a running loop, whose controllers are real sockets and whose clock is the test's."""

import asyncio
import os
from typing import ClassVar

from of_peer import Clock, FakeBridge, FakeDatapath, FakePortHandle, messages, port

from vswitchd.ofproto import messages as m
from vswitchd.ofproto.agent import Identity
from vswitchd.ofproto.codec import encode
from vswitchd.ofproto.constants import OFPP
from vswitchd.ofproto.server import OpenFlowBridge

LIMIT = 60


class Controller:
    """One end of a connection, over asyncio streams."""

    made: ClassVar[list["Controller"]] = []

    def __init__(self, reader, writer):
        self.reader = reader
        self.writer = writer
        self.made.append(self)

    @classmethod
    async def to_unix(cls, path):
        self = cls(*await asyncio.open_unix_connection(path))
        await self.greet()
        return self

    async def greet(self):
        self.writer.write(encode(m.Hello(frozenset({4})), 1))
        _, hello = await self.next()
        assert isinstance(hello, m.Hello)

    async def next(self):
        async with asyncio.timeout(LIMIT):
            head = await self.reader.readexactly(8)
            return messages(head + await self.reader.readexactly(int.from_bytes(head[2:4], "big") - 8))[0]

    async def ask(self, message, xid=5):
        self.writer.write(encode(message, xid))
        found = await self.next()
        assert found[0] == xid
        return found[1]

    async def eof(self):
        async with asyncio.timeout(LIMIT):
            return await self.reader.read()

    async def close(self):
        self.writer.close()


class World:
    """An OpenFlowBridge in a running loop, a clock, and listening controllers."""

    def __init__(self, tmp_path):
        self.clock = Clock()
        self.dp = FakeBridge()
        self.dir = str(tmp_path)
        self.of = OpenFlowBridge(
            self.dp, FakeDatapath(), "br0", self.dir, clock=self.clock, identity=Identity(7, "br0")
        )
        self.of.port_added(port(1), FakePortHandle(1))
        self.mgmt = f"{self.dir}/br0.mgmt"
        self.arrived = asyncio.Queue()
        self.servers = []

    async def listen(self, name="c"):
        """A controller's socket; each connection to it arrives in `arrived`."""
        path = f"{self.dir}/{name}"

        async def take(reader, writer):
            await self.arrived.put(Controller(reader, writer))

        self.servers.append(await asyncio.start_unix_server(take, path))
        return f"unix:{path}"

    async def next(self):
        async with asyncio.timeout(LIMIT):
            found = await self.arrived.get()
        await found.greet()
        return found

    async def until(self, condition):
        async with asyncio.timeout(LIMIT):
            while not condition():
                self.of.tick()
                await asyncio.sleep(0.01)

    def status(self, target):
        return self.of.status().controllers[target]

    def normal(self):
        return [
            spec for spec in self.dp.visible().values() if spec.apply and spec.apply[0].arg == OFPP.NORMAL
        ]


def world(test):
    """Run a coroutine `test(world)` with a new loop; everything is closed after it."""

    def wrapped(tmp_path):
        async def main():
            w = World(tmp_path)
            try:
                await test(w)
            finally:
                w.of.close()
                for server in w.servers:
                    server.close()
                for controller in Controller.made:
                    controller.writer.transport.abort()
                Controller.made.clear()
                for _ in range(5):
                    await asyncio.sleep(0)
            return w.mgmt

        assert not os.path.exists(asyncio.run(main()))

    return wrapped
