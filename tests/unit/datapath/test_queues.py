"""Queues of a port: rates, guarantees, shares, order; on a virtual clock."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.unit.datapath.queue_box import IN_PORT, M, Shaped, frame, tag
from vswitchd.datapath import dp
from vswitchd.datapath.qos_spec import QosKind, QosSpec, QueueSpec


@pytest.fixture
def box() -> Iterator[Shaped]:
    b = Shaped()
    yield b
    b.close()


def bits(total: int, ms: int) -> float:
    """Bytes in that time as bits a second."""
    return total * 8 * 1000 / ms


@pytest.mark.parametrize("size", [64, 1500, 9000])
def test_a_queue_keeps_its_rate(box: Shaped, size: int) -> None:
    rate = 40 * M
    box.qos(QueueSpec(1, max_rate=rate))
    per_ms = rate // 8000 // size + 1
    box.fill(1, frame(size), 4 * per_ms)
    box.run(20, lambda: box.fill(1, frame(size), per_ms))  # what a full bucket lets go at once
    sent = box.run(1000, lambda: box.fill(1, frame(size), per_ms))
    assert bits(sent[0], 1000) == pytest.approx(rate, rel=0.01)


def test_a_port_keeps_its_rate_over_all_queues(box: Shaped) -> None:
    box.qos(QueueSpec(1), QueueSpec(2, max_rate=60 * M), rate=40 * M)

    def feed() -> None:
        for number in (1, 3, 4):
            box.fill(number, frame(1250, number), 5)

    box.run(20, feed)
    sent = box.run(300, feed)
    assert bits(sum(sent.values()), 300) == pytest.approx(40 * M, rel=0.01)
    for number in (1, 3, 4):  # equal shares, also for packets of no queue
        assert bits(sent[number], 300) == pytest.approx(40 * M / 3, rel=0.02)


def test_a_core_that_stood_still_makes_up_for_it(box: Shaped) -> None:
    """Longer than the burst, not longer than 20 ms; but what nobody waited for is lost."""
    box.qos(QueueSpec(1, max_rate=40 * M), rate=100 * M)
    box.fill(1, frame(1250, 1), 200)
    box.work()
    total = len(box.sent())
    for _ in range(10):
        box.step(15)
        total += len(box.sent())
        box.fill(1, frame(1250, 1), 60)
    assert total == pytest.approx(20 + 600, abs=2)  # 5 ms worth at once, then 150 ms worth
    for _ in range(50):
        box.step(15)
    box.sent()
    box.fill(1, frame(1250, 1), 60)
    box.work()
    assert len(box.sent()) == 20


def test_what_is_left_over_is_shared_by_bytes_not_packets(box: Shaped) -> None:
    box.qos(QueueSpec(1), QueueSpec(2), rate=40 * M)

    def feed() -> None:
        box.fill(1, frame(9000, 1), 2)
        box.fill(3, frame(100, 3), 60)

    box.run(20, feed)
    sent = box.run(400, feed)
    assert sent[1] == pytest.approx(sent[3], rel=0.02)


def test_a_minimum_rate_is_kept_against_others(box: Shaped) -> None:
    box.qos(QueueSpec(1, min_rate=30 * M), QueueSpec(2), rate=40 * M)

    def feed() -> None:
        box.fill(1, frame(1250, 1), 4)
        box.fill(3, frame(1250, 3), 40)

    box.run(20, feed)
    sent = box.run(500, feed)
    assert bits(sent[1] + sent[3], 500) == pytest.approx(40 * M, rel=0.01)
    # Its minimum, and half of the 10 Mb/s that are left over.
    assert bits(sent[1], 500) == pytest.approx(35 * M, rel=0.01)


def test_a_minimum_rate_that_is_not_used_is_lent(box: Shaped) -> None:
    box.qos(QueueSpec(1, min_rate=30 * M), QueueSpec(2), rate=40 * M)
    box.run(20, lambda: box.fill(3, frame(1250, 3), 6))
    sent = box.run(300, lambda: box.fill(3, frame(1250, 3), 6))
    assert bits(sent[3], 300) == pytest.approx(40 * M, rel=0.01)


def test_minimum_rates_over_the_port_are_scaled_to_it(box: Shaped) -> None:
    box.qos(QueueSpec(1, min_rate=60 * M), QueueSpec(2, min_rate=20 * M), rate=40 * M)

    def feed() -> None:
        box.fill(1, frame(1250, 1), 4)
        box.fill(3, frame(1250, 3), 4)

    box.run(20, feed)
    sent = box.run(300, feed)
    assert bits(sent[1], 300) == pytest.approx(30 * M, rel=0.01)
    assert bits(sent[3], 300) == pytest.approx(10 * M, rel=0.01)


def test_the_best_priority_takes_all_that_is_left_over(box: Shaped) -> None:
    box.qos(QueueSpec(1, priority=5, min_rate=4 * M), QueueSpec(2, priority=1), rate=40 * M)

    def feed() -> None:
        box.fill(1, frame(1250, 1), 5)
        box.fill(3, frame(1250, 3), 5)

    box.run(20, feed)
    sent = box.run(300, feed)
    assert bits(sent[1], 300) == pytest.approx(4 * M, rel=0.02)
    assert bits(sent[3], 300) == pytest.approx(36 * M, rel=0.01)


def test_cores_together_keep_the_rate() -> None:
    box = Shaped(ports=1)
    box.dp.set_cores([-1, -3])
    box.add_port(2)
    box.add_port(3, n_rxq=2)
    box.dp.rebalance()
    assert {q.core for q in box.dp.rxq_stats() if q.port == "p3"} == {1, 2}
    box.qos(QueueSpec(2, max_rate=20 * M), rate=30 * M)

    def feed() -> None:
        box.fill(3, frame(1250, 1), 2, rxq=0)
        box.fill(3, frame(1250, 2), 2, rxq=1)

    box.run(20, feed)
    sent = box.run(500, feed)
    assert bits(sum(sent.values()), 500) == pytest.approx(20 * M, rel=0.01)
    stats = box.dp.core_stats()
    assert all(core.tx_packets > 0 for core in stats)  # both sent
    box.close()


def test_order_and_bytes_of_any_packet_are_kept(box: Shaped) -> None:
    rng = random.Random(7)
    room = 4 * M
    box.qos(QueueSpec(1, max_rate=200 * M, limit_bytes=room), QueueSpec(2, max_rate=50 * M, limit_bytes=room))
    sizes = [
        60,
        192,
        193,
        1559,
        1560,
        1561,
        3120,
        3121,
        65535,
        *(rng.randrange(60, 65536) for _ in range(40)),
    ]
    frames = [frame(18, i)[:18] + rng.randbytes(size - 18) for i, size in enumerate(sizes)]
    for i, data in enumerate(frames):
        box.feed(1 if i % 2 else 3, data)
    box.work()
    assert box.out.waiting() > 0
    out = []
    for _ in range(400):
        box.step()
        out += box.sent()
    for parity in (0, 1):
        assert [d for d in out if tag(d) % 2 == parity] == frames[parity::2]
    assert box.out.waiting() == 0


def test_a_packet_that_waits_is_a_copy(box: Shaped) -> None:
    """What happens to the packet afterwards, here or in the ring it came from, does not reach it; nor its queue."""
    box.qos(QueueSpec(1, max_rate=8 * M), QueueSpec(2, max_rate=8 * M))
    vlan = dp.push_vlan(0x8100)
    box.rule(
        2, (("IN_PORT", 1, IN_PORT),), dp.set_queue(1), dp.output(2), vlan, dp.set_queue(2), dp.output(2),
        vlan, dp.output(4),
    )  # fmt: skip
    data = frame(3000, 5)
    box.fill(1, data, 10)
    box.work()
    tagged = data[:12] + b"\x81\x00\x00\x00" + data[12:]
    twice = data[:12] + b"\x81\x00\x00\x00" * 2 + data[12:]
    assert box.take_from(box.ports[4]) == [twice] * 10
    for _ in range(60):
        box.step()
    assert sorted(box.sent()) == sorted([data, tagged] * 10)
    assert box.out.queue_stats(1).packets == box.out.queue_stats(2).packets == 10


def test_a_queue_that_the_port_does_not_have(box: Shaped) -> None:
    box.qos(QueueSpec(0, max_rate=8 * M), QueueSpec(2, max_rate=8 * M))
    box.fill(1, frame(1000), 3)
    box.fill(4, frame(1000), 2)
    box.work()
    assert box.out.queue_stats(0).packets == 5
    box.qos(QueueSpec(2, max_rate=8 * M))
    with pytest.raises(dp.DatapathError):
        box.out.queue_stats(0)
    box.fill(1, frame(1000), 300)
    box.work()
    assert len(box.sent()) == 305  # below the port's rate, which has no bound
    assert box.out.queue_stats(2).packets == 0


def test_a_patch_port_is_shaped_like_any() -> None:
    box = Shaped(ports=3)
    other = box.dp.create_bridge("br1")
    box.patch(10, box.bridge, 20, other)
    out = box.add_port(30, other)
    other.add_rule(dp.RuleSpec(0, 1, (), apply=(dp.push_vlan(0x8100), dp.output(30))))
    other.commit()
    box.rule(3, (("IN_PORT", 1, IN_PORT),), dp.set_queue(1), dp.output(10), dp.output(3))
    box.dp.rebalance()
    patch = next(p for p in box.dp.ports.values() if p.name == "a")
    patch.set_qos(QosSpec(8 * M))
    box.fill(1, frame(2000, 9), 20)
    box.work()
    assert len(box.take_from(box.ports[3])) == 20
    got = []
    for _ in range(60):
        got.append(len(box.take_from(out)))
        box.step()
    assert sum(got) == 20
    assert max(got[1:]) <= 1  # 8 Mb/s are half a packet a millisecond
    box.assert_ledgers()
    box.close()


def test_policing_drops_what_is_over_the_rate(box: Shaped) -> None:
    box.qos(rate=40 * M, kind=QosKind.POLICE)
    box.run(20, lambda: box.fill(1, frame(1000, 1), 8))
    sent = box.run(300, lambda: box.fill(1, frame(1000, 1), 8))
    assert bits(sent[1], 300) == pytest.approx(40 * M, rel=0.01)
    assert box.out.counters().tx_drops["policed"] > 0
    assert box.out.waiting() == 0


def test_policing_of_what_a_port_receives(box: Shaped) -> None:
    box.ports[1].set_policing(40 * M)
    box.run(20, lambda: box.fill(1, frame(1000, 1), 8))
    sent = box.run(300, lambda: box.fill(1, frame(1000, 1), 8))
    assert bits(sent[1], 300) == pytest.approx(40 * M, rel=0.01)
    counters = box.ports[1].counters()
    assert counters.rx_packets == 320 * 8
    assert counters.rx_drops == {"policed": counters.rx_packets - counters.rx_forwarded}
    box.ports[1].set_policing(0)
    assert len(box.send(1, *[frame(1000)] * 300)[2]) == 300
