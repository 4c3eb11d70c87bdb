"""Polling cores as threads: forwarding, sleeping and waking, queues over cores, changes under traffic."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterator

import pytest

from tests.fakes.switchbox import SwitchBox
from vswitchd.datapath import dp

FRAME = bytes.fromhex("020000000002020000000001080045") + bytes(49)
CPUS = sorted(os.sched_getaffinity(0))[:2]


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that must happen; the deadline only ends a broken run."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


class Threaded(SwitchBox):
    """The same box, with its cores running as threads."""

    def __init__(self, ports: int, cpus: list[int], emc_entries: int = 4096) -> None:
        self.dp = dp.Datapath(emc_entries)
        self.ring = 4096
        self.bridge = self.dp.create_bridge("br0")
        self.ports = {}
        self._buffer = dp.ffi.new("uint8_t[]", 70000)
        for number in range(1, ports + 1):
            self.add_port(number)
        self.dp.set_cores(cpus)

    def quiet(self, number: int, packets: int) -> None:
        """Until the port has accounted for that many packets."""
        port = self.ports[number]
        until(lambda: port.counters().rx_packets == packets and port.counters().closes)


@pytest.fixture
def box() -> Iterator[Threaded]:
    b = Threaded(3, CPUS[:1])
    yield b
    b.close()


def test_threads_forward_everything_in_order(box: Threaded) -> None:
    box.rule(1, (), dp.output(2))
    got: list[bytes] = []
    for i in range(3000):
        box.feed(1, FRAME + i.to_bytes(4, "big"))
        got += box.take_from(box.ports[2])
    box.quiet(1, 3000)
    got += box.take_from(box.ports[2])
    assert got == [FRAME + i.to_bytes(4, "big") for i in range(3000)]
    assert box.dp.core_stats()[0].rx_packets == 3000


def test_idle_core_sleeps_and_a_frame_wakes_it(box: Threaded) -> None:
    box.rule(1, (), dp.output(2))
    assert box.dp.core_stats()[0].sleeps == 0  # "never" is what a datapath starts with
    box.dp.set_idle_sleep(0)
    for i in range(1, 5):
        before = box.dp.core_stats()[0].sleeps
        until(lambda floor=before: box.dp.core_stats()[0].sleeps > floor)
        box.feed(1, FRAME)
        box.quiet(1, i)
    assert len(box.take_from(box.ports[2])) == 4
    stats = box.dp.core_stats()[0]
    assert stats.sleeps > 0
    assert stats.asleep_cycles > 0
    box.dp.set_idle_sleep(None)
    box.dp.wake()


def test_a_core_that_was_asked_to_look_sleeps_again_at_once(box: Threaded) -> None:
    """Its patience, here longer than any test, is for what packets may follow; nothing came."""
    box.dp.set_idle_sleep(0)
    until(lambda: box.dp.core_stats()[0].sleeps > 0)
    box.dp.set_idle_sleep(10**9)
    for _ in range(3):
        floor = box.dp.core_stats()[0].sleeps
        box.dp.wake()
        until(
            lambda floor=floor: box.dp.core_stats()[0].sleeps > floor
        )  # it slept, and was woken or waited long enough
    box.feed(1, FRAME)
    box.quiet(1, 1)
    before = box.dp.core_stats()[0]
    until(lambda: box.dp.core_stats()[0].iterations > before.iterations + 1000)
    assert box.dp.core_stats()[0].sleeps <= before.sleeps + 1


def test_what_rang_is_drained(box: Threaded) -> None:
    """A descriptor that stays readable would not let the core sleep again."""
    box.rule(1, (), dp.output(2))
    box.dp.set_idle_sleep(0)
    fds = [dp.lib.vs_port_test_rx_fd(port.cdata, 0) for port in box.ports.values()]
    for i in range(1, 20):
        for number in box.ports:
            box.feed(number, FRAME)
        box.quiet(1, i)
        until(lambda: not select.select(fds, [], [], 0)[0])


def test_a_sleeping_core_does_not_hold_up_removal(box: Threaded) -> None:
    rule = box.rule(1, (), dp.output(2))
    box.dp.set_idle_sleep(0)
    box.feed(1, FRAME)
    box.quiet(1, 1)
    box.bridge.remove_rule(rule)
    box.bridge.commit()
    retired: list[tuple[int, ...]] = []

    def gone() -> bool:
        box.dp.housekeeping()
        retired.extend(tuple(r)[:3] for r in box.bridge.take_retired())
        return bool(retired)

    until(gone)
    assert retired == [(rule, 1, len(FRAME))]


@pytest.mark.skipif(len(CPUS) < 2, reason="needs two CPUs")
def test_queues_are_spread_pinned_and_moved(box: Threaded) -> None:
    box.dp.set_cores(CPUS)
    assert sorted(r.cpu for r in box.dp.rxq_stats()) in (
        [CPUS[0], CPUS[0], CPUS[1]],
        [CPUS[0], CPUS[1], CPUS[1]],
    )
    box.dp.assign_rxqs({("p1", 0): CPUS[1]})
    rows = {r.port: r for r in box.dp.rxq_stats()}
    assert (rows["p1"].cpu, rows["p1"].pinned) == (CPUS[1], True)
    assert {rows["p2"].cpu, rows["p3"].cpu} == {CPUS[0]}  # a core with pinned queues is left to them
    box.dp.set_cores(CPUS[:1])
    assert {r.cpu for r in box.dp.rxq_stats()} == {CPUS[0]}
    assert len(box.dp.core_stats()) == 1


@pytest.mark.skipif(len(CPUS) < 2, reason="needs two CPUs")
def test_nothing_is_lost_while_queues_move(box: Threaded) -> None:
    box.dp.set_cores(CPUS)
    box.rule(1, (), dp.output(2))
    got = 0
    for i in range(400):
        box.feed(1, FRAME)
        box.dp.assign_rxqs({("p1", 0): CPUS[i % 2]})
        got += len(box.take_from(box.ports[2]))
    box.quiet(1, 400)
    assert got + len(box.take_from(box.ports[2])) == 400


def test_ports_come_and_go_under_traffic(box: Threaded) -> None:
    box.rule(1, (), dp.output(2))
    got = 0
    for i in range(100):
        extra = box.add_port(1000 + i)
        box.dp.rebalance()
        box.feed(1, FRAME)
        del box.ports[1000 + i]
        box.dp.detach(extra)
        got += len(box.take_from(box.ports[2]))
    box.quiet(1, 100)
    assert got + len(box.take_from(box.ports[2])) == 100


def test_every_packet_is_counted_once_while_rules_change(box: Threaded) -> None:
    rule = box.rule(1, (), dp.output(2))
    counted = 0
    for _ in range(200):
        box.feed(1, FRAME)
        fresh = box.bridge.add_rule(dp.RuleSpec(0, 1, (), apply=(dp.output(2),)))
        box.bridge.remove_rule(rule)
        box.bridge.commit()
        rule = fresh
        box.dp.housekeeping()
        counted += sum(r.packets for r in box.bridge.take_retired())
    box.quiet(1, 200)
    box.bridge.remove_rule(rule)
    box.bridge.commit()

    def all_retired() -> bool:
        nonlocal counted
        more = box.dp.housekeeping()
        counted += sum(r.packets for r in box.bridge.take_retired())
        return not more

    until(all_retired)
    assert counted == 200
    assert box.ports[1].counters().rx_drops == {}  # no packet met a moment without a rule


def test_a_bridge_goes_away_under_traffic(box: Threaded) -> None:
    other = box.dp.create_bridge("br1")
    port = box.add_port(7, other)
    box.dp.rebalance()
    other.add_rule(dp.RuleSpec(0, 1, (), apply=(dp.output(0xFFFFFFF8),)))
    other.commit()
    assert dp.lib.vs_test_port_feed(port.cdata, 0, FRAME, len(FRAME)) == 0
    until(lambda: port.counters().tx_packets == 1)
    box.dp.delete_bridge(other)
    box.rule(1, (), dp.output(2))
    box.feed(1, FRAME)
    box.quiet(1, 1)
    assert len(box.dp.bridges) == 1


def test_a_cpu_that_does_not_exist_is_one_clear_error(box: Threaded) -> None:
    with pytest.raises(dp.DatapathError, match="polling core on CPU 1000: Invalid argument"):
        box.dp.set_cores([CPUS[0], 1000])
    box.rule(1, (), dp.output(2))
    box.feed(1, FRAME)
    box.quiet(1, 1)


def test_no_look_up_misses_a_rule_that_moves_to_another_subtable() -> None:
    """Its table gets more masks than have subtables of their own, again and again, while every packet is looked up there."""
    box, sent, full = Threaded(2, CPUS[:1], 0), 0, (1 << 48) - 1
    for table in range(1, 60):
        ours = ("ETH_SRC", 0x020000000001, full), ("IN_PORT", 1, 0xFFFFFFFF)
        box.bridge.add_rule(dp.RuleSpec(table, 5, ours, apply=(dp.output(2),)))
        box.bridge.add_rule(dp.RuleSpec(0, table, goto=table))
        box.bridge.commit()
        for bits in range(1, 30):
            box.feed(1, FRAME)
            sent += 1
            box.bridge.add_rule(dp.RuleSpec(table, 5 + bits % 3, (("ETH_DST", 0, full ^ (1 << bits) - 1),)))
            if bits % 4 == 0:
                box.bridge.commit()
    box.quiet(1, sent)
    assert len(box.take()[2]) == sent
    box.close()
