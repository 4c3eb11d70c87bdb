"""A SwitchBox on a virtual clock whose port 2 is shaped: 1 feeds queue 1, 3 feeds queue 2, 4 comes without set_queue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from tests.fakes.switchbox import SwitchBox
from vswitchd.datapath import dp
from vswitchd.datapath.qos_spec import QosKind, QosSpec, QueueSpec

MACS = bytes.fromhex("020000000002020000000001")
IN_PORT = 0xFFFFFFFF
M = 1_000_000


def frame(size: int, tag: int = 0) -> bytes:
    """A frame of that many bytes which carries a number."""
    return MACS + b"\x88\xb5" + tag.to_bytes(4, "big") + bytes(size - 18)


def tag(data: bytes) -> int:
    """The number that a frame carries."""
    return int.from_bytes(data[14:18], "big")


class Shaped(SwitchBox):
    """Time stands still between steps of a millisecond."""

    def __init__(self, ports: int = 4) -> None:
        super().__init__(ports, ring=16384)
        self.now = 1_000
        self.dp.set_time_ms(self.now)
        self.rule(1, (("IN_PORT", 1, IN_PORT),), dp.set_queue(1), dp.output(2))
        self.rule(1, (("IN_PORT", 3, IN_PORT),), dp.set_queue(2), dp.output(2))
        self.rule(1, (("IN_PORT", 4, IN_PORT),), dp.output(2))

    @property
    def out(self) -> dp.PortHandle:
        """The shaped port."""
        return self.ports[2]

    def qos(self, *queues: QueueSpec, rate: int = 0, kind: QosKind = QosKind.SHAPE) -> None:
        """Shape it."""
        self.out.set_qos(QosSpec(rate, queues, kind))

    def work(self) -> None:
        """Let the cores work until they have nothing to do at this time."""
        before = None
        while before != (now := (self.out.counters().tx_offered, self.out.waiting())) or self.dp.poll():
            before = now
            self.dp.poll()

    def step(self, ms: int = 1) -> None:
        """Let time pass."""
        self.now += ms
        self.dp.set_time_ms(self.now)
        self.work()

    def fill(self, number: int, data: bytes, n: int, rxq: int = 0) -> None:
        """Feed the same frame n times."""
        for _ in range(n):
            self.feed(number, data, rxq)

    def sent(self) -> list[bytes]:
        """What the shaped port sent; every packet has a fate, whether it waits or not."""
        self.assert_ledgers()
        return self.take_from(self.out)

    def run(self, ms: int, feed: Callable[[], None]) -> Counter[int]:
        """Bytes by tag that port 2 sends in that time while feed() keeps its queues full."""
        total: Counter[int] = Counter()
        for _ in range(ms):
            feed()
            self.step()
            for data in self.sent():
                total[tag(data)] += len(data)
        return total
