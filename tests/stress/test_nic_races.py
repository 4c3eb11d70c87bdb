"""NIC drivers on polling cores, their devices on threads of their own, and a control thread that does all it may meanwhile."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from cffi import FFI

from tests.fakes.nic_models import KINDS, Nic, Refused, dma_window
from vswitchd.datapath import dp

CPUS = sorted(os.sched_getaffinity(0))[:2]
NO_META = FFI().NULL
BURST, FLOWS = 64, 16
SIZES = (60, 64, 191, 193, 700, 1514, 1514, 4000)
MAC, OTHER = bytes.fromhex("020000000001"), bytes.fromhex("020000000099")
PROMISC = dp.lib.VS_NIC_RX_PROMISC
MINE = {
    "runt",
    "oversize",
    "device_error",
    "bad_offload",
    "bad_descriptor",
}  # frames that a driver drops itself


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that must happen; the deadline only ends a broken run."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.0005)


def headers(side: int, flow: int) -> bytes:
    """Ethernet, IPv4 and UDP of one flow of one side: 42 bytes. The flows spread over queues."""
    ip = bytes.fromhex("4500002e00000000401100000a") + bytes([side, 0, flow * 37 & 255, 10, 9, 0, 1])
    return MAC + OTHER + b"\x08\x00" + ip + (1000 + flow * 53).to_bytes(2, "big") + bytes(6)


HEADERS = [[headers(side, flow) for flow in range(FLOWS)] for side in range(2)]
BODIES = [bytes((i * 7 + n) & 255 for i in range(size - 47)) for n, size in enumerate(SIZES)]


def frame(side: int, number: int) -> bytes:
    """What one side sends: flow, number and bytes can be told from each other."""
    return HEADERS[side][number % FLOWS] + bytes([side]) + number.to_bytes(4, "big") + BODIES[number * 5 % 8]


class End:
    """One NIC of the pair: what was given to it, and what came out of it."""

    def __init__(self, kind: str, side: int) -> None:
        self.nic = Nic(kind, slot=side)
        self.side, self.number, self.given, self.out = side, 0, 0, 0
        self.queues = min(2, self.nic.info.max_rxq)
        self.latest = [-1] * FLOWS  # number of the frame of each flow that came out last
        self.port: Any = None

    def start(self, **changed: int) -> None:
        """Run, with interrupts."""
        self.nic.start(
            n_rxq=self.queues, n_txq=min(2, self.nic.info.max_txq), mtu=4000, vectors=True, **changed
        )

    def feed(self, n: int = BURST) -> None:
        """Frames from the wire; those that the device has no room for are the device's loss."""
        give, model = self.nic.models.model_receive, self.nic.model
        for _ in range(n):
            data = frame(self.side, self.number)
            self.given += give(model, data, len(data), NO_META) == 1
            self.number += 1

    def take(self) -> list[bytes]:
        """What went out."""
        got = [data for _, data in self.nic.taken()]
        self.out += len(got)
        return got

    def counters(self) -> Any:
        """The port's."""
        return self.port.counters()


class Pair:
    """Two NICs of one kind and a switch that passes everything from each to the other."""

    def __init__(self, kind: str, stack: ExitStack) -> None:
        stack.enter_context(dma_window())
        self.ends = [End(kind, 0), End(kind, 1)]
        self.dp = dp.Datapath(1024)
        stack.callback(self.close)
        bridge = self.dp.create_bridge("br0")
        for end in self.ends:
            end.start()
            end.port = self.dp.attach(end.nic.handle, bridge, end.side + 1, f"n{end.side}")
            bridge.add_rule(
                dp.RuleSpec(0, 1, (("IN_PORT", end.side + 1, 0xFFFFFFFF),), apply=(dp.output(2 - end.side),))
            )
        bridge.commit()
        self.dp.set_idle_sleep(0)
        self.dp.set_cores(CPUS)

    def engines(self, mode: int) -> None:
        """Of both devices."""
        for end in self.ends:
            end.nic.thread(mode)

    def check(self, end: End) -> None:
        """What came out of an end is what was given to the other one, each flow in its order."""
        for data in end.take():
            number = int.from_bytes(data[43:47], "big")
            assert data == frame(1 - end.side, number)
            assert end.latest[number % FLOWS] < number, "order within a flow"
            end.latest[number % FLOWS] = number

    def quiet(self) -> None:
        """Until all that was given is accounted for."""
        for end in self.ends:
            until(lambda end=end: end.counters().rx_packets == end.given and end.counters().closes)
        for end in self.ends:
            until(lambda end=end: (self.check(end), end.out)[1] == end.counters().tx_packets)

    def close(self) -> None:
        """Ports go with the datapath; then the window is looked at."""
        self.engines(0)
        for end in self.ends:
            end.nic.stop()
        self.dp.close()
        for end in self.ends:
            end.nic.handle = dp.ffi.NULL
            end.nic.close()


@pytest.fixture
def pair_of() -> Iterator[Callable[[str], Pair]]:
    """Make a pair; at its end every buffer must be back in the pool."""
    with ExitStack() as stack:
        yield lambda kind: Pair(kind, stack)


def look(end: End) -> None:
    """What the control thread may ask of a running port at any time."""
    end.nic.link()
    end.nic.stats()
    dp.lib.vs_nic_irq(end.nic.handle)


def change(end: End, turn: int) -> None:
    """What it may change."""
    dp.lib.vs_nic_set_rx_mode(end.nic.handle, PROMISC | (dp.lib.VS_NIC_RX_ALLMULTI if turn % 2 else 0))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_lost(pair_of: Callable[[str], Pair], kind: str) -> None:
    """Both ways at once: what a device received is counted, what was counted as sent is on the wire, each flow in order."""
    pair = pair_of(kind)
    pair.engines(1)
    for turn in range(300):
        for end in pair.ends:
            end.feed()
            pair.check(end)
        if turn % 4 == 0:
            look(pair.ends[turn // 4 % 2])
        if turn % 20 == 0:
            change(pair.ends[turn // 20 % 2], turn // 40)
        if turn % 50 == 49:
            pair.quiet()  # cores sleep; what comes next must wake them
    pair.quiet()
    for end in pair.ends:
        counters = end.counters()
        assert end.given == counters.rx_packets > 0
        assert set(counters.tx_drops) <= {"ring_full"}
        assert not counters.rx_drops
        assert not end.nic.faults


@pytest.mark.parametrize("kind", KINDS)
def test_stopped_and_started_under_traffic(pair_of: Callable[[str], Pair], kind: str) -> None:
    """Ports stop, start with other rings and lose their link while cores forward: what is dropped has a name."""
    pair = pair_of(kind)
    pair.engines(1)
    for turn in range(60):
        for end in pair.ends:
            end.feed(32)
            end.take()
        end = pair.ends[turn % 2]
        if turn % 6 == 1:
            end.nic.stop()
            pair.ends[1 - turn % 2].feed(16)
            end.start(rx_desc=512 if turn % 4 == 1 else 256)
            pair.dp.wake()
        elif turn % 6 == 4:
            end.nic.set_link(False)
            end.nic.link()
            pair.ends[1 - turn % 2].feed(16)
            end.nic.set_link(True)
            end.nic.link()
        look(end)
    for end in pair.ends:
        until(lambda end=end: end.counters().closes)
        before = end.counters()
        assert before.rx_packets <= end.given
        assert end.out <= before.tx_packets
        assert set(before.tx_drops) <= {"ring_full", "not_ready", "link_down"}
        assert not before.rx_drops
    settle(pair)
    for end in pair.ends:
        end.feed(32)
    for end in pair.ends:
        until(lambda end=end: end.take() != [] or end.out > 0)
        assert not end.nic.faults


def settle(pair: Pair) -> None:
    """Until nothing moves any more; counts begin anew."""
    last = None
    while last != (now := [end.counters().rx_packets for end in pair.ends]):
        last = now
        time.sleep(0.002)
    for end in pair.ends:
        end.take()
        end.out = 0


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_devices(pair_of: Callable[[str], Pair], kind: str) -> None:
    """Devices that write anything at any time: the ledger closes, every buffer comes back, and the ports start again."""
    pair = pair_of(kind)
    pair.engines(2)
    for turn in range(80):
        for end in pair.ends:
            end.feed(32)
            end.take()
            look(end)
        if turn == 33:  # seldom: a control queue that does not answer is waited for
            change(end, turn)
        if turn % 10 == 9:
            end = pair.ends[turn // 10 % 2]
            end.nic.stop()
            end.nic.thread(1)  # so that most starts are not refused
            try:
                end.start()
            except Refused:
                assert end.nic.error
            end.nic.thread(2)
            pair.dp.wake()
    pair.engines(0)
    for end in pair.ends:
        end.nic.stop()
    for end in pair.ends:
        until(lambda end=end: end.counters().closes)
    assert sum(end.counters().rx_packets for end in pair.ends) > 0
    assert sum(end.counters().tx_offered for end in pair.ends) > 0
