"""A hundred ports come and go while two others forward: no frame of theirs is lost, late or out of order."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from tests.fakes.switchbox import SwitchBox
from vswitchd.datapath import dp

FRAME = bytes.fromhex("020000000002020000000001080045") + bytes(49)
CPUS = sorted(os.sched_getaffinity(0))[:2]
MANY = 100


class Box(SwitchBox):
    """Two ports on cores that run, and a thread that sends through them, at most 64 frames ahead, until it is told to end."""

    def __init__(self) -> None:
        super().__init__(ports=0, ring=256)
        self.dp.close()
        self.dp = dp.Datapath(1024)
        self.bridge = self.dp.create_bridge("br0")
        for number in (1, 2):
            self.add_port(number)
        self.rule(1, (("IN_PORT", 1, 0xFFFFFFFF),), dp.output(2))
        self.dp.set_cores(CPUS)
        self.end = threading.Event()
        self.sent = 0
        self.got: list[bytes] = []
        self.thread = threading.Thread(target=self._traffic)

    def _traffic(self) -> None:
        out = self.ports[2]
        while not self.end.is_set() or len(self.got) < self.sent:
            if not self.end.is_set() and self.sent - len(self.got) < 64:
                self.feed(1, FRAME + self.sent.to_bytes(4, "big"))
                self.sent += 1
            self.got += self.take_from(out)

    def finish(self) -> None:
        """Stop sending; all that was sent has arrived, or the test hangs until its deadline."""
        self.end.set()
        self.thread.join(60)


@pytest.fixture
def box() -> Iterator[Box]:
    b = Box()
    b.thread.start()
    yield b
    b.end.set()
    b.dp.close()


@pytest.mark.parametrize("together", [True, False])
def test_nothing_is_lost(box: Box, together: bool) -> None:
    for _ in range(2):
        new = []
        for i in range(MANY):
            name = f"v{i}"
            new.append(box.dp.attach(dp.lib.vs_vhost_new(name.encode()), box.bridge, 10 + i, name))
            if not together:
                box.dp.rebalance()
        box.dp.rebalance()
        for port in new:
            box.dp.detach(port)
    box.finish()
    assert box.sent > 0
    assert box.got == [FRAME + i.to_bytes(4, "big") for i in range(box.sent)]
    counters = box.ports[1].counters()
    assert (counters.rx_packets, counters.rx_forwarded, counters.rx_drops) == (box.sent, box.sent, {})
    assert box.ports[2].counters().tx_drops == {}
