"""What is outside of a port of each type, under one face: send a frame into the switch, receive what it sent."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

from fakes.front_end import FrontEnd
from fakes.nic_models import KINDS, Nic
from fakes.vfio_box import ModelKernel
from fakes.wire import Wire, ip, namespace

import vswitchd.ports.kernel
import vswitchd.ports.vfio
import vswitchd.ports.vhostuser  # noqa: F401  (registers its types)
from vswitchd.datapath import dp
from vswitchd.ports import base

MTU = 9000
UNDER_TEST, OTHER = 1, 2
PATIENCE = 60.0  # seconds until a frame counts as lost


class Box:
    """A bridge with the port under test (1) and a test port (2), and rules from each to the other."""

    def __init__(self, stack: ExitStack, *, manual: bool) -> None:
        self.stack = stack
        self.dp = dp.Datapath(4096, manual=manual)
        stack.callback(self.dp.close)
        self.loop = asyncio.new_event_loop()
        stack.callback(self.loop.close)
        self.run_dir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vs")))
        self.env = base.PortEnv(self.loop, self.run_dir, lambda _port: None)
        self.bridge = self.dp.create_bridge("br0")
        self.other, self.other_handle = self.add("other", "test", OTHER)
        self.forward(self.bridge, UNDER_TEST, OTHER)
        self.forward(self.bridge, OTHER, UNDER_TEST)

    def inside(self, function):
        """Call in the event loop, as the daemon does, and let the loop turn a few times."""

        async def call():
            result = function()
            for _ in range(5):
                await asyncio.sleep(0)
            return result

        return self.loop.run_until_complete(call())

    @staticmethod
    def forward(bridge: dp.DpBridge, in_port: int, out_port: int) -> None:
        match = (("IN_PORT", in_port, 0xFFFFFFFF),)
        bridge.add_rule(dp.RuleSpec(0, 10, match, apply=(dp.output(out_port),)))
        bridge.commit()

    def add(self, name: str, kind: str, ofport: int, *, bridge: dp.DpBridge | None = None, **settings):
        port = self.inside(lambda: base.open_port(base.PortConfig(name, kind, **settings), self.env))
        handle = self.dp.attach(port.handle, bridge or self.bridge, ofport, name)
        handle.set_link(port.status().link_up or kind.startswith("dpdk"))
        self.dp.rebalance()
        self.stack.callback(self.inside, port.stop)
        return port, handle

    def until(self, condition, what: str):
        """Let the switch work until the condition gives a true value."""
        deadline = time.monotonic() + PATIENCE
        while True:
            if self.dp.manual:
                self.dp.poll()
            if value := condition():
                return value
            assert time.monotonic() < deadline, f"in vain: {what}"


class Outside:
    """port, handle: the port under test. max_frame: longest frame that it sends, None: no bound of its own."""

    max_frame: int | None = None
    n_rxq = 1
    runts = True
    """Can the outside send less than an Ethernet header?"""

    shortest = 0
    """Bytes to which shorter frames may be padded on their way out."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.port, self.handle = self.make(box)

    def make(self, box: Box):
        raise NotImplementedError

    def send(self, frame: bytes) -> None:
        raise NotImplementedError

    def receive(self) -> list[bytes]:
        """What came out since."""
        raise NotImplementedError

    def collect(self, n: int) -> list[bytes]:
        out: list[bytes] = []

        def enough() -> bool:
            out.extend(self.receive())
            return len(out) >= n

        self.box.until(enough, f"{n} frames out of {self.port.config.name}")
        return out


class TestOutside(Outside):
    __test__ = False

    def make(self, box: Box):
        return box.add("p0", "test", UNDER_TEST)

    def send(self, frame: bytes) -> None:
        assert self.port.feed(frame)

    def receive(self) -> list[bytes]:
        return list(iter(self.port.take, None))


class PatchOutside(Outside):
    """Behind the patch port is another bridge with a test port."""

    n_rxq = 0

    def make(self, box: Box):
        bridge = box.dp.create_bridge("br1")
        made = box.add("pa", "patch", UNDER_TEST, options={"peer": "pb"})
        _, peer = box.add("pb", "patch", 1, bridge=bridge, options={"peer": "pa"})
        self.far, _ = box.add("far", "test", 2, bridge=bridge)
        made[1].set_patch_peer(peer)
        peer.set_patch_peer(made[1])
        box.forward(bridge, 1, 2)
        box.forward(bridge, 2, 1)
        return made

    def send(self, frame: bytes) -> None:
        assert self.far.feed(frame)

    def receive(self) -> list[bytes]:
        return list(iter(self.far.take, None))


class WireOutside(Outside):
    max_frame = MTU + 22  # two VLAN tags are free
    runts = False

    def send(self, frame: bytes) -> None:
        self.wire.send(frame)

    def receive(self) -> list[bytes]:
        return [frame for frame, _ in iter(lambda: self.wire.receive(0), None)]

    def _wire(self, interface: str) -> None:
        self.wire = Wire(interface)
        self.box.stack.callback(self.wire.close)


class TapOutside(WireOutside):
    def make(self, box: Box):
        made = box.add("t0", "tap", UNDER_TEST, mtu_request=MTU)
        self._wire("t0")
        return made


class VethOutside(WireOutside):
    def make(self, box: Box):
        ip("link", "add", "v0", "mtu", MTU, "type", "veth", "peer", "name", "v1", "mtu", MTU)
        ip("link", "set", "v0", "up")
        ip("link", "set", "v1", "up")
        self._wire("v1")
        return box.add("v0", "", UNDER_TEST)


class VhostOutside(Outside):
    """A mock guest with one queue pair: ring 0 is its receive ring, ring 1 its transmit ring."""

    max_frame = MTU + 22
    _POSTED, _SIZE = 200, 2048

    def make(self, box: Box):
        made = box.add("vhost0", "dpdkvhostuser", UNDER_TEST, mtu_request=MTU)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect(str(box.run_dir / "vhost0"))
        self.guest = FrontEnd(sock)
        box.stack.callback(self.guest.close)
        self._buffers = []
        box.loop.run_until_complete(box.loop.run_in_executor(None, self.guest.start))
        box.loop.run_until_complete(box.loop.shutdown_default_executor())
        box.dp.rebalance()
        self._post(self._POSTED)
        return made

    def _post(self, n: int) -> None:
        for _ in range(n):
            self.guest.rings[0].post(self._SIZE)

    def send(self, frame: bytes) -> None:
        self.guest.rings[1].take()
        self.guest.rings[1].send(frame)
        os.eventfd_write(self.guest.events[1][0], 1)

    def receive(self) -> list[bytes]:
        ring = self.guest.rings[0]
        before = len(ring.free)
        frames = [frame for _, frame in ring.received()]
        self._post(len(ring.free) - before)
        return frames


class NicOutside(Outside):
    """A device model, and the wire that it hangs on."""

    max_frame = MTU + 22
    shortest = 60
    kind: str

    def make(self, box: Box):
        self.nic = Nic(self.kind, probe=False)
        box.stack.callback(self.nic.close)
        kernel = ModelKernel(self.nic)
        box.stack.enter_context(patch("vswitchd.ports.vfio.hub.LinuxKernel", lambda: kernel))
        box.stack.enter_context(patch("vswitchd.ports.vfio.port.environment", kernel.environment))
        return box.add("nic0", "vfio", UNDER_TEST, mtu_request=MTU, options={"pci": "01:00.0"})

    def send(self, frame: bytes) -> None:
        assert self.nic.receive(frame) == 1

    def receive(self) -> list[bytes]:
        return [frame for _queue, frame in self.nic.taken()]


OUTSIDES = {
    "test": TestOutside,
    "patch": PatchOutside,
    "tap": TapOutside,
    "veth": VethOutside,
    "vhost-user": VhostOutside,
    **{f"vfio-{kind}": type(f"{kind}_outside", (NicOutside,), {"kind": kind}) for kind in KINDS},
}
NEED_ROOT = {"tap", "veth"}


def needs_namespace(name: str, stack: ExitStack) -> None:
    """Kernel ports are made in a namespace of the test's own; without root the test is skipped with the reason."""
    if name in NEED_ROOT:
        stack.enter_context(namespace())
