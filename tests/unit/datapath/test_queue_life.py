"""Queues that are full, change or go while packets wait: every packet is sent or dropped for a reason, order is kept."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.datapath.queue_box import IN_PORT, M, Shaped, frame, tag
from tests.unit.datapath.test_cores import until
from vswitchd.datapath import dp
from vswitchd.datapath.qos_spec import QosKind, QosSpec, QueueSpec

SLOW = 8 * M  # a byte a microsecond
BURST = 5  # frames of 1000 bytes that go at once: 5 ms worth


@pytest.fixture
def box() -> Iterator[Shaped]:
    b = Shaped()
    yield b
    b.assert_ledgers()
    b.close()


def waiting(box: Shaped, n: int = 20, *queues: QueueSpec) -> None:
    """Let n frames of 1000 bytes, numbered, wait in queue 1, or go where they have to."""
    box.qos(*(queues or (QueueSpec(1, max_rate=SLOW), QueueSpec(2, max_rate=SLOW))))
    for i in range(n + BURST):
        box.feed(1, frame(1000, i))
    box.work()
    assert [tag(f) for f in box.sent()] == list(range(BURST))
    assert box.out.waiting() == n


def drain(box: Shaped, ms: int = 60) -> list[int]:
    """The numbers of what comes out later."""
    out = []
    for _ in range(ms):
        box.step()
        out += [tag(f) for f in box.sent()]
    return out


def drops(box: Shaped) -> dict[str, int]:
    box.assert_ledgers()
    return box.out.counters().tx_drops


def test_ledger_and_gauge_while_packets_wait(box: Shaped) -> None:
    waiting(box)
    counters = box.out.counters()
    assert (counters.tx_offered, counters.tx_packets, counters.tx_drops) == (BURST, BURST, {})
    assert box.ports[1].counters().rx_forwarded == BURST + 20
    stats = box.out.queue_stats(1)
    assert (stats.packets, stats.bytes, stats.dropped) == (BURST, BURST * 1000, 0)
    assert (stats.waiting_packets, stats.waiting_bytes) == (20, 20_000)
    assert drain(box) == list(range(BURST, BURST + 20))
    stats = box.out.queue_stats(1)
    assert (stats.packets, stats.bytes, stats.waiting_packets, stats.waiting_bytes) == (25, 25_000, 0, 0)


@pytest.mark.parametrize("limit", [{"limit_packets": 12}, {"limit_bytes": 12_999}], ids=["packets", "bytes"])
def test_a_full_queue_drops_what_comes(box: Shaped, limit: dict[str, int]) -> None:
    box.qos(QueueSpec(1, max_rate=SLOW, **limit))
    for i in range(30):
        box.feed(1, frame(1000, i))
    box.work()
    assert drops(box) == {"queue_full": 18}
    assert box.out.queue_stats(1).dropped == 18
    assert [tag(f) for f in box.sent()] + drain(box) == list(range(12))


def test_the_default_bound_is_a_tenth_of_a_second(box: Shaped) -> None:
    box.qos(QueueSpec(1, max_rate=SLOW))
    box.fill(1, frame(1000), 130)
    box.work()
    assert box.out.queue_stats(1).waiting_bytes == 100_000
    box.qos(QueueSpec(1, max_rate=SLOW // 8))
    box.fill(1, frame(1000), 130)
    box.work()
    assert box.out.queue_stats(1).waiting_bytes <= 100_000  # what waited stays
    assert drops(box)["queue_full"] > 100


def test_an_empty_queue_takes_any_packet(box: Shaped) -> None:
    box.qos(QueueSpec(1, max_rate=SLOW, limit_bytes=100))
    big = frame(65535, 3)
    box.fill(1, frame(6000), 1)  # the debt
    box.step()
    box.feed(1, big)
    box.work()
    assert box.out.waiting() == 1
    box.feed(1, big)
    assert drain(box, 10) == [0, 3]
    assert drops(box) == {"queue_full": 1}


def test_the_memory_of_a_core_is_bounded_and_no_queue_takes_it_all(box: Shaped) -> None:
    queues = [QueueSpec(i, max_rate=8000, limit_bytes=1 << 30, limit_packets=1 << 20) for i in (1, 2)]
    box.qos(*queues)
    for _ in range(30):
        box.fill(1, frame(65535), 20)
        box.work()
    first = box.out.waiting()
    assert 200 < first < 300  # half of the chunks
    box.fill(3, frame(65535), 300)
    box.work()
    assert 50 < box.out.waiting() - first < 200
    assert drops(box)["queue_full"] > 400
    box.out.set_qos(None)
    assert drops(box)["queue_removed"] == 600 + 300 - drops(box)["queue_full"] - box.out.counters().tx_packets
    box.sent()
    waiting(box)  # all memory is free again
    assert drain(box) == list(range(BURST, BURST + 20))


def test_a_new_qos_takes_over_what_waits_in_queues_that_stay(box: Shaped) -> None:
    waiting(box)
    box.fill(3, frame(1000, 99), 10)
    box.work()
    assert box.out.waiting() == 25
    box.qos(QueueSpec(1, max_rate=2 * SLOW), QueueSpec(7))
    box.sent()
    assert drops(box) == {"queue_removed": 5}
    assert box.out.waiting() == box.out.queue_stats(1).waiting_packets == 20
    assert box.out.queue_stats(1).packets == BURST
    for i in range(25, 30):
        box.feed(1, frame(1000, i))
    assert drain(box) == list(range(BURST, 30))
    assert box.out.queue_stats(1).packets == 30


def test_without_qos_what_waited_is_dropped(box: Shaped) -> None:
    waiting(box)
    box.out.set_qos(None)
    assert drops(box) == {"queue_removed": 20}
    assert box.out.waiting() == 0
    box.fill(1, frame(1000), 100)
    box.work()
    assert len(box.sent()) == 100


def test_a_policer_lets_nothing_wait(box: Shaped) -> None:
    waiting(box)
    box.qos(rate=SLOW, kind=QosKind.POLICE)
    assert drops(box) == {"queue_removed": 20}
    box.qos(QueueSpec(1, max_rate=SLOW))
    assert box.out.waiting() == 0


def test_a_port_goes_with_what_waits(box: Shaped) -> None:
    waiting(box)
    box.dp.detach(box.ports.pop(2))
    again = box.add_port(2)
    box.dp.rebalance()
    box.fill(1, frame(1000), 50)
    box.work()
    assert len(box.take_from(again)) == 50


def test_a_core_goes_with_what_waits_there(box: Shaped) -> None:
    waiting(box)
    box.dp.set_cores([-3])
    assert drops(box) == {"queue_removed": 20}
    stats = box.out.queue_stats(1)
    assert (stats.packets, stats.waiting_packets) == (BURST, 0)
    for i in range(20):
        box.feed(1, frame(1000, i))
    box.work()
    assert [tag(f) for f in box.sent()] + drain(box) == list(range(20))
    assert box.out.queue_stats(1).packets == 25


def test_a_core_that_comes_shapes_too(box: Shaped) -> None:
    box.qos(QueueSpec(1, max_rate=SLOW))
    box.dp.set_cores([-1, -3, -4])
    box.dp.assign_rxqs({("p1", 0): -4})
    for i in range(20):
        box.feed(1, frame(1000, i))
    assert drain(box) == list(range(20))


def test_a_port_that_is_set_down_sends_nothing_more(box: Shaped) -> None:
    waiting(box)
    box.out.set_config(1)
    assert drain(box, 2) == []
    assert drops(box) == {"link_down": 20}
    box.out.set_config(0)
    box.fill(1, frame(1000), 300)
    box.work()
    assert box.out.waiting() > 0  # still shaped


def test_a_datapath_ends_with_packets_that_wait() -> None:
    box = Shaped()
    waiting(box)
    box.close()


def test_packet_outs_pass_at_once_and_are_charged(box: Shaped) -> None:
    waiting(box)
    data = frame(1000, 500)
    box.bridge.packet_out(data, 0xFFFFFFFD, (dp.set_queue(1), dp.output(2)))
    assert box.take_from(box.out) == [data]
    assert drain(box, 1) == []  # its tokens are gone
    assert drain(box) == list(range(BURST, BURST + 20))
    for _ in range(300):
        box.bridge.packet_out(data, 0xFFFFFFFD, (dp.set_queue(1), dp.output(2)))
    assert 90 < len(box.sent()) < 110  # as much as a queue holds
    assert drops(box)["queue_full"] > 190


def test_bad_qos_is_refused_and_the_old_one_stays(box: Shaped) -> None:
    waiting(box)
    for queues in ((QueueSpec(1), QueueSpec(1)), tuple(QueueSpec(i) for i in range(4097))):
        with pytest.raises(dp.DatapathError):
            box.qos(*queues)
    with pytest.raises(dp.DatapathError):
        box.out.set_qos(QosSpec(M, (QueueSpec(1),), QosKind.POLICE))
    assert drain(box) == list(range(BURST, BURST + 20))


def test_a_burst_of_any_size(box: Shaped) -> None:
    box.qos(QueueSpec(1, max_rate=1, burst=10**15), QueueSpec(2, max_rate=1, burst=1))
    box.fill(1, frame(1000), 300)
    box.fill(3, frame(1000), 5)
    box.work()
    assert box.out.queue_stats(1).packets == 300
    assert box.out.queue_stats(2).packets == 1  # a bucket gives while it holds any token


def test_a_sleeping_core_wakes_when_a_packet_may_go() -> None:
    """Real time, but nothing depends on how much of it passes: without the timer the core would sleep for ever."""
    box = dp.Datapath(0)
    bridge = box.create_bridge("br0")
    ports = [
        box.attach(dp.lib.vs_test_port_new(b"p", 1, 64), bridge, number, f"p{number}") for number in (1, 2)
    ]
    bridge.add_rule(dp.RuleSpec(0, 1, (("IN_PORT", 1, IN_PORT),), apply=(dp.output(2),)))
    bridge.commit()
    box.set_idle_sleep(0)
    box.set_cores([-1])
    ports[1].set_qos(QosSpec(400_000))  # a frame of 1000 bytes takes 20 ms
    data = frame(1000)
    for _ in range(8):
        assert dp.lib.vs_test_port_feed(ports[0].cdata, 0, data, len(data)) == 0
    until(lambda: ports[1].counters().tx_packets >= 8)
    stats = box.core_stats()[0]
    assert stats.sleeps > 3
    assert stats.iterations < 10_000  # it did sleep, it did not poll
    ports[1].set_qos(None)
    box.close()
