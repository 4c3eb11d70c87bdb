"""A front-end, a connection that offers everything and a port, on a loop: for tests of what a session does with real descriptors."""

import asyncio
import os
import socket

from fakes import front_end as fe
from vhostuser_peer import OFFER

from vswitchd.datapath.dp import lib
from vswitchd.ports.vhostuser.connection import Connection
from vswitchd.ports.vhostuser.device import CoreDevice
from vswitchd.ports.vhostuser.session import Session


class Line:
    """A front-end, a connection that offers everything, and a port; `talk` runs blocking calls on a thread."""

    def __init__(self, **how):
        ours, theirs = socket.socketpair()
        self.handle = lib.vs_vhost_new(b"line")
        self.device = CoreDevice("line", self.handle)
        self.session = Session(self.device, OFFER)
        self.ended = False
        self.connection = Connection(
            ours,
            self.session,
            name="line",
            handled=lambda: None,
            closed=lambda _: setattr(self, "ended", True),
        )
        self.front = fe.FrontEnd(theirs, size=64, **how)

    async def talk(self, call, *args):
        return await asyncio.to_thread(call, *args)

    def close(self):
        self.connection.close()
        self.front.close()
        lib.vs_synchronize()
        lib.vs_port_destroy(self.handle)


def run(main, **how):
    before = set(os.listdir("/proc/self/fd"))

    async def body():
        line = Line(**how)
        try:
            await main(line, line.front)
        finally:
            line.close()

    asyncio.run(body())
    assert set(os.listdir("/proc/self/fd")) <= before
