"""Queues whose driver has a word that tells of work: not asked in vain, and nothing comes a turn late."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.switchbox import SwitchBox
from vswitchd.datapath import dp

FRAME = bytes.fromhex("020000000002020000000001080045") + bytes(49)
FULL_EVERY = 16
"""Turns after which one queue is polled whatever its word says (core.c)."""


@pytest.fixture
def box() -> Iterator[SwitchBox]:
    b = SwitchBox(ports=3)
    b.rule(1, (), dp.output(2))
    yield b
    b.close()


def polls(box: SwitchBox, number: int, rxq: int = 0) -> int:
    return int(dp.lib.vs_test_port_polls(box.ports[number].cdata, rxq))


def test_an_idle_queue_is_not_asked(box: SwitchBox) -> None:
    box.dp.poll()
    before = sum(polls(box, number) for number in box.ports)
    turns = 4 * FULL_EVERY * len(box.ports)
    for _ in range(turns):
        assert box.dp.poll() == 0
    assert sum(polls(box, number) for number in box.ports) - before == turns // FULL_EVERY


def test_every_queue_is_asked_now_and_then(box: SwitchBox) -> None:
    box.dp.poll()
    before = {number: polls(box, number) for number in box.ports}
    for _ in range(FULL_EVERY * len(box.ports)):
        box.dp.poll()
    assert all(polls(box, number) == before[number] + 1 for number in box.ports)


def test_packets_come_in_the_next_turn(box: SwitchBox) -> None:
    for i in range(3 * FULL_EVERY):
        for number in box.ports:
            box.feed(number, FRAME + bytes([i]))
        assert box.dp.poll() == 3
        for _ in range(i % 3):
            assert box.dp.poll() == 0
    assert box.take() == {2: [FRAME + bytes([i]) for i in range(3 * FULL_EVERY) for _ in range(2)]}
    box.assert_ledgers()


def test_what_one_batch_leaves_comes_in_the_next(box: SwitchBox) -> None:
    for _ in range(80):
        box.feed(1, FRAME)
    assert [box.dp.poll() for _ in range(4)] == [32, 32, 16, 0]


def test_queues_that_come_and_go(box: SwitchBox) -> None:
    """Another list: watches begin anew, those of others stay right."""
    for i in range(3 * FULL_EVERY):
        port = box.add_port(4, n_rxq=2)
        box.dp.rebalance()
        box.dp.poll()
        box.dp.poll()
        for rxq in range(2):
            box.feed(4, FRAME, rxq)
        box.feed(3, FRAME)
        assert box.dp.poll() == 3
        box.feed(4, FRAME, i % 2)  # is lost with its port
        del box.ports[4]
        box.dp.detach(port)
        box.feed(1, FRAME)
        assert box.dp.poll() == 1
    assert len(box.take()[2]) == 4 * 3 * FULL_EVERY
